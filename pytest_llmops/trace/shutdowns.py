"""Days on which models are shut down, from a dated table of what their vendors have announced."""

import tomllib
from collections.abc import Iterable, Iterator
from datetime import date
from functools import lru_cache
from importlib.resources import files
from typing import NamedTuple

from pytest_llmops.measurement import format_count, shorten_text

TABLE = "shutdowns.toml"


class Shutdown(NamedTuple):
    """The announced end of a model, and where that is written."""

    day: date
    source: str


@lru_cache(maxsize=1)
def _read_table() -> dict[str, Shutdown]:
    table = tomllib.loads(files(__package__).joinpath(TABLE).read_text(encoding="utf-8"))
    return {
        model: Shutdown(date.fromisoformat(day), f"{rows['page']}, read {table['checked']}")
        for rows in table.values()
        if isinstance(rows, dict)
        for day, models in rows.items()
        if isinstance(models, list)
        for model in models
    }


def find_shutdown(model: str) -> Shutdown | None:
    """Return the announced end of a model, or None if none is known.

    A name may have the vendor before it (``anthropic:``, ``openai/``, ``models/``). A fine-tuned model ends with its base model.

    >>> find_shutdown("models/gemini-2.0-flash").day.isoformat(), find_shutdown("my-model")
    ('2026-06-01', None)
    """
    name = (
        model.removeprefix("ft:").partition(":")[0] if model.startswith("ft:") else model.rpartition(":")[2]
    )
    return _read_table().get(name.rpartition("/")[2])


def iter_shutdown_notes(models: Iterable[str], days: int, today: date) -> Iterator[str]:
    """Yield a note on each model that is shut down within a number of days, or was."""
    for model, shutdown in ((model, find_shutdown(model)) for model in sorted(set(models))):
        if shutdown is not None and (left := (shutdown.day - today).days) <= days:
            yield (
                f"model {shorten_text(model, 100)} {'ended' if left < 0 else 'ends'} on {shutdown.day}, "
                f"{format_count(abs(left), 'day')} {'ago' if left < 0 else 'from now'} ({shutdown.source}); "
                "llmops models compare --to NEW tries another"
            )
