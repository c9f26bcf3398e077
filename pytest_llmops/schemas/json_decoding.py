"""Decode JSON strictly as RFC 8259, with the position of each error and the keys that an object has twice."""

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn, TypeAlias

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"
JsonPath: TypeAlias = tuple[str | int, ...]

MAX_DEPTH = 100  # levels of objects and arrays
MAX_DIGITS = 1_000  # digits of an integer; Python itself does not write integers of more than 4,300

BLANK = " \t\r\n"
STRING = (
    r'"(?:[^"\\]+|\\.)*+"?'  # an unterminated string reaches to the end, so that no text is searched twice
)
NOT_JSON = re.compile(
    r"""\{[ \t\r\n]*+(?!["}])|\[[ \t\r\n]*+(?!["\]{\[\-0-9]|true|false|null|NaN|Infinity)"""
)
TOO_DEEP = f"nested deeper than {MAX_DEPTH} levels"
_EXPECTED_BY_ERROR = {
    "Expecting value": "a value",
    "Expecting property name": "a key in double quotes",
    "Expecting ':' delimiter": "':' after the key",
    "Expecting ',' delimiter": "',' or the closing bracket",
    "Unterminated string": "a closing quote for the string that starts here",
    "Invalid control character": r"no raw control character in a string (a line end is written \n)",
    "Invalid \\": r"one of the escapes \" \\ \/ \b \f \n \r \t \u0000",
    "Illegal trailing comma": "no comma before the closing bracket",
    "Extra data": "nothing behind the value",
}


def iterate_nodes(value: object) -> Iterator[tuple[JsonPath, Any]]:
    """Yield the path and the value of each node of a JSON value, the whole first.

    >>> [(parts, node) for parts, node in iterate_nodes({"a": [1]})]
    [((), {'a': [1]}), (('a',), [1]), (('a', 0), 1)]
    """
    rest: list[tuple[JsonPath, Any]] = [((), value)]
    while rest:
        parts, node = rest.pop()
        yield parts, node
        if isinstance(node, Mapping):
            rest += [((*parts, key), child) for key, child in node.items()]
        elif isinstance(node, (list, tuple)):
            rest += [((*parts, index), child) for index, child in enumerate(node)]


def nesting_depth(value: object) -> int:
    """Return the nesting levels of lists and dictionaries, at most `MAX_DEPTH` + 1.

    >>> nesting_depth(1), nesting_depth([]), nesting_depth({"a": [1]})
    (0, 1, 2)
    """
    depth = 0
    layer = [value]
    while depth <= MAX_DEPTH:
        # By identity, so that a list that holds itself twice does not double with each level.
        containers = {id(node): node for node in layer if isinstance(node, (dict, list, tuple))}
        if not containers:
            break
        depth += 1
        layer = []
        for node in containers.values():
            layer += node.values() if isinstance(node, dict) else node
    return depth


class JsonError(ValueError):
    """An error in a JSON text, with its place.

    The hooks of the decoder, such as `_parse_float`, do not know the position. They give the ``literal`` instead, and
    `StrictDecoder.decode_value` finds its position.
    """

    def __init__(self, what: str, position: int = 0, literal: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.position = position
        self.literal = literal


class StrictDecoder:
    """Decodes JSON values.

    Attributes:
        failures: How often decoding failed within a value.
        repeated_keys: The objects with duplicate keys in the value that was decoded last, by their id.
    """

    def __init__(self) -> None:
        self.failures = 0
        self.repeated_keys: dict[int, tuple[dict[str, JsonValue], list[str]]] = {}
        self.decoder = json.JSONDecoder(
            parse_float=_parse_float,
            parse_int=_parse_int,
            parse_constant=_refuse_constant,
            object_pairs_hook=self.build_object,
        )

    def decode_value(self, piece: str, at: int) -> tuple[JsonValue, int, tuple[JsonPath, ...]]:
        """Return the value that starts at ``at``, the position behind it, and the paths of its duplicate keys.

        Raises:
            JsonError: No value can be read. The position is in the piece.
        """
        not_json = NOT_JSON.match(piece, at)
        if not_json:
            # Faster than an exception of the decoder for each bracket in prose.
            place = not_json.end()
            message = "Expecting property name" if piece[at] == "{" else "Expecting value"
            raise JsonError(describe_json_error(message, piece, place), place)
        self.repeated_keys = {}
        try:
            value, stop = self.decoder.raw_decode(piece, at)
        except json.JSONDecodeError as error:
            self.failures += 1
            raise JsonError(describe_json_error(error.msg, piece, error.pos), error.pos) from None
        except RecursionError:
            raise JsonError(TOO_DEEP, at) from None
        except JsonError as bad:
            self.failures += 1
            raise JsonError(bad.what, _find_literal(bad.literal, piece, at)) from None
        if nesting_depth(value) > MAX_DEPTH:
            raise JsonError(TOO_DEEP, at)
        return value, stop, tuple(self.iterate_duplicates(value))

    def iterate_duplicates(self, value: JsonValue) -> Iterator[JsonPath]:
        """Yield the paths of the keys that an object of the value has twice."""
        if not self.repeated_keys:
            return
        for parts, node in iterate_nodes(value):
            if id(node) in self.repeated_keys:
                _, keys = self.repeated_keys[id(node)]
                for key in keys:
                    yield (*parts, key)

    def build_object(self, pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
        """Return the object of these pairs, and remember its duplicate keys; the decoder calls this."""
        mapping = dict(pairs)
        if len(mapping) < len(pairs):
            names = Counter(name for name, _ in pairs)
            repeated = [name for name, count in names.items() if count > 1]
            # The object is stored too, so that its id is not reused.
            self.repeated_keys[id(mapping)] = mapping, repeated
        return mapping


def _find_literal(literal: str, piece: str, at: int) -> int:
    """Return where a literal is in a text, outside of strings, which may contain the same characters."""
    start = re.escape(literal[:20])
    pattern = re.compile(rf"{STRING}|(?P<literal>{start})", re.DOTALL)
    for match in pattern.finditer(piece, at):
        if match["literal"]:
            return match.start()
    return at


def describe_json_error(message: str, piece: str, position: int) -> str:
    """Return a message of Python's decoder in our words: the expected text at a position, and the text there."""
    expected = message
    for start, words in _EXPECTED_BY_ERROR.items():
        if message.startswith(start):
            expected = words
            break
    if position >= len(piece) or message.startswith("Unterminated"):
        return f"expected {expected}, got the end"
    return f"expected {expected}, got {piece[position]!a}"


def _parse_float(literal: str) -> float:
    """Return a number as a float; a number like 1e999, which would become infinite, is an error."""
    number = float(literal)
    if math.isinf(number):
        raise JsonError(f"expected a number that a float can hold, got {literal[:20]}", literal=literal)
    return number


def _parse_int(literal: str) -> int:
    if len(literal) > MAX_DIGITS:
        raise JsonError(
            f"expected a number of at most {MAX_DIGITS:,} digits, got one of {len(literal):,}",
            literal=literal,
        )
    return int(literal)


def _refuse_constant(literal: str) -> NoReturn:
    raise JsonError(f"expected a value, got {literal}, which is not JSON", literal=literal)
