"""The hooks of a run that adopts tools: which tests are recorded, when scores are read, and where problems are shown."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from support.items import item_of
from support.messages import check_message
from support.plugin_config import config_of, item_in

from pytest_llmops import recorder
from pytest_llmops.adopted.recognition import ProjectImports
from pytest_llmops.adopted.tool import AdoptedTool, HookMoved, ReportScore, ToolScore
from pytest_llmops.errors import MeasurementErrored
from pytest_llmops.harness import adoption
from pytest_llmops.harness.adoption import (
    AdoptionHooks,
    adopt_tools,
    allow_service_hosts,
    iter_adoption_notes,
)
from pytest_llmops.measurement import Measurement
from pytest_llmops.results.run import TestRecord
from pytest_llmops.settings import Settings

ADOPT = Settings(adopt=("ragas",))
MARK = pytest.mark.llm_cassette.mark
VCR: Any = SimpleNamespace(name="vcr")


class Tool(AdoptedTool):
    """A tool that notes what is done with it."""

    name: ClassVar[str] = "mine"
    distribution: ClassVar[str] = "mine-evals"
    tested: ClassVar[tuple[str, str]] = ("1.0", "1.0")

    def __init__(self, version: str = "1.0", *, error: Exception | None = None) -> None:
        self.version = version
        self.error = error
        self.events: list[str] = []
        self.finished: list[Any] = []
        self.report: ReportScore | None = None
        self.at_end: ToolScore | Exception | None = None

    def is_its_test(self, item: Any, imports: ProjectImports) -> bool:
        assert isinstance(imports, ProjectImports)
        return str(item.name).startswith("test_mine")

    @contextmanager
    def _noted(self, what: str) -> Iterator[None]:
        if self.error is not None:
            raise self.error
        self.events.append(what)
        yield
        self.events.append(f"{what} ended")

    def read_scores(self, report: ReportScore) -> Any:
        self.report = report
        return self._noted("read")

    def stay_offline(self) -> Any:
        return self._noted("offline")

    def finish_test(self, item: Any, report: ReportScore) -> None:
        self.finished.append(item)
        if isinstance(self.at_end, Exception):
            raise self.at_end
        if self.at_end is not None:
            report(self.at_end)

    def service_hosts(self, environ: Mapping[str, str]) -> Iterable[str]:
        return (environ.get("MINE_HOST", "mine.example"), "b.example")

    def iter_advice(self, environ: Mapping[str, str]) -> Iterable[str]:
        return [f"advice for {environ.get('MINE_HOST')}"]

    def find_version(self) -> str:
        return self.version


@pytest.fixture
def listening(monkeypatch: pytest.MonkeyPatch) -> Iterator[recorder.Recorder]:
    """A recorder as a running test has it."""
    monkeypatch.setenv("MINE_HOST", "a.example")
    mine = recorder.Recorder()
    recorder.push_recorder(mine)
    yield mine
    recorder.pop_recorder(mine)


def use_tools(monkeypatch: pytest.MonkeyPatch, *tools: AdoptedTool) -> None:
    def load(names: tuple[str, ...]) -> tuple[AdoptedTool, ...]:
        return tools if names == ADOPT.adopt else ()

    monkeypatch.setattr(adoption, "load_tools", load)


def hooks_of(monkeypatch: pytest.MonkeyPatch, *tools: AdoptedTool, record: Any = "new") -> AdoptionHooks:
    use_tools(monkeypatch, *tools)
    return AdoptionHooks(Settings(adopt=ADOPT.adopt, record=record))


def collected(*names: str, marks: tuple[pytest.Mark, ...] = ()) -> list[Any]:
    items = []
    for name in names:
        item = item_in(config_of(Path()), *marks)
        item.name = name
        items.append(item)
    return items


def call_test(hooks: AdoptionHooks, item: object = "item") -> object:
    """Run the hook around a test that passed."""
    hook: Generator[None, object, object] = hooks.pytest_runtest_call(item)
    next(hook)
    with pytest.raises(StopIteration) as caught:
        hook.send("result")
    return caught.value.value


@pytest.mark.usefixtures("listening")
def test_the_hosts_of_a_tools_service_are_allowed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    use_tools(monkeypatch, Tool(), Tool())
    settings = allow_service_hosts(Settings(adopt=ADOPT.adopt, allow_hosts=("c.example", "b.example")))
    assert settings == Settings(adopt=ADOPT.adopt, allow_hosts=("c.example", "b.example", "a.example"))


@pytest.mark.parametrize(("record", "events"), [("none", ["offline"]), ("new", []), ("live", [])])
def test_in_a_replay_a_tool_needs_no_service_of_its_own(
    monkeypatch: pytest.MonkeyPatch, record: Any, events: list[str]
) -> None:
    tool = Tool()
    missing = Tool("")
    use_tools(monkeypatch, missing, tool)
    config = config_of(Path())
    adopt_tools(config, Settings(adopt=ADOPT.adopt, record=record))
    assert (tool.events, missing.events) == (events, [])
    hooks = config.pluginmanager["llmops_adopt"]
    assert type(hooks) is AdoptionHooks
    hooks.pytest_unconfigure()
    assert tool.events == [*events, "offline ended"][: 2 * len(events)]


def test_the_tests_of_a_tool_are_recorded_and_its_scores_read(monkeypatch: pytest.MonkeyPatch) -> None:
    tools = [Tool(""), Tool()]
    hooks = hooks_of(monkeypatch, *tools)
    plain = collected("test_mine", "test_other", "test_mine_too")
    marked = collected("test_mine", marks=(MARK,)) + collected("test_mine", marks=(VCR,))
    hooks.pytest_collection_modifyitems([*plain, *marked])
    twice = ["llm_cassette"] * 2  # once for each tool: these items do not keep what is added
    assert [item.added for item in plain + marked] == [twice, [], twice, [], []]
    assert [tool.events for tool in tools] == [[], ["read"]]
    call_test(hooks, "item")
    assert [tool.finished for tool in tools] == [[], ["item"]]
    hooks.pytest_unconfigure()
    assert tools[1].events == ["read", "read ended"]


def test_a_tool_without_tests_is_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    tool = Tool()
    hooks = hooks_of(monkeypatch, tool)
    hooks.pytest_collection_modifyitems(collected("test_other"))
    call_test(hooks)
    assert (tool.events, tool.finished) == ([], [])


def facts_after(hooks: AdoptionHooks, listening: recorder.Recorder, *marks: pytest.Mark) -> Any:
    hooks.pytest_runtest_teardown(item_of(Path(), *marks))
    return listening.facts.get("adopt")


@pytest.mark.parametrize("error", [HookMoved("mine 1.0 has no run"), ImportError("no module named x")])
def test_a_tool_that_cannot_be_read_is_a_problem_of_each_recorded_test(
    monkeypatch: pytest.MonkeyPatch, listening: recorder.Recorder, error: Exception
) -> None:
    tool = Tool(error=error)
    hooks = hooks_of(monkeypatch, tool)
    hooks.pytest_collection_modifyitems(collected("test_mine"))
    assert call_test(hooks) == "result"
    assert tool.finished == []
    assert facts_after(hooks, listening) is None
    (problem,) = facts_after(hooks, listening, MARK)
    assert check_message(problem)


@pytest.mark.parametrize(("record", "advice"), [("none", ["advice for a.example"]), ("new", None)])
def test_advice_for_work_without_a_network_is_for_replays(
    monkeypatch: pytest.MonkeyPatch, listening: recorder.Recorder, record: Any, advice: list[str] | None
) -> None:
    hooks = hooks_of(monkeypatch, Tool(), record=record)
    hooks.pytest_collection_modifyitems(collected("test_mine"))
    assert facts_after(hooks, listening, MARK) == advice


def test_a_problem_with_the_end_of_a_test_is_told_once(
    monkeypatch: pytest.MonkeyPatch, listening: recorder.Recorder
) -> None:
    tool = Tool()
    tool.at_end = AttributeError("no attribute x")
    hooks = hooks_of(monkeypatch, tool)
    hooks.pytest_collection_modifyitems(collected("test_mine"))
    assert facts_after(hooks, listening, MARK) is None
    assert call_test(hooks) == "result"
    assert call_test(hooks) == "result"
    (problem,) = facts_after(hooks, listening, MARK)
    assert check_message(problem)


def test_a_test_that_passed_fails_by_an_error_of_a_tool(
    monkeypatch: pytest.MonkeyPatch, listening: recorder.Recorder
) -> None:
    tool = Tool()
    tool.at_end = ToolScore(metric="Relevancy", error="no reply")
    hooks = hooks_of(monkeypatch, tool)
    hooks.pytest_collection_modifyitems(collected("test_mine"))
    hook = hooks.pytest_runtest_call("item")
    next(hook)
    with pytest.raises(MeasurementErrored) as caught:
        hook.send("result")
    assert check_message(caught.value)
    tool.at_end = ToolScore(metric="Relevancy", value=0.5)
    call_test(hooks)
    tool.at_end = ToolScore(metric="Relevancy", error="expected", reached_test=lambda: True)
    call_test(hooks)
    hooks.pytest_runtest_teardown(item_of(Path()))
    assert [(one.name, one.value, one.error) for one in listening.measurements] == [
        ("mine.relevancy", None, "no reply"),
        ("mine.relevancy", 0.5, ""),
    ]


def test_an_error_of_a_failed_test_is_recorded_at_its_end_and_no_other_test_gets_it(
    monkeypatch: pytest.MonkeyPatch, listening: recorder.Recorder
) -> None:
    tool = Tool()
    hooks = hooks_of(monkeypatch, tool)
    hooks.pytest_collection_modifyitems(collected("test_mine"))
    assert tool.report is not None
    tool.report(ToolScore(metric="Relevancy", error="late"))
    hooks.pytest_runtest_setup()
    hooks.pytest_runtest_teardown(item_of(Path()))
    assert listening.measurements == []
    tool.report(ToolScore(metric="Relevancy", error="no reply", reached_test=lambda: True))
    hooks.pytest_runtest_teardown(item_of(Path()))
    hooks.pytest_runtest_teardown(item_of(Path()))
    assert [one.error for one in listening.measurements] == ["no reply"]


def test_the_summary_names_each_problem_and_the_scores_outside_of_0_to_1(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use_tools(monkeypatch, Tool(""), Tool("9.0"), Tool())

    def record(facts: dict[str, Any], *scores: tuple[str, Any]) -> TestRecord:
        measurements = tuple(
            Measurement(name=name, value=2.0 if unit == "count" else 0.5, unit=unit) for name, unit in scores
        )
        return TestRecord(nodeid="t", facts=facts, measurements=measurements)

    records = [
        record({"adopt": ["b", "a"]}, ("mine.steps", "count"), ("mine.other", "1"), ("steps", "count")),
        record({"adopt": ["a", "c"]}, ("mine.steps", "count"), ("mine.depth", "count")),
        record({}, ("minery", "count")),
    ]
    notes = list(iter_adoption_notes(ADOPT, records))
    assert notes[2:5] == ["b", "a", "c"]
    assert [note.partition(":")[0] for note in notes[5:]] == ["mine.steps", "mine.depth"]
    assert check_message([*notes[:2], *notes[5:]])
    assert list(iter_adoption_notes(Settings(), records)) == []
