"""The cases that a report shows, the worst first: question, expected, the answers before and now, scores, and why.

Every report shows a case with the same parts in the same order, from here.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from pytest_llmops.errors import split_code
from pytest_llmops.measurement import Json, Measurement, format_amount, shorten_text
from pytest_llmops.protocols import is_error_status
from pytest_llmops.reports.commands import is_miss
from pytest_llmops.results.call_sequences import StepChange, compare_with_nearest, find_sequences
from pytest_llmops.results.details import (
    CaseFacts,
    Scale,
    format_score_and_threshold,
    name_with_label,
    read_detail,
    read_scale,
    read_texts,
    to_scale,
)
from pytest_llmops.results.run import Run, TestRecord
from pytest_llmops.results.trajectories import find_last_text
from pytest_llmops.results.verdict import CaseChange, ScoreChange

CaseKind: TypeAlias = Literal[
    "no recording", "no score", "error", "failed", "worse", "better", "edited", "changed"
]
# In the order in which reports list them
CASE_KINDS: tuple[CaseKind, ...] = (
    "no recording", "no score", "error", "failed", "worse", "better", "edited", "changed",
)  # fmt: skip
BAD_KINDS = frozenset({"no recording", "no score", "error", "failed", "worse"})
OTHER_TRIALS = "This trial has the same answer, other trials differ"
WORST = "the worst"
BEST = "the best"
LONGEST_ID = 60
KEPT_OF_LONG_ID = 28  # characters at each end
_EVIDENCE_OF_ANSWER = frozenset(
    {"answer", "expected", "diff", "tail of output", "output", "differs at", "note"}
)
# A message or a call in the evidence: the steps of an agent, whether it failed or not
_LINE_OF_TRAJECTORY = re.compile(r" |\d+ ")
_PLACE_OF_NEAREST = re.compile(r'(?<=") at line \d[^;]{0,80}\Z')


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownScore:
    """A score of a case, as text on the metric's own scale.

    Attributes:
        before: "1.00", "4.7", "3 of 3" (trials that passed); "" without a baseline, "no score" if it was not scored.
        after: The score now; of a failed assertion ``needs`` is the threshold with its sign.
        moved: ``worse``, ``better`` or "".
    """

    name: str
    before: str = ""
    after: str = ""
    needs: str = ""
    moved: str = ""

    @property
    def words(self) -> str:
        """The score in a line.

        >>> ShownScore(name="text.contains", before="1.00", after="0.33").words
        'text.contains 1.00 → 0.33'
        >>> ShownScore(name="text.contains", after="0.00", needs="≥ 1.00").words
        'text.contains 0.00, needs ≥ 1.00'
        """
        if self.needs:
            return f"{self.name} {self.after}, needs {self.needs}"
        if self.before:
            return f"{self.name} {self.before} → {self.after}"
        return f"{self.name} {self.after}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownCase:
    """A case that changed, failed or got no score.

    Attributes:
        id: Its shortest name that no other case of the run has; never longer than 60 characters.
        scores: Scores that moved, or that miss a threshold; the largest loss first.
        why: Why it failed or got worse, as far as a check gives the reason: 'missing "45 days"'.
        expected: The expectation of the failed or fallen assertion, else the reference; "": neither is known.
        before: The answer in the baseline; None: it is not known here, or without a baseline.
        now: The answer now; None: there is none.
        trial: Which trial's answer is shown, "the worst of 3 trials", or "the best of 3 trials" of a better case; "": there was one.
        steps: The calls of tools that differ from the baseline; empty: none do, or the calls of one side are not known.
        step_trials: In how many trials these steps differ: "these steps differ in 2 of 3 trials"; "": there was one trial, or nothing differs.
        broke: It broke since the baseline: all trials are worse than all before. Such cases come first of their kind.
    """

    kind: CaseKind
    id: str
    scores: tuple[ShownScore, ...] = ()
    why: str = ""
    question: str = ""
    expected: str = ""
    before: str | None = None
    now: str | None = None
    trial: str = ""
    steps: tuple[StepChange, ...] = ()
    step_trials: str = ""
    record: TestRecord
    change: CaseChange | None = None
    broke: bool = False

    @property
    def is_bad(self) -> bool:
        """Whether it failed, got worse, or has no score."""
        return self.kind in BAD_KINDS

    @property
    def has_same_answer(self) -> bool:
        """Whether both answers are known and equal, so that something else moved the score."""
        return self.before is not None and self.before == self.now

    @property
    def lacks_before(self) -> bool:
        """Whether the baseline had an answer that is not known here, and no steps of the baseline are shown in its place."""
        if self.change is None or not self.change.before_outcome:
            return False
        return self.before is None and self.now is not None and not self.steps

    @property
    def note(self) -> str:
        """The text of a report in the place of a difference; "" if the two answers show it themselves."""
        if self.change is not None and self.change.case_edited:
            return "The case was edited"
        if self.change is None or self.kind not in ("worse", "better", "changed"):
            return ""
        if self.has_same_answer:
            if self.change.answer_changed:
                return OTHER_TRIALS
            return _explain_same_answer(self.change)
        before, now = self.before, self.now
        if before is not None and now is not None and before.split() == now.split():
            return "Only white space differs"
        return ""


def list_cases(run: Run) -> list[ShownCase]:
    """Return the cases to look at, by kind and the largest loss first. Tests that passed and did not change are left out.

    >>> list_cases(Run())
    []
    """
    changes = run.changes
    names = name_cases(run.records)
    gate = run.find_verdict("baseline")
    broken = set() if gate is None else {case.nodeid for case in gate.broken}
    cases = []
    for record in run.records:
        kind = _find_kind(record, changes.get(record.nodeid))
        if kind is None:
            continue
        case = _build_case(kind, record, changes.get(record.nodeid), names[record.nodeid])
        steps, step_trials = _compare_steps(record, case.change)
        cases.append(replace(case, broke=record.nodeid in broken, steps=steps, step_trials=step_trials))
    return sorted(cases, key=_severity)


def count_kinds(cases: Iterable[ShownCase]) -> Counter[str]:
    """Return how many cases there are of each kind."""
    return Counter(case.kind for case in cases)


def _find_kind(record: TestRecord, change: CaseChange | None) -> CaseKind | None:
    """Return the kind of a test; None: it is not shown."""
    if is_miss(record):
        return "no recording"
    if record.outcome == "errored":
        if any(measurement.status == "errored" for measurement in record.measurements):
            return "no score"
        return "error"
    if record.outcome == "failed":
        return "failed"
    if change is None:
        return None
    if change.case_edited:
        return "edited"
    if change.kind == "regressed":
        return "worse"
    if change.kind == "improved":
        return "better"
    if change.kind == "changed":
        return "changed"
    return None


def _severity(case: ShownCase) -> tuple[int, bool, float, str]:
    gain = 0.0
    if case.change is not None:
        gain = case.change.gain
        if case.kind == "better":
            gain = -gain
    return CASE_KINDS.index(case.kind), not case.broke, gain, case.record.nodeid


def _build_case(kind: CaseKind, record: TestRecord, change: CaseChange | None, name: str) -> ShownCase:
    """Return the case of a test; ``name`` is its short name."""
    measurements = {name_with_label(measurement): measurement for measurement in record.measurements}
    scores: list[ShownScore] = []
    decisive: Measurement | None = None
    if kind == "failed":
        failed = [measurement for measurement in record.measurements if measurement.status == "failed"]
        scores = [_show_failed_score(measurement) for measurement in failed]
        decisive = next(iter(failed), None)
    elif kind == "no score":
        unscored = [measurement for measurement in record.measurements if measurement.status == "errored"]
        scores = [ShownScore(name=name_with_label(measurement), after="no score") for measurement in unscored]
        decisive = next(iter(unscored), None)
    elif change is not None:
        for score in change.scores:
            if not score.looks_same:
                scores.append(show_score(score, measurements.get(score.name)))
        if change.scores:
            decisive = measurements.get(change.scores[0].name)
    before = None
    now = find_answer(record)
    if change is not None:
        before = change.before_output
        if change.after_output is not None:
            now = change.after_output
    trial = _name_trial(decisive)
    if kind == "better":
        best = _find_best_answer(record, decisive, now)
        if best is not None:
            now = best
            trial = trial.replace(WORST, BEST)
    return ShownCase(
        kind=kind,
        id=name,
        scores=tuple(scores),
        why=_find_why(kind, record, decisive),
        question=find_question(record),
        expected=find_expected(record, decisive),
        before=before,
        now=now,
        trial=trial,
        record=record,
        change=change,
    )


def _compare_steps(record: TestRecord, change: CaseChange | None) -> tuple[tuple[StepChange, ...], str]:
    """Return the calls of tools that differ from the baseline, and in how many of several trials."""
    if change is None or not change.before_calls:
        return (), ""
    now = find_sequences(record.facts, record.measurements)
    steps = compare_with_nearest(change.before_calls, now)
    if not steps:
        return (), ""
    trials = sum(sequence.trials for sequence in now)
    if trials == 1:
        return tuple(steps), ""
    return tuple(steps), f"these steps differ in {now[0].trials:,} of {trials:,} trials"


def show_score(score: ScoreChange, measurement: Measurement | None) -> ShownScore:
    """Return a score before and now, on the scale of its judge; of repeated checks how many trials passed.

    Args:
        score: The change.
        measurement: The measurement now, which has the scale and the unit; None: the score is shown from 0 to 1.

    >>> show_score(ScoreChange(name="exact", before=1.0, after=1 / 3, trials_before=3, trials_after=3, passes=True), None).words
    'exact 3 of 3 → 1 of 3'
    """
    moved = ""
    if score.gain < 0:
        moved = "worse"
    elif score.gain > 0:
        moved = "better"
    unit = "1"
    scale = None
    if measurement is not None:
        unit = measurement.unit
        scale = read_scale(measurement)
    # A judge whose scores happen to be its lowest and its highest passes or fails nothing.
    if score.passes and scale is None and min(score.trials_before, score.trials_after) > 1:
        before = _count_passed(score.before, score.trials_before)
        after = _count_passed(score.after, score.trials_after)
    else:
        before, after = format_scores(score.before, score.after, scale, unit)
    return ShownScore(name=shorten_text(score.name, 80), before=before, after=after, moved=moved)


def _count_passed(share: float | None, trials: int) -> str:
    if share is None:
        return "no score"
    return f"{round(share * trials):,} of {trials:,}"


def format_scores(
    before: float | None, after: float | None, scale: Scale | None = None, unit: str = "1"
) -> tuple[str, str]:
    """Return two scores as text, with as many digits as they need to differ: two from 0 to 1, one on a judge's own scale.

    >>> format_scores(0.5, 0.75), format_scores(0.93, 0.73, (1.0, 5.0)), format_scores(0.4819, 0.483)
    (('0.50', '0.75'), ('4.7', '3.9'), ('0.482', '0.483'))
    """
    digits = 2 if scale is None else 1
    for places in range(digits, digits + 4):
        texts = [_format_score(value, scale, unit, places) for value in (before, after)]
        if texts[0] != texts[1] or before == after:
            break
    return texts[0], texts[1]


def _format_score(value: float | None, scale: Scale | None, unit: str, digits: int) -> str:
    if value is None:
        return "no score"
    if scale is None:
        return format_amount(value, unit, digits)
    return f"{to_scale(value, scale):.{digits}f}"


def _show_failed_score(measurement: Measurement) -> ShownScore:
    value, threshold = format_score_and_threshold(measurement)
    sign = "≥" if measurement.better == "higher" else "≤"
    name = shorten_text(name_with_label(measurement), 80)
    return ShownScore(name=name, after=value, needs=f"{sign} {threshold}", moved="worse")


def find_answer(record: TestRecord) -> str | None:
    """Return the answer of a test: what its assertions looked at, else the last one of the application; None: there is neither.

    >>> find_answer(TestRecord(nodeid="t")) is None
    True
    """
    for measurement in record.measurements:
        if "ranks" in measurement.detail:  # the ids that a search found are not an answer
            continue
        actual = read_texts(measurement).actual
        if actual is not None:
            return actual
    for call in reversed(record.calls):
        if call.purpose == "app" and call.output:
            return call.output
    return find_last_text(record.measurements)


def find_question(record: TestRecord) -> str:
    """Return the question: of a measurement, the input of the case, else the last message of the user; "": none is known.

    >>> find_question(TestRecord(nodeid="t", facts={"case": {"input": {"question": "How long?"}}}))
    'How long?'
    """
    for measurement in record.measurements:
        question = read_texts(measurement).question
        if question:
            return question
    case = CaseFacts.from_wire(record.facts.get("case"))
    if case.input:
        return _as_text(case.input)
    for call in record.calls:
        if call.purpose != "app":
            continue
        for message in reversed(call.messages):
            if message.role == "user":
                return message.content
    return ""


def find_expected(record: TestRecord, decisive: Measurement | None = None) -> str:
    """Return the expectation: of the decisive measurement, else of another one, else the reference of the case; "": nothing is known."""
    measurements = [*record.measurements]
    if decisive is not None:
        measurements.insert(0, decisive)
    for measurement in measurements:
        if "ranks" in measurement.detail:
            continue
        expected = measurement.detail.get("expected")
        if expected:
            return _as_text(expected)
        if measurement is decisive and "schema" in measurement.detail:
            schema = measurement.detail["schema"]
            if schema:
                return json.dumps(schema, ensure_ascii=False)
    reference = CaseFacts.from_wire(record.facts.get("case")).reference
    if reference:
        return _as_text(reference)
    return ""


def _as_text(value: Json) -> str:
    """Return a text as it is, a single text of an object or list without its brackets, several with commas, anything else as JSON.

    >>> _as_text(["30 days"]), _as_text(["no,", "cannot"]), _as_text({"a": 1})
    ('30 days', '"no,", "cannot"', '{"a": 1}')
    """
    if isinstance(value, str):
        return value
    parts: Sequence[Json] = ()
    if isinstance(value, Mapping):
        parts = [*value.values()]
    elif isinstance(value, Sequence):
        parts = value
    if len(parts) == 1 and isinstance(parts[0], str):
        return parts[0]
    if parts and not isinstance(value, Mapping) and all(isinstance(part, str) for part in parts):
        texts = list(map(str, parts))
        if any("," in text for text in texts):
            texts = [f'"{text}"' for text in texts]
        return ", ".join(texts)
    return json.dumps(value, ensure_ascii=False)


def _find_why(kind: CaseKind, record: TestRecord, decisive: Measurement | None) -> str:
    """Return why a case failed, got worse or has no score, in a line; "" if no check gives the reason.

    Args:
        kind: The kind of the case.
        record: The test.
        decisive: The measurement that fails, fell most, or has no score; None: there is none.
    """
    if kind in ("better", "edited", "changed"):
        return ""
    if decisive is not None and decisive.error:
        return shorten_text(decisive.error, 300)
    if decisive is not None and decisive.status in ("failed", "recorded"):
        for label, text in read_detail(decisive).evidence:
            if label in _EVIDENCE_OF_ANSWER or label.startswith("rank "):
                continue
            if decisive.name.startswith("trajectory.") and _LINE_OF_TRAJECTORY.match(label):
                return ""  # nothing is before it: the score exceeds its limit, and shows it
            words = _PLACE_OF_NEAREST.sub("", str(text).replace(" | nearest ", "; nearest text "))
            return shorten_text(f"{label}: {words}", 300)
        if decisive.reason:
            return shorten_text(decisive.reason, 300)
    if kind == "worse":
        return ""
    line, _ = split_code(record.message.strip().partition("\n")[0])
    return shorten_text(line, 300)


def _name_trial(decisive: Measurement | None) -> str:
    """Return which trial's answer a test shows, the worst one; "" if there was one trial."""
    if decisive is None or len(decisive.samples) < 2:  # noqa: PLR2004 -- several
        return ""
    return f"{WORST} of {len(decisive.samples)} trials"


