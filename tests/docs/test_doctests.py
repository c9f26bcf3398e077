"""Every example in a docstring of the package runs and gives what it says."""

from __future__ import annotations

import doctest
import importlib
import linecache
import pkgutil

import pytest

import pytest_llmops

MODULES = sorted(
    package.name
    for package in pkgutil.walk_packages(pytest_llmops.__path__, "pytest_llmops.")
    if not package.name.endswith("__main__")
)


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # For each example, the debugger of doctest looks whether any file of this process has changed.
    monkeypatch.setattr(linecache, "checkcache", lambda *_: None)
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:  # what an extra brings
        pytest.skip(f"not installed: {error.name}")
    result = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert result.failed == 0
