from __future__ import annotations

import datetime as dt
import json
import os
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from support.messages import check_message

from pytest_llmops.errors import CorpusError, UsageError
from pytest_llmops.measurement import Json
from pytest_llmops.protocols import Chunk
from pytest_llmops.retrievers.bm25 import InMemoryRetriever
from pytest_llmops.retrievers.dense import DenseRetriever
from pytest_llmops.retrievers.freshness import (
    DocumentState,
    Freshness,
    Keys,
    Stamp,
    compare_states,
    content_fingerprint,
    document_states,
)

NEW_YEAR = 1_767_225_600.0
"""2026-01-01T00:00:00+00:00."""


def chunk(id_: str, text: str = "", **metadata: Json) -> Chunk:
    return Chunk(id=id_, text=text, metadata=metadata)


def mark(text: str) -> frozenset[str]:
    return frozenset({content_fingerprint(text)})


@pytest.mark.parametrize(
    ("value", "state"),
    [
        ("text", DocumentState(mark("text"))),
        (NEW_YEAR, DocumentState(modified=NEW_YEAR)),
        (0, DocumentState(modified=0.0)),
        (dt.datetime(2026, 1, 1, tzinfo=dt.UTC), DocumentState(modified=NEW_YEAR)),
        (
            dt.datetime(2026, 1, 1, 2, tzinfo=dt.timezone(dt.timedelta(hours=2))),
            DocumentState(modified=NEW_YEAR),
        ),
        (
            Stamp(fingerprint="abc", modified="2026-01-01T00:00:00Z", indexed=NEW_YEAR + 5),
            DocumentState(frozenset({"abc"}), NEW_YEAR, NEW_YEAR + 5),
        ),
        (Stamp(), DocumentState()),
        (None, DocumentState()),
        (chunk("a", "text", modified=NEW_YEAR), DocumentState(mark("text"), NEW_YEAR)),
    ],
)
def test_a_mapping_says_text_time_or_stamp(value: Any, state: DocumentState) -> None:
    assert document_states({"a": value}) == {"a": state}


@pytest.mark.parametrize(
    "value",
    [
        True,
        float("nan"),
        -1,
        [1],
        dt.datetime(2026, 1, 1),  # noqa: DTZ001 -- that is the mistake
        Stamp(modified="yesterday"),
        Stamp(indexed="2026-01-01"),
    ],
)
def test_a_time_that_is_none(value: Any) -> None:
    with pytest.raises(UsageError, check=check_message):
        document_states({"a": value}, what="index")


def test_a_folder_of_files(tmp_path: Path) -> None:
    for name, text in {"b.md": "two\r\nlines", "a/x.TXT": "x", ".git/c.md": "c", "photo.png": "p"}.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text.encode())
        os.utime(path, (NEW_YEAR, NEW_YEAR))
    assert document_states(tmp_path) == {
        "a/x.TXT": DocumentState(mark("x"), NEW_YEAR),
        "b.md": DocumentState(mark("two\nlines"), NEW_YEAR),
    }
    (tmp_path / "b.md").write_bytes(b"\xff")
    with pytest.raises(CorpusError, match=r"not UTF-8.*b\.md:1"):
        document_states(str(tmp_path))


def test_a_file_of_lines_and_a_retriever_are_the_same(tmp_path: Path) -> None:
    rows = [{"id": "a", "text": "x", "modified": NEW_YEAR}, {"id": "b", "text": "y"}]
    path = tmp_path / "corpus.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    wanted = {"a": DocumentState(mark("x"), NEW_YEAR), "b": DocumentState(mark("y"))}
    corpus = [chunk("a", "x", modified=NEW_YEAR), chunk("b", "y")]
    assert document_states(path) == document_states(corpus) == wanted
    assert (
        document_states(InMemoryRetriever(corpus))
        == document_states(DenseRetriever(corpus, embedder="hashing"))
        == wanted
    )
    with pytest.raises(CorpusError, match="no such file"):
        document_states(tmp_path / "none.jsonl")


def test_chunks_of_one_document_are_put_together() -> None:
    chunks = [
        chunk("a#1", "x", source="a", fingerprint="1", modified=20, indexed_at=50),
        chunk("a#2", "y", source="a", fingerprint="1", modified=10, indexed_at=60),
        chunk("b#1", "x", source="b", fingerprint="2"),
        chunk("b#2", "y", source="b"),
        chunk("c", "z"),
    ]
    assert document_states(chunks) == {
        "a": DocumentState(frozenset({"1"}), 10.0, 50.0, frozenset({"a#1", "a#2"})),
        "b": DocumentState(chunks=frozenset({"b#1", "b#2"})),
        "c": DocumentState(mark("z")),
    }


def test_the_keys_can_be_others() -> None:
    keys = Keys(document="file", fingerprint="sha", modified="mtime", indexed="at")
    chunks = [chunk("1", "x", file="a.md", sha="s", mtime=1, at=2, source="elsewhere")]
    assert document_states(chunks, keys=keys) == {
        "a.md": DocumentState(frozenset({"s"}), 1.0, 2.0, frozenset({"1"}))
    }


