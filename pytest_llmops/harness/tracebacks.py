"""Tracebacks of failures: which frames are the user's own, which of the others are hidden, and where a test failed."""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any

from pytest_llmops.errors import (
    BudgetReached,
    CassetteMiss,
    LLMOpsError,
    MeasurementFailed,
    ModelError,
    append_code,
)
from pytest_llmops.redaction.pytest_reports import mask_report
from pytest_llmops.redaction.redactor import Redactor

PACKAGE = __name__.partition(".")[0]
# Files that are not the user's. By file: a module of the user may have the name of one of Python's.
_PYTHON = re.escape(str(Path(os.__file__).parent))
_OURS = re.escape(str(Path(__file__).parents[1]))
LIBRARY = re.compile(
    rf"[/\\](?:site|dist)-packages[/\\]|^<frozen |^{_PYTHON}[/\\]|^{_OURS}[/\\]",
)
OUR_ERRORS = (MeasurementFailed, LLMOpsError, CassetteMiss, BudgetReached)
MAX_CHAIN = 99  # exceptions that are followed from a failure to its causes


def hide_frames(call: Any, failed: Callable[..., BaseException]) -> None:
    """Remove our frames from the traceback of a failure, so that it ends in the user's code; an error of ours shows its code.

    The frames of libraries below the user's code are removed too, but only for errors of ours and for a server that is down: elsewhere
    they may explain the failure. An error of ours that no line of the user's code led to (a damaged cassette, an unknown name in a
    marker) becomes a failure without any traceback: its text gives the place.

    Args:
        call: pytest's call, with the exception. Its ``excinfo`` is replaced.
        failed: pytest's exception for a failure.
    """
    value: BaseException = call.excinfo.value
    _add_code(value)
    is_ours = isinstance(value, OUR_ERRORS) or _add_note_of_cause(value)
    frames = _list_frames(value.__traceback__)
    if is_ours:
        while frames and not _is_users(frames[-1]):
            frames.pop()
        if not frames:
            lines = [f"{type(value).__name__}: {value}"]
            lines += getattr(value, "__notes__", ())
            failure = _raise_and_catch(failed("\n".join(lines), pytrace=False))
            call.excinfo = type(call.excinfo).from_exception(failure)
            return
    linked: TracebackType | None = None
    for tb in reversed(frames):
        linked = TracebackType(linked, tb.tb_frame, tb.tb_lasti, tb.tb_lineno)
    if linked is not None:
        call.excinfo = type(call.excinfo).from_exception(value.with_traceback(linked))


def _add_code(value: BaseException) -> None:
    """Put the code of an error of ours at the end of the first line of its message.

    Reports, annotations and pytest's own list are all made from this text. The error of a fixture comes with each of its tests, and
    has its code already.
    """
    if isinstance(value, OUR_ERRORS) and len(value.args) == 1 and isinstance(value.args[0], str):
        value.args = (append_code(value.args[0], value.code),)


def _add_note_of_cause(value: BaseException) -> bool:
    """Add our note about the failed call to an exception, if a cause of it has one, and return whether there is such a note.

    The client's failed attempts after that are hidden from the chain of causes.
    """
    chain = list(islice(_follow(value, "__context__"), MAX_CHAIN))
    for depth, error in enumerate(chain):
        why = vars(error).get("llmops_note")
        if why:
            notes = [*getattr(value, "__notes__", ()), append_code(why, ModelError.code)]
            # The error of a fixture comes with each of its tests, and has the note already.
            value.__notes__ = list(dict.fromkeys(notes))
            _hide_causes(chain, depth)
            return True
    return False


def _hide_causes(chain: Sequence[BaseException], depth: int) -> None:
    """Hide the failed attempts of a client from the chain of exceptions, as they do not help.

    An exception that the user's code raised after it caught the client's error stays visible. If it caught none, all causes are hidden.

    Args:
        chain: A failure, its cause, the cause of that, and so on.
        depth: The index of the exception with our note.
    """
    caught_at = 1
    for index in range(depth, 0, -1):
        traceback = chain[index].__traceback__
        if traceback is not None and _is_users(traceback):
            caught_at = index
            break
    raised_after = chain[caught_at - 1]
    if raised_after.__cause__ is raised_after.__context__:
        raised_after.__cause__ = None
    raised_after.__suppress_context__ = True


