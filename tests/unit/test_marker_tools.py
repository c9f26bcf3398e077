"""The marker ``llm_tools``: its catalogues, the tests of each, and the check of a model's choice."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.messages import check_message
from support.nodes import FakeNode, make_mark

from pytest_llmops.agents.mcp_servers import TIMEOUT_S
from pytest_llmops.agents.tool_catalogue import ToolCatalogue
from pytest_llmops.cases.files import Case
from pytest_llmops.errors import MeasurementFailed, UsageError
from pytest_llmops.harness.markers import llm_tools
from pytest_llmops.harness.markers.llm_tools import MARKER, ToolSource, check_expected_tools, read_catalogues
from pytest_llmops.harness.markers.marker import Arguments
from pytest_llmops.harness.tool_choice import MarkedTools
from pytest_llmops.protocols import ToolDefinition
from pytest_llmops.settings import Settings

TEST = "tests/test_a.py::test_a"
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"id": {"type": "string"}}}
REFUND, TRACK, MAIL = (ToolDefinition(name=name, parameters=SCHEMA) for name in ("refund", "track", "mail"))


def given(*args: Any, **kwargs: Any) -> Arguments:
    return Arguments(TEST, "llm_tools", args, kwargs)


def write_tools(path: Path, *names: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([{"name": name, "inputSchema": SCHEMA} for name in names]), encoding="utf-8")


@pytest.fixture
def node(tmp_path: Path) -> FakeNode:
    write_tools(tmp_path / "tests/tools.json", "refund", "track")
    write_tools(tmp_path / "others.json", "mail")
    return FakeNode(root=tmp_path)


@pytest.mark.parametrize(
    ("arguments", "source"),
    [
        (given("tools.json"), ToolSource("tools.json", (), {"all": ("*",)}, (), TIMEOUT_S)),
        (given(Path("a/tools.json")), ToolSource("a/tools.json", (), {"all": ("*",)}, (), TIMEOUT_S)),
        (given(command="python -m 'a b'"), ToolSource("", ("python", "-m", "a b"), {"all": ("*",)}, (), TIMEOUT_S)),
        (given(None, ["python", "x y"]), ToolSource("", ("python", "x y"), {"all": ("*",)}, (), TIMEOUT_S)),
        (
            given("t.json", catalogues={"a": "x*", "b": ["y", "z"], "c": ("w",)}, decoys="d.json", timeout_s=2),
            ToolSource("t.json", (), {"a": ("x*",), "b": ("y", "z"), "c": ("w",)}, ("d.json",), 2.0),
        ),
        (given("t.json", decoys=["d", "e"]), ToolSource("t.json", (), {"all": ("*",)}, ("d", "e"), TIMEOUT_S)),
    ],
)  # fmt: skip
def test_the_source_of_the_tools_is_read(arguments: Arguments, source: ToolSource) -> None:
    assert MARKER.read(arguments) == source


@pytest.mark.parametrize(
    "arguments",
    [
        given(),
        given("t.json", "serve"),
        given(""),
        given(7),
        given("https://host/mcp"),
        given("http://host/mcp"),
        given(command=7),
        given(command="serve 'open"),
        given(command=["serve", 7]),
        given(command=""),
        given("t", catalogues={}),
        given("t", catalogues=["a"]),
        given("t", catalogues={7: "*"}),
        given("t", catalogues={"": "*"}),
        given("t", catalogues={"a": []}),
        given("t", catalogues={"a": ["x", ""]}),
        given("t", catalogues={"a": 7}),
        given("t", decoys=7),
        given("t", decoys=[""]),
        given("t", timeout_s=0),
        given("t", timeout_s="1"),
        given("t", timeout_s=None),
    ],
)
def test_a_source_that_means_nothing_is_refused(arguments: Arguments) -> None:
    with pytest.raises(UsageError, check=check_message):
        MARKER.read(arguments)


def test_the_usage_names_the_file() -> None:
    assert MARKER.usage == "@pytest.mark.llm_tools(file)"


def test_the_catalogues_of_a_file_are_the_values_of_the_fixture(node: FakeNode) -> None:
    patterns = {"all": "*", "billing\x1b": ["ref*"]}
    node.own_markers = [make_mark("llm_tools", "tools.json", catalogues=patterns, decoys="others.json")]
    parameter = MARKER.make_parameter(node, Settings())
    assert parameter is not None
    assert parameter.fixture == "llm_tools"
    assert parameter.ids == ["all", "billing\\x1b", "all+decoys", "billing\\x1b+decoys"]
    assert parameter.values == (
        ToolCatalogue("all", (REFUND, TRACK)),
        ToolCatalogue("billing\x1b", (REFUND,), left_out=("track",)),
        ToolCatalogue("all+decoys", (REFUND, TRACK), (MAIL,)),
        ToolCatalogue("billing\x1b+decoys", (REFUND,), (MAIL,), ("track",)),
    )
    assert MARKER.make_parameter(FakeNode(root=node.root), Settings()) is None


def test_an_edited_file_is_read_again_and_a_missing_or_broken_one_is_named(node: FakeNode) -> None:
    (catalogue,) = read_catalogues(given("tools.json"), node)
    assert read_catalogues(given("tools.json"), node)[0].tools[0] is catalogue.tools[0]
    with pytest.raises(UsageError, check=check_message):
        read_catalogues(given("missing.json"), node)
    (node.root / "broken.json").write_text("{", encoding="utf-8")
    with pytest.raises(UsageError, check=check_message):
        read_catalogues(given("broken.json"), node)


@pytest.fixture
def listings(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The lists that servers gave, as they were requested; the server ``broken`` gives none."""
    asked: list[Any] = []

    def list_tools(server: Any, where: str, folder: Path, timeout_s: float) -> list[Any]:
        asked.append((str(server), where, folder, timeout_s))
        if str(server) == "broken":
            raise UsageError("no server")
        return [{"name": "refund", "inputSchema": SCHEMA}]

    monkeypatch.setattr(llm_tools, "list_server_tools", list_tools)
    monkeypatch.setattr(llm_tools, "_LISTED", {})
    return asked


