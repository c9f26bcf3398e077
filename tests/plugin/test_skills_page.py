"""The examples of docs/how-to/skills.md, with a scripted model and judge, and a script in place of Claude Code."""

from __future__ import annotations

import json
import os
import re
import sys

import pytest
from support.fences import read_files
from support.git import commit
from support.project import INI, Project
from support.server import Reply, Seen, chat_answer, json_reply

EXAMPLES = ("test_refunds.py", "test_refunds_agent.py")
HEAD = "---\nname: refunds\ndescription: Refunds.\n---\n"
CLAUDE = f"""#!{sys.executable}
import pathlib, sys
assert sys.argv[1] == "-p", sys.argv
skills = [path.read_text() for path in pathlib.Path(".claude/skills").glob("*/SKILL.md")]
print("echo of", *skills)
"""


def answer(seen: Seen) -> Reply:
    """Repeat what the model was given; as a judge, pass the items that an answer with the 30 days fulfils."""
    messages = seen.json["messages"]
    text = messages[-1]["content"]
    if "response_format" not in seen.json:
        return json_reply(chat_answer(f"echo of {messages[0]['content']}"))
    [(nonce, data)] = re.findall(r"<data-([0-9a-f]{32})>\n(.*)\n</data-\1>", text, re.DOTALL)
    fields = seen.json["response_format"]["json_schema"]["schema"]["properties"]
    reply = "no"
    if "30 days" in json.loads(data)["answer"]:
        reply = "yes"
    items = dict.fromkeys(fields["items"]["properties"], reply)
    verdict = {"nonce": nonce, "reason": "known", "items": items}
    return json_reply(chat_answer(json.dumps(verdict)))


@pytest.mark.parametrize("example", EXAMPLES, ids=["in-process", "own-process"])
def test_an_example_of_the_page_scores_each_arm(
    project: Project, monkeypatch: pytest.MonkeyPatch, example: str
) -> None:
    files = read_files("how-to/skills")
    monkeypatch.setattr(project.server, "answer", answer)
    monkeypatch.setenv("ANTHROPIC_BASE_URL", project.server.url)
    monkeypatch.setenv("PATH", f"{project.path}/bin", prepend=os.pathsep)
    project.write(**{"bin/claude": CLAUDE})
    (project.path / "bin/claude").chmod(0o755)
    project.write(
        **{"pytest.ini": INI + "llm_clients = claude-agent codex\n", "test_refunds.py": files[example]}
    )
    evals = "skills/refunds/evals/evals.json"
    project.write(**{evals: files[evals]})
    commit(project.path, "first", **{"skills/refunds/SKILL.md": f"{HEAD}Be kind.\n"})
    project.write(**{"skills/refunds/SKILL.md": f"{HEAD}Within 30 days.\n"})
    result = project.record()
    assert {
        name: [item.value for item in record.measurements] for name, record in result.records.items()
    } == {
        "test_refunds[1-without]": [0.0],
        "test_refunds[1-old]": [0.0],
        "test_refunds[1-new]": [1.0],
    }, result.text
    assert project.run().outcomes == {"passed": 3}
