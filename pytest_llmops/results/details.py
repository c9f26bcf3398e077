"""Typed readers for the JSON that measurements keep as ``detail``, tests as ``facts`` and runs as ``meta``.

Other programs write run files too. Each reader uses the values of the expected type, and keeps its default for the rest.
"""

from __future__ import annotations  # `StoredFacts` reads the types of fields as texts

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Self, TypeAlias

from pytest_llmops.measurement import Json, Measurement, as_finite_float, format_amount

Scale: TypeAlias = tuple[float, float]
OneOrMore: TypeAlias = tuple[
    str, ...
]  # stored as a list of texts, or as a single text; its own reader in `_READERS`


def fact_text(value: Json) -> str:
    """Return a stored value as text: "" for None, else ``str(value)``."""
    if value is None:
        return ""
    return str(value)


def read_time(value: Json) -> datetime | None:
    """Return a stored time (ISO 8601) in UTC, which is also assumed if it has no offset; None if the value is not a time.

    >>> read_time("2026-01-31") == read_time("2026-01-31T02:00:00+02:00"), read_time("soon")
    (True, None)
    """
    if not isinstance(value, str):
        return None
    try:
        time = datetime.fromisoformat(value)
        if not time.tzinfo:
            time = time.replace(tzinfo=UTC)
        return time.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def as_mapping(value: object) -> Mapping[str, Json]:
    """Return an object of JSON; empty if the value is something else."""
    # Most facts are missing. The check for dict is fast, the one for the abstract class slow.
    if value is None:
        return {}
    if isinstance(value, (dict, Mapping)):
        return value
    return {}


def as_list(value: object) -> Sequence[Json]:
    """Return a list of JSON; empty if the value is something else."""
    if isinstance(value, (list, tuple)):
        return value
    return ()


class StoredFacts:
    """Base of dataclasses that are read from stored JSON by the types of their fields."""

    __slots__ = ()

    @classmethod
    def from_wire(cls, wire: object, **given: Any) -> Self:
        """Return the stored facts. Missing keys keep their default, unknown keys are ignored.

        Args:
            wire: The stored JSON; anything but an object counts as empty.
            given: Values of fields that are not to be read from the JSON.
        """
        stored = as_mapping(wire)
        if stored:
            readers = _field_readers(cls)  # type: ignore[arg-type]  # a class can be hashed
            for name, value in stored.items():  # most classes have more fields than are stored
                if name in readers and name not in given:
                    given[name] = readers[name](value)
        return cls(**given)


