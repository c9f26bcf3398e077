"""Is the answer close to a reference, as an embedder sees it?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeAlias, cast

from pytest_llmops import recorder
from pytest_llmops.errors import LLMOpsError, UsageError, told
from pytest_llmops.measurement import Json, Measurement, apart, shorten

if TYPE_CHECKING:
    from pytest_llmops.protocols import Embedder

Bound: TypeAlias = float | Literal["default"] | None

MAX_SENTENCE_CHARS = 50_000
"""Start of an answer in which the best sentence is looked for; words and score see all of it."""
MAX_WORDS = 8
QUOTED = 80


def assert_semantic(
    actual: str | None,
    expected: str | Sequence[str],
    *,
    at_least: Bound = "default",
    embedder: Embedder | str | None = None,
    label: str = "",
) -> Measurement:
    """Assert that a text is close to a reference: the best cosine of their vectors is at least the bound.

    .. warning::
        **Closeness is not meaning.** The built-in embedders compare spelling: a right answer in other words
        scores low, and "You do *not* get a refund" scores high against "You get a refund". Larger
        embedders notice a "not" or another number hardly more often. Assert facts as facts too
        (`assert_contains`), and let a judge decide what needs understanding.

    Actual and references are embedded in one call, as an embedder may fit itself to its texts. With such a
    one ("tfidf") a further reference changes the scores of the others a little. Long answers score lower
    against short references: the bound fits answers of about the reference's length.

    Args:
        actual: The answer. An empty one scores 0; None (the model said nothing) cannot be scored.
        expected: The reference, or several of which the nearest counts.
        at_least: 0 to 1; left out: the embedder's own ``default_bound``; None on purpose: record only.
        embedder: An object or a name; None: the one of the settings (``--llm-embedder``).
        label: Tells two assertions of one test apart.

    Returns:
        The measurement ``semantic``, 0 (unlike, or opposite) to 1 (same direction), of the embedder's
        version; ``detail["scores"]`` has the score of each reference.

    Raises:
        MeasurementFailed: The score is below the bound.
        MeasurementErrored: There is no answer, or the embedder gave no usable vectors.
        UsageError: No reference, a bound outside 0 to 1 or none at all, or no such embedder.

    >>> assert_semantic("Refunds take thirty days", ["No refunds", "A refund takes thirty days"]).status
    'passed'
    """
    __tracebackhide__ = True
    references = _references(expected)
    measurement = _measured(actual, references, _embedder(embedder), at_least, label)
    return _emit(measurement, actual or "", references)


def _measured(
    actual: object, references: Sequence[str], embedder: Embedder, at_least: Bound, label: str
) -> Measurement:
    name = str(getattr(embedder, "name", "") or type(embedder).__name__)
    measured = partial(
        Measurement,
        name="semantic",
        bound=_bound(at_least, embedder, name),
        label=label,
        version=str(embedder.version),
    )
    detail: dict[str, Json] = {"actual": None, "expected": list(references), "embedder": name}
    if not isinstance(actual, str):
        return measured(error=f"expected a text, got {type(actual).__name__}", detail=detail)
    detail["actual"] = actual
    try:
        scores = _scores(actual, references, embedder)
    except UsageError:
        raise
    except Exception as error:  # noqa: BLE001 -- whatever a user's embedder raises: not scored, not scored low
        return measured(error=f"embedder {name}: {told(error)}", detail=detail)
    return measured(value=max(scores), detail={**detail, "scores": scores})


def _references(expected: object) -> tuple[str, ...]:
    found = (expected,) if isinstance(expected, str) else expected
    if not isinstance(found, Sequence) or isinstance(found, (bytes, bytearray)):
        raise UsageError(
            f"assert_semantic: expected a reference text or several, got {type(expected).__name__}"
        )
    for index, one in enumerate(found):
        if not isinstance(one, str) or not one.strip():
            what = "a blank text" if isinstance(one, str) else type(one).__name__
            raise UsageError(f"assert_semantic: expected reference texts, got {what} as number {index + 1}")
    if not found:
        raise UsageError(
            "assert_semantic: expected at least one reference, got none; does the case have one?"
        )
    return tuple(found)


def _embedder(given: Embedder | str | None) -> Embedder:
    wanted = recorder.settings().embedder if given is None else given
    found = recorder.lookup("embedder", wanted) if isinstance(wanted, str) else wanted
    if not callable(getattr(found, "embed", None)) or not hasattr(found, "version"):
        raise UsageError(
            "assert_semantic: expected an embedder, an object with embed(texts) and a version, "
            f"got {type(found).__name__}"
        )
    return cast("Embedder", found)


def _bound(at_least: object, embedder: Embedder, name: str) -> float | None:
    bound = getattr(embedder, "default_bound", None) if at_least == "default" else at_least
    if bound is None and at_least is not None:
        raise UsageError(
            f"assert_semantic: the embedder {name} has no default bound: pass at_least=, or at_least=None to record only"
        )
    if bound is None:
        return None
    if isinstance(bound, bool) or not isinstance(bound, (int, float)) or not 0 <= bound <= 1:
        raise UsageError(
            f"assert_semantic: expected at_least from 0 to 1, or None to record only, got {bound!r}"
        )
    return float(bound)


def _scores(actual: str, references: Sequence[str], embedder: Embedder) -> list[float]:
    """Raises LLMOpsError for vectors that are none, and whatever the embedder raises."""
    from pytest_llmops.metrics.vectors import as_rows, cosine

    if not actual.strip():
        return [0.0] * len(references)
    texts = [actual, *references]
    vectors = embedder.embed(texts)
    try:
        rows = as_rows(vectors, count=len(texts))
    except ValueError as error:
        raise LLMOpsError(str(error)) from None
    if not rows[1:].any():
        raise LLMOpsError(f'found nothing to compare in the reference "{shorten(references[0], QUOTED)}"')
    return [max(0.0, float(one)) for one in cosine(rows[:1], rows[1:])[0]]


def _emit(measurement: Measurement, actual: str, references: Sequence[str]) -> Measurement:
    __tracebackhide__ = True
    if measurement.status != "failed":
        return recorder.emit(measurement)
    scores = cast("list[float]", measurement.detail["scores"])
    nearest = references[scores.index(max(scores))]
    if not actual.strip():
        empty = replace(measurement, reason="the text is empty")
        return recorder.emit(empty, verdict=_verdict(empty, nearest, len(references)))
    verdict = _verdict(measurement, nearest, len(references))
    return recorder.emit(measurement, verdict=verdict, evidence=_evidence(actual, nearest))


def _verdict(m: Measurement, nearest: str, count: int) -> str:
    label = f" [{shorten(m.label, 60)}]" if m.label else ""
    value, bound = apart(cast("float", m.value), cast("float", m.bound), m.unit)
    which = "reference" if count == 1 else f"the nearest of {count} references,"
    return (
        f'semantic{label} {value} < {bound} to {which} "{shorten(nearest, QUOTED)}" '
        f"(embedder {shorten(str(m.detail['embedder']), 40)})"
    )


_WORD = re.compile(r"\d+(?:[.,:]\d+)+|[^\W_]+")
_SENTENCE_END = re.compile(r"(?<=[.!?。！？])\s+|\n+")


def _evidence(actual: str, reference: str) -> list[tuple[str, str]]:
    """By words, never by the embedder: an explanation must not ask a server for what was not recorded."""
    wanted, said = _words(reference), _words(actual)
    missing = sorted((word for word in wanted if word not in said), key=lambda word: not _is_number(word))
    extra = [word for word in said if _is_number(word) and word not in wanted]
    pairs = [_best(actual, wanted)]
    if missing:
        pairs.append(("missing", f"{_listed(missing)} (in no sentence)"))
    if extra:
        pairs.append(("numbers", f"{_listed(extra)} in the answer, not in the reference"))
    return pairs


def _best(actual: str, wanted: dict[str, None]) -> tuple[str, str]:
    sentences = [one.strip() for one in _SENTENCE_END.split(actual[:MAX_SENTENCE_CHARS]) if one.strip()]
    shared = [sum(word in wanted for word in _words(one)) for one in sentences]
    best = shared.index(max(shared)) if sentences else 0
    if not sentences or not shared[best]:
        return "answer", f'"{shorten(actual.strip())}"'
    place = f"sentence {best + 1} of {len(sentences)}" + ("+" if len(actual) > MAX_SENTENCE_CHARS else "")
    return "best", f'{place}, {shared[best]} of {len(wanted)} words: "{shorten(sentences[best], 120)}"'


def _words(text: str) -> dict[str, None]:
    """The different words of a text, in order."""
    return dict.fromkeys(_WORD.findall(text.casefold()))


def _is_number(word: str) -> bool:
    return word[0].isdigit()


def _listed(words: Sequence[str]) -> str:
    shown = ", ".join(f'"{shorten(word, 40)}"' for word in words[:MAX_WORDS])
    rest = len(words) - MAX_WORDS
    return f"{shown} and {rest} more" if rest > 0 else shown
