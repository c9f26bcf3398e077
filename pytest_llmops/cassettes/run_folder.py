"""A temporary folder shared by the processes of a run: budget ledger, shared judge answers, rate limits."""

import atexit
import contextlib
import errno
import hashlib
import json
import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from pytest_llmops import recorder
from pytest_llmops._util.text_files import write_atomically
from pytest_llmops.cassettes.journal import close_quietly, lock_file
from pytest_llmops.cassettes.request_key import Question
from pytest_llmops.errors import CassetteError
from pytest_llmops.wire.body import check_answer

# Environment variable with the folder's path, for the processes that the run starts
RUN_FOLDER_VARIABLE = "LLMOPS_RUN"
FOLDER_PREFIX = "pytest-llmops-run-"
# A file that the run keeps locked: if it can be locked, the folder was left by a killed run
ALIVE_FILE = ".alive"


# Errors that the next file would meet too; a file or folder without permission is its own
DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS})
STOPPED_TEXT = (
    "not asked: a recording of this run could not be written, so no further call is paid; "
    "see the first error, free the disk, and run again"
)
ROOM_FILE = ".room"
# The new name of the room file once a recording could not be written: on a full disk a file can still be
# renamed
STOPPED_FILE = ".stopped"

CALLS_FILE = ".calls"  # a character for each live call that began or ended


@contextmanager
def open_run_folder() -> Iterator[None]:
    """Create the folder, pass it to the processes that are started, and remove it at the end."""
    remove_abandoned_folders()
    path, lock_fd = _create_locked_folder()
    before = os.environ.get(RUN_FOLDER_VARIABLE)  # of an outer run
    os.environ[RUN_FOLDER_VARIABLE] = str(path)
    try:
        yield
    finally:
        os.environ.pop(RUN_FOLDER_VARIABLE, None)
        if before is not None:
            os.environ[RUN_FOLDER_VARIABLE] = before
        shutil.rmtree(path, ignore_errors=True)
        close_quietly(lock_fd)


def _create_locked_folder() -> tuple[Path, int]:
    """Create a folder; return it and its open, locked file."""
    path = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX))
    draft = path / f"{ALIVE_FILE}.new"
    lock_fd = os.open(draft, os.O_CREAT | os.O_RDWR)
    if lock_file(lock_fd, exclusive=True):
        draft.rename(path / ALIVE_FILE)  # renamed once locked: no process finds it unlocked
    (path / ROOM_FILE).touch()
    return path, lock_fd


def stop_live_calls() -> None:
    """Stop the live calls of all processes of the run: their answers could not be recorded."""
    with contextlib.suppress(OSError, KeyError):
        folder = Path(os.environ[RUN_FOLDER_VARIABLE])
        (folder / ROOM_FILE).rename(folder / STOPPED_FILE)


def are_live_calls_stopped() -> bool:
    """Return whether a process of the run has stopped its live calls; never in a script."""
    folder = os.environ.get(RUN_FOLDER_VARIABLE)
    return folder is not None and os.path.exists(os.path.join(folder, STOPPED_FILE))  # noqa: PTH110, PTH118 -- for each call


def note_live_call(sign: str) -> None:
    """Note for the run's progress that a live call begins (``+``) or ended (``-``); do nothing in a script."""
    with (
        contextlib.suppress(OSError, KeyError),
        Path(os.environ[RUN_FOLDER_VARIABLE], CALLS_FILE).open("ab", buffering=0) as file,
    ):
        file.write(sign.encode())


def count_live_calls() -> tuple[int, int]:
    """Return how many live calls of the run began, and how many of them ended."""
    signs = b""
    with contextlib.suppress(OSError, KeyError):
        signs = Path(os.environ[RUN_FOLDER_VARIABLE], CALLS_FILE).read_bytes()
    return signs.count(b"+"), signs.count(b"-")


def remove_abandoned_folders() -> None:
    """Remove the folders of killed runs, where files can be locked."""
    for alive_file in Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*/{ALIVE_FILE}"):
        try:
            lock_fd = os.open(alive_file, os.O_RDWR)
        except OSError:  # removed meanwhile, or of another user
            continue
        if lock_file(lock_fd, exclusive=True):
            shutil.rmtree(alive_file.parent, ignore_errors=True)
        close_quietly(lock_fd)


def current_folder() -> Path:
    """Return the folder of the run; in a script or a command, a folder of this process, created on first use."""
    named = os.environ.get(RUN_FOLDER_VARIABLE, "")
    if named and Path(named).is_dir():
        return Path(named)
    return _process_folder(os.getpid())


@lru_cache(maxsize=1)
def _process_folder(pid: int) -> Path:
    path, _ = _create_locked_folder()  # locked until the process ends
    atexit.register(_remove_own_folder, path, pid)
    return path


def _remove_own_folder(path: Path, pid: int) -> None:
    if os.getpid() == pid:  # not in a forked child: its parent still uses the folder
        shutil.rmtree(path, ignore_errors=True)


