"""The front matter of judge files: which kind of judge the file describes, and its threshold."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from pytest_llmops._util.judge_names import find_judge_file_of, format_rubric_call, is_sentence
from pytest_llmops._util.text_files import BadFile, locate_errors
from pytest_llmops._util.user_files import find_path
from pytest_llmops.errors import PromptError, UsageError
from pytest_llmops.judges.protocol.reply_form import REASON_PLACES, ReasonPlace
from pytest_llmops.measurement import as_finite_float, shorten_text
from pytest_llmops.prompts.prompt_file import FrontMatter, read_front_matter, split_front_matter

JUDGE_KINDS = ("rubric", "checklist", "policy", "grounding", "pairwise")


def split_judge_file(
    text: str, kind: str, keys: Collection[str] = (), *, body: bool = False
) -> tuple[FrontMatter, str, int]:
    r"""Return the front matter of a judge file, the text below it, and the number of that text's first line.

    Args:
        text: The file's text.
        kind: The kind of judge that the caller expects. The file may leave its ``kind`` out, but must not name another.
        keys: The keys that the front matter may have besides ``kind`` and ``description``.
        body: Whether there must be text below the front matter.

    Raises:
        BadFile: The front matter cannot be read, has an unknown key, or names another kind; or the criteria are missing.

    >>> split_judge_file("---\nkind: policy\n---\n- Be kind.\n", "policy")[1:]
    ('- Be kind.\n', 4)
    """
    front, below, first_line = split_front_matter(text)
    head = read_front_matter(front, ("kind", "description", *keys))
    named_kind = head.values.get("kind", kind)
    if named_kind != kind:
        raise head.bad("kind", kind, shorten_text(str(named_kind), 40))
    if body and not below.strip():
        raise BadFile("expected the criteria in plain words below the front matter, got nothing", first_line)
    return head, below, first_line


def read_share_threshold(head: FrontMatter, default: float | None) -> float | None:
    """Return the ``pass_at`` of a judge whose score is a share; ``default`` if the file has none.

    Raises:
        BadFile: It is not a number from 0 to 1.
    """
    if "pass_at" not in head.values:
        return default
    given = head.values["pass_at"]
    threshold = as_finite_float(given)
    if threshold is None or not 0 <= threshold <= 1:
        raise head.bad("pass_at", "a share from 0 to 1", shorten_text(str(given), 40))
    return threshold


def read_reason_place(head: FrontMatter, default: ReasonPlace = "before") -> ReasonPlace:
    """Return where the judge of a file gives its reason; the ``default`` if the file does not say.

    Raises:
        BadFile: It is not ``before``, ``after`` or ``none``.
    """
    given = head.values.get("reason", default)
    if given not in REASON_PLACES:
        raise head.bad("reason", "before, after or none", shorten_text(str(given), 40))
    return cast("ReasonPlace", given)


def find_judge_file(kind: str, path: str | Path) -> Path:
    """Return the path of a judge file, which is searched next to the test and in the folders above it.

    Raises:
        PromptError: The file does not exist; the error lists the folders that were searched.
        UsageError: It is not a path, but a sentence or another object.
    """
    if not (isinstance(path, str) or hasattr(path, "__fspath__")):
        raise UsageError(f"{kind}: expected the path of a file, got {shorten_text(repr(path), 100)}")
    with locate_file_errors(kind, Path(path)):
        try:
            return find_path(path)
        except (BadFile, OSError) as error:  # a long text is not a file name for the system
            step = _describe_path_step(kind, path)
            if step:
                raise UsageError(f"{kind}: expected the path of a file, got {step}") from None
            if isinstance(error, OSError):
                raise BadFile(f"cannot be read: {error.strerror}") from None
            raise


def _describe_path_step(kind: str, path: str | Path) -> str:
    """Describe a value that is not the path of a judge file, and the correction; ``""`` if it looks like a path."""
    if not isinstance(path, str):
        return ""
    if is_sentence(path):
        step = "a sentence"
        if kind in ("rubric", "judge"):
            step += f"; write {format_rubric_call(path)}"
        return step
    file = find_judge_file_of(path)
    if file:
        return f'{path!r}; write "{file}"'
    return ""


@contextmanager
def locate_file_errors(kind: str, path: Path) -> Iterator[None]:
    """Turn `BadFile` into a `PromptError` that reports the kind of file, the path and the line."""
    with locate_errors(PromptError, path, f"{kind}: "):
        yield
