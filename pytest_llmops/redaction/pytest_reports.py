"""Secrets in what pytest shows of a test: captured output and logs, tracebacks, properties.

A report is masked where it is made: before a worker sends it, and before anything is written from it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

Redact = Callable[[str], str]

TALKATIVE = ("vcr",)
"""Loggers that put whole requests and answers into a log of level INFO."""
_REPORT = ("sections", "longrepr", "user_properties", "wasxfail", "llmops")
_SHOWN = ("_pytest._code.code", "_pytest.reports")
_FIXED = ("style", "lineno")


def mask_report(report: Any, redact: Redact) -> None:
    """Mask secrets in a report of pytest, in place.

    What is masked: captured sections, the traceback with its chain, source lines, arguments and locals, the
    message of the crash, the reason of a skip or an xfail, the properties for JUnit, and what we measured. A text that
    holds no secret stays the same object. The name of the test is left alone: pytest finds tests by it.

    Args:
        report: A report of a test or of a collection.
        redact: Returns a text without its secrets.
    """
    for name in _REPORT:
        value = getattr(report, name, None)
        if value is None:
            continue
        made = masked(value, redact)
        if made is not value:
            setattr(report, name, made)


def quiet_loggers() -> None:
    """Let the loggers that would log bodies and addresses say warnings only; a level that a user set stays."""
    for name in TALKATIVE:
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.WARNING)


def masked(value: Any, redact: Redact) -> Any:
    """Return a value of builtins, or one that pytest shows, without secrets.

    It is the same object where it holds none, or where it was changed in place. Keys are left alone.

    >>> masked({"key": ["a", "pw"]}, lambda text: text.replace("pw", "[secret]"))
    {'key': ['a', '[secret]']}
    """
    if isinstance(value, str):
        made = redact(value)
        return value if made == value else made
    if isinstance(value, dict):
        return _same_or({key: masked(one, redact) for key, one in value.items()}, value)
    if isinstance(value, list) and value and all(isinstance(one, str) for one in value):
        return _masked_lines(value, redact)
    if isinstance(value, (list, tuple)):
        parts = [masked(one, redact) for one in value]
        if all(made is one for made, one in zip(parts, value, strict=True)):
            return value
        return parts if isinstance(value, list) else tuple(parts)
    if type(value).__module__ in _SHOWN:
        _mask_object(value, redact)
    return value


def _same_or(made: dict[Any, Any], value: dict[Any, Any]) -> dict[Any, Any]:
    return value if all(made[key] is one for key, one in value.items()) else made


def _masked_lines(lines: Sequence[str], redact: Redact) -> Sequence[str]:
    """Mask lines as one text: a key of several lines shows in none of them alone."""
    made = [masked(line, redact) for line in lines]
    whole = "\n".join(made)
    found = redact(whole)
    if found != whole:
        return found.split("\n")
    return lines if all(one is line for one, line in zip(made, lines, strict=True)) else made


def _mask_object(shown: Any, redact: Redact) -> None:
    for name, value in vars(shown).items():
        if name in _FIXED:
            continue
        made = masked(value, redact)
        if made is not value:
            setattr(shown, name, made)
