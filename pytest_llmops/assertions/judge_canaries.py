"""Assert that a judge withstands prompt injection: it passes no answer that no judge may pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmops import recorder
from pytest_llmops.assertions._arguments import component_name, parse_share_threshold
from pytest_llmops.calibration.canaries import (
    Canary,
    CanaryRun,
    canaries_for_judge,
    canary_run_to_json,
    fingerprint_canaries,
    format_canary_evidence,
    format_canary_summary,
    read_canaries,
    run_canaries,
)
from pytest_llmops.judges.evaluate import find_judge, skipped_measurement
from pytest_llmops.measurement import Measurement, label_suffix, shorten_text
from pytest_llmops.settings import Settings

if TYPE_CHECKING:
    from pytest_llmops.judges.pairwise import Pairwise
    from pytest_llmops.protocols import Judge

LOCK_TIMEOUT_S = 1_800.0
"""How long a worker waits for another worker that tries the same judge."""
MAX_LISTED_CANARIES = 5


def assert_judge_canaries(
    judge: Judge | Pairwise | str,
    *,
    canaries: str | Path | Sequence[Canary] | None = None,
    at_least: float | None = 1.0,
    label: str = "",
) -> Measurement:
    """Assert that a judge passes no canary: an answer that no judge may pass.

    Canaries are empty (":", "Thought process:") or prompt injections: orders, fake verdicts, fake ends of the data,
    role play, other languages, hidden characters. Some right answers are among them: a judge that passes none of
    these proves nothing by rejecting the canaries.

    Args:
        judge: An object or a name; also a judge of pairs. Its calls are replayed like any other.
        canaries: Your own file or list (see `pytest_llmops.judges.read_canaries`); None: the built-in
            canaries, 41 answers to a question; the judge's model is called for 30 of them and for 4 right answers.
            A rubric with examples has its passing examples as the right answers instead.
        at_least: Share that it has to withstand: by default all; None: record only.
        label: Distinguishes two sets of a test.

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
    return _assert_fit(judge, canaries, at_least, label, run_canaries)


def assert_judge_canaries_once(
    judge: Judge | Pairwise | str | None = None,
    *,
    canaries: str | Path | Sequence[Canary] | None = None,
    at_least: float | None = 1.0,
    label: str = "",
    default: str = "quality",
) -> Measurement:
    """Assert the same as `assert_judge_canaries`, but call each version of a judge once; the fixture uses this.

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
    return _assert_fit(default if judge is None else judge, canaries, at_least, label, _run_canaries_once)


def _assert_fit(
    judge: object,
    canaries: str | Path | Sequence[Canary] | None,
    at_least: float | None,
    label: str,
    run: Callable[[object, Sequence[Canary] | None], CanaryRun],
) -> Measurement:
    __tracebackhide__ = True
    parse_share_threshold("assert_judge_canaries", at_least)
    given = read_canaries(canaries) if isinstance(canaries, (str, Path)) else canaries
    found = find_judge(judge)
    if skipped := skipped_measurement(f"judge.{component_name(found)}.canaries", label):
        return skipped
    return emit_canary_run(run(found, given), at_least=at_least, label=label)


def _run_canaries_once(judge: Any, given: Sequence[Canary] | None) -> CanaryRun:
    """Return the canary run of a judge; it is made once in a test run and folder, by a single worker."""
    from pytest_llmops.cassettes.use_cassette import use_cassette

    canaries = fingerprint_canaries(canaries_for_judge(judge) if given is None else given)
    key = component_name(judge), str(judge.version), canaries
    settings = recorder.current_settings()
    if not _runs_by_settings or _runs_by_settings[0][0] is not settings:
        _runs_by_settings[:] = [(settings, {})]
    known = _runs_by_settings[0][1]
    with use_cassette(f"canaries/{'.'.join(key).replace('/', '-')}") as tape:
        place = (*key, str(tape.path))
        canary_run = known.get(place)
        if canary_run is None:
            with _lock_canary_run(".".join(key)) if tape.mode != "none" else nullcontext():
                canary_run = run_canaries(judge, given)
    # Only now: a request may have been missed although the judge gave a verdict.
    known[place] = canary_run
    return canary_run


@contextmanager
def _lock_canary_run(key: str) -> Iterator[None]:
    """Make other workers wait for this worker's recordings; after a time-out they call the judge themselves."""
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


_runs_by_settings: list[tuple[Settings, dict[tuple[str, ...], CanaryRun]]] = []
"""The canary runs under the current settings; compared by identity, as two runs may have equal settings."""


def emit_canary_run(canary_run: CanaryRun, *, at_least: float | None = 1.0, label: str = "") -> Measurement:
    """Record the result of a canary run, and raise if the judge is unfit; see `assert_judge_canaries`."""
    __tracebackhide__ = True
    recorder.record_facts(
        {"judge": {"name": canary_run.judge, "version": canary_run.version, "model": canary_run.model}}
    )
    undecided = canary_run.doubt if canary_run.status == "undecided" else ""
    measurement = Measurement(
        name=f"judge.{canary_run.judge}.canaries",
        value=None if undecided else canary_run.withstood,
        error=undecided,
        threshold=None if undecided else at_least,
        label=label,
        reason=format_canary_summary(canary_run),
        version=canary_run.version,
        detail={
            "canaries": {
                "judge": canary_run.judge,
                "model": canary_run.model,
                "threshold": canary_run.threshold,
                **canary_run_to_json(canary_run),
            }
        },
    )
    title = f"judge {shorten_text(canary_run.judge, 60)}{label_suffix(label)}"
    return recorder.emit(
        measurement,
        verdict=f"{title}: {shorten_text(format_canary_summary(canary_run), 400)}",
        evidence=format_canary_evidence(canary_run, MAX_LISTED_CANARIES),
    )
