"""``llmops judge calibrate --compare-reasons``, and ``--reason``, with a model that judges otherwise with each place of the reason."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.messages import check_message
from support.server import Reply, Seen, StubServer, chat_answer, json_reply

from pytest_llmops import cli
from pytest_llmops.errors import LLMOpsError, UsageError
from pytest_llmops.judges import ReasonComparison, compare_reasons
from pytest_llmops.judges.calibration.reason_comparison import format_reason_table
from pytest_llmops.protocols import Call, Usage, Verdict

Run = Callable[..., tuple[int, str, str]]
RUBRIC = "---\nkind: rubric\n---\nDoes it say please?\n"
# The keys of the requested JSON by the place of the reason
KEYS = {
    ("nonce", "reason", "verdict"): "before",
    ("verdict", "nonce", "reason"): "after",
    ("verdict", "nonce"): "none",
}


class Grader:
    """A judge's model that fails everything if its reason comes first."""

    def __init__(self) -> None:
        self.places: list[str] = []
        self.word = "please"

    def __call__(self, seen: Seen) -> Reply:
        schema = seen.json["response_format"]["json_schema"]["schema"]
        place = KEYS[tuple(schema["properties"])]
        self.places.append(place)
        [nonce] = schema["properties"]["nonce"]["enum"]
        data = seen.json["messages"][1]["content"]
        passes = place != "before" and self.word in data
        reply = {"nonce": nonce, "verdict": "pass" if passes else "fail", "reason": "as it says"}
        ordered = {key: reply[key] for key in schema["properties"]}
        return json_reply(chat_answer(json.dumps(ordered)))


