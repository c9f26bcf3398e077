"""The names that the reference must have, out of the code, and where each of them has its section."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest_llmops
from pytest_llmops import errors, fixtures, hookspecs
from pytest_llmops.cases.row_files import CASE_SUFFIXES
from pytest_llmops.harness.markers import MARKERS
from pytest_llmops.judges.judge_front_matter import JUDGE_KINDS
from pytest_llmops.reports.formats import builtin_formats
from pytest_llmops.results.verdict import LEVEL_CODES, STATUS_CODES
from pytest_llmops.settings import OPTIONS
from support.reference.commands import list_commands

ROOT = Path(__file__).parents[3]
REFERENCE = ROOT / "docs" / "reference"
PACKAGE = ROOT / "pytest_llmops"
_FORMAT = re.compile(r"pytest-llmops/[a-z-]+/\d+")
_FIXTURE_TYPE = type(fixtures.llm)

# Modules whose public names a project may use, in the order of the page; those in `__all__`, else all public classes and functions
API_MODULES = (
    "pytest_llmops",
    "pytest_llmops.errors",
    "pytest_llmops.protocols",
    "pytest_llmops.cases",
    "pytest_llmops.cases.trec",
    "pytest_llmops.prompts",
    "pytest_llmops.agents",
    "pytest_llmops.judges",
    "pytest_llmops.guardrails",
    "pytest_llmops.retrievers.bm25",
    "pytest_llmops.retrievers.dense",
    "pytest_llmops.retrievers.hybrid",
    "pytest_llmops.retrievers.chroma",
    "pytest_llmops.retrievers.qdrant",
    "pytest_llmops.retrievers.faiss",
    "pytest_llmops.retrievers.langchain",
    "pytest_llmops.retrievers.llamaindex",
    "pytest_llmops.semantics.checks",
    "pytest_llmops.semantics.textmetrics",
    "pytest_llmops.metrics.confidence",
    "pytest_llmops.metrics.win_rates",
    "pytest_llmops.metrics.ranking",
    "pytest_llmops.production.canary",
    "pytest_llmops.production.feedback",
    "pytest_llmops.providers.openai",
    "pytest_llmops.reports.formats",
    "pytest_llmops.trace",
    "pytest_llmops.testing",
    "pytest_llmops.testing.semantic_cache",
)
# Modules of which a project uses the classes only
TYPE_MODULES = (
    "pytest_llmops.errors",
    "pytest_llmops.protocols",
    "pytest_llmops.reports.formats",
    "pytest_llmops.providers.openai",
)
# Helpers of these modules, which no project needs
HELPERS = frozenset(
    ("CallDeferred", "RetriedForEver", "SilentWriteRefused", "events_needed", "format_sweep", "iter_text_files", "list_sweep", "measure_coverage", "NamedReport", "parse_metric", "rank_by_score",
     "resolve_check_names", "split_bounded_sentences", "split_sentences", "tokenize")
)  # fmt: skip


def list_assertions() -> dict[str, Any]:
    """Return the public assertions by name."""
    return {
        name: getattr(pytest_llmops, name) for name in pytest_llmops.__all__ if name.startswith("assert_")
    }


def list_hooks() -> dict[str, Any]:
    """Return the hooks by name."""
    return {name: hook for name, hook in vars(hookspecs).items() if name.startswith("pytest_llmops_")}


def list_fixtures() -> dict[str, Any]:
    """Return the functions of the fixtures by name."""
    found = {name: value for name, value in vars(fixtures).items() if isinstance(value, _FIXTURE_TYPE)}
    return {name: inspect.unwrap(value) for name, value in found.items()}


def list_options() -> list[str]:
    """Return the title of each option: its flag, or its ini key."""
    return [option.flag or option.dest for option in OPTIONS]


def list_codes() -> list[str]:
    """Return the codes of all exceptions and verdicts."""
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    codes = {getattr(kind, "code", "") for kind in classes} | {*STATUS_CODES.values(), *LEVEL_CODES.values()}
    return sorted(codes - {""})


def list_formats() -> list[str]:
    """Return the formats of files: of cases, judges and reports, and each format with a name and version of its own."""
    reports = [f"report {report.kind}" for report in builtin_formats()]
    named = {
        name for path in PACKAGE.rglob("*.py") for name in _FORMAT.findall(path.read_text(encoding="utf-8"))
    }
    return sorted(
        {
            *(f"cases {suffix}" for suffix in CASE_SUFFIXES),
            *(f"judge {kind}" for kind in JUDGE_KINDS),
            *reports,
            *named,
        }
    )


def list_api() -> dict[str, dict[str, Any]]:
    """Return the public names of each public module, without assertions, and each name only in the first module that has it."""
    seen: set[int] = set()
    result: dict[str, dict[str, Any]] = {}
    for path in API_MODULES:
        module = importlib.import_module(path)
        names = getattr(module, "__all__", None) or [
            name for name, value in vars(module).items() if _is_own(module, name, value)
        ]
        result[path] = {}
        for name in names:
            value = getattr(module, name)
            is_new = id(value) not in seen
            seen.add(id(value))
            if is_new and name not in HELPERS and not name.startswith(("assert_", "_")) and callable(value):
                result[path][name] = value
    return result


def _is_own(module: Any, name: str, value: object) -> bool:
    is_ours = inspect.isclass(value) or (inspect.isfunction(value) and module.__name__ not in TYPE_MODULES)
    owner = getattr(value, "__module__", "")
    is_package = hasattr(module, "__path__")
    return (
        is_ours
        and not name.startswith("_")
        and (owner == module.__name__ or (is_package and owner.startswith(module.__name__)))
    )


# For each kind: its page, the level of its headings, and its names out of the code
KINDS: dict[str, tuple[str, int, Callable[[], list[str]]]] = {
    "assertion": ("assertions", 3, lambda: list(list_assertions())),
    "marker": ("markers", 2, lambda: list(MARKERS)),
    "fixture": ("fixtures", 2, lambda: list(list_fixtures())),
    "option": ("options", 3, list_options),
    "hook": ("hooks", 2, lambda: list(list_hooks())),
    "command": ("commands", 3, lambda: [command.title for command in list_commands()]),
    "message code": ("messages", 2, list_codes),
}


def read_headings(text: str, level: int) -> list[str]:
    """Return the headings of a level, without code marks and what follows a name in brackets; fenced blocks do not count."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return [
        heading.strip().strip("`") for heading in re.findall(rf"^#{{{level}}} (.+)$", prose, re.MULTILINE)
    ]


def read_formats(text: str) -> list[str]:
    """Return the first cells of the table of formats."""
    _, _, rest = text.partition("<!-- begin: formats -->")
    return re.findall(r"^\| `([^`]+)` \|", rest.partition("<!-- end -->")[0], re.MULTILINE)


def find_differences(kind: str, text: str) -> tuple[list[str], list[str]]:
    """Return the names of a kind that the text of its page lacks, and the names in it that the code does not have."""
    if kind == "file format":
        expected, found = list_formats(), read_formats(text)
    else:
        _, level, list_names = KINDS[kind]
        expected, found = list_names(), read_headings(text, level)
    missing = [name for name in expected if found.count(name) != 1]
    return missing, [name for name in found if name not in expected]


def page_of(kind: str) -> str:
    """Return the name of the page of a kind."""
    return "files" if kind == "file format" else KINDS[kind][0]
