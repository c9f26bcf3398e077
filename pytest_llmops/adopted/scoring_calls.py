"""Methods of a tool that compute a score: each call becomes a report, and its requests to a model count as requests of a judge."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from unittest import mock

from pytest_llmops import recorder
from pytest_llmops._util.text_files import fingerprint_parts
from pytest_llmops.adopted.tool import ReportScore, ToolScore, report_scores
from pytest_llmops.errors import describe_exception

MAX_LABEL = 60  # characters of the label of a case
# Categories that are a verdict; any other category has no score
VERDICTS = {"yes": True, "pass": True, "true": True, "no": False, "fail": False, "false": False}

# Whether a score is computed here already: a metric within another one is a part of it
_is_scoring: ContextVar[bool] = ContextVar("pytest_llmops_is_scoring", default=False)


@dataclass(slots=True)
class ScoringCall:
    """A call of a method that computes a score.

    Attributes:
        owner: The object whose method was called.
        method: The method's name.
        arguments: The arguments by their names.
        result: The return value of the method; None after an error.
        error: The exception that it raised, in words; empty: it returned.
        exception: The exception itself.
    """

    owner: Any
    method: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    result: Any = None
    error: str = ""
    exception: Exception | None = None


ReadCall: TypeAlias = Callable[[ScoringCall], Iterable[ToolScore]]


@contextmanager
def report_methods(base: Any, names: Iterable[str], read: ReadCall, report: ReportScore) -> Iterator[None]:
    """Report the calls of some methods, of a class and of all classes below it, while the block runs.

    Classes that are made in the meantime are included. A call within a reported call is not reported.

    Args:
        base: The class.
        names: Its methods, plain or async; a method that a class does not define itself comes from its base.
        read: Returns the scores of a call.
        report: Called for each score.
    """
    wanted = tuple(names)
    with ExitStack() as patches:

        def wrap_class(kind: type) -> None:
            for name in wanted:
                method = vars(kind).get(name)
                is_abstract = getattr(method, "__isabstractmethod__", False)
                if inspect.isfunction(method) and not is_abstract:
                    patches.enter_context(mock.patch.object(kind, name, _wrap_method(method, read, report)))

        def wrap_new_class(cls: Any, **options: Any) -> None:
            super(base, cls).__init_subclass__(**options)
            wrap_class(cls)

        for kind in (base, *list_subclasses(base)):
            wrap_class(kind)
        patches.enter_context(_replaced_init_subclass(base, wrap_new_class))
        yield


@contextmanager
def set_in_methods(base: type, names: Iterable[str], flag: ContextVar[bool]) -> Iterator[None]:
    """Set a flag in some async methods, of a class and of all classes below it, while the block runs."""

    def wrap(method: Any) -> Any:
        @functools.wraps(method)
        async def run_with_flag(*args: Any, **kwargs: Any) -> Any:
            flag.set(True)
            try:
                return await method(*args, **kwargs)
            finally:
                flag.set(False)

        return run_with_flag

    wanted = tuple(names)
    with ExitStack() as patches:
        for kind in (base, *list_subclasses(base)):
            for name in wanted:
                method = vars(kind).get(name)
                if inspect.iscoroutinefunction(method):
                    patches.enter_context(mock.patch.object(kind, name, wrap(method)))
        yield


@contextmanager
def _replaced_init_subclass(base: type, function: Callable[..., None]) -> Iterator[None]:
    """Give a class this ``__init_subclass__`` while the block runs, unless it has one of its own."""
    if "__init_subclass__" in vars(base):
        yield
        return
    base.__init_subclass__ = classmethod(function)  # type: ignore[assignment]
    try:
        yield
    finally:
        del base.__init_subclass__


def list_subclasses(base: type) -> list[type]:
    """Return all classes below a class, each once.

    >>> class A: ...
    >>> class B(A): ...
    >>> class C(B): ...
    >>> [kind.__name__ for kind in list_subclasses(A)]
    ['B', 'C']
    """
    classes: dict[type, None] = {}
    waiting = [base]
    while waiting:
        subclasses: list[type] = type.__subclasses__(waiting.pop())
        for subclass in subclasses:
            if subclass not in classes:
                classes[subclass] = None
                waiting.append(subclass)
    return list(classes)


def _wrap_method(method: Any, read: ReadCall, report: ReportScore) -> Any:
    """Return a method that also reports its result, or that it failed."""
    signature = inspect.signature(method)

    def begin_call(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> ScoringCall:
        try:
            bound = signature.bind(*args, **kwargs).arguments
        except TypeError:  # the method itself raises it too, with a better text
            bound = dict(zip(signature.parameters, args, strict=False))
        arguments = dict(bound)
        arguments.pop("self", None)
        arguments.update(kwargs)
        return ScoringCall(args[0], method.__name__, arguments)

    if inspect.iscoroutinefunction(method):

        @functools.wraps(method)
        async def score_and_report_async(*args: Any, **kwargs: Any) -> Any:
            with reported(begin_call(args, kwargs), read, report) as call:
                call.result = await method(*args, **kwargs)
            return call.result

        return score_and_report_async

    @functools.wraps(method)
    def score_and_report(*args: Any, **kwargs: Any) -> Any:
        with reported(begin_call(args, kwargs), read, report) as call:
            call.result = method(*args, **kwargs)
        return call.result

    return score_and_report


@contextmanager
def reported(call: ScoringCall, read: ReadCall, report: ReportScore) -> Iterator[ScoringCall]:
    """Report a call that is made in the block, unless it is part of another one; its requests count as requests of a judge."""
    if _is_scoring.get():
        yield call
        return
    _is_scoring.set(True)
    try:
        with recorder.set_purpose("judge"):
            yield call
    except Exception as error:
        call.error = describe_exception(error)
        call.exception = error
        report_scores(report, read(call))
        raise
    else:
        report_scores(report, read(call))
    finally:
        _is_scoring.set(False)


def identify_inputs(inputs: object) -> str:
    """Return a digest of all that a call scored, to find out whether a later call scores the same. Empty: that is not known.

    >>> identify_inputs({"output": "a"}) == identify_inputs({"output": "b"})
    False
    """
    try:
        return fingerprint_parts(repr(inputs))
    except Exception:  # noqa: BLE001 -- an object of the project
        return ""


def label_case(inputs: object) -> str:
    """Return the label of a case: the text of its input, or its members as JSON. A long one is cut, and gets a digest.

    >>> label_case({"question": "Where is my money?"}), label_case({"a": 1, "b": "x"}), label_case(None)
    ('Where is my money?', '{"a": 1, "b": "x"}', '')
    >>> label_case("word " * 50)
    'word word word word word word word word word ... 15a23e92'
    """
    value = inputs
    if isinstance(value, Mapping) and len(value) == 1:
        (value,) = value.values()
    if value is None:
        return ""
    text = value
    if not isinstance(text, str):
        text = json.dumps(
            value, sort_keys=True, default=lambda other: type(other).__name__, ensure_ascii=False
        )
    if len(text) <= MAX_LABEL:
        return text
    digest = fingerprint_parts(text)[:8]
    return f"{text[: MAX_LABEL - 15]}... {digest}"


def read_verdict(value: object) -> object:
    """Return True or False for a category that is a verdict, None for another text, and everything else unchanged.

    >>> read_verdict("Yes"), read_verdict("fail"), read_verdict("cheerful"), read_verdict(0.5)
    (True, False, None, 0.5)
    """
    if isinstance(value, str):
        return VERDICTS.get(value.strip().lower())
    return value
