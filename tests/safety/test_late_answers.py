"""An answer that comes after its test has ended is its test's: not lost, and not in the cassette of the next."""

from __future__ import annotations

import threading
from pathlib import Path

import httpx2
import pytest
from support.cassettes import entry, files, texts
from support.server import Reply, StubServer, wait
from support.tapes import taped

from pytest_llmops._util.option_modes import RecordMode
from pytest_llmops.cassettes import store
from pytest_llmops.cassettes.active_tape import use_tape
from pytest_llmops.cassettes.journal import Journal, find_abandoned_journals
from pytest_llmops.cassettes.tape import Tape
from pytest_llmops.errors import CassetteMiss
from pytest_llmops.redaction.redactor import Redactor


def questions(path: Path) -> list[object]:
    return [journal.request["body"]["json"]["q"] for journal in store.load_with_journals(path).values()]


class Late:
    """A thread that asks while the first tape is in use, and is answered when it is told."""

    def __init__(self, server: StubServer) -> None:
        self.asked, self.go_on = threading.Event(), threading.Event()
        server.queue.append(Reply(b'{"late": true}', before=self._hold))
        self._thread = threading.Thread(target=self._ask, args=(server.url,))
        self.answers: list[object] = []

    def _hold(self) -> None:
        self.asked.set()
        wait(self.go_on)

    def _ask(self, url: str) -> None:
        with httpx2.Client(trust_env=False) as client:
            self.answers.append(client.post(f"{url}/ask", json={"q": "late"}).json())

    def start(self) -> None:
        self._thread.start()
        wait(self.asked)

    def finish(self) -> None:
        self.go_on.set()
        self._thread.join(20)
        assert self.answers == [{"late": True}]


def test_an_answer_after_the_end_is_in_the_journal_of_its_own_test(tmp_path: Path) -> None:
    first, second = tmp_path / "first" / "test_a.json", tmp_path / "second" / "test_b.json"
    with StubServer() as server:
        late = Late(server)
        with taped(first, "new"):
            late.start()
        assert not first.exists()
        with taped(second, "new"), httpx2.Client(trust_env=False) as client:
            client.post(f"{server.url}/ask", json={"q": "next"})
            late.finish()
        assert questions(second) == ["next"]
        assert files(second.parent) == [second.name]
        # Nobody holds the journal any more, also while this process lives.
        assert len(find_abandoned_journals(first)) == 1
        assert questions(first) == ["late"]
        with taped(first, "new"), httpx2.Client(trust_env=False) as client:
            assert client.post(f"{server.url}/ask", json={"q": "late"}).json() == {"late": True}
        assert files(first.parent) == [first.name]
        assert list(store.load_cassette(first))
        assert server.count == 2


def test_an_answer_in_the_middle_of_the_merge_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "test_a.json"
    real = store.format_cassette
    with StubServer() as server:
        late = Late(server)

        def interrupted(*args: object) -> str:
            monkeypatch.setattr(store, "format_cassette", real)
            late.finish()
            return real(*args)  # type: ignore[arg-type]

        with taped(path, "new"), httpx2.Client(trust_env=False) as client:
            late.start()
            client.post(f"{server.url}/ask", json={"q": "own"})
            monkeypatch.setattr(store, "format_cassette", interrupted)
        assert [element.request["body"]["json"]["q"] for element in store.load_cassette(path).values()] == [
            "own"
        ]
        assert sorted(map(str, questions(path))) == ["late", "own"]
        with taped(path, "new"):
            pass
        assert len(store.load_cassette(path)) == 2
        assert files(tmp_path) == [path.name]


def test_a_merge_leaves_a_journal_alone_that_is_still_written(tmp_path: Path) -> None:
    path = tmp_path / "test_a.json"
    journal = Journal(path)
    journal.append(entry(1))
    store.merge_journals(path, journal.paths, Redactor(), replace=False)
    assert not path.exists()
    journal.append(entry(2))
    journal.close()
    store.merge_journals(path, journal.paths, Redactor(), replace=False)
    assert set(texts(path)) == {"key-1", "key-2"}


def test_a_journal_that_is_still_written_survives_another_s_end(tmp_path: Path) -> None:
    """Two tapes of one process on one cassette: the first to end does not take what the other writes."""
    path = tmp_path / "test_a.json"
    with StubServer() as server, httpx2.Client(trust_env=False) as client:
        with taped(path, "new"):
            client.post(f"{server.url}/ask", json={"q": "outer"})
            with taped(path, "new"):
                client.post(f"{server.url}/ask", json={"q": "inner"})
            assert [
                element.request["body"]["json"]["q"] for element in store.load_cassette(path).values()
            ] == ["inner"]
        assert len(store.load_cassette(path)) == 2
    assert Tape(path).report.counts.replayed == 0
    assert files(tmp_path) == [path.name]


def test_an_answer_after_the_end_of_a_block_is_in_the_cassette_of_the_block(tmp_path: Path) -> None:
    outer, inner = tmp_path / "test_a.json", tmp_path / "block.json"
    with StubServer() as server, httpx2.Client(trust_env=False) as client:
        late = Late(server)
        with taped(outer, "new") as tape:
            block = tape.open_block_tape(inner)
            with use_tape(block):
                late.start()
            block.close()
            client.post(f"{server.url}/ask", json={"q": "own"})
            late.finish()
        assert questions(outer) == ["own"]
        assert not inner.exists()
        assert questions(inner) == ["late"]
        with taped(outer, "new") as tape:
            block = tape.open_block_tape(inner)
            with use_tape(block):
                assert client.post(f"{server.url}/ask", json={"q": "late"}).json() == {"late": True}
            block.close()
        assert server.count == 2
    assert files(tmp_path) == [inner.name, outer.name]


def ask_after_a_block(test: Path, block: Path, mode: RecordMode, url: str) -> tuple[list[object], Tape]:
    """Ask in a thread that was started in a block, when the block is closed."""
    go, answers = threading.Event(), list[object]()

    def ask() -> None:
        wait(go)
        with httpx2.Client(trust_env=False) as client:
            try:
                answers.append(client.post(f"{url}/ask", json={"q": "after"}).json()["n"])
            except CassetteMiss as error:
                answers.append(error)

    with taped(test, mode) as tape:
        inner = tape.open_block_tape(block)
        with use_tape(inner):
            thread = threading.Thread(target=ask)
            thread.start()
        inner.close()
        go.set()
        thread.join()
    assert inner.report.misses == []
    return answers, tape


def test_a_question_after_the_end_of_a_block_is_the_test_s(tmp_path: Path) -> None:
    test, block = tmp_path / "test_a.json", tmp_path / "block.json"
    with StubServer() as server:
        answers, tape = ask_after_a_block(test, block, "none", server.url)
        assert isinstance(answers[0], CassetteMiss)
        assert str(tape.verdict()) == str(answers[0])
        assert server.count == 0
        assert ask_after_a_block(test, block, "new", server.url)[0] == [1]
        assert ask_after_a_block(test, block, "none", server.url)[0] == [1]
        assert server.count == 1
    assert questions(test) == ["after"]
    assert files(tmp_path) == [test.name]
