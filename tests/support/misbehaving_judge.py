"""A model server that judges, and misbehaves while it does: what it may answer, and what has to come of it."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from typing import Any

from support.server import Reply, Seen, StubServer, chat_answer, error_reply, json_reply

GOOD = 5
"""The score of every right verdict: any other score that is read is a wrong one."""
_NONCE = re.compile(r"<data-([0-9a-f]{32})>")
Answer = Callable[["JudgeRequest"], Reply | str]


class JudgeRequest:
    """A request of a judge: its form, its nonce, and how many came before."""

    def __init__(self, seen: Seen, number: int) -> None:
        nonce = _NONCE.search(seen.body.decode())
        assert nonce is not None
        self.nonce, self.number = nonce[1], number
        wanted = seen.json.get("response_format")
        self.form = "tool" if "tools" in seen.json else wanted["type"] if wanted else "text"

    def verdict(self, **fields: object) -> str:
        return json.dumps({"nonce": self.nonce, "reason": "All is there.", "score": GOOD, **fields})

    def line(self) -> str:
        return f"Score: {GOOD}, Nonce: {self.nonce}, Reason: all is there."

    def call(self, arguments: str, name: str = "verdict") -> Reply:
        function = {"name": name, "arguments": arguments}
        return json_reply(chat_answer("", tool_calls=[{"id": "1", "type": "function", "function": function}]))


class MisbehavingJudge(StubServer):
    """Answers every request by a script."""

    def __init__(self, script: Answer) -> None:
        super().__init__()
        self.script = script
        self.forms: list[str] = []

    def answer(self, seen: Seen) -> Reply:
        with self._lock:
            self.seen.append(seen)
            request = JudgeRequest(seen, len(self.seen))
            self.forms.append(request.form)
        reply = self.script(request)
        return json_reply(chat_answer(reply)) if isinstance(reply, str) else reply


PROSE = "I find this answer rather helpful."


def only(form: str, right: Answer) -> Answer:
    return lambda request: right(request) if request.form == form else PROSE


def body(**fields: Any) -> Answer:
    return lambda request: json_reply({**chat_answer(request.verdict()), **fields})


def message(**fields: Any) -> Answer:
    return lambda _request: json_reply(chat_answer("", **fields))


def finish(request: JudgeRequest) -> Reply:
    cut = chat_answer(request.verdict()[:-20])
    cut["choices"][0]["finish_reason"] = "length"
    return json_reply(cut)


def end_at_limit(reason: str) -> Answer:
    def answer(request: JudgeRequest) -> Reply:
        whole = chat_answer(request.verdict(score=1))
        whole["choices"][0]["finish_reason"] = reason
        return json_reply(whole)

    return answer


def never(_request: JudgeRequest) -> Reply:
    return Reply(b"{}", before=lambda: threading.Event().wait(2))


def cut_off(request: JudgeRequest) -> Reply:
    return Reply(chunks=[b'{"id": "1", ', request.verdict().encode()], cut_after=1)


READ: dict[str, Answer] = {
    "ignores a schema and knows tools": only("tool", lambda request: request.call(request.verdict())),
    "ignores schema and tools, knows JSON": only("json_object", lambda request: request.verdict()),
    "knows no JSON": only("text", lambda request: request.line()),
    "answers the schema by a line": lambda request: request.line(),
    "fences": lambda request: f"```json\n{request.verdict()}\n```",
    "talks around it": lambda request: f"Here you are:\n{request.verdict()}\nAnything else?",
    "thinks first": lambda request: f"<think>Score: 1? No.</think>{request.verdict()}",
    "says it twice": lambda request: f"{request.verdict()}\n{request.verdict(reason='Again.')}",
    "writes keys in capitals": lambda request: request.verdict().replace('"score"', '"Score"'),
    "adds a key": lambda request: request.verdict(confidence=0.2),
    "writes 5.0": lambda request: request.verdict(score=5.0),
    "writes CSS before it": lambda request: f".a {{ color: red }}\n.b{{margin:0}}\n{request.verdict()}",
    "writes code before it": lambda request: (
        f'x = {{"a": [1, }}\nif (a) {{ b(); }}\n{request.verdict()}'.replace('{"a": [1, }', "{1: 2}")
    ),
    "is right at the second try": lambda request: request.verdict(score=5 if request.number > 1 else 50),
    "puts it into a call nobody asked for": lambda request: request.call(request.verdict()),
}
UNREAD: dict[str, Answer] = {
    "ignores every form": lambda _request: PROSE,
    "never stops thinking": lambda _request: "<think>Score: 1, Reason: x",
    "refuses": message(refusal="I must not judge."),
    "refuses in prose": lambda _request: "I'm sorry, I can't give a score of 1.",
    "gives two verdicts": lambda request: f"{request.verdict()}\n{request.verdict(score=1)}",
    "contradicts itself in prose": lambda request: f"A perfect answer, 5/5.\n{request.verdict(score=1)}",
    "scores above the scale": lambda request: request.verdict(score=50),
    "scores below the scale": lambda request: request.verdict(score=0),
    "scores between two levels": lambda request: request.verdict(score=1.5),
    "scores in words": lambda request: request.verdict(score="one"),
    "quotes the score": lambda request: request.verdict(score="1"),
    "scores true": lambda request: request.verdict(score=True),
    "scores null": lambda request: request.verdict(score=None),
    "scores NaN": lambda request: request.verdict(score=float("nan")),
    "nests the score": lambda request: request.verdict(score={"value": 1}),
    "gives no reason": lambda request: request.verdict(reason="", score=1),
    "echoes the form": lambda request: request.verdict(reason="One sentence.", score=1),
    "echoes the form again and again": lambda request: request.verdict(
        reason="one statement, " * 20, score=1
    ),
    "echoes the dots": lambda request: request.verdict(reason="...", score=1),
    "echoes the line": lambda request: (
        f"Score: 1, Nonce: {request.nonce}, Reason: one sentence. n is a whole number from 1 to 5."
    ),
    "refuses in its reason": lambda request: request.verdict(
        reason="I'm sorry, I can't evaluate this content.", score=1
    ),
    "states another score in its reason": lambda request: request.verdict(reason="5 out of 5.", score=1),
    "copies the criteria": lambda request: request.verdict(reason="Is all there?", score=1),
    "copies the answer": lambda request: request.verdict(reason="THIRTY  days", score=1),
    "ends at the token limit": end_at_limit("length"),
    "ends at the token limit of another server": end_at_limit("MAX_TOKENS"),
    "makes up a nonce": lambda request: request.verdict(nonce="0" * 32, score=1),
    "leaves the nonce out": lambda _request: '{"reason": "bad", "score": 1}',
    "answers in Python": lambda request: str(json.loads(request.verdict(score=1))),
    "wraps the verdict": lambda request: json.dumps({"verdict": json.loads(request.verdict(score=1))}),
    "writes a book": lambda request: f"{'x' * 60_000}{request.verdict(score=1)}",
    "nests without end": lambda _request: '{"score": ' + "[" * 9_000,
    "is cut off": finish,
    "says nothing": lambda _request: "",
    "says null": message(content=None),
    "sends no choice": body(choices=[]),
    "sends choices that are null": body(choices=None),
    "calls with invalid JSON": lambda request: request.call(request.verdict(score=1)[:-3]),
    "calls another tool": lambda request: request.call(request.verdict(score=1), "search"),
    "limits the rate": lambda _request: error_reply(429, "slow down", retry_after="0"),
    "breaks": lambda _request: error_reply(500, "boom"),
    "sends an error with status 200": lambda _request: json_reply({"error": {"message": "overloaded"}}),
    "sends a page": lambda _request: Reply(b"<html>502</html>", headers={"content-type": "text/html"}),
    "sends half of an answer": cut_off,
    "stalls": never,
}
"""45 of them: each has to leave the answer unscored, with a reason."""
