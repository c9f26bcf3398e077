"""What agents did, in the reports: read from run files, compared with the baseline, and shown without any effect of its own."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.agent_runs import (
    ASKED,
    CAREFUL,
    HASTY,
    NODEID,
    build_agent_record,
    build_hostile_trajectory,
    build_step,
    compare_runs,
    measure_calls,
)
from support.page import read_data, read_texts

from pytest_llmops.agents.trajectory import MAX_STORED_CALLS, Trajectory, make_tool_use
from pytest_llmops.baselines import stored_answers
from pytest_llmops.baselines.stored_answers import StoredAnswers
from pytest_llmops.measurement import INVISIBLE, Json, Measurement
from pytest_llmops.protocols import Call
from pytest_llmops.reports.changed_cases import find_answer, list_cases
from pytest_llmops.reports.html import render_html
from pytest_llmops.reports.markdown import render_markdown
from pytest_llmops.reports.terminal import Surroundings, build_section
from pytest_llmops.results.call_sequences import (
    MAX_CALLS,
    MAX_VALUE,
    CallSequence,
    KeptCall,
    StepChange,
    compare_sequences,
    count_sequences,
    read_sequences,
    select_changes,
    shorten_trajectories,
)
from pytest_llmops.results.details import as_mapping
from pytest_llmops.results.run import Run, TestRecord
from pytest_llmops.results.trajectories import (
    MAX_DEPTH,
    MAX_STEPS,
    copy_same_trajectories,
    find_trajectories,
    read_trajectory,
)

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["steps", "calls", "name", "arguments", "result", "started", "problems", "trials"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@pytest.mark.slow
@given(ANY_JSON)
def test_fields_of_any_type_are_read(wire: object) -> None:
    read_trajectory(wire)
    read_trajectory({"steps": wire})
    read_trajectory({"steps": [{"calls": wire}]})
    for sequence in read_sequences(wire):
        assert sequence.trials >= 1
    read_sequences([{"calls": wire}])


def test_a_trajectory_is_read_as_it_was_written() -> None:
    stored = read_trajectory(HASTY.to_wire())
    assert stored is not None
    assert stored.agent == "support"
    assert [step.role for step in stored.steps] == ["user", "assistant", "assistant", "assistant"]
    assert (stored.steps[1].tokens, stored.steps[1].cost_usd, stored.steps[1].latency_s) == (90, 0.0002, 0.8)
    refund = stored.steps[2].calls[0]
    assert (refund.name, refund.result, refund.is_error) == ("refund", "limit exceeded", True)


def test_size_and_depth_of_a_stored_trajectory_are_bounded() -> None:
    many = read_trajectory({"steps": [{"role": "assistant"}] * (MAX_STEPS + 7), "steps_cut": 3})
    assert many is not None
    assert (len(many.steps), many.steps_cut) == (MAX_STEPS, 10)
    wide = read_trajectory({"steps": [{"calls": [{"name": "log"}] * (MAX_STORED_CALLS + 5), "calls_cut": 2}]})
    assert wide is not None
    assert (len(wide.steps[0].calls), wide.steps[0].calls_cut) == (MAX_STORED_CALLS, 7)
    wire: dict[str, object] = {"steps": [{"calls": [{"name": "last"}]}]}
    for _ in range(MAX_DEPTH + 50):
        wire = {"steps": [{"calls": [{"name": "start", "started": wire}]}]}
    deep = read_trajectory(wire)
    assert deep is not None
    assert len(list(deep.walk_calls())) == MAX_DEPTH + 1


@pytest.mark.slow
def test_many_calls_in_a_message_are_cut_and_counted() -> None:
    uses = [make_tool_use("log", {"n": number}) for number in range(5_000)]
    started = Trajectory(steps=(build_step("assistant", "", make_tool_use("last", None)),))
    uses[0] = replace(uses[0], started=started)
    trajectory = Trajectory(
        steps=(ASKED, build_step("assistant", "", *uses), build_step("assistant", "Done."))
    )
    run = Run(records=(build_agent_record(trajectory),))
    (view,) = read_data(render_html(run))["cases"][0]["trajectories"]
    calls = view["steps"][1]["calls"]
    assert (len(calls), view["steps"][1]["cut"], view["cut"]) == (MAX_STORED_CALLS, 4_000, 1)
    assert calls[-1]["number"] == MAX_STORED_CALLS
    assert calls[0]["started"]["cut"] == 1


def test_a_trajectory_of_several_measurements_is_found_once() -> None:
    foreign = Measurement(name="other", value=1.0, detail={"trajectory": "none", "unexpected": ["x"]})
    (shown,) = find_trajectories([foreign, *measure_calls(HASTY, 0.0)])
    assert shown.measurements == ("tools.calls", "trajectory.steps")
    assert shown.unexpected == frozenset({1})


def test_a_run_file_has_a_trajectory_of_several_measurements_once() -> None:
    record = build_agent_record(HASTY, 0.0)
    careful = replace(measure_calls(CAREFUL)[0], label="second")
    record = replace(record, measurements=(*record.measurements, careful, careful))
    run = Run(records=(record,))
    text = run.to_json()
    assert text.count("limit exceeded") == text.count("I refunded 20 euros.") == 1
    assert Run.from_json(text) == run


@pytest.mark.parametrize("place", [1, 2, 99, -1, True, None, "0", 10**30, [0]])
def test_a_reference_that_leads_nowhere_stays(place: object) -> None:
    wires: list[dict[str, Json]] = [
        {"name": "m", "detail": {"trajectory": {"same_as": place}}},  # type: ignore[dict-item]
        {"name": "m", "detail": 3},
    ]
    assert copy_same_trajectories(wires) == wires
    (shown, *_) = (read_trajectory(as_mapping(wire["detail"]).get("trajectory")) for wire in wires)
    assert shown is None


def test_calls_are_numbered_as_in_failure_texts() -> None:
    inner = Trajectory(steps=(build_step("assistant", "", make_tool_use("inner", None)),))
    outer = build_step(
        "assistant", "", make_tool_use("start", None, started=inner), make_tool_use("next", None)
    )
    trajectory = Trajectory(steps=(outer,))
    stored = read_trajectory(trajectory.to_wire())
    assert stored is not None
    names = [call.name for call in trajectory.tool_calls]
    assert [call.name for call in stored.walk_calls()] == names == ["start", "next", "inner"]
    run = Run(records=(build_agent_record(trajectory),))
    (view,) = read_data(render_html(run))["cases"][0]["trajectories"]
    start, following = view["steps"][0]["calls"]
    assert (start["number"], following["number"]) == (1, 2)
    assert start["started"]["steps"][0]["calls"][0]["number"] == 3


@pytest.mark.slow
def test_the_calls_of_200_agents_below_each_other_keep_their_numbers() -> None:
    innermost = build_step("assistant", "", make_tool_use("last", None))
    trajectory = Trajectory(steps=(innermost,), problems=("of the innermost",))
    for number in range(200):
        start = make_tool_use(f"start_{number}", None, started=trajectory)
        trajectory = Trajectory(steps=(build_step("assistant", "", start, make_tool_use("log", None)),))
    record = build_agent_record(trajectory)
    stored = read_trajectory(TestRecord.from_wire(record.to_wire()).measurements[0].detail["trajectory"])
    assert stored is not None
    names = [call.name for call in trajectory.tool_calls]
    assert [call.name for call in stored.walk_calls()] == names
    page = render_html(Run(records=(record,)))
    assert len(page) < 500_000
    assert "of the innermost" in json.dumps(read_data(page))


def shorten(*calls: tuple[str, object]) -> CallSequence:
    """Return the short form of an agent's calls."""
    steps = [build_step("assistant", "", make_tool_use(name, arguments)) for name, arguments in calls]
    sequence = shorten_trajectories(measure_calls(Trajectory(steps=tuple(steps))))
    assert sequence is not None
    return sequence


