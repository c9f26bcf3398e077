"""Load files of unknown origin (YAML and JSON, also gzipped) as plain builtins, within limits.

Nothing in such a file is evaluated: YAML may hold texts, numbers, ``!!binary`` (in Ruby ``!binary``), and lists and mappings of these; any
other tag is refused, and so are anchors that multiply the size of a file, before anything is built.
"""

import base64
import json
import re
import zlib
from functools import cache
from pathlib import Path
from typing import Any

from pytest_llmops._util import text_files
from pytest_llmops.errors import CassetteError
from pytest_llmops.measurement import shorten_text

MAX_BYTES = 256 * 2**20  # limit of a file, compressed and decompressed
MAX_GROWTH = 16  # times its size that a YAML file may grow by anchors
# Bytes that are decompressed at once: gzip may have a thousand members in a kilobyte, and each gets a copy of the rest
PIECE_BYTES = 4096
GZIP = zlib.MAX_WBITS | 16  # the ``wbits`` of gzip in `zlib`
GZIP_MAGIC = b"\x1f\x8b"
# The first PyYAML whose loader in C raises for a file that is nested too deep; before, the process crashes
SAFE_C_LOADER = (6, 0, 4)
RESTORE_STEP = "replace it by an undamaged copy, or record it again"

_TAG_PREFIX = "tag:yaml.org,2002:"
_KINDS = ("str", "int", "float", "bool", "null", "seq", "map", "binary")
_TAGS = tuple(_TAG_PREFIX + kind for kind in _KINDS)
_INT = r"[-+]?(?:0b[0-1_]+|0[0-7_]+|0|[1-9][0-9_]*|0x[0-9a-fA-F_]+)\Z"
# Numbers of YAML 1.1 except base 60: a recorder that writes YAML 1.2 leaves times of day unquoted
_FLOAT = (
    r"(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"
)
_CONFLICT_MARKERS = re.compile(rb"^<<<<<<< .*^>>>>>>> ", re.MULTILINE | re.DOTALL)


class DocumentError(ValueError):
    """An error in a document, with the next step for the user. `load_document` and its callers add the file."""

    def __init__(self, what: str, step: str = RESTORE_STEP) -> None:
        super().__init__(what)
        self.what = what
        self.step = step


class TooLargeError(Exception):
    """Compressed data that unfold to more than a limit, in bytes."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"unfolds to more than {limit // 2**20} MB")


def as_cassette_error(path: Path, error: DocumentError) -> CassetteError:
    """Turn an error in a document into the error about its file."""
    file = shorten_text(str(path), 300)
    return CassetteError(f"cassette {file} cannot be read: {error.what}; {error.step}")


def load_document(path: Path) -> Any:
    """Return the content of a file as dicts, lists, texts, bytes, numbers, booleans and None; None for an empty file.

    Raises:
        CassetteError: It cannot be read; the message gives the reason.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        return _parse_document(decompress_gzip(_check_size(data)), path)
    except OSError as error:
        problem = DocumentError(error.strerror or str(error), "check its name and permissions")
        raise as_cassette_error(path, problem) from None
    except DocumentError as error:
        raise as_cassette_error(path, error) from None
    except RecursionError:
        raise as_cassette_error(path, DocumentError("it is nested too deep")) from None


def _check_size(data: bytes) -> bytes:
    """Return data as it is if it is not too large.

    Raises:
        DocumentError: It is larger than `MAX_BYTES`.
    """
    if len(data) > MAX_BYTES:
        raise DocumentError(f"expected at most {MAX_BYTES // 2**20} MB, got more", "split it")
    return data


def decompress_gzip(data: bytes) -> bytes:
    """Return gzipped data decompressed, and any other data as it is.

    Raises:
        DocumentError: It is damaged, or larger than `MAX_BYTES`.
    """
    if not data.startswith(GZIP_MAGIC):
        return data
    try:
        return inflate(data, GZIP, MAX_BYTES)
    except zlib.error as error:
        raise DocumentError(f"its gzip data is damaged ({error})") from None
    except TooLargeError as error:
        raise DocumentError(f"its gzip data {error}", "split it") from None


