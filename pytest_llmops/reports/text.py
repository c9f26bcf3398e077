"""Foreign text on one line, and templates: what several formats of reports need."""

from pytest_llmops.measurement import escape_output, shorten_text


def quote_line(text: str, limit: int = 1_000) -> str:
    """Return foreign text on one line, without control characters and commands of a CI runner, and not much longer than ``limit``."""
    return escape_output(shorten_text(text, limit))[: limit + 40]  # an escape is up to ten characters


def render_template(name: str, **values: object) -> str:
    """Return a template of ``reports/templates`` with its values; in XML and HTML they are escaped."""
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
