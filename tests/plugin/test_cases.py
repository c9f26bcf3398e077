"""The marker `cases` beyond plain files: splits, samples, types, files in messages, and outputs that were given already."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest
from support.page import read_data
from support.project import Project
from support.server import chat_answer, json_reply

ROWS = [
    {"id": f"c{number}", "input": f"question {number}", "split": split, "days": number}
    for number, split in enumerate(["train", "train", "test", "test", "dev"])
]
PRODUCTION = {
    "id": "late",
    "input": "May I return it?",
    "output": "Within 45 days.",
    "calls": [
        {"model": "m", "latency_s": 0.5, "cost_usd": 0.25, "usage": {"input_tokens": 90, "output_tokens": 10}}
    ],
}
IMAGE = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4
VISION = """
import os, pytest
from openai import OpenAI
from pytest_llmops import assert_contains

@pytest.mark.llm_cassette
@pytest.mark.cases("c.jsonl")
def test_a(case, llm_calls):
    client = OpenAI(api_key="k", base_url=os.environ.get("OPENAI_BASE_URL"))
    messages = [{"role": "user", "content": case.parts()}]
    reply = client.chat.completions.create(model="stub-1", messages=messages)
    assert_contains(reply.choices[0].message.content, "never said")
"""


def lines(*rows: dict[str, Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_splits_samples_and_types(project: Project, workers: int) -> None:
    project.write(
        **{
            "c.jsonl": lines(*({**row, "tags": ["smoke", row["id"]]} for row in ROWS)),
            "test_a.py": """
import pytest
from pydantic import BaseModel

class Days(BaseModel):
    days: int

@pytest.mark.cases("c.jsonl", split="test", model=Days)
def test_a(case):
    assert case.typed.days == case["days"] and case.split == "test"

@pytest.mark.cases("c.jsonl", split="train", sample=1, seed=3)
def test_b(case): pass

@pytest.mark.cases("c.jsonl", split="test", tags=["smoke", "c3"])
def test_tagged(case): pass
""",
        }
    )
    result = project.run(workers=workers)
    assert result.outcomes == {"passed": 4}
    assert set(result.records) >= {"test_a[c2]", "test_a[c3]", "test_tagged[c3]"}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("", "2 of 5 cases are training data (such as 'c0'"),
        (", split='tset'", "did you mean 'test'?"),
        (", split=3", "split as a text"),
        (", split='test', tags='smoke'", "tags as a list of texts"),
        (", split='test', tags=['smoke']", "unknown tag 'smoke'"),
        (", sample='3'", "sample and seed as whole numbers"),
        (", split='test', sample=0", "expected a number of cases of at least 1"),
        (", split='test', model=int", "model as a pydantic model"),
        (", split='test', model=Model", "days: "),
    ],
)
def test_training_data_and_wrong_arguments_are_errors(
    project: Project, arguments: str, expected: str
) -> None:
    project.write(
        **{
            "c.jsonl": lines(*({**row, "days": "soon"} for row in ROWS)),
            "test_a.py": f"""
import pytest
from pydantic import BaseModel

class Model(BaseModel):
    days: int

@pytest.mark.cases("c.jsonl"{arguments})
def test_a(case): pass
""",
        }
    )
    result = project.bare("-rE")
    assert result.exit != 0
    assert expected in result.text
    assert "test_a.py::test_a" in result.text


def test_an_output_is_scored_without_calling_the_application(project: Project) -> None:
    project.write(
        **{
            "c.jsonl": lines(PRODUCTION, {**PRODUCTION, "id": "slow", "output": "Soon."}),
            "test_a.py": """
import pytest
from pytest_llmops import assert_contains, assert_cost, assert_latency, assert_tokens

@pytest.mark.cases("c.jsonl")
def test_a(case, llm_calls):
    assert [call.output for call in llm_calls] == [case.output]
    assert_latency(at_most_s=1)
    assert_cost(at_most_usd=0.5)
    assert_tokens(at_most_tokens=100)
    assert_contains(case.output, "45 days")
