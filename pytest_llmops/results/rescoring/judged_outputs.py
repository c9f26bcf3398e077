"""Collect the outputs of a run that a judge can score again, with their old verdicts."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from pytest_llmops.measurement import Measurement, format_count, label_suffix, shorten_text
from pytest_llmops.results.details import CaseFacts, JudgeVerdict, Scale, read_detail
from pytest_llmops.results.run import Run, TestRecord

COMPARISON = "comparison of two answers, which no score judge can score"
CHECKLIST = "checklist, which no rubric can replace"
AGREEMENT = "agreement of a judge with human annotators"
PASSAGES = "verdict on passages, not on an answer"
NO_ANSWER = "verdict whose answer is not stored"
DAMAGED = "verdict whose question, reference or contexts are not texts"
NO_TEXT = "last call without a text"

JUDGE_PREFIX = "judge."
TEXTLESS_ENDPOINTS = frozenset({"embeddings", "moderations", "rerank"})  # endpoints whose answer is no text


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """An answer of the application, with the inputs of its judge.

    Attributes:
        record: Place of its test in the run.
        place: Place of the old measurement in the test; None: it was never judged.
        answer: None: the application said nothing.
        old: What was measured; None: it was never judged.
        usual: The scale that the old judge's scores have elsewhere in the run; None: not known, or several.
    """

    record: int
    nodeid: str
    answer: str | None
    question: str = ""
    reference: str = ""
    contexts: tuple[str, ...] = ()
    place: int | None = None
    old: Measurement | None = None
    usual: Scale | None = None

    @property
    def label(self) -> str:
        """Distinguishes two verdicts of a test."""
        if self.old is not None:
            return self.old.label
        return ""

    @property
    def verdict(self) -> JudgeVerdict:
        """The old verdict on the judge's own scale; empty if there is none."""
        if self.old is not None:
            return _old_verdict(self.old)
        return JudgeVerdict()

    @property
    def judge(self) -> str:
        """Name of the old judge."""
        if self.old is not None:
            return _judge_name(self.old)
        return ""

    @property
    def scale(self) -> Scale | None:
        """Lowest and highest score of the old judge; None: not known.

        A verdict without a score does not show the scale: its numbers may be defaults.
        """
        if self.verdict.score is None:
            return self.usual
        return self.verdict.scale

    @property
    def threshold(self) -> float | None:
        """The old threshold on the old judge's own scale, even if it did not decide; None: there was none."""
        if self.old is not None:
            undecided = read_detail(self.old).review.undecided
        else:
            undecided = None
        if undecided is None:
            return self.verdict.threshold
        return undecided

    @property
    def inputs(self) -> tuple[object, ...]:
        """What a verdict depends on: for equal inputs a judge is asked once."""
        return self.answer, self.question, self.reference, self.contexts


@dataclass(frozen=True, slots=True, kw_only=True)
class RescorableOutputs:
    """The outputs that can be scored, in the order of the run, and how many cannot, by reason.

    Attributes:
        judges: Names of all old judges, whatever the selection.
        unjudged: Tests whose output was never judged, and could be.
    """

    outputs: tuple[Output, ...] = ()
    passed_over: Mapping[str, int] = field(default_factory=dict)
    judges: tuple[str, ...] = ()
    unjudged: int = 0


def collect_outputs(run: Run, *, only: str = "", text: str = "", unjudged: bool = False) -> RescorableOutputs:
    """Return the outputs of a run that a judge can score again.

    Args:
        run: The run.
        only: Name of an old judge; empty: all.
        text: Part of the test's node id; empty: any.
        unjudged: Also the last answer of tests without a judge.

    >>> collect_outputs(Run()).outputs
    ()
    """
    collected: list[Output] = []
    skipped: Counter[str] = Counter()
    judges: dict[str, None] = {}
    waiting = 0
    usual = _usual_scales(run)
    for record_index, record in enumerate(run.records):
        if text not in record.nodeid:
            continue
        is_judged = any(each.name.startswith(JUDGE_PREFIX) for each in record.measurements)
        for place, measurement in enumerate(record.measurements):
            if read_detail(measurement).judge is None and not _is_agreement(measurement):
                continue
            name = _judge_name(measurement)
            judges.setdefault(name)
            if only not in ("", name):
                continue
            why = _why_not_rescorable(measurement)
            if why:
                skipped[why] += 1
            else:
                collected.append(
                    _build_output(record_index, record, place, usual.get((name, measurement.version)))
                )
        if is_judged:
            last = None
        else:
            last = _last_output(record_index, record)
        waiting += last is not None and last.answer is not None
        if unjudged and not only and last is not None:
            skipped[NO_TEXT] += last.answer is None
            if last.answer is None:
                collected += []
            else:
                collected += [last]
    return RescorableOutputs(
        outputs=tuple(collected),
        passed_over=dict(sorted((+skipped).items())),
        judges=tuple(judges),
        unjudged=waiting,
    )


