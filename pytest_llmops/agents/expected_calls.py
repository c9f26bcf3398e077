"""The expectations of a test on an agent: `call` for a tool call, `started` for an agent that was started or handed over to."""

import glob
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal, TypeAlias, TypeGuard

from pytest_llmops._util.path_patterns import BadPattern, compile_name
from pytest_llmops.agents.argument_values import (
    ArgumentDifference,
    SchemaMatcher,
    check_expected_value,
    compare_mapping,
    compare_value,
    format_value,
)
from pytest_llmops.agents.argument_values import matches_schema as matches_schema  # noqa: PLC0414 -- part of how calls are written
from pytest_llmops.agents.trajectory import ToolUse
from pytest_llmops.errors import UnknownName, UsageError
from pytest_llmops.measurement import shorten_text
from pytest_llmops.recorder import shorten_masked

# any: all arguments; exact: these; partial: these, and others may be there; within: only these, but some may lack; whole: a matcher of
# the object of arguments
Mode: TypeAlias = Literal["any", "exact", "partial", "within", "whole"]

MAX_CALL_CHARS = 160
CALL_KEYS = frozenset({"name", "arguments", "args"})  # of a call as data
_WILDCARDS = re.compile(r"[*?\[]")
_compile_name = lru_cache(maxsize=1024)(compile_name)
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,60}\Z")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ExpectedCall:
    """A tool call that a test expects; `call` makes it.

    Attributes:
        name: Name of the tool, with wildcards.
        mode: How its arguments are compared.
        arguments: The expected value or matcher of each argument.
        whole: The expected value or matcher of the object of arguments (mode ``whole``).
    """

    name: str
    mode: Mode = "any"
    arguments: Mapping[str, object] = field(default_factory=dict)
    whole: object = None

    @property
    def has_wildcards(self) -> bool:
        """Whether the name can match several tools."""
        return _WILDCARDS.search(self.name) is not None

    def matches_name(self, name: str) -> bool:
        """Return whether a tool has the name, or one that fits its wildcards."""
        if not self.has_wildcards:
            return self.name == name
        return _compile_name(self.name).match(name) is not None

    def compare_arguments(self, use: ToolUse) -> list[ArgumentDifference]:
        """Return how the arguments of a call differ; empty if they do not. The name does not count."""
        if self.mode == "any":
            return []
        if use.arguments is None:
            expected = self._format_arguments() or "no arguments"
            got = shorten_masked(use.problem or "arguments that are not known", 120)
            if use.text:
                got = f"{format_value(use.text)}: {got}"
            return [ArgumentDifference("", expected, got, is_certain=False)]
        try:
            return self._compare_values(use.arguments)
        except RecursionError:
            problem = "the arguments are nested too deeply"
            return [ArgumentDifference("", self._format_arguments(), problem, is_certain=False)]

    def _compare_values(self, values: Mapping[str, object]) -> list[ArgumentDifference]:
        """Return how arguments differ."""
        if self.mode == "whole":
            return compare_value(self.whole, values)
        if self.mode == "within":
            wanted = {key: value for key, value in self.arguments.items() if key in values}
            return compare_mapping(wanted, values)
        return compare_mapping(self.arguments, values, others_allowed=self.mode == "partial")

    def matches(self, use: ToolUse) -> bool:
        """Return whether a call is the expected one."""
        return self.matches_name(use.name) and not self.compare_arguments(use)

    def _format_arguments(self) -> str:
        """Return the text between the brackets of the call; "" if all arguments are accepted."""
        if self.mode == "any":
            return ""
        if self.mode == "whole":
            return format_value(self.whole)
        parts = []
        if self.mode in ("partial", "within"):
            parts.append("...")
        is_plain = all(_PLAIN_KEY.match(name) for name in self.arguments)
        if is_plain:
            parts += [f"{name}={format_value(value)}" for name, value in self.arguments.items()]
        else:
            parts.append(format_value(self.arguments))
        return ", ".join(parts)

    def __str__(self) -> str:
        """Return the call as Python writes it: ``refund(order_id='B-77')``; ``refund`` alone if its arguments do not count."""
        if self.mode == "any":
            return shorten_text(self.name, MAX_CALL_CHARS)
        return shorten_text(f"{self.name}({self._format_arguments()})", MAX_CALL_CHARS)

    def __repr__(self) -> str:
        """Return the code that the test wrote."""
        arguments = self._format_arguments()
        if self.mode == "exact" and not self.arguments:
            arguments = "{}"
        if arguments:
            return f"call({self.name!r}, {arguments})"
        return f"call({self.name!r})"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ExpectedAgent:
    """An agent that a test expects to be started or handed over to; `started` makes it.

    Attributes:
        name: Name of the agent, with wildcards.
        calls: Its calls; None: they do not count.
    """

    name: str
    calls: "tuple[Expected, ...] | None" = None

    def matches_name(self, use: ToolUse) -> bool:
        """Return whether a call started the agent; an agent without a name has the name of the call."""
        if use.started is None:
            return False
        return self.matches_agent(use.started.agent or use.name)

    def matches_agent(self, name: str) -> bool:
        """Return whether an agent has the name, or one that fits its wildcards."""
        return ExpectedCall(name=self.name).matches_name(name)

    def __str__(self) -> str:
        """Return ``started billing``."""
        return f"started {self.name}"

    def __repr__(self) -> str:
        """Return the code that the test wrote."""
        if self.calls is None:
            return f"started({self.name!r})"
        return f"started({self.name!r}, {list(self.calls)!r})"


