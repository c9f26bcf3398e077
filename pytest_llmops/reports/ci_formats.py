"""A run in the formats of CI systems: JUnit, annotations of GitHub, code quality of GitLab, and OpenMetrics.

For JUnit: the properties of a test in pytest's own ``--junitxml`` file, and a whole file made from a run file. Foreign text (from tests
and models) is put on one line, without control characters. Every run of tests imports this module, so that modules which only the end
of a run needs are imported late.
"""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_llmops.measurement import Json, Measurement, escape_json_output, escape_output, shorten_text
from pytest_llmops.reports.formats import ReportFormat
from pytest_llmops.reports.text import quote_line, render_template
from pytest_llmops.results.details import CassetteFacts, SideFacts, read_scale, to_scale
from pytest_llmops.results.fork import list_fork_lines
from pytest_llmops.results.review import select_for_review
from pytest_llmops.results.run import Outcome, Run, TestRecord
from pytest_llmops.results.summary import describe_weak_half, summarize_run
from pytest_llmops.results.traffic import count_traffic, describe_changed_tools
from pytest_llmops.results.verdict import Verdict

if TYPE_CHECKING:
    from pytest_llmops.reports.findings import Finding

MAX_PROPERTY_CHARS = 200
MAX_DECIMAL = 1e15  # numbers beyond this have no exact short form as a plain decimal

# The XML element for an outcome; the others have none
_TAGS: dict[Outcome, str] = {
    "failed": "failure",
    "errored": "failure",
    "skipped": "skipped",
    "xfailed": "skipped",
}


def junit_properties(record: TestRecord) -> list[tuple[str, str]]:
    """Return the ``(name, value)`` properties of a test, each name once.

    A measurement has ``llm.metric.<name>.score`` and ``.threshold``; a judge's are on its own scale, which is in ``.scale``
    ("1 to 10"), with the score from 0 to 1 in ``.normalized``. A measurement without a score has ``.error`` instead. A
    label is part of the name (``text.fuzzy[first]``), and a name that occurs again is numbered (``text.fuzzy#2``). Unknown
    costs and tokens are left out. All texts are on one line, with escapes for characters that XML forbids.

    Returns:
        At least ``llm.outcome``.

    >>> from pytest_llmops.measurement import Measurement
    >>> junit_properties(TestRecord(nodeid="t", measurements=(Measurement(name="m", value=0.5, threshold=0.4),)))
    [('llm.outcome', 'passed'), ('llm.metric.m.score', '0.5'), ('llm.metric.m.threshold', '0.4')]
    """
    properties: dict[str, str] = {"llm.outcome": record.outcome}
    names = _number_names(record.measurements)
    for name, measurement in zip(names, record.measurements, strict=True):
        for key, value in _measurement_fields(measurement).items():
            properties[f"llm.metric.{name}.{key}"] = _property_text(value)
    for key, value in _record_fields(record).items():
        if value not in (None, ""):
            properties[key] = _property_text(value)
    return list(properties.items())


def _number_names(measurements: Sequence[Measurement]) -> list[str]:
    """Return a unique name for each measurement: its name and label, with a number if these occur again."""
    names: list[str] = []
    for measurement in measurements:
        base = measurement.name
        if measurement.label:
            base += f"[{measurement.label}]"
        base = _property_text(base)
        name = base
        number = 1
        while name in names:
            number += 1
            name = f"{base}#{number}"
        names.append(name)
    return names


def _measurement_fields(measurement: Measurement) -> dict[str, Json]:
    """Return the properties of a measurement, without the prefix of their names."""
    scale = read_scale(measurement)
    fields: dict[str, Json] = {}
    if measurement.error:
        fields["error"] = measurement.error
    if measurement.value is not None:
        fields["score"] = to_scale(measurement.value, scale)
    if measurement.threshold is not None:
        fields["threshold"] = to_scale(measurement.threshold, scale)
    if scale is not None:
        if measurement.value is not None:
            fields["normalized"] = measurement.value
        lowest, highest = scale
        fields["scale"] = f"{lowest:g} to {highest:g}"
    return fields


