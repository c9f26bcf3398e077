from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from support.messages import check_message

from pytest_llmops.cassettes import miss, nearest_request
from pytest_llmops.cassettes.body_lines import WRAP_WIDTH, format_body
from pytest_llmops.cassettes.miss import (
    describe_exhausted_request,
    describe_missing_request,
    describe_other_take,
)
from pytest_llmops.cassettes.recordings import Recordings
from pytest_llmops.cassettes.request_key import MatchRules, Question, build_question
from pytest_llmops.cassettes.store import Interaction
from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.wire.body import fold_body, unfold_body

URL = "https://api.example.com/v1/chat/completions"
WHERE: Any = {
    "place": "tests/cassettes/test_a/test_x.json",
    "command": "pytest tests/test_a.py::test_x --llm-record=new",
}
PROMPT = " ".join(f"rule {n}: be kind to customer number {n}." for n in range(50))


def chat(prompt: str, **more: object) -> dict[str, Any]:
    return {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": prompt}], **more}


def asked(body: object, url: str = URL, method: str = "POST") -> Question:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return build_question(method, url, {"content-type": "application/json"}, data, Redactor())


def request(body: object, url: str = URL, method: str = "POST") -> Mapping[str, Any]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return {"method": method, "url": url, "body": fold_body(data)}


def said(body: object, *recorded: Mapping[str, Any], **how: str) -> str:
    listed = [(f"#{number:03d}", entry) for number, entry in enumerate(recorded, start=1)]
    return describe_missing_request(asked(body, **how), listed, **WHERE)


def test_a_change_at_the_end_of_a_long_prompt_is_shown() -> None:
    text = said(
        chat(f"{PROMPT} Answer in French."),
        request(chat("something else entirely")),
        request(chat(f"{PROMPT} Answer in German.")),
        request(chat("rule 1")),
    )
    assert text.splitlines() == [
        f"no recording answers POST {URL} (model gpt-4o-mini)",
        "  cassette  tests/cassettes/test_a/test_x.json",
        "  nearest   #002",
        "    -   German.",
        "    +   French.",
        "  record    pytest tests/test_a.py::test_x --llm-record=new",
    ]


def test_a_change_is_that_of_the_same_test_where_tests_share_a_cassette() -> None:
    """The first test of a run has recorded the new system prompt, so that its request is the most similar one."""

    def ask(prompt: str, text: str) -> dict[str, Any]:
        return {
            "messages": [{"role": "system", "content": prompt}, {"role": "user", "content": text}],
        }

    recordings = Recordings(Path("shared.json"))
    for by, body in {
        "t.py::test[1]#001": ask("Be kind.", "Where is my parcel?"),
        "t.py::test[0]#001": ask(PROMPT, "Where is my lamp?"),
    }.items():
        recordings.by_key[by] = Interaction(by, by, dict(request(body)))
    new = asked(ask(PROMPT, "Where is my parcel?"))
    assert recordings.describe_change(new, {}, "0", owner="t.py::test[1]") == "messages[0]"
    assert recordings.describe_change(new, {}, "0") == "messages[1]"


def test_a_changed_parameter_is_shown_by_its_path() -> None:
    old, new = (chat("a", temperature=n, tools=[{"x": [n]}]) for n in (1, 0))
    lines = said(new, request(old)).splitlines()
    assert lines[3:7] == [
        "    - temperature: 1",
        "    - tools[0].x[0]: 1",
        "    + temperature: 0",
        "    + tools[0].x[0]: 0",
    ]


def test_lines_that_look_like_a_diff_are_shown() -> None:
    text = said(chat("--- a\n-- b\n+++ c"), request(chat("--- x\n-- y\n+++ z")))
    assert "    -   -- y" in text
    assert "    -   +++ z" in text
    assert "    +   -- b" in text


def test_another_address_is_shown() -> None:
    text = said(chat("a"), request(chat("a"), url="https://other.example/v1", method="PUT"))
    assert "  address   recorded PUT https://other.example/v1" in text
    assert "    - " not in text


def test_the_same_request_without_an_answer_left_has_a_reason() -> None:
    url = "https://other.example/v1/chat/completions"
    assert "  reason    it is the same request: " in said(chat("a"), request(chat("a"), url=url))


def test_the_same_address_is_nearer_than_the_same_words() -> None:
    text = said(chat("a b c"), request(chat("a b c"), url="https://other.example"), request(chat("x")))
    assert "nearest   #002" in text


def test_nothing_recorded() -> None:
    check_message(said(chat("a")))
    assert "(5 bytes)" in said(b"plain")
    assert "(0 bytes)" in said(b"", method="GET")


def test_only_so_many_lines_are_shown() -> None:
    new, old = ("\n".join(f"{name} {n}" for n in range(100)) for name in ("new", "old"))
    lines = said(chat(new), request(chat(old))).splitlines()
    assert len(lines) == 3 + miss.MAX_DIFF + 2
    check_message(lines[-2])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("id 3f2504e0-4f89-11d3-9a0c-0305e82c3301", "id 00000000-0000-0000-0000-000000000000"),
        ("today is 2026-01-02", "today is 2026-11-24"),
        ("at 2026-01-02T10:00:00.123Z sharp", "at 2026-01-02T11:00:01+02:00 sharp"),
        ("it is 9:15", "it is 10:30"),
        ("file /tmp/pytest-1/x.txt", "file /tmp/pytest-2/y.txt"),
        ("seed 9", "seed 1234567"),
    ],
)
def test_what_differs_in_every_run_is_named(old: str, new: str) -> None:
    text = said(chat(f"{PROMPT} {new} {PROMPT}"), request(chat(f"{PROMPT} {old} {PROMPT}")))
    (hint,) = (line for line in text.splitlines() if line.startswith("  hint "))
    check_message(hint)


