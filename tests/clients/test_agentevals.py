"""`assert_trajectory` gives the verdicts of the package agentevals in its four match modes; where it does not, that is listed here.

Mapping: strict is ``order="turns"``, unordered ``order="any"``, subset ``order="any", missing="allow"`` and superset
``order="any", extra="allow"``; the reference is a list of messages, and ``tool_args_match_mode`` is ``arguments``.
"""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

import pytest
from support.matrix import PYTHON, environment

from pytest_llmops import assert_trajectory, collect
from pytest_llmops.errors import UsageError

SCRIPT = """
import json, sys
from agentevals.trajectory.match import create_trajectory_match_evaluator
verdicts = []
for mode, arguments, made, reference in json.load(sys.stdin):
    evaluate = create_trajectory_match_evaluator(trajectory_match_mode=mode, tool_args_match_mode=arguments)
    try:
        verdicts.append(evaluate(outputs=made, reference_outputs=reference)["score"])
    except Exception as error:
        verdicts.append(type(error).__name__)
print("verdicts", json.dumps(verdicts))
"""
MODES: dict[str, dict[str, Any]] = {
    "strict": {"order": "turns"},
    "unordered": {"order": "any"},
    "subset": {"order": "any", "missing": "allow"},
    "superset": {"order": "any", "extra": "allow"},
}
Messages = list[dict[str, Any]]


def turn(*calls: tuple[str, Any]) -> Messages:
    """A message with calls, and their results; arguments that are a text stand as they are."""
    entries = []
    results: Messages = []
    for number, (name, arguments) in enumerate(calls):
        text = arguments if isinstance(arguments, str) else json.dumps(arguments)
        entries.append(
            {"id": f"c{number}", "type": "function", "function": {"name": name, "arguments": text}}
        )
        results.append({"role": "tool", "tool_call_id": f"c{number}", "content": f"result {number}"})
    return [{"role": "assistant", "content": "", "tool_calls": entries}, *results]


def chat(*turns: Messages, answer: str = "Done.") -> Messages:
    messages: Messages = [{"role": "user", "content": "Where are my orders?"}]
    for messages_of_turn in turns:
        messages += messages_of_turn
    return [*messages, {"role": "assistant", "content": answer}]


A, B, C = ("find", {"q": "a"}), ("find", {"q": "b"}), ("send", {"to": "a", "n": 1})
# name -> trajectory, reference
PAIRS: dict[str, tuple[Messages, Messages]] = {
    "equal": (chat(turn(A), turn(C)), chat(turn(A), turn(C))),
    "text differs": (chat(turn(A), answer="Here they are."), chat(turn(A))),
    "parallel swapped": (chat(turn(B, A)), chat(turn(A, B))),
    "sequential swapped": (chat(turn(C), turn(A)), chat(turn(A), turn(C))),
    "one after the other": (chat(turn(A), turn(B)), chat(turn(B, A))),
    "together": (chat(turn(A, B)), chat(turn(A), turn(B))),
    "one more": (chat(turn(A), turn(C)), chat(turn(A))),
    "twice": (chat(turn(A), turn(A)), chat(turn(A))),
    "one more in a turn": (chat(turn(A, B)), chat(turn(A))),
    "one less": (chat(turn(A)), chat(turn(A), turn(C))),
    "none": (chat(), chat(turn(A))),
    "none expected": (chat(turn(A)), chat()),
    "none at all": (chat(), chat()),
    "another tool": (chat(turn(A)), chat(turn(("look", {"q": "a"})))),
    "argument differs": (chat(turn(A)), chat(turn(B))),
    "argument more": (chat(turn(("find", {"q": "a", "n": 3}))), chat(turn(A))),
    "argument less": (chat(turn(("find", {}))), chat(turn(A))),
    "nested argument": (chat(turn(("find", {"q": {"a": [1]}}))), chat(turn(("find", {"q": {"a": [2]}})))),
    "order of keys": (chat(turn(("find", {"n": 1, "q": "a"}))), chat(turn(("find", {"q": "a", "n": 1})))),
    "float": (chat(turn(("find", {"n": 1.0}))), chat(turn(("find", {"n": 1})))),
}
TEXT = (chat(turn(A))[:-1], chat(turn(A)))
BOOLEAN = (chat(turn(("find", {"n": True}))), chat(turn(("find", {"n": 1}))))
INVALID = chat(turn(("find", "{broken")))
# The first call accepts both of the reference, so whoever pairs it first with the wrong one has none left for the second.
GREEDY = (
    chat(turn(("find", {"x": 2, "y": 1}), ("find", {"x": 2}))),
    chat(turn(("find", {"x": 2}), ("find", {"x": 2, "y": 1}))),
)