Expected: TypeAlias = ExpectedCall | ExpectedAgent


def call(name: str, /, *positional: Any, **arguments: Any) -> ExpectedCall:
    """Return a tool call that a test expects.

    Without arguments all are accepted. With keywords exactly these are expected, with a literal ``...`` before them others may be there.
    The value of an argument is a value (``True`` is not ``1``, ``1`` is ``1.0``), `pytest.approx` or another object with its own
    ``__eq__``, a type (``str``; ``float`` also accepts whole numbers), a compiled regular expression that is searched in a text, a
    function that returns whether it accepts the value, or `matches_schema`. Also within lists and mappings. A function that raises does
    not accept the value. What JSON does not have, such as a date, an enum or a set, is refused: write its text, or a list.

    Args:
        name: Name of the tool. May have wildcards: ``delete_*``.
        positional: ``...``. A mapping of arguments, for names that Python does not allow (``{}`` expects none at all). Or
            `matches_schema` or a function for the object of all arguments.
        arguments: The arguments that are expected.

    Raises:
        UsageError: An empty name, two sets of arguments, or a value that no argument can have.

    >>> call("refund", order_id="B-77", amount=int)
    call('refund', order_id='B-77', amount=int)
    >>> call("refund", ..., order_id="B-77"), call("refund"), call("ping", {})
    (call('refund', ..., order_id='B-77'), call('refund'), call('ping', {}))
    """
    check_name(name, "call")
    where = f"call({name!r})"
    has_others = False
    mapping: Mapping[str, object] | None = None
    whole: list[object] = []
    for value in positional:
        if value is ...:
            has_others = True
        elif isinstance(value, Mapping) and mapping is None:
            mapping = value
        elif isinstance(value, SchemaMatcher) or (callable(value) and not isinstance(value, type)):
            whole.append(value)
        else:
            raise UsageError(
                f"{where}: expected ..., one mapping of arguments, matches_schema(...) or a function before the keywords, "
                f"got {format_value(value)}; name each argument: call({name!r}, order_id='B-77')"
            )
    if whole:
        if len(whole) > 1 or has_others or mapping is not None or arguments:
            raise UsageError(
                f"{where}: {format_value(whole[0])} is for all arguments; expected nothing else with it"
            )
        return ExpectedCall(name=name, mode="whole", whole=whole[0])
    both = sorted(set(mapping or ()) & set(arguments))
    if both:
        raise UsageError(f"{where}: argument {both[0]!r} is given twice, in the mapping and as a keyword")
    expected = {**(mapping or {}), **arguments}
    for key, value in expected.items():
        if not isinstance(key, str):
            raise UsageError(f"{where}: expected names of arguments that are texts, got {format_value(key)}")
        check_expected_value(value, f"{where}: {key}")
    if has_others:
        return ExpectedCall(name=name, mode="partial", arguments=expected)
    if mapping is None and not arguments:
        return ExpectedCall(name=name)
    return ExpectedCall(name=name, mode="exact", arguments=expected)


