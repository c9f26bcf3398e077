"""Functions of a project, named by their path: recorded, and replayed without calling them."""

from __future__ import annotations

import pytest
from support.project import Project
from support.shop import calls, make_shop, name_tools, tools

from pytest_llmops.cli import main

SUITE = """
import asyncio, datetime, decimal, inspect
import pytest
import holder
from shop import orders
from shop.orders import Order, OrderNotFound, State, find_order

TOOLS = [
    "shop.orders.find_order", "shop.orders.refund ignore=ctx", "shop.orders.lines", "shop.orders.events", "shop.orders.weigh",
    "shop.orders.Table.insert", "shop.orders.Table.open", "shop.orders.Table.count", "shop.orders.cancel", "shop.orders.read",
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
    assert orders.cancel.invoke(7) == "cancelled 7"
    with pytest.raises(FileNotFoundError, match="a.txt") as found:
        orders.read("a.txt")
    assert found.value.filename == "a.txt"

def test_real_again():
    assert orders.Table.count("real") == 3
"""


@pytest.mark.parametrize("workers", [0, 2])
def test_functions_of_all_kinds_are_replayed_without_a_call(project: Project, workers: int) -> None:
    make_shop(project, SUITE)
    recorded = project.record(workers=workers)
    assert recorded.outcomes == {"passed": 2}, recorded.text
    made = calls(project)
    assert made.count("find 7") == 3
    assert len(made) == 17
    assert project.server.count == 0
    replayed = project.run(workers=workers)
    assert replayed.outcomes == {"passed": 2}, replayed.text
    assert calls(project) == ["count real"]
    facts = replayed.records["test_all"].fact("cassette")
    assert (facts["replayed"], facts["stale"]) == (16, 0)


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
        (["shop.orders.cached"], ["its function is shop.orders.cached.__wrapped__", "cache_clear()"]),
        (["shop.orders.Table.size"], ["got a property", "its function is shop.orders.Table.size.fget"]),
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
    "a result": ("find(1)", ["cannot be recorded: it returned", "annotate its result"]),
    "an error": (
        "fail(1)",
        ["cannot be recorded: it raised the exception test_a.test_all.<locals>.Own", "import the class"],
    ),
    "a sent value": ("send(1)", ["gets values by send()"]),
    "a value sent to an async generator": ("asyncio.run(send_async(1))", ["gets values by send()"]),
    "an exception that is caught": ("go_on(1)", ["catches an exception of its caller and goes on"]),
    "the same, async": ("asyncio.run(go_on_async(1))", ["catches an exception of its caller and goes on"]),
}
BAD_SUITE = """
import asyncio, contextlib
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

async def letters(given):
    yield "a"
    yield "b"

@contextlib.contextmanager
def guard(given):
    with contextlib.suppress(ValueError):
        yield given

@contextlib.asynccontextmanager
async def guard_async(given):
    with contextlib.suppress(ValueError):
        yield given

async def send_async(given):
    items = letters(given)
    await anext(items)
    await items.asend("more")

def go_on(given):
    with guard(given):
        raise ValueError

async def go_on_async(given):
    async with guard_async(given):
        raise ValueError

TOOLS = [
    "test_a.find", "test_a.fail ignore=kind", "test_a.numbers", "test_a.letters", "test_a.guard.__wrapped__",
    "test_a.guard_async.__wrapped__",
]

@pytest.mark.llm_cassette(tools=TOOLS)
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
    swallowed = "try:\n        orders.find_order(43)\n    except BaseException:\n        pass"
    make_shop(project, name_tools("shop.orders.find_order", body=swallowed))
    result = project.run()
    assert result.outcomes == {"passed": 1, "errors": 1}
    assert calls(project) == []
    assert "no recording answers" in result.text


@pytest.mark.parametrize(("later", "hinted"), [("2026-05-06T07:08", True), ("yesterday", False)])
def test_a_miss_by_an_argument_that_differs_in_every_run_names_ignore(
    project: Project, later: str, hinted: bool
) -> None:
    body = "orders.find_order(42, note='at {}')"
    make_shop(project, name_tools("shop.orders.find_order", body=body.format("2026-01-02T03:04")))
    project.record()
    make_shop(project, name_tools("shop.orders.find_order", body=body.format(later)))
    text = " ".join(project.run().text.split())
    assert "no recording answers" in text
    assert (
        "only a date or time differs: make it the same in every run, or name the tool with ignore=" in text
    ) is hinted


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
