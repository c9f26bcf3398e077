"""Parameters of a test (models, prompt versions, cases, the argument of `llm_compare`), and components from hooks.

A function that takes a node or an item knows pytest's objects by their attributes only; the others take plain values.
"""

import threading
from collections import ChainMap
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

from pytest_llmops import registry
from pytest_llmops._util.user_files import folders_above
from pytest_llmops.errors import LLMOpsError, UsageError, format_name_list, refuse
from pytest_llmops.harness import markers
from pytest_llmops.harness.markers import Arguments, marker_arguments
from pytest_llmops.measurement import Json, as_finite_float, escape_output
from pytest_llmops.settings import Settings

# Markers about cases, and what for
NEEDS_CASES = {"llm_robust": "it changes their input", "llm_guardrail": "attacks and benign twins"}
# Arguments that we parametrize by, each with its own id, in this order
OWN_ARGUMENTS = ("llm", "prompt", "case")
# Readers of markers whose arguments are checked once, before there is a test for each case
READERS: Mapping[str, Callable[[Arguments], object]] = {
    "judge": markers.read_judge_marker,
    "retriever": markers.read_retriever_marker,
    "llm_cassette": markers.read_cassette_marker,
    "llm_budget": lambda marker: refuse(
        not (limits := marker.by_name("usd", "calls", "tokens").values())
        or not all(limit is None or (as_finite_float(limit) is not None and limit >= 0) for limit in limits),
        marker.usage_error("numbers of at least 0 for usd, calls or tokens"),
    ),
    "llm_sentinel": Arguments.by_name,
}


class Candidate(str):
    """The name of a model that a test was made for, distinct from values of the user's own `parametrize`."""

    __slots__ = ()


def candidate_of(item: Any) -> str:
    """Return the model that a test was made for; empty: no particular model."""
    model = getattr(getattr(item, "callspec", None), "params", {}).get("llm")
    if isinstance(model, Candidate):
        return str(model)
    return ""


def parametrize_test(
    metafunc: Any, settings: Settings, check_trials: Callable[[Any, Settings], object]
) -> tuple[str, str]:
    """Parametrize a test by models, prompt versions and cases.

    Returns:
        The prompt that it is marked with, or ``""``, and what is wrong with its markers, or ``""``: a test with a wrong
        marker is not parametrized.
    """
    node = metafunc.definition
    try:
        check_trials(node, settings)
        # A project may have markers of its own named judge and retriever, without our fixtures.
        names = (name for name in READERS if name.startswith("llm_") or name in metafunc.fixturenames)
        for marker in filter(None, (marker_arguments(node, name) for name in names)):
            READERS[marker.marker](marker)
        parameters = list(iter_parameters(node, settings, metafunc.fixturenames))
        prompt = markers.read_prompt_marker(markers.marker_arguments(node, "prompt"))
    except LLMOpsError as error:
        return "", escape_output(str(error))
    for name, values, ids in parameters:
        metafunc.parametrize(name, values, ids=ids, indirect=True)
    return prompt[0] if prompt else "", ""


