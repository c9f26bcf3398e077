"""Views of what agents did, for the HTML report: the steps of a trajectory, and the calls that differ from the baseline."""

import json
from collections.abc import Collection, Iterable, Sequence

from pytest_llmops.measurement import Measurement, format_amount, format_count, shorten_text
from pytest_llmops.reports.html_views import MAX_NAME, Texts, View, escape_invisible, format_json
from pytest_llmops.results.call_sequences import SIGNS, StepChange, select_changes
from pytest_llmops.results.trajectories import (
    ShownTrajectory,
    StoredCall,
    StoredStep,
    StoredTrajectory,
    find_trajectories,
)

MAX_CHANGES = 12  # calls that differ from the baseline
MAX_PREVIEW = 120  # characters of arguments and result in the line of a call
MAX_PROBLEMS = 20


def build_trajectories(measurements: Iterable[Measurement], texts: Texts) -> list[View]:
    """Return a view of each distinct trajectory that the measurements of a test hold; their texts are put into ``texts``.

    >>> build_trajectories([], Texts())
    []
    """
    return [_build_trajectory(shown, texts) for shown in find_trajectories(measurements)]


def build_step_changes(changes: Sequence[StepChange], step_trials: str) -> View:
    """Return the calls that differ from the baseline as ``[sign, text]``, at most twelve; empty if none do.

    Args:
        changes: The calls that differ.
        step_trials: In how many of several trials they differ; "" of one trial.

    >>> build_step_changes([StepChange("dropped", 2, "ask()")], "")["lines"]
    [['-', 'step 2 ask()']]
    """
    shown, rest = select_changes(changes, MAX_CHANGES)
    if not shown:
        return {}
    lines = []
    for change in shown:
        lines.append([SIGNS[change.kind], escape_invisible(f"step {change.step} {change.text}")])
    return {"lines": lines, "rest": rest, "trials": step_trials}


def _build_trajectory(shown: ShownTrajectory, texts: Texts) -> View:
    """Return the view of a trajectory with the measurements that hold it."""
    writer = _Writer(texts, shown.unexpected)
    view = writer.write(shown.trajectory)
    names = shorten_text(", ".join(shown.measurements), MAX_NAME)
    words = [_describe_size(shown.trajectory)]
    if shown.trajectory.agent:
        words.insert(0, f"agent {shorten_text(shown.trajectory.agent, MAX_NAME)}")
    view["title"] = f"{names}: {', '.join(words)}"
    if shown.trials > 1:
        view["trials"] = f"the worst of {shown.trials:,} trials"
    return view


def _describe_size(trajectory: StoredTrajectory) -> str:
    calls = list(trajectory.walk_calls())
    return f"{format_count(len(trajectory.steps), 'message')}, {format_count(len(calls), 'call')}"


class _Writer:
    """Writes the views of a trajectory, and numbers its calls as failure texts do: from 1, the calls of a step before the calls that they started.

    Args:
        texts: The texts of the page.
        unexpected: Numbers of the calls that are marked as not expected.
    """

    def __init__(self, texts: Texts, unexpected: Collection[int]) -> None:
        self._texts = texts
        self._unexpected = unexpected
        self._number = 0

    def write(self, trajectory: StoredTrajectory) -> View:
        """Return the view of a trajectory; also of one that a call started."""
        view: View = {"steps": [self._write_step(step, trajectory.agent) for step in trajectory.steps]}
        if trajectory.problems:
            problems = trajectory.problems[:MAX_PROBLEMS]
            view["problems"] = [shorten_text(problem, MAX_NAME) for problem in problems]
            more = len(trajectory.problems) - len(problems) + trajectory.problems_cut
            if more:
                view["problems"].append(f"and {more:,} more")
        if trajectory.steps_cut:
            view["cut"] = trajectory.steps_cut
        return view

    def _write_step(self, step: StoredStep, agent: str) -> View:
        view: View = {"role": shorten_text(step.role, 20), "facts": _describe_step(step)}
        name = step.agent
        if step.role == "assistant":
            name = name or agent
        if name:
            view["agent"] = shorten_text(name, MAX_NAME)
        if step.text:
            view["text"] = self._texts.put(step.text)
        if step.calls_cut:
            view["cut"] = step.calls_cut
        if step.calls:
            view["calls"] = [self._write_call(call) for call in step.calls]
            for call, call_view in zip(step.calls, view["calls"], strict=True):
                if call.started is not None:
                    call_view["started"] = self._write_started(call.started)
        return view

    def _write_started(self, trajectory: StoredTrajectory) -> View:
        view = self.write(trajectory)
        agent = shorten_text(trajectory.agent, MAX_NAME) or "an agent"
        view["title"] = f"started {agent}: {_describe_size(trajectory)}"
        return view

    def _write_call(self, call: StoredCall) -> View:
        self._number += 1
        view: View = {
            "number": self._number,
            "name": shorten_text(call.name, MAX_NAME) or "(no name)",
            "short": shorten_text(" ".join(call.arguments.split()), MAX_PREVIEW),
        }
        if self._number in self._unexpected:
            view["unexpected"] = True
        if call.arguments:
            view["arguments"] = self._texts.put(_format_arguments(call.arguments))
        if call.problem:
            view["problem"] = shorten_text(call.problem, MAX_NAME)
        if call.result is not None:
            view["result"] = self._texts.put(_format_arguments(call.result))
            view["brief"] = shorten_text(" ".join(call.result.split()), MAX_PREVIEW)
        if call.is_error:
            view["failed"] = True
        if call.latency_s is not None:
            view["took"] = format_amount(call.latency_s, "s")
        return view


def _describe_step(step: StoredStep) -> str:
    """Return tokens, cost and latency of a step, as far as they are known."""
    words = []
    if step.tokens is not None:
        words.append(format_count(step.tokens, "token"))
    if step.cost_usd is not None:
        words.append(format_amount(step.cost_usd, "USD"))
    if step.latency_s is not None:
        words.append(format_amount(step.latency_s, "s"))
    return " · ".join(words)


def _format_arguments(text: str) -> str:
    """Return JSON with an argument a line; any other text as it is."""
    if text.lstrip()[:1] not in ("{", "["):
        return text
    try:
        return format_json(json.loads(text))
    except (ValueError, RecursionError):
        return text