def _find_best_answer(record: TestRecord, decisive: Measurement | None, worst: str | None) -> str | None:
    """Return the answer of the trial with the best score; None: it is not certain which one that is.

    A test keeps the texts of its worst trial. If each trial made one call, the answers of the others are in the calls.
    """
    if decisive is None or len(decisive.samples) < 2:  # noqa: PLR2004 -- several
        return None
    samples = decisive.samples
    outputs = [
        call.output for call in record.calls if call.purpose == "app" and not is_error_status(call.status)
    ]
    lowest, highest = samples.index(min(samples)), samples.index(max(samples))
    worst_place, best_place = (lowest, highest) if decisive.better == "higher" else (highest, lowest)
    if len(outputs) != len(samples) or outputs[worst_place] != worst:
        return None
    return outputs[best_place]


def _explain_same_answer(change: CaseChange) -> str:
    """Return why a score moved though the shown answer is the same, and no answer is new: other trials, or another score."""
    score = next(iter(change.scores), ScoreChange())
    if max(score.trials_before, score.trials_after) <= 1:
        return "Same answer, other score"
    if not score.passes:
        return "This trial has the same answer"
    if any(share not in (None, 0, 1) for share in (score.before, score.after)):
        return OTHER_TRIALS
    return "Same answer, other score"


