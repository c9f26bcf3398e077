"""Read the docstrings of public names: summary, text, arguments, result, errors and example."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, field

_SECTIONS = ("Args", "Attributes", "Returns", "Yields", "Raises", "Example")
_HEADING = re.compile(rf"^({'|'.join(_SECTIONS)})::?$")
_ENTRY = re.compile(r"^    ([\w*][\w, *]*): (.*)$")


@dataclass(slots=True)
class Docstring:
    """A docstring in Google's style.

    Attributes:
        paragraphs: The text before the first section; the first paragraph is the summary.
        entries: The names and texts of the sections ``Args``, ``Attributes`` and ``Raises``.
        texts: The sections ``Returns`` and ``Yields``, and the code of ``Example``.
        doctest: The doctest at the end.
    """

    paragraphs: list[str] = field(default_factory=list)
    entries: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    doctest: str = ""

    @property
    def summary(self) -> str:
        """The first paragraph."""
        return self.paragraphs[0] if self.paragraphs else ""


def read_docstring(documented: object) -> Docstring:
    """Return the docstring of a function, class or module; an empty one if there is none."""
    return parse_docstring(inspect.getdoc(documented) or "")


def parse_docstring(text: str) -> Docstring:
    """Return the parts of a docstring.

    >>> doc = parse_docstring("Count.\\n\\nArgs:\\n    word: What to\\n        count.\\n\\n>>> 1\\n1")
    >>> doc.summary, doc.entries, doc.doctest
    ('Count.', {'Args': [('word', 'What to count.')]}, '>>> 1\\n1')
    """
    result = Docstring()
    body, example = _split_doctest(text)
    result.doctest = example
    section = ""
    lines: dict[str, list[str]] = {}
    for line in body.splitlines():
        heading = _HEADING.match(line)
        if heading:
            section = heading[1]
        elif section and line and not line.startswith(" "):
            section = ""
            lines.setdefault("", []).append(line)
            continue
        else:
            lines.setdefault(section, []).append(line)
    result.paragraphs = _split_paragraphs(lines.pop("", []))
    for name, section_lines in lines.items():
        if name == "Example":
            result.texts[name] = inspect.cleandoc("\n" + "\n".join(section_lines))
        elif name in ("Returns", "Yields"):
            result.texts[name] = " ".join(" ".join(section_lines).split())
        else:
            result.entries[name] = _read_entries(section_lines)
    return result


def _split_doctest(text: str) -> tuple[str, str]:
    start = re.search(r"^>>> ", text, re.MULTILINE)
    if start is None:
        return text, ""
    return text[: start.start()], text[start.start() :].rstrip()


def _split_paragraphs(lines: list[str]) -> list[str]:
    """Return paragraphs as single lines; lists and literal blocks keep theirs."""
    paragraphs = []
    for block in re.split(r"\n\s*\n", "\n".join(lines).strip("\n")):
        if not block.strip():
            continue
        if block.startswith((" ", "- ", "|")):
            paragraphs.append(_join_list_items(block))
        else:
            paragraphs.append(" ".join(block.split()))
    return paragraphs


def _join_list_items(block: str) -> str:
    """Return a list with each item in one line; a literal block stays as it is."""
    if not block.startswith("- "):
        return block
    items = re.split(r"\n(?=- )", block)
    return "\n".join(" ".join(item.split()) for item in items)


def _read_entries(lines: list[str]) -> list[tuple[str, str]]:
    entries: list[tuple[str, str]] = []
    for line in lines:
        match = _ENTRY.match(line)
        if match:
            entries.append((match[1], match[2].strip()))
        elif line.strip() and entries:
            name, text = entries[-1]
            entries[-1] = (name, f"{text} {line.strip()}".strip())
        elif line.strip():
            raise ValueError(f"expected a line 'name: text' with four spaces before it, got {line!r}")
    return entries
