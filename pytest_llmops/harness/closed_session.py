"""Refuses calls of models outside of tests while recordings are replayed: in hooks, at the import of modules, between tests, at exit.

No test can fail for such a call, so the run does. A module that makes one while it is imported is a collection error; any other one ends
the run with an error, also if the caller catches it. `session_closer` decides when this begins.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pluggy

from pytest_llmops._util.hosts import split_address
from pytest_llmops.cassettes import (
    ReadBody,
    SystemChange,
    calls_model,
    check_late_call,
    current_tape,
    has_telemetry_host,
    late_call_checks,
    network_patches,
    request_patches,
)
from pytest_llmops.errors import CassetteMiss, append_code
from pytest_llmops.measurement import escape_output
from pytest_llmops.settings import Settings
from pytest_llmops.trace.routes import is_model_endpoint

hook = pluggy.HookimplMarker("pytest")
PLUGIN_NAME = "llmops_closed"
REFUSED_OUTPUT = "llmops_refused"  # report of a worker to its controller
GREEN = (0, 5)  # exit statuses of a run without a failure
FAILED = 1
REFUSED_STATUS = 4  # of a run that an error ended (pytest's for usage)
# pytest's functions around a run: a program calls `main`, and the command `pytest` calls `console_main`
_MAIN = frozenset({"main", "_main"})
_CONSOLE = frozenset({"console_main", "_console_main"})


class ClosedSession:
    """The guard of a run, and its hooks.

    Args:
        config: pytest's.
        settings: The run's; replaced when all options are known.
        usage_error: pytest's exception for a run that cannot go on.
        exit_error: pytest's exception that ends a run without a traceback.

    Attributes:
        refuse_in_test: Returns the error for a connection of a running test (pytest's item) to a host; None: it is allowed.
    """

    def __init__(
        self, config: Any, settings: Settings, usage_error: type[Exception], exit_error: type[Exception]
    ) -> None:
        self.settings = settings
        self.refuse_in_test: Callable[[Any, str], BaseException | None] = _allow_in_test
        self._config = config
        self._usage_error = usage_error
        self._exit_error = exit_error
        self._refused: dict[str, int] = {}  # message -> how often
        self._reported: set[str] = set()
        # The running tests, in the order of their start. A run inside a test has a guard of its own, with its own tests.
        self._running: dict[Any, None] = {}
        self._session: Any = None
        self._has_ended = False
        self._changes: list[SystemChange] = [
            *network_patches(self._check_host),
            request_patches(self._check_request),
        ]

    def start(self) -> None:
        """Register the hooks, and patch connections and HTTP clients until the run ends."""
        self._config.pluginmanager.register(self, PLUGIN_NAME)
        self._config.add_cleanup(self.end)  # called after all hooks
        for change in self._changes:
            change.apply()
        late_call_checks.append(self.refuse_late_call)

    def open_connections(self) -> None:
        """Undo the patches: nothing more is refused. A call that was refused before still fails the run."""
        for change in reversed(self._changes):
            change.restore_attribute()

    def _check_host(self, host: str, port: int | None) -> None:
        """Raise an error for a connection to a model that nothing records, in a test or outside."""
        if current_tape() is not None or host.lower() in self.settings.allow_hosts:
            return
        if not is_model_endpoint(host, port, self.settings.base_url):
            return
        item = next(reversed(list(self._running)), None)
        if item is not None:
            error = self.refuse_in_test(item, host)
            if error is not None:
                raise error
        elif self._refuses_outside_tests():
            raise self._refuse("a connection to", host)

    def _check_request(self, method: str, url: str, read_body: ReadBody) -> bool:
        """Raise an error for a request to a model outside of tests, whichever host it goes to.

        Returns whether it is answered with an empty success instead of being sent: traces for the host of a model, which `_check_host`
        would refuse.
        """
        check_late_call(method, url, read_body)  # in a forked process, which has copies of these patches
        if method.upper() != "POST" or not self._refuses_outside_tests():
            return False
        host, port = split_address(url)
        if current_tape() is not None or host.lower() in self.settings.allow_hosts:
            return False
        if has_telemetry_host(method, url):
            return is_model_endpoint(host, port, self.settings.base_url)
        if not self._running and calls_model(url, read_body, self.settings.base_url):
            raise self._refuse("a call of a model at", host)
        return False

    def refuse_late_call(self, host: str) -> CassetteMiss | None:
        """Return the error for a call of a model by a process that has outlived its test, and note it; None: it is allowed.

        It is allowed while a test runs: this process calls for that test, which nothing records.

        Args:
            host: The host.
        """
        if self._running or self.settings.record != "none" or not self._refuses_outside_tests():
            return None
        return self._refuse("a call of a model at", host, place="a process that outlived its test")

    def _refuses_outside_tests(self) -> bool:
        """Return whether the project wants calls outside of tests to be refused."""
        return self.settings.calls_outside_tests == "refuse"

    def _refuse(self, what: str, host: str, place: str = "") -> CassetteMiss:
        """Return the error for a call outside of tests, and note it: it fails the run even if it is caught.

        Args:
            what: The words before the host in the message.
            host: The host.
            place: Who calls; "" for the code that is running.
        """
        if not place:
            place = _describe_caller(self._config.rootpath)
        first = (
            f"{place}: {what} {escape_output(host)} was refused: this run replays recordings, and calls"
            " outside of tests are not recorded"
        )
        text = (
            f"{append_code(first, CassetteMiss.code)}\n"
            "  record it         make the call in a test with @pytest.mark.llm_cassette, or in a fixture of such a test\n"
            "  let it through    the ini key llm_calls_outside_tests = allow: then such calls are made live and paid in every run"
        )
        self._refused[text] = self._refused.get(text, 0) + 1
        if self._has_ended:
            sys.stderr.write(f"ERROR: {text}\n")
        return CassetteMiss(text)

    @hook(wrapper=True)
    def pytest_runtest_protocol(self, item: Any) -> Generator[None, object, object]:
        """End a test that has no tear-down, because it ended the run."""
        try:
            return (yield)
        finally:
            self._running.pop(item, None)

    # The cassette of a test is opened by such a hook that is registered later, and so called before this one
    @hook(tryfirst=True)
    def pytest_runtest_setup(self, item: Any) -> None:
        """Note that a test runs, from its set-up to the end of its tear-down. Plugins that repeat a test call these hooks again."""
        self._running[item] = None

    @hook(wrapper=True)
    def pytest_runtest_teardown(self, item: Any) -> Generator[None, object, object]:
        """Note that a test has ended. One whose set-up failed in another plugin's hook runs from here on."""
        self._running[item] = None
        try:
            return (yield)
        finally:
            self._running.pop(item, None)

    def take_unreported(self) -> list[str]:
        """Return the messages of refused calls that nothing has shown yet; from then on they count as shown."""
        texts = [text for text in list(self._refused) if text not in self._reported]
        self._reported.update(texts)
        return texts

    def find_refusal(self, error: BaseException | None) -> str:
        """Return the message of the refused call that an exception, a cause of it, or a member of its group is; "" if none is."""
        return find_message(error, self._refused)

    @contextmanager
    def end_run_if_refused(self) -> Iterator[None]:
        """Let a refused call that ends the block end the run, without a traceback.

        Raises:
            pytest.UsageError: A call was refused in the block, and nobody caught the error.
        """
        try:
            yield
        except BaseException as error:
            text = self.find_refusal(error)
            if not text:
                raise
            self._reported.add(text)
            raise self._usage_error(text) from None

    @hook(tryfirst=True)
    def pytest_internalerror(self, excinfo: Any) -> None:
        """End the run with the message of a call that was refused in a hook, instead of pytest's report of an internal error."""
        self._exit_if_refused(excinfo.value)

    def _exit_if_refused(self, error: BaseException | None) -> None:
        """Raise pytest's exit with the message of a refused call, if an error comes of one. A worker of xdist reports the error itself."""
        text = self.find_refusal(error)
        if text and not hasattr(self._config, "workerinput"):
            self._reported.add(text)
            raise self._exit_error(text, REFUSED_STATUS) from None

    @hook(wrapper=True)
    def pytest_make_collect_report(self, collector: Any) -> Generator[None, Any, Any]:
        """Fail the collection of a module that called a model while it was imported, also if it caught the error."""
        del collector
        before = dict(self._refused)
        report = yield
        texts = [text for text, count in dict(self._refused).items() if count != before.get(text)]
        if texts:
            report.outcome = "failed"
            report.result = []
            lines = "\n".join(texts).splitlines()
            report.longrepr = "\n".join(f"E   {line}" for line in lines)
            self._reported.update(texts)
        return report

    @hook(tryfirst=True)
    def pytest_configure(self, config: Any) -> None:
        """In a worker of xdist, which is not known to be one before, tell the controller of refused calls."""
        if hasattr(config, "workerinput"):
            config.pluginmanager.register(WorkerHooks(config, self), f"{PLUGIN_NAME}_worker")

    @hook(tryfirst=True)
    def pytest_sessionstart(self, session: Any) -> None:
        """Keep the session, to set its exit status if a call was refused."""
        self._session = session

    @hook(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: Any) -> Generator[None, object, object]:
        """Fail a run in which a call was refused."""
        self._session = session
        self._fail_session()
        try:
            return (yield)
        except BaseException as error:
            self._exit_if_refused(error)
            raise
        finally:
            self._fail_session()

    @hook(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take over the calls that a worker of xdist refused."""
        texts = getattr(node, "workeroutput", {}).get(REFUSED_OUTPUT, ())
        self._refused.update(dict.fromkeys(texts, 1))

    def _fail_session(self) -> None:
        """Give a run without a failure the exit status of a failed one, if a call was refused."""
        if self._refused and self._session is not None and self._session.exitstatus in GREEN:
            self._session.exitstatus = FAILED

    def end(self) -> None:
        """End the run: show what nothing has shown, and open the connections, unless the process ends with the run.

        A worker of xdist has sent its output before, so a later refusal cannot fail the run: the worker prints it.

        Raises:
            pytest.UsageError: A call was refused in the hook ``pytest_unconfigure``.
        """
        self._has_ended = True
        is_worker = hasattr(self._config, "workerinput")
        if not is_worker and not _is_command():
            self.open_connections()
        if self.refuse_late_call in late_call_checks:
            late_call_checks.remove(self.refuse_late_call)
        self._fail_session()
        text = self.find_refusal(sys.exc_info()[1])
        if text and not is_worker:
            self._reported.add(text)
            raise self._usage_error(text) from None
        for message in self.take_unreported():
            sys.stderr.write(f"ERROR: {message}\n")


class WorkerHooks:
    """Sends the controller of xdist the calls that a worker refused.

    Args:
        config: pytest's, of the worker.
        guard: The worker's guard.
    """

    def __init__(self, config: Any, guard: ClosedSession) -> None:
        self._config = config
        self._guard = guard

    @hook(wrapper=True, trylast=True)  # before the worker sends its output
    def pytest_sessionfinish(self) -> Generator[None, object, object]:
        """Add the refused calls to the output."""
        try:
            return (yield)
        finally:
            self._config.workeroutput[REFUSED_OUTPUT] = self._guard.take_unreported()


def find_message(error: BaseException | None, refused: Collection[str]) -> str:
    """Return the message of the refused call that an exception, a cause of it, or a member of its group is; "" if none is.

    Args:
        error: The exception, or None.
        refused: The messages of all refused calls.
    """
    waiting = [error]
    seen: set[int] = set()
    while waiting:
        candidate = waiting.pop()
        if candidate is None or id(candidate) in seen:
            continue
        seen.add(id(candidate))
        if isinstance(candidate, CassetteMiss) and str(candidate) in refused:
            return str(candidate)
        waiting += [candidate.__context__, candidate.__cause__]
        members = getattr(candidate, "exceptions", ())
        if isinstance(members, list | tuple):  # other libraries have an attribute of that name too
            waiting += [member for member in reversed(members) if isinstance(member, BaseException)]
    return ""


def _allow_in_test(item: Any, host: str) -> BaseException | None:
    """Return None: nothing is refused within tests until the tests of the run are known."""
    del item, host
    return None


def _describe_caller(root: Path) -> str:
    """Return the place in the user's own code that makes this call: ``conftest.py:7, hook pytest_configure``."""
    from pytest_llmops.harness.tracebacks import LIBRARY

    place = ""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 -- documented, and cheaper than inspect.stack
    while frame is not None:
        code = frame.f_code
        if not LIBRARY.search(code.co_filename):
            place = place or f"{_shorten_path(code.co_filename, root)}:{frame.f_lineno}"
            if code.co_name.startswith("pytest_"):
                return f"{place}, hook {code.co_name}"
            if code.co_name == "<module>":
                return f"{place}, import of {_shorten_path(code.co_filename, root)}"
        frame = frame.f_back
    if not place:
        return "code of a library, outside of tests"
    return f"{place}, outside of tests"


def _shorten_path(file: str, root: Path) -> str:
    """Return the path of a file from the root of the project; the whole path of a file elsewhere."""
    path = Path(file)
    if path.is_relative_to(root):
        path = path.relative_to(root)
    return escape_output(path.as_posix())


def _is_command() -> bool:
    """Return whether this run is the command ``pytest``, so that the process ends after it; a program may go on after `pytest.main`."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 -- as above
    is_in_main = False
    while frame is not None:
        is_config = frame.f_globals.get("__name__") == "_pytest.config"
        if is_in_main and not is_config:
            return False
        if is_in_main and frame.f_code.co_name in _CONSOLE:
            return True
        is_in_main = is_in_main or (is_config and frame.f_code.co_name in _MAIN)
        frame = frame.f_back
    return False
