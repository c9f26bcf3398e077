from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest

from pytest_llmops.harness.used_names import find_used_names


def load_module(monkeypatch: pytest.MonkeyPatch, name: str, code: str, path: Path) -> types.ModuleType:
    module = types.ModuleType(name)
    module.__file__ = str(path / f"{name}.py")
    monkeypatch.setitem(sys.modules, name, module)
    exec(compile(code, module.__file__, "exec"), vars(module))
    return module


@pytest.mark.parametrize(
    "code",
    [
        "from pytest_llmops import assert_semantic",
        "from pytest_llmops import assert_semantic as same_meaning",
        "import pytest_llmops\ndef f(): pytest_llmops.assert_semantic('a', 'b')",
        "import pytest_llmops as llmops\nclass T:\n    def f(self): llmops.assert_semantic('a', 'b')",
        "def f():\n    def inner():\n        from pytest_llmops import assert_semantic\n    return inner",
        "def f():\n    from pytest_llmops.assertions.semantic import assert_semantic",
        "from helper import f",
        "import helper",
    ],
)
def test_a_use_is_found(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper = (
        "from pytest_llmops import assert_semantic\ndef f(): assert_semantic('a', 'b', embedder='hashing')"
    )
    load_module(monkeypatch, "helper", helper, tmp_path)
    module = load_module(monkeypatch, "test_a", code, tmp_path)
    assert "assert_semantic" in find_used_names([module], tmp_path)


def test_texts_of_a_user_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "from pytest_llmops import assert_semantic\ndef f(): assert_semantic('a', 'b', embedder='hashing')\ndef g(): 'tfidf'"
    names = find_used_names([load_module(monkeypatch, "test_a", code, tmp_path)], tmp_path)
    assert "hashing" in names
    assert "tfidf" not in names


@pytest.mark.parametrize(
    "code",
    [
        "def f(): assert_semantic('a', 'b')",
        "import installed",
        "import elsewhere",
        "class Lazy:\n    def __getattr__(self, name): raise RuntimeError(name)\nlazy = Lazy()",
    ],
)
def test_nothing_of_ours_is_nothing(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = "from pytest_llmops import assert_semantic"
    project = tmp_path / "project"
    load_module(monkeypatch, "installed", ours, project / ".venv" / "site-packages")
    load_module(monkeypatch, "elsewhere", ours, tmp_path)
    assert find_used_names([load_module(monkeypatch, "test_a", code, project)], project) == set()
