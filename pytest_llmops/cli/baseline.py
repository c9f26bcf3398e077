"""``llmops baseline show|diff|log|power``: the content of a committed baseline, its changes, and the drop that it would notice."""

import argparse
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmops.baselines.baseline import Acceptance, Baseline
from pytest_llmops.cli.common import add_command, add_group, find_project_root, print_result, read_ini
from pytest_llmops.errors import UsageError
from pytest_llmops.measurement import format_count, shorten_text
from pytest_llmops.results.run import TestRecord

if TYPE_CHECKING:
    from pytest_llmops.baselines.conclusion import Reference
    from pytest_llmops.harness.baseline_gate import EarlierAnswers

NAMED_CASES = 5


def add_baseline_group(groups: Any) -> None:
    """Declare the commands of the group."""
    commands = add_group(groups, "baseline", "look at the baseline that runs are compared with")
    show = add_command(commands, "show", _show, "the tests and mean scores of the baseline")
    log = add_command(commands, "log", _log, "when the baseline changed, and why")
    power = add_command(
        commands, "power", _power, "the smallest drop that the suite would notice, computed from the baseline"
    )
    for command in (show, log, power):
        _add_baseline(command, "baseline", "FILE|GITREF")
        _add_json(command)
    diff = add_command(commands, "diff", _diff, "the tests whose scores differ between two baselines")
    diff.add_argument("old", metavar="OLD", help="a file, or a commit, branch or tag of git")
    _add_baseline(diff, "new", "NEW")
    _add_json(diff)


def _add_baseline(command: argparse.ArgumentParser, name: str, metavar: str) -> None:
    command.add_argument(name, metavar=metavar, nargs="?", default="", help="default: the project's baseline")


def _add_json(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="print JSON")


@dataclass(frozen=True, slots=True)
class ProjectBaseline:
    """The baseline of a project.

    Attributes:
        name: What people call it: its file, or the git ref.
        baseline: Its content.
        find_answers: Given the tests of a run, returns what finds their outputs and requests in the baseline by node id.
        primary_metric: The metric that the project's settings name; "": none.
    """

    name: str
    baseline: Baseline
    find_answers: "Callable[[Iterable[TestRecord]], EarlierAnswers]"
    primary_metric: str

    def make_reference(self, records: Iterable[TestRecord]) -> "Reference":
        """Return the baseline and rules with which a run with these tests is compared."""
        from pytest_llmops.baselines.conclusion import Reference
        from pytest_llmops.baselines.metric_data import GateRules

        earlier = self.find_answers(records)
        return Reference(
            name=self.name,
            baseline=self.baseline,
            find_output=earlier.find_output,
            find_requests=earlier.find_requests,
            find_calls=earlier.find_calls,
            rules=GateRules(primary=self.primary_metric),
        )


def load_project_baseline(given: str = "", argument: str = "--llm-baseline") -> ProjectBaseline | None:
    """Return the baseline of the project around the working folder; None if it has none.

    Args:
        given: A file or git ref to take the baseline from; "": the file that the settings name.
        argument: The argument of the command that gave it, for errors.

    Raises:
        UsageError: ``given`` is neither a file nor a git ref, or the baseline is damaged.
    """
    from pytest_llmops.harness.baseline_gate import EarlierAnswers, find_baseline
    from pytest_llmops.settings import Settings

    here = Path.cwd()
    root, values = read_ini(here) or (find_project_root(here) or here, {})
    settings = Settings.from_sources(("ini", values))
    default = root / settings.baseline
    place = given or str(default)
    if given and (here / given).is_file():
        place = str(here / given)
    stored = find_baseline(default, place, root, argument)
    if stored is None:
        return None
    baseline = Baseline.from_bytes(stored.data, where=stored.name)
    return ProjectBaseline(
        stored.name,
        baseline,
        lambda records: EarlierAnswers(stored, baseline, root, records),
        settings.primary_metric,
    )


