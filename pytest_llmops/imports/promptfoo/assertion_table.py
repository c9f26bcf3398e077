"""The table of promptfoo's assertion types: `assertion_table.toml`, checked and as objects."""

import tomllib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pytest_llmops.imports.checks import ValueForm

_FILE = Path(__file__).with_name("assertion_table.toml")
RECORD_ONLY = "at_least=None"  # what most assertions have instead of a threshold
RED_TEAM = "promptfoo:redteam"  # the row of all types that begin with it


@dataclass(frozen=True, slots=True, kw_only=True)
class AssertionRow:
    """What becomes of an assertion type; for the fields see `assertion_table.toml`."""

    name: str
    call: str = ""
    opposite: str = ""
    value: str = ""
    form: ValueForm = "literal"
    key: str = ""
    noun: str = ""
    rank: int = 0
    joins: bool = False
    record: str = RECORD_ONLY
    imports: tuple[str, ...] = ()
    fixtures: tuple[str, ...] = ()
    differs: str = ""
    why: str = ""
    code: str = ""


@lru_cache(maxsize=1)
def read_table() -> dict[str, AssertionRow]:
    """Return the rows by type.

    >>> read_table()["icontains"].key
    'icontains'
    """
    entries = tomllib.loads(_FILE.read_text(encoding="utf-8"))
    return {name: _make_row(name, entry) for name, entry in entries.items()}


def find_row(name: str) -> AssertionRow | None:
    """Return the row of a type without ``not-``; None: the type does not exist."""
    rows = read_table()
    if name.startswith(RED_TEAM):
        return rows[RED_TEAM]
    return rows.get(name)


def _make_row(name: str, entry: dict[str, Any]) -> AssertionRow:
    fields = dict(entry)
    for field in ("imports", "fixtures"):
        fields[field] = tuple(fields.get(field, ()))
    return AssertionRow(name=name, **fields)
