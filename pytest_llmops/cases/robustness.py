"""Change the input of a case without changing its question: typos, letter case, order, a distractor, paraphrases.

Every change is drawn by a seed and the case's id, so it is the same in every run and on every machine.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any, TypeAlias

from pytest_llmops.cases.columns import OTHER_NAMES, has_only_texts
from pytest_llmops.cases.files import Case
from pytest_llmops.errors import UsageError
from pytest_llmops.measurement import Json, shorten_text

# Where the text to change is in an input that is an object; in a list of messages, it is in the last message
TEXT_KEYS = ("input", *OTHER_NAMES["input"], "messages", "content")
DOCUMENT_KEYS = ("documents", "contexts", "passages")
LIST_KEYS = (*DOCUMENT_KEYS, "options", "choices")
DISTRACTOR = "The old lighthouse was painted white in spring, and its keeper grows tomatoes behind the wall."
WORDS_PER_CHANGE = 5
MAX_LISTED = 20
UNCHANGED = "unchanged"
# Letter -> the keys to its left and right on a keyboard
_NEIGHBOURS = {
    key: row[max(place - 1, 0) : place] + row[place + 1 : place + 2]
    for row in ("qwertyuiop", "asdfghjkl", "zxcvbnm")
    for place, key in enumerate(row)
}


def _read_sentence_openers() -> list[str]:
    """Return the words that often begin a sentence ("What", "Please" ...): with a capital letter, they are not names."""
    path = Path(__file__).with_name("sentence_openers.txt")
    text = path.read_text(encoding="utf-8")
    return re.sub("#.*", "", text).split()


# The pattern matches, in this order: code, quoted text, template variables and tags, so that no word inside them is changed;
# ``first``, a known opener at the beginning of a sentence; ``word``, four letters or more between blanks. Numbers, addresses and
# words with any other character match nothing and stay as they are.
_TOKEN = re.compile(
    r"```.*?```|`[^`]*`|\"[^\"]*\"|“[^“”]*”|«[^«»]*»|(?<!\w)'[^'\n]*'(?!\w)|\{[^{}]*\}|<[^<>]*>|\[[^\[\]]*\]"
    rf"|(?:\A|(?<=\n)|(?<=[.!?]\s))(?P<first>{'|'.join(_read_sentence_openers())})(?=\s)"
    r"|(?P<word>(?<!\S)[^\W\d_]{4,}+(?=[.,;:!?)]*+(?!\S)))",
    re.DOTALL,
)

# A function that returns the changed text and the list of its changes ("tent -> TENT")
TextChange: TypeAlias = Callable[[str], tuple[str, list[str]]]
# A changed case and the list of its changes; an empty list: nothing was changed
Variant: TypeAlias = tuple[Case, list[str]]


def change_words(text: str, rng: Random, change: Callable[[str, Random], str]) -> tuple[str, list[str]]:
    """Change one in five words of a text, at least one; return the new text and the list of changes.

    Words with a capital letter (names), words under four letters, digits, URLs, quoted text, code and template variables
    stay as they are. If no other word is left, words such as ``What`` and ``Please`` are changed where they begin a sentence.
    In a script without letter case nothing is changed, as its names look like other words.

    >>> change_words("Can I return my tent from Berlin?", Random(0), lambda word, _: word.upper())
    ('Can I return my TENT from Berlin?', ['tent -> TENT'])
    """
    tokens = list(_TOKEN.finditer(text))
    words = [token for token in tokens if token["word"] and token["word"].islower()]
    if not words:
        words = [token for token in tokens if token["first"]]
    count = -(-len(words) // WORDS_PER_CHANGE)  # rounded up
    new_words = {}  # start of a word -> the new word
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
    """Return a word with one typo: a letter is left out, swapped with the next one, or replaced by a neighbouring key.

    The first letter stays. The word needs three letters; leaving a letter out always changes it, so there is a choice.
    """
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
    """Return "tent" as "TENT" or "Tent", and "What" as "WHAT" or "what"."""
    if word.islower():
        other = word.title()
    else:
        other = word.lower()
    return rng.choice((word.upper(), other))


def _change_input(value: Any, change: TextChange) -> tuple[Any, list[str]]:
    """Change the text of an input; return the new input and the list of changes.

    The text of an object is under one of `TEXT_KEYS`, the text of a list of messages in the last one. An input without a text
    stays as it is.
    """
    if isinstance(value, str):
        return change(value)
    is_filled_list = isinstance(value, (list, tuple)) and len(value) > 0
    if is_filled_list and isinstance(value[-1], Mapping):
        message, changes = _change_input(value[-1], change)
        return [*value[:-1], message], changes
    if isinstance(value, Mapping):
        for key in TEXT_KEYS:
            if key in value:
                inner, changes = _change_input(value[key], change)
                return {**value, key: inner}, changes
    return value, []


def _change_case(case: Case, change: TextChange) -> Variant:
    """Return a case with the text of its input changed, and the changes; none if the input is the same afterwards.

    A case with `turns` stays as it is: a scripted user sends its turns, not its input.
    """
    if "turns" in case:
        return case, []
    new_input, changes = _change_input(case.input, change)
    if new_input == case.input:
        changes = []
    return replace(case, input=new_input), changes


def _misspell_words(case: Case, rng: Random) -> list[Variant]:
    return [_change_case(case, lambda text: change_words(text, rng, _misspell))]


def _change_letter_case(case: Case, rng: Random) -> list[Variant]:
    return [_change_case(case, lambda text: change_words(text, rng, _swap_letter_case))]


def _paraphrase(case: Case, _rng: Random) -> list[Variant]:
    """Return a variant for each text under the key ``paraphrases`` of the case."""

    def replace_text(text: str) -> Variant:
        return _change_case(case, lambda _: (text, [text]))

    return [replace_text(text) for text in _read_texts(case, "paraphrases")]


def _change_lists(case: Case, keys: Sequence[str], change: Callable[[list[Any]], list[Any]]) -> list[Variant]:
    """Return the case with its lists under these keys changed, as the only variant; no variant if no list changes.

    The lists of the input are changed; only if there is nothing to change, the lists of the case's data.
    """
    for name in ("input", "data"):
        holder = getattr(case, name)  # the object that holds the lists
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
    """Return the case with its lists in another order; if the shuffled order is the old one, the first item is moved to the end."""

    def reorder(items: list[Any]) -> list[Any]:
        shuffled = rng.sample(items, len(items))
        if shuffled != items:
            return shuffled
        return [*items[1:], items[0]]

    return _change_lists(case, LIST_KEYS, reorder)


def _add_distractor(case: Case, rng: Random) -> list[Variant]:
    """Return the case with a document that does not help, at a random place among its documents."""

    def add_document(documents: list[Any]) -> list[Any]:
        texts = _read_texts(case, "distractors") or [DISTRACTOR]
        text = rng.choice(texts)
        document = _shape_document(text, like=documents[0])
        place = rng.randrange(len(documents) + 1)
        return [*documents[:place], document, *documents[place:]]

    return _change_lists(case, DOCUMENT_KEYS, add_document)


def _shape_document(text: str, *, like: Any) -> Any:
    """Return a document with the keys of another one, but this text; a plain text if the other one is not an object."""
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
    """Return the list of texts that a case has under a key; an empty list without the key."""
    texts: object = case.data.get(key, [])
    if not isinstance(texts, (list, tuple)) or not has_only_texts(texts):
        got = shorten_text(repr(texts), 80)
        raise UsageError(f"case {case.id}: {key}: expected a list of texts, got {got}")
    return texts


@dataclass(frozen=True, slots=True)
class Transformation:
    """A kind of change to cases, such as typos: a test must have the same verdict on a case and on its variants.

    Attributes:
        make_variants: Returns the changed cases, each with the list of its changes.
        needs: The part of a case that the change needs, for messages.
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
    """Return each case, followed by its variants; ``case.robust`` of a variant describes the transformation and its changes.

    If a transformation finds nothing to change in a case, the variant is the case itself with a reason to skip it
    (``case.robust["skip"]``). If it finds nothing in any case, its first variant also has an error (``case.robust["error"]``),
    so that only this test fails, and the other transformations are run.

    Args:
        cases: The cases.
        names: Keys of `TRANSFORMATIONS`.
        seed: Another seed gives other changes.
        equal: The result that must stay equal (``verdict``), for the report.
        where: The name of the test, for errors.

    Raises:
        UsageError: Paraphrases or distractors are not texts, or two cases would have the same id.

    >>> [case.id for case in add_changed_cases([Case(id="a", input="Can I return it?")], ["typos"])]
    ['a', 'a~typos']
    """
    expanded = list[Case]()
    facts = dict[str, list[dict[str, Json]]]()  # by transformation; the same objects as `Case.robust`
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
                    needs = _describe_needs(case, name)
                    fact["skip"] = f"{name} changes nothing in this case: it needs {needs}"
                facts.setdefault(name, []).append(fact)
                expanded.append(replace(changed, id=case.id + suffix, robust=fact))
    ids = {case.id for case in expanded}
    if len(ids) < len(expanded):
        culprits = [case.id for case in cases if "~" in case.id]
        names_text = ", ".join(culprits)
        raise UsageError(f"{where}: a case has the id of a changed one: rename {names_text}")
    for name, facts_of_name in facts.items():
        if all(fact["skip"] for fact in facts_of_name):
            needs = _describe_needs(cases[0], name)
            problem = f"{name} changes nothing in any case: it needs {needs}"
            facts_of_name[0]["error"] = f"{where}: {problem}"
    return expanded


def _make_variants(case: Case, name: str, seed: int) -> list[Variant]:
    """Return the variants of a case, at least one: the case itself without changes if the transformation makes none."""
    if name == UNCHANGED:
        return [(case, [UNCHANGED])]
    rng = Random(f"{seed} {name} {case.id}")  # noqa: S311 -- no secret
    variants = TRANSFORMATIONS[name].make_variants(case, rng)
    return variants or [(case, [])]


def _describe_needs(case: Case, name: str) -> str:
    """Return the part of a case that the change needs, for messages."""
    needs = TRANSFORMATIONS[name].needs
    if "turns" in case and name not in ("order", "distractor"):
        return f"{needs}, and no `turns`"
    return needs


def _id_suffix(name: str, number: int) -> str:
    """Return the suffix of the id of a case: "", "~typos", and "~typos-2" for a second variant."""
    if name == UNCHANGED:
        return ""
    if number == 1:
        return f"~{name}"
    return f"~{name}-{number}"
