"""`llmops cases`: what each command finds and writes, its exit status, and its JSON."""

from __future__ import annotations

import json
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_llmops import cli
from pytest_llmops.cases import load_cases
from pytest_llmops.cli import case_check as command

Run = Callable[..., tuple[int, str]]
KEY = "sk-" + "abcdefghijklmnop1234"
LONG = "For how many days can I return my tent?"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)

    def run(*args: str) -> tuple[int, str]:
        status = cli.main(["cases", *args])
        out, err = capsys.readouterr()
        return status, out + err

    return run


def write(name: str, *rows: dict[str, Any] | str) -> str:
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    Path(name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return name


def case(name: str, text: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "input": text, **more}


def chat(question: str, answer: str = "Yes.") -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def read(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(name).read_text(encoding="utf-8").splitlines()]


def test_check_finds_each_fault_with_its_line(run: Run) -> None:
    file = write(
        "c.jsonl",
        case("a", LONG, family="f", split="train"),
        case("a", "Is it free?"),
        "{",
        case("c", "for how many days can I return my tent", split="test"),
        case("d", "Do you ship?", family="f", split="test"),
        case("e", f"Is {KEY} my key?"),
        case("g", "Write to jo@example.org."),
        case("h", "is it FREE"),
        case("i", ""),
    )
    status, text = run("check", file)
    assert status == 1
    assert KEY not in text
    assert "jo@example.org" not in text
    lines = text.splitlines()
    for expected in (
        "c.jsonl:2: duplicate id 'a' (first in line 1)",
        "c.jsonl:3: broken JSON",
        "c.jsonl:4: 100 % like line 1, of the split 'train', not 'test': a leak",
        "c.jsonl:5: the family 'f' is in the splits 'train' and 'test'",
        "c.jsonl:6: [secret] in ",
        "c.jsonl:7: note: [email] in ",
        "c.jsonl:8: note: 100 % like line 2",
    ):
        assert any(line.startswith(expected) for line in lines), (expected, text)
    assert lines[-1] == "9 rows, about 99 tokens; 5 problems, 2 notes"
    status, text = run("check", file, "--json")
    report = json.loads(text)
    assert (status, report["rows"], report["problems"]) == (1, 9, 5)
    what = "duplicate id 'a' (first in line 1)"
    assert {"file": file, "line": 2, "kind": "problem", "what": what} in report["findings"]


def test_check_of_a_good_file_is_0_and_one_label_is_a_note(run: Run) -> None:
    rows = [case(f"c{number}", chr(97 + number) * 7, label="yes") for number in range(20)]
    status, text = run("check", write("c.jsonl", *rows))
    assert status == 0
    assert "c.jsonl:1: note: the label of all is the same" in text
    rows[3]["label"] = "no"
    assert "the label" not in run("check", write("c.jsonl", *rows))[1]


@pytest.mark.slow
def test_check_finds_leaks_into_other_files_and_prompts(run: Run) -> None:
    training = write("t.jsonl", chat(LONG), chat("Where is Norway?"), chat("Where is Norway, please?"))
    write("cases.jsonl", case("days", LONG.upper()))
    status, text = run("check", training, "--format", "openai-chat", "--against", "cases.jsonl")
    assert status == 1
    assert "t.jsonl:1: 100 % like cases.jsonl days: a leak" in text
    Path("prompts/support").mkdir(parents=True)
    Path("prompts/support/v1.md").write_text(f"system:\nBe kind.\nQ: {LONG}\nA: 45.\nuser:\nHello")
    status, text = run("check", "cases.jsonl")
    assert (status, text.splitlines()[0]) == (1, "cases.jsonl:1: is in the prompt support/v1: a leak")
    assert run("check", "cases.jsonl", "--prompts", "none")[0] == 2
    assert "prompt" not in run("check", training, "--format", "openai-chat")[1]
    write("bad.jsonl", "{", "[]")
    assert run("check", "bad.jsonl", "--against", "cases.jsonl")[0] == 1


def test_a_broken_prompt_is_a_problem_and_stops_the_check_of_no_file(run: Run) -> None:
    files = [write("a.jsonl", case("a", LONG)), write("b.jsonl", case("b", "Is it free?"), "{")]
    for name, text in {
        "aliased/aliases.toml": "production = 1",
        "aliased/v1.md": "user:\nHello",
        "bad/v1.md": f"user:\n{{% if %}} {KEY}",
        "bad/v2.md": "---\nparams: [\n---\nuser:\nHello",
        "good/v1.md": f"system:\nQ: {LONG}\nA: 45.\nuser:\nHello",
    }.items():
        path = Path("prompts") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    status, text = run("check", *files)
    lines = text.splitlines()
    assert status == 1
    assert [line.partition(" ")[0] for line in lines[:3]] == [
        "prompts/aliased/aliases.toml:1:",
        "prompts/bad/v1.md:2:",
        "prompts/bad/v2.md:2:",
    ]
    assert all(line.endswith(": no row was compared with this prompt") for line in lines[:3])
    assert KEY not in text
    assert lines[3] == "a.jsonl:1: is in the prompt good/v1: a leak"
    assert lines[5].startswith("b.jsonl:2: ")
    report = json.loads(run("check", *files, "--json")[1])
    assert report["problems"] == 5
    assert report["findings"][0]["file"] == "prompts/aliased/aliases.toml"


@pytest.mark.slow
def test_check_of_training_rows_has_their_faults_and_personal_data(run: Run) -> None:
    file = write("t.jsonl", chat("Call me: +49 30 901820."), chat("x" * 900), {"messages": []})
    status, text = run("check", file, "--format", "openai-chat", "--max-tokens", "200")
    assert status == 1
    assert "t.jsonl:1: [phone] in " in text
    assert "t.jsonl:2: about " in text
    assert "t.jsonl:3: messages: expected a list of messages, got none" in text
    assert "901820" not in text
    # What is missing is told once: rows without messages are not alike, nor are outputs that are not there.
    file = write("c.jsonl", case("a", "Open?"), case("b", "How much?"))
    for form in ("openai-chat", "dpo"):
        text = run("check", file, "--format", form)[1]
        assert ("messages: expected" in text, "like line" in text, "equal" in text) == (True, False, False)


def test_check_finds_answers_that_contradict_each_other(run: Run) -> None:
    def calling(city: str, call_id: str) -> dict[str, Any]:
        function = {"name": "look", "arguments": json.dumps({"city": city})}
        answer = {"role": "assistant", "tool_calls": [{"id": call_id, "function": function}]}
        tools = [{"type": "function", "function": {"name": "look"}}]
        return {"messages": [{"role": "user", "content": "Warm?"}, answer], "tools": tools}

    quiet = chat("May I?", "Never.")
    quiet["messages"][-1]["weight"] = 0
    quiet["messages"] += chat("Please?", "Fine.")["messages"]
    kind = chat("May I?", "No.")
    kind["messages"].insert(0, {"role": "system", "content": "Always say no."})
    rows = [
        *(
            chat("May I?", "Yes."),
            chat(" may  I?", "yes. "),
            chat("May I?", "No."),
            chat("May I now?", "No."),
        ),
        *(kind, quiet, calling("Bonn", "c1"), calling("Bonn", "c2"), calling("Rome", "c3")),
    ]
    text = run("check", write("t.jsonl", *rows), "--format", "openai-chat")[1]
    found = [line for line in text.splitlines() if "with another answer" in line]
    assert [line.partition(", with")[0] for line in found] == [
        "t.jsonl:3: the same question as in line 1",
        "t.jsonl:9: the same question as in line 7",
    ]

    def prefer(good: str, bad: str) -> dict[str, Any]:
        better, worse = ([{"role": "assistant", "content": answer}] for answer in (good, bad))
        question = {"messages": [{"role": "user", "content": "May I?"}]}
        return {"input": question, "preferred_output": better, "non_preferred_output": worse}

    pairs = [prefer("Yes.", "No."), prefer("No.", "Never!"), prefer("no.", "yes.")]
    text = run("check", write("d.jsonl", *pairs), "--format", "dpo")[1]
    found = [line for line in text.splitlines() if "with another answer" in line]
    assert [line.partition(", with")[0] for line in found] == ["d.jsonl:3: the same question as in line 1"]


def test_a_file_larger_than_a_chunk_is_checked_as_a_whole(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "CHUNK", 2)
    file = write(
        "c.jsonl", *(case("a" if n == 4 else f"{n}a", f"{n}" * 9) for n in range(4)), case("0a", "other")
    )
    status, text = run("check", file)
    assert (status, text.splitlines()[0]) == (1, "c.jsonl:5: duplicate id '0a' (first in line 1)")
    assert text.endswith("; similar inputs were searched among each 2 rows\n")
    assert json.loads(run("check", file, "--json")[1])["similar_within"] == 2
    monkeypatch.setattr(command, "MAX_KEPT", 2)  # notes do not crowd out a problem
    file = write("c.jsonl", *(case(f"{n}", "the same") for n in range(9)), case("0", "other"))
    status, text = run("check", file)
    assert (status, "duplicate id '0'" in text) == (1, True)
    assert "1 problem, 4 notes (here are 2);" in text  # all are counted


def test_a_field_without_a_column_is_refused(run: Run) -> None:
    assert run("check", write("a.jsonl", case("a", "Open?")), "--field", "input") == (
        2,
        "llmops: --field: expected KEY=COLUMN, got 'input' [LLM-USAGE]\n",
    )


def test_a_column_that_no_row_has_is_refused(run: Run) -> None:
    file = write("a.jsonl", case("a", "Open?"), case("b", "Free?", answer="Yes."))
    for field, message in (
        (
            "reference=antwort",
            "llmops: --field reference=antwort: no row has this column @ a.jsonl [LLM-CASE]\n",
        ),
        ("refrence=answer", "llmops: --field: unknown key of a case 'refrence'"),
    ):
        status, text = run("split", file, "--field", field, "-o", "o.jsonl")
        assert (status, text.startswith(message), Path("o.jsonl").exists()) == (2, True, False), text
    more = "--field", "reference=answer", "--against", write("b.jsonl", case("b", "Where?"))
    assert run("check", file, *more)[0] == 0  # some row has it; of other files it is not asked


@pytest.mark.slow
def test_a_file_without_a_row_is_refused_by_every_command(run: Run) -> None:
    for file in (write("e.jsonl", ""), write("h.csv", "id,input")):
        for words in (
            "check",
            "dedupe",
            "split -o o.jsonl",
            "sample -n 1 -o o.jsonl",
            "convert --to dpo -o o.jsonl",
        ):
            name, *more = words.split()
            status, text = run(name, file, *more)
            assert (status, f"@ {file}" in text) == (2, True), text
        assert run("check", write("c.jsonl", case("a", "Open?")), "--against", file)[0] == 2
    assert not Path("o.jsonl").exists()


def test_several_files_are_checked_each_by_itself(run: Run) -> None:
    good, broken = write("a.jsonl", case("a", "Open?")), write("b.jsonl", case("a", "Free?"), "{")
    status, text = run("check", good, broken)
    assert status == 1
    assert [line.split(":")[0] for line in text.splitlines()] == [
        *("1 row, about 6 tokens; 0 problems, 0 notes", "b.jsonl"),
        "2 rows, about 6 tokens; 1 problem, 0 notes",
    ]
    status, text = run("check", good, broken, "--json")  # one document, which names the file of each finding
    document = json.loads(text)
    assert (status, document["rows"], document["problems"]) == (1, 3, 1)
    assert [(finding["file"], finding["line"]) for finding in document["findings"]] == [("b.jsonl", 2)]


@pytest.mark.slow
@pytest.mark.parametrize("command", ["sample -n 1", "split", "convert --to openai-chat", "dedupe"])
def test_an_id_that_stands_twice_is_refused_with_both_lines(run: Run, command: str) -> None:
    texts = ["Open?", "How much is a tent?", "Do you ship to Norway?", "open"]
    rows = [case(f"c{n % 2}", text, reference="Yes.") for n, text in enumerate(texts)]
    name, *more = command.split()
    Path("o.jsonl").write_text("as it was")
    status, text = run(name, write("c.jsonl", *rows[:1], "", *rows[1:]), *more, "-o", "o.jsonl")
    assert (status, text) == (2, "llmops: duplicate id 'c0' (first in line 1) @ c.jsonl:4 [LLM-CASE]\n")
    assert (Path("o.jsonl").read_text(), len(list(Path.cwd().iterdir()))) == ("as it was", 2)
    # Of a file that was joined with itself, no id is left twice.
    status, text = run("dedupe", write("twice.jsonl", *rows[:2], *rows[:2]), "-o", "o.jsonl")
    assert (status, [row["id"] for row in read("o.jsonl")]) == (0, ["c0", "c1"])
    # Nor does it hide a leak into another file.
    status, text = run(
        "check", write("t.jsonl", chat(texts[0])), "--format", "openai-chat", "--against", "c.jsonl"
    )
    assert (status, "duplicate id 'c0'" in text) == (2, True)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["sample -n 1", "split", "convert --to openai-chat", "dedupe"])
