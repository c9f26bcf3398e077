"""Strict reading of text, JSON and YAML files, with the line of an error; fingerprints and atomic writing.

Readers of prompts, cases and corpora turn `BadFile` into their own error.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import math
import os
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache, partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from pytest_llmops._util.lazy_module import LazyModule
from pytest_llmops._util.yaml_scalars import find_changed_value
from pytest_llmops.measurement import Json, shorten_text

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    import yaml
else:
    yaml = LazyModule("yaml")

MAX_DEPTH = 100  # levels of lists and mappings in a value; deeper values would end in a RecursionError later
_TOO_DEEP = f"nested deeper than {MAX_DEPTH} levels"
# Bits of a whole number: the range of a float. Python refuses to write numbers of more than 4,300 digits.
MAX_INT_BITS = 1024
FINGERPRINT_CHARS = 16
# A YAML text may grow by its aliases (`*name`) to this many times its length, or to this many characters if that is more
MAX_ALIAS_GROWTH = 10
MAX_SMALL_YAML = 65_536
MAX_LINE_CHARS = (
    2**26
)  # longest line of a file that is read line by line, so that a file without line ends does not fill the memory


class BadFile(ValueError):
    """An error in a text, and its line (None: no particular line)."""

    def __init__(self, what: str, line: int | None = None) -> None:
        self.what = what
        self.line = line
        super().__init__(what)


@contextmanager
def locate_errors(
    kind: Callable[[str, object, int | None], Exception], path: object, what: str = ""
) -> Iterator[None]:
    """Turn a `BadFile` into an error of this kind, such as `CorpusError`, with the file and the line."""
    try:
        yield
    except BadFile as error:
        raise kind(f"{what}{error.what}", path, error.line) from None


def fingerprint_parts(*parts: str) -> str:
    """Return a short content hash, 16 hex digits of SHA-256. It depends on the texts and on where one ends and the next begins.

    >>> fingerprint_parts("a", "b") == fingerprint_parts("ab")
    False
    """
    hashed = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        hashed.update(f"{len(data)}:".encode())
        hashed.update(data)
    return hashed.hexdigest()[:FINGERPRINT_CHARS]


def canonical_json(value: Json) -> str:
    """Return a value as JSON text with sorted keys and no white space.

    >>> canonical_json({"b": 1, "a": "ä"})
    '{"a":"ä","b":1}'
    """
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def read_text(path: Traversable) -> str:
    r"""Return a file's text: UTF-8, without a byte order mark, every line end as ``\n``.

    A checkout on Windows thus has the same text, and the same fingerprint, as a checkout elsewhere.

    Raises:
        BadFile: The file does not exist, it cannot be read, it is not UTF-8, or it contains a NUL.
    """
    return decode_text(read_bytes(path))


def read_bytes(path: Traversable) -> bytes:
    """Return a file's bytes.

    Raises:
        BadFile: The file does not exist, or it cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise BadFile("no such file") from None
    except (OSError, ValueError) as error:
        raise BadFile(f"cannot be read: {getattr(error, 'strerror', None) or error}") from None


def decode_text(raw: bytes) -> str:
    """Return the bytes of a file as text, in the form of `read_text`.

    Raises:
        BadFile: They are not UTF-8, or contain a NUL.
    """
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        what = f"not UTF-8: byte 0x{raw[error.start]:02x}; save the file as UTF-8"
        raise BadFile(what, raw.count(b"\n", 0, error.start) + 1) from None
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if "\0" in text:
        raise BadFile("a NUL character; text has none", line_number_at(text, text.index("\0")))
    return text


def gzip_by_suffix(path: Path, data: bytes) -> bytes:
    """Return the data, compressed if the file's name ends in ``.gz``; without a time stamp, so it is reproducible."""
    if path.suffix == ".gz":
        return gzip.compress(data, mtime=0)
    return data


