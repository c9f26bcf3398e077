"""The marker ``retriever``: which retriever the `retriever` fixture is, and the corpora on disk."""

from copy import copy
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from pytest_llmops import recorder
from pytest_llmops._util.text_files import BadFile, locate_errors
from pytest_llmops._util.user_files import check_inside, find_path, folders_above
from pytest_llmops.errors import CorpusError, UnknownName, path_from_root
from pytest_llmops.harness.markers.marker import Argument, Arguments, Marker, name_of, optional, whole_number
from pytest_llmops.protocols import Embedder, Retriever
from pytest_llmops.settings import Settings


@dataclass(frozen=True, slots=True)
class RetrieverChoice:
    """The retriever that a test is marked with.

    Attributes:
        name: Its name.
        k: The number of hits of a search; None: the retriever's own.
        embedder: The embedder for a search by vectors; empty: it searches by words.
    """

    name: str
    k: int | None = None
    embedder: str = ""


class RetrieverMarker(Marker):
    """A retriever of a hook comes before a corpus on disk with the same name.

    Example::

        @pytest.mark.retriever("handbook", k=5)
        def test_search(retriever):
            assert_retrieval(retriever.search("returns"), ["returns"], metric="recall@5", at_least=1.0)
    """

    name = "retriever"
    help = "choose the retriever of the `retriever` fixture"
    fixture = "retriever"
    arguments = (
        Argument(
            "name",
            name_of("the name of a retriever first"),
            "a name of the hook, or a folder or file in `corpora/`",
        ),
        Argument(
            "k",
            optional(whole_number("k as a whole number of at least 1", least=1)),
            "the number of hits of a search. Left out: the retriever's own",
            default=None,
        ),
        Argument(
            "embedder",
            optional(name_of("embedder as a name, like 'minilm'")),
            "search by the vectors of this embedder instead of by words",
            default=None,
        ),
    )

    def read(self, arguments: Arguments) -> RetrieverChoice:
        """Return name, number of hits and embedder."""
        values = self.parse(arguments)
        return RetrieverChoice(values["name"], values["k"], values["embedder"] or "")


MARKER = RetrieverMarker()


def build_corpus_retriever(node: Any, settings: Settings, name: str, embedder: str = "") -> Retriever:
    """Return a retriever in memory over ``corpora/<name>.jsonl`` or the folder ``corpora/<name>/``.

    It searches by words (BM25), with an embedder by the cosine of its vectors.

    Raises:
        UnknownName: The corpus does not exist. The message lists the existing ones.
    """
    path = find_corpus(node.nodeid, node.path.parent, node.config.rootpath, settings.corpora_dir, name)
    if not embedder:
        return _build_word_retriever(path, name, _newest_change_ns(path))
    component = cast("Embedder", recorder.find_component("embedder", embedder))
    if getattr(component, "cacheable", False) is not True:
        # Embedded anew for every test: calls to a server belong to each test's own recording.
        return _embed_corpus(path, name, component)
    local = _LocalEmbedder(type(component), component.version, component)
    # A copy: documents that a test adds to its retriever must not reach the next test.
    return copy(_embed_corpus_unless_changed(path, name, _newest_change_ns(path), local))


def find_corpus(where: str, start: Path, root: Path, folder_name: str, name: str) -> Path:
    """Return the file or folder of a corpus, in the nearest folder of corpora from ``start`` up to ``root``.

    Raises:
        CorpusError: It is a link out of the folder.
        UnknownName: The corpus does not exist. The message lists the existing ones.
    """
    try:
        folder = find_path(folder_name, folders_above(start, root), is_folder=True)
    except BadFile as error:
        raise UnknownName("retriever", name, (), where=f"{where}, {folder_name}: {error.what}") from None
    for path in (folder / f"{name}.jsonl", folder / name):
        if path.exists() and _lies_below(path, folder):
            with locate_errors(CorpusError, path):
                return check_inside(path, folder, "corpora")
    known = [path.stem if path.suffix == ".jsonl" else path.name for path in folder.iterdir()]
    raise UnknownName("retriever", name, known, where=f"{where}, looked in {path_from_root(folder, root)}")


def _lies_below(path: Path, folder: Path) -> bool:
    """Return whether a path is below a folder and has no ``..``, which could lead out again."""
    if not path.is_relative_to(folder):
        return False
    return ".." not in path.relative_to(folder).parts


def _newest_change_ns(path: Path) -> int:
    """Return the time of the newest change of a file, or of anything in a folder; it exists, so there is one."""
    entries = [path, *path.rglob("*")]  # folders too: deleting a file changes its folder
    return max(entry.stat().st_mtime_ns for entry in entries if entry.exists())


@lru_cache(maxsize=32)
def _build_word_retriever(path: Path, name: str, _changed: int) -> Retriever:
    from pytest_llmops.retrievers.bm25 import InMemoryRetriever, load_corpus

    return InMemoryRetriever(load_corpus(path), name=name)


@dataclass(frozen=True, slots=True)
class _LocalEmbedder:
    """A key for the cache of embedded corpora: two embedders are equal if type and version are.

    Only for an embedder that gives a text the same vector in every call.
    """

    kind: type
    version: str
    embedder: Embedder = field(compare=False)


@lru_cache(maxsize=8)
def _embed_corpus_unless_changed(path: Path, name: str, _changed: int, local: _LocalEmbedder) -> Retriever:
    # The time of the change is only part of the cache's key.
    return _embed_corpus(path, name, local.embedder)


def _embed_corpus(path: Path, name: str, embedder: Embedder) -> Retriever:
    from pytest_llmops.providers.embedding_cache import with_vector_cache
    from pytest_llmops.retrievers import bm25, dense

    return dense.DenseRetriever(bm25.load_corpus(path), embedder=with_vector_cache(embedder), name=name)
