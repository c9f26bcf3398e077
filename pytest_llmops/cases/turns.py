"""The turns of a scripted user, as the key ``turns`` of a case has them: message, condition and expectation."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from typing import Any, TypeAlias

from pytest_llmops._util.text_files import BadFile, json_kind
from pytest_llmops.agents.expected_calls import Expected, parse_expected_call
from pytest_llmops.errors import UnknownName, UsageError
from pytest_llmops.measurement import Json, shorten_text

KEY = "turns"
MAX_TURNS = 100  # turns of a script
MAX_MESSAGES = 200  # messages of the user, with those that are repeated
MAX_PATTERN_CHARS = 500
DEFAULT_AT_MOST = 5
MAX_AT_MOST = 50
TURN_KEYS = ("say", "when", "else", "expect", "until", "at_most", "approve", "deny")


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A condition on the last reply; all of its parts must hold.

    Attributes:
        contains: Texts that the reply contains; letter case and white space do not count.
        not_contains: Texts that it does not contain.
        matches: Regular expressions that match somewhere in it.
        not_matches: Regular expressions that match nowhere.
        called: Tools that the agent called in this turn; names may have wildcards.
        not_called: Tools that it did not call.
    """

    contains: tuple[str, ...] = ()
    not_contains: tuple[str, ...] = ()
    matches: tuple[str, ...] = ()
    not_matches: tuple[str, ...] = ()
    called: tuple[str, ...] = ()
    not_called: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """The expectations on the reply to a turn; each part is checked by an assertion.

    Attributes:
        contains: Texts that the reply contains; letter case and white space do not count.
        not_contains: Texts that it does not contain.
        matches: Regular expressions that match somewhere in it.
        not_matches: Regular expressions that match nowhere.
        calls: The tools that the agent calls in this turn, in this order, and no others; None: not checked.
        never: Tools or calls that it does not make; names may have wildcards.
    """

    contains: tuple[str, ...] = ()
    not_contains: tuple[str, ...] = ()
    matches: tuple[str, ...] = ()
    not_matches: tuple[str, ...] = ()
    calls: tuple[Expected, ...] | None = None
    never: tuple[Expected, ...] = ()


