"""The messages between the process whose run counts and the process of its silent runs."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from typing import Any

import pytest

from pytest_llmops.harness.ahead import link


def test_messages_cross_the_pipes_and_a_cut_one_is_left_out() -> None:
    from_child, to_parent = os.pipe()
    from_parent, to_child = os.pipe()
    ended: list[str] = []
    process = link.SilentProcess(from_child, to_child, lambda: ended.append("ended"))
    parent = link.ParentLink(from_parent, to_parent)
    parent.send("answer", ["\n\ud800", {"body": None}])
    os.write(to_parent, b'["answer", "cu')
    os.close(to_parent)
    process.send({"is_over": True})
    assert parent.wait_for_order() == {"is_over": True}
    assert process.end(None) == [("answer", ["\n\ud800", {"body": None}])]
    assert parent.wait_for_order() is None
    assert (process.end(None), ended) == ([], ["ended"])
    link._private_descriptors.clear()
    os.close(from_parent)


def test_a_message_of_each_kind_is_read_as_it_was_sent() -> None:
    for message in (("facts", {"a": [None, 1.5]}), ("progress", "1,234 \u2028 \ud800"), ("process", 7)):
        line = link.write_message(*message)
        assert (line.count(b"\n"), line[-1:]) == (1, b"\n")
        assert link.read_message(line) == message
        assert [link.read_message(line[:cut]) for cut in range(len(line))] == [None] * len(line)


@pytest.mark.parametrize(
    ("output", "line"),
    [
        (b"", ""),
        (b"\n \n", ""),
        (b"first\n  last \n\n", "last"),
        (b"cut \xff", "cut \N{REPLACEMENT CHARACTER}"),
        (b"first\nlast", "last"),
    ],
)
def test_the_last_line_of_an_output(output: bytes, line: str) -> None:
    assert link.find_last_line(output) == line


class Pipes:
    """A process of silent runs, seen by the process whose run counts, and its own ends of the pipes."""

    def __init__(self, errors: Any = None) -> None:
        from_child, self.to_parent = os.pipe()
        self.from_parent, to_child = os.pipe()
        self.waits: list[str] = []
        self.process = link.SilentProcess(from_child, to_child, lambda: self.waits.append("waited"), errors)

    def close(self) -> None:
        self.process.end(None)
        for descriptor in (self.to_parent, self.from_parent):
            with suppress(OSError):
                os.close(descriptor)


@pytest.fixture
def pipes() -> Iterator[Pipes]:
    made = Pipes(BytesIO(b"x" * 400 + b"\nMemoryError\n"))
    yield made
    with suppress(OSError):
        os.close(made.to_parent)
    made.close()


def test_the_last_messages_of_a_process_come_with_its_end(pipes: Pipes) -> None:
    process = pipes.process
    process.process_id = 7
    for kind in ("closing", "end"):
        os.write(pipes.to_parent, link.write_message(kind, 1))
    os.close(pipes.to_parent)
    heard: list[Any] = []
    assert process.end({"is_over": True}, lambda *message: heard.append(message)) == heard
    assert heard == [("closing", 1), ("end", 1)]
    assert os.read(pipes.from_parent, 99) == b'{"is_over": true}\n'
    assert os.read(pipes.from_parent, 99) == b""
    assert (process.last_error, process.process_id, pipes.waits) == ("MemoryError", 0, ["waited"])
    assert process.end(None) == []
    assert pipes.waits == ["waited"]


def test_a_process_that_was_told_to_end_gets_no_order(pipes: Pipes) -> None:
    pipes.process.stop()
    pipes.process.stop()
    pipes.process.send({"is_over": True})
    assert os.read(pipes.from_parent, 99) == b""


def test_only_a_process_that_is_known_is_killed(pipes: Pipes, monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[Any] = []

    def kill(*arguments: int) -> None:
        killed.append(arguments)
        raise ProcessLookupError

    monkeypatch.setattr(os, "kill", kill)
    pipes.process.kill()
    pipes.process.process_id = 7
    pipes.process.kill()
    assert killed == [(7, signal.SIGKILL)]


def test_a_process_without_standard_error_has_no_last_line() -> None:
    pipes = Pipes()
    os.close(pipes.to_parent)
    pipes.process.end(None)
    assert pipes.process.last_error == ""
    os.close(pipes.from_parent)


def test_a_message_to_a_process_that_has_ended_is_lost() -> None:
    from_child, to_parent = os.pipe()
    from_parent, to_child = os.pipe()
    parent = link.ParentLink(from_parent, to_parent)
    os.close(from_child)
    parent.send("answer", 1)
    os.write(to_child, b'{"is_over": tr')
    os.close(to_child)
    assert parent.wait_for_order() is None  # it is cut
    link._private_descriptors.difference_update((from_parent, to_parent))
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, to_parent)
    parent._sender.flush()  # what nobody reads
    os.close(nowhere)
    os.close(to_parent)
    os.close(from_parent)


@pytest.mark.parametrize(
    "line", [b"printed\n", b"\xff\n", b"7\n", b'{"a": 1}\n', b'["answer"]\n', b"[1, 2]\n", b"\n"]
)
def test_what_is_no_message_ends_the_messages(line: bytes) -> None:
    from_child, to_parent = os.pipe()
    from_parent, to_child = os.pipe()
    process = link.SilentProcess(from_child, to_child, lambda: os.close(to_parent))
    os.write(to_parent, b'["progress", "a"]\n' + line + b'["progress", "b"]\n')
    received = process.receive()
    assert next(received) == ("progress", "a")
    assert next(received, None) is None
    os.write(to_parent, line)
    process.end(None)
    os.close(from_parent)


def test_a_process_that_a_test_forks_has_no_pipe_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the other end would not see that this process has ended."""
    monkeypatch.setattr(link, "_private_descriptors", set())
    receiver, to_parent = os.pipe()
    from_parent, sender = os.pipe()
    own = link.SilentProcess(receiver, sender, print), link.ParentLink(from_parent, to_parent)
    assert link._private_descriptors == {receiver, sender, from_parent, to_parent}
    link._close_copies()
    assert link._private_descriptors == set()
    for descriptor in (receiver, sender, from_parent, to_parent):
        with pytest.raises(OSError, match="descriptor"):
            os.fstat(descriptor)
    del own
