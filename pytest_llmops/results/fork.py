"""How often a test passes after its fork (``--llm-record=fork``): the result of a test, in words, and the results of a run.

Not scored is never failed: the bounds are over the trials that ended with a verdict.
"""

from __future__ import annotations  # `StoredFacts` reads the types of fields as texts

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pytest_llmops.measurement import Json, format_count, shorten_text
from pytest_llmops.metrics.classification import exact_upper_end
from pytest_llmops.results.details import StoredFacts
from pytest_llmops.results.run import TestRecord

FACT = "fork"
PREFIX = "prefix"  # no request of the application was new
NEW = "new"  # nothing of the test was recorded
CONFIDENCE = "95 % confidence"
MAX_REASONS = 3
MAX_REASON = 120
UNCHANGED = "no request changed: the run was replayed, and no model was called"
ONLY_MEASURED = "no request of the application changed: its run was replayed, and only judges were called"
UNRECORDED = "not recorded before: without a run to fork, the test ran once, live"


@dataclass(frozen=True, slots=True, kw_only=True)
class ForkResult(StoredFacts):
    """The results of the trials of a test after their fork.

    Attributes:
        stage: ``prefix``: the test was not changed, and ran once. ``new``: it had no recording, and ran once. Otherwise it was forked.
        passed: How many trials passed.
        failed: How many failed.
        planned: How many were to run.
        asked: In how many of them a model was called; the others replayed recordings of an earlier fork.
        first_step: The model call, counted from 1, at which a trial left the recorded run; the lowest of all trials.
        last_step: The highest.
        change: How the first new request differs from the recorded ones; "": not known.
        reasons: Why trials have no verdict, each as often as it occurred.
    """

    stage: str = PREFIX
    passed: int = 0
    failed: int = 0
    planned: int = 0
    asked: int = 0
    first_step: int = 0
    last_step: int = 0
    change: str = ""
    reasons: tuple[str, ...] = ()

    @property
    def is_forked(self) -> bool:
        """Whether the trials left the recorded run."""
        return self.stage not in (PREFIX, NEW)

    @property
    def scored(self) -> int:
        """How many trials have a verdict."""
        return self.passed + self.failed

    def to_wire(self) -> dict[str, Json]:
        """Return the result as plain builtins, without empty fields.

        >>> ForkResult(stage="live", passed=1, planned=1, asked=1, first_step=2, last_step=2).to_wire()["first_step"]
        2
        """
        values: dict[str, Json] = {
            "stage": self.stage,
            "passed": self.passed,
            "failed": self.failed,
            "planned": self.planned,
            "asked": self.asked,
            "first_step": self.first_step,
            "last_step": self.last_step,
            "change": self.change,
            "reasons": list(self.reasons),
        }
        return {name: value for name, value in values.items() if value}

    @property
    def sentence(self) -> str:
        """The result of the trials.

        >>> ForkResult(stage="live", passed=9, failed=1, planned=10, asked=10, first_step=4, last_step=4).sentence
        'passed in 9 of 10 runs from step 4 on (true rate at least 60 %, 95 % confidence)'
        >>> ForkResult(stage="live", failed=10, planned=10, asked=10, first_step=3, last_step=4).sentence
        'passed in 0 of 10 runs from step 3 or 4 on (true rate at most 26 %, 95 % confidence)'
        >>> ForkResult(passed=1).sentence
        'no request changed: the run was replayed, and no model was called; it passes as it did'
        """
        if self.stage == NEW:
            return UNRECORDED
        if not self.is_forked:
            beginning = ONLY_MEASURED if self.asked else UNCHANGED
            return f"{beginning}; {self._describe_only_run()}"
        parts = [self._describe_rate()]
        if self.reasons:
            parts.append(self._describe_unscored())
        if not self.asked:
            parts.append(f"no model was called: {self.scored} of {self.planned} runs are recorded")
        return "; ".join(parts)

    def _describe_only_run(self) -> str:
        if self.passed:
            return "it passes as it did"
        if self.failed:
            return "it fails as it did"
        return "it has no verdict"

    def _describe_rate(self) -> str:
        """Return how many trials passed, from which step on, and the bound of the rate."""
        steps = f"from step {self.first_step} on"
        if self.first_step != self.last_step:
            steps = f"from step {self.first_step} or {self.last_step} on"
            if self.last_step - self.first_step > 1:
                steps = f"from steps {self.first_step} to {self.last_step} on"
        if not self.scored:
            return f"none of {format_count(self.planned, 'run')} {steps} has a verdict"
        bound = describe_bound(self.passed, self.scored)
        return f"passed in {self.passed} of {format_count(self.scored, 'run')} {steps} ({bound})"

    def _describe_unscored(self) -> str:
        """Return how many trials have no verdict, and why."""
        distinct = list(dict.fromkeys(shorten_text(reason, MAX_REASON) for reason in self.reasons))
        why = ", ".join(distinct[:MAX_REASONS])
        if len(distinct) > MAX_REASONS:
            why += f" and {len(distinct) - MAX_REASONS} more"
        runs = format_count(self.planned, "run")
        verb = "has" if len(self.reasons) == 1 else "have"
        return f"{len(self.reasons)} of {runs} {verb} no verdict and count neither way: {why}"


