"""The type of a client preset, which describes the requests of a coding agent that runs in its own process."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

Body: TypeAlias = dict[str, Any]  # the parsed JSON body of a request

# The preset of each program, by its name in the user agent: known without loading the presets
PROGRAMS: Mapping[str, str] = {
    "claude-cli": "claude-agent",
    "codex_cli_rs": "codex",
    "codex_exec": "codex",
    "geminicli": "gemini-cli",
    "geminicli-tui": "gemini-cli",
    "opencode": "opencode",
}
MISSING_RECORDING = 424  # "Failed Dependency": SDKs do not repeat it


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientPreset:
    """The known properties of a client's requests.

    Attributes:
        name: The name in ``llm_clients``.
        programs: The names in its user agent, before the slash and the version, in lower case.
        tested: The versions with which the preset was tried, the newest last.
        is_own: Returns whether a body is the client's. It must also hold for what `normalize` returns, so that
            recordings of an older preset are matched by a newer one.
        normalize: Returns the body in the form that is matched and stored: without the client's texts about the day,
            the machine, the session and itself. It gets a copy that it may change, and must give the same again for its
            own result.
        find_identities: Returns the texts that show who sent a body and from where, with their placeholders; an
            absent one may be the empty text. Paths are given as `FOLDER`, see `identities`.
        housekeeping: Method and path of requests that call no model. `llm_proxy` answers them with an empty object: they
            are neither recorded nor sent on. A path is compared without its query.
        environment: Variables that `llm_proxy` sets, so that the client makes only the requests for its task.
        miss_status: The HTTP status for a missing recording or a refused call, after which the client does not try again.
    """

    name: str
    programs: tuple[str, ...]
    tested: tuple[str, ...]
    is_own: Callable[[Body], bool]
    normalize: Callable[[Body], Body]
    find_identities: Callable[[Body], Mapping[str, str]]
    housekeeping: tuple[tuple[str, str], ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    miss_status: int = MISSING_RECORDING

    def read_sender(self, headers: Mapping[str, str]) -> str:
        """Return the client's program and version in its user agent; "" if another program sent the request.

        Args:
            headers: The headers, with lower-case names.
        """
        program, slash, rest = headers.get("user-agent", "").partition("/")
        if not slash or program.lower() not in self.programs:
            return ""
        # "GeminiCLI/0.61.0/gemini-3 (linux)" also names the model
        version = re.split(r"[ /]", rest, maxsplit=1)[0]
        return f"{program} {version[:40]}"
