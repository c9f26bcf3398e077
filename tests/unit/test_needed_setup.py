"""The certain needs of the collected tests, and the message that ends a run without them."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.messages import check_message
from support.plugin_config import config_of, item_in

from pytest_llmops._util.setup_check import SetupCheck
from pytest_llmops.baselines.baseline import Baseline
from pytest_llmops.errors import UsageError
from pytest_llmops.harness import setup_checks
from pytest_llmops.harness.setup_checks import WORKER_KEY, check_embedder, iter_missing, register_hooks
from pytest_llmops.harness.setup_needs import SetupNeeds, find_needs
from pytest_llmops.providers import model_files, multilingual_e5
from pytest_llmops.settings import Settings

JUDGE: Any = pytest.mark.judge
NEW = Settings(record="new", judge=True, embedder="tfidf")


class Hook:
    """A hook with its implementations, which returns factories, or fails."""

    def __init__(self, functions: tuple[Any, ...] = (), values: Mapping[str, object] | None = None) -> None:
        self.functions = functions
        self.values = values or {}

    def get_hookimpls(self) -> list[Any]:
        return [SimpleNamespace(function=function) for function in self.functions]

    def __call__(self, **_: object) -> list[Mapping[str, object]]:
        return [self.values]


class Hooks:
    """The hooks that a test sees; those that are not given have no implementation."""

    def __init__(self, hooks: Mapping[str, Hook]) -> None:
        self.hooks = hooks

    def __getattr__(self, name: str) -> Hook:
        return self.hooks.get(name, Hook())


def function_in(path: Path) -> Any:
    """A function of a file."""
    space: dict[str, Any] = {"__name__": "conftest"}
    exec(compile("def made(): pass", str(path), "exec"), space)
    return space["made"]


def definition(module: str) -> Any:
    function = function_in(Path("x.py"))
    function.__module__ = module
    return SimpleNamespace(func=function)


OURS = "pytest_llmops.fixtures"


def item_with(
    folder: Path,
    fixtures: Mapping[str, tuple[str, ...]],
    *marks: pytest.Mark,
    hooks: Mapping[str, Hook] | None = None,
) -> Any:
    """A test with fixtures, by the modules that define each, and with hooks."""
    item = item_in(config_of(folder), *marks)
    definitions = {name: tuple(map(definition, modules)) for name, modules in fixtures.items()}
    item._fixtureinfo = SimpleNamespace(name2fixturedefs=definitions)
    item.ihook = Hooks(hooks or {})
    item.function = len
    return item


def needs_of(item: Any, settings: Settings = NEW) -> tuple[list[str], list[str]]:
    """The embedders and the judged tests."""
    needs = find_needs([item], settings, item.config.rootpath)
    assert [nodeid for nodeids in needs.embedders.values() for nodeid in nodeids] == [item.nodeid] * len(
        needs.embedders
    )
    return list(needs.embedders), needs.judges


EMBEDDER = {"embedder": (OURS,)}


@pytest.mark.parametrize(
    ("fixtures", "marks", "embedders"),
    [
        (EMBEDDER, (), ["tfidf"]),
        ({"embedder": (OURS, "conftest")}, (), []),
        ({"embedder": ("conftest", OURS)}, (), ["tfidf"]),
        ({"other": (OURS,)}, (), []),
        ({"retriever": (OURS,)}, (pytest.mark.retriever("docs", embedder="minilm").mark,), ["minilm"]),
        ({"retriever": (OURS,)}, (pytest.mark.retriever("docs").mark,), []),
        ({"retriever": (OURS,)}, (pytest.mark.retriever("mine", embedder="minilm").mark,), []),
        ({"retriever": (OURS,)}, (), []),
        (
            {"retriever": (OURS,), **EMBEDDER},
            (pytest.mark.retriever("docs", embedder="tfidf").mark,),
            ["tfidf"],
        ),
        ({"retriever": (OURS,)}, (pytest.mark.retriever("docs", embedder="hooked").mark,), []),
    ],
)
def test_embedders_that_a_fixture_needs(
    tmp_path: Path,
    fixtures: Mapping[str, tuple[str, ...]],
    marks: tuple[pytest.Mark, ...],
    embedders: list[str],
) -> None:
    hooks = {
        "pytest_llmops_retrievers": Hook(values={"mine": len}),
        "pytest_llmops_embedders": Hook(values={"hooked": len}),
    }
    assert needs_of(item_with(tmp_path, fixtures, *marks, hooks=hooks)) == (embedders, [])
    replay = Settings(judge=True, embedder="tfidf")
    assert needs_of(item_with(tmp_path, fixtures, *marks, hooks=hooks), replay) == ([], [])


@pytest.mark.parametrize(
    ("name", "settings", "hooks", "is_missing"),
    [
        ("", NEW, {}, True),
        ("quality", Settings(judge=True), {}, True),
        ("quality", Settings(), {}, False),
        ("quality", Settings(judge=True, judge_model="m"), {}, False),
        ("quality", Settings(judge=True, model="m"), {}, False),
        ("quality", Settings(judge=True, model=("m", "n")), {}, True),
        ("quality", NEW, {"judge": "quality"}, False),
        ("quality", NEW, {"judge": "other"}, True),
        ("quality", NEW, {"model": "judge"}, False),
        ("quality", NEW, {"model": ""}, False),
        ("quality", NEW, {"model": "app"}, True),
        ("judges/with.md", NEW, {}, False),
        ("judges/without.md", NEW, {}, True),
        ("judges/none.md", NEW, {}, False),
    ],
)
def test_a_judge_needs_a_model_that_something_names(
    tmp_path: Path, name: str, settings: Settings, hooks: Mapping[str, str], *, is_missing: bool
) -> None:
    (tmp_path / "judges").mkdir()
    (tmp_path / "judges/with.md").write_text("---\nmodel: m\n---\nIs {{ output }} right?\n")
    (tmp_path / "judges/without.md").write_text("Is {{ output }} right?\n")
    known = {f"pytest_llmops_{kind}s": Hook(values={key: len}) for kind, key in hooks.items()}
    marks = (JUDGE(name).mark,) if name else ()
    for fixture in ("judge", "judge_canaries"):
        item = item_with(tmp_path, {fixture: (OURS,)}, *marks, hooks=known)
        assert needs_of(item, settings) == ([], [item.nodeid] * is_missing)
    assert needs_of(item_with(tmp_path, {"judge": (OURS, "conftest")}, *marks, hooks=known), settings) == (
        [],
        [],
    )


class WithSetUp:
    """A test class of unittest."""

    setUpClass = None


@pytest.mark.parametrize("name", ["skip", "skipif", "xfail", "cls", "_xunit_setup_x", "fixture", "hook"])
def test_a_test_that_may_be_skipped_needs_nothing(tmp_path: Path, name: str) -> None:
    item = item_with(tmp_path, EMBEDDER)
    assert needs_of(item) == (["tfidf"], [])
    mine = function_in(tmp_path / "conftest.py")
    if name == "cls":
        item.cls = WithSetUp
    elif name == "hook":
        item.ihook = Hooks({"pytest_fixture_setup": Hook((len, mine))})
    elif name == "fixture":
        item._fixtureinfo.name2fixturedefs["more"] = (SimpleNamespace(func=mine),)
    elif name.startswith("_"):
        item._fixtureinfo.name2fixturedefs[f"{name}_fixture"] = ()
    else:
        item.get_closest_marker = {name: object()}.get
    assert needs_of(item) == ([], [])


def test_the_needs_of_all_tests_are_found(tmp_path: Path) -> None:
    fixtures = {**EMBEDDER, "judge": (OURS,)}
    skipped = item_with(tmp_path, fixtures, pytest.mark.skip.mark)
    wrong = item_with(tmp_path, {"retriever": (OURS,)})
    first, second = item_with(tmp_path, fixtures), item_with(tmp_path, fixtures)
    second.nodeid = "test_b.py::test_y"
    needs = find_needs([skipped, first, wrong, skipped, second], NEW, tmp_path)
    nodeids = ["test_a.py::test_x", "test_b.py::test_y"]
    assert needs == SetupNeeds({"tfidf": nodeids}, nodeids)


def test_functions_of_the_package_and_installed_ones_skip_nothing(tmp_path: Path) -> None:
    ours = function_in(tmp_path / "conftest.py")
    ours.__module__ = "pytest_llmops.plugin"
    installed = function_in(tmp_path / ".venv/site-packages/other.py")
    elsewhere = function_in(tmp_path.parent / "conftest.py")
    item = item_with(
        tmp_path, EMBEDDER, hooks={"pytest_runtest_call": Hook((ours, installed, elsewhere, len))}
    )
    assert needs_of(item) == (["tfidf"], [])


# What is missing.


def missing(name: str) -> SetupCheck:
    return SetupCheck(name="embedder", status="missing", sentence=f"no {name}", step="install it")


def check_by_name(name: str) -> SetupCheck:
    """A stand-in for `check_embedder`: only `good` is there."""
    if name == "good":
        return SetupCheck(name="embedder", status="ok", sentence="good is installed")
    return missing(name)


def test_missing_things_come_with_the_tests_that_need_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup_checks, "check_embedder", check_by_name)
    needs = SetupNeeds({"good": ["a"], "bad": ["b", "c"], "worse": ["d" * 300]}, ["e", "f", "g"])
    baseline = SetupCheck(name="baseline", status="missing", sentence="no file x", step="get it")
    found = list(iter_missing(needs, Settings(), baseline))
    assert [check.name for check in found] == ["embedder", "embedder", "judge", "baseline"]
    assert [check.needed_by[:3] for check in found] == ["2 t", "ddd", "3 t", ""]
    assert found[3] == baseline
    assert check_message(setup_checks.describe_setup_problem(found), long="names a test of 300 characters")
    is_there = SetupCheck(name="baseline", status="ok", sentence="x has 1 test")
    for other in (None, is_there):
        assert list(iter_missing(SetupNeeds({"good": ["a"]}, []), Settings(), other)) == []
    assert list(iter_missing(SetupNeeds({}, ["a"]), Settings(judge_model="m"), None)) == []


class Session(SimpleNamespace):
    """pytest's session before its first test."""

    class Failed(Exception):
        """What ends a session."""

    testsfailed = 0
    shouldfail: object = False


