"""What a calibration leaves behind: a file to commit, bound to one version of one judge and one set of labels."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias, cast

from pytest_llmops._util.text_files import BadFile
from pytest_llmops.calibration import record_files
from pytest_llmops.calibration.agreement import AgreementFigures
from pytest_llmops.calibration.labels import Labels
from pytest_llmops.calibration.rendering import figures_to_json
from pytest_llmops.calibration.requirements import AgreementRequirements
from pytest_llmops.calibration.verdicts import JudgedAnswers
from pytest_llmops.errors import UsageError
from pytest_llmops.measurement import Json, shorten_text
from pytest_llmops.metrics.agreement import Corrected, Rates, corrected_rate
from pytest_llmops.metrics.classification import wilson_interval
from pytest_llmops.protocols import Judge

SCHEMA = "pytest-llmops/calibration/"
SCHEMA_VERSION = 1
SUFFIX = ".calibration.json"
COMMAND = "llmops judge calibrate"
RECORD_FORMAT = record_files.RecordFormat(
    "calibration",
    SCHEMA,
    SCHEMA_VERSION,
    f"{COMMAND} JUDGE labels.jsonl",
    ("judge", "version", "date", "labels"),
    ("bars", "figures"),
)
CalibrationStatus: TypeAlias = Literal["calibrated", "out of date", "never"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """How well one version of a judge agreed with people, and with which labels that was seen.

    Attributes:
        judge: Its name.
        version: Its fingerprint; of a judge with any other this record says nothing.
        model: The model it asked.
        date: Of the calibration, as ISO 8601 has it.
        labels: Fingerprint of the labels.
        agrees: Whether it reached its bars.
        bars: What it had to reach.
        figures: What was found; a figure that is not known is left out.
        rates: Counts of pass and fail; None: the labels do not say.
        path: The file it was read from; it does not count in comparisons.
    """

    judge: str
    version: str
    model: str = ""
    date: str = ""
    labels: str = ""
    agrees: bool = False
    bars: Mapping[str, Json] = field(default_factory=dict)
    figures: Mapping[str, Json] = field(default_factory=dict)
    rates: Rates | None = None
    path: str = field(default="", compare=False)

    @classmethod
    def load(cls, path: str | Path) -> Calibration:
        """Read the file that ``llmops judge calibrate --out`` wrote.

        Raises:
            UsageError: There is no such file, it is damaged, or a newer version wrote it.
        """
        return RECORD_FORMAT.read(path, _parse_calibration)

    @classmethod
    def of(
        cls,
        judged: JudgedAnswers,
        labels: Labels,
        found: AgreementFigures,
        *,
        bars: AgreementRequirements,
        date: str,
        by: Mapping[str, AgreementFigures] | None = None,
    ) -> Calibration:
        """Return the record of what was found.

        Args:
            judged: The judge and its verdicts.
            labels: What they were held against.
            found: The figures.
            bars: What the judge had to reach.
            date: Of today.
            by: Figures by dimension.
        """
        reached = bars.compare_figures(found)
        figures = figures_to_json(found)
        if by:
            figures["dimensions"] = {name: figures_to_json(one) for name, one in by.items()}
        return cls(
            judge=judged.name,
            version=judged.version,
            model=judged.model,
            date=date,
            labels=labels.fingerprint,
            agrees=bool(reached) and not any(one.missed for one in reached),
            bars={name: one for name, one in _requirements_to_json(bars).items() if one is not None},
            figures=figures,
            rates=found.rates,
        )

    def corrected(self, passed: int, judged: int, *, confidence: float = 0.95) -> Corrected:
        """Return the share people would pass of answers that only this judge has seen.

        Args:
            passed: How many of them the judge passes.
            judged: How many there are.
            confidence: Of the interval.

        Returns:
            `corrected_rate` by the answers of this calibration. Where people passed, or failed, all of them the
            judge's verdicts count for nothing, and the interval is Wilson's of the labels alone.

        Raises:
            UsageError: The calibration had numbers without a cut, or names: they do not say pass or fail.

        >>> record = Calibration(judge="quality", version="1", rates=Rates(tp=78, fn=2, fp=12, tn=8))
        >>> round(record.corrected(450, 500).rate, 2)
        0.8
        """
        if self.rates is None:
            raise UsageError(
                f"calibration of {shorten_text(self.judge, 60)}: its labels do not say pass or fail; calibrate with --pass-at"
            )
        rates = self.rates
        people = [True] * (rates.tp + rates.fn) + [False] * (rates.fp + rates.tn)
        judge = [True] * rates.tp + [False] * rates.fn + [True] * rates.fp + [False] * rates.tn
        corrected = corrected_rate(people, judge, passed, judged, confidence=confidence)
        if corrected is not None:
            return corrected
        low, high = wilson_interval(sum(people), len(people), _z(confidence))
        rate = sum(people) / len(people) if people else 0.0
        naive = passed / judged if judged else rate
        return Corrected(
            rate=rate, low=low, high=high, naive=naive, weight=0.0, labels=len(people), judged=judged
        )

    def text(self) -> str:
        """Return the file's text: readable JSON, the same bytes for the same calibration."""
        wire: dict[str, Json] = {
            "schema": f"{SCHEMA}{SCHEMA_VERSION}",
            "judge": self.judge,
            "version": self.version,
            "model": self.model,
            "date": self.date,
            "labels": self.labels,
            "agrees": self.agrees,
            "bars": dict(self.bars),
            "figures": dict(self.figures),
            "rates": _counts(self.rates),
        }
        given = {key: value for key, value in wire.items() if value is not None}
        return json.dumps(given, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def calibration_path(judge: object) -> Path | None:
    """Return where the calibration of a judge by rubric lies: beside the rubric's file.

    Args:
        judge: The file's path, or a judge whose rubric tells its ``source``; anything else: None.

    >>> calibration_path("rubrics/polite.md").as_posix()
    'rubrics/polite.calibration.json'
    """
    return record_files.record_path(judge, SUFFIX)


def load_calibrations(folder: str | Path) -> dict[str, Calibration]:
    """Return the calibrations that lie in a folder and below, by the judge's name; of several the latest.

    Raises:
        UsageError: A file that ends like one is damaged.

    >>> load_calibrations("no/such/folder")
    {}
    """
    return record_files.load_latest_records(folder, SUFFIX, Calibration.load)


def describe_calibration(judge: object, name: str, version: str, folder: str) -> dict[str, Json]:
    """Return what a report says of a judge beside its scores: ``calibration_status`` and ``text``; nothing if it was never calibrated.

    Args:
        judge: The judge: the calibration of one by rubric may lie beside the rubric's file.
        name: Its name, by which calibrations are looked for in the folder.
        version: Its version, which decides whether a calibration is of this judge.
        folder: Where calibrations lie; it need not exist.

    Raises:
        UsageError: A calibration is damaged.

    >>> describe_calibration(object(), "quality", "1", "no/such/folder")
    {}
    """
    record = record_files.find_judge_record(
        judge, name, version=version, folder=folder, suffix=SUFFIX, load=Calibration.load
    )
    if record is None:
        return {}
    known: str = calibration_status(version, record)
    below = known == "calibrated" and not record.agrees
    return {
        "status": "below its bars" if below else known,
        "text": format_calibration_status(version, record),
    }


def calibration_status(
    judge: Judge | str, record: Calibration | str | Path | None, labels: Labels | None = None
) -> CalibrationStatus:
    """Return whether what is known of a judge is known of this judge.

    Args:
        judge: Any judge, or only its version, which decides.
        record: A calibration, or where it lies; None, or no such file: it was never calibrated.
        labels: What people say today; None: not asked.

    Raises:
        UsageError: The record's file is damaged.

    >>> from pytest_llmops.judges.rubric import quality
    >>> calibration_status(quality(), None)
    'never'
    """
    calibration = _load_calibration(record)
    if calibration is None:
        return "never"
    if calibration.version != _judge_version(judge):
        return "out of date"
    return "out of date" if labels is not None and labels.fingerprint != calibration.labels else "calibrated"


def format_calibration_status(
    judge: Judge | str, record: Calibration | str | Path | None, labels: Labels | None = None
) -> str:
    """Return the status of a judge as a sentence for a report.

    Raises:
        UsageError: As `calibration_status`.
    """
    calibration, known = _load_calibration(record), calibration_status(judge, record, labels)
    if calibration is None:
        return f"never calibrated: whether it is right is not known; {COMMAND} JUDGE labels.jsonl --out FILE"
    seen = f"kappa {_format_two_decimals(calibration.figures.get('kappa'))}, with 95 % confidence at least {_format_two_decimals(calibration.figures.get('at_least'))}"
    base = f"{seen}, on {calibration.figures.get('compared')} labels ({calibration.date})"
    below = "" if calibration.agrees else "; below its bars"
    if known == "calibrated":
        return f"calibrated: {base}{below}"
    why = (
        "the judge has changed" if calibration.version != _judge_version(judge) else "the labels have changed"
    )
    return f"calibration out of date, {why} since: {base}{below}; {COMMAND} again"


def _judge_version(judge: Judge | str) -> str:
    return judge if isinstance(judge, str) else str(judge.version)


def _load_calibration(record: Calibration | str | Path | None) -> Calibration | None:
    if record is None or isinstance(record, Calibration):
        return record
    return Calibration.load(record) if Path(record).exists() else None


def _format_two_decimals(value: Json) -> str:
    return f"{value:.2f}" if isinstance(value, float) else "unknown"


def _z(confidence: float) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf(0.5 + confidence / 2)


def _requirements_to_json(bars: AgreementRequirements) -> dict[str, Json]:
    return {
        "at_least_kappa": bars.at_least_kappa,
        "at_least_kappa_lower": bars.at_least_kappa_lower,
        "at_least_tnr": bars.at_least_tnr,
        "at_least_tpr": bars.at_least_tpr,
    }


def _counts(rates: Rates | None) -> dict[str, Json] | None:
    return None if rates is None else {"tp": rates.tp, "fn": rates.fn, "fp": rates.fp, "tn": rates.tn}


def _parse_calibration(wire: Mapping[str, Json], path: str) -> Calibration:
    if not isinstance(wire.get("agrees"), bool):
        raise BadFile(f"expected agrees as true or false, got {shorten_text(repr(wire.get('agrees')), 80)}")
    return Calibration(
        judge=str(wire["judge"]),
        version=str(wire["version"]),
        model=str(wire.get("model", "")),
        date=str(wire["date"]),
        labels=str(wire["labels"]),
        agrees=bool(wire["agrees"]),
        bars=cast("Mapping[str, Json]", wire["bars"]),
        figures=cast("Mapping[str, Json]", wire["figures"]),
        rates=_parse_rates(wire.get("rates")),
        path=path,
    )


def _parse_rates(value: Json) -> Rates | None:
    if value is None:
        return None
    counts = [value.get(key) for key in ("tp", "fn", "fp", "tn")] if isinstance(value, Mapping) else []
    if not counts or not all(
        isinstance(one, int) and not isinstance(one, bool) and one >= 0 for one in counts
    ):
        raise BadFile(
            f"expected rates with the counts tp, fn, fp and tn, got {shorten_text(repr(value), 80)}"
        )
    tp, fn, fp, tn = cast("list[int]", counts)
    return Rates(tp=tp, fn=fn, fp=fp, tn=tn)
