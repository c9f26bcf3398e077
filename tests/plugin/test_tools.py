"""@pytest.mark.llm_tools and the fixture llm_tools: questions x catalogues, what is reached, what is confused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.messages import check_message
from support.project import Project
from support.server import Reply, Seen, chat_answer, json_reply

SUITE = """
import pytest

@pytest.mark.cases("questions.jsonl")
@pytest.mark.llm_tools("tools.json"{arguments})
def test_choice(case, llm, llm_tools):
    reply = llm.complete(case.input, tools=llm_tools.for_openai())
    llm_tools.check(reply, case)
"""


def make_tool(name: str, **properties: str) -> dict[str, Any]:
    """Return a tool as an MCP server lists it."""
    schema = {"type": "object", "properties": {key: {"type": kind} for key, kind in properties.items()}}
    return {"name": name, "description": f"Do {name}.", "inputSchema": schema}


TOOLS = [make_tool("refund", order_id="string"), make_tool("cancel_order"), make_tool("track")]
QUESTIONS: list[dict[str, Any]] = [
    {"id": "money", "input": "call refund", "tool": "refund", "arguments": {"order_id": "B-77"}},
    {"id": "stop", "input": "call cancel_order", "tool": "cancel_order", "never": "refund"},
    {"id": "chat", "input": "Hello", "tool": None},
]


@pytest.fixture
def suite(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A suite with three tools and three questions; the model calls the tool that the question names after "call"."""
    answer_with_tools(project, monkeypatch, {})
    write_suite(project)
    return project


def write_suite(
    project: Project,
    arguments: str = "",
    *,
    tools: object = TOOLS,
    questions: list[dict[str, Any]] = QUESTIONS,
) -> None:
    project.write(
        **{
            "test_a.py": SUITE.format(arguments=arguments),
            "tools.json": json.dumps({"tools": tools}),
            "questions.jsonl": "\n".join(map(json.dumps, questions)) + "\n",
        }
    )


def answer_with_tools(project: Project, monkeypatch: pytest.MonkeyPatch, mistaken: dict[str, str]) -> None:
    """Let the model call the tool of the question, or the one that it mistakes it for."""
    plain = type(project.server).answer

    def answer(seen: Seen) -> Reply:
        plain(project.server, seen)
        body = chat_answer("Hello!")
        text = seen.json["messages"][-1]["content"]
        if text.startswith("call "):
            name = text.removeprefix("call ")
            name = mistaken.get(name, name)
            call = {"name": name, "arguments": json.dumps({"order_id": "B-77"})}
            body["choices"][0]["message"] = {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "c1", "type": "function", "function": call}],
            }
        return json_reply(body)

    monkeypatch.setattr(project.server, "answer", answer)


def test_each_question_meets_each_catalogue_that_has_its_tool(suite: Project) -> None:
    suite.write(**{"other.json": json.dumps([make_tool("open_issue")])})
    write_suite(suite, ', catalogues={"all": "*", "money": ["ref*"]}, decoys="other.json"')
    done = suite.record()
    names = [name.partition("[")[2].rstrip("]") for name in done.records]
    assert sorted(names) == [
        "all+decoys-chat", "all+decoys-money", "all+decoys-stop", "all-chat", "all-money", "all-stop",
        "money+decoys-chat", "money+decoys-money", "money-chat", "money-money",
    ]  # fmt: skip
    assert done.outcomes == {"passed": 10}
    record = done.records["test_choice[money+decoys-money]"]
    assert [tool.name for tool in record.calls[0].tools] == ["refund", "open_issue"]
    assert record.fact("tools")["decoys"] == ["open_issue"]
    assert suite.run().outcomes == {"passed": 10}


