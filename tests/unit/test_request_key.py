from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pytest_llmops.cassettes.clients.requests import find_folders
from pytest_llmops.cassettes.request_key import (
    Answer,
    MatchRules,
    Question,
    answer_from_wire,
    answer_to_wire,
    build_question,
    canonical_url,
    compute_key,
    compute_stored_key,
    restore_answer,
)
from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.wire.body import fold_body

URL = "https://api.example.com/v1/chat/completions"
JSON = {"content-type": "application/json"}


def make_question(
    body: bytes | object = b"",
    *,
    url: str = URL,
    headers: Mapping[str, str] = JSON,
    method: str = "POST",
    redactor: Redactor | None = None,
) -> Question:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return build_question(method, url, headers, data, redactor or Redactor())


@pytest.mark.parametrize(
    ("url", "canonical"),
    [
        ("http://localhost:8080/v1/chat?b=1&a=2#f", "http://loopback/v1/chat?a=2&b=1"),
        ("http://127.0.0.1:1/", "http://loopback/"),
        ("http://[::1]:1", "http://loopback/"),
        ("http://127.evil.example:1/", "http://127.evil.example:1/"),
        ("https://user:pw@API.Example.com/x", "https://api.example.com/x"),
        ("https://a.example:443/x", "https://a.example/x"),
        ("http://a.example:80/x", "http://a.example/x"),
        ("http://a.example:443/x", "http://a.example:443/x"),
        ("https://[2001:DB8::1]:8080/x", "https://[2001:db8::1]:8080/x"),
        ("https://a.example/x?k=&k=2&k=1", "https://a.example/x?k=&k=1&k=2"),
        ("https://a.example/x?API_KEY=abc&q=1", "https://a.example/x?API_KEY=%5Bsecret%5D&q=1"),
        ("https://a.example/x?X-Amz-Signature=ab", "https://a.example/x?X-Amz-Signature=%5Bsecret%5D"),
        ("https://a.example/a%2Fb", "https://a.example/a%2Fb"),
        ("/v1/chat?b=1&a=2", ":///v1/chat?a=2&b=1"),
        ("file:///x", "file:///x"),
        ("http://[broken", "http://[broken"),
        ("http://a.example:port/", "http://a.example:port/"),
    ],
)
def test_canonical_url(url: str, canonical: str) -> None:
    assert canonical_url(url) == canonical


@pytest.mark.parametrize(
    "signed",
    [
        "f=1&X-Amz-Algorithm=A4&X-Amz-Credential={0}&X-Amz-Date={0}&X-Amz-Expires={0}&X-Amz-Signature={0}",
        "X-Goog-Credential={0}&X-Goog-Date={0}&X-Goog-Expires={0}&X-Goog-Signature={0}",
        "f=1&Expires={0}&Signature={0}&Key-Pair-Id={0}",
        "AWSAccessKeyId={0}&Expires={0}&Signature={0}",
        "sv=2024-11-04&st={0}&se={0}&skoid={0}&ske={0}&sr=b&sp=r&sig={0}",
    ],
)
def test_a_presigned_url_is_the_same_whenever_it_was_signed(signed: str) -> None:
    def key(text: str, path: str = "file.pdf") -> str:
        return make_question({}, url=f"https://a.example/{path}?{signed.format(text)}").key

    assert key("20260131T100000Z") == key("20261126T100000Z")
    assert key("1") != key("1", "other.pdf")


def test_without_a_signature_a_time_in_a_query_counts() -> None:
    first, second = (make_question({}, url=f"https://a.example/x?expires={n}&st={n}") for n in (1, 2))
    assert first.key != second.key


def test_bytes_of_a_query_that_are_no_text_stay_apart() -> None:
    assert canonical_url("http://a.example/?q=%FE") != canonical_url("http://a.example/?q=%FF")


def test_behind_a_users_redactor_that_breaks_json_equal_requests_have_one_key() -> None:
    def squeezed(credential: str, text: str = "hello") -> Question:
        redactor = Redactor(extra=(lambda body: re.sub(r"(.)\1+", r"\1", body),))
        headers = {**JSON, "authorization": f"Bearer {credential}"}
        return make_question({"key": credential, "deep": {"say": text}}, headers=headers, redactor=redactor)

    request = squeezed("aabbccdd-1122")
    assert request.json is None
    assert request.body == b'{"key": "[secret]", "dep": {"say": "helo"}'
    assert request.key == squeezed("ffggzzyy-3344").key == squeezed("aabbccdd-1122", "helllo").key
    assert request.key != squeezed("aabbccdd-1122", "hullo").key


def test_what_counts() -> None:
    base = make_question({"a": 1})
    assert make_question({"a": 2}).key != base.key
    assert make_question({"a": 1.0}).key != base.key
    assert make_question({"a": "1"}).key != base.key
    assert make_question({"a": True}).key != base.key
    assert make_question({"a": 1}, url=URL + "x").key != base.key
    assert make_question({"a": 1}, url=URL + "?x=1").key != base.key
    assert make_question({"a": 1}, url=URL.replace("https", "http")).key != base.key
    assert make_question({"a": 1}, method="PUT").key != base.key
    assert make_question([1, 2]).key != make_question([2, 1]).key


