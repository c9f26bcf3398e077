"""The lines for coding agents that ``llmops init`` keeps in a project's AGENTS.md."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pytest_llmops._util.text_files import BadFile, decode_text, read_bytes, write_atomically

NAME = "AGENTS.md"
# The marks stay the same from version to version: they are how the lines of an older one are found.
BEGIN = "<!-- begin pytest-llmops -->"
END = "<!-- end pytest-llmops -->"
# They name a command, not a folder: where the package is installed differs from one machine to the next.
LINES = (
    BEGIN,
    "## Tests of model answers (pytest-llmops; `llmops init` updates these lines)",
    "- Before you write or change such a test, run `llmops docs`: it names the skill and the pages of the installed version. Read the skill first.",
    "- `pytest` replays recordings. Recording (`--llm-record=new`) calls a model and costs money: ask first. `llmops docs LLM-MISS` explains a code.",
    "- Never change a threshold, accept a baseline, or delete, skip or edit a case or recording to get green: report the red run instead.",
    END,
)


@dataclass(frozen=True, slots=True)
class Update:
    """What became of an AGENTS.md.

    Attributes:
        path: The file.
        status: ``left alone``: it could not be updated, and ``why`` has the reason.
    """

    path: Path
    status: Literal["written", "unchanged", "left alone"]
    why: str = ""


def update_agents_file(path: Path) -> Update:
    """Add the lines to an AGENTS.md, or replace lines of another version; everything else in the file keeps its bytes.

    A link stays a link. A file that cannot be read or written as UTF-8 text is not changed.
    """
    try:
        data = read_bytes(path)
        decode_text(data)
        text = replace_lines(data.decode("utf-8"))
    except BadFile as error:
        return Update(path, "left alone", str(error))
    new_data = text.encode("utf-8")
    if new_data == data:
        return Update(path, "unchanged")
    # A file that is read-only could be replaced, which its owner does not want.
    if not os.access(path, os.W_OK):
        return Update(path, "left alone", "it is read-only")
    try:
        write_atomically(path, new_data)
    except OSError as error:
        return Update(path, "left alone", f"cannot be written: {error.strerror or error}")
    return Update(path, "written")


def replace_lines(text: str) -> str:
    r"""Return a text with our lines: in the place of those between our marks, else at its end.

    Raises:
        BadFile: One of the marks is missing, occurs several times, or the end comes first; or a line ends with only a carriage return.

    >>> replace_lines("# Mine").startswith("# Mine\n\n<!-- begin pytest-llmops -->\n")
    True
    >>> replace_lines(replace_lines("# Mine")) == replace_lines("# Mine")
    True
    """
    if "\r" in text.replace("\r\n", ""):
        raise BadFile("a carriage return without a line feed; save the file with ordinary line ends")
    line_end = "\n"
    if "\r\n" in text:
        line_end = "\r\n"
    own_lines = line_end.join(LINES)
    begins = text.count(BEGIN)
    ends = text.count(END)
    if not begins and not ends:
        return _end_paragraph(text, line_end) + own_lines + line_end
    begin = text.find(BEGIN)
    end = text.find(END)
    if begins != 1 or ends != 1 or end < begin:
        raise BadFile(f"expected one line {BEGIN!r} and below it one line {END!r}; remove the rest of them")
    return text[:begin] + own_lines + text[end + len(END) :]


def _end_paragraph(text: str, line_end: str) -> str:
    """Return a text that ends with an empty line; an empty text as it is."""
    if not text.strip("\ufeff"):
        return text
    if not text.endswith("\n"):
        text += line_end
    if not text.endswith(line_end * 2):
        text += line_end
    return text
