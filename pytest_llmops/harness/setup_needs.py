"""Find the certain needs of the collected tests before they run: an embedder, the model of the judges.

If in doubt a test needs nothing: one that may be skipped, that overrides a fixture of ours, or whose embedder comes from a hook of the
project reports a missing requirement by itself.

Knows pytest's items by their attributes only.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType
from typing import Any

from pytest_llmops import registry
from pytest_llmops._util.text_files import BadFile
from pytest_llmops._util.user_files import find_path, folders_above
from pytest_llmops.errors import LLMOpsError
from pytest_llmops.harness.components import hook_factories
from pytest_llmops.harness.markers.judge import JUDGING_FIXTURES, read_judge_name
from pytest_llmops.harness.markers.retriever import MARKER as RETRIEVER
from pytest_llmops.prompts.prompt_file import read_model_name
from pytest_llmops.settings import Settings

FIXTURES_MODULE = "pytest_llmops.fixtures"
PACKAGE = "pytest_llmops"
# The assertion that uses the embedder of the settings unless it gets another
EMBEDDING_ASSERTION = "assert_semantic"
# Names in a test after which it may end before its assertion, or which may give the assertion another embedder
UNCERTAIN_NAMES = frozenset({"skip", "importorskip", "xfail", "exit", "embedder", "**"})
# Markers after which a test may not run
UNCERTAIN_MARKERS = ("skip", "skipif", "xfail")
# Hooks of pytest in which a project may skip a test
SKIPPING_HOOKS = (
    "pytest_runtest_protocol",
    "pytest_runtest_setup",
    "pytest_runtest_call",
    "pytest_pyfunc_call",
    "pytest_fixture_setup",
)


@dataclass(slots=True)
class SetupNeeds:
    """The needs of tests, each with the node ids of the tests.

    Attributes:
        embedders: By the name of the embedder.
        judges: Tests whose judge calls the model of the settings.
    """

    embedders: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    judges: list[str] = field(default_factory=list)


def find_needs(items: Iterable[Any], settings: Settings, root: Path) -> SetupNeeds:
    """Return the certain needs of the tests of a run. A replay needs no embedder before its tests.

    Args:
        items: The tests that will run.
        settings: The run's settings.
        root: The rootdir: fixtures and hooks in files below it are the project's.
    """
    needs = SetupNeeds()
    for item in items:
        if _may_be_skipped(item, root):
            continue
        with suppress(LLMOpsError):  # a wrong marker, or a hook that fails: the test reports it when it runs
            _add_needs(needs, item, settings)
    return needs


def _add_needs(needs: SetupNeeds, item: Any, settings: Settings) -> None:
    """Add the needs of a test.

    Raises:
        LLMOpsError: A marker, a judge file or a hook of the project is wrong.
    """
    if settings.record != "none":
        for name in dict.fromkeys(_iter_embedders(item, settings)):
            if name not in _read_hook(item, "embedder"):
                needs.embedders[name].append(item.nodeid)
    uses_judge = any(_is_ours(item, name) for name in JUDGING_FIXTURES)
    if uses_judge and settings.judge and _lacks_judge_model(item, settings):
        needs.judges.append(item.nodeid)


def _lacks_judge_model(item: Any, settings: Settings) -> bool:
    """Return whether nothing names the model that the judge of a test calls: settings, judge file, or a hook of the project."""
    if settings.judge_model or settings.single_model:
        return False
    name = read_judge_name(item)
    hooked = _read_hook(item, "model")
    if name in _read_hook(item, "judge") or "judge" in hooked or "" in hooked:
        return False
    if registry.is_judge_file("judge", name):
        return not _read_judge_model(item, name)
    return True


def _read_hook(item: Any, kind: str) -> Mapping[str, Callable[..., object]]:
    """Return the factories of the hooks for a kind.

    Raises:
        LLMOpsError: A hook of the project failed.
    """
    try:
        return hook_factories(item, kind)
    except Exception as error:
        raise LLMOpsError(f"the hook pytest_llmops_{kind}s failed") from error


def _read_judge_model(item: Any, name: str) -> str:
    """Return the model that a judge file names; "" if it names none.

    Raises:
        LLMOpsError: The file cannot be read.
    """
    try:
        return read_model_name(find_path(name, folders_above(item.path.parent, item.config.rootpath)))
    except BadFile as error:
        raise LLMOpsError(error.what) from None


def _iter_embedders(item: Any, settings: Settings) -> Iterator[str]:
    """Yield the names of the embedders that a test uses, with repetitions."""
    if _is_ours(item, "embedder"):
        yield settings.embedder
    if _is_ours(item, "retriever"):
        choice = RETRIEVER.read(RETRIEVER.require(item))
        if choice.embedder and choice.name not in _read_hook(item, "retriever"):
            yield choice.embedder
    if calls_assertion(getattr(item, "function", None)):
        yield settings.embedder


def _fixtures(item: Any) -> Mapping[str, Any]:
    """Return the definitions of the fixtures of a test, by name; the last of each counts."""
    definitions: Mapping[str, Any] = getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", {})
    return definitions


def _is_ours(item: Any, fixture: str) -> bool:
    """Return whether a test uses a fixture of this plugin that the project does not override."""
    modules = [getattr(definition.func, "__module__", "") for definition in _fixtures(item).get(fixture, ())]
    return modules[-1:] == [FIXTURES_MODULE]


def _may_be_skipped(item: Any, root: Path) -> bool:
    """Return whether a marker, a fixture, a class or a hook of the project may skip a test, or expects it to fail."""
    if any(item.get_closest_marker(name) is not None for name in UNCERTAIN_MARKERS):
        return True
    if hasattr(getattr(item, "cls", None), "setUpClass"):  # unittest has ways of its own to skip
        return True
    for name, definitions in _fixtures(item).items():
        if name.startswith("_xunit_setup"):  # setup_module, setup_class and so on
            return True
        if any(_is_of_project(definition.func, root) for definition in definitions):
            return True
    for name in SKIPPING_HOOKS:
        hook = getattr(item.ihook, name)
        if any(_is_of_project(implementation.function, root) for implementation in hook.get_hookimpls()):
            return True
    return False


def _is_of_project(function: Any, root: Path) -> bool:
    """Return whether a function is in a file of the project: below its root, and not installed."""
    if str(getattr(function, "__module__", "")).partition(".")[0] == PACKAGE:
        return False
    code = getattr(function, "__code__", None)
    if code is None:
        return False
    path = Path(code.co_filename)
    return path.is_relative_to(root) and "site-packages" not in path.parts


def calls_assertion(function: Any) -> bool:
    """Return whether a function certainly calls `assert_semantic` with the embedder of the settings.

    Its own body has to call it after nothing but assignments. A function that a decorator wraps, or that may skip, is not certain.
    """
    code = getattr(function, "__code__", None)
    if code is None or hasattr(function, "__wrapped__") or not _means_ours(code, function.__globals__):
        return False
    for statement in _read_body(function):
        value = getattr(statement, "value", None)
        if not isinstance(statement, ast.Assign | ast.AnnAssign | ast.Expr):
            return False
        if not UNCERTAIN_NAMES.isdisjoint(_iter_names(statement)):
            return False
        if isinstance(value, ast.Call) and _name_of(value.func) == EMBEDDING_ASSERTION:
            return True
        if isinstance(statement, ast.Expr) and isinstance(value, ast.Call):  # a helper may skip the test
            return False
    return False


def _read_body(function: Any) -> list[ast.stmt]:
    """Return the statements of a function; an empty list if its source cannot be read, or if it is asynchronous."""
    try:
        parsed = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError, ValueError):
        return []
    for definition in parsed.body:
        if isinstance(definition, ast.FunctionDef):
            return definition.body
    return []


def _name_of(node: ast.AST | None) -> str | None:
    """Return a name, or the part of a dotted name after its last dot."""
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Name):
        return node.id
    return None


def _iter_names(statement: ast.stmt) -> Iterator[str | None]:
    """Yield the names in a statement and the names of keyword arguments. None means another node, ``**`` unknown keywords."""
    for node in ast.walk(statement):
        yield _name_of(node)
        if isinstance(node, ast.keyword):
            yield node.arg or "**"


def _means_ours(code: CodeType, names: Mapping[str, Any]) -> bool:
    """Return whether the name `assert_semantic` in a function means ours: imported by its module, or after a dot."""
    if EMBEDDING_ASSERTION not in code.co_names:
        return False
    known = names.get(EMBEDDING_ASSERTION)
    if known is not None:
        return str(getattr(known, "__module__", "")).startswith(f"{PACKAGE}.")
    return any(getattr(names.get(name), "__name__", "") == PACKAGE for name in code.co_names)
