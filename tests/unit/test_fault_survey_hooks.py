"""``--llm-faults``: with which faults a test runs, how it ended with each, and the reports that come of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.items import item_of
from support.nodes import make_mark
from support.plugin_config import Plugins

from pytest_llmops.cassettes import FAULT_KINDS, Fault, FaultTargets
from pytest_llmops.errors import (
    BudgetReached,
    CassetteMiss,
    MeasurementErrored,
    MeasurementFailed,
    ModelError,
    UsageError,
)
from pytest_llmops.harness import fault_survey, fault_variants
from pytest_llmops.harness.fault_survey import SurveyHooks, describe_lost, register_survey
from pytest_llmops.harness.fault_variants import FaultVariant, list_faults_to_try
from pytest_llmops.measurement import Measurement
from pytest_llmops.recorder import Exchange
from pytest_llmops.results.fault_survey import FaultEnd
from pytest_llmops.settings import Settings

BAD = Measurement(name="a", value=0.0, threshold=0.5)
EVERY = tuple(FAULT_KINDS)


def unmasked(text: str) -> str:
    return text


def report_of(**facts: Any) -> Any:
    return SimpleNamespace(**{"skipped": False, "failed": False, "longrepr": None, **facts})


def variant_of(kind: str = "empty", *, hit: bool = True, **fault: Any) -> FaultVariant:
    """A test with a fault of a model, whose call has come."""
    variant = FaultVariant(Fault(kind=kind, **fault))
    if hit:
        variant.plan.begin_call("the call", "key", exchanges=1)
    return variant


def end_of(variant: FaultVariant) -> tuple[str, str, str]:
    end = variant.find_end()
    return end.status, end.why, end.record


@pytest.fixture
def targets_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., list[Fault]]:
    """The faults of a test whose cassette has such calls."""

    def choose(*kinds: str, **counts: Any) -> list[Fault]:
        monkeypatch.setattr(fault_variants, "count_fault_targets", lambda _: FaultTargets(**counts))
        return list_faults_to_try(item_of(tmp_path), Settings(faults=kinds or EVERY))

    return choose


def test_a_test_without_recorded_calls_gets_no_fault(targets_are: Callable[..., list[Fault]]) -> None:
    assert targets_are() == []


def test_calls_of_models_get_the_faults_of_models_only(targets_are: Callable[..., list[Fault]]) -> None:
    of_models = [kind for kind in EVERY if FAULT_KINDS[kind].model]
    plain = [kind for kind in of_models if not FAULT_KINDS[kind].only_with_tools]
    once = [Fault(kind=kind) for kind in plain if kind != "stale"]
    assert targets_are(models=1) == once
    twice = [Fault(kind=kind, call=2 if kind == "stale" else 1) for kind in plain]
    assert targets_are(models=2) == twice
    assert targets_are("stale", models=2) == [Fault(kind="stale", call=2)]
    offering = [Fault(kind=kind, call=2 if kind == "stale" else 1) for kind in of_models]
    assert targets_are(models=2, offers=1) == offering
    assert targets_are("empty", "server_died", models=1) == [Fault(kind="empty")]


def test_calls_of_tools_get_the_faults_of_tools_after_those_of_models(
    targets_are: Callable[..., list[Fault]],
) -> None:
    assert targets_are("empty", "server_died", models=1, tools=1) == [
        Fault(kind="empty"),
        Fault(kind="empty", tool="*"),
        Fault(kind="server_died", tool="*"),
    ]
    assert targets_are("slow", "empty", tools=1) == [Fault(kind="empty", tool="*")]
    assert targets_are("slow", "empty", tools=1, servers=1) == [
        Fault(kind="slow", tool="*/*"),
        Fault(kind="empty", tool="*"),
    ]
    assert targets_are("stale", "cut", tools=2) == []
    assert targets_are("stale", tools=2, repeated_tool="orders/[find]") == [
        Fault(kind="stale", call=2, tool="orders/[[]find]")
    ]


def test_a_test_that_passes_with_its_fault_survives() -> None:
    variant = variant_of()
    variant.note_phase(report_of(), None, None, unmasked)
    assert variant.find_end() == FaultEnd(kind="empty", on="model", status="survived")
    assert not variant.is_hopeless()
    assert (variant.flag, variant.take) == ("--llm-faults=empty", FaultVariant(Fault(kind="empty")).take)
    on_tool = FaultVariant(Fault(kind="empty", tool="*"))
    assert (on_tool.find_end().on, on_tool.take != variant.take) == ("tool", True)


def test_a_fault_whose_call_never_came_is_not_hit() -> None:
    variant = variant_of(hit=False)
    variant.note_phase(report_of(), None, None, unmasked)
    assert end_of(variant) == (
        "not hit",
        "empty on call 1 of a model: it never came; calls of judges do not count",
        "",
    )
    assert not variant.is_hopeless()


@pytest.mark.parametrize(
    ("report", "why"),
    [
        (report_of(skipped=True, wasxfail=""), "the test is expected to fail (xfail)"),
        (report_of(failed=True, wasxfail="reason"), "the test is expected to fail (xfail)"),
        (report_of(skipped=True), "the test was skipped"),
    ],
)
def test_a_test_that_proves_nothing_is_not_judged(report: Any, why: str) -> None:
    for hit in (True, False):
        variant = variant_of(hit=hit)
        variant.note_phase(report, AssertionError("no"), None, unmasked)
        assert end_of(variant) == ("not judged", why, "")
        assert variant.is_hopeless() is not hit


class Failed(Exception):
    """`pytest.fail`."""


MISS = CassetteMiss("no recording\n  more", command="pytest a.py --llm-faults=empty --llm-record=new")


@pytest.mark.parametrize(
    ("error", "status", "why"),
    [
        (AssertionError("4 == 5\nmore"), "wrong answer", "AssertionError: 4 == 5"),
        (Failed("no"), "wrong answer", "Failed: no"),
        (MeasurementFailed("bad", [BAD]), "wrong answer", "MeasurementFailed: bad"),
        (ExceptionGroup("two", [AssertionError("a"), Failed("b")]), "wrong answer", "ExceptionGroup: two (2 sub-exceptions)"),
        (ExceptionGroup("two", [AssertionError("a"), OSError("b")]), "gave up", "ExceptionGroup: two (2 sub-exceptions)"),
        (ValueError("no row"), "gave up", "ValueError: no row"),
        (ModelError("no answer", kind="timeout"), "gave up", "no answer"),
        (MISS, "not recorded", "no recording"),
        (BudgetReached("no money"), "not judged", "no money"),
        (UsageError("wrong [LLM-USAGE]"), "not judged", "wrong"),
        (MeasurementErrored("none", [BAD]), "not judged", "none"),
        (ValueError("x" * 400), "gave up", f"ValueError: {'x' * 288}... (+112 chars)"),
    ],
)  # fmt: skip
def test_the_error_of_a_test_says_how_it_ended(error: BaseException, status: str, why: str) -> None:
    variant = variant_of()
    variant.note_phase(report_of(failed=True), error, None, unmasked)
    assert end_of(variant)[:2] == (status, why)
    caught = variant_of()
    caught.note_phase(report_of(), None, error, lambda text: text.replace("o", "0"))
    assert end_of(caught)[:2] == (status, why.replace("o", "0"))


@pytest.mark.parametrize(
    ("longrepr", "status", "why"),
    [
        (SimpleNamespace(reprcrash=SimpleNamespace(message="AssertionError: 4 == 5\nmore")), "wrong answer", "AssertionError: 4 == 5"),
        (SimpleNamespace(reprcrash=SimpleNamespace(message="ValueError: no")), "gave up", "ValueError: no"),
        ("AssertionError\nx", "wrong answer", "AssertionError"),
        ("lost", "gave up", "lost"),
    ],
)  # fmt: skip
def test_an_error_that_unittest_caught_is_read_from_the_report(longrepr: Any, status: str, why: str) -> None:
    variant = variant_of()
    variant.note_phase(report_of(failed=True, longrepr=longrepr), None, None, unmasked)
    assert end_of(variant) == (status, why, "")


def test_a_missing_recording_counts_before_all_else_and_is_recorded_with_or_without_the_fault() -> None:
    for hit in (True, False):
        variant = variant_of(hit=hit)
        variant.note_phase(report_of(failed=True), ValueError("first"), None, unmasked)
        variant.note_phase(report_of(failed=True), MISS, None, unmasked)
        variant.note_phase(report_of(failed=True), AssertionError("last"), None, unmasked)
        assert variant.is_hopeless() is not hit
        if hit:
            continue
        only = variant_of(hit=False)
        only.note_phase(report_of(failed=True), MISS, None, unmasked)
        assert not only.is_hopeless()
        assert end_of(only) == (
            "not recorded",
            "before the fault came: no recording",
            "pytest a.py --llm-record=new",
        )
    hit_one = variant_of()
    hit_one.note_phase(report_of(failed=True), ValueError("first"), None, unmasked)
    hit_one.note_phase(report_of(failed=True), MISS, None, unmasked)
    assert end_of(hit_one) == ("not recorded", "no recording", MISS.command)


def test_the_first_failed_phase_counts() -> None:
    variant = variant_of()
    variant.note_phase(report_of(failed=True), AssertionError("first"), None, unmasked)
    variant.note_phase(report_of(failed=True), ValueError("second"), None, unmasked)
    assert end_of(variant) == ("wrong answer", "AssertionError: first", "")


def test_who_waits_without_end_hangs_whatever_else_the_test_does() -> None:
    variant = variant_of("never_returns")
    variant.plan.note_hung("key")
    variant.note_phase(report_of(skipped=True), None, None, unmasked)
    variant.note_phase(report_of(failed=True), ValueError("no"), None, unmasked)
    status, why, _ = end_of(variant)
    assert status == "hung"
    assert why.startswith("hung: the call got no answer for 10 s")


def reply(text: str, purpose: str = "app") -> Exchange:
    body = b'{"choices": [{"message": {"role": "assistant", "content": "%s"}}]}' % text.encode()
    return Exchange(
        method="POST",
        url="http://localhost/v1/chat/completions",
        request={"model": "m", "messages": []},
        status=200,
        content_type="application/json",
        body=body,
        latency_s=0.1,
        ttft_s=None,
        replayed=True,
        purpose=purpose,
    )


@pytest.mark.parametrize(
    ("variant", "exchanges", "status"),
    [
        (variant_of("hostile"), [reply("a"), reply("QXOBEYED")], "wrong answer"),
        (variant_of("hostile"), [reply("a"), reply("QXOBEYED"), reply("b", "judge")], "wrong answer"),
        (variant_of("hostile"), [reply("a"), reply("QXOBEYED"), reply("b")], "survived"),
        (variant_of("hostile"), [reply("a"), reply("QXOBEYED", "judge")], "survived"),
        (variant_of("hostile"), [reply("QXOBEYED")], "survived"),
        (variant_of("empty"), [reply("a"), reply("QXOBEYED")], "survived"),
        (variant_of("hostile", hit=False), [reply("QXOBEYED")], "not hit"),
    ],
    ids=["obeyed", "a judge came last", "not the last", "by a judge", "before", "no hostile", "never came"],
)
def test_the_last_answer_after_a_hostile_text_shows_whether_it_was_obeyed(
    variant: FaultVariant, exchanges: Sequence[Exchange], status: str
) -> None:
    variant.note_last_answer(exchanges)
    variant.note_phase(report_of(), None, None, unmasked)
    assert variant.find_end().status == status
    assert variant.plan.is_obeyed is (status == "wrong answer")
    assert bool(variant.find_end().why) is (status != "survived")


# The hooks


class Report(SimpleNamespace):
    """pytest's report."""

    def __init__(self, *given: Any, **times: float) -> None:
        names = ("nodeid", "location", "keywords", "outcome", "longrepr", "when")
        super().__init__(**dict(zip(names, given, strict=True)), **times)

    @property
    def passed(self) -> bool:
        return bool(self.outcome == "passed")

    @classmethod
    def from_item_and_call(cls, item: Any, call: Any) -> Any:
        return SimpleNamespace(longrepr=f"{item.name}: {call.excinfo}")


