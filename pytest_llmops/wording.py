"""The failure text of a measurement: the verdict in the first line, then labelled lines of evidence."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_llmops.measurement import Measurement, amount, apart, shorten

MAX_LABEL = 60
MAX_ORIGIN = 2000
"""A command to run a test again must be whole to be of use."""
MAX_EVIDENCE = 8
"""Lines of evidence in a failure text; the report has them all."""


def describe(
    measurement: Measurement,
    *,
    verdict: str = "",
    evidence: Sequence[tuple[str, str]] = (),
    origin: Sequence[tuple[str, str]] = (),
) -> str:
    r"""Return the failure text of a measurement: the verdict in the first line, then labelled lines.

    Evidence beyond the eighth line is left to the report; ``origin`` (who answered, how to run it
    again) is always there.

    >>> print(describe(Measurement(name="text.fuzzy", value=0.4, bound=0.8), evidence=[("nearest", "a\nb")]))
    text.fuzzy 0.40 < 0.80
      nearest   a\nb
    """
    pairs = [("reason", measurement.reason)] if measurement.reason else []
    pairs += evidence
    shown = [(label, shorten(text)) for label, text in pairs[:MAX_EVIDENCE]]
    if len(pairs) > MAX_EVIDENCE:
        shown.append(("and", f"{len(pairs) - MAX_EVIDENCE} more lines in the report"))
    shown += [(label, shorten(text, MAX_ORIGIN)) for label, text in origin]
    width = min(max((len(label) for label, _ in shown), default=0), MAX_LABEL)
    lines = [f"  {shorten(label, MAX_LABEL):<{width}}   {text}" for label, text in shown]
    return "\n".join([verdict or _verdict(measurement), *lines])


def _verdict(m: Measurement) -> str:
    name = f"{m.name} [{shorten(m.label, 60)}]" if m.label else m.name
    if m.value is None:
        return f"{name} could not be scored: {shorten(m.error)}"
    if m.bound is None:
        return f"{name} {amount(m.value, m.unit)}"
    value, bound = apart(m.value, m.bound, m.unit)
    signs = ("<", ">") if m.status == "failed" else (">=", "<=")
    return f"{name} {value} {signs[m.better == 'lower']} {bound}"


def harmless(text: str) -> str:
    """Break what a GitHub runner would take for a command: ``##[`` anywhere, ``::`` at the start of a line.

    >>> harmless("::error::down"), harmless("a::b ##[group]")
    (': :error::down', 'a::b ## [group]')
    """
    return "\n".join(map(_harmless, text.replace("##[", "## [").split("\n")))


def _harmless(line: str) -> str:
    return line.replace("::", ": :", 1) if line.lstrip().startswith("::") else line
