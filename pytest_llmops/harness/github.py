"""Output for GitHub Actions: a Markdown summary of the job, and annotations at changed prompts and failing lines."""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_llmops._util.git import run_git
from pytest_llmops.results.details import SideFacts
from pytest_llmops.results.run import Run

OTHER_ANNOTATOR = "pytest_github_actions_annotate_failures"  # a plugin that annotates failures itself
FIRST_CHANGE = re.compile(r"^\+\+\+ (?P<file>[^\t\n]+)\t?\n@@ -\S+ \+(?P<line>\d+)", re.MULTILINE)


def append_summary(run: Run, file: Path) -> None:
    """Append a run as Markdown to the summary of the job.

    Raises:
        OSError: It cannot be written.
    """
    from pytest_llmops.reports.markdown import MAX_SUMMARY_BYTES, render_markdown

    with file.open("a", encoding="utf-8", errors="replace") as summary:
        summary.write("\n" + render_markdown(run, max_bytes=MAX_SUMMARY_BYTES - summary.tell()))


def list_annotations(run: Run, config: Any, environ: Mapping[str, str]) -> Iterator[str]:
    """Yield the commands that annotate the problems of a run; none outside of GitHub Actions."""
    if environ.get("GITHUB_ACTIONS") != "true" or config.pluginmanager.hasplugin(OTHER_ANNOTATOR):
        return
    from pytest_llmops.reports.ci_formats import format_annotations

    prompts = {SideFacts.from_wire(record.fact("prompt")).path for record in run.records} - {""}
    base = environ.get("GITHUB_BASE_REF") if prompts else ""
    yield from format_annotations(run, find_changed_lines(config.rootpath, prompts, base) if base else {})


def find_changed_lines(root: Path, files: Iterable[str], base: str) -> dict[str, int]:
    """Return the first changed line of each file that a pull request changes.

    Args:
        root: The folder that the files start from.
        files: Files to look at; at least one.
        base: The branch that the pull request goes to; if it was not fetched, the first parent of the commit stands for it.
    """
    options = "--literal-pathspecs", "diff", "-U0", "--no-prefix", "--no-ext-diff", "--no-color", "--relative"
    patches = (
        run_git(root, *options, commits, "--", *files)
        for commits in (f"origin/{base}...HEAD", "HEAD^1..HEAD")
    )
    patch = next((patch for patch in patches if isinstance(patch, bytes)), b"").decode("utf-8", "replace")
    return {match["file"]: max(int(match["line"]), 1) for match in FIRST_CHANGE.finditer(patch)}
