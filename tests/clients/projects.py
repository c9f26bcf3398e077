"""The files of projects that use a fellow recorder or mock beside ours."""

from __future__ import annotations

INI = """
[pytest]
addopts = --strict-markers --strict-config -p no:cacheprovider
filterwarnings = error
asyncio_mode = strict
asyncio_default_fixture_loop_scope = function
"""

OF_OURS = """
import asyncio, os, httpx, httpx2, pytest, requests

def chat(module, text):
    body = {"model": "m", "messages": [{"role": "user", "content": text}]}
    answer = module.post(os.environ["STUB"] + "/v1/chat/completions", json=body)
    return answer.json()["choices"][0]["message"]["content"]

def test_llm(llm, llm_calls):
    assert llm.complete("ours").text == "echo of ours"
    assert llm_calls[0].output == "echo of ours"

@pytest.mark.llm_cassette
@pytest.mark.parametrize("module", [httpx, httpx2, requests], ids=lambda module: module.__name__)
def test_client(module):
    assert chat(module, f"ours by {module.__name__}") == f"echo of ours by {module.__name__}"

@pytest.mark.asyncio
async def test_async(llm_cassette):
    async with httpx.AsyncClient() as first, httpx2.AsyncClient() as second:
        url = os.environ["STUB"] + "/v1/chat/completions"
        for client in (first, second):
            body = {"model": "m", "messages": [{"role": "user", "content": type(client).__module__}]}
            answer = await client.post(url, json=body)
            assert answer.json()["choices"][0]["message"]["content"] == f"echo of {type(client).__module__}"
"""

MARKED_VCR = """
import os, httpx, httpx2, pytest, requests

@pytest.mark.vcr
@pytest.mark.parametrize("module", [httpx, httpx2, requests], ids=lambda module: module.__name__)
def test_theirs(module):
    answer = module.get(os.environ["STUB"] + f"/theirs/{module.__name__}").json()
    assert answer == {"method": "GET", "path": f"/theirs/{module.__name__}", "body": "", "n": 1}
"""

# Marked for a fellow recorder and using fixtures of ours: it is theirs, and we step aside.
BOTH_VCR = """
import pytest

@pytest.mark.vcr
def test_marked(llm):
    assert llm.complete("both").text == "echo of both"
"""

RESPX = """
import httpx, pytest, respx

def test_theirs(respx_mock):
    respx_mock.get("https://example.org/tool").respond(json={"tool": 1})
    assert httpx.get("https://example.org/tool").json() == {"tool": 1}

@respx.mock
def test_theirs_decorated():
    route = respx.get("https://example.org/tool").respond(json={"tool": 2})
    assert httpx.get("https://example.org/tool").json() == {"tool": 2}
    assert route.call_count == 1

@pytest.mark.asyncio
async def test_theirs_async(respx_mock):
    respx_mock.post("https://example.org/tool").mock(side_effect=httpx.ConnectError)
    async with httpx.AsyncClient() as client:
        with pytest.raises(httpx.ConnectError):
            await client.post("https://example.org/tool")
"""

BOTH_RESPX = """
import os, httpx, pytest, respx
from test_ours import chat

@pytest.mark.parametrize("using", ["httpcore", "httpx"])
def test_some_are_mocked(llm, using):
    with respx.mock(using=using) as router:
        tool = router.get("https://example.org/tool").respond(json={"tool": 3})
        router.route(host="127.0.0.1").pass_through()
        assert httpx.get("https://example.org/tool").json() == {"tool": 3}
        assert tool.call_count == 1
        assert chat(httpx, f"passes {using}") == f"echo of passes {using}"
        assert llm.complete(f"both {using}").text == f"echo of both {using}"
        with pytest.raises(respx.models.AllMockedAssertionError):
            httpx.get("https://example.org/other")

@pytest.mark.llm_cassette
@pytest.mark.respx(assert_all_mocked=False, assert_all_called=False)
def test_all_are_mocked(respx_mock):
    respx_mock.get("https://example.org/a", params={"b": 1}) % 204
    assert httpx.get("https://example.org/a?b=1").status_code == 204
    assert httpx.get("https://example.org/else").status_code == 200

@pytest.mark.asyncio
async def test_async_mocked(respx_mock, llm_cassette):
    respx_mock.post("https://example.org/tool", content=b"streamed").respond(json={"tool": 4})
    respx_mock.route(host="127.0.0.1").pass_through()
    async def parts():
        yield b"streamed"
    async with httpx.AsyncClient() as client:
        answer = await client.post("https://example.org/tool", content=parts())
        assert answer.json() == {"tool": 4}
        body = {"model": "m", "messages": [{"role": "user", "content": "async"}]}
        answer = await client.post(os.environ["STUB"] + "/v1/chat/completions", json=body)
        assert answer.json()["choices"][0]["message"]["content"] == "echo of async"
    assert llm_cassette.counts.missed == 0
    assert llm_cassette.counts.replayed + llm_cassette.counts.recorded == 1
"""

