"""Files that a user names: searched in the folder of the test, in each folder above it, then in the working directory."""

import difflib
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from pytest_llmops._util.search_folders import test_folders
from pytest_llmops._util.text_files import BadFile

# Where pytest looks for its options, in this order
INI_NAMES = (
    "pytest.toml",
    ".pytest.toml",
    "pytest.ini",
    ".pytest.ini",
    "pyproject.toml",
    "tox.ini",
    "setup.cfg",
)
MAX_SIBLINGS = 1_000  # files of a folder that a misspelt name is compared with


def folders_above(start: Path, root: Path) -> tuple[Path, ...]:
    """Return a folder and each folder above it up to the root, the nearest first; if it is outside of the root, only the two.

    >>> [folder.as_posix() for folder in folders_above(Path("p/tests/unit"), Path("p"))]
    ['p/tests/unit', 'p/tests', 'p']
    """
    if not start.is_relative_to(root):
        return start, root
    return tuple(folder for folder in (start, *start.parents) if folder.is_relative_to(root))


def find_path(name: str | Path, folders: Sequence[Path] | None = None, *, is_folder: bool = False) -> Path:
    """Return the first file or folder of that name.

    Args:
        name: A path; one that is absolute is not searched.
        folders: The folders to search before the working directory; None: the folders of the running test.
        is_folder: Whether only a folder is meant.

    Raises:
        BadFile: No folder has it; the error lists the folders, and a similar name if one of them has it.
    """
    if folders is None:
        folders = ()
        if test_folders:
            folders = test_folders[-1]()
    kind = "file"
    if is_folder:
        kind = "folder"
    for folder in (*folders, Path()):
        path = folder / name
        if path.is_dir() or (not is_folder and path.exists()):
            return path
    what = f"no such {kind}"
    if folders and not Path(name).is_absolute():
        what += f": searched {', '.join(map(str, folders))} and the working directory"
    near = _find_closest_sibling(name, folders)
    if near:
        what += f"; did you mean {near!r}?"
    raise BadFile(what)


def _find_closest_sibling(name: str | Path, folders: Sequence[Path]) -> str:
    """Return the name in these folders that is most similar to a missing one; ``""`` if no name is similar."""
    siblings = []
    for folder in (*folders, Path()):
        place = (folder / name).parent
        if place.is_dir():
            siblings += [path.name for path in islice(place.iterdir(), MAX_SIBLINGS)]
    matches = difflib.get_close_matches(Path(name).name, siblings, n=1, cutoff=0.9)
    return "".join(matches)


def check_inside(path: Path, folder: Path, what: str) -> Path:
    """Return a path if it is below a folder, also when links are followed.

    Args:
        path: The path.
        folder: The folder.
        what: The content of the folder, for the error: "prompts".

    Raises:
        BadFile: It is a link out of the folder.
    """
    if not path.resolve().is_relative_to(folder.resolve()):
        raise BadFile(f"{path.name} is a link out of the folder of {what}: expected a file below it")
    return path
