"""Sessions of MCP without an SDK: any interleaving is recorded, and each request gets the same on replay."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmops._util.option_modes import RecordMode
from pytest_llmops.cassettes import tool_addresses
from pytest_llmops.cassettes.active_tape import push_tape, remove_tape
from pytest_llmops.cassettes.audit import _find_stale
from pytest_llmops.cassettes.faults.kinds import Fault
from pytest_llmops.cassettes.faults.plan import FaultPlan
from pytest_llmops.cassettes.mcp import messages, server_names
from pytest_llmops.cassettes.mcp import session as session_module
from pytest_llmops.cassettes.mcp.messages import Message
from pytest_llmops.cassettes.mcp.session import McpSession
from pytest_llmops.cassettes.store import load_cassette
from pytest_llmops.cassettes.tape import Tape
from pytest_llmops.cassettes.tape_config import TapeConfig
from pytest_llmops.cassettes.usage_record import CassetteUse, RunUsage
from pytest_llmops.errors import SilentWriteRefused
from pytest_llmops.harness.ahead.answers import AnswerStore
from pytest_llmops.harness.ahead.tapes import CollectingTape, PhaseState
from pytest_llmops.settings import Settings

GREETING = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"capabilities": {}}}


@contextmanager
def use(folder: Path, mode: RecordMode) -> Iterator[Tape]:
    tape = Tape(folder / "tape.json", mode, TapeConfig())
    push_tape(tape)
    try:
        yield tape
    finally:
        remove_tape(tape)
        tape.close()


def make_session() -> McpSession:
    return McpSession(lambda _: "orders", "orders")


def make_call(number: int | str, params: Any = None, *, token: Any = None) -> Message:
    message: Message = {"jsonrpc": "2.0", "id": number, "method": "tools/call"}
    if params is not None:
        message["params"] = params
    if token is not None:
        message["params"] = {**message.get("params", {}), "_meta": {"progressToken": token}}
    return message


def make_answer(number: int | str, text: str) -> Message:
    return {"jsonrpc": "2.0", "id": number, "result": {"text": text}}


def make_progress(token: Any, step: int) -> Message:
    params = {"progressToken": token, "progress": step}
    return {"jsonrpc": "2.0", "method": "notifications/progress", "params": params}


def record(session: McpSession, request: Message, *given: Message) -> list[Message]:
    """Send a request to a server that sends messages, and return what the client got."""
    assert session.receive_from_client(request).to_server == [request]
    return [seen for message in given for seen in session.receive_from_server(message)]


def replay(session: McpSession, request: Message) -> list[Message]:
    turn = session.receive_from_client(request)
    assert turn.to_server == []
    return turn.to_client


texts = st.text(st.characters(codec=None, exclude_categories=()), max_size=5) | st.sampled_from(
    ["\ud800", "\0", "\u2028"]
)
ids = st.integers(-3, 2**70) | texts


@pytest.mark.slow
@given(
    st.lists(
        st.tuples(ids, ids, texts, st.integers(0, 2)),
        min_size=1,
        max_size=6,
        unique_by=(lambda row: row[0], lambda row: row[1]),
    ),
    st.randoms(),
)
def test_each_request_gets_its_own_answer_and_progress(rows: list[Any], random: Any) -> None:
    """Whatever the ids, the order of the answers and the order of the requests in the replay."""
    expected = {}
    with TemporaryDirectory() as folder:
        with use(Path(folder), "all"):
            session = make_session()
            waiting = []
            for place, (number, _, text, steps) in enumerate(rows):
                request = make_call(number, {"place": place}, token=number)
                assert session.receive_from_client(request).to_server == [request]
                given_messages = [make_progress(number, step) for step in range(steps)]
                waiting.append([*given_messages, make_answer(number, text)])
                expected[place] = (steps, text)
            while waiting:
                row = random.choice(waiting)
                message = row.pop(0)
                assert session.receive_from_server(message) == [message]
                waiting = [row for row in waiting if row]
        with use(Path(folder), "none") as tape:
            session = make_session()
            places = list(range(len(rows)))
            random.shuffle(places)
            for place in places:
                number = rows[place][1]
                steps, text = expected[place]
                seen = replay(session, make_call(number, {"place": place}, token=number))
                assert seen == [
                    *(make_progress(number, step) for step in range(steps)),
                    make_answer(number, text),
                ]
        assert tape.counts.replayed == len(rows)
        assert not tape.report.misses


@pytest.mark.parametrize(
    "params", [None, {}, {"arguments": None}, {"arguments": [1, "a"]}, {"arguments": {"a": 1.5}}, [1, 2]]
)
def test_arguments_of_any_form_are_matched(params: Any, tmp_path: Path) -> None:
    with use(tmp_path, "all"):
        record(make_session(), make_call(1, params), make_answer(1, "a"))
    with use(tmp_path, "none"):
        assert replay(make_session(), make_call("x", params)) == [make_answer("x", "a")]


def test_equal_requests_get_their_answers_in_turn_over_all_sessions(tmp_path: Path) -> None:
    with use(tmp_path, "all"):
        for text in "ab":
            record(make_session(), make_call(1), make_answer(1, text))
    with use(tmp_path, "none") as tape:
        first, second = make_session(), make_session()
        assert replay(second, make_call(7)) == [make_answer(7, "a")]
        assert replay(first, make_call(7)) == [make_answer(7, "b")]
        (miss,) = replay(first, make_call(8))
        assert "was sent 3 times, recorded 2" in miss["error"]["message"]
        assert len(tape.report.misses) == 1


@pytest.mark.parametrize("number", [0, "0", "", 2**63, -1])
def test_an_id_is_given_back_as_it_came(number: int | str, tmp_path: Path) -> None:
    with use(tmp_path, "all"):
        record(make_session(), make_call(1), make_answer(1, "a"))
    with use(tmp_path, "none"):
        (answer,) = replay(make_session(), make_call(number))
    assert answer["id"] == number
    assert type(answer["id"]) is type(number)


def test_an_id_that_is_used_twice_loses_nothing(tmp_path: Path) -> None:
    with use(tmp_path, "all"):
        session = make_session()
        session.receive_from_client(make_call(1, {"a": 1}))
        assert record(session, make_call(1, {"a": 2}), make_answer(1, "x")) == [make_answer(1, "x")]
        assert session.receive_from_server(make_answer(1, "late")) == [make_answer(1, "late")]
    with use(tmp_path, "none") as tape:
        session = make_session()
        assert session.receive_from_client(make_call(5, {"a": 1})).later[0][1] == 5
        assert replay(session, make_call(6, {"a": 2})) == [make_answer(6, "x")]
        assert not tape.report.misses


@pytest.mark.parametrize(
    "message",
    [{"jsonrpc": "2.0"}, {"id": None, "error": {}}, {"id": 1.5, "result": {}}, {"method": "x", "id": None}],
)
def test_a_message_of_no_known_form_is_passed_on(message: Message, tmp_path: Path) -> None:
    with use(tmp_path, "all"):
        session = make_session()
        session.has_server = True
        assert session.receive_from_client(message).to_server == [message]
        assert session.receive_from_server(message) == [message]


def test_what_the_client_answers_is_compared(tmp_path: Path) -> None:
    question = {"jsonrpc": "2.0", "id": 5, "method": "roots/list"}
    reply = {"jsonrpc": "2.0", "id": 5, "result": {"roots": []}}
    with use(tmp_path, "all"):
        session = make_session()
        assert record(session, make_call(1), question) == [question]
        assert session.receive_from_client(reply).to_server == [reply]
        session.receive_from_server(make_answer(1, "a"))
    for result, notes in (({"roots": []}, 0), ({"roots": [1]}, 1)):
        with use(tmp_path, "none") as tape:
            session = make_session()
            (asked,) = replay(session, make_call(1))
            assert asked == {**question, "id": asked["id"]}
            turn = session.receive_from_client({**reply, "id": asked["id"], "result": result})
            assert turn.to_client == [make_answer(1, "a")]
            assert len(tape.report.notes) == notes


def test_a_cancelled_call_stays_silent_and_is_a_miss_if_the_client_waits_on(tmp_path: Path) -> None:
    cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
    with use(tmp_path, "all"):
        session = make_session()
        session.receive_from_client(make_call(1))
        session.receive_from_client(cancel)
        assert session.receive_from_server(make_answer(1, "late")) == [make_answer(1, "late")]
    with use(tmp_path, "none") as tape:
        session = make_session()
        assert session.receive_from_client(make_call(1)).to_client == []
        session.receive_from_client(cancel)
        assert session.take_late_answer(1) is None
        assert not tape.report.misses
    with use(tmp_path, "none") as tape:
        session = make_session()
        session.receive_from_client(make_call(2))
        error = session.take_late_answer(2)
        assert error is not None
        assert "the client gave up this call" in error["error"]["message"]
        assert len(tape.report.misses) == 1


def test_the_end_of_a_server_comes_where_it_came(tmp_path: Path) -> None:
    with use(tmp_path, "all"):
        session = make_session()
        session.has_server = True
        record(session, make_call(1), make_answer(1, "a"))
        session.end(by_server=True)
        session.end(by_server=False)
    with use(tmp_path, "none") as tape:
        session = make_session()
        assert replay(session, make_call(1)) == [make_answer(1, "a")]
        assert session.receive_from_client(make_call(2)).ends
        assert not tape.report.misses


@contextmanager
def compare(folder: Path) -> Iterator[Tape]:
    tape = Tape(folder / "tape.json", "none", TapeConfig(settings=Settings(tools="compare")))
    push_tape(tape)
    try:
        yield tape
    finally:
        remove_tape(tape)
        tape.close()


@pytest.fixture
def two_calls(tmp_path: Path) -> Path:
    with use(tmp_path, "all"):
        session = make_session()
        record(session, make_call(1), make_answer(1, "a"))
        record(session, make_call(2, {"a": 1}), make_answer(2, "b"))
    return tmp_path


def describe(tape: Tape) -> list[str]:
    return [f"{drift.what}: {drift.recorded} / {drift.now}" for drift in tape.report.drifts]


def test_a_server_that_ends_while_it_is_compared_is_replayed(two_calls: Path) -> None:
    with compare(two_calls) as tape:
        session = make_session()
        session.has_server = True
        assert session.receive_from_client(make_call(1)).to_server
        turn = session.end(by_server=True, status=3)
        assert turn.to_client == [make_answer(1, "a")]
        assert not turn.ends
        assert session.take_late_answer(1) is None
        assert replay(session, make_call(2, {"a": 1})) == [make_answer(2, "b")]
        assert session.receive_from_client({"jsonrpc": "2.0", "method": "notifications/x"}).to_server == []
        session.end(by_server=False)
    assert not tape.report.misses
    assert describe(tape) == [
        "result: a result / the server has ended with exit status 3",
        "result: a result / the server has ended",
    ]


def test_a_server_that_ends_between_two_calls_while_it_is_compared_is_a_difference(two_calls: Path) -> None:
    with compare(two_calls) as tape:
        session = make_session()
        session.has_server = True
        record(session, make_call(1), make_answer(1, "a"))
        assert not session.end(by_server=True).ends
        assert replay(session, make_call(2, {"a": 1})) == [make_answer(2, "b")]
    assert not tape.report.misses
    assert "server: a server that runs / the server has ended" in describe(tape)


def test_a_server_that_hangs_while_it_is_compared_is_replayed_after_some_seconds(two_calls: Path) -> None:
    with compare(two_calls) as tape:
        session = make_session()
        [(seconds, number)] = session.receive_from_client(make_call(1)).later
        assert 4.0 <= seconds < 5.0
        assert session.take_late_answer(number) == make_answer(1, "a")
        assert session.receive_from_server(make_answer(1, "late")) == []
        session.receive_from_client(make_call(2, {"a": 1}))
        assert session.receive_from_server(make_answer(2, "b")) == [make_answer(2, "b")]
        assert not session.is_waiting(2)
    assert not tape.report.misses
    assert describe(tape) == ["result: a result / no answer within 4.0 s"]


def test_a_server_that_cannot_be_started_for_comparison_is_replayed(two_calls: Path) -> None:
    with compare(two_calls) as tape:
        session = make_session()
        assert start(session, FileNotFoundError(2, "No such file", "orders")) == ["server"]
        assert replay(session, make_call(1)) == [make_answer(1, "a")]
    assert not tape.report.misses
    assert "server: a server that runs / an error (No such file)" in describe(tape)


def test_a_server_that_is_ended_on_purpose_is_not_recorded_as_ended(tmp_path: Path) -> None:
    plan = FaultPlan([Fault(kind="server_died", tool="refund")])
    tape = Tape(tmp_path / "tape.json", "all", TapeConfig(faults=plan))
    push_tape(tape)
    session = make_session()
    record(session, make_call(1, {"name": "look_up"}), make_answer(1, "found"))
    assert session.receive_from_client(make_call(2, {"name": "refund"})).ends
    session.end(by_server=True)
    remove_tape(tape)
    tape.close()

    methods = [interaction.request["method"] for interaction in load_cassette(tape.path).values()]
    assert methods == ["tools/call"]


def test_a_wait_on_purpose_is_no_time_of_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter((100.0, 130.5))
    monkeypatch.setattr(session_module, "time", SimpleNamespace(perf_counter=lambda: next(times)))
    plan = FaultPlan([Fault(kind="slow", tool="refund", seconds=30.0)])
    tape = Tape(tmp_path / "tape.json", "all", TapeConfig(faults=plan))
    push_tape(tape)
    session = make_session()
    assert session.receive_from_client(make_call(1, {"name": "refund"})).wait_s == 30.0
    session.receive_from_server(make_answer(1, "done"))
    remove_tape(tape)
    tape.close()
    [interaction] = load_cassette(tape.path).values()
    assert interaction.answers["0"][0]["latency_s"] == 0.5


def test_a_call_that_has_ended_servers_answers_open_requests(tmp_path: Path) -> None:
    with use(tmp_path, "all"):
        session = make_session()
        session.receive_from_client(make_call(1))
        session.end(by_server=True)
        session.receive_from_client(make_call(2, {"a": 1}))
    with use(tmp_path, "none"):
        assert make_session().receive_from_client(make_call(1)).ends
        assert make_session().receive_from_client(make_call(2, {"a": 1})).ends


def test_tools_that_change_are_listed_as_they_were_and_the_last_list_is_repeated(tmp_path: Path) -> None:
    def ask(number: int) -> Message:
        return {"jsonrpc": "2.0", "id": number, "method": "tools/list", "params": {}}

    for mode in ("new", "all"):
        with use(tmp_path / mode, mode):
            session = make_session()
            for number, text in enumerate("aaba"):
                record(session, ask(number), make_answer(number, text))
        with use(tmp_path / mode, "none"):
            seen = [replay(make_session(), ask(number))[0]["result"]["text"] for number in range(6)]
        assert seen == list("aabaaa")


def test_replayed_and_live_calls_of_a_server_do_not_mix(tmp_path: Path) -> None:
    with use(tmp_path, "new"):
        record(make_session(), GREETING, make_answer(0, "hello"))
        record(make_session(), make_call(1), make_answer(1, "a"))
        record(make_session(), make_call(1), make_answer(1, "b"))
    with use(tmp_path, "new") as tape:  # a call more: the server knows nothing of the others
        session = make_session()
        assert replay(session, GREETING) == [make_answer(0, "hello")]
        assert replay(session, make_call(1)) == [make_answer(1, "a")]
        (miss,) = replay(session, make_call(2, {"new": 1}))
        assert "record the whole test" in miss["error"]["message"]
    with use(tmp_path, "new") as tape:  # a new call first: it is not called either
        (miss,) = replay(make_session(), make_call(2, {"new": 1}))
        assert "record the whole test" in miss["error"]["message"]
    with use(tmp_path, "new") as tape:  # the model was asked live before: all is new
        tape.tools.note_live_model_call("0")
        session = make_session()
        record(session, GREETING, make_answer(0, "hello 2"))
        record(session, make_call(1), make_answer(1, "c"))
        tape.tools.note_live_model_call("0")
        record(session, make_call(2, {"new": 1}), make_answer(2, "d"))
    with use(tmp_path, "none"):
        session = make_session()
        assert replay(session, make_call(1)) == [make_answer(1, "c")]
        assert replay(session, make_call(1, {"new": 1})) == [make_answer(1, "d")]


def test_a_model_that_is_asked_live_after_the_first_call_changes_nothing(tmp_path: Path) -> None:
    with use(tmp_path, "new"):
        record(make_session(), make_call(1), make_answer(1, "a"))
        record(make_session(), make_call(1), make_answer(1, "b"))
    with use(tmp_path, "new") as tape:
        session = make_session()
        assert replay(session, make_call(1)) == [make_answer(1, "a")]
        tape.tools.note_live_model_call("0")
        assert replay(session, make_call(1)) == [make_answer(1, "b")]


def test_recordings_of_a_server_are_found_after_it_was_given_a_name(tmp_path: Path) -> None:
    """`llm_mcp_servers` may be set after recording; recorded again, the server has its new name."""

    def name(names: Any) -> str:
        return server_names.name_command("python", ["-m", "orders"], names)

    with use(tmp_path, "all"):
        record(McpSession(name, "one"), make_call(1), make_answer(1, "a"))
    settings = Settings(mcp_servers=("shop=python -m orders",))
    modes: list[RecordMode] = ["none", "new"]
    for mode in modes:
        tape = Tape(tmp_path / "tape.json", mode, TapeConfig(settings=settings))
        push_tape(tape)
        assert replay(McpSession(name, "one"), make_call(1)) == [make_answer(1, "a")]
        remove_tape(tape)
        tape.close()
        assert not tape.report.misses
    tape = Tape(tmp_path / "tape.json", "all", TapeConfig(settings=settings))
    push_tape(tape)
    record(McpSession(name, "one"), make_call(1), make_answer(1, "b"))
    remove_tape(tape)
    tape.close()
    assert [interaction.request["url"] for interaction in load_cassette(tape.path).values()] == ["mcp:shop"]


def test_a_line_that_is_no_object_is_no_message() -> None:
    for line in (b"", b"Welcome!", b"[1]", b"42", b"null", b"{", b'"a"', json.dumps([make_call(1)])):
        assert messages.parse_message(line) is None


def start(session: McpSession, error: OSError | None = None) -> list[str]:
    """Begin a connection; return what was started."""
    started = []

    async def start_real() -> None:
        started.append("server")
        if error is not None:
            raise error

    asyncio.run(session.start(start_real))
    return started


def test_a_server_is_started_at_once_where_it_is_recorded_and_not_where_it_is_replayed(
    tmp_path: Path,
) -> None:
    with use(tmp_path, "new"):
        session = make_session()
        assert start(session) == ["server"]
        record(session, make_call(1), make_answer(1, "a"))
    expected: dict[RecordMode, list[str]] = {"none": [], "new": [], "all": ["server"], "live": ["server"]}
    for mode, started in expected.items():
        with use(tmp_path, mode):
            assert start(make_session()) == started
    with use(tmp_path, "new") as tape:
        tape.tools.note_live_model_call("0")
        assert start(make_session()) == ["server"]


def test_a_start_that_failed_fails_on_replay(tmp_path: Path) -> None:
    with use(tmp_path, "new"), pytest.raises(FileNotFoundError):
        start(make_session(), FileNotFoundError(2, "No such file", "orders"))
    for mode in ("none", "new"):
        with use(tmp_path, mode) as tape:
            for _ in range(2):
                with pytest.raises(FileNotFoundError, match=r"No such file: 'orders'"):
                    start(make_session())
            assert not tape.report.misses


def test_a_server_that_cannot_be_started_late_fails_the_test(tmp_path: Path) -> None:
    with use(tmp_path, "new") as tape:
        session = make_session()
        session.receive_from_client(make_call(1))
        (error,) = session.refuse_late_start(FileNotFoundError(2, "No such file"))
        assert (
            "mcp:orders could not be started for tools/call: [Errno 2] No such file"
            in error["error"]["message"]
        )
        assert len(tape.report.misses) == 1
        session.end(by_server=False)
    with use(tmp_path, "none") as tape:  # nothing was recorded
        replay(make_session(), make_call(1))
        assert len(tape.report.misses) == 1


def test_only_the_address_of_a_server_passes_unrecorded_and_only_if_it_may_be_asked(tmp_path: Path) -> None:
    tool_addresses.add_address("https://gateway.example:8443/mcp?key=1")
    for url, expected in (
        ("https://gateway.example:8443/mcp", True),
        ("https://gateway.example:8443/mcp/", True),
        ("https://gateway.example:8443/mcp?session=2", True),
        ("https://gateway.example:8443/v1/chat/completions", False),
        ("https://gateway.example:8443/mcp/other", False),
        ("https://gateway.example/mcp", False),
    ):
        assert tool_addresses.is_tool_address(url) is expected
    with use(tmp_path, "none") as tape:
        assert not tape.may_call_tools()
    with use(tmp_path, "new") as tape:
        assert tape.may_call_tools()


def test_silent_runs_call_no_tool(tmp_path: Path) -> None:
    with use(tmp_path, "new"):
        record(make_session(), make_call(1), make_answer(1, "a"))
    state = PhaseState(AnswerStore(on_answer=lambda *_: None))
    tape = state.make_tape(CollectingTape, tmp_path / "tape.json", "new", TapeConfig())
    push_tape(tape)
    try:
        session = make_session()
        assert start(session) == []
        assert replay(session, make_call(1)) == [make_answer(1, "a")]
        other = McpSession(lambda _: "stock", "stock")
        with pytest.raises(SilentWriteRefused, match="it would call tools twice: start mcp:stock"):
            start(other)
        with pytest.raises(SilentWriteRefused, match="it would call tools twice: tools/call mcp:stock"):
            other.receive_from_client(make_call(1))
    finally:
        remove_tape(tape)


def test_a_test_gets_the_lists_of_a_connection_that_others_opened_and_pruning_keeps_them(
    tmp_path: Path,
) -> None:
    listing = {"jsonrpc": "2.0", "id": 9, "method": "tools/list", "params": {}}
    with use(tmp_path / "fixture", "new"):
        session = make_session()
    with use(tmp_path / "first", "new"):
        record(session, make_call(1), make_answer(1, "a"))
        record(session, listing, make_answer(9, "tools"))
    with use(tmp_path / "second", "new"):
        record(session, make_call(2), make_answer(2, "b"))
    with use(tmp_path / "second", "none"):  # alone
        alone = make_session()
        assert replay(alone, make_call(1)) == [make_answer(1, "b")]
        assert replay(alone, listing) == [make_answer(9, "tools")]
    tape = Tape(tmp_path / "second" / "tape.json", "none", TapeConfig())
    push_tape(tape)
    assert replay(make_session(), make_call(1)) == [make_answer(1, "b")]
    remove_tape(tape)
    assert tape.close().stale == 0
    asked = {key: {"0": 1} for key in tape.player.given.list_keys()}
    used = CassetteUse(ran=True, asked=asked)
    assert not list(
        _find_stale("second", tape.player.recordings.by_key, used, RunUsage("2026-01-01T00:00:00+00:00"))
    )
    unused = CassetteUse(ran=True, asked={})
    assert (
        len(
            list(
                _find_stale(
                    "second", tape.player.recordings.by_key, unused, RunUsage("2026-01-01T00:00:00+00:00")
                )
            )
        )
        == 2
    )


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--url=https://h.example/?token=hunter2"], "--url=https://h.example/?token=[secret]"),
        (["--header", "X-Api-Key: hunter2"], "--header X-Api-Key:[secret]"),
        (["--header=X-Api-Key: hunter2"], "--header=X-Api-Key:[secret]"),
        (["--env=API_KEY=hunter2"], "--env=API_KEY=[secret]"),
        (["-e", "API_KEY=hunter2"], "-e API_KEY=[secret]"),
        (["--root", r"C:\orders", "-v=1", "a:b"], r"--root C:\orders -v=1 a:b"),
    ],
)
def test_a_name_has_no_secret_of_the_command(arguments: list[str], named: str) -> None:
    assert server_names.name_command("npx", arguments, {}) == f"npx {named}"


@pytest.mark.parametrize(
    "program", ["npx", "/usr/bin/npx", r"C:\Program Files\nodejs\npx.cmd", r"D:\NPX.CMD"]
)
def test_a_program_has_the_same_name_on_windows(program: str) -> None:
    assert server_names.name_command(program, ["-y", "orders"], {}) == "npx -y orders"
    assert server_names.name_command(program, ["-y", "orders"], {"shop": "npx *orders"}) == "shop"
