"""Functions of a project, named by their path: recorded, and replayed without calling them."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from support.project import Project

from pytest_llmops.cli import main

ORDERS = """
import asyncio, dataclasses, datetime, decimal, enum, functools, pathlib, threading, urllib.request, uuid

class OrderNotFound(LookupError):
    pass

class State(enum.Enum):
    OPEN = "open"

@dataclasses.dataclass
class Order:
    number: int
    due: datetime.date
    total: decimal.Decimal
    state: State = State.OPEN

def log(name):
    with open("calls.txt", "a") as file:
        print(name, file=file)

def find_order(order_id: int, *, note: str = "none") -> Order:
    "Find an order."
    log(f"find {order_id}")
    if order_id > 100:
        raise OrderNotFound(f"no order {order_id}")
    return Order(order_id, datetime.date(2026, 1, 2), decimal.Decimal("9.50"))

async def refund(ctx, order_id: int) -> dict:
    log(f"refund {order_id}")
    await asyncio.sleep(0)
    return {"refunded": order_id, "at": datetime.datetime(2026, 1, 2, 3, 4)}

def lines(order_id):
    log(f"lines {order_id}")
    yield f"first of {order_id}"
    yield f"second of {order_id}"
    return 2

async def events(order_id):
    log(f"events {order_id}")
    for name in ("paid", "sent"):
        yield name, order_id

def retry(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)
    return wrapper

@retry
def weigh(order_id, unit="kg"):
    log(f"weigh {order_id} {unit}")
    return {"weight": 2.5, "parts": (1, 2), "labels": {"b", "a"}, "seal": b"\\x00\\xff"}

class Table:
    def __init__(self, name):
        self.name = name

    def insert(self, row):
        log(f"insert {row}")
        return f"{self.name}: {row}"

    @classmethod
    def open(cls, name):
        log(f"open {name}")
        return name

    @staticmethod
    def count(name):
        log(f"count {name}")
        return 3

def outer(order_id):
    log(f"outer {order_id}")
    return str(find_order(order_id).total) + Table.open("t")

def countdown(n):
    log(f"countdown {n}")
    return 0 if n == 0 else 1 + countdown(n - 1)
"""
HOLDER = """
from shop.orders import find_order, refund, Table
tools = {"find": find_order, "refund": refund, "insert": Table("held").insert}
"""
SUITE = """
import asyncio, datetime, decimal, inspect
import pytest
import holder
from shop import orders
from shop.orders import Order, OrderNotFound, State, find_order

TOOLS = [
    "shop.orders.find_order", "shop.orders.refund ignore=ctx", "shop.orders.lines", "shop.orders.events", "shop.orders.weigh",
    "shop.orders.Table.insert", "shop.orders.Table.open", "shop.orders.Table.count",
]

@pytest.mark.llm_cassette(tools=TOOLS)
def test_all():
    order = Order(7, datetime.date(2026, 1, 2), decimal.Decimal("9.50"), State.OPEN)
    assert find_order(7) == order
    assert find_order(order_id=7, note="none") == order
    assert holder.tools["find"](7, note="other") == order
    with pytest.raises(OrderNotFound, match="no order 101"):
        find_order(101)
    expected = {"refunded": 7, "at": datetime.datetime(2026, 1, 2, 3, 4)}
    assert asyncio.run(holder.tools["refund"](object(), 7)) == expected
    assert inspect.iscoroutinefunction(orders.refund)
    assert str(inspect.signature(find_order)) == "(order_id: int, *, note: str = 'none') -> shop.orders.Order"
    assert inspect.getsource(find_order).startswith("def find_order")

    def read_lines():
        returned = yield from orders.lines(7)
        assert returned == 2

    assert list(read_lines()) == ["first of 7", "second of 7"]

    async def list_events():
        return [event async for event in orders.events(7)]

    assert asyncio.run(list_events()) == [("paid", 7), ("sent", 7)]
    weighed = {"weight": 2.5, "parts": (1, 2), "labels": {"a", "b"}, "seal": b"\\x00\\xff"}
    assert orders.weigh(7) == weighed
    assert orders.weigh(unit="kg", order_id=7) == weighed
    assert holder.tools["insert"]("row") == "held: row"
    assert orders.Table("other").insert("row") == "other: row"
    assert orders.Table.open("t") == "t"
    assert orders.Table.count("t") == orders.Table("x").count("t") == 3

