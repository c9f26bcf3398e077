"""Does the answer do what is on the list?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_llmops import recorder
from pytest_llmops.errors import UsageError
from pytest_llmops.judges.evaluate import Asked, not_asked, texts_of, told_of, verdict_of
from pytest_llmops.judges.protocol.injection_signs import suspicions
from pytest_llmops.measurement import Json, Measurement, shorten
from pytest_llmops.protocols import Hits, Verdict

if TYPE_CHECKING:
    from pytest_llmops.protocols import Model

QUOTED = 160
MAX_SHOWN = 5


def assert_checklist(
    answer: str | None,
    items: Sequence[str],
    *,
    model: Model | None = None,
    question: str = "",
    reference: str = "",
    contexts: Sequence[str] | Hits = (),
    at_least: float | None = 1.0,
    label: str = "",
) -> Measurement:
    """Assert that an answer does what is on a list, by a judge that says yes or no to each item.

    Judges agree better on named items than on a scale, and a failure names what is missing. An item is one
    thing that can be seen in the answer ("states the refund window"), not a virtue ("is helpful").

    Args:
        answer: What is judged. An empty one has no item; None (the model said nothing) cannot be judged.
        items: One to fifty, each a few words.
        model: Who is asked; None: the judge model of the run's settings.
        question: What was asked, where the items need it.
        reference: A right answer, where they do.
        contexts: The passages that the answer was made from, where they do.
        at_least: Share of the items, 0 to 1: by default all; None on purpose: record only.
        label: Tells two checklists of one test apart.

    Returns:
        The measurement ``judge.checklist`` of the judge's version: the share of items that the answer has.
        ``detail["judge"]["dimensions"]`` has 1 or 0 for each; ``detail["suspect"]`` is there where the answer seems to
        speak to its judge.

    Raises:
        MeasurementFailed: Too few; names the missing ones.
        MeasurementErrored: There is no answer, or the judge could not be asked or gave no readable verdict.
        UsageError: No items, or a threshold that is no share.
    """
    __tracebackhide__ = True
    from pytest_llmops.judges.checklist import checklist

    texts_of("assert_checklist", question=question, reference=reference)
    if at_least is not None and (isinstance(at_least, bool) or not 0 <= at_least <= 1):
        raise UsageError(
            f"assert_checklist: expected at_least to be a share from 0 to 1 or None, got {at_least!r}"
        )
    asked = Asked(checklist(items, model), "checklist")
    if skipped := not_asked("judge.checklist", label):
        return skipped
    detail: dict[str, Json] = {"actual": answer, "expected": reference, "question": question}
    if isinstance(answer, str):
        passages = contexts.texts if isinstance(contexts, Hits) else contexts
        verdict = verdict_of(asked, answer, question, reference, passages)
        detail |= {"contexts": list(passages)} if passages else {}
        detail |= {"suspect": signs} if (signs := suspicions(answer)) else {}
    else:
        verdict = Verdict(low=0.0, high=1.0, error=f"expected a text, got {type(answer).__name__}")
        detail["actual"] = None
    measurement = Measurement(
        name="judge.checklist",
        value=None if verdict.error else verdict.score,
        error=verdict.error,
        threshold=None if verdict.error else at_least,
        label=label,
        reason=f'judge: "{verdict.reason}"' if verdict.reason else "",
        version=asked.version,
        detail={**detail, "judge": {**told_of(asked, verdict), "threshold": at_least}},
    )
    return recorder.emit(
        measurement, verdict=_line(verdict, at_least, label), evidence=_evidence(verdict, answer)
    )


def _line(verdict: Verdict, threshold: float | None, label: str) -> str:
    title = "checklist" + (f" [{shorten(label, 60)}]" if label else "")
    if verdict.error:
        return f"{title} could not be judged: {shorten(verdict.error)}"
    count = len(verdict.dimensions)
    wanted = "all" if threshold == 1 else f"{threshold:.0%}" if threshold is not None else ""
    return f"{title}: {count - len(_missing(verdict))} of {count} items, wanted {wanted}" if wanted else ""


def _missing(verdict: Verdict) -> list[str]:
    return [item for item, given in verdict.dimensions.items() if not given]


def _evidence(verdict: Verdict, answer: str | None) -> list[tuple[str, str]]:
    if verdict.error:
        return [("reply", f'"{shorten(verdict.raw)}"')] if verdict.raw else []
    missing = _missing(verdict)
    pairs = [("missing", shorten(item, QUOTED)) for item in missing[:MAX_SHOWN]]
    if len(missing) > MAX_SHOWN:
        pairs.append(("missing", f"and {len(missing) - MAX_SHOWN} more"))
    return [*pairs, ("answer", f'"{shorten(str(answer), QUOTED)}"')]
