from __future__ import annotations

import base64
import gzip
import importlib.util
import json
import subprocess
import sys
import zlib
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from support.compression import compress
from support.foreign import URL, cassette, index, request, response, written
from support.messages import check_message

from pytest_llmops.cassettes.importers import ForeignInteraction, read_foreign
from pytest_llmops.cassettes.store import is_own_cassette
from pytest_llmops.errors import CassetteError
from pytest_llmops.wire import content_encoding, untrusted_documents


def packed(data: bytes) -> bytes:
    """In gzip without the time: ids of tests are made from it."""
    return gzip.compress(data, mtime=0)


ANSWER = b'{"a":"\xc3\xa4"}'


def read_interaction(path: Path, document: Any) -> ForeignInteraction:
    foreign = read_foreign(written(path, document))
    assert len(foreign) == 1
    return foreign[0]


def refusal(path: Path, document: Any = None) -> str:
    if document is not None:
        written(path, document)
    with pytest.raises(CassetteError) as caught:
        read_foreign(path)
    text = str(caught.value)
    assert text.startswith(f"cassette {path} ")
    assert "\n" not in text
    assert "; " in text
    return text


def test_no_refusal_of_a_file_advises_git(tmp_path: Path) -> None:
    for name, text in (
        ("a.yaml", "a: [1,"),
        ("b.json", '{"interactions": '),
        ("c.yaml", "- 1"),
        ("d.yaml", ""),
    ):
        (tmp_path / name).write_text(text)
        assert "git" not in refusal(tmp_path / name).removeprefix(f"cassette {tmp_path}")


@pytest.mark.parametrize("name", ["a.yaml", "a.yml", "a.json", "a.yaml.gz", "a.json.gz"])
def test_what_vcrpy_writes(tmp_path: Path, name: str) -> None:
    interaction = read_interaction(tmp_path / name, cassette((request(), response(ANSWER.decode()))))
    assert interaction == ForeignInteraction(
        "POST",
        URL,
        {"content-type": "application/json", "authorization": "Bearer sk-abcdefghijklmnop1234"},
        b'{"q":1}',
        200,
        {"content-type": "application/json", "date": "Sat, 31 Jan 2026 10:00:00 GMT"},
        ANSWER,
        "2026-01-31",
    )


def test_gzip_is_known_by_its_bytes(tmp_path: Path) -> None:
    path = written(tmp_path / "a.yaml", cassette())
    path.write_bytes(packed(path.read_bytes()[:40]) + packed(path.read_bytes()[40:]))
    assert read_foreign(path)[0].body == b'{"a":1}'


@pytest.mark.parametrize(
    ("stored", "body"),
    [
        ({"body": {"string": "text ä"}}, "text ä".encode()),
        ({"body": {"string": b"\x00\xff"}}, b"\x00\xff"),
        ({"body": {"string": ""}}, b""),
        ({"body": {"string": None}}, b""),
        ({"body": {}}, b""),
        ({"body": "plain"}, b"plain"),
        ({"body": b"\x00"}, b"\x00"),
        ({"parsed_body": {"b": [1.0, None, "ä\n"], "a": True}, "body": None}, '{"b":[1.0,null,"ä\\n"],"a":true}'.encode()),
        ({"parsed_body": "text", "body": None}, b'"text"'),
        ({"parsed_body": {"a": 2}, "body": {"string": "exact"}}, b"exact"),
        ({"parsed_body": {"a": float("inf"), "b": 1e300}, "body": None}, b'{"a":Infinity,"b":1e+300}'),
        ({"content": "old httpx", "body": None}, b"old httpx"),
    ],
)  # fmt: skip
def test_forms_of_a_body(tmp_path: Path, stored: dict[str, Any], body: bytes) -> None:
    assert read_interaction(tmp_path / "a.yaml", cassette((request(), response(**stored)))).body == body
    assert (
        read_interaction(tmp_path / "b.yaml", cassette((request(**stored), response()))).request_body == body
    )


