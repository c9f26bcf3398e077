"""Exceptions of the package, and the formatting of names, paths and exceptions in their messages.

::

    LLMOpsError                       base of the plugin's errors
     +- UsageError                    the user can fix it: a name, a file, a value
     |   +- UnknownName               no such prompt, version, judge, embedder ...
     |   +- SettingError              an option or ini value has the wrong form
     |   +- PromptError               a prompt file or its variables
     |   +- CaseError                 a case file, with file and line
     |   +- CorpusError               a retriever's documents
     |   +- SchemaError               a schema that is itself broken
     |   +- MissingExtra              an optional dependency is not installed
     |   +- AcceptRefused             a run that must not become the baseline
     |   +- SetupMissing              a requirement of the tests is missing, so none was run
     +- ModelError                    the model could not be called (down, 401, 429, timeout)
     +- DetectorError                 a detector of guardrails raised, or gave no findings
     +- JudgeError                    the judge gave no verdict; keeps the raw reply
     +- CassetteError                 a damaged, unreadable or unsafe cassette
     +- WireError                     a value that must not be sent between processes
     +- MeasurementErrored            no score: an error, never a low score

    MeasurementFailed (AssertionError)  a score outside of its threshold

    CassetteMiss (BaseException)        a request without a recording
    BudgetReached (BaseException)       a live call that would exceed the run's budget
    RetriedForEver (BaseException)      a call that gets a fault on purpose, and is tried again forever
    CallDeferred (BaseException)        ends a run of a test that only collects its requests (--llm-concurrency)
    SilentWriteRefused (BaseException)  ends such a run of a test that would write a file

The last five are not an `Exception` on purpose: an application's ``except Exception``
fallback must not be able to turn a missing recording, or a spent budget, into a passing test.

Each class that a user meets has a ``code``, such as ``LLM-MISS``: a section of docs/reference/messages.md explains it. Where a
message is printed or reported, the code is at the end of its first line (`append_code`).
"""

from __future__ import annotations

import difflib
import re
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_llmops.measurement import Measurement

MAX_NAMES_SHOWN = 12
_CODE_AT_END = re.compile(r" \[(LLM-[A-Z-]{2,20})\]$")


def find_closest_name(name: str, known: Iterable[str]) -> str:
    """Return the known name most similar to ``name``, or ``""`` if no name is similar.

    >>> find_closest_name("qualty", ["quality", "checklist"])
    'quality'
    >>> find_closest_name("zzz", ["quality"])
    ''
    """
    # "v2" is one letter off "v3"; but "calls", too, has half of the letters of "dollars".
    cutoff = 0.5
    if len(name) > 2:  # noqa: PLR2004 -- "v2"
        cutoff = 0.51
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return "".join(matches)


def format_name_list(names: Iterable[str]) -> str:
    """Return names in a line for a message: sorted, at most twelve, then a count.

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
    if rest > 0:
        return f"{text} and {rest} more"
    return text


def append_code(text: str, code: str) -> str:
    r"""Return a message with a code at the end of its first line, as in ``no recording [LLM-MISS]``.

    A first line that has a code keeps it, as an error may be reported several times. Without a code the text is returned as it is.

    >>> append_code("no recording\n  cassette  a.json", "LLM-MISS")
    'no recording [LLM-MISS]\n  cassette  a.json'
    >>> append_code("unknown judge 'x' [LLM-NAME]", "LLM-USAGE")
    "unknown judge 'x' [LLM-NAME]"
    """
    first, line_end, rest = text.partition("\n")
    if not code or split_code(first)[1]:
        return text
    return f"{first} [{code}]{line_end}{rest}"


def split_code(line: str) -> tuple[str, str]:
    """Return a line without the code at its end, and the code; "" without one.

    >>> split_code("no recording [LLM-MISS]"), split_code("no recording")
    (('no recording', 'LLM-MISS'), ('no recording', ''))
    """
    match = _CODE_AT_END.search(line)
    if match is None:
        return line, ""
    return line[: match.start()], match[1]


def format_error(error: LLMOpsError) -> str:
    """Return the message of an error of ours for a person, with its code.

    >>> format_error(UsageError("expected a folder, got a file"))
    'expected a folder, got a file [LLM-USAGE]'
    """
    return append_code(str(error), error.code)


def path_from_root(path: Path, root: Path) -> str:
    """Return a path relative to ``root``, with slashes; a path outside of it stays as it is.

    >>> path_from_root(Path("project/tests/a.json"), Path("project"))
    'tests/a.json'
    """
    if path.is_relative_to(root):
        return path.relative_to(root).as_posix()
    return str(path)


def describe_exception(error: BaseException) -> str:
    """Return type, message and source line of an exception that the user's code raised; of our own errors only the message.

    The line is the last one of the traceback that is neither ours nor of Python's import system; without one, it is left out.

    >>> describe_exception(ValueError("no such row"))
    'ValueError: no such row'
    """
    message = str(error)
    if isinstance(error, LLMOpsError):
        return message
    text = type(error).__name__
    if message:
        text += f": {message}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_users(frame.filename)]
    if frames:
        text += f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})"
    return text


def _is_users(file: str) -> bool:
    """Return whether a source file is neither of this package nor of Python's import system."""
    path = Path(file)
    if "<frozen importlib" in file or path.parent.name == "importlib":
        return False
    return not path.is_relative_to(Path(__file__).parent)


