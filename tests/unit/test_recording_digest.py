"""The digest by which a run that replays the recordings of the baseline is recognised."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.exchanges import exchange

from pytest_llmops.harness.item import fingerprint_exchanges

CHAT = "http://127.0.0.1:1/v1/chat/completions"


def digest_of(url: str = CHAT, request: object = None, answer: object = None, **changes: Any) -> str:
    one = exchange(url, request or {"model": "m"}, answer or {"choices": [{"message": {"content": "a"}}]})
    return fingerprint_exchanges([replace(one, **changes)])


def test_without_an_exchange_there_is_no_digest() -> None:
    assert fingerprint_exchanges([]) == ""


def test_the_order_of_the_exchanges_does_not_count_and_their_number_does() -> None:
    one, two = (exchange(CHAT, {"model": name}, {"choices": []}) for name in ("one", "two"))
    assert fingerprint_exchanges([one, two]) == fingerprint_exchanges([two, one])
    assert fingerprint_exchanges([one, one]) != fingerprint_exchanges([one])


def test_each_part_of_an_exchange_counts() -> None:
    digests = {
        digest_of(),
        digest_of(f"{CHAT}/more"),
        digest_of(request={"model": "other"}),
        digest_of(answer={"choices": [{"message": {"content": "b"}}]}),
        digest_of(method="PUT"),
        digest_of(status=500),
        digest_of(request=["a list"]),
    }
    assert len(digests) == 7


def test_an_id_in_an_answer_does_not_count_where_the_answer_is_read() -> None:
    answers = [{"id": name, "choices": [{"message": {"content": "a"}}]} for name in ("x", "y")]
    assert digest_of(answer=answers[0]) == digest_of(answer=answers[1])


def test_the_tools_and_the_thinking_of_an_answer_count() -> None:
    def answer(**message: object) -> dict[str, object]:
        return {"choices": [{"message": {"content": "a", **message}}]}

    def calling(name: str, arguments: str) -> dict[str, object]:
        tool = {"id": "1", "type": "function", "function": {"name": name, "arguments": arguments}}
        return answer(tool_calls=[tool])

    answers = [
        answer(),
        answer(reasoning_content="hm"),
        calling("find", "{}"),
        calling("find", '{"a": 1}'),
        calling("other", "{}"),
    ]
    assert len({digest_of(answer=one) for one in answers}) == len(answers)


def test_other_vectors_are_another_recording() -> None:
    def digest(vector: float) -> str:
        body = {"object": "list", "data": [{"embedding": [vector]}]}
        return digest_of("http://127.0.0.1:1/v1/embeddings", {"model": "e", "input": "a"}, body)

    assert digest(0.5) == digest(0.5) != digest(0.25)


def test_a_secret_in_a_live_answer_does_not_count() -> None:
    live = exchange(CHAT, {"model": "m"}, {"choices": [{"message": {"content": "key swordfish"}}]})
    kept = exchange(CHAT, {"model": "m"}, {"choices": [{"message": {"content": "key [secret]"}}]})
    mask = lambda text: text.replace("swordfish", "[secret]")  # noqa: E731
    assert fingerprint_exchanges([live], mask) == fingerprint_exchanges([kept])
    assert fingerprint_exchanges([live]) != fingerprint_exchanges([kept])


def test_a_request_without_a_body_counts_by_its_address() -> None:
    assert digest_of(f"{CHAT}/1", method="GET", request=None) != digest_of(
        f"{CHAT}/2", method="GET", request=None
    )
    bare = replace(exchange(CHAT, None, {"choices": []}), request=None)
    assert fingerprint_exchanges([bare]) != fingerprint_exchanges([replace(bare, request={"model": "m"})])


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/v1/rerank", "http://127.0.0.1:1/v1/other"])
def test_the_body_counts_where_little_of_the_answer_is_read(url: str) -> None:
    digests = {
        digest_of(url, {"model": "m"}, {"results": [{"index": 0, "score": score}]}) for score in (1, 2)
    }
    assert len(digests) == 2
