"""Long base64 and long arrays of numbers lie at the end of a file, once each, and come back to the byte."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from support.messages import check_message

from pytest_llmops.cassettes import store
from pytest_llmops.cassettes.store import Interaction, format_json
from pytest_llmops.errors import CassetteError
from pytest_llmops.wire.blobs import StoredBody, text_digest
from pytest_llmops.wire.body import fold_body, unfold_body
from pytest_llmops.wire.folding import LONG_LIST, LONG_TEXT, fold_text, unfold_text

PIXELS = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 3
IMAGE = base64.b64encode(PIXELS).decode()
NOISE = b"".join(hashlib.sha256(bytes([n])).digest() for n in range(20))
VECTOR = [round(n * 0.001953, 7) for n in range(300)]
WHERE = Path("cassette.json")


def interaction(number: int, request: Any, answer: Any) -> Interaction:
    bodies = [body if isinstance(body, bytes) else json.dumps(body).encode() for body in (request, answer)]
    request_fields = {"method": "POST", "url": "http://loopback/", "body": fold_body(bodies[0])}
    lines = {"status": 200, "headers": {}, "body": fold_body(bodies[1])}
    return Interaction(f"#{number:03d}", f"key-{number}", request_fields, {"0": [lines]})


def written(*interactions: Interaction) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(store.format_cassette(interactions, "2026-01-01"))
    return document


def read_back(document: Any) -> list[tuple[bytes, bytes]]:
    result = store.parse_cassette(json.dumps(document).encode(), WHERE).values()
    return [
        (unfold_body(interaction.request["body"]), unfold_body(interaction.answers["0"][0]["body"]))
        for interaction in result
    ]


def test_an_image_leaves_a_marker_and_lies_at_the_end() -> None:
    url = f"data:image/png;base64,{IMAGE}"
    request = {"messages": [{"content": [{"image_url": {"url": url}}]}]}
    document = written(interaction(1, request, {"ok": True}))
    assert list(document)[-1] == "blobs"
    ((reference, text),) = document["blobs"].items()
    assert text == url
    place = document["interactions"][0]["request"]["body"]["json"]["messages"][0]["content"][0]["image_url"]
    assert place == {"url": {"$blob": f"image/png, {len(PIXELS)} bytes, {reference}"}}
    assert text_digest(url).startswith(reference)
    assert read_back(document) == [(json.dumps(request).encode(), b'{"ok": true}')]


def test_one_text_is_kept_once_for_all_interactions() -> None:
    request, answer = {"image": IMAGE}, {"data": [{"b64_json": IMAGE}]}
    document = written(interaction(1, request, answer), interaction(2, {**request, "n": 2}, answer))
    assert len(document["blobs"]) == 1
    assert [lines for _, lines in read_back(document)] == [json.dumps(answer).encode()] * 2


def test_a_vector_is_one_line() -> None:
    answer = {"data": [{"embedding": VECTOR, "index": 0}]}
    text = store.format_cassette([interaction(1, {}, answer)], "2026-01-01")
    assert len(text.splitlines()) < 50
    document = json.loads(text)
    stored = document["interactions"][0]["answers"]["0"][0]["body"]["json"]["data"][0]["embedding"]
    assert stored["$numbers"].startswith("300 numbers, ")
    assert read_back(document)[0][1] == json.dumps(answer).encode()


@pytest.mark.parametrize(
    ("text", "label"),
    [
        (IMAGE, f"image/png, {len(PIXELS)} bytes"),
        (base64.b64encode(b"\xff\xd8\xff" + PIXELS).decode(), f"image/jpeg, {len(PIXELS) + 3} bytes"),
        (base64.b64encode(b"%PDF-1.4" + PIXELS).decode(), f"application/pdf, {len(PIXELS) + 8} bytes"),
        (base64.urlsafe_b64encode(NOISE + b"\xfb\xff").decode(), f"base64, {len(NOISE) + 2} bytes"),
        (f"data:audio/wav;codecs=1;base64,{IMAGE}", f"audio/wav, {len(PIXELS)} bytes"),
        (f"data:image/png;base64,{'A' * 400}", "image/png, 300 bytes"),
        (base64.b64encode(NOISE).decode(), f"base64, {len(NOISE)} bytes"),
    ],
)
def test_labels(text: str, label: str) -> None:
    folded = fold_text(text)
    assert folded["text"] == text
    assert folded["$blob"] == label


@pytest.mark.parametrize(
    "text",
    [
        "a" * 5000,
        "-" * 300,
        "A1b" * 85,
        "word " * 100,
        "nothingbutlettersofoneword" * 20,
        "https://example.com/" + "path/" * 60,
    ],
)
def test_what_is_not_encoded_stays_in_place(text: str) -> None:
    assert fold_text(text) == text


def test_around_an_image_the_text_stays_readable() -> None:
    text = f"Look:\n![a](data:image/png;base64,{IMAGE}) and\nsay what it is. {IMAGE}"
    folded = fold_text(text)
    assert folded["$joined"][0] == {"$lines": ["Look:", "![a]("]}
    assert folded["$joined"][2] == {"$lines": [") and", "say what it is. "]}
    assert [part.get("$blob") for part in folded["$joined"][1::2]] == [f"image/png, {len(PIXELS)} bytes"] * 2
    assert unfold_text(folded, {}) == text


@pytest.mark.parametrize("count", [LONG_LIST - 1, LONG_LIST])
def test_only_long_lists_of_numbers_go_away(count: int) -> None:
    stored = fold_body(json.dumps([1.5] * count).encode())["json"]
    assert isinstance(stored, dict) == (count >= LONG_LIST)


@pytest.mark.parametrize(
    "numbers", [[True] * 40, [1, None] * 20, ["1"] * 40, [[1, 2]] * 40, [10**30, -0.0, 1e-320, 5] * 10]
)
def test_lists_come_back(numbers: list[Any]) -> None:
    body = json.dumps({"n": numbers}).encode()
    assert read_back(written(interaction(1, body, body))) == [(body, body)]


def test_streams_forms_and_binary_use_the_blobs_too() -> None:
    bodies = [
        f'data: {{"type":"image","b64":"{IMAGE}"}}\n\ndata: [DONE]\n\n'.encode(),
        PIXELS,
        b'--b\r\nname="f"\r\n\r\n' + PIXELS + b"\r\n--b--\r\n",
        f"plain text with {IMAGE}\nin it".encode(),
    ]
    document = written(*(interaction(n, body, body) for n, body in enumerate(bodies)))
    assert len(document["blobs"]) == 1
    lines = format_json({**document, "blobs": {}}).splitlines()
    assert max(map(len, lines)) < LONG_TEXT
    assert read_back(document) == [(body, body) for body in bodies]


def test_a_file_without_long_texts_has_no_blobs_and_plain_bodies() -> None:
    document = written(interaction(1, {"a": 1}, {"b": 2}))
    assert list(document) == ["format", "recorded", "interactions"]
    (result,) = store.parse_cassette(json.dumps(document).encode(), WHERE).values()
    assert type(result.request["body"]) is dict


def test_a_file_that_was_read_is_written_the_same_again() -> None:
    first = store.format_cassette([interaction(1, {"image": IMAGE}, {"vector": VECTOR})], "2026-01-01")
    again = store.format_cassette(store.parse_cassette(first.encode(), WHERE).values(), "2026-01-01")
    assert again == first
    # And in company of what was recorded just now.
    more = [*store.parse_cassette(first.encode(), WHERE).values(), interaction(2, {"image": IMAGE}, {})]
    document = json.loads(store.format_cassette(more, "2026-01-01"))
    assert len(document["blobs"]) == 2
    assert read_back(document)[1] == (json.dumps({"image": IMAGE}).encode(), b"{}")


def test_keys_of_the_body_s_own_that_look_like_ours() -> None:
    body = json.dumps(
        {
            "$blob": f"image/png, 5 bytes, {'0' * 20}",
            "$$blob": 1,
            "$numbers": [{"$lines": 5}],
            "$joined": {"text": "x", "$base64": "y"},
            "text": {"$blob": "x", "text": "y"},
        }
    ).encode()
    document = written(interaction(1, body, body))
    assert "blobs" not in document
    assert read_back(document) == [(body, body)]


def document_with(blobs: Any) -> bytes:
    document = written(interaction(1, {"image": IMAGE}, {"ok": 1}))
    (reference,) = document["blobs"]
    made = blobs(reference) if callable(blobs) else blobs
    return json.dumps({**document, "blobs": made}).encode()


@pytest.mark.parametrize("blobs", [[], "text", 5, {"a": 1}, {"a": None}, {"a": ["x"]}], ids=repr)
def test_a_table_of_something_else_is_a_damaged_file(blobs: Any) -> None:
    with pytest.raises(CassetteError, check=check_message):
        store.parse_cassette(document_with(blobs), WHERE)


@pytest.mark.parametrize(
    "blobs",
    [
        None,
        {},
        {"0" * 20: IMAGE},
        lambda reference: {reference: IMAGE[:-4]},
        lambda reference: {reference: ""},
    ],
)
def test_a_missing_or_changed_text_is_reported_when_it_is_requested(blobs: Any) -> None:
    (result,) = store.parse_cassette(document_with(blobs), WHERE).values()
    assert unfold_body(result.answers["0"][0]["body"]) == b'{"ok": 1}'
    with pytest.raises(CassetteError, check=check_message):
        unfold_body(result.request["body"])
    with pytest.raises(CassetteError, check=check_message):
        store.format_cassette([result], "2026-01-01")


def test_texts_that_share_a_reference_are_kept_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_llmops.wire.blobs.REFERENCE_DIGITS", 0)
    document = written(interaction(1, {"image": IMAGE}, {"vector": VECTOR}))
    assert sorted(map(len, document["blobs"])) == [0, 64]


def test_a_body_with_its_texts_is_the_same_object_to_others() -> None:
    stored = {"text": {"$blob": "x, 0"}}
    body = StoredBody(stored, {"a": "b"})
    assert body == stored
    assert json.dumps(body) == json.dumps(stored)
    assert isinstance(body, dict)


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        {
            "a": {},
            "b": [],
            "c": [[1, 2.5, -3e20], []],
            "d": [1, "a", None, True],
            "ä\n": '\u2028\\"\x00\ud800',
        },
        {"n": list(range(1000)), "deep": [[[[{"a": 1}]]]]},
        {"frames": [{"headers": {"a": "b"}, "payload": "{}"}], "m": {"$blob": "x, y"}},
        "text",
        5,
        None,
    ],
)
def test_the_layout_is_json_of_the_same_value(value: Any) -> None:
    assert json.loads(format_json(value)) == value


def test_short_things_are_one_line() -> None:
    text = format_json(
        {"bytes": [104, 105], "frames": [{"headers": {"a": "b"}, "payload": "{}"}], "x": {"$blob": "y"}}
    )
    assert text.splitlines() == [
        "{",
        ' "bytes": [104, 105],',
        ' "frames": [',
        '  {"headers": {"a": "b"}, "payload": "{}"}',
        " ],",
        ' "x": {"$blob": "y"}',
        "}",
    ]
