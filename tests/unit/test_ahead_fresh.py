"""The start of a fresh pytest for the silent runs, and the files that a fork inherits."""

from __future__ import annotations

import json
import os
import sys
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_llmops.harness.ahead import child, fresh


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks")
def test_files_behind_a_gap_in_the_descriptors_have_their_own_place_too(tmp_path: Path) -> None:
    """The list of the descriptors has one itself, which is closed by the time that it is looked at."""
    (tmp_path / "lines.txt").write_bytes(b"one\ntwo\n")
    gaps = [os.open(os.devnull, os.O_RDONLY) for _ in range(20)]
    config: Any = SimpleNamespace(pluginmanager=SimpleNamespace(get_plugin=lambda _: None))
    with (tmp_path / "lines.txt").open("rb", buffering=0) as lines:
        for gap in gaps:
            os.close(gap)
        process = child.fork_process(config, lambda parent: parent.send("facts", len(lines.read())))
        assert process.end(None) == [("facts", 8)]
        assert lines.read() == b"one\ntwo\n"


@pytest.mark.skipif(sys.platform == "win32", reason="a handle has another number")
def test_a_fresh_pytest_runs_with_the_arguments_and_the_path_that_it_gets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    order = {"path": ["a", "b"], "arguments": ["-v", "tests"], "link_variable": "LLMOPS_TEST_LINK"}
    ran: list[Any] = []
    moved: list[int] = []
    receiver, sender = os.pipe()
    os.set_inheritable(sender, True)
    start = SimpleNamespace(buffer=BytesIO(json.dumps(order).encode() + b"\nrest"))
    monkeypatch.setattr(sys, "stdin", start)
    monkeypatch.setattr(sys, "path", ["c"])
    monkeypatch.setattr(sys, "argv", ["fresh.py", "7"])
    monkeypatch.setenv("LLMOPS_TEST_LINK", "")

    def run_module(name: str, **how: Any) -> None:
        ran.append((name, how, list(sys.path), list(sys.argv), os.environ["LLMOPS_TEST_LINK"]))

    monkeypatch.setattr("runpy.run_module", run_module)
    with monkeypatch.context() as patch:
        patch.setattr(os, "dup", lambda descriptor: 100 + descriptor)
        patch.setattr(os, "dup2", lambda nowhere, descriptor: moved.extend((nowhere, descriptor)))
        fresh.run_pytest(sender)
    how = {"run_name": "__main__", "alter_sys": True}
    assert ran == [("pytest", how, ["a", "b"], ["pytest", "-v", "tests"], f"100 {sender}")]
    assert moved[1] == 0
    assert not os.get_inheritable(sender)
    assert start.buffer.read() == b"rest"
    for descriptor in (receiver, sender, moved[0]):
        os.close(descriptor)
