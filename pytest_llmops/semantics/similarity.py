"""How near an answer is to references: scores by an embedder, checks, and the evidence of both."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Literal, TypeAlias, cast

from pytest_llmops import recorder
from pytest_llmops.errors import LLMOpsError, UnknownName, UsageError
from pytest_llmops.measurement import shorten_text
from pytest_llmops.semantics import checks, thresholds

if TYPE_CHECKING:
    from pytest_llmops.protocols import Embedder

AtLeast: TypeAlias = "float | thresholds.Threshold | Literal['default'] | None"
Checks: TypeAlias = "Literal['default'] | Collection[str]"

MAX_SENTENCE_CHARS = 50_000
"""Start of an answer in which the best sentence is looked for; words and score see all of it."""
MAX_LISTED_WORDS = 8
MAX_QUOTE_CHARS = 80


def reference_texts(expected: object) -> tuple[str, ...]:
    """Return the references of an assertion, one or several.

    Raises:
        UsageError: There is none, or one is no text or blank.

    >>> reference_texts("a"), reference_texts(["a", "b"])
    (('a',), ('a', 'b'))
    """
    __tracebackhide__ = True
    texts = (expected,) if isinstance(expected, str) else expected
    if not isinstance(texts, Sequence) or isinstance(texts, (bytes, bytearray)):
        raise UsageError(
            f"assert_semantic: expected a reference text or several, got {type(expected).__name__}"
        )
    for index, text in enumerate(texts):
        if not isinstance(text, str) or not text.strip():
            what = "a blank text" if isinstance(text, str) else type(text).__name__
            raise UsageError(f"assert_semantic: expected reference texts, got {what} as number {index + 1}")
    if not texts:
        raise UsageError(
            "assert_semantic: expected at least one reference, got none; does the case have one?"
        )
    return tuple(texts)


def resolve_embedder(given: Embedder | str | None) -> Embedder:
    """Return an embedder, by name or as it is, behind its cache; None: that of the settings.

    Raises:
        UnknownName: There is none of that name.
        UsageError: It is no embedder.
    """
    __tracebackhide__ = True
    from pytest_llmops.providers.embedding_cache import with_vector_cache

    wanted = recorder.current_settings().embedder if given is None else given
    resolved = recorder.find_component("embedder", wanted) if isinstance(wanted, str) else wanted
    if not callable(getattr(resolved, "embed", None)) or not hasattr(resolved, "version"):
        raise UsageError(
            "assert_semantic: expected an embedder, an object with embed(texts) and a version, "
            f"got {type(resolved).__name__}"
        )
    return with_vector_cache(cast("Embedder", resolved))


def resolve_threshold(at_least: object, embedder: Embedder, *, requested_name: str = "") -> float | None:
    """Return the threshold that an assertion means; None: record only.

    Args:
        at_least: A number from 0 to 1 (numpy's too), a threshold, ``"default"`` or None.
        embedder: The one that is used.
        requested_name: The name it was asked for by, if any.

    Raises:
        UsageError: It is out of range, was measured with another embedder, or there is no default.
    """
    __tracebackhide__ = True
    if isinstance(at_least, thresholds.Threshold):
        return at_least.check(embedder)
    default = isinstance(at_least, str) and at_least == "default"
    minimum = (
        thresholds.default_threshold(embedder, recorder.current_settings(), requested_name=requested_name)
        if default
        else at_least
    )
    if minimum is None and default:
        raise UsageError(
            f"assert_semantic: the embedder {thresholds.embedder_name(embedder)} has no default threshold: pass at_least=, "
            "or at_least=None to record only"
        )
    if minimum is None:
        return None
    if isinstance(minimum, bool) or not isinstance(minimum, Real) or not 0 <= float(minimum) <= 1:
        raise UsageError(
            "assert_semantic: expected at_least from 0 to 1, a Threshold, or None to record only, "
            f"got {shorten_text(repr(minimum), MAX_QUOTE_CHARS)}"
        )
    return float(minimum)


def select_checks(given: object) -> tuple[str, ...]:
    """Return the names of the checks that are on.

    Names say which ones, in any order; names with a minus take them off the default.

    Raises:
        UnknownName: There is no such check.
        UsageError: It is no collection of names, or some have a minus and some have none.

    >>> select_checks(["numbers"]), "words" in select_checks(["-words"]), select_checks(())
    (('numbers',), False, ())
    """
    __tracebackhide__ = True
    if isinstance(given, Collection) and not isinstance(given, str):
        for entry in given:
            name = entry.removeprefix("-") if isinstance(entry, str) else ""
            if name and name not in checks.CHECKS:
                raise UnknownName("check", name, checks.CHECKS)
    try:
        return checks.resolve_check_names(given)
    except ValueError as error:
        raise UsageError(f"assert_semantic: {error}") from None


def similarity_scores(actual: str, references: Sequence[str], embedder: Embedder) -> list[float]:
    """Return the cosine of an answer with each reference, 0 (unlike, or opposite) to 1; an empty answer scores 0.

    Raises:
        LLMOpsError: The vectors are none.
        Exception: Whatever the embedder raises.
    """
    from pytest_llmops._util.arrays import as_rows
    from pytest_llmops.metrics.vectors import cosine

    if not actual.strip():
        return [0.0] * len(references)
    texts = [actual, *references]
    vectors = embedder.embed(texts)
    try:
        rows = as_rows(vectors, count=len(texts))
    except ValueError as error:
        raise LLMOpsError(str(error)) from None
    if not rows[1:].any():
        raise LLMOpsError(
            f'found nothing to compare in the reference "{shorten_text(references[0], MAX_QUOTE_CHARS)}"'
        )
    return [max(0.0, float(similarity)) for similarity in cosine(rows[:1], rows[1:])[0]]


@dataclass(frozen=True, slots=True)
class BestReference:
    """The reference that counts.

    Attributes:
        index: Which one.
        comparison: What the checks said of it.
    """

    index: int
    comparison: checks.Comparison


def select_reference(
    actual: str,
    references: Sequence[str],
    scores: Sequence[float],
    threshold: float | None,
    names: Sequence[str],
) -> BestReference:
    """Return the nearest reference that raises no alarm, or the nearest of all if that one is not near enough.

    >>> select_reference("60 days", ["30 days", "60 days!"], [0.9, 0.8], 0.5, ("numbers",)).index
    1
    """
    comparisons = [checks.compare(actual, reference, checks=names) for reference in references]
    order = sorted(range(len(references)), key=lambda at: -scores[at])
    quiet = next((at for at in order if not comparisons[at].alarms), None)
    near = quiet is not None and (threshold is None or scores[quiet] >= threshold)
    index = quiet if quiet is not None and near else order[0]
    return BestReference(index, comparisons[index])


_WORD = re.compile(r"\d+(?:[.,:]\d+)+|[^\W_]+")


def collect_evidence(actual: str, reference: str) -> list[tuple[str, str]]:
    """Return the nearest sentence of an answer, what it lacks of the reference, and which numbers it has besides.

    By words, never by the embedder: an explanation must not ask a server for what was not recorded.
    """
    reference_words, answer_words = _unique_words(reference), _unique_words(actual)
    missing = sorted(
        (word for word in reference_words if word not in answer_words), key=lambda word: not _is_number(word)
    )
    extra = [word for word in answer_words if _is_number(word) and word not in reference_words]
    pairs = [_describe_nearest_sentence(actual, reference_words)]
    if missing:
        pairs.append(("missing", f"{_join_quoted_words(missing)} (in no sentence)"))
    if extra:
        pairs.append(("numbers", f"{_join_quoted_words(extra)} in the answer, not in the reference"))
    return pairs


def _describe_nearest_sentence(actual: str, reference_words: dict[str, None]) -> tuple[str, str]:
    sentences = checks.split_sentences(actual[:MAX_SENTENCE_CHARS])
    shared = [sum(word in reference_words for word in _unique_words(sentence)) for sentence in sentences]
    best = shared.index(max(shared)) if sentences else 0
    if not sentences or not shared[best]:
        return "answer", f'"{shorten_text(actual.strip())}"'
    place = f"sentence {best + 1} of {len(sentences)}" + ("+" if len(actual) > MAX_SENTENCE_CHARS else "")
    return (
        "best",
        f'{place}, {shared[best]} of {len(reference_words)} words: "{shorten_text(sentences[best], 120)}"',
    )


def _unique_words(text: str) -> dict[str, None]:
    """The different words of a text, in order."""
    return dict.fromkeys(_WORD.findall(text.casefold()))


def _is_number(word: str) -> bool:
    return word[0].isdigit()


def _join_quoted_words(words: Sequence[str]) -> str:
    quoted = ", ".join(f'"{shorten_text(word, 40)}"' for word in words[:MAX_LISTED_WORDS])
    rest = len(words) - MAX_LISTED_WORDS
    return f"{quoted} and {rest} more" if rest > 0 else quoted
