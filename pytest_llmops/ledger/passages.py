"""The text of a document in passages: each rule, and the text between rules; and the same without secrets."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from pytest_llmops.ledger.model import Document, LedgerResult, Line, Rule
from pytest_llmops.redaction.redactor import Redactor


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A part of the text of a document.

    Attributes:
        text: It, without blank lines at its ends.
        line: The line of the file on which it begins.
        rule: The rule that it belongs to; None: it is not a rule, but for example a heading or front matter.
        is_first: Whether it is the first passage of its rule.
        starts_line: Whether it begins at the start of a line.
        after_blank: Whether there is a blank line above it.
    """

    text: str
    line: int
    rule: Rule | None
    is_first: bool
    starts_line: bool
    after_blank: bool


def split_document(document: Document) -> list[Passage]:
    r"""Return the whole text of a document in passages; text that is only white space belongs to none.

    A rule without a passage of its own, because another one has the same place, follows at the end with its text.

    >>> from pathlib import Path
    >>> rule = Rule(number=1, text="Be brief.", first_line=2, last_line=2, spans=((7, 16),), kind="sentence")
    >>> document = Document(name="a.md", path=Path("a.md"), text="# Tone\nBe brief.\n", rules=(rule,))
    >>> [(passage.line, passage.text) for passage in split_document(document)]
    [(1, '# Tone'), (2, 'Be brief.')]
    """
    passages = []
    seen: set[int] = set()
    line = 1
    place = 0
    for start, end, rule in _iter_parts(document):
        line += document.text.count("\n", place, start)
        place = start
        part = document.text[start:end]
        text = part.strip("\r\n").rstrip()
        if not text.strip():
            continue
        first = start + part.index(text)
        above = document.text[:first].replace("\r", "")[-2:]
        passage = Passage(
            text=text.replace("\r\n", "\n"),
            line=line + document.text.count("\n", start, first),
            rule=rule,
            is_first=rule is not None and rule.number not in seen,
            starts_line=not above or above.endswith("\n"),
            after_blank=above == "\n\n",
        )
        passages.append(passage)
        if rule is not None:
            seen.add(rule.number)
    for rule in document.rules:
        if rule.number not in seen:
            passages.append(_make_lost_passage(rule))
    return passages


def _make_lost_passage(rule: Rule) -> Passage:
    return Passage(
        text=rule.text, line=rule.first_line, rule=rule, is_first=True, starts_line=True, after_blank=False
    )


def _iter_parts(document: Document) -> Iterator[tuple[int, int, Rule | None]]:
    """Yield start, end and rule of the parts of the text in order; neighbours of one rule are one part."""
    spans = sorted((start, end, rule.number) for rule in document.rules for start, end in rule.spans)
    rules = {rule.number: rule for rule in document.rules}
    parts: list[tuple[int, int, int]] = []
    place = 0
    for start, end, number in spans:
        start = max(start, place)  # noqa: PLW2901 -- another rule has it already
        if end <= start:
            continue
        if start > place:
            parts.append((place, start, 0))
        parts.append((start, end, number))
        place = end
    parts.append((place, len(document.text), 0))
    parts = _join_neighbours(document.text, parts)
    for start, end, number in parts:
        yield start, end, rules.get(number)


def _join_neighbours(text: str, parts: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """Return the parts. Parts of one rule become one, if only white space is between them."""
    joined: list[tuple[int, int, int]] = []
    for start, end, number in parts:
        if not number and not text[start:end].strip():
            continue
        if joined and number and joined[-1][2] == number:
            start = joined.pop()[0]  # noqa: PLW2901
        joined.append((start, end, number))
    return joined


def make_mask() -> Callable[[str], str]:
    """Return a function that masks secrets in a text: the values of environment variables, and texts in the form of a secret."""
    return Redactor.from_environment(dict(os.environ)).clean_excerpt


def mask_result(result: LedgerResult) -> LedgerResult:
    """Return a ledger with the secrets in its texts masked; the text of the document itself is left, as rules refer to places in it."""
    mask = make_mask()
    together = result.together
    if together is not None:
        together = _mask_line(together, mask)
    rules = tuple(replace(rule, text=mask(rule.text)) for rule in result.document.rules)
    return replace(
        result,
        document=replace(result.document, rules=rules),
        lines=tuple(_mask_line(line, mask) for line in result.lines),
        together=together,
        notes=tuple(map(mask, result.notes)),
    )


def _mask_line(line: Line, mask: Callable[[str], str]) -> Line:
    cases = []
    for case in line.cases:
        cases.append(
            replace(case, answer_before=mask(case.answer_before), answer_after=mask(case.answer_after))
        )
    return replace(line, why=mask(line.why), next_step=mask(line.next_step), cases=tuple(cases))
