"""Calls of recorded functions, without a run of pytest: the module is made in the test, the tape is real."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from support.messages import check_message
from support.tapes import stored, taped

from pytest_llmops._util.option_modes import RecordMode
from pytest_llmops.cassettes.functions.calls import record_functions
from pytest_llmops.cassettes.tape import Tape
from pytest_llmops.cassettes.tool_questions import read_tool_answer, read_tool_params
from pytest_llmops.errors import CassetteMiss, UsageError
from pytest_llmops.settings import Settings
from pytest_llmops.wire.body import unfold_body

SOURCE = """
import asyncio
import functools
from dataclasses import dataclass


class Refused(Exception):
    pass


class Handle:
    pass


@dataclass
class Order:
    number: int


log = []
price = 5


def find(number, /, place="here", *rest, note="", **more) -> Order:
    log.append(("find", number, place, rest, note, more))
    return Order(number + price)


def refuse(number):
    log.append(("refuse", number))
    raise Refused(f"no order {number}")


def stop():
    raise KeyboardInterrupt


def cancel():
    raise asyncio.CancelledError


def open_handle(number):
    return Handle()


def refuse_oddly():
    raise type("Odd", (Exception,), {})("odd")


door = 1
problem = Refused("a")


def open_door():
    return door


def raise_problem():
    raise problem


def both(number):
    return [find(number).number, find(number).number]


async def ask(number):
    log.append(("ask", number))
    return number + price


async def ask_in_vain(number):
    log.append(("ask", number))
    raise Refused(f"no order {number}")


async def ask_and_stop():
    raise KeyboardInterrupt


async def ask_forever():
    log.append("asked")
    await asyncio.Event().wait()


def each(count):
    log.append("begin")
    try:
        for number in range(count):
            yield find(number).number
        return "all"
    finally:
        log.append("end")


def each_and_refuse(count):
    yield from each(count)
    raise Refused("no more")


def each_or_other(count):
    try:
        yield from range(count)
    except ValueError as error:
        raise Refused(str(error)) from None


def each_anyhow(count):
    try:
        yield from range(count)
    except ValueError:
        yield -1


def each_and_stop():
    yield 1
    raise KeyboardInterrupt


async def aeach(count):
    log.append("begin")
    try:
        for number in range(count):
            yield find(number).number
    finally:
        log.append("end")


async def aeach_and_refuse(count):
    async for item in aeach(count):
        yield item
    raise Refused("no more")


async def aeach_or_other(count):
    try:
        for number in range(count):
            yield number
    except ValueError as error:
        raise Refused(str(error)) from None


async def aeach_anyhow(count):
    try:
        for number in range(count):
            yield number
    except ValueError:
        yield -1


async def aeach_and_stop():
    yield 1
    raise KeyboardInterrupt


def decorate(function):
    @functools.wraps(function)
    def call(*args, **kwargs):
        return function(*args, **kwargs)

    return call


@decorate
def wrapped(number, note="x"):
    log.append(("wrapped", number, note))
    return number


@decorate
async def wrapped_coroutine(number):
    return number


class Shop:
    def __init__(self):
        self.opened = 0

    def sell(self, number):
        log.append(("sell", number))
        return number * price

    @classmethod
    def make(cls, number):
        return number * price

    @staticmethod
    def count(number):
        return number * price
