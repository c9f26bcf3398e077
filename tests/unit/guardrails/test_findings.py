from __future__ import annotations

import base64
import codecs
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.messages import check_message

from pytest_llmops.errors import DetectorError, UsageError
from pytest_llmops.guardrails import mask, pii_detector, scan
from pytest_llmops.guardrails.findings import (
    Finding,
    RuleDetector,
    mask_findings,
    merge_findings,
    run_detectors,
)
from pytest_llmops.guardrails.views import MAX_BLOBS, make_views, normalize_text

ALL_VIEWS = ("plain", "base64", "rot13", "leet", "spaced")


class Word:
    """Finds the word "secret" in any view."""

    name = "word"
    kinds = ("word",)
    views = ALL_VIEWS

    def find(self, text: str) -> list[Finding]:
        start = text.find("secret")
        return [Finding(start, start + 6, "word")] if start >= 0 else []


def encode(text: str, levels: int = 1) -> str:
    data = text.encode()
    for _ in range(levels):
        data = base64.b64encode(data)
    return data.decode()


@pytest.mark.parametrize(
    ("text", "span", "view"),
    [
        ("a secret!", "secret", "plain"),
        ("a sec\u200bret!", "sec\u200bret", "plain"),
        ("a ѕесrеt!", "ѕесrеt", "plain"),  # Cyrillic look-alikes
        ("a ｓｅｃｒｅｔ!", "ｓｅｃｒｅｔ", "plain"),
        ("s\u0336e\u0336cret", "s\u0336e\u0336cret", "plain"),
        ("ok" + "".join(chr(0xE0000 + ord(char)) for char in "secret"), None, "plain"),
        ("a ﬁ secret", "secret", "plain"),  # a ligature before it becomes two letters
        ("go: " + encode("this is the secret word") + " now", encode("this is the secret word"), "base64"),
        (encode("this is the secret word", 3), encode("this is the secret word", 3), "base64"),
        ("x " + codecs.encode("secret", "rot13"), codecs.encode("secret", "rot13"), "rot13"),
        ("a 5ecr3t b", "5ecr3t", "leet"),
        ("the s e c r e t word", "s e c r e t", "spaced"),
        ("the s.e.c.r.e.t word", "s.e.c.r.e.t", "spaced"),
    ],
)
def test_a_hidden_word_is_found_in_its_place(text: str, span: str | None, view: str) -> None:
    (finding,) = run_detectors(text, [Word()])
    assert finding.view == view
    assert span is None or text[finding.start : finding.end] == span


@pytest.mark.parametrize(
    "text",
    [
        encode("this is the secret word", 4),  # deeper than is decoded
        base64.b64encode(bytes(range(160, 200))).decode(),  # binary
        "секрет",  # a word of another script stays one
        "",
    ],
)
def test_what_is_not_decoded_is_not_found(text: str) -> None:
    assert run_detectors(text, [Word()]) == []


def test_the_number_of_decoded_parts_is_limited() -> None:
    text = " ".join(encode(f"this is text number {n}") for n in range(3 * MAX_BLOBS))
    assert len(make_views(text, ["base64"])) == MAX_BLOBS


def test_the_size_of_what_is_decoded_is_limited() -> None:
    views = make_views(" ".join(encode(f"{n} " + "a" * 300_000) for n in range(6)), ["base64"])
    assert len(views) == 3


@pytest.mark.slow
@given(st.text(alphabet=st.characters(codec=None), max_size=60))
def test_places_of_a_normalized_text_lie_within_the_original(text: str) -> None:
    view = normalize_text(text)
    assert len(view.places) == len(view.text)
    assert list(view.places) == sorted(view.places)
    for place in range(len(view.text)):
        start, end = view.find_origin(place, place + 1)
        assert 0 <= start < end <= len(text)


@given(st.text(max_size=60))
def test_views_never_raise(text: str) -> None:
    assert {view.name for view in make_views(text, ALL_VIEWS)} >= {"plain", "rot13"}


class Raw:
    """A detector of a user's own, which is given the text as it is."""

    name = "mine"
    kinds = ("name", "place")

    def __init__(self, find: Callable[[str], Any]) -> None:
        self.find = find


def test_a_detector_without_views_gets_the_text_as_it_is() -> None:
    text = "a\u200bb"
    assert run_detectors(text, [Raw(lambda given: [Finding(0, len(given), "name")])]) == [
        Finding(0, 3, "name")
    ]


def raises(text: str) -> Any:
    raise ValueError(f"cannot read {text}")


async def waits(text: str) -> list[Finding]:
    return []


