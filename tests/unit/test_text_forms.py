"""Secrets that only the text around them tells, and sentences about passwords that hold none."""

from __future__ import annotations

import json

import pytest

from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.redaction.secret_names import MASK, is_secret_name

PASSWORD = "h4xX0rY7" + "kkQ9"
KEY = "q8Zt4Lm2Xk9P" + "vB7cR3"
HEX = "9944b09199c62bcf" + "9418ad846dd0e4bb"
PHRASE = "abandon ability able about above absent absorb abstract absurd abuse access accident"

PAIRS = {
    "name and value": '{"name": "X-Api-Key", "value": "PASSWORD"}',
    "value and name": '{"value": "PASSWORD", "enabled": true, "key": "db_password"}',
    "a list": '["x-api-key", "PASSWORD"]',
    "a list with a scheme": '["Authorization", "Token PASSWORD"]',
    "a member with a scheme": '{"headers": {"Authorization": "Token PASSWORD"}}',
    "a set cookie": "HTTP/1.1 200\r\nSet-Cookie: zid=PASSWORD; Path=/; HttpOnly\r\n",
    "a set cookie in JSON": '{"Set-Cookie": "zid=PASSWORD; Path=/"}',
    "cookies": "Cookie: theme=dark; zid=PASSWORD",
    "a list of cookies": '{"cookie": ["zid=PASSWORD; Path=/"]}',
}
MARKUP = {
    "an element": "<password>PASSWORD</password>",
    "an element with a prefix": '<db:apiToken kind="x">PASSWORD</db:apiToken>',
    "CDATA": "<secret><![CDATA[PASSWORD]]></secret>",
    "an attribute": '<user name="bob" password="PASSWORD"/>',
    ".NET": '<add key="ApiKey" value="PASSWORD"/>',
    "Java": '<entry key="db.password">PASSWORD</entry>',
    "a property list": "<key>apiKey</key>\n  <string>PASSWORD</string>",
    "a hidden field": '<input type="hidden" name="csrf_token" value="PASSWORD">',
    "a field without quotes": "<input type=hidden name=csrfmiddlewaretoken value=PASSWORD>",
    "a field for a password": '<input value="PASSWORD" type="password">',
    "a meta tag": '<meta name="csrf-token" content="PASSWORD">',
}
TABLES = {
    "Markdown": "| user | password |\n|---|---|\n| bob | PASSWORD |\n| al | none |\n",
    "Markdown, code": "Here:\n\n| User | API key |\n|:--|--:|\n| al | - |\n| bob | `PASSWORD` |",
    "CSV": "user,password,age\nal,none,4\nbob,PASSWORD,3\n",
    "CSV, first column": "password,user\nPASSWORD,bob\n",
    "CSV, quoted": '"user","api_key"\n"bob","PASSWORD"\n',
    "semicolons": "user;Access Token\nbob;PASSWORD",
    "tabs": "user\tapi key\nbob\tPASSWORD",
}
COMMANDS = {
    "curl": "curl -s -u bob:PASSWORD https://a.example/x",
    "curl, long": 'curl --user "bob:PASSWORD" https://a.example/x',
    "a password": "tool --password PASSWORD run",
    "a key": "tool --api-key=PASSWORD run",
    "a list of arguments": '["tool", "--client-secret", "PASSWORD"]',
    "mysql": "mysql -u root -pPASSWORD shop",
    "sshpass": "sshpass -p PASSWORD ssh bob@a.example",
    "docker": "docker login -u bob -p PASSWORD",
    "curl, joined options": "curl -sSu bob:PASSWORD https://a.example/x",
    "curl, continued": "curl 'https://a.example/x?a=1&b=2' \\\n  -H 'Accept: a; q=1' \\\n  -u bob:PASSWORD",
    "curl, a key": "curl -u KEY: https://a.example/x",
    "httpie": "http -a bob:PASSWORD a.example/x",
    "mysqldump": "cd x; mysqldump -pPASSWORD shop | gzip",
    "redis": "redis-cli -a PASSWORD ping",
    "in backticks": "Run `tool --password PASSWORD`.",
    "in brackets": "(run --password PASSWORD), please",
    "in bold": "**--api-key PASSWORD**: as told",
    "netrc, default": "default login bob password PASSWORD",
    "netrc, account": "machine a.example login bob account x password PASSWORD",
    "netrc, another order": "machine a.example password PASSWORD login bob",
    "netrc": "machine a.example login bob password PASSWORD",
    "netrc, lines": "machine a.example\n  login bob\n  password PASSWORD\n",
    "a connection string": "Server=tcp:db.example,1433;User ID=sa;Password=PASSWORD!x;Encrypt=True",
}
ADDRESSES = {
    "a token in a path": "https://a.example/api/token/KEY/x",
    "a hook": "https://chat.example/hooks/KEY",
    "a webhook": '{"webhook_url": "https://hook.example/KEY"}',
    "a bot": "https://api.telegram.org/bot123456789:AA" + "aB3dE5gH7jK9mN1pQ3sT5vX7zA9cD1fG2h" + "/getMe",
    "a signature": "https://x.example/a?sv=1&sig=KEY",
    "a reset": "https://a.example/reset-password/KEY",
    "a session": "https://x.example/a;jsessionid=KEY?x=1",
}
FORMS = {**PAIRS, **MARKUP, **TABLES, **COMMANDS, **ADDRESSES}