def list_exception_classes(error: BaseException) -> list[str]:
    """Return the class name of an exception, or of each exception of a group, with its module unless that is ``builtins``.

    `MeasurementFailed` and `MeasurementErrored` come without a module, as ``builtins`` is set as theirs at the end of this file.
    A subclass of them has the name of its base.

    >>> list_exception_classes(ValueError("no such row"))
    ['ValueError']
    >>> list_exception_classes(ExceptionGroup("two", [KeyError("a"), OSError("b")]))
    ['KeyError', 'OSError']
    """
    if isinstance(error, BaseExceptionGroup):
        return [name for inner in error.exceptions for name in list_exception_classes(inner)]
    kind = type(error)
    for measurement_error in (MeasurementErrored, MeasurementFailed):
        if isinstance(error, measurement_error):
            kind = measurement_error
    if kind.__module__ == "builtins":
        return [kind.__qualname__]
    return [f"{kind.__module__}.{kind.__qualname__}"]


def find_unscored_error(error: BaseException | None) -> BaseException | None:
    """Return an exception if it is an error of ours that prevented a score, or the first such error of a group; else None.

    >>> find_unscored_error(ExceptionGroup("tasks", [OSError("a"), UsageError("b")]))
    UsageError('b')
    >>> find_unscored_error(AssertionError("a low score"))
    """
    if isinstance(error, BaseExceptionGroup):
        return next(filter(None, map(find_unscored_error, error.exceptions)), None)
    if isinstance(error, (LLMOpsError, CassetteMiss, BudgetReached)):
        return error
    return None


def _rebuild_exception(
    kind: type[BaseException] | str, args: tuple[object, ...], state: dict[str, object]
) -> BaseException:
    """Return an exception as `_Picklable` has taken it apart.

    Args:
        kind: Its class; the name of the class if that is one of this file.
        args: Its ``args``.
        state: Its ``__dict__``.
    """
    if isinstance(kind, str):
        kind = cast("type[BaseException]", globals()[kind])
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


class _Picklable:
    """An error that can be pickled, although its constructor has other arguments than its text."""

    def __reduce__(self: BaseException) -> tuple[object, ...]:  # type: ignore[misc]  # a mixin of exceptions
        cls = type(self)
        # pickle finds a class by its module. Some of ours have ``builtins`` there (see the end of this file): they go by name.
        kind: type[BaseException] | str = cls
        if globals().get(cls.__name__) is cls:
            kind = cls.__name__
        return _rebuild_exception, (kind, self.args, self.__dict__)


class LLMOpsError(_Picklable, Exception):
    """Base of the exceptions of this package, apart from failed measurements, missing recordings and spent budgets."""

    code: ClassVar[str] = "LLM-ERROR"


class UsageError(LLMOpsError):
    """A mistake that the user can correct. The message gives the place and the next step."""

    code: ClassVar[str] = "LLM-USAGE"