@pytest.fixture
def grader() -> Grader:
    return Grader()


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], grader: Grader
) -> Iterator[Run]:
    """Exit status, stdout and stderr of a ``llmops judge`` command, with labels, a rubric and a server."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-a-user-1234567890abcdef")
    for name in ("LLMOPS_JUDGE_MODEL", "LLMOPS_MODEL", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pytest_llmops.cli.command_line.GROUPS", ("judge",))
    rows = [
        {"id": f"a{n}", "answer": f"please wait {n}" if n % 2 else f"wait {n}", "human": n % 2 == 1}
        for n in range(20)
    ]
    Path("labels.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    Path("polite.md").write_text(RUBRIC, encoding="utf-8")
    with StubServer() as server:
        monkeypatch.setattr(server, "answer", grader)

        def call(*argv: str, record: str = "new") -> tuple[int, str, str]:
            model = ("--model", "stub-1", "--base-url", f"{server.url}/v1", "--record", record)
            status = cli.main(["judge", *argv, *model])
            captured = capsys.readouterr()
            shown = captured.err.splitlines(keepends=True)
            return status, captured.out, "".join(line for line in shown if "answers judged" not in line)

        yield call


COMPARE = ("calibrate", "polite.md", "labels.jsonl", "--at-least-labels", "20", "--compare-reasons")


@pytest.mark.slow
def test_a_small_model_is_better_without_a_reason(run: Run, grader: Grader) -> None:
    status, out, err = run(*COMPARE)
    assert (status, err) == (0, "")
    check_message(re.sub(r"\d\.\d$", "(seconds)", out, flags=re.MULTILINE).splitlines())
    rows = {line.split()[0].rstrip(","): line for line in out.splitlines() if line}
    assert rows["before"].split()[1:5] == ["now", "10", "of", "20"]
    assert rows["none"].split()[1:4] == ["20", "of", "20"]
    assert "before agrees less than none" in out
    assert "show no difference between after and none; recommended: reason=none, the cheapest of them" in out
    assert "write `reason: none` into the front matter of polite.md" in out
    assert [grader.places.count(place) for place in ("before", "after", "none")] == [20, 20, 20]
    # The recording answers again, and the calibration of the recommended judge replays it too
    assert run(*COMPARE, record="none") == (status, out, err)
    Path("polite.md").write_text(RUBRIC.replace("rubric\n", "rubric\nreason: none\n"), encoding="utf-8")
    assert "nothing to change: the judge has reason=none" in run(*COMPARE, record="none")[1]
    status, _, err = run(*COMPARE[:-1], "--out", "polite.calibration.json", record="none")
    assert (status, err) == (0, "")
    assert json.loads(Path("polite.calibration.json").read_text(encoding="utf-8"))["reason"] == "none"
    assert len(grader.places) == 60


@pytest.mark.slow
def test_a_judge_that_gives_all_answers_one_verdict_is_recommended_nowhere(run: Run, grader: Grader) -> None:
    grader.word = "nobody says this"
    status, out, err = run(*COMPARE)
    assert status == 1
    assert "none is recommended: the judge gives all answers the same verdict" in err
    assert "to do so" not in out + err


@pytest.mark.slow
def test_a_judge_is_calibrated_and_tried_with_its_reason_in_another_place(run: Run, grader: Grader) -> None:
    status, _, err = run(*COMPARE[:-1], "--reason", "after")
    assert (status, err) == (0, "")
    assert set(grader.places) == {"after"}
    grader.places.clear()
    run("canaries", "polite.md", "--reason", "none", "--out", "c.json")
    assert set(grader.places) == {"none"}
    assert json.loads(Path("c.json").read_text(encoding="utf-8"))["reason"] == "none"


@pytest.mark.parametrize(
    "more", [("--out", "x.json"), ("--reason", "none"), ("--verdicts", "--judge-version", "1")], ids=lambda more: more[0]
)  # fmt: skip
def test_what_does_not_fit_together(run: Run, grader: Grader, more: tuple[str, ...]) -> None:
    status, _, err = run(*COMPARE, *more)
    assert status == 2
    check_message(err)
    assert f"--compare-reasons: expected no {more[0]}" in err
    assert not grader.places


def test_stored_verdicts_cannot_move_their_reason(run: Run) -> None:
    status, _, err = run(*COMPARE[:-1], "--verdicts", "--judge-version", "1", "--reason", "none")
    assert status == 2
    check_message(err)


class Scripted:
    """A judge of a user that is right about so many of 60 answers with each place; of the others it says the opposite."""

    low, high, pass_at, name = 0, 1, 1, "scripted"

    def __init__(self, right: dict[str, int], reason: str = "before") -> None:
        self.right = right
        self.reason = self.version = reason

    def with_reason(self, reason: str) -> Scripted:
        return Scripted(self.right, reason)

    def judge(self, answer: str, *, question: str = "", reference: str = "") -> Verdict:
        del question
        number = int(answer)
        right = self.right[self.reason]
        if right == 0:  # all the same
            return Verdict(score=0, low=0, high=1)
        if right < 0:
            return Verdict(error="no", low=0, high=1)
        is_right = number < right
        return Verdict(score=int((reference == "good") == is_right), low=0, high=1)


def compare(before: int, after: int, none: int, **more: Any) -> ReasonComparison:
    rows = [
        {"id": str(n), "answer": str(n), "reference": ("good", "bad")[n % 2], "human": n % 2 == 0}
        for n in range(60)
    ]
    return compare_reasons(Scripted({"before": before, "after": after, "none": none}), rows, **more)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "after", "none", "recommended", "worse"),
    [
        (58, 57, 58, "none", {}),
        (58, 58, 30, "after", {"none": "after"}),
        (60, 30, 30, "before", {"after": "before", "none": "before"}),
        (50, 50, 44, "after", {}),  # the cheapest misses the thresholds
        (34, 33, 0, "after", {}),  # of no use: without a reason all answers fail
        (-1, 58, 56, "none", {}),  # too many without a verdict
        (-1, -1, 58, "none", {}),
    ],
)
def test_the_cheapest_of_those_that_are_not_worse(
    before: int, after: int, none: int, recommended: str, worse: dict[str, str]
) -> None:
    comparison = compare(before, after, none)
    assert (comparison.recommended, dict(comparison.worse)) == (recommended, worse)
    check_message(comparison.describe())


def test_what_is_not_known_of_a_place_is_left_open() -> None:
    comparison = compare(-1, 58, 56)
    table = format_reason_table(comparison)
    assert "tokens" not in table[0]
    check_message("\n".join(table))
    priced = Call(usage=Usage(input_tokens=90, output_tokens=10), cost_usd=0.02, latency_s=1.5)
    after = replace(comparison.results["after"], calls=[priced, priced])
    none = replace(comparison.results["none"], calls=[priced, Call()])  # not all of its calls have a price
    table = format_reason_table(
        replace(comparison, results={**comparison.results, "after": after, "none": none})
    )
    assert table[2].endswith("200     1.5       $0.04")
    assert table[3].endswith("-       -         -")


def test_answers_of_a_family_count_once() -> None:
    """With 20 of 60 answers more it is proved; not if all of them are paraphrases of one."""
    rows = [
        {"id": str(n), "answer": str(n), "reference": ("good", "bad")[n % 2], "human": n % 2 == 0,
         "family": "same" if n < 40 else str(n)}
        for n in range(60)
    ]  # fmt: skip
    judge = Scripted({"before": 20, "after": 40, "none": 40})
    assert not compare_reasons(judge, rows).worse
    assert compare(20, 40, 40).worse == {"before": "none"}


def test_of_numbers_the_closer_one_is_better() -> None:
    class Severe:
        low, high, pass_at, name = 1, 10, None, "severe"

        def __init__(self, reason: str = "before") -> None:
            self.reason = self.version = reason

        def with_reason(self, reason: str) -> Severe:
            return Severe(reason)

        def judge(self, answer: str, *, question: str = "", reference: str = "") -> Verdict:
            del question, reference
            return Verdict(score=int(answer) - (3 if self.reason == "before" else 1), low=1, high=10)

    rows = [{"id": str(n), "answer": str(4 + n % 6), "human": 4 + n % 6} for n in range(60)]
    assert compare_reasons(Severe(), rows).worse == {"before": "none"}


def test_without_any_verdict_nothing_is_compared() -> None:
    with pytest.raises(LLMOpsError, check=check_message, match="nothing is compared: before: 4 of 60"):
        compare(-1, -1, -1)


def test_a_judge_that_cannot_move_its_reason_is_not_called() -> None:
    class Fixed:
        version = "1"

        def judge(self, answer: str, **_: object) -> Verdict:
            raise AssertionError(answer)

    with pytest.raises(UsageError, match="with_reason"):
        compare_reasons(Fixed(), [])
