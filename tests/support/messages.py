"""Compare what the package says to a user with the texts stored in ``tests/golden/messages.txt``.

A test hands a message over instead of quoting it, so that each sentence stands in one place::

    with pytest.raises(UsageError, check=check_message): ...
    check_message(measurement.error)

After a change that is meant, ``LLMOPS_GOLDEN=write`` with the tests it concerns (or all of them) writes the file again:
read its difference. What a sentence is about (a name, a line, a value) is checked by the test itself, by the fields
of the error.
"""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

TESTS = Path(__file__).parents[1]
STORED = TESTS / "golden" / "messages.txt"
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
    """The messages of this session, and the test that is running."""

    test: str = ""
    number: int = 0
    basetemp: str = ""
    messages: dict[str, str] = field(default_factory=dict)


SEEN = Seen()


def writing() -> bool:
    return os.environ.get("LLMOPS_GOLDEN") == "write"


def begin_test(nodeid: str, basetemp: str) -> None:
    """Count the messages of another test from now on."""
    SEEN.test, SEEN.number, SEEN.basetemp = nodeid.removeprefix("tests/"), 0, basetemp


def check_message(message: object) -> bool:
    """Compare a message with the one that is stored for its place in the running test; True, for `pytest.raises`.

    Args:
        message: An exception, a text, or several: lines, or pairs of a place and a message.
    """
    assert SEEN.test, "no test is running"
    SEEN.number += 1
    key = SEEN.test if SEEN.number == 1 else f"{SEEN.test} #{SEEN.number}"
    text = normalize(joined(message))
    assert text.strip(), "expected a message, got an empty text"
    SEEN.messages[key] = text
    if writing():
        return True
    stored = read_messages(STORED).get(key)
    assert stored is not None, (
        f"{STORED.name} has no message of {key}: LLMOPS_GOLDEN=write stores it; got:\n{text}"
    )
    difference = difflib.unified_diff(stored.splitlines(), text.splitlines(), "stored", "now", lineterm="")
    assert text == stored, "\n".join(difference)
    return True


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


def normalize(text: str) -> str:
    """Replace what differs between machines, Python versions and runs: folders, ports, lines of code ..."""
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
    text = PACKAGE_LINE.sub(r"\1:<line>", FLOAT.sub(lambda found: str(round(float(found[0]), 4)), text))
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


_parsed: dict[Path, dict[str, str]] = {}


def read_messages(path: Path) -> dict[str, str]:
    """Return the stored messages by test."""
    if path not in _parsed:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        _parsed[path] = parse(text)
    return _parsed[path]


def parse(text: str) -> dict[str, str]:
    """Read the file: names of tests, below them the one message that all of them see, indented.

    >>> parse("test_a\\ntest_b\\n    first\\n    second\\n\\ntest_c\\n    third\\n")
    {'test_a': 'first\\nsecond', 'test_b': 'first\\nsecond', 'test_c': 'third'}
    """
    found: dict[str, str] = {}
    for block in re.split(r"\n\n(?=\S)", text.rstrip("\n")):
        lines = [line for line in block.split("\n") if not line.startswith("# ")]
        names = [line for line in lines if line and not line.startswith(INDENT)]
        message = "\n".join(line.removeprefix(INDENT) for line in lines if line.startswith(INDENT))
        found.update(dict.fromkeys(names, message))
    return found


def as_text(messages: Mapping[str, str]) -> str:
    """Return the file's text: each message once, below all the tests that see it."""
    tests: dict[str, list[str]] = {}
    for name in sorted(messages):
        tests.setdefault(messages[name], []).append(name)
    head = "# What the package says to a user, and the tests that see it. Generated: LLMOPS_GOLDEN=write make test"
    blocks = [
        "\n".join([*names, *(INDENT + line for line in message.split("\n"))])
        for message, names in tests.items()
    ]
    return "\n\n".join([head, *blocks]) + "\n"


def store(
    seen: Mapping[str, str],
    passed: Iterable[str],
    collected: Iterable[str] = (),
    path: Path | None = None,
) -> None:
    """Write the messages of a session; those of tests that did not pass stay, those of tests that are gone go.

    Args:
        seen: The messages of the session.
        passed: The ids of the tests that passed; one that was skipped has messages on another machine.
        collected: The ids of all tests of whole files.
        path: The file; None: the one that tests compare with.
    """
    path = path or STORED
    passed, collected = ({name.removeprefix("tests/") for name in names} for names in (passed, collected))
    functions = {name.partition("[")[0] for name in collected}

    def is_kept(key: str) -> bool:
        test = re.sub(r" #\d+$", "", key)
        renamed = test.partition("[")[0] in functions and test not in collected
        return test not in passed and not renamed and (TESTS / test.partition("::")[0]).is_file()

    kept = {key: message for key, message in read_messages(path).items() if is_kept(key)}
    path.write_text(as_text({**kept, **seen}), encoding="utf-8", newline="\n")
    _parsed.pop(path, None)
