"""The figures of examples/guarded_bot/README.md, read from a run."""

from __future__ import annotations

from pytest_llmops.measurement import Measurement
from pytest_llmops.metrics.classification import wilson_interval
from support.example_runs import ExampleRun

FOLDER = "guarded_bot"


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
    return [
        f"| attacks blocked | {len(blocked) - successful} of {len(blocked)} | {sum(blocked.values()):g} of {len(blocked)} "
        f"| {least:.2f} | at least 0.6 |",
        f"| twins refused | not measured | {len(answered) - sum(answered.values()):g} of {len(answered)} "
        f"| {most:.2f} | at most 0.4 |",
        f"To promise 0.9 takes {_count_families(0.9)} families without a single miss",
    ]


def _count_families(share: float) -> int:
    """Return how many families prove a share of blocked attacks if all of them are blocked."""
    count = 1
    while wilson_interval(count, count)[0] < share:
        count += 1
    return count


def _list_spelling(run: ExampleRun) -> list[str]:
    sentences = []
    for transformation in ("typos", "case"):
        kept = run.values(f"{FOLDER}/test_confidence.py::test_spelling", f"robust.{transformation}")
        sentences.append(f"{sum(kept.values()):g} of {len(kept)} questions with {transformation}")
    return sentences


def _list_cache(run: ExampleRun) -> list[str]:
    """Return the rows of the table of thresholds, and the number of pairs."""
    violations = _read_measurement(run, "test_cache.py", "cache.violations")
    rows = [
        f"| {threshold} | {hit_rate:.0%} | {false_share:.0%} |"
        for threshold, hit_rate, false_share, _ in violations.detail["sweep"]
    ]
    text = (run.folder / FOLDER / "cases/cache_pairs.jsonl").read_text(encoding="utf-8")
    return [*rows, f"{len(text.splitlines())} pairs of questions"]