@pytest.mark.parametrize(
    ("sent", "body"),
    [
        (packed(b"{}"), b"{}"),
        (packed(b"{}")[:-3], packed(b"{}")[:-3]),  # damaged: as it was sent
        (b"\xff\xfe", b"\xff\xfe"),
        ("{}", b"{}"),
    ],
)
def test_the_body_of_a_request_is_decoded(tmp_path: Path, sent: object, body: bytes) -> None:
    sent_request = request(sent, headers={"content-encoding": "gzip"})
    interaction = read_interaction(tmp_path / "a.yaml", cassette((sent_request, response())))
    assert interaction.request_body == body
    assert interaction.request_headers == {"content-encoding": "gzip"}


def test_a_request_that_cannot_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "brotli", None)
    monkeypatch.setitem(sys.modules, "brotlicffi", None)
    sent_request = request(b"\x8b\x00\x80", headers={"content-encoding": "br"})
    document = cassette((request(), response()), (sent_request, response()))
    check_message(refusal(tmp_path / "a.yaml", document))


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("encoding", "stored"),
    [
        ("gzip", packed(ANSWER)),
        ("GZIP ", packed(ANSWER) + b"\0\0"),
        ("x-gzip", packed(ANSWER[:3]) + packed(ANSWER[3:])),
        ("deflate", zlib.compress(ANSWER)),
        ("deflate", raw_deflate(ANSWER)),
        ("deflate, gzip", packed(zlib.compress(ANSWER))),
        ("identity", ANSWER),
        ("", ANSWER),
        # Decoded by the recorder, which left the header as it was.
        ("gzip", ANSWER),
        ("deflate", ANSWER),
        ("zstd", ANSWER),
        ("gzip", ANSWER.decode()),
        ("br", ANSWER.decode()),
        ("unheard-of", ANSWER.decode()),
    ],
)
def test_compression_is_undone(tmp_path: Path, encoding: str, stored: object) -> None:
    headers = {
        "Content-Encoding": [encoding],
        "Content-Length": ["7"],
        "Transfer-Encoding": "chunked",
        "x-a": "b",
    }
    interaction = read_interaction(
        tmp_path / "a.yaml", cassette((request(), response(stored, headers=headers)))
    )
    assert interaction.body == ANSWER
    assert interaction.headers == {"x-a": "b"}


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd", "br"])
def test_an_empty_body_is_empty_under_each_encoding(tmp_path: Path, encoding: str) -> None:
    answered = response("", headers={"content-encoding": encoding})
    assert read_interaction(tmp_path / "a.yaml", cassette((request(), answered))).body == b""


@pytest.mark.parametrize(
    ("encoding", "stored"),
    [
        ("gzip", packed(ANSWER)[:-3]),
        ("gzip", packed(ANSWER) + b"more"),
        ("gzip", b"\xff\xfe"),
        ("deflate", b"\xff\xfe"),
        ("zstd", b"\xff\xfe"),
        ("unheard-of", b"\xff\xfe"),
    ],
)
def test_a_damaged_encoding_is_refused(tmp_path: Path, encoding: str, stored: bytes) -> None:
    answered = response(stored, headers={"content-encoding": encoding})
    check_message(refusal(tmp_path / "a.yaml", cassette((request(), answered))))


ZSTD = base64.b64decode("KLUv/SAKUQAAeyJhIjoiw6QifQ==")
"""The answer in a frame of one raw block."""


def test_zstd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = cassette((request(), response(ZSTD, headers={"content-encoding": "zstd"})))
    if importlib.util.find_spec("zstandard") is None and sys.version_info < (3, 14):
        assert "zstandard" in refusal(tmp_path / "a.yaml", document)  # no message: not every Python has one
    else:
        assert read_interaction(tmp_path / "a.yaml", document).body == ANSWER

    class Frame:
        eof = False
        unused_data = b""

        def decompress(self, data: bytes) -> bytes:
            if not data.startswith(ZSTD[:4]):
                raise OSError("no frame")
            self.eof = data.startswith(ZSTD)
            self.unused_data = data[len(ZSTD) :]
            return ANSWER

    class Frames:
        ZstdFile = object
        ZstdDecompressor = Frame

    monkeypatch.setitem(sys.modules, "compression.zstd", Frames)
    assert read_interaction(tmp_path / "b.yaml", document).body == ANSWER
    document = cassette((request(), response(ZSTD[:-1], headers={"content-encoding": "zstd"})))
    check_message(refusal(tmp_path / "c.yaml", document))


