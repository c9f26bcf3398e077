"""Compare what the package says to a user with the texts stored in ``tests/golden/messages``.

A test hands a message over instead of quoting it, so that each sentence is written down once::

    with pytest.raises(UsageError, check=check_message): ...
    check_message(measurement.error)

Each test file has a file of its own there (``unit/test_a.py``: ``unit/test_a.txt``). It holds each message with the number of
tests that see it, and no name of a test. A message that is not stored fails its test. When all tests of a file have run, the
numbers are compared too (`differences`). After a change that is meant, ``LLMOPS_GOLDEN=write`` with the test files it concerns
writes their messages again: read the difference. What a sentence is about (a name, a line, a value) is checked by the test
itself, by the fields of the error.
"""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from support.message_rules import find_fault

TESTS = Path(__file__).parents[1]
STORED = TESTS / "golden" / "messages"
INDENT = "    "
SCRATCH = re.compile(
    r"(?:/[^\s'\"]*?)?/(?:pytest-of-[^/\s]+/pytest-\d+(?:/popen-gw\d+)?/[^/\s'\",:;)\]]+|pytest-llmops-test-\w+)"
)
PORT = re.compile(r"(127\.0\.0\.1|localhost|\[::1\]):\d{5}\b")
LOCK = re.compile(r"[^\s'\"]*/pytest-llmops-locks-\d+(?:/[0-9a-f]+\.lock)?")
JOURNAL = re.compile(r"\.[0-9a-f]+-\d+-[0-9a-f]{8}\.journal")
TEMPORARY = re.compile(r"\.[0-9a-f]{8}\.tmp\b")
ADDRESS = re.compile(r"\b0x[0-9a-f]{6,}\b")
FROM_HERE = re.compile(r"(?:\.\./)*\.\.<tmp>")
USAGE = re.compile(r"(?m)^usage: .*\n(?: .*\n)*")
"""What argparse prints before an error: its lines are as long as the terminal is wide."""
FLOAT = re.compile(r"\b\d+\.\d{7,}\b")
"""The last digits differ between processors."""
PACKAGE_LINE = re.compile(
    rf"\b({'|'.join(sorted({re.escape(path.name) for path in (TESTS.parent / 'pytest_llmops').rglob('*.py')}))}):\d+"
)
OF_PYTHON = (
    (
        re.compile(
            r"(?:maximum recursion depth exceeded|Stack overflow \(used \d+ kB\))(?: (?:while|in|during) [\w ]*\w)?"
        ),
        "<recursion>",
    ),
    (re.compile(r"(Can't instantiate abstract class \w+) with[^;(\n]*"), r"\1 "),
    (re.compile(r"\(choose from [^)\n]*\)"), "<choices>"),
    (re.compile(r"(unexpected keyword argument '\w+')\. Did you mean '\w+'\?"), r"\1"),
    (re.compile(r"(month must be in 1\.\.12), not \d+"), r"\1"),
)
"""What Python says in other words from one version to the next."""


@dataclass
class Seen:
    """The test that is running, and the messages that it has seen so far."""

    test: str = ""
    basetemp: str = ""
    texts: set[str] = field(default_factory=set)


SEEN = Seen()


def writing() -> bool:
    return os.environ.get("LLMOPS_GOLDEN") == "write"


def other_packages() -> bool:
    """Whether the packages have other versions than the pins: what a message quotes of them may differ, so texts are not compared."""
    return os.environ.get("LLMOPS_GOLDEN") == "any"


def begin_test(nodeid: str, basetemp: str) -> None:
    """Count the messages of another test from now on."""
    SEEN.test = nodeid
    SEEN.basetemp = basetemp
    SEEN.texts.clear()


def check_message(message: object, *, long: str = "") -> bool:
    """Look a message up among the stored ones; True, for `pytest.raises`.

    Args:
        message: An exception, a text, or several: lines, or pairs of a place and a message.
        long: Why it may have more than 600 characters.
    """
    assert SEEN.test, "no test is running"
    text = normalize(joined(message))
    assert text.strip(), "expected a message, got an empty text"
    if not other_packages():
        refuse_faults(message, long=long)
    SEEN.texts.add(text)
    if writing() or other_packages():
        return True
    path = stored_path(file_of(SEEN.test))
    stored = read_messages(path)
    if text not in stored:
        raise AssertionError(describe_unknown(text, stored, path))
    return True


def refuse_faults(message: object, *, long: str = "") -> None:
    """Fail the test if a message, or one of several, holds what no user should read."""
    for part in message if isinstance(message, list) else [message]:
        text = normalize(joined(part), rounded=False)
        fault = find_fault(text, long=long)
        if fault:
            raise AssertionError(f"the message is refused: {fault}:\n{text}")


def file_of(nodeid: str) -> str:
    """Return the file of a test.

    >>> file_of("tests/unit/test_a.py::test_b[x::y]")
    'tests/unit/test_a.py'
    """
    return nodeid.partition("::")[0]


def stored_path(file: str) -> Path:
    """Return where the messages of a test file are stored."""
    return STORED / Path(file).relative_to(TESTS.name).with_suffix(".txt")


def describe_unknown(text: str, stored: Iterable[str], path: Path) -> str:
    """Return what a message that is not stored differs in from the most similar stored one."""
    name = path.relative_to(STORED.parent)
    advice = f"{name} does not have this message: LLMOPS_GOLDEN=write stores it"
    similar = difflib.get_close_matches(text, stored, n=1)
    if not similar:
        return f"{advice}; got:\n{text}"
    lines = difflib.unified_diff(similar[0].splitlines(), text.splitlines(), "stored", "now", lineterm="")
    return "\n".join([advice, *lines])


