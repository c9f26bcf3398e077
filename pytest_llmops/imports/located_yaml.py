"""YAML as js-yaml reads it (the core schema of YAML 1.2 with merge keys), each key and item with its line.

PyYAML's own values follow YAML 1.1, where ``yes``, ``010`` and ``12:30`` are a boolean and two other numbers; in js-yaml they
are texts and 10. So only its parser is used, the fast one in C where there is one, and values are made here. A date is its text:
promptfoo makes an object of it that no template prints.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pytest_llmops._util.lazy_module import LazyModule
from pytest_llmops._util.text_files import MAX_ALIAS_GROWTH, MAX_DEPTH, MAX_SMALL_YAML, BadFile
from pytest_llmops.imports.located_values import LineFinder, LocatedList, LocatedMap, make_number
from pytest_llmops.imports.suite import Place
from pytest_llmops.measurement import Json, shorten_text

if TYPE_CHECKING:
    import yaml
else:
    yaml = LazyModule("yaml")

_TAG = "tag:yaml.org,2002:"
_MAX_SHOWN = 60
_MERGE = "<<"
_WORDS: Mapping[str, Json] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_INTEGER = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+|[-+]?[0-9]+")
_DECIMAL = re.compile(r"[-+]?[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|[-+]?\.[0-9]+(?:[eE][-+]?[0-9]+)?")
_NO_NUMBER = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_FIRST_OF_NUMBERS = frozenset("-+.0123456789")


def make_plain_value(written: str) -> Json:
    """Return the value of a scalar without quotes.

    Raises:
        BadFile: It is a number that JSON has not.

    >>> [make_plain_value(text) for text in ("yes", "12:30", "010", "0x1F", "1.50", "~", "2024-05-01")]
    ['yes', '12:30', 10, 31, 1.5, None, '2024-05-01']
    """
    if written in _WORDS:
        return _WORDS[written]
    if written[0] not in _FIRST_OF_NUMBERS:
        return written
    if _INTEGER.fullmatch(written):
        return _make_integer(written)
    if _DECIMAL.fullmatch(written):
        return make_number(written)
    if _NO_NUMBER.fullmatch(written):
        raise BadFile(f"expected a finite number, got {written}: write it in quotes")
    return written


def _make_integer(written: str) -> Json:
    if written.startswith(("0x", "0o")):
        return int(written, 0)
    return make_number(written)


def name_key(value: Json) -> str:
    """Return a key as JavaScript names it: every key is a text there.

    >>> name_key(1), name_key(True), name_key(None), name_key("a")
    ('1', 'true', 'null', 'a')
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


@dataclass(slots=True)
class _Open:
    """A mapping or a list that is being read.

    Attributes:
        value: What there is of it.
        anchor: Its anchor, or None.
        key: The key whose value comes next; None: a key comes next.
        key_place: The place of this key.
        is_merge: This key is ``<<``.
        merged: The keys that came by ``<<``; the mapping's own win over them.
        size: About how many characters it has with its aliases expanded.
    """

    value: LocatedMap | LocatedList
    anchor: str | None
    key: str | None = None
    key_place: Place | None = None
    is_merge: bool = False
    merged: set[str] = field(default_factory=set)
    size: int = 1


def read_located_yaml(text: str, file: str) -> Json:
    r"""Return the value of a YAML text; its mappings and lists know their lines. An empty text is None.

    Raises:
        BadFile: It is not YAML, has several documents, a key is repeated, a tag is unknown, an alias is unknown, contains itself or
            makes the text too large, a key is a mapping, or it is nested too deeply; with the line.

    >>> value = read_located_yaml("a: 1\nb:\n  - yes\n  - 12:30", "config.yaml")
    >>> value, value["b"].places[1].line
    ({'a': 1, 'b': ['yes', '12:30']}, 4)
    """
    if not text.endswith("\n"):
        # A block text in the last line ends with a line break in js-yaml, whether or not the file does.
        text += "\n"
    reader = _YamlReader(text, file)
    try:
        for event in yaml.parse(text, Loader=_fastest_loader()):
            reader.take(event)
    except yaml.YAMLError as error:
        raise _describe_error(error, text) from None
    except RecursionError:
        raise BadFile(f"nested deeper than {MAX_DEPTH} levels") from None
    return reader.result


@lru_cache(maxsize=1)
def _fastest_loader() -> Any:
    """Return the loader whose parser is in C, or the one in Python where PyYAML was built without it."""
    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _describe_error(error: Exception, text: str) -> BadFile:
    """Return an error of PyYAML with its line."""
    what = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    mark = getattr(error, "problem_mark", None)
    index = getattr(error, "position", None)
    if mark is not None:
        index = mark.index
    if index is None:
        return BadFile(f"broken YAML: {shorten_text(str(what))}")
    # A part without an end is an error of the last line that has a text.
    line = LineFinder(text, "").line_at(min(index, len(text.rstrip())))
    return BadFile(f"broken YAML: {shorten_text(str(what))}", line)