def test_coverage_and_confusions_are_reported(
    suite: Project, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    answer_with_tools(suite, monkeypatch, {"cancel_order": "refund"})
    done = suite.record("--llm-report=report.md", "--llm-report=report.html", workers=workers)
    assert done.outcomes == {"passed": 2, "failed": 1}
    coverage = "all: 1 of 3 tools reached; no question for track; never called: cancel_order"
    assert done.line("tools reached").endswith(coverage)
    assert done.line("confused ").endswith("all: refund for cancel_order once")
    for name in ("report.md", "report.html"):
        assert "refund for cancel_order once" in (suite.path / name).read_text()
    stored = json.loads((suite.path / "run-file.json").read_text())["totals"]["tools"]
    assert stored == [
        {
            "test": "test_a.py::test_choice", "catalogue": "all", "model": "", "tools": 3, "decoys": 0, "questions": 3, "unscored": 0,
            "unexpected": ["track"], "without_score": [], "never_called": ["cancel_order"], "decoys_called": {},
            "confusions": [{"expected": "cancel_order", "called": "refund", "count": 1, "of": 1}],
        }
    ]  # fmt: skip


def test_each_trial_counts(suite: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = suite.server.answer
    answer_with_tools(suite, monkeypatch, {"cancel_order": "refund"})
    wrong = suite.server.answer

    def answer(seen: Seen) -> Reply:
        choose = plain
        if suite.server.count % 2:
            choose = wrong
        return choose(seen)

    monkeypatch.setattr(suite.server, "answer", answer)
    write_suite(suite, questions=QUESTIONS[1:2], arguments=', catalogues={"a": "cancel*"}')
    done = suite.record("--llm-trials=4", "--llm-accept=first")
    assert "a: refund for cancel_order 2 times of 4" in done.line("confused ")


def test_a_baseline_finds_the_tool_that_is_chosen_less_often(
    suite: Project, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    plain = suite.server.answer
    questions = [{"id": f"q{n}", "input": "call refund", "tool": "refund"} for n in range(12)]
    write_suite(suite, questions=questions)
    suite.write(**{"test_a.py": SUITE.format(arguments="").replace("case)\n", "case, at_least=None)\n")})
    assert suite.record("--llm-trials=3", "--llm-accept=first").exit == 0
    answer_with_tools(suite, monkeypatch, {"refund": "track"})
    assert suite.server.answer is not plain
    done = suite.record("--llm-trials=3", mode="all", workers=workers)
    gate = done.run.find_verdict("baseline")
    assert gate is not None
    assert gate.status == "RED"
    assert "tools.calls" in {metric.name for metric in gate.metrics}
    assert done.line("confused ").endswith("all: track for refund 36 times of 36")


def test_catalogues_are_compared_and_a_question_that_none_can_answer_is_skipped(suite: Project) -> None:
    suite.write(**{"other.json": json.dumps([make_tool("open_issue")])})
    write_suite(suite, ', catalogues={"most": ["ref*", "track"], "few": "ref*"}, decoys="other.json"')
    code = suite.path.joinpath("test_a.py").read_text()
    marked = code.replace(
        "@pytest.mark.cases", '@pytest.mark.llm_compare("llm_tools")\n@pytest.mark.cases', 1
    )
    suite.write(**{"test_a.py": marked})
    done = suite.record("-rs")
    assert done.outcomes == {"passed": 8, "skipped": 1}
    assert "question stop: no catalogue of the test has cancel_order" in done.text
    subjects = [verdict.subject for verdict in done.run.verdicts if verdict.kind == "comparison"]
    assert subjects == ["llm_tools few", "llm_tools most+decoys", "llm_tools few+decoys"]


WRONG_MARKERS = [
    ("@pytest.mark.llm_tools()", "llm_tools", "expected either a JSON file with tools or the command"),
    (
        "@pytest.mark.llm_tools('tools.json', 'serve')",
        "llm_tools",
        "either a JSON file with tools or the command",
    ),
    ("@pytest.mark.llm_tools('http://h/mcp')", "llm_tools", "llmops tools list URL --output tools.json"),
    ("@pytest.mark.llm_tools('tool.json')", "llm_tools", "did you mean 'tools.json'?"),
    ("@pytest.mark.llm_tools('tools.json')", "request", "needs the `llm_tools` fixture"),
    ("", "llm_tools", "the `llm_tools` fixture needs @pytest.mark.llm_tools(file)"),
    (
        "@pytest.mark.llm_tools('tools.json', catalogues={'a': ['refnd']})",
        "llm_tools",
        "no tool has a name like 'refnd'; did you mean 'refund'?",
    ),
    ("@pytest.mark.llm_tools('tools.json', catalogues=['a'])", "llm_tools", "expected catalogues as names"),
    (
        "@pytest.mark.llm_tools('tools.json', decoys='tools.json')",
        "llm_tools",
        "expected each name once, got two tools 'refund'",
    ),
    ("@pytest.mark.llm_tools(command='')", "llm_tools", "expected command as a text"),
    ("@pytest.mark.llm_tools('tools.json', timeout_s=0)", "llm_tools", "expected timeout_s as a number"),
]


def test_a_wrong_marker_is_an_error_of_its_test(project: Project) -> None:
    write_suite(project)
    code = ["import pytest"]
    for number, (mark, arguments, _) in enumerate(WRONG_MARKERS):
        code.append(f"{mark}\ndef test_{number}({arguments}):\n    pass")
    project.write(**{"test_a.py": "\n".join(code)})
    done = project.run()
    assert done.outcomes == {"errors": len(WRONG_MARKERS)}
    for number, (_, _, message) in enumerate(WRONG_MARKERS):
        text = done.records[f"test_{number}"].message
        assert message in text
        check_message(text)


WRONG_QUESTIONS: list[tuple[dict[str, Any], str]] = [
    ({"tool": "refnd"}, "the catalogue 'all' has no tool 'refnd'; did you mean 'refund'?"),
    ({"tool": 3}, "tool: expected the name of a tool, a list of names, or null for no tool, got 3"),
    ({"tools": "refund"}, "expected the key tool (a name, a list of names, or null for no tool)"),
    ({"tool": "refund", "arguments": "B-77"}, "arguments: expected an object, got 'B-77'"),
    ({"tool": "refund", "never": 3}, "never: expected the names of tools, got 3"),
]


def test_a_wrong_question_is_an_error_of_its_tests(suite: Project) -> None:
    wrong = [{"id": f"q{n}", "input": "Hello", **keys} for n, (keys, _) in enumerate(WRONG_QUESTIONS)]
    write_suite(suite, questions=[*wrong, QUESTIONS[0]])
    done = suite.record()
    assert done.outcomes == {"passed": 1, "errors": 5}
    for number, (_, message) in enumerate(WRONG_QUESTIONS):
        record = done.records[f"test_choice[all-q{number}]"]
        assert record.outcome == "errored"
        assert message in record.message
        check_message(record.message)


def test_a_catalogue_without_a_question_is_an_error(suite: Project) -> None:
    write_suite(suite, ', catalogues={"all": "*", "late": "track"}', questions=QUESTIONS[:1])
    done = suite.record()
    assert done.outcomes == {"errors": 1}
    assert "catalogue 'late': expected a question for one of its tools, got none" in done.text


def test_names_that_models_refuse_are_a_warning(suite: Project) -> None:
    write_suite(suite, tools=[*TOOLS, make_tool("orders.list"), make_tool("x" * 65)])
    done = suite.record()
    assert done.outcomes == {"passed": 3}
    assert "2 tools with a name that models refuse (orders.list, " in done.text
