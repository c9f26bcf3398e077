"""deepeval: each metric is read after its public method ``measure`` or ``a_measure`` has ended.

Every metric must have these two methods, also one that a project writes itself, so they hold for ``assert_test``, ``evaluate``
and for a metric that a test measures itself. A metric within another metric is a part of its score and is not reported.
"""

from __future__ import annotations

import copy
import importlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

from pytest_llmops._util.text_files import fingerprint_parts
from pytest_llmops.adopted.recognition import ProjectImports, is_part_of
from pytest_llmops.adopted.scoring_calls import ScoringCall, identify_inputs, label_case, report_methods
from pytest_llmops.adopted.tool import AdoptedTool, ReportScore, ToolScore, require_attribute

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
        with ExitStack() as patches:
            for name in BASE_CLASSES:
                base = require_attribute(self, metrics, name)
                patches.enter_context(report_methods(base, ("measure", "a_measure"), _read_call, report))
            yield


def _read_call(call: ScoringCall) -> Iterator[ToolScore]:
    """Yield the score of a metric that was measured, or why it has none; nothing if the test case lacks a field that it needs."""
    if call.error.startswith(NOT_APPLICABLE):
        return
    metric = call.owner
    test_case = next(iter(call.arguments.values()), None)
    name = getattr(metric, "__name__", "") or type(metric).__name__
    yield ToolScore(
        metric=str(name),
        value=getattr(metric, "score", None),
        better=_find_better(metric),
        threshold=getattr(metric, "threshold", None),
        passed=getattr(metric, "success", None),
        reason=getattr(metric, "reason", ""),
        error=call.error or getattr(metric, "error", None) or "",
        version=_describe_version(metric),
        label=_label_case(test_case),
        output=getattr(test_case, "actual_output", None),
        subject=identify_inputs(test_case),
        reached_test=lambda: _has_left_deepeval(call.exception),
    )


def _label_case(test_case: Any) -> str:
    """Return the name of a test case, or else its input: ``evaluate`` scores several at once, in any order.

    A conversation has a scenario or begins with a turn in place of an input.
    """
    name = getattr(test_case, "name", None)
    if name:
        return str(name)
    turns = getattr(test_case, "turns", None)
    first_turn = getattr(next(iter(turns or ()), None), "content", None)
    return label_case(getattr(test_case, "input", None) or getattr(test_case, "scenario", None) or first_turn)


def _has_left_deepeval(exception: Exception | None) -> bool:
    """Return whether an exception was caught outside of deepeval, so by the test; with `ignore_errors` deepeval catches it.

    A traceback begins at the frame that caught the exception.
    """
    if exception is None or exception.__traceback__ is None:
        return False
    catcher = str(exception.__traceback__.tb_frame.f_globals.get("__name__", ""))
    return not is_part_of(catcher, "deepeval") and not is_part_of(catcher, "pytest_llmops")


def _find_better(metric: Any) -> Literal["higher", "lower"]:
    """Return which scores a metric prefers: a copy of it decides whether 0 and 1 would be successful."""
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
