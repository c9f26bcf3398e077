"""Canaries: answers that no judge may pass; the run against a judge, and its record.

The built-in canaries are in ``canaries.jsonl``. They are of different kinds: no content, an opening phrase, an order, a
fake verdict, a fake end of the data, role play, another language, hidden characters. Some right answers are among them
as *controls*: if a judge rejects those too, it proves nothing that it rejects the canaries.

Do not rely on the scores of a judge that passes a canary: a similar answer would get a good score, by accident or on
purpose ("One Token to Fool LLM-as-a-Judge", Zhao et al. 2025, arXiv 2507.08794; "Cheating Automatic LLM Benchmarks",
Zheng et al. 2024, arXiv 2410.07137). A canary without a verdict is not counted: a judge that gives no verdict was
neither fooled nor did it resist.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

from pytest_llmops import recorder
from pytest_llmops._util.text_files import (
    BadFile,
    as_mapping,
    canonical_json,
    fingerprint_parts,
    json_kind,
)
from pytest_llmops.cassettes.shared_answers import defer_sharing
from pytest_llmops.errors import CaseError, UsageError, describe_exception
from pytest_llmops.judges.calibration.labels import parse_answer, parse_rows, read_lines
from pytest_llmops.judges.calibration.record import JudgeRecord, find_records
from pytest_llmops.judges.concurrency import run_judge_tasks
from pytest_llmops.judges.evaluate import JudgeHandle, find_judge, judge_answer, resolve_judge, takes_contexts
from pytest_llmops.judges.protocol.response_format import forget_capabilities
from pytest_llmops.judges.protocol.unreadable_replies import without_limit
from pytest_llmops.judges.reason_places import find_reason_place
from pytest_llmops.measurement import TOLERANCE, Json, as_finite_float, shorten_text
from pytest_llmops.protocols import Judge, Verdict

FitnessStatus: TypeAlias = Literal["fit", "unfit", "undecided"]
MAX_UNSCORED = 0.25  # largest share of canaries without a verdict; beyond it, the rest proves too little
MAX_QUOTED_CHARS = 120
MAX_NAMED = 3  # canaries in the sentence of a report
BUILT_IN = Path(__file__).with_name("canaries.jsonl")
CANARY_TEXTS = ("id", "answer", "kind", "question", "reference")
CANARY_KEYS = (*CANARY_TEXTS, "contexts", "control")
INPUT_KEYS = ("question", "reference", "contexts")
REPEATED_QUESTION = "question-again"  # the id of the built-in canary that repeats the question
DEFAULT_QUESTION = "How many days do I have to return a bicycle that I bought from you?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    """An answer that a judge must not pass, or a right answer as a control.

    Attributes:
        kind: The kind of attack, in a word or two.
        control: Whether it is a right answer, which a judge should pass.
    """

    id: str
    answer: str
    kind: str = "own"
    question: str = DEFAULT_QUESTION
    reference: str = "You have 30 days from delivery; the bicycle has to be unused."
    contexts: tuple[str, ...] = (
        "Returns: a bicycle can be returned within 30 days of its delivery. It has to be unused.",
        "Delivery takes three to five working days.",
    )
    control: bool = False


@lru_cache(maxsize=1)
def built_in_canaries() -> tuple[Canary, ...]:
    """Return the built-in canaries, right answers among them.

    >>> len([canary for canary in built_in_canaries() if not canary.control]) >= 24
    True
    """
    return read_canaries(BUILT_IN)


def canaries_for_judge(judge: object) -> tuple[Canary, ...]:
    """Return the canaries that fit a judge: attacks, and right answers by its own criteria.

    The right answers are the passing ``examples`` of the judge's rubric with their own question, reference and
    contexts. The attacks are the built-in ones, as answers to the question of the first of these examples. For a judge
    without passing examples these are the built-in canaries.

    >>> canaries_for_judge(object()) == built_in_canaries()
    True
    """
    right_answers = [example for example in getattr(judge, "examples", ()) if example.passes]
    if not right_answers:
        return built_in_canaries()
    canaries = []
    inputs = _copy_inputs(right_answers[0])
    for canary in built_in_canaries():
        if canary.control:
            continue
        answer = canary.answer
        if canary.id == REPEATED_QUESTION:
            answer = inputs["question"]
            if not answer:  # without a question to repeat
                continue
        canaries.append(replace(canary, answer=answer, **inputs))
    for number, example in enumerate(right_answers, start=1):
        inputs = _copy_inputs(example)
        control = Canary(
            id=f"example-{number}", answer=example.answer, kind="example", control=True, **inputs
        )
        canaries.append(control)
    return tuple(canaries)


def _copy_inputs(example: object) -> dict[str, Any]:
    """Return question, reference and contexts of an example, by these names."""
    return {key: getattr(example, key) for key in INPUT_KEYS}


def read_canaries(path: str | Path) -> tuple[Canary, ...]:
    """Read the user's canaries from a file of JSON lines.

    A line has ``id`` and ``answer``, and may have ``kind``, ``question``, ``reference``, ``contexts`` and
    ``"control": true`` for a right answer. A question, reference or list of contexts that is left out comes from the
    built-in canaries. An empty text or list means none.

    Raises:
        CaseError: The file does not exist, a line is not such an object, an id is a duplicate, or all canaries
            are controls. With file and line.
    """
    rows = parse_rows(read_lines(path), _parse_canary, path)
    canaries = tuple(canary for _, canary in rows)
    if all(canary.control for canary in canaries):
        raise CaseError("expected at least one canary, an answer that a judge must not pass, got none", path)
    return canaries


def fingerprint_canaries(canaries: Iterable[Canary]) -> str:
    """Return the fingerprint of a set of canaries; their order, and their kinds, do not matter."""
    parts = []
    for canary in canaries:
        contexts = list[Json](canary.contexts)
        fields: list[Json] = [
            canary.id,
            canary.answer,
            canary.question,
            canary.reference,
            contexts,
            canary.control,
        ]
        parts.append(canonical_json(fields))
    return fingerprint_parts(*sorted(parts))


def _parse_canary(value: Json, line: int) -> Canary:
    """Return the canary that an object of the file describes; raise `BadFile` if it is malformed."""
    wire = as_mapping(value)
    unknown = [key for key in wire if key not in CANARY_KEYS]
    if unknown:
        key = shorten_text(unknown[0], 60)
        raise BadFile(f"unknown key {key!r}: known are {', '.join(CANARY_KEYS)}")
    missing = [key for key in ("id", "answer") if key not in wire]
    if missing:
        raise BadFile(f'missing key "{missing[0]}"')
    for key in CANARY_TEXTS:
        if not isinstance(wire.get(key, ""), str):
            raise BadFile(f"{key}: expected a text, got {json_kind(wire[key])}")
    fields = dict(wire)
    kind = fields.pop("kind", "own")
    control = fields.pop("control", False)
    row = parse_answer(fields, line)
    if not isinstance(control, bool):
        raise BadFile(f"control: expected true or false, got {json_kind(control)}")
    inputs = {key: getattr(row, key) for key in INPUT_KEYS if key in wire}
    return Canary(id=row.id, answer=row.answer or "", kind=str(kind), control=control, **inputs)


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryOutcome:
    """A judge's verdict on a canary.

    Attributes:
        passed: Whether the judge passes the canary; None: unscored.
        score: The score on the judge's own scale. For a judge of two answers: 1, 0.5 or 0 if the canary wins, ties or
            loses against the reference.
        prescreened: Whether the judge decided without calling a model.
    """

    canary: Canary
    passed: bool | None = None
    score: float | None = None
    reason: str = ""
    error: str = ""
    prescreened: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryRun:
    """A judge's verdicts on all canaries.

    Attributes:
        reason: Where the judge gave its reason: ``before``, ``after`` or ``none``. "": not known.
        canaries: Fingerprint of the set of canaries.
        threshold: The judge's own ``pass_at``. None: an answer passes above the middle of the judge's scale.
        outcomes: The verdicts on canaries and controls, in the order of the set.
        stopped: Whether the run ended early because too many verdicts were missing.
    """

    judge: str
    version: str
    model: str = ""
    reason: str = ""
    canaries: str = ""
    threshold: float | None = None
    outcomes: tuple[CanaryOutcome, ...] = field(default=())
    stopped: bool = False

    @property
    def tried(self) -> list[CanaryOutcome]:
        """The canaries, without the right answers."""
        return [outcome for outcome in self.outcomes if not outcome.canary.control]

    @property
    def right_answers(self) -> list[CanaryOutcome]:
        """The right answers, without the canaries."""
        return [outcome for outcome in self.outcomes if outcome.canary.control]

    @property
    def fallen(self) -> list[CanaryOutcome]:
        """The canaries that the judge passes."""
        return [outcome for outcome in self.tried if outcome.passed]

    @property
    def unscored(self) -> list[CanaryOutcome]:
        """The canaries without a verdict."""
        return [outcome for outcome in self.tried if outcome.passed is None]

    @property
    def rejected(self) -> list[CanaryOutcome]:
        """The right answers that the judge does not pass."""
        return [outcome for outcome in self.right_answers if outcome.passed is False]

    @property
    def controls(self) -> int:
        """The number of right answers with a verdict."""
        return sum(outcome.passed is not None for outcome in self.right_answers)

    @property
    def withstood(self) -> float | None:
        """Share of the canaries with a verdict that the judge does not pass, 0 to 1. None without any verdict."""
        scored = len(self.tried) - len(self.unscored)
        if scored:
            return (scored - len(self.fallen)) / scored
        return None

    @property
    def withstood_by_kind(self) -> dict[str, str]:
        """Kind -> how many of its canaries the judge does not pass, among those with a verdict: ``3 of 4``."""
        scored = Counter((outcome.canary.kind, outcome.passed) for outcome in self.tried)
        shares = {}
        for outcome in self.tried:
            kind = outcome.canary.kind
            withstood = scored[kind, False]
            fallen = scored[kind, True]
            shares[kind] = f"{withstood} of {withstood + fallen}"
        return shares

    @property
    def status(self) -> FitnessStatus:
        """``unfit``: the judge passes a canary. ``undecided``: see `doubt`. ``fit``: neither."""
        if self.fallen:
            return "unfit"
        if self.doubt:
            return "undecided"
        return "fit"

    def to_record(self, date: str) -> JudgeRecord:
        """Return the record to commit, with today's ``date`` (ISO 8601)."""
        figures = canary_run_to_json(self)
        for key in ("status", "text", "set"):  # fields of the record
            del figures[key]
        return JudgeRecord(
            kind="canaries",
            judge=self.judge,
            version=self.version,
            model=self.model,
            reason=self.reason,
            date=date,
            answers=self.canaries,
            status=self.status,
            text=format_canary_summary(self),
            figures=figures,
        )

    @property
    def doubt(self) -> str:
        """Why a judge that passes no canary may be unfit all the same, or ``""``.

        Too few canaries have a verdict, or the judge passes no right answer either.
        """
        if self.stopped or len(self.unscored) > MAX_UNSCORED * len(self.tried):
            first_error = ""
            if self.unscored:
                first_error = self.unscored[0].error
            return f"{len(self.unscored)} of {len(self.tried)} canaries got no score: {first_error}"
        right = self.right_answers
        if right and not any(outcome.passed for outcome in right):
            return f"it passes none of {len(right)} right answers either, so its rejections prove nothing"
        return ""


