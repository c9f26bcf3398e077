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
from pytest_llmops.cassettes.request_headers import select_behaviour
from pytest_llmops.cassettes.request_key import Question
from pytest_llmops.cassettes.run_folder import current_folder
from pytest_llmops.errors import CassetteError
from pytest_llmops.wire.body import check_answer

# Only calls of this purpose share answers: if the application repeats a call, this must stay visible
JUDGE_PURPOSE = "judge"


def shared_answer_key(question: Question) -> str:
    """Return the key of a shared answer: the request's key, and the parts that it leaves out.

    That is the server on this machine, and the headers that choose behaviour.
    """
    left_out = json.dumps([question.address, select_behaviour(question.headers)], sort_keys=True)
    server = hashlib.sha256(left_out.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{question.key}-{server}"


@dataclass(frozen=True, slots=True)
class SharedAnswers:
    """Judges' answers in the folder of the run.

    Args:
        folder: Returns the folder of the run, which its processes share.
    """

    folder: Callable[[], Path] = current_folder

    def find_answer(self, key: str, take: str, n: int, *, owner: str) -> dict[str, Any] | None:
        """Return another test's answer as it is recorded, without secrets; None if there is none, or it is the own one.

        Args:
            key: The result of `shared_answer_key`.
            take: The take of the trial.
            n: Zero-based index among identical requests of the test.
            owner: The test that makes the request.
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
        """Share an answer once the block of `defer_sharing` wants it; outside of such a block it is not shared."""
        waiting = _unshared_answers.get()
        if waiting is not None:
            waiting.append(partial(self._write, key, take, n, answer, owner))

    def _write(self, key: str, take: str, n: int, answer: Mapping[str, Any], owner: str) -> None:
        """Write an answer for other tests; an error is ignored, as they can make the call themselves."""
        data = json.dumps({"owner": owner, "answer": answer}).encode("ascii")
        with contextlib.suppress(OSError):
            write_atomically(self._path(key, take, n), data)

    def _path(self, key: str, take: str, n: int) -> Path:
        """Return the file for an answer."""
        return self.folder() / f"answer-{key}-{take}-{n}.json"


# Functions that share the answers of the current block of `defer_sharing`; None outside of such a block
_unshared_answers: ContextVar[list[Callable[[], None]] | None] = ContextVar(
    "pytest_llmops_unshared_answers", default=None
)


@contextmanager
def defer_sharing() -> Iterator[Callable[[], None]]:
    """Hold back the answers of a judge in a block, which gets a function that shares them.

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
