"""Guess the meaning of a name of a judge that does not exist: a sentence, a judge file, or a model."""

import re
from collections.abc import Iterable

from pytest_llmops._util.text_files import BadFile
from pytest_llmops._util.user_files import find_path
from pytest_llmops.errors import UnknownName, UsageError
from pytest_llmops.measurement import shorten_text

# Where the file of a judge may be that is named without folder and suffix
FILE_PLACES = ("judges/{}.md", "{}.md")
_PLAIN_NAME = re.compile(r"\w[\w./-]{0,99}")
_FILE_SUFFIX = re.compile(r"\.[A-Za-z]\w{0,7}$")
_QUESTION_MARKS = re.compile("[?？؟]")


def unknown_judge(name: str, known: Iterable[str], *, where: str = "", is_model: bool = False) -> UsageError:
    """Return the error about the name of a judge that does not exist, with the likely meaning.

    Args:
        name: The name as given.
        known: The names that exist.
        where: What named it; may be empty.
        is_model: Whether it is the name of a model.
    """
    if is_sentence(name):
        place = ""
        if where:
            place = f" ({where})"
        return UsageError(
            f"judge{place}: expected a name or the path of a judge file, got a sentence; write judge={format_rubric_call(name)}, "
            "with `from pytest_llmops.judges import Rubric`"
        )
    step = ""
    file = find_judge_file_of(name)
    if file:
        step = f'name the file by its path: judge="{file}"'
    elif is_model:
        step = _describe_model_step(name.strip())
    return UnknownName("judge", name, known, where=where, step=step)


def is_sentence(text: str) -> bool:
    """Return whether a text is a sentence, and not the name of a judge or the path of a file.

    >>> is_sentence("Is it polite?"), is_sentence("my judges/tone.md"), is_sentence("quality")
    (True, False, False)
    """
    stripped = text.strip()
    if _FILE_SUFFIX.search(stripped[-10:]):
        return False
    return len(stripped.split()) > 1 or _QUESTION_MARKS.search(stripped) is not None


def format_rubric_call(criteria: str) -> str:
    """Return the code that makes a judge of a sentence.

    >>> format_rubric_call("Is it polite?")
    'Rubric(criteria="Is it polite?")'
    """
    line = " ".join(criteria.split())
    quotable = line.replace("\\", "\\\\").replace('"', '\\"')
    return f'Rubric(criteria="{shorten_text(quotable)}")'


def find_judge_file_of(name: str) -> str:
    """Return the path of the judge file that a name may mean, as a test writes it; ``""`` if no such file exists.

    ``judges/tone.md`` and ``tone.md`` are searched for the name "tone", from the folder of the test upwards.
    """
    if _PLAIN_NAME.fullmatch(name) is None:
        return ""
    for place in FILE_PLACES:
        path = place.format(name)
        try:
            find_path(path)
        except (BadFile, OSError):
            continue
        return path
    return ""


def _describe_model_step(name: str) -> str:
    """Return what to do with the name of a model that was given as a judge."""
    model = name
    if name.lower().startswith("claude"):  # the plain name would be a model of the OpenAI-compatible server
        model = f"anthropic:{name}"
    return (
        f'this is a model: run with --llm-judge-model={model}, and write judge="quality", or leave judge= out where the '
        "assertion has a judge of its own"
    )
