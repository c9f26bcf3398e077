"""Records of judges as files to commit, and the record of a calibration, bound to a version of the judge and a set of labels."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import NormalDist
from typing import Any, ClassVar, Literal, Self, TypeAlias, cast

from pytest_llmops._util.text_files import BadFile, as_mapping, read_json, read_text
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

COMMAND = "llmops judge calibrate"
BELOW_THRESHOLDS = "below its thresholds"
CalibrationStatus: TypeAlias = Literal["calibrated", "out of date", "never"]
SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeRecord(ABC):
    """What is recorded of a judge; a subclass has the constants of its file format, and its own fields.

    Attributes:
        judge: The judge's name.
        version: The judge's version; the record says nothing about any other.
        model: The judge model.
        date: ISO 8601.
        path: The file it was read from.
        FORMAT: Name of the format in errors, the schema and the file's suffix: ``.calibration.json``.
        COMMAND: The command that writes such files, for errors.
        TEXT_KEYS: Keys whose value is a text that is not empty.
        OBJECT_KEYS: Keys whose value is an object.
    """

    FORMAT: ClassVar[str]
    COMMAND: ClassVar[str]
    TEXT_KEYS: ClassVar[tuple[str, ...]]
    OBJECT_KEYS: ClassVar[tuple[str, ...]]

    judge: str
    version: str
    model: str = ""
    date: str = ""
    path: str = field(default="", compare=False)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a record from its file.

        Raises:
            UsageError: There is no such file, it is damaged, or a newer version wrote it.
        """
        try:
            wire = as_mapping(read_json(read_text(Path(path))))
            cls._check_wire(wire)
            texts = {key: wire[key] for key in (*cls.TEXT_KEYS, *cls.OBJECT_KEYS)}
            fields: dict[str, Any] = {**texts, "model": str(wire.get("model", "")), "path": str(path)}
            return cls(**fields, **cls._parse_own_fields(wire))
        except BadFile as error:
            line = f" (line {error.line})" if error.line is not None else ""
            raise UsageError(
                f"{cls.FORMAT} {shorten_text(str(path), 300)}: {error.what}{line}; expected a file of "
                f"{cls.COMMAND} --out FILE"
            ) from None

    @classmethod
    def _check_wire(cls, wire: Mapping[str, Json]) -> None:
        """Raise `BadFile` for another schema, or for a value of the wrong type."""
        schema, expected = wire.get("schema"), f"pytest-llmops/{cls.FORMAT}/"
        if schema != f"{expected}{SCHEMA_VERSION}":
            newer = isinstance(schema, str) and schema.startswith(expected)
            hint = ": update pytest-llmops" if newer else ""
            raise BadFile(
                f"expected the schema {expected}{SCHEMA_VERSION}, got {shorten_text(repr(schema), 80)}{hint}"
            )
        for keys, kind, what in ((cls.TEXT_KEYS, str, "a text"), (cls.OBJECT_KEYS, Mapping, "an object")):
            for key in keys:
                value = wire.get(key)
                if not isinstance(value, kind) or value == "":
                    raise BadFile(f"expected {key} as {what}, got {shorten_text(repr(value), 80)}")

    @classmethod
    @abstractmethod
    def _parse_own_fields(cls, wire: Mapping[str, Json]) -> dict[str, Any]:
        """Return the fields that are neither texts nor objects; raise `BadFile` for an invalid value."""

    def to_json_text(self) -> str:
        """Return the file's text: readable JSON, the same bytes for the same record."""
        fields = {key: value for key, value in asdict(self).items() if key != "path" and value is not None}
        wire = {"schema": f"pytest-llmops/{self.FORMAT}/{SCHEMA_VERSION}", **fields}
        return json.dumps(wire, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def path_beside(cls, judge: object) -> Path | None:
        """Return where the record of a judge file lies: beside the file; None for any other judge.

        Args:
            judge: The file's path, or a judge with its file as ``source``.
        """
        source = judge if isinstance(judge, (str, Path)) else getattr(judge, "source", None)
        return Path(source).with_suffix(f".{cls.FORMAT}.json") if isinstance(source, (str, Path)) else None

    @classmethod
    def find(cls, judge: object, name: str, *, version: str, folder: str) -> Self | None:
        """Return the record of a judge: the latest of its version, else the latest of its name, or None.

        Args:
            judge: The judge; the record beside its file comes first.
            name: Its name, for the records in the folder.
            version: Its version.
            folder: The folder of the records; it need not exist.

        Raises:
            UsageError: A record is damaged.
        """
        path = None if isinstance(judge, (str, Path)) else cls.path_beside(judge)
        if path is not None and path.exists():
            return cls._load_cached(path)
        named = [record for record in cls.load_all(folder) if record.judge == name]
        return max(named, key=lambda record: (record.version == version, record.date), default=None)

    @classmethod
    def load_all(cls, folder: str | Path) -> list[Self]:
        """Return the records in a folder and its subfolders, in the order of their paths.

        Raises:
            UsageError: A record is damaged.
        """
        return [cls._load_cached(path) for path in sorted(Path(folder).rglob(f"*.{cls.FORMAT}.json"))]

    @classmethod
    def _load_cached(cls, path: Path) -> Self:
        try:
            file_stat = path.stat()
        except OSError:
            return cls.load(path)  # raises the error that reports it
        key = cls, str(path), file_stat.st_mtime_ns, file_stat.st_size
        if key not in _loaded_records:
            _loaded_records[key] = cls.load(path)
        record: Self = _loaded_records[key]
        return record


_loaded_records: dict[tuple[type, str, int, int], Any] = {}
"""Records by class, path, time and size: a file is read again only after a change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration(JudgeRecord):
    """How well a version of a judge agreed with human annotators, and on which labels.

    Attributes:
        labels: Fingerprint of the labels.
        agrees: Whether it reached its requirements.
        requirements: The thresholds of the calibration.
        figures: The measured agreement; unknown figures are left out.
        rates: Counts of pass and fail; None: the labels do not say.
    """

    FORMAT: ClassVar = "calibration"
    COMMAND: ClassVar = f"{COMMAND} JUDGE labels.jsonl"
    TEXT_KEYS: ClassVar = ("judge", "version", "date", "labels")
    OBJECT_KEYS: ClassVar = ("requirements", "figures")

    labels: str = ""
    agrees: bool = False
    requirements: Mapping[str, Json] = field(default_factory=dict)
    figures: Mapping[str, Json] = field(default_factory=dict)
    rates: Rates | None = None

    @classmethod
    def from_figures(
        cls,
        judged: JudgedAnswers,
        labels: Labels,
        figures: AgreementFigures,
        *,
        requirements: AgreementRequirements,
        date: str,
        by_dimension: Mapping[str, AgreementFigures] | None = None,
    ) -> Calibration:
        """Return the record of a calibration.

        Args:
            judged: The judge and its verdicts.
            labels: The labels that the verdicts were compared with.
            figures: The measured agreement.
            requirements: What the judge had to reach.
            date: Today's date.
            by_dimension: The agreement in each dimension.
        """
        results = requirements.compare_figures(figures)
        wire = figures_to_json(figures)
        if by_dimension:
            wire["dimensions"] = {name: figures_to_json(each) for name, each in by_dimension.items()}
        return cls(
            judge=judged.name,
            version=judged.version,
            model=judged.model,
            date=date,
            labels=labels.fingerprint,
            agrees=bool(results) and not any(result.missed for result in results),
            requirements={name: value for name, value in asdict(requirements).items() if value is not None},
            figures=wire,
            rates=figures.rates,
        )

    def corrected(self, passed: int, judged: int, *, confidence: float = 0.95) -> Corrected:
        """Return the share that human annotators would pass of answers that only this judge has judged.

        Args:
            passed: The number of them that the judge passes.
            judged: Their number.
            confidence: Of the interval.

        Returns:
            `corrected_rate` by the answers of this calibration. Where the annotators passed, or failed, all of them,
            the judge's verdicts carry no information, and the interval is Wilson's of the labels alone.

        Raises:
            UsageError: The labels were names, or numbers without a threshold: they do not say pass or fail.

        >>> record = Calibration(judge="quality", version="1", rates=Rates(tp=78, fn=2, fp=12, tn=8))
        >>> round(record.corrected(450, 500).rate, 2)
        0.8
        """
        if self.rates is None:
            raise UsageError(
                f"calibration of {shorten_text(self.judge, 60)}: its labels do not say pass or fail; calibrate with --pass-at"
            )
        rates = self.rates
        human = [True] * (rates.tp + rates.fn) + [False] * (rates.fp + rates.tn)
        judge = [True] * rates.tp + [False] * rates.fn + [True] * rates.fp + [False] * rates.tn
        corrected = corrected_rate(human, judge, passed, judged, confidence=confidence)
        if corrected is not None:
            return corrected
        low, high = wilson_interval(sum(human), len(human), NormalDist().inv_cdf(0.5 + confidence / 2))
        rate = sum(human) / len(human) if human else 0.0
        naive = passed / judged if judged else rate
        return Corrected(
            rate=rate, low=low, high=high, naive=naive, weight=0.0, labels=len(human), judged=judged
        )

    @classmethod
    def _parse_own_fields(cls, wire: Mapping[str, Json]) -> dict[str, Any]:
        agrees = wire.get("agrees")
        if not isinstance(agrees, bool):
            raise BadFile(f"expected agrees as true or false, got {shorten_text(repr(agrees), 80)}")
        return {"agrees": agrees, "rates": _parse_rates(wire.get("rates"))}


def load_records(folder: str | Path) -> dict[str, Calibration]:
    """Return the calibrations in a folder and its subfolders by the judge's name; of several the latest.

    Raises:
        UsageError: A calibration is damaged.

    >>> load_records("no/such/folder")
    {}
    """
    records = sorted(Calibration.load_all(folder), key=lambda record: record.date)
    return {record.judge: record for record in records}


def describe(judge: object, name: str, version: str, folder: str) -> dict[str, Json]:
    """Return what a report says about a judge: ``status`` and ``text``; nothing if it was never calibrated.

    Args:
        judge: The judge; its calibration may lie beside its file.
        name: Its name, for the calibrations in the folder.
        version: Its version; a calibration of another version is out of date.
        folder: The folder of the calibrations; it need not exist.

    Raises:
        UsageError: A calibration is damaged.

    >>> describe(object(), "quality", "1", "no/such/folder")
    {}
    """
    record = Calibration.find(judge, name, version=version, folder=folder)
    if record is None:
        return {}
    known: str = status(version, record)
    below = known == "calibrated" and not record.agrees
    return {"status": BELOW_THRESHOLDS if below else known, "text": format_status(version, record)}


def status(
    judge: Judge | str, record: Calibration | str | Path | None, labels: Labels | None = None
) -> CalibrationStatus:
    """Return whether a calibration applies to a judge.

    Args:
        judge: The judge, or its version.
        record: The calibration or its path; None, or no such file: it was never calibrated.
        labels: The labels of today; None: do not compare them.

    Raises:
        UsageError: The record's file is damaged.

    >>> from pytest_llmops.judges import quality
    >>> status(quality(), None)
    'never'
    """
    calibration = _load_calibration(record)
    if calibration is None:
        return "never"
    if calibration.version != _judge_version(judge):
        return "out of date"
    return "out of date" if labels is not None and labels.fingerprint != calibration.labels else "calibrated"


def format_status(
    judge: Judge | str, record: Calibration | str | Path | None, labels: Labels | None = None
) -> str:
    """Return the status of a judge as a sentence for a report.

    Raises:
        UsageError: As `status`.
    """
    calibration, known = _load_calibration(record), status(judge, record, labels)
    if calibration is None:
        return f"never calibrated: whether it is right is not known; {COMMAND} JUDGE labels.jsonl --out FILE"
    figures = calibration.figures
    kappa, lower = (
        f"{value:.2f}" if isinstance(value, float) else "unknown"
        for value in (figures.get("kappa"), figures.get("at_least"))
    )
    base = f"kappa {kappa}, with 95 % confidence at least {lower}, on {figures.get('compared')} labels ({calibration.date})"
    below = "" if calibration.agrees else f"; {BELOW_THRESHOLDS}"
    if known == "calibrated":
        return f"calibrated: {base}{below}"
    changed = "judge has" if calibration.version != _judge_version(judge) else "labels have"
    return f"calibration out of date, the {changed} changed since: {base}{below}; {COMMAND} again"


def _judge_version(judge: Judge | str) -> str:
    return judge if isinstance(judge, str) else str(judge.version)


def _load_calibration(record: Calibration | str | Path | None) -> Calibration | None:
    if record is None or isinstance(record, Calibration):
        return record
    return Calibration.load(record) if Path(record).exists() else None


def _parse_rates(value: Json) -> Rates | None:
    if value is None:
        return None
    counts = [value.get(key) for key in ("tp", "fn", "fp", "tn")] if isinstance(value, Mapping) else []
    if not counts or not all(
        isinstance(count, int) and not isinstance(count, bool) and count >= 0 for count in counts
    ):
        raise BadFile(
            f"expected rates with the counts tp, fn, fp and tn, got {shorten_text(repr(value), 80)}"
        )
    tp, fn, fp, tn = cast("list[int]", counts)
    return Rates(tp=tp, fn=fn, fp=fp, tn=tn)
