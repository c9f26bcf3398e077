"""``llmops guardrails score``: how much detectors find in labelled texts, and how often they are wrong."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pytest_llmops._util.text_files import BadFile, as_mapping, read_json_lines, read_text
from pytest_llmops.cli.common import (
    add_command,
    add_group,
    extend_import_path,
    import_command,
    print_json,
    print_line,
    redact_secrets,
)
from pytest_llmops.errors import CaseError, UnknownName, UsageError, describe_exception
from pytest_llmops.measurement import Json, shorten_text

if TYPE_CHECKING:
    from pytest_llmops.guardrails import Detector, Finding

BUILT_IN = ("attack", "pii", "secret")
ANY = "(any)"  # kind of a text whose label is `true`
MIN_OVERLAP = 0.5  # two spans match if they share at least this part of their union
FORM = '{"text": "...", "spans": [{"start": 0, "end": 4, "kind": "email"}]} or {"text": "...", "label": "jailbreak"}'


def add_guardrails_group(groups: Any) -> None:
    """Declare the group and its command."""
    command = add_command(
        add_group(groups, "guardrails", "measure detectors"),
        "score",
        import_command("guardrails", "print_scores"),
        "recall and false alarms of detectors on labelled texts, with 95 % intervals",
        "Each line of the file is a text with spans (places in characters, which may repeat their text) or with a label: a kind, true for anything that the detector finds, or null, false or no spans for a text without findings. A span counts as found if a finding of its kind overlaps with half of their union, a label if anything of its kind is found.",
    )
    command.add_argument(
        "files", type=Path, metavar="FILE", nargs="+", help="JSONL. The lines of several files count together"
    )
    command.add_argument(
        "--detector",
        action="append",
        help="attack, pii, secret, gitleaks:FILE, or your own package.module:function (repeatable, default: the first three, if the file has their kinds)",
    )
    command.add_argument(
        "--classifier",
        action="append",
        metavar="MODULE:FUNCTION",
        help="your own function from a text to True, False or a probability, measured next to the detectors (default: attack, repeatable). A text counts as found if anything is found in it, whatever its kind",
    )
    command.add_argument(
        "--at-least",
        type=float,
        default=0.5,
        metavar="P",
        help="lowest probability of a classifier that counts as a finding (default: 0.5)",
    )
    command.add_argument("--json", action="store_true", help="print JSON")


@dataclass(frozen=True, slots=True)
class LabelledText:
    """A text with the findings that a detector should make in it. A label without a place is a finding over the whole text."""

    text: str
    findings: list[Finding]


def read_labelled_texts(path: Path) -> list[LabelledText]:
    """Return the labelled texts of a file.

    Raises:
        CaseError: The file has no lines, a line is not a labelled text, or a span does not fit its text; with file and line.
    """
    line = None  # the line that is being parsed, for the error
    rows = []
    try:
        for line, value in read_json_lines(read_text(path)):  # noqa: B007 -- used in the error
            rows.append(_parse_labelled_text(as_mapping(value)))
    except BadFile as error:
        raise CaseError(error.what, path, error.line or line) from None
    if not rows:
        raise CaseError(f"expected lines such as {FORM}, got none", path)
    return rows


def _parse_labelled_text(row: Mapping[str, Any]) -> LabelledText:
    """Return the text of a line, with its spans or its label.

    Raises:
        BadFile: The line has another form, or a span does not fit the text.
    """
    text = row.get("text")
    label = row.get("label")
    spans = row.get("spans", [])
    is_labelled = isinstance(spans, list) and ("spans" in row or "label" in row)
    is_label = label is None or (isinstance(label, (str, bool)) and label != "")
    if not isinstance(text, str) or not is_labelled or not is_label or (label and spans):
        got = shorten_text(str(row), 100)
        raise BadFile(f"expected {FORM}, got {got}")
    if label:
        kind = label
        if label is True:
            kind = ANY
        spans = [{"start": 0, "end": max(1, len(text)), "kind": kind}]
    return LabelledText(text, [_parse_span(span, text) for span in spans])


def _parse_span(given: Json, text: str) -> Finding:
    """Return a span as a finding.

    Raises:
        BadFile: It is not a span, or does not fit the text.
    """
    from pytest_llmops.guardrails import Finding

    span: Mapping[str, Any] = as_mapping(given)
    start = span.get("start")
    end = span.get("end")
    kind = span.get("kind")
    got = shorten_text(str(span), 100)
    longest = max(1, len(text))
    is_place = type(start) is int and type(end) is int and 0 <= start < end <= longest
    if not is_place or not isinstance(kind, str):
        raise BadFile(
            f"expected a span with a kind within the {len(text):,} characters of the text, got {got}"
        )
    place_text = text[start:end]
    if span.get("text", place_text) != place_text:
        raise BadFile(
            f"the text of a span is not at its place: are places bytes, or of another text? Got {got}"
        )
    return Finding(start, end, kind)  # type: ignore[arg-type]  # both are whole numbers


def score_detector(detector: Detector, rows: Sequence[LabelledText]) -> dict[str, Any]:
    """Return the recall of a detector, and its share of false alarms.

    Recall is over the spans and labels of its kinds, false alarms are over the texts without any of them.

    Raises:
        UsageError: No text has anything of the detector's kinds, or all of them have.
    """
    from pytest_llmops.guardrails import scan

    hits = []  # whether each span was found
    alarms = []  # whether anything was found in each text without a span
    kinds = {*detector.kinds, ANY}
    for row in rows:
        wanted = [span for span in row.findings if span.kind in kinds]
        findings = scan(row.text, [detector])
        length = len(row.text)
        hits += [any(_is_match(span, finding, length) for finding in findings) for span in wanted]
        if not wanted:
            alarms.append(bool(findings))
    if not hits or not alarms:
        names = ", ".join(detector.kinds)
        without = len(alarms)
        got = f"{len(rows) - without:,} and {without:,}"
        raise UsageError(
            f"detector {detector.name}: expected texts with something of its kinds ({names}) and texts without, got {got}"
        )
    return {"detector": detector.name, "recall": _measure_share(hits), "false_alarms": _measure_share(alarms)}


def _is_match(span: Finding, finding: Finding, length: int) -> bool:
    """Return whether a finding matches a labelled span.

    Args:
        span: The span. One over the whole text is a label, which any finding of its kind matches; of the kind `ANY` any finding.
        finding: The finding of the detector.
        length: The length of the text.
    """
    if span.kind == ANY:
        return True
    if span.kind != finding.kind:
        return False
    if span.end - span.start == length:
        return True
    shared = min(span.end, finding.end) - max(span.start, finding.start)
    union = max(span.end, finding.end) - min(span.start, finding.start)
    return shared >= MIN_OVERLAP * union


def _measure_share(outcomes: Sequence[bool]) -> dict[str, Json]:
    """Return how many outcomes are true, and their share with its 95 % interval."""
    from pytest_llmops.metrics.classification import wilson_interval

    count = sum(outcomes)
    low, high = wilson_interval(count, len(outcomes))
    share = count / len(outcomes)
    return {"found": count, "of": len(outcomes), "share": share, "low": low, "high": high}


def load_detector(name: str) -> Detector:
    """Return the detector of a name.

    Raises:
        UsageError: The detector does not exist, or it cannot be made.
    """
    try:
        return _make_detector(name)
    except Exception as error:  # noqa: BLE001 -- a user's own module
        why = shorten_text(redact_secrets(describe_exception(error)), 300)
        built_in = ", ".join(BUILT_IN)
        raise UsageError(
            f"--detector {name}: {why}; expected {built_in}, "
            "gitleaks:FILE, or package.module:function that has no arguments and returns a detector"
        ) from None


def load_classifier(name: str, at_least: float) -> Detector:
    """Return the detector of a classifier ``package.module:function``.

    Raises:
        UsageError: The function does not exist, or ``at_least`` is not a probability.
    """
    from pytest_llmops.guardrails import classifier_detector

    module, _, function = name.partition(":")
    try:
        classify = getattr(importlib.import_module(module), function)
    except Exception as error:  # noqa: BLE001 -- a user's own module
        why = shorten_text(redact_secrets(describe_exception(error)), 300)
        raise UsageError(
            f"--classifier {name}: {why}; expected package.module:function that gets a text and returns True, False or a probability"
        ) from None
    return classifier_detector(classify, at_least=at_least, name=name)


def _make_detector(name: str) -> Detector:
    """Return the detector of a name; a user's own module may raise anything."""
    from pytest_llmops import guardrails

    module, _, rest = name.partition(":")
    if module == "gitleaks":
        return guardrails.gitleaks_detector(rest)
    if name in BUILT_IN:
        make = getattr(guardrails, f"{name}_detector")
    else:
        make = getattr(importlib.import_module(module), rest)
    detector: Any = make()
    if not callable(detector.find) or not detector.kinds:
        raise UsageError("it looks for nothing")
    return cast("Detector", detector)


