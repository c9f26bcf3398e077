from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote, quote_plus

import pytest
from support.planted import A1, FOLLOWING, PEM, SECRETS
from support.vendor_keys import FORMS, OTHER_PREFIXES, make_key

from pytest_llmops.redaction.patterns import SECRET_SHAPES, SHAPE_GROUPS
from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.redaction.secret_names import MASK, PLACEHOLDER_KEY, mask_params

PLACES: dict[str, Callable[[str], str]] = {
    "bare": lambda secret: secret,
    "in a sentence": lambda secret: f"use {secret}, please",
    "in JSON": lambda secret: json.dumps({"key": secret}),
    "after a JSON line end": lambda secret: json.dumps(f"first line\n{secret}\nlast"),
    "after a JSON tab": lambda secret: json.dumps(f"\t{secret}"),
    "after a JSON escape": lambda secret: json.dumps(f"\u2028{secret}"),
    "in JSON in JSON": lambda secret: json.dumps({"arguments": json.dumps({"text": f"\n{secret}"})}),
    "in a URL": lambda secret: f"https://a.example/?next=x%20{secret}&b=1",
    "assigned": lambda secret: f"OPENAI_API_KEY={secret}",
    "quoted": lambda secret: f"key='{secret}'",
}


def cleaned(text: str) -> str:
    return Redactor().clean(text.encode()).decode()


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", SECRETS)
def test_known_shapes_are_masked_wherever_they_stand(kind: str, place: str) -> None:
    secret = SECRETS[kind]
    text = PLACES[place](secret)
    assert Redactor().leaks(text.encode())
    made = cleaned(text)
    assert secret[8:] not in made
    assert made == PLACES[place]("@@").replace("@@", MASK)
    assert not Redactor().leaks(made.encode())


@pytest.mark.parametrize("kind", FOLLOWING)
def test_secrets_behind_their_name_are_masked(kind: str) -> None:
    name, secret = FOLLOWING[kind]
    made = cleaned(f"{name}{secret}@host" if kind == "database" else f"{name}{secret}")
    assert secret not in made
    assert made.startswith(f"{name}{MASK}")
    assert not Redactor().leaks(made.encode())


@pytest.mark.parametrize("kind", ["", "RSA ", "EC ", "OPENSSH ", "ENCRYPTED "])
def test_private_keys_are_masked_also_in_json(kind: str) -> None:
    pem = PEM.format(kind)
    assert cleaned(f"a {pem} b") == f"a {MASK} b"
    assert json.loads(cleaned(json.dumps({"key": pem, "after": 1}))) == {"key": MASK, "after": 1}


def test_a_private_key_without_an_end_takes_no_text_with_it() -> None:
    text = "-----BEGIN PRIVATE KEY-----\n" * 2000
    assert cleaned(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "risk-management-strategies-of-2024",
        "task-oriented-dialogue-systems-2023",
        "disk-partitioning-schemes-v2-long",
        "desk-research-methodology-2-of-2",
        "sk-learn-compatible-estimators",
        "bearer of internationalization responsibilities",
        "basic understanding of mathematics",
        "xai-explainable-artificial-intelligence",
        "hf_transformers_pipeline",
        "the AKIAK people",
        "see https://example.com:8080/a@b and http://host/path",
        "eyJust.eyJust.a",
        "ghp_ is the prefix of a GitHub token",
        "signature=short&sig=abc",
        "pypi-packages-that-nobody-should-ever-really-want-to-install-at-all",
        "git@github.com:user/repo.git",
        "mailto:someone@example.com",
        "https://[::1]:8080/v1",
        "SG.1 and sk- and Bearer and eyJ",
        "npm_config_registry",
        "api_key=os.environ['OPENAI_API_KEY_2']",
        "api_key=settings.model2key_of_the_user",
        "password: must hold 8 characters and 2digits",
        "password=get_password2(user1234567890)",
        '{"next_page_token": "CAUQAA1234567890abcdef"}',
        '{"key": "gen_ai.prompt.0.role", "value": {"stringValue": "system"}}',
        "access_token: str = Field(default_factory=token4tests)",
        "client_secret = clientsecretsareneverwritten",
        "org-chart-of-the-year-2024 and org-mode",
        "proj_root and pa-systems-of-the-1990s",
        "org-abcdefghijklmnopqrstuvwxyz",
        "3f2504e0-4f89-11d3-9a0c-0305e82c3301",
        "da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "KeyError and TokenError, the monkey Keyword",
        "crossword 12345678901234567890abc",
        "a" * 500,
    ],
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert cleaned(text) == text
    assert cleaned(json.dumps({"text": f"\n{text}"})) == json.dumps({"text": f"\n{text}"})


