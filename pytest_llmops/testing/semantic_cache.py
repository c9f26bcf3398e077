"""Probe a semantic cache: what it must answer again, what it must not, and what it saves on a traffic file.

No cache is included: any with ``get`` and ``put`` can be probed, LangChain's, redisvl's, or two functions, asynchronous ones too.
"""

import re
from asyncio import AbstractEventLoop, Runner, all_tasks
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import nullcontext
from contextvars import copy_context
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from random import Random
from threading import Thread
from time import monotonic, sleep
from typing import Any, NamedTuple, TypeAlias

from pytest_llmops.cases.files import Case
from pytest_llmops.errors import LLMOpsError, UsageError, describe_exception, format_name_list, refuse
from pytest_llmops.measurement import as_finite_float, format_count, require_list, shorten_text
from pytest_llmops.protocols import Call
from pytest_llmops.providers.minilm import single_blas_thread
from pytest_llmops.testing.semantic_cache_arguments import ARGUMENTS, adapt_cache, read_texts

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


def _are_texts(values: object) -> bool:
    return isinstance(values, (tuple, list)) and all(isinstance(value, str) for value in values)


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheCounts:
    """The hits of pairs, or of traffic.

    Attributes:
        could_be_false: Pairs that must miss, or requests; as many as are false, if other questions of pairs got a false one too.
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

    def __post_init__(self) -> None:
        if (
            {*map(type, counts := (self.could_be_false, self.hits, self.units, self.false_units))} != {int}
            or not 0 <= min(counts) == self.false_units <= self.units <= self.hits
            or as_finite_float(self.hit_rate) is None
            or not 0 <= self.hit_rate <= 1
            or not _are_texts(self.false_hits)
        ):
            raise UsageError(
                f"CacheCounts: expected counts of at least 0, of them false_units the smallest and units <= hits, a hit_rate from 0 to 1, and false_hits as a tuple of texts, got {shorten_text(repr(self))}"
            )


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
        unpriced: Models of the given calls of which no price is known.
    """

    pairs: CacheCounts | None = None
    traffic: CacheCounts | None = None
    violations: tuple[str, ...] = ()
    not_checked: tuple[str, ...] = ()
    error: str = ""
    saving: float | None = None
    unpriced: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (
            not all(isinstance(counts, CacheCounts | None) for counts in (self.pairs, self.traffic))
            or not (self.saving is None or as_finite_float(self.saving) is not None)
            or not all(map(_are_texts, (self.violations, self.not_checked, self.unpriced, (self.error,))))
        ):
            raise UsageError(
                "CacheResult: expected pairs and traffic of CacheCounts or None, violations, not_checked and unpriced as tuples of texts, error as a text, and "
                f"saving as a number or None, got {shorten_text(repr(self))}"
            )


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
    index_time_s: float = 0.0,
    seed: int = 0,
) -> CacheResult:
    """Return what a cache answers, rightly and wrongly.

    Each stored answer has a number of its own, so that a hit belongs to the entry it came from. The cache is emptied and gets another
    first value of the scope (the tenant) for each question of the pairs. It is called in a thread of its own, with an event loop.

    Args:
        cache: An object with ``get(query)``, which returns a text or None, and ``put(query, answer)``, perhaps ``clear()``;
            LangChain's (``lookup``, ``update``); redisvl's (``check``, ``store``), whose scope is what it can filter by; or functions
            ``(get, put)`` or ``(get, put, clear)``. All of them may be coroutine functions, also named ``aget``, ``aput``, ``aclear``.
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
        time_limit_s: Time after which a call that does not return is an error; at most a day.
        index_time_s: How long a store may take to find what was put; ``get`` is repeated so long after a ``put``, until it is found.
        seed: Seed of the numbers.

    Raises:
        UsageError: It is no cache, there is neither a pair nor traffic, no pair must hit or none must miss, all traffic has the same
            answer, or another argument is of no use.
        CaseError: A row is wrong, or a file cannot be used.
    """
    known = [CachePair(*row) for row in read_texts("pairs", pairs, CachePair._fields)]
    requests = read_texts("traffic", traffic, ("question", "answer"))
    if (
        len({pair.must for pair in known}) == 1
        or len({answer for _, answer in requests}) == 1
        or not (known or requests)
    ):
        raise UsageError(
            "cache_probe: expected pairs, of which some must hit and some must miss, or traffic with several answers, as a cache that answers "
            f"everything would pass else; got {format_count(len(known), 'pair')} ({sum(pair.must == 'hit' for pair in known)} must hit) "
            f"and {format_count(len(requests), 'request')}"
        )
    given = (calls, embedding_usd, scope, never_cached, expire, roll_back, time_limit_s, index_time_s, seed)
    for (name, (fits, expected)), value in zip(ARGUMENTS.items(), given, strict=True):
        if not fits(value):
            raise UsageError(
                f"cache_probe: expected {name} to be {expected}, got {shorten_text(repr(value), 80)}"
            )
    ways = {what: way for what, way in {"expiry": expire, "rollback": roll_back}.items() if way}
    probe = _Probe(adapt_cache(cache) | ways, dict(scope), Random(seed), index_time_s)  # noqa: S311 -- no secret
    done = Future[None]()
    counts = dict[str, Any]()
    # A cache embeds in the other thread, where MiniLM cannot set its limit: without it a question takes 5 to 15 times as long.
    with single_blas_thread() if find_spec("threadpoolctl") else nullcontext():
        sources = _build_sources(known, requests)
        start = (known or requests)[0][0]
        args = (probe.run, done, counts, sources, start, never_cached)
        Thread(target=copy_context().run, args=args, daemon=True).start()
        error = _await_end(done, probe, time_limit_s)
    return CacheResult(
        **({} if error else counts),
        violations=tuple(probe.violations),
        not_checked=tuple(what for what in ("expiry", "rollback") if what not in ways),
        error=error,
        **_price_saving(counts.get("traffic"), calls, embedding_usd),
    )


