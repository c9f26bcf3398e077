"""Expressions of trivial code in suites, whatever its language. Readers make them, and nothing runs them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

OUTPUT = "output"  # the name of the answer
MAX_CODE_CHARS = 5_000
MAX_DEPTH = 60


class UnknownCode(ValueError):
    """Code that is not one of the trivial forms: the message names the unexpected part."""


@dataclass(frozen=True, slots=True)
class Literal:
    """A text, a number, true, false or null."""

    value: str | float | bool | None


@dataclass(frozen=True, slots=True)
class Undefined:
    """The value that JavaScript has where there is none."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A regular expression of JavaScript."""

    pattern: str
    flags: str


@dataclass(frozen=True, slots=True)
class Name:
    """A name: the answer, the parameter of a function, or a global one."""

    name: str


@dataclass(frozen=True, slots=True)
class Member:
    """An entry of a value, by name or index."""

    target: "Expression"
    key: str | int


@dataclass(frozen=True, slots=True)
class Call:
    """A call, usually of a `Member`."""

    function: "Expression"
    arguments: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite."""

    operand: "Expression"


@dataclass(frozen=True, slots=True)
class TypeOf:
    """The name of a value's type, as JavaScript has it."""

    operand: "Expression"


@dataclass(frozen=True, slots=True)
class Binary:
    """Two values and the operator between them: ``===``, ``&&``, ``in`` ..., in the words of JavaScript."""

    operator: str
    left: "Expression"
    right: "Expression"


@dataclass(frozen=True, slots=True)
class Choice:
    """One of two values, by a condition."""

    test: "Expression"
    yes: "Expression"
    no: "Expression"


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    items: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class Function:
    """A function of one parameter that returns an expression."""

    parameter: str
    body: "Expression"


Expression: TypeAlias = (
    Literal | Undefined | Pattern | Name | Member | Call | Not | TypeOf | Binary | Choice | Items | Function
)


def match_method(expression: Expression, name: str) -> tuple[Expression, tuple[Expression, ...]] | None:
    """Return the target and the arguments of a call of a method; None: it is something else.

    >>> match_method(Call(Member(Name("output"), "trim"), ()), "trim")
    (Name(name='output'), ())
    """
    if not isinstance(expression, Call) or not isinstance(expression.function, Member):
        return None
    if expression.function.key != name:
        return None
    return expression.function.target, expression.arguments


def map_parts(expression: Expression, change: Callable[[Expression], Expression]) -> Expression:
    """Return an expression with its direct parts changed."""
    if isinstance(expression, Member):
        return Member(change(expression.target), expression.key)
    if isinstance(expression, Call):
        return Call(change(expression.function), tuple(change(part) for part in expression.arguments))
    if isinstance(expression, Not | TypeOf):
        return replace(expression, operand=change(expression.operand))
    if isinstance(expression, Binary):
        return Binary(expression.operator, change(expression.left), change(expression.right))
    if isinstance(expression, Choice):
        return Choice(change(expression.test), change(expression.yes), change(expression.no))
    if isinstance(expression, Items):
        return Items(tuple(change(part) for part in expression.items))
    if isinstance(expression, Function):
        return Function(expression.parameter, change(expression.body))
    return expression


def replace_name(expression: Expression, name: str, value: Expression) -> Expression:
    """Return an expression with a value in place of a name.

    >>> replace_name(Not(Name("word")), "word", Literal("delve"))
    Not(operand=Literal(value='delve'))
    """
    if expression == Name(name):
        return value
    if isinstance(expression, Function) and expression.parameter == name:
        return expression
    return map_parts(expression, lambda part: replace_name(part, name, value))


def join_conditions(conditions: Sequence[Expression], operator: str) -> Expression:
    """Return conditions with ``&&`` or ``||`` between them."""
    joined = conditions[0]
    for condition in conditions[1:]:
        joined = Binary(operator, joined, condition)
    return joined


def list_names(expression: Expression) -> set[str]:
    """Return the names in an expression.

    >>> list_names(Not(Member(Name("output"), "length")))
    {'output'}
    """
    names = {expression.name} if isinstance(expression, Name) else set()

    def collect(part: Expression) -> Expression:
        names.update(list_names(part))
        return part

    map_parts(expression, collect)
    return names
