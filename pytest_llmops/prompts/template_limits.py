"""Limits of a template: its steps, and the characters that it makes and reads.

Both are counted, so that a template ends at the same place on every machine and in every thread. An operation that would go over a
limit is refused before it is made: nobody waits for a text of a billion characters, or has no memory left.

An item of a list that a filter reads counts as `ITEM_CHARS` characters, as it is about as slow.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from inspect import Parameter
from itertools import chain, islice
from string import Formatter
from typing import Any

from pytest_llmops._util.text_files import BadFile

MAX_STEPS = 200_000  # rounds of loops and calls in a section
# Characters that a section makes and reads: a prompt of 4 million may go through four filters. That needs about a second.
MAX_CHARS = 20_000_000
ITEM_CHARS = 40
SMALL_CHARS = (
    100  # a text up to this length is not counted when it is filtered: that is quick and needs little memory
)
COPIED_ITEM_CHARS = 4  # of an item that is copied with its list
SEARCHED_CHARS = 16  # so many characters are searched as fast as one is made
SLICED_CHARS = 4  # of a text that is sliced, one in so many is expected to be copied
MAX_BITS = 20_000  # of a whole number; one of 4,300 digits has 14,285
MAX_WIDTH = 9_999  # of a field of a format
MAX_DECIMALS = 400
MAX_JSON_INDENT = 16
PIECES_AT_ONCE = 1_000  # so many pieces of a text are counted together
# Filters that need much longer for a character than others: how many characters each counts as
SLOW_FILTERS = {"pprint": 2, "urlize": 8, "wordwrap": 2}
NEXT_STEP = "make it shorter, or make the text in Python and pass it as a variable"


@dataclass(slots=True)
class Budget:
    """The remaining budget of the section that is being rendered."""

    steps: int
    chars: int


_budget: ContextVar[Budget] = ContextVar("pytest_llmops_template_budget")


@contextmanager
def limit_template() -> Iterator[None]:
    """Give the code that a block renders or compiles a whole budget of its own."""
    token = _budget.set(Budget(MAX_STEPS, MAX_CHARS))
    try:
        yield
    finally:
        _budget.reset(token)


def count_steps(count: int) -> bool:
    """Count rounds of loops or calls; always return True.

    Raises:
        BadFile: The template has taken more than `MAX_STEPS`.
    """
    budget = _budget.get()
    budget.steps -= count
    if budget.steps < 0:
        raise BadFile(
            f"the template needs more than {MAX_STEPS:,} rounds of loops and calls: does a loop end?"
        )
    return True


def count_chars(count: int, what: str = "the text") -> None:
    """Count characters that are about to be made or read.

    Args:
        count: How many.
        what: What makes or reads them, for the error.

    Raises:
        BadFile: The template has made and read more than `MAX_CHARS`.
    """
    budget = _budget.get()
    budget.chars -= count
    if budget.chars < 0:
        raise BadFile(
            f"{what} ({count:,} characters) goes over the limit: a template may make and read {MAX_CHARS:,} characters "
            f"in all; {NEXT_STEP}"
        )


def count_loop(values: Iterable[object]) -> Iterable[object]:
    """Return the values of a loop, counting its rounds: all at once if their number is known, which is quicker."""
    if not isinstance(values, Sized):
        return (value for value in values if count_steps(1))  # always true: it raises, or the value is taken
    count_steps(len(values))
    return values


def count_items(values: Any, what: str) -> Any:
    """Return the input of a filter, counting its items; items of a generator when they are read."""
    if isinstance(values, Sized):
        count_chars(len(values) * ITEM_CHARS, what)
        return values
    if isinstance(values, Iterator):
        return _count_generated(values, what)
    return values


def _count_generated(values: Iterator[object], what: str) -> Iterator[object]:
    """Yield values, counting each."""
    for value in values:
        count_chars(ITEM_CHARS, what)
        yield value


def count_searched(value: Any) -> Any:
    """Return a value that is about to be searched by ``in``, counting its size; of a generator its items."""
    if isinstance(value, Iterator):
        return _count_generated(value, "'in'")
    if isinstance(value, (str, bytes, list, tuple, range)):
        count_chars(len(value) // SEARCHED_CHARS, "'in'")
    return value


def count_compared(value: Any) -> Any:
    """Return a value that is about to be compared, counting its size; of a list with all that is in it."""
    if isinstance(value, (str, bytes)):
        count_chars(len(value) // SEARCHED_CHARS, "a comparison")
    elif isinstance(value, (list, tuple, dict)):
        count_content(value, "a comparison")
    return value


def count_sliced(value: Any) -> Any:
    """Return a value of which a part is about to be copied, counting its size."""
    if isinstance(value, (str, bytes, list, tuple)):
        count_chars(len(value) // SLICED_CHARS, "a slice")
    return value


def count_content(value: object, what: str) -> int:
    """Count the characters of a value when it is made a text, with all that is in it, and return their number."""
    if type(value) is str:
        count_chars(len(value), what)
        return len(value)
    total = 0
    rest = [value]
    for item in rest:  # the list grows meanwhile by the parts of each container
        if isinstance(item, (int, float)):
            continue
        if isinstance(item, (str, bytes)):
            size = len(item)
        elif isinstance(item, (list, tuple, set, frozenset)):
            size = len(item) * ITEM_CHARS
            rest += item
        elif isinstance(item, Mapping):
            size = len(item) * ITEM_CHARS
            rest += chain.from_iterable(item.items())
        else:
            size = ITEM_CHARS
        count_chars(size, what)
        total += size
    return total


def count_pieces(pieces: Iterable[str]) -> str:
    """Join the pieces of a section, a macro or a block, counting their characters."""
    texts: list[str] = []
    rest = iter(pieces)
    while batch := list(islice(rest, PIECES_AT_ONCE)):
        try:
            count_chars(sum(map(len, batch)))
        except BadFile as error:
            if isinstance(rest, Generator):  # raised within the template, so that the error has its line
                rest.throw(error)
            raise
        texts += batch
    return "".join(texts)


def count_joined(values: Any, separator: str | bytes, what: str) -> Any:
    """Count the characters of values when they are joined, and return them; values of a generator as a list."""
    if isinstance(values, Iterator):
        values = list(_count_generated(values, what))
    if not isinstance(values, Collection):
        return values
    count_chars(len(values) * len(separator), what)
    if set(map(type, values)) <= {str}:
        count_chars(sum(map(len, values)), what)
    else:
        count_content(values, what)
    return values


def join_operands(operands: list[object]) -> str:
    """Return the operands of ``~`` joined, counting their characters."""
    count_joined(operands, "", "'~'")
    return "".join(map(str, operands))


def limit_range(make_range: Callable[..., range], most: int) -> Callable[..., range]:
    """Return the sandbox's ``range`` with an error that has the next step."""

    def limited(*args: int) -> range:
        try:
            return make_range(*args)
        except OverflowError:
            wanted = ", ".join(map(_format_number, args))
            raise BadFile(
                f"range({wanted}): a range in a template has at most {most:,} numbers; use a shorter one, or loop "
                "over a variable"
            ) from None

    return limited


