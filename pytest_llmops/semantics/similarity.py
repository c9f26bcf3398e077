"""Similarity of an answer to references: scores by an embedder, checks, and the evidence for a failure."""

from collections.abc import Collection, Sequence
from numbers import Real
from typing import Literal, TypeAlias, cast

from pytest_llmops import recorder
from pytest_llmops.errors import LLMOpsError, UsageError, refuse
from pytest_llmops.measurement import shorten_text
from pytest_llmops.protocols import Embedder
from pytest_llmops.providers.embedding_cache import with_vector_cache
from pytest_llmops.semantics import checks, thresholds
from pytest_llmops.semantics.checks.language import LANGUAGES, detect_language
from pytest_llmops.semantics.embedding import cosines_with_first, embed_rows
from pytest_llmops.semantics.grounding.content_words import content_stems

__tracebackhide__ = True

AtLeast: TypeAlias = "float | thresholds.Threshold | Literal['default'] | None"
Checks: TypeAlias = "Literal['default'] | Collection[str]"

# Start of an answer in which the nearest sentence is searched for; words and score take all of it
MAX_SENTENCE_CHARS = 50_000
MAX_QUOTE_CHARS = 80
UNRELATED = (
    "the two share no word that matters: the answer is about something else, or says it in quite other words"
)


def reference_texts(expected: object) -> tuple[str, ...]:
    """Return the references of an assertion, which takes a text or several.

    Raises:
        UsageError: There is no reference, or a reference is not a text or blank.

    >>> reference_texts("a"), reference_texts(["a", "b"])
    (('a',), ('a', 'b'))
    """
    texts = (expected,) if isinstance(expected, str) else expected
    if not isinstance(texts, Sequence) or isinstance(texts, (bytes, bytearray)):
        raise UsageError(
            f"assert_semantic: expected a reference text or several, got {type(expected).__name__}"
        )
    for number, text in enumerate(texts, start=1):
        if not isinstance(text, str) or not text.strip():
            what = "a blank text" if isinstance(text, str) else type(text).__name__
            raise UsageError(f"assert_semantic: expected reference texts, got {what} as number {number}")
    refuse(not texts, "assert_semantic: expected at least one reference, got none; does the case have one?")
    return tuple(texts)


def resolve_embedder(given: Embedder | str | None, where: str) -> Embedder:
    """Return an embedder behind its cache, by name or as given; None: the embedder of the settings.

    Raises:
        UnknownName: There is no embedder of that name.
        UsageError: The object is no embedder.
    """
    wanted = recorder.current_settings().embedder if given is None else given
    resolved = recorder.find_component("embedder", wanted) if isinstance(wanted, str) else wanted
    refuse(
        not callable(getattr(resolved, "embed", None)) or not hasattr(resolved, "version"),
        f"{where}: expected an embedder, an object with embed(texts) and a version, got {type(resolved).__name__}",
    )
    return with_vector_cache(cast("Embedder", resolved))


def resolve_threshold(at_least: object, embedder: Embedder, *, requested_name: str = "") -> float | None:
    """Return the threshold of an assertion as a number; None: record only.

    Args:
        at_least: A number from 0 to 1 (numpy's too), a threshold, ``"default"`` or None.
        embedder: The embedder of the assertion.
        requested_name: The name that the embedder was requested by, if any.

    Raises:
        UsageError: It is out of range, was measured with another embedder, or the embedder has no default.
    """
    if isinstance(at_least, thresholds.Threshold):
        return at_least.check(embedder)
    minimum = at_least
    if isinstance(at_least, str) and at_least == "default":
        minimum = thresholds.default_threshold(
            embedder, recorder.current_settings(), requested_name=requested_name
        )
        if minimum is None:
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


def similarity_scores(actual: str, references: Sequence[str], embedder: Embedder) -> list[float]:
    """Return the cosine of an answer with each reference, 0 (unlike, or opposite) to 1; an empty answer scores 0.

    Raises:
        LLMOpsError: The embedder gave no usable vectors, or zeros for every reference.
        Exception: Whatever the embedder raises.
    """
    if not actual.strip():
        return [0.0] * len(references)
    rows = embed_rows([actual, *references], embedder)
    refuse(
        not rows[1:].any(),
        LLMOpsError(
            f'found nothing to compare in the reference "{shorten_text(references[0], MAX_QUOTE_CHARS)}"'
        ),
    )
    return cosines_with_first(rows)


def select_reference(
    actual: str,
    references: Sequence[str],
    scores: Sequence[float],
    threshold: float | None,
    names: Sequence[str],
) -> tuple[int, checks.Comparison]:
    """Return the index and the checks of the nearest reference without an alarm if it reaches the threshold, else of the nearest.

    >>> select_reference("60 days", ["30 days", "60 days!"], [0.9, 0.8], 0.5, ("numbers",))[0]
    1
    """
    language = recorder.current_settings().language
    comparisons = [
        checks.compare(actual, reference, checks=names, language=language) for reference in references
    ]
    order = sorted(range(len(references)), key=lambda index: -scores[index])
    quiet = [index for index in order if not comparisons[index].alarms]
    is_near = quiet and (threshold is None or scores[quiet[0]] >= threshold)
    index = quiet[0] if is_near else order[0]
    return index, comparisons[index]


def collect_evidence(actual: str, reference: str) -> list[tuple[str, str]]:
    """Return what was expected, what was answered, of a long answer its nearest sentence, and whether they share any word.

    By words, never by the embedder: an explanation must not call a server for texts that were not recorded.

    >>> collect_evidence("It rains.", "Refunds take 30 days.")[2:]
    [('why', 'the two share no word that matters: the answer is about something else, or says it in quite other words')]
    """
    wanted = content_stems(reference).keys()
    pairs = [
        (label, f'"{shorten_text(text.strip())}"')
        for label, text in (("expected", reference), ("answer", actual))
    ]
    if wanted.isdisjoint(content_stems(actual)):
        return [*pairs, ("why", UNRELATED)]
    sentences = checks.split_sentences(actual[:MAX_SENTENCE_CHARS])
    if len(sentences) > 1:
        best = max(range(len(sentences)), key=lambda n: len(wanted & content_stems(sentences[n]).keys()))
        place = f"sentence {best + 1} of {len(sentences)}" + ("+" if len(actual) > MAX_SENTENCE_CHARS else "")
        pairs.append(("nearest", f'{place}: "{shorten_text(sentences[best], 120)}"'))
    return pairs


def find_unknown_languages(embedder: Embedder, texts: Sequence[str]) -> list[str]:
    """Return the names of the languages of texts that an embedder was not trained for; [] if it states none.

    >>> from pytest_llmops.providers.minilm import MiniLMEmbedder
    >>> find_unknown_languages(MiniLMEmbedder(), ["Refunds take 30 days", "Die Rückgabe ist nicht möglich"])
    ['German']
    """
    known = getattr(embedder, "languages", None)
    if not known:
        return []
    known_names = {LANGUAGES.get(code) for code in known}
    return sorted({name for name in map(detect_language, texts) if name and name not in known_names})
