"""Read the word lists next to this module, each once."""

from functools import cache
from importlib.resources import files


@cache
def read_lines(file_name: str) -> tuple[str, ...]:
    """Return the lines of a word list, without comments and blank lines.

    >>> read_lines("weekdays.txt")[5].split()[:3]
    ['saturday', 'sat', 'samstag']
    """
    text = files(__package__).joinpath(file_name).read_text(encoding="utf-8")
    lines = text.splitlines()
    return tuple(line for line in lines if line and not line.startswith("#"))


def read_all_lists() -> None:
    """Read every word list now; whatever a test does to the file system, the functions below then find them."""
    for file in files(__package__).iterdir():
        if file.name.endswith(".txt"):
            read_lines(file.name)


@cache
def read_sections(file_name: str) -> dict[str, tuple[str, ...]]:
    """Return the lists of a file by name; a line ``[name]`` starts a list, and ``_`` in a phrase becomes a blank.

    >>> read_sections("quantifiers.txt")["exact"]
    ('exactly', 'precisely')
    """
    sections: dict[str, tuple[str, ...]] = {}
    name = ""
    for line in read_lines(file_name):
        if line.startswith("["):
            name = line.strip("[]")
            sections[name] = ()
        else:
            words = [word.replace("_", " ") for word in line.split()]
            sections[name] += tuple(words)
    return sections


def read_pairs(file_name: str) -> dict[str, str]:
    """Return a table of names; each line of the file is a target, then the names that mean it.

    >>> read_pairs("spellings.txt")["colour"], read_pairs("magnitudes.txt")["mio"]
    ('color', '1e6')
    """
    table: dict[str, str] = {}
    for line in read_lines(file_name):
        target, *names = line.split()
        table.update(dict.fromkeys(names, target))
    return table


def english_words(name: str) -> frozenset[str]:
    """Return an English word list by its name.

    >>> "as well" in english_words("fillers")
    True
    """
    return frozenset(read_sections("english.txt")[name])
