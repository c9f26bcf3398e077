"""The baseline file: scores of a suite's single trials at the time when they were accepted.

The file is sorted and has a line per metric of a test, so that a pull request shows what moved. The answers themselves are
in a second file that is not committed; without it they are read from the cassettes of the commit.

Most tests measure a metric in the same version. That "usual" version and direction is stored once, at the top of the file; a
test lists only the metrics for which it has another one.
"""

from __future__ import annotations  # `StoredFacts` reads the types of fields as texts

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from pytest_llmops._util.text_files import (
    BadFile,
    canonical_json,
    decode_text,
    fingerprint_parts,
    json_kind,
    read_json,
)
from pytest_llmops.baselines.requests import fingerprint_calls, fingerprint_outputs, merge_calls
from pytest_llmops.errors import UsageError
from pytest_llmops.measurement import Json, Measurement, as_finite_float, shorten_text
from pytest_llmops.results.amounts import AMOUNTS
from pytest_llmops.results.details import (
    CaseFacts,
    StoredFacts,
    TrialFacts,
    as_list,
    as_mapping,
    fact_text,
    name_with_label,
)
from pytest_llmops.results.run import TestRecord

SCHEMA = "pytest-llmops/baseline/1"
TRIAL_RATE = "trials.passed"  # share of the trials of a test that passed
RESTORE = "restore it from git, or delete it and accept a run anew: pytest --llm-accept 'why'"
_CONFLICT = re.compile(rb"^(?:<{7}|>{7}) ", re.MULTILINE)
DIGITS = 6  # digits of a stored score; differences below are not a change
DIGITS_OF_AMOUNT = 10  # an answer may cost a hundred-thousandth of a dollar
Trials = tuple[float | None, ...]  # scores of a metric by trial; None: no score
Metric = tuple[str, str]  # version and direction (``higher`` or ``lower`` is better) of a metric


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance(StoredFacts):
    """When and why the baseline moved.

    Attributes:
        on: ISO 8601, UTC.
        commit: The commit that was checked out. The baseline is usually added by the commit after it. "" outside of git.
        tests: How many tests of the run were accepted; ``partial`` if all other tests of the baseline were kept.
        forced: It was accepted although the run was red or partial.
        added: Its trials were added to the baseline, as a session of their own.
    """

    on: str = ""
    reason: str = ""
    commit: str = ""
    tests: int = 0
    partial: bool = False
    forced: bool = False
    added: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineTest:
    """A test of the baseline.

    Attributes:
        outcome: How the test ended.
        scores: Scores of the trials, by the name of the measurement with its label.
        metrics: Version and direction of each measurement.
        amounts: Of an agent: steps, repeated calls, tokens and cost of the trials, by the name of the measurement as in ``scores``;
            None: not known. Older versions stored none.
        fingerprints: The dependencies of the scores: ``case``, ``prompt``, ``model``, ``retriever``, ``judge``.
        recordings: A digest of all requests and answers for each trial; empty: the test made no request.
        calls: ``REQUEST ANSWERS`` for each different request of the application, as fingerprints; empty: there was none, or an older
            version accepted the test.
        output: Fingerprint of the texts under the assertions, as far as they were made of the answers.
        flaky_since: Time of the first acceptance in which some trials of the test passed and others failed; "": not flaky.
        sessions: How many of the trials were recorded in each session, by the time of its acceptance; empty: all in one.
    """

    outcome: str
    scores: Mapping[str, Trials] = field(default_factory=dict)
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    amounts: Mapping[str, Trials] = field(default_factory=dict)
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    recordings: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()
    output: str = ""
    flaky_since: str = ""
    sessions: Mapping[str, int] = field(default_factory=dict)

    @property
    def trials(self) -> int:
        """How many trials the test had."""
        series = [*self.scores.values(), *self.amounts.values()]
        return max([len(self.recordings), *map(len, series)])

    def add_session(self, later: BaselineTest, *, first: str, second: str) -> BaselineTest:
        """Return the test with the trials of a later session after its own.

        Args:
            later: The same test in the later session. Measurements that only one side has are left as they are.
            first: Time of the acceptance that stored this test; used if it has no sessions yet.
            second: Time of the later session.
        """
        scores = _join_trials(self.scores, later.scores)
        metrics = dict(later.metrics) | dict(self.metrics)
        for name in self.scores.keys() & later.scores.keys():
            if not list_scored(self.scores[name]):  # a judge that gave no score reported no version
                metrics[name] = later.metrics[name]
        sessions = dict(self.sessions) or {first: self.trials}
        sessions[second] = later.trials
        return replace(
            self,
            scores=scores,
            metrics=metrics,
            amounts=_join_trials(self.amounts, later.amounts),
            recordings=(*self.recordings, *later.recordings),
            calls=merge_calls(self.calls, later.calls),
            sessions=sessions,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """A suite as it was accepted.

    Attributes:
        tests: By node id.
        history: Acceptances, the latest last.
        environment: Versions of Python and of packages.
    """

    tests: Mapping[str, BaselineTest] = field(default_factory=dict)
    history: tuple[Acceptance, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    def accept(self, newer: Baseline, *, keep: Collection[str] = ()) -> Baseline:
        """Return this baseline, updated by the baseline of a later run.

        Args:
            newer: The baseline made of the later run. Its history is the one acceptance of that run. If this is not partial,
                tests that the run does not have are dropped. If it is ``added``, its trials are added instead of replacing those
                here, and no test is dropped.
            keep: Tests that are kept as they are though the run does not have them.
        """
        latest = newer.history[-1]
        first = ""
        for acceptance in self.history:
            if not acceptance.added:
                first = acceptance.on
        tests: dict[str, BaselineTest] = {}
        if latest.partial or latest.added:
            tests.update(self.tests)
        tests.update({nodeid: self.tests[nodeid] for nodeid in keep if nodeid in self.tests})
        for nodeid, accepted in newer.tests.items():
            test = accepted
            if latest.added and nodeid in self.tests:
                test = self.tests[nodeid].add_session(accepted, first=first, second=latest.on)
            tests[nodeid] = test
            if any(map(flip_rate, test.scores.values())):
                known_since = ""
                if nodeid in self.tests:
                    known_since = self.tests[nodeid].flaky_since
                tests[nodeid] = replace(test, flaky_since=known_since or latest.on)
        return replace(newer, tests=tests, history=(*self.history, latest))

    def to_text(self) -> str:
        """Return the text of the file: the same tests and history give the same bytes."""
        usual = _find_usual_metrics(self.tests.values())
        history = [_encode(asdict(entry)) for entry in self.history]
        tests = []
        for nodeid, test in sorted(self.tests.items()):
            tests.append(f"{_encode(nodeid)}: {_format_test(test, usual)}")
        environment = _sort_keys(self.environment)
        rows = {
            "schema": _encode(SCHEMA),
            "history": _join_rows(history, "[]", 2),
            "environment": _encode(environment),
            "metrics": _encode(_sort_keys(usual)),
            "tests": _join_rows(tests, "{}", 2),
        }
        return _join_entries(rows, 1) + "\n"

    @classmethod
    def from_bytes(cls, data: bytes, *, where: str) -> Baseline:
        """Read what `to_text` wrote.

        Raises:
            UsageError: It is not a baseline, of a newer version, or damaged; with the place.
        """
        try:
            document = read_json(decode_text(data))
        except BadFile as error:
            place = where
            if error.line:
                place = f"{where}:{error.line}"
            if _CONFLICT.search(data):
                step = "resolve the conflict, or check out one side"
                raise UsageError(
                    f"{where}: expected a baseline, got merge-conflict markers; {step}"
                ) from None
            raise UsageError(f"{place}: expected a baseline, got {error.what}; {RESTORE}") from None
        schema = as_mapping(document).get("schema")
        if schema is None:
            raise UsageError(
                f"{where}: expected a baseline, got {json_kind(document)} without a schema; {RESTORE}"
            )
        if schema != SCHEMA:
            got = shorten_text(repr(schema), 80)
            raise UsageError(
                f"{where}: expected a baseline of schema {SCHEMA!r}, got {got}; "
                "update pytest-llmops, or name another file with --llm-baseline"
            )
        try:
            return _read_document(as_mapping(document))
        except _Damaged as error:
            raise UsageError(f"{where}: damaged: {error}; {RESTORE}") from None


class _Damaged(Exception):
    """A baseline file with a value that does not fit; the text gives its place."""


def _join_trials(first: Mapping[str, Trials], second: Mapping[str, Trials]) -> dict[str, Trials]:
    """Return the trials of two sessions; a measurement that only one of them has keeps its own."""
    joined = dict(second) | dict(first)
    for name in first.keys() & second.keys():
        joined[name] = (*first[name], *second[name])
    return joined


def _find_usual_metrics(tests: Iterable[BaselineTest]) -> dict[str, Metric]:
    """Return the version and direction that most tests have for each measurement, which the file states once at the top.

    If several are equally frequent, the first in sort order is taken, so that the file does not depend on the order of tests.
    """
    counts: dict[str, Counter[Metric]] = {}
    for test in tests:
        for name, metric in test.metrics.items():
            counts.setdefault(name, Counter())[metric] += 1
    usual = {}
    for name, counter in counts.items():
        usual[name] = min(counter, key=lambda metric: (-counter[metric], metric))
    return usual


def _format_test(test: BaselineTest, usual: Mapping[str, Metric]) -> str:
    """Return the JSON of a test; ``usual`` was made of all tests of the baseline, so it has each measurement."""
    rows = {"outcome": _encode(test.outcome)}
    if test.fingerprints:
        rows["fingerprints"] = _encode(_sort_keys(test.fingerprints))
    if test.recordings:
        rows["recordings"] = _encode(test.recordings)
    if test.calls:
        rows["calls"] = _encode(test.calls)
    if test.output:
        rows["output"] = _encode(test.output)
    unusual = {name: metric for name, metric in test.metrics.items() if usual[name] != metric}
    if unusual:
        rows["metrics"] = _encode(_sort_keys(unusual))
    if test.flaky_since:
        rows["flaky_since"] = _encode(test.flaky_since)
    if test.sessions:
        rows["sessions"] = _encode(test.sessions)
    for key, measured in (("amounts", test.amounts), ("scores", test.scores)):
        if measured:
            entries = {name: _encode(_shorten_numbers(trials)) for name, trials in sorted(measured.items())}
            rows[key] = _join_entries(entries, 4)
    return _join_entries(rows, 3)


def _shorten_numbers(trials: Trials) -> list[float | None]:
    """Return the scores, with whole numbers as ``int``: the file has 1, not 1.0."""
    short: list[float | None] = []
    for score in trials:
        if score is not None and score == int(score):
            short.append(int(score))
        else:
            short.append(score)
    return short


def _sort_keys(mapping: Mapping[str, Any]) -> dict[str, Any]:
    return dict(sorted(mapping.items()))


def _join_entries(entries: Mapping[str, str], indent: int) -> str:
    """Return a JSON object with one entry per line; the values are JSON text already."""
    rows = [f"{_encode(name)}: {value}" for name, value in entries.items()]
    return _join_rows(rows, "{}", indent)


def _join_rows(rows: Sequence[str], brackets: str, indent: int) -> str:
    """Return rows of JSON text in ``[]`` or ``{}``, one per line; the closing bracket is indented one less."""
    if not rows:
        return brackets
    opening = brackets[0]
    closing = brackets[1]
    line = "\n" + " " * indent
    outer_line = line[:-1]
    body = f",{line}".join(rows)
    return f"{opening}{line}{body}{outer_line}{closing}"


def _encode(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _read_document(document: Mapping[str, Json]) -> Baseline:
    """Return the baseline of a parsed file.

    Raises:
        _Damaged: A value does not fit; with its JSON path.
    """
    usual = {}
    for name, entry in _object_items(document, "metrics", "$"):
        usual[name] = _read_metric(entry, f"$.metrics[{shorten_text(name, 80)!r}]")
    tests = {}
    for nodeid, entry in _object_items(document, "tests", "$"):
        place = f"$.tests[{shorten_text(nodeid, 200)!r}]"
        if not isinstance(entry, Mapping):
            raise _Damaged(f"{place}: expected an object, got {json_kind(entry)}")
        tests[nodeid] = _read_test(entry, usual, place)
    history = as_list(document.get("history"))
    return Baseline(
        tests=tests,
        history=tuple(map(Acceptance.from_wire, history)),
        environment=_read_texts(document, "environment", "$"),
    )


def _read_test(entry: Mapping[str, Json], usual: Mapping[str, Metric], place: str) -> BaselineTest:
    """Return a test of the file.

    Args:
        entry: The JSON object of the test.
        usual: Version and direction of each measurement, as stated at the top of the file. The test's own ones come first.
        place: JSON path of the test, for errors.

    Raises:
        _Damaged: A value does not fit, or a score has no version.
    """
    own_metrics = {}
    for name, metric in _object_items(entry, "metrics", place):
        own_metrics[name] = _read_metric(metric, f"{place}.metrics")
    scores = _read_measured(entry, "scores", place)
    amounts = _read_measured(entry, "amounts", place)
    metrics = {}
    for key, measured in (("scores", scores), ("amounts", amounts)):
        missing = sorted(measured.keys() - usual.keys() - own_metrics.keys())
        if missing:
            raise _Damaged(f"{place}.{key}: no version of {shorten_text(missing[0], 80)!r} in $.metrics")
        metrics.update({name: own_metrics.get(name) or usual[name] for name in measured})
    outcome = fact_text(entry.get("outcome"))
    fingerprints = _read_texts(entry, "fingerprints", place)
    recordings = as_list(entry.get("recordings"))
    calls = as_list(entry.get("calls"))
    output = fact_text(entry.get("output"))
    flaky_since = fact_text(entry.get("flaky_since"))
    sessions = {
        name: _read_count(count, f"{place}.sessions")
        for name, count in _object_items(entry, "sessions", place)
    }
    return BaselineTest(
        outcome=outcome,
        scores=scores,
        metrics=metrics,
        amounts=amounts,
        fingerprints=fingerprints,
        recordings=tuple(map(fact_text, recordings)),
        calls=tuple(map(fact_text, calls)),
        output=output,
        flaky_since=flaky_since,
        sessions=sessions,
    )


def _read_measured(entry: Mapping[str, Json], key: str, place: str) -> dict[str, Trials]:
    """Return the trials of each measurement under a key of a test; empty if the test does not have the key."""
    return {
        name: _read_trials(trials, f"{place}.{key}[{shorten_text(name, 80)!r}]")
        for name, trials in _object_items(entry, key, place)
    }


def _read_count(value: Json, place: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise _Damaged(f"{place}: expected a number of trials, got {shorten_text(_encode(value), 60)}")
    return value


def _read_texts(parent: Mapping[str, Json], key: str, place: str) -> dict[str, str]:
    return {name: fact_text(text) for name, text in _object_items(parent, key, place)}


def _object_items(parent: Mapping[str, Json], key: str, place: str) -> Iterable[tuple[str, Json]]:
    """Return the items of the object under a key; none if the key is missing.

    Raises:
        _Damaged: The value is not an object.
    """
    value = parent.get(key, {})
    if not isinstance(value, Mapping):
        raise _Damaged(f"{place}.{key}: expected an object, got {json_kind(value)}")
    return value.items()


def _read_metric(value: Json, place: str) -> Metric:
    parts = as_list(value)
    if len(parts) != 2 or parts[1] not in ("higher", "lower"):  # noqa: PLR2004 -- version and direction
        got = shorten_text(_encode(value), 60)
        raise _Damaged(f'{place}: expected a version and "higher" or "lower", got {got}')
    return fact_text(parts[0]), str(parts[1])


def _read_trials(value: Json, place: str) -> Trials:
    if not isinstance(value, list) or not value:
        got = shorten_text(_encode(value), 60)
        raise _Damaged(f"{place}: expected a list of scores, got {got}")
    trials = []
    for score in value:
        number = as_finite_float(score)
        if score is not None and number is None:
            got = shorten_text(_encode(score), 60)
            raise _Damaged(f"{place}: expected a finite number or null, got {got}")
        trials.append(number)
    return tuple(trials)


def summarize_test(record: TestRecord, *, repeated: bool = False) -> BaselineTest:
    """Return the part of a test that a baseline keeps: its scores from 0 to 1, their dependencies, and the amounts of its agent.

    Of a test that missed a request no score and no amount is known: the assertion may have measured a text without that answer.

    Args:
        record: The test.
        repeated: A test that ran only once gets the share of passed trials too (`TRIAL_RATE`), as a test with one trial.
    """
    scores: dict[str, Trials] = {}
    amounts: dict[str, Trials] = {}
    metrics: dict[str, Metric] = {}
    numbers: Counter[str] = Counter()
    for measurement in record.measurements:
        if measurement.unit == "1":
            kept = scores
        elif measurement.name in AMOUNTS:
            kept = amounts
        else:
            continue
        series = name_with_label(measurement)
        # A test may measure several answers under one name. They are not trials of each other: "exact", "exact #2".
        numbers[series] += 1
        name = series
        if numbers[series] > 1:
            name = f"{series} #{numbers[series]}"
        kept[name] = read_trials(measurement)
        metrics[name] = measurement.version, measurement.better
    trials = TrialFacts.from_wire(record.fact("trials"))
    if repeated and not trials.n:
        trials = _count_single_trial(record.outcome)
    if trials.n:
        passed = (1.0,) * trials.passed
        failed = (0.0,) * trials.failed
        unscored = (None,) * trials.unscored
        scores[TRIAL_RATE] = passed + failed + unscored
        metrics[TRIAL_RATE] = "", "higher"
    if record.missed_request:
        scores, amounts = _forget_values(scores), _forget_values(amounts)
    recordings = as_list(record.facts.get("recordings"))
    return BaselineTest(
        outcome=record.outcome,
        scores=scores,
        metrics=metrics,
        amounts=amounts,
        fingerprints=_fingerprint_record(record),
        recordings=tuple(map(fact_text, recordings)),
        calls=fingerprint_calls(record),
        output=fingerprint_outputs(record),
    )


def _count_single_trial(outcome: str) -> TrialFacts:
    """Return the trials of a test that ran once."""
    if outcome in ("failed", "xpassed"):
        return TrialFacts(n=1, failed=1)
    if outcome == "errored":
        return TrialFacts(n=1, unscored=1)
    return TrialFacts(n=1, passed=1)


def _forget_values(measured: Mapping[str, Trials]) -> dict[str, Trials]:
    """Return as many trials of each measurement, none of which is known."""
    return {name: (None,) * len(trials) for name, trials in measured.items()}


def read_trials(measurement: Measurement) -> Trials:
    """Return the scores of a measurement by trial, rounded as they are stored. There is always at least one entry.

    Trials without a score come last (None), whenever they ran: a measurement only counts them.

    >>> read_trials(Measurement(name="m", error="no verdict"))
    (None,)
    """
    unscored = measurement.detail.get("unscored_trials")
    missing: Trials = ()
    if isinstance(unscored, int):
        missing = (None,) * unscored
    digits = DIGITS if measurement.unit == "1" else DIGITS_OF_AMOUNT
    scores: list[float | None] = [round(value, digits) for value in measurement.samples]
    if not scores and not missing:
        value = measurement.value
        scores.append(None if value is None else round(value, digits))
    return (*scores, *missing)


def list_scored(trials: Sequence[float | None]) -> tuple[float, ...]:
    """Return the scores of the trials that could be scored.

    >>> list_scored((1.0, None, 0.5))
    (1.0, 0.5)
    """
    return tuple(score for score in trials if score is not None)


def flip_rate(trials: Trials) -> float | None:
    """Return the share of pairs of trials in which one passed and the other failed.

    None if a score is neither 0 nor 1, or if fewer than two trials were scored.

    >>> flip_rate((1.0, 1.0, 0.0)), flip_rate((1.0, 0.5)), flip_rate((1.0, None))
    (0.6666666666666666, None, None)
    """
    scores = list_scored(trials)
    count = len(scores)
    passed = scores.count(1)
    failed = scores.count(0)
    if count < 2 or passed + failed < count:  # noqa: PLR2004 -- a pair
        return None
    return 2 * passed * failed / (count * (count - 1))


def _fingerprint_record(record: TestRecord) -> dict[str, str]:
    """Return the dependencies of the scores of a test; the model comes from its calls if the test does not state one."""
    prints = {}
    if record.fact("case"):
        case = CaseFacts.from_wire(record.fact("case"))
        prints["case"] = fingerprint_parts(canonical_json([case.input, case.reference]))
    for kind in ("prompt", "retriever", "judge", "model"):
        facts = record.fact(kind)
        words = []
        for key in ("name", "version", "fingerprint"):
            value = facts.get(key)
            if value:
                words.append(fact_text(value))
        if words:
            prints[kind] = " ".join(words)
    models = {call.model for call in record.calls if call.purpose == "app"}
    models.discard("")
    if "model" not in prints and models:
        prints["model"] = ", ".join(sorted(models))
    return prints
