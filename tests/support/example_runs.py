"""Run the examples as a user does, offline, and read what came out: for the figures that their READMEs quote."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_llmops.cli.common import read_run_file
from pytest_llmops.results.run import Run, TestRecord
from pytest_llmops.results.verdict import Verdict

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(readme.parent.name for readme in (ROOT / "examples").glob("[a-z]*/README.md"))
# What a run writes, and what is no example.
LEFT_OUT = shutil.ignore_patterns("__pycache__", ".pytest_cache", "*.pyc")
# Loaded with ``-p``: runs the tests from the last to the first.
REVERSE = "def pytest_collection_modifyitems(items):\n    items.reverse()\n"


def copy_examples(folder: Path) -> Path:
    """Copy the examples into a new folder below ``folder``, and return it."""
    return Path(shutil.copytree(ROOT / "examples", folder / "examples", ignore=LEFT_OUT))


@dataclass(frozen=True)
class ExampleRun:
    """One run of the examples.

    Attributes:
        folder: The copy of the examples that was run.
        run: What its JSON report holds.
        output: What pytest printed.
        status: pytest's exit status.
    """

    folder: Path
    run: Run
    output: str
    status: int

    def rerun(self, *arguments: str) -> ExampleRun:
        """Run the examples again in the same folder, with other arguments."""
        return run_examples(self.folder, *arguments)

    def records(self, path: str) -> list[TestRecord]:
        """Return the tests below a path such as ``support_bot/test_answers.py::test_answer``, in the order of the run.

        Raises:
            LookupError: There is none.
        """
        found = [record for record in self.run.records if record.nodeid.startswith(path)]
        if not found:
            raise LookupError(f"no test of {path} in the run")
        return found

    def values(self, path: str, metric: str) -> dict[str, float]:
        """Return the scores of a metric in the tests below a path, by what stands in brackets in the test's name.

        A test that has the metric more than once gives its last value.

        Raises:
            LookupError: There is none.
        """
        values = {}
        for record in self.records(path):
            for measurement in record.measurements:
                if measurement.name == metric and measurement.value is not None:
                    values[read_case_id(record.nodeid)] = measurement.value
        if not values:
            raise LookupError(f"no {metric} in {path}")
        return values

    def verdict(self, kind: str, subject: str = "") -> Verdict:
        """Return the only verdict of a kind (``baseline``, ``comparison``, ``guardrail``) whose subject holds a text.

        Raises:
            LookupError: There is none, or more than one.
        """
        found = [
            verdict for verdict in self.run.verdicts if verdict.kind == kind and subject in verdict.subject
        ]
        if len(found) != 1:
            subjects = [verdict.subject for verdict in self.run.verdicts if verdict.kind == kind]
            raise LookupError(
                f"expected one verdict {kind} about {subject!r}, got {len(found)} among {subjects}"
            )
        return found[0]

    def output_of(self, nodeid: str) -> str:
        """Return the last text that the model answered in a test.

        Raises:
            LookupError: The test called no model.
        """
        (record,) = [record for record in self.run.records if record.nodeid == nodeid]
        if not record.calls:
            raise LookupError(f"{nodeid} called no model")
        return str(record.calls[-1].output)


def read_case_id(nodeid: str) -> str:
    """Return what stands in brackets in the name of a test; "" without any.

    >>> read_case_id("a.py::test_b[v1-refund]")
    'v1-refund'
    """
    bracketed = re.search(r"\[(.*)\]$", nodeid)
    return bracketed[1] if bracketed else ""


def run_examples(folder: Path, *arguments: str, environ: Mapping[str, str] | None = None) -> ExampleRun:
    """Run pytest in a folder of examples, without a key, and return what came out.

    Only this plugin and pytest-xdist are loaded.
    """
    report = folder / "run-of-the-test.json"
    report.unlink(missing_ok=True)
    variables = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **(environ or {})}
    # Where `make test` puts the embedding model, also for a test that is started by hand.
    variables.setdefault("LLMOPS_CACHE", str(ROOT / ".venv/cache"))
    command = [sys.executable, "-m", "pytest", "-p", "pytest_llmops.plugin", "-p", "xdist.plugin"]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", f"--llm-report={report}", *arguments],
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    if not report.is_file():
        raise AssertionError(f"the examples did not run:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return ExampleRun(folder, read_run_file(report), done.stdout, done.returncode)


CODE = re.compile(r"^```.*?^```|^ {4}.*?$|`[^`]*`", re.MULTILINE | re.DOTALL)
# Names that hold a digit and are no figure.
NAMES = re.compile(r"\]\([^)]*\)|\bv\d\b|Qwen2\.5-Coder-(?:0\.5|1\.5)B-Instruct \(Q4_K_M\)|gpt-\S+")


def find_unchecked_figures(readme: str, sentences: Sequence[str]) -> list[str]:
    """Return what is wrong with the figures of a README: sentences that it lacks, and digits in no sentence.

    Digits in code, in targets of links, in ``v1`` and in the names of the two models are no figures.
    """
    prose = " ".join(NAMES.sub("]()", CODE.sub("``", readme)).split())
    whole = " ".join(readme.split())
    problems = []
    for sentence in sentences:
        flat = " ".join(sentence.split())
        if flat not in whole:
            problems.append(f"not in the README: {sentence}")
        # A sentence may quote code, which is taken out of the prose.
        prose = prose.replace(" ".join(NAMES.sub("]()", CODE.sub("``", flat)).split()), " ")
    problems += [f"read from no run: ...{figure[0]}..." for figure in re.finditer(r".{0,40}\d.{0,40}", prose)]
    return problems