def _format_number(value: int) -> str:
    """Return a number for an error; one of many digits is described."""
    if value.bit_length() > MAX_DECIMALS:
        return f"a number of {value.bit_length():,} bits"
    return f"{value:,}"


def check_operands(operator: str, left: Any, right: Any) -> None:
    """Check, before it is computed, that the result of an operator is small enough, and count it.

    Raises:
        BadFile: It is not.
    """
    what = f"{operator!r}"
    if isinstance(left, int) and isinstance(right, int):
        _check_numbers(operator, left, right)
        return
    if operator == "%" and isinstance(left, (str, bytes)):
        check_percent_format(left, right)
        return
    sequences = (str, bytes, list, tuple)
    if operator == "+" and isinstance(left, sequences) and isinstance(right, sequences):
        count_chars((len(left) + len(right)) * _item_chars(left), what)
    if operator == "*" and isinstance(right, sequences):
        left, right = right, left
    if operator == "*" and isinstance(left, sequences) and isinstance(right, int):
        count_chars(len(left) * max(right, 0) * _item_chars(left), what)


def _item_chars(value: object) -> int:
    """Return as how many characters an item of a text or a list counts that is copied."""
    if isinstance(value, (str, bytes)):
        return 1
    return COPIED_ITEM_CHARS


def _check_numbers(operator: str, left: int, right: int) -> None:
    """Check that neither the operands nor the result of an operator have more than `MAX_BITS` bits.

    Raises:
        BadFile: One has.
    """
    bits = max(left.bit_length(), right.bit_length())
    if operator == "*":
        bits = left.bit_length() + right.bit_length()
    if operator == "**" and right > 0 and abs(left) > 1:
        bits = max(bits, left.bit_length() * right)
    if bits > MAX_BITS:
        raise BadFile(
            f"{operator!r} would make a whole number of about {_format_number(bits)} bits; a template may make numbers "
            f"of {MAX_BITS:,}; {NEXT_STEP}"
        )


