"""Group tests into fair comparisons: the same cases by the same metrics, on sides that differ in a prompt or a model.

A "side" is a version of a prompt, or a model. A "row" is a case of a test: what stays the same while the side changes. The
"axis" names which of the two is compared, prompt or model.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, TypeVar

from pytest_llmops.measurement import Measurement
from pytest_llmops.results.details import (
    CaseFacts,
    SideFacts,
    as_mapping,
    fact_text,
)
from pytest_llmops.results.run import TestRecord

Axis: TypeAlias = Literal[
    "prompt", "model"
]  # also the name of the fact of a test that differs from side to side
MetricKey: TypeAlias = tuple[str, str, str, str]  # name, version, unit and direction of a metric
Part: TypeAlias = tuple[MetricKey, str]  # a metric and a label
T = TypeVar("T")
K = TypeVar("K")

_SIDE_FACTS: Mapping[Axis, tuple[str, ...]] = {"prompt": ("version", "fingerprint"), "model": ("name",)}
# The argument (fixture) through which a test gets its side
_SIDE_ARGUMENTS: Mapping[Axis, str] = {"prompt": "prompt", "model": "llm"}


def group_by(items: Iterable[T], key: Callable[[T], K | None]) -> dict[K, list[T]]:
    """Return groups of items in the order of first occurrence; items with the key None are left out."""
    groups: dict[K, list[T]] = {}
    for item in items:
        name = key(item)
        if name is not None:
            groups.setdefault(name, []).append(item)
    return groups


def subject_name(record: TestRecord, axis: Axis) -> str:
    """Return the name of the prompt of a test; "" if models are compared, which have no common subject."""
    if axis == "prompt":
        return SideFacts.from_wire(record.fact(axis)).name
    return ""


def side_key(record: TestRecord, axis: Axis) -> tuple[str, ...] | None:
    """Return the key of the side that a test ran on, as version and fingerprint of a prompt; None if it used no prompt (model)."""
    if record.fact(axis):
        return side_texts(record, axis, _SIDE_FACTS[axis])
    return None


def side_texts(record: TestRecord, axis: Axis, names: Iterable[str]) -> tuple[str, ...]:
    """Return the named facts of the side that a test ran on; names are fields of `SideFacts`."""
    facts = SideFacts.from_wire(record.fact(axis))
    return tuple(getattr(facts, name) for name in names)


def function_name(record: TestRecord) -> str:
    """Return a test's name without its parameters."""
    return record.nodeid.partition("[")[0]


def row_key(record: TestRecord, axis: Axis) -> tuple[str, ...]:
    """Return the key of a test's row: its case id ("" without a case) and its other parameters except the side."""
    case = CaseFacts.from_wire(record.fact("case")).id
    key = [case]
    for name, param in record.fact("params").items():
        is_case = bool(case) and name == "case"
        if is_case or name == _SIDE_ARGUMENTS[axis]:
            continue
        value = param
        if isinstance(param, Mapping):
            value = param.get("id")
        key.append(fact_text(value))
    return tuple(key)


def sort_by_position(groups: Mapping[K, Sequence[TestRecord]], axis: Axis) -> list[K]:
    """Return the keys of groups in the order of their sides on the command line; no group may be empty."""

    def first_position(key: K) -> int:
        places = []
        for record in groups[key]:
            param = as_mapping(record.fact("params").get(_SIDE_ARGUMENTS[axis]))
            place = param.get("place")
            if not isinstance(place, int):
                place = 0
            places.append(place)
        return min(places)

    return sorted(groups, key=first_position)


