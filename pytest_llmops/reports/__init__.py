"""Reports of a run for people and other programs."""

from collections.abc import Callable, Sequence
from importlib import import_module

from pytest_llmops._util.option_values import NAMED_REPORTS, split_report
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
    module = import_module(f"{__name__}.{'ci_formats' if kind in (*NAMED_REPORTS, 'junit') else kind}")
    return str(getattr(module, f"render_{kind}")(run, *([history] if history else [])))


def deliver_report(
    run: Run, given: str, write: Callable[[str, str], object], history: Sequence[Run] = ()
) -> None:
    """Send a run to a collector if the report is ``otlp:URL``, else have its text written.

    Args:
        run: Without secrets.
        given: A report that `pytest_llmops._util.option_values.parse_reports` took.
        write: Gets the name of the file and the text.
        history: Earlier runs.

    Raises:
        MissingExtra: A package is not installed that sends.
        UsageError: The collector did not take all.
    """
    kind, target = split_report(given)
    if kind == "otlp":
        import_module(f"{__name__}.otlp").send_run(run, target)
    else:
        write(target, render_report(run, kind, history))


def quote_line(text: str, limit: int = 1_000) -> str:
    """Return foreign text on one line, without control characters and commands of a CI runner, and not much longer than ``limit``."""
    return escape_output(shorten_text(text, limit))[: limit + 40]  # an escape is up to ten characters


def render_template(name: str, **values: object) -> str:
    """Return a template of ``reports/templates`` with its values; in XML and HTML they are escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return (
        Environment(
            loader=PackageLoader("pytest_llmops", "reports/templates"),
            autoescape=name.split(".")[1] in ("xml", "html"),  # noqa: S701 -- the others are neither
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        .get_template(name)
        .render(values)
    )