def inflate(data: bytes, window: int, limit: int, *, lenient: bool = False) -> bytes:
    """Decompress gzip (which may have several members) or deflate.

    Args:
        data: The compressed data.
        window: The ``wbits`` of `zlib`.
        limit: The number of bytes that they may unfold to.
        lenient: Whether their end may be missing, and other bytes may follow it, which are left out.

    Raises:
        zlib.error: It is damaged or cut off.
        TooLargeError: It unfolds to more than the limit.
    """
    output: list[bytes] = []
    size = 0
    decompressor = zlib.decompressobj(window)
    for start in range(0, len(data), PIECE_BYTES):
        piece = data[start : start + PIECE_BYTES]
        end = start + len(piece)
        while piece:
            if decompressor.eof:
                if window == GZIP:
                    piece = piece.lstrip(b"\0")  # gzip may be padded
                if not piece:
                    break
                is_member = window == GZIP and data.startswith(GZIP_MAGIC, end - len(piece))
                if lenient and not is_member:
                    return b"".join(output)
                if not is_member:
                    raise zlib.error("something follows its end")
                decompressor = zlib.decompressobj(window)
            output.append(decompressor.decompress(piece, limit - size + 1))
            size += len(output[-1])
            if size > limit:
                raise TooLargeError(limit)
            piece = decompressor.unused_data
    is_enough = lenient and size > 0
    if data and not decompressor.eof and not is_enough:
        raise zlib.error("it ends too early")
    return b"".join(output)


def _parse_document(data: bytes, path: Path) -> Any:
    """Return the content of a file as JSON or YAML. A file that looks like JSON but is not is tried as YAML.

    Raises:
        DocumentError: It is neither, or holds merge-conflict markers.
    """
    if _CONFLICT_MARKERS.search(data):
        raise DocumentError("it holds merge-conflict markers", "resolve the conflict, or check out one side")
    if data.lstrip()[:1] in (b"{", b"["):
        try:
            return json.loads(data)
        except ValueError as error:
            if ".json" in path.suffixes:
                raise DocumentError(f"it is not JSON ({shorten_text(str(error), 120)})") from None
    import yaml

    try:
        return _parse_yaml(data)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = shorten_text(str(error.problem or error.context), 120)
        if mark is not None:
            what += f", line {mark.line + 1}"
    except text_files.BadFile as error:
        what = error.what
        if error.line is not None:
            what += f", line {error.line}"
    except (yaml.YAMLError, ValueError) as error:
        what = shorten_text(str(error), 120)
    raise DocumentError(f"it is not valid YAML ({what})")


def _parse_yaml(data: bytes) -> Any:
    """Return the content of a YAML file. Its size and its keys are checked before anything is built.

    Raises:
        text_files.BadFile: It unfolds to too much, or a key is invalid.
        yaml.YAMLError, ValueError: It is not valid.
    """
    loader = _loader_class()(data)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        max_characters = len(data) * MAX_GROWTH + 2**16
        if text_files.count_characters(node, {}) > max_characters:
            raise text_files.BadFile(f"its anchors unfold to more than {MAX_GROWTH} times its size")
        text_files.check_keys(node, data.decode("utf-8", "replace"))
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _construct_binary(loader: Any, node: Any) -> bytes:
    # PyYAML's own constructor drops characters that are not base64, and does not report them.
    lines = loader.construct_scalar(node).split()
    return base64.b64decode("".join(lines), validate=True)


@cache
def _loader_class() -> Any:
    """Return PyYAML's safe loader, restricted to the types of this module; made once, as PyYAML is imported late."""
    import yaml

    base: Any = yaml.SafeLoader
    version = tuple(int(number) for number in re.findall(r"\d+", yaml.__version__)[:3])
    if version >= SAFE_C_LOADER:
        base = getattr(yaml, "CSafeLoader", base)
    kept_tags = (f"{_TAG_PREFIX}bool", f"{_TAG_PREFIX}null")
    resolvers = {}
    for first_char, known in base.yaml_implicit_resolvers.items():
        resolvers[first_char] = [(tag, pattern) for tag, pattern in known if tag in kept_tags]
    constructors = {tag: base.yaml_constructors[tag] for tag in (None, *_TAGS)}
    constructors[f"{_TAG_PREFIX}binary"] = _construct_binary
    constructors["!binary"] = _construct_binary  # as Ruby writes it

    class Loader(base):  # type: ignore[misc]  # either of two
        # The safe loader, without dates, sets, merge keys and numbers to base 60.
        yaml_implicit_resolvers = resolvers
        yaml_constructors = constructors

        def flatten_mapping(self, node: Any) -> None:
            """Leave merge keys with a tag (``!!merge <<``) as they are: no key can have that kind."""

    for kind, pattern, first in (("int", _INT, "-+0123456789"), ("float", _FLOAT, "-+0123456789.")):
        Loader.add_implicit_resolver(f"{_TAG_PREFIX}{kind}", re.compile(pattern), list(first))
    return Loader
