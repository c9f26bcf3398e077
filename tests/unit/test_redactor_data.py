"""Third-party data: what of fake credentials is found by shape alone, and that ordinary text is left alone."""

from __future__ import annotations

import csv
import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_llmops.cassettes import importers as foreign
from pytest_llmops.cassettes import store
from pytest_llmops.errors import CassetteError
from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.wire.body import fold_body, unfold_body

pytestmark = pytest.mark.shared_data

ASSIGNED = re.compile(
    r"""(?ix) (?P<name> [\w:.-]*) ["']? \s* [:=] \s* (?:!!binary \s+)? ["']? (?P<value> [A-Za-z0-9+/_=-]{9,}) (?![\w.(\[])"""
)
ALONE = re.compile(
    r"""^\s*["']?(?P<name>)(?P<value>[A-Za-z0-9]{8,})["']?\s*$|(?<=["'])(?P<quoted>[a-z0-9]{10,})(?=["'])"""
)
SHA1 = re.compile("[0-9a-f]{40}")
NO_SECRET = re.compile(r"hash|commit|fingerprint|version|date|uuid|generated|\bname", re.IGNORECASE)


def values(folder: Path) -> dict[str, str]:
    """What looks like a credential in a folder of fake ones, each with its line: given to a name, quoted, or alone."""
    result: dict[str, str] = {}
    for path in sorted(folder.rglob("*.txt")):
        for line in path.read_text(encoding="utf-8").splitlines():
            listed = [*ASSIGNED.finditer(line), *ALONE.finditer(line)]
            for row in listed:
                value = row.groupdict().get("quoted") or row["value"]
                if (value.isupper() or any(map(str.isdigit, value))) and not (
                    NO_SECRET.search(row["name"] or "") or SHA1.fullmatch(value)
                ):
                    result.setdefault(value, line)
    return result


def test_credentials_without_a_shape_are_found_only_where_a_name_or_the_environment_tells_them(
    shared_data: Path,
) -> None:
    result = values(shared_data / "guardrails" / "secrets")
    by_shape = {value for value, line in result.items() if value not in Redactor().clean_text(line)}
    # No held-out figure: the length from which a password counts was chosen with these files at hand. Nine values
    # stand behind the name of a secret; the others could be anything.
    assert (len(by_shape), len(result)) == (9, 23)
    known = Redactor.from_environment({f"V{n}_TOKEN": value for n, value in enumerate(result)})
    for value, line in result.items():
        assert value not in known.clean_text(line)


def texts(data: Path) -> Iterator[str]:
    with (data / "guardrails/xstest/xstest_prompts.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    yield from (row["prompt"] for row in rows if "contrast" not in row["type"])
    for path in sorted((data / "suites").rglob("*banking77*")):
        for file_path in [path] if path.is_file() else sorted(path.rglob("*")):
            if file_path.is_file():
                raw = file_path.read_bytes()
                yield from (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode().splitlines()
    with gzip.open(data / "llm_outputs/outputs.jsonl.gz", "rt", encoding="utf-8") as lines:
        yield from lines


@pytest.mark.slow
def test_ordinary_text_is_left_alone(shared_data: Path) -> None:
    redactor = Redactor()
    count = 0
    for text in texts(shared_data):
        data = text.encode()
        assert redactor.clean(data) == data, text[:200]
        as_json = json.dumps({"messages": [{"role": "user", "content": text}]}).encode()
        assert redactor.clean(as_json) == as_json
        count += 1
    assert count > 15_000


ACCOUNT_LINES = re.compile(
    rb" +- proj_[A-Za-z0-9]{24}| +openai-organization: test_openai_org_id| +- (?:__cf_bm|_cfuvid|aid)=[^ ]+(?: .*)?"
    # Thoughts in YAML are not recognized; importers read them from the parsed bodies
    rb"| +(?:- )?signature: [A-Za-z0-9+/=]{200,}"
)


@pytest.mark.slow
def test_of_real_recordings_only_accounts_and_cookies_are_masked(shared_data: Path) -> None:
    changed = []
    paths = sorted((shared_data / "cassettes/files").glob("*.yaml"))
    assert len(paths) >= 44
    for path in paths:
        raw = path.read_bytes()
        lines = zip(raw.split(b"\n"), Redactor().clean(raw).split(b"\n"), strict=True)
        changed += [old for old, new in lines if old != new]
    assert changed
    assert [line for line in changed if not ACCOUNT_LINES.fullmatch(line)] == []


@pytest.mark.slow
def test_real_recordings_once_masked_are_written_without_a_complaint(shared_data: Path) -> None:
    redactor = Redactor.from_environment({"A_TOKEN": "a-token-that-is-nowhere"})
    count = 0
    for path in sorted((shared_data / "cassettes/files").glob("*.yaml*")):
        try:
            listed = foreign.read_foreign(path)
        except CassetteError:  # one holds no HTTP
            continue
        result, clean = [], []
        for number, interaction in enumerate(listed):
            bodies = [redactor.clean(interaction.request_body), redactor.clean(interaction.body)]
            request = {
                "method": interaction.method,
                "url": redactor.clean_text(interaction.url),
                "body": fold_body(bodies[0]),
            }
            answers = {"0": [{"status": interaction.status, "headers": {}, "body": fold_body(bodies[1])}]}
            result.append(store.Interaction(f"#{number:03d}", f"key-{number}", request, answers))
            clean.append(bodies)
        file = store.format_cassette(result, "2026-01-01").encode()
        assert not redactor.leaks(file), path.name
        back = store.parse_cassette(file, path).values()
        assert [
            [unfold_body(interaction.request["body"]), unfold_body(interaction.answers["0"][0]["body"])]
            for interaction in back
        ] == clean
        count += len(result)
    assert count >= 68
