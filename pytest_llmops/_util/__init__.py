"""Helpers that know nothing of pytest and models: text files, JSON paths, hosts, option values."""

from collections.abc import Callable, Sequence
from pathlib import Path

# Return the folders from the running test, or the module
# that is collected, up to the rootdir; the last is asked
test_folders: list[Callable[[], Sequence[Path]]] = []
