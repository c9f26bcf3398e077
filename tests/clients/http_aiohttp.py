"""aiohttp as it is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
from clients.kit import KEY, Scenario, async_row, received

HEADERS = {"authorization": f"Bearer {KEY}"}


def make_client() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(headers=HEADERS)


async def post(url: str, text: str) -> object:
    async with make_client() as client, client.post(f"{url}/echo/aiohttp", json={"text": text}) as answer:
        return await answer.json()


def run(ask: Callable[[aiohttp.ClientSession, str], Awaitable[object]]) -> Scenario:
    async def within(url: str) -> object:
        async with make_client() as client:
            return await ask(client, url)

    return lambda url: asyncio.run(within(url))


def get(path: str, **how: Any) -> Scenario:
    async def ask(client: aiohttp.ClientSession, url: str) -> object:
        async with client.get(f"{url}{path}", **how) as answer:
            kind = answer.headers["content-type"]
            return (
                answer.status,
                answer.reason,
                kind,
                len(answer.history),
                answer.url.path,
                await answer.read(),
            )

    return run(ask)


async def stream(client: aiohttp.ClientSession, url: str) -> object:
    async with client.get(f"{url}/events/aiohttp") as answer:
        return [line async for line in answer.content]


async def ways(client: aiohttp.ClientSession, url: str) -> object:
    """Every way to read a body."""
    async with client.get(f"{url}/events/chunked") as answer:
        chunks = b"".join([chunk async for chunk in answer.content.iter_chunked(7)])
    async with client.get(f"{url}/events/any") as answer:
        pieces = b"".join([chunk async for chunk in answer.content.iter_any()])
    async with client.get(f"{url}/events/chunks") as answer:
        chunk_pieces = b"".join([chunk async for chunk, _ in answer.content.iter_chunks()])
    async with client.get(f"{url}/events/until") as answer:
        until, exactly = await answer.content.readuntil(b"\n\n"), await answer.content.readexactly(5)
        rest = await answer.content.read()
    async with client.get(f"{url}/events/text") as answer:
        text, again = await answer.text(), await answer.read()
    return chunks, pieces, chunk_pieces, until, exactly, rest, text, again


async def left_early(client: aiohttp.ClientSession, url: str) -> object:
    async with client.get(f"{url}/events/left") as answer:
        return await answer.content.readline()


async def first_token(client: aiohttp.ClientSession, url: str) -> object:
    async with client.get(f"{url}/held/aiohttp") as answer:
        first = await answer.content.readline()
        await asyncio.to_thread(received, url, "aiohttp")
        return first, await answer.content.read()


async def statuses(client: aiohttp.ClientSession, url: str) -> object:
    results: list[object] = []
    for status in (400, 404, 422):
        async with client.get(f"{url}/status/{status}") as answer:
            results.append((answer.status, answer.ok, await answer.read()))
    try:
        async with client.get(f"{url}/status/404", raise_for_status=True):
            return "no error"
    except aiohttp.ClientResponseError as caught:
        return [*results, caught.status, caught.message]


async def forms(client: aiohttp.ClientSession, url: str) -> object:
    form = aiohttp.FormData()
    form.add_field("file", b"the content", filename="notes.txt")
    async with client.post(f"{url}/size/aiohttp", data=form) as answer:
        first = await answer.json()
    async with client.post(f"{url}/echo/form", data={"a": "1"}) as answer:
        return first, await answer.json()


async def bodies(client: aiohttp.ClientSession, url: str) -> object:
    async def parts() -> Any:
        yield b"one "
        yield b"two"

    results = []
    for body in (b"bytes", "text", parts()):
        async with client.post(f"{url}/echo/bodies", data=body) as answer:
            results.append(await answer.json())
    async with client.get(f"{url}/echo/query", params={"b": "2", "a": "1"}) as answer:
        return results, await answer.json()


async def large(client: aiohttp.ClientSession, url: str) -> object:
    async with client.post(f"{url}/large/aiohttp", json=["body"] * 30_000) as answer:
        return await answer.json()


async def binary(client: aiohttp.ClientSession, url: str) -> object:
    async with client.post(f"{url}/binary/aiohttp", data=bytes(range(256)) * 9) as answer:
        return await answer.read()


SCENARIOS: dict[str, Scenario] = {
    **async_row(post, "aiohttp"),
    "async: bodies": run(bodies),
    "async stream": run(stream),
    "async stream: ways to read": run(ways),
    "left early": run(left_early),
    "first token": run(first_token),
    "error": run(statuses),
    "compressed: gzip": get("/~gzip/echo/packed"),
    "compressed: deflate": get("/~deflate/echo/packed"),
    "compressed: br": get("/packed/br"),
    "compressed: zstd": get("/packed/zstd"),
    "large": run(large),
    "binary": run(binary),
    "form": run(forms),
    "redirect": get("/moved/aiohttp"),
    "redirect: not followed": get("/moved/here", allow_redirects=False),
}
ROWS = {"aiohttp": SCENARIOS}