@pytest.mark.parametrize("value", ["QXW-MNB-KJH-771-AB", "q3w9-m2b8-k5h1-z7p4", "qw7er8ty9ui2op3as4"])
def test_a_random_value_under_a_general_name_is_masked(value: str) -> None:
    assert cleaned(json.dumps({"key": value})) == '{"key": "[secret]"}'


def test_every_shape_is_tried() -> None:
    samples = [*SECRETS.values(), *(a + b for a, b in FOLLOWING.values()), "postgres://u:p@h", PEM.format("")]
    variants = [sample.replace("ghp_", f"gh{kind}_") for sample in samples for kind in "pours"]
    variants += [sample.replace("sk_live", name) for sample in samples for name in ("sk_test", "rk_live")]
    variants += [
        "BEARER " + A1[:30],
        "basic " + A1[:30],
        "Private-Lines: 2\nAAAA",
    ]
    keys = [make_key(service) for service in FORMS]
    for prefix, others in OTHER_PREFIXES.items():
        variants += [key.replace(prefix, other) for key in keys for other in others if key.startswith(prefix)]
    variants += keys
    marks = {
        shape.mark
        for shape in SECRET_SHAPES
        for sample in [*samples, *variants]
        if shape.pattern.search(sample.encode())
    }
    assert marks == {shape.mark for shape in SECRET_SHAPES}
    assert {shape.mark for group in SHAPE_GROUPS for shape in group.shapes} == marks


@pytest.mark.parametrize(
    "spelled",
    [
        lambda secret: secret.encode(),
        lambda secret: json.dumps({"x": secret}).encode(),
        lambda secret: json.dumps({"x": secret}, ensure_ascii=False).encode(),
        lambda secret: f"https://a.example/?x={quote(secret, safe='')}".encode(),
        lambda secret: f"x={quote_plus(secret)}&y=1".encode(),
    ],
)
def test_a_known_secret_is_masked_in_every_spelling(spelled: Callable[[str], bytes]) -> None:
    secret = 'pä"ss wo/rd\\1\n2'
    redactor = Redactor(known={secret})
    made = redactor.clean(spelled(secret))
    assert MASK.encode() in made
    assert b"ss" not in made.replace(MASK.encode(), b"").replace(b"https", b"")
    assert not redactor.leaks(made)


@pytest.mark.slow
@pytest.mark.parametrize(
    "secret",
    [
        "plain-secret",
        'it\'s "quoted" twice',
        "\"begins with' a quote",
        "'begins with\" an apostrophe",
        "\\begins with\\ a 'backslash\"",
        "has a\nline end, '\"",
        "has\x1ban escape\x00 '\"",
        "\x7fbegins unprintable",
        "ümlaut of 'a \"user",
        "\U0001f511 and 'a \"key",
    ],
)
@pytest.mark.parametrize(
    "form", [repr, ascii, lambda secret: repr(secret.encode())], ids=["str", "ascii", "bytes"]
)
def test_a_known_secret_is_masked_in_what_python_shows_from_its_first_character_to_its_last(
    secret: str, form: Callable[[str], str]
) -> None:
    quoted = form(secret)
    inner = quoted.removeprefix("b")[1:-1]
    redactor = Redactor(known={secret})
    assert redactor.clean_text(quoted) == quoted.replace(inner, MASK)
    for before, after in (("", ""), ("\\n", ""), ("\\", "\\"), ("\\x1b", "\\n"), ("\\'", "\\'"), ("x", "x")):
        assert redactor.clean_text(f"{before}{inner}{after}") == f"{before}{MASK}{after}"
    assert redactor.clean_text(f"{{'a': {quoted}}}") == f"{{'a': {quoted.replace(inner, MASK)}}}"


