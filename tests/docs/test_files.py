"""The examples of docs/reference/files.md, each read by the reader of its format."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pytest_llmops.baselines.baseline import Baseline
from pytest_llmops.cases import load_cases
from pytest_llmops.cases.columns import OTHER_NAMES
from pytest_llmops.cassettes.store import load_cassette
from pytest_llmops.cassettes.traces.tape_file import read_tape
from pytest_llmops.judges import Policy, Rubric
from pytest_llmops.judges.item_judges import load_judge_file
from pytest_llmops.prompts.registry import Prompts

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "files.md"
CODE = {"test_theirs.py", "pytest.ini"}
EXAMPLE = re.compile(r'^```\w+ title="([^"]+)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)


def write_examples(folder: Path) -> list[str]:
    """Write each example to the file of its title; return the names."""
    names = []
    for name, example in EXAMPLE.findall(PAGE.read_text(encoding="utf-8")):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(example, encoding="utf-8")
        names.append(name)
    return names


def test_every_example_is_read_by_its_reader(tmp_path: Path) -> None:
    names = set(write_examples(tmp_path)) - CODE
    first, second = load_cases(tmp_path / "cases/refunds.jsonl")
    assert (first.tags, second.family, first["fact"]) == (("refund",), "late", "45 days")
    (listed,) = load_cases(tmp_path / "cases/refunds.yaml")
    (tabular,) = load_cases(tmp_path / "cases/refunds.csv")
    assert tabular.tags == ("refund", "smoke")
    assert {(case.id, case.input, case.reference) for case in (first, listed, tabular)} == {
        ("late", "May I return it after 60 days?", "No, within 45 days.")
    }
    late, _ = load_cases(tmp_path / "cases/dataset.csv")
    assert (late.input, late.reference) == (first.input, first.reference)
    assert f"`{late.id}`" in PAGE.read_text(encoding="utf-8")
    prompts = Prompts(tmp_path / "prompts")
    prompt = prompts.get("support/answer")
    assert (prompt.version, prompt.params) == ("v1", {"temperature": 0})
    assert [message.role for message in prompt.render(question="May I?").messages] == ["system", "user"]
    assert prompt.output_schema is not None
    assert prompts.aliases("support/answer") == {"production": "v1", "candidate": "v1"}
    rubric = load_judge_file(tmp_path / "judges/tone.md")
    assert isinstance(rubric, Rubric)
    assert len(rubric.examples) == 2
    policy = load_judge_file(tmp_path / "judges/refunds.md")
    assert isinstance(policy, Policy)
    assert len(policy.items) == 2
    (interaction,) = load_cassette(tmp_path / "cassettes/test_shop/test_answer/return-days.json").values()
    assert interaction.answers["0"][0]["status"] == 200
    tape = read_tape(tmp_path / "cases/traces/fb-c9a665cce020.json")
    assert [call.messages[0]["role"] for call in tape.calls] == ["user"]
    assert (tape.tools[0].name, tape.missing) == ("get_order", ["tool definitions"])
    baseline = Baseline.from_bytes((tmp_path / "llmops-baseline.json").read_bytes(), where="here")
    assert baseline.tests["test_shop.py::test_answer[return-days]"].scores == {"text.contains": (1.0,)}
    assert names == {
        "cases/refunds.jsonl", "cases/refunds.yaml", "cases/refunds.csv", "cases/dataset.csv", "cases/theirs.csv", "judges/tone.md",
        "judges/refunds.md", "prompts/support/answer/v1.md", "prompts/support/answer/answer.schema.json",
        "prompts/support/answer/aliases.toml", "cassettes/test_shop/test_answer/return-days.json", "llmops-baseline.json",
        "cases/traces/fb-c9a665cce020.json",
    }  # fmt: skip


def test_the_page_names_every_column_that_is_known() -> None:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    for key, names in OTHER_NAMES.items():
        (row,) = (line for line in lines if line.startswith(f"| `{key}` | `{names[0]}`"))
        assert [name for name in names if f"`{name}`" not in row] == []


def test_the_example_of_foreign_columns_runs(reader: pytest.Pytester) -> None:
    write_examples(reader.path)
    reader.runpytest_inprocess().assert_outcomes(passed=1)
    # By the ini key only
    test = reader.path / "test_theirs.py"
    test.write_text(test.read_text().replace(', fields={"input": "customer", "reference": "our_reply"}', ""))
    reader.runpytest_inprocess().assert_outcomes(passed=1)