Begin = Callable[..., Session]


@pytest.fixture
def begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Begin:
    """Begins the loop of a run with one test that needs an embedder that is missing."""
    monkeypatch.setattr(setup_checks, "check_embedder", check_by_name)

    def run(
        embedder: str = "bad",
        *,
        key: str = "ours",
        failed: int = 0,
        output: dict[str, str] | None = None,
        **options: Any,
    ) -> Session:
        config = config_of(tmp_path, **options)
        config.getini = lambda _: None
        if output is not None:
            config.workeroutput = output
        settings = Settings(record="new", embedder=embedder)
        register_hooks(config, settings, "ours", UsageError)
        item = item_with(tmp_path, EMBEDDER)
        item.stash = {key: True}
        session = Session(items=[item], testsfailed=failed)
        hook = config.pluginmanager["llmops_setup"].pytest_runtestloop(session)
        next(hook)
        with pytest.raises(StopIteration) as caught:
            hook.send("result")
        assert caught.value.value == "result"
        return session

    return run


def test_a_run_without_what_it_needs_ends_before_its_first_test(begin: Begin) -> None:
    with pytest.raises(UsageError, check=check_message):
        begin()


def test_a_worker_tells_its_controller_what_is_missing(begin: Begin) -> None:
    output: dict[str, str] = {}
    with pytest.raises(Session.Failed) as caught:
        begin(output=output)
    assert list(output) == [WORKER_KEY]
    assert check_message(output[WORKER_KEY])
    assert str(caught.value)


