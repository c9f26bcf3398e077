from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.cassettes import files, texts
from support.messages import check_message
from support.tapes import URL, ask, call, make_tape, recorded, says, stored

from pytest_llmops import recorder
from pytest_llmops.cassettes import judge_calls
from pytest_llmops.cassettes.request_key import Answer, MatchRules, Question
from pytest_llmops.cassettes.tape import Tape
from pytest_llmops.cassettes.tape_config import TapeConfig
from pytest_llmops.errors import CassetteMiss
from pytest_llmops.settings import Settings


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cassettes" / "test_a.json"


def test_new_records_and_none_replays(path: Path) -> None:
    assert recorded(path, ("a", "1"), ("b", "2")).report.counts.recorded == 2
    tape = Tape(path)
    assert [call(tape, "b", "-"), call(tape, "a", "-")] == ["2", "1"]
    counts = tape.close()
    assert (counts.replayed, counts.recorded, counts.missed, counts.stale) == (2, 0, 0, 0)


def test_the_measured_time_is_replayed(path: Path) -> None:
    recorded(path, ("a", "1"))
    tape = Tape(path)
    result = tape.claim(ask(tape, "a"))
    assert result == Answer(200, {"content-type": "text/plain"}, b"1", 0.1235, 0.05)


def test_none_writes_nothing(path: Path) -> None:
    recorded(path, ("a", "1"))
    before = path.read_bytes(), path.stat().st_mtime_ns
    tape = Tape(path)
    call(tape, "a", "-")
    with pytest.raises(CassetteMiss):
        call(tape, "other", "-")
    tape.record(ask(tape, "x"), says("2"))
    tape.close()
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert files(path.parent) == [path.name]


def test_new_asks_only_for_what_is_missing(path: Path) -> None:
    recorded(path, ("a", "1"))
    entry = recorded(path, ("a", "live"), ("b", "2"))
    assert (entry.report.counts.replayed, entry.report.counts.recorded) == (1, 1)
    assert [each["body"]["text"] for each in (x["request"] for x in stored(path))] == ["a", "b"]
    assert sorted(text["0"][0] for text in texts(path).values()) == ["1", "2"]


def test_new_gives_back_what_it_has_just_recorded_only_as_the_next_answer(path: Path) -> None:
    tape = Tape(path, "new")
    assert [call(tape, "a", "1"), call(tape, "a", "2")] == ["1", "2"]
    tape.close()
    again = Tape(path)
    assert [call(again, "a", "-"), call(again, "a", "-")] == ["1", "2"]