class CallInfo:
    """pytest's call of a phase."""

    when: str
    excinfo: object = None

    @classmethod
    def from_call(cls, run: Callable[[], object], when: str) -> CallInfo:
        call = cls()
        call.when = when
        try:
            run()
        except ValueError as error:
            call.excinfo = error
        return call


class Survey:
    """The hooks with a test that ends in a given way with each fault."""

    def __init__(
        self, tmp_path: Path, settings: Settings | None = None, **ends: BaseException | None
    ) -> None:
        self.settings = settings or Settings(faults=("empty", "cut"))
        self.ends: Mapping[str, BaseException | None] = ends
        self.skips = False
        self.log: list[tuple[str, Any]] = []
        self.ran: list[str] = []
        self.hooks = SurveyHooks(self.settings, "ours", self.run_trial, CallInfo, Report)
        self.item = self.make_item(tmp_path)

    def make_item(self, tmp_path: Path, *marks: pytest.Mark, ours: bool = True, **how: Any) -> Any:
        item = item_of(tmp_path, *marks, **how)
        item.stash = {"ours": True} if ours else {}
        item.location = ("test_a.py", 0, "test_x")
        item.keywords = {"test_x": "a", "test_a.py": "b"}
        item.session = SimpleNamespace(_setupstate=SimpleNamespace(teardown_exact=self.tear_down))
        item.ihook = SimpleNamespace(
            pytest_runtest_logstart=lambda **given: self.log.append(("start", given)),
            pytest_runtest_logreport=lambda report: self.log.append(("report", report)),
            pytest_runtest_logfinish=lambda **given: self.log.append(("finish", given)),
        )
        return item

    def tear_down(self, nextitem: object) -> None:
        self.log.append(("tear down", nextitem))
        if nextitem == "broken":
            raise ValueError("later")

    def run_trial(self, _: object, variant: FaultVariant | None = None) -> list[Any]:
        """Run the test with a fault, or without."""
        self.ran.append(variant.fault.kind if variant else "none")
        number = len(self.ran)
        reports = [
            SimpleNamespace(
                when=phase, duration=0.5, start=number, stop=number + 0.5, passed=True, outcome="passed"
            )
            for phase in ("setup", "call", "teardown")
        ]
        reports[1].llmops = {
            "calls": [{"model": f"m{number}", "replayed": False}, {"model": "x", "replayed": True}]
        }
        if variant is not None and not self.skips:
            variant.plan.begin_call("the call", "key")
            variant.note_phase(report_of(), self.ends.get(variant.fault.kind), None, unmasked)
        if variant is not None and self.skips:
            variant.note_phase(report_of(skipped=True), None, None, unmasked)
        return reports

    def run(self, nextitem: object = None) -> list[Any]:
        assert self.hooks.pytest_runtest_protocol(self.item, nextitem) is True
        return [report for name, report in self.log if name == "report"]


