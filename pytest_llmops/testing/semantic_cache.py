"""Probe a semantic cache: does it hit where it must, miss where it must, and how much does it save on traffic?

No cache is included. Any object with ``get`` and ``put``, LangChain's and redisvl's caches, or two functions can be
probed, also asynchronous ones.
"""

import re
from asyncio import all_tasks
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import AbstractContextManager, nullcontext
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from random import Random
from threading import Thread
from typing import Any, NamedTuple

from pytest_llmops.cases.files import Case
from pytest_llmops.errors import LLMOpsError, UsageError, format_name_list
from pytest_llmops.measurement import as_finite_float, format_count, require_list, shorten_text
from pytest_llmops.protocols import Call
from pytest_llmops.providers.minilm import single_blas_thread
from pytest_llmops.testing.semantic_cache_arguments import adapt_cache, check_arguments, read_texts
from pytest_llmops.testing.semantic_cache_probe import CacheQuery, Group, Hit, Probe, Question, Source

__all__ = [
    "NEVER_CACHED",
    "SCOPE",
    "CacheCounts",
    "CachePair",
    "CacheQuery",
    "CacheResult",
    "cache_probe",
    "format_sweep",
    "list_sweep",
    "make_pairs",
]

SCOPE = {"tenant": "tenant-1", "prompt_version": "1", "model": "model-1", "parameters": "temperature=0"}
NEVER_CACHED = {
    "a refusal": "I'm sorry, but I can't help with that.",
    "an error": "Error code: 500 - Internal server error",
    "an empty answer": "",
}
_NAME = re.compile(r"(?<=[a-z,] )[A-Z]\w*[a-z]\w*")
_NUMBER = re.compile(r"\d{1,15}")
_VERB = re.compile(
    r"\b(?:is|are|was|can|could|do|does|did|will|would|should|may|must|have|has)\b(?: (?:I|you|we|it|they)\b)?",
    re.IGNORECASE,
)
_OK_STATUSES = (None, 200)


class CachePair(NamedTuple):
    """Two questions: when the answer to ``text`` is in the cache, ``other`` must get it (``hit``) or not (``miss``).

    Attributes:
        must: ``hit`` or ``miss``.
        kind: What kind of pair it is, for the report.
    """

    text: str
    other: str
    must: str
    kind: str = ""


