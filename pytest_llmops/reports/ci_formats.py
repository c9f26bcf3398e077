"""Render a run in the formats of CI systems: annotations of GitHub, code quality of GitLab, and OpenMetrics.

Foreign text is on one line, without control characters and without commands of a CI runner.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping

from pytest_llmops.measurement import escape_json_output
from pytest_llmops.reports import quote_line, render_template
from pytest_llmops.results.problems import list_problems
from pytest_llmops.results.run import Run
from pytest_llmops.results.summary import summarize_run

MAX_ANNOTATIONS = 10  # GitHub shows no more of a step, and drops the others without a word


def format_annotations(run: Run, changed: Mapping[str, int]) -> Iterator[str]:
    """Yield a workflow command of GitHub for each problem, what got worse first, ten at most.

    Args:
        run: The run.
        changed: The first changed line of each changed prompt file: problems of its tests are shown there.

    >>> from pytest_llmops.results.run import TestRecord
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