HTTPX_MOCK = """
import httpx, pytest

def test_theirs(httpx_mock):
    httpx_mock.add_response(url="https://example.org/tool", json={"tool": 1})
    assert httpx.get("https://example.org/tool").json() == {"tool": 1}
    assert len(httpx_mock.get_requests()) == 1

@pytest.mark.asyncio
async def test_theirs_async(httpx_mock):
    httpx_mock.add_exception(httpx.ReadTimeout("slow"))
    async with httpx.AsyncClient() as client:
        with pytest.raises(httpx.ReadTimeout):
            await client.get("https://example.org/tool")
"""

BOTH_HTTPX_MOCK = """
import httpx, pytest
from test_ours import chat

@pytest.mark.httpx_mock(should_mock=lambda request: request.url.host != "127.0.0.1")
def test_some_are_mocked(httpx_mock, llm, llm_cassette):
    httpx_mock.add_response(json={"tool": 3})
    assert httpx.get("https://example.org/tool").json() == {"tool": 3}
    assert chat(httpx, "passes") == "echo of passes"
    assert llm.complete("both").text == "echo of both"
    assert llm_cassette.counts.missed == 0
    assert llm_cassette.counts.replayed + llm_cassette.counts.recorded == 2

@pytest.mark.llm_cassette
@pytest.mark.httpx_mock(assert_all_requests_were_expected=False)
def test_what_they_refuse_is_theirs(httpx_mock):
    with pytest.raises(httpx.TimeoutException):
        httpx.get("https://example.org/tool")
"""

# As `responses`, `aioresponses` and people with `unittest.mock` do it: a method of the client is replaced.
BY_HAND = """
import aiohttp, asyncio, httpx, httpx2, pytest, requests
from unittest import mock

def answer(*_, **__):
    made = requests.Response()
    made.status_code, made._content = 200, b"mocked"
    return made

class Reply:
    async def __aenter__(self):
        return self
    async def __aexit__(self, *_):
        return None
    async def text(self):
        return "mocked"

async def request(*_, **__):
    return Reply()

async def read(url):
    async with aiohttp.ClientSession() as session:
        return await (await session._request("GET", url)).text()

def test_theirs():
    with mock.patch.object(requests.adapters.HTTPAdapter, "send", answer):
        assert requests.get("https://example.org/").text == "mocked"
    with mock.patch.object(aiohttp.ClientSession, "_request", request):
        assert asyncio.run(read("https://example.org/")) == "mocked"
    for module in (httpx, httpx2):
        transport = module.MockTransport(lambda request, module=module: module.Response(200, text="mocked"))
        with module.Client(transport=transport) as client:
            assert client.get("https://example.org/").text == "mocked"
"""

BOTH_BY_HAND = """
import os, requests
from unittest import mock
import pytest
from test_ours import chat
from test_theirs import test_theirs as mocked, answer

@pytest.mark.llm_cassette
def test_mocked_and_recorded(llm):
    mocked()
    real = requests.adapters.HTTPAdapter.send
    def some(self, request, **how):
        return answer() if "example.org" in request.url else real(self, request, **how)
    with mock.patch.object(requests.adapters.HTTPAdapter, "send", some):
        assert requests.get("https://example.org/").text == "mocked"
        assert chat(requests, "passes") == "echo of passes"
    assert llm.complete("both").text == "echo of both"
"""
