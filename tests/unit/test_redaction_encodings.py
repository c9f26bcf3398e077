"""Secrets that are spelled otherwise are found, and what is around them stays whole."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from urllib.parse import quote, unquote

import pytest

from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.redaction.secret_names import MASK
from pytest_llmops.redaction.streams import base64_forms

KNOWN = "correct-horse-battery"
SHAPED = "sk-" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4"
BOTH = pytest.mark.parametrize("secret", [KNOWN, SHAPED], ids=["known", "by shape"])
REDACTOR = Redactor(known={KNOWN})


def escaped(text: str, *, upper: bool = False) -> str:
    made = "".join(f"\\u{ord(char):04x}" if not char.isalnum() else char for char in text)
    return made.replace("002d", "002D") if upper else made


@BOTH
@pytest.mark.parametrize(
    "spelled",
    [
        lambda secret: f'{{"a": "before {escaped(secret)} after", "b": 1.50}}',
        lambda secret: f'{{"a": "before {escaped(secret, upper=True)} after", "b": 1.50}}',
        lambda secret: f'{{"a": "before \\u0063{secret[1:]} after", "b": 1.50}}'.replace(
            "\\u0063k-", "\\u0073k-"
        ),
        lambda secret: (
            f'{{"\\/a": "before {secret[:4]}\\u{ord(secret[4]):04x}{secret[5:]} after", "b": 1.50}}'
        ),
    ],
)
def test_needless_escapes_of_json(secret: str, spelled: Callable[[str], str]) -> None:
    text = spelled(secret)
    assert secret not in text
    assert secret in json.loads(text)[next(iter(json.loads(text)))]
    made = REDACTOR.clean(text.encode()).decode()
    assert next(iter(json.loads(made).values())) == f"before {MASK} after"
    assert made.endswith(', "b": 1.50}')
    assert REDACTOR.leaks(text.encode())
    assert not REDACTOR.leaks(made.encode())


@BOTH
def test_escapes_in_json_in_json(secret: str) -> None:
    inner = f'{{"key": "{escaped(secret)}"}}'
    text = json.dumps({"arguments": inner})
    made = json.loads(REDACTOR.clean(text.encode()))
    assert json.loads(made["arguments"]) == {"key": MASK}


def test_other_strings_with_escapes_keep_their_bytes() -> None:
    text = f'{{"a": "\\u003cb\\u003e\\/", "b": "{escaped(KNOWN)}", "c": "\\u00e4\\/"}}'
    made = REDACTOR.clean(text.encode()).decode()
    assert made == f'{{"a": "\\u003cb\\u003e\\/", "b": "{MASK}", "c": "\\u00e4\\/"}}'


@pytest.mark.parametrize(
    "secret", ["p/ss+w rd=ä?", 'quote"and\\back', "line one\nline two of it", "per%cent%20s"]
)
@pytest.mark.parametrize(
    "spelled",
    [
        lambda secret: quote(secret, safe=""),
        quote,
        lambda secret: quote(secret, safe="").lower(),
        lambda secret: quote(secret, safe="+=?"),
        lambda secret: json.dumps(secret)[1:-1],
        lambda secret: json.dumps(json.dumps(secret)[1:-1])[1:-1],
        repr,
        ascii,
        lambda secret: base64.b64encode(secret.encode()).decode(),
    ],
)
def test_known_secrets_with_odd_characters(secret: str, spelled: Callable[[str], str]) -> None:
    redactor = Redactor(known={secret})
    text = f"x?a={spelled(secret)}&b=1"
    made = redactor.clean(text.encode()).decode()
    assert secret not in unquote(made)
    assert spelled(secret).strip("'\"") not in made
    assert made.startswith("x?a=")
    assert made.endswith("&b=1")
    assert redactor.leaks(text.encode())
    assert not redactor.leaks(made.encode())


def test_a_percent_spelling_that_nobody_needs() -> None:
    text = "a=" + "".join(
        f"%{ord(char):02x}" if number % 3 == 0 else char for number, char in enumerate(KNOWN)
    )
    assert REDACTOR.clean(f"{text}&b=%41%42".encode()) == b"a=[secret]&b=%41%42"


@BOTH
@pytest.mark.parametrize("ahead", range(4))
@pytest.mark.parametrize("how", [base64.b64encode, base64.urlsafe_b64encode])
def test_a_secret_in_a_text_of_base64(secret: str, ahead: int, how: Callable[[bytes], bytes]) -> None:
    content = b"?" * ahead + f" the key >>> is {secret} and nothing else ???".encode()
    text = b'{"file": "data:text/plain;base64,' + how(content) + b'"}'
    made = json.loads(REDACTOR.clean(text))["file"].partition(",")[2]
    decoded = base64.b64decode(made.replace("-", "+").replace("_", "/"), validate=True)
    assert decoded == content.replace(secret.encode(), MASK.encode())


@BOTH
def test_in_binary_content_the_length_stays(secret: str) -> None:
    content = b"\x89PNG\x00" + bytes(range(200)) + b" " + secret.encode() + b" \x00\xff" * 20
    made = base64.b64decode(REDACTOR.clean(base64.b64encode(content)), validate=True)
    assert made == content.replace(secret.encode(), b"*" * len(secret))


def test_a_short_base64_of_a_known_secret_keeps_its_length() -> None:
    for text in (KNOWN, f"a{KNOWN}", f"{KNOWN}!", f"ab{KNOWN}"):
        encoded = base64.b64encode(text.encode()).decode()
        made = REDACTOR.clean(f'"{encoded}"'.encode()).decode().strip('"')
        assert len(made) == len(encoded)
        assert KNOWN[2:-2].encode() not in base64.b64decode(made, validate=True)
        assert REDACTOR.leaks(encoded.encode())


def test_of_a_basic_pair_the_whole_is_masked() -> None:
    pair = base64.b64encode(b"user:a-long-password").decode()
    redactor = Redactor()
    redactor.learn_headers({"authorization": f"Basic {pair}"})
    assert (
        redactor.clean(f"Authorization: Basic {pair} {pair}".encode())
        == b"Authorization: Basic [secret] [secret]"
    )


def test_base64_without_secrets_keeps_its_bytes() -> None:
    for raw in (bytes(range(256)) * 40, b"plain words, nothing else, " * 30, b"://a:b@" + bytes(200)):
        encoded = base64.b64encode(raw)
        assert REDACTOR.clean(b'{"a": "' + encoded + b'"}') == b'{"a": "' + encoded + b'"}'


@pytest.mark.parametrize(
    "text", ["A" * 33, "-" * 200, "a" * 32 + "=", "Ab1/" * 9 + "==", '"\\u00', "%", "%4", "%zz" * 9]
)
def test_what_only_looks_encoded_passes(text: str) -> None:
    assert REDACTOR.clean(text.encode()) == text.encode()


def test_forms_inside_base64_hold_for_every_neighbour() -> None:
    forms = base64_forms(KNOWN.encode())
    for before in (b"", b"a", b"ab", b"abc", b"\xff\xff"):
        for after in (b"", b"z", b"\x00\x01"):
            encoded = base64.b64encode(before + KNOWN.encode() + after)
            assert any(form in encoded for form in forms)
    assert base64_forms(b"abc") == set()


def test_spellings_in_spellings_end_somewhere() -> None:
    text = KNOWN
    for _ in range(12):
        text = json.dumps({"a": text, "b": "\\u003c\\/"})
    assert KNOWN.encode() not in REDACTOR.clean(text.encode())