NAMES = """
pw passwd pwd pswd pass_word passphrase pass_phrase user_pw creds db_creds private_key privateKey privkey totp totp_secret csrf _csrf
xsrf csrf_token sas bearer auth_header authHeader connectionString conn_string JSESSIONID PHPSESSID sessionid sid connect.sid
seed_phrase webhook_secret
""".split()  # noqa: SIM905 -- shorter


def clean(text: str) -> str:
    return Redactor().clean(text.encode()).decode()


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_a_secret_is_masked_by_the_text_around_it(form: str) -> None:
    text = FORMS[form].replace("PASSWORD", PASSWORD).replace("KEY", KEY)
    spellings = {"bare": text, "in JSON": json.dumps({"content": text, "n": 1})}
    spellings["in JSON in JSON"] = json.dumps({"arguments": json.dumps({"text": text})})
    for spelling in spellings.values():
        masked = clean(spelling)
        assert MASK in masked
        assert not [secret for secret in (PASSWORD, KEY, "aB3dE5gH") if secret in masked]
        assert clean(masked) == masked
    json.loads(clean(spellings["in JSON"]))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_value_of_a_name_is_masked(name: str) -> None:
    assert clean(json.dumps({name: KEY})) == json.dumps({name: MASK})
    assert clean(json.dumps({"text": json.dumps({name: KEY})})) == json.dumps(
        {"text": json.dumps({name: MASK})}
    )


@pytest.mark.parametrize(
    "value",
    [
        "7b3e9f2a1c4d5e6f8a9b0c1d2e3f4a5b",
        "01JDX9M2QZ7V5T8B3N4K6P1R0S",
        "V1StGXR8_Z5jdHi6B-myT",
        "ckopqwooh000001la8mbi2im9",
        "agent:main:tg2024:42a1",
        "2024-11-30T10-22-33Z-user42",
    ],
)
def test_the_session_of_an_agent_stays_in_json(value: str) -> None:
    for name in ("session_id", "sessionId", "agentSessionID", "mcp-session-id"):
        for text in (json.dumps({name: value}), json.dumps({"text": json.dumps({name: value})})):
            assert clean(text) == text
    assert clean(f"agent.run(session_id='{value}')") == f"agent.run(session_id='{value}')"


def test_the_session_of_a_user_is_masked_in_cookies_and_forms() -> None:
    for text in (f"session_id={KEY}&x=1", f"Cookie: a=b; session_id={KEY}", f"x%26sessionId%3D{KEY}%26y"):
        assert KEY not in clean(text)
    for name in ("sessionid", "JSESSIONID", "PHPSESSID", "connect.sid", "ASP.NET_SessionId"):
        assert clean(json.dumps({name: KEY})) == json.dumps({name: MASK})
        assert KEY not in clean(f"Set-Cookie: {name}={KEY}; Path=/")


@pytest.mark.parametrize("name", ["seed", "mnemonic", "seed_phrase", "recoveryPhrase"])
def test_the_phrase_of_a_wallet_is_masked(name: str) -> None:
    assert clean(json.dumps({name: PHRASE})) == json.dumps({name: MASK})
    assert clean(f"My seed phrase: {PHRASE}.") == f"My seed phrase: {MASK}."
    assert clean(json.dumps({"wallet_seed": HEX})) == json.dumps({"wallet_seed": MASK})


@pytest.mark.parametrize(
    "form",
    [
        "tool --password 'SECRET'",
        "<password>SECRET</password>",
        '{"name": "password", "value": "SECRET"}',
        "Server=x;Password=SECRET;Encrypt=True",
    ],
)
@pytest.mark.parametrize("secret", ["pa$sW0rd12x", "pa(ss)W0rd12", "!h4[xX0rY7kk", "x{7}W0rd12x!y"])
def test_a_secret_may_have_signs_of_code(form: str, secret: str) -> None:
    assert secret not in clean(form.replace("SECRET", secret))


