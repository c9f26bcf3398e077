"""Jinja2's sandbox as prompts use it: without files, HTML escapes and randomness, within `template_limits`.

The sandbox forbids templates to reach other objects, but not to make a text of a billion characters.
So everything in a template that repeats, makes or reads texts counts its cost first: operators and
calls by the methods that the sandbox has for that, filters and tests by a function around each, and the rest (loops,
``~``, comparisons) by filters that are put into the parsed template.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache, wraps
from inspect import signature
from typing import TYPE_CHECKING, Any

from pytest_llmops._util.text_files import BadFile, json_kind
from pytest_llmops.prompts import template_limits as limits

if TYPE_CHECKING:
    from jinja2 import Template, nodes
    from jinja2.sandbox import ImmutableSandboxedEnvironment

# Filters that are put into the parsed template; no template can name them
LOOP_FILTER = "limited loop"
JOIN_FILTER = "limited join"
SEARCH_FILTER = "limited search"
COMPARE_FILTER = "limited comparison"
SLICE_FILTER = "limited slice"
CONTEXT_PARAMETERS = ("environment", "eval_ctx", "context")  # what Jinja itself passes to a filter
COMPARING_TESTS = ("==", "eq", "equalto", "!=", "ne", ">", "gt", "greaterthan", "ge", ">=", "<", "lt", "lessthan", "<=", "le")  # fmt: skip


@lru_cache(maxsize=1)
def make_sandbox() -> ImmutableSandboxedEnvironment:
    """Return the environment of Jinja that all prompts share."""
    from jinja2 import StrictUndefined

    environment = _sandbox_class()(
        undefined=StrictUndefined,
        autoescape=False,  # a prompt is not HTML: escaping would change the text for the model
        keep_trailing_newline=True,
        finalize=_check_inserted_value,
        loader=None,
    )
    environment.globals.pop("lipsum")
    environment.filters.pop("random")
    environment.filters["tojson"] = _write_json
    for name in environment.filters.keys() - limits.QUICK_FILTERS:
        environment.filters[name] = _limit_filter(name, environment.filters[name])
    environment.filters["format"] = _format
    environment.filters["join"] = _make_join_filter()
    environment.tests["in"] = _search
    for name in COMPARING_TESTS:
        test: Any = environment.tests[name]
        environment.tests[name] = _limit_test(test)
    environment.filters[LOOP_FILTER] = limits.count_loop
    environment.filters[JOIN_FILTER] = limits.join_operands
    environment.filters[SEARCH_FILTER] = limits.count_searched
    environment.filters[COMPARE_FILTER] = limits.count_compared
    environment.filters[SLICE_FILTER] = limits.count_sliced
    return environment


@lru_cache(maxsize=1)
def _sandbox_class() -> type[ImmutableSandboxedEnvironment]:
    """Return the class of the environment; Jinja is imported only when a prompt is read."""
    from jinja2.runtime import LoopContext
    from jinja2.sandbox import MAX_RANGE, ImmutableSandboxedEnvironment, safe_range

    class Sandbox(ImmutableSandboxedEnvironment):
        intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%", "**"})
        concat = staticmethod(limits.count_pieces)

        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.globals["range"] = limits.limit_range(safe_range, MAX_RANGE)

        def call(self, context: Any, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
            limits.count_steps(1)
            if isinstance(obj, LoopContext):  # a loop that is marked as recursive
                args = (limits.count_loop(args[0]), *args[1:])
            if obj is dict:
                limits.count_content(args, "'dict'")
            owner = getattr(obj, "__self__", None)
            if owner is not None:
                args = tuple(limits.count_method(owner, obj.__name__, args, kwargs))
            return super().call(context, obj, *args, **kwargs)

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            limits.check_operands(operator, left, right)
            return super().call_binop(context, operator, left, right)

        def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
            fill_in = super().wrap_str_format(value)
            if fill_in is None:
                return None

            @wraps(fill_in)
            def limited(*args: Any, **kwargs: Any) -> str:
                limits.check_braces_format(value.__self__, [args, kwargs])
                return fill_in(*args, **kwargs)

            return limited

    return Sandbox


@lru_cache(maxsize=256)
def compile_template(text: str, environment: ImmutableSandboxedEnvironment | None = None) -> Template:
    """Return a template in which loops, ``~``, comparisons, keys and slices are counted.

    Args:
        text: The template.
        environment: An overlay of the sandbox; None: the sandbox itself.
    """
    from jinja2 import nodes

    if environment is None:
        environment = make_sandbox()
    tree = environment.parse(text)
    for loop in tree.find_all(nodes.For):
        loop.iter = _count_first(loop.iter, LOOP_FILTER)
    for joined in tree.find_all(nodes.Concat):
        operands = nodes.List(joined.nodes, lineno=joined.lineno)
        joined.nodes = [_count_first(operands, JOIN_FILTER)]
    for comparison in tree.find_all(nodes.Compare):
        _count_comparison(comparison)
    for item in tree.find_all(nodes.Getitem):
        if isinstance(item.arg, nodes.Slice):
            item.node = _count_first(item.node, SLICE_FILTER)
        elif not isinstance(item.arg, nodes.Const):
            item.arg = _count_first(item.arg, COMPARE_FILTER)
    for pair in tree.find_all(nodes.Pair):
        if not isinstance(pair.key, nodes.Const):
            pair.key = _count_first(pair.key, COMPARE_FILTER)
    with limits.limit_template():  # Jinja computes some constant expressions when it compiles
        code = environment.compile(tree)
    return environment.template_class.from_code(environment, code, environment.globals)


def _count_comparison(comparison: nodes.Compare) -> None:
    """Let the operands of a comparison be counted, except constants, which are short."""
    from jinja2 import nodes

    for operand in comparison.ops:
        counter = COMPARE_FILTER
        if operand.op in ("in", "notin"):
            counter = SEARCH_FILTER
            comparison.expr = _count_first(comparison.expr, COMPARE_FILTER)
        if not isinstance(operand.expr, nodes.Const):
            operand.expr = _count_first(operand.expr, counter)


def _count_first(node: nodes.Node, name: str) -> nodes.Expr:
    """Return the node of a filter that counts the value of another node."""
    from jinja2 import nodes

    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


def _limit_filter(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a filter that counts its input and output before it does its work."""
    first = 0
    if hasattr(function, "jinja_pass_arg"):  # Jinja passes its own context before the value
        first = 1
    counter = limits.FilterCounter(name, _list_parameters(function))
    can_grow = name in limits.GROWTH_OF_FILTERS

    @wraps(function)
    def limited(*args: Any, **kwargs: Any) -> Any:
        value = args[first]
        if type(value) is str and len(value) <= limits.SMALL_CHARS and not can_grow:
            return function(*args, **kwargs)
        value = counter.count(value, args[first + 1 :], kwargs)
        return function(*args[:first], value, *args[first + 1 :], **kwargs)

    return limited


