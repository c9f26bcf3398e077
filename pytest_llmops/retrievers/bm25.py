"""BM25 retriever in memory, with the same hits on every machine, and the loader of a corpus.

Scores come from the package bm25s (Lucene's BM25, k1 = 1.5, b = 0.75), in 64-bit numbers and with numpy only. `tokenize` decides
what a word is.
"""

import logging
import re
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pytest_llmops._util.arrays import np
from pytest_llmops._util.text_files import (
    BadFile,
    as_mapping,
    fingerprint_parts,
    json_kind,
    locate_errors,
    read_json_lines,
    read_text,
)
from pytest_llmops._util.user_files import check_inside, find_path
from pytest_llmops.errors import CorpusError
from pytest_llmops.measurement import Json, shorten_text
from pytest_llmops.protocols import Chunk, Hit
from pytest_llmops.retrievers.base import (
    Conditions,
    CorpusSearcher,
    chunk_content,
    chunk_to_hit,
    matches_conditions,
    searchable_text,
)

__tracebackhide__ = True

TEXT_SUFFIXES = (".md", ".txt")

# Characters that are tokens by themselves: Thai, Lao, Myanmar, Khmer, kana and Han are written without spaces, and in Hangul endings
# are attached to words
_NO_SPACES = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
# Vowel signs and accents that belong to a word, though Python's ``\w`` does not count them
_COMBINING_MARKS = "\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u0900-\u0963\u0966-\u0dff"
_TOKEN = re.compile(
    f"(?=[^\\W_])[{_NO_SPACES}]|[^\\W_{_NO_SPACES}](?:[^\\W_{_NO_SPACES}]|[{_COMBINING_MARKS}])*"
)


