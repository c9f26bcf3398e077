"""--llm-faults: each test runs once with each kind of fault, and the run lists what is survived."""

from __future__ import annotations

import json
from functools import partial
from xml.etree import ElementTree as ET

import pytest
from support.project import Project, Result

from pytest_llmops._util.option_modes import FAULT_NAMES
from pytest_llmops.cassettes import FAULT_KINDS, Fault
from pytest_llmops.cassettes.faults.takes import find_fault_take, is_fault_take, name_fault_take
from pytest_llmops.cli import main
from pytest_llmops.harness import fault_variants
from pytest_llmops.reports.html import build_page

ASKING = """
import asyncio, json, unittest
import openai, pytest
from pytest_llmops import assert_contains
from pytest_llmops.cassettes import Answer, current_tape

def ask(question, **how):
    with openai.OpenAI(**how) as client:
        messages = [{"role": "user", "content": question}]
        return client.chat.completions.create(model="stub-1", messages=messages).choices[0].message.content

def call_tool(name, **arguments):
    tape = current_tape()
    question = tape.make_tool_question("mcp", "orders", "tools/call", {"name": name, "arguments": arguments})
    turn = tape.claim_tool(question)
    if turn.fault is not None and not turn.fault.is_late_answer:
        result = turn.fault.content.get("result")
        if result is None:
            raise ConnectionError(str(turn.fault.content.get("error")))
        return str(result.get("content"))
    answer = turn.answer
    if answer is None:
        body = json.dumps({"result": {"content": [{"type": "text", "text": f"{name} done"}]}}).encode()
        answer = tape.finish_tool(question, turn, Answer(200, {"content-type": "application/json"}, body))
    return str(json.loads(answer.body)["result"]["content"])
"""
SUITE = (
    ASKING
    + """
def test_checks(llm_calls):
    first = ask("one")
    assert_contains(ask(f"two {first}"), "echo of one")

def test_hardly_checks(llm_calls):
    first = ask("one", max_retries=0)
    ask(f"then {first}")

@pytest.mark.llm_fault("rate_limit")
def test_with_a_fault_of_its_own(llm_calls):
    ask("one")

def test_without_the_plugin():
    pass
"""
)
QUICK = "--llm-faults=timeout,rate_limit,malformed_json,hostile"


def read_ends(result: Result, name: str) -> dict[str, str]:
    """Return how a test ended, by the fault: on a tool, it has a star."""
    facts = result.records[name].facts["faults"]
    assert isinstance(facts, dict)
    ends: object = facts["ends"]
    assert isinstance(ends, list)
    return {f"{end['kind']}{'*' if end['on'] == 'tool' else ''}": end["status"] for end in ends}


@pytest.fixture
def recorded(project: Project) -> Project:
    project.write(**{"test_a.py": SUITE})
    assert project.record().outcomes == {"passed": 4}
    return project


@pytest.mark.parametrize("workers", [0, 2])
def test_each_test_runs_once_with_each_kind(recorded: Project, workers: int) -> None:
    result = recorded.run(QUICK, workers=workers)
    assert result.exit == 0, result.text
    assert result.outcomes == {"passed": 2}
    assert read_ends(result, "test_checks") == {
        "timeout": "survived",
        "rate_limit": "survived",
        "malformed_json": "gave up",
        "hostile": "not recorded",
    }
    assert read_ends(result, "test_hardly_checks") == {
        "timeout": "gave up",
        "rate_limit": "gave up",
        "malformed_json": "gave up",
        "hostile": "not recorded",
    }
    line = " ".join(result.line("malformed_json").split())
    assert line == "malformed_json 0 of 2 test_checks (gave up), test_hardly_checks (gave up)"
    assert " ".join(result.line("timeout").split()) == "timeout 1 of 2 test_hardly_checks (gave up)"
    assert "2 of 6 faults survived by 2 tests, 2 without a result" in result.text
    assert "pytest --llm-faults=hostile --llm-record=new" in result.text