def print_scores(args: argparse.Namespace) -> int:
    """Print the scores of detectors, and of classifiers next to them."""
    rows = [row for file in args.files for row in read_labelled_texts(file)]
    labelled_kinds = {span.kind for row in rows for span in row.findings}
    with extend_import_path(Path.cwd()):
        if args.classifier:
            rows = [_drop_kinds(row) for row in rows]
            detectors = [load_detector(name) for name in args.detector or ["attack"]]
            detectors += [load_classifier(name, args.at_least) for name in args.classifier]
        else:
            detectors = _choose_detectors(args, labelled_kinds)
        scores = [score_detector(detector, rows) for detector in detectors]
    known_kinds = {kind for detector in detectors for kind in detector.kinds}
    missed: list[str] = []
    if not args.classifier:
        missed = sorted(labelled_kinds - known_kinds - {ANY})
    if args.json:
        print_json({"detectors": scores, "not_looked_for": missed})
        return 0
    for score in scores:
        recall = _format_share(score["recall"])
        alarms = _format_share(score["false_alarms"])
        name = shorten_text(score["detector"], 60)
        print_line(f"{name}: recall {recall}, false alarms {alarms}")
    if missed:
        print_line(f"no detector looks for: {shorten_text(', '.join(missed), 1_000)}")
    return 0