# A width or precision of five digits or more, or one that is a value (`*`)
_WIDE = r"[#0 +-]*+(?:\*|\d{5,}|\d{0,4}\.(?:\*|\d{5,}))"
_WIDE_FIELD = re.compile(f"%{_WIDE}")
_WIDE_NAMED_FIELD = re.compile(f"[%)]{_WIDE}")  # as in `%(name)10s`


def check_percent_format(text: str | bytes, values: object) -> None:
    """Check a text that ``%`` or the filter ``format`` fills in, and count its characters.

    Raises:
        BadFile: It has a field that is too wide, or whose width is a value.
    """
    if isinstance(text, bytes):
        text = text.decode("latin-1")
    pattern = _WIDE_FIELD
    if "%(" in text:
        pattern = _WIDE_NAMED_FIELD
    wide = pattern.search(text)
    if wide is not None:
        raise _wide_error(wide[0])
    size = count_content(values, "'%'")
    count_chars(len(text) + text.count("%") * size, "'%'")


def check_braces_format(text: str, values: object) -> None:
    """Check a text that its method ``format`` fills in, and count its characters.

    Raises:
        BadFile: It has a field that is too wide, or whose width is a value.
        ValueError: It is not a format.
    """
    fields = 0
    for _, name, spec, _ in Formatter().parse(text):
        if name is None:
            continue
        fields += 1
        if spec and ("{" in spec or re.search(r"\d{5,}", spec)):
            raise _wide_error(f"{{{name}:{spec}}}")
    size = count_content(values, "'format'")
    count_chars(len(text) + fields * size, "'format'")


def _wide_error(field: str) -> BadFile:
    """Return the error about a field of a format."""
    return BadFile(
        f"the field {field[:60]!r} of a format: expected a width of at most {MAX_WIDTH:,}, written as a number; {NEXT_STEP}"
    )


def _grow_by_width(_value: Any, arguments: Mapping[str, Any]) -> int:
    """Return the characters that ``center`` adds at most."""
    return int(arguments["width"])


def _grow_by_indent(value: Any, arguments: Mapping[str, Any]) -> int:
    """Return the characters that ``indent`` adds at most."""
    size = arguments["width"]
    if isinstance(size, str):
        size = len(size)
    return (str(value).count("\n") + 1) * int(size)


def _grow_by_replacing(value: Any, arguments: Mapping[str, Any]) -> int:
    """Return the characters that ``replace`` adds at most."""
    return str(value).count(str(arguments["old"])) * len(str(arguments["new"]))


def _grow_by_wrapping(value: Any, arguments: Mapping[str, Any]) -> int:
    """Return the characters that ``wordwrap`` adds at most: a line may have a single character."""
    break_chars = len(arguments["wrapstring"] or "\n")
    return len(str(value)) * (break_chars - 1)


def _grow_by_batches(_value: Any, arguments: Mapping[str, Any]) -> int:
    """Return as how many characters the items count that ``batch`` fills its last list up with."""
    return int(arguments["linecount"]) * ITEM_CHARS


def _grow_by_slices(_value: Any, arguments: Mapping[str, Any]) -> int:
    """Return as how many characters the lists count that ``slice`` makes."""
    return int(arguments["slices"]) * ITEM_CHARS


def _grow_by_sum(value: Any, arguments: Mapping[str, Any]) -> int:
    """Return as how many characters a sum of lists counts: each list is copied for each that follows."""
    if isinstance(arguments["start"], (int, float)) or not isinstance(value, Collection):
        return 0
    items = sum(len(part) for part in value if isinstance(part, Sized))
    return len(value) * items


def _grow_by_rounding(_value: Any, arguments: Mapping[str, Any]) -> int:
    """Check the places of ``round``, which computes a power of ten with as many zeros."""
    if abs(arguments["precision"]) > MAX_DECIMALS:
        raise BadFile(f"'round' has at most {MAX_DECIMALS} decimal places in a template; ask for fewer")
    return 0


def _grow_by_json(_value: Any, arguments: Mapping[str, Any]) -> int:
    """Check the indentation of ``tojson``."""
    size = arguments["indent"] or 0
    if isinstance(size, str):
        size = len(size)
    if size > MAX_JSON_INDENT:
        raise BadFile(
            f"'tojson' indents by at most {MAX_JSON_INDENT} characters in a template; ask for fewer"
        )
    return 0


