"""``llmops guardrails score``: how much detectors find in labelled texts, and how often they are wrong."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from pytest_llmops.errors import CaseError, UnknownName, UsageError, describe_exception, refuse
from pytest_llmops.measurement import Json, shorten_text

if TYPE_CHECKING:
    from pytest_llmops.guardrails import Detector, Finding

BUILT_IN = ("attack", "pii", "secret")
ANY = "(any)"  # kind of a text whose label is `true`
MIN_OVERLAP = 0.5  # share of the union of two spans that they have to have in common
FORM = '{"text": "...", "spans": [{"start": 0, "end": 4, "kind": "email"}]} or {"text": "...", "label": "jailbreak"}'


def add_guardrails_group(groups: Any) -> None:
    """Declare the group and its command."""
    add_command(
        add_group(groups, "guardrails", "measure detectors"),
        "score",
        import_command("guardrails", "print_scores"),
        "recall and false alarms of detectors on labelled texts, with 95 % intervals",
        "Each line of the file is a text with spans (places in characters; a span may repeat its text), or with a label: a kind, true "
        "for whatever the detector finds, or null, false or no spans for a text in which nothing is to be found. A span counts as found "
        "if a finding of its kind has half of their union in common with it, a label if anything of its kind is found.",
        arguments={
            "file": {"type": Path, "metavar": "FILE", "help": "JSONL"},
            "--detector": {
                "action": "append",
                "help": "attack, pii, secret, gitleaks:FILE, or package.module:function for one of yours; may be repeated (default: the first "
                "three, where the file has their kinds)",
            },
            "--json": {"action": "store_true", "help": "print JSON"},
        },
    )


def read_labelled_texts(path: Path) -> list[tuple[str, list[Finding]]]:
    """Return texts with what is to be found in them; a label without a place is a finding of the whole text.

    Raises:
        CaseError: The file has no lines, a line is no labelled text, or a span does not fit its text; with file and line.
    """
    line = 0
    rows = []
    try:
        for line, value in read_json_lines(read_text(path)):  # noqa: B007 -- for the error
            row = as_mapping(value)
            text = row.get("text")
            label = row.get("label")
            spans = row.get("spans", [])
            fits = (
                isinstance(text, str)
                and isinstance(spans, list)
                and not {"spans", "label"}.isdisjoint(row)
                and label != ""
                and (label is None or isinstance(label, (str, bool)))
                and not (label and spans)
            )
            if not fits:
                raise BadFile(f"expected {FORM}, got {shorten_text(str(row), 100)}")
            whole: Json = {"start": 0, "end": max(1, len(str(text))), "kind": ANY if label is True else label}
            rows.append((str(text), [_read_span(span, str(text)) for span in ([whole] if label else spans)]))  # type: ignore[union-attr]
        if not rows:
            raise BadFile(f"expected lines such as {FORM}, got none")
    except BadFile as error:
        raise CaseError(error.what, path, error.line or line or None) from None
    return rows


def _read_span(given: Json, text: str) -> Finding:
    from pytest_llmops.guardrails import Finding

    span: Any = as_mapping(given)
    start, end, kind = (span.get(key) for key in ("start", "end", "kind"))
    fits = (
        type(start) is int
        and type(end) is int
        and 0 <= start < end <= max(1, len(text))
        and isinstance(kind, str)
    )
    got = shorten_text(str(span), 100)
    if not fits:
        raise BadFile(
            f"expected a span with a kind within the {len(text):,} characters of the text, got {got}"
        )
    if span.get("text", text[start:end]) != text[start:end]:
        raise BadFile(
            f"the text of a span is not at its place: are places bytes, or of another text? Got {got}"
        )
    return Finding(start, end, kind)


def score_detector(detector: Detector, rows: Sequence[tuple[str, Sequence[Finding]]]) -> dict[str, Any]:
    """Return the recall of a detector, in spans and labels of its kinds, and its false alarms, in texts without any.

    Raises:
        UsageError: The texts have nothing, or all have something, of the detector's kinds.
    """
    from pytest_llmops.guardrails import scan

    hits = []
    alarms = []
    for text, labelled in rows:
        wanted = [span for span in labelled if span.kind in {*detector.kinds, ANY}]
        found = scan(text, [detector])
        hits += [any(_is_found(span, each, len(text)) for each in found) for span in wanted]
        if wanted:
            alarms += []
        else:
            alarms += [bool(found)]
    if not hits or not alarms:
        raise UsageError(
            f"detector {detector.name}: expected texts with something of its kinds ({', '.join(detector.kinds)}) and texts without, got "
            f"{len(rows) - len(alarms):,} and {len(alarms):,}"
        )
    return {"detector": detector.name, "recall": _measure_share(hits), "false_alarms": _measure_share(alarms)}


def _is_found(span: Finding, found: Finding, length: int) -> bool:
    shared = min(span.end, found.end) - max(span.start, found.start)
    is_near = shared >= MIN_OVERLAP * (max(span.end, found.end) - min(span.start, found.start))
    return span.kind == ANY or (span.kind == found.kind and (is_near or span.end - span.start == length))


def _measure_share(outcomes: Sequence[bool]) -> dict[str, Json]:
    from pytest_llmops.metrics.classification import wilson_interval

    count, (low, high) = sum(outcomes), wilson_interval(sum(outcomes), len(outcomes))
    return {"found": count, "of": len(outcomes), "share": count / len(outcomes), "low": low, "high": high}


def load_detector(name: str) -> Detector:
    """Return the detector of a name; raises a `UsageError` if there is none, or it cannot be made."""
    from pytest_llmops import guardrails

    module, _, rest = name.partition(":")
    try:
        if module == "gitleaks":
            return guardrails.gitleaks_detector(rest)
        built_in = name in BUILT_IN
        made = getattr(
            guardrails if built_in else importlib.import_module(module),
            f"{name}_detector" if built_in else rest,
        )()
        if not callable(made.find) or not made.kinds:
            raise UsageError("it looks for nothing")
    except Exception as error:  # noqa: BLE001 -- a user's own module
        raise UsageError(
            f"--detector {name}: {shorten_text(redact_secrets(describe_exception(error)), 300)}; expected {', '.join(BUILT_IN)}, "
            "gitleaks:FILE, or package.module:function that takes nothing and returns a detector"
        ) from None
    return made  # type: ignore[no-any-return]


def print_scores(args: argparse.Namespace) -> int:
    """Print the scores of detectors."""
    rows = read_labelled_texts(args.file)
    there = {span.kind for _, labelled in rows for span in labelled}
    with extend_import_path(Path.cwd()):
        detectors = [load_detector(name) for name in args.detector or BUILT_IN]
        chosen = [
            each for each in detectors if args.detector or ANY in there or not there.isdisjoint(each.kinds)
        ]
        refuse(
            not chosen,
            UnknownName(
                "kind", min(there), [kind for each in detectors for kind in each.kinds], where=str(args.file)
            )
            if there
            else f"{args.file}: expected a kind that a detector looks for, got none",
        )
        scores = [score_detector(detector, rows) for detector in chosen]
    missed = sorted(there.difference([ANY], *(each.kinds for each in chosen)))
    for score in scores if not args.json else ():
        shares = (
            f"{what} {share['share']:.1%} ({share['found']:,} of {share['of']:,}, 95 % interval {share['low']:.1%} to {share['high']:.1%})"
            for what, share in (("recall", score["recall"]), ("false alarms", score["false_alarms"]))
        )
        print_line(f"{shorten_text(score['detector'], 60)}: {', '.join(shares)}")
    if args.json:
        print_json({"detectors": scores, "not_looked_for": missed})
    elif missed:
        print_line(f"no detector looks for: {shorten_text(', '.join(missed), 1_000)}")
    return 0
