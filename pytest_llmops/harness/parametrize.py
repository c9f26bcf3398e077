"""Parameters of a test: models, prompt versions and cases, as its markers and the settings name them.

A function with a node or an item as argument knows pytest's objects by their attributes only; the others get plain values.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pytest_llmops.errors import LLMOpsError, format_error
from pytest_llmops.harness.markers import PARAMETRIZED_FIXTURES, load_markers
from pytest_llmops.harness.markers.marker import Arguments, Parameter
from pytest_llmops.measurement import Json, escape_output
from pytest_llmops.settings import Settings


@dataclass(frozen=True, slots=True)
class Parametrization:
    """The effect of a test's markers.

    Attributes:
        marked: The arguments of its markers, by name.
        problem: An error in them, or ``""``: a test with a wrong marker is not parametrized.
    """

    marked: Mapping[str, Arguments] = field(default_factory=dict)
    problem: str = ""


def parametrize_test(metafunc: Any, settings: Settings) -> Parametrization:
    """Parametrize a test by models, prompt versions and cases."""
    node = metafunc.definition
    try:
        marked = read_markers(node, metafunc.fixturenames)
        parameters = list_parameters(node, settings, metafunc.fixturenames)
    except LLMOpsError as error:
        return Parametrization(problem=escape_output(format_error(error)))
    for parameter in parameters:
        metafunc.parametrize(parameter.fixture, parameter.values, ids=parameter.ids, indirect=True)
    return Parametrization(marked)


def read_markers(node: Any, fixtures: Collection[str]) -> dict[str, Arguments]:
    """Return the arguments of a test's markers, by marker; they are checked here once, not again for each case.

    Raises:
        UsageError: They are wrong.
    """
    marked: dict[str, Arguments] = {}
    for marker in load_markers():
        arguments = marker.find(node)
        if arguments is not None and marker.is_used_with(fixtures):
            marker.read(arguments)
            marked[marker.name] = arguments
    return marked


def list_parameters(node: Any, settings: Settings, fixtures: Collection[str]) -> list[Parameter]:
    """Return the parameters of a test that uses these fixtures: models first, then versions, then cases.

    Raises:
        UsageError: The test itself has a marker without the fixture or the marker that this needs.
    """
    parameters = []
    for marker in load_markers():
        marker.check_needs(node, fixtures)
        if marker.fixture not in fixtures:
            continue
        parameter = marker.make_parameter(node, settings)
        if parameter is not None:
            parameters.append(parameter)
    return parameters


def describe_parameters(item: Any) -> dict[str, Json]:
    """Return the parameters of a test in the form of `split_id`; empty if it is not parametrized."""
    spec = getattr(item, "callspec", None)
    if spec is None:
        return {}
    return split_id(getattr(spec, "_idlist", ()), spec.params, spec.indices)


def split_id(
    parts: Sequence[str], values: Mapping[str, object], places: Mapping[str, int]
) -> dict[str, Json]:
    """Return for each argument its part of the node id, and the index of its value: ``{"llm": {"id": "gpt-5", "place": 0}}``.

    If other arguments share a part, only our own fixtures have entries, and the other parts are one text under ``others``. If the part
    of one of our fixtures is not found either, the result is empty.

    Args:
        parts: The parts of the id.
        values: The values of the arguments.
        places: For each argument, the index of its value in the list of values; in the order of the parts.
    """
    rest = [str(part) for part in parts]
    if len(rest) == len(places):
        pairs = zip(places.items(), rest, strict=True)
        return {name: {"id": part, "place": place} for (name, place), part in pairs}
    split: dict[str, Json] = {}
    for name in PARAMETRIZED_FIXTURES:  # each has a part of its own
        if name not in places:
            continue
        text = str(getattr(values[name], "id", values[name]))
        escaped = text.encode("unicode_escape").decode()
        if text in rest:
            part = text
        elif escaped in rest:
            part = escaped
        else:
            return {}
        rest.remove(part)
        split[name] = {"id": part, "place": places[name]}
    split["others"] = {"id": "-".join(rest)}
    return split
