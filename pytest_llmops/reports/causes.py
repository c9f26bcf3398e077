"""What may have caused the word of a run, for all reports: whether an edit is the cause, which tests are missing, and lines of edits."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from pytest_llmops.reports.changed_cases import ShownCase, name_cases
from pytest_llmops.reports.headline import Word
from pytest_llmops.results.run import Run, TestRecord
from pytest_llmops.results.verdict import SuiteEdit, Verdict

MAX_MISSING = 5  # tests that did not run, by name
CAUSES = frozenset({"prompt", "request", "model", "judge", "retriever", "cases"})
NOT_RUN = "did not run"  # in the sentence of the gate if it decides nothing for that reason


@dataclass(frozen=True, slots=True)
class MissingTests:
    """Tests of the baseline that did not run, where the gate decides nothing for that reason.

    Attributes:
        names: Short names of the first five.
        more: How many there are besides.
    """

    names: Sequence[str] = ()
    more: int = 0


def is_cause(edits: Sequence[SuiteEdit], word: Word, cases: Iterable[ShownCase]) -> bool:
    """Return whether the edit is the likely cause: only one thing was edited, and the suite got worse, or may have.

    Failed tests and errors have causes of their own. Other answers, or other code, are not edits that a report can name.

    Args:
        edits: The edits of the gate.
        word: The word of the headline.
        cases: The cases of the run. AMBER without a case that got worse has no cause.

    >>> is_cause([SuiteEdit(kind="prompt")], "RED", []), is_cause([SuiteEdit(kind="prompt")], "AMBER", [])
    (True, False)
    """
    if len(edits) != 1 or edits[0].kind not in CAUSES:
        return False
    if word == "AMBER":
        return any(case.kind == "worse" for case in cases)
    return word == "RED"


def list_missing(run: Run, gate: Verdict | None) -> MissingTests:
    """Return the tests of the baseline that did not run; none if the gate does not say so.

    >>> from pytest_llmops.results.verdict import CaseChange
    >>> removed = CaseChange(nodeid="a.py::test_a[late]", kind="removed")
    >>> gate = Verdict(kind="baseline", status="ERROR", sentence="1 of 4 tests did not run", changes=(removed,))
    >>> list_missing(Run(), gate).names
    ['late']
    """
    if gate is None or gate.status != "ERROR" or NOT_RUN not in gate.sentence:
        return MissingTests()
    present = {record.nodeid for record in run.records}
    missing = [change.nodeid for change in gate.of_kind("removed")]
    # A test that was skipped is in the run, and missing all the same.
    absent = [TestRecord(nodeid=nodeid) for nodeid in missing if nodeid not in present]
    names = name_cases([*run.records, *absent])
    listed = [names[nodeid] for nodeid in missing[:MAX_MISSING]]
    return MissingTests(listed, len(missing) - len(listed))


def cut_edit_lines(
    lines: Sequence[str], cut_pair: Callable[[str, str], tuple[str, str]]
) -> list[tuple[str, str]]:
    """Return the lines of an edit as sign ("-", "+" or "") and text; a line that was replaced is cut around the change.

    Args:
        lines: The lines, each after ``- `` or ``+ ``.
        cut_pair: Cuts two texts so that their first difference is in the remaining part.

    >>> cut_edit_lines(["- Be brief.", "+ Be warm."], lambda before, after: (before[3:], after[3:]))
    [('-', 'brief.'), ('+', 'warm.')]
    """
    signed = [_split_sign(line) for line in lines]
    cut = [(sign, cut_pair(text, "")[0]) for sign, text in signed]
    for place in range(len(signed) - 1):
        sign, before = signed[place]
        next_sign, after = signed[place + 1]
        if (sign, next_sign) != ("-", "+"):
            continue
        before_cut, after_cut = cut_pair(before, after)
        cut[place] = (sign, before_cut)
        cut[place + 1] = (next_sign, after_cut)
    return cut


def _split_sign(line: str) -> tuple[str, str]:
    if line[:2] in ("- ", "+ "):
        return line[0], line[2:]
    return "", line
