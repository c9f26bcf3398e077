"""Prompt versions or models side by side: cases down, sides across."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_llmops.results.comparison import (
    Axis,
    fact_text,
    find_uneven_metrics,
    function_name,
    group_by,
    row_key,
    sort_by_position,
    subject_name,
)
from pytest_llmops.results.run import Run, TestRecord
from pytest_llmops.results.summary import Side, summarize_side

_COLUMN_FACTS: Mapping[Axis, tuple[str, ...]] = {
    "prompt": ("version", "fingerprint", "alias"),
    "model": ("name",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One case: per side the records that ran it, usually one, none where it was not run."""

    case: str
    cells: tuple[tuple[TestRecord, ...], ...]

    @property
    def differs(self) -> bool:
        """Whether the sides came to different outcomes."""
        return len({tuple(record.outcome for record in cell) for cell in self.cells}) > 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """A test that ran with several versions of a prompt, or models; columns in the order they were asked for, rows in that of the run.

    What a column adds up to is over the rows that all columns ran, a mean over those with a value in each; where no row
    ran in all, over all of its own.
    """

    test: str
    prompt: str
    columns: tuple[Side, ...]
    rows: tuple[Row, ...]


def build_matrices(run: Run, axis: Axis = "prompt") -> tuple[Matrix, ...]:
    """Return one matrix per test and prompt with more than one version, or per test with more than one model.

    None gives an empty tuple. A version under two aliases gives two columns: that is what the test asked for.

    >>> build_matrices(Run())
    ()
    """
    with_axis = [record for record in run.records if record.fact(axis)]
    groups = group_by(with_axis, lambda one: (function_name(one), subject_name(one, axis)))
    built = (_build_matrix(test, prompt, records, axis) for (test, prompt), records in groups.items())
    return tuple(one for one in built if len(one.columns) > 1)


def _build_matrix(test: str, prompt: str, records: Sequence[TestRecord], axis: Axis) -> Matrix:
    def column(record: TestRecord) -> tuple[str, ...]:
        return tuple(fact_text(record.fact(axis).get(key)) for key in _COLUMN_FACTS[axis])

    columns = group_by(records, column)
    order = sort_by_position(columns, axis)
    rows = group_by(records, lambda test_record: row_key(test_record, axis))
    whole = [
        ran
        for ran in rows.values()
        if {column(test_record) for test_record in ran if test_record.outcome != "skipped"} == set(columns)
    ]
    fair = group_by((test_record for ran in whole for test_record in ran), column) or columns
    odd = find_uneven_metrics(whole)
    return Matrix(
        test=test,
        prompt=prompt,
        columns=tuple(summarize_side(fair[place], axis, odd) for place in order),
        rows=tuple(
            Row(
                case=_format_row_title(*key),
                cells=tuple(
                    tuple(test_record for test_record in ran if column(test_record) == place)
                    for place in order
                ),
            )
            for key, ran in rows.items()
        ),
    )


def _format_row_title(case: str, *others: str) -> str:
    rest = "-".join(filter(None, others))
    return f"{case} [{rest}]" if case and rest else case or rest
