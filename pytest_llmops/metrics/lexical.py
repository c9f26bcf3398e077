"""Compare two texts by their characters and words: token F1, fuzzy ratio, nearest span, word diff.

Every score is a plain float from 0 (nothing in common) to 1 (equal). The scores are not semantic: a negation barely
changes a ratio, a paraphrase ruins it.
"""

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

Case: TypeAlias = Literal["keep", "fold"]
Whitespace: TypeAlias = Literal["keep", "strip", "collapse"]
Form: TypeAlias = Literal["keep", "NFC", "NFKC"]
Op: TypeAlias = Literal["=", "-", "+"]

# Combining characters in a row that can be normalized: Unicode's reordering is quadratic in them
MAX_MARKS = 1_000
MAX_RATIO_CELLS = 40_000_000_000  # product of the lengths that `fuzzy_ratio` compares: about a second
# Length of the longer text times the square of the shorter that ``partial`` compares: about a second
MAX_PARTIAL_COST = 1_000_000_000_000
MAX_NEEDLE = 256  # characters of a needle that `find_nearest_span` searches for
MAX_DIFF_TOKENS = 2_000  # tokens that `word_diff_steps` aligns; the rest counts as replaced
MAX_PIECE = 60  # characters of a change in `format_word_diff`
MAX_SNAP = 20  # characters that a nearest span may grow on each side to a word boundary

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_DIFF_TOKENS = re.compile(r"\w+|\s+|[^\w\s]")


def normalize_text(
    text: str, *, case: Case = "keep", whitespace: Whitespace = "keep", unicode: Form = "keep"
) -> str:
    r"""Return a text normalized for comparison; normalizing it again changes nothing.

    Args:
        text: Any text.
        case: "fold" removes case in the Unicode sense ("Straße" becomes "strasse").
        whitespace: "strip" drops it at both ends; "collapse" also replaces each run by a single space.
        unicode: "NFC" joins letters and accents; "NFKC" also replaces compatibility characters (full-width
            letters, ligatures, no-break spaces).

    Raises:
        ValueError: An unknown option, or more than `MAX_MARKS` combining characters in a row (Unicode's
            reordering needs quadratic time over them).

    >>> normalize_text("  Two\n words ", case="fold", whitespace="collapse")
    'two words'
    """
    _check_choice("case", case, get_args(Case))
    _check_choice("whitespace", whitespace, get_args(Whitespace))
    _check_choice("unicode", unicode, get_args(Form))
    text = _compose_unicode(text, unicode)
    if case == "fold":
        # Folding may undo the normal form.
        text = _compose_unicode(text.casefold(), unicode)
    if whitespace == "collapse":
        return " ".join(text.split())
    if whitespace == "strip":
        return text.strip()
    return text


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        choice_list = ", ".join(choices)
        raise ValueError(f"{name}: expected one of {choice_list}, got {value!r}")


def _compose_unicode(text: str, form: Form) -> str:
    """Return a text in a Unicode form; raise if it has too many combining characters in a row."""
    if form == "keep" or text.isascii():
        return text
    run = 0
    for combining in map(unicodedata.combining, text):
        if not combining:
            run = 0
            continue
        run += 1
        if run > MAX_MARKS:
            raise ValueError(f"more than {MAX_MARKS:,} combining characters in a row cannot be normalized")
    return unicodedata.normalize(form, text)


def squad_tokens(text: str) -> list[str]:
    """Return the words of a text as SQuAD's evaluation script counts them.

    The text is lowercased and split at whitespace, without ASCII punctuation and the articles a, an, the. A text in a
    script without spaces is a single token.

    >>> squad_tokens("The 30-day window, returned!")
    ['30day', 'window', 'returned']
    """
    return _ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split()


def token_f1(actual: str, expected: str) -> float:
    """Return the F1 of shared `squad_tokens`, 0 (none) to 1 (the same words in any order); symmetric and linear.

    Two texts without tokens score 1.0, a single text without tokens 0.0 (as SQuAD 2.0 scores "no answer").

    Source: Rajpurkar et al., "SQuAD", EMNLP 2016, and the evaluation script of SQuAD 2.0.

    >>> round(token_f1("the cat sat down", "a cat sat"), 3)
    0.8
    """
    got = squad_tokens(actual)
    want = squad_tokens(expected)
    if not got or not want:
        return float(got == want)
    shared = Counter(got) & Counter(want)
    return 2 * shared.total() / (len(got) + len(want))


