"""Which modules are imported before the first test of a run, by what its tests use."""

from __future__ import annotations

import asyncio
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from support.plugin_config import config_of, item_in

from pytest_llmops.harness import early_imports
from pytest_llmops.harness.early_imports import (
    APP_MODEL,
    EMBEDDER,
    HARNESS,
    JUDGE,
    TEMPLATES,
    import_for_tests,
)
from pytest_llmops.harness.markers.llm_models import Candidate
from pytest_llmops.settings import Settings

OPENAI = ["pytest_llmops.providers.openai", "pytest_llmops.providers.openai_sdk:import_lazy_parts"]
ANTHROPIC = ["pytest_llmops.providers.anthropic", "anthropic.resources.messages"]
JUDGES = ["pytest_llmops.judges.rubric", "pytest_llmops.judges.item_judges", "yaml", *TEMPLATES]
CONTROLLER = "pytest_llmops.harness.controller"
SKIP = pytest.mark.skip.mark


def item_with(*marks: pytest.Mark, fixtures: tuple[str, ...] = (), llm: object = None) -> Any:
    item = item_in(config_of(Path("/project")), *marks, names=fixtures)
    item.function = None
    item.callspec = SimpleNamespace(params={"llm": llm})
    return item


def places(
    needs: list[str], items: tuple[Any, ...] = (), names: tuple[str, ...] = (), **settings: Any
) -> list[str]:
    return list(early_imports._list_places(items, needs, names, Settings(**settings)))


@pytest.mark.parametrize(
    ("needs", "settings", "expected"),
    [
        (["numpy"], {}, ["numpy"]),
        ([JUDGE], {}, []),
        ([JUDGE], {"judge": True, "judge_model": "anthropic:a", "model": "b"}, [*JUDGES, *ANTHROPIC]),
        ([JUDGE], {"judge": True, "model": "b"}, [*JUDGES, *OPENAI]),
        ([APP_MODEL], {"model": "anthropic:a"}, []),
        ([EMBEDDER], {"embedder": "mine"}, []),
        (
            [EMBEDDER, "numpy"],
            {"embedder": "tfidf"},
            ["numpy", "pytest_llmops.providers.offline", "numpy", "sklearn.feature_extraction.text"],
        ),
    ],
)
def test_the_settings_choose_the_modules_of_judges_and_embedders(
    needs: list[str], settings: dict[str, Any], expected: list[str]
) -> None:
    assert places(needs, **settings) == expected


@pytest.mark.parametrize(
    ("models", "single", "expected"),
    [
        ([None], "anthropic:a", ANTHROPIC),
        ([None], "b", OPENAI),
        ([Candidate("anthropic:a")], "b", ANTHROPIC),
        (["anthropic:a"], "b", OPENAI),
    ],
)
def test_the_models_of_tests_choose_the_modules_of_their_vendor(
    models: list[object], single: str, expected: list[str]
) -> None:
    items = [item_with(fixtures=("llm",), llm=model) for model in models]
    others = [item_with(fixtures=("prompt",), llm=Candidate("anthropic:a"))]
    assert places([APP_MODEL], (*items, *others), model=single) == expected


def test_each_of_several_models_chooses_modules() -> None:
    models = ["anthropic:a", "b", "anthropic:c"]
    assert list(early_imports._list_model_places(models)) == [*ANTHROPIC, *OPENAI, *ANTHROPIC]


def test_embedders_come_from_settings_names_and_markers() -> None:
    items = [
        item_with(pytest.mark.retriever("a", embedder="hashing").mark),
        item_with(pytest.mark.retriever("a", embedder="mine").mark),
        item_with(pytest.mark.retriever("a").mark),
        item_with(),
    ]
    settings = Settings(embedder="openai:x")
    listed = early_imports._list_embedders
    assert listed(items, [EMBEDDER], ["tfidf", "assert_semantic"], settings) == {
        "openai:x",
        "tfidf",
        "hashing",
    }
    assert listed(items, [JUDGE], ["tfidf"], settings) == {"hashing"}
    assert set(early_imports._list_embedder_places("openai:x")) > {"numpy", OPENAI[1]}


