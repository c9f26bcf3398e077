"""Assertions about the text of an answer: it contains, matches, resembles or equals other texts, or does not."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial as partial_call
from itertools import islice
from typing import Any, TypeAlias

from pytest_llmops import recorder
from pytest_llmops._util.framework_objects import read_answer
from pytest_llmops.assertions import _arguments as answers
from pytest_llmops.assertions import _evidence as contrast
from pytest_llmops.assertions._arguments import CountRange, SearchedText
from pytest_llmops.errors import MeasurementErrored, UsageError
from pytest_llmops.measurement import Evidence, Json, Measurement
from pytest_llmops.metrics import lexical, text_spans
from pytest_llmops.metrics.lexical import Form, Whitespace

__tracebackhide__ = True

Detail: TypeAlias = Mapping[str, Json]
MAX_MATCHES = 1_000_000  # maximum number of matches of a pattern that are counted
MAX_SPANS = 100  # places of an unwanted text in ``detail``


def assert_contains(
    actual: object,
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
    """Assert that an answer contains a text, or each of several texts.

    The search compares characters. It finds "30 days" in "130 days" unless ``whole_words`` is set, and in "30  days"
    only with ``whitespace="collapse"``. `assert_not_contains` is the opposite.

    Args:
        actual: The answer, a text or the response of an SDK. An empty answer contains nothing. None, as after a tool
            call, gives no score.
        expected: The text, or several. An empty text is refused, because every answer contains it.
        any_of: One of the texts is enough.
        times: How often each text must occur, exactly. Overlapping places count once.
        at_least_times: How often each text must occur at least.
        at_most_times: How often each text may occur at most. It must occur at least once in any case.
        in_order: The texts must follow each other in the given order.
        whole_words: Find the text only where it is not part of a longer word or number. Not useful for scripts without
            spaces.
        ignore_case: Ignore case, by the rules of Unicode.
        whitespace: "strip" ignores white space at both ends. "collapse" also counts each run of it as a single space.
        unicode: "NFC" ignores how accents are encoded. "NFKC" also normalizes full-width letters, ligatures and
            no-break spaces.
        at_least: The share of the texts that must be found, 0 to 1. None: record only.
        label: Distinguishes several uses in one test.

    Returns:
        The measurement ``text.contains``: the share of the texts that were found as required, 0 to 1. With ``any_of``
        it is 1 if any was found, otherwise 0. ``detail["missing"]`` lists the others.

    Raises:
        MeasurementFailed: The share is below the threshold. The message shows the most similar span for each missing
            text, and the places of a text that occurs too rarely, too often or too early.
        MeasurementErrored: The answer is None, is not a text, or cannot be normalized.
        UsageError: The text is empty, the counts contradict each other, or the threshold is outside 0 to 1.

    >>> assert_contains("Within 30 days, unopened.", ["30 days", "unopened"], in_order=True).value
    1.0
    """
    wanted = answers.parse_wanted_texts("assert_contains", expected)
    check = _TextCheck("contains", at_least, label, expected=list(wanted))
    normalizer = answers.parse_normalizer(
        "assert_contains", ignore_case=ignore_case, whitespace=whitespace, unicode=unicode
    )
    count_range = answers.parse_count_range("assert_contains", times, at_least_times, at_most_times)
    search = _ContainsSearch(normalizer, count_range, in_order=in_order, whole_words=whole_words)
    if in_order and (any_of or count_range):
        raise UsageError(
            "assert_contains: expected in_order without any_of and counts: it is about one place of each text"
        )
    try:
        results = search.find_texts(actual, wanted)
    except ValueError as problem:
        return check.emit_error(problem)
    text = str(read_answer(actual))
    failed = search.select_failed(text, results)
    value = (len(wanted) - len(failed)) / len(wanted)
    if any_of:
        value = float(value > 0)
    detail: dict[str, Json] = {"missing": [result.wanted for result in failed]}
    if count_range:
        detail["counts"] = [result.count for result in results]
    reason = _format_missing_count(len(wanted), failed, any_of=any_of)
    return check.emit(
        text,
        value,
        reason=reason,
        evidence=lambda: search.collect_evidence(text, failed, ignore_case=ignore_case),
        detail=detail,
    )


@dataclass(frozen=True, slots=True)
class _ContainsSearch:
    """The search of `assert_contains`."""

    normalizer: answers.TextNormalizer
    count_range: CountRange | None
    in_order: bool
    whole_words: bool

    def find_texts(self, actual: object, wanted: Sequence[str]) -> list[SearchedText]:
        """Return the places of each text; only as many are listed as the decision and the report need."""
        most = 1
        if self.count_range or self.in_order:
            most = contrast.MAX_LISTED_PLACES + 1
        return answers.search_texts(
            actual,
            wanted,
            self.normalizer,
            whole_words=self.whole_words,
            most=most,
            count=self.count_range is not None,
        )

    def select_failed(self, text: str, results: Sequence[SearchedText]) -> list[SearchedText]:
        """Return the texts that are missing, or not there as required."""
        if self.count_range:
            return [result for result in results if not self.count_range.includes(result.count)]
        if self.in_order:
            needles = [result.normalized for result in results]
            answer = self.normalizer(text)
            starts = text_spans.find_longest_chain(answer, needles, whole_words=self.whole_words)
            return [result for result, start in zip(results, starts, strict=True) if start is None]
        return [result for result in results if not result.starts]

    def collect_evidence(
        self, text: str, failed: Sequence[SearchedText], *, ignore_case: bool
    ) -> contrast.Evidence:
        """List the texts that are missing, or are there too rarely, too often or out of order."""
        missing = [result.wanted for result in failed if not result.starts]
        present = [result for result in failed if result.starts]
        # The last line is the answer, and stays the last.
        *pairs, last = contrast.missing_text_evidence(
            text, missing, ignore_case=ignore_case, whole_words=self.whole_words
        )
        origins = self.normalizer.map_to_original(text)
        for result in present[: contrast.MAX_LISTED_TEXTS]:
            if self.count_range:
                label = "count"
                problem = f"expected {self.count_range}, got {result.count:,}"
            else:
                label = "order"
                problem = "there, but not in this order"
            spans = result.find_spans(origins)
            places = contrast.describe_places(text, result.wanted, spans, problem)
            pairs.append((label, places))
        return [*pairs, last]


def assert_matches(
    actual: object,
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

    The search has no time limit. Nested repetitions, such as ``(a+)+b`` or ``(\w+\s?)*$``, can run practically without end on
    an answer that you do not control. Possessive ones, such as ``(a++)+b`` (Python 3.11), cannot.

    Args:
        actual: The answer, a text or the response of an SDK. None, as after a tool call, gives no score.
        pattern: The expression, as a text or compiled.
        full: The whole answer must match, not only a part of it.
        times: How often it must match, exactly. Matches do not overlap.
        at_least_times: How often it must match at least.
        at_most_times: How often it may match at most. It must match at least once in any case.
        ignore_case: As `re.IGNORECASE`.
        unicode: The Unicode form to which the answer is normalized, as for `assert_contains`. The pattern is not
            normalized.
        at_least: 1.0, or None: record only.
        label: Distinguishes several uses in one test.

    Returns:
        The measurement ``text.matches``: 1 or 0. With counts, ``detail["count"]`` is the number of matches.

    Raises:
        MeasurementFailed: The answer does not match. The message shows with which flag it would match, how far ``full``
            got, or the text most similar to the plain words of the pattern.
        MeasurementErrored: The answer is None, is not a text, or cannot be normalized.
        UsageError: The pattern is invalid (with the position), the counts contradict each other, or the threshold is
            outside 0 to 1.

    >>> assert_matches("Order #4711 is on its way.", r"#\d{4}\b").status
    'passed'
    """
    compiled = answers.compile_pattern("assert_matches", pattern, ignore_case=ignore_case)
    check = _TextCheck("matches", at_least, label, expected=compiled.pattern)
    count_range = answers.parse_count_range("assert_matches", times, at_least_times, at_most_times)
    normalizer = answers.parse_normalizer("assert_matches", ignore_case=False, unicode=unicode)
    if full and count_range:
        raise UsageError(
            "assert_matches: expected full without counts: the whole answer matches once or not at all"
        )
    try:
        text = normalizer.normalize_answer(actual)
    except ValueError as problem:
        return check.emit_error(problem)
    if count_range is None:
        if full:
            match = compiled.fullmatch(text)
        else:
            match = compiled.search(text)
        evidence = partial_call(contrast.unmatched_pattern_evidence, text, compiled, full=full)
        return check.emit(actual, float(match is not None), evidence)
    matches = islice(compiled.finditer(text), MAX_MATCHES)
    spans = [match.span() for match in matches]
    value = float(count_range.includes(len(spans)))
    evidence = partial_call(contrast.match_count_evidence, text, compiled, spans, str(count_range))
    return check.emit(actual, value, evidence, {"count": len(spans)})


