"""The fixtures: resources only. A project overrides them in its conftest the pytest way."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, cast

import pytest

from pytest_llmops.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pytest_llmops.cases.files import Case
    from pytest_llmops.cassettes.tape import Tape
    from pytest_llmops.measurement import Json, Measurement
    from pytest_llmops.prompts.registry import Prompt, Prompts
    from pytest_llmops.protocols import Embedder, Hits, Judge, Model, Retriever
    from pytest_llmops.trace import CallLog

SETTINGS = pytest.StashKey[Settings]()
HARNESS = pytest.StashKey[Any]()


@pytest.fixture
def llm() -> Model:
    """The model under test, as ``@pytest.mark.llm_models``, ``--llm-model`` and ``--llm-base-url`` name it.

    ``llm.complete(text_or_messages_or_rendered_prompt, **params)`` returns a `Completion`.
    """
    from pytest_llmops import recorder

    return cast("Model", recorder.lookup("model", "app"))


@pytest.fixture
def judge(request: pytest.FixtureRequest) -> Judge:
    """The judge of ``@pytest.mark.judge(name)``; ``quality`` without a marker. Needs ``--llm-judge``."""
    from pytest_llmops import recorder
    from pytest_llmops.harness import markers

    return cast(
        "Judge", recorder.lookup("judge", markers.judge_name(markers.arguments(request.node, "judge")))
    )


@pytest.fixture
def judge_canaries(request: pytest.FixtureRequest) -> Callable[..., Measurement]:
    """``judge_canaries(judge)`` asserts that a judge passes none of the canaries, see `assert_judge_canaries`.

    A judge is tried once a version: what it said lies in a cassette of that version, which all tests share. Needs
    ``--llm-judge``.
    """
    from pytest_llmops.assertions.judge_canaries import tried_once
    from pytest_llmops.harness import markers

    return partial(tried_once, default=markers.judge_name(markers.arguments(request.node, "judge")))


@pytest.fixture
def embedder() -> Embedder:
    """The embedder of ``--llm-embedder``."""
    from pytest_llmops import recorder

    return cast("Embedder", recorder.lookup("embedder", recorder.settings().embedder))


@pytest.fixture
def prompts(request: pytest.FixtureRequest) -> Prompts:
    """The prompts of the nearest prompts folder: ``prompts.get(name, version)``."""
    from pytest_llmops import recorder
    from pytest_llmops.harness import markers

    return markers.prompts_of(request.node, recorder.settings())


@pytest.fixture
def prompt(request: pytest.FixtureRequest) -> Prompt:
    """The prompt of ``@pytest.mark.prompt(name)``, in the version under test."""
    from pytest_llmops import recorder
    from pytest_llmops.harness import markers

    asked = getattr(request, "param", "")
    found = markers.prompt_for(request.node, recorder.settings(), asked)
    alias = asked if asked != found.version else ""
    facts = {"name": found.name, "version": found.version, "alias": alias, "fingerprint": found.fingerprint}
    recorder.note({"prompt": {**facts, "path": _relative(request, found.path)}})
    return found


@pytest.fixture
def case(request: pytest.FixtureRequest) -> Case:
    """One case of ``@pytest.mark.cases(file)``."""
    from pytest_llmops import recorder
    from pytest_llmops.errors import UsageError

    if not hasattr(request, "param"):
        raise UsageError(f"{request.node.nodeid}: the `case` fixture needs @pytest.mark.cases(file)")
    one: Case = request.param
    mark = request.node.get_closest_marker("cases")
    file = str(mark.args[0] if mark.args else mark.kwargs["file"])
    facts = {
        "id": one.id,
        "file": file,
        "tags": list(one.tags),
        "family": one.family,
        "fingerprint": one.fingerprint,
    }
    recorder.note({"case": {**facts, "input": one.input, "reference": one.reference}})
    return one


@pytest.fixture
def retriever(request: pytest.FixtureRequest) -> Retriever:
    """The retriever of ``@pytest.mark.retriever(name, k=)``: ``retriever.search(query)`` returns `Hits`."""
    from pytest_llmops import recorder
    from pytest_llmops.errors import UsageError
    from pytest_llmops.harness import markers

    marker = markers.arguments(request.node, "retriever")
    if marker is None:
        raise UsageError(f"{request.node.nodeid}: the `retriever` fixture needs @pytest.mark.retriever(name)")
    name, k, embedder = markers.retriever_marker(marker)
    hook = request.node.ihook.pytest_llmops_retrievers(config=request.config)
    known = {key for one in hook for key in one}
    if embedder and name in known:
        raise UsageError(
            f"{request.node.nodeid}: the retriever {name!r} comes from a hook and brings its own vectors: leave embedder= out"
        )
    found = (
        cast("Retriever", recorder.lookup("retriever", name))
        if name in known
        else markers.corpus_retriever(request.node, recorder.settings(), name, embedder)
    )
    facts = {"name": name, "k": k, "documents": getattr(found, "documents", None)}
    recorder.note({"retriever": {**facts, "fingerprint": getattr(found, "fingerprint", "")}})
    return _Cut(found, k) if k is not None else found


class _Cut:
    """A retriever with the k of the marker as its default."""

    def __init__(self, inner: Retriever, k: int) -> None:
        self._inner = inner
        self._k = k

    def search(self, query: str, k: int | None = None, filters: Mapping[str, Json] | None = None) -> Hits:
        """Return at most ``k`` hits, best first; left out: the k of the marker."""
        limit = self._k if k is None else k
        if filters is None:
            return self._inner.search(query, limit)
        # The port does not promise filters: a retriever without them says so itself.
        return self._inner.search(query, limit, filters=filters)  # type: ignore[call-arg]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


@pytest.fixture
def llm_calls(request: pytest.FixtureRequest) -> CallLog:
    """The model calls of this test so far, as read from the wire, live or replayed."""
    from pytest_llmops.trace import CallLog

    _ours(request, "llm_calls")
    return CallLog(request.node.stash[HARNESS].recorder.exchanges)


@pytest.fixture
def llm_cassette(request: pytest.FixtureRequest) -> Tape:
    """The cassette of this test: ``path``, ``mode`` and ``counts`` (replayed, recorded, missed)."""
    _ours(request, "llm_cassette")
    return cast("Tape", request.node.stash[HARNESS].tape)


def _ours(request: pytest.FixtureRequest, name: str) -> None:
    from pytest_llmops.errors import UsageError
    from pytest_llmops.harness.item import FOREIGN, is_recorded_elsewhere

    if is_recorded_elsewhere(request.node):
        raise UsageError(
            f"{request.node.nodeid}: is marked `{FOREIGN}`, so a fellow plugin answers its calls and `{name}` has none of them:"
            " take the mark away to record it here, or do without the fixture"
        )


def _relative(request: pytest.FixtureRequest, path: Any) -> str:
    root = request.config.rootpath
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
