"""Redact JSON of production: secrets and personal data in each text of a value, and values whose key names a secret."""

import json
import os
import re
from typing import Any

from pytest_llmops._util.json_values import as_text, parse_json
from pytest_llmops._util.text_files import canonical_json
from pytest_llmops.redaction.personal_data import PATTERNS, mask_personal_data
from pytest_llmops.redaction.redactor import Redactor

# Finds texts that must be redacted by themselves, before the whole line is: with characters that JSON escapes, which hide a secret
# in the line, or with personal data. (It begins with a set of characters, as a search for these is fast.)
_CLEANED_ALONE = re.compile(
    r'["\\\x00-\x1f@:\d](?:(?<=["\\\x00-\x1f])|' + PATTERNS["any"].pattern.removeprefix(r"[@:\d]") + ")"
)
_LITERAL = re.compile(r'"(?:[^"\\]|\\.)*+"')  # a JSON string inside a text


def build_redactor() -> Redactor:
    """Return a redactor of secrets, including the values of secret environment variables, and of personal data."""
    return Redactor.from_environment(os.environ, [mask_personal_data])


def clean_json_text(text: str, redactor: Redactor) -> str:
    """Return the JSON of a text, in canonical form, without secrets and personal data.

    >>> clean_json_text('{"password": "tulip-92-garden", "mail": "ann@example.com"}', build_redactor())
    '{"mail":"[email]","password":"[secret]"}'
    """
    # First each text by itself, as JSON escapes can hide a secret; then all, as a key ("password") reveals that its value is one.
    texts = canonical_json(_clean_texts(json.loads(text), redactor))
    cleaned = redactor.clean_secrets(texts.encode("utf-8", "replace"))
    return cleaned.decode("utf-8", "replace")


def _clean_texts(value: Any, redactor: Redactor) -> Any:
    """Return a JSON value with each text, key and whole number in it redacted by itself."""
    if isinstance(value, dict):
        return {_clean_texts(key, redactor): _clean_texts(item, redactor) for key, item in value.items()}
    if isinstance(value, list):
        return [_clean_texts(item, redactor) for item in value]
    if type(value) not in (int, str):  # a number may be the number of a card
        return value
    text = str(value)
    cleaned = text
    if "\\" in cleaned:
        cleaned = _LITERAL.sub(lambda literal: _clean_literal(literal[0], redactor), cleaned)
    if _CLEANED_ALONE.search(cleaned):
        cleaned = redactor.clean_text(cleaned)
    if cleaned == text:
        return value
    return cleaned


def _clean_literal(literal: str, redactor: Redactor) -> str:
    """Return a JSON string (with its quotes) with its content redacted."""
    text = as_text(parse_json(literal))
    masked = _clean_texts(text, redactor)
    if masked == text:
        return literal
    return json.dumps(masked)
