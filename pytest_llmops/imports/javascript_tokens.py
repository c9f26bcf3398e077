"""Cut trivial JavaScript into tokens."""

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

from pytest_llmops.imports.code_tree import MAX_CODE_CHARS, UnknownCode

Kind: TypeAlias = Literal["name", "number", "text", "template", "pattern", "sign", "end"]
_SKIPPED = re.compile(r"(?:\s|//[^\n]*|/\*.*?\*/)+", re.DOTALL)
_NAME = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")
_NUMBER = re.compile(r"(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?")
_TEXT = re.compile(r"'(?:[^'\\\n]|\\.)*'|\"(?:[^\"\\\n]|\\.)*\"", re.DOTALL)
_TEMPLATE = re.compile(r"`(?:[^`\\]|\\.)*`", re.DOTALL)
_PATTERN = re.compile(r"/((?:[^/\\\[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])+)/([a-z]*)")
_SIGN = re.compile(r"===|!==|=>|==|!=|<=|>=|&&|\|\||\?\?|\?\.|[-+*/%()\[\]{}.,;:?<>!=]")
_ESCAPE = re.compile(r"\\(u\{[0-9a-fA-F]+\}|u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|0[0-9]|\r\n|.)", re.DOTALL)
_ESCAPED_LETTERS = {
    "n": "\n",
    "t": "\t",
    "r": "\r",
    "b": "\b",
    "f": "\f",
    "v": "\v",
    "0": "\0",
    "\n": "",
    "\r\n": "",
}


@dataclass(frozen=True, slots=True)
class Token:
    """A token: its kind and its text; of a text literal the text without quotes and escapes, of a pattern also the flags."""

    kind: Kind
    text: str
    flags: str = ""


def read_tokens(code: str) -> list[Token]:
    """Return the tokens of code; the last one is the end.

    >>> [token.text for token in read_tokens("output.length < 9 // short")]
    ['output', '.', 'length', '<', '9', '']

    Raises:
        UnknownCode: It is too long, or has a character that begins no token.
    """
    if len(code) > MAX_CODE_CHARS:
        raise UnknownCode(f"code of more than {MAX_CODE_CHARS:,} characters")
    tokens: list[Token] = []
    position = 0
    while True:
        skipped = _SKIPPED.match(code, position)
        if skipped is not None:
            position = skipped.end()
        if position >= len(code):
            tokens.append(Token("end", ""))
            return tokens
        token, position = _read_token(code, position, tokens)
        tokens.append(token)


def _read_token(code: str, position: int, before: list[Token]) -> tuple[Token, int]:
    """Return the token at a position, and where it ends."""
    name = _NAME.match(code, position)
    if name is not None:
        return Token("name", name.group()), name.end()
    number = _NUMBER.match(code, position)
    if number is not None and _NAME.match(code, number.end()) is None:
        return Token("number", number.group()), number.end()
    text = _TEXT.match(code, position)
    if text is not None:
        return Token("text", _unescape(text.group()[1:-1])), text.end()
    template = _TEMPLATE.match(code, position)
    if template is not None and "${" in template.group():
        return Token("template", template.group()), template.end()
    if template is not None:
        return Token("text", _unescape(template.group()[1:-1])), template.end()
    pattern = _PATTERN.match(code, position)
    if pattern is not None and not _ends_value(before):
        return Token("pattern", pattern.group(1), pattern.group(2)), pattern.end()
    sign = _SIGN.match(code, position)
    if sign is not None:
        return Token("sign", sign.group()), sign.end()
    raise UnknownCode(f"the character {code[position]!r}")


def _ends_value(tokens: list[Token]) -> bool:
    """Return whether a slash behind these tokens divides, instead of beginning a regular expression."""
    if not tokens:
        return False
    last = tokens[-1]
    if last.kind == "sign":
        return last.text in {")", "]", "}"}
    return last.text not in {"return", "typeof", "in"}


def _unescape(text: str) -> str:
    """Return the text of a literal, without quotes and escapes."""
    return _ESCAPE.sub(_unescape_one, text)


def _unescape_one(match: re.Match[str]) -> str:
    escape = match.group(1)
    if escape[0] in "ux" and len(escape) > 1:
        code = int(escape[1:].strip("{}"), 16)
        if code > 0x10FFFF or 0xD800 <= code < 0xE000:  # noqa: PLR2004 -- halves of a character
            raise UnknownCode("half of a character")
        return chr(code)
    if escape.isdigit() and escape != "0":
        raise UnknownCode("an octal number in a text")
    return _ESCAPED_LETTERS.get(escape, escape)
