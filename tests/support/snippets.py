"""Read the blocks of a page: files, Python, commands with their output, and the comments that steer them.

tests/docs/test_snippets.py runs them; CONTRIBUTING.md describes how a page is written.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,})(?P<language>[\w+-]*)(?P<attributes>[^`]*)$")
TITLE = re.compile(r'\btitle="([^"]*)"')
DIRECTIVE = re.compile(r"^ *<!-- *(model|judge|snippet|exit):\s*(.*?)\s*-->", re.DOTALL)
PROMPT = "$ "


class SnippetError(AssertionError):
    """A block of a page is wrong; the message gives page, line, what was expected and what came."""


@dataclass(frozen=True)
class Command:
    """A command of a console block, with the output that the page shows after it.

    Attributes:
        text: The command without its prompt; continued lines are joined.
        line: Its line in the page, from 1.
        output: The lines that the page shows, without empty ones.
    """

    text: str
    line: int
    output: tuple[str, ...] = ()


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        language: The word after the backquotes.
        title: The name of the file that the block holds; "": none.
        text: What is between the fences, without their indentation.
        line: The line of its first fence, from 1.
        skipped: Why it is not run; "": it is run.
        status: The exit status of its last command.
    """

    language: str
    title: str
    text: str
    line: int
    skipped: str = ""
    status: int = 0


@dataclass(frozen=True)
class Setting:
    """A comment that sets the answers of the fake server from there on.

    Attributes:
        name: ``model`` or ``judge``.
        value: What the comment gives.
        line: Its line in the page, from 1.
    """

    name: str
    value: Mapping[str, Any]
    line: int


def read_page(path: Path, name: str) -> list[Block | Setting]:
    """Return the blocks and settings of a page in their order.

    Args:
        path: The page.
        name: How errors name it.

    Raises:
        SnippetError: A fence is not closed, or a comment cannot be read.
    """
    return list(_read_lines(path.read_text(encoding="utf-8").splitlines(), name))


def _read_lines(lines: list[str], name: str) -> Iterator[Block | Setting]:
    skipped = ""
    status = 0
    number = 0
    while number < len(lines):
        fence = FENCE.match(lines[number])
        if fence is not None:
            end = _find_end(lines, number, fence["ticks"], name)
            text = textwrap.dedent("\n".join(lines[number + 1 : end]) + "\n")
            title = TITLE.search(fence["attributes"])
            yield Block(
                fence["language"], title[1] if title else "", text, number + 1, skipped=skipped, status=status
            )
            skipped = ""
            status = 0
            number = end + 1
            continue
        given = DIRECTIVE.match("\n".join(lines[number : number + 40]))
        if given is None:
            number += 1
            continue
        place = f"{name}:{number + 1}"
        if given[1] == "snippet":
            skipped = _read_reason(given[2], place)
        elif given[1] == "exit":
            status = _read_status(given[2], place)
        else:
            yield Setting(given[1], _read_answers(given[1], given[2], place), number + 1)
        number += given[0].count("\n") + 1


def _find_end(lines: list[str], start: int, ticks: str, name: str) -> int:
    """Return the index of the line that closes a fence."""
    for number in range(start + 1, len(lines)):
        if lines[number].strip() == ticks:
            return number
    raise SnippetError(f"{name}:{start + 1}: this block is not closed; expected a line with {ticks}")


def _read_reason(text: str, place: str) -> str:
    word, _, reason = text.partition(",")
    if word.strip() != "skip" or not reason.strip():
        raise SnippetError(f"{place}: expected `snippet: skip, WHY`, got {text!r}")
    return reason.strip()


def _read_status(text: str, place: str) -> int:
    if not text.isdecimal():
        raise SnippetError(f"{place}: expected `exit: NUMBER`, got {text!r}")
    return int(text)


def _read_answers(name: str, text: str, place: str) -> Mapping[str, Any]:
    """Return answers by a part of the request; ``judge: fail`` is short for ``{"*": "fail"}``."""
    if name == "judge" and text in ("pass", "fail"):
        return {"*": text}
    try:
        value = json.loads(text)
    except ValueError as error:
        raise SnippetError(
            f"{place}: expected a JSON object after `{name}:`, got {text!r} ({error})"
        ) from None
    if not isinstance(value, dict):
        raise SnippetError(f"{place}: expected a JSON object after `{name}:`, got {text!r}")
    return value


def read_commands(block: Block, name: str) -> list[Command]:
    """Return the commands of a console block, each with its output.

    Raises:
        SnippetError: Output comes before the first command.
    """
    commands: list[Command] = []
    lines = enumerate(block.text.splitlines(), start=block.line + 1)
    for number, line in lines:
        if line.startswith(PROMPT):
            text = line.removeprefix(PROMPT)
            while text.endswith("\\"):
                text = text[:-1].rstrip() + " " + next(lines)[1].removeprefix("> ").strip()
            commands.append(Command(text, number))
        elif not commands:
            raise SnippetError(f"{name}:{number}: expected a command after `$ `, got {line!r}")
        elif line.strip():
            last = commands.pop()
            commands.append(Command(last.text, last.line, (*last.output, line)))
    return commands


def find_missing_line(expected: tuple[str, ...], output: str) -> str | None:
    """Return the first expected line that the output lacks, in that order; None if it has them all.

    ``...`` in an expected line stands for any text. Runs of spaces, the length of rules and the seconds of a run are
    not compared.

    >>> find_missing_line(("== 2 passed in 0.10s ==",), "==== 2 passed in 3.21s ====")
    >>> find_missing_line(("b", "a"), "a and b")
    'b'
    """
    rest = iter([_normalize(line) for line in output.splitlines()])
    for line in expected:
        wanted = _normalize(line)
        if wanted == "...":
            continue
        pattern = re.compile(".*".join(re.escape(part) for part in wanted.split("...")))
        if not any(pattern.fullmatch(got) for got in rest):
            return line
    return None


def _normalize(line: str) -> str:
    """Make lines equal that differ in spaces, in the length of a rule or in the seconds of a run."""
    flat = " ".join(line.split())
    flat = re.sub(r"={2,}", "=", flat)
    flat = re.sub(r"_{3,}", "_", flat)
    flat = re.sub(r"-{4,}", "-", flat)
    return re.sub(r"(?<= in )\d+\.\d+s\b", "1.00s", flat)
