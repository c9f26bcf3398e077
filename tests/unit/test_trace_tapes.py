"""Trace tapes: what of an exported trace becomes a tape, what is named as missing, and which requests it answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.messages import check_message
from support.planted import SECRETS
from support.shared import shared
from support.traces import Json, ask, calls, results, says, span, user, write_spans

from pytest_llmops import cli
from pytest_llmops.cassettes.clients.identities import NO_IDENTITIES
from pytest_llmops.cassettes.request_key import NO_RULES, Answer, Question
from pytest_llmops.cassettes.tool_questions import make_tool_question, read_tool_answer
from pytest_llmops.cassettes.traces.answers import TraceAnswers
from pytest_llmops.cassettes.traces.tape_file import (
    TracedCall,
    TracedTool,
    TraceTape,
    format_tape,
    read_tape,
)
from pytest_llmops.errors import CassetteError
from pytest_llmops.production.review_queue import read_queue
from pytest_llmops.protocols import ToolCall, Usage
from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.trace.answers import TracedAnswer

ASK = user("Where is A-17?")
CALLING = calls(find={"id": "A-17"})
FOUND = results(find={"state": "sent"})
END = says("It was sent.")
CHAT: list[Json] = [
    {"role": "user", "content": "Where is A-17?"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "x", "type": "function", "function": {"name": "find", "arguments": '{"id":"A-17"}'}}
        ],
    },
    {"role": "tool", "tool_call_id": "x", "content": '{"state": "sent"}'},
]


def imported(folder: Path, *spans: Json, status: int = 0) -> dict[str, TraceAnswers]:
    """The tapes of a file of spans, by the input of their entry. The status is 1 if a span holds no answer."""
    queue = folder / "queue.jsonl"
    traces = write_spans(folder / "traces.json", *spans)
    assert cli.main(["cases", "from-traces", str(traces), "--cassette", "--queue", str(queue)]) == status
    entries = read_queue(queue)
    return {str(entry.input): TraceAnswers(folder / entry.trace) for entry in entries if entry.trace}


def only(tapes: dict[str, TraceAnswers]) -> TraceAnswers:
    (tape,) = tapes.values()
    return tape


def message(answer: Answer | None) -> Any:
    """The message of an answer in the format of chat completions."""
    assert answer is not None
    return json.loads(answer.body)["choices"][0]["message"]


def tool(name: str, kind: str = "function", **arguments: object) -> Question:
    """A call of a tool by a test."""
    method, params = "call", arguments
    if kind == "mcp":
        method, params = "tools/call", {"name": name, "arguments": arguments}
        name = "orders"
    return make_tool_question(
        kind, name, method, params, redactor=Redactor(), rules=NO_RULES, identities=NO_IDENTITIES
    )


# Which calls are on a tape


def test_two_runs_in_one_file_have_a_tape_each(tmp_path: Path) -> None:
    other = user("Where is B-4?")
    tapes = imported(
        tmp_path,
        span(0, [ASK], CALLING),
        span(1, [other], says("Lost."), trace="b"),
        span(2, [ASK, CALLING, *FOUND], END),
    )
    assert {text: len(tape.tape.calls) for text, tape in tapes.items()} == {
        "Where is A-17?": 2,
        "Where is B-4?": 1,
    }


def test_the_conversations_of_one_trace_share_all_its_calls(tmp_path: Path) -> None:
    tapes = imported(
        tmp_path, span(2, [ASK, CALLING, *FOUND], END), span(0, [ASK], CALLING), span(1, [user("Sub")], END)
    )
    assert len(tapes) == 2
    for tape in tapes.values():
        assert [call.span for call in tape.tape.calls] == ["s0", "s1", "s2"]


def test_calls_in_traces_of_their_own_are_joined_but_no_other_run(tmp_path: Path) -> None:
    # Two runs ask the same first question; instrumentations without a parent span give each call a trace
    other_way = [ASK, CALLING, *results(find={"state": "lost"})]
    tapes = imported(
        tmp_path,
        span(0, [ASK], CALLING, trace="a"),
        span(1, [ASK, CALLING, *FOUND], END, trace="b"),
        span(2, [ASK], CALLING, trace="c"),
        span(3, other_way, says("It is lost."), trace="c"),
    )
    spans = sorted([call.span for call in tape.tape.calls] for tape in list_tapes(tmp_path))
    assert spans == [["s0", "s1"], ["s2", "s3"]]
    assert len(tapes) == 1  # the two entries have the same input


def list_tapes(folder: Path) -> list[TraceAnswers]:
    return [TraceAnswers(path) for path in sorted((folder / "traces").iterdir())]


def test_a_call_that_two_instrumentations_recorded_is_one(tmp_path: Path) -> None:
    tape = only(
        imported(
            tmp_path,
            span(0, [ASK], END),
            span(1, [ASK], END, parentSpanId="s0", attributes={"gen_ai.request.temperature": 0.5}),
        )
    )
    assert [call.span for call in tape.tape.calls] == ["s1"]


def test_the_same_export_again_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    traces = write_spans(tmp_path / "traces.json", span(0, [ASK], CALLING))
    queue = tmp_path / "queue.jsonl"
    command = ["cases", "from-traces", str(traces), "--queue", str(queue)]
    assert cli.main(command) == 0  # without a tape first
    assert "trace" not in json.loads(queue.read_text())
    assert cli.main([*command, "--cassette"]) == 0
    check_message(capsys.readouterr().out.splitlines())
    (path,) = (tmp_path / "traces").iterdir()
    assert json.loads(queue.read_text())["trace"] == f"traces/{path.name}"
    before = path.read_bytes(), queue.read_bytes()
    assert cli.main([*command, "--cassette"]) == 0
    assert "0 trace tapes written" in capsys.readouterr().out
    assert (path.read_bytes(), queue.read_bytes()) == before


def test_a_case_in_another_folder_finds_its_trace(tmp_path: Path) -> None:
    tape = only(imported(tmp_path, span(0, [ASK], END)))
    into = tmp_path / "suite" / "cases.jsonl"
    accept = ["cases", "review", "--accept", tape.path.stem, "--reference", "Lost."]
    assert cli.main([*accept, "--queue", str(tmp_path / "queue.jsonl"), "--into", str(into)]) == 0
    row = json.loads(into.read_text())
    assert (into.parent / row["trace"]).samefile(tape.path)


# What a trace does not hold


@pytest.mark.slow
def test_a_case_that_was_accepted_before_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_spans(tmp_path / "traces.json", span(0, [ASK], END))
    assert cli.main(["cases", "from-traces", "traces.json"]) == 0
    (entry,) = read_queue(tmp_path / "cases/queue.jsonl")
    accept = ["cases", "review", "--accept", entry.id, "--reference", "Sent."]
    assert cli.main(accept) == 0
    assert cli.main(["cases", "from-traces", "traces.json", "--cassette"]) == 0
    step = f'add "trace": "traces/{entry.id}.json" to it'
    assert step in capsys.readouterr().out
    assert cli.main(accept) == 2
    assert step in capsys.readouterr().err


def test_what_is_missing_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cut = {"gen_ai.input.messages": '[{"role": "user", "parts": [{"type": "te'}
    picture = {"role": "assistant", "parts": [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]}
    tape = imported(
        tmp_path,
        span(0, [ASK], CALLING, droppedAttributesCount=2),
        span(1, None, END, attributes=cut),
        span(2, [user("Draw it")], None, attributes={"error.type": "RateLimitError"}),
        span(3, [user("Draw it")], picture),
        span(4, None, None),
        status=1,
    )["Where is A-17?"]
    assert tape.tape.missing == [
        "tool definitions",
        "parameters",
        "1 result of the tool find",
        "call 1: attributes that the limit of the SDK left out",
        "call 2: messages (cut by a limit of attributes)",
        "call 3: an answer (error: RateLimitError)",
        "call 4: an answer in text: it has images or other parts",
        "call 5: messages (OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=span_only records them), an answer",
    ]
    check_message(capsys.readouterr().out.splitlines())
    question = ask({"role": "user", "content": "Draw it"})
    assert tape.find(question, "0") is None
    assert "call 3 of the trace is this request, without an answer" in "\n".join(tape.describe_miss(question))


@pytest.mark.slow
def test_no_planted_secret_is_on_a_tape_and_requests_still_match(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    secrets = list(SECRETS.values())[:12]
    spans = []
    for number, secret in enumerate(secrets):
        given = [
            user(f"Question {number} of ann{number}@example.com: is {secret} right?"),
            calls(find={"key": secret}),
        ]
        given += results(find={"token": secret})
        spans.append(span(number, given, says(f"It is {secret}."), trace=f"t{number}"))
    for number, secret in enumerate(secrets):
        error = {"error.type": f"{secret} is no key\nof ours"}
        spans.append(span(50 + number, [user("Try")], None, trace=f"t{number}", attributes=error))
    tapes = imported(tmp_path, *spans, status=1)
    assert len(tapes) == len(secrets)
    text = "".join(path.read_text() for path in (tmp_path / "traces").iterdir()) + capsys.readouterr().out
    assert text.count("[secret] is no key)") >= len(secrets)
    assert [secret for secret in secrets if secret in text] == []
    assert "@example.com" not in text
    for asked, tape in tapes.items():
        number = int(asked.split()[1])
        secret = secrets[number]
        chat = json.loads(json.dumps(CHAT))
        chat[1]["tool_calls"][0]["function"] = {"name": "find", "arguments": json.dumps({"key": secret})}
        chat[2]["content"] = json.dumps({"token": secret})
        # The case's input is masked already, what the application adds is masked for the comparison
        for content in (asked, f"Question {number} of ann{number}@example.com: is {secret} right?"):
            chat[0]["content"] = content
            question = ask(*chat)
            assert tape.find(question, content) is not None, tape.describe_miss(question)


def test_a_text_that_a_limit_may_have_cut_is_named(tmp_path: Path) -> None:
    sizes = {256: True, 257: False, 3000: True, 3996: False}
    spans = [span(0, [user("x" * size)], END, trace=f"t{size}") for size in sizes]
    tapes = imported(tmp_path, *spans)
    for size, is_named in sizes.items():
        note = f"call 1: perhaps the end of a text: it has exactly {size:,} characters"
        missing = tapes["x" * size].tape.missing
        assert (len(missing) > 1, missing[-1].startswith(note)) == (is_named, is_named)


def test_images_in_messages_are_named(tmp_path: Path) -> None:
    picture = {"type": "image_url", "image_url": {"url": "https://x/y.png"}}
    given = {"role": "user", "parts": [{"type": "text", "content": "What is it?"}, picture]}
    tape = only(imported(tmp_path, span(0, [given], END)))
    assert "images, unless the messages have them whole" in tape.tape.missing


# Which requests a tape answers


def test_the_nth_equal_request_gets_the_nth_answer_in_each_take(tmp_path: Path) -> None:
    # The first try failed, its repetition was answered, and later the same was asked again
    tape = imported(
        tmp_path,
        span(0, [ASK], None, attributes={"error.type": "timeout"}),
        span(1, [ASK], says("One.")),
        span(2, [ASK], says("Two.")),
        span(3, [ASK, says("One."), user("More")], END),
        status=1,
    )["Where is A-17?"]
    question = ask(CHAT[0])
    for take in ("0", "1"):
        texts = [message(tape.find(question, take))["content"] for _ in range(2)]
        assert texts == ["One.", "Two."]
    assert tape.find(question, "1") is None
    assert "the trace has this request 2 times" in "\n".join(tape.describe_miss(question))


def test_a_run_is_answered_in_the_format_of_its_requests(tmp_path: Path) -> None:
    used = {"gen_ai.usage.input_tokens": 30}
    begin = span(0, [ASK], CALLING, attributes=used)
    tape = only(imported(tmp_path, begin, span(1, [ASK, CALLING, *FOUND], END)))
    answer = tape.find(ask(CHAT[0], stream=False), "0")
    first = message(answer)
    assert answer is not None
    assert json.loads(answer.body)["usage"]["prompt_tokens"] == 30
    assert first["tool_calls"][0]["function"] == {"name": "find", "arguments": '{"id": "A-17"}'}
    assert first["tool_calls"][0]["id"] == "c-find"
    streamed = tape.find(ask(*CHAT, stream=True), "0")
    assert streamed is not None
    assert streamed.headers["content-type"].startswith("text/event-stream")
    assert streamed.latency_s == 0.25
    anthropic = ask(CHAT[0], url="https://api.anthropic.com/v1/messages", max_tokens=9)
    other_format = tape.find(anthropic, "1")
    assert other_format is not None
    assert json.loads(other_format.body)["content"][0]["input"] == {"id": "A-17"}
    for place, text in ((1, '{"id":"A-18"}'), (2, '{"state": "lost"}')):
        other = json.loads(json.dumps(CHAT))
        if place == 1:
            other[1]["tool_calls"][0]["function"]["arguments"] = text
        else:
            other[2]["content"] = text
        assert tape.find(ask(*other), "1") is None
    embeddings = ask(CHAT[0], url="https://api.openai.com/v1/embeddings", input="x")
    assert tape.find(embeddings, "2") is None


@pytest.mark.parametrize(("count", "text"), [(1, "One.\nTwo."), (2, "One.")])
def test_of_several_answers_that_were_asked_for_the_first_counts(
    tmp_path: Path, count: int, text: str
) -> None:
    outputs = {
        "gen_ai.output.messages": [says("One."), says("Two.")],
        "gen_ai.request.choice.count": count,
    }
    tape = only(imported(tmp_path, span(0, [ASK], None, attributes=outputs)))
    answer = tape.tape.calls[0].answer
    assert answer is not None
    assert answer.text == text


HELD = {
    "gen_ai.request.temperature": 0.5,
    "gen_ai.request.max_tokens": 100,
    "gen_ai.tool.definitions": [
        {"type": "function", "name": "find", "description": "Finds.", "parameters": {"type": "object"}}
    ],
}


def make_tool(description: str, parameters: Json) -> Json:
    function = {"name": "find", "description": description, "parameters": parameters}
    return {"type": "function", "function": function}


TOOLS = [make_tool("Finds.", {"type": "object"})]
SAME: Json = {"temperature": 0.5, "max_completion_tokens": 100, "tools": TOOLS, "top_p": 1, "seed": 3}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({}, ""),
        ({"model": "gpt-4.1-mini-2025-04-14"}, "model"),
        ({"temperature": 0}, "temperature: 0"),
        ({"temperature": None}, "temperature: 0.5"),
        ({"top_p": 0.1}, "top_p: 0.1"),
        ({"max_completion_tokens": 99}, "max_tokens: 99"),
        ({"tools": []}, "tool find"),
        ({"tools": [make_tool("Looks.", {"type": "object"})]}, "Looks."),
        ({"tools": [make_tool("Finds.", {"type": "string"})]}, "string"),
    ],
)
def test_what_the_trace_holds_has_to_be_the_same(tmp_path: Path, change: Json, line: str) -> None:
    tape = only(imported(tmp_path, span(0, [ASK], END, attributes=HELD)))
    given = {name: value for name, value in (SAME | change).items() if value is not None}
    question = ask(CHAT[0], **given)
    answer = tape.find(question, "0")
    assert (answer is None) == bool(line)
    if line:
        assert line in "\n".join(tape.describe_miss(question))
        part = "tool find" if "tools" in change else line.partition(":")[0]
        assert tape.describe_change(question) == f"call 1 of the trace: {part}"


def test_what_the_trace_lacks_of_a_tool_is_not_compared(tmp_path: Path) -> None:
    held = {"gen_ai.tool.definitions": [{"type": "function", "name": "find"}]}
    tape = only(imported(tmp_path, span(0, [ASK], END, attributes=held)))
    assert tape.find(ask(CHAT[0], tools=TOOLS), "0") is not None


def test_a_model_with_its_version_answered_the_one_without(tmp_path: Path) -> None:
    without = {"gen_ai.request.model": "", "gen_ai.response.model": "gpt-4.1-mini-2025-04-14"}
    tape = only(imported(tmp_path, span(0, [ASK], END, attributes=without)))
    assert tape.find(ask(CHAT[0]), "0") is not None
    assert tape.find(ask(CHAT[0], model="gpt-4.1"), "1") is None


def test_tools_get_the_results_that_the_model_got(tmp_path: Path) -> None:
    calling = calls(find={"id": "A-17"}, shop__pay={"sum": 3})
    found = results(find={"state": "sent"}, shop__pay="Paid.")
    tape = only(imported(tmp_path, span(0, [ASK], calling), span(1, [ASK, calling, *found], END)))
    answer = tape.find(tool("shop.orders.find", id="A-17", limit=10), "0")  # a default is no difference
    assert answer is not None
    assert read_tool_answer(answer) == {"result": {"state": "sent"}}
    assert tape.find(tool("shop.orders.find", id="A-17"), "0") is None  # once in the run, so once in the test
    assert not tape.has_tool(tool("shop.orders.find", id="A-18"), "1")
    paid = tape.find(tool("pay", "mcp", sum=3), "0")  # the agent put the name of the server before
    assert paid is not None
    content = [{"type": "text", "text": "Paid."}]
    assert read_tool_answer(paid)["result"] == {"content": content, "isError": False}
    for other in ("shop.orders.lose", "ind"):
        assert not tape.has_tool(tool(other, id="A-17"), "1")
    assert "no result of this tool" in "\n".join(tape.describe_miss(tool("lose", id="A-17")))
    assert tape.find(ask(CHAT[0]), "1") is not None
    assert tape.describe_use().startswith("replayed from a trace: 1 answer and 2 results of tools, rebuilt")
    missed = tool("shop.orders.find", id="A-18")
    assert 'find({"id": "A-17"})' in "\n".join(tape.describe_miss(missed))


def test_tools_whose_results_no_model_got_have_them_from_their_spans(tmp_path: Path) -> None:
    def tool_span(number: int, name: str, result: str, **arguments: object) -> Json:
        attributes = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": name if name == "find" else "",
            "gen_ai.tool.call.arguments": arguments,
            "gen_ai.tool.call.result": result,
        }
        return span(number, None, None, attributes=attributes, name=f"execute_tool {name}")

    ends = calls(pay={"sum": 3})
    tape = only(
        imported(
            tmp_path,
            span(0, [ASK], CALLING),
            tool_span(1, "find", "the raw row", id="A-17"),
            span(2, [ASK, CALLING, *FOUND], CALLING),
            tool_span(3, "find", "the raw row", id="A-17"),
            span(4, [ASK, CALLING, *FOUND, CALLING, *FOUND], ends),
            tool_span(5, "pay", "Paid.", sum=3),
            span(6, None, None, attributes={"gen_ai.operation.name": "invoke_agent"}),
        )
    )
    held = [(tool.name, tool.result) for tool in tape.tape.tools]
    assert held == [("find", '{"state": "sent"}')] * 2 + [("pay", "Paid.")]
    assert not any("result" in text for text in tape.tape.missing)


def test_no_result_is_read_as_a_type(tmp_path: Path) -> None:
    marked: list[Json] = [{"$path": "/etc"}, {"rows": [{"$path": "/etc"}]}]
    for number, value in enumerate(marked):
        folder = tmp_path / str(number)
        folder.mkdir()
        tape = only(imported(folder, span(1, [ASK, CALLING, *results(find=value)], END)))
        answer = tape.find(tool("find", id="A-17"), "0")
        assert answer is not None
        assert read_tool_answer(answer) == {"result": json.dumps(value)}


def test_a_tape_has_in_its_file_all_that_the_trace_holds(tmp_path: Path) -> None:
    answer = TracedAnswer(
        text="",
        tool_calls=(ToolCall(name="find", arguments="{}", id="x"),),
        finish_reason="tool_calls",
        usage=Usage(input_tokens=30, output_tokens=5),
        model="m-2025",
    )
    first = TracedCall(
        span="s0",
        provider="openai",
        messages=[{"role": "user", "content": "Hi"}],
        tools=TOOLS,
        request_model="m",
        model="m-2025",
        parameters={"temperature": 0},
        answer=answer,
        latency_s=0.5,
        missing=[],
    )
    second = TracedCall(
        messages=[*first.messages, {"role": "user", "content": "More"}], tools=[], missing=["an answer"]
    )
    found = TracedTool(name="find", arguments="{}", result="sent")
    tape = TraceTape(sources=["a.json"], calls=[first, second], tools=[found], missing=["models"])
    path = tmp_path / "tape.json"
    path.write_text(json.dumps(format_tape(tape)))
    assert read_tape(path) == tape
    assert path.read_text().count('"Hi"') == 1


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "tape.json:1: broken JSON"),
        ("[]", "expected an object"),
        ('{"version": "2"}', 'expected "version": "pytest-llmops/trace/1", got "2"'),
        ('{"version": "pytest-llmops/trace/1", "calls": [{"messages": [1]}]}', "damaged (IndexError"),
        ('{"version": "pytest-llmops/trace/1", "calls": [{"answer": {}}]}', "damaged (KeyError"),
        ('{"version": "pytest-llmops/trace/1", "tools": [{"name": "f", "x": 1}]}', "damaged (TypeError"),
        (
            '{"version": "pytest-llmops/trace/1", "calls": [{"answer": {"text": 3}}]}',
            "text: expected a text, got 3",
        ),
        (
            '{"version": "pytest-llmops/trace/1", "messages": [{}], "calls": [{"messages": [-1]}]}',
            "expected indexes from 0 to 0",
        ),
    ],
)
def test_a_damaged_tape_is_refused_with_the_next_step(tmp_path: Path, text: str, what: str) -> None:
    path = tmp_path / "tape.json"
    path.write_text(text)
    with pytest.raises(CassetteError) as caught:
        TraceAnswers(path)
    assert what in str(caught.value)
    assert "from-traces --cassette" in str(caught.value)


SAMPLES = (
    *("genai_openai_span", "genai_openai_span_stream", "genai_openai_event", "openai_v2_latest"),
    *("openai_v2_legacy", "openinference", "openinference_stream", "traceloop", "traceloop_stream"),
    *("traceloop_legacy", "langfuse", "langfuse_stream", "langfuse/observations_v2.jsonl"),
    *("phoenix/spans.json", "langsmith/runs.jsonl"),
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sample", "status"), [*((name, 0) for name in SAMPLES), ("file_exporter_cut.jsonl", 1)]
)
def test_recorded_instrumentations_answer_the_requests_of_the_wire(
    tmp_path: Path, sample: str, status: int
) -> None:
    folder = shared("imports", "traces")
    path = folder / sample
    files = [path]
    if path.is_dir():
        files = [path / name for name in ("traces.json", "logs.json") if (path / name).exists()]
    queue = tmp_path / "queue.jsonl"
    names = map(str, files)
    assert cli.main(["cases", "from-traces", *names, "--cassette", "--queue", str(queue)]) == status
    (tape,) = list_tapes(tmp_path)
    for exchange in json.loads((folder / "wire.json").read_text()):
        expected = exchange["response"]["body"]["choices"][0]["message"]
        given = exchange["request"]["body"]
        question = ask(*given.pop("messages"), **given)
        answer = tape.find(question, "0")
        assert answer is not None, tape.describe_miss(question)
        rebuilt = message(answer)
        text = rebuilt["content"] or ""
        assert text.rstrip() == (expected["content"] or "")  # the streams of the samples end with a blank
        functions = [call["function"]["name"] for call in expected.get("tool_calls", ())]
        assert [call["function"]["name"] for call in rebuilt.get("tool_calls", ())] == functions
    assert [held.name for held in tape.tape.tools] == ["get_order"]


def test_an_empty_answer_replays_with_its_finish_reason(tmp_path: Path) -> None:
    tape = only(imported(tmp_path, span(0, [ASK], {**says(""), "finish_reason": "length"})))
    answer = tape.find(ask(CHAT[0]), "0")
    assert message(answer)["content"] == ""
    assert answer is not None
    assert b'"finish_reason":"length"' in answer.body
