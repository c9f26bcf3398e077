"""Paths as reports and messages show them."""

from __future__ import annotations

from pathlib import Path


def path_from_root(path: Path, root: Path) -> str:
    """Return a path relative to ``root``, with slashes; a path outside of it stays as it is.

    >>> path_from_root(Path("project/tests/a.json"), Path("project"))
    'tests/a.json'
    """
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
