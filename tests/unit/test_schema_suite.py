"""The official JSON-Schema-Test-Suite, through our layer: what it answers, and what it refuses on purpose."""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import jsonschema
import pytest

from pytest_llmops import schemas
from pytest_llmops.errors import SchemaError
from pytest_llmops.schemas.formats import format_checks
from pytest_llmops.schemas.json_schema import JsonSchema

pytestmark = [pytest.mark.shared_data, pytest.mark.slow]

DRAFTS = {
    "draft7": "http://json-schema.org/draft-07/schema#",
    "draft2020-12": "https://json-schema.org/draft/2020-12/schema",
}

PYTHON_PATTERNS = "optional/ecmascript-regex.json"
"""``pattern`` is a regular expression of Python: \\d, \\w and \\s know Unicode there."""
PYTHON_REGEX = {
    "when used as a pattern",  # \a
    "Python named group (?P<name>...) is not ECMA 262",
    "Python named backreference (?P=name) is not ECMA 262",
    "inline comment group (?#...) is not ECMA 262",
    "a single global inline flag (?i)",
    "multiple global inline flags (?ims)",
    "an ECMA 262 named group (?<name>...)",
    "an ECMA 262 named backreference \\k<name>",
    "a variable-width lookbehind (ES2018)",
    "an empty character class is valid ECMA 262",
    "a negated empty character class is valid ECMA 262",
    "a control escape \\cA is valid ECMA 262",
}
"""The format "regex" is that of Python, too."""
UNCHECKED_FORMATS = {"idn-email", "idn-hostname", "iri", "iri-reference", "uri-template"}
REFUSED = {
    # Nothing is fetched, and these lead to another server.
    "nowhere within the schema": Counter(
        {
            "draft7/refRemote.json": 11,
            "draft7/optional/cross-draft.json": 1,
            "draft2020-12/refRemote.json": 15,
            "draft2020-12/dynamicRef.json": 5,
            "draft2020-12/optional/cross-draft.json": 1,
        }
    ),
    # Python's `re` cannot read these: \p{Letter}, \cC.
    "is not a 'regex'": Counter(
        {
            "draft7/optional/ecmascript-regex.json": 6,
            "draft2020-12/optional/ecmascript-regex.json": 6,
            "draft2020-12/pattern.json": 1,
            "draft2020-12/patternProperties.json": 1,
        }
    ),
    # Dialects of one's own would have to be fetched.
    "$schema: expected the URI of a draft": Counter(
        {"draft2020-12/optional/format-assertion.json": 2, "draft2020-12/vocabulary.json": 2}
    ),
}


class Group(NamedTuple):
    draft: str
    file: str
    description: str
    schema: dict[str, Any]
    tests: list[dict[str, Any]]


@cache
def groups(shared_data: Path) -> tuple[Group, ...]:
    result = []
    with tarfile.open(shared_data / "json_schema" / "json_schema_test_suite.tar.gz") as suite:
        for member in sorted(suite.getmembers(), key=lambda archived: archived.name):
            draft, _, file = member.name.partition("/tests/")[2].partition("/")
            if draft in DRAFTS and file.endswith(".json"):
                content = suite.extractfile(member)
                assert content is not None
                result += [
                    Group(draft, file, row["description"], _asking(draft, row["schema"]), row["tests"])
                    for row in json.load(content)
                ]
    assert len(result) >= 780
    return tuple(result)


def _asking(draft: str, schema: Any) -> dict[str, Any]:
    """Return a schema that our layer takes: with its draft, and not one that accepts everything by itself."""
    dialect = {"$schema": DRAFTS[draft]}
    if isinstance(schema, bool) or not set(schema) & set(validator(draft).VALIDATORS):
        return {**dialect, "allOf": [schema]}
    return {**dialect, **schema}


def validator(draft: str) -> Any:
    return {"draft7": jsonschema.Draft7Validator, "draft2020-12": jsonschema.Draft202012Validator}[draft]


