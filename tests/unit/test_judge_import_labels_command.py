"""``llmops judge import-labels``: what people filled in is taken over whole, or not at all."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.judged_run import judged_run
from support.messages import check_message

from pytest_llmops import cli
from pytest_llmops.cassettes import locking
from pytest_llmops.cli import common as writing
from pytest_llmops.cli import label_files
from pytest_llmops.cli.label_files import parse_label_cell
from pytest_llmops.judges import JudgeRecord, read_labels

Cli = Callable[..., tuple[int, list[str], str]]


@pytest.fixture
def llmops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Exit status, lines of stdout, and stderr of `llmops judge` in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "GROUPS", ("judge",))

    def call(*argv: str) -> tuple[int, list[str], str]:
        status = cli.main(["judge", *argv])
        said = capsys.readouterr()
        return status, said.out.splitlines(), said.err

    return call


def write(name: str, *rows: dict[str, Any] | str) -> None:
    texts = (one if isinstance(one, str) else json.dumps(one) for one in rows)
    Path(name).write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")


def read(name: str = "labels.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(name).read_text(encoding="utf-8").splitlines()]


def human(name: str = "labels.jsonl") -> list[Any]:
    return [row.get("human") for row in read(name)]


TAKE = ("import-labels", "a.jsonl", "--into", "labels.jsonl")


def test_filled_lines_make_a_labels_file(llmops: Cli) -> None:
    filled = '{"id": "a",  "answer": "Yes.", "human": true, "note": 1.0}'
    write("a.jsonl", filled, {"id": "b", "answer": "No.", "human": None}, {"id": "c", "human": "fail"})
    status, out, err = llmops(*TAKE)
    assert (status, err) == (0, "")
    assert out == [
        "a.jsonl: 2 labels taken into labels.jsonl, 1 still empty",
        "labels.jsonl: 2 labelled answers: 1 pass, 1 fail",
        "for a calibration: 49 more pass, 49 more fail (50 of each)",
    ]
    assert Path("labels.jsonl").read_text().splitlines() == [filled, '{"id": "c", "human": "fail"}']
    before = Path("labels.jsonl").read_bytes()
    _, out, _ = llmops(*TAKE)
    assert out[0] == "a.jsonl: nothing taken, 2 already there, 1 still empty"
    assert Path("labels.jsonl").read_bytes() == before


def test_nothing_filled_in_writes_nothing(llmops: Cli) -> None:
    write("a.jsonl", {"id": "a", "human": None}, {"id": "b", "human": [None, None]}, {"id": "c"})
    assert llmops(*TAKE) == (0, ["a.jsonl: nothing taken, 3 still empty"], "")
    assert not Path("labels.jsonl").exists()
    write("a.jsonl")
    assert llmops(*TAKE) == (0, ["a.jsonl: nothing taken, 0 still empty"], "")


def test_other_lines_stay_byte_for_byte(llmops: Cli) -> None:
    old = (
        '\ufeff{"id":"kept",   "human": true, "mine": [1.0, 1e2], "x": "\\u00e9"}\r\n\r\n'
        '{"note": {"human": 1}, "human" :null , "id": "only the judge", "judge": 8}\r\n'
        '{"id": "bare"}'
    )
    Path("labels.jsonl").write_bytes(old.encode())
    write(
        "a.jsonl",
        {"id": "new", "human": False},
        {"id": "only the judge", "human": False},
        {"id": "bare", "human": True},
    )
    _, out, _ = llmops(*TAKE)
    check_message(out[0])
    wanted = old.replace('"human" :null ', '"human": false').replace('"bare"}', '"bare", "human": true}')
    assert Path("labels.jsonl").read_bytes().decode() == wanted + '\r\n{"id": "new", "human": false}\r\n'
    assert len(read_labels("labels.jsonl").labelled) == 4


def test_lines_may_end_with_a_carriage_return(llmops: Cli) -> None:
    Path("a.jsonl").write_bytes(b'{"id": "a", "human": true}\r{"id": "b", "human": false}\r')
    assert llmops(*TAKE)[1][0] == "a.jsonl: 2 labels taken into labels.jsonl, 0 still empty"
    assert [one["id"] for one in read()] == ["a", "b"]


def test_labels_of_several_people_are_joined(llmops: Cli) -> None:
    rows = [{"id": one, "answer": one} for one in "abcd"]
    write("a.jsonl", *({**row, "human": n % 2 == 0} for n, row in enumerate(rows[:3])))
    write("b.jsonl", *({**row, "human": "pass"} for row in rows[1:]))
    llmops(*TAKE, "--rater", "anna")
    assert human() == [{"anna": True}, {"anna": False}, {"anna": True}]
    _, out, _ = llmops("import-labels", "b.jsonl", "--into", "labels.jsonl", "--rater", "ben")
    check_message(out[0])
    assert human() == [
        {"anna": True},
        {"anna": False, "ben": True},
        {"anna": True, "ben": True},
        {"ben": True},
    ]
    assert out[1] == "labels.jsonl: 4 labelled answers: 3 pass, 0 fail, 1 undecided"
    assert read_labels("labels.jsonl").raters == ("anna", "ben")
    before = Path("labels.jsonl").read_bytes()
    _, out, _ = llmops(*TAKE, "--rater", "anna")
    assert out[0] == "a.jsonl: nothing taken, 3 already there, 0 still empty"
    assert Path("labels.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("before", "given", "rater", "after"),
    [
        (None, True, "", True),
        (None, True, "ben", {"ben": True}),
        (None, [True, False], "", {"1": True, "2": False}),
        (True, False, "ben", {"1": True, "ben": False}),
        (True, [True, False], "", {"1": True, "2": False}),
        ([True, None], [None, False], "", [True, False]),
        ([None, True], False, "", [False, True]),
        ([True, None], False, "ben", {"1": True, "2": None, "ben": False}),
        ([True], [True, False], "", {"1": True, "2": False}),
        ({"anna": "pass"}, {"ben": "fail", "anna": True, "cleo": None}, "", {"anna": "pass", "ben": False}),
        ({"anna": True, "ben": None}, False, "ben", {"anna": True, "ben": False}),
    ],
)
def test_every_form_of_human_can_be_joined(
    llmops: Cli, before: Any, given: Any, rater: str, after: Any
) -> None:
    write("labels.jsonl", {"id": "a", "human": before}, {"id": "b", "human": True})
    write("a.jsonl", {"id": "a", "human": given})
    status, _, err = llmops(*TAKE, *(["--rater", rater] if rater else []))
    assert (status, err) == (0, "")
    assert human() == [after, True]


HAD = ({"id": "a", "answer": "Yes.", "question": "Q?", "human": True}, {"id": "b", "human": {"anna": True}})


@pytest.mark.parametrize(
    ("had", "given", "argv"),
    [
        (HAD, {"id": "a", "answer": "No.", "question": "Q?", "human": True}, ()),
        (HAD, {"id": "a", "answer": "Yes.", "human": True}, ()),
        (HAD, {"id": "a", "answer": "Yes.", "question": "Q?", "human": False}, ()),
        (HAD, {"id": "b", "human": False}, ("--rater", "anna")),
        (HAD, {"id": "b", "human": False}, ()),
        (HAD, {"id": "b", "human": [True]}, ("--rater", "ben")),
        (HAD, {"id": "c", "human": 7}, ()),
        (HAD, {"id": "c", "human": "yes"}, ()),
        (({"id": "n", "human": 4},), {"id": "c", "human": "good"}, ()),
        (({"id": "n", "human": 4},), {"id": "c", "human": True}, ()),
        ((), {"id": "c", "human": 11, "scale": [1, 10]}, ()),
        ((), {"id": "c", "human": "yes", "scale": [1, 10]}, ()),
        (({"id": "c", "human": None, "scale": [1, 5]},), {"id": "c", "human": 7}, ()),
        ((), {"id": "c", "human": [True, 7]}, ()),
        ((), {"id": "c", "human": {"a": {}}}, ()),
        ((), {"id": "c", "dimensions": {"tone": {"human": 4}}}, ()),
        ((), '{"id": "c", "human": true', ()),
        ((), '{"id": "c", "human": NaN}', ()),
        ((), '{"id": "c", "human": true}\n{"id": "c"}', ()),
        ((), '{"id": "\\ud800", "human": true}', ()),
        ((), {"human": True}, ()),
        (('{"id": "a", "human": [tr',), {"id": "c", "human": True}, ()),
        (({"id": "x", "human": True}, {"id": "y", "human": 3}), {"id": "c", "human": True}, ()),
        (({"id": "x", "human": "tie", "judge": 3},), {"id": "c", "human": "A"}, ()),
        (HAD, {"id": "c", "human": True}, ("--rater", " ")),
        (HAD, {"id": "c", "human": True}, ("--rater", "\udcff")),
    ],
)  # fmt: skip
def test_what_contradicts_is_refused_and_nothing_is_written(
    llmops: Cli, had: tuple[Any, ...], given: Any, argv: tuple[str, ...]
) -> None:
    if had:
        write("labels.jsonl", *had)
    write("a.jsonl", given, {"id": "fine", "human": None})
    before = {path.name: path.read_bytes() for path in Path().iterdir()}
    status, out, err = llmops(*TAKE, *argv)
    assert (status, out) == (2, [])
    check_message(err)
    assert {path.name: path.read_bytes() for path in Path().iterdir()} == before


def test_a_label_that_fits_is_not_taken_where_another_contradicts(llmops: Cli) -> None:
    write("labels.jsonl", *HAD)
    before = Path("labels.jsonl").read_bytes()
    write("a.jsonl", {"id": "c", "human": True}, {"id": "b", "human": {"anna": False}})
    assert llmops(*TAKE)[0] == 2
    assert Path("labels.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    "argv",
    [
        ("import-labels", "none.jsonl", "--into", "labels.jsonl"),
        ("import-labels", "a.txt", "--into", "labels.jsonl"),
        ("import-labels", "a.jsonl", "--into", "labels.csv"),
        ("import-labels", "a.jsonl", "--into", "./a.jsonl"),
        ("import-labels", "a.jsonl", "--into", "no/labels.jsonl"),
        ("import-labels", "a.jsonl", "--into", "folder.jsonl"),
        ("import-labels", "a.jsonl"),
    ],
)  # fmt: skip
def test_files_that_do_not_fit(llmops: Cli, argv: tuple[str, ...]) -> None:
    write("a.jsonl", {"id": "a", "human": True})
    Path("folder.jsonl").mkdir()
    status, _, err = llmops(*argv)
    assert status == 2
    check_message(err)


@pytest.mark.parametrize("scale", ["1-5", [5, 1], ["a", "b"], [1, 2, 3], [True, False], None])
def test_a_scale_of_another_form_is_the_users_own_key(llmops: Cli, scale: Any) -> None:
    write("a.jsonl", {"id": "a", "human": 99, "scale": scale})
    assert llmops(*TAKE)[0] == 0
    assert read() == [{"id": "a", "human": 99, "scale": scale}]


def test_a_file_that_goes_while_it_is_read(llmops: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    write("a.jsonl", {"id": "a", "human": True})

    def gone(path: Path) -> str:
        path.unlink()
        return ""

    monkeypatch.setattr(label_files, "read_text", gone)
    status, _, err = llmops(*TAKE)
    assert status == 2
    assert "cannot be read: [Errno 2] No such file or directory" in err


def test_two_commands_at_once_lose_no_label(llmops: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locking, "LOCK_TIMEOUT_S", 0)
    write("a.jsonl", {"id": "a", "answer": "One.", "human": True})
    write("b.jsonl", {"id": "b", "answer": "Two.", "human": False})
    take_b = ("import-labels", "b.jsonl", "--into", "labels.jsonl")
    real, inner = writing.write_output_file, list[tuple[int, str]]()

    def meanwhile(path: Path, text: str) -> None:
        monkeypatch.setattr(writing, "write_output_file", real)
        status, _, err = llmops(*take_b)
        inner.append((status, err))
        real(path, text)

    monkeypatch.setattr(writing, "write_output_file", meanwhile)
    assert llmops(*TAKE)[0] == 0
    assert [status for status, _ in inner] == [2]
    check_message(inner[0][1])
    assert llmops(*take_b)[0] == 0
    assert [one["id"] for one in read()] == ["a", "b"]
    assert sorted(one.name for one in Path().iterdir()) == ["a.jsonl", "b.jsonl", "labels.jsonl"]


@pytest.mark.skipif(sys.platform == "win32", reason="no links")
def test_labels_behind_a_link_are_written_where_they_are(llmops: Cli) -> None:
    Path("shared").mkdir()
    write("a.jsonl", {"id": "a", "answer": "One.", "human": True})
    write("shared/labels.jsonl", {"id": "b", "answer": "Two.", "human": False})
    Path("shared/labels.jsonl").chmod(0o600)
    Path("labels.jsonl").symlink_to("shared/labels.jsonl")
    assert llmops(*TAKE)[0] == 0
    assert Path("labels.jsonl").is_symlink()
    assert [one["id"] for one in read("shared/labels.jsonl")] == ["b", "a"]
    assert Path("shared/labels.jsonl").stat().st_mode & 0o777 == 0o600


def test_what_is_missing_for_a_calibration(llmops: Cli) -> None:
    write("a.jsonl", *({"id": f"{n}", "human": n < 70} for n in range(100)))
    assert llmops(*TAKE)[1][1:] == [
        "labels.jsonl: 100 labelled answers: 70 pass, 30 fail",
        "for a calibration: 20 more fail (50 of each)",
    ]
    write("a.jsonl", *({"id": f"x{n}", "human": False} for n in range(20)))
    check_message(llmops(*TAKE)[1][-1])
    write("a.jsonl", *({"id": f"{n}", "human": n % 25} for n in range(60)))
    _, out, _ = llmops("import-labels", "a.jsonl", "--into", "n.jsonl")
    assert out[1].startswith("n.jsonl: 60 labelled answers: 3 of 0, 3 of 1, ")
    assert out[1].endswith("2 of 19 and 5 others")
    check_message(out[2])
    write("a.jsonl", *({"id": f"y{n}", "human": 5.5} for n in range(40)))
    assert "enough" in llmops("import-labels", "a.jsonl", "--into", "n.jsonl")[1][-1]
    write("a.jsonl", {"id": "a", "human": ["A", "B"]}, {"id": "b", "human": "tie"})
    _, out, _ = llmops("import-labels", "a.jsonl", "--into", "w.jsonl")
    assert out[1:] == [
        'w.jsonl: 2 labelled answers: 1 undecided, 1 "tie"',
        'for a calibration: 49 more "tie" (50 of each)',
    ]


def fill(name: str, label: Callable[[int], str]) -> None:
    """Fill a file in as a person does with an editor."""
    text = Path(name).read_text(encoding="utf-8")
    count = iter(range(10_000))
    empty = r'"human": null' if name.endswith(".jsonl") else r'(?<="\[1, 10\]",)""'
    key = '"human": ' if name.endswith(".jsonl") else ""
    Path(name).write_text(re.sub(empty, lambda _: key + label(next(count)), text), encoding="utf-8")


MINE = """
from pytest_llmops.protocols import Verdict
class Mine:
    name, version, low, high, pass_at = "mine", "3", 1, 10, 7
    def judge(self, answer, *, question="", reference=""):
        assert question.startswith("Question") and reference.startswith("R")
        return Verdict(score=1 + int(answer.removeprefix("Answer ").rstrip(".")) % 10)