def test_a_large_file_is_not_held_in_memory(run: Run, command: str) -> None:
    rows = [case(f"c{n}", f"{n:05d}" * 5, reference="Yes.", note=f"{n} " * 600) for n in range(700)]
    name, *more = command.split()
    args = name, write("c.jsonl", *rows), *more, "-o", "o.jsonl"
    assert run(*args)[0] == 0  # what is imported stays in memory
    tracemalloc.start()
    assert run(*args)[0] == 0
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < Path("c.jsonl").stat().st_size / 2


def test_an_output_that_cannot_be_written_is_found_before_the_file_is_read(run: Run) -> None:
    file = write("c.jsonl", "{")
    assert "-o: expected" in run("split", file, "-o", "s.csv")[1]
    assert "-o: expected another file" in run("sample", file, "-n", "1", "-o", "c.jsonl")[1]


def test_sample_holds_only_what_it_draws_and_draws_the_same(run: Run) -> None:
    file = write("c.jsonl", *(case(f"c{n}", "x", n=n) for n in range(50)))
    assert run("sample", file, "-n", "5", "--seed", "7", "-o", "s.jsonl") == (0, "out s.jsonl, rows 5\n")
    drawn = read("s.jsonl")
    assert [row["n"] for row in drawn] == sorted(row["n"] for row in drawn)
    reordered = write("r.jsonl", *reversed(read("c.jsonl")))
    run("sample", reordered, "-n", "5", "--seed", "7", "-o", "s2.jsonl")
    assert read("s2.jsonl") == drawn[::-1]


