"""Live calls and money of a run, counted exactly over all its processes and threads.

The ledger is a file that only grows: a call asks with one line, and what it cost is another. Who has
written a line reads the file up to it, and every process comes to the same verdict about it: the lines
before it decide. So nobody waits for a lock that another process may hold, and a process that is killed
at any point leaves a ledger that can be read. A line that was cut is no line; it was never answered.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import secrets
import sys
import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from pytest_llmops.errors import BudgetReached
from pytest_llmops.measurement import format_amount

PICODOLLARS = 10**12
"""Money is counted in whole picodollars: a sum of floats would miss a budget by its last digit."""
CENTS_PER_DOLLAR = 100
"""Below a dollar, fractions of a cent are told too."""
LOCK_TIMEOUT_S = 10.0
ABSENT = "-"
"""In a line: no limit, or no price."""
CHARACTERS_PER_TOKEN = 4
ASSUMED_OUTPUT_TOKENS = 1000
"""What a call without a stated bound is taken to answer, as long as no call was settled."""
MEDIA_CHARACTERS = 40_000
"""At most so many of one base64 text count: an image costs some thousand tokens, however large its file."""
_MEDIA_TEXT = re.compile(r"(?:data:[^,]{0,200},)?[A-Za-z0-9+/_-]+={0,2}")
_MODEL_IN_PATH = re.compile(r"/(?:models?|deployments)/([^/:]+(?::\d+)?)")
_OUTPUT_LIMIT_PATHS = (
    ("max_tokens",),
    ("max_completion_tokens",),
    ("max_output_tokens",),
    ("maxOutputTokens",),
    ("generationConfig", "maxOutputTokens"),
    ("generation_config", "max_output_tokens"),
    ("inferenceConfig", "maxTokens"),
    ("options", "num_predict"),
)
_CHOICE_COUNT_PATHS = (("n",), ("generationConfig", "candidateCount"))
_ENDPOINTS_WITHOUT_OUTPUT = (
    "/embeddings",
    "/embed",
    ":embedContent",
    ":batchEmbedContents",
    "/moderations",
    "/rerank",
)


@dataclass(slots=True)
class _LedgerState:
    """What the lines of one ledger add up to, as far as this process has read them."""

    offset: int = 0
    calls: int = 0
    spent: int = 0
    reserved: dict[str, int] = field(default_factory=dict)
    reserved_total: int = 0
    """The sum of what is reserved."""
    highest_cost: int = 0
    asked: dict[str, str | None] = field(default_factory=dict)
    """Calls that wait for their verdict: why they are refused, an empty text if they are not, None until it is read."""
    pid: int = field(default_factory=os.getpid)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def held(self) -> int:
        """Money that is spent, or reserved for calls whose cost is not known."""
        return self.spent + self.reserved_total

    def read_new_lines(self, path: Path) -> None:
        """Read to the end of the ledger.

        Raises:
            OSError: It cannot be read, or is shorter than it was: somebody took it away.
        """
        with self.lock:
            # An error here leaves the sums: who asks next must not take the file for a new one.
            lines, end = _read_new_lines(path, self.offset)
            try:
                for line in lines:
                    self.read_line(line)
                self.offset = end
            except BaseException:  # a time limit or Ctrl-C in the middle: the sums may be half done
                self.offset = self.calls = self.spent = self.reserved_total = self.highest_cost = 0
                self.reserved.clear()
                raise

    def read_line(self, line: bytes) -> None:
        """Take in one line; one that was cut by a crash, or is none of ours, says nothing."""
        words = line.split()
        with contextlib.suppress(ValueError, UnicodeDecodeError):
            match [word.decode("ascii") for word in words]:
                case ["ask", name, estimate, calls, budget, "."]:
                    refusal = self._judge(
                        _parse_number(estimate), _parse_number(calls), _parse_number(budget)
                    )
                    if not refusal:
                        self.calls += 1
                        self.reserved[name] = _parse_number(estimate) or 0
                        self.reserved_total += self.reserved[name]
                    if name in self.asked:
                        self.asked[name] = refusal
                case ["cost", name, cost, "."] if name in self.reserved:
                    paid = int(cost)
                    self.reserved_total -= self.reserved.pop(name)
                    self.spent += paid
                    self.highest_cost = max(self.highest_cost, paid)

    def _judge(self, estimate: int | None, calls: int | None, budget: int | None) -> str:
        if calls is not None and self.calls >= calls:
            return (
                f"budget reached: {self.calls:,} of {calls:,} live calls of this run are made; "
                "raise --llm-max-calls (ini llm_max_calls), or run fewer tests live"
            )
        if budget is None:
            return ""
        if estimate is None:
            return (
                "budget: there is no price for this model, so its calls cannot be held within --llm-budget; "
                "install the extra pytest-llmops[prices], or limit the run with --llm-max-calls instead"
            )
        held = self.held
        if held < budget and held + estimate <= budget:
            return ""
        waiting = f", {_format_dollars(self.reserved_total)} of it reserved" if self.reserved_total else ""
        return (
            f"budget reached: {_format_dollars(held)} of {_format_dollars(budget)} of this run are taken{waiting}, and this call may "
            f"cost {_format_dollars(estimate)}; raise --llm-budget (ini llm_budget), or run fewer tests live"
        )


def _parse_number(text: str) -> int | None:
    return None if text == ABSENT else int(text)


def _format_dollars(pico: int) -> str:
    cents, rest = divmod(pico, PICODOLLARS // 100)
    return (
        format_amount(pico / PICODOLLARS, "USD")
        if rest and cents < CENTS_PER_DOLLAR
        else f"${pico / PICODOLLARS:,.2f}"
    )


_ledger_states: dict[str, _LedgerState] = {}
"""By the ledger's path: each test makes a `Ledger`, and none should read the file from its start again."""


