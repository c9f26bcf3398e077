"""A shop with functions that agents have as tools, and what was really called."""

from __future__ import annotations

import json
from typing import Any

from support.project import Project

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

class ToolObject:
    "As the tools of a framework: the function is in the closure of another one."
    def __init__(self, function):
        def invoke(order_id):
            return function(order_id)
        self.invoke = invoke

@ToolObject
def cancel(order_id):
    log(f"cancel {order_id}")
    return f"cancelled {order_id}"

def read(name):
    log(f"read {name}")
    return pathlib.Path(name).read_text()

@functools.lru_cache
def cached(order_id):
    return order_id

class Table:
    @property
    def size(self):
        return 3

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


def name_tools(*names: str, body: str = "pass") -> str:
    return (
        f"import pytest\nfrom shop import orders\n@pytest.mark.llm_cassette(tools={list(names)!r})\n"
        f"def test_all():\n    {body}\n"
    )
