"""Probe a semantic cache: what it must answer again, what it must not, and what it saves on a traffic file.

No cache is included: any with ``get`` and ``put`` can be probed, LangChain's, redisvl's, or two functions.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextvars import copy_context
from dataclasses import dataclass, field
from importlib import import_module
from itertools import groupby
from pathlib import Path
from random import Random
from threading import Thread
from typing import Any, NamedTuple, TypeAlias

from pytest_llmops._util.text_files import BadFile, as_mapping
from pytest_llmops._util.user_files import find_path
from pytest_llmops.cases.files import Case, read_rows
from pytest_llmops.errors import CaseError, LLMOpsError, describe_exception, refuse
from pytest_llmops.measurement import as_finite_float, format_count, shorten_text
from pytest_llmops.protocols import Call

SCOPE = {"tenant": "tenant-1", "prompt_version": "1", "model": "model-1", "parameters": "temperature=0"}
NEVER_CACHED = {
    "a refusal": "I'm sorry, but I can't help with that.",
    "an error": "Error code: 500 - Internal server error",
    "an empty answer": "",
}
_NAME = re.compile(r"(?<=[a-z,] )[A-Z]\w*[a-z]\w*")
_EDITS = (
    (re.compile(r"\d{1,15}"), lambda match: str(int(match[0]) + 1)),
    (
        re.compile(
            r"\b(?:is|are|was|can|could|do|does|did|will|would|should|may|must|have|has)\b(?: (?:I|you|we|it|they)\b)?",
            re.IGNORECASE,
        ),
        lambda match: f"{match[0]} not",
    ),
)


@dataclass(frozen=True, slots=True)
class CacheQuery:
    """What a cache is asked: a question, and what an answer depends on besides (tenant, prompt version, model, parameters)."""

    prompt: str
    scope: Mapping[str, str] = field(default_factory=dict)


# Questions (kind, question, answer id) by what they count for together ("" for each alone)
_Groups: TypeAlias = Sequence[tuple[str, Sequence[tuple[str, ...]]]]


class CachePair(NamedTuple):
    """Two questions: after the answer to ``text`` was stored, ``other`` must ``hit`` or ``miss`` it; ``kind`` is for the report."""

    text: str
    other: str
    must: str
    kind: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheCounts:
    """The hits of pairs, or of traffic.

    Attributes:
        could_be_false: Pairs that must miss, or requests.
        hits: Answers that came from the cache.
        false_hits: Those that are the answer to another question, in words.
        units: Hits that are independent: of pairs, the hits on one stored answer count once.
        false_units: Those of them that are false.
        hit_rate: Share of the pairs that must hit which do, or of the requests with a hit, right or wrong.
    """

    could_be_false: int
    hits: int
    false_hits: tuple[str, ...]
    units: int
    false_units: int
    hit_rate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheResult:
    """What a probe saw.

    Attributes:
        pairs: None: there were none, or an error.
        traffic: Likewise.
        violations: What no cache may do, and this one did: it answered another tenant, changed a text ...
        not_checked: What it was not tried for.
        error: Why the probe ended early: the cache raised, or did not return.
        saving: Share of the price of the traffic that was saved, less what embeddings cost; None: no traffic or no prices.
    """

    pairs: CacheCounts | None = None
    traffic: CacheCounts | None = None
    violations: tuple[str, ...] = ()
    not_checked: tuple[str, ...] = ()
    error: str = ""
    saving: float | None = None


def cache_probe(
    cache: Any,
    pairs: str | Path | Iterable[Sequence[str]] = (),
    *,
    traffic: str | Path | Iterable[Sequence[str]] = (),
    calls: Iterable[Call] = (),
    embedding_usd: float | None = None,
    scope: Mapping[str, str] = SCOPE,
    never_cached: Mapping[str, str] = NEVER_CACHED,
    expire: Callable[[CacheQuery], object] | None = None,
    roll_back: Callable[[CacheQuery], object] | None = None,
    time_limit_s: float = 30.0,
    seed: int = 0,
) -> CacheResult:
    """Return what a cache answers, rightly and wrongly.

    Each stored answer has a number of its own, so that a hit belongs to the entry it came from. The cache is emptied and gets another
    first value of the scope (the tenant) for each question of the pairs. It is called in a thread of its own.

    Args:
        cache: An object with ``get(query)``, which returns a text or None, and ``put(query, answer)``, perhaps ``clear()``;
            LangChain's (``lookup``, ``update``); redisvl's (``check``, ``store``), whose scope is what it can filter by; or functions
            ``(get, put)`` or ``(get, put, clear)``.
        pairs: `CachePair` or tuples of its texts, or a file (JSONL) with these keys. Some must hit, and some must miss: a cache that
            answers everything would pass the others.
        traffic: Questions with the id of their answer, in their order, or a file with the keys ``question`` and ``answer``. What is
            missed is stored; a hit is false if the ids differ.
        calls: Recorded calls of the application (``llm_calls``), which give the mean prices of an answer and of an embedding.
        embedding_usd: Price of embedding a question; 0 for a model on this machine. None: that of the recorded calls.
        scope: What keys the cache must keep apart, with a value each.
        never_cached: Texts that must not be stored, by what they are.
        expire: Lets the time pass after which the cache must have forgotten a query; None: not checked.
        roll_back: Does to the cache what a rollback of the query's prompt version does; None: not checked.
        time_limit_s: Time after which a call that does not return is an error.
        seed: Seed of the numbers.

    Raises:
        UsageError: It is no cache, there is neither a pair nor traffic, no pair must hit or none must miss, or all traffic has the same
            answer.
        CaseError: A row is wrong, or a file cannot be used.
    """
    known = [CachePair(*row) for row in _read_rows("pairs", pairs, CachePair._fields)]
    requests = _read_rows("traffic", traffic, ("question", "answer"))
    refuse(
        len({pair.must for pair in known}) == 1
        or len({answer for _, answer in requests}) == 1
        or not (known or requests),
        "cache_probe: expected pairs, of which some must hit and some must miss, or traffic with several answers, as a cache that answers "
        f"everything would pass else; got {format_count(len(known), 'pair')} and {format_count(len(requests), 'request')}",
    )
    _check_numbers(embedding_usd, time_limit_s)
    ways = {what: way for what, way in {"expiry": expire, "rollback": roll_back}.items() if way}
    probe = _Probe(_adapt_cache(cache) | ways, dict(scope), Random(seed))  # noqa: S311 -- no secret
    done, counts = Future[None](), dict[str, CacheCounts]()

    def work() -> None:
        try:
            probe.check_rules(known[0].text if known else requests[0][0], never_cached)
            for name, (questions, asked, could_be_false) in _build_sources(known, requests).items():
                counts[name] = _count(
                    [*probe.ask(questions)], asked, could_be_false, only_right=name == "pairs"
                )
            done.set_result(None)
        except BaseException as error:  # noqa: BLE001 -- a missing recording too is raised where the test runs
            done.set_exception(error)

    Thread(target=copy_context().run, args=(work,), daemon=True).start()
    error = _await_end(done, probe.calls, time_limit_s)
    return CacheResult(
        **({} if error else counts),
        violations=tuple(probe.violations),
        not_checked=tuple(what for what in ("expiry", "rollback") if what not in ways),
        error=error,
        saving=_price_saving(counts.get("traffic"), calls, embedding_usd),
    )


def _check_numbers(embedding_usd: float | None, time_limit_s: float) -> None:
    refuse(
        any((as_finite_float(number) or -1.0) < 0 for number in (embedding_usd or 1, time_limit_s)),
        f"cache_probe: expected embedding_usd from 0 on, time_limit_s above 0, got {shorten_text(repr((embedding_usd, time_limit_s)))}",
    )


def _build_sources(
    known: Iterable[CachePair], requests: Sequence[tuple[str, ...]]
) -> dict[str, tuple[_Groups, int, int]]:
    # Return what is asked by its source, with the numbers of questions that should be hit and that could be answered wrongly.
    sources: dict[str, tuple[_Groups, int, int]] = {
        "pairs": (
            [
                (
                    text,
                    [
                        ("first", text, text),
                        *(
                            (row.kind or "pair", row.other, text if row.must == "hit" else "\0")
                            for row in rows
                        ),
                    ],
                )
                for text, rows in groupby(sorted(known), lambda pair: pair.text)
            ],
            sum(pair.must == "hit" for pair in known),
            sum(pair.must == "miss" for pair in known),
        ),
        "traffic": ([("", [("traffic", *row) for row in requests])], len(requests), len(requests)),
    }
    return {name: source for name, source in sources.items() if source[1]}


def _await_end(done: Future[None], calls: Sequence[str], time_limit_s: float) -> str:
    # Return why a probe ended early, or "". Its thread is left behind if the cache does not return.
    seen = -1
    while not wait([done], time_limit_s).done:
        if len(calls) == seen:
            return f"the cache did not return from {''.join(calls[-1:])} within {time_limit_s:g} s"
        seen = len(calls)
    refuse((problem := done.exception()) and not isinstance(problem, LLMOpsError), problem)  # type: ignore[arg-type]  # also no `Exception`
    return str(problem or "")


def _read_rows(what: str, source: Any, keys: Sequence[str]) -> list[tuple[Any, ...]]:
    # Return the texts of each row of a file, or of a list; only a kind may be missing.
    rows, place, is_file = list[tuple[Any, ...]](), 0, isinstance(source, (str, Path))
    try:
        for place, row in read_rows(find_path(source)) if is_file else enumerate(source, 1):  # noqa: B007 -- for the error
            texts: Any = row if isinstance(row, (tuple, list)) else [*map(as_mapping(row).get, keys)]
            values = ["" if text is None else text for text in (*texts, "")][: max(len(keys), len(texts))]
            refuse(
                len(values) > len(keys)
                or (is_file and isinstance(row, list))
                or not all(isinstance(value, str) for value in values)
                or not all(map(str.strip, values[:3]))
                or (what == "pairs" and (values[0] == values[1] or values[2] not in ("hit", "miss"))),
                BadFile(
                    f"{', '.join(keys)}: expected texts that are not blank, of a pair two different ones and hit or miss, "
                    f"got {shorten_text(repr(values))}"
                ),
            )
            rows.append(tuple(values))
    except BadFile as error:
        raise CaseError(error.what, source if is_file else what, error.line or place or None) from None
    refuse(is_file and not rows, CaseError("no row in the file: expected at least one", source))
    return rows


def _adapt_cache(cache: Any) -> dict[str, Callable[..., object]]:
    fitting = (build for names, build in _ADAPTERS.items() if all(hasattr(cache, name) for name in names))
    functions = cache if isinstance(cache, tuple) else next(fitting, lambda _: ())(cache)
    refuse(
        len(functions) not in (2, 3) or not all(map(callable, functions)),
        "cache_probe: expected a cache with get and put (LangChain: lookup and update; redisvl: check and store), or functions "
        f"(get, put) or (get, put, clear), got an object of type {type(cache).__name__}",
    )
    return dict(zip(("get", "put", "clear"), (*functions, getattr(cache, "clear", list)), strict=False))


# redisvl can filter only by the fields that the cache was made with: for all else it has no scope.
_ADAPTERS: dict[tuple[str, str], Callable[[Any], tuple[Any, ...]]] = {
    ("get", "put"): lambda cache: (cache.get, cache.put),
    ("lookup", "update"): lambda cache: (
        lambda query: next((hit.text for hit in cache.lookup(query.prompt, str(query.scope)) or ()), None),
        lambda query, answer: cache.update(
            query.prompt,
            str(query.scope),
            [import_module("langchain_core.outputs").Generation(text=answer)],
        ),
    ),
    ("check", "store"): lambda cache: (
        lambda query: next(
            (
                hit["response"]
                for hit in cache.check(
                    query.prompt,
                    filter_expression=" ".join(
                        str(import_module("redisvl.query.filter").Tag(key) == value)
                        for key, value in query.scope.items()
                        if key in cache.index.schema.field_names
                    )
                    or None,
                )
            ),
            None,
        ),
        lambda query, answer: cache.store(
            query.prompt,
            answer,
            filters={
                key: value for key, value in query.scope.items() if key in cache.index.schema.field_names
            },
        ),
    ),
}


@dataclass(slots=True)
class _Probe:
    functions: dict[str, Callable[..., object]]
    scope: dict[str, str]
    random: Random
    calls: list[str] = field(default_factory=list)
    entries: dict[str, tuple[CacheQuery, str, str]] = field(default_factory=dict)
    violations: dict[str, None] = field(default_factory=dict)

    def call(self, name: str, *arguments: object) -> object:
        self.calls.append(name)
        try:
            return self.functions[name](*arguments)
        except Exception as error:
            raise LLMOpsError(f"the cache raised in {name}: {describe_exception(error)}") from error

    def open_query(self, text: str) -> CacheQuery:
        # Return a query in a scope without entries.
        self.call("clear")
        return CacheQuery(
            text, self.scope | {key: f"{self.scope[key]}-{len(self.calls)}" for key in [*self.scope][:1]}
        )

    def put(self, query: CacheQuery, answer: str | None = None, answer_id: str = "") -> None:
        number = f"{self.random.getrandbits(64):016x}"
        text = f"An answer with the number [{number}]." if answer is None else answer
        self.entries[number if answer is None else answer] = query, text, answer_id
        self.call("put", query, text)

    def get(self, query: CacheQuery) -> tuple[CacheQuery, str, str] | None:
        # Return the entry that a hit came from, or None.
        if (answer := self.call("get", query)) is None:
            return None
        text = str(answer)
        entry = next(
            filter(None, map(self.entries.get, [text, *re.findall(r"\[([0-9a-f]{16})\]", text)])),
            (CacheQuery(""), "", ""),
        )
        problems = {
            f"changed an answer, or returned one that was never stored: {shorten_text(text, 80)!r}": entry[1]
            != answer,
            **{
                f"returned the answer of another {key}": entry[0].scope.get(key, value) != value
                for key, value in query.scope.items()
            },
        }
        self.violations.update(dict.fromkeys(problem for problem, applies in problems.items() if applies))
        return entry

    def check_rules(self, text: str, never_cached: Mapping[str, str]) -> None:
        rules: list[tuple[str, str | None, dict[str, str], str]] = [
            *(
                (f"returned the answer of another {key}", None, {key: f"another {key}"}, "get")
                for key in self.scope
            ),
            *((f"stored {what}: {answer!r}", answer, {}, "get") for what, answer in never_cached.items()),
            *((f"returned an answer after its {way}", None, {}, way) for way in [*self.functions][3:]),
        ]
        for problem, answer, change, way in rules:
            self.put(query := self.open_query(text), answer)
            self.call(way, query)
            if self.get(CacheQuery(text, {**query.scope, **change})):
                self.violations[problem] = None

    def ask(self, groups: _Groups) -> Iterator[tuple[Any, ...]]:
        # Yield the hits of questions (kind, question, answer id) by groups that start with an empty cache. What is missed is stored,
        # of a group of pairs only the first question.
        for unit, questions in groups:
            scope = self.open_query("").scope
            for number, (kind, question, answer_id) in enumerate(questions):
                if entry := self.get(CacheQuery(question, scope)):
                    yield unit or number, entry[2] == answer_id, kind, question, entry[0].prompt
                elif not unit or number == 0:
                    self.put(CacheQuery(question, scope), answer_id=answer_id)


def _count(
    hits: Sequence[tuple[Any, ...]], asked: int, could_be_false: int, *, only_right: bool
) -> CacheCounts:
    false = [
        (
            unit,
            f"{shorten_text(kind, 40)}: {shorten_text(question, 100)!r} got the answer to {shorten_text(stored, 100)!r}",
        )
        for unit, is_right, kind, question, stored in hits
        if not is_right
    ]
    return CacheCounts(
        could_be_false=could_be_false,
        hits=len(hits),
        false_hits=tuple(text for _, text in false),
        units=len({unit for unit, *_ in hits}),
        false_units=len(dict(false)),
        hit_rate=(len(hits) - len(false) * only_right) / asked,
    )


def _price_saving(
    counts: CacheCounts | None, calls: Iterable[Call], embedding_usd: float | None
) -> float | None:
    # Return the share that is saved of what all answers would cost, each request being embedded; None without prices.
    made = [
        (call.endpoint == "embeddings", call.cost_usd)
        for call in calls
        if call.purpose != "judge" and call.status in (None, 200)
    ]
    prices = [
        [embedding_usd]
        if kind and embedding_usd is not None
        else [price for is_one, price in made if is_one is kind]
        for kind in (False, True)
    ]
    if not counts or any(not known or None in known for known in prices) or not any(prices[0]):
        return None
    answer, embedding = (sum(filter(None, known)) / len(known) for known in prices)
    return counts.hit_rate - embedding / answer


def list_sweep(sweep: Mapping[float, CacheResult]) -> list[tuple[float, *tuple[float | None, ...]]]:
    """Return threshold, hit rate, share of false hits and saving of each result, by threshold; of the traffic, else of the pairs."""
    return [
        (
            threshold,
            counts.hit_rate if counts else None,
            len(counts.false_hits) / counts.hits if counts and counts.hits else None,
            result.saving,
        )
        for threshold, result in sorted(sweep.items())
        for counts in [result.traffic or result.pairs]
    ]


def format_sweep(sweep: Mapping[float, CacheResult]) -> list[tuple[str, str]]:
    """Return the results of a cache by its threshold as labelled lines, with a column for each threshold.

    >>> counts = CacheCounts(could_be_false=4, hits=2, false_hits=("a",), units=2, false_units=1, hit_rate=0.5)
    >>> for label, line in format_sweep({0.9: CacheResult(traffic=counts), 0.8: CacheResult(error="down")}):
    ...     print(f"{label:<10}{line}")
    threshold     0.80    0.90
    hit rate         -   50.0%
    false hits       -   50.0%
    saving           -       -
    """
    columns = [
        (f"{threshold:.2f}", *("-" if share is None else f"{share:.1%}" for share in shares))
        for threshold, *shares in list_sweep(sweep)
    ]
    return [
        (name, "".join(f"{cell:>8}" for cell in row))
        for name, row in zip(
            ("threshold", "hit rate", "false hits", "saving"), zip(*columns, strict=True), strict=False
        )
    ]


def make_pairs(cases: Iterable[Case]) -> tuple[CachePair, ...]:
    """Return pairs of the cases of a file: paraphrases that must hit, and near twins that must miss.

    The cases of a family are paired with its first one: they must hit if they have the same reference, else miss. A near
    twin is the first one's question with another number, a negation, or the name of another case, as far as the checks
    of `assert_semantic` see the difference.

    Raises:
        UsageError: The input of a case is not a text.

    >>> cases = [Case(id="a", input="Is the fee 5 euro?", family="fee"), Case(id="b", input="Do I pay 5 euro?", family="fee")]
    >>> [(pair.other, pair.must, pair.kind) for pair in make_pairs(cases)]
    [('Do I pay 5 euro?', 'hit', 'paraphrase'), ('Is the fee 6 euro?', 'miss', 'numbers'), ('Is not the fee 5 euro?', 'miss', 'negation')]
    """
    from pytest_llmops.semantics.checks import compare

    families, pairs = dict[str, list[tuple[str, str]]](), list[CachePair]()
    for case in cases:
        text = case.input if isinstance(case.input, str) else ""
        refuse(
            not text.strip(),
            f"make_pairs: expected a question as input of case {case.id}, got {shorten_text(repr(case.input), 60)}",
        )
        families.setdefault(case.family or f"case {case.id}", []).append((text, case.reference))
    names = [name for family in families.values() for name in _NAME.findall(family[0][0])]
    for (text, reference), *others in families.values():
        twins = [
            *(pattern.sub(edit, text, count=1) for pattern, edit in _EDITS),
            *(_NAME.sub(name, text, count=1) for name in [name for name in names if name not in text][:1]),
        ]
        pairs += [
            *(
                CachePair(text, other, *(("hit", "paraphrase") if own == reference else ("miss", "family")))
                for other, own in others
                if other != text
            ),
            *(
                CachePair(text, twin, "miss", alarm.check)
                for twin in twins
                for alarm in compare(twin, text).alarms[:1]
            ),
        ]
    return tuple(pairs)
