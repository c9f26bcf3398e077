"""What a chunk and a source are, and what of them does not count."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from support.messages import check_message

from pytest_llmops.chunks.pieces import Piece, compact_text, read_chunks, read_source
from pytest_llmops.chunks.sizes import count_tokens
from pytest_llmops.errors import UsageError
from pytest_llmops.protocols import Chunk, Hit


@dataclass
class Document:
    """As LangChain has them."""

    page_content: str
    metadata: dict[str, Any]
    id: str | None = None


@dataclass
class Node:
    """As LlamaIndex has them."""

    text: str
    node_id: str = "n"
    start_char_idx: int | None = None

    def get_content(self) -> str:
        return self.text


@dataclass
class NodeWithScore:
    node: Node
    score: float

    @property
    def node_id(self) -> str:
        return self.node.node_id

    def get_content(self) -> str:
        return self.node.get_content()


@pytest.mark.parametrize(
    ("chunk", "piece"),
    [
        ("text", Piece(1, "text")),
        (Chunk(id="c", text="text"), Piece(1, "text", "c")),
        (Hit(id="h", text="text", score=1.0), Piece(1, "text", "h")),
        (Document("text", {"start_index": 7}), Piece(1, "text", "", 7)),
        (Document("text", {}, id="d"), Piece(1, "text", "d")),
        (Node("text", start_char_idx=3), Piece(1, "text", "n", 3)),
        (NodeWithScore(Node("text", "m", 0), 0.5), Piece(1, "text", "m", 0)),
        ({"page_content": "text", "metadata": {"start_index": True}}, Piece(1, "text")),
        ({"content": "text", "id": 4, "start_index": 2}, Piece(1, "text", "4", 2)),
        ({"text": ""}, Piece(1, "")),
    ],
)
def test_a_chunk_is_known_by_what_it_has(chunk: object, piece: Piece) -> None:
    assert read_chunks([chunk]) == (piece,)
    assert read_chunks(iter([chunk])) == (piece,)


def test_a_chunk_in_a_message_has_a_number_and_an_id_that_stays_in_its_line() -> None:
    pieces = read_chunks(["a", Chunk(id="x\n" + "y" * 99, text="b")])
    assert pieces[0].place == "chunk 1"
    assert pieces[1].place == "chunk 2 (x\\nyyyyyy...)"


@pytest.mark.parametrize(
    "chunks",
    [
        "one text",
        None,
        5,
        {"text": "a"},
        ["a", 7],
        ["a", None],
        [{"body": "a"}],
        [Node(None)],  # type: ignore[arg-type]
        [b"a"],
    ],
)
def test_what_has_no_text_is_refused(chunks: object) -> None:
    with pytest.raises(UsageError, check=check_message):
        read_chunks(chunks)


# --- squeezing


@pytest.mark.parametrize(
    ("raw", "plain", "without_markup"),
    [
        ("a b\t\nc\u00a0d\u3000e", "abcde", "abcde"),
        ("\ufeffso\u00adft zero\u200bwidth\u2060", "softzerowidth", "softzerowidth"),
        ("# Title\n\n> quote\n- item\n1. first", "#Title>quote-item1.first", "Titlequoteitemfirst"),
        ("**bold** _it_ `code`", "**bold**_it_`code`", "boldit" + "code"),
        ("| a | b |\n|---|:-:|\n| 1 | 2 |", "|a|b||---|:-:||1|2|", "ab12"),
        ("see [the docs](http://x.y/z) now", "see[thedocs](http://x.y/z)now", "seethedocsnow"),
        ("![alt](a.png)x", "![alt](a.png)x", "altx"),
        (
            "<p class='a'>x &lt; y&nbsp;&#65;</p><!-- c -->",
            "<pclass='a'>x&lt;y&nbsp;&#65;</p><!--c-->",
            "x<yA",
        ),
        ("2 < 3 and 4 > 1 - 5", "2<3and4>1-5", "2<3and4>1-5"),
        ("a[1] and f(x)", "a[1]andf(x)", "a[1]andf(x)"),
        ("a\n---\nb", "a---b", "ab"),
        ("", "", ""),
    ],
)
def test_what_does_not_count(raw: str, plain: str, without_markup: str) -> None:
    for ignore, text in (("whitespace", plain), ("markup", without_markup)):
        squeezed = compact_text(raw, ignore)  # type: ignore[arg-type]
        assert squeezed.text == text
        assert len(squeezed.places) == len(text)
        kept = [raw[place] for place in squeezed.places]
        assert [char for char in kept if char != "&"] == [
            char for char, there in zip(text, kept, strict=True) if there != "&"
        ]


def test_there_is_no_third_way_to_ignore() -> None:
    with pytest.raises(UsageError, check=check_message):
        compact_text("a", "case")  # type: ignore[arg-type]


def test_the_place_names_document_and_line() -> None:
    source = read_source("first\nsecond line\n\nthird")
    assert [source.place(at) for at in (0, 5, 15)] == ["line 1", "line 2", "line 4"]
    both = read_source({"a.md": "x\ny", "b.md": "\nz"})
    assert [both.place(at) for at in (0, 1, 3)] == ["a.md line 1", "a.md line 2", "b.md line 2"]
    assert [both.document(at) for at in (0, 1, 3)] == [0, 0, 1]
    assert both.size == 3
    assert read_source(["x", "y"]).names == ("document 1", "document 2")
    assert read_source(["x"]).names == ("",)


@pytest.mark.parametrize(
    "source",
    [5, b"x", ["a", 1], {"a": None}],
)
def test_a_source_is_text(source: Any) -> None:
    with pytest.raises(UsageError, check=check_message):
        read_source(source)


@pytest.mark.parametrize(
    ("id_", "place"),
    [
        ("3f2b8c1e-6d41-4b0a-9a57-1f6f0f6f2f11", "chunk 1 (3f2b8c1e...)"),
        ("handbook/refunds.md#0012", "chunk 1 (handbook/refunds.md#0012)"),
        ("a\nb", "chunk 1 (a\\nb)"),
        ("handbook/refunds.md#00123", "chunk 1 (handbook...)"),
    ],
)
def test_a_long_id_leaves_room_for_the_fault(id_: str, place: str) -> None:
    assert read_chunks([{"text": "a", "id": id_}])[0].place == place


def test_numbers_of_numpy_are_numbers() -> None:
    assert read_chunks([{"text": "a", "start_index": np.int64(7)}])[0].start == 7
    tokenizer: Any = lambda text: np.int64(len(text))  # noqa: E731 -- typed as what it is not
    assert count_tokens(tokenizer, "abc") == 3
