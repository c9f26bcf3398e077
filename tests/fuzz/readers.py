"""Every reader of files that the package has, with real files to damage.

`READERS` lists what is fuzzed. `NOT_FUZZED` lists the modules that read files in a way that needs no fuzzing, with the reason. A test
fails if a module that reads files is in neither.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from fuzz import adapters as a
from fuzz import samples

from pytest_llmops.cases.files import load_cases
from pytest_llmops.cases.queries import load_queries
from pytest_llmops.cases.trec import read_qrels
from pytest_llmops.cases.trec import read_run as read_trec_run
from pytest_llmops.cassettes import importers, recordings, store
from pytest_llmops.cassettes.traces import tape_file
from pytest_llmops.cli import agents_file, common, guardrails, prompt_aliases
from pytest_llmops.errors import LLMOpsError
from pytest_llmops.guardrails.policies import gitleaks_detector, read_policy
from pytest_llmops.harness import own_tests
from pytest_llmops.imports.openai_results import read_results
from pytest_llmops.imports.suite import SuiteError
from pytest_llmops.judges.calibration.canaries import read_canaries
from pytest_llmops.judges.calibration.labels import read_labels
from pytest_llmops.judges.calibration.record import JudgeRecord
from pytest_llmops.judges.item_judges import load_judge_file, read_checklist
from pytest_llmops.judges.rubric_files import read_rubric
from pytest_llmops.production.canary import read_events
from pytest_llmops.production.feedback import read_feedback
from pytest_llmops.retrievers.bm25 import load_corpus
from pytest_llmops.semantics.thresholds import Threshold

KNOWN_ERRORS = (LLMOpsError, SuiteError)


@dataclass(frozen=True, kw_only=True)
class Reader:
    """A function of the package that reads files.

    Attributes:
        name: What `make fuzz` calls it.
        covers: The modules that it runs, as paths in the package without ``.py``.
        file: The file that it reads, in a folder of its own.
        samples: Real files.
        read: Reads the file, and makes all of it.
        write: Returns the bytes that read as this value again. None: nothing writes what it reads.
        errors: What it may raise. Nothing at all: a damaged file counts as absent, or its good parts are read.
        named: What an error has to name. Empty: the caller adds the name.
        needs: A package that it needs, and that may be missing. Empty: none.
    """

    name: str
    covers: tuple[str, ...]
    file: str
    samples: Callable[[], tuple[bytes, ...]]
    read: Callable[[Path], object]
    write: Callable[[Any], bytes] | None = None
    errors: tuple[type[Exception], ...] = KNOWN_ERRORS
    named: str | None = None
    needs: str = ""


def of(*values: bytes) -> Callable[[], tuple[bytes, ...]]:
    return lambda: values


def in_repo(*patterns: str) -> Callable[[], tuple[bytes, ...]]:
    return partial(samples.find, *patterns)


def compress(contents: Callable[[], tuple[bytes, ...]]) -> Callable[[], tuple[bytes, ...]]:
    return lambda: tuple(gzip.compress(content, mtime=0) for content in contents())


S = samples
STARTER = "pytest_llmops/cli/starter/demo"
READERS = (
    # Recordings
    Reader(name="cassette", covers=("cassettes/store",), file="a.json", samples=in_repo("examples/*/cassettes/**/*.json"), read=store.load_cassette, write=a.write_cassette),
    Reader(name="keys-of-a-cassette", covers=("cassettes/recordings",), file="a.json", samples=in_repo("examples/*/cassettes/**/*.json"), read=recordings._read_keys, errors=()),
    Reader(name="audit", covers=("cassettes/audit",), file="cassettes/a.json", samples=in_repo("examples/*/cassettes/**/*.json"), read=a.audit, errors=()),
    Reader(name="models-of-a-cassette", covers=("cli/model_commands",), file="a.json", samples=in_repo("examples/*/cassettes/**/*.json"), read=a.list_models, named=""),
    Reader(name="own-cassette", covers=("harness/own_tests",), file="a.json", samples=in_repo("examples/*/cassettes/**/*.json"), read=own_tests._is_cassette, errors=()),
    Reader(name="journal", covers=("cassettes/journal",), file=".journal/a.json.0-1-a.journal", samples=of(*S.lines(S.ENTRY, S.ENTRY)), read=a.read_journal, errors=()),
    Reader(name="journal-of-a-run", covers=("cassettes/run_journals",), file=".journal/run.0-1-a.journal", samples=of(*S.lines(S.ENTRY, S.ENTRY)), read=a.split_journal, errors=()),
    Reader(name="foreign-cassette", covers=("cassettes/importers", "wire/untrusted_documents"), file="a.yaml", samples=of(*S.VCR), read=importers.read_foreign),
    Reader(name="foreign-cassette.json", covers=("cassettes/importers", "wire/untrusted_documents"), file="a.json", samples=of(S.VCR[1]), read=importers.read_foreign),
    Reader(name="foreign-cassette.gz", covers=("wire/untrusted_documents",), file="a.json.gz", samples=compress(of(S.VCR[1])), read=importers.read_foreign),
    Reader(name="trace-tape", covers=("cassettes/traces/tape_file",), file="a.json", samples=of(*S.TRACE_TAPE), read=tape_file.read_tape, write=a.write_tape),
    Reader(name="usage-record", covers=("cli/cassettes", "cassettes/usage_record"), file="usage", samples=of(*S.USAGE), read=a.read_usage, write=a.write_usage, named=""),
    Reader(name="ledger-of-costs", covers=("cassettes/budget",), file="ledger", samples=of(*S.LEDGER), read=a.read_budget, errors=()),
    Reader(name="pause-of-a-host", covers=("cassettes/rate_limit",), file="pause", samples=of(*S.PAUSE), read=a.read_pause, errors=()),
    Reader(name="shared-answer", covers=("cassettes/shared_answers",), file="answer", samples=of(*S.SHARED_ANSWER), read=a.find_shared_answer, errors=()),
    Reader(name="state-of-a-batch", covers=("harness/ahead/batch_apis",), file="ab12.json", samples=of(*S.BATCH), read=a.read_state),
    Reader(name="mcp-servers", covers=("cassettes/mcp/client_arguments",), file="mcp.json", samples=of(*S.MCP_SERVERS), read=a.relay_servers, errors=()),
    # Runs and baselines
    Reader(name="baseline", covers=("baselines/baseline",), file="baseline.json", samples=in_repo(f"{STARTER}/llmops-baseline.json"), read=a.read_baseline, write=a.write_baseline),
    Reader(name="baseline-outputs", covers=("baselines/stored_answers",), file="outputs.json.gz", samples=in_repo(f"{STARTER}/*.json.gz"), read=a.read_outputs, write=a.write_outputs, errors=()),
    Reader(name="run", covers=("results/run_files",), file="run.json", samples=S.runs, read=common.read_run_file, write=a.write_run),
    Reader(name="run.gz", covers=("results/run_files",), file="run.json.gz", samples=compress(S.runs), read=common.read_run_file),
    # Prompts
    Reader(name="prompt", covers=("prompts/prompt_file", "prompts/registry"), file="ask/v1.md", samples=in_repo("examples/*/prompts/**/v*.md"), read=a.read_prompt),
    Reader(name="output-schema", covers=("prompts/prompt_file",), file="ask/out.json", samples=of(*S.SCHEMAS), read=a.read_output_schema),
    Reader(name="aliases", covers=("prompts/registry",), file="ask/aliases.toml", samples=in_repo("examples/*/prompts/**/aliases.toml"), read=a.read_aliases),
    Reader(name="moves-of-aliases", covers=("cli/prompt_aliases",), file="aliases.log", samples=of(*S.MOVES), read=prompt_aliases.read_moves),
    Reader(name="message-list", covers=("cli/import_files",), file="messages.json", samples=of(*S.MESSAGES), read=a.read_messages),
    # Cases
    Reader(name="cases.jsonl", covers=("cases/row_files",), file="a.jsonl", samples=in_repo("examples/*/cases/*.jsonl"), read=load_cases),
    Reader(name="cases.yaml", covers=("cases/row_files",), file="a.yaml", samples=of(*S.CASES), read=load_cases),
    Reader(name="cases.csv", covers=("cases/row_files",), file="a.csv", samples=of(*S.TABLES), read=load_cases),
    Reader(name="cases.tsv", covers=("cases/row_files",), file="a.tsv", samples=of(*(text.replace(b",", b"\t") for text in S.TABLES)), read=load_cases),
    Reader(name="cases.json", covers=("cases/row_files",), file="a.json", samples=of(*S.EVALS), read=load_cases),
    Reader(name="cases.parquet", covers=("cases/tables",), file="a.parquet", samples=a.parquet_files, read=load_cases, needs="pyarrow"),
    Reader(name="cases.arrow", covers=("cases/tables",), file="a.arrow", samples=a.arrow_files, read=load_cases, needs="pyarrow"),
    Reader(name="dataset-info", covers=("cases/dataset_cache",), file="dataset_info.json", samples=of(*S.DATASET_INFO), read=a.read_cached_dataset, named="first", needs="pyarrow"),
    Reader(name="rows-of-cases", covers=("cli/case_rows",), file="a.jsonl", samples=in_repo("examples/*/cases/*.jsonl"), read=partial(a.convert_rows, form="cases")),
    Reader(name="rows-of-training", covers=("cli/case_rows", "cases/training_rows"), file="a.jsonl", samples=of(*S.TRAINING), read=partial(a.convert_rows, form="openai-chat")),
    Reader(name="queries", covers=("cases/queries",), file="a.jsonl", samples=in_repo("examples/handbook_rag/cases/*.jsonl"), read=load_queries),
    Reader(name="judgements", covers=("cases/trec",), file="a.qrels", samples=of(*S.QRELS), read=read_qrels),
    Reader(name="trec-run", covers=("cases/trec",), file="a.run", samples=of(*S.TREC_RUN), read=read_trec_run),
    Reader(name="pairs-of-a-cache", covers=("testing/semantic_cache_arguments",), file="a.jsonl", samples=in_repo("examples/guarded_bot/cases/cache_pairs.jsonl"), read=a.read_cache_pairs),
    # Judges and guardrails
    Reader(name="rubric", covers=("judges/rubric_files",), file="a.md", samples=of(*S.RUBRIC), read=read_rubric),
    Reader(name="judge", covers=("judges/item_judges",), file="a.md", samples=of(*S.RUBRIC, *S.CHECKLIST, *S.JUDGE_FILES, *S.POLICY), read=load_judge_file),
    Reader(name="checklist", covers=("judges/item_judges",), file="a.md", samples=of(*S.CHECKLIST), read=read_checklist),
    Reader(name="policy", covers=("guardrails/policies",), file="a.md", samples=of(*S.POLICY), read=read_policy),
    Reader(name="gitleaks", covers=("guardrails/policies",), file="a.toml", samples=of(*S.GITLEAKS), read=gitleaks_detector),
    Reader(name="findings", covers=("cli/guardrails",), file="a.jsonl", samples=of(*S.FINDINGS), read=guardrails.read_labelled_texts),
    Reader(name="labels", covers=("judges/calibration/labels",), file="a.jsonl", samples=lambda: (*S.LABELS, *S.find("tests/recorded/labels.jsonl")), read=read_labels),
    Reader(name="canaries", covers=("judges/calibration/canaries",), file="a.jsonl", samples=of(*S.CANARIES), read=read_canaries),
    Reader(name="record-of-a-judge", covers=("judges/calibration/record",), file="a.calibration.json", samples=in_repo("examples/judge_check/judges/*.json"), read=JudgeRecord.load, write=a.write_record),
    Reader(name="image", covers=("judges/protocol/images",), file="a.png", samples=of(*S.IMAGES), read=a.read_image),
    Reader(name="pairs-with-a-meaning", covers=("cli/semantic_calibrate",), file="a.jsonl", samples=of(*S.PAIRS), read=a.read_meaning_pairs),
    Reader(name="threshold", covers=("semantics/thresholds",), file="a.json", samples=a.threshold_files, read=Threshold.load, write=a.write_threshold),
    # Production
    Reader(name="traces", covers=("trace/exported/records", "production/exported_traces", "production/trace_tapes"), file="a.json", samples=of(*S.TRACES), read=a.read_traces),
    Reader(name="feedback.jsonl", covers=("production/feedback",), file="a.jsonl", samples=in_repo("examples/feedback_loop/events.jsonl"), read=read_feedback),
    Reader(name="feedback.csv", covers=("production/feedback",), file="a.csv", samples=of(*S.FEEDBACK_CSV), read=read_feedback),
    Reader(name="feedback.json", covers=("production/feedback",), file="a.json", samples=of(*S.FEEDBACK), read=read_feedback),
    Reader(name="review-queue", covers=("production/review_queue",), file="a.jsonl", samples=lambda: (*S.QUEUE, *S.find("examples/feedback_loop/cases/queue.jsonl")), read=a.read_queue_lines, write=a.write_queue),
    Reader(name="canary-events", covers=("production/canary",), file="a.csv", samples=in_repo("examples/support_bot/canary/*.csv"), read=read_events),
    # What else a project has
    Reader(name="schema.json", covers=("schemas/schema_files",), file="a.json", samples=of(*S.SCHEMAS), read=a.load_schema),
    Reader(name="schema.yaml", covers=("schemas/schema_files",), file="a.yaml", samples=of(*S.SCHEMAS), read=a.load_schema),
    Reader(name="tools", covers=("agents/tool_definitions",), file="a.json", samples=of(*S.TOOLS), read=a.read_tools),
    Reader(name="skill", covers=("agents/skills",), file="skill/SKILL.md", samples=in_repo("examples/*/prompts/**/v*.md"), read=a.read_skill),
    Reader(name="corpus", covers=("retrievers/bm25",), file="a.jsonl", samples=in_repo("examples/handbook_rag/corpora/*.jsonl"), read=load_corpus),
    Reader(name="corpus-of-texts", covers=("retrievers/bm25",), file="texts/a.md", samples=in_repo("examples/*/README.md"), read=a.load_folder),
    Reader(name="rules-in-text", covers=("ledger/documents",), file="AGENTS.md", samples=in_repo("examples/*/README.md"), read=a.open_text),
    Reader(name="rules-in-json", covers=("ledger/documents", "ledger/descriptions"), file="a.json", samples=of(*S.TOOLS), read=a.open_text),
    Reader(name="rules-in-yaml", covers=("ledger/documents", "ledger/descriptions"), file="a.yaml", samples=of(*S.TOOLS), read=a.open_text),
    Reader(name="rules-in-code", covers=("ledger/documents", "ledger/python_texts"), file="a.py", samples=of(*S.SCRIPT), read=a.open_code),
    Reader(name="promptfoo", covers=("imports/promptfoo/config", "imports/source_files", "imports/located_values", "imports/promptfoo/entries", "imports/promptfoo/prompts", "imports/promptfoo/reading"), file="promptfooconfig.yaml", samples=in_repo("tests/data/promptfoo/*/promptfooconfig*.yaml"), read=a.import_suites),
    Reader(name="promptfoo-tests.csv", covers=("imports/promptfoo/entries", "imports/promptfoo/csv_tests"), file="tests.csv", samples=in_repo("tests/data/promptfoo/library/tests.csv"), read=a.import_tests),
    Reader(name="promptfoo-tests.jsonl", covers=("imports/promptfoo/entries", "imports/located_values"), file="tests.jsonl", samples=in_repo("tests/data/promptfoo/weather/tests.jsonl"), read=a.import_tests),
    Reader(name="openai-results", covers=("imports/openai_results",), file="a.jsonl", samples=of(*S.RESULTS), read=read_results),
    Reader(name="pytest.ini", covers=("cli/common", "harness/run_notes"), file="pytest.ini", samples=of(*S.INI), read=a.read_ini),
    Reader(name="setup.cfg", covers=("cli/common", "harness/run_notes"), file="setup.cfg", samples=of(*S.INI), read=a.read_ini),
    Reader(name="pyproject.toml", covers=("cli/common", "harness/run_notes"), file="pyproject.toml", samples=of(*S.PYPROJECT), read=a.read_ini),
    Reader(name="agents-file", covers=("cli/agents_file",), file="AGENTS.md", samples=in_repo("examples/*/README.md"), read=agents_file.update_agents_file, errors=()),
    Reader(name="override-of-a-ledger", covers=("_util/file_override",), file="override.json", samples=of(*S.OVERRIDE), read=a.read_override, errors=()),
    Reader(name="config-of-an-nli-model", covers=("providers/nli_files",), file="config.json", samples=of(*S.NLI_CONFIG), read=a.read_nli_config),
)  # fmt: skip

CHECKED_BEFORE = "checks a pinned SHA-256 before it reads the content"
OF_THE_PACKAGE = "reads only files of the package"
OF_THIS_RUN = "reads only what another process of the same run has written"
OF_A_READER = "reads by a function that is fuzzed"
NOT_FILES = "opens something else: a device, a descriptor, a connection or a template"
AS_BYTES = "reads bytes or text, and does not parse them"
NOT_FUZZED: dict[str, str] = {
    "providers/model_files": CHECKED_BEFORE,
    "providers/multilingual_e5": CHECKED_BEFORE,
    "cases/robustness": OF_THE_PACKAGE,
    "cli/case_files": OF_THE_PACKAGE,
    "cli/docs": OF_THE_PACKAGE,
    "guardrails/views": OF_THE_PACKAGE,
    "imports/promptfoo/assertion_table": OF_THE_PACKAGE,
    "imports/promptfoo/providers": OF_THE_PACKAGE,
    "imports/suite_files": OF_THE_PACKAGE,
    "ledger/report_html": OF_THE_PACKAGE,
    "redaction/patterns": OF_THE_PACKAGE,
    "redaction/public_rules": OF_THE_PACKAGE,
    "reports/html": OF_THE_PACKAGE,
    "results/run": OF_THE_PACKAGE,
    "semantics/word_lists/reader": OF_THE_PACKAGE,
    "cassettes/judge_calls": OF_THIS_RUN,
    "cassettes/run_folder": OF_THIS_RUN,
    "harness/ahead/answers": OF_THIS_RUN,
    "harness/ahead/guard": OF_THIS_RUN,
    "_util/text_files": OF_A_READER,
    "cases/files": OF_A_READER,
    "cli/cases_queue": OF_A_READER,
    "harness/acceptance": OF_A_READER,
    "harness/baseline_gate": OF_A_READER,
    "imports/promptfoo/assertion_lists": OF_A_READER,
    "imports/promptfoo/chat_messages": OF_A_READER,
    "imports/promptfoo/variables": OF_A_READER,
    "_util/server_probe": NOT_FILES,
    "cassettes/mcp/patches": NOT_FILES,
    "cli/command_line": NOT_FILES,
    "harness/ahead/child": NOT_FILES,
    "harness/ahead/fresh": NOT_FILES,
    "harness/ahead/inherited_files": NOT_FILES,
    "harness/ahead/link": NOT_FILES,
    "_util/folder_snapshot": AS_BYTES,
    "_util/git": AS_BYTES,
    "cassettes/locking": AS_BYTES,
    "cli/prompt_commands": AS_BYTES,
    "harness/run_checks": AS_BYTES,
    "harness/terminal": AS_BYTES,
    "ledger/pytest_process": AS_BYTES,
    "ledger/runs": AS_BYTES,
    "providers/sentence_transformers": AS_BYTES,
}
