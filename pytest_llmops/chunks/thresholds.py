"""Define and validate the thresholds and size limits of the assertions about chunks."""

import math
from collections.abc import Mapping, Sequence
from typing import TypedDict

from pytest_llmops.chunks.findings import CheckResult
from pytest_llmops.chunks.sizes import Limits
from pytest_llmops.errors import UnknownName, UsageError, refuse
from pytest_llmops.retrievers.base import to_python_scalar

__tracebackhide__ = True


# Thresholds and limits of `assert_chunks`; None records only, and what has no limit is not measured
ChunkLimits = TypedDict(  # noqa: UP013 -- a table
    "ChunkLimits",
    {
        "at_most_lost": float | None,  # share of the source's characters that are in no chunk; 0 unless given
        "at_most_invented": float | None,  # share of the chunks' characters that are not in the source; 0
        "at_most_out_of_order": int | None,  # chunks that begin before the preceding chunk; 0
        "at_most_misplaced": int | None,  # chunks that do not begin where they state (``start_index``); 0
        "at_most_empty": int | None,  # chunks without a letter, digit or symbol; 0
        "at_most_changed_words": int | None,  # places where two words were joined, or one was split; 0
        "at_most_cut_words": float | None,  # share of chunk ends within a word or number; 0
        "at_most_cut_sentences": float | None,  # share of chunk ends within a sentence; None unless given
        "at_most_cut_tables": int | None,  # chunks with rows without their header, or a part of a row; 0
        "at_most_cut_code": int | None,  # chunks with a part of a fenced code block; 0
        "at_most_duplicates": float | None,  # share of chunks that repeat an earlier chunk; 0
        "at_most_near_duplicates": float | None,  # share of chunks that nearly do; None unless given
        "at_least_chars": int | None,  # of each chunk except the last of a document, with white space
        "at_most_chars": int | None,
        "at_least_tokens": int | None,
        "at_most_tokens": int | None,
        "at_least_overlap_chars": int | None,  # shared by neighbouring chunks of a document
        "at_most_overlap_chars": int | None,
        "at_least_overlap_tokens": int | None,
        "at_most_overlap_tokens": int | None,
    },
    total=False,
)

# Thresholds of `assert_clean_text`, each a count and 0 unless given; None: record only
DirtThresholds = TypedDict(  # noqa: UP013 -- a table
    "DirtThresholds",
    {
        "at_most_mojibake": int | None,
        "at_most_replacement": int | None,
        "at_most_html": int | None,
        "at_most_control": int | None,
        "at_most_invisible": int | None,
    },
    total=False,
)

# Checks without a default threshold: common splitters cut sentences, and not all repetition is wrong
RECORDED_ONLY = ("cut_sentences", "near_duplicates")
SOURCE_CHECKS = (
    "lost",
    "invented",
    "out_of_order",
    "misplaced",
    "changed_words",
    "cut_words",
    "cut_sentences",
    "cut_tables",
    "cut_code",
)


def refuse_unknown_threshold(who: str, thresholds: Mapping[str, object], known: type) -> None:
    """Raise `UnknownName` for a threshold that the typed mapping ``known`` does not have."""
    names = known.__annotations__
    for name in thresholds:
        if name not in names:
            raise UnknownName("threshold", name, names, where=who)


def require_source(thresholds: Mapping[str, object], overlaps: Limits) -> None:
    """Raise `UsageError` for a threshold that needs the source."""
    named = [name for name in SOURCE_CHECKS if thresholds.get(f"at_most_{name}") is not None]
    if named or overlaps:
        what = f"at_most_{named[0]}" if named else "a limit of the overlap"
        raise UsageError(f"assert_chunks: {what} needs the source; pass source=, the text that was cut")


def parse_size_limits(what: str, options: Mapping[str, object], tokenizer: object) -> Limits:
    """Return the limits of sizes (``what`` is "") or of overlaps ("overlap_").

    Raises:
        UsageError: A limit is not a whole number, the lower limit is above the upper, or the tokenizer is missing.
    """
    limits: dict[str, int | None] = {}
    for unit in ("chars", "tokens"):
        for side in ("at_least", "at_most"):
            name = f"{side}_{what}{unit}"
            value: object = to_python_scalar(options.get(name))
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
                raise UsageError(f"assert_chunks: expected {name} as a whole number from 0 on, got {value!r}")
            limits[f"{side}_{unit}"] = value
        least, most = limits[f"at_least_{unit}"], limits[f"at_most_{unit}"]
        refuse(
            least is not None and most is not None and least > most,
            f"assert_chunks: at_least_{what}{unit}={least} is above at_most_{what}{unit}={most}",
        )
    size_limits = Limits(**limits)
    if size_limits.needs_tokenizer and not callable(tokenizer):
        got = "none" if tokenizer is None else type(tokenizer).__name__
        raise UsageError(
            "assert_chunks: a limit in tokens needs tokenizer=, a function from a text to its tokens "
            f"(like encoding.encode), got {got}"
        )
    return size_limits


def parse_check_thresholds(
    who: str, options: Mapping[str, object], checks: Sequence[CheckResult]
) -> dict[str, float | None]:
    """Return the threshold of each check.

    Raises:
        UsageError: A threshold that no value can be, or a threshold for something that was not measured.
    """
    thresholds: dict[str, float | None] = {}
    for check in checks:
        name = f"at_most_{check.name}"
        threshold: object = to_python_scalar(options.get(name, None if check.name in RECORDED_ONLY else 0))
        if threshold is None:
            thresholds[check.name] = None
            continue
        most = 1 if check.unit == "1" else math.inf
        if (
            isinstance(threshold, bool)
            or not isinstance(threshold, (int, float))
            or not 0 <= threshold <= most
        ):
            what = "a share from 0 to 1" if check.unit == "1" else "a count from 0 on"
            raise UsageError(f"{who}: expected {name} as {what}, or None to record only, got {threshold!r}")
        thresholds[check.name] = threshold
    refuse(
        options.get("at_most_misplaced") is not None
        and "misplaced" not in thresholds
        and "invented" in thresholds,
        f"{who}: at_most_misplaced needs chunks of one document that state where they begin "
        "(start_index in their metadata, or start_char_idx)",
    )
    return thresholds
