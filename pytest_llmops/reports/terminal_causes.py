"""The first lines in a terminal: the edits since the baseline, or the cause that broke the run."""

from collections.abc import Sequence

from pytest_llmops.measurement import format_count
from pytest_llmops.reports.causes import cut_edit_lines, is_cause, list_missing
from pytest_llmops.reports.changed_cases import ShownCase
from pytest_llmops.reports.headline import Word
from pytest_llmops.reports.terminal_page import INDENT, LABEL_WIDTH, Line, Page, Style, glue
from pytest_llmops.results.details import CollectionError, as_list
from pytest_llmops.results.run import Run
from pytest_llmops.results.verdict import SuiteEdit

MAX_EDITS = 3
MAX_EDIT_LINES = 6  # of all edits together
MAX_LINE = 120  # characters of a line of an edit
MAX_NAMES = 5


def cause_lines(run: Run, cases: Sequence[ShownCase], word: Word, page: Page, more: str = "") -> list[Line]:
    """Return the edits, which modules could not be loaded, why scores are missing, and which tests are gone.

    >>> cause_lines(Run(), [], "PASS", Page(ascii=False, width=80))
    []
    """
    errors = [CollectionError.from_wire(error) for error in as_list(run.meta.get("collection_errors"))]
    if errors:
        return _collection_lines(errors, page)
    lines = _unscored_lines(cases, page)
    gate = run.find_verdict("baseline")
    if gate is not None:
        lines += _edit_lines(gate.edits, page, is_cause=is_cause(gate.edits, word, cases))
    return lines + _missing_lines(run, page, more)


def _collection_lines(errors: Sequence[CollectionError], page: Page) -> list[Line]:
    """Return why modules could not be loaded: one line if all fail at the same place; then their tests."""
    causes = {(error.place, error.error) for error in errors}
    lines: list[Line] = []
    if len(causes) == 1:
        ((place, message),) = causes
        text = _join_cause(place, message)
        if len(errors) > 1:
            which = "both modules" if len(errors) == 2 else f"all {len(errors):,} modules"  # noqa: PLR2004 -- both
            text = f"{which} fail at the same place: {text}"
        lines += page.fact("cause", page.quote(text, 500))
    else:
        label = "cause"
        for error in errors[:MAX_NAMES]:
            text = _join_cause(error.place or error.module, error.error)
            lines += page.fact(label, page.quote(text, 500))
            label = ""
        rest = len(errors) - MAX_NAMES
        if rest > 0:
            lines += page.fact("", f"and {rest:,} more")
    return [*lines, *_not_run_lines(errors, page)]


def _join_cause(place: str, message: str) -> str:
    return ": ".join(filter(None, (place, message)))


def _not_run_lines(errors: Sequence[CollectionError], page: Page) -> list[Line]:
    names = []
    has_unit = False  # whether a number has its unit
    for error in errors[:MAX_NAMES]:
        name = page.quote(error.module, 120)
        if error.tests:
            tests = f"{error.tests:,}"
            if not has_unit:
                tests = f"{format_count(error.tests, 'test')} in the baseline"
            has_unit = True
            name += f" ({tests})"
        names.append(glue(name))
    text = ", ".join(names)
    rest = len(errors) - len(names)
    if rest:
        text += f" and {rest:,} more"
    return page.fact("not run", text)


def _unscored_lines(cases: Sequence[ShownCase], page: Page) -> list[Line]:
    """Return why scores are missing, if all have the same cause."""
    unscored = [case for case in cases if case.kind == "no score"]
    reasons = {case.why for case in unscored if case.why}
    if len(reasons) != 1 or len(unscored) < 2:  # noqa: PLR2004 -- what tests share
        return []
    tests = format_count(len(unscored), "test")
    return page.fact("cause", f"{page.quote(reasons.pop(), 300)}, in {tests}")


def _edit_lines(edits: Sequence[SuiteEdit], page: Page, *, is_cause: bool) -> list[Line]:
    """Return the edits since the baseline."""
    lines: list[Line] = []
    left = MAX_EDIT_LINES
    label = "edited"
    start = ""
    if is_cause:
        label = "cause"
        start = "most likely: "
    for edit in edits[:MAX_EDITS]:
        lines += page.fact(label, start + page.quote(edit.words, 300))
        label = ""
        listed = edit.lines[:left]
        left -= len(listed)
        for sign, text in cut_edit_lines(listed, lambda old, new: page.cut_pair(old, new, MAX_LINE)):
            style: Style = "red" if sign == "-" else "green"
            lines += page.wrap(f"{INDENT}{sign} {text}", style, hang=LABEL_WIDTH + 2)
    rest = len(edits) - MAX_EDITS
    if rest > 0:
        lines += page.fact("", f"and {rest:,} more")
    return lines


def _missing_lines(run: Run, page: Page, more: str) -> list[Line]:
    """Return the tests of the baseline that did not run, if nothing is decided for that reason."""
    missing = list_missing(run, run.find_verdict("baseline"))
    if not missing.names:
        return []
    text = ", ".join(glue(page.quote(name)) for name in missing.names)
    if missing.more:
        text += f" and {missing.more:,} more: {more}".rstrip(": ")
    return page.fact("missing", text)
