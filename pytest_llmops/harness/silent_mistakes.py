"""Finds mistakes in a project that nothing else reports: ini keys that pytest does not read, tests without an assertion.

Knows pytest's objects by their attributes only.
"""

import dis
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from types import CodeType
from typing import Any

from pytest_llmops.settings import OPTIONS

INI_FILES = (
    "pytest.toml",
    ".pytest.toml",
    "pytest.ini",
    ".pytest.ini",
    "pyproject.toml",
    "tox.ini",
    "setup.cfg",
)
KEYS = frozenset(option.dest for option in OPTIONS if option.ini)
MAX_INI_CHARS = 200_000
MAX_CODES = 200  # functions in which an assertion is searched
_SECTION = re.compile(r"\[{1,2}([^\[\]]{1,100})\]")
_KEY = re.compile(r"(llm_[a-z_]{1,40})[ \t]{0,40}[=:]")
_ASSERTING = re.compile(
    r"assert|check|expect|verif|valid|raises|warns|fail|snapshot|approx|should|emit", re.IGNORECASE
)


def find_unread_keys(config: Any, folders: Iterable[Path]) -> Iterator[str]:
    """Yield a note for each key of ours in an ini file, or a section of it, that pytest does not read or that is misspelt.

    Args:
        config: pytest's.
        folders: Where such files are looked for.
    """
    read = config.inipath and config.inipath.name
    own = {
        "pyproject.toml": "[tool.pytest] or [tool.pytest.ini_options]",
        "setup.cfg": "[tool:pytest]",
    }.get(read, "[pytest]")
    for path in (folder / name for folder in dict.fromkeys(folders) for name in INI_FILES):
        if not path.is_file():
            continue
        section = path.stem.removeprefix(".")  # until another begins: a pytest.ini is all about pytest
        for number, line in enumerate(
            path.read_text("utf-8", "replace")[:MAX_INI_CHARS].splitlines(), start=1
        ):
            section = header[1].strip() if (header := _SECTION.match(line)) else section
            key = _KEY.match(line)
            if key is None or not re.search("pytest|llmops", section):
                continue
            value: object = path == config.inipath or None
            is_known = key[1] in KEYS or value is None
            with suppress(
                Exception
            ):  # a value of the wrong form, which `settings` reports, or no plugin's key
                value, is_known = value and config.getini(key[1]), True
            name = path.relative_to(config.rootpath) if path.is_relative_to(config.rootpath) else path
            if key[1] in KEYS and value is None:
                yield (
                    f"{key[1]} in {name.as_posix()}, line {number} ([{section}]) is not read: pytest reads "
                    + (f"its own section of {read}, {own}" if read else "no ini file in this run")
                )
            # Without the prefix, which makes all of them similar
            elif not is_known and (
                near := get_close_matches(key[1][4:], [known[4:] for known in KEYS], 1, 0.75)
            ):
                yield f"{key[1]} in {name.as_posix()}, line {number}, is unknown: did you mean llm_{near[0]}?"


def may_assert(item: Any) -> bool:
    """Return whether a test may assert anything: in its code, its fixtures, or a function of their modules that it calls.

    When in doubt it may: any name that sounds like an assertion counts.
    """
    fixtures = getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", {}).values()
    waiting = [item.obj, *(fixture.func for group in fixtures for fixture in group)]
    seen: set[CodeType] = set()
    while waiting and len(seen) < MAX_CODES:
        function = waiting.pop()
        code = getattr(function, "__code__", None)
        if code is None or code in seen or item.path.parent not in Path(code.co_filename).parents:
            continue
        seen.add(code)
        parts = [code]
        for part in parts:  # and the functions within it
            parts += [constant for constant in part.co_consts if isinstance(constant, CodeType)]
        names = {name for part in parts for name in (*part.co_names, *part.co_varnames)}
        steps = {step.opname for part in parts for step in dis.get_instructions(part)}
        if any(map(_ASSERTING.search, names)) or "RAISE_VARARGS" in steps:
            return True
        known = {**vars(getattr(item, "cls", None) or object), **getattr(function, "__globals__", {})}
        waiting += [getattr(function, "__wrapped__", None), *map(known.get, names)]
    return bool(waiting)
