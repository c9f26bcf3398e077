"""The sources of a ledger: a prompt of the registry, a file of instructions, descriptions of tools, a text in Python code."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

from pytest_llmops._util.text_files import BadFile, decode_text, locate_errors, read_bytes, read_yaml
from pytest_llmops.errors import PromptError, UnknownName, UsageError
from pytest_llmops.ledger.descriptions import (
    KEY,
    check_descriptions,
    find_json_descriptions,
    find_yaml_descriptions,
)
from pytest_llmops.ledger.inserts import find_tokens
from pytest_llmops.ledger.model import Document, Rule, Span
from pytest_llmops.ledger.python_texts import find_text, parse_code
from pytest_llmops.ledger.regions import LINE, Region, Syntax, find_line_starts, line_at, plain_region
from pytest_llmops.ledger.rules import Piece, Unit, split_region
from pytest_llmops.measurement import shorten_text
from pytest_llmops.prompts.prompt_file import (
    FENCE,
    HEADINGS,
    PROMPT_KEYS,
    read_front_matter,
    read_variables,
    split_front_matter,
    split_sections,
)
from pytest_llmops.prompts.registry import SUFFIX, Prompts, check_variable_use, read_prompt

_Kind: TypeAlias = Literal["prompt", "skill", "python", "json", "yaml", "text"]
SKILL_FILE = "SKILL.md"
# Files that nobody fills in: braces mean nothing in them
INSTRUCTION_FILES = (SKILL_FILE, "AGENTS.md", "CLAUDE.md", "GEMINI.md")
_SUFFIXES: dict[str, _Kind] = {".py": "python", ".json": "json", ".yaml": "yaml", ".yml": "yaml"}
_LINES = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?")
_CODE_TARGET = re.compile(r"(.+\.py):([\w.]+)")
_CODE_SIGNS = "\"'\\"  # next to them, a cut could end a text in code too early
_NAME = re.compile(r"[A-Za-z_]\w*")
BYTE_ORDER_MARK = "\ufeff"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    """The target that a user named.

    Attributes:
        name: For reports.
        path: The file.
        prompt: The name of a prompt of the registry, or "".
        version: Its version, or "".
        code_name: The name of a text in Python code, or "".
    """

    name: str
    path: Path
    prompt: str = ""
    version: str = ""
    code_name: str = ""


def open_document(
    target: str, *, prompts: Path, version: str = "", by: Unit = "auto", lines: Sequence[str] = ()
) -> Document:
    r"""Return the file that a user named, with its rules.

    Args:
        target: The name of a prompt (``support/answer``); the path of a file of instructions, of a prompt, of the folder of a skill,
            or of a JSON or YAML file with descriptions of tools; ``FILE.py:NAME`` for a constant (``Class.NAME`` too), or a function,
            method or class with a docstring.
        prompts: The folder of the prompts; it may be missing.
        version: The version or alias of a prompt; "": the version that `Prompts.get` chooses.
        by: The unit of a rule: see `split_region`.
        lines: Lines of the file, such as ``4-9`` or ``12``, each a rule; then nothing else is one.

    Raises:
        UsageError: The target does not exist, a commit is named, the file cannot be read, it has no rules, or the lines are wrong.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     _ = Path(folder, "AGENTS.md").write_text("# Style\n- Be brief.\n- Be kind.\n")
    ...     document = open_document(f"{folder}/AGENTS.md", prompts=Path("prompts"))
    >>> document.without([1])
    '# Style\n- Be kind.\n'
    """
    place = _find_target(target, prompts, version)
    with locate_errors(PromptError, place.path):
        raw = read_bytes(place.path)
        if not decode_text(raw).strip():
            raise BadFile("the file is empty: write the text into it")
        text = raw.decode()
        document = Document(
            name=place.name,
            path=place.path,
            text=text,
            rules=(),
            prompt=place.prompt,
            version=place.version,
        )
        if _find_kind(document) == "prompt":
            read_prompt(place.path, name=place.prompt, version=place.version)
        if lines:
            rules = _read_line_rules(document, lines, place.code_name)
        else:
            rules = _find_rules(document, place.code_name, by)
        if not rules:
            raise BadFile("it has no rule to leave out: headings, labels and comments stay")
    return replace(document, rules=tuple(rules))


def check_without(document: Document, numbers: Collection[int]) -> str:
    r"""Return why a file without some rules is invalid; "" if it is valid.

    >>> rule = Rule(number=1, text="Hi", first_line=2, last_line=2, spans=((6, 8),), kind="paragraph")
    >>> document = Document(name="p v1", path=Path("p/v1.md"), text="user:\nHi", rules=(rule,), prompt="p", version="v1")
    >>> check_without(document, [1])
    "the section 'user' has no content"
    """
    try:
        _check_text(document, document.without(numbers))
    except BadFile as error:
        return error.what
    return ""


def _find_target(target: str, prompts: Path, version: str) -> _Target:
    """Return the target that a user named.

    Raises:
        UsageError: The target does not exist, or a commit is named.
    """
    registry = Prompts(prompts)
    names: tuple[str, ...] = ()
    if prompts.is_dir():
        names = registry.names()
    plain_name, mark, _ = target.partition("@")
    if plain_name in names and (mark or "@" in version):
        raise UsageError(
            f"{shorten_text(target, 80)}: expected a version of the working tree, got one at a commit (@): check it out first"
        )
    if target in names:
        prompt = registry.get(target, version)
        return _Target(
            name=f"{target} {prompt.version}", path=prompt.path, prompt=target, version=prompt.version
        )
    code = _CODE_TARGET.fullmatch(target)
    if code and not Path(target).exists():
        return _Target(name=target, path=Path(code[1]), code_name=code[2])
    path = Path(target)
    if path.is_dir() and path.joinpath(SKILL_FILE).is_file():
        path = path / SKILL_FILE
    if path.suffix == ".py" and path.is_file():
        raise UsageError(f"{target}: which text of the file? Write {target}:NAME of a constant or a function")
    if not path.is_file():
        known = [*names, *_list_siblings(path)]
        step = ""
        if not known:
            step = "name a prompt, a file, or a text in code as FILE.py:NAME"
        raise UnknownName("prompt or file", target, known, step=step)
    name, prompt_version = _find_in_registry(registry, path, names)
    if name:
        return _Target(name=f"{name} {prompt_version}", path=path, prompt=name, version=prompt_version)
    return _Target(name=path.as_posix(), path=path)


def _list_siblings(path: Path) -> list[str]:
    """Return the files next to a path that does not exist."""
    try:
        return [child.as_posix() for child in sorted(path.parent.iterdir())[:1_000] if child.is_file()]
    except OSError:
        return []


def _find_in_registry(registry: Prompts, path: Path, names: Collection[str]) -> tuple[str, str]:
    """Return name and version of the prompt in a file; two empty texts if it has no prompt."""
    try:
        name = path.resolve().parent.relative_to(registry.folder.resolve()).as_posix()
    except ValueError:
        return "", ""
    if name in names and path.name == f"{path.stem}{SUFFIX}" and path.stem in registry.versions(name):
        return name, path.stem
    return "", ""


def _find_kind(document: Document) -> _Kind:
    """Return how a file is read."""
    path = document.path
    if document.prompt:
        return "prompt"
    if path.name == SKILL_FILE:
        return "skill"
    if path.suffix in _SUFFIXES:
        return _SUFFIXES[path.suffix]
    if path.suffix == SUFFIX and path.name not in INSTRUCTION_FILES and _is_prompt(document.text):
        return "prompt"
    return "text"


def _is_prompt(text: str) -> bool:
    """Return whether a file has the sections of a prompt, or its front matter the variables of one."""
    if any(line.rstrip() in HEADINGS for line in text.split("\n")):
        return True
    try:
        front = split_front_matter(text)[0]
        return "variables" in read_front_matter(front, PROMPT_KEYS).values
    except BadFile:
        return False


def _find_rules(document: Document, code_name: str, by: Unit) -> list[Rule]:
    """Return the rules of a file.

    Raises:
        BadFile: It cannot be read, or a mark has no end.
    """
    kind = _find_kind(document)
    regions = _find_regions(document, kind, code_name)
    line_starts = find_line_starts(document.text)
    shift = _count_mark(document.text)
    found: list[tuple[Region, Piece, int]] = []
    for region in regions:
        try:
            pieces = split_region(region, by)
        except BadFile as error:
            line = (error.line or 1) + line_at(line_starts, region.starts[0] + shift) - 1
            raise BadFile(error.what, line) from None
        found += [(region, piece, len(pieces)) for piece in pieces]
    if any(piece.kind == "mark" for _, piece, _ in found):
        found = [(region, piece, count) for region, piece, count in found if piece.kind == "mark"]
    names: Counter[str] = Counter()
    if kind == "prompt":
        names = _count_names(region.text for region in regions)
    rules = []
    for number, (region, piece, count) in enumerate(found, start=1):
        spans = _locate(region, piece.cut, shift)
        content = _locate(region, piece.content, shift)
        rule = Rule(
            number=number,
            text=piece.text,
            first_line=line_at(line_starts, _skip_blanks(document.text, content[0][0])),
            last_line=line_at(line_starts, _skip_blanks_back(document.text, content[-1][1]) - 1),
            spans=tuple(spans),
            kind=piece.kind,
            kept=piece.kept,
        )
        may_break = count == 1
        if kind == "prompt":
            may_break = may_break or _may_break_template(document.text, spans, names)
        elif not may_break:
            may_break = _may_break(document.text, kind, region, spans, shift)
        if may_break:
            rule = _keep_if_invalid(document, rule)
        rules.append(rule)
    return rules


def _skip_blanks(text: str, place: int) -> int:
    """Return the place of the first character that is not white space."""
    while place + 1 < len(text) and text[place].isspace():
        place += 1
    return place


def _skip_blanks_back(text: str, place: int) -> int:
    """Return the place behind the last character in front of a place that is not white space."""
    while place > 1 and text[place - 1].isspace():
        place -= 1
    return place


def _locate(region: Region, spans: Iterable[Span], shift: int) -> list[Span]:
    """Return the ranges of the file for ranges of a text in it, in order and without overlap."""
    located: list[Span] = []
    for start, end in spans:
        for first, last in region.locate(start, end):
            if located and first + shift <= located[-1][1]:
                located[-1] = (located[-1][0], max(located[-1][1], last + shift))
            else:
                located.append((first + shift, last + shift))
    return located


def _may_break(text: str, kind: _Kind, region: Region, spans: Sequence[Span], shift: int) -> bool:
    """Return whether a file could be invalid without a rule, so that it has to be tried."""
    if kind in ("yaml", "skill"):
        return spans[0][0] <= region.starts[0] + shift
    if kind != "python":
        return False
    return any(sign in text[start - 1] + text[end : end + 1] for start, end in spans for sign in _CODE_SIGNS)


def _may_break_template(text: str, spans: Sequence[Span], names: Counter[str]) -> bool:
    """Return whether a prompt could be invalid without a rule: it names a variable that nothing else names, or has a tag `raw` or `set`.

    Args:
        text: The prompt.
        spans: The ranges that the rule cuts.
        names: How often each name is in the tags and expressions of the prompt.
    """
    cut = [text[start:end] for start, end in spans]
    if not any("{" in part for part in cut):
        return False
    own = _count_names(cut)
    is_only = any(names[name] == count for name, count in own.items())
    return is_only or any("raw" in part for part in cut) or "set" in own


def _count_names(texts: Iterable[str]) -> Counter[str]:
    """Return how often each name is in the tags and expressions of parts of a prompt."""
    names: Counter[str] = Counter()
    for text in texts:
        for token in find_tokens(plain_region(text, 0, len(text), "prompt")):
            if token.kind in ("expression", "tag"):
                names.update(_NAME.findall(token.text))
    return names


def _keep_if_invalid(document: Document, rule: Rule) -> Rule:
    """Return a rule, kept if the file without it is invalid."""
    if rule.kept:
        return rule
    why = check_without(replace(document, rules=(rule,)), [rule.number])
    if not why:
        return rule
    return replace(rule, kept=f"without it the file is invalid: {why}")


def _count_mark(text: str) -> int:
    """Return how many characters the byte order mark has: one or none."""
    return int(text.startswith(BYTE_ORDER_MARK))


def _find_regions(document: Document, kind: _Kind, code_name: str) -> list[Region]:
    """Return the texts of a file that have rules, without its byte order mark.

    Raises:
        BadFile: The file cannot be read, or has no such text.
    """
    source = document.text[_count_mark(document.text) :]
    if kind == "python":
        return [find_text(source, code_name)]
    if kind == "json":
        regions = find_json_descriptions(source)
    elif kind == "yaml":
        regions = find_yaml_descriptions(source)
    elif kind == "prompt":
        return _find_sections(source)
    else:
        return _find_instructions(source, document.path.name, has_description=kind == "skill")
    if not regions:
        raise BadFile(f"no text with the key {KEY!r}: name lines of the file instead")
    return regions


def _find_body(source: str) -> tuple[int, int]:
    """Return where the front matter ends, without its line of dashes, and where the body starts; twice 0 without one."""
    if source.split("\n", 1)[0].rstrip() != FENCE:
        return 0, 0
    for place, match in enumerate(LINE.finditer(source)):
        if place > 0 and match[0].rstrip() == FENCE:
            return match.start(), match.end()
    return 0, 0


def _find_sections(source: str) -> list[Region]:
    """Return the sections of a prompt; a message of the user with the answer to it, and without inserted values, is one region."""
    starts = [_find_body(source)[1]]
    text_starts = [starts[0]]  # behind the line of the role
    headings = [""]
    for match in LINE.finditer(source, starts[0]):
        heading = match[0].rstrip()
        if heading in HEADINGS:
            starts.append(match.start())
            text_starts.append(match.end())
            headings.append(heading)
    ends = [*starts[1:], len(source)]
    regions: list[Region] = []
    place = 0
    while place < len(starts):
        if headings[place : place + 2] == ["user:", "assistant:"]:
            region = plain_region(source, starts[place], ends[place + 1], "prompt")
            if all(token.comment == "keep" for token in find_tokens(region)):
                regions.append(replace(region, is_example=True))
                place += 2
                continue
        regions.append(plain_region(source, text_starts[place], ends[place], "prompt"))
        place += 1
    return [region for region in regions if region.text.strip()]


def _find_instructions(source: str, name: str, *, has_description: bool) -> list[Region]:
    """Return the text of a file below its front matter, and the description of a skill in that."""
    front_end, start = _find_body(source)
    regions: list[Region] = []
    if has_description and start:
        front_start = source.index("\n") + 1
        try:
            regions = find_yaml_descriptions(source, front_start, front_end, deep=False)
        except BadFile:
            regions = []  # agents read such a description, too, but nobody knows where it ends
    syntax: Syntax = "text"
    if name in INSTRUCTION_FILES:
        syntax = "instructions"
    regions.append(plain_region(source, start, len(source), syntax))
    return [region for region in regions if region.text.strip()]


def _check_text(document: Document, text: str) -> None:
    """Check that a file with another text is still valid.

    Raises:
        BadFile: It is not.
    """
    kind = _find_kind(document)
    text = decode_text(text.encode("utf-8", "surrogatepass"))
    original = decode_text(document.text.encode("utf-8", "surrogatepass"))
    if kind == "prompt":
        _check_prompt(text)
    elif kind == "python":
        parse_code(text)
        find_text(text, document.name.rpartition(":")[2])
    elif kind in ("json", "yaml"):
        check_descriptions(text, original, is_json=kind == "json")
    elif kind == "skill":
        _check_skill(text, original)


def _check_prompt(text: str) -> None:
    """Check the text of a prompt as `read_prompt` does.

    Raises:
        BadFile: It is not valid.
    """
    front, body, first_line = split_front_matter(text)
    head = read_front_matter(front)
    sections = split_sections(body, first_line)
    check_variable_use(read_variables(head), sections, head.lines.get("variables"))


def _check_skill(text: str, original: str) -> None:
    """Check that a skill still has a description, if it had one that can be read.

    Raises:
        BadFile: It has none.
    """
    try:
        before = read_yaml(split_front_matter(original)[0])[0]
    except BadFile:
        return
    if not isinstance(before, dict) or not before.get(KEY):
        return
    after = read_yaml(split_front_matter(text)[0])[0]
    value = None
    if isinstance(after, dict):
        value = after.get(KEY)
    if not isinstance(value, str) or not value.strip():
        raise BadFile(f"the {KEY} would be empty")


def _read_line_rules(document: Document, ranges: Sequence[str], code_name: str) -> list[Rule]:
    """Return a rule for each range of lines.

    Raises:
        BadFile: A range has another form, is out of the file or blank, or two overlap.
    """
    lines = list(LINE.finditer(document.text))
    shift = _count_mark(document.text)
    extent = (1, len(lines))
    if code_name:
        region = find_text(document.text[shift:], code_name)
        starts = find_line_starts(document.text)
        extent = line_at(starts, region.starts[0] + shift), line_at(starts, region.ends[-1] + shift - 1)
    rules: list[Rule] = []
    last_line = 0
    for first, last in sorted(_read_range(given) for given in ranges):
        if first < extent[0] or last > extent[1]:
            raise BadFile(f"--lines {first}-{last}: expected lines from {extent[0]} to {extent[1]}")
        if first <= last_line:
            raise BadFile(f"--lines {first}-{last}: expected ranges that do not overlap", first)
        last_line = last
        start = lines[first - 1].start()
        end = lines[last - 1].end()
        text = document.text[start:end].strip().removeprefix(BYTE_ORDER_MARK)
        if not text:
            raise BadFile(f"--lines {first}-{last}: expected a line with text, got blank ones", first)
        rule = Rule(
            number=len(rules) + 1,
            text=text,
            first_line=first,
            last_line=last,
            spans=((max(start, shift), end),),
            kind="lines",
        )
        rules.append(_keep_if_invalid(document, rule))
    return rules


def _read_range(given: str) -> tuple[int, int]:
    """Return first and last line of a range.

    Raises:
        BadFile: It is not one.
    """
    match = _LINES.fullmatch(given.strip())
    if match is None:
        raise BadFile(f"--lines {shorten_text(given, 40)!r}: expected a line or a range, such as 12 or 4-9")
    first = int(match[1])
    last = int(match[2] or first)
    if not 1 <= first <= last:
        raise BadFile(f"--lines {given!r}: expected a first line of at least 1 and a last line behind it")
    return first, last