def tokenize(text: str) -> list[str]:
    """Return the words of a text, as the index counts them.

    Compatibility forms are normalized and case is folded (``Straße`` is ``STRASSE``, ``ﬁt`` is ``fit``). A word is a
    run of letters, digits and their accents; underscores and punctuation separate words. In scripts without spaces,
    and in Hangul, each character is a token. Words are not stemmed.

    >>> tokenize("Rückgabe_Frist: 30 Tage!"), tokenize("退货 policy")
    (['rückgabe', 'frist', '30', 'tage'], ['退', '货', 'policy'])
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    # Normalized again, as folding may produce forms that are not.
    return _TOKEN.findall(unicodedata.normalize("NFKC", folded))


class InMemoryRetriever(CorpusSearcher):
    """BM25 over chunks in memory.

    A search returns chunks that share a word with the query. Equal scores keep the order of the corpus. A query of
    stop words or punctuation only has no hits. A word that is repeated in the query counts each time. Filters remove
    hits and do not change scores.

    Attributes:
        name: Name of the corpus, for the report.
        k: Default number of hits of `search`.
        chunks: The corpus, in its order.
        fingerprint: 16 hex digits over the corpus, its order and the stop words.
    """

    def __init__(
        self, chunks: Iterable[Chunk], *, k: int = 5, name: str = "", stopwords: Iterable[str] | None = None
    ) -> None:
        """Index the chunks; a title in a chunk's metadata is searched along with its text.

        Args:
            chunks: The corpus. Chunks without a word are kept, and never found.
            k: Default number of hits of `search`.
            name: Name of the corpus, for errors and reports.
            stopwords: Words that do not count in queries and texts; None: 33 English words (the, of, it ...); ``()``:
                no stop words.

        Raises:
            CorpusError: No chunk is given, or two have the same id.
            UsageError: ``k`` is less than 1.
        """
        super().__init__(chunks, k=k, name=name, where=name or "InMemoryRetriever")
        if stopwords is None:
            from bm25s.stopwords import STOPWORDS_EN

            self._stopwords = frozenset(STOPWORDS_EN)
        else:
            self._stopwords = frozenset(token for word in stopwords for token in tokenize(word))
        contents = map(chunk_content, self.chunks)
        self.fingerprint = fingerprint_parts(*contents, *sorted(self._stopwords))
        self._vocabulary: dict[str, int] = {}
        self._index = self._build_index()

    def _find_hits(self, query: str, limit: int, conditions: Conditions) -> list[Hit]:
        """Return the best hits that share a word with the query; the stable sort keeps the order of the corpus for equal scores."""
        words = [word for word in tokenize(query) if word in self._vocabulary]
        if not words:
            return []
        scores = self._index.get_scores(words)
        positive_count = np.count_nonzero(scores > 0)
        places = np.argsort(-scores, kind="stable")[:positive_count]
        hits: list[Hit] = []
        for place in places:
            if len(hits) == limit:
                break
            chunk = self.chunks[place]
            if matches_conditions(chunk.metadata, conditions):
                hits.append(chunk_to_hit(chunk, float(scores[place])))
        return hits

    def _build_index(self) -> Any:
        """Build the index and fill ``_vocabulary``. Without any word, return None: `_find_hits` never uses the index then."""
        numbers = []
        for chunk in self.chunks:
            tokens = tokenize(searchable_text(chunk))
            words = [word for word in tokens if word not in self._stopwords]
            numbers.append([self._vocabulary.setdefault(word, len(self._vocabulary)) for word in words])
        if not self._vocabulary:
            return None
        import bm25s

        index = bm25s.BM25(method="lucene", dtype="float64", backend="numpy")
        # The words are numbered here, by first occurrence; bm25s would number them in the order of a set, which varies.
        with _quiet_logger("bm25s"):
            index.index((numbers, dict(self._vocabulary)), create_empty_token=False, show_progress=False)
        return index


@contextmanager
def _quiet_logger(logger: str) -> Iterator[None]:
    """Raise the level of a logger for a block: bm25s turns on debug lines, which pytest would capture."""
    log = logging.getLogger(logger)
    level = log.level
    log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        log.setLevel(level)


def load_corpus(path: str | Path) -> tuple[Chunk, ...]:
    """Read a corpus: a .jsonl file, or a folder of .md and .txt files.

    A line is ``{"id": ..., "text": ..., "title": ...}``; title and other keys become metadata. In a folder each file
    is a chunk, whose id is the path below the folder; hidden files and other file types are skipped.

    Raises:
        CorpusError: The file or folder is missing or has no chunks, a line is broken, an id is repeated or a text is
            missing; with file and line.
    """
    with locate_errors(CorpusError, path):
        place = find_path(path)
    if place.is_dir():
        chunks = _read_corpus_folder(place)
        expected = "a .md or .txt file"
    else:
        chunks = _read_corpus_file(place)
        expected = "a line"
    if not chunks:
        raise CorpusError(f"the corpus is empty: expected at least {expected}", path)
    return chunks


def _read_corpus_folder(folder: Path) -> tuple[Chunk, ...]:
    """Read a chunk from each text file of a folder."""
    chunks = []
    for name, path, text in iter_text_files(folder):
        try:
            chunks.append(_parse_chunk({"id": name, "text": text}))
        except BadFile as error:
            raise CorpusError(error.what, path, error.line) from None
    return tuple(chunks)


def iter_text_files(folder: Path) -> Iterator[tuple[str, Path, str]]:
    """Yield (path below the folder, path, text) of its .md and .txt files, sorted by path, without hidden files and folders.

    Raises:
        CorpusError: A file cannot be read, or a file or folder is a link to a place outside of the corpus.
    """
    paths = {path.relative_to(folder): path for path in folder.rglob("*")}
    for name in sorted(paths, key=lambda path: path.as_posix()):
        path = paths[name]
        if any(part.startswith(".") for part in name.parts):
            continue
        with locate_errors(CorpusError, path):
            check_inside(path, folder, "the corpus")
            if path.is_file() and name.suffix.lower() in TEXT_SUFFIXES:
                yield name.as_posix(), path, read_text(path)


def _read_corpus_file(path: Path) -> tuple[Chunk, ...]:
    """Read a chunk from each line of a .jsonl file."""
    if path.suffix.lower() != ".jsonl":
        raise CorpusError("expected a .jsonl file, or a folder of .md and .txt files", path)
    chunks: dict[str, Chunk] = {}
    first_lines: dict[str, int] = {}
    with locate_errors(CorpusError, path):
        lines = list(read_json_lines(read_text(path)))
    for number, value in lines:
        try:
            chunk = _parse_chunk(value)
        except BadFile as error:
            raise CorpusError(error.what, path, number) from None
        if chunk.id in chunks:
            first = first_lines[chunk.id]
            short_id = shorten_text(chunk.id, 60)
            raise CorpusError(f"duplicate id {short_id!r} (first in line {first})", path, number)
        chunks[chunk.id] = chunk
        first_lines[chunk.id] = number
    return tuple(chunks.values())


def _parse_chunk(value: Json) -> Chunk:
    """Return the chunk of a line; keys other than ``id`` and ``text`` become metadata.

    Raises:
        BadFile: ``id`` or ``text`` is missing or empty, or the title is not a text.
    """
    row = as_mapping(value)
    for key in ("id", "text"):
        given = row.get(key)
        if not isinstance(given, str) or not given.strip():
            if isinstance(given, str):
                got = "an empty text"
            elif key in row:
                got = json_kind(given)
            else:
                got = "none"
            raise BadFile(f"{key}: expected a text, got {got}")
    if not isinstance(row.get("title", ""), str):
        raise BadFile(f"title: expected a text, got {json_kind(row['title'])}")
    metadata = {key: item for key, item in row.items() if key not in ("id", "text")}
    return Chunk(id=str(row["id"]), text=str(row["text"]), metadata=metadata)
