"""A model server that judges rightly, for it knows which answers are right: the other end from a model that cannot."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from support.server import Reply, Seen, StubServer, chat_answer, json_reply

MODEL = "knowing-1"
_DATA = re.compile(r"<data-([0-9a-f]{32})>\n(.*)\n</data-\1>", re.DOTALL)


class KnowingJudge(StubServer):
    """Answers a judge's request in the form that it asks for: dimensions, a name or the better of two."""

    def __init__(self, right: Iterable[str]) -> None:
        super().__init__()
        self.right = frozenset(right)

    def answer(self, seen: Seen) -> Reply:
        with self._lock:
            self.seen.append(seen)
        return json_reply(chat_answer(json.dumps(self._verdict(seen.json)), model=MODEL))

    def _verdict(self, request: Mapping[str, Any]) -> dict[str, Any]:
        hits = _DATA.search(request["messages"][-1]["content"])
        assert hits is not None
        data = json.loads(hits[2])
        fields = request["response_format"]["json_schema"]["schema"]["properties"]
        verdict = {"nonce": hits[1], "reason": "known"}
        if "winner" in fields:
            first, second = (data[key] in self.right for key in ("answer_a", "answer_b"))
            return {**verdict, "winner": "tie" if first == second else "A" if first else "B"}
        right = data["answer"] in self.right
        if "verdict" in fields:
            return {**verdict, "verdict": "pass" if right else "fail"}
        return {**verdict, "dimensions": dict.fromkeys(fields["dimensions"]["properties"], 9 if right else 2)}
