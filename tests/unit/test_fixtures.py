"""The fixtures of the plugin, called as pytest calls them, and the options that special runs check and register."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.items import item_of
from support.messages import check_message

from pytest_llmops import fixtures, recorder
from pytest_llmops._util.option_modes import LookTrials
from pytest_llmops.cases.files import Case
from pytest_llmops.errors import UsageError
from pytest_llmops.fixtures import HARNESS
from pytest_llmops.harness.markers import cases as cases_marker
from pytest_llmops.harness.tool_choice import MarkedTools
from pytest_llmops.prompts.registry import VERSIONS_VARIABLE
from pytest_llmops.settings import OPTIONS, Settings

VCR: Any = SimpleNamespace(name="vcr", args=(), kwargs={})


class Found:
    """A component that was found by kind and name."""

    def __init__(self, kind: str, name: str) -> None:
        self.named = kind, name


@pytest.fixture
def listening() -> Iterator[recorder.Recorder]:
    """A recorder as a running test has it, in which every component exists."""
    mine = recorder.Recorder(settings=Settings(embedder="mine"), find_component=Found)
    recorder.push_recorder(mine)
    yield mine
    recorder.pop_recorder(mine)


def call_of(name: str) -> Callable[..., Any]:
    """The function of a fixture."""
    function: Callable[..., Any] = getattr(fixtures, name).__wrapped__
    return function


def request_of(folder: Path, *marks: pytest.Mark, names: tuple[str, ...] = (), **how: Any) -> Any:
    """What pytest hands to a fixture of a test."""
    item = item_of(folder, *marks, names=names)
    return SimpleNamespace(node=item, config=item.config, **how)


@pytest.mark.usefixtures("listening")
def test_model_embedder_and_judge_are_found_by_name(tmp_path: Path) -> None:
    assert call_of("llm")().named == ("model", "app")
    assert call_of("embedder")().named == ("embedder", "mine")
    assert call_of("judge")(request_of(tmp_path)).named == ("judge", "quality")
    marked = request_of(tmp_path, pytest.mark.judge("tone").mark)
    assert call_of("judge")(marked).named == ("judge", "tone")
    assert call_of("judge_canaries")(marked).keywords["default"]().named == ("judge", "tone")


def test_feedback_is_read_by_the_function_of_the_package() -> None:
    from pytest_llmops.production.feedback import read_feedback

    assert call_of("llm_feedback")() is read_feedback


# Prompts.


def write_prompt(folder: Path) -> None:
    path = folder / "prompts" / "answer"
    path.mkdir(parents=True)
    path.joinpath("v1.md").write_text("Answer!\n")
    path.joinpath("v2.md").write_text("Answer well!\n")
    path.joinpath("aliases.toml").write_text('production = "v1"\n')


@pytest.mark.parametrize(
    ("param", "expected"),
    [
        ({}, ("v1", "", "other=v3")),
        ({"param": "v2"}, ("v2", "", "other=v3,answer=v2")),
        ({"param": "production"}, ("v1", "production", "other=v3,answer=v1")),
    ],
)
def test_the_prompt_of_a_test_is_recorded_and_used_by_its_application(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    listening: recorder.Recorder,
    param: Any,
    expected: tuple[str, str, str],
) -> None:
    version, alias, environment = expected
    write_prompt(tmp_path)
    monkeypatch.setenv(VERSIONS_VARIABLE, "other=v3")
    made = call_of("prompt")(request_of(tmp_path, pytest.mark.prompt("answer").mark, **param))
    prompt = next(made)
    assert (prompt.name, prompt.version) == ("answer", version)
    assert listening.facts == {
        "prompt": {
            "name": "answer", "version": version, "alias": alias, "fingerprint": prompt.fingerprint,
            "path": f"prompts/answer/{version}.md",
        }
    }  # fmt: skip
    assert os.environ[VERSIONS_VARIABLE] == environment
    assert next(made, None) is None
    assert os.environ[VERSIONS_VARIABLE] == "other=v3"


@pytest.mark.usefixtures("listening")
def test_prompts_are_those_of_the_nearest_folder(tmp_path: Path) -> None:
    write_prompt(tmp_path)
    assert call_of("prompts")(request_of(tmp_path)).get("answer", "v2").version == "v2"


# Cases.


CASES = pytest.mark.cases("cases.jsonl").mark


@pytest.mark.parametrize(
    ("marks", "how"), [((), {"param": Case(id="a", input="b")}), ((), {}), ((CASES,), {})]
)
def test_a_case_needs_its_marker(tmp_path: Path, marks: tuple[pytest.Mark, ...], how: Any) -> None:
    with pytest.raises(UsageError, check=check_message):
        call_of("case")(request_of(tmp_path, *marks, **how))


def test_the_facts_of_a_case_and_its_calls_are_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listening: recorder.Recorder
) -> None:
    tmp_path.joinpath("cases.jsonl").touch()
    given: list[Any] = []
    seen: list[Any] = []
    one = Case(id="a", input="b", tags=("t",), reference="c", line=3)

    class Marker:
        def describe_case(self, *arguments: object) -> Mapping[str, Any]:
            seen.append(arguments)
            return {"more": 1}

    monkeypatch.setattr("pytest_llmops.harness.markers.load_markers", lambda: [Marker()])
    monkeypatch.setattr(cases_marker, "record_files", given.append)
    monkeypatch.setattr(cases_marker, "record_given_calls", given.append)
    request = request_of(tmp_path, CASES, param=one)
    assert call_of("case")(request) is one
    assert listening.facts == {
        "case": {
            "id": "a", "file": "cases.jsonl", "tags": ["t"], "family": "", "fingerprint": one.fingerprint,
            "input": "b", "reference": "c", "path": "cases.jsonl", "line": 3,
        },
        "more": 1,
    }  # fmt: skip
    assert seen == [(request.node, one, listening.settings)]
    assert given == [{}, one]


@pytest.mark.parametrize(
    ("robust", "error"),
    [({"error": "cannot be changed"}, UsageError), ({"skip": "unchanged"}, pytest.skip.Exception)],
)
def test_a_case_that_cannot_be_changed_does_not_run(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    listening: recorder.Recorder,
    robust: dict[str, Any],
    error: Any,
) -> None:
    monkeypatch.setattr("pytest_llmops.harness.markers.load_markers", list)
    with pytest.raises(error) as caught:
        call_of("case")(request_of(tmp_path, CASES, param=Case(id="a", input="b", robust=robust)))
    assert str(caught.value) == next(iter(robust.values()))
    assert list(listening.facts) == ["case"]


# Retrievers.


class Source:
    """A retriever that returns what it was called with."""

    documents = 3
    fingerprint = "f"

    def search(self, *arguments: object, **named: object) -> Any:
        return arguments, named


@pytest.mark.parametrize(
    ("marker", "expected"),
    [
        (pytest.mark.retriever("mine", k=2).mark, (("mine",), ([("retriever", "mine")], []))),
        (pytest.mark.retriever("docs", k=2).mark, (("mine",), ([], [("docs", "")]))),
        (pytest.mark.retriever("docs", k=2, embedder="tfidf").mark, ((), ([], [("docs", "tfidf")]))),
    ],
)
def test_a_retriever_comes_from_a_hook_or_from_a_corpus(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    listening: recorder.Recorder,
    marker: pytest.Mark,
    expected: Any,
) -> None:
    hooks, calls = expected
    did_find: list[object] = []
    did_build: list[object] = []

    def find(*named: object) -> Source:
        did_find.append(named)
        return Source()

    def build(node: object, settings: object, *named: object) -> Source:
        assert (node, settings) == (request.node, listening.settings)
        did_build.append(named)
        return Source()

    listening.find_component = find
    monkeypatch.setattr(
        "pytest_llmops.harness.components.hook_factories",
        lambda _node, kind: hooks if kind == "retriever" else (),
    )
    monkeypatch.setattr("pytest_llmops.harness.markers.retriever.build_corpus_retriever", build)
    request = request_of(tmp_path, marker)
    retriever = call_of("retriever")(request)
    assert (did_find, did_build) == calls
    facts = {"name": marker.args[0], "k": 2, "documents": 3, "fingerprint": "f"}
    assert listening.facts == {"retriever": facts}
    assert retriever.search("q") == (("q", 2), {})
    assert retriever.search("q", 0, filters={}) == (("q", 0), {"filters": {}})
    assert retriever.documents == 3


def test_a_retriever_without_k_is_the_projects_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listening: recorder.Recorder
) -> None:
    monkeypatch.setattr("pytest_llmops.harness.components.hook_factories", lambda *_: ("mine",))
    retriever = call_of("retriever")(request_of(tmp_path, pytest.mark.retriever("mine").mark))
    assert retriever.named == ("retriever", "mine")
    facts = {"name": "mine", "k": None, "documents": None, "fingerprint": ""}
    assert listening.facts == {"retriever": facts}


@pytest.mark.usefixtures("listening")
def test_a_retriever_of_a_hook_has_its_own_vectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_llmops.harness.components.hook_factories", lambda *_: ("mine",))
    marker = pytest.mark.retriever("mine", embedder="tfidf").mark
    with pytest.raises(UsageError, check=check_message):
        call_of("retriever")(request_of(tmp_path, marker))


# What was recorded.


def recorded(folder: Path, *marks: pytest.Mark) -> Any:
    request = request_of(folder, *marks, names=("vcr",))
    harness = SimpleNamespace(recorder=SimpleNamespace(exchanges=[]), tape="tape")
    request.node.stash[HARNESS] = harness
    return request


def test_calls_and_cassette_are_those_of_the_running_test(tmp_path: Path) -> None:
    request = recorded(tmp_path)
    assert call_of("llm_cassette")(request) == "tape"
    log = call_of("llm_calls")(request)
    assert len(log) == 0
    assert log._exchanges is request.node.stash[HARNESS].recorder.exchanges


@pytest.mark.parametrize("name", ["llm_calls", "llm_cassette", "llm_proxy"])
def test_a_test_that_another_plugin_records_has_no_calls_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    request = recorded(tmp_path, VCR)
    arguments = [request, monkeypatch] if name == "llm_proxy" else [request]
    with pytest.raises(UsageError, check=check_message):
        made = call_of(name)(*arguments)
        next(made)


def test_the_proxy_of_a_test_is_in_the_environment_of_its_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[object] = []
    proxy = SimpleNamespace(environment={"A_BASE_URL": "http://a", "B_BASE_URL": "http://b"})

    class Opened:
        def __init__(self, *arguments: object) -> None:
            events.append(arguments)

        def __enter__(self) -> Any:
            return proxy

        def __exit__(self, *_: object) -> None:
            events.append("closed")

    monkeypatch.setattr("pytest_llmops.cassettes.http.reverse_proxy.open_proxy", Opened)
    variables: list[tuple[str, str]] = []
    setter: Any = SimpleNamespace(setenv=lambda *pair: variables.append(pair))
    made = call_of("llm_proxy")(recorded(tmp_path), setter)
    assert next(made) is proxy
    assert variables == [*proxy.environment.items()]
    assert events == [("tape", os.environ)]
    assert next(made, None) is None
    assert events[1:] == ["closed"]


def test_the_tools_of_a_test_are_those_of_its_catalogue(tmp_path: Path) -> None:
    catalogue = SimpleNamespace(name="c", tools=(), decoys=("d",), left_out=("l",))
    tools = call_of("llm_tools")(request_of(tmp_path, pytest.mark.llm_tools("a.json").mark, param=catalogue))
    assert type(tools) is MarkedTools
    values: Any = (tools.name, tools.tools, tools.decoys, tools.left_out)
    assert values == ("c", (), ("d",), ("l",))
    with pytest.raises(UsageError, check=check_message):
        call_of("llm_tools")(request_of(tmp_path, param=catalogue))


# Options.


@pytest.mark.parametrize(
    ("settings", "called"),
    [
        ({}, []),
        ({"lint": True}, ["lint.hooks.check_lint"]),
        ({"again": "broken"}, ["again.check_again"]),
        ({"accept": ""}, ["acceptance.check_acceptance"]),
        ({"trials": LookTrials(3)}, ["baseline_gate.check_looks"]),
        ({"trials": 3}, []),
        ({"batch": True}, ["ahead.batch_apis.check_batch_options"]),
        ({"report": ("a.html",)}, ["report_files.find_reports"]),
        ({"report": ("a.html",), "worker": True}, []),
    ],
)
def test_each_special_run_checks_its_options(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], called: list[str]
) -> None:
    calls: list[str] = []
    config: Any = SimpleNamespace()
    if settings.get("worker"):
        config.workerinput = {}
    chosen = Settings(**{name: value for name, value in settings.items() if name != "worker"})
    for place in (
        "lint.hooks.check_lint", "again.check_again", "acceptance.check_acceptance", "baseline_gate.check_looks",
        "ahead.batch_apis.check_batch_options", "report_files.find_reports",
    ):  # fmt: skip

        def check(*arguments: object, place: str = place) -> None:
            assert set(map(id, arguments)) <= {id(config), id(chosen)}
            calls.append(place)

        monkeypatch.setattr(f"pytest_llmops.harness.{place}", check)
    fixtures._check_together(config, chosen)
    assert calls == called


@pytest.mark.parametrize(
    ("settings", "called"),
    [
        ({}, []),
        ({"lint": True}, ["lint.hooks.start_lint"]),
        ({"again": "broken"}, ["again.register_hooks"]),
        ({"faults": ("all",)}, ["fault_survey.register_survey"]),
        ({"record": "new", "batch": True}, ["ahead.hooks.register_hooks"]),
    ],
)
def test_each_special_run_has_hooks_of_its_own(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], called: list[str]
) -> None:
    calls: dict[str, tuple[object, ...]] = {}
    for place in (
        "lint.hooks.start_lint",
        "again.register_hooks",
        "fault_survey.register_survey",
        "ahead.hooks.register_hooks",
    ):

        def register(*arguments: object, place: str = place) -> None:
            calls[place] = arguments

        monkeypatch.setattr(f"pytest_llmops.harness.{place}", register)
    chosen = Settings(**settings)
    config: Any = "config"
    fixtures.register_other_runs(config, chosen, "key", run_unlogged=list)
    arguments = {
        "lint.hooks.start_lint": ("config",),
        "again.register_hooks": ("config", chosen, pytest.mark, pytest.UsageError),
        "fault_survey.register_survey": ("config", chosen, "key", list, pytest.CallInfo, pytest.TestReport),
        "ahead.hooks.register_hooks": ("config", chosen, "key", list, pytest.TestReport),
    }
    assert calls == {place: arguments[place] for place in called}


class Config(SimpleNamespace):
    """pytest's configuration: options of the command line, keys of the ini, and what is undone at its end."""

    def __init__(self, folder: Path, options: Mapping[str, object], ini: Mapping[str, object]) -> None:
        super().__init__(rootpath=folder, cleanups=[])
        self.options = options
        self.ini = ini
        self.add_cleanup = self.cleanups.append

    def getoption(self, name: str, default: object) -> object:
        assert default is None
        return self.options.get(name)

    def getini(self, name: str) -> object:
        value = self.ini.get(name)
        if isinstance(value, Exception):
            raise value
        return value


