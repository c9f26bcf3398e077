"""Time-outs, cuts and cancels of the Anthropic SDK, boto3 and openai over aiohttp are replayed as what the SDK raised."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anthropic
import boto3
import openai
import pytest
from botocore.config import Config
from botocore.exceptions import ConnectTimeoutError, ReadTimeoutError
from support.server import Reply, StubServer, stream, wait
from support.tapes import taped

LIMIT_S = 0.2
MESSAGES: Any = [{"role": "user", "content": "q"}]
EVENTS = [b"event: ping\ndata: {}\n\n"] * 4


def ask_anthropic(url: str, limit: float) -> None:
    with (
        anthropic.Anthropic(base_url=url, api_key="k", max_retries=0, timeout=limit) as client,
        client.messages.create(model="m", max_tokens=9, messages=MESSAGES, stream=True) as events,
    ):
        list(events)


def ask_anthropic_async(url: str, limit: float) -> None:
    async def ask() -> None:
        async with anthropic.AsyncAnthropic(base_url=url, api_key="k", max_retries=0, timeout=30.0) as client:
            asked = client.messages.create(model="m", max_tokens=9, messages=MESSAGES)
            await asyncio.wait_for(asked, limit)

    asyncio.run(ask())


def ask_openai_aiohttp(url: str, limit: float) -> None:
    async def ask() -> None:
        http = openai.DefaultAioHttpClient(timeout=limit)
        how: Any = {"base_url": f"{url}/v1", "api_key": "k", "max_retries": 0, "timeout": limit}
        async with openai.AsyncOpenAI(**how, http_client=http) as client:
            events = await client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
            async for _ in events:
                pass

    asyncio.run(ask())


def ask_bedrock(url: str, limit: float) -> None:
    client = boto3.client(
        "bedrock-runtime",
        endpoint_url=url,
        region_name="eu-central-1",
        aws_access_key_id="AKIA" + "STUBSTUBSTUBSTUB",
        aws_secret_access_key="k" * 20,
        config=Config(retries={"total_max_attempts": 1}, read_timeout=limit, connect_timeout=limit),
    )
    client.converse(modelId="m", messages=[{"role": "user", "content": [{"text": "q"}]}])


def ends(ask: Callable[[str, float], None], url: str, limit: float) -> type[BaseException]:
    with pytest.raises(Exception) as caught:
        ask(url, limit)
    return caught.type


@pytest.mark.parametrize(
    ("ask", "raised"),
    [
        (ask_anthropic, anthropic.APITimeoutError),
        (ask_anthropic_async, TimeoutError),
        (ask_openai_aiohttp, openai.APITimeoutError),
        (ask_bedrock, ReadTimeoutError),
    ],
)
def test_a_time_out_is_replayed(tmp_path: Path, ask: Any, raised: type) -> None:
    release = threading.Event()
    with StubServer() as server:
        server.queue.append(Reply(b"{}", before=partial(wait, release)))
        with taped(tmp_path / "a.json", "new") as tape:
            assert ends(ask, server.url, LIMIT_S) is raised
        release.set()
        assert tape.report.counts.recorded == 1
    with taped(tmp_path / "a.json") as tape:
        started = time.perf_counter()
        # The recorded time limit is over at once; that of `wait_for` too.
        assert ends(ask, server.url, 30.0) is raised
        assert time.perf_counter() - started < 10
    assert tape.verdict() is None


@pytest.mark.parametrize("ask", [ask_anthropic, ask_openai_aiohttp, ask_bedrock])
def test_a_cut_is_replayed(tmp_path: Path, ask: Any) -> None:
    with StubServer() as server:
        server.queue.append(stream(EVENTS, cut_after=2))
        with taped(tmp_path / "a.json", "new") as tape:
            raised = ends(ask, server.url, 30.0)
        assert tape.report.counts.recorded == 1
    with taped(tmp_path / "a.json"):
        assert ends(ask, server.url, 30.0) is raised


def test_a_connect_time_out_is_replayed_to_botocore(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_args: object, **_more: object) -> None:
        raise TimeoutError("timed out")

    with taped(tmp_path / "a.json", "new"):
        monkeypatch.setattr("urllib3.util.connection.create_connection", never)
        assert ends(ask_bedrock, "http://localhost:1", LIMIT_S) is ConnectTimeoutError
        monkeypatch.undo()
    with taped(tmp_path / "a.json"):
        assert ends(ask_bedrock, "http://localhost:1", 30.0) is ConnectTimeoutError
