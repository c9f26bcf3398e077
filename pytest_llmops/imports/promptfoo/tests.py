"""The tests of a promptfoo configuration: defaults merged, products expanded, templates filled in; nothing of it is run."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path

from pytest_llmops._util.text_files import json_kind
from pytest_llmops.imports import templates
from pytest_llmops.imports.promptfoo.assertion_lists import ListedAssertion, fill_in, read_assertions
from pytest_llmops.imports.promptfoo.case_ids import IdMaker, join_names, name_choice, name_test
from pytest_llmops.imports.promptfoo.entries import TestEntry, list_entries
from pytest_llmops.imports.promptfoo.options import (
    add_test_remarks,
    find_obstacle,
    find_rule,
    find_transform,
    read_repeat,
    read_tags,
)
from pytest_llmops.imports.promptfoo.reading import Reading
from pytest_llmops.imports.promptfoo.variables import Combination, expand, read_variables
from pytest_llmops.imports.source_files import LocatedMap, SourceFolder, split_function
from pytest_llmops.imports.suite import Remark, SuiteAssertion, SuiteError, SuiteTest
from pytest_llmops.measurement import Json, shorten_text

MAX_TESTS = 100_000
MAX_CHARS = 50_000_000  # of the variables and the values of assertions of all tests, filled in
TOO_LARGE = (
    f"with it the suite has more than {MAX_TESTS:,} tests, or {MAX_CHARS / 1_000_000:.0f} million characters "
    "of values filled in: import a part of the suite"
)


@dataclass(frozen=True, slots=True)
class TestsRead:
    """The tests of a configuration.

    Attributes:
        tests: The tests, in order. One that cannot be read has an obstacle.
        remarks: Parts that are not carried, besides the obstacles of tests and assertions.
        assertion_count: The assertions in the files, each counted once where it is written.
        transform: Code that changes each answer before it is checked, the same for all tests, so that it belongs to the application;
            "": none. A transform that only some tests have is their obstacle.
    """

    tests: tuple[SuiteTest, ...]
    remarks: tuple[Remark, ...]
    assertion_count: int
    transform: str = ""


@dataclass(frozen=True, slots=True)
class _Defaults:
    """What ``defaultTest`` gives all tests.

    Attributes:
        values: Its keys.
        variables: Its variables.
        assertions: Its assertions.
        obstacle: Why it cannot be read, which concerns all tests; "": it can.
    """

    values: LocatedMap
    variables: LocatedMap
    assertions: tuple[ListedAssertion, ...]
    obstacle: str = ""


@dataclass(frozen=True, slots=True)
class _Merged:
    """A test with the values from the defaults and its scenario."""

    values: LocatedMap
    variables: LocatedMap
    options: LocatedMap
    metadata: LocatedMap
    assertions: tuple[ListedAssertion, ...]
    family: str
    scenario: str = ""


def read_tests(config: LocatedMap, folder: SourceFolder, path: Path) -> TestsRead:
    """Return the tests of a configuration. It raises nothing: a part that cannot be read is named by its test or in a remark.

    Args:
        config: The configuration.
        folder: The folder that it is read from.
        path: Its file.
    """
    reader = _TestReader(Reading(folder, path, config))
    tests = reader.add_unused_defaults(tuple(reader.read()))
    transform = ""
    if len(reader.transforms) == 1 and not any(test.output for test in tests):
        transform, why = reader.transforms.pop()
        tests = tuple(replace(test, obstacle=test.obstacle.removeprefix(why)) for test in tests)
    reading = reader.reading
    return TestsRead(tests, tuple(reading.remarks), reading.assertion_count, transform)


class _TestReader:
    """Reads the tests of one configuration."""

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.ids = IdMaker()
        self.count = 0
        self.chars = 0
        self.is_full = False
        self.lists: dict[int, tuple[LocatedMap, tuple[ListedAssertion, ...]]] = {}
        self.stored: set[str] = set()
        self.unread: set[str] = set()  # ids of tests in place of parts that cannot be read
        self.transforms: set[tuple[str, str]] = set()
        self.defaults = self._read_defaults()

    def _read_defaults(self) -> _Defaults:
        """Return ``defaultTest``: an object, or a file with one."""
        config = self.reading.config
        place = config.place_of("defaultTest")
        empty = LocatedMap(place=place)
        try:
            path = self.reading.path
            value = config.get("defaultTest")
            if isinstance(value, str):
                path = self.reading.folder.find_one(value, path, place)
                value = self.reading.read_part(path, place)
            if value is None:
                value = empty
            if not isinstance(value, LocatedMap):
                what = f"defaultTest: expected an object, got {json_kind(value)}"
                return _Defaults(empty, empty, (), what)
            variables = read_variables(self.reading, value.get("vars"), path, value.place_of("vars"))
        except SuiteError as error:
            return _Defaults(empty, empty, (), f"defaultTest cannot be read ({error.place}): {error.what}")
        assertions = read_assertions(
            self.reading, value.get("assert"), path, value.place_of("assert"), is_shared=True
        )
        return _Defaults(value, variables, assertions)

    def read(self) -> Iterator[SuiteTest]:
        """Yield the tests."""
        for entry in list_entries(self.reading):
            self.count += 1
            if entry.obstacle:
                yield self._name_obstacle(entry)
                continue
            if self.is_full:
                yield self._name_obstacle(entry, TOO_LARGE)
                continue
            try:
                yield from self._read_entry(entry)
            except SuiteError as error:
                yield self._name_obstacle(entry, f"{error.what} ({error.place})")

    def _name_obstacle(self, entry: TestEntry, obstacle: str = "") -> SuiteTest:
        """Return the test in place of one that cannot be read, or for a whole file of them."""
        description = _describe(entry.values)
        obstacle = obstacle or entry.obstacle
        name = name_test(description, [Path(split_function(entry.name)[0]).name])
        test_id = self.ids.make(name or f"test-{self.count}", obstacle)
        self.unread.add(test_id)
        return SuiteTest(
            id=test_id,
            description=description,
            assertions=self._fill_in_defaults(self._read_list(entry.values, entry)),
            family=entry.family,
            obstacle=obstacle,
            place=entry.values.place,
        )

    def add_unused_defaults(self, tests: tuple[SuiteTest, ...]) -> tuple[SuiteTest, ...]:
        """Return tests of which the first that cannot be read has the assertions of ``defaultTest``, if no other test has them."""
        if any(assertion.is_shared for test in tests for assertion in test.assertions):
            return tests
        for number, test in enumerate(tests):
            if test.id in self.unread:
                shared = self._fill_in_defaults(self.defaults.assertions)
                changed = replace(test, assertions=shared + test.assertions)
                return (*tests[:number], changed, *tests[number + 1 :])
        return tests

    def _fill_in_defaults(self, assertions: tuple[ListedAssertion, ...]) -> tuple[SuiteAssertion, ...]:
        """Return the assertions of a test that has only the variables of ``defaultTest``."""
        return tuple(fill_in(listed, self.defaults.variables, "") for listed in assertions)

    def _read_entry(self, entry: TestEntry) -> Iterator[SuiteTest]:
        """Yield the tests of an entry, one for each combination of its variables.

        Raises:
            SuiteError: Its variables cannot be read.
        """
        merged = self._merge(entry)
        add_test_remarks(self.reading, merged.values, merged.options, self.defaults.values)
        transform, why = find_transform(merged.options)
        self.transforms.add((transform, why))
        obstacle = self.defaults.obstacle or find_obstacle(merged.options)
        rule = find_rule(self.reading, merged.values)
        try:
            expands = merged.options.get("disableVarExpansion") is not True
            combinations = expand(self.reading, merged.variables, expands=expands)
            begin = list(islice(combinations, 2))
        except SuiteError as error:
            obstacle = obstacle or f"{error.what} ({error.place})"
            combinations = iter(())
            begin = [Combination(merged.variables, merged.variables)]
        base = self._name(merged, begin[0])
        if len(begin) > 1 and not merged.family:
            merged = replace(merged, family=base)
        self.count -= 1
        for combination in chain(begin, combinations):
            self.count += 1
            self._count(combination.values.values())
            if self.is_full:
                yield self._name_obstacle(entry, TOO_LARGE)
                return
            name = base
            if combination.varied:
                name = join_names(base, name_choice(combination.values, combination.varied))
            reason = obstacle or combination.obstacle or self._find_stored(combination) or why
            yield self._make_test(merged, combination, name, rule, reason)
        stored = merged.options.get("storeOutputAs")
        if isinstance(stored, str):
            self.stored.add(stored)

    def _name(self, merged: _Merged, combination: Combination) -> str:
        """Return the id of a test, before the values of its lists are added."""
        texts: list[str] = []
        for name, value in merged.variables.items():
            filled = combination.values[name]
            if isinstance(value, str) and value.startswith("file://"):
                texts.append(Path(split_function(value)[0]).stem)
            elif isinstance(filled, str) and name not in combination.varied:
                texts.append(filled)
        base = name_test(_describe(merged.values), texts) or f"test-{self.count}"
        return join_names(base, merged.scenario)

    def _make_test(
        self, merged: _Merged, combination: Combination, name: str, rule: str, obstacle: str
    ) -> SuiteTest:
        """Return the test of a combination."""
        assertions = tuple(fill_in(listed, combination.checked, rule) for listed in merged.assertions)
        self._count(assertion.value for assertion in assertions)
        output = merged.values.get("providerOutput") or None
        if output is not None and not isinstance(output, str):
            output = templates.write_json(output)
        variables = dict(combination.values)
        return SuiteTest(
            id=self.ids.make(name, variables),
            description=_describe(merged.values),
            variables=variables,
            assertions=assertions,
            output=output,
            tags=read_tags(merged.values, merged.metadata),
            family=merged.family,
            repeat=read_repeat(merged.options),
            obstacle=obstacle,
            place=merged.values.place,
        )

    def _count(self, values: Iterable[Json]) -> None:
        """Count the tests and the characters of values, and note when there are too many."""
        self.chars += sum(map(_count_chars, values))
        self.is_full = self.is_full or self.chars > MAX_CHARS or self.count > MAX_TESTS

    def _find_stored(self, combination: Combination) -> str:
        """Return the obstacle of a test that uses the answer of an earlier one, or ""."""
        for name, value in combination.values.items():
            for stored in self.stored:
                if isinstance(value, str) and f"{{{{{stored}}}}}" in value.replace(" ", ""):
                    return (
                        f"its variable {shorten_text(name, 60)} uses the answer of an earlier test ({stored})"
                    )
        return ""

    def _merge(self, entry: TestEntry) -> _Merged:
        """Return a test with the values from the defaults and its scenario.

        Raises:
            SuiteError: Its variables cannot be read.
        """
        values = entry.values
        variables = read_variables(self.reading, values.get("vars"), entry.path, values.place_of("vars"))
        sources = [self.defaults.values]
        scenario_variables = LocatedMap(place=values.place)
        own: tuple[ListedAssertion, ...] = ()
        if entry.scenario is not None:
            sources.append(entry.scenario)
            scenario_variables = read_variables(
                self.reading, entry.scenario.get("vars"), entry.path, entry.scenario.place
            )
            own = self._read_list(entry.scenario, entry)
        own += self._read_list(values, entry)
        sources.append(values)
        options = _join_maps([_map_of(source, "options") for source in sources])
        metadata = _join_maps([_map_of(source, "metadata") for source in sources])
        if _map_of(values, "options").get("disableDefaultAsserts") is not True:
            own = self.defaults.assertions + own
        kept = [_drop_nulls(source) for source in sources[:-1]]
        inherited = _join_maps(
            [_keep_inherited(kept[0], is_scenario=entry.scenario is not None), *kept[1:], values]
        )
        if inherited.get("threshold") is None and "threshold" in self.defaults.values:
            inherited["threshold"] = self.defaults.values["threshold"]
        return _Merged(
            inherited,
            _join_maps([self.defaults.variables, scenario_variables, variables]),
            options,
            metadata,
            own,
            entry.family,
            _name_scenario(entry.scenario, scenario_variables),
        )

    def _read_list(self, source: LocatedMap, entry: TestEntry) -> tuple[ListedAssertion, ...]:
        """Return the assertions of a test or of an entry of a scenario, read once."""
        value = source.get("assert")
        if value is None:
            return ()
        known = self.lists.get(id(source))
        if known is None:
            listed = read_assertions(self.reading, value, entry.path, source.place_of("assert"))
            known = (source, listed)  # the source is kept, so that no other has its id
            self.lists[id(source)] = known
        return known[1]


# Keys of `defaultTest` that tests have without a scenario, too, besides those that are merged
_INHERITED = ("threshold", "prompts", "provider", "providers", "assertScoringFunction")


def _keep_inherited(defaults: LocatedMap, *, is_scenario: bool) -> LocatedMap:
    """Return the keys of ``defaultTest`` that a test has if it has none of its own."""
    names = [name for name in defaults if is_scenario or name in _INHERITED]
    places = {name: defaults.place_of(name) for name in names}
    return LocatedMap({name: defaults[name] for name in names}, place=defaults.place, places=places)


def _drop_nulls(values: LocatedMap) -> LocatedMap:
    """Return an object without keys that are null."""
    kept = {name: value for name, value in values.items() if value is not None}
    return LocatedMap(kept, place=values.place, places=values.places)


def _map_of(values: LocatedMap, name: str) -> LocatedMap:
    """Return an object in a test; an empty one if it is something else."""
    value = values.get(name)
    if isinstance(value, LocatedMap):
        return value
    return LocatedMap(place=values.place)


def _join_maps(maps: Sequence[LocatedMap]) -> LocatedMap:
    """Return the keys of objects, of which later ones win; the place is the place of the last."""
    joined = LocatedMap(place=maps[-1].place)
    for values in maps:
        joined.update(values)
        joined.places.update({name: values.place_of(name) for name in values})
    return joined


def _count_chars(value: Json) -> int:
    """Return how many characters the texts of a value have, and one for each other part."""
    chars = 0
    pending = [value]
    while pending:
        part = pending.pop()
        chars += 1
        if isinstance(part, str):
            chars += len(part)
        elif isinstance(part, dict):
            chars += sum(map(len, part))
            pending += part.values()
        elif isinstance(part, list):
            pending += part
    return chars


def _describe(values: LocatedMap) -> str:
    """Return the description of a test, in one line."""
    description = values.get("description")
    if not isinstance(description, (str, int, float)):
        return ""
    return " ".join(str(description).split())


def _name_scenario(scenario: LocatedMap | None, variables: LocatedMap) -> str:
    """Return a name for an entry of a scenario: of its description, else of its first text; "" without a scenario."""
    if scenario is None:
        return ""
    return name_test(_describe(scenario), [value for value in variables.values() if isinstance(value, str)])
