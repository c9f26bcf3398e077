"""The marker ``llm_fault``: a call of the test gets a failure on purpose."""

from collections.abc import Iterator
from typing import Any

from pytest_llmops import recorder
from pytest_llmops._util.option_values import Parser
from pytest_llmops.cassettes import FAULT_KINDS, Fault, FaultPlan, find_fault_plan
from pytest_llmops.errors import UnknownName, UsageError
from pytest_llmops.harness.markers.marker import Argument, Arguments, Marker, name_of, whole_number
from pytest_llmops.measurement import Measurement, as_finite_float

EVERY = "every"
STALE_CALL = 2  # the first call has none before it
# Arguments that only some kinds have
_OWN_ARGUMENTS = ("text", "size", "seconds", "at_most_s")


def _parse_kind(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"a kind of fault ({', '.join(FAULT_KINDS)})")
    return value


def _number_or_every(name: str) -> Parser:
    """Return the parser of a number from 1, or of "every", which becomes None."""
    expected = f"{name} as a whole number from 1, or {EVERY!r}"
    parse_number = whole_number(expected, least=1)

    def parse(value: object) -> int | None:
        if value == EVERY:
            return None
        number: int = parse_number(value)
        return number

    return parse


def _parse_seconds(value: object) -> float:
    seconds = as_finite_float(value)
    if seconds is None or seconds <= 0:
        raise ValueError("seconds and at_most_s as numbers above 0")
    return seconds


def _parse_must_come(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must_come=False for a fault whose call need not come, or no must_come=")
    return value


class FaultMarker(Marker):
    """A test may have several of these markers. It fails if a fault never occurred, or if the application waited without end. `llmops docs faults` lists the kinds.

    Example::

        @pytest.mark.llm_fault("timeout", call=2)
        def test_agent_survives(llm_calls):
            assert_recovers(agent.run("Where is my order?"))
    """

    name = "llm_fault"
    help = "make a call of a model or a tool fail on purpose"
    arguments = (
        Argument("kind", _parse_kind, "the kind of fault, such as `'timeout'`"),
        Argument(
            "call",
            _number_or_every("call"),
            "the number of the call, from 1. Repeated tries of a failed call do not count. `'every'`: all calls. `stale` starts at 2",
            default=1,
        ),
        Argument(
            "times",
            _number_or_every("times"),
            "the number of tries of that call that fail. `'every'`: all of them",
            default=1,
        ),
        Argument(
            "tool",
            name_of("tool as the name of a tool, or 'server/tool', with * and ?"),
            "the name of a tool, or `'server/name'`, with `*` and `?`. Left out: calls of models",
            default=None,
        ),
        Argument(
            "text",
            name_of("text as a text that is not empty"),
            "for `hostile`: your own injected text",
            default=None,
        ),
        Argument(
            "size",
            whole_number("size as a whole number from 1", least=1),
            "for `too_long`: the number of characters (default: 100,000)",
            default=None,
        ),
        Argument(
            "seconds",
            _parse_seconds,
            "for `slow`: the delay of the answer, in seconds (default: 2)",
            default=None,
        ),
        Argument(
            "at_most_s",
            _parse_seconds,
            "for `never_returns`, and for `malformed_json` of a tool: the end of the waiting, in seconds (default: 10)",
            default=None,
        ),
        Argument(
            "must_come",
            _parse_must_come,
            "`False`: the test may pass although the fault never occurred",
            default=True,
        ),
    )

    def read(self, arguments: Arguments) -> Fault:
        """Return the fault.

        Raises:
            UsageError: The kind is unknown, makes no sense for a model or for a tool, or lacks an argument that is given.
        """
        values = self.parse(arguments)
        given = arguments.by_name(*values)
        name = values["kind"]
        kind = FAULT_KINDS.get(name)
        if kind is None:
            where = f"{arguments.where}: @pytest.mark.{self.name}"
            raise UnknownName("kind of fault", name, FAULT_KINDS, where=where)
        if values["tool"] is None and not kind.model:
            raise arguments.usage_error(f"tool='name' with {name!r}, which happens to tools only")
        if values["tool"] is not None and not kind.tool:
            raise arguments.usage_error(f"no tool= with {name!r}, which happens to models only")
        own = {argument: values[argument] for argument in _OWN_ARGUMENTS if values[argument] is not None}
        for argument in own:
            if argument != kind.needs:
                kinds = [other for other, facts in FAULT_KINDS.items() if facts.needs == argument]
                raise arguments.usage_error(f"{argument}= with {' or '.join(kinds)} only")
        call = values["call"]
        if name == "stale":
            call = self._read_stale_call(arguments, given, call)
        return Fault(
            kind=name,
            call=call,
            times=values["times"],
            tool=values["tool"] or "",
            must_come=values["must_come"],
            **own,
        )

    def _read_stale_call(self, arguments: Arguments, given: dict[str, Any], call: int | None) -> int | None:
        """Return which call gets the answer of the one before: the second, unless another one is given."""
        if "call" not in given:
            return STALE_CALL
        if call == 1:
            raise arguments.usage_error(
                "call=2 or a later one with 'stale': the first call has no answer before it"
            )
        return call

    def check_needs(self, node: Any, fixtures: Any) -> None:
        """Check all faults of a test, not only the closest.

        Raises:
            UsageError: One of them is wrong.
        """
        list_faults(node)

    def check_after_call(self, arguments: Arguments) -> None:
        """Fail a test in which a fault never came, or in which the application waited for ever."""
        __tracebackhide__ = True
        plan = find_fault_plan()
        if plan is None or plan.is_judged:
            return
        missing = plan.describe_missing()
        if missing:
            recorder.emit(Measurement(name="agent.recovers", error=missing), evidence=plan.describe_calls())
        hung = [event for event in plan.hits if event.hung]
        if hung:
            recorder.emit(
                Measurement(name="agent.recovers", value=0.0, threshold=1.0),
                verdict=f"agent.recovers: {plan.describe_hung()}",
                evidence=plan.describe_calls(),
            )


MARKER = FaultMarker()


def list_faults(node: Any) -> list[Fault]:
    """Return the faults of a test, with the ones of its class and module.

    Raises:
        UsageError: One of them is wrong.
    """
    return list(_iter_faults(node))


def _iter_faults(node: Any) -> Iterator[Fault]:
    for mark in node.iter_markers(MARKER.name):
        yield MARKER.read(Arguments(node.nodeid, MARKER.name, mark.args, mark.kwargs))


def make_fault_plan(item: Any) -> FaultPlan | None:
    """Return the plan of a test; None: it has no faults.

    Raises:
        UsageError: A fault is wrong.
    """
    faults = list_faults(item)
    if not faults:
        return None
    return FaultPlan(faults)


def refuse_faults_elsewhere(item: Any) -> None:
    """Refuse the faults of a test that another plugin records.

    Raises:
        UsageError: It has any.
    """
    if list_faults(item):
        raise UsageError(
            f"{item.nodeid}: marked `vcr` and `llm_fault`: another plugin records its calls, so no fault can come; "
            "take one mark away"
        )
