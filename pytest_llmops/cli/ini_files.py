"""The project's root, and the settings that its ini file has for pytest, as the commands that ask a judge take them over.

Read is the file that pytest would find from the working folder upwards. What stands in its ``addopts``, or in a file
that only ``-c`` names, is not.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from pytest_llmops._util.text_files import BadFile, read_text
from pytest_llmops.errors import UsageError
from pytest_llmops.measurement import shorten_text
from pytest_llmops.settings import OPTIONS

IniValues: TypeAlias = Mapping[str, object]
TRUE_WORDS, FALSE_WORDS = ("y", "yes", "t", "true", "on", "1"), ("n", "no", "f", "false", "off", "0")


def read_ini(start: Path) -> tuple[Path, dict[str, object]] | None:
    """Return the folder of the ini file that pytest would find, and what it says of our options, by their name.

    Args:
        start: Where the search begins; it goes upwards.

    Returns:
        None: there is no such file.

    Raises:
        UsageError: It cannot be read.
    """
    for folder in (start, *start.parents):
        values = _read_folder_values(folder)
        if values is not None:
            return folder, _select_options(values)
    return None


def find_project_root(start: Path) -> Path | None:
    """Return the nearest folder upwards that holds an ini file of pytest's or ``.git``; None: there is none.

    Raises:
        UsageError: An ini file on the way cannot be read.
    """
    folders = (start, *start.parents)
    return next(
        (
            folder
            for folder in folders
            if (folder / ".git").exists() or _read_folder_values(folder) is not None
        ),
        None,
    )


def _read_folder_values(folder: Path) -> IniValues | None:
    """What pytest would read of the ini files in a folder; None: it would look further up."""
    paths = ((folder / name, parse_values) for name, parse_values in INI_PARSERS.items())
    candidates = (_read_ini_file(path, parse_values) for path, parse_values in paths if path.is_file())
    return next((values for values in candidates if values is not None), None)


def _read_ini_file(path: Path, parse_values: Callable[[str, str], IniValues | None]) -> IniValues | None:
    import iniconfig

    try:
        return parse_values(str(path), read_text(path))
    except (BadFile, ValueError, iniconfig.ParseError) as error:  # ValueError: of tomllib too
        raise UsageError(
            f"{shorten_text(str(path), 300)}: cannot be read: {shorten_text(str(error))}"
        ) from None


def _select_options(values: IniValues) -> dict[str, object]:
    return {
        option.name: _convert_ini_value(values[option.dest], option.ini)
        for option in OPTIONS
        if option.ini and option.dest in values
    }


def _convert_ini_value(value: object, kind: str | None) -> object:
    """An ini file has texts alone; what is none of the kind is left to the option's own parser to refuse."""
    if not isinstance(value, str):
        return value
    if kind == "linelist":
        return [line.strip() for line in value.split("\n") if line.strip()]
    if kind == "bool" and value.strip().lower() in (*TRUE_WORDS, *FALSE_WORDS):
        return value.strip().lower() in TRUE_WORDS
    return value


def _read_ini_section(path: str, text: str, name: str) -> IniValues | None:
    import iniconfig

    read = iniconfig.IniConfig(path, data=text)  # pytest's own reader
    return dict(read[name].items()) if name in read else None


def _parse_pytest_ini(path: str, text: str) -> IniValues:
    return _read_ini_section(path, text, "pytest") or {}


def _parse_tox_ini(path: str, text: str) -> IniValues | None:
    return _read_ini_section(path, text, "pytest")


def _parse_setup_cfg(path: str, text: str) -> IniValues | None:
    return _read_ini_section(path, text, "tool:pytest")


def _parse_pytest_toml(path: str, text: str) -> IniValues:
    del path
    return _find_table(tomllib.loads(text), "pytest") or {}


def _parse_pyproject(path: str, text: str) -> IniValues | None:
    del path
    tool = _find_table(_find_table(tomllib.loads(text), "tool") or {}, "pytest") or {}
    texts = _find_table(tool, "ini_options")
    if texts is not None:
        return {key: value if isinstance(value, list) else str(value) for key, value in texts.items()}
    return tool or None


def _find_table(document: Mapping[str, Any], key: str) -> Mapping[str, Any] | None:
    table = document.get(key)
    return table if isinstance(table, Mapping) else None


INI_PARSERS: Mapping[str, Callable[[str, str], IniValues | None]] = {
    "pytest.toml": _parse_pytest_toml,
    ".pytest.toml": _parse_pytest_toml,
    "pytest.ini": _parse_pytest_ini,
    ".pytest.ini": _parse_pytest_ini,
    "pyproject.toml": _parse_pyproject,
    "tox.ini": _parse_tox_ini,
    "setup.cfg": _parse_setup_cfg,
}
"""In pytest's order, each with what it says: None where it is no file of pytest's."""
