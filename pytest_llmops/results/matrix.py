"""Prompt versions or models side by side: cases down, sides across."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_llmops.results.comparison import Axis, function, grouped, in_place, row, subject, text_of, uneven
from pytest_llmops.results.run import Run, TestRecord
from pytest_llmops.results.summary import Side, side

_COLUMNS: Mapping[Axis, tuple[str, ...]] = {"prompt": ("version", "fingerprint", "alias"), "model": ("name",)}


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


def matrices(run: Run, axis: Axis = "prompt") -> tuple[Matrix, ...]:
    """Return one matrix per test and prompt with more than one version, or per test with more than one model.

    None gives an empty tuple. A version under two aliases gives two columns: that is what the test asked for.

    >>> matrices(Run())
    ()
    """
    told = [record for record in run.records if record.fact(axis)]
    groups = grouped(told, lambda one: (function(one), subject(one, axis)))
    found = (_matrix(test, prompt, records, axis) for (test, prompt), records in groups.items())
    return tuple(one for one in found if len(one.columns) > 1)


def _matrix(test: str, prompt: str, records: Sequence[TestRecord], axis: Axis) -> Matrix:
    def column(record: TestRecord) -> tuple[str, ...]:
        return tuple(text_of(record.fact(axis).get(key)) for key in _COLUMNS[axis])

    columns = grouped(records, column)
    order = in_place(columns, axis)
    rows = grouped(records, lambda one: row(one, axis))
    whole = [
        ran
        for ran in rows.values()
        if {column(one) for one in ran if one.outcome != "skipped"} == set(columns)
    ]
    fair = grouped((one for ran in whole for one in ran), column) or columns
    odd = uneven(whole)
    return Matrix(
        test=test,
        prompt=prompt,
        columns=tuple(side(fair[place], axis, odd) for place in order),
        rows=tuple(
            Row(
                case=_shown(*key),
                cells=tuple(tuple(one for one in ran if column(one) == place) for place in order),
            )
            for key, ran in rows.items()
        ),
    )


def _shown(case: str, *others: str) -> str:
    rest = "-".join(filter(None, others))
    return f"{case} [{rest}]" if case and rest else case or rest
