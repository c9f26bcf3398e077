"""Modules imported as a run of pytest imports them, and their bytecode written once.

``python -m support.loading`` imports the whole package. Where the machine sets PYTHONDONTWRITEBYTECODE, each of the
many processes of the tests would otherwise compile 200 modules of the package, and rewrite their asserts.
"""

from __future__ import annotations

import compileall
import importlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "pytest_llmops"
WRITTEN = f".{sys.implementation.cache_tag}-pytest-{pytest.__version__}.pyc"
"""How the name of a file ends in which pytest stores a module whose asserts it rewrote."""
LOADED_ONCE = (
    "_pytest.pastebin", "_pytest.setuponly", "_pytest.setupplan", "_pytest.stepwise", "aiohttp", "bm25s", "encodings.ascii",
    "encodings.utf_8_sig", "execnet.multi", "filelock", "genai_prices", "genai_prices.data", "httpcore", "httpcore2", "httpx", "httpx2",
    "jinja2.meta", "jinja2.sandbox", "jsonschema", "numpy", "openai", "openai.resources.chat.chat", "openai.resources.embeddings",
    "openai.resources.responses.responses", "pydantic", "rapidfuzz.fuzz", "referencing.jsonschema", "requests",
    "sklearn.feature_extraction.text", "vcr.patch", "xdist.dsession", "xdist.workermanage", "yaml",
)  # fmt: skip


class _Loader:
    """A plugin that imports modules in place of running tests: as in a run, pytest rewrites the asserts of plugins."""

    def __init__(self, modules: Sequence[str]) -> None:
        self._modules = modules

    @pytest.hookimpl(tryfirst=True)
    def pytest_cmdline_main(self) -> int:
        for place in self._modules:
            name, _, function = place.partition(":")
            module = importlib.import_module(name)
            if function:
                getattr(module, function)()
        return 0


def import_modules(modules: Sequence[str]) -> None:
    """Import modules as in a run of pytest without this plugin, and without xdist. A function after a colon is called.

    Raises:
        SystemExit: pytest could not start.
    """
    options = ["-c", os.devnull, "-p", "no:llmops", "-p", "no:xdist", "-p", "no:cacheprovider"]
    status = pytest.main(options, plugins=[_Loader(modules)])
    if status:
        raise SystemExit(status)


def _list_sources() -> list[Path]:
    """List the files of the package, but for `__main__`, which would run."""
    return sorted(path for path in PACKAGE.rglob("*.py") if path.stem != "__main__")


def list_own_modules() -> list[str]:
    """List all modules of the package, without importing it."""
    paths = [path.relative_to(ROOT).with_suffix("") for path in _list_sources()]
    return [".".join(path.parts).removesuffix(".__init__") for path in paths]


def has_bytecode() -> bool:
    """Return whether the bytecode of all modules of the package is there and newer than they are."""
    for source in _list_sources():
        written = source.parent / "__pycache__" / (source.stem + WRITTEN)
        if not written.exists() or written.stat().st_mtime < source.stat().st_mtime:
            return False
    return True


def write_bytecode() -> None:
    """Write the bytecode of the package, if Python does not write it on its own; a folder without rights stays as it is."""
    if not sys.dont_write_bytecode or has_bytecode():
        return
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    paths = os.pathsep.join((str(ROOT), str(ROOT / "tests")))
    subprocess.run(
        [sys.executable, "-m", "support.loading"],
        cwd=ROOT,
        env={**variables, "PYTHONPATH": paths},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )


if __name__ == "__main__":
    compileall.compile_dir(PACKAGE, quiet=2)
    import_modules(list_own_modules())
