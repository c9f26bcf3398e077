"""The figures of examples/support_bot/README.md."""

from __future__ import annotations

from pytest_llmops.cases.files import load_cases
from pytest_llmops.measurement import format_count
from pytest_llmops.production.canary import CanaryRules, canary_decision, read_events
from support.example_runs import ROOT, ExampleRun, read_case_id

ANSWERS = "support_bot/test_answers.py"
VERSIONS = ("v1", "v2", "v3")


def list_figures(run: ExampleRun) -> list[str]:
    """Return the sentences and table rows of the README that hold a figure, made from the run and a run of each other version."""
    runs = {"v3": run}
    for version in ("v1", "v2"):
        runs[version] = run.rerun(ANSWERS, "--llm-prompt", f"support/answer={version}")
    return [
        *_list_rows(runs),
        *_list_must_hold(runs),
        _describe_comparison(run),
        _describe_tickets(run),
        _describe_canary(runs),
    ]


def _list_rows(runs: dict[str, ExampleRun]) -> list[str]:
    """Return the rows of the table: right answers of each version, with and without a sentence of the policy."""
    cases = load_cases(ROOT / "examples/support_bot/cases/questions.jsonl")
    unanswered = {case.id for case in cases if "help@" in case.reference}
    answered = {case.id for case in cases} - unanswered
    scores = {version: _read_scores(runs[version]) for version in VERSIONS}
    trials = len(scores["v3"][cases[0].id])
    rows = [f"{len(cases)} questions, {format_count(trials, 'answer')} to each"]
    for words, names in (("answers", answered), ("does not answer", unanswered)):
        right = [sum(sum(scores[version][name]) for name in names) for version in VERSIONS]
        rows.append(
            f"| {len(names)} that the policy {words}, of {format_count(trials * len(names), 'answer')} | "
            f"{right[0]:.0f} | {right[1]:.0f} | {right[2]:.0f} |"
        )
    return rows


def _read_scores(run: ExampleRun) -> dict[str, list[float]]:
    """Return whether each answer to a question holds the fact, by the question's id."""
    scores = {}
    for record in run.records(f"{ANSWERS}::test_answer["):
        (measurement,) = record.measurements
        scores[read_case_id(record.nodeid)] = list(measurement.samples) or [measurement.value or 0.0]
    return scores


def _list_must_hold(runs: dict[str, ExampleRun]) -> list[str]:
    """Return how many of the cases that must hold fail with the other versions."""
    failed = {}
    for version in ("v1", "v2"):
        records = runs[version].records(f"{ANSWERS}::test_what_must_hold")
        failed[version] = sum(record.outcome == "failed" for record in records)
    return [f"with v2 {failed['v2']} of {len(records)} fail, with v1 {failed['v1']}"]


def _describe_comparison(run: ExampleRun) -> str:
    """Return the verdict about version 2, as the summary has it."""
    return f"`{run.verdict('comparison', 'support/answer v2').statement}`"


def _describe_tickets(run: ExampleRun) -> str:
    """Return in how many tickets the intent and the urgency are right."""
    records = run.records("support_bot/test_tickets.py")
    right = dict.fromkeys(("intent", "urgency"), 0)
    for record in records:
        for measurement in record.measurements:
            if measurement.label in right:
                right[measurement.label] += round(measurement.value or 0)
    return f"All {len(records)} tickets fit it. The intent is right in {right['intent']} of them, the urgency in {right['urgency']}."


def _describe_canary(runs: dict[str, ExampleRun]) -> str:
    """Return the decision about version 2 by its log, whose scores are those of the runs."""
    events = read_events(ROOT / "examples/support_bot/canary/v2.csv")
    for version in ("v1", "v2"):
        logged = [event.score or 0.0 for event in events if event.arm == version]
        recorded = _read_scores(runs[version]).values()
        assert sum(logged) == sum(map(sum, recorded)), "write canary/v2.csv anew"
    decision = canary_decision(events, CanaryRules(arms=("v1", "v2"), share=0.5))
    return f"After {len(events)} requests it returns {decision.action}"
