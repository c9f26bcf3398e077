"""The verdict on each line of a ledger: needed, can go, not measured, or undecided.

All lines are decided together: the chance that any line at all is called "needed" wrongly is at most the level, however many lines there
are (Holm), and so is the chance that any line is called "can go" whose loss reaches the margin. The tests are the same as at the gate.
"""

from collections.abc import Sequence
from dataclasses import replace

from pytest_llmops.ledger.evidence import Evidence, Reference
from pytest_llmops.ledger.line_tests import Loss, are_answers_alike, measure_loss, rules_out_loss, shows_drop
from pytest_llmops.ledger.lines import LineWriter
from pytest_llmops.ledger.model import AskedLine, LedgerRules, Line
from pytest_llmops.measurement import format_count
from pytest_llmops.metrics.change.p_values import ROUNDING
from pytest_llmops.metrics.change.trials import adjust_p_values
from pytest_llmops.results.run import Run

CLOSE = 0.4  # of the margin: a line that lost more is not left out with others, unless it is proved that it can go
CLEAR_FALL = 0.75  # of a case: it passed before, and fails


def decide_lines(base: Run, asked: Sequence[AskedLine], rules: LedgerRules) -> tuple[Line, ...]:
    """Return the verdict on each line, in the order of `asked`. The caller fills in costs and dates.

    Args:
        base: The run with the whole prompt.
        asked: The run without each line.
        rules: The limits and metrics by which the ledger decides.

    >>> decide_lines(Run(), [AskedLine(numbers=(1,), problem="the template is invalid without it")], LedgerRules())[0].status
    'not tried'
    """
    ledger = _Ledger(base, asked, rules)
    ledger.decide()
    return tuple(line for line in ledger.lines if line is not None)


def decide_together(base: Run, asked: AskedLine, rules: LedgerRules) -> Line:
    """Return the verdict on rules that were left out together: one look, so nothing is corrected.

    >>> decide_together(Run(), AskedLine(numbers=(1, 2), problem="the template is invalid"), LedgerRules()).why
    'the template is invalid'
    """
    (line,) = decide_lines(base, [asked], rules)
    return line


def choose_together(lines: Sequence[Line], rules: LedgerRules) -> tuple[int, ...]:
    """Return the rules to leave out together: the ones that can go, and the undecided ones that show no loss.

    The run without all of them is a new draw and one look, so it settles more than many looks at single lines (`accept_together`).

    Args:
        lines: The verdicts of `decide_lines`.
        rules: The limits and metrics by which the ledger decides.

    >>> undecided = Line(numbers=(2,), status="undecided", why="", change=-0.01, lower=-0.07)
    >>> choose_together([Line(numbers=(1,), status="can go", why=""), undecided], LedgerRules())
    (1, 2)
    """
    return tuple(number for line in lines if _may_go(line, rules) for number in line.numbers)


def _may_go(line: Line, rules: LedgerRules) -> bool:
    """Return whether a line can go, or shows no loss: neither in the mean nor in a case that always failed without it."""
    if line.status != "undecided":
        return line.status == "can go"
    if line.change is None or line.lower is None or line.change <= -rules.margin * CLOSE:
        return False
    falls = [
        case.before - case.after for case in line.cases if case.before is not None and case.after is not None
    ]
    return max(falls, default=0.0) < CLEAR_FALL


def accept_together(lines: Sequence[Line], together: Line) -> tuple[Line, ...]:
    """Return the verdicts after the run without several rules: if they can go together, the undecided ones of them can go too.

    Args:
        lines: The verdicts of `decide_lines`.
        together: The verdict of `decide_together` on the rules that `choose_together` chose.

    >>> undecided = Line(numbers=(2,), status="undecided", why="", change=-0.01, lower=-0.07)
    >>> accept_together([undecided], Line(numbers=(1, 2), status="can go", why="a drop of 5 points or more is ruled out"))[0].why
    'left out together with 1 other: a drop of 5 points or more is ruled out'
    """
    if together.status != "can go":
        return tuple(lines)
    others = format_count(len(together.numbers) - 1, "other")
    why = f"left out together with {others}: {together.why}"
    accepted = []
    for line in lines:
        if line.status == "undecided" and set(line.numbers) <= set(together.numbers):
            accepted.append(replace(line, status="can go", why=why, next_step=""))
        else:
            accepted.append(line)
    return tuple(accepted)


