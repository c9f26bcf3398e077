"""The tests on the evidence of a run without rules: is a loss proved, is one ruled out, and have the answers changed at all?"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pytest_llmops.baselines.broken import have_enough_broken, is_clear
from pytest_llmops.baselines.metric_data import MetricData
from pytest_llmops.ledger.answers import have_changed
from pytest_llmops.ledger.evidence import Evidence
from pytest_llmops.metrics.change.bounds import needed_trials
from pytest_llmops.metrics.change.broken_cases import (
    BrokenCases,
    chance_of_at_least,
    find_broken_cases,
    split_odds,
)
from pytest_llmops.metrics.change.p_values import ROUNDING, drop_p_value, exchange_trials
from pytest_llmops.metrics.change.trials import adjust_p_values

# The chance that a line that changes nothing is not called "not measured": half of the level if its answers look like other ones, and
# the level if its scores look lower
HALF = 0.5
MOST_FURTHER = 10  # cases that a next step recommends because others broke


@dataclass(frozen=True, slots=True)
class Loss:
    """The clearest sign that something got worse.

    Attributes:
        p_value: How often chance does it, corrected for all that was tested in this run.
        metric: The metric that shows it; "": none does.
        is_broken: It shows in cases that broke, not in the mean.
    """

    p_value: float = 1.0
    metric: str = ""
    is_broken: bool = False


def measure_loss(evidence: Evidence) -> Loss:
    """Return the clearest sign of a loss: by the mean of the metrics that decide, by the mean of the others, or by broken cases.

    Each of the three has a share of the level, as at the gate: 4 of 6, 1 of 6, and 1 of 6.
    """
    rules = evidence.rules
    shares = {"leading": rules.mean_level, "guards": rules.guard_level, "broken": rules.broken_level}
    if not evidence.guards:
        del shares["guards"]
    total = sum(shares.values())
    losses = [Loss()]
    for name, group in (("leading", evidence.leading), ("guards", evidence.guards)):
        for metric, p_value in evidence.correct_drops(group).items():
            losses.append(Loss(p_value * total / shares[name], metric))
    for metric, p_value in evidence.measure_broken().items():
        losses.append(Loss(p_value * total / shares["broken"], metric, is_broken=True))
    return min(losses, key=lambda loss: (loss.p_value, loss.is_broken, loss.metric))


def count_further_breaks(evidence: Evidence, level: float) -> int:
    """Return how many more cases prove a loss if they break like those that broke; 0: none did, some mended, or many are needed.

    Args:
        evidence: The evidence of the run.
        level: The level that the line has among all lines.
    """
    rules = evidence.rules
    share = rules.broken_level / (rules.mean_level + rules.broken_level)
    if evidence.guards:
        total = rules.mean_level + rules.guard_level
        share = rules.broken_level / (total + rules.broken_level) * rules.mean_level / total
    level *= share / max(len(evidence.leading), 1)
    counts = []
    for data in evidence.leading:
        broken = find_broken_cases(data.trials)
        clear = [data.trials[case] for case in broken.broke if is_clear(data.trials[case])]
        if clear and broken.none_mended and evidence.is_fair(data):
            counts.append(
                _count_further(data, broken, split_odds(len(clear[0].before), len(clear[0].after)), level)
            )
    return min(filter(None, counts), default=0)


def _count_further(data: MetricData, broken: BrokenCases, chance: float, level: float) -> int:
    """Return how many more cases of a metric prove a loss; 0: more than `MOST_FURTHER`."""
    odds = [split_odds(*shape) for shape in broken.possible]
    for further in range(1, MOST_FURTHER + 1):
        later = replace(broken, broke=broken.broke + ("",) * further)
        is_rare = chance_of_at_least(len(later.broke), odds + [chance] * further) <= level + ROUNDING
        if is_rare and have_enough_broken(data, later):
            return further
    return 0


def rules_out_loss(evidence: Evidence, level: float) -> bool:
    """Return whether a loss of the margin is ruled out in all metrics that decide, and no other sign of a loss is there.

    Other signs: a case that clearly broke, or another metric that fell (proved for this single line).
    """
    decided = list_decided(evidence)
    if not decided or not all(_is_ruled_out(evidence, data, level) for data in decided):
        return False
    return not evidence.list_broken() and find_fallen_guard(evidence) is None


def list_decided(evidence: Evidence) -> list[MetricData]:
    """Return the metrics that decide and have enough cases, or whose answers all equal the answers of the whole prompt."""
    return [
        data
        for data in evidence.leading
        if data.cases and (not data.trials or data.is_large_enough(evidence.rules))
    ]


def _is_ruled_out(evidence: Evidence, data: MetricData, level: float) -> bool:
    """Return whether a loss of the margin is ruled out in a metric."""
    if not data.trials or is_better(evidence, data, level):
        return True
    lower, _ = data.bound_change(level)
    if lower is not None:
        return lower > -evidence.rules.margin
    # New answers of a single case have no spread between cases
    (pair,) = data.trials.values()
    enough = needed_trials(level, evidence.rules.margin / data.share)
    return not pair.difference and len(pair.after) >= enough


def is_better(evidence: Evidence, data: MetricData, level: float) -> bool:
    """Return whether a rise of one of the metrics of `list_decided` is proved."""
    if data.change < evidence.rules.floor - ROUNDING:
        return False
    rising = {case: pair.mirror() for case, pair in data.trials.items()}
    return drop_p_value(rising) <= level + ROUNDING


def find_fallen_guard(evidence: Evidence) -> MetricData | None:
    """Return the metric, of those that do not decide, whose drop is proved if only this line is tested; None: no such metric."""
    drops = evidence.correct_drops(evidence.guards)
    for data in evidence.guards:
        if drops[data.metric] <= evidence.rules.alpha + ROUNDING:
            return data
    return None


def are_answers_alike(evidence: Evidence) -> bool:
    """Return whether the answers of the cases that could get worse are those that further trials of the whole prompt would give."""
    if not evidence.pairs:
        return False
    return not have_changed(evidence.seen_pairs, evidence.rules.alpha * HALF)


def shows_drop(evidence: Evidence) -> bool:
    """Return whether the scores of some metric look lower, if only this line is looked at and trials are independent.

    That sees more than a proof: here a false alarm only leaves a line undecided.
    """
    level = evidence.rules.alpha
    return _looks_lower(evidence, evidence.leading, level) or _looks_lower(
        evidence, evidence.guards, level * HALF
    )


def _looks_lower(evidence: Evidence, group: Sequence[MetricData], level: float) -> bool:
    """Return whether any of the metrics looks lower, corrected for their number."""
    p_values = []
    for data in group:
        has_fallen = data.trials and data.change <= -evidence.rules.floor + ROUNDING
        p_values.append(exchange_trials(data.trials) if has_fallen else 1.0)
    return any(p_value <= level + ROUNDING for p_value in adjust_p_values(p_values))
