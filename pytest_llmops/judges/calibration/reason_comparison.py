"""Compare a judge with its reason before its verdict, after it and without one, on the same human labels.

A reason before the verdict helps large models, and makes small ones fail everything. Which is better is a question to the model, and the
labels answer it: the three judges are compared answer by answer, so that their common errors cancel out.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from statistics import fmean
from typing import TypeVar

from pytest_llmops import recorder
from pytest_llmops.errors import LLMOpsError
from pytest_llmops.judges.calibration.judge_comparison import (
    DEFAULT_REQUIREMENTS,
    MIN_LABELS,
    Calibration,
    PassAt,
    calibrate_judge,
)
from pytest_llmops.judges.calibration.labels import LabelsSource
from pytest_llmops.judges.calibration.requirements import AgreementRequirements
from pytest_llmops.judges.evaluate import find_judge
from pytest_llmops.judges.protocol.reply_form import ReasonPlace
from pytest_llmops.judges.reason_places import find_reason_place, move_reason
from pytest_llmops.measurement import format_amount, shorten_text
from pytest_llmops.metrics.change.trials import adjust_p_values, mcnemar_p_value
from pytest_llmops.metrics.classification import wilson_interval
from pytest_llmops.protocols import Call, Judge
from pytest_llmops.trace import read_call

__tracebackhide__ = True

N = TypeVar("N", int, float)
UNKNOWN = "-"
PLACES: tuple[ReasonPlace, ...] = ("before", "after", "none")
ALPHA = 0.05  # probability that any of the places is called worse by chance
# The cheapest first, where tokens are not known: without a reason the model writes least
BY_COST: tuple[ReasonPlace, ...] = ("none", "after", "before")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasonResult:
    """How a judge with its reason in one place agrees with the labels, and its usage.

    Attributes:
        place: ``before`` or ``after`` the verdict, or ``none``.
        calibration: The comparison with the labels. With a ``problem`` if it has no kappa.
        calls: The calls of the judge's model, live and replayed. Empty outside a test or command.
    """

    place: ReasonPlace
    calibration: Calibration
    calls: Sequence[Call] = ()

    @property
    def closeness(self) -> dict[str, float]:
        """Id of a compared answer -> how close verdict and label are: 1 the same, 0 as far apart as possible."""
        figures = self.calibration.figures
        left_out = {*figures.unscored, *figures.disputed}
        closeness = {row.id: 1.0 for row in self.calibration.labels.labelled if row.id not in left_out}
        for disagreement in figures.disagreements:
            closeness[disagreement.id] = 1.0 - disagreement.gap
        return closeness

    @property
    def is_uniform(self) -> bool:
        """Whether the judge gave all answers the same verdict, so that it does not distinguish them."""
        by_verdict = zip(*self.calibration.figures.table.counts, strict=True)
        return sum(any(counts) for counts in by_verdict) == 1

    @property
    def tokens(self) -> int | None:
        """Tokens of all calls, read and written; None if a call does not report them, or without calls."""
        return _sum_if_known([call.usage.total_tokens for call in self.calls])

    @property
    def cost_usd(self) -> float | None:
        """Cost of all calls, live and replayed; None if a call has no price, or without calls."""
        return _sum_if_known([call.cost_usd for call in self.calls])

    @property
    def seconds(self) -> float | None:
        """Mean time of a call; None if one was not measured, or without calls."""
        total = _sum_if_known([call.latency_s for call in self.calls])
        if total is None:
            return None
        return total / len(self.calls)


def _sum_if_known(numbers: Sequence[N | None]) -> N | None:
    """Return the sum of numbers; None if one is None, or there are none."""
    known = [number for number in numbers if number is not None]
    if not known or len(known) < len(numbers):
        return None
    return sum(known[1:], start=known[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasonComparison:
    """A judge with its reason before its verdict, after it and without one, on the same labels.

    Attributes:
        present: Where the judge that was given has its reason. "": it does not say.
        results: The results of ``before``, ``after`` and ``none``.
        worse: Place -> the place that is proved to agree better with the labels.
        recommended: The cheapest place that is not proved to be worse. Of those that reach the thresholds, if any does.
    """

    present: str
    results: Mapping[ReasonPlace, ReasonResult]
    worse: Mapping[ReasonPlace, ReasonPlace] = field(default_factory=dict)
    recommended: ReasonPlace

    @property
    def agrees(self) -> bool:
        """Whether the judge with its reason in the recommended place reaches all thresholds."""
        return self.results[self.recommended].calibration.agrees

    @property
    def usable(self) -> dict[ReasonPlace, ReasonResult]:
        """The results with a kappa."""
        return _select_usable(self.results)

    def describe(self) -> str:
        """Return the recommendation in one sentence."""
        rivals = [place for place in self.usable if place != self.recommended and place not in self.worse]
        parts = []
        if not any(result.calibration.agrees for result in self.usable.values()):
            parts.append(
                "the judge misses its thresholds with its reason in any place: try another model or clearer criteria"
            )
        missing = [place for place in PLACES if place not in self.usable]
        if missing:
            parts.append(f"{_join_places(missing)}: too many answers without a verdict")
        count = len(_find_common(self.usable))
        if self.worse:
            proved = [f"{place} agrees less than {better}" for place, better in self.worse.items()]
            parts.append(f"on these {count:,} answers {_join_places(proved)}")
        if rivals:
            names = [place for place in PLACES if place == self.recommended or place in rivals]
            parts.append(f"these {count:,} answers show no difference between {_join_places(names)}")
        if self.results[self.recommended].is_uniform:
            parts.append("none is recommended: the judge gives all answers the same verdict")
        else:
            parts.append(f"recommended: reason={self.recommended}, {self._describe_advantage(rivals)}")
        return "; ".join(parts)

    def _describe_advantage(self, rivals: Sequence[ReasonPlace]) -> str:
        """Return why the recommended place is better than its rivals, which are not proved to be worse."""
        if len(self.usable) == 1:
            return "the only one with enough verdicts"
        if not rivals:
            return "which agrees best"
        cheapest = _find_cheapest({place: self.results[place] for place in (self.recommended, *rivals)})
        if cheapest == self.recommended:
            return "the cheapest of them"
        if self.agrees:
            return "the cheapest that reaches the thresholds"
        return "the cheapest that does not give all answers the same verdict"


def _join_places(names: Sequence[str]) -> str:
    """Return names as ``a``, ``a and b`` or ``a, b and c``."""
    *first, last = names
    if not first:
        return last
    return f"{', '.join(first)} and {last}"


def compare_reasons(
    judge: Judge | str,
    labels: LabelsSource,
    *,
    requirements: AgreementRequirements = DEFAULT_REQUIREMENTS,
    pass_at: PassAt = "default",  # noqa: S107 -- a score, no secret
    trials: int = 1,
    at_least_labels: int = MIN_LABELS,
) -> ReasonComparison:
    """Compare a judge with its reason before its verdict, after it and without one, on the same human labels.

    Each answer is judged three times. The calls are recorded and replayed like any other. A place counts as worse if its verdicts are
    further from the labels on the same answers, with 95 % confidence for the three places together (exact sign test over families,
    which for pass or fail is McNemar's; Holm).

    Args:
        judge: A judge with the method ``with_reason``, as all judges of this package have but `Equivalence`, which gives no
            reason. Its name or the path of its file.
        labels: As for `calibrate_judge`, like the other arguments.
        requirements: The thresholds.
        pass_at: The lowest score that passes. Left out: the judge's own. None: scores are not split.
        trials: The number of verdicts on each answer. Their mean counts.
        at_least_labels: The least number of labelled answers.

    Returns:
        The three results, and which place to use.

    Raises:
        CaseError: The labels cannot be used. With file and line.
        UsageError: The judge cannot move its reason, or `calibrate_judge` raises it.
        LLMOpsError: With its reason in no place the judge has a kappa.

    >>> from pytest_llmops.judges import Rubric
    >>> from pytest_llmops.protocols import Verdict
    >>> class Small:
    ...     name, low, high, pass_at = "small", 0, 1, 1
    ...     def __init__(self, reason="before"): self.reason = self.version = reason
    ...     def with_reason(self, reason): return Small(reason)
    ...     def judge(self, answer, *, question="", reference=""):
    ...         return Verdict(score=int(self.reason != "before" and answer == reference), low=0, high=1)
    >>> rows = [{"id": str(n), "answer": "ab"[n % 2], "reference": "a", "human": n % 2 == 0} for n in range(50)]
    >>> compared = compare_reasons(Small(), rows)
    >>> compared.recommended, dict(compared.worse)
    ('none', {'before': 'none'})
    """
    chosen = find_judge(judge)
    moved = {place: move_reason(chosen, place) for place in PLACES}
    results: dict[ReasonPlace, ReasonResult] = {}
    for place, judge_of_place in moved.items():
        before = len(recorder.list_exchanges())
        calibration = calibrate_judge(
            judge_of_place,
            labels,
            requirements=requirements,
            pass_at=pass_at,
            trials=trials,
            at_least_labels=at_least_labels,
        )
        calls = tuple(read_call(exchange) for exchange in recorder.list_exchanges()[before:])
        results[place] = ReasonResult(place=place, calibration=calibration, calls=calls)
    usable = _select_usable(results)
    if not usable:
        problems = [f"{place}: {result.calibration.problem}" for place, result in results.items()]
        raise LLMOpsError(f"nothing is compared: {shorten_text('; '.join(problems), 1_000)}")
    worse = _find_worse(usable)
    return ReasonComparison(
        present=find_reason_place(chosen),
        results=results,
        worse=worse,
        recommended=_choose_place({place: result for place, result in usable.items() if place not in worse}),
    )


def _select_usable(results: Mapping[ReasonPlace, ReasonResult]) -> dict[ReasonPlace, ReasonResult]:
    """Return the results whose calibration has no problem."""
    return {place: result for place, result in results.items() if not result.calibration.problem}


def _find_common(results: Mapping[ReasonPlace, ReasonResult]) -> set[str]:
    """Return the ids of the answers that all results have compared; there must be a result."""
    return set.intersection(*(set(result.closeness) for result in results.values()))


def _find_worse(usable: Mapping[ReasonPlace, ReasonResult]) -> dict[ReasonPlace, ReasonPlace]:
    """Return the places that are proved to agree less than another, each with the other that agrees best."""
    common = _find_common(usable)
    means = {place: _average_families(result, common) for place, result in usable.items()}
    overall = {place: fmean(by_family.values()) for place, by_family in means.items()}
    best_first = sorted(overall, key=lambda place: (-overall[place], BY_COST.index(place)))
    pairs = list(combinations(best_first, 2))
    p_values = adjust_p_values([_compare_signs(means[better], means[place]) for better, place in pairs])
    worse: dict[ReasonPlace, ReasonPlace] = {}
    for (better, place), p_value in zip(pairs, p_values, strict=True):
        if p_value <= ALPHA:
            worse.setdefault(place, better)
    return worse


def _compare_signs(better: Mapping[str, float], place: Mapping[str, float]) -> float:
    """Return the two-sided p-value of the exact sign test over the families; of pass or fail that is McNemar's test."""
    closer = sum(mean > place[family] for family, mean in better.items())
    further = sum(mean < place[family] for family, mean in better.items())
    return mcnemar_p_value(closer, further)


def _average_families(result: ReasonResult, ids: Collection[str]) -> dict[str, float]:
    """Return family -> mean closeness of its answers; an answer without a family is a family by itself."""
    closeness = result.closeness
    by_family: dict[str, list[float]] = {}
    for row in result.calibration.labels.labelled:
        if row.id in ids:
            by_family.setdefault(row.family or f"\0{row.id}", []).append(closeness[row.id])
    return {family: fmean(scores) for family, scores in by_family.items()}


def _choose_place(candidates: Mapping[ReasonPlace, ReasonResult]) -> ReasonPlace:
    """Return the cheapest of places; of those that reach the thresholds, or at least tell answers apart, if there are any."""
    reaching = {place: result for place, result in candidates.items() if result.calibration.agrees}
    telling = {place: result for place, result in candidates.items() if not result.is_uniform}
    return _find_cheapest(reaching or telling or candidates)


def _find_cheapest(results: Mapping[ReasonPlace, ReasonResult]) -> ReasonPlace:
    """Return the place with the lowest cost, else the fewest tokens; if they are not known, the first of `BY_COST`."""
    places = sorted(results, key=BY_COST.index)
    for name in ("cost_usd", "tokens"):
        used = {place: getattr(results[place], name) for place in places}
        if None not in used.values():
            return min(places, key=used.__getitem__)
    return places[0]


def format_reason_table(comparison: ReasonComparison) -> list[str]:
    """Return the results as lines of text, a row for each place; columns of which nothing is known are left out."""
    cells = {place: _format_result(result) for place, result in comparison.results.items()}
    columns = []
    for column in cells["before"]:
        if any(row[column] != UNKNOWN for row in cells.values()):
            columns.append(column)
    rows = [["reason", *columns]]
    for place, row in cells.items():
        title: str = place
        if place == comparison.present:
            title += ", now"
        rows.append([title, *(row[column] for column in columns)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def _format_result(result: ReasonResult) -> dict[str, str]:
    """Return column -> text of a result."""
    calibration = result.calibration
    figures = calibration.figures
    row = dict.fromkeys(("same as the label", "95 %", "kappa", "95 % of kappa", "passed"), UNKNOWN)
    if figures.kappa is not None and figures.interval is not None:
        same = figures.compared - len(figures.disagreements)
        row["same as the label"] = f"{same:,} of {figures.compared:,}"
        row["95 %"] = _format_interval(wilson_interval(same, figures.compared))
        row["kappa"] = f"{figures.kappa:.2f}"
        row["95 % of kappa"] = _format_interval(figures.interval)
    if figures.rates is not None:
        row["passed"] = f"{figures.rates.tp + figures.rates.fp:,}"
    row["unscored"] = f"{len(calibration.judged.errors):,}"
    if calibration.judged.stopped:
        row["unscored"] += ", stopped"
    row |= dict.fromkeys(("tokens", "s a call", "cost"), UNKNOWN)
    if result.tokens is not None:
        row["tokens"] = f"{result.tokens:,}"
    if result.seconds is not None:
        row["s a call"] = f"{result.seconds:.1f}"
    if result.cost_usd is not None:
        row["cost"] = format_amount(result.cost_usd, "USD")
    return row


def _format_interval(interval: tuple[float, float]) -> str:
    low, high = interval
    return f"{low:.2f} to {high:.2f}"
