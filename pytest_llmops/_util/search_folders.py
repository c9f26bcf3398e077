"""Where files that a user names are searched while a test runs. A module of its own: the plugin loads it at start."""

from collections.abc import Callable, Sequence
from pathlib import Path

# Each returns the folders from the running test, or the module that is collected, up to the rootdir; the last one counts
test_folders: list[Callable[[], Sequence[Path]]] = []
