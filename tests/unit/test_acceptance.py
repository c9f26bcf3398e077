"""--llm-accept: what stops it, which tests it writes into the baseline, and what it says about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.messages import check_message

from pytest_llmops.baselines.baseline import Baseline
from pytest_llmops.baselines.requests import list_requests
from pytest_llmops.baselines.stored_answers import StoredAnswers, outputs_path, read_answers
from pytest_llmops.errors import AcceptRefused, UsageError
from pytest_llmops.harness import acceptance
from pytest_llmops.harness.acceptance import (
    AcceptedRun,
    accept_run,
    check_acceptance,
    describe_aliases,
)
from pytest_llmops.measurement import Json, Measurement
from pytest_llmops.protocols import Call, Message
from pytest_llmops.results.call_sequences import FACT, CallSequence, KeptCall
from pytest_llmops.results.run import TestRecord
from pytest_llmops.results.verdict import Verdict
from pytest_llmops.settings import Settings

FILE = "llmops-baseline.json"


def make_record(
    name: str,
    *scores: float,
    outcome: Any = "passed",
    metric: str = "quality",
    question: str = "",
    answer: str = "a",
    facts: Mapping[str, Json] | None = None,
    **how: Any,
) -> TestRecord:
    """A test that called a model and measured its answer; without scores it measured nothing."""
    measurements: tuple[Measurement, ...] = ()
    if scores:
        measurements = (
            Measurement(name=metric, value=sum(scores) / len(scores), samples=tuple(scores), **how),
        )
    call = Call(model="m", endpoint="chat", messages=(Message("user", question or name),), output=answer)
    return TestRecord(
        nodeid=f"t.py::{name}",
        outcome=outcome,
        measurements=measurements,
        calls=(call,),
        facts={"recordings": [f"{name} {question} {answer}"], **(facts or {})},
    )


class Project:
    """A project whose runs are accepted, outside of git."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = root / "qa" / "deep" / FILE

    def accept(
        self,
        *records: TestRecord,
        accept: str = "why",
        verdict: Verdict | None = None,
        partial: str = "",
        narrowed: Sequence[str] = (),
        failed: int = 0,
    ) -> AcceptedRun:
        gate: Any = SimpleNamespace(
            settings=Settings(accept=accept),
            accepted_path=self.path,
            root=self.root,
            failed=failed,
            why_narrowed=narrowed,
            why_partial=lambda _: partial,
        )
        return accept_run(gate, records, {"python": "3.11"}, verdict)

    def refuse(self, *records: TestRecord, **how: Any) -> str:
        before = self.path.read_bytes() if self.path.exists() else b""
        with pytest.raises(AcceptRefused, check=check_message) as caught:
            self.accept(*records, **how)
        assert (self.path.read_bytes() if self.path.exists() else b"") == before
        return str(caught.value)

    def read(self) -> Baseline:
        return Baseline.from_bytes(self.path.read_bytes(), where=FILE)

    def answers(self) -> StoredAnswers:
        return read_answers(outputs_path(self.path), self.read().history[-1].on)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setattr(acceptance, "read_checkout", lambda _root: ("abc1234", ""))
    monkeypatch.setattr(acceptance, "ignore_in_git", lambda _path: "ignored")
    return Project(tmp_path)


def names(baseline: Baseline) -> list[str]:
    return sorted(nodeid.removeprefix("t.py::") for nodeid in baseline.tests)


A, B, C, D = (make_record(name, 0.5, 0.5) for name in ("a", "b", "c", "d"))


# What is accepted.


def test_the_first_run_becomes_the_baseline_with_its_reason_commit_and_environment(project: Project) -> None:
    accepted = project.accept(A, B)
    baseline = project.read()
    assert (names(baseline), baseline.environment) == (["a", "b"], {"python": "3.11"})
    (entry,) = baseline.history
    assert (entry.reason, entry.commit, entry.tests) == ("why", "abc1234", 2)
    assert (entry.partial, entry.forced, entry.added) == (False, False, False)
    check_message(accepted.sentence)
    assert accepted.doubt == ""


def test_tests_that_are_skipped_or_measure_nothing_are_left_out(project: Project) -> None:
    project.accept(A, make_record("b"), make_record("c", 0.5, outcome="skipped"))
    assert names(project.read()) == ["a"]


def test_an_arm_without_its_skill_is_left_out(project: Project) -> None:
    project.accept(A, make_record("b", 0.5, facts={"compare": {"in_baseline": False}}))
    assert names(project.read()) == ["a"]


def test_an_expected_failure_is_accepted(project: Project) -> None:
    project.accept(make_record("a", 0.5, outcome="xfailed"))
    assert project.read().tests["t.py::a"].outcome == "xfailed"


