"""``llmops baseline show|diff|log|power``: what a committed baseline holds, how it moved, and what it would notice."""

import argparse
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmops.baselines.baseline import Acceptance, Baseline
from pytest_llmops.cli.common import Commands, add_group, find_project_root, print_result, read_ini
from pytest_llmops.errors import UsageError
from pytest_llmops.measurement import format_count, shorten_text
from pytest_llmops.results.run import TestRecord

if TYPE_CHECKING:
    from pytest_llmops.baselines.conclusion import Reference

NAMED_CASES = 5


def add_baseline_group(groups: Any) -> None:
    """Declare the commands of the group."""
    as_json = {"--json": {"action": "store_true", "help": "print JSON"}}
    which = {"nargs": "?", "default": "", "help": "default: the project's baseline"}
    one = {"baseline": {"metavar": "FILE|GITREF", **which}, **as_json}
    old = {"metavar": "OLD", "help": "a file, or a commit, branch or tag of git"}
    two = {"old": old, "new": {"metavar": "NEW", **which}, **as_json}
    commands: Commands = {
        "show": (_show, "the tests and mean scores of the baseline", "", one),
        "log": (_log, "when the baseline moved, and why", "", one),
        "power": (_power, "which drop the suite would notice, from the baseline alone", "", one),
        "diff": (_diff, "the tests whose scores differ between two baselines", "", two),
    }
    add_group(groups, "baseline", "look at the baseline that runs are compared with", commands)


@dataclass(frozen=True, slots=True)
class ProjectBaseline:
    """A baseline, what people call it, what finds its outputs for the tests of a run, and the project's primary metric."""

    name: str
    baseline: Baseline
    find_outputs: Callable[[Iterable[TestRecord]], Callable[[str], str | None]]
    primary_metric: str

    def make_reference(self, records: Iterable[TestRecord]) -> "Reference":
        """Return what a run with these tests is compared with."""
        from pytest_llmops.baselines.conclusion import Reference
        from pytest_llmops.baselines.metric_data import GateRules

        return Reference(
            name=self.name,
            baseline=self.baseline,
            find_output=self.find_outputs(records),
            rules=GateRules(primary=self.primary_metric),
        )


def load_project_baseline(given: str = "") -> ProjectBaseline | None:
    """Return the baseline of a file or git ref, else of the project around the working folder; None: it has none.

    Raises:
        UsageError: It is neither, or damaged.
    """
    from pytest_llmops.harness.baseline_gate import find_baseline, find_outputs
    from pytest_llmops.settings import Settings

    here = Path.cwd()
    root, values = read_ini(here) or (find_project_root(here) or here, {})
    settings = Settings.from_sources(("ini", values))
    own = root / settings.baseline
    path = here / given
    stored = find_baseline(own, str(path) if given and path.is_file() else given or str(own), root)
    if stored is None:
        return None
    baseline = Baseline.from_bytes(stored.data, where=stored.name)
    return ProjectBaseline(
        stored.name,
        baseline,
        lambda records: find_outputs(stored, baseline, root, records),
        settings.primary_metric,
    )


def _load(given: str) -> tuple[str, Baseline]:
    stored = load_project_baseline(given)
    if stored is None:
        raise UsageError("no baseline yet; make the first: pytest --llm-accept 'first baseline'")
    return stored.name, stored.baseline


def _show(args: argparse.Namespace) -> int:
    from pytest_llmops.baselines.gate import describe_baseline
    from pytest_llmops.baselines.power import estimate_power

    name, baseline = _load(args.baseline)
    metrics = estimate_power(baseline)
    description = describe_baseline(baseline, name)
    rows = [
        {"name": metric.name, "cases": metric.cases, "trials": metric.trials, "mean": metric.mean}
        for metric in metrics
    ]
    lines = [
        description,
        f"{format_count(len(baseline.tests), 'test')}, accepted {format_count(len(baseline.history), 'time')}",
        *(
            f"  {shorten_text(metric.name, 60)}  mean {metric.mean:.2f}, {format_count(metric.cases, 'case')} with "
            f"{format_count(metric.trials, 'trial')}"
            for metric in metrics
        ),
    ]
    return print_result(args, {"baseline": description, "tests": len(baseline.tests), "metrics": rows}, lines)