def _record_fields(record: TestRecord) -> dict[str, Json]:
    """Return the properties of a test itself; None and "" are not known."""
    prompt = SideFacts.from_wire(record.fact("prompt"))
    traffic = count_traffic(record.calls)
    models = [call.model for call in record.calls if call.purpose == "app" and call.model]
    reviews = select_for_review([record])
    cassette = CassetteFacts.from_wire(record.fact("cassette"))
    return {
        "llm.prompt": prompt.name,
        "llm.prompt_version": prompt.version,
        "llm.model": ", ".join(dict.fromkeys(models)),
        "llm.tokens_in": traffic.input_tokens,
        "llm.tokens_out": traffic.output_tokens,
        "llm.cost_usd": traffic.known_usd,
        "llm.calls_without_price": traffic.unpriced or None,
        "llm.blame": describe_weak_half(record),
        "llm.review": "; ".join(judgement.reason for judgement in reviews),
        "llm.cassette": cassette.path,
        "llm.changed_tools": describe_changed_tools(record),
        "llm.fork": "; ".join(sentence for _, sentence in list_fork_lines([record])),
    }


def verdict_properties(verdict: Verdict) -> list[tuple[str, str]]:
    """Return the ``(name, value)`` properties of a verdict, which is a test case of its own.

    >>> verdict_properties(Verdict(kind="baseline", status="RED", sentence="tone fell"))
    [('llm.verdict', 'RED'), ('llm.verdict.sentence', 'tone fell')]
    """
    return [("llm.verdict", verdict.status), ("llm.verdict.sentence", quote_line(verdict.statement))]


def render_junit(run: Run) -> str:
    """Return a run as a JUnit file like pytest's ``--junitxml``; each verdict is a test case, too.

    >>> "tests=" in render_junit(Run())
    True
    """
    from pytest_llmops.reports.findings import describe_verdict

    cases = [_build_test_case(record) for record in run.records]
    failing = run.failing_verdicts
    for verdict in run.verdicts:
        tag = "failure" if verdict in failing else ""
        name = _name_case(verdict.nodeid)
        properties = verdict_properties(verdict)
        cases.append(
            JUnitCase(name=name, tag=tag, message=describe_verdict(run, verdict), properties=properties)
        )
    counts = Counter(case.tag for case in cases)
    total_s = math.fsum(case.duration_s for case in cases)
    return render_template("junit.xml.j2", cases=cases, counts=counts, total_s=total_s, line=quote_line)


@dataclass(frozen=True, slots=True, kw_only=True)
class JUnitCase:
    """A test case of a JUnit file.

    Attributes:
        name: The class and the name, see `_name_case`.
        tag: The element for its outcome: ``failure``, ``error``, ``skipped``; "": it passed.
    """

    name: tuple[str, str]
    tag: str
    message: str
    duration_s: float = 0.0
    properties: Sequence[tuple[str, str]] = ()


def _build_test_case(record: TestRecord) -> JUnitCase:
    """Return the test case of a test."""
    tag = _TAGS.get(record.outcome, "")
    # As in pytest's own file, an "error" is only a failure before or after the test itself.
    if record.facts.get("failed_outside"):
        tag = "error"
    return JUnitCase(
        name=_name_case(record.nodeid),
        tag=tag,
        message=record.message,
        duration_s=record.duration_s,
        properties=junit_properties(record),
    )


def _name_case(nodeid: str) -> tuple[str, str]:
    """Return class and name as pytest writes them: "a/test_b.py::T::t[x]" is ("a.test_b.T", "t[x]")."""
    function, bracket, params = nodeid.partition("[")
    file, *names = function.split("::")
    module = file.removesuffix(".py").replace("/", ".")
    *classes, name = [module, *names]
    return ".".join(classes), f"{name}{bracket}{params}"


def _property_text(value: Json) -> str:
    """Return a value as the text of a property: a number as a short decimal, anything else on one line."""
    if isinstance(value, float):
        # Significant digits, as six decimals would lose a small price.
        if value == 0 or not 1e-3 <= abs(value) < MAX_DECIMAL:  # noqa: PLR2004
            return f"{value:.6g}"
        return f"{value:.6f}".rstrip("0").rstrip(".")
    # Every character that XML forbids is a control character or unassigned: escaped, it can be stored.
    return escape_output(shorten_text(str(value), MAX_PROPERTY_CHARS))


MAX_ANNOTATIONS = 10  # GitHub shows no more for a step, and drops the others silently
MAX_ANNOTATION = 1_500  # characters of a text


