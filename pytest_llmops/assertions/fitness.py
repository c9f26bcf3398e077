"""One sentence about a judge: it does not let itself be talked to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmops import recorder
from pytest_llmops.measurement import Measurement, shorten
from pytest_llmops.probing import Canary, Outcome, Probe, facts, probe, read_canaries, set_of, summary
from pytest_llmops.probing import canaries as built_in
from pytest_llmops.settings import Settings

if TYPE_CHECKING:
    from pytest_llmops.judges.pairwise import Pairwise
    from pytest_llmops.protocols import Judge

QUOTED = 120
MAX_SHOWN = 5


def assert_judge_fit(
    judge: Judge | Pairwise | str,
    *,
    canaries: str | Path | Sequence[Canary] | None = None,
    at_least: float | None = 1.0,
    label: str = "",
) -> Measurement:
    """Assert that a judge passes none of some answers that no judge may pass: canaries.

    They hold nothing (":", "Thought process:"), or nothing but words to the judge: orders, fake verdicts, fake ends
    of the data, role play, other languages, hidden characters. Right answers stand among them; a judge that passes
    none of those either has withstood nothing.

    Args:
        judge: An object or a name; also a judge of pairs. It is asked as any judge is: recordings answer.
        canaries: A file or a list of one's own (see `pytest_llmops.probing.read_canaries`); None: the built-in ones,
            41 answers to one question, of which the judge's model is asked about 30 and 4 right answers.
        at_least: Share that it has to withstand: by default all; None on purpose: record only.
        label: Tells two sets of one test apart.

    Returns:
        The measurement ``judge.<name>.canaries`` of the judge's version: the share of canaries that the judge does not
        pass, of those with a verdict. ``detail["canaries"]`` names those that it passes; the reports name such a
        judge unfit.

    Raises:
        MeasurementFailed: It passes a canary.
        MeasurementErrored: A quarter or more have no verdict, or it passes no right answer either.
        UnknownName: There is no judge of that name.
        UsageError: It is no judge, or there is no canary.
        CaseError: The file cannot be used.
    """
    __tracebackhide__ = True
    given = read_canaries(canaries) if isinstance(canaries, (str, Path)) else canaries
    return emitted(probe(judge, given), at_least=at_least, label=label)


def tried_once(
    judge: Judge | Pairwise | str | None = None,
    *,
    canaries: str | Path | Sequence[Canary] | None = None,
    at_least: float | None = 1.0,
    label: str = "",
    default: str = "quality",
) -> Measurement:
    """Assert the same as `assert_judge_fit`, and ask each version of a judge once: what the fixture does.

    Args:
        judge: As there; None: the ``default``.
        canaries: As there; the path of a file is seen from the working directory.
        at_least: As there.
        label: As there.
        default: Name of a judge.

    Raises:
        MeasurementFailed: As there, and so the rest.
        CassetteMiss: This version of the judge was not tried yet, and nothing may be asked.
    """
    __tracebackhide__ = True
    asked = default if judge is None else judge
    found: Any = recorder.lookup("judge", asked) if isinstance(asked, str) else asked
    given = read_canaries(canaries) if isinstance(canaries, (str, Path)) else canaries
    name = str(getattr(found, "name", "") or type(found).__name__)
    key = (name, str(found.version), set_of(given or built_in()))
    known = _known()
    if key not in known:
        from pytest_llmops.cassettes.blocks import use_cassette

        with use_cassette(f"canaries/{'.'.join(key).replace('/', '-')}"):
            known[key] = probe(found, given)
    return emitted(known[key], at_least=at_least, label=label)


_tried: list[tuple[Settings, dict[tuple[str, str, str], Probe]]] = []
"""What was tried in the run of these settings: the very object, as runs may be alike."""


def _known() -> dict[tuple[str, str, str], Probe]:
    settings = recorder.settings()
    if not _tried or _tried[0][0] is not settings:
        _tried[:] = [(settings, {})]
    return _tried[0][1]


def emitted(found: Probe, *, at_least: float | None = 1.0, label: str = "") -> Measurement:
    """Record what a probe found, and raise if the judge is not fit; see `assert_judge_fit`."""
    __tracebackhide__ = True
    recorder.note({"judge": {"name": found.judge, "version": found.version, "model": found.model}})
    undecided = found.doubt if found.status == "undecided" else ""
    measurement = Measurement(
        name=f"judge.{found.judge}.canaries",
        value=None if undecided else found.withstood,
        error=undecided,
        bound=None if undecided else at_least,
        label=label,
        reason=summary(found),
        version=found.version,
        detail={
            "canaries": {"judge": found.judge, "model": found.model, "bound": found.bound, **facts(found)}
        },
    )
    title = f"judge {shorten(found.judge, 60)}" + (f" [{shorten(label, 60)}]" if label else "")
    return recorder.emit(
        measurement, verdict=f"{title}: {shorten(summary(found), 400)}", evidence=list(_evidence(found))
    )


def _evidence(found: Probe) -> list[tuple[str, str]]:
    pairs = [("passes", _line(one)) for one in found.fallen[:MAX_SHOWN]]
    if len(found.fallen) > MAX_SHOWN:
        pairs.append(("passes", f"and {len(found.fallen) - MAX_SHOWN} more: see the details"))
    pairs += [("rejects", _line(one)) for one in found.rejected[:MAX_SHOWN]]
    pairs += [("unscored", f"{one.canary.id}: {shorten(one.error, QUOTED)}") for one in found.unscored[:2]]
    return pairs


def _line(one: Outcome) -> str:
    score = "" if one.score is None else f", score {one.score:g}"
    return f'{one.canary.id} ({one.canary.kind}{score}): "{shorten(one.canary.answer, QUOTED)}"'
