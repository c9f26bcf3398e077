"""Split a text of any language into sentences."""

import re

from pytest_llmops.semantics.word_lists import english_words

# Words that a full stop may follow within a sentence, without their own dots
ABBREVIATIONS = english_words("abbreviations")
# A mark with its closing quotes, or a mark that needs no blank behind it, or the end of a line. A run of marks is only
# matched from its start: in a megabyte of dots every other place would scan all the rest again.
_END = re.compile(r"(?<![.!?…؟।])[.!?…؟।]++[\"'”’»)\]]*+(?=\s)|[。！？｡]+[」』”’）]*|\n\s*")
_BULLET = re.compile(r"[-*•·–>#|]|\d{1,3}[.)]\s|[A-Za-z][.)]\s")
_LAST_WORD = re.compile(r"[^\s(\[\"'“‘]*\Z")
_OPENING_WORDS = english_words("function_words")  # words that may begin a sentence, and no name
_TITLES = frozenset(["dr", "mr", "mrs", "ms", "prof", "st", "vs", "eg", "ie", "mme", "sra"])
_GERMAN_MONTHS = ("jan", "feb", "mär", "apr", "mai", "jun", "jul", "aug", "sep", "okt", "nov", "dez")
MAX_WORD_CHARS = 40
MAX_SENTENCE_CHARS = 1_000  # a longer sentence is read in parts: checks take more than linear time


def split_sentences(text: str) -> list[str]:
    r"""Return the sentences of a text, trimmed, in order, without blank sentences.

    A full stop ends a sentence unless it belongs to a number, an abbreviation or an initial; in scripts
    without blanks its mark is enough. A blank line ends a sentence, and so does a line end behind a mark, in front
    of a bullet or between lines that are no running text; a line end within running text is a blank. The time is
    linear in the length.

    >>> split_sentences("Dr. Lee pays 3.50 euros. Why?\n- First\n- Second")
    ['Dr. Lee pays 3.50 euros.', 'Why?', '- First', '- Second']
    >>> split_sentences("退款需要30天。谢谢！")
    ['退款需要30天。', '谢谢！']
    """
    pieces, start = [], 0
    for end in _END.finditer(text):
        if _is_sentence_end(text, start, end):
            pieces.append(text[start : end.end()])
            start = end.end()
    pieces.append(text[start:])
    return [sentence for piece in pieces if (sentence := " ".join(piece.split()))]


def _is_sentence_end(text: str, start: int, end: re.Match[str]) -> bool:
    mark, following = end[0], text[end.end() : end.end() + MAX_WORD_CHARS].lstrip()
    if mark[0] == "\n":
        return mark.count("\n") > 1 or _is_line_end(
            text[max(start, end.start() - 2) : end.start()], following
        )
    if mark[0] == "." and len(mark.rstrip("\"'”’»)]")) == 1:
        word = _LAST_WORD.search(text, max(start, end.start() - MAX_WORD_CHARS), end.start())
        at = word.start() if word else start
        return _is_final_stop(
            text[at : end.start()], following, first=not text[max(start, at - 2) : at].strip()
        )
    # An ellipsis may stand in the middle of a sentence.
    return mark[0] not in ".…" or not following[:1].islower()


def _is_final_stop(word: str, following: str, *, first: bool) -> bool:
    # Return whether the full stop behind a word ends the sentence.
    if len(word) == 1 and word.isalpha():
        # "J. Smith", but "plan B then": an initial is followed by a name, and so may a sentence be.
        return word == "I" or not following[:1].isalpha() or word.islower()
    bare = word.replace(".", "").casefold()
    if "." in word and bare.isalpha() and max(map(len, word.split("."))) == 1:  # U.S., p.m.
        # "In the U.S. It is", but "the U.S. Senate".
        is_opener = following.partition(" ")[0].casefold() in _OPENING_WORDS and word.isupper()
        return following[:1].isupper() and (bare in {"am", "pm"} or is_opener)
    if word.isdigit() and len(word) <= len("31"):
        # "3. März" and "1. First", but "a score of 12. Then"
        month = following[:3].casefold() in _GERMAN_MONTHS and following[:1].isupper()
        return not (month or first or following[:1].islower())
    if bare not in ABBREVIATIONS:
        return True
    return not (following[:1].islower() or following[:1].isdigit() or bare in _TITLES)


def _is_line_end(before: str, following: str) -> bool:
    last = before.rstrip()[-1:]
    if not last or last in ".!?:;。！？…|" or _BULLET.match(following):
        return True
    # A line that goes on with a small letter, or behind a comma, is running text that was wrapped.
    return not (following[:1].islower() or last in ",-–")


def split_bounded_sentences(text: str) -> list[str]:
    """Return the sentences of a text; what is too long for a sentence (a table, a page without marks) in parts.

    >>> [len(passage) for passage in split_bounded_sentences("Fine. " + "x " * 1_200)]
    [5, 999, 999, 399]
    """
    passages: list[str] = []
    for sentence in split_sentences(text):
        start = 0
        while len(sentence) - start > MAX_SENTENCE_CHARS:
            blank = sentence.rfind(" ", start, start + MAX_SENTENCE_CHARS + 1)
            end = blank if blank > start else start + MAX_SENTENCE_CHARS
            passages.append(sentence[start:end].strip())
            start = end
        passages.append(sentence[start:].strip())
    return [passage for passage in passages if passage]