def _usual_scales(run: Run) -> dict[tuple[str, str], Scale]:
    scales: dict[tuple[str, str], set[Scale | None]] = {}
    for measurement in (measurement for record in run.records for measurement in record.measurements):
        verdict = _old_verdict(measurement)
        if verdict.score is not None:
            scales.setdefault((_judge_name(measurement), measurement.version), set()).add(verdict.scale)
    return {judge: scale for judge, (scale, *others) in scales.items() if scale is not None and not others}


def _judge_name(measurement: Measurement) -> str:
    return _old_verdict(measurement).name or measurement.name.removeprefix(JUDGE_PREFIX)


def _old_verdict(measurement: Measurement) -> JudgeVerdict:
    """Return the verdict that a measurement stores; an empty verdict if it stores none."""
    return read_detail(measurement).judge or JudgeVerdict()


def _build_output(record_index: int, record: TestRecord, place: int, usual: Scale | None) -> Output:
    detail = read_detail(record.measurements[place])
    return Output(
        record=record_index,
        nodeid=record.nodeid,
        answer=detail.actual,
        question=detail.question,
        reference=detail.expected or "",
        contexts=detail.contexts,
        place=place,
        old=record.measurements[place],
        usual=usual,
    )


def _why_not_rescorable(measurement: Measurement) -> str:
    detail = measurement.detail
    verdict = _old_verdict(measurement)
    contexts = detail.get("contexts", [])
    texts = [detail.get("question", ""), detail.get("expected", "")]
    if isinstance(contexts, list):
        texts += contexts
    else:
        texts += [None]
    reasons = {
        AGREEMENT: _is_agreement(measurement),
        PASSAGES: not measurement.name.startswith(JUDGE_PREFIX),
        COMPARISON: verdict.is_comparison,
        CHECKLIST: verdict.name == "checklist",
        NO_ANSWER: not isinstance(detail.get("actual", 0), str | None),
        DAMAGED: not all(isinstance(text, str) for text in texts),
    }
    return next((why for why, applies in reasons.items() if applies), "")


def _is_agreement(measurement: Measurement) -> bool:
    return (
        measurement.name.startswith(JUDGE_PREFIX)
        and measurement.name.endswith(".kappa")
        and "actual" not in measurement.detail
    )


def _last_output(record_index: int, record: TestRecord) -> Output | None:
    """Return the last answer of the application in a test; None if there was no call.

    Of traffic that is no conversation only the address is known.
    """
    answered = [
        call
        for call in record.calls
        if call.purpose == "app"
        and (call.status is None or call.status < 300)  # noqa: PLR2004 -- HTTP
        and call.endpoint not in TEXTLESS_ENDPOINTS
        and (call.messages or call.output)
    ]
    if not answered:
        return None
    last = answered[-1]
    case = CaseFacts.from_wire(record.fact("case"))
    user_texts = [message.content for message in last.messages if message.role == "user"]
    if "input" in record.fact("case"):
        question = case.input
    elif user_texts:
        question = user_texts[-1]
    else:
        question = ""
    return Output(
        record=record_index,
        nodeid=record.nodeid,
        answer=last.output or None,
        question=question if isinstance(question, str) else json.dumps(question, ensure_ascii=False),
        reference=case.reference if isinstance(case.reference, str) else "",
    )


Status: TypeAlias = Literal["pass", "fail", "recorded", "undecided", "unscored", "new"]
_STATUSES: Mapping[str, Status] = {
    "passed": "pass",
    "failed": "fail",
    "recorded": "recorded",
    "errored": "unscored",
}
MAX_NODE, MAX_REASON, MAX_ERRORS = 300, 120, 5
SAME_SCORE_TOLERANCE = 1e-9  # normalised scores closer than this are the same


