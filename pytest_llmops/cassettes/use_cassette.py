"""A cassette for a block of code: inside a test beside the test's own, or in a plain script."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pytest_llmops import recorder
from pytest_llmops.cassettes import active_tape, run_folder
from pytest_llmops.cassettes.budget import Ledger
from pytest_llmops.cassettes.http import interception
from pytest_llmops.cassettes.naming import shared_path
from pytest_llmops.cassettes.rate_limit import RateLimiter
from pytest_llmops.cassettes.request_key import MatchRules
from pytest_llmops.cassettes.tape import Tape
from pytest_llmops.errors import CassetteMiss, UsageError
from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.settings import RecordMode

RECORD_MODES: tuple[RecordMode, ...] = ("none", "new", "all", "live", "verify")


@contextmanager
def use_cassette(name: str | Path, *, record: RecordMode | None = None) -> Iterator[Tape]:
    """Record and replay the HTTP calls of a block with a cassette of its own.

    It counts for the block, in its task or thread and in those that it starts; other tasks keep theirs. Blocks
    may be nested. In a test it stands beside the test's own cassette, and the report tells of both.

    Args:
        name: A name (``"search/handbook"``): the file lies in the folder ``cassettes`` of the running test, in a
            script of the working directory. A `Path`: that file.
        record: The mode; left out: the run's (``--llm-record``), in a script ``none``.

    Raises:
        CassetteError: The cassette is damaged, or cannot be written.
        CassetteMiss: Nothing recorded answers a request, even if the block caught it.
        UsageError: The name or the mode is none.
    """
    tape = _open_tape(name, record)
    interception.install_patches()
    ended = False
    try:
        with active_tape.use_tape(tape):
            yield tape
        ended = True
    finally:
        tape.close(passed=ended and tape.verdict() is None)
    verdict = tape.verdict()
    if verdict is not None:
        how = "missed" if isinstance(verdict, CassetteMiss) else "refused"
        raise type(verdict)(
            f"the block ended well although a request was {how} (was the error caught?)\n{verdict}"
        )


def _open_tape(name: str | Path, record: RecordMode | None) -> Tape:
    if record is not None and record not in RECORD_MODES:
        raise UsageError(f"use_cassette: record: expected one of {', '.join(RECORD_MODES)}, got {record!r}")
    if not isinstance(name, Path) and not name.strip("/"):
        raise UsageError(f"use_cassette: expected the name of a cassette, got {name!r}")
    tape: Tape | None = recorder.open_block_cassette(name, record)
    if tape is not None:
        return tape
    settings = recorder.current_settings()
    return Tape(
        name if isinstance(name, Path) else shared_path(Path.cwd(), name),
        record or settings.record,
        Redactor.from_environment(os.environ),
        owner="block",
        command='use_cassette(..., record="new")',
        allowed=frozenset(settings.allow_hosts),
        shared=True,
        rules=MatchRules(settings.match_ignore),
        record_errors=settings.record_errors,
        ledger=Ledger(run_folder.current_folder() / "ledger", settings.max_calls, settings.budget)
        if settings.has_budget
        else None,
        pace=RateLimiter(settings.judge_concurrency),
    )
