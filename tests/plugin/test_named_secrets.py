"""Secrets that only a name gives away are sent, answered, logged and raised; nothing that the run wrote holds one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import urlsplit

import pytest
from support.named_secrets import KINDS, find_leaks, texts
from support.page import unpack_report
from support.project import Project
from support.server import Reply, Seen, StubServer, chat_answer, json_reply, stream

CLIENTS = ("openai", "httpx", "httpx2", "requests", "aiohttp")
TESTS = """
import asyncio, json, logging, os, sys
import aiohttp, httpx, httpx2, openai, pytest, requests

STUB, KINDS, TEXTS = os.environ["STUB"], json.loads(os.environ["KINDS"]), json.loads(os.environ["TEXTS"])
HEADERS = {**KINDS["request header"], "Cookie": "sid=" + KINDS["request header"]["Cookie"],
           "Authorization": "Bearer " + KINDS["request header"]["Authorization"]}

def by_openai(path, **sent):
    client = openai.OpenAI(api_key="any-placeholder", base_url=STUB, max_retries=0)
    body = {**sent.get("json", {}), **sent.get("data", {})}
    answer = client.chat.completions.with_raw_response.create(model="m", messages=[{"role": "user", "content": path}],
        extra_headers=sent.get("headers"), extra_query=sent.get("params"), extra_body=body)
    return answer.http_response.text

def by_module(module):
    def ask(path, **sent):
        return module.post(STUB + path, **sent).text
    return ask

def by_aiohttp(path, files=None, **sent):
    async def ask():
        data = sent.pop("data", None)
        if files:
            data = aiohttp.FormData()
            for name, (_, value) in files.items():
                data.add_field(name, value, content_type="text/plain")
        async with aiohttp.ClientSession() as session, session.post(STUB + path, data=data, **sent) as answer:
            return await answer.text()
    return asyncio.run(ask())

ASK = {"openai": by_openai, "httpx": by_module(httpx), "httpx2": by_module(httpx2), "requests": by_module(requests), "aiohttp": by_aiohttp}

def ask_all(name):
    ask = ASK[name]
    answers = [ask("/echo", headers=HEADERS, params=KINDS["URL parameter"], json=KINDS["request JSON"])]
    answers += [ask("/answer", json={"a": 1}), ask("/location", json={"b": 1}), ask("/stream", json={"c": 1, "stream": True})]
    if name != "openai":
        answers.append(ask("/echo", data=KINDS["form field"]))
        answers.append(ask("/echo", files={name: (None, value) for name, value in KINDS["multipart field"].items()}))
    answers += [ask("/echo", json={"text": text}) for text in TEXTS.values()]
    return answers

@pytest.mark.llm_cassette
@pytest.mark.parametrize("name", ASK)
def test_ask(name):
    ask_all(name)

@pytest.mark.llm_cassette
@pytest.mark.parametrize("name", ASK)
def test_fail(name):
    answers = ask_all(name)
    every = [value for place, kinds in KINDS.items() if place != "key file" for value in kinds.values()] + list(TEXTS.values())
    whole = {place: kinds for place, kinds in KINDS.items() if place != "key file"}
    if name == "openai":  # sends JSON alone
        ask = by_module(httpx2)
        ask("/echo", data=KINDS["form field"])
        ask("/echo", files={name: (None, value) for name, value in KINDS["multipart field"].items()})
    print("printed", every)
    print("printed", every, file=sys.stderr)
    logging.getLogger("app").debug("logged %s %s", every, "as a list")
    try:
        raise KeyError(every)
    except KeyError as error:
        raise RuntimeError("failed with " + chr(10).join(every)) from error

@pytest.mark.llm_cassette
def test_compare():
    answers = ask_all("httpx2")
    assert KINDS["answer JSON"] == {"access_token": "other"}
"""


class OAuthServer(StubServer):
    """Says back what it was sent, with its headers, and gives out secrets of its own."""

    def answer(self, seen: Seen) -> Reply:
        self.seen.append(seen)
        path = urlsplit(seen.path).path
        if path.endswith("/chat/completions"):
            path = json.loads(seen.body)["messages"][0]["content"]
        echo = {
            "headers": dict(seen.headers),
            "path": seen.path,
            "body": seen.body.decode("utf-8", "replace"),
        }
        if path == "/answer":
            secrets = KINDS["answer JSON"]
            headers = {
                **KINDS["answer header"],
                "Set-Cookie": f"sid={KINDS['answer header']['Set-Cookie']}; Path=/",
            }
            body = {
                "oauth": secrets,
                "again": list(secrets.values()),
                "seen": list(KINDS["answer header"].values()),
            }
            reply = json_reply({**chat_answer("ok"), **body})
            return replace(reply, headers={**reply.headers, **headers})
        if path == "/location":
            query = "&".join(f"{name}={value}" for name, value in KINDS["location"].items())
            body = {"again": list(KINDS["location"].values())}
            return json_reply(
                {**chat_answer("ok"), **body}, status=201, location=f"https://app.example/cb?{query}"
            )
        if path == "/stream":
            text = json.dumps(KINDS["stream, cut"])
            pieces = [text[n : n + 5] for n in range(0, len(text), 5)]
            return stream([{"choices": [{"index": 0, "delta": {"content": piece}}]} for piece in pieces])
        return json_reply({**chat_answer(json.dumps(echo)), "echo": echo})


@pytest.fixture
def planted(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    for name, value in KINDS["environment"].items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("KINDS", json.dumps(KINDS))
    monkeypatch.setenv("TEXTS", json.dumps(texts()))
    with OAuthServer() as server:
        monkeypatch.setenv("STUB", server.url)
        project = Project(pytester, server)
        project.write(**{"test_planted.py": TESTS})
        yield project


def test_no_secret_with_a_telling_name_is_in_anything_that_a_run_wrote(planted: Project) -> None:
    assert sum(map(len, KINDS.values())) >= 85
    result = planted.record(
        "--llm-report=report.html", "--llm-report=report.json", "--junitxml=report.xml", "-o", "junit_logging=all", "-rA", "-l",
        "-vv", "--log-level=DEBUG", "--log-file=log.txt", "--log-file-level=DEBUG", "--log-cli-level=DEBUG", "-p", "cacheprovider",
    )  # fmt: skip
    assert result.outcomes == {"passed": len(CLIENTS), "failed": len(CLIENTS) + 1}, result.outcomes
    files = {"terminal": result.text.encode()}
    for path in planted.path.rglob("*"):
        if path.is_file() and path.name != "test_planted.py" and path.parent.name != "__pycache__":
            files[path.relative_to(planted.path).as_posix()] = unpack_report(path.name, path.read_bytes())
    assert {"report.html", "report.json", "report.xml", "run-file.json", "log.txt"} <= set(files)
    assert len([name for name in files if name.startswith("cassettes/")]) == 2 * len(CLIENTS) + 1
    assert b"logged" in files["log.txt"]
    leaks = list(find_leaks(files))
    assert not leaks, f"{len(leaks)}\n" + "\n".join(leaks[:60])
    planted.server.close()
    assert planted.run("-k", "test_ask").outcomes == {"passed": len(CLIENTS)}
