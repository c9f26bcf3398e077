"""Compressed requests of other programs: through `llm_proxy`, and of a Python process that the test starts."""

from __future__ import annotations

import gzip
import json

from support.project import Project
from support.server import chat_answer, json_reply

SECRET = "sk-proj-" + "Zq8Xw2Lr9Tb4Kc7V" * 3
PROGRAM = """
import gzip, json, sys, urllib.request

url, mtime = sys.argv[1], int(sys.argv[2])
content = json.dumps({"model": "stub-1", "messages": [{"role": "user", "content": "my key is SECRET"}]})
headers = {"content-type": "application/json", "content-encoding": "gzip"}
request = urllib.request.Request(url + "/chat/completions", gzip.compress(content.encode(), mtime=mtime), headers)
with urllib.request.urlopen(request) as answer:
    print(answer.read().decode())
""".replace("SECRET", SECRET)
TEST = """
import os, subprocess, sys, time

def run_program(*options):
    # Each run compresses in another way, as the time is a part of gzip.
    command = [sys.executable, *options, "program.py", os.environ["OPENAI_BASE_URL"], str(int(time.time()) + os.getpid())]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout

def test_proxy(llm_proxy):
    assert "the answer" in run_program("-I")

def test_child(llm_calls):
    assert "the answer" in run_program()
    assert [call.model for call in llm_calls] == ["stub-1"]
"""


def test_compressed_requests_of_programs_are_matched_by_their_content(project: Project) -> None:
    project.write(**{"program.py": PROGRAM, "test_a.py": TEST})
    for _ in range(2):
        project.server.queue.append(json_reply(chat_answer("the answer")))
    assert project.record().outcomes == {"passed": 2}
    sent = [json.loads(gzip.decompress(seen.body)) for seen in project.server.seen]
    assert [request["messages"][0]["content"] for request in sent] == [f"my key is {SECRET}"] * 2
    assert {seen.headers["content-encoding"] for seen in project.server.seen} == {"gzip"}
    cassettes = project.cassettes()
    assert len(cassettes) == 2
    for data in cassettes.values():
        assert b"my key is [secret]" in data
        assert SECRET.encode() not in data
    assert project.run().outcomes == {"passed": 2}
    assert project.server.count == 2