def _log(args: argparse.Namespace) -> int:
    _, baseline = _load(args.baseline)
    fields = ("on", "reason", "commit", "tests", "partial", "forced")
    entries = [{field: getattr(entry, field) for field in fields} for entry in reversed(baseline.history)]
    return print_result(args, entries, map(_format_entry, reversed(baseline.history)))


def _format_entry(entry: Acceptance) -> str:
    marks = [word for word, is_set in (("partial", entry.partial), ("forced", entry.forced)) if is_set]
    if marks:
        notes = f" ({', '.join(marks)})"
    else:
        notes = ""
    return (
        f"{entry.on[:16].replace('T', ' ')}  {entry.commit[:7] or '-':7}  {format_count(entry.tests, 'test')}{notes}  "
        f"{shorten_text(entry.reason, 200)}"
    )


def _power(args: argparse.Namespace) -> int:
    from pytest_llmops.baselines.power import estimate_power

    _, baseline = _load(args.baseline)
    metrics = estimate_power(baseline)
    rows = [
        {
            "name": metric.name,
            "cases": metric.cases,
            "trials": metric.trials,
            "noise": metric.noise,
            "detectable": {str(count): drop for count, drop in metric.detectable},
            "noisiest": dict(metric.noisiest),
            "flaky": [
                {"test": nodeid, "flip_rate": rate, "since": since} for nodeid, rate, since in metric.flaky
            ],
        }
        for metric in metrics
    ]
    return print_result(args, rows, (line for metric in metrics for line in _describe_power(metric)))


def _describe_power(metric: Any) -> Iterator[str]:
    """Yield the lines on a metric, a `MetricPower`."""
    yield f"{shorten_text(metric.name, 60)}: {format_count(metric.cases, 'case')} with {format_count(metric.trials, 'trial')}"
    if metric.noise is None:
        yield "  single trials tell no noise: accept a run with --llm-trials=3 or more"
        return
    yield f"  noise     {metric.noise * 100:.1f} points between trials of a case (standard deviation)"
    drops = ", ".join(
        f"{drop * 100:.1f} points with {format_count(count, 'trial')}" for count, drop in metric.detectable
    )
    if drops:
        notices = f"in 8 of 10 runs a drop of {drops}"
    else:
        notices = "not known: no case has trials that differ"
    yield f"  notices   {notices}"
    yield f"  steady    {format_count(metric.cases - len(metric.noisiest), 'case')}: all trials score the same"
    for nodeid, spread in metric.noisiest[:NAMED_CASES]:
        yield f"  noisy     {shorten_text(nodeid, 200)}  {spread * 100:.1f} points"
    for nodeid, rate, since in metric.flaky[:NAMED_CASES]:
        if since:
            age = f", since {shorten_text(since[:10], 40)}"
        else:
            age = ""
        yield f"  flaky     {shorten_text(nodeid, 200)}  {rate:.0%} of its pairs of trials differ{age}"


def _diff(args: argparse.Namespace) -> int:
    from pytest_llmops.baselines.changes import mean_score

    (old_name, old), (new_name, new) = _load(args.old), _load(args.new)
    rows = []
    lines = []
    for nodeid in sorted({*old.tests, *new.tests}):
        before, after = (side.tests.get(nodeid) for side in (old, new))
        for series in sorted({*(before.scores if before else ()), *(after.scores if after else ())}):
            means = [mean_score(test.scores.get(series, ()) if test else ()) for test in (before, after)]
            if means[0] != means[1]:
                rows.append({"test": nodeid, "metric": series, "old": means[0], "new": means[1]})
                sides = " -> ".join("-" if mean is None else f"{mean:.2f}" for mean in means)
                lines.append(f"  {shorten_text(nodeid, 200)}  {shorten_text(series, 80)}  {sides}")
    heading = f"{old_name} -> {new_name}: {format_count(len(rows), 'score')} differ"
    return print_result(args, {"old": old_name, "new": new_name, "changes": rows}, [heading, *lines])