def format_annotations(run: Run, changed: Mapping[str, int]) -> Iterator[str]:
    """Yield a workflow command of GitHub for each finding, ten at most: the headline first, then other verdicts, then cases.

    Args:
        run: The run.
        changed: Prompt file -> its first changed line, for files that were changed.

    >>> record = TestRecord(nodeid="test_a.py::t", outcome="failed", message="too long", place="test_a.py:3")
    >>> for line in format_annotations(Run(records=(record,)), {}):
    ...     print(line)
    ::error title=FAIL%3A 1 of 1 test failed::Do not merge, the build fails: 0 of 1 tests passed; no baseline yet, so nothing was compared. Fix it and run it again: pytest test_a.py::t
    ::error file=test_a.py,line=3,title=t failed::Why: too long.
    """
    from pytest_llmops.reports.findings import list_findings, merge_causes

    root = str(run.meta.get("root", ""))
    findings = merge_causes(list_findings(run, changed))
    listed = findings
    if len(findings) > MAX_ANNOTATIONS:
        listed = findings[: MAX_ANNOTATIONS - 1]
    for finding in listed:
        yield _format_annotation(finding, root)
    rest = len(findings) - len(listed)
    if rest:
        yield f"::notice title=LLM regression::and {rest:,} more: see the summary of the job"


def _format_annotation(finding: "Finding", root: str) -> str:
    """Return a finding as a workflow command; ``root`` is put before the path of its file."""
    level = "error" if finding.decides else "warning"
    properties = f"title={_quote_property(finding.title)}"
    if finding.path:
        file = _quote_property(f"{root}{finding.path}")
        properties = f"file={file},line={finding.line},{properties}"
    text = quote_line(finding.text, MAX_ANNOTATION).replace("%", "%25")
    return f"::{level} {properties}::{text}"


_PROPERTY_ESCAPES = str.maketrans({"%": "%25", ":": "%3A", ",": "%2C"})


def _quote_property(text: str) -> str:
    """Return foreign text, escaped for a property of a workflow command."""
    return quote_line(text).translate(_PROPERTY_ESCAPES)


def render_codequality(run: Run) -> str:
    """Return the findings of a run as a code quality report of GitLab, an entry for each verdict that fails the run, and each case.

    >>> render_codequality(Run()).strip()
    '[]'
    """
    from pytest_llmops.reports.findings import list_findings

    root = str(run.meta.get("root", ""))
    default = _find_first_place(run)
    failing = {verdict.nodeid for verdict in run.failing_verdicts}
    entries = []
    for finding in list_findings(run):
        is_whole_run = finding.kind in ("RED", "ERROR", "FAIL", "AMBER")
        if not is_whole_run or finding.nodeid in failing:  # else the tests or modules have entries
            entries.append(_build_codequality_entry(finding, root, default))
    return escape_json_output(json.dumps(entries, indent=1)) + "\n"


def _find_first_place(run: Run) -> tuple[str, int]:
    """Return where an entry on the whole run is shown: GitLab wants a place."""
    from pytest_llmops.reports.findings import find_place

    if not run.records:
        return "conftest.py", 1
    return find_place(run.records[0], {})


def _build_codequality_entry(finding: "Finding", root: str, default: tuple[str, int]) -> dict[str, Json]:
    """Return the entry of a finding; it has the fingerprint of the test, by which GitLab recognizes it in other runs."""
    path, line = finding.path, finding.line
    if not path:
        path, line = default
    severity = "major" if finding.decides else "minor"
    digest = hashlib.sha256(finding.nodeid.encode("utf-8", "replace"))
    return {
        "description": quote_line(f"{finding.title}. {finding.text}".strip()),
        "check_name": f"llm-{finding.kind.replace(' ', '-')}",
        "fingerprint": digest.hexdigest(),
        "severity": severity,
        "location": {"path": quote_line(f"{root}{path}"), "lines": {"begin": line}},
    }


def render_metrics(run: Run) -> str:
    """Return counts, mean scores and costs as OpenMetrics. Numbers are rounded, as GitLab compares them as texts.

    Unknown values (a mean of no scores, a cost without prices) are left out.
    """
    return render_template(
        "metrics.txt.j2",
        totals=summarize_run(run),
        verdicts=run.verdicts,
        failing=run.failing_verdicts,
        label=_quote_label,
    )


def _quote_label(text: str) -> str:
    """Return foreign text, escaped for the value of a label of OpenMetrics."""
    return quote_line(text).replace("\\", r"\\").replace('"', r"\"")


FORMATS = (
    ReportFormat(
        kind="junit",
        suffix=".xml",
        render=render_junit,
        instead="--junitxml=FILE of pytest itself for a file of JUnit",
    ),
    ReportFormat(kind="codequality", render=render_codequality),
    ReportFormat(kind="metrics", render=render_metrics),
)
