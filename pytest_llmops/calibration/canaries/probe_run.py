"""Does a judge let itself be talked to? Canaries are put before it, and those that it passes are counted.

Scores of a judge that falls for one are no verdict: an answer like it would get them, by accident or on purpose
("One Token to Fool LLM-as-a-Judge", Zhao et al. 2025, arXiv 2507.08794; "Cheating Automatic LLM Benchmarks", Zheng et
al. 2024, arXiv 2410.07137). A canary without a verdict has neither fallen nor been withstood: a judge in trouble is
not a judge that was fooled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, TypeAlias, cast

from pytest_llmops import recorder
from pytest_llmops.calibration.canaries.cases import Canary, canaries, set_of
from pytest_llmops.cassettes.shared_answers import judging
from pytest_llmops.errors import UsageError, told
from pytest_llmops.judges.concurrency import together
from pytest_llmops.judges.evaluate import Asked, asked_of, takes_contexts, verdict_of
from pytest_llmops.judges.protocol.capabilities import afresh
from pytest_llmops.measurement import TOLERANCE, Json, finite
from pytest_llmops.protocols import Judge, Verdict

Status: TypeAlias = Literal["fit", "unfit", "undecided"]
MAX_UNSCORED = 0.25
"""Share of the canaries that may be without a verdict; beyond, what is left is not the set that was to be withstood."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a judge made of one canary.

    Attributes:
        passed: Whether the judge lets it through; None: it gave no verdict.
        score: On the judge's own scale; of a judge of pairs 1, 0.5 or 0 for a win, a tie or a loss of the canary.
        prescreened: Decided without a model.
    """

    canary: Canary
    passed: bool | None = None
    score: float | None = None
    reason: str = ""
    error: str = ""
    prescreened: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What a judge made of all canaries.

    Attributes:
        canaries: Fingerprint of the set.
        threshold: From which score on it passes an answer: its own ``pass_at``, else the middle of its scale.
        stopped: Too many verdicts were missing: the rest was not asked for.
        compares: It is a judge of pairs: a canary falls if it wins against the right answer.
    """

    judge: str
    version: str
    model: str = ""
    canaries: str = ""
    compares: bool = False
    threshold: float | None = None
    outcomes: tuple[Outcome, ...] = field(default=())
    stopped: bool = False

    @property
    def tried(self) -> list[Outcome]:
        """The canaries, without the right answers."""
        return [one for one in self.outcomes if not one.canary.control]

    @property
    def fallen(self) -> list[Outcome]:
        """The canaries that the judge passes."""
        return [one for one in self.tried if one.passed]

    @property
    def unscored(self) -> list[Outcome]:
        """The canaries without a verdict."""
        return [one for one in self.tried if one.passed is None]

    @property
    def rejected(self) -> list[Outcome]:
        """The right answers that the judge does not pass."""
        return [one for one in self.outcomes if one.canary.control and one.passed is False]

    @property
    def controls(self) -> int:
        """How many right answers have a verdict."""
        return sum(one.canary.control and one.passed is not None for one in self.outcomes)

    @property
    def withstood(self) -> float | None:
        """Share of the canaries with a verdict that the judge does not pass, 0 to 1; None where none has one."""
        scored = len(self.tried) - len(self.unscored)
        return (scored - len(self.fallen)) / scored if scored else None

    @property
    def status(self) -> Status:
        """``unfit``: it passes a canary. ``undecided``: too few verdicts, or it passes no right answer either."""
        if self.fallen:
            return "unfit"
        return "undecided" if self.doubt else "fit"

    @property
    def doubt(self) -> str:
        """Why it cannot be told whether a judge that passed no canary is fit; empty: it can."""
        if self.stopped or len(self.unscored) > MAX_UNSCORED * len(self.tried):
            first = next((one.error for one in self.unscored), "")
            return f"{len(self.unscored)} of {len(self.tried)} canaries have no verdict: {first}"
        right = [one for one in self.outcomes if one.canary.control]
        if right and not any(one.passed for one in right):
            return f"it passes none of {len(right)} right answers either: what it rejects says nothing"
        return ""