def test_order_of_names_and_form_of_numbers_are_no_difference() -> None:
    before = shorten(("refund", {"amount": 20, "order": {"id": 1, "kind": "x"}}))
    now = shorten(("refund", {"order": {"kind": "x", "id": 1.0}, "amount": 20.0}))
    assert compare_sequences(before, now) == []


@pytest.mark.parametrize(
    ("before", "now", "line"),
    [
        (("refund", {"amount": 20}), ("refund", {"amount": 200}), "~ step 1 refund amount: 20 -> 200"),
        (("find", {"q": "a"}), ("find", {}), "~ step 1 find q: 'a' -> not given"),
        (("find", {}), ("find", '["a"'), '~ step 1 find arguments: not given -> ["a"'),
        (("find", {"q": True}), ("find", {"q": 1}), "~ step 1 find q: True -> 1"),
    ],
)  # fmt: skip
def test_changed_arguments_are_named(before: tuple[str, object], now: tuple[str, object], line: str) -> None:
    assert [str(change) for change in compare_sequences(shorten(before), shorten(now))] == [line]


@pytest.mark.slow
def test_long_values_differ_by_their_hash_and_stay_short() -> None:
    before, now = shorten(("write", {"text": "x" * 1_500})), shorten(("write", {"text": "x" * 1_499 + "y"}))
    (change,) = compare_sequences(before, now)
    assert change.kind == "changed"
    assert len(str(change)) < 3 * MAX_VALUE
    wide = {f"argument_{number:02}": number for number in range(30)}
    (change,) = compare_sequences(shorten(("write", wide)), shorten(("write", {**wide, "argument_29": 0})))
    assert str(change).startswith("~ step 1 write …: #")
    # Also if the run stores neither of the messages that differ.
    (more,) = compare_sequences(*(shorten(*[("search", {"q": 1})] * steps) for steps in (310, 390)))
    assert str(more) == "~ step 201 and further calls: 110 -> 190"
    many = [("search", {"q": number}) for number in range(250)]
    assert len(shorten(*many).calls) == MAX_CALLS
    (more,) = compare_sequences(shorten(*many[:210]), shorten(*many))
    assert str(more) == "~ step 201 and further calls: 10 -> 50"
    assert CallSequence.from_wire(shorten(*many).to_wire()) == shorten(*many)
    # Trials that differ behind the calls that are kept are not the same.
    trials = count_sequences([shorten(*many[:210]), shorten(*many), shorten(*many)])
    assert [(sequence.trials, sequence.more) for sequence in trials] == [(1, 10), (2, 50)]


