"""Refuses requests that the other patches do not see, while a tape only replays.

vcrpy replaces the classes of connections, so only connections that are opened while a tape is in use are recorded and replayed. One that
was opened before, or by a client that was imported again, would send its requests to the real server.
"""

from functools import partial

from pytest_llmops._util.hosts import is_loopback, split_address
from pytest_llmops.cassettes.active_tape import current_tape
from pytest_llmops.cassettes.http.request_checks import ReadBody, patch_aiohttp, patch_http_client
from pytest_llmops.cassettes.late_patches import LatePatches
from pytest_llmops.cassettes.telemetry import has_telemetry_address
from pytest_llmops.trace.routes import find_route


def guard_patches() -> LatePatches:
    """Return patches that refuse unseen requests of http.client (so of urllib3, requests and botocore) and of aiohttp.

    vcrpy replaces the method of the aiohttp that it knows, so only an aiohttp that was imported again gets here. httpx needs no guard: its
    transports are patched themselves, whenever they are imported.
    """
    return LatePatches(
        {
            "http.client": partial(patch_http_client, refuse_unseen_request),
            "aiohttp": partial(patch_aiohttp, refuse_unseen_request),
        }
    )


def refuse_unseen_request(method: str, url: str, _read_body: ReadBody) -> None:
    """Raise a miss for a request that is about to be sent while the current tape only replays.

    On this machine only calls of models are refused: clients of Docker or of a browser use connections there that nothing else sees.

    Raises:
        CassetteMiss: The tape only replays, and the host is not allowed.
        ConnectionRefusedError: It is one of a tracing SDK, which goes on without its service.
    """
    tape = current_tape()
    if tape is None or tape.mode != "none":
        return
    host, port = split_address(url)
    if tape.passes(host, port):
        return
    is_model_call = method.upper() == "POST" and bool(find_route(url).matches)
    if is_loopback(host) and not is_model_call:
        return
    if has_telemetry_address(method, url):
        raise ConnectionRefusedError(f"a replay sends no traces: {method} {host}")
    raise tape.refuse_old_connection(method, host)
