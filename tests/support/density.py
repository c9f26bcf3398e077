"""How much a reader has to hold in mind: decisions of a function, decisions within expressions, expressions of a statement.

``python tests/support/density.py [FOLDER]`` prints the figures of the package, and where they are highest.
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
# Decisions that branch coverage sees
VISIBLE = (ast.If, ast.While, ast.ExceptHandler, ast.match_case)
# A smaller module says little: a table is one statement
SMALL_MODULE = 30


@dataclass
class Density:
    """The counts of a module, or of a folder."""

    statements: int = 0
    expressions: int = 0
    visible: int = 0
    hidden: int = 0
    # The decisions of each function by its place
    functions: dict[str, int] = field(default_factory=dict)
    # The places of conditional expressions within another one
    nested: list[str] = field(default_factory=list)

    @property
    def per_statement(self) -> float:
        return self.expressions / max(1, self.statements)

    @property
    def hidden_share(self) -> float:
        return self.hidden / max(1, self.hidden + self.visible)

    def add(self, other: "Density") -> None:
        self.statements += other.statements
        self.expressions += other.expressions
        self.visible += other.visible
        self.hidden += other.hidden
        self.functions.update(other.functions)
        self.nested.extend(other.nested)


def measure_module(text: str, name: str) -> Density:
    """Measure a module; docstrings do not count."""
    density = Density()
    for node in ast.walk(ast.parse(text)):
        if is_docstring(node):
            density.expressions -= 1
        elif isinstance(node, ast.stmt):
            density.statements += 1
        elif isinstance(node, ast.expr):
            density.expressions += 1
        density.visible += isinstance(node, VISIBLE)
        density.hidden += count_hidden(node)
        if isinstance(node, ast.IfExp) and has_conditional(node):
            density.nested.append(f"{name}:{node.lineno}")
        if isinstance(node, FUNCTIONS):
            density.functions[f"{name}:{node.lineno} {node.name}"] = count_decisions(node)
    return density


def is_docstring(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def count_hidden(node: ast.AST) -> int:
    """Count the decisions of a node itself that branch coverage does not see."""
    if isinstance(node, ast.IfExp):
        return 1
    if isinstance(node, ast.comprehension):
        return len(node.ifs)
    return 0


def has_conditional(node: ast.IfExp) -> bool:
    return any(isinstance(part, ast.IfExp) for part in (node.test, node.body, node.orelse))


def count_decisions(function: ast.AST) -> int:
    """Count branches, loops, conditions of comprehensions, and each `and` and `or`, without functions inside the function."""
    count = 0
    for node in iterate_own_nodes(function):
        count += isinstance(node, VISIBLE) + count_hidden(node)
        count += isinstance(node, (ast.For, ast.AsyncFor, ast.comprehension))
        if isinstance(node, ast.BoolOp):
            count += len(node.values) - 1
    return count


def iterate_own_nodes(function: ast.AST) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(function):
        yield node
        if not isinstance(node, FUNCTIONS):
            yield from iterate_own_nodes(node)


def measure_folder(folder: Path) -> dict[str, Density]:
    """Measure each module of a folder, by its path from there."""
    modules = {}
    for path in sorted(folder.rglob("*.py")):
        name = path.relative_to(folder).as_posix()
        modules[name] = measure_module(path.read_text(encoding="utf-8"), name)
    return modules


def total_density(modules: dict[str, Density]) -> Density:
    total = Density()
    for density in modules.values():
        total.add(density)
    return total


def main() -> None:
    folder = Path(sys.argv[1]) if sys.argv[1:] else Path(__file__).parents[2] / "pytest_llmops"
    modules = measure_folder(folder)
    total = total_density(modules)
    many = {place: count for place, count in total.functions.items() if count > 15}
    print(
        f"{total.statements:,} statements, {total.expressions:,} expressions: {total.per_statement:.2f} a statement"
    )
    print(f"decisions within expressions: {100 * total.hidden_share:.0f} %")
    print(f"functions with more than 15 decisions: {len(many)} of {len(total.functions):,}")
    print(f"nested conditional expressions: {len(total.nested)}", *total.nested)
    for name, density in sorted(modules.items(), key=lambda pair: -pair[1].per_statement):
        if density.statements >= SMALL_MODULE and density.per_statement > 6.5:
            print(f"  {density.per_statement:4.1f} expressions a statement  {name}")
    for place, count in sorted(many.items(), key=lambda pair: -pair[1]):
        print(f"  {count:4} decisions  {place}")


if __name__ == "__main__":
    main()
