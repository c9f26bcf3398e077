"""Formats of reports: find the format for a name such as ``run.html`` or ``metrics:out.txt``, and write the report.

A module of this package lists the formats that it renders in a tuple ``FORMATS``. A project adds its own with the hook
``pytest_llmops_reports``; they take precedence.
"""

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import PurePath
from pkgutil import iter_modules
from typing import Any, TypeAlias

from pytest_llmops import reports
from pytest_llmops.errors import SettingError, UnknownName, UsageError
from pytest_llmops.results.run import Run

_KIND = re.compile(r"[a-z][a-z0-9_-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFormat:
    """A format of reports.

    Attributes:
        kind: Its name, of at least two characters. ``kind:FILE`` selects the format for a file of any name.
        suffix: Files with this suffix (``.csv``) are of this format without naming its kind. Several as a tuple. "": none.
        render: Gets the finished run, without secrets, and returns the text of the file. With ``shows_history``, it also gets the
            earlier runs that were passed to ``llmops report``.
        send: Instead of ``render``: gets the run and the address after the colon, and sends the run there.
        check_target: Gets the text after the colon. Returns the expected form if it is wrong, "" if it is right.
        shows_history: Whether the report also shows earlier runs.
        instead: If the format is only for commands: what to use in a run of pytest instead, for the error.

    Raises:
        UsageError: The kind or a suffix is not allowed, or there is not exactly one of ``render`` and ``send``.

    >>> ReportFormat(kind="count", suffix=".count", render=lambda run: f"{len(run.records)} tests").suffixes
    ('.count',)
    """

    kind: str
    suffix: str | tuple[str, ...] = ""
    render: Callable[..., str] | None = None
    send: Callable[[Run, str], object] | None = None
    check_target: Callable[[str], str] = lambda _: ""
    shows_history: bool = False
    instead: str = ""

    def __post_init__(self) -> None:
        if not _KIND.fullmatch(str(self.kind)):
            raise UsageError(
                f"a format of reports: kind: expected at least two of a-z, 0-9, _ and -, got {self.kind!r}"
            )
        for suffix in self.suffixes:
            if not re.fullmatch(r"\.\S+", str(suffix)):
                raise UsageError(f"the report format {self.kind!r}: suffix: expected .NAME, got {suffix!r}")
        if callable(self.render) == callable(self.send):
            raise UsageError(f"the report format {self.kind!r}: expected a function render, or send instead")

    @property
    def suffixes(self) -> tuple[str, ...]:
        """All suffixes, as a tuple."""
        if isinstance(self.suffix, tuple):
            return self.suffix
        return (self.suffix,) if self.suffix else ()

    @property
    def examples(self) -> tuple[str, ...]:
        """How a user names reports of this format, for messages: ``FILE.html``, ``metrics:FILE``, ``otlp:URL``."""
        if self.send is not None:
            return (f"{self.kind}:URL",)
        if not self.suffixes:
            return (f"{self.kind}:FILE",)
        return tuple(f"FILE{suffix}" for suffix in self.suffixes)

    def has_suffix_of(self, file: str) -> bool:
        """Return whether the name of a file ends with a suffix of this format, and is not only the suffix."""
        name = PurePath(file).name
        return any(name.removesuffix(suffix) not in (name, "") for suffix in self.suffixes)


Formats: TypeAlias = Sequence[ReportFormat]


@dataclass(frozen=True, slots=True)
class NamedReport:
    """A report that a user requested: the name as it was given, its format, and the file or address to write or send it to."""

    name: str
    format: ReportFormat
    target: str


@cache
def builtin_formats() -> Formats:
    """Return the formats of all modules of this package, sorted by kind."""
    formats = {}
    for module in iter_modules(reports.__path__, f"{reports.__name__}."):
        for report_format in getattr(import_module(module.name), "FORMATS", ()):
            formats[report_format.kind] = report_format
    return tuple(formats[kind] for kind in sorted(formats))


def collect_formats(hooked: Iterable[Any]) -> Formats:
    """Return the formats of a project, then the built-in ones; of several with the same kind, only the first.

    Args:
        hooked: The result of each implementation of the hook ``pytest_llmops_reports``, the nearest first.

    Raises:
        UsageError: A result is not a list of formats.

    >>> len(collect_formats([])) == len(builtin_formats())
    True
    """
    formats: dict[str, ReportFormat] = {}
    for returned in hooked:
        if isinstance(returned, ReportFormat) or not isinstance(returned, Iterable):
            raise UsageError(f"pytest_llmops_reports: expected a list of ReportFormat, got {returned!r}")
        for report_format in returned:
            if not isinstance(report_format, ReportFormat):
                raise UsageError(f"pytest_llmops_reports: expected a ReportFormat, got {report_format!r}")
            formats.setdefault(report_format.kind, report_format)
    for report_format in builtin_formats():
        formats.setdefault(report_format.kind, report_format)
    return tuple(formats.values())


def find_report(name: str, formats: Formats | None = None) -> NamedReport | None:
    """Return the report that a name selects; None if no format has the kind before its colon, or its suffix.

    >>> report = find_report("metrics:out.txt")
    >>> report.format.kind, report.target
    ('metrics', 'out.txt')
    >>> find_report("run.txt")
    """
    formats = builtin_formats() if formats is None else formats
    kind, colon, target = name.partition(":")
    if colon and _KIND.fullmatch(kind):  # a single letter is a drive of Windows
        chosen = [report_format for report_format in formats if report_format.kind == kind]
        if not chosen or not target:
            return None
        return NamedReport(name, chosen[0], target)
    for report_format in formats:
        if report_format.has_suffix_of(name):
            return NamedReport(name, report_format, name)
    return None


def check_reports(
    names: Sequence[str], formats: Formats, place: str, option: str, *, in_pytest: bool
) -> list[NamedReport]:
    """Return the reports that names select, after a check that each can be written, and to a file of its own.

    Args:
        names: The names as the user gave them.
        formats: The formats of the run.
        place: Where the names were given, for the error.
        option: The name of the option there, for the error.
        in_pytest: Whether they are written at the end of a run of pytest; some formats are only for commands.

    Raises:
        SettingError: A name means no report, its address is wrong, or two go to the same file.
    """
    named_reports: list[NamedReport] = []
    targets: dict[str, str] = {}
    for name in names:
        report = find_report(name, formats)
        if report is None:
            raise SettingError(place, option, f"one of {_list_examples(formats, in_pytest=in_pytest)}", name)
        problem = report.format.check_target(report.target)
        if problem:
            # The text before an @ or after a ? may be a secret, so the error leaves it out.
            address = report.target.rpartition("@")[2]
            raise SettingError(place, option, problem, address.partition("?")[0])
        if in_pytest and report.format.instead:
            raise SettingError(place, option, report.format.instead, name)
        if targets.setdefault(os.path.realpath(report.target), name) != name:
            raise SettingError(place, option, "another file for each report", name)
        named_reports.append(report)
    return named_reports


def _list_examples(formats: Formats, *, in_pytest: bool) -> str:
    """Return how reports of all formats are named, as a list in a text."""
    examples: list[str] = []
    for report_format in formats:
        if not (in_pytest and report_format.instead):
            examples.extend(report_format.examples)
    return ", ".join(sorted(examples, key=_order_example))


def _order_example(example: str) -> tuple[bool, bool, str]:
    """Return a sort key: FILE.html first, then metrics:FILE, then otlp:URL."""
    return example.endswith(":URL"), ":" in example, example


def render_report(run: Run, kind: str, history: Sequence[Run] = ()) -> str:
    """Return a run as a report of a built-in format.

    Raises:
        UnknownName: No built-in format that renders a text has this kind.

    >>> render_report(Run(), "metrics").splitlines()[-1]
    '# EOF'
    """
    by_kind = {
        report_format.kind: report_format for report_format in builtin_formats() if report_format.render
    }
    if kind not in by_kind:
        raise UnknownName("kind of report", kind, by_kind)
    return render_format(by_kind[kind], run, history)


def render_format(report_format: ReportFormat, run: Run, history: Sequence[Run] = ()) -> str:
    """Return the text of a report.

    Raises:
        UsageError: The format sends its reports, or its ``render`` did not return a text.
    """
    if report_format.render is None:
        raise UsageError(f"the report format {report_format.kind!r} is sent to an address, and has no text")
    if report_format.shows_history:
        text = report_format.render(run, history)
    else:
        text = report_format.render(run)
    if not isinstance(text, str):
        raise UsageError(
            f"the report format {report_format.kind!r}: render: expected a text, got {type(text).__name__}"
        )
    return text


def deliver_report(
    run: Run, report: NamedReport, write: Callable[[str, str], object], history: Sequence[Run] = ()
) -> None:
    """Send a run to the address of a report, or render its text and pass it to ``write``.

    Args:
        run: The run, with secrets masked.
        report: A result of `check_reports`.
        write: Gets the name of the file and the text, and writes it.
        history: Earlier runs.

    Raises:
        MissingExtra: A package that is needed for sending is not installed.
        UsageError: The receiver did not accept everything, or the format did not return a text.
    """
    if report.format.send is not None:
        report.format.send(run, report.target)
    else:
        write(report.target, render_format(report.format, run, history))
