"""Where files that a user names are searched while a test runs.

A module of its own, because the plugin imports it at the start of every run: it must cost nothing.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

# Functions that return the folders from the folder of the running test (or of the module that is collected) up to the rootdir. There is one for
# each pytest run in this process; the last one, of the innermost run (pytester), counts
test_folders: list[Callable[[], Sequence[Path]]] = []