def tool_result(kind: str, text: str) -> dict[str, Any]:
    """A request with the result of a tool, and a call before it."""
    if kind == "chat":
        return {"messages": [{"role": "user", "content": "Hi"}, {"role": "tool", "content": text}]}
    if kind == "responses":
        item = {"type": "function_call_output", "call_id": "c1", "output": text}
        return {"input": [{"type": "function_call", "name": "search"}, item]}
    if kind == "anthropic":
        block = {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": text}]}
        return {"messages": [{"role": "user", "content": [block, {"type": "text", "text": "Go on."}]}]}
    if kind == "bedrock":
        return {"messages": [{"role": "user", "content": [{"toolResult": {"content": [{"text": text}]}}]}]}
    return {"contents": [{"role": "user", "parts": [{"functionResponse": {"response": {"text": text}}}]}]}


@pytest.mark.parametrize(
    ("kind", "step"),
    [
        ("chat", "replace the differing part in a normalizer of requests"),
        ("responses", "ignore results: llm_match_ignore = input[*].output"),
        ("anthropic", "ignore results: llm_match_ignore = messages[*].content[*].content"),
        ("bedrock", "ignore results: llm_match_ignore = messages[*].content[*].toolResult"),
        ("gemini", "ignore results: llm_match_ignore = contents[*].parts[*].functionResponse"),
    ],
)
def test_a_tool_that_returned_something_else_is_named(kind: str, step: str) -> None:
    old, new = tool_result(kind, "sunny"), tool_result(kind, "rain")
    (hint,) = (line for line in said(new, request(old)).splitlines() if line.startswith("  hint "))
    assert hint.endswith(f"give it fixed data, or {step}")
    assert "has the result of a tool: tools run in every replay" in hint
    check_message(hint)
    tool = {"method": "tools/call", "url": "mcp:orders", "body": {"json": {}}}
    recorded_tools = [("#001", request(old)), ("#002", tool)]
    text = describe_missing_request(asked(new), recorded_tools, place="a.json", command="pytest")
    assert "tools run in every replay" not in text
    assert "name it in llm_cassette(tools=[...]); or give it fixed data, or" in text
    assert "hint" not in said({**new, "model": "b"}, request({**old, "model": "a"}))
    path = step.partition(" = ")[2]
    if path:
        question, recorded = asked(new), [("#001", request(old))]
        text = describe_missing_request(question, recorded, **WHERE, rules=MatchRules((path,)))
        assert "  reason    it is the same request" in text


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (
            [{"role": "tool", "tool_call_id": "a", "content": "x"}],
            [{"role": "tool", "tool_call_id": "b", "content": "x"}],
        ),
        ([{"role": "user", "content": "x"}], [{"role": "tool", "content": "y"}]),
        (
            [{"role": "tool", "content": "x"}],
            [{"role": "tool", "content": "x"}, {"role": "tool", "content": "y"}],
        ),
        (
            [{"content": [{"type": "text", "text": "x"}, {"type": "tool_result", "content": "x"}]}],
            [{"content": [{"type": "text", "text": "y"}, {"type": "tool_result", "content": "y"}]}],
        ),
        ([{"role": "tool", "content": "x"}], [None]),
    ],
)
def test_no_hint_where_a_result_of_a_tool_is_not_the_first_change(old: list[Any], new: list[Any]) -> None:
    assert "hint" not in said({"messages": new}, request({"messages": old}))