def _build_sources(
    known: Iterable[CachePair], requests: Sequence[tuple[str, ...]]
) -> dict[str, tuple[_Groups, int, int]]:
    """Return what is asked by its source, with the numbers of questions that should be hit and that could be answered wrongly."""
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


def _await_end(done: Future[None], probe: "_Probe", time_limit_s: float) -> str:
    """Return why a probe ended early, or "". Its thread is left behind if the cache does not return."""
    seen = -1
    while not wait([done], time_limit_s).done:
        if len(probe.calls) == seen:
            left = {  # the event loop waits for tasks that were cancelled
                shorten_text(getattr(task.get_coro(), "__qualname__", task.get_name()), 100)
                for task in (all_tasks(probe.loop) if probe.loop else ())
                if task.cancelling()
            }
            if left:
                return f"the cache left tasks that go on after they were cancelled: {format_name_list(left)}; expected that they end, within {time_limit_s:g} s"
            return f"the cache did not return from {''.join(probe.calls[-1:])} within {time_limit_s:g} s"
        seen = len(probe.calls)
    refuse((problem := done.exception()) and not isinstance(problem, LLMOpsError), problem)  # type: ignore[arg-type]  # also no `Exception`
    return str(problem or "")


@dataclass(slots=True)
class _Probe:
    functions: dict[str, Callable[..., Any]]
    scope: dict[str, str]
    random: Random
    index_time_s: float
    runner: Runner = field(default_factory=Runner)
    loop: AbstractEventLoop | None = None
    calls: list[str] = field(default_factory=list)
    entries: dict[str, tuple[CacheQuery, str, str]] = field(default_factory=dict)
    violations: dict[str, None] = field(default_factory=dict)

    def run(
        self,
        done: Future[None],
        counts: dict[str, CacheCounts],
        sources: Mapping[str, tuple[_Groups, int, int]],
        question: str,
        never_cached: Mapping[str, str],
    ) -> None:
        try:
            with self.runner:
                self.loop = self.runner.get_loop()
                self.check_rules(question, never_cached)
                for name, (groups, asked, could_be_false) in sources.items():
                    counts[name] = _count(
                        [*self.ask(groups)], asked, could_be_false, only_right=name == "pairs"
                    )
            done.set_result(None)
        except BaseException as error:  # noqa: BLE001 -- a missing recording too is raised where the test runs
            done.set_exception(error)

    def call(self, name: str, *arguments: object) -> object:
        self.calls.append(name)
        try:
            result = self.functions[name](*arguments)
            wait_for = self.runner.get_loop().run_until_complete
            if hasattr(result, "__await__"):
                return wait_for(result)
            return result
        except Exception as error:
            raise LLMOpsError(f"the cache raised in {name}: {describe_exception(error)}") from error

    def open_query(self, text: str) -> CacheQuery:
        """Return a query in a scope without entries."""
        self.call("clear")
        return CacheQuery(
            text, self.scope | {key: f"{self.scope[key]}-{len(self.calls)}" for key in [*self.scope][:1]}
        )

    def put(self, query: CacheQuery, answer: str | None = None, answer_id: str = "") -> None:
        number = f"{self.random.getrandbits(64):016x}"
        if answer is None:
            text = f"An answer with the number [{number}]."
        else:
            text = answer
        self.entries[number if answer is None else answer] = query, text, answer_id
        self.call("put", query, text)
        end = monotonic() + self.index_time_s
        while monotonic() < end and self.call("get", query) is None:
            sleep(0.01)

    def get(self, query: CacheQuery) -> tuple[CacheQuery, str, str] | None:
        """Return the entry that a hit came from, or None."""
        answer = self.call("get", query)
        if answer is None:
            return None
        text = str(answer)
        entry = next(
            filter(None, map(self.entries.get, [text, *re.findall(r"\[([0-9a-f]{16})\]", text)])),
            (CacheQuery(""), "", ""),
        )
        self.violations |= dict.fromkeys(
            [
                *(
                    [f"changed an answer, or returned one that was never stored: {shorten_text(text, 80)!r}"]
                    if not isinstance(answer, str) or answer != entry[1]
                    else []
                ),
                *(
                    f"returned the answer of another {key}"
                    for key, value in query.scope.items()
                    if entry[0].scope.get(key, value) != value
                ),
            ]
        )
        return entry

    def check_rules(self, text: str, never_cached: Mapping[str, str]) -> None:
        for problem, answer, change, way in (
            *(
                (f"returned the answer of another {key}", None, {key: f"another {key} than {own}"}, "get")
                for key, own in self.scope.items()
            ),
            *(
                (f"stored {what}: {text!r}, which the probe put into it", text, {}, "get")
                for what, text in never_cached.items()
            ),
            *((f"returned an answer after its {way}", None, {}, way) for way in [*self.functions][3:]),
        ):
            self.put(query := self.open_query(text), answer)
            self.call(way, query)
            if self.get(CacheQuery(text, {**query.scope, **change})):
                self.violations[problem] = None

    def ask(self, groups: _Groups) -> Iterator[tuple[Any, ...]]:
        """Yield the hits of questions (kind, question, answer id) by groups that start with an empty cache.

        What is missed is stored, of a group of pairs only the first question.
        """
        for unit, questions in groups:
            scope = self.open_query("").scope
            for number, (kind, question, answer_id) in enumerate(questions):
                entry = self.get(CacheQuery(question, scope))
                if entry:
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
        could_be_false=max(could_be_false, len(false)),
        hits=len(hits),
        false_hits=tuple(text for _, text in false),
        units=len({unit for unit, *_ in hits}),
        false_units=len(dict(false)),
        hit_rate=(len(hits) - len(false) * only_right) / asked,
    )


