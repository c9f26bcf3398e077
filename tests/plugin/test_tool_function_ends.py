"""How calls of recorded functions end: in other processes, cancelled, left early, interrupted, beyond the budget."""

from __future__ import annotations

import os

import pytest
from support.project import Project
from support.shop import calls, make_shop, name_tools, tools

FORKED = """
import multiprocessing
import pytest
from shop import orders

def work(queue):
    queue.put(orders.find_order(7).number)

@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.llm_cassette(tools=["shop.orders.find_order"])
def test_all():
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=work, args=(queue,))
    process.start()
    assert queue.get(timeout=60) == 7
    process.join()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks a process")
def test_a_forked_process_records_and_replays_too(project: Project) -> None:
    make_shop(project, FORKED)
    assert project.record().outcomes == {"passed": 1}
    assert calls(project) == ["find 7"]
    assert len(tools(project)) == 1
    assert project.run().outcomes == {"passed": 1}
    assert calls(project) == []


HIDDEN = """
import asyncio, functools
import pytest

def traced(function):
    @functools.wraps(function)
    def wrapper(*args):
        return function(*args)
    return wrapper

@traced
async def find(number):
    return number * 2

@pytest.mark.llm_cassette(tools=["test_a.findSUFFIX"])
def test_all():
    assert asyncio.run(find(4)) == 8
"""


def test_a_coroutine_function_in_a_plain_wrapper_is_named_by_the_error(project: Project) -> None:
    make_shop(project, HIDDEN.replace("SUFFIX", ""))
    assert "name that: test_a.find.__wrapped__" in " ".join(project.record().text.split())
    make_shop(project, HIDDEN.replace("SUFFIX", ".__wrapped__"))
    assert project.record().outcomes == {"passed": 1}
    assert project.run().outcomes == {"passed": 1}


CANCELLED = """
import asyncio
import pytest

async def slow(number):
    await asyncio.sleep(3600)

async def ask():
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(slow(1), 0.01)

@pytest.mark.llm_cassette(tools=["test_a.slow"])
def test_all():
    asyncio.run(ask())
"""


def test_a_call_that_was_cancelled_is_cancelled_again(project: Project) -> None:
    make_shop(project, CANCELLED)
    assert project.record().outcomes == {"passed": 1}
    [entry] = tools(project)
    assert entry["answers"]["0"][0]["outcome"]["error"] == "CancelledError"
    assert project.run().outcomes == {"passed": 1}


LEFT = """
import pytest

closed = []

def numbers():
    try:
        for number in range(5):
            yield number
    finally:
        closed.append(1)

@pytest.mark.llm_cassette(tools=["test_a.numbers"])
def test_all():
    items = numbers()
    assert [next(items), next(items)] == [0, 1]
    items.close()
    if RECORDS:
        assert closed == [1]
"""


def test_a_generator_that_is_left_early_is_closed_and_replayed_as_far_as_it_was_read(
    project: Project,
) -> None:
    make_shop(project, LEFT.replace("RECORDS", "True"))
    assert project.record().outcomes == {"passed": 1}
    [entry] = tools(project)
    assert entry["answers"]["0"][0]["body"]["json"]["result"]["items"] == [0, 1]
    make_shop(project, LEFT.replace("RECORDS", "False"))
    assert project.run().outcomes == {"passed": 1}


ROLLBACK = """
import asyncio, contextlib
import pytest

done = []

@contextlib.contextmanager
def transaction(name):
    try:
        yield f"{name} open"
    except ValueError as error:
        done.append("rolled back")
        raise LookupError(name) from error

@contextlib.asynccontextmanager
async def transaction_async(name):
    try:
        yield f"{name} open"
    except ValueError:
        done.append("rolled back")
        raise

async def use_async():
    async with transaction_async("b") as text:
        assert text == "b open"
        raise ValueError("no")

@pytest.mark.llm_cassette(tools=["test_a.transaction.__wrapped__", "test_a.transaction_async.__wrapped__"])
def test_all():
    with pytest.raises(LookupError, match="a"), transaction("a") as text:
        assert text == "a open"
        raise ValueError("no")
    with pytest.raises(ValueError, match="no"):
        asyncio.run(use_async())
    assert done == DONE
