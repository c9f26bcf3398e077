"""A reader of the documents, who types them in."""

from __future__ import annotations

import pytest


@pytest.fixture
def reader(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, loaded_once: None, installed_packages: None
) -> pytest.Pytester:
    """A folder in which files and commands of a document are typed in, with our plugin alone.

    pytest runs within this process, as in tests/plugin: a process of its own takes a second to load what it needs.
    """
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_PLUGINS", "pytest_llmops.plugin")
    monkeypatch.setenv("COLUMNS", "80")
    return pytester
