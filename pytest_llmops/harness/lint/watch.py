"""Watch the assertions of a run: each call is made as ever, and if it passes, tried again on altered answers."""

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import FrameType, FunctionType
from typing import Any, cast

import pytest_llmops
from pytest_llmops import recorder
from pytest_llmops._util.code_swap import CodeSwap, parameter_names
from pytest_llmops._util.framework_objects import read_answer
from pytest_llmops.errors import MeasurementErrored, MeasurementFailed
from pytest_llmops.harness.lint import targets
from pytest_llmops.harness.lint.alterations import Alteration, iter_alterations
from pytest_llmops.harness.lint.forbidden_texts import list_excluded, list_forbidden, list_mentioned
from pytest_llmops.harness.lint.isolation import Isolation
from pytest_llmops.harness.lint.limits import may_move_beyond
from pytest_llmops.harness.lint.targets import TARGETS, Target, format_call
from pytest_llmops.measurement import Json, Measurement
from pytest_llmops.recorder import PACKAGE, Recorder
from pytest_llmops.results.assertion_lint import FACT, MOVED, LintedAssertion

__tracebackhide__ = True

MAX_SECONDS = 20.0  # that all alterations of an assertion may take in a run
MAX_SHOWN_CHARS = 80  # of an answer in the list
# Nothing of its answer is shown: the answer may be secret
_SENSITIVE = frozenset({"assert_complies", "assert_no_injection", "assert_no_pii", "assert_no_secrets"})


@dataclass(frozen=True, slots=True)
class _Call:
    """A call of an assertion.

    Attributes:
        name: The name of the assertion.
        arguments: All arguments by name, those that were left out too.
        run: Calls the assertion itself with other arguments.
    """

    name: str
    arguments: dict[str, Any]
    run: Callable[[Mapping[str, Any]], Any]

    @property
    def target(self) -> Target | None:
        """The known facts about the assertion. None: it is not about an answer."""
        return TARGETS.get(self.name)

    def with_answer(self, target: Target, answer: object) -> Callable[[], object]:
        """Return the same call with another answer."""
        return partial(self.run, {**self.arguments, target.answer: _copy(answer)})