class UnknownName(UsageError):
    """An unknown name.

    Attributes:
        kind: The kind of the name ("prompt", "judge" ...).
        name: The name as given.
        known: The names that exist.
        where: Where the name was given or looked up. May be empty.
        step: The next step, instead of a similar name. May be empty.
    """

    code: ClassVar[str] = "LLM-NAME"

    def __init__(
        self, kind: str, name: str, known: Iterable[str], *, where: str = "", step: str = ""
    ) -> None:
        self.kind = kind
        self.name = name
        self.known = tuple(sorted(set(known)))
        self.where = where
        self.step = step
        text = f"unknown {kind} {name!r}"
        if where:
            text += f" ({where})"
        text += f": known are {format_name_list(self.known)}"
        near = find_closest_name(name, self.known)
        if step:
            text += f"; {step}"
        elif near:
            text += f"; did you mean {near!r}?"
        super().__init__(text)


class SettingError(UsageError):
    """A setting with the wrong form. The message gives the place where it was set, its name, the expected and the actual value."""

    code: ClassVar[str] = "LLM-SETTING"

    def __init__(self, place: str, name: str, expected: str, got: object) -> None:
        self.place = place
        self.name = name
        self.expected = expected
        self.got = got
        super().__init__(f"{place} {name}: expected {expected}, got {got!r}")


class _AtLine:
    """A mixin for errors that a line of a file causes; without a line, the message names only the file."""

    def __init__(self, what: str, path: object, line: int | None = None) -> None:
        self.what = what
        self.path = str(path)
        self.line = line
        text = f"{what} @ {path}"
        if line is not None:
            text += f":{line}"
        super().__init__(text)  # type: ignore[call-arg]  # a mixin of exceptions


class PromptError(_AtLine, UsageError):
    """A prompt that cannot be read or rendered: ``{what} @ {file}:{line}``."""

    code: ClassVar[str] = "LLM-PROMPT"


class CaseError(_AtLine, UsageError):
    """A case file that cannot be used: ``{what} @ {file}:{line}``."""

    code: ClassVar[str] = "LLM-CASE"


class CorpusError(_AtLine, UsageError):
    """A corpus that cannot be searched: ``{what} @ {file}:{line}``."""

    code: ClassVar[str] = "LLM-CORPUS"


class SchemaError(UsageError):
    """A schema that is itself invalid, so nothing can be checked against it."""

    code: ClassVar[str] = "LLM-SCHEMA"


class MissingExtra(UsageError):
    """An optional dependency that is not installed. Gives the install command."""

    code: ClassVar[str] = "LLM-EXTRA"

    def __init__(self, feature: str, extra: str, module: str) -> None:
        self.feature = feature
        self.extra = extra
        self.module = module
        super().__init__(
            f"{feature} needs the package {module!r}, which is not installed: "
            f"pip install 'pytest-llmops[{extra}]'"
        )


class AcceptRefused(UsageError):
    """A run that --llm-accept does not write into the baseline: it is red, partial or measured nothing."""

    code: ClassVar[str] = "LLM-ACCEPT"


class SetupMissing(UsageError):
    """A requirement of the tests of a run is missing: an embedder, a server, a key, the model of the judges, a readable baseline."""

    code: ClassVar[str] = "LLM-SETUP"


class ModelError(LLMOpsError):
    """A model that could not be called.

    Attributes:
        kind: ``connection``, ``timeout``, ``auth``, ``rate_limit``, ``request``, ``server`` or ``reply``.
        status: HTTP status. None without a response.
    """

    code: ClassVar[str] = "LLM-MODEL"

    def __init__(self, text: str, *, kind: str, status: int | None = None) -> None:
        self.kind = kind
        self.status = status
        super().__init__(text)


class JudgeError(LLMOpsError):
    """A judge that gave no verdict. Has the raw reply."""

    code: ClassVar[str] = "LLM-UNSCORED"

    def __init__(self, text: str, *, reply: str = "") -> None:
        self.reply = reply
        super().__init__(text)


class DetectorError(LLMOpsError):
    """A detector that raised, or returned something other than findings: whether the text is harmless is not known."""

    code: ClassVar[str] = "LLM-UNSCORED"


class CassetteError(LLMOpsError):
    """A cassette that cannot be read, or that would be unsafe to write."""

    code: ClassVar[str] = "LLM-CASSETTE"