def test_a_server_is_asked_once_for_its_tools_also_if_it_fails(
    node: FakeNode, listings: list[Any], tmp_path: Path
) -> None:
    for _ in range(2):
        (catalogue,) = read_catalogues(given(command="serve", timeout_s=3), node)
        assert catalogue.tools == (REFUND,)
    assert listings == [("serve", "@pytest.mark.llm_tools", tmp_path, 3.0)]
    for _ in range(2):
        with pytest.raises(UsageError, match="no server"):
            read_catalogues(given(command="broken"), node)
    assert len(listings) == 2
    read_catalogues(given(command="serve"), FakeNode(root=tmp_path / "other"))
    assert len(listings) == 3, "in another folder it is another server"


ALL = ToolCatalogue("all", (REFUND, TRACK))
BILLING = ToolCatalogue("billing", (REFUND,), left_out=("track",))
EMPTY = ToolCatalogue("mail", (MAIL,), left_out=("refund", "track"))


def case_of(name: str, tool: Any = "refund", **data: Any) -> Case:
    return Case(id=name, input="?", data={"tool": tool, **data})


def spec(catalogue: object, case: object = None) -> Any:
    return SimpleNamespace(params={"llm_tools": catalogue, "case": case})


def order(*specs: Any) -> tuple[str, list[Any]]:
    kept = list(specs)
    error = MARKER.order_tests(FakeNode(), kept)
    return error, kept


def test_a_question_runs_with_each_catalogue_that_has_its_tool() -> None:
    refund, track, free = case_of("refund"), case_of("track", "track"), case_of("free", None)
    specs = [spec(ALL, refund), spec(ALL, track), spec(BILLING, refund), spec(BILLING, track), spec(BILLING, free)]  # fmt: skip
    error, kept = order(*specs)
    assert error == ""
    assert kept == [specs[0], specs[1], specs[2], specs[4]]
    assert order(spec(ALL), spec(BILLING))[1] == [spec(ALL), spec(BILLING)], "without cases all are kept"


def test_a_question_that_no_catalogue_can_answer_keeps_its_first_test() -> None:
    refund, track = case_of("refund"), case_of("track", "track")
    other = ToolCatalogue("other", (REFUND,), left_out=("track",))
    specs = [spec(BILLING, track), spec(BILLING, refund), spec(other, track), spec(other, refund)]
    assert order(*specs) == ("", [specs[1], specs[3], specs[0]])


def test_a_catalogue_without_a_question_is_an_error() -> None:
    refund = case_of("refund")
    error, kept = order(spec(ALL, refund), spec(EMPTY, refund), spec(EMPTY, case_of("track", "track")))
    assert kept == [spec(ALL, refund)]
    assert error.startswith(f"{TEST}: @pytest.mark.llm_tools: catalogue 'mail': expected a question")
    wrong = [spec(None, refund), spec(ALL, refund)]
    assert order(*wrong) == ("", wrong), "the error of the marker is noted already"


def item_of(catalogue: object, case: object = None) -> Any:
    return SimpleNamespace(callspec=spec(catalogue, case))


