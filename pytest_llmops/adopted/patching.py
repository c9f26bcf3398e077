"""`replace_everywhere`: exchange a function of a tool in all modules that have imported it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock


@contextmanager
def replace_everywhere(function: Callable[..., Any], replacement: Callable[..., Any]) -> Iterator[None]:
    """Replace a function in every module that has it, under any name, while the block runs.

    Tests import a function before its tool is adopted, so it is not enough to replace it where it was defined.

    Args:
        function: The function.
        replacement: The function to call in its place.
    """
    with ExitStack() as patches:
        for module in list(sys.modules.values()):
            values = getattr(module, "__dict__", {})
            names = [name for name, value in list(values.items()) if value is function]
            for name in names:
                patches.enter_context(mock.patch.object(module, name, replacement))
        yield