def _load(given: str, argument: str = "FILE|GITREF") -> tuple[str, Baseline]:
    """Return the name and the content of a baseline: a file, a git ref, or "" for the project's own.

    ``argument`` is the argument of the command that gave it, for errors.

    Raises:
        UsageError: There is none, or it is damaged.
    """
    stored = load_project_baseline(given, argument)
    if stored is None:
        raise UsageError("no baseline yet; make the first: pytest --llm-accept 'first baseline'")
    return stored.name, stored.baseline


def _show(args: argparse.Namespace) -> int:
    """Print the metrics of a baseline with their means, and return the exit status."""
    from pytest_llmops.baselines.gate import describe_baseline
    from pytest_llmops.baselines.power import estimate_power
    from pytest_llmops.baselines.sessions import list_sessions

    name, baseline = _load(args.baseline)
    metrics = estimate_power(baseline)
    sessions = list_sessions(baseline)
    description = describe_baseline(baseline, name)
    tests = format_count(len(baseline.tests), "test")
    rows = []
    moves = format_count(len(baseline.history), "time")
    lines = [description, f"{tests}, accepted {moves}"]
    for metric in metrics:
        rows.append(
            {"name": metric.name, "cases": metric.cases, "trials": metric.trials, "mean": metric.mean}
        )
        size = _describe_size(metric)
        name = shorten_text(metric.name, 60)
        lines.append(f"  {name}  mean {metric.mean:.2f}, {size}")
    if len(sessions) > 1:
        lines.append(format_count(len(sessions), "session"))
        lines += [f"  {_format_session(session)}" for session in sessions]
    document = {
        "baseline": description,
        "tests": len(baseline.tests),
        "metrics": rows,
        "sessions": [asdict(session) for session in sessions],
    }
    return print_result(args, document, lines)


def _format_session(session: Any) -> str:
    """Return a session, a `BaselineSession`, as a line: time, size and reason."""
    tests = format_count(session.tests, "test")
    trials = format_count(session.trials, "trial")
    reason = shorten_text(session.reason, 200)
    return f"{_format_time(session.on)}  {tests} with {trials}  {reason}"


def _format_time(time: str) -> str:
    """Return the day and minute of a time in ISO 8601; "-" if it is not known."""
    return time[:16].replace("T", " ") or "-"


def _describe_size(metric: Any) -> str:
    """Return the number of cases and trials of a metric, a `MetricPower`."""
    cases = format_count(metric.cases, "case")
    trials = format_count(metric.trials, "trial")
    return f"{cases} with {trials}"


def _log(args: argparse.Namespace) -> int:
    _, baseline = _load(args.baseline)
    history = baseline.history[::-1]
    names = ("on", "reason", "commit", "tests", "partial", "forced", "added")
    entries = [{name: getattr(entry, name) for name in names} for entry in history]
    return print_result(args, entries, map(_format_entry, history))


def _format_entry(entry: Acceptance) -> str:
    """Return an acceptance as a line: time, commit, number of tests, marks and reason."""
    time = _format_time(entry.on)
    commit = entry.commit[:7] or "-"
    marks = []
    if entry.added:
        marks.append("added as a session")
    if entry.partial:
        marks.append("partial")
    if entry.forced:
        marks.append("forced")
    notes = ""
    if marks:
        notes = f" ({', '.join(marks)})"
    tests = format_count(entry.tests, "test")
    reason = shorten_text(entry.reason, 200)
    return f"{time}  {commit:7}  {tests}{notes}  {reason}"


def _power(args: argparse.Namespace) -> int:
    from pytest_llmops.baselines.power import estimate_power
    from pytest_llmops.baselines.sessions import ADD_SESSION, list_sessions

    _, baseline = _load(args.baseline)
    metrics = estimate_power(baseline)
    rows = [_make_power_row(metric) for metric in metrics]
    lines = [line for metric in metrics for line in _format_power(metric)]
    sessions = list_sessions(baseline)
    if len(sessions) > 1:
        lines.append(f"{format_count(len(sessions), 'session')}:")
        lines += [f"  {_format_session(session)}" for session in sessions]
    elif sessions:
        lines.append(
            f"1 session: trials of one run may hang together. Add another on another day: {ADD_SESSION}"
        )
    return print_result(args, rows, lines)


