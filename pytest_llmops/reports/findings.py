"""The findings of a run, one entry each, for tools that show it at a line of a file: annotations of GitHub, code quality of GitLab."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pytest_llmops.errors import append_code, split_code
from pytest_llmops.reports.changed_cases import CaseKind, ShownCase, list_cases
from pytest_llmops.reports.differences import cut_answers, cut_at_word, join_lines
from pytest_llmops.reports.headline import Headline, Word, build_headline
from pytest_llmops.results.details import CaseFacts, CollectionError, SideFacts, as_list
from pytest_llmops.results.run import Run, TestRecord, decide_exit_status
from pytest_llmops.results.verdict import PSEUDO_FILE, STRICT_PREFIX, Level, Verdict

RUN_NODEID = f"{PSEUDO_FILE}::run"  # of a headline that does not come from a verdict
MAX_QUESTION = 150  # characters; of an expectation and of a reason too
MAX_ANSWER = 200
SHOWN_SCORES = 3
CASE_WORDS: Mapping[CaseKind, str] = {
    "no recording": "has no recording",
    "no score": "has no score",
    "error": "ended with an error",
    "failed": "failed",
    "worse": "got worse",
}
# Word of a headline -> level of a verdict other than the gate that it shows, and its words for a share that misses its limit
LEVELS: Mapping[Word, Level] = {"RED": "bad", "ERROR": "error", "AMBER": "open"}
LIMIT_SENTENCES = ("A limit is broken: ", "A limit is not proved: ")
CAUSE_KINDS = frozenset({"no recording", "no score", "error"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A verdict, a case that failed, got worse or has no score, or a module that could not be loaded.

    Attributes:
        kind: The word of the headline, the status of a verdict, or the kind of the case.
        title: What happened, in a few words: "return-days got worse".
        subject: The thing that it happened to, the beginning of ``title``: "return-days"; "": a verdict.
        cause: Why the score, the recording or the module is missing; findings with the same cause may be shown as one. "": not known.
        text: Question, expected, before, now and scores of a case; what follows from a verdict.
        nodeid: The test or verdict, by which other tools recognize it in other runs.
        decides: The run fails because of it; else it is a warning.
        path: The file that shows it, relative to the root; "": none, it is about the whole run.
    """

    kind: str
    title: str
    subject: str = ""
    cause: str = ""
    text: str
    nodeid: str
    decides: bool = True
    path: str = ""
    line: int = 1


def list_findings(run: Run, changed: Mapping[str, int] | None = None) -> list[Finding]:
    """Return the findings of a run: the headline if it is not good, other verdicts that fail the run, modules, then cases, the worst first.

    Cases that got worse are left out if the verdict is GREEN: some always do by chance.

    Args:
        run: The run.
        changed: Prompt file -> its first changed line, for files that were changed: cases of such a prompt are shown there if they come
            from no file.

    >>> list_findings(Run())
    []
    """
    cases = list_cases(run)
    headline = build_headline(run, cases)
    gate = run.find_verdict("baseline")
    findings = []
    leading = find_leading_verdict(run, headline)
    if headline.word in ("RED", "ERROR", "FAIL", "AMBER"):
        findings.append(_build_headline_finding(run, headline, leading))
    for verdict in run.failing_verdicts:
        if verdict is not leading:
            findings.append(_build_verdict_finding(verdict))
    findings += _list_modules(run)
    for case in cases:
        if case.kind == "worse" and (gate is None or gate.level == "good"):
            continue
        if case.is_bad:
            findings.append(_build_case_finding(case, gate, run, changed or {}))
    return findings


def merge_causes(findings: Sequence[Finding]) -> list[Finding]:
    """Return findings, one for each cause, at the place of the first: a server that is down is reported once.

    >>> late, tone = (Finding(kind="no score", title=f"{n} has no score", subject=n, cause="down", text="", nodeid=n) for n in ("late", "tone"))
    >>> [finding.title for finding in merge_causes([late, tone])]
    ['late and 1 more have no score']
    """
    groups: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        key = (finding.kind, finding.cause or finding.nodeid)
        groups.setdefault(key, []).append(finding)
    merged = []
    for first, *others in groups.values():
        if not others:
            merged.append(first)
            continue
        what = first.title.removeprefix(first.subject).replace(" has ", " have ")
        title = f"{first.subject} and {len(others):,} more{what}"
        merged.append(replace(first, title=title, text=_label("Why", first.cause, MAX_ANSWER)))
    return merged


def find_leading_verdict(run: Run, headline: Headline) -> Verdict | None:
    """Return the verdict of the headline: on the change since the baseline, or the first that fails the run; None: it has none."""
    gate = run.find_verdict("baseline")
    said = (headline.word, headline.sentence)
    if gate is not None and (gate.status, gate.sentence.removeprefix(STRICT_PREFIX)) == said:
        return gate
    for verdict in run.failing_verdicts:
        if verdict is not gate and verdict.level == LEVELS.get(headline.word):
            is_said = headline.sentence.startswith((*LIMIT_SENTENCES, verdict.statement))
            return verdict if is_said else None
    return None


def _build_headline_finding(run: Run, headline: Headline, leading: Verdict | None) -> Finding:
    parts = [headline.second_line, f"{headline.next_step} {headline.command}".strip()]
    kind: str = headline.word
    nodeid = RUN_NODEID
    path, line = "", 1
    if leading is not None:
        kind = leading.status
        parts.append(f"[{leading.code}]")
        nodeid = leading.nodeid
        path, line = _split_place(leading.place)
    return Finding(
        kind=kind,
        title=headline.title.removesuffix("."),
        text=" ".join(filter(None, parts)),
        nodeid=nodeid,
        decides=bool(decide_exit_status(run) or run.meta.get("collection_errors")),
        path=path,
        line=line,
    )


