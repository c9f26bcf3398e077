"""Change the input of a case without changing what it asks: typos, letter case, order, a distractor, paraphrases.

Every change is drawn by a seed and the case's id, so it is the same in every run and on every machine.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any

from pytest_llmops.cases.files import OTHER_NAMES, Case
from pytest_llmops.errors import UsageError
from pytest_llmops.measurement import Json, shorten_text

# Where the text of an input lies that is an object, or a list of messages, of which the last is changed
TEXT_KEYS = ("input", *OTHER_NAMES["input"], "messages", "content")
LIST_KEYS = ("documents", "contexts", "passages", "options", "choices")  # the first three are of documents
DISTRACTOR = "The old lighthouse was painted white in spring, and its keeper grows tomatoes behind the wall."
WORDS_PER_CHANGE, MAX_LISTED = 5, 20
_NEIGHBOURS = {
    key: row[max(place - 1, 0) : place] + row[place + 1 : place + 2]
    for row in ("qwertyuiop", "asdfghjkl", "zxcvbnm")
    for place, key in enumerate(row)
}
# Code, quoted text, template variables and tags come first: no word within them is a word of its own. A word is four
# letters or more between blanks: numbers, addresses, and what has any other sign in it stay as they are. A capital letter
# is that of a name, unless the word begins a sentence and is none (Will and May are names, too).
_TOKEN = re.compile(
    r"```.*?```|`[^`]*`|\"[^\"]*\"|“[^“”]*”|«[^«»]*»|(?<!\w)'[^'\n]*'(?!\w)|\{[^{}]*\}|<[^<>]*>|\[[^\[\]]*\]"
    r"|(?:\A|(?<=\n)|(?<=[.!?]\s))(?P<first>What|When|Where|Which|Whose|Does|Were|Have|Could|Would|Should|Shall|Please|There"
    r"|This|That|These|Those|Tell|Show|Give|Explain|Describe)(?=\s)"
    r"|(?P<word>(?<!\S)[^\W\d_]{4,}+(?=[.,;:!?)]*+(?!\S)))",
    re.DOTALL,
)


def change_words(text: str, rng: Random, change: Callable[[str, Random], str]) -> tuple[str, list[str]]:
    """Return a text in which one in five words is changed, at least one if there is any, and the changes.

    Words with a capital letter (names), words under four letters, digits, URLs, quoted text, code and template variables
    stay as they are. Without any other word, ``What``, ``Please`` and their like are changed where a sentence begins. Of a
    script without letter case nothing is: its names look like other words.

    >>> change_words("Can I return my tent from Berlin?", Random(0), lambda word, _: word.upper())
    ('Can I return my TENT from Berlin?', ['tent -> TENT'])
    """
    words = [match for match in _TOKEN.finditer(text) if (match["word"] or "").islower()] or [
        match for match in _TOKEN.finditer(text) if match["first"]
    ]
    changed = {
        match.start(): (match[0], change(match[0], rng))
        for match in rng.sample(words, -(-len(words) // WORDS_PER_CHANGE))
    }
    listed = [f"{old} -> {new}" for _, (old, new) in sorted(changed.items()) if old != new]
    return _TOKEN.sub(lambda match: changed.get(match.start(), ("", match[0]))[1], text), listed


def _misspell(word: str, rng: Random) -> str:
    # Behind the first letter: a letter is left out, swapped with the next, or the key beside it is hit.
    place = rng.randrange(1, len(word) - 1)
    head = word[:place]
    letter = word[place]
    tail = word[place + 1 :]
    forms = [tail, tail[0] + letter + tail[1:], *(key + tail for key in _NEIGHBOURS.get(letter, ""))]
    return head + rng.choice([form for form in forms if head + form != word])


def _rewrite(value: Any, change: Callable[[str], tuple[str, list[str]]]) -> tuple[Any, list[str]]:
    """Return an input with its text changed; as it is if there is none."""
    if isinstance(value, str):
        return change(value)
    is_chat = isinstance(value, (list, tuple)) and value and isinstance(value[-1], Mapping)
    for key in (
        [len(value) - 1]
        if is_chat
        else [key for key in TEXT_KEYS if isinstance(value, Mapping) and key in value]
    ):
        inner, changes = _rewrite(value[key], change)
        return ([*value[:-1], inner] if is_chat else {**value, key: inner}), changes
    return value, []


def _reword(
    case: Case, changes: Iterable[Callable[[str], tuple[str, list[str]]]]
) -> list[tuple[Case, list[str]]]:
    return [
        (replace(case, input=text), listed if text != case.input else [])
        for change in changes
        for text, listed in [_rewrite(case.input, change)]
    ]


def _change_lists(
    case: Case, names: Sequence[str], change: Callable[[list[Any]], list[Any]]
) -> list[tuple[Case, list[str]]]:
    """Change the lists of the input, or where it has none those beside it."""
    for key, side in (("input", case.input), ("data", case.data)):
        if isinstance(side, Mapping):
            lists: Any = {name: side.get(name) for name in names}
        else:
            lists = {}
        new: Any = {
            name: change([*old]) for name, old in lists.items() if old and isinstance(old, (list, tuple))
        }
        changes = [f"{name}: {shorten_text(repr(new[name]))}" for name in new if new[name] != [*lists[name]]]
        if changes:
            return [(replace(case, **{key: {**side, **new}}), changes)]  # type: ignore[dict-item, arg-type]
    return []


def _read_texts(case: Case, key: str) -> Any:
    texts: Any = case.data.get(key, [])
    if not isinstance(texts, (list, tuple)) or not all(
        isinstance(text, str) and text.strip() for text in texts
    ):
        raise UsageError(
            f"case {case.id}: {key}: expected a list of texts, got {shorten_text(repr(texts), 80)}"
        )
    return texts


def _add_distractor(case: Case, rng: Random, documents: list[Any]) -> list[Any]:
    text: Any = rng.choice(_read_texts(case, "distractors") or [DISTRACTOR])
    if isinstance(shape := documents[0], Mapping):
        document = {
            **shape,
            **({"id": "distractor"} if "id" in shape else {}),
            "content" if "content" in shape and "text" not in shape else "text": text,
        }
    else:
        document = text
    return [*documents[: (place := rng.randrange(len(documents) + 1))], document, *documents[place:]]


# Each gives cases whose test must have the verdict of the case as it is; and what it needs to find
TRANSFORMATIONS: Mapping[str, tuple[Callable[[Case, Random], list[tuple[Case, list[str]]]], str]] = {
    "typos": (
        lambda case, rng: _reword(case, [lambda text: change_words(text, rng, _misspell)]),
        "a text with a lower-case word of four letters or more, in a script that has letter case",
    ),
    "case": (
        lambda case, rng: _reword(
            case,
            [
                lambda text: change_words(
                    text,
                    rng,
                    lambda word, _: rng.choice(
                        (word.upper(), word.title() if word.islower() else word.lower())
                    ),
                )
            ],
        ),
        "a text with a lower-case word of four letters or more, in a script that has letter case",
    ),
    "order": (
        lambda case, rng: _change_lists(
            case,
            LIST_KEYS,
            lambda items: next(
                (new for new in (rng.sample(items, len(items)), [*items[1:], items[0]]) if new != items),
                items,
            ),
        ),
        f"a list of two or more ({', '.join(LIST_KEYS)})",
    ),
    "distractor": (
        lambda case, rng: _change_lists(case, LIST_KEYS[:3], lambda items: _add_distractor(case, rng, items)),
        f"a list ({', '.join(LIST_KEYS[:3])})",
    ),
    "paraphrase": (
        lambda case, _: _reword(
            case,
            [lambda _, text=text: (text, [text]) for text in _read_texts(case, "paraphrases")],  # type: ignore[misc]
        ),
        "texts in the key 'paraphrases'",
    ),
}


def add_changed_cases(
    cases: Sequence[Case], names: Sequence[str], *, seed: int = 0, equal: str = "verdict", where: str = ""
) -> list[Case]:
    """Return each case, followed by those with its input changed; ``case.robust`` says by which transformation.

    A transformation that finds nothing to change in a case gives a case with a reason to skip it; if it finds nothing in any case,
    the first one has an error instead (``case.robust["error"]``), so that the other transformations are run.

    Args:
        cases: The cases.
        names: Of `TRANSFORMATIONS`.
        seed: Another seed draws other changes.
        equal: What must stay equal, for the report.
        where: The test, for errors.

    Raises:
        UsageError: Paraphrases or distractors are no texts, or an id stands twice.

    >>> [case.id for case in add_changed_cases([Case(id="a", input="Can I return it?")], ["typos"])]
    ['a', 'a~typos']
    """
    given = list[Case]()
    facts = dict[str, list[dict[str, Json]]]()
    for case in cases:
        for place, name in enumerate(["unchanged", *names]):
            transform, needs = TRANSFORMATIONS.get(name, (lambda case, _: [(case, [name])], ""))  # noqa: B023 -- called here
            made = transform(case, Random(f"{seed} {name} {case.id}"))  # noqa: S311 -- no secret
            for number, (changed, changes) in enumerate(made or [(case, [])], start=1):
                if place:
                    suffix = f"~{name}{f'-{number}' if number > 1 else ''}"
                else:
                    suffix = ""
                facts.setdefault(name, []).append(
                    {
                        "argument": "input",
                        "value": name,
                        "base": "unchanged",
                        "place": place,
                        "equal": equal,
                        "suffix": suffix,
                        "changes": changes[:MAX_LISTED],
                        "skip": "" if changes else f"{name} changes nothing in this case: it needs {needs}",
                        "error": "",
                    }
                )
                given.append(replace(changed, id=case.id + suffix, robust=facts[name][-1]))
    if len({case.id for case in given}) < len(given):
        raise UsageError(
            f"{where}: the id of a case is that of a changed one: rename {', '.join(case.id for case in cases if '~' in case.id)}"
        )
    for name, listed in facts.items():
        if all(each["skip"] for each in listed):
            listed[0]["error"] = (
                f"{where}: {name} changes nothing in any case: it needs {TRANSFORMATIONS[name][1]}"
            )
    return given
