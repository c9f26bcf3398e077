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


def narrowed_by(config: Any, settings: Settings, left_out: int) -> list[str]:
    """Return what kept tests or recordings out of this run; empty: nothing did."""
    found = [flag for name, flag in _NARROWING if getattr(config.option, name, None)]
    found += [_shown(config, one) for one in _narrow_arguments(config)]
    if left_out and not found:
        found.append(f"{left_out} collected tests were left out")
    if settings.prompt:
        found.append("--llm-prompt")
    if getattr(config.option, "llm_model", None) and _several_models_in_ini(config):
        found.append("--llm-model")
    if settings.record == "live":
        found.append("--llm-record=live")
    return found


def _several_models_in_ini(config: Any) -> bool:
    try:
        return len(config.getini("llm_model") or ()) > 1
    except Exception:  # noqa: BLE001 -- native TOML with a text where pytest wants a list: it is one model
        return False


def scopes(config: Any) -> list[str]:
    """Return the folders, relative to the rootdir, whose tests were collected; empty text: the rootdir itself."""
    found = (_relative(config, Path(one)) for one in _folders(config))
    return sorted({one for one in found if one is not None})


def _folders(config: Any) -> Iterator[str]:
    for one in config.args:
        path = _path(config, one)
        if "::" not in one and path.is_dir():
            yield str(path)


def _narrow_arguments(config: Any) -> list[str]:
    return [one for one in config.args if "::" in one or not _path(config, one).is_dir()]


def _path(config: Any, argument: str) -> Path:
    return Path(os.path.normpath(config.invocation_params.dir / argument.partition("::")[0]))


def _relative(config: Any, path: Path) -> str | None:
    root = Path(config.rootpath)
    if not path.is_relative_to(root):
        return None
    shown = path.relative_to(root).as_posix()
    return "" if shown == "." else shown


def _shown(config: Any, argument: str) -> str:
    there = Path(argument)
    return f"only {os.path.relpath(there, config.invocation_params.dir) if there.is_absolute() else argument}"


USAGE = "llmops/usage"
"""Key in pytest's cache."""


class Housekeeping:
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
        self.candidates = False
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
        narrowed = narrowed_by(self._config, self._settings, self.left_out)
        if self.candidates and getattr(self._config.option, "llm_model", None):
            narrowed.append("--llm-model")
        narrowed += [f"{undone} tests were skipped or expected to fail"] if undone else []
        narrowed += [f"{self.skipped} modules were skipped"] if self.skipped else []
        red = [*red_because, *([f"{self.crashed} workers crashed"] if self.crashed else [])]
        usage = usage_record.Usage(
            created=datetime.now(UTC).isoformat(),
            root=str(root),
            complete=not narrowed,
            partial_because=tuple(narrowed),
            green=not red,
            red_because=tuple(red),
            scopes=tuple(scopes(self._config)),
            files=usage_record.collect(self._uses, root),
            # Tests that share a cassette: whichever worker ends last, the record is the same.
            cases=dict(sorted((one["path"], one["case"]) for one in self._uses if "case" in one)),
            models=tuple(sorted({name for one in self._uses for name in one.get("models", ())})),
            skipped=frozenset(self.skipped_tests),
        )
        cache = getattr(self._config, "cache", None)  # without the cacheprovider there is none
        if cache is not None and self._settings.record != "live":
            cache.set(USAGE, usage.to_wire())
        return {**facts, "cassettes": self._cassettes(root, usage)}

    def _cassettes(self, root: Path, usage: Any) -> dict[str, Json]:
        from pytest_llmops.cassettes.audit import orphans
        from pytest_llmops.cassettes.store import recorded_on

        days = (recorded_on(root / name) for name in usage.files)
        lonely: Sequence[Json] = orphans(root, usage) if usage.green else []
        return {"oldest": min(filter(None, days), default=""), "orphans": lonely}

    def _budget(self) -> dict[str, Json]:
        from pytest_llmops.harness.tapes import ledger

        book = ledger(self._settings)
        if book is None:
            return {}
        calls, usd = book.totals()
        limits: dict[str, Json] = {"max_calls": self._settings.max_calls, "budget_usd": self._settings.budget}
        return {"budget": {"calls": calls, "usd": usd, **limits}}
