"""ragas: each metric is read after its public method ``score`` or ``ascore`` (older metrics: ``single_turn_score`` and so on) has ended.

These methods are called by ``evaluate``, by the batches and by experiments too. ragas gives NaN where it has no score.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any, Literal
from unittest import mock

from pytest_llmops.adopted.recognition import ProjectImports
from pytest_llmops.adopted.scoring_calls import (
    ScoringCall,
    identify_inputs,
    label_case,
    read_verdict,
    report_methods,
    set_in_methods,
)
from pytest_llmops.adopted.tool import AdoptedTool, ReportScore, ToolScore, require_attribute

# Classes of ``ragas.metrics.base`` with the methods that return a score
SCORING_METHODS = {
    "SimpleBaseMetric": ("score", "ascore"),
    "SingleTurnMetric": ("single_turn_score", "single_turn_ascore"),
    "MultiTurnMetric": ("multi_turn_score", "multi_turn_ascore"),
}
LOWER_IS_BETTER = ("noise_sensitivity",)
# Of older metrics: those that give a number of a scale, not from 0 to 1
SCALED_OUTPUTS = ("discrete", "ranking")
# ragas sends the names of metrics and the numbers of rows; it checks once in a process whether it may
NO_TRACKING = "RAGAS_DO_NOT_TRACK"
SERVICE_HOSTS = ("t.explodinggradients.com",)

# Whether the rows of a dataset are scored here
_scores_rows: ContextVar[bool] = ContextVar("pytest_llmops_ragas_scores_rows", default=False)


class RagasTool(AdoptedTool):
    """Reads the metrics of ragas."""

    name = "ragas"
    distribution = "ragas"
    tested = ("0.4.3", "0.4.3")

    def is_its_test(self, item: Any, imports: ProjectImports) -> bool:
        """Return whether a test uses ragas."""
        return imports.uses(item, "ragas")

    def service_hosts(self, environ: Mapping[str, str]) -> Iterable[str]:
        """Return the host that ragas sends statistics to."""
        del environ
        return SERVICE_HOSTS

    @contextmanager
    def read_scores(self, report: ReportScore) -> Iterator[None]:
        """Report each metric when it has scored a sample. ragas sends no statistics in the meantime."""
        with ExitStack() as patches:
            patches.enter_context(mock.patch.dict("os.environ", {NO_TRACKING: "true"}))
            # Its metrics have to exist before their methods are wrapped
            importlib.import_module("ragas.metrics.collections")
            base = importlib.import_module("ragas.metrics.base")
            for class_name, methods in SCORING_METHODS.items():
                metric_class = require_attribute(self, base, class_name)
                for method in methods:
                    require_attribute(self, metric_class, method)
                patches.enter_context(report_methods(metric_class, methods, _read_call, report))
            batches = require_attribute(self, base, "SimpleBaseMetric")
            patches.enter_context(set_in_methods(batches, ("abatch_score",), _scores_rows))
            experiment = importlib.import_module("ragas.experiment")
            runner = require_attribute(self, experiment, "ExperimentWrapper")
            patches.enter_context(set_in_methods(runner, ("__call__",), _scores_rows))
            yield


def _read_call(call: ScoringCall) -> Iterator[ToolScore]:
    """Yield the score of a call. A category that is not a verdict, or a ranking, is not a score."""
    metric = call.owner
    value = getattr(call.result, "value", call.result)
    reason = getattr(call.result, "reason", None)
    error = call.error
    number = read_verdict(value)
    # `evaluate` passes the callbacks of the row
    is_row = _scores_rows.get() or call.arguments.get("callbacks") is not None
    if value is None and not error:
        error = str(reason or "ragas gave no value")
    if not error and (number is None or isinstance(number, (list, tuple))):
        return
    if isinstance(number, float) and number != number:  # noqa: PLR0124 -- NaN
        error = f"ragas gave NaN: {reason or 'the metric found nothing to score, or the answer of its judge could not be read'}"
    label = _label_call(call)
    yield ToolScore(
        metric=_name_metric(metric),
        value=number,
        scale=_find_scale(metric),
        better=_find_better(metric),
        reason=reason or "",
        error=error,
        version=_find_model(call),
        label=label,
        case=label if is_row else "",
        output=_find_field(call, "response"),
        subject=identify_inputs(call.arguments.get("sample", call.arguments)),
        # `evaluate` and experiments go on after an exception
        reached_test=lambda: bool(call.error) and not is_row,
    )


def _name_metric(metric: Any) -> str:
    """Return the name of a metric, with its mode if it has any: a mode is another metric."""
    name = str(getattr(metric, "name", "") or type(metric).__name__)
    mode = getattr(metric, "mode", None)
    if isinstance(mode, str) and mode:
        return f"{name} {mode}"
    return name


def _find_scale(metric: Any) -> tuple[float, float] | None:
    """Return the lowest and the highest score that a metric gives; None if it does not say."""
    allowed = getattr(metric, "allowed_values", None)
    if isinstance(allowed, range) and len(allowed):
        return (allowed[0], allowed[-1])
    if isinstance(allowed, tuple) and len(allowed) == 2:  # noqa: PLR2004 -- from and to
        return (allowed[0], allowed[1])
    output = getattr(getattr(metric, "output_type", None), "value", None)
    if output not in SCALED_OUTPUTS:
        return (0, 1)
    rubrics = getattr(metric, "rubrics", None)
    if isinstance(rubrics, Mapping) and len(rubrics) > 1:
        return (1, len(rubrics))
    return None


def _find_better(metric: Any) -> Literal["higher", "lower"]:
    """Return which scores a metric prefers. ragas documents it, but not in code."""
    kinds = [_as_snake_case(kind.__name__) for kind in type(metric).__mro__]
    if any(kind in LOWER_IS_BETTER for kind in kinds):
        return "lower"
    return "higher"


def _as_snake_case(name: str) -> str:
    """Return the name of a metric for its class: ``noise_sensitivity`` for ``NoiseSensitivity``."""
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).strip("_")


def _find_model(call: ScoringCall) -> str:
    """Return the name of the judge's model; empty: the metric has no judge, or does not say."""
    llm = call.arguments.get("llm") or getattr(call.owner, "llm", None)
    wrapped = getattr(llm, "langchain_llm", llm)
    for name in ("model", "model_name"):
        model = getattr(wrapped, name, None)
        if isinstance(model, str) and model:
            return model
    return ""


def _label_call(call: ScoringCall) -> str:
    """Return the label of a call: the question of the user, or else the reference."""
    for name in ("user_input", "question", "reference"):
        value = _find_field(call, name)
        if isinstance(value, list):
            value = [str(getattr(message, "content", message)) for message in value]
        if value:
            return label_case(value)
    return ""


def _find_field(call: ScoringCall, name: str) -> Any:
    """Return a field of the sample that is scored; newer metrics get each field as an argument. None: it has no such field."""
    sample = call.arguments.get("sample")
    if sample is not None:
        return getattr(sample, name, None)
    return call.arguments.get(name)


TOOL = RagasTool()
