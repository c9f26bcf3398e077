"""The built-in attacks: made of their sources, with a harmless question for each, and enough of them for a verdict."""

from __future__ import annotations

import hashlib
import math
import os
import re
from functools import cache
from pathlib import Path

import pytest
from support import red_team

from pytest_llmops.baselines.guardrails import judge_guardrails
from pytest_llmops.cases.files import BUILTIN_CASES, EXPECTED, Case, load_cases
from pytest_llmops.cases.similar_texts import find_similar_pairs
from pytest_llmops.guardrails import attack_detector, scan
from pytest_llmops.guardrails.views import make_views
from pytest_llmops.measurement import Json, Measurement
from pytest_llmops.metrics.classification import wilson_interval
from pytest_llmops.results.run import TestRecord

WORD = re.compile(r"[\u4e00-\u9fff]|[^\W\d_]{3,}")
# The rows that were there first: users compare results of the same ids over years
FIRST_ROWS = {
    "escalation": (120, "c2b5418d6f2f9127"),
    "injection": (120, "69d214d0b3093bdb"),
    "jailbreak": (144, "e78570361a6fb560"),
    "pii": (108, "e86ee0fd26309267"),
    "prompt-leak": (108, "9b321224943916f6"),
}


@cache
def load_set(kind: str) -> dict[str, Case]:
    return {case.id: case for case in load_cases(BUILTIN_CASES / f"{kind}.jsonl")}


def join_texts(case: Case) -> str:
    """Return what the application reads, without what all families share: the question of injections, the documents of pii."""
    key = "documents" if case.id.startswith("planted") else "messages"
    own = case.data.get(key, [])
    assert isinstance(own, list)
    return "\n".join(map(str, own if key == "documents" else [*own, case.input]))


@pytest.mark.slow
@pytest.mark.parametrize("kind", red_team.SETS)
def test_a_file_is_that_of_its_source(kind: str) -> None:
    path = BUILTIN_CASES / f"{kind}.jsonl"
    if os.environ.get("LLMOPS_GOLDEN") == "write":
        path.write_text(red_team.format_set(kind), encoding="utf-8")
    text = path.read_text(encoding="utf-8")
    assert text == red_team.format_set(kind)
    count, digest = FIRST_ROWS[kind]
    first = "".join(text.splitlines(keepends=True)[:count])
    assert hashlib.sha256(first.encode()).hexdigest()[:16] == digest


@pytest.mark.slow
@pytest.mark.parametrize("kind", red_team.SETS)
def test_each_attack_has_a_twin_of_its_family_that_shares_its_words(kind: str) -> None:
    cases = load_set(kind)
    attacks = [case for case in cases.values() if case["expect"] == "refuse"]
    assert {str(case["expect"]) for case in cases.values()} == set(EXPECTED)
    assert len(cases) == 2 * len(attacks)
    for attack in attacks:
        twin = cases[f"{attack.id}-twin"]
        assert twin["expect"] == "answer"
        assert (twin.family, twin.tags) == (attack.family, attack.tags)
        words = [set(WORD.findall(join_texts(case).lower())) for case in (attack, twin)]
        assert words[0] & words[1], attack.id
        assert join_texts(attack) != join_texts(twin)


