"""Search a text for a pattern of Python's `re`, with a time limit, which `re` lacks.

`regex` has one, and reads nearly all patterns in the same way. The others are rewritten.
"""

import re
from collections.abc import Callable
from functools import lru_cache

from pytest_llmops.measurement import shorten_text

MAX_SECONDS = 1.0  # of a search
# The flags of `re` that change the matches of a pattern, and their names in `regex`, where they are other numbers
_FLAGS = {
    re.ASCII: "ASCII",
    re.IGNORECASE: "IGNORECASE",
    re.MULTILINE: "MULTILINE",
    re.DOTALL: "DOTALL",
    re.VERBOSE: "VERBOSE",
}
# An escaped character, a set, or a brace that does not begin a count
_TOKEN = re.compile(
    r"\\N\{[^}]*+\}|\\.|\[\^?\]?(?:\\.|[^\]\\])*+\]|\{(?!(?:\d++(?:,\d*+)?|,\d*+)?\})", re.DOTALL
)


def matches_in_time(pattern: re.Pattern[str], text: str) -> bool:
    """Return whether a pattern matches somewhere in a text.

    Raises:
        TimeoutError: The search needs longer than a second. The message has the pattern.

    >>> matches_in_time(re.compile("(a+)+$"), "a" * 100 + "!")
    False
    """
    search = _compile_search(pattern)
    try:
        return search(text) is not None
    except TimeoutError:
        raise TimeoutError(
            f"the pattern '{shorten_text(pattern.pattern, 60)}' searches for more than {MAX_SECONDS:g} s "
            f"in a text of {len(text):,} characters: nested repetitions, such as (a+)+, take long"
        ) from None


@lru_cache(maxsize=1024)
def _compile_search(pattern: re.Pattern[str]) -> Callable[[str], object]:
    import regex

    flags = 0
    for flag, name in _FLAGS.items():
        if pattern.flags & flag:
            flags |= getattr(regex, name)
    source = pattern.pattern
    if not pattern.flags & re.VERBOSE:  # brackets of a comment would look like a set
        source = _TOKEN.sub(_translate, source)
    compiled = regex.compile(source, flags)
    return lambda text: compiled.search(text, timeout=MAX_SECONDS)


def _translate(token: re.Match[str]) -> str:
    """Return a token as `regex` has to have it: ``a{e}`` would match with errors there, and ``[[:digit:]]`` any digit."""
    text = token[0]
    if text == "{":
        return r"\{"
    if text.startswith("["):
        return "[" + text[1:].replace("[:", r"\[:")
    return text
