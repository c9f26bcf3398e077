"""A semantic cache under test: the calls to it, the entries that were put into it, and the rules that it breaks.

A *unit* is a set of hits that count as one in statistics, as they are not independent. A *way* is how an entry ends:
``expiry`` or ``rollback``.
"""

import re
from asyncio import AbstractEventLoop, Runner
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from time import monotonic, sleep
from typing import Any, NamedTuple

from pytest_llmops.errors import LLMOpsError, describe_exception
from pytest_llmops.measurement import shorten_text

_ANSWER_NUMBER = re.compile(r"\[([0-9a-f]{16})\]")


@dataclass(frozen=True, slots=True)
class CacheQuery:
    """A query to a cache: the question, and the scope, which is all else that the answer depends on.

    Attributes:
        prompt: The question.
        scope: Tenant, prompt version, model, parameters ..., by name.
    """

    prompt: str
    scope: Mapping[str, str] = field(default_factory=dict)


class Question(NamedTuple):
    """A question to the cache, and the id of its right answer; ``kind`` is for the report."""

    kind: str
    text: str
    answer_id: str


class Group(NamedTuple):
    """Questions that start with an empty cache. All their hits belong to ``unit``; "": every hit is a unit by itself."""

    unit: str
    questions: Sequence[Question]


@dataclass(frozen=True, slots=True)
class Source:
    """The questions of the pairs, or of the traffic.

    Attributes:
        name: ``pairs`` or ``traffic``.
        asked: The number of questions that should be hit.
        could_be_false: How many could get a wrong answer.
    """

    name: str
    groups: Sequence[Group]
    asked: int
    could_be_false: int


class Entry(NamedTuple):
    """An entry of the cache, as the probe has put it."""

    query: CacheQuery
    answer: str
    answer_id: str


@dataclass(frozen=True, slots=True)
class Hit:
    """An answer from the cache.

    Attributes:
        unit: The hits with the same unit count as one.
        is_right: Whether it is the answer to the question.
        question: The question that got it.
        stored: The text of the question for which it was stored.
    """

    unit: str | int
    is_right: bool
    question: Question
    stored: str

    def __str__(self) -> str:
        kind = shorten_text(self.question.kind, 40)
        asked = shorten_text(self.question.text, 100)
        stored = shorten_text(self.stored, 100)
        return f"{kind}: {asked!r} got the answer to {stored!r}"


