"""What markers do to a test: its variants, its faults, the share of blocked attacks, changed inputs, budgets, and its case."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.messages import check_message
from support.nodes import FakeMark, FakeNode, make_mark

from pytest_llmops import recorder
from pytest_llmops.cases.files import Case
from pytest_llmops.cassettes import Fault, FaultPlan
from pytest_llmops.errors import CaseError, MeasurementFailed, UnknownName, UsageError
from pytest_llmops.harness.markers import (
    cases,
    judge,
    llm_budget,
    llm_compare,
    llm_fault,
    llm_guardrail,
    llm_robust,
    load_marker,
)
from pytest_llmops.harness.markers.cases import CaseSelection
from pytest_llmops.harness.markers.llm_compare import Comparison, are_variants, describe_variant
from pytest_llmops.harness.markers.llm_fault import list_faults, make_fault_plan, refuse_faults_elsewhere
from pytest_llmops.harness.markers.marker import Arguments
from pytest_llmops.protocols import Call, Usage
from pytest_llmops.settings import Settings

TEST = "tests/test_a.py::test_a"


def given(*args: Any, **kwargs: Any) -> Arguments:
    return Arguments(TEST, "some", args, kwargs)


def refuse(name: str, arguments: Arguments) -> None:
    with pytest.raises(UsageError, check=check_message):
        load_marker(name).read(arguments)


# llm_compare


class Parent:
    """A module or class of tests."""


class Variants:
    """A test function with parametrized arguments: its definition, and its tests."""

    def __init__(self, comparison: FakeMark, *parametrized: FakeMark, narrowed: str = "") -> None:
        self.marks = [comparison, *parametrized]
        self.parent = Parent()
        config = SimpleNamespace(getoption={narrowed: "x"}.get)
        self.definition = self.node(name="test_a", config=config)

    def node(self, **facts: Any) -> Any:
        def iter_markers(name: str) -> Iterator[FakeMark]:
            return (mark for mark in self.marks if mark.name == name)

        return SimpleNamespace(
            parent=self.parent,
            nodeid=TEST,
            iter_markers=iter_markers,
            get_closest_marker=lambda name: next(iter_markers(name), None),
            **facts,
        )

    def item(self, callspec: Any, function: str = "test_a") -> Any:
        return self.node(originalname=function, callspec=callspec)


def spec(ids: Sequence[str] = (), **params: tuple[object, int]) -> Any:
    """The arguments of a test, each a value and its place, and the parts of its id."""
    values = {name: value for name, (value, _) in params.items()}
    places = {name: place for name, (_, place) in params.items()}
    return SimpleNamespace(
        params=values, indices=places, _idlist=list(ids) or [str(v) for v in values.values()]
    )


def two_by_two() -> list[Any]:
    """Two versions of two cases, as pytest gives them: version by version."""
    return [
        spec(version=(version, place), case=(case, number))
        for place, version in enumerate(["v1", "v2"])
        for number, case in enumerate(["late", "early"])
    ]


BY_VERSION = make_mark("parametrize", "version", ["v1", "v2"])
BY_CASE = make_mark("parametrize", "case", ["late", "early"])


def test_the_variants_of_a_case_follow_each_other_and_know_their_place() -> None:
    tests = Variants(make_mark("llm_compare", "version"), BY_VERSION, BY_CASE)
    specs = two_by_two()
    assert llm_compare.MARKER.order_tests(tests.definition, specs) == ""
    assert [list(one.params.values()) for one in specs] == [
        ["v1", "late"],
        ["v2", "late"],
        ["v1", "early"],
        ["v2", "early"],
    ]
    items = [tests.item(one) for one in specs]
    first = {"argument": "version", "value": "v1", "place": 0, "base": "v1", "case": ["late"], "primary": "m"}
    settings = Settings(primary_metric="m")
    assert llm_compare.MARKER.describe_test(items[0], settings) == {"compare": first}
    second = {**first, "value": "v2", "place": 1, "primary": ""}
    assert describe_variant(items[1]) == second
    assert are_variants(items[0], items[1])
    assert not are_variants(items[0], items[2])
    other_function = tests.item(specs[1], "test_b")
    assert describe_variant(other_function) == {}
    assert not are_variants(items[0], other_function)
    assert not are_variants(other_function, other_function)


def test_tests_of_other_functions_or_classes_are_no_variants() -> None:
    tests, others = (Variants(make_mark("llm_compare", "version"), BY_VERSION, BY_CASE) for _ in range(2))
    for group in (tests, others):
        assert llm_compare.MARKER.order_tests(group.definition, two_by_two()) == ""
    one = two_by_two()[0]
    assert are_variants(tests.item(one), tests.item(one))
    assert not are_variants(tests.item(one), others.item(one))
    again = tests.node(name="test_b")
    assert llm_compare.MARKER.order_tests(again, two_by_two()) == ""
    assert not are_variants(tests.item(one), tests.item(one, "test_b"))
    assert llm_compare.MARKER.describe_test(tests.node(), Settings()) == {}


def test_joint_arguments_vary_with_the_compared_one() -> None:
    joint = make_mark("parametrize", argnames="version, price", argvalues=[])
    tests = Variants(make_mark("llm_compare", "version", base="v2"), BY_CASE, joint)
    specs = [
        spec([case, version], case=(case, number), version=(version, place), price=(place, place))
        for place, version in enumerate(["v1", "v2"])
        for number, case in enumerate(["late", "early"])
    ]
    assert llm_compare.MARKER.order_tests(tests.definition, specs) == ""
    assert [one._idlist for one in specs] == [
        ["late", "v1"],
        ["late", "v2"],
        ["early", "v1"],
        ["early", "v2"],
    ]
    facts = describe_variant(tests.item(specs[1]))
    assert (facts["case"], facts["value"], facts["base"], facts["place"]) == (["late"], "v2", "v2", 1)


def test_without_matching_parts_of_the_id_the_values_are_shown() -> None:
    tests = Variants(make_mark("llm_compare", "version"), BY_VERSION, BY_CASE)
    specs = [spec(["x"], version=(number, number), case=("late", 0)) for number in (0, 1)]
    assert llm_compare.MARKER.order_tests(tests.definition, specs) == ""
    assert describe_variant(tests.item(specs[1]))["value"] == "1"


def test_an_arm_outside_of_the_baseline_is_marked() -> None:
    tests = Variants(make_mark("llm_compare", "version"), BY_VERSION)
    arms = [SimpleNamespace(in_baseline=False), SimpleNamespace(in_baseline=True)]
    specs = [
        spec([name], version=(arm, place)) for place, (name, arm) in enumerate(zip("ab", arms, strict=True))
    ]
    assert llm_compare.MARKER.order_tests(tests.definition, specs) == ""
    found = [describe_variant(tests.item(one)) for one in specs]
    assert [facts.get("in_baseline", True) for facts in found] == [False, True]
    assert "in_baseline" not in found[1]


@pytest.mark.parametrize(
    ("mark", "error"),
    [
        (make_mark("llm_compare"), "expected the name of a parametrized argument first"),
        (make_mark("llm_compare", "tone"), "expected at least two values of a parametrized argument 'tone', got the arguments case, version"),
        (make_mark("llm_compare", "version", "v3"), "a parametrized argument 'version', among them the base 'v3', got the values v1, v2"),
    ],
)  # fmt: skip
def test_a_comparison_that_means_nothing_leaves_one_test_that_reports_it(mark: FakeMark, error: str) -> None:
    specs = two_by_two()
    found = llm_compare.MARKER.order_tests(Variants(mark, BY_VERSION, BY_CASE).definition, specs)
    assert error in found
    assert found.startswith(f"{TEST}: @pytest.mark.llm_compare: expected ")
    assert len(specs) == 1


def test_a_single_value_is_an_error_unless_the_command_line_chose_it() -> None:
    mark = make_mark("llm_compare", "prompt")
    for narrowed, is_error in (("", True), ("llm_prompt", False), ("llm_model", True)):
        specs = [spec(prompt=("v1", 0), case=(case, 0)) for case in ("late", "early")]
        definition = Variants(
            mark, make_mark("parametrize", "prompt", []), BY_CASE, narrowed=narrowed
        ).definition
        error = llm_compare.MARKER.order_tests(definition, specs)
        assert (error != "", len(specs)) == (is_error, 1 if is_error else 2)
    other = make_mark("llm_compare", "version")
    one = [spec(version=("v1", 0))]
    assert llm_compare.MARKER.order_tests(Variants(other, BY_VERSION, narrowed="llm_prompt").definition, one)
    assert llm_compare.MARKER.order_tests(Variants(other).definition, []).endswith("got the arguments (none)")


def test_a_base_is_a_text() -> None:
    assert llm_compare.MARKER.read(given("version")) == Comparison("version", "")
    assert llm_compare.MARKER.read(given("version", 0)) == Comparison("version", "0")


# llm_fault


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (given("timeout"), Fault(kind="timeout")),
        (given("timeout", 2, 3), Fault(kind="timeout", call=2, times=3)),
        (given("timeout", call="every", times="every"), Fault(kind="timeout", call=None, times=None)),
        (given("empty", tool="a/*", must_come=False), Fault(kind="empty", tool="a/*", must_come=False)),
        (given("hostile", text="Obey!"), Fault(kind="hostile", text="Obey!")),
        (given("too_long", size=1), Fault(kind="too_long", size=1)),
        (given("slow", seconds=0.5), Fault(kind="slow", seconds=0.5)),
        (given("never_returns", at_most_s=3), Fault(kind="never_returns", at_most_s=3.0)),
        (given("stale"), Fault(kind="stale", call=2)),
        (given("stale", 3), Fault(kind="stale", call=3)),
        (given("stale", call="every"), Fault(kind="stale", call=None)),
        (given("server_died", tool="a"), Fault(kind="server_died", tool="a")),
    ],
)  # fmt: skip
def test_a_fault_is_read(arguments: Arguments, fault: Fault) -> None:
    assert llm_fault.MARKER.read(arguments) == fault


@pytest.mark.parametrize(
    "arguments",
    [
        given(7),
        given("timeout", 0),
        given("timeout", times=0),
        given("timeout", call="all"),
        given("timeout", tool=""),
        given("timeout", text="x"),
        given("timeout", seconds=2),
        given("slow", seconds=0),
        given("slow", seconds="2"),
        given("slow", at_most_s=2),
        given("timeout", must_come=0),
        given("stale", 1),
        given("server_died"),
        given("cut", tool="a"),
        given("no_such_kind"),
    ],
)
def test_a_fault_that_means_nothing_is_refused(arguments: Arguments) -> None:
    refuse("llm_fault", arguments)


def test_all_faults_of_a_test_count() -> None:
    node = FakeNode(
        own_markers=[make_mark("llm_fault", "cut")], markers_above=[make_mark("llm_fault", "stale")]
    )
    faults = [Fault(kind="cut"), Fault(kind="stale", call=2)]
    assert list_faults(node) == faults
    plan = make_fault_plan(node)
    assert plan is not None
    assert plan.faults == tuple(faults)
    assert make_fault_plan(FakeNode()) is None
    refuse_faults_elsewhere(FakeNode())
    with pytest.raises(UsageError, check=check_message):
        refuse_faults_elsewhere(node)
    wrong = FakeNode(own_markers=[make_mark("llm_fault", "cut")], markers_above=[make_mark("llm_fault", 7)])
    with pytest.raises(UsageError):
        llm_fault.MARKER.check_needs(wrong, ())


def fail_after(plan: FaultPlan | None, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The measurements of a test with faults, and the text of its failure if there is one."""
    monkeypatch.setattr(llm_fault, "find_fault_plan", lambda: plan)
    test = recorder.Recorder(silent=True)
    recorder.push_recorder(test)
    try:
        llm_fault.MARKER.check_after_call(given("cut"))
    finally:
        recorder.pop_recorder(test)
    return test.measurements


