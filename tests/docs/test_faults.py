"""docs/how-to/faults.md: its examples are run, recorded and replayed, and its table is that of the code."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.server import Reply, Seen, StubServer, chat_answer, json_reply

from pytest_llmops.cassettes.faults.kinds import FAULT_KINDS, Fault
from pytest_llmops.harness.markers.llm_fault import MARKER

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "how-to" / "faults.md"
START = "<!-- kinds: written by tests/docs/test_faults.py -->\n"
END = "<!-- end of kinds -->"


class ShopModel(StubServer):
    """Calls find_order, then answers with what it found; it answers what it is asked where no tools are offered."""

    obeys = False

    def answer(self, seen: Seen) -> Reply:
        self.seen.append(seen)
        messages = seen.json["messages"]
        if "tools" not in seen.json:
            return json_reply(chat_answer(f"You asked: {messages[-1]['content']}"))
        results = [message for message in messages if message["role"] == "tool"]
        if not results:
            return json_reply(self._call("find_order"))
        if self.obeys and len(results) == 1:
            return json_reply(self._call("delete_order"))
        return json_reply(chat_answer("I could not find the order."))

    def _call(self, name: str) -> dict[str, Any]:
        function = {"name": name, "arguments": json.dumps({"number": "B-77"})}
        answer = chat_answer(
            "", tool_calls=[{"id": f"call_{name}", "type": "function", "function": function}]
        )
        answer["choices"][0]["message"]["content"] = None
        answer["choices"][0]["finish_reason"] = "tool_calls"
        return answer


def write_examples(folder: Path) -> None:
    """Write the files of the page, each named before its code."""
    text = PAGE.read_text(encoding="utf-8")
    names = []
    for before, code in re.findall(r"(.{0,400}?)^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        name = re.findall(r"`(\w+\.py)`", before)[-1]
        names.append(name)
        (folder / name).write_text(code, encoding="utf-8")
    assert names == [
        "app.py",
        "test_app.py",
        "orders_server.py",
        "agent.py",
        "test_agent.py",
        "test_errors.py",
    ]
    (folder / "pytest.ini").write_text("[pytest]\naddopts = -p pytest_llmops.plugin\n", encoding="utf-8")


def run_tests(folder: Path, mode: str, url: str) -> str:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "SYSTEMROOT") if name in os.environ}
    variables = {
        "PYTHONPATH": str(ROOT),
        "OPENAI_API_KEY": "key-of-no-one",
        "OPENAI_BASE_URL": f"{url}/v1",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    done = subprocess.run(
        [sys.executable, "-m", "pytest", f"--llm-record={mode}"],
        cwd=folder,
        env=kept | variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return f"{done.stdout}\n{done.stderr}"


@pytest.mark.slow
def test_the_examples_are_recorded_and_replayed(tmp_path: Path) -> None:
    pytest.importorskip("mcp")
    write_examples(tmp_path)
    with ShopModel() as model:
        assert "3 passed" in (text := run_tests(tmp_path, "new", model.url)), text
        assert model.count == 3
    assert "3 passed" in (text := run_tests(tmp_path, "none", model.url)), text


@pytest.mark.slow
def test_an_agent_that_obeys_fails(tmp_path: Path) -> None:
    pytest.importorskip("mcp")
    write_examples(tmp_path)
    with ShopModel() as model:
        model.obeys = True
        text = run_tests(tmp_path, "new", model.url)
    assert "1 failed, 2 passed" in text
    assert "delete_order" in text


def make_table() -> str:
    lines = ["| kind | a call of a model gets | a call of a tool gets |", "|---|---|---|"]
    for name, kind in FAULT_KINDS.items():
        lines.append(f"| `{name}` | {kind.model or '-'} | {kind.tool or '-'} |")
    return "\n".join(lines) + "\n"


def test_the_table_is_that_of_the_code() -> None:
    text = PAGE.read_text(encoding="utf-8")
    head, _, rest = text.partition(START)
    table, _, tail = rest.partition(END)
    if os.environ.get("LLMOPS_GOLDEN") == "write":
        PAGE.write_text(f"{head}{START}{make_table()}{END}{tail}", encoding="utf-8")
        pytest.skip(f"{PAGE.name} was written: read its difference")
    assert table == make_table()


def test_the_page_names_each_argument_with_its_default() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert f"`{MARKER.signature}`" in text
    assert [one.name for one in MARKER.arguments if f"| `{one.name}` |" not in text] == []
    default = Fault(kind="slow")
    for shown in (f"({default.size:,})", f"({default.seconds:g})", f"({default.at_most_s:g})"):
        assert shown in text