@pytest.mark.slow
def test_split_keeps_families_together_and_shares(run: Run) -> None:
    file = write("c.jsonl", *(case(f"c{n}", "x", family=f"f{n // 5}") for n in range(100)))
    status, text = run("split", file, "-o", "s.jsonl", "--json")
    assert status == 0
    assert json.loads(text) == {"out": "s.jsonl", "rows": 100, "train": 80, "test": 20}
    cases = load_cases("s.jsonl")
    assert Counter(case.split for case in cases) == {"train": 80, "test": 20}
    assert all(len({case.split for case in cases if case.family == f"f{n}"}) == 1 for n in range(20))
    run("split", file, "-o", "s2.jsonl", "--seed", "1", "--names", "dev", "test", "--shares", "0.5", "0.5")
    assert {case.split for case in load_cases("s2.jsonl")} == {"dev", "test"}
    for shares in ("1", "1 1", "x", "-1 2", "0.5 0.3 0.2"):
        status, text = run("split", file, "-o", "s3.jsonl", "--shares", *shares.split())
        assert (status, shares == "x" or "got ['train', 'test'] and [" in text) == (2, True)
    for name in ("dev", ""):  # twice, or none
        assert run("split", file, "-o", "s3.jsonl", "--names", "dev", name)[0] == 2
    assert not Path("s3.jsonl").exists()


