"""Assert that a judge can be relied on: it agrees with human annotators, and withstands prompt injection."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

from pytest_llmops import recorder
from pytest_llmops.assertions._arguments import parse_share_threshold
from pytest_llmops.assertions._judged import judge_title
from pytest_llmops.errors import MeasurementFailed, UsageError
from pytest_llmops.judges.calibration.canaries import (
    Canary,
    CanaryRun,
    canaries_for_judge,
    canary_run_to_json,
    describe_judge,
    fingerprint_canaries,
    format_canary_evidence,
    format_canary_summary,
    read_canaries,
    run_canaries,
)
from pytest_llmops.judges.calibration.evidence import figures_to_json, format_missed_requirements
from pytest_llmops.judges.calibration.judge_comparison import (
    MIN_LABELS,
    Calibration,
    PassAt,
    VerdictSource,
    calibrate_judge,
)
from pytest_llmops.judges.calibration.labels import LabelsSource, read_labels
from pytest_llmops.judges.calibration.requirements import AgreementRequirements
from pytest_llmops.judges.evaluate import find_judge, skipped_measurement
from pytest_llmops.judges.rubric import Pairwise
from pytest_llmops.measurement import Json, Measurement, shorten_text
from pytest_llmops.protocols import Judge
from pytest_llmops.registry import component_name
from pytest_llmops.settings import Settings

__tracebackhide__ = True

MAX_DETAIL_DISAGREEMENTS = 50  # maximum number of disagreements that the report lists


def assert_judge_agrees(
    judge: Judge | str,
    labels: LabelsSource,
    *,
    at_least_kappa: float | None = 0.6,
    at_least_kappa_lower: float | None = 0.4,
    at_least_tnr: float | None = None,
    at_least_tpr: float | None = None,
    pass_at: PassAt = "default",  # noqa: S107 -- a score, no secret
    verdicts: VerdictSource = "asked",
    trials: int = 1,
    at_least_labels: int = MIN_LABELS,
    label: str = "",
) -> Measurement:
    """Assert that a judge agrees with human annotators, beyond chance.

    There are two thresholds. The kappa must reach ``at_least_kappa``. Its lower 95 % confidence limit (one-sided,
    bootstrap over families) must reach ``at_least_kappa_lower``. The first threshold is not sufficient: a judge with a
    true kappa of 0.6 reaches 0.6 half the time, with any number of labels.

    Args:
        judge: An object or a name. It is called for every labelled answer. Its calls are recorded and replayed.
        labels: A file of labels or a list of its objects (`pytest_llmops.judges.read_labels`). Labels pass and fail:
            Cohen's kappa, and the judge passes an answer from ``pass_at``. Numbers on the judge's own scale: quadratic
            kappa. With several annotators the majority counts, for numbers the median, and the kappa between them is
            reported.
        at_least_kappa: Threshold of the kappa. None: record only.
        at_least_kappa_lower: Threshold of its lower 95 % confidence limit. None: record only.
        at_least_tnr: Threshold of the share of failed answers that the judge fails, with 95 % confidence (Wilson).
        at_least_tpr: Threshold of the share of passed answers that the judge passes, with 95 % confidence (Wilson).
        pass_at: The lowest score that passes. Left out: the judge's own. None: scores are not split.
        verdicts: ``stored``: the verdicts are in the labels and the judge is not called. It may then be any name.
        trials: Verdicts on each answer. Their mean counts.
        at_least_labels: The minimum number of answers. With fewer, a kappa is mostly chance. 100 answers with 50 of
            each class are a good start.
        label: Distinguishes several uses in one test.

    Returns:
        The measurement ``judge.<name>.kappa``, -1 to 1. Also recorded are ``.kappa_lower``, ``.tnr``, ``.tpr``,
        ``.precision``, ``.agreement``, ``.spearman``, ``.people_kappa`` and ``.unscored``, with a threshold
        ``.tnr_lower`` and ``.tpr_lower``, and ``.<dimension>.kappa`` for each labelled dimension.

    Raises:
        MeasurementFailed: A threshold is missed. The message shows the worst disagreements and the confusion table.
        MeasurementErrored: The kappa cannot be computed, because more than 5 % of the verdicts are missing, or all
            compared labels and verdicts are the same. Fewer missing verdicts are reported, with the kappa if they were wrong.
        CaseError: The labels cannot be used. The message gives file and line.
        UsageError: A threshold is impossible, the judge does not exist, there are too few labels, or scores and labels
            cannot be compared. If the judge's scale is known, this is found before any call.

    >>> rows = [{"id": str(n), "human": n % 2 == 0, "judge": n % 2 == 0 or n > 57} for n in range(60)]
    >>> kappa = assert_judge_agrees("lenient", rows, verdicts="stored")
    >>> round(kappa.value, 2), kappa.threshold
    (0.97, 0.6)
    """
    given = read_labels(labels)
    if verdicts == "asked":
        used_judge = find_judge(judge)
    else:
        used_judge = judge
    if isinstance(used_judge, str):
        name = used_judge
    else:
        name = component_name(used_judge)
    if verdicts == "asked":
        skipped = skipped_measurement(f"judge.{name}.kappa", label)
        if skipped:
            return skipped
    try:
        requirements = AgreementRequirements(
            at_least_kappa=at_least_kappa,
            at_least_kappa_lower=at_least_kappa_lower,
            at_least_tnr=at_least_tnr,
            at_least_tpr=at_least_tpr,
        )
    except UsageError as error:
        raise UsageError(str(error)) from None  # the frame of a dataclass cannot be hidden
    calibration = calibrate_judge(
        used_judge,  # type: ignore[arg-type]  # checked there
        given,
        requirements=requirements,
        pass_at=pass_at,
        verdicts=verdicts,
        trials=trials,
        at_least_labels=at_least_labels,
    )
    return _emit_calibration(calibration, used_judge, label)


def _emit_calibration(calibration: Calibration, judge: object, label: str) -> Measurement:
    """Emit all figures of a calibration and return the kappa; an error without a kappa."""
    judged = calibration.judged
    folder = recorder.current_settings().judge_records
    record_detail = describe_judge(judge, judged.name, judged.version, folder)
    if "calibration" not in record_detail and not calibration.problem:
        record = calibration.to_record("this run")
        record_detail["calibration"] = record.describe(judged.version)
    measure = partial(_build_measurement, calibration, label, record_detail)
    if calibration.figures.compared or not calibration.problem:
        _emit_further_figures(calibration, measure)
    if calibration.problem:
        title = f"agreement of {judge_title(judged.name, label)}"
        verdict = f"{title} gave no score: {shorten_text(calibration.problem, 400)}"
        measurement = measure("kappa", error=calibration.problem, detail=_build_detail(calibration))
        return recorder.emit(measurement, verdict=verdict)
    return _emit_results(calibration, measure)


def _build_measurement(
    calibration: Calibration,
    label: str,
    record_detail: dict[str, Json],
    name: str,
    *,
    detail: Mapping[str, Json] | None = None,
    **fields: Any,
) -> Measurement:
    """Return the measurement ``judge.<judge>.<name>``; every measurement has the record of the judge in its detail."""
    judged = calibration.judged
    full_name = f"judge.{judged.name}.{name}"
    full_detail = {**record_detail, **(detail or {})}
    return Measurement(name=full_name, label=label, version=judged.version, detail=full_detail, **fields)


def _emit_further_figures(calibration: Calibration, measure: Callable[..., Measurement]) -> None:
    """Emit the other recorded figures, and the kappa of each dimension."""
    figures = calibration.figures
    judged = calibration.judged
    values: dict[str, float | None] = {}
    if figures.rates:
        values["tnr"] = figures.rates.tnr.value
        values["tpr"] = figures.rates.tpr.value
        values["precision"] = figures.rates.precision.value
    values["agreement"] = figures.agreement
    values["spearman"] = figures.spearman
    if figures.annotators:
        values["people_kappa"] = figures.annotators.kappa
    values["unscored"] = len(judged.errors) / len(judged.verdicts)
    for name, dimension in calibration.dimensions.items():
        values[f"{name}.kappa"] = dimension.kappa
    for name, value in values.items():
        better = "higher"
        if name == "unscored":
            better = "lower"
        if value is not None:
            recorder.emit(measure(name, value=value, better=better))


def _emit_results(calibration: Calibration, measure: Callable[..., Measurement]) -> Measurement:
    """Emit the kappa and the other requirements, and return the kappa; if some are missed, raise a single failure.

    The missed ones come last, so that everything is recorded before the failure is raised. The kappa is the first of
    the results, and always among them.
    """
    results = calibration.results
    missed = [result for result in results if result.missed]
    kept = [result for result in results if not result.missed]
    # The first failure reports all requirements; within `soft` each of the others has its own line.
    first = (missed or results)[0]
    evidence = list(calibration.iter_evidence())
    failures: list[MeasurementFailed] = []
    emitted: dict[str, Measurement] = {}
    for result in (*kept, *missed):
        reason = ""
        verdict = ""
        if not result.missed:
            reason = evidence[0][1]  # the line about the kappa
        elif result is first:
            verdict = format_missed_requirements(calibration.judged, results)
        else:
            verdict = format_missed_requirements(calibration.judged, [result])
        detail: dict[str, Json] = {}
        if result is results[0]:
            detail = _build_detail(calibration)
        measurement = measure(
            result.name, value=result.value, threshold=result.threshold, reason=reason, detail=detail
        )
        result_evidence: Sequence[tuple[str, str]] = ()
        if result is first:
            result_evidence = evidence
        try:
            emitted[result.name] = recorder.emit(measurement, verdict=verdict, evidence=result_evidence)
        except MeasurementFailed as failure:
            failures.append(failure)
    if failures:
        measurements = [failure.measurement for failure in failures]
        raise MeasurementFailed(str(failures[0]), measurements) from None
    return emitted["kappa"]


def _build_detail(calibration: Calibration) -> dict[str, Json]:
    """Return the figures, the confusion table, and the first disagreements and errors, for the report."""
    figures = calibration.figures
    judged = calibration.judged
    disagreements: list[Json] = []
    for disagreement in figures.disagreements[:MAX_DETAIL_DISAGREEMENTS]:
        gap = round(disagreement.gap, 4)
        row: dict[str, Json] = {
            "id": disagreement.id,
            "line": disagreement.line,
            "people": disagreement.human,
            "judge": disagreement.judge,
            "gap": gap,
        }
        disagreements.append(row)
    judge: dict[str, Json] = {"name": judged.name, "version": judged.version, "model": judged.model}
    table: list[Json] = [list(counts) for counts in figures.table.counts]
    errors: dict[str, Json] = {}
    for id_, error in islice(judged.errors.items(), MAX_DETAIL_DISAGREEMENTS):
        errors[id_] = shorten_text(error)
    return {
        "judge": judge,
        "labels": calibration.labels.fingerprint,
        "agreement": figures_to_json(figures),
        "classes": list(figures.table.classes),
        "table": table,
        "disagreements": disagreements,
        "errors": errors,
    }


LOCK_TIMEOUT_S = (
    1_800.0  # how long a worker waits for another worker that runs the canaries of the same judge
)


def assert_judge_canaries(
    judge: Judge | Pairwise | str,
    *,
    canaries: str | Path | Sequence[Canary] | None = None,
    at_least: float | None = 1.0,
    label: str = "",
) -> Measurement:
    """Assert that a judge passes no canary, an answer that must not pass.

    Canaries are empty (":", "Thought process:") or prompt injections: orders, fake verdicts, fake ends of the data,
    role play, other languages, hidden characters. Some good answers are mixed in. If the judge passes none of these
    either, it proves nothing by rejecting the canaries.

    Args:
        judge: An object or a name, also a judge of pairs. Its calls are recorded and replayed.
        canaries: Your own file or list (`pytest_llmops.judges.read_canaries`). None: the 41 built-in canaries, answers
            to one question. The judge's model is called for 30 of them and for 4 good answers. If a rubric has
            examples, its passing examples are the good answers.
        at_least: The share of the canaries that the judge must reject, by default all. None: record only.
        label: Distinguishes two sets of one test.

    Returns:
        The measurement ``judge.<name>.canaries`` of the judge's version: the share of canaries that the judge rejects,
        among the canaries with a verdict. ``detail["canaries"]`` names the canaries that it passes. The reports call
        such a judge unfit.

    Raises:
        MeasurementFailed: The judge passes a canary.
        MeasurementErrored: More than a quarter have no verdict, or the judge passes not a single good answer.
        UnknownName: The judge does not exist.
        UsageError: It is not a judge, the set of canaries is empty, or the threshold is not a share.
        CaseError: The file cannot be used.

    Example::

        @pytest.mark.judge("judges/tone.md")
        def test_canaries(judge):
            assert_judge_canaries(judge)
    """
    return _assert_fit(judge, canaries, at_least, label, run_canaries)


def assert_judge_canaries_once(
    judge: Judge | Pairwise | str | None = None,
    *,
    canaries: str | Path | Sequence[Canary] | None = None,
    at_least: float | None = 1.0,
    label: str = "",
    default: Callable[[], Judge],
) -> Measurement:
    """Assert the same as `assert_judge_canaries`, but call each version of a judge once; the fixture uses this.

    Args:
        judge: As for `assert_judge_canaries`; None: the ``default``.
        canaries: As for `assert_judge_canaries`; the path of a file is relative to the working directory.
        at_least: As for `assert_judge_canaries`.
        label: As for `assert_judge_canaries`.
        default: Returns the judge that is used without ``judge``; only called then.

    Raises:
        MeasurementFailed: As for `assert_judge_canaries`, like the other errors.
        CassetteMiss: This version of the judge has no recordings, and models may not be called.
    """
    if judge is None:
        judge = default()
    return _assert_fit(judge, canaries, at_least, label, _run_canaries_once)


def _assert_fit(
    judge: object,
    canaries: str | Path | Sequence[Canary] | None,
    at_least: float | None,
    label: str,
    run: Callable[[object, Sequence[Canary] | None], CanaryRun],
) -> Measurement:
    """Emit the share of canaries that a judge does not pass; ``run`` gives the judge its canaries (None: built-in)."""
    parse_share_threshold("assert_judge_canaries", at_least)
    given: Sequence[Canary] | None
    if isinstance(canaries, (str, Path)):
        given = read_canaries(canaries)
    else:
        given = canaries
    used_judge = find_judge(judge)
    skipped = skipped_measurement(f"judge.{component_name(used_judge)}.canaries", label)
    if skipped:
        return skipped
    canary_run = run(used_judge, given)
    used: dict[str, Json] = {
        "name": canary_run.judge,
        "version": canary_run.version,
        "model": canary_run.model,
    }
    recorder.record_facts({"judge": used})
    folder = recorder.current_settings().judge_records
    records = describe_judge(used_judge, canary_run.judge, canary_run.version, folder)
    records.pop("canaries", None)  # the canaries of this run count
    summary = format_canary_summary(canary_run)
    detail = {
        "judge": canary_run.judge,
        "model": canary_run.model,
        "threshold": canary_run.threshold,
        **canary_run_to_json(canary_run),
    }
    measured = partial(
        Measurement,
        name=f"judge.{canary_run.judge}.canaries",
        label=label,
        reason=summary,
        version=canary_run.version,
        detail={**records, "canaries": detail},
    )
    if canary_run.status == "undecided" and canary_run.doubt:
        measurement = measured(error=canary_run.doubt)
    else:
        measurement = measured(value=canary_run.withstood, threshold=at_least)
    title = judge_title(canary_run.judge, label)
    verdict = f"{title}: {shorten_text(summary, 400)}"
    evidence = format_canary_evidence(canary_run, 5)
    return recorder.emit(measurement, verdict=verdict, evidence=evidence)


def _run_canaries_once(judge: Any, given: Sequence[Canary] | None) -> CanaryRun:
    """Return the canary run of a judge; the canaries are run only once in a test run and folder, by a single worker.

    The run is kept in `_runs_by_settings`.
    """
    from pytest_llmops.cassettes.use_cassette import use_cassette

    canaries = given
    if canaries is None:
        canaries = canaries_for_judge(judge)
    key = component_name(judge), str(judge.version), fingerprint_canaries(canaries)
    settings = recorder.current_settings()
    # Other settings are another test run: the runs of the last one are dropped.
    if not _runs_by_settings or _runs_by_settings[0][0] is not settings:
        _runs_by_settings[:] = [(settings, {})]
    known = _runs_by_settings[0][1]
    cassette_name = ".".join(key).replace("/", "-")
    with use_cassette(f"canaries/{cassette_name}") as tape:
        place = (*key, str(tape.path))
        canary_run = known.get(place)
        # A tape that only replays needs no lock.
        if canary_run is None and tape.mode == "none":
            canary_run = run_canaries(judge, given)
        elif canary_run is None:
            with _lock_canary_run(".".join(key)):
                canary_run = run_canaries(judge, given)
    # Only now: a request may have been missed although the judge gave a verdict.
    known[place] = canary_run
    return canary_run


@contextmanager
def _lock_canary_run(key: str) -> Iterator[None]:
    """Make other workers wait until this worker has its recordings; after a time-out they call the judge themselves."""
    from filelock import FileLock, Timeout

    from pytest_llmops.cassettes import run_folder

    digest = sha256(key.encode("utf-8", "surrogatepass"))
    name = digest.hexdigest()[:16]
    lock_file = run_folder.current_folder() / f"canaries-{name}.lock"
    lock = FileLock(lock_file, timeout=LOCK_TIMEOUT_S)
    with suppress(Timeout, OSError):
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


# At most one entry: the settings of the current test run, and its canary runs by judge, version, canaries and tape.
# Settings are compared by identity, as two test runs may have equal settings.
_runs_by_settings: list[tuple[Settings, dict[tuple[str, ...], CanaryRun]]] = []
