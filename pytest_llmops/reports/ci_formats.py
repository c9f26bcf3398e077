"""Render a run in the formats of CI systems: annotations of GitHub, code quality of GitLab, OpenMetrics, and CTRF.

Foreign text is on one line, without control characters and without commands of a CI runner.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping

from pytest_llmops.measurement import Json, escape_json_output, escape_output, label_suffix
from pytest_llmops.reports import quote_line, render_template
from pytest_llmops.results.details import read_time
from pytest_llmops.results.problems import list_problems
from pytest_llmops.results.run import Run, TestRecord
from pytest_llmops.results.summary import summarize_run

MAX_ANNOTATIONS = 10  # GitHub shows no more of a step, and drops the others without a word
CTRF_STATUS = {"passed": "passed", "xpassed": "passed", "failed": "failed", "errored": "failed"}


def format_annotations(run: Run, changed: Mapping[str, int]) -> Iterator[str]:
    """Yield a workflow command of GitHub for each problem, what got worse first, ten at most.

    Args:
        run: The run.
        changed: The first changed line of each changed prompt file: problems of its tests are shown there.

    >>> record = TestRecord(nodeid="test_a.py::t", outcome="failed", place="test_a.py:3")
    >>> list(format_annotations(Run(records=(record,)), {}))
    ['::error file=test_a.py,line=3,title=failed%3A test_a.py%3A%3At::failed']
    """
    problems = list_problems(run, all_worse=False)
    listed = problems if len(problems) <= MAX_ANNOTATIONS else problems[: MAX_ANNOTATIONS - 1]
    for problem in listed:
        path, line = problem.find_place(changed)
        file, title = (
            quote_line(text).replace("%", "%25").replace(":", "%3A").replace(",", "%2C")
            for text in (f"{run.meta.get('root', '')}{path}", f"{problem.kind}: {problem.nodeid}")
        )
        words = quote_line(problem.words).replace("%", "%25")
        yield f"::{'error' if problem.decides else 'warning'} file={file},line={line},title={title}::{words}"
    if rest := len(problems) - len(listed):
        yield f"::notice title=LLM regression::and {rest:,} more: see the summary of the job"


def render_codequality(run: Run) -> str:
    """Return what got worse or did not pass as a code quality report of GitLab: an entry a test.

    >>> render_codequality(Run()).strip()
    '[]'
    """
    entries = []
    for problem in list_problems(run, all_worse=False):
        path, line = problem.find_place({})
        entries.append(
            {
                "description": quote_line(f"{problem.kind}: {problem.nodeid}: {problem.words}"),
                "check_name": f"llm-{problem.kind}",
                "fingerprint": hashlib.sha256(problem.nodeid.encode("utf-8", "replace")).hexdigest(),
                "severity": "major" if problem.decides else "minor",
                "location": {
                    "path": quote_line(f"{run.meta.get('root', '')}{path}"),
                    "lines": {"begin": line},
                },
            }
        )
    return escape_json_output(json.dumps(entries, indent=1)) + "\n"


def render_metrics(run: Run) -> str:
    """Return counts, mean scores and costs as OpenMetrics; GitLab compares the numbers as texts, so they are rounded.

    What is not known (a mean of nothing, a cost without a price) is left out.
    """
    return render_template(
        "metrics.txt.j2",
        totals=summarize_run(run),
        label=lambda text: quote_line(text).replace("\\", r"\\").replace('"', r"\""),
    )


def render_ctrf(run: Run) -> str:
    """Return a run as a report in the Common Test Report Format; xfailed tests are skipped there, errored ones failed."""
    tests = list(map(_build_ctrf_test, run.records))
    time = read_time(run.meta.get("created"))
    stop = round(time.timestamp() * 1000) if time else 0  # a run file of another program
    summary: dict[str, int] = {
        name: sum(test["status"] == name for test in tests)
        for name in ("passed", "failed", "skipped", "pending", "other")
    }
    duration = round(math.fsum(record.duration_s for record in run.records) * 1000)
    summary |= {"tests": len(tests), "start": max(stop - duration, 0), "stop": stop}
    whole = {
        "reportFormat": "CTRF",
        "specVersion": "0.0.0",
        "results": {"tool": {"name": "pytest-llmops"}, "summary": summary, "tests": tests},
    }
    return escape_json_output(json.dumps(whole, indent=1)) + "\n"


def _build_ctrf_test(record: TestRecord) -> dict[str, Json]:
    file, _, name = record.nodeid.partition("::")
    return {
        "name": quote_line(name or file),
        "status": CTRF_STATUS.get(record.outcome, "skipped"),
        "rawStatus": record.outcome,
        "duration": round(record.duration_s * 1000),
        "suite": [quote_line(file)],
        "filePath": quote_line(file),
        "message": escape_output(record.message.strip()[:10_000]),
        "labels": {
            quote_line(f"{measurement.name}{label_suffix(measurement.label)}"): measurement.value
            for measurement in record.measurements
            if measurement.value is not None
        },
    }
