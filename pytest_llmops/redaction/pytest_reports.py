"""Mask secrets in pytest's reports: captured output and logs, tracebacks, properties.

A report is masked where it is created: before a worker sends it, and before anything is written from it.
"""

import json
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from pytest_llmops.measurement import COLOUR, escape_output
from pytest_llmops.redaction.secret_names import MASK, is_secret_setting

Redact = Callable[[str], str]

NOISY_LOGGERS = ("vcr",)  # loggers that log whole requests and answers at level INFO
_PRINTED_ATTRIBUTES = ("sections", "longrepr", "wasxfail")
# Attributes of pytest's logging plugin: handlers whose lines are shown or written
LOG_HANDLERS = ("log_cli_handler", "log_file_handler", "report_handler")
PROPERTY_PARTS = 2  # name and value
MAX_NESTING = 150  # lists and dictionaries in each other, as each uses three calls of Python's stack
_MASKED_MODULES = ("_pytest._code.code", "_pytest.reports")
_UNMASKED_ATTRIBUTES = frozenset({"style", "lineno"})
# Colours of pytest's own: of a log line's level, and of a comparison, each of whose lines ends like this
_COLOURED_LEVEL = re.compile(rf"((?:{COLOUR}){{1,3}}(?:CRITICAL|ERROR|WARNING|INFO|DEBUG) {{0,20}}\x1b\[0m)")
_END_OF_HIGHLIGHTED = "\x1b[39;49;00m"


def mask_report(report: Any, redact: Redact) -> None:
    """Mask secrets in a report of pytest, in place.

    It masks captured sections, the traceback (its chain, source lines, arguments and locals), the message of a crash, the reason of
    a skip or an xfail, properties for JUnit, and measurements; texts that are printed are escaped, too. The name of the test is not
    masked, as pytest finds tests by name.

    Args:
        report: A report of a test or a collection.
        redact: Returns a text without its secrets.
    """

    def redact_printed(text: str) -> str:
        return _escape_printed(redact(text))

    _mask_attributes(report, _PRINTED_ATTRIBUTES, redact_printed)
    _mask_attributes(report, ("llmops",), redact)
    properties = getattr(report, "user_properties", None)
    if isinstance(properties, list):
        properties[:] = [_mask_property(entry, redact_printed) for entry in properties]


def _mask_property(entry: Any, redact: Redact) -> Any:
    """Return a property for JUnit, (name, value), with secrets masked: also a value that is a secret only by its name.

    JUnit gets the text of any value; so a value of another type becomes a text if it has a secret.

    >>> _mask_property(("admin_password", 1234567890), str), _mask_property(("max_tokens", 1234567890), str)
    (('admin_password', '[secret]'), ('max_tokens', 1234567890))
    """
    if not isinstance(entry, tuple) or len(entry) != PROPERTY_PARTS or not isinstance(entry[0], str):
        return mask_value(entry, redact)
    name, value = entry
    text = str(value)
    if is_secret_setting(name, text):
        return redact(name), MASK
    masked = redact(text)
    if masked == text:
        masked = value
    return redact(name), masked


def _escape_printed(text: str) -> str:
    """Return a text escaped as `escape_output` does; only colours that pytest itself writes are kept."""
    if "\x1b" not in text:
        return escape_output(text)
    lines = []
    for line in text.replace("\r\n", "\n").split("\n"):
        if line.endswith(_END_OF_HIGHLIGHTED):
            lines.append(escape_output(line, colours=True))
            continue
        parts = _COLOURED_LEVEL.split(line)
        parts[::2] = map(escape_output, parts[::2])
        lines.append("".join(parts))
    return "\n".join(lines)


def mask_texts(text: str, masks: Mapping[str, str]) -> str:
    """Replace each key of ``masks`` in a text by its value, also where it is written as a literal of Python, with escapes.

    >>> mask_texts("by Jane Doe", {"Jane Doe": "[name]"})
    'by [name]'
    """
    for hidden in sorted(masks, key=len, reverse=True):  # a text may contain a shorter one
        for literal in (f"'{hidden}'", repr(hidden), ascii(hidden)):
            text = text.replace(literal[1:-1], masks[hidden])
    return text