def test_what_does_not_count() -> None:
    base = make_question({"a": 1, "b": [1, {"c": 2, "d": 3}]})
    assert make_question(b'\n { "b" : [1, {"d":3,"c":2}],\t"a":1 }\r\n').key == base.key
    assert (
        make_question({"a": 1, "b": [1, {"c": 2, "d": 3}]}, headers={**JSON, "x-request-id": "7"}).key
        == base.key
    )
    assert make_question({"a": 1, "b": [1, {"c": 2, "d": 3}]}, method="post").key == base.key
    assert make_question({"a": "ä"}).key == make_question('{"a":"ä"}'.encode()).key
    first, other = (make_question(b"", url=f"http://localhost:{port}/v1") for port in (1, 2))
    assert first.key == other.key


def test_white_space_counts_where_it_is_no_json() -> None:
    assert make_question(b"a b").key != make_question(b"a  b").key
    assert make_question(b"{broken").key != make_question(b"{broken ").key


def test_the_parsed_body_is_there_for_the_trace() -> None:
    assert make_question({"model": "m"}).json == {"model": "m"}
    assert make_question(b"text").json is None
    assert make_question(b"").json is None


def multipart(boundary: str) -> tuple[bytes, dict[str, str]]:
    body = f'--{boundary}\r\nContent-Disposition: form-data; name="file"\r\n\r\nx\r\n--{boundary}--\r\n'
    return body.encode(), {"content-type": f'multipart/form-data; boundary="{boundary}"'}


def test_a_multipart_boundary_does_not_count() -> None:
    (first, how), (second, also) = multipart("abc123"), multipart("zzz-999")
    first_question, second_question = make_question(first, headers=how), make_question(second, headers=also)
    assert first_question.key == second_question.key
    assert b"--boundary\r\n" in first_question.body
    assert make_question(first.replace(b"\r\nx\r\n", b"\r\ny\r\n"), headers=how).key != first_question.key


def test_a_boundary_is_replaced_only_where_it_bounds() -> None:
    body, how = multipart("a")
    question = make_question(body, headers=how)
    assert b'form-data; name="file"' in question.body


def test_a_random_hint_for_the_prompt_cache_does_not_count() -> None:
    def build(hint: str, text: str = "hi") -> Question:
        body = json.dumps({"prompt_cache_key": hint, "input": text}).encode()
        return build_question("POST", URL, {}, body, Redactor())

    assert build("agents-sdk:run:6d1f0c").key == build("agents-sdk:run:a72aa6").key
    assert build("agents-sdk:run:6d1f0c").json == {"input": "hi"}  # as at a server that does not get it
    last = b'{"input": "hi", "prompt_cache_key": "agents-sdk:run:6d1f0c"}'
    assert make_question(last).json == {"input": "hi"}
    assert make_question(b'{"prompt_cache_key":"agents-sdk:run:6d1f0c"}').json == {}
    assert build("agents-sdk:run:6d1f0c").key != build("agents-sdk:run:6d1f0c", "ho").key
    assert build("agents-sdk:session:6d1f0c").key != build("agents-sdk:session:a72aa6").key
    quoted = '{"prompt_cache_key": "agents-sdk:run:6d1f0c"}'
    assert quoted in json.loads(build("mine", quoted).body)["input"]


def test_secrets_do_not_count_and_are_not_kept() -> None:
    def question_with(key: str) -> Question:
        headers = {**JSON, "authorization": f"Bearer {key}"}
        return make_question({"prompt": f"my key is {key}"}, url=f"{URL}?q={key}", headers=headers)

    first, second = question_with("first-credential/1"), question_with("second-credential/2")
    assert first.key == second.key
    assert "credential" not in first.url
    assert b"credential" not in first.body


def test_secrets_of_a_form_do_not_count() -> None:
    how = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
    request = make_question(b"grant_type=client&client_secret=abc&scope=a", headers=how)
    assert request.body == b"grant_type=client&client_secret=[secret]&scope=a"
    assert make_question(b"grant_type=client&client_secret=xyz&scope=a", headers=how).key == request.key
    assert make_question(b"grant_type=other&client_secret=xyz&scope=a", headers=how).key != request.key


@pytest.mark.parametrize("where", ["url", "form"])
def test_a_secret_parameter_is_masked_in_the_rest_of_the_request_and_in_its_answer(where: str) -> None:
    redactor = Redactor()
    query = b"client_secret=credential-1&note=x-credential-1-x"
    if where == "url":
        request = make_question(b"say credential-1", url=f"{URL}?{query.decode()}", redactor=redactor)
        assert request.url == f"{URL}?client_secret=%5Bsecret%5D&note=x-[secret]-x"
        assert request.body == b"say [secret]"
    else:
        request = make_question(
            query, headers={"content-type": "application/x-www-form-urlencoded"}, redactor=redactor
        )
        assert request.body == b"client_secret=[secret]&note=x-[secret]-x"
    assert redactor.clean_text("it was credential-1") == "it was [secret]"


