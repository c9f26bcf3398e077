"""Where the value of a check is written: in the code, in the case, or in a file that several tests share."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pytest_llmops._util.text_files import canonical_json
from pytest_llmops.imports.checks import Check
from pytest_llmops.imports.front_matter import format_markdown
from pytest_llmops.imports.python_code import format_pattern, format_text, format_value
from pytest_llmops.imports.slugs import make_slug, make_unique
from pytest_llmops.imports.test_functions import CheckLine, TestGroup
from pytest_llmops.measurement import Json

MAX_CODE_CHARS = 300  # of a value in the code; a longer one is in the cases
MAX_INLINE_SCHEMA = 160  # characters of a schema in the code; a longer one is a file
SCHEMAS = "SCHEMAS"  # the constant for the folder of schemas
MAX_ARGUMENT = (
    60  # characters of a value that several functions have; a longer one is a constant of the module
)
MAX_FILE_NAME = 30  # characters of the name of a rubric
# Words that many rubrics begin with, and that say nothing about their subject
EMPTY_WORDS = frozenset(
    {
        *(
            "a",
            "an",
            "and",
            "answer",
            "are",
            "be",
            "check",
            "contains",
            "does",
            "ensure",
            "evaluate",
            "has",
            "if",
            "in",
        ),
        *(
            "is",
            "it",
            "must",
            "of",
            "output",
            "response",
            "should",
            "that",
            "the",
            "this",
            "to",
            "was",
            "whether",
        ),
    }
)


@dataclass(slots=True)
class CheckValues:
    """The values of a suite's checks, and the files of those that tests share.

    Attributes:
        suite: The name of the suite.
        files: The text of each file, by its path next to the test module.
        constants: The code of each constant of the module, by its name.
    """

    suite: str
    files: dict[str, str] = field(default_factory=dict)
    constants: dict[str, str] = field(default_factory=dict)
    _uses: dict[str, int] = field(default_factory=dict)
    _paths: dict[str, str] = field(default_factory=dict)
    _names: set[str] = field(default_factory=set)

    def count_uses(self, groups: Sequence[TestGroup]) -> None:
        """Count how many tests have each rubric and each schema."""
        for group in groups:
            for _, values in group.tests:
                for line in group.lines:
                    if line.check.form in ("rubric", "schema"):
                        name = _identify(line.check, values[line.key])
                        self._uses[name] = self._uses.get(name, 0) + 1

    def is_in_code(self, group: TestGroup, line: CheckLine) -> bool:
        """Return whether the value of a check is in the code, not in the cases: all tests of the function have the same."""
        check = line.check
        if not line.key or not group.is_same(line.key):
            return False
        if check.form == "rubric" and "\0" in str(check.value):
            return False  # a judge file cannot have it
        if line.is_shared or check.form == "schema" or _is_setting(check.value):
            return True
        if check.form == "rubric":
            return "dimensions" in check.rubric or self._uses[_identify(check, check.value)] > 1
        return len(group.tests) > 1 and len(format_value(check.value)) <= MAX_CODE_CHARS

    def format(self, group: TestGroup, line: CheckLine) -> str:
        """Return the code for the value of a check; of a rubric or a large schema, the path of its file, which is added."""
        check = line.check
        is_in_code = self.is_in_code(group, line)
        if check.form == "rubric":
            if is_in_code and isinstance(check.value, str):
                return format_text(self._add_rubric(line))
            return self._format_rubric(check, line.key)
        if not is_in_code:
            return _format_key(line.key)
        if check.form == "schema" and isinstance(check.value, Mapping):
            return self._format_schema(line, group.name)
        literal = format_value(check.value)
        if check.form == "pattern":
            literal = _format_patterns(check.value)
        if (line.is_shared or line.is_loop) and len(literal) > MAX_ARGUMENT:
            return self._add_constant(make_slug(line.title) or check.key, literal)
        return literal

    def _add_rubric(self, line: CheckLine) -> str:
        """Return the path of a rubric's file."""
        check = line.check
        name = _identify(check, check.value)
        if name not in self._paths:
            criteria = str(check.value)
            title = make_slug(line.title, MAX_FILE_NAME) or _name_rubric(criteria)
            path = f"judges/{self.suite}/{make_unique(title, self._names)}.md"
            self.files[path] = format_markdown({"kind": "rubric", **check.rubric}, criteria.strip() + "\n")
            self._paths[name] = path
        return self._paths[name]

    def _format_rubric(self, check: Check, name: str) -> str:
        """Return the code of a rubric whose criteria are in the case; long parts of it are constants of the module."""
        arguments = [f"criteria={_format_key(name)}", f"name={format_text(name)}"]
        for key, value in check.rubric.items():
            literal = format_value(value)
            if len(literal) > MAX_ARGUMENT:
                literal = self._add_constant(key, literal)
            arguments.append(f"{key}={literal}")
        return f"Rubric({', '.join(arguments)})"

    def _add_constant(self, key: str, literal: str) -> str:
        """Return the name of the constant for a literal."""
        for name, known in self.constants.items():
            if known == literal:
                return name
        used = {SCHEMAS.lower(), *(name.lower() for name in self.constants)}
        name = make_unique(key, used).upper()
        self.constants[name] = literal
        return name

    def _format_schema(self, line: CheckLine, group_name: str) -> str:
        """Return the code for a schema: a literal if it is short and no other test has it, else its file."""
        check = line.check
        schema = check.value
        literal = format_value(schema)
        name = _identify(check, schema)
        if len(literal) <= MAX_INLINE_SCHEMA and self._uses[name] == 1:
            return literal
        if name not in self._paths:
            title = group_name
            if self._uses[name] > 1:
                title = "answer"
            if isinstance(schema, Mapping) and isinstance(schema.get("title"), str):
                title = make_slug(str(schema["title"]), MAX_FILE_NAME) or title
            title = make_slug(line.title, MAX_FILE_NAME) or title
            stem = make_unique(title, self._names)
            path = f"schemas/{self.suite}/{stem}.json"
            self.files[path] = json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
            self._paths[name] = f"{stem}.json"
        return f"{SCHEMAS} / {format_text(self._paths[name])}"


def _identify(check: Check, value: Json) -> str:
    """Return a text that is equal for equal rubrics and schemas."""
    return canonical_json([check.form, value, dict(check.rubric)])


def _format_key(key: str) -> str:
    """Return the code that reads a value from the case."""
    if key == "reference":
        return "case.reference"
    return f"case[{format_text(key)}]"


def _format_patterns(value: Json) -> str:
    """Return the literal of a regular expression, or of a list of them."""
    if isinstance(value, str):
        return format_pattern(value)
    if isinstance(value, list):
        items = [format_pattern(str(item)) for item in value]
        return f"[{', '.join(items)}]"
    return format_value(value)


def _is_setting(value: Json) -> bool:
    """Return whether a value is rather a setting of a check than a fact of the case."""
    return value is None or isinstance(value, (bool, int, float))


def _name_rubric(criteria: str) -> str:
    """Return a name for a rubric, of the first words that say something.

    >>> _name_rubric("The answer is polite and helpful.")
    'polite_helpful'
    """
    words = [word for word in make_slug(criteria, 200).split("_") if word not in EMPTY_WORDS]
    return make_slug(" ".join(words), MAX_FILE_NAME) or "rubric"
