"""JSON Schemas of promptfoo's assertions: draft 7 as a mapping, or as a YAML text; their patterns are JavaScript's."""

from collections.abc import Mapping, Sequence

from pytest_llmops._util.text_files import BadFile, read_yaml
from pytest_llmops.imports import javascript_regex
from pytest_llmops.imports.javascript_regex import UntranslatableRegex
from pytest_llmops.imports.promptfoo.no_equivalent import NoEquivalent
from pytest_llmops.measurement import Json

DRAFT_7 = "http://json-schema.org/draft-07/schema#"
_DATA_KEYS = frozenset({"const", "enum", "default", "examples"})  # their values are data, not schemas


def read_schema(value: Json) -> tuple[Json, str]:
    """Return the schema of an assertion, and how it may decide otherwise; without a value any JSON fits.

    >>> read_schema("type: object")[0]["type"]
    'object'

    Raises:
        NoEquivalent: It is not a schema.
    """
    if value is None or value == "":
        return True, ""
    if isinstance(value, str):
        try:
            value, _ = read_yaml(value)
        except BadFile as problem:
            raise NoEquivalent(f"its schema is not YAML: {problem.what}") from None
    if not isinstance(value, Mapping):
        raise NoEquivalent("promptfoo refuses the value: a JSON Schema is a mapping")
    draft = value.get("$schema", DRAFT_7)
    differs = ""
    if draft != DRAFT_7 and draft != DRAFT_7.removesuffix("#"):
        differs = "promptfoo refuses schemas of other drafts than 7"
    untranslated: list[str] = []
    translated = _translate_patterns(value, untranslated)
    if untranslated:
        differs = f"a pattern of the schema is kept as written for JavaScript: {untranslated[0]}"
    return {"$schema": draft, **translated}, differs


def _translate_patterns(schema: Mapping[str, Json], untranslated: list[str]) -> dict[str, Json]:
    """Return a schema with the patterns of Python; those that cannot be translated stay, and their reason is added."""
    result: dict[str, Json] = {}
    for key, value in schema.items():
        if key in _DATA_KEYS:
            result[key] = value
        elif key == "pattern" and isinstance(value, str):
            result[key] = _translate_pattern(value, untranslated)
        elif key == "patternProperties" and isinstance(value, Mapping):
            renamed = {_translate_pattern(name, untranslated): part for name, part in value.items()}
            result[key] = _translate_part(renamed, untranslated)
        else:
            result[key] = _translate_part(value, untranslated)
    return result


def _translate_part(value: Json, untranslated: list[str]) -> Json:
    if isinstance(value, Mapping):
        return _translate_patterns(value, untranslated)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_translate_part(item, untranslated) for item in value]
    return value


def _translate_pattern(pattern: str, untranslated: list[str]) -> str:
    try:
        return javascript_regex.translate(pattern, "u")
    except UntranslatableRegex as problem:
        untranslated.append(str(problem))
        return pattern