def test_brotli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = cassette((request(), response(b"\x8b\x00\x80", headers={"content-encoding": "br"})))
    monkeypatch.setitem(sys.modules, "brotli", None)
    monkeypatch.setitem(sys.modules, "brotlicffi", None)
    check_message(refusal(tmp_path / "a.yaml", document))

    class Stream:
        is_whole = True

        def process(self, data: bytes) -> bytes:
            return data[::-1]

        def is_finished(self) -> bool:
            return self.is_whole

    class Brotli:
        Decompressor = Stream

    monkeypatch.setitem(sys.modules, "brotli", Brotli)
    assert read_interaction(tmp_path / "b.yaml", document).body == b"\x80\x00\x8b"
    monkeypatch.setattr(Stream, "is_whole", False)
    check_message(refusal(tmp_path / "c.yaml", document))


@pytest.mark.parametrize(
    ("stored", "headers"),
    [
        ({"A-B": ["1", "2"], "c": "3", "d": []}, {"a-b": "1, 2", "c": "3"}),
        ({"A": "1", "a": "2"}, {"a": "1, 2"}),
        ([["A", "1"], ["b", 2]], {"a": "1", "b": "2"}),
        ({"a": [b"\xe4"], "b": 1.5, "c": None}, {"a": "ä", "b": "1.5"}),
        (None, {}),
        ({}, {}),
    ],
)
def test_forms_of_headers(tmp_path: Path, stored: object, headers: dict[str, str]) -> None:
    interaction = read_interaction(
        tmp_path / "a.yaml", cassette((request(headers=stored), response(headers=stored)))
    )
    assert interaction.request_headers == headers
    assert interaction.headers == headers


@pytest.mark.parametrize("stored", ["text", 1, {"a": {"b": 1}}, [1], [["a"]]])
def test_other_headers_are_refused(tmp_path: Path, stored: object) -> None:
    text = refusal(
        tmp_path / "a.json" if isinstance(stored, list) else tmp_path / "a.yaml",
        cassette((request(headers=stored), response())),
    )
    assert "headers" in text


@pytest.mark.parametrize(
    ("stored", "status"),
    [({"status": {"code": 404}}, 404), ({"status": 503}, 503), ({"status_code": 429, "status": None}, 429)],
)
def test_forms_of_a_status(tmp_path: Path, stored: dict[str, Any], status: int) -> None:
    answered = {key: value for key, value in response(**stored).items() if value is not None}
    assert read_interaction(tmp_path / "a.yaml", cassette((request(), answered))).status == status


def changed(**more: Any) -> dict[str, Any]:
    """A cassette whose request is changed; None takes a key out."""
    kept = {key: value for key, value in request(**more).items() if value is not None}
    return cassette((kept, response()))


def ruby(*interactions: object) -> dict[str, Any]:
    """A cassette of Ruby's VCR."""
    return {"http_interactions": list(interactions), "recorded_with": "VCR 6.3.1"}


def answering(**more: Any) -> dict[str, Any]:
    answered = {key: value for key, value in response(**more).items() if value is not None}
    return cassette((request(), answered))


