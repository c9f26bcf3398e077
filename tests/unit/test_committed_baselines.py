"""The baselines that the examples and the demo are compared with: a new version of a check makes them useless."""

import json
from pathlib import Path

import pytest

from pytest_llmops.semantics.checks.comparison import VERSION

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "path", ["examples/llmops-baseline.json", "pytest_llmops/cli/starter/demo/llmops-baseline.json"]
)
def test_a_committed_baseline_has_the_checks_of_meaning_of_now(path: str) -> None:
    baseline = json.loads((ROOT / path).read_text(encoding="utf-8"))

    assert baseline["metrics"]["semantic.checks"][0] == f"checks/{VERSION}", (
        "accept it again: see CONTRIBUTING.md"
    )
