"""The pages of the reference: text by hand, with blocks between ``<!-- begin: NAME -->`` and ``<!-- end -->`` that are generated."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from pytest_llmops._util.option_declarations import Option
from pytest_llmops.harness.markers import load_markers
from pytest_llmops.harness.markers.marker import Argument, Marker
from pytest_llmops.settings import OPTIONS
from support.reference.commands import format_commands
from support.reference.docstrings import read_docstring
from support.reference.files import format_case_keys, format_formats, format_run_keys, format_turn_keys
from support.reference.markdown import convert_text, end_sentence, format_fence, format_list, start_upper
from support.reference.names import REFERENCE, list_api, list_assertions, list_fixtures, list_hooks
from support.reference.sections import format_example, format_section, format_short_section

_BLOCK = re.compile(r"(?<=<!-- begin: )([a-z ]+)( -->\n)(?:.*?\n)??(<!-- end -->)", re.DOTALL)
_VALUE = re.compile(r"(?<=[.;]) (?=`[\w: ]+`(?: \(default\))?: )")
MIN_VALUES = 2
# The groups of the page of assertions: title, the page that shows how to use them, and their names
GROUPS = (
    ("Text", "how-to/text", "contains not_contains matches not_matches exact fuzzy"),
    ("Structure", "how-to/text", "schema"),
    ("Meaning", "explanation/meaning", "semantic"),
    ("Judges", "how-to/judges", "judge_score checklist preferred"),
    ("Is the judge right?", "how-to/calibration", "judge_agrees judge_canaries"),
    ("Retrieval", "how-to/rag", "retrieval context_relevance grounded"),
    ("Index and chunks", "how-to/chunks", "index_fresh chunks span_recall clean_text"),
    ("Guardrails", "how-to/guardrails", "no_pii no_secrets no_injection refusal no_refusal complies"),
    ("Agents", "how-to/agents", "tool_calls trajectory recovers files"),
    ("Budgets", "how-to/baseline", "cost tokens latency"),
    ("Semantic cache and confidence", "how-to/confidence", "cache confidence correction"),
    ("Any other metric", "how-to/text", "score"),
)


def _links(page: str) -> dict[str, str]:
    """Return the address of each public name, for a page of the reference."""
    targets = {name: f"api.md#{name.lower()}" for names in list_api().values() for name in names}
    targets |= {name: f"assertions.md#{name}" for name in list_assertions()}
    targets |= {name: f"hooks.md#{name}" for name in list_hooks()}
    return {name: target.removeprefix(f"{page}.md") for name, target in targets.items()}


def format_assertions() -> str:
    """Return the sections of all assertions, in groups."""
    parts = []
    links = _links("assertions")
    functions = list_assertions()
    for title, page, names in GROUPS:
        parts.append(f"## {title}")
        parts.append(f"How to use them: [{page}](../{page}.md).")
        for name in names.split():
            parts.append(format_section(f"assert_{name}", functions[f"assert_{name}"], links))
    return "\n\n".join(parts)


def format_markers() -> str:
    """Return a section for each marker."""
    return "\n\n".join(
        _format_marker(marker) for marker in sorted(load_markers(), key=lambda marker: marker.name)
    )


def _format_marker(marker: Marker) -> str:
    arguments: list[Argument] = list(marker.arguments)
    if marker.repeated is not None:
        arguments.insert(0, marker.repeated)
    document = read_docstring(type(marker))
    parts = [f"## {marker.name}", end_sentence(marker.help)]
    parts.append(format_fence("py", f"@pytest.mark.{marker.signature}"))
    parts += [convert_text(paragraph) for paragraph in document.paragraphs]
    if arguments:
        parts.append(format_list((argument.name, end_sentence(argument.help)) for argument in arguments))
    if marker.fixture:
        parts.append(f"Fixture: [`{marker.fixture}`](fixtures.md#{marker.fixture}).")
    parts += format_example(document)
    return "\n\n".join(parts)


def format_fixtures() -> str:
    """Return a section for each fixture, in alphabetical order."""
    links = _links("fixtures")
    parts = []
    for name, function in sorted(list_fixtures().items()):
        document = read_docstring(function)
        parts.append(f"## {name}")
        parts += [convert_text(paragraph, links) for paragraph in document.paragraphs]
        parts += format_example(document)
    return "\n\n".join(parts)


def format_hooks() -> str:
    """Return a section for each hook."""
    links = _links("hooks")
    parts = []
    for name, hook in list_hooks().items():
        parts.append(format_section(name, hook, links, level="##"))
    return "\n\n".join(parts)


def format_options() -> str:
    """Return a section for each option, in the groups of the settings."""
    groups: dict[str, list[Option]] = {}
    for option in OPTIONS:
        groups.setdefault(option.group, []).append(option)
    parts = []
    for group, options in groups.items():
        parts.append(f"## {start_upper(group)}")
        parts += [_format_option(option) for option in options]
    return "\n\n".join(parts)


def _format_option(option: Option) -> str:
    flag = option.flag
    if option.flag and not option.switch:
        flag += f"[={option.metavar}]" if option.bare else f" {option.metavar}"
    facts = [
        ("Flag", flag),
        ("Ini key", option.dest if option.ini else ""),
        ("Default", _format_default(option)),
    ]
    facts += [("Environment", name) for name in option.env]
    line = " · ".join(f"{title}: `{value}`" for title, value in facts if value)
    if option.repeat:
        line += " · repeatable"
    return "\n\n".join([f"### {option.flag or option.dest}", line, _format_values(option.description)])


def _format_values(text: str) -> str:
    """Return a description whose sentences on single values (```none`: replay.``) are a list."""
    start, *values = _VALUE.split(end_sentence(text))
    if len(values) < MIN_VALUES:
        return end_sentence(text)
    return "\n".join([start.strip(), "", *(f"- {value.strip()}" for value in values)])


def _format_default(option: Option) -> str:
    if option.default in ("", (), False, None):
        return ""
    if isinstance(option.default, bool):
        return str(option.default).lower()
    return str(option.default)


def format_api() -> str:
    """Return a section for each other public name, in the order of their modules."""
    links = _links("api")
    parts = []
    for module, names in list_api().items():
        if not names:
            continue
        parts.append(f"## {module}")
        parts += [format_short_section(name, value, links) for name, value in names.items()]
    return "\n\n".join(parts)


BLOCKS: dict[str, Callable[[], str]] = {
    "api": format_api,
    "assertions": format_assertions,
    "commands": format_commands,
    "fixtures": format_fixtures,
    "formats": format_formats,
    "hooks": format_hooks,
    "keys of a case": format_case_keys,
    "keys of a run": format_run_keys,
    "keys of a turn": format_turn_keys,
    "markers": format_markers,
    "options": format_options,
}


def render_page(text: str) -> str:
    """Return the text of a page with its generated blocks as they are now."""
    return _BLOCK.sub(lambda match: f"{match[1]}{match[2]}{BLOCKS[match[1]]()}\n{match[3]}", text)


def list_generated_pages() -> list[str]:
    """Return the names of the pages that have generated blocks."""
    return [
        path.stem
        for path in sorted(REFERENCE.glob("*.md"))
        if _BLOCK.search(path.read_text(encoding="utf-8"))
    ]


def list_blocks() -> list[str]:
    """Return the names of the blocks that the pages have."""
    return [
        match[1]
        for path in sorted(REFERENCE.glob("*.md"))
        for match in _BLOCK.finditer(path.read_text(encoding="utf-8"))
    ]


def page_path(name: str) -> Path:
    """Return the path of a page of the reference."""
    return REFERENCE / f"{name}.md"