@pytest.mark.slow
@pytest.mark.parametrize(
    "document",
    [
        {"records": [], "meta": 1},
        {"log": {"entries": []}},
        [{"request": {}, "response": {}}],
        [1, 2],
        "text",
        7,
        {"interactions": []},
        {"interactions": [], "version": 2},
        {"interactions": [], "version": True},
        {"interactions": {}, "version": 1},
        {"interactions": [1], "version": 1},
        {"interactions": [{"request": 1}], "version": 1},
        {"interactions": [{"request_sample": {}, "response_sample": {}}], "version": 1},
        {"requests": [{}]},
        {"requests": {}, "responses": []},
        {"requests": [request()], "responses": []},
        {"requests": [request()], "responses": [7]},
        {"http_interactions": []},
        {"http_interactions": {}, "recorded_with": "VCR 6.3.1"},
        ruby(7),
        ruby({"request": {}}),
        ruby({"request": 7, "response": {}}),
        ruby({"request": {"headers": []}, "response": {}}),
        ruby({"request": {"body": {"base64_string": "?"}}, "response": {}}),
        ruby({"request": {"body": {"base64_string": 7}}, "response": {}}),
        {"format": 1, "interactions": []},
        cassette((1, response())),  # type: ignore[arg-type]
        cassette((request(), [])),  # type: ignore[arg-type]
        changed(method=None),
        changed(method="GET /"),
        changed(uri=None),
        changed(uri="/v1/chat"),
        changed(uri="api.openai.com/v1"),
        changed(uri="https:///v1"),
        changed(uri="ftp://a.example/"),
        changed(uri="https://[a/"),
        changed(uri="https://a:99999/"),
        changed(body=["a"]),
        answering(body=None),
        answering(body={"file": "x"}),
        answering(body={"string": ["a"]}),
        answering(status=None),
        answering(status={"code": "200"}),
        answering(status={"code": 0}),
        answering(status={}),
        answering(parsed_body={"a": b"\x00"}, body=None),
    ],
)  # fmt: skip
def test_one_clear_refusal(tmp_path: Path, document: object) -> None:
    check_message(refusal(tmp_path / "a.yaml", document))


RUBY = """---
http_interactions:
- request:
    method: post
    uri: https://api.openai.com/v1/chat/completions
    body:
      encoding: UTF-8
      string: '{"q":1}'
    headers:
      Content-Type:
      - application/json
  response:
    status:
      code: 200
      message: OK
    headers:
      Content-Type:
      - application/json
    body:
      encoding: ASCII-8BIT
      %s
    http_version:
  recorded_at: Sat, 31 Jan 2026 10:00:00 GMT
recorded_with: VCR 6.3.1
"""


@pytest.mark.parametrize("body", ['string: "{\\"a\\":1}"', "base64_string: |\n        eyJh\n        Ijox\n        fQ==", "string: !binary |-\n        eyJhIjoxfQ=="])  # fmt: skip
def test_a_cassette_of_ruby(tmp_path: Path, body: str) -> None:
    path = tmp_path / "a.yml"
    path.write_text(RUBY % body)
    kind = {"content-type": "application/json"}
    headers = {**kind, "date": "Sat, 31 Jan 2026 10:00:00 GMT"}
    assert read_foreign(path) == [
        ForeignInteraction("POST", URL, kind, b'{"q":1}', 200, headers, b'{"a":1}', "2026-01-31")
    ]


def test_a_cassette_of_ruby_keeps_the_date_of_the_server(tmp_path: Path) -> None:
    interaction = {
        "request": request(),
        "response": response(),
        "recorded_at": "Sun, 01 Feb 2026 10:00:00 GMT",
    }
    assert read_interaction(tmp_path / "a.json", ruby(interaction)).recorded == "2026-01-31"