def _build_verdict_finding(verdict: Verdict) -> Finding:
    path, line = _split_place(verdict.place)
    name = verdict.subject or verdict.label
    if verdict.is_since_baseline:
        name = "Against the baseline"
    return Finding(
        kind=verdict.status,
        title=f"{name}: {verdict.word}",
        text=append_code(f"{verdict.statement}.", verdict.code),
        nodeid=verdict.nodeid,
        path=path,
        line=line,
    )


def _list_modules(run: Run) -> list[Finding]:
    """Return the modules that could not be loaded, each at the line of the project at which it fails."""
    findings = []
    for wire in as_list(run.meta.get("collection_errors")):
        error = CollectionError.from_wire(wire)
        path, line = _split_place(error.place or error.module)
        findings.append(
            Finding(
                kind="error",
                title=f"{error.module} could not be loaded",
                subject=error.module,
                cause=f"{error.place}: {error.error}",
                text=error.error,
                nodeid=error.module,
                path=path,
                line=line,
            )
        )
    return findings


def _build_case_finding(
    case: ShownCase, gate: Verdict | None, run: Run, changed: Mapping[str, int]
) -> Finding:
    path, line = find_place(case.record, changed)
    decides = case.kind != "worse"
    if gate is not None and not decides:
        decides = gate in run.failing_verdicts and gate.level != "error"
    return Finding(
        kind=case.kind,
        title=f"{case.id} {CASE_WORDS[case.kind]}",
        subject=case.id,
        cause=case.why if case.kind in CAUSE_KINDS else "",
        text=describe_case(case),
        nodeid=case.record.nodeid,
        decides=decides,
        path=path,
        line=line,
    )


def describe_case(case: ShownCase) -> str:
    """Return question, expected, the answers before and now, and the scores of a case in a line, as far as they are known.

    >>> describe_case(ShownCase(kind="failed", id="late", question="How long?", now="60 days", record=TestRecord(nodeid="t")))
    'Question: How long? Now: 60 days.'
    """
    before, now = case.before, case.now
    if case.kind in CAUSE_KINDS:  # the answers are not the reason
        before = now = None
    if before is not None and now is not None:
        before, now = cut_answers(before, now, MAX_ANSWER)
    why = case.why
    if case.kind == "worse" and case.expected and case.expected in why:  # the reason repeats it
        why = ""
    parts = [
        _label("Question", case.question),
        _label("Expected", case.expected),
        _label("Before", before, MAX_ANSWER),
        _label("Now", now, MAX_ANSWER),
        _label("Why", why),
        f"{case.note}." if case.note else "",
    ]
    scores = [score.words for score in case.scores[:SHOWN_SCORES]]
    if scores:
        parts.append(f"({', '.join(scores)})")
    _, code = split_code(case.record.message.strip().partition("\n")[0])
    if code:
        parts.append(f"[{code}]")
    return " ".join(filter(None, parts))


def _label(label: str, text: str | None, limit: int = MAX_QUESTION) -> str:
    """Return a text after its label, on one line, as a sentence; "" if there is none."""
    if text is None:
        return ""
    words = cut_at_word(join_lines(text), limit)
    if not words:
        return f"{label}: (empty)." if limit == MAX_ANSWER else ""
    end = "" if words.endswith((".", "!", "?", "…")) else "."
    return f"{label}: {words}{end}"


def describe_verdict(run: Run, verdict: Verdict) -> str:
    """Return a verdict with its code, what follows from it and its baseline, a line each, as the text of a test case of JUnit.

    >>> describe_verdict(Run(), Verdict(kind="baseline", status="RED", sentence="The suite got worse by 6.1 points"))
    'RED: The suite got worse by 6.1 points. [LLM-RED]'
    """
    if not verdict.is_since_baseline:
        return verdict.text
    lines = [append_code(f"{verdict.status}: {verdict.sentence}.", verdict.code)]
    headline = build_headline(run)
    if find_leading_verdict(run, headline) is verdict:
        lines += [headline.second_line, headline.why, f"{headline.next_step} {headline.command}".strip()]
    lines.append(verdict.baseline)
    return "\n".join(filter(None, lines))


def find_place(record: TestRecord, changed: Mapping[str, int]) -> tuple[str, int]:
    """Return the file and line at which to show a test.

    This is its case's line, else its prompt if that is among the changed files, else where it failed, else line 1 of its file.

    Args:
        record: The test.
        changed: The first changed line of each changed file.

    >>> find_place(TestRecord(nodeid="a.py::t", place="a.py:3", facts={"case": {"path": "cases.csv", "line": 7}}), {})
    ('cases.csv', 7)
    """
    case = CaseFacts.from_wire(record.facts.get("case"))
    if case.path and case.line > 0:
        return case.path, case.line
    prompt = SideFacts.from_wire(record.fact("prompt")).path
    if prompt in changed:
        return prompt, changed[prompt]
    return _split_place(record.place or record.nodeid.partition("::")[0])


def _split_place(place: str) -> tuple[str, int]:
    """Return the file and the line of a place, line 1 if it has none."""
    path, _, line = place.rpartition(":")
    if path and line.isdecimal():
        return path, int(line)
    return place, 1
