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
    CanaryOutcome,
    CanaryRun,
    canary_run_to_json,
    fingerprint_canaries,
    format_canary_summary,
    read_canaries,
    run_canaries,
)
from pytest_llmops.calibration.canaries import built_in_canaries as built_in
from pytest_llmops.errors import UsageError
from pytest_llmops.judges.evaluate import skipped_measurement
from pytest_llmops.measurement import Measurement, shorten_text
from pytest_llmops.settings import Settings

if TYPE_CHECKING:
    from pytest_llmops.judges.pairwise import Pairwise
    from pytest_llmops.protocols import Judge

MAX_QUOTED_CHARS = 120
LOCK_TIMEOUT_S = 1_800.0
"""How long a worker waits for another one that tries the same judge."""
MAX_LISTED_CANARIES = 5


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
    _check_share(at_least)
    given = read_canaries(canaries) if isinstance(canaries, (str, Path)) else canaries
    name = judge if isinstance(judge, str) else _judge_name(judge)
    if skipped := skipped_measurement(f"judge.{name}.canaries", label):
        return skipped
    return emit_probe(run_canaries(judge, given), at_least=at_least, label=label)


def _check_share(at_least: float | None) -> None:
    if at_least is not None and (isinstance(at_least, bool) or not 0 <= at_least <= 1):
        raise UsageError(
            f"assert_judge_canaries: expected at_least to be a share from 0 to 1 or None, got {at_least!r}"
        )


def _judge_name(judge: object) -> str:
    return str(getattr(judge, "name", "") or type(judge).__name__)


def assert_judge_canaries_once(
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
    _check_share(at_least)
    judge_or_name = default if judge is None else judge
    resolved_judge: Any = (
        recorder.find_component("judge", judge_or_name) if isinstance(judge_or_name, str) else judge_or_name
    )
    if skipped := skipped_measurement(f"judge.{_judge_name(resolved_judge)}.canaries", label):
        return skipped
    given = read_canaries(canaries) if isinstance(canaries, (str, Path)) else canaries
    key = (
        _judge_name(resolved_judge),
        str(resolved_judge.version),
        fingerprint_canaries(built_in() if given is None else given),
    )
    return emit_probe(_probe_once(resolved_judge, given, key), at_least=at_least, label=label)


def _probe_once(judge: Any, given: Sequence[Canary] | None, key: tuple[str, str, str]) -> CanaryRun:
    """Try a judge, if that was not done in this run for the same folder; of several workers one asks."""
    from pytest_llmops.cassettes.use_cassette import use_cassette

    known = _probes_of_run()
    with use_cassette(f"canaries/{'.'.join(key).replace('/', '-')}") as tape:
        place = (*key, str(tape.path))
        judge_probe = known.get(place)
        if judge_probe is None:
            with _lock_probe(".".join(key)) if tape.mode != "none" else nullcontext():
                judge_probe = run_canaries(judge, given)
    # Only now: a request may have been missed although the judge gave a verdict.
    known[place] = judge_probe
    return judge_probe


@contextmanager
def _lock_probe(key: str) -> Iterator[None]:
    """Let other workers wait: what this one is answered is theirs then, too. Who waited too long asks by itself."""
    from filelock import FileLock, Timeout

    from pytest_llmops.cassettes import run_folder

    name = sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    lock = FileLock(run_folder.current_folder() / f"canaries-{name}.lock", timeout=LOCK_TIMEOUT_S)
    with suppress(Timeout, OSError):
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


_probes_by_settings: list[tuple[Settings, dict[tuple[str, ...], CanaryRun]]] = []
"""What was tried in the run of these settings: the very object, as runs may be alike."""


def _probes_of_run() -> dict[tuple[str, ...], CanaryRun]:
    settings = recorder.current_settings()
    if not _probes_by_settings or _probes_by_settings[0][0] is not settings:
        _probes_by_settings[:] = [(settings, {})]
    return _probes_by_settings[0][1]


def emit_probe(judge_probe: CanaryRun, *, at_least: float | None = 1.0, label: str = "") -> Measurement:
    """Record what a probe found, and raise if the judge is not fit; see `assert_judge_canaries`."""
    __tracebackhide__ = True
    recorder.record_facts(
        {"judge": {"name": judge_probe.judge, "version": judge_probe.version, "model": judge_probe.model}}
    )
    undecided = judge_probe.doubt if judge_probe.status == "undecided" else ""
    measurement = Measurement(
        name=f"judge.{judge_probe.judge}.canaries",
        value=None if undecided else judge_probe.withstood,
        error=undecided,
        threshold=None if undecided else at_least,
        label=label,
        reason=format_canary_summary(judge_probe),
        version=judge_probe.version,
        detail={
            "canaries": {
                "judge": judge_probe.judge,
                "model": judge_probe.model,
                "threshold": judge_probe.threshold,
                **canary_run_to_json(judge_probe),
            }
        },
    )
    title = f"judge {shorten_text(judge_probe.judge, 60)}" + (
        f" [{shorten_text(label, 60)}]" if label else ""
    )
    return recorder.emit(
        measurement,
        verdict=f"{title}: {shorten_text(format_canary_summary(judge_probe), 400)}",
        evidence=list(_canary_evidence(judge_probe)),
    )


def _canary_evidence(judge_probe: CanaryRun) -> list[tuple[str, str]]:
    pairs = [("passes", _format_outcome(outcome)) for outcome in judge_probe.fallen[:MAX_LISTED_CANARIES]]
    if len(judge_probe.fallen) > MAX_LISTED_CANARIES:
        pairs.append(("passes", f"and {len(judge_probe.fallen) - MAX_LISTED_CANARIES} more: see the details"))
    pairs += [("rejects", _format_outcome(outcome)) for outcome in judge_probe.rejected[:MAX_LISTED_CANARIES]]
    pairs += [
        ("unscored", f"{outcome.canary.id}: {shorten_text(outcome.error, MAX_QUOTED_CHARS)}")
        for outcome in judge_probe.unscored[:2]
    ]
    return pairs


def _format_outcome(outcome: CanaryOutcome) -> str:
    score = "" if outcome.score is None else f", score {outcome.score:g}"
    return f'{outcome.canary.id} ({outcome.canary.kind}{score}): "{shorten_text(outcome.canary.answer, MAX_QUOTED_CHARS)}"'
