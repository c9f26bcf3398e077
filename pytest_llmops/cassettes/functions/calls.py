"""Calls of functions that a test has named: replayed, or made, and recorded or compared.

Only the outermost call counts. The function does not run in a replay, so its own calls of other recorded functions
or of a server are not recorded.
"""

import asyncio
import builtins
import contextlib
import inspect
import sys
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import Any

from pytest_llmops._util.code_swap import CodeSwap, kind_of, parameter_names
from pytest_llmops.cassettes import active_tape
from pytest_llmops.cassettes.active_tape import current_tape
from pytest_llmops.cassettes.functions import values
from pytest_llmops.cassettes.functions.paths import (
    FoundFunction,
    FunctionChoice,
    find_function,
    find_modules,
    read_choice,
)
from pytest_llmops.cassettes.functions.values import Unrecordable
from pytest_llmops.cassettes.late_patches import LatePatches
from pytest_llmops.cassettes.outcome import Outcome
from pytest_llmops.cassettes.request_key import Answer, Question
from pytest_llmops.cassettes.tape import Tape
from pytest_llmops.cassettes.tool_calls import ToolTurn
from pytest_llmops.cassettes.tool_questions import (
    FUNCTION,
    FUNCTION_METHOD,
    make_tool_answer,
    read_tool_answer,
)
from pytest_llmops.errors import CassetteError, CassetteMiss, UsageError
from pytest_llmops.measurement import shorten_text

TIMING_DIGITS = 4


@contextlib.contextmanager
def record_functions(named: Sequence[str], where: str) -> Iterator[None]:
    """Record and replay the calls of functions while a block runs, also of modules that are imported in it.

    Args:
        named: The functions, each by its path, with parameters to ignore.
        where: The test, for errors.

    Raises:
        UsageError: A path does not exist, is not a function, or is given twice; for a module that is imported later, the import raises it.
    """
    by_module = find_modules([read_choice(text) for text in named], where)
    seen: dict[int, str] = {}

    def make_swaps(module: ModuleType) -> Iterator[Any]:
        for choice in by_module[module.__name__]:
            try:
                found = find_function(module, choice.path, where)
                recorded = RecordedFunction(choice, found, where)
            except UsageError:
                if sys.modules.get(module.__name__) is module:
                    raise
                continue  # an earlier version of the module, which somebody may still hold
            other = seen.setdefault(id(found.function), choice.path)
            if other != choice.path:
                raise UsageError(
                    f"{where}: expected each function once, got one by two paths: {other}, {choice.path}"
                )
            yield recorded.swap

    patches = LatePatches(dict.fromkeys(by_module, make_swaps))
    try:
        patches.apply()
        yield
    finally:
        patches.restore_attribute()


@dataclass(slots=True, eq=False)
class _Call:
    """A call of a recorded function.

    Attributes:
        recorded: The answer of the recording, if the function itself is not called.
    """

    tape: Tape
    question: Question
    turn: ToolTurn
    recorded: Answer | None
    started: float

    @property
    def holds_back(self) -> bool:
        """Whether the caller gets the recorded answer once the function has answered: items of a generator come only then."""
        return self.turn.answer is not None


