"""The baseline that the examples are compared with: a new version of a check makes it useless."""

import json
from pathlib import Path

from pytest_llmops.semantics.checks.comparison import VERSION

ROOT = Path(__file__).parents[2]


def test_the_committed_baseline_has_the_checks_of_meaning_of_now() -> None:
    baseline = json.loads((ROOT / "examples/llmops-baseline.json").read_text(encoding="utf-8"))

    assert baseline["metrics"]["semantic.checks"][0] == f"checks/{VERSION}", (
        "accept it again: see CONTRIBUTING.md"
    )
