"""Ids of cases: what may be one, and ids from the content of rows that have none.

An id from the content is the same on every machine and in any order of the rows.
"""

import hashlib
import re
import unicodedata

from pytest_llmops._util.text_files import BadFile, canonical_json, json_kind
from pytest_llmops.measurement import Json, shorten_text

# Pytest, xdist and JUnit readers split a test's name here, or write these characters differently
FORBIDDEN_IN_IDS = ("[", "]", "::", "\\")
MAX_ID_CHARS = 200
_PLAIN_ID = re.compile(rf"[A-Za-z0-9_.-]{{1,{MAX_ID_CHARS}}}")
MAX_WORDS = 6
MAX_WORD_CHARS = 20
HASH_CHARS = 12
LATIN_END = "\u0250"  # first character after the Latin letters, of which all versions of Python know the same
# Words and short numbers only: no addresses, keys or numbers of orders, as ids are in names of tests and files
_WORD = re.compile(r"[a-z]+(?:['-][a-z]+)*|\d{1,3}")


def parse_id(value: Json) -> str:
    """Return an id; a whole number becomes a text.

    Raises:
        BadFile: It cannot be part of the name of a test.

    >>> parse_id("late-return"), parse_id(7)
    ('late-return', '7')
    """
    # Most ids need no further check: a large file has millions of them.
    if isinstance(value, str) and _PLAIN_ID.fullmatch(value):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        excerpt = shorten_text(canonical_json(value), 60)
        got = f"{json_kind(value)} {excerpt}"
        raise BadFile(f"id: expected a text or a whole number, got {got}")
    id_text = shorten_text(value, 60)
    if not value.strip():
        raise BadFile("id: expected a text that names the case, got an empty one")
    if value != value.strip() or not value.isprintable():
        raise BadFile(f"id {id_text!r}: expected printable characters and no white space at the ends")
    if len(value) > MAX_ID_CHARS:
        expected = f"at most {MAX_ID_CHARS} characters"
        raise BadFile(f"id {id_text!r}: expected {expected}, got {len(value):,}")
    for mark in FORBIDDEN_IN_IDS:
        if mark in value:
            raise BadFile(f"id {id_text!r}: {mark!r} cannot be in an id, as a test's name is split there")
    return value


def make_id(digest: str, text: str) -> str:
    """Return an id: the first words of a text, and the start of a hash.

    Args:
        digest: The hash of the content, from `digest_content`.
        text: The text that the words are of.

    >>> digest = digest_content("x")
    >>> make_id(digest, "May I return it after 60 days, Zoë? Order K-2187"), make_id(digest, "退货")
    ('may-i-return-it-after-60-ba2df4903a2c', 'case-ba2df4903a2c')
    """
    words = []
    for token in text[:500].replace("\u2019", "'").split():
        word = _to_ascii(token).strip(".,;:!?()'\"")
        if len(word) <= MAX_WORD_CHARS and _WORD.fullmatch(word):
            words.append(word.replace("'", ""))
        if len(words) == MAX_WORDS:
            break
    prefix = "-".join(words) or "case"
    return f"{prefix}-{digest[:HASH_CHARS]}"


def digest_content(content: Json) -> str:
    """Return the SHA-256 of a JSON value, as hex digits."""
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()


def identify_input(value: Json, files: Json = None, split: Json = None) -> dict[str, Json]:
    """Return the content that an id is made of: the input, and the files and the split if there are any.

    A corrected reference or another tag is not a part of it, so that the case stays the same one.
    """
    content: dict[str, Json] = {"input": value}
    if files:
        content["files"] = files
    if split:
        content["split"] = split
    return content


def _to_ascii(token: str) -> str:
    """Return a word in lower case, Latin letters without their marks; characters of other scripts stay as they are."""
    if token.isascii():
        return token.lower()
    letters = []
    for letter in token:
        if letter < LATIN_END:
            plain = unicodedata.normalize("NFKD", letter.casefold())
            letters += [part for part in plain if not unicodedata.combining(part)]
        else:
            letters.append(letter)
    return "".join(letters)
