"""Recordings of tests that were renamed or moved: an index by key over all cassettes of a project, and the move itself."""

import contextlib
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import chain
from pathlib import Path

from pytest_llmops.cassettes import naming, store
from pytest_llmops.cassettes.request_key import MatchRules
from pytest_llmops.errors import CassetteError, refuse
from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.wire.stream_events import count_shared_start

_KEY = re.compile(rb'"key": ?"([^"\\]{1,64})"')
_SKIPPED_FOLDERS = frozenset({"node_modules", "site-packages", "__pycache__", "build", "dist"})


@dataclass(frozen=True, slots=True)
class MovedRecording:
    """A recording that lies where a test that is gone would have it.

    Attributes:
        places: The cassettes that hold it.
        interaction: The recording; None: the cassettes hold different answers, and none of them is chosen.
    """

    places: tuple[Path, ...]
    interaction: store.Interaction | None


@dataclass(eq=False)
class RecordingIndex:
    """Finds recordings by key in the cassettes of tests that are gone. Built at the first search.

    Args:
        root: The root folder of the project.
        is_abandoned: Returns whether the test or fixture after which a cassette is named is gone.

    Attributes:
        serverless_keys: The keys of all these recordings by their keys without the server, under the rules that were needed.
    """

    root: Path
    is_abandoned: Callable[[Path], bool]
    serverless_keys: dict[MatchRules, dict[str, list[str]]] = field(default_factory=dict)
    _loaded: dict[Path, dict[str, store.Interaction]] = field(default_factory=dict)

    def find_recording(self, key: str, place: Path) -> MovedRecording | None:
        """Return the recording of a request in a cassette that belongs to no test any more, or None.

        Of several cassettes the ones count whose path is the most similar to the given one. A cassette that tests share
        by its name is not looked at: its users are not known.

        Args:
            key: The key of the request.
            place: The cassette that does not have it.
        """
        found: dict[Path, store.Interaction] = {}
        for path in self._places.get(key, ()):
            if path != place and self.is_abandoned(path):
                interaction = self._load(path).get(key)
                if interaction is not None:
                    found[path] = interaction
        if not found:
            return None
        best = max(_count_shared_parts(path, place) for path in found)
        nearest = {path: entry for path, entry in found.items() if _count_shared_parts(path, place) == best}
        first, *others = nearest.values()
        return MovedRecording(
            tuple(nearest), first if all(entry.answers == first.answers for entry in others) else None
        )

    def iter_abandoned(self) -> Iterator[store.Interaction]:
        """Yield all recordings in cassettes that belong to no test any more."""
        for path in set(chain.from_iterable(self._places.values())):
            if self.is_abandoned(path):
                yield from self._load(path).values()

    @cached_property
    def _places(self) -> dict[str, list[Path]]:
        places: dict[str, list[Path]] = {}
        for folder, files in walk_folders(self.root):
            if naming.CASSETTE_FOLDER in folder.relative_to(self.root).parts:
                for path in sorted(folder / name for name in files if name.endswith(".json")):
                    with contextlib.suppress(OSError):
                        for key in dict.fromkeys(_KEY.findall(path.read_bytes())):
                            places.setdefault(key.decode("utf-8", "replace"), []).append(path)
        return places

    def _load(self, path: Path) -> dict[str, store.Interaction]:
        # Return the recordings of a cassette, without those that tests share by its name.
        if path not in self._loaded:
            self._loaded[path] = {}
            with contextlib.suppress(CassetteError):  # damaged: `llmops cassettes check` reports it
                self._loaded[path] = {
                    key: interaction
                    for key, interaction in store.load_cassette(path).items()
                    if path.name.startswith("fixture.") or not interaction.by.rpartition("#")[0]
                }
        return self._loaded[path]


def _count_shared_parts(path: Path, other: Path) -> int:
    """Return how many parts two paths have in common, from their start and from their end.

    >>> _count_shared_parts(Path("cassettes/test_a/test_x.json"), Path("cassettes/test_b/test_x.json"))
    2
    """
    return count_shared_start(path.parts, other.parts) + count_shared_start(
        path.parts[::-1], other.parts[::-1]
    )


def walk_folders(
    start: Path, report_folder: Callable[[OSError], None] | None = None
) -> Iterator[tuple[Path, list[str]]]:
    """Yield the folders of a project with the names of their files, without environments and hidden folders.

    Args:
        start: The first folder.
        report_folder: Called with the error of a folder that cannot be read.
    """
    for folder, below, files in os.walk(start, onerror=report_folder):
        below[:] = sorted(
            name
            for name in below
            if not name.startswith(".")
            and name not in _SKIPPED_FOLDERS
            and not os.path.exists(f"{folder}/{name}/pyvenv.cfg")  # noqa: PTH110
        )
        yield Path(folder), files


def move_cassette(old: Path, places: Iterable[Path], redactor: Redactor) -> int:
    """Move the recordings of a cassette, and return how many; those that are in the new place already stay.

    Args:
        old: The cassette, which is removed.
        places: Its new place, or several: each gets all recordings.
        redactor: Knows the secrets: a file with a secret is not written.

    Raises:
        CassetteError: A cassette is damaged, or cannot be written; nothing is lost.
    """
    moved = store.load_cassette(old)
    refuse(not moved, CassetteError(f"cassette {old}: expected recordings to move, found none"))
    for new in places:
        refuse(
            new.resolve() == old.resolve(),
            CassetteError(f"cassette {old}: expected another place to move it to, got the same"),
        )
        days = [day for path in (old, new) if (day := store.read_recording_day(path))]
        store.rewrite_cassette(new, partial(_merge_into, new, moved), redactor, max(days, default=""))
    store.rewrite_cassette(old, lambda: None, redactor, "")
    return len(moved)


def _merge_into(new: Path, moved: dict[str, store.Interaction]) -> Iterable[store.Interaction]:
    return (moved | store.load_cassette(new)).values()