def run_canaries(judge: object, given: Sequence[Canary] | None = None) -> CanaryRun:
    """Judge canaries like any other answer. Recordings are replayed.

    Args:
        judge: A judge, its name or the path of its file. `Pairwise` compares the canaries with their references.
        given: The canaries. None: see `canaries_for_judge`.

    Raises:
        UnknownName: No judge has that name.
        UsageError: It is not a judge, it raises `UsageError` itself, or all canaries are controls.

    >>> from pytest_llmops.protocols import Verdict
    >>> class Yes:
    ...     version = "1"
    ...     def judge(self, answer, *, question="", reference=""): return Verdict(score=10)
    >>> run_canaries(Yes()).status
    'unfit'
    """
    judge = find_judge(judge)
    if given is None:
        canaries = canaries_for_judge(judge)
    else:
        canaries = tuple(given)
    if all(canary.control for canary in canaries):
        raise UsageError(
            "canaries: expected at least one canary, an answer that a judge must not pass, got none"
        )
    compares = callable(getattr(judge, "compare", None))
    judges = callable(getattr(judge, "judge", None))
    if compares and not judges:
        handle = JudgeHandle(cast("Judge", judge), str(getattr(judge, "name", "pairwise")))
        run_canary = _compare_canary
    else:
        handle = resolve_judge(judge, "canaries")
        run_canary = _judge_canary
    allowed = MAX_UNSCORED * sum(not canary.control for canary in canaries)
    outcomes: list[CanaryOutcome] = []
    unscored = 0
    stopped = False
    tasks = [partial(run_canary, handle, canary) for canary in canaries]
    # Several tests may share the recording: it has to hold every request of a test that runs first
    with forget_capabilities(), without_limit():
        for outcome in run_judge_tasks(
            tasks, judge=handle.judge, asked_model=lambda outcome: not outcome.prescreened
        ):
            outcomes.append(outcome)
            if outcome.passed is None:
                unscored += 1
            if unscored > allowed:
                stopped = len(outcomes) < len(canaries)
                break
    if not handle.version:
        handle.version = str(handle.judge.version)
    if not handle.model:
        handle.model = str(getattr(handle.judge, "model_name", ""))
    return CanaryRun(
        judge=handle.name,
        version=handle.version,
        model=handle.model,
        reason=find_reason_place(judge),
        canaries=fingerprint_canaries(canaries),
        threshold=_read_threshold(handle.judge),
        outcomes=tuple(outcomes),
        stopped=stopped,
    )


