"""LangSmith: feedback that a test logs with ``langsmith.testing.log_feedback``, and scores of ``langsmith.expect``."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any
from unittest import mock
from urllib.parse import urlsplit

from pytest_llmops import recorder
from pytest_llmops._util.hosts import is_loopback
from pytest_llmops.adopted.patching import replace_everywhere
from pytest_llmops.adopted.recognition import ProjectImports
from pytest_llmops.adopted.tool import AdoptedTool, ReportScore, ToolScore, report_scores, require_attribute

MARKER = "langsmith"
# Methods of `langsmith.expect` that log a score, and whether a higher one is better
EXPECT_METHODS = {"score": "higher", "edit_distance": "lower", "embedding_distance": "lower"}
SERVICE_HOSTS = ("api.smith.langchain.com", "eu.api.smith.langchain.com", "beta.api.smith.langchain.com")
ENDPOINT_VARIABLES = ("LANGSMITH_ENDPOINT", "LANGCHAIN_ENDPOINT")
TRACKING_VARIABLES = ("LANGSMITH_TEST_TRACKING", "LANGCHAIN_TEST_TRACKING")


class LangsmithTool(AdoptedTool):
    """Reads the feedback of tests that are marked ``langsmith``."""

    name = "langsmith"
    distribution = "langsmith"
    tested = ("0.15.1", "0.15.1")

    def is_its_test(self, item: Any, imports: ProjectImports) -> bool:
        """Return whether a test is marked ``langsmith``, or uses ``langsmith.testing`` or `langsmith.expect`."""
        if item.get_closest_marker(MARKER) is not None:
            return True
        return imports.uses(item, "langsmith.testing") or imports.uses(item, "langsmith._expect")

    def service_hosts(self, environ: Mapping[str, str]) -> Iterable[str]:
        """Return the hosts of LangSmith. One on this machine is not among them: a model may be there too."""
        yield from SERVICE_HOSTS
        for name in ENDPOINT_VARIABLES:
            host = (urlsplit(environ.get(name, "")).hostname or "").lower()
            if host and not is_loopback(host):
                yield host

    def iter_advice(self, environ: Mapping[str, str]) -> Iterable[str]:
        """Yield a sentence if the tests call the LangSmith service."""
        if all(environ.get(name) != "false" for name in TRACKING_VARIABLES):
            yield (
                "langsmith: its tests call the LangSmith service, which is neither recorded nor replayed; "
                "set LANGSMITH_TEST_TRACKING=false to replay them without it"
            )

    @contextmanager
    def read_scores(self, report: ReportScore) -> Iterator[None]:
        """Report each score that a test logs. Calls within ``trace_feedback`` count as calls of a judge."""
        testing = importlib.import_module("langsmith.testing")
        log_feedback = require_attribute(self, testing, "log_feedback")
        trace_feedback = require_attribute(self, testing, "trace_feedback")
        expect = require_attribute(self, importlib.import_module("langsmith"), "expect")
        with ExitStack() as patches:
            patches.enter_context(replace_everywhere(log_feedback, _wrap_log_feedback(log_feedback, report)))
            patches.enter_context(replace_everywhere(trace_feedback, _wrap_trace_feedback(trace_feedback)))
            for name, better in EXPECT_METHODS.items():
                method = require_attribute(self, type(expect), name)
                wrapped = _wrap_expect(method, better, report)
                patches.enter_context(mock.patch.object(type(expect), name, wrapped))
            yield


def _wrap_log_feedback(log_feedback: Any, report: ReportScore) -> Any:
    @functools.wraps(log_feedback)
    def log_and_report(feedback: Any = None, /, **kwargs: Any) -> Any:
        if feedback is None:
            result = log_feedback(**kwargs)
        else:
            result = log_feedback(feedback, **kwargs)
        report_scores(report, _iter_scores(feedback, kwargs))
        return result

    return log_and_report


def _iter_scores(feedback: Any, kwargs: Mapping[str, Any]) -> Iterator[ToolScore]:
    """Yield the scores of a call of ``log_feedback``: a dictionary, a list of them, or arguments. Entries without a score are left out."""
    given = feedback
    if not given:
        given = kwargs
    if isinstance(given, Mapping):
        given = [given]
    for entry in given:
        if entry.get("score") is None:
            continue
        yield ToolScore(
            metric=str(entry.get("key", "")),
            value=entry["score"],
            reason=entry.get("comment") or kwargs.get("comment") or "",
        )


def _wrap_trace_feedback(trace_feedback: Callable[..., AbstractContextManager[Any]]) -> Any:
    @functools.wraps(trace_feedback)
    @contextmanager
    def trace_as_judge(*args: Any, **kwargs: Any) -> Iterator[Any]:
        with recorder.set_purpose("judge"), trace_feedback(*args, **kwargs) as run:
            yield run

    return trace_as_judge


def _wrap_expect(method: Any, better: Any, report: ReportScore) -> Any:
    @functools.wraps(method)
    def score_and_report(*args: Any, **kwargs: Any) -> Any:
        matcher = method(*args, **kwargs)
        report_scores(report, _iter_matcher(matcher, better, kwargs.get("comment")))
        return matcher

    return score_and_report


def _iter_matcher(matcher: Any, better: Any, comment: object) -> Iterator[ToolScore]:
    """Yield the score that a method of `langsmith.expect` has logged."""
    yield ToolScore(metric=str(matcher.key), value=matcher.value, better=better, reason=comment)


TOOL = LangsmithTool()
