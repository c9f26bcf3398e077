"""The cases that a terminal shows, of at most four lines each: id and scores, question, the answers before and now."""

from collections import Counter
from collections.abc import Collection, Sequence

from pytest_llmops.measurement import format_count
from pytest_llmops.reports.changed_cases import BEST, CaseKind, ShownCase
from pytest_llmops.reports.terminal_page import INDENT, LABEL_WIDTH, Line, Page, Style, measure_width
from pytest_llmops.results.call_sequences import select_changes

MAX_CASES = 3
MAX_STEPS = 3  # of a case, that differ from the baseline
MAX_VERBOSE_CASES = 10  # with -v; with -vv all are listed
LABELS: dict[CaseKind, str] = {
    "no recording": "missing", "no score": "no score", "error": "error", "failed": "failed",
    "worse": "worse", "better": "better", "edited": "edited", "changed": "changed",
}  # fmt: skip
STYLES: dict[CaseKind, Style] = {
    "no recording": "purple", "no score": "purple", "error": "purple", "failed": "red", "worse": "red", "better": "green",
    "edited": "", "changed": "",
}  # fmt: skip
# The names of the cases in the rest of a list
REST_WORDS: dict[CaseKind, str] = {
    "no recording": "without a recording", "no score": "without a score", "error": "with an error", "failed": "failed",
    "worse": "worse", "better": "better", "edited": "edited", "changed": "changed (same scores)",
}  # fmt: skip
# Kinds that pytest lists itself, with all that is known about them
LISTED_BY_PYTEST = frozenset({"no recording", "error", "failed"})
# Kinds whose cases are shown without -v only if no case is graver
QUIET_KINDS = frozenset({"better", "edited", "changed"})
NOT_STORED = "(not stored here)"
WHY_NOT_STORED = (
    "The answers of the baseline are not stored here: fetch the whole history of git; "
    "without git, accept the baseline again."
)
EMPTY = "(empty)"
LEAST_FOR_BOTH = 40  # columns in which a question and its expectation share a line
SHARE_OF_EXPECTED = 0.4  # of the line of the question, at most


