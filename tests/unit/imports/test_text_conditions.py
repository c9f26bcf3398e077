"""The checks that a condition about the answer becomes, and the checks of its opposite."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.messages import check_message

from pytest_llmops.imports.checks import Check
from pytest_llmops.imports.code_conditions import MAX_UNROLLED, write_checks
from pytest_llmops.imports.code_tree import UnknownCode
from pytest_llmops.imports.javascript_regex import UntranslatableRegex
from pytest_llmops.imports.javascript_syntax import read_javascript
from pytest_llmops.measurement import Json

ROWS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[2] / "support" / "data" / "checks_of_conditions.json").read_text(encoding="utf-8")
)
VARIABLES: dict[str, Json] = {"city": "Rome", "count": 3, "flag": True}


def write(code: str, *, positive: bool) -> list[Json] | None:
    """The parts of the checks of a condition; None: it is refused."""
    try:
        checks = write_checks(read_javascript(code), VARIABLES, positive=positive)
    except (UnknownCode, UntranslatableRegex) as error:
        check_message(str(error))
        return None
    return [list_parts(check) for check in checks]


def list_parts(check: Check) -> Json:
    if check.differs:
        check_message(check.differs)
    return [
        check.call,
        check.value,
        check.key,
        check.noun,
        list(check.imports),
        check.joins,
        check.rank,
        check.form,
        bool(check.differs),
    ]


@pytest.mark.slow
def test_each_condition_and_its_opposite_have_their_checks() -> None:
    written = [
        {
            "code": row["code"],
            "holds": write(row["code"], positive=True),
            "fails": write(row["code"], positive=False),
        }
        for row in ROWS
    ]
    assert written == ROWS


def test_a_list_is_written_out_up_to_a_limit() -> None:
    words = [f"w{number}" for number in range(MAX_UNROLLED)]
    code = f"{words}.some(w => output.includes(w))"
    (check,) = write_checks(read_javascript(code), {})
    assert check.value == words
    assert write(f"{[*words, 'x']}.some(w => output.includes(w))", positive=True) is None