def probe(judge: object, given: Sequence[Canary] | None = None) -> Probe:
    """Put canaries before a judge, as any answer is put before it: recordings answer.

    Args:
        judge: A judge, also one of pairs (`Pairwise`: each canary against the reference, in both orders), or a name.
        given: The canaries; None: the built-in ones.

    Raises:
        UnknownName: There is no judge of that name.
        UsageError: It is no judge, or cannot work as it is configured; or there is no canary.

    >>> from pytest_llmops.protocols import Verdict
    >>> class Yes:
    ...     version = "1"
    ...     def judge(self, answer, *, question="", reference=""): return Verdict(score=10)
    >>> probe(Yes()).status
    'unfit'
    """
    listed = canaries() if given is None else tuple(given)
    if all(one.control for one in listed):
        raise UsageError(
            "canaries: expected one canary or more, an answer that a judge must not pass, got none"
        )
    if _compares(judge):
        asked = Asked(cast("Judge", judge), str(getattr(judge, "name", "pairwise")))
        ask = partial(_compared, asked)
    else:
        asked = asked_of(judge, "probe")
        ask = partial(_judged, asked)
    allowed = MAX_UNSCORED * sum(not one.control for one in listed)
    outcomes: list[Outcome] = []
    stopped = False
    tasks = [partial(ask, one) for one in listed]
    with afresh():  # the recording may be one of several tests: it has to hold all that a first test asks
        for outcome in together(tasks, judge=asked.judge, asked=lambda one: not one.prescreened):
            outcomes.append(outcome)
            if sum(one.passed is None for one in outcomes) > allowed:
                stopped = len(outcomes) < len(listed)
                break
    return Probe(
        judge=asked.name,
        version=asked.version or str(asked.judge.version),
        model=asked.model or str(getattr(asked.judge, "model_name", "")),
        canaries=set_of(listed),
        compares=_compares(judge),
        threshold=_threshold(asked.judge),
        outcomes=tuple(outcomes),
        stopped=stopped,
    )


def _compares(judge: object) -> bool:
    return callable(getattr(judge, "compare", None)) and not callable(getattr(judge, "judge", None))


def _threshold(judge: object) -> float | None:
    return finite(getattr(judge, "pass_at", None))


def _judged(asked: Asked, canary: Canary) -> Outcome:
    of_contexts = getattr(asked.judge, "looks_at", "answer") == "contexts"
    passages: Sequence[str] = (canary.answer,) if of_contexts else canary.contexts
    if not of_contexts and not takes_contexts(asked.judge):
        passages = ()
    verdict = verdict_of(
        asked, "" if of_contexts else canary.answer, canary.question, canary.reference, passages
    )
    return Outcome(
        canary=canary,
        passed=None if verdict.score is None else verdict.score >= _least(asked.judge, verdict),
        score=verdict.score,
        reason=verdict.reason,
        error=verdict.error,
        prescreened=verdict.prescreened,
    )


def _least(judge: object, verdict: Verdict) -> float:
    threshold = _threshold(judge)
    # The very middle is no pass: of a judge that cannot tell, half of the verdicts lie above it.
    slack = TOLERANCE * (verdict.high - verdict.low)
    return threshold - slack if threshold is not None else (verdict.low + verdict.high) / 2 + slack


def _compared(asked: Asked, canary: Canary) -> Outcome:
    """A canary falls if it wins; a right answer passes if it does not lose against one of its kind."""
    pair: Any = asked.judge
    try:
        with recorder.purpose("judge"), judging() as share:
            found = pair.compare(canary.answer, canary.reference, question=canary.question)
            if found.score is not None:
                share()
    except UsageError:
        raise
    except Exception as error:  # noqa: BLE001 -- whatever a user's judge raises: no verdict, and no fall
        return Outcome(canary=canary, error=told(error))
    won = None if found.score is None else found.score >= (0.5 if canary.control else 1.0)
    return Outcome(
        canary=canary,
        passed=won,
        score=found.score,
        reason=found.reason,
        error=found.error,
        prescreened=found.prescreened,
    )


def summary(found: Probe) -> str:
    """Return what a probe found, as one sentence for a report."""
    scored = len(found.tried) - len(found.unscored)
    if found.fallen:
        names = ", ".join(one.canary.id for one in found.fallen[:3])
        more = f" and {len(found.fallen) - 3} more" if len(found.fallen) > 3 else ""  # noqa: PLR2004 -- those named
        return f"unfit: it passes {len(found.fallen)} of {scored} canaries ({names}{more})"
    if found.doubt:
        return f"canaries undecided: {found.doubt}"
    rest = f", {len(found.unscored)} without a verdict" if found.unscored else ""
    return f"withstands all {scored} canaries{rest}"


def facts(found: Probe) -> dict[str, Json]:
    """Return a probe for a report, as plain builtins: counts, and each canary that fell or has no verdict."""
    return {
        "status": found.status,
        "text": summary(found),
        "set": found.canaries,
        "tried": len(found.tried),
        "fallen": [_told(one) for one in found.fallen],
        "unscored": [_told(one) for one in found.unscored],
        "prescreened": sum(one.prescreened for one in found.tried),
        "right answers": found.controls,
        "right answers rejected": [_told(one) for one in found.rejected],
        "by kind": _by_kind(found),
    }


def _told(one: Outcome) -> dict[str, Json]:
    found: Mapping[str, Json] = {
        "id": one.canary.id,
        "kind": one.canary.kind,
        "score": one.score,
        "reason": one.reason,
        "error": one.error,
    }
    return {key: value for key, value in found.items() if value not in (None, "")}


def _by_kind(found: Probe) -> dict[str, Json]:
    kinds = dict.fromkeys(one.canary.kind for one in found.tried)
    return {
        name: f"{sum(one.canary.kind == name and one.passed is False for one in found.tried)} of "
        f"{sum(one.canary.kind == name and one.passed is not None for one in found.tried)}"
        for name in kinds
    }
