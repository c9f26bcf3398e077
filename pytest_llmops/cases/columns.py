"""The columns of a case file: which key of a case each one holds. Errors suggest the column that is probably meant."""

from collections.abc import Collection, Iterable, Mapping

from pytest_llmops._util.option_values import CASE_KEYS
from pytest_llmops._util.text_files import BadFile
from pytest_llmops.errors import UnknownName, find_closest_name, format_name_list
from pytest_llmops.measurement import shorten_text

REQUIRED_KEYS = ("id", "input")
# What other tools call these keys, the most usual name first
OTHER_NAMES = {
    "id": ("case_id", "question_id", "query_id", "qid", "uid", "_id", "name", "key"),
    "input": ("question", "query", "prompt", "instruction", "user_input", "message", "text"),
    "reference": ("answer", "expected", "expected_output", "ground_truth", "target", "ideal", "output"),
}


def find_own_key(name: str) -> str:
    """Return the key of a case for a name, which may be another tool's name for it; ``""`` if it is the name of no key.

    >>> find_own_key("question"), find_own_key("days")
    ('input', '')
    """
    if name in CASE_KEYS:
        return name
    for key, others in OTHER_NAMES.items():
        if name in others:
            return key
    return ""


def check_header(names: list[str], line: int) -> None:
    """Check the header of a CSV file.

    Raises:
        BadFile: A column has no name, a name is repeated, or the columns are separated by something other than commas.
    """
    if len(names) == 1 and ";" in names[0]:
        header = shorten_text(names[0], 60)
        raise BadFile(f"the header has ';' between its columns: use commas: {header}", line)
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        what = f"the column {shorten_text(repeated[0], 60)!r} stands twice"
    elif "" in names:
        what = "a column without a name"
    else:
        return
    columns = ", ".join(shorten_text(name, 60) for name in names)
    raise BadFile(f"{what}: columns are {columns}", line)


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


def require_keys(columns: Collection[str], names: Mapping[str, str]) -> None:
    """Check that there is a column for ``id`` and for ``input``.

    Args:
        columns: The names of all columns.
        names: Key -> the column that it is read from; a key that is not in it is read from the column of its own name.

    Raises:
        BadFile: A column is missing; the message suggests the column that is probably meant.
    """
    for key in REQUIRED_KEYS:
        if names.get(key, key) not in columns:
            raise BadFile(_describe_missing_key(key, columns, names))


def _describe_missing_key(key: str, columns: Collection[str], names: Mapping[str, str]) -> str:
    """Return the message for a key without a column, with a hint at the column that is probably meant.

    A column with another tool's name for the key (``question`` for ``input``) is a better hint than one of similar spelling.
    """
    name = names.get(key, key)
    taken = (*CASE_KEYS, *names.values())
    free = [column for column in columns if column not in taken]
    hint = ""
    if key == "id":
        hint = "; each case needs one"
    near = shorten_text(find_closest_name(name, free), 60)
    if near:
        hint = f"; is it {near!r}? Rename it, or give fields={ {key: near} }"
    by_spelling = {}
    for column in free:
        spelling = column.strip().casefold().replace(" ", "_")
        by_spelling[spelling] = column
    for other_name in OTHER_NAMES[key]:
        if other_name in by_spelling:
            column = by_spelling[other_name]
            hint = f"; is it {column!r}? Then give fields={ {key: column} }"
            break
    columns_text = format_name_list(shorten_text(column, 60) for column in columns)
    name_text = shorten_text(name, 60)
    return f"missing {name_text!r}: there are {columns_text}{hint}"


def has_only_texts(values: Iterable[object]) -> bool:
    """Return whether all values are texts with more than white space."""
    return all(isinstance(text, str) and text.strip() for text in values)
