"""The ledger of live calls: exact over processes and threads, readable after any crash, plain when it refuses."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.messages import check_message

from pytest_llmops.cassettes import budget
from pytest_llmops.cassettes.budget import Ledger
from pytest_llmops.errors import BudgetReached

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="fork and SIGKILL are POSIX")
CHAT = "https://api.openai.com/v1/chat/completions"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger"


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "_ledger_states", {})


def granted(ledger: Ledger, usd: float | None = None) -> bool:
    try:
        ledger.reserve_call(usd)
    except BudgetReached:
        return False
    return True


def forget() -> None:
    """As another process sees the ledger."""
    budget._ledger_states.clear()


def test_a_ledger_without_limits_counts(path: Path) -> None:
    ledger = Ledger(path)
    assert ledger.totals() == (0, 0.0)
    ledger.reserve_call(None).settle(0.5)
    ledger.reserve_call(0.25)
    assert ledger.totals() == (2, 0.25)


def test_the_last_call_is_granted_and_the_next_is_refused(path: Path) -> None:
    ledger = Ledger(path, max_calls=2)
    assert [granted(ledger) for _ in range(4)] == [True, True, False, False]
    assert ledger.totals() == (2, 0.0)
    with pytest.raises(BudgetReached) as caught:
        ledger.reserve_call(None)
    check_message(caught.value)


@pytest.mark.parametrize("limits", [{"max_calls": 0}, {"budget_usd": 0.0}])
def test_a_limit_of_nothing_refuses_the_first_call(path: Path, limits: dict[str, Any]) -> None:
    with pytest.raises(BudgetReached, check=check_message):
        Ledger(path, **limits).reserve_call(0.0)


def test_a_cost_replaces_what_was_reserved_for_it(path: Path) -> None:
    ledger = Ledger(path, budget_usd=1.0)
    first = ledger.reserve_call(0.8)
    assert not granted(ledger, 0.3)
    first.settle(0.1)
    assert ledger.totals() == (1, 0.1)
    assert granted(ledger, 0.3)
    first.settle(0.9)
    assert ledger.totals() == (2, 0.4)


def test_a_budget_may_be_spent_to_its_last_digit(path: Path) -> None:
    ledger = Ledger(path, budget_usd=1.0)
    for _ in range(10):
        ledger.reserve_call(0.1).settle(0.1)  # ten floats of 0.1 add up to less than 1
    assert ledger.totals() == (10, 1.0)
    assert not granted(ledger, 0.0)


def test_a_call_that_cost_more_than_its_estimate_counts_in_full(path: Path) -> None:
    ledger = Ledger(path, budget_usd=1.0)
    ledger.reserve_call(0.1).settle(2.0)
    with pytest.raises(BudgetReached) as caught:
        ledger.reserve_call(0.1)
    check_message(caught.value)


@pytest.mark.parametrize(
    ("paid", "budget_usd"), [(0.0004, 0.0005), (0.1, 0.25), (1.005, 1.0), (1234.5, 1000.0)]
)
def test_amounts_below_a_cent_are_not_rounded_away(path: Path, paid: float, budget_usd: float) -> None:
    ledger = Ledger(path, budget_usd=budget_usd)
    ledger.reserve_call(0.0).settle(paid)
    with pytest.raises(BudgetReached, check=check_message):
        ledger.reserve_call(0.1999)


@pytest.mark.parametrize("cost", [None, float("nan"), float("inf"), -1.0])
def test_without_a_known_cost_the_estimate_stays_reserved(path: Path, cost: float | None) -> None:
    ledger = Ledger(path, budget_usd=1.0)
    ledger.reserve_call(0.8).settle(cost)
    with pytest.raises(BudgetReached, check=check_message):
        ledger.reserve_call(0.3)


@pytest.mark.parametrize("unknown", [None, float("nan"), float("inf")])
def test_a_model_without_a_price_is_refused_only_where_money_is_limited(
    path: Path, unknown: float | None
) -> None:
    assert granted(Ledger(path, max_calls=5), unknown)
    with pytest.raises(BudgetReached) as caught:
        Ledger(path, budget_usd=1.0).reserve_call(unknown)
    check_message(caught.value)
    assert "--llm-max-calls" in str(caught.value)


def test_both_limits_hold(path: Path) -> None:
    ledger = Ledger(path, max_calls=3, budget_usd=0.05)
    assert [granted(ledger, 0.02) for _ in range(3)] == [True, True, False]
    assert granted(ledger, 0.01)
    with pytest.raises(BudgetReached, check=check_message):
        ledger.reserve_call(0.0)


def test_every_ledger_of_a_run_counts_in_the_same_file(path: Path) -> None:
    first, second = Ledger(path, max_calls=2), Ledger(path, max_calls=2)
    assert granted(first)
    forget()
    assert granted(second)
    assert not granted(first)
    assert first.totals() == second.totals() == (2, 0.0)


@pytest.mark.parametrize(
    ("interrupt", "raised"), [(KeyboardInterrupt, KeyboardInterrupt), (TimeoutError, BudgetReached)]
)
def test_an_interrupted_reader_counts_again_from_the_start(
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    interrupt: type[BaseException],
    raised: type[BaseException],
) -> None:
    ledger = Ledger(path, max_calls=3)
    assert granted(ledger)
    real = budget._LedgerState._why_refused

    def interrupted(*args: Any) -> str:
        monkeypatch.setattr(budget._LedgerState, "_why_refused", real)
        raise interrupt

    monkeypatch.setattr(budget._LedgerState, "_why_refused", interrupted)
    with pytest.raises(raised):
        ledger.reserve_call(None)
    assert [granted(ledger), granted(ledger)] == [True, False]


@given(st.data())
@pytest.mark.slow
def test_a_ledger_cut_anywhere_can_be_read_and_gone_on_with(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("cut") / "ledger"
    ledger = Ledger(path, max_calls=6, budget_usd=1.0)
    for number in range(4):
        ledger.reserve_call(0.1).settle(0.05 if number % 2 else None)
    whole = path.read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    forget()
    # A line that lacks nothing but its end is one as soon as the next is written.
    before = len(re.findall(rb"ask \S+ \S+ \S+ \S+ \.", whole[:cut]))
    assert before - 1 <= ledger.totals()[0] <= before
    assert sum(granted(ledger, 0.01) for _ in range(8)) == 6 - before
    forget()
    assert ledger.totals()[0] == 6


@pytest.mark.parametrize(
    "line", [b"ask", b"ask x y z 1 .", b"ask a 1 1", b"cost a 1 .", b"cost a x .", b"\xff\xfe", b"\x00" * 50, b"ask " + b"9" * 9999]
)  # fmt: skip
def test_a_line_that_is_none_says_nothing(path: Path, line: bytes) -> None:
    path.write_bytes(line + b"\n" + line)
    ledger = Ledger(path, max_calls=1, budget_usd=1.0)
    assert [granted(ledger, 0.1), granted(ledger, 0.1)] == [True, False]


def test_a_ledger_that_was_taken_away_grants_nothing(path: Path) -> None:
    ledger = Ledger(path, max_calls=9)
    assert granted(ledger)
    before = path.read_bytes()
    path.unlink()
    with pytest.raises(BudgetReached, check=check_message):
        ledger.reserve_call(None)
    path.write_bytes(b"")
    with pytest.raises(BudgetReached, check=check_message):
        ledger.reserve_call(None)
    path.write_bytes(before[:5])
    with pytest.raises(BudgetReached, check=check_message):
        ledger.reserve_call(None)


def test_a_ledger_that_cannot_be_written_grants_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.mkdir()
    ledger = Ledger(path, max_calls=9, budget_usd=1.0)
    with pytest.raises(BudgetReached, check=check_message):
        ledger.reserve_call(0.1)
    assert ledger.totals() == (0, 0.0)
    assert ledger.estimate({"model": "gpt-4o-mini"}, CHAT) is not None
    path.rmdir()
    grant = ledger.reserve_call(0.1)
    real = os.write
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", lambda fd, data: real(fd, data[:9]))
        with pytest.raises(BudgetReached, check=check_message):
            ledger.reserve_call(0.1)
        grant.settle(0.05)
    assert ledger.totals() == (1, 0.1)
    assert granted(ledger, 0.1)
    assert ledger.totals() == (2, 0.2)


def test_what_does_not_show_up_is_not_granted(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "_append_line", lambda path, _, **__: path.touch())
    with pytest.raises(BudgetReached, check=check_message):
        Ledger(path, max_calls=1).reserve_call(None)


def test_threads_share_the_calls(path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        result = list(pool.map(lambda _: granted(Ledger(path, max_calls=50)), range(200)))
    assert sum(result) == 50


def test_tasks_share_the_calls(path: Path) -> None:
    async def ask_ledger() -> bool:
        return granted(Ledger(path, max_calls=5))

    async def main() -> list[bool]:
        return await asyncio.gather(*(ask_ledger() for _ in range(20)))

    assert sum(asyncio.run(main())) == 5


ASKING = """
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from pytest_llmops.cassettes.budget import Ledger
from pytest_llmops.errors import BudgetReached

