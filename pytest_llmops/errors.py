"""Every exception of the package, and the words they are built from.

::

    LLMOpsError                       something the plugin has to say
     +- UsageError                    the user can fix it: a name, a file, a value
     |   +- UnknownName               no such prompt, version, judge, embedder ...
     |   +- SettingError              an option or ini value has the wrong form
     |   +- PromptError               a prompt file or its variables
     |   +- CaseError                 a case file, with file and line
     |   +- CorpusError               a retriever's documents
     |   +- SchemaError               a schema that is itself broken
     |   +- MissingExtra              an optional dependency is not installed
     +- ModelError                    the model could not be asked (down, 401, 429, timeout)
     +- JudgeError                    the judge gave no verdict; keeps the raw reply
     +- CassetteError                 a damaged, unreadable or unsafe cassette
     +- WireError                     a value that the wire between processes must not carry
     +- MeasurementErrored            could not be scored: an error, never a low score

    MeasurementFailed (AssertionError)  scored, and outside its threshold

    CassetteMiss (BaseException)        a request that no recording answers
    BudgetReached (BaseException)       a live call that the run's budget has no room for

The last two are no `Exception` on purpose: an application's ``except Exception``
fallback must not be able to turn a missing recording, or a spent budget, into a passing test.
"""

from __future__ import annotations

import difflib
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_llmops.measurement import Measurement

MAX_NAMES_SHOWN = 12


def find_closest_name(name: str, known: Iterable[str]) -> str:
    """Return the known name most like ``name``, or ``""`` if none is near.

    >>> find_closest_name("qualty", ["quality", "checklist"])
    'quality'
    >>> find_closest_name("zzz", ["quality"])
    ''
    """
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return matches[0] if matches else ""


def format_name_list(names: Iterable[str]) -> str:
    """Return names as one line for a message: sorted, at most twelve, then a count.

    >>> format_name_list(["b", "a"])
    'a, b'
    >>> format_name_list([])
    '(none)'
    """
    ordered = sorted(set(names))
    if not ordered:
        return "(none)"
    text = ", ".join(ordered[:MAX_NAMES_SHOWN])
    rest = len(ordered) - MAX_NAMES_SHOWN
    return f"{text} and {rest} more" if rest > 0 else text


def describe_exception(error: Exception) -> str:
    """Return what a user's own object raised, as one text: type, message and the place in its code.

    An error of this package tells all of that itself.

    >>> describe_exception(ValueError("no such row"))
    'ValueError: no such row'
    """
    text = str(error)
    if isinstance(error, LLMOpsError):
        return text
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}{': ' if text else ''}{text}{place}"


def list_exception_classes(error: BaseException) -> list[str]:
    """Return the classes of what was raised, those of a group one by one; a measurement's error by its bare name.

    >>> list_exception_classes(ValueError("no such row"))
    ['ValueError']
    >>> list_exception_classes(ExceptionGroup("two", [KeyError("a"), OSError("b")]))
    ['KeyError', 'OSError']
    """
    class_names: list[str] = []
    pending = [error]
    while pending:
        current = pending.pop()
        if isinstance(current, BaseExceptionGroup):
            pending += reversed(current.exceptions)
            continue
        ours = next(
            (kind for kind in (MeasurementFailed, MeasurementErrored) if isinstance(current, kind)), None
        )
        kind = ours or type(current)
        module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
        class_names.append(f"{module}{kind.__qualname__}")
    return class_names


def _rebuild_exception(
    kind: type[BaseException] | str, args: tuple[object, ...], state: dict[str, object]
) -> BaseException:
    cls: type[BaseException] = globals()[kind] if isinstance(kind, str) else kind
    error = cls.__new__(cls, *args)
    error.__dict__.update(state)
    return error


class _Picklable:
    """An error that survives a process pool, although its constructor takes other things than its text."""

    def __reduce__(self: BaseException) -> tuple[object, ...]:  # type: ignore[misc]  # a mixin of exceptions
        cls = type(self)
        # Those that pass for builtins (see below) are not found by their module.
        kind = cls.__name__ if globals().get(cls.__name__) is cls else cls
        return _rebuild_exception, (kind, self.args, self.__dict__)


class LLMOpsError(_Picklable, Exception):
    """Base of everything this package raises, apart from a missed threshold and a cassette miss."""


class UsageError(LLMOpsError):
    """Something the user can correct; the text says where and how."""


