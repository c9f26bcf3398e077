"""Rare ends of small helpers: git that fails, addresses that are none, functions of each kind, values of options."""

from __future__ import annotations

import math
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from support.messages import check_message

from pytest_llmops._util import git, yaml_scalars
from pytest_llmops._util.code_swap import kind_of
from pytest_llmops._util.framework_objects import is_retriever, read_answer, read_hits, search_any
from pytest_llmops._util.hosts import split_address
from pytest_llmops._util.judge_names import unknown_judge
from pytest_llmops._util.option_modes import FAULT_NAMES, LookTrials, parse_faults, parse_trials
from pytest_llmops._util.server_probe import ServerReply, request_status
from pytest_llmops._util.text_files import count_characters
from pytest_llmops.errors import UsageError
from pytest_llmops.recorder import soft

# git


@pytest.mark.parametrize(
    "error", [FileNotFoundError("git"), PermissionError("not allowed"), subprocess.TimeoutExpired("git", 30)]
)
def test_a_git_that_cannot_run_is_told(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def run(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(subprocess, "run", run)
    assert check_message(git.run_git(Path("x"), "log"))


@pytest.mark.parametrize(
    ("status", "out", "err", "result"),
    [(0, b"a", b"warning", b"a"), (1, b"a", b" bad \xff\n", "bad \ufffd"), (128, b"", b" \n", "git failed")],
)
def test_the_output_of_git_or_why_it_failed_is_returned(
    monkeypatch: pytest.MonkeyPatch, status: int, out: bytes, err: bytes, result: bytes | str
) -> None:
    calls: list[object] = []

    def run(command: list[str], **how: object) -> Any:
        calls.append((command, how))
        return SimpleNamespace(returncode=status, stdout=out, stderr=err)

    monkeypatch.setattr(subprocess, "run", run)
    assert git.run_git(Path("x"), "log", "-1") == result
    how = {"capture_output": True, "check": False, "timeout": git.GIT_TIMEOUT_S}
    assert calls == [(["git", "-C", "x", "log", "-1"], how)]


def test_the_commits_of_a_path_are_listed_or_git_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []
    answers: list[bytes | str] = [b"b\na\n", "bad object"]

    def run(*command: object) -> bytes | str:
        calls.append(command)
        return answers.pop(0)

    monkeypatch.setattr(git, "run_git", run)
    place = git.CommittedPath(Path("top"), "c0ffee", "prompts/a", is_shallow=False)
    assert git.list_commits(place) == ["b", "a"]
    assert calls == [(Path("top"), "log", "--format=%H", "c0ffee", "--", ":(top,literal)prompts/a")]
    with pytest.raises(UsageError, check=check_message):
        git.list_commits(place)


# Addresses and names.


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://a.example:99999/", ("", None)),
        ("http://[::1", ("", None)),
        ("http://a.example", ("a.example", 80)),
        ("https://a.example:8443/v1", ("a.example", 8443)),
        ("ftp://a.example", ("a.example", None)),
        ("plain text", ("", None)),
    ],
)
def test_the_host_and_port_of_an_address(url: str, address: tuple[str, int | None]) -> None:
    assert split_address(url) == address


@pytest.mark.parametrize("url", ["ftp://a.example", "a.example", ""])
def test_only_http_is_called(url: str) -> None:
    reply = request_status(url)
    assert reply == ServerReply(problem=reply.problem)
    assert check_message(reply.problem)


@pytest.mark.parametrize("where", ["", "llm_judge"])
def test_a_sentence_is_not_the_name_of_a_judge(where: str) -> None:
    error = unknown_judge("Is it polite and short?", ["quality"], where=where)
    assert type(error) is UsageError
    assert check_message(error)


# Functions.


def plain() -> None: ...


def generator() -> Iterator[None]:
    yield


async def coroutine() -> None: ...


async def async_generator() -> AsyncIterator[None]:
    yield


@pytest.mark.parametrize("function", [plain, generator, coroutine, async_generator])
def test_each_function_has_a_kind(function: Any) -> None:
    assert kind_of(function) == function.__name__.replace("_", " ")


class Opaque:
    """A search method whose parameters cannot be read."""

    __signature__ = "not a signature"

    def __call__(self, *arguments: object) -> object:
        return arguments


def test_a_search_whose_parameters_cannot_be_read_gets_a_number_by_its_name() -> None:
    assert search_any(SimpleNamespace(search=Opaque()), "q", 3) == ("q", 3)
    assert search_any(SimpleNamespace(retrieve=Opaque()), "q", 3) == ("q",)
    assert search_any(Opaque(), "q", 3) == ("q",)
    assert search_any(SimpleNamespace(search=Opaque()), "q", None) == ("q",)
    assert is_retriever(SimpleNamespace(search=Opaque()))


def test_what_is_no_text_stays_as_it_is() -> None:
    response = SimpleNamespace(output=[], output_text=None)
    assert read_answer(response) is response
    passage = SimpleNamespace(metadata={})
    assert next(iter(read_hits([passage]))) is passage


def test_a_decorator_collects_failures_of_each_call_alone() -> None:
    both = soft(judges=True)
    other = both._recreate_cm()
    assert other is not both
    with other as block:
        assert block.asks_judges is True
    with soft()._recreate_cm() as block:
        assert block.asks_judges is False


# Values.


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("ab", 3), ("[]", 1), ("{}", 1), ("[a, bc]", 6), ("{a: b, cd: [e]}", 11), ("[&x [ab], *x, *x]", 13), ("&x [a, *x]", math.inf),
        ("{a: &x {b: *x}}", math.inf),
    ],
)  # fmt: skip
def test_the_size_of_a_document_counts_its_aliases(text: str, size: float) -> None:
    node = yaml.compose(text)
    assert node is not None
    assert count_characters(node, {}) == size


def test_looks_and_faults_have_short_names() -> None:
    assert (parse_trials("auto"), type(parse_trials("auto"))) == (3, LookTrials)
    assert (parse_trials("auto:5"), type(parse_trials("auto:5"))) == (5, LookTrials)
    assert (parse_trials(" 4 "), type(parse_trials("4"))) == (4, int)
    assert parse_faults("all") == FAULT_NAMES
    assert parse_faults(f"{FAULT_NAMES[1]},all") == FAULT_NAMES
    assert parse_faults(FAULT_NAMES[1]) == (FAULT_NAMES[1],)
    with pytest.raises(ValueError, check=check_message):
        parse_faults("tests/")


@pytest.mark.parametrize(
    ("kind", "written", "is_other"),
    [
        ("float", "1_0.5", True), ("float", "1.50", True), ("float", "1.5", False), ("float", "1.0e+5", True), ("float", "-.INF", False),
        ("float", ".nan", False), ("float", "100000.0", False), ("float", "0.10000000000000000555", True), ("float", "+1.5", True),
        ("int", "012", True), ("int", "12", False), ("null", "~", True), ("null", "NULL", False), ("bool", "True", False),
    ],
)  # fmt: skip
def test_a_value_that_would_be_written_otherwise_is_found(kind: str, written: str, *, is_other: bool) -> None:
    assert yaml_scalars._is_other_spelling(kind, written) == is_other
