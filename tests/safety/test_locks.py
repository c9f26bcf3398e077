"""A lock that cannot be had, or that a hanging process holds: told in time, and the answers wait."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.cassettes import entry, files, journalled, merged, texts
from support.killing import Job, Recorder, as_other
from support.messages import check_message
from support.server import StubServer

from pytest_llmops.cassettes import locking as replacing
from pytest_llmops.cassettes import store
from pytest_llmops.errors import CassetteError
from pytest_llmops.redaction.redactor import Redactor

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="users and flock are POSIX")


@posix_only
@pytest.mark.parametrize("what", ["a folder of somebody else", "a folder without rights", "a file"])
def test_locks_that_cannot_be_had_are_reported(
    recorder: Recorder, server: StubServer, open_folder: Path, what: str
) -> None:
    cassette = open_folder / "cassettes" / "test_a.json"
    cassette.parent.mkdir()
    cassette.parent.chmod(0o777)
    job = as_other(Job(str(cassette), f"{server.url}/{open_folder.name}", (1,)), open_folder)
    locks = Path(job.temporary, f"pytest-llmops-locks-{job.uid or os.getuid()}")
    if what == "a file":
        locks.write_text("x")
    elif what == "a folder without rights":
        locks.mkdir()
        if job.uid:
            os.chown(locks, job.uid, job.uid)
        locks.chmod(0o500)
    elif job.uid:
        locks.mkdir()
        locks.chmod(0o777)
    else:
        pytest.skip("only root can give a folder to somebody else")
    ran = recorder.run(job)
    assert ran.status == 0
    assert set(ran.told) == {1}
    assert len(ran.errors) == 1
    assert ran.errors[0].startswith(f"CassetteError: cassette {cassette}: ")
    check_message(ran.errors[0])
    assert list(cassette.parent.glob(".journal/*.journal"))
    shutil.rmtree(locks, ignore_errors=True)
    locks.unlink(missing_ok=True)
    assert recorder.run(job).told == ran.told
    assert files(cassette.parent) == [cassette.name]


HOLDING = """
import sys
from pathlib import Path
from pytest_llmops.cassettes import locking
with locking.lock_cassette(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("elsewhere", [False, pytest.param(True, marks=posix_only)])
def test_a_process_that_hangs_with_the_lock_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, elsewhere: bool
) -> None:
    """Also one that has its locks elsewhere, as in another container."""
    cassette = tmp_path / "cassettes" / "test_a.json"
    merged(cassette, entry(1))
    before = cassette.read_bytes()
    waiting = journalled(cassette, entry(2))
    monkeypatch.setattr(replacing, "LOCK_TIMEOUT_S", 0.05)
    variables = {**os.environ, **({"TMPDIR": str(tmp_path)} if elsewhere else {})}
    with subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(cassette)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=variables,
    ) as holder:  # fmt: skip
        assert holder.stdout is not None
        assert holder.stdout.readline().strip() == b"held"
        for attempt in (
            lambda: store.merge_journals(cassette, [waiting], Redactor(), replace=False),
            lambda: store.load_with_journals(cassette),
        ):
            with pytest.raises(CassetteError, check=check_message):
                attempt()
        assert cassette.read_bytes() == before
        assert waiting.exists()
        holder.kill()
    store.merge_journals(cassette, [waiting], Redactor(), replace=False)
    assert set(texts(cassette)) == {"key-1", "key-2"}


FORKING = """
import os, sys
from pathlib import Path
from pytest_llmops.cassettes import store
from pytest_llmops.cassettes.journal import JournalEntry, Journal, find_abandoned_journals
from pytest_llmops.redaction.redactor import Redactor

cassette = Path(sys.argv[1])
body = {"text": ""}
journal = Journal(cassette)
journal.append(JournalEntry("#1", "k", "0", 0, {"method": "GET", "url": "http://h/", "body": body}, {"status": 200, "body": body}))
come, go = os.pipe()
child = os.fork()
if not child:
    os.close(go)
    os.read(come, 1)
    os._exit(0)
assert not find_abandoned_journals(cassette)
journal.close()
store.merge_journals(cassette, journal.paths, Redactor(), replace=False)
print(list(store.load_cassette(cassette)), os.listdir(cassette.parent))
os.close(go)
os.waitpid(child, 0)
"""


@posix_only
def test_a_forked_process_that_lives_on_holds_nothing_back(tmp_path: Path) -> None:
    """A pool of workers that a test leaves running has inherited the open journal, and its lock."""
    cassette = tmp_path / "test_a.json"
    done = subprocess.run(
        [sys.executable, "-c", FORKING, str(cassette)], capture_output=True, text=True, check=False
    )
    assert done.stdout == "['k'] ['test_a.json']\n", done.stderr
