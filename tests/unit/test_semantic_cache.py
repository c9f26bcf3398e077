"""A probe of caches that are right, and of caches that are wrong in one way each."""

from __future__ import annotations

import asyncio
import importlib.util
import math
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support.messages import check_message
from support.server import wait

from pytest_llmops import assert_cache
from pytest_llmops.cases import Case
from pytest_llmops.errors import CaseError, CassetteMiss, MeasurementErrored, MeasurementFailed, UsageError
from pytest_llmops.metrics.classification import count_needed, exact_upper_end
from pytest_llmops.protocols import Call
from pytest_llmops.providers import minilm
from pytest_llmops.testing.semantic_cache import (
    CacheCounts,
    CachePair,
    CacheQuery,
    CacheResult,
    cache_probe,
    format_sweep,
    list_sweep,
    make_pairs,
)
from pytest_llmops.testing.semantic_cache_arguments import adapt_cache

pytestmark = pytest.mark.usefixtures("alone")

EXAMPLE = Path(__file__).parents[2] / "examples" / "guarded_bot" / "semantic_cache.py"
PAIRS = (
    ("How do I cancel my order?", "how do I cancel my order", "hit"),
    ("How do I cancel my order?", "How do I cancel my subscription?", "miss", "entities"),
    ("Is the fee 5 euro?", "is the fee 5 euro", "hit"),
    ("Is the fee 5 euro?", "Is the fee 6 euro?", "miss", "numbers"),
)
TRAFFIC = (("a b", "1"), ("A b", "1"), ("c d", "2"), ("C D", "3"), ("e f", "4"))
CALLS = (
    Call(endpoint="chat", cost_usd=0.01),
    Call(endpoint="chat", cost_usd=0.03),
    Call(endpoint="embeddings", purpose="embedder", cost_usd=0.001),
)