def test_live_neither_reads_nor_writes(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("damaged")
    tape = Tape(path, "live")
    assert call(tape, "a", "live") == "live"
    counts = tape.close()
    assert (counts.replayed, counts.recorded) == (0, 0)
    assert path.read_text() == "damaged"


def test_all_records_again(path: Path) -> None:
    recorded(path, ("a", "old"), ("b", "kept?"))
    entry = recorded(path, ("a", "new"), mode="all")
    assert (entry.report.counts.replayed, entry.report.counts.recorded) == (0, 1)
    assert list(texts(path).values()) == [{"0": ["new"]}]


def test_all_of_a_failed_test_drops_nothing(path: Path) -> None:
    recorded(path, ("a", "old"), ("b", "kept"))
    tape = Tape(path, "all")
    call(tape, "a", "new")
    tape.close(passed=False)
    assert sorted(text["0"][0] for text in texts(path).values()) == ["kept", "new"]


def test_all_of_a_shared_cassette_drops_nothing(path: Path) -> None:
    recorded(path, ("a", "old"), ("b", "kept"), shared=True, owner="test_1")
    recorded(path, ("a", "new"), mode="all", shared=True, owner="test_2")
    assert sorted(text["0"][0] for text in texts(path).values()) == ["kept", "new"]


def test_all_drops_answers_that_were_not_asked_again(path: Path) -> None:
    recorded(path, ("a", "1"), ("a", "2"), ("a", "3"))
    recorded(path, ("a", "new"), mode="all")
    assert list(texts(path).values()) == [{"0": ["new"]}]


@pytest.mark.slow
@pytest.mark.parametrize("status", [429, 500, 401])
def test_all_keeps_the_old_answer_where_the_new_one_was_no_answer(path: Path, status: int) -> None:
    recorded(path, ("a", "old"), ("b", "gone"))
    tape = Tape(path, "all")
    assert tape.claim(ask(tape, "a")) is None
    tape.record(ask(tape, "a"), says("limited", status))
    call(tape, "c", "new")
    tape.close()
    assert sorted(text["0"][0] for text in texts(path).values()) == ["new", "old"]


@pytest.mark.slow
@pytest.mark.parametrize("status", [429, 500, None])
def test_all_keeps_the_old_answers_behind_one_that_failed(path: Path, status: int | None) -> None:
    """The same question several times: the first is answered anew, the next fails; None: no answer comes at all."""
    recorded(path, ("a", "1"), ("a", "2"), ("a", "3"), ("b", "gone"))
    tape = Tape(path, "all")
    call(tape, "a", "new")
    assert tape.claim(ask(tape, "a")) is None
    if status is not None:
        tape.record(ask(tape, "a"), says("limited", status))
    tape.close()
    assert (tape.report.counts.recorded, tape.report.counts.replayed) == (1, 0)
    assert list(texts(path).values()) == [{"0": ["new", "2", "3"]}]


def test_all_keeps_what_a_repeated_call_brought(path: Path) -> None:
    recorded(path, ("a", "1"), ("a", "2"))
    tape = Tape(path, "all")
    assert tape.claim(ask(tape, "a")) is None
    tape.record(ask(tape, "a"), says("limited", 429))
    call(tape, "a", "new")
    tape.close()
    assert list(texts(path).values()) == [{"0": ["new"]}]


def test_all_keeps_a_recording_whose_call_got_no_answer(path: Path) -> None:
    recorded(path, ("a", "old"), ("b", "old b"))
    before = path.read_bytes()
    tape = Tape(path, "all")
    assert tape.claim(ask(tape, "a")) is None  # and the connection breaks
    tape.close()
    assert path.read_bytes() == before
    assert files(path.parent) == [path.name]
    tape = Tape(path, "all")
    assert tape.claim(ask(tape, "a")) is None
    call(tape, "b", "new b")
    tape.close()
    assert sorted(text["0"][0] for text in texts(path).values()) == ["new b", "old"]


def test_all_keeps_the_take_of_a_trial_that_failed(path: Path) -> None:
    tape = Tape(path, "new")
    for index in range(2):
        with recorder.run_as_trial(index):
            call(tape, "a", f"old {index}")
    tape.close()
    again = Tape(path, "all")
    call(again, "a", "new 0")
    with recorder.run_as_trial(1):
        assert again.claim(ask(again, "a")) is None
    again.close()
    assert list(texts(path).values()) == [{"0": ["new 0"], "1": ["old 1"]}]


@pytest.mark.parametrize("status", [401, 403, 407, 408, 409, 425, 429, 500, 502, 503, 529, 599])
def test_answers_about_the_moment_are_not_recorded(path: Path, status: int) -> None:
    tape = Tape(path, "new")
    tape.record(ask(tape, "a"), says("no", status))
    assert tape.close().recorded == 0
    check_message(tape.report.notes)
    assert not path.exists()


def test_a_retry_is_the_same_question(path: Path) -> None:
    tape = Tape(path, "new")
    for status in (429, 503, 200):
        question = ask(tape, "a")
        assert tape.claim(question) is None
        tape.record(question, says(str(status), status))
    tape.close()
    assert call(Tape(path), "a", "-") == "200"


@pytest.mark.slow
@pytest.mark.parametrize("status", [200, 201, 204, 301, 400, 404, 422])
def test_answers_about_the_question_are_recorded(path: Path, status: int) -> None:
    tape = Tape(path, "new")
    tape.record(ask(tape, "a"), says("x", status))
    tape.close()
    again = Tape(path)
    result = again.claim(ask(again, "a"))
    assert result is not None
    assert result.status == status


MODEL_CALL = b'{"model": "o1", "messages": []}'
WRONG_ADDRESS = {
    "OpenAI": b'{"error": {"message": "Invalid URL (POST /models/chat)", "type": "invalid_request_error", "code": null}}',
    "Anthropic": b'{"type": "error", "error": {"type": "not_found_error", "message": "Not Found"}}',
    "Azure": b'{"error": {"code": "404", "message": "Resource not found"}}',
    "Groq": b'{"error": {"message": "Unknown request URL: POST /x. Please check the URL.", "code": "unknown_url"}}',
    "FastAPI": b'{"detail":"Not Found"}',
    "Django": b'{"detail": "Not found."}',
    "Spring": b'{"timestamp": "now", "status": 404, "error": "Not Found", "path": "/models/chat"}',
    "Fastify": b'{"message": "Route POST:/models/chat not found", "error": "Not Found", "statusCode": 404}',
    "Kong": b'{"message":"no Route matched with those values"}',
    "Cloudflare": b'{"success": false, "errors": [{"code": 7000, "message": "No route for that URI"}]}',
    "Express": b"<pre>Cannot POST /models/chat/completions</pre>",
    "nginx": b'<html><h1>404 Not Found</h1><script src="/a-foo1.js"></script></html>',
    "Ollama": b"404 page not found",
    "an object without an error": b"{}",
    "a text": b'"no such model"',
    "nothing": b"",
}
ANSWERS = {
    "OpenAI": b'{"error": {"message": "The model `o1` does not exist", "code": "model_not_found"}}',
    "OpenAI's file": b'{"error": {"message": "No such File object: file-abc", "type": "x", "param": "id", "code": null}}',
    "OpenRouter": b'{"error": {"message": "No endpoints found that support tool use.", "code": 404}}',
    "Anthropic": b'{"type": "error", "error": {"type": "not_found_error", "message": "model: o1"}}',
    "Ollama": b'{"error":"model \\"o1\\" not found, try pulling it first"}',
    "Azure": b'{"error": {"code": "DeploymentNotFound", "message": "Not found"}}',
    "Gemini": b'[{"error": {"code": 404, "message": "models/o1 is not found for API version v1beta", "status": "NOT_FOUND"}}]',
    "vLLM": b'{"object": "error", "message": "No endpoint", "type": "NotFoundError", "code": 404}',
    "Cloudflare": b'{"success": false, "errors": [{"code": 5007, "message": "No such model"}]}',
}


def record_not_found(
    path: Path, body: bytes, content: bytes = MODEL_CALL, route: str = "/chat/completions", **config: Any
) -> Tape:
    tape = make_tape(path, "new", **config)
    question = tape.make_question("POST", f"https://api.openai.com{route}", {}, content)
    assert tape.claim(question) is None
    tape.record(question, Answer(404, {}, body))
    tape.close()
    return tape


@pytest.mark.slow
@pytest.mark.parametrize("server", WRONG_ADDRESS)
def test_a_404_of_a_wrong_address_is_not_recorded(path: Path, server: str) -> None:
    tape = record_not_found(path, WRONG_ADDRESS[server])
    assert not path.exists()
    [note] = tape.report.notes
    check_message(note)


@pytest.mark.slow
@pytest.mark.parametrize("server", ANSWERS)
def test_a_404_with_an_error_of_its_own_is_recorded(path: Path, server: str) -> None:
    tape = record_not_found(path, ANSWERS[server])
    assert tape.report.counts.recorded == 1


@pytest.mark.parametrize(
    "route", ["/models/gemini:generateContent", "/model/m/converse", "/deployments/d/chat"]
)
def test_a_model_may_be_in_the_address(path: Path, route: str) -> None:
    tape = record_not_found(path, b"Not Found", b'{"contents": []}', route)
    assert not path.exists()
    assert len(tape.report.notes) == 1


def test_a_404_is_recorded_if_it_is_wanted_or_not_of_a_model(path: Path) -> None:
    wanted = record_not_found(path, WRONG_ADDRESS["nginx"], settings=Settings(record_errors=True))
    assert wanted.report.counts.recorded == 1
    other = record_not_found(path.with_name("other.json"), WRONG_ADDRESS["nginx"], b'{"id": 5}')
    assert other.report.counts.recorded == 1


@pytest.mark.parametrize(("status", "kept"), [(400, "no verdict"), (200, "new")])
def test_an_error_does_not_replace_the_recorded_reply_of_a_judge(path: Path, status: int, kept: str) -> None:
    recorded(path, ("a", "no verdict"))
    tape = Tape(path, "new")
    with judge_calls.note_calls() as calls:
        assert tape.claim(ask(tape, "a")) is not None
    with calls.repeat():
        question = ask(tape, "a")
        assert tape.claim(question) is None
        tape.record(question, says("new", status))
    tape.close()
    assert call(Tape(path), "a", "-") == kept


def test_the_nth_identical_request_gets_the_nth_answer(path: Path) -> None:
    recorded(path, *[("a", str(n)) for n in range(5)], ("b", "x"))
    tape = Tape(path)
    assert [call(tape, text, "-") for text in "ababaa" if text == "a"] == ["0", "1", "2", "3"]


def test_exhausted_says_how_often(path: Path) -> None:
    recorded(path, ("a", "1"), ("a", "2"))
    tape = Tape(path, config=TapeConfig(command="pytest x.py --llm-record=new"))
    call(tape, "a", "-")
    call(tape, "a", "-")
    with pytest.raises(CassetteMiss) as caught:
        call(tape, "a", "-")
    check_message(caught.value)
    assert "record    pytest x.py --llm-record=new" in str(caught.value)
    assert (tape.report.counts.missed, list(map(str, tape.report.misses))) == (1, [str(caught.value)])


def test_trials_have_takes_of_their_own(path: Path) -> None:
    tape = Tape(path, "new")
    for index in range(3):
        with recorder.run_as_trial(index):
            call(tape, "a", f"take {index}")
            call(tape, "a", f"take {index} again")
    tape.close()
    again = Tape(path)
    for index in (2, 0, 1):
        with recorder.run_as_trial(index):
            assert call(again, "a", "-") == f"take {index}"
    with recorder.run_as_trial(0):
        assert call(again, "a", "-") == "take 0 again"


def test_a_trial_without_a_take_is_a_miss_that_says_so(path: Path) -> None:
    recorded(path, ("a", "1"))
    tape = Tape(path)
    with recorder.run_as_trial(3), pytest.raises(CassetteMiss) as caught:
        call(tape, "a", "-")
    check_message(caught.value)


def test_all_of_one_trial_leaves_the_takes_of_the_others(path: Path) -> None:
    tape = Tape(path, "new")
    for index in range(2):
        with recorder.run_as_trial(index):
            call(tape, "a", f"old {index}")
    tape.close()
    with recorder.run_as_trial(1):
        recorded(path, ("a", "new 1"), mode="all")
    assert list(texts(path).values()) == [{"0": ["old 0"], "1": ["new 1"]}]


def test_stale_is_what_a_passed_test_did_not_ask(path: Path) -> None:
    recorded(path, ("a", "1"), ("b", "2"), ("c", "3"))
    tape = Tape(path)
    call(tape, "a", "-")
    assert tape.close(passed=True).stale == 2
    assert Tape(path).close(passed=False).stale == 0
    assert Tape(path, shared=True).close(passed=True).stale == 0
    fresh = Tape(path, "new")
    call(fresh, "d", "4")
    assert fresh.close().stale == 3


def test_a_question_that_was_asked_in_vain_is_not_stale(path: Path) -> None:
    recorded(path, ("a", "1"))
    tape = Tape(path)
    with recorder.run_as_trial(5), pytest.raises(CassetteMiss):
        call(tape, "a", "-")
    assert tape.close().stale == 0


def test_the_place_of_a_question_is_kept(path: Path) -> None:
    recorded(path, ("a", "1"), ("b", "2"), ("c", "3"))
    recorded(path, ("a", "-"), ("b changed", "2"), ("c", "-"))
    rows = [(row["by"], row["request"]["body"]["text"]) for row in stored(path)]
    assert [by for by, _ in rows] == ["#001", "#002", "#002", "#003"]
    assert {text for _, text in rows[1:3]} == {"b", "b changed"}


def test_a_shared_cassette_names_its_tests(path: Path) -> None:
    recorded(path, ("a", "1"), shared=True, owner="test_x.py::test_a")
    assert stored(path)[0]["by"] == "test_x.py::test_a#001"


def test_further_headers_are_recorded_by_name_and_credentials_never(tmp_path: Path) -> None:
    headers: dict[str, Any] = {
        "x-request-id": "req_1",
        "x-ratelimit-limit-requests": "60",
        "x-other": "1",
        "set-cookie": "a=b",
        "openai-organization": "org-1234567890",
    }
    names = ("x-request-id", "x-ratelimit-*", "*")
    for wanted, kept in (((), []), (names[:2], ["x-ratelimit-limit-requests", "x-request-id"])):
        path = tmp_path / f"{len(wanted)}.json"
        tape = Tape(path, "new", TapeConfig(settings=Settings(record_headers=wanted)))
        question = ask(tape, "q")
        assert tape.claim(question) is None
        tape.record(question, says("a", **headers))
        tape.close()
        stored_headers = stored(path)[0]["answers"]["0"][0]["headers"]
        assert list(stored_headers) == ["content-type", *kept]
        replay = Tape(path)
        answer = replay.claim(ask(replay, "q"))
        assert answer is not None
        assert dict(answer.headers) == stored_headers
    everything = Tape(tmp_path / "all.json", "new", TapeConfig(settings=Settings(record_headers=names)))
    question = ask(everything, "q")
    everything.claim(question)
    everything.record(question, says("a", **headers))
    everything.close()
    text = (tmp_path / "all.json").read_text()
    assert "x-other" in text
    assert "cookie" not in text
    assert "org-1234567890" not in text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("body", {"text": "edited"}),
        ("url", "http://loopback/v1/other"),
        ("method", "GET"),
        ("body", {"base64": "?"}),
    ],
)
def test_a_request_that_is_not_the_one_of_its_key_is_an_error(
    tmp_path: Path, member: str, value: object
) -> None:
    path = tmp_path / "a.json"
    recorded(path, ("a", "one"), ("b", "two"))
    document = json.loads(path.read_bytes())
    document["interactions"][0]["request"][member] = value
    path.write_text(json.dumps(document))
    tape = Tape(path)
    with pytest.raises(CassetteMiss, check=check_message) as caught:
        tape.claim(ask(tape, "a"))
    assert "#001" in str(caught.value)
    with pytest.raises(CassetteMiss, match="is damaged"):  # a client tries again
        tape.claim(ask(tape, "a"))
    assert tape.claim(ask(tape, "b")) is not None


def test_an_edited_request_is_found_out_after_a_miss_too(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    recorded(path, ("a", "one"), ("b", "two"))
    document = json.loads(path.read_bytes())
    document["interactions"][0]["request"]["body"] = {"text": "edited"}
    path.write_text(json.dumps(document))
    tape = Tape(path, config=TapeConfig(rules=MatchRules(("id",))))
    with pytest.raises(CassetteMiss):
        tape.claim(ask(tape, "c"))
    with pytest.raises(CassetteMiss, match="is damaged"):
        tape.claim(ask(tape, "a"))


def test_a_request_recorded_under_other_rules_is_not_taken_for_an_edited_one(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    body = {"content-type": "application/json"}

    def question(tape: Tape, number: int) -> Question:
        return tape.make_question("POST", URL, body, json.dumps({"id": number, "lines": "a\nb\n"}).encode())

    tape = Tape(path, "new")
    tape.claim(question(tape, 1))
    tape.record(question(tape, 1), says("a"))
    tape.close()
    for rules, number in ((MatchRules(), 1), (MatchRules(("id",)), 2)):
        tape = Tape(path, config=TapeConfig(rules=rules))
        assert tape.claim(question(tape, number)) is not None
