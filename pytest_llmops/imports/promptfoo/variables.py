"""The variables of a test: files loaded, lists expanded into their product, templates filled in."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from pytest_llmops._util.text_files import json_kind
from pytest_llmops.imports import templates
from pytest_llmops.imports.promptfoo.reading import MAX_SHOWN, Reading
from pytest_llmops.imports.source_files import CODE_SUFFIXES, LocatedMap, split_function
from pytest_llmops.imports.suite import Place, SuiteError
from pytest_llmops.measurement import Json, shorten_text

MAX_COMBINATIONS = 10_000  # of the lists of one test
MAX_ROUNDS = 5  # of names of variables in values of variables
MAX_CHARS = 1_000_000  # of a value that is filled in
_NAME = re.compile(r"\{\{\s*(\w+)\s*\}\}", re.ASCII)
_USED_NAME = re.compile(
    r"\{\{\s*([A-Za-z_]\w{0,200})[^{}\s|]{0,500}\s*(?:\|[^}]{1,500})?\}\}|\{%\s*(?:if|for)\s+([A-Za-z_]\w*)",
    re.ASCII,
)
_FOR = re.compile(r"\{%\s*for\s+(\w+)\s+in\s+(\w+)\s*%\}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Combination:
    """One set of variables of a test.

    Attributes:
        values: The values as the prompt gets them.
        checked: The values as the assertions get them, in which only names are filled in.
        varied: The names whose value differs between the combinations of the test.
        obstacle: Why a value differs from the suite's (no such file, code makes it); "": none differs.
    """

    values: Mapping[str, Json]
    checked: Mapping[str, Json]
    varied: tuple[str, ...] = ()
    obstacle: str = ""


@dataclass(frozen=True, slots=True)
class _Choice:
    """A value that a variable may have, and why it is not the one that the suite has, or ""."""

    value: Json
    obstacle: str = ""


def read_variables(reading: Reading, value: Json, path: Path, place: Place) -> LocatedMap:
    """Return the variables of a test; a text or a list of texts names the YAML or JSON files that they are in.

    Raises:
        SuiteError: They are something else, or a file cannot be read.
    """
    if value is None:
        return LocatedMap(place=place)
    if isinstance(value, LocatedMap):
        return value
    references: list[Json] = [value]
    if isinstance(value, list):
        references = value
    variables = LocatedMap(place=place)
    for reference in references:
        if not isinstance(reference, str):
            raise SuiteError(
                f"vars: expected names with values, or a file, got {json_kind(reference)}", place
            )
        for file in reading.folder.find(reference, path, place):
            loaded = reading.read_part(file, place)
            if not isinstance(loaded, LocatedMap):
                what = f"vars: expected names with values in {reading.folder.place(file)}, got {json_kind(loaded)}"
                raise SuiteError(what, place)
            variables.update(loaded)
            variables.places.update(loaded.places)
    return variables


def expand(reading: Reading, variables: LocatedMap, *, expands: bool = True) -> Iterator[Combination]:
    """Yield the combinations of a test: the first variable changes slowest. Values that cannot be had stay as they are written.

    Args:
        reading: The reading of the configuration.
        variables: The variables, first from ``defaultTest``.
        expands: Whether a list whose first item is a text means one test for each item.

    Raises:
        SuiteError: There are more than 10,000.
    """
    choices = {
        name: _list_choices(reading, name, value, variables.place_of(name), expands=expands)
        for name, value in variables.items()
    }
    count = math.prod(len(values) for values in choices.values())
    if count > MAX_COMBINATIONS:
        sizes = " x ".join(str(len(values)) for values in choices.values() if len(values) > 1)
        what = f"the lists of its variables make {count:,} tests ({sizes}): expected at most {MAX_COMBINATIONS:,}"
        raise SuiteError(what, variables.place)
    varied = tuple(name for name, values in choices.items() if len(values) > 1)
    for chosen in product(*choices.values()):
        values = {name: choice.value for name, choice in zip(choices, chosen, strict=True)}
        obstacles = [choice.obstacle for choice in chosen if choice.obstacle]
        yield _fill_in(Combination(values, {}, varied, "".join(obstacles[:1])))


def _list_choices(reading: Reading, name: str, value: Json, place: Place, *, expands: bool) -> list[_Choice]:
    """Return the values that a variable has in turn."""
    items = [value]
    if expands and isinstance(value, list) and value and isinstance(value[0], str):
        items = value
    choices: list[_Choice] = []
    for item in items:
        if not isinstance(item, str):
            choices.append(_Choice(item))
            continue
        try:
            choices += [_Choice(text) for text in _load(reading, item, place)]
        except SuiteError as error:
            choices.append(
                _Choice(item, f"the variable {shorten_text(name, 60)}: {error.what} ({error.place})")
            )
    return choices


def _load(reading: Reading, value: str, place: Place) -> list[Json]:
    """Return the texts of the files that a value names; or only the value if it names none.

    The text of a file is trimmed; YAML becomes JSON text, as the prompt gets it.

    Raises:
        SuiteError: Code makes the value, or a file cannot be read.
    """
    if value.startswith("package:"):
        raise SuiteError(f"{shorten_text(value, MAX_SHOWN)}: code makes the value, which is not run", place)
    if not value.startswith("file://"):
        return [value]
    path, function = split_function(value)
    if function or Path(path).suffix in CODE_SUFFIXES:
        raise SuiteError(f"{shorten_text(value, MAX_SHOWN)}: code makes the value, which is not run", place)
    texts: list[Json] = []
    for file in reading.folder.find(value, reading.path, place):
        if file.suffix in (".yaml", ".yml"):
            texts.append(templates.write_json(reading.read_value(file, place)))
        else:
            texts.append(reading.read_text(file, place).strip())
    if not texts:
        raise SuiteError(f"{shorten_text(value, MAX_SHOWN)} names no file", place)
    return texts


def _fill_in(raw: Combination) -> Combination:
    """Return a combination with its templates filled in, in the two steps of promptfoo."""
    values = {name: _cut_line_break(value) for name, value in raw.values.items()}
    texts = [
        name for name, value in values.items() if isinstance(value, str) and templates.has_template(value)
    ]
    if not texts:
        return Combination(values, values, raw.varied, raw.obstacle)
    _replace_names(values)
    filled = dict(values)
    obstacle = raw.obstacle
    for name in texts:
        value = values[name]
        if not isinstance(value, str) or _uses_unknown(value, values):
            continue
        try:
            filled[name] = templates.render(templates.keep_partial(value), values)
        except templates.Untranslatable as error:
            what = f"the template in the variable {shorten_text(name, 60)} is not filled in: {error.what}"
            obstacle = obstacle or what
    return Combination(filled, values, raw.varied, obstacle)


def _cut_line_break(value: Json) -> Json:
    """Return a text without one line break at its end."""
    if isinstance(value, str):
        return value.removesuffix("\n")
    return value


def _replace_names(values: dict[str, Json]) -> None:
    """Replace ``{{ name }}`` by the value of the variable, one in each value and round."""
    for _ in range(MAX_ROUNDS):
        is_done = True
        for name, value in values.items():
            match = isinstance(value, str) and _NAME.search(value)
            if not isinstance(value, str) or not match or match[1] not in values:
                continue
            text = "null"
            if values[match[1]] is not None:
                text = templates.write_text(values[match[1]])
            if len(value) + len(text) > MAX_CHARS:
                return
            values[name] = f"{value[: match.start()]}{text}{value[match.end() :]}"
            is_done = False
        if is_done:
            return


def _uses_unknown(text: str, values: Mapping[str, Json]) -> bool:
    """Return whether a value names a variable that the test does not have: promptfoo then uses it as it is."""
    names = {first or second for first, second in _USED_NAME.findall(text)}
    for item, items in _FOR.findall(text):
        names.discard(item)
        names.add(items)
    names.discard("env")
    return any(name not in values for name in names)