class WireError(LLMOpsError):
    """A value that must not travel between processes or into a file."""

    code: ClassVar[str] = "LLM-WIRE"


class CassetteMiss(_Picklable, BaseException):
    """A request without a recording; holds the whole message for the user.

    Attributes:
        command: The command that records the request. "": the message gives another next step.
    """

    def __init__(self, text: str = "", *, command: str = "") -> None:
        super().__init__(text)
        self.command = command

    code: ClassVar[str] = "LLM-MISS"


class CallDeferred(BaseException):
    """Ends a silent run of a test at a request, which is sent later together with requests of other tests.

    Attributes:
        place: Identifies the answer that the test waits for, see `pytest_llmops.harness.ahead.answers.Place`.
    """

    def __init__(self, place: object = None) -> None:
        super().__init__(place)
        self.place = place


class SilentWriteRefused(BaseException):
    """Ends a silent run of a test before it writes a file, as the run that is reported will write it, or signals a process of that run."""


class BudgetReached(_Picklable, BaseException):
    """A live call that would exceed the run's budget; holds the whole message for the user."""

    code: ClassVar[str] = "LLM-BUDGET"


class RetriedForEver(_Picklable, BaseException):
    """A call that gets a fault on purpose each time, and that the application tries again without an end."""


class _HoldsMeasurements(_Picklable):
    """A mixin for errors that have measurements, at least one.

    Attributes:
        record_commands: The commands that call a judge again whose recorded reply could not be read.
    """

    def __init__(
        self, text: str, measurements: Iterable[Measurement], assertions: Iterable[str] = ()
    ) -> None:
        self.assertions = tuple(assertions)
        self.measurements = tuple(measurements)
        self.measurement = self.measurements[0]
        self.record_commands: tuple[str, ...] = ()
        super().__init__(text)  # type: ignore[call-arg]  # a mixin of exceptions


class MeasurementFailed(_HoldsMeasurements, AssertionError):
    """A measurement outside its threshold.

    Attributes:
        measurement: The (first) measurement that failed.
        measurements: All failed measurements. Several after `soft`.
        assertions: For each of them the name of the assertion. Empty if an earlier one is of the same assertion.
    """

    code: ClassVar[str] = "LLM-THRESHOLD"


class MeasurementErrored(_HoldsMeasurements, LLMOpsError):
    """A measurement without a score: an error, never a low score.

    Attributes:
        measurement: The (first) errored measurement.
        measurements: All errored measurements. Several after `soft`.
    """

    code: ClassVar[str] = "LLM-UNSCORED"


for _error in (MeasurementFailed, MeasurementErrored, CassetteMiss, BudgetReached):
    # pytest prints "module.Name: text"; without the module the first line shows only the verdict.
    _error.__module__ = "builtins"


def swallowed_error(what: str, error: CassetteMiss | BudgetReached) -> CassetteMiss | BudgetReached:
    """Return an error that fails a test although the application caught the error of a missing recording or a spent budget.

    Args:
        what: The result of the test, as the beginning of the message: "the test passed".
        error: The error that was caught.
    """
    how = "refused"
    if isinstance(error, CassetteMiss):
        how = "missed"
    return reword_error(error, f"{what} although a request was {how} (was the error caught?)\n{error}")


def reword_error(error: CassetteMiss | BudgetReached, text: str) -> CassetteMiss | BudgetReached:
    """Return a new error of the same class with another text; a miss keeps its command."""
    if isinstance(error, CassetteMiss):
        return CassetteMiss(text, command=error.command)
    return BudgetReached(text)


def list_record_commands(error: BaseException | None) -> list[str]:
    """Return the command of a miss or of an unreadable recorded verdict, or of each of a group; other errors have none.

    >>> list_record_commands(CassetteMiss("no recording", command="pytest a.py --llm-record=new"))
    ['pytest a.py --llm-record=new']
    """
    if isinstance(error, BaseExceptionGroup):
        return [command for inner in error.exceptions for command in list_record_commands(inner)]
    if isinstance(error, CassetteMiss) and error.command:
        return [error.command]
    if isinstance(error, (MeasurementFailed, MeasurementErrored)):
        return list(error.record_commands)
    return []
