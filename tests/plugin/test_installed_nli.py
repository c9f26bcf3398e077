"""Tests of a project use the installed NLI model by its name, also in workers."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import tiny_nli
from support.project import Project

pytest.importorskip("onnxruntime")
pytest.importorskip("tokenizers")

TESTS = """
from pytest_llmops import assert_grounded, assert_semantic

CONTEXTS = ["The shop is open."]

def test_supported():
    assert_grounded("The shop is open.", CONTEXTS, nli="installed", at_least=1.0)

def test_made_up():
    assert_grounded("The shop is not open.", CONTEXTS, nli="installed", at_least=1.0)

def test_contradiction():
    assert_semantic("It is not open.", "It is open.", nli="installed", embedder="tfidf", at_least=0.1, checks=())
"""


def test_the_installed_model_decides_in_each_worker(
    project: Project, workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pytest_llmops.providers.nli_onnx import install_nli_model

    monkeypatch.setenv("LLMOPS_CACHE", str(tmp_path / "cache"))
    project.write(**{"test_a.py": TESTS})
    installed = install_nli_model(str(tiny_nli.write_model(tmp_path / "source")))
    result = project.run(workers=workers)
    assert result.outcomes == {"passed": 1, "failed": 2}
    (measurement,) = result.records["test_made_up"].measurements
    assert (measurement.value, measurement.version) == (0.0, f"1/nli/{installed.version}")
