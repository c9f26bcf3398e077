"""What stands side by side, versions of a prompt or models, and which tests compare them fairly."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, TypeVar

from pytest_llmops.measurement import Json, Measurement
from pytest_llmops.results.run import TestRecord

Axis: TypeAlias = Literal["prompt", "model"]
"""The fact of a test that differs from side to side."""
Key: TypeAlias = tuple[str, str, str, str]
"""Name, version, unit and direction of a metric."""
T = TypeVar("T")
K = TypeVar("K")

_KEYS: Mapping[Axis, tuple[str, ...]] = {"prompt": ("version", "fingerprint"), "model": ("name",)}
_IN_IDS: Mapping[Axis, tuple[str, ...]] = {"prompt": ("alias", "version"), "model": ("name",)}
"""Facts that may stand in the id of a parametrized test."""
_ARGUMENTS: Mapping[Axis, str] = {"prompt": "prompt", "model": "llm"}
"""The argument of a test that takes the side."""


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


def row(record: TestRecord, axis: Axis) -> tuple[str, ...]:
    """Return the case and the other parameters: what stays the same while the side changes.

    Parameters are told apart by what the test says of them. Of a record that says nothing (of an older run file), they
    are read out of its node id, where a case may look like a part of a model's name.
    """
    case = text_of(record.fact("case").get("id"))
    told = record.fact("params")
    if told:
        own = (_ARGUMENTS[axis], *(("case",) if case else ()))
        return case, *(_text(said, "id") for name, said in told.items() if name not in own)
    rest = _without(record.nodeid.partition("[")[2].removesuffix("]"), case)
    said = record.fact(axis)
    for name in (text_of(said.get(key)) for key in _IN_IDS[axis]):
        shorter = _without(rest, name)
        if shorter != rest:
            return case, shorter
    return case, rest


def place(record: TestRecord, axis: Axis) -> int:
    """Return the place of a test's side among those that were asked for; 0 where the test does not say it."""
    told = record.fact("params").get(_ARGUMENTS[axis])
    found = told.get("place") if isinstance(told, Mapping) else None
    return found if isinstance(found, int) else 0


def in_place(groups: Mapping[K, Sequence[TestRecord]], axis: Axis) -> list[K]:
    """Return the keys of groups in the order in which their sides were asked for."""
    return sorted(groups, key=lambda key: min(place(one, axis) for one in groups[key]))


def _text(said: Json, key: str) -> str:
    return text_of(said.get(key)) if isinstance(said, Mapping) else text_of(said)


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


@dataclass(frozen=True, slots=True)
class Uneven:
    """What has no value on every side of a comparison, and so is in no mean.

    Attributes:
        parts: Of which test (by its id), metric and label.
        rows: In how many rows, by metric.
    """

    parts: frozenset[tuple[int, Key, str]] = frozenset()
    rows: Mapping[Key, int] = field(default_factory=dict)

    def keeps(self, record: TestRecord, one: Measurement) -> bool:
        """Say whether a measurement counts in a mean."""
        return not self.parts or (id(record), key_of(one), one.label) not in self.parts


def key_of(one: Measurement) -> Key:
    """Return what tells metrics apart that must not be mixed."""
    return one.name, one.version, one.unit, one.better


def uneven(rows: Iterable[Sequence[TestRecord]]) -> Uneven:
    """Find what was not measured alike by all tests of a row: a judge that was not asked, or gave no verdict, on one side.

    Its values on the other sides are answers to questions that this one was not asked.
    """
    parts: set[tuple[int, Key, str]] = set()
    counted: dict[Key, int] = {}
    for row in rows:
        ran = [one for one in row if one.outcome != "skipped"]
        values = [_values(one) for one in ran]
        odd = {
            part
            for part in dict.fromkeys(part for one in values for part in one)
            if len({one.get(part) for one in values}) > 1 or values[0].get(part) is None
        }
        parts |= {(id(one), *part) for one in ran for part in odd}
        parts |= {(id(one), *part) for one in row if one.outcome == "skipped" for part in _values(one)}
        for key in {key for key, _ in odd}:
            counted[key] = counted.get(key, 0) + 1
    return Uneven(frozenset(parts), counted)


def _values(record: TestRecord) -> dict[tuple[Key, str], int | None]:
    """How many values a test has by metric and label; None: one of them could not be scored."""
    found: dict[tuple[Key, str], int | None] = {}
    for one in record.measurements:
        part = key_of(one), one.label
        before = found.get(part, 0)
        found[part] = None if before is None or one.value is None else before + 1
    return found