class _YamlReader:
    """Makes a value of the parser's events, without recursion."""

    def __init__(self, text: str, file: str) -> None:
        self.result: Json = None
        self._lines = LineFinder(text, file)
        self._open: list[_Open] = []
        self._anchored: dict[str, tuple[Json, int]] = {}
        self._max_size = MAX_ALIAS_GROWTH * len(text) + MAX_SMALL_YAML
        self._documents = 0

    def take(self, event: Any) -> None:
        """Take the next event of the parser."""
        if isinstance(event, yaml.ScalarEvent):
            self._take_scalar(event)
        elif isinstance(event, yaml.MappingStartEvent):
            self._begin(event, LocatedMap(place=self._place(event)), "map")
        elif isinstance(event, yaml.SequenceStartEvent):
            self._begin(event, LocatedList(place=self._place(event)), "seq")
        elif isinstance(event, yaml.CollectionEndEvent):
            self._end(event)
        elif isinstance(event, yaml.AliasEvent):
            self._take_alias(event)
        elif isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise self._bad("expected one document, got a second one after ---", event)

    def _place(self, event: Any) -> Place:
        return self._lines.place_at(event.start_mark.index)

    def _bad(self, what: str, event: Any) -> BadFile:
        return BadFile(what, self._lines.line_at(event.start_mark.index))

    def _take_scalar(self, event: Any) -> None:
        written = event.value
        is_plain = event.implicit[0] and event.tag is None
        try:
            value = self._make_scalar(event, is_plain=is_plain)
        except BadFile as error:
            raise self._bad(error.what, event) from None
        if event.anchor is not None:
            self._anchored[event.anchor] = (value, len(written) + 1)
        self._add(value, event, len(written) + 1, is_merge=is_plain and written == _MERGE)

    def _make_scalar(self, event: Any, *, is_plain: bool) -> Json:
        written: str = event.value
        if is_plain:
            return make_plain_value(written)
        tag = event.tag
        if tag is None or tag in ("!", f"{_TAG}str", f"{_TAG}timestamp"):
            return written
        value = None
        if tag in (f"{_TAG}int", f"{_TAG}float", f"{_TAG}bool", f"{_TAG}null"):
            value = make_plain_value(written)
            if not isinstance(value, str):
                return value
        raise BadFile(self._describe_tag(tag))

    def _describe_tag(self, tag: str) -> str:
        shown = shorten_text(tag.replace(_TAG, "!!"), _MAX_SHOWN)
        return f"a value with the tag {shown}, which cannot be read: write the value as a text, a number, a list or a mapping"

    def _begin(self, event: Any, value: LocatedMap | LocatedList, kind: str) -> None:
        if event.tag not in (None, "!", f"{_TAG}{kind}"):
            raise self._bad(self._describe_tag(event.tag), event)
        if len(self._open) >= MAX_DEPTH:
            raise self._bad(f"nested deeper than {MAX_DEPTH} levels", event)
        if self._open and self._expects_key(self._open[-1]):
            what = "a list or a mapping as a key: write text with braces or brackets ({{ name }}) in quotes"
            raise self._bad(what, event)
        if event.anchor is not None:
            # An alias in here would contain itself.
            self._anchored.pop(event.anchor, None)
        self._open.append(_Open(value, event.anchor))

    def _expects_key(self, part: _Open) -> bool:
        return isinstance(part.value, LocatedMap) and part.key is None

    def _end(self, event: Any) -> None:
        part = self._open.pop()
        if part.anchor is not None:
            self._anchored[part.anchor] = (part.value, part.size)
        self._add(part.value, event, part.size, place=part.value.place)

    def _take_alias(self, event: Any) -> None:
        name = event.anchor
        if name not in self._anchored:
            what = f"an unknown alias *{shorten_text(name, _MAX_SHOWN)}"
            if any(part.anchor == name for part in self._open):
                what = f"the alias *{shorten_text(name, _MAX_SHOWN)} contains itself"
            raise self._bad(f"broken YAML: {what}", event)
        value, size = self._anchored[name]
        self._add(value, event, size)

    def _add(
        self, value: Json, event: Any, size: int, *, place: Place | None = None, is_merge: bool = False
    ) -> None:
        """Add a value to the mapping or the list that is being read."""
        if not self._open:
            self.result = value
            return
        part = self._open[-1]
        part.size += size
        if part.size > self._max_size:
            what = f"its aliases (`*name`) expand to more than {MAX_ALIAS_GROWTH} times the text; write the values out"
            raise self._bad(f"broken YAML: {what}", event)
        if place is None:
            place = self._place(event)
        if isinstance(part.value, LocatedList):
            part.value.append(value)
            part.value.places.append(place)
        elif part.key is None:
            self._set_key(part, value, place, is_merge=is_merge)
        else:
            self._set_value(part, part.value, value, event)

    def _set_key(self, part: _Open, value: Json, place: Place, *, is_merge: bool) -> None:
        if isinstance(value, (LocatedMap, LocatedList)):
            raise BadFile("a list or a mapping as a key: expected a text", place.line)
        key = name_key(value)
        if (
            key in part.value
            and key not in part.merged
            and not is_merge
            and isinstance(part.value, LocatedMap)
        ):
            first = part.value.places[key].line
            what = f"the key {shorten_text(key, _MAX_SHOWN)!r} occurs twice: first in line {first}"
            raise BadFile(what, place.line)
        part.key = key
        part.key_place = place
        part.is_merge = is_merge

    def _set_value(self, part: _Open, target: LocatedMap, value: Json, event: Any) -> None:
        key = part.key
        place = part.key_place
        part.key = None
        if key is None or place is None:  # never: a key came before
            return
        if part.is_merge:
            self._merge(part, target, value, event)
            return
        part.merged.discard(key)
        target[key] = value
        target.places[key] = place

    def _merge(self, part: _Open, target: LocatedMap, value: Json, event: Any) -> None:
        """Add the keys of ``<<``, one mapping or a list of them; keys that are there stay."""
        sources = [value]
        if isinstance(value, LocatedList):
            sources = list(value)
        for source in sources:
            if not isinstance(source, LocatedMap):
                raise self._bad("expected a mapping, or a list of mappings, for the merge key <<", event)
            for key, child in source.items():
                if key in target:
                    continue
                target[key] = child
                target.places[key] = source.place_of(key)
                part.merged.add(key)