def write_atomically(path: Path, data: bytes | Iterable[bytes]) -> None:
    """Replace the content of a file atomically: a killed process leaves the old content or the new, nothing between.

    A link stays a link, and its target is written. The file keeps its mode; the mode of a new file follows the umask.

    Args:
        path: The file.
        data: The content, or an iterable of parts that are written as they come. If the iterable raises, the file is left unchanged.

    Raises:
        OSError: The file cannot be written; it is left unchanged.
    """
    if isinstance(data, bytes):
        data = [data]
    target = Path(os.path.realpath(path))
    draft = target.with_name(f".{target.name[:60]}.{secrets.token_hex(4)}.part")
    mode = None
    draft_mode = 0o666
    with suppress(FileNotFoundError):
        mode = stat.S_IMODE(target.stat().st_mode)
        # The draft is never readable for more users than the file.
        draft_mode = mode & 0o666 | 0o200
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    handle = os.open(draft, flags, draft_mode)
    try:
        with os.fdopen(handle, "wb") as file:
            file.writelines(data)
        if mode is not None:
            draft.chmod(mode)
        draft.replace(target)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def stream_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a file as `read_text` has them, without their ends; a line at a time is in memory.

    Raises:
        BadFile: As for `read_text`, or a line is longer than 67 million characters; with the line.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(iter(partial(file.readline, MAX_LINE_CHARS), ""), start=1):
                if len(line) == MAX_LINE_CHARS:
                    raise BadFile("a line of too many characters", number)
                if "\0" in line:
                    raise BadFile("a NUL character; text has none", number)
                yield number, line.removesuffix("\n")
    except UnicodeDecodeError:
        read_text(path)  # raises the same error with the line: a stream does not know it
    except OSError as error:
        raise BadFile(f"cannot be read: {error.strerror}") from None


def line_number_at(text: str, index: int) -> int:
    r"""Return the line number, from 1, of a character.

    >>> line_number_at("a\nb", 2)
    2
    """
    return text.count("\n", 0, index) + 1


def numbered_lines(text: str) -> Iterator[tuple[int, str]]:
    r"""Yield the lines that are not blank with their numbers.

    Only ``\n`` ends a line: a JSON text may contain an unescaped U+2028.

    >>> list(numbered_lines("a\n\nb\n"))
    [(1, 'a'), (3, 'b')]
    """
    return ((number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip())


def read_json(text: str) -> Json:
    """Return the value of a JSON text.

    Raises:
        BadFile: It is not JSON, a key is repeated, a number is not finite, a text has no UTF-8 form, or it
            is nested too deeply.

    >>> read_json('{"a": [1, 2.5]}')
    {'a': [1, 2.5]}
    """
    try:
        value = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_refuse_duplicate_keys)
    except json.JSONDecodeError as error:
        raise BadFile(f"broken JSON: {error.msg} at column {error.colno}", error.lineno) from None
    except RecursionError:
        raise BadFile(_TOO_DEEP) from None
    except BadFile:
        raise
    except ValueError as error:
        raise BadFile(f"broken JSON: {error}") from None
    return check_json_value(value)


def read_json_lines(text: str | Iterable[tuple[int, str]]) -> Iterator[tuple[int, Json]]:
    r"""Yield the value of each line of JSON lines, a text or its lines, with its number; blank lines are skipped.

    Raises:
        BadFile: As for `read_json`, with the line.

    >>> list(read_json_lines('{"a": 1}\n\n[2]'))
    [(1, {'a': 1}), (3, [2])]
    """
    if isinstance(text, str):
        lines: Iterable[tuple[int, str]] = numbered_lines(text)
    else:
        lines = text
    for number, line in lines:
        try:
            if line.strip():
                yield number, read_json(line)
        except BadFile as error:
            raise BadFile(error.what, number) from None


def _refuse_constant(text: str) -> NoReturn:
    raise BadFile(f"{text} is not JSON: write null, or leave the key out")


def _refuse_duplicate_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    unique: dict[str, object] = {}
    for key, value in pairs:
        if key in unique:
            raise BadFile(f"the key {shorten_text(key, 60)!r} occurs twice")
        unique[key] = value
    return unique


def check_json_value(value: object, depth: int = 0) -> Json:
    """Return a value if JSON can represent it.

    Raises:
        BadFile: It cannot: a date, a key that is not a text, a number that is not finite, half a surrogate pair.

    >>> check_json_value([1, {"a": None}])
    [1, {'a': None}]
    """
    if depth > MAX_DEPTH:
        raise BadFile(_TOO_DEEP)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _join_surrogates(value)
    if isinstance(value, (int, float)):
        return _check_number(value)
    if isinstance(value, list):
        return [check_json_value(child, depth + 1) for child in value]
    if isinstance(value, dict):
        return {_check_key(key): check_json_value(child, depth + 1) for key, child in value.items()}
    raise BadFile(
        f"{shorten_text(str(value), 60)} is a {type(value).__name__}: write it in quotes to have a text"
    )


