"""What the collected tests need before they can run: embedders, models of a server, the model of the judges.

Only what is certain counts. A test that may skip itself, that overrides a fixture of ours, or whose embedder comes from a hook of the
project reports by itself what it lacks.

Knows pytest's items by their attributes only.
"""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

from pytest_llmops import registry
from pytest_llmops._util.text_files import BadFile
from pytest_llmops._util.user_files import find_path, folders_above
from pytest_llmops.errors import LLMOpsError
from pytest_llmops.harness.components import hook_factories
from pytest_llmops.harness.markers import llm_models
from pytest_llmops.harness.markers.judge import JUDGING_FIXTURES, read_judge_name
from pytest_llmops.harness.markers.retriever import MARKER as RETRIEVER
from pytest_llmops.harness.own_tests import is_recorded_elsewhere
from pytest_llmops.prompts.prompt_file import read_model_name
from pytest_llmops.settings import Settings

FIXTURES_MODULE = "pytest_llmops.fixtures"
PACKAGE = "pytest_llmops"
# The assertion that uses the embedder of the settings unless it gets another
EMBEDDING_ASSERTION = "assert_semantic"
# Names in the code of a test after which it may end before its assertion, or expects an error of it
UNCERTAIN_NAMES = frozenset({"skip", "importorskip", "raises", "xfail"})
# Markers after which a test may not run
UNCERTAIN_MARKERS = ("skip", "skipif", "xfail")
MAX_DEPTH = 5  # helper functions that are followed from a test


@dataclass(slots=True)
class SetupNeeds:
    """What tests need, each with the node ids of the tests.

    Attributes:
        embedders: By the name of the embedder.
        models: Models that a server is asked for, by name; "" is the model that a prompt names.
        judges: Tests whose judge asks the model of the settings.
    """

    embedders: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    models: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    judges: list[str] = field(default_factory=list)


def find_needs(items: Iterable[Any], settings: Settings, root: Path) -> SetupNeeds:
    """Return what the tests of a run need.

    Args:
        items: The tests that will run.
        settings: The run's settings.
        root: The rootdir: only functions in files below it are looked into.
    """
    needs = SetupNeeds()
    calls = _AssertionCalls(root)
    for item in items:
        if any(item.get_closest_marker(name) is not None for name in UNCERTAIN_MARKERS):
            continue
        # Whatever is wrong with a marker or a hook of the project, the test reports it when it runs.
        with suppress(Exception):
            _add_needs(needs, item, settings, calls)
    return needs


def _add_needs(needs: SetupNeeds, item: Any, settings: Settings, calls: _AssertionCalls) -> None:
    """Add what a test needs."""
    for name in dict.fromkeys(_iter_embedders(item, settings, calls)):
        if name in hook_factories(item, "embedder"):
            continue
        needs.embedders[name].append(item.nodeid)
        if name.partition(":")[0] == "openai":
            needs.models[""].append(item.nodeid)
    if is_recorded_elsewhere(item):
        return
    if _is_ours(item, "llm"):
        _add_model(needs, item, llm_models.candidate_of(item) or settings.single_model)
    uses_judge = any(_is_ours(item, name) for name in JUDGING_FIXTURES)
    if uses_judge and settings.judge:
        _add_judge(needs, item, settings)


def _add_model(needs: SetupNeeds, item: Any, model: str) -> None:
    """Add a model of a server, unless it is one of a hook of the project."""
    hooked = hook_factories(item, "model")
    if model not in hooked and "app" not in hooked:
        needs.models[model].append(item.nodeid)


def _add_judge(needs: SetupNeeds, item: Any, settings: Settings) -> None:
    """Add the model that the judge of a test asks, unless the judge or its model comes from a hook of the project."""
    name = read_judge_name(item)
    hooked = hook_factories(item, "model")
    if name in hook_factories(item, "judge") or "judge" in hooked:
        return
    model = settings.judge_model or settings.single_model
    if model in hooked:
        return
    if not model and registry.is_judge_file("judge", name):
        model = _read_judge_model(item, name)
    if model:
        needs.models[model].append(item.nodeid)
    else:
        needs.judges.append(item.nodeid)


