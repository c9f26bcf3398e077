"""The end of a run in the controller: its verdicts, its exit status, the baseline, the next look, and what is told of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.messages import check_message
from support.reports import NODEID, Config, Terminal, gate_of, make_gate, make_report

from pytest_llmops._util.option_modes import LOOKS
from pytest_llmops.baselines import conclusion
from pytest_llmops.baselines.baseline import Acceptance, Baseline, summarize_test
from pytest_llmops.baselines.conclusion import Reference
from pytest_llmops.errors import AcceptRefused
from pytest_llmops.harness import acceptance, baseline_gate
from pytest_llmops.harness import controller as harness_controller
from pytest_llmops.harness.acceptance import AcceptedRun
from pytest_llmops.harness.baseline_gate import BaselineGate
from pytest_llmops.harness.controller import Controller, write_junit_cases
from pytest_llmops.measurement import Measurement
from pytest_llmops.protocols import Call
from pytest_llmops.results.run import Run, TestRecord
from pytest_llmops.results.verdict import Verdict
from pytest_llmops.settings import Settings

MEASURED = {"measurements": [Measurement(name="m", value=1.0).to_wire()]}
AMBER = make_gate(status="AMBER", advice=("do this",), next_step="then", next_command="that")
RED = make_gate(status="RED")
GREEN = make_gate(status="GREEN")


@pytest.fixture(autouse=True)
def _no_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test depends on the machine's CI or git."""
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(baseline_gate, "run_git", lambda *_: "no git")


def session_of(status: int = 0, *, failed: int = 0, stop: object = False, fail: object = False) -> Any:
    return SimpleNamespace(testsfailed=failed, exitstatus=status, shouldstop=stop, shouldfail=fail)


def config_of(root: Path, *, plugins: Sequence[Any] = (), **named: Any) -> Any:
    config = Config(root)
    config.pluginmanager = SimpleNamespace(
        get_plugin=named.get, get_plugins=lambda: list(plugins), hasplugin=lambda _name: False
    )
    return config


def controller(config: Any, *payloads: dict[str, Any], **settings: Any) -> Controller:
    made = Controller(config, Settings(**settings))
    for number, payload in enumerate(payloads or [MEASURED]):
        nodeid = f"{NODEID}[{number}]" if number else NODEID
        made.add_report(make_report(nodeid=nodeid, llmops=payload))
    return made


def finish(made: Controller, session: Any = None) -> Any:
    ended = session or session_of()
    made.finish_run(ended, pytest.TestReport)
    return ended


