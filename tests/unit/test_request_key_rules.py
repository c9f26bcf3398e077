"""Ignored paths and normalizers: what of a request does not count."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.messages import check_message
from support.tapes import says

from pytest_llmops._util.json_path import drop_path, parse_path
from pytest_llmops.cassettes.request_key import MatchRules, build_question, compute_key
from pytest_llmops.cassettes.tape import Tape
from pytest_llmops.cassettes.tape_config import TapeConfig
from pytest_llmops.errors import CassetteMiss
from pytest_llmops.redaction.redactor import Redactor

URL = "https://api.example/v1/chat?session=1&a=2"


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("a", ("a",)),
        ("$.a.b", ("a", "b")),
        ("a[0].b", ("a", 0, "b")),
        ("a[*].b", ("a", "*", "b")),
        ("tools.*.id", ("tools", "*", "id")),
        ("**.id", ("**", "id")),
        ("a.**.id", ("a", "**", "id")),
        ("[0]", (0,)),
        ("?session", ("?", "session")),
        (" a ", ("a",)),
        ("x-y z", ("x-y z",)),
    ],
)
def test_a_path_is_read(text: str, steps: tuple[object, ...]) -> None:
    assert parse_path(text) == steps


@pytest.mark.parametrize(
    "text", ["", "$", "a..b", "a.", ".", "a[", "a[x]", "a]b", "**", "a.**", "?", "?a=b", "? a"]
)
def test_what_is_no_path_is_told(text: str) -> None:
    with pytest.raises(ValueError, check=check_message):
        parse_path(text)


@pytest.mark.parametrize(
    ("path", "left"),
    [
        ("a", {"b": [{"id": 2, "c": 3}, {"id": 4}]}),
        ("b[0].id", {"a": {"id": 1}, "b": [{"c": 3}, {"id": 4}]}),
        ("b[*].id", {"a": {"id": 1}, "b": [{"c": 3}, {}]}),
        ("*.id", {"a": {}, "b": [{"id": 2, "c": 3}, {"id": 4}]}),
        ("**.id", {"a": {}, "b": [{"c": 3}, {}]}),
        ("b[1]", {"a": {"id": 1}, "b": [{"id": 2, "c": 3}, None]}),
        ("b[*]", {"a": {"id": 1}, "b": []}),
        ("b[9].id", {"a": {"id": 1}, "b": [{"id": 2, "c": 3}, {"id": 4}]}),
        ("nothing.here", {"a": {"id": 1}, "b": [{"id": 2, "c": 3}, {"id": 4}]}),
    ],
)
def test_what_a_path_names_is_left_out(path: str, left: object) -> None:
    value = {"a": {"id": 1}, "b": [{"id": 2, "c": 3}, {"id": 4}]}
    before = json.dumps(value)
    assert drop_path(value, parse_path(path)) == left
    assert json.dumps(value) == before


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "id", "b"]), inner, max_size=3)
    ),
    max_leaves=20,
)


@pytest.mark.slow
@given(JSON)
def test_at_any_depth_means_everywhere(value: Any) -> None:
    left = drop_path(value, parse_path("**.id"))

    def keys(one: Any) -> set[str]:
        inner = one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()
        return set(one if isinstance(one, dict) else ()).union(*map(keys, inner))

    assert "id" not in keys(left)
    assert drop_path(left, parse_path("**.id")) == left


@given(JSON, st.sampled_from(["id", "a.id", "a[0].id", "*.id", "**.id", "a[*]"]))
def test_leaving_out_twice_is_leaving_out_once(value: Any, path: str) -> None:
    once = drop_path(value, parse_path(path))
    assert drop_path(once, parse_path(path)) == once


def key(body: object, url: str = URL, **rules: Any) -> str:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return build_question("POST", url, {}, raw, Redactor(), rules=MatchRules(**rules)).key


def test_ignored_paths_and_parameters_do_not_count() -> None:
    rules: dict[str, Any] = {"ignore": ("metadata.run", "?session")}
    entry = key({"q": 1, "metadata": {"run": "x"}}, **rules)
    assert entry == key({"q": 1, "metadata": {"run": "y"}}, URL.replace("session=1", "session=7"), **rules)
    assert entry == key({"q": 1, "metadata": {}}, URL.replace("session=1&", ""), **rules)
    assert entry != key({"q": 2, "metadata": {}}, **rules)
    assert entry != key({"q": 1, "metadata": {}}, URL.replace("a=2", "a=3"), **rules)


def test_results_of_tools_that_run_in_a_replay_are_ignored() -> None:
    def responses(prompt: str, result: str) -> str:
        output = {"type": "function_call_output", "call_id": "c", "output": result}
        return key({"model": "m", "input": [{"content": prompt}, output]}, ignore=("input[*].output",))

    def anthropic(prompt: str, result: str) -> str:
        block = {"type": "tool_result", "tool_use_id": "c", "content": result}
        messages = [{"content": prompt}, {"content": [{"type": "text", "text": prompt}, block]}]
        return key({"model": "m", "messages": messages}, ignore=("messages[*].content[*].content",))

    for key_of in (responses, anthropic):
        assert key_of("hi", "10:00") == key_of("hi", "10:01")
        assert key_of("hi", "10:00") != key_of("ho", "10:00")


def test_a_parameter_without_a_value_counts_unless_it_is_ignored() -> None:
    def of(query: str) -> str:
        return key({"q": 1}, f"https://api.example/v1/chat{query}", ignore=("?session",))

    assert of("?a=&session=1") == of("?a&session=2") == of("?session=&a=") == of("?a")
    assert len({of(""), of("?a="), of("?a=&a="), of("?a=&b"), of("?b"), of("?a=1"), of("?Session=")}) == 7
    assert of("?session") == of("?session=") == of("?session=1&session=") == of("")
    assert of("?=1") != of("")
    assert of("?a=%FE") != of("?a=%FF")


def test_normalizers_level_body_and_address() -> None:
    rules: dict[str, Any] = {"normalizers": (lambda text: re.sub(r"\d{4}-\d\d-\d\d", "<date>", text),)}
    assert key({"q": "on 2026-01-01"}, **rules) == key({"q": "on 2027-12-31"}, **rules)
    assert key(b"on 2026-01-01", **rules) == key(b"on 2027-12-31", **rules)
    assert key({}, f"{URL}&day=2026-01-01", **rules) == key({}, f"{URL}&day=2026-01-02", **rules)
    assert key({"q": "on 2026-01-01"}, **rules) != key({"q": "at 2026-01-01"}, **rules)


def test_a_body_that_is_no_json_and_no_text_is_left_as_it_is() -> None:
    rules: dict[str, Any] = {"ignore": ("a",), "normalizers": (str.lower,)}
    assert key(b"\xff\xfeA", **rules) != key(b"\xff\xfdA", **rules)


def test_without_rules_the_key_is_the_plain_one() -> None:
    question = build_question("POST", URL, {}, b'{"q": 1}', Redactor())
    assert key({"q": 1}) == question.key == compute_key("POST", question.url, question.body)


def question_of(one: Tape, run: str) -> Any:
    body = json.dumps({"q": "what", "metadata": {"run": run}}).encode()
    return one.make_question("POST", URL, {"content-type": "application/json"}, body)


@pytest.mark.parametrize(
    ("before", "after"), [((), ("metadata.run",)), (("metadata.run",), ()), (("q",), ("**.run",))]
)
def test_rules_may_change_and_recordings_are_still_found(
    tmp_path: Path, before: tuple[str, ...], after: tuple[str, ...]
) -> None:
    path = tmp_path / "cassettes" / "a.json"
    tape = Tape(path, "new", TapeConfig(rules=MatchRules(before)))
    tape.record(question_of(tape, "1"), says("hello"))
    tape.close()
    two = Tape(path, config=TapeConfig(rules=MatchRules(after)))
    request = two.claim(question_of(two, "1"))
    assert request is not None
    assert request.body == b"hello"
    assert two.close().stale == 0


BOUNDED = b'--%s\r\nContent-Disposition: form-data; name="q"\r\n\r\nwhat\r\n--%s\r\n' * 2 + b"%s--\xff\r\n"
BODIES = {
    "text": ("text/plain", b"what on 2026-01-01?"),
    "lines of text": ("text/plain", b"what\non 2026-01-01?\n"),
    "no body": ("", b""),
    "text in quotes": ("application/json", b'"what on 2026-01-01?"'),
    "broken JSON": ("application/json", b'{"q": '),
    "form": ("application/x-www-form-urlencoded", b"client_secret=abc&q=what"),
    "multipart": ("multipart/form-data; boundary=x7", BOUNDED.replace(b"%s", b"x7")),
    "bytes": ("application/octet-stream", b"\xff\xfewhat\x00"),
    "frames": ("application/octet-stream", bytes(range(256)) * 4),
}


def level_dates(text: str) -> str:
    return re.sub(r"\d{4}-\d\d-\d\d", "<date>", text)


@pytest.mark.slow
@pytest.mark.parametrize("kind", BODIES)
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (MatchRules(), MatchRules(("?session",))),
        (MatchRules(("?session",)), MatchRules()),
        (MatchRules(("?a",)), MatchRules(("?session",), (level_dates, str.upper))),
        (MatchRules((), (str.upper,)), MatchRules(("metadata",))),
    ],
)
def test_a_body_that_is_no_json_is_found_under_other_rules(
    tmp_path: Path, kind: str, before: MatchRules, after: MatchRules
) -> None:
    path = tmp_path / "cassettes" / "a.json"
    content_type, body = BODIES[kind]

    def ask_again(tape: Tape, url: str = URL, body: bytes = body) -> Any:
        return tape.make_question("POST", url, {"content-type": content_type}, body)

    recording = Tape(path, "new", TapeConfig(rules=before))
    recording.record(ask_again(recording, body=body + b"another"), says("another"))
    recording.record(ask_again(recording), says("hello"))
    recording.close()
    replaying = Tape(path, config=TapeConfig(rules=after))
    url = URL.replace("session=1", "session=2") if "?session" in after.ignore else URL
    answer = replaying.claim(ask_again(replaying, url))
    assert answer is not None
    assert answer.body == b"hello"
    assert replaying.close().stale == 1
    with pytest.raises(CassetteMiss):
        replaying.claim(ask_again(replaying, body=b"else" + body))


def test_a_recording_under_other_rules_is_found_beside_one_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "cassettes" / "a.json"
    recording = Tape(path, "new")
    for body in (b"\xff\xfe\x00", b"what"):
        recording.record(recording.make_question("POST", URL, {}, body), says("hello"))
    recording.close()
    document = json.loads(path.read_text())
    document["interactions"].sort(key=lambda one: "text" in one["request"]["body"])
    assert list(document["interactions"][0]["request"]["body"]) == ["base64"]
    document["interactions"][0]["request"]["body"] = {"base64": "not base64!"}
    path.write_text(json.dumps(document))
    replaying = Tape(path, config=TapeConfig(rules=MatchRules(("?session",))))
    assert replaying.claim(
        replaying.make_question("POST", URL.replace("session=1", "session=2"), {}, b"what")
    )


def test_of_two_recordings_that_the_rules_make_one_the_first_answers(tmp_path: Path) -> None:
    path = tmp_path / "cassettes" / "a.json"
    recording = Tape(path, "new")
    for session in "34":
        url = URL.replace("session=1", f"session={session}")
        recording.record(recording.make_question("POST", url, {}, b"what"), says(f"in session {session}"))
    recording.close()
    replaying = Tape(path, config=TapeConfig(rules=MatchRules(("?session",))))
    answer = replaying.claim(replaying.make_question("POST", URL, {}, b"what"))
    assert answer is not None
    assert answer.body == b"in session 3"


def test_an_ignored_path_finds_what_was_recorded_with_another_value(tmp_path: Path) -> None:
    path = tmp_path / "cassettes" / "a.json"
    tape = Tape(path, "new")
    tape.record(question_of(tape, "1"), says("hello"))
    tape.close()
    strict, lax = Tape(path), Tape(path, config=TapeConfig(rules=MatchRules(("metadata",))))
    with pytest.raises(CassetteMiss, match="no recording answers"):
        strict.claim(question_of(strict, "2"))
    assert lax.claim(question_of(lax, "2")) is not None
