"""Run a judge on labelled answers, and read and write records: files to commit, with the result of such a comparison."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Literal, TypeAlias, cast

from pytest_llmops import recorder
from pytest_llmops._util.text_files import BadFile, as_mapping, read_json, read_text
from pytest_llmops.errors import CaseError, UsageError
from pytest_llmops.judges.calibration.labels import Label, LabelledAnswer, Labels
from pytest_llmops.judges.concurrency import run_judge_tasks
from pytest_llmops.judges.evaluate import JudgeHandle, judge_answer, resolve_judge
from pytest_llmops.judges.protocol.unreadable_replies import without_limit
from pytest_llmops.judges.reason_places import find_reason_place
from pytest_llmops.measurement import Json, as_finite_float, quoted, shorten_text
from pytest_llmops.protocols import Judge, Verdict

RecordKind: TypeAlias = Literal["calibration", "canaries"]
SCHEMA = "pytest-llmops/judge-record/1"
BELOW_THRESHOLDS = "below its thresholds"
STATUSES: Mapping[RecordKind, tuple[str, ...]] = {
    "calibration": ("calibrated", BELOW_THRESHOLDS),
    "canaries": ("fit", "unfit", "undecided"),
}
COMMANDS: Mapping[RecordKind, str] = {
    "calibration": "llmops judge calibrate JUDGE labels.jsonl --out FILE",
    "canaries": "llmops judge canaries JUDGE --out FILE",
}
TEXT_KEYS = ("judge", "version", "date", "answers", "status", "text")


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeRecord:
    """The result of one version of a judge on one set of answers.

    Attributes:
        kind: ``calibration`` against human labels, or ``canaries``. Also part of the file's name,
            ``polite.calibration.json``.
        judge: The judge's name.
        version: The judge's version. The record does not apply to other versions.
        model: The judge model.
        reason: Where the judge gave its reason: ``before`` or ``after`` its verdict, or ``none``. "": not known.
        date: The day of the run, ISO 8601.
        answers: Fingerprint of the labels or canaries.
        status: ``calibrated`` or ``below its thresholds``, or ``fit``, ``unfit`` or ``undecided``.
        text: The result as a sentence.
        figures: The measured figures. Unknown figures are left out.
    """

    kind: RecordKind
    judge: str
    version: str
    model: str = ""
    reason: str = ""
    date: str
    answers: str
    status: str
    text: str
    figures: Mapping[str, Json] = field(default_factory=dict)

    @classmethod
    def load(cls, path: str | Path) -> "JudgeRecord":
        """Read a record from its file.

        Raises:
            UsageError: The file does not exist, it is damaged, or another version of this package wrote it.
        """
        try:
            wire = read_json(read_text(Path(path)))
            return _parse_record(as_mapping(wire))
        except BadFile as error:
            name = str(path)
            kind: RecordKind = "calibration"
            if name.endswith(".canaries.json"):
                kind = "canaries"
            problem = error.what
            if error.line is not None:
                problem += f" (line {error.line})"
            record = f"record of a judge {shorten_text(name, 300)}"
            raise UsageError(f"{record}: {problem}; to make a new one: {COMMANDS[kind]}") from None

    def to_json_text(self) -> str:
        """Return the file's text: readable JSON, the same bytes for the same record."""
        text = json.dumps({"schema": SCHEMA, **asdict(self)}, indent=2, ensure_ascii=False, allow_nan=False)
        return f"{text}\n"

    def describe(self, version: str, *, answers: str = "", reason: str = "") -> dict[str, Json]:
        """Return ``status`` and ``text`` for a report. The status comes from the record, or is ``out of date``.

        A calibration is out of date if the judge or the labels changed, a run against canaries if the judge changed.

        Args:
            version: The judge's current version.
            answers: Fingerprint of the current labels or canaries. Empty: do not compare them.
            reason: Where the judge gives its reason now, to name this change. Empty: not known.

        >>> record = JudgeRecord(kind="canaries", judge="tone", version="1", date="2026-05-02", answers="a1b2",
        ...                      status="fit", text="withstands all 41 canaries")
        >>> record.describe("1")
        {'status': 'fit', 'text': 'withstands all 41 canaries (2026-05-02)'}
        >>> record.describe("2")["status"]
        'out of date'
        """
        are_other_answers = bool(answers) and answers != self.answers
        changed = ""
        if self.version != version:
            changed = self._describe_change(reason)
        elif are_other_answers and self.kind == "calibration":
            changed = "the labels have changed since"
        if changed:
            origin = ", ".join(filter(None, (self.model, self.date)))
            result = f"{self.text.removeprefix('calibrated: ')} ({origin})"
            what = f"{self.kind} out of date, {changed}: {result}"
            return {"status": "out of date", "text": f"{what}; {COMMANDS[self.kind]}"}
        when = self.date
        if are_other_answers:
            when += ", not the built-in canaries of today"
        return {"status": self.status, "text": f"{self.text} ({when})"}

    def _describe_change(self, reason: str) -> str:
        """Return what changed since the record of another version; ``reason`` is where the judge gives its reason now."""
        if self.reason and reason and self.reason != reason:
            return f"recorded with reason={self.reason}, now {reason}"
        return "the judge or its model has changed since"


