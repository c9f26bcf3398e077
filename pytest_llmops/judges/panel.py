"""A panel of judges: the mean of their scores, and a confidence from their disagreement.

Three small judges of different families agree better with human annotators than a single large judge (Verga et al.
2024, "Replacing Judges with Juries"), and where they disagree a human should look.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from pytest_llmops.errors import UsageError
from pytest_llmops.judges.concurrency import run_in_threads
from pytest_llmops.judges.protocol.prompting import hash_parts
from pytest_llmops.protocols import Judge, Verdict

MIN_JUDGES, MAX_THREADS = 2, 8


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelVerdict(Verdict):
    """The verdict of a panel.

    Attributes:
        votes: The verdict of each judge, in their order, unscored verdicts included.
        spread: Standard deviation of the scores (n - 1), on the scale; None with fewer than two scores.
    """

    votes: tuple[Verdict, ...] = ()
    spread: float | None = None


@dataclass(slots=True)
class Panel:
    """A judge that runs several others at the same time, and takes the mean of their scores.

    Args:
        judges: At least two, on the same scale, with different versions (another model, another rubric).
        name: Of the judge and its measurements.
        pass_at: Default threshold of an assertion; None: that of the judges, if they share it.

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
            raise UsageError(
                f"judge {self.name}: expected judges on the same scale, got {sorted(map(str, scales))}"
            )
        thresholds = {getattr(judge, "pass_at", None) for judge in self.judges}
        if self.pass_at is None and len(thresholds) == 1:
            self.pass_at = thresholds.pop()

    low = property(
        lambda self: getattr(self.judges[0], "low", None),
        doc="The lowest score; None if only the judges' verdicts say it.",
    )
    high = property(
        lambda self: getattr(self.judges[0], "high", None),
        doc="The highest score; None if only the judges' verdicts say it.",
    )

    @property
    def model_name(self) -> str:
        """The models' names."""
        return ", ".join(str(getattr(judge, "model_name", type(judge).__name__)) for judge in self.judges)

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
        self, answer: str, *, question: str = "", reference: str = "", contexts: Sequence[str] = ()
    ) -> PanelVerdict:
        """Return the mean of the judges' verdicts.

        Judges without a score are left out and reported, as long as more than half have a score; else the answer is
        unscored.

        Raises:
            ModelError: A model could not be called: a smaller panel is another panel.
            UsageError: Two judges are the same.
        """
        _ = self.version  # raises for duplicates
        if contexts:
            more = {"contexts": contexts}
        else:
            more = {}
        tasks = [
            partial(judge.judge, answer, question=question, reference=reference, **more)
            for judge in self.judges
        ]
        return _merge_votes(tuple(run_in_threads(tasks, MAX_THREADS)))


def _merge_votes(votes: tuple[Verdict, ...]) -> PanelVerdict:
    low = votes[0].low
    high = votes[0].high
    numbered = list(enumerate(votes, start=1))
    unscored = partial(
        PanelVerdict,
        low=low,
        high=high,
        votes=votes,
        raw="\n\n".join(f"judge {number}: {vote.raw or vote.reason}" for number, vote in numbered),
    )
    if any((vote.low, vote.high) != (low, high) for vote in votes):
        return unscored(error="the judges' scales differ")
    scored = [vote for vote in votes if vote.score is not None]
    scores = [vote.score for vote in votes if vote.score is not None]
    errors = [f"judge {number}: {vote.error}" for number, vote in numbered if vote.score is None]
    if len(scores) * 2 <= len(votes):
        return unscored(error=f"{len(errors)} of {len(votes)} judges gave no score: {'; '.join(errors)}")
    shared = [name for name in scored[0].dimensions if all(name in vote.dimensions for vote in scored)]
    return replace(
        unscored(),
        score=min(max(math.fsum(scores) / len(scores), low), high),
        reason="; ".join([*(vote.reason for vote in scored), *errors]),
        dimensions={
            name: math.fsum(vote.dimensions[name] for vote in scored) / len(scored) for name in shared
        },
        prescreened=all(vote.prescreened for vote in votes),
        spread=statistics.stdev(scores) if len(scores) > 1 else None,
        confidence=score_confidence(scores, low, high),
    )


def score_confidence(scores: Sequence[float], low: float, high: float) -> float | None:
    """Return how similar scores of an answer are: 1 if they are equal, 0 if half are at either end of the scale.

    It is 1 minus the standard deviation (n) over half the scale, the largest possible. It says how consistent the
    judges are, not how right. None for fewer than two scores.

    >>> score_confidence([7, 7, 7], 1, 10), score_confidence([1, 10], 1, 10)
    (1.0, 0.0)
    """
    # A single score agrees with itself.
    if scores[1:]:
        return min(max(1 - statistics.pstdev(scores) / ((high - low) / 2), 0.0), 1.0)
    return None
