"""Recordings of a ledger's runs: they are in a folder of their own, and answers in the user's cassettes are replayed too.

A ledger (``llmops prompts ledger``) runs the suite many times without parts of a prompt. Its answers must not get into the user's cassettes,
and an answer of one run serves all its runs. No file of the user is written.
"""

import os
from pathlib import Path

from pytest_llmops._util.file_override import current_override
from pytest_llmops.cassettes import store

_PARENT = "_up"
# The user's cassette of each cassette of the ledger that this process has opened
_own_paths: dict[Path, Path] = {}


def find_ledger_path(path: Path) -> Path:
    """Return where a ledger keeps the recordings of a cassette; without a ledger, the path itself.

    >>> find_ledger_path(Path("tests/cassettes/a.json")).as_posix()
    'tests/cassettes/a.json'
    """
    override = current_override()
    if override is None:
        return path
    folder = Path(override.cassettes)
    absolute = Path(os.path.realpath(path))
    if absolute.is_relative_to(os.path.realpath(folder)):  # a block of a test whose cassette is there
        return path
    relative = os.path.relpath(absolute, os.path.realpath(override.root))
    parts = [_PARENT if part == os.pardir else part for part in Path(relative).parts]
    place = folder.joinpath(*parts)
    _own_paths[place] = path
    return place


def load_recordings(path: Path) -> dict[str, store.Interaction]:
    """Return the recordings of a cassette, those in journals of killed runs included; in a ledger also the recordings of the user's cassette.

    Of several answers to a request, the user's come first.

    Raises:
        CassetteError: A cassette cannot be read.
    """
    recordings = store.load_with_journals(path)
    own_path = _own_paths.get(path)
    if own_path is None:
        return recordings
    for key, own in store.load_cassette(own_path).items():
        known = recordings.setdefault(key, own)
        if known is own:
            continue
        for take, answers in own.answers.items():
            known.answers[take] = [*answers, *known.answers.get(take, ())]
    return recordings
