"""@pytest.mark.llm_compare: variants run side by side, and the verdict on each of them."""

from __future__ import annotations

import json

import pytest
from support.messages import check_message
from support.page import read_data
from support.project import Project

from pytest_llmops.results.details import VariantFacts
from pytest_llmops.results.verdict import Verdict

SUITE = """
import os
import pytest
from pytest_llmops import assert_score

def quality(actual, expected=None):
    return float(actual)

seen = []

@pytest.fixture(scope="module", autouse=True)
def order():
    yield
    with open("order.txt", "a") as file:
        file.write(" ".join(seen) + "\\n")

def score(number, version):
    noise = ((number * 3 + int(version[1]) * 5 + seen.count(f"{version}-{number}") * 2) % 7 - 3) / 60
    return 0.7 + noise + {"v1": 0.0, "v2": 0.12, "v3": -0.2}[version]

@pytest.mark.llm_compare("version")
@pytest.mark.parametrize("number", range(10))
@pytest.mark.parametrize("version", ["v1", "v2", "v3"])
def test_answer(version, number):
    seen.append(f"{version}-{number}")
    assert_score(quality, str(score(number, version)), at_least=None)
"""
TRIALS = "--llm-trials=3"


def verdicts(project: Project, *args: str, workers: int = 0) -> dict[str, Verdict]:
    result = project.run(*args, workers=workers)
    assert not {"failed", "errors"} & result.outcomes.keys(), result.text
    return {variant.subject.rpartition(" ")[2]: variant for variant in result.run.verdicts}


def test_each_value_is_compared_with_the_first(project: Project, workers: int) -> None:
    project.write(**{"test_a.py": SUITE})
    result = project.run(TRIALS, workers=workers)
    assert result.outcomes == {"passed": 30}
    assert [(v.subject, v.status, v.baseline, v.kind) for v in result.run.verdicts] == [
        ("version v2", "better", "v1", "comparison"),
        ("version v3", "worse", "v1", "comparison"),
    ]
    assert result.run.verdicts[0].sentence.startswith("score.quality better by 12.")
    metric = result.run.verdicts[0].metrics[0]
    assert (metric.cases, metric.trials_before, metric.trials_after, metric.role) == (10, 3, 3, "primary")


def test_variants_of_a_case_are_adjacent_and_their_trials_take_turns(project: Project) -> None:
    project.write(**{"test_a.py": SUITE.replace("range(10)", "range(2)")})
    project.run(TRIALS)
    seen = (project.path / "order.txt").read_text().split()
    assert seen[:9] == ["v1-0", "v2-0", "v3-0"] * 3
    assert seen[9:12] == ["v1-1", "v2-1", "v3-1"]
    assert len(seen) == 18


def test_without_trials_the_order_alternates_too(project: Project) -> None:
    project.write(**{"test_a.py": SUITE.replace("range(10)", "range(20)")})
    assert verdicts(project)["v3"].status == "worse"
    assert (project.path / "order.txt").read_text().split()[:4] == ["v1-0", "v2-0", "v3-0", "v1-1"]


def test_a_base_of_ones_own_turns_the_verdicts(project: Project) -> None:
    project.write(**{"test_a.py": SUITE.replace('"version")', '"version", base="v2")', 1)})
    result = verdicts(project, TRIALS)
    assert {value: variant.status for value, variant in result.items()} == {"v1": "worse", "v3": "worse"}


def test_the_ids_and_the_reports_of_each_test_stay(project: Project) -> None:
    project.write(**{"test_a.py": SUITE.replace("range(10)", "range(2)")})
    assert list(project.run().records)[:2] == ["test_answer[v1-0]", "test_answer[v1-1]"]


def test_a_failure_ends_the_run_of_its_own_test_alone(project: Project) -> None:
    failing = SUITE.replace(
        "    assert_score(", "    assert (version, number) != ('v2', 0)\n    assert_score("
    )
    project.write(**{"test_a.py": failing.replace("range(10)", "range(2)")})
    result = project.run(TRIALS)
    assert result.outcomes == {"failed": 1, "passed": 5}
    assert result.records["test_answer[v2-0]"].outcome == "failed"
    assert VariantFacts.from_wire(result.records["test_answer[v2-0]"].fact("compare")).case == ("0",)


def test_what_errs_is_not_counted_as_low(project: Project) -> None:
    errors = SUITE.replace(
        "    seen.append",
        "    assert_score(quality, 'x', at_least=None) if version == 'v2' else None\n    seen.append",
    )
    project.write(**{"test_a.py": errors})
    (second, _) = project.run(TRIALS).run.verdicts
    assert second.status == "error"
    assert "no score for" in second.sentence


