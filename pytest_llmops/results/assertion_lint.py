"""What ``--llm-lint`` found in a run: assertions that passed with every altered answer, and those that were not tried.

Each test has a fact about each of its assertions; those at the same place of the code are one assertion here.
"""

from __future__ import annotations  # `StoredFacts` reads the types of fields as texts

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

from pytest_llmops.measurement import Json, format_count
from pytest_llmops.results.details import StoredFacts, as_list
from pytest_llmops.results.run import TestRecord

FACT = "lint"
MOVED = "its value moved, but never beyond its threshold"  # why an own metric is not listed
SCOPE = "a lint of assertions with thresholds; it does not measure how much the suite checks"


@dataclass(frozen=True, slots=True, kw_only=True)
class LintedAssertion(StoredFacts):
    """An assertion of the suite, as one test or all of them ran it.

    Attributes:
        place: The file and line of the call.
        name: The name of the assertion.
        call: How it was called.
        label: Its label.
        answers: On how many answers it was tried.
        alterations: How many altered answers it got.
        failed: It failed on one of them, or on an answer itself.
        recorded: How often it had no threshold.
        why: Why it was not tried, or not enough; "": it was.
        kind: The change of the answer of the example: "emptied", "number changed" ...
        before: The beginning of that answer.
        after: The beginning of the altered answer.
    """

    place: str = ""
    name: str = ""
    call: str = ""
    label: str = ""
    answers: int = 0
    alterations: int = 0
    failed: bool = False
    recorded: int = 0
    why: str = ""
    kind: str = ""
    before: str = ""
    after: str = ""

    def to_wire(self) -> dict[str, Json]:
        """Return the facts as plain builtins, without empty fields."""
        values = {spec.name: getattr(self, spec.name) for spec in fields(self)}
        return {name: value for name, value in values.items() if value}

    @property
    def cannot_fail(self) -> bool:
        """Whether it was tried, and passed each time."""
        return self.alterations > 0 and not self.failed and not self.why

    @property
    def sentence(self) -> str:
        """The tried changes, with one altered answer that passed.

        >>> LintedAssertion(place="t.py:3", call="assert_x(answer)", answers=1, alterations=9, kind="emptied", before="Yes.").sentence
        't.py:3 assert_x(answer): passed on 1 answer and 9 alterations, such as "Yes." -> "" (emptied)'
        """
        tried = f"{format_count(self.answers, 'answer')} and {format_count(self.alterations, 'alteration')}"
        text = f"{self.place} {self.call}: passed on {tried}"
        if not self.kind:
            return text
        return f'{text}, such as "{self.before}" -> "{self.after}" ({self.kind})'

    def add(self, other: LintedAssertion) -> LintedAssertion:
        """Return both as one assertion: it can fail if it failed in one test. The call is the one of the example.

        >>> first = LintedAssertion(call="assert_x(answer, 'free')")
        >>> second = LintedAssertion(call="assert_x(answer, '7')", kind="emptied", before="From 7 on.")
        >>> first.add(second).call
        "assert_x(answer, '7')"
        """
        shown = self if self.kind or not other.kind else other
        return LintedAssertion(
            place=self.place,
            name=self.name,
            call=shown.call or self.call or other.call,
            label=self.label,
            answers=self.answers + other.answers,
            alterations=self.alterations + other.alterations,
            failed=self.failed or other.failed,
            recorded=self.recorded + other.recorded,
            why=self.why or other.why,
            kind=shown.kind,
            before=shown.before,
            after=shown.after,
        )


@dataclass(frozen=True, slots=True)
class AssertionLint:
    """The assertions of a run with ``--llm-lint``.

    Attributes:
        toothless: Those that cannot fail.
        failable: How many failed on an altered answer.
        recorded: How many only record.
        skipped: How many were not tried, by the reason.
        moved: How many are metrics whose value moved, but never beyond the threshold: they may fail on other answers.
    """

    toothless: tuple[LintedAssertion, ...]
    failable: int
    recorded: int
    skipped: Sequence[tuple[str, int]]
    moved: int = 0

    @property
    def counts(self) -> str:
        """How many assertions cannot fail, and how many others there are.

        >>> AssertionLint((), 3, 1, [("needs too much time", 2)]).counts
        'no assertion passed on all altered answers; 3 can fail, 1 only records, 2 not tried'
        """
        number = len(self.toothless)
        subject = format_count(number, "assertion") if number else "no assertion"
        parts = [f"{self.failable:,} can fail"]
        if self.recorded:
            parts.append(f"{self.recorded:,} only record{'s' if self.recorded == 1 else ''}")
        if self.moved:
            parts.append(f"{self.moved:,} moved, but never beyond the threshold")
        not_tried = sum(count for _, count in self.skipped)
        if not_tried:
            parts.append(f"{not_tried:,} not tried")
        return f"{subject} passed on all altered answers; {', '.join(parts)}"

    @property
    def reasons(self) -> str:
        """Why assertions were not tried, each reason with their number; "": all were.

        >>> AssertionLint((), 0, 0, [("needs too much time", 2)]).reasons
        '2: needs too much time'
        """
        return "; ".join(f"{count:,}: {why}" for why, count in self.skipped)


def read_lint(records: Iterable[TestRecord]) -> AssertionLint | None:
    """Return the findings of the lint in the tests of a run; None: it was not a lint, or had no assertion.

    >>> facts = {"lint": [{"place": "t.py:3", "name": "assert_x", "answers": 1, "alterations": 4}]}
    >>> [assertion.place for assertion in read_lint([TestRecord(nodeid="t", facts=facts)]).toothless]
    ['t.py:3']
    """
    by_place: dict[tuple[str, str, str], LintedAssertion] = {}
    for record in records:
        for wire in as_list(record.facts.get(FACT)):
            assertion = LintedAssertion.from_wire(wire)
            key = assertion.place, assertion.name, assertion.label
            known = by_place.get(key)
            by_place[key] = assertion if known is None else known.add(assertion)
    if not by_place:
        return None
    assertions = sorted(by_place.values(), key=_sort_key)
    skipped = Counter(assertion.why for assertion in assertions if assertion.why and not assertion.failed)
    moved = skipped.pop(MOVED, 0)
    return AssertionLint(
        toothless=tuple(assertion for assertion in assertions if assertion.cannot_fail),
        failable=sum(assertion.failed for assertion in assertions),
        recorded=sum(map(_only_records, assertions)),
        skipped=sorted(skipped.items()),
        moved=moved,
    )


def _sort_key(assertion: LintedAssertion) -> tuple[str, int, str, str]:
    """Return a key that sorts by file and line."""
    file, _, line = assertion.place.rpartition(":")
    number = int(line) if line.isdecimal() else 0
    return file, number, assertion.name, assertion.label


def _only_records(assertion: LintedAssertion) -> bool:
    """Return whether an assertion never had a threshold."""
    is_tried = assertion.alterations > 0 or assertion.failed or assertion.why
    return assertion.recorded > 0 and not is_tried


def has_toothless(records: Iterable[TestRecord]) -> bool:
    """Return whether an assertion of a run passed on all altered answers.

    >>> has_toothless([])
    False
    """
    lint = read_lint(records)
    return lint is not None and bool(lint.toothless)
