"""Judges' answers of a run, for the same question elsewhere in it: what one test has paid, no other pays again.

An answer belongs to its question (model, prompt, data and form: all that is sent), to its trial and to its place among
equal questions of one test, and to the server that gave it. So trials stay samples of their own, and a judge that asks
the same several times gets several answers, in whatever cassettes of one test; only another test gets what the first
one got. It is put into that test's own cassette, which answers alone the next time. Only what a verdict was read
from is put there: a judge that said something else is asked again by the next. The shelf ends with the run: a
recording that is made again is made anew. A script has none: who asks there twice wants to be answered twice.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pytest_llmops.cassettes import run_folder
from pytest_llmops.cassettes.request_key import Question
from pytest_llmops.errors import CassetteError
from pytest_llmops.wire.body import check_answer

JUDGE_PURPOSE = "judge"
"""The purpose of the calls whose answers are shared: what the application asks twice, it is to be seen to ask twice."""

FIRST_ERROR_STATUS = 400
"""Statuses from here on are no answers that others could use."""


def shared_answer_key(question: Question) -> str:
    """Return what an answer belongs to: the question, and the server, as those of this machine are one in the key."""
    server = hashlib.sha256(question.address.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{question.key}-{server}"


@dataclass(frozen=True, slots=True)
class SharedAnswers:
    """Where they lie.

    Args:
        folder: Finds the folder of the run; its processes share it, and nobody else reads it.
    """

    folder: Callable[[], Path] = run_folder.current_folder

    def find_answer(self, key: str, take: str, n: int, *, owner: str) -> dict[str, Any] | None:
        """Return the answer in a cassette's form, without secrets; None: no other test has asked this.

        Args:
            key: Of question and server.
            take: Of the trial.
            n: The how manyeth equal question of its test it is, from 0.
            owner: The test that asks.
        """
        with contextlib.suppress(OSError, ValueError, CassetteError, RecursionError, AttributeError):
            wire = json.loads(self._path(key, take, n).read_bytes())
            answer: dict[str, Any] = wire.get("answer")
            check_answer(answer)
            return answer if wire.get("owner") != owner else None
        return None

    def queue_answer(self, key: str, take: str, n: int, answer: Mapping[str, Any], *, owner: str) -> None:
        """Keep an answer in a cassette's form once a verdict was read from it; what cannot be kept is asked for again."""
        waiting = _unshared_answers.get()
        if waiting is not None:
            waiting.append(partial(self._write, key, take, n, answer, owner))

    def _write(self, key: str, take: str, n: int, answer: Mapping[str, Any], owner: str) -> None:
        data = json.dumps({"owner": owner, "answer": answer}).encode("ascii")
        with contextlib.suppress(OSError):
            handle, name = tempfile.mkstemp(dir=self.folder(), prefix="answer.")
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            Path(name).replace(self._path(key, take, n))

    def _path(self, key: str, take: str, n: int) -> Path:
        return self.folder() / f"answer-{key}-{take}-{n}.json"


_unshared_answers: ContextVar[list[Callable[[], None]] | None] = ContextVar(
    "pytest_llmops_shelf", default=None
)
"""Answers of a judge that is being asked: nobody knows yet whether a verdict can be read from them."""


@contextmanager
def defer_sharing() -> Iterator[Callable[[], None]]:
    """Hold back what a judge is answered in a block; what the block is given puts it on the shelf.

    Outside of such a block nothing is shared.
    """
    waiting: list[Callable[[], None]] = []

    def share() -> None:
        while waiting:
            waiting.pop()()

    token = _unshared_answers.set(waiting)
    try:
        yield share
    finally:
        _unshared_answers.reset(token)