def _join_surrogates(value: str) -> str:
    """Return a text in which each pair of surrogates is the character that it encodes.

    Raises:
        BadFile: It has half a pair, which cannot be written as UTF-8.
    """
    if value.isascii() or not any("\ud800" <= char <= "\udfff" for char in value):
        return value
    try:
        # Joins the two escapes of a character outside the BMP (JSON's form, which PyYAML does not join).
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    except UnicodeDecodeError:
        raise BadFile(
            f"half a surrogate pair, which has no UTF-8 form, in {shorten_text(value, 60)!r}"
        ) from None


def _check_number(value: float) -> float:
    """Return a number that JSON and a float can hold.

    Raises:
        BadFile: It is too large, infinite or not a number.
    """
    if isinstance(value, int) and value.bit_length() > MAX_INT_BITS:
        raise BadFile(f"expected a number, got a number of {value.bit_length():,} bits: write it in quotes")
    if not isinstance(value, int) and not math.isfinite(value):
        raise BadFile(f"expected a finite number, got {value}")
    return value


def _check_key(key: object) -> str:
    """Return a key of a mapping, which must be a text: YAML allows others."""
    if not isinstance(key, str):
        raise BadFile(f"expected a text as key, got {key!r}: write it in quotes")
    return _join_surrogates(key)


def read_csv(lines: str | Iterable[str], delimiter: str = ",") -> Iterator[tuple[int, list[str]]]:
    r"""Yield the records of CSV, each with the number of the line where it starts.

    Args:
        lines: The whole text, or its lines with their line ends.
        delimiter: The character between two cells.

    Raises:
        BadFile: It is not CSV.

    >>> list(read_csv('a,b\n"1\n2",3\n'))
    [(1, ['a', 'b']), (2, ['1\n2', '3'])]
    """
    if isinstance(lines, str):
        lines = io.StringIO(lines, newline="")
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    line = 1
    limit = csv.field_size_limit(MAX_LINE_CHARS)  # a record may have several lines
    try:
        for cells in reader:
            yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise BadFile(f"broken CSV: {error}", line) from None
    finally:
        csv.field_size_limit(limit)


def read_yaml(text: str, *, numbers_as_written: bool = False) -> tuple[Json, tuple[int, ...]]:
    r"""Return the value of a YAML text, and the line number of each item of its top level (of each key, if that is a mapping).

    Args:
        text: The text.
        numbers_as_written: Refuse numbers that would be written otherwise (1.10, 1_000), and ``~``: where a value may be meant as text.

    Raises:
        BadFile: It is not YAML, a key is repeated, it contains a value that JSON cannot represent (a date, a set), or one that YAML
            changes (12:30, 010, yes).

    >>> read_yaml("a: 1\nb: [x, y]")
    ({'a': 1, 'b': ['x', 'y']}, (1, 2))
    """
    loader = None
    try:
        loader = _yaml_loader()(text)
        return _read_yaml_node(loader, text, numbers_as_written=numbers_as_written)
    except yaml.YAMLError as error:
        what = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
        index = getattr(error, "position", None)
        mark = getattr(error, "problem_mark", None)
        if mark is not None:
            index = mark.index
        line = None
        if index is not None:
            line = line_number_at(text, index)
        raise BadFile(f"broken YAML: {shorten_text(str(what))}", line) from None
    except RecursionError:
        raise BadFile(_TOO_DEEP) from None
    except BadFile:
        raise
    except (ValueError, LookupError, AttributeError, TypeError, ArithmeticError) as error:
        # Errors that PyYAML's constructors raise for a value that does not fit its tag (2024-99-99).
        line = None
        node = getattr(loader, "at", None)
        if node is not None:
            line = line_number_at(text, node.start_mark.index)
        raise BadFile(f"broken YAML: {type(error).__name__}: {shorten_text(str(error))}", line) from None


@lru_cache(maxsize=1)
def _yaml_loader() -> Any:
    """Return PyYAML's safe loader, extended to remember the node that it constructs."""

    class Loader(yaml.SafeLoader):
        at: yaml.Node | None = None

        def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: FBT001, FBT002 -- PyYAML's
            self.at = node
            return super().construct_object(node, deep=deep)

    return Loader


