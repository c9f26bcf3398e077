"""Files of a suite: YAML as js-yaml reads it, lines, hostile texts, and no file outside of the folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.messages import check_message

from pytest_llmops._util.text_files import BadFile
from pytest_llmops.imports import source_files, source_references
from pytest_llmops.imports.located_values import LocatedMap, read_located_json, read_located_json_lines
from pytest_llmops.imports.located_yaml import read_located_yaml
from pytest_llmops.imports.source_files import SourceFolder, is_remote, split_function
from pytest_llmops.imports.source_references import resolve_references
from pytest_llmops.imports.suite import Place, SuiteError

FILE = "config.yaml"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("[yes, on, n, no, OFF]", ["yes", "on", "n", "no", "OFF"]),
        ("[true, True, FALSE, null, ~, Null]", [True, True, False, None, None, None]),
        ("[12:30, 2024-01-02, 1_000, 1.2.3, 0b11]", ["12:30", "2024-01-02", "1_000", "1.2.3", "0b11"]),
        ("[010, 08, 0o10, 0x1F, +7, 1.0, 1.50, 1e3, .5]", [10, 8, 8, 31, 7, 1, 1.5, 1000, 0.5]),
        ("""['1', "a\\tb", !!str 5, !!int "7", !!bool "true"]""", ["1", "a\tb", "5", 7, True]),
        ("- |\n  a\n- |-\n  b\n- >\n  c\n  d", ["a\n", "b", "c d\n"]),
        ("{1: a, true: b, ~: c, 1.5: d}", {"1": "a", "true": "b", "null": "c", "1.5": "d"}),
    ],
)  # values that promptfoo 0.123.1 has for them
def test_scalars_are_those_of_js_yaml(written: str, expected: object) -> None:
    value = read_located_yaml(written, FILE)
    assert value == expected
    assert repr(value) == repr(expected)  # 1 == 1.0 == True


def test_merge_keys_and_aliases() -> None:
    text = (
        "base: &b {a: 1, b: 2}\nown: {b: 3, <<: *b}\nlist: {<<: [*b, {a: 8, z: 9}], b: 4}\nsame: *b\n'<<': 5"
    )
    value = read_located_yaml(text, FILE)
    assert isinstance(value, LocatedMap)
    own = value["own"]
    assert isinstance(own, LocatedMap)
    assert own == {"a": 1, "b": 3}
    assert value["list"] == {"a": 1, "b": 4, "z": 9}
    assert value["same"] is value["base"]
    assert value["<<"] == 5
    assert (own.places["a"].line, own.places["b"].line) == (1, 2)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: 1\nb: 2\na: 3", 3),
        ("a: 1\nb: {<<: {a: 1}, c: 1, c: 2}", 2),
        ("a: 1\nb: &x\n  - *x", 3),
        ("a: *nope", 1),
        ("a:\n  - !!python/object/apply:os.system [ls]", 2),
        ("a: !secret x", 1),
        ("a: 1\nb: {{ name }}", 2),
        ("? [a]\n: 1", 1),
        ("a: .inf", 1),
        ("<<: 1", 1),
        ("a: 1\n---\nb: 2", 2),
        ("a: 1\nb: [1,\n\n", 2),
        ("a:\n\tb: 1", 2),
        ("[" * 150 + "]" * 150, 1),
        ("a: 1\nb: \x07", None),
        ("a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(f"{new}: &{new} [{','.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)), 5),
    ],
)  # fmt: skip
def test_hostile_yaml_is_an_error_with_its_line(text: str, line: int | None) -> None:
    with pytest.raises(BadFile, check=check_message) as error:
        read_located_yaml(text, FILE)
    assert line is None or error.value.line == line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('{"a": 1,\n"a": 2}', 2),
        ("[1,]", 1),
        ("{a: 1}", 1),
        ("[1,\n2", 2),
        ('["\\ud83d"]', 1),
        ("[NaN]", 1),
        ("[01]", 1),
        ("[1] 2", 1),
        ("", 1),
        ('["a\nb"]', 1),
        ('{"a" 1}', 1),
        ("[1 2]", 1),
        ("[1e999]", 1),
        ("[" * 200, 1),
    ],
)
def test_hostile_json_is_an_error_with_its_line(text: str, line: int) -> None:
    with pytest.raises(BadFile, check=check_message) as error:
        read_located_json(text, "tests.json")
    assert error.value.line == line


def test_json_lines_name_the_line_of_a_broken_one() -> None:
    with pytest.raises(BadFile) as error:
        read_located_json_lines('{"a": 1}\n\n{"a": }\n', "tests.jsonl")
    assert error.value.line == 3


@pytest.mark.slow
def test_a_large_text_is_read() -> None:
    text = "tests:\n" + "".join(f"  - vars:\n      q: question {number}\n" for number in range(10_000))
    value = read_located_yaml(text, FILE)
    assert isinstance(value, LocatedMap)
    tests = value["tests"]
    assert isinstance(tests, list)
    assert isinstance(tests[-1], LocatedMap)
    assert tests[-1]["vars"] == {"q": "question 9999"}
    assert tests[-1].place == Place(FILE, 20_000)


def write(folder: Path, **files: str) -> SourceFolder:
    """A folder with files; ``__`` in a name is a slash, and the last ``_`` a dot."""
    for name, text in files.items():
        path = folder / ".".join(name.replace("__", "/").rsplit("_", 1))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="")
    return SourceFolder(folder)


def test_a_file_is_read_by_its_suffix_in_one_form(tmp_path: Path) -> None:
    folder = write(tmp_path, a_yaml="\ufeffa:\r\n  - 1\r\n", b_json="[1]", c_jsonl="{}\n1", d__e_txt="x\r\ny")
    assert folder.read_value(Path("a.yaml")) == {"a": [1]}
    assert folder.read_value(tmp_path / "b.json") == [1]
    assert folder.read_value(Path("c.jsonl")) == [{}, 1]
    assert folder.read_text(Path("d/e.txt")) == "x\ny"
    assert str(folder.place(tmp_path / "d" / "e.txt", 2)) == "d/e.txt:2"


def test_references_are_relative_to_the_file_that_has_them(tmp_path: Path) -> None:
    folder = write(
        tmp_path, tests__a_yaml="", tests__b_yaml="", tests__c_csv="", tests__deep__d_yaml="", tests___hidden_yaml="", code_py=""
    )  # fmt: skip
    (tmp_path / "tests" / "_hidden.yaml").rename(tmp_path / "tests" / ".hidden.yaml")

    def names(reference: str, beside: str = "config.yaml") -> list[str]:
        return [path.relative_to(tmp_path).as_posix() for path in folder.find(reference, Path(beside))]

    assert names("file://tests/a.yaml") == ["tests/a.yaml"]
    assert names("../tests/a.yaml", "other/config.yaml") == ["tests/a.yaml"]
    assert names("tests\\a.yaml") == ["tests/a.yaml"]
    assert names("file://missing.yaml") == ["missing.yaml"]
    assert names("file://tests/*.yaml") == ["tests/a.yaml", "tests/b.yaml"]
    assert names("**/" * 30 + "d.yaml") == ["tests/deep/d.yaml"]
    assert names("tests/**/*.yaml") == ["tests/a.yaml", "tests/b.yaml", "tests/deep/d.yaml"]
    assert names("tests/{a,c}.{yaml,csv}") == ["tests/a.yaml", "tests/c.csv"]
    assert names("tests/[b]?yaml") == ["tests/b.yaml"]
    assert names("tests") == ["tests/a.yaml", "tests/b.yaml", "tests/c.csv"]
    assert names("tests/*.txt") == []
    assert names("file://code.py:make_prompt") == ["code.py"]
    assert names(f"file://{tmp_path}/tests/a.yaml") == ["tests/a.yaml"]


@pytest.mark.parametrize(
    "reference",
    [
        "file://../../../etc/passwd",
        "/etc/passwd",
        "file:///etc/*",
        "../*.yaml",
        "link/secret.txt",
        "link",
        "https://docs.google.com/spreadsheets/d/1",
        "huggingface://datasets/x",
        "file://{{ env.HOME }}/x.yaml",
        "file://",
        "a\0b.yaml",
        "**a/b.yaml",
    ],
)
def test_a_reference_to_elsewhere_is_refused(tmp_path: Path, reference: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text("x")
    (outside / "a.yaml").write_text("x")
    inside = tmp_path / "outside" / "inside"
    inside.mkdir()
    (inside / "link").symlink_to(outside)
    with pytest.raises(SuiteError, check=check_message) as error:
        SourceFolder(inside).find(reference, inside / FILE, Place(FILE, 7))
    assert error.value.place == Place(FILE, 7)


def test_links_out_of_the_folder_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("x")
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "link.txt").symlink_to(tmp_path / "secret.txt")
    folder = SourceFolder(inside)
    with pytest.raises(SuiteError, match="--root"):
        folder.read_text(Path("link.txt"))
    with pytest.raises(SuiteError, match="--root"):
        folder.find("*.txt", inside / FILE)
    assert SourceFolder(tmp_path).read_text(inside / "link.txt") == "x"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("missing.txt", None),
        ("book.xlsx", b"PK"),
        ("picture.png", b"\x89PNG"),
        ("data.csv", b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 5\n"),
        ("latin.txt", b"ok\n\xe4"),
        ("wide.yaml", "a: 1".encode("utf-16")),
        ("nul.txt", b"a\n\0"),
        ("long.txt", b"x" * 200),
        ("folder.txt", b""),
    ],
)
def test_a_file_that_holds_no_text_is_refused(
    tmp_path: Path, name: str, data: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_files, "MAX_FILE_BYTES", 100)
    path = tmp_path / name
    if data is not None:
        path.write_bytes(data)
    if name.startswith("folder"):
        path.unlink()
        path.mkdir()
    with pytest.raises(SuiteError, check=check_message) as error:
        SourceFolder(tmp_path).read_text(path)
    assert error.value.place.file == name
    assert error.value.place.line == {"latin.txt": 2, "nul.txt": 2, "wide.yaml": 1}.get(name, 0)


def test_a_reference_to_too_many_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_files, "MAX_FILES", 2)
    folder = write(tmp_path, a_txt="", b_txt="", c_txt="")
    for reference in ("*.txt", ".", "{a,b,c}.txt"):
        with pytest.raises(SuiteError, check=check_message):
            folder.find(reference, tmp_path / FILE)


def test_files_that_name_each_other_are_an_error_with_the_chain(tmp_path: Path) -> None:
    folder = write(tmp_path, a_yaml="", b_yaml="")
    a, b = tmp_path / "a.yaml", tmp_path / "b.yaml"
    with (
        folder.entering(a, Place("config.yaml", 1)),
        folder.entering(b, Place("a.yaml", 2)),
        pytest.raises(SuiteError, match=r"a\.yaml -> b\.yaml -> a\.yaml") as error,
        folder.entering(a, Place("b.yaml", 3)),
    ):
        pass
    assert error.value.place == Place("b.yaml", 3)
    with folder.entering(a, Place("config.yaml", 1)):
        pass


def test_parts_of_a_reference() -> None:
    assert split_function("file://a/b.js:check.one") == ("a/b.js", "check.one")
    assert split_function(r"C:\tests\a.yaml") == ("C:/tests/a.yaml", "")
    assert split_function("What is 12:30") == ("What is 12:30", "")
    assert not is_remote("file://a.yaml")
    assert is_remote(" huggingface://datasets/x")


def test_a_ref_is_replaced_by_what_it_names(tmp_path: Path) -> None:
    config = """