def _parse_record(wire: Mapping[str, Json]) -> JudgeRecord:
    """Return the record in the JSON object of a file; raise `BadFile` for any other object."""
    if wire.get("schema") != SCHEMA:
        raise _describe_unexpected(f"the schema {SCHEMA}", wire.get("schema"))
    kind = str(wire.get("kind"))
    if kind not in STATUSES:
        raise _describe_unexpected(f"kind as {' or '.join(STATUSES)}", wire.get("kind"))
    texts: dict[str, str] = {}
    for key in TEXT_KEYS:
        text = wire.get(key)
        if not isinstance(text, str) or not text:
            raise _describe_unexpected(f"{key} as a text", text)
        texts[key] = text
    record_kind = cast("RecordKind", kind)
    statuses = STATUSES[record_kind]
    if texts["status"] not in statuses:
        raise _describe_unexpected(f"status as one of {', '.join(statuses)}", texts["status"])
    figures = wire.get("figures")
    if not isinstance(figures, Mapping):
        raise _describe_unexpected("figures as an object", figures)
    model = str(wire.get("model", ""))
    reason = str(wire.get("reason", ""))  # records of earlier versions do not say
    return JudgeRecord(kind=record_kind, model=model, reason=reason, figures=figures, **texts)


def _describe_unexpected(expected: str, got: object) -> BadFile:
    return BadFile(f"expected {expected}, got {quoted(got)}")


def load_records(folder: str | Path) -> list[JudgeRecord]:
    """Return the records in a folder and its subfolders, in the order of their paths. The folder need not exist.

    Raises:
        UsageError: A record is damaged.

    >>> load_records("no/such/folder")
    []
    """
    ends = tuple(f".{kind}.json" for kind in STATUSES)
    paths = sorted(Path(folder).rglob("*.json"))
    return [_load_cached(path) for path in paths if path.name.endswith(ends)]


def find_records(judge: object, name: str, version: str, folder: str | Path) -> dict[str, JudgeRecord]:
    """Return kind -> record of a judge. A kind without a record is missing.

    The record next to the judge's file is preferred. Then come the records in the folder with the judge's name: first
    the records of its version, then the latest.

    Args:
        judge: The judge. Its attribute ``source`` is its file, if it has one.
        name: Its name, by which records in the folder are found.
        version: Its version.
        folder: The folder of the records. It need not exist.

    Raises:
        UsageError: A record is damaged.

    >>> find_records(object(), "quality", "1", "no/such/folder")
    {}
    """
    named = [record for record in load_records(folder) if record.judge == name]
    # From the least preferred to the most: of equal keys in a dictionary the last value stays
    named.sort(key=lambda record: (record.version == version, record.date))
    source = getattr(judge, "source", None)
    if isinstance(source, (str, Path)):
        beside = (Path(source).with_suffix(f".{kind}.json") for kind in STATUSES)
        named += [_load_cached(path) for path in beside if path.exists()]
    return {record.kind: record for record in named}


