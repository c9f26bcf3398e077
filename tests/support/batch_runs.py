"""Runs with batches without pytest: a sender of a run, requests of its tests, and a vendor that is called without a network."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import httpx2

from pytest_llmops.cassettes import Answer
from pytest_llmops.cassettes.request_key import build_question
from pytest_llmops.harness.ahead.answers import Place
from pytest_llmops.harness.ahead.batches import BatchSender
from pytest_llmops.harness.ahead.tapes import PendingRequest
from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.settings import Settings
from support.batch_servers import BatchServer
from support.server import Seen

CHAT = "https://api.openai.com/v1/chat/completions"
MESSAGES = "https://api.anthropic.com/v1/messages"
KEY = "sk-" + "proj-0123456789abcdefWXYZ"


def answer_directly(server: BatchServer, request: httpx2.Request) -> Answer:
    """Return a server's answer to a request, as `send_request` does."""
    path = request.url.raw_path.decode()
    headers = {name.lower(): value for name, value in request.headers.items()}
    reply = server.answer(Seen(request.method, path, headers, request.content))
    return Answer(reply.status, dict(reply.headers), reply.body, 0.5)


class Tape:
    """The tape of a test: it keeps answers, and may refuse calls.

    Attributes:
        kept: Its answers.
        prepared: For each call that was prepared, whether it was for a batch.
        refusal: The error of all further calls; None: they are allowed.
    """

    def __init__(self, path: Path, redactor: Redactor) -> None:
        self.path = path
        self.config = SimpleNamespace(redactor=redactor)
        self.costs = SimpleNamespace(settle=lambda *_: None)
        self.kept: list[Answer] = []
        self.prepared: list[bool] = []
        self.refusal: BaseException | None = None

    def prepare_call(self, _question: object, *, is_batched: bool = False) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.prepared.append(is_batched)

    def keep_ahead(self, _pending: object, answer: Answer) -> bool:
        """Keep an answer that a recording would hold."""
        if answer.is_transient:
            return False
        self.kept.append(answer)
        return True


class Run:
    """A run of the tests with ``--llm-record=batch``.

    Args:
        root: The rootdir of the project.
        server: The vendor; also the transport of the tests' clients.
        settings: The run's.

    Attributes:
        ends: For each request that has ended, why it has no answer, or "".
        tapes: By the cassettes' names.
    """

    def __init__(self, root: Path, server: BatchServer, **settings: Any) -> None:
        self.root = root
        self.server = server
        self.ends: dict[str, str] = {}
        self.tapes: dict[str, Tape] = {}
        self.sender = BatchSender(1, self._end, root=root, settings=Settings(**settings))

    def _end(self, pending: PendingRequest, why: str) -> None:
        text = text_of(pending)
        assert text not in self.ends
        self.ends[text] = why

    def make_request(
        self, text: str, *, url: str = CHAT, cassette: str = "a.json", module: Any = httpx2, **more: Any
    ) -> PendingRequest:
        """Return a request that a test makes; ``headers`` and further members of its body may be given."""
        headers = {"authorization": f"Bearer {KEY}", **more.pop("headers", {})}
        body = {"model": "m", "messages": [{"role": "user", "content": text}], **more}
        request = httpx2.Request("POST", url, json=body, headers=headers)
        tape = self.tapes.setdefault(
            cassette, Tape(self.root / "cassettes" / cassette, Redactor(known={KEY}))
        )
        question = build_question("POST", url, dict(request.headers), request.content, tape.config.redactor)
        place = Place(str(tape.path), question.key, "0", 0)
        any_tape: Any = tape
        return PendingRequest(place, question, any_tape, "app", module, self.server, request)

    def ask(self, *texts: str, **more: Any) -> dict[str, str]:
        """Let tests make requests until no test can go on, and return how they ended."""
        self.submit([self.make_request(text, **more) for text in texts])
        return {text: self.ends[text] for text in texts if text in self.ends}

    def submit(self, requests: Iterable[PendingRequest]) -> None:
        self.sender.submit(requests)
        self.sender.flush()

    def finish(
        self, closed: Collection[str] = ("a.json",), *, is_over: bool = True, is_part: bool = False
    ) -> list[str]:
        """End the run, and return its lines."""
        self.sender._pool.shutdown(wait=True)
        paths = [str(self.root / "cassettes" / name) for name in closed]
        self.sender.finish(paths, is_over=is_over, is_part=is_part)
        return self.sender.lines

    def close(self) -> None:
        """End the threads of the run, and let go of its lock."""
        self.sender.stop()
        with contextlib.suppress(RuntimeError):
            self.sender._held.close()

    def kept(self) -> list[str]:
        """Return the texts of all answers that tests may claim."""
        answers = [answer for tape in self.tapes.values() for answer in tape.kept]
        return [json.dumps(json.loads(answer.body)) for answer in answers]


def text_of(pending: PendingRequest) -> str:
    text: str = json.loads(pending.request.content)["messages"][-1]["content"]
    return text


def list_states(root: Path) -> list[Path]:
    return sorted((root / "cassettes" / ".batches").glob("*.json"))


def make_old(root: Path) -> None:
    """Let the only batch be submitted long ago."""
    (state,) = list_states(root)
    old = {**json.loads(state.read_bytes()), "created": "2026-01-02T03:04:05+00:00"}
    state.write_text(json.dumps(old), encoding="utf-8")


def count_calls(server: BatchServer, method: str, end: str) -> int:
    """Return how often a path with such an end was called."""
    return sum(seen.method == method and urlsplit(seen.path).path.endswith(end) for seen in server.seen)


def sizes(server: BatchServer) -> Sequence[int]:
    """Return how many requests each batch has."""
    return [len(requests) for requests in server.batches.values()]
