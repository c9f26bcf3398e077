"""What a judge was answered once in a run is not paid again, and never taken for another sample."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from support.server import Reply, StubServer, error_reply
from support.tapes import stored, taped

from pytest_llmops import recorder
from pytest_llmops._util.option_modes import RecordMode
from pytest_llmops._util.text_files import write_atomically
from pytest_llmops.cassettes import shared_answers
from pytest_llmops.cassettes.shared_answers import SharedAnswers, defer_sharing
from pytest_llmops.errors import CassetteError, CassetteMiss
from pytest_llmops.judges.evaluate import judge_answer, resolve_judge
from pytest_llmops.protocols import Verdict
from pytest_llmops.redaction.redactor import Redactor


def asked(
    server: StubServer,
    path: Path,
    shelf: SharedAnswers | None,
    *,
    mode: RecordMode = "new",
    purpose: str = "judge",
    trial: int = 0,
    times: int = 1,
    verdict: bool = True,
    owner: str = "",
    redactor: Redactor | None = None,
    broken: tuple[object, str, object] | None = None,
) -> list[str]:
    """The answers that one test got to the same question; its tape's counts are in `COUNTS`.

    What is broken fails while the answers are shared.
    """
    with (
        taped(
            path, mode, shared_answers=shelf, owner=owner or path.stem, redactor=redactor or Redactor()
        ) as tape,
        httpx2.Client() as client,
        recorder.set_purpose(purpose),
        recorder.run_as_trial(trial),
        defer_sharing() as share,
    ):
        texts = [client.post(f"{server.url}/v1/x", json={"q": 1}).text for _ in range(times)]
        with pytest.MonkeyPatch.context() as patched:
            if broken is not None:
                patched.setattr(*broken)
            if verdict:
                share()
        COUNTS[:] = [tape.report.counts.recorded, tape.report.counts.reused]
    return texts


COUNTS: list[int] = []


@pytest.fixture
def shelf(tmp_path: Path) -> SharedAnswers:
    folder = tmp_path / "run"
    folder.mkdir()
    return SharedAnswers(lambda: folder)


@pytest.mark.slow
def test_another_test_gets_the_same_answer_into_its_own_cassette(
    tmp_path: Path, shelf: SharedAnswers
) -> None:
    with StubServer() as server:
        first = asked(server, tmp_path / "a.json", shelf)
        assert COUNTS == [1, 0]
        second = asked(server, tmp_path / "b.json", shelf)
        assert COUNTS == [0, 1]
        assert server.count == 1
    assert first == second
    (asking,) = stored(tmp_path / "a.json")
    # The test that asked knows when it did, the other one made no call.
    assert asking["answers"]["0"][0].pop("started_s") == 0.0
    assert [asking] == stored(tmp_path / "b.json")
    # Each replays alone.
    assert asked(server, tmp_path / "b.json", None, mode="none") == second


@pytest.mark.slow
def test_trials_and_repetitions_are_samples_of_their_own(tmp_path: Path, shelf: SharedAnswers) -> None:
    with StubServer() as server:
        entry = asked(server, tmp_path / "a.json", shelf, times=3)
        two = asked(server, tmp_path / "b.json", shelf, trial=1)
        assert server.count == 4
        assert len({*entry, *two}) == 4
        assert asked(server, tmp_path / "c.json", shelf, times=4)[:3] == entry
        assert server.count == 5


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["live", "all"])
def test_in_every_mode_that_asks_but_verify(tmp_path: Path, shelf: SharedAnswers, mode: RecordMode) -> None:
    with StubServer() as server:
        asked(server, tmp_path / "a.json", shelf, mode=mode)
        asked(server, tmp_path / "b.json", shelf, mode=mode)
        assert server.count == 1
        asked(server, tmp_path / "a.json", shelf, mode="verify")
        asked(server, tmp_path / "a.json", shelf, mode="verify")
        assert server.count == 3
    assert (tmp_path / "a.json").exists() == (mode == "all")


@pytest.mark.slow
def test_the_application_is_asked_as_often_as_it_asks(tmp_path: Path, shelf: SharedAnswers) -> None:
    with StubServer() as server:
        asked(server, tmp_path / "a.json", shelf, purpose="app")
        asked(server, tmp_path / "b.json", shelf, purpose="app")
        assert server.count == 2


@pytest.mark.slow
def test_failures_and_answers_of_no_shelf_are_not_shared(tmp_path: Path, shelf: SharedAnswers) -> None:
    with StubServer() as server:
        server.queue += [error_reply(400), error_reply(429), error_reply(500)]
        for name in "abc":
            asked(server, tmp_path / f"{name}.json", shelf)
        asked(server, tmp_path / "d.json", shelf)
        assert server.count == 4
        asked(server, tmp_path / "e.json", None)
        assert server.count == 5


@pytest.mark.slow
def test_what_no_verdict_was_read_from_is_asked_again(tmp_path: Path, shelf: SharedAnswers) -> None:
    with StubServer() as server:
        asked(server, tmp_path / "a.json", shelf, verdict=False)
        asked(server, tmp_path / "b.json", shelf)
        asked(server, tmp_path / "c.json", shelf)
        assert server.count == 2


class Asking:
    """A judge that asks a server and reads a verdict only from what says one."""

    version = "1"

    def __init__(self, server: StubServer) -> None:
        self.server = server

    def judge(self, answer: str, *, question: str = "", reference: str = "") -> Verdict:
        text = httpx2.post(f"{self.server.url}/v1/x", json=[answer, question, reference]).text
        return Verdict(score=7) if "7" in text else Verdict(error="no verdict")


@pytest.mark.slow
def test_a_judge_that_said_no_verdict_is_asked_again_by_the_next_test(
    tmp_path: Path, shelf: SharedAnswers
) -> None:
    with StubServer() as server:
        server.queue += [Reply(b"I cannot"), Reply(b"7"), Reply(b"another")]
        scores = []
        for name in "abc":
            with taped(tmp_path / f"{name}.json", "new", shared_answers=shelf, owner=name):
                scores.append(judge_answer(resolve_judge(Asking(server), "test"), "x", "", "").score)
        assert scores == [None, 7, 7]
        assert server.count == 2


@pytest.mark.slow
def test_a_test_never_gets_its_own_answer_again_in_whatever_cassette(
    tmp_path: Path, shelf: SharedAnswers
) -> None:
    with StubServer() as server:
        result = {asked(server, tmp_path / f"{n}.json", shelf, owner="same test")[0] for n in range(3)}
        assert (server.count, len(result)) == (3, 3)


@pytest.mark.slow
def test_another_server_on_this_machine_is_another_judge(tmp_path: Path, shelf: SharedAnswers) -> None:
    with StubServer() as server, StubServer() as other:
        asked(server, tmp_path / "a.json", shelf)
        asked(other, tmp_path / "b.json", shelf)
        assert (server.count, other.count) == (1, 1)


@pytest.mark.slow
def test_the_redactors_of_the_test_that_takes_it_are_heard(tmp_path: Path, shelf: SharedAnswers) -> None:
    """The folder of the first test has no hook that masks the name, that of the second has."""
    with StubServer() as server:
        server.queue.append(Reply(b'{"said": "Blaufuchs"}'))
        asked(server, tmp_path / "a.json", shelf)
        masked = Redactor(extra=(lambda text: text.replace("Blaufuchs", "[name]"),))
        asked(server, tmp_path / "b.json", shelf, redactor=masked)
        assert server.count == 1
    assert "Blaufuchs" in (tmp_path / "a.json").read_text("utf-8")
    assert "Blaufuchs" not in (tmp_path / "b.json").read_text("utf-8")


def test_secrets_do_not_reach_the_shelf(
    tmp_path: Path, shelf: SharedAnswers, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "sk-shelf-0123456789abcdef0123"
    with (
        StubServer() as server,
        taped(tmp_path / "a.json", "new", shared_answers=shelf),
        recorder.set_purpose("judge"),
        defer_sharing() as share,
    ):
        server.queue.append(Reply(json.dumps({"said": key}).encode()))
        httpx2.post(f"{server.url}/v1/x", json={"q": 1}, headers={"authorization": f"Bearer {key}"})
        share()
    kept = list((tmp_path / "run").iterdir())
    assert len(kept) == 1
    assert key not in kept[0].read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    "damage",
    [b"", b"{}", b"{", b"[]", b'{"status": "200"}', b'{"status": 200, "body": 3}', b"\xff", b"[" * 100_000],
)
def test_a_damaged_answer_is_asked_for_again(tmp_path: Path, shelf: SharedAnswers, damage: bytes) -> None:
    with StubServer() as server:
        asked(server, tmp_path / "a.json", shelf)
        for file in (tmp_path / "run").iterdir():
            file.write_bytes(damage)
        assert asked(server, tmp_path / "b.json", shelf)
        assert server.count == 2


def test_without_a_place_everything_is_asked(tmp_path: Path) -> None:
    gone = SharedAnswers(lambda: tmp_path / "gone")
    with StubServer() as server:
        asked(server, tmp_path / "a.json", gone)
        asked(server, tmp_path / "b.json", gone)
        assert server.count == 2


def refuse(number: int) -> Callable[..., Any]:
    def call(*_: object, **__: object) -> Any:
        raise OSError(number, os.strerror(number))

    return call


@contextmanager
def fail_to_write(handle: int, *_: object) -> Iterator[Any]:
    os.close(handle)
    yield SimpleNamespace(writelines=refuse(errno.EFBIG))


@pytest.mark.slow
@pytest.mark.parametrize(
    "broken",
    [
        (shared_answers, "write_atomically", refuse(errno.EACCES)),
        (os, "fdopen", fail_to_write),
        (Path, "replace", refuse(errno.EIO)),
    ],
    ids=["not writable", "too large", "disk error"],
)
def test_an_answer_that_cannot_be_shared_is_paid_again(
    tmp_path: Path, shelf: SharedAnswers, broken: tuple[object, str, object]
) -> None:
    with StubServer() as server:
        first = asked(server, tmp_path / "a.json", shelf, times=2, broken=broken)
        assert COUNTS == [2, 0]
        assert not list((tmp_path / "run").glob("answer-*"))
        second = asked(server, tmp_path / "b.json", shelf, times=2)
        assert COUNTS == [2, 0]
        assert server.count == 4
        # What was asked again is shared from then on, and each test replays its own answers.
        assert asked(server, tmp_path / "c.json", shelf, times=2) == second
        assert COUNTS == [0, 2]
        for name, answers in (("a", first), ("b", second), ("c", second)):
            assert asked(server, tmp_path / f"{name}.json", None, mode="none", times=2) == answers
        assert server.count == 4


@pytest.mark.slow
def test_one_answer_that_cannot_be_shared_does_not_hold_back_the_next(
    tmp_path: Path, shelf: SharedAnswers
) -> None:
    real, refusals = write_atomically, [True]

    def refuse_once(path: Path, data: bytes) -> None:
        if refusals:
            refusals.pop()
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, data)

    with StubServer() as server:
        asked(
            server,
            tmp_path / "a.json",
            shelf,
            times=3,
            broken=(shared_answers, "write_atomically", refuse_once),
        )
        assert len(list((tmp_path / "run").iterdir())) == 2
        asked(server, tmp_path / "b.json", shelf, times=3)
        assert COUNTS == [1, 2]
        assert server.count == 4


def test_a_shared_answer_that_cannot_be_read_is_asked_for_again(
    tmp_path: Path, shelf: SharedAnswers, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.read_bytes

    def read(self: Path) -> bytes:
        if self.name.startswith("answer-"):
            raise OSError(errno.EIO, "Input/output error")
        return real(self)

    with StubServer() as server:
        asked(server, tmp_path / "a.json", shelf)
        monkeypatch.setattr(Path, "read_bytes", read)
        asked(server, tmp_path / "b.json", shelf)
        assert COUNTS == [1, 0]
        assert server.count == 2


def test_a_shared_answer_that_finds_no_room_in_the_cassette_is_a_miss(
    tmp_path: Path, shelf: SharedAnswers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test fails, nobody pays, and the answer is in the cassette as soon as there is room."""
    with StubServer() as server:
        first = asked(server, tmp_path / "a.json", shelf)
        real = os.write

        def write(fd: int, data: Any) -> int:
            if b'"answer"' in bytes(data):
                monkeypatch.setattr(os, "write", real)
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(fd, data)

        monkeypatch.setattr(os, "write", write)
        with pytest.raises(CassetteError) as caught:
            asked(server, tmp_path / "b.json", shelf)
        assert isinstance(caught.value.__context__, CassetteMiss)
        assert str(tmp_path / "b.json") in str(caught.value)
        assert server.count == 1
        assert asked(server, tmp_path / "b.json", None, mode="none") == first
        assert server.count == 1