def test_another_result_is_shown_where_there_is_room() -> None:
    before = CallSequence((KeptCall("find", result="a"), KeptCall("stop")))
    now = CallSequence((KeptCall("find", result="b"),))
    changes = compare_sequences(before, now)
    assert list(map(str, changes)) == ["~ step 1 find result: a -> b", "- step 2 stop()"]
    assert select_changes(changes, 1) == ([StepChange("dropped", 2, "stop()")], 1)
    assert select_changes(changes[:1], 1) == (changes[:1], 0)


def test_the_calls_of_a_baseline_are_stored_and_files_without_them_are_read(tmp_path: Path) -> None:
    path = tmp_path / "outputs.json.gz"
    answers = StoredAnswers(outputs={"t": "Done."}, calls={"t": (shorten(("refund", {"amount": 20})),)})
    path.write_bytes(stored_answers.encode_answers(answers, "2026-11-02"))
    assert stored_answers.read_answers(path, "2026-11-02") == answers
    without = replace(answers, calls={})
    path.write_bytes(stored_answers.encode_answers(without, "2026-11-02"))
    assert stored_answers.read_answers(path, "2026-11-02") == without


def refund_run() -> Run:
    """Return a run in which the agent no longer looks the order up."""
    return compare_runs([build_agent_record(CAREFUL)], [build_agent_record(HASTY, 0.0)])


def test_a_run_file_keeps_the_difference() -> None:
    run = Run.from_json(refund_run().to_json())
    (case,) = list_cases(run)
    assert list(map(str, case.steps)) == [
        "- step 1 get_order(order_id='B-77')",
        "+ step 1 search(q='refund')",
        "~ step 2 refund amount: 20 -> 200",
    ]


def test_a_changed_case_shows_the_steps_beside_its_answers() -> None:
    before = build_agent_record(CAREFUL)
    hasty = replace(build_agent_record(HASTY, 0.5), outcome="passed")
    run = compare_runs([before], [hasty])
    (case,) = list_cases(run)
    assert case.kind == "worse"
    lines = [line.text for line in build_section(run, Surroundings(), width=60).lines]
    assert "  steps   - step 1 get_order(order_id='B-77')" in lines
    assert "<br>`+ step 1 search(q='refund')`<br>" in render_markdown(run)


