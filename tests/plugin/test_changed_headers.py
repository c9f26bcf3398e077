"""--llm-record=changed and headers: one that chooses behaviour makes a request a changed one, others are named, secrets are not written."""

from __future__ import annotations

import json
import re

import pytest
from support.messages import check_message
from support.project import Project, Result

CLIENTS = ("httpx", "httpx2", "requests", "aiohttp", "urllib3", "urllib", "openai")
SUITE = """
import asyncio, json, os, urllib.request
import aiohttp, httpx, httpx2, openai, pytest, requests, urllib3

HEADERS = json.loads(HEADERS_TEXT)
BODY = {"model": "m", "messages": [{"role": "user", "content": "say it"}]}

async def ask_aiohttp(url):
    async with aiohttp.ClientSession(headers=HEADERS) as session:
        async with session.post(url, json=BODY) as answer:
            return await answer.text()

def ask(client):
    base = os.environ["OPENAI_BASE_URL"]
    url = f"{base}/chat/completions"
    data = json.dumps(BODY).encode()
    if client == "aiohttp":
        return asyncio.run(ask_aiohttp(url))
    if client == "urllib3":
        with urllib3.PoolManager() as pool:
            return pool.request("POST", url, body=data, headers=HEADERS).data
    if client == "urllib":
        with urllib.request.urlopen(urllib.request.Request(url, data, HEADERS)) as answer:
            return answer.read()
    if client == "openai":
        with openai.OpenAI(base_url=base, api_key="unused", default_headers=HEADERS) as sdk:
            return sdk.chat.completions.create(**BODY).to_json()
    return {"httpx": httpx, "httpx2": httpx2, "requests": requests}[client].post(url, json=BODY, headers=HEADERS).text

@pytest.mark.llm_cassette
@pytest.mark.parametrize("client", CLIENTS)
def test_ask(client):
    assert "echo" in str(ask(client))
"""
KEY = "Bearer credential-of-monday-0123456789"
HEADERS = {"Anthropic-Beta": "tools-2, cache-1", "X-Tenant": "north", "Authorization": KEY, "X-Request-Id": "1", "Traceparent": "1"}  # fmt: skip


def write_suite(project: Project, headers: dict[str, str], clients: tuple[str, ...] = CLIENTS) -> None:
    text = SUITE.replace("HEADERS_TEXT", repr(json.dumps(headers))).replace("CLIENTS", repr(clients))
    project.write(**{"test_a.py": text})


def run_changed(project: Project, *args: str, workers: int = 0) -> tuple[Result, int, list[str]]:
    """Return a run with --llm-record=changed, how many calls it made, and its notes without the one on the calls."""
    before = project.server.count
    result = project.run(
        "--llm-record=changed", f"--llm-base-url={project.server.url}/v1", *args, workers=workers
    )
    notes = [note for note in result.run.notes if not note.startswith("--llm-record=changed: ")]
    return result, project.server.count - before, notes


@pytest.mark.parametrize(
    ("name", "value"),
    [("anthropic-beta", "tools-2"), ("OpenAI-Organization", "org-0123456789")],
)
def test_a_header_that_chooses_behaviour_makes_a_request_a_changed_one(
    project: Project, name: str, value: str
) -> None:
    write_suite(project, HEADERS)
    project.record()
    changed = {name: value, **{other: text for other, text in HEADERS.items() if other.lower() != name}}
    write_suite(project, changed)
    result, calls, notes = run_changed(project)
    assert (result.outcomes, calls) == ({"passed": len(CLIENTS)}, len(CLIENTS))
    assert [note.partition(":")[0] for note in notes] == [f"changed, header {name.lower()}"]
    assert run_changed(project)[1:] == (0, [])
    assert project.run().outcomes == {"passed": len(CLIENTS)}
    assert value not in str(project.cassettes()) or name == "anthropic-beta"


def test_headers_in_another_case_and_order_and_those_of_the_moment_change_nothing(project: Project) -> None:
    write_suite(project, HEADERS)
    project.record()
    write_suite(
        project,
        {
            "user-agent": "other/1", "x-request-id": "2", "traceparent": "2", "idempotency-key": "2", "x-stainless-lang": "c",
            "authorization": KEY, "x-tenant": "north", "anthropic-beta": "cache-1,tools-2",
        },
    )  # fmt: skip
    assert run_changed(project)[1:] == (0, [])
    for content in project.cassettes().values():
        answer = json.loads(content)["interactions"][0]["answers"]["0"][0]
        assert answer["request_headers"].keys() == {"anthropic-beta", "authorization", "x-tenant"}


def test_other_headers_and_another_secret_are_named_and_no_value_is_written(
    project: Project, workers: int
) -> None:
    write_suite(project, HEADERS)
    project.record()
    stored = b"".join(project.cassettes().values())
    assert stored.count(b'"x-tenant": "') == len(CLIENTS)
    write_suite(
        project, HEADERS | {"X-Tenant": "south", "Authorization": "Bearer credential-of-tuesday-9876543210"}
    )
    result, calls, notes = run_changed(project, workers=workers)
    assert (result.outcomes, calls) == ({"passed": len(CLIENTS)}, 0)
    assert len(notes) == 2
    check_message("\n".join(notes))
    assert notes[0] in result.text.replace("\n", " ")
    shown = stored.decode() + result.text + (project.path / "run-file.json").read_text()
    assert not re.search("credential|north|south|monday", shown.replace(str(project.path), ""))


def test_a_missing_key_is_no_other_secret_and_a_replay_compares_no_headers(project: Project) -> None:
    write_suite(project, HEADERS, ("httpx",))
    project.record()
    write_suite(project, {"Anthropic-Beta": HEADERS["Anthropic-Beta"]}, ("httpx",))
    _, calls, notes = run_changed(project)
    assert (calls, len(notes)) == (0, 1)
    assert "header x-tenant differs" in notes[0]
    write_suite(project, {"Anthropic-Beta": "none"}, ("httpx",))
    assert project.run().outcomes == {"passed": 1}


def test_a_recording_without_headers_is_taken_as_unchanged(project: Project) -> None:
    write_suite(project, HEADERS, ("httpx", "aiohttp"))
    project.record()
    for place, content in project.cassettes().items():
        document = json.loads(content)
        for interaction in document["interactions"]:
            del interaction["answers"]["0"][0]["request_headers"]
        project.write(**{place: json.dumps(document)})
    write_suite(project, HEADERS | {"Anthropic-Beta": "none"}, ("httpx", "aiohttp"))
    _, calls, notes = run_changed(project)
    assert calls == 0
    check_message("\n".join(notes))


def test_all_trials_of_a_changed_request_are_new(project: Project) -> None:
    text = """
import httpx, os, pytest

@pytest.mark.llm_cassette
def test_trials(llm):
    body = {"model": "m", "messages": [{"role": "user", "content": "say it"}]}
    headers = {"anthropic-beta": "BETA"}
    assert httpx.post(os.environ["OPENAI_BASE_URL"] + "/chat/completions", json=body, headers=headers).status_code == 200
"""
    project.write(**{"test_a.py": text})
    project.record("--llm-trials=3")
    project.write(**{"test_a.py": text.replace("BETA", "NEXT")})
    assert run_changed(project, "--llm-trials=2")[1] == 2
    stored = b"".join(project.cassettes().values())
    assert (stored.count(b'"NEXT"'), stored.count(b'"BETA"')) == (2, 0)
