"""One test while it runs: its recorder, its cassette, its environment, and what the report gets.

Knows pytest's items by their attributes only; the hooks in `plugin` call it.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from pytest_llmops import recorder, registry
from pytest_llmops.errors import CassetteMiss, LLMOpsError, UnknownName
from pytest_llmops.measurement import Json, amount, shorten
from pytest_llmops.settings import Settings

if TYPE_CHECKING:
    from pytest_llmops.protocols import Call
    from pytest_llmops.runs import TestRecord

FIXTURES = frozenset(
    {"prompt", "prompts", "case", "retriever", "judge", "llm", "embedder", "llm_calls", "llm_cassette"}
)  # fmt: skip
MARKERS = ("prompt", "cases", "retriever", "judge", "llm_cassette")
NEEDS_JUDGE = "needs a judge: run with --llm-judge"
HELP = (
    "prompt(name, versions=None): the prompt of the `prompt` fixture; with versions, one test for each",
    "cases(file): one test for each case of a JSONL, YAML or CSV file beside the test",
    "retriever(name, k=None): the retriever of the `retriever` fixture, and how many hits it returns",
    "judge(name='quality'): the judge of the `judge` fixture; the test is skipped without --llm-judge",
    "llm_cassette(name=None): record and replay this test; a name shares one cassette between tests",
)
"""One line for each marker, as ``pytest --markers`` shows it."""
KEYS = (
    "OPENAI_API_KEY",
    "ANTHROPIC_API_KEY",
    "GEMINI_API_KEY",
    "MISTRAL_API_KEY",
    "CO_API_KEY",
    "OPENROUTER_API_KEY",
)

_made: dict[tuple[str, str, object], object] = {}
"""Judges, embedders and models of this process, by kind, name and factory."""


def is_ours(item: Any) -> bool:
    """Say whether a test uses a fixture or marker of this plugin, and so gets a cassette."""
    names = getattr(item, "fixturenames", ())
    if not FIXTURES.isdisjoint(names):
        return True
    return any(mark.name in MARKERS for mark in item.iter_markers())


def needs_judge(item: Any) -> bool:
    """Say whether a test declares that it needs a judge."""
    return "judge" in getattr(item, "fixturenames", ()) or item.get_closest_marker("judge") is not None


@dataclass(slots=True)
class Harness:
    """Everything the plugin holds for one test.

    Args:
        item: pytest's item.
        settings: The run's settings.
        skip: Ends the test as skipped, with a reason.
    """

    item: Any
    settings: Settings
    skip: Callable[[str], NoReturn]
    ours: bool = False
    recorder: recorder.Recorder = field(default_factory=recorder.Recorder)
    tape: Any = None
    passed: bool = False
    record: TestRecord | None = None
    _environ: dict[str, str | None] = field(default_factory=dict)
    _told: int = 0

    def start(self) -> None:
        """Put this test's recorder on top."""
        rec = self.recorder
        rec.settings = self.settings
        rec.lookup = self.lookup
        rec.provenance = self.provenance
        rec.redact = self._masked
        recorder.push(rec)

    def _masked(self, text: str) -> str:
        from pytest_llmops.cassettes.redact import Redactor

        redactor = self.tape.redactor if self.tape is not None else Redactor.from_environment(os.environ)
        return str(redactor.text(text))

    def stop(self) -> None:
        """Take this test's recorder off."""
        recorder.pop(self.recorder)

    def open(self) -> None:
        """Open the cassette and set what SDKs read from the environment.

        Raises:
            CassetteError: The cassette is damaged.
            UsageError: The marker's arguments are wrong.
        """
        from pytest_llmops.cassettes import intercept, tape
        from pytest_llmops.cassettes.redact import Redactor

        found = self.item.ihook.pytest_llmops_redactors(config=self.item.config)
        redactors = {name: redact for one in reversed(found) for name, redact in one.items()}
        path, shared = self._cassette()
        self.tape = tape.Tape(
            path,
            self.settings.record,
            Redactor.from_environment(os.environ, [redactors[name] for name in sorted(redactors)]),
            owner=self.item.nodeid,
            command=f"{self.command()} --llm-record=new",
            allowed=frozenset(self.settings.allow_hosts),
            shared=shared,
        )
        self._set_environment()
        intercept.enter()
        tape.insert(self.tape)

    def close(self) -> None:
        """Close the cassette; a miss that the application swallowed still fails the test.

        Raises:
            CassetteError: What was recorded cannot be written; it waits in the journal.
            CassetteMiss: The test passed although a request was missed.
        """
        if self.tape is None:
            return
        from pytest_llmops.cassettes import tape

        one, self.tape = self.tape, None
        tape.eject(one)
        self._restore_environment()
        try:
            one.close(passed=self.passed)
        finally:
            self._note_cassette(one)
        if one.misses and self.passed:
            raise CassetteMiss(
                f"the test passed although a request was missed (was the error caught?)\n{one.misses[0]}"
            )

    def _note_cassette(self, one: Any) -> None:
        counts: dict[str, Json] = {
            "path": self._relative(one.path),
            "replayed": one.counts.replayed,
            "recorded": one.counts.recorded,
            "missed": one.counts.missed,
            "stale": one.counts.stale,
        }
        if one.notes:
            counts["notes"] = list(dict.fromkeys(one.notes))
        if one.counts != type(one.counts)():
            self.recorder.facts["cassette"] = counts

    def _relative(self, path: Path) -> str:
        root = self.item.config.rootpath
        return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)

    def _cassette(self) -> tuple[Path, bool]:
        from pytest_llmops.cassettes.naming import cassette_path, safe
        from pytest_llmops.marks import cassette_name

        name = cassette_name(self.item)
        if name:
            parts = [safe(part) for part in name.split("/")]
            return self.item.path.parent.joinpath("cassettes", *parts[:-1], f"{parts[-1]}.json"), True
        names = [part for part in self.item.nodeid.split("::")[1:-1] if part]
        callspec = getattr(self.item, "callspec", None)
        function = getattr(self.item, "originalname", None) or self.item.name
        return cassette_path(self.item.path, (*names, function), callspec.id if callspec else ""), False

    def _set_environment(self) -> None:
        from urllib.parse import urlsplit

        from pytest_llmops.cassettes.redact import PLACEHOLDER_KEY
        from pytest_llmops.hosts import is_loopback

        wanted = {"OPENAI_BASE_URL": self.settings.base_url} if self.settings.base_url else {}
        replay = self.settings.record == "none"
        local = is_loopback(urlsplit(self.settings.base_url).hostname or "")
        for name in KEYS if replay else KEYS[:1] if local else ():
            if not os.environ.get(name):
                wanted[name] = PLACEHOLDER_KEY
        for name, value in wanted.items():
            self._environ[name] = os.environ.get(name)
            os.environ[name] = value

    def _restore_environment(self) -> None:
        for name, value in self._environ.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        self._environ.clear()

    def lookup(self, kind: str, name: str) -> object:
        """Return the named judge, embedder, model or retriever: the nearest conftest's, else the built-in.

        Raises:
            UnknownName: Nobody knows the name.
        """
        __tracebackhide__ = True
        if kind == "judge" and not self.settings.judge:
            self.skip(NEEDS_JUDGE)
        hook = getattr(self.item.ihook, f"pytest_llmops_{kind}s")
        found = {
            key: factory for one in reversed(hook(config=self.item.config)) for key, factory in one.items()
        }
        if name not in found:
            built_in = registry.BUILT_IN.get(kind, {})
            if name not in built_in:
                raise UnknownName(kind, name, {*found, *built_in})
            if kind == "model":
                return registry.load(kind, name)  # the settings name it: nothing to keep
        factory = found.get(name)
        place = (kind, name, factory or self.settings)
        if place not in _made:
            _made[place] = factory() if factory else registry.load(kind, name)
        return _made[place]

    def command(self) -> str:
        """Return the command that runs this test alone."""
        path, _, rest = self.item.nodeid.partition("::")
        try:
            path = os.path.relpath(self.item.path, self.item.config.invocation_params.dir).replace("\\", "/")
        except ValueError:
            path = str(self.item.path)
        words = ["pytest", f"{path}::{rest}", *(["--llm-judge"] if self.settings.judge else [])]
        words += [f"--llm-prompt={one}" for one in self.settings.prompt]
        return " ".join(map(shlex.quote, words))

    def provenance(self) -> list[tuple[str, str]]:
        """Return what says who answered, what it took, and how to run this test again."""
        from pytest_llmops.trace import read

        pairs = []
        asked = [one for one in self.recorder.exchanges if one.purpose == "app"]
        if asked:
            pairs.append(("from", f"{_origin(read(asked[-1]))}{self._cassette_name()}"))
        return [*pairs, ("rerun", self.command())]

    def _cassette_name(self) -> str:
        return (
            f", cassette {self._relative(self.tape.path)}"
            if self.tape is not None and self.settings.record != "live"
            else ""
        )

    def used(self) -> bool:
        """Say whether there is anything to report."""
        return self.ours or bool(
            self.recorder.measurements or self.recorder.exchanges or self.record is not None
        )

    def payload(self, when: str, error: BaseException | None) -> dict[str, Json]:
        """Return what this phase's report carries, as plain builtins."""
        from pytest_llmops.trace import read

        taken = self.recorder.drain()
        calls = [read(one) for one in self.recorder.exchanges[self._told :]]
        self._told += len(calls)
        payload: dict[str, Json] = {
            "measurements": [one.to_wire() for one in taken],
            "calls": [one.to_wire() for one in calls],
        }
        if when == "teardown":
            payload["facts"] = dict(self.recorder.facts)
        if isinstance(error, (LLMOpsError, CassetteMiss)):
            payload["outcome"] = "errored"
            payload["kind"] = type(error).__name__
        return payload


def _origin(call: Call) -> str:
    tokens = call.usage.total_tokens
    parts = [shorten(call.model or call.endpoint, 60)]
    parts += [f"{tokens:,} tok"] if tokens is not None else []
    parts += [amount(call.cost_usd, "USD")] if call.cost_usd is not None else []
    parts += [f"{call.latency_s:.2f} s"] if call.latency_s is not None else []
    return ", ".join(parts) + (" (replayed)" if call.replayed else " (live)")
