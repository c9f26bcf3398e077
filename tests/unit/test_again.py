"""What --llm-again says of a run without a case to run again."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_llmops.harness.again import keep_broken_cases, register_hooks
from pytest_llmops.results.run import Run
from pytest_llmops.results.verdict import Verdict
from pytest_llmops.settings import Settings


class Cache(dict[str, Any]):
    """pytest's."""

    def set(self, key: str, value: Any) -> None:
        self[key] = value


def test_a_run_that_is_red_by_its_mean_is_called_red(tmp_path: Path) -> None:
    config = SimpleNamespace(cache=Cache(), rootpath=tmp_path)
    run = Run(verdicts=(Verdict(kind="baseline", status="RED", sentence="quality -6.1 points"),))
    keep_broken_cases(config, run, is_partial=False)
    with pytest.raises(ValueError, match="was RED without a broken case"):
        register_hooks(config, Settings(again="last"), None, ValueError)