def test_the_hint_names_all_kinds_of_parts_that_differ_in_every_run() -> None:
    new = chat("It is 2026-12-01 10:15, run 5f0c1e7a-1111-4222-8333-444455556666")
    old = chat("It is 2026-11-30 09:00, run 0a0b0c0d-9999-4888-8777-666655554444")
    text = said(new, request(old))
    assert "  hint      only a UUID and a date or time differ: " in text
    assert text.count("  hint ") == 1
    assert "llmops docs changing-values" in text
    assert "hint" not in said(chat("10:15 a"), request(chat("11:40 b")))


def test_no_hint_where_words_differ() -> None:
    assert "hint" not in said(chat("a 1"), request(chat("b 2")))


def test_hostile_text_starts_no_line_and_steers_no_terminal() -> None:
    evil = "x\x1b[2J\r\nFAILED tests::all\u202e\u2028passed\x00"
    recorded = request(chat(f"{evil} old", **{f"k\n{evil}": 1}), url=f"{URL}?q={evil}", method=f"P{evil}")
    text = describe_missing_request(
        asked(chat(f"{evil} new", model=evil), method="PO\nST"), [(f"name{evil}", recorded)], **WHERE
    )
    labels = (
        "no recording",
        "  cassette  ",
        "  nearest   ",
        "  address   ",
        "    - ",
        "    + ",
        "  record    ",
    )
    for line in text.split("\n"):
        assert line.startswith(labels)
        assert line.isprintable()


@pytest.mark.slow
@pytest.mark.parametrize("where", ["start", "middle", "end"])
def test_a_megabyte_is_quick_enough_and_the_message_short(where: str) -> None:
    words = [f"word{n}" for n in range(130_000)]
    changed = list(words)
    changed[{"start": 1, "middle": 65_000, "end": -2}[where]] = "CHANGED"
    text = said(chat(" ".join(changed)), request(chat(" ".join(words))))
    assert "CHANGED" in text
    assert len(text) < 2500


@pytest.mark.slow
def test_a_picture_in_the_prompt_is_quick_enough() -> None:
    picture = "data:image/png;base64," + "iVBORw0KGgo" * 100_000
    text = said(chat(picture + "B"), request(chat(picture + "A")))
    assert len(text) < 2500
    assert text.count("\n    ") == 2


@pytest.mark.slow
def test_two_megabytes_that_have_nothing_in_common() -> None:
    old, new = ("\n".join(f"{name} {n}" for n in range(100_000)) for name in ("old", "new"))
    text = said(chat(new), request(chat(old)))
    assert len(text) < 2500
    check_message(text)


def test_deep_json_is_told_as_text() -> None:
    deep = b'{"a":' * 400 + b"1" + b"}" * 400
    assert "no recording answers" in said(deep, request(deep.replace(b"1", b"2")))
    assert "    + " in said(b"[" * 50_000, request(b"["))


def test_a_stored_request_that_cannot_be_read_is_no_candidate() -> None:
    damaged = {**request(chat("a")), "body": {"base64": "!"}}
    check_message(said(chat("a"), damaged))


def test_bytes_are_told() -> None:
    assert "    + \\xff" in said(b"\xff", request(b"\xfe"))


def test_readable_leaves_nothing_out() -> None:
    long = "word " * 200 + "x" * 500
    lines = format_body(json.dumps({"t": long}).encode()).split("\n")
    assert max(map(len, lines)) <= WRAP_WIDTH + 3
    assert "".join(line[3:] if n == 0 else line[2:] for n, line in enumerate(lines)) == long


def test_what_the_rules_ignore_is_no_difference() -> None:
    rules = MatchRules(("metadata.run", "?session"), (lambda text: text.replace("Mr Smith", "NAME"),))
    old, new = (
        chat(f"for {name}: {order}", metadata={"run": run, "app": "a"})
        for name, order, run in (("Mr Smith", "refund", "first"), ("NAME", "return", "second"))
    )
    recorded = [("#001", request(old, url=f"{URL}?session=1"))]
    text = describe_missing_request(asked(new, url=f"{URL}?session=2"), recorded, **WHERE, rules=rules)
    assert text.splitlines()[2:-1] == [
        "  nearest   #001",
        "    - messages[0].content: for NAME: refund",
        "    + messages[0].content: for NAME: return",
    ]