def test_a_test_whose_tool_is_left_out_is_skipped() -> None:
    skipped = MARKER.why_skipped(item_of(BILLING, case_of("a\x1b", ["track", "refund"])), Settings())
    assert skipped == "question a\\x1b: no catalogue of the test has track, refund"
    for item in (
        item_of(ALL, case_of("a")),
        item_of(BILLING, case_of("a", {"wrong": "form"})),
        item_of(BILLING),
        item_of(None, case_of("a")),
        SimpleNamespace(),
    ):
        assert MARKER.why_skipped(item, Settings()) == ""


def test_the_facts_of_a_test_are_its_tools_and_what_its_question_expects() -> None:
    facts: Any = MARKER.describe_test(item_of(BILLING, case_of("a")), Settings())
    fingerprint = facts["tools"].pop("fingerprint")
    assert facts == {"tools": {"catalogue": "billing", "tools": ["refund"], "expected": ["refund"]}}
    decoyed = ToolCatalogue("billing", (REFUND,), (MAIL,))
    more: Any = MARKER.describe_test(item_of(decoyed), Settings())["tools"]
    assert (more["decoys"], more["tools"], more["expected"]) == (["mail"], ["refund"], [])
    assert more["fingerprint"] != fingerprint
    assert MARKER.describe_test(item_of(None), Settings()) == {}
    assert MARKER.describe_test(SimpleNamespace(), Settings()) == {}


def test_the_tools_that_a_question_expects_must_exist() -> None:
    assert check_expected_tools(ALL, case_of("a", ["track", "refund"])) == ["track", "refund"]
    assert MARKER.describe_case(item_of(ALL), case_of("a"), Settings()) == {}
    assert MARKER.describe_case(item_of(None), case_of("a", "refnd"), Settings()) == {}
    for tool in ("refnd", 7):
        with pytest.raises(UsageError, check=check_message):
            MARKER.describe_case(item_of(ALL), case_of("a", tool), Settings())


def reply(*calls: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages of a conversation in which a model called tools."""
    made = [
        {
            "id": str(number),
            "type": "function",
            "function": {"name": name, "arguments": json.dumps(arguments)},
        }
        for number, (name, arguments) in enumerate(calls)
    ]
    return [{"role": "user", "content": "?"}, {"role": "assistant", "content": None, "tool_calls": made}]


MARKED = MarkedTools("all", (REFUND, TRACK))


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize(
    ("calls", "case", "value"),
    [
        ([("refund", {"id": "7"})], case_of("a"), 1.0),
        ([("refund", {"id": "7"})], case_of("a", arguments={"id": "7"}), 1.0),
        ([("refund", {"id": "8"})], case_of("a", arguments={"id": "7"}), 0.0),
        ([("refund", {"id": "8", "x": 1})], case_of("a", arguments={"id": "8"}), 1.0),
        ([("track", {"id": "7"})], case_of("a"), 0.0),
        ([("track", {}), ("refund", {"id": "7"})], case_of("a", ["refund", "track"], arguments=[{"id": "7"}, None]), 1.0),
        ([("track", {}), ("refund", {"id": "7"})], case_of("a", ["refund", "track"], arguments=[None, {"id": "7"}]), 0.0),
        ([("refund", {}), ("track", {})], case_of("a"), 0.0),
        ([], case_of("a", None), 1.0),
        ([("refund", {})], case_of("a", None), 0.0),
        ([("refund", {"id": 7})], case_of("a"), 0.0),
    ],
)  # fmt: skip
def test_the_choice_of_a_model_is_measured(calls: Any, case: Case, value: float) -> None:
    measured = MARKED.check(reply(*calls), case, at_least=None, label="first")
    assert (measured.name, measured.value, measured.threshold) == ("tools.calls", value, None)
    assert measured.label == "first"


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("never", ["tr*", ["mail", "track"]])
def test_a_tool_that_must_not_be_called_fails_the_test_in_any_case(never: Any) -> None:
    with pytest.raises(MeasurementFailed):
        MARKED.check(reply(("refund", {}), ("track", {})), case_of("a", never=never), at_least=None)
    assert MARKED.check(reply(("refund", {})), case_of("a", never=never)).value == 1.0


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize(
    "case",
    [
        Case(id="a", input="?"),
        case_of("a", arguments=7),
        case_of("a", arguments=[{}, {}]),
        case_of("a", arguments=["x"]),
        case_of("a", None, arguments={"id": "7"}),
        case_of("a", ["refund", "track"], arguments={"id": "7"}),
        case_of("a", never=7),
        case_of("a", never=["x", ""]),
        case_of("a", never=["x", 7]),
    ],
)
def test_a_case_of_a_wrong_form_is_refused(case: Case) -> None:
    with pytest.raises(UsageError, check=check_message):
        MARKED.check(reply(("refund", {})), case)
