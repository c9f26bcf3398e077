"""Budget of a run: exact counts of live calls and their cost over all processes and threads.

The ledger is an append-only file with two kinds of lines: one requests a call ("ask"), the other gives the cost of a
call ("cost"). To request a call, a process appends a line and reads the file up to it; the lines before it decide
whether the call is granted. All processes read the same lines and so decide the same, without waiting for a lock. A
process that is killed at any point leaves a readable ledger: a truncated line is ignored, as its call was never
granted.
"""

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

from pytest_llmops.cassettes import run_folder
from pytest_llmops.cassettes.drift import is_model_request
from pytest_llmops.cassettes.request_key import Question
from pytest_llmops.errors import BudgetReached
from pytest_llmops.measurement import format_amount
from pytest_llmops.recorder import Exchange
from pytest_llmops.settings import Settings
from pytest_llmops.trace import BATCH_PRICE

# Picodollars per dollar. Money is counted in whole picodollars: a sum of floats is inexact.
PICODOLLARS = 10**12
LOCK_TIMEOUT_S = 10.0
ABSENT = "-"  # in a line: no limit, or no price
CHARACTERS_PER_TOKEN = 4
# Assumed length of an answer if the request has no limit and no call was settled yet
ASSUMED_OUTPUT_TOKENS = 1000
# Maximum length counted for a base64 text: an image costs a few thousand tokens, whatever the size of its
# file
MEDIA_CHARACTERS = 40_000
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
    """Sums over the lines of a ledger that this process has read."""

    offset: int = 0  # bytes that were read
    calls: int = 0  # calls that were granted
    spent: int = 0  # picodollars, like all money here
    # Estimates of the granted calls whose cost is not known yet, by the name of the call.
    reserved: dict[str, int] = field(default_factory=dict)
    reserved_total: int = 0
    highest_cost: int = 0
    # For the calls that this process is requesting: why they are refused; "" if granted, None until the line was read.
    refusals: dict[str, str | None] = field(default_factory=dict)
    pid: int = field(default_factory=os.getpid)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def committed(self) -> int:
        """Return the money that is spent, or reserved for calls of unknown cost."""
        return self.spent + self.reserved_total

    def read_new_lines(self, path: Path) -> None:
        """Read to the end of the ledger.

        Raises:
            OSError: It cannot be read, or is shorter than before.
        """
        with self.lock:
            # After an error here the sums stay, as otherwise the next call would create a new ledger.
            with path.open("rb") as file:
                if file.seek(0, os.SEEK_END) < self.offset:
                    raise OSError(f"{path} was cut or replaced during the run")
                file.seek(self.offset)
                whole, end, _ = file.read().rpartition(b"\n")  # the rest may still be being written
            try:
                for line in whole.split(b"\n"):
                    self.read_line(line)
                self.offset += len(whole) + len(end)
            except BaseException:  # a time limit or Ctrl-C: the sums may be incomplete, so all is read again
                self.offset = self.calls = self.spent = self.reserved_total = self.highest_cost = 0
                self.reserved.clear()
                raise

    def read_line(self, line: bytes) -> None:
        """Add a line to the sums; a line truncated by a crash is ignored."""
        with contextlib.suppress(ValueError):
            match [word.decode("ascii") for word in line.split()]:
                case ["ask", name, estimate, calls, budget, "."]:
                    cost = _parse_number(estimate)
                    refusal = self._why_refused(cost, _parse_number(calls), _parse_number(budget))
                    if not refusal:
                        self.calls += 1
                        self.reserved[name] = cost or 0
                        self.reserved_total += self.reserved[name]
                    if name in self.refusals:
                        self.refusals[name] = refusal
                case ["cost", name, cost, "."] if name in self.reserved:
                    paid = int(cost)
                    self.reserved_total -= self.reserved.pop(name)
                    self.spent += paid
                    self.highest_cost = max(self.highest_cost, paid)

    def request_call(self, path: Path, name: str, line: str) -> str:
        """Append the line that requests a call, and return why the call is refused, or "".

        Raises:
            OSError: The ledger cannot be written or read.
        """
        self.refusals[name] = None
        try:
            _append_line(path, line, new=not self.offset)
            self.read_new_lines(path)
            refusal = self.refusals[name]  # set by `read_line`
        finally:
            del self.refusals[name]
        if refusal is None:
            raise OSError("a written line is missing when it is read again")
        return refusal

    def _why_refused(self, estimate: int | None, calls: int | None, budget: int | None) -> str:
        """Return why a call is refused, or "" if it is granted.

        Args:
            estimate: The estimated cost; None: the model has no price.
            calls: Maximum number of calls of the run; None: any number.
            budget: Maximum cost of the run; None: any amount.
        """
        if calls is not None and self.calls >= calls:
            return (
                f"budget reached: {self.calls:,} of {calls:,} live calls of this run are made; "
                "run the same command again to go on, raise --llm-max-calls (ini llm_max_calls), or run fewer tests live"
            )
        if budget is None:
            return ""
        if estimate is None:
            return (
                "budget: no price is known for this model, so its calls cannot be held within --llm-budget; "
                "install the extra pytest-llmops[prices], or limit the run with --llm-max-calls instead"
            )
        committed = self.committed
        if committed < budget and committed + estimate <= budget:
            return ""
        taken = f"{_format_dollars(committed)} of {_format_dollars(budget)} of this run are taken"
        if self.reserved_total:
            taken += f", {_format_dollars(self.reserved_total)} of it reserved"
        return f"budget reached: {taken}, and this call may cost {_format_dollars(estimate)}; run the same command again to go on, raise --llm-budget (ini llm_budget), or run fewer tests live"


