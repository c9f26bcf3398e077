from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.cassettes import answer, entry, files, journalled, merged, texts
from support.messages import check_message
from support.tapes import URL, ask, call, recorded, says, stored

from pytest_llmops._util.option_modes import RecordMode
from pytest_llmops.cassettes import active_tape, store
from pytest_llmops.cassettes.journal import Journal, find_abandoned_journals
from pytest_llmops.cassettes.recordings import RecordingIndex, Recordings
from pytest_llmops.cassettes.request_key import MatchRules, Question
from pytest_llmops.cassettes.tape import Tape
from pytest_llmops.cassettes.tape_config import TapeConfig
from pytest_llmops.errors import CassetteError, CassetteMiss
from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.settings import Settings


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cassettes" / "test_a.json"


def test_only_harmless_headers_are_kept(path: Path) -> None:
    tape = Tape(path, "new", TapeConfig(redactor=Redactor(known={"hunter2hunter2"})))
    headers = {
        "retry-after": "1",
        "location": "https://h/x?sig=abcdef&a=hunter2hunter2",
        "set-cookie": "session=1",
        "x-request-id": "req_1",
        "openai-organization": "org-1",
        "x-should-retry": "false",
    }
    tape.record(ask(tape, "a"), says("1", 200, **headers))
    tape.close()
    kept = stored(path)[0]["answers"]["0"][0]["headers"]
    assert kept == {
        "content-type": "text/plain",
        "retry-after": "1",
        "x-should-retry": "false",
        "location": "https://h/x?sig=[secret]&a=[secret]",
    }


def test_an_answer_with_a_secret_that_cannot_be_masked_is_not_in_the_journal_either(path: Path) -> None:
    tape = Tape(path, "new", TapeConfig(redactor=Redactor(known={"hunter2hunter2"})))
    tape.record(ask(tape, "a"), says("1"))
    with pytest.raises(CassetteError, match="a secret is still in it") as caught:
        tape.keep_answer(ask(tape, "b"), answer("hunter2hunter2"), "0", is_shared=False)
    check_message(caught.value)
    for journal in path.parent.rglob("?*.journal"):
        assert b"hunter2hunter2" not in journal.read_bytes()
    with pytest.raises(CassetteError, match="a secret is still in it"):
        tape.close()
    assert len(stored(path)) == 1  # the other answer is kept


def test_no_secret_reaches_the_disk(path: Path) -> None:
    tape = Tape(path, "new", TapeConfig(redactor=Redactor(known={"environment-secret"})))
    key = "credential-of-the-request"
    question = ask(tape, f"{key} environment-secret", authorization=f"Bearer {key}")
    tape.record(question, says(f"you said {key} and environment-secret"))
    journal = b"".join(file.read_bytes() for file in path.parent.rglob("*.journal") if file.is_file())
    assert b"you said [secret] and [secret]" in journal
    tape.close()
    for text in (journal, path.read_bytes()):
        assert key.encode() not in text
        assert b"environment-secret" not in text


def test_a_replay_learns_secrets_in_parts_that_matching_leaves_out(path: Path) -> None:
    modes: tuple[RecordMode, RecordMode] = ("new", "none")
    for mode, password in zip(modes, ("zebra4411plumbago", "tulip7305marzipan"), strict=True):
        tape = Tape(path, mode, TapeConfig(rules=MatchRules(("**.password",))))
        body = f'{{"a": 1, "password": "{password}"}}'.encode()
        question = tape.make_question("POST", URL, {"content-type": "application/json"}, body)
        if tape.claim(question) is None:
            tape.record(question, says("1"))
        tape.close()
        assert tape.config.redactor.clean_text(f"sent {password}") == "sent [secret]"
    assert tape.report.counts.replayed == 1


@pytest.mark.parametrize("known", [{"hunter2hunter2"}, set()])
def test_a_recorded_request_is_masked_by_what_is_known_now(path: Path, known: set[str]) -> None:
    """A request whose own key is recorded is not searched for secrets again, unless it holds one that is known."""
    body, headers = b'{"q": "hunter2hunter2"}', {"content-type": "application/json"}
    before = Tape(path, "new")
    before.record(before.make_question("POST", "http://localhost/x", headers, body), says("1"))
    before.close()
    tape = Tape(path, config=TapeConfig(redactor=Redactor(known=known)))
    question = tape.make_question("POST", "http://localhost/x", headers, body)
    assert (b"hunter2" in question.body) == (not known)
    user = Tape(
        path, config=TapeConfig(redactor=Redactor(extra=[lambda text: text.replace("hunter2hunter2", "me")]))
    )
    assert b"hunter2" not in user.make_question("POST", "http://localhost/x", headers, body).body


