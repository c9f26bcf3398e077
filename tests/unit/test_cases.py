from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest
from support.messages import check_message

from pytest_llmops.cases.files import Case, load_cases, sample, tagged
from pytest_llmops.errors import CaseError, UnknownName, UsageError

FULL = Case(
    id="late-return",
    input="Can I return it after 45 days?",
    reference="No, within 30 days.",
    tags=("smoke", "refund"),
    family="returns",
    data={"days": 45},
)


def write(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def refused(folder: Path, name: str, text: str | bytes) -> CaseError:
    path = write(folder, name, text)
    with pytest.raises(CaseError) as caught:
        load_cases(path)
    assert caught.value.path == str(path)
    assert "\n" not in str(caught.value)
    return caught.value


def test_jsonl(tmp_path: Path) -> None:
    text = (
        '{"id": "late-return", "input": "Can I return it after 45 days?", "reference": "No, within 30 days.", '
        '"tags": ["smoke", "refund"], "family": "returns", "days": 45}\n'
        "\n"
        '{"id": "b", "input": {"messages": [1, null, true]}}'
    )
    cases = load_cases(write(tmp_path, "c.jsonl", text))
    assert cases == (FULL, Case(id="b", input={"messages": [1, None, True]}))
    assert load_cases(str(tmp_path / "c.jsonl")) == cases


@pytest.mark.parametrize("name", ["c.yaml", "c.yml", "c.YAML"])
def test_yaml(tmp_path: Path, name: str) -> None:
    text = """
- id: late-return
  input: Can I return it after 45 days?
  reference: No, within 30 days.
  tags: [smoke, refund]
  family: returns
  days: 45
- id: b
  input: {messages: [1, null, true]}
"""
    cases = load_cases(write(tmp_path, name, text))
    assert cases == (FULL, Case(id="b", input={"messages": [1, None, True]}))


@pytest.mark.parametrize(
    ("name", "text", "lines"),
    [
        ("a.jsonl", '{"id": "a", "input": "1"}\n\n{"id": "b", "input": "2"}\n', [1, 3]),
        ("a.yaml", "- id: a\n  input: 1\n- id: b\n  input: 2\n", [1, 3]),
        ("a.csv", 'id,input\na,"1\n2"\nb,3\n', [2, 4]),
    ],
)
def test_a_case_knows_the_line_at_which_it_begins(
    tmp_path: Path, name: str, text: str, lines: list[int]
) -> None:
    assert [case.line for case in load_cases(write(tmp_path, name, text))] == lines
    assert [case.line for case in load_cases([{"id": "a", "input": "1"}])] == [0]


def test_csv(tmp_path: Path) -> None:
    text = (
        "\ufeffid,input,reference,tags,family,days\r\n"
        'late-return,Can I return it after 45 days?,"No, within 30 days.",smoke; refund,returns,45\r\n'
        "\r\n"
        'b,"two\r\nlines ""quoted""",,a|b,,007\r\n'
    )
    cases = load_cases(write(tmp_path, "c.csv", text))
    assert cases == (
        dataclasses.replace(FULL, data={"days": "45"}),
        Case(id="b", input='two\nlines "quoted"', tags=("a", "b"), data={"days": "007"}),
    )


def test_a_line_separator_within_a_text_ends_no_line(tmp_path: Path) -> None:
    path = write(tmp_path, "c.jsonl", '{"id": "a", "input": "x\u2028y\x85z"}\n{"id": true, "input": ""}\n')
    with pytest.raises(CaseError, match=r"c.jsonl:2$"):
        load_cases(path)
    path.write_text('{"id": "a", "input": "x\u2028y"}\n', encoding="utf-8")
    assert load_cases(path)[0].input == "x\u2028y"


def test_an_error_about_a_header_names_no_thousand_columns(tmp_path: Path) -> None:
    path = tmp_path / "cases.csv"
    path.write_text("id,input," + ",".join(f"column {n % 2_000}" for n in range(4_000)), encoding="utf-8")
    with pytest.raises(CaseError) as caught:
        load_cases(path)
    assert "'column 0' occurs twice" in str(caught.value)
    assert len(str(caught.value)) < 1_500


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("c.jsonl", '{"id": "a", "input": "x"}\n{"id": ', 2),
        ("c.jsonl", "\n[1]", 2),
        ("c.jsonl", '{"id": "a", "input": "x"}\n\n{"id": "a", "input": "y"}', 3),
        ("c.jsonl", '{"id": "a", "id": "b", "input": ""}', 1),
        ("c.jsonl", '{"id": "a", "input": NaN}', 1),
        ("c.jsonl", '{"id": "a", "input": 1e999}', 1),
        ("c.jsonl", '{"id": "a", "input": ' + "9" * 4000 + "}", 1),
        ("c.jsonl", '{"id": "a", "input": ' + "9" * 5000 + "}", 1),
        ("c.jsonl", '{"id": "a", "input": "\\ud800"}', 1),
        ("c.jsonl", '{"id": "a", "input": ' + "[" * 200 + "]" * 200 + "}", 1),
        ("c.jsonl", '{"id": "a", "input": ' + "[" * 100_000, 1),
        ("c.jsonl", '{"id": "a", "inptu": "x", "tags": []}', 1),
        ("c.jsonl", '{"id": "a", "input": "x"}\n{"input": "x"}', 2),
        ("c.jsonl", '{"id": "a", "question": "x"}\n{"id": "b"}', 2),
        ("c.jsonl", '{"question": "x", "prompt": "y"}', None),
        ("c.jsonl", '{"instruction": "x", "input": "y", "output": "z"}', None),
        ("c.jsonl", '{"input": "x", "ideal": "y"}\n{"input": "y", "ideal": "y", "ground_truth": "z"}', 2),
        ("c.jsonl", '{"question": "x", "qid": 1, "uid": "a"}\n{"question": "x", "qid": 2, "uid": "b"}', None),
        ("c.jsonl", '{"messages": "x"}', 1),
        ("c.jsonl", '{"messages": [{"role": "assistant", "content": "x"}]}', 1),
        ("c.jsonl", "{}", 1),
        ("c.jsonl", '{"id": "a", "input": null}', 1),
        ("c.jsonl", '{"id": "a", "input": "", "reference": 3}', 1),
        ("c.jsonl", '{"id": "a", "input": "", "reference": null}', 1),
        ("c.jsonl", '{"id": "a", "input": "", "family": ["f"]}', 1),
        ("c.jsonl", '{"id": "a", "input": "", "tags": "smoke"}', 1),
        ("c.jsonl", '{"id": "a", "input": "", "tags": ["a", 1]}', 1),
        ("c.jsonl", '{"id": "a", "input": "", "tags": [" "]}', 1),
        ("c.jsonl", '{"id": true, "input": ""}', 1),
        ("c.jsonl", '{"id": 1.5, "input": ""}', 1),
        ("c.jsonl", '{"id": 7, "input": ""}\n{"id": "7", "input": ""}', 2),
        ("c.jsonl", '{"id": " ", "input": ""}', 1),
        ("c.jsonl", '{"id": "a ", "input": ""}', 1),
        ("c.jsonl", '{"id": "a\\nb", "input": ""}', 1),
        ("c.jsonl", '{"id": "a[1]", "input": ""}', 1),
        ("c.jsonl", '{"id": "1]", "input": ""}', 1),
        ("c.jsonl", '{"id": "a::b", "input": ""}', 1),
        ("c.jsonl", '{"id": "a\\\\b", "input": ""}', 1),
        ("c.jsonl", '{"id": "' + "a" * 201 + '", "input": ""}', 1),
        ("c.jsonl", "", None),
        ("c.jsonl", '{"id": "a", "Querz\\n": "x"}', 1),
        ("c.jsonl", " \n\n", None),
        ("c.jsonl", b'{"id": "a", "input": "x"}\n{"id": "b", "input": "\xfc"}', 2),
        ("c.jsonl", b'{"id": "a"}\n\0', 2),
        ("c.yaml", "", None),
        ("c.yaml", "[]", None),
        ("c.yaml", "id: a\ninput: x", 1),
        ("c.yaml", "- id: a\n  input: x\n\n- a", 4),
        ("c.yaml", "- id: a\n  input: x\n# b\n- id: a\n  input: y", 4),
        ("c.yaml", "- {id: a, input: x}\n- id: b\n  input: x\n  input: y", 4),
        ("c.yaml", "- id: a\n  input: [x\n", 3),
        ("c.yaml", "- id: a\n  input: x\n- id: b\n  input: 2024-01-01", 3),
        ("c.yaml", "- id: a\n  input: x\n- id: b\n  input: 2024-13-01", 4),
        ("c.yaml", "- id: a\n  input: !!timestamp x", 2),
        ("c.yaml", "- id: a\n  input: !!bool x", 2),
        ("c.yaml", "- id: a\n  input: !!python/object:os.system x", 2),
        ("c.yaml", "- id: a\n  input: {1: x}", 1),
        ("c.yaml", "- id: a\n  input: {[1]: x}", 2),
        ("c.yaml", "- &a [*a]", 1),
        ("c.yaml", "- " + "[" * 1000, None),
        ("c.yaml", "- id: a\n  input: \x07", 2),
        ("c.yaml", "- {id: a, input: x}\n---\n- {id: b, input: x}", 2),
        ("c.yaml", "- id: true\n  input: x", 1),
        ("c.yaml", "- id: a\n  input: x\n  reference: yes", 3),
        ("c.yaml", "- id: a\n  input:\n    opens: [9, 12:30]", 3),
        ("c.yaml", "- {id: 010, input: x}", 1),
        ("c.yaml", "- id: a\n  input: x\n- id: b\n  input: x\n  version: 1.10", 5),
        ("c.yaml", "- id: a\n  input: x\n  tags: [~]", 3),
        ("c.yaml", "- id: a\n  input: x\n  phone: +493012", 3),
        ("c.yaml", "- id: a\n  input: x\n  colour: 0x1F", 3),
        ("c.csv", "", None),
        ("c.csv", "id,input\n", None),
        ("c.csv", "\nid;input\na;b\n", 2),
        ("c.csv", "id, inptu\na,b\n", 1),
        ("c.csv", "id,answer,text,User Input\na,b,c,d\n", 1),
        ("c.tsv", "id,inptu\na\tb\n", 2),
        ("c.csv", "id,input,input\n", 1),
        ("c.csv", "id,input,\na,b,\n", 1),
        ("c.csv", 'id,input\na,"x\ny"\nb,c,d\n', 4),
        ("c.csv", 'id,input\na,"x\ny"\n\nb\n', 5),
        ("c.csv", 'id,input\na,"x\ny"\na,"p\nq\nr"\n', 4),
        ("c.csv", 'id,input\na,"x\n', 2),
        ("c.csv", 'id,input\na,"x"y\n', 2),
        ("c.csv", "id,input\n,b\n", 2),
        ("c.json", "[]", None),
        ("c.json", '["a"]', 1),
        ("c.json", '{"data": [{"input": "x"}], "more": [{"input": "y"}]}', None),
        ("c.json", '{"data": ["x"]}', None),
        ("cases", "[]", None),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_says_why_and_where(
    tmp_path: Path, name: str, text: str | bytes, line: int | None
) -> None:
    error = refused(tmp_path, name, text)
    check_message(error.what)
    assert error.line == line
    assert str(error).endswith(f"@ {tmp_path / name}:{line}" if line else f"@ {tmp_path / name}")


def test_values_of_yaml_that_are_as_they_are_written(tmp_path: Path) -> None:
    written = (
        "[1.5, 10, -3, 0.25, 1.0, true, null, 1e3, 08, '1.10', \"12:30\", 'no', 1.2.3, 3 o'clock, 1.0e-07]"
    )
    (case,) = load_cases(write(tmp_path, "c.yaml", f"- id: a\n  input: {written}\n  note: |\n    12:30\n"))
    numbers = [1.5, 10, -3, 0.25, 1.0, True, None]
    texts = ["1e3", "08", "1.10", "12:30", "no", "1.2.3", "3 o'clock"]
    assert (case.input, case["note"]) == ([*numbers, *texts, 1e-07], "12:30\n")


def test_plain_decimal_numbers_in_yaml_keep_their_value(tmp_path: Path) -> None:
    written = "[0.00001, -0.00001, 100000000000000000.0, 0.000012345, 1.5e-05, 1.0e+17]"
    (case,) = load_cases(write(tmp_path, "c.yaml", f"- id: a\n  input: {written}\n"))
    assert case.input == [1e-05, -1e-05, 1e17, 1.2345e-05, 1.5e-05, 1e17]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("0.000010", "1.0e-05"),
        ("1.00e-05", "1.0e-05"),
        ("100000000000000000.00", "1.0e+17"),
        ("1.10", "1.1"),
        ("0.12345678901234567891", "0.12345678901234568"),  # YAML drops the last digits
    ],
)
def test_the_advice_on_a_number_in_yaml_is_accepted(tmp_path: Path, written: str, value: str) -> None:
    error = refused(tmp_path, "c.yaml", f"- id: a\n  input: [{written}]\n")
    assert (
        error.what
        == f'YAML reads {written} as {value}: write "{written}" for the text, or {value} for the value'
    )
    (case,) = load_cases(write(tmp_path, "c.yaml", f"- id: a\n  input: [{value}]\n"))
    assert case.input == [float(written)]


