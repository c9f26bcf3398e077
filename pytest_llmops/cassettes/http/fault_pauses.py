"""Waits for answers that are late on purpose, or never come: by the client's own time limit, and by the limit of the fault."""

import time

from pytest_llmops.cassettes.request_key import Answer, Question
from pytest_llmops.cassettes.tape import Tape


def is_pause(answer: object) -> bool:
    """Return whether an answer is a fault for which the client waits."""
    return type(answer) is Answer and answer.pause_s > 0


def choose_wait(answer: Answer, limit_s: float | None) -> tuple[float, bool]:
    """Return how long a client waits, and whether it ends by its own time limit.

    Args:
        answer: The fault.
        limit_s: How long the client waits for a byte; None: for ever.
    """
    if limit_s is not None and limit_s < answer.pause_s:
        return limit_s, True
    return answer.pause_s, False


def end_wait(tape: Tape, question: Question, answer: Answer, *, gave_up: bool) -> bool:
    """Return whether a client that has waited gets its own answer now; otherwise the outcome of the fault is raised.

    Args:
        tape: The tape.
        question: The request.
        answer: The fault.
        gave_up: Whether the client ended by its own time limit.
    """
    if answer.fault == "slow":
        return not gave_up
    if not gave_up:
        tape.note_hung(question.key)
    return False


def wait_out(tape: Tape, question: Question, answer: Answer, limit_s: float | None) -> bool:
    """Wait in a thread, and return whether the client gets its own answer now; see `end_wait`."""
    seconds, gave_up = choose_wait(answer, limit_s)
    time.sleep(seconds)
    return end_wait(tape, question, answer, gave_up=gave_up)


async def wait_out_async(tape: Tape, question: Question, answer: Answer, limit_s: float | None) -> bool:
    """Wait in an event loop, and return whether the client gets its own answer now; see `end_wait`."""
    import anyio

    seconds, gave_up = choose_wait(answer, limit_s)
    await anyio.sleep(seconds)
    return end_wait(tape, question, answer, gave_up=gave_up)