def _are_texts(values: object) -> bool:
    if not isinstance(values, (tuple, list)):
        return False
    return all(isinstance(value, str) for value in values)


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheCounts:
    """The counted hits of pairs, or of traffic.

    Attributes:
        could_be_false: How many questions could get a false hit: the pairs that must miss, or all requests. If more hits
            are false, because other pairs got a false one too, it is their number.
        hits: How many answers came from the cache.
        false_hits: A description of each hit that was the answer to another question.
        units: How many of the hits are independent: for pairs, all hits of questions that share ``text`` count once.
        false_units: How many of these units have a false hit.
        hit_rate: For pairs: the share that is hit of those that must be. For traffic: the share of requests with a hit,
            right or wrong.
    """

    could_be_false: int
    hits: int
    false_hits: tuple[str, ...]
    units: int
    false_units: int
    hit_rate: float

    def __post_init__(self) -> None:
        if not self._has_counts() or not self._has_share() or not _are_texts(self.false_hits):
            raise UsageError(
                "CacheCounts: expected counts of at least 0, of them false_units the smallest and units <= hits, a hit_rate from 0 to 1, "
                f"and false_hits as a tuple of texts, got {shorten_text(repr(self))}"
            )

    def _has_counts(self) -> bool:
        """Return whether all counts are whole numbers from 0, none below ``false_units``, and ``units <= hits``."""
        counts = (self.could_be_false, self.hits, self.units, self.false_units)
        if not all(type(count) is int for count in counts):
            return False
        return 0 <= self.false_units == min(counts) and self.units <= self.hits

    def _has_share(self) -> bool:
        share = as_finite_float(self.hit_rate)
        return share is not None and 0 <= share <= 1


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheResult:
    """The result of a probe.

    Attributes:
        pairs: The hits of pairs; None: without pairs, or after an error.
        traffic: The hits of traffic; None: without traffic, or after an error.
        violations: Things that no cache may do and this one did: it answered another tenant, changed a text ...
        not_checked: The rules that could not be checked: ``expiry``, ``rollback``.
        error: Why the probe ended early: the cache raised, or did not return.
        saving: The share of the traffic's price that the cache saves, minus the price of embeddings; None: there was no
            traffic, or prices are not known.
        unpriced: The models of the given calls whose price is not known.
    """

    pairs: CacheCounts | None = None
    traffic: CacheCounts | None = None
    violations: tuple[str, ...] = ()
    not_checked: tuple[str, ...] = ()
    error: str = ""
    saving: float | None = None
    unpriced: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        are_counts = all(isinstance(counts, CacheCounts | None) for counts in (self.pairs, self.traffic))
        is_number = self.saving is None or as_finite_float(self.saving) is not None
        are_texts = all(map(_are_texts, (self.violations, self.not_checked, self.unpriced, (self.error,))))
        if not are_counts or not is_number or not are_texts:
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
    """Probe a cache with pairs of questions, with traffic, or with both.

    Every answer that the probe stores contains a unique number, by which it recognizes the entry of a hit. Before the
    questions of each pair's ``text`` the cache is emptied, and the first value of the scope (the tenant) changes. All
    calls of the cache happen in another thread, which has an event loop.

    Args:
        cache: An object with ``get(query)``, which returns a text or None, with ``put(query, answer)`` and perhaps
            ``clear()``. Or a cache of LangChain (``lookup``, ``update``) or redisvl (``check``, ``store``; it only
            keeps those keys of the scope apart that it can filter by). Or functions ``(get, put)`` or
            ``(get, put, clear)``. All of them may be coroutine functions, also named ``aget``, ``aput``, ``aclear``.
        pairs: A list of `CachePair` or of tuples with its texts, or a file (JSONL) with these keys. Some must hit and
            some must miss, since a cache that answers everything, or nothing, would pass otherwise.
        traffic: A list of questions with the id of their right answer, in their order, or a file
            with the keys ``question`` and ``answer``. After a miss the answer is stored; a hit is false if the ids
            differ.
        calls: Recorded calls of the application (``llm_calls``), for the mean prices of an answer and of an embedding.
        embedding_usd: Price of embedding a question; 0 for a model on this machine. None: the recorded calls' price.
        scope: The keys that the cache must keep apart (tenant, model ...), with a value for each.
        never_cached: Description -> text of an answer that must not be stored.
        expire: Makes the cache's entry for a query expire, for instance by moving its clock; None: not checked.
        roll_back: Rolls back the prompt version of a query, as the application does; None: not checked.
        time_limit_s: The probe ends with an error if a call is slower; at most a day.
        index_time_s: How long the cache may take until it finds an entry that was put; after each ``put``, ``get`` is repeated for
            that time or until it hits.
        seed: Seed of the unique numbers.

    Raises:
        UsageError: It is not a cache; there are neither pairs nor traffic; no pair must hit or none must miss; all
            traffic has the same answer; or another argument is invalid.
        CaseError: A row is wrong, or a file cannot be used.
    """
    known = [CachePair(*row) for row in read_texts("pairs", pairs, CachePair._fields)]
    rows = read_texts("traffic", traffic, ("question", "answer"))
    requests = [Question("traffic", question, answer_id) for question, answer_id in rows]
    _check_questions(known, requests)
    check_arguments(
        calls=calls,
        embedding_usd=embedding_usd,
        scope=scope,
        never_cached=never_cached,
        expire=expire,
        roll_back=roll_back,
        time_limit_s=time_limit_s,
        index_time_s=index_time_s,
        seed=seed,
    )
    functions = adapt_cache(cache)
    possible_endings = {"expiry": expire, "rollback": roll_back}
    endings = {name: end_entry for name, end_entry in possible_endings.items() if end_entry}
    probe = Probe(functions | endings, (*endings,), dict(scope), Random(seed), index_time_s)  # noqa: S311 -- no secret
    done = Future[None]()
    counts: dict[str, CacheCounts] = {}
    if known:
        first_text = known[0].text
    else:
        first_text = requests[0].text
    with _limit_threads():
        sources = _build_sources(known, requests)
        task = partial(_run, probe, sources, first_text, never_cached)
        Thread(target=copy_context().run, args=(task, counts, done), daemon=True).start()
        error = _await_end(done, probe, time_limit_s)
    saving, unpriced = _price_saving(counts.get("traffic"), calls, embedding_usd)
    if error:
        counts = {}
    not_checked = tuple(name for name in possible_endings if name not in endings)
    return CacheResult(
        pairs=counts.get("pairs"),
        traffic=counts.get("traffic"),
        violations=tuple(probe.violations),
        not_checked=not_checked,
        error=error,
        saving=saving,
        unpriced=unpriced,
    )