@pytest.mark.parametrize("workers", [0, 2])
def test_what_is_asked_after_a_fault_is_recorded_beside_the_test_itself(
    recorded: Project, workers: int
) -> None:
    before = recorded.cassettes()
    assert read_ends(recorded.record("--llm-faults=hostile", workers=workers), "test_checks") == {
        "hostile": "wrong answer"
    }
    recorded.server.seen.clear()
    result = recorded.run("--llm-faults=hostile")
    assert read_ends(result, "test_checks") == {"hostile": "wrong answer"}
    assert read_ends(result, "test_hardly_checks") == {"hostile": "wrong answer"}, (
        "its answer has the code word"
    )
    plain = recorded.run("-v")
    assert plain.outcomes == {"passed": 4}
    assert " 0 stale, 0 missed" in plain.text
    assert main(["cassettes", "check", "--root", str(recorded.path)]) == 0
    stored = recorded.cassettes()
    assert main(["cassettes", "prune", "--root", str(recorded.path)]) == 0
    assert recorded.cassettes() == stored
    for name, data in before.items():
        old = {entry["key"]: entry["answers"]["0"] for entry in json.loads(data)["interactions"]}
        new = {entry["key"]: entry["answers"] for entry in json.loads(stored[name])["interactions"]}
        assert {key: new[key]["0"] for key in old} == old
        assert all(list(answers) == [find_fault_take("hostile", is_for_tool=False)] for key, answers in new.items() if key not in old)  # fmt: skip
    assert not recorded.server.seen


def test_recording_a_test_anew_drops_what_it_asked_after_faults(recorded: Project) -> None:
    recorded.record("--llm-faults=hostile")
    cassette = recorded.path / "cassettes" / "test_a" / "test_checks.json"
    assert find_fault_take("hostile", is_for_tool=False) in cassette.read_text(encoding="utf-8")
    assert main(["cassettes", "show", str(cassette)]) == 0
    assert recorded.record(mode="all").outcomes == {"passed": 4}
    assert find_fault_take("hostile", is_for_tool=False) not in cassette.read_text(encoding="utf-8")
    assert read_ends(recorded.run("--llm-faults=hostile"), "test_checks") == {"hostile": "not recorded"}


def test_a_survey_writes_no_record_of_what_cassettes_are_used_for(recorded: Project) -> None:
    recorded.run()
    usage = recorded.path / ".pytest_cache" / "v" / "llmops" / "usage"
    before = usage.read_bytes()
    recorded.run("--llm-faults=timeout")
    assert usage.read_bytes() == before


TOOLS = (
    ASKING
    + """
@pytest.mark.llm_cassette
def test_agent():
    ask("one")
    try:
        found = call_tool("find_order", id=7)
    except ConnectionError:
        found = call_tool("find_order", id=7)
    assert_contains(ask(f"found {found}"), "find_order done")
"""
)


@pytest.fixture
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let faults that take time take little."""
    short = partial(Fault, at_most_s=0.02, seconds=0.02)
    monkeypatch.setattr(fault_variants, "Fault", short)


@pytest.mark.usefixtures("_short_waits")
def test_faults_of_tools_hit_the_first_call_of_a_tool(project: Project) -> None:
    project.write(**{"test_a.py": TOOLS})
    assert project.record().outcomes == {"passed": 1}
    option = "--llm-faults=timeout,rate_limit,empty,server_died,slow,cut"
    result = project.record(option)
    assert result.exit == 0, result.text
    assert read_ends(result, "test_agent") == {
        "timeout": "survived",
        "rate_limit": "survived",
        "empty": "survived",
        "cut": "survived",
        "slow": "survived",
        "timeout*": "survived",
        "rate_limit*": "wrong answer",
        "empty*": "wrong answer",
        "server_died*": "survived",
        "slow*": "survived",
    }
    assert read_ends(project.run(option), "test_agent") == read_ends(result, "test_agent")
    assert " 0 stale, 0 missed" in project.run("-v").text
    assert "empty (tool)" in result.text


FUNCTIONS = (
    ASKING
    + """
from tools import find_order

@pytest.mark.llm_cassette(tools=["tools.find_order"])
def test_agent():
    assert "done" in find_order(ask("one"))