@dataclass(slots=True)
class CallGrant:
    """Leave for one live call."""

    _ledger: Ledger
    _name: str
    _settled: bool = False

    def settle(self, cost_usd: float | None) -> None:
        """Replace what was reserved by what the call cost; the second call does nothing.

        Without a known cost, or where the ledger cannot be written any more, the estimate stays reserved:
        the call was paid, and an error here would lose its answer.

        Args:
            cost_usd: What it cost; None if that is not known.
        """
        if self._settled or cost_usd is None or not math.isfinite(cost_usd) or cost_usd < 0:
            return
        self._settled = True
        self._ledger.record_cost(self._name, cost_usd)


@dataclass(slots=True)
class Ledger:
    """What a run may spend: every process and thread of it counts in the same file.

    A process that dies in the middle of a call leaves what it had reserved counted: the call may have
    been paid. Calls that cost more than their estimate can take a run beyond its budget by that much.

    Args:
        path: The file; made at the first call. It must be on a disk of this machine.
        max_calls: How many live calls the run may make; None: any number.
        budget_usd: How much they may cost, in US dollars; None: any amount.
    """

    path: Path
    max_calls: int | None = None
    budget_usd: float | None = None

    def reserve_call(self, estimate_usd: float | None) -> CallGrant:
        """Return leave for one live call, and reserve its estimate.

        Args:
            estimate_usd: What it may cost; None if no price is known. Without a budget in dollars it does not count.

        Raises:
            BudgetReached: No call is left, or no money; the model has no price; or the ledger cannot be used.
        """
        name = secrets.token_hex(8)
        limits = (self._pico(estimate_usd, up=True), self.max_calls, self._pico(self.budget_usd))
        words = [ABSENT if limit is None else str(limit) for limit in limits]
        try:
            refusal = self._answered(name, f"ask {name} {' '.join(words)} .")
        except OSError as error:
            raise BudgetReached(
                f"budget: live calls cannot be counted: {error}; the ledger {self.path} must be a file on a local disk"
                " that this user may write"
            ) from None
        if refusal:
            raise BudgetReached(refusal)
        return CallGrant(self, name)

    def estimate(self, question: object, url: str) -> float | None:
        """Return what a call may cost; None where there is no budget in dollars, or no price.

        Args:
            question: The parsed JSON of its request.
            url: Where it goes.
        """
        if self.budget_usd is None:
            return None
        with contextlib.suppress(OSError):
            book = _ledger_state(self.path)
            book.read_new_lines(self.path)
            return estimate_cost(question, url, dearest_usd=book.highest_cost / PICODOLLARS)
        return estimate_cost(question, url)

    def totals(self) -> tuple[int, float]:
        """Return how many live calls were granted, and how many dollars are spent or still reserved."""
        book = _ledger_state(self.path)
        with contextlib.suppress(OSError):
            book.read_new_lines(self.path)
        return book.calls, book.held / PICODOLLARS

    def record_cost(self, name: str, cost_usd: float) -> None:
        """Write down what a granted call cost; see `Grant.settle`."""
        if self.budget_usd is not None:
            with contextlib.suppress(OSError):
                _append_line(self.path, f"cost {name} {self._pico(cost_usd, up=True)} .", new=False)

    def _pico(self, usd: float | None, *, up: bool = False) -> int | None:
        if usd is None or not math.isfinite(usd):
            return None
        # The float next to 0.1 is no reason to round up; a real fraction of a picodollar is.
        exact = round(usd * PICODOLLARS, 2)
        return max(math.ceil(exact) if up else round(exact), 0)

    def _answered(self, name: str, line: str) -> str:
        book = _ledger_state(self.path)
        book.asked[name] = None
        try:
            _append_line(self.path, line, new=not book.offset)
            book.read_new_lines(self.path)
            refusal = book.asked[name]
        finally:
            del book.asked[name]
        if refusal is None:
            raise OSError("what was written does not show up in it")
        return refusal


def _ledger_state(path: Path) -> _LedgerState:
    key = os.fspath(path)
    book = _ledger_states.get(key)
    if book is None or book.pid != os.getpid():  # a fork may have copied a lock that is held
        book = _ledger_states[key] = _LedgerState()
    return book