def test_real_again():
    assert orders.Table.count("real") == 3
"""


def make_shop(project: Project, suite: str, **more: str) -> None:
    project.pytester.syspathinsert()
    project.write(
        **{"shop/__init__.py": "", "shop/orders.py": ORDERS, "holder.py": HOLDER, "test_a.py": suite, **more}
    )


def calls(project: Project) -> list[str]:
    """The calls that were really made since the last time."""
    path = project.path / "calls.txt"
    if not path.exists():
        return []
    made = path.read_text(encoding="utf-8").splitlines()
    path.unlink()
    return made


def tools(project: Project, name: str = "test_a/test_all.json") -> list[dict[str, Any]]:
    """The recorded calls."""
    interactions: list[dict[str, Any]] = json.loads(project.cassettes()[f"cassettes/{name}"])["interactions"]
    return interactions


@pytest.mark.parametrize("workers", [0, 2])
def test_functions_of_all_kinds_are_replayed_without_a_call(project: Project, workers: int) -> None:
    make_shop(project, SUITE)
    recorded = project.record(workers=workers)
    assert recorded.outcomes == {"passed": 2}, recorded.text
    made = calls(project)
    assert made.count("find 7") == 3
    assert len(made) == 15
    assert project.server.count == 0
    replayed = project.run(workers=workers)
    assert replayed.outcomes == {"passed": 2}, replayed.text
    assert calls(project) == ["count real"]
    facts = replayed.records["test_all"].fact("cassette")
    assert (facts["replayed"], facts["stale"]) == (14, 0)


NESTED = """
import threading
from concurrent.futures import ThreadPoolExecutor
import pytest
from shop import orders

@pytest.mark.llm_cassette(tools=["shop.orders.outer", "shop.orders.find_order", "shop.orders.countdown"])
def test_all():
    assert orders.outer(7) == "9.50t"
    assert orders.countdown(2) == 2
    with ThreadPoolExecutor(4) as pool:
        numbers = list(pool.map(lambda n: orders.find_order(n).number, range(8)))
    assert numbers == list(range(8))
"""


def test_only_the_outer_call_is_recorded_and_threads_are_replayed(project: Project) -> None:
    make_shop(project, NESTED)
    assert project.record().outcomes == {"passed": 1}
    assert calls(project).count("countdown 0") == 1
    asked = [(entry["request"]["url"], entry["request"]["body"]["json"]) for entry in tools(project)]
    assert ("function:shop.orders.outer", {"order_id": 7}) in asked
    assert ("function:shop.orders.countdown", {"n": 2}) in asked
    assert len(asked) == 10
    replayed = project.run()
    assert replayed.outcomes == {"passed": 1}, replayed.text
    assert calls(project) == []


INNER_REQUEST = """
import threading, urllib.request
import pytest
from shop import orders

def ask(url):
    threads = []
    found = []
    def get():
        found.append(urllib.request.urlopen(url).status)
    get()
    threads.append(threading.Thread(target=get))
    threads[0].start()
    threads[0].join()
    return found

@pytest.mark.llm_cassette(tools=["test_a.ask"])
def test_all():
    assert ask(URL) == [200, 200]
"""


def test_requests_of_a_function_are_its_own(project: Project) -> None:
    """They are not recorded, nor answered from a recording; also those of its threads."""
    url = f"{project.server.url}/v1/models"
    make_shop(project, INNER_REQUEST.replace("URL)", f"{url!r})"))
    assert project.record().outcomes == {"passed": 1}
    assert [entry["request"]["method"] for entry in tools(project)] == ["call"]
    assert project.run().outcomes == {"passed": 1}


TRIALS = """
import pytest
from shop import orders