"""


def test_a_context_manager_sees_the_exception_of_its_block(project: Project) -> None:
    """Else a transaction would not be rolled back while it is recorded."""
    make_shop(project, ROLLBACK.replace("DONE", "['rolled back', 'rolled back']"))
    recorded = project.record()
    assert recorded.outcomes == {"passed": 1}, recorded.text
    make_shop(project, ROLLBACK.replace("DONE", "[]"))
    replayed = project.run()
    assert replayed.outcomes == {"passed": 1}, replayed.text


SENT = """
import asyncio
import pytest

async def add_up():
    total = 0
    while True:
        total += yield total

async def use():
    sums = add_up()
    await anext(sums)
    assert [await sums.asend(5), await sums.asend(2)] == [5, 7]
    await sums.aclose()

@pytest.mark.llm_cassette(tools=["test_a.add_up"])
def test_all():
    asyncio.run(use())
"""


def test_an_async_generator_that_is_not_recorded_gets_what_it_is_sent(project: Project) -> None:
    make_shop(project, SENT)
    assert project.record("--llm-tools=off").outcomes == {"passed": 1}


STOPPED = """
import pytest

def stop(number):
    raise KeyboardInterrupt

@pytest.mark.llm_cassette(tools=["test_a.stop"])
def test_all():
    with pytest.raises(KeyboardInterrupt):
        stop(1)
"""


def test_an_interrupt_is_not_recorded_and_its_call_counts_in_the_budget(project: Project) -> None:
    make_shop(project, STOPPED)
    result = project.record("--llm-max-calls=5")
    assert result.outcomes == {"passed": 1}
    assert project.cassettes() == {}


def test_the_budget_holds_for_tools(project: Project) -> None:
    make_shop(project, name_tools("shop.orders.find_order", body="[orders.find_order(n) for n in range(3)]"))
    result = project.record("--llm-max-calls=2")
    assert result.outcomes.get("passed", 0) == 0
    assert calls(project) == ["find 0", "find 1"]


ASKING = """
import json, os, urllib.request
import pytest
from shop import orders

def ask(text):
    body = {"model": "m", "messages": [{"role": "user", "content": text}]}
    request = urllib.request.Request(
        os.environ["OPENAI_BASE_URL"] + "/chat/completions", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request) as response:
        return json.load(response)

@pytest.mark.llm_cassette(tools=["shop.orders.find_order"])
def test_all():
    ask("PROMPT")
    ask(str(orders.find_order(ORDER).total))
"""


def write_asking(project: Project, prompt: str, order: int) -> None:
    make_shop(project, ASKING.replace("PROMPT", prompt).replace("ORDER", str(order)))


@pytest.mark.parametrize("workers", [0, 2])
def test_the_model_is_asked_live_and_tools_are_replayed(project: Project, workers: int) -> None:
    write_asking(project, "old", 7)
    project.record(workers=workers)
    assert calls(project) == ["find 7"]
    write_asking(project, "new", 7)
    asked = project.server.count
    result = project.record("--llm-tools=replay", mode="all", workers=workers)
    assert result.outcomes == {"passed": 1}, result.text
    assert project.server.count == asked + 2
    assert calls(project) == []
    assert [entry["request"]["method"] for entry in tools(project)].count("call") == 1
    assert project.run(workers=workers).outcomes == {"passed": 1}
    before = project.cassettes()
    result = project.record("--llm-tools=replay", mode="live", workers=workers)
    assert result.outcomes == {"passed": 1}, result.text
    assert project.server.count == asked + 4
    assert calls(project) == []
    assert project.cassettes() == before


def test_a_tool_that_is_replayed_is_not_called_for_what_is_not_recorded(project: Project) -> None:
    write_asking(project, "old", 7)
    project.record()
    calls(project)
    write_asking(project, "new", 8)
    result = project.record("--llm-tools=replay", mode="all")
    assert result.outcomes == {"errors": 1}
    assert calls(project) == []
    assert "nearest   #002: shop.orders.find_order(order_id=7" in result.text


def test_a_changed_prompt_makes_the_tools_after_it_new(project: Project) -> None:
    write_asking(project, "old", 7)
    project.record()
    calls(project)
    write_asking(project, "new", 7)
    assert project.record().outcomes == {"passed": 1}
    assert calls(project) == ["find 7"]
    assert project.run().outcomes == {"passed": 1}
