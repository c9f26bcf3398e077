"""The verdicts on a run, and what changed since its baseline, as the run stores them for its reports."""

from __future__ import annotations  # `StoredFacts` reads the types of fields as texts

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self, TypeAlias, cast

from pytest_llmops.errors import append_code
from pytest_llmops.measurement import Json, format_count
from pytest_llmops.results.amounts import AmountChange
from pytest_llmops.results.broken_case import BrokenCase
from pytest_llmops.results.call_sequences import CallSequence, read_sequences
from pytest_llmops.results.details import StoredFacts, as_list, as_mapping
from pytest_llmops.results.shares import ShareVerdict

ChangeKind: TypeAlias = Literal["regressed", "improved", "changed", "not comparable", "removed", "new"]
CHANGE_KINDS: tuple[ChangeKind, ...] = (
    "regressed",
    "improved",
    "changed",
    "not comparable",
    "removed",
    "new",
)
STRICT_PREFIX = "fails the run (--llm-strict); "  # of the sentence of an undecided verdict that fails the run
NOT_CONFIRMED = "Not confirmed: "  # begins the sentence on broken cases that did not fail again (--llm-again)
PSEUDO_FILE = "llmops"  # the file under which reports of test cases (JUnit) list verdicts

# What reports call the kinds
CHANGE_WORDS: Mapping[ChangeKind, str] = {
    "regressed": "worse",
    "improved": "better",
    "changed": "changed",
    "not comparable": "other",
    "removed": "removed",
    "new": "new",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreChange(StoredFacts):
    """The scores of a measurement before and after, as means over the trials; None: not scored or not measured.

    Attributes:
        trials_before: How many trials were scored; ``trials_after`` alike. 0: not known.
        passes: Every trial of both sides scored 0 or 1, so that the trials that passed can be counted.
    """

    name: str = ""
    better: str = "higher"
    before: float | None = None
    after: float | None = None
    trials_before: int = 0
    trials_after: int = 0
    passes: bool = False

    @property
    def gain(self) -> float:
        """How much better the score got, negative if it got worse; 0 if either side is missing.

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
        """Whether both sides were scored, and are equal when printed with two decimals."""
        if self.before is None or self.after is None:
            return False
        return f"{self.before:.2f}" == f"{self.after:.2f}"

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
    """A test that differs from the baseline in scores or outcome.

    Attributes:
        why: Why it cannot be compared; else "".
        before_outcome: Outcome in the baseline; "" for a new test.
        before_output: The baseline's output; None: it is not stored where this run could find it.
        answer_changed: Its answers have another text than in the baseline. False also where that is not known.
        case_edited: The input or the reference of its case is another one, so that its scores cannot be compared.
        before_calls: The calls of tools that its agent made in the baseline; empty: none are known.
    """

    nodeid: str = ""
    kind: str = ""
    why: str = ""
    scores: tuple[ScoreChange, ...] = ()
    before_outcome: str = ""
    after_outcome: str = ""
    before_output: str | None = None
    after_output: str | None = None
    answer_changed: bool = False
    case_edited: bool = False
    before_calls: tuple[CallSequence, ...] = ()

    @classmethod
    def from_wire(cls, wire: object, **given: Any) -> Self:
        """Return the stored value."""
        stored = as_mapping(wire)
        scores = tuple(map(ScoreChange.from_wire, as_list(stored.get("scores"))))
        before_calls = read_sequences(stored.get("before_calls"))
        return super(CaseChange, cls).from_wire(wire, scores=scores, before_calls=before_calls, **given)

    @property
    def gain(self) -> float:
        """The change that counts for sorting: the largest loss of a regressed test, else the largest gain."""
        gains = [score.gain for score in self.scores]
        if self.kind == "regressed":
            return min(gains, default=0.0)
        return max(gains, default=0.0)

    @property
    def words(self) -> str:
        """What changed, in words: why it cannot be compared, the outcomes, and the scores that look different.

        If there is nothing of these, all scores are listed although they look the same.

        >>> noise, drop = ScoreChange(name="a", before=0.483, after=0.4819), ScoreChange(name="b", before=1.0, after=0.0)
        >>> CaseChange(scores=(noise, drop)).words, CaseChange(scores=(noise,)).words
        ('b 1.00 -> 0.00', 'a 0.48 -> 0.48')
        """
        parts = []
        if self.why:
            parts.append(self.why)
        before, after = self.before_outcome, self.after_outcome
        if before and after and before != after:
            parts.append(f"{before} -> {after}")
        parts += [score.words for score in self.scores if not score.looks_same]
        if parts:
            return "; ".join(parts)
        return "; ".join(score.words for score in self.scores)


# bad: RED, or a proved loss. error: nothing can be decided. open: undecided, fails the run with --llm-strict. good: GREEN, or a
# proved gain. "": none of these
Level: TypeAlias = Literal["bad", "error", "open", "good", ""]
STATUS_LEVELS: Mapping[str, Level] = {
    "RED": "bad",
    "fail": "bad",
    "worse": "bad",
    "ERROR": "error",
    "error": "error",
    "unproven": "error",
    "unscored": "error",
    "AMBER": "open",
    "undecided": "open",
    "moved": "open",
    "unknown": "open",
    "GREEN": "good",
    "pass": "good",
    "better": "good",
    # Too small, or only a part of the suite ran; what changed is listed all the same.
    "NONE": "",
    "equivalent": "",
    "measured": "",
    "changed": "",
    "same": "",
}
# Kind of verdict -> status -> the word of reports, where it is another one
SHOWN_STATUSES: Mapping[str, Mapping[str, str]] = {
    "comparison": {"equivalent": "equal", "error": "not compared"},
    "robustness": {"equivalent": "holds", "error": "no score"},
    "guardrail": {
        "pass": "holds",
        "fail": "broken",
        "unproven": "not proved",
        "unscored": "no score",
        "measured": "no limit",
    },
    "sentinel": {"unknown": "not known", "changed": "not moved", "same": "not moved"},
}
# The code of a verdict that is neither good nor without a status: by its status, else by its level. docs/reference/messages.md explains it
STATUS_CODES: Mapping[str, str] = {
    "RED": "LLM-RED",
    "worse": "LLM-WORSE",
    "fail": "LLM-GUARDRAIL",
    "moved": "LLM-MOVED",
}
LEVEL_CODES: Mapping[Level, str] = {"error": "LLM-NO-VERDICT", "open": "LLM-UNDECIDED"}
# What reports call the kinds of verdicts; other kinds keep their name
_LABELS: Mapping[str, str] = {
    "baseline": "gate",
    "comparison": "compare",
    "robustness": "compare",
    "guardrail": "compare",
    "sentinel": "sentinels",
}


EditKind: TypeAlias = Literal[
    "prompt", "request", "model", "judge", "retriever", "cases", "code", "answers", "unknown"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteEdit(StoredFacts):
    """A difference from the baseline: an edit of the team, as far as the requests and records show it.

    Attributes:
        kind: See `EditKind`. ``request``: a part of the request that no prompt version explains; ``code``: no request differs, but what
            is made of the answers does; ``answers``: no request differs, but other answers were recorded (with the name ``judge``:
            only its answers); ``unknown``: the baseline does not store its requests.
        name: The edited thing: a prompt, a part of the request (``messages[0]``), a judge, a file of cases.
        before: Its version or value in the baseline; "": not known, or the same version with another text.
        after: Its version or value now.
        count: In how many requests it shows; of judges, retrievers, cases, code and answers, in how many tests.
        total: How many requests (or tests) could be compared.
        unit: "requests", or "tests" where a test makes several requests.
        added: Of cases: how many are new.
        lines: Lines that differ, each after ``- `` or ``+ ``, of one request as an example.
    """

    kind: str = ""
    name: str = ""
    before: str = ""
    after: str = ""
    count: int = 0
    total: int = 0
    unit: str = "requests"
    added: int = 0
    lines: tuple[str, ...] = ()

    @property
    def what(self) -> str:
        """The edited thing, without the numbers.

        >>> SuiteEdit(kind="prompt", name="support/answer", before="v1", after="v2").what
        'prompt support/answer v1 → v2'
        """
        words = self.name
        if self.kind in ("prompt", "model", "judge", "retriever"):
            words = f"{self.kind} {self.name}".strip()
        if self.before and self.after:
            return f"{words} {self.before} → {self.after}"
        if self.after:
            return f"{words} {self.after}"
        return words

    @property
    def noun(self) -> str:
        """The edited thing, as the object of "fix"; "" without an edit, or if it is not known.

        >>> SuiteEdit(kind="request", name="messages[0]").noun, SuiteEdit(kind="request", name="tools").noun
        ('the prompt', 'the request')
        """
        if self.kind in ("answers", "unknown"):
            return ""
        if self.kind != "request":
            return f"the {self.kind}"
        is_prompt = self.name.startswith("messages[") and "(" not in self.name
        return "the prompt" if is_prompt else "the request"

    @property
    def where(self) -> str:
        """In how many requests, tests or cases it shows; "" if that is not counted.

        >>> SuiteEdit(kind="request", name="messages[0]", count=40, total=40).where
        'in 40 of 40 requests'
        """
        if self.kind == "cases":
            parts = []
            if self.count:
                parts.append(f"{format_count(self.count, 'case')} edited")
            if self.added:
                parts.append(f"{self.added:,} added")
            return ", ".join(parts)
        if not self.total:
            return ""
        return f"in {self.count:,} of {self.total:,} {self.unit}"

    @property
    def words(self) -> str:
        """The edited thing, in a line.

        >>> SuiteEdit(kind="answers", count=40).words
        'no request differs: the same requests got other answers, in 40 tests'
        """
        if self.kind == "code":
            return "no request differs: the code that handles the answers, or the expectations, changed"
        if self.kind == "answers" and self.name == "judge":
            return "neither requests nor answers differ: the judge scored the same answers differently"
        if self.kind == "answers":
            return f"no request differs: the same requests got other answers, in {format_count(self.count, 'test')}"
        if self.kind == "unknown":
            return "not known: the baseline stores no requests (accept it again to store them)"
        if self.kind == "cases":
            return f"{self.what}: {self.where}"
        if self.where:
            return f"{self.what}, {self.where}"
        return self.what


MAX_UNSCORED = 0.05  # share of trials without a score above which the gate decides nothing
_METRIC_WORDS: Mapping[str, str] = {
    "RED": "worse",
    "GREEN": "no drop of 5 or more",
    "AMBER": "undecided",
    "": "too few cases",
    "equivalent": "equal",
}
_METRIC_TONES: Mapping[str, str] = {
    "RED": "red",
    "GREEN": "green",
    "AMBER": "amber",
    "better": "green",
    "worse": "red",
    "equivalent": "green",
    "undecided": "amber",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricVerdict(StoredFacts):
    """A metric over all compared cases, or over the cases of a family; scores are from 0 to 1, higher is better.

    Attributes:
        role: ``primary`` decides; a ``guard-rail`` can only turn the verdict red.
        family: Only the cases of this family; "": all.
        status: ``RED``, ``GREEN`` or ``AMBER``, of a comparison better, worse, equivalent or undecided; "": no statistical verdict.
        before: Mean score of the baseline, or of the base.
        p_value: Probability of such a drop if nothing had changed; in a comparison of such a difference, up or down. Where several metrics
            are tested together it is after Holm's correction.
        lower: Lower end of the likely range of the change: the bound that decides GREEN, at 95 % (or at the level of the look, or
            divided among the variants).
        upper: Upper end of the likely range.
        detectable: The drop that is noticed in 8 of 10 runs; None: not known.
        cases: Compared cases; ``unchanged`` is how many of them replayed the recordings of the baseline.
        trials_before: The smallest number of trials of a case, among those that are not unchanged; ``trials_after`` alike.
        next_step: The way to decide it. "": it is decided, or the next step of the verdict has it.
        scored: How many trials of the run have a score; ``unscored``: how many have none.
    """

    name: str = ""
    role: str = ""
    family: str = ""
    status: str = ""
    before: float = 0.0
    after: float = 0.0
    change: float = 0.0
    p_value: float | None = None
    lower: float | None = None
    upper: float | None = None
    detectable: float | None = None
    cases: int = 0
    unchanged: int = 0
    trials_before: int = 0
    trials_after: int = 0
    next_step: str = ""
    scored: int = 0
    unscored: int = 0

    @property
    def is_unscored(self) -> bool:
        """Whether too many trials have no score for the mean of the others to be a fair sample."""
        return self.unscored > MAX_UNSCORED * (self.scored + self.unscored)

    @property
    def word(self) -> str:
        """The verdict of the gate on the metric, as tables show it.

        >>> MetricVerdict(status="GREEN").word, MetricVerdict(status="AMBER").word, MetricVerdict(unscored=1).word
        ('no drop of 5 or more', 'undecided', 'no score')
        """
        if self.is_unscored:
            return "no score"
        return _METRIC_WORDS.get(self.status, self.status)

    @property
    def tone(self) -> str:
        """The colour of `word`: red, amber, green, violet or ""."""
        if self.is_unscored:
            return "violet"
        return _METRIC_TONES.get(self.status, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict(StoredFacts):
    """A verdict on a run, of any kind.

    Attributes:
        kind: ``baseline``, ``comparison``, ``robustness``, ``guardrail`` or ``sentinel``; later versions may add others.
        subject: The subject of the verdict, for instance ``prompt answer v2``; "": the whole run.
        status: A key of `STATUS_LEVELS`.
        decides: A bad status fails the run.
        sentence: What happened, for a person who knows no statistics; it ends without a full stop.
        why: The reason, in one more sentence. "": the sentence has it.
        next_step: What to do next, as a sentence that ends with a colon if a command follows; "": nothing, or reports know it better.
        next_command: A command for the next step, without the options of this run, which reports add; "": none.
        advice: Further sentences: what could have been noticed, what to do next, examples.
        baseline: The other side of the comparison. For the whole run the name of the baseline with its day, commit and reason.
        place: File and line at which a report shows it, as in `TestRecord.place`; "": none.
        metrics: The metric that decides first.
        shares: Of a comparison of shares, such as a red team: each share with its limit.
        changes: Tests that differ from the baseline, the worst first.
        unchanged: How many tests do not differ from the baseline.
        edits: The edits since the baseline, the most likely cause first.
        answers: How many tests have answers that can be compared with the baseline.
        compared: How many tests of the run are in the baseline.
        broken: The cases that broke since the baseline; of a run of ``--llm-again``, those that failed again.
        broken_chance: The odds that chance breaks as many; 1 if none broke.
        trials_again: How many trials of the broken cases another session needs; 0: none is to be run again.
        amounts: What agents needed for an answer, on both sides; empty: nothing is known. They never decide.
        chance_of_verdict: Probability that the next look of ``--llm-trials=auto`` decides; None: there is none, or it is decided.

    >>> Verdict(kind="comparison", status="better", subject="prompt v2", baseline="v1", sentence="quality +6.0 points").headline
    'BETTER  prompt v2 against v1: quality +6.0 points'
    >>> Verdict(kind="baseline", status="GREEN", sentence="nothing changed").headline
    'GREEN  nothing changed'
    >>> Verdict(kind="baseline", status="RED", sentence="tone fell").headline
    'RED  tone fell [LLM-RED]'
    """

    kind: str
    subject: str = ""
    status: str = "NONE"
    decides: bool = False
    sentence: str = ""
    why: str = ""
    next_step: str = ""
    next_command: str = ""
    advice: tuple[str, ...] = ()
    baseline: str = ""
    place: str = ""
    metrics: tuple[MetricVerdict, ...] = ()
    shares: tuple[ShareVerdict, ...] = ()
    changes: tuple[CaseChange, ...] = ()
    unchanged: int = 0
    edits: tuple[SuiteEdit, ...] = ()
    answers: int = 0
    compared: int = 0
    broken: tuple[BrokenCase, ...] = ()
    broken_chance: float = 1.0
    trials_again: int = 0
    amounts: tuple[AmountChange, ...] = ()
    chance_of_verdict: float | None = None

    @classmethod
    def from_wire(cls, wire: object, **given: Any) -> Self:
        """Return the stored value."""
        stored = as_mapping(wire)
        metrics = tuple(map(MetricVerdict.from_wire, as_list(stored.get("metrics"))))
        shares = tuple(map(ShareVerdict.from_wire, as_list(stored.get("shares"))))
        changes = tuple(map(CaseChange.from_wire, as_list(stored.get("changes"))))
        edits = tuple(map(SuiteEdit.from_wire, as_list(stored.get("edits"))))
        broken = tuple(map(BrokenCase.from_wire, as_list(stored.get("broken"))))
        amounts = tuple(map(AmountChange.from_wire, as_list(stored.get("amounts"))))
        return super(Verdict, cls).from_wire(
            wire,
            metrics=metrics,
            shares=shares,
            changes=changes,
            edits=edits,
            broken=broken,
            amounts=amounts,
            **given,
        )

    def to_wire(self) -> dict[str, Json]:
        """Return plain builtins."""
        return cast("dict[str, Json]", asdict(self))

    def fails(self, *, strict: bool) -> bool:
        """Return whether the verdict fails the run; with ``strict`` an undecided verdict does too."""
        if not self.decides:
            return False
        return self.level in ("bad", "error") or (strict and self.level == "open")

    def of_kind(self, kind: ChangeKind) -> list[CaseChange]:
        """Return the changes of a kind, the worst first."""
        return [change for change in self.changes if change.kind == kind]

    @property
    def changed_answers(self) -> int:
        """How many tests have another answer than in the baseline."""
        return sum(change.answer_changed for change in self.changes)

    @property
    def what_got_worse(self) -> str:
        """The subject of a RED verdict on the change: the mean, or the cases that broke.

        >>> Verdict(kind="baseline", broken=(BrokenCase(),)).what_got_worse, Verdict(kind="baseline").what_got_worse
        ('1 case broke', 'the suite got worse')
        """
        if self.broken and not any(metric.status == "RED" for metric in self.metrics):
            return f"{format_count(len(self.broken), 'case')} broke"
        return "the suite got worse"

    @property
    def level(self) -> Level:
        """How good or bad the status is; "" also for a status that is not known."""
        return STATUS_LEVELS.get(self.status, "")

    @property
    def code(self) -> str:
        """The code that docs/reference/messages.md explains; "" for a verdict that needs no action."""
        return STATUS_CODES.get(self.status) or LEVEL_CODES.get(self.level, "")

    @property
    def label(self) -> str:
        """What reports call it, in a word."""
        return _LABELS.get(self.kind, self.kind)

    @property
    def word(self) -> str:
        """What reports call the status.

        >>> Verdict(kind="guardrail", status="fail").word, Verdict(kind="comparison", status="better").word
        ('broken', 'better')
        """
        return SHOWN_STATUSES.get(self.kind, {}).get(self.status, self.status)

    @property
    def is_since_baseline(self) -> bool:
        """Whether the verdict compares the whole run with a baseline (the gate)."""
        return self.kind == "baseline"

    @property
    def headline(self) -> str:
        """The verdict in a sentence, with its code."""
        if self.status == "NONE":
            return self.statement
        return append_code(f"{self.word.upper()}  {self.statement}", self.code)

    @property
    def statement(self) -> str:
        """The verdict in a sentence, without its status."""
        if self.subject:
            return f"{self.subject} against {self.baseline}: {self.sentence}"
        return self.sentence

    @property
    def nodeid(self) -> str:
        """The name under which reports of test cases (JUnit) list the verdict.

        >>> Verdict(kind="comparison", subject="prompt v2").nodeid, Verdict(kind="baseline").nodeid
        ('llmops::comparison[prompt v2]', 'llmops::gate')
        """
        if self.subject:
            return f"{PSEUDO_FILE}::{self.kind}[{self.subject}]"
        return f"{PSEUDO_FILE}::{self.label}"

    @property
    def text(self) -> str:
        """Status, sentence with its code, reason, next step and advice, one sentence per line."""
        step = f"{self.next_step} {self.next_command}".strip()
        lines = [append_code(f"{self.word.upper()} {self.statement}", self.code)]
        lines += filter(None, [self.why, step, *self.advice])
        if self.is_since_baseline:
            lines.append(self.baseline)
        return "\n".join(lines)