@pytest.mark.parametrize("written", ["0.1e+9999", "-0.1e+9999", ".inf"])
def test_an_infinite_number_in_yaml_is_refused_without_advice_to_write_it(
    tmp_path: Path, written: str
) -> None:
    error = refused(tmp_path, "c.yaml", f"- id: a\n  input: [{written}]\n")
    assert "write" not in error.what
    assert "finite" in error.what


FOREIGN = "qid,question,answer,labels,input\n7,How long?,30 days,a; b,web\n"


def test_a_semicolon_in_the_name_of_a_column_does_not_separate(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("a;b,id,input\n1,x,y\n", encoding="utf-8")
    assert [case.data["a;b"] for case in load_cases(tmp_path / "c.csv")] == ["1"]


def test_columns_of_another_tool(tmp_path: Path) -> None:
    fields = {"id": "qid", "input": "question", "reference": "answer", "tags": "labels"}
    row = {"qid": 7, "question": "How long?", "answer": "30 days", "labels": ["a", "b"], "input": "web"}
    write(tmp_path, "c.jsonl", json.dumps(row))
    for path in (write(tmp_path, "c.csv", FOREIGN), tmp_path / "c.jsonl"):
        (case,) = load_cases(path, fields=fields)
        assert (case.id, case.input, case.reference, case.tags) == ("7", "How long?", "30 days", ("a", "b"))
        # Nothing of the file is lost: its own names still read it, also the column that gave way.
        assert (case["question"], case["input"]) == ("How long?", "web")
        assert load_cases(path, default_fields={**fields, "family": "group"}) == (case,)
    # A default is for files that have the column; others are read as ever.
    ours = write(tmp_path, "ours.csv", "id,input\na,x\n")
    assert load_cases(ours, default_fields={"input": "question"}) == load_cases(ours)
    swapped = write(tmp_path, "swapped.csv", "id,input,reference\na,x,y\n")
    (case,) = load_cases(swapped, fields={"input": "reference", "reference": "input"})
    assert (case.input, case.reference) == ("y", "x")


@pytest.mark.parametrize(
    ("text", "fields", "line"),
    [
        (FOREIGN, {"id": "qid", "inptu": "question"}, 1),
        (FOREIGN, {"id": "qid", "input": "qestion"}, 1),
        (FOREIGN, {"id": "qid", "reference": "gold"}, 1),
        (FOREIGN, {"input": "labels", "reference": "gold"}, 1),
        ('{"qid": true, "input": "x"}\n', {"id": "qid"}, 1),
        ('{"qid": "a", "input": "x"}\n{"id": "b", "input": "x"}\n', {"id": "qid"}, 2),
    ],
    ids=["key", "misspelt", "optional", "required", "id", "one line"],
)
def test_wrong_fields_say_which_and_where(
    tmp_path: Path, text: str, fields: dict[str, str], line: int
) -> None:
    path = write(tmp_path, "c.csv" if text == FOREIGN else "c.jsonl", text)
    with pytest.raises(CaseError) as caught:
        load_cases(path, fields=fields)
    check_message(caught.value)
    assert (caught.value.path, caught.value.line) == (str(path), line)


def test_a_key_that_a_case_does_not_have_offers_the_likely_one() -> None:
    case = Case(id="a", input="How long?", reference="30 days", data={"facts": "30"})
    for key in ("fact", "question", "input", "answer", "tags"):
        with pytest.raises(UnknownName, check=check_message) as caught:
            case[key]
        assert caught.value.name == key


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match=r"no such file @ .*c.jsonl$"):
        load_cases(tmp_path / "c.jsonl")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").mkdir()
    with pytest.raises(CaseError, match="cannot be read: "):
        load_cases(tmp_path / "c.jsonl")