# What filters add to the characters that they read
GROWTH_OF_FILTERS: Mapping[str, Callable[[Any, Mapping[str, Any]], int]] = {
    "batch": _grow_by_batches,
    "center": _grow_by_width,
    "indent": _grow_by_indent,
    "replace": _grow_by_replacing,
    "round": _grow_by_rounding,
    "slice": _grow_by_slices,
    "sum": _grow_by_sum,
    "tojson": _grow_by_json,
    "wordwrap": _grow_by_wrapping,
}
# Filters that take no longer for a large value than for a small one
QUICK_FILTERS = frozenset(
    {"abs", "attr", "count", "d", "default", "first", "items", "last", "length", "safe"}
)
# Filters that read the items of a value, but not their content
ITEM_FILTERS = frozenset(
    {
        "batch", "list", "map", "reject", "rejectattr", "reverse", "select", "selectattr", "slice", "sum",
    }
)  # fmt: skip


# Those that compare the items or use them as keys, for which a list within the value is read to its depth
COMPARING_FILTERS = frozenset({"dictsort", "groupby", "max", "min", "sort", "unique"})


class FilterCounter:
    """Counts the input and output of a filter, before it is called.

    Args:
        name: The filter.
        parameters: The names of its parameters after the value, with their defaults.
    """

    def __init__(self, name: str, parameters: Mapping[str, Any]) -> None:
        self.what = f"the filter {name!r}"
        self.reads_items = name in ITEM_FILTERS
        self.compares = name in COMPARING_FILTERS
        # The items of a generator have to be counted before it is compared or added
        self.needs_list = self.compares or name == "sum"
        self.weight = SLOW_FILTERS.get(name, 1)
        self.growth = GROWTH_OF_FILTERS.get(name)
        self.parameters = parameters

    def count(self, value: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Count the cost of the filter for a value and its other arguments, and return the value to call it with.

        Raises:
            BadFile: It is too much.
        """
        if self.needs_list and isinstance(value, Iterator):
            value = list(_count_generated(value, self.what))
        if self.compares:
            count_content(value, self.what)
        elif self.reads_items:
            value = count_items(value, self.what)
        elif type(value) is str:
            count_chars(len(value) * self.weight, self.what)
        else:
            count_chars(count_content(value, self.what) * (self.weight - 1), self.what)
        if self.growth is None:
            return value
        arguments = {**self.parameters, **dict(zip(self.parameters, args, strict=False)), **kwargs}
        if not any(argument is Parameter.empty for argument in arguments.values()):  # else the filter raises
            count_chars(max(self.growth(value, arguments), 0), self.what)
        return value


# Methods that take no longer for a long text or list than for a short one
QUICK_METHODS = frozenset({"startswith", "endswith", "get", "items", "keys", "values", "bit_length"})
SPLITTING_METHODS = frozenset({"split", "rsplit", "splitlines", "partition", "rpartition"})
COMPARING_METHODS = frozenset({"index", "count"})
# Their argument is the key of an object, or compared with the value of the round before
ARGUMENT_METHODS = frozenset({"get", "changed", "fromkeys"})
FILLING_METHODS = frozenset({"center", "ljust", "rjust", "zfill", "to_bytes"})
SPLIT_CHARS = 4  # as how many characters one counts of a text that is split: each piece is an object
TAB_SIZE = 8


def count_method(owner: object, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Sequence[Any]:
    """Count the reads and results of a method of a text, a list or a number, and return the positional arguments for it.

    Raises:
        BadFile: It is too much.
    """
    what = f"the method {name!r}"
    if name in ARGUMENT_METHODS:
        count_content(args, what)
    if name in QUICK_METHODS or not isinstance(owner, (str, bytes, list, tuple, int)):
        return args
    if name == "join" and isinstance(owner, (str, bytes)) and args:
        return [count_joined(args[0], owner, what), *args[1:]]
    size = 0
    if not isinstance(owner, int):
        size = len(owner)
    if name in COMPARING_METHODS:
        count_content(owner, what)
    if name in SPLITTING_METHODS:
        size *= SPLIT_CHARS
    count_chars(size + _grow_by_method(owner, name, [*args, *kwargs.values()]), what)
    return args


def _grow_by_method(owner: Any, name: str, args: Sequence[Any]) -> int:
    """Return the characters that a method adds at most; 0 for arguments that it is going to refuse."""
    if name in FILLING_METHODS:
        numbers = [number for number in args if isinstance(number, int)]
        return max([0, *numbers])
    if name == "expandtabs":
        return int(owner.count("\t") * max([TAB_SIZE, *args]))
    if name == "replace" and len(args) > 1:
        return int(owner.count(args[0])) * len(args[1])
    if name == "translate" and args and isinstance(args[0], Mapping):
        longest = max((len(text) for text in args[0].values() if isinstance(text, str)), default=0)
        return int(len(owner) * longest)
    return 0