def _load_cached(path: Path) -> JudgeRecord:
    """Return the record in a file; the file is read again only if its time or size changed."""
    try:
        file_stat = path.stat()
    except OSError:
        return JudgeRecord.load(path)  # raises the error that reports it
    key = str(path), file_stat.st_mtime_ns, file_stat.st_size
    if key not in _loaded_records:
        _loaded_records[key] = JudgeRecord.load(path)
    return _loaded_records[key]


_loaded_records: dict[tuple[str, int, int], JudgeRecord] = {}


__tracebackhide__ = True

# Largest share of missing verdicts; beyond it, the remaining verdicts are not a fair sample
MAX_UNSCORED = 0.05


@dataclass(slots=True, kw_only=True)
class JudgedAnswers:
    """A judge's verdicts on labelled answers.

    Attributes:
        reason: Where the judge gave its reason: ``before``, ``after`` or ``none``. "": not known.
        verdicts: Answer's id -> mean score of the trials, on the judge's own scale. None: unscored.
        dimensions: Dimension -> the same for its scores.
        errors: Answer's id -> why it has no verdict.
        low: Lowest score of the scale; None: not known.
        high: Highest score of the scale; None: not known.
        pass_at: The judge's own threshold; None: it has none.
        stopped: Too many verdicts were missing, so the rest was not judged.
    """

    name: str
    version: str
    model: str = ""
    reason: str = ""
    low: float | None = None
    high: float | None = None
    pass_at: float | None = None
    stopped: bool = False
    verdicts: dict[str, Label | None] = field(default_factory=dict)
    dimensions: dict[str, dict[str, Label | None]] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)

    @property
    def span(self) -> float:
        """Width of the scale. 0: not known."""
        if self.low is None or self.high is None:
            return 0.0
        return self.high - self.low

    def add(self, row: LabelledAnswer, verdicts: Sequence[Verdict]) -> None:
        """Add the verdicts of all trials on an answer. The first scored verdict sets the scale.

        Trials without a score are left out. If no trial has one, the answer is unscored.
        """
        scored = [verdict for verdict in verdicts if verdict.score is not None]
        if not scored:
            self.verdicts[row.id] = None
            errors = [verdict.error for verdict in verdicts if verdict.error]
            self.errors[row.id] = next(iter(errors), "no verdict")
            return
        first = scored[0]
        self.low = float(first.low)
        self.high = float(first.high)
        scores = [float(cast("float", verdict.score)) for verdict in scored]
        self.verdicts[row.id] = fmean(scores)
        for name in first.dimensions:
            scores = [float(verdict.dimensions[name]) for verdict in scored if name in verdict.dimensions]
            self.dimensions.setdefault(str(name), {})[row.id] = fmean(scores)


def read_stored_verdicts(labels: Labels, *, name: str, version: str) -> JudgedAnswers:
    """Return the verdicts that are stored in the labels file.

    Raises:
        CaseError: A labelled answer has no key ``judge``. Null is allowed and means unscored.

    >>> from pytest_llmops.judges.calibration.labels import read_labels
    >>> labels = read_labels([{"id": "a", "human": True, "judge": 8}, {"id": "b", "human": False, "judge": None}])
    >>> read_stored_verdicts(labels, name="quality", version="7").verdicts
    {'a': 8.0, 'b': None}
    """
    for row in labels.labelled:
        if not row.opinion.judged:
            answer = shorten_text(row.id, 60)
            raise CaseError(
                f'{answer}: expected the key "judge" with the stored verdict, or null where the judge gave none',
                labels.path,
                row.line,
            )
    verdicts = _collect_stored(labels, "")
    dimensions = {dimension: _collect_stored(labels, dimension) for dimension in labels.dimensions}
    unscored = [id_ for id_, verdict in verdicts.items() if verdict is None]
    return JudgedAnswers(
        name=name,
        version=version,
        verdicts=verdicts,
        dimensions=dimensions,
        errors=dict.fromkeys(unscored, "no verdict is stored"),
    )


