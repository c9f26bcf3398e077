"""Batches over several runs of the same command: what is submitted, waited for, collected, submitted again, and asked live."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.batch_runs import (
    KEY,
    MESSAGES,
    Run,
    answer_directly,
    count_calls,
    list_states,
    make_old,
    sizes,
)
from support.batch_servers import AnthropicBatchServer, BatchServer, OpenAIBatchServer
from support.messages import check_message

from pytest_llmops.cassettes.request_key import build_question
from pytest_llmops.errors import BudgetReached, CassetteError
from pytest_llmops.harness.ahead import batch_groups, batches
from pytest_llmops.harness.ahead.batch_apis import LIMITS
from pytest_llmops.harness.ahead.batch_groups import is_batchable
from pytest_llmops.harness.ahead.batches import OpenBatch, Postponed
from pytest_llmops.redaction.redactor import Redactor

FOUR = ("question 0", "question 1", "question 2", "question 3")
NewRun = Callable[..., Run]


@pytest.fixture(autouse=True)
def _direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches are small, no try waits, and the vendor is called without a network."""
    monkeypatch.setattr(batches, "MIN_REQUESTS", 2)
    monkeypatch.setattr(batch_groups, "PAUSES_S", (0.0, 0.0, 0.0))
    for module in ("batch_groups", "sender"):
        monkeypatch.setattr(f"pytest_llmops.harness.ahead.{module}.send_request", answer_directly)


def serve(server: BatchServer) -> Iterator[BatchServer]:
    yield server
    server._server.server_close()


@pytest.fixture
def server() -> Iterator[BatchServer]:
    yield from serve(OpenAIBatchServer(polls=0))


@pytest.fixture
def claude() -> Iterator[BatchServer]:
    yield from serve(AnthropicBatchServer(polls=0))


@pytest.fixture
def new_run(tmp_path: Path, server: BatchServer) -> Iterator[NewRun]:
    """Begins another run; the one before has ended."""
    runs: list[Run] = []

    def begin(server: BatchServer = server, **settings: Any) -> Run:
        for run in runs:
            run.close()
        runs.append(Run(tmp_path, server, **settings))
        return runs[-1]

    yield begin
    for run in runs:
        run.close()


def check_that_all_wait(ends: dict[str, str]) -> None:
    assert ends.keys() == set(FOUR)
    assert {type(why) for why in ends.values()} == {OpenBatch}


def test_a_run_submits_a_batch_and_the_next_one_collects_it(
    tmp_path: Path, server: BatchServer, new_run: NewRun
) -> None:
    run = new_run()
    check_that_all_wait(run.ask(*FOUR))
    (line,) = run.finish(is_over=False)
    assert "batch_1 (model m, expires " in line
    assert sizes(server) == [4]
    (state,) = list_states(tmp_path)
    wire = json.loads(state.read_bytes())
    assert (wire["status"], wire["id"], wire["endpoint"], wire["depth"]) == (
        "submitted",
        "batch_1",
        "/chat/completions",
        1,
    )
    assert {request[0] for request in wire["requests"].values()} == {"cassettes/a.json"}
    assert KEY not in state.read_text("utf-8")
    again = new_run()
    assert again.ask(*FOUR) == dict.fromkeys(FOUR, "")
    assert again.finish() == ["collected batch_1: 4 results of 4 requests"]
    assert [f"echo of {text}" in kept for text, kept in zip(FOUR, again.kept(), strict=True)] == [True] * 4
    assert list_states(tmp_path) == []
    assert server.live == []
    assert {seen.headers["authorization"] for seen in server.seen} == {f"Bearer {KEY}"}
    assert all(answer.is_batched for answer in again.tapes["a.json"].kept)


def test_nothing_to_ask_is_no_batch(server: BatchServer, new_run: NewRun) -> None:
    run = new_run()
    assert run.sender.flush() is False
    run.ask(*FOUR)
    assert run.sender.flush() is False
    assert sizes(server) == [4]


