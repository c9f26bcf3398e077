"""Which tape, take and purpose are in force: in threads, pools, tasks and nested blocks."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.server import WAIT_S, wait
from support.tapes import no_tape

from pytest_llmops import recorder
from pytest_llmops.cassettes import active_tape
from pytest_llmops.cassettes.http import interception
from pytest_llmops.cassettes.tape import Tape
from pytest_llmops.cassettes.tape_config import TapeConfig


@pytest.fixture
def base(tmp_path: Path) -> Iterator[Tape]:
    with no_tape():
        interception.install_patches()
        tape = Tape(tmp_path / "base.json")
        active_tape.push_tape(tape)
        yield tape
        active_tape.remove_tape(tape)


@pytest.fixture
def inner(tmp_path: Path) -> Tape:
    return Tape(tmp_path / "inner.json")


def here() -> tuple[Tape | None, str, str]:
    return active_tape.current_tape(), active_tape.current_take(), active_tape.current_purpose()


def in_a_thread() -> tuple[Tape | None, str, str]:
    result: list[tuple[Tape | None, str, str]] = []
    thread = threading.Thread(target=lambda: result.append(here()))
    thread.start()
    thread.join()
    return result[0]


class _Subclass(threading.Thread):
    found: tuple[Tape | None, str, str] | None = None

    def run(self) -> None:
        self.found = here()


def in_a_subclass() -> tuple[Tape | None, str, str]:
    finding = _Subclass()
    finding.start()
    finding.join()
    assert "run" not in vars(finding)
    assert finding.found is not None
    return finding.found


def in_a_pool() -> tuple[Tape | None, str, str]:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(here).result()


def in_a_mapping_pool() -> tuple[Tape | None, str, str]:
    with ThreadPoolExecutor(1) as pool:
        return next(pool.map(lambda _: here(), [0]))


def in_an_executor() -> tuple[Tape | None, str, str]:
    async def main() -> tuple[Tape | None, str, str]:
        return await asyncio.get_running_loop().run_in_executor(None, here)

    return asyncio.run(main())


def in_a_task() -> tuple[Tape | None, str, str]:
    async def ask() -> tuple[Tape | None, str, str]:
        return here()

    async def main() -> tuple[Tape | None, str, str]:
        return await asyncio.create_task(ask())

    return asyncio.run(main())


def in_a_thread_of_a_thread() -> tuple[Tape | None, str, str]:
    result: list[tuple[Tape | None, str, str]] = []
    thread = threading.Thread(target=lambda: result.append(in_a_thread()))
    thread.start()
    thread.join()
    return result[0]


WAYS: tuple[Callable[[], tuple[Tape | None, str, str]], ...] = (
    here, in_a_thread, in_a_subclass, in_a_pool, in_a_mapping_pool, in_an_executor, in_a_task, in_a_thread_of_a_thread,
)  # fmt: skip


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_call_made_anywhere_belongs_to_its_starter(
    base: Tape, inner: Tape, way: Callable[[], object]
) -> None:
    assert way() == (base, "0", "app")
    with recorder.run_as_trial(3), recorder.set_purpose("judge"):
        assert way() == (base, "3", "judge")
        with active_tape.use_tape(inner):
            assert way() == (inner, "3", "judge")
        assert way() == (base, "3", "judge")
    assert way() == (base, "0", "app")


def test_each_part_is_taken_along_alone(base: Tape, inner: Tape) -> None:
    with recorder.set_purpose("judge"):
        assert in_a_thread() == (base, "0", "judge")
    with recorder.run_as_trial(3):
        assert in_a_thread() == (base, "3", "app")
    with active_tape.use_tape(inner):
        assert in_a_thread() == (inner, "0", "app")


def test_asyncio_to_thread_belongs_to_its_starter(base: Tape, inner: Tape) -> None:
    async def main() -> object:
        with active_tape.use_tape(inner):
            return await asyncio.to_thread(here)

    assert asyncio.run(main()) == (inner, "0", "app")
    assert active_tape.current_tape() is base


def test_concurrent_tasks_keep_their_own_tape_and_trial(base: Tape, tmp_path: Path) -> None:
    tapes = [Tape(tmp_path / f"{number}.json") for number in range(6)]

    async def one(number: int, barrier: asyncio.Barrier) -> None:
        with active_tape.use_tape(tapes[number]), recorder.run_as_trial(number):
            await barrier.wait()
            assert here()[:2] == (tapes[number], str(number))
            assert (await asyncio.get_running_loop().run_in_executor(None, here))[0] is tapes[number]
            await barrier.wait()

    async def main() -> None:
        barrier = asyncio.Barrier(len(tapes))
        await asyncio.gather(*(one(number, barrier) for number in range(len(tapes))))

    asyncio.run(main())
    assert here() == (base, "0", "app")


def test_a_pool_that_outlives_a_block_forgets_it(base: Tape, inner: Tape) -> None:
    with ThreadPoolExecutor(1) as pool:
        with active_tape.use_tape(inner), recorder.run_as_trial(2):
            assert pool.submit(here).result() == (inner, "2", "app")
        assert pool.submit(here).result() == (base, "0", "app")


def test_a_thread_that_outlives_its_test_belongs_to_the_next(base: Tape, tmp_path: Path) -> None:
    go, result = threading.Event(), list[object]()

    def run() -> None:
        wait(go)
        result.append(here())

    with recorder.run_as_trial(4):
        thread = threading.Thread(target=run)
        thread.start()
    following = Tape(tmp_path / "next.json")
    active_tape.remove_tape(base)
    active_tape.push_tape(following)
    go.set()
    thread.join()
    active_tape.remove_tape(following)
    assert result == [(following, "0", "app")]


def test_a_thread_that_outlives_a_block_is_back_on_the_tape_of_the_test(base: Tape, inner: Tape) -> None:
    go, result = threading.Event(), list[object]()

    def run() -> None:
        wait(go)
        result.append(active_tape.current_tape())

    with active_tape.use_tape(inner):
        thread = threading.Thread(target=run)
        thread.start()
    go.set()
    thread.join()
    assert result == [base]


def test_a_thread_that_outlives_an_inner_block_is_in_the_one_around_it(
    base: Tape, inner: Tape, tmp_path: Path
) -> None:
    outer, middle, later = (Tape(tmp_path / f"{name}.json") for name in ("outer", "middle", "later"))
    step, tapes = threading.Barrier(2, timeout=WAIT_S), list[object]()

    def run() -> None:
        for _ in range(4):
            step.wait()
            tapes.append(active_tape.current_tape())
            step.wait()

    def look() -> None:
        step.wait()
        step.wait()

    thread = threading.Thread(target=run)
    with active_tape.use_tape(outer):
        with active_tape.use_tape(middle), active_tape.use_tape(inner):
            thread.start()
            look()
        look()
    look()
    with active_tape.use_tape(later):
        look()
    thread.join()
    assert tapes == [inner, outer, base, base]


def test_a_block_that_a_thread_opens_ends_in_the_block_of_its_starter(base: Tape, inner: Tape) -> None:
    tapes: list[object] = []
    own = Tape(base.path.with_name("own.json"))

    def run() -> None:
        with active_tape.use_tape(own):
            tapes.append(active_tape.current_tape())
            late = contextvars.copy_context()
        tapes.extend([active_tape.current_tape(), late.run(active_tape.current_tape)])

    with active_tape.use_tape(inner):
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    assert tapes == [own, inner, inner]


def test_a_task_that_outlives_an_inner_block_is_in_the_one_around_it(base: Tape, inner: Tape) -> None:
    outer = Tape(base.path.with_name("outer.json"))

    async def main() -> Tape | None:
        go = asyncio.Event()

        async def look() -> Tape | None:
            await go.wait()
            return active_tape.current_tape()

        with active_tape.use_tape(outer):
            with active_tape.use_tape(inner):
                task = asyncio.create_task(look())
            go.set()
            return await task

    assert asyncio.run(main()) is outer


def test_a_block_of_a_fixture_is_not_in_the_block_that_it_interrupts(base: Tape, inner: Tape) -> None:
    fixture, own = (Tape(base.path.with_name(f"{name}.json")) for name in ("fixture", "own"))
    with active_tape.use_tape(inner):
        active_tape.push_tape(fixture)
        assert active_tape.current_tape() is fixture
        with active_tape.use_tape(own):
            assert active_tape.current_tape() is own
            late = contextvars.copy_context()
        assert late.run(active_tape.current_tape) is fixture
        active_tape.remove_tape(fixture)
        assert active_tape.current_tape() is inner


def test_a_thread_that_cannot_start_stays_as_it_was(base: Tape) -> None:
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()
    with recorder.run_as_trial(1), pytest.raises(RuntimeError, match="once"):
        thread.start()
    assert "run" not in vars(thread)


def test_a_run_that_its_owner_replaced_is_left_alone(base: Tape) -> None:
    result: list[str] = []
    thread = threading.Thread(target=lambda: result.append("target"))
    thread.run = lambda: result.append("replaced")  # type: ignore[method-assign]  # what some libraries do
    with recorder.run_as_trial(1):
        thread.start()
    thread.join()
    assert result == ["replaced"]


def test_a_pool_runs_partials_and_tells_errors(base: Tape) -> None:
    def fail() -> None:
        raise KeyError("x")

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(functools.partial(divmod, 7), 2).result() == (3, 1)
        with pytest.raises(KeyError):
            pool.submit(fail).result()


def test_without_a_tape_threads_are_as_they_were() -> None:
    with no_tape():
        start, submit = threading.Thread.start, ThreadPoolExecutor.submit
        assert start.__module__ == "threading"
        assert submit.__module__ == "concurrent.futures.thread"
        assert here() == (None, "0", "app")


def test_a_block_of_an_unfinished_generator_ends_where_it_is_closed(base: Tape, inner: Tape) -> None:
    def blocks() -> Generator[None, None, None]:
        with active_tape.use_tape(inner):
            yield

    tape = blocks()
    next(tape)
    assert active_tape.current_tape() is inner
    tape.close()
    assert active_tape.current_tape() is base


def test_a_trial_inside_of_a_test_has_its_own_take_and_other_calls_have_that_of_the_test(
    tmp_path: Path,
) -> None:
    tape = Tape(tmp_path / "a.json", config=TapeConfig(take="1"))
    active_tape.push_tape(tape)
    try:
        assert active_tape.current_take() == "1"
        with recorder.run_as_trial(0):
            assert active_tape.current_take() == "0"
            with ThreadPoolExecutor(1) as pool:
                interception.install_patches()
                assert pool.submit(active_tape.current_take).result() == "0"
    finally:
        active_tape.remove_tape(tape)
