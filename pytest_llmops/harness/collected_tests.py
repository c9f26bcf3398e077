"""The tests that exist as far as pytest collected them, and so which cassettes belong to a test that is gone.

Knows pytest's nodes by their attributes only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmops.errors import UsageError
from pytest_llmops.harness import tapes

if TYPE_CHECKING:
    from pytest_llmops.cassettes.recording_index import RecordingIndex

_DEFINITION = re.compile(r"^[ \t]*(?:async[ \t]+)?def[ \t]+(\w+)", re.MULTILINE)


class CollectedTests:
    """All tests of the modules that were collected, also those that this run leaves out.

    Args:
        root: The root folder of the project.
        children: Each module and class with what it holds.
    """

    def __init__(self, root: Path, children: Sequence[tuple[Any, Sequence[Any]]]) -> None:
        self._root = root
        self._children = children

    @cached_property
    def index(self) -> RecordingIndex:
        """The recordings of the project by key, in cassettes whose test is gone."""
        from pytest_llmops.cassettes.recording_index import RecordingIndex

        return RecordingIndex(self._root, self.is_abandoned)

    def is_abandoned(self, cassette: Path) -> bool:
        """Return whether the test or fixture after which a cassette is named is gone.

        Of a module that was not collected, or a class that was left out, the source decides: what is defined there exists.
        """
        from pytest_llmops.cassettes.naming import CASSETTE_FOLDER, safe_file_name

        if cassette in self._cassettes:
            return False
        home = next((folder for folder in cassette.parents if folder.name == CASSETTE_FOLDER), None)
        names = cassette.relative_to(home).with_suffix("").parts if home is not None else ()
        if home is None or len(names) < 2:  # noqa: PLR2004 -- module and test; without a module it has a name of its own
            return False
        module = next(
            (path for path in home.parent.glob("*.py") if safe_file_name(path.stem) == names[0]), None
        )
        if module is None:
            return True
        first = names[1].partition(".")[0]
        if module in self._modules and first != "fixture" and first not in self._modules[module]:
            return True
        defined = set(map(safe_file_name, _DEFINITION.findall(module.read_text("utf-8", "replace"))))
        return defined.isdisjoint(name.rpartition(".")[2] for name in names[-2:])

    @cached_property
    def _cassettes(self) -> frozenset[Path]:
        # The cassettes of all collected tests and of their fixtures.
        paths: set[Path] = set()
        items = (node for _, nodes in self._children for node in nodes if hasattr(node, "runtest"))
        for item in items:
            paths.update(path for _, path in tapes.recorded_fixtures(item))
            try:
                paths.add(tapes.item_cassette_path(item)[0])
            except UsageError:  # reported by the test itself
                continue
        return frozenset(paths)

    @cached_property
    def _modules(self) -> dict[Path, set[str]]:
        # The collected modules, and the classes of each whose tests are not known, by their folder's name.
        from pytest_llmops.cassettes.naming import safe_file_name, test_name

        expanded = {collector for collector, _ in self._children}
        modules: dict[Path, set[str]] = {}
        for collector, nodes in self._children:
            unknown = modules.setdefault(collector.path, set())
            for node in nodes:
                if not hasattr(node, "runtest") and node not in expanded:
                    unknown |= {test_name((node.name, "")).partition("/")[0], safe_file_name(node.name)}
        return modules