class Gate:
    """Replaces the comparison with a baseline: each run gets the given verdicts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.verdicts: tuple[Verdict, ...] = ()
        self.reference: Reference | None = Reference(name="b")
        self.opened: list[BaselineGate] = []
        monkeypatch.setattr(conclusion, "conclude", self._conclude)
        monkeypatch.setattr(BaselineGate, "find_reference", self._find_reference)

    def _conclude(self, run: Run, _reference: object, *, is_strict: bool) -> Run:
        assert is_strict is False  # which verdict fails a strict run is decided later
        return replace(run, verdicts=self.verdicts)

    def _find_reference(self, *_: object) -> Reference | None:
        return self.reference


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Gate:
    (tmp_path / "llmops-baseline.json").touch()
    return Gate(monkeypatch)


# The exit status.


@pytest.mark.parametrize(
    ("status", "verdict", "after"), [(0, GREEN, 0), (0, RED, 1), (1, GREEN, 1), (2, GREEN, 2), (2, RED, 2)]
)
def test_the_verdict_decides_the_status_of_a_run_that_pytest_passed(
    tmp_path: Path, gate: Gate, status: int, verdict: Verdict, after: int
) -> None:
    gate.verdicts = (verdict,)
    made = controller(config_of(tmp_path))
    assert finish(made, session_of(status)).exitstatus == after
    assert made.run.verdicts == (verdict,)


@pytest.mark.parametrize(("strict", "after"), [(True, 1), (False, 0)])
def test_an_undecided_verdict_fails_a_strict_run_and_says_so(
    tmp_path: Path, gate: Gate, after: int, *, strict: bool
) -> None:
    gate.verdicts = (AMBER,)
    made = controller(config_of(tmp_path), strict=strict)
    assert finish(made).exitstatus == after
    assert (gate_of(made.run) == AMBER) is not strict


LINT = {"lint": [{"place": "t.py:1", "name": "assert_score", "answers": 1, "alterations": 3}]}


@pytest.mark.parametrize(
    ("settings", "facts", "after"),
    [
        ({"lint": True, "strict": True}, LINT, 1),
        ({"lint": True}, LINT, 0),
        ({"strict": True}, LINT, 0),
        ({"lint": True, "strict": True}, {}, 0),
    ],
)
def test_an_assertion_that_accepts_every_answer_fails_a_strict_lint(
    tmp_path: Path, settings: Any, facts: dict[str, Any], after: int
) -> None:
    made = controller(config_of(tmp_path), {**MEASURED, "facts": facts}, **settings)
    assert finish(made).exitstatus == after


# The next look.


def test_an_undecided_look_plans_the_next_and_fails_nothing(
    tmp_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    gate.verdicts = (Verdict(kind="robustness", advice=("kept",)), AMBER)
    made = controller(config_of(tmp_path), trials=LOOKS["auto"], strict=True, record="new")
    assert finish(made).exitstatus == 0
    assert made.next_look == "auto:5"
    assert made.run.verdicts[0].advice == ("kept",)
    verdict = gate_of(made.run)
    assert (verdict.status, verdict.advice, verdict.next_step, verdict.next_command) == ("AMBER", (), "", "")
    assert not (tmp_path / "summary.md").exists()  # only the last look writes it
    terminal = Terminal()
    made.print_section(terminal)
    assert not any(line.startswith("::") for line in terminal.lines)
    (line,) = [line for line in terminal.lines if line.startswith("trials ")]
    check_message(line)


@pytest.mark.parametrize(
    ("verdict", "session", "how"),
    [
        (RED, session_of(), {}),
        (replace(AMBER, chance_of_verdict=0.1), session_of(), {}),
        (AMBER, session_of(1, failed=1), {}),
        (AMBER, session_of(), {"record": "none"}),
        (AMBER, session_of(), {"trials": LOOKS["auto:5"]}),
    ],
)
def test_a_look_that_is_decided_or_cannot_go_on_is_the_last(
    tmp_path: Path, gate: Gate, verdict: Verdict, session: Any, how: dict[str, Any]
) -> None:
    gate.verdicts = (verdict,)
    settings = {"trials": LOOKS["auto"], "record": "new", **how}
    made = controller(config_of(tmp_path), {**MEASURED, "tapes": [use_of(takes=3)]}, **settings)
    finish(made, session)
    assert made.next_look == ""
    assert gate_of(made.run) == verdict


def use_of(**more: Any) -> dict[str, Any]:
    return {"path": "cassettes/a.json", "ran": True, "shared": False, "asked": {}, **more}


def test_a_look_without_a_verdict_is_the_last(tmp_path: Path, gate: Gate) -> None:
    made = controller(config_of(tmp_path), trials=LOOKS["auto"], record="new")
    assert finish(made).exitstatus == 0
    assert (made.next_look, bool(made._look)) == ("", True)
    assert gate.verdicts == ()


def test_a_run_with_a_number_of_trials_has_no_looks(tmp_path: Path, gate: Gate) -> None:
    gate.verdicts = (AMBER,)
    made = controller(config_of(tmp_path), trials=3, record="new")
    finish(made)
    assert (made.next_look, made._look) == ("", "")


# Accepting.


@pytest.fixture
def accept(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The arguments of each acceptance; its result, or its error, is put first."""
    calls: list[Any] = [AcceptedRun("1 test accepted")]

    def accept_run(*arguments: Any) -> AcceptedRun:
        calls.append(arguments)
        if isinstance(calls[0], Exception):
            raise calls[0]
        accepted: AcceptedRun = calls[0]
        return accepted

    monkeypatch.setattr(acceptance, "accept_run", accept_run)
    return calls


