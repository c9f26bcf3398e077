"""What the readers of one configuration share: its folder, the files that were read, and the remarks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pytest_llmops.imports.source_files import LocatedList, LocatedMap, SourceFolder
from pytest_llmops.imports.suite import Place, Remark, RemarkKind, SuiteError
from pytest_llmops.measurement import Json, shorten_text

MAX_REFERENCES = 20  # that lead to one another
MAX_SHOWN = 80  # characters of a text of the suite in a message


@dataclass(frozen=True, slots=True)
class Origin:
    """The file that a value stands in.

    Attributes:
        root: The value of the whole file, in which ``$ref`` looks.
        path: The file.
    """

    root: Json
    path: Path


@dataclass(slots=True)
class Reading:
    """The reading of the tests of one configuration.

    Attributes:
        folder: Its folder.
        path: Its file: paths of variables and values are relative to it, wherever they stand.
        config: What is in it.
        remarks: What cannot be carried.
        assertion_count: The assertions so far, each counted where it is written.
        files: The files that were read, so that each is read once.
    """

    folder: SourceFolder
    path: Path
    config: LocatedMap
    remarks: dict[Remark, None] = field(default_factory=dict)
    assertion_count: int = 0
    files: dict[tuple[Path, bool], Json] = field(default_factory=dict)

    def add_remark(self, kind: RemarkKind, place: Place, what: str, why: str) -> None:
        """Remember what cannot be carried; the same remark once."""
        self.remarks.setdefault(Remark(kind, place, what, why))

    def read_value(self, path: Path, place: Place) -> Json:
        """Return the value of a YAML or JSON file.

        Raises:
            SuiteError: It cannot be read.
        """
        key = (path, True)
        if key not in self.files:
            self.files[key] = self.folder.read_value(path, place)
        return self.files[key]

    def read_text(self, path: Path, place: Place) -> str:
        """Return the text of a file.

        Raises:
            SuiteError: It cannot be read.
        """
        key = (path, False)
        if key not in self.files:
            self.files[key] = self.folder.read_text(path, place)
        return str(self.files[key])

    @property
    def origin(self) -> Origin:
        """The configuration as the file that a value stands in."""
        return Origin(self.config, self.path)

    def follow(self, value: Json, origin: Origin) -> Json:
        """Return what a ``$ref`` leads to, with the other keys beside it; any other value as it is.

        Args:
            value: The value.
            origin: The file that it stands in.

        Raises:
            SuiteError: There is nothing at the reference, or it leads to itself.
        """
        others: dict[str, Json] = {}
        places: dict[str, Place] = {}
        for _ in range(MAX_REFERENCES):
            if not isinstance(value, LocatedMap) or not isinstance(value.get("$ref"), str):
                if not others or not isinstance(value, LocatedMap):
                    return value
                return LocatedMap({**value, **others}, place=value.place, places={**value.places, **places})
            others = {**{key: item for key, item in value.items() if key != "$ref"}, **others}
            places = {**value.places, **places}
            origin, value = self._find_reference(str(value["$ref"]), origin, value.place)
        raise SuiteError("a $ref that leads to itself", self.folder.place(origin.path))

    def _find_reference(self, reference: str, origin: Origin, place: Place) -> tuple[Origin, Json]:
        """Return the file that a reference leads to, and the value."""
        file, _, pointer = reference.partition("#")
        if file:
            path = self.folder.find_one(file, self.path, place)
            origin = Origin(self.read_value(path, place), path)
        value = origin.root
        for step in pointer.split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            if isinstance(value, Mapping) and name in value:
                value = value[name]
            elif isinstance(value, list) and name.isdecimal() and int(name[:9]) < len(value):
                value = value[int(name)]
            else:
                raise SuiteError(
                    f"$ref {shorten_text(reference, MAX_SHOWN)}: there is no {shorten_text(name, MAX_SHOWN)!r}",
                    place,
                )
        return origin, value


def place_in(container: Json, key: str | int, default: Place) -> Place:
    """Return the place of a key of an object or an item of a list."""
    if isinstance(container, LocatedMap) and isinstance(key, str):
        return container.place_of(key)
    if isinstance(container, LocatedList) and isinstance(key, int):
        return container.place_of(key)
    return default