""",
        }
    )
    result = project.run()
    assert result.outcomes == {"passed": 1, "failed": 1}
    record = result.records["test_a[late]"]
    assert [(call.model, call.latency_s, call.cost_usd) for call in record.calls] == [("m", 0.5, 0.25)]
    assert {measurement.name: measurement.value for measurement in record.measurements} == {
        "calls.latency.max": 0.5, "calls.cost": 0.25, "calls.tokens": 100, "text.contains": 1,
    }  # fmt: skip
    assert project.server.count == 0


def test_files_are_in_the_message_their_hash_in_the_recording_and_the_image_on_the_page(
    project: Project,
) -> None:
    project.write(
        **{
            "c.jsonl": lines({"id": "a", "input": "What is it?", "files": ["img/a.png"]}),
            "test_a.py": VISION,
        }
    )
    (project.path / "img").mkdir()
    (project.path / "img/a.png").write_bytes(IMAGE)
    encoded = base64.b64encode(IMAGE).decode()
    project.server.queue.append(json_reply(chat_answer("An image.")))
    recorded = project.record()
    assert recorded.outcomes == {"failed": 1}
    assert encoded in project.server.seen[0].body.decode()
    replayed = project.run("--llm-report=r.html")
    assert replayed.outcomes == {"failed": 1}
    assert project.server.count == 1
    (cassette,) = project.cassettes().values()
    for text in (cassette.decode(), replayed.text):
        assert encoded[:60] not in text
    page = read_data((project.path / "r.html").read_text(encoding="utf-8"))
    assert page["media"] == [
        {
            "label": "[image: png, 1 KB]",
            "kind": "image",
            "why": "",
            "address": f"data:image/png;base64,{encoded}",
        }
    ]
    assert page["cases"][0]["media"] == {"input": [0], "output": []}
    digest = hashlib.sha256(IMAGE).hexdigest()
    assert f"base64,sha256:{digest}" in cassette.decode()
    assert replayed.run.records[0].fact("case")["files"] == {"img/a.png": digest}
    (project.path / "img/a.png").write_bytes(IMAGE + b"another")
    assert "CassetteMiss" in project.run().text


@pytest.mark.parametrize("workers", [0], indirect=True, ids=["n0"])
def test_the_path_and_the_line_of_a_case_are_facts_of_its_test(project: Project, workers: int) -> None:
    test = 'import pytest\n@pytest.mark.cases("{}")\ndef test_{}(case):\n    pass\n'
    project.write(
        **{
            "cases/c.csv": "id,input\nlate,May I?\n",
            "tests/unit/test_a.py": test.format("../../cases/c.csv", "above"),
            "tests/unit/test_b.py": test.format("builtin:pii", "package"),
        }
    )
    records = project.run("-k", "test_above", workers=workers).run.records
    (case,) = [record.fact("case") for record in records]
    assert (case["file"], case["path"], case["line"]) == ("../../cases/c.csv", "cases/c.csv", 2)
    package = project.run("-k", "test_package").run.records[0].fact("case")
    assert package["file"] == "builtin:pii"
    assert not {"path", "line"} & package.keys()


def test_rows_without_an_id_are_said_once(project: Project, workers: int) -> None:
    test = (
        'import pytest\n@pytest.mark.cases("{}")\ndef test_{}(case):\n    assert case.reference == "Yes."\n'
    )
    project.write(
        **{
            "a.csv": "question,ground_truth\nMay I?,Yes.\nOr you?,Yes.\nMay I?,Yes.\n",
            "b.jsonl": lines({"qid": 7, "prompt": "x", "target": "Yes."}),
            "test_a.py": test.format("a.csv", "a") + test.format("a.csv", "b") + test.format("b.jsonl", "c"),
        }
    )
    result = project.run(workers=workers)
    assert result.outcomes == {"passed": 5}
    assert set(result.records) >= {"test_c[7]", "test_a[may-i-7816b1eedf6c]", "test_b[or-you-421d3ad1ad8e]"}
    (note,) = [line for line in result.text.splitlines() if "a.csv: 2 cases have no id" in line]
    assert "1 row that repeats another one was left out" in note
    assert not any("b.jsonl:" in line for line in result.text.splitlines())
