"""The README typed in as it stands, and every Python block of the documents compiled."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path

import pytest
from support.example_runs import EXAMPLES
from support.server import Reply, Seen, StubServer, chat_answer, json_reply

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    "README.md",
    "CONTRIBUTING.md",
    "examples/README.md",
    *(path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").rglob("*.md"))),
]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


class Informed(StubServer):
    """A model that answers with its system message."""

    def answer(self, seen: Seen) -> Reply:
        super().answer(seen)
        return json_reply(chat_answer(seen.json["messages"][0]["content"]))


def test_the_readme_typed_in(reader: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files and commands as they stand: recorded with a key, replayed without, missed, accepted, compared."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = [block for language, block in BLOCK.findall(text) if language in ("python", "csv")]
    commands = re.findall(r"^ {4}pytest(?: +(.*?))?(?: +#.*)?$", text, re.MULTILINE)
    recording, accepting, again, reporting = map(shlex.split, commands)
    for name, block in zip(("shop.py", "cases.csv", "test_shop.py"), blocks, strict=True):
        (reader.path / name).write_text(block, encoding="utf-8")
    shop = reader.path / "shop.py"
    with Informed() as server:
        (reader.path / "pytest.ini").write_text(f"[pytest]\nllm_base_url = {server.url}/v1\n")
        monkeypatch.setenv("OPENAI_API_KEY", "sk-of-a-user-1234567890abcdef")
        reader.runpytest_inprocess(*recording).assert_outcomes(passed=2)
        monkeypatch.delenv("OPENAI_API_KEY")
        reader.runpytest_inprocess(*accepting).assert_outcomes(passed=2)
        assert server.count == 2
        shop.write_text(blocks[0].replace("one sentence", "two sentences"), encoding="utf-8")
        missed = reader.runpytest_inprocess()
        missed.assert_outcomes(errors=2)
        documented = {
            line.strip() for line in text.partition("CassetteMiss: ")[2].partition("\n\n")[0].splitlines()[1:]
        }
        assert documented - {line.removeprefix("E").strip() for line in missed.outlines} == set()
        compared = reader.runpytest_inprocess(*again)
        compared.assert_outcomes(passed=2)
        compared.stdout.fnmatch_lines(
            ["edited *", "PASS      2 of 2 tests passed. Too few cases for a verdict: *"]
        )
        assert server.count == 4
    reader.runpytest_inprocess(*reporting).assert_outcomes(passed=2)
    assert (reader.path / "report.html").is_file()


def test_the_readme_fits_on_two_screens() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 130


class Judging(StubServer):
    """A judge's model that passes what says please."""

    def answer(self, seen: Seen) -> Reply:
        super().answer(seen)
        sent = next(row["content"] for row in seen.json["messages"] if row["content"].startswith("<data-"))
        nonce = sent.partition("<data-")[2].partition(">")[0]
        score = 5 if "please" in sent else 1
        graded: dict[str, object] = {"score": score}
        if "accuracy" in json.dumps(seen.json):
            graded = {"dimensions": dict.fromkeys(("accuracy", "fluency", "relevance"), 2 * score)}
        return json_reply(chat_answer(json.dumps({"nonce": nonce, "reason": "as it says", **graded})))


def label_lines(count: int) -> str:
    """Labels as the document shows them, each of another answer."""
    text = (ROOT / "docs/how-to/calibration.md").read_text(encoding="utf-8")
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


def test_the_first_calibration(reader: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first example, its labels, and the example of the record, as the document has them."""
    blocks = BLOCK.findall((ROOT / "docs/how-to/calibration.md").read_text(encoding="utf-8"))
    python = [block for language, block in blocks if language == "python"]
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-a-user-1234567890abcdef")
    for folder in ("labels", "rubrics"):
        (reader.path / folder).mkdir()
    (reader.path / "labels/refunds.jsonl").write_text(label_lines(60), encoding="utf-8")
    (reader.path / "test_judge.py").write_text(python[0], encoding="utf-8")
    with Judging() as server:
        url = f"{server.url}/v1"
        run = ("--llm-judge", "--llm-judge-model=YOUR_MODEL", f"--llm-base-url={url}")
        reader.runpytest_inprocess(*run, "--llm-record=new").assert_outcomes(passed=1)
        assert server.count == 60
        rubric = "---\nkind: rubric\nscale: 1-5\nlevels: {1-3: Rude., 4-5: Friendly.}\npass_at: 4\n---\nFriendly?\n"
        (reader.path / "rubrics/polite.md").write_text(rubric, encoding="utf-8")
        (reader.path / "labels/polite.jsonl").write_text(label_lines(60), encoding="utf-8")
        monkeypatch.setenv("OPENAI_BASE_URL", url)
        monkeypatch.setenv("LLMOPS_JUDGE_MODEL", "YOUR_MODEL")
        done = reader.run(sys.executable, "-c", python[1])
        assert (done.ret, done.outlines[0]) == (0, "True 1.0 None")
        made = reader.run(
            sys.executable, "-m", "pytest_llmops", "judge", "calibrate", "rubrics/polite.md", "labels/polite.jsonl",
            "--record", "new", "--out", "rubrics/polite.calibration.json",
        )  # fmt: skip
        assert made.ret == 0
    replayed = reader.runpytest_inprocess(*run)
    replayed.assert_outcomes(passed=1)


def test_python_blocks_of_contributing_compile() -> None:
    """Those of all other pages are run: test_snippets.py."""
    for language, block in BLOCK.findall((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")):
        if language == "python":
            compile(block, "CONTRIBUTING.md", "exec")


def test_make_targets_of_the_documents_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for name in DOCUMENTS:
        text = (ROOT / name).read_text(encoding="utf-8")
        # As a command: in backquotes, or at the start of an indented line.
        for target in re.findall(r"(?:`|^ {4,})make ([a-z0-9-]+)", text, re.MULTILINE):
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
