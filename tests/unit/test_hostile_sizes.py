"""A megabyte of hostile text in every assertion, and 100 KB in what masks and reads texts: nothing takes long.

A fifth of a text comes first. If it takes less than a 25th of the limit, the whole of it stays below the limit even where
the time grows with the square of the length, and is not waited for.
"""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable

import pytest
from support.containing_nli import ContainingNli

from pytest_llmops import (
    assert_chunks,
    assert_clean_text,
    assert_contains,
    assert_context_relevance,
    assert_exact,
    assert_fuzzy,
    assert_grounded,
    assert_matches,
    assert_not_contains,
    assert_not_matches,
    assert_retrieval,
    assert_schema,
    assert_score,
    assert_semantic,
    recorder,
)
from pytest_llmops.errors import MeasurementErrored, MeasurementFailed
from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.redaction.secret_names import MASK
from pytest_llmops.wire.body import fold_body

PIECES = {
    "letters": "a", "blanks": " ", "lines": "\n", "digits": "1", "stars": "*", "quotes": '"', "single quotes": "'", "backslashes": "\\",
    "sk-": "sk-", "sk-_": "sk-_", "brackets": "[", "braces": '{"a":', "points": "...", "words": "Refunds take 5 days. ", "I don't know": "I don't know, ",
    "key files": "-----BEGIN PRIVATE KEY-----", "assignments": "key=", "percent": "%41", "base64": "QUJD", "escapes": "\\u0041", "tags": "<a ",
    "dashes": "- ", "colons": ": ", "numbers": "one hundred and ", "names": "api_key: 'a", "Bearer": "Bearer a.", "URLs": "https://a:b", "forms": 'name="a"\r\n',
    "negation": "is not ", "commas": ", ",
}  # fmt: skip
REDACTOR = Redactor(known={f"a-known-secret-{number}" for number in range(30)})


def check_time(function: Callable[[str], object], piece: str, size: int, limit_s: float) -> None:
    """Fail if a text of a size takes longer than the limit, in seconds of CPU."""
    for length in (size // 5, size):
        text = PIECES[piece] * (length // len(PIECES[piece]))
        gc.disable()  # what earlier tests have left is not searched on this account
        try:
            began = time.process_time()
            function(text)
            spent = time.process_time() - began
        finally:
            gc.enable()
        # Plain text is always read as a whole: what treats long texts otherwise is seen.
        if spent < limit_s * (length / size) ** 2 and (length == size or piece != "words"):
            return
    pytest.fail(f"{spent:.1f} s of CPU, expected less than {limit_s}")


@pytest.mark.slow
@pytest.mark.parametrize("piece", PIECES)
@pytest.mark.parametrize(
    "function",
    [
        REDACTOR.clean_text,
        REDACTOR.clean_excerpt,
        lambda text: REDACTOR.leaks(text.encode()),
        lambda text: fold_body(text.encode()),
        lambda text: REDACTOR.clean(
            f'data: {{"delta": "{text[:50_000]}"}}\n\ndata: {{"delta": "x"}}\n\n'.encode()
        ),
    ],
    ids=["clean_text", "clean_excerpt", "leaks", "fold_body", "a stream"],
)
def test_reading_and_masking_take_less_than_a_second(function: Callable[[str], object], piece: str) -> None:
    check_time(lambda text: (function(text), function(f"{text}\x01")), piece, size=100_000, limit_s=1.0)


ASSERTIONS: dict[str, Callable[[str], object]] = {
    "contains": lambda text: assert_contains(text, "a fact"),
    "not_contains": lambda text: assert_not_contains(text, "a fact"),
    "exact": lambda text: assert_exact(text, f"{text}."),
    "matches": lambda text: assert_matches(text, r"a fact \d+"),
    "fuzzy": lambda text: assert_fuzzy(text, "a short reference", at_least=0.9),
    "score": lambda text: assert_score(lambda *_: 0.1, text, "x", at_least=0.5, name="own.score"),
    "schema": lambda text: assert_schema(text, {"type": "object", "required": ["a"]}),
    "clean_text": lambda text: assert_clean_text([text]),
    "semantic": lambda text: assert_semantic(
        text, "Refunds take five days.", embedder="hashing", at_least=0.5
    ),
    "not_matches": lambda text: assert_not_matches(text, r"a fact \d+"),
    "context_relevance": lambda text: assert_context_relevance("How long?", [text], at_least=0.9),
    "chunks": lambda text: assert_chunks([text[:1000], text[900:]], source=text),
    "retrieval": lambda text: assert_retrieval([text], ["a"], at_least=0.9),
    "grounded": lambda text: assert_grounded(
        text, ["Refunds take five days, or more."], nli=ContainingNli(), at_least=0.9
    ),
    "grounded in": lambda text: assert_grounded(
        "Refunds take five days.", [text], nli=ContainingNli(), at_least=0.9
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("piece", PIECES)
@pytest.mark.parametrize("name", ASSERTIONS)
def test_an_assertion_takes_less_than_ten_seconds_on_a_megabyte(name: str, piece: str) -> None:
    def check(text: str) -> None:
        # A recorder of its own: hundreds of megabytes would go into the run of these tests.
        own = recorder.open_block(recorder.Recorder())
        with own, contextlib.suppress(MeasurementFailed, MeasurementErrored):
            ASSERTIONS[name](text)

    check_time(check, piece, size=1_000_000, limit_s=10.0)


@pytest.mark.slow
def test_masking_still_masks_at_the_end_of_a_long_text() -> None:
    assert REDACTOR.clean_text(f"{'sk-' * 30_000} a-known-secret-7").endswith(f" {MASK}")
