"""Values for each option: one to set, another that has to give way to it, and one that is refused."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Example:
    """Values of one option.

    Attributes:
        text: As it is written on the command line and in an ini file.
        value: What it becomes; the value that TOML and JSON have for it.
        other: Another right one, as text.
        wrong: The same with a wrong value.
        expected: What the message about it says that it expected.
    """

    text: str
    value: object
    other: str
    wrong: object
    expected: str


EXAMPLES = {
    "model": Example("m1", "m1", "m2", 3, "a text"),
    "base_url": Example(
        "http://127.0.0.1:9/v1", "http://127.0.0.1:9/v1", "http://h", "localhost:80", "a URL"
    ),
    "api": Example("responses", "responses", "chat", "soap", "one of chat, responses"),
    "prompt": Example("greet=v1", ["greet=v1"], "greet=v2", "greet", "NAME=VERSION"),
    "judge": Example("true", True, "false", "yes", "true or false"),
    "judge_model": Example("j1", "j1", "j2", 3, "a text"),
    "self_judging": Example("error", "error", "allow", "never", "one of warn, error, allow"),
    "timeout": Example("2.5", 2.5, "3.5", "0", "a number of seconds above 0"),
    "record": Example("live", "live", "verify", "sometimes", "one of none, new, all, live, verify"),
    "match_ignore": Example("messages[*].id", ["messages[*].id"], "user", "a b..", "a JSON path"),
    "max_age": Example("90d", 90, "7d", "3 weeks", "a number of days"),
    "record_errors": Example("true", True, "false", "yes", "true or false"),
    "record_headers": Example(
        "X-Request-Id", ["x-request-id"], "x-ratelimit-*", "set-cookie", "without credentials"
    ),
    "allow_hosts": Example("localhost", ["localhost"], "a.example", "http://a", "a host without scheme"),
    "calls_outside_tests": Example("allow", "allow", "refuse", "record", "one of refuse, allow"),
    "adopt": Example("openevals", ["openevals"], "pydantic-evals", "deep", "one of deepeval, langsmith"),
    "max_calls": Example("3", 3, "4", "few", "a whole number, 0 or more"),
    "budget": Example("2.5", 2.5, "3.5", "-1", "US dollars, 0 or more"),
    "concurrency": Example("3", 3, "4", "0", "a whole number, 1 or more"),
    "silent_writes": Example(".cache", [".cache"], "build", 3, "a list"),
    "tools": Example("replay", "replay", "off", "live", "one of auto, replay, compare, off"),
    "mcp_servers": Example(
        "orders = python -m orders*",
        ["orders=python -m orders*"],
        "time=uvx time",
        "orders",
        "NAME=COMMAND or NAME=URL",
    ),
    "tool_functions": Example(
        "calendar.weekday",  # a run looks for the module
        ["calendar.weekday"],
        "calendar.isleap ignore=year",
        "weekday",
        "the path of a function",
    ),
    "clients": Example("codex", ["codex"], "claude-agent", "gpt", "one of claude-agent, codex"),
    "faults": Example("timeout, empty", ["timeout", "empty"], "slow", "slowly", "one of all, timeout"),
    "lint": Example("true", True, "false", "yes", "true or false"),
    "trials": Example("3", 3, "5", "three", "a whole number, 1 or more, or auto"),
    "baseline": Example("b.json", "b.json", "main", 3, "a text"),
    "accept": Example("first baseline", "first baseline", "another", "  ", "a reason"),
    "again": Example("run.json", "run.json", "last", "tests", "last or a run file"),
    "strict": Example("true", True, "false", "yes", "true or false"),
    "primary_metric": Example("judge.quality", "judge.quality", "text.exact", 3, "a text"),
    "report": Example("out.json", ["out.json"], "other.html", "report.pdf", "FILE.html, FILE.json"),
    "github": Example("off", "off", "auto", "never", "one of auto, off"),
    "junit_properties": Example("false", False, "true", 1, "true or false"),
    "embedder": Example("hashing", "hashing", "minilm", 3, "a text"),
    "semantic_threshold": Example(
        "/thresholds/a.json", "/thresholds/a.json", "/thresholds/b.json", 3, "a text"
    ),
    "semantic_judge": Example("true", True, "false", "yes", "true or false"),
    "language": Example("German", "German", "Polish", "Klingon", "one of English, German"),
    "prompts_dir": Example("texts", "texts", "others", 3, "a text"),
    "corpora_dir": Example("books", "books", "others", 3, "a text"),
    "case_fields": Example("input = q", ["input=q"], "reference=a", "inptu=q", "with a key of id, input"),
}
"""By option: a new one needs its line here."""
