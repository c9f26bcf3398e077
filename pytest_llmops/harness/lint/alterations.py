"""Altered answers: emptied, refused, replaced, and with other numbers, dates, negations, names and JSON.

No chance is involved: the same answer has the same alterations in every run and on every machine.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from pytest_llmops.measurement import Json
from pytest_llmops.schemas.json_extraction import JsonMatch, find_json

REFUSAL = "I'm sorry, but I can't help with that."
OTHER_TEXT = "The old lighthouse was painted white in spring."
# Something of all that an assertion may forbid: layout, links, code, other scripts, money, questions, shouting ...
OTHER_ANSWER = """## Opening hours 😀

As an AI language model, I think the museum opens on 14 May 2031 at 10:45; *perhaps* not! Really?! **WARNING**: TODO, {{name}}, [NAME].

- Adults: €17.50, $20 or £15 (100 %), <b>free</b> for children & guests\t#1
1. Write to Ms Okafor <okafor@example.org>, +1 555 0100, or see https://example.org/a?b=c_d

| hall | open |
|---|---|
| 3 | "yes" |



```python
print({"hall": [3, null]})
```
東京, Привет, مرحبا, naïve, №8, $x^2$, `ls -l` ...  (250 %; 1066) damn\u200b\x07
"""
RUN_ON = "and so the keeper walked on " * 25
LONG_WORD = "Rindfleisch" * 60
# Values that a schema may refuse in any place
EXTREMES: tuple[Json, ...] = (
    None,
    "",
    "long " * 2_000,
    -(10**12),
    10**12,
    0.5,
    [],
    {},
    [[[[[[[[1]]]]]]]],
    {"a": {"a": {"a": {"a": {"a": {"a": {"a": 1}}}}}}},
)
MANY = 60  # how often the text with something of all is repeated, and how many keys are added
LENGTHENED = 20  # how often an answer is repeated to be too long
MAX_LONG_CHARS = 200_000
MAX_JSON_CHARS = 65_536  # an answer with more is not searched for JSON
MAX_KEYS = 3  # keys of an object that are dropped and retyped
OTHER_NAMES = ("Quillon", "Zorvath", "Marnwick")
_NUMBER = re.compile(r"(?<![\w.])\d{1,15}(?:[.,]\d{1,15})*")
_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_DATE = re.compile(rf"\b(?:\d{{4}}-\d\d-\d\d|(?:19|20)\d\d|{'|'.join((*_MONTHS, *_WEEKDAYS))})\b")
_NEGATION = re.compile(r"\b(?:not|never|no)\s|n['’]t\b", re.IGNORECASE)
_VERB = re.compile(r"\b(?:is|are|was|were|can|could|may|must|will|would|should|does|do|did|has|have|had)\b")
# A word with a capital letter that does not begin a sentence
_NAME = re.compile(r"(?<=[\w,;:(] )[A-Z][a-z]{2,}\b")
_ANY_NAME = re.compile(r"\b[A-Z][a-z]{2,}\b")


@dataclass(frozen=True, slots=True)
class Alteration:
    """An answer that was altered.

    Attributes:
        kind: The change: "emptied", "number changed" ...
        answer: The altered answer.
    """

    kind: str
    answer: object


_ADDED_KEYS = {f"Key {number}: é-" + number * "x": OTHER_TEXT for number in range(MANY)}
TextChange: TypeAlias = Callable[[str], str]


def iter_alterations(answer: object) -> Iterator[Alteration]:
    """Yield altered answers, those first that most assertions fail on; none is equal to the answer, and none comes twice.

    Args:
        answer: A text, a number or JSON that is already parsed. Anything else has no alterations.

    >>> [alteration.answer for alteration in iter_alterations("It takes 30 days.")][-3:]
    ['It takes 37 days.', 'It ta', 'It takes']
    >>> [alteration.answer for alteration in iter_alterations({"qty": 2})][:3]
    [{}, [], {'qty': '2'}]
    """
    seen: list[object] = [answer]
    for alteration in _iter_all(answer):
        if not any(_is_same(alteration.answer, earlier) for earlier in seen):
            seen.append(alteration.answer)
            yield alteration


def _is_same(value: object, other: object) -> bool:
    """Return whether two values are equal and of one type: 1 and True are not the same answer."""
    return type(value) is type(other) and value == other


def _iter_all(answer: object) -> Iterator[Alteration]:
    if isinstance(answer, str):
        yield from _iter_texts(answer)
    elif isinstance(answer, (Mapping, list)):
        yield from _iter_values(answer)
    elif isinstance(answer, (int, float)) and not isinstance(answer, bool):
        for number in (0, -answer, answer * 1000 + 1):
            yield Alteration("number changed", type(answer)(number))


def _iter_texts(text: str) -> Iterator[Alteration]:
    """Yield the altered texts of a text."""
    yield Alteration("emptied", "")
    yield Alteration("refused", REFUSAL)
    yield Alteration("replaced", OTHER_TEXT)
    yield Alteration("replaced", OTHER_ANSWER)
    yield Alteration("another text added", f"{text}\n{OTHER_ANSWER}")
    yield Alteration("repeated", _repeat(text, "\n"))
    yield Alteration("repeated", _repeat(text, " "))
    yield Alteration("replaced", OTHER_ANSWER * MANY)
    yield Alteration("replaced", RUN_ON)
    yield Alteration("replaced", LONG_WORD)
    yield from _iter_json_texts(text)
    for kind, change in _TEXT_CHANGES.items():
        yield Alteration(kind, change(text))
    yield Alteration("cut", text[: len(text) // 3])
    yield Alteration("cut", text[: len(text) // 2])


def _repeat(text: str, separator: str) -> str:
    """Return a text repeated until it is too long, but not so long that it needs much time."""
    times = min(LENGTHENED, MAX_LONG_CHARS // (len(text) + 1))
    return separator.join([text] * max(times, 2))


def _iter_json_texts(text: str) -> Iterator[Alteration]:
    """Yield a text with its JSON altered: keys dropped, values of another type."""
    if len(text) > MAX_JSON_CHARS or ("{" not in text and "[" not in text):
        return
    match = find_json(text)
    if not isinstance(match, JsonMatch):
        return
    for alteration in _iter_values(match.value):
        changed = json.dumps(alteration.answer, ensure_ascii=False)
        yield Alteration(alteration.kind, text[: match.start] + changed + text[match.end :])


def _iter_values(value: object) -> Iterator[Alteration]:
    """Yield the altered values of an object or a list."""
    yield Alteration("JSON emptied", {})
    yield Alteration("JSON emptied", [])
    if isinstance(value, Mapping):
        for key in list(value)[:MAX_KEYS]:
            yield Alteration(f"key {key} dropped", {name: value[name] for name in value if name != key})
            yield Alteration(f"key {key} retyped", {**value, key: _retype(value[key])})
        yield Alteration("keys added", {**value, **_ADDED_KEYS})
    else:
        items = list(value)  # type: ignore[call-overload]
        yield Alteration("items retyped", [_retype(item) for item in items])
        yield Alteration("items added", [*items, *([OTHER_TEXT] * MANY)])
    yield Alteration("values changed", _change_values(value))
    for extreme in EXTREMES:
        yield Alteration("values replaced", _replace_values(value, extreme))


def _retype(value: object) -> Json:
    """Return a JSON value of another type, as like as possible.

    >>> _retype(2), _retype("2"), _retype(None), _retype([1])
    ('2', ['2'], 'null', {})
    """
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return {}
    if isinstance(value, Mapping):
        return []
    return json.dumps(value, default=str)


def _change_values(value: object) -> object:
    """Return JSON of the same form with other numbers, texts and truth values."""
    if isinstance(value, Mapping):
        return {name: _change_values(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_change_values(item) for item in value]
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return OTHER_TEXT
    if isinstance(value, (int, float)):
        return -1000 * value - 7
    return value


def _replace_values(value: object, extreme: Json) -> object:
    """Return JSON of the same form with all numbers, texts and truth values replaced by one value."""
    if isinstance(value, Mapping):
        return {name: _replace_values(item, extreme) for name, item in value.items()}
    if isinstance(value, list):
        return [_replace_values(item, extreme) for item in value]
    return extreme


def change_numbers(text: str) -> str:
    """Return a text with another last digit in each number.

    >>> change_numbers("30 days, $10.50, RFC7231")
    '37 days, $10.57, RFC7231'
    """
    return _NUMBER.sub(lambda match: match[0][:-1] + str((int(match[0][-1]) + 7) % 10), text)


def change_dates(text: str) -> str:
    """Return a text with other years, months and weekdays.

    >>> change_dates("On Monday, 3 March 2025; 2025-03-03.")
    'On Tuesday, 3 April 2026; 2026-03-03.'
    """
    return _DATE.sub(_change_date, text)


def _change_date(match: re.Match[str]) -> str:
    date = match[0]
    for names in (_MONTHS, _WEEKDAYS):
        if date in names:
            return names[(names.index(date) + 1) % len(names)]
    return f"{int(date[:4]) + 1:04}{date[4:]}"


def change_negation(text: str) -> str:
    """Return a text without its first negation; if it has none, with one behind its first auxiliary verb.

    >>> change_negation("You can return it."), change_negation("You cannot. It is not open.")
    ('You can not return it.', 'You cannot. It is open.')
    """
    if _NEGATION.search(text):
        return _NEGATION.sub("", text, count=1)
    return _VERB.sub(r"\g<0> not", text, count=1)


def change_names(text: str) -> str:
    """Return a text with other names: words with a capital letter, within a sentence if there are any.

    >>> change_names("Ask Anna in Oslo.")
    'Ask Quillon in Zorvath.'
    """
    pattern = _NAME if _NAME.search(text) else _ANY_NAME
    names: dict[str, str] = {}

    def rename(match: re.Match[str]) -> str:
        return names.setdefault(match[0], OTHER_NAMES[len(names) % len(OTHER_NAMES)])

    return pattern.sub(rename, text)


_TEXT_CHANGES: Mapping[str, TextChange] = {
    "negation changed": change_negation,
    "name changed": change_names,
    "date changed": change_dates,
    "number changed": change_numbers,
}
