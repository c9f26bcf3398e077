"""Print the test module of an imported suite: one function for the tests with the same checks, and one for the assertions that are not carried."""

import builtins
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from pytest_llmops.imports.case_rows import CaseInput
from pytest_llmops.imports.check_values import SCHEMAS, CheckValues
from pytest_llmops.imports.function_names import name_skipped
from pytest_llmops.imports.missing_checks import (
    choose_missing,
    comment_missing,
    comment_obstacles,
    describe_missing,
    describe_obstacles,
)
from pytest_llmops.imports.module_imports import ModuleImports
from pytest_llmops.imports.python_code import (
    INDENT,
    escape_line,
    fill_placeholders,
    format_comment,
    format_docstring,
    format_prefixed,
    format_statement,
    format_text,
    list_variables,
    replace_call,
    unify_quotes,
    used_names,
)
from pytest_llmops.imports.slugs import make_slug
from pytest_llmops.imports.suite import ImportedSuite, SuiteError
from pytest_llmops.imports.test_functions import CheckLine, MissingCheck, TestGroup
from pytest_llmops.measurement import shorten_text

MIN_WORDS = 3  # of a description that is worth a docstring
MAX_TITLE = 300
MAX_REASON = 60  # characters of the providers in an error
MAX_ASKED = 5  # providers in a docstring
JUDGE_CALLS = frozenset(
    {
        "assert_judge_score",
        "assert_checklist",
        "assert_grounded",
        "assert_context_relevance",
        "assert_complies",
    }
)
ALL_VARIABLES = "dict(case.input)"  # in the lines of `NotCarried.body`
KNOWN_NAMES = frozenset({"answer", "case", SCHEMAS, "Rubric", "len", "str", "any", "all", "round"})
ANY_ANSWER = "assert isinstance(answer, str)"
LOOP = "for pattern in "  # of a check that is made for each of several patterns
NOT_WRITTEN = 'raise NotImplementedError("write the check here")'


