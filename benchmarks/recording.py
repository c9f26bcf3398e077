"""Recorders against each other, all in one run: ours, vcrpy with body matching, pytest-recording, cassetter.

Runs in the environment of the clients, where the fellow recorders are; without it ours is measured alone.
``python -m benchmarks.recording [--full]``; with ``--full`` vcrpy plays its whole cassette.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
CLIENTS = ROOT / ".venv" / "clients" / "bin" / "python"
PEERS = ("vcr", "pytest_recording", "cassetter")


def lines() -> Iterator[str]:
    """Run the measurements where the fellow recorders are, and hand on what they print."""
    python = str(CLIENTS) if CLIENTS.exists() else sys.executable
    command = [python, "-m", "benchmarks.recording", *sys.argv[1:]]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        for text in running.stdout:
            yield text.rstrip("\n")
    if running.returncode:
        raise SystemExit(f"benchmarks.recording ended with {running.returncode}")


def main() -> None:
    from benchmarks import crash, ours, peers, streaming

    missing = [name for name in PEERS if importlib.util.find_spec(name) is None]
    if missing:
        print(f"{'peers':<10}left out: {', '.join(missing)} not installed in {sys.prefix}")
    else:
        print(f"{'peers':<10}{peers.versions()}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in (
            ours.lines(folder),
            streaming.lines(folder, peers=not missing),
            crash.lines(folder, peers=not missing),
            peers.lines(folder, full="--full" in sys.argv) if not missing else (),
        ):
            for text in part:
                print(text, flush=True)


if __name__ == "__main__":
    main()
