"""What a run leaves about its cassettes: the usage record, what is stale or an orphan, their age, the budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pytest_llmops import whole
from pytest_llmops.measurement import Json
from pytest_llmops.settings import Settings

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
        from pytest_llmops.cassettes import used

        root = Path(self._config.rootpath)
        narrowed = whole.narrowed_by(self._config, self._settings, self.left_out)
        if self.candidates and getattr(self._config.option, "llm_model", None):
            narrowed.append("--llm-model")
        narrowed += [f"{undone} tests were skipped or expected to fail"] if undone else []
        narrowed += [f"{self.skipped} modules were skipped"] if self.skipped else []
        red = [*red_because, *([f"{self.crashed} workers crashed"] if self.crashed else [])]
        usage = used.Usage(
            created=datetime.now(UTC).isoformat(),
            root=str(root),
            complete=not narrowed,
            partial_because=tuple(narrowed),
            green=not red,
            red_because=tuple(red),
            scopes=tuple(whole.scopes(self._config)),
            files=used.collect(self._uses, root),
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
        from pytest_llmops.cassettes.store import recorded_on
        from pytest_llmops.cassettes.usage import orphans

        days = (recorded_on(root / name) for name in usage.files)
        lonely: Sequence[Json] = orphans(root, usage) if usage.green else []
        return {"oldest": min(filter(None, days), default=""), "orphans": lonely}

    def _budget(self) -> dict[str, Json]:
        from pytest_llmops.playing import ledger

        book = ledger(self._settings)
        if book is None:
            return {}
        calls, usd = book.totals()
        limits: dict[str, Json] = {"max_calls": self._settings.max_calls, "budget_usd": self._settings.budget}
        return {"budget": {"calls": calls, "usd": usd, **limits}}
