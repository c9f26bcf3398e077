from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.killing import Recorder
from support.project import MODEL_VARIABLES, Project
from support.server import StubServer


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """A user's project whose runs are processes of their own: here they crash, hang and lose their rights."""
    for name in [name for name in os.environ if name in MODEL_VARIABLES or name.endswith("_API_KEY")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(pytester, "runpytest_inprocess", pytester.runpytest_subprocess)
    # Each of the many processes loads as little as possible.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_PLUGINS", "xdist.plugin,pytest_llmops.plugin")
    with StubServer() as server:
        monkeypatch.setenv("SERVER", server.url)
        yield Project(pytester, server)


@pytest.fixture(scope="module")
def recorder() -> Iterator[Recorder]:
    tape = Recorder()
    yield tape
    tape.close()


@pytest.fixture(scope="module")
def server() -> Iterator[StubServer]:
    with StubServer() as stub_server:
        yield stub_server


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter, which pytest's own are not."""
    folder = Path(tempfile.mkdtemp(prefix="pytest-llmops-test-"))
    folder.chmod(0o755)
    yield folder
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
    shutil.rmtree(folder)