def _parse_number(text: str) -> int | None:
    """Return a number in a line; None for `ABSENT`."""
    if text == ABSENT:
        return None
    return int(text)


def _format_number(number: int | None) -> str:
    """Return a number as it is written in a line; `ABSENT` for None."""
    if number is None:
        return ABSENT
    return str(number)


def _format_dollars(pico: int) -> str:
    """Return an amount in dollars; with more than two decimal places only below a dollar."""
    if pico < PICODOLLARS and pico % (PICODOLLARS // 100):  # below a dollar, with fractions of a cent
        return format_amount(pico / PICODOLLARS, "USD")
    return f"${pico / PICODOLLARS:,.2f}"


# By the path of the ledger. Kept here because each test creates a `Ledger`, which must not read the whole file again.
_ledger_states: dict[str, _LedgerState] = {}


@dataclass(slots=True)
class CallGrant:
    """Permission for a live call."""

    _ledger: "Ledger"
    _name: str
    _settled: bool = False

    def settle(self, cost_usd: float | None) -> None:
        """Replace the call's estimate by its cost; a second call has no effect.

        Without a known cost, or if the ledger cannot be written any more, the estimate stays reserved: the call was
        paid, and an error here would lose its answer.

        Args:
            cost_usd: The cost; None if it is unknown.
        """
        if self._settled or cost_usd is None or not math.isfinite(cost_usd) or cost_usd < 0:
            return
        self._settled = True
        if self._ledger.budget_usd is not None:
            line = f"cost {self._name} {_to_picodollars(cost_usd, up=True)} ."
            with contextlib.suppress(OSError):
                _append_line(self._ledger.path, line, new=False)


@dataclass(slots=True)
class Ledger:
    """The budget of a run, counted by all its processes and threads in the same file.

    The estimate of a call whose process dies stays reserved: the call may have been paid. A run can exceed its budget
    by the amount that its calls cost more than estimated.

    Args:
        path: The file, created at the first call. It must be on a disk of this machine.
        max_calls: Maximum number of live calls of the run; None: any number.
        budget_usd: Maximum cost in US dollars; None: any amount.
    """

    path: Path
    max_calls: int | None = None
    budget_usd: float | None = None

    def reserve_call(self, estimate_usd: float | None) -> CallGrant:
        """Return the permission for a live call, and reserve its estimate.

        Args:
            estimate_usd: The estimated cost; None if no price is known. Ignored without a budget in dollars.

        Raises:
            BudgetReached: No call or no money is left, the model has no price, or the ledger cannot be used.
        """
        name = secrets.token_hex(8)
        estimate = _format_number(_to_picodollars(estimate_usd, up=True))
        calls = _format_number(self.max_calls)
        budget = _format_number(_to_picodollars(self.budget_usd))
        line = f"ask {name} {estimate} {calls} {budget} ."
        try:
            refusal = _ledger_state(self.path).request_call(self.path, name, line)
        except OSError as error:
            raise BudgetReached(
                f"budget: live calls cannot be counted: {error}; the ledger {self.path} must be a file on a local disk"
                " that this user may write"
            ) from None
        if refusal:
            raise BudgetReached(refusal)
        return CallGrant(self, name)

    def estimate(self, question: object, url: str) -> float | None:
        """Return the estimated cost of a call; None without a budget in dollars, or without a price.

        Args:
            question: The parsed JSON of the request.
            url: The request's URL.
        """
        if self.budget_usd is None:
            return None
        with contextlib.suppress(OSError):
            state = _ledger_state(self.path)
            state.read_new_lines(self.path)
            return estimate_cost(question, url, dearest_usd=state.highest_cost / PICODOLLARS)
        return estimate_cost(question, url)

    def totals(self) -> tuple[int, float]:
        """Return the number of granted live calls, and the dollars spent or reserved."""
        state = _ledger_state(self.path)
        with contextlib.suppress(OSError):
            state.read_new_lines(self.path)
        return state.calls, state.committed / PICODOLLARS


def open_ledger(settings: Settings) -> Ledger:
    """Return the ledger of a run with a budget."""
    return Ledger(run_folder.current_folder() / "ledger", settings.max_calls, settings.budget)


def _to_picodollars(usd: float | None, *, up: bool = False) -> int | None:
    """Return an amount in picodollars, rounded up for a cost; None if it is unknown or infinite."""
    if usd is None or not math.isfinite(usd):
        return None
    # First to two decimal places, so that the inexactness of a float is not rounded up.
    exact = round(usd * PICODOLLARS, 2)
    if up:
        return max(math.ceil(exact), 0)
    return max(round(exact), 0)


def _ledger_state(path: Path) -> _LedgerState:
    """Return the sums of a ledger in this process; a forked process starts anew."""
    key = os.fspath(path)
    state = _ledger_states.get(key)
    if state is None or state.pid != os.getpid():  # a fork may have copied a lock that is held
        state = _ledger_states[key] = _LedgerState()
    return state


def _append_line(path: Path, line: str, *, new: bool) -> None:
    """Append a line in a single system call. The file is created only if it is new: a removed ledger is an error.

    The line also begins with a line end, so that it is not joined to a line that a killed process has truncated.
    """
    data = f"\n{line}\n".encode("ascii")
    flags = os.O_APPEND | os.O_WRONLY | getattr(os, "O_BINARY", 0)
    if new:
        flags |= os.O_CREAT
    access: AbstractContextManager[object] = nullcontext()
    if sys.platform == "win32":
        from filelock import FileLock

        # On Windows, O_APPEND is two steps, a seek and a write.
        access = FileLock(f"{path}.lock", timeout=LOCK_TIMEOUT_S)
    with access:
        fd = os.open(path, flags, 0o600)
        try:
            if os.write(fd, data) != len(data):
                raise OSError("no space left for a whole line")
        finally:
            os.close(fd)


def estimate_cost(question: object, url: str, *, dearest_usd: float = 0.0) -> float | None:
    """Return a cautious estimate of a call's cost in US dollars; None if no price is known.

    The input is estimated from its size, at four characters per token; the output from the limit in the request.
    Without a limit, the estimate is the cost of the dearest call so far. If no call has a known cost yet, an answer
    of 1,000 tokens is assumed.

    Args:
        question: The parsed JSON of the request; anything else has no model, and so no price.
        url: The request's URL.
        dearest_usd: The cost of the dearest call so far; 0: unknown.
    """
    if not isinstance(question, Mapping):
        return None
    try:
        address = urlsplit(url)
    except ValueError:
        address = SplitResult("", "", "", "", "")
    model = _find_model(question, unquote(address.path))
    server = f"{address.scheme}://{address.netloc}"
    tokens = math.ceil(_count_characters(question) / CHARACTERS_PER_TOKEN)
    if address.path.endswith(_ENDPOINTS_WITHOUT_OUTPUT):
        return _tokens_cost(model, server, tokens, 0)
    output_limit = max(_positive_int_at(question, path) for path in _OUTPUT_LIMIT_PATHS)
    if output_limit or not dearest_usd:
        output = _count_choices(question) * (output_limit or ASSUMED_OUTPUT_TOKENS)
        return _tokens_cost(model, server, tokens, output)
    least = _tokens_cost(model, server, tokens, 0)
    if least is None:
        return None
    return max(least, dearest_usd)


def _find_model(question: Mapping[str, Any], path: str) -> str:
    """Return the model that a request names: in its JSON, or in its URL path (``/models/<model>:generateContent``).

    "" if there is none.
    """
    model = question.get("model")
    if isinstance(model, str) and model:
        return model
    in_path = _MODEL_IN_PATH.search(path)
    if in_path is None:
        return ""
    return in_path[1]


def _count_choices(question: Mapping[str, Any]) -> int:
    """Return the number of answers that a request wants."""
    for path in _CHOICE_COUNT_PATHS:
        count = _positive_int_at(question, path)
        if count:
            return count
    return 1


def _tokens_cost(model: str, server: str, tokens: int, output: int) -> float | None:
    """Return the cost of a call with this number of tokens in dollars; None if the model has no price."""
    from pytest_llmops import trace
    from pytest_llmops.protocols import Usage

    return trace.cost_usd(model, Usage(input_tokens=tokens, output_tokens=output), api_url=server)


def _positive_int_at(question: Mapping[str, Any], path: tuple[str, ...]) -> int:
    """Return the positive whole number under a path of keys in a request; 0 if there is none."""
    value: Any = question
    for step in path:
        if not isinstance(value, Mapping):
            return 0
        value = value.get(step)
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    return 0


def _count_characters(question: Mapping[str, Any]) -> int:
    """Return the approximate length of a request as JSON. Images and sounds count at most `MEDIA_CHARACTERS`."""
    total = 0
    waiting: list[Any] = [question]
    while waiting:  # no recursion: a request may be deeper than the stack
        value = waiting.pop()
        if isinstance(value, str):
            if len(value) > MEDIA_CHARACTERS and _MEDIA_TEXT.fullmatch(value):
                total += MEDIA_CHARACTERS
            else:
                total += len(value) + 2
        elif isinstance(value, Mapping):
            total += sum(len(str(key)) + 4 for key in value)
            waiting += value.values()
        elif isinstance(value, list):
            total += len(value) + 2
            waiting += value
        else:
            total += len(str(value))
    return total


@dataclass(slots=True)
class CallCosts:
    """The grants of a tape's calls that have not ended, by the key of their request.

    Args:
        ledger: Counts live calls, and refuses calls beyond the budget; None: there is none.

    Attributes:
        refusals: The errors of refused calls.
    """

    ledger: Ledger | None
    refusals: list[str] = field(default_factory=list)
    _grants: dict[str, list[CallGrant]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def _is_priced(self) -> bool:
        """Whether the cost of live calls is needed."""
        return self.ledger is not None and self.ledger.budget_usd is not None

    def reserve(self, question: Question, *, is_batched: bool = False) -> None:
        """Take a call and its estimated cost from the budget; do nothing without a ledger.

        A request that is not a model call has no price, and counts as a call without cost.

        Raises:
            BudgetReached: The budget has no live call left.
        """
        if self.ledger is None:
            return
        cost: float | None = 0.0
        if not self._is_priced or is_model_request(question):
            cost = self.ledger.estimate(question.json, question.url)
        if cost and is_batched:
            cost *= BATCH_PRICE
        try:
            grant = self.ledger.reserve_call(cost)
        except BudgetReached as error:
            self.refusals.append(str(error))
            raise
        with self._lock:
            self._grants.setdefault(question.key, []).append(grant)

    def settle(self, question: Question, exchange: Exchange | None, *, complete: bool = True) -> None:
        """Replace the estimate of a call by its cost; without a known cost it stays reserved.

        Args:
            question: The request.
            exchange: The call; None: it has no answer.
            complete: Whether its answer is complete: an incomplete answer may have been paid.
        """
        cost_usd = None
        if exchange is not None and exchange.status and complete:
            cost_usd = self._read_cost(exchange)
        with self._lock:
            grants = self._grants.get(question.key)
            if not grants:
                return
            grant = grants.pop(0)
        grant.settle(cost_usd)

    def _read_cost(self, exchange: Exchange) -> float | None:
        """Return the cost of a call; None if it is unknown.

        Without a budget in dollars the cost does not matter, and is 0.
        """
        if not self._is_priced:
            return 0.0
        from pytest_llmops import trace

        return trace.read_call(exchange).cost_usd
