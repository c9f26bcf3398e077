# ruff: noqa: ARG001 -- a hook names the arguments it is called with
"""Hooks of the plugin, for ``conftest.py`` and other plugins.

Names are looked up at first use, in the worker, through the test's own conftest files: the nearest wins. A hook that
returns factories is called once for all tests that see the same conftest files and plugins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_llmops.protocols import Embedder, Judge, Model, Retriever
    from pytest_llmops.reports.formats import ReportFormat
    from pytest_llmops.results.run import Run
    from pytest_llmops.trace import WireFormat


@pytest.hookspec
def pytest_llmops_models(config: pytest.Config) -> Mapping[str, Callable[[], Model]]:
    """Return models by name; ``app`` replaces the model of the `llm` fixture, ``judge`` that of the judges.

    Select any other name with ``@pytest.mark.llm_models(name)`` or ``--llm-model``: a candidate on another server.

    Called in the worker at the first use of a name. Factories are called without arguments, once.

    Example::

        def pytest_llmops_models(config):
            return {"app": MyGateway}
    """
    return {}


@pytest.hookspec
def pytest_llmops_judges(config: pytest.Config) -> Mapping[str, Callable[[], Judge]]:
    """Return judges by name, for ``@pytest.mark.judge(name)`` and ``assert_judge_score(judge=name)``.

    Called in the worker at the first use of a name. Factories are called without arguments, once.
    """
    return {}


@pytest.hookspec
def pytest_llmops_embedders(config: pytest.Config) -> Mapping[str, Callable[[], Embedder]]:
    """Return embedders by name, for ini ``llm_embedder`` and ``assert_semantic(embedder=name)``.

    Called in the worker at the first use of a name. Factories are called without arguments, once.
    """
    return {}


@pytest.hookspec
def pytest_llmops_retrievers(config: pytest.Config) -> Mapping[str, Callable[[], Retriever]]:
    """Return retrievers by name, for ``@pytest.mark.retriever(name)``; they come before corpora on disk.

    Called in the worker at the first use of a name. Factories are called without arguments, once.
    """
    return {}


@pytest.hookspec
def pytest_llmops_redactors(config: pytest.Config) -> Mapping[str, Callable[[str], str]]:
    """Return functions that mask secrets before recording; all are applied, in the order of their names.

    Called in the worker before a cassette opens. Each function gets the text of a body or a URL and returns it
    masked; the masked text is hashed and written, so the function must be deterministic.
    """
    return {}


@pytest.hookspec
def pytest_llmops_request_normalizers(config: pytest.Config) -> Mapping[str, Callable[[str], str]]:
    r"""Return functions that normalize what differs from run to run; all are applied, in the order of their names.

    Called in the worker before a cassette opens. Each function gets the address, and the canonical body (JSON with
    its keys sorted), of a request and returns the text by which recordings are matched; the recorded request is not
    changed. The functions may change freely: existing recordings are matched under the new rules too.

    Example::

        def pytest_llmops_request_normalizers(config):
            return {"dates": lambda text: re.sub(r"\d{4}-\d\d-\d\d", "<date>", text)}
    """
    return {}


@pytest.hookspec
def pytest_llmops_reports(config: pytest.Config) -> Sequence[ReportFormat]:
    r"""Return formats of reports for ``--llm-report``; one of the same kind replaces a built-in format.

    Called in the controller at the start of a run that writes reports, for the conftest files that pytest has loaded by then
    (those of the rootdir and of the folders on the command line). ``render`` gets the finished run, in which secrets are
    masked, and returns the text of the file: escape in it what its readers would take for markup or commands.

    Example::

        from pytest_llmops.reports.formats import ReportFormat

        def render_failures(run):
            return "".join(f"{record.nodeid}\n" for record in run.records if record.outcome == "failed")

        def pytest_llmops_reports(config):
            return [ReportFormat(kind="failures", suffix=".failures", render=render_failures)]
    """
    return []


@pytest.hookspec
def pytest_llmops_call_formats(config: pytest.Config) -> Mapping[str, WireFormat]:
    """Return wire formats by name, by which `llm_calls`, costs and reports read the calls of a run.

    A format names its hosts and paths, and the functions that read its bodies; see `pytest_llmops.trace.WireFormat`.
    The hosts become known: a run that only replays refuses connections to them that nothing records. The formats of
    all conftest files and plugins hold for the whole run, whatever test makes the call, and come before the built-in ones.

    Called in every process of the run at its start, and again after collection. A name that is taken is an error.

    Example::

        def pytest_llmops_call_formats(config):
            endpoint = Endpoint("chat", "/generate", CallFormat(read_request, read_reply))
            return {"acme": WireFormat([endpoint], hosts={"llm.acme.example": "acme"})}
    """
    return {}


@pytest.hookspec
def pytest_llmops_run_finished(config: pytest.Config, run: Run) -> None:
    """Called in the controller when all tests are done, before the reports are written."""
