"""The marker ``llm_budget``: the highest cost of the application's calls of a test."""

from typing import Any

from pytest_llmops import recorder
from pytest_llmops.harness.markers.marker import Argument, Arguments, Marker
from pytest_llmops.measurement import as_finite_float

EXPECTED = "numbers of at least 0 for usd, calls or tokens"


def _parse_limit(value: object) -> object:
    """Return a limit unchanged, so that messages show it as it was written."""
    if value is None:
        return None
    number = as_finite_float(value)
    if number is None or number < 0:
        raise ValueError(EXPECTED)
    return value


class BudgetMarker(Marker):
    """A test that passed fails if its calls exceed a limit. A limit of None is only measured. Calls of judges do not count.

    Example::

        @pytest.mark.llm_budget(calls=3, tokens=2_000)
        def test_short_dialog(llm): ...
    """

    name = "llm_budget"
    help = "limit the cost, number and tokens of the application's calls in the test"
    arguments = (
        Argument("usd", _parse_limit, "maximum cost in US dollars", default=None),
        Argument("calls", _parse_limit, "maximum number of calls", default=None),
        Argument("tokens", _parse_limit, "maximum number of tokens of all calls", default=None),
    )

    def read(self, arguments: Arguments) -> dict[str, Any]:
        """Return the limits that are given."""
        values = self.parse(arguments)
        given = arguments.by_name(*values)
        if not given:
            raise arguments.usage_error(EXPECTED)
        return {name: values[name] for name in given}

    def check_after_call(self, arguments: Arguments) -> None:
        """Assert that the calls of the test stay within its limits."""
        __tracebackhide__ = True
        from pytest_llmops.assertions.budgets import assert_call_count, assert_cost, assert_tokens

        limits = self.read(arguments)
        with recorder.soft():
            if "usd" in limits:
                assert_cost(at_most_usd=limits["usd"])
            if "tokens" in limits:
                assert_tokens(at_most_tokens=limits["tokens"])
            if "calls" in limits:
                assert_call_count(at_most=limits["calls"])


MARKER = BudgetMarker()
