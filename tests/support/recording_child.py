"""A process that records against a loopback server, told by its standard input when to go on.

``python recording_child.py CASSETTE URL MODE FIRST LAST``: asks questions FIRST to LAST, and after each
writes its number and waits for a line. Killed at any point, it must lose no answer it has printed.
"""

from __future__ import annotations

import sys
from pathlib import Path

import httpx2

from pytest_llmops.cassettes import active_tape, tape
from pytest_llmops.cassettes.http import interception
from pytest_llmops.cassettes.tape_config import TapeConfig


def main(cassette: str, url: str, mode: str, first: int, last: int) -> None:
    interception.install_patches()
    entry = tape.Tape(Path(cassette), mode, TapeConfig(owner=f"child {first}"), shared=True)  # type: ignore[arg-type]
    active_tape.push_tape(entry)
    with httpx2.Client() as client:
        for number in range(first, last):
            client.post(f"{url}/ask", json={"n": number}).raise_for_status()
            print(number, flush=True)
            sys.stdin.readline()
    active_tape.remove_tape(entry)
    print("closing", flush=True)
    entry.close()
    print("closed", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
