"""Expressions of Jinja2 that are being made, and the names that a template uses."""

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from pytest_llmops.imports.nunjucks_tokens import Untranslatable
from pytest_llmops.measurement import Json, shorten_text
from pytest_llmops.prompts.prompt_file import why_invalid_variable

# The kind of an expression: a variable or a key of it; true or false; that, or something else; a constant; anything else
ExpressionKind: TypeAlias = Literal["path", "truth", "mixed", "constant", "value"]


@dataclass(frozen=True, slots=True)
class Expression:
    """An expression of Jinja2.

    Attributes:
        text: Its text.
        kind: Its kind.
        is_atom: Whether it needs no parentheses as an operand.
        constant: Its value, if it is a constant.
        path: The variable and the keys, if it is nothing else.
        sign: The sign of an operation, which Nunjucks writes into JavaScript without parentheses.
    """

    text: str
    kind: ExpressionKind = "value"
    is_atom: bool = False
    constant: Json = None
    path: tuple[str | int, ...] = ()
    sign: str = ""

    @property
    def operand(self) -> str:
        """Its text, in parentheses if it is not one word."""
        if self.is_atom:
            return self.text
        return f"({self.text})"


@dataclass(slots=True)
class Names:
    """The names that a template uses.

    Attributes:
        variables: Its variables, in the order of their first use.
        local: The names that loops and ``set`` have given a value, by block.
        keyed: Variables of which keys are read, and so are objects.
        notes: The differences of a prompt file from the template.
        is_exact: A missing variable is undefined, as in Nunjucks; else it is an empty text, as in a prompt file.
    """

    variables: dict[str, None] = field(default_factory=dict)
    local: list[set[str]] = field(default_factory=lambda: [set()])
    keyed: set[str] = field(default_factory=set)
    notes: dict[str, None] = field(default_factory=dict)
    is_exact: bool = False

    def is_local(self, name: str) -> bool:
        """Return whether a loop or ``set`` has given it a value."""
        return any(name in names for names in self.local)

    def use(self, name: str, line: int) -> None:
        """Remember a variable that is read.

        Raises:
            Untranslatable: It is the environment, or no variable can have this name.
        """
        if self.is_local(name):
            return
        if name in ("env", "process"):
            raise Untranslatable(f"{name} is never read: make it a variable of the test", line)
        if name == "_conversation":
            raise Untranslatable("_conversation, the answers of earlier tests", line)
        check_name(name, line)
        self.variables.setdefault(name)


def check_name(name: str, line: int) -> None:
    """Check the name of a variable.

    Raises:
        Untranslatable: No variable can have it.
    """
    why = why_invalid_variable(name)
    if why:
        raise Untranslatable(f"the variable {shorten_text(name, 60)!r}: {why}", line)


def quote_text(value: str) -> str:
    r"""Return a text as a constant of Jinja2.

    >>> print(quote_text("it's {{ x }}\n"))
    "it's {{ x }}\n"
    """
    escaped = value.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    if '"' in escaped and "'" not in escaped:
        return f"'{escaped}'"
    escaped = escaped.replace('"', '\\"')
    return f'"{escaped}"'


def write_output(value: Expression, line: int) -> str:
    """Return the expression whose text is inserted.

    Raises:
        Untranslatable: It may be true or false, which JavaScript writes otherwise.
    """
    if value.kind == "mixed":
        raise Untranslatable("true or false, or something else, as a text", line)
    if value.kind == "truth":
        return f'"true" if {value.text} else "false"'
    if value.kind == "constant" and value.constant is None:
        return '""'
    return value.text
