"""Write prompt files and judge files: a front matter that YAML reads as it was meant, and the body below it."""

import json
import re
from collections.abc import Mapping, Sequence

from pytest_llmops.imports.suite import SuitePrompt
from pytest_llmops.measurement import Json
from pytest_llmops.prompts.prompt_file import FENCE, HEADINGS, split_sections

_PLAIN_KEY = re.compile("[A-Za-z][A-Za-z0-9_]*")
# A plain text: words that YAML reads as nothing else, but for those below
_PLAIN_TEXT = re.compile("[A-Za-z][A-Za-z0-9_]*(?: [A-Za-z0-9_]+)*")
_OTHER_VALUES = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})


def format_yaml(value: Json) -> str:
    r"""Return a value as YAML in one line, quoted wherever YAML would read another value.

    >>> print(format_yaml({"temperature": 0, "stop": ["no", "a: b"], "top_p": 1e-07}))
    {temperature: 0, stop: ["no", "a: b"], top_p: 1.0e-07}
    """
    if isinstance(value, str):
        return _format_yaml_text(value)
    if isinstance(value, Mapping):
        pairs = [f"{_format_yaml_key(key)}: {format_yaml(child)}" for key, child in value.items()]
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, Sequence):
        items = [format_yaml(child) for child in value]
        return f"[{', '.join(items)}]"
    text = json.dumps(value)
    if isinstance(value, float) and "e" in text and "." not in text:
        return text.replace("e", ".0e")  # without a point YAML reads a text
    return text


def _format_yaml_key(key: str) -> str:
    if _PLAIN_KEY.fullmatch(key) and key.lower() not in _OTHER_VALUES:
        return key
    return _quote(key)


def _format_yaml_text(text: str) -> str:
    if _PLAIN_TEXT.fullmatch(text) and text.lower() not in _OTHER_VALUES:
        return text
    return _quote(text)


def _quote(text: str) -> str:
    """Return a text in double quotes, with the escapes that JSON and YAML share; characters that cannot be printed are escaped as in YAML."""
    quoted = json.dumps(text, ensure_ascii=False)
    if quoted.isprintable():
        return quoted
    return "".join(char if char.isprintable() else _escape(char) for char in quoted)


def _escape(char: str) -> str:
    """Return the escape of a character. A pair of surrogates, as JSON has it, would be two characters in YAML."""
    code = ord(char)
    if len(char.encode("utf-16-le")) > 2:  # noqa: PLR2004 -- bytes
        return f"\\U{code:08x}"
    return f"\\u{code:04x}"


def format_markdown(front: Mapping[str, Json], body: str) -> str:
    r"""Return a file of a front matter and a body.

    >>> format_markdown({"kind": "rubric"}, "Is it kind?\n")
    '---\nkind: rubric\n---\nIs it kind?\n'
    """
    lines = [f"{_format_yaml_key(key)}: {format_yaml(value)}" for key, value in front.items()]
    return "\n".join([FENCE, *lines, FENCE, body])


def format_prompt(prompt: SuitePrompt, params: Mapping[str, Json]) -> str:
    """Return a prompt as a version of ours.

    Args:
        prompt: The prompt.
        params: Parameters of all prompts; parameters of the prompt take precedence.
    """
    front: dict[str, Json] = {}
    if prompt.label:
        front["description"] = " ".join(prompt.label.split())
    if prompt.variables:
        front["variables"] = list(prompt.variables)
    merged = {**params, **prompt.params}
    if merged:
        front["params"] = merged
    body = _format_body(prompt.sections)
    if front or body.split("\n")[0].rstrip() == FENCE:
        return format_markdown(front, body)
    return body


def describe_changes(prompt: SuitePrompt) -> str:
    """Return how the file of a prompt differs from its text, besides white space at the ends of a section; "": it does not."""
    body = _format_body(prompt.sections).replace("\r\n", "\n").replace("\r", "\n")
    written = [(section.role, section.text.strip()) for section in split_sections(body)]
    if written == [(role, text.strip()) for role, text in prompt.sections]:
        return ""
    return "a line that would begin a section, such as `user:`, is indented by a blank, and a carriage return is a line end"


def _format_body(sections: Sequence[tuple[str, str]]) -> str:
    """Return the sections with their headings; a single one of the user has none."""
    texts = [_indent_headings(text) for _, text in sections]
    if [role for role, _ in sections] == ["user"]:
        return f"{texts[0]}\n"
    parts = [f"{role}:\n{text}\n" for (role, _), text in zip(sections, texts, strict=True)]
    return "\n".join(parts)


def _indent_headings(text: str) -> str:
    """Return a text in which no line begins a section."""
    lines = text.split("\n")
    return "\n".join(f" {line}" if line.rstrip() in HEADINGS else line for line in lines)