"""


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Any:
    module: Any = ModuleType("shop_of_test")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(SOURCE, module.__name__, "exec", dont_inherit=True), module.__dict__)
    return module


@contextmanager
def use(folder: Path, mode: RecordMode, *named: str, **settings: Any) -> Iterator[Tape]:
    """Record or replay functions of the module, each by its name and what to ignore."""
    config: dict[str, Any] = {}
    if settings:
        config = {"settings": Settings(**settings)}
    with (
        taped(folder / "a.json", mode, **config) as tape,
        record_functions([f"shop_of_test.{name}" for name in named], "test_a"),
    ):
        yield tape


def read_calls(folder: Path) -> list[tuple[str, Any, Any]]:
    """The recorded calls: the name, the arguments and the first answer."""
    calls = []
    for interaction in stored(folder / "a.json"):
        request = interaction["request"]
        answers = next(iter(interaction["answers"].values()))
        calls.append((request["url"], read_tool_params(request), answers))
    return calls


def take_log(shop: Any) -> list[Any]:
    log = list(shop.log)
    shop.log.clear()
    return log


def test_a_call_is_recorded_by_the_names_of_its_arguments_and_replayed_without_the_function(
    shop: Any, tmp_path: Path
) -> None:
    def call() -> list[Any]:
        return [
            shop.find(1),
            shop.find(2, "there", 7, 8, note="b", colour="red"),
            shop.find(3, note="c"),
        ]

    expected = [shop.Order(6), shop.Order(7), shop.Order(8)]
    with use(tmp_path, "all", "find") as tape:
        assert call() == expected
    assert take_log(shop) == [
        ("find", 1, "here", (), "", {}),
        ("find", 2, "there", (7, 8), "b", {"colour": "red"}),
        ("find", 3, "here", (), "c", {}),
    ]
    assert tape.counts.recorded == 3
    calls = [call[:2] for call in read_calls(tmp_path)]
    assert sorted(calls, key=lambda call: call[1]["number"]) == [
        ("function:shop_of_test.find", {"number": 1, "place": "here", "note": ""}),
        (
            "function:shop_of_test.find",
            {
                "number": 2,
                "place": "there",
                "rest": {"$tuple": [7, 8]},
                "note": "b",
                "more": {"colour": "red"},
            },
        ),
        ("function:shop_of_test.find", {"number": 3, "place": "here", "note": "c"}),
    ]
    with use(tmp_path, "none", "find") as tape:
        assert call() == expected
    assert tape.counts.replayed == 3
    assert take_log(shop) == []
    assert shop.find(1) == shop.Order(6)
    assert len(take_log(shop)) == 1


def test_without_a_tape_and_with_tools_off_the_function_is_called_as_ever(shop: Any, tmp_path: Path) -> None:
    async def ask() -> Any:
        return await shop.ask(1), [item async for item in shop.aeach(2)]

    names = ["shop_of_test.find", "shop_of_test.ask", "shop_of_test.each", "shop_of_test.aeach"]
    with record_functions(names, "test_a"):
        assert shop.find(1) == shop.Order(6)
        assert list(shop.each(2)) == [5, 6]
        assert asyncio.run(ask()) == (6, [5, 6])
    with use(tmp_path, "all", "find", "ask", "each", "aeach", tools="off") as tape:
        assert shop.find(1) == shop.Order(6)
        assert list(shop.each(2)) == [5, 6]
        assert asyncio.run(ask()) == (6, [5, 6])
    assert tape.counts.recorded == 0
    assert not (tmp_path / "a.json").exists()


def test_only_the_outermost_call_is_recorded(shop: Any, tmp_path: Path) -> None:
    with use(tmp_path, "all", "find", "both", "refuse") as tape:
        assert shop.both(1) == [6, 6]
        with pytest.raises(shop.Refused):
            shop.refuse(1)
        assert shop.find(4) == shop.Order(9)
    assert tape.counts.recorded == 3
    assert sorted(url for url, _, _ in read_calls(tmp_path)) == [
        "function:shop_of_test.both",
        "function:shop_of_test.find",
        "function:shop_of_test.refuse",
    ]


def test_self_and_ignored_arguments_do_not_count(shop: Any, tmp_path: Path) -> None:
    named = ["Shop.sell", "Shop.make", "Shop.count", "find ignore=note, more", "wrapped ignore=note"]
    with use(tmp_path, "all", *named):
        assert shop.Shop().sell(2) == 10
        assert shop.Shop.make(3) == 15
        assert shop.Shop.count(4) == 20
        assert shop.find(1, note="a", colour="red") == shop.Order(6)
        assert shop.wrapped(1, note="a") == 1
    assert {url: params for url, params, _ in read_calls(tmp_path)} == {
        "function:shop_of_test.Shop.sell": {"number": 2},
        "function:shop_of_test.Shop.make": {"number": 3},
        "function:shop_of_test.Shop.count": {"number": 4},
        "function:shop_of_test.find": {"number": 1, "place": "here"},
        "function:shop_of_test.wrapped": {"number": 1},
    }
    with use(tmp_path, "none", *named):
        assert shop.find(1, note="b") == shop.Order(6)
        assert shop.wrapped(number=1, note="c") == 1


def test_the_call_of_a_decorated_function_is_the_same_by_position_and_by_name(
    shop: Any, tmp_path: Path
) -> None:
    with use(tmp_path, "all", "wrapped"):
        assert shop.wrapped(1) == 1
    assert [params for _, params, _ in read_calls(tmp_path)] == [{"number": 1, "note": "x"}]
    shop.log.clear()
    with use(tmp_path, "none", "wrapped"):
        assert shop.wrapped(note="x", number=1) == 1
    assert shop.log == []


def test_a_raised_error_is_recorded_and_raised_again(shop: Any, tmp_path: Path) -> None:
    for mode in ("all", "none"):
        with use(tmp_path, mode, "refuse", "ask_in_vain") as tape:
            with pytest.raises(shop.Refused) as caught:
                shop.refuse(3)
            assert caught.value.args == ("no order 3",)
            with pytest.raises(shop.Refused) as caught:
                asyncio.run(shop.ask_in_vain(4))
            assert caught.value.args == ("no order 4",)
        assert (tape.counts.recorded, tape.counts.replayed) == {"all": (2, 0), "none": (0, 2)}[mode]
    assert take_log(shop) == [("refuse", 3), ("ask", 4)]


def test_an_interrupted_call_is_not_recorded(shop: Any, tmp_path: Path) -> None:
    async def read() -> None:
        async for _ in shop.aeach_and_stop():
            pass

    with use(tmp_path, "all", "stop", "each_and_stop", "aeach_and_stop", "ask_and_stop", "find") as tape:
        with pytest.raises(KeyboardInterrupt):
            shop.stop()
        with pytest.raises(KeyboardInterrupt):
            list(shop.each_and_stop())
        for make in (read, shop.ask_and_stop):
            coroutine = make()
            with pytest.raises(KeyboardInterrupt):
                for _ in coroutine.__await__():
                    pass
        shop.find(1)
    assert tape.counts.recorded == 1


def test_a_cancelled_call_is_recorded_and_a_replay_waits_to_be_cancelled(shop: Any, tmp_path: Path) -> None:
    with use(tmp_path, "all", "cancel"), pytest.raises(asyncio.CancelledError):
        shop.cancel()
    ((_, _, answers),) = read_calls(tmp_path)
    assert [answer["outcome"] for answer in answers] == [{"error": "CancelledError", "text": ""}]
    with use(tmp_path, "none", "cancel"), pytest.raises(CassetteMiss, check=check_message):
        shop.cancel()


def test_a_cancelled_task_is_cancelled_again_in_a_replay(shop: Any, tmp_path: Path) -> None:
    async def run() -> None:
        task = asyncio.ensure_future(shop.ask_forever())
        await asyncio.sleep(0)
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    for mode in ("all", "none"):
        with use(tmp_path, mode, "ask_forever") as tape:
            asyncio.run(run())
        assert (tape.counts.recorded, tape.counts.replayed) == {"all": (1, 0), "none": (0, 1)}[mode]
        assert not tape.report.misses
    assert take_log(shop) == ["asked"]


def test_a_coroutine_function_is_recorded(shop: Any, tmp_path: Path) -> None:
    for mode in ("all", "none"):
        with use(tmp_path, mode, "ask") as tape:
            assert asyncio.run(shop.ask(2)) == 7
        assert (tape.counts.recorded, tape.counts.replayed) == {"all": (1, 0), "none": (0, 1)}[mode]
    assert take_log(shop) == [("ask", 2)]


def run_all(generator: Generator[Any, Any, Any]) -> tuple[list[Any], Any]:
    """The items of a generator, and what it returns."""
    items: list[Any] = []

    def watch() -> Generator[Any, Any, None]:
        returned = yield from generator
        items.append(("returned", returned))

    given = list(watch())
    return given, items[0][1]


def read_async(make: Callable[[], AsyncIterator[Any]]) -> list[Any]:
    """The items of an async generator, and the error at its end."""

    async def read() -> list[Any]:
        items: list[Any] = []
        generator: Any = make()
        try:
            async for item in generator:
                items.append(item)
        except Exception as error:  # noqa: BLE001 -- the caller checks it
            items.append((type(error).__name__, *error.args))
        finally:
            await generator.aclose()
        return items

    return asyncio.run(read())


def test_a_generator_is_recorded_with_its_items_and_what_it_returns(shop: Any, tmp_path: Path) -> None:
    for mode in ("all", "none"):
        with use(tmp_path, mode, "each", "aeach", "find"):
            assert run_all(shop.each(2)) == ([5, 6], "all")
            assert read_async(lambda: shop.aeach(2)) == [5, 6]
    assert [entry if isinstance(entry, str) else entry[1] for entry in take_log(shop)] == [
        *("begin", 0, 1, "end"),
        *("begin", 0, 1, "end"),
    ]
    assert sorted(url for url, _, _ in read_calls(tmp_path)) == [
        "function:shop_of_test.aeach",
        "function:shop_of_test.each",
    ]


def test_a_generator_that_is_left_is_closed_and_its_recording_ends_there(shop: Any, tmp_path: Path) -> None:
    def leave() -> int:
        generator = shop.each(5)
        item: int = next(generator)
        generator.close()
        return item

    async def leave_async() -> tuple[int, Any]:
        generator = shop.aeach(5)
        item: int = await anext(generator)
        await generator.aclose()
        return item, shop.log[-1]

    with use(tmp_path, "all", "each", "aeach") as tape:
        assert leave() == 5
        assert asyncio.run(leave_async()) == (5, "end")
    assert tape.counts.recorded == 2
    assert [entry for entry in take_log(shop) if isinstance(entry, str)] == ["begin", "end", "begin", "end"]
    with use(tmp_path, "none", "each", "aeach"):
        assert run_all(shop.each(5)) == ([5], None)
        assert read_async(lambda: shop.aeach(5)) == [5]
    assert take_log(shop) == []


def test_a_generator_that_fails_is_recorded_with_the_items_before(shop: Any, tmp_path: Path) -> None:
    for mode in ("all", "none"):
        with use(tmp_path, mode, "each_and_refuse", "aeach_and_refuse") as tape:
            items = []
            with pytest.raises(shop.Refused, match="no more"):
                for item in shop.each_and_refuse(2):
                    items.append(item)
            assert items == [5, 6]
            assert read_async(lambda: shop.aeach_and_refuse(1)) == [5, ("Refused", "no more")]
        assert (tape.counts.recorded, tape.counts.replayed) == {"all": (2, 0), "none": (0, 2)}[mode]


def throw(generator: Any, error: Exception) -> Any:
    """Read an item, and throw an error into the generator: the item, and the error that comes out."""
    item = next(generator)
    with pytest.raises((Exception, CassetteMiss)) as caught:  # the caller checks it
        generator.throw(error)
    return item, caught.value


def athrow(generator: Any, error: Exception) -> Any:
    async def run() -> Any:
        item = await anext(generator)
        with pytest.raises((Exception, CassetteMiss)) as caught:  # the caller checks it
            await generator.athrow(error)
        await generator.aclose()
        return item, caught.value

    return asyncio.run(run())


def test_an_error_that_a_caller_throws_into_a_generator_ends_its_recording(shop: Any, tmp_path: Path) -> None:
    for mode in ("all", "none"):
        with use(tmp_path, mode, "each", "aeach") as tape:
            error, other = KeyError("a"), KeyError("b")
            assert throw(shop.each(3), error) == (5, error)
            assert athrow(shop.aeach(3), other) == (5, other)
        assert (tape.counts.recorded, tape.counts.replayed) == {"all": (2, 0), "none": (0, 2)}[mode]
    assert [entry for entry in take_log(shop) if isinstance(entry, str)] == ["begin", "end", "begin", "end"]
    answers = [answers for _, _, answers in read_calls(tmp_path)]
    assert [
        read_tool_answer(SimpleNamespace(body=unfold_body(answer["body"])))  # type: ignore[arg-type]
        for listed in answers
        for answer in listed
    ] == [{"result": {"items": [5], "returned": None}}] * 2


def test_the_error_that_a_generator_makes_of_its_callers_is_replayed(shop: Any, tmp_path: Path) -> None:
    for mode in ("all", "none"):
        with use(tmp_path, mode, "each_or_other", "aeach_or_other"):
            error = ValueError("odd")
            item, seen = throw(shop.each_or_other(3), error)
            assert (item, type(seen), seen.args) == (0, shop.Refused, ("odd",))
            item, seen = athrow(shop.aeach_or_other(3), error)
            assert (item, type(seen), seen.args) == (0, shop.Refused, ("odd",))


def test_a_generator_that_goes_on_after_an_error_of_its_caller_is_refused(shop: Any, tmp_path: Path) -> None:
    with use(tmp_path, "all", "each_anyhow", "aeach_anyhow") as tape:
        item, seen = throw(shop.each_anyhow(3), ValueError("odd"))
        assert (item, type(seen)) == (0, CassetteMiss)
        check_message(seen)
        item, seen = athrow(shop.aeach_anyhow(3), ValueError("odd"))
        assert (item, type(seen)) == (0, CassetteMiss)
        check_message(seen)
    assert len(tape.report.misses) == 2


def test_a_generator_that_is_sent_values_is_refused(shop: Any, tmp_path: Path) -> None:
    with use(tmp_path, "all", "each"):
        assert list(shop.each(2)) == [5, 6]
        generator = shop.each(3)
        next(generator)
        with pytest.raises(CassetteMiss, check=check_message):
            generator.send("a")
    with use(tmp_path, "none", "each"):
        generator = shop.each(2)
        next(generator)
        with pytest.raises(CassetteMiss, check=check_message):
            generator.send(0)


def test_compared_functions_are_called_and_their_callers_get_the_recording(shop: Any, tmp_path: Path) -> None:
    names = ["find", "refuse", "ask", "each", "aeach", "each_and_refuse", "aeach_and_refuse"]

    def call() -> list[Any]:
        with pytest.raises(shop.Refused) as caught:
            shop.refuse(1)
        seen: list[Any] = [shop.find(1), caught.value.args, asyncio.run(shop.ask(1)), run_all(shop.each(2))]
        seen += [read_async(lambda: shop.aeach(2)), read_async(lambda: shop.aeach_and_refuse(1))]
        items = []
        with pytest.raises(shop.Refused) as caught:
            for item in shop.each_and_refuse(1):
                items.append(item)
        return [*seen, items, caught.value.args]

    with use(tmp_path, "all", *names):
        recorded = call()
    log = take_log(shop)
    shop.price = 6
    with use(tmp_path, "none", *names, tools="compare") as tape:
        assert call() == recorded
    assert take_log(shop) == log
    assert (tape.counts.verified, tape.counts.drifted, tape.counts.recorded) == (7, 6, 0)
    assert recorded == [
        shop.Order(6),
        ("no order 1",),
        6,
        ([5, 6], "all"),
        [5, 6],
        [5, ("Refused", "no more")],
        [5],
        ("no more",),
    ]


def test_what_cannot_be_recorded_fails_the_test(shop: Any, tmp_path: Path) -> None:
    names = ["find", "open_handle", "refuse_oddly"]
    with use(tmp_path, "all", *names) as tape:
        with pytest.raises(CassetteMiss, check=check_message):
            shop.find(object())
        with pytest.raises(CassetteMiss, check=check_message):
            shop.open_handle(1)
        with pytest.raises(CassetteMiss, check=check_message) as caught:
            shop.refuse_oddly()
        assert type(caught.value.__cause__).__name__ == "Odd"
        shop.find(1)
    assert tape.counts.recorded == 1
    assert len(tape.report.misses) == 3
    with use(tmp_path, "all", "find ignore=place"), pytest.raises(CassetteMiss, check=check_message):
        shop.find(object())


def test_what_cannot_be_recorded_can_be_compared(shop: Any, tmp_path: Path) -> None:
    def call() -> list[Any]:
        with pytest.raises(shop.Refused) as caught:
            shop.raise_problem()
        return [shop.open_door(), *caught.value.args]

    names = ["open_door", "raise_problem"]
    with use(tmp_path, "all", *names):
        assert call() == [1, "a"]
    shop.door, shop.problem = shop.Handle(), type("Odd", (Exception,), {})("b")
    with use(tmp_path, "none", *names, tools="compare") as tape:
        assert call() == [1, "a"]
    assert tape.counts.verified == tape.counts.drifted == 2
    assert ("1 (integer)", "Handle") in {
        (drift.recorded, "Handle" if "shop_of_test.Hand" in drift.now else "") for drift in tape.report.drifts
    }
    assert ('"Refused"', '"Odd"') in {(drift.recorded, drift.now) for drift in tape.report.drifts}


def test_a_result_whose_class_has_changed_fails_the_test(shop: Any, tmp_path: Path) -> None:
    with use(tmp_path, "all", "find", "refuse"):
        shop.find(1)
        with pytest.raises(shop.Refused):
            shop.refuse(1)
    shop.find.__annotations__["return"] = int
    del shop.Refused
    with use(tmp_path, "none", "find", "refuse"):
        with pytest.raises(CassetteMiss, check=check_message):
            shop.find(1)
        with pytest.raises(CassetteMiss, check=check_message):
            shop.refuse(1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "named",
    [
        ("find", "find"),
        ("find", "same"),
        ("find ignore=colour",),
        ("cancel ignore=a",),
        ("wrapped ignore=colour",),
        ("wrapped_coroutine",),
        ("missing",),
        ("Refuse",),
        ("Shop",),
        ("Shop.sel",),
        ("log",),
        ("tool",),
        ("cached",),
        ("Outlet.sell",),
    ],
)
def test_what_is_not_a_function_that_can_be_recorded_is_an_error(named: tuple[str, ...], shop: Any) -> None:
    shop.same = shop.find
    shop.tool = SimpleNamespace(func=shop.find)
    exec(
        "@functools.cache\ndef cached(number):\n    return number\nclass Outlet(Shop):\n    pass", vars(shop)
    )
    before = shop.find.__code__
    with (
        pytest.raises(UsageError, check=check_message),
        record_functions([f"shop_of_test.{name}" for name in named], "test_a"),
    ):
        pass
    assert shop.find.__code__ is before


def test_the_function_inside_a_tool_object_is_found(shop: Any, tmp_path: Path) -> None:
    found = shop.find

    class Tool:
        def __init__(self, function: Any) -> None:
            def run(*given: Any) -> Any:
                return function(*given)

            self.others = [1]
            self.on_call = run

    shop.find = Tool(found)
    with use(tmp_path, "all", "find") as tape:
        assert shop.find.on_call(1) == shop.Order(6)
    assert tape.counts.recorded == 1
    shop.refuse = Tool(found)  # of another name: it is not its function
    with pytest.raises(UsageError, check=check_message), record_functions(["shop_of_test.refuse"], "test_a"):
        pass


@pytest.mark.parametrize("path", ["shopp_of_test.find", "qqzzqq.find"])
def test_a_path_without_a_module_is_an_error(path: str, shop: Any) -> None:
    del shop
    with pytest.raises(UsageError, check=check_message), record_functions([path], "test_a"):
        pass


def test_a_module_that_is_imported_later_is_recorded_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "later_of_test"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "orders.py").write_text("def find(number):\n    return number\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    with taped(tmp_path / "a.json", "all") as tape, record_functions(["later_of_test.orders.find"], "test_a"):
        assert "later_of_test" not in sys.modules
        from later_of_test import orders  # type: ignore[import-not-found]

        assert orders.find(1) == 1
    assert tape.counts.recorded == 1
