"""One client in one process: ``python -m clients.run SCRIPT record FOLDER BARE_URL URL``, then ``... replay FOLDER URL``.

The first runs every scenario without a recorder, and then again while a tape records it; the second replays,
in a fresh process, when there is no server any more. What came out is in ``FOLDER/record.json`` and
``FOLDER/replay.json``.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from contextlib import nullcontext
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from clients.kit import Phase, Scenario, plain
from clients.page import SCRIPTS
from support.tapes import taped

from pytest_llmops._util.option_modes import RecordMode
from pytest_llmops.cassettes.http import interception

connected: list[str] = []
"""Connections that a socket of this process was told to make."""


def main(script: str, phase: str, folder: Path, *urls: str) -> None:
    os.fsync = _not_synced
    if phase == "replay":
        Phase.server = False
        sys.addaudithook(_listen)
        interception.install_patches()  # here before the client is imported, in the other process after it
        result = {"replay": _all(script, folder, urls[0], "none")}
    else:
        result = {
            "bare": _all(script, folder, urls[0], None),
            "record": _all(script, folder, urls[1], "new"),
        }
    versions = {package: version(package) for package in SCRIPTS[script].values() if package}
    text = json.dumps({**result, "connected": connected, "versions": versions})
    (folder / f"{phase}.json").write_text(text, encoding="utf-8")


def _not_synced(fd: Any) -> None:
    """Do nothing, and quickly: what the kernel has is not lost with the process."""


def _listen(event: str, args: tuple[Any, ...]) -> None:
    if event == "socket.connect":
        connected.append(repr(args[1]))


def _all(script: str, folder: Path, url: str, mode: RecordMode | None) -> dict[str, Any]:
    rows: dict[str, dict[str, Scenario]] = import_module(f"clients.{script}").ROWS
    return {
        row: {
            name: _one(entry, folder / f"{row}-{name}.json", url, mode) for name, entry in scenarios.items()
        }
        for row, scenarios in rows.items()
    }


def _one(scenario: Scenario, cassette: Path, url: str, mode: RecordMode | None) -> dict[str, Any]:
    path = cassette.with_name(
        "".join(entry if entry.isalnum() or entry in "-." else "_" for entry in cassette.name)
    )
    counts: dict[str, int] = {}
    try:
        with taped(path, mode) if mode is not None else nullcontext() as tape:
            value = plain(scenario(url))
    except BaseException as error:  # noqa: BLE001 -- a miss is no Exception
        return {"broke": f"{type(error).__name__}: {error}"[:600], "trace": traceback.format_exc()[-3000:]}
    if tape is not None:
        counts = {
            name: getattr(tape.report.counts, name) for name in ("recorded", "replayed", "missed", "stale")
        }
    return {"value": value, **counts, "notes": list(tape.report.notes) if tape is not None else []}


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), *sys.argv[4:])
