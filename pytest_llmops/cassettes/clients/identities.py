r"""Texts that show who recorded and where: placeholders replace them in a cassette, and the present texts replace the placeholders in a replay.

A text in a recorded answer may be an argument of a tool: the agent has to find its file in the folder of the replay. So
every placeholder is replaced again, and is spelled so that no model writes it by itself.

Not covered: a path that a shell or a URL spells otherwise (``my\\ folder``, ``my%20folder``), and a path that a broken
off answer ends in.
"""

import contextlib
import getpass
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pytest_llmops.redaction.streams import Replacement, mask_text

FOLDER = "[this-folder]"  # where the client works
PROJECT = "[this-project]"  # where pytest runs
TEMPORARY = "[this-temp-folder]"  # for temporary files of all programs
HOME = "[this-home]"
CONFIG = "[this-config]"  # where the client keeps its settings
USER = "[this-user]"
SESSION = "[this-session]"
DEVICE = "[this-device]"
MIN_IDENTITY = 3  # shorter texts are in too many words
MIN_PARTS = 2  # a path with fewer parts ("/app") may be the end of another one ("src/app")
# "/tmp/ab" and "/tmp/a.b" are not in "/tmp/a"
_END = r"(?![\w-]|\.\w)"
# No path goes on here. A line end may be spelled "\n", as in JSON.
_PATH_START = r"(?:(?<![\w.~/\\-])|(?<=://)|(?<=\\[nrt]))"
# Where a machine writes the name of its user: homes, and pytest's temporary folders
_USER_START = r"(?:(?<=/home/)|(?<=/Users/)|(?<=\\Users\\)|(?<=pytest-of-))"

# A text in JSON that may be JSON itself
_NESTED_JSON = re.compile(r'"(?: |\\[nrt])*[{\[][^"\\]*(?:\\.[^"\\]*)*"')


@dataclass(frozen=True, slots=True)
class Identity:
    """A text that shows who or where, and its placeholder in a cassette.

    Attributes:
        text: The text.
        placeholder: Its placeholder.
        is_stated: Whether the client states it. Of several texts with the same placeholder, an answer gets this one.
    """

    text: str
    placeholder: str
    is_stated: bool = False

    @property
    def is_path(self) -> bool:
        """Whether the text is a path, which is not replaced within a longer one."""
        return "/" in self.text or "\\" in self.text


Identities = tuple[Identity, ...]  # the longest text first
NO_IDENTITIES: Identities = ()


def collect_identities(stated: Mapping[str, str]) -> Identities:
    """Return the identities of a request: the ones that its client states, and the ones of this process.

    Args:
        stated: The placeholder of each text that the client states. It wins over this process: the client may run in
            another folder than pytest.
    """
    placeholders = _process_identities()
    if PROJECT in stated.values():  # the root of the project is known: pytest may run in a folder below it
        placeholders = {text: name for text, name in placeholders.items() if name != PROJECT}
    placeholders.update(stated)
    identities = [
        Identity(text, placeholder, is_stated=text in stated)
        for text, placeholder in placeholders.items()
        if len(text) >= MIN_IDENTITY
    ]
    return tuple(sorted(identities, key=lambda identity: -len(identity.text)))


@lru_cache(maxsize=256)
def folder_identities(folders: tuple[tuple[str, str], ...]) -> Identities:
    """Return the identities of folders with the placeholder of each, without the identities of this process."""
    identities = [Identity(text, placeholder) for text, placeholder in folders if len(text) >= MIN_IDENTITY]
    return tuple(sorted(identities, key=lambda identity: -len(identity.text)))


def are_in_body(body: bytes, identities: Identities) -> bool:
    """Return whether a body may hold one of these identities, in a text or in JSON in a text. Only the bytes are searched.

    >>> are_in_body(b'{"path": "/home/ann/x"}', (Identity("/home/ann", FOLDER),))
    True
    """
    return any(spelling in body for spelling in _encode_spellings(identities))