@pytest.mark.parametrize("rules", [MatchRules(), MatchRules(("a",))])
@pytest.mark.parametrize(
    "body", [b'{"b": [1, 2.0], "a": "x"}', b'"text"', b"plain", b"\xff\x00", b"", b"{ broken"]
)
def test_the_key_of_what_a_cassette_keeps_is_that_of_the_request(body: bytes, rules: MatchRules) -> None:
    question = build_question("POST", URL, {}, body, Redactor(), rules=rules)
    assert compute_stored_key("POST", question.url, fold_body(body), rules) == question.key
    assert compute_key("POST", question.url, body, rules) == question.key
    assert len(question.key) == 20


@pytest.mark.slow
@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"n": 1' + b"0" * 5000 + b"}",
        b"\xff\xfe{}",
        b'{"a": NaN}',
        b'{"a": "\\ud800"}',
        b"{" + bytes(range(256)),
        b'"text"',
    ],
)
def test_hostile_bodies_have_a_key(body: bytes) -> None:
    question = make_question(body)
    assert question.key == make_question(body).key
    assert len(question.key) == 20
    assert question.key != make_question(body + b"x").key


FOLDERS = st.sampled_from(
    ["/srv/ab/tmp0", "/srv/ü b/tmp0", "C:\\Users\\bo\\tmp0", "C:\\new\\table", '/srv/a"b/tmp0', "/srv/文/x"]
)
# What a request or an answer may hold of a file below the folder: text, and JSON in a text
FORMS: list[Callable[[str], object]] = [
    lambda path: {"content": f"see {path}."},
    lambda path: {"arguments": json.dumps({"path": path, "n": 1})},
    lambda path: {"arguments": json.dumps([path], ensure_ascii=False), "note": path},
    lambda path: {path: [path, None, 1.5]},
]


@pytest.mark.slow
@example(recorded="/srv/ü b/tmp0", now="C:\\new\\table", request_form=FORMS[0], answer_form=FORMS[2])
@given(recorded=FOLDERS, now=FOLDERS, request_form=st.sampled_from(FORMS), answer_form=st.sampled_from(FORMS))
def test_a_folder_is_neither_in_the_key_nor_lost_in_the_answer(
    recorded: str, now: str, request_form: Callable[[str], object], answer_form: Callable[[str], object]
) -> None:
    def ask(folder: str, name: str = "x.txt") -> Question:
        body = json.dumps(request_form(f"{folder}/{name}")).encode()
        folders = find_folders(body, {folder: "[this-tmp-path]", "/tmp": "[this-temp-folder]"})
        return build_question("POST", URL, JSON, body, Redactor(), folders=folders)

    first, second = ask(recorded), ask(now)
    assert (first.key, first.body) == (second.key, second.body)
    assert first.key != ask(recorded, "y.txt").key
    assert b"[this-tmp-path]" in first.body
    assert second.sent_json == request_form(f"{now}/x.txt")
    answer = Answer(200, JSON, json.dumps(answer_form(f"{recorded}/y")).encode())
    wire = answer_to_wire(answer, Redactor(), identities=first.identities)
    restored = json.loads(restore_answer(answer_from_wire(wire), second.identities).body)
    expected = answer_form(f"{now}/y")
    assert isinstance(expected, dict)
    if "arguments" in expected:  # a letter may be spelled otherwise in JSON in a text
        expected["arguments"], restored["arguments"] = map(
            json.loads, (expected["arguments"], restored["arguments"])
        )
    assert restored == expected


@pytest.mark.parametrize(
    "body",
    [
        b"/srv/ab/tmp01",
        b'{"a": "/srv/ab/tmp0-x"}',
        b'{"a": "/tmp/x"}',
        b'{"a": "/home/bo"}',
        b"\xff\xfe",
        b"",
    ],
)
def test_a_request_without_a_folder_of_the_test_is_matched_as_it_is(body: bytes) -> None:
    folders = find_folders(
        body, {"/srv/ab/tmp0": "[this-tmp-path]", "/tmp": "[this-temp-folder]", "/": "[this-project]"}
    )
    question = build_question("POST", URL, JSON, body, Redactor(), folders=folders)
    plain = build_question("POST", URL, JSON, body, Redactor())
    assert question == plain


def test_a_body_that_is_not_json_has_placeholders_too_and_deep_json_stays() -> None:
    folders = find_folders(b"/srv/ab/tmp0", {"/srv/ab/tmp0": "[this-tmp-path]"})
    text = build_question("POST", URL, {}, b"\xff read /srv/ab/tmp0/x", Redactor(), folders=folders)
    assert text.body == b"\xff read [this-tmp-path]/x"
    deep = b"[" * 100_000 + b'"/srv/ab/tmp0"' + b"]" * 100_000
    question = build_question("POST", URL, {}, deep, Redactor(), folders=folders)
    assert (question.body, question.identities) == (deep, ())
