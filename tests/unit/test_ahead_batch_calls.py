"""Calls of a batch API, and how requests are split among batches."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.batch_runs import KEY, MESSAGES, Run
from support.messages import check_message

from pytest_llmops.cassettes import Answer
from pytest_llmops.errors import ModelError, UsageError
from pytest_llmops.harness.ahead import batch_groups
from pytest_llmops.harness.ahead.batch_apis import LIMITS, check_batch_options
from pytest_llmops.harness.ahead.batch_groups import BatchCaller, ChunkNumbers


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """A run whose tries follow each other at once."""
    monkeypatch.setattr(batch_groups, "PAUSES_S", (0.0, 0.0, 0.0))
    nobody: Any = None
    run = Run(tmp_path, nobody)
    yield run
    run.close()


def test_batches_are_split_by_count_by_bytes_and_by_the_texts_of_embeddings(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(LIMITS, "openai", (3, 10**6))
    chat = [run.make_request(text) for text in "abcd"]
    group = batch_groups.find_group(chat[0])
    numbers = ChunkNumbers(group)
    assert [numbers.add(pending) for pending in chat] == [(0, 0), (0, 0), (1, 0), (1, 0)]
    monkeypatch.setitem(LIMITS, "openai", (99, 1000))
    numbers = ChunkNumbers(group)
    size = len(chat[0].request.content) + batch_groups.MAX_TEXT
    assert [numbers.add(pending)[1] for pending in chat] == [n * size // 1000 for n in (1, 2, 3, 4)]
    monkeypatch.setitem(LIMITS, "openai", (4, 10**6))
    url = "https://api.openai.com/v1/embeddings"
    texts = [
        run.make_request("e", url=url, input=text) for text in (["a", "b"], "one text", ["c"], ["d"] * 9)
    ]
    numbers = ChunkNumbers(batch_groups.find_group(texts[0]))
    assert [numbers.add(pending)[0] for pending in texts] == [0, 0, 1, 3]


def make_caller(run: Run) -> BatchCaller:
    return BatchCaller(run.make_request("x", url=f"{MESSAGES}?beta=true"), threading.Event())


@pytest.mark.parametrize(
    ("statuses", "how", "calls", "status"),
    [
        ([200], {}, 1, 200),
        ([500, 200], {}, 2, 200),
        ([429, 500, 201], {}, 3, 201),
        ([404], {"method": "GET"}, 1, 404),
    ],
)
def test_a_server_that_fails_for_the_moment_is_asked_again(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    *,
    statuses: list[int],
    how: dict[str, Any],
    calls: int,
    status: int,
) -> None:
    left = list(statuses)
    seen: list[Any] = []

    def send(_: object, request: Any) -> Answer:
        seen.append(request)
        return Answer(left.pop(0), {}, b'{"id": "batch_1"}')

    monkeypatch.setattr(batch_groups, "send_request", send)
    answer = make_caller(run)(how.get("method", "POST"), "/v1/messages/batches", json={"a": 1})
    assert (answer.status, len(seen)) == (status, calls)
    assert str(seen[0].url) == f"{MESSAGES}/batches?beta=true"
    assert seen[0].headers["authorization"] == f"Bearer {KEY}"
    assert seen[0].headers["content-length"] == str(len(seen[0].content))


@pytest.mark.parametrize(
    ("answers", "once", "calls", "kind"),
    [
        ([Answer(401, {}, KEY.encode())], False, 1, "request"),
        ([Answer(500, {}, b"")] * 3, False, 3, "server"),
        ([Answer(500, {}, b"")], True, 1, "server"),
        ([OSError("no route")] * 3, False, 3, "server"),
        ([Answer(200, {}, b"<html>")], True, 1, "server"),  # it may have been created
        ([Answer(200, {}, b"<html>")], False, 1, "request"),
        ([Answer(302, {}, b'{"id": "a"}')], False, 1, "request"),
    ],
)
def test_a_refusal_is_told_from_a_call_whose_effect_is_not_known(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    answers: list[Any],
    calls: int,
    kind: str,
    *,
    once: bool,
) -> None:
    left = list(answers)

    def send(*_: object) -> Answer:
        answer: Answer | OSError = left.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    monkeypatch.setattr(batch_groups, "send_request", send)
    with pytest.raises(ModelError) as raised:
        make_caller(run)("POST", "/v1/messages/batches", once=once)
    assert (raised.value.kind, len(answers) - len(left)) == (kind, calls)
    assert KEY not in str(raised.value)
    check_message(raised.value)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"dist": "load"}, "-n"),
        ({"usepdb": True}, "--pdb"),
        ({"trace": True}, "--pdb"),
        ({"setuponly": True}, "--setup-only"),
    ],
)
def test_options_that_do_not_go_with_batches(options: dict[str, Any], name: str) -> None:
    check_batch_options(SimpleNamespace(getoption=lambda _, default: default))
    with pytest.raises(UsageError) as raised:
        check_batch_options(SimpleNamespace(getoption=options.get))
    assert name in str(raised.value)
    check_message(raised.value)
