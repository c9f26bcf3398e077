"""The prompts of a promptfoo configuration: texts and lists of messages, in the configuration or in files of their own.

Prompts that code makes are not run: without others, the application gets the variables instead of a prompt.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from pytest_llmops._util.text_files import BadFile, read_csv
from pytest_llmops.imports.located_values import read_located_json
from pytest_llmops.imports.located_yaml import read_located_yaml
from pytest_llmops.imports.promptfoo.chat_messages import is_message_list, read_messages
from pytest_llmops.imports.promptfoo.providers import read_params, show_provider
from pytest_llmops.imports.source_files import (
    CODE_SUFFIXES,
    LocatedList,
    LocatedMap,
    SourceFolder,
    split_function,
)
from pytest_llmops.imports.suite import Place, Remark, RemarkKind, SuiteError, SuitePrompt
from pytest_llmops.imports.templates import Untranslatable, keep_partial, translate
from pytest_llmops.measurement import Json, shorten_text
from pytest_llmops.protocols import Role

DEFAULT_PROMPT = "{{prompt}}"  # of a configuration without prompts
SEPARATOR = "---"
_CONVERSATION = "_conversation"
_HOSTED = ("langfuse://", "portkey://", "helicone://")
_PROGRAMS = frozenset({".sh", ".bash", ".exe", ".bat", ".cmd", ".ps1", ".pl"}) | CODE_SUFFIXES
_TEXT_SUFFIXES = frozenset(
    {".txt", ".md", ".j2", ".json", ".jsonl", ".yaml", ".yml", ".csv", ".jinja", ".jinja2"}
)
_MAX_SHOWN = 80
_UNQUOTED = re.compile(r"^([ \t]*(?:-[ \t]+)?content:[ \t]+)(\{\{[^\"\n]*\}\})[ \t]*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class _Source:
    """A prompt before its templates are translated.

    Attributes:
        raw: Its text.
        label: Its name in the suite, or "".
        config: Its own ``config``.
        place: Where its text begins.
        is_file: The text comes from a file, so that its lines are known.
    """

    raw: str
    label: str
    config: Mapping[str, Json]
    place: Place
    is_file: bool = False

    def place_of_line(self, line: int | None) -> Place:
        """Return the place of a line of the text, from 1."""
        if line is None:
            return self.place
        if self.is_file:
            return replace(self.place, line=max(self.place.line, 1) + line - 1)
        if "\n" in self.raw.rstrip("\n"):
            # A text of several lines begins below its key.
            return replace(self.place, line=self.place.line + line)
        return self.place


def read_prompts(
    config: LocatedMap, folder: SourceFolder, path: Path
) -> tuple[tuple[SuitePrompt, ...], bool, list[Remark]]:
    """Return the prompts of a configuration, whether all of them are made by code, and remarks on parts that are not carried.

    Args:
        config: The configuration.
        folder: The folder of the suite.
        path: The file of the configuration.
    """
    reader = _PromptsReader(folder, path)
    reader.read_affixes(config)
    value = config.get("prompts")
    if value is None:
        reader.add(_Source(DEFAULT_PROMPT, "", {}, config.place))
    else:
        reader.read(value, config.place_of("prompts"))
    takes_variables = bool(reader.code) and not reader.prompts
    for place, what in reader.code:
        if takes_variables:
            why = "code makes the prompt and is not run: application() gets the variables; make the prompt there"
            reader.remark("differs", place, what, why)
        else:
            why = "code makes the prompt and is not run: write it as a prompt file"
            reader.remark("not carried", place, what, why)
    return tuple(reader.prompts), takes_variables, reader.remarks


@dataclass(slots=True)
class _PromptsReader:
    """Collects prompts and remarks."""

    folder: SourceFolder
    path: Path
    prefix: str = ""
    suffix: str = ""
    prompts: list[SuitePrompt] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)
    code: list[tuple[Place, str]] = field(default_factory=list)

    def remark(self, kind: RemarkKind, place: Place, what: str, why: str) -> None:
        """Note a part that is not carried."""
        remark = Remark(kind, place, what, why)
        if remark not in self.remarks:
            self.remarks.append(remark)

    def read_affixes(self, config: LocatedMap) -> None:
        """Read what ``defaultTest`` puts before and behind each prompt."""
        default = config.get("defaultTest")
        place = config.place_of("defaultTest")
        if isinstance(default, str) and default.startswith("file://"):
            try:
                default = self.folder.read_value(self.folder.find_one(default, self.path, place), place)
            except SuiteError:
                return  # named where the tests are read
        if not isinstance(default, LocatedMap):
            return
        options = default.get("options")
        if isinstance(options, LocatedMap):
            self.prefix = _number_or_text(options.get("prefix"))
            self.suffix = _number_or_text(options.get("suffix"))

    def read(self, value: Json, place: Place) -> None:
        """Read ``prompts``: a text, a list of texts and mappings, or a mapping from texts to labels."""
        if isinstance(value, str):
            self._read_reference(_Source(value, "", {}, place))
        elif isinstance(value, LocatedList):
            for index, item in enumerate(value):
                self._read_item(item, value.place_of(index))
        elif isinstance(value, LocatedMap):
            for raw, label in value.items():
                self._read_reference(_Source(raw, _text(label), {}, value.place_of(raw)))
        else:
            self.remark("not carried", place, "prompts", "expected a text, a list or a mapping")
        if not self.prompts and not self.code and not self.remarks:
            self.remark("not carried", place, "prompts", "there is none: write a prompt file")

    def _read_item(self, item: Json, place: Place) -> None:
        if isinstance(item, str):
            self._read_reference(_Source(item, "", {}, place))
            return
        if not isinstance(item, LocatedMap):
            self.remark("not carried", place, "a prompt", "expected a text, or a mapping with raw or id")
            return
        config = item.get("config")
        if not isinstance(config, Mapping):
            config = {}
        label = _text(item.get("label")) or _text(item.get("display"))
        for key in ("raw", "file", "id"):
            raw = _text(item.get(key))
            if not raw:
                continue
            if key == "file":
                why = "promptfoo has no such key and uses the id as the prompt; the file is the prompt here"
                self.remark("differs", item.place_of(key), f"file: {show_provider(raw)}", why)
            if key == "raw" and not label:
                label = _text(item.get("id"))
            self._read_reference(_Source(raw, label, config, item.place_of(key)))
            return
        if is_message_list(item.get("raw")):
            self._add_value(item["raw"], _Source("", label, config, item.place_of("raw")))
            return
        self.remark("not carried", place, "a prompt", "expected its text or its file as raw or id")

    def _read_reference(self, source: _Source) -> None:
        """Read a prompt that is a text, or the name of files."""
        raw = source.raw.strip()
        if raw.startswith(_HOSTED):
            why = "the prompt is stored by a service and is not fetched: write it as a prompt file"
            self.remark("not carried", source.place, show_provider(raw), why)
            return
        if raw.startswith("exec:"):
            self.code.append((source.place, show_provider(raw)))
            return
        if not _may_name_file(raw):
            self.add(source)
            return
        try:
            files = self.folder.find(raw, self.path, source.place)
        except SuiteError as error:
            if not raw.startswith("file://") and ("{{" in raw or " " in raw):
                self.add(source)
                return
            self.remark("not carried", error.place, f"prompt {show_provider(raw)}", error.what)
            return
        self._read_files(files, raw, source)

    def _read_files(self, files: list[Path], raw: str, source: _Source) -> None:
        path, function = split_function(raw)
        if not files:
            self.remark(
                "not carried", source.place, f"prompt {show_provider(raw)}", "no file has such a name"
            )
        for file in files:
            if file.suffix.lower() in _PROGRAMS:
                what = f"file://{self.folder.place(file).file}"
                if function:
                    what += f":{function}"
                self.code.append((source.place, what))
                continue
            if len(files) == 1 and not file.is_file() and not raw.startswith("file://"):
                is_name = PurePosixPath(path).suffix.lower() in _TEXT_SUFFIXES and " " not in path
                if not is_name:
                    self.add(source)
                    continue
            label = source.label
            if label and len(files) > 1:
                label = f"{label}: {self.folder.place(file).file}"
            try:
                self._read_file(file, replace(source, label=label))
            except SuiteError as error:
                self.remark("not carried", error.place, f"prompt {show_provider(raw)}", error.what)

    def _read_file(self, file: Path, source: _Source) -> None:
        """Read the prompts of a file.

        Raises:
            SuiteError: It cannot be read.
        """
        text = self.folder.read_text(file, source.place)
        place = self.folder.place(file, 1)
        whole = _Source(text, source.label or place.file, source.config, place, is_file=True)
        suffix = file.suffix.lower()
        if suffix == ".txt":
            self._read_separated(whole)
        elif suffix == ".csv":
            self._read_table(whole)
        elif suffix == ".jsonl":
            for number, line in enumerate(text.split("\n"), start=1):
                if line.strip():
                    self.add(replace(whole, raw=line, place=self.folder.place(file, number)))
        elif suffix in (".yaml", ".yml"):
            self._read_yaml(whole)
        else:
            self.add(whole)

    def _read_separated(self, source: _Source) -> None:
        """Add the prompts of a text file: lines ``---`` separate them."""
        lines: list[str] = []
        start = 1
        count = len(self.prompts)
        for number, line in enumerate([*source.raw.split("\n"), SEPARATOR], start=1):
            if line.strip() != SEPARATOR:
                lines.append(line)
                continue
            text = "\n".join(lines)
            if text.strip():
                blank = len(text) - len(text.lstrip())
                first = start + text.count("\n", 0, blank)
                self.add(replace(source, raw=text.strip(), place=replace(source.place, line=first)))
            lines = []
            start = number + 1
        if len(self.prompts) == count and not source.raw.strip(" \n\t-"):
            self.remark("not carried", source.place, "a prompt", "the file is empty")

    def _read_table(self, source: _Source) -> None:
        """Add the prompts of a CSV file: its column ``prompt``, or each line if it has no commas."""
        if "," not in source.raw:
            for number, line in enumerate(source.raw.split("\n"), start=1):
                is_header = number == 1 and line.strip().lower() == "prompt"
                if line.strip() and not is_header:
                    self.add(replace(source, raw=line, place=replace(source.place, line=number)))
            return
        try:
            records = list(read_csv(source.raw))
        except BadFile as error:
            self.remark("not carried", source.place_of_line(error.line), "a prompt", error.what)
            return
        header = [cell.strip() for cell in records[0][1]]
        if "prompt" not in header:
            self.remark("not carried", source.place, "prompts of a table", "expected a column named prompt")
            return
        for number, cells in records[1:]:
            row = dict(zip(header, (cell.strip() for cell in cells), strict=False))
            label = row.get("label") or source.label
            if row.get("prompt"):
                place = replace(source.place, line=number)
                self.add(replace(source, raw=row["prompt"], label=label, place=place))

    def _read_yaml(self, source: _Source) -> None:
        """Add the prompt of a YAML file; a file that is not YAML is a text."""
        try:
            value = read_located_yaml(_quote_templates(source.raw), source.place.file)
        except BadFile:
            self.add(source)
            return
        self._add_value(value, source)

    def add(self, source: _Source) -> None:
        """Add a prompt: a list of messages as JSON or YAML, or a text."""
        raw = source.raw.strip()
        if not raw:
            self.remark("not carried", source.place, "a prompt", "it is empty")
            return
        if self.prefix or self.suffix:
            raw = f"{self.prefix}{source.raw}{self.suffix}"
            self._add_sections([("user", keep_partial(raw))], source)
            return
        try:
            value = _parse_messages(raw, source.place.file)
        except BadFile as error:
            why = f"a list of messages that cannot be read before its templates are filled in ({error.what}): write it as a prompt file"
            self.remark("not carried", source.place_of_line(error.line), self._describe(source), why)
            return
        if value is None:
            self._add_sections([("user", keep_partial(source.raw))], source)
        else:
            self._add_value(value, source)

    def _add_value(self, value: Json, source: _Source) -> None:
        """Add a prompt that is written as data: a list of messages, or JSON that the model gets as text."""
        if isinstance(value, LocatedMap) and is_message_list(value.get("messages")):
            value = value["messages"]
        if isinstance(value, str):
            self._add_sections([("user", keep_partial(value))], source)
            return
        if not is_message_list(value):
            why = "the model gets this JSON as a text; values are put into it as they are, not as JSON"
            self.remark("differs", source.place, self._describe(source), why)
            text = json.dumps(value, indent=2, ensure_ascii=False)
            self._add_sections([("user", text)], source)
            return
        try:
            sections = read_messages(value, self.folder, self.path)
        except SuiteError as error:
            self.remark("not carried", source.place, self._describe(source), error.what)
            return
        self._add_sections(sections, source)

    def _add_sections(self, sections: list[tuple[Role, str]], source: _Source) -> None:
        """Add a prompt if its templates can be carried."""
        translated: list[tuple[Role, str]] = []
        variables: dict[str, None] = {}
        for role, text in sections:
            try:
                template = translate(text)
            except Untranslatable as error:
                place = source.place
                if len(sections) == 1:
                    place = source.place_of_line(error.line)
                self.remark("not carried", place, self._describe(source), error.what)
                return
            for note in template.notes:
                self.remark("differs", source.place, self._describe(source), note)
            translated.append((role, template.text))
            variables.update(dict.fromkeys(template.variables))
        if _CONVERSATION in variables:
            why = f"it has earlier turns in {_CONVERSATION}, which promptfoo fills in: use a conversation with several calls"
            self.remark("not carried", source.place, self._describe(source), why)
            return
        params: dict[str, Json] = {}
        if source.config:
            params, remarks = read_params(source.config, self.folder, self.path, source.place)
            self.remarks += [remark for remark in remarks if remark not in self.remarks]
        prompt = SuitePrompt(
            label=" ".join(source.label.split()),
            sections=tuple(translated),
            variables=tuple(variables),
            params=params,
            place=source.place,
        )
        is_known = any(
            (known.label, known.sections, known.params) == (prompt.label, prompt.sections, params)
            for known in self.prompts
        )
        if not is_known:
            self.prompts.append(prompt)

    def _describe(self, source: _Source) -> str:
        text = source.label or " ".join(source.raw.split())
        return f"prompt {shorten_text(text, _MAX_SHOWN)}"


def _text(value: Json) -> str:
    if isinstance(value, str):
        return value
    return ""


def _number_or_text(value: Json) -> str:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    return _text(value)


def _may_name_file(raw: str) -> bool:
    """Return whether promptfoo reads a prompt as the name of a file.

    >>> _may_name_file("prompts/v1.txt"), _may_name_file("Translate {{x}} into French")
    (True, False)
    """
    if "\n" in raw:
        return False
    if raw.startswith("file://"):
        return True
    suffix = PurePosixPath(split_function(raw)[0]).suffix.lower()
    if suffix in _TEXT_SUFFIXES or suffix in _PROGRAMS:
        return True
    return any(char in raw for char in "*/\\")


def _quote_templates(text: str) -> str:
    """Return YAML in which ``content: {{x}}`` is a text: promptfoo fills it in before it reads the YAML."""
    return _UNQUOTED.sub(lambda match: f'{match[1]}"{match[2]}"', text)


def _parse_messages(raw: str, file: str) -> Json:
    """Return the value of a prompt that is written as JSON or YAML; None if it is a text.

    Raises:
        BadFile: It is meant as a list of messages, and is not valid before its templates are filled in.
    """
    if raw.startswith("- role:"):
        return read_located_yaml(_quote_templates(raw), file)
    if raw[0] not in '[{"':
        return None
    try:
        return read_located_json(raw, file)
    except BadFile:
        if raw[0] == "[" and '"role"' in raw:
            raise
        return None
