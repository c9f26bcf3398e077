"""pydantic-evals: the report that its public method ``Dataset.evaluate`` returns, also to ``evaluate_sync``."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

from pytest_llmops import recorder
from pytest_llmops.adopted.recognition import ProjectImports
from pytest_llmops.adopted.tool import AdoptedTool, ReportScore, ToolScore, report_scores, require_attribute

SERVICE_HOSTS = ("logfire-api.pydantic.dev", "logfire-us.pydantic.dev", "logfire-eu.pydantic.dev")


class PydanticEvalsTool(AdoptedTool):
    """Reads the reports of pydantic-evals."""

    name = "pydantic-evals"
    distribution = "pydantic-evals"
    tested = ("2.62.0", "2.62.0")

    def is_its_test(self, item: Any, imports: ProjectImports) -> bool:
        """Return whether a test uses pydantic-evals."""
        return imports.uses(item, "pydantic_evals")

    def service_hosts(self, environ: Mapping[str, str]) -> Iterable[str]:
        """Return the hosts of Logfire, to which reports may be sent."""
        del environ
        return SERVICE_HOSTS

    @contextmanager
    def read_scores(self, report: ReportScore) -> Iterator[None]:
        """Report the scores and assertions of each case when a dataset has been evaluated. Evaluators count as judges."""
        dataset = require_attribute(self, importlib.import_module("pydantic_evals"), "Dataset")
        evaluate = require_attribute(self, dataset, "evaluate")
        evaluator = require_attribute(self, importlib.import_module("pydantic_evals.evaluators"), "Evaluator")
        evaluate_case = require_attribute(self, evaluator, "evaluate_async")

        @functools.wraps(evaluate)
        async def evaluate_and_report(*args: Any, **kwargs: Any) -> Any:
            result = await evaluate(*args, **kwargs)
            report_scores(report, _iter_scores(result))
            return result

        @functools.wraps(evaluate_case)
        async def evaluate_as_judge(*args: Any, **kwargs: Any) -> Any:
            with recorder.set_purpose("judge"):
                return await evaluate_case(*args, **kwargs)

        with ExitStack() as patches:
            patches.enter_context(mock.patch.object(dataset, "evaluate", evaluate_and_report))
            patches.enter_context(mock.patch.object(evaluator, "evaluate_async", evaluate_as_judge))
            yield


def _iter_scores(report: Any) -> Iterator[ToolScore]:
    """Yield the scores of all cases, the evaluators that failed, and the cases whose task failed. A label is not a score."""
    for case in report.cases:
        for result in (*case.scores.values(), *case.assertions.values()):
            yield ToolScore(
                metric=result.name,
                value=result.value,
                passed=result.value,
                reason=result.reason,
                version=_describe_version(result),
                case=case.name,
                output=case.output,
            )
        for failure in case.evaluator_failures:
            yield ToolScore(
                metric=failure.name,
                error=f"the evaluator failed: {failure.error_message}",
                version=_describe_version(failure),
                case=case.name,
            )
    for failed in report.failures:
        yield ToolScore(metric="task", error=f"the task failed: {failed.error_message}", case=failed.name)


def _describe_version(result: Any) -> str:
    """Return the version of an evaluator, and the model that it names."""
    arguments = getattr(getattr(result, "source", None), "arguments", None)
    model = ""
    if isinstance(arguments, Mapping):
        model = str(arguments.get("model") or "")
    version = str(getattr(result, "evaluator_version", None) or "")
    return ", ".join(part for part in (version, model) if part)


TOOL = PydanticEvalsTool()