def test_what_is_no_side() -> None:
    with pytest.raises(UsageError, check=check_message):
        document_states(3, what="source")  # type: ignore[arg-type]
    with pytest.raises(UsageError, check=check_message):
        document_states(["text"])  # type: ignore[list-item]
    with pytest.raises(CorpusError, check=check_message):
        document_states([chunk("a"), chunk("a")])
    with pytest.raises(CorpusError, check=check_message):
        document_states([chunk("a#1", source="a"), chunk("a")])

    class Broken:
        where = "the store"

        def listing(self) -> list[Chunk]:
            raise OSError("disk gone")

    with pytest.raises(CorpusError, check=check_message) as caught:
        document_states(Broken())  # type: ignore[arg-type]
    assert isinstance(caught.value.__cause__, OSError)


def compare_documents(index: Any, source: Any, now: float = NEW_YEAR) -> Freshness:
    return compare_states(document_states(index), document_states(source), now=now)


def test_missing_outdated_and_orphaned() -> None:
    freshness = compare_documents({"a": "new", "b": "old", "gone": "x"}, {"c": "x", "b": "new", "a": "new"})
    assert (freshness.documents, freshness.missing, freshness.orphaned) == (3, ("c",), ("gone",))
    assert freshness.outdated == {"b": "the content differs"}
    assert (freshness.unknown, freshness.age_s, freshness.by) == ((), None, "")


@pytest.mark.parametrize(
    ("held", "wanted", "outdated"),
    [
        (100.0, 100.0, False),
        (100.0, 100.9, False),
        (100.0, 102.0, True),
        (102.0, 100.0, False),
        (Stamp(indexed=100), 102.0, True),
        (Stamp(indexed=103), 102.0, False),
        (Stamp(modified=100, indexed=103), 102.0, True),
        (Stamp(fingerprint="s", modified=100), Stamp(fingerprint="s", modified=200), False),
        (Stamp(fingerprint="s", modified=200), Stamp(fingerprint="t", modified=100), True),
        (Stamp(fingerprint="s", modified=100), Stamp(modified=200), True),
    ],
)
def test_content_first_then_time(held: Any, wanted: Any, outdated: bool) -> None:
    freshness = compare_documents({"a": held}, {"a": wanted})
    assert bool(freshness.outdated) is outdated
    assert freshness.unknown == ()


def test_the_reason_tells_how_late_it_is() -> None:
    outdated = compare_documents({"a": 100}, {"a": 5_100}).outdated
    assert list(outdated or ()) == ["a"]
    check_message((outdated or {})["a"])


@pytest.mark.parametrize(
    ("held", "wanted"),
    [
        (Stamp(), "text"),
        ("text", 5.0),
        (Stamp(indexed=3), "text"),
        (Stamp(), Stamp()),
        (5.0, Stamp(indexed=9)),
    ],
)
def test_without_anything_in_common_it_is_unknown(held: Any, wanted: Any) -> None:
    freshness = compare_documents({"a": held}, {"a": wanted})
    assert (freshness.unknown, freshness.outdated) == (("a",), {})


def test_the_age_is_that_of_the_oldest() -> None:
    index = {
        "a": Stamp(modified=5, indexed=NEW_YEAR - 60),
        "b": Stamp(modified=4, indexed=NEW_YEAR - 90),
        "c": 3,
    }
    freshness = compare_documents(index, index)
    assert (freshness.oldest, freshness.age_s, freshness.by) == ("b", 90.0, "indexed")
    plain = compare_documents({"a": NEW_YEAR - 10, "b": NEW_YEAR - 20}, {"a": 0})
    assert (plain.oldest, plain.age_s, plain.by) == ("b", 20.0, "modified")
    ahead = compare_documents({"a": NEW_YEAR + 3600}, {"a": 0})
    assert ahead.age_s == 0.0


def test_a_time_in_milliseconds_is_refused() -> None:
    with pytest.raises(UsageError, check=check_message):
        compare_documents({"a": NEW_YEAR * 1000}, {"a": 0})


def parts(*ids: str, print_: str = "f1") -> list[Chunk]:
    return [chunk(id_, source="h.md", fingerprint=print_) for id_ in ids]


@pytest.mark.parametrize(
    ("index", "source"),
    [
        (parts("h.md#1"), parts("h.md#1", "h.md#2")),
        (parts("h.md#1", "h.md#2"), parts("h.md#1")),
        (parts("h.md#1", "h.md#3"), parts("h.md#1", "h.md#2")),
        (parts("x"), parts("y", "z")),
        (parts("a", "b"), parts("a", "b", print_="f2")),
        (parts("a", "b"), parts("c", "d", print_="f2")),
    ],
)
def test_a_document_that_is_indexed_in_part(index: list[Chunk], source: list[Chunk]) -> None:
    states = compare_states(document_states(index), document_states(source), now=0.0)
    assert (states.missing, list(states.outdated or ())) == ((), ["h.md"])
    check_message((states.outdated or {})["h.md"])


@pytest.mark.parametrize(
    "source",
    [parts("a", "b"), parts("c", "d"), {"h.md": Stamp(fingerprint="f1")}],
    ids=["same", "new", "whole"],
)
def test_ids_of_chunks_that_say_nothing(source: Any) -> None:
    states = compare_states(document_states(parts("a", "b")), document_states(source), now=0.0)
    assert (states.missing, states.outdated, states.unknown) == ((), {}, ())


def test_times_may_be_numbers_of_numpy() -> None:
    assert document_states({"a": cast("Any", np.float32(12.5)), "b": cast("Any", np.int64(3))}) == {
        "a": DocumentState(modified=12.5),
        "b": DocumentState(modified=3.0),
    }
