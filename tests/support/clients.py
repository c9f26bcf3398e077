"""One question by each way an application can ask it; each returns plain values."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Callable
from typing import Any

import aiohttp
import httpx
import httpx2
import openai
import requests
import urllib3

KEY = "credential-of-the-client"
MESSAGES: Any = [{"role": "user", "content": "one two three"}]


def sync_client(url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0)


def async_client(url: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0)


def openai_chat(url: str) -> object:
    with sync_client(url) as client:
        return client.chat.completions.create(model="m", messages=MESSAGES).model_dump()


def openai_raw(url: str) -> object:
    with sync_client(url) as client:
        raw = client.chat.completions.with_raw_response.create(model="m", messages=MESSAGES)
        return raw.http_response.content, raw.parse().model_dump()


def openai_streaming_response(url: str) -> object:
    with (
        sync_client(url) as client,
        client.chat.completions.with_streaming_response.create(model="m", messages=MESSAGES) as raw,
    ):
        return b"".join(raw.iter_bytes())


def openai_stream(url: str) -> object:
    with (
        sync_client(url) as client,
        client.chat.completions.create(model="m", messages=MESSAGES, stream=True) as stream,
    ):
        return [chunk.model_dump() for chunk in stream]


def openai_stream_helper(url: str) -> object:
    with sync_client(url) as client, client.chat.completions.stream(model="m", messages=MESSAGES) as stream:
        return stream.get_final_completion().model_dump()


def openai_responses(url: str) -> object:
    with sync_client(url) as client:
        return client.responses.create(model="m", input="one two").model_dump()


def openai_responses_stream(url: str) -> object:
    with (
        sync_client(url) as client,
        client.responses.create(model="m", input="one two", stream=True) as stream,
    ):
        return [chunk.model_dump() for chunk in stream]


def openai_embeddings(url: str) -> object:
    with sync_client(url) as client:
        return client.embeddings.create(model="m", input=["a", "bb"]).model_dump()


def openai_async(url: str) -> object:
    async def ask() -> object:
        async with async_client(url) as client:
            return (await client.chat.completions.create(model="m", messages=MESSAGES)).model_dump()

    return asyncio.run(ask())


def openai_gather(url: str) -> object:
    async def ask() -> object:
        async with async_client(url) as client:
            requests = [
                client.chat.completions.create(model="m", messages=[{"role": "user", "content": f"q{n}"}])
                for n in range(6)
            ]
            return [completion.choices[0].message.content for completion in await asyncio.gather(*requests)]

    return asyncio.run(ask())


def openai_async_stream(url: str) -> object:
    async def ask() -> object:
        async with async_client(url) as client:
            stream = await client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
            async with stream:
                return [chunk.model_dump() async for chunk in stream]

    return asyncio.run(ask())


def httpx_sync(url: str) -> object:
    with httpx.Client() as client:
        return client.post(f"{url}/x", json={"a": 1}).json()


def httpx_async(url: str) -> object:
    async def ask() -> object:
        async with httpx.AsyncClient() as client:
            return (await client.post(f"{url}/x", json={"a": 1})).json()

    return asyncio.run(ask())


def httpx2_sync(url: str) -> object:
    with httpx2.Client() as client:
        return client.get(f"{url}/x?b=2&a=1").json()


def httpx2_upload(url: str) -> object:
    with httpx2.Client() as client:
        return client.post(f"{url}/x", files={"f": ("n.txt", b"content")}).status_code


def requests_session(url: str) -> object:
    with requests.Session() as session:
        return session.post(f"{url}/x", json={"a": 1}).json()


def requests_stream(url: str) -> object:
    with requests.Session() as session:
        body = {"stream": True, "messages": MESSAGES}
        with session.post(f"{url}/v1/chat/completions", json=body, stream=True) as answer:
            return list(answer.iter_lines())


def urllib3_pool(url: str) -> object:
    with urllib3.PoolManager() as pool:
        return pool.request("POST", f"{url}/x", body=b"text").json()


def urllib_request(url: str) -> object:
    with urllib.request.urlopen(urllib.request.Request(f"{url}/x", data=b"text")) as answer:
        return answer.status, json.loads(answer.read())


def aiohttp_json(url: str) -> object:
    async def ask() -> object:
        async with aiohttp.ClientSession() as session, session.post(f"{url}/x", json={"a": [1]}) as answer:
            return await answer.json()

    return asyncio.run(ask())


def aiohttp_list(url: str) -> object:
    async def ask() -> object:
        async with aiohttp.ClientSession() as session, session.post(f"{url}/x", json=["ab"]) as answer:
            return await answer.json()

    return asyncio.run(ask())


def aiohttp_form(url: str) -> object:
    async def ask() -> object:
        form = aiohttp.FormData()
        form.add_field("file", b"content", filename="n.txt")
        async with aiohttp.ClientSession() as session, session.post(f"{url}/x", data=form) as answer:
            return answer.status

    return asyncio.run(ask())


CLIENTS: list[Callable[[str], object]] = [
    openai_chat,
    openai_raw,
    openai_streaming_response,
    openai_stream,
    openai_stream_helper,
    openai_responses,
    openai_responses_stream,
    openai_embeddings,
    openai_async,
    openai_gather,
    openai_async_stream,
    httpx_sync,
    httpx_async,
    httpx2_sync,
    httpx2_upload,
    requests_session,
    requests_stream,
    urllib3_pool,
    urllib_request,
    aiohttp_json,
    aiohttp_list,
    aiohttp_form,
]
