"""Markdown of the reference: code, links between names, tables, and fenced blocks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

_CODE = re.compile(r"``([^`]+)``|`([^`\n]+)`")


def convert_text(text: str, links: Mapping[str, str] | None = None) -> str:
    """Return text of a docstring as Markdown: a name in single backticks becomes a link where its section is known.

    >>> convert_text("``x`` as for `call` and `y`.", {"call": "api.md#call"})
    '`x` as for [`call`](api.md#call) and `y`.'
    """

    def convert(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        target = (links or {}).get(name.rpartition(".")[2].removesuffix("()"), "")
        if match[1] or not target:
            return f"`{name.rpartition('.')[2] if name.startswith('pytest_llmops.') and target else name}`"
        return f"[`{name.rpartition('.')[2]}`]({target})"

    return (
        _CODE.sub(convert, text).replace("<", "&lt;")
        if "<" in _CODE.sub("", text)
        else _CODE.sub(convert, text)
    )


def escape_cell(text: str) -> str:
    """Return text for a cell of a table."""
    return text.replace("|", "\\|").replace("\n", " ")


def format_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table."""
    lines = [f"| {' | '.join(header)} |", "|" + "---|" * len(header)]
    lines += [f"| {' | '.join(map(escape_cell, row))} |" for row in rows]
    return "\n".join(lines)


def format_list(entries: Iterable[tuple[str, str]]) -> str:
    """Return names with their texts as a list."""
    return "\n".join(f"- `{name}`: {text}" for name, text in entries)


def format_fence(language: str, code: str) -> str:
    """Return a fenced block of code."""
    return f"```{language}\n{code.rstrip()}\n```"


def start_upper(text: str) -> str:
    """Return a text with an upper-case letter at its start, unless it starts with code or with a value and a colon."""
    if text.partition(" ")[0].endswith(":"):
        return text
    return text[:1].upper() + text[1:]


def end_sentence(text: str) -> str:
    """Return a text as a sentence: with an upper-case letter at its start and a full stop at its end."""
    text = start_upper(text.strip())
    return text if not text or text.endswith((".", "!", "?", ":")) else f"{text}."