def test_tags_are_trimmed_and_kept_once(tmp_path: Path) -> None:
    path = write(tmp_path, "c.jsonl", '{"id": "a", "input": "", "tags": ["b", " a", "b"]}')
    assert load_cases(path)[0].tags == ("b", "a")


def test_ids_that_are_fine(tmp_path: Path) -> None:
    ids = ["a b", "größe", "退货", "a/b", "a:b", "x" * 200, "-", "1.0"]
    lines = "\n".join(json.dumps({"id": id_, "input": ""}) for id_ in ids)
    assert [case.id for case in load_cases(write(tmp_path, "c.jsonl", lines))] == ids


def test_other_keys_are_read_by_name() -> None:
    assert FULL["days"] == 45
    assert "days" in FULL
    assert "input" not in FULL
    with pytest.raises(UnknownName, check=check_message):
        FULL["day"]


def test_a_case_can_be_a_key() -> None:
    assert {FULL: 1}[dataclasses.replace(FULL)] == 1


def test_the_fingerprint_is_of_the_content() -> None:
    def changed(**fields: object) -> str:
        return dataclasses.replace(FULL, **fields).fingerprint  # type: ignore[arg-type]

    assert re.fullmatch("[0-9a-f]{16}", FULL.fingerprint)
    assert changed(id="x") == changed(tags=()) == changed(family="") == FULL.fingerprint
    others = {changed(input="x"), changed(reference="x"), changed(data={"days": 46}), changed(data={})}
    assert len({*others, FULL.fingerprint}) == 5
    case = Case(id="a", input={"x": 1, "y": 2})
    assert case.fingerprint == Case(id="a", input={"y": 2, "x": 1}).fingerprint