def load_example() -> Any:
    spec = importlib.util.spec_from_file_location("guarded_bot_semantic_cache", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def embed_letters(texts: Sequence[str]) -> np.ndarray[Any, Any]:
    """Vectors of letters and digits, in which case and signs do not count."""
    rows = np.zeros((len(texts), 128), dtype=np.float32)
    for row, text in zip(rows, texts, strict=True):
        for char in filter(str.isalnum, text.lower()):
            row[ord(char) % 128] += 1
    unit: np.ndarray[Any, Any] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def make_cache(at_least: float = 0.999, clock: Clock | None = None) -> Any:
    return load_example().SemanticCache(embed_letters, at_least, ttl_s=60.0, clock=clock or Clock())


class Plain:
    """A cache that is right, without meaning: case and the signs at the end do not count."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], str] = {}

    def key(self, query: CacheQuery) -> tuple[str, str]:
        return query.prompt.lower().rstrip("?"), str(query.scope)

    def get(self, query: CacheQuery) -> Any:
        return self.answers.get(self.key(query))

    def put(self, query: CacheQuery, answer: str) -> None:
        if answer.startswith("An answer"):
            self.answers[self.key(query)] = answer


class IgnoresScope(Plain):
    def key(self, query: CacheQuery) -> tuple[str, str]:
        return query.prompt.lower().rstrip("?"), ""


class IgnoresTenant(Plain):
    def key(self, query: CacheQuery) -> tuple[str, str]:
        return query.prompt.lower(), str({**query.scope, "tenant": ""})


class ChangesText(Plain):
    def get(self, query: CacheQuery) -> Any:
        return (answer := super().get(query)) and answer.upper().replace("[", "[").lower()


class ReturnsBytes(Plain):
    def get(self, query: CacheQuery) -> Any:
        return (answer := super().get(query)) and answer.encode()


class MakesUp(Plain):
    def get(self, query: CacheQuery) -> Any:  # noqa: ARG002 -- as all caches
        return "Ask somebody else."


class StoresAll(Plain):
    def put(self, query: CacheQuery, answer: str) -> None:
        self.answers[self.key(query)] = answer


class Throws(Plain):
    def get(self, query: CacheQuery) -> Any:  # noqa: ARG002 -- as all caches
        raise ConnectionError("no server")


class AnswersAll(Plain):
    def get(self, query: CacheQuery) -> Any:
        mine = [answer for (_, scope), answer in self.answers.items() if scope == str(query.scope)]
        return mine[0] if mine else None


def test_the_example_keeps_the_rules_and_tells_near_twins_from_paraphrases() -> None:
    clock = Clock()
    cache = make_cache(clock=clock)

    def expire(query: CacheQuery) -> None:
        clock.now += 61

    result = cache_probe(cache, PAIRS, expire=expire, roll_back=cache.roll_back)
    assert (result.error, result.violations, result.not_checked) == ("", (), ())
    assert result.pairs == CacheCounts(
        could_be_false=2, hits=2, false_hits=(), units=2, false_units=0, hit_rate=1.0
    )


def test_the_example_with_a_low_threshold_hits_near_twins() -> None:
    result = cache_probe(make_cache(0.5), PAIRS)
    assert result.pairs is not None
    assert (result.pairs.hits, result.pairs.units, result.pairs.false_units) == (4, 2, 2)
    assert result.pairs.hit_rate == 1.0
    assert result.pairs.false_hits == (
        "entities: 'How do I cancel my subscription?' got the answer to 'How do I cancel my order?'",
        "numbers: 'Is the fee 6 euro?' got the answer to 'Is the fee 5 euro?'",
    )
    assert result.not_checked == ("expiry", "rollback")


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        (IgnoresTenant, "the answer of another tenant"),
        (ChangesText, "changed an answer"),
        (ReturnsBytes, "changed an answer"),
        (MakesUp, "never stored: 'Ask somebody else.'"),
        (StoresAll, "can't help with that.\", which the probe put into it"),
        (StoresAll, "stored an error"),
        (StoresAll, "stored an empty answer: '', which the probe put into it"),
        *(
            (IgnoresScope, f"the answer of another {key}")
            for key in ("tenant", "prompt_version", "model", "parameters")
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_one_violation_of_a_rule_fails_whatever_the_rates(kind: type[Plain], problem: str) -> None:
    result = cache_probe(kind(), PAIRS)
    assert any(problem in violation for violation in result.violations), result.violations
    with pytest.raises(MeasurementFailed) as failure:
        assert_cache(result, at_most_false_hits=None, at_least_hit_rate=None, at_least_saving=None)
    assert failure.value.measurement.name == "cache.violations"
    assert str(failure.value).startswith("cache.violations: it ")


@pytest.mark.parametrize("what", ["expire", "roll_back"])
def test_an_answer_must_not_outlive_its_time_or_its_prompt_version(what: str) -> None:
    result = cache_probe(Plain(), PAIRS, **{what: str})  # type: ignore[arg-type]
    assert len(result.violations) == 1
    assert {"expire": "expiry", "roll_back": "rollback"}[what] in result.violations[0]


def test_a_cache_that_throws_is_an_error_and_no_miss() -> None:
    result = cache_probe(Throws(), PAIRS)
    assert "ConnectionError: no server" in result.error
    assert result.pairs is None
    with pytest.raises(MeasurementErrored) as failure:
        assert_cache(result)
    assert failure.value.measurement.name == "cache.false_hits"
    assert failure.value.measurement.better == "lower"  # as where there is a value: it is one metric
    check_message(failure.value)


@pytest.fixture
def hangs(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """The time limit of a probe is over once its cache hangs, and not earlier on a busy machine."""
    event = threading.Event()

    def wait_until_it_hangs(futures: Iterable[Future[None]], _limit_s: float) -> Any:
        wait(event)
        return wait_for(futures, 0)

    monkeypatch.setattr("pytest_llmops.testing.semantic_cache.wait", wait_until_it_hangs)
    return event


def test_a_cache_that_never_returns_is_an_error_after_the_time_limit(hangs: threading.Event) -> None:
    end = threading.Event()

    class Hangs(Plain):
        def put(self, query: CacheQuery, answer: str) -> None:  # noqa: ARG002 -- as all caches
            hangs.set()
            end.wait()

    try:
        result = cache_probe(Hangs(), PAIRS, time_limit_s=0.05)
    finally:
        end.set()
    assert result.error == "the cache did not return from put within 0.05 s"


def test_a_missing_recording_within_the_cache_is_raised_where_the_test_runs() -> None:
    class Unrecorded(Plain):
        def get(self, query: CacheQuery) -> Any:  # noqa: ARG002 -- as all caches
            raise CassetteMiss("no recording")

    async def raise_miss(*_: object) -> None:
        raise CassetteMiss("no recording")

    for unrecorded in (Unrecorded(), (raise_miss, raise_miss)):
        with pytest.raises(CassetteMiss):
            cache_probe(unrecorded, PAIRS)


def test_the_numbers_of_answers_follow_from_the_seed() -> None:
    def stored(seed: int) -> list[str]:
        cache = Plain()
        cache_probe(cache, PAIRS, seed=seed)
        return list(cache.answers.values())

    assert stored(1) == stored(1) != stored(2)
    assert len(set(stored(1))) == len(stored(1))


def test_functions_are_a_cache_and_other_objects_are_none() -> None:
    plain = Plain()
    assert cache_probe((plain.get, plain.put), PAIRS).violations == ()
    assert cache_probe((plain.get, plain.put, plain.answers.clear), PAIRS).violations == ()
    with pytest.raises(UsageError) as failure:
        cache_probe((plain.get,), PAIRS)
    check_message(failure.value)
    with pytest.raises(UsageError, match="int"):
        cache_probe(3, PAIRS)


@pytest.mark.parametrize(
    "pairs",
    [
        [("a", "b", "hit")],
        [("a", "b", "miss"), ("a", "c", "miss")],
        [("a", "", "hit"), ("a", "c", "miss")],
        [("a", "a", "hit"), ("a", "c", "miss")],
        [("a", "b", "hit"), ("a", "c", "perhaps")],
        [("a", "b", "hit"), ("a", 3, "miss")],
        [("a", "b"), ("a", "c", "miss")],
        [],
    ],
    ids=["no must-miss", "no must-hit", "blank", "same", "must", "number", "short", "nothing"],
)
def test_pairs_that_prove_nothing_are_refused(pairs: Any) -> None:
    with pytest.raises(UsageError) as failure:
        cache_probe(Plain(), pairs)
    check_message(failure.value)


@pytest.mark.parametrize("rows", [["ab", "cd"], [("a", "1", "x"), ("b", "2", "y")], [1, 2]], ids=str)
def test_rows_of_traffic_that_are_none_are_refused(rows: Any) -> None:
    with pytest.raises(CaseError, match="traffic"):
        cache_probe(Plain(), traffic=rows)


def test_a_row_of_a_file_is_an_object(tmp_path: Path) -> None:
    for name, text in (("t.csv", "question,answer\na,1\nb,2\n"), ("t.jsonl", '["a", "1"]\n["b", "2"]\n')):
        (tmp_path / name).write_text(text)
        with pytest.raises(CaseError):
            cache_probe(Plain(), traffic=tmp_path / name)


def test_rows_may_be_mappings() -> None:
    rows: Any = [{"question": question, "answer": answer} for question, answer in TRAFFIC]
    assert cache_probe(Plain(), traffic=rows) == cache_probe(Plain(), traffic=TRAFFIC)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("argument", "values"),
    [
        ("pairs", [None, 3, {"a": "b"}, b"x", object(), "", "absent.jsonl", [None], [("a", "b", "hit", "c", "d")], [("a",)]]),
        ("traffic", [None, 3, dict(TRAFFIC), b"x", [("a", 1), ("b", 2)], [("a",)]]),
        ("calls", [None, 3, ["a"], "abc", [None], {"a": 1}]),
        ("embedding_usd", [-1.0, math.nan, math.inf, "0.1", "", True, False, []]),
        ("scope", [None, 3, "abc", {1: "a"}, {"tenant": None}, [("tenant", "a")]]),
        ("never_cached", [None, "abc", ["a refusal"], {"a": None}, {"a": b"x"}]),
        ("expire", [3, "x", False, 0]),
        ("roll_back", [True, ""]),
        ("time_limit_s", [0, -1.0, math.nan, math.inf, None, "x", True, 10**9]),
        ("index_time_s", [-0.1, math.nan, None, "x", 10**9]),
        ("seed", [None, True, 1.5, "x", [1]]),
        ("cache", [None, 3, "x", {}, (), (len,), (1, 2), [len, len], Plain, (len, len, len, len)]),
    ],
    ids=lambda argument: argument if isinstance(argument, str) else "",
)  # fmt: skip
def test_an_argument_of_no_use_is_refused_before_the_cache_is_called(
    argument: str, values: list[Any]
) -> None:
    messages = []
    for value in values:
        cache = Plain()
        given = {"cache": cache, "pairs": PAIRS, "traffic": TRAFFIC, argument: value}
        with pytest.raises(UsageError) as failure:
            cache_probe(**given)
        assert not cache.answers
        messages.append(str(failure.value).partition(" object at 0x")[0])
    check_message(messages)


@pytest.mark.parametrize(
    "value",
    [None, 3, "x", Plain(), CacheResult, [CacheResult()], {0.9: CacheResult()}],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_result_of_a_probe_is_refused(value: Any) -> None:
    with pytest.raises(UsageError, match=f"cache_probe.*got an object of type {type(value).__name__}"):
        assert_cache(value)


@pytest.mark.parametrize(
    "change",
    [{"traffic": 3}, {"pairs": "x"}, {"violations": "stored"}, {"not_checked": 3}, {"error": 3}, {"saving": math.nan}, {"unpriced": "x"}],
    ids=str,
)  # fmt: skip
def test_a_result_that_a_person_made_wrongly_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"CacheResult: expected.*{next(iter(change))}"):
        CacheResult(**change)


@pytest.mark.parametrize(
    "change",
    [
        {"hits": "3"}, {"units": -1}, {"units": 4}, {"false_units": 4}, {"false_hits": 3}, {"hit_rate": math.nan},
        {"hit_rate": -0.1}, {"hit_rate": 1.1}, {"hit_rate": None},
    ],
    ids=str,
)  # fmt: skip
def test_counts_that_a_person_made_wrongly_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="CacheCounts: expected"):
        replace(counts(3), **change)


@pytest.mark.parametrize(
    "sweep",
    [3, "", 0, [CacheResult()], {"0.9": CacheResult()}, {0.9: None}, {None: CacheResult()}, {math.nan: CacheResult()},
     {0.9: CacheResult(), "high": CacheResult()}, {10**400: CacheResult()}, {True: CacheResult()}],
    ids=lambda sweep: repr(sweep)[:30],
)  # fmt: skip
def test_a_sweep_that_is_none_is_refused(sweep: Any) -> None:
    for use in (format_sweep, lambda sweep: assert_cache(CacheResult(traffic=counts(299)), sweep=sweep)):
        with pytest.raises(UsageError, match="sweep: expected results of cache_probe by threshold, a number"):
            use(sweep)


@pytest.mark.parametrize("name", ["at_most_false_hits", "at_least_hit_rate", "at_least_saving"])
def test_thresholds_are_shares(name: str) -> None:
    result = CacheResult(traffic=counts(299), saving=0.6)
    for value in ("x", True, math.nan, -0.1, 1, 95, [0.1]):
        with pytest.raises(UsageError, match=f"assert_cache: expected {name}"):
            assert_cache(result, **{name: value})  # type: ignore[arg-type]
    assert assert_cache(result, **{name: Fraction(1, 3)})[0].status == "passed"  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [None, "x", [1], ["a"], [{"id": "a"}], 3], ids=str)
def test_what_is_no_case_makes_no_pair(value: Any) -> None:
    with pytest.raises(UsageError, match="make_pairs: expected cases"):
        make_pairs(value)


class Asynchronous:
    """A cache that is right, whose functions are to be awaited, all in one event loop, as a client of a server needs it."""

    def __init__(self) -> None:
        self.plain, self.loops = Plain(), set[asyncio.AbstractEventLoop]()

    async def aget(self, query: CacheQuery) -> Any:
        await asyncio.sleep(0)
        self.loops.add(asyncio.get_running_loop())
        return self.plain.get(query)

    async def aput(self, query: CacheQuery, answer: str) -> None:
        self.loops.add(asyncio.get_running_loop())
        self.plain.put(query, answer)

    async def aclear(self) -> None:
        self.plain.answers.clear()


@pytest.mark.parametrize("in_a_loop", [False, True])
def test_an_asynchronous_cache_is_awaited_in_one_event_loop(*, in_a_loop: bool) -> None:
    ours = Asynchronous()

    async def expire(query: CacheQuery) -> None:
        ours.plain.answers.clear()

    async def probe_in_loop() -> CacheResult:
        return cache_probe(ours, PAIRS, traffic=TRAFFIC, expire=expire)

    result = (
        asyncio.run(probe_in_loop())
        if in_a_loop
        else cache_probe((ours.aget, ours.aput, ours.aclear), PAIRS, traffic=TRAFFIC, expire=expire)
    )
    plain = Plain()
    assert result == cache_probe(plain, PAIRS, traffic=TRAFFIC, expire=lambda _: plain.answers.clear())
    assert result.not_checked == ("rollback",)
    (loop,) = ours.loops
    assert loop.is_closed()


def test_an_asynchronous_cache_that_throws_is_an_error() -> None:
    async def throw(*_: object) -> None:
        raise ConnectionError("no server")

    assert "in put: ConnectionError: no server" in cache_probe((throw, throw), PAIRS).error


def test_an_asynchronous_cache_that_never_returns_is_an_error(hangs: threading.Event) -> None:
    waiting: list[asyncio.Task[Any] | None] = []

    async def hang(*_: object) -> None:
        waiting.append(asyncio.current_task())
        hangs.set()
        await asyncio.Event().wait()

    result = cache_probe((hang, hang), PAIRS, time_limit_s=0.05)
    assert result.error == "the cache did not return from put within 0.05 s"
    (task,) = waiting
    assert task is not None
    task.get_loop().call_soon_threadsafe(task.cancel)


def test_a_background_task_that_goes_on_after_it_was_cancelled_is_named(hangs: threading.Event) -> None:
    tasks = list[asyncio.Task[None]]()
    end = asyncio.Event()

    async def refresh_index() -> None:
        while not end.is_set():
            try:
                await end.wait()
            except asyncio.CancelledError:
                hangs.set()

    async def get(_: CacheQuery) -> None:
        if not tasks:
            tasks.append(asyncio.create_task(refresh_index()))

    async def put(_: CacheQuery, answer: str) -> None:
        pass

    result = cache_probe((get, put), PAIRS, time_limit_s=0.15)
    tasks[0].get_loop().call_soon_threadsafe(end.set)
    check_message(result.error)
    assert "refresh_index" in result.error


class IndexesLate(Plain):
    """What was put is found by the third call of get after it."""

    left, late = 0, 2

    def put(self, query: CacheQuery, answer: str) -> None:
        super().put(query, answer)
        self.left = self.late

    def get(self, query: CacheQuery) -> Any:
        self.left -= 1
        return super().get(query) if self.left < 0 else None


@pytest.mark.slow
def test_a_store_that_indexes_late_is_called_again_for_a_bounded_time() -> None:
    late = cache_probe(IndexesLate(), PAIRS)
    assert late.pairs is not None
    assert late.pairs.hit_rate == 0
    waited = cache_probe(IndexesLate(), PAIRS, index_time_s=5.0, never_cached={})
    assert waited == cache_probe(Plain(), PAIRS)
    never = cache_probe((lambda _: None, lambda *_: None), PAIRS, index_time_s=0.001)
    assert never.pairs is not None
    assert (never.error, never.pairs.hit_rate) == ("", 0)


@pytest.mark.slow
def test_a_store_that_indexes_late_hides_no_answer_of_another_tenant() -> None:
    class Both(IndexesLate, IgnoresScope):
        late = 5

    assert cache_probe(Both(), PAIRS).violations == ()  # found too late to be seen
    waited = cache_probe(Both(), PAIRS, index_time_s=5.0, never_cached={})
    assert "returned the answer of another tenant" in waited.violations


def test_no_more_than_all_questions_are_answered_wrongly() -> None:
    result = cache_probe((lambda _: "Ask somebody else.", lambda *_: None), PAIRS)
    assert result.pairs is not None
    assert len(result.pairs.false_hits) == result.pairs.could_be_false == 6
    with pytest.raises(MeasurementFailed, match=r"100\.0% of 6 questions"):
        assert_cache(result, at_least_saving=None)


def test_a_scope_may_hold_any_value() -> None:
    scope = {"tenant": "another tenant", "model": "another model"}
    assert cache_probe(Plain(), PAIRS, scope=scope).violations == ()


def test_an_array_is_no_text() -> None:
    class ReturnsArray(Plain):
        def get(self, query: CacheQuery) -> Any:
            return None if super().get(query) is None else np.array([1, 2])

    assert "changed an answer" in cache_probe(ReturnsArray(), PAIRS).violations[0]


def test_prices_that_are_no_numbers_are_no_prices() -> None:
    for usd in (math.nan, -0.01):
        calls = (Call(endpoint="chat", cost_usd=usd),)
        assert cache_probe(Plain(), traffic=TRAFFIC, calls=calls, embedding_usd=0.0).saving is None


def test_a_result_of_nothing_is_no_pass() -> None:
    with pytest.raises(MeasurementErrored, match="no question"):
        assert_cache(CacheResult(), at_least_saving=None)


def test_pairs_and_traffic_come_from_files(tmp_path: Path) -> None:
    pairs, traffic = tmp_path / "pairs.jsonl", tmp_path / "traffic.jsonl"
    pairs.write_text(
        '{"text": "A b?", "other": "a b", "must": "hit"}\n{"text": "A b?", "other": "A c?", "must": "miss", "kind": "name"}\n'
    )
    traffic.write_text(
        "".join(f'{{"question": "{question}", "answer": "{answer}"}}\n' for question, answer in TRAFFIC)
    )
    result = cache_probe(Plain(), pairs, traffic=str(traffic))
    assert result.pairs is not None
    assert result.traffic is not None
    assert (result.pairs.hits, result.traffic.hits, len(result.traffic.false_hits)) == (1, 2, 1)
    pairs.write_text('{"text": "a", "other": "b", "must": "hit"}\n{"text": "a", "must": "miss"}\n')
    with pytest.raises(CaseError) as failure:
        cache_probe(Plain(), pairs)
    assert failure.value.line == 2
    pairs.write_text("")
    with pytest.raises(CaseError):
        cache_probe(Plain(), pairs, traffic=TRAFFIC)
    with pytest.raises(UsageError):
        cache_probe(Plain(), traffic=[("a", "1"), ("b", "1")])


def test_a_hit_of_traffic_is_false_if_its_answer_is_to_another_intent() -> None:
    result = cache_probe(Plain(), traffic=TRAFFIC, calls=CALLS)
    assert result.traffic == CacheCounts(
        could_be_false=5,
        hits=2,
        false_hits=("traffic: 'C D' got the answer to 'c d'",),
        units=2,
        false_units=1,
        hit_rate=0.4,
    )
    # Two of five answers at $0.02, less five embeddings at $0.001.
    assert result.saving == pytest.approx((2 * 0.02 - 5 * 0.001) / (5 * 0.02))


@pytest.mark.parametrize(
    ("calls", "embedding_usd"),
    [
        ((), None),
        (CALLS[:2], None),
        ((CALLS[0], Call(endpoint="chat", model="small-1"), CALLS[2]), None),
        ((Call(endpoint="chat", cost_usd=0.0),), 0.0),
        ((CALLS[0], Call(endpoint="embeddings", model="vectors-1")), None),
    ],
    ids=["no calls", "no embedding", "a call without a price", "free", "an embedding without a price"],
)
def test_without_prices_there_is_no_saving(calls: Any, embedding_usd: float | None) -> None:
    result = cache_probe(Plain(), traffic=TRAFFIC, calls=calls, embedding_usd=embedding_usd)
    assert result.saving is None
    with pytest.raises(MeasurementErrored) as failure:
        assert_cache(result, at_most_false_hits=None, at_least_hit_rate=None)
    assert failure.value.measurement.name == "cache.saving"
    assert result.unpriced == (*(call.model for call in calls if call.cost_usd is None),)
    check_message(failure.value)


def test_pairs_alone_say_how_to_do_without_a_saving() -> None:
    with pytest.raises(MeasurementErrored, match="at_least_saving=None", check=check_message):
        assert_cache(cache_probe(Plain(), PAIRS, calls=CALLS), at_most_false_hits=None)


def test_calls_of_a_judge_and_failed_calls_have_no_say_in_the_price() -> None:
    more = (*CALLS, Call(endpoint="chat", purpose="judge", cost_usd=9.0), Call(endpoint="chat", status=500))
    assert cache_probe(Plain(), traffic=TRAFFIC, calls=more).saving == pytest.approx(0.35)
    assert cache_probe(Plain(), traffic=TRAFFIC, calls=CALLS[:2], embedding_usd=0.0).saving == pytest.approx(
        0.4
    )


def counts(hits: int, false: int = 0, units: int | None = None, hit_rate: float = 0.5) -> CacheCounts:
    return CacheCounts(
        could_be_false=2 * hits,
        hits=hits,
        false_hits=tuple(f"number {number}" for number in range(false)),
        units=hits if units is None else units,
        false_units=min(false, hits if units is None else units),
        hit_rate=hit_rate,
    )


@pytest.mark.parametrize(
    ("hits", "false", "at_most", "outcome"),
    [
        (299, 0, 0.01, "passed"),
        (298, 0, 0.01, "errored"),
        (473, 1, 0.01, "passed"),
        (472, 1, 0.01, "errored"),
        (59, 0, 0.05, "passed"),
        (58, 0, 0.05, "errored"),
        (598, 0, 0.005, "passed"),
        (100, 2, 0.01, "failed"),
        (0, 0, 0.01, "errored"),
    ],
)
def test_few_hits_prove_nothing(hits: int, false: int, at_most: float, outcome: str) -> None:
    result = CacheResult(traffic=counts(hits, false), saving=0.6)
    problems: dict[str, type[MeasurementFailed | MeasurementErrored]] = {
        "failed": MeasurementFailed,
        "errored": MeasurementErrored,
    }
    problem = problems.get(outcome)
    if problem is None:
        assert {measurement.status for measurement in assert_cache(result, at_most_false_hits=at_most)} == {
            "passed"
        }
    else:
        with pytest.raises(problem) as failure:
            assert_cache(result, at_most_false_hits=at_most)
        assert [measurement.name for measurement in getattr(failure.value, "measurements", ())] == [
            "cache.false_hits"
        ]
        check_message(failure.value)


def test_hits_on_one_stored_question_count_once() -> None:
    with pytest.raises(MeasurementErrored) as failure:
        assert_cache(CacheResult(pairs=counts(400, units=20)), at_least_saving=None)
    assert "(20 of 299)" in str(failure.value)


def test_beside_traffic_pairs_need_no_number_of_hits_but_may_not_be_worse() -> None:
    good = CacheResult(traffic=counts(300), pairs=counts(10), saving=0.6)
    names = [measurement.name for measurement in assert_cache(good)]
    assert names == [
        "cache.violations", "cache.false_hits", "cache.hit_rate", "cache.pairs.false_hits", "cache.pairs.hit_rate", "cache.saving"
    ]  # fmt: skip
    silent = assert_cache(CacheResult(traffic=counts(300), pairs=counts(0), saving=0.6))
    assert "cache.pairs.false_hits" not in [measurement.name for measurement in silent]
    with pytest.raises(MeasurementFailed) as failure:
        assert_cache(CacheResult(traffic=counts(300), pairs=counts(10, 1), saving=0.6))
    assert failure.value.measurement.name == "cache.pairs.false_hits"
    assert "number 0" in str(failure.value)  # which pair it was


def test_a_failure_shows_the_sweep_the_counts_and_the_first_false_hits() -> None:
    sweep = {
        0.9: CacheResult(traffic=counts(300, 15, hit_rate=0.25), saving=0.24),
        0.8: CacheResult(error="down"),
    }
    with pytest.raises(MeasurementFailed) as failure:
        assert_cache(sweep[0.9], sweep=sweep)
    lines = str(failure.value).split("\n")
    assert sum(len(line) for line in lines if "0.8 " in line and "0.9" in line)
    assert failure.value.measurement.detail["sweep"] == [[0.8, None, None, None], [0.9, 0.25, 0.05, 0.24]]
    check_message(failure.value)


def test_without_thresholds_all_is_recorded_only() -> None:
    figures = assert_cache(
        CacheResult(traffic=counts(3, 1), saving=-0.2),
        at_most_false_hits=None,
        at_least_hit_rate=None,
        at_least_saving=None,
    )
    assert [(measurement.name, measurement.status) for measurement in figures[1:]] == [
        ("cache.false_hits", "recorded"), ("cache.hit_rate", "recorded"), ("cache.saving", "recorded")
    ]  # fmt: skip


@pytest.mark.parametrize(
    "threshold",
    [
        {"at_most_false_hits": 0.0},
        {"at_most_false_hits": 1.0},
        {"at_least_hit_rate": 1.5},
        {"at_least_saving": "much"},
    ],
    ids=str,
)
def test_an_impossible_threshold_is_refused(threshold: Any) -> None:
    with pytest.raises(UsageError) as failure:
        assert_cache(CacheResult(traffic=counts(300), saving=0.6), **threshold)
    check_message(failure.value)


def test_a_cache_that_answers_everything_fails() -> None:
    result = cache_probe(AnswersAll(), PAIRS)
    assert result.pairs is not None
    assert (result.pairs.hits, len(result.pairs.false_hits)) == (4, 2)
    with pytest.raises(MeasurementFailed):
        assert_cache(result, at_least_saving=None)


@pytest.mark.parametrize(("failures", "count"), [(0, 1), (0, 299), (1, 20), (7, 50), (39, 770), (49, 50)])
def test_the_exact_end_is_where_so_few_failures_become_too_rare(failures: int, count: int) -> None:
    def at_most(share: Fraction) -> float:
        return float(
            sum(math.comb(count, k) * share**k * (1 - share) ** (count - k) for k in range(failures + 1))
        )

    end = round(exact_upper_end(failures, count) * 10**6)
    assert at_most(Fraction(end, 10**6)) <= 0.05 < at_most(Fraction(end - 2, 10**6))


def test_all_failed_or_nothing_tried_excludes_no_share() -> None:
    assert exact_upper_end(50, 50) == exact_upper_end(0, 0) == 1.0


def test_numbers_of_hits_without_a_failure_are_the_known_ones() -> None:
    assert [count_needed(0, at_most) for at_most in (0.05, 0.02, 0.01, 0.005)] == [59, 149, 299, 598]


def test_pairs_are_made_of_cases() -> None:
    cases = [
        Case(id="a", input="Can I pay with Visa within 30 days?", reference="yes", family="pay"),
        Case(id="b", input="Is Visa fine?", reference="yes", family="pay"),
        Case(id="c", input="Is Visa fine after 31 days?", reference="no", family="pay"),
        Case(id="d", input="Do you ship to Norway?"),
    ]
    assert make_pairs(cases) == (
        CachePair("Can I pay with Visa within 30 days?", "Is Visa fine?", "hit", "paraphrase"),
        CachePair("Can I pay with Visa within 30 days?", "Is Visa fine after 31 days?", "miss", "family"),
        CachePair(
            "Can I pay with Visa within 30 days?", "Can I pay with Visa within 31 days?", "miss", "numbers"
        ),
        CachePair(
            "Can I pay with Visa within 30 days?",
            "Can I not pay with Visa within 30 days?",
            "miss",
            "negation",
        ),
        CachePair(
            "Can I pay with Visa within 30 days?", "Can I pay with Norway within 30 days?", "miss", "entities"
        ),
        CachePair("Do you ship to Norway?", "Do you not ship to Norway?", "miss", "negation"),
        CachePair("Do you ship to Norway?", "Do you ship to Visa?", "miss", "entities"),
    )
    with pytest.raises(UsageError) as failure:
        make_pairs([Case(id="e", input={"a": 1})])
    check_message(failure.value)


def test_a_sweep_is_a_table() -> None:
    sweep = {0.9: CacheResult(traffic=counts(10, 1), saving=0.1), 0.5: CacheResult(pairs=counts(0))}
    assert list_sweep(sweep) == [(0.5, 0.5, None, None), (0.9, 0.5, 0.1, 0.1)]
    assert dict(format_sweep(sweep))["false hits"].split() == ["-", "10.0%"]
    near = {
        0.001: CacheResult(),
        0.995: CacheResult(),
        0.999: CacheResult(),
        123456: CacheResult(saving=-99.0),
    }
    lines = dict(format_sweep(near))
    assert lines["threshold"].split() == ["0.001", "0.995", "0.999", "1.235e+05"]
    assert lines["saving"].split() == ["-", "-", "-", "-9900.0%"]
    assert format_sweep({}) == []


def test_what_a_cache_returns_cannot_steer_a_terminal_or_a_ci_runner() -> None:
    class Hostile(Plain):
        def get(self, query: CacheQuery) -> Any:  # noqa: ARG002 -- as all caches
            return "\x1b]0;own\x07\n::error::owned \u202e<script>" * 1000

    result = cache_probe(Hostile(), [(f"{first}\x1b[2J", other, must) for first, other, must, *_ in PAIRS])
    with pytest.raises(MeasurementFailed) as failure:
        assert_cache(result, sweep={0.5: result})
    text = str(failure.value)
    assert text.replace("\n", "").isprintable()
    assert not any(line.lstrip().startswith("::") for line in text.split("\n"))
    assert max(map(len, text.split("\n"))) < 400


def test_a_cache_embeds_on_one_thread_of_linear_algebra() -> None:
    """MiniLM cannot set that limit from the probe's thread, and threads that wait for each other are many times slower."""
    pytest.importorskip("threadpoolctl")
    # Those of numpy alone, which MiniLM uses: scipy, where another test needed it, has its own
    pools = minilm._threadpool_controller().select(user_api="blas")
    before, seen = pools.info(), set[int]()

    def get(query: CacheQuery) -> None:
        seen.update(pool["num_threads"] for pool in pools.info())

    with pools.limit(limits=2):
        cache_probe((get, lambda *_: None), PAIRS)
        assert {pool["num_threads"] for pool in pools.info()} == {2}
    assert seen == {1}
    assert pools.info() == before


# The cache of redisvl, of which only what is called is here.


class Tag:
    """A filter of redisvl."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __eq__(self, value: object) -> Any:
        return f"@{self.name}:{{{value}}}"

    def __hash__(self) -> int:
        return hash(self.name)


class RedisCache:
    """A cache with an index of some fields; keeps the arguments of its calls."""

    def __init__(self, *fields: str, hits: Sequence[Mapping[str, str]] = ()) -> None:
        self.index = SimpleNamespace(schema=SimpleNamespace(field_names=fields))
        self.hits = hits
        self.calls: list[tuple[object, ...]] = []

    def check(self, prompt: str, *, filter_expression: str | None) -> Sequence[Mapping[str, str]]:
        self.calls.append((prompt, filter_expression))
        return self.hits

    def store(self, prompt: str, answer: str, *, filters: Mapping[str, str]) -> None:
        self.calls.append((prompt, answer, filters))


@pytest.fixture
def tags(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redisvl.query.filter", SimpleNamespace(Tag=Tag))


@pytest.mark.usefixtures("tags")
@pytest.mark.parametrize(
    ("fields", "expression", "stored"),
    [
        (("tenant", "language"), "@tenant:{a} @language:{de}", {"tenant": "a", "language": "de"}),
        (("language", "prompt"), "@language:{de}", {"language": "de"}),
        (("prompt",), None, {}),
    ],
)
def test_a_redisvl_cache_is_filtered_by_the_parts_of_the_scope_that_its_index_has(
    fields: tuple[str, ...], expression: str | None, stored: dict[str, str]
) -> None:
    cache = RedisCache(*fields, hits=[{"response": "first"}, {"response": "second"}])
    functions = adapt_cache(cache)
    query = SimpleNamespace(prompt="how?", scope={"tenant": "a", "language": "de", "version": "1"})
    assert functions["get"](query) == "first"
    functions["put"](query, "so")
    assert cache.calls == [("how?", expression), ("how?", "so", stored)]


@pytest.mark.usefixtures("tags")
def test_a_redisvl_cache_without_a_hit_has_no_answer() -> None:
    query = SimpleNamespace(prompt="how?", scope={"tenant": "a"})
    assert adapt_cache(RedisCache("tenant"))["get"](query) is None