# A condition in code is a function of the last turn
When: TypeAlias = Condition | Callable[[Any], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptedTurn:
    """A turn of a scripted user.

    Attributes:
        say: The message of the user.
        when: Condition on the reply before; None: always. If it does not hold, the turn is skipped, or `otherwise` is sent.
        otherwise: The message of the user if `when` does not hold (``else`` in a file); "": the turn is skipped.
        expect: The expectations on the reply. None: nothing is checked.
        until: The turn is sent again until this holds for its reply. None: it is sent once.
        at_most: How often it is sent at most.
        approve: Tools that the user approves if the agent wants an approval; names may have wildcards.
        deny: Tools that the user denies, with the reason ("": none).
    """

    say: str
    when: When | None = None
    otherwise: str = ""
    expect: Expectation | None = None
    until: When | None = None
    at_most: int = 1
    approve: tuple[str, ...] = ()
    deny: Mapping[str, str] = field(default_factory=dict)


def parse_turns(value: object) -> tuple[ScriptedTurn, ...]:
    """Return the turns of a script.

    Args:
        value: A list of at least one turn: a text, or an object with the key ``say``. ``when`` and ``until`` may be functions.

    Raises:
        BadFile: No turn is given, a key is unknown, or a value is wrong; names the turn, from 1.

    >>> parse_turns(["Hello", {"when": {"contains": "order number"}, "say": "It is B-77."}])[1].when.contains
    ('order number',)
    """
    if not isinstance(value, (list, tuple)):
        raise BadFile(f"{KEY}: expected a list of turns (each with `say:`), got {json_kind(value)}")
    if not value:
        raise BadFile(f"{KEY}: expected at least one turn, got an empty list")
    if len(value) > MAX_TURNS:
        raise BadFile(f"{KEY}: expected at most {MAX_TURNS} turns, got {len(value):,}")
    turns = []
    for number, turn in enumerate(value, start=1):
        try:
            turns.append(_parse_turn(turn, is_first=number == 1))
        except BadFile as error:
            raise BadFile(f"turn {number}: {error.what}") from None
    messages = sum(turn.at_most for turn in turns)
    if messages > MAX_MESSAGES:
        raise BadFile(
            f"{KEY}: expected at most {MAX_MESSAGES} messages of the user, got up to {messages:,}; lower `at_most`"
        )
    return tuple(turns)


def add_input(row: Mapping[str, Json], names: Mapping[str, str]) -> Mapping[str, Json]:
    r"""Check the turns of a row; a row without an input gets the messages of the user as input.

    Args:
        row: The keys and values of a case.
        names: Key of a case -> the column that it is read from.

    Returns:
        The row, which is unchanged if it has no turns, or an input.

    Raises:
        BadFile: The turns are not valid.

    >>> add_input({"id": "a", "turns": ["Hello", "Bye"]}, {})["input"]
    'Hello\nBye'
    """
    if KEY not in row:
        return row
    if isinstance(row[KEY], str):
        raise BadFile(
            f"{KEY}: expected a list of turns, got a text; write the cases as YAML or JSON Lines, as CSV has no lists"
        )
    turns = parse_turns(row[KEY])
    if "input" in row or "input" in names:
        return row
    return {**row, "input": "\n".join(turn.say for turn in turns)}


def _parse_turn(value: object, *, is_first: bool) -> ScriptedTurn:
    if isinstance(value, str):
        value = {"say": value}
    if isinstance(value, (bool, int, float)):
        raise BadFile(
            f"expected a text, or an object with `say:`, got {json_kind(value)}: write it in quotes"
        )
    turn = _parse_object(value, "", TURN_KEYS, "key of a turn")
    if "say" not in turn:
        raise BadFile("missing 'say': the message of the user")
    when = _parse_condition(turn, "when")
    if when is not None and is_first:
        raise BadFile("when: the first turn has no reply before it; leave `when` out")
    otherwise = ""
    if "else" in turn:
        if when is None:
            raise BadFile("else: expected only together with `when`")
        otherwise = _parse_text(turn["else"], "else")
    until = _parse_condition(turn, "until")
    approve = _parse_texts(turn, "approve", "")
    deny = _parse_deny(turn)
    _check_decisions(approve, deny)
    return ScriptedTurn(
        say=_parse_text(turn["say"], "say"),
        when=when,
        otherwise=otherwise,
        expect=_parse_expectation(turn),
        until=until,
        at_most=_parse_at_most(turn, is_repeated=until is not None),
        approve=approve,
        deny=deny,
    )


def _parse_object(value: object, place: str, known: Sequence[str], kind: str) -> Mapping[str, Any]:
    """Return an object with at least one key, all of which are known.

    Raises:
        BadFile: It is not an object, has no key, or an unknown one.
    """
    start = ""
    if place:
        start = f"{place}: "
    if not isinstance(value, Mapping):
        raise BadFile(f"{start}expected an object with keys, got {json_kind(value)}")
    if not value:
        raise BadFile(f"{start}expected at least one of the keys {', '.join(known)}, got none")
    for key in value:
        if key not in known:
            error = UnknownName(kind, shorten_text(str(key), 60), known)
            raise BadFile(f"{start}{error}")
    return value


def _parse_text(value: object, place: str) -> str:
    if not isinstance(value, str):
        raise BadFile(f"{place}: expected a text, got {json_kind(value)}: write it in quotes")
    if not value.strip():
        raise BadFile(f"{place}: expected a text, got an empty one")
    return value


def _parse_texts(values: Mapping[str, Any], key: str, place: str) -> tuple[str, ...]:
    """Return a text or a list of texts; () if the key is left out.

    Raises:
        BadFile: No text is given, one is empty, or is not a text.
    """
    if key not in values:
        return ()
    value = values[key]
    name = f"{place}{key}"
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, (list, tuple)) or not value:
        raise BadFile(f"{name}: expected a text or a list of texts, got {_describe_value(value)}")
    return tuple(_parse_text(text, name) for text in value)


def _describe_value(value: object) -> str:
    if value == []:
        return "an empty list"
    return json_kind(value)


def _parse_patterns(values: Mapping[str, Any], key: str, place: str) -> tuple[str, ...]:
    patterns = _parse_texts(values, key, place)
    for pattern in patterns:
        if len(pattern) > MAX_PATTERN_CHARS:
            raise BadFile(
                f"{place}{key}: expected a pattern of at most {MAX_PATTERN_CHARS} characters, got {len(pattern):,}"
            )
        try:
            re.compile(pattern)
        except (re.error, OverflowError, RecursionError, FutureWarning) as error:
            text = shorten_text(pattern, 60)
            raise BadFile(f"{place}{key}: invalid regular expression '{text}': {error}") from None
    return patterns


