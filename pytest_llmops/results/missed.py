"""Requests without a recording: which misses are equal, and the commands that record all of them."""

import posixpath
import re
import shlex
from collections.abc import Iterable

MAX_TESTS = 3  # that a command names; of more it names their files
MAX_FILES = 5  # that a command names; of more it names the folder above them
RECORD_NEW = "--llm-record=new"
_COMMAND = re.compile(r"^ +record +(pytest .+)$", re.MULTILINE)
_OWN_LINE = re.compile(r"^  (?:cassette|nearest|record|moved|choose) .*$", re.MULTILINE)
_NO_NEIGHBOUR = "  nearest   none"


def describe_kind(message: str) -> str:
    r"""Return what the messages of equal misses share: the address, the model and what differs from the recording.

    >>> describe_kind("no recording\n  cassette  a.json\n    + new\n  record    pytest a") == describe_kind(
    ...     "no recording\n  cassette  b.json\n    + new\n  record    pytest b")
    True
    """
    return _OWN_LINE.sub("", message) + (_NO_NEIGHBOUR if _NO_NEIGHBOUR in message else "")


def merge_record_commands(messages: Iterable[str]) -> list[str]:
    r"""Return the commands that record what the messages of misses miss, one for each set of options.

    >>> merge_record_commands(["no recording\n  record    pytest 'a.py::t[1]' --llm-record=new"] * 2)
    ["pytest 'a.py::t[1]' --llm-record=new"]
    >>> merge_record_commands(f"no\n  record  pytest tests/a.py::t{n} --llm-record=new" for n in range(4))
    ['pytest tests/a.py --llm-record=new']
    """
    tests: dict[tuple[str, ...], dict[str, None]] = {}
    for command in (match[1] for message in messages for match in _COMMAND.finditer(message)):
        try:
            words = shlex.split(command)[1:]
        except ValueError:  # truncated: it was too long for a message
            continue
        options = tuple(word for word in words if word.startswith("--"))
        tests.setdefault(options, {}).update(dict.fromkeys(word for word in words if word not in options))
    commands = []
    for options, names in tests.items():
        places = list(names)
        # There, `new` records only what is missing; another mode would record the other tests again.
        if len(places) > MAX_TESTS and RECORD_NEW in options:
            places = list(dict.fromkeys(name.partition("::")[0] for name in names))
        if len(places) > MAX_FILES and RECORD_NEW in options:
            places = [posixpath.commonpath(places) or "."]
        commands.append(shlex.join(["pytest", *places, *options]))
    return commands
