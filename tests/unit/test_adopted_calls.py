"""Calls of a tool's methods that become reports, and what all adopted tools share."""

from __future__ import annotations

import asyncio
import sys
from abc import abstractmethod
from collections.abc import Iterator
from contextvars import ContextVar
from importlib import metadata
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support.adopted_scores import FakeImports, KeptScores
from support.messages import check_message
from support.stand_in_modules import use_module

from pytest_llmops import recorder
from pytest_llmops.adopted import load_tool, load_tools
from pytest_llmops.adopted.patching import replace_everywhere
from pytest_llmops.adopted.recognition import ProjectImports
from pytest_llmops.adopted.scores import make_measurement, make_name
from pytest_llmops.adopted.scoring_calls import (
    ScoringCall,
    identify_inputs,
    label_case,
    list_subclasses,
    read_verdict,
    report_methods,
    set_in_methods,
)
from pytest_llmops.adopted.tool import (
    AdoptedTool,
    HookMoved,
    ToolScore,
    iter_url_hosts,
    minor_version,
    report_scores,
    require_attribute,
)


def read(call: ScoringCall) -> Iterator[ToolScore]:
    """Yield all that a call is known by."""
    yield ToolScore(
        metric=call.method,
        value=call.result,
        error=call.error,
        detail={"owner": call.owner, "arguments": dict(call.arguments), "exception": call.exception},
    )


def test_calls_of_a_class_and_the_classes_below_it_are_reported() -> None:
    class Base:
        def score(self, text: str, scale: int = 1) -> tuple[str, str]:
            return text * scale, recorder.current_purpose()

        async def ascore(self, text: str) -> tuple[str, str]:
            await asyncio.sleep(0)
            return self.score(text)  # a part of this score

        def other(self) -> str:
            return recorder.current_purpose()

    class Below(Base):
        def score(self, text: str, scale: int = 1) -> tuple[str, str]:
            return "below " + super().score(text, scale)[0], recorder.current_purpose()

    kept = KeptScores()
    originals = dict(vars(Base))
    with report_methods(Base, iter(["score", "ascore", "absent"]), read, kept):

        class Later(Below):
            def score(self, text: str, scale: int = 1) -> tuple[str, str]:
                return "later" * scale + text, recorder.current_purpose()

        base, below, later = Base(), Below(), Later()
        assert base.score("a", scale=2) == ("aa", "judge")
        assert below.score("a") == ("below a", "judge")
        assert asyncio.run(later.ascore("b")) == ("laterb", "judge")
        assert base.other() == "app"
        assert Base.score.__name__ == "score"
    assert vars(Base)["score"] is originals["score"]
    assert vars(Base)["ascore"] is originals["ascore"]
    assert "__init_subclass__" not in vars(Base)
    assert base.score("a") == ("a", "app")
    assert kept.take() == [
        {
            "metric": "score",
            "value": ("aa", "judge"),
            "detail": {"owner": base, "arguments": {"text": "a", "scale": 2}, "exception": None},
        },
        {
            "metric": "score",
            "value": ("below a", "judge"),
            "detail": {"owner": below, "arguments": {"text": "a"}, "exception": None},
        },
        {
            "metric": "ascore",
            "value": ("laterb", "judge"),
            "detail": {"owner": later, "arguments": {"text": "b"}, "exception": None},
        },
    ]
    assert kept.problems == []


def test_an_abstract_method_is_not_wrapped() -> None:
    class Base:
        @abstractmethod
        def score(self) -> None: ...

    abstract = vars(Base)["score"]
    with report_methods(Base, ["score"], read, KeptScores()):
        assert vars(Base)["score"] is abstract


def test_a_call_that_raises_is_reported_with_its_exception() -> None:
    error = KeyError("verdict")

    class Base:
        def score(self) -> None:
            raise error

    kept = KeptScores()
    base = Base()
    with report_methods(Base, ["score"], read, kept):
        for _ in range(2):
            with pytest.raises(KeyError) as caught:
                base.score()
            assert caught.value is error
    first, second = kept.take()
    assert first == second
    assert first["detail"] == {"owner": base, "arguments": {}, "exception": error}
    assert "verdict" in first["error"]


