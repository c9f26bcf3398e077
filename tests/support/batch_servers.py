"""Loopback servers with the batch APIs of OpenAI and Anthropic: what they say is built from the SDKs' own types.

A batch ends when it was asked for so many times, whatever the time. `faults` names what goes wrong.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any, cast
from urllib.parse import urlsplit

from openai.types import Batch, FileObject

from support.server import (
    Reply,
    Seen,
    StubServer,
    chat_answer,
    chat_events,
    embedding_answer,
    error_reply,
    json_reply,
    responses_answer,
    stream,
)

ENDS = ("completed", "expired", "cancelled", "failed")
RETRIED = {"code": "batch_expired", "message": "This request could not be executed before the batch expired."}


def spaced(value: object, status: int = 200) -> Reply:
    """A live answer as OpenAI spells it."""
    text = json.dumps(value, indent=2, ensure_ascii=False).encode()
    return Reply(text, status, {"content-type": "application/json"})


def compact(value: object, status: int = 200) -> Reply:
    """A live answer as Anthropic spells it."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
    return Reply(text, status, {"content-type": "application/json"})


def openai_answer(path: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to a request: the same live and in a batch."""
    if path.endswith("/embeddings"):
        return embedding_answer(body)
    if path.endswith("/responses"):
        return responses_answer(f"echo of {body['input']}")
    return chat_answer(f"echo of {body['messages'][-1]['content']}")


def anthropic_answer(body: Mapping[str, Any]) -> dict[str, Any]:
    content = [{"type": "text", "text": f"echo of {body['messages'][-1]['content']}"}]
    usage = {"input_tokens": 5, "output_tokens": 3}
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": body["model"], "content": content}
    return {**head, "stop_reason": "end_turn", "stop_sequence": None, "usage": usage}


class BatchServer(StubServer):
    """What both have in common.

    Attributes:
        polls: How often a batch is asked for before it has ended; None: it never ends.
        faults: What goes wrong: ``shuffled``, ``unknown``, ``repeated`` or ``missing`` results, ``half-expired``, ``rejected`` as a
            whole, ``refused``, ``create lost`` (it was created, and the answer is an error), ``no id`` (it was created, and the answer
            is a page), ``201`` (the status of its answer), ``gone``, ``gone files``, ``no file id`` (not yet), ``cut`` (the last line
            of the results), ``page`` (in place of a batch that is asked for).
        problem: Why a batch is rejected.
        batches: By id the requests of each batch, by their custom ids.
        live: Bodies of the live calls.
        status_of: Statuses of single requests, by a text in them.
    """

    def __init__(self, *faults: str, polls: int | None = 1) -> None:
        super().__init__()
        self.polls, self.faults = polls, set(faults)
        self.batches: dict[str, dict[str, Any]] = {}
        self.asked: dict[str, int] = {}
        self.created: dict[str, datetime] = {}
        self.live: list[dict[str, Any]] = []
        self.status_of: dict[str, int] = {}
        self.broken: list[str] = []  # ends of paths that fail once
        self.prefix, self.problem = "batch", "the model does not exist"

    def add_batch(self, requests: dict[str, Any]) -> str:
        name = f"{self.prefix}_{len(self.batches) + 1}"
        self.batches[name], self.asked[name] = requests, 0
        self.created[name] = datetime.now(UTC)
        return name

    def poll(self, name: str) -> bool:
        """Whether a batch has ended."""
        self.asked[name] += 1
        return self.polls is not None and self.asked[name] > self.polls

    def order(self, lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The results with what is wrong with them."""
        if "missing" in self.faults:
            lines = lines[1:]
        if "unknown" in self.faults:
            lines = [*lines, {**lines[0], "custom_id": "nobody-asked"}]
        if "repeated" in self.faults:
            lines = [*lines, lines[0]]
        if "shuffled" in self.faults:
            random.Random(1).shuffle(lines)
        return lines

    def jsonl(self, lines: list[dict[str, Any]]) -> bytes:
        """The file of the results."""
        text = jsonl(self.order(lines))
        return text[:-20] if "cut" in self.faults else text

    def status(self, body: object) -> int:
        text = json.dumps(body)
        return next((status for part, status in self.status_of.items() if part in text), 200)

    def is_expired(self, index: int) -> bool:
        return "half-expired" in self.faults and index % 2 == 1

    def answer(self, seen: Seen) -> Reply:
        self.seen.append(seen)
        path = urlsplit(seen.path).path
        for end in self.broken:
            if path.endswith(end):
                self.broken.remove(end)
                return error_reply(500)
        return self.reply(seen, path)

    def reply(self, seen: Seen, path: str) -> Reply:
        raise NotImplementedError


class OpenAIBatchServer(BatchServer):
    """The Batch and Files API beside the live endpoints."""

    def __init__(self, *faults: str, polls: int | None = 1) -> None:
        super().__init__(*faults, polls=polls)
        self.files: dict[str, bytes] = {}
        self.metadata: dict[str, dict[str, str]] = {}
        self.inputs: dict[str, tuple[str, str]] = {}

    def reply(self, seen: Seen, path: str) -> Reply:
        match [seen.method, *path.removeprefix("/v1").strip("/").split("/")]:
            case ["POST", "files"]:
                name = f"file-{len(self.files) + 1}"
                self.files[name] = read_upload(seen)
                return spaced(self.file(name))
            case ["POST", "batches"]:
                return self.create(seen.json)
            case ["GET", "batches"]:
                newest = [self.batch(name) for name in reversed(self.batches)]
                return spaced({"object": "list", "data": newest, "has_more": False})
            case ["GET", "batches", name] if name in self.batches and "gone" not in self.faults:
                self.poll(name)
                if "page" in self.faults:
                    return Reply(b"<html>")
                return spaced(self.batch(name))
            case ["GET", "files", name, "content"] if name in self.files and "gone files" not in self.faults:
                return Reply(self.files[name], headers={"content-type": "application/octet-stream"})
            case ["POST", *_] if path.endswith(("/chat/completions", "/responses", "/embeddings")):
                self.live.append(seen.json)
                if seen.json.get("stream"):
                    return stream(chat_events("streamed"))
                status = self.status(seen.json)
                if status == 400:  # the others are of a moment
                    return error_reply(status)
                return spaced(openai_answer(path, seen.json))
        return error_reply(404, "no such thing")

    def file(self, name: str) -> dict[str, Any]:
        return FileObject(
            id=name, bytes=len(self.files[name]), created_at=1, filename="f", object="file", purpose="batch", status="processed"
        ).model_dump(mode="json")  # fmt: skip

    def create(self, request: dict[str, Any]) -> Reply:
        if "refused" in self.faults:
            return error_reply(400, "billing hard limit reached")
        lines = [json.loads(line) for line in self.files[request["input_file_id"]].splitlines()]
        assert {line["url"] for line in lines} == {request["endpoint"]}
        assert len({line["body"]["model"] for line in lines}) == 1
        assert all(line["method"] == "POST" and "stream" not in line["body"] for line in lines)
        requests = {line["custom_id"]: line["body"] for line in lines}
        assert len(requests) == len(lines)
        name = self.add_batch(requests)
        self.metadata[name] = request["metadata"]
        self.inputs[name] = request["endpoint"], request["input_file_id"]
        if "create lost" in self.faults:
            return error_reply(500, "it was created all the same")
        return (
            Reply(b"<html>")
            if "no id" in self.faults
            else spaced(self.batch(name), 200 + ("201" in self.faults))
        )

    def batch(self, name: str) -> dict[str, Any]:
        endpoint, file = self.inputs[name]
        ended = self.polls is not None and self.asked[name] > self.polls
        more: dict[str, Any] = {}
        status = "in_progress"
        if ended and "rejected" in self.faults:
            status = "failed"
            problem = {"code": "invalid", "line": 3, "message": self.problem, "param": None}
            more["errors"] = {"object": "list", "data": [problem]}
        elif ended:
            status = "expired" if "half-expired" in self.faults else "completed"
            more |= self.write_results(name, endpoint)
        created = int(self.created[name].timestamp())
        return Batch.model_validate(
            {
                "id": name, "completion_window": "24h", "created_at": created, "endpoint": endpoint, "input_file_id": file,
                "object": "batch", "status": status, "metadata": self.metadata[name], **more,
            }
        ).model_dump(mode="json")  # fmt: skip

    def write_results(self, name: str, endpoint: str) -> dict[str, str]:
        good: list[dict[str, Any]] = []
        bad: list[dict[str, Any]] = []
        for index, (custom_id, body) in enumerate(self.batches[name].items()):
            line: dict[str, Any] = {
                "id": f"r{index}",
                "custom_id": custom_id,
                "response": None,
                "error": None,
            }
            if self.is_expired(index):
                bad.append({**line, "error": RETRIED})
                continue
            status = self.status(body)
            answer = openai_answer(endpoint, body) if status == 200 else error_reply(status).body
            value = answer if isinstance(answer, dict) else json.loads(answer)
            line["response"] = {"status_code": status, "request_id": "q", "body": value}
            (good if status == 200 else bad).append(line)
        files = {}
        for kind, lines in (("output", good), ("error", bad)):
            if lines and "no file id" not in self.faults:
                files[f"{kind}_file_id"] = f"{kind}-{name}"
                self.files[f"{kind}-{name}"] = self.jsonl(lines)
        return files


class AnthropicBatchServer(BatchServer):
    """The Message Batches beside the Messages API; built without the SDK's types where the SDK is not installed."""

    def __init__(self, *faults: str, polls: int | None = 1) -> None:
        super().__init__(*faults, polls=polls)
        self.prefix = "msgbatch"

    def reply(self, seen: Seen, path: str) -> Reply:
        match [seen.method, *path.removeprefix("/v1").strip("/").split("/")]:
            case ["POST", "messages"]:
                self.live.append(seen.json)
                return compact(anthropic_answer(seen.json))
            case ["POST", "messages", "batches"]:
                requests = {row["custom_id"]: row["params"] for row in seen.json["requests"]}
                assert len(requests) == len(seen.json["requests"])
                assert all("stream" not in params for params in requests.values())
                name = self.add_batch(requests)
                if "create lost" in self.faults:
                    return error_reply(500, "it was created all the same")
                return json_reply(self.batch(name))
            case ["GET", "messages", "batches"]:
                newest = [self.batch(name) for name in reversed(self.batches)]
                ids = {"first_id": None, "last_id": None}
                return json_reply({"data": newest, "has_more": False, **ids})
            case ["GET", "messages", "batches", name] if name in self.batches and "gone" not in self.faults:
                self.poll(name)
                return json_reply(self.batch(name))
            case ["GET", "messages", "batches", name, "results"] if self.has_results(name):
                return Reply(self.jsonl(self.results(name)), headers={"content-type": "application/x-jsonl"})
        return compact({"type": "error", "error": {"type": "not_found_error", "message": "no"}}, 404)

    def has_ended(self, name: str) -> bool:
        return self.polls is not None and self.asked[name] > self.polls

    def has_results(self, name: str) -> bool:
        return self.has_ended(name) and "gone files" not in self.faults

    def batch(self, name: str) -> dict[str, Any]:
        ended = self.has_ended(name)
        counts = dict.fromkeys(("canceled", "errored", "expired", "succeeded"), 0)
        created = self.created[name]
        value = {
            "id": name,
            "type": "message_batch",
            "processing_status": "ended" if ended else "in_progress",
            "request_counts": {**counts, "processing": 0 if ended else len(self.batches[name])},
            "created_at": created.isoformat(),
            "expires_at": (created + timedelta(hours=24)).isoformat(),
            "ended_at": created.isoformat() if ended else None,
            "results_url": f"http://elsewhere.invalid/{name}" if self.has_results(name) else None,
            "archived_at": None,
            "cancel_initiated_at": None,
        }
        try:
            from anthropic.types.messages import MessageBatch
        except ImportError:
            return value
        return cast("dict[str, Any]", MessageBatch.model_validate(value).model_dump(mode="json"))

    def results(self, name: str) -> list[dict[str, Any]]:
        lines = []
        for index, (custom_id, params) in enumerate(self.batches[name].items()):
            status = self.status(params)
            result: dict[str, Any] = {"type": "succeeded", "message": anthropic_answer(params)}
            if self.is_expired(index):
                result = {"type": "expired"}
            elif status != 200:
                kind = {400: "invalid_request_error", 429: "rate_limit_error"}.get(status, "api_error")
                error = {"type": "error", "error": {"type": kind, "message": "no"}, "request_id": None}
                result = {"type": "errored", "error": error}
            lines.append({"custom_id": custom_id, "result": result})
        return lines


def jsonl(lines: Iterable[object]) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def read_upload(seen: Seen) -> bytes:
    """The file in a form."""
    assert seen.headers["content-type"].startswith("multipart/form-data")
    head = f"content-type: {seen.headers['content-type']}\r\n\r\n".encode()
    form = BytesParser(policy=HTTP).parsebytes(head + seen.body)
    parts = {part.get_param("name", header="content-disposition"): part for part in form.iter_parts()}
    assert parts["purpose"].get_payload() == "batch"
    return cast("bytes", parts["file"].get_payload(decode=True))
