"""Mocks that answer below our hook: what they answer is theirs, neither a recording nor a miss of ours.

pytest-httpx, responses, aioresponses and the in-process transports answer above our hooks, which then see
only what those let through. respx replaces methods of httpcore, below the transport of httpx, and so has to
be asked beforehand.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any


def answered(request: Any) -> bool:
    """Say whether a request, already read, is one that respx answers, or refuses to let out.

    Only a route that passes a request through leaves it to us. One whose side effect decides so
    while it answers cannot be known before: respx keeps it, and it goes out unrecorded.
    """
    routers = _routers(request)
    return bool(routers) and _passing(routers, request) is None


def count(request: Any) -> None:
    """Let respx count a request that it leaves to us and a recording answered, as it counts one that goes out."""
    found = _passing(_routers(request), request)
    if found is not None:
        router, route = found
        router.record(request, response=None, route=route)


def _routers(request: Any) -> Sequence[Any]:
    mocks = sys.modules.get("respx.mocks")
    if mocks is None:
        return ()
    routers: list[Any] = mocks.HTTPCoreMocker.routers
    # It knows httpx only, and nothing of httpx2.
    return list(routers) if routers and isinstance(request, mocks.httpx.Request) else ()


def _passing(routers: Sequence[Any], request: Any) -> tuple[Any, Any] | None:
    for router in routers:
        for route in router.routes:
            if route.pattern is None or route.pattern.match(request):
                return (router, route) if route.is_pass_through else None
        if not getattr(router, "_assert_all_mocked", True):  # then it answers whatever has no route
            return None
    return None
