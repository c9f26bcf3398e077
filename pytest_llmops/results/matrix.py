"""Matrices of cases by prompt versions or models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_llmops.results.comparison import (
    Axis,
    find_uneven_metrics,
    function_name,
    group_by,
    row_key,
    side_texts,
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
    """A case: for each column the records that ran it, usually a single one; empty if it was not run."""

    case: str
    cells: tuple[tuple[TestRecord, ...], ...]

    @property
    def differs(self) -> bool:
        """Whether the columns have different outcomes."""
        return len({tuple(record.outcome for record in cell) for cell in self.cells}) > 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """A test that ran with several versions of a prompt, or models.

    Columns are in the order of the command line, rows in the order of the run. The summary of a column covers the rows
    that all columns ran, a mean only those with a value in each; if no row ran in all columns, all rows of the column.
    """

    test: str
    prompt: str
    columns: tuple[Side, ...]
    rows: tuple[Row, ...]


def build_matrices(run: Run, axis: Axis = "prompt") -> tuple[Matrix, ...]:
    """Return one matrix per test and prompt with more than one version, or per test with more than one model.

    A version under two aliases gives two columns: that is what the test asked for.

    >>> build_matrices(Run())
    ()
    """
    compared = [record for record in run.records if record.fact(axis)]
    groups = group_by(compared, lambda record: (function_name(record), subject_name(record, axis)))
    matrices = (_build_matrix(test, prompt, records, axis) for (test, prompt), records in groups.items())
    return tuple(matrix for matrix in matrices if len(matrix.columns) > 1)


def _build_matrix(test: str, prompt: str, records: Sequence[TestRecord], axis: Axis) -> Matrix:
    def column(record: TestRecord) -> tuple[str, ...]:
        return side_texts(record, axis, _COLUMN_FACTS[axis])

    columns = group_by(records, column)
    order = sort_by_position(columns, axis)
    rows = group_by(records, lambda record: row_key(record, axis))
    complete = [
        row
        for row in rows.values()
        if {column(record) for record in row if record.outcome != "skipped"} == set(columns)
    ]
    compared = group_by((record for row in complete for record in row), column) or columns
    uneven = find_uneven_metrics(complete)

    def build_row(case: str, *params: str) -> Row:
        other = "-".join(filter(None, params))
        ran = rows[case, *params]
        return Row(
            case=f"{case} [{other}]" if case and other else case or other,
            cells=tuple(tuple(record for record in ran if column(record) == key) for key in order),
        )

    return Matrix(
        test=test,
        prompt=prompt,
        columns=tuple(summarize_side(compared[key], axis, uneven) for key in order),
        rows=tuple(build_row(*key) for key in rows),
    )
