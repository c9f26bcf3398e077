"""Find the parts of a prompt that are not plain text: inserted values, blocks of a template, comments."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from pytest_llmops.ledger.model import Span
from pytest_llmops.ledger.regions import Region

TokenKind: TypeAlias = Literal["expression", "tag", "comment", "raw"]
_OPENING = re.compile(r"\{\{|\{%|\{#")
_RAW = re.compile(r"\{%[-+]?\s*raw\s*[-+]?%\}")
_END_RAW = re.compile(r"\{%[-+]?\s*endraw\s*[-+]?%\}")
_TAG_NAME = re.compile(r"\{%[-+]?\s*(\w+)")
_INNER = re.compile(r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|[{(\[\])}%]", re.DOTALL)
_PLACEHOLDER = re.compile(r"\{\{[^{}\r\n]*\}\}|\{[A-Za-z_][\w.\[\]]*(?:![rsa])?(?::[^{}\s]*)?\}")
_COMMENT_MARKS = re.compile(r"^(?:\{#-?|<!--)|(?:-?#\}|-->)$")


@dataclass(frozen=True, slots=True)
class Token:
    """An inserted value, a tag of a template, a comment, or text in which braces mean nothing (raw): a range and its kind."""

    start: int
    end: int
    kind: TokenKind
    text: str

    @property
    def comment(self) -> str:
        """The text of a comment, in small letters; "" for other tokens."""
        if self.kind != "comment":
            return ""
        return _COMMENT_MARKS.sub("", self.text).strip().lower()


def find_tokens(region: Region) -> list[Token]:
    """Return the tokens of a text, in order and without overlap.

    >>> from pytest_llmops.ledger.regions import plain_region
    >>> [(token.kind, token.text) for token in find_tokens(plain_region("Hi {name}. <!-- keep -->", 0, 24))]
    [('expression', '{name}'), ('comment', '<!-- keep -->')]
    """
    text = region.text
    if region.syntax == "prompt":
        return list(_iter_template_tokens(text))
    tokens = [Token(start, end, "expression", text[start:end]) for start, end in region.expressions]
    if region.syntax == "text":
        for match in _PLACEHOLDER.finditer(text):
            tokens.append(Token(match.start(), match.end(), "expression", match[0]))
    tokens += _iter_html_comments(text)
    return _drop_overlaps(sorted(tokens, key=lambda token: (token.start, -token.end)))


def _iter_html_comments(text: str) -> Iterator[Token]:
    """Yield the comments of Markdown and HTML."""
    end = 0
    while True:
        start = text.find("<!--", end)
        close = text.find("-->", start)
        if start < 0 or close < 0:
            return
        end = close + len("-->")
        yield Token(start, end, "comment", text[start:end])


def _drop_overlaps(tokens: Sequence[Token]) -> list[Token]:
    """Return the tokens without those that start within an earlier one."""
    kept: list[Token] = []
    for token in tokens:
        if not kept or token.start >= kept[-1].end:
            kept.append(token)
    return kept


def _iter_template_tokens(text: str) -> Iterator[Token]:
    """Yield the tokens of a template of Jinja that is known to be valid."""
    place = 0
    while True:
        opening = _OPENING.search(text, place)
        if opening is None:
            return
        start = opening.start()
        raw = _RAW.match(text, start)
        if raw:
            tokens, place = _read_raw(text, raw)
            yield from tokens
            continue
        if opening[0] == "{#":
            end = text.find("#}", start)
            kind: TokenKind = "comment"
        elif opening[0] == "{{":
            end = _find_close(text, start + 2, "}}")
            kind = "expression"
        else:
            end = _find_close(text, start + 2, "%}")
            kind = "tag"
        if end < 0:
            return
        place = end + 2
        yield Token(start, place, kind, text[start:place])


def _read_raw(text: str, raw: re.Match[str]) -> tuple[list[Token], int]:
    """Return the tokens of a part that is not a template, and where it ends: its two tags, or one token if it is in one line."""
    closing = _END_RAW.search(text, raw.end())
    if closing is None:
        return [], len(text)
    end = closing.end()
    if "\n" not in text[raw.end() : closing.start()]:
        return [Token(raw.start(), end, "raw", text[raw.end() : closing.start()])], end
    return [
        Token(raw.start(), raw.end(), "comment", raw[0]),
        Token(closing.start(), end, "comment", closing[0]),
    ], end


def _find_close(text: str, start: int, close: str) -> int:
    """Return where an expression or tag closes, texts and brackets within it skipped; -1 if it does not."""
    depth = 0
    for match in _INNER.finditer(text, start):
        mark = match[0]
        if depth == 0 and text.startswith(close, match.start()):
            return match.start()
        if mark in "{([":
            depth += 1
        elif mark in "})]":
            depth -= 1
    return -1


def find_atoms(tokens: Sequence[Token]) -> list[Span]:
    """Return the ranges that are never split, in order and without overlap: each token, and each block from its first to its last tag.

    >>> from pytest_llmops.ledger.regions import plain_region
    >>> region = plain_region("{% if a %}B {{ c }}{% endif %} {{ d }}", 0, 38, "prompt")
    >>> find_atoms(find_tokens(region))
    [(0, 30), (31, 38)]
    """
    opened: list[tuple[str, int]] = []
    atoms: list[Span] = []
    for token in tokens:
        atoms.append((token.start, token.end))
        if token.kind != "tag":
            continue
        match = _TAG_NAME.match(token.text)
        name = ""
        if match:
            name = match[1]
        if not name.startswith("end"):
            opened.append((name, token.start))
            continue
        # Tags without an end, such as `set`, were opened after the one that ends here
        while opened:
            opened_name, start = opened.pop()
            if opened_name == name.removeprefix("end"):
                while atoms and atoms[-1][0] >= start:
                    atoms.pop()
                atoms.append((start, token.end))
                break
    return atoms
