"""Readers of the package as functions of a path, where they have another form, and writers as functions of a value."""

from __future__ import annotations

import argparse
import io
import json
import os
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

from pytest_llmops._util import file_override
from pytest_llmops.agents.skills import skill_arms
from pytest_llmops.agents.tool_definitions import read_tool_file
from pytest_llmops.baselines.baseline import Baseline
from pytest_llmops.baselines.stored_answers import StoredAnswers, encode_answers, read_answers
from pytest_llmops.cases.files import load_cases
from pytest_llmops.cassettes import budget, store
from pytest_llmops.cassettes.audit import audit_cassettes
from pytest_llmops.cassettes.journal import seize_journal
from pytest_llmops.cassettes.mcp import client_arguments
from pytest_llmops.cassettes.rate_limit import RateLimiter
from pytest_llmops.cassettes.run_journals import split_run_journals
from pytest_llmops.cassettes.shared_answers import SharedAnswers
from pytest_llmops.cassettes.traces import tape_file
from pytest_llmops.cli import cassettes, common, model_commands, semantic_calibrate
from pytest_llmops.cli.case_rows import RowFile, read_row_file
from pytest_llmops.cli.import_files import _read_source
from pytest_llmops.harness import run_notes
from pytest_llmops.harness.ahead.batch_apis import read_states
from pytest_llmops.imports.message_list import read_message_list
from pytest_llmops.imports.promptfoo.assertions import make_check
from pytest_llmops.imports.promptfoo.config import read_suites
from pytest_llmops.imports.suite_files import write_suite
from pytest_llmops.judges.protocol.images import read_images
from pytest_llmops.ledger.documents import open_document
from pytest_llmops.production.exported_traces import read_conversations
from pytest_llmops.production.review_queue import read_queue
from pytest_llmops.production.trace_tapes import read_tapes
from pytest_llmops.prompts.registry import Prompts
from pytest_llmops.providers.nli_files import read_config
from pytest_llmops.retrievers.bm25 import load_corpus
from pytest_llmops.schemas.loading import load
from pytest_llmops.semantics.thresholds import Threshold
from pytest_llmops.settings import Settings
from pytest_llmops.testing.semantic_cache import CachePair
from pytest_llmops.testing.semantic_cache_arguments import read_texts

ACCEPTED = "2026-11-30T12:31:04.005+00:00"  # when the baseline of the starter was accepted


# Recordings


def write_cassette(interactions: Any) -> bytes:
    return store.format_cassette(interactions.values(), "2026-12-01").encode("utf-8", "backslashreplace")


def audit(path: Path) -> object:
    return audit_cassettes(path.parents[1], None)


def list_models(path: Path) -> object:
    return list(model_commands._iter_models(path, Settings()))


def read_journal(path: Path) -> object:
    with seize_journal(path, ours=True) as entries:
        return entries


def split_journal(path: Path) -> object:
    folder = path.parents[1]
    split_run_journals(folder)
    return sorted(folder.rglob("*"))


def read_budget(path: Path) -> object:
    state = budget._LedgerState()
    state.read_new_lines(path)
    return state.committed


def read_pause(path: Path) -> object:
    limiter = RateLimiter(None, lambda: path.parent, now=lambda: 1_795_704_413.0)
    limiter._pause_file("h").write_bytes(path.read_bytes())
    return limiter._read_pause("h")


def read_usage(path: Path) -> object:
    return cassettes._read_usage(argparse.Namespace(usage=path), path.parent)


def write_usage(usage: Any) -> bytes:
    return json.dumps(usage.to_wire()).encode()


def find_shared_answer(path: Path) -> object:
    answers = SharedAnswers(lambda: path.parent)
    answers._path("k", "0", 0).write_bytes(path.read_bytes())
    return answers.find_answer("k", "0", 0, owner="other")


def read_state(path: Path) -> object:
    return read_states(path.parent)


def relay_servers(path: Path) -> object:
    return client_arguments._relay_in_value(path.name, path.parent)


def write_tape(tape: Any) -> bytes:
    return json.dumps(tape_file.format_tape(tape)).encode()


# Runs and baselines


def read_baseline(path: Path) -> Baseline:
    return Baseline.from_bytes(path.read_bytes(), where=path.name)


def write_baseline(baseline: Baseline) -> bytes:
    return baseline.to_text().encode()


def read_outputs(path: Path) -> StoredAnswers:
    return read_answers(path, ACCEPTED)


def write_outputs(answers: StoredAnswers) -> bytes:
    return encode_answers(answers, ACCEPTED)


def write_run(run: Any) -> bytes:
    text: str = run.to_json()
    return text.encode()


