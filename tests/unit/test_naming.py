from __future__ import annotations

import itertools
import string
from pathlib import Path

import pytest
from support.planted import SECRETS

from pytest_llmops.cassettes.naming import MAX_NAME, cassette_path, safe_file_name

NASTY = [
    "",
    " ",
    ".",
    "..",
    "...",
    "-",
    "a/b",
    "a:b",
    "a-b",
    "a b",
    "a\\b",
    "a\tb",
    "a\nb",
    "a\x00b",
    "A-b",
    "a-B",
    "A-B",
    "a_b",
    "a.b",
    ".a-b",
    "a-b.",
    "a-b-",
    "-a-b",
    "../a-b",
    "/a-b",
    "~/a-b",
    "con",
    "CON",
    "con.txt",
    "nul",
    "NUL.json",
    "com1",
    "lpt9.x",
    "prn",
    "aux",
    "ä",
    "a\u0308",
    "ß",
    "ss",
    "İ",
    "i̇",
    "ı",
    "日本語",
    "🙂",
    "🙃",
    "\ud800",
    "a" * MAX_NAME,
    "a" * (MAX_NAME + 1),
    "a" * (MAX_NAME + 2),
    "a" * 5000,
    "A" * 5000,
    "a" * (MAX_NAME - 1) + ".b",
    "x" * MAX_NAME + "/1",
    "x" * MAX_NAME + "/2",
    "$(rm -rf)",
    "a'b",
    'a"b',
    "a*b",
    "a?b",
    "a|b",
    "a<b",
    "%2e%2e",
    "a.json",
    "a.JSON",
    "a--b",
    "a---b",
    "1",
    "0x1",
]
# What our own names look like must not be free for the taking.
NASTY += [made for name in ("a/b", "A-B", "", "CON", "ä") if (made := safe_file_name(name))]


def test_no_two_ids_share_a_file_on_any_system() -> None:
    made = [safe_file_name(name) for name in NASTY]
    assert len({name.casefold() for name in made}) == len(set(NASTY))


def test_names_are_good_on_every_system() -> None:
    allowed = set(string.ascii_lowercase + string.digits + "._-")
    reserved = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))}
    for name in NASTY:
        made = safe_file_name(name)
        assert made
        assert set(made) <= allowed
        assert made[0] not in ".-"
        assert made[-1] not in ".-"
        assert made.partition(".")[0] not in reserved
        assert len(made) <= MAX_NAME + 9


def test_ordinary_names_stay_readable() -> None:
    assert safe_file_name("late-return") == "late-return"
    assert safe_file_name("test_refund.v2") == "test_refund.v2"
    assert safe_file_name("Late Return").startswith("late-return-")


def test_the_same_name_every_time() -> None:
    assert safe_file_name("a/b") == safe_file_name("a/b") == "a-b-" + safe_file_name("a/b")[-8:]


@pytest.mark.parametrize(
    ("names", "case", "path"),
    [
        (("test_x",), "", "t/cassettes/test_a/test_x.json"),
        (("test_x",), "late", "t/cassettes/test_a/test_x/late.json"),
        (("testrefund", "test_x"), "", "t/cassettes/test_a/testrefund/test_x.json"),
    ],
)
def test_cassette_path(names: tuple[str, ...], case: str, path: str) -> None:
    assert cassette_path(Path("t/test_a.py"), names, case).as_posix() == path


def test_paths_stay_below_the_folder_of_the_test() -> None:
    root = Path("t/cassettes/test_a")
    for name, case in itertools.product(NASTY, NASTY[:12]):
        path = cassette_path(Path("t/test_a.py"), (name,), case)
        assert path.is_relative_to(root)
        assert ".." not in path.parts
        assert path.suffix == ".json"


@pytest.mark.slow
def test_no_two_tests_share_a_path() -> None:
    tests = [((name,), case) for name in NASTY for case in NASTY]
    paths = {cassette_path(Path("t/test_a.py"), names, case) for names, case in tests}
    assert len(paths) == len(set(tests))


@pytest.mark.parametrize("depth", [1, 2, 3, 9])
def test_a_test_deep_in_classes_still_has_a_name_that_file_systems_take(depth: int) -> None:
    first, second = (("Test" + "A" * 90,) * depth + (name,) for name in ("test_x", "test_y"))
    first_path, second_path = (cassette_path(Path("t/test_a.py"), names) for names in (first, second))
    assert first_path != second_path
    assert len(first_path.name) <= 125


@pytest.mark.parametrize("kind", ["openai", "github", "aws", "jwt"])
def test_of_a_name_that_holds_a_key_only_a_hash_is_left(kind: str) -> None:
    secret = SECRETS[kind]
    names = [
        safe_file_name(f"my case {secret}"),
        safe_file_name(f"my case {secret} x"),
        cassette_path(Path("a.py"), ("test",), secret).name,
    ]
    assert all(len(name.removesuffix(".json")) == 8 for name in names)
    assert names[0] != names[1]
