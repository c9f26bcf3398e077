"""MLflow: each scorer is read after its public method ``run``, which ``mlflow.genai.evaluate`` calls, or after a call of its own.

While recordings are replayed, runs and traces stay in a temporary folder in place of a tracking server.
"""

from __future__ import annotations

import importlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any
from unittest import mock

from pytest_llmops._util.text_files import fingerprint_parts
from pytest_llmops.adopted.patching import replace_everywhere
from pytest_llmops.adopted.recognition import ProjectImports
from pytest_llmops.adopted.scoring_calls import (
    ScoringCall,
    identify_inputs,
    label_case,
    read_verdict,
    report_methods,
)
from pytest_llmops.adopted.tool import AdoptedTool, ReportScore, ToolScore, iter_url_hosts, require_attribute

TRACKING_VARIABLE = "MLFLOW_TRACKING_URI"
# Without it, MLflow refuses to keep runs and traces in files
FILES_VARIABLE = "MLFLOW_ALLOW_FILE_STORE"
# No statistics for MLflow, and the list of models that came with the package in place of the newest one from GitHub
QUIET_VARIABLES = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_MODEL_CATALOG_URI": ""}
TELEMETRY_HOSTS = ("config.mlflow-telemetry.io", "api.mlflow-telemetry.io")
REMOTE_SCHEMES = ("http", "https", "databricks", "databricks-uc", "uc")
# What MLflow's own judges say if they cannot tell
UNDECIDED = "unknown"
# The name of a feedback to which its scorer gave none
DEFAULT_FEEDBACK = "feedback"


class MlflowTool(AdoptedTool):
    """Reads the scorers of MLflow."""

    name = "mlflow"
    distribution = "mlflow"
    tested = ("3.17.2", "3.18.0")

    def find_version(self) -> str:
        """Return the installed version of ``mlflow``, or else of ``mlflow-skinny``; empty: neither is installed."""
        version = super().find_version()
        if version:
            return version
        try:
            return metadata.version("mlflow-skinny")
        except metadata.PackageNotFoundError:
            return ""

    def is_its_test(self, item: Any, imports: ProjectImports) -> bool:
        """Return whether a test is marked with ``mlflow.test``, or uses ``mlflow.genai``. Tracking by itself does not count."""
        function = getattr(item, "function", None)
        if getattr(function, "_mlflow_test", False):
            return True
        if imports.uses(item, "mlflow.genai"):
            return True
        return imports.uses(item, "mlflow") and imports.uses(item, "genai")

    def service_hosts(self, environ: Mapping[str, str]) -> Iterable[str]:
        """Return the host of the tracking server that the environment names, and the hosts of MLflow's statistics."""
        yield from TELEMETRY_HOSTS
        yield from iter_url_hosts(environ.get(TRACKING_VARIABLE, ""))

    @contextmanager
    def stay_offline(self) -> Iterator[None]:
        """Keep runs and traces in a temporary folder where the tests name a tracking server. Files of the project stay in use."""
        mlflow = importlib.import_module("mlflow")
        set_address = require_attribute(self, mlflow, "set_tracking_uri")
        get_address = require_attribute(self, mlflow, "get_tracking_uri")

        def set_local_address(uri: Any) -> None:
            if not _is_remote(uri):
                set_address(uri)

        with ExitStack() as patches:
            folder = patches.enter_context(tempfile.TemporaryDirectory(prefix="llmops-mlflow-"))
            patches.enter_context(mock.patch.dict(os.environ))
            os.environ[FILES_VARIABLE] = "true"
            address = get_address()
            if _is_remote(address):
                set_address(Path(folder, "mlruns").as_uri())
                patches.callback(set_address, address)
            patches.enter_context(replace_everywhere(set_address, set_local_address))
            yield

    @contextmanager
    def read_scores(self, report: ReportScore) -> Iterator[None]:
        """Report each scorer when it has scored a row."""
        scorer = require_attribute(self, importlib.import_module("mlflow.genai.scorers"), "Scorer")
        require_attribute(self, scorer, "run")
        with ExitStack() as patches:
            patches.enter_context(mock.patch.dict(os.environ))
            for name, value in QUIET_VARIABLES.items():
                os.environ.setdefault(name, value)
            patches.enter_context(report_methods(scorer, ("run", "__call__"), _read_call, report))
            yield


def _is_remote(uri: Any) -> bool:
    """Return whether an address of MLflow's store is a server."""
    return str(uri).partition(":")[0].lower() in REMOTE_SCHEMES


def _read_call(call: ScoringCall) -> Iterator[ToolScore]:
    """Yield the scores of a call: a scorer returns a value, a feedback or several. None is not a score."""
    results = call.result
    if not isinstance(results, (list, tuple)):
        results = [results]
    for result in results:
        if result is not None or call.error:
            score = _read_result(call, result)
            if score is not None:
                yield score


def _read_result(call: ScoringCall, result: Any) -> ToolScore | None:
    """Return the score of a value or a feedback; None for a category that is not a verdict."""
    scorer = call.owner
    name = getattr(result, "name", None)
    if not name or name == DEFAULT_FEEDBACK:
        name = getattr(scorer, "name", None) or type(scorer).__name__
    value = getattr(result, "value", result)
    error = call.error or _describe_error(result)
    passed = _decide(scorer, value)
    number = read_verdict(value)
    if number is None and value == UNDECIDED:
        error = error or f"the judge answered {UNDECIDED!r}"
    if number is None:
        number = passed
    if not error and not isinstance(number, (bool, int, float)):
        return None
    label = label_case(call.arguments.get("inputs"))
    return ToolScore(
        metric=str(name),
        value=number,
        passed=passed,
        reason=getattr(result, "rationale", None) or "",
        error=error,
        version=_describe_version(scorer, result),
        label=label,
        case=label if call.method == "run" else "",
        output=call.arguments.get("outputs"),
        subject=identify_inputs(call.arguments),
        # `evaluate` goes on after an exception of `run`
        reached_test=lambda: bool(call.error) and call.method != "run",
    )


def _describe_error(result: Any) -> str:
    """Return the error of a feedback in words; empty: it has none."""
    error = getattr(result, "error", None)
    if error is None:
        return ""
    return str(getattr(error, "error_message", None) or getattr(error, "error_code", None) or error)


def _decide(scorer: Any, value: Any) -> bool | None:
    """Return whether a scorer's own condition ``pass_if`` holds; None: it has none, or that is not known."""
    condition = getattr(scorer, "pass_if", None)
    if not callable(condition):
        return None
    try:
        return bool(condition(value))
    except Exception:  # noqa: BLE001 -- a function of the project
        return None


def _describe_version(scorer: Any, result: Any) -> str:
    """Return the judge's model, and a digest of its guidelines or instructions: others are another metric."""
    parts = []
    source = getattr(result, "source", None)
    if getattr(source, "source_type", "") == "LLM_JUDGE":
        parts.append(str(getattr(source, "source_id", "")))
    for name in ("guidelines", "instructions"):
        text = getattr(scorer, name, None)
        if isinstance(text, (str, list)) and text:
            parts.append(f"{name} {fingerprint_parts(str(text))[:8]}")
            break
    return ", ".join(part for part in parts if part)


TOOL = MlflowTool()