def assert_fuzzy(
    actual: object,
    expected: str | Sequence[str],
    *,
    at_least: float | None,
    partial: bool = False,
    ignore_case: bool = False,
    whitespace: Whitespace = "keep",
    unicode: Form = "keep",
    label: str = "",
) -> Measurement:
    """Assert that an answer is nearly equal to a text, or to any of several, letter by letter.

    Use it for spelling, names, quotes and layout, and start with a threshold of 0.9. It does not compare meaning: a
    changed digit in "30 days" still scores 0.86, an added "not" in a paragraph 0.98, and two unrelated sentences about
    0.4. For meaning, see `assert_semantic` and `assert_judge_score`.

    Args:
        actual: The answer, a text or the response of an SDK. An empty answer scores 0. None, as after a tool call,
            gives no score.
        expected: The text. If there are several, the most similar one counts.
        at_least: The threshold, 0 to 1. It has no default, because no value fits all uses. None: record only.
        partial: Compare the text with the best matching part of the answer, for a quote within a longer text.
        ignore_case: Ignore case, by the rules of Unicode.
        whitespace: "strip" ignores white space at both ends. "collapse" also counts each run of it as a single space.
        unicode: The Unicode form to which answer and texts are normalized, as for `assert_contains`.
        label: Distinguishes several uses in one test.

    Returns:
        The measurement ``text.fuzzy``, from 0 (nothing in common) to 1 (equal). It is ``fuzz.ratio`` of rapidfuzz
        divided by 100, or ``fuzz.partial_ratio`` with ``partial``. The measurement's version names which of the two.

    Raises:
        MeasurementFailed: The score is below the threshold. The message shows the most similar span and a word diff.
        MeasurementErrored: The answer is None, is not a text, or the texts are too long to be compared.
        UsageError: ``expected`` is not a text, an option has the wrong form, or the threshold is outside 0 to 1.

    >>> round(assert_fuzzy("Angela Merkl", ["Scholz", "Angela Merkel"], at_least=0.9).value, 2)
    0.96
    """
    references = answers.parse_references("assert_fuzzy", expected)
    check = _TextCheck("fuzzy", at_least, label, expected=_as_json(expected, references))
    normalizer = answers.parse_normalizer(
        "assert_fuzzy", ignore_case=ignore_case, whitespace=whitespace, unicode=unicode
    )
    try:
        text = normalizer.normalize_answer(actual)
        others = list(map(normalizer, references))
        values = [lexical.fuzzy_ratio(text, other, partial=partial) for other in others]
    except ValueError as problem:
        return check.emit_error(problem)
    best = values.index(max(values))
    if partial:
        version = "partial"
    else:
        version = "ratio"
    reason = _format_nearest_number(best, len(references))
    return check.emit(
        actual,
        values[best],
        reason=reason,
        version=version,
        evidence=lambda: contrast.fuzzy_evidence(text, others[best]),
    )


