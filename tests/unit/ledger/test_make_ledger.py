"""The order of a ledger: plan, whole file, each rule, verdicts, all that can go together."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from support.ledgers import make_document
from support.messages import check_message

from pytest_llmops.errors import UsageError
from pytest_llmops.ledger import ledger as ledger_module
from pytest_llmops.ledger.ledger import LedgerOptions, make_ledger
from pytest_llmops.ledger.model import AskedLine, Document, LedgerResult
from pytest_llmops.ledger.plan import LedgerPlan
from pytest_llmops.measurement import Measurement
from pytest_llmops.protocols import Call, Message, Usage
from pytest_llmops.results.run import Run, TestRecord

CASES = 120
NEEDED = 1


@dataclass
class Suite:
    """A suite whose cases need one rule of a document."""

    document: Document
    calls: int = 0
    usd: float | None = None
    waits: bool = False
    is_recorded: bool = True
    asked: list[tuple[int, ...]] = field(default_factory=list)
    trials: list[int | None] = field(default_factory=list)
    waits_for: tuple[int, ...] = ()

    def make(self, numbers: Collection[int]) -> Run:
        text = self.document.without(numbers)
        score = float(NEEDED not in numbers)
        messages = (Message("system", text), Message("user", "Hi"))
        records = []
        for case in range(CASES):
            call = Call(
                model="m",
                messages=messages,
                output=f"{case} {len(text)} {score}",
                usage=Usage(input_tokens=len(text), output_tokens=1),
            )
            score_of = Measurement(name="score.quality", value=score)
            records.append(TestRecord(nodeid=f"test_{case}", measurements=(score_of,), calls=(call,)))
        return Run(records=tuple(records))

    def replay_base(self) -> Run:
        return self.make(())

    def ask_base(self) -> Run | None:
        self.asked.append(())
        return self.make(())

    def ask_without(self, numbers: Collection[int], trials: int | None = None) -> AskedLine:
        chosen = tuple(numbers)
        self.asked.append(chosen)
        self.trials.append(trials)
        if chosen == self.waits_for:
            self.waits = True
            return AskedLine(numbers=chosen, problem="waits")
        self.calls += CASES
        return AskedLine(numbers=chosen, run=self.make(chosen))


@pytest.fixture(autouse=True)
def _all_cuts_are_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "check_without", lambda _document, _numbers: "")


@pytest.fixture
def document(tmp_path: Path) -> Document:
    path = tmp_path / "v2.md"
    made = make_document(path=str(path))
    path.write_text(made.text, encoding="utf-8")
    return made


def make(suite: Suite, **options: object) -> LedgerResult:
    result = make_ledger(suite.document, LedgerOptions(trials=1, **options), suite)  # type: ignore[arg-type]
    assert result is not None
    return result


@pytest.mark.slow
def test_each_rule_is_asked_once_and_those_that_can_go_once_more(document: Document) -> None:
    suite = Suite(document)
    shown: list[str] = []
    result = make(suite, show=shown.append)
    numbers = [rule.number for rule in document.rules if not rule.kept]
    useless = tuple(number for number in numbers if number != NEEDED)
    assert suite.asked == [(number,) for number in numbers] + [useless]
    assert [line.numbers for line in result.lines] == [(number,) for number in numbers]
    statuses = {line.numbers[0]: line.status for line in result.lines}
    assert statuses == {number: "needed" if number == NEEDED else "can go" for number in numbers}
    assert result.together is not None
    assert (result.together.numbers, result.together.status) == (useless, "can go")
    assert result.together.cost.tokens is not None
    assert f"together: {CASES} live, 0 replayed: rules {useless[0]}, " in shown[-1]
    first = document.rules[0]
    assert result.lines[0].cost.tokens == sum(end - start for start, end in first.spans)
    assert (result.tests, result.models, result.calls) == (CASES, ("m",), CASES * (len(numbers) + 1))
    assert f"{len(numbers)}/{len(numbers)}: {CASES} live, 0 replayed" in "\n".join(shown)


@pytest.mark.slow
def test_the_joint_run_has_ten_trials_unless_each_test_is_asked_once(document: Document) -> None:
    often = Suite(document)
    make_ledger(document, LedgerOptions(trials=3), often)
    assert often.trials[-1] == 10
    assert set(often.trials[:-1]) == {None}
    once = Suite(document)
    make(once)
    assert once.trials[-1] == 1


def test_only_some_rules_and_rules_without_which_the_file_is_invalid(
    document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(_: Document, numbers: Collection[int]) -> str:
        return "it closes a block" if 3 in numbers else ""

    monkeypatch.setattr(ledger_module, "check_without", check)
    suite = Suite(document)
    result = make(suite, only=frozenset({2, 3}))
    assert suite.asked == [(2,)]
    assert {line.numbers[0] for line in result.lines if line.status != "not tried"} == {2}
    assert result.lines[2].why == "it closes a block"
    assert result.together is None
    check_message(result.lines[0].why)
    kept = next(rule.number for rule in document.rules if rule.kept)
    for wrong, why in ((99, "got 99"), (kept, "is kept")):
        with pytest.raises(UsageError, match=why, check=check_message):
            make(suite, only=frozenset({wrong}))
    bare = replace(document, rules=())
    with pytest.raises(UsageError, check=check_message):
        make(Suite(bare))


@pytest.mark.slow
def test_the_run_without_several_rules_decides_their_lines_too(
    document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "accept_together", lambda lines, together: [*lines, together])
    result = make(Suite(document))
    assert result.lines[-1] == result.together


@pytest.mark.slow
def test_rules_that_cannot_be_left_out_together(document: Document, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "check_without", lambda _, numbers: "empty" * (len(numbers) > 1))
    result = make(Suite(document))
    assert result.together is not None
    assert (result.together.status, result.together.why) == ("not tried", "empty")


def test_nothing_is_asked_after_a_dry_run_or_a_no(document: Document) -> None:
    suite = Suite(document)
    shown: list[str] = []
    assert make_ledger(document, LedgerOptions(is_dry_run=True, show=shown.append), suite) is None
    plans: list[LedgerPlan] = []

    def refuse(plan: LedgerPlan) -> bool:
        plans.append(plan)
        return False

    assert make_ledger(document, LedgerOptions(confirm=refuse), suite) is None
    assert suite.asked == []
    assert plans[0].app_calls == CASES
    assert shown


def test_what_is_not_recorded_is_asked_first_and_open_batches_end_it(document: Document) -> None:
    suite = Suite(document, is_recorded=False)
    shown: list[str] = []
    make(suite, only=frozenset({1}), show=shown.append)
    assert suite.asked == [(), (1,)]
    assert f"the whole file: {CASES} live, 0 replayed" in shown
    waiting = Suite(document, waits_for=(2,))
    assert make_ledger(document, LedgerOptions(), waiting) is None
    numbers = [(rule.number,) for rule in document.rules if not rule.kept]
    assert waiting.asked == numbers  # the others are submitted too


def test_a_suite_in_which_nothing_could_get_worse_is_refused(document: Document) -> None:
    class Failing(Suite):
        def make(self, numbers: Collection[int]) -> Run:
            records = [
                TestRecord(
                    nodeid=record.nodeid,
                    outcome="failed",
                    message="TypeError: of the test",
                    calls=record.calls,
                )
                for record in super().make(numbers).records
            ]
            return Run(records=tuple(records))

    suite = Failing(document)
    with pytest.raises(UsageError, match=r"(?s)all of \d+ tests fail .*test_0: TypeError: of the test"):
        make(suite)
    assert suite.asked == []


@pytest.mark.slow
def test_tests_that_cannot_show_a_loss_are_named(document: Document) -> None:
    class Partly(Suite):
        def make(self, numbers: Collection[int]) -> Run:
            first, *others = super().make(numbers).records
            score = Measurement(name="score.quality", value=0.0)
            return Run(records=(replace(first, outcome="failed", measurements=(score,)), *others))

    (note,) = make(Partly(document)).notes
    assert note.startswith(f"1 of {CASES} tests fail with the whole file")
    assert "test_0" in note
