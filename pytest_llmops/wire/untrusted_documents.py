"""Files of unknown origin as plain builtins: YAML, JSON and TOML, also in gzip, within limits.

Nothing in such a file is evaluated: of YAML only texts, numbers, ``!!binary`` and their lists and mappings
are taken, other tags are refused before anything is built. Anchors may not blow a file up.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import zlib
from functools import cache
from pathlib import Path
from typing import Any

from pytest_llmops.errors import CassetteError
from pytest_llmops.measurement import shorten

MAX_BYTES = 256 * 2**20
"""Of a file, and of what its compression unfolds to."""
MAX_GROWTH = 16
"""How many times its size a YAML file may grow by its anchors."""
GZIP = zlib.MAX_WBITS | 16
"""What zlib calls gzip."""
RESTORE = "restore it from git, or record it again"

_TAGS = "tag:yaml.org,2002:"
_TAKEN = frozenset(
    {f"{_TAGS}{kind}" for kind in ("str", "int", "float", "bool", "null", "seq", "map", "binary")}
)
_INT = r"[-+]?(?:0b[0-1_]+|0[0-7_]+|0|[1-9][0-9_]*|0x[0-9a-fA-F_]+)\Z"
_FLOAT = (
    r"(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"
)
"""As YAML 1.1, without numbers to base 60: a recorder that knows YAML 1.2 writes times of day unquoted."""
_CONFLICT = re.compile(rb"^<<<<<<< .*^>>>>>>> ", re.MULTILINE | re.DOTALL)


class Unfit(ValueError):
    """What is wrong with a file or a part of it, and the next step; `load` and its callers add the place."""

    def __init__(self, what: str, step: str = RESTORE) -> None:
        super().__init__(what)
        self.what = what
        self.step = step


def refused(path: Path, unfit: Unfit) -> CassetteError:
    """Return the one refusal of a file."""
    return CassetteError(f"cassette {shorten(str(path), 300)} cannot be read: {unfit.what}; {unfit.step}")


def load(path: Path) -> Any:
    """Read a file into dicts, lists, texts, bytes, numbers, booleans and None; an empty one gives None.

    Raises:
        CassetteError: It cannot be read; says what it is instead.
    """
    try:
        return _parsed(unpacked(_bytes(path)), path)
    except Unfit as unfit:
        raise refused(path, unfit) from None
    except RecursionError:
        raise refused(path, Unfit("it is nested too deep")) from None


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise Unfit(error.strerror or str(error), "check its name and permissions") from None
    if len(data) > MAX_BYTES:
        raise Unfit(f"expected at most {MAX_BYTES // 2**20} MB, got more", "split it")
    return data


def unpacked(data: bytes) -> bytes:
    """Undo gzip, if these bytes are that.

    Raises:
        Unfit: It is damaged, or unfolds to more than `MAX_BYTES`.
    """
    if data[:2] != b"\x1f\x8b":
        return data
    try:
        return inflate(data, GZIP)
    except zlib.error as error:
        raise Unfit(f"its gzip data is damaged ({error})") from None


def inflate(data: bytes, window: int, limit: int = MAX_BYTES) -> bytes:
    """Undo gzip (also of several members) or deflate.

    Raises:
        zlib.error: It is none, it is cut, or it unfolds to more than the limit.
    """
    pieces: list[bytes] = []
    size = 0
    while data:
        unfolding = zlib.decompressobj(window)
        pieces.append(unfolding.decompress(data, limit - size + 1))
        size += len(pieces[-1])
        if size > limit:
            raise zlib.error(f"unfolds to more than {limit // 2**20} MB")
        if not unfolding.eof:
            raise zlib.error("it ends too early")
        data = unfolding.unused_data
        if data and window != GZIP:
            raise zlib.error("something follows its end")
        data = data.lstrip(b"\0")  # gzip may be padded
    return b"".join(pieces)


def _parsed(data: bytes, path: Path) -> Any:
    if _CONFLICT.search(data):
        raise Unfit("it holds merge-conflict markers", "resolve the conflict, or check out one side")
    suffixes = path.suffixes
    if ".toml" in suffixes:
        return _toml(data)
    if data.lstrip()[:1] in (b"{", b"["):
        try:
            return json.loads(data)
        except ValueError as error:
            if ".json" in suffixes:
                raise Unfit(f"it is no JSON ({shorten(str(error), 120)})") from None
    return _yaml(data)


def _toml(data: bytes) -> Any:
    import tomllib

    try:
        return tomllib.loads(data.decode("utf-8"))
    except ValueError as error:
        raise Unfit(f"it is no TOML ({shorten(str(error), 120)})") from None


def _yaml(data: bytes) -> Any:
    import yaml

    loader = None
    try:
        loader = _loader_class()(data)
        node = loader.get_single_node()
        if node is None:
            return None
        _weigh(node, len(data) * MAX_GROWTH + 2**16)
        return loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f", line {mark.line + 1}" if mark is not None else ""
        raise Unfit(f"it is no YAML ({shorten(str(error.problem or error.context), 120)}{place})") from None
    except (yaml.YAMLError, ValueError) as error:
        if isinstance(error, Unfit):
            raise
        raise Unfit(f"it is no YAML ({shorten(str(error), 120)})") from None
    finally:
        if loader is not None:
            loader.dispose()


@cache
def _loader_class() -> Any:
    import yaml

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(base):  # type: ignore[misc]  # either of two
        """The safe loader, without dates, merge keys and numbers to base 60."""

        yaml_implicit_resolvers = {  # noqa: RUF012 -- as in the base class
            first: [(tag, pattern) for tag, pattern in known if tag in (f"{_TAGS}bool", f"{_TAGS}null")]
            for first, known in base.yaml_implicit_resolvers.items()
        }

    for kind, pattern, first in (("int", _INT, "-+0123456789"), ("float", _FLOAT, "-+0123456789.")):
        Loader.add_implicit_resolver(f"{_TAGS}{kind}", re.compile(pattern), list(first))
    Loader.add_constructor(f"{_TAGS}binary", _binary)
    return Loader


def _binary(loader: Any, node: Any) -> bytes:
    text = "".join(loader.construct_scalar(node).split())
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Unfit(f"a !!binary value is no base64 ({error}, line {node.start_mark.line + 1})") from None


def _weigh(root: Any, limit: int) -> None:
    """Look through all of a document before anything is built from it."""
    known: dict[int, int] = {}

    def weight(node: Any) -> int:
        if node.tag not in _TAKEN:
            raise Unfit(
                f"it holds a value of the kind {_shown_tag(node.tag)} (line {node.start_mark.line + 1}), which is never built",
                "record it again",
            )
        if isinstance(node.value, str):
            return len(node.value) + 1
        found = known.get(id(node))
        if found is None:
            known[id(node)] = limit + 1  # a node that holds itself
            found = known[id(node)] = 1 + sum(weight(one) for one in _children(node))
        if found > limit:
            raise Unfit(f"its anchors unfold to more than {MAX_GROWTH} times its size", "record it again")
        return found

    weight(root)


def _children(node: Any) -> list[Any]:
    pairs = node.value
    if not pairs or not isinstance(pairs[0], tuple):
        return list(pairs)
    names = [key.value for key, _ in pairs if key.tag == f"{_TAGS}str"]
    if len(names) != len(pairs):
        raise Unfit(f"a key is no text (line {node.start_mark.line + 1})")
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise Unfit(f"the key {shorten(twice, 60)} is there twice (line {node.start_mark.line + 1})")
    return [one for pair in pairs for one in pair]


def _shown_tag(tag: str) -> str:
    return shorten(f"!!{tag.removeprefix(_TAGS)}" if tag.startswith(_TAGS) else tag, 80)
