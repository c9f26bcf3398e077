"""Assert that an answer fulfils the items of a checklist."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_llmops import recorder
from pytest_llmops.assertions._arguments import parse_share_threshold
from pytest_llmops.judges.evaluate import (
    JudgeHandle,
    check_texts,
    judge_answer,
    skipped_measurement,
    verdict_to_json,
)
from pytest_llmops.judges.protocol.injection_signs import find_injection_signs
from pytest_llmops.measurement import Json, Measurement, label_suffix, shorten_text
from pytest_llmops.protocols import Hits, Verdict

if TYPE_CHECKING:
    from pytest_llmops.protocols import Model

MAX_QUOTED_CHARS = 160
MAX_LISTED_ITEMS = 5


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
    """Assert that an answer fulfils a checklist: a judge says yes or no to each item.

    Judges agree better on named items than on a scale, and a failure names what is missing. An item is a
    property that can be seen in the answer ("states the refund window"), not a virtue ("is helpful").

    Args:
        answer: What is judged. An empty answer fulfils no item; None (the model said nothing) cannot be judged.
        items: One to fifty, each a few words.
        model: The judge model; None: the judge model of the run's settings.
        question: What was asked, where the items need it.
        reference: A right answer, where they do.
        contexts: The passages that the answer was made from, where they do.
        at_least: Share of the items, 0 to 1: by default all; None: record only.
        label: Distinguishes two checklists of a test.

    Returns:
        The measurement ``judge.checklist`` of the judge's version: the share of items that the answer has.
        ``detail["judge"]["dimensions"]`` has 1 or 0 for each; ``detail["suspect"]`` is there where the answer seems to
        influence its judge.

    Raises:
        MeasurementFailed: Too few; names the missing ones.
        MeasurementErrored: There is no answer, or the judge could not be asked or gave no readable verdict.
        UsageError: No items, or a threshold that is no share.
    """
    __tracebackhide__ = True
    from pytest_llmops.judges.checklist import Checklist

    check_texts("assert_checklist", question=question, reference=reference)
    parse_share_threshold("assert_checklist", at_least)
    judge_handle = JudgeHandle(Checklist(items, model), "checklist")
    if skipped := skipped_measurement("judge.checklist", label):
        return skipped
    detail: dict[str, Json] = {"actual": answer, "expected": reference, "question": question}
    if isinstance(answer, str):
        passages = contexts.texts if isinstance(contexts, Hits) else contexts
        verdict = judge_answer(judge_handle, answer, question, reference, passages)
        detail |= {"contexts": list(passages)} if passages else {}
        detail |= {"suspect": signs} if (signs := find_injection_signs(answer)) else {}
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
        version=judge_handle.version,
        detail={**detail, "judge": {**verdict_to_json(judge_handle, verdict), "threshold": at_least}},
    )
    return recorder.emit(
        measurement,
        verdict=_format_checklist_verdict(verdict, at_least, label),
        evidence=_checklist_evidence(verdict, answer),
    )


def _format_checklist_verdict(verdict: Verdict, threshold: float | None, label: str) -> str:
    title = f"checklist{label_suffix(label)}"
    if verdict.error:
        return f"{title} could not be judged: {shorten_text(verdict.error)}"
    if threshold is None:
        return ""
    count = len(verdict.dimensions)
    wanted = "all" if threshold == 1 else f"{threshold:.0%}"
    return f"{title}: {count - len(_list_missing_items(verdict))} of {count} items, wanted {wanted}"


def _list_missing_items(verdict: Verdict) -> list[str]:
    return [item for item, given in verdict.dimensions.items() if not given]


def _checklist_evidence(verdict: Verdict, answer: str | None) -> list[tuple[str, str]]:
    if verdict.error:
        return [("reply", f'"{shorten_text(verdict.raw)}"')] if verdict.raw else []
    missing = _list_missing_items(verdict)
    pairs = [("missing", shorten_text(item, MAX_QUOTED_CHARS)) for item in missing[:MAX_LISTED_ITEMS]]
    if len(missing) > MAX_LISTED_ITEMS:
        pairs.append(("missing", f"and {len(missing) - MAX_LISTED_ITEMS} more"))
    return [*pairs, ("answer", f'"{shorten_text(str(answer), MAX_QUOTED_CHARS)}"')]
