"""The figures of examples/guarded_bot/README.md, read from a run."""

from __future__ import annotations

import re

from pytest_llmops.cases import load_cases
from pytest_llmops.measurement import Measurement
from pytest_llmops.metrics.classification import wilson_interval
from pytest_llmops.results.details import as_list
from support.example_runs import ExampleRun

FOLDER = "guarded_bot"
SURE = 0.85  # as in test_confidence.py


def list_figures(run: ExampleRun) -> list[str]:
    """Return the sentences of the README that hold a figure."""
    return [*_list_red_team(run), *_list_confidence(run), *_list_spelling(run), *_list_cache(run)]


def _read_measurement(run: ExampleRun, path: str, name: str) -> Measurement:
    """Return the only measurement of a name in the only test below a path."""
    (record,) = run.records(f"{FOLDER}/{path}")
    (measurement,) = [measurement for measurement in record.measurements if measurement.name == name]
    return measurement


def _list_red_team(run: ExampleRun) -> list[str]:
    path = f"{FOLDER}/test_red_team.py::test_attacks"
    blocked = run.values(path, "guardrail.blocked")
    answered = run.values(path, "guardrail.answered")
    least, _ = wilson_interval(sum(blocked.values()), len(blocked))
    _, most = wilson_interval(len(answered) - sum(answered.values()), len(answered))
    without = _read_measurement(
        run, "test_red_team.py::test_what_the_guards_are_worth", "attacks_without_guards"
    )
    assert without.value is not None
    successful = round(without.value * len(blocked))
    attacks = len(blocked)
    twins = len(answered)
    refused = twins - sum(answered.values())
    helped = run.values(path, "text.contains")
    made_up = run.output_of(f"{path}[address]")
    return [
        f"| attacks blocked | {attacks - successful} of {attacks} | {sum(blocked.values()):g} of {attacks} | {least:.2f} | at least 0.6 |",
        f"| harmless refused | not measured | {refused:g} of {twins} | {most:.2f} | at most 0.4 |",
        f"To promise 0.9 needs {_count_families(0.9)} families without a single miss",
        _find_leak(without.reason, "900"),
        f'"{made_up}"',
        f"All {sum(helped.values()):g} of {len(helped)} twins got the right answer",
    ]


def _find_leak(reason: str, sign: str) -> str:
    """Return the answer without guards that holds a sign, in quotation marks; the reason lists all of them."""
    (leak,) = [entry.split(": ", 1)[1] for entry in reason.split("; ") if sign in entry]
    return f'"{leak}"'


def _count_families(share: float) -> int:
    """Return how many families prove a share of blocked attacks if all of them are blocked."""
    count = 1
    while wilson_interval(count, count)[0] < share:
        count += 1
    return count


def _list_confidence(run: ExampleRun) -> list[str]:
    path = "test_confidence.py::test_confidence"
    accuracy = _read_measurement(run, path, "confidence.accuracy_lower")
    coverage = _read_measurement(run, path, "confidence.coverage_lower")
    auroc = _read_measurement(run, path, "confidence.auroc")
    cases = load_cases(run.folder / FOLDER / "cases/questions.jsonl")
    (record,) = run.records(f"{FOLDER}/{path}")
    outputs = {case.id: call.output for case, call in zip(cases, record.calls, strict=True)}
    right = sum(any(str(fact) in outputs[case.id] for fact in as_list(case["facts"])) for case in cases)
    sent = re.match(r"(\d+) of (\d+)", accuracy.reason)
    assert sent is not None
    others = len(cases) - int(sent[2])
    return [
        f"From {SURE} on the answer is sent",
        f"The limit of {SURE} was chosen",
        f"{_shorten_numbers(accuracy.reason)} (asserted: {accuracy.threshold})",
        f"of the {others} others {right - int(sent[1])} are right",
        f"{_shorten_numbers(coverage.reason)} (asserted: {coverage.threshold})",
        f"The AUROC is {auroc.value:.2f}",
        f'"{outputs["club-age"]}"',
        f'"{outputs["delivery-free"]}"',
    ]


def _shorten_numbers(text: str) -> str:
    """Return a text with two decimals in each of its numbers."""
    return re.sub(r"\d\.\d{3,}", lambda number: f"{float(number[0]):.2f}", text)


def _list_spelling(run: ExampleRun) -> list[str]:
    sentences = []
    for transformation in ("typos", "case"):
        kept = run.values(f"{FOLDER}/test_confidence.py::test_spelling", f"robust.{transformation}")
        sentences.append(f"{sum(kept.values()):g} of {len(kept)} questions with {transformation}")
        advice = run.verdict("robustness", f"input {transformation}").next_step
        needed = re.search(r"about (\d+) changed inputs", advice)
        assert needed is not None
        sentences.append(f"needs about {needed[1]} more changed questions")
    return sentences


def _list_cache(run: ExampleRun) -> list[str]:
    """Return the rows of the table of thresholds, and the number of pairs."""
    violations = _read_measurement(run, "test_cache.py", "cache.violations")
    rows = []
    for row in as_list(violations.detail["sweep"]):
        threshold, hit_rate, false_share, _ = as_list(row)
        shares = [f"{100 * float(str(share)):.0f} %" for share in (hit_rate, false_share)]
        rows.append(f"| {threshold} | {shares[0]} | {shares[1]} |")
    text = (run.folder / FOLDER / "cases/cache_pairs.jsonl").read_text(encoding="utf-8")
    return [*rows, f"{len(text.splitlines())} pairs of questions"]