@pytest.mark.parametrize("name", ["a.yaml.gz", "a.json"])
def test_lists_of_requests_and_responses(tmp_path: Path, name: str) -> None:
    document = {
        "requests": [request(), request('{"q":2}')],
        "responses": [response(), response('{"a":2}')],
    }
    foreign = read_foreign(written(tmp_path / name, document))
    assert [(each.request_body, each.body) for each in foreign] == [
        (b'{"q":1}', b'{"a":1}'),
        (b'{"q":2}', b'{"a":2}'),
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.yaml", b""),
        ("a.yaml", b"# only this\n"),
        ("a.yaml", b"a: [1,\n"),
        ("a.yaml", b"a: b: c\n"),
        ("a.yaml", b"\xff\xfe\xfa"),
        ("a.yaml", b"a: \x00"),
        ("a.json", b'{"interactions": ['),
        ("a.json", b'{"a": "\\ud800"}'),
        ("a.yaml", b'{"interactions": ['),
        ("a.yaml", b"a: *b\n"),
        ("a.yaml", b"a: 1\na: 2\n"),
        ("a.yaml", b"1: 2\n"),
        ("a.yaml", b"[a]: 2\n"),
        ("a.yaml", b"a: !!binary '?'\n"),
        ("a.yaml", b"a: !!binary 'YW%$Jj'\n"),
        ("a.yaml", b"a: &x {k: 1}\nb: {!!merge <<: *x}\n"),
        ("a.yaml", b"a: !!timestamp 2026-01-01\n"),
        ("a.yaml", b"a: !!set {b}\n"),
        ("a.yaml", b"a: !mine b\n"),
        ("a.yaml", b"--- 1\n--- 2\n"),
        ("a.yaml", b"a: &x [*x]\n"),
        ("a.yaml.gz", packed(b"a: 1")[:-4]),
        ("a.yaml.gz", b"\x1f\x8b\x08"),
        ("a.yaml", b"a: 1\n<<<<<<< HEAD\nb: 1\n=======\nb: 2\n>>>>>>> other\n"),
        ("a.json", b"[" * 100_000),
        ("a.yaml", b"x: " + b"[" * 100_000),
        ("a.yaml", b"- " * 900 + b"a"),
        ("a.yaml", b"a: " + b"1" * 5000),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, name: str, data: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    check_message(refusal(path))


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "a.yaml")
    check_message(refusal(tmp_path))


def bomb(levels: int) -> str:
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "\n".join(lines)


def test_anchors_may_repeat_but_not_explode(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(bomb(9))
    check_message(refusal(path))
    shared = {"accept": ["*/*"]}
    document = cassette(*[(request(headers=shared), response()) for _ in range(50)])
    assert "*id001" in written(tmp_path / "b.yaml", document).read_text()
    assert len(read_foreign(tmp_path / "b.yaml")) == 50


def test_a_text_that_is_repeated_by_an_anchor_has_its_weight(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(f"a: &a {'x' * 100_000}\nb: [{', '.join(['*a'] * 40)}]\n")
    check_message(refusal(path))


def test_compression_may_not_explode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(untrusted_documents, "MAX_BYTES", 2**20)
    path = tmp_path / "a.yaml"
    path.write_bytes(packed(b"a" * 2**21))
    check_message(refusal(path))
    path.write_bytes(b"a" * 2**21)
    check_message(refusal(path))


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
def test_a_body_may_not_explode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    monkeypatch.setattr(content_encoding, "MAX_BODY_BYTES", 2**20)
    exploding = compress(b"a" * 2**21, encoding)
    answered = response(exploding, headers={"content-encoding": encoding})
    check_message(refusal(tmp_path / "a.yaml", cassette((request(), response()), (request(), answered))))
    sent = request(exploding, headers={"content-encoding": encoding})
    check_message(refusal(tmp_path / "b.yaml", cassette((sent, response()))))


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:os.system ['touch {}']",
        "!!python/object/new:os.system ['touch {}']",
        "!!python/name:os.system",
        "!!python/module:os",
        "!!python/tuple [a]",
        "!!python/str a",
        "!!python/object/new:_io.BytesIO {{state: [a]}}",
    ],
)
def test_nothing_is_evaluated(tmp_path: Path, tag: str) -> None:
    proof = tmp_path / "proof"
    path = tmp_path / "a.yaml"
    path.write_text(f"interactions: {tag.format(proof)}\nversion: 1\n")
    check_message(refusal(path))
    assert not proof.exists()


@pytest.mark.slow
def test_without_libyaml(tmp_path: Path) -> None:
    path = written(tmp_path / "a.yaml", cassette((request(b"\x00"), response(b"\xff"))))
    deep = tmp_path / "b.yaml"
    deep.write_bytes(b"[" * 100_000)
    code = (
        "import sys, yaml; del yaml.CSafeLoader\n"
        "from pathlib import Path; from pytest_llmops.cassettes.importers import read_foreign; from pytest_llmops.errors import CassetteError\n"
        "print(read_foreign(Path(sys.argv[1]))[0].body)\n"
        "try: read_foreign(Path(sys.argv[2]))\n"
        "except CassetteError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), str(deep)], capture_output=True, text=True, check=True
    )
    body, refused = done.stdout.splitlines()
    assert body == "b'\\xff'"
    check_message(refused)


