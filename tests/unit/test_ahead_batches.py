"""Batches: their state on disk, what goes into one, and what they cost."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import httpx2
import pytest
from support.messages import check_message

from pytest_llmops import trace
from pytest_llmops.cassettes.budget import CallCosts, Ledger
from pytest_llmops.cassettes.request_key import (
    Answer,
    Question,
    answer_from_wire,
    answer_to_wire,
    build_question,
    make_exchange,
)
from pytest_llmops.errors import BudgetReached, UsageError
from pytest_llmops.harness.ahead.answers import Place
from pytest_llmops.harness.ahead.batch_apis import (
    BatchedRequest,
    BatchState,
    BatchStatus,
    create_batch,
    describe_late_results,
    find_batch,
    read_results,
    read_states,
    retrieve_batch,
)
from pytest_llmops.harness.ahead.batch_groups import find_group
from pytest_llmops.harness.ahead.batches import BatchSender
from pytest_llmops.protocols import Usage
from pytest_llmops.providers.sdk_calls import pricing_facts, response_latency
from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.settings import Settings
from pytest_llmops.trace import read_call

URL = "https://api.openai.com/v1/chat/completions"
BODY = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "x" * 40}], "max_tokens": 1000}


def new_state() -> BatchState:
    requests = {
        "a" * 40: BatchedRequest("tests/cassettes/a.json", "key", 1),
        "b" * 40: BatchedRequest("ä.json", "key", 2),
    }
    created = datetime(2026, 11, 28, 14, 5, tzinfo=UTC)
    return BatchState("openai", URL, "/chat/completions", "m", "hash", created, 1, requests, "batch_1")


def test_a_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = new_state().write(tmp_path)
    assert read_states(tmp_path) == {path: new_state()}
    assert not list(tmp_path.rglob(".journal"))


def test_a_state_that_is_cut_is_never_half_read(tmp_path: Path) -> None:
    path = new_state().write(tmp_path)
    whole = path.read_bytes()
    for size in (*range(0, len(whole) - 1, 29), len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(UsageError) as caught:
            read_states(tmp_path)
        assert path.name in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("version", 2),
        ("requests", {"a": ["x", "y"]}),
        ("requests", []),
        ("depth", "1"),
        ("created", "yesterday"),
        ("id", None),
    ],
)
def test_a_state_of_another_form_is_refused(tmp_path: Path, name: str, value: object) -> None:
    path = new_state().write(tmp_path)
    path.write_text(json.dumps({**json.loads(path.read_bytes()), name: value}), encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        read_states(tmp_path)
    assert name in str(caught.value)
    if name == "version":
        check_message(caught.value)


def test_the_newest_state_comes_first(tmp_path: Path) -> None:
    for day in (27, 29, 28):
        state = new_state()
        state.created, state.input = state.created.replace(day=day), str(day)
        state.write(tmp_path)
    assert [state.input for state in read_states(tmp_path).values()] == ["29", "28", "27"]


def pending(url: str, module: Any = httpx2, body: Any = BODY, **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = module.Request("POST", url, json=body, headers=named)
    redactor = Redactor()
    question = build_question("POST", url, dict(request.headers), request.content, redactor)
    return SimpleNamespace(
        request=request, question=question, tape=SimpleNamespace(config=SimpleNamespace(redactor=redactor))
    )


@pytest.mark.parametrize("module", [httpx, httpx2])
@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (URL, ("openai", "/chat/completions", "https://api.openai.com/v1", "gpt-4o-mini")),
        ("http://u:p@h:1/v1/responses", ("openai", "/responses", "http://h:1/v1", "gpt-4o-mini")),
        ("https://api.anthropic.com/v1/messages?beta=true", ("anthropic", "/v1/messages", "https://api.anthropic.com", "gpt-4o-mini")),
        ("https://api.groq.com/openai/v1/chat/completions", ("", "/chat/completions", "https://api.groq.com/openai/v1", "gpt-4o-mini")),
        ("https://x.openai.azure.com/openai/deployments/d/chat/completions", ("", "", "https://x.openai.azure.com/openai/deployments/d/chat/completions", "gpt-4o-mini")),
        ("https://api.cohere.com/v2/chat", ("", "", "https://api.cohere.com/v2/chat", "gpt-4o-mini")),
    ],
)  # fmt: skip
def test_the_vendor_of_a_batch(module: Any, url: str, expected: tuple[str, ...]) -> None:
    group = find_group(pending(url, module))
    assert (group.vendor, group.endpoint, group.base_url, group.model) == expected


def test_a_batch_has_one_account_one_model_and_one_set_of_headers() -> None:
    group = find_group(pending(URL, authorization="Bearer a", openai_project="p", x_request_id="1"))
    assert group == find_group(pending(URL, authorization="Bearer a", openai_project="p", x_request_id="2"))
    others = [
        pending(URL, authorization="Bearer b", openai_project="p"),
        pending(URL, authorization="Bearer a", openai_project="q"),
        pending(URL, authorization="Bearer a", openai_project="p", openai_beta="x"),
        pending(URL, body={**BODY, "model": "other"}, authorization="Bearer a", openai_project="p"),
    ]
    assert group not in map(find_group, others)


def test_a_custom_id_is_the_same_wherever_the_project_lies(tmp_path: Path) -> None:
    def ids(root: Path) -> list[str]:
        sender = BatchSender(1, lambda *_: None, root=root, settings=Settings())
        sender.stop()
        cassette = str(root / "cassettes/a.json")
        places = [
            (cassette, "k", "0", 0),
            (cassette, "k", "0", 1),
            (cassette, "k", "1", 0),
            ("", "k", "0", 0),
        ]
        return [sender._make_custom_id(Place(*place)) for place in places]

    result = ids(tmp_path)
    assert result == ids(tmp_path / "elsewhere")
    assert len(set(result)) == 4
    assert {len(name) for name in result} == {40}
    assert all(name.isascii() and name.isalnum() for name in result)


def test_what_a_vendor_says_is_never_believed_blindly() -> None:
    lines = [
        b"not json", b"[]", b'{"custom_id": 7}', b'{"custom_id": "a"}', b'{"custom_id": "b", "response": {"status_code": "200", "body": {}}}',
        b'{"custom_id": "c", "response": {"status_code": 200, "body": "text"}}', b'{"custom_id": "d", "result": {"type": "succeeded"}}',
        b'{"custom_id": "e", "result": {"type": "errored", "error": {"error": {"type": "new_error"}}}}',
        b'{"custom_id": "f", "response": {"status_code": 0, "body": {}}}',
    ]  # fmt: skip
    results = dict(read_results(lambda *_: Answer(200, {}, b"\n".join(lines)), ["/x"]))
    assert results.keys() == set("abcdef")
    assert all(answer.is_transient for answer in results.values())
    state = new_state()
    state.id = "../../x?y"
    asked: list[str] = []

    def call(_: str, path: str) -> Answer:
        asked.append(path)
        return Answer(
            200, {}, b'{"status": "completed", "output_file_id": "../files", "errors": {"data": [{}]}}'
        )

    assert retrieve_batch(call, state) == BatchStatus(False, "", ("/files/..%2Ffiles/content",), 2)
    assert asked == ["/batches/..%2F..%2Fx%3Fy"]


@pytest.mark.parametrize(
    ("status", "counts", "count"),
    [
        ("completed", {"total": 2, "completed": 0, "failed": 0}, 2),  # the numbers may come later too
        ("expired", None, 2),
        ("cancelled", {"total": 2, "completed": 1, "failed": 0}, 1),
        ("cancelled", {"total": 2, "completed": "1", "failed": True}, 0),
        ("cancelled", None, 0),
    ],
)
def test_how_many_results_a_batch_has(status: str, counts: object, count: int) -> None:
    state = new_state()
    body = json.dumps({"status": status, "request_counts": counts}).encode()
    batch_status = retrieve_batch(lambda *_: Answer(200, {}, body), state)
    assert batch_status.result_count == count
    state.created = datetime.now(UTC) - timedelta(
        hours=24, minutes=30
    )  # those of a batch that expires come then
    late = [
        describe_late_results(state, batch_status, names)
        for names in ((), ("a" * 40,), tuple(state.requests))
    ]
    assert [bool(text) for text in late] == [count > 0, count > 1, False]
    state.created -= timedelta(hours=1)
    assert describe_late_results(state, batch_status, ()) == ""


def read(answer: Answer) -> Any:
    question = Question("POST", URL, b"", "", "", {"model": "gpt-4o-mini", "messages": []})
    return read_call(make_exchange(question, answer, "app", replayed=True))


def test_a_batch_costs_half_when_it_is_recorded_and_when_it_is_replayed() -> None:
    usage = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}
    body = json.dumps(
        {"object": "chat.completion", "model": "gpt-4o-mini", "choices": [], "usage": usage}
    ).encode()
    live = Answer(200, {"content-type": "application/json"}, body, latency_s=1.0)
    batched = Answer(200, {"content-type": "application/json"}, body, is_batched=True)
    wires = [answer_to_wire(answer, Redactor()) for answer in (live, batched)]
    assert [wire.get("batch") for wire in wires] == [None, True]
    full, half = (read(answer_from_wire(wire)) for wire in wires)
    assert (read(live).cost_usd, read(batched).cost_usd) == (full.cost_usd, half.cost_usd)
    assert half.cost_usd == full.cost_usd * trace.BATCH_PRICE > 0
    assert half.latency_s is None


def test_the_model_fixture_knows_the_price_of_a_batch() -> None:
    request = httpx2.Request("POST", URL)
    raw = SimpleNamespace(http_response=SimpleNamespace(request=request, extensions={}))
    used = Usage(input_tokens=1000, output_tokens=100)
    full = trace.cost_usd("gpt-4o-mini", used, **pricing_facts(raw))
    raw.http_response.extensions = {"llmops": {"is_batched": True}}
    half = trace.cost_usd("gpt-4o-mini", used, **pricing_facts(raw))
    assert full
    assert half == full / 2
    assert response_latency(raw, 2.0) is None
    assert trace.cost_usd("no-such-model", used, is_batched=True) is None


def test_the_budget_reserves_half_for_a_batch(tmp_path: Path) -> None:
    question = Question("POST", URL, b"", "", "k", BODY)
    full = Ledger(tmp_path / "a", budget_usd=1.0).estimate(BODY, URL)
    assert full
    CallCosts(Ledger(tmp_path / "b", budget_usd=full * 0.6)).reserve(question, is_batched=True)
    with pytest.raises(BudgetReached):
        CallCosts(Ledger(tmp_path / "c", budget_usd=full * 0.6)).reserve(question)


class Vendor:
    """Answers calls of a batch API by their paths, and notes them."""

    def __init__(self, **answers: Any) -> None:
        self.answers = {name.replace("_", "/"): answer for name, answer in answers.items()}
        self.calls: list[tuple[str, str, Any]] = []

    def __call__(self, method: str, path: str, **content: Any) -> Answer:
        self.calls.append((method, path, content))
        answer = next(answer for end, answer in self.answers.items() if path.endswith(end))
        return Answer(200, {}, answer if isinstance(answer, bytes) else json.dumps(answer).encode())


def unconfirmed(vendor: str) -> BatchState:
    state = new_state()
    state.vendor, state.id = vendor, ""
    state.created = datetime(2026, 11, 28, 14, 5, tzinfo=UTC)
    return state


def test_an_unconfirmed_batch_of_openai_is_the_one_with_our_hash() -> None:
    others = [{"id": "a", "metadata": {"llmops": "other"}}, {"id": "b"}, {"id": "c", "metadata": None}]
    mine = {"id": "mine", "metadata": {"llmops": "hash"}}
    vendor = Vendor(batches={"data": [*others, mine]})
    assert find_batch(vendor, unconfirmed("openai"), set()) == "mine"
    assert vendor.calls == [("GET", "/batches", {"params": {"limit": "100"}})]
    assert find_batch(Vendor(batches={"data": others}), unconfirmed("openai"), set()) == ""


RESULTS = json.dumps({"custom_id": "b" * 40, "result": {"type": "expired"}}).encode()


@pytest.mark.parametrize(
    ("batch", "status", "results", "expected"),
    [
        ({"id": "x", "created_at": "2026-11-28T14:06:00Z"}, "in_progress", b"", "x"),
        ({"id": "x", "created_at": "2026-11-28T14:01:00Z"}, "in_progress", b"", "x"),  # its clock is behind
        ({"id": "x", "created_at": "2026-11-28T13:59:00Z"}, "in_progress", b"", ""),
        ({"id": "known", "created_at": "2026-11-28T14:06:00Z"}, "in_progress", b"", ""),
        ({"id": "x"}, "in_progress", b"", ""),
        ({"id": "x", "created_at": "2026-11-28T14:06:00Z"}, "ended", RESULTS, "x"),
        ({"id": "x", "created_at": "2026-11-28T14:06:00Z"}, "ended", b'{"custom_id": "other"}', ""),
    ],
)
def test_an_unconfirmed_batch_of_anthropic_is_one_that_is_open_or_has_our_results(
    batch: dict[str, str], status: str, results: bytes, expected: str
) -> None:
    of_others = {"id": "known", "created_at": "2026-11-28T14:07:00Z"}
    vendor = Vendor(
        batches={"data": [of_others, batch]}, results=results, batches_x={"processing_status": status}
    )
    assert find_batch(vendor, unconfirmed("anthropic"), {"known"}) == expected


def test_a_batch_of_openai_is_a_file_and_one_of_anthropic_is_not() -> None:
    bodies: dict[str, Any] = {"a": {"model": "m"}, "b": {"model": "m", "n": 1}}
    vendor = Vendor(files={"id": "file-1"}, batches={"id": "batch-1"})
    assert create_batch(vendor, unconfirmed("openai"), bodies) == "batch-1"
    (_, _, upload), (_, _, create) = vendor.calls
    lines = [json.loads(line) for line in upload["files"]["file"][1].splitlines()]
    wanted = {"method": "POST", "url": "/v1/chat/completions"}
    assert lines == [{"custom_id": name, **wanted, "body": body} for name, body in bodies.items()]
    assert upload["data"] == {"purpose": "batch"}
    assert create["once"] is True
    assert create["json"] == {
        "input_file_id": "file-1",
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        "metadata": {"llmops": "hash"},
    }
    vendor = Vendor(batches={"id": "batch-2"})
    assert create_batch(vendor, unconfirmed("anthropic"), bodies) == "batch-2"
    rows = [{"custom_id": name, "params": body} for name, body in bodies.items()]
    assert vendor.calls == [("POST", "/v1/messages/batches", {"once": True, "json": {"requests": rows}})]


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("invalid_request_error", 400),
        ("authentication_error", 401),
        ("billing_error", 402),
        ("permission_error", 403),
        ("not_found_error", 404),
        ("request_too_large", 413),
        ("rate_limit_error", 429),
        ("api_error", 500),
        ("timeout_error", 504),
        ("overloaded_error", 529),
    ],
)
def test_an_error_of_anthropic_has_the_status_that_it_has_live(kind: str, status: int) -> None:
    error = {"type": "error", "error": {"type": kind, "message": "no"}}
    line = json.dumps({"custom_id": "a", "result": {"type": "errored", "error": error}}).encode()
    ((name, answer),) = read_results(lambda *_: Answer(200, {}, line), ["/results"])
    assert (name, answer.status, answer.is_batched) == ("a", status, True)
    assert json.loads(answer.body) == error
