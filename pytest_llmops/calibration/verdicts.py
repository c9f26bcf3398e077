"""A judge's verdicts on labelled answers: run the judge, or read stored verdicts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import fmean
from typing import cast

from pytest_llmops import recorder
from pytest_llmops.calibration.labels import Label, LabelledAnswer, Labels
from pytest_llmops.errors import CaseError, refuse
from pytest_llmops.judges.concurrency import run_judge_tasks
from pytest_llmops.judges.evaluate import JudgeHandle, judge_answer, resolve_judge
from pytest_llmops.measurement import as_finite_float, shorten_text
from pytest_llmops.protocols import Judge, Verdict

__tracebackhide__ = True

# Largest share of missing verdicts; beyond it, the remaining verdicts are not a fair sample
MAX_UNSCORED = 0.05


@dataclass(slots=True, kw_only=True)
class JudgedAnswers:
    """A judge's verdicts on labelled answers.

    Attributes:
        verdicts: By the answer's id, on the judge's own scale, the mean of the trials; None: unscored.
        dimensions: The same by dimension.
        errors: By the answer's id, why there is no verdict.
        low: Lowest score of the scale; None: not known.
        high: Highest score.
        pass_at: The judge's own threshold; None: it has none.
        stopped: Too many verdicts were missing, so the rest was not judged.
    """

    name: str
    version: str
    model: str = ""
    low: float | None = None
    high: float | None = None
    pass_at: float | None = None
    stopped: bool = False
    verdicts: dict[str, Label | None] = field(default_factory=dict)
    dimensions: dict[str, dict[str, Label | None]] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)

    @property
    def span(self) -> float:
        """Width of the scale; 0: not known."""
        return 0.0 if self.low is None or self.high is None else self.high - self.low

    def add(self, row: LabelledAnswer, verdicts: Sequence[Verdict]) -> None:
        """Add the verdicts of all trials on an answer."""
        scored = [verdict for verdict in verdicts if verdict.score is not None]
        if not scored:
            self.verdicts[row.id] = None
            self.errors[row.id] = next((verdict.error for verdict in verdicts if verdict.error), "no verdict")
            return
        self.low, self.high = float(scored[0].low), float(scored[0].high)
        self.verdicts[row.id] = fmean(float(cast("float", verdict.score)) for verdict in scored)
        for name in scored[0].dimensions:
            given = [float(verdict.dimensions[name]) for verdict in scored if name in verdict.dimensions]
            self.dimensions.setdefault(str(name), {})[row.id] = fmean(given)


def read_stored_verdicts(labels: Labels, *, name: str, version: str) -> JudgedAnswers:
    """Return the verdicts that are stored in the labels file.

    Raises:
        CaseError: A labelled answer has no ``judge``; null is for unscored.

    >>> from pytest_llmops.calibration.labels import read_labels
    >>> labels = read_labels([{"id": "a", "human": True, "judge": 8}, {"id": "b", "human": False, "judge": None}])
    >>> read_stored_verdicts(labels, name="quality", version="7").verdicts
    {'a': 8.0, 'b': None}
    """
    for row in labels.labelled:
        refuse(
            not row.opinion.judged,
            CaseError(
                f'{shorten_text(row.id, 60)}: expected the key "judge" with the stored verdict, or null where the judge gave none',
                labels.path,
                row.line,
            ),
        )
    verdicts, *dimensions = (
        {
            row.id: row.opinions[name].judge
            for row in labels.rows
            if name in row.opinions and row.opinions[name].judged
        }
        for name in ("", *labels.dimensions)
    )
    return JudgedAnswers(
        name=name,
        version=version,
        verdicts=verdicts,
        dimensions=dict(zip(labels.dimensions, dimensions, strict=True)),
        errors={id_: "no verdict is stored" for id_, verdict in verdicts.items() if verdict is None},
    )


def judge_labelled_answers(judge: Judge, labels: Labels, *, trials: int = 1) -> JudgedAnswers:
    """Run a judge on labelled answers; recordings are replayed.

    Args:
        judge: The judge. It has to take ``contexts`` where the file has some.
        labels: The answers.
        trials: Verdicts on each answer; their mean counts.

    Raises:
        CaseError: An answer is missing, or a label is not on the judge's scale; with file and line.
        UsageError: It is not a judge, the labels are names, the file has contexts that the judge does not take, or
            it cannot work as configured.
    """
    handle = resolve_judge(judge, "calibration")
    rows = labels.labelled_anywhere
    for row in rows:
        refuse(
            row.answer is None,
            CaseError(
                f'{shorten_text(row.id, 60)}: missing key "answer": the judge needs it', labels.path, row.line
            ),
        )
    judged = JudgedAnswers(
        name=handle.name,
        version="",
        low=as_finite_float(getattr(judge, "low", None)),
        high=as_finite_float(getattr(judge, "high", None)),
        pass_at=as_finite_float(getattr(judge, "pass_at", None)),
    )
    _check_labels_on_scale(judged, labels)
    for row, verdicts in iter_verdicts(handle, rows, trials):
        scale = judged.low, judged.high
        judged.add(row, verdicts)
        if (judged.low, judged.high) != scale:
            _check_labels_on_scale(judged, labels)
        if len(judged.errors) > MAX_UNSCORED * len(rows):
            judged.stopped = True
            break
    judged.version, judged.model = handle.version, handle.model
    return judged


def iter_verdicts(
    handle: JudgeHandle, rows: Sequence[LabelledAnswer], trials: int
) -> Iterator[tuple[LabelledAnswer, list[Verdict]]]:
    """Yield each answer with the verdicts of its trials; each trial has its own recordings."""
    verdicts = run_judge_tasks(
        [partial(_judge_trials, handle, row, trials) for row in rows],
        judge=handle.judge,
        keys=[(row.answer, row.question, row.reference, row.contexts) for row in rows],
        asked_model=lambda verdicts: not all(verdict.prescreened for verdict in verdicts),
    )
    return zip(rows, verdicts, strict=False)


def _check_labels_on_scale(judged: JudgedAnswers, labels: Labels) -> None:
    # Raise unless numeric labels lie on the judge's scale: 4 of 5 is not 4 of 10.
    refuse(
        labels.kind == "name",
        f"{labels.path}: the labels are names, and a judge gives a score: label pass or fail, or a number on its scale",
    )
    if judged.low is None or judged.high is None:
        return
    for row in labels.labelled_anywhere:
        for name, opinion in row.opinions.items():
            numbers = [label for label in opinion.labels if isinstance(label, float)]
            if off := [number for number in numbers if not judged.low <= number <= judged.high]:
                where = f"dimensions.{name}.human" if name else "human"
                scale = f"{judged.low:g} to {judged.high:g}"
                raise CaseError(
                    f"{where}: expected a number on the judge's own scale, {scale}, got {off[0]:g}",
                    labels.path,
                    row.line,
                )


def _judge_trials(handle: JudgeHandle, row: LabelledAnswer, trials: int) -> list[Verdict]:
    verdicts = []
    for trial in range(trials):
        with recorder.run_as_trial(trial):
            verdicts.append(judge_answer(handle, row.answer or "", row.question, row.reference, row.contexts))
    return verdicts