# The purpose of calls whose answers are shared: repeated calls of the application must stay visible
JUDGE_PURPOSE = "judge"


def shared_answer_key(question: Question) -> str:
    """Return the key of a shared answer: request and server, as the request's key treats all local servers as equal."""
    server = hashlib.sha256(question.address.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{question.key}-{server}"


@dataclass(frozen=True, slots=True)
class SharedAnswers:
    """Judges' answers in the folder of the run.

    Args:
        folder: Returns the folder of the run, which its processes share.
    """

    folder: Callable[[], Path] = current_folder

    def find_answer(self, key: str, take: str, n: int, *, owner: str) -> dict[str, Any] | None:
        """Return another test's answer in a cassette's form, without secrets, or None.

        Args:
            key: The key of request and server.
            take: The take of the trial.
            n: Zero-based index among identical requests of the test.
            owner: The test that asks.
        """
        with contextlib.suppress(OSError, ValueError, CassetteError, RecursionError, AttributeError):
            wire = json.loads(self._path(key, take, n).read_bytes())
            answer: dict[str, Any] = wire.get("answer")
            check_answer(answer)
            if wire.get("owner") != owner:
                return answer
            return None
        return None

    def queue_answer(self, key: str, take: str, n: int, answer: Mapping[str, Any], *, owner: str) -> None:
        """Share an answer in a cassette's form as soon as a verdict was parsed from it."""
        waiting = _unshared_answers.get()
        if waiting is not None:
            waiting.append(partial(self._write, key, take, n, answer, owner))

    def _write(self, key: str, take: str, n: int, answer: Mapping[str, Any], owner: str) -> None:
        data = json.dumps({"owner": owner, "answer": answer}).encode("ascii")
        with contextlib.suppress(OSError):
            write_atomically(self._path(key, take, n), data)

    def _path(self, key: str, take: str, n: int) -> Path:
        return self.folder() / f"answer-{key}-{take}-{n}.json"


# Answers from which no verdict was parsed yet
_unshared_answers: ContextVar[list[Callable[[], None]] | None] = ContextVar(
    "pytest_llmops_unshared_answers", default=None
)


@contextmanager
def defer_sharing() -> Iterator[Callable[[], None]]:
    """Hold back a judge's answers in a block, which gets a function that shares them.

    No answer is shared outside of such a block.
    """
    waiting: list[Callable[[], None]] = []

    def share() -> None:
        while waiting:
            waiting.pop()()

    token = _unshared_answers.set(waiting)
    try:
        yield share
    finally:
        _unshared_answers.reset(token)


POLL_INTERVAL_S = 0.05  # interval between attempts to get a slot
# First pause if the server gives no ``retry-after``, doubled with every further pause; and the longest
# pause
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 120.0
MAX_WAIT_S = 600.0
# Statuses of a rate limit; 503 is a rate limit only with the header ``retry-after``
RATE_LIMIT_STATUSES = frozenset({429, 529})
UNAVAILABLE_STATUS = 503
FIRST_SERVER_ERROR = 500
# Instead of the number of pauses in a row: the server refuses for good (as for an empty account); calls do
# not wait
GIVEN_UP = -1


@dataclass(slots=True, eq=False)
class CallSlot:
    """The slot of a running call; without a lock it only passes on what the server replied."""

    _pace: "RateLimiter"
    _host: str
    _lock: Any = None
    _left: bool = False

    def release(self, status: int, headers: Mapping[str, str]) -> None:
        """Release the slot, and pause all calls if the server reports a rate limit; a second call has no effect.

        Args:
            status: The answer's status; 0: no answer.
            headers: The answer's headers, with lower-case names.
        """
        if self._left:
            return
        self._left = True
        lock = self._lock
        if lock is not None:
            lock.release()
        if status in (*RATE_LIMIT_STATUSES, UNAVAILABLE_STATUS):
            retry_after_s = _parse_retry_after(headers, self._pace.now())
        else:
            retry_after_s = None
        if status in RATE_LIMIT_STATUSES or retry_after_s is not None:
            self._pace.slow_down(self._host, retry_after_s)
        elif 0 < status < FIRST_SERVER_ERROR:
            self._pace.speed_up(self._host)


@dataclass(slots=True, eq=False)
class RateLimiter:
    """Slots and pauses of a run's judge calls, shared by all its processes and threads.

    Args:
        limit: Maximum number of concurrent calls.
        folder: Returns the folder of the run, on a disk of this machine.
        now: The clock, in seconds since 1970, the same in all processes.
        sleep: Waits for a number of seconds.
    """

    limit: int
    folder: Callable[[], Path] = current_folder
    now: Callable[[], float] = time.time
    sleep: Callable[[float], object] = time.sleep
    _next: int = field(default=0, repr=False)
    _refused: str = field(default="", repr=False)

    def enter(self, host: str = "") -> CallSlot:
        """Wait until a call to a host may go out, and return its slot."""
        # In an event loop no call could release its slot while this waits.
        if recorder.in_event_loop():
            waited = MAX_WAIT_S
        else:
            waited = 0.0
        while not isinstance(result := self.try_enter(host, waited), CallSlot):
            if result == POLL_INTERVAL_S:
                waited += POLL_INTERVAL_S
            self.sleep(result)
        return result

    async def enter_async(self, host: str = "") -> CallSlot:
        """Wait in an event loop, without blocking the calls that hold the slots."""
        import anyio  # a dependency of httpx, for any kind of loop

        waited = 0.0
        while not isinstance(result := self.try_enter(host, waited), CallSlot):
            if result == POLL_INTERVAL_S:
                waited += POLL_INTERVAL_S
            await anyio.sleep(result)  # polling: the slot may be released in another process
        return result

    def try_enter(self, host: str = "", waited: float = 0.0) -> CallSlot | float:
        """Return a slot if a call may go out now, else the seconds to wait before the next attempt.

        Args:
            host: The host, which has its own pauses.
            waited: Seconds that the call has waited for a slot, without pauses.
        """
        left = self._pause(host)[0] - self.now()
        if left > 0:
            return max(left, 2 * POLL_INTERVAL_S)
        try:
            lock = self._acquire_free_slot()
        except OSError:  # no disk for locks: the call itself must not fail
            return CallSlot(self, host)
        if lock is not None:
            return CallSlot(self, host, lock)
        if waited >= MAX_WAIT_S:
            return CallSlot(self, host)
        return POLL_INTERVAL_S

    def _acquire_free_slot(self) -> Any:
        from filelock import FileLock, Timeout

        for place in range(self.limit):
            # Limiters start at different slots, so that they do not all try the first.
            number = (self._next + place) % self.limit
            # The slot is released where the answer's end is read, in any thread.
            lock = FileLock(self.folder() / f"judge-{number}.lock", timeout=0, thread_local=False)
            with contextlib.suppress(Timeout):
                lock.acquire()
                self._next = number + 1
                return lock
        return None

    def slow_down(self, host: str, seconds: float | None) -> None:
        """Pause all calls: as long as the server demands, or longer with every pause in a row.

        Args:
            host: The host with the rate limit.
            seconds: The pause that the server demands, limited to two minutes; None: not given.
        """
        self._refused = host
        until, row = self._pause(host)
        if row == GIVEN_UP:
            return
        now = self.now()
        if now >= until:  # otherwise, the answers to concurrent calls count as a single rate limit
            row += 1
            if seconds is None:
                backed_off = FIRST_PAUSE_S * 2 ** min(row - 1, 10)
            else:
                backed_off = 0.0
            until = now + min(max(seconds or 0.0, backed_off), LONGEST_PAUSE_S)
        elif seconds is not None:
            until = max(until, now + min(seconds, LONGEST_PAUSE_S))
        self._write(host, until, row)

    def speed_up(self, host: str) -> None:
        """Restart the pauses: the server answers again."""
        until, row = self._pause(host)
        if row == GIVEN_UP or (row and self.now() >= until):
            self._write(host, 0.0, 0)

    def give_up(self) -> None:
        """Stop pausing calls to the server that refused last, until it answers: waiting has not helped."""
        self._write(self._refused, 0.0, GIVEN_UP)

    @property
    def gave_up(self) -> bool:
        """Return whether calls to the server that refused last are not paused any more."""
        return self._pause(self._refused)[1] == GIVEN_UP

    def _pause(self, host: str) -> tuple[float, int]:
        """Return when the host's pause ends, and its number among the pauses in a row."""
        try:
            until, row = self._file(host).read_text("ascii").split()
            pause = float(until), int(row)
        except (OSError, ValueError):
            return 0.0, 0
        # A pause that ends later than the longest pause was written before the clock was set back.
        if pause[0] - self.now() <= LONGEST_PAUSE_S:
            return pause
        return (self.now(), pause[1])

    def _write(self, host: str, until: float, row: int) -> None:
        """The calls themselves must not fail if the pause cannot be written."""
        with contextlib.suppress(OSError):
            write_atomically(self._file(host), f"{until!r} {row}".encode("ascii"))

    def _file(self, host: str) -> Path:
        return (
            self.folder() / f"pause-{hashlib.sha256(host.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"
        )


def _parse_retry_after(headers: Mapping[str, str], now: float) -> float | None:
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        with contextlib.suppress(KeyError, ValueError):
            seconds = float(headers[name]) * scale
            if 0 <= seconds < math.inf:
                return seconds
    from email.utils import parsedate_to_datetime

    with contextlib.suppress(KeyError, ValueError, TypeError, OverflowError):
        return max(parsedate_to_datetime(headers["retry-after"]).timestamp() - now, 0.0)
    return None
