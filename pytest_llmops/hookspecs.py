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
    """Return models by name.

    ``app`` replaces the model of the `llm` fixture, ``judge`` the model of the judges. Any other name is selected with
    ``@pytest.mark.llm_models(name)`` or ``--llm-model``, such as a candidate on another server.

    Called in the worker at the first use of a name. Each factory is called once, without arguments.

    Example::

        def pytest_llmops_models(config):
            return {"app": MyGateway}
    """
    return {}


@pytest.hookspec
def pytest_llmops_judges(config: pytest.Config) -> Mapping[str, Callable[[], Judge]]:
    """Return judges by name, for ``@pytest.mark.judge(name)`` and ``assert_judge_score(judge=name)``.

    A judge is any class with ``judge(answer, *, question, reference)``, which returns a
    `pytest_llmops.protocols.Verdict`, and with a ``version``.

    Called in the worker at the first use of a name. Each factory is called once, without arguments.

    Example::

        def pytest_llmops_judges(config):
            return {"polite": PoliteJudge}
    """
    return {}


@pytest.hookspec
def pytest_llmops_embedders(config: pytest.Config) -> Mapping[str, Callable[[], Embedder]]:
    """Return embedders by name, for ``llm_embedder`` and ``assert_semantic(embedder=name)``.

    An embedder is any class with ``embed(texts)``, which returns a vector for each text, and with a ``version``.

    Called in the worker at the first use of a name. Each factory is called once, without arguments.

    Example::

        def pytest_llmops_embedders(config):
            return {"house": HouseEmbedder}
    """
    return {}


@pytest.hookspec
def pytest_llmops_retrievers(config: pytest.Config) -> Mapping[str, Callable[[], Retriever]]:
    """Return retrievers by name, for ``@pytest.mark.retriever(name)``.

    A retriever is any class with ``search(query, k)``, which returns `pytest_llmops.protocols.Hits`. A name of this
    hook comes before a corpus of the same name on disk.

    Called in the worker at the first use of a name. Each factory is called once, without arguments.

    Example::

        def pytest_llmops_retrievers(config):
            return {"handbook": HandbookRetriever}
    """
    return {}


@pytest.hookspec
def pytest_llmops_redactors(config: pytest.Config) -> Mapping[str, Callable[[str], str]]:
    """Return functions that mask secrets before recording. All of them are applied, in the order of their names.

    Each function gets the text of a body or an address, and returns it masked. The masked text is hashed and written,
    so the function must be deterministic.

    Called in the worker before a cassette opens.

    Example::

        def pytest_llmops_redactors(config):
            return {"customers": lambda text: re.sub(r"C-[0-9]{6}", "C-XXXXXX", text)}
    """
    return {}


@pytest.hookspec
def pytest_llmops_request_normalizers(config: pytest.Config) -> Mapping[str, Callable[[str], str]]:
    r"""Return functions that normalize the changing parts of requests.

    All of them are applied, in the order of their names. Each function gets the address of a request, and its canonical body (JSON with sorted keys). It returns the text by
    which recordings are matched. The recorded request is not changed. You may change the functions at any time:
    existing recordings are matched by the new rules too.

    Called in the worker before a cassette opens.

    Example::

        def pytest_llmops_request_normalizers(config):
            return {"dates": lambda text: re.sub(r"\d{4}-\d\d-\d\d", "<date>", text)}
    """
    return {}


@pytest.hookspec
def pytest_llmops_reports(config: pytest.Config) -> Sequence[ReportFormat]:
    r"""Return formats of reports for ``--llm-report``. A format replaces the built-in one of the same kind.

    ``render`` gets the finished run, in which secrets are masked, and returns the text of the file. It must escape
    everything that readers of the file would interpret as markup or commands.

    Called in the controller at the start of a run that writes reports, for the conftest files that pytest has loaded by
    then (of the rootdir and of the folders on the command line).

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

    A format names its hosts and paths, and the functions that read its bodies (`pytest_llmops.trace.WireFormat`). Its
    hosts become known: a replay refuses connections to them that no cassette records. The formats of all conftest files
    and plugins hold for the whole run, and come before the built-in ones. A name that is already used is an error.

    Called in every process of the run at its start, and again after collection.

    Example::

        def pytest_llmops_call_formats(config):
            endpoint = Endpoint("chat", "/generate", CallFormat(read_request, read_reply))
            return {"acme": WireFormat([endpoint], hosts={"llm.acme.example": "acme"})}
    """
    return {}


@pytest.hookspec
def pytest_llmops_run_finished(config: pytest.Config, run: Run) -> None:
    """Receive the finished run. It returns nothing.

    Called in the controller when all tests are done, before the reports are written.

    Example::

        def pytest_llmops_run_finished(config, run):
            print(len(run.records), "tests")
    """