"""
)


@pytest.mark.usefixtures("_short_waits")
def test_functions_of_the_project_get_only_the_faults_that_they_can_have(project: Project) -> None:
    tools = 'def find_order(number: str) -> str:\n    return "done"\n'
    project.write(**{"test_a.py": FUNCTIONS, "tools.py": tools})
    assert project.record().outcomes == {"passed": 1}
    result = project.run("--llm-faults=never_returns,slow,empty,unknown_tool")
    ends = read_ends(result, "test_agent")
    assert {kind: ends[kind] for kind in ends if "*" in kind} == {"empty*": "wrong answer"}
    assert "unknown_tool" not in ends, "no call offers a tool"


TWICE = (
    ASKING
    + """
@pytest.mark.llm_cassette
def test_agent():
    ask("one")
    call_tool("list_orders")
    assert "1" not in call_tool("find_order", id=1)
    second = call_tool("find_order", id=2)
    ask(f"found {second}")
"""
)


def test_stale_hits_the_second_call_of_the_same_tool(project: Project) -> None:
    project.write(**{"test_a.py": TWICE})
    project.record()
    result = project.run("--llm-faults=stale")
    assert read_ends(result, "test_agent") == {"stale": "survived", "stale*": "survived"}
    facts = json.dumps(result.records["test_agent"].facts)
    assert "not hit" not in facts
    project.write(
        **{"test_a.py": TWICE.replace("id=2", "id=1").replace('call_tool("find_order", id=1)', "'2'", 1)}
    )
    project.record(mode="all")
    assert read_ends(project.run("--llm-faults=stale"), "test_agent") == {"stale": "survived"}


KINDS_OF_TESTS = (
    ASKING
    + """
class TestOld(unittest.TestCase):
    @pytest.mark.llm_cassette
    def test_a(self):
        self.assertEqual(ask("one"), "echo of one")

@pytest.mark.llm_cassette
@pytest.mark.parametrize("question", ["one", "two"])
def test_b(question):
    assert ask(question).startswith(f"echo of {question}")

@pytest.mark.cases("cases.jsonl")
def test_c(case, llm):
    assert llm.complete(case.input).text == "echo of three"

@pytest.mark.llm_trials(3)
def test_d(llm_calls, tmp_path):
    (tmp_path / "file").write_text(ask("four"))
    assert (tmp_path / "file").read_text().startswith("echo of four")

@pytest.mark.llm_cassette
def test_e():
    async def run():
        async with openai.AsyncOpenAI() as client:
            messages = [{"role": "user", "content": "five"}]
            return (await client.chat.completions.create(model="stub-1", messages=messages)).choices[0].message.content
    assert asyncio.run(run()) == "echo of five"
"""
)


def test_all_kinds_of_tests_run_with_faults(project: Project) -> None:
    case = json.dumps({"id": "x", "input": "three"})
    project.write(**{"test_a.py": KINDS_OF_TESTS, "cases.jsonl": f"{case}\n"})
    assert project.record().outcomes == {"passed": 6}
    result = project.run("--llm-faults=rate_limit,wrong_type", "-v", "--durations=3")
    assert result.outcomes == {"passed": 6}
    assert len(result.records) == 6
    ends = {name: read_ends(result, name) for name in result.records}
    assert {name: end["rate_limit"] for name, end in ends.items()} == dict.fromkeys(ends, "survived")
    assert {name: end["wrong_type"] for name, end in ends.items()} == {
        "TestOld::test_a": "wrong answer",
        "test_b[one]": "gave up",
        "test_b[two]": "gave up",
        "test_c[x]": "gave up",
        "test_d": "gave up",
        "test_e": "wrong answer",
    }
    assert "trials" not in result.records["test_d"].facts
    assert project.run("--llm-faults=rate_limit", "-k", "two or test_c").outcomes == {"passed": 2}
    alone = project.run("--llm-faults=rate_limit", "test_a.py::test_b[two]")
    assert list(alone.records) == ["test_b[two]"]


ENDINGS = (
    ASKING
    + """
@pytest.fixture
def broken():
    raise OSError("no disk")

@pytest.mark.llm_cassette
def test_waits():
    ask("one")

@pytest.mark.llm_cassette
def test_broken_later(request):
    ask("one")
    if FIXTURE:
        request.getfixturevalue("broken")

@pytest.mark.llm_cassette
def test_asks_another_question():
    if not FIXTURE:
        ask("one")