def _read_judge_model(item: Any, name: str) -> str:
    """Return the model that a judge file names; "" if it names none.

    Raises:
        LLMOpsError: The file cannot be read.
    """
    try:
        return read_model_name(find_path(name, folders_above(item.path.parent, item.config.rootpath)))
    except BadFile as error:
        raise LLMOpsError(error.what) from None


def _iter_embedders(item: Any, settings: Settings, calls: _AssertionCalls) -> Iterator[str]:
    """Yield the names of the embedders that a test uses, with repetitions."""
    if _is_ours(item, "embedder"):
        yield settings.embedder
    if _is_ours(item, "retriever"):
        choice = RETRIEVER.read(RETRIEVER.require(item))
        if choice.embedder and choice.name not in hook_factories(item, "retriever"):
            yield choice.embedder
    function = getattr(item, "function", None)
    if function is not None and calls.are_in(function):
        yield settings.embedder


def _is_ours(item: Any, fixture: str) -> bool:
    """Return whether a test uses a fixture of this plugin that the project does not override."""
    info = getattr(item, "_fixtureinfo", None)
    definitions = getattr(info, "name2fixturedefs", {}).get(fixture, ())
    modules = [getattr(definition.func, "__module__", "") for definition in definitions]
    return modules[-1:] == [FIXTURES_MODULE]


class _AssertionCalls:
    """Finds the functions of a project that call `assert_semantic` with the embedder of the settings, by the names in their code.

    Args:
        root: The rootdir.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._known: dict[CodeType, bool] = {}

    def are_in(self, function: Any, depth: int = 0) -> bool:
        """Return whether a function, or one that it calls by its name, contains such a call."""
        function = inspect.unwrap(function)
        code = getattr(function, "__code__", None)
        if code is None or depth > MAX_DEPTH:
            return False
        if code not in self._known:
            self._known[code] = False  # for functions that call each other
            self._known[code] = self._look_into(code, function.__globals__, depth)
        return self._known[code]

    def _look_into(self, code: CodeType, names: dict[str, Any], depth: int) -> bool:
        used: set[str] = set()
        constants: set[object] = set()
        for part in _iter_code(code):
            used.update(part.co_names)
            constants.update(_iter_texts(part.co_consts))
        if not used.isdisjoint(UNCERTAIN_NAMES) or "embedder" in constants:
            return False
        if EMBEDDING_ASSERTION in used and _is_from_package(used, names):
            return True
        helpers = [names[name] for name in sorted(used) if isinstance(names.get(name), FunctionType)]
        return any(self._is_of_project(helper) and self.are_in(helper, depth + 1) for helper in helpers)

    def _is_of_project(self, function: FunctionType) -> bool:
        path = Path(function.__code__.co_filename)
        return path.is_relative_to(self._root) and "site-packages" not in path.parts


def _is_from_package(used: set[str], names: dict[str, Any]) -> bool:
    """Return whether the name `assert_semantic` in a function means ours: imported by its module or by itself, or after a dot."""
    known = names.get(EMBEDDING_ASSERTION)
    if known is not None:
        return str(getattr(known, "__module__", "")).startswith(f"{PACKAGE}.")
    if PACKAGE in used:
        return True
    return any(getattr(names.get(name), "__name__", "") == PACKAGE for name in used)


def _iter_code(code: CodeType) -> Iterator[CodeType]:
    """Yield the code of a function and of the functions defined in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _iter_code(constant)


def _iter_texts(constants: Iterable[object]) -> Iterator[str]:
    """Yield the texts among the constants of a function, also those in tuples: the names of keyword arguments are in one."""
    for constant in constants:
        if isinstance(constant, str):
            yield constant
        elif isinstance(constant, tuple):
            yield from _iter_texts(constant)