def test_a_fault_that_never_came_and_a_call_that_hung_fail_a_test(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fail_after(None, monkeypatch) == []
    missing = FaultPlan([Fault(kind="cut")])
    (error,) = fail_after(missing, monkeypatch)
    assert (error.name, error.error) == ("agent.recovers", missing.describe_missing())
    missing.is_judged = True
    assert fail_after(missing, monkeypatch) == []
    came = FaultPlan([Fault(kind="cut")])
    came.begin_call("the call", "key")
    assert fail_after(came, monkeypatch) == []
    came.note_hung("key")
    (bad,) = fail_after(came, monkeypatch)
    assert (bad.name, bad.value, bad.threshold, bad.status) == ("agent.recovers", 0.0, 1.0, "failed")
    assert bad.detail["evidence"] == [["call 1", "the call: FAULT cut, HUNG"]]


# llm_guardrail, llm_robust, llm_budget


def case_of(name: str, expect: str | None = "refuse", **facts: Any) -> Case:
    data = {"expect": expect} if expect else {}
    return Case(id=name, input="Can I return it?", data=data, **facts)


def test_a_guardrail_needs_attacks_and_harmless_questions() -> None:
    marker = llm_guardrail.MARKER
    both = [case_of("a"), case_of("b", "answer")]
    assert marker.prepare_cases(given(0.95), both) is both
    for listed in ([case_of("a")], [case_of("b", "answer")], [*both, case_of("c", None)], []):
        with pytest.raises(UsageError, check=check_message):
            marker.prepare_cases(given(0.95), listed)
    with pytest.raises(UsageError):
        marker.prepare_cases(given(95), both)


@pytest.mark.parametrize("share", [0, 1, -0.5, 1.5, "0.5", True])
def test_a_share_lies_between_0_and_1(share: object) -> None:
    refuse("llm_guardrail", given(at_least_blocked=share))
    assert llm_guardrail.MARKER.read(given(0.5, None)) == {
        "at_least_blocked": 0.5,
        "at_most_overblocked": None,
    }


CASES = "".join(
    f'{{"id": "{name}", "input": "{name}?", "expect": "{expect}"}}\n'
    for name, expect in [("a", "refuse"), ("b", "refuse"), ("c", "refuse"), ("d", "answer"), ("e", "answer")]
)


@pytest.fixture
def node(tmp_path: Path) -> FakeNode:
    """A test with the cases of a file."""
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/c.jsonl").write_text(CASES, encoding="utf-8")
    return FakeNode(root=tmp_path, own_markers=[make_mark("cases", "c.jsonl")])


def test_a_case_of_a_guardrail_states_its_kind_and_the_limits(node: FakeNode) -> None:
    marker = llm_guardrail.MARKER
    assert marker.describe_case(node, case_of("a"), Settings()) == {}
    node.own_markers = [*node.own_markers, make_mark("llm_guardrail", 0.9)]
    facts = {"expect": "refuse", "cases": 5, "at_least_blocked": 0.9, "at_most_overblocked": None}
    assert marker.describe_case(node, case_of("a"), Settings()) == {"guardrail": facts}
    assert marker.describe_case(node, case_of("a", robust={"skip": "", "error": ""}), Settings()) != {}
    for robust in ({"skip": "nothing to change"}, {"error": "nothing"}):
        assert marker.describe_case(node, case_of("a", robust=robust), Settings()) == {}


def test_each_case_is_followed_by_its_changed_ones() -> None:
    changed = llm_robust.MARKER.prepare_cases(given("case", equal="answer"), [case_of("a"), case_of("b")])
    assert [case.id for case in changed] == ["a", "a~case", "b", "b~case"]
    assert isinstance(changed, tuple)
    assert (changed[1].robust["value"], changed[1].robust["equal"]) == ("case", "answer")


@pytest.mark.parametrize(
    ("nodeid", "suffix", "unchanged"),
    [
        ("t.py::test[a~case]", "~case", "t.py::test[a]"),
        ("t.py::test[a~case-x~case-y]", "~case", "t.py::test[a~case-x-y]"),
        ("t.py::test[a]", "", "t.py::test[a]"),
        ("t.py::test[a]", "~case", "t.py::test[a]"),
    ],
)
def test_the_tests_of_a_changed_case_share_the_id_of_the_unchanged_one(
    nodeid: str, suffix: str, unchanged: str
) -> None:
    case = case_of("a", robust={"suffix": suffix, "value": "case"})
    facts = llm_robust.MARKER.describe_case(SimpleNamespace(nodeid=nodeid), case, Settings())
    assert facts == {"robust": {"suffix": suffix, "value": "case", "case": [unchanged]}}
    assert llm_robust.MARKER.describe_case(SimpleNamespace(nodeid=nodeid), case_of("a"), Settings()) == {}


def test_the_limits_of_a_budget_are_those_that_are_given() -> None:
    marker = llm_budget.MARKER
    assert marker.read(given(0, tokens=None)) == {"usd": 0, "tokens": None}
    assert marker.read(given(calls=2.5)) == {"calls": 2.5}
    for wrong in (given(), given(-1), given(calls="2"), given(tokens=True)):
        refuse("llm_budget", wrong)


CALL = Call(
    purpose="app",
    provider="openai",
    model="gpt-4o-mini",
    usage=Usage(input_tokens=7, output_tokens=5),
    cost_usd=0.5,
)


@contextmanager
def running(**how: Any) -> Iterator[recorder.Recorder]:
    """The recorder of a test that runs."""
    test = recorder.Recorder(settings=Settings(), **how)
    recorder.push_recorder(test)
    yield test
    recorder.pop_recorder(test)


def test_the_calls_of_a_case_are_recorded_as_replayed_ones() -> None:
    case = Case(id="a", input="?", calls=(CALL, CALL))
    with running() as test:
        cases.record_given_calls(case)
        cases.record_given_calls(Case(id="b", input="?", calls=(CALL,), data={"trace": "t.json"}))
    assert [(exchange.url, exchange.replayed, exchange.purpose) for exchange in test.exchanges] == [
        ("case:a", True, "app")
    ] * 2
    assert test.exchanges[0].call is CALL
    assert test.exchanges[0].request == {"model": "gpt-4o-mini"}


@pytest.mark.parametrize(
    ("limits", "names"),
    [
        ({"usd": 1}, ["calls.cost"]),
        ({"tokens": 1}, ["calls.tokens"]),
        ({"calls": 1}, ["calls.count"]),
        ({"usd": 1, "tokens": 1, "calls": 1}, ["calls.cost", "calls.tokens", "calls.count"]),
    ],
)
def test_each_limit_of_a_budget_is_measured(limits: dict[str, Any], names: list[str]) -> None:
    with running(silent=True) as test:
        cases.record_given_calls(Case(id="a", input="?", calls=(CALL, CALL)))
        llm_budget.MARKER.check_after_call(given(**limits))
    values = {"calls.cost": 1.0, "calls.tokens": 24.0, "calls.count": 2.0}
    assert [(m.name, m.value, m.threshold) for m in test.measurements] == [
        (name, values[name], 1.0) for name in names
    ]


def test_all_limits_of_a_budget_that_are_exceeded_fail_together() -> None:
    with running() as test:
        cases.record_given_calls(Case(id="a", input="?", calls=(CALL, CALL)))
        with pytest.raises(MeasurementFailed, check=check_message):
            llm_budget.MARKER.check_after_call(given(0.25, 1, 1))
    assert len(test.measurements) == 3


# cases and judge


@pytest.mark.parametrize(
    ("arguments", "selection"),
    [
        (given("a.csv"), CaseSelection("a.csv", (), None, "", (), None, 0)),
        (given(Path("a.csv"), {"input": "q"}), CaseSelection(Path("a.csv"), (("input", "q"),), None, "", (), None, 0)),
        (given("a", split="test", tags=["x", "y"], sample=3, seed=-7), CaseSelection("a", (), None, "test", ("x", "y"), 3, -7)),
        (given("a", model=SimpleNamespace(model_validate=1), tags=()), CaseSelection("a", (), SimpleNamespace(model_validate=1), "", (), None, 0)),
    ],
)  # fmt: skip
def test_the_selection_of_cases_is_read(arguments: Arguments, selection: CaseSelection) -> None:
    assert cases.MARKER.read(arguments) == selection


@pytest.mark.parametrize(
    "arguments",
    [
        given(""),
        given(7),
        given("a", ["input"]),
        given("a", {"input": ""}),
        given("a", {7: "q"}),
        given("a", model=7),
        given("a", split=None),
        given("a", tags="x"),
        given("a", tags=["x", ""]),
        given("a", sample=1.5),
        given("a", seed=None),
    ],
)
def test_a_selection_that_means_nothing_is_refused(arguments: Arguments) -> None:
    refuse("cases", arguments)


def ids_of(node: FakeNode, **selection: Any) -> str:
    found = cases.find_cases(node, Settings(), given("c.jsonl", **selection))
    return "".join(case.id for case in found)


def test_a_sample_has_as_many_attacks_as_harmless_questions_in_the_order_of_the_file(node: FakeNode) -> None:
    assert ids_of(node) == "abcde"
    assert ids_of(node, sample=9) == "abcde"
    for seed in range(4):
        for size, attacks, harmless in ((2, 1, 1), (3, 2, 1), (4, 2, 2)):
            drawn = ids_of(node, sample=size, seed=seed)
            assert drawn == "".join(sorted(drawn))
            assert (len(set(drawn) & set("abc")), len(set(drawn) & set("de"))) == (attacks, harmless)
    assert len({ids_of(node, sample=2, seed=seed) for seed in range(9)}) > 1
    for size in (1, 0, -1):
        with pytest.raises(CaseError, check=check_message):
            ids_of(node, sample=size)
    (node.root / "tests/c.jsonl").write_text(CASES.replace('"answer"', '"other"'), encoding="utf-8")
    assert len(ids_of(node, sample=1)) == 1


def test_a_file_of_the_package_is_found_by_name(node: FakeNode) -> None:
    found = cases.find_cases(node, Settings(), given("builtin:injection", sample=2))
    assert [case["expect"] for case in found].count("refuse") == 1
    with pytest.raises(UnknownName, check=check_message):
        cases.find_cases(node, Settings(), given("builtin:injektion"))


def test_the_facts_of_a_case_name_its_line_and_its_files(node: FakeNode) -> None:
    second = cases.find_cases(node, Settings(), given("c.jsonl"))[1]
    files = {"a.png": ("content", "digest")}
    facts = cases.describe_case_file(node, second, given("c.jsonl"), files)
    assert facts == {
        "id": "b",
        "file": "c.jsonl",
        "tags": [],
        "family": second.family,
        "fingerprint": second.fingerprint,
        "input": "b?",
        "reference": "",
        "path": "tests/c.jsonl",
        "line": 2,
        "files": {"a.png": "digest"},
    }
    bare: Any = cases.describe_case_file(node, Case(id="x", input="?", line=3), given("gone.jsonl"), {})
    assert {"path", "line", "files", "has_content_id", "copies"}.isdisjoint(bare)
    odd = Case(id="x", input="?", has_content_id=True, copies=2)
    more: Any = cases.describe_case_file(node, odd, given("c.jsonl"), {})
    assert (more["has_content_id"], more["copies"], "path" in more) == (True, 2, False)
    below = FakeNode(root=node.root / "tests", folder="")
    upwards = given(str(Path("..") / "outside.jsonl"))
    (node.root / "outside.jsonl").write_text(CASES, encoding="utf-8")
    above: Any = cases.describe_case_file(below, second, upwards, {})
    assert "path" not in above
    there: Any = cases.describe_case_file(node, second, upwards, {})
    assert there["path"] == "outside.jsonl"


def test_the_trace_of_a_case_lies_beside_its_file(node: FakeNode) -> None:
    def traced(trace: object, **facts: Any) -> Any:
        data: dict[str, Any] = {"trace": trace}
        case = Case(id="a", input="?", data=data)
        facts = {"callspec": SimpleNamespace(params={"case": case}), **facts}
        for name, value in facts.items():
            setattr(node, name, value)
        return cases.find_trace(node)

    assert traced("t.json") == node.root / "tests/t.json"
    assert traced("t.txt") is None
    assert traced(7) is None
    assert traced("t.json", callspec=SimpleNamespace(params={"case": "a"})) is None
    node.own_markers = [make_mark("cases", "gone.jsonl")]
    assert traced("t.json") is None
    node.own_markers = []
    assert traced("t.json") is None
    assert cases.find_trace(FakeNode()) is None


def test_the_content_of_a_file_is_replaced_by_its_digest() -> None:
    test = recorder.Recorder(settings=Settings())
    recorder.push_recorder(test)
    cases.record_files({"a": ("QUJD", "12"), "empty": ("", "34")})
    recorder.pop_recorder(test)
    assert test.file_digests == {b"QUJD": b"sha256:12"}


def test_a_judge_may_move_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def find(kind: str, name: str) -> object:
        asked.append((kind, name))
        return "the judge"

    monkeypatch.setattr(recorder, "find_component", find)
    monkeypatch.setattr("pytest_llmops.judges.reason_places.move_reason", lambda *given: given)
    plain: Any = judge.load_marked_judge(FakeNode())
    assert plain == "the judge"
    moved: Any = judge.load_marked_judge(FakeNode(own_markers=[make_mark("judge", "mine", reason="none")]))
    assert moved == ("the judge", "none")
    assert asked == [("judge", "quality"), ("judge", "mine")]
