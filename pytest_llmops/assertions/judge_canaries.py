"""One sentence about a judge: it does not let itself be talked to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmops import recorder
from pytest_llmops.calibration.canaries import (
    Canary,
    Outcome,
    Probe,
    facts,
    probe,
    read_canaries,
    set_of,
    summary,
)
from pytest_llmops.calibration.canaries import canaries as built_in
from pytest_llmops.errors import UsageError
from pytest_llmops.judges.evaluate import not_asked
from pytest_llmops.measurement import Measurement, shorten
from pytest_llmops.settings import Settings

if TYPE_CHECKING:
    from pytest_llmops.judges.pairwise import Pairwise
    from pytest_llmops.protocols import Judge

QUOTED = 120
PATIENCE_S = 1_800.0
"""How long a worker waits for another one that tries the same judge."""
MAX_SHOWN = 5


def assert_judge_canaries(
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
        canaries: A file or a list of one's own (see `pytest_llmops.calibration.canaries.read_canaries`); None: the built-in ones,
            41 answers to one question, of which the judge's model is asked about 30 and 4 right answers.
        at_least: Share that it has to withstand: by default all; None on purpose: record only.
        label: Tells two sets of one test apart.

    Returns:
        The measurement ``judge.<name>.canaries`` of the judge's version: the share of canaries that the judge does not
        pass, of those with a verdict. ``detail["canaries"]`` names those that it passes; the reports name such a
        judge unfit.

    Raises:
        MeasurementFailed: It passes a canary.
        MeasurementErrored: More than a quarter have no verdict, or it passes no right answer either.
        UnknownName: There is no judge of that name.
        UsageError: It is no judge, there is no canary, or a threshold that is no share.
        CaseError: The file cannot be used.
    """
    __tracebackhide__ = True
    _check(at_least)
    given = read_canaries(canaries) if isinstance(canaries, (str, Path)) else canaries
    name = judge if isinstance(judge, str) else _name(judge)
    if skipped := not_asked(f"judge.{name}.canaries", label):
        return skipped
    return emitted(probe(judge, given), at_least=at_least, label=label)


def _check(at_least: float | None) -> None:
    if at_least is not None and (isinstance(at_least, bool) or not 0 <= at_least <= 1):
        raise UsageError(
            f"assert_judge_canaries: expected at_least to be a share from 0 to 1 or None, got {at_least!r}"
        )


def _name(judge: object) -> str:
    return str(getattr(judge, "name", "") or type(judge).__name__)


def tried_once(
    judge: Judge | Pairwise | str | None = None,
    *,
    canaries: str | Path | Sequence[Canary] | None = None,
    at_least: float | None = 1.0,
    label: str = "",
    default: str = "quality",
) -> Measurement:
    """Assert the same as `assert_judge_canaries`, and ask each version of a judge once: what the fixture does.

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
    _check(at_least)
    asked = default if judge is None else judge
    found: Any = recorder.lookup("judge", asked) if isinstance(asked, str) else asked
    if skipped := not_asked(f"judge.{_name(found)}.canaries", label):
        return skipped
    given = read_canaries(canaries) if isinstance(canaries, (str, Path)) else canaries
    key = (_name(found), str(found.version), set_of(built_in() if given is None else given))
    return emitted(_once(found, given, key), at_least=at_least, label=label)


def _once(judge: Any, given: Sequence[Canary] | None, key: tuple[str, str, str]) -> Probe:
    """Try a judge, if that was not done in this run for the same folder; of several workers one asks."""
    from pytest_llmops.cassettes.use_cassette import use_cassette

    known = _known()
    with use_cassette(f"canaries/{'.'.join(key).replace('/', '-')}") as tape:
        place = (*key, str(tape.path))
        found = known.get(place)
        if found is None:
            with _alone(".".join(key)) if tape.mode != "none" else nullcontext():
                found = probe(judge, given)
    # Only now: a request may have been missed although the judge gave a verdict.
    known[place] = found
    return found


@contextmanager
def _alone(key: str) -> Iterator[None]:
    """Let other workers wait: what this one is answered is theirs then, too. Who waited too long asks by itself."""
    from filelock import FileLock, Timeout

    from pytest_llmops.cassettes import run_folder

    name = sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    lock = FileLock(run_folder.folder() / f"canaries-{name}.lock", timeout=PATIENCE_S)
    with suppress(Timeout, OSError):
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


_tried: list[tuple[Settings, dict[tuple[str, ...], Probe]]] = []
"""What was tried in the run of these settings: the very object, as runs may be alike."""


def _known() -> dict[tuple[str, ...], Probe]:
    settings = recorder.settings()
    if not _tried or _tried[0][0] is not settings:
        _tried[:] = [(settings, {})]
    return _tried[0][1]


def emitted(found: Probe, *, at_least: float | None = 1.0, label: str = "") -> Measurement:
    """Record what a probe found, and raise if the judge is not fit; see `assert_judge_canaries`."""
    __tracebackhide__ = True
    recorder.note({"judge": {"name": found.judge, "version": found.version, "model": found.model}})
    undecided = found.doubt if found.status == "undecided" else ""
    measurement = Measurement(
        name=f"judge.{found.judge}.canaries",
        value=None if undecided else found.withstood,
        error=undecided,
        threshold=None if undecided else at_least,
        label=label,
        reason=summary(found),
        version=found.version,
        detail={
            "canaries": {
                "judge": found.judge,
                "model": found.model,
                "threshold": found.threshold,
                **facts(found),
            }
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
