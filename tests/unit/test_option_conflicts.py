"""Options that do not go together: refused on the command line, ignored in the ini."""

from __future__ import annotations

from typing import Any

import pytest
from support.messages import check_message

from pytest_llmops._util.option_conflicts import FORK_TRIALS, settle_options
from pytest_llmops.errors import SettingError


def settle(typed: dict[str, Any], **ini: Any) -> dict[str, Any]:
    """Return the values of all options, from the command line over the ini."""
    values = {**ini, **typed}
    settle_options(values, [("command line", typed), ("ini", ini)])
    return values


@pytest.mark.parametrize(
    ("typed", "ini"),
    [
        ({"faults": ("empty",), "accept": "x"}, {}),
        ({"faults": ("empty",), "again": "last"}, {}),
        ({"faults": ("empty",), "trials": 3}, {}),
        ({"faults": ("empty",), "concurrency": 2}, {}),
        ({"faults": ("empty",), "record": "all"}, {}),
        ({"faults": ("empty",), "record": "changed"}, {}),
        ({"faults": ("empty",)}, {"record": "verify"}),
        ({"faults": ("empty",), "tools": "compare"}, {}),
        ({"tools": "compare", "record": "new"}, {}),
        ({"tools": "compare"}, {"record": "live"}),
        ({"record": "fork", "accept": "x"}, {}),
        ({"record": "fork", "again": "last"}, {}),
        ({"record": "fork", "concurrency": 2}, {}),
        ({"record": "fork", "trials": "auto"}, {}),
        ({"record": "fork", "trials": "auto:5"}, {}),
        ({}, {"record": "batch"}),
    ],
)
def test_options_that_do_not_go_together_are_refused(typed: dict[str, Any], ini: dict[str, Any]) -> None:
    with pytest.raises(SettingError, check=check_message):
        settle(typed, **ini)


@pytest.mark.parametrize(
    ("typed", "ini", "values"),
    [
        ({"faults": ("empty",)}, {"trials": 3, "concurrency": 2}, {"faults": ("empty",)}),
        (
            {"faults": ("empty",), "record": "live"},
            {"tools": "replay"},
            {"faults": ("empty",), "record": "live", "tools": "replay"},
        ),
        ({"faults": ("empty",)}, {"record": "new"}, {"faults": ("empty",), "record": "new"}),
        ({"faults": ("empty",)}, {"record": "none"}, {"faults": ("empty",), "record": "none"}),
        ({"faults": ()}, {"trials": 3}, {"faults": (), "trials": 3}),
        ({"tools": "compare"}, {"record": "none"}, {"tools": "compare", "record": "none"}),
        ({"tools": "compare"}, {}, {"tools": "compare"}),
        ({"tools": "replay", "record": "new"}, {}, {"tools": "replay", "record": "new"}),
        ({"record": "changed"}, {"trials": 2}, {"record": "new", "changed": True, "trials": 2}),
        ({"record": "batch"}, {}, {"record": "new", "batch": True}),
        ({"record": "fork"}, {"concurrency": 2}, {"record": "new", "fork": True, "trials": FORK_TRIALS}),
        ({"record": "fork", "trials": 4}, {}, {"record": "new", "fork": True, "trials": 4}),
        ({"record": "fork"}, {"trials": 3}, {"record": "new", "fork": True, "trials": 3}),
        (
            {"record": "fork", "trials": 4},
            {"max_age": (9, "refresh")},
            {"record": "new", "fork": True, "trials": 4, "max_age": 9, "expired": "warn"},
        ),
        (
            {"record": "fork", "trials": 4},
            {"max_age": (9, "fail")},
            {"record": "new", "fork": True, "trials": 4, "max_age": 9, "expired": "fail"},
        ),
        ({"again": "last"}, {}, {"again": "last", "record": "new"}),
        ({"again": "last"}, {"record": "all"}, {"again": "last", "record": "new"}),
        ({"again": "last"}, {"record": "live"}, {"again": "last", "record": "live"}),
        ({"again": "last", "record": "none"}, {}, {"again": "last", "record": "none"}),
        (
            {},
            {"record": "all", "max_age": (9, "refresh")},
            {"record": "all", "max_age": 9, "expired": "refresh"},
        ),
    ],
)
def test_other_options_follow_from_each_other(
    typed: dict[str, Any], ini: dict[str, Any], values: dict[str, Any]
) -> None:
    assert settle(typed, **ini) == values