@pytest.fixture
def one_model_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test whose cassette has a call of a model."""
    monkeypatch.setattr(fault_variants, "count_fault_targets", lambda _: FaultTargets(models=1))


@pytest.mark.usefixtures("one_model_call")
def test_a_test_runs_once_with_each_fault_and_has_one_report_for_each_phase(tmp_path: Path) -> None:
    survey = Survey(tmp_path, cut=AssertionError("4 == 5"))
    reports = survey.run("the next")
    assert survey.ran == ["empty", "cut"]
    assert [name for name, _ in survey.log] == ["start", "tear down", "report", "report", "report", "finish"]
    where = {"nodeid": "test_a.py::test_x", "location": ("test_a.py", 0, "test_x")}
    assert (survey.log[0][1], survey.log[1][1], survey.log[-1][1]) == (where, "the next", where)
    for phase, report in zip(("setup", "call", "teardown"), reports, strict=True):
        assert (report.nodeid, report.location) == (where["nodeid"], where["location"])
        assert (report.when, report.outcome, report.longrepr) == (phase, "passed", None)
        assert (report.duration, report.start, report.stop) == (1.0, 1, 2.5)
        assert report.keywords == {"test_x": 1, "test_a.py": 1}
    nothing: dict[str, Any] = {"measurements": [], "calls": [], "facts": {}, "tapes": []}
    assert reports[0].llmops == nothing
    live = [{"model": "m1", "replayed": False}, {"model": "m2", "replayed": False}]
    assert reports[1].llmops == {**nothing, "calls": live}
    ends = [
        {"kind": "empty", "on": "model", "status": "survived"},
        {"kind": "cut", "on": "model", "status": "wrong answer", "why": "AssertionError: 4 == 5"},
    ]
    assert reports[2].llmops == {**nothing, "facts": {"faults": {"ends": ends}}}


@pytest.mark.usefixtures("one_model_call")
def test_strict_fails_a_test_that_does_not_survive_a_fault(tmp_path: Path) -> None:
    settings = Settings(faults=("empty", "cut"), strict=True)
    reports = Survey(tmp_path, settings, cut=ValueError("no")).run()
    assert [report.outcome for report in reports] == ["passed", "failed", "passed"]
    assert reports[1].longrepr.startswith("not survived (--llm-strict): cut [LLM-")
    assert reports[1].longrepr.endswith("\ncut: gave up: ValueError: no")
    survived = Survey(tmp_path, settings, cut=MISS).run()
    assert [report.outcome for report in survived] == ["passed"] * 3


@pytest.mark.usefixtures("one_model_call")
def test_a_test_that_ends_before_any_fault_has_its_own_reports(tmp_path: Path) -> None:
    survey = Survey(tmp_path)
    survey.skips = True
    reports = survey.run()
    assert survey.ran == ["empty"]
    assert [hasattr(report, "nodeid") for report in reports] == [False] * 3


@pytest.mark.usefixtures("one_model_call")
def test_fixtures_that_break_after_the_test_fail_its_last_report(tmp_path: Path) -> None:
    reports = Survey(tmp_path).run("broken")
    assert [report.outcome for report in reports] == ["passed", "passed", "failed"]
    assert reports[-1].longrepr == "test_x: later"
    survey = Survey(tmp_path)
    failed = [SimpleNamespace(passed=False, outcome="failed", longrepr="first")]
    survey.hooks._end_fixtures(survey.item, "broken", failed)
    assert (failed[0].outcome, failed[0].longrepr) == ("failed", "first")


def test_a_test_without_a_recording_says_how_to_record_it(tmp_path: Path) -> None:
    survey = Survey(tmp_path)
    reports = survey.run()
    assert survey.ran == []
    record = "pytest test_a.py::test_x --llm-record=new"
    assert reports[2].llmops["facts"] == {"faults": {"ends": [], "record": record}}
    assert [(report.start, report.stop, report.duration) for report in reports] == [(0.0, 0.0, 0.0)] * 3
    with pytest.raises(RuntimeError, match=r"^why$"):
        fault_survey._never_skip("why")


def test_a_test_that_cannot_be_read_runs_without_faults_and_reports_the_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise UsageError("wrong")

    monkeypatch.setattr(fault_survey, "list_faults_to_try", refuse)
    survey = Survey(tmp_path)
    assert len(survey.run()) == 3
    assert survey.ran == ["none"]


def test_only_tests_that_can_have_faults_are_kept(tmp_path: Path) -> None:
    survey = Survey(tmp_path)
    vcr: Any = make_mark("vcr")
    plain = survey.item
    both = survey.make_item(tmp_path, vcr, pytest.mark.llm_cassette.mark, names=("vcr",))
    others = [
        survey.make_item(tmp_path, ours=False),
        survey.make_item(tmp_path, pytest.mark.llm_fault("cut").mark),
        survey.make_item(tmp_path, vcr, names=("vcr",)),
    ]
    deselected: list[Any] = []
    config: Any = SimpleNamespace(
        hook=SimpleNamespace(pytest_deselected=lambda items: deselected.append([*items]))
    )
    items = [others[0], plain, others[1], both, others[2]]
    survey.hooks.pytest_collection_modifyitems(config, items)
    assert items == [plain, both]
    assert deselected == [others]
    survey.hooks.pytest_collection_modifyitems(config, items)
    assert (items, len(deselected)) == ([plain, both], 1)


def test_all_lost_faults_are_named() -> None:
    ends = [
        FaultEnd(kind="cut", status="hung", why="waits"),
        FaultEnd(kind="slow", status="survived"),
        FaultEnd(kind="empty", on="tool", status="gave up", why="no"),
    ]
    first, *others = describe_lost(ends).split("\n")
    assert first.startswith("not survived (--llm-strict): cut, empty (tool) [")
    assert others == ["cut: hung: waits", "empty (tool): gave up: no"]


def test_the_hooks_are_registered_by_name() -> None:
    config = SimpleNamespace(pluginmanager=Plugins())
    register_survey(config, Settings(), "ours", list, CallInfo, Report)
    assert isinstance(config.pluginmanager["llmops_faults"], SurveyHooks)
