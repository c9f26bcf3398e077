"""openevals: results of its evaluators, with LangSmith and without.

Evaluators are functions that close over their settings, so no public place holds them all. They all call one of two
functions of ``openevals.utils``; if a version lacks them, the summary reports it.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from pytest_llmops import recorder
from pytest_llmops.adopted.patching import replace_everywhere
from pytest_llmops.adopted.recognition import ProjectImports
from pytest_llmops.adopted.tool import AdoptedTool, ReportScore, ToolScore, report_scores, require_attribute

RUN_EVALUATOR = "_run_evaluator_untyped"
RUN_ASYNC_EVALUATOR = "_arun_evaluator_untyped"


class OpenevalsTool(AdoptedTool):
    """Reads the evaluators of openevals."""

    name = "openevals"
    distribution = "openevals"
    tested = ("0.2.2", "0.2.2")

    def is_its_test(self, item: Any, imports: ProjectImports) -> bool:
        """Return whether a test uses openevals."""
        return imports.uses(item, "openevals")

    @contextmanager
    def read_scores(self, report: ReportScore) -> Iterator[None]:
        """Report the result of each evaluator. Its calls count as calls of a judge."""
        utils = importlib.import_module("openevals.utils")
        run = require_attribute(self, utils, RUN_EVALUATOR)
        run_async = require_attribute(self, utils, RUN_ASYNC_EVALUATOR)

        @functools.wraps(run)
        def run_and_report(*args: Any, **kwargs: Any) -> Any:
            with recorder.set_purpose("judge"):
                result = run(*args, **kwargs)
            report_scores(report, _iter_scores(result))
            return result

        @functools.wraps(run_async)
        async def run_async_and_report(*args: Any, **kwargs: Any) -> Any:
            with recorder.set_purpose("judge"):
                result = await run_async(*args, **kwargs)
            report_scores(report, _iter_scores(result))
            return result

        with ExitStack() as patches:
            patches.enter_context(replace_everywhere(run, run_and_report))
            patches.enter_context(replace_everywhere(run_async, run_async_and_report))
            yield


def _iter_scores(result: Any) -> Iterator[ToolScore]:
    """Yield the result of an evaluator, or each of a list of results; a result in a form of the project's own is left out."""
    results = result
    if not isinstance(result, list):
        results = [result]
    for entry in results:
        if not isinstance(entry, Mapping) or "key" not in entry or "score" not in entry:
            continue
        yield ToolScore(
            metric=str(entry["key"]),
            value=entry["score"],
            passed=entry["score"],
            reason=entry.get("comment"),
        )


TOOL = OpenevalsTool()
