"""A panel of judges: the mean of their scores, and a confidence from their disagreement.

Three small judges of different families agree better with human annotators than a single large judge (Verga et al.
2024, "Replacing Judges with Juries"), and where they disagree a human should look.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from pytest_llmops.errors import UsageError
from pytest_llmops.judges.concurrency import run_in_threads
from pytest_llmops.judges.protocol.images import GivenImage
from pytest_llmops.judges.protocol.prompting import hash_parts
from pytest_llmops.judges.protocol.reply_form import ReasonPlace
from pytest_llmops.judges.reason_places import find_reason_place, move_reason
from pytest_llmops.protocols import Judge, Verdict

MIN_JUDGES = 2
MAX_THREADS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelVerdict(Verdict):
    """The verdict of a panel.

    Attributes:
        votes: The verdicts of the judges in the panel's order, unscored ones included.
        spread: Standard deviation of the scores (n - 1), on the scale; None with fewer than two scores.
    """

    votes: tuple[Verdict, ...] = ()
    spread: float | None = None


@dataclass(slots=True)
class Panel:
    """A judge that runs several others at the same time, and returns the mean of their scores.

    Args:
        judges: At least two, on the same scale, with different versions (another model or another rubric).
        name: The name of the panel and its measurements.
        pass_at: Default threshold of an assertion. None: the threshold that all judges share, if they do.

    Raises:
        UsageError: Fewer than two judges, or scales that differ.
    """

    judges: Sequence[Judge]
    name: str = "panel"
    pass_at: float | None = None

    def __post_init__(self) -> None:
        if len(self.judges) < MIN_JUDGES:
            raise UsageError(f"judge {self.name}: expected two judges or more, got {len(self.judges)}")
        scales = {(getattr(judge, "low", None), getattr(judge, "high", None)) for judge in self.judges}
        if len(scales) > 1:
            listed = sorted(map(str, scales))
            raise UsageError(f"judge {self.name}: expected judges on the same scale, got {listed}")
        thresholds = {getattr(judge, "pass_at", None) for judge in self.judges}
        if self.pass_at is None and len(thresholds) == 1:
            self.pass_at = thresholds.pop()

    @property
    def low(self) -> float | None:
        """The lowest score. None if the judges have no ``low`` and only their verdicts name it."""
        return getattr(self.judges[0], "low", None)

    @property
    def high(self) -> float | None:
        """The highest score. None if the judges have no ``high`` and only their verdicts name it."""
        return getattr(self.judges[0], "high", None)

    @property
    def reason(self) -> str:
        """Where all judges give their reason: ``before`` or ``after`` the verdict, or ``none``. "" if they differ."""
        places = {find_reason_place(judge) for judge in self.judges}
        if len(places) > 1:
            return ""
        return places.pop()

    def with_reason(self, reason: ReasonPlace) -> "Panel":
        """Return the same panel of judges that all give their reason ``before`` or ``after`` the verdict, or ``none``.

        Raises:
            UsageError: ``reason`` has another value, or a judge is of a kind that cannot move its reason.
        """
        judges = [move_reason(judge, reason) for judge in self.judges]
        return Panel(judges, self.name, self.pass_at)

    @property
    def model_name(self) -> str:
        """The models' names."""
        names = [getattr(judge, "model_name", type(judge).__name__) for judge in self.judges]
        return ", ".join(map(str, names))

    @property
    def version(self) -> str:
        """Hash of the judges' versions.

        Raises:
            UsageError: Two judges are the same, so their agreement would mean nothing.
        """
        versions = [str(judge.version) for judge in self.judges]
        duplicates = [version for version in versions if versions.count(version) > 1]
        if duplicates:
            raise UsageError(
                f"judge {self.name}: expected judges that differ in model or rubric, got the version {duplicates[0]} twice"
            )
        return hash_parts(sorted(versions), 12)

    def judge(
        self,
        answer: str,
        *,
        question: str = "",
        reference: str = "",
        contexts: Sequence[str] = (),
        images: Sequence[GivenImage] = (),
    ) -> PanelVerdict:
        """Return the mean of the judges' verdicts.

        If more than half of the judges give a score, the others are left out and their errors reported in the reason,
        otherwise the answer is unscored.

        Raises:
            ModelError: A model could not be called. Without that judge it would be a different panel.
            UsageError: Two judges are the same.
        """
        _ = self.version  # raises for duplicates
        given: dict[str, Any] = {"question": question, "reference": reference}
        if contexts:  # a judge may have no such parameter
            given["contexts"] = contexts
        if images:
            given["images"] = images
        tasks = [partial(judge.judge, answer, **given) for judge in self.judges]
        votes = run_in_threads(tasks, MAX_THREADS)
        return _merge_votes(tuple(votes))


def _merge_votes(votes: tuple[Verdict, ...]) -> PanelVerdict:
    """Return the mean of the votes; an unscored verdict if at most half of them have a score, or scales differ."""
    low = votes[0].low
    high = votes[0].high
    replies = []
    for number, vote in enumerate(votes, start=1):
        replies.append(f"judge {number}: {vote.raw or vote.reason}")
    unscored = PanelVerdict(low=low, high=high, votes=votes, raw="\n\n".join(replies))
    if any((vote.low, vote.high) != (low, high) for vote in votes):
        return replace(unscored, error="the judges' scales differ")

    scored: list[Verdict] = []
    scores: list[float] = []
    errors: list[str] = []
    for number, vote in enumerate(votes, start=1):
        if vote.score is None:
            errors.append(f"judge {number}: {vote.error}")
        else:
            scored.append(vote)
            scores.append(vote.score)
    if len(scores) <= len(errors):
        listed = "; ".join(errors)
        problem = f"{len(errors)} of {len(votes)} judges gave no score: {listed}"
        return replace(unscored, error=problem)

    mean = math.fsum(scores) / len(scores)
    reasons = [vote.reason for vote in scored if vote.reason]
    spread = None
    if len(scores) > 1:
        spread = statistics.stdev(scores)
    dimensions = _average_dimensions(scored)
    confidence = score_confidence(scores, low, high)
    return replace(
        unscored,
        score=min(max(mean, low), high),
        reason="; ".join(reasons + errors),
        dimensions=dimensions,
        prescreened=all(vote.prescreened for vote in votes),
        spread=spread,
        confidence=confidence,
    )


def _average_dimensions(votes: Sequence[Verdict]) -> dict[str, float]:
    """Return the mean score of each dimension that is in all votes."""
    means = {}
    for name in votes[0].dimensions:
        scores = [vote.dimensions[name] for vote in votes if name in vote.dimensions]
        if len(scores) == len(votes):
            means[name] = math.fsum(scores) / len(scores)
    return means


def score_confidence(scores: Sequence[float], low: float, high: float) -> float | None:
    """Return how much several scores of the same answer agree, from 0 to 1; None for fewer than two scores.

    1: all scores are equal. 0: half of them are at the lowest end of the scale, half at the highest. It is one minus
    the standard deviation (n), divided by half the width of the scale, which is the largest possible deviation. It
    measures how consistent the judges are, not how right.

    >>> score_confidence([7, 7, 7], 1, 10), score_confidence([1, 10], 1, 10)
    (1.0, 0.0)
    """
    if len(scores) < MIN_JUDGES:  # a single score agrees with itself
        return None
    largest = (high - low) / 2
    confidence = 1 - statistics.pstdev(scores) / largest
    return min(max(confidence, 0.0), 1.0)