def test_a_later_request_of_a_test_is_another_batch_in_a_row(
    tmp_path: Path, server: BatchServer, new_run: NewRun
) -> None:
    new_run().ask(*FOUR)
    run = new_run()
    run.ask(*FOUR)
    run.ask("second 0", "second 1")
    lines = run.finish(is_over=False)
    assert "call 2 in a row" in lines[-1]
    assert [json.loads(state.read_bytes())["depth"] for state in list_states(tmp_path)].count(2) == 1
    last = new_run()
    last.ask(*FOUR)
    assert last.ask("second 0", "second 1") == {"second 0": "", "second 1": ""}
    last.finish()
    assert (sizes(server), list_states(tmp_path)) == ([4, 2], [])


def test_the_depth_is_that_of_the_own_cassette(tmp_path: Path, server: BatchServer, new_run: NewRun) -> None:
    new_run().ask(*FOUR)
    run = new_run()
    run.ask(*FOUR)
    run.ask("other 0", "other 1", cassette="b.json")
    assert "in a row" not in run.finish(is_over=False)[-1]


def test_an_open_batch_is_waited_for(server: BatchServer, new_run: NewRun) -> None:
    server.polls = 1
    new_run().ask(*FOUR)
    run = new_run()
    check_that_all_wait(run.ask(*FOUR))
    (line,) = run.finish(is_over=False)
    assert "4 requests" in line
    assert "batch_1" in line
    assert new_run().ask(*FOUR) == dict.fromkeys(FOUR, "")
    assert sizes(server) == [4]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "count"), [("no file id", 0), ("gone files", 0), ("cut", 3), ("missing", 3)]
)
def test_results_that_are_not_there_yet_are_waited_for(
    tmp_path: Path, server: BatchServer, new_run: NewRun, fault: str, count: int
) -> None:
    new_run().ask(*FOUR)
    server.faults = {fault}
    run = new_run()
    check_that_all_wait(run.ask(*FOUR))
    assert f" {count} of 4 " in run.finish(is_over=False)[0]
    server.faults = set()
    last = new_run()
    assert last.ask(*FOUR) == dict.fromkeys(FOUR, "")
    last.finish()
    assert (sizes(server), server.live, list_states(tmp_path)) == ([4], [], [])


@pytest.mark.parametrize(("fault", "count"), [("gone files", 0), ("cut", 3)])
def test_results_of_claude_that_are_not_there_yet_are_waited_for(
    claude: BatchServer, new_run: NewRun, fault: str, count: int
) -> None:
    new_run(claude).ask(*FOUR, url=MESSAGES)
    claude.faults = {fault}
    run = new_run(claude)
    check_that_all_wait(run.ask(*FOUR, url=MESSAGES))
    assert f" {count} of 4 " in run.finish(is_over=False)[0]
    claude.faults = set()
    assert new_run(claude).ask(*FOUR, url=MESSAGES) == dict.fromkeys(FOUR, "")


def test_a_page_in_place_of_a_batch_is_no_answer(
    tmp_path: Path, server: BatchServer, new_run: NewRun
) -> None:
    new_run().ask(*FOUR)
    make_old(tmp_path)
    server.faults = {"page"}
    run = new_run()
    check_that_all_wait(run.ask(*FOUR))
    assert "/batches/batch_1" in run.finish(is_over=False)[0]
    assert len(list_states(tmp_path)) == 1


def test_odd_results_are_named_and_the_first_of_two_counts(
    tmp_path: Path, server: BatchServer, new_run: NewRun
) -> None:
    server.faults = {"shuffled", "unknown", "repeated", "201"}
    new_run().ask(*FOUR)
    run = new_run()
    assert run.ask(*FOUR) == dict.fromkeys(FOUR, "")
    lines = run.finish()
    check_message(lines)
    assert "cassettes/a.json" in lines[1]
    assert "nobody-asked" in lines[2]
    assert list_states(tmp_path) == []


def test_results_that_are_missing_for_good_are_asked_again(
    tmp_path: Path, server: BatchServer, new_run: NewRun
) -> None:
    new_run().ask(*FOUR)
    make_old(tmp_path)
    server.faults = {"missing"}
    run = new_run()
    run.ask(*FOUR)
    lines = run.finish()
    assert run.ends == dict.fromkeys(FOUR, "")  # one is too few for another batch, and is asked live
    check_message(lines)
    assert [body["messages"][0]["content"] for body in server.live] == ["question 0"]