def fuzzy_ratio(actual: str, expected: str, *, partial: bool = False) -> float:
    """Return the similarity of two texts by their characters, 0 to 1; symmetric.

    The normalized Indel similarity of rapidfuzz (`fuzz.ratio` / 100): twice the longest common subsequence over the
    sum of lengths. Unrelated English prose still scores about 0.4. With ``partial`` the shorter text is compared with
    the best window of the longer text (`fuzz.partial_ratio` / 100). Two empty texts score 1.0, a single empty text 0.0.

    Common beginnings and ends cost nothing; the rest is compared in full, never by a sample.

    Raises:
        ValueError: The rest is too long: over `MAX_RATIO_CELLS` (say 200,000 by 200,000 characters), or
            with ``partial`` over `MAX_PARTIAL_COST` (1,000 characters in 1,000,000).

    >>> round(fuzzy_ratio("30 days", "60 days"), 3)
    0.857
    >>> fuzzy_ratio("within 30 days of receipt", "30 days", partial=True)
    1.0
    """
    if actual == expected:
        return 1.0
    if not actual or not expected:
        return 0.0
    from rapidfuzz import fuzz
    from rapidfuzz.distance import Indel

    if partial:
        short, long = sorted((len(actual), len(expected)))
        _refuse_long_texts(actual, expected, cost=short * short * long, limit=MAX_PARTIAL_COST)
        return float(fuzz.partial_ratio(actual, expected)) / 100
    head, tail = count_shared_ends(actual, expected)
    left = actual[head : len(actual) - tail]
    right = expected[head : len(expected) - tail]
    _refuse_long_texts(actual, expected, cost=len(left) * len(right), limit=MAX_RATIO_CELLS)
    length = len(actual) + len(expected)
    return 1 - Indel.distance(left, right) / length


def _refuse_long_texts(left: str, right: str, *, cost: int, limit: int) -> None:
    if cost > limit:
        lengths = f"{len(left):,} and {len(right):,} characters"
        raise ValueError(
            f"texts of {lengths} are too long for a fuzzy comparison; compare the parts that matter"
        )


def count_shared_ends(left: Sequence[str], right: Sequence[str]) -> tuple[int, int]:
    """Return how many items two texts or lists share at the beginning, and how many at the end of what remains."""
    head = _count_shared_head(left, right)
    left_backwards = left[head:][::-1]
    right_backwards = right[head:][::-1]
    return head, _count_shared_head(left_backwards, right_backwards)


def _count_shared_head(left: Sequence[str], right: Sequence[str]) -> int:
    """Return how many items two texts or lists share at the beginning, by bisection over slices."""
    low = 0
    high = min(len(left), len(right))
    while low < high:
        middle = (low + high + 1) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def first_difference(actual: str, expected: str) -> int | None:
    """Return the position of the first different character, or None for equal texts.

    If one text is the beginning of the other, this is the length of the shorter text.

    >>> first_difference("30 days", "30 hours"), first_difference("a", "a"), first_difference("a", "ab")
    (3, None, 1)
    """
    if actual == expected:
        return None
    return _count_shared_head(actual, expected)


@dataclass(frozen=True, slots=True)
class ScoredSpan:
    """A span ``[start, end)`` of a text and its similarity to the needle, 0 to 1."""

    start: int
    end: int
    score: float
    text: str


def find_nearest_span(text: str, needle: str) -> ScoredSpan | None:
    """Return the window of a text that is most similar to a needle, extended to near word boundaries.

    None if a text is empty or nothing is similar. The score belongs to the window before it was extended. As the result
    is meant for messages, only the first `MAX_NEEDLE` characters of the needle are searched for.

    Source: `fuzz.partial_ratio_alignment` of rapidfuzz.

    >>> find_nearest_span("You can return it within 60 days.", "30 days").text
    '60 days.'
    """
    from rapidfuzz import fuzz

    needle = needle[:MAX_NEEDLE]
    if not text or not needle:
        return None
    window = fuzz.partial_ratio_alignment(needle, text)
    if window is None or not window.score or window.dest_start == window.dest_end:
        return None
    start, end = _grow_to_words(text, window.dest_start, window.dest_end)
    score = float(window.score) / 100
    return ScoredSpan(start, end, score, text[start:end])


def _grow_to_words(text: str, start: int, end: int) -> tuple[int, int]:
    """Return a span extended to whole words at both ends, and without blanks there.

    An end stays as it is if more than `MAX_SNAP` characters would be added.
    """
    if not text[start].isspace():
        before = text[max(0, start - MAX_SNAP) : start]
        word = re.search(r"\S*\Z", before)
        if word and len(word[0]) < MAX_SNAP:
            start -= len(word[0])
    if not text[end - 1].isspace():
        after = text[end : end + MAX_SNAP]
        word = re.match(r"\S*", after)
        if word and len(word[0]) < MAX_SNAP:
            end += len(word[0])
    inner = text[start:end]
    if inner.strip():
        start += len(inner) - len(inner.lstrip())
        end -= len(inner) - len(inner.rstrip())
    return start, end