def test_a_case_that_ran_on_one_side_alone_is_left_out(project: Project) -> None:
    skips = SUITE.replace(
        "    seen.append",
        "    if (version, number) == ('v2', 3):\n        pytest.skip('later')\n    seen.append",
    )
    project.write(**{"test_a.py": skips.replace("range(10)", "range(20)")})
    row = verdicts(project, TRIALS)
    assert row["v2"].status == "better"
    assert any(text.startswith("1 case left out") for text in row["v2"].advice)
    assert row["v2"].metrics[0].cases == 19
    assert row["v3"].metrics[0].cases == 20


def test_cases_that_are_missing_in_number_are_an_error(project: Project) -> None:
    skips = SUITE.replace(
        "    seen.append",
        "    if version == 'v2' and number < 4:\n        pytest.skip('later')\n    seen.append",
    )
    project.write(**{"test_a.py": skips})
    row = verdicts(project, TRIALS)
    assert (row["v2"].status, row["v3"].status) == ("error", "worse")
    assert "4 of 10 cases did not run on both sides" in row["v2"].sentence


def test_a_part_of_the_suite_without_the_base_has_no_verdict(project: Project) -> None:
    project.write(**{"test_a.py": SUITE.replace("range(10)", "range(2)")})
    assert verdicts(project, "-k", "v2 or v3") == {}
    assert list(verdicts(project, "test_a.py::test_answer[v1-0]", "test_a.py::test_answer[v3-0]")) == ["v3"]


@pytest.mark.parametrize(
    ("marker", "values", "about"),
    [
        ('"verion"', '["v1", "v2"]', "verion"),
        ("", '["v1", "v2"]', "llm_compare"),
        ('"version", base="v9"', '["v1", "v2"]', "v9"),
        ('"version"', '["v1"]', "v1"),
        ('"version"', "[]", "version"),
        ('"version", "v1", 3', '["v1", "v2"]', "at most 2"),
        ('"version", bse="v1"', '["v1", "v2"]', "bse"),
    ],
    ids=["misspelt", "empty", "base", "one value", "no value", "too many", "keyword"],
)
def test_a_wrong_marker_is_reported_with_its_test(
    project: Project, marker: str, values: str, about: str
) -> None:
    text = SUITE.replace('llm_compare("version")', f"llm_compare({marker})")
    project.write(**{"test_a.py": text.replace('["v1", "v2", "v3"]', values)})
    result = project.run()
    line = result.line("UsageError: ").partition("UsageError: ")[2] if "UsageError: " in result.text else ""
    assert about in result.text
    assert result.outcomes == {"errors": 1}
    check_message(line)


def test_a_wrong_marker_ends_a_collection(project: Project) -> None:
    project.write(**{"test_a.py": SUITE.replace('"version")', '"verion")', 1)})
    result = project.bare("--collect-only", "-q")
    assert result.exit != 0
    assert "verion" in result.text


def test_any_parametrized_argument_and_joint_values(project: Project) -> None:
    project.write(
        **{
            "test_a.py": """
import pytest
from pytest_llmops import assert_score

def quality(actual, expected=None):
    return float(actual)

class Skill:
    def __init__(self, score):
        self.score = score

@pytest.mark.llm_compare("skill")
@pytest.mark.parametrize("question", range(20))
@pytest.mark.parametrize(("skill", "size"), [(Skill(0.5), 1), (Skill(0.9), 2)])
def test_answer(skill, size, question):
    assert_score(quality, str(skill.score - question % 3 / 10), at_least=None)
"""
        }
    )
    (variant,) = project.run().run.verdicts
    assert (variant.status, variant.metrics[0].cases) == ("better", 20)
    assert variant.metrics[0].change == pytest.approx(0.4)
    assert (variant.baseline, variant.subject) == ("skill0-1", "skill skill1-2")


