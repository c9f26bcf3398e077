"""Output for GitHub Actions: a Markdown summary of the job, and annotations at changed prompts and failing lines."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_llmops.harness.baseline_gate import run_git
from pytest_llmops.results.details import fact_text
from pytest_llmops.results.run import Run

OTHER_ANNOTATOR = "pytest_github_actions_annotate_failures"
"""A plugin that annotates failures itself."""
_CHANGE = re.compile(r"^(?:\+\+\+ (?P<file>.+?)\t?|@@ -\S+ \+(?P<line>\d+).*)$", re.MULTILINE)


def append_summary(run: Run, file: str) -> str:
    """Append a run as Markdown to the summary of the job, and return why that failed; "": it did not."""
    from pytest_llmops.reports.markdown import MAX_SUMMARY_BYTES, render_markdown

    try:
        with Path(file).open("a", encoding="utf-8", errors="replace") as summary:
            room = MAX_SUMMARY_BYTES - os.fstat(summary.fileno()).st_size
            summary.write(f"\n{render_markdown(run, max_bytes=room)}")
    except OSError as error:
        return f"GITHUB_STEP_SUMMARY {file}: cannot be written: {error}"
    return ""


def list_annotations(run: Run, config: Any, environ: Mapping[str, str]) -> Iterator[str]:
    """Yield the commands that annotate the problems of a run; none outside of GitHub Actions."""
    if environ.get("GITHUB_ACTIONS") != "true" or config.pluginmanager.hasplugin(OTHER_ANNOTATOR):
        return
    from pytest_llmops.reports.ci_formats import format_annotations

    prompts = sorted({fact_text(record.fact("prompt").get("path")) for record in run.records} - {""})
    base = environ.get("GITHUB_BASE_REF")
    yield from format_annotations(
        run, find_changed_lines(config.rootpath, prompts, base) if base and prompts else {}
    )


def find_changed_lines(root: Path, files: Sequence[str], base: str) -> dict[str, int]:
    """Return the first changed line of each file that a pull request changes.

    Args:
        root: The folder that the files start from.
        files: Files to look at; at least one.
        base: The branch that the pull request goes to; if it was not fetched, the first parent of the commit stands for it.
    """
    options = "--literal-pathspecs", "diff", "-U0", "--no-prefix", "--no-ext-diff", "--no-color", "--relative"
    ranges = f"origin/{base}...HEAD", "HEAD^1..HEAD"
    patches = (run_git(root, *options, commits, "--", *files) for commits in ranges)
    patch = next((patch for patch in patches if isinstance(patch, bytes)), b"")
    lines: dict[str, int] = {}
    file = ""
    for match in _CHANGE.finditer(patch.decode("utf-8", "replace")):
        file = match["file"] or file
        if match["line"]:
            lines.setdefault(file, max(int(match["line"]), 1))
    return lines