@pytest.mark.llm_trials(3)
@pytest.mark.llm_cassette(tools=["test_a.draw"])
def test_all(case_log=[]):
    case_log.append(draw("x"))
    assert case_log == [f"x{n}" for n in range(len(case_log))]

drawn = []

def draw(text):
    orders.log("draw")
    drawn.append(text)
    return f"{text}{len(drawn) - 1}"
"""


def test_each_trial_has_its_own_answers(project: Project) -> None:
    make_shop(project, TRIALS)
    assert project.record().outcomes == {"passed": 1}
    assert len(calls(project)) == 3
    [entry] = tools(project)
    assert sorted(entry["answers"]) == ["0", "1", "2"]
    assert project.run().outcomes == {"passed": 1}
    assert calls(project) == []


LATE = """
import os, sys
import pytest

@pytest.fixture
def mode(monkeypatch):
    monkeypatch.setenv("SHOP_MODE", "test")

@pytest.mark.llm_cassette(tools=["late.parts.double"])
def test_all(mode):
    from late.parts import double
    assert double(2) == 4
    del sys.modules["late.parts"]
    import late.parts
    assert late.parts.double(3) == 6
"""


def test_a_module_that_the_test_imports_is_recorded_and_not_imported_before(project: Project) -> None:
    late = "import os\nfrom shop.orders import log\nassert os.environ['SHOP_MODE'] == 'test'\ndef double(n):\n    log(n)\n    return 2 * n\n"
    make_shop(project, LATE, **{"late/__init__.py": "", "late/parts.py": late})
    assert project.record().outcomes == {"passed": 1}
    assert calls(project) == ["2", "3"]
    project.pytester.makepyfile(conftest="import sys\nsys.modules.pop('late.parts', None)\n")
    assert project.run().outcomes == {"passed": 1}
    assert calls(project) == []


UNDO = """
import pytest
from shop import orders

before = orders.find_order.__code__

@pytest.mark.llm_cassette(tools=["shop.orders.find_order"])
def test_fails():
    assert orders.find_order.__code__ is not before
    raise ValueError("as it should")

def test_undone():
    assert orders.find_order.__code__ is before
"""


def test_the_code_is_restored_after_a_failed_test(project: Project) -> None:
    make_shop(project, UNDO)
    assert project.record().outcomes == {"failed": 1, "passed": 1}


def name_tools(*names: str, body: str = "pass") -> str:
    return (
        f"import pytest\nfrom shop import orders\n@pytest.mark.llm_cassette(tools={list(names)!r})\n"
        f"def test_all():\n    {body}\n"
    )


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["shop.orders.find_ordr"], ["has no 'find_ordr'", "did you mean shop.orders.find_order?"]),
        (
            ["shop.orders.Table.insrt"],
            ["shop.orders.Table has no 'insrt'", "did you mean shop.orders.Table.insert?"],
        ),
        (["shopp.orders.find_order"], ["no module 'shopp'", "did you mean 'shop'?"]),
        (["shop.orders.find_order", "shop.orders.find_order"], ["expected each function once", "twice"]),
        (
            ["shop.orders.find_order", "holder.find_order"],
            ["by two paths: shop.orders.find_order, holder.find_order"],
        ),
        (
            ["shop.orders.Table"],
            ["expected a function written in Python, got a type", "shop.orders.Table.METHOD"],
        ),
        (["shop.orders.dataclasses.replace.x"], ["has no 'x'"]),
        (["shop.orders.find_order ignore=nothing"], ["its parameters are note, order_id"]),
        (["find_order"], ["the path of a function, as in shop.orders.find_order"]),
        (["shop.orders.json.dumps"], ["has no 'json'"]),
        (["math.sqrt"], ["expected a function written in Python, got a builtin_function_or_method"]),
    ],
)
def test_a_wrong_path_is_an_error_with_close_names(
    project: Project, names: list[str], words: list[str]
) -> None:
    make_shop(project, f"import holder\n{name_tools(*names)}")
    result = project.record()
    assert result.outcomes.get("passed", 0) == 0
    for word in words:
        assert word in " ".join(result.text.split()), result.text


BAD = {
    "an argument": (
        "find(object())",
        ["its argument given holds an object of the class builtins.object", "ignore=given"],
    ),
    "a result": ("find(1)", ["cannot be recorded: it returned", "annotate what it returns"]),
    "an error": (
        "fail(1)",
        ["cannot be recorded: it raised the exception test_a.test_all.<locals>.Own", "import the class"],
    ),
    "a sent value": ("send(1)", ["gets values by send()"]),
}
BAD_SUITE = """
import pytest

