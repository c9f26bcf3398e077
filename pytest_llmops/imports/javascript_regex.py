r"""Translate regular expressions of JavaScript into Python's.

Both languages share most of their syntax and differ in its meaning: in JavaScript ``\w``, ``\d`` and ``\b`` know ASCII only
and ``\s`` all white space, ``$`` does not match before a last line break, ``[^]`` is any character, and ``\Z`` is the
letter Z. Left as it is, since a person has to read the result: ``.`` does not match ``\r``, U+2028 and U+2029 in JavaScript,
``\s`` matches U+FEFF and ``\B`` an empty text, a group that was not used is empty where it is named again, and a character
outside of the first 65,536 counts as two.
"""

import re
import sys
import warnings
from dataclasses import dataclass, field

MAX_PATTERN_CHARS = 10_000
_KNOWN_FLAGS = frozenset("dgimsu")
_WORD_CLASSES = frozenset("dDwW")
_SAME_ESCAPES = frozenset("tnvfr")
# White space of JavaScript that Python's ``\s`` lacks if it knows ASCII only
_FURTHER_SPACES = r"\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"
# The meaning of the classes where the whole expression has to know Unicode
_SPELLED_CLASSES = {"d": "0-9", "w": "A-Za-z0-9_"}
_HIGH_SURROGATES = range(0xD800, 0xDC00)
_LOW_SURROGATES = range(0xDC00, 0xE000)
_COUNT = re.compile(r"\{[0-9]+(?:,[0-9]*)?\}")
_FURTHER_CODES = re.compile(r"\\u|\\x[89a-fA-F]")  # characters outside ASCII
_LOOKBEHINDS = frozenset({"(?<=", "(?<!"})  # which cannot be repeated
_GROUP_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HEX_DIGITS = re.compile(r"[0-9a-fA-F]+")


class UntranslatableRegex(ValueError):
    """A regular expression that has no equivalent in Python, or is invalid in JavaScript: why."""


def translate(pattern: str, flags: str = "") -> str:
    r"""Return the regular expression of Python that finds the same texts as one of JavaScript.

    Args:
        pattern: The expression, without slashes around it.
        flags: Its flags: of ``i``, ``m``, ``s`` and ``u`` the meaning is kept; ``d`` and ``g`` do not change whether it matches.

    Raises:
        UntranslatableRegex: It is invalid in one of the languages, too long, or uses what Python's `re` lacks.

    >>> print(translate(r"^\d+ (?<unit>days)$"), translate("colou?r", "i"), translate("(a|b)[^]*"))
    (?a)^\d+ (?P<unit>days)\Z (?ai)colou?r (a|b)(?s:.)*
    """
    if len(pattern) > MAX_PATTERN_CHARS:
        raise UntranslatableRegex(f"the regular expression has more than {MAX_PATTERN_CHARS:,} characters")
    unknown = sorted(set(flags) - _KNOWN_FLAGS)
    if unknown:
        raise UntranslatableRegex(
            f"the flag {unknown[0]} of a regular expression has no equivalent in Python"
        )
    translation = _Translation(pattern, flags)
    text = translation.translate()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            re.compile(text)
    except re.error as problem:
        raise UntranslatableRegex(
            f"Python's re does not accept the regular expression: {problem.msg}"
        ) from None
    except (RecursionError, OverflowError, Warning):
        raise UntranslatableRegex("Python's re does not accept the regular expression") from None
    return text


def escape_text(text: str) -> str:
    r"""Return a regular expression that finds a text, with as few backslashes as possible.

    >>> print(escape_text("Order #4711 (new): $5"))
    Order #4711 \(new\): \$5
    """
    return re.sub(r"[.^$*+?{}\[\]\\|()]", r"\\\g<0>", text)