@pytest.mark.parametrize("name", ["api_key", "password", "key"])
@pytest.mark.parametrize(
    "key",
    ["/8Zt4Lm2Xk9PvB7cR3q8Zt4Lm2Xk9Pv8Zt4Lm2XkA==", "/t4Lm2Xk9PvB7cR3q8Zt/Lm2Xk9Pv8Zt4Lm2XkAB"],
)
def test_a_key_may_begin_like_a_path(name: str, key: str) -> None:
    for text in (json.dumps({name: key}), f"{name}={key}", f"tool --api-{name} {key}"):
        assert key not in clean(text)


def test_the_signature_of_an_address_is_masked_to_its_end() -> None:
    signature = "Z%2FRHIX5Xcg0Mq2rqI3OlWTjEg2tYkboXr1P9ZUXDtkk%3D"
    for text in (
        f"https://a.example/c?sv=1&sig={signature}&se=2",
        f"SharedAccessSignature sr=x&sig={signature}",
    ):
        assert clean(text) == text.replace(signature, MASK)
    token = "IQoJb3JpZ2luX2VjEJr%2F%2F%2FabcDEF123"
    text = f"https://s3.example/b?X-Amz-Security-Token={token}&x=1"
    assert clean(text) == text.replace(token, MASK)
    encoded = f"https%3A%2F%2Fa.example%2F%3Fclient_secret%3D{KEY}%26page%3Dtwo"
    assert clean(encoded) == encoded.replace(KEY, MASK)


def test_the_mark_behind_a_value_is_no_part_of_it() -> None:
    for text in (f"`--password {PASSWORD}`", f"(--password {PASSWORD})", f"**--password {PASSWORD}**."):
        redactor = Redactor()
        assert redactor.clean_text(text) == text.replace(PASSWORD, MASK)
        assert redactor.clean_text(f"It is {PASSWORD}!") == f"It is {MASK}!"


def test_what_was_seen_in_a_form_is_masked_elsewhere() -> None:
    assert PASSWORD not in clean(f"<password>{PASSWORD}</password>, which is {PASSWORD}")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("| user | password |\n|---|---|\n| bob | argon2/x4Scrypt |", "argon2/x4Scrypt"),
        ("<password>Summer2024!x</password>", "Summer2024!x"),
        ("Set-Cookie: view=a1B2c3D4e5F6g7H8; Path=/", "a1B2c3D4e5F6g7H8"),
        ("https://chat.example/hooks/q8Zt4Lm2Xk9PvB7c", "q8Zt4Lm2Xk9PvB7c"),
    ],
)
def test_what_may_be_a_word_is_masked_only_where_it_was_found(text: str, word: str) -> None:
    redactor = Redactor()
    assert word not in redactor.clean_text(text)
    assert redactor.clean_text(f"Explain {word} to me") == f"Explain {word} to me"


def test_a_mask_that_moves_a_name_nearer_leaves_nothing_for_a_second_look() -> None:
    filler = "x" * 210
    text = f"curl -H 'Authorization: Bearer {KEY}' {filler} --data {'sk-' + KEY * 3} -u bob:{PASSWORD}"
    masked = clean(text)
    assert not Redactor().leaks(masked.encode())
    assert PASSWORD not in masked


