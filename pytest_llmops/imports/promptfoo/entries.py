"""Where the tests of a configuration are written: in it, in files of YAML, JSON, JSON lines or CSV, or in scenarios."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pytest_llmops._util.text_files import json_kind
from pytest_llmops.imports.foreign_secrets import hide_secrets
from pytest_llmops.imports.promptfoo.csv_tests import read_csv_tests
from pytest_llmops.imports.promptfoo.reading import MAX_SHOWN, Reading, place_in
from pytest_llmops.imports.source_files import (
    CODE_SUFFIXES,
    LocatedList,
    LocatedMap,
    is_remote,
    split_function,
)
from pytest_llmops.imports.suite import Place, SuiteError
from pytest_llmops.measurement import Json, shorten_text

_VALUE_SUFFIXES = (".yaml", ".yml", ".json", ".jsonl", ".ndjson")


@dataclass(frozen=True, slots=True)
class TestEntry:
    """A test as it is written.

    Attributes:
        values: Its keys.
        path: The file that contains it.
        scenario: The entry of a scenario's ``config`` that it runs with; None: it is in no scenario.
        family: The name of its scenario, or "".
        obstacle: Why it could not be read as a test; "": it could.
        name: Its source, if there is an obstacle.
    """

    values: LocatedMap
    path: Path
    scenario: LocatedMap | None = None
    family: str = ""
    obstacle: str = ""
    name: str = ""


def list_entries(reading: Reading) -> Iterator[TestEntry]:
    """Yield the tests of a configuration, then the tests of its scenarios; one without keys if it has neither.

    A configuration only for red teaming has none: promptfoo makes its tests when it runs.
    """
    config = reading.config
    count = 0
    for entry in _read_tests(reading, config.get("tests"), reading.path, config.place_of("tests")):
        count += 1
        yield entry
    scenarios = config.get("scenarios")
    if scenarios is not None:
        yield from _read_scenarios(reading, scenarios)
    elif not count and "redteam" not in config:
        yield TestEntry(LocatedMap(place=config.place), reading.path)


def _obstacle(reading: Reading, what: str, place: Place, name: str = "") -> TestEntry:
    """Return an entry in place of tests that cannot be read."""
    values = LocatedMap(place=place)
    return TestEntry(values, reading.path, obstacle=what, name=name)


def _read_tests(reading: Reading, value: Json, path: Path, place: Place) -> Iterator[TestEntry]:
    """Yield the tests of a value: a list of tests and references, or one reference."""
    if value is None:
        return
    items: list[Json] = [value]
    if isinstance(value, list):
        items = value
    for index, item in enumerate(items):
        yield from _read_item(reading, item, path, place_in(value, index, place))


def _read_item(reading: Reading, item: Json, path: Path, place: Place) -> Iterator[TestEntry]:
    """Yield the tests of an item: a test, or a reference to a file of tests."""
    try:
        if isinstance(item, LocatedMap) and isinstance(item.get("path"), str):
            yield from _read_reference(reading, str(item["path"]), item.place)
        elif isinstance(item, LocatedMap) and "$ref" in item:
            shown = shorten_text(str(item["$ref"]), MAX_SHOWN)
            yield _obstacle(reading, f"there is nothing at $ref {shown}", item.place)
        elif isinstance(item, LocatedMap):
            yield TestEntry(item, path)
        elif isinstance(item, str):
            yield from _read_reference(reading, item, place)
        else:
            yield _obstacle(reading, f"expected a test, got {json_kind(item)}", place)
    except SuiteError as error:
        name = ""
        if isinstance(item, str):
            name = hide_secrets(item).partition("?")[0]
        yield _obstacle(reading, error.what, error.place, name)


def _read_reference(reading: Reading, reference: str, place: Place) -> Iterator[TestEntry]:
    """Yield the tests of the files that a reference names."""
    shown = shorten_text(reference, MAX_SHOWN)
    path, function = split_function(reference)
    if not is_remote(reference) and (function or Path(path).suffix in CODE_SUFFIXES):
        what = f"{shown}: code makes the tests, which is not run: write its tests into a case file"
        yield _obstacle(reading, what, place, path)
        return
    files = reading.folder.find(reference, reading.path, place)
    if not files:
        yield _obstacle(reading, f"{shown} names no file", place, path)
    for file in files:
        is_empty = True
        for entry in _read_file(reading, file, place):
            is_empty = False
            yield entry
        if is_empty:
            reading.add_remark("left out", place, reading.folder.place(file).file, "it has no tests")


def _read_file(reading: Reading, file: Path, place: Place) -> Iterator[TestEntry]:
    """Yield the tests of a file."""
    shown = reading.folder.place(file).file
    if file.suffix in CODE_SUFFIXES:
        yield _obstacle(
            reading,
            f"{shown}: code makes the tests, which is not run: write its tests into a case file",
            place,
            shown,
        )
        return
    try:
        with reading.folder.entering(file, place):
            if file.suffix == ".csv":
                value: Json = read_csv_tests(reading.read_text(file, place), shown)
            elif file.suffix in _VALUE_SUFFIXES:
                value = reading.read_part(file, place)
            else:
                reading.read_text(file, place)  # the error for a spreadsheet or a folder is more specific
                yield _obstacle(
                    reading, f"{shown}: expected tests in YAML, JSON, JSON lines or CSV", place, shown
                )
                return
            yield from _read_tests(reading, value, file, reading.folder.place(file))
    except SuiteError as error:
        yield _obstacle(reading, error.what, error.place, shown)


def _read_scenarios(reading: Reading, value: Json) -> Iterator[TestEntry]:
    """Yield the tests of all scenarios: each test with each entry of ``config``."""
    place = reading.config.place_of("scenarios")
    number = 0
    for path, item, item_place in _load_items(reading, value, reading.path, place):
        if isinstance(item, SuiteError):
            yield _obstacle(reading, item.what, item.place)
            continue
        if not isinstance(item, LocatedMap):
            yield _obstacle(reading, f"expected a scenario, got {json_kind(item)}", item_place)
            continue
        number += 1
        yield from _read_scenario(reading, item, path, number)


def _read_scenario(reading: Reading, scenario: LocatedMap, path: Path, number: int) -> Iterator[TestEntry]:
    """Yield the tests of a scenario."""
    family = str(scenario.get("description") or f"scenario {number}")
    tests = list(_read_tests(reading, scenario.get("tests"), path, scenario.place_of("tests")))
    if not tests:
        reading.add_remark(
            "left out", scenario.place, f"the scenario {shorten_text(family, MAX_SHOWN)!r}", "it has no tests"
        )
    for _, item, place in _load_items(reading, scenario.get("config"), path, scenario.place_of("config")):
        if isinstance(item, SuiteError):
            yield _obstacle(reading, item.what, item.place)
            continue
        if not isinstance(item, LocatedMap):
            yield _obstacle(
                reading, f"expected variables and assertions in config, got {json_kind(item)}", place
            )
            continue
        for entry in tests:
            yield TestEntry(entry.values, entry.path, item, family, entry.obstacle)


def _load_items(
    reading: Reading, value: Json, path: Path, place: Place, depth: int = 0
) -> Iterator[tuple[Path, Json | SuiteError, Place]]:
    """Yield the items of a list and of the files that it names, each with the file that it is in; or why there is none."""
    if isinstance(value, str) and depth:
        yield path, SuiteError("a file that names further files: expected the items themselves", place), place
        return
    if isinstance(value, str):
        try:
            for file in reading.folder.find(value, reading.path, place):
                loaded = reading.read_part(file, place)
                yield from _load_items(reading, loaded, file, reading.folder.place(file), depth + 1)
        except SuiteError as error:
            yield path, error, error.place
        return
    if value is None:
        return
    if not isinstance(value, LocatedList):
        yield path, value, place
        return
    for index, item in enumerate(value):
        item_place = value.place_of(index)
        if isinstance(item, (str, list)):
            yield from _load_items(reading, item, path, item_place, depth)
        else:
            yield path, item, item_place
