"""Read the cases of evals.json (Agent Skills) and of evalset.json (ADK), so that these files run unchanged.

| evals.json | becomes | evalset.json | becomes |
|---|---|---|---|
| ``prompt`` | ``input`` | text of ``user_content`` | ``input`` |
| ``expected_output`` | ``reference`` | text of ``final_response`` of the last turn | ``reference`` |
| ``assertions`` or ``expectations`` | ``case["checklist"]``, texts | ``rubrics`` | ``case["checklist"]`` |
| ``files`` | ``files``; `copy_files` | ``tool_uses``, or the calls in ``invocation_events`` | ``case["tool_calls"]``: ``name`` and ``arguments`` |
| other keys | ``case["key"]`` | ``session_input`` | ``case["session_input"]`` |
| | | a conversation of several turns | ``case["turns"]``, with the calls of each; ``case["references"]`` |
"""

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from pytest_llmops._util.text_files import BadFile, json_kind
from pytest_llmops._util.user_files import find_path
from pytest_llmops.errors import UnknownName, UsageError
from pytest_llmops.measurement import Json, shorten_text

if TYPE_CHECKING:
    from pytest_llmops.cases.files import Case

FILE_NAMES = "file_names"  # key of a case: its files as evals.json names them, in the order of `Case.files`
# Keys under which people write the text of an assertion that is an object
_ASSERTION_KEYS = ("text", "assertion", "expectation", "description", "criterion", "check", "name")
# Keys of a call of ADK
_CALL_KEYS = ("id", "name", "args", "partial_args", "partialArgs", "will_continue", "willContinue")
# Keys of a case, which evals.json names otherwise
_OWN_NAMES = {"input": "prompt", "reference": "expected_output"}
_TAKEN_KEYS = frozenset({"id", "prompt", "expected_output", "files", *_OWN_NAMES})


def parse_eval_rows(value: Json, folder: Path) -> Iterator[tuple[int, Json]] | None:
    """Return the number and the row of each case of an evals.json or evalset.json; None for another JSON document.

    Args:
        value: The document.
        folder: The folder of the file, in which its files are searched.

    Raises:
        BadFile: A case lacks its prompt or has a wrong value; gives the place in the file.
    """
    if not isinstance(value, Mapping):
        return None
    for key in ("eval_cases", "evalCases"):
        if key in value:
            cases = _read_list(value[key], key)
            return enumerate(map(_parse_adk_case, cases, _name_places(key, cases)), 1)
    if "evals" not in value:
        return None
    evals = _read_list(value["evals"], "evals")
    rows = (
        _parse_eval(entry, place, folder)
        for entry, place in zip(evals, _name_places("evals", evals), strict=True)
    )
    return enumerate(rows, 1)


def copy_files(case: "Case", folder: str | Path) -> list[Path]:
    """Copy the files of a case into a folder, under the names by which its prompt speaks of them, and return the copies.

    Args:
        case: A case of an evals.json (names relative to the skill, ``evals/files/orders.csv``), or any other: names without folders.
        folder: Usually the folder in which the agent works, in ``tmp_path``.

    Raises:
        UsageError: A file is missing, or its copy exists already.
    """
    names = case.data.get(FILE_NAMES)
    if not isinstance(names, list):
        names = [Path(name).name for name in case.files]
    copies = []
    for source, name in zip(case.files, names, strict=True):
        target = Path(folder) / str(name)
        if target.exists():
            raise UsageError(
                f"copy_files: case {case.id}: {target} exists already: copy into an empty folder"
            )
        try:
            path = find_path(source)
        except BadFile as error:
            raise UsageError(f"copy_files: case {case.id}: {source}: {error.what}") from None
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        copies.append(target)
    return copies


def _name_places(key: str, entries: Sequence[Json]) -> list[str]:
    """Return the places of the entries of a list, for errors: ``evals[0]``."""
    return [f"{key}[{index}]" for index in range(len(entries))]


