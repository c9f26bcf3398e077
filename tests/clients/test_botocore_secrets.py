"""botocore sends secrets in names, texts and its signature; nothing that the run wrote holds one."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from support.matrix import PYTHON, environment, missing
from support.named_secrets import KINDS, find_leaks, texts
from support.page import unpack_report
from support.server import Reply, Seen, StubServer, json_reply

TESTS = """
import json, logging, os
import botocore.session, pytest

@pytest.mark.llm_cassette
def test_converse():
    session = botocore.session.get_session()
    client = session.create_client("bedrock-runtime", endpoint_url=os.environ["STUB"], region_name="eu-central-1",
        aws_access_key_id="AKIA" + "STUBSTUBSTUBSTUB", aws_secret_access_key="not-sent-" + "x" * 20, aws_session_token=os.environ["SESSION"])
    given = json.loads(os.environ["GIVEN"])
    answers = []
    for text in given:
        answer = client.converse(modelId="stub", messages=[{"role": "user", "content": [{"text": text}]}])
        answers.append(answer["output"]["message"]["content"][0]["text"])
    assert len(answers) == len(given)
    print(answers)
    logging.getLogger("app").warning("said %s", answers)
    raise RuntimeError(answers)
"""


class Bedrock(StubServer):
    """Sends back the request it got, with its headers."""

    def answer(self, seen: Seen) -> Reply:
        self.seen.append(seen)
        echo = json.dumps({"headers": dict(seen.headers), "body": seen.body.decode()})
        return json_reply(
            {
                "output": {"message": {"role": "assistant", "content": [{"text": echo}]}},
                "stopReason": "end_turn",
                "usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2},
                "metrics": {"latencyMs": 1},
            }
        )


def test_botocore_leaves_no_secret_behind(tmp_path: Path) -> None:
    reason = missing()
    if reason and os.environ.get("LLMOPS_REQUIRE_CLIENTS"):
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
    (tmp_path / "test_planted.py").write_text(TESTS, encoding="utf-8")
    session = KINDS["request header"]["X-Amz-Security-Token"]
    named = [json.dumps(KINDS[place]) for place in ("request JSON", "answer JSON")]
    with Bedrock() as server:
        done = subprocess.run(
            [str(PYTHON), "-m", "pytest", "-p", "pytest_llmops.plugin", "--llm-record=new", "-l", "-vv", "--log-file=log.txt", "--log-level=DEBUG",
             "--junitxml=report.xml", "--llm-report=report.html", "test_planted.py"],
            cwd=tmp_path,
            env={**environment(tmp_path), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "STUB": server.url, "SESSION": session,
                 "GIVEN": json.dumps([*texts().values(), *named])},
            capture_output=True,
            timeout=120,
            check=False,
        )  # fmt: skip
        signatures = {seen.headers["authorization"].rpartition("Signature=")[2] for seen in server.seen}
    assert done.returncode == 1, done.stdout[-3000:].decode()
    files = {
        path.relative_to(tmp_path).as_posix(): unpack_report(path.name, path.read_bytes())
        for path in tmp_path.rglob("*")
        if path.is_file()
    }
    files = {
        name: data for name, data in files.items() if name != "test_planted.py" and "__pycache__" not in name
    }
    files["terminal"] = done.stdout + done.stderr
    assert {"log.txt", "report.xml", "report.html"} <= set(files)
    assert any(name.startswith("cassettes/") for name in files)
    leaks = list(find_leaks(files))
    assert not leaks, "\n".join(leaks[:30])
    assert len(signatures) > 1
    assert not [
        name for name, data in files.items() for signature in signatures if signature.encode() in data
    ]
