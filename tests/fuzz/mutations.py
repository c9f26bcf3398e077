"""Real files, damaged at random: the bytes, the words, the values, and the compression. The same random numbers give the same file."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from functools import lru_cache
from random import Random
from typing import Any

import yaml

GZIP_MAGIC = b"\x1f\x8b"
# A number, a text, a bracket or another sign of JSON, YAML, TOML, CSV or Markdown
TOKEN = re.compile(rb'"(?:[^"\\\n]|\\.)*"|[\w.+-]+|[^\s\w]')
MAX_PARTS = 5_000
MARK = "value that is replaced in the text"
# How a value may be written; not each of them is valid in each format
WRITTEN = (
    "null", "true", "false", "0", "-1", "1.5", '""', "''", "[]", "{}", "[[]]", "[null]", '{"a": null}', '"x"', '["x", 1]', "nan", "inf",
    "NaN", "Infinity", "-Infinity", "1e999", "-0.0", "1e-400", "9" * 40, "9" * 400, "9" * 5_000, "-" + "9" * 5_000, "0x10", "010", "1_000",
    "12:30", "2024-99-99", "2024-01-01", "yes", "~", '"\\ud800"', '"\\udc00\\ud800"', '"\\u0000"', '"\\u202e"', '"\\u2028"', "\u2028",
    '"\ufeff"', "\ufeff", "*a", "&a [*a]", "!!python/object:os.system {}", "!!binary x", "!!set {a}", "!!omap [a]", "!!int x",
    "!!timestamp x", "<<: x", "---", "...", "\t", "[" * 5_000, "{" * 300, '{"a":' * 5_000, "[" * 900 + "]" * 900, "[" * 150 + "]" * 150,
    '"' + "x" * 70_000 + '"', "${HOME}", "{{ x }}", "{% if x %}", "{{" * 60, "%", "#", "'", '"', "\\", "\\x", "../../etc/passwd", "/",
    "file:///etc/passwd", "$ref", '{"$ref": "#"}', '{"$ref": "#/$defs/a"}', '{"$lines": 1}', '{"$blob": "x"}', "(a+)+$", "(?P<a", "[[a]]",
    "a = 1", "\u0661", "\u00b2", "\u2460",
)  # fmt: skip
# Bytes that are no words, or end them
RAW = (
    b"\x00", b"\xff", b"\xfe\xff", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xc3", b"\r", b"\r\n", b"\n\n\n", b"\x1a", b"\x85", b"\xe2\x80\xa8",
    b"<<<<<<< ours\n", b"\n=======\n", b"\n>>>>>>> theirs\n", b"---\n", b",", b";", b"\t",
)  # fmt: skip
# What only a parser of values can make: a value of another type in the place of a whole list or object
OTHER_VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 1.5, 10**30, "", "x", [], {}, [[]], [None], {"": None}, {"a": {"b": [1]}}, ["x", 1], "\x00", "9" * 5_000,
)  # fmt: skip


def damage(random: Random, content: bytes) -> bytes:
    """Return a file with one to three damages; a compressed file is damaged within, or as it is."""
    if content.startswith(GZIP_MAGIC):
        return _damage_gzip(random, content)
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        content = random.choice(_DAMAGES)(random, content)
    return content


def _damage_gzip(random: Random, content: bytes) -> bytes:
    kind = random.randrange(40)
    if kind == 0:
        return _bomb()
    if kind < 10:
        return _damage_bytes(random, content)
    inside = damage(random, gzip.decompress(content))
    return gzip.compress(inside, compresslevel=1, mtime=0)


@lru_cache(maxsize=1)
def _bomb() -> bytes:
    """Return a megabyte that unfolds to a gigabyte."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    zeros = b" " * 2**24
    return b"".join([*(compressor.compress(zeros) for _ in range(64)), compressor.flush()])


def _damage_bytes(random: Random, content: bytes) -> bytes:
    """Return a file with other, fewer or more bytes in a place."""
    start = random.randint(0, len(content))
    end = min(len(content), start + random.choice((0, 1, 1, 2, 8, 100, 10_000)))
    part = content[start:end]
    others = (
        b"",
        bytes(random.randrange(256) for _ in part),
        bytes(byte ^ 1 << random.randrange(8) for byte in part),
        part * 2,
        random.choice(RAW),
    )
    return content[:start] + random.choice(others) + content[end:]