path, calls, usd = Path(sys.argv[1]), *map(eval, sys.argv[2:4])
sys.stdin.readline()

def ask(number):
    try:
        grant = Ledger(path, calls, usd).reserve_call(0.07 if number % 3 else 0.03)
    except BudgetReached:
        return 0
    if number % 2:
        grant.settle(0.02)
    return 1

with ThreadPoolExecutor(12) as pool:
    print(sum(pool.map(ask, range(40))), flush=True)
"""


def over_processes(path: Path, calls: int | None, usd: float | None) -> int:
    command = [sys.executable, "-c", ASKING, str(path), repr(calls), repr(usd)]
    with contextlib.ExitStack() as running:
        processes = [
            running.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            for _ in range(4)
        ]
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        return sum(int(process.communicate()[0]) for process in processes)


@pytest.mark.slow
def test_processes_and_threads_get_exactly_the_calls_there_are(path: Path) -> None:
    assert over_processes(path, 50, None) == 50
    assert Ledger(path, max_calls=50).totals()[0] == 50


@pytest.mark.slow
def test_processes_and_threads_spend_to_the_cent(path: Path) -> None:
    allowed = over_processes(path, None, 2.0)
    calls, usd = Ledger(path, budget_usd=2.0).totals()
    assert calls == allowed
    assert usd <= 2.0
    assert usd == _by_hand(path)
    left = round(2.0 - usd, 2)
    assert not granted(Ledger(path, budget_usd=2.0), left + 0.01)
    assert granted(Ledger(path, budget_usd=2.0), left) == (left > 0)


def _by_hand(path: Path) -> float:
    """The sum of what was granted, in the order of the file, told by the lines alone."""
    reserved: dict[str, int] = {}
    spent = 0
    for line in path.read_text().split("\n"):
        match line.split():
            case ["ask", name, estimate, *_] if spent + sum(reserved.values()) + int(estimate) <= 2 * 10**12:
                reserved[name] = int(estimate)
            case ["cost", name, paid, _]:
                del reserved[name]
                spent += int(paid)
    return (spent + sum(reserved.values())) / 10**12


KILLED = """
import os, sys
from pathlib import Path
from pytest_llmops.cassettes.budget import Ledger
ledger = Ledger(Path(sys.argv[1]), 50, 10.0)
for _ in range(10):
    ledger.reserve_call(0.1)