def cases_named(*names: str) -> list[Case]:
    return [Case(id=name, input="") for name in names]


def test_a_sample_is_the_same_everywhere_and_in_order() -> None:
    cases = cases_named(*(f"case-{number}" for number in range(100)))
    drawn = sample(cases, 5, seed=3)
    assert [case.id for case in drawn] == ["case-15", "case-21", "case-39", "case-46", "case-60"]
    assert sample(reversed(cases), 5, seed=3) == drawn[::-1]
    assert sample(cases, 5, seed=4) != drawn
    assert sample(cases, 1000) == tuple(cases)


def test_a_new_case_exchanges_at_most_one_of_a_sample() -> None:
    cases = cases_named(*(f"case-{number}" for number in range(50)))
    before = set(sample(cases, 10))
    after = set(sample([*cases_named("new"), *cases], 10))
    assert len(before & after) >= 9


@pytest.mark.parametrize("n", [0, -1])
def test_a_sample_of_nothing_is_refused(n: int) -> None:
    with pytest.raises(UsageError, check=check_message):
        sample(cases_named("a"), n)


def test_tagged() -> None:
    cases = [
        Case(id="a", input="", tags=("smoke", "de")),
        Case(id="b", input="", tags=("smoke",)),
        Case(id="c", input=""),
    ]
    assert [case.id for case in tagged(cases, "smoke")] == ["a", "b"]
    assert [case.id for case in tagged(cases, "smoke", "de")] == ["a"]
    assert [case.id for case in tagged(cases, without=["de"])] == ["b", "c"]
    assert tagged(cases, "de", without=["smoke"]) == ()
    assert tagged(cases) == tuple(cases)


def test_a_misspelt_tag_is_no_empty_suite() -> None:
    cases = [Case(id="a", input="", tags=("smoke",))]
    for wanted, without in ((["smok"], []), ([], ["smok"])):
        with pytest.raises(UnknownName, check=check_message):
            tagged(cases, *wanted, without=without)
