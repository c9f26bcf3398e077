"""Refuses connections to models from tests that nothing records, in a run that only replays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial, wraps
from typing import TYPE_CHECKING, Any

from pytest_llmops.errors import CassetteMiss
from pytest_llmops.settings import Settings

if TYPE_CHECKING:
    from pytest_llmops.cassettes.http.patching import Patch
    from pytest_llmops.harness.item import Harness

CheckHost = Callable[[str, int | None], None]
"""Raises if a connection to a host and port must not be opened."""


def host_patches(check: CheckHost) -> Iterator[Patch]:
    """Yield patches that check the host of each connection and name look-up; nothing else is slowed down."""
    import socket

    from pytest_llmops.cassettes.http.patching import Patch

    for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex"):
        yield Patch(socket, name, partial(_check_look_up, check))
    for name in ("connect", "connect_ex"):
        yield Patch(socket.socket, name, partial(_check_connect, check))


def _check_look_up(check: CheckHost, real: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(real)
    def look_up(host: Any, *args: Any, **more: Any) -> Any:
        check_address(check, (host, args[0] if args else more.get("port")))
        return real(host, *args, **more)

    return look_up


def _check_connect(check: CheckHost, real: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(real)
    def connect(self: Any, address: Any) -> Any:
        check_address(check, address)
        return real(self, address)

    return connect


def check_address(check: CheckHost, address: Any) -> None:
    """Check the address of a socket; those of other families than the internet's are no tuples of a name and a port."""
    host = address[0] if isinstance(address, tuple) and address else None
    name = bytes(host).decode("ascii", "replace") if isinstance(host, (bytes, bytearray)) else host
    if isinstance(name, str) and name:
        port = address[1] if len(address) > 1 else None
        check(name, int(str(port)) if str(port).isdecimal() else None)


def is_refused(settings: Settings, host: str, port: int | None) -> bool:
    """Return whether a connection goes to a model, and nothing records it."""
    from pytest_llmops.cassettes import active_tape
    from pytest_llmops.trace.routes import is_model_endpoint

    return (
        active_tape.current_tape() is None
        and host.lower() not in settings.allow_hosts
        and is_model_endpoint(host, port, settings.base_url)
    )


def apply_host_patches(
    settings: Settings, running_item: Callable[[], Any], refuse: Callable[[Any, str], BaseException | None]
) -> list[Patch]:
    """Refuse connections to models that nothing records, from here on; return the patches.

    Args:
        settings: The run's.
        running_item: Returns the running test; None between two tests.
        refuse: Returns the error for a connection of a test to a host; None: it may be opened.
    """

    def check(host: str, port: int | None) -> None:
        item = running_item() if is_refused(settings, host, port) else None
        if item is not None and (error := refuse(item, host)) is not None:
            raise error

    patches = list(host_patches(check))
    for patch in patches:
        patch.apply()
    return patches


def refuse_connection(harness: Harness, host: str) -> CassetteMiss:
    """Return the error for a connection of a test that nothing records; it fails the test also if it is caught."""
    error = _connection_error(harness.item.nodeid, host, harness.rerun_command())
    harness.refused.append(error)
    return error


def _connection_error(nodeid: str, host: str, command: str) -> CassetteMiss:
    return CassetteMiss(
        f"{nodeid}: a connection to {host} was refused: this run replays recordings, and nothing records this test\n"
        f"  record it         mark it with @pytest.mark.llm_cassette, and run {command} --llm-record=new\n"
        "  record a folder   in its conftest.py:\n"
        "                        @pytest.fixture(autouse=True)\n"
        "                        def record_calls(llm_cassette): ...\n"
        f'  let it through    @pytest.mark.llm_cassette(record="live"), or the ini key llm_allow_hosts = {host}'
    )