@pytest.mark.slow
@pytest.mark.parametrize(("count", "more"), [(3, ""), (5, ", ...")])
def test_the_cassettes_of_three_problems_are_named(
    tmp_path: Path, server: BatchServer, new_run: NewRun, count: int, more: str
) -> None:
    run = new_run()
    run.submit([run.make_request(f"question {n}", cassette=f"{n}.json") for n in range(count)])
    make_old(tmp_path)
    server.faults = {"gone"}
    again = new_run()
    again.submit([again.make_request(f"question {n}", cassette=f"{n}.json") for n in range(count)])
    _, line, *_ = again.finish(is_over=False)
    assert line.startswith(f"batch_1: {count} ")
    assert line.endswith(f": cassettes/0.json, cassettes/1.json, cassettes/2.json{more}")


def test_what_expired_is_submitted_once_more_and_then_asked_live(
    tmp_path: Path, server: BatchServer, new_run: NewRun
) -> None:
    server.faults = {"half-expired"}
    new_run().ask(*FOUR)
    run = new_run()
    ends = run.ask(*FOUR)
    assert [type(ends[text]) for text in FOUR] == [str, OpenBatch, str, OpenBatch]
    lines = run.finish(is_over=False)
    assert any(line.startswith("batch_1: 2 ") for line in lines)
    last = new_run()
    last.ask(*FOUR)
    lines = last.finish()
    assert last.ends == dict.fromkeys(FOUR, "")
    assert any(line.startswith("1 request ") and "live" in line for line in lines)
    assert (sizes(server), len(server.live), list_states(tmp_path)) == ([4, 2], 1, [])


@pytest.mark.parametrize(
    ("fault", "status_of", "live", "batch_sizes"),
    [("half-expired", {}, [], [4, 2]), ("shuffled", {"question 3": 529}, ["question 3"], [4])],
)
def test_faults_of_claude(
    claude: BatchServer,
    new_run: NewRun,
    *,
    fault: str,
    status_of: dict[str, int],
    live: list[str],
    batch_sizes: list[int],
) -> None:
    claude.faults = {fault}
    claude.status_of = status_of
    new_run(claude).ask(*FOUR, url=MESSAGES)
    new_run(claude).ask(*FOUR, url=MESSAGES)
    claude.faults = set()
    claude.status_of = {}
    run = new_run(claude)
    run.ask(*FOUR, url=MESSAGES)
    run.finish()
    assert run.ends == dict.fromkeys(FOUR, "")
    assert sizes(claude) == batch_sizes
    assert [body["messages"][0]["content"] for body in claude.live] == live


def test_the_batch_of_another_account_is_not_submitted_again(
    tmp_path: Path, server: BatchServer, new_run: NewRun
) -> None:
    new_run().ask(*FOUR)
    server.faults = {"gone"}
    run = new_run()
    check_that_all_wait(run.ask(*FOUR))
    assert "key of the account" in run.finish(is_over=False)[0]
    assert len(list_states(tmp_path)) == 1


@pytest.mark.parametrize("fault", ["gone", "gone files"])
def test_what_its_vendor_has_forgotten_is_submitted_once_more(
    tmp_path: Path, server: BatchServer, new_run: NewRun, fault: str
) -> None:
    new_run().ask(*FOUR)
    make_old(tmp_path)
    server.faults = {fault}
    run = new_run()
    check_that_all_wait(run.ask(*FOUR))
    assert run.finish(is_over=False)[1].startswith("batch_1: 4 missing")
    server.faults = set()
    last = new_run()
    assert last.ask(*FOUR) == dict.fromkeys(FOUR, "")
    last.finish()
    assert (sizes(server), server.live, list_states(tmp_path)) == ([4, 4], [], [])


