"""Stand-ins for packages of others: a module with some members, and what retrievers need besides."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
import pytest


class Plane:
    """A text is its numbers."""

    version = "plane/1"

    def embed(self, texts: Sequence[str]) -> Any:
        return np.array([[float(part) for part in text.split()] for text in texts], dtype=np.float32)


def use_module(monkeypatch: pytest.MonkeyPatch, name: str, **members: Any) -> ModuleType:
    """Put a module with these members in the place of a package for the rest of a test."""
    made = ModuleType(name)
    vars(made).update(members)
    monkeypatch.setitem(sys.modules, name, made)
    return made


def refused(*_: Any, **__: Any) -> Any:
    raise RuntimeError("the store is gone")