@dataclass(slots=True)
class ModuleWriter:
    """Prints a module, and collects its imports.

    Attributes:
        suite: The suite.
        used: The input of its cases.
        values: The values of the checks.
        checked: Names of variables that checks look at.

    Functions have the mark of the prompt each (``_is_mixed``) if some do not ask: the suite has their answers.
    """

    suite: ImportedSuite
    used: CaseInput
    values: CheckValues
    checked: Sequence[str] = ()
    _imports: ModuleImports = field(default_factory=ModuleImports)
    _differences: set[str] = field(default_factory=set)
    _is_mixed: bool = False

    def write(self, groups: Sequence[TestGroup]) -> str:
        """Return the text of the module."""
        self._is_mixed = any(group.has_output for group in groups)
        names = {group.name for group in groups if group.lines or not group.missing}
        functions = []
        for group, missing in zip(groups, choose_missing(groups), strict=True):
            if group.lines or not group.missing:
                functions.append(self._write_function(group))
            for entries in missing:
                functions.append(self._write_missing(group, entries, names))
        parts = [*self._write_application(groups), *functions]
        head = self._write_docstring()
        constants = self._write_constants()
        lines = [*head, "", *self._imports.format(), "", *constants]
        for part in parts:
            lines += ["", "", *part]
        return "\n".join(lines) + "\n"

    def _write_docstring(self) -> list[str]:
        suite = self.suite
        title = shorten_text(" ".join(suite.title.split()) or f"Tests of {suite.name}", MAX_TITLE)
        if title[-1] not in ".!?":
            title += "."
        source = f"Imported from {suite.source} by `llmops import {suite.tool}`; edit it freely."
        paragraphs = [title, source]
        models = suite.application.models
        if self._asks_model:
            paragraphs.append(
                f"It was written for {_join(models)}. The model is named by llm_model in the ini, or by --llm-model."
            )
        return format_docstring(paragraphs)

    def _write_constants(self) -> list[str]:
        """Return the marks of all tests, and the folder of schemas if a check uses it."""
        self._imports.add_module("pytest")
        marks = ["pytest.mark.llm_cassette"]
        if self._has_prompts and not self._is_mixed:
            marks.append(self._prompt_mark)
        code = marks[0]
        if len(marks) > 1:
            code = f"[{', '.join(marks)}]"
        lines = format_prefixed(code, "pytestmark = ")
        if any(path.startswith("schemas/") for path in self.values.files):
            self._imports.add_name("pathlib", "Path")
            folder = f'Path(__file__).parent / "schemas" / {format_text(self.suite.name)}'
            lines.append(f"{SCHEMAS} = {folder}")
        for name, literal in self.values.constants.items():
            lines += format_prefixed(literal, f"{name} = ")
        return lines

    @property
    def _has_prompts(self) -> bool:
        is_needed = not self.suite.application.takes_variables and not self.used.is_passed
        return bool(self.suite.prompts) and is_needed

    @property
    def _asks_model(self) -> bool:
        return bool(self.suite.application.models) and self._has_prompts

    @property
    def _other_variables(self) -> list[str]:
        """The variables that an application may need, and are not in the input of the cases."""
        if self.used.is_all:
            return []
        names = dict.fromkeys(name for test in self.suite.tests for name in test.variables)
        known = {*self.used.names, *self.checked}
        return [name for name in names if name not in known]

    @property
    def _prompt_mark(self) -> str:
        name = format_text(self.suite.name)
        if len(self.suite.prompts) == 1:
            return f"pytest.mark.prompt({name})"
        versions = [format_text(f"v{number}") for number in range(1, len(self.suite.prompts) + 1)]
        return f"pytest.mark.prompt({name}, versions=[{', '.join(versions)}])"

    def _write_application(self, groups: Sequence[TestGroup]) -> list[list[str]]:
        """Return the function that a person fills in, where the fixture `llm` calls no model."""
        if self._asks_model or all(group.has_output for group in groups):
            return []
        place = self.suite.application.place
        asked = _join(self.suite.application.asked) or "a provider that is not named"
        tool = self.suite.tool
        if self.used.is_passed and self.used.is_text:
            argument = self.used.names[0]
            if hasattr(builtins, argument):
                argument = "text"
            first = f"Return the answer of your application to the text `{argument}`."
            step = f"{tool} called {asked} ({place}): call the same application here."
        elif self._has_prompts:
            argument = "prompt"
            first = "Return the answer of your application to a prompt."
            content = "`prompt.to_dicts()` has its messages."
            if all(len(one.sections) == 1 for one in self.suite.prompts):
                content = "`prompt[0].content` is its text."
            step = f"{tool} called {asked} ({place}): call the same application here. {content}"
        else:
            argument = "variables"
            first = "Return the answer of your application to the variables of a case."
            step = f"The prompts are not carried: make them here, and call the application that {tool} called: {asked} ({place})."
            if self.used.is_passed:
                step = f"{tool} called {asked} ({place}): call the same application here."
            if self.suite.application.takes_variables:
                step = f"{tool} made the prompt with code, and called {asked} ({place}): do the same here."
        reason = format_text(f"application: call it as {asked} did")
        if len(asked) > MAX_REASON:
            reason = format_text("application: call your application here")
        if self._other_variables:
            argument += ", case"
            names = _join([f"`{name}`" for name in self._other_variables])
            step += f' `case["vars"]` has the variables that no prompt uses and the provider got: {names}.'
        lines = [f"def application({argument}):"]
        lines += format_docstring([first, step], INDENT)
        lines += format_prefixed(f"NotImplementedError({reason})", "raise ", INDENT)
        return [lines]

    def _write_function(self, group: TestGroup) -> list[str]:
        """Return the lines of a test function."""
        statements = [self._write_check(group, line) for line in group.lines]
        fixtures = list(dict.fromkeys(name for line in group.lines for name in line.check.fixtures))
        lines = self._write_decorators(group)
        if group.is_blocked:
            lines = [*self._write_skip(describe_obstacles(group)), *lines]
        if any("Rubric(" in code for code, _ in statements):
            lines = ["@pytest.mark.judge", *lines]
        lines.append(f"def test_{group.name}({', '.join(self._list_fixtures(group, fixtures))}):")
        lines += self._write_description(group)
        if group.is_blocked:
            lines += comment_obstacles(group, INDENT)
        if group.is_blocked and not statements:
            lines.append(f"{INDENT}{NOT_WRITTEN}")
            return lines
        if not statements:
            lines += self._write_answer(group, [ANY_ANSWER])
            lines += format_comment("The suite has no assertion here: the answer is recorded only.", INDENT)
            lines.append(f"{INDENT}{ANY_ANSWER}")
            return lines
        lines += self._write_answer(group, [code for code, _ in statements])
        # A failed check of the text counts also where no judge is called.
        for is_judged in (False, True):
            part = [entry for entry in statements if is_judge_call(entry[0]) == is_judged]
            if _are_several(part):
                self._imports.add("soft")
            lines += _join_statements(part)
        return lines

    def _write_check(self, group: TestGroup, line: CheckLine) -> tuple[str, list[str]]:
        """Return the code of a check, and comments above it."""
        value = ""
        if line.key:
            value = self.values.format(group, line)
        loop = ""
        if line.is_loop:
            loop = f"{LOOP}{value}:\n{INDENT}"
            value = "pattern"
        variables = {name: self.used.format_variable(name) for name in list_variables(line.check.call)}
        code = loop + fill_placeholders(line.check.call, value, variables)
        self._import_names(line, code)
        self._check_names(line, code)
        notes = []
        if line.note:
            notes.append(f"Recorded only: {line.note}")
        if line.check.differs and line.check.differs not in self._differences:
            self._differences.add(line.check.differs)
            notes.append(f"May differ from {self.suite.tool}: {line.check.differs}")
        return code, notes

    def _import_names(self, line: CheckLine, code: str) -> None:
        """Import the names that a line uses."""
        names = used_names(code)
        for name in line.check.imports:
            if name.rpartition(".")[2] in names or "." not in name:
                self._imports.add(name)
        if "Rubric" in names:
            self._imports.add("pytest_llmops.judges.Rubric")

    def _check_names(self, line: CheckLine, code: str) -> None:
        """Raise if a line uses another name than it may: texts of the suite may only be in literals."""
        known = {*KNOWN_NAMES, *self.values.constants, *line.check.fixtures}
        known.update(name.rpartition(".")[2] for name in line.check.imports)
        unknown = sorted(used_names(code) - known)
        if unknown:
            raise SuiteError(
                f"the line {shorten_text(code, 200)!r} uses {', '.join(unknown)}", self.suite.source
            )

    def _write_decorators(self, group: TestGroup) -> list[str]:
        """Return the markers of a function."""
        lines = []
        if group.repeat > 1:
            lines.append(f"@pytest.mark.llm_trials({group.repeat})")
        if self._has_prompts and self._is_mixed and not group.has_output:
            lines += format_prefixed(self._prompt_mark, "@")
        path = format_text(case_path(self.suite, group))
        lines += format_prefixed(f"pytest.mark.cases({path})", "@")
        return lines

    def _write_skip(self, reason: str) -> list[str]:
        text = format_text(escape_line(reason))
        return format_prefixed(f"pytest.mark.skip(reason={text})", "@")

    def _list_fixtures(self, group: TestGroup, others: Iterable[str]) -> list[str]:
        names = []
        if self._has_prompts and not group.has_output:
            names.append("prompt")
        names.append("case")
        if self._asks_model and not group.has_output:
            names.append("llm")
        return list(dict.fromkeys((*names, *others)))

    def _write_answer(self, group: TestGroup, code: Sequence[str]) -> list[str]:
        """Return the lines that get the answer, for the code that follows; a check of only the calls needs no name for it."""
        more = ", case" if self._other_variables else ""
        call = answer = f"application({self.used.render}{more})"
        if group.has_output:
            call = ""
            answer = "case.output"
        elif not self._has_prompts:
            call = answer = f"application(case.input{more})"
        elif self._asks_model:
            call = f"llm.complete({self.used.render})"
            answer = f"{call}.text"
        lines = []
        if self.used.render in call and self.used.before_render:
            lines.append(f"{INDENT}{self.used.before_render}")
        if any("answer" in used_names(line) for line in code):
            lines.append(f"{INDENT}answer = {answer}")
        elif call:
            lines.append(f"{INDENT}{call}")
        return lines

    def _write_description(self, group: TestGroup) -> list[str]:
        """Return a docstring for the function of a single test that is more than its name."""
        words = group.tests[0][0].description.split()
        description = " ".join(words)
        if len(group.tests) > 1 or len(words) < MIN_WORDS or make_slug(description, 200) == group.name:
            return []
        if description[-1] not in ".!?":
            description += "."
        return format_docstring([shorten_text(description, 300)], INDENT)

    def _write_missing(self, group: TestGroup, entries: Sequence[MissingCheck], names: set[str]) -> list[str]:
        """Return the skipped function of assertions that are not carried."""
        first = entries[0].reason
        name = name_skipped(group, entries, names)
        lines = self._write_skip(describe_missing(entries))
        lines += self._write_decorators(group)
        lines.append(f"def test_{name}({', '.join(self._list_fixtures(group, ()))}):")
        lines += comment_missing(entries, INDENT)
        if not first.body:
            lines.append(f"{INDENT}{NOT_WRITTEN}")
            return lines
        lines += self._write_answer(group, ["\n".join(first.body)])
        for line in first.body:
            if line.startswith("import "):
                self._imports.add_module(line.removeprefix("import "))
                continue
            code = replace_call(line, ALL_VARIABLES, self.used.variables)
            lines += format_statement(unify_quotes(code), INDENT)
        return lines