@pytest.mark.llm_cassette
@pytest.mark.xfail
def test_expected_to_fail():
    assert ask("one") == "something else"

@pytest.mark.llm_cassette
def test_calls_nothing():
    pass

@pytest.mark.llm_cassette
def test_skips():
    ask("one")
    if FIXTURE:
        pytest.skip("not today")
"""
)


def test_what_cannot_be_judged_is_not_counted_as_lost(project: Project) -> None:
    project.write(**{"test_a.py": "FIXTURE = False\n" + ENDINGS})
    assert project.record().outcomes == {"passed": 5, "xfailed": 1}
    project.write(**{"test_a.py": "FIXTURE = True\n" + ENDINGS})
    result = project.run("--llm-faults=rate_limit")
    assert read_ends(result, "test_waits") == {"rate_limit": "survived"}
    assert read_ends(result, "test_broken_later") == {"rate_limit": "gave up"}
    assert read_ends(result, "test_asks_another_question") == {"rate_limit": "not hit"}
    assert read_ends(result, "test_expected_to_fail") == {"rate_limit": "not judged"}
    assert read_ends(result, "test_skips") == {"rate_limit": "not judged"}
    assert read_ends(result, "test_calls_nothing") == {}
    assert "without a recorded call: 1 test" in result.text
    assert "1 of 2 faults survived by 5 tests, 3 without a result" in " ".join(result.text.split())


def test_a_broken_set_up_is_an_error_as_ever(project: Project) -> None:
    suite = ASKING + "\ndef test_a(llm_calls, desk):\n    ask('one')\n\n@pytest.fixture\ndef desk():\n    "
    project.write(**{"test_a.py": f"{suite}pass\n"})
    project.record()
    project.write(**{"test_a.py": f"{suite}raise OSError('no desk')\n"})
    result = project.run(QUICK)
    assert result.outcomes == {"errors": 1}
    assert result.exit == 1
    assert "no desk" in result.text


@pytest.mark.usefixtures("_short_waits")
def test_who_waits_for_ever_hangs(project: Project) -> None:
    project.write(**{"test_a.py": ASKING + "\ndef test_a(llm_calls):\n    ask('one', max_retries=0)\n"})
    project.record()
    result = project.run("--llm-faults=never_returns")
    assert read_ends(result, "test_a") == {"never_returns": "hung"}
    assert "test_a (hung)" in result.text


UNITTEST = (
    ASKING
    + """
class TestOld(unittest.TestCase):
    @pytest.mark.llm_cassette
    def test_a(self):
        self.assertIn("one", ask(f"two {ask('one')}"))

    @pytest.mark.llm_cassette
    def test_b(self):
        ask("one", max_retries=0)
