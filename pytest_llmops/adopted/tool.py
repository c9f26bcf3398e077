"""`AdoptedTool`, the protocol of a tool whose suite is adopted, and `ToolScore`, a score that it reports.

Knows pytest's items by their attributes only.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any, ClassVar, Literal, Protocol
from urllib.parse import urlsplit

from pytest_llmops._util.hosts import is_loopback
from pytest_llmops.adopted.recognition import ProjectImports
from pytest_llmops.errors import LLMOpsError, describe_exception


class HookMoved(LLMOpsError):
    """A tool does not have the function any more that its scores are read from; the message names it."""


def _never() -> bool:
    """Return that an error was not raised to the test."""
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolScore:
    """A score as a tool reports it. Nothing of it is checked yet: `scores.make_measurement` does that.

    Attributes:
        metric: The tool's name of the metric, as people read it: ``Answer Relevancy``.
        value: A number or a boolean; None if there is an error.
        scale: The lowest and the highest value that the metric gives, in either order. None, or two equal or infinite values: not known, so
            the score is shown and not compared.
        better: Whether a higher or a lower value is better.
        threshold: The tool's own threshold; None: it has none.
        passed: The tool's own verdict; None: it has none.
        reason: Why the tool gave this score.
        error: Why the tool gave no score; empty: it gave one.
        version: The judge's model, or what else has to be equal for two scores to be compared.
        label: Distinguishes scores of a metric in a test.
        case: The name of the case, if a single test evaluates a dataset: the gate compares each case as it compares tests.
        output: The scored output, as the reports show it; None: not known.
        subject: A digest of all that was scored (`scoring_calls.identify_inputs`). A later score of the same metric, label and subject
            replaces an error, as the tool has tried again. If case and subject are empty, only another error does.
        detail: Further facts for the reports.
        reached_test: Returns whether the error was raised to the test itself, which may expect it (`pytest.raises`): then a test that
            passed stays so. Called when the test has ended.
    """

    metric: str
    value: object = None
    scale: tuple[float, float] | None = (0, 1)
    better: Literal["higher", "lower"] = "higher"
    threshold: object = None
    passed: object = None
    reason: object = ""
    error: object = ""
    version: object = ""
    label: object = ""
    case: object = ""
    output: object = None
    subject: str = ""
    detail: Mapping[str, object] = field(default_factory=dict)
    reached_test: Callable[[], bool] = _never


class ReportScore(Protocol):
    """Receives the scores of a tool, in any thread or task; it raises nothing."""

    def __call__(self, score: ToolScore) -> None:
        """Record a score in the running test."""

    def note_problem(self, problem: str) -> None:
        """Put a sentence about unreadable scores into the summary of the run."""


def report_scores(report: ReportScore, scores: Iterable[ToolScore]) -> None:
    """Report scores that are read from objects of a tool; an exception while they are read must not fail the user's test.

    Args:
        report: Receives them.
        scores: A generator that reads them.
    """
    try:
        for score in scores:
            report(score)
    except Exception as error:  # noqa: BLE001 -- an attribute that another version of the tool does not have
        report.note_problem(f"some scores could not be read ({describe_exception(error)})")


class AdoptedTool(ABC):
    """A tool whose tests are recorded, and whose scores become measurements.

    Attributes:
        name: Its name in the ini key ``llm_adopt``. The measurements begin with it: ``deepeval.faithfulness``.
        distribution: The package as it is installed by name.
        tested: The oldest and the newest version that were tested; others of the same minor versions count as tested.
    """

    name: ClassVar[str]
    distribution: ClassVar[str]
    tested: ClassVar[tuple[str, str]]

    @abstractmethod
    def is_its_test(self, item: Any, imports: ProjectImports) -> bool:
        """Return whether a collected test is one of the tool's, and so is recorded. Must not import the tool.

        Args:
            item: pytest's item.
            imports: The imports of the project's modules.
        """

    @abstractmethod
    def read_scores(self, report: ReportScore) -> AbstractContextManager[None]:
        """Report the scores of the tool while the context is open. Called once, if a test of the tool was collected.

        Args:
            report: To be called for each score, in the thread or task that computed it. Scores that are read from objects of the tool
                go through `report_scores`.

        Raises:
            HookMoved: The tool does not have what its scores are read from; raised when the context is entered.
            ImportError: The tool cannot be imported.
        """

    def stay_offline(self) -> AbstractContextManager[None]:
        """Keep the tool from needing its own service while the context is open.

        Opened before the collection of a run that replays, if the tool is installed.
        """
        return nullcontext()

    def finish_test(self, item: Any, report: ReportScore) -> None:
        """Compute the scores that the tool would compute after a test, where nothing is recorded any more. Called when a test has passed.

        Args:
            item: pytest's item.
            report: To be called for each score.
        """
        del item, report

    def service_hosts(self, environ: Mapping[str, str]) -> Iterable[str]:
        """Return hosts of the tool's own service, whose calls are neither recorded nor blocked: uploads, telemetry.

        Args:
            environ: The environment variables, which may move the service.
        """
        del environ
        return ()

    def iter_advice(self, environ: Mapping[str, str]) -> Iterable[str]:
        """Yield sentences about settings of the tool that keep its suite from running without a network.

        Args:
            environ: The environment variables.
        """
        del environ
        return ()

    def find_version(self) -> str:
        """Return the installed version; empty: the tool is not installed."""
        try:
            return metadata.version(self.distribution)
        except metadata.PackageNotFoundError:
            return ""

    def describe_problem(self) -> str:
        """Return a sentence if the tool is not installed, or in a version that was not tested; empty: all is well."""
        version = self.find_version()
        if not version:
            return f"llm_adopt names {self.name}, but {self.distribution} is not installed here: none of its scores are read"
        oldest, newest = self.tested
        if minor_version(oldest) <= minor_version(version) <= minor_version(newest):
            return ""
        tested = oldest
        if newest != oldest:
            tested = f"{oldest} to {newest}"
        return (
            f"{self.distribution} {version} was not tested with llm_adopt (tested: {tested}): "
            "check that the summary counts its scores"
        )


def iter_url_hosts(url: str) -> Iterator[str]:
    """Yield the host of a service's address: nothing for a file.

    One on this machine comes with its port, as a model may be there too, and under both of the usual names.

    >>> [*iter_url_hosts("https://mlflow.example.com/api")], [*iter_url_hosts("http://localhost:5000")], [*iter_url_hosts("sqlite:///a.db")]
    (['mlflow.example.com'], ['localhost:5000', '127.0.0.1:5000'], [])
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return
    if not host or parts.scheme not in ("http", "https"):
        return
    if not is_loopback(host):
        yield host
    elif port is not None:
        for name in dict.fromkeys((host, "localhost", "127.0.0.1")):
            yield f"{name}:{port}"


def minor_version(version: str) -> tuple[int, ...]:
    """Return the first two numbers of a version.

    >>> minor_version("4.3.1"), minor_version("2.0rc1"), minor_version("5")
    ((4, 3), (2, 0), (5,))
    """
    return tuple(int(number) for number in re.findall(r"\d+", version[:80])[:2])


def require_attribute(tool: AdoptedTool, owner: object, name: str) -> Any:
    """Return an attribute that scores are read from.

    Args:
        tool: The tool.
        owner: Its module or class.
        name: The attribute.

    Raises:
        HookMoved: The attribute is not there.
    """
    value = getattr(owner, name, None)
    if value is None:
        place = getattr(owner, "__qualname__", "") or getattr(owner, "__name__", type(owner).__name__)
        raise HookMoved(
            f"{tool.distribution} {tool.find_version()} has no {place}.{name}, from which llm_adopt reads the scores of "
            f"{tool.name}: its tests run, and none of its scores are read"
        )
    return value
