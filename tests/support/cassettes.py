"""Cassettes and journals made by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pytest_llmops.cassettes import store
from pytest_llmops.cassettes.journal import Journal, JournalEntry
from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.wire.body import fold_body


def request(number: int) -> dict[str, Any]:
    return {"method": "POST", "url": "http://loopback/ask", "body": fold_body(b'{"n":%d}' % number)}


def answer(text: str) -> dict[str, Any]:
    return {"status": 200, "headers": {"content-type": "text/plain"}, "body": {"text": text}}


def entry(number: int, text: str = "", *, take: str = "0", n: int = 0, by: str = "") -> JournalEntry:
    return JournalEntry(
        by or f"#{number:03d}", f"key-{number}", take, n, request(number), answer(text or f"answer {number}")
    )


def journalled(cassette: Path, *entries: JournalEntry) -> Path:
    """A journal whose process is done with it."""
    journal = Journal(cassette)
    for item in entries:
        journal.append(item)
    journal.close()
    return journal.paths[0]


def texts(path: Path) -> dict[str, dict[str, list[str]]]:
    return {
        key: {
            take: [answer["body"]["text"] for answer in listed]
            for take, listed in interaction.answers.items()
        }
        for key, interaction in store.load_cassette(path).items()
    }


def merged(cassette: Path, *entries: JournalEntry, **how: Any) -> None:
    store.merge_journals(cassette, [journalled(cassette, *entries)], Redactor(), **{"replace": False, **how})


def files(folder: Path) -> list[str]:
    """Everything in a folder, also what is in its folders."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))