@dataclass(slots=True)
class _Translation:
    """The state of a translation: the position in the pattern, and the translated parts."""

    pattern: str
    flags: str
    position: int = 0
    written: list[str] = field(default_factory=list)
    can_repeat: bool = False
    open_groups: list[str] = field(default_factory=list)
    group_count: int = field(init=False)

    def __post_init__(self) -> None:
        self.group_count = _count_groups(self.pattern)

    def translate(self) -> str:
        """Return the whole expression, its flags in front."""
        while self.position < len(self.pattern):
            self._translate_part()
        return self._write_flags() + "".join(self.written)

    @property
    def knows_ascii_only(self) -> bool:
        """Whether the expression as a whole has Python's flag ``a``.

        With the flag ``i`` letters outside ASCII need their other case too, which ``a`` would take away.
        """
        if "i" in self.flags:
            return self.pattern.isascii() and _FURTHER_CODES.search(self.pattern) is None
        return re.search(r"\\[dDwWbB]", self.pattern) is not None

    def _write_flags(self) -> str:
        letters = [flag for flag in "ims" if flag in self.flags]
        if self.knows_ascii_only:
            letters.insert(0, "a")
        if not letters:
            return ""
        return f"(?{''.join(letters)})"

    def _write(self, text: str, *, can_repeat: bool = True) -> None:
        self.written.append(text)
        self.can_repeat = can_repeat

    def _translate_part(self) -> None:
        char = self.pattern[self.position]
        count = _COUNT.match(self.pattern, self.position)
        if char == "\\":
            self._translate_escape()
        elif char == "[":
            self._translate_class()
        elif char == "(":
            start = self.position
            self._translate_group()
            self.open_groups.append(self.pattern[start : self.position])
        elif char == ")":
            opening = self.open_groups.pop() if self.open_groups else ""
            self._take(char, char, can_repeat=opening not in _LOOKBEHINDS)
        elif char in "*+?" or count is not None:
            self._translate_repetition(char if count is None else count.group())
        elif char == "$" and "m" not in self.flags:
            self._take(char, r"\Z", can_repeat=False)
        elif char in "^$|":
            self._take(char, char, can_repeat=False)
        elif char == "{":
            self._take(char, r"\{")
        else:
            self._take(char, char)

    def _take(self, read: str, written: str, *, can_repeat: bool = True) -> None:
        """Move behind the text that was read, and write its translation."""
        self.position += len(read)
        self._write(written, can_repeat=can_repeat)

    def _translate_repetition(self, repetition: str) -> None:
        if not self.can_repeat:
            raise UntranslatableRegex(f"invalid in JavaScript: nothing to repeat before {repetition}")
        if self.pattern.startswith("?", self.position + len(repetition)):
            repetition += "?"
        self._take(repetition, repetition, can_repeat=False)

    def _translate_group(self) -> None:
        rest = self.pattern[self.position : self.position + 60]
        if not rest.startswith("(?"):
            self._take("(", "(", can_repeat=False)
            return
        for opening in ("(?:", "(?=", "(?!", "(?<=", "(?<!"):
            if rest.startswith(opening):
                self._take(opening, opening, can_repeat=False)
                return
        name = _GROUP_NAME.match(rest, 3)
        if not rest.startswith("(?<") or name is None or rest[name.end() : name.end() + 1] != ">":
            raise UntranslatableRegex(f"invalid in JavaScript: {rest[:4]} begins no group")
        self._take(rest[: name.end() + 1], f"(?P<{name.group()}>", can_repeat=False)

    def _translate_escape(self) -> None:
        letter = self.pattern[self.position + 1 : self.position + 2]
        if not letter:
            raise UntranslatableRegex("invalid in JavaScript: a backslash at the end")
        if letter in "bB":
            self._take("\\b", self._scope_ascii(f"\\{letter}"), can_repeat=False)
        elif letter in _WORD_CLASSES:
            self._take("\\d", self._scope_ascii(f"\\{letter}"))
        elif letter in "sS" and self.knows_ascii_only:
            self._take("\\s", f"(?u:\\{letter})")
        elif letter in "sS":
            self._take("\\s", f"\\{letter}")
        elif letter in "123456789":
            self._translate_reference()
        elif letter == "k" and "(?<" in self.pattern:
            self._translate_named_reference()
        else:
            self._write(self._translate_character())

    def _scope_ascii(self, escape: str) -> str:
        if self.knows_ascii_only:
            return escape
        return f"(?a:{escape})"

    def _translate_reference(self) -> None:
        digits = re.compile("[0-9]+").match(self.pattern, self.position + 1)
        number = digits.group() if digits else ""
        if int(number[:6] or "0") > self.group_count:
            raise UntranslatableRegex(f"\\{number}: the expression has no such group")
        self._take(f"\\{number}", f"(?:\\{number})")

    def _translate_named_reference(self) -> None:
        name = _GROUP_NAME.match(self.pattern, self.position + 3)
        end = self.position + 3 + len(name.group() if name else "")
        if name is None or self.pattern[self.position + 2] != "<" or self.pattern[end : end + 1] != ">":
            raise UntranslatableRegex("invalid in JavaScript: \\k without the name of a group")
        self._take(self.pattern[self.position : end + 1], f"(?P={name.group()})")

    def _translate_character(self) -> str:
        """Read an escape of one character, in a class or outside; return it as Python writes it."""
        letter = self.pattern[self.position + 1]
        if letter in "ux":
            return self._translate_code(letter)
        control = self.pattern[self.position + 2 : self.position + 3]
        if letter == "c" and control.isascii() and control.isalpha():
            self.position += 3
            return f"\\x{ord(control) % 32:02x}"
        if letter in "pP" and "u" in self.flags:
            raise UntranslatableRegex(f"\\{letter}{{...}}: Python's re has no Unicode properties")
        if letter == "c":
            raise UntranslatableRegex("\\c without a letter")
        following = self.pattern[self.position + 2 : self.position + 3]
        self.position += 2
        if letter == "0" and not following.isdigit():
            return "\\x00"
        if letter.isdigit():
            raise UntranslatableRegex(f"\\{letter}: an octal number")
        if letter in _SAME_ESCAPES:
            return f"\\{letter}"
        if letter.isalnum() or letter in "/_\"'`<>=:;,@%&!#~ ":
            return letter
        return f"\\{letter}"

    def _translate_code(self, letter: str) -> str:
        r"""Read ``\xHH``, ``\uHHHH`` or, with the flag ``u``, ``\u{...}``; without digits it is the letter."""
        size = {"x": 2, "u": 4}[letter]
        start = self.position + 2
        if letter == "u" and "u" in self.flags and self.pattern.startswith("{", start):
            digits = _HEX_DIGITS.match(self.pattern, start + 1)
            if digits is None or self.pattern[digits.end() : digits.end() + 1] != "}":
                raise UntranslatableRegex("invalid in JavaScript: \\u without the number of a character")
            self.position = digits.end() + 1
            return _write_code(int(digits.group(), 16))
        code = _read_hex(self.pattern[start : start + size], size)
        if code is None:
            self.position += 2
            return letter
        self.position = start + size
        if code in _HIGH_SURROGATES and self.pattern.startswith("\\u", self.position):
            low = _read_hex(self.pattern[self.position + 2 : self.position + 6], 4)
            if low is not None and low in _LOW_SURROGATES:
                self.position += 6
                pair = chr(code) + chr(low)
                code = ord(pair.encode("utf-16", "surrogatepass").decode("utf-16"))
        return _write_code(code)

    def _translate_class(self) -> None:
        for empty, translation in (("[^]", "(?s:.)"), ("[]", "(?!)")):
            if self.pattern.startswith(empty, self.position):
                self._take(empty, translation)
                return
        items = ["["]
        self.position += 1
        if self.pattern.startswith("^", self.position):
            items.append("^")
            self.position += 1
        was_set = (
            False  # whether the item before means several characters, so that no range can begin with it
        )
        while not self.pattern.startswith("]", self.position):
            if self.position >= len(self.pattern):
                raise UntranslatableRegex("invalid in JavaScript: a class without ]")
            item, is_set = self._translate_class_item()
            if item == "-" and (was_set or self._is_set(self.position)):
                item = r"\-"
            items.append(item)
            was_set = is_set
        self.position += 1
        self._write("".join(items) + "]")

    def _is_set(self, position: int) -> bool:
        """Return whether an escape with several characters as its meaning begins at a position."""
        return self.pattern[position : position + 1] == "\\" and self.pattern[
            position + 1 : position + 2
        ] in set("dDwWsS")

    def _translate_class_item(self) -> tuple[str, bool]:
        """Read an item of a class; return it, and whether it means several characters."""
        char = self.pattern[self.position]
        if char != "\\":
            self.position += 1
            if char in "[&~|":
                return f"\\{char}", False
            return char, False
        letter = self.pattern[self.position + 1 : self.position + 2]
        if not letter:
            raise UntranslatableRegex("invalid in JavaScript: a backslash at the end")
        if letter == "b":
            self.position += 2
            return r"\b", False
        if letter == "-":
            self.position += 2
            return r"\-", False
        if not self._is_set(self.position):
            return self._translate_character(), False
        self.position += 2
        if letter == "s" and self.knows_ascii_only:
            return r"\s" + _FURTHER_SPACES, True
        if letter in "sS" or self.knows_ascii_only:
            return f"\\{letter}", True
        if letter not in _SPELLED_CLASSES:
            raise UntranslatableRegex(f"\\{letter} in a class next to letters outside ASCII")
        return _SPELLED_CLASSES[letter], True


def _count_groups(pattern: str) -> int:
    """Return how many groups have a number."""
    count = 0
    in_class = False
    position = 0
    while position < len(pattern):
        char = pattern[position]
        if char == "\\":
            position += 1
        elif char == "[":
            in_class = True
        elif char == "]":
            in_class = False
        elif char == "(" and not in_class:
            rest = pattern[position + 1 : position + 4]
            is_named = rest.startswith("?<") and rest[2:] not in {"=", "!"}
            count += is_named or not rest.startswith("?")
        position += 1
    return count


def _read_hex(digits: str, size: int) -> int | None:
    if len(digits) != size or _HEX_DIGITS.fullmatch(digits) is None:
        return None
    return int(digits, 16)


def _write_code(code: int) -> str:
    if code > sys.maxunicode:
        raise UntranslatableRegex("invalid in JavaScript: no character has this number")
    return re.escape(chr(code)) if chr(code).isprintable() else f"\\U{code:08x}"
