"""The value of the `llm_tools` fixture: a catalogue of tools, which checks that a model chose the tool of a case."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_llmops.agents.tool_catalogue import ToolCatalogue
from pytest_llmops.cases.files import Case
from pytest_llmops.errors import UsageError
from pytest_llmops.harness.markers.llm_tools import check_expected_tools
from pytest_llmops.measurement import Json, Measurement, shorten_text


@dataclass(frozen=True, slots=True, repr=False)
class MarkedTools(ToolCatalogue):
    """The tools of ``@pytest.mark.llm_tools``, of one catalogue."""

    def check(
        self, reply: object, case: Case, *, at_least: float | None = 1.0, label: str = ""
    ) -> Measurement:
        """Assert that a model called the tools that a case expects, with its arguments, and no other. All arguments must fit the tools' schemas.

        Keys of the case: ``tool`` is a name, a list of names in any order, or null for no call at all. ``arguments`` are those that
        matter, others may be there; for a list of tools it is a list. ``never`` are names that must not be called, with wildcards.

        Args:
            reply: The result of the application: `llm_calls`, the reply of a model, messages, the result of an agent framework.
            case: The case.
            at_least: 1.0: the calls must be right; None: recorded only, for the gate. A tool of ``never`` fails the test either way.
            label: Distinguishes several checks of a test.

        Returns:
            The measurement ``tools.calls``: 1.0 if the calls are right, else 0.0.

        Raises:
            UsageError: The case has no key ``tool``, names a tool that does not exist, or has keys of a wrong form.
            MeasurementFailed: The calls are not those that the case expects.
        """
        from pytest_llmops.agents.expected_calls import call
        from pytest_llmops.assertions.tool_calls import assert_tool_calls

        if "tool" not in case:
            raise UsageError(
                f"case {case.id}: expected the key tool (a name, a list of names, or null for no tool), got no such key"
            )
        names = check_expected_tools(self, case)
        arguments = _read_arguments(case, len(names))
        expected = []
        for name, wanted in zip(names, arguments, strict=True):
            if wanted is None:
                expected.append(call(name))
            else:
                expected.append(call(name, ..., **wanted))
        return assert_tool_calls(
            reply,
            expected,
            order="any",
            never=_read_never(case),
            tools=self,
            invalid="forbid",
            at_least=at_least,
            label=label,
        )


def _read_arguments(case: Case, count: int) -> Sequence[Mapping[str, Json] | None]:
    """Return the arguments that a case expects of each of its tools; None: any."""
    given: Any = case.data.get("arguments")
    if given is None:
        return [None] * count
    listed = given
    if isinstance(given, Mapping):
        listed = [given]
    is_right = isinstance(listed, list) and len(listed) == count
    if not is_right or not all(entry is None or isinstance(entry, Mapping) for entry in listed):
        expected = "an object"
        if count == 0:
            expected = "none, as no tool is expected"
        elif count > 1:
            expected = f"a list of {count} objects, one for each tool"
        got = shorten_text(repr(given), 80)
        raise UsageError(f"case {case.id}: arguments: expected {expected}, got {got}")
    return list(listed)


def _read_never(case: Case) -> tuple[str, ...]:
    """Return the names of the tools that a case forbids."""
    given = case.data.get("never")
    if given is None:
        return ()
    names = given
    if isinstance(given, str):
        names = [given]
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        got = shorten_text(repr(given), 80)
        raise UsageError(f"case {case.id}: never: expected the names of tools, got {got}")
    return tuple(name for name in names if isinstance(name, str))
