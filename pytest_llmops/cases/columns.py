"""The columns of a case file: which key of a case each one holds. Errors suggest the column that is probably meant."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache

from pytest_llmops._util.option_values import CASE_KEYS
from pytest_llmops._util.text_files import BadFile
from pytest_llmops.errors import UnknownName, find_closest_name, format_name_list
from pytest_llmops.measurement import shorten_text

REQUIRED_KEYS = ("id", "input")
MESSAGES = "messages"  # column of a conversation: the input and, if its last message is the assistant's, the reference
# What other tools call these keys. Names that mean a good answer in one file and one that was
# given in another (`completion`, `response`) are not among them, nor `label`, which is not an answer.
OTHER_NAMES = {
    "id": ("case_id", "question_id", "query_id", "prompt_id", "sample_id", "example_id", "qid", "uid", "uuid", "_id"),
    "input": ("question", "query", "prompt", "instruction", "user_input", "user_query", "user_prompt", "message", "text", "inputs"),
    "reference": (
        "expected", "expected_output", "expected_answer", "expected_response", "reference_answer", "ground_truth", "ground_truths",
        "target", "targets", "ideal", "correct_answer", "best_answer", "gold_answer", "answer", "answers", "answers.text",
    ),
}  # fmt: skip
# Right answers in files of questions; next to `input` or `ground_truth`, they are mostly answers of a model.
MAYBE_GIVEN = ("answer", "answers", "answers.text")
CHOICES = (
    "choices",
    "options",
    "endings",
)  # the answers to choose from; a whole number as the answer is the place of one
_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


@lru_cache(maxsize=1_000)
def find_own_key(name: str) -> str:
    """Return the key of a case for a name, which may be another tool's name for it; ``""`` if it is the name of no key.

    >>> find_own_key("question"), find_own_key("Expected Output"), find_own_key("days")
    ('input', 'reference', '')
    """
    if name in CASE_KEYS:
        return name
    spelling = _spell(name)
    for key, others in OTHER_NAMES.items():
        if spelling == key or spelling in others:
            return key
    return ""


def may_be_given(name: str) -> bool:
    """Return whether a column known as the reference may have answers that a model gave.

    >>> may_be_given("Answer"), may_be_given("ground_truth")
    (True, False)
    """
    return _spell(name) in MAYBE_GIVEN


def find_known_columns(key: str, columns: Iterable[str]) -> list[str]:
    """Return the columns that are known as other names of a key, sorted.

    >>> find_known_columns("input", ["id", "question", "Prompt", "days"])
    ['Prompt', 'question']
    """
    return sorted(column for column in columns if column not in CASE_KEYS and find_own_key(column) == key)


def describe_choice(key: str, columns: Sequence[str]) -> str:
    """Return the message for several columns that may hold a key.

    >>> describe_choice("input", ["prompt", "question"])
    "'prompt' and 'question' may be the input: choose one, fields={'input': 'prompt'}"
    """
    names = [repr(shorten_text(column, 60)) for column in columns]
    example = {key: shorten_text(columns[0], 60)}
    return f"{' and '.join(names)} may be the {key}: choose one, fields={example}"


def check_header(names: list[str], line: int) -> None:
    """Check the header of a CSV file.

    Raises:
        BadFile: A column has no name, a name is repeated, or the columns are separated by something other than commas.
    """
    if len(names) == 1 and ";" in names[0]:
        header = shorten_text(names[0], 60)
        raise BadFile(f"the header has ';' between its columns: use commas: {header}", line)
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        what = f"the column {shorten_text(repeated[0], 60)!r} occurs twice"
    elif "" in names:
        what = "a column without a name (the index of pandas? write the file with index=False)"
    else:
        return
    columns = ", ".join(shorten_text(name, 60) for name in names)
    raise BadFile(f"{what}: columns are {shorten_text(columns, 1_000)}", line)


def check_fields(fields: Mapping[str, str], columns: Collection[str]) -> None:
    """Check that every key of ``fields`` is a key of a case, and every value an existing column.

    Raises:
        BadFile: A key or a column is unknown.
    """
    for key, column in fields.items():
        if key not in CASE_KEYS:
            error = UnknownName("key of a case", str(key), CASE_KEYS, where="fields")
            raise BadFile(str(error))
        if column not in columns:
            error = UnknownName("column", str(column), columns, where=f"fields, for {key}")
            raise BadFile(str(error))


def require_keys(
    columns: Collection[str], names: Mapping[str, str], keys: Iterable[str] = REQUIRED_KEYS
) -> None:
    """Check that there is a column for each key.

    Args:
        columns: The names of all columns.
        names: Key -> the column that it is read from; a key that is not in it is read from the column of its own name.
        keys: The keys that are needed.

    Raises:
        BadFile: A column is missing; the message suggests the column that is probably meant.
    """
    for key in keys:
        if names.get(key, key) not in columns:
            raise BadFile(describe_missing_key(key, columns, names))


def describe_missing_key(key: str, columns: Collection[str], names: Mapping[str, str]) -> str:
    """Return the message for a key without a column, with a hint at the column that is probably meant."""
    name = names.get(key, key)
    taken = (*CASE_KEYS, *names.values())
    free = [column for column in columns if column not in taken]
    hint = ""
    if key == "id":
        hint = "; all rows of a file have an id, or none has"
    elif free and name == key:
        hint = f"; name the column of the {key}, fields={ {key: 'COLUMN'} }"
    near = shorten_text(find_closest_name(name, free), 60)
    if near and key != "id":
        hint = f"; is it {near!r}? Rename it, or give fields={ {key: near} }"
    columns_text = format_name_list(shorten_text(column, 60) for column in columns)
    name_text = shorten_text(name, 60)
    return f"missing {name_text!r}: there are {columns_text}{hint}"


def _spell(name: str) -> str:
    """Return a name of several words in lower case, with ``_`` between the words."""
    return _WORD_START.sub("_", name.strip()).casefold().replace(" ", "_")


def has_only_texts(values: Iterable[object]) -> bool:
    """Return whether all values are texts with more than white space."""
    return all(isinstance(text, str) and text.strip() for text in values)
