"""Whether the model server of a call can be reached: checked right before the first call that goes out.

Once a server has answered, no process of the run checks it again. A server that cannot be reached is checked again before the next call,
as a fixture may start it. A replay sends no request.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmops.cassettes import current_folder
from pytest_llmops.errors import SetupMissing, append_code

if TYPE_CHECKING:
    from pytest_llmops._util.setup_check import SetupCheck
    from pytest_llmops.cassettes import Question
    from pytest_llmops.providers.model_server import ModelServer
    from pytest_llmops.settings import Settings

LOCK_TIMEOUT_S = 30.0
# Servers that have answered, by the file that shows it to the other processes of the run
_answered: set[Path] = set()


def find_server_problem(server: ModelServer) -> SetupCheck | None:
    """Return why a server cannot be reached. None: it can. Only the first process of the run that needs the server checks it.

    Args:
        server: The server.
    """
    digest = hashlib.sha256(server.address.encode("utf-8", "replace")).hexdigest()[:16]
    path = current_folder() / f"server-{digest}"
    if path in _answered:
        return None
    problem = _read_or_ask(server, path)
    if problem is None:
        _answered.add(path)
    return problem


def _read_or_ask(server: ModelServer, path: Path) -> SetupCheck | None:
    """Return None if a file shows that the server has answered. Otherwise check the server, while the other processes wait."""
    from filelock import FileLock, Timeout

    from pytest_llmops.providers.model_server import why_unreachable

    with ExitStack() as held:
        with suppress(OSError, Timeout):  # no disk for the file: this process checks for itself
            held.enter_context(FileLock(f"{path}.lock", timeout=LOCK_TIMEOUT_S))
        if path.exists():
            return None
        problem = why_unreachable(server)
        if problem is None:
            with suppress(OSError):
                path.touch()
        return problem


def make_call_check(settings: Settings) -> Callable[[Question], str]:
    """Return a function that gives the reason why a live call must not be made. "": it may.

    Until a server that the settings name has answered, each call first checks whether it can be reached. If not, the call is not
    made: one message instead of the attempts of an SDK. Only the call itself shows whether the server accepts the key.
    """
    from pytest_llmops.providers.model_server import find_servers

    judge = settings.judge_model or settings.single_model
    servers = find_servers({*settings.models, judge, ""}, settings.base_url)

    def why_not_called(question: Question) -> str:
        host, _, port = question.address.rpartition(":")
        number = None
        if port.isdecimal():
            number = int(port)
        for server in servers:
            if server.is_at(host, number):
                return _describe_refusal(find_server_problem(server))
        return ""

    return why_not_called


def _describe_refusal(problem: SetupCheck | None) -> str:
    """Return the message for calls to a server that cannot be reached; "" if it can."""
    if problem is None:
        return ""
    first = append_code(f"the call was not made: {problem.sentence}", SetupMissing.code)
    return f"{first}\n  do        {problem.step}"
