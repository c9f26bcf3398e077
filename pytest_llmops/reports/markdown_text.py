"""Foreign text in Markdown: in code spans, where Markdown, HTML, links, mentions and references to issues have no effect."""

import re
from collections.abc import Iterable

from pytest_llmops.reports.differences import cut_at_word, join_lines
from pytest_llmops.reports.text import quote_line

MAX_PROSE = 600  # characters of a sentence
# A plain word or number. Whatever else a sentence has is put into a code span
_PLAIN = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*|[-+−]?\d[\d,]*(?:\.\d+)?|[→≥≤%–]")
_PAIRS = {"(": ")", '"': '"'}
_END = re.compile(r"(?:\.\.\.|[.,;:])\Z")  # one sign; several of them ("::") are foreign
_COMMIT = re.compile(r"[0-9a-f]{7,40}", re.IGNORECASE)  # GitHub links the ids of commits
_MAX_WORD = 40


def quote_code(text: str, limit: int = 300) -> str:
    r"""Return foreign text as a code span on one line, in which Markdown and commands of a CI runner have no effect.

    >>> quote_code("@all [a](b) `x`"), quote_code("two\nlines")
    ('`` @all [a](b) `x` ``', '`two\\nlines`')
    """
    # Renderers give up on very long runs of backticks, and would then interpret the text as Markdown.
    text = re.sub("`{9,}", "`(...)`", quote_line(text, limit)) or " "
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    pad = ""
    if text.startswith("`") or text.endswith("`"):
        pad = " "
    return f"{fence}{pad}{text}{pad}{fence}"


def quote_cell(text: str, limit: int = 200) -> str:
    r"""Return foreign text as a code span in a cell of a table, on one line, cut at the end of a word.

    >>> quote_cell("a | b\nc"), quote_cell(" ")
    ('`a \\| b c`', '(empty)')
    """
    words = cut_at_word(join_lines(text), limit)
    if not words:
        return "(empty)"
    return quote_code(words, limit).replace("|", "\\|")


def quote_sentence(text: str, names: Iterable[str] = (), *, heading: bool = False) -> str:
    """Return a sentence of a report with the names in it in code spans, and everything else that is not a plain word or number.

    A sentence may hold foreign text that is not marked as such (the id of a case, the name of a file), so that only words and
    numbers are outside of code spans.

    Args:
        text: The sentence.
        names: Names that the sentence may have, for instance of metrics, also with blanks.
        heading: Write it for a heading: lower case, a comma in the place of a colon, no full stop.

    >>> quote_sentence("The suite got worse by 20.0 points (text.contains)", heading=True)
    'the suite got worse by 20.0 points (`text.contains`)'
    >>> quote_sentence("Not decided: see #12", heading=True), quote_sentence("Fix shop/policy.py:12, then run again:")
    ('not decided, see `#12`', 'Fix `shop/policy.py:12`, then run again:')
    >>> quote_sentence("The answer of shop::... (+9 chars) was cut...")
    'The answer of `shop::`... (+9 chars) was cut...'
    """
    text = join_lines(quote_line(text, MAX_PROSE))
    if heading:
        text = _replace_colons(text)
    known = sorted({join_lines(quote_line(name)) for name in names} - {""}, key=len, reverse=True)
    pieces = [text]
    if known:
        pieces = re.split(f"(?<!\\w)({'|'.join(map(re.escape, known))})(?!\\w)", text)
    sentence = ""
    for number, piece in enumerate(pieces):
        if number % 2:  # `re.split` returns the names at the odd places
            part = quote_code(piece)
        else:
            part = _quote_words(piece)
        if sentence.endswith("`") and part.startswith("`"):
            sentence += " "  # the fences of two code spans would become one
        sentence += part
    # A number with a full stop would begin a list
    sentence = re.sub(r"\A(\d{1,9})(?=[.)])", r"`\1`", sentence.strip())
    if not heading:
        return sentence
    if not sentence[1:2].isupper():
        sentence = sentence[:1].lower() + sentence[1:]
    return sentence.rstrip(".,")


def _replace_colons(text: str) -> str:
    """Return a text with a comma in the place of each colon before a blank, unless it is in brackets."""
    parts = []
    depth = 0
    for part in re.split(r"(: |[()])", text):
        if part == "(":
            depth += 1
        elif part == ")":
            depth = max(depth - 1, 0)
        is_outside = part == ": " and not depth
        parts.append(", " if is_outside else part)
    return "".join(parts)


def _quote_words(text: str) -> str:
    """Return words with a code span around each that is not a plain word; blanks at the ends stay."""
    quoted = []
    for word in re.split(r"(\s+)", text):
        if not word or word.isspace():
            quoted.append(word)
            continue
        quoted.append(_quote_word(word))
    return "".join(quoted)


def _quote_word(text: str) -> str:
    """Return a word with the signs around it; in a code span, without them, if it is not a plain word."""
    word = _END.sub("", text)
    end = text[len(word) :]
    start = word[:1] if word[:1] in _PAIRS else ""
    word = word.removeprefix(start)
    if start and word.endswith(_PAIRS[start]):
        word = word.removesuffix(_PAIRS[start])
        end = f"{_PAIRS[start]}{end}"
    elif word.endswith(tuple(_PAIRS.values())) and (
        word[:-1] == "" or _PLAIN.fullmatch(word[:-1]) or word.count(")") > word.count("(")
    ):
        # It ends what began some words before
        end = f"{word[-1]}{end}"
        word = word[:-1]
    is_plain = len(word) <= _MAX_WORD and _PLAIN.fullmatch(word) and not _COMMIT.fullmatch(word)
    if word and not is_plain:
        word = quote_code(word)
    return f"{start}{word}{end}"