def test_settings_are_read_from_the_command_line_before_the_ini(tmp_path: Path) -> None:
    config: Any = Config(tmp_path, {"llm_record": "new"}, {"llm_record": "live", "llm_embedder": "tfidf"})
    settings, has_ini_key = fixtures.read_settings(config)
    assert (settings.record, settings.embedder, has_ini_key, config.cleanups) == ("new", "tfidf", True, [])
    config = Config(tmp_path, {"llm_record": "new"}, {})
    settings, has_ini_key = fixtures.read_settings(config)
    assert (settings, has_ini_key) == (Settings(record="new").with_paths_below(tmp_path), False)


def test_versions_of_prompts_are_in_the_environment_until_the_run_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VERSIONS_VARIABLE, "b=v2")
    config: Any = Config(tmp_path, {"llm_prompt": ["a=v1"]}, {})
    fixtures.read_settings(config)
    assert os.environ[VERSIONS_VARIABLE] == "b=v2,a=v1"
    (undo,) = config.cleanups
    undo()
    assert os.environ[VERSIONS_VARIABLE] == "b=v2"


def test_the_hosts_of_adopted_tools_are_among_the_allowed_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    monkeypatch.setattr(
        "pytest_llmops.harness.adoption.allow_service_hosts",
        lambda settings: replace(settings, allow_hosts=("x",)),
    )
    config: Any = Config(tmp_path, {}, {"llm_adopt": ["ragas"]})
    assert fixtures.read_settings(config)[0].allow_hosts == ("x",)
    config = Config(tmp_path, {}, {})
    assert fixtures.read_settings(config)[0].allow_hosts == ()