def _parse_eval(entry: Json, place: str, folder: Path) -> dict[str, Json]:
    """Return the row of a case of evals.json.

    Raises:
        BadFile: It has no prompt, or a value of a wrong type, or a file of it is missing.
    """
    row = _read_object(entry, place)
    prompt = row.get("prompt")
    if not isinstance(prompt, str) or not prompt.strip():
        raise BadFile(f"{place}.prompt: expected a text, got {_describe(row, 'prompt')}")
    for key, name in _OWN_NAMES.items():
        if row.get(key) is not None:
            raise BadFile(
                f"{place}.{key}: expected no such key: a case has the value of {name} under it; rename it"
            )
    case = {key: value for key, value in row.items() if key not in _TAKEN_KEYS}
    case["id"] = _parse_eval_id(row, place)
    case["input"] = prompt
    if row.get("expected_output") is not None:
        case["reference"] = _read_text(row["expected_output"], f"{place}.expected_output")
    checklist: list[Json] = []
    for key in ("assertions", "expectations"):
        for index, assertion in enumerate(_read_list(row.get(key), f"{place}.{key}")):
            checklist.append(_parse_assertion(assertion, f"{place}.{key}[{index}]"))
    if checklist:
        case["checklist"] = checklist
    files, names = _find_files(_read_list(row.get("files"), f"{place}.files"), f"{place}.files", folder)
    if files:
        case["files"] = files
        case[FILE_NAMES] = names
    return case


def _parse_eval_id(row: Mapping[str, Json], place: str) -> str:
    """Return the id of a case, which evals.json has as a number or a text.

    Raises:
        BadFile: There is none: a number by position would change when a case is inserted.
    """
    value = row.get("id")
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value:
        raise BadFile(
            f"{place}.id: expected a number or a text that names the case, got {_describe(row, 'id')}"
        )
    return value


def _parse_assertion(assertion: Json, place: str) -> str:
    """Return the text of an assertion: itself, or the text of an object; a value that is looked for is added to it.

    Raises:
        BadFile: It is neither, or the object has no text.
    """
    if isinstance(assertion, str) and assertion.strip():
        return assertion
    if isinstance(assertion, Mapping):
        for key in _ASSERTION_KEYS:
            text = assertion.get(key)
            if not isinstance(text, str) or not text.strip():
                continue
            value = assertion.get("value")
            if isinstance(value, str) and value not in text:
                kind = assertion.get("type", "value")
                return f"{text} ({kind}: {value})"
            return text
    keys = ", ".join(_ASSERTION_KEYS)
    raise BadFile(
        f"{place}: expected a text, or an object with its text under one of {keys}; got {_describe_value(assertion)}"
    )


def _find_files(given: Sequence[Json], place: str, folder: Path) -> tuple[list[Json], list[Json]]:
    """Return the paths of the files of a case, and their names in evals.json; a folder means all files in it.

    They are relative to the folder of the skill (the one above ``evals``), or to the folder of the file itself.

    Raises:
        BadFile: One is missing, outside of these folders, or not a text.
    """
    paths: list[Json] = []
    names: list[Json] = []
    for index, value in enumerate(given):
        name = _read_text(value, f"{place}[{index}]")
        pure = PurePosixPath(name)
        if not name.strip() or pure.is_absolute() or ".." in pure.parts:
            raise BadFile(
                f"{place}[{index}]: expected a path in the folder of the skill, got {shorten_text(name, 80)!r}"
            )
        roots = [root for root in (folder.parent, folder) if (root / name).exists()]
        if not roots:
            raise BadFile(
                f"{place}[{index}]: no such file {shorten_text(name, 80)!r}: searched {folder.parent} and {folder}"
            )
        for file in _list_files(roots[0] / name):
            paths.append(_shorten_path(file))
            names.append(file.relative_to(roots[0]).as_posix())
    return paths, names


def _list_files(path: Path) -> Iterable[Path]:
    """Return a file, or all files in a folder."""
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file())
    return [path]


def _shorten_path(path: Path) -> str:
    """Return a path relative to the working directory if it is in there: reports need not have the folders of this machine."""
    absolute = Path(os.path.normpath(path.absolute()))
    if absolute.is_relative_to(Path.cwd()):
        return absolute.relative_to(Path.cwd()).as_posix()
    return str(absolute)