def mask_log_handlers(logging_plugin: Any, redact: Redact) -> None:
    """Make the log handlers that pytest uses from now on write escaped lines without secrets.

    Args:
        logging_plugin: pytest's logging plugin; None: it is switched off.
        redact: Returns a text without its secrets.
    """
    for name in LOG_HANDLERS:
        handler = getattr(logging_plugin, name, None)
        if handler is not None:
            handler.format = partial(_format_masked, handler, redact)


def _format_masked(handler: logging.Handler, redact: Redact, record: logging.LogRecord) -> str:
    """Format a record as the class of the handler does (its own ``format`` is replaced by this function), then mask it."""
    line = redact(type(handler).format(handler, record))
    if isinstance(handler, logging.FileHandler):
        return escape_output(line)
    return _escape_printed(line)


def quiet_loggers() -> None:
    """Set loggers that log requests and answers to level WARNING, unless the user has set a level."""
    for logger in map(logging.getLogger, NOISY_LOGGERS):
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.WARNING)


def mask_value(value: Any, redact: Redact, depth: int = 0) -> Any:
    """Return a value of builtins, or a part of a report of pytest, with secrets masked.

    The same object is returned if nothing was masked, and for a part of a report, which is changed in place. Keys are not masked. What
    is more than 150 lists and dictionaries deep becomes its JSON text; ``depth`` counts those around the value.

    >>> mask_value({"key": ["a", "pw"]}, lambda text: text.replace("pw", "[secret]"))
    {'key': ['a', '[secret]']}
    """
    if isinstance(value, str):
        cleaned = redact(value)
        return value if cleaned == value else cleaned
    if isinstance(value, (dict, list, tuple)) and depth > MAX_NESTING:
        return redact(json.dumps(value, ensure_ascii=False, default=str))
    if isinstance(value, dict):
        return _mask_dict(value, redact, depth + 1)
    if isinstance(value, (list, tuple)):
        return _mask_sequence(value, redact, depth + 1)
    if type(value).__module__ in _MASKED_MODULES:
        _mask_attributes(value, set(vars(value)) - _UNMASKED_ATTRIBUTES, redact)
    return value


def _mask_dict(value: dict[Any, Any], redact: Redact, depth: int) -> dict[Any, Any]:
    masked = {key: mask_value(item, redact, depth) for key, item in value.items()}
    if all(masked[key] is item for key, item in value.items()):
        return value
    return masked


def _mask_sequence(value: Any, redact: Redact, depth: int) -> Any:
    """Mask the items of a list or a tuple."""
    is_list = isinstance(value, list)
    if is_list and value and all(isinstance(item, str) for item in value):
        return _mask_lines(value, redact)
    masked = [mask_value(item, redact, depth) for item in value]
    if _are_same(masked, value):
        return value
    if is_list:
        return masked
    return tuple(masked)


def _are_same(masked: Sequence[Any], items: Sequence[Any]) -> bool:
    """Return whether all items are the same objects, so that nothing was masked."""
    return all(new is item for new, item in zip(masked, items, strict=True))


def _mask_lines(lines: Sequence[str], redact: Redact) -> Sequence[str]:
    """Mask lines one by one, then joined, for secrets of several lines."""
    masked = [mask_value(line, redact) for line in lines]
    whole = "\n".join(masked)
    cleaned = redact(whole)
    if cleaned != whole:
        return cleaned.split("\n")
    if _are_same(masked, lines):
        return lines
    return masked


def _mask_attributes(part: Any, names: Iterable[str], redact: Redact) -> None:
    """Mask attributes in place; only those that change are set, and missing ones are ignored."""
    for name in names:
        value = getattr(part, name, None)
        masked = mask_value(value, redact)
        if masked is not value:
            setattr(part, name, masked)
