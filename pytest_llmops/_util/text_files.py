"""Files that a person wrote, read strictly: what is wrong is told with its line.

Prompts, cases and corpora are read through here and turn `BadFile` into their own error.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import os
import secrets
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from pytest_llmops.measurement import Json, shorten_text

if TYPE_CHECKING:
    import yaml

T = TypeVar("T")

MAX_DEPTH = 100
"""Levels of lists and mappings in a value: more is a mistake, and would end in a RecursionError later."""
MAX_INT_BITS = 1024
"""Of a whole number: as far as a float reaches. Python refuses to write numbers of more than 4,300 digits."""
FINGERPRINT_CHARS = 16


class BadFile(ValueError):
    """What is wrong with a text, and in which line of it (None: no line in particular)."""

    def __init__(self, what: str, line: int | None = None) -> None:
        self.what = what
        self.line = line
        super().__init__(what)


def fingerprint_parts(*parts: str) -> str:
    """Return a short content hash: 16 hex digits of SHA-256; where parts end counts.

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
    """Return a value as JSON text in which the order of keys does not count.

    >>> canonical_json({"b": 1, "a": "ä"})
    '{"a":"ä","b":1}'
    """
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def read_text(path: Path) -> str:
    r"""Return a file's text: UTF-8, a byte order mark dropped, every line end as ``\n``.

    A checkout on Windows thus gives the same text, and the same fingerprint, as one elsewhere.

    Raises:
        BadFile: There is no such file, it cannot be read, it is not UTF-8, or it holds a NUL.
    """
    return decode_text(read_bytes(path))


def read_bytes(path: Path) -> bytes:
    """Return a file's bytes.

    Raises:
        BadFile: There is no such file, or it cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise BadFile("no such file") from None
    except (OSError, ValueError) as error:
        raise BadFile(f"cannot be read: {getattr(error, 'strerror', None) or error}") from None


def decode_text(raw: bytes) -> str:
    """Return the bytes of a file as `read_text` does.

    Raises:
        BadFile: They are not UTF-8, or hold a NUL.
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
    """Return what a file holds: gzip if its name ends in ``.gz``, with no time in it, so the bytes are the same each time."""
    return gzip.compress(data, mtime=0) if path.suffix == ".gz" else data


def write_atomically(path: Path, data: bytes) -> None:
    """Give a file a new content in one step: whoever is killed leaves the old file or the new one, never half of one.

    A link stays one, and what it leads to is written. The file keeps its mode; a new one has that of the umask.

    Raises:
        OSError: It cannot be written; it is left as it is.
    """
    target = Path(os.path.realpath(path))
    draft = target.with_name(f".{target.name[:60]}.{secrets.token_hex(4)}.part")
    try:
        mode = stat.S_IMODE(target.stat().st_mode)
    except FileNotFoundError:
        mode = None
    how = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    # What only some may read is not open to others for as long as it is being written.
    handle = os.open(draft, how, 0o666 if mode is None else mode & 0o666 | 0o200)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        if mode is not None:
            draft.chmod(mode)
        draft.replace(target)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def line_number_at(text: str, index: int) -> int:
    r"""Return the line, from 1, that a character stands in.

    >>> line_number_at("a\nb", 2)
    2
    """
    return text.count("\n", 0, index) + 1


def numbered_lines(text: str) -> Iterator[tuple[int, str]]:
    r"""Yield the lines that are not blank with their numbers.

    Only ``\n`` ends a line here: a U+2028 may stand unescaped within a JSON text.

    >>> list(numbered_lines("a\n\nb\n"))
    [(1, 'a'), (3, 'b')]
    """
    return ((number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip())


def read_json(text: str) -> Json:
    """Return the value of a JSON text.

    Raises:
        BadFile: It is no JSON, a key stands twice, a number is not finite, a text has no UTF-8 form, or it
            is nested too deeply.

    >>> read_json('{"a": [1, 2.5]}')
    {'a': [1, 2.5]}
    """
    try:
        value = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_refuse_duplicate_keys)
    except json.JSONDecodeError as error:
        raise BadFile(f"broken JSON: {error.msg} at column {error.colno}", error.lineno) from None
    except RecursionError:
        raise BadFile(_too_deep()) from None
    except BadFile:
        raise
    except ValueError as error:
        raise BadFile(f"broken JSON: {error}") from None
    return check_json_value(value)


def _refuse_constant(text: str) -> NoReturn:
    raise BadFile(f"{text} is no JSON: write null, or leave the key out")


def _refuse_duplicate_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    unique: dict[str, object] = {}
    for key, value in pairs:
        if key in unique:
            raise BadFile(f"the key {shorten_text(key, 60)!r} stands twice")
        unique[key] = value
    return unique


def check_json_value(value: object, depth: int = 0) -> Json:
    """Return a value if JSON can hold it.

    Raises:
        BadFile: It cannot: a date, a key that is no text, a number that is not finite, half a surrogate pair.

    >>> check_json_value([1, {"a": None}])
    [1, {'a': None}]
    """
    if depth > MAX_DEPTH:
        raise BadFile(_too_deep())
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


def _too_deep() -> str:
    return f"nested deeper than {MAX_DEPTH} levels"


def _join_surrogates(value: str) -> str:
    if value.isascii() or not any("\ud800" <= char <= "\udfff" for char in value):
        return value
    try:
        # Two escapes of one character (JSON's form, which PyYAML does not join) are made one again.
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    except UnicodeDecodeError:
        what = f"half a surrogate pair, which has no UTF-8 form, in {shorten_text(value, 60)!r}"
        raise BadFile(what) from None


