"""Names for the files written from a suite, from its description, its file or its folder."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from pathlib import PurePosixPath

MAX_NAME = 40
_NO_NAME = re.compile(r"[^a-z0-9]+")
# Names that `promptfoo init` writes
_STARTERS = frozenset({"my_eval", "my_first_eval", "getting_started", "promptfoo_config", "promptfooconfig"})
# Folders whose name does not describe the suite
_COMMON_FOLDERS = frozenset(
    {
        "",
        "promptfoo",
        "eval",
        "evals",
        "evaluation",
        "evaluations",
        "test",
        "tests",
        "src",
        "prompts",
        "config",
    }
)
# Names that no folder has on Windows
_RESERVED = re.compile("con|prn|aux|nul|(?:com|lpt)[0-9]")
_TOOL = re.compile(r"^promptfoo(?:config)?|promptfoo(?:config)?$")


def make_name(text: str) -> str:
    """Return a text as a name: lower case letters, digits and ``_``, a letter first; "" if nothing is left.

    >>> make_name("Café: answers, v2"), make_name("2nd run"), make_name("…"), make_name("CON")
    ('cafe_answers_v2', 'suite_2nd_run', '', 'suite_con')
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode("ascii")
    name = _NO_NAME.sub("_", plain.lower()).strip("_")
    if name and (not name[0].isalpha() or _RESERVED.fullmatch(name)):
        name = f"suite_{name}"
    return name


def name_suite(title: str, file: PurePosixPath, root_name: str) -> str:
    """Return a name for a suite: its title if that is short, else the rest of its file's name, else its folder's.

    Args:
        title: The title of the suite, or "".
        file: Its file, below the folder that is imported.
        root_name: The name of this folder.

    >>> name_suite("Refunds", PurePosixPath("promptfooconfig.yaml"), "shop")
    'refunds'
    >>> name_suite("", PurePosixPath("evals/promptfooconfig.graded.yaml"), "shop")
    'graded'
    >>> name_suite("", PurePosixPath("evals/promptfooconfig.yaml"), "shop")
    'shop'
    """
    name = make_name(title)
    if name and len(name) <= MAX_NAME and name not in _STARTERS:
        return name
    own = _TOOL.sub("", make_name(file.stem)).strip("_")
    folders = [make_name(part) for part in (*reversed(file.parent.parts), root_name)]
    telling = [folder for folder in folders if folder not in _COMMON_FOLDERS]
    if own:
        return _cut(make_name(own))
    if telling:
        return _cut(telling[0])
    return next((folder for folder in folders if folder), "suite")


def _cut(name: str) -> str:
    """Return a name of at most `MAX_NAME` characters, cut between words where that is possible."""
    if len(name) <= MAX_NAME:
        return name
    words = name[: MAX_NAME + 1].rpartition("_")[0]
    return (words or name[:MAX_NAME]).strip("_")


def make_unique(name: str, file: PurePosixPath, taken: Iterable[str]) -> str:
    """Return a name that no other suite has: with the name of its folder, or else with a number.

    >>> make_unique("chat", PurePosixPath("shop/promptfooconfig.yaml"), ["chat"])
    'chat_shop'
    >>> make_unique("chat", PurePosixPath("promptfooconfig.yaml"), ["chat"])
    'chat_2'
    """
    used = set(taken)
    if name not in used:
        return name
    folder = make_name(file.parent.name)
    own = _TOOL.sub("", make_name(file.stem)).strip("_")
    for more in (own, folder):
        longer = f"{name}_{more}"
        if more and more not in name and longer not in used:
            return longer
    number = 2
    while f"{name}_{number}" in used:
        number += 1
    return f"{name}_{number}"
