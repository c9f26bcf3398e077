"""The section of a public name: its signature and all parts of its docstring."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from support.reference.docstrings import Docstring, read_docstring
from support.reference.markdown import convert_text, format_fence, format_list
from support.reference.signatures import format_signature

# Names of exceptions that every assertion may raise; the page explains them once
TITLES = {"Args": "Arguments", "Attributes": "Attributes", "Raises": "Errors"}


def format_section(name: str, documented: Any, links: Mapping[str, str], *, level: str = "###") -> str:
    """Return the section of a function or class, with everything that its docstring has."""
    document = read_docstring(documented)
    links = {other: target for other, target in links.items() if other != name}
    parts = [f"{level} {name}", format_fence("py", format_signature(documented))]
    parts += [convert_text(paragraph, links) for paragraph in document.paragraphs]
    parts += _format_entries(document, links)
    parts += format_example(document)
    return "\n\n".join(parts)


def format_short_section(name: str, documented: Any, links: Mapping[str, str], *, level: str = "###") -> str:
    """Return the section of a name with its signature, the first paragraph of its docstring and its example."""
    document = read_docstring(documented)
    links = {other: target for other, target in links.items() if other != name}
    parts = [f"{level} {name}", format_fence("py", format_signature(documented))]
    parts.append(convert_text(document.summary, links))
    if inspect.isclass(documented):
        entries = [(key, convert_text(text, links)) for key, text in document.entries.get("Attributes", [])]
        entries += [(key, convert_text(text, links)) for key, text in _list_members(documented)]
        parts += [format_list(entries)] if entries else []
    return "\n\n".join(parts)


def _list_members(documented: type) -> list[tuple[str, str]]:
    """Return the public methods and properties of a class of this package, each with the first paragraph of its docstring."""
    members = []
    for name, value in vars(documented).items():
        is_property = isinstance(value, property)
        function = value.__func__ if isinstance(value, (classmethod, staticmethod)) else value
        if name.startswith("_") or not (is_property or inspect.isfunction(function)):
            continue
        summary = read_docstring(value if is_property else function).summary
        if summary:
            members.append((name if is_property else f"{name}()", summary))
    return members


def _format_entries(document: Docstring, links: Mapping[str, str]) -> list[str]:
    parts = []
    for section in ("Args", "Attributes"):
        if section in document.entries:
            entries = [(name, convert_text(text, links)) for name, text in document.entries[section]]
            parts += [f"**{TITLES[section]}**", format_list(entries)]
    for section in ("Returns", "Yields"):
        if section in document.texts:
            parts.append(f"**{section}** {_start_lower(convert_text(document.texts[section], links))}")
    if "Raises" in document.entries:
        entries = [(name, convert_text(text, links)) for name, text in document.entries["Raises"]]
        parts += [f"**{TITLES['Raises']}**", format_list(entries)]
    return parts


def format_example(document: Docstring) -> list[str]:
    """Return the example of a docstring: code, or a session of Python."""
    if "Example" in document.texts:
        return [format_fence("py", document.texts["Example"])]
    if document.doctest:
        return [format_fence("pycon", document.doctest)]
    return []


def _start_lower(text: str) -> str:
    first = text.partition(" ")[0]
    return text if first.isupper() and len(first) > 1 else text[:1].lower() + text[1:]