def test_the_longest_secret_goes_first() -> None:
    redactor = Redactor(known={"password1", "password1-and-more"})
    assert redactor.clean(b"x password1-and-more y") == b"x [secret] y"


def test_values_of_secret_variables_are_known() -> None:
    environ = {
        "OPENAI_API_KEY": "value-one",
        "MY_TOKEN": "value-two\n",
        "db_password": "value-three",
        "APP_SECRET": "value-four",
        "GOOGLE_CREDENTIALS": "value-five",
        "SHORT_KEY": "abc",
        "EMPTY_KEY": "",
        "DB_PASS": "value-six",
        "GH_PAT": "value-seven",
        "PG_DSN": "value-eight",
        "OPENAI_API_KEY_2": "value-nine",
        "SECRET_KEY_BASE": "value-ten",
        "AWS_ACCESS_KEY_ID": "value-eleven",
        "TEAM_WEBHOOK_URL": "value-twelve",
        "PHPSESSID": "value-thirteen",
        "PWD": "/home/someone",
        "PATH": "/usr/local/bin",
        "COMPASS": "north-west",
        "SSH_AUTH_SOCK": "/tmp/ssh-agent",
        "ANTHROPIC_API_KEY": PLACEHOLDER_KEY,
        "MODEL": "value-model",
        "KEYBOARD": "value-keyboard",
    }
    redactor = Redactor.from_environment(environ)
    numbers = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven"]
    numbers += ["twelve", "thirteen"]
    assert redactor.known == {f"value-{number}" for number in numbers}
    assert redactor.clean_text("value-one value-model abc") == "[secret] value-model abc"


def test_a_redactor_does_not_show_what_it_knows() -> None:
    redactor = Redactor(known={"password1", "päss'wörd\"1"})
    redactor.clean_text("say password1")
    representation = repr(redactor)
    assert representation.startswith("Redactor(")
    assert not [part for part in ("password1", "cGFzc3dvcmQ", "wörd") if part in representation]


def test_a_secret_has_eight_characters_at_least() -> None:
    redactor = Redactor(known={"a-secret", "asecret"})
    assert redactor.known == {"a-secret"}
    assert redactor.clean_text("a-secret asecret") == "[secret] asecret"
    redactor.learn(["a-token", MASK, PLACEHOLDER_KEY, "  padded  "])
    assert redactor.known == {"a-secret"}


@pytest.mark.parametrize(
    ("name", "value", "learned"),
    [
        ("Authorization", "Bearer credential-1", {"credential-1"}),
        ("authorization", "credential-without-scheme", {"credential-without-scheme"}),
        ("x-api-key", "credential with spaces", {"credential with spaces"}),
        ("api-key", " padded-credential ", {"padded-credential"}),
        ("OpenAI-Organization", "org-1234567", {"org-1234567"}),
        (
            "cookie",
            "session=first-cookie; theme=dark; token=second-cookie",
            {"first-cookie", "second-cookie"},
        ),
        ("accept", "application/json", set()),
        ("idempotency-key", "3f2504e0-4f89-11d3-9a0c", set()),
        ("authorization", f"Bearer {PLACEHOLDER_KEY}", set()),
        ("authorization", "Bearer none", set()),
    ],
)
def test_credentials_of_a_request_are_learned(name: str, value: str, learned: set[str]) -> None:
    redactor = Redactor()
    redactor.learn_headers({name: value})
    assert redactor.known == learned


