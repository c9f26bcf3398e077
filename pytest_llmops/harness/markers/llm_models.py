"""The marker ``llm_models``: the models of the `llm` fixture, and the models that a test is made for."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pytest_llmops.errors import UsageError
from pytest_llmops.harness.markers.marker import Argument, Arguments, Marker, Parameter, name_of
from pytest_llmops.harness.markers.parametrized import list_argument_names
from pytest_llmops.measurement import Json
from pytest_llmops.settings import Settings

SEVERAL = 2


class Candidate(str):
    """The name of a model that a test was made for, distinct from values of the user's own `parametrize`."""

    __slots__ = ()


class ModelsMarker(Marker):
    """``--llm-model`` on the command line replaces the models of the marker.

    Example::

        @pytest.mark.llm_models("small-model", "large-model")
        def test_answer(llm): ...
    """

    name = "llm_models"
    help = "run the test once for each model of the `llm` fixture"
    fixture = "llm"
    needs = "that is the model it names"
    records = False  # the fixture does
    narrowed_by = "llm_model"
    repeated = Argument(
        "name", name_of("the name of a model"), "a model, named as for `--llm-model`. Several are possible"
    )

    def read(self, arguments: Arguments) -> tuple[str, ...]:
        """Return the names of the models."""
        names = arguments.args
        are_names = all(isinstance(name, str) and name.strip() for name in names)
        if arguments.kwargs or not names or not are_names:
            raise arguments.usage_error("the names of models as texts, at least one")
        stripped = tuple(name.strip() for name in names)
        if len(set(stripped)) < len(stripped):
            raise arguments.usage_error("each model once")
        return stripped

    def make_parameter(self, node: Any, settings: Settings) -> Parameter | None:
        """Return the models that the test is made for."""
        models = candidate_models(node, settings)
        if not models:
            return None
        return Parameter(self.fixture, models, models)

    def describe_test(self, item: Any, settings: Settings) -> Mapping[str, Json]:
        """Return the model that the test was made for."""
        candidate = candidate_of(item)
        if not candidate:
            return {}
        return {"model": {"name": candidate}}


MARKER = ModelsMarker()


def candidate_of(item: Any) -> str:
    """Return the model that a test was made for; empty: no particular model."""
    callspec = getattr(item, "callspec", None)
    model = getattr(callspec, "params", {}).get("llm")
    if isinstance(model, Candidate):
        return str(model)
    return ""


def candidate_models(node: Any, settings: Settings) -> tuple[Candidate, ...]:
    """Return the models that a test is parametrized by; empty: the test is not, and its `llm` is the model of the settings.

    Models of the command line take precedence over the marker's, which take precedence over models of the ini. Without a marker,
    only several models in the settings parametrize a test, and only if its `llm` is ours or builds on ours.

    Raises:
        UsageError: The marker is wrong, or a hook or the test's own `llm` replaces all models by its own.
    """
    marked: tuple[str, ...] = ()
    arguments = MARKER.find(node)
    if arguments is not None:
        marked = MARKER.read(arguments)
    marks = node.iter_markers("parametrize")
    is_parametrized = any(parametrizes_llm(mark.args, mark.kwargs) for mark in marks)
    overrides = _list_overrides(node)
    if marked:
        own_model = describe_own_model(overrides, parametrized=is_parametrized)
        if own_model:
            raise UsageError(
                f"{node.nodeid}: @pytest.mark.llm_models names the models of the `llm` fixture, but {own_model}: each of them would ask "
                "the same model; take the mark away, or let the fixture build on ours (`def llm(llm)`) or on `request.param`"
            )
    else:
        is_replaced = is_parametrized or any(
            "llm" not in fixture.argnames or fixture.params for fixture in overrides
        )
        if len(settings.models) < SEVERAL or is_replaced:
            return ()
    is_given = node.config.getoption("llm_model", None) is not None
    if marked and not is_given:
        chosen = marked
    else:
        chosen = settings.models or marked
    known = {name for models in node.ihook.pytest_llmops_models(config=node.config) for name in models}
    check_models(node.nodeid, chosen, known)
    return tuple(Candidate(name) for name in chosen)


def _list_overrides(node: Any) -> Sequence[Any]:
    """Return the fixtures of the project that override our `llm`, the nearest to the test last."""
    info = getattr(node, "_fixtureinfo", None)
    if info is None:
        return ()
    # The first is our own: pytest lists fixtures of plugins before fixtures of conftest files.
    fixtures: Sequence[Any] = info.name2fixturedefs.get("llm", ())
    return fixtures[1:]


def check_models(where: str, chosen: Sequence[str], known: Collection[str]) -> None:
    """Check that a hook with 'app', which replaces all models, knows the chosen models itself.

    Raises:
        UsageError: The hook does not know a chosen model.
    """
    unknown = [name for name in chosen if name not in known]
    if "app" in known and unknown:
        got = ", ".join(map(repr, unknown))
        names = ", ".join(sorted(known))
        raise UsageError(
            f"{where}: expected models that pytest_llmops_models knows, as its 'app' replaces all others, "
            f"got {got}; known are {names}"
        )


def describe_own_model(overrides: Sequence[Any], *, parametrized: bool) -> str:
    """Return the end of an error if a test's `llm` would be the same model in all of its tests, else ``""``.

    Args:
        overrides: The fixtures that override our `llm`, the nearest last. One with `request` may use ``request.param``; one that
            uses `llm` builds on the next.
        parametrized: Whether the test is parametrized with `llm` by the project.
    """
    if parametrized:
        return "the test is parametrized with `llm` already"
    for fixture in reversed(overrides):  # the nearest first
        if "request" in fixture.argnames:
            return ""
        if "llm" not in fixture.argnames:
            return f"its fixture `llm` ({fixture.func.__module__}) brings a model of its own"
    return ""


def parametrizes_llm(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Return whether a mark `parametrize` names the argument `llm`."""
    return "llm" in list_argument_names(args, kwargs)