def test_a_rejected_batch_is_not_asked_live_without_leave(
    tmp_path: Path, server: BatchServer, new_run: NewRun
) -> None:
    server.faults = {"rejected"}
    server.problem += f"{'.' * 250}{KEY}"  # it ends within the key
    new_run().ask(*FOUR)
    run = new_run()
    ends = run.ask(*FOUR)
    assert {type(why) for why in ends.values()} == {Postponed}
    (line,) = run.finish(is_over=False)
    assert "line 3: the model does not exist" in line
    assert KEY[:12] not in line
    check_message(line)
    assert (list_states(tmp_path), server.live) == ([], [])


def test_a_rejected_batch_is_asked_live_with_leave(
    tmp_path: Path, server: BatchServer, new_run: NewRun
) -> None:
    server.faults = {"rejected"}
    new_run().ask(*FOUR)
    run = new_run(concurrency=2)
    run.ask(*FOUR)
    assert run.finish()[0].endswith("; sent live")
    assert run.ends == dict.fromkeys(FOUR, "")
    assert (len(server.live), list_states(tmp_path)) == (4, [])


@pytest.mark.parametrize(
    ("concurrency", "live", "kind"), [(None, 0, Postponed), (1, 0, Postponed), (2, 4, str)]
)
def test_a_batch_that_is_refused_leaves_no_state(
    tmp_path: Path,
    server: BatchServer,
    new_run: NewRun,
    *,
    concurrency: int | None,
    live: int,
    kind: type[str],
) -> None:
    server.faults = {"refused"}
    run = new_run(concurrency=concurrency)
    run.ask(*FOUR)
    (line,) = run.finish(is_over=False)
    assert "billing hard limit" in line
    assert [type(why) for why in run.ends.values()] == [kind] * 4
    assert (list_states(tmp_path), len(server.live)) == ([], live)


@pytest.mark.parametrize("fault", ["create lost", "no id"])
def test_a_submission_that_was_not_confirmed_is_found_again(
    tmp_path: Path, server: BatchServer, new_run: NewRun, fault: str
) -> None:
    server.faults = {fault}
    run = new_run()
    check_that_all_wait(run.ask(*FOUR))
    assert "not confirmed" in run.finish(is_over=False)[0]
    assert json.loads(list_states(tmp_path)[0].read_bytes())["status"] == "submitting"
    assert count_calls(server, "POST", "/batches") == 1
    server.faults = set()
    server.polls = 1
    check_that_all_wait(new_run().ask(*FOUR))
    last = new_run()
    assert last.ask(*FOUR) == dict.fromkeys(FOUR, "")
    last.finish()
    assert (sizes(server), server.live, list_states(tmp_path)) == ([4], [], [])


def test_a_submission_that_never_arrived_is_made_again(
    tmp_path: Path, server: BatchServer, new_run: NewRun
) -> None:
    server.broken = ["/batches"]
    new_run().ask(*FOUR)
    run = new_run()
    check_that_all_wait(run.ask(*FOUR))
    assert sizes(server) == [4]
    assert new_run().ask(*FOUR) == dict.fromkeys(FOUR, "")
    assert (sizes(server), server.live) == ([4], [])


def test_an_unconfirmed_submission_to_claude_waits_for_what_may_be_it(
    tmp_path: Path, claude: BatchServer, new_run: NewRun
) -> None:
    claude.faults = {"create lost"}
    new_run(claude).ask(*FOUR, url=MESSAGES)
    claude.faults = set()
    of_others = claude.add_batch({"of-somebody": {"model": "c", "messages": [{"content": "x"}]}})
    claude.asked[of_others] = 9
    claude.polls = 2  # it is asked for once more to see whether it is ours
    check_that_all_wait(new_run(claude).ask(*FOUR, url=MESSAGES))
    run = new_run(claude)
    assert run.ask(*FOUR, url=MESSAGES) == dict.fromkeys(FOUR, "")
    run.finish()
    assert (sizes(claude), claude.live, list_states(tmp_path)) == ([4, 1], [], [])


def test_a_bad_request_is_an_answer_and_a_busy_server_is_not(server: BatchServer, new_run: NewRun) -> None:
    server.status_of = {"question 1": 400, "question 2": 429}
    new_run().ask(*FOUR)
    run = new_run()
    run.ask(*FOUR)
    run.finish()
    assert run.ends == dict.fromkeys(FOUR, "")
    assert sorted(answer.status for answer in run.tapes["a.json"].kept) == [200, 200, 200, 400]
    assert [body["messages"][0]["content"] for body in server.live] == ["question 2"]