def test_an_accepted_run_is_failed_by_no_verdict(tmp_path: Path, gate: Gate, accept: list[Any]) -> None:
    gate.verdicts = (replace(RED, next_step="then", next_command="that"),)
    made = controller(config_of(tmp_path), accept="why", strict=True)
    assert finish(made).exitstatus == 0
    verdict = gate_of(made.run)
    assert (verdict.decides, verdict.next_step, verdict.next_command) == (False, "", "")
    ((_, records, environment, judged),) = accept[1:]
    assert ([record.nodeid for record in records], judged) == ([NODEID], gate.verdicts[0])
    assert {"python", "pytest-llmops"} <= set(environment)
    assert (made.run.meta["accepted"], made.run.meta["doubts"]) == (True, 0)


def test_a_doubt_of_an_acceptance_comes_before_all_other_notes(
    tmp_path: Path, gate: Gate, accept: list[Any]
) -> None:
    del gate
    accept[0] = AcceptedRun("accepted", doubt="all scores are 0")
    made = controller(config_of(tmp_path), accept="why")
    made.cassette_usage.crashed = 1
    finish(made)
    assert made.run.notes[0] == "all scores are 0"
    assert "worker" in made.run.notes[1]
    assert made.run.meta["doubts"] == 2


@pytest.mark.parametrize(("status", "after"), [(0, 1), (2, 2)])
def test_a_run_that_is_not_accepted_fails(
    tmp_path: Path, gate: Gate, accept: list[Any], status: int, after: int
) -> None:
    del gate
    accept[0] = AcceptRefused("not accepted")
    made = controller(config_of(tmp_path), accept="why")
    assert finish(made, session_of(status)).exitstatus == after
    assert made.run.meta["not_accepted"] is True
    assert "accepted" not in made.run.meta
    terminal = Terminal()
    made.print_section(terminal)
    assert any(line.startswith("baseline ") and "not accepted" in line for line in terminal.lines)


def test_a_run_that_is_not_to_be_accepted_is_not(tmp_path: Path, gate: Gate, accept: list[Any]) -> None:
    gate.verdicts = (GREEN,)
    finish(controller(config_of(tmp_path)))
    assert len(accept) == 1


def test_a_run_that_makes_the_first_baseline_needs_none(tmp_path: Path, accept: list[Any]) -> None:
    made = controller(config_of(tmp_path), accept="first")
    finish(made)
    ((_, _, _, judged),) = accept[1:]
    assert judged is None


# What the gate knows of the run.


@pytest.mark.parametrize(
    ("session", "because"),
    [
        (session_of(), []),
        (session_of(1, failed=1), []),
        (session_of(5), []),
        (session_of(2), ["2"]),
        (session_of(stop="stopping after 1 failures"), ["1"]),
        (session_of(2, fail="crashed 3"), ["3"]),
    ],
)
def test_the_gate_knows_why_a_run_ended_early(tmp_path: Path, session: Any, because: list[str]) -> None:
    opened = controller(config_of(tmp_path))._open_gate(session)
    digits = ["".join(filter(str.isdigit, reason)) for reason in opened.why_narrowed]
    assert digits == because
    assert opened.failed == session.testsfailed