def test_secrets_of_the_reason_are_masked(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APP_PASSWORD", "hunter2hunter2")
    project.accept(A, accept="as with hunter2hunter2")
    assert project.read().history[0].reason == "as with [secret]"


def test_dropped_tests_are_counted_and_a_renamed_one_is_not_dropped(project: Project) -> None:
    project.accept(A, B, C, D)
    renamed = make_record("other", 0.5, 0.5, question="b")
    accepted = project.accept(A, renamed, D)
    assert names(project.read()) == ["a", "d", "other"]
    assert "3 tests accepted, 1 test dropped" in accepted.sentence
    check_message(accepted.sentence)


def test_a_partial_run_that_is_forced_keeps_the_other_tests(project: Project) -> None:
    project.accept(A, B, C)
    project.accept(make_record("a", 1.0, 1.0), accept="anyway: why", partial="-k", verdict=None)
    baseline = project.read()
    assert names(baseline) == ["a", "b", "c"]
    assert baseline.tests["t.py::a"].scores["quality"] == (1.0, 1.0)
    assert baseline.history[-1].forced


# What stops an acceptance.


def test_a_run_that_measured_nothing_is_refused_even_by_force(project: Project) -> None:
    project.refuse(make_record("a"), make_record("b", 0.5, outcome="skipped"))
    project.refuse(make_record("a"), accept="anyway: why")


@pytest.mark.parametrize(
    ("records", "failed", "words"),
    [
        ((A, make_record("b", 0.5, outcome="failed")), 1, "1 test did not pass"),
        ((A, make_record("b", outcome="errored")), 0, "1 test did not pass"),
        ((A,), 3, "3 tests did not pass"),  # of others, which measure nothing
    ],
)
def test_a_run_with_a_failed_test_is_refused(
    project: Project, records: tuple[TestRecord, ...], failed: int, words: str
) -> None:
    assert words in project.refuse(*records, failed=failed)


def verdict(status: str) -> Verdict:
    return Verdict(kind="baseline", status=status, sentence="it says why")


@pytest.mark.parametrize("status", ["RED", "ERROR"])
def test_a_run_that_is_worse_or_not_compared_needs_force(project: Project, status: str) -> None:
    project.accept(A)
    project.refuse(A, verdict=verdict(status))
    project.accept(A, verdict=verdict(status), accept="anyway: why")
    assert [entry.forced for entry in project.read().history] == [False, True]


@pytest.mark.parametrize("status", ["GREEN", "AMBER", "NONE"])
def test_a_run_that_is_not_worse_needs_none(project: Project, status: str) -> None:
    project.accept(A)
    project.accept(A, verdict=verdict(status))
    assert [entry.forced for entry in project.read().history] == [False, False]


def test_a_run_without_half_of_the_baseline_needs_force(project: Project) -> None:
    project.accept(A, B, C, D)
    project.refuse(A, B)
    project.accept(A, B, C)
    assert names(project.read()) == ["a", "b", "c"]
    project.refuse(A)
    project.accept(A, accept="anyway: why")
    assert names(project.read()) == ["a"]


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"partial": "-k"}, "only a part of the suite ran (-k)"),
        ({"narrowed": ("-k", "only t.py", "-x")}, "only a part of the suite ran (-k, -x)"),
    ],
)
def test_a_part_of_the_suite_needs_force_and_is_not_gone_too(
    project: Project, how: dict[str, Any], words: str
) -> None:
    project.accept(A, B, C, D)
    refused = project.refuse(A, **how)
    assert words in refused
    assert "dropped" not in refused
    project.accept(A, accept="anyway: why", **how)
    assert project.read().history[-1].partial


def test_a_named_file_may_be_the_whole_suite(project: Project) -> None:
    project.accept(A, narrowed=("only t.py",))
    assert not project.read().history[-1].partial


def test_a_damaged_baseline_is_never_overwritten(project: Project) -> None:
    project.path.parent.mkdir(parents=True)
    project.path.write_bytes(b"{")
    with pytest.raises(UsageError, match="not accepted"):
        project.accept(A, accept="anyway: why")
    assert project.path.read_bytes() == b"{"


def test_a_baseline_that_is_a_folder_cannot_be_read(project: Project) -> None:
    project.path.mkdir(parents=True)
    with pytest.raises(UsageError, match="cannot be read"):
        project.accept(A)


