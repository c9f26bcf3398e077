"""Fixtures of the plugin; a project may override them in its conftest."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import pytest

from pytest_llmops import recorder
from pytest_llmops._util.option_modes import LookTrials
from pytest_llmops.errors import UsageError, format_error, path_from_root
from pytest_llmops.measurement import Json, Measurement, escape_output
from pytest_llmops.settings import OPTIONS, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pytest_llmops.cases.files import Case
    from pytest_llmops.cassettes.http.reverse_proxy import LLMProxy
    from pytest_llmops.cassettes.tape import Tape
    from pytest_llmops.harness.session_closer import SessionCloser
    from pytest_llmops.harness.tool_choice import MarkedTools
    from pytest_llmops.production.feedback import Feedback
    from pytest_llmops.prompts.registry import Prompt, Prompts
    from pytest_llmops.protocols import Embedder, Hits, Judge, Model, Retriever
    from pytest_llmops.trace import CallLog

HAS_INI_KEY = pytest.StashKey[bool]()  # whether the project has an ini key of ours
SETTINGS = pytest.StashKey[Settings]()
HARNESS = pytest.StashKey[Any]()
CLOSER = pytest.StashKey["SessionCloser"]()


@pytest.fixture
def llm() -> Model:
    """The model under test, as ``@pytest.mark.llm_models``, ``--llm-model`` and ``--llm-base-url`` name it.

    ``llm.complete(text_or_messages_or_rendered_prompt, **params)`` returns a `Completion`.
    """
    return cast("Model", recorder.find_component("model", "app"))


@pytest.fixture
def judge(request: pytest.FixtureRequest) -> Judge:
    """The judge of ``@pytest.mark.judge(name)``; ``quality`` without a marker. Needs ``--llm-judge``."""
    from pytest_llmops.harness.markers.judge import load_marked_judge

    return load_marked_judge(request.node)


@pytest.fixture
def judge_canaries(request: pytest.FixtureRequest) -> Callable[..., Measurement]:
    """``judge_canaries(judge)`` asserts that a judge passes none of the canaries, see `assert_judge_canaries`.

    A judge is tried once per version: its replies are recorded in a cassette of that version, which all tests
    share. Needs ``--llm-judge``.
    """
    from pytest_llmops.assertions.judge_agreement import assert_judge_canaries_once
    from pytest_llmops.harness.markers.judge import load_marked_judge

    return partial(assert_judge_canaries_once, default=partial(load_marked_judge, request.node))


@pytest.fixture
def embedder() -> Embedder:
    """The embedder of the ini key ``llm_embedder``."""
    return cast("Embedder", recorder.find_component("embedder", recorder.current_settings().embedder))


@pytest.fixture
def prompts(request: pytest.FixtureRequest) -> Prompts:
    """The prompts of the nearest prompts folder: ``prompts.get(name, version)``."""
    from pytest_llmops.harness.markers.prompt import find_prompts

    return find_prompts(request.node, recorder.current_settings())


@pytest.fixture
def prompt(request: pytest.FixtureRequest) -> Iterator[Prompt]:
    """The prompt of ``@pytest.mark.prompt(name)``, in the version under test; an application that loads the prompt gets that version too."""
    from pytest_llmops.harness.markers.prompt import find_prompt
    from pytest_llmops.prompts.registry import VERSIONS_VARIABLE, join_overrides

    requested = getattr(request, "param", "")
    chosen = find_prompt(request.node, recorder.current_settings(), requested)
    alias = ""
    if requested != chosen.version:
        alias = requested
    facts: Json = {
        "name": chosen.name,
        "version": chosen.version,
        "alias": alias,
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
    from pytest_llmops.harness.markers import cases, load_markers

    arguments = cases.MARKER.find(request.node)
    if arguments is None or not hasattr(request, "param"):
        raise UsageError(f"{request.node.nodeid}: the `case` fixture needs {cases.MARKER.usage}")
    current_case: Case = request.param
    files = current_case.read_files()
    facts = cases.describe_case_file(request.node, current_case, arguments, files)
    recorder.record_facts({"case": facts})
    for marker in load_markers():
        facts_of_marker = marker.describe_case(request.node, current_case, recorder.current_settings())
        recorder.record_facts(facts_of_marker)
    if current_case.robust.get("error"):
        raise UsageError(str(current_case.robust["error"]))
    if current_case.robust.get("skip"):
        pytest.skip(str(current_case.robust["skip"]))
    cases.record_files(files)
    cases.record_given_calls(current_case)
    return current_case


@pytest.fixture
def retriever(request: pytest.FixtureRequest) -> Retriever:
    """The retriever of ``@pytest.mark.retriever(name, k=)``: ``retriever.search(query)`` returns `Hits`."""
    from pytest_llmops.harness.components import hook_factories
    from pytest_llmops.harness.markers.retriever import MARKER, build_corpus_retriever

    choice = MARKER.read(MARKER.require(request.node))
    is_in_hooks = choice.name in hook_factories(request.node, "retriever")
    if choice.embedder and is_in_hooks:
        raise UsageError(
            f"{request.node.nodeid}: the retriever {choice.name!r} comes from a hook and brings its own vectors: leave embedder= out"
        )
    if is_in_hooks:
        source = cast("Retriever", recorder.find_component("retriever", choice.name))
    else:
        settings = recorder.current_settings()
        source = build_corpus_retriever(request.node, settings, choice.name, choice.embedder)
    facts: Json = {
        "name": choice.name,
        "k": choice.k,
        "documents": getattr(source, "documents", None),
        "fingerprint": getattr(source, "fingerprint", ""),
    }
    recorder.record_facts({"retriever": facts})
    if choice.k is None:
        return source
    return _LimitedRetriever(source, choice.k)


class _LimitedRetriever:
    """A retriever with the k of the marker as its default."""

    def __init__(self, inner: Retriever, k: int) -> None:
        self._inner = inner
        self._k = k

    def search(self, query: str, k: int | None = None, filters: Mapping[str, Json] | None = None) -> Hits:
        """Return at most ``k`` hits, best first; by default the k of the marker."""
        limit = self._k
        if k is not None:
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
    send SDKs to it; ``llm_proxy.environment`` holds these variables, ``llm_proxy.url`` its address. For coding agents
    name them in ``llm_clients``.
    """
    from pytest_llmops.cassettes.http.reverse_proxy import open_proxy

    _require_recorded(request, "llm_proxy")
    with open_proxy(request.node.stash[HARNESS].tape, os.environ) as proxy:
        for name, value in proxy.environment.items():
            monkeypatch.setenv(name, value)
        yield proxy


