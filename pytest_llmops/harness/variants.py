"""The argument that tests are compared by (`llm_compare`): its marker, its values, and the order of its tests.

A function that takes a node or an item knows pytest's objects by their attributes only.
"""

from itertools import groupby
from typing import Any
from weakref import WeakKeyDictionary

from pytest_llmops.errors import UsageError, format_name_list
from pytest_llmops.harness.markers import Arguments, marker_arguments
from pytest_llmops.harness.parametrize import list_argument_names
from pytest_llmops.measurement import Json, escape_output

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
        known = specs[0].indices if specs else {}
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
        is_narrowed = node.config.getoption(NARROWING.get(argument, ""), None)
        return "" if is_narrowed else escape_output(str(error))
    return ""


def _read_marker(node: Any) -> tuple[str, str]:
    # Return the argument and the base ("": the first value).
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
    joint, names = _joint_arguments(item, argument), _name_values(item, item.callspec)
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
    # Return the arguments that a mark `parametrize` gives together with one: they vary with it.
    marks = [list_argument_names(mark.args, mark.kwargs) for mark in node.iter_markers("parametrize")]
    return next((frozenset(names) for names in marks if argument in names), frozenset({argument}))


def _name_values(node: Any, spec: Any) -> dict[str, str]:
    # Return for each argument its part of the test's id, which it may share; where they cannot be told apart, the values themselves.
    groups = [list(names) for _, names in groupby(spec.params, lambda name: _joint_arguments(node, name))]
    if len(spec._idlist) != len(groups):  # noqa: SLF001 -- pytest has no other parts of an id
        return {name: str(value) for name, value in spec.params.items()}
    return {name: str(part) for names, part in zip(groups, spec._idlist, strict=True) for name in names}  # noqa: SLF001
