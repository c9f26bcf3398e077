"""Functions whose code is replaced for a while.

Replacing the attribute of a module is not enough: ``from shop.orders import find_order`` in another module, and the tool objects of
openai-agents, LangChain, Pydantic-AI and google-adk, hold the function itself. All of them reach its code. So the code object is
replaced, by one with the same parameters and of the same kind (a coroutine function stays one), which calls ours. Default values,
annotations and closure belong to the function and stay.
"""

import ast
import inspect
from collections.abc import Callable, Mapping, Sequence
from types import CodeType, FunctionType
from typing import Any

# Called with the arguments by position, ``*args``, the arguments by name, and ``**kwargs``
Hook = Callable[[Sequence[Any], Sequence[Any], Mapping[str, Any], Mapping[str, Any]], Any]
_BODIES = {
    "plain": "def {head}: {hook} = {placeholder!r}; return {call}",
    "coroutine": "async def {head}: {hook} = {placeholder!r}; return await {call}",
    "generator": "def {head}: {hook} = {placeholder!r}; return (yield from {call})",
    # What `yield from` does, which an async generator does not have: values and errors of the caller reach the generator of the hook
    "async generator": """async def {head}:
 {hook} = {placeholder!r}
 {source} = {call}
 try:
  {item} = await {source}.asend(None)
  while True:
   try: {sent} = yield {item}
   except Exception as {error}: {item} = await {source}.athrow({error})
   else: {item} = await {source}.asend({sent})
 except StopAsyncIteration: return
 finally: await {source}.aclose()
""",
}
_PLACEHOLDER = "the hook"
_LOCAL_NAMES = ("hook", "source", "item", "sent", "error")


def kind_of(function: FunctionType) -> str:
    """Return the kind of a function: ``plain``, ``coroutine``, ``generator`` or ``async generator``."""
    if inspect.iscoroutinefunction(function):
        return "coroutine"
    if inspect.isasyncgenfunction(function):
        return "async generator"
    if inspect.isgeneratorfunction(function):
        return "generator"
    return "plain"


class CodeSwap:
    """A function whose code is replaced.

    Args:
        function: The function.
        hook: Called in its place.

    Attributes:
        real: A function with the code that `function` had.
    """

    def __init__(self, function: FunctionType, hook: Hook) -> None:
        self.function = function
        self._before = function.__code__
        self._ours = _make_code(function, hook)
        self.real = FunctionType(
            self._before, function.__globals__, function.__name__, function.__defaults__, function.__closure__
        )
        self.real.__kwdefaults__ = function.__kwdefaults__
        self.real.__qualname__ = function.__qualname__

    def apply(self) -> None:
        """Replace the code."""
        self.function.__code__ = self._ours

    def restore_attribute(self) -> None:
        """Restore the code, unless it was replaced again."""
        if self.function.__code__ is self._ours:
            self.function.__code__ = self._before


def parameter_names(code: CodeType) -> tuple[list[str], str, list[str], str]:
    """Return the names of a function's parameters: by position, of ``*args``, by name only, of ``**kwargs``; "" without one."""
    names = list(code.co_varnames)
    by_position = names[: code.co_argcount]
    end = code.co_argcount + code.co_kwonlyargcount
    by_name = names[code.co_argcount : end]
    rest = ""
    if code.co_flags & inspect.CO_VARARGS:
        rest = names[end]
        end += 1
    more = ""
    if code.co_flags & inspect.CO_VARKEYWORDS:
        more = names[end]
    return by_position, rest, by_name, more


def _make_code(function: FunctionType, hook: Hook) -> CodeType:
    """Return code with the parameters of a function that calls a hook.

    The hook is a constant of the code: the function's own globals must not be touched. A code object needs as many free variables as
    the function has cells in its closure, so it names the same ones, and uses none.
    """
    code = function.__code__
    source = _BODIES[kind_of(function)].format(**_format_parts(code))
    tree = ast.parse(source)
    for node in ast.walk(
        tree
    ):  # all of it is on the function's first line, or coverage would count lines that did not run
        if hasattr(node, "lineno"):
            vars(node).update(lineno=1, end_lineno=1, col_offset=0, end_col_offset=0)
    namespace: dict[str, Any] = {}
    exec(compile(tree, code.co_filename, "exec"), namespace)  # noqa: S102 -- made only of the names of parameters
    made: CodeType = namespace["replaced"].__code__
    constants = tuple(hook if constant == _PLACEHOLDER else constant for constant in made.co_consts)
    return made.replace(
        co_consts=constants,
        co_freevars=code.co_freevars,
        co_name=code.co_name,
        co_qualname=code.co_qualname,
        co_firstlineno=code.co_firstlineno,
    )


def _format_parts(code: CodeType) -> dict[str, str]:
    """Return the parts of the source: the head with the parameters, and the call of the hook with their values."""
    by_position, rest, by_name, more = parameter_names(code)
    parameters = list(by_position)
    if code.co_posonlyargcount:
        parameters.insert(code.co_posonlyargcount, "/")
    if rest:
        parameters.append(f"*{rest}")
    elif by_name:
        parameters.append("*")
    parameters += by_name
    if more:
        parameters.append(f"**{more}")
    positions = "".join(f"{name}, " for name in by_position)
    names = ", ".join(f"{name!r}: {name}" for name in by_name)
    taken = {*by_position, rest, *by_name, more}
    local = {name: _free_name(name, taken) for name in _LOCAL_NAMES}
    return local | {
        "head": f"replaced({', '.join(parameters)})",
        "placeholder": _PLACEHOLDER,
        "call": f"{local['hook']}(({positions}), {rest or '()'}, {{{names}}}, {more or '{}'})",
    }


def _free_name(name: str, taken: set[str]) -> str:
    """Return a name that no parameter has."""
    while name in taken:
        name += "_"
    return name
