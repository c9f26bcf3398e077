"""Change the input of a case without changing its question: typos, letter case, order, a distractor, paraphrases.

Every change is drawn by a seed and the case's id, so it is the same in every run and on every machine.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any, TypeAlias

from pytest_llmops.cases.columns import OTHER_NAMES
from pytest_llmops.cases.files import Case, has_only_texts
from pytest_llmops.errors import UsageError
from pytest_llmops.measurement import Json, shorten_text

# Keys of the text in an input that is an object or a list of messages, whose last message is changed
TEXT_KEYS = ("input", *OTHER_NAMES["input"], "messages", "content")
DOCUMENT_KEYS = ("documents", "contexts", "passages")
LIST_KEYS = (*DOCUMENT_KEYS, "options", "choices")
DISTRACTOR = "The old lighthouse was painted white in spring, and its keeper grows tomatoes behind the wall."
WORDS_PER_CHANGE = 5
MAX_LISTED = 20
UNCHANGED = "unchanged"
_NEIGHBOURS = {
    key: row[max(place - 1, 0) : place] + row[place + 1 : place + 2]
    for row in ("qwertyuiop", "asdfghjkl", "zxcvbnm")
    for place, key in enumerate(row)
}


def _read_sentence_openers() -> list[str]:
    path = Path(__file__).with_name("sentence_openers.txt")
    text = path.read_text(encoding="utf-8")
    return re.sub("#.*", "", text).split()


# Code, quoted text, template variables and tags come first: no word within them is a word of its own. A word is four
# letters or more between blanks: numbers, addresses, and words with any other character stay as they are. A capital letter
# marks a name, unless the word begins a sentence and is a known opener.
_TOKEN = re.compile(
    r"```.*?```|`[^`]*`|\"[^\"]*\"|“[^“”]*”|«[^«»]*»|(?<!\w)'[^'\n]*'(?!\w)|\{[^{}]*\}|<[^<>]*>|\[[^\[\]]*\]"
    rf"|(?:\A|(?<=\n)|(?<=[.!?]\s))(?P<first>{'|'.join(_read_sentence_openers())})(?=\s)"
    r"|(?P<word>(?<!\S)[^\W\d_]{4,}+(?=[.,;:!?)]*+(?!\S)))",
    re.DOTALL,
)

# A changed text or case, and the list of what was changed in it
TextChange: TypeAlias = Callable[[str], tuple[str, list[str]]]
Variant: TypeAlias = tuple[Case, list[str]]


def change_words(text: str, rng: Random, change: Callable[[str, Random], str]) -> tuple[str, list[str]]:
    """Return a text in which one in five words is changed, at least one if there is any, and the changes.

    Words with a capital letter (names), words under four letters, digits, URLs, quoted text, code and template variables
    stay as they are. Without any other word, ``What``, ``Please`` and their like are changed where a sentence begins.
    In a script without letter case nothing is changed: its names look like other words.

    >>> change_words("Can I return my tent from Berlin?", Random(0), lambda word, _: word.upper())
    ('Can I return my TENT from Berlin?', ['tent -> TENT'])
    """
    tokens = list(_TOKEN.finditer(text))
    words = [token for token in tokens if token["word"] and token["word"].islower()]
    if not words:
        words = [token for token in tokens if token["first"]]
    count = -(-len(words) // WORDS_PER_CHANGE)
    new_words = {}
    for word in rng.sample(words, count):
        new_words[word.start()] = change(word[0], rng)
    parts = []
    changes = []
    end = 0
    for word in words:
        new = new_words.get(word.start(), word[0])
        parts += [text[end : word.start()], new]
        end = word.end()
        if new != word[0]:
            changes.append(f"{word[0]} -> {new}")
    parts.append(text[end:])
    return "".join(parts), changes


def _misspell(word: str, rng: Random) -> str:
    """Change a letter behind the first: leave it out, swap it with the next, or hit a neighbouring key."""
    place = rng.randrange(1, len(word) - 1)
    head = word[:place]
    letter = word[place]
    tail = word[place + 1 :]
    swapped = tail[0] + letter + tail[1:]
    forms = [tail, swapped]
    forms += [key + tail for key in _NEIGHBOURS.get(letter, "")]
    words = [head + form for form in forms]
    return rng.choice([new for new in words if new != word])


def _swap_letter_case(word: str, rng: Random) -> str:
    if word.islower():
        other = word.title()
    else:
        other = word.lower()
    return rng.choice((word.upper(), other))


def _rewrite(value: Any, change: TextChange) -> tuple[Any, list[str]]:
    """Return an input with its text changed, and the changes; an input without a text stays as it is."""
    if isinstance(value, str):
        return change(value)
    is_filled_list = isinstance(value, (list, tuple)) and len(value) > 0
    if is_filled_list and isinstance(value[-1], Mapping):
        message, changes = _rewrite(value[-1], change)
        return [*value[:-1], message], changes
    if isinstance(value, Mapping):
        for key in TEXT_KEYS:
            if key in value:
                inner, changes = _rewrite(value[key], change)
                return {**value, key: inner}, changes
    return value, []


def _reword(case: Case, change: TextChange) -> Variant:
    text, changes = _rewrite(case.input, change)
    if text == case.input:
        changes = []
    return replace(case, input=text), changes


def _misspell_words(case: Case, rng: Random) -> list[Variant]:
    return [_reword(case, lambda text: change_words(text, rng, _misspell))]


def _change_letter_case(case: Case, rng: Random) -> list[Variant]:
    return [_reword(case, lambda text: change_words(text, rng, _swap_letter_case))]


def _paraphrase(case: Case, _rng: Random) -> list[Variant]:
    def replace_text(text: str) -> Variant:
        return _reword(case, lambda _: (text, [text]))

    return [replace_text(text) for text in _read_texts(case, "paraphrases")]


def _change_lists(case: Case, keys: Sequence[str], change: Callable[[list[Any]], list[Any]]) -> list[Variant]:
    """Change the lists of the input; if it has none, those of the case's data."""
    for name in ("input", "data"):
        holder = getattr(case, name)
        if not isinstance(holder, Mapping):
            continue
        new_lists: dict[str, Any] = {}
        changes = []
        for key in keys:
            old = holder.get(key)
            if not old or not isinstance(old, (list, tuple)):
                continue
            new_lists[key] = change([*old])
            if new_lists[key] != [*old]:
                new_text = shorten_text(repr(new_lists[key]))
                changes.append(f"{key}: {new_text}")
        if changes:
            new_holder = {**holder, **new_lists}
            changed: dict[str, Any] = {name: new_holder}
            return [(replace(case, **changed), changes)]
    return []