def test_an_answer_that_a_recording_would_not_hold_ends_with_its_status(
    server: BatchServer, new_run: NewRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_run().ask(*FOUR)
    run = new_run()
    requests = [run.make_request(text) for text in FOUR]
    monkeypatch.setattr(run.tapes["a.json"], "keep_ahead", lambda *_: False)
    run.submit(requests)
    assert run.ends == dict.fromkeys(FOUR, "status 200")


def test_streams_and_connections_of_other_clients_are_asked_live(
    server: BatchServer, new_run: NewRun
) -> None:
    run = new_run()
    stream = run.make_request("stream", stream=True)
    assert not is_batchable(stream)
    assert not is_batchable(run.make_request("connection", module=None))
    assert is_batchable(run.make_request("no stream", stream=False))
    search = build_question("POST", "https://search.example", {}, b'{"query": "a"}', Redactor())
    assert not is_batchable(replace(stream, question=search))
    run.submit([stream, *(run.make_request(text) for text in FOUR)])
    run.finish(is_over=False)
    assert [body["stream"] for body in server.live] == [True]
    assert sizes(server) == [4]


def test_members_about_streams_are_not_in_a_batch(server: BatchServer, new_run: NewRun) -> None:
    run = new_run()
    run.ask("a", "b", stream=False, stream_options=None, temperature=0)
    (bodies,) = server.batches.values()
    assert [sorted(body) for body in bodies.values()] == [["messages", "model", "temperature"]] * 2


@pytest.mark.parametrize(("concurrency", "live"), [(None, 0), (2, 4)])
def test_too_few_requests_are_no_batch(
    server: BatchServer,
    new_run: NewRun,
    monkeypatch: pytest.MonkeyPatch,
    concurrency: int | None,
    live: int,
) -> None:
    monkeypatch.setattr(batches, "MIN_REQUESTS", 5)
    run = new_run(concurrency=concurrency)
    run.ask(*FOUR)
    (line,) = run.finish(is_over=False)
    check_message(line)
    assert (len(server.live), sizes(server)) == (live, [])
    new_run().ask(*FOUR, "question 4")
    assert sizes(server) == [5]


def test_an_api_without_batches_is_named(server: BatchServer, new_run: NewRun) -> None:
    run = new_run()
    ends = run.ask(*FOUR, url="https://api.groq.com/openai/v1/chat/completions")
    assert {type(why) for why in ends.values()} == {Postponed}
    assert "https://api.groq.com/openai/v1 (model m)" in run.finish(is_over=False)[0]
    assert server.seen == []


def test_the_budget_holds_what_a_run_submits(server: BatchServer, new_run: NewRun) -> None:
    run = new_run()
    rich = [run.make_request(text) for text in FOUR[:2]]
    poor = run.make_request("poor", cassette="b.json")
    full = run.make_request("full", cassette="c.json")
    run.tapes["b.json"].refusal = BudgetReached("2 of 2 live calls")
    run.tapes["c.json"].refusal = CassetteError("no space left")
    run.submit([poor, *rich, full])
    assert (str(run.ends["poor"]), str(run.ends["full"])) == ("2 of 2 live calls", "no space left")
    assert sizes(server) == [2]
    assert run.tapes["a.json"].prepared == [True, True]


def test_a_large_batch_is_split(
    tmp_path: Path, server: BatchServer, new_run: NewRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(LIMITS, "openai", (3, 10**6))
    new_run().ask(*FOUR)
    assert sorted(sizes(server)) == [2, 2]
    assert len(list_states(tmp_path)) == 2
    run = new_run()
    assert run.ask(*FOUR) == dict.fromkeys(FOUR, "")
    run.finish()
    assert list_states(tmp_path) == []


def test_accounts_have_batches_of_their_own(server: BatchServer, new_run: NewRun) -> None:
    run = new_run()
    run.submit(
        run.make_request(text, headers={"openai-project": "ab"[number % 2]})
        for number, text in enumerate(FOUR)
    )
    assert sizes(server) == [2, 2]
    assert {seen.headers["openai-project"] for seen in server.seen} == {"a", "b"}


def test_the_batch_of_another_server_is_left_alone(
    tmp_path: Path, server: BatchServer, new_run: NewRun
) -> None:
    new_run().ask(*FOUR)
    asked = len(server.seen)
    run = new_run()
    run.ask(*FOUR, url="http://localhost:8000/v1/chat/completions")
    assert sizes(server) == [4, 4]
    assert count_calls(server, "GET", "batch_1") == 0
    assert len(server.seen) > asked
    assert len(list_states(tmp_path)) == 2


def test_a_state_that_cannot_be_read_stops_the_submission(
    tmp_path: Path, server: BatchServer, new_run: NewRun
) -> None:
    folder = tmp_path / "cassettes" / ".batches"
    folder.mkdir(parents=True)
    (folder / "a.json").write_text('{"version": 2}', encoding="utf-8")
    run = new_run(concurrency=4)
    ends = run.ask(*FOUR)
    assert {type(why) for why in ends.values()} == {Postponed}
    assert "a.json" in run.finish(is_over=False)[0]
    assert (server.batches, server.live) == ({}, [])


def test_a_state_that_cannot_be_written_stops_the_submission(
    server: BatchServer, new_run: NewRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise CassetteError("no space left")

    monkeypatch.setattr("pytest_llmops.harness.ahead.batch_apis.replace_file", fail)
    run = new_run(concurrency=4)
    ends = run.ask(*FOUR)
    assert {type(why) for why in ends.values()} == {Postponed}
    assert "no space left" in run.finish(is_over=False)[0]
    assert (server.batches, server.live) == ({}, [])


def test_only_one_run_has_the_states(new_run: NewRun, monkeypatch: pytest.MonkeyPatch) -> None:
    locked: list[Path] = []

    class Lock:
        def __enter__(self) -> None: ...
        def __exit__(self, *_: object) -> None: ...

    def lock(path: Path) -> Lock:
        locked.append(path)
        return Lock()

    monkeypatch.setattr(batches, "lock_cassette", lock)
    run = new_run()
    run.ask(*FOUR)
    run.ask("more 0", "more 1")
    assert [path.parent.name for path in locked] == [".batches"]


# The end of a run.


@pytest.mark.slow
@pytest.mark.parametrize(
    ("closed", "is_over", "is_part", "is_kept"),
    [
        (["a.json"], True, False, False),
        (["a.json"], False, False, True),
        ([], True, False, True),  # its tests did not run
        (["a.json"], True, True, False),
    ],
)
def test_a_batch_is_forgotten_once_its_answers_are_recorded(
    tmp_path: Path,
    new_run: NewRun,
    closed: list[str],
    *,
    is_over: bool,
    is_part: bool,
    is_kept: bool,
) -> None:
    new_run().ask(*FOUR)
    run = new_run()
    run.ask(*FOUR)
    run.finish(closed, is_over=is_over, is_part=is_part)
    assert len(list_states(tmp_path)) == is_kept


@pytest.mark.parametrize("is_part", [True, False])
def test_answers_that_no_test_asked_for_are_kept_for_tests_that_were_left_out(
    tmp_path: Path, new_run: NewRun, *, is_part: bool
) -> None:
    new_run().ask(*FOUR)
    run = new_run()
    run.ask(*FOUR[:2])
    line = run.finish(is_part=is_part)[-1]
    assert "2 answers" in line
    assert ("is kept" in line) is is_part
    assert len(list_states(tmp_path)) == is_part


def test_a_ledger_keeps_what_its_other_runs_need(
    tmp_path: Path, new_run: NewRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_run().ask(*FOUR)
    run = new_run()
    run.ask(*FOUR[:2])
    monkeypatch.setattr(batches, "current_override", lambda: "a ledger")
    run.finish()
    assert len(list_states(tmp_path)) == 1
    last = new_run()
    monkeypatch.setattr(batches, "current_override", lambda: None)
    last.ask(*FOUR)
    last.finish()
    assert list_states(tmp_path) == []