def test_of_a_basic_credential_the_password_is_learned() -> None:
    encoded = base64.b64encode(b"user:long-password").decode()
    redactor = Redactor()
    redactor.learn_headers({"authorization": f"Basic {encoded}"})
    assert redactor.known == {encoded, "user:long-password", "long-password"}
    redactor.learn_headers({"authorization": "Basic not-base64!"})
    assert "not-base64!" in redactor.known


@pytest.mark.parametrize(
    "credential",
    [
        "dXNlcjpsb25nLXBhc3N3b3JkMg=",  # one "=" of two
        "dXNlcjpsb25nLXBhc3N3b3JkMg",  # none of two
        "dXNl cjpsb25nLXBhc3N3b3Jk",
        "dXNl!cjpsb25nLXBhc3N3b3Jk",
        "dXNlcjpwfn4-_3Bhc3N3b3JkMTIz",  # of the alphabet for URLs
        "_w==dXNlcjpwYXNz",
        "/////////w==",  # bytes that are no text
        "abcdefghi",
    ],
)
def test_of_a_basic_credential_that_is_no_base64_of_a_text_the_whole_is_learned(credential: str) -> None:
    redactor = Redactor()
    redactor.learn_headers({"authorization": f"Basic {credential}"})
    assert redactor.known == {credential}
    assert redactor.clean_text(f"<{credential}>") == f"<{MASK}>"


@pytest.mark.parametrize(
    ("pair", "learned"),
    [
        ("user:password-1", {"user:password-1", "password-1"}),
        ("user:pass:word:1", {"user:pass:word:1", "pass:word:1"}),
        (":password-1", {":password-1", "password-1"}),
        ("the-user:", {"the-user:"}),
        ("token-without-colon", {"token-without-colon"}),
        ("us\u00e9r:p\u00e4ssword\u00ff", {"us\u00e9r:p\u00e4ssword\u00ff", "p\u00e4ssword\u00ff"}),
    ],
)
@pytest.mark.parametrize("scheme", ["Basic", "basic", "BASIC"])
def test_of_a_basic_credential_the_pair_and_the_password_are_learned(
    scheme: str, pair: str, learned: set[str]
) -> None:
    encoded = base64.b64encode(pair.encode()).decode()
    redactor = Redactor()
    redactor.learn_headers({"Authorization": f" {scheme} {encoded} "})
    assert redactor.known == learned | {encoded}
    bearer = Redactor()
    bearer.learn_headers({"Authorization": f"Bearer {encoded}"})
    assert bearer.known == {encoded}


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("https://user:pw@host/x", "https://[secret]@host/x"),
        ("https://user:p%40ss%3Aword@host:8080/", "https://[secret]@host:8080/"),
        ("https://user:dXNlcjpwYXNz==@host", "https://[secret]@host"),
        ("redis://:pw@host:6379/0", "redis://[secret]@host:6379/0"),
        ("https://user@host/x", "https://user@host/x"),
        ("https://user:@host/x", "https://user:@host/x"),
        ("https://host:8080/a:b@c", "https://host:8080/a:b@c"),
    ],
)
def test_a_user_and_a_password_in_a_url_are_masked(url: str, masked: str) -> None:
    assert cleaned(url) == masked
    assert cleaned(f"see {url} there") == f"see {masked} there"


def test_of_a_secret_of_several_lines_each_long_one_is_learned() -> None:
    pem = PEM.format("")
    for value in (pem, pem.replace("\n", "\\n")):
        redactor = Redactor(known={value})
        assert redactor.clean_text("it says MIIEvQIBADANBgkqhkiG9w0BAQ.") == "it says [secret]."
        assert redactor.clean_text(f"<{value}>") == "<[secret]>"
        assert (
            redactor.clean_text("abc/+== -----BEGIN PRIVATE KEY-----")
            == "abc/+== -----BEGIN PRIVATE KEY-----"
        )