def _cut(random: Random, content: bytes) -> bytes:
    return content[: random.randint(0, len(content))]


def _replace_token(random: Random, content: bytes) -> bytes:
    """Return a text with something else written in the place of a word, a number or a sign, or next to it."""
    tokens = list(TOKEN.finditer(content))
    if not tokens:
        return random.choice(WRITTEN).encode()
    token = random.choice(tokens)
    new = random.choice((random.choice(WRITTEN).encode(), random.choice(RAW), random.choice(tokens)[0]))
    start, end = token.span()
    if random.random() < 0.2:
        start = end
    return content[:start] + new + content[end:]


def _move_lines(random: Random, content: bytes) -> bytes:
    """Return a text with a line twice, without it, or with all line ends of another kind."""
    lines = content.split(b"\n")
    place = random.randrange(len(lines))
    kind = random.randrange(4)
    if kind == 0:
        lines.insert(random.randrange(len(lines) + 1), lines[place])
    elif kind == 1:
        del lines[place]
    elif kind == 2:
        lines[place] = b" " * random.randrange(9) + lines[place].lstrip()
    else:
        return random.choice((b"\r\n", b"\r", b"\n\n", b"\xe2\x80\xa8")).join(lines)
    return b"\n".join(lines)


def _replace_value(random: Random, content: bytes) -> bytes:
    """Return a document of JSON or YAML, or a line of it, or a front matter, with another value, or without one."""
    before, document, after = _choose_document(random, content)
    written = random.choice(WRITTEN)
    try:
        value = _change_value(random, _parse(document))
        text = json.dumps(
            value, ensure_ascii=random.random() < 0.5, indent=random.choice((None, 1)), default=str
        )
    except Exception:  # noqa: BLE001 -- it is damaged already, or nests too deeply, or has keys that JSON does not have
        return _replace_token(random, content)
    text = text.replace(f'"{MARK}"', written)
    return before + text.encode("utf-8", "surrogatepass") + after


def _parse(document: bytes) -> Any:
    try:
        return json.loads(document)
    except ValueError:
        return yaml.safe_load(document)


def _choose_document(random: Random, content: bytes) -> tuple[bytes, bytes, bytes]:
    """Return what is before a document, the document, and what is after it."""
    if content.startswith(b"---\n"):
        front, fence, rest = content[4:].partition(b"\n---\n")
        return b"---\n", front, fence + rest
    lines = content.split(b"\n")
    is_json_lines = len(lines) > 1 and lines[0].startswith(b"{") and lines[0].endswith(b"}")
    if not is_json_lines:
        return b"", content, b""
    place = random.randrange(len(lines))
    before = b"".join(line + b"\n" for line in lines[:place])
    after = b"".join(b"\n" + line for line in lines[place + 1 :])
    return before, lines[place], after


def _change_value(random: Random, value: Any) -> Any:
    """Return a value in which a part is another one, is missing, has another name, or is there twice."""
    parts = list(_list_parts(value))
    if not parts:
        return random.choice((MARK, random.choice(OTHER_VALUES)))
    parent, key = random.choice(parts)
    kind = random.randrange(6)
    if kind <= 1:
        parent[key] = MARK
    elif kind <= 3:
        parent[key] = random.choice(OTHER_VALUES)
    elif kind == 4:
        del parent[key]
    elif isinstance(parent, list):
        parent.insert(random.randrange(len(parent) + 1), parent[key])
    else:
        parent[random.choice(("", "x", "9" * 5_000, f"{key} ", "\ud800"))] = parent[key]
    return value


def _list_parts(value: Any) -> list[tuple[Any, Any]]:
    """Return the places of a value, as its list or object and the key in it; not all if it is large, or contains itself."""
    parts: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting and len(parts) < MAX_PARTS:
        parent = waiting.pop()
        keys: list[Any] = []
        if isinstance(parent, dict):
            keys = list(parent)
        elif isinstance(parent, list):
            keys = list(range(len(parent)))
        for key in keys:
            parts.append((parent, key))
            waiting.append(parent[key])
    return parts


_DAMAGES = (_damage_bytes, _cut, _replace_token, _replace_token, _move_lines, _replace_value, _replace_value, _replace_value)  # fmt: skip
