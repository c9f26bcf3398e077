"""Ids of imported tests: readable, unique, and as far as possible independent of the order of the tests."""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from pytest_llmops._util.text_files import canonical_json, fingerprint_parts
from pytest_llmops.imports.slugs import add_number
from pytest_llmops.measurement import Json

MAX_CHARS = 60
MAX_CHOICE_CHARS = 20  # of the value that distinguishes a test from the others of its product
_HASH_CHARS = 6
_NUMBERED = re.compile(r"test-\d+")
_NO_LETTERS = re.compile(r"[^a-z0-9]+")


def make_slug(text: str, most: int = MAX_CHARS) -> str:
    """Return a text as lower case letters, digits and dashes, cut at a word; "" if most of its letters are not Latin.

    >>> make_slug("Späte Rückgabe: 45 Tage!"), make_slug("one two three", 9), make_slug("日本語で AI")
    ('spate-ruckgabe-45-tage', 'one-two', '')
    """
    begin = text[: 4 * most]
    plain = unicodedata.normalize("NFKD", begin).encode("ascii", "ignore").decode()
    slug = _NO_LETTERS.sub("-", plain.lower()).strip("-")
    if 2 * len(slug.replace("-", "")) < sum(character.isalnum() for character in begin):
        return ""
    if len(slug) <= most:
        return slug
    cut = slug[: most + 1]
    if "-" in cut:
        return cut.rpartition("-")[0]
    return slug[:most]


def name_test(description: str, texts: Iterable[str]) -> str:
    """Return a name for a test: of its description, else of the first of its texts that gives one, else "".

    >>> name_test("", ["-", "When can I return it?"])
    'when-can-i-return-it'
    """
    for text in (description, *texts):
        slug = make_slug(text)
        if slug:
            return slug
    return ""


def join_names(name: str, other: str) -> str:
    """Return two names as one, as far as the second adds words.

    >>> join_names("hello", "french"), join_names("hello-french", "french"), join_names("test-1", "french")
    ('hello-french', 'hello-french', 'french')
    """
    if not other or name.endswith(other):
        return name
    if _NUMBERED.fullmatch(name):
        return other
    return f"{name[:MAX_CHARS]}-{other[:MAX_CHARS]}"


def name_choice(variables: Mapping[str, Json], varied: Sequence[str]) -> str:
    """Return the part of a name that distinguishes a test from the others of its product: the values that differ, or a hash if they are long."""
    slugs = []
    for name in varied:
        value = str(variables[name])
        slug = make_slug(value, MAX_CHOICE_CHARS + 1)
        if not slug or len(value) > MAX_CHOICE_CHARS:
            return _hash([variables[name] for name in varied])
        slugs.append(slug)
    return "-".join(slugs)[:MAX_CHARS].strip("-")


def _hash(value: Json) -> str:
    return fingerprint_parts(canonical_json(value))[:_HASH_CHARS]


class IdMaker:
    """Makes the ids of a suite unique."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def make(self, name: str, content: Json) -> str:
        """Return an id that no test has yet: the name, else with a hash of the content of the test, else with a number.

        >>> ids = IdMaker()
        >>> ids.make("late", {"days": 45}), ids.make("late", {"days": 60}), ids.make("late", {"days": 60})
        ('late', 'late-d377d7', 'late-d377d7-2')
        """
        candidate = name
        if candidate in self._taken:
            name = f"{name}-{_hash(content)}"
            candidate = name
        if candidate in self._taken:
            candidate = add_number(f"{name}-", self._taken)
        self._taken.add(candidate)
        return candidate