@pytest.mark.parametrize(
    ("name", "value", "learned"),
    [
        (
            "set-cookie",
            "__cf_bm=a1b2c3d4e5; path=/; expires=Tue, 24-Nov-26 18:00:00 GMT; HttpOnly",
            {"a1b2c3d4e5"},
        ),
        ("Set-Cookie", 'one=first1234; Path=/, two="second5678"; Secure', {"first1234", "second5678"}),
        ("set-cookie", "theme=dark-and-quiet; lang=en", set()),
        ("openai-organization", "user-a1b2c3d4", {"user-a1b2c3d4"}),
        ("openai-organization", "microsoft", set()),
        ("x-request-id", "a1b2c3d4e5", set()),
        ("content-type", "application/json", set()),
    ],
)
def test_what_an_answer_s_headers_say_of_the_account_is_learned(
    name: str, value: str, learned: set[str]
) -> None:
    redactor = Redactor()
    redactor.learn_response_headers({name: value})
    assert redactor.known == learned


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("{'key': 'my-long-pass...'}", "{'key': '...'}"),
        ("...ng-password-1 is it", "... is it"),
        ("'my-lo...ord-1' and my-lo", "'...' and my-lo"),
        ("my-... and ...d-1", "my-... and ...d-1"),
        ("and so on ... and so on", "and so on ... and so on"),
        ("my-long-password-1...", "[secret]..."),
        ("token = 'eyJhbG...UzI1.eyJzdWIiOiIxMjM.a1B2c3'", "token = '[secret]'"),
        ("'-----BEGIN PRIV...MIIEvQ/+==\\n-----END PRIVATE KEY-----' x", "'-----BEGIN PRIV...' x"),
        ("'-----BEGIN PRIVATE KEY-----\\nMIIE vQ...abc' and", "'...abc' and"),
        ("the PRIVATE KEY is ... and not here", "the PRIVATE KEY is ... and not here"),
        ("a long path/to/some/file... and more", "a long path/to/some/file... and more"),
    ],
)
def test_what_pytest_cuts_short_is_cut_shorter(text: str, masked: str) -> None:
    assert Redactor(known={"my-long-password-1"}).clean_excerpt(text) == masked


def test_long_texts_are_not_kept() -> None:
    redactor = Redactor()
    redactor.clean_text("short")
    redactor.clean_text("long " * 1000)
    assert redactor._texts == {"short": "short"}


def test_the_users_redactors_are_applied_in_order() -> None:
    redactor = Redactor(
        known={"secret-b"}, extra=(lambda text: text.replace("a", "b"), lambda text: text.upper())
    )
    assert redactor.clean(b"secret-a") == b"SECRET-B"
    assert Redactor(extra=(lambda text: text.replace("x", ""),)).clean(b"\xffx\xfe") == b"\xff\xfe"


DOUBLED = "xKey-aabbccddeeff-112233"
SPELLINGS_OF_DOUBLED: dict[str, Callable[[str], str]] = {
    "bare": lambda secret: f"hello {secret} hello",
    "in JSON": lambda secret: json.dumps({"key": secret, "say": "hello"}),
    "in JSON, escaped": lambda secret: json.dumps({"key": secret}).replace("-", "\\u002d"),
    "in a URL": lambda secret: f"https://a.example/?q={quote(secret).replace('-', '%2D')}",
    "in base64": lambda secret: base64.b64encode(f"hello, this is {secret}, hello".encode()).decode(),
    "cut over a stream": lambda secret: (
        f'data: {{"text":"hello {secret[:9]}"}}\n\ndata: {{"text":"{secret[9:]} hello"}}\n\n'
    ),
}


def squeeze(text: str) -> str:
    """A redactor that a user may write: it shortens repeated characters, of a secret too."""
    return re.sub(r"([a-z0-9])\1+", r"\1", text)


def decoded(text: str) -> str:
    return base64.b64decode(text).decode() if text.replace("=", "").isalnum() else text


