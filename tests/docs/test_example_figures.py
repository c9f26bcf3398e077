"""The examples replay offline, in any order and with two workers; the figures of their READMEs are those of the run."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from support.example_runs import (
    EXAMPLES,
    REVERSE,
    ROOT,
    copy_examples,
    find_unchecked_figures,
    read_case_id,
    run_examples,
)

MOST_TESTS = 240


@pytest.mark.slow
def test_the_examples_replay_in_any_order_and_their_readmes_quote_them(tmp_path: Path) -> None:
    """One run from the last test to the first with two workers, read for everything: a run takes many seconds.

    The READMEs were written from a run in the usual order, as `make demo` makes it, so equal figures say that the order does not count.
    `list_figures` in support/figures_NAME.py makes the sentences with figures from the run: the README has each of them, and no
    other digit in its prose.
    """
    (tmp_path / "reverse.py").write_text(REVERSE)
    environ = {"PYTHONPATH": str(tmp_path)}
    options = ("--llm-judge", "-n", "2", "-p", "reverse")
    run = run_examples(copy_examples(tmp_path), *options, environ=environ)
    assert run.status == 0, run.output[-3000:]
    assert {record.outcome for record in run.run.records} == {"passed"}
    assert len(run.run.records) <= MOST_TESTS
    assert all(call.replayed for record in run.run.records for call in record.calls)

    problems = {}
    for name in EXAMPLES:
        figures = importlib.import_module(f"support.figures_{name}")
        readme = (ROOT / "examples" / name / "README.md").read_text(encoding="utf-8")
        problems[name] = find_unchecked_figures(readme, figures.list_figures(run))
    assert problems == {name: [] for name in EXAMPLES}


def test_an_unchecked_figure_is_found() -> None:
    readme = "A `recall@5` of 0.82\nin v1, from 52 [questions](a1.md).\n\n    pytest 3\n\n7 left."

    unchecked = find_unchecked_figures(readme, ["A `recall@5` of 0.82 in v1", "from 52 [questions](a1.md)"])
    assert unchecked == ["read from no run: ... ,  . `` 7 left...."]
    assert find_unchecked_figures("", ["1"]) == ["not in the README: 1"]
    assert read_case_id("a.py::test_b[x]") == "x"
