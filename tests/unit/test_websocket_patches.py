"""Which way a WebSocket goes that a client opens: to its server, to a recording, or nowhere."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from support import fake_websockets
from support.messages import check_message

from pytest_llmops.cassettes.conversation import Conversation, End
from pytest_llmops.cassettes.http import websockets
from pytest_llmops.cassettes.outcome import Outcome
from pytest_llmops.cassettes.request_key import Answer, Question, build_question
from pytest_llmops.errors import CassetteMiss
from pytest_llmops.redaction.redactor import Redactor

URL = "wss://api.openai.com:8443/v1/realtime?model=m"
BODY = Conversation([], End("server", 1000, "bye")).encode()


class Tape:
    """What the patches need of a tape."""

    path = Path("a.json")
    command_again = "pytest --again"
    mode = "new"

    def __init__(self, answer: Answer | None = None, passing: tuple[Any, ...] = ()) -> None:
        self.answer = answer
        self.passing = passing
        self.questions: list[Question] = []
        self.notes: list[str] = []
        self.note = self.notes.append
        self.unfinished: dict[int, Callable[[], None]] = {}

    def passes(self, host: str, port: int | None) -> bool:
        return (host, port) == self.passing

    def make_question(self, method: str, url: str, headers: dict[str, str], body: bytes) -> Question:
        question = build_question(method, url, headers, body, Redactor())
        self.questions.append(question)
        assert (method, body) == ("WEBSOCKET", b"")
        self.headers = headers
        return question

    def claim(self, question: Question) -> Answer | None:
        assert question is self.questions[-1]
        return self.answer

    def refuse(self, text: str) -> CassetteMiss:
        return CassetteMiss(text)


class Live:
    """A live connection, which keeps what happens to it."""

    made: list[Live]

    def __init__(self, tape: Any, question: Question) -> None:
        self.of = (tape, question)
        self.attached: list[Any] = []
        self.errors: list[BaseException] = []
        self.attach = self.attached.append
        self.give_up = self.errors.append
        Live.made.append(self)


class Server:
    """The server of a recorded connection."""

    made: list[tuple[Any, ...]]

    def __init__(self, *parts: Any) -> None:
        Server.made.append(parts)

    def start(self) -> str:
        return "a socket"


@pytest.fixture(autouse=True)
def _parts(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_websockets.install(monkeypatch)
    Live.made, Server.made = [], []
    monkeypatch.setattr(websockets, "LiveConnection", Live)
    monkeypatch.setattr(websockets, "RecordedServer", Server)
    monkeypatch.setattr(websockets, "_real_functions", {})


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], Any]:
    def use(tape: Any) -> Any:
        monkeypatch.setattr(websockets, "current_tape", lambda: tape)
        return tape

    return use


CLIENT = """
made = []

def ClientConnection(*parts, **more):
    made.append((parts, more))
    return "a connection"

def connect(uri, *args, create_connection=None, timeout=10, **kwargs):
    opened = None
    if create_connection is not None:
        opened = create_connection("socket", close=1)
    if "fail" in kwargs:
        raise kwargs["fail"]
    return uri, args, timeout, kwargs, opened