def test_a_class_with_an_init_subclass_of_its_own_keeps_it() -> None:
    class Base:
        def __init_subclass__(cls, **options: Any) -> None:
            made.append((cls.__name__, options))

        def score(self) -> int:
            return 1

    made: list[tuple[str, dict[str, Any]]] = []
    own = vars(Base)["__init_subclass__"]
    kept = KeptScores()
    with report_methods(Base, ["score"], read, kept):
        assert vars(Base)["__init_subclass__"] is own

        class Later(Base, option=1):
            pass

        Later().score()
    assert vars(Base)["__init_subclass__"] is own
    assert made == [("Later", {"option": 1})]
    assert [score["metric"] for score in kept.take()] == ["score"]


def test_a_flag_is_set_in_async_methods_only() -> None:
    flag: ContextVar[bool] = ContextVar("flag", default=False)
    seen: list[bool] = []

    class Base:
        async def run(self, text: str, *, fails: bool = False) -> str:
            seen.append(flag.get())
            if fails:
                raise ValueError(text)
            return text

        def plain(self) -> None:
            seen.append(flag.get())

    class Below(Base):
        async def run(self, text: str, *, fails: bool = False) -> str:
            return f"below {text}" if not fails else await super().run(text, fails=fails)

    async def use() -> None:
        assert await Base().run("a") == "a"
        assert not flag.get()
        assert await Below().run("a") == "below a"
        with pytest.raises(ValueError, match="b"):
            await Base().run("b", fails=True)
        assert not flag.get()

    original = vars(Below)["run"]
    with set_in_methods(Base, iter(["run", "plain", "absent"]), flag):
        assert vars(Below)["run"] is not original
        Base().plain()
        asyncio.run(use())
    assert seen == [False, True, True]
    assert vars(Below)["run"] is original


def test_classes_below_a_class_are_each_listed_once() -> None:
    class A: ...

    class B(A): ...

    class C(A): ...

    class D(B, C): ...

    assert sorted(kind.__name__ for kind in list_subclasses(A)) == ["B", "C", "D"]
    assert list_subclasses(D) == []


def test_the_label_of_a_case() -> None:
    assert label_case({"question": "Where?"}) == label_case("Where?") == "Where?"
    assert label_case({"b": "ü", "a": object()}) == '{"a": "object", "b": "ü"}'
    assert label_case(["a", 1]) == '["a", 1]'
    assert label_case({"question": None}) == label_case(None) == ""
    assert label_case("x" * 60) == "x" * 60
    long = label_case("x" * 61)
    assert long.startswith("x" * 45 + "... ")
    assert (len(long), long == label_case("x" * 62)) == (57, False)


def test_inputs_that_cannot_be_told_apart_have_no_digest() -> None:
    class Broken:
        def __repr__(self) -> str:
            raise ValueError

    assert identify_inputs(Broken()) == ""
    assert identify_inputs("a") != ""


@pytest.mark.parametrize(
    ("given", "verdict"),
    [
        *((word, True) for word in ("yes", " Pass ", "TRUE")),
        *((word, False) for word in ("no", "fail", "false")),
        ("maybe", None),
        (0.5, 0.5),
        (None, None),
    ],
)
def test_a_category_that_is_a_verdict(given: object, verdict: object) -> None:
    assert read_verdict(given) is verdict


def test_scores_that_cannot_be_read_are_a_problem_of_the_run() -> None:
    def broken() -> Iterator[ToolScore]:
        yield ToolScore(metric="first")
        raise AttributeError("no score")

    kept = KeptScores()
    report_scores(kept, broken())
    assert kept.take() == [{"metric": "first"}]
    assert len(kept.problems) == 1
    check_message(kept.problems[0])


