"""Fixtures of the plugin; a project may override them in its conftest."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import pytest

from pytest_llmops import recorder
from pytest_llmops._util.option_values import LookTrials
from pytest_llmops.errors import UsageError, path_from_root
from pytest_llmops.measurement import Json, Measurement, escape_output
from pytest_llmops.settings import OPTIONS, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pytest_llmops.cases.files import Case
    from pytest_llmops.cassettes.http.reverse_proxy import LLMProxy
    from pytest_llmops.cassettes.tape import Tape
    from pytest_llmops.production.feedback import Feedback
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
    return cast("Model", recorder.find_component("model", "app"))


@pytest.fixture
def judge(request: pytest.FixtureRequest) -> Judge:
    """The judge of ``@pytest.mark.judge(name)``; ``quality`` without a marker. Needs ``--llm-judge``."""
    from pytest_llmops.harness import markers

    return cast(
        "Judge",
        recorder.find_component(
            "judge", markers.read_judge_marker(markers.marker_arguments(request.node, "judge"))
        ),
    )


@pytest.fixture
def judge_canaries(request: pytest.FixtureRequest) -> Callable[..., Measurement]:
    """``judge_canaries(judge)`` asserts that a judge passes none of the canaries, see `assert_judge_canaries`.

    A judge is tried once per version: its replies are recorded in a cassette of that version, which all tests
    share. Needs ``--llm-judge``.
    """
    from pytest_llmops.assertions.judge_agreement import assert_judge_canaries_once
    from pytest_llmops.harness import markers

    return partial(
        assert_judge_canaries_once,
        default=markers.read_judge_marker(markers.marker_arguments(request.node, "judge")),
    )


@pytest.fixture
def embedder() -> Embedder:
    """The embedder of ``--llm-embedder``."""
    return cast("Embedder", recorder.find_component("embedder", recorder.current_settings().embedder))


@pytest.fixture
def prompts(request: pytest.FixtureRequest) -> Prompts:
    """The prompts of the nearest prompts folder: ``prompts.get(name, version)``."""
    from pytest_llmops.harness import markers

    return markers.find_prompts(request.node, recorder.current_settings())


@pytest.fixture
def prompt(request: pytest.FixtureRequest) -> Iterator[Prompt]:
    """The prompt of ``@pytest.mark.prompt(name)``, in the version under test; applications that load it have the same."""
    from pytest_llmops.harness import markers
    from pytest_llmops.prompts.registry import VERSIONS_VARIABLE, join_overrides

    requested = getattr(request, "param", "")
    chosen = markers.find_prompt(request.node, recorder.current_settings(), requested)
    facts: Json = {
        "name": chosen.name,
        "version": chosen.version,
        "alias": requested if requested != chosen.version else "",
        "fingerprint": chosen.fingerprint,
        "path": path_from_root(chosen.path, request.config.rootpath),
    }
    recorder.record_facts({"prompt": facts})
    with pytest.MonkeyPatch.context() as environ:
        if requested:
            environ.setenv(VERSIONS_VARIABLE, join_overrides({chosen.name: chosen.version}))
        yield chosen


@pytest.fixture
def case(request: pytest.FixtureRequest) -> Case:
    """A case of ``@pytest.mark.cases(file)``."""
    if not hasattr(request, "param"):
        raise UsageError(f"{request.node.nodeid}: the `case` fixture needs @pytest.mark.cases(file)")
    current_case: Case = request.param
    mark = request.node.get_closest_marker("cases")
    files = current_case.read_files()
    facts: Json = {
        "id": current_case.id,
        "file": str(mark.args[0] if mark.args else mark.kwargs["file"]),
        "tags": list(current_case.tags),
        "family": current_case.family,
        "fingerprint": current_case.fingerprint,
        "input": current_case.input,
        "reference": current_case.reference,
        **({"files": {name: digest for name, (_, digest) in files.items()}} if files else {}),
    }
    recorder.record_facts({"case": facts})
    robust = current_case.robust
    if robust:
        # All tests of a case have the name of the unchanged one
        unchanged = "".join(request.node.nodeid.rpartition(str(robust["suffix"] or "\n"))[::2])
        recorder.record_facts({"robust": {**robust, "case": [unchanged]}})
        if robust["error"]:
            raise UsageError(str(robust["error"]))
        if robust["skip"]:
            pytest.skip(str(robust["skip"]))
    recorder.find_test_recorder().file_digests.update(
        {data.encode(): f"sha256:{digest}".encode() for data, digest in files.values() if data}
    )
    for call in current_case.calls:
        recorder.record_exchange(
            recorder.Exchange(
                method="", url=f"case:{current_case.id}", request={"model": call.model}, status=call.status,
                content_type="", body=b"", latency_s=call.latency_s, ttft_s=call.ttft_s, replayed=True,
                purpose=call.purpose, call=call,
            )
        )  # fmt: skip
    if request.node.get_closest_marker("llm_guardrail") is not None:
        from pytest_llmops.harness.markers import describe_guardrail

        expect = {"expect": current_case["expect"]}
        recorder.record_facts(
            {"guardrail": expect | describe_guardrail(request.node, recorder.current_settings())}
        )
    return current_case


@pytest.fixture
def retriever(request: pytest.FixtureRequest) -> Retriever:
    """The retriever of ``@pytest.mark.retriever(name, k=)``: ``retriever.search(query)`` returns `Hits`."""
    from pytest_llmops.harness import markers, parametrize

    marker = markers.marker_arguments(request.node, "retriever")
    if marker is None:
        raise UsageError(f"{request.node.nodeid}: the `retriever` fixture needs @pytest.mark.retriever(name)")
    name, k, embedder = markers.read_retriever_marker(marker)
    in_hooks = name in parametrize.hook_factories(request.node, "retriever")
    if embedder and in_hooks:
        raise UsageError(
            f"{request.node.nodeid}: the retriever {name!r} comes from a hook and brings its own vectors: leave embedder= out"
        )
    if in_hooks:
        source = cast("Retriever", recorder.find_component("retriever", name))
    else:
        source = markers.build_corpus_retriever(request.node, recorder.current_settings(), name, embedder)
    facts: Json = {
        "name": name,
        "k": k,
        "documents": getattr(source, "documents", None),
        "fingerprint": getattr(source, "fingerprint", ""),
    }
    recorder.record_facts({"retriever": facts})
    if k is not None:
        return _LimitedRetriever(source, k)
    return source


class _LimitedRetriever:
    # A retriever with the k of the marker as its default.
    def __init__(self, inner: Retriever, k: int) -> None:
        self._inner = inner
        self._k = k

    def search(self, query: str, k: int | None = None, filters: Mapping[str, Json] | None = None) -> Hits:
        """Return at most ``k`` hits, best first; by default the k of the marker."""
        if k is None:
            limit = self._k
        else:
            limit = k
        if filters is None:
            return self._inner.search(query, limit)
        # The protocol does not promise filters: a retriever without them raises the error itself.
        return self._inner.search(query, limit, filters=filters)  # type: ignore[call-arg]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


@pytest.fixture
def llm_calls(request: pytest.FixtureRequest) -> CallLog:
    """The model calls of this test so far, as read from the wire, live or replayed."""
    from pytest_llmops.trace import CallLog

    _require_recorded(request, "llm_calls")
    return CallLog(request.node.stash[HARNESS].recorder.exchanges)


@pytest.fixture
def llm_feedback() -> Callable[..., Feedback]:
    """``llm_feedback(file)`` reads what users said of answers: its ``events``, ``votes`` and ``up_share()``, see `read_feedback`."""
    from pytest_llmops.production.feedback import read_feedback

    return read_feedback


@pytest.fixture
def llm_cassette(request: pytest.FixtureRequest) -> Tape:
    """The cassette of this test: ``path``, ``mode`` and ``counts`` (replayed, recorded, missed)."""
    _require_recorded(request, "llm_cassette")
    return cast("Tape", request.node.stash[HARNESS].tape)


@pytest.fixture
def llm_proxy(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[LLMProxy]:
    """A server on this machine by which programs in any language are recorded and replayed with this test.

    For the time of the test ``OPENAI_BASE_URL``, ``ANTHROPIC_BASE_URL``, ``GOOGLE_GEMINI_BASE_URL`` and ``CO_API_URL``
    send SDKs to it; ``llm_proxy.environment`` holds these variables, ``llm_proxy.url`` its address.
    """
    from pytest_llmops.cassettes.http.reverse_proxy import open_proxy

    _require_recorded(request, "llm_proxy")
    with open_proxy(request.node.stash[HARNESS].tape, os.environ) as proxy:
        for name, value in proxy.environment.items():
            monkeypatch.setenv(name, value)
        yield proxy


def _require_recorded(request: pytest.FixtureRequest, name: str) -> None:
    from pytest_llmops.harness.item import FOREIGN_MARKER, is_recorded_elsewhere

    if is_recorded_elsewhere(request.node):
        raise UsageError(
            f"{request.node.nodeid}: is marked `{FOREIGN_MARKER}`, so a fellow plugin answers its calls and `{name}` has none of them:"
            " take the mark away to record it here, or do without the fixture"
        )


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add each option of `Settings` as a flag and an ini key."""
    group = parser.getgroup("llmops", "LLM regression testing (pytest-llmops)")
    for option in OPTIONS:
        if option.flag:
            if option.switch:
                details = {"action": "store_true"}
            else:
                details = {"metavar": option.metavar}
            if option.repeat:
                details |= {"action": "append"}
            else:
                details |= {}
            group.addoption(option.flag, dest=option.dest, default=None, help=option.help, **details)
        if option.ini:
            parser.addini(option.dest, option.help, type=option.ini, default=None)