def test_the_gate_knows_the_skipped_tests_by_their_plain_names(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    config.options["dist"] = "loadgroup"
    made = controller(config)
    made.cassette_usage.skipped_tests = {"t.py::a@gpu", "t.py::b"}
    made.cassette_usage.skipped = 1
    opened = made._open_gate(session_of())
    assert opened.skipped == {"t.py::a", "t.py::b"}
    assert (len(opened.why_narrowed), opened.again) == (1, None)
    config.options["dist"] = "load"
    assert "t.py::a@gpu" in made._open_gate(session_of()).skipped


@pytest.mark.parametrize(
    ("reference", "lost"),
    [
        (None, False),
        ({"problem": "broken"}, False),
        ({"is_partial": True}, False),
        ({"tests": ["gone.py::a", "kept.py::b"]}, False),
        ({"tests": ["gone.py::a"]}, True),
        ({"tests": []}, False),
    ],
)
def test_a_suite_is_lost_if_all_ran_and_no_file_of_the_baseline_exists(
    tmp_path: Path, gate: Gate, reference: dict[str, Any] | None, *, lost: bool
) -> None:
    (tmp_path / "kept.py").touch()
    gate.reference = None
    if reference is not None:
        fields = {"tests": ["gone.py::a"], **reference}
        baseline = baseline_of(*fields.pop("tests"))
        gate.reference = Reference(name="b", baseline=baseline, **fields)
    assert controller(config_of(tmp_path)).has_lost_suite(session_of()) is lost


def baseline_of(*nodeids: str) -> Baseline:
    tests = {nodeid: summarize_test(TestRecord(nodeid=nodeid)) for nodeid in nodeids}
    return Baseline(tests=tests, history=(Acceptance(on="2026-11-02T10:00:00+00:00"),))


def test_modules_that_could_not_be_loaded_are_listed_once_with_the_number_of_their_tests(
    tmp_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APP_PASSWORD", "hunter2hunter2")
    gate.reference = Reference(name="b", baseline=baseline_of("a.py::x", "a.py::y", "ab.py::z"))
    made = controller(config_of(tmp_path))
    made.collection_errors = [
        SimpleNamespace(nodeid=nodeid, longrepr="E   KeyError: hunter2hunter2")
        for nodeid in ("a.py", "a.py::A", "c.py")
    ]
    finish(made)
    errors: Any = made.run.meta["collection_errors"]
    assert [(error["module"], error["tests"]) for error in errors] == [("a.py", 2), ("c.py", 0)]
    assert "hunter2" not in str(errors)
    gate.reference = None
    finish(made)
    errors = made.run.meta["collection_errors"]
    assert [error["tests"] for error in errors] == [0, 0]


def test_broken_cases_are_kept_for_another_session_unless_this_is_one(
    tmp_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = []
    monkeypatch.setattr(
        harness_controller, "keep_broken_cases", lambda *_, is_partial: kept.append(is_partial)
    )
    for partial in (True, False):
        gate.reference = Reference(name="b", is_partial=partial)
        finish(controller(config_of(tmp_path)))
    assert kept == [True, False]
    earlier: Any = object()
    gate.reference = Reference(name="b", again=earlier)
    finish(controller(config_of(tmp_path)))
    gate.reference = None
    finish(controller(config_of(tmp_path)))
    assert kept == [True, False]


@pytest.mark.parametrize("fact", ["compare", "robust", "guardrail", "sentinel"])
def test_a_test_with_a_comparison_of_its_own_is_judged_without_a_baseline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fact: str
) -> None:
    gate = Gate(monkeypatch)
    gate.verdicts = (Verdict(kind="comparison"),)
    made = controller(config_of(tmp_path), {**MEASURED, "facts": {fact: {"a": 1}}})
    finish(made)
    assert made.run.verdicts == gate.verdicts
    other = controller(config_of(tmp_path), {**MEASURED, "facts": {"case": {"id": "a"}}})
    finish(other)
    assert other.run.verdicts == ()


# What is told of the run.


def notes_of(config: Any, *payloads: dict[str, Any], **settings: Any) -> list[str]:
    made = controller(config, *payloads, **settings)
    finish(made)
    return list(made.run.notes)


def test_tests_that_ran_once_are_noted_if_the_option_repeats_all_tests(tmp_path: Path) -> None:
    (note,) = notes_of(config_of(tmp_path), trials=3)
    check_message(note)
    assert notes_of(config_of(tmp_path), trials=3, fork=True) == []
    assert not any("--llm-trials" in note for note in notes_of(config_of(tmp_path), trials=3, changed=True))


def test_what_changed_is_noted_only_with_the_option_that_asks_for_it(tmp_path: Path) -> None:
    call = {"calls": [Call(model="m", replayed=True).to_wire()], **MEASURED}
    notes = notes_of(config_of(tmp_path), call, changed=True)
    check_message(notes)
    assert notes_of(config_of(tmp_path), call) == []


def test_tests_without_a_score_are_noted_if_the_run_is_accepted(tmp_path: Path, accept: list[Any]) -> None:
    del accept
    call = {"calls": [Call(model="m", output="a", replayed=True).to_wire()]}
    check_message(notes_of(config_of(tmp_path), MEASURED, call, accept="why"))
    assert notes_of(config_of(tmp_path), MEASURED, call) == []


def test_calls_that_could_overlap_are_noted_unless_they_do(tmp_path: Path) -> None:
    live = {"calls": [Call(model="m", latency_s=70.0).to_wire()]}
    check_message(notes_of(config_of(tmp_path), live, live))
    assert notes_of(config_of(tmp_path), live, live, record="new", concurrency=4) == []


def test_doubts_are_counted_and_come_first(tmp_path: Path) -> None:
    made = controller(config_of(tmp_path), trials=3)
    made.cassette_usage.crashed = 2
    finish(made)
    assert made.run.meta["doubts"] == 1
    check_message(made.run.notes)


def test_the_notes_of_feedback_need_all_tests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness_controller, "iter_feedback_notes", lambda _root, _records: ["feedback"])
    assert notes_of(config_of(tmp_path)) == ["feedback"]
    config = config_of(tmp_path)
    config.option.keyword = "x"
    assert notes_of(config) == []


@pytest.mark.parametrize(
    ("report", "actions", "known"), [(("r.json",), "", True), ((), "true", True), ((), "", False)]
)
def test_the_commit_is_looked_up_for_reports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, report: tuple[str, ...], actions: str, *, known: bool
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", actions)
    checkout = ["1234", "shop/"]
    monkeypatch.setattr(harness_controller, "read_checkout", lambda _root: tuple(checkout))
    made = controller(config_of(tmp_path), report=report)
    finish(made)
    found = {name: made.run.meta.get(name) for name in ("commit", "root")}
    assert found == ({"commit": "1234", "root": "shop/"} if known else {"commit": None, "root": None})
    checkout[1] = ""
    finish(made)
    assert "root" not in made.run.meta


def test_tests_of_others_are_counted(tmp_path: Path) -> None:
    stats = {
        "passed": [make_report(), make_report(nodeid="other")],
        "failed": [make_report("failed", nodeid="bad")],
    }
    made = controller(config_of(tmp_path, terminalreporter=SimpleNamespace(stats=stats)))
    finish(made)
    assert made.run.meta["other_tests"] == {"passed": 1, "failed": 1}
    assert made.run.meta["other_failures"] == ["bad"]


@pytest.mark.parametrize(("mode", "is_written"), [("auto", True), ("off", False)])
def test_the_summary_of_the_job_is_written_in_github_actions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: Any, *, is_written: bool
) -> None:
    summary = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    made = controller(config_of(tmp_path), github=mode)
    finish(made)
    assert summary.exists() is is_written
    empty = Controller(config_of(tmp_path), Settings())
    before = summary.read_text() if is_written else ""
    finish(empty)
    assert (summary.read_text() if is_written else "") == before