def _reorder_lists(case: Case, rng: Random) -> list[Variant]:
    def reorder(items: list[Any]) -> list[Any]:
        shuffled = rng.sample(items, len(items))
        if shuffled != items:
            return shuffled
        return [*items[1:], items[0]]

    return _change_lists(case, LIST_KEYS, reorder)


def _add_distractor(case: Case, rng: Random) -> list[Variant]:
    def add_document(documents: list[Any]) -> list[Any]:
        texts = _read_texts(case, "distractors") or [DISTRACTOR]
        text = rng.choice(texts)
        document = _shape_document(text, like=documents[0])
        place = rng.randrange(len(documents) + 1)
        return [*documents[:place], document, *documents[place:]]

    return _change_lists(case, DOCUMENT_KEYS, add_document)


def _shape_document(text: str, *, like: Any) -> Any:
    """Return a text as a document of the form of another one."""
    if not isinstance(like, Mapping):
        return text
    document = dict(like)
    if "id" in document:
        document["id"] = "distractor"
    if "content" in document and "text" not in document:
        document["content"] = text
    else:
        document["text"] = text
    return document


def _read_texts(case: Case, key: str) -> Sequence[str]:
    texts: object = case.data.get(key, [])
    if not isinstance(texts, (list, tuple)) or not has_only_texts(texts):
        got = shorten_text(repr(texts), 80)
        raise UsageError(f"case {case.id}: {key}: expected a list of texts, got {got}")
    return texts


