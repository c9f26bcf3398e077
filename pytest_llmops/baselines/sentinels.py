"""The verdict on sentinels (``llm_sentinel``): did the scores move because of the model or judge, or because of your change?

Sentinels are tests that the change cannot affect. If their live answers score differently than in the baseline, the model or
the judge moved; if only the other tests do, the change moved them.
"""

from collections.abc import Sequence

from pytest_llmops.baselines.baseline import TRIAL_RATE, Baseline, list_scored
from pytest_llmops.baselines.changes import ComparedTest, compare_tests, find_metrics, metric_trials
from pytest_llmops.baselines.metric_data import format_points
from pytest_llmops.errors import format_name_list
from pytest_llmops.metrics.change.families import compare_families
from pytest_llmops.metrics.change.trials import TrialPair
from pytest_llmops.results.details import CassetteFacts
from pytest_llmops.results.run import TestRecord
from pytest_llmops.results.verdict import MetricVerdict, Verdict


def has_sentinels(records: Sequence[TestRecord]) -> bool:
    """Return whether one of the tests is a sentinel."""
    return any(record.facts.get("sentinel") for record in records)


def judge_sentinels(baseline: Baseline, records: Sequence[TestRecord]) -> Verdict:
    """Return the verdict on what moved the live answers since the baseline: the model or the judge, the change, or nothing.

    If the baseline has no score of a sentinel, this is unknown; the sentence then gives how many answers are as recorded.

    >>> judge_sentinels(Baseline(), [TestRecord(nodeid="t", facts={"sentinel": True})]).sentence[:46]
    'cannot tell what moved: no baseline to compare'
    """
    sentinels: dict[str, TrialPair] = {}
    others: dict[str, TrialPair] = {}
    for test in compare_tests(baseline, records).compared:
        if test.record.facts.get("sentinel"):
            sentinels |= _pair_trials(test)
        else:
            others |= _pair_trials(test)
    cassettes = {}
    for record in records:
        if record.facts.get("sentinel"):
            cassettes[record.nodeid] = CassetteFacts.from_wire(record.fact("cassette"))
    if not sentinels:
        return _judge_answers(list(cassettes.values()), has_baseline=bool(baseline.tests))
    edited = [nodeid for nodeid, cassette in cassettes.items() if not cassette.verified]
    if edited:
        return _conclude(
            "unknown",
            f"cannot tell what moved: these sentinels send other requests than the recorded ones: {format_name_list(edited)}",
            "Undo the change to their requests, or mark other tests as sentinels",
        )
    families = {"sentinels": sentinels}
    if others:
        families["other tests"] = others
    compared = compare_families(families)
    changes = []
    for name, family in compared.items():
        word = MetricVerdict(status=family["status"]).word
        changes.append(f"{name} {format_points(family['change'])} ({word})")
    figures = ", ".join(changes)
    moved = compared["sentinels"]["status"]
    moved_others = ""
    if others:
        moved_others = compared["other tests"]["status"]
    if moved in ("worse", "better"):
        return _conclude("moved", f"the model or the judge moved: {figures}")
    if moved != "equivalent" or moved_others == "undecided":
        return _conclude(
            "unknown", f"cannot tell what moved: {figures}", "To decide, record more trials, or add sentinels"
        )
    if moved_others in ("worse", "better"):
        return _conclude("changed", f"your change moved the scores: {figures}")
    return _conclude("same", f"nothing moved: {figures}")


def _conclude(status: str, sentence: str, next_step: str = "", command: str = "") -> Verdict:
    return Verdict(
        kind="sentinel", status=status, sentence=sentence, next_step=next_step, next_command=command
    )


def _pair_trials(test: ComparedTest) -> dict[str, TrialPair]:
    """Return the trials of each metric of a test; if it has no metrics, the share of trials that passed."""
    metrics = [name for name in find_metrics([test]) if name != TRIAL_RATE]
    later = test.before if test.unchanged else test.after
    pairs = {}
    for metric in metrics or [TRIAL_RATE]:
        before = list_scored(metric_trials(test.before, metric, test.series))
        after = list_scored(metric_trials(later, metric, test.series))
        if before and after:
            pairs[f"{test.record.nodeid} {metric}"] = TrialPair(before, after)
    return pairs


def _judge_answers(sentinels: Sequence[CassetteFacts], *, has_baseline: bool) -> Verdict:
    """Return the verdict on sentinels without comparable scores: why, how many answers are as recorded, and what to do."""
    if has_baseline:
        why = "no sentinel (@pytest.mark.llm_sentinel) has a score here and in the baseline"
    else:
        why = "no baseline to compare the scores of the sentinels with"
    verified = sum(cassette.verified for cassette in sentinels)
    drifted = sum(cassette.drifted for cassette in sentinels)
    if not verified:
        return _conclude(
            "unknown",
            f"cannot tell what moved: {why}, and none of their answers has a recording",
            "Make the recordings and a baseline:",
            'pytest --llm-record=new --llm-accept "first baseline"',
        )
    if drifted:
        answers = (
            f"{drifted:,} of {verified:,} answers of sentinels differ from the recordings of the same requests, "
            "so the model or the judge moved, or its sampling differs"
        )
    else:
        answers = (
            f"all {verified:,} answers of sentinels are the recorded ones, so nothing moved on these requests"
        )
    return _conclude(
        "unknown",
        f"cannot tell what moved: {why}; {answers}",
        "Accept the recordings as a baseline:",
        'pytest --llm-accept "first baseline"',
    )
