"""Assert that chunks keep the text of their source, keep each answer in one piece, and are clean."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, Unpack, cast

from pytest_llmops import recorder
from pytest_llmops.assertions._arguments import parse_share_threshold
from pytest_llmops.cases.files import Case, load_cases
from pytest_llmops.chunks import chunk_checks, sizes, text_quality
from pytest_llmops.chunks.alignment import Alignment, align_chunks
from pytest_llmops.chunks.pieces import CheckResult, Ignore, Piece, Sources, read_chunks, read_source
from pytest_llmops.chunks.sizes import (
    ChunkLimits,
    DirtThresholds,
    Limits,
    Tokenizer,
    check_empty_chunks,
    parse_check_thresholds,
    parse_size_limits,
    refuse_unknown_threshold,
    require_source,
)
from pytest_llmops.chunks.span_recall import measure_span_recall, parse_wordings
from pytest_llmops.chunks.text_quality import check_clean_text
from pytest_llmops.errors import UnknownName, UsageError, describe_exception
from pytest_llmops.measurement import Measurement, shorten_text

__tracebackhide__ = True

VERSION = "1"
MAX_EVIDENCE_FAULTS = 12
MAX_FAULT_CHARS = 300


def assert_chunks(
    chunks: object,
    *,
    source: "Sources | None",
    ignore: Ignore = "whitespace",
    tokenizer: "Tokenizer | None" = None,
    label: str = "",
    **thresholds: Unpack[ChunkLimits],
) -> tuple[Measurement, ...]:
    """Assert that chunks hold their source completely: nothing is lost, invented, split or repeated.

    Each check is a measurement ``chunks.<check>``. All of them are recorded. A single failure lists every missed
    threshold, with the worst places.

    Args:
        chunks: The output of any chunker, in its order: texts, `Chunk`, documents of LangChain or nodes of LlamaIndex.
        source: The text that was split, several texts, or texts by name. None: the source is not available, so the
            checks that need it are not measured (``lost``, ``invented``, ``out_of_order``, ``misplaced``,
            ``changed_words`` and the cuts).
        ignore: Differences to ignore: "whitespace", or "markup" (white space, and the marks of Markdown and HTML).
        tokenizer: For limits in tokens: a function from a text to its tokens or to their number.
        label: Distinguishes several uses in one test.
        thresholds: ``at_most_<check>``, and limits of size and overlap as in `ChunkLimits`. By default these checks
            must find nothing: ``lost``, ``invented``, ``out_of_order``, ``misplaced``, ``changed_words``, ``empty``,
            ``cut_words``, ``cut_tables``, ``cut_code``, ``duplicates``. ``cut_sentences`` and ``near_duplicates`` are
            only recorded. Sizes have no default limit.

    Returns:
        The measurements: shares from 0 to 1 and counts, lower is better. ``detail["faults"]`` has the places, the worst
        first.

    Raises:
        MeasurementFailed: A value is above its threshold.
        MeasurementErrored: The source is blank, or the tokenizer raised an exception.
        UsageError: Chunks, source or thresholds have the wrong form, there are neither chunks nor a source, or a
            threshold needs a source.

    >>> measurements = assert_chunks(["One. ", "Two."], source="One. Two.", at_most_chars=10)
    >>> {measurement.name: measurement.value for measurement in measurements}["chunks.lost"]
    0.0
    """
    given = cast("dict[str, object]", thresholds)
    refuse_unknown_threshold("assert_chunks", given, ChunkLimits)
    sizes = parse_size_limits("", given, tokenizer)
    overlaps = parse_size_limits("overlap_", given, tokenizer)
    pieces = read_chunks(chunks)
    if source is None:
        require_source(given, overlaps)
        checks: list[CheckResult] = []
        alignment = None
    else:
        checks, alignment = _check_against_source(pieces, source, ignore)
    if source is None and not pieces:
        raise UsageError(
            "assert_chunks: expected chunks or a source, got neither; look at the result of the chunker"
        )
    checks.append(check_empty_chunks(pieces))
    checks.append(text_quality.check_duplicates(pieces))
    checks.append(text_quality.check_near_duplicates(pieces))
    checks += _check_sizes(pieces, alignment, sizes, overlaps, tokenizer)
    check_thresholds = parse_check_thresholds("assert_chunks", given, checks)
    return _emit_chunk_checks("chunks", checks, check_thresholds, label)


def assert_span_recall(
    chunks: object,
    cases: str | Path | Sequence[Case] | Mapping[str, object],
    *,
    at_least: float | None,
    source: "Sources | None" = None,
    key: str = "answer",
    label: str = "",
) -> Measurement:
    """Assert that each answer is within a single chunk. A retriever cannot find an answer that is split over two.

    Args:
        chunks: The output of any chunker, as for `assert_chunks`.
        cases: A case file, cases, or answers by a name. A case has its answer under ``key``: a text, several
            alternatives, or ``{"text": ..., "start": ...}`` with the place in the source. Cases whose answer is null or
            an empty list do not count.
        at_least: The share of the answers, 0 to 1. None: record only.
        source: The text that was split. With it, an answer with a place must be covered at that place. Without it, or
            for an answer without a place, it is enough that its words are in a chunk, ignoring case and white space. If
            there are several documents, the case names its document under ``source``.
        key: The key of the case that holds the answer. "reference" is its reference.
        label: Distinguishes several uses in one test.

    Returns:
        The measurement ``chunks.span_recall``: the share of the answers that are within one chunk, 0 to 1.

    Raises:
        MeasurementFailed: The share is below the threshold. The message names the answers and the chunks that hold
            their parts.
        MeasurementErrored: Not a single case has an answer.
        CaseError: The case file cannot be used.
        UsageError: A case lacks the key, an answer has another form or is at another place, or the threshold is outside
            0 to 1.

    >>> answers = {"deadline": "30 days", "fee": ["5 euros", "5 EUR"]}
    >>> assert_span_recall(["within 30 days. It costs 5", "euros."], answers, at_least=0.5).value
    0.5
    """
    threshold = parse_share_threshold("assert_span_recall", at_least)
    pieces = read_chunks(chunks)
    alignment = None
    whole = None
    if source is not None:
        alignment = _align_pieces(pieces, source, "whitespace")
        whole = alignment.source
    wanted = {}
    for name, value, document in _iter_expected_answers(cases, key):
        answers = parse_wordings(value, where=f"case {name}", document=document, source=whole)
        if answers:
            wanted[name] = answers
    if wanted:
        result = measure_span_recall(wanted, pieces, alignment)
    else:
        result = CheckResult(name="span_recall", error="no case has an answer")
    return _emit_chunk_checks("chunks", [result], {"span_recall": threshold}, label)[0]


def _iter_expected_answers(cases: object, key: str) -> Iterator[tuple[str, object, object]]:
    """Yield the name, the answer and the document of each case; a mapping is taken as answers by name."""
    if isinstance(cases, Mapping):
        for name, answer in cases.items():
            yield str(name), answer, ""
        return
    given = cases
    if isinstance(cases, (str, Path)):
        given = load_cases(cases)
    if not isinstance(given, Sequence):
        raise UsageError(
            f"assert_span_recall: expected a case file, cases, or answers by name, got {type(cases).__name__}"
        )
    for case in given:
        if not isinstance(case, Case):
            raise UsageError(f"assert_span_recall: expected a Case, got {type(case).__name__}")
        document = case.data.get("source", "")
        if key == "reference":
            yield case.id, case.reference or None, document
        elif key in case.data:
            yield case.id, case.data[key], document
        else:
            known_keys = {*case.data, "reference"}
            raise UnknownName("key", key, known_keys, where=f"answer of case {case.id}")


def assert_clean_text(
    texts: object, *, label: str = "", **thresholds: Unpack[DirtThresholds]
) -> tuple[Measurement, ...]:
    """Assert that texts are clean: correctly decoded, without HTML tags, control characters and invisible characters.

    Args:
        texts: One text, or the output of any chunker or loader, as for `assert_chunks`.
        label: Distinguishes several uses in one test.
        thresholds: ``at_most_<kind>``, the number of allowed places of a kind: ``mojibake``, ``replacement``, ``html``,
            ``control``, ``invisible``. The default is 0 for each. None: record only.
            `pytest_llmops.chunks.text_quality.check_clean_text` defines the kinds.

    Returns:
        The measurements ``chunks.clean.<kind>``: counts.

    Raises:
        MeasurementFailed: A count is above its threshold. The message shows the places.
        UsageError: No texts are given, or a threshold has the wrong form.

    >>> [measurement.name for measurement in assert_clean_text(["für 5 €"]) if measurement.value]
    []
    """
    given = cast("dict[str, object]", thresholds)
    refuse_unknown_threshold("assert_clean_text", given, DirtThresholds)
    if isinstance(texts, str):
        texts = [texts]
    pieces = read_chunks(texts)
    if not pieces:
        raise UsageError(
            "assert_clean_text: expected a text or several, got none; look at the result of the loader"
        )
    checks = list(check_clean_text(pieces).values())
    return _emit_chunk_checks(
        "chunks.clean", checks, parse_check_thresholds("assert_clean_text", given, checks), label
    )


def _align_pieces(pieces: Sequence[Piece], source: Sources, ignore: Ignore) -> Alignment:
    return align_chunks(read_source(source, ignore), pieces, ignore)


def _check_against_source(
    pieces: Sequence[Piece], source: Sources, ignore: Ignore
) -> tuple[list[CheckResult], Alignment | None]:
    """Return the checks against the source, and the alignment of the chunks with it.

    For a blank source that is a single error, and no alignment.
    """
    alignment = _align_pieces(pieces, source, ignore)
    if not alignment.source.size:
        error = "the source is blank: there is nothing the chunks could be compared with"
        return [CheckResult(name="lost", error=error)], None
    checks = [
        chunk_checks.check_lost_text(alignment),
        chunk_checks.check_invented_text(alignment),
        chunk_checks.check_chunk_order(alignment),
        chunk_checks.check_stated_starts(alignment),
        chunk_checks.check_changed_words(alignment),
        chunk_checks.check_cut_words(alignment),
        chunk_checks.check_cut_sentences(alignment),
        chunk_checks.check_cut_tables(alignment),
        chunk_checks.check_cut_code(alignment),
    ]
    return [check for check in checks if check is not None], alignment


def _check_sizes(
    pieces: Sequence[Piece],
    alignment: Alignment | None,
    limits: Limits,
    overlaps: Limits,
    tokenizer: "Tokenizer | None",
) -> Iterator[CheckResult]:
    """Yield the checks of sizes and overlaps that have limits; an error if the tokenizer raises."""
    name = "size"
    try:
        if limits:
            yield sizes.check_sizes(pieces, limits, tokenizer, sizes.last_chunk_numbers(pieces, alignment))
        name = "overlap"
        if overlaps and alignment is not None:
            yield sizes.check_overlaps(alignment, overlaps, tokenizer)
    except UsageError:
        raise
    except Exception as error:  # noqa: BLE001 -- whatever a user's tokenizer raises: not scored, not scored low
        yield CheckResult(name=name, error=f"tokenizer: {describe_exception(error)}")


def _emit_chunk_checks(
    prefix: str, checks: Sequence[CheckResult], thresholds: Mapping[str, float | None], label: str
) -> tuple[Measurement, ...]:
    """Emit all checks, then raise a single failure for those outside their thresholds."""
    measurements = []
    with recorder.soft():
        for check in checks:
            better: Literal["lower", "higher"] = "lower"
            if check.name == "span_recall":
                better = "higher"
            value = None
            if not check.error:
                value = check.value
            faults = []
            for fault in check.faults:
                faults.append([fault.place, shorten_text(fault.text, MAX_FAULT_CHARS)])
            measurement = Measurement(
                name=f"{prefix}.{check.name}",
                value=value,
                unit=check.unit,
                better=better,
                threshold=thresholds[check.name],
                label=label,
                reason=check.reason,
                error=check.error,
                version=VERSION,
                detail={"faults": faults},
            )
            # Faults below the threshold are in the detail already.
            evidence = []
            if measurement.status == "failed":
                worst = check.faults[:MAX_EVIDENCE_FAULTS]
                evidence = [(fault.place, fault.text[:MAX_FAULT_CHARS]) for fault in worst]
            measurements.append(recorder.emit(measurement, evidence=evidence))
    return tuple(measurements)