class UnknownName(UsageError):
    """A name nobody knows.

    Attributes:
        kind: What was looked for ("prompt", "judge" ...).
        name: The name as given.
        known: The names that exist.
        where: Where it was asked for or looked up; may be empty.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], *, where: str = "") -> None:
        self.kind = kind
        self.name = name
        self.known = tuple(sorted(set(known)))
        self.where = where
        near = find_closest_name(name, self.known)
        hint = f"; did you mean {near!r}?" if near else ""
        place = f" ({where})" if where else ""
        super().__init__(f"unknown {kind} {name!r}{place}: known are {format_name_list(self.known)}{hint}")


class SettingError(UsageError):
    """A setting with the wrong form: says option, place, expected and got."""

    def __init__(self, place: str, name: str, expected: str, got: object) -> None:
        self.place = place
        self.name = name
        self.expected = expected
        self.got = got
        super().__init__(f"{place} {name}: expected {expected}, got {got!r}")


class PromptError(UsageError):
    """A prompt that cannot be read or rendered."""


class CaseError(UsageError):
    """A case file that cannot be used: ``{what} @ {file}:{line}``."""

    def __init__(self, what: str, path: object, line: int | None = None) -> None:
        self.what = what
        self.path = str(path)
        self.line = line
        super().__init__(f"{what} @ {path}:{line}" if line is not None else f"{what} @ {path}")


class CorpusError(UsageError):
    """A corpus that cannot be searched: ``{what} @ {file}:{line}``."""

    def __init__(self, what: str, path: object, line: int | None = None) -> None:
        self.what = what
        self.path = str(path)
        self.line = line
        super().__init__(f"{what} @ {path}:{line}" if line is not None else f"{what} @ {path}")


class SchemaError(UsageError):
    """A schema that is itself not valid, so nothing can be checked against it."""


class MissingExtra(UsageError):
    """An optional dependency is needed and not installed; names the install command."""

    def __init__(self, feature: str, extra: str, module: str) -> None:
        self.feature = feature
        self.extra = extra
        self.module = module
        super().__init__(
            f"{feature} needs the package {module!r}, which is not installed: "
            f"pip install 'pytest-llmops[{extra}]'"
        )


class ModelError(LLMOpsError):
    """A model that could not be asked.

    Attributes:
        kind: ``connection``, ``timeout``, ``auth``, ``rate_limit``, ``request``, ``server`` or ``reply``.
        status: HTTP status, or None where there was none.
    """

    def __init__(self, text: str, *, kind: str, status: int | None = None) -> None:
        self.kind = kind
        self.status = status
        super().__init__(text)


class JudgeError(LLMOpsError):
    """A judge that gave no verdict; the raw reply is kept."""

    def __init__(self, text: str, *, reply: str = "") -> None:
        self.reply = reply
        super().__init__(text)


class CassetteError(LLMOpsError):
    """A cassette that cannot be read, or that would be unsafe to write."""


class WireError(LLMOpsError):
    """A value that must not travel between processes or into a file."""


class CassetteMiss(_Picklable, BaseException):
    """A request that no recording answers; holds the whole message for a person."""


class BudgetReached(_Picklable, BaseException):
    """A live call that the run's budget has no room for; holds the whole message for a person."""


def _builtin_name(cls: type[BaseException]) -> None:
    # pytest prints "module.Name: text"; without a module the verdict keeps the first line for itself.
    cls.__module__ = "builtins"


class MeasurementFailed(_Picklable, AssertionError):
    """A measurement outside its threshold.

    Attributes:
        measurement: The (first) measurement that failed.
        measurements: All of them; more than one after `soft`.
    """

    def __init__(self, text: str, measurements: Iterable[Measurement]) -> None:
        self.measurements = tuple(measurements)
        self.measurement = self.measurements[0]
        super().__init__(text)


class MeasurementErrored(LLMOpsError):
    """A measurement that could not be taken: an error, never a low score.

    Attributes:
        measurement: The (first) errored measurement.
        measurements: All of them; more than one after `soft`.
    """

    def __init__(self, text: str, measurements: Iterable[Measurement]) -> None:
        self.measurements = tuple(measurements)
        self.measurement = self.measurements[0]
        super().__init__(text)


for _cls in (MeasurementFailed, MeasurementErrored, CassetteMiss, BudgetReached):
    _builtin_name(_cls)
