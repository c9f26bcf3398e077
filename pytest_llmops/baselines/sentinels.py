"""Sentinels: tests of prompts that stay as they are, which tell a model that moved from a change that moved the suite."""

from collections.abc import Sequence

from pytest_llmops.baselines.baseline import TRIAL_RATE, Baseline
from pytest_llmops.baselines.changes import compare_tests, find_metrics, metric_trials
from pytest_llmops.errors import format_name_list
from pytest_llmops.metrics.trial_change import TrialPair, compare_families
from pytest_llmops.results.details import CassetteFacts
from pytest_llmops.results.run import TestRecord


def judge_sentinels(baseline: Baseline, records: Sequence[TestRecord]) -> str:
    """Return in a sentence what moved the live answers since the baseline: the model or the judge, the change, or nothing.

    Without a score of a sentinel in the baseline it cannot be told; the sentence then says how many answers are as recorded.

    >>> judge_sentinels(Baseline(), [TestRecord(nodeid="t", facts={"sentinel": True})])[:55]
    'cannot tell what moved: there is no baseline to compare'
    """
    families: dict[str, dict[str, TrialPair]] = {"sentinels": {}, "others": {}}
    for test in compare_tests(baseline, records).compared:
        family = families["sentinels" if test.record.facts.get("sentinel") else "others"]
        after = test.before if test.unchanged else test.after
        for metric in [name for name in find_metrics([test]) if name != TRIAL_RATE] or [TRIAL_RATE]:
            sides = (metric_trials(side, metric, test.series) for side in (test.before, after))
            pair = [tuple(score for score in side if score is not None) for side in sides]
            if all(pair):
                family[f"{test.record.nodeid} {metric}"] = TrialPair(*pair)
    asked = {
        record.nodeid: CassetteFacts.from_wire(record.fact("cassette"))
        for record in records
        if record.facts.get("sentinel")
    }
    if not families["sentinels"]:
        return _describe_answers(list(asked.values()), has_baseline=bool(baseline.tests))
    if edited := [nodeid for nodeid, cassette in asked.items() if not cassette.verified]:
        return f"cannot tell what moved: a sentinel has to ask what is recorded, and these ask something else: {format_name_list(edited)}"
    compared = compare_families({name: trials for name, trials in families.items() if trials})
    status = {name: verdict["status"] for name, verdict in compared.items()}
    figures = ", ".join(
        f"{name} {100 * each['change']:+.1f} points ({each['status']})" for name, each in compared.items()
    )
    if status["sentinels"] in ("worse", "better"):
        return f"the model or the judge moved: {figures}"
    if status["sentinels"] != "equivalent" or status.get("others") == "undecided":
        return f"cannot tell what moved: {figures}; more trials, or more sentinels, would tell"
    return f"{'your change moved it' if status.get('others') in ('worse', 'better') else 'nothing moved'}: {figures}"


def _describe_answers(sentinels: Sequence[CassetteFacts], *, has_baseline: bool) -> str:
    # Say why scores tell nothing, what makes a baseline, and what the recordings of the sentinels tell without scores.
    why = (
        "no sentinel (@pytest.mark.llm_sentinel) has a score here and in the baseline"
        if has_baseline
        else "there is no baseline to compare the scores of the sentinels with"
    )
    verified, drifted = sum(each.verified for each in sentinels), sum(each.drifted for each in sentinels)
    if not verified:
        return f"cannot tell what moved: {why}, and none of their answers has a recording; pytest --llm-record=new --llm-accept 'first baseline' makes both"
    answers = (
        f"{drifted:,} of {verified:,} answers of sentinels differ from the recordings of the same requests: the model or the judge moved, or only its sampling differs"
        if drifted
        else f"all {verified:,} answers of sentinels are those recorded: on these requests nothing moved"
    )
    return f"cannot tell what moved: {why}; pytest --llm-accept 'first baseline' makes one of what is recorded. Without it: {answers}"
