"""The code is written for a person who reads it for the first time: see "Density" in CONTRIBUTING.md."""

from pathlib import Path

import pytest
from support.density import SMALL_MODULE, Density, measure_folder, measure_module, total_density

PACKAGE = Path(__file__).parents[2] / "pytest_llmops"


@pytest.fixture(scope="module")
def modules() -> dict[str, Density]:
    """The package, measured when a test needs it, not by each worker that collects the tests."""
    return measure_folder(PACKAGE)


@pytest.fixture(scope="module")
def total(modules: dict[str, Density]) -> Density:
    return total_density(modules)


@pytest.mark.slow
def test_few_functions_take_many_decisions(total: Density) -> None:
    many = [place for place, count in total.functions.items() if count > 15]
    assert len(many) <= len(total.functions) / 100, many


def test_most_decisions_are_statements(total: Density) -> None:
    assert total.hidden_share <= 0.25


def test_no_conditional_expression_is_within_another(total: Density) -> None:
    assert total.nested == []


def test_a_statement_is_short(total: Density, modules: dict[str, Density]) -> None:
    assert total.per_statement <= 5.5
    dense = {
        name: round(density.per_statement, 1)
        for name, density in modules.items()
        if density.statements >= SMALL_MODULE and density.per_statement > 7.5
    }
    assert dense == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"""Docstring."""\nx = 1\n', Density(statements=1, expressions=2)),
        ("if x:\n    y = 1\n", Density(statements=2, expressions=3, visible=1)),
        ("y = 1 if x else 2\n", Density(statements=1, expressions=5, hidden=1)),
        (
            "def f():\n    return [a for a in b if a and c]\n",
            Density(statements=2, expressions=7, hidden=1, functions={"m:1 f": 3}),
        ),
        ("y = 1 if a else 2 if b else 3\n", Density(statements=1, expressions=8, hidden=2, nested=["m:1"])),
    ],
)
def test_the_meter_counts(text: str, expected: Density) -> None:
    assert measure_module(text, "m") == expected