def started(agent: str, calls: "Sequence[Expected | str] | None" = None) -> ExpectedAgent:
    """Return an agent that a test expects to be started, or handed over to.

    Args:
        agent: Name of the agent. May have wildcards.
        calls: The calls that are expected of it, compared as those around it. None: they do not count.

    Raises:
        UsageError: An empty name, or something that is not a call.

    >>> started("billing", [call("refund", order_id="B-77")])
    started('billing', [call('refund', order_id='B-77')])
    """
    check_name(agent, "started")
    if calls is None:
        return ExpectedAgent(name=agent)
    if isinstance(calls, (str, Mapping)) or not isinstance(calls, Sequence):
        raise UsageError(f"started({agent!r}): expected a list of calls, got {format_value(calls)}")
    parsed = tuple(parse_expected_call(item, f"started({agent!r})") for item in calls)
    return ExpectedAgent(name=agent, calls=parsed)


def check_name(name: object, where: str) -> None:
    """Raise a `UsageError` for a name that no tool can have, or whose wildcards are invalid."""
    if not isinstance(name, str) or not name.strip():
        raise UsageError(
            f"{where}: expected the name of a tool or agent as its first argument, got {format_value(name)}"
        )
    if not _WILDCARDS.search(name):
        return
    try:
        compile_name(name)
    except BadPattern as error:
        raise UsageError(f"{where}({name!r}): {error}") from None


def parse_expected_call(item: object, where: str) -> Expected:
    """Return an expected call; a text is the name of a tool whose arguments do not count.

    A mapping ``{"name": ..., "arguments": ...}`` (or ``args``), as cases and evalset.json have it, is a call with exactly these arguments.

    Raises:
        UsageError: It is something else.
    """
    if isinstance(item, (ExpectedCall, ExpectedAgent)):
        return item
    if isinstance(item, Mapping):
        return _parse_call_mapping(item, where)
    if isinstance(item, str):
        check_name(item, where)
        return ExpectedCall(name=item)
    raise UsageError(f"{where}: expected call('name', ...) or the name of a tool, got {format_value(item)}")


def is_call_mapping(item: object) -> TypeGuard[Mapping[str, object]]:
    """Return whether a value is a mapping of a name and arguments, and not a message or an item of a vendor."""
    return isinstance(item, Mapping) and "name" in item and CALL_KEYS.issuperset(item)


def _parse_call_mapping(item: Mapping[str, object], where: str) -> ExpectedCall:
    """Return the call of a mapping; without arguments they do not count. Its name is literal.

    Raises:
        UsageError: A key is unknown or missing, the name is not a text, or the arguments are not a mapping.
    """
    unknown = [key for key in item if key not in CALL_KEYS]
    if unknown or "name" not in item:
        problem = "no name"
        if unknown:
            problem = str(UnknownName("key", shorten_text(str(unknown[0]), 60), CALL_KEYS))
        raise UsageError(
            f'{where}: expected a call as {{"name": "refund", "arguments": {{...}}}}, got {format_value(item)}: {problem}'
        )
    name = item["name"]
    check_name(name, where)
    literal = glob.escape(str(name))
    if "arguments" in item and "args" in item:
        raise UsageError(f"{where}: {name}: expected `arguments` or `args`, got both")
    if "arguments" not in item and "args" not in item:
        return ExpectedCall(name=literal)
    arguments = item.get("arguments", item.get("args"))
    if not isinstance(arguments, Mapping):
        raise UsageError(
            f"{where}: {name}: expected `arguments` (or `args`) to be a mapping, got {format_value(arguments)}"
        )
    return call(literal, arguments)


def iterate_calls(expected: Sequence[Expected]) -> Iterator[ExpectedCall]:
    """Yield all expected calls, also the calls of started agents."""
    for item in expected:
        if isinstance(item, ExpectedCall):
            yield item
        elif item.calls is not None:
            yield from iterate_calls(item.calls)
