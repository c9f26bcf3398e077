"""The tests on what a run without rules shows: is a loss proved, is one ruled out, and are the answers other ones at all?"""

from dataclasses import dataclass

from pytest_llmops.baselines.metric_data import MetricData
from pytest_llmops.ledger.answers import have_changed
from pytest_llmops.ledger.evidence import Evidence
from pytest_llmops.metrics.change.bounds import needed_trials
from pytest_llmops.metrics.change.p_values import ROUNDING, drop_p_value

# "Not measured" divides the level in two: answers may look like other ones by chance, and scores may look lower
HALF = 0.5


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
    """Return the clearest sign of a loss: by the mean of the metrics that decide, by that of the others, or by broken cases.

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
            losses.append(Loss(min(p_value * total / shares[name], 1.0), metric))
    for metric, p_value in evidence.measure_broken().items():
        losses.append(Loss(min(p_value * total / shares["broken"], 1.0), metric, is_broken=True))
    return min(losses, key=lambda loss: (loss.p_value, loss.is_broken, loss.metric))


def rules_out_loss(evidence: Evidence, level: float) -> bool:
    """Return whether a loss of the margin is ruled out in all metrics that decide, and nothing else speaks against it.

    What does: a case that clearly broke, or another metric that fell (proved for this line alone).
    """
    decided = list_decided(evidence)
    if not decided or not all(_is_ruled_out(evidence, data, level) for data in decided):
        return False
    return not evidence.list_broken() and find_fallen_guard(evidence) is None


def list_decided(evidence: Evidence) -> list[MetricData]:
    """Return the metrics that decide and have enough cases, or whose answers are all those of the whole prompt."""
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
    """Return whether a rise is proved."""
    if (
        not data.trials
        or data.change < evidence.rules.floor - ROUNDING
        or not data.is_large_enough(evidence.rules)
    ):
        return False
    rising = {case: pair.mirror() for case, pair in data.trials.items()}
    return drop_p_value(rising) <= level + ROUNDING


def find_fallen_guard(evidence: Evidence) -> MetricData | None:
    """Return the metric beside those that decide whose drop is proved, if only this line is looked at; None: there is none."""
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
    """Return whether the scores of some metric look lower, if only this line is looked at."""
    drops = evidence.correct_drops(evidence.measured)
    return any(p_value <= evidence.rules.alpha * HALF + ROUNDING for p_value in drops.values())
