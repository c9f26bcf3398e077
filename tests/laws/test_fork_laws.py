"""Forks of recorded runs: any runs and edits replay afterwards as they ran, begin as the bad run did, and ask nothing twice."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.tapes import call, make_tape

from pytest_llmops.cassettes import active_tape
from pytest_llmops.cassettes.fork_progress import ForkProgress
from pytest_llmops.recorder import run_as_trial

# Each step of an application: its rule, and whether its request has the answer before it
Rules = list[tuple[str, bool]]
RULES = st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), min_size=1, max_size=5)
Run = list[tuple[str, str]]


class Application:
    """Runs on a cassette; each live answer is another one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.made = 0

    def run(self, rules: Rules, take: int, mode: Literal["none", "new", "fork"]) -> Run:
        """Run as one trial, and return the requests with their answers."""
        fork = None
        if mode == "fork":
            fork = ForkProgress()
        tape = make_tape(self.path, "none" if mode == "none" else "new", take=str(take), fork=fork)
        calls: Run = [("", "")]
        active_tape.push_tape(tape)
        try:
            with run_as_trial(take):
                for rule, needs_answer in rules:
                    request = f"{rule} {calls[-1][1] if needs_answer else ''}"
                    live = f"answer {self.made}"
                    answer = call(tape, request, live)
                    self.made += answer == live
                    calls.append((request, answer))
        finally:
            active_tape.remove_tape(tape)
            tape.close(passed=False)
        return calls[1:]

    def fork(self, rules: Rules, trials: int) -> list[Run]:
        return [self.run(rules, take, "fork") for take in range(trials)]


def count_recorded(bad: Run, run: Run) -> int:
    """Return how many steps of a run come before the first request that the bad run does not have, or not so often."""
    left = Counter(request for request, _ in bad)
    for number, (request, _) in enumerate(run):
        left[request] -= 1
        if left[request] < 0:
            return number
    return len(run)


def list_live(bad: Run, forked: Sequence[Run]) -> Run:
    """Return all calls of the trials that come after their forks."""
    return [call for run in forked for call in run[count_recorded(bad, run) :]]


def check_fork(bad: Run, forked: Sequence[Run], replaced: set[str]) -> None:
    """Check that trials begin as the bad run, up to a request whose answer an earlier fork has replaced.

    The first fork asks all that comes after it in each trial anew.
    """
    answers: dict[str, list[str]] = {}
    for request, answer in bad:
        answers.setdefault(request, []).append(answer)
    for run in forked:
        seen: Counter[str] = Counter()
        for request, answer in run[: count_recorded(bad, run)]:
            if request in replaced:
                break
            assert answer == answers[request][seen[request]]
            seen[request] += 1
    if not replaced:
        live = [answer for _, answer in list_live(bad, forked)]
        assert len(set(live)) == len(live)
        assert not set(live) & {answer for _, answer in bad}


@pytest.mark.slow
@given(
    bad=RULES,
    edits=st.lists(RULES, min_size=1, max_size=2),
    trials=st.integers(1, 3),
    earlier=st.integers(1, 2),
)
def test_a_fork_begins_as_the_bad_run_and_replays_as_it_ran(
    bad: Rules, edits: list[Rules], trials: int, earlier: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        app = Application(Path(folder) / "a.json")
        recorded = [app.run(bad, take, "new") for take in range(earlier)]
        replaced: set[str] = set()
        for rules in edits:
            forked = app.fork(rules, trials)
            check_fork(recorded[0], forked, replaced)
            replaced |= {request for request, _ in list_live(recorded[0], forked)}
            made, stored = app.made, app.path.read_bytes()
            assert app.fork(rules, trials) == forked
            assert (app.made, app.path.read_bytes()) == (made, stored)
            for take, run in enumerate(forked):
                assert app.run(rules, take, "none") == run


def test_the_step_of_a_trial_is_that_of_its_first_request_that_is_new() -> None:
    progress = ForkProgress()
    progress.count_call("0")
    progress.begin_fork("0", "forked", is_call=False, change="find")  # a tool: the next call is the step
    progress.count_call("0")
    progress.begin_fork("0", "live", is_call=True, change="messages[2]")
    assert progress.describe("0") == {"stage": "live", "step": 2, "change": "find"}


def test_a_tape_without_recordings_is_forked_if_another_one_of_the_test_has_replayed(tmp_path: Path) -> None:
    Application(tmp_path / "a.json").run([("a", False)], 0, "new")
    fork = ForkProgress()
    tapes = [make_tape(tmp_path / name, "new", take="0", fork=fork) for name in ("a.json", "b.json")]
    assert call(tapes[0], "a ", "other") == "answer 0"
    assert call(tapes[1], "b", "live") == "live"
    assert fork.stage("0") == "live"
    alone = ForkProgress()
    tapes.append(make_tape(tmp_path / "c.json", "new", take="0", fork=alone))
    assert call(tapes[2], "b", "live") == "live"
    assert alone.stage("0") == "new"
    for tape in tapes:
        tape.close(passed=False)
