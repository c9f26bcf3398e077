"""The content of the line of a carried assertion, and how the parts of an assertion are read."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pytest_llmops.imports.checks import ValueForm
from pytest_llmops.imports.promptfoo.no_equivalent import NoEquivalent
from pytest_llmops.imports.suite import SuiteAssertion
from pytest_llmops.measurement import Json

_MAX_EXACT = 1e21  # from here on JavaScript writes a number with an exponent


@dataclass(frozen=True, slots=True, kw_only=True)
class LineValue:
    """The result of a converter for an assertion.

    Attributes:
        value: The value of ``{value}``.
        limits: The argument with the threshold ("at_most=5"), for ``{limit}``; of several each has a line.
        parts: Further code for the line, by the name of its place.
        call: Another line than in the table, if the value needs it.
        form: Another form than in the table, if the value needs it.
        rubric: The front matter of a rubric.
        differs: How this value may decide otherwise.
    """

    value: Json = None
    limits: Sequence[str] = ("",)
    parts: Mapping[str, str] = field(default_factory=dict)
    call: str = ""
    form: ValueForm | None = None
    rubric: Mapping[str, Json] = field(default_factory=dict)
    differs: str = ""


def format_as_javascript(value: Json) -> str:
    """Return a value as JavaScript makes a text of it.

    >>> [format_as_javascript(value) for value in (1.0, 0.5, True, None, "x")]
    ['1', '0.5', 'true', 'null', 'x']

    Raises:
        NoEquivalent: It is a list or a mapping.
    """
    if isinstance(value, str):
        return value
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and abs(value) < 2**53:
        return str(value)
    if isinstance(value, int | float) and math.isfinite(value) and abs(value) < _MAX_EXACT:
        number = float(value)
        if number.is_integer():
            return str(int(number))
        return re.sub(r"e([+-])0+", r"e\1", repr(number))
    raise NoEquivalent("a value of the list is a list, a mapping or too large a number")


def require_text(assertion: SuiteAssertion) -> str:
    """Return the value of a type for which promptfoo accepts a text or a number.

    Raises:
        NoEquivalent: It is neither, or an empty text.
    """
    value = assertion.value
    if isinstance(value, bool) or not isinstance(value, str | int | float) or value == "":
        raise NoEquivalent("promptfoo refuses the value: a text or a number is needed")
    return format_as_javascript(value)


def require_pure_text(assertion: SuiteAssertion) -> str:
    """Return the value of a type for which promptfoo accepts nothing but a text.

    Raises:
        NoEquivalent: It is not a text, or empty.
    """
    value = assertion.value
    if not isinstance(value, str) or not value:
        raise NoEquivalent("promptfoo refuses the value: a text is needed")
    return value


def read_threshold(assertion: SuiteAssertion, default: float | None = None) -> float:
    """Return the threshold of an assertion.

    Raises:
        NoEquivalent: It is not a number from 0 on, or there is none and the type has no default.
    """
    threshold = assertion.options.get("threshold")
    if threshold is None and default is not None:
        return default
    if threshold is None:
        raise NoEquivalent("promptfoo refuses it: it has no threshold")
    if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not math.isfinite(threshold):
        raise NoEquivalent("its threshold is not a number")
    if threshold < 0:
        raise NoEquivalent("its threshold is below 0")
    return threshold


def format_threshold(assertion: SuiteAssertion, default: float | None = None) -> str:
    """Return the threshold of an assertion as code; for the arguments and errors see `read_threshold`."""
    return format_number(read_threshold(assertion, default))


def format_number(number: float) -> str:
    """Return a number as code.

    >>> format_number(30.0), format_number(0.5)
    ('30', '0.5')
    """
    if float(number).is_integer():
        return str(int(number))
    return repr(float(number))
