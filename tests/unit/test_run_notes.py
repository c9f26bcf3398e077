"""Notes of a run: ini keys that nobody reads, cases without ids, and feedback that no case covers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.messages import check_message
from support.reports import Config

from pytest_llmops.harness import run_notes
from pytest_llmops.harness.run_notes import (
    IniKey,
    find_unread_keys,
    iter_case_id_notes,
    iter_feedback_notes,
)
from pytest_llmops.results.run import TestRecord

UNKNOWN = ValueError("unknown configuration value")


def record_of(nodeid: str = "tests/test_a.py::test_a", **case: Any) -> TestRecord:
    return TestRecord(nodeid=nodeid, facts={"case": case})


# Keys in ini files.


def test_keys_with_our_prefix_are_found_in_sections_about_pytest(tmp_path: Path) -> None:
    lines = [
        "llm_model = a",
        "[tool.black]",
        "llm_judge_model = no",
        "[[ tool.pytest.ini_options ]]",
        "llm_model: b",
        " llm_indented = no",
        "llm_trials",
        "[tool.llmops]",
        "llm_trials\t=3",
        "llm_Model = no",
    ]
    path = tmp_path / ".pytest.ini"
    path.write_text("\n".join(lines), "utf-8")
    assert list(run_notes._iter_keys(path)) == [
        IniKey("llm_model", "pytest", 1),
        IniKey("llm_model", "tool.pytest.ini_options", 5),
        IniKey("llm_trials", "tool.llmops", 9),
    ]
    path = path.rename(tmp_path / "setup.cfg")
    assert [key.line for key in run_notes._iter_keys(path)] == [5, 9]


def test_only_the_beginning_of_a_huge_ini_file_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "pytest.ini"
    path.write_text("llm_model = a\nllm_trials = 3\n", "utf-8")
    monkeypatch.setattr(run_notes, "MAX_INI_CHARS", 20)
    assert list(run_notes._iter_keys(path)) == [IniKey("llm_model", "pytest", 1)]


def test_a_key_that_pytest_does_not_read_gets_a_note(tmp_path: Path) -> None:
    root = tmp_path / "project"
    (root / "sub").mkdir(parents=True)
    (root / "pytest.ini").write_text("[pytest]\nllm_model = a\nllm_trials = 1\n[x-pytest]\nllm_budget = 1\n")
    (root / "setup.cfg").write_text("[tool:pytest]\nllm_model = b\n")
    (root / "sub" / "tox.ini").write_text("[pytest]\nllm_trials = 2\nllm_trails = 2\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\nllm_budget = 1\n")
    read = {"llm_model": "a", "llm_trials": ValueError("not a number")}
    config = Config(root, ini=read, inipath=root / "pytest.ini")
    notes = list(find_unread_keys(config, [root, root / "sub", root, tmp_path, tmp_path / "none"]))
    places = [note.partition(" is not read")[0] for note in notes]
    assert places == [
        "llm_budget in pytest.ini, line 5 ([x-pytest])",
        "llm_model in setup.cfg, line 2 ([tool:pytest])",
        "llm_trials in sub/tox.ini, line 2 ([pytest])",
        f"llm_budget in {tmp_path.as_posix()}/pytest.ini, line 2 ([pytest])",
    ]
    assert check_message(notes[:3])


@pytest.mark.parametrize("name", ["pyproject.toml", "setup.cfg", "tox.ini", ""])
def test_a_note_names_the_section_that_pytest_reads(tmp_path: Path, name: str) -> None:
    (tmp_path / ".pytest.ini").write_text("[pytest]\nllm_model = a\n")
    config = Config(tmp_path, inipath=tmp_path / name if name else None)
    assert check_message(list(find_unread_keys(config, [tmp_path])))


@pytest.mark.parametrize(
    ("key", "ini", "is_noted"),
    [
        ("llm_modell", UNKNOWN, True),
        ("llm_modell", "another plugin's", False),
        ("llm_something", UNKNOWN, False),
        ("llm_zzzzzz", UNKNOWN, False),
    ],
)
def test_a_misspelt_key_gets_a_suggestion(tmp_path: Path, key: str, ini: object, *, is_noted: bool) -> None:
    path = tmp_path / "pytest.ini"
    path.write_text(f"[pytest]\n{key} = a\n")
    notes = list(find_unread_keys(Config(tmp_path, ini={key: ini}, inipath=path), [tmp_path]))
    assert len(notes) == is_noted
    assert all(check_message(note) for note in notes)


# Cases without ids.


def test_case_files_without_ids_get_a_note_each() -> None:
    made: Any = {"has_content_id": True}
    notes = iter_case_id_notes(
        [
            record_of(file="b.csv", id="one", copies=2, **made),
            record_of(file="b.csv", id="one", copies=2, **made),
            record_of(file="b.csv", id="two", **made),
            record_of(file="a.csv", id="x", copies=3, **made),
            record_of(file="a.csv", id="y"),
            record_of(file="hf:set", id="x", **made),
            record_of(file="hf:twice", id="x", copies=2, **made),
            TestRecord(nodeid="t"),
        ]
    )
    assert check_message(list(notes))


# Feedback.


def write_queue(path: Path, *topics: str, down: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        json.dumps(
            {
                "id": f"id-{topic}",
                "input": f"About {topic}?",
                "output": "x",
                "tags": [topic],
                "votes": {"down": down},
            }
        )
        for topic in topics
    ]
    path.write_text("\n".join(lines), "utf-8")


def test_topics_that_no_case_covers_are_named(tmp_path: Path) -> None:
    write_queue(tmp_path / "tests/cases/queue.jsonl", "refund", "tax", "post", down=2)
    write_queue(tmp_path / "cases/queue.jsonl", "refund")
    write_queue(tmp_path / "tests/other/queue.jsonl", *"abcdefgh")
    records = [
        TestRecord(nodeid="tests/test_a.py::test_0"),
        record_of(file="cases/a.csv", id="id-tax", tags=["refund"]),
        record_of(file="cases/b.csv", id="b"),
        record_of(file="other/b.csv", id="c"),
        record_of(file="", id="id-post"),
    ]
    assert check_message(list(iter_feedback_notes(tmp_path, records)))


def test_a_queue_that_cannot_be_read_gives_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "queue.jsonl"
    path.write_text('{"id": 1}\n')
    (note,) = iter_feedback_notes(tmp_path, [record_of("test_a.py::t", file="a.csv", id="b")])
    assert note.endswith(f" @ {path}:1")


@pytest.mark.parametrize(("limit", "is_read"), [(0, True), (-1, False)])
def test_a_huge_queue_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, *, is_read: bool
) -> None:
    path = tmp_path / "queue.jsonl"
    write_queue(path, "a")
    monkeypatch.setattr(run_notes, "MAX_QUEUE_BYTES", path.stat().st_size + limit)
    notes = list(iter_feedback_notes(tmp_path, [record_of("test_a.py::t", file="a.csv", id="b")]))
    assert len(notes) == is_read