def test_a_damaged_file_is_told_at_the_start(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("{")
    for mode in ("none", "new", "all"):
        with pytest.raises(CassetteError, check=check_message):
            Tape(path, mode)


def test_an_answer_that_cannot_be_read_back_is_a_miss(path: Path) -> None:
    recorded(path, ("a", "1"))
    path.write_text(path.read_text().replace('"text": "1"', '"base64": "not base64!"'))
    tape = Tape(path)
    with pytest.raises(CassetteMiss, check=check_message):
        call(tape, "a", "-")
    assert tape.report.counts.missed == 1
    assert tape.report.counts.replayed == 0


def test_what_a_killed_run_left_answers_and_is_merged_by_the_next_recording(path: Path) -> None:
    tape = Tape(path, "new")
    call(tape, "a", "paid")
    tape.recorder.journal.close()  # as if the process had died here
    del tape
    assert call(Tape(path), "a", "-") == "paid"
    assert not path.exists()
    assert recorded(path, ("a", "-")).report.counts.replayed == 1
    assert list(texts(path).values()) == [{"0": ["paid"]}]
    assert files(path.parent) == [path.name]


def test_what_a_killed_run_recorded_again_replaces_the_old_answer(path: Path) -> None:
    recorded(path, ("a", "old"), ("b", "kept"))
    tape = Tape(path, "all")
    call(tape, "a", "new")
    tape.recorder.journal.close()  # as if the process had died here
    del tape
    replaying = Tape(path)
    assert [call(replaying, text, "-") for text in "ab"] == ["new", "kept"]
    recorded(path, ("c", "3"))
    assert sorted(text["0"][0] for text in texts(path).values()) == ["3", "kept", "new"]


def test_a_full_disk_fails_the_test_even_if_the_error_was_swallowed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tape = Tape(path, "new")
    call(tape, "a", "1")
    with monkeypatch.context() as patched:
        patched.setattr(Journal, "append", lambda *_: _raise(CassetteError("disk full")))
        with pytest.raises(CassetteError, match="disk full"):
            call(tape, "b", "2")
    with pytest.raises(CassetteError, match="disk full"):
        tape.close()
    assert list(texts(path).values()) == [{"0": ["1"]}]


def _raise(error: Exception) -> None:
    raise error


def test_an_answer_that_comes_after_the_end_is_found_next_time(path: Path) -> None:
    tape = Tape(path, "new")
    question = ask(tape, "late")
    assert tape.claim(question) is None
    tape.close()
    tape.record(question, says("1"))
    tape.recorder.journal.close()
    assert call(Tape(path), "late", "-") == "1"


def test_a_second_close_writes_nothing_twice(path: Path) -> None:
    tape = recorded(path, ("a", "1"))
    before = path.stat().st_mtime_ns
    tape.close()
    assert path.stat().st_mtime_ns == before


def test_two_tapes_of_one_file_keep_both_recordings(path: Path) -> None:
    first, second = Tape(path, "new"), Tape(path, "new")
    call(first, "a", "1")
    call(second, "a", "late")
    call(second, "b", "2")
    first.close()
    second.close()
    assert sorted(text["0"][0] for text in texts(path).values()) == ["1", "2"]


@pytest.mark.slow
def test_threads_get_each_answer_once(path: Path) -> None:
    recorded(path, *[("a", str(n)) for n in range(64)])
    tape = Tape(path)
    start = threading.Barrier(8)

    def work(_: int) -> list[str]:
        start.wait()
        return [call(tape, "a", "-") for _ in range(8)]

    with ThreadPoolExecutor(8) as pool:
        result = [text for texts_ in pool.map(work, range(8)) for text in texts_]
    assert sorted(result, key=int) == [str(n) for n in range(64)]


@pytest.mark.slow
def test_threads_record_each_answer_once(path: Path) -> None:
    tape = Tape(path, "new")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: call(tape, f"q{n % 4}", str(n)), range(32)))
    tape.close()
    kept = [text for takes in texts(path).values() for text in takes["0"]]
    assert len(kept) == tape.report.counts.recorded
    assert tape.report.counts.recorded + tape.report.counts.replayed == 32


