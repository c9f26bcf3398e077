from __future__ import annotations

import json
import logging
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.messages import check_message

from pytest_llmops.errors import CorpusError, UsageError, WireError
from pytest_llmops.measurement import Json
from pytest_llmops.protocols import Chunk, Hit, Retriever
from pytest_llmops.retrievers.bm25 import InMemoryRetriever, load_corpus, tokenize


def chunk(id_: str, text: str, **metadata: Json) -> Chunk:
    return Chunk(id=id_, text=text, metadata=metadata)


HANDBOOK = (
    chunk("refunds", "Refunds are paid within 30 days of the return."),
    chunk("shipping", "Shipping takes three days."),
    chunk("warranty", "The warranty lasts two years.", title="Guarantee"),
    chunk("rückgabe", "Die Rückgabe ist innerhalb von 30 Tagen möglich."),
    chunk("退货", "您可以在三十天内退货。"),
)


def search_ids(retriever: InMemoryRetriever, query: str, k: int | None = None) -> list[str]:
    return retriever.search(query, k).ids


def test_it_is_a_retriever() -> None:
    retriever = InMemoryRetriever(HANDBOOK, name="handbook")
    assert isinstance(retriever, Retriever)
    assert (retriever.name, retriever.k, retriever.documents) == ("handbook", 5, 5)
    assert retriever.chunks == HANDBOOK


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("When are refunds paid?", ["refunds"]),
        ("REFUNDS", ["refunds"]),
        ("rückgabe", ["rückgabe"]),
        ("Ru\u0308ckgabe", ["rückgabe"]),
        ("退货", ["退货"]),
        ("天", ["退货"]),
        ("guarantee", ["warranty"]),
        ("30", ["refunds", "rückgabe"]),
        ("days", ["shipping", "refunds"]),
        ("nothing like it", []),
    ],
)
def test_what_is_found(query: str, ids: list[str]) -> None:
    assert search_ids(InMemoryRetriever(HANDBOOK), query) == ids


@pytest.mark.parametrize("query", ["", " \n", "?!... -- _", "the of and it", "。、？"])
def test_a_query_without_a_word_that_counts_finds_nothing(query: str) -> None:
    hits = InMemoryRetriever(HANDBOOK).search(query)
    assert len(hits) == 0
    assert hits.query == query


def test_the_score_is_bm25() -> None:
    retriever = InMemoryRetriever([chunk("a", "red red blue"), chunk("b", "blue"), chunk("c", "green")])
    (hit,) = retriever.search("red")
    # Lucene: ln(1 + (N - n + 0.5) / (n + 0.5)) * tf / (tf + k1 * (1 - b + b * length / mean length))
    idf = math.log(1 + (3 - 1 + 0.5) / (1 + 0.5))
    assert hit.score == pytest.approx(idf * 2 / (2 + 1.5 * (1 - 0.75 + 0.75 * 3 / (5 / 3))))
    assert type(hit.score) is float
    twice = retriever.search("red red")[0].score
    assert twice == pytest.approx(2 * hit.score)


def test_a_hit_is_the_chunk_as_it_was_given() -> None:
    hits = InMemoryRetriever(HANDBOOK).search("guarantee")
    assert hits[0] == Hit(
        id="warranty",
        text="The warranty lasts two years.",
        score=hits[0].score,
        metadata={"title": "Guarantee"},
    )
    assert hits.query == "guarantee"
    assert hits.latency_s is not None
    assert hits.latency_s >= 0


def test_equal_scores_keep_the_order_of_the_corpus() -> None:
    corpus = [chunk(str(number), "the same words") for number in range(40, 0, -1)]
    assert search_ids(InMemoryRetriever(corpus, k=40), "same words") == [case.id for case in corpus]
    assert search_ids(InMemoryRetriever(corpus), "same") == ["40", "39", "38", "37", "36"]


def test_k() -> None:
    retriever = InMemoryRetriever([chunk(str(number), "word") for number in range(9)], k=3)
    assert len(retriever.search("word")) == 3
    assert len(retriever.search("word", 7)) == 7
    assert len(retriever.search("word", k=100)) == 9