@lru_cache(maxsize=256)
def _encode_spellings(identities: Identities) -> tuple[bytes, ...]:
    """Return the spellings of identities in a body, without those that begin with another one."""
    spellings = {
        spelling.encode("utf-8", "surrogateescape")
        for identity in identities
        for levels in ((0, 1), (1, 2))
        for spelling in _list_spellings(identity.text, levels)
    }
    shortest: list[bytes] = []
    for spelling in sorted(spellings, key=len):
        if not spelling.startswith(tuple(shortest)):
            shortest.append(spelling)
    return tuple(shortest)


def _process_identities() -> dict[str, str]:
    """Return the placeholders of the user, folder and home of this process, as far as they are known."""
    placeholders = {}
    with contextlib.suppress(OSError, KeyError):  # no name for this user id
        placeholders[getpass.getuser()] = USER
    with contextlib.suppress(OSError):  # the folder is gone
        placeholders[str(Path.cwd())] = PROJECT
    home = os.environ.get("HOME") or os.path.expanduser("~")  # noqa: PTH111 -- `Path.home` may raise
    placeholders[home.rstrip("/\\")] = HOME
    return placeholders


def _count_parts(path: str) -> int:
    """Return the number of names in a path."""
    return len(re.findall(r"[^/\\]+", path))


def hide_in_json(value: Any, identities: Identities) -> Any:
    """Return parsed JSON with placeholders for the identities in its texts and names of members.

    >>> hide_in_json({"path": "/home/ann/x"}, (Identity("/home/ann", FOLDER),))
    {'path': '[this-folder]/x'}
    """
    if isinstance(value, str):
        return _replace(value, _make_search(value, identities, (0, 1), keep_level=False))
    if isinstance(value, dict):
        return {
            hide_in_json(name, identities): hide_in_json(item, identities) for name, item in value.items()
        }
    if isinstance(value, list):
        return [hide_in_json(item, identities) for item in value]
    return value


def hide_in_answer(body: bytes, identities: Identities) -> bytes:
    """Return the body of an answer with placeholders for the identities, also where events of a stream split them.

    >>> hide_in_answer(b'{"path": "/home/ann/x"}', (Identity("/home/ann", FOLDER),))
    b'{"path": "[this-folder]/x"}'
    """
    if not identities or not body:
        return body

    def find(text: str) -> list[Replacement]:
        levels = (1, 0) if _is_json(text) else (0, 1)
        search = _make_search(text, identities, levels, keep_level=True)
        if not search.placeholders:
            return []
        return [
            (match.start(), match.end(), _placeholder_of(match, search))
            for match in search.pattern.finditer(text)
        ]

    text = mask_text(body, find).decode("utf-8", "surrogateescape")
    # The body is JSON, so each of its texts is escaped once more.
    text = _hide_in_nested(text, identities)
    hidden = _replace(text, _make_search(text, identities, (1, 2), keep_level=True))
    return hidden.encode("utf-8", "surrogateescape")


def _hide_in_nested(text: str, identities: Identities) -> str:
    """Return JSON with placeholders for the identities in its texts that are JSON, such as the arguments of a tool.

    A recorded path may have the same spelling in a text and in JSON in a text, while the present path has two.
    """
    search = _make_search(text, identities, (2, 1), keep_level=True)
    if not search.placeholders:
        return text

    def hide(match: re.Match[str]) -> str:
        with contextlib.suppress(ValueError):
            if _is_json(json.loads(match[0])):
                return _mark_nested(_replace(match[0], search), identities)
        return match[0]

    return _NESTED_JSON.sub(hide, text)


def _mark_nested(text: str, identities: Identities) -> str:
    """Return JSON in a text with marked placeholders, also where the inner JSON has a letter as it is and the outer escapes it."""
    for identity in identities:
        text = text.replace(identity.placeholder, _placeholder_at(identity.placeholder, 1))
    return text


