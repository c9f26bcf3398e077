"""Names of cassette files: readable, valid on all systems, and unique per test."""

import hashlib
import os
import re
from pathlib import Path

from pytest_llmops.redaction.patterns import find_shapes

CASSETTE_FOLDER = "cassettes"
MAX_NAME = 80
# Maximum length of a test's name with its classes: a file name has at most 255 bytes, of which the journal needs some,
# and a Windows path 260
MAX_TEST_NAME = 120
_UNSAFE_CHARACTERS = re.compile(r"[^a-z0-9._-]+")
_HASH_SUFFIXED = re.compile(r"(?:.*-)?[0-9a-f]{8}$")
# Names of test classes that are used for their folder as they are; other names go through `safe_file_name`
_CLASS_NAME = re.compile(r"Test[A-Z][A-Za-z0-9]{,75}|[A-Z][A-Za-z0-9]{,70}Test(?:s|Case)?")
_RESERVED_NAME = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?$")


def safe_file_name(name: str) -> str:
    """Return a short, lower-case ASCII file name for any text, with a hash if the text was changed.

    A text that contains a key or a token becomes a hash only.

    >>> safe_file_name("late-return")
    'late-return'
    >>> safe_file_name("a/b") != safe_file_name("a:b")
    True
    """
    data = name.encode("utf-8", "surrogatepass")
    digest = hashlib.sha256(data).hexdigest()[:8]
    if any(shape.pattern.search(data) for shape in find_shapes(data)):
        return digest
    plain = _UNSAFE_CHARACTERS.sub("-", name.lower()).strip("-.")
    plain = plain[:MAX_NAME].rstrip("-.")
    is_reserved = _RESERVED_NAME.match(plain) is not None
    # A name that already ends like a hash could be equal to the file name of another test, so it gets a hash too.
    is_ambiguous = _HASH_SUFFIXED.match(plain) is not None
    if plain and plain == name and not is_reserved and not is_ambiguous:
        return plain
    if is_reserved:
        plain = f"_{plain}"  # Windows reserves the part before the first dot
    if plain:
        return f"{plain}-{digest}"
    return digest


def shared_path(folder: Path, name: str) -> Path:
    """Return the path of a named cassette: ``cassettes/<name>.json`` in a folder. The name is more than slashes.

    >>> shared_path(Path("t"), "search/handbook").as_posix()
    't/cassettes/search/handbook.json'
    """
    parts = [safe_file_name(part) for part in name.split("/") if part]
    return folder.joinpath(CASSETTE_FOLDER, *parts[:-1], f"{parts[-1]}.json")


def cassette_path(test_file: Path, names: tuple[str, ...], case_id: str = "") -> Path:
    """Return the path of a test's cassette: ``cassettes/<module>/<Class>/<test>.json``, or ``<test>/<case>.json``.

    Args:
        test_file: The module of the test.
        names: The test's names below its module (class and function), without parameters.
        case_id: The id of the test's parameters.

    >>> cassette_path(Path("t/test_a.py"), ("test_x",), "late-return").as_posix()
    't/cassettes/test_a/test_x/late-return.json'
    """
    folder = test_file.parent / CASSETTE_FOLDER / safe_file_name(test_file.stem)
    test = test_name(names)
    if case_id:
        return folder / test / f"{safe_file_name(case_id)}.json"
    return folder / f"{test}.json"


def test_name(names: tuple[str, ...]) -> str:
    """Return the path of a test below the folder of its module, without parameters and suffix: ``Class/test``.

    Two classes whose names differ in case only share a folder on a file system that ignores case.

    Args:
        names: The test's names below its module, at least the name of its function.

    >>> test_name(("TestRefunds", "test_x"))
    'TestRefunds/test_x'
    """
    *classes, function = names
    parts = []
    for name in classes:
        if _CLASS_NAME.fullmatch(name):
            parts.append(name)
        else:
            parts.append(safe_file_name(name))
    path = "/".join([*parts, safe_file_name(function)])
    if len(path) <= MAX_TEST_NAME:
        return path
    digest = hashlib.sha256(path.encode()).hexdigest()[:8]
    return f"{path[: MAX_TEST_NAME - len(digest) - 1].rstrip('-./')}-{digest}"


def display_path(path: Path) -> str:
    """Return a path relative to the working directory, if possible."""
    try:
        return os.path.relpath(path).replace("\\", "/")
    except (ValueError, OSError):
        return str(path)
