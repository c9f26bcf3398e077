"""Helpers of several formats of reports: foreign text (from tests and models) on one line, and templates."""

from pytest_llmops.measurement import escape_output, shorten_text


def quote_line(text: str, limit: int = 1_000) -> str:
    """Return foreign text on one line, without control characters and commands of a CI runner, at most 40 characters above ``limit``."""
    return escape_output(shorten_text(text, limit))[: limit + 40]  # an escape is up to ten characters


def render_template(name: str, **values: object) -> str:
    """Render a template in ``reports/templates``; values are escaped if it is XML or HTML (by its first suffix)."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("pytest_llmops", "reports/templates"),
        autoescape=name.split(".")[1] in ("xml", "html"),  # noqa: S701 -- the others are neither
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(name).render(values)