@pytest.mark.parametrize(
    "log",
    [
        "return_value=(b'HTTP/1.1', 200, b'OK', [(b'openai-organization', b'acme-corp'), (b'x', b'y')])",
        "HTTP Response: 200 Headers({'openai-organization': 'acme-corp', 'x': 'y'})",
        'Request options: {"headers": {"OpenAI-Organization": "acme-corp"}}',
    ],
)
def test_the_organization_of_an_account_is_masked_in_logs(log: str) -> None:
    redactor = Redactor()
    assert redactor.clean_text(log) == log.replace("acme-corp", MASK)
    assert redactor.clean_text("we at acme-corp") == "we at acme-corp"


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "The password is wrong, and the token: 512 of 4096 are left.",
        "Your password must have at-least-8-characters, e.g. --password your-password-123",
        '{"max_tokens": 512, "seed": 42, "session": "new", "top_logprobs": 5}',
        '{"seed": 1234567890123456, "total_tokens": 12345678901}',
        '{"name": "password", "value": "at-least-8-characters"}',
        '{"name": "get_token", "description": "x1", "parameters": {"value": {"type": "string"}}}',
        '["password", "email_address_2"]',
        '["api_key", "YOUR_API_KEY_2"]',
        "| token | count |\n|---|---|\n| the | 12 |\n| transformer2 | 3 |",
        "| Parameter | Password |\n|---|---|\n| length | min-12-characters |",
        '{"name": "authorization", "value": "required-for-v2"}',
        "| Model | Key idea |\n|---|---|\n| gpt-4o-2024-08-06 | attention2024 |",
        "https://git.example/a/b/blob/main/src/auth/3f2a9c1e5b2d8046a1b2c3d4/x.py",
        '{"request_headers": {"authorization": "2f7", "openai-organization": "a1f"}}',  # digests of a cassette
        "word,token\nhello,15339\nworld,2159\n",
        "Enter user, password, and token\nthen click, wait, and see2024now",
        "<code>da39a3ee5e6b4b0d3255bfef95601890afd80709</code> and <key>Documents/report-2024-01.pdf</key>",
        "<password>string</password> or <token>...</token> or <secret>${DB_PASSWORD_2}</secret>",
        '<input type="password" name="password" placeholder="at least 8">',
        '<input name="query" value="weather-in-paris-2024">',
        "curl -u $USER:$PASSWORD_2 https://a.example",
        "git push -u origin:feature-a1b2c3d4 and grep -p pattern1234567",
        "docker compose exec mysql bash && mkdir -p backups/2024",
        "docker login ghcr.example && docker run -p 5432:5432a",
        "docker login ghcr.example\ndocker run -p 5432:5432a, then\nmkdir -p backups/2024",
        "see https://a.example/x: tool -u origin:feature-a1b2c3d4",
        "mysql -u root -p mydatabase2024 < dump.sql",
        "aws s3api get-object --bucket b --key reports/2024/q3.csv",
        "tool --private-key ./keys/id2024.pem --key=config/key1.json --auth-key ~/.ssh/k1x2y3",
        "gpg --recv-keys 9DC858229FC7DD38854AE2D88D81803C0EBFCD88 --default-key 9DC858229FC7DD38",
        "aws kms encrypt --key-id f47ac10b-58cc-4372-a567-0e02b2c3d479",
        "python train.py --image-token IMAGE_TOKEN_2x2 --token-embedding-dim=1024x768",
        "docker build --secret id=npmrc2,src=.npmrc .",
        "tool --password list[Item2024x] --token {{token2024x}} --secret <secret2024x>",
        "tool --password $(get_password_2) --token-limit 4096 --key /etc/keys/server1.pem",
        "https://a.example/docs/tokens/how-to-count-tokens-2024 and /hooks/use-effect-in-react-18",
        "https://a.example/token/0xdAC17F958D2ee523a2206206994597C13D831ec7 and /tokens/q8Zt4Lm2Xk9PvB7cR3",
        "https://a.example/token/EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v",
        "https://a.example/secrets/550e8400-e29b-41d4-a716-446655440000 and /webhooks/507f1f77bcf86cd799439011",
        "s3://b/keys/a1b2c3d4e5f6a7b8c9d0/file.txt, https://a.example/hooks/useState2ReducerV3x",
        "src/hooks/use3DTransformA1B2c3.ts and https://a.example/v1/keys/9f86d081884c7d65",
        '{"secret": "/v1/Users/a1b2/Key2", "api_key": "/run/secrets/Key_2024"}',
        "https://a.example/v1/keys/rotation/policy-of-2024",
        "The authorization: required, see authorization 2.0; authorization=granted",
        "The recovery phrase: then call the user and ask them what they would like done with this",
        "seed: we need more rain before autumn comes, that is what farmers say about their fields",
        "a cookie: best-before=never; Set-Cookie: theme=dark; Path=/a1b2c3d4; Expires=Tue, 24-Nov-26 18:00:00",
        '{"session_id": "f47ac10b-58cc-4372-a567-0e02b2c3d479", "sessionId": "sess_a1B2c3D4e5F6g7H8"}',
        '{"webhook_url": "https://example.com/webhooks/orders-created"}',
        "credits: 12345678, screed: abcdefgh1234567890, sasquatch=yeti12345678901234",
    ],
)
def test_a_sentence_about_secrets_stays(text: str) -> None:
    assert clean(text) == text
    assert clean(json.dumps({"content": text})) == json.dumps({"content": text})


def test_names_that_are_like_secrets() -> None:
    others = (
        "seed",
        "sidebar",
        "credits",
        "account_sid",
        "header",
        "session_name",
        "pwa",
        "webhook_url",
        "sass",
    )
    assert [name for name in others if is_secret_name(name)] == []
