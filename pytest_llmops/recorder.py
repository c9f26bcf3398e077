"""`emit`, which records every measurement; the recorder of the running test; `soft` and `collect`.

The recorder of the running test is a plain global: a raw thread starts with an empty context, and its measurements must still reach the
test. The blocks of `soft` and `collect` belong to the context that opened them, so that concurrent tasks keep their own failures. There is
a stack of recorders, as a test may run pytest itself (pytester).
"""

import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ContextDecorator, ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, cast

from pytest_llmops import errors
from pytest_llmops._util.option_modes import RecordMode
from pytest_llmops.measurement import (
    MAX_EVIDENCE_LINES,
    Evidence,
    Json,
    Measurement,
    Pairs,
    UnreadableVerdict,
    number_texts,
    shorten_text,
)
from pytest_llmops.measurement import Emission as Emission  # noqa: PLC0414 -- a public name here too
from pytest_llmops.settings import Settings

__tracebackhide__ = True
PACKAGE = __name__.partition(".")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A request and its answer, as they went over the wire.

    Attributes:
        request: The request's body, parsed where it is JSON.
        status: None where no answer came.
        purpose: ``app``, ``judge`` or ``embedder``.
        gap_s: Longest time between two chunks of a stream; None where it was not measured.
        started_s: Seconds from the start of the test's first call to the start of this one; None where it is not known.
        is_batched: Whether a batch API answered, which costs less and needs more time.
    """

    method: str
    url: str
    request: object
    status: int | None
    content_type: str
    body: bytes
    latency_s: float | None
    ttft_s: float | None
    replayed: bool
    purpose: str
    gap_s: float | None = None
    started_s: float | None = None
    is_batched: bool = False
    call: Any = None  # the `Call` itself, if it was read elsewhere: a case brings the calls of its output


@dataclass(slots=True, eq=False)
class Recorder:
    """The measurements of a test (or a block), and their surroundings.

    Attributes:
        measurements: In the order they were emitted.
        facts: Shown in the report next to the measurements: prompt, case, retriever ...
        exchanges: Requests and answers as they went over the wire. `trace` reads a `Call` out of each.
        find_component: ``(kind, name) -> object``, bound to the test's hooks; None: the built-in table.
        describe_origin: ``(label, text)`` pairs: where the answer came from and how to run the test again.
        redact: Masks secrets in failure texts.
        open_block_cassette: Opens a cassette by name, under the run's settings.
        soft: Failures are collected and raised at the end of the block.
        silent: Failures are not raised.
        outer: The recorder around a soft block.
        asks_judges: Whether a soft block calls judges even after a check in it has failed.
        hidden: Texts that reports must not show, with the mask that replaces each.
        unreadable: Verdicts that could not be read since the last measurement.
    """

    measurements: list[Measurement] = field(default_factory=list)
    facts: dict[str, Json] = field(default_factory=dict)
    exchanges: list[Exchange] = field(default_factory=list)
    file_digests: dict[bytes, bytes] = field(
        default_factory=dict
    )  # encoded content -> its digest, which replaces it in requests
    find_component: Callable[[str, str], object] | None = None
    settings: Settings | None = None
    describe_origin: Callable[[], Sequence[tuple[str, str]]] | None = None
    redact: Callable[[str], str] | None = None
    open_block_cassette: Callable[[str | Path, RecordMode | None], Any] | None = None
    soft: bool = False
    silent: bool = False
    failures: list[Exception] = field(default_factory=list)
    outer: "Recorder | None" = None
    asks_judges: bool = False
    hidden: dict[str, str] = field(default_factory=dict)
    unreadable: list[UnreadableVerdict] = field(default_factory=list)
    model_faults: int = 0  # calls of models that got a fault on purpose, which do not count as exchanges
    watch_answer: Callable[[str], None] | None = None  # gets each answer that an assertion reads

    def drain_measurements(self) -> list[Measurement]:
        """Return the measurements and forget them."""
        with _lock:
            taken = self.measurements
            self.measurements = []
        return taken


@dataclass(slots=True, eq=False)
class _Block:
    """A block of `soft` or `collect`.

    Attributes:
        base: The recorder of the test that it belongs to; None in a plain script.
        recorder: The recorder of the block; None: this is only the start of a test, without a block.
        outer: The block around it.
        is_open: Whether it has not ended yet.
    """

    base: Recorder | None
    recorder: Recorder | None = None
    outer: "_Block | None" = None
    is_open: bool = True


_stack: list[Recorder] = []
# Functions that push a recorder for the running test, as a test that uses nothing of ours has none until it measures something.
# Each pytest run in this process has a function. Only the last is called: it belongs to the innermost run (pytester). Its value
# is the number of recorders that were on the stack when its run began: with the same number now, the running test has none yet.
wake_callbacks: dict[Callable[[], object], int] = {}
_test_thread = threading.get_ident()
_lock = threading.RLock()
_current_block: ContextVar[_Block | None] = ContextVar("pytest_llmops_block", default=None)
# Open blocks that the test's own thread opened: measurements of a raw thread belong to the innermost of them
_thread_blocks: list[_Block] = []
_purpose: ContextVar[str] = ContextVar("pytest_llmops_purpose", default="app")
_trial: ContextVar[int | None] = ContextVar("pytest_llmops_trial", default=None)
open_trials: list[int] = []  # the trials that run now, in any thread or task; the latest is the last


def current_take() -> str:
    """Return which of several recorded answers to a request (the take) the running trial replays: take "2" in trial 2, from "0"."""
    return str(_trial.get() or 0)


def current_trial() -> int | None:
    """Return the number of the running trial, from 0; None without trials, and in a raw thread that the test started."""
    return _trial.get()


@contextmanager
def run_as_trial(index: int) -> Iterator[None]:
    """Run a block as trial ``index``, so that it replays and records its own take."""
    token = _trial.set(index)
    open_trials.append(index)
    try:
        yield
    finally:
        open_trials.remove(index)
        _trial.reset(token)


def _recorder_stack() -> list[Recorder]:
    """Return the stack; if the running test has no recorder yet, it gets one first."""
    if wake_callbacks:
        push_recorder_of_test, count_before_run = list(wake_callbacks.items())[-1]
        if len(_stack) <= count_before_run:
            push_recorder_of_test()
    return _stack


def _get_innermost(attribute: str) -> Any:
    """Return an attribute of the innermost recorder on the stack where it is not None; None if it is None in all."""
    for recorder in reversed(_recorder_stack()):
        value = getattr(recorder, attribute)
        if value is not None:
            return value
    return None


def current_recorder() -> Recorder | None:
    """Return the recorder of the innermost open block, else of the test; None in a plain script."""
    base = _test_recorder()
    block = _current_block.get()
    while block is not None and not block.is_open:  # a task or thread may outlive its block
        block = block.outer
    if (
        block is None or block.base is not base
    ):  # a raw thread, or one that a test before this one left running
        block = next((inherited for inherited in reversed(_thread_blocks) if inherited.base is base), None)
    if block is None or block.recorder is None:
        return base
    return block.recorder


def _test_recorder() -> Recorder | None:
    """Return the recorder on top of the stack, which belongs to the innermost running test. None in a plain script."""
    stack = _recorder_stack()
    if stack:
        return stack[-1]
    return None


def running_test_recorder() -> Recorder | None:
    """Return the recorder of the running test, also inside open blocks. None in a plain script."""
    for recorder in reversed(_recorder_stack()):
        if recorder.settings is not None:
            return recorder
    return _test_recorder()


def push_recorder(recorder: Recorder) -> None:
    """Make this the recorder of the running test. The caller must pass it to `pop_recorder` when the test has ended."""
    global _test_thread  # noqa: PLW0603 -- as global as the stack itself
    with _lock:
        _stack.append(recorder)
        _test_thread = threading.get_ident()
    _current_block.set(_Block(recorder))


def pop_recorder(recorder: Recorder) -> None:
    """Remove a recorder, and any recorders left above it."""
    with _lock:
        if recorder in _stack:
            del _stack[_stack.index(recorder) :]
        _thread_blocks[:] = [block for block in _thread_blocks if block.base is None or block.base in _stack]
    below = None
    if _stack:
        below = _stack[-1]
    _current_block.set(_Block(below))


@contextmanager
def open_block(inner: Recorder) -> Iterator[None]:
    """Make a recorder the current one inside a block, in the context (task or thread) that opens the block.

    If that is the test's own thread, it is also the current one of raw threads, which have no context of their own.
    """
    base = _test_recorder()
    outer = _current_block.get()
    block = _Block(base, inner)
    if outer is not None and outer.base is base:
        block.outer = outer
    _current_block.set(block)
    # In a loop, other tasks start threads too, which are not children of this block.
    shared = threading.get_ident() == _test_thread and not in_event_loop()
    if shared:
        with _lock:
            _thread_blocks.append(block)
    try:
        yield
    finally:
        block.is_open = False
        # No token: a fixture may be left in another context than it was entered in.
        if _current_block.get() is block:
            _current_block.set(outer)
        if shared:
            with _lock:
                _thread_blocks[:] = [inherited for inherited in _thread_blocks if inherited is not block]


def in_event_loop() -> bool:
    """Return whether an event loop runs in this thread."""
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None  # noqa: SLF001 -- documented


def current_settings() -> Settings:
    """Return the settings of the run; in a script the defaults and the environment."""
    settings: Settings | None = _get_innermost("settings")
    return settings or Settings.from_sources(environ=os.environ)


def find_component(kind: str, name: str) -> object:
    """Return a component ("embedder", "judge" ...) by name.

    Raises:
        UnknownName: There is none. The error lists the known names and the closest one.
    """
    from pytest_llmops import registry

    find: Callable[[str, str], object] = _get_innermost("find_component") or registry.load_builtin
    return find(kind, name)


def open_block_cassette(name: str | Path, mode: RecordMode | None) -> Any:
    """Open a cassette of the running test by name; None in a plain script."""
    opener = _get_innermost("open_block_cassette")
    if opener is not None:
        return opener(name, mode)
    return None


def record_exchange(exchange: Exchange) -> None:
    """Record a request and its answer in the running test. Do nothing in a plain script."""
    with _lock:
        find_test_recorder().exchanges.append(exchange)


def mask_secrets(text: str) -> str:
    """Return a text without secrets, and without parts of them next to the ``...`` of a text that was cut; unchanged in a plain script."""
    for recorder in _stack:
        if recorder.redact is not None:
            text = recorder.redact(text)
    return text


def shorten_masked(text: str, limit: int = 200) -> str:
    """Return the beginning of a text as `shorten_text` does, with secrets masked before it is cut."""
    from pytest_llmops._util.masked_cuts import mask_start

    return shorten_text(mask_start(text, limit, mask_secrets), limit)


def list_exchanges() -> tuple[Exchange, ...]:
    """Return the requests and answers of the running test so far. Empty in a plain script."""
    return tuple(find_test_recorder().exchanges)


def find_test_recorder() -> Recorder:
    """Return the recorder of the running test. In a plain script return a new one, whose contents nobody reads."""
    for recorder in reversed(_stack):
        if recorder.settings is not None:
            return recorder
    return Recorder()


@contextmanager
def set_purpose(name: str) -> Iterator[None]:
    """Set the purpose of the calls of a block: ``judge``, ``embedder`` or ``app``.

    ``app`` does not replace the purpose of a surrounding block: a judge may call the model of the application.
    """
    purpose = name
    if name == "app":
        purpose = _purpose.get()
    token = _purpose.set(purpose)
    try:
        yield
    finally:
        _purpose.reset(token)


# Purposes of calls that may take ``llm_timeout``; the calls of the application are its own
LIMITED_PURPOSES = ("judge", "embedder")


def current_purpose() -> str:
    """Return the purpose of calls that are made here: ``app``, ``judge`` or ``embedder``."""
    return _purpose.get()


def record_facts(facts: Mapping[str, Json]) -> None:
    """Add facts about the running test to the report; do nothing in a plain script."""
    top = current_recorder()
    if top is not None:
        with _lock:
            top.facts.update(facts)


def record_measurements(measurements: Sequence[Measurement]) -> None:
    """Add measurements to the running test (or block) and raise nothing; do nothing in a plain script."""
    top = current_recorder()
    if top is not None:
        with _lock:
            top.measurements.extend(measurements)


def emit(
    measurement: Measurement,
    *,
    verdict: str = "",
    evidence: Evidence = (),
    max_evidence_lines: int = MAX_EVIDENCE_LINES,
    cause: Exception | None = None,
) -> Measurement:
    """Record a measurement, and raise unless it is good or only recorded.

    Args:
        measurement: The measurement.
        verdict: First line of the failure text. Without it the line is built from the measurement.
        evidence: ``(label, text)`` pairs below it. Texts may be foreign: each becomes one escaped line
            behind its label. All of them are kept in ``detail["evidence"]`` for the report. A function that returns
            them is called only if the measurement failed.
        max_evidence_lines: How many of them the failure text has. The report has all.
        cause: The exception that made the measurement an error.

    Raises:
        MeasurementFailed: It is outside its threshold.
        MeasurementErrored: It has no score.

    >>> emit(Measurement(name="m", value=1.0)).status
    'recorded'
    """
    emission = Emission(
        measurement=measurement, verdict=verdict, evidence=evidence, max_evidence_lines=max_evidence_lines
    )
    return emit_together([emission], cause=cause)[0]


def emit_together(emissions: Sequence[Emission], *, cause: Exception | None = None) -> list[Measurement]:
    """Record the measurements of one assertion, and raise one failure for all that are bad.

    Its text begins with the first bad measurement; the others are indented below.

    Raises:
        MeasurementFailed: At least one measurement is outside its threshold.
        MeasurementErrored: None failed, but at least one has no score.
    """
    emissions = [emission.with_evidence() for emission in emissions]
    measurements = [emission.measurement for emission in emissions]
    record_measurements(measurements)
    unreadable = _drain_unreadable()
    top = current_recorder()
    bad = [emission for emission in emissions if emission.measurement.status in ("failed", "errored")]
    if not bad or (top is not None and top.silent):
        return measurements
    assertion, frame = _find_assertion()
    failure = _build_failure(bad, assertion, unreadable)
    if top is not None and top.soft:
        if frame is not None:
            failure.__traceback__ = TracebackType(None, frame, frame.f_lasti, frame.f_lineno)
        top.failures.append(failure)
        return measurements
    if cause is not None:
        raise failure from cause
    raise failure


def _find_assertion() -> tuple[str, FrameType | None]:
    """Return the name of the assertion that is running, and the frame of the user's code that called it.

    The name belongs to the outermost of our functions called ``assert_...``; "" without one, as in a direct call of `emit`.
    """
    name = ""
    frame = cast("FrameType | None", sys._getframe(1))  # noqa: SLF001 -- documented
    while frame is not None and str(frame.f_globals.get("__name__")).partition(".")[0] == PACKAGE:
        if frame.f_code.co_name.startswith("assert_"):
            name = frame.f_code.co_name
        frame = frame.f_back
    return name, frame


def record_unreadable_verdict(verdict: UnreadableVerdict) -> None:
    """Keep why a judge gave no verdict, for the failure text of the next measurement; do nothing in a plain script."""
    with _lock:
        find_test_recorder().unreadable.append(verdict)


def _drain_unreadable() -> list[UnreadableVerdict]:
    """Return the unreadable verdicts of the running test since the last measurement, and forget them."""
    test_recorder = find_test_recorder()
    with _lock:
        drained = test_recorder.unreadable
        test_recorder.unreadable = []
    return drained


def _build_failure(
    bad: Sequence[Emission], assertion: str, unreadable: Sequence[UnreadableVerdict] = ()
) -> Exception:
    """Return the exception for the bad measurements of one assertion, with a text in which secrets are masked.

    It is a `MeasurementFailed` if at least one is outside its threshold, else a `MeasurementErrored`. If the score is missing because a
    reply of the judge could not be read, the last lines are about the judge, not about the application.
    """
    is_failed = any(emission.measurement.status == "failed" for emission in bad)
    commands: tuple[str, ...] = ()
    origin: Pairs = ()
    if unreadable and not is_failed:
        labels = [label for label, _ in cast("Pairs", bad[0].evidence)]
        origin = [pair for pair in unreadable[0].lines if pair[0] not in labels]
        commands = tuple(dict.fromkeys(verdict.command for verdict in unreadable if verdict.command))
    else:
        origin = _describe_origin()
    others = [emission.format_text(shorten=shorten_masked) for emission in bad[1:]]
    text = bad[0].format_text(others=others, origin=origin, shorten=shorten_masked)
    text = mask_secrets(text)
    measurements = [emission.measurement for emission in bad]
    # The first measurement has the assertion's name; the others belong to it.
    assertions = [assertion] + [""] * (len(measurements) - 1)
    if is_failed:
        return errors.MeasurementFailed(text, measurements, assertions)
    failure = errors.MeasurementErrored(text, measurements, assertions)
    failure.record_commands = commands
    return failure


def _describe_origin() -> Pairs:
    """Return the lines about the origin of the answer, and how to run the test again. Empty in a plain script."""
    describe = _get_innermost("describe_origin")
    if describe is None:
        return ()
    lines: Pairs = describe()
    return lines


class soft(ContextDecorator):  # noqa: N801 -- reads as a function, as in `with soft():`
    """Collect the failures of a block, and raise one failure that lists all.

    The surrounding recorder gets all measurements either way. Another exception of the block passes with the
    collected failures as a note. After a failed check, judges in the block are *not called* unless ``judges`` is true.

    Raises:
        MeasurementFailed: At least one measurement was outside its threshold.
        MeasurementErrored: No measurement failed, but at least one got no score.

    >>> from pytest_llmops import emit
    >>> with soft() as block:
    ...     _ = emit(Measurement(name="m", value=1.0, threshold=0.5))
    >>> len(block.measurements)
    1
    """

    # A class: a generator's frames within contextlib would appear in every failure's traceback.
    def __init__(self, *, judges: bool = False) -> None:
        self._open = ExitStack()
        self._inner = Recorder()
        self._judges = judges

    def _recreate_cm(self) -> "soft":
        return soft(judges=self._judges)

    def __enter__(self) -> Recorder:
        self._inner = Recorder(soft=True, outer=current_recorder(), asks_judges=self._judges)
        self._open.enter_context(open_block(self._inner))
        return self._inner

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        inner = self._inner
        try:
            self._open.__exit__(kind, error, trace)
            if error is not None and inner.failures:
                error.add_note(f"before this, {number_texts(inner.failures)}")
        finally:
            outer = current_recorder()
            if outer is not None:
                with _lock:
                    outer.measurements.extend(inner.measurements)
                    outer.facts.update(inner.facts)
        if error is None:
            _raise_collected(inner)


def _raise_collected(inner: Recorder) -> None:
    """Raise the failures of a soft block that has ended, as one exception.

    In another soft block they are handed to that one; in a silent block (`collect`) they are dropped.
    """
    if not inner.failures:
        return
    outer = current_recorder()
    if outer is not None and outer.silent:
        return
    if outer is not None and outer.soft:
        outer.failures.extend(inner.failures)
        return
    if len(inner.failures) == 1:
        raise inner.failures[0]
    failed = [failure for failure in inner.failures if isinstance(failure, errors.MeasurementFailed)]
    # The text lists all failures; the exception has the measurements of those that decide its type.
    shown: list[Any]
    kind: type[errors.MeasurementFailed | errors.MeasurementErrored]
    if failed:
        shown = list(failed)
        kind = errors.MeasurementFailed
    else:
        shown = list(inner.failures)
        kind = errors.MeasurementErrored
    text = f"{len(inner.failures)} of {len(inner.measurements)} checks failed\n{number_texts(inner.failures)}"
    measurements = [measurement for failure in shown for measurement in getattr(failure, "measurements", ())]
    assertions = [name for failure in shown for name in getattr(failure, "assertions", ())]
    failure = kind(text, measurements, assertions)
    commands = [command for error in inner.failures for command in errors.list_record_commands(error)]
    failure.record_commands = tuple(dict.fromkeys(commands))
    raise failure.with_traceback(shown[0].__traceback__)


@contextmanager
def collect() -> Iterator[list[Measurement]]:
    """Collect the measurements of a block. Nothing is raised or reported.

    >>> from pytest_llmops import emit
    >>> with collect() as measurements:
    ...     _ = emit(Measurement(name="m", value=0.0, threshold=1.0))
    >>> measurements[0].status
    'failed'
    """
    inner = Recorder(silent=True)
    with open_block(inner):
        yield inner.measurements
