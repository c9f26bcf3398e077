"""Labels of columns, elements, fields, cookies and properties: below them are secrets, and as often words about secrets."""

from __future__ import annotations

import json

import pytest

from pytest_llmops.redaction import text_tables
from pytest_llmops.redaction.pytest_reports import mask_report
from pytest_llmops.redaction.redactor import MAX_LEARNED, Redactor
from pytest_llmops.redaction.secret_names import MASK, is_secret_name

PASSWORD = "h4xX0rY7" + "kkQ9"
KEY = "q8Zt4Lm2Xk9P" + "vB7cR3"

WORDS = [
    # Elements
    '<h3 id="basic-auth">RFC7617-Basic</h3>',
    '<h2 id="oauth">OAuth2.0</h2>',
    '<td id="key">ctrl+alt+F12/aB1cD2eF3</td>',
    '<div name="password">Password123Reset</div>',
    '<parameter name="object_key">img/2024/a1b2.png</parameter>',
    '<parameter name="s3_key">img/2024/a1b2.png</parameter>',
    '<parameter name="code">x1=y2;foo=Bar3;a=b4x9</parameter>',
    '<invoke><parameter name="key">ctrl+shift+F5x1Y2z3W4</parameter></invoke>',
    "<answer_key>B2aC4xD1E7fG3h</answer_key>",
    "<accessCode>Gate7West22b1</accessCode>",
    "<primaryKey>ORD2024x77a8b9</primaryKey>",
    "<verifier>agent2b/claude3</verifier>",
    "<token>&lt;your-token1&gt;</token>",
    '<input name="api_key" value="Enter1Key">',
    # Columns
    "| Feature | Password |\n|---|---|\n| Length | 12-128chars |\n| Rotation | 90days/year |\n| KDF | PBKDF2-SHA256 |",
    "| user | Password |\n|---|---|\n| b | 2024-11-30T10:22:33Z |\n| c | TOTP+WebAuthn2 |",
    "| Endpoint | Credentials |\n|---|---|\n| /v1 | Bearer+X-Org2 |\n| /v2 | OAuth2Client |",
    "| API Key | Scope |\n|---|---|\n| Production1 | read |\n| header:X-Key1 | all |",
    "| Endpoint | Access token |\n|---|---|\n| /me | user/app+1 |\n| /x | Bot/User2x |",
    "| Hash | Secret |\n|---|---|\n| SHA256 | HMAC-SHA512/256 |",
    "| Field | Primary key |\n|---|---|\n| orders | a1b2c3d4e5f6g7 |",
    "| Coin | Token |\n|---|---|\n| A | 0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48 |",
    "id,access code,room\n1,a1b2c3d4e5f6,A\n",
    "question,answer key,points\nQ1,A1b2C3d4E5f6,5\n",
    "date;secret\n1;2024-11-30T10:00:00Z\n",
    # Pairs
    '["jwt", "rs256+jwks1"]',
    '["credential", "user+pass1"]',
    '["token", "2024-11-30T10:22:33Z"]',
    '{"name": "password", "value": "8-64chars/1digit"}',
    '{"name": "access_code", "value": "a1b2c3d4e5f6"}',
    # Cookies
    "Rookie = session=2024rookie1x",
    "bookie: odds_token=2.50-3.75x1a",
    "Cookie: butter=200g_soft1; sugar=100g_white2",
    "Cookie: lang=en-US2024; author=J0hn_Doe84",
    "Set-Cookie: theme=dark-2024v1; Max-Age=3600",
    # Names
    '{"peak_pw": "450kW/320hp1"}',
    '{"street_cred": "hip2hop99x"}',
    '{"ring_bearer": "Frodo1Baggins"}',
    '{"bearer": "Frodo1Baggins"}',
    '{"csrf_protection": "SameSite2/Lax1x"}',
    '{"auth_header": "X-Api-Key2"}',
    '{"sid": "CA1234567890abcdef1234567890abcdef"}',
    '{"token": "0xdAC17F958D2ee523a2206206994597C13D831ec7"}',
    '{"seed": "9f86d081884c7d659a2feaa0c55ad015", "random_seed": "9f86d081884c7d659a2feaa0c55ad015"}',
]
SECRETS = [
    # Names that a head of CSV knows
    *(
        f"user,{head}\nbob,KEY\n"
        for head in "pw passwd creds totp csrf sid auth jwt bearer sas mnemonic connection_string".split()  # noqa: SIM905
    ),
    "user, password, age\nal, none, 4\nbob, PASSWORD, 3\n",
    'user,password\n"Smith, Al",none\n"Roe, Bob",PASSWORD\n',
    "| user | Connection string |\n|---|---|\n| bob | PASSWORD! |\n",
    # Spellings
    'Set-Cookie: sid="PASSWORD"; Path=/',
    "COOKIE: zid=PASSWORD",
    "Cookie: theme=KEY",
    '<INPUT TYPE="hidden" NAME="csrf_token" VALUE="PASSWORD">',
    '<input type="PASSWORD" value="PASSWORD1">',
    "<config>\n  <password>\n    PASSWORD\n  </password>\n</config>",
    '<parameter name="password">PASSWORD</parameter>',
    '{"db_pw": "KEY", "n": 1}',
]