class _Ledger:
    """Decides the lines of a ledger, one kind of verdict after another.

    Attributes:
        lines: The verdict on each line of `asked`; None until it is decided.
    """

    def __init__(self, base: Run, asked: Sequence[AskedLine], rules: LedgerRules) -> None:
        self._asked = asked
        self._rules = rules
        self.lines: list[Line | None] = [None] * len(asked)
        self._evidence: dict[int, Evidence] = {}
        reference = Reference(base, [line.run for line in asked if line.run is not None])
        for place, line in enumerate(asked):
            if line.run is None or line.problem:
                why = line.problem or "it was not tried"
                self.lines[place] = Line(numbers=line.numbers, status="not tried", why=why)
            else:
                self._evidence[place] = Evidence(reference, line.run, rules)

    def decide(self) -> None:
        """Decide all lines."""
        self._set_aside()
        losses = self._find_needed()
        self._find_unscored()
        self._find_unmeasured()
        self._find_needless(losses)

    @property
    def _open(self) -> list[int]:
        """The places of the lines that are not decided yet."""
        return [place for place in self._evidence if self.lines[place] is None]

    def _write(self, place: int, tests: int = 1) -> LineWriter:
        """Return the writer of a line, whose ranges are at the level that each of so many tests has."""
        return LineWriter(
            self._asked[place].numbers, self._evidence[place], self._rules.level / max(tests, 1)
        )

    def _set_aside(self) -> None:
        """Decide the lines that cannot be compared, and those that are in no request."""
        for place in self._open:
            if self._evidence[place].problem[0]:
                self.lines[place] = self._write(place).write_problem()
            elif not self._evidence[place].has_other_requests:
                self.lines[place] = self._write(place).write_no_request()

    def _find_needed(self) -> set[int]:
        """Decide the lines whose loss is proved, all together by Holm's correction, and return their places."""
        places = self._open
        losses: list[Loss] = [measure_loss(self._evidence[place]) for place in places]
        adjusted = adjust_p_values([loss.p_value for loss in losses])
        needed = set()
        for place, loss, p_value in zip(places, losses, adjusted, strict=True):
            if p_value <= self._rules.level + ROUNDING:
                self.lines[place] = self._write(place, len(places)).write_needed(loss)
                needed.add(place)
        return needed

    def _find_unscored(self) -> None:
        """Leave the lines undecided of which too many trials have no score: the remaining trials are not a representative sample."""
        for place in self._open:
            unscored = self._evidence[place].find_unscored()
            if unscored is not None:
                self.lines[place] = self._write(place).write_unscored(unscored)

    def _find_unmeasured(self) -> None:
        """Decide the lines without which no answer changed that could score lower."""
        for place in self._open:
            evidence = self._evidence[place]
            if are_answers_alike(evidence) and not shows_drop(evidence):
                self.lines[place] = self._write(place).write_not_measured()

    def _find_needless(self, needed: set[int]) -> None:
        """Decide the lines of which a loss is ruled out, all together by Holm's correction; the others stay undecided.

        The needed lines count among those that are tested, as any of them could have been called "can go" wrongly.
        """
        tests = len(needed) + len(self._open)
        while True:
            tested = max(tests, 1)
            level = self._rules.level / tested
            ruled_out = [place for place in self._open if rules_out_loss(self._evidence[place], level)]
            if not ruled_out:
                break
            for place in ruled_out:
                self.lines[place] = self._write(place, tested).write_can_go()
            tests -= len(ruled_out)
        for place in self._open:
            self.lines[place] = self._write(place, tests).write_undecided()
