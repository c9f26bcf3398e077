"""Names of cassette files: readable, the same on all systems, and no two tests share one."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from pytest_llmops.redaction.patterns import find_shapes

MAX_NAME = 80
MAX_TEST_NAME = 120
"""Of a test inside of classes: file systems take 255 bytes, of which a journal needs some, and Windows 260 for the path."""
_UNSAFE_CHARACTERS = re.compile(r"[^a-z0-9._-]+")
_HASH_SUFFIXED = re.compile(r"(?:.*-)?[0-9a-f]{8}$")
_RESERVED_NAME = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?$")


def safe_file_name(name: str) -> str:
    """Return a file name for any text: lower case, ASCII, short; what was changed is told apart by a hash.

    Of a text that holds a key or a token, only the hash is left.

    >>> safe_file_name("late-return")
    'late-return'
    >>> safe_file_name("a/b") != safe_file_name("a:b")
    True
    """
    data = name.encode("utf-8", "surrogatepass")
    digest = hashlib.sha256(data).hexdigest()[:8]
    if any(shape.pattern.search(data) for shape in find_shapes(data)):
        return digest
    plain = _UNSAFE_CHARACTERS.sub("-", name.lower()).strip("-.")[:MAX_NAME].rstrip("-.")
    # A name that looks like one of ours gets a mark of its own: it could be meant to take another's file.
    if plain and plain == name and not _RESERVED_NAME.match(plain) and not _HASH_SUFFIXED.match(plain):
        return plain
    if _RESERVED_NAME.match(plain):
        plain = f"_{plain}"  # Windows looks at what stands before the first dot
    return f"{plain}-{digest}" if plain else digest


def shared_path(folder: Path, name: str) -> Path:
    """Return where a cassette lies that is called by a name: ``cassettes/<name>.json`` in a folder.

    >>> shared_path(Path("t"), "search/handbook").as_posix()
    't/cassettes/search/handbook.json'
    """
    parts = [safe_file_name(part) for part in name.split("/") if part]
    return folder.joinpath("cassettes", *parts[:-1], f"{parts[-1]}.json")


def cassette_path(test_file: Path, names: tuple[str, ...], case_id: str = "") -> Path:
    """Return where a test's cassette lies: ``cassettes/<module>/<test>.json``, a parametrized test in a folder.

    Args:
        test_file: The module of the test.
        names: The test's names below its module (class and function), without parameters.
        case_id: The id of its parameters.

    >>> cassette_path(Path("t/test_a.py"), ("test_x",), "late-return").as_posix()
    't/cassettes/test_a/test_x/late-return.json'
    """
    folder = test_file.parent / "cassettes" / safe_file_name(test_file.stem)
    test = _shorten_test_name(".".join(map(safe_file_name, names)))
    return folder / test / f"{safe_file_name(case_id)}.json" if case_id else folder / f"{test}.json"


def _shorten_test_name(name: str) -> str:
    if len(name) <= MAX_TEST_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name[: MAX_TEST_NAME - len(digest) - 1].rstrip('-.')}-{digest}"