def name_cases(records: Iterable[TestRecord]) -> dict[str, str]:
    """Return a short name for each test, by node id: only its parameters, else with its function, else with its file.

    All cases of a function have names of the same form.

    >>> records = [TestRecord(nodeid="a.py::test_a[late]"), TestRecord(nodeid="a.py::test_b[late]"), TestRecord(nodeid="a.py::test_c")]
    >>> list(name_cases(records).values())
    ['test_a[late]', 'test_b[late]', 'test_c']
    """
    nodeids = [record.nodeid for record in records]
    names: dict[str, str] = {}
    makers: Sequence[Callable[[str], str]] = (_name_parameters, _name_test, str)
    open_ids = dict.fromkeys(nodeids)
    for make in makers:
        counts = Counter(map(make, nodeids))
        shared = {_name_function(nodeid) for nodeid in open_ids if counts[make(nodeid)] > 1}
        for nodeid in list(open_ids):
            if make is str or _name_function(nodeid) not in shared:
                names[nodeid] = shorten_id(make(nodeid))
                del open_ids[nodeid]
    return {nodeid: names[nodeid] for nodeid in dict.fromkeys(nodeids)}


def _name_function(nodeid: str) -> str:
    """Return the node id without parameters."""
    return nodeid.partition("[")[0]


def _name_parameters(nodeid: str) -> str:
    test = _name_test(nodeid)
    _, bracket, parameters = test.partition("[")
    if not bracket:
        return test
    return parameters.removesuffix("]") or test


def _name_test(nodeid: str) -> str:
    """Return the name of a test without its file; for a doctest of a page, which has no name, the file."""
    file, _, name = nodeid.partition("::")
    return name.rpartition("::")[2] if "[" not in name else name or file


def shorten_id(name: str) -> str:
    """Return a name of at most 60 characters; a longer one keeps its two ends.

    >>> len(shorten_id("x" * 300)), shorten_id("late")
    (57, 'late')
    """
    name = shorten_text(name, 2_000)
    if len(name) <= LONGEST_ID:
        return name
    return f"{name[:KEPT_OF_LONG_ID]}…{name[-KEPT_OF_LONG_ID:]}"
