"""What changed since a baseline, which variant is better, and the verdicts, as a run stores them for its reports."""

from __future__ import annotations  # `StoredFacts` reads the types of fields as texts

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self, TypeAlias, cast

from pytest_llmops.measurement import Json
from pytest_llmops.results.details import StoredFacts, as_list, as_mapping

# NONE: too small, or only a part of the suite ran; what changed is listed all the same
VerdictStatus: TypeAlias = Literal["RED", "GREEN", "AMBER", "ERROR", "NONE"]
ChangeKind: TypeAlias = Literal["regressed", "improved", "changed", "not comparable", "removed", "new"]
CHANGE_KINDS: tuple[ChangeKind, ...] = (
    "regressed",
    "improved",
    "changed",
    "not comparable",
    "removed",
    "new",
)


GATE_NODEID = "llmops::gate"  # the test case of the verdict in a JUnit file
ATTACKS = "attacks"  # the argument of a verdict on guardrails

# The kinds as reports name them
CHANGE_WORDS: Mapping[ChangeKind, str] = {
    "regressed": "worse",
    "improved": "better",
    "not comparable": "other",
    "removed": "removed",
    "new": "new",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreChange(StoredFacts):
    """A measurement of a case before and after: means over its trials; None: could not be scored, or not measured."""

    name: str = ""
    better: str = "higher"
    before: float | None = None
    after: float | None = None

    @property
    def gain(self) -> float:
        """How much better it got, negative: worse; 0 if either side is missing.

        >>> ScoreChange(name="judge.hallucinations", better="lower", before=0.25, after=0.5).gain
        -0.25
        """
        if self.before is None or self.after is None:
            return 0.0
        if self.better == "higher":
            return self.after - self.before
        return self.before - self.after

    @property
    def looks_same(self) -> bool:
        """Whether both sides were scored and do not differ with two decimals."""
        return None not in (self.before, self.after) and f"{self.before:.2f}" == f"{self.after:.2f}"

    @property
    def words(self) -> str:
        """The score before and after.

        >>> ScoreChange(name="semantic.cosine", before=0.5).words
        'semantic.cosine 0.50 -> not scored'
        """
        if self.after is None:
            after = "not scored"
        else:
            after = f"{self.after:.2f}"
        if self.before is None:
            return f"{self.name} {after}"
        return f"{self.name} {self.before:.2f} -> {after}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseChange(StoredFacts):
    """A test whose scores or outcome are not those of the baseline.

    Attributes:
        why: Why it cannot be compared; else "".
        before_outcome: Outcome in the baseline; "" for a new test.
        before_output: The baseline's output; None: it is not stored where this run could find it.
    """

    nodeid: str = ""
    kind: str = ""
    why: str = ""
    scores: tuple[ScoreChange, ...] = ()
    before_outcome: str = ""
    after_outcome: str = ""
    before_output: str | None = None
    after_output: str | None = None

    @classmethod
    def from_wire(cls, wire: object, **given: Any) -> Self:
        """Return what is stored."""
        scores = tuple(map(ScoreChange.from_wire, as_list(as_mapping(wire).get("scores"))))
        return super(CaseChange, cls).from_wire(wire, scores=scores, **given)

    @property
    def gain(self) -> float:
        """The largest loss of a score in a case that got worse, else the largest gain."""
        gains = [score.gain for score in self.scores]
        if self.kind == "regressed":
            return min(gains, default=0.0)
        return max(gains, default=0.0)

    @property
    def words(self) -> str:
        """What changed: why it cannot be compared, outcomes, and scores; those that look the same only if all do.

        >>> noise, drop = ScoreChange(name="a", before=0.483, after=0.4819), ScoreChange(name="b", before=1.0, after=0.0)
        >>> CaseChange(scores=(noise, drop)).words, CaseChange(scores=(noise,)).words
        ('b 1.00 -> 0.00', 'a 0.48 -> 0.48')
        """
        outcomes = self.before_outcome, self.after_outcome
        if all(outcomes) and outcomes[0] != outcomes[1]:
            moved = " -> ".join(outcomes)
        else:
            moved = ""
        told = [self.why, moved, *(score.words for score in self.scores if not score.looks_same)]
        return "; ".join(filter(None, told)) or "; ".join(score.words for score in self.scores)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricVerdict(StoredFacts):
    """A metric over all compared cases.

    Attributes:
        role: ``primary`` decides; a ``guard-rail`` can only turn the verdict red.
        status: ``RED``, ``GREEN`` or ``AMBER``; "": no statistical verdict.
        before: Mean score of the baseline, 0 to 1.
        p_value: Probability of such a drop if nothing had changed; of guard-rails jointly.
        lower: With 95 % confidence (at the level of the look) the change is above it.
        detectable: Drop that is noticed in 8 of 10 runs.
        cases: Compared cases; ``unchanged`` of them replayed the baseline's own recordings.
        trials_before: The smallest number of trials of a case that is not unchanged.
    """

    name: str = ""
    role: str = ""
    status: str = ""
    before: float = 0.0
    after: float = 0.0
    change: float = 0.0
    p_value: float | None = None
    lower: float | None = None
    detectable: float | None = None
    cases: int = 0
    unchanged: int = 0
    trials_before: int = 0
    trials_after: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteVerdict:
    """The comparison of a run with a baseline.

    Attributes:
        sentence: What happened, for a person who knows no statistics.
        advice: Further sentences: what the suite could have noticed, and what to do next.
        baseline: Which baseline, with its day, commit and reason.
        unchanged: How many tests are as they were.
    """

    status: VerdictStatus = "NONE"
    sentence: str = ""
    advice: tuple[str, ...] = ()
    baseline: str = ""
    metrics: tuple[MetricVerdict, ...] = ()
    changes: tuple[CaseChange, ...] = ()
    unchanged: int = 0

    def fails(self, *, strict: bool) -> bool:
        """Return whether the verdict fails the run; with ``strict`` what is undecided does too."""
        return self.status in ("RED", "ERROR") or (strict and self.status == "AMBER")

    def of_kind(self, kind: ChangeKind) -> list[CaseChange]:
        """Return the changes of a kind, the worst first."""
        return [change for change in self.changes if change.kind == kind]

    @property
    def headline(self) -> str:
        """The verdict in a sentence.

        >>> SuiteVerdict(status="GREEN", sentence="nothing changed").headline
        'GREEN  nothing changed'
        """
        if self.status == "NONE":
            return self.sentence
        return f"{self.status}  {self.sentence}"

    def to_wire(self) -> dict[str, Json]:
        """Return plain builtins."""
        return cast("dict[str, Json]", asdict(self))

    @classmethod
    def from_wire(cls, wire: Mapping[str, Json]) -> SuiteVerdict:
        """Return what `to_wire` wrote.

        >>> SuiteVerdict.from_wire(SuiteVerdict(status="RED", unchanged=3).to_wire()).unchanged
        3
        """
        unchanged = wire.get("unchanged")
        return cls(
            status=cast("VerdictStatus", str(wire.get("status", "NONE"))),
            sentence=str(wire.get("sentence", "")),
            advice=tuple(map(str, as_list(wire.get("advice")))),
            baseline=str(wire.get("baseline", "")),
            metrics=tuple(map(MetricVerdict.from_wire, as_list(wire.get("metrics")))),
            changes=tuple(map(CaseChange.from_wire, as_list(wire.get("changes")))),
            unchanged=unchanged if isinstance(unchanged, int) else 0,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantMetric(MetricVerdict):
    """A metric of a variant beside that of the base: ``status`` is better, worse, equivalent or undecided.

    Attributes:
        family: Only the cases of this family; "": all.
        p_value: Probability of such a difference, up or down, if there is none; after Holm's correction.
        lower: The change is above it, and below ``upper``, each with 95 % confidence, divided among the variants.
        next_step: What would settle it; "": it is settled.
    """

    family: str = ""
    upper: float | None = None
    next_step: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantVerdict(StoredFacts):
    """A value of an argument that tests are compared by, beside the base.

    Attributes:
        status: ``better``, ``worse``, ``equivalent``, ``undecided``, or ``error``: too much did not run or could not be scored. Of a
            test of guardrails ``pass``, ``fail``, ``unproven``, ``unscored`` or ``measured``.
        argument: The argument of the tests; ``prompt`` with the prompt's name.
        sentence: What happened, for a person who knows no statistics.
        advice: Further sentences: what would settle it, other metrics, families, cost, latency and length.
        metrics: The metric that decides first.
    """

    status: str = "undecided"
    argument: str = ""
    base: str = ""
    value: str = ""
    sentence: str = ""
    advice: tuple[str, ...] = ()
    metrics: tuple[VariantMetric, ...] = ()

    @classmethod
    def from_wire(cls, wire: object, **given: Any) -> Self:
        """Return what is stored."""
        return super(VariantVerdict, cls).from_wire(
            wire,
            metrics=tuple(map(VariantMetric.from_wire, as_list(as_mapping(wire).get("metrics")))),
            **given,
        )

    @property
    def headline(self) -> str:
        """The verdict in a sentence.

        >>> VariantVerdict(status="better", argument="prompt", value="v2", base="v1", sentence="quality +6.0 points").headline
        'BETTER  prompt v2 against v1: quality +6.0 points'
        """
        return f"{self.status.upper()}  {self.argument} {self.value} against {self.base}: {self.sentence}"

    @property
    def run_status(self) -> str:
        """What the run is because of it: RED or ERROR if a test of guardrails missed a threshold or could not say, else ""."""
        return {"fail": "RED", "unproven": "ERROR", "unscored": "ERROR"}.get(self.status, "")
