"""The announced ends of models, from a table that comes with the plugin."""

import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from importlib.resources import files

from pytest_llmops.measurement import format_count, shorten_text

TABLE = "shutdowns.toml"


@dataclass(frozen=True, slots=True)
class Shutdown:
    """The announced end of a model, and where that is written."""

    day: date
    source: str


@lru_cache(maxsize=1)
def _read_table() -> dict[str, Shutdown]:
    table = tomllib.loads(files(__package__).joinpath(TABLE).read_text(encoding="utf-8"))
    shutdowns = {}
    for rows in table.values():
        if not isinstance(rows, dict):  # the day on which all pages were read
            continue
        source = f"{rows['page']}, read {table['checked']}"
        for day, models in rows.items():
            if isinstance(models, list):
                shutdown = Shutdown(date.fromisoformat(day), source)
                shutdowns.update(dict.fromkeys(models, shutdown))
    return shutdowns


def find_shutdown(model: str) -> Shutdown | None:
    """Return the announced end of a model, or None if none is known.

    A name may have the vendor before it (``anthropic:``, ``openai/``, ``models/``). A fine-tuned model ends with its base model.

    >>> find_shutdown("models/gemini-2.0-flash").day.isoformat(), find_shutdown("my-model")
    ('2026-06-01', None)
    """
    if model.startswith("ft:"):
        name = model.removeprefix("ft:").partition(":")[0]
    else:
        name = model.rpartition(":")[2]
    return _read_table().get(name.rpartition("/")[2])


def iter_shutdown_notes(models: Iterable[str], days: int, today: date) -> Iterator[str]:
    """Yield a note on each model that is shut down within a number of days, or was."""
    for model in sorted(set(models)):
        shutdown = find_shutdown(model)
        if shutdown is None:
            continue
        left = (shutdown.day - today).days
        if left > days:
            continue
        distance = format_count(abs(left), "day")
        if left < 0:
            when = f"ended on {shutdown.day}, {distance} ago"
        else:
            when = f"ends on {shutdown.day}, {distance} from now"
        yield (
            f"model {shorten_text(model, 100)} {when} ({shutdown.source}); llmops models compare --to NEW tries another"
        )