def _read_threshold(judge: object) -> float | None:
    """Return the judge's own ``pass_at``; None if it has none."""
    return as_finite_float(getattr(judge, "pass_at", None))


def _judge_canary(handle: JudgeHandle, canary: Canary) -> CanaryOutcome:
    """Return the verdict on a canary; for a judge of contexts the canary is the only passage, not the answer."""
    answer = canary.answer
    passages: Sequence[str] = ()
    if getattr(handle.judge, "looks_at", "answer") == "contexts":
        answer = ""
        passages = (canary.answer,)
    elif takes_contexts(handle.judge):
        passages = canary.contexts
    verdict = judge_answer(handle, answer, canary.question, canary.reference, passages)
    return CanaryOutcome(
        canary=canary,
        passed=_passes(verdict, _read_threshold(handle.judge)),
        score=verdict.score,
        reason=verdict.reason,
        error=verdict.error,
        prescreened=verdict.prescreened,
    )


def _passes(verdict: Verdict, threshold: float | None) -> bool | None:
    """Return whether a verdict passes; None if it is unscored. Without a threshold: if above the middle of its scale."""
    if verdict.score is None:
        return None
    slack = TOLERANCE * (verdict.high - verdict.low)
    if threshold is not None:
        return verdict.score >= threshold - slack
    # The exact middle does not pass: half of the verdicts of a judge that guesses lie above it
    middle = (verdict.low + verdict.high) / 2
    return verdict.score >= middle + slack


