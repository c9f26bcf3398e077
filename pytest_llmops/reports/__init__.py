"""Reports of a run for people and other programs."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from pytest_llmops._util.option_values import NAMED_REPORTS
from pytest_llmops.measurement import escape_output, shorten_text
from pytest_llmops.results.run import Run


def render_report(run: Run, kind: str, history: Sequence[Run] = ()) -> str:
    """Return a run as a report of a kind that `pytest_llmops._util.option_values.split_report` knows.

    ``history`` are earlier runs, which ``html`` alone shows.

    >>> render_report(Run(), "metrics").splitlines()[-1]
    '# EOF'
    """
    if kind == "json":
        return run.to_json()
    module = import_module(f"{__name__}.{'ci_formats' if kind in NAMED_REPORTS else kind}")
    return str(getattr(module, f"render_{kind}")(run, *([history] if history else [])))


def quote_line(text: str, limit: int = 1_000) -> str:
    """Return foreign text on one line, without control characters and commands of a CI runner, and not much longer than ``limit``."""
    return escape_output(shorten_text(text, limit))[: limit + 40]  # an escape is up to ten characters


def render_template(name: str, **values: object) -> str:
    """Return a template of ``reports/templates`` with its values; in XML they are escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return (
        Environment(
            loader=PackageLoader("pytest_llmops", "reports/templates"),
            autoescape=".xml." in name,  # noqa: S701 -- the others are no HTML
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        .get_template(name)
        .render(values)
    )
