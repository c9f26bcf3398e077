"""Parsers of option values.

A parser raises `ValueError` with the form that it expected. Its caller adds the option and the value.
"""

import contextlib
import math
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

Parser: TypeAlias = Callable[[object], Any]

# The keys of a case that are attributes of `Case`; all others are its data
CASE_KEYS = ("id", "input", "reference", "tags", "family", "split", "files", "output", "calls")
# Before the reason of --llm-accept: accept in spite of what speaks against it; add a session
ACCEPT_WORDS = ("anyway", "session")
LAST_RUN = "last"  # the value of --llm-again for the last run here


def parse_text(value: object) -> str:
    """Read a text, without white space around it."""
    if not isinstance(value, str):
        raise ValueError("a text")
    return value.strip()


def _text_like(pattern: str, expected: str, normalize: Callable[[str], str] = str) -> Parser:
    """Return the parser of texts that a pattern matches as a whole, after ``normalize``."""

    def parse(value: object) -> str:
        given = normalize(parse_text(value))
        if not re.fullmatch(pattern, given, re.DOTALL):
            raise ValueError(expected)
        return given

    return parse


def _join_stripped(text: str) -> str:
    """Return ``NAME = VALUE`` without the blanks around name and value."""
    return "=".join(part.strip() for part in text.split("=", 1))


parse_url = _text_like(
    r"(?i:https?://(?:[^\s/?#@]*@)?(?:\[[0-9a-f:.]+\]|[^\s/?#@:\[\]]+)(?::\d{1,5})?(?:[/?#]\S*)?)?",
    "a URL that starts with http:// or https:// and names a host",
    lambda text: text.rstrip("/"),
)
parse_host = _text_like(
    r"[^\s/:@?#]+|[0-9a-f.]*(?::[0-9a-f.]*)+",
    "a host without scheme, port or path (api.example.com)",
    lambda text: text.lower().strip("[]"),
)
# The name of a header that holds no credentials; it may end in ``*``, as in x-ratelimit-*
parse_header = _text_like(
    r"(?!.*(?:cookie|auth|token|secret|(?:api|functions|subscription)-?key)|openai-(?:org|proj))[a-z0-9-]{3,}\*?",
    "the name of a header without credentials (x-request-id, x-ratelimit-*)",
    str.lower,
)
parse_name_version = _text_like(r"[^=]+=.+", "NAME=VERSION (support/answer=v2)", _join_stripped)
# A name may hold no `#`, which numbers servers of one name
parse_server_name = _text_like(
    r"[\w.-]{1,60}=.+", "NAME=COMMAND or NAME=URL (orders=python -m orders*)", _join_stripped
)
# A function by its path, and the names of parameters that do not count
parse_tool_function = _text_like(
    r"\w+(?:\.\w+)+(?:\s+ignore=\w+(?:\s*,\s*\w+)*)?",
    "the path of a function, as in shop.orders.find_order, or with parameters to leave out: shop.orders.find_order ignore=ctx,db",
    str.strip,
)
# Which column of case files is read as which key of a case
parse_case_field = _text_like(
    rf"(?:{'|'.join(CASE_KEYS)})=.+",
    f"KEY=COLUMN (input=question) with a key of {', '.join(CASE_KEYS)}",
    _join_stripped,
)


def parse_bool(value: object) -> bool:
    """Read true or false."""
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def parse_reason(value: object) -> str:
    """Read the reason for which a run is accepted, with the words before it."""
    given = parse_text(value)
    if not split_reason(given)[1]:
        raise ValueError("a reason, for whoever reads the baseline's history")
    return given


def split_reason(text: str) -> tuple[frozenset[str], str]:
    """Return the words before the reason of ``--llm-accept``, and the reason.

    >>> split_reason("anyway: shorter answers")
    (frozenset({'anyway'}), 'shorter answers')
    >>> split_reason("ticket 7: shorter answers")
    (frozenset(), 'ticket 7: shorter answers')
    """
    words = set[str]()
    rest = text.strip()
    while True:
        word, colon, after = rest.partition(":")
        if not colon or word.strip() not in ACCEPT_WORDS:
            return frozenset(words), rest
        words.add(word.strip())
        rest = after.strip()


