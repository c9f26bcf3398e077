r"""Find secrets in a text, for `pytest_llmops.guardrails.secret_detector`.

The rules are the rules of recordings (see `pytest_llmops.redaction`), with two differences. A test also alarms on a random value behind a
word ("access token 9f86d081884c7d659a2feaa0"), which a recording keeps, as it may be an id that the application needs. And it does not
alarm on placeholders (``ghp_xxxxxxxx``, ``YOUR_KEY``, AWS's ``AKIAIOSFODNN7EXAMPLE``), which a recording masks, as that does no harm.
"""

import re
from collections.abc import Iterator

from pytest_llmops.guardrails.findings import Finding
from pytest_llmops.redaction.patterns import find_shapes
from pytest_llmops.redaction.public_rules import (
    find_public_secrets,
    has_long_run,
    measure_entropy,
    read_published_keys,
)
from pytest_llmops.redaction.secret_names import find_assigned_values, is_variable
from pytest_llmops.redaction.thought_signatures import is_thought_in_text

MAX_NAME = 60  # characters in front of a secret in which its name is read
MIN_DIGITS = 3  # of a value behind a word that announces it; ordinary words have fewer
MIN_ENTROPY = 3.0  # of such a value, in bits per character
PLACEHOLDER_ENTROPY = 2.0  # a value with less repeats a few characters
MIN_RUN_OF_WORDS = 3.0  # the average length of the runs of small letters or capitals in joined words, or more

# The name in front of a value belongs to an id: `credentialsId: "..."`, `"kms_key_id" = "..."`
_ID_NAME = re.compile(rb"(?:[a-z]I[dD]s?|[_-][Ii][Dd][Ss]?)[\s\"'\\]{0,4}[:=]{1,3}>?[\s\"'\\]{0,4}\Z")
_ANNOUNCED = re.compile(
    # The word: "secret", "api key", "sendgrid_key", "ACCESS"
    rb"(?i)(?:secret|token|passw(?:or)?d|credential|(?:api|access|private|auth)[ _-]?key|private|[a-z0-9]{2}[_-]key|(?-i:ACCESS|KEY))s?"
    rb"[\s\"'`:=>_.-]{1,5}+(?:(?:key|token|secret|is|value|id)[\s\"'`:=>_.-]{1,5}+){0,2}+"
    rb"(?P<value>[A-Za-z0-9][A-Za-z0-9_/+=-]{15,500}+)"
)
_DIGIT = re.compile(rb"[0-9]")
_LETTER = re.compile(rb"[A-Za-z]")
_SMALL_LETTERS = re.compile(rb"[a-z]+")
_RUN_OF_LETTERS = re.compile(rb"[a-z]+|[A-Z]+")
_PLACEHOLDER = re.compile(
    rb"(?i)example|placeholder|redacted|dummy|replace[_-]?me|change[_-]?me|insert[_-]|token[_-]?here|[x*#]{5}"
    rb"|[$#]\{|\{\{|<|&lt;|%\("
    rb"|\A#[a-z_-]+\Z"  # a selector of CSS: `addPassword = "#add-password"`
    # "your_key", also as the password in a URL, or with the beginning of a token: inside of a value it may be chance
    rb"|(?:\A|:)(?:(?:[spr]k|gh[a-z]|hf|xox[a-z])[_-])?your[_-]"
    # A token that was cut: "sk-a1b2...c3d4", "sk-a1b2c3d4e5f6..."
    rb"|\.\.\.\Z|\A[^.]{0,12}\.\.\.[^.]{0,6}\Z"
)
_CHARACTER_SET = (b"abcdefghijklmnopqrstuvwxyz", b"0123456789")


def find_secret_values(text: str) -> Iterator[Finding]:
    """Yield the secrets in a text; they may overlap and have no order."""
    data = text.encode("ascii", "replace")  # one byte per character, so the places stay the same
    for start, end in find_assigned_values(data):
        before = data[max(0, start - MAX_NAME) : start]
        # A hash and an id open nothing
        if b"hash" in before.lower() or _ID_NAME.search(before) or _is_placeholder(data[start:end]):
            continue
        if is_thought_in_text(data, start, end):
            continue
        yield Finding(start, end, "secret", 0.8)
    for shape in find_shapes(data):
        for match in shape.pattern.finditer(data):
            start = match.start()
            if shape.kept:
                # Group 1 is not a secret, but announces one, which may be words: the password in a URL
                start = match.end(1)
            elif _consists_of_words(match[0]):
                continue
            if not _is_placeholder(data[start : match.end()]):
                yield Finding(start, match.end(), "secret")
    if not has_long_run(data):
        return
    for start, end in find_public_secrets(data):
        if not _is_placeholder(data[start:end]) and not _consists_of_words(data[start:end]):
            yield Finding(start, end, "secret")
    for match in _ANNOUNCED.finditer(data):
        before = data[max(0, match.start() - MAX_NAME) : match.start("value")]
        if b"hash" in before.lower() or _ID_NAME.search(before):
            continue
        if _is_random(match["value"]) and not _is_placeholder(match["value"]):
            yield Finding(match.start("value"), match.end("value"), "secret", 0.6)


def _is_random(value: bytes) -> bool:
    """Return whether a value looks random: some digits, a letter, and many different characters."""
    if len(_DIGIT.findall(value)) < MIN_DIGITS or not _LETTER.search(value):
        return False
    return measure_entropy(value) >= MIN_ENTROPY


def _consists_of_words(value: bytes) -> bool:
    """Return whether a value is joined words with at most one digit, such as ``xoxb-my-own-token``.

    Random capitals look like a word, so words are mostly small letters.
    """
    letters = len(_LETTER.findall(value))
    small_letters = sum(map(len, _SMALL_LETTERS.findall(value)))
    if len(_DIGIT.findall(value)) > 1 or 2 * small_letters < letters:
        return False
    return letters >= MIN_RUN_OF_WORDS * len(_RUN_OF_LETTERS.findall(value))


def _is_placeholder(value: bytes) -> bool:
    """Return whether a value replaces a secret in an example: a template, a repetition, a key from a documentation."""
    if value.startswith(b"arn:") or is_variable(value.decode("latin-1")) or _PLACEHOLDER.search(value):
        return True
    if value in read_published_keys():
        return True
    lower = value.lower()
    if all(characters in lower for characters in _CHARACTER_SET):
        return True  # `keyStr = "ABC...xyz0123456789"`
    return measure_entropy(value) < PLACEHOLDER_ENTROPY