def _read_yaml_node(loader: Any, text: str, *, numbers_as_written: bool) -> tuple[Json, tuple[int, ...]]:
    """Return value and line numbers as `read_yaml` does, checking the tree of nodes before Python objects are made of it."""
    node = loader.get_single_node()
    if node is None:
        return None, ()
    # A node that contains itself is refused later, as nested too deeply.
    most_characters = MAX_ALIAS_GROWTH * len(text) + MAX_SMALL_YAML
    if most_characters < count_characters(node, {}) < math.inf:
        raise BadFile(
            f"broken YAML: its aliases (`*name`) expand to more than {MAX_ALIAS_GROWTH} times the text; write the values out"
        )
    marks = tuple(line_number_at(text, child.start_mark.index) for child in _child_nodes(node))
    check_keys(node, text)
    change = find_changed_value(node, loader.construct_object, numbers_as_written=numbers_as_written)
    if change is not None:
        index, what = change
        raise BadFile(what, line_number_at(text, index))
    return _check_items(loader.construct_document(node), marks), marks


def count_characters(node: yaml.Node, sizes: dict[int, float]) -> float:
    """Return about how many characters a node has with its aliases expanded; infinity if it contains itself.

    Args:
        node: The node.
        sizes: The sizes of the nodes that were seen, by their `id`; filled here, so that each is counted once.
    """
    if isinstance(node.value, str):
        return len(node.value) + 1
    if id(node) not in sizes:
        sizes[id(node)] = math.inf  # stays so if the node is met again below itself
        parts = node.value
        if isinstance(node, yaml.MappingNode):
            parts = chain.from_iterable(node.value)  # of keys and values
        sizes[id(node)] = 1 + sum(count_characters(part, sizes) for part in parts)
    return sizes[id(node)]


def _child_nodes(node: yaml.Node) -> list[yaml.Node]:
    """Return the items of a sequence, or the keys of a mapping; a scalar has none."""
    if isinstance(node, yaml.MappingNode):
        return [key for key, _ in node.value]
    if isinstance(node, yaml.SequenceNode):
        return list(node.value)
    return []


def _check_items(value: object, marks: Sequence[int]) -> Json:
    """Check a value item by item, so that an error has the line of its item."""
    items = value
    if isinstance(value, dict):
        items = [{key: item} for key, item in value.items()]
    if isinstance(items, list) and len(items) == len(marks):
        for item, line in zip(items, marks, strict=True):
            try:
                check_json_value(item)
            except BadFile as error:
                raise BadFile(error.what, line) from None
    return check_json_value(value)


def check_keys(node: yaml.Node, text: str, depth: int = 0) -> None:
    """Check that no mapping has a key twice: PyYAML would silently use the last value.

    Raises:
        BadFile: A key is there twice, or the node is nested too deeply.
    """
    if depth > MAX_DEPTH:
        raise BadFile(_TOO_DEEP, line_number_at(text, node.start_mark.index))
    if isinstance(node, yaml.SequenceNode):
        for child in node.value:
            check_keys(child, text, depth + 1)
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, child in node.value:
            name = None
            if isinstance(key, yaml.ScalarNode):
                name = key.value
            if name is not None and name in seen:
                raise BadFile(
                    f"the key {shorten_text(name, 60)!r} occurs twice",
                    line_number_at(text, key.start_mark.index),
                )
            seen.add(name)
            check_keys(child, text, depth + 1)


def as_mapping(value: Json) -> Mapping[str, Json]:
    """Return a value if it is an object.

    Raises:
        BadFile: It is not an object.

    >>> as_mapping({"a": 1})
    {'a': 1}
    """
    if not isinstance(value, Mapping):
        raise BadFile(f"expected an object with keys, got {json_kind(value)}")
    return value


def json_kind(value: object) -> str:
    """Return the type of a value in the terms of JSON.

    >>> json_kind(None), json_kind(True), json_kind(1.5), json_kind("x"), json_kind([])
    ('null', 'true or false', 'a number', 'a text', 'a list')
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    kinds = {int: "a number", float: "a number", str: "a text", list: "a list", dict: "an object"}
    for kind, name in kinds.items():
        if isinstance(value, kind):
            return name
    return f"a {type(value).__name__}"
