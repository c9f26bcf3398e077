"""A semantic cache under test: how it is called, what was put into it, and the rules that it breaks."""

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
    """What a cache is asked: a question, and what an answer depends on besides (tenant, prompt version, model, parameters)."""

    prompt: str
    scope: Mapping[str, str] = field(default_factory=dict)


class Question(NamedTuple):
    """A question to the cache, and the id of the answer that is right; ``kind`` is for the report."""

    kind: str
    text: str
    answer_id: str


class Group(NamedTuple):
    """Questions to a cache that is empty at their start; ``unit`` is what their hits count for together, "" for each alone."""

    unit: str
    questions: Sequence[Question]


@dataclass(frozen=True, slots=True)
class Source:
    """The questions of the pairs, or of the traffic.

    Attributes:
        name: ``pairs`` or ``traffic``.
        asked: How many questions should be hit.
        could_be_false: How many could get a wrong answer.
    """

    name: str
    groups: Sequence[Group]
    asked: int
    could_be_false: int


class Entry(NamedTuple):
    """What was put into the cache."""

    query: CacheQuery
    answer: str
    answer_id: str


@dataclass(frozen=True, slots=True)
class Hit:
    """An answer from the cache, and the question that it was stored for."""

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
        functions: ``get``, ``put``, ``clear`` and the ways by which an entry ends.
        ways: The names of these ways: ``expiry``, ``rollback``.
        scope: What each key of a scope is called; the value of the first one changes with each group of questions.
        calls: The names of the functions, as they were called.
        entries: By the number in an answer, or by the answer if it has none.
        violations: Of the rules that every cache must keep; the values are not used.
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
        """Return what a function of the cache returns, awaited if it has to be.

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
        """Return a query in a scope without entries."""
        self.call("clear")
        scope = dict(self.scope)
        for key in [*scope][:1]:
            scope[key] = f"{scope[key]}-{len(self.calls)}"
        return CacheQuery(text, scope)

    def put(self, query: CacheQuery, answer: str | None = None, answer_id: str = "") -> None:
        """Store an answer; None: one with a number of its own."""
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
        """Return the entry that a hit came from, or None."""
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
        """Return the entry of an answer, also of one that was changed but has its number; an empty one if there is none."""
        for key in (text, *_ANSWER_NUMBER.findall(text)):
            if key in self.entries:
                return self.entries[key]
        return Entry(CacheQuery(""), "", "")

    def check_rules(self, text: str, never_cached: Mapping[str, str]) -> None:
        """Note each rule that the cache breaks: a way that an entry must not be found."""
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
        """Note the problem if an answer is found that must not be: in another scope, after a way that ends it, or at all."""
        query = self.open_query(text)
        self.put(query, answer)
        self.call(way, query)
        scope = {**query.scope, **(other_scope or {})}
        if self.get(CacheQuery(text, scope)):
            self.violations[problem] = None

    def ask(self, groups: Iterable[Group]) -> Iterator[Hit]:
        """Yield the hits of questions by groups that start with an empty cache.

        What is missed is stored, of a group of pairs only the first question.
        """
        for unit, questions in groups:
            scope = self.open_query("").scope
            for number, question in enumerate(questions):
                query = CacheQuery(question.text, scope)
                entry = self.get(query)
                if entry:
                    is_right = entry.answer_id == question.answer_id
                    yield Hit(unit or number, is_right, question, entry.query.prompt)
                elif not unit or number == 0:
                    self.put(query, answer_id=question.answer_id)