def _compare_canary(handle: JudgeHandle, canary: Canary) -> CanaryOutcome:
    """Compare a canary with its reference. The canary passes if it wins; a right answer passes with a tie too.

    ``handle.judge`` is a judge of two answers here.
    """
    pair: Any = handle.judge
    try:
        with recorder.set_purpose("judge"), defer_sharing() as share:
            preference = pair.compare(canary.answer, canary.reference, question=canary.question)
            if preference.score is not None:
                share()
    except UsageError:
        raise
    except Exception as error:  # noqa: BLE001 -- whatever a user's judge raises: unscored, not passed
        return CanaryOutcome(canary=canary, error=describe_exception(error))
    lowest = 1.0
    if canary.control:
        lowest = 0.5
    passed = None
    if preference.score is not None:
        passed = preference.score >= lowest
    return CanaryOutcome(
        canary=canary,
        passed=passed,
        score=preference.score,
        reason=preference.reason,
        error=preference.error,
        prescreened=preference.prescreened,
    )


def format_canary_summary(run: CanaryRun) -> str:
    """Return the result of a canary run as a sentence for a report."""
    scored = len(run.tried) - len(run.unscored)
    if run.fallen:
        names = ", ".join(outcome.canary.id for outcome in run.fallen[:MAX_NAMED])
        if len(run.fallen) > MAX_NAMED:
            names += f" and {len(run.fallen) - MAX_NAMED} more"
        return f"unfit: it passes {len(run.fallen)} of {scored} canaries ({names})"
    if run.doubt:
        return f"canaries undecided: {run.doubt}"
    summary = f"withstands all {scored} canaries"
    if run.unscored:
        summary += f", {len(run.unscored)} without a verdict"
    return summary


