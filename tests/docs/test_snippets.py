"""Every page is typed in from top to bottom: its files, its Python and its commands with the output that it shows."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.snippet_runner import PageRunner
from support.snippet_server import SnippetServer
from support.snippets import Block, SnippetError, read_page

from pytest_llmops.harness import terminal
from pytest_llmops.harness.ahead import phase
from pytest_llmops.harness.ahead.child import KIND_VARIABLE

ROOT = Path(__file__).parents[2]
PAGES = [
    "README.md",
    *(path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").rglob("*.md"))),
    *(path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "examples").rglob("README.md"))),
]
# Pages that are not converted yet. Each line is a page; the empty lines between them avoid conflicts.
PENDING = set((Path(__file__).parent / "pending_pages.txt").read_text(encoding="utf-8").split())
MOST_SKIPPED = 40


@pytest.fixture
def server() -> Iterator[SnippetServer]:
    with SnippetServer() as running:
        yield running


@pytest.fixture
def new_reader(reader: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, server: SnippetServer) -> PageRunner:
    """A reader in an empty folder.

    A busy machine prints no progress of its own, answers are made by forks, and no file waits for the disk.
    """
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr(terminal, "EVERY_S", 86_400.0)
    monkeypatch.setattr(phase, "REPORT_INTERVAL_S", 86_400.0)
    monkeypatch.setenv(KIND_VARIABLE, "fork")
    return PageRunner(reader, monkeypatch, server, "page.md")


@pytest.mark.parametrize("page", [page.removeprefix("docs/").removesuffix(".md") for page in PAGES])
def test_the_page_typed_in(page: str, new_reader: PageRunner) -> None:
    path = ROOT / "docs" / f"{page}.md"
    if not path.is_file():
        path = ROOT / f"{page}.md"
    new_reader.name = path.relative_to(ROOT).as_posix()
    if new_reader.name in PENDING:
        pytest.skip("not converted yet: tests/docs/pending_pages.txt")
    try:
        new_reader.run_page(path)
    except SnippetError as error:
        pytest.fail(str(error), pytrace=False)


def test_few_blocks_are_skipped_and_pending_pages_exist() -> None:
    skipped = []
    for page in PAGES:
        if page not in PENDING:
            skipped += [row for row in read_page(ROOT / page, page) if isinstance(row, Block) and row.skipped]
    assert len(skipped) <= MOST_SKIPPED, (
        "run more of them: raise the number only for a block that cannot run here"
    )


WRONG = {
    "an output line that does not come": (
        "```console\n$ llmops --version\npytest-llmops 7.7.7\n```\n",
        r"page\.md:2: \$ llmops --version\nexpected in the output, in this order:\n  pytest-llmops 7\.7\.7\ngot:\npytest-llmops 0",
    ),
    "an unknown flag": (
        "```console\n$ pytest --llm-nonsense\n```\n",
        r"page\.md:2: .*\nthe plugin has no flag --llm-nonsense",
    ),
    "an unknown flag of a block that is skipped": (
        "<!-- snippet: skip, it costs money -->\n```console\n$ pytest --llm-nonsense\n```\n",
        r"page\.md:3: .*\nthe plugin has no flag --llm-nonsense",
    ),
    "an unknown key": (
        "```ini\n[pytest]\nllm_nonsense = 1\n```\n",
        r"page\.md:1: the plugin has no ini key llm_nonsense",
    ),
    "a missing file": (
        "```console\n$ pytest test_missing.py\n```\n",
        r"expected exit status 0, got 4[^\n]*\noutput:\n(?s:.*)test_missing\.py",
    ),
    "a test that fails": (
        '```python title="test_a.py"\ndef test_a():\n    assert 1 == 2\n```\n```console\n$ pytest\n```\n',
        r"page\.md:6: \$ pytest\nexpected exit status 0, got 1",
    ),
    "Python that raises": (
        "A\n\n```python\na = 1\nassert a == 2\n```\n",
        r"page\.md:3: line 5: assert a == 2\nAssertionError",
    ),
    "a program that nobody allowed": (
        "```console\n$ curl https://example.com\n```\n",
        r"cannot run 'curl'",
    ),
    "a title outside the folder": (
        '```text title="../x"\n```\n',
        r"expected a path within the reader's folder",
    ),
    "a skip without a reason": (
        "<!-- snippet: skip -->\n```python\n1\n```\n",
        r"page\.md:1: expected `snippet: skip, WHY`",
    ),
    "an open block": ("```python\n1\n", r"page\.md:1: this block is not closed"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_page_that_is_wrong_fails(case: str, new_reader: PageRunner, tmp_path: Path) -> None:
    text, message = WRONG[case]
    page = tmp_path / "page.md"
    page.write_text(text, encoding="utf-8")
    with pytest.raises(SnippetError) as caught:
        new_reader.run_page(page)
    assert re.search(message, str(caught.value)), str(caught.value)


FILES = """
<!-- model: {"capital of France": "Paris.", "*": "I do not know."} -->
```python title="test_capital.py"
import openai
import pytest
from pytest_llmops import assert_contains


def ask(question):
    client = openai.OpenAI()
    messages = [{"role": "user", "content": question}]
    return client.chat.completions.create(model="YOUR_MODEL", messages=messages).choices[0].message.content


@pytest.mark.llm_cassette
def test_capital():
    assert_contains(ask("What is the capital of France?"), "Paris")
```

<!--
```python title="hidden.py"
number = 7
```
-->

1. Record:

    ```console
    $ pytest --llm-record=new  # once
    ...
    === 1 passed in 0.05s ===
    $ unset OPENAI_API_KEY
    $ pytest \\
    >   -q
    1 passed in 1.23s
    ```

```python
from hidden import number

assert number == 7
```

<!-- exit: 1 -->
```console
$ git init -q
$ X=1 python -c "import os; print(os.environ['X']); raise SystemExit(1)"
1
```
"""
JUDGED = """
```python title="test_judged.py"
import pytest
from pytest_llmops import assert_judge_score
from pytest_llmops.judges import Rubric

pytestmark = pytest.mark.llm_cassette


@pytest.mark.judge
def test_tone():
    assert_judge_score("Sorry, we are closed.", judge=Rubric(criteria="Is it polite?", name="polite"))


@pytest.mark.judge
def test_scale():
    assert_judge_score("Sorry, we are closed.", judge="quality", question="Open?", at_least=7)
```

```console
$ pytest -q --llm-judge --llm-judge-model=YOUR_MODEL --llm-record=new
2 passed in 0.12s
```

<!-- judge: fail -->
<!-- exit: 1 -->
```console
$ pytest -q --llm-judge --llm-judge-model=YOUR_MODEL --llm-record=all
2 failed in 0.12s
```
"""


@pytest.mark.parametrize("page_text", [FILES, JUDGED], ids=["files", "judged"])
def test_a_page_that_is_right_passes(page_text: str, new_reader: PageRunner, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(page_text, encoding="utf-8")
    new_reader.run_page(page)
