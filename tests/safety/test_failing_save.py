"""What a user sees of a cassette that cannot be written: one clear error, red, and nothing else is touched."""

from __future__ import annotations

import sys

import pytest
from support.messages import check_message
from support.project import Project

CONFTEST = '''
import errno
import http.client
import os
import socket
import threading
import httpx2
import pytest

OWNERS = [
    (httpx2.HTTPTransport, "handle_request"), (httpx2.AsyncHTTPTransport, "handle_async_request"),
    (socket.socket, "connect"), (socket, "getaddrinfo"), (http.client, "HTTPConnection"),
    (http.client, "HTTPSConnection"), (threading.Thread, "start"),
]
BEFORE = [getattr(*owner) for owner in OWNERS]

@pytest.fixture
def theirs():
    """What a recorded test patched and left so. The guard of the run has patched connections before."""
    return [owner for owner, before in zip(OWNERS, BEFORE) if getattr(*owner) is not before]

real = os.replace
def replaced(source, target):
    if os.path.basename(target) == "test_full.json" and os.path.exists("disk-is-full"):
        raise OSError(errno.ENOSPC, "No space left on device")
    real(source, target)
os.replace = replaced
'''
HEAD = """
import os
import httpx2
import pytest

def ask(text):
    url = os.environ["SERVER"] + "/ask"
    return httpx2.post(url, json={"q": text}, trust_env=False, verify=False).json()["n"]

@pytest.mark.llm_cassette
def test_read_only():
    ask("one")
"""
TESTS = f"""{HEAD.rstrip()}
    ask("two")

def test_patches_1(theirs):
    assert theirs == []

@pytest.mark.llm_cassette
def test_full():
    ask("three")

def test_patches_2(theirs):
    assert theirs == []

@pytest.mark.llm_cassette("blocked/answers")
def test_blocked():
    ask("four")

def test_patches_3(theirs):
    assert theirs == []

@pytest.mark.llm_cassette
def test_next():
    assert ask("five") == 1
"""


@pytest.mark.skipif(sys.platform == "win32", reason="modes are POSIX")
def test_a_failing_save_is_reported_once_and_touches_nothing_else(project: Project) -> None:
    project.write(**{"conftest.py": CONFTEST, "test_a.py": HEAD})
    assert project.record().outcomes == {"passed": 1}
    cassette = project.path / "cassettes" / "test_a" / "test_read_only.json"
    before = cassette.read_bytes()
    cassette.chmod(0o444)
    project.write(**{"test_a.py": TESTS, "disk-is-full": "", "cassettes/blocked": "a file"})

    failed = project.record()
    assert failed.exit == 1
    assert failed.outcomes == {"passed": 5, "errors": 4}
    messages = {
        name: record.message for name, record in failed.records.items() if record.outcome == "errored"
    }
    assert set(messages) == {"test_read_only", "test_full", "test_blocked", "test_next"}
    assert messages["test_next"].startswith(
        "CassetteMiss: not called: "
    )  # a full disk stops the run's live calls
    assert "No space left on device" in messages["test_full"]
    check_message(sorted(messages.items()))
    for name, message in messages.items():
        assert "cassettes/" in message or name == "test_next"
        assert "Traceback" not in message
    assert cassette.read_bytes() == before
    assert project.server.count == 3  # one, two, three: what cannot be read, or stored, is not asked

    cassette.chmod(0o644)
    (project.path / "disk-is-full").unlink()
    (project.path / "cassettes" / "blocked").unlink()
    healed = project.record()
    assert healed.exit == 0
    assert project.server.count == 5  # nothing was paid twice
    project.server.close()
    assert project.run().outcomes == {"passed": 7}
    assert not list(project.path.rglob(".journal"))