def test_a_wrong_value_ends_the_run(tmp_path: Path) -> None:
    config: Any = Config(tmp_path, {"llm_record": "sometimes"}, {})
    with pytest.raises(pytest.UsageError, check=check_message):
        fixtures.read_settings(config)


@pytest.mark.parametrize(
    ("error", "value"),
    [
        (ValueError("llm_judge: invalid truth value 'maybe'"), "maybe"),
        (TypeError('expected a: "list"'), "list"),
        (pytest.UsageError("x: y"), "y"),
    ],
)
def test_a_value_that_pytest_refuses_is_read_as_text(tmp_path: Path, error: Exception, value: str) -> None:
    config: Any = Config(tmp_path, {}, {"llm_x": error, "llm_y": 1})
    assert fixtures._read_ini_value(config, "llm_x") == value
    assert fixtures._read_ini_value(config, "llm_y") == 1


def test_a_wrong_item_of_a_list_ends_the_run(tmp_path: Path) -> None:
    config: Any = Config(tmp_path, {}, {"llm_x": TypeError("llm_x: item at index 1 is an int")})
    with pytest.raises(pytest.UsageError) as caught:
        fixtures._read_ini_value(config, "llm_x")
    assert str(caught.value) == "llm_x: item at index 1 is an int"


class Parser:
    """pytest's parser of options; keeps what is added."""

    def __init__(self) -> None:
        self.groups: dict[str, str] = {}
        self.flags: dict[str, tuple[str, dict[str, Any]]] = {}
        self.keys: dict[str, dict[str, Any]] = {}

    def getgroup(self, name: str, description: str) -> Any:
        self.groups[name] = description

        def add(flag: str, **details: Any) -> None:
            self.flags[flag] = name, details

        return SimpleNamespace(addoption=add)

    def addini(self, name: str, text: str, **details: Any) -> None:
        self.keys[name] = {"help": text, **details}


