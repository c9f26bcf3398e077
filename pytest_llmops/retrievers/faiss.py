"""Retriever over a FAISS index."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_llmops._util.text_files import json_kind
from pytest_llmops.errors import CorpusError, UsageError, describe_exception
from pytest_llmops.measurement import Json, shorten_text
from pytest_llmops.protocols import Chunk, Embedder, Hit
from pytest_llmops.retrievers.base import (
    Conditions,
    Searcher,
    check_corpus,
    chunk_to_hit,
    embed_query,
    import_optional,
    matches_conditions,
    require_existing_path,
    resolve_embedder,
    similarity_from_distance,
)

__tracebackhide__ = True

INNER_PRODUCT = 0  # FAISS's number for the metric inner product, the only one that is a similarity


class FaissRetriever(Searcher):
    """A FAISS index with the passages of its vectors, as the index itself has only vectors.

    Scores are FAISS's own for inner products, and 1 / (1 + distance) for other metrics (``L2`` is the squared
    distance). With filters all vectors are ranked, and passages that do not match are removed; an approximate index
    (IVF, HNSW) may then find fewer than ``k``.

    Attributes:
        index: The index, as it was given.
        chunks: The passages, in the order of their vectors.
    """

    def __init__(
        self,
        index: Any,
        ids: Sequence[str],
        texts: Sequence[str] = (),
        *,
        embedder: Embedder | str,
        metadata: Sequence[Mapping[str, Json]] = (),
        k: int = 5,
        name: str = "",
    ) -> None:
        """Wrap an index that you built or read.

        Args:
            index: A ``faiss`` index; an ``IndexIDMap``, too.
            ids: An id for each vector, in the order of adding.
            texts: Texts of the vectors; default: all empty (images, tables).
            embedder: Embedder of queries: the same as the index was filled with.
            metadata: Metadata of the vectors; default: none.
            k: Default number of hits of `search`.
            name: For errors and reports.

        Raises:
            CorpusError: There are more or fewer ids, texts or metadata than vectors, an id is repeated, or the index's
                numbers do not determine the id of a vector.
            UsageError: It is not an index, ``k`` is less than 1, or the embedder cannot be used.
        """
        if not callable(getattr(index, "search", None)) or not hasattr(index, "ntotal"):
            raise UsageError(f"FaissRetriever: expected a faiss index, got {type(index).__name__}")
        where = "FAISS index"
        if name:
            where = f"FAISS index {shorten_text(name, 60)!r}"
        super().__init__(k=k, name=name, where=where)
        self.index = index
        self.embedder = resolve_embedder(embedder, self.where)
        total = int(index.ntotal)
        names = self._to_column("ids", ids, total)
        passages = self._to_column("texts", texts, total) or [""] * total
        mappings = self._to_column("metadata", metadata, total) or [{}] * total
        chunks = []
        for id_, text, mapping in zip(names, passages, mappings, strict=True):
            chunks.append(Chunk(id=str(id_), text=str(text), metadata=mapping))
        self.chunks = tuple(chunks)
        check_corpus(self.chunks, self.where)
        self._places = self._map_numbers_to_places()

    def _to_column(self, what: str, given: Any, total: int) -> list[Any]:
        """Return an argument as a list with a value for each vector; an empty list if ``texts`` or ``metadata`` is left out.

        Raises:
            CorpusError: It has another number of values, or is not a list.
        """
        if isinstance(given, str):
            got = "a text"
        elif isinstance(given, Iterable) and not isinstance(given, (bytes, Mapping)):
            column = list(given)
            if len(column) == total or (not column and what != "ids"):
                return column
            got = str(len(column))
        else:
            got = json_kind(given)
        raise CorpusError(
            f"expected {what} for the {total} vectors of the index, one each, got {got}", self.where
        )

    @classmethod
    def open(
        cls, path: str | Path, ids: Sequence[str], texts: Sequence[str] = (), **options: Any
    ) -> "FaissRetriever":
        """Read an index from a file; the other arguments are the same as for the constructor.

        Raises:
            CorpusError: The file is missing, or is not an index.
            UsageError: The package is not installed, or as for the constructor.
        """
        faiss = import_optional("faiss", "faiss-cpu", "FaissRetriever")
        place = require_existing_path(path, "the file of a FAISS index")
        try:
            index = faiss.read_index(str(place))
        except Exception as error:
            problem = shorten_text(describe_exception(error), 400)
            raise CorpusError(
                f"cannot be read as a FAISS index: {problem}; write it again by faiss.write_index",
                place,
            ) from error
        return cls(index, ids, texts, **options)

    @property
    def documents(self) -> int:
        """Number of vectors in the index."""
        return int(self.index.ntotal)

    def listing(self) -> list[Chunk]:
        """Return the passages, in the order of their vectors."""
        return list(self.chunks)

    def _map_numbers_to_places(self) -> dict[int, int]:
        """Return number -> place of the vector for an IndexIDMap; {} for other indexes, whose numbers are the places.

        Raises:
            CorpusError: The numbers do not determine the order of adding.
        """
        if hasattr(self.index, "id_map"):
            faiss = import_optional("faiss", "faiss-cpu", "FaissRetriever")
            numbers = faiss.vector_to_array(self.index.id_map)
            places = {int(number): place for place, number in enumerate(numbers)}
            if len(places) != len(self.chunks):
                raise CorpusError(
                    f"expected a number of its own for each of {len(self.chunks)} vectors, got {len(places)} numbers",
                    self.where,
                )
            return places
        expected_numbers = set(range(len(self.chunks)))
        differing = sorted(self._read_list_numbers() ^ expected_numbers)
        if differing:
            raise CorpusError(
                f"the index has numbers of its own ({differing[0]} ...), and its lists keep no order of adding: expected 0 to "
                f"{len(self.chunks) - 1}, the places in ids; add the vectors without numbers, or to a faiss.IndexIDMap",
                self.where,
            )
        return {}

    def _read_list_numbers(self) -> set[int]:
        """Return the numbers of the vectors of an IVF index; other indexes number them from 0.

        An IndexIDMap has ids of its own; the caller reads them before it gets here.
        """
        faiss = import_optional("faiss", "faiss-cpu", "FaissRetriever")
        is_index = isinstance(self.index, faiss.Index)
        if not is_index or faiss.try_extract_index_ivf(self.index) is None:
            return set(range(len(self.chunks)))
        lists = faiss.extract_index_ivf(self.index).invlists
        numbers: set[int] = set()
        for list_number in range(lists.nlist):
            size = lists.list_size(list_number)
            if size:
                ids = faiss.rev_swig_ptr(lists.get_ids(list_number), size)
                numbers.update(map(int, ids))
        return numbers

    def _find_hits(self, query: str, limit: int, conditions: Conditions) -> list[Hit]:
        """Search the index; with filters all vectors are ranked, as FAISS cannot filter."""
        total = int(self.index.ntotal)
        if total != len(self.chunks):
            raise CorpusError(
                f"expected the {len(self.chunks)} vectors the retriever was made for, got {total}; make it again",
                self.where,
            )
        vector = embed_query(self.embedder, query, self.where, int(self.index.d))
        if vector is None:
            return []
        count = min(limit, total)
        if conditions:
            count = total
        values, numbers = self.index.search(vector[None, :], count)
        hits: list[Hit] = []
        for value, number in zip(values[0], numbers[0], strict=True):
            if number < 0:  # FAISS found fewer, and pads with -1
                continue
            place = self._places.get(int(number), int(number))
            chunk = self.chunks[place]
            if matches_conditions(chunk.metadata, conditions):
                hits.append(chunk_to_hit(chunk, self._to_score(value)))
            if len(hits) == limit:
                break
        return hits

    def _to_score(self, value: Any) -> float:
        if self.index.metric_type == INNER_PRODUCT:
            return float(value)
        return similarity_from_distance(value, "l2")
