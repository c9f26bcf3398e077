"""Assertions about the text of an answer: it contains, matches, resembles or equals other texts, or does not."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial as bind
from itertools import islice

from pytest_llmops import recorder
from pytest_llmops.assertions import _arguments as answers
from pytest_llmops.assertions import _evidence as contrast
from pytest_llmops.assertions._arguments import CountRange, SearchedText
from pytest_llmops.errors import MeasurementErrored, UsageError
from pytest_llmops.measurement import Json, Measurement
from pytest_llmops.metrics import lexical, text_spans
from pytest_llmops.metrics.lexical import Form, Whitespace

MAX_MATCHES = 1_000_000
"""Maximum number of matches of a pattern that are counted."""
MAX_SPANS = 100
"""Maximum number of places of an unwanted text in ``detail``."""


def assert_contains(
    actual: str | None,
    expected: str | Sequence[str],
    *,
    any_of: bool = False,
    times: int | None = None,
    at_least_times: int | None = None,
    at_most_times: int | None = None,
    in_order: bool = False,
    whole_words: bool = False,
    ignore_case: bool = False,
    whitespace: Whitespace = "keep",
    unicode: Form = "keep",
    at_least: float | None = 1.0,
    label: str = "",
) -> Measurement:
    r"""Assert that an answer contains a text, or all of several.

    A plain search for characters: "30 days" is also found in "130 days" unless you ask for ``whole_words``, and
    in "30  days" only with ``whitespace="collapse"``. For what must not be there see `assert_not_contains`.

    Args:
        actual: The answer. An empty answer contains nothing; None (the model said nothing) cannot be scored.
        expected: The text, or several. An empty text would be in every answer and is refused.
        any_of: A single text is enough.
        times: How often each of them has to be there, exactly; places that overlap count once.
        at_least_times: How often at least.
        at_most_times: How often at most; once it has to be there in any case.
        in_order: They have to follow each other in the given order.
        whole_words: Not as a part of a longer word or number. For scripts without spaces of no use.
        ignore_case: Case does not count, in the Unicode sense.
        whitespace: "strip": not at both ends; "collapse": every run of it counts as a single space.
        unicode: "NFC": it does not count how accents are written; "NFKC": nor full-width letters,
            ligatures and no-break spaces.
        at_least: The share of the texts that must be there, 0 to 1; None: record only.
        label: Distinguishes two assertions of a test.

    Returns:
        The measurement ``text.contains``: the share of the texts found (as often, and in order, if
        required), 0 to 1; with ``any_of`` 1 if any is found, else 0. ``detail["missing"]`` lists the others.

    Raises:
        MeasurementFailed: The share is below the threshold; shows the nearest span for each missing text, and the
            places of a text that is there too rarely, too often or too early.
        MeasurementErrored: There is no answer, it is no text, or it cannot be normalized.
        UsageError: Nothing to look for, counts that make no sense, or a threshold outside 0 to 1.

    >>> assert_contains("Within 30 days, unopened.", ["30 days", "unopened"], in_order=True).value
    1.0
    """
    __tracebackhide__ = True
    wanted = answers.parse_wanted_texts("assert_contains", expected)
    threshold = answers.parse_share_threshold("assert_contains", at_least)
    search = _ContainsSearch(
        answers.parse_normalizer(
            "assert_contains", ignore_case=ignore_case, whitespace=whitespace, unicode=unicode
        ),
        answers.parse_count_range("assert_contains", times, at_least_times, at_most_times),
        in_order=in_order,
        whole_words=whole_words,
    )
    if in_order and (any_of or search.count_range):
        raise UsageError(
            "assert_contains: expected in_order without any_of and counts: it asks for one place of each text"
        )
    try:
        results = search.find_texts(actual, wanted)
    except ValueError as problem:
        return _emit_text_error("text.contains", problem, threshold, label, expected=list(wanted))
    text = str(actual)
    failed = search.select_failed(text, results)
    share = (len(wanted) - len(failed)) / len(wanted)
    counts: dict[str, Json] = {"counts": [result.count for result in results]} if search.count_range else {}
    missing: list[Json] = [result.wanted for result in failed]
    measurement = Measurement(
        name="text.contains",
        value=float(share > 0) if any_of else share,
        threshold=threshold,
        label=label,
        reason=_format_missing_count(len(wanted), failed, any_of=any_of),
        detail={"actual": text, "expected": list(wanted), "missing": missing, **counts},
    )
    return recorder.emit(
        measurement, evidence=lambda: search.collect_evidence(text, failed, ignore_case=ignore_case)
    )


@dataclass(frozen=True, slots=True)
class _ContainsSearch:
    """The search of `assert_contains`."""

    normalizer: answers.TextNormalizer
    count_range: CountRange | None
    in_order: bool
    whole_words: bool

    def find_texts(self, actual: object, wanted: Sequence[str]) -> list[SearchedText]:
        return answers.search_texts(
            actual,
            wanted,
            self.normalizer,
            whole_words=self.whole_words,
            most=contrast.MAX_LISTED_PLACES + 1 if self.count_range or self.in_order else 1,
            count=self.count_range is not None,
        )

    def select_failed(self, text: str, results: Sequence[SearchedText]) -> list[SearchedText]:
        """Return the texts that are missing, or not there as required."""
        if self.count_range:
            return [result for result in results if not self.count_range.includes(result.count)]
        if self.in_order:
            needles = [result.normalized for result in results]
            starts = text_spans.find_longest_chain(
                self.normalizer(text), needles, whole_words=self.whole_words
            )
            return [result for result, start in zip(results, starts, strict=True) if start is None]
        return [result for result in results if not result.starts]

    def collect_evidence(
        self, text: str, failed: Sequence[SearchedText], *, ignore_case: bool
    ) -> contrast.Evidence:
        """Return what is missing, and what is there but too rarely, too often or out of order."""
        missing = [result.wanted for result in failed if not result.starts]
        *pairs, last = contrast.missing_text_evidence(
            text, missing, ignore_case=ignore_case, whole_words=self.whole_words
        )
        origins = self.normalizer.map_to_original(text)
        for result in [result for result in failed if result.starts][: contrast.MAX_LISTED_TEXTS]:
            problem = "there, but not in this order"
            if self.count_range:
                problem = f"expected {self.count_range}, got {result.count:,}"
            line = contrast.describe_places(text, result.wanted, result.find_spans(origins), problem)
            pairs.append(("count" if self.count_range else "order", line))
        return [*pairs, last]


def assert_matches(
    actual: str | None,
    pattern: str | re.Pattern[str],
    *,
    full: bool = False,
    times: int | None = None,
    at_least_times: int | None = None,
    at_most_times: int | None = None,
    ignore_case: bool = False,
    unicode: Form = "keep",
    at_least: float | None = 1.0,
    label: str = "",
) -> Measurement:
    r"""Assert that an answer matches a regular expression of Python's `re`.

    The pattern is yours, and so is its running time: nested repetitions (``(a+)+b``, ``(\w+\s?)*$``) can take
    forever over an answer that somebody else writes. Possessive ones (``(a++)+b``, Python 3.11) cannot.

    Args:
        actual: The answer. None (the model said nothing) cannot be scored.
        pattern: The expression, also compiled with flags of its own.
        full: The whole answer has to match, not only a part of it.
        times: How often it has to match, exactly; matches do not overlap.
        at_least_times: How often at least.
        at_most_times: How often at most; once it has to match in any case.
        ignore_case: As `re.IGNORECASE`.
        unicode: The form that the answer is brought to first, as in `assert_contains`; the pattern is not.
        at_least: 1.0, or None: record only.
        label: Distinguishes two assertions of a test.

    Returns:
        The measurement ``text.matches``: 1 or 0. With counts ``detail["count"]`` says how often it matches.

    Raises:
        MeasurementFailed: It does not match; says with which flag it would, with ``full`` how far it got, or what is
            nearest to its plain words.
        MeasurementErrored: There is no answer, it is no text, or it cannot be normalized.
        UsageError: The pattern is invalid (gives the position), counts make no sense, or the threshold is
            outside 0 to 1.

    >>> assert_matches("Order #4711 is on its way.", r"#\d{4}\b").status
    'passed'
    """
    __tracebackhide__ = True
    compiled = answers.compile_pattern("assert_matches", pattern, ignore_case=ignore_case)
    threshold = answers.parse_share_threshold("assert_matches", at_least)
    count_range = answers.parse_count_range("assert_matches", times, at_least_times, at_most_times)
    normalizer = answers.parse_normalizer("assert_matches", ignore_case=False, unicode=unicode)
    if full and count_range:
        raise UsageError(
            "assert_matches: expected full without counts: the whole answer matches once or not at all"
        )
    try:
        text = normalizer.normalize_answer(actual)
    except ValueError as problem:
        return _emit_text_error("text.matches", problem, threshold, label, expected=compiled.pattern)
    detail: dict[str, Json] = {"actual": str(actual), "expected": compiled.pattern}
    spans = [match.span() for match in islice(compiled.finditer(text), MAX_MATCHES)] if count_range else []
    if count_range:
        good, detail["count"] = count_range.includes(len(spans)), len(spans)
    else:
        good = (compiled.fullmatch(text) if full else compiled.search(text)) is not None
    measurement = Measurement(
        name="text.matches", value=float(good), threshold=threshold, label=label, detail=detail
    )
    if spans and count_range:
        what = f"expected {count_range}, got {len(spans):,}"
        line = bind(contrast.describe_places, text, compiled.pattern, spans, what)
        return recorder.emit(
            measurement, evidence=lambda: [("count", line()), ("answer", contrast.format_answer(text))]
        )
    return recorder.emit(
        measurement, evidence=lambda: contrast.unmatched_pattern_evidence(text, compiled, full=full)
    )


def assert_fuzzy(
    actual: str | None,
    expected: str | Sequence[str],
    *,
    at_least: float | None,
    partial: bool = False,
    ignore_case: bool = False,
    whitespace: Whitespace = "keep",
    unicode: Form = "keep",
    label: str = "",
) -> Measurement:
    """Assert that an answer is nearly a text, or any of several, letter by letter.

    There is no default threshold, as none fits: a changed digit in "30 days" still scores 0.86, a
    "not" in a paragraph 0.98, and two unrelated sentences about 0.4. Good for spelling, names, quotes and
    layout (try 0.9); for what is meant see `assert_semantic` and `assert_judge_score`.

    Args:
        actual: The answer. An empty answer scores 0; None (the model said nothing) cannot be scored.
        expected: The text it should nearly be; of several the nearest counts.
        at_least: 0 to 1; None: record only.
        partial: Compare with the best matching part of the answer, for a quote within a longer text.
        ignore_case: Case does not count, in the Unicode sense.
        whitespace: "strip": not at both ends; "collapse": every run of it counts as a single space.
        unicode: The form both are brought to first, as in `assert_contains`.
        label: Distinguishes two assertions of a test.

    Returns:
        The measurement ``text.fuzzy``, 0 (nothing in common) to 1 (equal): `fuzz.ratio` of rapidfuzz
        over 100, with ``partial`` `fuzz.partial_ratio`. Its version says which of the two.

    Raises:
        MeasurementFailed: The score is below the threshold; shows the nearest span and a word diff.
        MeasurementErrored: There is no answer, it is no text, or the texts are too long to be compared
            (see `pytest_llmops.metrics.lexical.fuzzy_ratio`).
        UsageError: ``expected`` is no text, an option has the wrong form, or the threshold is outside 0 to 1.

    >>> round(assert_fuzzy("Angela Merkl", ["Scholz", "Angela Merkel"], at_least=0.9).value, 2)
    0.96
    """
    __tracebackhide__ = True
    where = "assert_fuzzy"
    threshold = answers.parse_share_threshold(where, at_least)
    normalizer = answers.parse_normalizer(
        where, ignore_case=ignore_case, whitespace=whitespace, unicode=unicode
    )
    references = answers.parse_references(where, expected)
    expected_detail: Json = expected if isinstance(expected, str) else list(references)
    try:
        text, others = normalizer.normalize_answer(actual), list(map(normalizer, references))
        values = [lexical.fuzzy_ratio(text, other, partial=partial) for other in others]
    except ValueError as problem:
        return _emit_text_error("text.fuzzy", problem, threshold, label, expected=expected_detail)
    best = values.index(max(values))
    measurement = Measurement(
        name="text.fuzzy",
        value=values[best],
        threshold=threshold,
        label=label,
        reason=_format_nearest_number(best, len(references)),
        version="partial" if partial else "ratio",
        detail={"actual": str(actual), "expected": expected_detail},
    )
    return recorder.emit(measurement, evidence=lambda: contrast.fuzzy_evidence(text, others[best]))


def assert_exact(
    actual: str | None,
    expected: str | Sequence[str],
    *,
    ignore_case: bool = False,
    whitespace: Whitespace = "keep",
    unicode: Form = "keep",
    at_least: float | None = 1.0,
    label: str = "",
) -> Measurement:
    """Assert that an answer equals a text, or any of several, character by character.

    Args:
        actual: The answer. None (the model said nothing) cannot be scored.
        expected: The text; an empty text asserts that nothing was said. Of several any may be equal.
        ignore_case: Case does not count, in the Unicode sense.
        whitespace: "strip": not at both ends; "collapse": every run of it counts as a single space.
        unicode: The form both are brought to first, as in `assert_contains`.
        at_least: 1.0, or None: record only.
        label: Distinguishes two assertions of a test.

    Returns:
        The measurement ``text.exact``: 1 or 0.

    Raises:
        MeasurementFailed: They differ; names the first character that does (from the nearest of several), shows a
            word diff, and says which option would make them equal.
        MeasurementErrored: There is no answer, or it is no text.
        UsageError: ``expected`` is no text, or an option has the wrong form.

    >>> assert_exact("Yes ", "yes", ignore_case=True, whitespace="strip").status
    'passed'
    """
    __tracebackhide__ = True
    where = "assert_exact"
    threshold = answers.parse_share_threshold(where, at_least)
    normalizer = answers.parse_normalizer(
        where, ignore_case=ignore_case, whitespace=whitespace, unicode=unicode
    )
    references = answers.parse_references(where, expected)
    expected_detail: Json = expected if isinstance(expected, str) else list(references)
    try:
        text, others = normalizer.normalize_answer(actual), list(map(normalizer, references))
    except ValueError as problem:
        return _emit_text_error("text.exact", problem, threshold, label, expected=expected_detail)
    best = contrast.find_nearest_reference(text, others)
    measurement = Measurement(
        name="text.exact",
        value=float(text == others[best]),
        threshold=threshold,
        label=label,
        reason=_format_nearest_number(best, len(references)) if text != others[best] else "",
        detail={"actual": str(actual), "expected": expected_detail},
    )
    return recorder.emit(measurement, evidence=lambda: contrast.exact_evidence(text, others[best]))


def assert_not_contains(
    actual: str | None,
    unwanted: str | Sequence[str],
    *,
    whole_words: bool = False,
    ignore_case: bool = False,
    whitespace: Whitespace = "keep",
    unicode: Form = "keep",
    at_least: float | None = 1.0,
    label: str = "",
) -> Measurement:
    """Assert that an answer contains none of some texts.

    A plain search for characters: "art" is also found in "start" unless you ask for ``whole_words``, and "Art" only
    with ``ignore_case``; whoever must not say a thing at all is better asked with ``ignore_case=True``,
    ``whitespace="collapse"`` and ``unicode="NFKC"``. An empty answer contains nothing, and passes.

    Args:
        actual: The answer. None (the model said nothing) cannot be scored.
        unwanted: The text, or several. An empty text would be in every answer and is refused.
        whole_words: Not as a part of a longer word or number. For scripts without spaces of no use.
        ignore_case: Case does not count, in the Unicode sense.
        whitespace: "strip": not at both ends; "collapse": every run of it counts as a single space.
        unicode: The form both are brought to first, as in `assert_contains`.
        at_least: The share of the texts that must not be there, 0 to 1; None: record only.
        label: Distinguishes two assertions of a test.

    Returns:
        The measurement ``text.not_contains``: the share of the texts that are not there, 0 to 1.
        ``detail["found"]`` lists the others, ``detail["spans"]`` where they stand in the answer.

    Raises:
        MeasurementFailed: The share is below the threshold; shows where each unwanted text stands.
        MeasurementErrored: There is no answer, it is no text, or it cannot be normalized.
        UsageError: Nothing to look for, or a threshold outside 0 to 1.

    >>> assert_not_contains("Within 30 days, unopened.", ["60 days", "guarantee"]).value
    1.0
    """
    __tracebackhide__ = True
    name, where = "text.not_contains", "assert_not_contains"
    texts = answers.parse_wanted_texts(where, unwanted)
    threshold = answers.parse_share_threshold(where, at_least)
    normalizer = answers.parse_normalizer(
        where, ignore_case=ignore_case, whitespace=whitespace, unicode=unicode
    )
    try:
        results = answers.search_texts(
            actual, texts, normalizer, whole_words=whole_words, most=MAX_SPANS, count=True
        )
    except ValueError as problem:
        return _emit_text_error(name, problem, threshold, label, unwanted=list(texts))
    text = str(actual)
    origins = normalizer.map_to_original(text)
    present_texts = [
        (result.wanted, result.find_spans(origins), result.count) for result in results if result.starts
    ]
    measurement = Measurement(
        name=name,
        value=(len(texts) - len(present_texts)) / len(texts),
        threshold=threshold,
        label=label,
        reason=f"{len(present_texts)} of {len(texts)} unwanted texts found"
        if present_texts and len(texts) > 1
        else "",
        detail={
            "actual": text,
            "unwanted": list(texts),
            "found": [wanted for wanted, _, _ in present_texts],
            "spans": [[list(place) for place in places] for _, places, _ in present_texts],
        },
    )
    return recorder.emit(
        measurement, evidence=lambda: contrast.unwanted_text_evidence(text, "unwanted", present_texts)
    )


def assert_not_matches(
    actual: str | None,
    pattern: str | re.Pattern[str],
    *,
    ignore_case: bool = False,
    unicode: Form = "keep",
    at_least: float | None = 1.0,
    label: str = "",
) -> Measurement:
    r"""Assert that a regular expression of Python's `re` matches nowhere in an answer.

    The pattern is yours, and so is its running time, as `assert_matches` says.

    Args:
        actual: The answer. None (the model said nothing) cannot be scored.
        pattern: The expression, also compiled with flags of its own.
        ignore_case: As `re.IGNORECASE`.
        unicode: The form that the answer is brought to first, as in `assert_not_contains`; the pattern is not.
        at_least: 1.0, or None: record only.
        label: Distinguishes two assertions of a test.

    Returns:
        The measurement ``text.not_matches``: 1 if it matches nowhere, else 0. ``detail["spans"]``: where, in that form.

    Raises:
        MeasurementFailed: It matches; shows where.
        MeasurementErrored: There is no answer, it is no text, or it cannot be normalized.
        UsageError: The pattern is invalid (gives the position), or the threshold is outside 0 to 1.

    >>> assert_not_matches("Order #4711 is on its way.", r"\b\d{16}\b").status
    'passed'
    """
    __tracebackhide__ = True
    name, where = "text.not_matches", "assert_not_matches"
    compiled = answers.compile_pattern(where, pattern, ignore_case=ignore_case)
    threshold = answers.parse_share_threshold(where, at_least)
    normalizer = answers.parse_normalizer(where, ignore_case=False, unicode=unicode)
    try:
        text = normalizer.normalize_answer(actual)
    except ValueError as problem:
        return _emit_text_error(name, problem, threshold, label, unwanted=compiled.pattern)
    matches = compiled.finditer(text)
    places = [match.span() for match in islice(matches, MAX_SPANS)]
    count = len(places) + sum(1 for _ in islice(matches, MAX_MATCHES))
    measurement = Measurement(
        name=name,
        value=float(not places),
        threshold=threshold,
        label=label,
        detail={"actual": str(actual), "unwanted": compiled.pattern, "spans": list(map(list, places))},
    )
    first_match = [(text[slice(*places[0])], places, count)] if places else []
    return recorder.emit(
        measurement,
        evidence=lambda: [
            ("pattern", compiled.pattern),
            *contrast.unwanted_text_evidence(text, "matches", first_match),
        ],
    )


def _format_nearest_number(best: int, count: int) -> str:
    return f"nearest of {count} texts is number {best + 1}" if count > 1 else ""


def _emit_text_error(
    name: str, problem: ValueError, threshold: float | None, label: str, **detail: Json
) -> Measurement:
    __tracebackhide__ = True
    measurement = Measurement(name=name, error=str(problem), threshold=threshold, label=label, detail=detail)
    try:
        return recorder.emit(measurement)
    except MeasurementErrored as error:
        raise error from None  # the text says all that the ValueError does


def _format_missing_count(wanted: int, failed: Sequence[SearchedText], *, any_of: bool) -> str:
    if wanted == 1 or not failed or (any_of and len(failed) < wanted):
        return ""
    there = any(result.starts for result in failed)
    if not any_of:
        return f"{len(failed)} of {wanted} texts {'not there as asked' if there else 'missing'}"
    return f"none of {wanted} texts is {'there as asked' if there else 'in the answer'}"