@dataclass(frozen=True, slots=True, kw_only=True)
class Score(JudgeVerdict):
    """A judge's verdict on an output; without a score, it has no scale either.

    Attributes:
        status: ``recorded`` has no threshold, ``undecided`` waits for a person, ``new`` was never judged.
        normalised: From 0 (lowest) to 1 (highest); None: unscored.
    """

    status: Status = "new"
    normalised: float | None = None
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """An output with its old and its new score."""

    output: Output
    old: Score
    new: Score

    @property
    def delta(self) -> float | None:
        """By how much the normalised score rose; None: a score is missing."""
        if self.old.normalised is None or self.new.normalised is None:
            return None
        return self.new.normalised - self.old.normalised

    @property
    def changed(self) -> bool:
        """Whether score or status changed."""
        return self.old.status != self.new.status or abs(self.delta or 0.0) > SAME_SCORE_TOLERANCE

    @property
    def worse(self) -> bool:
        """Whether it fails now and did not before, or cannot be scored now."""
        return self.new.status == "unscored" or (self.new.status == "fail" and self.old.status != "fail")

    @property
    def order(self) -> tuple[int, float, int, int]:
        """Sort key, the worst first: failed now, unscored now, then by loss of score; never judged last, by score."""
        if not self.worse:
            first = 2
        elif self.new.status == "fail":
            first = 0
        else:
            first = 1
        place = self.output.record, self.output.place or 0
        if self.old.status == "new":
            return 3, -1.0 if self.new.normalised is None else self.new.normalised, *place
        return first, self.delta or 0.0, *place


def score_from_measurement(measurement: Measurement | None) -> Score:
    """Return the score of an output that a measurement holds.

    >>> score_from_measurement(None).status
    'new'
    """
    if measurement is None:
        return Score()
    waits = measurement.status == "recorded" and "review" in measurement.detail
    if waits:
        status = "undecided"
    else:
        status = _STATUSES[measurement.status]
    return Score.from_wire(
        measurement.detail.get("judge"),
        name=_judge_name(measurement),
        version=measurement.version,
        status=status,
        normalised=measurement.value,
        error=measurement.error,
        **(dict.fromkeys(("score", "low", "high")) if status == "unscored" else {}),
    )


def compare_scores(pairs: Iterable[tuple[Output, Measurement]]) -> list[Change]:
    """Return each output with both scores, the worst change first; else in the order of the run."""
    changes = (
        Change(output=output, old=score_from_measurement(output.old), new=score_from_measurement(new))
        for output, new in pairs
    )
    return sorted(changes, key=lambda change: change.order)


def list_judges(scores: Iterable[Score]) -> list[tuple[str, str, str]]:
    """Return name, version and model of each judge once, sorted."""
    every = list(scores)
    # A judge that got no answer to judge was not called, and its version is not known.
    known = [score for score in every if score.version or score.score is not None] or every
    return sorted({(score.name, score.version, score.model) for score in known})


def format_changes(
    changes: Sequence[Change], *, judge_called: bool, passed_over: Mapping[str, int]
) -> Iterator[str]:
    """Yield a line for each changed output, and then a summary; foreign text is shortened and escaped.

    Args:
        changes: The changes, in this order.
        judge_called: A judge was called; otherwise only the threshold changed.
        passed_over: How many measurements could not be scored again, by reason.
    """
    ordered = sorted(changes, key=lambda change: (change.output.record, change.output.place or 0))
    judged = [change for change in ordered if change.old.status != "new"]
    both = [score for change in ordered for score in (change.old, change.new)]
    scales = sorted({score.scale for score in both if score.scale and score.score is not None})
    changed = [change for change in changes if change.changed]
    yield from (_format_change(change, unlike=len(scales) > 1) for change in changed)
    if changed:
        yield ""
    if len(judged) < len(ordered):
        unseen = f", {len(ordered) - len(judged):,} that no judge saw before"
    else:
        unseen = ""
    tests = format_count(len({change.output.record for change in changes}), "test")
    count = sum(change.changed for change in judged)
    old = list_judges(change.old for change in judged)
    new = list_judges(change.new for change in ordered)
    statuses = Counter(sorted((change.old.status, change.new.status) for change in judged))
    flips = {pair: number for pair, number in statuses.items() if pair[0] != pair[1]}
    counts: dict[tuple[Status, Status], int] = {("pass", "fail"): 0, ("fail", "pass"): 0, **flips}
    pairs = [
        ("outputs", f"{len(ordered):,} of {tests}: {count:,} changed{unseen}"),
        *_iter_judge_rows(old, new, judge_called=judge_called),
        *_iter_mean_rows(ordered, scales),
        ("verdicts", ", ".join(f"{number:,} {before} -> {now}" for (before, now), number in counts.items())),
        *_iter_error_rows("unscored before", (change.old for change in judged)),
        *_iter_error_rows("unscored now", (change.new for change in ordered)),
    ]
    if passed_over:
        pairs.append(("passed over", "; ".join(f"{n:,}: {why}" for why, n in passed_over.items())))
    width = max(len(label) for label, _ in pairs)
    yield from (f"{label:<{width}}  {text}" for label, text in pairs)
    if judge_called and old and old == new and not unseen:
        if count:
            note = "; what has is its noise, or the threshold"
        else:
            note = ", and nothing has"
        yield f"the same judge, version and answers: nothing could have changed{note}"