"""
)


def test_unittest_hides_no_end(project: Project) -> None:
    project.write(**{"test_a.py": UNITTEST})
    project.record()
    result = project.run("--llm-faults=rate_limit,hostile")
    assert read_ends(result, "TestOld::test_a") == {"rate_limit": "survived", "hostile": "not recorded"}
    assert read_ends(result, "TestOld::test_b") == {"rate_limit": "gave up", "hostile": "survived"}
    assert "test_a.py::TestOld::test_a --llm-faults=hostile --llm-record=new" in json.dumps(result.records["TestOld::test_a"].facts)  # fmt: skip


def test_live_calls_are_made_with_a_fault_too_and_within_the_budget(recorded: Project) -> None:
    before = recorded.cassettes()
    live = recorded.record("--llm-faults=rate_limit", "-k", "test_checks", mode="live")
    assert read_ends(live, "test_checks") == {"rate_limit": "survived"}
    assert recorded.cassettes() == before
    spent = recorded.record("--llm-faults=hostile", "--llm-max-calls=0", "-k", "test_checks")
    assert read_ends(spent, "test_checks") == {"hostile": "not judged"}
    assert spent.exit == 0


def test_a_test_that_has_changed_is_to_be_recorded_without_faults_first(project: Project) -> None:
    project.write(**{"test_a.py": TOOLS})
    project.record()
    project.write(**{"test_a.py": TOOLS.replace('ask("one")', 'ask("another")')})
    result = project.run("--llm-faults=empty")
    assert read_ends(result, "test_agent") == {"empty": "survived", "empty*": "not recorded"}
    assert "pytest test_a.py::test_agent --llm-record=new" in json.dumps(result.records["test_agent"].facts)
    assert "before the fault came: no recording answers" in json.dumps(result.records["test_agent"].facts)
    assert result.text.rstrip().splitlines()[-2].strip() == "pytest --llm-record=new"


def test_strict_fails_what_is_not_survived(recorded: Project) -> None:
    result = recorded.run(QUICK, "--llm-strict")
    assert result.exit == 1
    assert result.outcomes == {"failed": 2}
    assert "not survived (--llm-strict): malformed_json" in result.text
    assert recorded.run("--llm-faults=rate_limit", "--llm-strict", "--lf").outcomes == {
        "failed": 1,
        "passed": 1,
    }
    assert recorded.run("--llm-faults=hostile", "--llm-strict").exit == 0, "a miss is not counted as lost"


def test_nothing_that_was_measured_counts(recorded: Project) -> None:
    assert recorded.run("--llm-accept=first").exit == 0
    baseline = (recorded.path / "llmops-baseline.json").read_bytes()
    junit = recorded.path / "junit.xml"
    result = recorded.run(QUICK, f"--junitxml={junit}")
    assert result.exit == 0
    assert (recorded.path / "llmops-baseline.json").read_bytes() == baseline
    assert not result.run.verdicts
    for record in result.records.values():
        assert record.measurements == ()
        assert record.calls == ()
        assert set(record.facts) == {"faults"}
    assert not [entry for entry in ET.parse(junit).iter("property") if entry.get("name", "").startswith("llm.")]  # fmt: skip


def test_calls_that_are_paid_for_are_reported(recorded: Project) -> None:
    result = recorded.record("--llm-faults=hostile")
    assert len(result.records["test_checks"].calls) == 1
    assert not any(call.replayed for call in result.records["test_checks"].calls)


def test_reports_list_what_is_survived(recorded: Project) -> None:
    page = recorded.path / "report.html"
    text = recorded.path / "report.md"
    result = recorded.run(QUICK, f"--llm-report={page}", f"--llm-report={text}")
    assert "| `malformed_json` | 0 of 2 | `test_checks (gave up), test_hardly_checks (gave up)` |" in text.read_text()  # fmt: skip
    faults = build_page(result.run)["faults"]
    assert "Faults" in page.read_text(encoding="utf-8")
    assert faults["count"] == 4
    assert ["timeout", "1 of 2", "red", "test_hardly_checks (gave up)"] in faults["kinds"]
    assert [end[1:4] for end in faults["ends"] if end[3] == "not recorded"] == [
        ["test_checks", "hostile", "not recorded"],
        ["test_hardly_checks", "hostile", "not recorded"],
    ]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--llm-accept=x"], "no --llm-accept with it: a run with faults cannot become the baseline"),
        (["--llm-again"], "no --llm-again with it"),
        (["--llm-trials=3"], "no --llm-trials with it: each test runs once for each kind of fault"),
        (["--llm-concurrency=4"], "no --llm-concurrency with it"),
        (["--llm-record=changed"], "--llm-record=none, new or live with it"),
        (["--llm-record=fork"], "--llm-record=none, new or live with it"),
        (["--llm-record=all"], "--llm-record=none, new or live with it"),
        (["--llm-record=verify"], "--llm-record=none, new or live with it"),
        (["--llm-tools=compare"], "no --llm-tools=compare with it"),
    ],
)
def test_options_that_make_no_sense_beside_it(project: Project, options: list[str], expected: str) -> None:
    result = project.bare("--llm-faults=timeout", *options)
    assert result.exit == 4
    assert expected in result.text


def test_options_of_the_ini_give_way(recorded: Project) -> None:
    ini = (recorded.path / "pytest.ini").read_text(encoding="utf-8")
    recorded.write(**{"pytest.ini": f"{ini}llm_trials = 3\nllm_concurrency = 4\n"})
    assert read_ends(recorded.run("--llm-faults=timeout"), "test_checks") == {"timeout": "survived"}


def test_a_file_after_the_bare_flag_is_no_kind(recorded: Project) -> None:
    result = recorded.bare("--llm-faults", "test_a.py")
    assert result.exit == 4
    assert "files and folders after it need --llm-faults=all" in result.text


def test_the_bare_flag_means_all_kinds(project: Project) -> None:
    project.write(**{"test_a.py": ASKING + "\ndef test_a(llm_calls):\n    pass\n"})
    result = project.run("test_a.py", "--llm-faults")
    settings = result.run.meta["settings"]
    assert isinstance(settings, dict)
    assert settings["faults"] == list(FAULT_NAMES)


def test_the_kinds_of_the_option_are_those_of_the_marker() -> None:
    assert sorted(FAULT_NAMES) == sorted(FAULT_KINDS)
    takes = [find_fault_take(kind, is_for_tool=tool) for kind in FAULT_NAMES for tool in (False, True)]
    assert len(set(takes)) == len(takes)
    assert all(is_fault_take(int(take)) for take in takes)
    assert name_fault_take(1_000_099) == "a fault of a later version"


AGENTS = (
    ASKING
    + """