def _price_saving(counts: CacheCounts | None, calls: Iterable[Call], usd: float | None) -> dict[str, Any]:
    """Return the share that is saved of what all answers would cost, each request being embedded, or the models without a price."""
    if usd is None:
        given = []
    else:
        given = [(True, usd, "")]
    made: list[Any] = given + [
        (call.endpoint == "embeddings", as_finite_float(call.cost_usd), call.model or "a call")
        for call in require_list(calls, Call, "cache_probe: expected calls as the fixture llm_calls has them")
        if call.purpose != "judge" and call.status in (None, 200) and not (given and call.endpoint == "embeddings")
    ]  # fmt: skip
    prices = [[price for is_one, price, _ in made if is_one is kind] for kind in (False, True)]
    if not counts or any(not known or None in known for known in prices) or not sum(prices[0]) > 0:
        return {"unpriced": (*{model: 0 for _, price, model in made if counts and price is None},)}
    answer, embedding = (sum(filter(None, known)) / len(known) for known in prices)
    return {"saving": counts.hit_rate - float(embedding / answer)}


def list_sweep(sweep: Mapping[float, CacheResult]) -> list[tuple[float, *tuple[float | None, ...]]]:
    """Return threshold, hit rate, share of false hits and saving of each result, by threshold; of the traffic, else of the pairs.

    Raises:
        UsageError: They are no results of `cache_probe` by threshold.
    """
    if not hasattr(sweep, "items") or not all(
        type(result) is CacheResult and as_finite_float(threshold) is not None
        for threshold, result in sweep.items()
    ):
        raise UsageError(
            f"sweep: expected results of cache_probe by threshold, a number, got {shorten_text(repr(sweep))}"
        )
    return [
        (
            float(threshold),
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
    threshold      0.8     0.9
    hit rate         -   50.0%
    false hits       -   50.0%
    saving           -       -
    """
    columns = (
        (f"{threshold:.4g}", *("-" if share is None else f"{share:.1%}" for share in shares))
        for threshold, *shares in list_sweep(sweep)
    )
    return [
        (name, "".join(f" {cell:>7}" for cell in row))
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
        UsageError: They are no cases, or the input of one is not a text.

    >>> cases = [Case(id="a", input="Is the fee 5 euro?", family="fee"), Case(id="b", input="Do I pay 5 euro?", family="fee")]
    >>> [(pair.other, pair.must, pair.kind) for pair in make_pairs(cases)]
    [('Do I pay 5 euro?', 'hit', 'paraphrase'), ('Is the fee 6 euro?', 'miss', 'numbers'), ('Is not the fee 5 euro?', 'miss', 'negation')]
    """
    from pytest_llmops.semantics.checks import compare

    families = dict[str, list[tuple[str, str]]]()
    pairs = list[CachePair]()
    for case in require_list(cases, Case, "make_pairs: expected cases, as load_cases returns them"):
        if isinstance(case.input, str):
            text = case.input
        else:
            text = ""
        if not text.strip():
            raise UsageError(
                f"make_pairs: expected a question as input of case {case.id}, got {shorten_text(repr(case.input), 60)}"
            )
        families.setdefault(case.family or f"case {case.id}", []).append((text, case.reference))
    names = [name for family in families.values() for name in _NAME.findall(family[0][0])]
    for (text, reference), *others in families.values():
        pairs += [
            *(
                CachePair(text, other, *(("hit", "paraphrase") if own == reference else ("miss", "family")))
                for other, own in others
                if other != text
            ),
            *(
                CachePair(text, twin, "miss", alarm.check)
                for twin in (
                    *(pattern.sub(edit, text, count=1) for pattern, edit in _EDITS),
                    *(
                        _NAME.sub(name, text, count=1)
                        for name in [name for name in names if name not in text][:1]
                    ),
                )
                for alarm in compare(twin, text).alarms[:1]
            ),
        ]
    return tuple(pairs)