"""


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_from_a_run_to_a_calibration(llmops: Cli, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("run.json").write_text(judged_run(120).to_json(), encoding="utf-8")
    Path(f"mine_{suffix}.py").write_text(MINE, encoding="utf-8")
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    name = f"label.{suffix}"
    status, _, err = llmops(
        "export-labels", "run.json", "--all", "--sample", "100", "--out", name, "--with-verdicts"
    )
    assert (status, err) == (0, "")
    fill(name, lambda n: "true" if n % 2 else "false")
    status, out, err = llmops("import-labels", name, "--into", "labels.jsonl")
    assert (status, err) == (0, "")
    check_message(out[-1])
    assert all(row["scale"] == [1, 10] and row["family"] for row in read())
    status, out, err = llmops("calibrate", f"mine_{suffix}:Mine", "labels.jsonl", "--out", "mine.json")
    assert status == 1
    check_message(err)
    assert JudgeRecord.load("mine.json").figures["compared"] == 100
    _, stored, _ = llmops(
        "calibrate", "quality", "labels.jsonl", "--verdicts", "--judge-version", "v1", "--pass-at", "7"
    )
    assert [line for line in stored if line.startswith("kappa ")] == [
        line for line in out if line.startswith("kappa ")
    ]


def test_a_table_as_spreadsheets_save_it(llmops: Cli) -> None:
    head = "\ufeffid;answer;human;note;reason\r\n"
    rows = "'007;\"Yes,\r\nreally\";TRUE;why not;\r\nb;'=1+1;falsch;;\r\n;;;;\r\nc;;;;\r\nd;;FALSE;;\r\n"
    Path("a.csv").write_bytes((head + rows.replace("falsch", "false")).encode())
    status, out, err = llmops("import-labels", "a.csv", "--into", "labels.jsonl")
    assert (status, err) == (0, "")
    assert out[0] == "a.csv: 3 labels taken into labels.jsonl, 1 still empty"
    assert read() == [
        {"id": "007", "answer": "Yes,\r\nreally", "human": True, "note": "why not"},
        {"id": "b", "answer": "=1+1", "human": False},
        {"id": "d", "answer": "", "human": False},
    ]
    # Line ends within a cell are changed by some spreadsheets: the answer is the same.
    Path("a.csv").write_bytes(b'id,answer,human\n\'007,"Yes,\nreally",true\n')
    assert (
        llmops("import-labels", "a.csv", "--into", "labels.jsonl")[1][0]
        == "a.csv: nothing taken, 1 already there, 0 still empty"
    )
    Path("a.csv").write_bytes((head + rows).encode())
    status, _, err = llmops("import-labels", "a.csv", "--into", "labels.jsonl")
    assert status == 2
    assert 'b: human: expected true or false as in labels.jsonl:1, got "falsch" @ a.csv:4' in err


@pytest.mark.parametrize(
    "text",
    [
        "id,answer\na,b\n",
        "id,human,id\n",
        "id,answer,human\na,b,true\nb,c",
        'id,answer,human\na,"b\nc,d',
        'id,answer,human\n\na,"b" c,d',
        "id,contexts,human\na,b,true",
        'id,human\na,"7,5"',
        'id,human\na,"[true, false]"',
        "id,human\na,1e999",
        "id,human\na,true\na,true",
        "id,human\n,true",
        "id,human\na,\udcff",
        "id,human\na,\0",
    ],
)  # fmt: skip
def test_a_table_that_is_none(llmops: Cli, text: str) -> None:
    Path("a.csv").write_bytes(text.encode("utf-8", "surrogateescape"))
    status, _, err = llmops("import-labels", "a.csv", "--into", "labels.jsonl")
    assert status == 2
    check_message(err)
    assert not Path("labels.jsonl").exists()


def test_an_empty_table(llmops: Cli) -> None:
    Path("a.csv").write_bytes(b"\xef\xbb\xbf\n")
    assert llmops("import-labels", "a.csv", "--into", "labels.jsonl") == (
        0,
        ["a.csv: nothing taken, 0 still empty"],
        "",
    )


def test_labels_in_cells() -> None:
    assert [parse_label_cell(one) for one in ("True", " fail ", "-1", "'7", "tie", "1.5e1", "")] == [
        True, "fail", -1.0, 7.0, "tie", 15.0, None,
    ]  # fmt: skip
