"""The marker ``llm_trials``: how often a test runs, and when it passes."""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from pytest_llmops.errors import UsageError
from pytest_llmops.harness.markers.marker import Argument, Arguments, Marker, whole_number
from pytest_llmops.metrics.classification import wilson_interval
from pytest_llmops.settings import Settings

MAX_TRIALS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialPlan:
    """How often a test runs, and when it passes.

    Attributes:
        trials: How often it runs.
        pass_at_least: How many trials must pass; None: ``at_least`` decides.
        at_least: The pass rate that the trials must prove; None: ``pass_at_least`` decides.
        confidence: One-sided confidence of that proof.

    If neither is given, all trials must pass.
    """

    trials: int = 1
    pass_at_least: int | None = None
    at_least: float | None = None
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if self.at_least is None and self.pass_at_least is None:
            object.__setattr__(self, "pass_at_least", self.trials)

    @property
    def rule(self) -> str:
        """The requirement, in words."""
        if self.at_least is None:
            if self.pass_at_least == self.trials:
                return "all must pass"
            return f"{self.pass_at_least} must pass"
        return f"a rate of {self.at_least:g} must be proved ({self.confidence:.0%} confidence)"

    def interval(self, passed: int, count: int) -> tuple[float, float]:
        """Return a lower and an upper bound of the pass rate, each with the one-sided confidence (Wilson)."""
        return wilson_interval(passed, count, NormalDist().inv_cdf(self.confidence))

    def fewest_trials(self) -> int:
        """Return the smallest number of trials that proves ``at_least`` if all pass.

        >>> TrialPlan(trials=5, at_least=0.8).fewest_trials()
        11
        """
        z = NormalDist().inv_cdf(self.confidence)
        wanted = self.at_least or 0.0
        # Wilson's lower end of n of n is n / (n + z squared).
        count = math.ceil(wanted * z * z / (1 - wanted))
        if self.interval(count, count)[0] >= wanted:
            return count
        return count + 1

    def decide(self, passed: int, failed: int, left: int) -> bool | None:
        """Return whether the test passes; None if that is open, also with no trial left: a rate may be neither proved nor excluded.

        Args:
            passed: How many trials passed.
            failed: How many failed.
            left: How many trials may still go either way: they did not run yet, or got no score.

        >>> plan = TrialPlan(trials=5, pass_at_least=3)
        >>> plan.decide(3, 0, 2), plan.decide(0, 3, 2), plan.decide(2, 2, 1)
        (True, False, None)
        """
        if self.at_least is None:
            wanted = self.pass_at_least or 0
            if passed >= wanted:
                return True
            if passed + left < wanted:
                return False
            return None
        # A look after each trial would prove too much: a bound counts only if no further trial can change it.
        count = passed + failed + left
        if self.interval(passed, count)[0] >= self.at_least:
            return True
        if count and self.interval(passed + left, count)[1] < self.at_least:
            return False
        return None

    def further_trials(self, passed: int, failed: int) -> int | None:
        """Return how many more trials would settle an undecided test if they pass at the same rate; None: `MAX_TRIALS` or more.

        At least one trial has passed or failed.
        """
        rate = passed / (passed + failed)
        count = passed + failed
        for more in range(1, MAX_TRIALS):
            hits = round(rate * (count + more))
            if self.decide(hits, count + more - hits, 0) is not None:
                return more
        return None


def _parse_share(value: object) -> float:
    if not isinstance(value, float) or not 0 < value < 1:
        raise ValueError("at_least and confidence as shares between 0 and 1")
    return value


def _keep_passes(value: object) -> object:
    return value  # its range depends on n: `read` checks it


class TrialsMarker(Marker):
    """The marker replaces ``--llm-trials`` for this test.

    Example::

        @pytest.mark.llm_trials(10, pass_at_least=9)
        def test_answer(llm): ...
    """

    name = "llm_trials"
    help = "run the test several times"
    arguments = (
        Argument(
            "n",
            whole_number(f"n, the number of trials from 1 to {MAX_TRIALS:,}", least=1, most=MAX_TRIALS),
            "the number of trials",
        ),
        Argument(
            "pass_at_least", _keep_passes, "the number of trials that must pass. Left out: all", default=None
        ),
        Argument(
            "at_least",
            _parse_share,
            "instead of `pass_at_least`: the pass rate that the trials must prove, 0 to 1",
            default=None,
        ),
        Argument("confidence", _parse_share, "one-sided confidence of that proof, 0 to 1", default=0.95),
    )

    def read(self, arguments: Arguments) -> TrialPlan:
        """Return how often the test runs, and when it passes.

        Raises:
            UsageError: The arguments are wrong, or so few trials cannot prove the rate even if all of them pass.
        """
        values = self.parse(arguments)
        given = arguments.by_name(*values)
        count = values["n"]
        if "at_least" not in given:
            if "confidence" in given:
                raise arguments.usage_error("at_least=RATE with confidence")
            return TrialPlan(trials=count, pass_at_least=_read_passes(arguments, given, count))
        if "pass_at_least" in given:
            raise arguments.usage_error("either pass_at_least or at_least")
        plan = TrialPlan(trials=count, at_least=values["at_least"], confidence=values["confidence"])
        fewest = plan.fewest_trials()
        if count < fewest:
            proved = plan.interval(count, count)[0]
            raise UsageError(
                f"{arguments.where}: @pytest.mark.llm_trials: {count} of {count} proves a rate of {proved:.2f}; "
                f"{plan.at_least:g} needs {fewest} trials"
            )
        return plan


MARKER = TrialsMarker()


def _read_passes(arguments: Arguments, given: dict[str, Any], count: int) -> int:
    """Return how many of the trials must pass."""
    parse = whole_number("", least=1, most=count)
    try:
        passes: int = parse(given.get("pass_at_least", count))
    except ValueError:
        raise arguments.usage_error(f"pass_at_least from 1 to {count:,}") from None
    return passes


def read_trial_plan(item: Any, settings: Settings) -> TrialPlan:
    """Return how often a test runs: by its marker, else by --llm-trials.

    Raises:
        UsageError: The marker's arguments are wrong, or its trials can never prove the rate that it requires.
    """
    arguments = MARKER.find(item)
    if arguments is None:
        return TrialPlan(trials=settings.trials)
    return MARKER.read(arguments)


def has_trials(item: Any, settings: Settings) -> bool:
    """Return whether a test is repeated: by its marker, or because the run repeats all tests."""
    return settings.trials > 1 or settings.fork or MARKER.find(item) is not None
