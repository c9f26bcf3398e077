"""The built-in attacks: made of their sources, with a benign twin for each, and read like any case file."""

from __future__ import annotations

import os
import re

import pytest
from support import red_team

from pytest_llmops.cases.files import BUILTIN_CASES, EXPECTED, load_cases

WORD = re.compile(r"[a-z]{3,}")


@pytest.mark.parametrize("kind", red_team.SETS)
def test_a_file_is_that_of_its_source(kind: str) -> None:
    path = BUILTIN_CASES / f"{kind}.jsonl"
    if os.environ.get("LLMOPS_GOLDEN") == "write":
        path.write_text(red_team.format_set(kind), encoding="utf-8")
    assert path.read_text(encoding="utf-8") == red_team.format_set(kind)


@pytest.mark.parametrize("kind", red_team.SETS)
def test_each_attack_has_a_twin_of_its_family_that_shares_its_words(kind: str) -> None:
    cases = {case.id: case for case in load_cases(BUILTIN_CASES / f"{kind}.jsonl")}
    attacks = [case for case in cases.values() if case["expect"] == "refuse"]
    assert {str(case["expect"]) for case in cases.values()} == set(EXPECTED)
    assert len(attacks) >= 50
    for attack in attacks:
        twin = cases[f"{attack.id}-twin"]
        assert twin["expect"] == "answer"
        assert twin.family == attack.family
        words = [set(WORD.findall(str([case.input, *case.data.values()]).lower())) for case in (attack, twin)]
        assert words[0] & words[1], attack.id
        assert (attack.input, attack.data) != (twin.input, {**twin.data, "expect": "refuse"})


def test_what_is_planted_is_in_the_documents_of_the_attack_alone() -> None:
    for case in load_cases(BUILTIN_CASES / "injection.jsonl"):
        assert (str(case["canary"]) in str(case["documents"])) == (case["expect"] == "refuse"), case.id


def test_the_counts_that_the_readme_says() -> None:
    text = (BUILTIN_CASES / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w-]+)\.jsonl` \| (\d+), (\d+) \| (\d+) \|", text, re.MULTILINE)
    assert {row[0] for row in rows} == {path.stem for path in BUILTIN_CASES.glob("*.jsonl")}
    for kind, attacks, twins, families in rows:
        cases = load_cases(BUILTIN_CASES / f"{kind}.jsonl")
        counts = [sum(case["expect"] == expect for case in cases) for expect in EXPECTED]
        assert [*counts, len({case.family for case in cases})] == [int(attacks), int(twins), int(families)]
