"""Suites of other tools, as they are: a module for each tool, loaded only if the ini key ``llm_adopt`` names it.

Its tests are recorded and replayed, and the scores that it reports become measurements.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, cast

from pytest_llmops.errors import UnknownName

if TYPE_CHECKING:
    from pytest_llmops.adopted.tool import AdoptedTool

# Each tool by its name in the ini, with its module here
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
    """Return a tool by its name in the ini; its module is imported, the tool itself is not.

    Raises:
        UnknownName: There is no such tool.

    >>> load_tool("deepeval").distribution
    'deepeval'
    """
    if name not in TOOLS:
        raise UnknownName("tool", name, TOOLS, where="ini llm_adopt")
    return cast("AdoptedTool", import_module(f"{__name__}.{TOOLS[name]}").TOOL)


def load_tools(names: Sequence[str]) -> tuple[AdoptedTool, ...]:
    """Return several tools, each once, in the order of their names.

    Raises:
        UnknownName: There is no such tool.
    """
    return tuple(load_tool(name) for name in dict.fromkeys(names))