def iter_parameters(
    node: Any, settings: Settings, wanted: Collection[str]
) -> Iterator[tuple[str, Sequence[object], Sequence[str]]]:
    """Yield the parameters of a test as (fixture, values, ids): models first, then versions, then cases.

    Raises:
        UsageError: The test itself is marked with models, and does not use the `llm` fixture.
    """
    if "llm" in wanted:
        models = candidate_models(node, settings)
    else:
        models = ()
    if models:
        yield "llm", models, models
    elif "llm" not in wanted and any(mark.name == "llm_models" for mark in node.own_markers):
        raise UsageError(
            f"{node.nodeid}: @pytest.mark.llm_models needs the `llm` fixture: that is the model it names"
        )
    if "prompt" in wanted:
        marked = markers.read_prompt_marker(markers.marker_arguments(node, "prompt"))
    else:
        marked = None
    if marked:
        name, listed_versions = marked
        override = settings.versions.get(name, "")
        versions = markers.versions_to_run(
            markers.find_prompts(node, settings), name, listed_versions, override
        )
        if versions:
            yield "prompt", versions, versions
    if "case" in wanted:
        marker = markers.marker_arguments(node, "cases")
    else:
        marker = None
    if marker is not None:
        cases = markers.read_cases(marker, folders_above(node.path.parent, node.config.rootpath), settings)
        guardrail = markers.marker_arguments(node, "llm_guardrail")
        if guardrail is not None:
            markers.check_guardrail(guardrail, cases)
        robust = markers.marker_arguments(node, "llm_robust")
        if robust:
            cases = tuple(markers.add_robust_cases(robust, cases))
        yield "case", cases, [escape_output(case.id) for case in cases]
    for name, why in NEEDS_CASES.items():
        if marker is None and any(mark.name == name for mark in node.own_markers):
            raise UsageError(
                f"{node.nodeid}: @pytest.mark.{name} needs @pytest.mark.cases(file) and the `case` fixture: {why}"
            )


def describe_parameters(item: Any) -> dict[str, Json]:
    """Return the parameters of a test as `split_id` does; empty if it is not parametrized."""
    spec = getattr(item, "callspec", None)
    if spec is not None:
        return split_id(getattr(spec, "_idlist", ()), spec.params, spec.indices)
    return {}


def split_id(
    parts: Sequence[str], values: Mapping[str, object], places: Mapping[str, int]
) -> dict[str, Json]:
    """Return for each argument its part of the node id, and its index in the list of its values.

    Arguments that share a part of the id are returned together, as ``others``; nothing is returned if the parts
    cannot be assigned.
    """
    rest = [str(part) for part in parts]
    if len(rest) == len(places):
        pairs = zip(places.items(), rest, strict=True)
        return {name: {"id": part, "place": place} for (name, place), part in pairs}
    split: dict[str, Json] = {}
    for name in filter(places.__contains__, OWN_ARGUMENTS):
        text = str(getattr(values[name], "id", values[name]))
        part = next((form for form in (text, text.encode("unicode_escape").decode()) if form in rest), None)
        if part is None:
            return {}
        rest.remove(part)
        split[name] = {"id": part, "place": places[name]}
    return {**split, "others": {"id": "-".join(rest)}}


def read_models_marker(marker: markers.Arguments | None) -> tuple[str, ...]:
    """Return the models that a test is marked with; empty: it is not marked.

    Raises:
        UsageError: There is no name, a name is not a text, or a name is repeated.
    """
    if marker is None:
        return ()
    names = marker.args
    if marker.kwargs or not names or not all(isinstance(name, str) and name.strip() for name in names):
        raise marker.usage_error("the names of models as texts, at least one")
    stripped = tuple(name.strip() for name in names)
    if len(set(stripped)) < len(stripped):
        raise marker.usage_error("each model once")
    return stripped


def candidate_models(node: Any, settings: Settings) -> tuple[Candidate, ...]:
    """Return the models that a test is parametrized by; empty: the test uses the settings' model.

    Models of the command line take precedence over the marker's, the marker's over those of the ini.

    Raises:
        UsageError: The marker is wrong, or a hook or the test's own `llm` replaces all models by its own.
    """
    marked = read_models_marker(markers.marker_arguments(node, "llm_models"))
    parametrized = any(parametrizes_llm(mark.args, mark.kwargs) for mark in node.iter_markers("parametrize"))
    info = getattr(node, "_fixtureinfo", None)
    # The fixtures that override our `llm`, the nearest last.
    if info is not None:
        overrides: Sequence[Any] = info.name2fixturedefs.get("llm", ())[1:]
    else:
        overrides = ()
    if marked and (own := describe_own_model(overrides, parametrized=parametrized)):
        raise UsageError(
            f"{node.nodeid}: @pytest.mark.llm_models names the models of the `llm` fixture, but {own}: each of them would ask the "
            "same model; take the mark away, or let the fixture build on ours (`def llm(llm)`) or on `request.param`"
        )
    replaced = parametrized or any("llm" not in fixture.argnames or fixture.params for fixture in overrides)
    if not marked and (len(settings.models) < 2 or replaced):  # noqa: PLR2004 -- several
        return ()
    given = node.config.getoption("llm_model", None) is not None
    if marked and not given:
        chosen = marked
    else:
        chosen = settings.models or marked
    known = {name for hook in node.ihook.pytest_llmops_models(config=node.config) for name in hook}
    check_models(node.nodeid, chosen, known)
    return tuple(map(Candidate, chosen))