class CaseList:
    """The cases of a run in the order of all reports, as far as a terminal shows them.

    Args:
        cases: What `list_cases` returned.
        page: The terminal.
        verbosity: As in pytest.
        more: Where the others are; "": nowhere.
        lists_failures: pytest lists failed tests, tests with an error and missing recordings itself.
    """

    def __init__(
        self, cases: Sequence[ShownCase], page: Page, verbosity: int, more: str, *, lists_failures: bool
    ) -> None:
        self.cases = cases
        self._page = page
        self._more = more
        self._lists_failures = lists_failures
        self._listable = [case for case in cases if not self._is_listed_by_pytest(case) or case.steps]
        limit = MAX_CASES
        if verbosity > 0:
            limit = MAX_VERBOSE_CASES
        if verbosity > 1:
            limit = len(cases)
        self._shown = self._choose(limit, is_verbose=verbosity > 0)

    def _is_listed_by_pytest(self, case: ShownCase) -> bool:
        """Return whether pytest lists a case itself; all that it does not know are the steps that differ from the baseline."""
        return self._lists_failures and case.kind in LISTED_BY_PYTEST

    def _choose(self, limit: int, *, is_verbose: bool) -> list[ShownCase]:
        """Return the cases to show: without -v none that got better, and others that did not get worse only if none did."""
        if is_verbose:
            return self._listable[:limit]
        bad = [case for case in self._listable if case.kind not in QUIET_KINDS]
        if bad:
            return bad[:limit]
        return [case for case in self._listable if case.kind != "better"][:limit]

    def lines(self) -> list[Line]:
        """Return the cases, and how many others there are."""
        lines: list[Line] = []
        for case in self._shown:
            lines += self._case_lines(case)
        if any(self._lacks_before(case) for case in self._shown):
            lines += self._page.wrap(WHY_NOT_STORED)
        return [*lines, *self._rest_lines()]

    def _case_lines(self, case: ShownCase) -> list[Line]:
        lines = self._head_lines(case)
        if not self._is_listed_by_pytest(case):
            lines += self._text_lines(case)
        return [*lines, *self._step_lines(case)]

    def _step_lines(self, case: ShownCase) -> list[Line]:
        """Return the first calls of tools that differ from the baseline, and how many more there are."""
        page = self._page
        shown, rest = select_changes(case.steps, MAX_STEPS)
        lines: list[Line] = []
        label = "steps"
        for change in shown:
            lines.append(self._text_line(label, page.cut(str(change), page.room())))
            label = ""
        words = []
        if rest:
            words.append(f"and {format_count(rest, 'more step')}")
        if lines and case.step_trials:
            words.append(f"({case.step_trials})")
        if words:
            lines.append(self._text_line("", " ".join(words)))
        return lines

    def _text_lines(self, case: ShownCase) -> list[Line]:
        """Return the question, and the answers before and now."""
        page = self._page
        lines: list[Line] = []
        if case.kind == "no score":
            return lines
        lines += self._question_lines(case)
        room = page.room()
        if case.kind in ("failed", "error", "no recording"):
            if case.now is not None:
                lines.append(self._text_line("answer", page.cut(case.now, room)))
            if case.why:
                lines.append(self._text_line("why", page.cut(case.why, room)))
            return lines
        if case.has_same_answer or case.note == "Only white space differs":
            lines.append(self._text_line("answer", page.cut(case.now or "", room)))
            if case.note and case.kind != "edited":
                lines.append(self._text_line("note", case.note))
            return lines
        before, now = page.cut_pair(case.before or "", case.now or "", room)
        if self._lacks_before(case):
            lines.append(self._text_line("before", NOT_STORED))
        elif case.before is not None:
            lines.append(self._text_line("before", before))
        if case.now is not None:
            lines.append(self._text_line("now", now))
        return lines

    def _lacks_before(self, case: ShownCase) -> bool:
        """Return whether a case shows the answer now, and has no answer of the baseline to show."""
        return case.kind in ("worse", "better", "changed", "edited") and case.lacks_before

    def _text_line(self, label: str, text: str) -> Line:
        return Line(f"  {label:<{LABEL_WIDTH - 2}}{text or EMPTY}")

    def _head_lines(self, case: ShownCase) -> list[Line]:
        """Return kind, id and scores on one line; scores that do not fit are left out, the first one goes below if it does not fit."""
        page = self._page
        label = LABELS[case.kind]
        if case.broke and case.kind == "worse":
            label = "broke"
        style = STYLES[case.kind]
        text = f"{label:<{LABEL_WIDTH}}{page.spell(case.id)}"
        pieces = self._score_pieces(case)
        if not pieces:
            return [Line(text, style, len(label))]
        room = page.room(0)
        lines: list[Line] = []
        if measure_width(f"{text}  {pieces[0]}") > room:
            lines.append(Line(text, style, len(label)))
            text = INDENT + pieces[0]
        else:
            text += f"  {pieces[0]}"
        for place, piece in enumerate(pieces[1:], start=1):
            is_last = place == len(pieces) - 1
            if measure_width(f"{text}, {piece}") + (0 if is_last else 3) > room:
                text += page.spell(", …")
                break
            text += f", {piece}"
        lines.append(Line(text, style if not lines else "", len(label) if not lines else 0))
        return lines

    def _score_pieces(self, case: ShownCase) -> list[str]:
        """Return the scores as texts; without scores the text in their place."""
        if case.kind == "edited":
            return ["the case was edited"]
        if case.kind == "no score":
            return [self._page.spell(score.name) for score in case.scores]
        pieces = [self._page.spell(score.words) for score in case.scores]
        if not pieces and case.kind == "changed":
            return ["same scores"]
        return pieces

    def _question_lines(self, case: ShownCase) -> list[Line]:
        """Return the question and the expectation, on one line if there is room."""
        page = self._page
        room = page.room()
        if not case.question and not case.expected:
            return []
        lines: list[Line] = []
        if case.question:
            lines.append(self._text_line("asked", page.cut(case.question, room)))
        if not case.expected:
            return lines
        if not lines or room < LEAST_FOR_BOTH:
            return [*lines, Line(f"{'expected':<{LABEL_WIDTH}}{page.cut(case.expected, room)}")]
        frame = len("  (expected: )")
        wanted = max(room - frame - measure_width(case.question), int(SHARE_OF_EXPECTED * room))
        expected = f"  (expected: {page.cut(case.expected, wanted)})"
        question = page.cut(case.question, room - measure_width(expected))
        return [self._text_line("asked", question + expected)]

    def _rest_lines(self) -> list[Line]:
        """Return how many cases are not shown, by kind, and which trial the answers are from."""
        lines: list[Line] = []
        shown = Counter(case.kind for case in self._shown)
        counts = []
        for kind, number in Counter(case.kind for case in self._listable).items():
            rest = number - shown[kind]
            if rest:
                more = "more " if shown[kind] else ""
                counts.append(f"{rest:,} {more}{REST_WORDS[kind]}")
        if counts:
            text = ", ".join(counts)
            if shown:
                text = f"and {text}"
            if self._more:
                text += f": {self._more}"
            lines += self._page.wrap(text)
        trials = {case.trial for case in self._shown if case.trial and case.kind != "no score"}
        if trials:
            lines += self._page.wrap(_describe_trials(trials))
        return lines


def _describe_trials(trials: Collection[str]) -> str:
    """Return which trials the shown answers are from.

    >>> _describe_trials(["the worst of 3 trials"])
    'The answers are from the worst of 3 trials.'
    """
    best = [trial for trial in trials if trial.startswith(BEST)]
    if len(trials) == 1 and not best:
        return f"The answers are from {next(iter(trials))}."
    if not best:
        return "The answers are from the worst trial of each case."
    return "The answers are from the worst trial of each case. Of better cases, the answer now is from the best trial."
