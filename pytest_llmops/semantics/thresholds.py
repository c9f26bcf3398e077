"""Similarity of texts by an embedder, and thresholds of the similarity that were measured on labelled pairs."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias, cast

from pytest_llmops import recorder
from pytest_llmops._util.arrays import Float64Array, as_rows
from pytest_llmops._util.text_files import BadFile, as_mapping, read_json, read_text
from pytest_llmops.errors import LLMOpsError, UsageError
from pytest_llmops.measurement import Json, as_finite_float, quoted, shorten_text
from pytest_llmops.metrics.vectors import cosine
from pytest_llmops.protocols import Embedder
from pytest_llmops.providers.embedding_cache import with_vector_cache
from pytest_llmops.registry import component_name
from pytest_llmops.semantics import checks
from pytest_llmops.semantics.checks.language import LANGUAGES, detect_language
from pytest_llmops.semantics.content_words import content_stems
from pytest_llmops.semantics.token_alignment import VERSION_PREFIX, format_version
from pytest_llmops.settings import Settings

__tracebackhide__ = True

SCHEMA = "pytest-llmops/threshold/"
SCHEMA_MAJOR = 1
COMMAND = "llmops semantic calibrate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """The lowest similarity from which two texts count as saying the same, for a version of an embedder.

    Attributes:
        value: The threshold, 0 to 1.
        embedder: Name of the embedder it was measured with.
        version: The embedder's version. A cosine of 0.7 is high for some embedders and low for others, so the
            threshold is refused with any other version.
        rule: How the cut was chosen.
        facts: Results of the calibration: counts, area under the curve, figures at the cut.
        path: The file it was read from. Ignored in comparisons.
    """

    value: float
    embedder: str
    version: str
    rule: str = ""
    facts: Mapping[str, Json] = field(default_factory=dict)
    path: str = field(default="", compare=False)

    @classmethod
    def load(cls, path: str | Path) -> "Threshold":
        """Read the file that ``llmops semantic calibrate --out`` wrote.

        Raises:
            UsageError: The file does not exist, it is damaged, or a newer version wrote it.
        """
        place = Path(path)
        try:
            content = read_json(read_text(place))
            return Threshold.from_wire(as_mapping(content), str(place))
        except BadFile as error:
            problem = error.what
            if error.line is not None:
                problem += f" (line {error.line})"
            short_path = shorten_text(str(place), 300)
            raise UsageError(
                f"threshold {short_path}: {problem}; expected a file of {COMMAND} pairs.jsonl --out FILE"
            ) from None

    @property
    def is_aligned(self) -> bool:
        """Whether it was measured with the alignment of words, not with the cosine of whole texts."""
        return self.version.startswith(VERSION_PREFIX)

    def check(self, embedder: Embedder, *, aligned: bool = False) -> float:
        """Return the threshold if it was measured with this embedder.

        Args:
            embedder: The embedder of the assertion.
            aligned: Whether the assertion aligns words, as it does with a question. That is another scale than the
                cosine of whole texts.

        Raises:
            UsageError: It was measured with another embedder, with another version, or on the other scale.

        >>> from pytest_llmops.providers.offline import HashingEmbedder
        >>> Threshold(value=0.61, embedder="hashing", version="hashing/1/4096").check(HashingEmbedder())
        0.61
        """
        version = str(embedder.version)
        if aligned:
            version = format_version(version)
        name = component_name(embedder)
        if version == self.version:
            return self.value
        if self.is_aligned != aligned:
            raise UsageError(self._describe_other_scale())
        # The command knows built-in embedders by name, and others by module and class.
        argument = name
        kind = type(getattr(embedder, "inner", embedder))
        if not kind.__module__.startswith("pytest_llmops."):
            argument = f"{kind.__module__}:{kind.__qualname__}"
        threshold = f"threshold {self.value:g}"
        if self.path:
            threshold += f" ({self.path})"
        expected = _describe_version(self.embedder, self.version)
        got = _describe_version(name, version)
        short_argument = shorten_text(argument, 100)
        raise UsageError(
            f"{threshold}: expected the embedder it was measured with, {expected}, got {got}; "
            f"use that embedder, or measure again: {COMMAND} pairs.jsonl --embedder {short_argument}"
        )

    def _describe_other_scale(self) -> str:
        """Return the error about an assertion whose scale differs from the scale of this threshold."""
        threshold = f"threshold {self.value:g}"
        if self.path:
            threshold += f" ({self.path})"
        if self.is_aligned:
            return (
                f"{threshold}: it was measured on pairs with a question, for the alignment of words: expected question= or "
                f"case=, got neither; pass one, or measure again without questions: {COMMAND} pairs.jsonl"
            )
        return (
            f"{threshold}: it was measured for the cosine of whole texts, and with a question words are aligned: leave out "
            f'question=, or measure again with "question" in each line: {COMMAND} pairs.jsonl'
        )

    @classmethod
    def from_wire(cls, wire: Mapping[str, Json], path: str) -> "Threshold":
        """Return the threshold of a file's content.

        Raises:
            BadFile: The content is not a threshold, or a newer version wrote it.
        """
        schema = wire.get("schema")
        value = wire.get("at_least")
        facts = wire.get("facts", {})
        if not isinstance(schema, str) or not schema.startswith(SCHEMA):
            given = quoted(schema)
            raise BadFile(f"expected the schema {SCHEMA}{SCHEMA_MAJOR}, got {given}")
        if schema != f"{SCHEMA}{SCHEMA_MAJOR}":
            given = shorten_text(schema, 80)
            raise BadFile(f"expected the schema {SCHEMA}{SCHEMA_MAJOR}, got {given}: update pytest-llmops")
        number = as_finite_float(value)
        if number is None or not 0 <= number <= 1:
            given = quoted(value)
            raise BadFile(f"expected at_least from 0 to 1, got {given}")
        if not isinstance(facts, Mapping):
            raise BadFile(f"expected facts as an object, got {shorten_text(repr(facts), 80)}")
        names: dict[str, str] = {}
        for key in ("embedder", "version"):
            text = wire.get(key)
            if not isinstance(text, str) or not text:
                given = shorten_text(repr(text), 80)
                raise BadFile(f"expected {key} as a text, got {given}")
            names[key] = text
        rule = str(wire.get("rule", ""))
        return cls(value=number, **names, rule=rule, facts=facts, path=path)

    def text(self) -> str:
        """Return the file's text: readable JSON, the same bytes for the same threshold."""
        wire: dict[str, Json] = {
            "schema": f"{SCHEMA}{SCHEMA_MAJOR}",
            "at_least": self.value,
            "embedder": self.embedder,
            "version": self.version,
            "rule": self.rule,
            "facts": dict(self.facts),
        }
        return json.dumps(wire, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def default_threshold(
    embedder: Embedder, settings: Settings, *, requested_name: str = "", aligned: bool = False
) -> float | None:
    """Return the threshold of an embedder if the assertion has none.

    The threshold file of ini ``llm_semantic_threshold`` is used if it was measured with an embedder of this name or
    version, and on the scale of the assertion: with the alignment of words if it is ``aligned``, else with the cosine.
    The name may be the embedder's own, or ``requested_name``, by which a hook or the settings know it. Otherwise it is
    the embedder's own ``default_threshold`` (``alignment_threshold``), or None.

    Raises:
        UsageError: The file is missing or damaged, or it holds for another version of this embedder.

    >>> from pytest_llmops.providers.offline import TfidfEmbedder
    >>> default_threshold(TfidfEmbedder(), Settings())
    0.45
    """
    if settings.semantic_threshold:
        measured = Threshold.load(settings.semantic_threshold)
        is_named = measured.embedder in {component_name(embedder), requested_name}
        is_for_embedder = is_named or measured.version == str(embedder.version)
        if is_for_embedder and measured.is_aligned == aligned:
            return measured.check(embedder, aligned=aligned)
    attribute = "default_threshold"
    if aligned:
        attribute = "alignment_threshold"
    return cast("float | None", getattr(embedder, attribute, None))


def embed_rows(texts: Sequence[str], embedder: Embedder) -> Float64Array:
    """Return the vectors of texts as the rows of an array; all texts are embedded in a single call.

    Raises:
        LLMOpsError: The embedder gave no usable vectors.
        Exception: Whatever the embedder raises.
    """
    vectors = embedder.embed(list(texts))
    try:
        return as_rows(vectors, count=len(texts))
    except ValueError as error:
        raise LLMOpsError(str(error)) from None


def _describe_version(embedder: str, version: str) -> str:
    return f"{shorten_text(embedder, 100)} of version {shorten_text(version, 100)}"


def cosines_with_first(rows: Float64Array) -> list[float]:
    """Return the cosine of the first row with each other row, 0 (unlike, or opposite) to 1."""
    cosines = cosine(rows[:1], rows[1:])[0]
    return [max(0.0, float(value)) for value in cosines]


AtLeast: TypeAlias = "float | Threshold | Literal['default'] | None"
Checks: TypeAlias = "Literal['default'] | Collection[str]"

# Start of an answer in which the nearest sentence is searched for; words and score take all of it
MAX_SENTENCE_CHARS = 50_000
MAX_QUOTE_CHARS = 80
UNRELATED = (
    "the two share no word that matters: the answer is about something else, or uses quite different words"
)


def reference_texts(expected: object) -> tuple[str, ...]:
    """Return the references of an assertion, which accepts a text or several.

    Raises:
        UsageError: No reference is given, or a reference is not a text or blank.

    >>> reference_texts("a"), reference_texts(["a", "b"])
    (('a',), ('a', 'b'))
    """
    texts = expected
    if isinstance(expected, str):
        texts = (expected,)
    if not isinstance(texts, Sequence) or isinstance(texts, (bytes, bytearray)):
        raise UsageError(
            f"assert_semantic: expected a reference text or several, got {type(expected).__name__}"
        )
    for number, text in enumerate(texts, start=1):
        if not isinstance(text, str) or not text.strip():
            what = type(text).__name__
            if isinstance(text, str):
                what = "a blank text"
            raise UsageError(f"assert_semantic: expected reference texts, got {what} as number {number}")
    if not texts:
        raise UsageError(
            "assert_semantic: expected at least one reference, got none; does the case have one?"
        )
    return tuple(texts)


def resolve_embedder(given: Embedder | str | None, where: str) -> Embedder:
    """Return an embedder behind its cache, by name or as given; None: the embedder of the settings.

    Raises:
        UnknownName: No embedder has that name.
        UsageError: The object is not an embedder.
    """
    if given is None:
        given = recorder.current_settings().embedder
    resolved: object = given
    if isinstance(given, str):
        resolved = recorder.find_component("embedder", given)
    if not callable(getattr(resolved, "embed", None)) or not hasattr(resolved, "version"):
        raise UsageError(
            f"{where}: expected an embedder, an object with embed(texts) and a version, got {type(resolved).__name__}"
        )
    return with_vector_cache(cast("Embedder", resolved))


def resolve_threshold(
    at_least: object, embedder: Embedder, *, requested_name: str = "", aligned: bool = False
) -> float | None:
    """Return the threshold of an assertion as a number; None: record only.

    Args:
        at_least: A number from 0 to 1 (numpy's too), a threshold, ``"default"`` or None.
        embedder: The embedder of the assertion.
        requested_name: The name that the embedder was requested by, if any.
        aligned: Whether the assertion aligns words.

    Raises:
        UsageError: It is out of range, was measured with another embedder, or the embedder has no default.
    """
    if isinstance(at_least, Threshold):
        return at_least.check(embedder, aligned=aligned)
    minimum = at_least
    if isinstance(at_least, str) and at_least == "default":
        settings = recorder.current_settings()
        minimum = default_threshold(embedder, settings, requested_name=requested_name, aligned=aligned)
        if minimum is None:
            raise UsageError(
                f"assert_semantic: the embedder {component_name(embedder)} has no default threshold: pass at_least=, "
                "or at_least=None to record only"
            )
    return parse_threshold(minimum)


def parse_threshold(given: object) -> float | None:
    """Return a threshold as a number from 0 to 1; None for None.

    Raises:
        UsageError: It is something else.

    >>> parse_threshold(1), parse_threshold(None)
    (1.0, None)
    """
    if given is None:
        return None
    number = as_finite_float(given)
    if number is None or not 0 <= number <= 1:
        raise UsageError(
            "assert_semantic: expected at_least from 0 to 1, a Threshold, or None to record only, "
            f"got {shorten_text(repr(given), MAX_QUOTE_CHARS)}"
        )
    return float(number)


def similarity_scores(actual: str, references: Sequence[str], embedder: Embedder) -> list[float]:
    """Return the cosine of an answer with each reference, 0 (unlike, or opposite) to 1; an empty answer scores 0.

    Raises:
        LLMOpsError: The embedder gave no usable vectors, or zeros for every reference.
        Exception: Whatever the embedder raises.
    """
    if not actual.strip():
        return [0.0] * len(references)
    rows = embed_rows([actual, *references], embedder)
    if not rows[1:].any():
        raise LLMOpsError(
            f'found nothing to compare in the reference "{shorten_text(references[0], MAX_QUOTE_CHARS)}"'
        )
    return cosines_with_first(rows)


def select_reference(
    actual: str,
    references: Sequence[str],
    scores: Sequence[float],
    threshold: float | None,
    names: Sequence[str],
    *,
    question: str = "",
) -> tuple[int, checks.Comparison]:
    """Return the index of the reference to report, and its comparison by the checks.

    That is the nearest reference without an alarm if its score reaches the threshold, else the nearest of all.

    Args:
        actual: The answer.
        references: At least one.
        scores: The similarity of each reference.
        threshold: None: any score is enough.
        names: The checks that are on.
        question: The question. "": not known.

    >>> select_reference("60 days", ["30 days", "60 days!"], [0.9, 0.8], 0.5, ("numbers",))[0]
    1
    """
    language = recorder.current_settings().language
    comparisons = [
        checks.compare(actual, reference, checks=names, language=language, question=question)
        for reference in references
    ]
    order = sorted(range(len(references)), key=lambda index: -scores[index])
    nearest = order[0]
    quiet = [index for index in order if not comparisons[index].alarms]
    if quiet and (threshold is None or scores[quiet[0]] >= threshold):
        nearest = quiet[0]
    return nearest, comparisons[nearest]


def find_nearest(actual: str, references: Sequence[str]) -> int:
    """Return the index of the reference that shares most content words with an answer.

    >>> find_nearest("It rains in Rome", ["Snow in Oslo", "Rain in Rome"])
    1
    """
    words = content_stems(actual).keys()
    shared = [len(words & content_stems(reference).keys()) for reference in references]
    return shared.index(max(shared))


def collect_evidence(actual: str, reference: str) -> list[tuple[str, str]]:
    """Return the reference, the answer, and of several sentences in it the one with most words of the reference.

    If they share no content word, the last line states that instead. The embedder is not used: an explanation must not call a
    server for texts that were not recorded.

    >>> collect_evidence("It rains.", "Refunds take 30 days.")[2:]
    [('why', 'the two share no word that matters: the answer is about something else, or uses quite different words')]
    """
    wanted = content_stems(reference).keys()
    short_reference = shorten_text(reference.strip())
    short_answer = shorten_text(actual.strip())
    pairs = [("expected", f'"{short_reference}"'), ("answer", f'"{short_answer}"')]
    if wanted.isdisjoint(content_stems(actual)):
        return [*pairs, ("why", UNRELATED)]
    sentences = checks.split_sentences(actual[:MAX_SENTENCE_CHARS])
    if len(sentences) > 1:
        shared = [len(wanted & content_stems(sentence).keys()) for sentence in sentences]
        best = shared.index(max(shared))
        place = f"sentence {best + 1} of {len(sentences)}"
        if len(actual) > MAX_SENTENCE_CHARS:
            place += "+"
        nearest = shorten_text(sentences[best], 120)
        pairs.append(("nearest", f'{place}: "{nearest}"'))
    return pairs


def find_unknown_languages(embedder: Embedder, texts: Sequence[str]) -> list[str]:
    """Return which languages of some texts an embedder was not trained for; none if it does not state its languages.

    Equal texts have the same vector whatever their language.

    >>> from pytest_llmops.providers.minilm import MiniLMEmbedder
    >>> find_unknown_languages(MiniLMEmbedder(), ["Refunds take 30 days", "Die Rückgabe ist nicht möglich"])
    ['German']
    """
    known = getattr(embedder, "languages", None)
    if not known or len(set(texts)) == 1:
        return []
    known_names = {LANGUAGES.get(code) for code in known}
    detected = set(map(detect_language, texts))
    return sorted(name for name in detected if name and name not in known_names)


def describe_unknown_languages(embedder: Embedder, texts: Sequence[str]) -> list[str]:
    """Return a sentence that names the languages an embedder was not trained for, with the command that helps; else nothing.

    >>> from pytest_llmops.providers.minilm import MiniLMEmbedder
    >>> describe_unknown_languages(MiniLMEmbedder(), ["Refunds take 30 days", "A refund takes 30 days"])
    []
    """
    unknown = find_unknown_languages(embedder, texts)
    if not unknown:
        return []
    # It brings what installs models, which only this sentence needs
    from pytest_llmops.providers import multilingual_e5

    name = component_name(embedder)
    sentence = f"the embedder {name} does not know {' and '.join(unknown)}: its scores say little there, unrelated texts may pass and right ones fail"
    if name != multilingual_e5.NAME:
        sentence += (
            f"; {multilingual_e5.INSTALL_COMMAND} and -o llm_embedder={multilingual_e5.NAME} compare them"
        )
    return [sentence]