def _limit_threads() -> AbstractContextManager[object]:
    """Return a block in which linear algebra runs on a single thread; an ordinary block without threadpoolctl.

    The cache runs in another thread, in which MiniLM cannot set that limit by itself. Without the limit it takes 5 to 15
    times as long to embed a question.
    """
    if find_spec("threadpoolctl"):
        return single_blas_thread()
    return nullcontext()


def _run(  # noqa: PLR0917 -- the function of a thread
    probe: Probe,
    sources: Iterable[Source],
    question: str,
    never_cached: Mapping[str, str],
    counts: dict[str, CacheCounts],
    done: Future[None],
) -> None:
    """Run the probe in the cache's thread.

    The results are written to ``counts`` (name of the source -> its counts) and, at the end, to ``done``, which also
    passes on whatever is raised.
    """
    try:
        with probe.runner:
            probe.loop = probe.runner.get_loop()
            probe.check_rules(question, never_cached)
            for source in sources:
                hits = list(probe.ask(source.groups))
                counts[source.name] = _count_hits(hits, source)
        done.set_result(None)
    except BaseException as error:  # noqa: BLE001 -- a missing recording too is raised where the test runs
        done.set_exception(error)


def _check_questions(known: Sequence[CachePair], requests: Sequence[Question]) -> None:
    """Raise if a cache that answers everything, or nothing, would pass.

    Raises:
        UsageError: No pair must hit, none must miss, all traffic has the same answer, or there is neither.
    """
    have_one_outcome = len({pair.must for pair in known}) == 1
    have_one_answer = len({request.answer_id for request in requests}) == 1
    if have_one_outcome or have_one_answer or not (known or requests):
        must_hit = sum(pair.must == "hit" for pair in known)
        pair_count = format_count(len(known), "pair")
        request_count = format_count(len(requests), "request")
        raise UsageError(
            "cache_probe: expected pairs, of which some must hit and some must miss, or traffic with several answers, as a cache that answers "
            f"everything would pass else; got {pair_count} ({must_hit} must hit) and {request_count}"
        )


def _build_sources(known: Iterable[CachePair], requests: Sequence[Question]) -> list[Source]:
    """Return the sources of questions: the pairs, grouped by their ``text``, and the traffic; only those with questions.

    In a group of pairs the first question is ``text`` itself: it misses, and its answer is stored.
    """
    groups = []
    must_hit = 0
    must_miss = 0
    for text, pairs in groupby(sorted(known), attrgetter("text")):
        questions = [Question("first", text, text)]
        for pair in pairs:
            answer_id = "\0"  # the id of no answer: every hit is false
            if pair.must == "hit":
                must_hit += 1
                answer_id = text
            else:
                must_miss += 1
            questions.append(Question(pair.kind or "pair", pair.other, answer_id))
        groups.append(Group(text, questions))
    sources = []
    if groups:
        sources.append(Source("pairs", groups, must_hit, must_miss))
    if requests:
        count = len(requests)
        sources.append(Source("traffic", [Group("", requests)], count, count))
    return sources


def _await_end(done: Future[None], probe: Probe, time_limit_s: float) -> str:
    """Wait for the end of a probe; return an error if the cache raised or hangs, else "".

    It hangs if it was not called again within the time limit; then its thread is left running.
    """
    call_count = -1
    while not wait([done], time_limit_s).done:
        if len(probe.calls) == call_count:
            return _describe_hang(probe, time_limit_s)
        call_count = len(probe.calls)
    problem = done.exception()
    if problem is None:
        return ""
    if not isinstance(problem, LLMOpsError):
        raise problem
    return str(problem)