def test_a_baseline_that_cannot_be_written_is_an_error(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(acceptance, "write_atomically", fail)
    with pytest.raises(UsageError, match="cannot be written: disk full"):
        project.accept(A)


# Failed tests.


def test_a_failed_test_keeps_its_old_scores_and_a_new_one_is_left_out(project: Project) -> None:
    project.accept(A, B, C)
    records = (
        make_record("a", 1.0, 1.0),
        make_record("b", 1.0, 1.0, outcome="failed"),
        make_record("c", outcome="failed"),
        make_record("new", 1.0, outcome="failed"),
        make_record("unmeasured", outcome="failed"),
    )
    accepted = project.accept(*records, accept="anyway: why")
    scores = {name: test.scores["quality"] for name, test in project.read().tests.items()}
    assert scores == {"t.py::a": (1.0, 1.0), "t.py::b": (0.5, 0.5), "t.py::c": (0.5, 0.5)}
    check_message(accepted.sentence)


def test_a_failed_test_that_was_renamed_keeps_its_scores_under_the_old_name(project: Project) -> None:
    project.accept(A, B)
    failed = make_record("renamed", 0.5, 0.5, question="b", outcome="failed")
    project.accept(A, failed, accept="anyway: why")
    assert names(project.read()) == ["a", "b"]


def test_a_run_in_which_nothing_measured_passed_is_refused_by_force_too(project: Project) -> None:
    project.accept(A)
    project.refuse(make_record("a", 0.5, outcome="failed"), make_record("b"), accept="anyway: why")


# Sessions.


def answered(record: TestRecord, answer: str) -> TestRecord:
    """The same test in another session, with another answer."""
    calls = tuple(replace(call, output=answer) for call in record.calls)
    return replace(record, calls=calls, facts={"recordings": [f"{record.nodeid} {answer}"]})


def test_a_session_is_added_to_the_trials_and_new_tests_are_left_out(project: Project) -> None:
    project.accept(A, B)
    accepted = project.accept(answered(A, "x"), answered(C, "x"), accept="session: another day")
    baseline = project.read()
    assert [list(baseline.tests[f"t.py::{name}"].sessions.values()) for name in ("a", "b")] == [[2, 2], []]
    assert names(baseline) == ["a", "b"]
    assert [entry.added for entry in baseline.history] == [False, True]
    check_message(accepted.sentence)
    assert accepted.doubt == ""


def test_each_test_with_two_sessions_needs_no_advice(project: Project) -> None:
    project.accept(A, B)
    accepted = project.accept(answered(A, "x"), answered(B, "x"), accept="session: another day")
    assert "single session" not in accepted.sentence
    assert "2 tests accepted as session 2" in accepted.sentence
    assert "new test" not in accepted.sentence


def test_only_the_new_tests_of_a_session_are_counted_as_left_out(project: Project) -> None:
    project.accept(A, B, C)
    records = [answered(record, "x") for record in (A, B, C, D)]
    assert (
        ", 1 new test left out, as a session adds none"
        in project.accept(*records, accept="session: another day").sentence
    )


def test_a_session_that_is_red_needs_force(project: Project) -> None:
    project.accept(A)
    project.refuse(answered(A, "x"), accept="session: another day", verdict=verdict("RED"))


def test_a_session_of_a_few_tests_drops_none(project: Project) -> None:
    project.accept(A, B, C, D)
    project.accept(answered(A, "x"), accept="session: another day")
    assert names(project.read()) == ["a", "b", "c", "d"]


def test_a_session_of_another_version_is_refused(project: Project) -> None:
    project.accept(A)
    project.refuse(make_record("a", 0.5, 0.5, question="edited"), accept="session: another day")


def test_accepting_again_without_a_change_is_doubted_and_a_session_is_not(project: Project) -> None:
    project.accept(A, B)
    again = project.accept(answered(A, "x"), answered(B, "y"))
    check_message(again.doubt)
    assert again.doubt.startswith("2 tests were")
    one = project.accept(answered(A, "z"), make_record("b", 0.5, 0.5, question="edited"))
    assert one.doubt.startswith("1 test was")


# Zeros.


@pytest.mark.parametrize("count", [2, 3])
def test_three_scores_that_are_all_zero_are_doubted_in_the_first_baseline(
    project: Project, count: int
) -> None:
    zeros = [make_record(f"t{number}", 0.0, metric="nothing") for number in range(count)]
    first = project.accept(A, *zeros)
    assert first.doubt.startswith("all 3 scores of nothing are 0") is (count > 2)
    assert project.accept(A, *zeros).doubt == ""


@pytest.mark.parametrize("how", [{"unit": "s"}, {"better": "lower"}, {"unit": "count", "better": "lower"}])
def test_no_latency_and_no_error_rate_is_doubted(project: Project, how: dict[str, Any]) -> None:
    zeros = [make_record(f"t{number}", 0.0, **how) for number in range(4)]
    assert project.accept(*zeros).doubt == ""


def test_one_score_above_zero_is_enough(project: Project) -> None:
    zeros = [make_record(f"t{number}", 0.0) for number in range(4)]
    assert project.accept(A, *zeros).doubt == ""


def test_all_metrics_that_are_zero_are_named(project: Project) -> None:
    zeros = [make_record(f"t{number}{metric}", 0.0, metric=metric) for number in range(3) for metric in "xy"]
    doubt = project.accept(*zeros).doubt
    check_message(doubt)


# The answers next to the baseline.


def output(record: TestRecord, text: str) -> TestRecord:
    """The test with the output that its measurement had."""
    measured = tuple(replace(one, detail={"actual": text}) for one in record.measurements)
    return replace(record, measurements=measured)


def test_answers_of_kept_tests_stay_and_of_dropped_tests_go(project: Project) -> None:
    project.accept(output(A, "of a"), output(B, "of b"), output(C, "of c"))
    assert project.answers().outputs == {"t.py::a": "of a", "t.py::b": "of b", "t.py::c": "of c"}
    failed = replace(output(B, "wrong"), outcome="failed")
    project.accept(output(A, "now of a"), failed, accept="anyway: why")
    assert project.answers().outputs == {"t.py::a": "now of a", "t.py::b": "of b"}


def test_the_requests_of_the_accepted_tests_are_kept(project: Project) -> None:
    project.accept(A, B, C)
    (request,) = list_requests(C.calls)
    assert request.fingerprint in project.answers().requests
    assert len(project.answers().requests) == 3
    project.accept(A, B)
    assert request.fingerprint not in project.answers().requests
    assert len(project.answers().requests) == 2


def test_a_test_without_an_output_now_keeps_none_of_an_older_acceptance(project: Project) -> None:
    project.accept(output(A, "of a"), output(B, "of b"))
    project.accept(output(A, "of a"), replace(B, calls=()))
    assert project.answers().outputs == {"t.py::a": "of a"}


def test_the_calls_of_tools_are_those_of_the_accepted_run(project: Project) -> None:
    refund, track = (CallSequence((KeptCall(name),)) for name in ("refund", "track"))

    def calling(record: TestRecord, *sequences: CallSequence) -> TestRecord:
        return replace(record, facts={**record.facts, FACT: [one.to_wire() for one in sequences]})

    project.accept(calling(A, refund), calling(B, refund), calling(C, refund))
    failed = replace(calling(C, track), outcome="failed")
    project.accept(calling(A, track), B, failed, accept="anyway: why")
    assert project.answers().calls == {"t.py::a": (track,), "t.py::c": (refund,)}


# Before the run.


def check(folder: Path, settings: Settings, **more: Any) -> None:
    config = SimpleNamespace(rootpath=folder, getini=lambda _name: None, **more)
    check_acceptance(config, settings)


SESSION = Settings(accept="session: another day")


def test_a_session_needs_a_baseline_before_the_first_test(tmp_path: Path) -> None:
    with pytest.raises(UsageError, check=check_message):
        check(tmp_path, SESSION)
    check(tmp_path, Settings(accept="why"))
    check(tmp_path, Settings())
    check(tmp_path, SESSION, workerinput={})
    (tmp_path / FILE).write_text("{}")
    check(tmp_path, SESSION)


# Aliases of prompts.


def write_prompts(folder: Path, **aliases: str) -> None:
    for number in (1, 2):
        path = folder / "prompts" / "help" / f"v{number}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("system:\nBe brief.\n")
    lines = [f'{name} = "{version}"\n' for name, version in aliases.items()]
    (folder / "prompts" / "help" / "aliases.toml").write_text("".join(lines))


@pytest.mark.parametrize(
    ("prompt", "is_named"),
    [
        (("help=v2",), True),
        (("help=v1",), False),
        ((), False),
        (("gone=v2", "help=v2"), True),  # a prompt of another folder hides no other
        (("help=v1", "help2=v1"), False),
    ],
)
def test_a_version_that_is_not_the_default_is_named_with_the_command(
    tmp_path: Path, prompt: tuple[str, ...], *, is_named: bool
) -> None:
    write_prompts(tmp_path, production="v1")
    words = describe_aliases(Settings(prompt=prompt), tmp_path)
    assert ("llmops prompts alias help production v2 --reason 'why'" in words) is is_named
    assert bool(words) is is_named


def test_an_alias_that_is_accepted_or_missing_needs_no_advice(tmp_path: Path) -> None:
    write_prompts(tmp_path, canary="v2")
    assert describe_aliases(Settings(prompt=("help=v2",)), tmp_path) == ""
    write_prompts(tmp_path, production="v2", canary="v1")
    assert describe_aliases(Settings(prompt=("help=production",)), tmp_path) == ""


def test_each_prompt_with_another_default_is_named(tmp_path: Path) -> None:
    write_prompts(tmp_path, production="v1")
    (tmp_path / "prompts" / "help").rename(tmp_path / "prompts" / "other")
    write_prompts(tmp_path, production="v1")
    words = describe_aliases(Settings(prompt=("other=v2", "help=v2")), tmp_path)
    assert words.count("the alias production") == 2
    words = describe_aliases(Settings(prompt=("other=v1", "help=v2")), tmp_path)
    assert words.count("the alias production") == 1