def test_each_option_is_a_flag_and_an_ini_key() -> None:
    parser: Any = Parser()
    fixtures.pytest_addoption(parser)
    assert list(parser.flags) == [option.flag for option in OPTIONS if option.flag]
    assert list(parser.keys) == [option.dest for option in OPTIONS if option.ini]
    for option in OPTIONS:
        name = f"llmops {option.group}"
        assert parser.groups[name] == f"LLM tests: {option.group}"
        expected: dict[str, Any] = {"dest": option.dest, "default": None, "help": option.help}
        if option.switch:
            expected["action"] = "store_true"
        else:
            expected["metavar"] = option.metavar
        if option.repeat:
            expected["action"] = "append"
        if option.bare:
            expected |= {"nargs": "?", "const": option.bare}
        assert parser.flags.get(option.flag, (name, expected)) == (name, expected)
        key = {"help": option.ini_help or option.help, "type": option.ini, "default": None}
        assert parser.keys.get(option.dest, key) == key


@pytest.mark.parametrize(
    ("value", "made"),
    [
        ("##[group]", "## [group]"),
        ("section_start:1:a", "section_ start:1:a"),
        ("plain # text", None),
        (3, None),
    ],
)
def test_an_id_that_a_ci_runner_would_obey_is_escaped(value: object, made: str | None) -> None:
    assert fixtures.pytest_make_parametrize_id(value) == made
