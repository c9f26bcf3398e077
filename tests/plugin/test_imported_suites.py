"""Suites of ``tests/data/promptfoo`` are imported and run: each test and assertion gets the verdict of promptfoo."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from support.imported_checks import passes
from support.shared import shared

from pytest_llmops import cli
from pytest_llmops.imports.checks import Check
from pytest_llmops.imports.promptfoo.assertions import make_check
from pytest_llmops.imports.promptfoo.config import read_suites
from pytest_llmops.imports.suite import ImportedSuite, Place, SuiteTest
from pytest_llmops.imports.suite_files import SuiteFiles, write_suite
from pytest_llmops.prompts.registry import Prompts

# Tests with another outcome: that of promptfoo, ours, and why
THRESHOLD = "the test has a threshold for the mean of its scores: its assertions only record"
SET = "a set has a threshold for the mean of its scores: its assertions only record"
LISTED = {
    ("library", "template-fails"): ("failed", "passed", THRESHOLD),
    ("museum", "one-of-two-below-the-default-threshold"): ("failed", "passed", THRESHOLD),
    ("museum", "only-weight-zero-below-a-threshold"): ("failed", "passed", THRESHOLD),
    ("museum", "a-set-with-a-threshold-and-a-weight"): ("failed", "passed", THRESHOLD),
    ("museum", "scores-of-code"): ("failed", "incomplete", "code is not carried"),
    ("sets", "half-of-the-set-is-not-enough"): ("failed", "passed", SET),
    ("post", "empty-lists"): ("failed", "incomplete", "an empty list is not carried"),
    ("post", "a-schema-with-an-unknown-word"): ("incomplete", "passed", "an error there, ignored here"),
    ("post", "limits-that-do-not-fit"): ("incomplete", "failed", "an error there, a failed test here"),
    ("travel", "not-a-valid-pattern"): ("failed", "incomplete", "a pattern that is invalid in JavaScript"),
    ("weather", "text-and-that-is-wanted"): ("passed", "incomplete", "not-is-json is not carried"),
}

DATA = Path(__file__).parents[1] / "data" / "promptfoo"
FOLDERS = sorted(path for path in DATA.iterdir() if path.is_dir())


@dataclass(frozen=True)
class Pair:
    """A test of a suite, and the verdict of promptfoo."""

    suite: ImportedSuite
    test: SuiteTest
    verdict: dict[str, Any]

    @property
    def key(self) -> tuple[str, str]:
        return self.suite.name, self.test.id

    @property
    def expected(self) -> str:
        """The outcome; a test in which an assertion is an error has none."""
        if "error" in self.verdict:
            return "incomplete"
        return "passed" if self.verdict["success"] else "failed"


@cache
def list_pairs() -> tuple[Pair, ...]:
    pairs: list[Pair] = []
    for folder in FOLDERS:
        for suite in read_suites(folder):
            pairs += pair_tests(suite, folder)
    return tuple(pairs)


def pair_tests(suite: ImportedSuite, folder: Path) -> Iterator[Pair]:
    """Yield the tests with their verdicts; of several prompts, which get the same answer, that of the first."""
    name = suite.source.file.replace("promptfooconfig", "verdicts").replace(".yaml", ".json")
    verdicts: dict[str, dict[str, Any]] = {}
    for row in json.loads((folder / name).read_text(encoding="utf-8")):
        verdicts.setdefault(json.dumps([row["description"], row["vars"]]), row)
    for test, verdict in zip(suite.tests, verdicts.values(), strict=True):
        assert verdict["output"] in (test.output, None)
        yield Pair(suite, test, verdict)


def decide(outcomes: Counter[str]) -> str:
    """The verdict of all tests of a case: where one is skipped, none is known unless another failed."""
    if outcomes["failed"]:
        return "failed"
    return "incomplete" if outcomes["skipped"] else "passed"


def test_imported_suites_run_with_the_verdicts_of_promptfoo(pytester: pytest.Pytester) -> None:
    for folder in FOLDERS:
        assert cli.main(["import", "promptfoo", str(folder), "--to", "llm"]) == 0
    run = pytester.inline_run("llm", "-p", "no:cacheprovider", "-q")
    outcomes: dict[tuple[str, str], Counter[str]] = {}
    for report in run.getreports("pytest_runtest_logreport"):
        if report.when == "call" or report.skipped:
            suite = Path(report.nodeid.partition("::")[0]).stem.removeprefix("test_")
            case = report.nodeid.partition("[")[2].removesuffix("]")
            outcomes.setdefault((suite, case), Counter())[report.outcome] += 1
    pairs = list_pairs()
    assert set(outcomes) == {pair.key for pair in pairs}
    ours = {pair.key: decide(outcomes[pair.key]) for pair in pairs}
    different = {
        pair.key: (pair.expected, ours[pair.key]) for pair in pairs if ours[pair.key] != pair.expected
    }
    assert different == {key: (theirs, mine) for key, (theirs, mine, _) in LISTED.items()}
    assert len(pairs) == 87


def test_each_carried_assertion_has_the_verdict_of_promptfoo() -> None:
    """Also those that only record, as the test has a threshold or they are in a set: here they decide."""
    counts: Counter[str] = Counter()
    for pair in list_pairs():
        verdicts = [row for row in pair.verdict["assertions"] if row["type"] != "assert-set"]
        if "error" in pair.verdict:
            assert not verdicts
            continue
        for verdict, assertion in zip(verdicts, pair.test.assertions, strict=True):
            assert verdict["type"] == assertion.name
            made = make_check(replace(assertion, records_only=""), pair.test.variables)
            checks = [check for check in made if isinstance(check, Check)]
            if len(checks) < len(made):
                counts["named"] += 1
                continue
            if assertion.options.get("weight") == 0:
                assert verdict["pass"]
                counts["weight 0"] += 1
                continue
            answer = pair.test.output
            assert answer is not None
            assert passes(checks, answer) == verdict["pass"], (pair.key, assertion)
            counts["passed" if verdict["pass"] else "failed"] += 1
    assert counts == {"passed": 138, "failed": 61, "named": 14, "weight 0": 3}


def test_the_first_prompt_is_filled_in_as_by_promptfoo(tmp_path: Path) -> None:
    """But for white space around it; an object that a prompt inserts as such is refused here, in the suite ``post``."""
    counts: Counter[str] = Counter()
    for suite in {pair.suite.name: pair.suite for pair in list_pairs()}.values():
        checks = [
            [(item, make_check(item, test.variables)) for item in test.assertions] for test in suite.tests
        ]
        written = write_suite(suite, checks)
        for name, text in written.prompts.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text, encoding="utf-8")
        inputs = {case["id"]: case["input"] for case in read_cases(written)}
        versions = {
            prompt.label: Prompts(tmp_path).get(suite.name, f"v{number}")
            for number, prompt in enumerate(suite.prompts, start=1)
        }
        for pair in list_pairs():
            if pair.suite is suite and suite.name != "post":
                label = next(label for label in versions if pair.verdict["label"].startswith(label))
                version = versions[label]
                values = inputs[pair.test.id]
                given = {
                    name: values if isinstance(values, str) else values[name] for name in version.variables
                }
                messages = [(item.role, item.content.strip()) for item in version.render(**given).messages]
                assert messages == read_messages(pair.verdict["prompt"]), pair.key
                counts[suite.name] += 1
    assert counts.total() == 73


def read_cases(written: SuiteFiles) -> Iterator[dict[str, Any]]:
    for name, text in written.files.items():
        if name.endswith(".jsonl"):
            yield from map(json.loads, text.splitlines())


def read_messages(prompt: str) -> list[tuple[str, str]]:
    """The messages of a prompt of promptfoo: its text, or JSON of a chat."""
    if not prompt.startswith("[{"):
        return [("user", prompt.strip())]
    return [(message["role"], message["content"].strip()) for message in json.loads(prompt)]


@pytest.mark.slow
@pytest.mark.shared_data
def test_public_suites_are_imported_and_collected(pytester: pytest.Pytester) -> None:
    """Each assertion is carried or named, each module is collected, and no file of a suite is run."""
    carried = total = configs = 0
    for folder in sorted(shared("imports", "promptfoo").iterdir()):
        if not folder.is_dir():
            continue
        assert cli.main(["import", "promptfoo", str(folder), "--to", f"llm/{folder.name}"]) == 0
        for suite in read_suites(folder):
            configs += 1
            verdicts = list_verdicts(suite)
            assert len(verdicts) == suite.assertion_count, suite.source
            total += len(verdicts)
            carried += sum(verdicts.values())
    assert (configs, total) == (35, 874)
    assert carried >= 549
    run = pytester.inline_run("llm", "-p", "no:cacheprovider", "-q", "--collect-only")
    assert run.ret == 0
    modules = {item.path for call in run.getcalls("pytest_itemcollected") for item in [call.item]}
    assert len(modules) == configs


def list_verdicts(suite: ImportedSuite) -> dict[tuple[Place, str, int], bool]:
    """Whether each assertion of a suite, by its place, is carried by all tests that have it."""
    found: dict[tuple[Place, str, int], bool] = {}
    for test in suite.tests:
        numbers: Counter[tuple[Place, str]] = Counter()
        for assertion in test.assertions:
            name = (assertion.place, assertion.name)
            numbers[name] += 1
            key = (*name, numbers[name])
            made = make_check(assertion, test.variables)
            assert made
            found[key] = found.get(key, True) and all(isinstance(check, Check) for check in made)
    return found