@dataclass(slots=True)
class Probe:
    """A cache under test, with all that was put into it.

    Attributes:
        functions: Name -> function: ``get``, ``put``, ``clear`` and the ways that are checked.
        ways: The names of the ways that are checked: ``expiry``, ``rollback``.
        scope: The scope of the queries; the first value gets another ending for each group of questions.
        random: The source of the numbers in answers.
        index_time_s: How long the cache may take until it finds an entry that was put.
        runner: Runs the coroutines of an asynchronous cache.
        loop: Its event loop, once the probe runs.
        calls: The names of the called functions, in order.
        entries: The entries by the number in their answer, or by the answer if it has no number.
        violations: Descriptions of the rules that the cache broke, in order; the values are not used.
    """

    functions: dict[str, Callable[..., Any]]
    ways: tuple[str, ...]
    scope: dict[str, str]
    random: Random
    index_time_s: float
    runner: Runner = field(default_factory=Runner)
    loop: AbstractEventLoop | None = None
    calls: list[str] = field(default_factory=list)
    entries: dict[str, Entry] = field(default_factory=dict)
    violations: dict[str, None] = field(default_factory=dict)

    def call(self, name: str, *arguments: object) -> object:
        """Call a function of the cache; return its result, which is awaited if necessary.

        Raises:
            LLMOpsError: The cache raised; names the function.
        """
        self.calls.append(name)
        try:
            result = self.functions[name](*arguments)
            if hasattr(result, "__await__"):
                result = self.runner.get_loop().run_until_complete(result)
        except Exception as error:
            raise LLMOpsError(f"the cache raised in {name}: {describe_exception(error)}") from error
        return result

    def open_query(self, text: str) -> CacheQuery:
        """Empty the cache, and return a query in a scope that has no entries even if it could not be emptied."""
        self.call("clear")
        scope = dict(self.scope)
        for key in [*scope][:1]:
            scope[key] = f"{scope[key]}-{len(self.calls)}"
        return CacheQuery(text, scope)

    def put(self, query: CacheQuery, answer: str | None = None, answer_id: str = "") -> None:
        """Store an answer, and wait until the cache finds it; None: an answer with a unique number."""
        number = f"{self.random.getrandbits(64):016x}"
        if answer is None:
            answer = f"An answer with the number [{number}]."
            self.entries[number] = Entry(query, answer, answer_id)
        else:
            self.entries[answer] = Entry(query, answer, answer_id)
        self.call("put", query, answer)
        end = monotonic() + self.index_time_s
        while monotonic() < end and self.call("get", query) is None:
            sleep(0.01)

    def get(self, query: CacheQuery) -> Entry | None:
        """Return the entry of a hit; None for a miss. A changed answer, or one of another scope, is a violation."""
        answer = self.call("get", query)
        if answer is None:
            return None
        entry = self.find_entry(str(answer))
        if not isinstance(answer, str) or answer != entry.answer:
            short_answer = shorten_text(str(answer), 80)
            violation = f"changed an answer, or returned one that was never stored: {short_answer!r}"
            self.violations[violation] = None
        for key, value in query.scope.items():
            if entry.query.scope.get(key, value) != value:
                self.violations[f"returned the answer of another {key}"] = None
        return entry

    def find_entry(self, text: str) -> Entry:
        """Return the entry of an answer, by its text or by a number in it; an empty entry if it was never stored."""
        for key in (text, *_ANSWER_NUMBER.findall(text)):
            if key in self.entries:
                return self.entries[key]
        return Entry(CacheQuery(""), "", "")

    def check_rules(self, text: str, never_cached: Mapping[str, str]) -> None:
        """Check the rules for all caches with a question, and note the violations.

        An entry must not be found in another scope or after it has ended, and some answers must not be stored.
        """
        for key, own in self.scope.items():
            other_scope = {key: f"another {key} than {own}"}
            self.check_rule(text, f"returned the answer of another {key}", other_scope=other_scope)
        for what, answer in never_cached.items():
            violation = f"stored {what}: {answer!r}, which the probe put into it"
            self.check_rule(text, violation, answer=answer)
        for way in self.ways:
            self.check_rule(text, f"returned an answer after its {way}", way=way)

    def check_rule(
        self,
        text: str,
        problem: str,
        *,
        answer: str | None = None,
        other_scope: Mapping[str, str] | None = None,
        way: str = "get",
    ) -> None:
        """Store an answer, and note the problem if the cache returns it although it must not.

        Args:
            text: The question.
            problem: The violation to note.
            answer: The answer; None: one with a unique number.
            other_scope: Values that the scope has for the question; None: the same scope.
            way: The way that ends the entry before the question; ``get``: none.
        """
        query = self.open_query(text)
        self.put(query, answer)
        self.call(way, query)  # a mere "get" changes nothing
        scope = {**query.scope, **(other_scope or {})}
        if self.get(CacheQuery(text, scope)):
            self.violations[problem] = None

    def ask(self, groups: Iterable[Group]) -> Iterator[Hit]:
        """Ask the questions of groups, and yield the hits. Every group starts with an empty cache.

        After a miss the answer is stored; in a group of pairs, which has a unit, only the answer of the first question.
        """
        for unit, questions in groups:
            scope = self.open_query("").scope
            for number, question in enumerate(questions):
                query = CacheQuery(question.text, scope)
                entry = self.get(query)
                if entry:
                    is_right = entry.answer_id == question.answer_id
                    yield Hit(unit or number, is_right, question, entry.query.prompt)
                    continue
                is_stored = not unit or number == 0
                if is_stored:
                    self.put(query, answer_id=question.answer_id)
