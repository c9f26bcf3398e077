"""Several judges for one: their mean is the score, their disagreement says how sure it is.

Three small judges of different families agree better with people than one large judge (Verga et al. 2024,
"Replacing Judges with Juries"), and where they disagree a person should look.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field

from pytest_llmops.errors import UsageError
from pytest_llmops.judges.protocol.prompting import hash_parts
from pytest_llmops.measurement import TOLERANCE
from pytest_llmops.protocols import Judge, Verdict

MAX_THREADS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelVerdict(Verdict):
    """The verdict of several judges.

    Attributes:
        votes: The verdict of each judge, in their order; unscored ones too.
        spread: Standard deviation of the scores (n - 1), on the scale; None with fewer than two scores.
        passing: Share of the scores that reach ``pass_at``; None without a threshold.
    """

    votes: tuple[Verdict, ...] = ()
    spread: float | None = None
    passing: float | None = None

    @property
    def majority(self) -> bool | None:
        """Whether more than half of the judges pass the answer; None without a threshold."""
        return None if self.passing is None else self.passing > 1 / 2


@dataclass(slots=True)
class Panel:
    """A judge that asks several others, at the same time, and takes their mean.

    Args:
        judges: At least two, on the same scale, each with a version of its own (another model, another rubric).
        name: Of the judge and its measurements.
        pass_at: The threshold of an assertion that names none; None: that of the judges, if they share it.

    Raises:
        UsageError: Fewer than two judges, the same one twice, or scales that differ.
    """

    judges: Sequence[Judge]
    name: str = "panel"
    pass_at: float | None = None
    _scale: tuple[float, float] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if len(self.judges) < 2:  # noqa: PLR2004 -- of one judge there is no mean
            raise UsageError(f"judge {self.name}: expected two judges or more, got {len(self.judges)}")
        scales = {(getattr(judge, "low", None), getattr(judge, "high", None)) for judge in self.judges}
        if len(scales) > 1:
            raise UsageError(
                f"judge {self.name}: expected judges on the same scale, got {sorted(map(str, scales))}"
            )
        thresholds = {getattr(judge, "pass_at", None) for judge in self.judges}
        if self.pass_at is None and len(thresholds) == 1:
            self.pass_at = thresholds.pop()

    @property
    def low(self) -> float | None:
        """The lowest score; None if the judges do not say before they are asked."""
        return getattr(self.judges[0], "low", None)

    @property
    def high(self) -> float | None:
        """The highest score; None if the judges do not say before they are asked."""
        return getattr(self.judges[0], "high", None)

    @property
    def model_name(self) -> str:
        """The models' names."""
        return ", ".join(str(getattr(judge, "model_name", type(judge).__name__)) for judge in self.judges)

    @property
    def version(self) -> str:
        """Hash of the judges' versions.

        Raises:
            UsageError: Two of the judges are the same: their agreement would mean nothing.
        """
        versions = [str(one.version) for one in self.judges]
        twice = next((one for one in versions if versions.count(one) > 1), None)
        if twice is not None:
            raise UsageError(
                f"judge {self.name}: expected judges that differ in model or rubric, got the version {twice} twice"
            )
        return hash_parts(sorted(versions), 12)

    def judge(
        self, answer: str, *, question: str = "", reference: str = "", contexts: Sequence[str] = ()
    ) -> PanelVerdict:
        """Return the mean of the judges' verdicts.

        Judges that gave no score are left out and named, as long as more than half gave one; else the
        answer is unscored.

        Raises:
            ModelError: One of the models could not be asked: a smaller panel is another panel.
            UsageError: Two of the judges are the same.
        """
        _ = self.version
        more = {"contexts": contexts} if contexts else {}

        def ask(one: Judge) -> Verdict:
            return one.judge(answer, question=question, reference=reference, **more)

        # Each thread sees the running test: its recorder, the trial, and whom the calls serve.
        with ThreadPoolExecutor(min(len(self.judges), MAX_THREADS)) as pool:
            running = [pool.submit(copy_context().run, ask, one) for one in self.judges]
            votes = tuple(one.result() for one in running)
        return _merge_votes(votes, self.pass_at)


def _merge_votes(votes: Sequence[Verdict], pass_at: float | None) -> PanelVerdict:
    low, high = votes[0].low, votes[0].high
    raw = "\n\n".join(
        f"judge {number}: {vote.raw or vote.reason}" for number, vote in enumerate(votes, start=1)
    )
    if any((vote.low, vote.high) != (low, high) for vote in votes):
        return PanelVerdict(
            low=low, high=high, votes=tuple(votes), raw=raw, error="the judges' scales differ"
        )
    scores = [vote.score for vote in votes if vote.score is not None]
    errors = [
        f"judge {number}: {vote.error}" for number, vote in enumerate(votes, start=1) if vote.score is None
    ]
    if len(scores) * 2 <= len(votes):
        error = f"{len(errors)} of {len(votes)} judges gave no score: {'; '.join(errors)}"
        return PanelVerdict(low=low, high=high, votes=tuple(votes), raw=raw, error=error)
    mean = math.fsum(scores) / len(scores)
    spread = standard_deviation(scores)
    return PanelVerdict(
        score=min(max(mean, low), high),
        low=low,
        high=high,
        reason="; ".join([*(vote.reason for vote in votes if vote.score is not None), *errors]),
        raw=raw,
        dimensions=_mean_dimensions(votes),
        prescreened=all(vote.prescreened for vote in votes),
        votes=tuple(votes),
        spread=spread,
        confidence=score_confidence(scores, low, high),
        passing=None
        if pass_at is None
        else sum(vote >= pass_at - TOLERANCE for vote in scores) / len(scores),
    )


def _mean_dimensions(votes: Sequence[Verdict]) -> Mapping[str, float]:
    """The mean of each dimension that all judges with a score have."""
    scored = [one.dimensions for one in votes if one.score is not None]
    shared = [name for name in scored[0] if all(name in one for one in scored)]
    return {name: math.fsum(one[name] for one in scored) / len(scored) for name in shared}


def standard_deviation(scores: Sequence[float]) -> float | None:
    """Return the standard deviation (n - 1) of some scores; None of fewer than two.

    >>> standard_deviation([1, 2, 3]), standard_deviation([4])
    (1.0, None)
    """
    if len(scores) < 2:  # noqa: PLR2004 -- one score has no deviation
        return None
    mean = math.fsum(scores) / len(scores)
    return math.sqrt(math.fsum((score - mean) ** 2 for score in scores) / (len(scores) - 1))


def score_confidence(scores: Sequence[float], low: float, high: float) -> float | None:
    """Return how near scores of one answer are: 1 if they are equal, 0 if half are at either end of the scale.

    One minus the standard deviation (n) over its largest possible value, half the scale. It says how sure the
    judges are of themselves, not how right they are. None of fewer than two scores.

    >>> score_confidence([7, 7, 7], 1, 10), score_confidence([1, 10], 1, 10)
    (1.0, 0.0)
    """
    if len(scores) < 2:  # noqa: PLR2004 -- one score agrees with itself
        return None
    mean = math.fsum(scores) / len(scores)
    spread = math.sqrt(math.fsum((score - mean) ** 2 for score in scores) / len(scores))
    return min(max(1 - spread / ((high - low) / 2), 0.0), 1.0)
