"""The end of the silent runs of --llm-concurrency: nothing of theirs is left in the run that counts, and no test of theirs hangs it."""

from __future__ import annotations

import socket

import pytest
from support.ahead import HEAD, SIMPLE, record
from support.project import Project

CONFTEST = """
import os, subprocess
from pathlib import Path

started = []
def pytest_configure(config):
    if "LLMOPS_SILENT_LINK" in os.environ:
        started.append(subprocess.Popen(["sleep", "1000"])); Path("seen/configured").write_text(str(started[0].pid))
def pytest_unconfigure(config):
    for process in started: process.kill(); process.wait()
"""
LEFT = """
import atexit, http.server, subprocess, tempfile
from pathlib import Path

kept = []
@pytest.fixture
def is_silent(request): return request.config.pluginmanager.has_plugin("llmops_silent_runs")
@pytest.fixture(scope="session")
def server(request):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", PORT), http.server.BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    if not request.config.pluginmanager.has_plugin("llmops_silent_runs"): server.shutdown(); server.server_close()
def start_tool():
    tool = subprocess.Popen(["sleep", "1000"])
    atexit.register(lambda: (tool.kill(), tool.wait()))
    kept.append(tempfile.TemporaryDirectory())
    Path("seen/left").write_text(f"{os.getpid()} {tool.pid} {kept[0].name}")
def check_nothing_is_left():
    process, tool, folder = Path("seen/left").read_text().split()
    assert not Path(folder).exists()
    for number in [process, tool, *(path.read_text() for path in Path("seen").glob("configured"))]:
        with pytest.raises(ProcessLookupError): os.kill(int(number), 0)
def test_leaves(server, is_silent):
    if is_silent and not kept: start_tool()
    if not is_silent: check_nothing_is_left()
    assert "echo" in ask("leaves")
def test_fails_silently(is_silent):
    if is_silent: raise ValueError("half imported")
    assert "echo" in ask("fails")
def test_always_fails(): raise ValueError("always")
"""


@pytest.mark.parametrize("workers", [0, 2])
def test_nothing_of_the_silent_runs_is_left_and_a_failure_of_theirs_is_named(
    project: Project, workers: int
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    (project.path / "seen").mkdir()
    project.write(
        **{
            "conftest.py": CONFTEST,
            "test_a.py": HEAD + LEFT.replace("PORT", str(port)),
            "pytest.ini": "[pytest]\nllm_model = m\nllm_silent_writes = seen\n",
        }
    )
    together = record(project, "--llm-concurrency=4", workers=workers)
    assert together.result.outcomes == {"passed": 2, "failed": 1}
    assert together.sent.total() == 2
    line = together.result.line("sent one after another: ")
    assert "test_fails_silently: it failed in its silent run (ValueError: half imported)" in line


HANG = """
@pytest.mark.timeout(0.5)
def test_hangs(request):
    if request.config.pluginmanager.has_plugin("llmops_silent_runs"): {how}
    assert "echo" in ask("hangs")
"""


@pytest.mark.parametrize("how", ["threading.Event().wait()", "asyncio.run(asyncio.Event().wait())"])
def test_a_test_that_hangs_in_its_silent_run_is_named_and_nothing_is_paid_twice(
    project: Project, how: str
) -> None:
    project.write(
        **{
            "test_a.py": HEAD + SIMPLE + HANG.format(how=how),
            "pytest.ini": "[pytest]\nllm_model = m\nmarkers = timeout\n",
        }
    )
    together = record(project, "--llm-concurrency=4")
    assert together.result.outcomes == {"passed": 7}
    assert together.sent.total() == 13
    line = together.result.line("silent runs ended early: ")
    assert "test_a.py::test_hangs has run for 0.5 s without a call" in line
    assert "at_once=False" in line


INTERRUPTED = """
import signal, subprocess
from pathlib import Path

signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background of a shell ignores it
@pytest.fixture(scope="session")
def tool(): yield; Path("seen/torn-down").touch()
def test_is_interrupted(tool, request):
    if request.config.pluginmanager.has_plugin("llmops_silent_runs"):
        for process in PROCESSES: subprocess.run(["kill", "-INT", str(process)])  # `os.kill` would be refused
        threading.Event().wait()
"""


@pytest.mark.parametrize(
    "processes", ["[os.getppid()]", "[os.getppid(), os.getpid()]"], ids=["pytest", "both"]
)
def test_after_an_interrupt_the_test_is_named_and_fixtures_are_torn_down(
    project: Project, processes: str
) -> None:
    (project.path / "seen").mkdir()
    project.write(
        **{
            "test_a.py": HEAD + INTERRUPTED.replace("PROCESSES", processes),
            "pytest.ini": "[pytest]\nllm_model = m\nllm_silent_writes = seen\n",
        }
    )
    done = project.pytester.runpytest_subprocess(
        "--llm-record=new", f"--llm-base-url={project.server.url}/v1", "--llm-concurrency=4"
    )
    assert done.ret == 2
    assert "silent runs, before pytest's own run: test_a.py::test_is_interrupted" in done.stdout.str()
    assert (project.path / "seen" / "torn-down").exists()
