"""Masking of secrets in pytest's reports: captured output and logs, tracebacks, properties.

A report is masked where it is created, before a worker sends it and before anything is written from it.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from pytest_llmops.measurement import escape_output

Redact = Callable[[str], str]

NOISY_LOGGERS = ("vcr",)  # loggers that log whole requests and answers at level INFO
_PRINTED_ATTRIBUTES = ("sections", "longrepr", "user_properties", "wasxfail")
# Handlers of pytest's plugin for logs whose lines are shown or written
LOG_HANDLERS = ("log_cli_handler", "log_file_handler", "report_handler")
_MASKED_MODULES = ("_pytest._code.code", "_pytest.reports")
_UNMASKED_ATTRIBUTES = frozenset({"style", "lineno"})


def mask_report(report: Any, redact: Redact) -> None:
    """Mask secrets in a report of pytest, in place.

    What is printed of it is escaped too. Masked are captured sections, the traceback with its chain, source lines, arguments
    and locals, the message of a crash, the reason of a skip or an xfail, properties for JUnit, and measurements. A text
    without secrets stays the same object. The name of the test is not masked: pytest finds tests by name.

    Args:
        report: A report of a test or a collection.
        redact: Returns a text without its secrets.
    """

    def redact_printed(text: str) -> str:
        return escape_output(redact(text), colours=True)

    _mask_attributes(report, _PRINTED_ATTRIBUTES, redact_printed)
    _mask_attributes(report, ("llmops",), redact)


def mask_texts(text: str, masks: Mapping[str, str]) -> str:
    """Return a text with masks in the place of texts, also where these are written as literals of Python.

    >>> mask_texts("by Jane Doe", {"Jane Doe": "[name]"})
    'by [name]'
    """
    for hidden in sorted(masks, key=len, reverse=True):
        for literal in (f"'{hidden}'", repr(hidden), ascii(hidden)):
            text = text.replace(literal[1:-1], masks[hidden])
    return text


def mask_log_handlers(logging_plugin: Any, redact: Redact) -> None:
    """Make pytest's handlers of logs write escaped lines without secrets, for the test that runs from now on.

    Args:
        logging_plugin: pytest's plugin for logs; None: it is switched off.
        redact: Returns a text without its secrets.
    """
    for name in LOG_HANDLERS:
        handler = getattr(logging_plugin, name, None)
        if handler is not None:
            handler.format = partial(_format_masked, handler, redact)


def _format_masked(handler: logging.Handler, redact: Redact, record: logging.LogRecord) -> str:
    line = redact(type(handler).format(handler, record))
    is_file = isinstance(handler, logging.FileHandler)
    return escape_output(line, colours=not is_file)


def quiet_loggers() -> None:
    """Limit loggers of bodies and addresses to warnings, unless the user has set a level."""
    for logger in map(logging.getLogger, NOISY_LOGGERS):
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.WARNING)


def mask_value(value: Any, redact: Redact) -> Any:
    """Return a value of builtins, or a part of pytest's report, without secrets.

    It is the same object if it has no secrets, or if it was changed in place. Keys are not masked.

    >>> mask_value({"key": ["a", "pw"]}, lambda text: text.replace("pw", "[secret]"))
    {'key': ['a', '[secret]']}
    """
    if isinstance(value, str):
        cleaned = redact(value)
        return value if cleaned == value else cleaned
    if isinstance(value, dict):
        return _mask_dict(value, redact)
    if isinstance(value, (list, tuple)):
        return _mask_sequence(value, redact)
    if type(value).__module__ in _MASKED_MODULES:
        _mask_attributes(value, set(vars(value)) - _UNMASKED_ATTRIBUTES, redact)
    return value


def _mask_dict(value: dict[Any, Any], redact: Redact) -> dict[Any, Any]:
    masked = {key: mask_value(item, redact) for key, item in value.items()}
    if all(masked[key] is item for key, item in value.items()):
        return value
    return masked


def _mask_sequence(value: Any, redact: Redact) -> Any:
    """Mask the items of a list or a tuple."""
    is_list = isinstance(value, list)
    if is_list and value and all(isinstance(item, str) for item in value):
        return _mask_lines(value, redact)
    masked = [mask_value(item, redact) for item in value]
    if _are_same(masked, value):
        return value
    if is_list:
        return masked
    return tuple(masked)


def _are_same(masked: Sequence[Any], items: Sequence[Any]) -> bool:
    return all(new is item for new, item in zip(masked, items, strict=True))


def _mask_lines(lines: Sequence[str], redact: Redact) -> Sequence[str]:
    """Mask lines separately and as a whole, for keys of several lines."""
    masked = [mask_value(line, redact) for line in lines]
    whole = "\n".join(masked)
    cleaned = redact(whole)
    if cleaned != whole:
        return cleaned.split("\n")
    if _are_same(masked, lines):
        return lines
    return masked


def _mask_attributes(part: Any, names: Iterable[str], redact: Redact) -> None:
    for name in names:
        value = getattr(part, name, None)
        masked = mask_value(value, redact)
        if masked is not value:
            setattr(part, name, masked)