from pytest_llmops import assert_contains, assert_tool_calls, assert_trajectory

LISTED = "find_order, first version"

def list_tools():
    tape = current_tape()
    question = tape.make_tool_question("mcp", "orders", "tools/list", {})
    turn = tape.claim_tool(question)
    answer = turn.answer
    if answer is None:
        body = json.dumps({"result": {"tools": [{"name": LISTED}]}}).encode()
        answer = tape.finish_tool(question, turn, Answer(200, {"content-type": "application/json"}, body))
    return json.loads(answer.body)["result"]["tools"][0]["name"]

@pytest.mark.llm_cassette
def test_lists_tools_at_each_turn():
    ask(f"one with {list_tools()}")
    try:
        found = call_tool("find_order", id=7)
    except ConnectionError:
        found = "nothing"
    ask(f"found {found}")
    ask(f"two with {list_tools()}")

def test_calls_of_tools(llm_calls):
    ask("Where is order 7?")
    if not EXPECTED:
        return
    assert_tool_calls(llm_calls, ["find_order"])

def test_limits(llm_calls):
    ask("Where is order 7?")
    assert_tool_calls(llm_calls, never=["delete_order"])
    assert_trajectory(llm_calls, at_most_steps=2)

def test_words(llm_calls):
    assert_contains(ask("Where is order 7?"), "er")
"""
)


def test_a_model_that_got_a_fault_has_called_no_tool_and_a_code_word_is_no_answer(project: Project) -> None:
    project.write(**{"test_a.py": f"EXPECTED = False\n{AGENTS}"})
    assert project.record("-k", "not lists").outcomes == {"passed": 3}
    project.write(**{"test_a.py": f"EXPECTED = True\n{AGENTS}"})
    result = project.run("--llm-faults=empty,hostile", "-k", "not lists")
    assert read_ends(result, "test_calls_of_tools") == {"empty": "wrong answer", "hostile": "wrong answer"}
    assert read_ends(result, "test_limits") == {"empty": "survived", "hostile": "survived"}
    assert read_ends(result, "test_words") == {"empty": "wrong answer", "hostile": "wrong answer"}
    assert "the model obeyed the hostile text" in json.dumps(result.records["test_words"].facts)
    assert "\nfaults    2 survived, 4 wrong answer\n" in project.run("--llm-faults=empty,hostile", "-k", "not lists", "-q").text  # fmt: skip


def test_a_server_that_has_changed_since_leaves_the_lists_of_the_recording(project: Project) -> None:
    project.write(**{"test_a.py": AGENTS})
    assert project.record("-k", "lists").outcomes == {"passed": 1}
    project.write(**{"test_a.py": AGENTS.replace("first version", "second version")})
    option = "--llm-faults=server_died,rate_limit"
    ends = {"rate_limit": "survived", "rate_limit*": "survived", "server_died*": "survived"}
    assert read_ends(project.record(option, "-k", "lists"), "test_lists_tools_at_each_turn") == ends
    result = project.run(option, "-k", "lists")
    assert read_ends(result, "test_lists_tools_at_each_turn") == ends, result.text
