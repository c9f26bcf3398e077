"""The state that the readers of one configuration share: its folder, the files that were read, and the remarks."""

from dataclasses import dataclass, field
from pathlib import Path

from pytest_llmops._util.text_files import canonical_json
from pytest_llmops.imports.source_files import LocatedList, LocatedMap, SourceFolder
from pytest_llmops.imports.source_references import resolve_references
from pytest_llmops.imports.suite import Place, Remark, RemarkKind
from pytest_llmops.measurement import Json

MAX_SHOWN = 80  # characters of a text of the suite in a message


@dataclass(slots=True)
class Reading:
    """The reading of the tests of one configuration.

    Attributes:
        folder: Its folder.
        path: Its file: paths of variables and values are relative to it, also in other files.
        config: Its content, without references (``$ref``).
        remarks: Parts that cannot be carried.
        assertions: A number for each assertion so far, by its place, its index and its content.
        files: The files that were read, so that each is read once.
    """

    folder: SourceFolder
    path: Path
    config: LocatedMap
    remarks: dict[Remark, None] = field(default_factory=dict)
    assertions: dict[tuple[Place, int, str], int] = field(default_factory=dict)
    files: dict[tuple[Path, str], Json] = field(default_factory=dict)

    @property
    def assertion_count(self) -> int:
        """The assertions so far, each counted once where it is written."""
        return len(self.assertions)

    def number_assertion(self, value: Json, place: Place, index: int) -> int:
        """Return the number of an assertion; one that several tests share by an anchor or a reference has one number."""
        key = (place, index, canonical_json(value))
        return self.assertions.setdefault(key, len(self.assertions) + 1)

    def add_remark(self, kind: RemarkKind, place: Place, what: str, why: str) -> None:
        """Add a remark on a part that cannot be carried, but no remark twice."""
        self.remarks.setdefault(Remark(kind, place, what, why))

    def read_part(self, path: Path, place: Place) -> Json:
        """Return the value of a YAML or JSON file that is a part of the configuration, without its references (``$ref``).

        Raises:
            SuiteError: It cannot be read.
        """
        key = (path, "part")
        if key not in self.files:
            value = self.read_value(path, place)
            # Other files in references are relative to the configuration
            self.files[key], remarks = resolve_references(value, self.folder, self.path)
            self.remarks.update(dict.fromkeys(remarks))
        return self.files[key]

    def read_value(self, path: Path, place: Place) -> Json:
        """Return the value of a YAML or JSON file as it is.

        Raises:
            SuiteError: It cannot be read.
        """
        key = (path, "value")
        if key not in self.files:
            self.files[key] = self.folder.read_value(path, place)
        return self.files[key]

    def read_text(self, path: Path, place: Place) -> str:
        """Return the text of a file.

        Raises:
            SuiteError: It cannot be read.
        """
        key = (path, "text")
        if key not in self.files:
            self.files[key] = self.folder.read_text(path, place)
        return str(self.files[key])


def place_in(container: Json, key: str | int, default: Place) -> Place:
    """Return the place of a key of an object or an item of a list."""
    if isinstance(container, LocatedMap) and isinstance(key, str):
        return container.place_of(key)
    if isinstance(container, LocatedList) and isinstance(key, int):
        return container.place_of(key)
    return default