def assert_exact(
    actual: object,
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
        actual: The answer, a text or the response of an SDK. None, as after a tool call, gives no score.
        expected: The text. An empty text asserts that the answer is empty. If there are several, one of them must be
            equal.
        ignore_case: Ignore case, by the rules of Unicode.
        whitespace: "strip" ignores white space at both ends. "collapse" also counts each run of it as a single space.
        unicode: The Unicode form to which answer and texts are normalized, as for `assert_contains`.
        at_least: 1.0, or None: record only.
        label: Distinguishes several uses in one test.

    Returns:
        The measurement ``text.exact``: 1 or 0.

    Raises:
        MeasurementFailed: Answer and text differ. The message names the first different character, shows a word diff,
            and names the option that would make them equal.
        MeasurementErrored: The answer is None or is not a text.
        UsageError: ``expected`` is not a text, or an option has the wrong form.

    >>> assert_exact("Yes ", "yes", ignore_case=True, whitespace="strip").status
    'passed'
    """
    references = answers.parse_references("assert_exact", expected)
    check = _TextCheck("exact", at_least, label, expected=_as_json(expected, references))
    normalizer = answers.parse_normalizer(
        "assert_exact", ignore_case=ignore_case, whitespace=whitespace, unicode=unicode
    )
    try:
        text = normalizer.normalize_answer(actual)
        others = list(map(normalizer, references))
    except ValueError as problem:
        return check.emit_error(problem)
    best = contrast.find_nearest_reference(text, others)
    is_equal = text == others[best]
    reason = ""
    if not is_equal:
        reason = _format_nearest_number(best, len(references))
    return check.emit(
        actual,
        float(is_equal),
        reason=reason,
        evidence=lambda: contrast.exact_evidence(text, others[best]),
    )


def assert_not_contains(
    actual: object,
    unwanted: str | Sequence[str],
    *,
    whole_words: bool = False,
    ignore_case: bool = False,
    whitespace: Whitespace = "keep",
    unicode: Form = "keep",
    at_least: float | None = 1.0,
    label: str = "",
) -> Measurement:
    """Assert that an answer contains none of the given texts.

    The search compares characters. It finds "art" in "start" unless ``whole_words`` is set. To exclude all spellings,
    use ``ignore_case=True``, ``whitespace="collapse"`` and ``unicode="NFKC"``. An empty answer passes.

    Args:
        actual: The answer, a text or the response of an SDK. None, as after a tool call, gives no score.
        unwanted: The text, or several. An empty text is refused, because every answer contains it.
        whole_words: Find the text only where it is not part of a longer word or number. Not useful for scripts without
            spaces.
        ignore_case: Ignore case, by the rules of Unicode.
        whitespace: "strip" ignores white space at both ends. "collapse" also counts each run of it as a single space.
        unicode: The Unicode form to which answer and texts are normalized, as for `assert_contains`.
        at_least: The share of the texts that must be absent, 0 to 1. None: record only.
        label: Distinguishes several uses in one test.

    Returns:
        The measurement ``text.not_contains``: the share of the texts that are absent, 0 to 1. ``detail["found"]`` lists
        the others, and ``detail["spans"]`` their places in the answer.

    Raises:
        MeasurementFailed: The share is below the threshold. The message shows the place of each unwanted text.
        MeasurementErrored: The answer is None, is not a text, or cannot be normalized.
        UsageError: A text is empty, or the threshold is outside 0 to 1.

    >>> assert_not_contains("Within 30 days, unopened.", ["60 days", "guarantee"]).value
    1.0
    """
    texts = answers.parse_wanted_texts("assert_not_contains", unwanted)
    check = _TextCheck("not_contains", at_least, label, unwanted=list(texts))
    normalizer = answers.parse_normalizer(
        "assert_not_contains", ignore_case=ignore_case, whitespace=whitespace, unicode=unicode
    )
    try:
        results = answers.search_texts(
            actual, texts, normalizer, whole_words=whole_words, most=MAX_SPANS, count=True
        )
    except ValueError as problem:
        return check.emit_error(problem)
    text = str(read_answer(actual))
    origins = normalizer.map_to_original(text)
    present = []
    for result in results:
        if result.starts:
            spans = result.find_spans(origins)
            present.append((result.wanted, spans, result.count))
    reason = ""
    if present and len(texts) > 1:
        reason = f"{len(present)} of {len(texts)} unwanted texts found"
    present_texts: list[Json] = [unwanted_text for unwanted_text, _, _ in present]
    spans_of_texts: list[Json] = [list(map(list, spans)) for _, spans, _ in present]
    detail: dict[str, Json] = {"found": present_texts, "spans": spans_of_texts}
    share_absent = (len(texts) - len(present)) / len(texts)
    return check.emit(
        text,
        share_absent,
        reason=reason,
        evidence=lambda: contrast.unwanted_text_evidence(text, "unwanted", present),
        detail=detail,
    )


def assert_not_matches(
    actual: object,
    pattern: str | re.Pattern[str],
    *,
    ignore_case: bool = False,
    unicode: Form = "keep",
    at_least: float | None = 1.0,
    label: str = "",
) -> Measurement:
    r"""Assert that a regular expression of Python's `re` matches nowhere in an answer.

    The search has no time limit, as for `assert_matches`.

    Args:
        actual: The answer, a text or the response of an SDK. None, as after a tool call, gives no score.
        pattern: The expression, as a text or compiled.
        ignore_case: As `re.IGNORECASE`.
        unicode: The Unicode form to which the answer is normalized, as for `assert_contains`. The pattern is not
            normalized.
        at_least: 1.0, or None: record only.
        label: Distinguishes several uses in one test.

    Returns:
        The measurement ``text.not_matches``: 1 if it matches nowhere, otherwise 0. ``detail["spans"]`` has the places
        in the normalized answer.

    Raises:
        MeasurementFailed: The expression matches. The message shows where.
        MeasurementErrored: The answer is None, is not a text, or cannot be normalized.
        UsageError: The pattern is invalid (with the position), or the threshold is outside 0 to 1.

    >>> assert_not_matches("Order #4711 is on its way.", r"\b\d{16}\b").status
    'passed'
    """
    compiled = answers.compile_pattern("assert_not_matches", pattern, ignore_case=ignore_case)
    check = _TextCheck("not_matches", at_least, label, unwanted=compiled.pattern)
    normalizer = answers.parse_normalizer("assert_not_matches", ignore_case=False, unicode=unicode)
    try:
        text = normalizer.normalize_answer(actual)
    except ValueError as problem:
        return check.emit_error(problem)
    matches = compiled.finditer(text)
    spans = [match.span() for match in islice(matches, MAX_SPANS)]
    count = len(spans) + sum(1 for _ in islice(matches, MAX_MATCHES))
    evidence = partial_call(contrast.unwanted_match_evidence, text, compiled, spans, count)
    detail: dict[str, Json] = {"spans": list(map(list, spans))}
    return check.emit(actual, float(not spans), evidence, detail)


class _TextCheck:
    """Emits the measurement of a text assertion, with the arguments that it has in any case.

    Args:
        name: Name of the assertion without "assert_".
        at_least: Its threshold, which is checked.
        label: Label of the measurement.
        given: The other parts of the detail.
    """

    def __init__(self, name: str, at_least: object, label: str, **given: Json) -> None:
        threshold = answers.parse_share_threshold(f"assert_{name}", at_least)
        self._measured = partial_call(Measurement, name=f"text.{name}", threshold=threshold, label=label)
        self._given = given

    def emit(
        self, actual: object, value: float, evidence: Evidence, detail: Detail | None = None, **words: Any
    ) -> Measurement:
        """Emit the measurement; the evidence is collected only if it failed. ``words`` are its reason and version."""
        full_detail = {"actual": str(read_answer(actual)), **self._given}
        if detail is not None:
            full_detail.update(detail)
        measurement = self._measured(value=value, detail=full_detail, **words)
        return recorder.emit(measurement, evidence=evidence)

    def emit_error(self, problem: ValueError) -> Measurement:
        """Emit the measurement as one that could not be taken."""
        try:
            return recorder.emit(self._measured(error=str(problem), detail=self._given))
        except MeasurementErrored as error:
            raise error from None  # the text has all of the ValueError


def _as_json(expected: str | Sequence[str], references: Sequence[str]) -> Json:
    """Return the references for the detail of a measurement: a list, or the text if only a text was given."""
    if isinstance(expected, str):
        return expected
    return list(references)


def _format_nearest_number(best: int, count: int) -> str:
    """Return which of several references is the nearest, by its index; "" for a single reference."""
    if count > 1:
        return f"nearest of {count} texts is number {best + 1}"
    return ""


def _format_missing_count(wanted: int, failed: Sequence[SearchedText], *, any_of: bool) -> str:
    """Return how many of several texts failed, for the reason; "" if the assertion passes or has only one text."""
    if wanted == 1 or not failed or (any_of and len(failed) < wanted):
        return ""
    is_any_there = any(result.starts for result in failed)
    if not any_of:
        if is_any_there:
            problem = "not found as required"
        else:
            problem = "missing"
        return f"{len(failed)} of {wanted} texts {problem}"
    if is_any_there:
        return f"none of {wanted} texts was found as required"
    return f"none of {wanted} texts is in the answer"