templates:
  has: {type: contains, value: x}
  both: [{$ref: '#/templates/has'}]
tests:
  - assert:
      - {$ref: '#/templates/has', value: y}
      - $ref: 'parts.yaml#/a~1b/0'
    again: {$ref: '#/templates/both'}
"""
    folder = write(
        tmp_path, config_yaml=config, parts_yaml="a/b:\n  - {type: regex, more: {$ref: '#/c'}}\nc: 5"
    )
    path = tmp_path / "config.yaml"
    value, remarks = resolve_references(folder.read_value(path), folder, path)
    assert remarks == []
    assert isinstance(value, LocatedMap)
    test = value["tests"][0]  # type: ignore[index]
    assert isinstance(test, LocatedMap)
    assert test["assert"] == [{"type": "contains", "value": "y"}, {"type": "regex", "more": 5}]
    assert test["again"] == [{"type": "contains", "value": "x"}]
    first = test["assert"][0]
    assert isinstance(first, LocatedMap)
    assert (first.place.line, first.places["type"].line, first.places["value"].line) == (7, 3, 7)


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        ("#/nothing", "no such part"),
        ("#/tests/9", "no such part"),
        ("#tests", "#/"),
        ("missing.yaml#/a", "no such file"),
        ("https://example.com/a.json#/a", "not fetched"),
        ("../out.yaml", "--root"),
        ("#/tests/0", "circle"),
    ],
)
def test_a_ref_to_nothing_stays_and_is_named(tmp_path: Path, reference: str, why: str) -> None:
    folder = write(tmp_path, config_yaml=f"a: 1\ntests:\n  - $ref: '{reference}'\n")
    path = tmp_path / "config.yaml"
    value, remarks = resolve_references(folder.read_value(path), folder, path)
    assert value == {"a": 1, "tests": [{"$ref": reference}]}
    assert [(remark.kind, remark.place.line) for remark in remarks] == [("not carried", 3)]
    assert why in remarks[0].why


def test_the_refs_of_a_schema_are_its_own(tmp_path: Path) -> None:
    text = "value: {$ref: '#/definitions/x', definitions: {x: {type: string}}}"
    folder = write(tmp_path, config_yaml=text)
    path = tmp_path / "config.yaml"
    value = folder.read_value(path)
    assert resolve_references(value, folder, path) == (value, [])


def test_refs_that_grow_without_end_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_references, "MAX_PARTS", 1_000)
    rows = []
    for level in range(9):
        items = ", ".join([f"{{$ref: '#/r{level + 1}'}}"] * 10)
        rows.append(f"r{level}: [{items}]")
    folder = write(tmp_path, config_yaml="\n".join([*rows, "r9: 1"]))
    path = tmp_path / "config.yaml"
    with pytest.raises(SuiteError, check=check_message):
        resolve_references(folder.read_value(path), folder, path)
