"""Prompt versions side by side: cases down, versions across."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_llmops.instruments import text_of
from pytest_llmops.runs import Run, TestRecord
from pytest_llmops.totals import PromptVersion, grouped, prompt_version


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One case: per version the records that ran it, usually one, none where it was not run."""

    case: str
    cells: tuple[tuple[TestRecord, ...], ...]

    @property
    def differs(self) -> bool:
        """Whether the versions came to different outcomes."""
        return len({tuple(record.outcome for record in cell) for cell in self.cells}) > 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """A test that ran with several versions of a prompt; rows and columns in the order they ran."""

    test: str
    prompt: str
    columns: tuple[PromptVersion, ...]
    rows: tuple[Row, ...]


def matrices(run: Run) -> tuple[Matrix, ...]:
    """Return one matrix per test and prompt with more than one version; none gives an empty tuple.

    A version under two aliases gives two columns: that is what the test asked for.

    >>> matrices(Run())
    ()
    """
    groups = grouped(run.records, _test_and_prompt)
    found = (_matrix(test, prompt, records) for (test, prompt), records in groups.items())
    return tuple(one for one in found if len(one.columns) > 1)


def _test_and_prompt(record: TestRecord) -> tuple[str, str] | None:
    said = record.fact("prompt")
    return (record.nodeid.partition("[")[0], text_of(said.get("name"))) if said else None


def _matrix(test: str, prompt: str, records: Sequence[TestRecord]) -> Matrix:
    columns = grouped(records, _column)
    rows = grouped(records, _row)
    return Matrix(
        test=test,
        prompt=prompt,
        columns=tuple(map(prompt_version, columns.values())),
        rows=tuple(
            Row(case=_shown(*key), cells=tuple(_cell(ran, column) for column in columns))
            for key, ran in rows.items()
        ),
    )


def _cell(records: Sequence[TestRecord], column: tuple[str, ...]) -> tuple[TestRecord, ...]:
    return tuple(record for record in records if _column(record) == column)


def _column(record: TestRecord) -> tuple[str, ...]:
    said = record.fact("prompt")
    return tuple(text_of(said.get(key)) for key in ("version", "fingerprint", "alias"))


def _row(record: TestRecord) -> tuple[str, str]:
    """Return the case and the other parameters: what stays the same while the version changes."""
    case = text_of(record.fact("case").get("id"))
    rest = _without(record.nodeid.partition("[")[2].removesuffix("]"), case)
    said = record.fact("prompt")
    for name in (text_of(said.get("alias")), text_of(said.get("version"))):
        shorter = _without(rest, name)
        if shorter != rest:
            return case, shorter
    return case, rest


def _without(params: str, part: str) -> str:
    """Take one parameter out of an id such as ``v1-late-return``, once."""
    before, found, after = f"-{params}-".partition(f"-{part}-")
    if not part or not found:
        return params
    return "-".join(filter(None, [before[1:], after[:-1]]))


def _shown(case: str, rest: str) -> str:
    return f"{case} [{rest}]" if case and rest else case or rest