def test_steps_in_a_terminal_are_few_and_of_one_line() -> None:
    many = Trajectory(
        steps=(
            ASKED,
            *(
                build_step("assistant", "", make_tool_use("search", {"q": "x" * 90, "n": n}))
                for n in range(40)
            ),
        )
    )
    run = compare_runs([build_agent_record(CAREFUL)], [build_agent_record(many, 0.0)])
    lines = [line.text for line in build_section(run, Surroundings(lists_failures=True), width=60).lines]
    place = next(place for place, line in enumerate(lines) if line.startswith("  steps"))
    assert all(len(line) < 60 for line in lines)
    assert lines[place + 3] == "          and 39 more steps"


def test_problems_that_are_left_out_are_counted() -> None:
    problems = tuple(f"problem {number}" for number in range(1_000))
    record = build_agent_record(Trajectory(steps=(ASKED,), problems=problems, notes=("odd",)))
    assert len(json.dumps(record.to_wire())) < 5_000
    (view,) = read_data(render_html(Run(records=(record,))))["cases"][0]["trajectories"]
    assert view["problems"][-2:] == ["problem 19", "and 981 more"]


def test_hostile_texts_have_no_effect_in_any_report() -> None:
    run = compare_runs([build_agent_record(CAREFUL)], [build_agent_record(build_hostile_trajectory(), 0.0)])
    page = render_html(run)
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
    data = read_data(page)
    (trajectory,) = data["cases"][0]["trajectories"]
    assert trajectory["steps"][0]["calls"][0]["name"].startswith(
        "<script>"
    )  # data: the page's script sets it as text
    assert not re.search(INVISIBLE, read_texts(page).replace("\n", ""))
    printed = "\n".join(line.text for line in build_section(run, Surroundings(), width=0).lines)
    assert "\x1b" not in printed
    assert "\u202e" not in printed
    assert "##[group]" not in printed
    markdown = render_markdown(run)
    steps = next(line for line in markdown.splitlines() if "Steps since the baseline" in line)
    assert "\x1b" not in steps
    assert "`` |" in steps  # a code span that the backticks of the text cannot end
    json.loads(run.to_json())


def test_three_hundred_steps_are_on_the_page_and_further_ones_are_counted() -> None:
    steps = [build_step("assistant", f"{n}", make_tool_use("search", {"q": n})) for n in range(310)]
    page = render_html(Run(records=(build_agent_record(Trajectory(steps=tuple(steps))),)))
    (trajectory,) = read_data(page)["cases"][0]["trajectories"]
    assert (len(trajectory["steps"]), trajectory["cut"]) == (300, 10)
    assert len(page) < 500_000
    assert NODEID.partition("[")[0] in read_texts(page)


def test_what_all_agents_were_told_is_not_why_one_exceeds_a_limit() -> None:
    def fail(evidence: list[Json]) -> TestRecord:
        steps = Measurement(
            name="trajectory.steps",
            value=3,
            unit="count",
            better="lower",
            threshold=2,
            detail={"evidence": evidence},
        )
        return TestRecord(
            nodeid=NODEID, outcome="failed", measurements=(steps,), message=f"{steps.name} 3 > 2"
        )

    told: list[Json] = [
        ["note", "it counts turns"],
        ["  system", "Help."],
        ["1 assistant", "get_order() -> sent"],
    ]
    (case,) = list_cases(Run(records=(fail(told),)))
    assert (case.why, [score.words for score in case.scores]) == ("", ["trajectory.steps 3, needs ≤ 2"])
    (case,) = list_cases(Run(records=(fail([["loop", "get_order() 3 times"], *told]),)))
    assert case.why == "loop: get_order() 3 times"


def test_the_last_message_of_an_agent_is_the_output_where_no_call_is_recorded() -> None:
    def read(*steps: Json, calls: tuple[Call, ...] = (), **more: Json) -> str | None:
        wire: Json = {"steps": [{"role": "user", "text": "Refund it."}, *steps], **more}
        measurement = Measurement(name="tools.calls", value=1.0, detail={"trajectory": wire})
        record = TestRecord(nodeid="a.py::t", calls=calls, measurements=(measurement,))
        output = stored_answers.read_output(record)
        assert find_answer(record) == output
        return output

    search: Json = {"role": "assistant", "calls": [{"name": "search"}]}
    done: Json = {"role": "assistant", "text": "Done."}
    assert read(search, done) == "Done."
    assert read(done, search) is None  # it ended with a call, not with an answer
    assert read() is None
    assert read(done, steps_cut=2) is None
    assert read(done, calls=(Call(output="Recorded."),)) == "Recorded."
