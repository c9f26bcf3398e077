"""The imports of a module that is written, sorted as the usual tools sort them."""

import sys
from dataclasses import dataclass, field

import pytest_llmops
from pytest_llmops.imports.python_code import INDENT, WIDTH


@dataclass(slots=True)
class ModuleImports:
    """The imports of a module: whole modules, and names of modules."""

    _modules: set[str] = field(default_factory=set)
    _names: dict[str, set[str]] = field(default_factory=dict)

    def add(self, name: str) -> None:
        """Import a name: of `pytest_llmops`, of another module ("pytest_llmops.judges.Rubric"), or a module ("json")."""
        module, _, own = name.rpartition(".")
        if module:
            self.add_name(module, own)
        elif name in pytest_llmops.__all__:
            self.add_name("pytest_llmops", name)
        else:
            self.add_module(name)

    def add_module(self, name: str) -> None:
        """Import a module."""
        self._modules.add(name)

    def add_name(self, module: str, name: str) -> None:
        """Import a name of a module."""
        self._names.setdefault(module, set()).add(name)

    def format(self) -> list[str]:
        """Return the lines: the standard library first, then an empty line, then packages.

        >>> imports = ModuleImports()
        >>> imports.add("json")
        >>> imports.add("soft")
        >>> imports.format()
        ['import json', '', 'from pytest_llmops import soft']
        """
        blocks = []
        for is_standard in (True, False):
            lines = [f"import {name}" for name in sorted(self._modules) if _is_standard(name) == is_standard]
            for module in sorted(self._names):
                if _is_standard(module) == is_standard:
                    lines += _format_names(module, sorted(self._names[module], key=_order))
            if lines:
                blocks.append(lines)
        joined: list[str] = []
        for lines in blocks:
            if joined:
                joined.append("")
            joined += lines
        return joined


def _is_standard(module: str) -> bool:
    return module.partition(".")[0] in sys.stdlib_module_names


def _order(name: str) -> tuple[int, str]:
    """Return where a name is sorted: constants, classes, then functions."""
    if name.isupper():
        return 0, name
    if name[0].isupper():
        return 1, name
    return 2, name


def _format_names(module: str, names: list[str]) -> list[str]:
    line = f"from {module} import {', '.join(names)}"
    if len(line) <= WIDTH:
        return [line]
    return [f"from {module} import (", *(f"{INDENT}{name}," for name in names), ")"]
