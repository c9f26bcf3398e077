"""httpx and httpx2 as they are, over asyncio and trio, and applications in this very process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import anyio
import httpx
import httpx2
import trio
from clients.kit import KEY, Scenario, received, row
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

HEADERS = {"authorization": f"Bearer {KEY}"}


def form(answer: Any) -> object:
    return answer.status_code, answer.headers["content-type"], answer.content


def in_process(module: Any) -> object:
    """None of these goes over the network: they answer, and nothing of them is recorded."""

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"asgi"})

    def wsgi(environ: Any, start: Any) -> list[bytes]:
        start("200 OK", [])
        return [b"wsgi"]

    async def over_asgi() -> object:
        async with module.AsyncClient(transport=module.ASGITransport(asgi)) as client:
            return (await client.get("http://app/")).text

    async def hello(request: Request) -> PlainTextResponse:
        return PlainTextResponse("starlette")

    with (
        module.Client(transport=module.WSGITransport(wsgi)) as first,
        module.Client(transport=module.MockTransport(lambda _: module.Response(200, text="mock"))) as second,
        TestClient(Starlette(routes=[Route("/", hello)])) as third,
    ):
        texts = [first.get("http://app/").text, second.get("http://app/").text, third.get("/").text]
    return [*texts, asyncio.run(over_asgi())]


@dataclass(frozen=True)
class Client:
    """One of the two modules, which have the same names."""

    module: Any
    name: str

    def client(self) -> Any:
        return self.module.Client(headers=HEADERS)

    def post(self, url: str, text: str) -> object:
        with self.client() as client:
            return client.post(f"{url}/echo/{self.name}", json={"text": text}).json()

    async def async_post(self, url: str, text: str) -> object:
        async with self.module.AsyncClient(headers=HEADERS) as client:
            return (await client.post(f"{url}/echo/{self.name}", json={"text": text})).json()

    def get(self, path: str, **how: Any) -> Scenario:
        def scenario(url: str) -> object:
            with self.client() as client:
                return form(client.get(f"{url}{path}", **how))

        return scenario

    def stream(self, url: str) -> object:
        with self.client() as client, client.stream("GET", f"{url}/events/{self.name}") as answer:
            return list(answer.iter_lines())

    def left_early(self, url: str) -> object:
        with self.client() as client, client.stream("GET", f"{url}/events/left") as answer:
            return next(answer.iter_lines())

    def first_token(self, url: str) -> object:
        with self.client() as client, client.stream("GET", f"{url}/held/{self.name}") as answer:
            lines = answer.iter_lines()
            first = next(lines)
            received(url, self.name)
            return first, len(list(lines))

    async def async_first(self, url: str, key: str) -> object:
        async with self.module.AsyncClient() as client, client.stream("GET", f"{url}/held/{key}") as answer:
            lines = answer.aiter_lines()
            first = await anext(lines)
            await anyio.to_thread.run_sync(received, url, key)
            return first, len([line async for line in lines])

    async def gather(self, url: str) -> list[object]:
        async with self.module.AsyncClient() as client:
            answers = await asyncio.gather(*(client.get(f"{url}/echo/{self.name}/{n}") for n in range(6)))
            return [answer.json() for answer in answers]

    async def nursery(self, url: str) -> object:
        async with self.module.AsyncClient() as client:
            replies: dict[str, object] = {}
            async with trio.open_nursery() as tasks:
                for n in range(4):
                    tasks.start_soon(_into, replies, client, f"{url}/echo/{self.name}-trio-{n}")
            return sorted(replies.values(), key=str)

    async def task_group(self, url: str) -> object:
        async with self.module.AsyncClient() as client:
            replies: dict[str, object] = {}
            async with anyio.create_task_group() as tasks:
                for n in range(4):
                    tasks.start_soon(_into, replies, client, f"{url}/echo/{self.name}-anyio-{n}")
            return sorted(replies.values(), key=str)

    def multipart(self, url: str) -> object:
        with self.client() as client:
            files = {"file": ("notes.txt", b"the content", "text/plain")}
            answer = client.post(f"{url}/size/{self.name}", files=files, data={"purpose": "test"})
            return answer.json(), client.post(f"{url}/echo/form", data={"a": "1", "b": "2"}).json()

    def large(self, url: str) -> object:
        with self.client() as client:
            return client.post(f"{url}/large/{self.name}", content=json.dumps(["body"] * 30_000)).json()

    def binary(self, url: str) -> object:
        with self.client() as client:
            return form(client.post(f"{url}/binary/{self.name}", content=bytes(range(256)) * 9))

    def statuses(self, url: str) -> object:
        with self.client() as client:
            return [form(client.get(f"{url}/status/{status}")) for status in (400, 404, 422)]

    def mixed(self, url: str) -> object:
        app = in_process(self.module)
        return app, self.post(url, "beside an application in this process")

    def scenarios(self) -> dict[str, Scenario]:
        name = self.name
        common = row(self.post, name)
        return {
            **{key: value for key, value in common.items() if key not in ("error", "retry")},
            "plain: in-process apps": self.mixed,
            "stream": self.stream,
            "left early": self.left_early,
            "first token": self.first_token,
            "first token: asyncio": lambda url: asyncio.run(
                _awaited(self.async_first, url, f"{name}-asyncio")
            ),
            "first token: trio": lambda url: trio.run(self.async_first, url, f"{name}-trio"),
            "async": lambda url: asyncio.run(_awaited(self.async_post, url, "awaited")),
            "async: trio": lambda url: trio.run(self.async_post, url, f"{name} trio"),
            "async: anyio on trio": lambda url: anyio.run(self.task_group, url, backend="trio"),
            "async: anyio on asyncio": lambda url: anyio.run(self.task_group, url),
            "concurrent: gather": lambda url: asyncio.run(self.gather(url)),
            "concurrent: trio": lambda url: trio.run(self.nursery, url),
            "error": self.statuses,
            "compressed: br": self.get("/packed/br"),
            "compressed: zstd": self.get("/packed/zstd"),
            "large: both ways": self.large,
            "binary": self.binary,
            "form": self.multipart,
            "redirect": self.get(f"/moved/{name}", follow_redirects=True),
        }


async def _into(replies: dict[str, object], client: Any, url: str) -> None:
    replies[url] = (await client.get(url)).json()


async def _awaited(ask: Callable[[str, str], Any], url: str, text: str) -> object:
    return await ask(url, text)


ROWS = {"httpx": Client(httpx, "httpx").scenarios(), "httpx2": Client(httpx2, "httpx2").scenarios()}
