"""The recordings that a run used (the usage record), why a run is partial, and which tests exist.

An *orphan* is a cassette whose test is gone, a *stale* recording one that its test no longer requests. Both are known only after a
complete run, so the usage record holds the reason why a run is partial.

Knows pytest's configuration by its attributes only.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmops.errors import UsageError
from pytest_llmops.harness import tapes
from pytest_llmops.measurement import Json
from pytest_llmops.settings import Settings

if TYPE_CHECKING:
    from pytest_llmops.cassettes import RecordingIndex, RunUsage


USAGE_CACHE_KEY = "llmops/usage"
# Options of pytest that leave tests out, by their attribute in its configuration
_NARROWING = {
    "keyword": "-k",
    "markexpr": "-m",
    "deselect": "--deselect",
    "ignore": "--ignore",
    "ignore_glob": "--ignore-glob",
    "lf": "--lf",
    "stepwise": "--stepwise",
    "collectonly": "--collect-only",
}


def why_partial_run(config: Any, settings: Settings, left_out: int) -> list[str]:
    """Return why tests or recordings are missing from this run; empty: it is complete."""
    reasons = [flag for name, flag in _NARROWING.items() if getattr(config.option, name, None)]
    for argument in config.args:
        if not _is_folder_argument(config, argument):
            typed = argument
            if Path(argument).is_absolute():
                typed = os.path.relpath(argument, config.invocation_params.dir)
            reasons.append(f"only {typed}")
    if left_out and not reasons:
        reasons.append(f"{left_out} collected tests were left out")
    if settings.prompt:
        reasons.append("--llm-prompt")
    if getattr(config.option, "llm_model", None) and _has_several_ini_models(config):
        reasons.append("--llm-model")
    if settings.record == "live":
        reasons.append("--llm-record=live")
    return reasons


def _has_several_ini_models(config: Any) -> bool:
    """Return whether the ini names several models, of which --llm-model then runs only some."""
    try:
        return len(config.getini("llm_model") or ()) > 1
    except Exception:  # noqa: BLE001 -- native TOML with a text where pytest wants a list: a single model
        return False


def collected_folders(config: Any) -> list[str]:
    """Return the folders, relative to the rootdir, whose tests were collected; ``""`` is the rootdir itself."""
    root = Path(config.rootpath)
    folders = set()
    for argument in config.args:
        path = _argument_path(config, argument)
        if not _is_folder_argument(config, argument) or not path.is_relative_to(root):
            continue
        if path == root:
            folders.add("")
        else:
            folders.add(path.relative_to(root).as_posix())
    return sorted(folders)


def _is_folder_argument(config: Any, argument: str) -> bool:
    """Return whether an argument of the command line is a folder, so that all of its tests are collected."""
    return "::" not in argument and _argument_path(config, argument).is_dir()


def _argument_path(config: Any, argument: str) -> Path:
    return Path(os.path.normpath(config.invocation_params.dir / argument))


class CassetteUsage:
    """Collects in the controller the recordings that the tests of all workers used.

    Args:
        config: pytest's.
        settings: The run's.

    Attributes:
        left_out: Collected tests that were not run.
        skipped: Modules that skipped themselves.
        uncollected: Modules that failed while they were collected.
        skipped_tests: Node ids of skipped tests.
        crashed: Workers that crashed.
        has_candidates: Tests were made for the models of --llm-model.
    """

    def __init__(self, config: Any, settings: Settings) -> None:
        self._config = config
        self._settings = settings
        self._uses: list[Mapping[str, Any]] = []
        self.left_out = 0
        self.skipped = 0
        self.uncollected = 0
        self.crashed = 0
        self.has_candidates = False
        self.skipped_tests: set[str] = set()

    def add_uses(self, uses: Sequence[Mapping[str, Any]]) -> None:
        """Add the entries of a test for the usage record, one for each of its cassettes (see `TapeLog.uses`)."""
        self._uses += uses

    @property
    def fewest_takes(self) -> int | None:
        """The smallest number of recorded takes of a test without a marker `llm_trials`. None: no test has any."""
        takes = [use["takes"] for use in self._uses if "takes" in use]
        return min(takes, default=None)

    def write_record(self, red_because: Sequence[str], undone: int = 0) -> dict[str, Json]:
        """Write the usage record into pytest's cache, and return the report's facts about cassettes and budget.

        Args:
            red_because: The failures of this run. Empty: it was green.
            undone: Tests of ours that were skipped or expected to fail: the answers they need are not known.
        """
        facts = self._budget_facts()
        if not self._uses:
            return facts
        from pytest_llmops.cassettes import find_orphans

        root = Path(self._config.rootpath)
        usage = self._make_usage(root, red_because, undone)
        cache = getattr(self._config, "cache", None)  # absent with `-p no:cacheprovider`
        if cache is not None and self._settings.record != "live":
            cache.set(USAGE_CACHE_KEY, usage.to_wire())
        orphans: Sequence[Json] = []
        if usage.green:
            orphans = find_orphans(root, usage)
        cassettes: dict[str, Json] = {"oldest": _find_oldest_day(root, usage.files), "orphans": orphans}
        if usage.moved:
            cassettes["moved"] = list(usage.moved)
        return {**facts, "cassettes": cassettes}

    def _make_usage(self, root: Path, red_because: Sequence[str], undone: int) -> RunUsage:
        """Return the usage record, made of the entries of all tests.

        Args:
            root: The rootdir of the project.
            red_because: The failures of this run.
            undone: Tests of ours that were skipped or expected to fail.
        """
        from pytest_llmops.cassettes import RunUsage, collect_cassette_uses

        partial = self._why_partial(undone)
        red = list(red_because)
        if self.crashed:
            red.append(f"{self.crashed} workers crashed")
        moved: dict[str, set[str]] = {}
        cases: dict[str, str] = {}
        models: set[str] = set()
        for use in self._uses:
            if "moved_to" in use:
                moved.setdefault(use["path"], set()).add(use["moved_to"])
            if "case" in use:
                # Workers that share a cassette end in any order: the last case by name represents all of them.
                cases[use["path"]] = max(cases.get(use["path"], ""), use["case"])
            models.update(use.get("models", ()))
        return RunUsage(
            created=datetime.now(UTC).isoformat(),
            root=str(root),
            complete=not partial,
            partial_because=tuple(partial),
            green=not red,
            red_because=tuple(red),
            scopes=tuple(collected_folders(self._config)),
            files=collect_cassette_uses(self._uses, root),
            # Sorted: workers that share a cassette end in any order.
            cases=dict(sorted(cases.items())),
            models=tuple(sorted(models)),
            skipped=frozenset(self.skipped_tests),
            moved={old: tuple(sorted(new)) for old, new in sorted(moved.items())},
        )

    def why_tests_missing(self) -> list[str]:
        """Return why tests were left out of this run; empty: all ran. Options of ours, such as --llm-model, leave no test out."""
        reasons = [
            reason
            for reason in why_partial_run(self._config, self._settings, self.left_out)
            if not reason.startswith("--llm-")
        ]
        if self.crashed:
            reasons.append(f"{self.crashed} workers crashed")
        if self.skipped:
            reasons.append(f"{self.skipped} modules were skipped")
        if self.uncollected:
            reasons.append(f"{self.uncollected} modules could not be collected")
        return reasons

    def _why_partial(self, undone: int) -> list[str]:
        """Return why the run may not have made all requests of its tests; empty: it is complete."""
        reasons = why_partial_run(self._config, self._settings, self.left_out)
        if self.has_candidates and getattr(self._config.option, "llm_model", None):
            reasons.append("--llm-model")
        if undone:
            reasons.append(f"{undone} tests were skipped or expected to fail")
        if self.skipped:
            reasons.append(f"{self.skipped} modules were skipped")
        return reasons

    def _budget_facts(self) -> dict[str, Json]:
        """Return the costs and the budget of the run. Empty without a budget."""
        if not self._settings.has_budget:
            return {}
        from pytest_llmops.cassettes import open_ledger

        calls, usd = open_ledger(self._settings).totals()
        budget: dict[str, Json] = {
            "calls": calls,
            "usd": usd,
            "max_calls": self._settings.max_calls,
            "budget_usd": self._settings.budget,
        }
        return {"budget": budget}


def _find_oldest_day(root: Path, files: Iterable[str]) -> str:
    """Return the day of the oldest recording in some cassettes; empty: there is none."""
    from pytest_llmops.cassettes import read_recording_day

    days = [read_recording_day(root / name) for name in files]
    return min(filter(None, days), default="")


_DEFINITION = re.compile(r"^[ \t]*(?:async[ \t]+)?def[ \t]+(\w+)", re.MULTILINE)


class CollectedTests:
    """All tests of the modules that were collected, also those that this run leaves out.

    Args:
        root: The root folder of the project.
        children: Each collected module and class, with the tests and classes in it.
    """

    def __init__(self, root: Path, children: Sequence[tuple[Any, Sequence[Any]]]) -> None:
        self._root = root
        self._children = children

    @cached_property
    def index(self) -> RecordingIndex:
        """The recordings in cassettes whose test is gone, where a renamed test finds its own."""
        from pytest_llmops.cassettes import RecordingIndex

        return RecordingIndex(self._root, self.is_abandoned)

    def is_abandoned(self, cassette: Path) -> bool:
        """Return whether the test or fixture after which a cassette is named is gone.

        A cassette is named ``cassettes/<module>/<class>.<test>.json``. If its module or class was collected as a whole, the collected
        tests decide. Otherwise the test counts as existing if the source of the module defines a function of that name.
        """
        from pytest_llmops.cassettes import CASSETTE_FOLDER, safe_file_name

        if cassette in self._cassettes:
            return False
        folder = next((folder for folder in cassette.parents if folder.name == CASSETTE_FOLDER), None)
        if folder is None:  # a path of the user's choice, which does not name a test
            return False
        names = cassette.relative_to(folder).with_suffix("").parts
        if len(names) < 2:  # noqa: PLR2004 -- module and test; without a module it is a shared cassette with a name of its own
            return False
        modules = (path for path in folder.parent.glob("*.py") if safe_file_name(path.stem) == names[0])
        module = next(modules, None)
        if module is None:
            return True
        # The class, or the test itself if it is in no class
        first = names[1].partition(".")[0]
        is_fixture = first == "fixture"
        if module in self._modules and not is_fixture and first not in self._modules[module]:
            return True
        source = module.read_text("utf-8", "replace")
        defined = {safe_file_name(name) for name in _DEFINITION.findall(source)}
        return defined.isdisjoint(name.rpartition(".")[2] for name in names[-2:])

    @cached_property
    def _cassettes(self) -> frozenset[Path]:
        """The cassettes of all collected tests and of their fixtures."""
        paths: set[Path] = set()
        for _, nodes in self._children:
            for item in nodes:
                if not _is_test(item):
                    continue
                paths.update(path for _, path in tapes.recorded_fixtures(item))
                with suppress(UsageError):  # reported by the test itself
                    paths.add(tapes.item_cassette_path(item)[0])
        return frozenset(paths)

    @cached_property
    def _modules(self) -> dict[Path, set[str]]:
        """For each collected module, the classes whose tests were not collected, by the names that cassettes have for them."""
        from pytest_llmops.cassettes import safe_file_name, test_name

        expanded = {collector for collector, _ in self._children}
        modules: dict[Path, set[str]] = {}
        for collector, nodes in self._children:
            unknown = modules.setdefault(collector.path, set())
            for node in nodes:
                if not _is_test(node) and node not in expanded:
                    unknown.add(test_name((node.name, "")).partition("/")[0])
                    unknown.add(safe_file_name(node.name))
        return modules


def _is_test(node: Any) -> bool:
    return hasattr(node, "runtest")
