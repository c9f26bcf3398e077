"""What a run leaves about its cassettes: the usage record, what is stale or an orphan, their age, the budget.

Was this run the whole suite? Only then can it be said what no test uses any more.

Knows pytest's configuration by its attributes only.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pytest_llmops.measurement import Json
from pytest_llmops.settings import Settings

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
"""Options of pytest that leave tests out, by where their values lie."""


def why_partial_run(config: Any, settings: Settings, left_out: int) -> list[str]:
    """Return what kept tests or recordings out of this run; empty: nothing did."""
    reasons = [flag for name, flag in _NARROWING if getattr(config.option, name, None)]
    reasons += [_format_argument(config, argument) for argument in _narrowing_arguments(config)]
    if left_out and not reasons:
        reasons.append(f"{left_out} collected tests were left out")
    if settings.prompt:
        reasons.append("--llm-prompt")
    if getattr(config.option, "llm_model", None) and _several_models_in_ini(config):
        reasons.append("--llm-model")
    if settings.record == "live":
        reasons.append("--llm-record=live")
    return reasons


def _several_models_in_ini(config: Any) -> bool:
    try:
        return len(config.getini("llm_model") or ()) > 1
    except Exception:  # noqa: BLE001 -- native TOML with a text where pytest wants a list: it is one model
        return False


def collected_folders(config: Any) -> list[str]:
    """Return the folders, relative to the rootdir, whose tests were collected; empty text: the rootdir itself."""
    folders = (_relative_to_root(config, Path(folder)) for folder in _folder_arguments(config))
    return sorted({folder for folder in folders if folder is not None})


def _folder_arguments(config: Any) -> Iterator[str]:
    for argument in config.args:
        path = _argument_path(config, argument)
        if "::" not in argument and path.is_dir():
            yield str(path)


def _narrowing_arguments(config: Any) -> list[str]:
    return [
        argument
        for argument in config.args
        if "::" in argument or not _argument_path(config, argument).is_dir()
    ]


def _argument_path(config: Any, argument: str) -> Path:
    return Path(os.path.normpath(config.invocation_params.dir / argument.partition("::")[0]))


def _relative_to_root(config: Any, path: Path) -> str | None:
    root = Path(config.rootpath)
    if not path.is_relative_to(root):
        return None
    relative = path.relative_to(root).as_posix()
    return "" if relative == "." else relative


def _format_argument(config: Any, argument: str) -> str:
    path = Path(argument)
    return f"only {os.path.relpath(path, config.invocation_params.dir) if path.is_absolute() else argument}"


USAGE_CACHE_KEY = "llmops/usage"
"""Key in pytest's cache."""


class CassetteUsage:
    """In the controller: collects what the tapes of all workers were asked.

    Args:
        config: pytest's.
        settings: The run's.
    """

    def __init__(self, config: Any, settings: Settings) -> None:
        self._config = config
        self._settings = settings
        self._uses: list[Mapping[str, Any]] = []
        self.left_out = 0
        self.skipped = 0
        self.crashed = 0
        self.has_candidates = False
        self.skipped_tests: set[str] = set()

    def add(self, uses: Sequence[Mapping[str, Any]]) -> None:
        """Take in what one test's tapes were asked."""
        self._uses += uses

    def finish(self, red_because: Sequence[str], undone: int = 0) -> dict[str, Json]:
        """Write the usage record into pytest's cache, and return what the report says of the cassettes.

        Args:
            red_because: What failed in this run; nothing: it was green.
            undone: Tests of ours that were skipped, or expected to fail: what they would have used is not known.
        """
        facts = self._budget()
        if not self._uses:
            return facts
        from pytest_llmops.cassettes import usage_record

        root = Path(self._config.rootpath)
        narrowed = why_partial_run(self._config, self._settings, self.left_out)
        if self.has_candidates and getattr(self._config.option, "llm_model", None):
            narrowed.append("--llm-model")
        narrowed += [f"{undone} tests were skipped or expected to fail"] if undone else []
        narrowed += [f"{self.skipped} modules were skipped"] if self.skipped else []
        red = [*red_because, *([f"{self.crashed} workers crashed"] if self.crashed else [])]
        usage = usage_record.RunUsage(
            created=datetime.now(UTC).isoformat(),
            root=str(root),
            complete=not narrowed,
            partial_because=tuple(narrowed),
            green=not red,
            red_because=tuple(red),
            scopes=tuple(collected_folders(self._config)),
            files=usage_record.collect_cassette_uses(self._uses, root),
            # Tests that share a cassette: whichever worker ends last, the record is the same.
            cases=dict(sorted((use["path"], use["case"]) for use in self._uses if "case" in use)),
            models=tuple(sorted({name for use in self._uses for name in use.get("models", ())})),
            skipped=frozenset(self.skipped_tests),
        )
        cache = getattr(self._config, "cache", None)  # without the cacheprovider there is none
        if cache is not None and self._settings.record != "live":
            cache.set(USAGE_CACHE_KEY, usage.to_wire())
        return {**facts, "cassettes": self._cassettes(root, usage)}

    def _cassettes(self, root: Path, usage: Any) -> dict[str, Json]:
        from pytest_llmops.cassettes.audit import find_orphans
        from pytest_llmops.cassettes.store import read_recording_day

        days = (read_recording_day(root / name) for name in usage.files)
        orphan_facts: Sequence[Json] = find_orphans(root, usage) if usage.green else []
        return {"oldest": min(filter(None, days), default=""), "orphans": orphan_facts}

    def _budget(self) -> dict[str, Json]:
        from pytest_llmops.harness.tapes import open_ledger

        run_ledger = open_ledger(self._settings)
        if run_ledger is None:
            return {}
        calls, usd = run_ledger.totals()
        limits: dict[str, Json] = {"max_calls": self._settings.max_calls, "budget_usd": self._settings.budget}
        return {"budget": {"calls": calls, "usd": usd, **limits}}
