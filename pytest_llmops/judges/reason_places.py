"""Move the reason of a judge: before its verdict, after it, or left out.

A judge that can move its reason has the method ``with_reason(place)``, which returns a judge of its own, and the attribute ``reason``.
Judges of users may have both.
"""

from copy import copy
from typing import Any, Protocol, TypeVar, cast

from pytest_llmops.errors import UsageError
from pytest_llmops.judges.protocol.reply_form import ReasonPlace, check_reason_place
from pytest_llmops.measurement import shorten_text
from pytest_llmops.protocols import Judge


class _HasReason(Protocol):
    """A judge that holds the place of its reason in an attribute."""

    name: str
    reason: ReasonPlace


_J = TypeVar("_J", bound=_HasReason)


def copy_with_reason(judge: _J, reason: ReasonPlace) -> _J:
    """Return a copy of a judge that gives its reason in another place.

    Raises:
        UsageError: ``reason`` is not ``before``, ``after`` or ``none``.
    """
    check_reason_place(reason, f"judge {judge.name}")
    moved = copy(judge)
    moved.reason = reason
    return moved


def move_reason(judge: object, reason: ReasonPlace) -> Judge:
    """Return the same judge with its reason in another place.

    Raises:
        UsageError: ``reason`` has another value, or the judge has no method ``with_reason``.

    >>> move_reason(object(), "none")
    Traceback (most recent call last):
        ...
    pytest_llmops.errors.UsageError: judge object: expected a judge with the method with_reason(place), as Rubric and Checklist have, got object
    """
    kind = type(judge).__name__
    name = shorten_text(str(getattr(judge, "name", "") or kind), 60)
    check_reason_place(reason, f"judge {name}")
    method: Any = getattr(judge, "with_reason", None)
    if not callable(method):
        expected = "expected a judge with the method with_reason(place), as Rubric and Checklist have"
        if find_reason_place(judge) == "none":
            raise UsageError(f"judge {name}: {expected}, got {kind}: it gives no reason")
        raise UsageError(f"judge {name}: {expected}, got {kind}")
    return cast("Judge", method(reason))


def find_reason_place(judge: object) -> str:
    """Return where a judge gives its reason; "" if it does not say.

    >>> find_reason_place(object())
    ''
    """
    place = getattr(judge, "reason", "")
    if isinstance(place, str):
        return place
    return ""