def test_a_function_is_replaced_wherever_it_was_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    def old() -> str:
        return "old"

    def new() -> str:
        return "new"

    first = use_module(monkeypatch, "first", function=old, again=old, other=len)
    second = use_module(monkeypatch, "second", function=old)
    monkeypatch.setitem(sys.modules, "absent", None)
    monkeypatch.setitem(sys.modules, "odd", object())
    with replace_everywhere(old, new):
        assert (first.function, first.again, second.function) == (new, new, new)
        assert first.other is len
    assert (first.function, first.again, second.function) == (old, old, old)


class PlainTool(AdoptedTool):
    name = "plain"
    distribution = "plain-tool"
    tested = ("1.2.3", "1.4.0")

    def is_its_test(self, item: Any, imports: ProjectImports) -> bool:
        return imports.uses(item, "plain")

    def read_scores(self, report: Any) -> Any:
        raise NotImplementedError


def test_a_tool_needs_nothing_but_its_tests_and_scores() -> None:
    tool = PlainTool()
    kept = KeptScores()
    tool.finish_test(object(), kept)
    assert (kept.scores, kept.problems) == ([], [])
    assert list(tool.service_hosts({})) == []
    assert list(tool.iter_advice({})) == []
    with tool.stay_offline() as opened:
        assert opened is None
    assert ToolScore(metric="m").reached_test() is False


def installed(monkeypatch: pytest.MonkeyPatch, **versions: str) -> None:
    def version(name: str) -> str:
        if name not in versions:
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(metadata, "version", version)


@pytest.mark.parametrize("version", ["1.2.0", "1.3", "1.4.9"])
def test_a_version_between_the_tested_ones_is_no_problem(
    version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(monkeypatch, **{"plain-tool": version})
    assert PlainTool().find_version() == version
    assert PlainTool().describe_problem() == ""


@pytest.mark.parametrize("version", ["", "1.1.9", "1.5.0", "2.0"])
def test_another_version_of_a_tool_is_a_problem(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, **({"plain-tool": version} if version else {}))
    assert PlainTool().find_version() == version
    check_message(PlainTool().describe_problem())
    once = type("Once", (PlainTool,), {"tested": ("1.2.3", "1.2.3")})
    check_message(once().describe_problem())


def test_the_skinny_package_of_mlflow_counts_as_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    tool = load_tool("mlflow")
    found = []
    for versions in ({}, {"mlflow-skinny": "3.1"}, {"mlflow": "3.2", "mlflow-skinny": "3.1"}):
        installed(monkeypatch, **versions)
        found.append(tool.find_version())
    assert found == ["", "3.1", "3.2"]


def test_a_function_that_a_tool_no_longer_has_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, **{"plain-tool": "1.5.0"})
    for owner in (type("Metric", (), {}), ModuleType("plain.metrics"), SimpleNamespace(score=None)):
        with pytest.raises(HookMoved, check=check_message):
            require_attribute(PlainTool(), owner, "score")
    assert require_attribute(PlainTool(), SimpleNamespace(score=0), "score") == 0


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("https://mlflow.example.com:8080/api", ["mlflow.example.com"]),
        ("http://localhost:5000", ["localhost:5000", "127.0.0.1:5000"]),
        ("http://[::1]:5000", ["::1:5000", "localhost:5000", "127.0.0.1:5000"]),
        ("http://localhost", []),
        ("sqlite:///a.db", []),
        ("ftp://example.com", []),
        ("http://", []),
        ("http://example.com:port", []),
        ("", []),
    ],
)
def test_the_host_of_a_services_address(url: str, hosts: list[str]) -> None:
    assert list(iter_url_hosts(url)) == hosts


def test_the_minor_version_is_the_first_two_numbers() -> None:
    assert [minor_version(version) for version in ("4.3.1", "5", "2.0rc1", "")] == [(4, 3), (5,), (2, 0), ()]


def test_tools_are_loaded_once_and_in_order() -> None:
    tools = load_tools(["ragas", "deepeval", "ragas"])
    assert [tool.name for tool in tools] == ["ragas", "deepeval"]
    assert load_tool("ragas") is tools[0]