def _list_frames(traceback: TracebackType | None) -> list[TracebackType]:
    """Return the entries of a traceback without entries of this package. Of neighbours with the same frame only the last is kept."""
    others = []
    for tb in _follow(traceback, "tb_next"):
        # By module, not by file: the __init__ of a dataclass has no file.
        module = str(tb.tb_frame.f_globals.get("__name__"))
        if module.partition(".")[0] != PACKAGE:
            others.append(tb)
    # A failure in `soft` has two entries for the test's frame: the line of the block, then the line of the assertion.
    frames: list[TracebackType] = []
    for tb in others:
        if frames and frames[-1].tb_frame is tb.tb_frame:
            frames[-1] = tb
        else:
            frames.append(tb)
    return frames


def _is_users(tb: TracebackType) -> bool:
    return not LIBRARY.search(tb.tb_frame.f_code.co_filename)


def _raise_and_catch(error: BaseException) -> BaseException:
    """Give an exception the traceback that pytest needs and only a raised exception has."""
    try:
        raise error
    except type(error):
        return error


def _follow(link: Any, name: str) -> Iterator[Any]:
    """Yield an object, then the value of an attribute of it, then that attribute of the value, until one is None."""
    while link is not None:
        yield link
        link = getattr(link, name)


def find_place(report: Any, config: Any) -> str:
    """Return the place of the last line of the user's own code in a failure, else of the test: ``tests/test_a.py:12``."""
    traceback = getattr(report.longrepr, "reprtraceback", None)
    entries = reversed(getattr(traceback, "reprentries", ()))
    places = [getattr(report.longrepr, "reprcrash", None)]
    places += [getattr(entry, "reprfileloc", None) for entry in entries]
    for place in places:
        if place is None:
            continue
        path = Path(os.path.normpath(config.invocation_params.dir / place.path))
        if path.is_relative_to(config.rootpath) and not LIBRARY.search(str(path)):
            return f"{path.relative_to(config.rootpath).as_posix()}:{place.lineno}"
    file, index, _ = report.location
    line = (index or 0) + 1
    return f"{file.replace(os.sep, '/')}:{line}"


def note_collection_error(report: Any, root: Path) -> None:
    """Put on pytest's report of a module why it could not be loaded, so that it also comes from a worker of xdist.

    Secrets of the environment are removed from the texts that pytest prints and writes to its JUnit file.

    Args:
        report: The report, in the process that loaded the module.
        root: The project's root.
    """
    report.llmops_error = _describe_collection_error(report, root)
    mask_report(report, Redactor.from_environment(os.environ).clean_excerpt)


def read_collection_error(report: Any) -> dict[str, str]:
    """Return why a module could not be loaded, as a `CollectionError` on the wire without the number of its tests."""
    error: dict[str, str] | None = getattr(report, "llmops_error", None)
    if error is not None:
        return error
    module = report.nodeid.partition("::")[0]
    return {"module": module, "place": "", "error": _read_error_line(str(report.longrepr))}


def _describe_collection_error(report: Any, root: Path) -> dict[str, str]:
    module = report.nodeid.partition("::")[0]
    call = getattr(report, "call", None)
    if call is None or call.excinfo is None:
        return {"module": module, "place": "", "error": _read_error_line(str(report.longrepr))}
    value: BaseException = call.excinfo.value
    if value.__cause__ is not None:  # pytest's own error, which has the traceback as a text
        value = value.__cause__
    elif value.__context__ is not None and type(value).__name__ == "CollectError":
        value = value.__context__
    first = str(value).strip().partition("\n")[0]
    if isinstance(value, SyntaxError):
        first = value.msg
    error = f"{type(value).__name__}: {first}" if first else type(value).__name__
    return {"module": module, "place": _find_error_place(value, root), "error": _cut_error(error)}


def _find_error_place(value: BaseException, root: Path) -> str:
    """Return the deepest place of an error in the project; "": no file of the project has to do with it."""
    places = [
        (tb.tb_frame.f_code.co_filename, tb.tb_lineno) for tb in _follow(value.__traceback__, "tb_next")
    ]
    if isinstance(value, SyntaxError) and value.filename:
        places.append((value.filename, value.lineno or 1))
    for file, line in reversed(places):
        path = Path(file)
        if path.is_relative_to(root) and not LIBRARY.search(str(path)):
            return f"{path.relative_to(root).as_posix()}:{line}"
    return ""


def _read_error_line(text: str) -> str:
    """Return the last line of a traceback of pytest that names an error; "" if there is none."""
    lines = [line.removeprefix("E ").strip() for line in text.splitlines() if line.startswith("E ")]
    return _cut_error(lines[-1]) if lines else ""


def _cut_error(text: str) -> str:
    """Return the beginning of an error without the secrets of the environment; a secret that is cut would not be recognized later."""
    return Redactor.from_environment(os.environ).clean_text(text)[:300]
