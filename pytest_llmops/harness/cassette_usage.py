"""Usage record of a run's cassettes, their orphans and age, and what the run spent of its budget.

Stale recordings and orphans are known only after a complete run, so the record has the reasons of a partial run.

Knows pytest's configuration by its attributes only.
"""

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pytest_llmops.measurement import Json
from pytest_llmops.settings import Settings

USAGE_CACHE_KEY = "llmops/usage"
# Options of pytest that leave tests out, by attribute
_NARROWING = (
    ("keyword", "-k"),
    ("markexpr", "-m"),
    ("deselect", "--deselect"),
    ("ignore", "--ignore"),
    ("ignore_glob", "--ignore-glob"),
    ("lf", "--lf"),
    ("stepwise", "--stepwise"),
    ("collectonly", "--collect-only"),
)


def why_partial_run(config: Any, settings: Settings, left_out: int) -> list[str]:
    """Return why tests or recordings are missing from this run; empty: it is complete."""
    reasons = [flag for name, flag in _NARROWING if getattr(config.option, name, None)]
    for argument in config.args:
        if not _is_folder_argument(config, argument):
            path = Path(argument)
            typed = os.path.relpath(path, config.invocation_params.dir) if path.is_absolute() else argument
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
    try:
        return len(config.getini("llm_model") or ()) > 1
    except Exception:  # noqa: BLE001 -- native TOML with a text where pytest wants a list: a single model
        return False


def collected_folders(config: Any) -> list[str]:
    """Return the folders, relative to the rootdir, whose tests were collected; ``""`` is the rootdir itself."""
    root = Path(config.rootpath)
    paths = [
        _argument_path(config, argument) for argument in config.args if _is_folder_argument(config, argument)
    ]
    relative = {path.relative_to(root).as_posix() for path in paths if path.is_relative_to(root)}
    return sorted("" if path == "." else path for path in relative)


def _is_folder_argument(config: Any, argument: str) -> bool:
    return "::" not in argument and _argument_path(config, argument).is_dir()


def _argument_path(config: Any, argument: str) -> Path:
    return Path(os.path.normpath(config.invocation_params.dir / argument))


class CassetteUsage:
    """Collects, in the controller, the requests to the tapes of all workers.

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
        self.skipped = self.uncollected = 0
        self.crashed = 0
        self.has_candidates = False
        self.skipped_tests: set[str] = set()

    def add_uses(self, uses: Sequence[Mapping[str, Any]]) -> None:
        """Add the requests to the tapes of a test."""
        self._uses += uses

    @property
    def fewest_takes(self) -> int | None:
        """The smallest number of recorded takes of a test that the run repeats; None: no test has any."""
        return min((use["takes"] for use in self._uses if "takes" in use), default=None)

    def write_record(self, red_because: Sequence[str], undone: int = 0) -> dict[str, Json]:
        """Write the usage record into pytest's cache, and return the report's facts about cassettes and budget.

        Args:
            red_because: What failed in this run; empty: it was green.
            undone: Tests of ours that were skipped or expected to fail: the answers they need are not known.
        """
        facts = self._budget_facts()
        if not self._uses:
            return facts
        from pytest_llmops.cassettes import audit, store, usage_record

        root = Path(self._config.rootpath)
        partial = self._why_partial(undone)
        moved: dict[str, set[str]] = {}
        for use in self._uses:
            if "moved_to" in use:
                moved.setdefault(use["path"], set()).add(use["moved_to"])
        red = [*red_because, *([f"{self.crashed} workers crashed"] if self.crashed else [])]
        usage = usage_record.RunUsage(
            created=datetime.now(UTC).isoformat(),
            root=str(root),
            complete=not partial,
            partial_because=tuple(partial),
            green=not red,
            red_because=tuple(red),
            scopes=tuple(collected_folders(self._config)),
            files=usage_record.collect_cassette_uses(self._uses, root),
            # Sorted: workers that share a cassette end in any order.
            cases=dict(sorted((use["path"], use["case"]) for use in self._uses if "case" in use)),
            models=tuple(sorted({model for use in self._uses for model in use.get("models", ())})),
            skipped=frozenset(self.skipped_tests),
            moved={old: tuple(sorted(new)) for old, new in sorted(moved.items())},
        )
        cache = getattr(self._config, "cache", None)  # absent with `-p no:cacheprovider`
        if cache is not None and self._settings.record != "live":
            cache.set(USAGE_CACHE_KEY, usage.to_wire())
        days = filter(None, (store.read_recording_day(root / name) for name in usage.files))
        orphans: Sequence[Json] = audit.find_orphans(root, usage) if usage.green else []
        cassettes: dict[str, Json] = {"oldest": min(days, default=""), "orphans": orphans}
        return {**facts, "cassettes": {**cassettes, **({"moved": list(usage.moved)} if moved else {})}}

    def why_tests_missing(self) -> list[str]:
        """Return why tests were left out of this run, whatever it was asked to record; empty: all ran."""
        reasons = why_partial_run(self._config, self._settings, self.left_out)
        counts = {
            "workers crashed": self.crashed,
            "modules were skipped": self.skipped,
            "modules could not be collected": self.uncollected,
        }
        return [reason for reason in reasons if not reason.startswith("--llm-")] + [
            f"{count} {what}" for what, count in counts.items() if count
        ]

    def _why_partial(self, undone: int) -> list[str]:
        reasons = why_partial_run(self._config, self._settings, self.left_out)
        if self.has_candidates and getattr(self._config.option, "llm_model", None):
            reasons.append("--llm-model")
        if undone:
            reasons.append(f"{undone} tests were skipped or expected to fail")
        if self.skipped:
            reasons.append(f"{self.skipped} modules were skipped")
        return reasons

    def _budget_facts(self) -> dict[str, Json]:
        if not self._settings.has_budget:
            return {}
        from pytest_llmops.cassettes.use_cassette import open_ledger

        calls, usd = open_ledger(self._settings).totals()
        max_calls, budget_usd = self._settings.max_calls, self._settings.budget
        return {"budget": {"calls": calls, "usd": usd, "max_calls": max_calls, "budget_usd": budget_usd}}