class RecordedFunction:
    """A function whose calls are recorded and replayed.

    Args:
        choice: Its name, and the ignored arguments.
        found: The function.
        where: The test, for errors.

    Attributes:
        swap: Replaces its code.

    Raises:
        UsageError: A parameter to ignore does not exist.
    """

    def __init__(self, choice: FunctionChoice, found: FoundFunction, where: str) -> None:
        function = found.function
        self.name = choice.path
        self._ignored = frozenset(choice.ignore)
        self._drops_first = found.drops_first
        self._namespace: Mapping[str, Any] = function.__globals__
        self._names = parameter_names(function.__code__)
        self._signature = _read_signature(function)
        self._check_ignored(choice, where)
        self._check_kind(function, where)
        self._hints: dict[str, type] | None = None
        hooks: dict[str, Callable[..., Any]] = {
            "plain": self._call,
            "coroutine": self._call_coroutine,
            "generator": self._call_generator,
            "async generator": self._call_async_generator,
        }
        self.swap = CodeSwap(function, hooks[kind_of(function)])

    def _check_ignored(self, choice: FunctionChoice, where: str) -> None:
        by_position, rest, by_name, more = self._names
        known = {*by_position, rest, *by_name, more, *(self._signature.parameters if self._signature else ())}
        for name in choice.ignore:
            if name not in known:
                have = ", ".join(sorted(known - {""})) or "none"
                raise UsageError(f"{where}: tool {choice.path}: ignore={name}: its parameters are {have}")

    def _check_kind(self, function: FunctionType, where: str) -> None:
        """Refuse a plain function around a coroutine function or a generator: it does not return a result yet."""
        inner = inspect.unwrap(function)
        if isinstance(inner, FunctionType) and kind_of(function) == "plain" != kind_of(inner):
            raise UsageError(
                f"{where}: tool {self.name}: its decorator returns a plain function, and the {kind_of(inner)} function in it does the work;"
                f" name that: {self.name}.__wrapped__"
            )

    @property
    def _classes(self) -> dict[str, type]:
        """The classes in the return annotation; evaluated at the first call, when all names of the module exist."""
        if self._hints is None:
            self._hints = values.find_classes(values.read_return_hint(inspect.unwrap(self.swap.function)))
        return self._hints

    # The hooks, one for each kind of function

    def _call(self, *given: Any) -> Any:
        call = self._claim(*given)
        if call is None:
            return self._call_real(*given)
        if call.recorded is not None:
            return self._give(call, call.recorded)
        try:
            with active_tape.run_tool():
                result = self._call_real(*given)
        except BaseException as error:  # noqa: BLE001 -- the caller gets it, or the recorded answer
            return self._give_after_error(call, error)
        return self._give_result(call, result)

    async def _call_coroutine(self, *given: Any) -> Any:
        call = self._claim(*given)
        if call is None:
            return await self._call_real(*given)
        if call.recorded is not None:
            if call.recorded.outcome is not None:
                await call.recorded.outcome.raise_in_task(asyncio, call.tape, call.recorded.latency_s)
            return self._give(call, call.recorded)
        try:
            with active_tape.run_tool():
                result = await self._call_real(*given)
        except BaseException as error:  # noqa: BLE001 -- as above
            return self._give_after_error(call, error)
        return self._give_result(call, result)

    def _call_generator(self, *given: Any) -> Generator[Any, Any, Any]:
        call = self._claim(*given)
        if call is None:
            return (yield from self._call_real(*given))
        if call.recorded is not None:
            return (yield from self._give_items(call, call.recorded))
        items: list[Any] = []
        outside: Exception | None = None
        source = self._call_real(*given)
        try:
            while True:
                try:
                    with active_tape.run_tool():
                        item = next(source)
                except StopIteration as end:
                    returned = end.value
                    break
                items.append(item)
                if call.holds_back:
                    continue
                try:
                    self._check_sent(call, (yield item))
                except Exception as error:  # noqa: BLE001 -- the caller's; the function raises it again
                    outside = error
                    with active_tape.run_tool(), contextlib.suppress(StopIteration):
                        source.throw(error)
                    raise self._refuse_throw(call) from None
        except GeneratorExit:  # the caller has enough
            self._finish(call, self._make_items(call, items, None))
            raise
        except Exception as error:
            if error is outside:  # the caller's own, as in a `with` block: the recording ends before it
                self._finish(call, self._make_items(call, items, None))
                raise
            answer = self._finish_failed_items(call, items, error)
            if answer is None:
                raise
            return (yield from self._give_items(call, answer))
        except BaseException:
            call.tape.abandon_tool(call.question, call.turn)
            raise
        finally:
            with active_tape.run_tool():
                source.close()
        answer = self._finish(call, self._make_items(call, items, returned))
        if answer is None:
            return returned
        return (yield from self._give_items(call, answer))

    def _call_async_generator(self, *given: Any) -> AsyncGenerator[Any, Any]:
        call = self._claim(*given)
        if call is not None and call.recorded is not None:
            return self._give_items_async(call, call.recorded)
        source: AsyncGenerator[Any, Any] = self._call_real(*given)
        if call is None:
            return source
        return self._watch_async_generator(call, source)

    async def _watch_async_generator(
        self, call: _Call, source: AsyncGenerator[Any, Any]
    ) -> AsyncGenerator[Any, Any]:
        items: list[Any] = []
        outside: Exception | None = None
        answer: Answer | None = None
        try:
            while True:
                try:
                    with active_tape.run_tool():
                        item = await anext(source)
                except StopAsyncIteration:
                    break
                items.append(item)
                if call.holds_back:
                    continue
                try:
                    self._check_sent(call, (yield item))
                except Exception as error:  # noqa: BLE001 -- the caller's; the function raises it again
                    outside = error
                    with active_tape.run_tool(), contextlib.suppress(StopAsyncIteration):
                        await source.athrow(error)
                    raise self._refuse_throw(call) from None
        except GeneratorExit:
            self._finish(call, self._make_items(call, items, None))
            raise
        except Exception as error:
            if error is outside:
                self._finish(call, self._make_items(call, items, None))
                raise
            answer = self._finish_failed_items(call, items, error)
            if answer is None:
                raise
        except BaseException:
            call.tape.abandon_tool(call.question, call.turn)
            raise
        else:
            answer = self._finish(call, self._make_items(call, items, None))
        finally:
            with active_tape.run_tool():
                await source.aclose()
        if answer is not None:
            async for item in self._give_items_async(call, answer):
                yield item

    def _call_real(
        self, first: Sequence[Any], rest: Sequence[Any], named: Mapping[str, Any], more: Mapping[str, Any]
    ) -> Any:
        """Call the function itself."""
        return self.swap.real(*first, *rest, **named, **more)

    # A call in the form that is matched

    def _claim(
        self, first: Sequence[Any], rest: Sequence[Any], named: Mapping[str, Any], more: Mapping[str, Any]
    ) -> _Call | None:
        """Return what happens to a call; None: the function is called as without a recording.

        Raises:
            CassetteMiss: It has to be replayed, and no recording answers it; an argument cannot be recorded.
            BudgetReached: The budget has no live call left.
        """
        tape = current_tape()
        if tape is None or not tape.uses_tools():
            return None
        arguments = self._name_arguments(first, rest, named, more)
        written = {}
        for name, value in arguments.items():
            try:
                written[name] = values.encode(value)
            except Unrecordable as error:
                raise tape.refuse(
                    f"the tool {self.name} cannot be recorded: its argument {name} holds {error}\n"
                    f"  leave it out  name the tool as {self._suggest_ignore(name)!r}"
                ) from None
        question = tape.make_tool_question(FUNCTION, self.name, FUNCTION_METHOD, written)
        turn = tape.claim_tool(question)
        if turn.action == "pass":
            return None
        recorded = None
        if not turn.is_live:
            recorded = turn.answer
        return _Call(tape, question, turn, recorded, time.perf_counter())

    def _suggest_ignore(self, name: str) -> str:
        return f"{self.name} ignore={','.join(sorted({*self._ignored, name}))}"

    def _name_arguments(
        self, first: Sequence[Any], rest: Sequence[Any], named: Mapping[str, Any], more: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return the arguments of a call by name, without ``self``, ``cls`` and the ignored arguments."""
        by_position, rest_name, _, more_name = self._names
        if self._signature is not None:
            bound = self._signature.bind(*first, *rest, **named, **more)
            bound.apply_defaults()
            arguments = dict(bound.arguments)
            ordered = list(self._signature.parameters)
        else:
            arguments = dict(zip(by_position, first, strict=True)) | dict(named)
            if rest:
                arguments[rest_name] = rest
            if more:
                arguments[more_name] = dict(more)
            ordered = by_position
        if self._drops_first and ordered:
            arguments.pop(ordered[0], None)
        return {name: value for name, value in arguments.items() if name not in self._ignored}

    # Answers for the caller

    def _give(self, call: _Call, answer: Answer) -> Any:
        """Return a recorded result, or raise the recorded error."""
        if answer.outcome is not None:
            raise answer.outcome.make_exception(builtins, call.tape)
        content = read_tool_answer(answer)
        if "error" in content:
            raise self._read(call, values.decode_error, content["error"], self._namespace)
        return self._read(call, values.decode, content.get("result"), self._classes)

    def _give_items(self, call: _Call, answer: Answer) -> Generator[Any, None, Any]:
        """Yield the recorded items, and then return the recorded result, or raise the recorded error."""
        content = read_tool_answer(answer)
        result = self._read(call, values.decode, content.get("result"), self._classes)
        error: Exception | None = None
        if "error" in content:
            error = self._read(call, values.decode_error, content["error"], self._namespace)
        for item in result["items"]:
            try:
                self._check_sent(call, (yield item))
            except Exception as outside:
                if error is None:
                    raise
                raise error from outside  # the function made this of the caller's exception
        if error is not None:
            raise error
        return result["returned"]

    async def _give_items_async(self, call: _Call, answer: Answer) -> AsyncGenerator[Any, Any]:
        """Yield the recorded items, and then raise the recorded error."""
        items = self._give_items(call, answer)
        for item in items:
            try:
                self._check_sent(call, (yield item))
            except Exception as outside:  # noqa: BLE001 -- it is raised again there
                items.throw(outside)

    def _read(self, call: _Call, read: Callable[[Any, Any], Any], content: Any, known: Any) -> Any:
        """Return the content of a recording as Python values.

        Raises:
            CassetteMiss: The function does not return such a value any more, or the recording is damaged.
        """
        try:
            return read(content, known)
        except Exception as error:  # noqa: BLE001 -- of the classes of the project
            why = shorten_text(f"{type(error).__name__}: {error}", 300)
            raise call.tape.refuse(
                f"the recorded answer of the tool {self.name} cannot be read: {why}\n"
                f"  record    {call.tape.command_again}"
            ) from None

    def _give_result(self, call: _Call, result: Any) -> Any:
        """Record or compare a result, and return the caller's result."""
        answer = self._finish(call, {"result": self._encode(call, result)})
        if answer is None:
            return result
        return self._give(call, answer)

    def _give_after_error(self, call: _Call, error: BaseException) -> Any:
        """Record or compare an error, and return the caller's result or raise its error.

        Only errors of the function are recorded, and that a task was cancelled: a `KeyboardInterrupt` or the end of the test is not.
        """
        if isinstance(error, asyncio.CancelledError):
            self._finish(call, {}, Outcome("CancelledError", ""))
            raise error
        if not isinstance(error, Exception):
            call.tape.abandon_tool(call.question, call.turn)
            raise error
        answer = self._finish(call, {"error": self._encode_error(call, error)})
        if answer is None:
            raise error
        return self._give(call, answer)

    def _make_items(self, call: _Call, items: list[Any], returned: Any) -> dict[str, Any]:
        return {"result": self._encode(call, {"items": items, "returned": returned})}

    def _finish_failed_items(self, call: _Call, items: list[Any], error: Exception) -> Answer | None:
        """Record or compare the values that a generator gave before its error."""
        content = self._make_items(call, items, None)
        return self._finish(call, content | {"error": self._encode_error(call, error)})

    def _check_sent(self, call: _Call, sent: Any) -> None:
        """Refuse a generator that is sent values: they would have to be part of the call."""
        if sent is not None:
            raise call.tape.refuse(
                f"the tool {self.name} cannot be recorded: its generator gets values by send(), which are not arguments of the call"
            )

    def _refuse_throw(self, call: _Call) -> CassetteMiss:
        """Return the miss for a generator that goes on after an exception of its caller: a replay would raise it."""
        return call.tape.refuse(
            f"the tool {self.name} cannot be recorded: its generator catches an exception of its caller and goes on (throw(), or a"
            " `with` block)\n  change    name a function that it calls"
        )

    def _encode(self, call: _Call, result: Any) -> Any:
        """Return a result as JSON. Where it is only compared, any class will do.

        Raises:
            CassetteMiss: It cannot be recorded.
        """
        try:
            return values.encode_result(result, self._classes)
        except Unrecordable as error:
            if call.turn.action != "record":
                return f"cannot be recorded: {error}"
            step = "let it return JSON values, or annotate its result with a dataclass, an Enum or a model of pydantic"
            raise self._refuse(call, f"it returned {error}", step) from None

    def _encode_error(self, call: _Call, error: Exception) -> dict[str, Any]:
        """Return an error as JSON. Where it is only compared, any class will do.

        Raises:
            CassetteMiss: It cannot be recorded.
        """
        try:
            return values.encode_error(error, self._namespace)
        except Unrecordable as why:
            if call.turn.action != "record":
                return values.describe_error(error)
            step = "import the class of the exception in the module of the function; it is made of its args"
            text = shorten_text(f"{type(error).__name__}: {error}", 200)
            raise self._refuse(call, f"it raised {why} ({text})", step) from error

    def _refuse(self, call: _Call, why: str, step: str) -> CassetteMiss:
        """End a call that cannot be recorded, and return the miss that fails the test."""
        call.tape.abandon_tool(call.question, call.turn)
        return call.tape.refuse(f"the tool {self.name} cannot be recorded: {why}\n  change    {step}")

    def _finish(self, call: _Call, content: dict[str, Any], outcome: Outcome | None = None) -> Answer | None:
        """Record or compare the function's answer. Return None if the caller gets this answer, else the recorded one.

        If the answer cannot be written, the end of the tape reports it.
        """
        latency = round(time.perf_counter() - call.started, TIMING_DIGITS)
        live = make_tool_answer(content, latency, outcome)
        given = live
        with contextlib.suppress(CassetteError):
            given = call.tape.finish_tool(call.question, call.turn, live)
        if given is live or call.turn.answer is None:
            return None
        return given


def _read_signature(function: FunctionType) -> inspect.Signature | None:
    """Return the signature of the function that a decorator has wrapped; None for one that is not wrapped.

    The parameters of a wrapper are ``*args`` and ``**kwargs``: the same call by position and by name would be two calls.
    """
    if not hasattr(function, "__wrapped__"):
        return None
    with contextlib.suppress(ValueError, TypeError):
        return inspect.signature(function)
    return None
