"""The marker ``llm_cassette``: a test is recorded, and how."""

from dataclasses import dataclass
from typing import Any

from pytest_llmops._util.option_values import parse_tool_function
from pytest_llmops.harness.markers.marker import Argument, Arguments, Marker, one_of, optional


@dataclass(frozen=True, slots=True)
class CassetteChoice:
    """Which cassette a test has, and how it calls.

    Attributes:
        name: The name of a cassette that tests share; empty: the test has its own.
        is_live: Whether the test calls live and is not recorded.
        at_once: Whether its calls may be made before the test (--llm-concurrency).
        tools: Functions whose calls are recorded and replayed, each by its path.
    """

    name: str = ""
    is_live: bool = False
    at_once: bool = True
    tools: tuple[str, ...] = ()


def _parse_cassette_name(value: object) -> str:
    if not isinstance(value, str) or not value.strip("/"):
        raise ValueError("the name of a cassette")
    return value


def _parse_at_once(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("at_once=False for a test that must not run before it is reported, or no at_once=")
    return value


def _parse_tools(value: object) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or not value:
        raise ValueError('tools=["shop.orders.find_order"], the paths of functions in a list')
    try:
        return tuple(parse_tool_function(entry) for entry in value)
    except ValueError as error:
        raise ValueError(f"in tools= {error}") from None


class CassetteMarker(Marker):
    """Use it for a test that uses none of our fixtures, such as a test of an application that calls an SDK itself.

    Example::

        @pytest.mark.llm_cassette
        def test_shop():
            assert_contains(shop.answer("May I return it?"), "45 days")
    """

    name = "llm_cassette"
    help = "record and replay the model calls of the test"
    arguments = (
        Argument("name", optional(_parse_cassette_name), "a cassette that several tests share", default=None),
        Argument(
            "record",
            one_of(
                "record='live' for a test that always calls the model, or no record=, as the other modes hold for the whole run (--llm-record)",
                None,
                "live",
            ),
            "`'live'`: the test always calls the model, unless `--llm-record` names a mode",
            default=None,
        ),
        Argument(
            "at_once",
            _parse_at_once,
            "`False`: with `--llm-concurrency` the test makes its calls one after another",
            default=True,
        ),
        Argument(
            "tools",
            _parse_tools,
            'functions whose calls are recorded and replayed like calls of MCP servers, each by its path: `["shop.orders.find_order"]`',
            default=(),
        ),
    )

    def read(self, arguments: Arguments) -> CassetteChoice:
        """Return which cassette the test has."""
        values = self.parse(arguments)
        return CassetteChoice(
            name=values["name"] or "",
            is_live=values["record"] == "live",
            at_once=values["at_once"],
            tools=values["tools"],
        )


MARKER = CassetteMarker()


def read_cassette_choice(node: Any) -> CassetteChoice:
    """Return which cassette a test has; without a marker its own."""
    return MARKER.read(MARKER.find_or_default(node))
