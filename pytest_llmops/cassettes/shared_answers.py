"""Judges' answers that the tests of a run share, in the folder of the run."""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pytest_llmops._util.text_files import write_atomically
from pytest_llmops.cassettes.request_key import Question
from pytest_llmops.cassettes.run_folder import current_folder
from pytest_llmops.errors import CassetteError
from pytest_llmops.wire.body import check_answer

# The purpose of calls whose answers are shared: repeated calls of the application must stay visible
JUDGE_PURPOSE = "judge"


def shared_answer_key(question: Question) -> str:
    """Return the key of a shared answer: request and server, as the request's key treats all local servers as equal."""
    server = hashlib.sha256(question.address.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{question.key}-{server}"


@dataclass(frozen=True, slots=True)
class SharedAnswers:
    """Judges' answers in the folder of the run.

    Args:
        folder: Returns the folder of the run, which its processes share.
    """

    folder: Callable[[], Path] = current_folder

    def find_answer(self, key: str, take: str, n: int, *, owner: str) -> dict[str, Any] | None:
        """Return another test's answer in a cassette's form, without secrets, or None.

        Args:
            key: The key of request and server.
            take: The take of the trial.
            n: Zero-based index among identical requests of the test.
            owner: The test that asks.
        """
        with contextlib.suppress(OSError, ValueError, CassetteError, RecursionError, AttributeError):
            wire = json.loads(self._path(key, take, n).read_bytes())
            answer: dict[str, Any] = wire.get("answer")
            check_answer(answer)
            if wire.get("owner") != owner:
                return answer
            return None
        return None

    def queue_answer(self, key: str, take: str, n: int, answer: Mapping[str, Any], *, owner: str) -> None:
        """Share an answer in a cassette's form as soon as a verdict was parsed from it."""
        waiting = _unshared_answers.get()
        if waiting is not None:
            waiting.append(partial(self._write, key, take, n, answer, owner))

    def _write(self, key: str, take: str, n: int, answer: Mapping[str, Any], owner: str) -> None:
        data = json.dumps({"owner": owner, "answer": answer}).encode("ascii")
        with contextlib.suppress(OSError):
            write_atomically(self._path(key, take, n), data)

    def _path(self, key: str, take: str, n: int) -> Path:
        return self.folder() / f"answer-{key}-{take}-{n}.json"


# Answers from which no verdict was parsed yet
_unshared_answers: ContextVar[list[Callable[[], None]] | None] = ContextVar(
    "pytest_llmops_unshared_answers", default=None
)


@contextmanager
def defer_sharing() -> Iterator[Callable[[], None]]:
    """Hold back a judge's answers in a block, which gets a function that shares them.

    No answer is shared outside of such a block.
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