class AssertionWatch:
    """Watches the assertions of this package, for all who call them, until it is removed.

    Args:
        root: The folder of the project, from which places are given.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._swaps: dict[str, CodeSwap] = {}
        self._isolation = Isolation()
        self._busy = threading.local()  # its attribute `is_inside`: an assertion runs in this thread
        # By the place of an assertion: how many answers it was tried on, whether it failed, the seconds that it took
        self._answers: Counter[tuple[str, str, str]] = Counter()
        self._failed: set[tuple[str, str, str]] = set()
        self._seconds: dict[tuple[str, str, str], float] = {}

    def install(self) -> None:
        """Replace the code of each public assertion."""
        for name in pytest_llmops.__all__:
            if name.startswith("assert_"):
                function = cast("FunctionType", getattr(pytest_llmops, name))
                swap = CodeSwap(function, partial(self._run, name))
                swap.apply()
                self._swaps[name] = swap

    def remove(self) -> None:
        """Restore the code."""
        for swap in self._swaps.values():
            swap.restore_attribute()
        self._swaps.clear()

    def _run(
        self,
        name: str,
        positions: Sequence[Any],
        rest: Sequence[Any],
        by_name: Mapping[str, Any],
        more: Mapping[str, Any],
    ) -> Any:
        """Run an assertion for its test, and then on altered answers."""
        del rest  # no assertion has any
        swap = self._swaps[name]
        names, *_ = parameter_names(swap.real.__code__)

        def run(arguments: Mapping[str, Any]) -> Any:
            given = [arguments[name] for name in names]
            others = {name: value for name, value in arguments.items() if name not in names}
            return swap.real(*given, **others)

        call = _Call(name, {**dict(zip(names, positions, strict=True)), **by_name, **more}, run)
        test = recorder.running_test_recorder()
        current = recorder.current_recorder()
        if getattr(self._busy, "is_inside", False) or test is None or (current and current.silent):
            return call.run(call.arguments)
        with self._enter():
            entry = _Entry(self._find_place(), call, swap.real, test)
            try:
                result = call.run(call.arguments)
            except (MeasurementFailed, MeasurementErrored):
                self._note_failure(entry)
                raise
            self._try_alterations(entry, result)
            return result

    @contextmanager
    def _enter(self) -> Iterator[None]:
        """Let assertions that an assertion calls run as ever."""
        self._busy.is_inside = True
        try:
            yield
        finally:
            self._busy.is_inside = False

    def _find_place(self) -> str:
        """Return the file and line of the code that called the assertion: the first frame outside of this package."""
        frame = cast("FrameType | None", sys._getframe(1))  # noqa: SLF001 -- documented
        while frame is not None and str(frame.f_globals.get("__name__")).partition(".")[0] == PACKAGE:
            frame = frame.f_back
        if frame is None:
            return ""
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(self._root):
            path = path.relative_to(self._root)
        return f"{path.as_posix()}:{frame.f_lineno}"

    def _note_failure(self, entry: "_Entry") -> None:
        self._failed.add(entry.key)
        entry.add(failed=True)

    def _try_alterations(self, entry: "_Entry", result: object) -> None:
        """Note whether an assertion that passed fails on altered answers; nothing is tried any more once it has failed."""
        statuses = _list_statuses(result)
        if entry.call.target is None:
            entry.add(why=targets.NO_ANSWER)
        elif "failed" in statuses or "errored" in statuses:  # in a soft block
            self._note_failure(entry)
        elif statuses and set(statuses) == {"recorded"}:
            entry.add(recorded=1)
        elif entry.key in self._failed:
            entry.add(failed=True)
        elif threading.current_thread() is not threading.main_thread():
            entry.add(why=targets.IN_A_THREAD)
        else:
            self._try_answer(entry, entry.call.target, result)

    def _try_answer(self, entry: "_Entry", target: Target, result: object) -> None:
        """Try an assertion on the alterations of its answer, unless it was tried on enough answers."""
        if self._answers[entry.key] >= target.most_answers:
            entry.add()
            return
        if self._seconds.get(entry.key, 0.0) > MAX_SECONDS:
            entry.add(why=targets.TOO_SLOW)
            return
        answer = entry.call.arguments[target.answer]
        alterations = _list_alterations(entry.call, target, answer)
        if isinstance(alterations, str):
            entry.add(why=alterations)
            return
        self._answers[entry.key] += 1
        end = time.perf_counter() + MAX_SECONDS
        passed = []
        values = []
        for alteration in alterations:
            outcome = self._isolation.evaluate(
                entry.call.with_answer(target, alteration.answer), may_ask=target.may_ask
            )
            if outcome.ending == "failed":
                self._note_failure(entry)
                return
            if outcome.ending == "asks":
                entry.add(why=targets.ASKS_A_MODEL)
                return
            if outcome.ending == "passed":
                passed.append(alteration)
                values += [] if outcome.value is None else [outcome.value]
            if time.perf_counter() > end:
                entry.add(why=targets.TOO_SLOW)
                return
        seconds = time.perf_counter() - end + MAX_SECONDS
        self._seconds[entry.key] = self._seconds.get(entry.key, 0.0) + seconds
        if not passed:
            entry.add(why=targets.NOT_ALTERABLE)
        elif target.forbids and not target.is_certain:
            entry.add(why=targets.NO_FORBIDDEN_TEXT)
        elif entry.call.name == "assert_score" and _may_miss(result, values):
            entry.add(why=MOVED)
        else:
            entry.add_passed(answer, passed)


def _list_statuses(result: object) -> list[str]:
    """Return the statuses of an assertion's measurements, one or several."""
    measurements = result if isinstance(result, tuple) else (result,)
    return [str(getattr(measurement, "status", "")) for measurement in measurements]


def _may_miss(result: object, values: Sequence[float]) -> bool:
    """Return whether a metric whose values all reached the limit could miss it with an answer that was not tried."""
    if not isinstance(result, Measurement) or result.value is None or result.threshold is None:
        return False
    return may_move_beyond([result.value, *values], result.threshold, better=result.better)


