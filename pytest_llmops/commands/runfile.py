"""Reading the run file that a command is given."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmops.errors import UsageError
from pytest_llmops.measurement import shorten

if TYPE_CHECKING:
    from pytest_llmops.runs import Run


def read_run(path: Path) -> Run:
    """Return the run of a file that ``--llm-report=run.json`` wrote.

    Raises:
        UsageError: There is no such file, or it holds no run; with record and key where it is damaged.
    """
    from pytest_llmops.runs import Run
    from pytest_llmops.textfiles import BadFile, read_text

    shown = shorten(str(path), 300)
    try:
        text = read_text(path)
    except BadFile as error:
        raise UsageError(f"{shown}: {error.what}; expected a file that --llm-report=run.json wrote") from None
    return Run.from_json(text, where=shown)