def _drop_kinds(row: LabelledText) -> LabelledText:
    """Return a text that is labelled as a whole, for classifiers: they know neither kinds nor places."""
    from pytest_llmops.guardrails import Finding

    if not row.findings:
        return row
    return LabelledText(row.text, [Finding(0, max(1, len(row.text)), ANY)])


def _choose_detectors(args: argparse.Namespace, labelled_kinds: AbstractSet[str]) -> list[Detector]:
    """Return the detectors of ``--detector``, else the built-in ones that look for a labelled kind (with `ANY` all of them).

    Raises:
        UsageError: No built-in detector looks for the labelled kinds, or a detector cannot be made.
    """
    if args.detector:
        return [load_detector(name) for name in args.detector]
    detectors = [load_detector(name) for name in BUILT_IN]
    if ANY in labelled_kinds:
        return detectors
    chosen = [detector for detector in detectors if not labelled_kinds.isdisjoint(detector.kinds)]
    if chosen:
        return chosen
    if not labelled_kinds:
        raise UsageError(f"{_join_names(args.files)}: expected a kind that a detector looks for, got none")
    kinds = [kind for detector in detectors for kind in detector.kinds]
    raise UnknownName("kind", min(labelled_kinds), kinds, where=_join_names(args.files))


def _join_names(files: Sequence[Path]) -> str:
    return ", ".join(map(str, files))


def _format_share(share: Mapping[str, Any]) -> str:
    interval = f"95 % interval {share['low']:.1%} to {share['high']:.1%}"
    count = f"{share['found']:,} of {share['of']:,}"
    return f"{share['share']:.1%} ({count}, {interval})"