@pytest.mark.parametrize("place", SPELLINGS_OF_DOUBLED)
@pytest.mark.parametrize("secret", [DOUBLED, f"sk-{'aab1' * 8}"])
def test_a_users_redactor_that_shortens_characters_hides_no_secret_from_us(secret: str, place: str) -> None:
    redactor = Redactor(known={DOUBLED}, extra=(squeeze,))
    made = redactor.clean(SPELLINGS_OF_DOUBLED[place](secret).encode()).decode()
    readable = decoded(made)
    assert MASK in readable
    assert not [part for part in (*DOUBLED.split("-"), "112", "abcdef", "123", "ab1") if part in readable]
    assert "hello" not in readable
    assert not redactor.leaks(made.encode())
    assert redactor.clean(made.encode()).decode() == made


def test_behind_a_users_redactor_json_is_json_and_no_placeholder_changes() -> None:
    redactor = Redactor(known={DOUBLED}, extra=(squeeze,))
    body = {"a": DOUBLED, "b": [[{"c": "llama"}]], "d": {"e": {"f": 100}}}
    made = redactor.clean(json.dumps(body).encode())
    assert json.loads(made) == {"a": MASK, "b": [[{"c": "lama"}]], "d": {"e": {"f": 10}}}


def test_a_secret_that_only_a_users_redactor_lays_bare_is_masked() -> None:
    redactor = Redactor(known={"password1"}, extra=(squeeze,))
    assert redactor.clean(b"it is paassword1, or passsword1") == b"it is pasword1, or pasword1"
    redactor.learn(["pasword1"])
    assert redactor.clean(b"it is paassword1, or passsword1") == b"it is [secret], or [secret]"


def test_text_with_lone_surrogates() -> None:
    assert Redactor(known={"password1"}).clean_text("a\ud800password1") == f"a\ud800{MASK}"


def test_a_text_is_cleaned_anew_when_more_is_known() -> None:
    redactor = Redactor()
    assert redactor.clean_text("say password1") == redactor.clean_text("say password1") == "say password1"
    redactor.learn(["password1"])
    assert redactor.clean_text("say password1") == "say [secret]"
    assert [redactor.clean_text(f"{n} password1") for n in range(600)] == [
        f"{n} [secret]" for n in range(600)
    ]


def test_masking_twice_is_masking_once() -> None:
    redactor = Redactor(known={"password1"})
    once = redactor.clean(f"password1 {SECRETS['openai']} postgres://u:p@h Bearer {A1}".encode())
    assert redactor.clean(once) == once
    assert not redactor.leaks(once)


def test_empty() -> None:
    assert Redactor(extra=(lambda _: "x",)).clean(b"") == b""
    assert not Redactor().leaks(b"")


def test_parameters_of_a_form() -> None:
    assert mask_params(b"a=1&Client_Secret=x&password=y+z&b=2") == (
        b"a=1&Client_Secret=[secret]&password=[secret]&b=2"
    )
    assert mask_params(b"https://h/?sig=a%2Fb#f") == b"https://h/?sig=[secret]#f"
    assert mask_params(b"monkey=1&mykey=2") == b"monkey=1&mykey=2"


def test_values_of_secret_parameters_are_learned() -> None:
    redactor = Redactor()
    redactor.learn_params(b"https://h/?a=public-value&key=value%2Bone+1&b=2")
    redactor.learn_params(b"client_secret=value-two&user=somebody-else")
    assert redactor.known == {"value+one 1", "value-two"}


@pytest.mark.slow
def test_threads_that_learn_and_clean_at_once_leak_nothing() -> None:
    redactor = Redactor()
    start = threading.Barrier(8)

    def work(number: int) -> list[bytes]:
        start.wait()
        leaked = []
        for round_ in range(30):
            secret = f"credential-{number}-{round_}"
            redactor.learn_headers({"authorization": f"Bearer {secret}"})
            made = redactor.clean(f"<{secret}>".encode())
            if made != b"<[secret]>":
                leaked.append(made)
        return leaked

    with ThreadPoolExecutor(8) as pool:
        assert [leak for result in pool.map(work, range(8)) for leak in result] == []
