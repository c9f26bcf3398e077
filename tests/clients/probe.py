"""pytest in forks of one process that has loaded the clients, and what of the network's attributes each run left changed.

A line of the standard input is a run: its folder, arguments and environment, and the files for its output and for the names of
the changed attributes. The answer is its exit code. No plugin, ours or another, is loaded before the fork, nor is vcrpy.
"""

from __future__ import annotations

import gc
import http.client
import json
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any

import aiohttp
import anthropic.resources.beta.messages  # noqa: F401 -- loaded once instead of in each run, as those below
import botocore.awsrequest
import httpcore
import httpcore2
import httpx
import httpx2
import jinja2  # noqa: F401
import openai  # noqa: F401
import pytest
import requests
import urllib3.connectionpool
import yaml  # noqa: F401

TIMEOUT_S = 180
PLACES: list[tuple[Any, list[str]]] = [
    (socket.socket, ["connect", "connect_ex", "sendto", "sendmsg", "send", "sendall"]),
    (
        socket,
        ["getaddrinfo", "gethostbyname", "gethostbyname_ex", "create_connection", "socketpair", "socket"],
    ),
    (http.client, ["HTTPConnection", "HTTPSConnection"]),
    (http.client.HTTPSConnection, ["__init__"]),
    (urllib3.connectionpool, ["HTTPConnection", "HTTPSConnection", "VerifiedHTTPSConnection"]),
    (urllib3.connectionpool.HTTPConnectionPool, ["ConnectionCls", "_get_conn", "_new_conn", "urlopen"]),
    (urllib3.connectionpool.HTTPSConnectionPool, ["ConnectionCls", "_get_conn", "_new_conn", "urlopen"]),
    (botocore.awsrequest.AWSHTTPConnectionPool, ["ConnectionCls"]),
    (botocore.awsrequest.AWSHTTPSConnectionPool, ["ConnectionCls"]),
    (requests.Session, ["send"]),
    (requests.adapters.HTTPAdapter, ["send"]),
    (aiohttp.ClientSession, ["_request"]),
    (threading.Thread, ["start"]),
]
for module in (httpx, httpx2):
    PLACES += [
        (module.HTTPTransport, ["handle_request"]),
        (module.AsyncHTTPTransport, ["handle_async_request"]),
        (module.MockTransport, ["handle_request", "handle_async_request"]),
        (module.ASGITransport, ["handle_async_request"]),
        (module.WSGITransport, ["handle_request"]),
        (module.Client, ["__init__", "send", "_transport_for_url"]),
        (module.AsyncClient, ["__init__", "send", "_transport_for_url"]),
    ]
for module in (httpcore, httpcore2):
    PLACES += [
        (module.ConnectionPool, ["handle_request"]),
        (module.AsyncConnectionPool, ["handle_async_request"]),
    ]


def network() -> dict[tuple[str, str], object]:
    return {(repr(target), name): getattr(target, name, None) for target, names in PLACES for name in names}


def run(args: list[str], changed: str) -> int:
    before = network()
    code = int(pytest.main(args))
    after = network()
    names = sorted(" ".join(place) for place in before if before[place] != after[place])
    Path(changed).write_text(json.dumps(names), encoding="utf-8")
    return code


def run_in_fork(job: dict[str, Any]) -> None:
    """Run pytest as if this process had been started in the folder, and end."""
    code = 70
    try:
        signal.alarm(TIMEOUT_S)  # its default action ends the process
        with Path(job["output"]).open("wb") as output, Path(os.devnull).open("rb") as nothing:
            for target, file in ((0, nothing), (1, output), (2, output)):
                os.dup2(file.fileno(), target)
        os.chdir(job["folder"])
        os.environ.clear()
        os.environ.update(job["environment"])
        sys.path[0] = job["folder"]
        code = run(job["args"], job["changed"])
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        job = json.loads(line)
        pid = os.fork()
        if not pid:
            run_in_fork(job)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