def describe_bound(passed: int, count: int) -> str:
    """Return the one-sided 95 % bound of a pass rate: the lower one, or the upper one if nothing passed.

    Exact, by Clopper and Pearson, Biometrika 26, 1934. It is rounded so that it stays true.

    Args:
        passed: How many trials passed.
        count: How many have a verdict, at least one.

    >>> describe_bound(10, 10), describe_bound(1, 10)
    ('true rate at least 74 %, 95 % confidence', 'true rate at least 0.5 %, 95 % confidence')
    """
    if not passed:
        highest = math.ceil(bound_rate(passed, count)[1] * 100)
        return f"true rate at most {highest} %, {CONFIDENCE}"
    lowest = bound_rate(passed, count)[0] * 100
    if lowest >= 1:
        return f"true rate at least {math.floor(lowest)} %, {CONFIDENCE}"
    return f"true rate at least {math.floor(lowest * 10) / 10:g} %, {CONFIDENCE}"


def bound_rate(passed: int, count: int) -> tuple[float, float]:
    """Return the lower and the upper bound of a pass rate, each one-sided at 95 %.

    >>> lowest, highest = bound_rate(9, 10)
    >>> round(lowest, 3), round(highest, 3)
    (0.606, 0.995)
    """
    if not 0 <= passed <= count:  # a damaged run file
        return 0.0, 1.0
    return 1 - exact_upper_end(count - passed, count), exact_upper_end(passed, count)


def read_forks(records: Iterable[TestRecord]) -> list[tuple[TestRecord, ForkResult]]:
    """Return the tests of a run with ``--llm-record=fork`` with their results; empty: it was an ordinary run."""
    forks = []
    for record in records:
        wire = record.fact(FACT)
        if wire:
            forks.append((record, ForkResult.from_wire(wire)))
    return forks


def list_fork_lines(records: Iterable[TestRecord]) -> Sequence[tuple[str, str]]:
    """Return (test, sentence) for each test that was forked or has no recording, and one line for all that were not changed.

    A run of one unchanged test gets its sentence.

    >>> list_fork_lines([TestRecord(nodeid="t", facts={"fork": {"stage": "new"}})])
    [('t', 'not recorded before: without a run to fork, the test ran once, live')]
    """
    forks = read_forks(records)
    lines = []
    for record, fork in forks:
        if fork.stage == PREFIX and len(forks) > 1:
            continue
        text = fork.sentence
        if fork.change and fork.is_forked:
            text += f"; what changed: {shorten_text(fork.change, MAX_REASON)}"
        lines.append((record.nodeid, text))
    unchanged = len(forks) - len(lines)
    if unchanged:
        were = "was" if unchanged == 1 else "were"
        tests = format_count(unchanged, "test")
        lines.append(("", f"{tests} {were} replayed without a changed request; no model was called"))
    return lines
