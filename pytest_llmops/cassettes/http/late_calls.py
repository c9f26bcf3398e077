"""Calls of a process that has outlived its test, while no test that is recorded runs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, cast

from pytest_llmops._util.hosts import is_loopback, split_address
from pytest_llmops.cassettes import active_tape
from pytest_llmops.cassettes.http.request_checks import ReadBody, calls_model
from pytest_llmops.errors import CassetteMiss
from pytest_llmops.trace.routes import is_model_endpoint

if TYPE_CHECKING:
    from pytest_llmops.cassettes.http.child_processes import TestProcess


class NoTape:
    """Replaces a tape in a process that has outlived its test, while no other test is running that is recorded.

    Args:
        process: The process that runs the tests.

    Attributes:
        resolved: IP addresses of hosts that were looked up meanwhile. They are not allowed to the next test, so they are kept nowhere else.
    """

    mode = "live"

    def __init__(self, process: TestProcess) -> None:
        self._process = process
        self._ticket = process.ticket
        self.resolved: set[str] = set()

    def passes(self, host: str, port: int | None = None) -> bool:
        """Return True, as nothing records the request.

        Raises:
            CassetteMiss: The request goes to a known host of models, and the run only replays.
        """
        if port is None and is_loopback(host):  # a look-up: this machine has servers of all kinds
            return True
        is_checked = self._ticket.mode == "none" and not self._is_allowed(host, port)
        if is_checked and is_model_endpoint(host, port, self._ticket.base_url):
            raise self._ask_refusal(host) or self._make_refusal(host)
        return True

    def allows_connection(self, host: str) -> bool:
        """Return whether a connection to a host may be opened, as `passes`."""
        return self.passes(host)

    def uses_tools(self) -> bool:
        """Return False, as nothing records calls of tools.

        Raises:
            CassetteMiss: The run only replays, and the settings do not allow calls outside of tests.
        """
        if self._ticket.mode == "none" and self._ticket.calls_outside_tests == "refuse":
            raise CassetteMiss(
                f"a process (pid {os.getpid()}) uses an MCP server after the test that started it has ended, and this run"
                " only replays: let the test wait for its processes"
            )
        return False

    def check_request(self, url: str, read_body: ReadBody) -> None:
        """Check a request that calls a model, whichever host it goes to.

        Raises:
            CassetteMiss: No test runs, the run only replays, and the settings do not allow calls outside of tests.
        """
        ticket = self._ticket
        if ticket.mode != "none" or ticket.calls_outside_tests != "refuse":
            return
        host, port = split_address(url)
        if self._is_allowed(host, port) or not calls_model(url, read_body, ticket.base_url):
            return
        error = self._ask_refusal(host)
        if error is not None:
            raise error

    def _is_allowed(self, host: str, port: int | None) -> bool:
        """Return whether the settings allow a host, or this port of it."""
        name = host.lower()
        return name in self._ticket.allow_hosts or f"{name}:{port}" in self._ticket.allow_hosts

    def _ask_refusal(self, host: str) -> CassetteMiss | None:
        """Return the error for a call of a model, which fails the run too; None: a test runs, or the run has no such check."""
        try:
            return cast("CassetteMiss | None", self._process.ask(0, "refuse_late_call", host))
        except ConnectionError:  # the run has ended
            return self._make_refusal(host)

    def _make_refusal(self, host: str) -> CassetteMiss:
        """Return the error for a call of a model."""
        return CassetteMiss(
            f"a process (pid {os.getpid()}) calls {host} after the test that started it has ended, and this run only"
            " replays: let the test wait for its processes"
        )


def check_late_call(method: str, url: str, read_body: ReadBody) -> None:
    """Check a request of this process, if a test started it.

    Args:
        method: The method.
        url: The URL.
        read_body: Returns the body.

    Raises:
        CassetteMiss: It calls a model, and is not allowed; see `NoTape.check_request`.
    """
    if active_tape.find_remote_tape is None or method.upper() != "POST":
        return
    tape: object = active_tape.current_tape()
    if isinstance(tape, NoTape):
        tape.check_request(url, read_body)