def word_diff_steps(actual: str, expected: str) -> list[tuple[Op, str]]:
    """Return the steps from expected to actual, over words, whitespace and punctuation marks.

    A step "=" is in both texts, "-" only in expected, "+" only in actual. Joined, the steps "=" and "-" give the
    expected text, "=" and "+" the actual one. Common beginnings and ends take linear time. Of the rest the first
    `MAX_DIFF_TOKENS` tokens are aligned (by their longest common subsequence, with rapidfuzz); the others count as
    replaced.

    >>> word_diff_steps("60 days", "30 days")
    [('-', '30'), ('+', '60'), ('=', ' days')]
    """
    want = _DIFF_TOKENS.findall(expected)
    got = _DIFF_TOKENS.findall(actual)
    head, tail = count_shared_ends(want, got)
    old_end = len(want) - tail
    old = want[head:old_end]
    new = got[head : len(got) - tail]
    steps: list[tuple[Op, str]] = []
    steps.append(("=", "".join(want[:head])))
    steps += _align_tokens(old[:MAX_DIFF_TOKENS], new[:MAX_DIFF_TOKENS])
    steps.append(("-", "".join(old[MAX_DIFF_TOKENS:])))
    steps.append(("+", "".join(new[MAX_DIFF_TOKENS:])))
    steps.append(("=", "".join(want[old_end:])))
    return _join_steps(steps)


def _align_tokens(old: Sequence[str], new: Sequence[str]) -> list[tuple[Op, str]]:
    """Return the steps from old to new tokens; some of their texts may be empty."""
    # Not difflib, which needs half a minute for a thousand words with a space after each
    from rapidfuzz.distance import LCSseq

    numbers: dict[str, int] = {}
    left = [numbers.setdefault(token, len(numbers)) for token in old]
    right = [numbers.setdefault(token, len(numbers)) for token in new]
    steps: list[tuple[Op, str]] = []
    for step in LCSseq.opcodes(left, right):
        removed = "".join(old[step.src_start : step.src_end])
        if step.tag == "equal":
            steps.append(("=", removed))
            continue
        added = "".join(new[step.dest_start : step.dest_end])
        steps += [("-", removed), ("+", added)]
    return steps


def _join_steps(steps: Sequence[tuple[Op, str]]) -> list[tuple[Op, str]]:
    """Return the steps with neighbouring changes joined, and without empty texts.

    White space between two changes becomes part of the removed and of the added text.
    """
    steps = [step for step in steps if step[1]]
    joined: list[tuple[Op, str]] = []
    removed = added = ""
    for index, (op, text) in enumerate(steps):
        if op == "=" and not (text.isspace() and _is_between_changes(steps, index)):
            joined += [("-", removed), ("+", added), ("=", text)]
            removed = added = ""
            continue
        if op != "+":
            removed += text
        if op != "-":
            added += text
    joined += [("-", removed), ("+", added)]
    return [step for step in joined if step[1]]


def _is_between_changes(steps: Sequence[tuple[Op, str]], index: int) -> bool:
    """Return whether a step of common text has a change on both sides."""
    if index in (0, len(steps) - 1):
        return False
    before, _ = steps[index - 1]
    after, _ = steps[index + 1]
    return before != "=" and after != "="


def format_word_diff(actual: str, expected: str, *, context: int = 24) -> str:
    """Return the changes from expected to actual in a line of text, ``[-removed-]{+added+}``; "" for equal texts.

    ``context`` characters of common text are kept around the changes; long changes are truncated to `MAX_PIECE`.

    >>> format_word_diff("You can return it within 60 days.", "You can return it within 30 days.")
    'You can return it within [-30-]{+60+} days.'
    """
    steps = word_diff_steps(actual, expected)
    if all(op == "=" for op, _ in steps):
        return ""
    pieces = []
    for index, (op, text) in enumerate(steps):
        if op == "-":
            pieces.append(f"[-{_shorten_change(text)}-]")
        elif op == "+":
            pieces.append(f"{{+{_shorten_change(text)}+}}")
        else:
            head = context if index > 0 else 0
            tail = context if index < len(steps) - 1 else 0
            pieces.append(_shorten_common(text, head, tail))
    return "".join(pieces)


def _shorten_common(text: str, head: int, tail: int) -> str:
    """Return the first ``head`` and the last ``tail`` characters of a common text, with dots in between."""
    if len(text) <= head + tail + len("..."):
        return text
    beginning = text[:head]
    end = text[len(text) - tail :]
    return f"{beginning}...{end}"


def _shorten_change(text: str) -> str:
    rest = len(text) - MAX_PIECE
    if rest <= 0:
        return text
    return f"{text[:MAX_PIECE]}... (+{rest:,} chars)"
