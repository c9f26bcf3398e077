"""Recorder, cassette, environment and report payload of a running test.

Knows pytest's items by their attributes only; the hooks in `plugin` call it.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from pytest_llmops import recorder, registry
from pytest_llmops.errors import (
    CassetteMiss,
    UnknownName,
    UsageError,
    find_unscored_error,
    list_exception_classes,
    path_from_root,
    swallowed_error,
)
from pytest_llmops.harness import tapes
from pytest_llmops.measurement import Json, format_amount, shorten_text, to_builtins
from pytest_llmops.settings import NEEDS_JUDGE, OPTIONS, RecordMode, Settings

if TYPE_CHECKING:
    from pytest_llmops.cassettes import Tape
    from pytest_llmops.harness.run_checks import CollectedTests
    from pytest_llmops.recorder import Exchange
    from pytest_llmops.results.run import TestRecord

PLUGIN_FIXTURES = frozenset(
    {"prompt", "prompts", "case", "retriever", "judge", "judge_canaries", "llm", "embedder", "llm_calls", "llm_cassette", "llm_proxy"}
)  # fmt: skip
# Markers that make a test ours. `llm_models` is missing: it needs the `llm` fixture, which does.
# Markers that make a test ours. `llm_models` is missing: it needs the fixture `llm`, which does the same
PLUGIN_MARKERS = (
    "prompt", "cases", "retriever", "judge", "llm_cassette", "llm_trials", "llm_budget", "llm_compare", "llm_sentinel",
    "llm_robust", "llm_guardrail",
)  # fmt: skip
# A line for each marker, as ``pytest --markers`` shows it
MARKER_HELP = (
    "prompt(name, versions=None): the prompt of the `prompt` fixture; with versions, one test for each",
    "cases(file, fields=None, model=None, split='', tags=(), sample=None, seed=0): one test for each case of a file beside the test (JSONL, YAML, CSV, Parquet, a saved dataset) or of builtin:NAME",
    "retriever(name, k=None, embedder=None): the retriever of the `retriever` fixture; with an embedder, by vectors",
    "judge(name='quality'): the judge of the `judge` fixture; the test is skipped without --llm-judge",
    "llm_models(name, ...): the models of the `llm` fixture, one test for each; --llm-model comes before it",
    "llm_trials(n, pass_at_least=None, at_least=None, confidence=0.95): run the test n times; how many must pass (all), or which rate",
    "llm_compare(argument, base=None): say which value of a parametrized argument is better than the base (the first)",
    "llm_robust(transformation, ..., seed=0, equal='verdict'): run each case again with its input changed (typos, case, order, distractor, paraphrase)",
    "llm_sentinel(): the prompt of this test stays as it is: with --llm-record=verify it says whether the model moved, or your change",
    "llm_guardrail(at_least_blocked=None, at_most_overblocked=None): the cases are attacks and benign twins; not each of them decides, but the share of all",
    "llm_budget(usd=None, calls=None, tokens=None): what the application's calls of the test may cost",
    "llm_cassette(name=None, record=None, at_once=True): record and replay this test; a name shares one cassette between tests; record='live' asks live; at_once=False: --llm-concurrency makes its calls one after another",
)

# Settings that a request depends on, beside the versions of prompts
REQUEST_SETTINGS = frozenset({"trials", "model", "judge_model", "base_url", "api", "embedder"})
# User, password and query of an address
SECRETS_IN_URL = re.compile(r"(?<=://)[^/?#]*(?=@)|(?<=\?).+")

FOREIGN_MARKER = "vcr"  # marker of other recording plugins (pytest-recording, pytest-vcr, cassetter)
# Fixtures that those plugins add to every test: without any, no such plugin is installed
FOREIGN_FIXTURES = frozenset({"vcr", "_vcr_marker", "cassette"})


def uses_plugin(item: Any) -> bool:
    """Return whether a test uses a fixture or marker of this plugin, and so gets a cassette."""
    return not PLUGIN_FIXTURES.isdisjoint(getattr(item, "fixturenames", ())) or any(
        mark.name in PLUGIN_MARKERS for mark in item.iter_markers()
    )


def has_own_marker(node: Any, name: str) -> bool:
    """Return whether a test has a marker itself, not through its class or module."""
    return any(mark.name == name for mark in node.own_markers)


def has_trials(item: Any, settings: Settings) -> bool:
    """Return whether a test is repeated: by its marker, or because the run repeats all tests."""
    return settings.trials > 1 or item.get_closest_marker("llm_trials") is not None


def is_recorded_elsewhere(item: Any) -> bool:
    """Return whether another recording plugin records a test, so that we leave its traffic alone.

    Raises:
        UsageError: The test is marked for both plugins.
    """
    if item.get_closest_marker(FOREIGN_MARKER) is None or FOREIGN_FIXTURES.isdisjoint(
        getattr(item, "fixturenames", ())
    ):
        return False
    if item.get_closest_marker("llm_cassette") is not None:
        raise UsageError(
            f"{item.nodeid}: marked `{FOREIGN_MARKER}` and `llm_cassette`: one of two recorders can record it, take one mark away"
        )
    return True


def needs_judge(item: Any) -> bool:
    """Return whether a test declares that it needs a judge."""
    return (
        not {"judge", "judge_canaries"}.isdisjoint(getattr(item, "fixturenames", ()))
        or item.get_closest_marker("judge") is not None
    )


@dataclass(slots=True)
class Harness:
    """Everything the plugin holds for a test.

    Args:
        item: pytest's item.
        settings: The run's settings.
        skip: Ends the test as skipped, with a reason.
        ours: The test uses a fixture or marker of ours.
    """

    item: Any
    settings: Settings
    skip: Callable[[str], NoReturn]
    ours: bool = False
    is_silent: bool = False  # Whether this run of the test is not reported
    recorder: recorder.Recorder = field(default_factory=recorder.Recorder)
    tape: Tape | None = None
    passed: bool = False
    # Connections to models that were refused because nothing records the test
    refused: list[CassetteMiss] = field(default_factory=list)
    reports_caught: bool = False  # Whether nothing else reports a miss that the test caught
    record: TestRecord | None = None
    collected: CollectedTests | None = None
    log: tapes.TapeLog = field(init=False)
    _blocks: list[Tape] = field(default_factory=list)
    _in_use: ExitStack = field(default_factory=ExitStack)
    _redactor: Any = None
    _reported_calls: int = 0
    _attempts: int = 0

    def __post_init__(self) -> None:
        self.log = tapes.TapeLog(self.item.config.rootpath)

    def start(self) -> None:
        """Make this test's recorder the current recorder."""
        rec = self.recorder
        rec.settings = self.settings
        rec.find_component = self.find_component
        rec.describe_origin = self.describe_origin
        rec.redact = self.mask_secrets
        rec.open_block_cassette = self.open_block_cassette
        recorder.push_recorder(rec)
        from pytest_llmops.redaction.pytest_reports import mask_log_handlers

        mask_log_handlers(self.item.config.pluginmanager.get_plugin("logging-plugin"), self.mask_secrets)

    def mask_secrets(self, text: str) -> str:
        """Return a text with its secrets masked, and what detectors found in the test."""
        from pytest_llmops.redaction.pytest_reports import mask_texts

        text = str(self.redactor.clean_excerpt(mask_texts(text, self.recorder.hidden)))
        if tapes.fixture_redactor().known:
            return tapes.fixture_redactor().clean_excerpt(text)
        return text

    def stop(self) -> None:
        """Restore the environment, and remove this test's recorder."""
        self._in_use.close()
        recorder.pop_recorder(self.recorder)

    @property
    def candidate(self) -> str:
        """The model that this test was made for; empty: no particular model."""
        from pytest_llmops.harness.parametrize import candidate_of

        return candidate_of(self.item)

    @property
    def redactor(self) -> Any:
        """The redactor of the tape, which knows the credentials of its requests; without a tape a plain redactor."""
        from pytest_llmops.redaction.redactor import Redactor

        if self.tape is not None:
            self._redactor = self.tape.config.redactor
        if self._redactor is None:
            self._redactor = Redactor.from_environment(os.environ)
        return self._redactor

    def open_cassette(self) -> None:
        """Open the cassette and set the environment of SDKs, unless another recording plugin records the test.

        Raises:
            CassetteError: The cassette is damaged.
            UsageError: The marker's arguments are wrong.
        """
        from pytest_llmops.harness.markers import marker_arguments
        from pytest_llmops.harness.parametrize import describe_parameters, describe_variant

        if self.candidate:
            self.recorder.facts["model"] = {"name": self.candidate}
        marker = marker_arguments(self.item, "llm_sentinel")
        if marker is not None:
            self.recorder.facts["sentinel"] = not marker.by_name()
        params = describe_parameters(self.item)
        if params:
            self.recorder.facts["params"] = params
        compared = describe_variant(self.item, self.settings.primary_metric)
        if compared:
            self.recorder.facts["compare"] = compared
        if is_recorded_elsewhere(self.item):
            return
        from pytest_llmops.redaction.pytest_reports import quiet_loggers

        quiet_loggers()
        path, shared = tapes.item_cassette_path(self.item)
        attempt, _ = tapes.repetition_of(self.item)
        # pytest-rerunfailures and flaky set up the same test again.
        if self._attempts:
            attempt = (attempt or 0) + self._attempts
        mode: RecordMode | None = None
        if tapes.is_marked_live(self.item):
            mode = "live"
        take = str(recorder.current_trial() or attempt or 0)
        self.tape = self._make_tape(path, shared=shared, mode=mode, attempt=attempt, take=take)
        self._attempts += 1
        self._in_use.enter_context(tapes.use_test_tape(self.tape, self.settings))

    def _make_tape(
        self,
        path: Path,
        *,
        shared: bool,
        mode: RecordMode | None = None,
        attempt: int | None = None,
        take: str = "0",
    ) -> Tape:
        command = f"{self.rerun_command()} --llm-record=new"
        if mode is not None:
            settings = replace(self.settings, record=mode)
        else:
            settings = self.settings
        if self.collected is not None:
            index = self.collected.index
        else:
            index = None
        return tapes.make_tape(
            self.item,
            settings,
            path,
            shared=shared,
            command=command,
            elsewhere=index,
            attempt=attempt,
            take=take,
        )

    def open_block_cassette(self, name: str | Path, mode: RecordMode | None = None) -> Tape:
        """Open the cassette of a block in this test, under the run's settings.

        Raises:
            CassetteError: The cassette is damaged.
        """
        if isinstance(name, Path):
            path = name
        else:
            path = tapes.shared_cassette_path(self.item, name)
        if self.tape is not None:
            return self.tape.open_block_tape(path, mode)
        tape = self._make_tape(path, shared=True, mode=mode)
        if not self._blocks:
            self._in_use.enter_context(tapes.sdk_environment(self.settings))
        self._blocks.append(tape)
        return tape

    def tape_of_fixture(
        self, fixturedef: Any, path: Path, running: Callable[[], Harness | None]
    ) -> tapes.FixtureTape:
        """Open the cassette of a fixture that is set up for this test; its tear-down closes the cassette.

        Raises:
            CassetteError: The cassette is damaged.
        """
        tape = tapes.FixtureTape(self._make_tape(path, shared=True), self.settings, running)
        fixturedef.addfinalizer(tape.end_teardown)  # the first added is the last called
        return tape

    def close_cassette(self) -> None:
        """Close the cassette; a miss that the application swallowed still fails the test.

        Raises:
            CassetteError: The recordings cannot be written; they stay in the journal.
            CassetteMiss: The test passed, or failed as an `xfail` expects, although a request was missed.
            BudgetReached: The same, although a live call was refused.
        """
        from pytest_llmops.cassettes import count_takes

        tape = self.tape
        self.tape = None
        if tape is None:
            caught = next(iter(self.refused), None)
        else:
            caught = tape.verdict()
        if tape is not None:
            self._in_use.close()
            passed = self.passed and caught is None
            try:
                tape.close(passed=passed)
            finally:
                more = self._candidate_facts()
                takes = count_takes(tape)
                if takes and self.item.get_closest_marker("llm_trials") is None:
                    more["takes"] = takes
                self.log.add_tape(tape, passed=passed, more=more)
                self._record_cassette_facts()
        if caught is not None and self.reports_caught:
            if self.passed:
                what = "the test passed"
            else:
                what = "the test ended as its xfail expects"
            raise swallowed_error(what, caught)
        if tape is not None and caught is not None and tape.report.errors_elsewhere:
            raise type(caught)(f"in a process that the test started: {caught}")

    def _candidate_facts(self) -> dict[str, Json]:
        """Return the parameters and models by which cassettes of this test for other models are recognized."""
        from pytest_llmops.harness import parametrize

        if "llm" not in getattr(self.item, "fixturenames", ()):
            return {}
        return {
            "case": tapes.repetition_of(self.item)[1],
            "models": sorted(parametrize.hook_factories(self.item, "model")),
        }

    def add_unrun(self) -> None:
        """Add the cassettes of a skipped test to the usage record."""
        path, shared = tapes.item_cassette_path(self.item)
        self.log.add_unrun(path, shared=shared)
        for _, fixture_path in tapes.recorded_fixtures(self.item):
            self.log.add_unrun(fixture_path, shared=True)

    def _record_cassette_facts(self) -> None:
        if self.log.facts:
            self.recorder.facts["cassette"] = self.log.facts

    def find_component(self, kind: str, name: str) -> object:
        """Return a judge, embedder, model or retriever by name: the nearest conftest's, else the built-in.

        Raises:
            UnknownName: No component has the name.
            UsageError: The component calls a server, and nothing records this test.
        """
        __tracebackhide__ = True
        component = self._load_component(kind, name)
        if not getattr(component, "asks_server", False) or self.ours or self.settings.record == "live":
            return component
        from pytest_llmops.cassettes import current_tape

        if is_recorded_elsewhere(self.item) or current_tape() is not None:
            return component
        # The test was not known to be ours when it began, so it has no cassette.
        raise UsageError(
            f"{self.item.nodeid}: the {kind} {name!r} asks a server, and nothing records this test: mark it with "
            "@pytest.mark.llm_cassette, open use_cassette(...), or run with --llm-record=live"
        )

    def _load_component(self, kind: str, name: str) -> object:
        __tracebackhide__ = True
        from pytest_llmops.harness import parametrize

        if kind == "judge" and not self.settings.judge:
            self.skip(NEEDS_JUDGE)
        hooked = parametrize.hook_factories(self.item, kind)
        if kind == "model":
            name = self._resolve_model_name(name, hooked)
        if name not in hooked:
            if not registry.is_builtin(kind, name):
                raise UnknownName(
                    kind,
                    name,
                    {*hooked, *registry.BUILT_IN.get(kind, {})},
                    where="--llm-embedder or ini llm_embedder"
                    * ((kind, name) == ("embedder", self.settings.embedder)),
                )
            if kind == "model":
                return registry.load_builtin(kind, name)  # named by the settings: nothing to cache
        return parametrize.build_component(self.item, kind, name, hooked.get(name), self.settings)

    def _resolve_model_name(self, name: str, known: Collection[str]) -> str:
        """Return the hook's own name for ``app`` or ``judge``, else the name of a model at the run's server."""
        app_model = self.settings.single_model
        if name == "app":
            model = self.candidate or app_model
            if model in known:
                return model
            if self.candidate:
                return f"app:{self.candidate}"
            return name
        if name != "judge" or name in known:
            return name
        if self.settings.judge_model in known:
            return self.settings.judge_model
        if not self.settings.judge_model and app_model in known:
            raise UsageError(
                f"{self.item.nodeid}: expected the judges' model (--llm-judge-model=NAME, or 'judge' in pytest_llmops_models), "
                f"got none: {app_model!r} of --llm-model is a model of that hook and no name at the judges' server"
            )
        return name

    def rerun_command(self) -> str:
        """Return the command that runs this test alone."""
        path, _, rest = self.item.nodeid.partition("::")
        try:
            path = os.path.relpath(self.item.path, self.item.config.invocation_params.dir).replace("\\", "/")
        except ValueError:
            path = str(self.item.path)
        words = ["pytest", f"{path}::{rest}", *(["--llm-judge"] if self.settings.judge else [])]
        words += [f"--llm-prompt={version}" for version in self.settings.prompt]
        return " ".join(map(shlex.quote, [*words, *self._rerun_flags()]))

    def _rerun_flags(self) -> Iterator[str]:
        """Yield the flags of this run that requests depend on, without user, password and query of an address."""
        for option in (option for option in OPTIONS if option.name in REQUEST_SETTINGS):
            is_flag = self.item.config.getoption(option.dest, None) is not None
            # An address of the environment may be missing where the command is run.
            is_address = option.name == "base_url" and not self.item.config.getini(option.dest)
            if is_flag or (is_address and self.settings.base_url):
                given = getattr(self.settings, option.name)
                for value in given if isinstance(given, tuple) else (given,):
                    if option.name == "base_url":
                        text = SECRETS_IN_URL.sub("[secret]", value)
                    else:
                        text = value
                    yield f"{option.flag}={self.redactor.clean_text(str(text))}"

    def describe_origin(self) -> list[tuple[str, str]]:
        """Return which model answered, at which cost, and the command to run this test again."""
        from pytest_llmops.trace import read_call

        rerun = ("rerun", self.rerun_command())
        app_exchanges = [exchange for exchange in self.recorder.exchanges if exchange.purpose == "app"]
        if not app_exchanges:
            return [rerun]
        call = read_call(app_exchanges[-1])
        parts = [shorten_text(call.model or call.endpoint, 60)]
        if call.usage.total_tokens is not None:
            parts += [f"{call.usage.total_tokens:,} tok"]
        if call.cost_usd is not None:
            parts += [format_amount(call.cost_usd, "USD")]
        if call.latency_s is not None:
            parts += [f"{call.latency_s:.2f} s"]
        source = ", ".join(parts) + (" (replayed)" if call.replayed else " (live)")
        if self.tape is not None and self.settings.record != "live":
            source += f", cassette {path_from_root(self.tape.path, self.item.config.rootpath)}"
        return [("from", source), rerun]

    def end_phase(self, report: Any, error: BaseException | None) -> None:
        """Make a report failed that an `xfail` hides although a result is missing, and note whether the test passed.

        Args:
            report: pytest's report, after its own plugin has treated `xfail`.
            error: What the phase raised.
        """
        unscored = any(measurement.status == "errored" for measurement in self.recorder.measurements)
        if hasattr(report, "wasxfail") and error is not None and (unscored or find_unscored_error(error)):
            del report.wasxfail
            report.outcome = "failed"
        if report.when == "call":  # the report of the test itself comes after those of its subtests
            self.passed = report.passed
            # A test that an `xfail` expects to fail must not hide a miss that it caught.
            self.reports_caught = report.passed or hasattr(report, "wasxfail") or error is None

    def has_results(self) -> bool:
        """Return whether there is anything to report."""
        return self.ours or bool(
            self.recorder.measurements
            or self.recorder.exchanges
            or self.record is not None
            or self.log.uses
            or self._blocks
            or self.refused
        )

    def build_payload(self, when: str, error: BaseException | None) -> dict[str, Json]:
        """Return what the report of this phase carries, as plain builtins."""
        from pytest_llmops.trace import read_call

        measurements = self.recorder.drain_measurements()
        calls = [read_call(exchange) for exchange in self.recorder.exchanges[self._reported_calls :]]
        self._reported_calls += len(calls)
        payload: dict[str, Json] = {
            "measurements": [measurement.to_wire() for measurement in measurements],
            "calls": [call.to_wire() for call in calls],
        }
        if when == "teardown":
            while self._blocks:  # only if the test has no tape of its own
                tape = self._blocks.pop()
                self.log.add_tape(tape, passed=self.passed and tape.verdict() is None, own=False)
            self._record_cassette_facts()
            recordings = fingerprint_exchanges(self.recorder.exchanges, self.mask_secrets)
            if recordings:
                self.recorder.facts["recordings"] = [recordings]
            if self._asserts_nothing(measurements):
                self.recorder.facts["asserts"] = False
            payload["facts"] = dict(self.recorder.facts)
            payload["tapes"] = self.log.uses
        if error is not None:
            payload["raised"] = list_exception_classes(error)
            assertions = getattr(error, "assertions", ())
            if assertions:
                payload["assertions"] = list(assertions)
        unscored = find_unscored_error(error)
        if unscored is not None:
            payload["outcome"] = "errored"
            payload["kind"] = type(unscored).__name__
        return payload

    def _asserts_nothing(self, measurements: Sequence[object]) -> bool:
        """Return whether the test passed, called a model of the application, and looked at no answer."""
        if self.record is not None:
            earlier = self.record.measurements
        else:
            earlier = ()
        if not self.passed or measurements or earlier or not hasattr(self.item, "obj"):
            return False
        from pytest_llmops.harness.run_checks import may_assert

        calls_app = any(exchange.purpose == "app" for exchange in self.recorder.exchanges)
        return calls_app and not may_assert(self.item)


def fingerprint_exchanges(exchanges: Sequence[Exchange], mask: Callable[[str], str] = str) -> str:
    """Return a digest of all requests and answers, in any order; "": there are none.

    It is the same live and replayed, so that a run that plays a baseline's own recordings is known.

    Args:
        exchanges: What went over the wire.
        mask: Masks secrets: an answer that was recorded has none.
    """
    from pytest_llmops._util.text_files import canonical_json, fingerprint_parts
    from pytest_llmops.trace import read_call

    digests = []
    for exchange in exchanges:
        call = read_call(exchange)
        answer = call.output, call.thinking, *(f"{tool.name} {tool.arguments}" for tool in call.tool_calls)
        # The trace reads only the number of vectors, the first of several answers, and nothing of a ranking.
        if not any(answer) or call.unread or call.endpoint in ("embeddings", "rerank"):
            answer = exchange.body.decode("utf-8", "replace"), ""
        if exchange.request is not None:
            request = canonical_json(to_builtins(exchange.request))
        else:
            request = ""
        parts = exchange.method, exchange.url, request, str(exchange.status), *map(str, answer)
        digests.append(fingerprint_parts(*map(mask, parts)))
    if digests:
        return fingerprint_parts(*sorted(digests))
    return ""
