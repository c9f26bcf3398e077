"""The material of the recorders: chat calls with a prompt of 2 KB and an answer of 1 KB, in each one's own file."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from pytest_llmops.cassettes import store
from pytest_llmops.cassettes.request_key import build_question
from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.wire.body import fold_body

URL = "http://127.0.0.1:8080/v1/chat/completions"
HEADERS = {"content-type": "application/json"}
PROMPT, ANSWER = 2048, 1024
WORDS = [
    f"{start}{middle}{end}" for start in "bdfgklmnprst" for middle in ("a", "e", "i", "o") for end in "lmnrst"
]


def text(seed: str, size: int) -> str:
    made = " ".join(random.Random(seed).choices(WORDS, k=size // 4))
    return made[:size]


def body(n: int, end: str = "") -> bytes:
    prompt = f"Question {n}. {text(f'prompt {n}', PROMPT)}{end}"
    request = {"messages": [{"role": "user", "content": prompt}], "model": "m"}
    return json.dumps(request, separators=(",", ":")).encode()


def answer(n: int) -> bytes:
    message = {"role": "assistant", "content": f"Answer {n}. {text(f'answer {n}', ANSWER)}"}
    reply = {
        "id": f"chatcmpl-{n}", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        "usage": {"prompt_tokens": 500, "completion_tokens": 250, "total_tokens": 750},
    }  # fmt: skip
    return json.dumps(reply).encode()


def write_ours(path: Path, size: int) -> Path:
    redactor = Redactor()
    interactions = []
    for n in range(size):
        request_body = body(n)
        question = build_question("POST", URL, HEADERS, request_body, redactor)
        request = {"method": "POST", "url": question.url, "body": fold_body(request_body)}
        given = {"status": 200, "headers": HEADERS, "latency_s": 0.5, "body": fold_body(answer(n))}
        interactions.append(store.Interaction(f"#{n:05d}", question.key, request, {"0": [given]}))
    path.write_text(store.format_cassette(interactions, "2026-01-01"), encoding="utf-8")
    return path


def write_vcrpy(path: Path, size: int) -> Path:
    """In the YAML of vcrpy, which pytest-recording and cassetter read too."""
    from vcr.request import Request
    from vcr.serialize import serialize
    from vcr.serializers import yamlserializer

    requests = [Request("POST", URL, body(n), HEADERS) for n in range(size)]
    responses = [_response(n) for n in range(size)]
    path.write_text(
        serialize({"requests": requests, "responses": responses}, yamlserializer), encoding="utf-8"
    )
    return path


def _response(n: int) -> dict[str, Any]:
    headers = {name: [value] for name, value in HEADERS.items()}
    return {"status": {"code": 200, "message": "OK"}, "headers": headers, "body": {"string": answer(n)}}
