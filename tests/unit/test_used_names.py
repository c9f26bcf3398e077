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


HELPER = """
from pytest_llmops import assert_semantic
def f(): assert_semantic("a", "b", embedder="hashing")
class Checker:
    @classmethod
    def check(cls): f()
    @property
    def state(self): return f()
"""


@pytest.mark.parametrize(
    "code",
    [
        "from pytest_llmops import assert_semantic\ndef test(): assert_semantic('a', 'b')",
        "from pytest_llmops import assert_semantic as same_meaning\ndef test(): same_meaning('a', 'b')",
        "import pytest_llmops\ndef test(): pytest_llmops.assert_semantic('a', 'b')",
        "import pytest_llmops as llmops\nclass test:\n    def f(self): llmops.assert_semantic('a', 'b')",
        "def test():\n    def inner():\n        from pytest_llmops import assert_semantic\n    return inner",
        "def test():\n    from pytest_llmops.assertions.semantic import assert_semantic",
        "from helper import f as test",
        "from helper import f\ndef test(): f()",
        "import helper\ndef test(): helper.f()",
        "from helper import Checker\nchecker = Checker()\ndef test(): checker.check()",
        "import functools, helper\ntest = functools.partial(helper.f)",
        "import helper\nCHECKS = {'f': helper.f}\ndef test(): CHECKS['f']()",
        "import helper\nCHECKS = [helper.f]\ndef test(): CHECKS[0]()",
        "import helper\nfrom unittest import mock\n@mock.patch('time.time', lambda: 0)\ndef test(): helper.f()",
        "import helper\nfrom hypothesis import given, strategies\n@given(strategies.none())\ndef test(a): helper.f()",
        "import helper\nclass test:\n    @staticmethod\n    def setup(): helper.f()",
        "import helper\nclass Base:\n    def setup(self): helper.f()\nclass test(Base): pass\ntest = test().setup",
    ],
)
def test_a_use_is_found(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_module(monkeypatch, "helper", HELPER, tmp_path)
    module = load_module(monkeypatch, "test_a", code, tmp_path)
    assert "assert_semantic" in find_used_names([module.test], tmp_path)


def test_only_texts_of_a_function_that_uses_this_package_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "from pytest_llmops import assert_semantic\ndef f(): assert_semantic('a', 'b', embedder='hashing')\ndef g(): 'tfidf'"
    module = load_module(monkeypatch, "test_a", code, tmp_path)
    names = find_used_names([module.f, module.g], tmp_path)
    assert "hashing" in names
    assert "tfidf" not in names


@pytest.mark.parametrize(
    "code",
    [
        "def test(): assert_semantic('a', 'b')",
        "import installed\ndef test(): installed.f()",
        "import elsewhere\ndef test(): elsewhere.f()",
        "class Lazy:\n    def __getattr__(self, name): raise RuntimeError(name)\nlazy = Lazy()\ndef test(): lazy.f()",
        "from pytest_llmops import assert_semantic\ndef test_other(): assert_semantic('a', 'b')\ndef test(): pass",
        "import helper\nclass test:\n    def test_other(self): helper.f()",
        "def make():\n    def test(): return late\n    return test\n    late = 1\ntest = make()",
        "test = None",
    ],
)
def test_nothing_of_ours_is_nothing(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = tmp_path / "project"
    load_module(monkeypatch, "helper", HELPER, project)
    load_module(monkeypatch, "installed", HELPER, project / ".venv" / "site-packages")
    load_module(monkeypatch, "elsewhere", HELPER, tmp_path)
    module = load_module(monkeypatch, "test_a", code, project)
    assert find_used_names([module.test], project) == set()