Run = Callable[..., list[str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Returns what is imported for the tests of a run."""

    def begin(
        items: list[Any], ours: list[Any], *names: str, worker: bool = False, **settings: Any
    ) -> list[str]:
        imported: list[str] = []

        def import_place(place: str) -> None:
            warnings.warn("an old package", DeprecationWarning, stacklevel=1)
            imported.append(place)

        def note(what: str) -> Callable[..., None]:
            return lambda *arguments: imported.append(f"{what} {arguments[0]}")

        monkeypatch.setattr(early_imports, "_import_place", import_place)
        monkeypatch.setattr(early_imports, "_find_used_names", lambda *_: set(names))
        monkeypatch.setattr(early_imports, "_import_used_names", note("names"))
        monkeypatch.setattr(
            early_imports,
            "_import_recording",
            lambda recorded, _: imported.append(f"recording {len(recorded)}"),
        )
        monkeypatch.setattr(
            early_imports, "_load_embedder", lambda _item, name, _: imported.append(f"load {name}")
        )
        config = config_of(Path("/project"))
        if worker:
            config.workerinput = {}
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            import_for_tests(SimpleNamespace(items=items, config=config), ours, Settings(**settings))
        return imported

    return begin


def test_a_run_that_uses_nothing_of_ours_imports_nothing(run: Run) -> None:
    skipped = item_with(SKIP)
    assert run([skipped], [skipped], "assert_exact") == []
    assert run([item_with()], [skipped]) == []


def test_a_run_imports_what_its_tests_use(run: Run) -> None:
    plain, ours = item_with(), item_with()
    parts = [*HARNESS, CONTROLLER]
    assert run([plain, ours], [ours]) == ["names set()", *parts, "recording 1"]
    assert run([plain, ours], [ours], worker=True) == ["names set()", *HARNESS, "recording 1"]
    used = "names {'use_cassette'}"
    assert run([plain, ours], [], "use_cassette") == [used, *parts, "recording 2"]
    assert run([plain], [], "assert_chunks") == [
        "names {'assert_chunks'}",
        *HARNESS,
        "rapidfuzz.distance",
        CONTROLLER,
    ]


def test_only_a_model_of_this_machine_is_read_before_the_first_test(run: Run) -> None:
    item = item_with(fixtures=("embedder",))
    assert run([item], [], "tfidf", embedder="minilm")[-1] == "load minilm"
    assert "load" not in " ".join(run([item], [item], embedder="tfidf"))


# Recording.


def recording(
    monkeypatch: pytest.MonkeyPatch, *items: Any, trace: object = None, **settings: Any
) -> list[str]:
    imported: list[str] = []
    monkeypatch.setattr(early_imports, "_import_place", imported.append)
    monkeypatch.setattr(early_imports, "_import_client_parts", lambda _: imported.append("clients"))
    monkeypatch.setattr("pytest_llmops.cassettes.install_patches", lambda: imported.append("patches"))
    monkeypatch.setattr("pytest_llmops.harness.markers.cases.find_trace", lambda _: trace)
    early_imports._import_recording(iter(items), Settings(**settings))
    return imported


def test_recorded_tests_import_the_parts_of_recording(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    item = item_with()
    item.path = tmp_path / "test_a.py"
    assert recording(monkeypatch, item) == ["clients", "patches"]
    traces = "pytest_llmops.cassettes.traces.answers"
    assert recording(monkeypatch, item, trace=tmp_path) == ["clients", "patches", traces]
    live = [
        "genai_prices",
        "filelock",
        "anyio",
        "pytest_llmops.harness.server_gate",
        "pytest_llmops.providers.model_server",
    ]
    assert recording(monkeypatch, item, record="new") == ["clients", "patches", *live]
    (tmp_path / "cassettes").mkdir()
    assert recording(monkeypatch, item) == ["clients", "patches", "genai_prices"]


def test_asynchronous_tests_import_the_parts_of_asyncio(monkeypatch: pytest.MonkeyPatch) -> None:
    item = item_with()

    async def wait() -> None:
        pass

    item.function = wait
    assert recording(monkeypatch, item_with(), item) == ["clients", "patches", "anyio._backends._asyncio"]


def test_a_test_may_be_asynchronous_by_its_module() -> None:
    space: dict[str, Any] = {}
    exec("def test(): pass", space)
    item = item_with()
    item.function = space["test"]
    assert not early_imports._may_be_async(item)
    space["io"] = asyncio
    assert early_imports._may_be_async(item)
    assert not early_imports._may_be_async(item_with())


def test_parts_of_clients_are_imported_for_the_clients_that_are_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    imported: list[str] = []
    monkeypatch.setattr(early_imports, "_import_place", imported.append)
    monkeypatch.setattr(early_imports, "NEEDS_BY_CLIENT", {"no_such_client": ("a",), "sys": ("b", "c")})
    monkeypatch.setattr(early_imports, "LAZY_SDK_PARTS", {"no_such_client": "d", "sys": "e"})
    early_imports._import_client_parts(Settings())
    assert imported == ["b", "c"]
    early_imports._import_client_parts(Settings(record="new", concurrency=2))
    assert imported == ["b", "c", "b", "c", "e"]


def test_a_place_is_a_module_or_a_function_that_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    module: Any = ModuleType("llmops_early")
    module.call = lambda: calls.append("called")
    monkeypatch.setitem(sys.modules, "llmops_early", module)
    for place in ("llmops_early", "llmops_early:call", "llmops_early:missing", "no_such_module:call"):
        early_imports._import_place(place)
    assert calls == ["called"]
