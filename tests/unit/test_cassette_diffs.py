"""One word of a prompt is changed and all is recorded again: what a reviewer has to read."""

from __future__ import annotations

import difflib
import hashlib
import json

import pytest
from support.server import chat_answer, chat_events, stream

from pytest_llmops.cassettes import store
from pytest_llmops.cassettes.store import Interaction
from pytest_llmops.wire.body import fold_body

WORDS = [
    "customer",
    "returned",
    "without",
    "receipt",
    "within",
    "thirty",
    "working",
    "days",
    "because",
    "another",
    "colleague",
    "promised",
    "exactly",
    "that",
    "yesterday",
    "evening",
    "therefore",
    "please",
    "accept",
    "politely",
    "whatever",
    "arrives",
    "damaged",
    "or",
    "incomplete",
]
LENGTH = 300


def answer(seed: str) -> str:
    """An answer of 300 bytes that no other seed gives."""
    order = hashlib.sha512(seed.encode()).digest()
    words = [WORDS[byte % len(WORDS)] for byte in order]
    return " ".join(words)[:LENGTH].rpartition(" ")[0]


def cassette(word: str, *, streamed: bool, same_ids: bool) -> str:
    rules = [f"Rule {n}: answer every customer in a {'polite' if n != 20 else word} tone." for n in range(40)]
    result = []
    for number in range(3):
        messages = [
            {"role": "system", "content": "\n".join(rules)},
            {"role": "user", "content": f"question {number}"},
        ]
        body = json.dumps({"model": "m", "messages": messages, "stream": streamed}).encode()
        text = answer(f"{word} {number}")
        lines = (
            b"".join(stream(chat_events(text)).chunks) if streamed else json.dumps(chat_answer(text)).encode()
        )
        if not same_ids:
            lines = lines.replace(b"chatcmpl-1", f"chatcmpl-{word}-{number}".encode())
        wire = {
            "status": 200,
            "headers": {"content-type": "text/event-stream" if streamed else "application/json"},
            "latency_s": len(word) / 10,
            "body": fold_body(lines),
        }
        request = {"method": "POST", "url": "http://loopback/v1/chat/completions", "body": fold_body(body)}
        key = hashlib.sha256(body).hexdigest()[:20]
        result.append(Interaction(f"#{number:03d}", key, request, {"0": [wire]}))
    return store.format_cassette(result, "2026-01-01")


def changed(*, streamed: bool, same_ids: bool) -> list[str]:
    old, new = (cassette(word, streamed=streamed, same_ids=same_ids) for word in ("polite", "friendly"))
    return diff(old, new)


def diff(old: str, new: str) -> list[str]:
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), n=0, lineterm="")
    return [line for line in lines if line[0] in "+-" and line[:3] not in ("+++", "---")]


@pytest.mark.parametrize(
    ("streamed", "same_ids", "lines", "characters"),
    [
        (False, True, 24, 3086),
        (False, False, 30, 3200),
        (True, True, 288, 12_000),
        (True, False, 312, 17_000),
    ],
    ids=["answers", "answers with new ids", "streams", "streams with new ids"],
)
def test_one_word_of_a_prompt_is_a_small_change(
    streamed: bool, same_ids: bool, lines: int, characters: int
) -> None:
    result = changed(streamed=streamed, same_ids=same_ids)
    assert len(result) <= lines
    assert sum(len(line) + 1 for line in result) <= characters
    assert sum("Rule 20" in line for line in result) == 6


def test_a_new_vector_is_one_changed_line_and_one_of_the_blobs() -> None:
    def with_vector(first: float) -> str:
        body = fold_body(json.dumps({"data": [{"embedding": [first] + [0.25] * 1535}]}).encode())
        answer = {"status": 200, "headers": {}, "body": body}
        return store.format_cassette(
            [
                Interaction(
                    "#001", "k", {"method": "POST", "url": "u", "body": fold_body(b"{}")}, {"0": [answer]}
                )
            ],
            "",
        )

    assert len(diff(with_vector(0.5), with_vector(0.75))) == 4