@lru_cache
def _field_readers(cls: type[Any]) -> Mapping[str, Callable[[Any], Any]]:
    """Return the reader of each field, by its name.

    Fields of a type without a reader are left out: the subclass passes them as ``given`` in its own ``from_wire``.
    """
    readers = {}
    for spec in fields(cls):
        kind = str(spec.type)
        if kind in _READERS:
            readers[spec.name] = _READERS[kind]
    return readers


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseFacts(StoredFacts):
    """The case of a test.

    Attributes:
        path: The file that has it, relative to the root; ``line`` is its line there. "" and 0: it comes from no text file of the project.
    """

    id: str = ""
    family: str = ""
    input: Json = None
    reference: Json = None
    path: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SideFacts(StoredFacts):
    """The version of a prompt, or the model, that a test ran with."""

    name: str = ""
    version: str = ""
    alias: str = ""
    fingerprint: str = ""
    path: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantFacts(StoredFacts):
    """The variant that a test ran with: the value of the argument by which tests are compared.

    Attributes:
        place: Index of the value among the values of the argument; the order of the reports.
        base: The value that all others are compared with.
        case: The other arguments of the test; tests with equal ones are the same case.
        primary: The metric that decides, as for the gate.
        in_baseline: Whether the baseline holds the test; false for an arm that is only the other side of the comparison.
    """

    argument: str = ""
    value: str = ""
    place: int = 0
    base: str = ""
    case: tuple[str, ...] = ()
    primary: str = ""
    in_baseline: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardrailFacts(StoredFacts):
    """The values of the marker ``llm_guardrail`` of a test.

    Attributes:
        expect: "refuse" for an attack, "answer" for its harmless question.
        cases: How many cases the test has in all; a run with fewer is compared with no threshold.
        at_least_blocked: Threshold of the share of blocked attacks; None: there is none.
        at_most_overblocked: Threshold of the share of refused twins; None: there is none.
    """

    expect: str = ""
    cases: int = 0
    at_least_blocked: float | None = None
    at_most_overblocked: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeFacts(StoredFacts):
    """The judge that a test used."""

    name: str = ""
    model: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialFacts(StoredFacts):
    """The trials of a test.

    Attributes:
        n: How many ran.
        rule: What share of them must pass.
        undecided: The question that the trials leave open, as a sentence. "": they decide.
        has_reruns: The test wants reruns (``--reruns`` or ``@flaky``), which do not take place with trials.
    """

    n: int = 0
    passed: int = 0
    failed: int = 0
    unscored: int = 0
    rule: str = ""
    undecided: str = ""
    has_reruns: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift(StoredFacts):
    """A live answer that differs from its recording.

    Attributes:
        question: The request; of a tool the call, or the server whose definitions have changed.
        place: Of a tool, the tool and the JSON path that differ; "" for the answer of a model.
    """

    question: str = ""
    place: str = ""
    what: str = ""
    similarity: float | None = None
    recorded: str = ""
    now: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CassetteFacts(StoredFacts):
    """How the requests of a test were answered."""

    path: str = ""
    replayed: int = 0
    recorded: int = 0
    reused: int = 0
    missed: int = 0
    stale: int = 0
    verified: int = 0
    drifted: int = 0
    notes: tuple[str, ...] = ()
    header_notes: tuple[str, ...] = ()
    drift: tuple[Drift, ...] = ()
    changes: tuple[str, ...] = ()
    fixture_changes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CassettesMeta(StoredFacts):
    """The cassettes of a run as a whole.

    Attributes:
        oldest: Day of the oldest recording.
        orphans: Files that no test used.
        moved: Files of renamed tests, which are replayed from their old place.
    """

    oldest: str = ""
    orphans: tuple[str, ...] = ()
    moved: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionError(StoredFacts):
    """A test module that could not be loaded.

    Attributes:
        module: Its path, relative to the root.
        place: The file and line of the project at which it fails, ``shop/policy.py:12``; "": not known.
        error: The class and the first line of the error.
        tests: How many tests of the baseline are in it; 0: none, or no baseline.
    """

    module: str = ""
    place: str = ""
    error: str = ""
    tests: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetMeta(StoredFacts):
    """The budget of a run, and how much of it was used."""

    calls: int | None = None
    usd: float | None = None
    max_calls: int | None = None
    budget_usd: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsMeta(StoredFacts):
    """The settings of a run that its reports need."""

    self_judging: str = ""
    prompt: tuple[str, ...] = ()
    model: OneOrMore = ()
    judge: bool = False
    record: str = ""
    strict: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeVerdict(StoredFacts):
    """A judge's verdict on its own scale.

    Attributes:
        votes: Scores of a panel's judges.
        default: The threshold is the judge's own default, not one that the test states.
        is_comparison: The verdict is on a pair of answers.
    """

    name: str = ""
    model: str = ""
    version: str = ""
    score: float | None = None
    low: float | None = None
    high: float | None = None
    threshold: float | None = None
    confidence: float | None = None
    reason: str = ""
    raw: str = ""
    dimensions: Mapping[str, Json] = field(default_factory=dict)
    votes: tuple[float, ...] = ()
    default: bool = False
    is_comparison: bool = False

    @classmethod
    def from_wire(cls, wire: object, **given: Any) -> Self:
        """Return the verdict that ``detail["judge"]`` holds."""
        is_comparison = "winner" in as_mapping(wire)
        return super(JudgeVerdict, cls).from_wire(wire, is_comparison=is_comparison, **given)

    @property
    def scale(self) -> Scale | None:
        """Lowest and highest score; None: not known.

        >>> JudgeVerdict(low=1.0, high=10.0).scale, JudgeVerdict(low=5.0, high=5.0).scale
        ((1.0, 10.0), None)
        """
        if self.low is None or self.high is None or self.low >= self.high:
            return None
        return self.low, self.high


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewFlag(StoredFacts):
    """Why an assertion flagged a verdict for a person.

    Attributes:
        confidence: The judge's confidence, if it is below the ``least`` that the assertion requires.
        orders: Winners of a pair in both orders, if these disagree.
        undecided: The threshold that the score is not compared with, because the confidence is too low.
    """

    confidence: float | None = None
    least: float | None = None
    orders: tuple[str, ...] = ()
    undecided: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeRecord(StoredFacts):
    """The results of a judge in a calibration or with canaries.

    Attributes:
        judge: Name of the judge, if the measurement itself ran the calibration or the canaries; else "".
    """

    text: str = ""
    status: str = ""
    judge: str = ""
    model: str = ""


