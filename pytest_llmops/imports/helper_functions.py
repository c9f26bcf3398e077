"""Functions that a written module defines itself, as it goes on without the suite's tool: stored in ``helpers.py.txt``."""

import ast
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pytest_llmops.imports.python_code import used_names

HELPERS = Path(__file__).with_name("helpers.py.txt")


@dataclass(frozen=True, slots=True)
class Helper:
    """A function for a written module.

    Attributes:
        code: Its lines.
        imports: What it uses, in the form of `Check.imports`.
    """

    code: str
    imports: tuple[str, ...]


def read_helper(name: str) -> Helper:
    """Return a function of ``helpers.py.txt``.

    Raises:
        KeyError: There is no such function.
    """
    return _read_helpers()[name]


@lru_cache(maxsize=1)
def _read_helpers() -> dict[str, Helper]:
    text = HELPERS.read_text(encoding="utf-8")
    tree = ast.parse(text)
    imported: dict[str, str] = {}
    for node in tree.body:
        if isinstance(node, ast.Import):
            imported.update({alias.name: alias.name for alias in node.names})
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                imported[alias.name] = f"{node.module}.{alias.name}"
    helpers = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            code = ast.get_source_segment(text, node) or ""
            names = sorted(used_names(code) & imported.keys())
            helpers[node.name] = Helper(code, tuple(imported[name] for name in names))
    return helpers
