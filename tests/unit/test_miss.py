from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from pytest_llmops.cassettes import miss
from pytest_llmops.cassettes.miss import WRAP, describe, exhausted, other_take, readable
from pytest_llmops.cassettes.question import Question, ask
from pytest_llmops.cassettes.redact import Redactor
from pytest_llmops.cassettes.wire import fold

URL = "https://api.example.com/v1/chat/completions"
WHERE = {
    "place": "tests/cassettes/test_a/test_x.json",
    "command": "pytest tests/test_a.py::test_x --llm-record=new",
}
PROMPT = " ".join(f"rule {n}: be kind to customer number {n}." for n in range(50))


def chat(prompt: str, **more: object) -> dict[str, Any]:
    return {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": prompt}], **more}


def asked(body: object, url: str = URL, method: str = "POST") -> Question:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return ask(method, url, {"content-type": "application/json"}, data, Redactor())


def request(body: object, url: str = URL, method: str = "POST") -> Mapping[str, Any]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return {"method": method, "url": url, "body": fold(data)}


def said(body: object, *recorded: Mapping[str, Any], **how: str) -> str:
    listed = [(f"#{number:03d}", one) for number, one in enumerate(recorded, start=1)]
    return describe(asked(body, **how), listed, **WHERE)


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


def test_the_same_address_is_nearer_than_the_same_words() -> None:
    text = said(chat("a b c"), request(chat("a b c"), url="https://other.example"), request(chat("x")))
    assert "nearest   #002" in text


def test_nothing_recorded() -> None:
    assert "  nearest   none: nothing is recorded here yet" in said(chat("a"))
    assert "(5 bytes)" in said(b"plain")
    assert "(0 bytes)" in said(b"", method="GET")


def test_only_so_many_lines_are_shown() -> None:
    new, old = ("\n".join(f"{name} {n}" for n in range(100)) for name in ("new", "old"))
    lines = said(chat(new), request(chat(old))).splitlines()
    assert len(lines) == 3 + miss.MAX_DIFF + 2
    assert lines[-2] == "    and 186 more lines differ"


@pytest.mark.parametrize(
    ("kind", "old", "new"),
    [
        ("a UUID", "id 3f2504e0-4f89-11d3-9a0c-0305e82c3301", "id 00000000-0000-0000-0000-000000000000"),
        ("a date or time", "today is 2026-01-02", "today is 2026-11-24"),
        ("a date or time", "at 2026-01-02T10:00:00.123Z sharp", "at 2026-01-02T11:00:01+02:00 sharp"),
        ("a date or time", "it is 9:15", "it is 10:30"),
        ("a path", "file /tmp/pytest-1/x.txt", "file /tmp/pytest-2/y.txt"),
        ("a number", "seed 9", "seed 1234567"),
    ],
)
def test_what_differs_in_every_run_is_named(kind: str, old: str, new: str) -> None:
    text = said(chat(f"{PROMPT} {new} {PROMPT}"), request(chat(f"{PROMPT} {old} {PROMPT}")))
    assert f"  hint      only {kind} differs: make it the same in every run" in text


def test_no_hint_where_words_differ() -> None:
    assert "hint" not in said(chat("a 1"), request(chat("b 2")))


def test_hostile_text_starts_no_line_and_steers_no_terminal() -> None:
    evil = "x\x1b[2J\r\nFAILED tests::all\u202e\u2028passed\x00"
    recorded = request(chat(f"{evil} old", **{f"k\n{evil}": 1}), url=f"{URL}?q={evil}", method=f"P{evil}")
    text = describe(
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


@pytest.mark.parametrize("where", ["start", "middle", "end"])
def test_a_megabyte_is_quick_enough_and_the_message_short(where: str) -> None:
    words = [f"word{n}" for n in range(130_000)]
    changed = list(words)
    changed[{"start": 1, "middle": 65_000, "end": -2}[where]] = "CHANGED"
    text = said(chat(" ".join(changed)), request(chat(" ".join(words))))
    assert "CHANGED" in text
    assert len(text) < 2500


def test_a_picture_in_the_prompt_is_quick_enough() -> None:
    picture = "data:image/png;base64," + "iVBORw0KGgo" * 100_000
    text = said(chat(picture + "B"), request(chat(picture + "A")))
    assert len(text) < 2500
    assert text.count("\n    ") == 2


def test_two_megabytes_that_have_nothing_in_common() -> None:
    old, new = ("\n".join(f"{name} {n}" for n in range(100_000)) for name in ("old", "new"))
    text = said(chat(new), request(chat(old)))
    assert len(text) < 2500
    assert "more lines differ" in text


def test_deep_json_is_told_as_text() -> None:
    deep = b'{"a":' * 400 + b"1" + b"}" * 400
    assert "no recording answers" in said(deep, request(deep.replace(b"1", b"2")))
    assert "    + " in said(b"[" * 50_000, request(b"["))


def test_a_stored_request_that_cannot_be_read_is_no_candidate() -> None:
    damaged = {**request(chat("a")), "body": {"base64": "!"}}
    assert "nearest   none" in said(chat("a"), damaged)


def test_bytes_are_told() -> None:
    assert "    + \\xff" in said(b"\xff", request(b"\xfe"))


def test_readable_leaves_nothing_out() -> None:
    long = "word " * 200 + "x" * 500
    lines = readable(json.dumps({"t": long}).encode()).split("\n")
    assert max(map(len, lines)) <= WRAP + 3
    assert "".join(line[3:] if n == 0 else line[2:] for n, line in enumerate(lines)) == long


def test_exhausted() -> None:
    assert exhausted(asked(chat("a")), 3, 2, **WHERE).splitlines() == [
        f"POST {URL} (model gpt-4o-mini) was asked 3 times, recorded 2",
        "  cassette  tests/cassettes/test_a/test_x.json",
        "  record    pytest tests/test_a.py::test_x --llm-record=new",
    ]


def test_other_take() -> None:
    lines = other_take(asked(chat("a")), "3", ["10", "2"], **WHERE).splitlines()
    assert lines[0] == f"POST {URL} (model gpt-4o-mini) is not recorded for trial 3"
    assert lines[2] == "  recorded  for trial 2, 10"
