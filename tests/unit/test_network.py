from __future__ import annotations

import _socket
import asyncio
import socket
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.messages import check_message
from support.tapes import no_tape, taped

from pytest_llmops.cassettes.request_key import TapeCounts
from pytest_llmops.errors import CassetteMiss
from pytest_llmops.settings import Settings

# A documentation address and a name that never resolves: both must be refused before any packet.
FAR = "192.0.2.1"
NAME = "api.example.invalid"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cassette.json"


@pytest.fixture
def packets(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, Any]]]:
    """Every connection and look-up that would really be made; none is."""
    made: list[tuple[str, Any]] = []

    def pretend(name: str, result: Any = None) -> Callable[..., Any]:
        def called(first: Any, *rest: Any, **_: Any) -> Any:
            made.append((name, rest if isinstance(first, socket.socket) else first))
            return result

        return called

    with no_tape(), monkeypatch.context() as patched:
        for name in ("connect", "connect_ex", "sendto", "sendmsg"):
            patched.setattr(socket.socket, name, pretend(name))
        results = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (FAR, 443))]
        patched.setattr(socket, "getaddrinfo", pretend("getaddrinfo", results))
        patched.setattr(socket, "gethostbyname", pretend("gethostbyname", FAR))
        patched.setattr(socket, "gethostbyname_ex", pretend("gethostbyname_ex", (NAME, [], [FAR])))
        yield made


def connected(method: str, *args: Any, family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM) -> Any:
    with socket.socket(family, kind) as entry:
        return getattr(entry, method)(*args)


def beneath_socket(address: tuple[str, int]) -> None:
    """Connect a socket as gevent does; it is closed, so that nothing is sent in any case."""
    entry = _socket.socket()
    entry.close()
    entry.connect(address)


REACHING: dict[str, Callable[[], Any]] = {
    "connect": lambda: connected("connect", (FAR, 443)),
    "connect by name": lambda: connected("connect", (NAME, 443)),
    "connect_ex": lambda: connected("connect_ex", (FAR, 443)),
    "connect IPv6": lambda: connected("connect", ("2001:db8::1", 443, 0, 0), family=socket.AF_INET6),
    "a name like loopback": lambda: connected("connect", ("127.evil.invalid", 80)),
    "sendto": lambda: connected("sendto", b"x", (FAR, 53), kind=socket.SOCK_DGRAM),
    "sendto with flags": lambda: connected("sendto", b"x", 0, (FAR, 53), kind=socket.SOCK_DGRAM),
    "sendmsg": lambda: connected("sendmsg", [b"x"], [], 0, (FAR, 53), kind=socket.SOCK_DGRAM),
    "create_connection": lambda: socket.create_connection((NAME, 443)),
    "getaddrinfo": lambda: socket.getaddrinfo(NAME, 443),
    "getaddrinfo of bytes": lambda: socket.getaddrinfo(NAME.encode(), 443),
    "getaddrinfo by keyword": lambda: socket.getaddrinfo(host=NAME, port=443),
    "gethostbyname": lambda: socket.gethostbyname(NAME),
    "gethostbyname_ex": lambda: socket.gethostbyname_ex(NAME),
    "_socket": lambda: beneath_socket((FAR, 443)),
    "asyncio": lambda: asyncio.run(asyncio.wait_for(_opened(), 20)),
    "urlopen": lambda: urllib.request.urlopen(f"ftp://{NAME}/x"),
}


async def _opened() -> None:
    await asyncio.open_connection(NAME, 443)


@pytest.mark.parametrize("how", REACHING)
def test_the_network_is_closed_in_replay(path: Path, packets: list[Any], how: str) -> None:
    with taped(path, command="pytest x.py --llm-record=new") as entry, pytest.raises(CassetteMiss) as caught:
        REACHING[how]()
    message = str(caught.value)
    check_message(message)
    assert (entry.report.counts.missed, list(map(str, entry.report.misses))) == (1, [message])
    assert packets == []


@pytest.mark.parametrize("how", ["connect", "sendto", "getaddrinfo", "gethostbyname", "gethostbyname_ex"])
@pytest.mark.parametrize("mode", ["new", "all", "live"])
def test_it_is_open_when_calls_are_live(path: Path, packets: list[Any], how: str, mode: Any) -> None:
    with taped(path, mode):
        REACHING[how]()
    assert [name for name, _ in packets] == [how]


@pytest.mark.parametrize("how", ["connect", "sendto", "getaddrinfo"])
def test_it_is_open_without_a_tape(packets: list[Any], how: str) -> None:
    REACHING[how]()
    assert len(packets) == 1


@pytest.mark.parametrize(
    ("family", "address"),
    [
        (socket.AF_INET, ("127.0.0.1", 1)),
        (socket.AF_INET, ("localhost", 1)),
        (socket.AF_INET, ("0.0.0.0", 1)),
        (socket.AF_INET, ("", 1)),
        (socket.AF_INET6, ("::1", 1, 0, 0)),
    ],
)
def test_this_machine_is_open(path: Path, packets: list[Any], family: int, address: Any) -> None:
    with taped(path) as entry:
        connected("connect", address, family=family)
    assert len(packets) == 1
    assert entry.report.counts == TapeCounts()


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no UNIX sockets here")
def test_unix_sockets_are_open(path: Path, packets: list[Any]) -> None:
    with taped(path):
        connected("connect", "/run/some.sock", family=socket.AF_UNIX)
    assert len(packets) == 1


def test_looking_up_nothing_is_looking_up_this_machine(path: Path, packets: list[Any]) -> None:
    with taped(path):
        socket.getaddrinfo(None, 80)
    assert packets == [("getaddrinfo", None)]


@pytest.mark.parametrize("host", ["api.example.invalid", "API.Example.Invalid"])
def test_an_allowed_host_is_open_by_name_and_by_what_it_resolves_to(
    path: Path, packets: list[Any], host: str
) -> None:
    with taped(path, settings=Settings(allow_hosts=(host.lower(),))) as entry:
        with pytest.raises(CassetteMiss):
            connected("connect", (FAR, 443))
        socket.create_connection((NAME, 443)).close()
        with pytest.raises(CassetteMiss):
            connected("connect", ("192.0.2.2", 443))
    assert packets == [("getaddrinfo", NAME), ("connect", ((FAR, 443),))]
    assert entry.report.counts.missed == 2


@pytest.mark.parametrize("look_up", ["gethostbyname", "gethostbyname_ex"])
def test_older_look_ups_of_an_allowed_host(path: Path, packets: list[Any], look_up: str) -> None:
    with taped(path, settings=Settings(allow_hosts=(NAME,))):
        getattr(socket, look_up)(NAME)
        connected("connect", (FAR, 443))
    assert len(packets) == 2


def test_a_thread_cannot_reach_out_either(path: Path, packets: list[Any]) -> None:
    result: list[BaseException] = []

    def run() -> None:
        try:
            REACHING["connect"]()
        except CassetteMiss as error:
            result.append(error)

    with taped(path) as entry:
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    assert len(result) == entry.report.counts.missed == 1
    assert packets == []


def test_errors_of_wrong_arguments_stay_python_s(path: Path) -> None:
    with taped(path):
        wrong: list[list[Any]] = [
            ["connect"],
            ["sendto"],
            ["sendto", b"x"],
            ["connect", "x"],
            ["connect", ()],
        ]
        for method, *args in wrong:
            with pytest.raises(TypeError):
                connected(method, *args)
