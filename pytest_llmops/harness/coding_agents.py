"""The line for a coding agent at the end of a run that is red: where it finds help, and the run as JSON."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pytest_llmops._util.documentation import find_skill
from pytest_llmops.errors import path_from_root
from pytest_llmops.results.run import Run

# Variables that coding agents set for the commands that they run. Only variables that nobody sets for another purpose: AGENT
# or CODEX_HOME may be in any shell.
AGENT_VARIABLES = (
    "AI_AGENT",  # the proposed common name; Claude Code sets it too
    "AUGMENT_AGENT",
    "CLAUDECODE",
    "CLINE_ACTIVE",
    "CODEX_CI",
    "CODEX_SANDBOX",
    "CODEX_THREAD_ID",
    "COPILOT_CLI",
    "CURSOR_AGENT",
    "GEMINI_CLI",
    "GOOSE_TERMINAL",
    "OPENCODE",
    "QWEN_CODE",
)


def describe_agent_help(run: Run, environ: Mapping[str, str], run_files: Sequence[str], folder: Path) -> str:
    """Return where a coding agent finds help; "" if none runs pytest, or if the run passed.

    Args:
        run: The run.
        environ: The environment variables.
        run_files: The reports of the run that are JSON.
        folder: The folder in which pytest was started: the path of the skill is relative to it if it is below.
    """
    is_agent = any(environ.get(name) for name in AGENT_VARIABLES)
    if not is_agent or not _is_bad(run):
        return ""
    run_file = "--llm-report=run.json writes it"
    if run_files:
        run_file = run_files[0]
    skill = path_from_root(find_skill(), folder)
    return f"read {skill} before you change a test; this run as JSON: {run_file}"


def _is_bad(run: Run) -> bool:
    """Return whether a test failed or had an error, a module could not be loaded, or a verdict fails the run."""
    if run.meta.get("collection_errors") or run.failing_verdicts:
        return True
    return bool(run.count("failed") or run.count("errored"))
