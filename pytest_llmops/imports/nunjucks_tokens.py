"""Tokens of a Nunjucks template: its parts, and the words and signs within ``{{ }}`` and ``{% %}``."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

PartKind: TypeAlias = Literal["data", "comment", "output", "block", "raw"]
TokenKind: TypeAlias = Literal["text", "number", "name", "sign"]

MAX_PARTS = 20_000  # of a template
MAX_TOKENS = 2_000  # of an output or a block
_START = re.compile(r"\{[{%#]-?|#\}")
_ENDS = {"{{": "}}", "{%": "%}"}
_SPACES = " \n\t\r\xa0"
_SIGNS = r"()\[\]{}%*+~/#,:|.<>=!\-"
_TOKEN = re.compile(
    rf"(?P<end>-?(?:%\}}|\}}\}}))|(?P<pattern>r/)|(?P<sign>[=!]==|[=!<>]=|//|\*\*|[{_SIGNS}])|(?P<word>[^{_SPACES}{_SIGNS}]+)"
)
_NOT_BLANK = re.compile(f"[^{_SPACES}]")
_NUMBER = re.compile(r"[0-9]+")
_RAW_TAG = re.compile(r"\{%\s*(raw|endraw|verbatim|endverbatim)\s*%\}")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


class Untranslatable(Exception):
    """A template that Jinja2 cannot have in the same meaning: what of it, and in which of its lines."""

    def __init__(self, what: str, line: int = 1) -> None:
        self.what = what
        self.line = line
        super().__init__(f"line {line}: {what}")


@dataclass(frozen=True, slots=True)
class Token:
    """A word or sign of an expression.

    Attributes:
        kind: The kind of token.
        value: Its characters; of a text its meaning, without quotes and escapes.
        line: Its line in the template, from 1.
    """

    kind: TokenKind
    value: str
    line: int


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a template.

    Attributes:
        kind: The kind of part; ``raw``: a text in which nothing has a meaning.
        text: Data as it is, the text within ``raw``, or a whole comment; else "".
        line: Its first line, from 1.
        tokens: The tokens of an output or a block.
        before: "-" if it drops the blanks before it.
        after: "-" if it drops the blanks after it.
    """

    kind: PartKind
    text: str
    line: int
    tokens: tuple[Token, ...] = ()
    before: str = ""
    after: str = ""


def split_parts(text: str) -> Iterator[Part]:
    """Yield the parts of a template, in its order.

    Raises:
        Untranslatable: A part has no end, or a regular expression, or there are too many parts.

    >>> [part.kind for part in split_parts("Hi {{ name }}{# later #}!")]
    ['data', 'output', 'comment', 'data']
    """
    index = 0
    line = 1
    count = 0
    while index < len(text):
        part, end = _read_part(text, index, line)
        count += 1
        if count > MAX_PARTS:
            raise Untranslatable(f"more than {MAX_PARTS:,} parts in one template", line)
        yield part
        line += text.count("\n", index, end)
        index = end


def _read_part(text: str, index: int, line: int) -> tuple[Part, int]:
    """Return the part that begins at a character, and the index of its end."""
    start = _START.search(text, index)
    if start is None:
        return Part("data", text[index:], line), len(text)
    if start.start() > index:
        return Part("data", text[index : start.start()], line), start.start()
    mark = start.group()
    if mark == "#}":
        raise Untranslatable("#} without a {#", line)
    if mark.startswith("{#"):
        end = text.find("#}", index + 2)
        if end < 0:
            raise Untranslatable("{# without its #}", line)
        return Part("comment", text[index : end + 2], line), end + 2
    raw = _RAW_TAG.match(text, index)
    if raw is not None and not raw[1].startswith("end"):
        return _read_raw(text, raw, line)
    return _read_code(text, mark, start.end(), line)


def _read_raw(text: str, opening: re.Match[str], line: int) -> tuple[Part, int]:
    """Return the text between ``{% raw %}`` and its end, and the index behind it; such blocks may be nested."""
    name = opening[1]
    depth = 1
    for tag in _RAW_TAG.finditer(text, opening.end()):
        if tag[1] == name:
            depth += 1
        if tag[1] == f"end{name}":
            depth -= 1
        if not depth:
            return Part("raw", text[opening.end() : tag.start()], line), tag.end()
    raise Untranslatable(f"{{% {name} %}} without its {{% end{name} %}}", line)


def _read_code(text: str, mark: str, index: int, line: int) -> tuple[Part, int]:
    """Return the output or block whose tokens begin at a character, and the index of its end."""
    first_line = line
    tokens: list[Token] = []
    while len(tokens) <= MAX_TOKENS:
        found = _NOT_BLANK.search(text, index)
        if found is None:
            raise Untranslatable(f"{mark} without its {_ENDS[mark[:2]]}", first_line)
        line += text.count("\n", index, found.start())
        index = found.start()
        if text[index] in "\"'":
            value, end = _read_quoted(text, index, line)
            tokens.append(Token("text", value, line))
            line += text.count("\n", index, end)
            index = end
            continue
        match = _TOKEN.match(text, index)
        if match is None:  # never: a character is a blank, a sign or of a word
            raise Untranslatable(f"the character {text[index]!r}", line)
        index = match.end()
        if match["end"]:
            return _make_code(mark, match["end"], tokens, first_line), index
        if match["pattern"]:
            raise Untranslatable("a regular expression", line)
        tokens.append(_make_token(match, line))
    raise Untranslatable(f"more than {MAX_TOKENS:,} words and signs between {mark} and its end", first_line)


def _make_code(mark: str, end: str, tokens: list[Token], line: int) -> Part:
    """Return the output or block between two marks."""
    if end[-2:] != _ENDS[mark[:2]]:
        raise Untranslatable(f"{mark} ends with {end}", line)
    kind: PartKind = "block"
    if mark.startswith("{{"):
        kind = "output"
    return Part(kind, "", line, tuple(tokens), mark[2:], end[:-2])


def _make_token(match: re.Match[str], line: int) -> Token:
    """Return the token of a sign or a word."""
    if match["sign"]:
        return Token("sign", match["sign"], line)
    word = match["word"]
    if _NUMBER.fullmatch(word):
        return Token("number", word, line)
    return Token("name", word, line)


def _read_quoted(text: str, index: int, line: int) -> tuple[str, int]:
    """Return the value of the text in quotes that begins at a character, and the index behind it."""
    quote = text[index]
    characters = []
    index += 1
    while index < len(text) and text[index] != quote:
        character = text[index]
        if character == "\\":
            index += 1
            escaped = text[index : index + 1]
            character = _ESCAPES.get(escaped, escaped)
        characters.append(character)
        index += 1
    if index >= len(text):
        raise Untranslatable(f"{quote} without a second one", line)
    return "".join(characters), index + 1