def test_what_a_test_uses_is_asked_of_its_imports() -> None:
    def uses(name: str, *packages: str, **members: Any) -> bool:
        test = SimpleNamespace(get_closest_marker=lambda _: None, **members)
        return load_tool(name).is_its_test(test, FakeImports(*packages))

    packages = {
        "deepeval": "deepeval",
        "langsmith": "langsmith.testing",
        "mlflow": "mlflow.genai",
        "openevals": "openevals",
        "phoenix": "phoenix.evals",
        "pydantic-evals": "pydantic_evals",
        "ragas": "ragas",
    }
    for name, package in packages.items():
        assert (name, uses(name, package), uses(name, "json")) == (name, True, False)
    assert uses("langsmith", "langsmith._expect")
    assert [uses("mlflow", *used) for used in (("mlflow",), ("genai",), ("mlflow", "genai"))] == [
        False,
        False,
        True,
    ]
    marked = SimpleNamespace(_mlflow_test=True)
    assert uses("mlflow", function=marked)
    for name in ("langsmith", "phoenix"):
        test = SimpleNamespace(get_closest_marker={name: object()}.get)
        assert load_tool(name).is_its_test(test, FakeImports())


def test_fixtures_of_a_test_count_as_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    class Proxy:
        @property
        def __module__(self) -> str:  # type: ignore[override]
            raise RuntimeError("not now")

    class Odd:
        __module__ = 5  # type: ignore[assignment]

    atool = use_module(monkeypatch, "atool")
    fixtures = use_module(monkeypatch, "fixtures", __file__="/project/conftest.py", proxy=Proxy(), odd=Odd())
    fixture = SimpleNamespace(func=SimpleNamespace(__module__="fixtures"))
    gone = SimpleNamespace(func=SimpleNamespace(__module__="nowhere"))
    test = SimpleNamespace(
        module=None, _fixtureinfo=SimpleNamespace(name2fixturedefs={"a": [gone, fixture], "b": []})
    )
    assert not ProjectImports().uses(test, "atool")
    vars(fixtures)["atool"] = atool
    assert ProjectImports().uses(test, "atool")
    assert not ProjectImports().uses(SimpleNamespace(), "atool")


def test_a_module_of_python_or_without_a_file_is_not_of_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    atool = use_module(monkeypatch, "atool")
    for file in (pytest.__file__, None, sys.modules["json"].__file__):
        module = use_module(monkeypatch, "user", __file__=file, atool=atool)
        assert not ProjectImports().uses(SimpleNamespace(module=module), "atool")


def test_a_measurement_of_a_tools_score_keeps_its_facts() -> None:
    score = ToolScore(
        metric="Answer Relevancy",
        value=np.float64(3),
        scale=(5, 1),
        better="lower",
        threshold=np.float32(0.5),
        passed=False,
        reason=None,
        version=None,
        case="case " * 1000,
        output=7,
        detail={"category": "yes", "none": None},
    )
    made = make_measurement("pydantic-evals", score)
    assert (made.name, made.value, made.unit, made.better) == (
        "pydantic_evals.answer_relevancy",
        0.5,
        "1",
        "lower",
    )
    assert (made.reason, made.version, made.error, made.label) == ("", "", "", ("case " * 1000)[:2000])
    assert made.detail == {
        "tool": "pydantic-evals",
        "tool_threshold": 0.5,
        "tool_passed": False,
        "actual": "7",
        "dataset_case": ("case " * 1000)[:2000],
        "category": "yes",
        "none": "",
    }
    bare = make_measurement(
        "ragas", ToolScore(metric="m", value=1, scale=None, passed=1, label="a", case="b")
    )
    assert (bare.unit, bare.label, bare.detail) == ("count", "a", {"tool": "ragas", "dataset_case": "b"})
    failed = make_measurement("ragas", ToolScore(metric="m", value=1, error="down"))
    assert (failed.value, failed.error) == (None, "down")


def test_the_kind_of_a_metric_is_not_part_of_its_name() -> None:
    given = ("Correctness [GEval]", "Correctness [GEval", " [GEval]", "MCP Use", "!")
    assert [make_name(text) for text in given] == [
        "correctness",
        "correctness_geval",
        "geval",
        "mcp_use",
        "score",
    ]