def test_credentials_are_not_shown(tmp_path: Path) -> None:
    secret = "sk-abcdefghijklmnop1234"
    for number, document in enumerate(
        [
            changed(uri=f"a.example/v1?key={secret}"),
            changed(headers={"authorization": {"value": secret}}),
            answering(body={"type": "binary", "content": secret}),
            answering(body={"string": [secret]}),
        ]
    ):
        assert secret not in refusal(tmp_path / f"{number}.yaml", document)


def test_hostile_texts_are_escaped(tmp_path: Path) -> None:
    text = refusal(tmp_path / "a.json", {"\x1b[31m\nkey": 1})
    assert text.isprintable()
    assert refusal(tmp_path / "b.json", changed(uri="\x1b]0;x\x07")).isprintable()


def test_ours_are_known_by_their_start(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for text, ours in (
        ('{\n "format": 1,\n', True),
        ('{"format":1', True),
        ('{"version": 1', False),
        ("", False),
    ):
        path.write_text(text)
        assert is_own_cassette(path) is ours
    assert not is_own_cassette(tmp_path / "none.json")


@pytest.mark.parametrize("date", ["", "yesterday", "Sat, 99 Jan 2026 10:00:00 GMT", "**REDACTED**"])
def test_a_day_that_is_not_known_is_empty(tmp_path: Path, date: str) -> None:
    assert (
        read_interaction(
            tmp_path / "a.yaml", cassette((request(), response(headers={"date": date})))
        ).recorded
        == ""
    )


@pytest.mark.slow
@pytest.mark.shared_data
def test_every_third_party_cassette_is_read_or_refused(shared_data: Path) -> None:
    refused = {}
    for row in index(shared_data):
        path = shared_data / "cassettes" / "files" / row["file"]
        try:
            foreign = read_foreign(path)
        except CassetteError as error:
            refused[row["file"]] = str(error)
            continue
        assert len(foreign) == int(row["interactions"]), row["file"]
        hosts = Counter(urlsplit(interaction.url).netloc for interaction in foreign)
        assert "|".join(f"{host}*{n}" for host, n in hosts.items()) == row["hosts"]
        assert {str(interaction.status) for interaction in foreign} == set(row["statuses"].split("|"))
        for interaction in foreign:
            assert not interaction.body.startswith(b"\x1f\x8b")
            json.loads(interaction.request_body)
    assert [name[:2] for name in refused] == ["45"]
    assert all("request_sample" in text for text in refused.values())


@pytest.mark.slow
@pytest.mark.shared_data
def test_bodies_are_those_that_vcrpy_reads(shared_data: Path) -> None:
    from vcr.serialize import deserialize
    from vcr.serializers import yamlserializer

    compared = 0
    for row in index(shared_data):
        path = shared_data / "cassettes" / "files" / row["file"]
        if (
            row["layout"] != "interactions"
            or row["request_body"] != "str"
            or "parsed" in row["response_body"]
        ):
            continue
        requests, responses = deserialize(path.read_text(encoding="utf-8"), yamlserializer)[:2]
        for interaction, sent_request, answered in zip(read_foreign(path), requests, responses, strict=True):
            body = answered["body"]["string"]
            body = gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body
            assert (interaction.url, interaction.request_body, interaction.body) == (
                sent_request.uri,
                sent_request.body,
                body,
            )
            compared += 1
    assert compared == 47


def test_the_loader_in_c_is_used_from_the_version_on_that_does_not_crash(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make = untrusted_documents._loader_class.__wrapped__
    monkeypatch.setattr(yaml, "__version__", "6.0.3")
    assert issubclass(make(), yaml.SafeLoader)
    monkeypatch.setattr(yaml, "__version__", "6.1")
    assert issubclass(make(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
