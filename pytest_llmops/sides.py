"""What stands side by side, versions of a prompt or models, and which tests compare them fairly."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Literal, TypeAlias, TypeVar

from pytest_llmops.measurement import Json
from pytest_llmops.runs import TestRecord

Axis: TypeAlias = Literal["prompt", "model"]
"""The fact of a test that differs from side to side."""
T = TypeVar("T")
K = TypeVar("K")

_KEYS: Mapping[Axis, tuple[str, ...]] = {"prompt": ("version", "fingerprint"), "model": ("name",)}
_IN_IDS: Mapping[Axis, tuple[str, ...]] = {"prompt": ("alias", "version"), "model": ("name",)}
"""Facts that may stand in the id of a parametrized test."""


def text_of(value: Json) -> str:
    """Return a fact as text: "" for None, any other value as it prints."""
    return "" if value is None else str(value)


def grouped(items: Iterable[T], key: Callable[[T], K | None]) -> dict[K, list[T]]:
    """Group in the order of first sight; what has no key is left out."""
    groups: dict[K, list[T]] = {}
    for item in items:
        name = key(item)
        if name is not None:
            groups.setdefault(name, []).append(item)
    return groups


def subject(record: TestRecord, axis: Axis) -> str:
    """Return what the sides are sides of: the prompt's name; for models nothing."""
    return text_of(record.fact(axis).get("name")) if axis == "prompt" else ""


def side_key(record: TestRecord, axis: Axis) -> tuple[str, ...] | None:
    """Return what tells the sides of a subject apart; None for a test that stands on none."""
    said = record.fact(axis)
    return tuple(text_of(said.get(key)) for key in _KEYS[axis]) if said else None


def function(record: TestRecord) -> str:
    """Return a test's name without its parameters."""
    return record.nodeid.partition("[")[0]


def row(record: TestRecord, axis: Axis) -> tuple[str, str]:
    """Return the case and the other parameters: what stays the same while the side changes."""
    case = text_of(record.fact("case").get("id"))
    rest = _without(record.nodeid.partition("[")[2].removesuffix("]"), case)
    said = record.fact(axis)
    for name in (text_of(said.get(key)) for key in _IN_IDS[axis]):
        shorter = _without(rest, name)
        if shorter != rest:
            return case, shorter
    return case, rest


def _without(params: str, part: str) -> str:
    """Take one parameter out of an id such as ``v1-late-return``, once."""
    for form in dict.fromkeys(
        (part, part.encode("unicode_escape").decode("ascii"))
    ):  # pytest escapes what is not ASCII
        before, found, after = f"-{params}-".partition(f"-{form}-")
        if form and found:
            return "-".join(filter(None, [before[1:], after[:-1]]))
    return params


def fair(records: Sequence[TestRecord], axis: Axis) -> Iterator[tuple[list[TestRecord], int]]:
    """Yield the tests of each comparison, and how many of its rows are left out.

    A mean over other questions is no comparison: functions that ran with the same sides belong together, and of
    their rows (cases) those count that every side ran. Where a subject ran on several sides somewhere, tests of one
    side alone are in no comparison. Where it did not, all tests of a prompt are one; models are not compared.
    """
    sides: dict[tuple[str, str], set[tuple[str, ...]]] = {}
    for record in records:
        if (key := side_key(record, axis)) is not None:
            sides.setdefault((subject(record, axis), function(record)), set()).add(key)
    several = {name for (name, _), found in sides.items() if len(found) > 1}

    def comparison(record: TestRecord) -> tuple[str, frozenset[tuple[str, ...]]] | None:
        name = subject(record, axis)
        found = sides.get((name, function(record)), set())
        if side_key(record, axis) is None or (len(found) < 2 and (name in several or axis == "model")):  # noqa: PLR2004 -- alone
            return None
        return name, frozenset(found if name in several else ())

    for (_, wanted), group in grouped(records, comparison).items():
        kept, left_out = _complete(group, wanted, axis)
        if kept:
            yield kept, left_out
        elif axis == "prompt":
            yield group, 0


def _complete(
    group: list[TestRecord], wanted: frozenset[tuple[str, ...]], axis: Axis
) -> tuple[list[TestRecord], int]:
    """The tests of the rows that ran on all sides, and how many rows did not."""
    rows = grouped(group, lambda one: (function(one), *row(one, axis)))
    kept = [
        one
        for ran in rows.values()
        if {side_key(one, axis) for one in ran if one.outcome != "skipped"} >= wanted
        for one in ran
    ]
    ids = {id(one) for one in kept}
    left_out = sum(id(ran[0]) not in ids for ran in rows.values())
    return [one for one in group if id(one) in ids], left_out
