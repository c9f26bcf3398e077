"""deepeval: each metric is read after its public method ``measure`` or ``a_measure`` has ended.

These two methods are what a metric has to have, also one that a project writes itself, so they hold for ``assert_test``, ``evaluate``
and for a metric that a test measures itself. A metric within another metric is a part of its score and is not reported.
"""

from __future__ import annotations

import copy
import functools
import importlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any, Literal
from unittest import mock

from pytest_llmops import recorder
from pytest_llmops._util.text_files import fingerprint_parts
from pytest_llmops.adopted.recognition import ProjectImports
from pytest_llmops.adopted.tool import AdoptedTool, ReportScore, ToolScore, report_scores, require_attribute
from pytest_llmops.errors import describe_exception

BASE_CLASSES = ("BaseMetric", "BaseConversationalMetric")
# deepeval skips a metric, or fails the test itself, if a test case lacks a field that the metric needs
NOT_APPLICABLE = "MissingTestCaseParamsError"
SERVICE_HOSTS = (
    "api.confident-ai.com",
    "eu.api.confident-ai.com",
    "app.confident-ai.com",
    "otel.confident-ai.com",
    "us.i.posthog.com",
)

# Whether a metric is measured here already
_is_measuring: ContextVar[bool] = ContextVar("pytest_llmops_deepeval_is_measuring", default=False)


class DeepevalTool(AdoptedTool):
    """Reads the metrics of deepeval."""

    name = "deepeval"
    distribution = "deepeval"
    tested = ("4.3.1", "4.3.1")

    def is_its_test(self, item: Any, imports: ProjectImports) -> bool:
        """Return whether a test uses deepeval."""
        return imports.uses(item, "deepeval")

    def service_hosts(self, environ: Mapping[str, str]) -> Iterable[str]:
        """Return the hosts of Confident AI, and the one of deepeval's telemetry."""
        del environ
        return SERVICE_HOSTS

    @contextmanager
    def read_scores(self, report: ReportScore) -> Iterator[None]:
        """Report each metric when it has been measured."""
        metrics = importlib.import_module("deepeval.metrics")
        bases = [require_attribute(self, metrics, name) for name in BASE_CLASSES]
        with ExitStack() as patches:
            for metric_class in _list_subclasses(bases):
                for name, wrap in (("measure", _wrap_measure), ("a_measure", _wrap_async_measure)):
                    method = vars(metric_class).get(name)
                    if callable(method):
                        patches.enter_context(mock.patch.object(metric_class, name, wrap(method, report)))
            yield


def _list_subclasses(bases: Iterable[type]) -> list[type]:
    """Return all classes below some classes, each once."""
    classes: dict[type, None] = {}
    waiting: list[type] = list(bases)
    while waiting:
        subclasses: list[type] = type.__subclasses__(waiting.pop())
        for subclass in subclasses:
            if subclass not in classes:
                classes[subclass] = None
                waiting.append(subclass)
    return list(classes)


def _wrap_measure(measure: Any, report: ReportScore) -> Any:
    @functools.wraps(measure)
    def measure_and_report(metric: Any, test_case: Any, *args: Any, **kwargs: Any) -> Any:
        with _reported(metric, test_case, report):
            return measure(metric, test_case, *args, **kwargs)

    return measure_and_report


def _wrap_async_measure(measure: Any, report: ReportScore) -> Any:
    @functools.wraps(measure)
    async def measure_and_report(metric: Any, test_case: Any, *args: Any, **kwargs: Any) -> Any:
        with _reported(metric, test_case, report):
            return await measure(metric, test_case, *args, **kwargs)

    return measure_and_report


@contextmanager
def _reported(metric: Any, test_case: Any, report: ReportScore) -> Iterator[None]:
    """Report a metric that is measured in the block, unless the block is part of another metric. Its calls are those of a judge."""
    if _is_measuring.get():
        yield
        return
    _is_measuring.set(True)
    try:
        with recorder.set_purpose("judge"):
            yield
    except Exception as error:
        if type(error).__name__ != NOT_APPLICABLE:
            report_scores(report, _iter_score(metric, test_case, error=describe_exception(error)))
        raise
    else:
        report_scores(report, _iter_score(metric, test_case))
    finally:
        _is_measuring.set(False)


def _iter_score(metric: Any, test_case: Any, error: str = "") -> Iterator[ToolScore]:
    """Yield the score of a metric that was measured, or why it has none."""
    name = getattr(metric, "__name__", "") or type(metric).__name__
    yield ToolScore(
        metric=str(name),
        value=getattr(metric, "score", None),
        better=_find_better(metric),
        threshold=getattr(metric, "threshold", None),
        passed=getattr(metric, "success", None),
        reason=getattr(metric, "reason", ""),
        error=error or getattr(metric, "error", None) or "",
        version=_describe_version(metric),
        label=getattr(test_case, "name", None) or "",
        output=getattr(test_case, "actual_output", None),
        # deepeval notes an error in the metric if it goes on (`ignore_errors`); else it is raised to the test
        reached_test=lambda: getattr(metric, "error", None) is None,
    )


def _find_better(metric: Any) -> Literal["higher", "lower"]:
    """Return which scores a metric prefers: a copy of it is asked whether 0 and 1 would be successful."""
    try:
        successful = []
        for score in (0.0, 1.0):
            probe = copy.copy(metric)
            probe.threshold = 0.5
            probe.error = None
            probe.score = score
            successful.append(bool(probe.is_successful()))
    except Exception:  # noqa: BLE001 -- a metric of the project may need more than a score
        return "higher"
    if successful == [True, False]:
        return "lower"
    return "higher"


def _describe_version(metric: Any) -> str:
    """Return the model of the judge, and a digest of the criteria if the metric has any: other criteria are another metric."""
    model = str(getattr(metric, "evaluation_model", None) or "")
    criteria = getattr(metric, "criteria", None)
    if not isinstance(criteria, str) or not criteria:
        return model
    return f"{model}, criteria {fingerprint_parts(criteria)[:8]}".removeprefix(", ")


TOOL = DeepevalTool()
