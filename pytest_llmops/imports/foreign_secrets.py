"""Remove the secrets of a suite from addresses and settings before they are printed or written."""

import re
from collections.abc import Mapping
from typing import overload
from urllib.parse import urlsplit

from pytest_llmops.measurement import Json
from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.redaction.secret_names import MASK, is_secret_name

_URL = re.compile(r"\b[a-z][a-z0-9+.-]{0,20}://[^\s'\"`<>]+", re.IGNORECASE)
# A single word before the host is a secret in an address of the web; elsewhere it is a name (`langfuse://support@production`)
_USER = re.compile(r"(?<=://)[^/?#@:]*:[^/?#@]*@|(?<=https://)[^/?#@]*@|(?<=http://)[^/?#@]*@", re.IGNORECASE)
_PARAMETER = re.compile(r"(?<=[?&;])([\w.~%\[\]-]{1,100})=[^&;#\s)}\]]+")
# Settings whose values are secrets whatever their names
_SECRET_PARTS = frozenset({"headers", "env", "auth", "cookies"})


def strip_url(url: str) -> str:
    """Return an address without user, password, query and fragment.

    >>> strip_url("http://me:secret@127.0.0.1:8080/v1?key=1#x")
    'http://127.0.0.1:8080/v1'
    """
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return url.partition(":")[0]
    return f"{parts.scheme}://{host}{parts.path}"


def hide_secrets(text: str) -> str:
    """Return a text without what looks like a secret: in addresses, users and the values of parameters are left out.

    >>> hide_secrets("webhook https://me:pw@host.example/ask?token=abc&n=1")
    'webhook https://host.example/ask?token=...&n=...'
    """
    shown = _URL.sub(lambda match: _hide_in_url(match[0]), text)
    return Redactor().clean(shown.encode("utf-8", "replace")).decode("utf-8", "replace")


def _hide_in_url(url: str) -> str:
    return _PARAMETER.sub(r"\1=...", _USER.sub("", url, count=1))


@overload
def hide_settings(value: Mapping[str, Json], *, is_secret: bool = False) -> dict[str, Json]: ...
@overload
def hide_settings(value: Json, *, is_secret: bool = False) -> Json: ...
def hide_settings(value: Json, *, is_secret: bool = False) -> Json:
    """Return settings of a suite without the values whose names are names of secrets.

    Args:
        value: The settings.
        is_secret: Whether they are below ``headers`` or its like, so that all values are secrets.

    >>> hide_settings({"apiKey": "abc", "headers": {"x": "y"}, "tool": "find"})
    {'apiKey': '[secret]', 'headers': {'x': '[secret]'}, 'tool': 'find'}
    """
    if isinstance(value, Mapping):
        return {key: _hide_setting(key, child, is_secret=is_secret) for key, child in value.items()}
    if isinstance(value, list):
        return [hide_settings(item, is_secret=is_secret) for item in value]
    if is_secret and value is not None and not isinstance(value, bool):
        return MASK
    if isinstance(value, str):
        return hide_secrets(value)
    return value


def _hide_setting(key: str, value: Json, *, is_secret: bool) -> Json:
    """Return the value of a setting; an object below the name of a secret is rather what describes one, such as a schema."""
    is_part = is_secret or key.lower() in _SECRET_PARTS
    if isinstance(value, Mapping):
        return hide_settings(value, is_secret=is_part)
    return hide_settings(value, is_secret=is_part or is_secret_name(key))
