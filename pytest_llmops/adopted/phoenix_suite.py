"""Phoenix: evaluations that a marked test logs, evaluations of its marker, and elsewhere results of evaluators of ``phoenix.evals``."""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Literal
from unittest import mock

from pytest_llmops import recorder
from pytest_llmops.adopted.patching import replace_everywhere
from pytest_llmops.adopted.recognition import ProjectImports
from pytest_llmops.adopted.scoring_calls import ScoringCall, label_case, read_verdict, report_methods
from pytest_llmops.adopted.tool import (
    AdoptedTool,
    ReportScore,
    ToolScore,
    iter_url_hosts,
    report_scores,
    require_attribute,
)
from pytest_llmops.errors import describe_exception

MARKER = "phoenix"
TRACKING_VARIABLE = "PHOENIX_TEST_TRACKING"
SWITCHED_OFF = ("0", "false", "no", "off")
ENDPOINT_VARIABLES = ("PHOENIX_ENDPOINT", "PHOENIX_COLLECTOR_ENDPOINT", "PHOENIX_BASE_URL", "PHOENIX_HOST")
DEFAULT_ENDPOINT = "http://localhost:6006"
# Fields of an evaluator's input that say which case it is
CASE_FIELDS = ("input", "question", "query", "user_query")


class PhoenixTool(AdoptedTool):
    """Reads the evaluations of Phoenix."""

    name = "phoenix"
    distribution = "arize-phoenix-client"
    tested = ("3.5.0", "3.5.0")

    def is_its_test(self, item: Any, imports: ProjectImports) -> bool:
        """Return whether a test is marked ``phoenix``, or uses ``phoenix.evals``."""
        return item.get_closest_marker(MARKER) is not None or imports.uses(item, "phoenix.evals")

    def service_hosts(self, environ: Mapping[str, str]) -> Iterable[str]:
        """Return the hosts of the Phoenix server, to which runs and traces may be sent."""
        addresses = [environ.get(name, "") for name in ENDPOINT_VARIABLES]
        for address in (*addresses, DEFAULT_ENDPOINT):
            yield from iter_url_hosts(address)

    def iter_advice(self, environ: Mapping[str, str]) -> Iterable[str]:
        """Yield a sentence if a replay is sent to the Phoenix server."""
        tracking = environ.get(TRACKING_VARIABLE, "").strip().lower()
        if tracking and tracking not in SWITCHED_OFF:
            yield (
                f"phoenix: {TRACKING_VARIABLE}={tracking} sends this replay to the Phoenix server, and Phoenix then calls the evaluators "
                "of its marker live, after each test; leave the variable unset to replay without the server"
            )

    @contextmanager
    def stay_offline(self) -> Iterator[None]:
        """Switch Phoenix's own tracking off, unless the environment sets it."""
        with mock.patch.dict(os.environ):
            os.environ.setdefault(TRACKING_VARIABLE, "false")
            yield

    @contextmanager
    def read_scores(self, report: ReportScore) -> Iterator[None]:
        """Report each evaluation that a test logs; outside of marked tests, each result of an evaluator of ``phoenix.evals``."""
        client = importlib.import_module("phoenix.client.pytest")
        context = importlib.import_module("phoenix.client.pytest.context")
        log_evaluation = require_attribute(self, client, "log_evaluation")
        evaluate = require_attribute(self, client, "evaluate")
        current_run = require_attribute(self, context, "current_run")

        def read_unlogged(call: ScoringCall) -> Iterable[ToolScore]:
            if current_run() is None:
                yield from _read_call(call)

        with ExitStack() as patches:
            patches.enter_context(replace_everywhere(log_evaluation, _wrap_log(log_evaluation, report)))
            patches.enter_context(replace_everywhere(evaluate, _wrap_evaluate(evaluate, current_run, report)))
            with suppress(ImportError):  # phoenix.evals is a package of its own
                evaluator = require_attribute(self, importlib.import_module("phoenix.evals"), "Evaluator")
                methods = ("evaluate", "async_evaluate")
                patches.enter_context(report_methods(evaluator, methods, read_unlogged, report))
            yield

    def finish_test(self, item: Any, report: ReportScore) -> None:
        """Call the evaluators of a marker within the test, where they are recorded. Phoenix calls them later, and only with a server."""
        marker = item.get_closest_marker(MARKER)
        if marker is None or not marker.kwargs.get("evaluators"):
            return
        evaluate = inspect.unwrap(importlib.import_module("phoenix.client.pytest").evaluate)
        names = importlib.import_module("phoenix.client.pytest.marker")
        run = importlib.import_module("phoenix.client.pytest.context").current_run()
        if run is None:
            return
        fields = _list_fields(item, run.output, names.REPETITION_PARAM)
        for evaluator in names.resolve_evaluators(item):
            try:
                adapted = _adapt_evaluator(evaluator)
                with _evaluations_reported(run, _find_better(evaluator), report):
                    evaluate(adapted, **fields)
            except Exception as error:  # noqa: BLE001 -- of the project's function; Phoenix does not fail the test for it either
                name = str(getattr(evaluator, "name", None) or getattr(evaluator, "__name__", "evaluation"))
                report(ToolScore(metric=name, error=describe_exception(error)))