class Thing:
    pass

def find(given):
    return Thing()

def numbers(given):
    yield 1
    yield 2

def fail(given, kind=None):
    raise kind("no")

@pytest.mark.llm_cassette(tools=["test_a.find", "test_a.fail ignore=kind", "test_a.numbers"])
def test_all():
    class Own(Exception):
        pass
    def send(given):
        items = numbers(given)
        next(items)
        items.send("more")
    try:
        CALL
    except Exception:
        pass
"""


@pytest.mark.parametrize("what", BAD)
def test_what_cannot_be_recorded_fails_the_test_and_says_what_to_do(project: Project, what: str) -> None:
    call, words = BAD[what]
    call = call.replace("fail(1)", "fail(1, Own)")
    make_shop(project, BAD_SUITE.replace("CALL", call))
    result = project.record()
    assert result.outcomes == {"errors": 1}, result.text
    for word in words:
        assert word in " ".join(result.text.split()), result.text


def test_a_call_without_a_recording_fails_though_the_agent_goes_on(project: Project) -> None:
    body = "assert orders.find_order({0}).number == {0}"
    make_shop(project, name_tools("shop.orders.find_order", body=body.format(42)))
    assert project.record().outcomes == {"passed": 1}
    calls(project)
    swallowed = "\n    ".join(["try:", "    orders.find_order(43)", "except BaseException:", "    pass"])
    make_shop(project, name_tools("shop.orders.find_order", body=swallowed))
    result = project.run()
    assert result.outcomes == {"passed": 1, "errors": 1}
    assert calls(project) == []
    assert "no recording answers" in result.text


def test_tools_that_are_off_are_called_and_not_recorded(project: Project) -> None:
    make_shop(project, name_tools("shop.orders.find_order", body="orders.find_order(42)"))
    assert project.record("--llm-tools=off").outcomes == {"passed": 1}
    assert project.cassettes() == {}
    assert calls(project) == ["find 42"]


def test_the_project_names_functions_for_all_tests(project: Project) -> None:
    make_shop(
        project,
        "from shop import orders\nimport pytest\n@pytest.mark.llm_cassette\ndef test_all():\n    orders.find_order(42)\n",
    )
    ini = project.path / "pytest.ini"
    ini.write_text(
        f"{ini.read_text(encoding='utf-8')}llm_tool_functions = shop.orders.find_order\n", encoding="utf-8"
    )
    assert project.record().outcomes == {"passed": 1}
    assert calls(project) == ["find 42"]
    assert project.run().outcomes == {"passed": 1}
    assert calls(project) == []


def test_a_run_without_tools_keeps_their_recordings(project: Project) -> None:
    """Neither that run nor pruning after it may take them for stale."""
    make_shop(project, name_tools("shop.orders.find_order", body="orders.find_order(42)"))
    project.record()
    before = project.cassettes()
    assert project.run("--llm-tools=off").records["test_all"].fact("cassette") == {}
    assert project.record("--llm-tools=off", mode="all").outcomes == {"passed": 1}
    assert main(["cassettes", "prune"]) == 0
    assert project.cassettes() == before


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