def check_models(where: str, chosen: Sequence[str], known: Collection[str]) -> None:
    """Check that a hook with 'app', which replaces all models, knows the chosen models itself.

    Raises:
        UsageError: The hook does not know a chosen model.
    """
    strange = [name for name in chosen if name not in known]
    if "app" in known and strange:
        raise UsageError(
            f"{where}: expected models that pytest_llmops_models knows, as its 'app' takes the place of all others, "
            f"got {', '.join(map(repr, strange))}; known are {', '.join(sorted(known))}"
        )


def describe_own_model(overrides: Sequence[Any], *, parametrized: bool) -> str:
    """Return where a test's `llm` comes from if it ignores the models that the test is made for, else ``""``."""
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
    return "llm" in _list_argument_names(args, kwargs)


def _list_argument_names(args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[str]:
    """Return the arguments that a mark `parametrize` names."""
    if args:
        names = args[0]
    else:
        names = kwargs.get("argnames", ())
    return list(map(str.strip, names.split(",") if isinstance(names, str) else names))


Factory: TypeAlias = Callable[[], object]


# By run, and by kind and the implementations of the hook that a test sees
_factories: WeakKeyDictionary[Any, dict[tuple[object, ...], Mapping[str, Factory]]] = WeakKeyDictionary()
# By run, and by kind, name and factory; built-in components by the settings instead of a factory
_components: WeakKeyDictionary[Any, dict[tuple[str, str, object, object], object]] = WeakKeyDictionary()
# Judges of a test may look up their model in several threads; a factory may look up another component
_lock = threading.RLock()


def hook_factories(item: Any, kind: str) -> Mapping[str, Factory]:
    """Return the factories of a kind from the hooks that a test sees, by name; the nearest conftest wins.

    The hook is called once for all tests that see the same implementations: a factory made in it (a lambda, a
    partial) is a new object at each call, and would be called again for each test.
    """
    hook = getattr(item.ihook, f"pytest_llmops_{kind}s")
    with _lock:
        cache = _factories.setdefault(item.config, {})
        key = (kind, *hook.get_hookimpls())
        if key not in cache:
            cache[key] = dict(ChainMap(*hook(config=item.config)))
        return cache[key]


def build_component(item: Any, kind: str, name: str, factory: Factory | None, settings: Settings) -> object:
    """Return the component that a factory makes, once per run; without a factory the built-in component.

    Raises:
        UnknownName: Nothing of that name is built in.
        UsageError: Its argument is wrong.
    """
    __tracebackhide__ = True
    # The path of a judge file is searched from the test upwards.
    if registry.is_judge_file(kind, name):
        folder = item.path.parent
    else:
        folder = None
    key = (kind, name, factory or settings, folder)
    with _lock:
        cache = _components.setdefault(item.config, {})
        if key not in cache:
            cache[key] = factory() if factory else registry.load_builtin(kind, name)
        return cache[key]


# The options that may leave a single value of an argument
NARROWING = {"prompt": "llm_prompt", "llm": "llm_model"}
# The values of compared arguments by module or class, and test function: a test knows its own value alone
VALUES: WeakKeyDictionary[Any, dict[str, list[str]]] = WeakKeyDictionary()


def order_variants(node: Any, specs: list[Any]) -> str:
    """Put the tests of a case side by side: what drifts meanwhile concerns all variants alike.

    Args:
        node: pytest's definition of a test function that is marked.
        specs: pytest's parameters of its tests, which are sorted in place.

    Returns:
        What is wrong with the marker, or "": its argument is not parametrized or has a single value, or the base is not one of its values.
    """
    argument = ""
    try:
        argument, base = _read_marker(node)
        joint = _joint_arguments(node, argument)
        specs.sort(
            key=lambda spec: (
                [place for name, place in spec.indices.items() if name not in joint],
                spec.indices.get(argument, 0),
            )
        )
        if specs:
            known = specs[0].indices
        else:
            known = {}
        values = list(
            dict.fromkeys(_name_values(node, spec)[argument] for spec in specs if argument in known)
        )
        VALUES.setdefault(node.parent, {})[node.name] = values
        if len(values) < 2 or (base and base not in values):  # noqa: PLR2004 -- to compare
            raise UsageError(  # noqa: TRY301 -- the other one is raised by the marker
                f"{node.nodeid}: @pytest.mark.llm_compare: expected at least two values of a parametrized argument {argument!r}"
                f"{base and f', among them the base {base!r}'}, got the "
                + (f"values {format_name_list(values)}" if values else f"arguments {format_name_list(known)}")
            )
    except UsageError as error:
        # The command line may leave a single model, or version of a prompt.
        if node.config.getoption(NARROWING.get(argument, ""), None):
            return ""
        del specs[1:]  # one test reports it
        return escape_output(str(error))
    return ""


def _read_marker(node: Any) -> tuple[str, str]:
    """Return the argument and the base ("": the first value)."""
    marker = marker_arguments(node, "llm_compare") or Arguments(node.nodeid, "llm_compare", (), {})
    given = marker.by_name("argument", "base")
    if not isinstance(given.get("argument"), str) or not given["argument"]:
        raise marker.usage_error("the name of a parametrized argument first")
    return given["argument"], str(base) if (base := given.get("base")) is not None else ""


def describe_variant(item: Any, primary: str = "") -> dict[str, Json]:
    """Return the facts of a test that is compared with others, as `VariantFacts` reads them; empty: it is not.

    Args:
        item: pytest's item.
        primary: The metric that decides.
    """
    argument, base = _read_marker(item) if item.get_closest_marker("llm_compare") else ("", "")
    values = VALUES.get(item.parent, {}).get(getattr(item, "originalname", ""), [])
    if not values:
        return {}
    joint = _joint_arguments(item, argument)
    names = _name_values(item, item.callspec)
    return {
        "argument": argument,
        "value": names[argument],
        "place": values.index(names[argument]),
        "base": base or values[0],
        "case": [value for name, value in names.items() if name not in joint],
        "primary": primary,
    }


def are_variants(first: Any, second: Any) -> bool:
    """Return whether two tests are the same case of a comparison."""
    keys = [
        (item.parent, getattr(item, "originalname", ""), describe_variant(item).get("case"))
        for item in (first, second)
    ]
    return keys[0] == keys[1] and keys[0][-1] is not None


def _joint_arguments(node: Any, argument: str) -> frozenset[str]:
    """Return the arguments that a mark `parametrize` gives together with one: they vary with it."""
    marks = [_list_argument_names(mark.args, mark.kwargs) for mark in node.iter_markers("parametrize")]
    return next((frozenset(names) for names in marks if argument in names), frozenset({argument}))


def _name_values(node: Any, spec: Any) -> dict[str, str]:
    """Return for each argument its part of the test's id, which it may share; where they cannot be told apart, the values themselves."""
    groups = [list(names) for _, names in groupby(spec.params, lambda name: _joint_arguments(node, name))]
    if len(spec._idlist) != len(groups):  # noqa: SLF001 -- pytest has no other parts of an id
        return {name: str(value) for name, value in spec.params.items()}
    return {name: str(part) for names, part in zip(groups, spec._idlist, strict=True) for name in names}  # noqa: SLF001