def test_dedupe_lists_pairs_or_writes_the_rest(run: Run) -> None:
    file = write(
        "c.csv",
        "id,question",
        "a,Where is my card?",
        "b,Is it free?",
        'c,"Where is my card, please?"',
        "d,where is my card",
    )
    args = "dedupe", file, "--field", "input=question", "--at-least", "80"
    status, text = run(*args)
    assert status == 1
    assert text.splitlines() == [
        "100 %  a  d  where is my card", " 80 %  a  c  Where is my card, please?", "2 pairs of 4 cases",
    ]  # fmt: skip
    assert len(json.loads(run(*args, "--json")[1])["pairs"]) == 2
    assert run(*args, "-o", "d.jsonl") == (0, "out d.jsonl, rows 2, left_out 2\n")
    assert [row["id"] for row in read("d.jsonl")] == ["a", "b"]


@pytest.mark.slow
def test_convert_goes_there_and_back(run: Run) -> None:
    write("t.jsonl", chat("May I?"), chat("Do you?", "No."))
    assert run("convert", "t.jsonl", "--format", "openai-chat", "--to", "cases", "-o", "c.jsonl")[0] == 0
    assert [(case.id, case.split, case["origin"]) for case in load_cases("c.jsonl")] == [
        ("t-1", "train", "t.jsonl:1"), ("t-2", "train", "t.jsonl:2"),
    ]  # fmt: skip
    assert run("convert", "c.jsonl", "--to", "openai-chat", "-o", "t2.jsonl")[0] == 0
    assert read("t2.jsonl") == read("t.jsonl")
    write("failed.jsonl", case("a", "May I?", reference="Yes.", output="No."))
    assert run("convert", "failed.jsonl", "--to", "dpo", "--system", "Be kind.", "-o", "d.jsonl")[0] == 0
    assert run("check", "d.jsonl", "--format", "dpo") == (0, "1 row, about 54 tokens; 0 problems, 0 notes\n")
    status, text = run("convert", "c.jsonl", "--to", "dpo", "-o", "d2.jsonl")
    assert (status, "c.jsonl:1" in text, Path("d2.jsonl").exists()) == (2, True, False)
    status, text = run("convert", "c.jsonl", "--to", "cases", "-o", "d2.jsonl")
    assert (status, "--format is the format of c.jsonl" in text) == (2, True)


