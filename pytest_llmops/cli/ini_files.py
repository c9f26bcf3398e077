"""Find the project's root, and read the settings of its pytest configuration file for commands that call a judge.

The file is the one that pytest would find from the working folder upwards; ``addopts``, and a file that only ``-c``
names, are not read. pytest has no public way to do this without loading its plugins and conftest files.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from pytest_llmops._util.text_files import BadFile, read_text
from pytest_llmops.cli.output import format_path
from pytest_llmops.errors import UsageError
from pytest_llmops.measurement import shorten_text
from pytest_llmops.settings import OPTIONS

IniValues: TypeAlias = Mapping[str, object]
TRUE_WORDS, FALSE_WORDS = ("y", "yes", "t", "true", "on", "1"), ("n", "no", "f", "false", "off", "0")
INI_NAMES = (
    "pytest.toml",
    ".pytest.toml",
    "pytest.ini",
    ".pytest.ini",
    "pyproject.toml",
    "tox.ini",
    "setup.cfg",
)


def read_ini(start: Path) -> tuple[Path, dict[str, object]] | None:
    """Return the folder of pytest's configuration file and our options in it by name; None if there is no such file.

    Args:
        start: The folder from which to search upwards.

    Raises:
        UsageError: The file cannot be read.
    """
    for folder in (start, *start.parents):
        values = _read_folder_values(folder)
        if values is not None:
            return folder, {
                option.name: _convert_ini_value(values[option.dest], option.ini)
                for option in OPTIONS
                if option.ini and option.dest in values
            }
    return None


def find_project_root(start: Path) -> Path | None:
    """Return the nearest folder upwards with a configuration file of pytest or ``.git``; None if there is none.

    Raises:
        UsageError: A configuration file on the way cannot be read.
    """
    for folder in (start, *start.parents):
        if (folder / ".git").exists() or _read_folder_values(folder) is not None:
            return folder
    return None


def find_ini_file(folder: Path) -> Path | None:
    """Return the file in a folder that pytest takes its configuration from; None if there is none."""
    paths = filter(Path.is_file, (folder / name for name in INI_NAMES))
    return next((path for path in paths if _read_ini_file(path) is not None), None)


def _read_folder_values(folder: Path) -> IniValues | None:
    # Return pytest's configuration in a folder; None if it has none, so that pytest looks further up.
    path = find_ini_file(folder)
    return _read_ini_file(path) if path is not None else None


def _read_ini_file(path: Path) -> IniValues | None:
    import iniconfig

    section = "tool:pytest" if path.name == "setup.cfg" else "pytest"
    values: IniValues | None
    try:
        text = read_text(path)
        if path.name == "pyproject.toml":
            tool = _find_table(_find_table(tomllib.loads(text), "tool") or {}, section) or {}
            values = _find_table(tool, "ini_options")
            if values is not None:
                return {
                    key: value if isinstance(value, list) else str(value) for key, value in values.items()
                }
            return tool or None
        if path.suffix == ".toml":
            values = _find_table(tomllib.loads(text), section)
        else:
            ini = iniconfig.IniConfig(str(path), data=text)
            values = dict(ini[section].items()) if section in ini else None
    except (BadFile, ValueError, iniconfig.ParseError) as error:  # tomllib raises ValueError
        raise UsageError(f"{format_path(path)}: cannot be read: {shorten_text(str(error))}") from None
    # A file that is named after pytest is its configuration, with or without a section.
    is_named_after_pytest = path.stem.removeprefix(".") == "pytest"
    return {} if values is None and is_named_after_pytest else values


def _find_table(document: Mapping[str, Any], key: str) -> Mapping[str, Any] | None:
    table = document.get(key)
    return table if isinstance(table, Mapping) else None


def _convert_ini_value(value: object, kind: str | None) -> object:
    # Return a text of an ini file as the option's kind; texts of another form are left for the option to report.
    if not isinstance(value, str):
        return value
    if kind == "linelist":
        return [line.strip() for line in value.split("\n") if line.strip()]
    if kind == "bool" and value.strip().lower() in (*TRUE_WORDS, *FALSE_WORDS):
        return value.strip().lower() in TRUE_WORDS
    return value