@dataclass(frozen=True, slots=True)
class Transformation:
    """A way to change cases; a test must have the same verdict on a case and on its variants.

    Attributes:
        make_variants: Returns the variants of a case, each with what was changed in it.
        needs: What a case must have, for messages.
    """

    make_variants: Callable[[Case, Random], list[Variant]]
    needs: str


_NEEDED_WORD = "a text with a lower-case word of four letters or more, in a script that has letter case"
TRANSFORMATIONS: Mapping[str, Transformation] = {
    "typos": Transformation(_misspell_words, _NEEDED_WORD),
    "case": Transformation(_change_letter_case, _NEEDED_WORD),
    "order": Transformation(_reorder_lists, f"a list of two or more ({', '.join(LIST_KEYS)})"),
    "distractor": Transformation(_add_distractor, f"a list ({', '.join(DOCUMENT_KEYS)})"),
    "paraphrase": Transformation(_paraphrase, "texts in the key 'paraphrases'"),
}


def add_changed_cases(
    cases: Sequence[Case], names: Sequence[str], *, seed: int = 0, equal: str = "verdict", where: str = ""
) -> list[Case]:
    """Return each case, followed by those with its input changed; ``case.robust`` names the transformation.

    A transformation that finds nothing to change in a case gives a case with a reason to skip it; if it finds nothing in any case,
    the first one has an error instead (``case.robust["error"]``), so that the other transformations are run.

    Args:
        cases: The cases.
        names: Of `TRANSFORMATIONS`.
        seed: Another seed draws other changes.
        equal: What must stay equal, for the report.
        where: The test, for errors.

    Raises:
        UsageError: Paraphrases or distractors are not texts, or two cases would have the same id.

    >>> [case.id for case in add_changed_cases([Case(id="a", input="Can I return it?")], ["typos"])]
    ['a', 'a~typos']
    """
    given = list[Case]()
    facts = dict[str, list[dict[str, Json]]]()
    for case in cases:
        for place, name in enumerate([UNCHANGED, *names]):
            variants = _make_variants(case, name, seed)
            for number, (changed, changes) in enumerate(variants, start=1):
                suffix = _id_suffix(name, number)
                fact: dict[str, Json] = {
                    "argument": "input",
                    "value": name,
                    "base": UNCHANGED,
                    "place": place,
                    "equal": equal,
                    "suffix": suffix,
                    "changes": list(changes[:MAX_LISTED]),
                    "skip": "",
                    "error": "",
                }
                if not changes:
                    needs = TRANSFORMATIONS[name].needs
                    fact["skip"] = f"{name} changes nothing in this case: it needs {needs}"
                facts.setdefault(name, []).append(fact)
                given.append(replace(changed, id=case.id + suffix, robust=fact))
    ids = {case.id for case in given}
    if len(ids) < len(given):
        culprits = [case.id for case in cases if "~" in case.id]
        names_text = ", ".join(culprits)
        raise UsageError(f"{where}: the id of a case is that of a changed one: rename {names_text}")
    for name, facts_of_name in facts.items():
        if all(fact["skip"] for fact in facts_of_name):
            needs = TRANSFORMATIONS[name].needs
            problem = f"{name} changes nothing in any case: it needs {needs}"
            facts_of_name[0]["error"] = f"{where}: {problem}"
    return given


def _make_variants(case: Case, name: str, seed: int) -> list[Variant]:
    """Return the variants of a case by a transformation; the case without a change if it makes none."""
    if name == UNCHANGED:
        return [(case, [UNCHANGED])]
    rng = Random(f"{seed} {name} {case.id}")  # noqa: S311 -- no secret
    variants = TRANSFORMATIONS[name].make_variants(case, rng)
    return variants or [(case, [])]


def _id_suffix(name: str, number: int) -> str:
    if name == UNCHANGED:
        return ""
    if number == 1:
        return f"~{name}"
    return f"~{name}-{number}"
