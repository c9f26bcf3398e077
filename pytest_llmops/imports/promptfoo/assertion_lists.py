"""The lists of assertions of a configuration: sets and references resolved, values filled in for each test."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pytest_llmops._util.text_files import json_kind
from pytest_llmops.imports import templates
from pytest_llmops.imports.foreign_secrets import hide_secrets
from pytest_llmops.imports.promptfoo.reading import MAX_SHOWN, Reading, place_in
from pytest_llmops.imports.source_files import CODE_SUFFIXES, LocatedMap, split_function
from pytest_llmops.imports.suite import Place, SuiteAssertion, SuiteError
from pytest_llmops.measurement import Json, shorten_text

# Types whose value is code, which may have braces of its own
CODE_TYPES = frozenset({"javascript", "python", "ruby", "webhook"})
SET_TYPE = "assert-set"
_TRANSFORMS = ("transform", "contextTransform")
_KEYS_OF_TYPE = ("type", "value")


@dataclass(frozen=True, slots=True)
class ListedAssertion:
    """An assertion of a list, before it is filled in for a test.

    Attributes:
        assertion: It, with its templates.
        has_template: Whether its value or its metric may have templates.
    """

    assertion: SuiteAssertion
    has_template: bool


def read_assertions(
    reading: Reading, value: Json, path: Path, place: Place, *, is_shared: bool = False
) -> tuple[ListedAssertion, ...]:
    """Return the assertions of a list; the assertions of an ``assert-set`` take its place.

    Args:
        reading: The reading of the configuration; it counts them and gets remarks.
        value: The value of ``assert``: a list, null, or ``file://`` and a file with a list.
        path: The file that contains it.
        place: Where it is.
        is_shared: They hold for all tests.
    """
    lists = _ListReader(reading, path, is_shared=is_shared)
    return tuple(lists.read(value, place))


class _ListReader:
    """Reads one list."""

    def __init__(self, reading: Reading, path: Path, *, is_shared: bool) -> None:
        self.reading = reading
        self.is_shared = is_shared
        self.is_external = path != reading.path
        self.count = 0

    def read(self, value: Json, place: Place) -> list[ListedAssertion]:
        """Return the assertions of a list."""
        try:
            if isinstance(value, str):
                value, place = self._read_file(value, place)
        except SuiteError as error:
            return [self._name_obstacle("assert", error.what, error.place)]
        if value is None:
            return []
        items: list[Json] = [value]
        if isinstance(value, list):
            items = value
        listed: list[ListedAssertion] = []
        for index, item in enumerate(items):
            listed += self._read_item(item, place_in(value, index, place))
        return listed

    def _number(self, value: Json, place: Place) -> int:
        """Return the number of the next assertion of the list."""
        self.count += 1
        return self.reading.number_assertion(value, place, self.count)

    def _read_file(self, reference: str, place: Place) -> tuple[Json, Place]:
        """Return the list in a file of assertions, and its place."""
        file = self.reading.folder.find_one(reference, self.reading.path, place)
        if file.suffix in CODE_SUFFIXES:
            what = f"{shorten_text(reference, MAX_SHOWN)}: code makes the assertions, which is not run"
            raise SuiteError(what, place)
        value = self.reading.read_part(file, place)
        self.is_external = True
        return value, self.reading.folder.place(file)

    def _name_obstacle(self, name: str, what: str, place: Place) -> ListedAssertion:
        """Return an assertion that is not one, with the reason."""
        number = self._number(what, place)
        assertion = SuiteAssertion(
            type=name, place=place, number=number, is_shared=self.is_shared, obstacle=what
        )
        return ListedAssertion(assertion, has_template=False)

    def _read_item(
        self, item: Json, place: Place, records_only: str = "", *, in_set: bool = False
    ) -> list[ListedAssertion]:
        """Return the assertions of an item of the list."""
        if not isinstance(item, LocatedMap):
            shown = shorten_text(str(item), MAX_SHOWN)
            what = f"expected an assertion with a type, got {json_kind(item)}: {shown}"
            return [self._name_obstacle("assertion", what, place)]
        kind = item.get("type")
        if not isinstance(kind, str) or not kind.strip():
            keys = shorten_text(", ".join(item), MAX_SHOWN)
            what = f"expected a type, got {json_kind(kind)} (its keys: {keys})"
            return [self._name_obstacle("assertion", what, item.place)]
        kind = kind.strip()
        if kind == SET_TYPE and in_set:
            return [self._name_obstacle(SET_TYPE, "a set within a set", item.place)]
        if kind == SET_TYPE:
            return self._read_set(item)
        return [self._read_assertion(item, kind, records_only)]

    def _read_set(self, item: LocatedMap) -> list[ListedAssertion]:
        """Return the assertions of a set; without a threshold, all of them must pass, as without the set."""
        members = item.get("assert")
        rule = ""
        threshold = item.get("threshold")
        if isinstance(threshold, (int, float)) and not isinstance(threshold, bool):
            rule = f"its set passes with a weighted mean score of {threshold}"
            self.reading.add_remark(
                "not carried",
                item.place,
                f"the threshold {threshold} of an assert-set",
                "the set passes with a weighted mean of the scores; its assertions only record: give each the threshold that it needs",
            )
        if not isinstance(members, list):
            what = f"expected a list of assertions in the set, got {json_kind(members)}"
            return [self._name_obstacle(SET_TYPE, what, item.place)]
        listed: list[ListedAssertion] = []
        for index, member in enumerate(members):
            listed += self._read_item(member, place_in(members, index, item.place), rule, in_set=True)
        return listed

    def _read_assertion(self, item: LocatedMap, kind: str, records_only: str) -> ListedAssertion:
        options = {key: value for key, value in item.items() if key not in _KEYS_OF_TYPE}
        obstacle = ""
        for key in _TRANSFORMS:
            if options.get(key) is not None:
                shown = shorten_text(hide_secrets(str(options[key])), MAX_SHOWN)
                obstacle = f"{key} {shown}: code changes the text that is checked"
        weight = options.get("weight")
        if weight == 0 and not isinstance(weight, bool) and not records_only:
            records_only = "weight: 0"
        value = item.get("value")
        is_code = kind.removeprefix("not-") in CODE_TYPES
        has_template = _has_template(options.get("metric"))
        if not is_code and not obstacle:
            try:
                value, is_text = self._load_files(value, item.place_of("value"))
                has_template = has_template or (is_text and _has_template(value))
            except SuiteError as error:
                obstacle = error.what
        elif is_code and not _names_file(value):
            has_template = has_template or _has_template(value)
        assertion = SuiteAssertion(
            type=kind.removeprefix("not-"),
            negated=kind.startswith("not-"),
            value=value,
            options=options,
            place=item.place,
            number=self._number(item, item.place),
            is_shared=self.is_shared,
            obstacle=obstacle,
            records_only=records_only,
        )
        return ListedAssertion(assertion, has_template)

    def _load_files(self, value: Json, place: Place) -> tuple[Json, bool]:
        """Return a value with the content of the files that it names, and whether it may be a template."""
        if isinstance(value, list):
            items = [self._load_file(item, place)[0] for item in value]
            return items, True
        return self._load_file(value, place)

    def _load_file(self, value: Json, place: Place) -> tuple[Json, bool]:
        """Return the content of a file that a value names, and whether it may be a template.

        In the configuration itself, the text of a file is trimmed and no template; in a file of tests it is taken as it is.
        """
        if not isinstance(value, str) or not _names_file(value):
            return value, True
        path, function = split_function(value)
        if function or Path(path).suffix in CODE_SUFFIXES:
            return value, False
        file = self.reading.folder.find_one(value, self.reading.path, place)
        if file.suffix in (".json", ".yaml", ".yml"):
            return self.reading.read_value(file, place), False
        text = self.reading.read_text(file, place)
        if self.is_external:
            return text, True
        return text.strip(), False


def _names_file(value: Json) -> bool:
    return isinstance(value, str) and value.startswith("file://")


def _has_template(value: Json) -> bool:
    """Return whether a text, or a text of a list, may have something of a template."""
    if isinstance(value, str):
        return templates.has_template(value)
    if isinstance(value, list):
        return any(isinstance(item, str) and templates.has_template(item) for item in value)
    return False


def fill_in(listed: ListedAssertion, variables: Mapping[str, Json], records_only: str = "") -> SuiteAssertion:
    """Return an assertion with its templates filled in for a test.

    Args:
        listed: It.
        variables: The variables of the test.
        records_only: Why no single assertion can fail the test, or "".
    """
    assertion = listed.assertion
    if records_only and not assertion.records_only:
        assertion = replace(assertion, records_only=records_only)
    if not listed.has_template:
        return assertion
    options = dict(assertion.options)
    metric = options.get("metric")
    try:
        if isinstance(metric, str):
            options["metric"] = templates.render(metric, variables)
        return replace(assertion, value=_fill_in_value(assertion.value, variables), options=options)
    except templates.Untranslatable as error:
        if assertion.type in CODE_TYPES:
            return assertion
        shown = ""
        if isinstance(assertion.value, str):
            shown = f" {shorten_text(assertion.value, MAX_SHOWN)}"
        return replace(assertion, obstacle=f"its template{shown} is not filled in: {error.what}")


def _fill_in_value(value: Json, variables: Mapping[str, Json]) -> Json:
    """Return a text or the texts of a list filled in; an object stays as it is, as in promptfoo."""
    if isinstance(value, str):
        return templates.render(value, variables)
    if isinstance(value, list):
        return [templates.render(item, variables) if isinstance(item, str) else item for item in value]
    return value