def _describe_hang(probe: Probe, time_limit_s: float) -> str:
    """Return the error about a probe that does not end: tasks that ignore their cancellation, else the last call."""
    # When it is closed, the event loop waits for the tasks that it has cancelled
    remaining_tasks = set()
    if probe.loop:
        for task in all_tasks(probe.loop):
            if task.cancelling():
                name = getattr(task.get_coro(), "__qualname__", task.get_name())
                remaining_tasks.add(shorten_text(name, 100))
    if remaining_tasks:
        return f"the cache left tasks that go on after they were cancelled: {format_name_list(remaining_tasks)}; expected that they end, within {time_limit_s:g} s"
    last_call = probe.calls[-1] if probe.calls else ""
    return f"the cache did not return from {last_call} within {time_limit_s:g} s"


def _count_hits(hits: Sequence[Hit], source: Source) -> CacheCounts:
    """Return the counts of a source's hits; see `CacheCounts` for their meaning."""
    false_hits = [hit for hit in hits if not hit.is_right]
    rated = len(hits)
    if source.name == "pairs":  # only the right answer counts for a pair that must hit
        rated -= len(false_hits)
    units = {hit.unit for hit in hits}
    false_units = {hit.unit for hit in false_hits}
    could_be_false = max(source.could_be_false, len(false_hits))
    descriptions = tuple(map(str, false_hits))
    return CacheCounts(
        could_be_false=could_be_false,
        hits=len(hits),
        false_hits=descriptions,
        units=len(units),
        false_units=len(false_units),
        hit_rate=rated / source.asked,
    )


def _price_saving(
    counts: CacheCounts | None, calls: Iterable[Call], usd: float | None
) -> tuple[float | None, tuple[str, ...]]:
    """Return the share of the traffic's price that is saved, and the models whose price is not known.

    Without a cache every request costs an answer. With it every request costs an embedding, and a miss an answer too.
    The share is None without traffic, or if a price is missing.

    Args:
        counts: The counts of the traffic; None: there was none.
        calls: Recorded calls; calls of judges and failed calls do not count.
        usd: Price of embedding a question; None: the mean of the recorded calls of embeddings.
    """
    answers: list[float] = []
    embeddings: list[float] = []
    unpriced: dict[str, None] = {}
    if usd is not None:
        embeddings.append(usd)
    for call in require_list(calls, Call, "cache_probe: expected calls as the fixture llm_calls has them"):
        is_embedding = call.endpoint == "embeddings"
        if call.purpose == "judge" or call.status not in _OK_STATUSES or (is_embedding and usd is not None):
            continue
        price = as_finite_float(call.cost_usd)
        if price is None:
            unpriced[call.model or "a call"] = None
        elif is_embedding:
            embeddings.append(price)
        else:
            answers.append(price)
    if not counts:
        return None, ()
    if unpriced or not embeddings or sum(answers) <= 0:
        return None, tuple(unpriced)
    answer_usd = sum(answers) / len(answers)
    embedding_usd = sum(embeddings) / len(embeddings)
    return counts.hit_rate - float(embedding_usd / answer_usd), ()


def list_sweep(sweep: Mapping[float, CacheResult]) -> list[tuple[float, *tuple[float | None, ...]]]:
    """Return rows of threshold, hit rate, share of false hits and saving, from the lowest threshold.

    A row is about the traffic if the result has some, else about the pairs. A value that is not known is None.

    Raises:
        UsageError: It is not a mapping of thresholds to results of `cache_probe`.
    """
    if not _is_sweep(sweep):
        raise UsageError(
            f"sweep: expected results of cache_probe by threshold, a number, got {shorten_text(repr(sweep))}"
        )
    rows: list[tuple[float, *tuple[float | None, ...]]] = []
    for threshold, result in sorted(sweep.items()):
        counts = result.traffic or result.pairs
        hit_rate = None
        false_share = None
        if counts:
            hit_rate = counts.hit_rate
            if counts.hits:
                false_share = len(counts.false_hits) / counts.hits
        rows.append((float(threshold), hit_rate, false_share, result.saving))
    return rows


def _is_sweep(sweep: Any) -> bool:
    """Return whether a value is a mapping of numbers to `CacheResult`."""
    if not hasattr(sweep, "items"):
        return False
    for threshold, result in sweep.items():
        if type(result) is not CacheResult or as_finite_float(threshold) is None:
            return False
    return True