@pytest.mark.parametrize(
    "how",
    [
        {"embedder": "good"},
        {"failed": 1},
        {"collectonly": True},
        {"setuponly": True},
        {"setupplan": True},
        {"embedder": "good", "output": {}},
    ],
)
def test_a_run_that_has_all_or_runs_no_test_goes_on(begin: Begin, how: dict[str, Any]) -> None:
    assert begin(**how).shouldfail is False
    assert how.get("output", {}) == {}


def test_a_baseline_is_read_before_the_first_of_our_tests(begin: Begin, tmp_path: Path) -> None:
    path = tmp_path / Settings().baseline
    path.write_text(Baseline().to_text())
    begin("good")
    path.write_text("{")
    begin("good", key="theirs")
    with pytest.raises(UsageError) as caught:
        begin("good")
    assert Settings().baseline in str(caught.value)


# Embedders.


def sentence_and_step(name: str) -> list[str]:
    check = check_embedder(name)
    assert (check.name, check.status) == ("embedder", "missing")
    return [check.sentence, check.step]


@pytest.mark.parametrize("name", ["minilm", "sentence-transformers:x"])
def test_an_embedder_without_its_package_names_the_extra(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert check_message(sentence_and_step(name))


def raise_error(error: Exception) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise error

    return fail


def test_a_damaged_model_is_to_be_installed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: True)
    monkeypatch.setattr(model_files, "find_installed", raise_error(UsageError("model.onnx is damaged")))
    assert check_message(sentence_and_step("minilm"))
    monkeypatch.setattr(model_files, "find_installed", len)
    assert check_embedder("minilm").status == "ok"


def test_the_first_line_tells_what_the_embedder_e5_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        multilingual_e5, "check_installed", raise_error(UsageError("e5 is not installed\nmore"))
    )
    assert check_message(sentence_and_step("e5"))
    monkeypatch.setattr(multilingual_e5, "check_installed", lambda: None)
    assert check_embedder("e5").status == "ok"