@pytest.mark.parametrize("k", [0, -1, True, 1.5, "3"])
def test_a_k_that_is_no_count(k: object) -> None:
    with pytest.raises(UsageError, check=check_message):
        InMemoryRetriever(HANDBOOK).search("days", k)  # type: ignore[arg-type]
    with pytest.raises(UsageError, check=check_message):
        InMemoryRetriever(HANDBOOK, k=k)  # type: ignore[arg-type]


def test_a_query_that_is_no_text() -> None:
    with pytest.raises(UsageError, check=check_message):
        InMemoryRetriever(HANDBOOK).search({"q": 1})  # type: ignore[arg-type]


def test_chunks_without_a_word_do_not_break_the_index() -> None:
    retriever = InMemoryRetriever(
        [chunk("a", "!!!"), chunk("b", ""), chunk("c", "word the"), chunk("d", "the")]
    )
    assert search_ids(retriever, "word") == ["c"]
    assert search_ids(retriever, "the !!!") == []
    assert search_ids(InMemoryRetriever([chunk("a", "?"), chunk("b", "the")]), "the ?") == []


def test_stop_words_can_be_others() -> None:
    corpus = [chunk("a", "The IT desk"), chunk("b", "die Hilfe")]
    assert search_ids(InMemoryRetriever(corpus), "IT") == []
    assert search_ids(InMemoryRetriever(corpus, stopwords=()), "IT") == ["a"]
    assert search_ids(InMemoryRetriever(corpus, stopwords=["Die"]), "die") == []


def test_the_fingerprint_is_of_the_corpus() -> None:
    first = InMemoryRetriever(HANDBOOK).fingerprint
    assert re.fullmatch("[0-9a-f]{16}", first)
    assert InMemoryRetriever(list(HANDBOOK), k=9, name="x").fingerprint == first
    others = [
        InMemoryRetriever(HANDBOOK[::-1]),
        InMemoryRetriever(HANDBOOK[:-1]),
        InMemoryRetriever([*HANDBOOK[:-1], chunk("退货", "")]),
        InMemoryRetriever([*HANDBOOK[:-1], chunk("退货", HANDBOOK[-1].text, lang="zh")]),
        InMemoryRetriever(HANDBOOK, stopwords=()),
    ]
    assert len({first, *(other.fingerprint for other in others)}) == 6


def test_metadata_that_no_file_can_hold_is_refused() -> None:
    with pytest.raises(WireError, match="metadata of chunk a"):
        InMemoryRetriever([Chunk(id="a", text="x", metadata={"when": object()})])  # type: ignore[dict-item]


def test_a_corpus_needs_chunks_with_ids_of_their_own() -> None:
    with pytest.raises(CorpusError, check=check_message):
        InMemoryRetriever([], name="handbook")
    with pytest.raises(CorpusError, match="duplicate id 'a' @ InMemoryRetriever"):
        InMemoryRetriever([chunk("a", "x"), chunk("a", "y")])


def test_nothing_is_logged_nor_printed(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    import bm25s

    before = bm25s.logger.level
    with caplog.at_level(logging.DEBUG):
        InMemoryRetriever(HANDBOOK).search("refund")
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")
    assert bm25s.logger.level == before


SCRIPT = """
from pytest_llmops.protocols import Chunk
from pytest_llmops.retrievers.bm25 import InMemoryRetriever
words = [f"w{n % 37} w{n % 11} w{n % 5}" for n in range(200)]
hits = InMemoryRetriever([Chunk(id=str(n), text=text) for n, text in enumerate(words)], k=50).search("w1 w2 w3 w20")
print([(hit.id, hit.score.hex()) for hit in hits])
"""


@pytest.mark.slow
def test_the_same_hits_with_every_hash_seed() -> None:
    outputs = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[2])},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1
    assert outputs.pop().count(b"0x") == 50


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("Straße STRASSE", ["strasse", "strasse"]),
        ("\ufb01t ＡＢＣ", ["fit", "abc"]),
        ("e\u0301te\u0301 \u0301", ["été"]),
        ("snake_case don't 3.14", ["snake", "case", "don", "t", "3", "14"]),
        ("退货policy", ["退", "货", "policy"]),
        ("データ、です", ["デ", "ー", "タ", "で", "す"]),
        ("한국어", ["한", "국", "어"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("\U00020000x", ["\U00020000", "x"]),
        ("\ud800 a", ["a"]),
    ],
)
def test_tokens(text: str, words: list[str]) -> None:
    assert tokenize(text) == words


