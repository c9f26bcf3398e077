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
from pytest_llmops.measurement import shorten
from pytest_llmops.settings import OPTIONS

Values: TypeAlias = Mapping[str, object]
YES, NO = ("y", "yes", "t", "true", "on", "1"), ("n", "no", "f", "false", "off", "0")


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
        values = _read_values(folder)
        if values is not None:
            return folder, _ours(values)
    return None


def find_project(start: Path) -> Path | None:
    """Return the nearest folder upwards that holds an ini file of pytest's or ``.git``; None: there is none.

    Raises:
        UsageError: An ini file on the way cannot be read.
    """
    folders = (start, *start.parents)
    return next((one for one in folders if (one / ".git").exists() or _read_values(one) is not None), None)


def _read_values(folder: Path) -> Values | None:
    """What pytest would read of the ini files in a folder; None: it would look further up."""
    paths = ((folder / name, values_of) for name, values_of in FILES.items())
    found = (_values(path, values_of) for path, values_of in paths if path.is_file())
    return next((values for values in found if values is not None), None)


def _values(path: Path, values_of: Callable[[str, str], Values | None]) -> Values | None:
    import iniconfig

    try:
        return values_of(str(path), read_text(path))
    except (BadFile, ValueError, iniconfig.ParseError) as error:  # ValueError: of tomllib too
        raise UsageError(f"{shorten(str(path), 300)}: cannot be read: {shorten(str(error))}") from None


def _ours(values: Values) -> dict[str, object]:
    return {
        option.name: _plain(values[option.dest], option.ini)
        for option in OPTIONS
        if option.ini and option.dest in values
    }


def _plain(value: object, kind: str | None) -> object:
    """An ini file has texts alone; what is none of the kind is left to the option's own parser to refuse."""
    if not isinstance(value, str):
        return value
    if kind == "linelist":
        return [line.strip() for line in value.split("\n") if line.strip()]
    if kind == "bool" and value.strip().lower() in (*YES, *NO):
        return value.strip().lower() in YES
    return value


def _section(path: str, text: str, name: str) -> Values | None:
    import iniconfig

    read = iniconfig.IniConfig(path, data=text)  # pytest's own reader
    return dict(read[name].items()) if name in read else None


def _of_pytest_ini(path: str, text: str) -> Values:
    return _section(path, text, "pytest") or {}


def _of_tox_ini(path: str, text: str) -> Values | None:
    return _section(path, text, "pytest")


def _of_setup_cfg(path: str, text: str) -> Values | None:
    return _section(path, text, "tool:pytest")


def _of_pytest_toml(path: str, text: str) -> Values:
    del path
    return _table(tomllib.loads(text), "pytest") or {}


def _of_pyproject(path: str, text: str) -> Values | None:
    del path
    tool = _table(_table(tomllib.loads(text), "tool") or {}, "pytest") or {}
    texts = _table(tool, "ini_options")
    if texts is not None:
        return {key: one if isinstance(one, list) else str(one) for key, one in texts.items()}
    return tool or None


def _table(document: Mapping[str, Any], key: str) -> Mapping[str, Any] | None:
    found = document.get(key)
    return found if isinstance(found, Mapping) else None


FILES: Mapping[str, Callable[[str, str], Values | None]] = {
    "pytest.toml": _of_pytest_toml,
    ".pytest.toml": _of_pytest_toml,
    "pytest.ini": _of_pytest_ini,
    ".pytest.ini": _of_pytest_ini,
    "pyproject.toml": _of_pyproject,
    "tox.ini": _of_tox_ini,
    "setup.cfg": _of_setup_cfg,
}
"""In pytest's order, each with what it says: None where it is no file of pytest's."""