def _collect_stored(labels: Labels, dimension: str) -> dict[str, Label | None]:
    """Return answer's id -> stored verdict, for a dimension or (with ``""``) for the answers as a whole."""
    verdicts = {}
    for row in labels.rows:
        opinion = row.opinions.get(dimension)
        if opinion is not None and opinion.judged:
            verdicts[row.id] = opinion.judge
    return verdicts


def judge_labelled_answers(judge: Judge, labels: Labels, *, trials: int = 1) -> JudgedAnswers:
    """Run a judge on labelled answers. Recordings are replayed.

    Args:
        judge: The judge. It has to take ``contexts`` if there are any in the labels.
        labels: The answers with their labels. All of them must have an answer's text.
        trials: The number of verdicts on each answer. Their mean counts.

    Returns:
        The verdicts. ``stopped`` if more than `MAX_UNSCORED` of the answers got none: the rest is not judged then.

    Raises:
        CaseError: An answer is missing, or a label is not on the judge's scale. With file and line.
        UsageError: It is not a judge, the labels are names, the judge accepts no contexts although there are some, or
            it raises `UsageError` itself.
    """
    handle = resolve_judge(judge, "calibration")
    rows = labels.labelled_anywhere
    for row in rows:
        if row.answer is None:
            name = shorten_text(row.id, 60)
            raise CaseError(f'{name}: missing key "answer": the judge needs it', labels.path, row.line)
    low = as_finite_float(getattr(judge, "low", None))
    high = as_finite_float(getattr(judge, "high", None))
    pass_at = as_finite_float(getattr(judge, "pass_at", None))
    reason = find_reason_place(judge)
    judged = JudgedAnswers(name=handle.name, version="", reason=reason, low=low, high=high, pass_at=pass_at)
    _check_labels_on_scale(judged, labels)
    for row, verdicts in iter_verdicts(handle, rows, trials):
        scale_before = judged.low, judged.high
        judged.add(row, verdicts)
        if (judged.low, judged.high) != scale_before:
            _check_labels_on_scale(judged, labels)
        if len(judged.errors) > MAX_UNSCORED * len(rows):
            judged.stopped = True
            break
    judged.version = handle.version
    judged.model = handle.model
    return judged


def iter_verdicts(
    handle: JudgeHandle, rows: Sequence[LabelledAnswer], trials: int
) -> Iterator[tuple[LabelledAnswer, list[Verdict]]]:
    """Yield each answer with the verdicts of its trials; the trials have separate recordings."""
    tasks = [partial(_judge_trials, handle, row, trials) for row in rows]
    keys = [(row.answer, row.question, row.reference, row.contexts) for row in rows]
    verdicts = run_judge_tasks(tasks, judge=handle.judge, keys=keys, asked_model=_called_model)
    return zip(rows, verdicts, strict=False)


def _called_model(verdicts: Iterable[Verdict]) -> bool:
    """Return whether a model was called for at least one of the verdicts."""
    return not all(verdict.prescreened for verdict in verdicts)


def _check_labels_on_scale(judged: JudgedAnswers, labels: Labels) -> None:
    """Raise if the labels are names, or if a number among them is off the judge's scale, as far as that is known."""
    if labels.kind == "name":
        raise UsageError(
            f"{labels.path}: the labels are names, and a judge gives a score: label pass or fail, or a number on its scale"
        )
    if judged.low is None or judged.high is None:
        return
    for row in labels.labelled_anywhere:
        for name, opinion in row.opinions.items():
            where = "human"
            if name:
                where = f"dimensions.{name}.human"
            for label in opinion.labels:
                if isinstance(label, float) and not judged.low <= label <= judged.high:
                    scale = f"{judged.low:g} to {judged.high:g}"
                    raise CaseError(
                        f"{where}: expected a number on the judge's own scale, {scale}, got {label:g}",
                        labels.path,
                        row.line,
                    )


def _judge_trials(handle: JudgeHandle, row: LabelledAnswer, trials: int) -> list[Verdict]:
    """Return the judge's verdicts on an answer, one for each trial."""
    answer = row.answer or ""
    verdicts = []
    for trial in range(trials):
        with recorder.run_as_trial(trial), without_limit():
            verdict = judge_answer(handle, answer, row.question, row.reference, row.contexts)
            verdicts.append(verdict)
    return verdicts
