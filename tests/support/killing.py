"""Recording runs that are killed: at every step that touches the disk, or at a random time.

`Recorder` starts this file as a process of its own, which has loaded everything and forks one child for each run.
The child asks questions with a real client, and tells each answer its caller has received.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

import httpx2

from pytest_llmops.cassettes import active_tape
from pytest_llmops.cassettes.http import interception
from pytest_llmops.cassettes.tape import Tape
from pytest_llmops.cassettes.tape_config import TapeConfig
from pytest_llmops.errors import CassetteError, CassetteMiss

if TYPE_CHECKING:  # started as a file, this one has no neighbours
    from support.server import StubServer

Tell = Callable[[dict[str, Any]], None]
NOBODY = 65534
STEPS = ("open", "write", "fsync", "close", "mkdir", "chmod", "replace", "unlink", "rmdir")
"""Functions of `os` that are counted, before and after; a write also in its middle."""


@dataclass(frozen=True)
class Job:
    """One run of a child."""

    cassette: str
    url: str
    questions: tuple[int, ...]
    mode: str = "new"
    kill_at: int = 0
    """The number of the step at which it is killed; 0: it lives to its end."""
    kill_after_s: float = 0.0
    """When it is killed, whatever it does; 0: never."""
    uid: int = 0
    """Who it runs as; 0: whoever runs the test."""
    largest_file: int = 0
    """Of a file, in bytes; 0: any size."""
    relieved_at: int = 0
    """The question before which files may have any size again; 0: none."""
    temporary: str = ""
    """Its folder for temporary files; empty: the usual one."""


@dataclass(frozen=True)
class Ran:
    """What a child told, and how it ended."""

    told: dict[int, int] = field(default_factory=dict)
    """Of each question the number of the answer that its caller got."""
    at: str = ""
    """The step at which it was killed."""
    errors: tuple[str, ...] = ()
    """What its callers got instead of answers, and what it got at its end."""
    status: int = 0


class Recorder:
    """Runs children, one after the other."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, job: Job) -> Ran:
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(asdict(job)) + "\n")
        process.stdin.flush()
        lines = []
        while (line := json.loads(process.stdout.readline())) and "status" not in line:
            lines.append(line)
        message = {line["question"]: line["answer"] for line in lines if "question" in line}
        at = next((line["at"] for line in lines if "at" in line), "")
        errors = tuple(line["error"] for line in lines if "error" in line)
        return Ran(message, at, errors, line["status"])

    def close(self) -> None:
        self._process.communicate()


def as_other(job: Job, folder: Path) -> Job:
    """The job as a user who may not write everywhere, with temporary files of his own."""
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    temporary.chmod(0o777)
    return replace(job, uid=NOBODY if os.geteuid() == 0 else 0, temporary=str(temporary))


def asked(server: StubServer, job: Job) -> list[int]:
    """The questions of a job that reached the server: those that were paid."""
    path = job.url.removeprefix(server.url) + "/ask"
    # A client that was killed in the middle of a request has sent no body.
    return [seen.json["q"] for seen in server.seen if seen.path == path and seen.body]


