"""Classes for markers and their arguments, and parsers of the values of arguments.

Knows pytest's nodes by their attributes only. A node is a test, or its definition before it is parametrized.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from pytest_llmops.errors import UnknownName, UsageError
from pytest_llmops.measurement import Json, shorten_text
from pytest_llmops.settings import Settings

if TYPE_CHECKING:
    from pytest_llmops._util.option_values import Parser
    from pytest_llmops.cases.files import Case

REQUIRED = object()


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument of a marker.

    Attributes:
        name: Its name.
        parse: Returns the value as the marker uses it, or raises `ValueError` with the expected value.
        help: Its purpose, as docs/reference/markers.md shows it.
        default: Used as it is where the argument is left out; without a default it must be given.
    """

    name: str
    parse: Parser
    help: str
    default: object = REQUIRED

    @property
    def is_required(self) -> bool:
        """Whether it must be given."""
        return self.default is REQUIRED

    @property
    def signature(self) -> str:
        """The argument as a signature shows it."""
        if self.is_required:
            return self.name
        return f"{self.name}={self.default!r}"


@dataclass(frozen=True, slots=True)
class Arguments:
    """The arguments that a test gives to a marker.

    Attributes:
        where: The node id of the test, for errors.
        marker: The marker's name.
        args: Positional arguments.
        kwargs: Keyword arguments.
    """

    where: str
    marker: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def by_name(self, *names: str) -> dict[str, Any]:
        """Return the arguments that were given, by name.

        Args:
            names: The names of all possible arguments, in the order of positional ones.

        Raises:
            UsageError: An argument is unknown or given twice, or there are too many.
        """
        if len(self.args) > len(names):
            if names:
                expected = f"at most {len(names)} arguments ({', '.join(names)})"
            else:
                expected = "no arguments"
            raise self.usage_error(expected)
        given = dict(zip(names, self.args, strict=False))
        for name, value in self.kwargs.items():
            if name not in names:
                raise UnknownName("argument", name, names, where=f"{self.where}: @pytest.mark.{self.marker}")
            if name in given:
                raise self.usage_error(f"{name} once")
            given[name] = value
        return given

    def usage_error(self, expected: str) -> UsageError:
        """Return the error for arguments that are not as expected."""
        texts = list(map(repr, self.args))
        texts += [f"{name}={value!r}" for name, value in self.kwargs.items()]
        got = shorten_text(", ".join(texts), 300)
        return UsageError(f"{self.where}: @pytest.mark.{self.marker}: expected {expected}, got ({got})")


@dataclass(frozen=True, slots=True)
class Parameter:
    """The values of a fixture by which a test is parametrized, and for each value its part of the test's id."""

    fixture: str
    values: Sequence[object]
    ids: Sequence[str]