def format_sweep(sweep: Mapping[float, CacheResult]) -> list[tuple[str, str]]:
    """Return a table of results as pairs of a label and a line, with a column for each threshold.

    >>> counts = CacheCounts(could_be_false=4, hits=2, false_hits=("a",), units=2, false_units=1, hit_rate=0.5)
    >>> for label, line in format_sweep({0.9: CacheResult(traffic=counts), 0.8: CacheResult(error="down")}):
    ...     print(f"{label:<10}{line}")
    threshold      0.8     0.9
    hit rate         -   50.0%
    false hits       -   50.0%
    saving           -       -
    """
    rows = list_sweep(sweep)
    if not rows:
        return []
    lines = dict.fromkeys(("threshold", "hit rate", "false hits", "saving"), "")
    for threshold, *shares in rows:
        cells = [f"{threshold:.4g}", *map(_format_share, shares)]
        for label, cell in zip(lines, cells, strict=True):
            lines[label] += f" {cell:>7}"
    return [*lines.items()]


def _format_share(share: float | None) -> str:
    if share is None:
        return "-"
    return f"{share:.1%}"


def make_pairs(cases: Iterable[Case]) -> tuple[CachePair, ...]:
    """Return pairs made of cases: paraphrases that must hit, and near twins that must miss.

    The first case of a family is paired with the others of the family: these must hit if they have the same reference,
    else miss. It is also paired with its near twins: the same question with another number, with a negation, or with a
    name out of another case. A twin is left out if the checks of `assert_semantic` do not see the difference.

    Raises:
        UsageError: They are not cases, or the input of one is not a text.

    >>> cases = [Case(id="a", input="Is the fee 5 euro?", family="fee"), Case(id="b", input="Do I pay 5 euro?", family="fee")]
    >>> [(pair.other, pair.must, pair.kind) for pair in make_pairs(cases)]
    [('Do I pay 5 euro?', 'hit', 'paraphrase'), ('Is the fee 6 euro?', 'miss', 'numbers'), ('Is not the fee 5 euro?', 'miss', 'negation')]
    """
    families: dict[str, list[Case]] = {}
    for case in require_list(cases, Case, "make_pairs: expected cases, as load_cases returns them"):
        if not isinstance(case.input, str) or not case.input.strip():
            given = shorten_text(repr(case.input), 60)
            raise UsageError(f"make_pairs: expected a question as input of case {case.id}, got {given}")
        family_name = case.family or f"case {case.id}"
        families.setdefault(family_name, []).append(case)
    names: list[str] = []
    for first, *_ in families.values():
        names += _NAME.findall(str(first.input))
    pairs: list[CachePair] = []
    for first, *others in families.values():
        pairs += _pair_family(first, others)
        pairs += _pair_twins(str(first.input), names)
    return tuple(pairs)


def _pair_family(first: Case, others: Iterable[Case]) -> Iterator[CachePair]:
    """Yield the pairs of the first case of a family with its other questions."""
    text = str(first.input)
    for case in others:
        other = str(case.input)
        if other == text:
            continue
        if case.reference == first.reference:
            yield CachePair(text, other, "hit", "paraphrase")
        else:
            yield CachePair(text, other, "miss", "family")


def _pair_twins(text: str, names: Iterable[str]) -> Iterator[CachePair]:
    """Yield the pairs of a question with its near twins, as far as the checks see the difference."""
    from pytest_llmops.semantics.checks import compare

    for twin in _make_twins(text, names):
        alarms = compare(twin, text).alarms
        if alarms:
            yield CachePair(text, twin, "miss", alarms[0].check)


def _increase_number(match: re.Match[str]) -> str:
    return str(int(match[0]) + 1)


def _negate_verb(match: re.Match[str]) -> str:
    return f"{match[0]} not"


def _make_twins(text: str, names: Iterable[str]) -> Iterator[str]:
    """Yield a question with another number, with a negation, and with the name of another case."""
    yield _NUMBER.sub(_increase_number, text, count=1)
    yield _VERB.sub(_negate_verb, text, count=1)
    for name in names:
        if name not in text:
            yield _NAME.sub(name, text, count=1)
            break