def _format_change(change: Change, *, unlike: bool) -> str:
    old = change.old
    new = change.new
    output = change.output
    if old.status == new.status:
        status = new.status
    else:
        status = f"{old.status} -> {new.status}"
    scores = _format_scaled_score(new, unlike=unlike)
    if change.delta != 0 or old.scale != new.scale:
        if change.delta is None:
            delta = ""
        else:
            delta = f"  {change.delta:+.2f}"
        scores = f"{_format_scaled_score(old, unlike=unlike)} -> {scores}{delta}"
    if new.status == "unscored":
        explanation = new.error
    else:
        explanation = new.reason
    if explanation:
        why = f"  {shorten_text(explanation, MAX_REASON)}"
    else:
        why = ""
    return f"{shorten_text(output.nodeid, MAX_NODE)}{label_suffix(output.label)}  {scores}  {status}{why}"


def _format_scaled_score(score: Score, *, unlike: bool) -> str:
    if score.score is None:
        return "none"
    if unlike and score.scale:
        scale = f" of {score.scale[0]:g} to {score.scale[1]:g}"
    else:
        scale = ""
    return f"{score.score:.4g}{scale}"


def _iter_judge_rows(
    old: Sequence[tuple[str, str, str]], new: Sequence[tuple[str, str, str]], *, judge_called: bool
) -> Iterator[tuple[str, str]]:
    before = "; ".join(map(_format_judge, old))
    if not judge_called:
        yield "judge", f"{before}: not asked, only the threshold is another"
        return
    yield "judge", f"{before or 'nobody'} -> {'; '.join(map(_format_judge, new))}"
    models = [{model for _, _, model in side} for side in (old, new)]
    if old and new and not any("" in side for side in models):
        yield "model", "the same" if models[0] == models[1] else "another"


def _iter_mean_rows(
    changes: Sequence[Change], scales: Sequence[tuple[float, float]]
) -> Iterator[tuple[str, str]]:
    both = [
        (change.old.normalised, change.new.normalised)
        for change in changes
        if change.old.normalised is not None and change.new.normalised is not None
    ]
    if both:
        old, new = (math.fsum(side) / len(both) for side in zip(*both, strict=True))
        listed = ", ".join(f"{low:g} to {high:g}" for low, high in scales)
        if len(scales) > 1:
            unlike = f"; the scales are unlike ({listed}): all are taken from 0 to 1"
        else:
            unlike = ""
        yield "mean", f"{old:.4f} -> {new:.4f} (0 to 1, of {len(both):,} scored by both){unlike}"


def _iter_error_rows(label: str, scores: Iterable[Score]) -> Iterator[tuple[str, str]]:
    counts = Counter(score.error for score in scores if score.status == "unscored").most_common()
    parts = [f"{count:,}: {shorten_text(why, MAX_REASON)}" for why, count in counts[:MAX_ERRORS]]
    rest = sum(count for _, count in counts[MAX_ERRORS:])
    if rest:
        parts.append(f"{rest:,} for other reasons")
    if parts:
        yield label, "; ".join(parts)


def _format_judge(judge: tuple[str, str, str]) -> str:
    name, version, model = (shorten_text(part, 100) for part in judge)
    return f"{name}, version {version or '(none)'}" + (f", model {model}" if model else "")