@pytest.mark.parametrize(
    "find",
    [
        raises,
        waits,
        lambda _: None,
        lambda _: ["name"],
        lambda _: [Finding(0, 3, "unknown")],
        lambda _: [Finding(0, 3, "name", float("nan"))],
        lambda _: [Finding(0, 3, "name", 1.5)],
        lambda _: [Finding(3, 3, "name")],
        lambda _: [Finding(-1, 3, "name")],
        lambda _: [Finding(0, 99, "name")],
        lambda _: [Finding(0.0, 3, "name")],  # type: ignore[arg-type]
    ],
)
def test_a_detector_that_breaks_is_an_error_and_does_not_quote_the_text(find: Callable[[str], Any]) -> None:
    with pytest.raises(DetectorError, match="detector mine") as raised:
        run_detectors("anna's house", [Raw(find)])
    assert "anna" not in str(raised.value)


@pytest.mark.parametrize("views", ["plain", ("palin",), ()])
def test_a_detector_that_is_given_no_view_is_an_error(views: Any) -> None:
    with pytest.raises(DetectorError, match="views"):
        run_detectors("anna", [RuleDetector("mine", ("name",), lambda _: [Finding(0, 4, "name")], views)])


def test_without_detectors_nothing_is_found() -> None:
    assert run_detectors("anna", []) == []


def test_a_generator_of_unsorted_findings_is_sorted() -> None:
    detector = Raw(lambda _: (Finding(start, start + 2, "name") for start in (5, 0)))
    assert [finding.start for finding in run_detectors("ab   cd", [detector])] == [0, 5]


def test_findings_of_two_detectors_are_both_kept() -> None:
    first, second = Raw(lambda _: [Finding(0, 4, "name")]), Raw(lambda _: [Finding(2, 6, "place")])
    detectors = run_detectors("abcdef", [first, second])
    assert [detector.kind for detector in detectors] == ["name", "place"]
    assert mask_findings("abcdef.", detectors) == "[name]."


def test_a_text_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="bytes"):
        run_detectors(b"anna", [])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("spans", "merged"),
    [
        ([(0, 4, 0.5), (2, 6, 1.0)], [(0, 6)]),
        ([(0, 9, 0.5), (2, 4, 1.0)], [(0, 9)]),  # nested
        ([(0, 4, 1.0), (0, 4, 1.0)], [(0, 4)]),  # equal
        ([(0, 4, 1.0), (4, 8, 1.0)], [(0, 4), (4, 8)]),  # adjacent
    ],
)
def test_overlaps_are_merged(spans: list[tuple[int, int, float]], merged: list[tuple[int, int]]) -> None:
    findings = merge_findings(Finding(start, end, "name", confidence) for start, end, confidence in spans)
    assert [(finding.start, finding.end) for finding in findings] == merged


def test_a_mask_tells_neither_the_text_nor_its_length() -> None:
    assert mask_findings("a@b.example, x", [Finding(0, 11, "email")]) == "[email], x"


def test_findings_of_another_text_are_refused() -> None:
    with pytest.raises(UsageError, match="another text"):
        mask_findings("short", [Finding(0, 11, "email")])


@pytest.mark.parametrize(
    ("text", "findings"), [("x", 5), (5, []), (None, []), ("x", "email"), ("x", [None])], ids=str
)
def test_a_mask_takes_a_text_and_a_list_of_findings(text: Any, findings: Any) -> None:
    with pytest.raises(UsageError, check=check_message):
        mask(text, findings)


KINDS: Any = "email"  # letter by letter they would be kinds, none of which is ever found


@pytest.mark.parametrize(
    "detectors",
    [
        pii_detector(),
        "pii",
        [None],
        [RuleDetector],
        iter([pii_detector()]),
        [RuleDetector("mine", KINDS, lambda _: [])],
    ],
)
def test_what_is_no_list_of_detectors_is_refused(detectors: Any) -> None:
    with pytest.raises(UsageError, match="a list of detectors"):
        scan("Write to anna@example.com.", detectors)


def test_a_mask_of_detectors_says_that_scan_takes_them() -> None:
    with pytest.raises(UsageError, match=r"mask\(text, scan\(text, detectors\)\), got \[RuleDetector"):
        mask("text", [RuleDetector("mine", ("name",), lambda _: [])])  # type: ignore[list-item]


@pytest.mark.parametrize("finding", [(0, 2), Finding(0.0, 2, "email"), Finding(0, None, "email")])  # type: ignore[arg-type]
def test_a_mask_of_what_is_no_finding_is_refused(finding: Any) -> None:
    with pytest.raises(UsageError):
        mask("text", [finding])