@cache
def loaded(shared_data: Path) -> tuple[tuple[Group, schemas.Schema | SchemaError], ...]:
    result: list[tuple[Group, schemas.Schema | SchemaError]] = []
    # What is looked for on other servers must not be asked for.
    with patch("socket.socket.connect", side_effect=AssertionError("the network was asked")):
        for group in groups(shared_data):
            try:
                result.append((group, schemas.load(group.schema)))
            except SchemaError as error:
                result.append((group, error))
    return tuple(result)


def expected(group: Group, test: dict[str, Any]) -> bool:
    """Return the answer that is right for us: the suite's, but for the kinds that are named above."""
    valid = bool(test["valid"])
    if group.file == "format.json" and "only an annotation by default" in test["description"]:
        # Those that are checked count with us in all drafts.
        return valid if group.description.split()[0] in UNCHECKED_FORMATS else not valid
    if group.file == PYTHON_PATTERNS and _about_classes(group, test):
        return not valid
    if group.file == "optional/format/ecmascript-regex.json" and test["description"] in PYTHON_REGEX:
        return not valid
    if group.file == "optional/content.json" or Path(group.file).stem in UNCHECKED_FORMATS:
        return True  # what a string encodes (contentMediaType, contentEncoding) is not looked into
    if group.file == "optional/dependencies-compatibility.json":
        return True  # "dependencies" is no keyword of 2020-12 any more
    return valid


def _about_classes(group: Group, test: dict[str, Any]) -> bool:
    words = ("NKO DIGIT", "latin-1 e-acute", "zero-width whitespace", "non-ascii digits")
    literal = test["description"] in (
        "literal unicode character in json string",
        "unicode character in hex format in string",
    )
    return test["description"].startswith(words) or (literal and "not unicode letters" in group.description)


def test_every_answer_of_the_suite(shared_data: Path) -> None:
    wrong, answers = [], 0
    for group, schema in loaded(shared_data):
        if isinstance(schema, SchemaError):
            continue
        for test in group.tests:
            answers += 1
            result = schema.differences(test["data"])
            assert all(line.text and line.path.startswith("$") for line in result)
            if (not result) != expected(group, test):
                wrong.append((group.draft, group.file, group.description, test["description"], result))
    assert wrong == [], "\n".join(map(str, wrong))
    assert answers > 3_700


def test_not_one_other_answer_than_the_validators_own(shared_data: Path) -> None:
    checker = jsonschema.FormatChecker(formats=())
    for name, check in format_checks().items():
        checker.checks(name)(lambda value, check=check: not isinstance(value, str) or check(value))
    other = [
        (group.file, group.description, test["description"])
        for group, schema in loaded(shared_data)
        if isinstance(schema, JsonSchema)
        for own in [validator(group.draft)(group.schema, format_checker=checker)]
        for test in group.tests
        if own.is_valid(test["data"]) == bool(schema.differences(test["data"]))
    ]
    assert other == []


def test_what_is_refused_is_refused_for_these_reasons(shared_data: Path) -> None:
    refused: dict[str, Counter[str]] = {reason: Counter() for reason in REFUSED}
    for group, error in loaded(shared_data):
        if isinstance(error, SchemaError):
            (reason,) = (refusal for refusal in REFUSED if refusal in str(error))
            refused[reason][f"{group.draft}/{group.file}"] += 1
    assert refused == REFUSED


def test_no_beginning_of_a_valid_document_is_called_wrong(shared_data: Path) -> None:
    tried = 0
    for group, schema in loaded(shared_data):
        for test in group.tests:
            document = test["data"]
            if isinstance(schema, SchemaError) or not isinstance(document, (dict, list)) or not document:
                continue
            text = json.dumps(document)
            if len(text) > 400 or schema.differences(document):
                continue
            for end in range(1, len(text), 7):
                partial_json = schemas.parse_partial_json(text[:end])
                assert partial_json is not None
                tried += 1
                wrong = schema.differences(partial_json.value, unfinished=partial_json.unfinished)
                assert wrong == [], (group.file, group.description, text[:end])
    assert tried > 1_500
