"""Find the descriptions in JSON and YAML: of tools and their parameters, and of a skill in its front matter."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pytest_llmops._util.lazy_module import LazyModule
from pytest_llmops._util.text_files import BadFile, read_json, read_yaml
from pytest_llmops.ledger.regions import Region, escaped_region, plain_region
from pytest_llmops.measurement import Json

if TYPE_CHECKING:
    import yaml
else:
    yaml = LazyModule("yaml")

KEY = "description"
_JSON_TOKEN = re.compile(r"\"((?:[^\"\\]|\\.)*)\"|[:,{}\[\]]")
_JSON_ESCAPE = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\.")
_YAML_ESCAPE = re.compile(
    r"\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|(?:\r\n|\r|\n)[ \t]*|[^\r\n])"
)
_YAML_QUOTE = re.compile("''")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", "/": "/", "\\": "\\", '"': '"', "0": "\0"}
_BLOCK_HEADER = re.compile(r"[|>][^\r\n]*(?:\r\n|\r|\n)")


def find_json_descriptions(source: str) -> list[Region]:
    r"""Return each text with the key ``description``, at any depth.

    Args:
        source: The text of the file, without a byte order mark.

    Raises:
        BadFile: It is not JSON.

    >>> [region.text for region in find_json_descriptions('{"description": "Be brief.\\nBe kind."}')]
    ['Be brief.\nBe kind.']
    """
    read_json(source)
    regions = []
    before = ""
    key = ""
    for token in _JSON_TOKEN.finditer(source):
        if token[0] == ":":
            key = before
        elif before == ":" and key == f'"{KEY}"' and token[1] is not None:
            part = (token.start(1), token.end(1), _JSON_ESCAPE, _decode_escape)
            regions.append(escaped_region(source, [part], "instructions"))
        before = token[0]
    return regions


def find_yaml_descriptions(
    source: str, offset: int = 0, end: int | None = None, *, deep: bool = True
) -> list[Region]:
    """Return each text with the key ``description``.

    Args:
        source: The text of the file.
        offset: Where the YAML starts.
        end: Where it ends; None: at the end of the file.
        deep: At any depth; False: only at the top.

    Raises:
        BadFile: It is not YAML.
    """
    text = source[offset:end]
    read_yaml(text)
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    regions = []
    seen: set[int] = set()
    for node in _iter_descriptions(root, seen, deep=deep):
        regions.append(
            _read_scalar(source, offset + node.start_mark.index, offset + node.end_mark.index, node)
        )
    return sorted(regions, key=lambda region: region.starts[0] if region.text else 0)


def _iter_descriptions(
    node: "yaml.Node | None", seen: set[int], *, deep: bool
) -> "Iterator[yaml.ScalarNode]":
    """Yield the nodes of descriptions that are texts; of one that is named by aliases, too, once."""
    if node is None or id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for child in node.value:
            yield from _iter_descriptions(child, seen, deep=deep)
    if not isinstance(node, yaml.MappingNode):
        return
    for key, child in node.value:
        is_text = isinstance(child, yaml.ScalarNode) and child.tag.endswith(":str")
        if is_text and key.value == KEY and id(child) not in seen:
            seen.add(id(child))
            yield child
        elif deep:
            yield from _iter_descriptions(child, seen, deep=deep)


def _read_scalar(source: str, start: int, end: int, node: "yaml.ScalarNode") -> Region:
    """Return the text of a YAML text between two places of the file."""
    if node.style in ("|", ">"):
        header = _BLOCK_HEADER.match(source, start)
        if header:
            start = header.end()
        text = source[start:end]
        stripped = text.rstrip()
        line_end = re.compile(r"[ \t]*(?:\r\n|\r|\n)?").match(source, start + len(stripped))
        if line_end:
            end = min(end, line_end.end())
        return plain_region(source, start, max(start, end), "instructions")
    if node.style == '"':
        part = (start + 1, end - 1, _YAML_ESCAPE, _decode_escape)
        return escaped_region(source, [part], "instructions")
    if node.style == "'":
        part = (start + 1, end - 1, _YAML_QUOTE, _decode_quote)
        return escaped_region(source, [part], "instructions")
    return plain_region(source, start, end, "instructions")


def _decode_quote(escape: str) -> str:
    """Return what two single quotes mean."""
    return escape[:1]


def _decode_escape(escape: str) -> str:
    """Return the meaning of an escape of JSON or YAML; an unknown one stays as it is."""
    rest = escape[1:]
    if rest in _ESCAPES:
        return _ESCAPES[rest]
    if rest[0] in "\r\n":
        return ""
    if len(escape) > len("\\u0000") and rest[0] == "u":
        high = int(escape[2:6], 16) - 0xD800
        low = int(escape[8:12], 16) - 0xDC00
        return chr(0x10000 + high * 0x400 + low)
    if rest[0] in "xuU" and len(rest) > 1:
        return chr(int(rest[1:], 16))
    return escape


def blank_descriptions(value: Json) -> Json:
    """Return a value in which each description is empty, to compare all else.

    >>> blank_descriptions({"name": "f", "description": "Be brief."})
    {'name': 'f', 'description': ''}
    """
    if isinstance(value, dict):
        return {
            key: "" if key == KEY and isinstance(item, str) else blank_descriptions(item)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [blank_descriptions(item) for item in value]
    return value


def check_descriptions(text: str, original: str, *, is_json: bool) -> None:
    """Check that a file is the same as another but for its descriptions.

    Raises:
        BadFile: It cannot be read, a description is not a text any more, or something else changed.
    """
    if is_json:
        value, expected = read_json(text), read_json(original)
    else:
        value, expected = read_yaml(text)[0], read_yaml(original)[0]
    if blank_descriptions(value) != blank_descriptions(expected):
        raise BadFile("more than descriptions would change")
