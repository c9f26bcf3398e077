"""Is the answer better than another one, or at least as good?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pytest_llmops import recorder
from pytest_llmops.cassettes.shared_answers import judging
from pytest_llmops.errors import LLMOpsError, UsageError, told
from pytest_llmops.judges.evaluate import not_asked, texts_of
from pytest_llmops.judges.protocol.injection_signs import suspicions
from pytest_llmops.measurement import Json, Measurement, shorten
from pytest_llmops.protocols import Hits

if TYPE_CHECKING:
    from pytest_llmops.judges.pairwise import Pairwise, Preference

QUOTED = 160
WORDS = {"first": "the answer", "second": "the other one", "tie": "neither"}


def assert_preferred(
    answer: str,
    over: str,
    *,
    judge: Pairwise | None = None,
    question: str = "",
    reference: str = "",
    contexts: Sequence[str] | Hits = (),
    at_least: float | None = 0.5,
    label: str = "",
) -> Measurement:
    """Assert that a judge finds an answer no worse than another one, asked in both orders.

    A verdict that follows the order and not the answer is a tie. One pair proves little: over many, record
    only, and look at `pytest_llmops.judges.pairwise.win_rate`.

    Args:
        answer: The answer under test.
        over: What it is compared with: an older version's, another model's.
        judge: A `Pairwise`; None: one with the default criteria and the judge model of the run's settings.
        question: What was asked.
        reference: A right answer, if there is one.
        contexts: The passages that both were made from.
        at_least: 1 asks for a win, 0.5 (the default) for a win or a tie; None on purpose: record only.
        label: Tells two comparisons of one test apart.

    Returns:
        The measurement ``judge.<name>``: 1 for a win, 0.5 for a tie, 0 for a loss. ``detail["judge"]`` has the
        winner of each order; ``detail["review"]`` is there where they differ, ``detail["suspect"]`` where one of the
        answers seems to speak to its judge.

    Raises:
        MeasurementFailed: The other answer is better, or a win was asked for and it is a tie.
        MeasurementErrored: The judge could not be asked, or gave no readable verdict in one of the orders.
        UsageError: An answer that is no text, or a threshold that is no score.
    """
    __tracebackhide__ = True
    from pytest_llmops.judges.pairwise import Pairwise

    texts_of("assert_preferred", answer=answer, over=over, question=question, reference=reference)
    if at_least is not None and (isinstance(at_least, bool) or not 0 <= at_least <= 1):
        raise UsageError(f"assert_preferred: expected at_least to be from 0 to 1 or None, got {at_least!r}")
    asked = Pairwise() if judge is None else judge
    if skipped := not_asked(f"judge.{asked.name}", label):
        return skipped
    passages = contexts.texts if isinstance(contexts, Hits) else contexts
    found = _asked(asked, (answer, over), question=question, reference=reference, contexts=passages)
    version, model = asked.version, asked.model_name
    recorder.note({"judge": {"name": asked.name, "version": version, "model": model}})
    measurement = Measurement(
        name=f"judge.{asked.name}",
        value=found.score,
        error=found.error,
        threshold=None if found.error else at_least,
        label=label,
        reason=f'judge: "{found.reason}"' if found.reason else "",
        version=version,
        detail={
            "actual": answer,
            "expected": over,
            "question": question,
            "judge": {"name": asked.name, "model": model, **_told(found)},
            **_flags(found, answer, over),
        },
    )
    return recorder.emit(
        measurement, verdict=_line(asked.name, found, label), evidence=_evidence(found, answer, over)
    )


def _asked(judge: Pairwise, pair: tuple[str, str], **told_too: Any) -> Preference:
    from pytest_llmops.judges.pairwise import Preference

    try:
        with recorder.purpose("judge"), judging() as share:
            found = judge.compare(*pair, **told_too)
            if found.winner is not None:
                share()
    except UsageError:
        raise
    except LLMOpsError as error:
        return Preference(error=told(error))
    return found


def _told(found: Preference) -> dict[str, Json]:
    return {
        "winner": found.winner,
        "straight": found.straight,
        "swapped": found.swapped,
        "reason": found.reason,
        "raw": found.raw,
        "error": found.error,
        "prescreened": found.prescreened,
    }


def _flags(found: Preference, answer: str, over: str) -> dict[str, Json]:
    """Why a person should look at the pair, or nothing."""
    flags: dict[str, Json] = {}
    if found.consistent is False:
        flags["review"] = {"orders": [found.straight, found.swapped]}
    if signs := list(dict.fromkeys([*suspicions(answer), *suspicions(over)])):
        flags["suspect"] = signs
    return flags


def _line(name: str, found: Preference, label: str) -> str:
    title = f"judge {shorten(name, 60)}" + (f" [{shorten(label, 60)}]" if label else "")
    if found.winner is None:
        return f"{title} could not compare: {shorten(found.error)}"
    why = "" if found.consistent is not False else ": it prefers a place, not an answer"
    return f"{title} prefers {WORDS[found.winner]}{why}"


def _evidence(found: Preference, answer: str, over: str) -> list[tuple[str, str]]:
    if found.winner is None:
        return [("reply", f'"{shorten(found.raw)}"')] if found.raw else []
    return [("answer", f'"{shorten(answer, QUOTED)}"'), ("other", f'"{shorten(over, QUOTED)}"')]