def _parse_condition(turn: Mapping[str, Any], key: str) -> When | None:
    if key not in turn:
        return None
    value = turn[key]
    if callable(value):
        condition: When = value
        return condition
    known = [item.name for item in fields(Condition)]
    parts = _parse_object(value, key, known, "condition")
    place = f"{key}."
    return Condition(
        contains=_parse_texts(parts, "contains", place),
        not_contains=_parse_texts(parts, "not_contains", place),
        matches=_parse_patterns(parts, "matches", place),
        not_matches=_parse_patterns(parts, "not_matches", place),
        called=_parse_texts(parts, "called", place),
        not_called=_parse_texts(parts, "not_called", place),
    )


def _parse_expectation(turn: Mapping[str, Any]) -> Expectation | None:
    if "expect" not in turn:
        return None
    known = [item.name for item in fields(Expectation)]
    parts = _parse_object(turn["expect"], "expect", known, "expectation")
    calls = None
    if "calls" in parts:
        calls = _parse_calls(parts["calls"], "expect.calls")
    never: tuple[Expected, ...] = ()
    if "never" in parts:
        never = _parse_calls(parts["never"], "expect.never")
        if not never:
            raise BadFile("expect.never: expected at least one tool, got an empty list")
    return Expectation(
        contains=_parse_texts(parts, "contains", "expect."),
        not_contains=_parse_texts(parts, "not_contains", "expect."),
        matches=_parse_patterns(parts, "matches", "expect."),
        not_matches=_parse_patterns(parts, "not_matches", "expect."),
        calls=calls,
        never=never,
    )


def _parse_calls(value: object, place: str) -> tuple[Expected, ...]:
    """Return expected or forbidden calls; an empty list is none at all.

    A call is anything that `assert_tool_calls` expects, or ``{"refund": {"order_id": "B-77"}}``, which is short in YAML.

    Raises:
        BadFile: A call is none of these.
    """
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, (list, tuple)):
        raise BadFile(f"{place}: expected a list of calls, got {json_kind(value)}")
    return tuple(_parse_call(item, place) for item in value)


def _parse_call(item: object, place: str) -> Expected:
    if isinstance(item, Mapping) and "name" not in item:
        if len(item) != 1:
            raise BadFile(
                f"{place}: expected the name of a tool, or a name with its arguments "
                f"(`refund: {{order_id: B-77}}`), got {json_kind(item)} with {len(item)} keys"
            )
        [(name, arguments)] = item.items()
        item = {"name": name, "arguments": arguments}
    try:
        return parse_expected_call(item, place)
    except UsageError as error:
        raise BadFile(str(error)) from None


def _parse_at_most(turn: Mapping[str, Any], *, is_repeated: bool) -> int:
    if not is_repeated:
        if "at_most" in turn:
            raise BadFile("at_most: expected only together with `until`")
        return 1
    value = turn.get("at_most", DEFAULT_AT_MOST)
    if type(value) is not int or not 1 <= value <= MAX_AT_MOST:
        got = shorten_text(repr(value), 60)
        raise BadFile(f"at_most: expected a whole number from 1 to {MAX_AT_MOST}, got {got}")
    return value


def _parse_deny(turn: Mapping[str, Any]) -> Mapping[str, str]:
    """Return tool -> reason; a reason is given as ``deny: {refund: It is too late.}``."""
    value = turn.get("deny")
    if not isinstance(value, Mapping) or not value:
        return dict.fromkeys(_parse_texts(turn, "deny", ""), "")
    return {
        _parse_text(tool, "deny"): _parse_text(reason, f"deny.{shorten_text(str(tool), 60)}")
        for tool, reason in value.items()
    }


def _check_decisions(approve: Sequence[str], deny: Mapping[str, str]) -> None:
    """Raise a `BadFile` for a tool that is approved by its name, and denied too, as it would always be denied."""
    for tool in approve:
        for pattern in deny:
            if pattern == tool or (not has_wildcards(tool) and fnmatchcase(tool, pattern)):
                raise BadFile(
                    f"approve: {shorten_text(tool, 60)!r} is also denied by {shorten_text(pattern, 60)!r}; leave one of them out"
                )


def has_wildcards(pattern: str) -> bool:
    """Return whether the name of a tool matches several names."""
    return any(wildcard in pattern for wildcard in "*?[")
