"""`use_cassette`: a cassette for a block of code, in a test or a script."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pytest_llmops import recorder
from pytest_llmops._util.option_modes import RECORD_MODES, RecordMode, describe_record_modes
from pytest_llmops.cassettes import active_tape, naming, usage_record
from pytest_llmops.cassettes.http import interception
from pytest_llmops.cassettes.tape import Tape, open_tape
from pytest_llmops.cassettes.tape_config import make_run_config
from pytest_llmops.errors import UsageError, swallowed_error
from pytest_llmops.redaction.redactor import Redactor


@contextmanager
def use_cassette(name: str | Path, *, record: RecordMode | None = None) -> Iterator[Tape]:
    """Record and replay the HTTP calls of a block with a cassette of its own.

    It is used in the block's task or thread, and in tasks and threads that the block starts. Blocks can be nested.
    In a test it is used in addition to the test's own cassette, and the report covers both.

    Args:
        name: A name (``"search/handbook"``) in the folder ``cassettes`` next to the running test, or of the working
            directory in a script. Or the `Path` of a file.
        record: The mode. By default the mode of the run (``--llm-record``), and ``none`` in a script.

    Raises:
        CassetteError: The cassette is damaged, or cannot be written.
        CassetteMiss: A request has no recording, even if the block caught the error.
        UsageError: The name or the mode is invalid.
    """
    tape = _open_tape(name, record)
    interception.install_patches()
    ended = False  # whether the block ended without an exception
    try:
        with active_tape.use_tape(tape):
            yield tape
        ended = True
    finally:
        tape.close(passed=ended and tape.verdict() is None)
    verdict = tape.verdict()
    if verdict is not None:
        raise swallowed_error("the block ended well", verdict)


def _open_tape(name: str | Path, record: RecordMode | None) -> Tape:
    """Return the tape of a block: in a run one that belongs to the running test, else a new one.

    Raises:
        CassetteError: The cassette is damaged.
        UsageError: The name or the mode is invalid.
    """
    if record is not None and record not in RECORD_MODES:
        raise UsageError(f"use_cassette: record: expected {describe_record_modes(record)}, got {record!r}")
    if not isinstance(name, Path) and not name.strip("/"):
        raise UsageError(f"use_cassette: expected the name of a cassette, got {name!r}")
    tape: Tape | None = recorder.open_block_cassette(name, record)
    if tape is not None:
        return tape
    settings = recorder.current_settings()
    if isinstance(name, Path):
        path = name
    else:
        path = naming.shared_path(Path.cwd(), name)
    config = make_run_config(
        settings,
        Redactor.from_environment(os.environ),
        owner=usage_record.OUTSIDE_OWNER,
        command='use_cassette(..., record="new")',
    )
    return open_tape(path, record or settings.record, config, shared=True)