def _list_alterations(call: _Call, target: Target, given: object) -> list[Alteration] | str:
    """Return the altered answers for a call, or why there are none."""
    answer = given
    if target.reads_objects:
        answer = read_answer(given)
        if not isinstance(answer, (str, dict, list, int, float)):
            answer = _to_plain(answer)
    altered = list(iter_alterations(answer))
    if target.is_slow:
        altered = [
            alteration for alteration in altered if len(str(alteration.answer)) <= targets.MAX_SLOW_CHARS
        ]
    if not altered:
        return targets.NOT_ALTERABLE
    if isinstance(answer, str):
        altered += [Alteration("replaced by the reference", text) for text in _list_references(call)]
        for text in _list_mentioned(call):
            altered.append(Alteration("text of the assertion added", f"{answer} {text}"))
            altered.append(Alteration("text of the assertion put before it", f"{text} {answer}"))
    if not target.forbids:
        return altered
    if not isinstance(answer, str):
        return targets.NO_FORBIDDEN_TEXT
    forbidden = list_forbidden(call.name, call.arguments)
    if not forbidden:
        return targets.NO_FORBIDDEN_TEXT
    planted = []
    for text in forbidden:
        planted.append(Alteration("forbidden text added", f"{answer}\n{text}"))
        planted.append(Alteration("replaced by the forbidden text", text))
    return [*planted, *altered]


def _list_mentioned(call: _Call) -> list[str]:
    """Return texts that a metric or a pattern mentions, which it may forbid."""
    if call.name == "assert_score":
        return [*list_mentioned(call.arguments["metric"]), *_list_references(call)]
    if call.name == "assert_matches":
        return list_excluded(call.arguments["pattern"])
    return []


def _list_references(call: _Call) -> list[str]:
    """Return the text that a metric compares the answer with: the metric may request another one."""
    expected = call.arguments.get("expected")
    if call.name == "assert_score" and isinstance(expected, str):
        return [expected]
    return []


def _to_plain(answer: object) -> object:
    """Return the fields of a pydantic model; any other object as it is."""
    dump = getattr(answer, "model_dump", None)
    if dump is None or isinstance(answer, type):
        return answer
    try:
        return cast("object", dump(mode="json"))
    except Exception:  # noqa: BLE001 -- an object of the user's can do anything
        return answer


class _Entry:
    """The fact about an assertion in the record of the running test; calls at the same place add to it.

    Args:
        place: The file and line of the call.
        call: The call.
        function: The assertion.
        test: The recorder of the running test.
    """

    def __init__(self, place: str, call: _Call, function: FunctionType, test: Recorder) -> None:
        self.call = call
        self._facts = cast("list[Json]", test.facts.setdefault(FACT, []))
        label = str(call.arguments.get("label") or "")
        self.key = place, call.name, label
        positional = function.__defaults__ or ()
        names = parameter_names(function.__code__)[0]
        defaults = dict(zip(names[len(names) - len(positional) :], positional, strict=True))
        defaults.update(function.__kwdefaults__ or {})
        text = format_call(call.name, call.arguments, defaults, names)
        text = recorder.shorten_masked(text, targets.MAX_CALL_CHARS)
        self._new = LintedAssertion(
            place=place, name=call.name, call=text, label=recorder.shorten_masked(label, 60)
        )

    def add(self, **changes: Any) -> None:
        """Add a call to the fact."""
        new = replace(self._new, **changes)
        for index, wire in enumerate(self._facts):
            stored = LintedAssertion.from_wire(wire)
            if (stored.place, stored.name, stored.label) == (new.place, new.name, new.label):
                self._facts[index] = stored.add(new).to_wire()
                return
        self._facts.append(new.to_wire())

    def add_passed(self, answer: object, passed: Sequence[Alteration]) -> None:
        """Add a call that passed on all altered answers, with the first of them as the example."""
        example = passed[0]
        before = after = ""
        if self.call.name not in _SENSITIVE:
            before = recorder.shorten_masked(_as_text(read_answer(answer)), MAX_SHOWN_CHARS)
            after = recorder.shorten_masked(_as_text(example.answer), MAX_SHOWN_CHARS)
        self.add(answers=1, alterations=len(passed), kind=example.kind, before=before, after=after)


def _copy(answer: object) -> object:
    """Return a copy of an altered answer, whose parts are the test's own and may be changed by a metric."""
    try:
        return deepcopy(answer)
    except Exception:  # noqa: BLE001 -- an object of the user's can do anything
        return answer


def _as_text(answer: object) -> str:
    """Return an answer as it is shown."""
    if isinstance(answer, str):
        return answer
    try:
        return repr(answer)
    except Exception:  # noqa: BLE001 -- an object of the user's can do anything
        return type(answer).__name__
