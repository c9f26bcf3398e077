"""A judge's verdicts on labelled answers: asked for now, or as they are stored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import fmean
from typing import cast

from pytest_llmops import recorder
from pytest_llmops.calibration.labels import Label, Labelled, Labels
from pytest_llmops.errors import CaseError, UsageError
from pytest_llmops.judges.concurrency import together
from pytest_llmops.judges.evaluate import Asked, asked_of, verdict_of
from pytest_llmops.measurement import finite, shorten
from pytest_llmops.protocols import Judge, Verdict

MAX_UNSCORED = 0.05
"""Share of verdicts that may be missing; beyond, what is left is no sample of what the judge was asked."""


@dataclass(slots=True, kw_only=True)
class Judged:
    """What a judge says of labelled answers.

    Attributes:
        verdicts: By the answer's id, on the judge's own scale, the mean of the trials; None: it gave no verdict.
        dimensions: The same by dimension.
        errors: By the answer's id, why there is no verdict.
        low: Lowest score of the scale; None: not known.
        high: Highest score.
        pass_at: The judge's own threshold; None: it has none.
        stopped: Too many verdicts were missing: the rest was not asked for.
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

    def add(self, row: Labelled, verdicts: Sequence[Verdict]) -> None:
        """Take in the verdicts of all trials on one answer."""
        scored = [one for one in verdicts if one.score is not None]
        if not scored:
            self.verdicts[row.id] = None
            self.errors[row.id] = next((one.error for one in verdicts if one.error), "no verdict")
            return
        self.low, self.high = float(scored[0].low), float(scored[0].high)
        self.verdicts[row.id] = fmean(float(cast("float", one.score)) for one in scored)
        for name in scored[0].dimensions:
            given = [float(one.dimensions[name]) for one in scored if name in one.dimensions]
            self.dimensions.setdefault(str(name), {})[row.id] = fmean(given)


def stored(labels: Labels, *, name: str, version: str) -> Judged:
    """Return the verdicts that stand in the labels file.

    Raises:
        CaseError: A labelled answer has none; null says that the judge gave none.

    >>> from pytest_llmops.calibration.labels import read_labels
    >>> labels = read_labels([{"id": "a", "human": True, "judge": 8}, {"id": "b", "human": False, "judge": None}])
    >>> stored(labels, name="quality", version="7").verdicts
    {'a': 8.0, 'b': None}
    """
    __tracebackhide__ = True
    for row in labels.labelled:
        if not row.opinion.judged:
            raise CaseError(
                f'{shorten(row.id, 60)}: expected the key "judge" with the stored verdict, or null where the judge gave none',
                labels.path,
                row.line,
            )
    found = Judged(name=name, version=version)
    found.verdicts = {row.id: row.opinion.judge for row in labels.rows if row.opinion.judged}
    found.errors = {id_: "no verdict is stored" for id_, one in found.verdicts.items() if one is None}
    for dimension in labels.dimensions:
        opinions = {row.id: row.dimensions[dimension] for row in labels.rows if dimension in row.dimensions}
        found.dimensions[dimension] = {id_: one.judge for id_, one in opinions.items() if one.judged}
    return found


def ask(
    judge: Judge,
    labels: Labels,
    *,
    trials: int = 1,
    unlabelled: bool = False,
    max_unscored: float = MAX_UNSCORED,
) -> Judged:
    """Ask a judge for its verdicts on labelled answers, as any judge is asked: recordings answer.

    Args:
        judge: Who is asked. It has to take ``contexts`` where the file has some.
        labels: The answers.
        trials: Verdicts on each; their mean counts.
        unlabelled: Whether answers without a label are judged too.
        max_unscored: As soon as more than this share has no verdict, nothing more is asked.

    Raises:
        CaseError: An answer is missing, or a label is not on the judge's scale; with file and line.
        UsageError: The judge is none, people's labels are names, the file has contexts that the judge does not
            take, or it cannot work as it is configured.
    """
    __tracebackhide__ = True
    asked = asked_of(judge, "calibration")
    rows = labels.rows if unlabelled else labels.touched
    for row in rows:
        if row.answer is None:
            raise CaseError(
                f'{shorten(row.id, 60)}: missing key "answer": the judge needs it', labels.path, row.line
            )
    found = Judged(
        name=asked.name,
        version="",
        low=finite(getattr(judge, "low", None)),
        high=finite(getattr(judge, "high", None)),
        pass_at=finite(getattr(judge, "pass_at", None)),
    )
    _check_scale(found, labels)
    tasks = [partial(_verdicts, asked, row, trials) for row in rows]
    keys = [(row.answer, row.question, row.reference, row.contexts) for row in rows]
    answers = together(
        tasks, judge=judge, keys=keys, asked=lambda found: not all(one.prescreened for one in found)
    )
    for row, verdicts in zip(rows, answers, strict=False):
        scale = found.low, found.high
        found.add(row, verdicts)
        if (found.low, found.high) != scale:
            _check_scale(found, labels)
        if len(found.errors) > max_unscored * len(rows):
            found.stopped = True
            break
    found.version, found.model = asked.version, asked.model
    return found


def _check_scale(found: Judged, labels: Labels) -> None:
    """People's numbers have to lie on the judge's scale: 4 of 5 is no 4 of 10."""
    __tracebackhide__ = True
    if labels.kind == "name":
        raise UsageError(
            f"{labels.path}: people's labels are names, and a judge gives a score: label pass or fail, or a number on its scale"
        )
    if found.low is None or found.high is None:
        return
    for row in labels.touched:
        for where, label in _numbers(row):
            if not found.low <= label <= found.high:
                scale = f"{found.low:g} to {found.high:g}"
                raise CaseError(
                    f"{where}human: expected a number on the judge's own scale, {scale}, got {label:g}",
                    labels.path,
                    row.line,
                )


def _numbers(row: Labelled) -> Iterator[tuple[str, float]]:
    yield from (("", one) for one in row.opinion.labels if isinstance(one, float))
    for name, opinion in row.dimensions.items():
        yield from ((f"dimensions.{name}.", one) for one in opinion.labels if isinstance(one, float))


def _verdicts(asked: Asked, row: Labelled, trials: int) -> list[Verdict]:
    __tracebackhide__ = True
    found = []
    for trial in range(trials):
        with recorder.trial(trial):
            found.append(verdict_of(asked, row.answer or "", row.question, row.reference, row.contexts))
    return found
