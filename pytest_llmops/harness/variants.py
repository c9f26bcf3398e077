"""The argument that tests are compared by (`llm_compare`): its marker, its values, and the order of its tests.

A function that takes a node or an item knows pytest's objects by their attributes only.
"""

from typing import Any

from pytest_llmops.errors import UnknownName, UsageError, format_name_list
from pytest_llmops.harness.markers import Arguments, marker_arguments
from pytest_llmops.harness.parametrize import list_argument_names, split_id
from pytest_llmops.measurement import Json, escape_output
from pytest_llmops.results.details import as_mapping, fact_text

# The options that may leave a single value of an argument
NARROWING = {"prompt": "llm_prompt", "llm": "llm_model"}


def order_variants(node: Any, specs: list[Any]) -> str:
    """Put the tests of a case side by side: what drifts meanwhile concerns all variants alike.

    Args:
        node: pytest's definition of a test function that is marked.
        specs: pytest's parameters of its tests, which are sorted in place.

    Returns:
        What is wrong with the marker, or "": its argument is not parametrized or has a single value, or the base is none of its values.
    """
    try:
        marker, argument, base, _ = _read_marker(node)
        where = f"{marker.where}: @pytest.mark.llm_compare"
        is_narrowed = bool(node.config.getoption(NARROWING.get(argument, ""), None))
        if not specs or argument not in specs[0].indices:
            known = specs[0].indices if specs else ()
            return (
                "" if is_narrowed else str(UnknownName("parametrized argument", argument, known, where=where))
            )
        joint = _joint_arguments(node, argument)
        specs.sort(
            key=lambda spec: (
                [place for name, place in spec.indices.items() if name not in joint],
                spec.indices[argument],
            )
        )
        values = {_name_value(spec, argument) for spec in specs}
        if len(values) == 1 and not is_narrowed:
            return escape_output(
                f"{where}: expected at least two values of {argument!r} to compare, got {format_name_list(values)}; "
                "parametrize the test with another"
            )
        strange = base and base not in values and not is_narrowed
        return escape_output(str(UnknownName("base", base, values, where=where))) if strange else ""
    except UsageError as error:
        return escape_output(str(error))


def _read_marker(node: Any) -> tuple[Arguments, str, str, float]:
    # Return the marker, its argument, the base ("": the first value) and the margin.
    from pytest_llmops.baselines.gate import GateRules

    marker = marker_arguments(node, "llm_compare") or Arguments(node.nodeid, "llm_compare", (), {})
    given = {"base": "", "margin": GateRules().margin, **marker.by_name("argument", "base", "margin")}
    argument, base, margin = given.get("argument"), given["base"], given["margin"]
    if not isinstance(argument, str) or not argument:
        raise marker.usage_error("the name of a parametrized argument first")
    if isinstance(margin, bool) or not isinstance(margin, float) or not GateRules().floor <= margin < 1:
        raise marker.usage_error(f"margin as a difference of scores, from {GateRules().floor} to 1")
    return marker, argument, str(base), margin


def describe_variant(item: Any, primary: str = "") -> dict[str, Json]:
    """Return the facts of a test that is compared with others, as `VariantFacts` reads them; empty: it is not.

    Args:
        item: pytest's item.
        primary: The metric that decides.
    """
    spec = getattr(item, "callspec", None)
    if item.get_closest_marker("llm_compare") is None or spec is None:
        return {}
    _, argument, base, margin = _read_marker(item)
    if argument not in spec.indices:
        return {}
    joint, parts = _joint_arguments(item, argument), _split_id(spec)
    others = {name: place for name, place in spec.indices.items() if name not in joint}
    return {
        "argument": argument,
        "value": _name_value(spec, argument),
        "place": spec.indices[argument],
        "base": base,
        "case": [fact_text(as_mapping(parts.get(name)).get("id")) or str(at) for name, at in others.items()],
        "margin": margin,
        "primary": primary,
    }


def are_variants(first: Any, second: Any) -> bool:
    """Return whether two tests, the first of which is compared, are the same case."""
    keys = [
        (item.parent, getattr(item, "originalname", ""), describe_variant(item).get("case"))
        for item in (first, second)
    ]
    return keys[0] == keys[1] and keys[0][2] is not None


def _joint_arguments(node: Any, argument: str) -> set[str]:
    # Return the arguments that a mark `parametrize` gives together with one: they vary with it.
    marks = [set(list_argument_names(mark.args, mark.kwargs)) for mark in node.iter_markers("parametrize")]
    return next((names for names in marks if argument in names), {argument})


def _split_id(spec: Any) -> dict[str, Json]:
    return split_id(spec._idlist, spec.params, spec.indices)  # noqa: SLF001 -- pytest has no other parts of an id


def _name_value(spec: Any, argument: str) -> str:
    # Return the part of the test's id, else the value itself if it is plain, else its place.
    value = spec.params[argument]
    plain = str(value) if isinstance(value, (str, int, float)) else f"{argument}{spec.indices[argument]}"
    return fact_text(as_mapping(_split_id(spec).get(argument)).get("id")) or plain
