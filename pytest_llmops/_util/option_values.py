"""How the text of a setting becomes its value.

A parser raises `ValueError` with what it expected; who called it says where, and what was given.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from pathlib import PurePath
from typing import Any, TypeAlias

Parser: TypeAlias = Callable[[object], Any]

REPORT_KINDS = (".html", ".json", ".json.gz")
_ADDRESS = re.compile(
    r"https?://(?:[^\s/?#@]*@)?(?:\[[0-9a-f:.]+\]|[^\s/?#@:\[\]]+)(?::\d{1,5})?(?:[/?#]\S*)?$", re.IGNORECASE
)
_HOST = re.compile(r"[^\s/:@?#]+|[0-9a-f:.]*:[0-9a-f:.]*")


def parse_text(value: object) -> str:
    """Read a text; white space around it does not count."""
    if not isinstance(value, str):
        raise ValueError("a text")
    return value.strip()


def parse_bool(value: object) -> bool:
    """Read true or false."""
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def choice_of(*allowed: str) -> Parser:
    """Return the parser of a closed set of texts."""

    def parse(value: object) -> str:
        if value not in allowed:
            raise ValueError(f"one of {', '.join(allowed)}")
        return value

    return parse


class _WrongElement(ValueError):
    """One value of a list has the wrong form: the error shows that one, not the list."""

    def __init__(self, expected: str, got: object) -> None:
        self.got = got
        super().__init__(expected)


def _parse_element(parse: Parser, value: object) -> Any:
    try:
        return parse(value)
    except ValueError as error:
        raise _WrongElement(str(error), value) from None


def list_of(parse_one: Parser) -> Parser:
    """Return the parser of a list, or of a text with one value a line."""

    def parse(value: object) -> tuple[Any, ...]:
        if isinstance(value, str):
            value = [line for line in value.splitlines() if line.strip()]
        if not isinstance(value, Sequence):
            raise ValueError("a list")
        return tuple(_parse_element(parse_one, element) for element in value)

    return parse


def parse_models(value: object) -> str | tuple[str, ...]:
    """One name stays a text, several become a tuple; the same name again is the same model."""
    if not isinstance(value, (str, Sequence)):
        raise ValueError("a text, or a list of texts")
    names: tuple[str, ...] = tuple(dict.fromkeys(list_of(parse_text)(value)))
    if len(names) < 2:  # noqa: PLR2004 -- one name, or none
        return names[0] if names else ""
    if not all(names):
        raise ValueError("names of models that are not blank")
    return names


def parse_name_version(value: object) -> str:
    """Read ``NAME=VERSION``."""
    name, sign, version = parse_text(value).partition("=")
    if not (sign and name.strip() and version.strip()):
        raise ValueError("NAME=VERSION (support/answer=v2)")
    return f"{name.strip()}={version.strip()}"


def parse_report_path(value: object) -> str:
    """Read the name of a report, whose suffix says of which kind it is."""
    given = parse_text(value)
    path = PurePath(given)
    kind = path.suffix if path.suffix != ".gz" else PurePath(path.stem).suffix + path.suffix
    if kind not in REPORT_KINDS:
        raise ValueError(f"a file name ending in {' or '.join(REPORT_KINDS)}")
    return given


def parse_url(value: object) -> str:
    """Read the address of a server."""
    given = parse_text(value)
    if given and not _ADDRESS.match(given):
        raise ValueError("a URL that starts with http:// or https:// and names a host")
    return given.rstrip("/")


def parse_host(value: object) -> str:
    """Read a host."""
    given = parse_text(value).lower().strip("[]")
    if not _HOST.fullmatch(given):
        raise ValueError("a host without scheme, port or path (api.example.com)")
    return given


def parse_json_path(value: object) -> str:
    """Read a JSON path, or ``?name`` of a query parameter."""
    from pytest_llmops._util.json_path import parse_path

    given = parse_text(value)
    parse_path(given)
    return given


def parse_money(value: object) -> float | None:
    """Read an amount of US dollars; None stays none."""
    if value is None:
        return None
    try:
        amount = (
            float(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else -1.0
        )
    except ValueError:
        amount = -1.0
    if not 0 <= amount < math.inf:
        raise ValueError("an amount of US dollars, 0 or more (2.50)")
    return amount


def parse_count(value: object) -> int | None:
    """Read a whole number; None stays none."""
    if value is None:
        return None
    given = str(value).strip()
    if isinstance(value, bool) or not (given.isascii() and given.isdecimal()):
        raise ValueError("a whole number, 0 or more")
    return int(given)


def parse_positive_count(value: object) -> int:
    """Read a whole number above 0."""
    number = parse_count(value)
    if not number:
        raise ValueError("a whole number, 1 or more")
    return number