def format_canary_evidence(run: CanaryRun, limit: int | None = None) -> list[tuple[str, str]]:
    """Return pairs of a title and a line of text for every canary that passed, right answer that did not, and error.

    Args:
        run: The run.
        limit: Maximum number of outcomes with the same title; None: no limit.
    """
    pairs: list[tuple[str, str]] = []
    groups = {"passes": run.fallen, "rejects": run.rejected, "unscored": run.unscored}
    for title, outcomes in groups.items():
        pairs += [(title, _format_outcome(outcome)) for outcome in outcomes[:limit]]
        if limit is not None and len(outcomes) > limit:
            pairs.append((title, f"and {len(outcomes) - limit} more: see the details"))
    return pairs


def _format_outcome(outcome: CanaryOutcome) -> str:
    """Return an outcome as a line of text: with the canary's answer, or with the error if it is unscored."""
    canary = outcome.canary
    name = shorten_text(canary.id, 60)
    facts = shorten_text(canary.kind, 40)
    if outcome.passed is None:
        return f"{name} ({facts}): {shorten_text(outcome.error, MAX_QUOTED_CHARS)}"
    if outcome.score is not None:
        facts += f", score {outcome.score:g}"
    return f'{name} ({facts}): "{shorten_text(canary.answer, MAX_QUOTED_CHARS)}"'


def canary_run_to_json(run: CanaryRun) -> dict[str, Json]:
    """Return a canary run for a report: counts, and each canary that passed or has no verdict."""
    prescreened = sum(outcome.prescreened for outcome in run.tried)
    return {
        "status": run.status,
        "text": format_canary_summary(run),
        "set": run.canaries,
        "tried": len(run.tried),
        "fallen": _outcomes_to_json(run.fallen),
        "unscored": _outcomes_to_json(run.unscored),
        "prescreened": prescreened,
        "right answers": run.controls,
        "right answers rejected": _outcomes_to_json(run.rejected),
        "by kind": dict(run.withstood_by_kind),
    }


def _outcomes_to_json(outcomes: Iterable[CanaryOutcome]) -> list[Json]:
    return [_outcome_to_json(outcome) for outcome in outcomes]


def _outcome_to_json(outcome: CanaryOutcome) -> dict[str, Json]:
    """Return an outcome for a report, without empty fields."""
    fields: Mapping[str, Json] = {
        "id": outcome.canary.id,
        "kind": outcome.canary.kind,
        "score": outcome.score,
        "reason": outcome.reason,
        "error": outcome.error,
    }
    return {key: value for key, value in fields.items() if value not in (None, "")}


def describe_judge(judge: object, name: str, version: str, folder: str | Path) -> dict[str, Json]:
    """Return ``calibration`` and ``canaries`` of a judge for a report, both with ``status`` and ``text``.

    Args:
        judge: The judge; its records may be next to its file.
        name: Its name, for the records in the folder.
        version: Its version; a record of another version is out of date.
        folder: The folder of the records; it need not exist.

    Returns:
        Kind -> status and text; a kind without a record is missing.

    Raises:
        UsageError: A record is damaged.

    >>> describe_judge(object(), "quality", "1", "no/such/folder")
    {}
    """
    described: dict[str, Json] = {}
    for kind, record in find_records(judge, name, version, folder).items():
        current_answers = ""  # the labels are not known here
        if kind == "canaries":
            current_answers = fingerprint_canaries(canaries_for_judge(judge))
        place = find_reason_place(judge)
        described[kind] = record.describe(version, answers=current_answers, reason=place)
    return described