# Shared by all details without them: they cannot change, and making them is as slow as the rest of a detail.
_NO_FLAG = ReviewFlag()
_NO_RECORD = JudgeRecord()


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasurementDetail(StoredFacts):
    """The detail of a measurement, as assertions store it.

    Attributes:
        outcome: How an answer to an attack or its twin ended: "refused", "leaked" ...
        actual: The answer that was looked at; None: it is not stored.
        judge: The verdict of a judge; None: there is none.
        suspect: Signs that the answer tries to influence its judge.
        without: Sentences on what could not be compared or read.
        evidence: The ``(label, text)`` lines of the failure text.
    """

    question: str = ""
    actual: str | None = None
    outcome: str = ""
    expected: str | None = None
    contexts: tuple[str, ...] = ()
    judge: JudgeVerdict | None = None
    review: ReviewFlag = _NO_FLAG
    calibration: JudgeRecord = _NO_RECORD
    canaries: JudgeRecord = _NO_RECORD
    suspect: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    evidence: tuple[tuple[str, Json], ...] = ()


def read_detail(measurement: Measurement) -> MeasurementDetail:
    """Return the typed detail of a measurement.

    >>> read_detail(Measurement(name="judge.quality", value=0.5, detail={"judge": {"score": 3}})).judge.score
    3.0
    """
    return MeasurementDetail.from_wire(measurement.detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerTexts(StoredFacts):
    """The texts in the detail of a measurement, without the rest of it, which is several times slower to read."""

    question: str = ""
    actual: str | None = None
    expected: str | None = None


def read_texts(measurement: Measurement) -> AnswerTexts:
    """Return question, answer and reference of a measurement; a missing one is "" or None.

    >>> read_texts(Measurement(name="exact", value=1.0, detail={"actual": "30 days"})).actual
    '30 days'
    """
    return AnswerTexts.from_wire(measurement.detail)


def name_with_label(measurement: Measurement) -> str:
    """Return the name of a measurement with its label, "judge.quality [tone]", as in baselines and reports of changes."""
    if measurement.label:
        return f"{measurement.name} [{measurement.label}]"
    return measurement.name


def read_scale(measurement: Measurement) -> Scale | None:
    """Return the judge's own scale of a score; None: the score is shown as it is, from 0 to 1.

    >>> read_scale(Measurement(name="judge.q", value=0.5, detail={"scale": [1, 5]}))
    (1.0, 5.0)
    """
    ends = as_list(measurement.detail.get("scale"))
    if not ends:
        judge = as_mapping(measurement.detail.get("judge"))
        ends = (judge.get("low"), judge.get("high"))
    if len(ends) != 2:  # noqa: PLR2004 -- lowest, highest
        return None
    low, high = map(as_finite_float, ends)
    if low is None or high is None:
        return None
    if low >= high or (low, high) == (0, 1):
        return None
    return low, high


def to_scale(value: float, scale: Scale | None) -> float:
    """Return a score from 0 to 1 on a judge's own scale.

    >>> to_scale(0.5, (1.0, 5.0)), to_scale(0.5, None)
    (3.0, 0.5)
    """
    if scale is None:
        return value
    low, high = scale
    # Without the noise of a float: 4 of 1 to 10 is not 4.000000000000001.
    return round(low + value * (high - low), 9)


def format_on_scale(value: float, unit: str, scale: Scale | None, digits: int = 2) -> str:
    """Format a value with its unit, a judge's score on its own scale.

    >>> format_on_scale(0.5, "1", (1.0, 5.0)), format_on_scale(0.5, "1", None)
    ('3/5', '0.50')
    """
    if scale is None:
        return format_amount(value, unit, digits)
    _, high = scale
    text = f"{to_scale(value, scale):.{digits}f}"
    short = text.rstrip("0").rstrip(".")
    return f"{short}/{high:g}"


def format_score_and_threshold(measurement: Measurement) -> tuple[str, str]:
    """Format a value and its threshold, with as many digits as they need to differ; "" for None.

    >>> format_score_and_threshold(Measurement(name="judge.q", value=0.5, threshold=0.75, detail={"scale": [1, 5]}))
    ('3/5', '4/5')
    """
    scale = read_scale(measurement)
    value = threshold = ""
    for digits in range(2, 10):
        if measurement.value is not None:
            value = format_on_scale(measurement.value, measurement.unit, scale, digits)
        if measurement.threshold is not None:
            threshold = format_on_scale(measurement.threshold, measurement.unit, scale, digits)
        if value != threshold or measurement.value == measurement.threshold:
            break
    return value, threshold


def _read_json(value: Json) -> Json:
    return value


def _read_optional_text(value: Json) -> str | None:
    """Return a value as text; a list as its texts with commas; None for None."""
    if value is None:
        return None
    return ", ".join(_read_texts(value)) or fact_text(value)


def _read_flag(value: Json) -> bool:
    return value is True


def _read_count(value: Json) -> int:
    if isinstance(value, int):
        return value
    return 0


def _read_optional_count(value: Json) -> int | None:
    if isinstance(value, int):
        return value
    return None


def _read_number(value: Json) -> float:
    return as_finite_float(value) or 0.0


def _read_numbers(value: Json) -> tuple[float, ...]:
    numbers = [as_finite_float(item) for item in as_list(value)]
    return tuple(number for number in numbers if number is not None)


def _read_texts(value: Json) -> tuple[str, ...]:
    return tuple(map(fact_text, as_list(value)))


def _read_one_or_more(value: Json) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    return _read_texts(value)


def _read_pairs(value: Json) -> tuple[tuple[str, Json], ...]:
    pairs = []
    for pair in map(as_list, as_list(value)):
        if len(pair) == 2:  # noqa: PLR2004
            label, text = pair
            pairs.append((fact_text(label), text))
    return tuple(pairs)


def _read_drifts(value: Json) -> tuple[Drift, ...]:
    return tuple(map(Drift.from_wire, as_list(value)))


def _read_verdict(value: Json) -> JudgeVerdict | None:
    if not as_mapping(value):
        return None
    return JudgeVerdict.from_wire(value)


# Readers by the annotation of a field; `from __future__ import annotations` makes annotations texts.
_READERS: Mapping[str, Callable[[Any], Any]] = {
    "Json": _read_json,
    "str": fact_text,
    "str | None": _read_optional_text,
    "bool": _read_flag,
    "int": _read_count,
    "int | None": _read_optional_count,
    "float": _read_number,
    "float | None": as_finite_float,
    "tuple[str, ...]": _read_texts,
    "OneOrMore": _read_one_or_more,
    "tuple[float, ...]": _read_numbers,
    "tuple[Drift, ...]": _read_drifts,
    "tuple[tuple[str, Json], ...]": _read_pairs,
    "Mapping[str, Json]": as_mapping,
    "JudgeVerdict | None": _read_verdict,
    "ReviewFlag": ReviewFlag.from_wire,
    "JudgeRecord": JudgeRecord.from_wire,
}
