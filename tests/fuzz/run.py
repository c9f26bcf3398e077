"""``make fuzz``: damaged files for each reader of the package, for some seconds each. A file that a reader does not bear is kept.

    make fuzz SECONDS=60 SEED=1          # SEED is printed; without it, a random one
    python tests/fuzz/run.py --reader cassette --seed 1 --number 17      # one input again
    python tests/fuzz/run.py --reader cassette --file fuzz-failures/cassette-1-17

Each reader runs in a process of its own, whose memory is limited.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import warnings
from importlib.util import find_spec
from pathlib import Path
from random import SystemRandom
from types import FrameType

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from fuzz.inputs import find_failure, make_input  # noqa: E402 -- the path is set above
from fuzz.readers import READERS, Reader  # noqa: E402

FAILURES = Path("fuzz-failures")
MAX_MEMORY = 3 * 2**30  # bytes of address space
MAX_SECONDS = 20  # for an input
MAX_FAILURES = 5  # of a reader: then it is given up


class TooSlow(BaseException):
    """An input takes too long. No reader may catch it."""


def stop(_signal: int, _frame: FrameType | None) -> None:
    raise TooSlow


def try_input(reader: Reader, content: bytes) -> str:
    """Return what is wrong with the way in which a reader takes an input; "" if nothing is."""
    folder = Path(tempfile.mkdtemp(prefix="llmops-fuzz-"))
    signal.alarm(MAX_SECONDS)
    try:
        return find_failure(reader, content, folder)
    except TooSlow:
        return f"takes more than {MAX_SECONDS} s"
    finally:
        signal.alarm(0)
        shutil.rmtree(folder, ignore_errors=True)


def fuzz(reader: Reader, seed: int, seconds: float) -> int:
    """Run a reader for some seconds, and return the number of failures; each is printed and kept."""
    end = time.monotonic() + seconds
    number = failures = 0
    while time.monotonic() < end and failures < MAX_FAILURES:
        content = make_input(reader, seed, number)
        current = FAILURES / f"{reader.name}-{seed}-{number}"
        current.write_bytes(content)  # stays if the process dies of it
        why = try_input(reader, content)
        if why:
            failures += 1
            report(reader, current, why)
        else:
            current.unlink()
        number += 1
    print(f"{reader.name:28} {number:7,} files, {failures} failures")
    return failures


def report(reader: Reader, path: Path, why: str) -> None:
    print(f"\n{reader.name}: {why}\n  again: python tests/fuzz/run.py --reader {reader.name} --file {path}\n")


def fork_and_fuzz(reader: Reader, seed: int, seconds: float) -> int:
    """Run a reader in a copy of this process, and return the exit status; that of a signal is negative."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 2
    try:
        limit_process()
        status = min(fuzz(reader, seed, seconds), 1)
    finally:
        sys.stdout.flush()
        os._exit(status)


def limit_process() -> None:
    signal.signal(signal.SIGALRM, stop)
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    warnings.simplefilter("ignore")  # Python's own, of invalid escapes in code that is read


def run_all(seed: int, seconds: float) -> int:
    """Run each reader in a process of its own, and return the number of readers that failed."""
    print(
        f"seed {seed}, {seconds:g} s for each of {len(READERS)} readers; again: make fuzz SECONDS={seconds:g} SEED={seed}"
    )
    FAILURES.mkdir(exist_ok=True)
    failed = []
    for reader in READERS:
        if reader.needs and find_spec(reader.needs) is None:
            print(f"{reader.name:28} left out: {reader.needs} is not installed")
            continue
        status = fork_and_fuzz(reader, seed, seconds)
        if status:
            failed.append(reader.name)
        if status < 0:
            kept = ", ".join(map(str, FAILURES.glob(f"{reader.name}-{seed}-*")))
            print(f"{reader.name}: the process died of signal {-status}; its last file: {kept}")
    if not failed:
        with contextlib.suppress(OSError):  # it holds files of earlier runs
            FAILURES.rmdir()
        return 0
    print(f"failed: {', '.join(failed)}; the files are in {FAILURES}")
    return len(failed)


def run_one(args: argparse.Namespace) -> int:
    """Run one reader, and return the number of failures."""
    (reader,) = (reader for reader in READERS if reader.name == args.reader)
    limit_process()
    if args.file is None and args.number is None:
        FAILURES.mkdir(exist_ok=True)
        return fuzz(reader, args.seed, args.seconds)
    content = make_input(reader, args.seed, args.number) if args.file is None else args.file.read_bytes()
    why = try_input(reader, content)
    print(why or "nothing is wrong")
    return int(bool(why))


def main() -> int:
    """Run the command, and return its exit status."""
    parser = argparse.ArgumentParser(description="Damaged files for each reader of the package")
    parser.add_argument("--seconds", type=float, default=5, help="for each reader; default 5")
    parser.add_argument(
        "--seed", type=int, default=SystemRandom().randrange(10**6), help="default: a random one"
    )
    parser.add_argument("--reader", help="only this one", choices=[reader.name for reader in READERS])
    parser.add_argument("--number", type=int, help="only this input of the seed")
    parser.add_argument("--file", type=Path, help="only this file, of --reader")
    args = parser.parse_args()
    if args.reader:
        return min(run_one(args), 1)
    return min(run_all(args.seed, args.seconds), 1)


if __name__ == "__main__":
    sys.exit(main())