def joined(message: object) -> str:
    """Return a message as one text.

    >>> joined([("a.json", "is empty"), "last line"])
    'a.json | is empty\\nlast line'
    """
    if isinstance(message, BaseException | str):
        return str(message)
    assert isinstance(message, list | tuple), f"expected an exception or texts, got {type(message)}"
    separator = "\n" if isinstance(message, list) else " | "
    return separator.join(joined(part) for part in message)


def normalize(text: str, *, rounded: bool = True) -> str:
    """Replace what differs between machines, Python versions and runs: folders, ports, lines of code ...

    Args:
        text: What the package said.
        rounded: Whether to round numbers with more than six decimals.
    """
    for pattern in _patterns_of_basetemp():
        text = re.sub(pattern + r"/[^/\s'\",:;)\]]+", "<tmp>", text)
    text = TEMPORARY.sub(".<id>.tmp", JOURNAL.sub(".<id>.journal", LOCK.sub("<lock>", text)))
    text = (
        FROM_HERE.sub("<tmp>", SCRATCH.sub("<tmp>", text))
        .replace(sys.prefix, "<python>")
        .replace(str(TESTS.parent), "<checkout>")
    )
    text = ADDRESS.sub("<address>", PORT.sub(r"\1:<port>", text))
    name = SEEN.test.partition("::")[0].rpartition("/")[2]
    if name:
        text = re.sub(rf"{re.escape(name)}:\d+", f"{name}:<line>", text)
    text = PACKAGE_LINE.sub(r"\1:<line>", text)
    if rounded:
        text = FLOAT.sub(lambda match: str(round(float(match[0]), 4)), text)
    for wording, instead in OF_PYTHON:
        text = wording.sub(instead, text)
    text = USAGE.sub("", text).rstrip("\n")
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def _patterns_of_basetemp() -> list[str]:
    """Patterns of the folder of temporary files: absolute, and relative to a working folder outside it."""
    if not SEEN.basetemp:
        return []
    absolute, relative = re.escape(SEEN.basetemp), os.path.relpath(SEEN.basetemp)
    return [absolute, r"(?<![\w/.-])" + re.escape(relative)] if relative.strip("./") else [absolute]


_parsed: dict[Path, dict[str, int]] = {}


def read_messages(path: Path) -> dict[str, int]:
    """Return the stored messages, and how many tests see each."""
    if path not in _parsed:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        _parsed[path] = parse(text)
    return _parsed[path]


def parse(text: str) -> dict[str, int]:
    """Read the file: a number of tests, below it the message that they see, indented.

    >>> parse("2 tests\\n    first\\n    second\\n\\n1 test\\n    third\\n")
    {'first\\nsecond': 2, 'third': 1}
    """
    counts = {}
    for block in re.split(r"\n\n(?=\S)", text.rstrip("\n")):
        head, *lines = block.split("\n")
        if lines:
            message = "\n".join(line.removeprefix(INDENT) for line in lines)
            counts[message] = int(head.split()[0])
    return counts


def as_text(counts: Mapping[str, int]) -> str:
    """Return the text of a file of messages."""
    blocks = [
        "# The messages that the tests of one file see, and how many tests see each. Written by LLMOPS_GOLDEN=write pytest FILE"
    ]
    for message in sorted(counts):
        noun = "test" if counts[message] == 1 else "tests"
        lines = [f"{counts[message]} {noun}", *(INDENT + line for line in message.split("\n"))]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def count_by_file(seen: Mapping[str, Iterable[str]]) -> dict[str, dict[str, int]]:
    """Return how many tests of each file saw each message.

    >>> count_by_file({"gone": ["tests/a.py::test_a", "tests/a.py::test_b", "tests/b.py::test_a"]})
    {'tests/a.py': {'gone': 2}, 'tests/b.py': {'gone': 1}}
    """
    counts: dict[str, dict[str, int]] = {}
    for message, tests in seen.items():
        for file, count in Counter(map(file_of, tests)).items():
            counts.setdefault(file, {})[message] = count
    return counts


def store(seen: Mapping[str, Iterable[str]], whole: Iterable[str]) -> None:
    """Write the messages of a session.

    Args:
        seen: The tests of the session by their message.
        whole: The test files all of whose tests ran: what they no longer see goes. Of other files, messages are added only.
    """
    counts = count_by_file(seen)
    whole = set(whole)
    for file in sorted({*counts, *whole}):
        path = stored_path(file)
        now = counts.get(file, {})
        if file not in whole:
            stored = read_messages(path)
            now = stored | {message: max(count, stored.get(message, 0)) for message, count in now.items()}
        _write(path, now)


def _write(path: Path, counts: Mapping[str, int]) -> None:
    _parsed.pop(path, None)
    if not counts:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(as_text(counts), encoding="utf-8", newline="\n")


def differences(seen: Mapping[str, Iterable[str]], whole: Iterable[str]) -> list[str]:
    """Return a line for each stored message that another number of tests saw, of the files all of whose tests ran."""
    counts = count_by_file(seen)
    lines = []
    for file in whole:
        now = counts.get(file, {})
        for message, count in read_messages(stored_path(file)).items():
            if now.get(message, 0) != count:
                lines.append(f"{file}: {count} -> {now.get(message, 0)}: {message.splitlines()[0][:120]}")
    return lines