def _parse_adk_case(entry: Json, place: str) -> dict[str, Json]:
    """Return the row of a case of evalset.json.

    Raises:
        BadFile: It has no id, no turn of the user, or a value of a wrong type.
    """
    row = _use_snake_case(_read_object(entry, place))
    case: dict[str, Json] = {"id": _read_text(row.get("eval_id"), f"{place}.eval_id")}
    if row.get("session_input") is not None:
        case["session_input"] = dict(_read_object(row["session_input"], f"{place}.session_input"))
    if row.get("final_session_state"):
        case["final_session_state"] = row["final_session_state"]
    checklist = _parse_rubrics(row.get("rubrics"), f"{place}.rubrics")
    scenario = row.get("conversation_scenario")
    if scenario is not None:
        scenario = _use_snake_case(_read_object(scenario, f"{place}.conversation_scenario"))
        start = scenario.get("starting_prompt")
        case["input"] = _read_text(start, f"{place}.conversation_scenario.starting_prompt")
        case["conversation_plan"] = scenario.get("conversation_plan", "")
    else:
        entries = _read_list(row.get("conversation"), f"{place}.conversation")
        if not entries:
            raise BadFile(f"{place}.conversation: expected at least one turn, got none")
        places = _name_places(f"{place}.conversation", entries)
        turns = list(map(_parse_invocation, entries, places))
        case |= _merge_turns(turns)
        for turn in turns:
            checklist += _as_list(turn.get("checklist"))
    if checklist:
        case["checklist"] = checklist
    return case


def _merge_turns(turns: Sequence[dict[str, Json]]) -> dict[str, Json]:
    """Return the keys of a case with these turns: all calls one after another, and a script of the user if there are several turns."""
    merged: dict[str, Json] = {}
    if "reference" in turns[-1]:
        merged["reference"] = turns[-1]["reference"]
    calls: list[Json] = []
    for turn in turns:
        calls += _as_list(turn.get("tool_calls"))
    if any("tool_calls" in turn for turn in turns):
        merged["tool_calls"] = calls
    if len(turns) == 1:
        merged["input"] = turns[0]["say"]
        return merged
    # Without an input, a case has all messages of the user as its input
    merged["turns"] = [_make_script_turn(turn) for turn in turns]
    merged["references"] = [turn.get("reference", "") for turn in turns]
    return merged


def _make_script_turn(turn: Mapping[str, Json]) -> dict[str, Json]:
    """Return a turn of a scripted user, who expects the calls that the file has for it."""
    script: dict[str, Json] = {"say": turn["say"]}
    if "tool_calls" not in turn:
        return script
    script["expect"] = {"calls": turn["tool_calls"]}
    return script


def _as_list(value: Json) -> list[Json]:
    """Return a list that was made here; empty if it is missing."""
    return value if isinstance(value, list) else []


def _parse_invocation(entry: Json, place: str) -> dict[str, Json]:
    """Return a turn: ``say``, and if the file has them ``reference``, ``tool_calls`` and ``checklist``.

    Raises:
        BadFile: The user has no message, or a value has a wrong type.
    """
    row = _use_snake_case(_read_object(entry, place))
    turn: dict[str, Json] = {"say": _read_content(row.get("user_content"), f"{place}.user_content")}
    if not turn["say"]:
        raise BadFile(f"{place}.user_content: expected a part with text; files in a prompt are not read")
    if row.get("final_response") is not None:
        turn["reference"] = _read_content(row["final_response"], f"{place}.final_response")
    if row.get("intermediate_data") is not None:
        data = _use_snake_case(_read_object(row["intermediate_data"], f"{place}.intermediate_data"))
        turn["tool_calls"] = _parse_tool_uses(data, f"{place}.intermediate_data")
    checklist = _parse_rubrics(row.get("rubrics"), f"{place}.rubrics")
    if checklist:
        turn["checklist"] = checklist
    return turn


