"""The README's five minutes, typed in as they stand, and every Python block of the documents compiled."""

from __future__ import annotations

import json
import re
import sys
import textwrap
from pathlib import Path

import pytest
from support.server import Reply, Seen, StubServer, chat_answer, json_reply

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    "README.md",
    "CONTRIBUTING.md",
    "docs/calibration.md",
    "docs/chunks.md",
    "docs/embedders.md",
    "docs/judges.md",
    "docs/meaning.md",
    "docs/recording.md",
    "docs/retrieval.md",
    "docs/stores.md",
    "docs/text.md",
    "examples/README.md",
]
EXAMPLES = ["handbook_rag", "judge_check", "plain_openai", "support_bot"]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def indented(text: str, after: str) -> str:
    """The indented block that follows a line of the README."""
    rest = text.partition(after)[2].lstrip("\n")
    lines = []
    for line in rest.split("\n"):
        if line and not line.startswith("       "):
            break
        lines.append(line)
    return textwrap.dedent("\n".join(lines)).strip() + "\n"


def test_five_minutes(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    prompt = indented(text, "Write a prompt, `prompts/greet/v1.md`:")
    test = indented(text, "Write a test, `test_greet.py`:")
    config = indented(text, "so that nobody has to repeat it:")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-a-user-1234567890abcdef")
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # the others' imports take longer than the runs
    monkeypatch.setenv("PYTEST_PLUGINS", "pytest_llmops.plugin")
    path = pytester.path / "prompts/greet/v1.md"
    path.parent.mkdir(parents=True)
    path.write_text(prompt, encoding="utf-8")
    (pytester.path / "test_greet.py").write_text(test, encoding="utf-8")
    with StubServer() as server:
        url = f"--llm-base-url={server.url}/v1"
        done = pytester.runpytest_subprocess("--llm-record=new", "--llm-model=YOUR_MODEL", url)
        # The stub echoes the question, which does not name the city: the test sees a wrong answer.
        done.assert_outcomes(failed=1)
        done.stdout.fnmatch_lines(["*MeasurementFailed: text.contains 0.00 < 1.00*"])
        assert server.count == 1
    monkeypatch.delenv("OPENAI_API_KEY")
    (pytester.path / "pyproject.toml").write_text(config, encoding="utf-8")
    replayed = pytester.runpytest_subprocess("--llm-base-url=http://127.0.0.1:1/v1", "-k", "capital")
    replayed.assert_outcomes(failed=1)
    replayed.stdout.fnmatch_lines(["*cassettes/test_greet/test_capital.json*"])
    path.write_text(prompt.replace("one sentence", "one word"), encoding="utf-8")
    missed = pytester.runpytest_subprocess("--llm-base-url=http://127.0.0.1:1/v1")
    missed.assert_outcomes(errors=1)
    missed.stdout.fnmatch_lines(
        [
            "*CassetteMiss: no recording answers POST*",
            "*cassette  cassettes/test_greet/test_capital.json",
            "*- messages[[]0].content: Answer in one sentence.",
            "*+ messages[[]0].content: Answer in one word.",
            "*pytest test_greet.py::test_capital --llm-base-url=http://127.0.0.1:1/v1 --llm-record=new",
        ]
    )


class Judging(StubServer):
    """A judge's model that passes what says please."""

    def answer(self, seen: Seen) -> Reply:
        super().answer(seen)
        sent = next(one["content"] for one in seen.json["messages"] if one["content"].startswith("<data-"))
        nonce = sent.partition("<data-")[2].partition(">")[0]
        score = 5 if "please" in sent else 1
        graded: dict[str, object] = {"score": score}
        if "accuracy" in json.dumps(seen.json):
            graded = {"dimensions": dict.fromkeys(("accuracy", "fluency", "relevance"), 2 * score)}
        return json_reply(chat_answer(json.dumps({"nonce": nonce, "reason": "as it says", **graded})))


def label_lines(count: int) -> str:
    """Labels as the document shows them, each of another answer."""
    text = (ROOT / "docs/calibration.md").read_text(encoding="utf-8")
    line = json.loads(re.findall(r"^```json\n(.*?)^```", text, re.MULTILINE | re.DOTALL)[0])
    rows = (
        {
            **line,
            "id": f"{line['id']}-{n}",
            "answer": f"{n}: {'please' if n % 2 else 'no'}",
            "human": n % 2 == 1,
        }
        for n in range(count)
    )
    return "".join(f"{json.dumps(row)}\n" for row in rows)


def test_the_first_calibration(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first example, its labels, and the example of the record, as the document has them."""
    blocks = BLOCK.findall((ROOT / "docs/calibration.md").read_text(encoding="utf-8"))
    python = [block for language, block in blocks if language == "python"]
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-a-user-1234567890abcdef")
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_PLUGINS", "pytest_llmops.plugin")
    for folder in ("labels", "rubrics"):
        (pytester.path / folder).mkdir()
    (pytester.path / "labels/refunds.jsonl").write_text(label_lines(60), encoding="utf-8")
    (pytester.path / "test_judge.py").write_text(python[0], encoding="utf-8")
    with Judging() as server:
        url = f"{server.url}/v1"
        run = ("--llm-judge", "--llm-judge-model=YOUR_MODEL", f"--llm-base-url={url}")
        pytester.runpytest_subprocess(*run, "--llm-record=new").assert_outcomes(passed=1)
        assert server.count == 60
        rubric = "---\nkind: rubric\nscale: 1-5\nlevels: {1-3: Rude., 4-5: Friendly.}\npass_at: 4\n---\nFriendly?\n"
        (pytester.path / "rubrics/polite.md").write_text(rubric, encoding="utf-8")
        (pytester.path / "labels/polite.jsonl").write_text(label_lines(60), encoding="utf-8")
        monkeypatch.setenv("OPENAI_BASE_URL", url)
        monkeypatch.setenv("LLMOPS_JUDGE_MODEL", "YOUR_MODEL")
        done = pytester.run(sys.executable, "-c", python[1])
        assert (done.ret, done.outlines[0]) == (0, "True 1.0 None")
        made = pytester.run(
            sys.executable, "-m", "pytest_llmops", "judge", "calibrate", "rubrics/polite.md", "labels/polite.jsonl",
            "--record", "new", "--out", "rubrics/polite.calibration.json",
        )  # fmt: skip
        assert made.ret == 0
    replayed = pytester.runpytest_subprocess(*run)
    replayed.assert_outcomes(passed=1)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_python_blocks_compile(name: str) -> None:
    for language, block in BLOCK.findall((ROOT / name).read_text(encoding="utf-8")):
        if language == "python":
            compile(block, name, "exec")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name: str) -> None:
    path = ROOT / name
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", path.read_text(encoding="utf-8"))
    assert [link for link in links if not (path.parent / link).exists()] == []


def test_make_targets_of_the_documents_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for name in DOCUMENTS:
        text = (ROOT / name).read_text(encoding="utf-8")
        # As a command: in backquotes, or at the start of an indented line.
        for target in re.findall(r"(?:`|^ {4,})make ([a-z0-9]+)", text, re.MULTILINE):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{name}: make {target}"


@pytest.mark.parametrize(
    "name", [*DOCUMENTS, "Makefile", *(f"examples/{name}/README.md" for name in EXAMPLES)]
)
def test_no_document_names_a_model_that_will_be_shut_down(name: str) -> None:
    """Models come and go each year: the documents say `YOUR_MODEL`, or a name that no provider has."""
    text = (ROOT / name).read_text(encoding="utf-8")
    assert (
        re.findall(r"\b(?:gpt-\d[\w.-]*|o[1-9](?:-mini|-pro)?\b|claude-\d[\w.-]*|gemini-\d[\w.-]*)", text)
        == []
    )