@pytest.fixture
def llm_tools(request: pytest.FixtureRequest) -> MarkedTools:
    """The tools of ``@pytest.mark.llm_tools(file)``, of one catalogue: a sequence of `ToolDefinition`.

    ``llm_tools.for_openai()`` and its siblings return them as a model's API expects them; ``llm_tools.check(reply, case)`` asserts that
    the model chose the tool of the case.
    """
    from pytest_llmops.harness.markers.llm_tools import MARKER
    from pytest_llmops.harness.tool_choice import MarkedTools

    MARKER.require(request.node)
    chosen = request.param
    return MarkedTools(chosen.name, chosen.tools, chosen.decoys, chosen.left_out)


def _require_recorded(request: pytest.FixtureRequest, name: str) -> None:
    """Check that we record the test that uses a fixture, not another recording plugin.

    Raises:
        UsageError: Another plugin does.
    """
    from pytest_llmops.harness.own_tests import FOREIGN_MARKER, is_recorded_elsewhere

    if is_recorded_elsewhere(request.node):
        raise UsageError(
            f"{request.node.nodeid}: is marked `{FOREIGN_MARKER}`, so a fellow plugin answers its calls and `{name}` has none of them:"
            " take the mark away to record it here, or do without the fixture"
        )


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add each option of `Settings` as a flag and an ini key. The flags have a group for each kind of option in ``pytest --help``."""
    for option in OPTIONS:
        group = parser.getgroup(f"llmops {option.group}", f"LLM tests: {option.group}")
        if option.flag:
            details: dict[str, Any] = {}
            if option.switch:
                details["action"] = "store_true"
            else:
                details["metavar"] = option.metavar
            if option.bare:
                details.update(nargs="?", const=option.bare)
            if option.repeat:
                details["action"] = "append"
            group.addoption(option.flag, dest=option.dest, default=None, help=option.help, **details)
        if option.ini:
            parser.addini(option.dest, option.ini_help or option.help, type=option.ini, default=None)


def pytest_make_parametrize_id(val: object) -> str | None:
    """Return the id of a parameter that a CI runner would take for a command, escaped; None: pytest makes the id as usual."""
    if isinstance(val, str) and ("##" in val or "section_" in val):
        return escape_output(val)
    return None


def has_flag(config: pytest.Config) -> bool:
    """Return whether the command line has a flag of ours."""
    flags = [config.getoption(option.dest, None) for option in OPTIONS if option.flag]
    return any(flag is not None for flag in flags)


def session_closer(config: pytest.Config) -> SessionCloser:
    """Return what refuses calls of models outside of tests; it does nothing until one of its methods is called."""
    if CLOSER not in config.stash:
        from pytest_llmops.harness.session_closer import SessionCloser

        read_ini = partial(_read_ini_value, config)
        config.stash[CLOSER] = SessionCloser(config, read_ini, pytest.UsageError, pytest.exit.Exception)
    return config.stash[CLOSER]


def is_set_up(config: pytest.Config) -> bool:
    """Return whether the project or the command line has an option of ours."""
    return config.stash[HAS_INI_KEY] or has_flag(config)


def uses_our_files(config: pytest.Config) -> bool:
    """Return whether the project or the command line has an option of ours, or the project has a baseline."""
    from pytest_llmops.harness.baseline_gate import has_baseline

    return is_set_up(config) or has_baseline(config.stash[SETTINGS], config.rootpath)


def read_settings(config: pytest.Config) -> tuple[Settings, bool]:
    """Return the settings (command line over ini over environment over defaults), and whether the project sets an ini key of ours.

    As a side effect, the versions of --llm-prompt are set in the environment until the run ends, for applications that load their
    prompts themselves.

    Raises:
        pytest.UsageError: A value has the wrong form, or does not go with the others.
    """
    command_line = {option.name: config.getoption(option.dest, None) for option in OPTIONS if option.flag}
    ini = {option.name: _read_ini_value(config, option.dest) for option in OPTIONS if option.ini}
    try:
        settings = Settings.from_sources(("command line", command_line), ("ini", ini), environ=os.environ)
        _check_together(config, settings)
        if settings.adopt:
            from pytest_llmops.harness.adoption import allow_service_hosts

            settings = allow_service_hosts(settings)
    except UsageError as error:
        raise pytest.UsageError(escape_output(format_error(error))) from None
    if settings.prompt:
        from pytest_llmops.prompts.registry import VERSIONS_VARIABLE, join_overrides

        environ = pytest.MonkeyPatch()
        environ.setenv(VERSIONS_VARIABLE, join_overrides(settings.versions))
        config.add_cleanup(environ.undo)
    has_ini_key = any(value is not None for value in ini.values())
    return settings.with_paths_below(config.rootpath), has_ini_key


def register_other_runs(
    config: pytest.Config, settings: Settings, ours_key: object, run_unlogged: Callable[..., Any]
) -> None:
    """Register the hooks of special runs: calls collected ahead, tests with faults, lint, broken cases again.

    Args:
        config: pytest's.
        settings: The run's.
        ours_key: The key that tests which use the plugin have in their stash.
        run_unlogged: Runs the protocol of a test once, and returns its reports.

    Raises:
        pytest.UsageError: No case is broken, or the broken cases cannot run again.
    """
    if settings.asks_ahead:
        from pytest_llmops.harness.ahead.hooks import register_hooks

        register_hooks(config, settings, ours_key, run_unlogged, pytest.TestReport)
    if settings.faults:
        from pytest_llmops.harness.fault_survey import register_survey

        register_survey(config, settings, ours_key, run_unlogged, pytest.CallInfo, pytest.TestReport)
    if settings.lint:
        from pytest_llmops.harness.lint.hooks import start_lint

        start_lint(config)
    if settings.again:
        from pytest_llmops.harness import again

        again.register_hooks(config, settings, pytest.mark, pytest.UsageError)


def _check_together(config: pytest.Config, settings: Settings) -> None:
    """Check the options that depend on other options.

    Raises:
        UsageError: Two options contradict each other, or one lacks another.
    """
    if settings.lint:
        from pytest_llmops.harness.lint.hooks import check_lint

        check_lint(settings)
    if settings.again:
        from pytest_llmops.harness.again import check_again

        check_again(config, settings)
    if settings.accept is not None:
        from pytest_llmops.harness.acceptance import check_acceptance

        check_acceptance(config, settings)
    if isinstance(settings.trials, LookTrials):
        from pytest_llmops.harness.baseline_gate import check_looks

        check_looks(config, settings)
    if settings.batch:
        from pytest_llmops.harness.ahead.batch_apis import check_batch_options

        check_batch_options(config)
    if settings.report and not hasattr(config, "workerinput"):
        from pytest_llmops.harness.report_files import find_reports

        find_reports(config, settings)


def _read_ini_value(config: pytest.Config, key: str) -> Any:
    """Return the value of an ini key. If pytest refuses its form, return the text, so that our own parser reports it."""
    try:
        return config.getini(key)
    except (pytest.UsageError, TypeError, ValueError) as error:
        if "item at index" in str(error):  # in a list: the other items must not be lost
            raise pytest.UsageError(str(error)) from None
        # pytest's message ends with the value; our parser then reports place, expected and got.
        return str(error).rpartition(": ")[2].removeprefix("invalid truth value ").strip("'\"")
