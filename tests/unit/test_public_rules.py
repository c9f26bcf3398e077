"""Secrets by the public rules: what they find in recordings, what stays, and when the table is read."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from pytest_llmops import redaction
from pytest_llmops.cassettes.request_key import build_question
from pytest_llmops.guardrails import scan, secret_detector
from pytest_llmops.redaction.public_rules import find_public_secrets, read_public_rules, read_published_keys
from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.redaction.secret_names import MASK, is_secret_name

HEX = "3f7a9c1e5b2d8046"
MIXED = "qZ4tR8wLm2Xk9PvB"
UUID = "3f7a9c1e-5b2d-8046-a1b2-3f7a9c1e5b2d"
TOKENS = {
    "pulumi": f"pul-{HEX}{HEX}{HEX[:8]}",
    "shopify": f"shpca_{HEX}{HEX}",
    "gitlab agent": f"glagent-{MIXED * 3}ab",
    "1password": f"A3-{HEX[:6].upper()}-{HEX[:6].upper()}-{HEX[6:11].upper()}-AB1CD-EF2GH-IJ3KL",
    "dynatrace": f"dt0c01.{MIXED}{MIXED[:8]}.{MIXED * 4}",
}
NAMED = {
    "twitter": ("twitter_api = ", f"{MIXED}{MIXED[:9]}"),
    "algolia, JSON in JSON": (r"{\"algoliaAdmin\": \"", f"{HEX}{HEX}"),
    "okta, YAML": ("okta: ", f"00{MIXED}{MIXED}{MIXED[:8]}"),
    "new relic, spaces": ("NEW_RELIC := ", f"{HEX * 4}"),
    "Ruby": ("'my_password' => '", "s3cret$pear"),
    "Go": ("apiSecret := ", f'"{MIXED}"'[1:-1]),
    "Teams, of which the address stays": (
        "https://shop.webhook.office.com/webhookb2/",
        f"{UUID}@{UUID}/IncomingWebhook/{HEX}{HEX}/{UUID}",
    ),
    "a name in capitals behind a prefix": ("MY_HEROKU_KEY=", UUID),
    "a name behind small letters": ("myLinearKey = ", f"{HEX}{HEX}"),
    "a name behind an escaped line end": (r"a\nalgolia: ", f"{HEX}{HEX}"),
    "a name with a group of its own": ("$sonarLogin = ", f"{HEX}{HEX}{HEX[:8]}"),
}
WORDS = """
accountabilities acknowledgements anthropomorphization antidisestablishmentarianism autobiographically bioluminescence
characteristically chlorofluorocarbon circumnavigation commercialization compartmentalization comprehensibility
confidentiality congratulations conscientiousness constitutionality contemporaneously contradistinction conversationally
counterintelligence counterproductive counterrevolutionaries crystallography decentralization deinstitutionalization
disproportionately electrocardiogram electroencephalographically electromagnetically entrepreneurship
environmentalism epidemiologically experimentation extraterritoriality floccinaucinihilipilification gastroenterology
hippopotomonstrosesquippedaliophobia immunohistochemistry incomprehensibilities industrialization institutionalization
instrumentation intercontinental internationalization maintainability microspectrophotometries misinterpretation
neuropharmacology oversimplification photosynthetically pneumonoultramicroscopicsilicovolcanoconiosis
pseudopseudohypoparathyroidism psychotherapeutically recommendations responsibilities spectrophotometrically
supercalifragilisticexpialidocious telecommunications thyroparathyroidectomized transcontinental troubleshooting
uncharacteristically understandability
""".split()  # noqa: SIM905 -- shorter
NOT_RANDOM = (
    "getUserProfileV2",
    "spreadsheets2024",
    "123456789012345",
    "20241130123456789012",
    "a-guide-to-the-new-pricing-of-2024-and-2025",
)
SEPARATORS = (": ", " = ", ", ")
OTHER_RUN = "https://shop.example/article-2024-01"
"""A run of characters with digits makes the words around it searched."""


def list_service_names() -> list[str]:
    table = tomllib.loads(Path(redaction.__file__).with_name("public_rules.toml").read_text(encoding="utf-8"))
    words = {word for row in table["named"] for word in row["words"]}
    return sorted(word for word in words if not is_secret_name(word))  # not `co_api_key`


def cleaned(text: str) -> str:
    return Redactor().clean(text.encode()).decode()


@pytest.mark.parametrize("token", TOKENS.values(), ids=TOKENS)
def test_a_token_of_a_service_is_masked_in_recordings_and_found(token: str) -> None:
    assert cleaned(f"Use {token}, please") == f"Use {MASK}, please"
    assert [token] == [
        f"Use {token}"[found.start : found.end] for found in scan(f"Use {token}", [secret_detector()])
    ]


@pytest.mark.parametrize(("before", "secret"), NAMED.values(), ids=NAMED)
def test_a_secret_behind_the_name_of_its_service_is_masked(before: str, secret: str) -> None:
    quote = before[-1] if before[-1] in "\"'" else ""
    assert cleaned(f"{before}{secret}{quote}") == f"{before}{MASK}{quote}"


@pytest.mark.slow
def test_no_long_word_is_masked_behind_the_name_of_a_service() -> None:
    assert {15, 16, 17, 18, 20, 22, 24, 25, 30, 45} <= set(map(len, WORDS))
    assert len(WORDS) >= 60
    services = list_service_names()
    assert {"dropbox", "linkedin", "confluent", "airtable", "looker"} <= set(services)
    values = [*WORDS, *NOT_RANDOM, "RESPONSIBILITIES", "Troubleshooting"]
    for value in values:
        lines = [f"For {service}{sep}{value} see {OTHER_RUN}" for service in services for sep in SEPARATORS]
        text = "\n".join(lines)
        assert cleaned(text) == text


@pytest.mark.parametrize(
    "pair",
    [
        ("For Dropbox: troubleshooting see", "For Dropbox: synchronization see"),
        ("Our LinkedIn: responsibilities see", "Our LinkedIn: accountabilities see"),
        (f"nonlinear = {HEX}{HEX} see", f"nonlinear = {HEX}{HEX[::-1]} see"),
    ],
)
def test_prompts_that_differ_in_a_word_behind_a_service_have_two_keys(pair: tuple[str, str]) -> None:
    keys = set()
    for prompt in pair:
        body = json.dumps({"prompt": f"{prompt} {OTHER_RUN}"}).encode()
        keys.add(build_question("POST", "https://api.example/v1", {}, body, Redactor()).key)
    assert len(keys) == 2


@pytest.mark.parametrize(
    "text",
    [
        f"twitter posts {MIXED}{MIXED[:9]}",  # no assignment
        f"twitter_api = {MIXED}{MIXED[:10]}",  # of another length
        f"{'a' * 200} algolia {'word ' * 30}: {HEX}{HEX}",  # the name is too far away
        "pulumi: pul-" + "0" * 40,  # a placeholder
        "A long word: Donaudampfschifffahrtsgesellschaft",
        "",
    ],
)
def test_the_rules_leave_what_is_no_secret(text: str) -> None:
    assert find_public_secrets(text.encode()) == []


def test_a_secret_far_in_a_long_text_is_found() -> None:
    filler = "An order of 12 items, see https://shop.example/orders/2024-05-17/4711-0815-4711. " * 200
    data = f"{filler}{TOKENS['pulumi']} {filler}".encode()
    assert [data[start:end].decode() for start, end in find_public_secrets(data)] == [TOKENS["pulumi"]]


def test_bytes_that_are_no_text_are_searched() -> None:
    token = TOKENS["shopify"].encode()
    assert find_public_secrets(b"\xff\xfe" + token + b"\x80") == [(2, 2 + len(token))]


def test_keys_that_a_service_published_are_masked_but_are_no_findings() -> None:
    for key in read_published_keys():
        assert cleaned(key.decode()) != key.decode()
        assert scan(key.decode(), [secret_detector()]) == []


def test_the_licence_of_the_rules_is_in_the_table() -> None:
    file = Path(redaction.__file__).with_name("public_rules.toml")
    head = file.read_text(encoding="utf-8").partition("published = [")[0]
    assert "github.com/gitleaks/gitleaks" in head
    assert "MIT License" in head
    assert "Copyright (c) 2019 Zachary Rice" in head
    assert "this permission notice shall be included" in head
    assert len(read_public_rules()) > 200


@pytest.mark.slow
def test_the_table_is_read_at_first_use_and_not_for_ordinary_words() -> None:
    script = (
        "from pytest_llmops.redaction import public_rules, redactor\n"
        "redactor.Redactor().clean(b'May I return a jacket within 30 days?')\n"
        "assert public_rules.read_public_rules.cache_info().currsize == 0\n"
        "redactor.Redactor().clean(b'order 4711-0815-4711-0815')\n"
        "assert public_rules.read_public_rules.cache_info().currsize == 1\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