# Prompts


def read_prompt(path: Path) -> object:
    path.with_name("ticket.schema.json").write_text("{}")
    prompt = Prompts(path.parents[1]).get(path.parent.name, path.stem)
    return prompt.output_schema, prompt.params, prompt.model


def read_output_schema(path: Path) -> object:
    path.with_name("v1.md").write_text(f"---\noutput_schema: {path.name}\n---\nuser:\nHi\n")
    return Prompts(path.parents[1]).get(path.parent.name, "v1").output_schema


def read_aliases(path: Path) -> object:
    for version in ("v1.md", "v2.md", "v3.md"):
        path.with_name(version).write_text("user:\nHi\n")
    return Prompts(path.parents[1]).aliases(path.parent.name)


def read_messages(path: Path) -> object:
    file, text = _read_source(path)
    return read_message_list(text, file)


# Cases


@cache
def parquet_files() -> tuple[bytes, ...]:
    from pyarrow import parquet

    target = io.BytesIO()
    parquet.write_table(_make_table(), target)
    return (target.getvalue(),)


@cache
def arrow_files() -> tuple[bytes, ...]:
    from pyarrow import ipc

    target = io.BytesIO()
    table = _make_table()
    with ipc.new_stream(target, table.schema) as writer:
        writer.write_table(table)
    return (target.getvalue(),)


def _make_table() -> Any:
    import pyarrow as pa

    table = pa.table(
        {"id": ["a", "b"], "input": ["q", "p"], "label": [0, 1], "nested": [{"x": [1.5]}, {"x": []}]}
    )
    features = {"label": {"names": ["no", "yes"], "_type": "ClassLabel"}}
    return table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def read_cached_dataset(path: Path) -> object:
    path.with_name("x-train.arrow").write_bytes(arrow_files()[0])
    return load_cases(path.parent)


def convert_rows(path: Path, form: str) -> object:
    return list(read_row_file(RowFile(path, form, {})))


def read_cache_pairs(path: Path) -> object:
    return read_texts("pairs", path, CachePair._fields)


# Judges and meaning


def read_image(path: Path) -> object:
    return read_images([path], "judge")


def read_meaning_pairs(path: Path) -> object:
    return semantic_calibrate.read_pairs(path, same_from=4, different_to=2)


def threshold_files() -> tuple[bytes, ...]:
    threshold = Threshold(
        value=0.61, embedder="hashing", version="hashing/1/4096", rule="f1", facts={"pairs": 40}
    )
    return (write_threshold(threshold),)


def write_threshold(threshold: Threshold) -> bytes:
    return threshold.text().encode()


def write_record(record: Any) -> bytes:
    text: str = record.to_json_text()
    return text.encode()


def read_nli_config(path: Path) -> object:
    return read_config(path.parent, "nli")


# Production


def read_traces(path: Path) -> object:
    counts: Counter[str] = Counter()
    conversations = list(read_conversations([path], counts))
    tapes = list(read_tapes([path], conversations))
    return [tape_file.format_tape(tape) for tape in tapes if tape is not None]


def read_queue_lines(path: Path) -> list[str]:
    """Return the entries as they are written: empty values are left out."""
    return [entry.to_line() for entry in read_queue(path)]


def write_queue(lines: Any) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


# What else a project has


def load_schema(path: Path) -> object:
    return load(str(path))


def read_tools(path: Path) -> object:
    return read_tool_file(path, path.name)


def read_skill(path: Path) -> object:
    return [arm.text for arm in skill_arms(path.parent)]


def load_folder(path: Path) -> object:
    return load_corpus(path.parent)


def open_text(path: Path) -> object:
    return open_document(str(path), prompts=path.parent / "prompts")


def open_code(path: Path) -> object:
    return open_document(f"{path}:PROMPT", prompts=path.parent / "prompts")


def import_suites(path: Path) -> object:
    written = []
    for suite in read_suites(path, path.parent):
        checks = [
            [(found, make_check(found, test.variables)) for found in test.assertions] for test in suite.tests
        ]
        written.append(write_suite(suite, checks))
    return written


def import_tests(path: Path) -> object:
    config = {"prompts": ["{{question}}"], "providers": ["openai:m"], "tests": f"file://{path.name}"}
    config_path = path.with_name("promptfooconfig.yaml")
    config_path.write_text(json.dumps(config))
    return import_suites(config_path)


def read_ini(path: Path) -> object:
    return common.read_ini(path.parent), list(run_notes._iter_keys(path))


def read_override(path: Path) -> object:
    file_override._read_override.cache_clear()
    return file_override._read_override(os.fspath(path))
