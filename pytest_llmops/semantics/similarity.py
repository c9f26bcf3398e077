"""How near an answer is to references: scores by an embedder, checks, and the evidence of both."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Literal, TypeAlias, cast

from pytest_llmops import recorder
from pytest_llmops.errors import LLMOpsError, UnknownName, UsageError
from pytest_llmops.measurement import shorten
from pytest_llmops.semantics import checks, thresholds

if TYPE_CHECKING:
    from pytest_llmops.protocols import Embedder

AtLeast: TypeAlias = "float | thresholds.Threshold | Literal['default'] | None"
Checks: TypeAlias = "Literal['default'] | Collection[str]"

MAX_SENTENCE_CHARS = 50_000
"""Start of an answer in which the best sentence is looked for; words and score see all of it."""
MAX_WORDS = 8
QUOTED = 80


def references(expected: object) -> tuple[str, ...]:
    """Return the references of an assertion, one or several.

    Raises:
        UsageError: There is none, or one is no text or blank.

    >>> references("a"), references(["a", "b"])
    (('a',), ('a', 'b'))
    """
    __tracebackhide__ = True
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


def embedder(given: Embedder | str | None) -> Embedder:
    """Return an embedder, by name or as it is, behind its cache; None: that of the settings.

    Raises:
        UnknownName: There is none of that name.
        UsageError: It is no embedder.
    """
    __tracebackhide__ = True
    from pytest_llmops.providers.embedding_cache import cached

    wanted = recorder.settings().embedder if given is None else given
    found = recorder.lookup("embedder", wanted) if isinstance(wanted, str) else wanted
    if not callable(getattr(found, "embed", None)) or not hasattr(found, "version"):
        raise UsageError(
            "assert_semantic: expected an embedder, an object with embed(texts) and a version, "
            f"got {type(found).__name__}"
        )
    return cached(cast("Embedder", found))


def threshold(at_least: object, embedder: Embedder, *, asked: str = "") -> float | None:
    """Return the threshold that an assertion means; None: record only.

    Args:
        at_least: A number from 0 to 1 (numpy's too), a threshold, ``"default"`` or None.
        embedder: The one that is used.
        asked: The name it was asked for by, if any.

    Raises:
        UsageError: It is out of range, was measured with another embedder, or there is no default.
    """
    __tracebackhide__ = True
    if isinstance(at_least, thresholds.Threshold):
        return at_least.check(embedder)
    default = isinstance(at_least, str) and at_least == "default"
    found = thresholds.default_threshold(embedder, recorder.settings(), asked=asked) if default else at_least
    if found is None and default:
        raise UsageError(
            f"assert_semantic: the embedder {thresholds.name_of(embedder)} has no default threshold: pass at_least=, "
            "or at_least=None to record only"
        )
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, Real) or not 0 <= float(found) <= 1:
        raise UsageError(
            "assert_semantic: expected at_least from 0 to 1, a Threshold, or None to record only, "
            f"got {shorten(repr(found), QUOTED)}"
        )
    return float(found)


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
        for one in given:
            name = one.removeprefix("-") if isinstance(one, str) else ""
            if name and name not in checks.CHECKS:
                raise UnknownName("check", name, checks.CHECKS)
    try:
        return checks.chosen(given, checks.CHECKS, checks.DEFAULT)
    except ValueError as error:
        raise UsageError(f"assert_semantic: {error}") from None


def scores(actual: str, references: Sequence[str], embedder: Embedder) -> list[float]:
    """Return the cosine of an answer with each reference, 0 (unlike, or opposite) to 1; an empty answer scores 0.

    Raises:
        LLMOpsError: The vectors are none.
        Exception: Whatever the embedder raises.
    """
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


@dataclass(frozen=True, slots=True)
class Best:
    """The reference that counts.

    Attributes:
        index: Which one.
        comparison: What the checks said of it.
    """

    index: int
    comparison: checks.Comparison


def best(
    actual: str,
    references: Sequence[str],
    scores: Sequence[float],
    threshold: float | None,
    names: Sequence[str],
) -> Best:
    """Return the nearest reference that raises no alarm, or the nearest of all if that one is not near enough.

    >>> best("60 days", ["30 days", "60 days!"], [0.9, 0.8], 0.5, ("numbers",)).index
    1
    """
    compared = [checks.compare(actual, one, checks=names) for one in references]
    order = sorted(range(len(references)), key=lambda at: -scores[at])
    quiet = next((at for at in order if not compared[at].alarms), None)
    near = quiet is not None and (threshold is None or scores[quiet] >= threshold)
    index = quiet if quiet is not None and near else order[0]
    return Best(index, compared[index])


_WORD = re.compile(r"\d+(?:[.,:]\d+)+|[^\W_]+")


def evidence(actual: str, reference: str) -> list[tuple[str, str]]:
    """Return the nearest sentence of an answer, what it lacks of the reference, and which numbers it has besides.

    By words, never by the embedder: an explanation must not ask a server for what was not recorded.
    """
    wanted, said = _words(reference), _words(actual)
    missing = sorted((word for word in wanted if word not in said), key=lambda word: not _is_number(word))
    extra = [word for word in said if _is_number(word) and word not in wanted]
    pairs = [_nearest(actual, wanted)]
    if missing:
        pairs.append(("missing", f"{_listed(missing)} (in no sentence)"))
    if extra:
        pairs.append(("numbers", f"{_listed(extra)} in the answer, not in the reference"))
    return pairs


def _nearest(actual: str, wanted: dict[str, None]) -> tuple[str, str]:
    sentences = checks.sentences(actual[:MAX_SENTENCE_CHARS])
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