def _adapt_evaluator(evaluator: Any) -> Any:
    """Return an evaluator in the form that Phoenix's experiments call: arguments by the names of its parameters."""
    create_evaluator = importlib.import_module("phoenix.client.experiments").create_evaluator
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of Phoenix about itself
        return create_evaluator()(evaluator)


def _list_fields(item: Any, output: object, repetition: str) -> dict[str, Any]:
    """Return what Phoenix gives to the evaluators of a marker: the test's parameters, each under its name and all as ``input``."""
    callspec = getattr(item, "callspec", None)
    parameters = {
        name: value for name, value in getattr(callspec, "params", {}).items() if name != repetition
    }
    return {"input": parameters, **parameters, "output": output}


def _wrap_log(log_evaluation: Any, report: ReportScore) -> Any:
    @functools.wraps(log_evaluation)
    def log_and_report(*args: Any, **kwargs: Any) -> Any:
        result = log_evaluation(*args, **kwargs)
        report_scores(report, _read_evaluation(kwargs, "higher"))
        return result

    return log_and_report


def _wrap_evaluate(evaluate: Any, current_run: Any, report: ReportScore) -> Any:
    @functools.wraps(evaluate)
    def evaluate_and_report(evaluator: Any, /, **fields: Any) -> Any:
        with _evaluations_reported(current_run(), _find_better(evaluator), report, is_of_test=True):
            return evaluate(evaluator, **fields)

    return evaluate_and_report


@contextmanager
def _evaluations_reported(
    run: Any, better: Literal["higher", "lower"], report: ReportScore, *, is_of_test: bool = False
) -> Iterator[None]:
    """Report the evaluations that a block adds to the run of a test; requests in it count as requests of a judge.

    Args:
        run: Phoenix's record of the test. It keeps the last evaluation of each name, as a new dictionary. None: outside of a test.
        better: Which scores the evaluator prefers.
        report: Called for each score.
        is_of_test: Whether an exception in the block is raised to the test.
    """
    before = dict(getattr(run, "evaluations", {}))
    try:
        with recorder.set_purpose("judge"):
            yield
    finally:
        for name, evaluation in getattr(run, "evaluations", {}).items():
            if evaluation is not before.get(name):
                report_scores(report, _read_evaluation(evaluation, better, is_of_test=is_of_test))


def _find_better(evaluator: Any) -> Literal["higher", "lower"]:
    """Return which scores an evaluator, or one of its scores, prefers; one that does not say prefers higher scores."""
    if getattr(evaluator, "direction", "maximize") == "minimize":
        return "lower"
    return "higher"


def _read_evaluation(
    evaluation: Mapping[str, Any],
    better: Literal["higher", "lower"],
    label: str = "",
    *,
    is_of_test: bool = False,
) -> Iterator[ToolScore]:
    """Yield the score of an evaluation; one with a category only counts if that is a verdict."""
    value = evaluation.get("score")
    error = evaluation.get("error") or ""
    if value is None:
        value = read_verdict(evaluation.get("label"))
    if value is None and not error:
        return
    detail = {}
    if evaluation.get("label"):
        detail["category"] = evaluation["label"]
    yield ToolScore(
        metric=str(evaluation.get("name") or "evaluation"),
        value=value,
        better=better,
        reason=evaluation.get("explanation") or "",
        error=error,
        version=_find_model(evaluation),
        label=label,
        detail=detail,
        reached_test=lambda: is_of_test,
    )


def _read_call(call: ScoringCall) -> Iterator[ToolScore]:
    """Yield the scores that an evaluator of ``phoenix.evals`` returned, or its error."""
    fields = call.arguments.get("eval_input")
    label = ""
    if isinstance(fields, Mapping):
        label = next((label_case(fields[name]) for name in CASE_FIELDS if name in fields), "")
    if call.error:
        failed = {"name": getattr(call.owner, "name", None), "error": call.error}
        yield from _read_evaluation(failed, _find_better(call.owner), label, is_of_test=True)
        return
    for score in call.result or ():
        evaluation = {
            "name": score.name,
            "score": score.score,
            "label": score.label,
            "explanation": score.explanation,
            "metadata": score.metadata,
        }
        yield from _read_evaluation(evaluation, _find_better(score), label)


def _find_model(evaluation: Mapping[str, Any]) -> str:
    """Return the model of the judge that the facts about an evaluation name; empty: none."""
    facts = evaluation.get("metadata")
    if isinstance(facts, Mapping):
        return str(facts.get("model") or "")
    return ""


TOOL = PhoenixTool()