def case_path(suite: ImportedSuite, group: TestGroup) -> str:
    """Return the path of the case file of a function, next to the module."""
    return f"cases/{suite.name}/{group.name}.jsonl"


def is_judge_call(code: str) -> bool:
    """Return whether a line of code calls a judge."""
    return not JUDGE_CALLS.isdisjoint(used_names(code))


def _join_statements(statements: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
    """Return the lines of checks; of several, all are made before the test fails."""
    indent = INDENT
    lines = []
    if _are_several(statements):
        lines.append(f"{INDENT}with soft():")
        indent = INDENT * 2
    for code, notes in statements:
        for note in notes:
            lines += format_comment(note, indent)
        if code.startswith(LOOP):
            patterns, check = code.removeprefix(LOOP).split(f":\n{INDENT}")
            lines += format_prefixed(patterns, LOOP, indent, ":")
            lines += format_statement(check, indent + INDENT)
        else:
            lines += format_statement(code, indent)
    return lines


def _are_several(statements: Sequence[tuple[str, Sequence[str]]]) -> bool:
    """Return whether more than one check is made, so that the first that fails must not hide the others."""
    return len(statements) > 1 or any(code.startswith(LOOP) for code, _ in statements)


def _join(names: Sequence[str]) -> str:
    """Return names as a list in prose, shortened."""
    texts = [shorten_text(name, 80) for name in names[:MAX_ASKED]]
    rest = len(names) - len(texts)
    if rest:
        texts.append(f"{rest} more")
    *first, last = texts or [""]
    if not first:
        return last
    return f"{', '.join(first)} and {last}"
