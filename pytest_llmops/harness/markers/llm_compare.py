"""The marker ``llm_compare``: which value of a parametrized argument is better than the base.

The tests that differ only in that argument are *variants* of the same case. Other arguments that the same mark `parametrize` gives
(``"model, price"``) vary with it: they are *joint* with it, and do not belong to the case either.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any
from weakref import WeakKeyDictionary

from pytest_llmops.errors import UsageError, format_error, format_name_list
from pytest_llmops.harness.markers import load_markers
from pytest_llmops.harness.markers.marker import Argument, Arguments, Marker, name_of
from pytest_llmops.harness.markers.parametrized import list_argument_names
from pytest_llmops.measurement import Json, escape_output
from pytest_llmops.settings import Settings

LEAST_VALUES = 2
# The values of the compared argument, by module or class, then by test function: a single test knows only its own value
_VALUES: WeakKeyDictionary[Any, dict[str, list[str]]] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class Comparison:
    """The argument whose values are compared, and the value they are compared with; empty: the first."""

    argument: str
    base: str = ""


def _parse_base(value: object) -> str:
    """Return the base as text, as ids of tests show it; "" if it is not given."""
    if value is None:
        return ""
    return str(value)


class CompareMarker(Marker):
    """The variants of a case run one after another, so that a drift of the model affects all of them alike.

    Example::

        @pytest.mark.llm_compare("version")
        @pytest.mark.parametrize("version", ["v1", "v2"])
        @pytest.mark.cases("cases/refunds.jsonl")
        def test_answer(llm, case, version): ...
    """

    name = "llm_compare"
    help = "decide which value of a parametrized argument is better than the base"
    arguments = (
        Argument(
            "argument",
            name_of("the name of a parametrized argument first"),
            "the name of the parametrized argument",
        ),
        Argument(
            "base",
            _parse_base,
            "the value with which the others are compared. Left out: the first",
            default=None,
        ),
    )

    def read(self, arguments: Arguments) -> Comparison:
        """Return the compared argument."""
        values = self.parse(arguments)
        return Comparison(values["argument"], values["base"] or "")

    def order_tests(self, definition: Any, specs: list[Any]) -> str:
        """Put the variants of each case side by side. If the marker is wrong, delete all tests but one, which reports the mistake.

        It is not a mistake if --llm-model or --llm-prompt left a single value of the argument; then nothing is compared.
        """
        try:
            comparison = self.read(self.find_or_default(definition))
        except UsageError as error:
            del specs[1:]
            return escape_output(format_error(error))
        problem = _sort_variants(definition, specs, comparison)
        if not problem or _is_narrowed(definition, comparison.argument):
            return ""
        del specs[1:]
        return escape_output(problem)

    def describe_test(self, item: Any, settings: Settings) -> Mapping[str, Json]:
        """Return which variant of which case the test is."""
        variant = describe_variant(item, settings.primary_metric)
        if not variant:
            return {}
        return {"compare": variant}


MARKER = CompareMarker()


def _sort_variants(definition: Any, specs: list[Any], comparison: Comparison) -> str:
    """Sort the tests so that the variants of a case follow each other, and keep the values of the compared argument.

    Returns:
        The error (the argument is not parametrized or has a single value, or the base is not one of its values), else "".
    """
    argument = comparison.argument
    joint = _joint_arguments(definition, argument)

    def sort_key(spec: Any) -> tuple[list[int], int]:
        places = [place for name, place in spec.indices.items() if name not in joint]
        return places, spec.indices.get(argument, 0)

    specs.sort(key=sort_key)
    parametrized: Sequence[str] = ()
    if specs:
        parametrized = list(specs[0].indices)
    values: list[str] = []
    if argument in parametrized:
        names = [_name_values(definition, spec)[argument] for spec in specs]
        values = list(dict.fromkeys(names))
    _VALUES.setdefault(definition.parent, {})[definition.name] = values
    has_base = not comparison.base or comparison.base in values
    if len(values) >= LEAST_VALUES and has_base:
        return ""
    expected = f"at least two values of a parametrized argument {argument!r}"
    if comparison.base:
        expected += f", among them the base {comparison.base!r}"
    if values:
        got = f"values {format_name_list(values)}"
    else:
        got = f"arguments {format_name_list(parametrized)}"
    return f"{definition.nodeid}: @pytest.mark.llm_compare: expected {expected}, got the {got}"


def _is_narrowed(node: Any, argument: str) -> bool:
    """Return whether the command line may have left a single value of the argument."""
    for marker in load_markers():
        if marker.narrowed_by and marker.fixture == argument:
            return bool(node.config.getoption(marker.narrowed_by, None))
    return False


def describe_variant(item: Any, primary: str = "") -> dict[str, Json]:
    """Return the facts of a test that is compared with others, as `VariantFacts` reads them; empty: it is not.

    Args:
        item: pytest's item.
        primary: The metric that decides.
    """
    arguments = MARKER.find(item)
    values_by_test = _VALUES.get(item.parent, {})
    values = values_by_test.get(getattr(item, "originalname", ""), [])
    if arguments is None or not values:
        return {}
    comparison = MARKER.read(arguments)
    joint = _joint_arguments(item, comparison.argument)
    names = _name_values(item, item.callspec)
    value = names[comparison.argument]
    facts: dict[str, Json] = {
        "argument": comparison.argument,
        "value": value,
        "place": values.index(value),
        "base": comparison.base or values[0],
        "case": [part for name, part in names.items() if name not in joint],
        "primary": primary,
    }
    # An arm of `skill_arms` that is only the other side of the comparison
    if not getattr(item.callspec.params[comparison.argument], "in_baseline", True):
        facts["in_baseline"] = False
    return facts


def are_variants(first: Any, second: Any) -> bool:
    """Return whether two tests are variants of the same case."""
    case = describe_variant(first).get("case")
    if case is None or case != describe_variant(second).get("case"):
        return False
    is_same_function = getattr(first, "originalname", "") == getattr(second, "originalname", "")
    return first.parent == second.parent and is_same_function


def _joint_arguments(node: Any, argument: str) -> frozenset[str]:
    """Return an argument together with those that the same mark `parametrize` gives, as ``"model, price"``: they vary with it."""
    for mark in node.iter_markers("parametrize"):
        names = list_argument_names(mark.args, mark.kwargs)
        if argument in names:
            return frozenset(names)
    return frozenset({argument})


def _name_values(node: Any, spec: Any) -> dict[str, str]:
    """Return the value of each argument as the id of the test shows it: ``{"model": "gpt-5", "tone": "kind"}`` of ``[gpt-5-kind]``.

    Joint arguments have the same part of the id. If the id cannot be assigned to the arguments (its parts are not as many as there
    are marks), the values themselves are returned as text.
    """
    by_mark = groupby(spec.params, lambda name: _joint_arguments(node, name))
    groups = [list(names) for _, names in by_mark]
    ids = spec._idlist  # noqa: SLF001 -- pytest has no other parts of an id
    if len(ids) != len(groups):
        return {name: str(value) for name, value in spec.params.items()}
    parts: dict[str, str] = {}
    for names, part in zip(groups, ids, strict=True):
        parts.update(dict.fromkeys(names, str(part)))
    return parts
