"""``llmops cases from-traces``: a queue of conversations without secrets, the same bytes for the same input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.messages import check_message
from support.planted import SECRETS

from pytest_llmops import cli
from pytest_llmops.production.review_queue import read_queue


def row(number: int, question: str, answer: str, **more: object) -> dict[str, object]:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": question}]
    texts = {
        "input": json.dumps({"messages": messages}),
        "output": json.dumps({"role": "assistant", "content": answer}),
    }
    return {"id": f"s{number}", "trace_id": f"t{number}", "type": "GENERATION", **texts, **more}


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(traced_row) + "\n" for traced_row in rows))
    return path


def test_conversations_go_into_the_queue_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    traces = write(tmp_path / "a.jsonl", row(1, "Open on Sunday?", "Yes."), row(2, "Ship to Malta?", "No."))
    queue = tmp_path / "cases" / "queue.jsonl"
    command = ["cases", "from-traces", str(traces), "--queue", str(queue)]
    assert cli.main(command) == 0
    check_message(capsys.readouterr().out)
    before = queue.read_bytes()
    assert [(entry.input, entry.output, entry.reason) for entry in read_queue(queue)] == [
        ("Open on Sunday?", "Yes.", "trace"),
        ("Ship to Malta?", "No.", "trace"),
    ]
    assert cli.main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"new": 0, "merged": 2, "left_out": {}}
    assert queue.read_bytes() == before


def test_what_is_left_out_is_reported_by_the_exit_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    traces = write(tmp_path / "a.jsonl", row(1, "Open?", "Yes."), {"id": "2", "type": "GENERATION"})
    assert cli.main(["cases", "from-traces", str(traces), "--queue", str(tmp_path / "queue.jsonl")]) == 1
    check_message(capsys.readouterr().out)


@pytest.mark.slow
@pytest.mark.parametrize(
    "text", ["", '{"data": []}', '{"id": "1", "type": "SPAN"}', '{"type": "GENERATION"}', '{"data": [{']
)
def test_without_a_conversation_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    traces = tmp_path / "a.json"
    traces.write_text(text)
    assert cli.main(["cases", "from-traces", str(traces), "--queue", str(tmp_path / "queue.jsonl")]) == 2
    check_message(capsys.readouterr().err)
    assert list(tmp_path.iterdir()) == [traces]


PERSONAL = {
    "e-mail address": "anna.b+shop@mail.example.com",
    "card": "4111 1111 1111 1111",
    "card of another brand": "3782-822463-10005",
    "card without blanks": "5500005555555559",
    "IBAN": "DE89 3704 0044 0532 0130 00",
    "IBAN without blanks": "gb42nawi04454264788619",
    "US SSN": "460-89-9847",
    "IPv4": "106.31.73.20",
    "IPv6": "2001:db8:1::8",
    "phone": "+44 20 7946 0958",
    "phone of the US": "(212) 736-5000",
    "phone behind a word": "78 651 450",
}


@pytest.mark.slow
@pytest.mark.parametrize("source", ["from-traces", "from-feedback"])
def test_no_planted_personal_data_is_in_the_queue(tmp_path: Path, source: str) -> None:
    rows = []
    for number, (kind, planted) in enumerate(PERSONAL.items()):
        output = f"{kind}, you can call me: {planted}"
        call = {
            "id": "c",
            "function": {"name": "f", "arguments": json.dumps({"note": f"{output}\ncall {planted}"})},
        }
        messages = [
            {"role": "user", "content": f"{number}: {output}"},
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": json.dumps({f"phone {planted}": output})},
        ]
        lines = {"question": f"{number}: {output}", "answer": output, "thumb": "down", "comment": output}
        traced = row(number, "", f"Call {planted}?", input=json.dumps({"messages": messages}))
        rows.append(
            traced if source == "from-traces" else {**lines, "corrected": f"{output}.", "tags": [output]}
        )
    queue = tmp_path / "queue.jsonl"
    given = str(write(tmp_path / "a.jsonl", *rows))
    assert cli.main(["cases", source, given, "--queue", str(queue)]) == 0
    text = queue.read_text()
    assert [kind for kind, planted in PERSONAL.items() if planted in text] == []
    assert len(read_queue(queue)) == len(PERSONAL)
    before = queue.read_bytes()
    cli.main(["cases", source, given, "--queue", str(queue)])
    assert queue.read_bytes() == before


@pytest.mark.slow
def test_no_planted_secret_is_in_the_queue(tmp_path: Path) -> None:
    secrets = list(SECRETS.values())[:30]
    rows = []
    for number, secret in enumerate(secrets):
        call = {"id": "c", "function": {"name": "f", "arguments": json.dumps({"key": secret})}}
        messages = [
            {"role": "system", "content": f"Use {secret}"},
            {"role": "user", "content": f"Question {number}: is {secret} right?"},
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": json.dumps({"token": secret})},
        ]
        tool = {"type": "function", "function": {"name": "f", "description": f"Takes {secret}"}}
        texts = {
            "input": json.dumps({"messages": messages, "tools": [tool]}),
            "provided_model_name": f"m {secret}",
        }
        rows.append(row(number, "", f"It is {secret}.", **texts))
    queue = tmp_path / "queue.jsonl"
    assert (
        cli.main(["cases", "from-traces", str(write(tmp_path / "a.jsonl", *rows)), "--queue", str(queue)])
        == 0
    )
    text = queue.read_text()
    assert len(read_queue(queue)) == len(secrets) == 30
    assert [secret for secret in secrets if secret in text] == []
    assert text.count("[secret]") >= 7 * len(secrets)