def _check_number(value: float) -> float:
    if isinstance(value, int):
        if value.bit_length() > MAX_INT_BITS:
            raise BadFile(f"expected a number, got one of {value.bit_length():,} bits: write it in quotes")
        return value
    if not math.isfinite(value):
        raise BadFile(f"expected a finite number, got {value}")
    return value


def _check_key(key: object) -> str:
    if not isinstance(key, str):
        raise BadFile(f"expected a text as key, got {key!r}: write it in quotes")
    return _join_surrogates(key)


def read_yaml(text: str) -> tuple[Json, tuple[int, ...]]:
    r"""Return the value of a YAML text, and the line of each item (of each key) of its top level.

    Raises:
        BadFile: It is no YAML, a key stands twice, or it holds what JSON cannot (a date, a set).

    >>> read_yaml("a: 1\nb: [x, y]")
    ({'a': 1, 'b': ['x', 'y']}, (1, 2))
    """
    import yaml

    try:
        loader = _yaml_loader()(text)
    except yaml.YAMLError as error:  # a character that YAML does not allow
        raise BadFile(f"broken YAML: {_yaml_problem(error)}", _yaml_error_line(error, text)) from None
    try:
        return _read_yaml_node(loader, text)
    except yaml.YAMLError as error:
        raise BadFile(f"broken YAML: {_yaml_problem(error)}", _yaml_error_line(error, text)) from None
    except RecursionError:
        raise BadFile(_too_deep()) from None
    except (ValueError, LookupError, AttributeError, TypeError, ArithmeticError) as error:
        if isinstance(error, BadFile):
            raise
        # What PyYAML's constructors let through for a value that does not fit its tag (2024-99-99).
        line = None if loader.at is None else line_number_at(text, loader.at.start_mark.index)
        raise BadFile(f"broken YAML: {type(error).__name__}: {shorten_text(str(error))}", line) from None


@lru_cache(maxsize=1)
def _yaml_loader() -> Any:
    """Return PyYAML's safe loader that remembers which node it makes a value of."""
    import yaml

    class Loader(yaml.SafeLoader):
        at: yaml.Node | None = None

        def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: FBT001, FBT002 -- PyYAML's
            self.at = node
            return super().construct_object(node, deep=deep)

    return Loader


def _read_yaml_node(loader: Any, text: str) -> tuple[Json, tuple[int, ...]]:
    node = loader.get_single_node()
    if node is None:
        return None, ()
    marks = tuple(line_number_at(text, child.start_mark.index) for child in _child_nodes(node))
    _refuse_duplicate_nodes(node, text)
    return _check_items(loader.construct_document(node), marks), marks


def _child_nodes(node: yaml.Node) -> list[yaml.Node]:
    import yaml

    if isinstance(node, yaml.MappingNode):
        return [key for key, _ in node.value]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _check_items(value: object, marks: Sequence[int]) -> Json:
    """Check item by item, so that what is wrong has the line of its item."""
    if isinstance(value, list):
        return [_check_at_line(item, line, check_json_value) for item, line in zip(value, marks, strict=True)]
    if isinstance(value, dict) and len(value) == len(marks):
        pairs = zip(value.items(), marks, strict=True)
        return {
            _check_at_line(key, line, _check_key): _check_at_line(item, line, check_json_value)
            for (key, item), line in pairs
        }
    return check_json_value(value)


def _check_at_line(value: object, line: int, check: Callable[[object], T]) -> T:
    try:
        return check(value)
    except BadFile as error:
        raise BadFile(error.what, line) from None


def _refuse_duplicate_nodes(node: yaml.Node, text: str, depth: int = 0) -> None:
    """Refuse a key that stands twice in a mapping: YAML would silently take the last."""
    import yaml

    if depth > MAX_DEPTH:
        raise BadFile(_too_deep(), line_number_at(text, node.start_mark.index))
    if isinstance(node, yaml.SequenceNode):
        for child in node.value:
            _refuse_duplicate_nodes(child, text, depth + 1)
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, child in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else None
            if name is not None and name in seen:
                line = line_number_at(text, key.start_mark.index)
                raise BadFile(f"the key {shorten_text(name, 60)!r} stands twice", line)
            seen.add(name)
            _refuse_duplicate_nodes(child, text, depth + 1)


def _yaml_problem(error: yaml.YAMLError) -> str:
    what = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    return shorten_text(str(what))


def _yaml_error_line(error: yaml.YAMLError, text: str) -> int | None:
    mark = getattr(error, "problem_mark", None)
    index = getattr(error, "position", None) if mark is None else mark.index
    return None if index is None else line_number_at(text, index)


def as_mapping(value: Json) -> Mapping[str, Json]:
    """Return a value that is an object.

    Raises:
        BadFile: It is something else.

    >>> as_mapping({"a": 1})
    {'a': 1}
    """
    if not isinstance(value, Mapping):
        raise BadFile(f"expected an object with keys, got {json_kind(value)}")
    return value


def json_kind(value: object) -> str:
    """Return what a value is, in the words of JSON.

    >>> json_kind(None), json_kind(True), json_kind(1.5), json_kind("x"), json_kind([])
    ('null', 'true or false', 'a number', 'a text', 'a list')
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    names = {int: "a number", float: "a number", str: "a text", list: "a list", dict: "an object"}
    return names.get(type(value), f"a {type(value).__name__}")