def _is_json(text: str) -> bool:
    """Return whether a text is a JSON object or array."""
    if not text.lstrip().startswith(("{", "[")):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def restore_in_answer(body: bytes, identities: Identities) -> bytes:
    """Return the body of a recorded answer with the present texts in place of the placeholders.

    >>> restore_in_answer(b'{"path": "[this-folder]/x"}', (Identity("/srv/bo", FOLDER),))
    b'{"path": "/srv/bo/x"}'
    """
    for identity in sorted(identities, key=lambda identity: not identity.is_stated):
        for level in (0, 1):
            placeholder = _placeholder_at(identity.placeholder, level).encode()
            if placeholder in body:
                body = body.replace(placeholder, _escape(identity.text, level + 1, is_ascii=True).encode())
    return body


@dataclass(frozen=True, slots=True)
class _Search:
    """A pattern for all spellings of some identities, and the placeholder of each of its groups, from group 1 on."""

    pattern: re.Pattern[str]
    placeholders: tuple[str, ...]


@lru_cache(maxsize=1024)
def _list_spellings(text: str, levels: tuple[int, int]) -> tuple[str, ...]:
    """Return the spellings of a text that is escaped so many times."""
    spellings = [_escape(text, level, is_ascii=is_ascii) for level in levels for is_ascii in (True, False)]
    return tuple(dict.fromkeys(spellings))


def _make_search(text: str, identities: Identities, levels: tuple[int, int], *, keep_level: bool) -> _Search:
    """Return the search for those identities that are anywhere in a text, as `_compile_search` describes it.

    A pattern for all of them needs a hundred times as long as a separate search for each.
    """
    present = []
    for identity in identities:
        if any(spelling in text for spelling in _list_spellings(identity.text, levels)):
            present.append(identity)
    return _compile_search(tuple(present), levels, keep_level=keep_level)


@lru_cache(maxsize=256)
def _compile_search(identities: Identities, levels: tuple[int, int], *, keep_level: bool) -> _Search:
    """Return the search for identities in texts.

    Args:
        identities: The identities, the longest first.
        levels: How often a text is escaped as in a JSON string: the lower level is for the text itself, the higher
            for JSON in the text, such as the arguments of a tool. The first one counts if both are spelled alike.
        keep_level: Whether the placeholder of the higher level is marked, for `restore_in_answer`.
    """
    placeholders: dict[str, str] = {}  # by pattern
    for identity in identities:
        for level in levels:
            shown_level = level - min(levels) if keep_level else 0
            for is_ascii in (True, False):
                pattern = _find_pattern(identity, _escape(identity.text, level, is_ascii=is_ascii))
                placeholders.setdefault(pattern, _placeholder_at(identity.placeholder, shown_level))
    groups = "|".join(f"({pattern})" for pattern in placeholders)
    return _Search(re.compile(groups), tuple(placeholders.values()))


def _find_pattern(identity: Identity, spelling: str) -> str:
    """Return the pattern that finds a spelling of an identity where it is not a part of another text."""
    escaped = re.escape(spelling)
    if identity.placeholder == USER:
        return _USER_START + escaped + _END
    if not identity.is_path:
        return escaped
    if _count_parts(identity.text) < MIN_PARTS:
        return _PATH_START + escaped + _END
    return escaped + _END


def _placeholder_at(placeholder: str, level: int) -> str:
    """Return the placeholder of a text that is escaped so many times.

    >>> _placeholder_at("[this-folder]", 0), _placeholder_at("[this-folder]", 1)
    ('[this-folder]', '[this-folder-in-json]')
    """
    if level:
        return placeholder.replace("]", "-in-json]")
    return placeholder


def _escape(text: str, level: int, *, is_ascii: bool) -> str:
    """Return a text escaped so many times as in a JSON string, with only ASCII or not."""
    for _ in range(level):
        text = json.dumps(text, ensure_ascii=is_ascii)[1:-1]
    return text


def _replace(text: str, search: _Search) -> str:
    """Return a text with placeholders for the matches of the search."""
    if not search.placeholders:  # an empty pattern is in every text
        return text
    return search.pattern.sub(lambda match: _placeholder_of(match, search), text)


def _placeholder_of(match: re.Match[str], search: _Search) -> str:
    """Return the placeholder for a match."""
    return search.placeholders[(match.lastindex or 1) - 1]