def test_a_summary_that_cannot_be_written_fails_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path))
    made = controller(config_of(tmp_path))
    assert finish(made).exitstatus == 0
    assert list(made._write_errors) == [str(tmp_path)]


def test_a_format_of_the_project_that_fails_fails_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deliver(*_: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(harness_controller, "deliver_report", deliver)
    made = controller(config_of(tmp_path), report=("r.json",))
    assert finish(made).exitstatus == 1
    assert "ZeroDivisionError" in made._write_errors["r.json"]
    assert finish(made, session_of(2)).exitstatus == 2


# The JUnit file.


class LogXML:
    """pytest's writer of the JUnit file."""

    def __init__(self) -> None:
        self.reports: list[Any] = []

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.reports.append(report)


@pytest.mark.parametrize(
    ("verdict", "outcome"), [(RED, "failed"), (GREEN, "passed"), (replace(RED, decides=False), "passed")]
)
def test_each_verdict_is_a_case_of_the_junit_file(tmp_path: Path, verdict: Verdict, outcome: str) -> None:
    writer = LogXML()
    config = config_of(tmp_path, plugins=[object(), writer])
    run = Run(records=(TestRecord(nodeid=NODEID),), verdicts=(verdict,))
    write_junit_cases(config, run, pytest.TestReport)
    call, teardown = writer.reports
    assert (call.when, call.outcome, teardown.when, teardown.outcome) == (
        "call",
        outcome,
        "teardown",
        "passed",
    )
    assert bool(call.longrepr) is (outcome == "failed")
    assert call.location[2] == call.nodeid.partition("::")[2]
    assert teardown.user_properties
    write_junit_cases(config, run, pytest.TestReport, with_properties=False)
    assert writer.reports[-1].user_properties == []


def test_the_junit_file_of_a_run_gets_its_verdicts(tmp_path: Path, gate: Gate) -> None:
    gate.verdicts = (GREEN,)
    writer = LogXML()
    finish(controller(config_of(tmp_path, plugins=[writer])))
    assert len(writer.reports) == 2


# A changed input whose verdict moved.


@pytest.mark.usefixtures("gate")
@pytest.mark.parametrize(
    ("name", "value", "facts", "count"),
    [
        ("robust.same", 0.0, {"robust": {"a": 1}}, 1),
        ("robust.same", 1.0, {"robust": {"a": 1}}, 0),
        ("other", 0.0, {"robust": {"a": 1}}, 0),
        ("robust.same", 0.0, {"case": {"id": "a"}, "compare": {"a": 1}}, 0),
    ],
)
def test_the_unchanged_input_is_added_to_pytests_report_of_a_verdict_that_moved(
    tmp_path: Path, name: str, value: float, facts: dict[str, Any], count: int
) -> None:
    sections: list[Any] = []
    longrepr = SimpleNamespace(addsection=lambda *section: sections.append(section))
    failed = [SimpleNamespace(nodeid=nodeid, longrepr=longrepr, when="call") for nodeid in (NODEID, "other")]
    failed.append(SimpleNamespace(nodeid=NODEID, longrepr="a text", when="call"))
    reporter = SimpleNamespace(stats={"failed": failed})
    score = Measurement(name=name, value=value, threshold=1.0).to_wire()
    made = controller(
        config_of(tmp_path, terminalreporter=reporter), {"measurements": [score], "facts": facts}
    )
    made.add_report(make_report(nodeid="a.py::test_before_it", llmops=MEASURED))
    finish(made)
    assert len(sections) == count


# The last section.


def surroundings_of(made: Controller) -> Any:
    return made._describe_surroundings(0)


@pytest.mark.parametrize(("style", "lists"), [("no", False), ("auto", True), (None, True)])
def test_failures_are_listed_unless_pytest_shows_none(
    tmp_path: Path, style: str | None, *, lists: bool
) -> None:
    config = config_of(tmp_path)
    if style is not None:
        config.option.tbstyle = style
    assert surroundings_of(controller(config)).lists_failures is lists


def test_the_folder_of_the_project_is_named_if_pytest_was_started_elsewhere(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    assert surroundings_of(controller(config)).folder == ""
    config.invocation_params.dir = tmp_path / "tests" / "unit"
    assert surroundings_of(controller(config)).folder == "../.."


def test_a_project_on_another_drive_is_named_by_its_whole_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> str:
        raise ValueError("another drive")

    monkeypatch.setattr("os.path.relpath", fail)
    assert surroundings_of(controller(config_of(tmp_path))).folder == str(tmp_path)


def test_remarks_come_in_a_fixed_order(tmp_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    del gate
    from pytest_llmops.harness import coding_agents

    monkeypatch.setattr(coding_agents, "describe_agent_help", lambda *_: "read this")
    made = controller(config_of(tmp_path))
    made._look, made._accepted, made._not_accepted = "look", "accepted", "refused"
    made._write_errors = {"r.json": "unwritten"}
    assert [remark[:2] for remark in surroundings_of(made).remarks] == [
        ("trials", "look"),
        ("baseline", "accepted"),
        ("baseline", "refused"),
        ("error", "unwritten"),
        ("agents", "read this"),
    ]
    made.next_look = "auto:5"
    assert [name for name, _, _ in surroundings_of(made).remarks][-1] == "error"
    assert surroundings_of(made).has_next is False


def test_the_failures_of_the_summary_are_those_that_pytest_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed: list[Any] = []
    made = controller(config_of(tmp_path))
    monkeypatch.setattr(
        made.terminal_hooks.__class__, "list_failures", lambda _hooks, stats: listed.append(stats)
    )
    made.list_failures(SimpleNamespace(stats={"failed": [1]}))
    made.list_failures(SimpleNamespace())
    assert listed == [{"failed": [1]}, {}]