def parse_max_age(value: object) -> tuple[int, str]:
    """Read an age in days, and what happens to an older recording.

    >>> parse_max_age("90d"), parse_max_age("90d fail")
    ((90, 'warn'), (90, 'fail'))
    """
    match = re.fullmatch(r"([1-9]\d{0,4})d?(?:\s+(warn|fail|refresh))?", str(value).strip())
    if match is None:
        raise ValueError("a number of days, like 90d, alone or with warn, fail or refresh after it")
    return int(match[1]), match[2] or "warn"


def parse_again(value: object) -> str:
    """Read ``last`` or the path of a run file.

    Without the check, ``--llm-again tests/`` would take the folder of tests for a run file.

    >>> parse_again("runs/ci.json")
    'runs/ci.json'
    """
    given = parse_text(value)
    if given != LAST_RUN and not given.endswith((".json", ".json.gz")):
        raise ValueError(
            "last or a run file (RUN.json); write files and folders of tests before --llm-again, or write --llm-again=last"
        )
    return given


def choice_of(*allowed: str) -> Parser:
    """Return the parser of a closed set of texts."""

    def parse(value: object) -> str:
        if value not in allowed:
            raise ValueError(f"one of {', '.join(allowed)}")
        return value

    return parse


class _WrongElement(ValueError):
    """An element of a list has the wrong form; ``got`` is that element, so that the message shows it and not the whole list."""

    def __init__(self, expected: str, got: object) -> None:
        self.got = got
        super().__init__(expected)


def list_of(parse_element: Parser) -> Parser:
    """Return the parser of a list, or of a text with a value on each line."""

    def parse(value: object) -> tuple[Any, ...]:
        if isinstance(value, str):
            value = [line for line in value.splitlines() if line.strip()]
        if not isinstance(value, Sequence):
            raise ValueError("a list")
        elements = []
        for element in value:
            try:
                elements.append(parse_element(element))
            except ValueError as error:
                raise _WrongElement(str(error), element) from None
        return tuple(elements)

    return parse


def names_of(*allowed: str) -> Parser:
    """Return the parser of names of a closed set, in a text or a list of texts, with blanks, commas or line ends between them.

    >>> names_of("codex", "claude-agent")("claude-agent, codex")
    ('claude-agent', 'codex')
    """
    parse_name = choice_of(*allowed)

    def parse(value: object) -> tuple[Any, ...]:
        lines: tuple[str, ...] = list_of(parse_text)(value)
        names = re.split(r"[\s,]+", " ".join(lines).strip(" ,"))
        chosen: tuple[str, ...] = list_of(parse_name)(list(dict.fromkeys(filter(None, names))))
        return chosen

    return parse


def parse_models(value: object) -> str | tuple[str, ...]:
    """Read names of models, without duplicates: a single name as a text, several as a tuple."""
    if not isinstance(value, (str, Sequence)):
        raise ValueError("a text, or a list of texts")
    names: tuple[str, ...] = tuple(dict.fromkeys(list_of(parse_text)(value)))
    if len(names) <= 1:
        return "".join(names)
    if not all(names):
        raise ValueError("names of models that are not blank")
    return names


def parse_json_path(value: object) -> str:
    """Read a JSON path, or ``?name`` of a query parameter."""
    from pytest_llmops._util.json_path import parse_path

    given = parse_text(value)
    parse_path(given)
    return given


def _number_that(is_valid: Callable[[float], bool], expected: str) -> Parser:
    """Return the parser of a finite number, also as text, for which a condition holds."""

    def parse(value: object) -> float:
        number = math.nan
        if isinstance(value, (str, int, float)) and not isinstance(value, bool):
            with contextlib.suppress(ValueError):
                number = float(value)
        if not (math.isfinite(number) and is_valid(number)):
            raise ValueError(expected)
        return number

    return parse


parse_money = _number_that(lambda usd: usd >= 0, "an amount of US dollars, 0 or more (2.50)")
parse_seconds = _number_that(lambda seconds: seconds > 0, "a number of seconds above 0")


def count_from(least: int, expected: str) -> Callable[[object], int]:
    """Return the parser of a whole number from ``least``."""

    def parse(value: object) -> int:
        given = str(value).strip()
        is_count = not isinstance(value, bool) and given.isascii() and given.isdecimal()
        if not is_count or int(given) < least:
            raise ValueError(expected)
        return int(given)

    return parse


parse_count = count_from(0, "a whole number, 0 or more")
parse_positive_count = count_from(1, "a whole number, 1 or more")
