"""``python -m pytest_llmops.cassettes.mcp_relay -- COMMAND ARGS...``: a server as a test records and replays it.

In a process that a recorded test has started, it answers from the recording. In any other it is the server.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence

TICKET_VARIABLE = "LLMOPS_TEST_PROCESS"  # as in `child_processes`, which is not imported without a ticket
USAGE = "usage: python -m pytest_llmops.cassettes.mcp_relay -- COMMAND ARGS...\n"
NO_COMMAND = 2
NOT_FOUND = 127  # as shells have it


def main(args: Sequence[str] | None = None) -> int:
    """Serve a client on standard input and output; return the exit status.

    Args:
        args: The command of the server, after ``--`` or without it; by default the arguments of this process.
    """
    command = list(sys.argv[1:] if args is None else args)
    if command[:1] == ["--"]:
        command = command[1:]
    if not command:
        sys.stderr.write(USAGE)
        return NO_COMMAND
    ticket = os.environ.get(TICKET_VARIABLE)
    if ticket:
        from pytest_llmops.cassettes.mcp_relay import relay

        if relay.join(ticket):
            return relay.Relay(command).run()
    return _run_server(command)


def _run_server(command: Sequence[str]) -> int:
    """Become the server."""
    program = shutil.which(command[0]) or command[0]
    try:
        if os.name == "posix":
            os.execv(program, list(command))  # noqa: S606 -- the command of the user, without a shell
        return subprocess.call([program, *command[1:]])  # noqa: S603 -- as above
    except OSError as error:
        sys.stderr.write(f"the MCP server cannot be started: {command[0]}: {error}\n")
        return NOT_FOUND


if __name__ == "__main__":
    sys.exit(main())
