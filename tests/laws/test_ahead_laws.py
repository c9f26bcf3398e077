"""Silent runs: whatever tests call, and in whatever order answers come, each call is made once and gets its own answer."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.silent import Ask, SilentWorld, make_item
from support.strategies import any_text, json_values, scale_examples

from pytest_llmops.harness.ahead import child
from pytest_llmops.harness.ahead.answers import Place
from pytest_llmops.harness.ahead.link import read_message, write_message

# Each step of a test: what it asks, and whether its request has the answer before it
STEPS = st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=4)
SUITES = st.lists(STEPS, min_size=1, max_size=4)


def follow(steps: Sequence[tuple[str, bool]], ask: Ask) -> list[str]:
    """Run a test: its calls, each with its answer."""
    calls = [""]
    for text, uses_last in steps:
        calls.append(ask(f"{text} after {calls[-1]}" if uses_last else text))
    return calls


def echo(text: str) -> str:
    return f"echo of {text}"


def make_world(folder: str, suite: Sequence[Any], **more: Any) -> SilentWorld:
    items = [make_item(f"test_{index}", partial(follow, steps)) for index, steps in enumerate(suite)]
    return SilentWorld(Path(folder), *items, **more)


@pytest.mark.slow
@given(SUITES, st.randoms(use_true_random=False), st.booleans())
@scale_examples(0.5)
def test_each_call_is_sent_once_and_every_test_gets_its_own_answers(
    suite: list[Any], chance: Any, confirms: bool
) -> None:
    def choose(places: list[Place]) -> list[Place]:
        """Some of the waiting requests, in any order."""
        if not places:
            return []
        return list(chance.sample(places, chance.randint(1, len(places))))

    with tempfile.TemporaryDirectory() as folder:
        world = make_world(folder, suite, confirms=confirms, choose=choose)
        world.phase.run()
        assert world.in_line() == {}
        expected = {f"test_{index}": follow(steps, echo) for index, steps in enumerate(suite)}
        assert world.report() == expected
    assert world.live == []
    assert world.state.store.answers == {}
    assert Counter(world.sender.sent) == Counter(
        call.removeprefix("echo of ") for calls in expected.values() for call in calls[1:]
    )


@pytest.mark.slow
@given(SUITES, st.data())
@scale_examples(0.5)
def test_a_test_without_an_answer_makes_its_calls_itself_and_no_other_does(
    suite: list[Any], data: st.DataObject
) -> None:
    bad = data.draw(st.sampled_from("abc"))
    with tempfile.TemporaryDirectory() as folder:
        world = make_world(folder, suite)
        world.sender.problems = {bad: "status 401"}
        world.phase.run()
        touched = {f"test_{index}" for index, steps in enumerate(suite) if bad in follow(steps, str)}
        assert world.in_line() == dict.fromkeys(touched, "status 401")
        assert world.report() == {f"test_{index}": follow(steps, echo) for index, steps in enumerate(suite)}
    assert {name.partition("::")[2] for name in world.state.not_ahead} == touched


@pytest.mark.slow
@given(any_text, json_values, st.integers(0, 200))
def test_messages_are_read_as_they_were_written_and_never_half(kind: str, value: object, cut: int) -> None:
    line = write_message(kind, value)
    assert read_message(line) == (kind, json.loads(json.dumps(value)))
    assert line.count(b"\n") == 1
    assert read_message(line[: min(cut, len(line) - 1)]) is None


@given(st.binary(max_size=40))
def test_any_bytes_are_a_message_or_none(line: bytes) -> None:
    message = read_message(line)
    assert message is None or isinstance(message[0], str)


@given(st.lists(st.sampled_from(["a", "--", "-v"]), max_size=6), st.lists(st.just("-x"), max_size=2))
def test_added_options_are_options_and_the_arguments_stay_in_order(
    arguments: list[str], options: list[str]
) -> None:
    added = child.add_options(arguments, options)
    assert [argument for argument in added if argument != "-x"] == arguments
    before, _, after = " ".join(added).partition("--")
    assert before.count("-x") == len(options)
    assert "-x" not in after