PROMPTS = {
    "prompts/answer/v1.md": "---\nvariables: [question]\n---\nBe brief.\n\n{{ question }}\n",
    "prompts/answer/v2.md": "---\nvariables: [question]\n---\nAnswer in one word.\n\n{{ question }}\n",
    "cases.jsonl": "\n".join(
        json.dumps({"id": f"c{n}", "input": f"question {n}", "family": f"family {n % 2}"}) for n in range(20)
    ),
    "test_a.py": """
import pytest
from pytest_llmops import assert_score

def quality(actual, expected=None):
    return float(actual)

@pytest.mark.llm_compare("prompt")
@pytest.mark.prompt("answer", versions=["v1", "v2"])
@pytest.mark.cases("cases.jsonl")
def test_answer(prompt, case, llm):
    answer = llm.complete(prompt.render(question=case.input)).text
    assert_score(quality, str(0.3 + (prompt.version == "v2") * 0.3 + len(case.id) / 10), at_least=None)
""",
}


def test_prompts_with_cases_are_recorded_and_replayed_alike(project: Project) -> None:
    project.write(**PROMPTS)
    recorded = project.record().run.verdicts
    result = project.run("--llm-report=run.html", "--llm-report=run.md")
    assert result.run.verdicts == recorded
    (variant,) = recorded
    assert (variant.baseline, variant.subject) == ("v1", "prompt answer v2")
    assert variant.status == "better"
    families = [(metric.family, metric.cases) for metric in variant.metrics if metric.family]
    assert families == [("family 0", 10), ("family 1", 10)]
    assert any("characters" in text for text in variant.advice)
    page = read_data((project.path / "run.html").read_text(encoding="utf-8"))
    assert "prompt answer v2, against v1 " in project.bare().text
    ((row,),) = [table["rows"] for table in page["comparisons"]["tables"]]
    assert (row["name"], row["word"]) == ("prompt answer v2, against v1", "better")
    assert [text.replace("−", "-") for text in row["details"]] == list(variant.advice)
    text = (project.path / "run.md").read_text(encoding="utf-8")
    (row,) = [line for line in text.splitlines() if line.startswith("| prompt answer `v2`, against `v1` |")]
    assert row.endswith("| better |")


def test_a_misspelt_version_is_reported_and_not_what_follows_from_it(project: Project) -> None:
    project.write(**{**PROMPTS, "test_a.py": PROMPTS["test_a.py"].replace('"v2"]', '"v3"]')})
    result = project.run()
    assert result.outcomes == {"errors": 1}
    assert "'v3'" in result.line("UsageError: ")
    assert "llm_compare" not in result.line("UsageError: ")


def test_aliases_of_one_version_are_reported(project: Project) -> None:
    test = PROMPTS["test_a.py"].replace('["v1", "v2"]', '["production", "candidate"]')
    aliases = 'production = "v2"\ncandidate = "v2"\n'
    project.write(**{**PROMPTS, "test_a.py": test, "prompts/answer/aliases.toml": aliases})
    (variant,) = project.record().run.verdicts
    assert "same text" in variant.advice[0]
    project.write(**{"prompts/answer/aliases.toml": aliases.replace("v2", "v1", 1)})
    (variant,) = project.record().run.verdicts
    assert not any("same text" in text for text in variant.advice)


def test_one_version_of_the_command_line_is_no_comparison_and_no_error(project: Project) -> None:
    project.write(**PROMPTS)
    result = project.record("--llm-prompt", "answer=v2")
    assert result.outcomes == {"passed": 20}
    assert result.run.verdicts == ()


def test_shards_are_compared_as_a_whole(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    from pytest_llmops import cli

    project.write(**{"test_a.py": SUITE})
    for part in ("0 1 2 3 4", "5 6 7 8 9"):
        keep = " or ".join(f"-{number}]" for number in part.split())
        project.bare(f"--llm-report={part[0]}.json", TRIALS, "-k", keep)
    whole = project.path / "whole.json"
    status = cli.main(["merge", str(project.path / "0.json"), str(project.path / "5.json"), "-o", str(whole)])
    assert status == 0, capsys.readouterr()
    result = json.loads(whole.read_text(encoding="utf-8"))["verdicts"]
    assert [(variant["status"], variant["metrics"][0]["cases"]) for variant in result] == [
        ("better", 10),
        ("worse", 10),
    ]


def test_a_base_may_be_a_number(project: Project) -> None:
    project.write(
        **{
            "test_a.py": """
import pytest
from pytest_llmops import assert_score

def quality(actual, expected=None):
    return float(actual)

@pytest.mark.llm_compare("size", base=500)
@pytest.mark.parametrize("size", [200, 500])
@pytest.mark.parametrize("question", range(20))
def test_answer(size, question):
    assert_score(quality, str(size / 1000), at_least=None)
"""
        }
    )
    (variant,) = project.run().run.verdicts
    assert (variant.baseline, variant.subject, variant.status) == ("500", "size 200", "worse")
