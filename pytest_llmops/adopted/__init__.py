"""Suites of other tools, as they are: a module for each tool, loaded only if the ini key ``llm_adopt`` names it.

Its tests are recorded and replayed, and the scores that it reports become measurements.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from pytest_llmops.adopted.tool import AdoptedTool

# The module of each tool, by its name in the ini (`settings.ADOPTED_TOOLS` lists the same names)
TOOLS = {
    "deepeval": "deepeval_suite",
    "langsmith": "langsmith_suite",
    "mlflow": "mlflow_suite",
    "openevals": "openevals_suite",
    "phoenix": "phoenix_suite",
    "pydantic-evals": "pydantic_evals_suite",
    "ragas": "ragas_suite",
}


@cache
def load_tool(name: str) -> AdoptedTool:
    """Return a tool by its name in the ini, which `Settings` has checked; its module is imported, the tool itself is not.

    >>> load_tool("deepeval").distribution
    'deepeval'
    """
    return cast("AdoptedTool", import_module(f"{__name__}.{TOOLS[name]}").TOOL)


def load_tools(names: Sequence[str]) -> tuple[AdoptedTool, ...]:
    """Return several tools, each once, in the order of their names."""
    return tuple(load_tool(name) for name in dict.fromkeys(names))