def _read_new_lines(path: Path, offset: int) -> tuple[list[bytes], int]:
    """Return the whole lines behind an offset, and where they end."""
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) < offset:
            raise OSError(f"{path} was cut or replaced during the run")
        file.seek(offset)
        whole, end, _ = file.read().rpartition(b"\n")
    # What follows the last line end may still be on its way.
    return whole.split(b"\n"), offset + len(whole) + len(end)


def _append_line(path: Path, line: str, *, new: bool) -> None:
    """Write one line at the end in one system call, whatever other processes do.

    Args:
        path: The ledger.
        line: Without its end.
        new: The file may be made. One that was there and is gone took what it counted with it.

    Raises:
        OSError: The disk is full, or the file cannot be written.
    """
    # A line end on both sides: what a killed process left of a line does not spoil this one.
    data = f"\n{line}\n".encode("ascii")
    flags = os.O_APPEND | os.O_WRONLY | getattr(os, "O_BINARY", 0) | (os.O_CREAT if new else 0)
    with _exclusive_access(path):
        fd = os.open(path, flags, 0o600)
        try:
            if os.write(fd, data) != len(data):
                raise OSError("no space left for a whole line")
        finally:
            os.close(fd)


def _exclusive_access(path: Path) -> AbstractContextManager[object]:
    if sys.platform == "win32":
        from filelock import FileLock

        # There O_APPEND is two steps, a seek and a write.
        return FileLock(f"{path}.lock", timeout=LOCK_TIMEOUT_S)
    return nullcontext()


def estimate_cost(question: object, url: str, *, dearest_usd: float = 0.0) -> float | None:
    """Return what a call may cost in US dollars, on the safe side; None where no price is known.

    Its input is taken from its size, at about four characters a token; its output from the bound that the
    request states. Without one it may cost as much as the dearest call so far; before the first call
    is settled, as much as an answer of 1,000 tokens.

    Args:
        question: The parsed JSON of its request; anything else has no model, and so no price.
        url: Where it goes.
        dearest_usd: What the dearest call so far cost; 0: none is known.
    """
    if not isinstance(question, Mapping):
        return None
    address = _split_url(url)
    model = question.get("model")
    model_match = _MODEL_IN_PATH.search(unquote(address.path))
    name = model if isinstance(model, str) and model else model_match[1] if model_match else ""
    server = f"{address.scheme}://{address.netloc}"
    tokens = math.ceil(_count_characters(question) / CHARACTERS_PER_TOKEN)
    if address.path.endswith(_ENDPOINTS_WITHOUT_OUTPUT):
        return _tokens_cost(name, server, tokens, 0)
    output_limit = _output_limit(question)
    if output_limit is not None:
        return _tokens_cost(name, server, tokens, output_limit)
    if not dearest_usd:
        return _tokens_cost(
            name, server, tokens, ASSUMED_OUTPUT_TOKENS * _first_positive(question, _CHOICE_COUNT_PATHS, 1)
        )
    least = _tokens_cost(name, server, tokens, 0)
    return None if least is None else max(least, dearest_usd)


def _tokens_cost(model: str, server: str, tokens: int, output: int) -> float | None:
    from pytest_llmops.protocols import Usage
    from pytest_llmops.trace import prices

    return prices.cost_usd(model, Usage(input_tokens=tokens, output_tokens=output), api_url=server)


def _split_url(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        return SplitResult("", "", "", "", "")


def _output_limit(question: Mapping[str, Any]) -> int | None:
    stated = max((_positive_int_at(question, path) for path in _OUTPUT_LIMIT_PATHS), default=0)
    return stated * _first_positive(question, _CHOICE_COUNT_PATHS, 1) if stated else None


def _first_positive(question: Mapping[str, Any], paths: tuple[tuple[str, ...], ...], default: int) -> int:
    return next((value for path in paths if (value := _positive_int_at(question, path))), default)


def _positive_int_at(question: Mapping[str, Any], path: tuple[str, ...]) -> int:
    value: Any = question
    for step in path:
        value = value.get(step) if isinstance(value, Mapping) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _count_characters(question: Mapping[str, Any]) -> int:
    """How long a request is as JSON, pictures and sounds within it cut to what they cost at most."""
    total = 0
    waiting: list[Any] = [question]
    while waiting:  # no recursion: a request may be deeper than the stack
        value = waiting.pop()
        if isinstance(value, str):
            total += MEDIA_CHARACTERS if _is_media_text(value) else len(value) + 2
        elif isinstance(value, Mapping):
            total += sum(len(str(key)) + 4 for key in value)
            waiting += value.values()
        elif isinstance(value, list):
            total += len(value) + 2
            waiting += value
        else:
            total += len(str(value))
    return total


def _is_media_text(text: str) -> bool:
    return len(text) > MEDIA_CHARACTERS and _MEDIA_TEXT.fullmatch(text) is not None