def test_allowed_hosts_pass() -> None:
    tape = Tape(Path("x.json"), "live", TapeConfig(settings=Settings(allow_hosts=("api.example.com",))))
    assert tape.passes("API.Example.com")
    assert not tape.passes("example.com")
    tape.resolved.add("192.0.2.1")
    assert tape.passes("192.0.2.1")


@pytest.fixture
def no_tapes(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    lines: list[bool] = []

    def listen(*, used: bool) -> None:
        lines.append(used)

    monkeypatch.setattr(active_tape, "_test_tapes", [])
    monkeypatch.setattr(active_tape, "change_listeners", [listen])
    return lines


def test_tapes_nest_and_tell(no_tapes: list[bool]) -> None:
    first, second = Tape(Path("a.json"), "live"), Tape(Path("a.json"), "live")
    active_tape.remove_tape(first)
    assert active_tape.current_tape() is None
    active_tape.push_tape(first)
    active_tape.push_tape(second)
    assert active_tape.current_tape() is second
    active_tape.remove_tape(first)
    assert active_tape.current_tape() is second
    active_tape.remove_tape(second)
    active_tape.remove_tape(second)
    assert active_tape.current_tape() is None
    assert no_tapes == [True, False]


def test_blocks_tell_when_the_first_begins_and_the_last_ends(no_tapes: list[bool]) -> None:
    first, second = Tape(Path("a.json"), "live"), Tape(Path("b.json"), "live")
    with active_tape.use_tape(first):
        assert no_tapes == [True]
        with active_tape.use_tape(second):
            active_tape.push_tape(first)
            active_tape.remove_tape(first)
        assert no_tapes == [True]
    assert no_tapes == [True, False]


def test_neighbours_are_searched_where_nothing_is_recorded(path: Path) -> None:
    merged(path.parent / "test_b.json", entry(1))
    (path.parent / "test_c.json").write_text("damaged")
    tape = Tape(path)
    with pytest.raises(CassetteMiss, match="test_b"):
        tape.claim(
            tape.make_question(
                "POST", "http://loopback/ask", {"content-type": "application/json"}, b'{"n": 2}'
            )
        )


def test_a_journal_of_another_run_may_be_merged_while_this_one_reads(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = journalled(path, entry(1))
    real = find_abandoned_journals
    merges = [lambda: store.merge_journals(path, [waiting], Redactor(), replace=False)]

    def raced(cassette: Path) -> list[Path]:
        result = real(cassette)
        if result and merges:
            monkeypatch.setattr(store, "find_abandoned_journals", real)
            merges.pop()()
        return result

    monkeypatch.setattr(store, "find_abandoned_journals", raced)
    assert set(store.load_with_journals(path)) == {"key-1"}
    assert not waiting.exists()
    assert answer("answer 1").items() <= store.load_cassette(path)["key-1"].answers["0"][0].items()


def test_recordings_of_another_server_are_found_under_the_rules_of_each_test(tmp_path: Path) -> None:
    """Tests of different folders have different normalizers, and share what is known of the run's recordings."""
    rules = {"as is": MatchRules(), "numbered": MatchRules((), (lambda text: text.replace("7", "N"),))}
    gone = tmp_path / "cassettes" / "test_gone" / "test_x.json"

    def chat(one: Tape, server: str, text: str) -> Question:
        body = f'{{"model": "m", "input": "{text}"}}'.encode()
        return one.make_question("POST", f"{server}/chat", {"content-type": "application/json"}, body)

    old = Tape(gone, "new")
    old.record(chat(old, "https://api.openai.com/v1", "order 7"), says("1"))
    old.close()
    for order in (("numbered", "as is"), ("as is", "numbered")):
        index = RecordingIndex(tmp_path, lambda _: True)
        result = {
            (name, text): bool(recordings.find_other_server(chat(tape, "http://localhost:1", text), set()))
            for name in order
            for tape in [Tape(tmp_path / f"{name}.json", config=TapeConfig(rules=rules[name]))]
            for recordings in [Recordings(tape.path, rules[name], index)]
            for text in ("order N", "order 7")
        }
        assert result == {
            ("as is", "order 7"): True,
            ("as is", "order N"): False,
            ("numbered", "order 7"): True,
            ("numbered", "order N"): True,
        }