def test_a_reviewed_case_prefers_the_right_answer_to_the_rejected_one(run: Run) -> None:
    file = write("feedback.jsonl", case("a", "May I?", reference="Yes.", rejected="No."))
    assert run("convert", file, "--to", "dpo", "-o", "d.jsonl")[0] == 0
    assert [row["non_preferred_output"][0]["content"] for row in read("d.jsonl")] == ["No."]


@pytest.mark.parametrize("command", ["sample -n 1", "split", "convert --to dpo"])
def test_a_command_that_writes_says_that_it_needs_a_file(run: Run, command: str) -> None:
    name, *more = command.split()
    status, text = run(name, write("c.jsonl", case("a", "x")), *more)
    assert (status, "required: -o/--out" in text) == (2, True)


def test_likeness_is_a_percentage(run: Run) -> None:
    for share in ("0.9", "101"):
        status, text = run("check", write("c.jsonl", case("a", "x")), "--at-least", share)
        assert (status, f"a percentage above 1 and up to 100, got {share}" in text) == (2, True)


def test_output_files_are_json_lines_and_no_input(run: Run) -> None:
    file = write("c.jsonl", case("a", "x"))
    for out in ("c.jsonl", "c.csv"):
        assert run("sample", file, "-n", "1", "-o", out)[0] == 2
    assert run("sample", file, "-n", "1")[0] == 2
    assert run("sample", "none.jsonl", "-n", "1", "-o", "s.jsonl")[0] == 2
    assert run("check", write("e.jsonl"))[0] == 2
    assert read(file) == [case("a", "x")]


def test_other_types_of_files_are_checked_too(run: Run) -> None:
    yaml = write("c.yaml", "- {id: a, input: x}", "- {id: a, input: !!python/name:os.system x}")
    assert run("check", yaml)[0] == 2
    loops = write("d.yaml", "- &a {id: a, input: [*a]}")
    assert run("check", loops)[0] == 2
    table = write("c.csv", "id,input", 'a,"two', 'lines ""quoted"""', f"b,{'long ' * 40_000}")
    assert run("check", table)[1].startswith("2 rows, ")
    Path("l.jsonl").write_bytes(b'{"id": "a", "input": "x"}\r\n{"id": "b", "input": "\xfc"}\r\n')
    status, text = run("check", "l.jsonl")
    assert (status, "l.jsonl:2" in text) == (2, True)


