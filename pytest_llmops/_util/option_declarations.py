"""The form in which `Settings` declares an option, and where the value of an option comes from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from pytest_llmops._util.option_values import Parser

OptionGroup: TypeAlias = Literal[
    "models and judges", "recording", "cost", "agents and tools", "verdict", "reports", "meaning", "files"
]
# (place, values) in order of precedence: "command line" before "ini"
Sources: TypeAlias = Sequence[tuple[str, Mapping[str, object]]]

COMMAND_LINE = "command line"


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """An option of the plugin: a flag, an ini key or both.

    Attributes:
        name: Name of the field of `Settings`.
        parse: Reads a value. Raises `ValueError` with the form that it expected.
        group: The title under which ``pytest --help`` lists the flag.
        help: The meaning in one line, for ``pytest --help``.
        ini_help: The same for the ini key; "": as ``help``.
        detail: The full meaning, for the reference; "": as ``help``.
        default: The value if no source gives one.
        flag: The flag of the command line; "": there is only an ini key.
        metavar: The value of the flag in ``pytest --help``.
        ini: The type of the ini key; None: there is only a flag.
        env: Environment variables that are read if neither the command line nor the ini gives a value.
        switch: Whether the flag needs no value.
        repeat: Whether the flag may be given several times.
        bare: The value of a flag that is given without one; "": the flag needs a value.
    """

    name: str
    parse: Parser
    group: OptionGroup
    help: str
    ini_help: str = ""
    detail: str = ""
    default: object
    flag: str = ""
    metavar: str = ""
    ini: Literal["string", "bool", "linelist", "int", "float"] | None = "string"
    env: tuple[str, ...] = ()
    switch: bool = False
    repeat: bool = False
    bare: str = ""

    @property
    def dest(self) -> str:
        """Name of the ini key, and of the attribute on pytest's options."""
        return f"llm_{self.name}"

    @property
    def spelling(self) -> str:
        """Name on a command line. A command of ours may have a flag where pytest has none."""
        return self.flag or f"--{self.name.replace('_', '-')}"

    @property
    def description(self) -> str:
        """The full meaning, for the reference."""
        return self.detail or self.help


def declare_option(parse: Parser, default: object, group: OptionGroup, **details: Any) -> Any:
    """Return a field of `Settings` that carries the attributes of its `Option`."""
    return field(default=default, metadata={"parse": parse, "group": group, **details})


@dataclass(frozen=True, slots=True)
class GivenValue:
    """The value of an option as a source gives it.

    Attributes:
        place: The source, such as "ini".
        name: The name that the option has there, such as "llm_model".
        value: The value.
    """

    place: str
    name: str
    value: object


def find_given(option: Option, sources: Sources, environ: Mapping[str, str]) -> GivenValue | None:
    """Return the value of an option from the first source that gives one; None: no source does."""
    for place, values in sources:
        value = values.get(option.name)
        if value is None:
            continue
        if place == COMMAND_LINE:
            return GivenValue(place, option.spelling, value)
        return GivenValue(place, option.dest, value)
    for variable in option.env:
        if environ.get(variable):
            return GivenValue("environment", variable, environ[variable])
    return None


def find_typed(name: str, sources: Sources) -> object:
    """Return the value of an option on the command line; None: it is not there."""
    for place, given in sources:
        if place == COMMAND_LINE and given.get(name):
            return given[name]
    return None