@pytest.mark.slow
@pytest.mark.parametrize("kind", red_team.SETS)
def test_families_differ_and_some_are_in_other_languages(kind: str) -> None:
    cases = [*load_set(kind).values()]
    families = {case.family for case in cases}
    assert len(families) >= (48 if kind == "jailbreak" else 40)
    similar = [
        (cases[first].id, cases[second].id)
        for first, second, _ in find_similar_pairs([*map(join_texts, cases)])
        if cases[first].family != cases[second].family
    ]
    assert similar == []
    assert 5 * len({case.family for case in cases if case.tags}) >= len(families)
    assert {tag for case in cases for tag in case.tags} >= {"de", "fr", "es", "it", "zh"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", red_team.SETS)
@pytest.mark.parametrize(("leaks", "status"), [(False, "pass"), (True, "unproven")])
def test_a_set_can_prove_that_nine_of_ten_attacks_are_blocked(kind: str, leaks: bool, status: str) -> None:
    cases = [*load_set(kind).values()]
    records = []
    for case in cases:
        is_attack = case["expect"] == "refuse"
        value = float(not (leaks and is_attack and case.family == cases[0].family))
        facts: dict[str, Json] = {
            "case": {"id": case.id, "family": case.family},
            "guardrail": {
                "expect": case["expect"],
                "cases": len(cases),
                "at_least_blocked": 0.9,
                "at_most_overblocked": 0.1,
            },
        }
        name = "guardrail.blocked" if is_attack else "guardrail.answered"
        record = TestRecord(
            nodeid=f"test_a.py::test_a[{case.id}]",
            outcome="passed",
            facts=facts,
            measurements=(Measurement(name=name, value=value),),
        )
        records.append(record)
    (verdict,) = judge_guardrails(records)
    assert verdict.status == status, verdict.sentence


def test_what_is_planted_is_in_the_documents_of_the_attack_alone() -> None:
    for case in load_set("injection").values():
        views = make_views(join_texts(case), ("plain", "base64"))
        signs = case["canary"] if isinstance(case["canary"], list) else [case["canary"]]
        # In one family the word comes in two parts
        parts = [part for sign in signs for part in str(sign).rpartition("-")[::2] if part]
        assert all(any(part in view.text for view in views) for part in parts) == (case["expect"] == "refuse")


def test_the_counts_that_the_readme_says() -> None:
    text = (BUILTIN_CASES / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w-]+)\.jsonl` \| (\d+), (\d+) \| (\d+), (\d+) \|", text, re.MULTILINE)
    assert {row[0] for row in rows} == {path.stem for path in BUILTIN_CASES.glob("*.jsonl")}
    for kind, *counts in rows:
        cases = [*load_set(kind).values()]
        result = [sum(case["expect"] == expect for case in cases) for expect in EXPECTED]
        result += [len({case.family for case in cases if case.tags or not only}) for only in (False, True)]
        assert result == [*map(int, counts)]


@pytest.mark.slow
def test_what_the_rules_for_attacks_find_as_the_page_says() -> None:
    page = Path(__file__).parents[2] / "docs" / "explanation" / "measured" / "guardrails.md"
    text = page.read_text(encoding="utf-8")
    figures = re.findall(r"(\d+) of (\d+)\s+(jailbreak|injection|escalation)s\b", text)
    assert {kind for *_, kind in figures} == {"jailbreak", "injection", "escalation"}
    for result, count, kind in figures:
        attacks = [join_texts(case) for case in load_set(kind).values() if case["expect"] == "refuse"]
        hits = sum(bool(scan(attack, [attack_detector()])) for attack in attacks)
        assert (hits, len(attacks)) == (int(result), int(count))


def count_families(share: float, failures: float) -> int:
    counts = range(math.ceil(failures) + 1, 1_000)
    return next(count for count in counts if wilson_interval(count - failures, count)[0] >= share)


def test_the_tables_of_the_page() -> None:
    text = (Path(__file__).parents[2] / "docs" / "how-to" / "red-team.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (0\.\d+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", text, re.MULTILINE)
    assert len(rows) == 6
    for share, *counts in rows:
        assert [count_families(float(share), lost) for lost in range(4)] == [*map(int, counts)]
    sets = re.findall(r"^\| `([\w-]+)` \| (\d+) \| (\d+) \| (\d+) \|", text, re.MULTILINE)
    assert {row[0] for row in sets} == {*red_team.SETS}
    for kind, attacks, families, lost in sets:
        cases = load_set(kind).values()
        assert (len(cases), len({case.family for case in cases})) == (2 * int(attacks), int(families))
        needed = [count_families(0.9, (int(lost) + more) / 3) for more in (0, 1)]
        assert needed[0] <= int(families) < needed[1]
