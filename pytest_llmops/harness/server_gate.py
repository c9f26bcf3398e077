"""Whether the model servers of a run answer: each is asked once in a run, whatever the number of its processes.

Only runs that may call models ask. A replay sends no request.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmops._util.setup_check import SetupCheck
from pytest_llmops.cassettes import current_folder
from pytest_llmops.errors import SetupMissing, append_code

if TYPE_CHECKING:
    from pytest_llmops.cassettes import Question
    from pytest_llmops.providers.model_server import ModelServer
    from pytest_llmops.settings import Settings

LOCK_TIMEOUT_S = 30.0
# Results that this process knows, by the file that the processes of the run share
_known: dict[Path, SetupCheck] = {}


def check_server_once(server: ModelServer) -> SetupCheck:
    """Return whether a server answers; only the first process of the run that wants to know asks it.

    Args:
        server: The server.
    """
    digest = hashlib.sha256(server.address.encode("utf-8", "replace")).hexdigest()[:16]
    path = current_folder() / f"server-{digest}.json"
    if path not in _known:
        _known[path] = _read_or_ask(server, path)
    return _known[path]


def _read_or_ask(server: ModelServer, path: Path) -> SetupCheck:
    """Return the result in a file, or ask the server and write the file, while the other processes wait."""
    from filelock import FileLock, Timeout

    from pytest_llmops._util.text_files import write_atomically
    from pytest_llmops.providers.model_server import check_server

    with ExitStack() as held:
        try:
            held.enter_context(FileLock(f"{path}.lock", timeout=LOCK_TIMEOUT_S))
            if path.exists():
                return SetupCheck(**json.loads(path.read_text("utf-8")))
            check = check_server(server)
            write_atomically(path, json.dumps(check.to_wire()).encode("utf-8"))
        except (OSError, Timeout):  # no disk for the file: this process asks for itself
            return check_server(server)
        return check


def make_call_check(settings: Settings) -> Callable[[Question], str]:
    """Return a function that says why a live call must not be made; "" if it may.

    Before the first call to a server that the settings name, the server is asked once whether it answers. If it does not, or if it
    refuses the key, no call of the run goes to it: one message, and no repeated attempts.
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
                return _describe_refusal(check_server_once(server))
        return ""

    return why_not_called


def _describe_refusal(check: SetupCheck) -> str:
    """Return the message for calls to a server that cannot be used; "" if it can."""
    if check.status != "missing":
        return ""
    first = append_code(f"the call was not made: {check.sentence}", SetupMissing.code)
    return f"{first}\n  do        {check.step}"
