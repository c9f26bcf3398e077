"""All verdicts on a run: the one place that concludes it, for pytest, ``llmops merge`` and ``llmops judge rescore``."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from pytest_llmops.baselines.baseline import Baseline
from pytest_llmops.baselines.changes import FindCalls, find_no_calls
from pytest_llmops.baselines.confirmation import judge_again
from pytest_llmops.baselines.earlier_run import EarlierRun
from pytest_llmops.baselines.edits import FindRequests, find_no_requests
from pytest_llmops.baselines.gate import find_no_output, judge_suite
from pytest_llmops.baselines.guardrails import judge_guardrails
from pytest_llmops.baselines.metric_data import GateRules
from pytest_llmops.baselines.robustness import add_kept_verdicts, judge_robustness
from pytest_llmops.baselines.sentinels import has_sentinels, judge_sentinels
from pytest_llmops.baselines.side_by_side import judge_comparisons
from pytest_llmops.results.details import SettingsMeta
from pytest_llmops.results.run import Run
from pytest_llmops.results.verdict import STRICT_PREFIX, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """The baseline that a run is compared with.

    Attributes:
        name: What people call it.
        baseline: The accepted baseline.
        find_output: Returns the output of a test of the baseline; None: it is not known.
        find_requests: Returns the requests that a test of the baseline made, see `FindRequests`.
        find_calls: Returns the calls of tools that a test of the baseline made, see `FindCalls`.
        rules: The rules of the gate.
        is_partial: Only a part of the suite was selected to run.
        decides: A bad verdict fails the run. False when the run is about to be accepted as the new baseline.
        problem: Why the baseline cannot be read; "": it can.
        again: The earlier run whose broken cases this run repeats; None: it is an ordinary run.
    """

    name: str
    baseline: Baseline = field(default_factory=Baseline)
    find_output: Callable[[str], str | None] = find_no_output
    find_requests: FindRequests = find_no_requests
    find_calls: FindCalls = find_no_calls
    rules: GateRules = field(default_factory=GateRules)
    is_partial: bool = False
    decides: bool = True
    problem: str = ""
    again: EarlierRun | None = None


def conclude(run: Run, reference: Reference | None = None, *, is_strict: bool | None = None) -> Run:
    """Return a run with all of its verdicts, and their data in its records.

    Args:
        run: The run; verdicts that it already has are replaced.
        reference: The baseline to compare with; None: there is none.
        is_strict: An undecided verdict fails the run, and its sentence states that; None: take it from the settings of the run.

    >>> conclude(Run()).verdicts
    ()
    """
    if is_strict is None:
        is_strict = run.is_strict
    records = add_kept_verdicts(run.records)
    run = replace(run, records=records)
    verdicts = []
    if reference is not None:
        verdicts.append(_judge_change(run, reference))
    is_again = reference is not None and reference.again is not None
    if not is_again:  # the few cases that run again are not a sample for other verdicts
        verdicts += _judge_parts(run, reference)
    run = replace(run, verdicts=tuple(verdicts))
    if is_strict:
        return explain_strict(run)
    return run


def _judge_parts(run: Run, reference: Reference | None) -> list[Verdict]:
    """Return the verdicts on the comparisons within a run, and on its sentinels."""
    verdicts = []
    if _compares_live_answers(run) and not (reference and reference.problem):
        baseline = reference.baseline if reference else Baseline()
        verdicts.append(judge_sentinels(baseline, run.records))
    verdicts += judge_comparisons(run.records)
    verdicts += judge_guardrails(run.records)
    verdicts += judge_robustness(run.records)
    return verdicts


def explain_strict(run: Run) -> Run:
    """Return a run whose undecided verdicts say that they fail it, because of ``--llm-strict``."""
    return replace(run, verdicts=tuple(map(_explain_strict, run.verdicts)))


def _judge_change(run: Run, reference: Reference) -> Verdict:
    """Return the verdict on the change since the baseline."""
    if reference.problem:
        verdict = Verdict(
            kind="baseline",
            status="ERROR",
            sentence=f"Not compared: the baseline {reference.name} cannot be read",
            why=reference.problem,
            baseline=reference.name,
        )
    elif reference.again is not None:
        verdict = judge_again(
            reference.baseline,
            run.records,
            reference.again,
            reference.rules,
            name=reference.name,
            find_output=reference.find_output,
            find_calls=reference.find_calls,
        )
    else:
        verdict = judge_suite(
            reference.baseline,
            run.records,
            name=reference.name,
            rules=reference.rules,
            partial=reference.is_partial,
            find_output=reference.find_output,
            find_requests=reference.find_requests,
            find_calls=reference.find_calls,
        )
    return replace(verdict, decides=reference.decides)


def _compares_live_answers(run: Run) -> bool:
    """Return whether sentinels ran with ``--llm-record=verify``, which compares live answers with the recordings."""
    settings = SettingsMeta.from_wire(run.meta.get("settings"))
    return settings.record == "verify" and has_sentinels(run.records)


def _explain_strict(verdict: Verdict) -> Verdict:
    """Return the verdict; if it fails the run only because of ``--llm-strict``, its sentence states that."""
    if verdict.sentence.startswith(STRICT_PREFIX):
        return verdict
    if verdict.fails(strict=True) and not verdict.fails(strict=False):
        return replace(verdict, sentence=f"{STRICT_PREFIX}{verdict.sentence}")
    return verdict
