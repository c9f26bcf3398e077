"""Files that tests name are found from any working directory, also where a module is imported."""

from __future__ import annotations

import pytest
from support.project import Project

RUBRIC = "---\nkind: rubric\nscale: pass/fail\nlevels: {pass: good, fail: bad}\n---\nIs it {word}?\n"
TEST = """
import pytest
from pytest_llmops.cases import load_cases
from pytest_llmops.judges import Rubric
AT_IMPORT = Rubric("judges/tone.md"), load_cases("cases/a.jsonl")

@pytest.mark.cases("cases/a.jsonl")
@pytest.mark.judge("judges/tone.md")
@pytest.mark.retriever("book")
def test_ours(case, judge, retriever):
    assert case.input == "q"
    assert "{word}" in judge.spec.values["criteria"]
    assert retriever.search("text", 1)

def test_plain():
    assert load_cases("cases/a.jsonl")[0].input == "q"
"""


@pytest.mark.parametrize(("folder", "workers"), [("tests", 0), ("elsewhere", 0), ("elsewhere", 2)])
def test_the_working_directory_does_not_matter(
    project: Project, workers: int, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write(
        **{
            "tests/unit/test_a.py": TEST.replace("{word}", "kind"),
            "tests/judges/tone.md": RUBRIC.replace("{word}", "kind"),
            # Another file of the same name, for the tests of another folder.
            "tests/other/test_b.py": TEST.replace("{word}", "short"),
            "tests/other/judges/tone.md": RUBRIC.replace("{word}", "short"),
            "cases/a.jsonl": '{"id": "a", "input": "q"}\n',
            "corpora/book.jsonl": '{"id": "a", "text": "text"}\n',
            "elsewhere/empty.txt": "",
            "tests/unit/__init__.py": "",
            "tests/other/__init__.py": "",
        }
    )
    monkeypatch.chdir(project.path / folder)
    result = project.run(
        "--llm-judge", f"--rootdir={project.path}", str(project.path / "tests"), workers=workers
    )
    assert result.outcomes == {"passed": 4}


def test_a_corpus_that_is_a_link_out_of_the_folder_is_refused(project: Project) -> None:
    marked = "import pytest\n@pytest.mark.retriever('book')\ndef test_ours(retriever):\n    pass\n"
    project.write(
        **{"test_a.py": marked, "secret.jsonl": '{"id": "a", "text": "text"}\n', "corpora/b.jsonl": ""}
    )
    (project.path / "corpora/book.jsonl").symlink_to(project.path / "secret.jsonl")
    assert "is a link out of the folder of corpora" in project.run().line("CorpusError")