def iter_fair_comparisons(
    records: Sequence[TestRecord], axis: Axis
) -> Iterator[tuple[list[TestRecord], int]]:
    """Yield the tests of each comparison, and how many of its rows are left out.

    Means over different questions cannot be compared. So test functions that ran with the same sides are one comparison,
    and only rows that every side ran count. If a prompt ran in several versions in any function, functions with a single
    version of it are left out. A prompt that only ran in one version is a comparison of one side. Models without another one are
    in no comparison.
    """
    sides: dict[tuple[str, str], set[tuple[str, ...]]] = {}
    for record in records:
        side = side_key(record, axis)
        if side is not None:
            function = (subject_name(record, axis), function_name(record))
            sides.setdefault(function, set()).add(side)
    several = set()  # subjects that ran on several sides
    for (subject, _), keys in sides.items():
        if len(keys) > 1:
            several.add(subject)

    def find_comparison(record: TestRecord) -> tuple[str, frozenset[tuple[str, ...]]] | None:
        """Return the key of a test's comparison: the subject and the sides that each row needs; None: it is in none."""
        if side_key(record, axis) is None:
            return None
        subject = subject_name(record, axis)
        keys = sides[subject, function_name(record)]
        if len(keys) == 1 and (subject in several or axis == "model"):
            return None
        if subject in several:
            return subject, frozenset(keys)
        return subject, frozenset()

    def find_row(record: TestRecord) -> tuple[str, ...]:
        return function_name(record), *row_key(record, axis)

    for (_, required_sides), group in group_by(records, find_comparison).items():
        rows = group_by(group, find_row).values()
        complete = [row for row in rows if _list_sides(row, axis) >= required_sides]
        ids = {id(record) for row in complete for record in row}  # records cannot be hashed
        if ids:
            compared = [record for record in group if id(record) in ids]
            yield compared, len(rows) - len(complete)
        elif axis == "prompt":
            yield group, 0


def _list_sides(row: Iterable[TestRecord], axis: Axis) -> set[tuple[str, ...] | None]:
    """Return the sides on which the tests of a row ran; skipped tests do not count."""
    return {side_key(record, axis) for record in row if record.outcome != "skipped"}


@dataclass(frozen=True, slots=True)
class UnevenMetrics:
    """Measurements that some side of a comparison lacks, so that no side counts them in its mean.

    Attributes:
        parts: Each of them by the ``id()`` of the test's record, the metric and the label.
        rows: By metric: how many rows have such a measurement.
    """

    parts: frozenset[tuple[int, MetricKey, str]] = frozenset()
    rows: Mapping[MetricKey, int] = field(default_factory=dict)


def metric_key(measurement: Measurement) -> MetricKey:
    """Return the key of a metric: measurements of different keys are never mixed."""
    return measurement.name, measurement.version, measurement.unit, measurement.better


def find_uneven_metrics(rows: Iterable[Sequence[TestRecord]]) -> UnevenMetrics:
    """Return what not all tests of a row measured, for instance because a judge gave no verdict on one side.

    The values on the other sides are left out too: a mean over more cases cannot be compared with one over fewer.
    """
    parts: set[tuple[int, MetricKey, str]] = set()
    row_counts: Counter[MetricKey] = Counter()
    for row in rows:
        ran = [record for record in row if record.outcome != "skipped"]
        uneven = _find_uneven_parts(ran)
        row_counts.update({key for key, _ in uneven})
        for record in row:
            left_out = uneven
            if record.outcome == "skipped":
                left_out = _count_values(record).keys()
            parts |= {(id(record), *part) for part in left_out}
    return UnevenMetrics(frozenset(parts), row_counts)


def _find_uneven_parts(records: Sequence[TestRecord]) -> AbstractSet[Part]:
    """Return the measurements that do not have the same number of values in each of the tests."""
    counts = [_count_values(record) for record in records]
    uneven = set()
    for part in {part for values in counts for part in values}:
        numbers = {values.get(part) for values in counts}
        if len(numbers) > 1 or None in numbers:
            uneven.add(part)
    return uneven


def _count_values(record: TestRecord) -> dict[Part, int | None]:
    """Return how many values each measurement has; None: one of them got no score."""
    counts: dict[Part, int | None] = {}
    for measurement in record.measurements:
        part = metric_key(measurement), measurement.label
        before = counts.get(part, 0)
        if before is None or measurement.value is None:
            counts[part] = None
        else:
            counts[part] = before + 1
    return counts