class Marker:
    """A marker. A subclass overrides the methods for its work; the methods of this class do nothing.

    Attributes:
        name: Its name; its module has the same name.
        help: Its purpose, as ``pytest --markers`` shows it.
        arguments: Its arguments, in order.
        repeated: An argument that may be given several times, before all others; None: there is none.
        fixture: The fixture that it is about; in a test without that fixture, the marker has no effect.
        needs: Why a test must use that fixture if it has the marker itself, not by its class or module; the end of an error. Empty: it
            need not.
        needs_marker: Another marker that such a test must have too, as the error shows it: ``cases(file)``.
        records: Whether a test with the marker gets a cassette.
        narrowed_by: The option (its name in pytest's configuration) that may replace the values of the fixture by a single one.
    """

    name: str
    help: str
    arguments: tuple[Argument, ...] = ()
    repeated: Argument | None = None
    fixture: str = ""
    needs: str = ""
    needs_marker: str = ""
    records: bool = True
    narrowed_by: str = ""

    @property
    def signature(self) -> str:
        """Name and arguments, as in Python."""
        parts = [argument.signature for argument in self.arguments]
        if self.repeated is not None:
            parts = [self.repeated.name, "...", *parts]
        return f"{self.name}({', '.join(parts)})"

    @property
    def usage(self) -> str:
        """Name and required arguments, as an error shows them."""
        required = [argument.name for argument in self.arguments if argument.is_required]
        return f"@pytest.mark.{self.name}({', '.join(required)})"

    # The arguments that a test gives

    def find(self, node: Any) -> Arguments | None:
        """Return the arguments of the closest marker of a test; None: the test does not have it."""
        mark = node.get_closest_marker(self.name)
        if mark is None:
            return None
        return Arguments(node.nodeid, self.name, mark.args, mark.kwargs)

    def find_or_default(self, node: Any) -> Arguments:
        """Return the arguments of the closest marker of a test; none if the test does not have it."""
        return self.find(node) or Arguments(node.nodeid, self.name)

    def require(self, node: Any) -> Arguments:
        """Return the arguments for the fixture that the marker is about.

        Raises:
            UsageError: The test does not have the marker.
        """
        arguments = self.find(node)
        if arguments is None:
            raise UsageError(f"{node.nodeid}: the `{self.fixture}` fixture needs {self.usage}")
        return arguments

    def parse(self, arguments: Arguments) -> dict[str, Any]:
        """Return the value of each argument, by name; an argument that is not given has its default.

        The parser of a required argument that is not given gets None, and refuses it with the expected value.

        Raises:
            UsageError: An argument is missing, unknown or not as expected.
        """
        names = [argument.name for argument in self.arguments]
        given = arguments.by_name(*names)
        values: dict[str, Any] = {}
        for argument in self.arguments:
            is_given = argument.name in given
            if not is_given and not argument.is_required:
                values[argument.name] = argument.default
                continue
            try:
                values[argument.name] = argument.parse(given.get(argument.name))
            except ValueError as error:
                raise arguments.usage_error(str(error)) from None
        return values

    def read(self, arguments: Arguments) -> object:
        """Return the values of the arguments, checked.

        Raises:
            UsageError: They are wrong.
        """
        return self.parse(arguments)

    # At collection

    def is_used_with(self, fixtures: Collection[str]) -> bool:
        """Return whether the marker is ours in a test that uses these fixtures.

        Without our fixture it may be a marker of the project that has the same name.
        """
        return not self.fixture or self.fixture in fixtures

    def check_needs(self, node: Any, fixtures: Collection[str]) -> None:
        """Check that a test has the fixture and the other marker that this marker needs.

        A test that has the marker only by its class or module is not checked: others in there may use it.

        Raises:
            UsageError: The test lacks one of them.
        """
        is_marked_itself = any(mark.name == self.name for mark in node.own_markers)
        if not self.needs or not is_marked_itself:
            return
        needs = f"the `{self.fixture}` fixture"
        has_marker = True
        if self.needs_marker:
            needs = f"@pytest.mark.{self.needs_marker} and {needs}"
            name = self.needs_marker.partition("(")[0]
            has_marker = node.get_closest_marker(name) is not None
        if not has_marker or self.fixture not in fixtures:
            raise UsageError(f"{node.nodeid}: @pytest.mark.{self.name} needs {needs}: {self.needs}")

    def make_parameter(self, node: Any, settings: Settings) -> Parameter | None:
        """Return the values by which the marker parametrizes a test that uses its fixture; None: it does not.

        Raises:
            UsageError: The arguments are wrong, or name something that does not exist.
        """
        return None

    def prepare_cases(self, arguments: Arguments, cases: Sequence[Case]) -> Sequence[Case]:
        """Return the cases of a test as the marker changes them.

        Raises:
            UsageError: The marker is wrong, or cannot use these cases.
        """
        return cases

    def order_tests(self, definition: Any, specs: list[Any]) -> str:
        """Sort the tests of a marked test function in place.

        Args:
            definition: pytest's definition of the test function.
            specs: pytest's parameters of its tests.

        Returns:
            The error in the marker, or ``""``.
        """
        return ""

    def check_options(self, settings: Settings, marked: Sequence[Arguments], root: Path) -> str:
        """Return the error in an option of the run, else ``""``.

        Args:
            settings: The run's.
            marked: The arguments of the marker of each collected test that has it.
            root: The rootdir of the project.
        """
        return ""

    def why_skipped(self, item: Any, settings: Settings) -> str:
        """Return why a test is skipped, else ``""``. This is called for all tests, also without the marker."""
        return ""

    # While a test runs

    def describe_test(self, item: Any, settings: Settings) -> Mapping[str, Json]:
        """Return facts of a test for its report. This is called for all tests, also without the marker."""
        return {}

    def describe_case(self, item: Any, case: Case, settings: Settings) -> Mapping[str, Json]:
        """Return facts of a test with a case for its report. This is called for all such tests, also without the marker."""
        return {}

    def check_after_call(self, arguments: Arguments) -> None:
        """Check a test that passed so far.

        Raises:
            MeasurementFailed: The test does not fulfil the requirement of the marker.
        """


# Parsers of arguments: each raises `ValueError` with the expected value


def is_name(value: object) -> TypeGuard[str]:
    """Return whether a value is a text that is not empty."""
    return isinstance(value, str) and value != ""


def name_of(expected: str) -> Parser:
    """Return the parser of a text that is not empty, such as a name."""

    def parse(value: object) -> str:
        if not is_name(value):
            raise ValueError(expected)
        return value

    return parse


def whole_number(expected: str, *, least: float = float("-inf"), most: float = float("inf")) -> Parser:
    """Return the parser of a whole number."""

    def parse(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(expected)
        if not least <= value <= most:
            raise ValueError(expected)
        return value

    return parse


def one_of(expected: str, *allowed: object) -> Parser:
    """Return the parser of a closed set of values."""

    def parse(value: object) -> Any:
        if value not in allowed:
            raise ValueError(expected)
        return value

    return parse


def optional(parse_value: Parser) -> Parser:
    """Return the parser of a value, or of None."""

    def parse(value: object) -> Any:
        if value is None:
            return None
        return parse_value(value)

    return parse