def test_an_ignored_member_does_not_hide_the_hint() -> None:
    old, new = chat("id 12", trace="abc"), chat("id 34", trace="xyz")
    text = describe_missing_request(
        asked(new), [("#001", request(old))], **WHERE, rules=MatchRules(("trace",))
    )
    assert "  hint      only a number differs" in text


def test_the_order_of_members_is_no_difference() -> None:
    new, old = {"a": 1, "b": 2, "c": 3}, {"c": 4, "b": 2, "a": 1}
    assert [line for line in said(new, request(old)).splitlines() if line.startswith("    ")] == [
        "    - c: 4",
        "    + c: 3",
    ]


def test_exhausted() -> None:
    check_message(describe_exhausted_request(asked(chat("a")), 3, 2, **WHERE))


def test_other_take() -> None:
    lines = describe_other_take(asked(chat("a")), "3", ["10", "2"], **WHERE).splitlines()
    check_message(lines[0])
    check_message(lines[2])


FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=x7"
FILLER = " ".join(f"paragraph{n} of the handbook" for n in range(200))
PIXELS = b"\x89PNG\xff\xfe\x00"


def send_json(topic: str) -> tuple[str, bytes]:
    return "application/json", json.dumps(chat(f"what about {topic} please")).encode()


def send_long_json_with_the_topic_first(topic: str) -> tuple[str, bytes]:
    return "application/json", json.dumps({"messages": [f"about {topic}", FILLER]}).encode()


def send_long_json_with_the_topic_last(topic: str) -> tuple[str, bytes]:
    return "application/json", json.dumps({"messages": [FILLER, f"about {topic}"]}).encode()


def send_json_of_many_lines(topic: str) -> tuple[str, bytes]:
    return "application/json", json.dumps(["a system prompt", f"{FILLER}\nabout {topic}\nplease"]).encode()


def send_json_with_numbers_around_the_topic(topic: str) -> tuple[str, bytes]:
    matrix = [[number / 7] for number in range(100)]
    return "application/json", json.dumps({"before": matrix, "about": topic, "after": matrix}).encode()


def send_text(topic: str) -> tuple[str, bytes]:
    return "text/plain", f"what about {topic} please".encode()


def send_long_text(topic: str) -> tuple[str, bytes]:
    return "text/plain", f"{FILLER}\nwhat about {topic}\nplease".encode()


def send_form(topic: str) -> tuple[str, bytes]:
    return FORM, f"q=what about {topic} please&lang=en".encode()


def send_multipart(topic: str) -> tuple[str, bytes]:
    parts = [b'name="prompt"\r\n\r\nabout ' + topic.encode(), b'name="image"\r\n\r\n' + PIXELS]
    start = b"--x7\r\nContent-Disposition: form-data; "
    return MULTIPART, b"".join(start + part + b"\r\n" for part in parts) + b"--x7--\r\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    "send",
    [
        send_json,
        send_long_json_with_the_topic_first,
        send_long_json_with_the_topic_last,
        send_json_of_many_lines,
        send_json_with_numbers_around_the_topic,
        send_text,
        send_long_text,
        send_form,
        send_multipart,
    ],
)
@pytest.mark.parametrize("place", [1, 30, 60])
def test_the_nearest_of_many_is_found(send: Callable[[str], tuple[str, bytes]], place: int) -> None:
    def ask_about(topic: str) -> Question:
        kind, body = send(topic)
        return build_question("POST", URL, {"content-type": kind}, body, Redactor())

    recorded = []
    for number in range(1, 61):
        topic = "late delivery refund old" if number == place else f"weather in town{number} today"
        stored = fold_body(ask_about(topic).body)
        recorded.append((f"#{number:03d}", {"method": "POST", "url": URL, "body": stored}))
    text = describe_missing_request(ask_about("late delivery refund new"), recorded, **WHERE)
    assert f"  nearest   #{place:03d}" in text.splitlines()
    changed = [line for line in text.splitlines() if line.startswith(("    - ", "    + "))]
    assert len(changed) == 2
    assert "old" in changed[0]
    assert "new" in changed[1]