def test_secrets_stay_out_of_every_output(run: Run) -> None:
    file = write(
        "c [1].jsonl", case(KEY, f"Is {KEY} it?"), case(KEY, f"is {KEY} it"), case("b", f"Is {KEY} it")
    )
    for args in (("check", file), ("check", file, "--json")):
        status, text = run(*args)
        assert (status, KEY in text, "[secret]" in text) == (1, False, True)
    write("d.jsonl", case("a", f"Is {KEY} it?"), case("b", f"is {KEY} it"))
    for more in ((), ("--json",)):
        status, text = run("dedupe", "d.jsonl", *more)
        assert (status, KEY in text, "[secret]" in text) == (1, False, True)
    assert run("dedupe", "d.jsonl", "--at-least", "0")[0] == 2
    rows = write("t [1].jsonl", chat("May I?", "Yes."))
    assert run("check", rows, "--format", "openai-chat", "--field", "input=question")[0] == 0


def test_schema_prints_the_schema(run: Run) -> None:
    status, text = run("schema")
    assert (status, json.loads(text)["$defs"]["case"]["type"]) == (0, "object")


def test_commands_know_the_names_and_ids_that_tests_have(run: Run) -> None:
    rows = [{"question": LONG, "answer": "45."}, {"question": "Is it free?", "answer": "No."}]
    file = write("c.jsonl", *rows, "{")
    cases = load_cases(rows)
    status, text = run("check", file)
    assert (status, "c.jsonl:3: broken JSON" in text, "note: no row has an id" in text) == (1, True, True)
    assert run("sample", write("c.jsonl", *rows), "-n", "9", "-o", "s.jsonl")[0] == 0
    assert [(row["id"], row["question"]) for row in read("s.jsonl")] == [
        (case.id, case.input) for case in cases
    ]
    # With the ids written down, cases stay the same ones whatever is added.
    assert [case.id for case in load_cases("s.jsonl")] == [case.id for case in cases]
    assert not load_cases("s.jsonl")[0].has_content_id
    assert run("convert", file, "--to", "openai-chat", "-o", "chat.jsonl")[0] == 0
    assert read("chat.jsonl") == [chat(row["question"], row["answer"]) for row in rows]
    assert (
        run("sample", write("c.jsonl", *rows, {**rows[0], "prompt": "x"}), "-n", "9", "-o", "t.jsonl")[0] == 2
    )


def test_columns_that_are_not_clear_are_one_error_of_the_file(run: Run) -> None:
    file = write("c.jsonl", *({"question": LONG, "prompt": f"p{number}"} for number in range(3)))
    status, text = run("check", file)
    assert (status, text.count("'prompt' and 'question' may be the input")) == (2, 1)


@pytest.mark.slow
def test_the_same_row_twice_is_noted_and_left_out_by_the_commands(run: Run) -> None:
    file = write("c.jsonl", {"question": LONG}, {"question": "Is it free?"}, {"question": LONG})
    status, text = run("check", file)
    assert (status, "c.jsonl:3: note: the same row as line 1" in text) == (0, True)
    for arguments in (
        ["sample", file, "-n", "9"],
        ["split", file, "--shares", "0.5", "0.5", "--names", "a", "b"],
    ):
        status, text = run(*arguments, "-o", "s.jsonl")
        assert (status, "same_rows_left_out 1" in text, len(read("s.jsonl"))) == (0, True, 2)
    status, text = run("dedupe", file, "-o", "s.jsonl")
    assert (status, "left_out 1" in text, len(load_cases("s.jsonl"))) == (0, True, 2)
    assert "same_rows" not in text


def test_commands_read_the_rows_of_a_split(run: Run) -> None:
    file = write("c.jsonl", case("a", LONG, split="train"), case("a", "Is it free?", split="test"))
    assert run("sample", file, "-n", "9", "--split", "test", "-o", "s.jsonl")[0] == 0
    assert [row["input"] for row in read("s.jsonl")] == ["Is it free?"]
    assert "; 0 problems" in run("check", file, "--split", "train")[1]
    status, text = run("check", file, "--split", "tset")
    assert (status, "'tset'" in text) == (2, True)