print("asked", flush=True)
real = os.write
def write(fd, data):
    real(fd, data[: int(sys.argv[2])])
    os.kill(os.getpid(), 9)
os.write = write
ledger.reserve_call(0.1)
"""


@pytest.mark.slow
@posix_only
@pytest.mark.parametrize("written", [0, 1, 20, 40, 200])
def test_a_process_killed_in_the_middle_of_a_line_spoils_nothing(path: Path, written: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(path), str(written)], capture_output=True, text=True, check=False
    )
    assert done.stdout == "asked\n", done.stderr
    assert done.returncode == -signal.SIGKILL
    ledger = Ledger(path, 50, 10.0)
    # What it had reserved stays counted; a whole line counts although nobody was told.
    paid = 11 if written == 200 else 10
    assert ledger.totals() == (paid, paid / 10)
    assert sum(granted(ledger, 0.0) for _ in range(60)) == 50 - paid


FORKING = """
import os, sys
from pathlib import Path
from pytest_llmops.cassettes.budget import Ledger
one = Ledger(Path(sys.argv[1]), 3)
one.reserve_call(None)
child = os.fork()
if not child:
    one.reserve_call(None)
    os._exit(0)
os.waitpid(child, 0)
print(one.totals()[0])
"""


@pytest.mark.slow
@posix_only
def test_a_forked_child_counts_on(path: Path) -> None:
    ledger = Ledger(path, max_calls=3)
    assert granted(ledger)
    done = subprocess.run(
        [sys.executable, "-c", FORKING, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "3\n"
    assert not granted(ledger)


def test_a_long_ledger_is_read_on_from_where_it_was(path: Path) -> None:
    lines = "".join(f"\nask {number:x} 5 9999 {10**12} .\n" for number in range(3_000))
    path.write_text(lines)
    ledger = Ledger(path, 9_999, 1.0)
    assert ledger.totals() == (3_000, 15_000 / 10**12)
    read = budget._ledger_states[str(path)].offset
    assert read == len(lines)
    assert granted(ledger, 0.0)
    assert budget._ledger_states[str(path)].offset - read < 100


def test_a_ledger_leaves_no_file_open(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_open, real_close = os.open, os.close
    opened, closed = list[int](), list[int]()

    def open_file(name: Any, *args: Any) -> int:
        fd = real_open(name, *args)
        if name == path:
            opened.append(fd)
        return fd

    def close_file(fd: int) -> None:
        closed.append(fd)
        real_close(fd)

    ledger = Ledger(path, max_calls=3, budget_usd=1.0)
    with monkeypatch.context() as patched:
        patched.setattr(os, "open", open_file)
        patched.setattr(os, "close", close_file)
        for _ in range(3):
            ledger.reserve_call(0.1).settle(0.05)
        patched.setattr(os, "write", lambda *_: 0)
        assert not granted(ledger, 0.1)
    assert len(opened) == 7
    assert [fd for fd in closed if fd in opened] == opened


def test_a_call_that_is_settled_twice_counts_once(path: Path) -> None:
    ledger = Ledger(path, budget_usd=1.0)
    grant = ledger.reserve_call(0.8)
    grant.settle(0.1)
    before = path.read_bytes()
    grant.settle(0.2)
    assert path.read_bytes() == before
    path.write_bytes(before + before[before.index(b"cost ") :])  # the same line once more
    for _ in range(2):
        assert ledger.totals() == (1, 0.1)
        forget()


def test_a_call_that_cost_nothing_frees_what_was_reserved(path: Path) -> None:
    ledger = Ledger(path, budget_usd=1.0)
    ledger.reserve_call(0.8).settle(0.0)
    assert ledger.totals() == (1, 0.0)
    assert granted(ledger, 1.0)


def test_a_cost_that_was_unknown_at_first_may_follow(path: Path) -> None:
    ledger = Ledger(path, budget_usd=1.0)
    grant = ledger.reserve_call(0.8)
    grant.settle(None)
    grant.settle(0.1)
    assert ledger.totals() == (1, 0.1)


def test_a_cost_does_not_make_a_ledger_that_is_gone(path: Path) -> None:
    grant = Ledger(path, budget_usd=1.0).reserve_call(0.8)
    path.unlink()
    grant.settle(0.1)
    assert not path.exists()


@pytest.mark.parametrize(
    "look", [Ledger.totals, lambda ledger: ledger.estimate({"model": "gpt-4o-mini"}, CHAT)]
)
def test_a_look_at_a_ledger_that_is_gone_does_not_start_it_again(
    path: Path, look: Callable[[Ledger], object]
) -> None:
    ledger = Ledger(path, budget_usd=1.0)
    ledger.reserve_call(0.4)
    path.unlink()
    look(ledger)
    with pytest.raises(BudgetReached, match=re.escape(str(path))):
        ledger.reserve_call(0.1)
    assert not path.exists()
    assert ledger.totals() == (1, 0.4)


def test_a_fraction_of_the_smallest_unit_counts_as_a_whole_one(path: Path) -> None:
    ledger = Ledger(path, budget_usd=1e-12)
    assert not granted(ledger, 1.3e-12)
    assert granted(ledger, 0.3e-12)
    assert ledger.totals() == (1, 1e-12)