def many(*last: Mapping[str, Any], count: int = 60) -> list[Mapping[str, Any]]:
    """Requests that have little to do with a delivery, and others after them."""
    weather = [request(chat(f"weather in town{number}")) for number in range(1, count + 1)]
    return [*weather[: count - len(last)], *last]


def test_the_address_counts_more_than_words_among_many_too() -> None:
    asked_for = chat("late delivery refund")
    other = "https://other.example/v1"
    elsewhere = [request(asked_for, url=other, method="PUT")] * 45
    for fewer_words in (
        request(chat("late")),
        request(chat("late"), method="GET"),
        request(chat("late"), url=other),
    ):
        assert "  nearest   #046" in said(asked_for, *elsewhere, fewer_words).splitlines()


def test_of_requests_that_are_equally_near_the_first_is_named() -> None:
    # A repeated word counts against a request in the choice of the forty, and not in the comparison itself.
    repeated, plain = request(chat("late delivery delivery delivery")), request(chat("late delivery"))
    text = said(chat("late delivery refund"), *many(repeated, plain))
    assert "  nearest   #059" in text.splitlines()
    assert "  nearest   #001" in said(chat("late"), *[request(chat("late delivery"))] * 41).splitlines()
    assert "  nearest   #001" in said(chat("late"), *[request(chat("late delivery"))] * 2).splitlines()


@pytest.mark.parametrize("count", [1, 60])
def test_a_long_request_that_holds_all_the_words_is_not_the_nearest_for_that(count: int) -> None:
    long = request(chat(f"late delivery refund {FILLER}"))
    text = said(chat("late delivery refund"), *[long] * count, request(chat("late delivery")))
    assert f"  nearest   #{count + 1:03d}" in text.splitlines()


def test_only_some_of_many_requests_are_laid_out(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Mapping[str, Any]] = []

    def open_body(stored: Mapping[str, Any]) -> bytes:
        opened.append(stored)
        return unfold_body(stored)

    monkeypatch.setattr(nearest_request, "unfold_body", open_body)
    said(chat("late delivery"), *many(count=nearest_request.MAX_SHORTLIST))
    assert len(opened) == nearest_request.MAX_SHORTLIST
    opened.clear()
    said(chat("late delivery"), *many(count=3 * nearest_request.MAX_SHORTLIST))
    assert len(opened) == nearest_request.MAX_SHORTLIST


@pytest.mark.parametrize("body", [{"body": {"text": ""}}, {}])
def test_many_requests_without_a_body_are_compared_by_their_address(body: Mapping[str, Any]) -> None:
    listed = [{"method": "GET", "url": f"{URL}/{number}", **body} for number in range(1, 61)]
    text = said(b"", *listed, url=f"{URL}/50", method="GET")
    assert "  nearest   #050" in text.splitlines()


def test_damaged_requests_among_many_are_passed_over() -> None:
    damaged = {**request(chat("late delivery refund")), "body": {"base64": "!"}}
    nearest = request(chat("late delivery refund now"))
    for listed in ([damaged, nearest], many(damaged, nearest)):
        assert f"  nearest   #{len(listed):03d}" in said(chat("late delivery refund"), *listed).splitlines()


def test_many_equal_lines_between_two_changed_ones_are_not_listed() -> None:
    old, new = ("\n".join([f"{name} start", *["the same"] * 300, f"{name} end"]) for name in ("old", "new"))
    assert said(chat(new), request(chat(old))).splitlines()[3:7] == [
        "    - messages[0].content: old start",
        "    + messages[0].content: new start",
        "    -   old end",
        "    +   new end",
    ]


def test_a_request_that_goes_on_where_the_recorded_one_ends() -> None:
    assert "    + more" in said(b"a\nb\nmore", request(b"a\nb")).splitlines()
    assert "    - more" in said(b"a\nb", request(b"a\nb\nmore")).splitlines()


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:11434/v1/x",
        "http://[::1]:8000/v1/x",
        "http://localhost/v1/x",
        "https://api.example.com/v1/x",
    ],
)
def test_a_miss_names_the_server_that_was_asked(url: str) -> None:
    question = build_question("POST", url, {}, b"{}", Redactor())
    text = describe_missing_request(question, [], place="a.json", command="pytest")
    assert text.startswith(f"no recording answers POST {url} (2 bytes)")