def has_flag(config: pytest.Config) -> bool:
    """Return whether the command line has a flag of ours."""
    flags = (config.getoption(option.dest, None) for option in OPTIONS if option.flag)
    return any(flag is not None for flag in flags)


def read_settings(config: pytest.Config) -> tuple[Settings, bool]:
    """Return the settings (command line over ini over environment over defaults), and whether an ini key is set.

    The versions of --llm-prompt are set in the environment, for applications that load their prompts themselves.

    Raises:
        pytest.UsageError: A value has the wrong form, or does not go with the others.
    """
    command_line = {option.name: config.getoption(option.dest, None) for option in OPTIONS if option.flag}
    ini = {option.name: _read_ini_value(config, option.dest) for option in OPTIONS if option.ini}
    try:
        settings = Settings.from_sources(("command line", command_line), ("ini", ini), environ=os.environ)
        if settings.accept_anyway and settings.accept is None:
            raise UsageError(
                "command line --llm-accept-anyway: expected --llm-accept REASON beside it, got none"
            )
        if isinstance(settings.trials, LookTrials):
            from pytest_llmops.harness.baseline_gate import check_looks

            check_looks(config, settings)
        if settings.batch:
            from pytest_llmops.harness.ahead.batch_apis import check_batch_options

            check_batch_options(config, settings)
        if settings.report and not hasattr(config, "workerinput"):
            from pytest_llmops.harness.report_files import find_reports

            find_reports(config, settings)
    except UsageError as error:
        raise pytest.UsageError(escape_output(str(error))) from None
    if settings.prompt:
        from pytest_llmops.prompts.registry import VERSIONS_VARIABLE, join_overrides

        environ = pytest.MonkeyPatch()
        environ.setenv(VERSIONS_VARIABLE, join_overrides(settings.versions))
        config.add_cleanup(environ.undo)
    return settings.with_paths_below(config.rootpath), any(value is not None for value in ini.values())


def _read_ini_value(config: pytest.Config, key: str) -> Any:
    try:
        return config.getini(key)
    except (pytest.UsageError, TypeError, ValueError) as error:
        if "item at index" in str(error):  # in a list: the other items must not be lost
            raise pytest.UsageError(str(error)) from None
        # pytest's message ends with the value; our parser then reports place, expected and got.
        return str(error).rpartition(": ")[2].removeprefix("invalid truth value ").strip("'\"")