def _make_power_row(metric: Any) -> dict[str, Any]:
    """Return a metric, a `MetricPower`, as ``--json`` prints it."""
    flaky = []
    for nodeid, rate, since in metric.flaky:
        flaky.append({"test": nodeid, "flip_rate": rate, "since": since})
    detectable = {str(count): drop for count, drop in metric.detectable}
    return {
        "name": metric.name,
        "cases": metric.cases,
        "trials": metric.trials,
        "noise": metric.noise,
        "detectable": detectable,
        "noisiest": dict(metric.noisiest),
        "flaky": flaky,
    }


def _format_power(metric: Any) -> Iterator[str]:
    """Yield the lines on a metric, a `MetricPower`."""
    yield f"{shorten_text(metric.name, 60)}: {_describe_size(metric)}"
    if metric.noise is None:
        yield "  single trials tell no noise: accept a run with --llm-trials=3 or more"
        return
    yield f"  noise     {metric.noise * 100:.1f} points between trials of a case (standard deviation)"
    drops = []
    for count, drop in metric.detectable:
        trials = format_count(count, "trial")
        drops.append(f"{drop * 100:.1f} points with {trials}")
    notices = "not known: no case has trials that differ"
    if drops:
        notices = f"in 8 of 10 runs a drop of {', '.join(drops)}"
    yield f"  notices   {notices}"
    steady = format_count(metric.cases - len(metric.noisiest), "case")
    yield f"  steady    {steady}: all trials score the same"
    for nodeid, spread in metric.noisiest[:NAMED_CASES]:
        test = shorten_text(nodeid, 200)
        yield f"  noisy     {test}  {spread * 100:.1f} points"
    for nodeid, rate, since in metric.flaky[:NAMED_CASES]:
        age = ""
        if since:
            age = f", since {shorten_text(since[:10], 40)}"
        test = shorten_text(nodeid, 200)
        yield f"  flaky     {test}  {rate:.0%} of its pairs of trials differ{age}"


def _diff(args: argparse.Namespace) -> int:
    """Print the mean scores that differ between two baselines, test by test, and return the exit status."""
    old_name, old = _load(args.old, "OLD")
    new_name, new = _load(args.new, "NEW")
    rows = []
    lines = []
    for nodeid in sorted({*old.tests, *new.tests}):
        before = _mean_scores(old, nodeid)
        after = _mean_scores(new, nodeid)
        for metric in sorted({*before, *after}):
            old_mean = before.get(metric)
            new_mean = after.get(metric)
            if old_mean != new_mean:
                rows.append({"test": nodeid, "metric": metric, "old": old_mean, "new": new_mean})
                change = f"{_format_mean(old_mean)} -> {_format_mean(new_mean)}"
                test = shorten_text(nodeid, 200)
                metric_name = shorten_text(metric, 80)
                lines.append(f"  {test}  {metric_name}  {change}")
    amount = format_count(len(rows), "score")
    heading = f"{old_name} -> {new_name}: {amount} differ"
    document = {"old": old_name, "new": new_name, "changes": rows}
    return print_result(args, document, [heading, *lines])


def _mean_scores(baseline: Baseline, nodeid: str) -> dict[str, float | None]:
    """Return the mean score of a test by metric; empty if the baseline does not have the test."""
    from pytest_llmops.baselines.changes import mean_score

    test = baseline.tests.get(nodeid)
    if test is None:
        return {}
    return {metric: mean_score(scores) for metric, scores in test.scores.items()}


def _format_mean(mean: float | None) -> str:
    if mean is None:
        return "-"
    return f"{mean:.2f}"
