from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

import pytest_llmops
from pytest_llmops import registry

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "pytest_llmops"
HEAVY = (
    "openai",
    "sklearn",
    "numpy",
    "vcr",
    "jsonschema",
    "rapidfuzz",
    "jinja2",
    "pydantic",
    "yaml",
    "bm25s",
    "httpx2",
)
FILES = sorted(PACKAGE.rglob("*.py"))


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def test_all_is_exactly_what_can_be_imported() -> None:
    lazy = {*pytest_llmops._MODULES_BY_NAME, "__version__"}
    assert set(pytest_llmops.__all__) == lazy
    for name in pytest_llmops.__all__:
        assert getattr(pytest_llmops, name) is not None


def test_the_lazy_table_and_the_typed_imports_are_the_same() -> None:
    tree = parse(PACKAGE / "__init__.py")
    typed = {
        alias.name: str(node.module).removeprefix("pytest_llmops.")
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module not in {"__future__", "typing"}
        for alias in node.names
    }
    assert typed == pytest_llmops._MODULES_BY_NAME


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="assert_nothing"):
        _ = pytest_llmops.assert_nothing


@pytest.mark.slow
@pytest.mark.parametrize("module", ["pytest_llmops", "pytest_llmops.plugin"])
def test_nothing_heavy_is_loaded_at_start(module: str) -> None:
    code = f"import sys, {module}; print([m for m in {HEAVY} if m in sys.modules]); print(sum(m.startswith('pytest_llmops.') for m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded, ours = done.stdout.splitlines()
    assert loaded == "[]"
    assert int(ours) <= 15


@pytest.mark.slow
def test_a_run_that_uses_nothing_of_ours_loads_nothing_heavy(tmp_path: Path) -> None:
    (tmp_path / "test_bare.py").write_text("def test_bare(): assert True\n")
    (tmp_path / "conftest.py").write_text(
        f"import sys\ndef pytest_unconfigure():\n    print('LOADED', [m for m in {HEAVY!r} if m in sys.modules])\n"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:hypothesispytest",
            "-p",
            "no:anyio",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "LOADED []" in done.stdout


def test_every_marker_is_a_file_and_a_line_of_the_registry() -> None:
    from pytest_llmops.harness.markers import MARKERS, load_markers

    folder = PACKAGE / "harness" / "markers"
    files = {path.stem for path in folder.glob("*.py")} - {"__init__", "marker", "parametrized"}
    assert files == set(MARKERS)
    for marker in load_markers():
        assert type(marker).__module__.endswith(f".{marker.name}")
        if MARKERS[marker.name]:
            assert marker.fixture == MARKERS[marker.name]


def test_every_built_in_name_can_be_loaded() -> None:
    for kind, names in registry.BUILT_IN.items():
        for name in names:
            if kind != "model":  # a model needs a name
                assert registry.load_builtin(kind, name) is not None


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_files_and_functions_stay_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 600
    for node in ast.walk(parse(path)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            docstring = ast.get_docstring(node, clean=False) or ""
            length = (node.end_lineno or 0) - node.lineno + 1 - len(docstring.splitlines())
            assert length <= 60, f"{path}:{node.lineno} {node.name} has {length} lines"


def test_hooks_of_the_plugin_stay_short() -> None:
    tree = parse(PACKAGE / "plugin.py")
    hooks = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name.startswith("pytest_")]
    assert hooks
    for hook in hooks:
        first = hook.body[1] if ast.get_docstring(hook) else hook.body[0]
        assert (hook.end_lineno or 0) - first.lineno + 1 <= 17, hook.name


@pytest.mark.slow
def test_only_the_edge_knows_pytest() -> None:
    edge = {"plugin.py", "fixtures.py", "hookspecs.py"}
    for path in FILES:
        names = {
            alias.name if isinstance(node, ast.Import) else str(node.module)
            for node in ast.walk(parse(path))
            if isinstance(node, (ast.Import, ast.ImportFrom))
            for alias in node.names
        }
        if path.name not in edge:
            assert not {name for name in names if name.split(".")[0] in ("pytest", "_pytest")}, path


def test_the_map_of_contributing_is_that_of_the_folders() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = re.findall(r"^\| `([\w.]+/?)` \| [A-Z`].+\. \|$", text, re.MULTILINE)
    inside = [path for path in PACKAGE.iterdir() if path.name not in ("__pycache__", "py.typed")]
    assert sorted(named) == sorted(f"{path.name}/" if path.is_dir() else path.name for path in inside)
    assert sum(path.is_file() for path in inside) <= 12
    modules = [path for path in inside if not path.name.startswith((".", "__"))]
    assert len(modules) <= 37  # the last: ledger, what each line of a prompt earns


def test_the_package_has_few_layers() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    layers = next(
        contract["layers"] for contract in contracts if contract.get("containers") == ["pytest_llmops"]
    )
    assert len(layers) <= 14


@pytest.mark.parametrize("init", sorted(PACKAGE.rglob("*/__init__.py")), ids=lambda path: path.parent.name)
def test_no_package_gives_a_name_that_one_of_its_modules_has(init: Path) -> None:
    """Else the name is a function or a module, depending on what was imported first."""
    package = ".".join(init.parent.relative_to(ROOT).parts)
    modules = {path.stem for path in init.parent.iterdir() if path.suffix in ("", ".py")}
    given = {
        alias.asname or alias.name
        for node in ast.parse(init.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ImportFrom) and node.module != package
        for alias in node.names
    }
    assert given & modules == set()