def write(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_a_file_of_lines(tmp_path: Path) -> None:
    text = '\ufeff{"id": "a", "text": "x\\ny", "title": "T", "page": 3}\r\n\r\n{"id": "b", "text": "z"}\r\n'
    assert load_corpus(write(tmp_path, "c.jsonl", text)) == (
        chunk("a", "x\ny", title="T", page=3),
        chunk("b", "z"),
    )
    assert load_corpus(str(tmp_path / "c.jsonl"))


def test_a_folder(tmp_path: Path) -> None:
    write(tmp_path, "c/b.md", "# B\r\ntext")
    write(tmp_path, "c/a/z.TXT", "z")
    write(tmp_path, "c/.hidden/x.md", "hidden")
    write(tmp_path, "c/.x.md", "hidden")
    write(tmp_path, "c/picture.png", b"\x89PNG")
    assert load_corpus(tmp_path / "c") == (chunk("a/z.TXT", "z"), chunk("b.md", "# B\ntext"))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", None),
        ('{"id": "a", "text": "x"}\n\n{"id": ', 3),
        ("[]", 1),
        ('{"id": "a", "text": "x"}\n{"id": "a", "text": "y"}', 2),
        ('{"id": "a"}', 1),
        ('{"id": "a", "text": null}', 1),
        ('{"id": "a", "text": " "}', 1),
        ('{"text": "x"}', 1),
        ('{"id": 3, "text": "x"}', 1),
        ('{"id": "a", "text": "x", "title": 3}', 1),
        ('{"id": "a", "text": "x", "score": NaN}', 1),
        (b'{"id": "a",\n"text": "\xff"}', 2),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path: Path, text: str | bytes, line: int | None) -> None:
    path = write(tmp_path, "c.jsonl", text)
    with pytest.raises(CorpusError, check=check_message) as caught:
        load_corpus(path)
    assert (caught.value.path, caught.value.line) == (str(path), line)


def test_places_that_hold_no_corpus(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"no such file @ .*none.jsonl$"):
        load_corpus(tmp_path / "none.jsonl")
    with pytest.raises(CorpusError, check=check_message):
        load_corpus(write(tmp_path, "c.json", "[]"))
    with pytest.raises(CorpusError, check=check_message):
        load_corpus(tmp_path)
    empty = write(tmp_path, "c/a.md", "\n")
    with pytest.raises(CorpusError, check=check_message) as caught:
        load_corpus(tmp_path / "c")
    assert caught.value.path == str(empty)
    broken = write(tmp_path, "c/a.md", b"x\n\xff")
    with pytest.raises(CorpusError, match="not UTF-8") as caught:
        load_corpus(tmp_path / "c")
    assert (caught.value.path, caught.value.line) == (str(broken), 2)


def test_a_corpus_of_lines_is_found(tmp_path: Path) -> None:
    lines = [json.dumps({"id": chunk.id, "text": chunk.text, **chunk.metadata}) for chunk in HANDBOOK]
    corpus = load_corpus(write(tmp_path, "handbook.jsonl", "\n".join(lines)))
    assert InMemoryRetriever(corpus).fingerprint == InMemoryRetriever(HANDBOOK).fingerprint


def test_filters_take_hits_away_and_leave_scores() -> None:
    corpus = [
        chunk(str(number), "word", lang="de" if number % 3 else "en", page=number) for number in range(9)
    ]
    retriever = InMemoryRetriever(corpus, k=2)
    everything = {hit.id: hit.score for hit in retriever.search("word", 9)}
    hits = retriever.search("word", filters={"lang": "en"})
    assert [(hit.id, hit.score) for hit in hits] == [("0", everything["0"]), ("3", everything["3"])]
    assert retriever.search("word", 9, {"lang": ["en"], "page": [3, 4]}).ids == ["3"]
    assert retriever.search("word", filters={"none": 1}).ids == []
    with pytest.raises(UsageError, check=check_message):
        retriever.search("word", filters={"page": []})


def test_it_lists_its_chunks() -> None:
    assert InMemoryRetriever(HANDBOOK).listing() == list(HANDBOOK)
