"""The review queue: entries are merged, never lost, and hold no secret."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.messages import check_message

from pytest_llmops.errors import CaseError
from pytest_llmops.production.review_queue import (
    QueueEntry,
    add_to_queue,
    entry_id,
    merge_entries,
    read_queue,
)
from pytest_llmops.redaction.redactor import Redactor

SECRET = "sk-test-0123456789abcdef0123456789abcdef"


def down(question: str, answer: str, event: str, **more: object) -> QueueEntry:
    given: dict[str, object] = {"votes": {"down": 1}, **more}
    origin = ({"source": "events.jsonl", "line": 1, "id": event, "vote": "down"},)
    return QueueEntry(input=question, output=answer, origin=origin, **given)  # type: ignore[arg-type]


def test_the_same_entries_again_change_no_byte(tmp_path: Path) -> None:
    path = tmp_path / "cases" / "queue.jsonl"
    entries = [down("Open on Sunday?", "Yes.", "e1"), down("open on sunday", "Yes", "e2", comments=("No!",))]
    assert add_to_queue(path, entries) == (1, 1)
    before = path.read_bytes()
    assert add_to_queue(path, entries) == (0, 2)
    assert path.read_bytes() == before
    (entry,) = read_queue(path)
    assert entry.votes == {"down": 2}
    assert entry.comments == ("No!",)
    assert json.loads(before)["id"] == entry.id == entry_id("case", "Open on Sunday?", "Yes.")


def test_a_decision_stays_and_later_votes_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "queue.jsonl"
    add_to_queue(path, [down("Open?", "Yes.", "e1")])
    line = json.loads(path.read_text(encoding="utf-8")) | {"status": "dropped", "note": "by hand"}
    path.write_text(json.dumps(line) + "\n", encoding="utf-8")
    add_to_queue(path, [down("Open?", "Yes.", "e2", reason="rating 1")])
    (entry,) = read_queue(path)
    assert (entry.status, entry.votes, entry.rank) == ("dropped", {"down": 2}, 0)
    assert entry.data == {"note": "by hand"}


def test_a_queue_that_was_edited_by_hand_is_read(tmp_path: Path) -> None:
    path = tmp_path / "queue.jsonl"
    by_hand = '{ "output":"Yes.",  "id":"mine", "input":"Open?", "votes": {"down": 2}, "data": {"x": 1} }'
    path.write_bytes(f"\ufeff{by_hand}\r\n\r\n".encode())
    add_to_queue(path, [down("Where is it?", "There.", "e1")])
    mine, other = read_queue(path)
    assert (mine.id, mine.rank, mine.votes, mine.data) == ("mine", 1, {"down": 2}, {"data": {"x": 1}})
    assert other.rank == 2


def test_personal_data_is_masked_wherever_it_stands(tmp_path: Path) -> None:
    messages = {
        "ann@example.com": {"card": 4111111111111111, "order": 4111111111111112, "when": 1795704413360},
        "arguments": json.dumps({"note": "\n4111 1111 1111 1111\nann@example.com"}),
    }
    add_to_queue(
        tmp_path / "queue.jsonl", [down("Q", "A", "e1", comments=("ask ann@example.com",), messages=messages)]
    )
    (entry,) = read_queue(tmp_path / "queue.jsonl")
    assert entry.comments == ("ask [email]",)
    assert entry.messages == {
        "[email]": {"card": "[card]", "order": 4111111111111112, "when": 1795704413360},
        "arguments": '{"note": "\\n[card]\\n[email]"}',
    }


def test_near_duplicates_are_linked_and_ranked_after_new_topics(tmp_path: Path) -> None:
    path = tmp_path / "queue.jsonl"
    entries = [
        down("Where is my order A-17?", "On its way to you.", "e1"),
        down("Where is my order A-18?", "Lost.", "e2"),
        down("Where is my order A-17?", "On its way to you!", "e3"),
        down("Do you ship to Norway?", "No.", "e4"),
    ]
    add_to_queue(path, entries)
    first, twin, other = read_queue(path)
    assert (first.similar, twin.similar, other.similar) == ((), (first.id,), ())
    assert (first.rank, twin.rank, other.rank) == (1, 3, 2)


@pytest.mark.parametrize(
    "line",
    [
        "<<<<<<< HEAD",
        "[]",
        '{"id": "a", "input": "Q"}',
        '{"id": 7, "input": "Q", "output": "A"}',
        '{"id": "b", "input": "Q", "output": "A", "status": "done"}',
        '{"id": "b", "input": "Q", "output": "A", "kind": ["case"]}',
        '{"id": "b", "input": "Q", "output": "A", "votes": {"up": "3"}}',
        '{"id": "b", "input": "Q", "output": "A", "votes": {"down": -1}}',
        '{"id": "b", "input": "Q", "output": "A", "origin": ["x"]}',
        '{"id": "b", "input": "Q", "output": "A", "tags": "x"}',
        '{"id": "a", "input": "Q", "output": "A"}',
    ],
)
def test_a_line_that_is_no_entry_is_reported_and_stays(tmp_path: Path, line: str) -> None:
    path = tmp_path / "queue.jsonl"
    text = f'{{"id": "a", "input": "Q", "output": "A"}}\n\n{line}\n'
    path.write_text(text, encoding="utf-8")
    with pytest.raises(CaseError) as caught:
        add_to_queue(path, [down("Q", "B", "e1")])
    assert caught.value.line == 3
    check_message(str(caught.value).replace(str(tmp_path), ""))
    assert path.read_text(encoding="utf-8") == text


@pytest.mark.slow
def test_two_writers_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "queue.jsonl"
    writers = [
        threading.Thread(target=add_to_queue, args=(path, [down(f"Question {n}", "No.", f"e{n}")]))
        for n in range(8)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(read_queue(path)) == 8


def test_no_secret_is_written(tmp_path: Path) -> None:
    path = tmp_path / "queue.jsonl"
    entry = down(
        f"My key is {SECRET}",
        'api_key="hunter2\\hunter2"',
        "e1",
        comments=(f"Bearer {SECRET}",),
        messages=[{"role": "user", "content": {"password": "correct-horse-7"}}],
    )
    add_to_queue(path, [entry])
    text = path.read_text(encoding="utf-8")
    for secret in (SECRET, "hunter2", "correct-horse-7"):
        assert secret not in text
    (read,) = read_queue(path)
    assert read.id == entry_id("case", read.input, read.output)
    add_to_queue(path, [entry])
    assert path.read_text(encoding="utf-8") == text


@given(st.text(), st.text(), st.lists(st.text(), max_size=3))
def test_any_text_is_read_as_it_was_written(question: str, answer: str, comments: list[str]) -> None:
    entry = QueueEntry(input=question, output=answer, comments=tuple(comments))
    from pytest_llmops.production.review_queue import _parse_entry, redact_entry

    assert _parse_entry(json.loads(entry.to_line())) == entry
    redact_entry(entry, Redactor())  # a masked line is still an entry
    assert merge_entries(entry, entry) == entry