"""


@pytest.fixture
def module() -> Iterator[Any]:
    """The client for threads, whose function leads to the package."""
    client: Any = ModuleType("client")
    exec(CLIENT, vars(client))
    code = client.connect.__code__
    [patch] = websockets._list_thread_patches(client)
    patch.apply()
    assert client.connect.__code__ is not code
    yield client
    patch.restore_attribute()
    assert client.connect.__code__ is code
    assert client.connect("uri") == ("uri", (), 10, {}, None)


def test_a_connection_without_a_tape_goes_to_its_server(module: Any, use: Any) -> None:
    use(None)
    assert module.connect(URL, 1, ssl=2) == (URL, (1,), 10, {"ssl": 2}, None)
    use(Tape(passing=("api.openai.com", 8443)))
    assert module.connect(URL) == (URL, (), 10, {}, None)
    use(Tape())
    assert module.connect(URL, unix=True) == (URL, (), 10, {"unix": True}, None)
    assert Live.made == []


def test_a_live_connection_of_a_thread_is_recorded(module: Any, use: Any) -> None:
    tape = use(Tape())
    got = module.connect(URL, 1, additional_headers={"X-Key": "k"}, ssl=2, timeout=3)
    assert got == (URL, (1,), 3, {"additional_headers": {"X-Key": "k"}, "ssl": 2}, "a connection")
    assert module.made == [(("socket",), {"close": 1})]
    [live] = Live.made
    [question] = tape.questions
    assert live.of == (tape, question)
    assert (live.attached, live.errors) == (["a connection"], [])
    assert tape.headers == {"x-key": "k"}
    got = module.connect(URL, create_connection=lambda *_, **__: "another")
    assert got[-1] == "another"
    assert Live.made[1].attached == ["another"]
    error = OSError("refused")
    with pytest.raises(OSError, match=r"^refused$"):
        module.connect(URL, fail=error)
    assert Live.made[2].errors == [error]


def test_a_recorded_connection_of_a_thread_stays_on_this_machine(module: Any, use: Any) -> None:
    answer = Answer(101, {}, BODY, 0.5)
    tape = use(Tape(answer))
    got = module.connect(
        URL, 1, ssl=2, ssl_context=2, server_hostname=2, proxy_ssl=2, proxy_server_hostname=2, x=3
    )
    local = URL.replace("wss:", "ws:")
    assert got == (local, (1,), 10, {"sock": "a socket", "unix": True, "x": 3}, None)
    [(of, question, given, conversation)] = Server.made
    assert (of, question, given) == (tape, tape.questions[0], answer)
    assert conversation.end == End("server", 1000, "bye")
    assert Live.made == []


def test_a_recorded_refusal_has_no_conversation(module: Any, use: Any) -> None:
    use(Tape(Answer(403, {}, b"no", 0.5, outcome=Outcome("ReadTimeout", "slow"))))
    assert module.connect("ws://a")[0] == "ws://a"
    assert Server.made[0][3] is None


def test_a_recorded_time_out_is_raised_again(module: Any, use: Any) -> None:
    use(Tape(Answer(0, {}, b"", 0.5, outcome=Outcome("TimeoutError", "slow"))))
    with pytest.raises(TimeoutError, match=r"^slow$"):
        module.connect(URL)
    assert Server.made == []


def test_a_damaged_recording_is_a_miss(module: Any, use: Any) -> None:
    use(Tape(Answer(101, {}, b"{", 0.5)))
    with pytest.raises(CassetteMiss, check=check_message):
        module.connect(URL)


def test_a_function_that_cannot_be_replaced_is_left_alone() -> None:
    free = 1

    def closure() -> int:
        return free

    assert closure() == 1
    assert list(websockets._list_thread_patches(ModuleType("other"))) == []
    assert list(websockets._list_thread_patches(SimpleNamespace(connect=closure))) == []  # type: ignore[arg-type]


class Connect:
    """The object of the client for asyncio that opens a connection."""

    def __init__(self, **kwargs: Any) -> None:
        self.uri = URL
        self.proxy: Any = "a proxy"
        self.connection_kwargs = kwargs
        self.additional_headers: Any = {"X-Key": "k"}
        self.error: BaseException | None = None
        self.handshake_error: BaseException | None = None
        self.shaken: list[Any] = []

    async def create_connection(self) -> Any:
        if self.error is not None:
            raise self.error

        async def handshake(*args: Any, **kwargs: Any) -> None:
            self.shaken.append((args, kwargs))
            if self.handshake_error is not None:
                raise self.handshake_error

        return SimpleNamespace(opened_by=self, handshake=handshake)


open_async = websockets._wrap_create_connection(Connect.create_connection)


def test_a_connection_of_asyncio_without_a_tape_goes_to_its_server(use: Any) -> None:
    connect = Connect()
    use(None)
    assert asyncio.run(open_async(connect)).opened_by is connect
    use(Tape())
    local = Connect(unix=True)
    assert asyncio.run(open_async(local)).opened_by is local
    assert Live.made == []


def test_a_live_connection_of_asyncio_is_recorded(use: Any) -> None:
    async def check(connect: Connect) -> None:
        connection = await open_async(connect)
        assert connection.opened_by is connect
        await connection.handshake(1, x=2)

    tape = use(Tape())
    connect = Connect()
    asyncio.run(check(connect))
    assert connect.shaken == [((1,), {"x": 2})]
    assert [live.of for live in Live.made] == [(tape, tape.questions[0])]
    assert tape.headers == {"x-key": "k"}
    assert ([len(live.attached) for live in Live.made], Live.made[0].errors) == ([1], [])
    connect.handshake_error = OSError("shaken")
    with pytest.raises(OSError, match=r"^shaken$"):
        asyncio.run(check(connect))
    assert Live.made[1].errors == [connect.handshake_error]
    connect.error = OSError("refused")
    with pytest.raises(OSError, match=r"^refused$"):
        asyncio.run(check(connect))
    assert (Live.made[2].errors, Live.made[2].attached) == ([connect.error], [])


def test_a_recorded_connection_of_asyncio_stays_on_this_machine(use: Any) -> None:
    use(Tape(Answer(101, {}, BODY, 0.5)))
    connect: Any = Connect(ssl=1)
    connect.handshake_args = [{"Old": "1"}]  # before version 15
    local = asyncio.run(open_async(connect)).opened_by
    assert (local.uri, local.proxy) == (URL.replace("wss:", "ws:"), None)
    assert local.connection_kwargs == {"sock": "a socket"}
    assert (connect.uri, connect.proxy, connect.connection_kwargs) == (URL, "a proxy", {"ssl": 1})
    tape = use(Tape(Answer(0, {}, b"", 0.0, outcome=Outcome("TimeoutError", "gone"))))
    with pytest.raises(TimeoutError, match="gone"):
        asyncio.run(open_async(connect))
    assert tape.headers == {"old": "1"}


def unix(name: str) -> Any:
    def func() -> None: ...

    func.__name__ = name
    return SimpleNamespace(_uri=URL, _create_connection=SimpleNamespace(func=func))


def test_a_connection_of_the_old_client_is_noted_and_goes_to_its_server(use: Any) -> None:
    async def real(self: Any) -> Any:
        return self

    connect = websockets._wrap_legacy_connect(real)
    tape = use(Tape())
    local, other = unix("create_unix_connection"), unix("create_connection")
    assert asyncio.run(connect(local)) is local
    assert tape.notes == []
    assert asyncio.run(connect(other)) is other
    [note] = tape.notes
    check_message(note)


def test_a_connection_of_websocket_client_is_noted_or_refused(use: Any) -> None:
    calls: list[Any] = []
    connect = websockets._wrap_websocket_client(lambda *args, **options: calls.append((args, options)))
    use(None)
    connect(1, URL, x=2)
    tape = use(Tape())
    connect(1, URL, x=2)
    assert calls == [((1, URL), {"x": 2})] * 2
    [note] = tape.notes
    check_message(note)
    tape.mode = "none"
    with pytest.raises(CassetteMiss, check=check_message):
        connect(1, URL)
    assert len(calls) == 2


def test_each_client_has_its_patch() -> None:
    patches = [
        (websockets._list_asyncio_patches, "connect", "create_connection"),
        (websockets._list_legacy_patches, "Connect", "__await_impl__"),
        (websockets._list_websocket_client_patches, "WebSocket", "connect"),
    ]
    for make, target, method in patches:
        kind = type("Kind", (), {method: lambda: None})
        module: Any = SimpleNamespace(**{target: kind})
        [patch] = make(module)
        assert (patch.target, patch.name) == (kind, method)


@pytest.mark.parametrize(
    ("url", "local"), [("WSS://a/b://c", "ws://a/b://c"), ("ws://a", "ws://a"), ("wss+x://a", "wss+x://a")]
)
def test_a_replayed_address_has_no_tls(url: str, local: str) -> None:
    assert websockets._without_tls(url) == local