# Mode, arguments and pair whose verdicts are the same
SAME = [(mode, arguments, name) for mode in MODES for arguments in ("exact", "ignore") for name in PAIRS]
# In its other modes agentevals compares arguments both ways, or the other way round: see below.
SAME += [
    (mode, arguments, name)
    for mode in ("strict", "superset")
    for arguments in ("subset", "superset")
    for name in PAIRS
]
ARGUMENT_MORE, ARGUMENT_LESS = PAIRS["argument more"], PAIRS["argument less"]
# (name, mode, arguments) -> trajectory and reference, verdict of agentevals, verdict of `assert_trajectory`
DIFFERENCES: dict[tuple[str, str, Any], tuple[tuple[Messages, Messages], Any, bool]] = {
    # Messages without calls count in its strict mode.
    ("no last text", "strict", "exact"): (TEXT, False, True),
    # True is 1 in Python; to a tool it is not.
    ("boolean", "strict", "exact"): (BOOLEAN, True, False),
    ("boolean", "unordered", "exact"): (BOOLEAN, True, False),
    # It gives the first fitting call away, even if another call needs it.
    ("greedy", "superset", "superset"): (GREEDY, False, True),
    ("greedy", "strict", "superset"): (GREEDY, False, True),
    # In its mode subset the trajectory and the reference change places, also for arguments=.
    ("subset", "subset", "superset"): (ARGUMENT_MORE, False, True),
    ("subset", "subset", "subset"): (ARGUMENT_LESS, False, True),
    # In its mode unordered arguments= must hold both ways.
    ("both ways", "unordered", "superset"): (ARGUMENT_MORE, False, True),
    ("both ways", "unordered", "subset"): (ARGUMENT_LESS, False, True),
    # Arguments that are not JSON raise there; here the call is not the expected one.
    ("invalid", "unordered", "exact"): ((INVALID, chat(turn(A))), "JSONDecodeError", False),
}


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Any], list[Any]]:
    """The verdicts of the real package on `SAME` and on `DIFFERENCES`, by one process."""
    rows = [(mode, arguments, *PAIRS[name]) for mode, arguments, name in SAME]
    rows += [(mode, arguments, *pair) for (_, mode, arguments), (pair, _, _) in DIFFERENCES.items()]
    reason = f"agentevals is not in {PYTHON.parent.parent}"
    done = None
    if PYTHON.exists():
        done = subprocess.run(
            [str(PYTHON), "-c", SCRIPT],
            input=json.dumps(rows),
            env=environment(tmp_path_factory.mktemp("agentevals")),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    if done is None or "No module named 'agentevals'" in done.stderr:
        if os.environ.get("LLMOPS_REQUIRE_CLIENTS"):
            pytest.fail(reason)
        pytest.skip(reason)
    assert not done.returncode, done.stderr[-2000:]
    all_verdicts: list[Any] = json.loads(done.stdout.rpartition("verdicts ")[2])
    return all_verdicts[: len(SAME)], all_verdicts[len(SAME) :]


def our_verdict(mode: str, arguments: Any, pair: tuple[Messages, Messages]) -> bool:
    made, reference = pair
    with collect() as measurements:
        assert_trajectory(made, reference, arguments=arguments, **MODES[mode])
    return measurements[0].value == 1


def test_the_verdicts_are_those_of_agentevals(verdicts: tuple[list[Any], list[Any]]) -> None:
    theirs = verdicts[0]
    ours = [our_verdict(mode, arguments, PAIRS[name]) for mode, arguments, name in SAME]
    differing = [
        (*row, pair)
        for row, pair in zip(SAME, zip(theirs, ours, strict=True), strict=True)
        if pair[0] != pair[1]
    ]
    assert not differing
    assert True in theirs
    assert False in theirs


def test_the_differences_to_agentevals(verdicts: tuple[list[Any], list[Any]]) -> None:
    results = {}
    for (key, (pair, _, _)), verdict in zip(DIFFERENCES.items(), verdicts[1], strict=True):
        _, mode, arguments = key
        results[key] = (pair, verdict, our_verdict(mode, arguments, pair))
    assert results == DIFFERENCES


def test_a_reference_with_arguments_that_are_not_json_is_an_error() -> None:
    with pytest.raises(UsageError, match="the reference calls find with arguments that cannot be compared"):
        assert_trajectory(chat(turn(A)), INVALID)