def _list_parameters(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the parameters of a filter with their defaults, without its value and what Jinja itself passes."""
    parameters = [
        (parameter.name, parameter.default)
        for parameter in signature(function).parameters.values()
        if parameter.name not in CONTEXT_PARAMETERS and parameter.kind == parameter.POSITIONAL_OR_KEYWORD
    ]
    return dict(parameters[1:])


def _format(value: Any, *args: object, **kwargs: object) -> str:
    """The filter ``format``, whose fields are checked first."""
    from jinja2.filters import do_format

    limits.check_percent_format(str(value), [args, kwargs])
    return do_format(value, *args, **kwargs)


def _make_join_filter() -> Callable[..., str]:
    """Return the filter ``join``, which counts its items first."""
    from jinja2 import pass_eval_context
    from jinja2.filters import do_join

    @pass_eval_context
    def join(eval_ctx: Any, value: Any, d: str = "", attribute: str | int | None = None) -> str:
        values = limits.count_joined(value, str(d), "the filter 'join'")
        return str(do_join(eval_ctx, values, d, attribute))

    return join


def _limit_test(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a test that counts the value that it compares with."""

    @wraps(function)
    def limited(value: Any, other: Any) -> Any:
        return function(value, limits.count_compared(other))

    return limited


def _search(value: Any, container: Any) -> bool:
    """The test ``in``, which counts the searched text."""
    return limits.count_compared(value) in limits.count_searched(container)


def _check_inserted_value(value: object) -> object:
    """Return the value of an expression that Jinja is about to insert into the text.

    Raises:
        BadFile: It is a list, an object or None, for which no text is the obvious one.
    """
    if isinstance(value, (str, int, float)):
        return value
    from jinja2.runtime import Undefined

    if isinstance(value, Undefined):  # Jinja raises its own error, with the name of the variable
        return value
    if isinstance(value, tuple):
        value = list(value)
    what = json_kind(value)
    hint = "pass a text"
    if what == "a list":
        hint = "join it (`| join('\\n')`) or loop over it"
    elif what == "an object":
        hint = "write `| tojson`, or one of its keys"
    raise BadFile(f"{what} would be put into the text: {hint}")


def _write_json(value: object, indent: int | None = None) -> str:
    """The filter ``tojson``: plain JSON, where Jinja's own escapes HTML."""
    return json.dumps(value, ensure_ascii=False, indent=indent, allow_nan=False)