def clean(text: str) -> str:
    return Redactor().clean(text.encode()).decode()


@pytest.mark.slow
@pytest.mark.parametrize("text", WORDS)
def test_words_below_a_label_stay(text: str) -> None:
    assert clean(text) == text
    assert clean(json.dumps({"content": text})) == json.dumps({"content": text})


@pytest.mark.parametrize("form", SECRETS)
def test_a_secret_below_a_label_is_masked(form: str) -> None:
    text = form.replace('"PASSWORD"', f'"{PASSWORD}"').replace("PASSWORD", PASSWORD).replace("KEY", KEY)
    text = text.replace(f'type="{PASSWORD}"', 'type="PASSWORD"')
    for spelling in (text, json.dumps({"content": text})):
        masked = clean(spelling)
        assert MASK in masked
        assert not [secret for secret in (PASSWORD, KEY) if secret in masked]
        assert clean(masked) == masked


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("first_pass", "succeeded"),
        ("primary_key", "customer_id"),
        ("leaked_secrets", "none found"),
        ("prompt_tokens_total", 1234567890),
        ("model_key", "claude-sonnet-4"),
        ("user_password", MASK),
        ("client_secret", MASK),
        ("api_key", MASK),
    ],
)
def test_a_property_for_junit_stays_unless_it_is_a_secret(name: str, value: object) -> None:
    report = pytest.TestReport("a.py::test", ("a.py", 1, "test"), {}, "passed", None, "call")
    given = value
    if value == MASK:
        given = KEY
    report.user_properties = [(name, given)]
    mask_report(report, Redactor().clean_text)
    assert report.user_properties == [(name, value)]


@pytest.mark.parametrize("name", ["openpat", "portsas", "hooksig"])
def test_a_word_that_only_ends_like_a_secret_is_none(name: str) -> None:
    assert not is_secret_name(name)


@pytest.mark.parametrize("name", ["code_verifier", "authcode", "openaikey", "user_pw", "phpsessid", "hotp"])
def test_a_word_that_is_written_together_is_still_a_secret(name: str) -> None:
    assert is_secret_name(name)


def test_a_line_starts_behind_a_line_end_or_in_a_string_of_json() -> None:
    lines = [b"a", b'{"x": "a', b'{\\"x\\":\\"a', b"\\n", b"\n"]
    for line in lines:
        data = line + b"|b"
        assert text_tables._find_line_start(data, data.index(b"|")) == len(line.removesuffix(b"a"))


def test_of_a_long_table_not_all_values_are_looked_for_elsewhere() -> None:
    rows = [f"bob,q8Zt4Lm2Xk{number:04}" for number in range(MAX_LEARNED + 50)]
    redactor = Redactor()
    masked = redactor.clean_text("\n".join(["user,password", *rows]))
    assert masked.count(MASK) == len(rows)
    assert len(redactor.known) == MAX_LEARNED