class Steps:
    """Counts what a process does to the disk, and kills it at one of its steps."""

    def __init__(self, kill_at: int, tell: Tell) -> None:
        self._left = kill_at
        self._tell = tell

    def __call__(self, name: str) -> None:
        self._left -= 1
        if self._left == 0:
            self._tell({"at": name})
            os.kill(os.getpid(), signal.SIGKILL)

    def count(self) -> None:
        """From now on everything is counted."""
        import fcntl

        os.fsync = _not_synced
        for name in STEPS:
            setattr(os, name, self._counted(name, getattr(os, name)))
        fcntl.flock = self._counted("flock", fcntl.flock)
        real = Path.open

        def opened(path: Path, mode: str = "r", *args: Any, **more: Any) -> Any:
            file = real(path, mode, *args, **more)
            return _Halved(file, self) if "x" in mode else file

        Path.open = opened  # type: ignore[method-assign, assignment]

    def _counted(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **more: Any) -> Any:
            self(f"before {name}")
            if name == "write":
                fd, data = args
                half = real(fd, bytes(data[: len(data) // 2]))
                self("in the middle of write")
                return half + real(fd, bytes(data[half:]))
            result = real(*args, **more)
            self(f"after {name}")
            return result

        return counted


def _not_synced(fd: Any) -> None:
    """Do nothing, and quickly: what the kernel has is not lost with the process."""


class _Halved:
    """A new file that is written in two steps."""

    def __init__(self, file: IO[bytes], steps: Steps) -> None:
        self._file = file
        self._steps = steps

    def write(self, data: bytes) -> None:
        self._steps("before the file is written")
        self._file.write(data[: len(data) // 2])
        self._file.flush()
        self._steps("in the middle of the file")
        self._file.write(data[len(data) // 2 :])

    def flush(self) -> None:
        self._file.flush()
        self._steps("after the file is written")

    def fileno(self) -> int:
        return self._file.fileno()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _child(job: Job, client: httpx2.Client, tell: Tell) -> None:
    if job.kill_after_s:  # its default action ends a process as abruptly as SIGKILL
        signal.setitimer(signal.ITIMER_REAL, job.kill_after_s)
    if job.temporary:
        tempfile.tempdir = job.temporary
    if job.largest_file:
        _limit(job.largest_file)
    if job.uid:
        os.setgroups([])
        os.setgid(job.uid)
        os.setuid(job.uid)
    Steps(job.kill_at, tell).count()
    _ask(job, client, tell)


def _limit(largest_file: int) -> None:
    import resource

    sys.dont_write_bytecode = True  # Python takes a module that was cut at the limit for whole
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file or hard, hard))


def _ask(job: Job, client: httpx2.Client, tell: Tell) -> None:
    with _errors(tell):
        tape = Tape(Path(job.cassette), job.mode, TapeConfig(owner="killed"))  # type: ignore[arg-type]
        active_tape.push_tape(tape)
        for number in job.questions:
            if number == job.relieved_at:
                _limit(0)
            with _errors(tell):
                answer = client.post(f"{job.url}/ask", json={"q": number})
                tell({"question": number, "answer": answer.json()["n"]})
        active_tape.remove_tape(tape)
        tape.close()


@contextlib.contextmanager
def _errors(tell: Tell) -> Iterator[None]:
    try:
        yield
    except (CassetteError, CassetteMiss) as error:
        tell({"error": f"{type(error).__name__}: {error}"})


def _telling(fd: int) -> Tell:
    write = os.write  # what a child tells is no step of its run

    def tell(line: dict[str, Any]) -> None:
        write(fd, json.dumps(line).encode() + b"\n")

    return tell


def _in_a_child(job: Job, client: httpx2.Client, go: int) -> None:
    """Run a job and end: nothing of the process that was forked goes on."""
    code = 1
    try:
        _child(job, client, _telling(go))
        code = 0
    except BaseException:  # noqa: BLE001 -- the child ends here, whatever it was
        traceback.print_exc()
    finally:
        os._exit(code)


def _warm_up(url: str, client: httpx2.Client) -> None:
    """Load what is loaded late, so that each child does not."""
    with tempfile.TemporaryDirectory() as folder:
        _ask(Job(f"{folder}/cassettes/a.json", f"{url}/warm", (0,)), client, lambda _: None)


def main() -> None:
    interception.install_patches()
    # Made once: it has no connection yet. A connection that is kept would wait for acknowledgements.
    client = httpx2.Client(trust_env=False, verify=False, limits=httpx2.Limits(max_keepalive_connections=0))
    for line in sys.stdin:
        wire = json.loads(line)
        if not gc.get_freeze_count():
            _warm_up(wire["url"], client)
            gc.freeze()
        come, go = os.pipe()
        pid = os.fork()
        if not pid:
            _in_a_child(Job(**{**wire, "questions": tuple(wire["questions"])}), client, go)
        os.close(go)
        with os.fdopen(come) as lines:
            print(lines.read(), end="")
        print(json.dumps({"status": os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}), flush=True)


if __name__ == "__main__":
    main()