def _parse_tool_uses(data: Mapping[str, Json], place: str) -> list[Json]:
    """Return the calls of a turn, ``{"name": ..., "arguments": ...}``, from ``tool_uses`` or the parts of ``invocation_events``.

    Raises:
        BadFile: A call has no name, or its arguments are not an object.
    """
    uses = [*_read_list(data.get("tool_uses"), f"{place}.tool_uses")]
    for index, event in enumerate(_read_list(data.get("invocation_events"), f"{place}.invocation_events")):
        where = f"{place}.invocation_events[{index}]"
        content = _read_object(event, where).get("content")
        for part in _list_parts(content, f"{where}.content"):
            if part.get("function_call") is not None:
                uses.append(part["function_call"])
    calls: list[Json] = []
    for index, use in enumerate(uses):
        where = f"{place}: call {index + 1}"
        values = _read_object(use, where)
        arguments = values.get("args")
        if arguments is None:
            _check_keys(values, where)
            arguments = {}
        calls.append(
            {
                "name": _read_text(values.get("name"), f"{where}: name"),
                "arguments": dict(_read_object(arguments, f"{where}: args")),
            }
        )
    return calls


def _check_keys(values: Mapping[str, Json], where: str) -> None:
    """Raise a `BadFile` for an unknown key of a call without ``args``: without this, ``arguments`` would mean that none are expected."""
    for key in values:
        if key not in _CALL_KEYS:
            raise BadFile(f"{where}: {UnknownName('key', shorten_text(key, 60), _CALL_KEYS)}")


def _parse_rubrics(value: Json, place: str) -> list[Json]:
    """Return the texts of rubrics.

    Raises:
        BadFile: One has no text.
    """
    texts: list[Json] = []
    for index, entry in enumerate(_read_list(value, place)):
        where = f"{place}[{index}]"
        rubric = _use_snake_case(_read_object(entry, where))
        content = _use_snake_case(_read_object(rubric.get("rubric_content"), f"{where}.rubric_content"))
        texts.append(_read_text(content.get("text_property"), f"{where}.rubric_content.text_property"))
    return texts


def _read_content(content: Json, place: str) -> str:
    """Return the text of the parts of a content, without thoughts.

    Raises:
        BadFile: It is not a content with parts.
    """
    texts = []
    for index, part in enumerate(_list_parts(content, place)):
        text = part.get("text")
        if text is not None and not part.get("thought"):
            texts.append(_read_text(text, f"{place}.parts[{index}].text", may_be_empty=True))
    return "\n".join(texts).strip()


def _list_parts(content: Json, place: str) -> list[Mapping[str, Json]]:
    """Return the parts of a content; none if it is null.

    Raises:
        BadFile: It is not a content, or its parts are not objects.
    """
    if content is None:
        return []
    parts = _read_list(_read_object(content, place).get("parts"), f"{place}.parts")
    return [
        _use_snake_case(_read_object(part, f"{place}.parts[{index}]")) for index, part in enumerate(parts)
    ]


def _use_snake_case(row: Mapping[str, Json]) -> dict[str, Json]:
    """Return an object with its keys in snake case: ADK reads and writes ``evalId`` as well as ``eval_id``."""
    return {_to_snake_case(key): value for key, value in row.items()}


def _to_snake_case(name: str) -> str:
    """Return a name in snake case.

    >>> _to_snake_case("userContent"), _to_snake_case("user_content")
    ('user_content', 'user_content')
    """
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


def _read_object(value: Json, place: str) -> Mapping[str, Json]:
    if not isinstance(value, Mapping):
        raise BadFile(f"{place}: expected an object, got {json_kind(value)}")
    return value


def _read_list(value: Json, place: str) -> Sequence[Json]:
    """Return a list; null and a missing key are an empty one.

    Raises:
        BadFile: It is something else.
    """
    if value is None:
        return []
    if not isinstance(value, list):
        raise BadFile(f"{place}: expected a list, got {json_kind(value)}")
    return value


def _read_text(value: Json, place: str, *, may_be_empty: bool = False) -> str:
    if isinstance(value, str) and (may_be_empty or value.strip()):
        return value
    raise BadFile(f"{place}: expected a text, got {_describe_value(value)}")


def _describe_value(value: Json) -> str:
    """Return the kind of a value, for an error."""
    if isinstance(value, str) and not value.strip():
        return "an empty one"
    return json_kind(value)


def _describe(row: Mapping[str, Json], key: str) -> str:
    """Return the value of a row under a key, for an error."""
    if key not in row:
        return f"nothing; the keys are {shorten_text(', '.join(row) or 'none', 80)}"
    return _describe_value(row[key])
