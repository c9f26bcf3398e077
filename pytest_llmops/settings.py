# ruff: noqa: RUF009, FBT003 -- `_declare_option` returns a dataclass field, whose second argument is the default
"""Options of the plugin, each declared once with flag, ini key, parser, default and help.

`OPTIONS` (built from the fields of `Settings`) feeds pytest's parser, the ini reader and the table in docs/reference/options.md.

Precedence: command line > ini > environment > default.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import PurePath
from typing import Any, Literal, TypeAlias

from pytest_llmops._util.option_values import (
    Parser,
    choice_of,
    count_from,
    list_of,
    names_of,
    parse_bool,
    parse_case_field,
    parse_count,
    parse_days,
    parse_header,
    parse_host,
    parse_json_path,
    parse_models,
    parse_money,
    parse_name_version,
    parse_positive_count,
    parse_reason,
    parse_seconds,
    parse_server_name,
    parse_text,
    parse_tool_function,
    parse_url,
)
from pytest_llmops.errors import SettingError

RecordMode: TypeAlias = Literal["none", "new", "all", "live", "verify"]
Api: TypeAlias = Literal["chat", "responses"]
ToolMode: TypeAlias = Literal["auto", "replay", "compare", "off"]
Expiry: TypeAlias = Literal["warn", "fail", "refresh"]
SelfJudging: TypeAlias = Literal["warn", "error", "allow"]

RECORD_MODES: tuple[RecordMode, ...] = ("none", "new", "all", "live", "verify")
# Modes of other recorders that have another name here: whose it is, and the name
_FOREIGN_MODES: Mapping[str, tuple[str, RecordMode]] = {
    "once": ("vcrpy", "new"),
    "new_episodes": ("vcrpy", "new"),
    "rewrite": ("pytest-recording", "all"),
}

# Why a test is skipped without --llm-judge
NEEDS_JUDGE = "needs a judge: run with --llm-judge (recorded verdicts are replayed free of charge)"


class LookTrials(int):
    """The number of trials in one of the looks of ``--llm-trials=auto``.

    A *look* is one run of the whole suite. While its verdict is undecided, the next look runs the suite again with more trials.
    """


# The looks in their order, by the value of --llm-trials: the pytest of a look starts another pytest with the next value
LOOKS = {"auto": LookTrials(3), "auto:5": LookTrials(5)}
_parse_trial_count = count_from(1, "a whole number, 1 or more, or auto")


def parse_trials(value: object) -> int:
    """Read a whole number above 0, or ``auto``.

    >>> parse_trials("5"), parse_trials("auto")
    (5, 3)
    """
    look = LOOKS.get(str(value))
    if look is not None:
        return look
    return _parse_trial_count(value)


def parse_faults(value: object) -> object:
    """Read kinds of faults, or ``all``.

    >>> parse_faults("timeout,empty"), parse_faults("all") == FAULT_NAMES
    (('timeout', 'empty'), True)
    """
    try:
        names = _parse_fault_names(value)
    except ValueError as error:
        raise ValueError(f"{error}; files and folders after it need --llm-faults=all") from None
    if ALL_FAULTS in names:
        return FAULT_NAMES
    return names


def describe_record_modes(given: object) -> str:
    """Return which modes of recording there are, as the end of an error; for a mode of another recorder also its name here.

    >>> describe_record_modes("once")
    "one of none, new, all, live, verify (vcrpy's 'once' is 'new' here)"
    """
    expected = f"one of {', '.join(RECORD_MODES)}"
    if not isinstance(given, str) or given not in _FOREIGN_MODES:
        return expected
    recorder, mode = _FOREIGN_MODES[given]
    return f"{expected} ({recorder}'s {given!r} is {mode!r} here)"


def parse_record_mode(value: object) -> object:
    """Read a mode of recording.

    >>> parse_record_mode("new")
    'new'
    """
    if value not in RECORD_MODES:
        raise ValueError(describe_record_modes(value))
    return value


# Settings that name a file or a folder, which is looked for below the project's root
FILE_SETTINGS = ("semantic_threshold", "vector_cache", "judge_records")
# Tools for `llm_adopt`; their modules are in `adopted`
ADOPTED_TOOLS = ("deepeval", "langsmith", "mlflow", "openevals", "phoenix", "pydantic-evals", "ragas")
# Coding agents for `llm_clients`; their presets are in `cassettes.clients`
CLIENTS = ("claude-agent", "codex", "gemini-cli", "opencode")
# Kinds of faults for --llm-faults; `cassettes.faults` makes them
FAULT_NAMES = (
    "timeout", "rate_limit", "server_error", "connection_reset", "cut", "slow", "malformed_json", "empty", "too_long", "hostile",
    "wrong_type", "stale", "never_returns", "server_died", "bad_arguments", "unknown_tool",
)  # fmt: skip
ALL_FAULTS = "all"
_parse_fault_names = names_of(ALL_FAULTS, *FAULT_NAMES)
JUDGE_CONCURRENCY = 8  # live calls of judges at the same time, without --llm-concurrency


@dataclass(frozen=True, slots=True)
class Option:
    """Flag, ini key, environment variables and parser of a setting."""

    name: str
    parse: Parser
    help: str
    default: object
    flag: str = ""  # Command-line flag; empty: ini only
    metavar: str = ""
    # Type of the ini key; None: command line only
    ini: Literal["string", "bool", "linelist", "int", "float"] | None = "string"
    env: tuple[str, ...] = ()  # Environment variables, used if neither command line nor ini gives a value
    switch: bool = False  # The flag takes no value
    repeat: bool = False  # The flag may be given several times
    bare: str = ""  # What the flag means without a value; "": it needs one

    @property
    def dest(self) -> str:
        """Name of the ini key, and of the attribute on pytest's options."""
        return f"llm_{self.name}"


def _declare_option(parse: Parser, default: object, help: str, **details: Any) -> Any:  # noqa: A002 -- becomes a field of any type
    """Return a field of `Settings` that carries the attributes of its `Option`."""
    return field(default=default, metadata={"parse": parse, "help": help, **details})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of a run.

    >>> Settings().record
    'none'
    """

    judge: bool = _declare_option(
        parse_bool, False, "run the tests that need a judge; without it they are skipped", flag="--llm-judge", switch=True, ini=None
    )  # fmt: skip
    model: str | tuple[str, ...] = _declare_option(
        parse_models, "", "model of the `llm` fixture: a name of the OpenAI-compatible server, or anthropic:NAME; with several, each test runs once per model (repeatable; names in addopts are added)",
        flag="--llm-model", metavar="NAME", ini="linelist", env=("LLMOPS_MODEL",), repeat=True,
    )  # fmt: skip
    judge_model: str = _declare_option(
        parse_text, "", "model of the judges, named in the same way; default: the model of --llm-model, if that is a single model",
        flag="--llm-judge-model", metavar="NAME", env=("LLMOPS_JUDGE_MODEL",),
    )  # fmt: skip
    self_judging: SelfJudging = _declare_option(
        choice_of("warn", "error", "allow"), "warn",
        "a judge whose model is the model under test prefers its own text. warn: the reports show a warning; error: its verdicts are "
        "unscored; allow: no warning",
    )  # fmt: skip
    base_url: str = _declare_option(
        parse_url, "", "OpenAI-compatible server; also set as OPENAI_BASE_URL for the application in a recorded test",
        flag="--llm-base-url", metavar="URL", env=("OPENAI_BASE_URL",),
    )  # fmt: skip
    api: Api = _declare_option(
        choice_of("chat", "responses"), "chat", "API that the `llm` fixture and the judges speak: chat or responses",
        flag="--llm-api", metavar="chat|responses",
    )  # fmt: skip
    record: RecordMode = _declare_option(
        parse_record_mode, "none",
        "none: replay only, a missing recording is an error; new: record what is missing; all: record again; "
        "live: neither read nor write; verify: call live, report what differs from the recording, write nothing",
        flag="--llm-record", metavar="none|new|all|live|verify",
    )  # fmt: skip
    tools: ToolMode = _declare_option(
        choice_of("auto", "replay", "compare", "off"), "auto",
        "calls of MCP servers and of the functions in llm_cassette(tools=[...]). auto: as --llm-record says; replay: replayed also where the "
        "model is asked live; compare: called and compared with their recordings, which the agent gets; off: called, and not recorded",
        flag="--llm-tools", metavar="auto|replay|compare|off",
    )  # fmt: skip
    mcp_servers: tuple[str, ...] = _declare_option(
        list_of(parse_server_name), (),
        "names for MCP servers in recordings, each as `NAME=COMMAND` or `NAME=URL`, with `*` for any text (`orders=python -m orders_server*`)",
        ini="linelist",
    )  # fmt: skip
    tool_functions: tuple[str, ...] = _declare_option(
        list_of(parse_tool_function), (),
        "functions of the project that are recorded and replayed as tools in every recorded test, each by its path, with the parameters to "
        "leave out (`shop.orders.find_order ignore=ctx`); a test names more by `llm_cassette(tools=[...])`",
        ini="linelist",
    )  # fmt: skip
    changed: bool = _declare_option(
        parse_bool, False, "replay every test; only a test with a request that is not recorded asks live, and is recorded, with the trials of --llm-trials",
        flag="--llm-changed", switch=True, ini=None,
    )  # fmt: skip
    fork: bool = _declare_option(
        parse_bool, False, "replay every test up to its first request that is not recorded, and ask live from there on, in each of the trials (10): how often does "
        "the fix of a recorded run hold? (docs/how-to/incidents.md)",
        flag="--llm-fork", switch=True, ini=None,
    )  # fmt: skip
    faults: tuple[str, ...] = _declare_option(
        parse_faults, (),
        "run each test of an agent once with each kind of fault, on its first call of a model and of a tool, and list what it survives; "
        "kinds with commas between them, default: all (docs/how-to/faults.md)",
        flag="--llm-faults", metavar="KIND,...", ini=None, bare=ALL_FAULTS,
    )  # fmt: skip
    lint: bool = _declare_option(
        parse_bool, False, "try each assertion again on altered answers, and list those that never fail (docs/how-to/lint.md)",
        flag="--llm-lint", switch=True, ini=None,
    )  # fmt: skip
    record_errors: bool = _declare_option(
        parse_bool, False, "record answers with status 408, 409, 425, 429 and 5xx too, and replay them without their wait",
        flag="--llm-record-errors", switch=True, ini="bool",
    )  # fmt: skip
    max_age: int | None = _declare_option(
        parse_days, None, "age from which a recording is too old, in days (`90d`); default: none is"
    )  # fmt: skip
    expired: Expiry = _declare_option(
        choice_of("warn", "fail", "refresh"), "warn",
        "a recording that is too old. warn: it is replayed, and the summary says so; fail: an error with the command that records it "
        "again; refresh: `--llm-record=new` asks again what is too old, and only that; without live calls as fail",
    )  # fmt: skip
    record_headers: tuple[str, ...] = _declare_option(
        list_of(parse_header), (),
        "further response headers to record, for tests of what the application does with them (`x-request-id`, `x-ratelimit-*`)",
        ini="linelist",
    )  # fmt: skip
    max_calls: int | None = _declare_option(
        parse_count, None, "live calls that the whole run may make, over all its workers", flag="--llm-max-calls", metavar="N", ini="int",
    )  # fmt: skip
    budget: float | None = _declare_option(
        parse_money, None, "US dollars that the live calls of the whole run may cost, over all its workers; needs known prices",
        flag="--llm-budget", metavar="USD", ini="float",
    )  # fmt: skip
    concurrency: int | None = _declare_option(
        parse_positive_count, None,
        "live calls at the same time, over all the workers of the run; above 1, tests run several times to collect their calls. "
        "Default: 1, and 8 for calls of judges within a test",
        flag="--llm-concurrency", metavar="N", ini="int",
    )  # fmt: skip
    batch: bool = _declare_option(
        parse_bool, False,
        "make the live calls through the batch APIs of OpenAI and Anthropic, at half the price and within a day: the run submits "
        "them and ends with status 75; the same command again collects the answers",
        flag="--llm-batch", switch=True, ini=None,
    )  # fmt: skip
    batch_minimum: int = _declare_option(
        parse_positive_count, 20,
        "requests to a model that a batch has at least; fewer are asked live with --llm-concurrency, and not at all without it",
        ini="int",
    )  # fmt: skip
    silent_writes: tuple[str, ...] = _declare_option(
        list_of(parse_text), (),
        "folders that silent runs of tests (--llm-concurrency, --llm-batch) may write, such as an application's cache; a test that "
        "would write elsewhere makes its calls one after another",
        ini="linelist",
    )  # fmt: skip
    timeout: float = _declare_option(
        parse_seconds, 120.0, "seconds that a call of a judge or an embedder may take, with its retries; then the answer is unscored",
        ini="float",
    )  # fmt: skip
    judge_reuse: bool = _declare_option(
        parse_bool, True, "reuse a reply to a judge within the run: another test with the same request gets it without a new call",
        ini="bool",
    )  # fmt: skip
    match_ignore: tuple[str, ...] = _declare_option(
        list_of(parse_json_path), (),
        "parts of a request to ignore when matching recordings: JSON paths (`metadata.run_id`, `messages[*].id`, "
        "`**.request_id`) and query parameters (`?session`)",
        ini="linelist",
    )  # fmt: skip
    prompt: tuple[str, ...] = _declare_option(
        list_of(parse_name_version), (), "run with another version of a prompt (repeatable); also set as LLMOPS_PROMPT, for applications that load their prompts themselves", flag="--llm-prompt",
        metavar="NAME=VERSION", ini="linelist", repeat=True,
    )  # fmt: skip
    report: tuple[str, ...] = _declare_option(
        list_of(parse_text), (),
        "write a report (repeatable); the suffix of the file gives its kind, .html, .json, .json.gz or .md, or a word before it: codequality:FILE and "
        "metrics:FILE for GitLab; otlp:URL sends it to a collector of OpenTelemetry",
        flag="--llm-report", metavar="[KIND:]FILE", ini="linelist", repeat=True,
    )  # fmt: skip
    github: Literal["auto", "off"] = _declare_option(
        choice_of("auto", "off"), "auto", "in GitHub Actions, auto: annotations and a summary of the job; off: neither"
    )  # fmt: skip
    baseline: str = _declare_option(
        parse_text, "llmops-baseline.json", "baseline that the run is compared with; on the command line also a commit, branch or tag of git that has the project's baseline",
        flag="--llm-baseline", metavar="FILE|GITREF",
    )  # fmt: skip
    accept: str | None = _declare_option(
        parse_reason, None, "write this run into the baseline that it is compared with, with the reason; a red, undecidable or partial run is refused",
        flag="--llm-accept", metavar="REASON", ini=None,
    )  # fmt: skip
    accept_anyway: bool = _declare_option(
        parse_bool, False, "with --llm-accept: accept a red, undecidable or partial run too; a test that failed keeps its old scores",
        flag="--llm-accept-anyway", switch=True, ini=None,
    )  # fmt: skip
    accept_session: bool = _declare_option(
        parse_bool, False, "with --llm-accept: add the trials of this run to those of the baseline as a session of their own; the version must be the same",
        flag="--llm-accept-session", switch=True, ini=None,
    )  # fmt: skip
    again: bool = _declare_option(
        parse_bool, False, "run the cases again that broke in the last run, with new answers, and nothing else: if they fail again, the verdict is RED",
        flag="--llm-again", switch=True, ini=None,
    )  # fmt: skip
    again_from: str = _declare_option(
        parse_text, "", "the same for a run that was made elsewhere (in CI): its run file", flag="--llm-again-from", metavar="RUN.json", ini=None
    )  # fmt: skip
    strict: bool = _declare_option(
        parse_bool, False, "what is undecided fails the run: an AMBER verdict of the gate, trials that prove nothing, judges below review_below",
        flag="--llm-strict", switch=True, ini="bool",
    )  # fmt: skip
    trials: int = _declare_option(
        parse_trials, 1, "run every test that uses the plugin so many times; all trials must pass, unless its marker llm_trials says otherwise; "
        "auto: 3, and all of it with 5 only while the gate is undecided",
        flag="--llm-trials", metavar="N|auto", ini="int",
    )  # fmt: skip
    primary_metric: str = _declare_option(
        parse_text, "", "the metric that decides whether the suite got worse, such as judge.quality, or up to three with spaces between them; "
        "all others can only turn the verdict red"
    )  # fmt: skip
    embedder: str = _declare_option(
        parse_text, "minilm", "embedder of assert_semantic and assert_context_relevance", flag="--llm-embedder", metavar="NAME"
    )  # fmt: skip
    semantic_threshold: str = _declare_option(
        parse_text, "", "file written by `llmops semantic calibrate`: the default threshold of its embedder"
    )  # fmt: skip
    semantic_judge: bool = _declare_option(
        parse_bool, False, "in assert_semantic the judge model decides whether the answer says the same, where judge= does not say otherwise",
        ini="bool",
    )  # fmt: skip
    language: str = _declare_option(
        choice_of("English", "German", "Spanish", "French", "Italian", "Portuguese", "Dutch", "Polish", "Russian", "Chinese", "Japanese"),
        "English", "language of texts that are too short to detect it: the checks of assert_semantic depend on it",
    )  # fmt: skip
    vector_cache: str = _declare_option(
        parse_text, "", "folder that caches vectors of local embedders between runs; default: no cache"
    )  # fmt: skip
    judge_records: str = _declare_option(
        parse_text, "calibrations", "folder of the judges' records, as `llmops judge calibrate --out` and `llmops judge canaries --out` write them"
    )  # fmt: skip
    prompts_dir: str = _declare_option(
        parse_text, "prompts", "folder of the prompts, searched from the test's folder upwards"
    )  # fmt: skip
    case_fields: tuple[str, ...] = _declare_option(
        list_of(parse_case_field), (),
        "columns of case files under other names than ours, each as `KEY=COLUMN` (`input=question`); a file without that column is read as ever",
        ini="linelist",
    )  # fmt: skip
    corpora_dir: str = _declare_option(
        parse_text, "corpora", "folder of the retrievers' corpora, searched from the test's folder upwards"
    )  # fmt: skip
    allow_hosts: tuple[str, ...] = _declare_option(
        list_of(parse_host), (), "hosts that are neither recorded nor blocked (a loopback server that the test itself starts)", ini="linelist"
    )  # fmt: skip
    calls_outside_tests: Literal["refuse", "allow"] = _declare_option(
        choice_of("refuse", "allow"), "refuse",
        "calls of models outside of tests (in hooks, at imports) while recordings are replayed. refuse: they are an error; allow: they are live and paid in every run",
    )  # fmt: skip
    telemetry: Literal["ignore", "record"] = _declare_option(
        choice_of("ignore", "record"), "ignore",
        "traces that SDKs send to their own service (openai-agents, LangSmith, Langfuse, OpenTelemetry and others). ignore: they are not recorded, and a replay "
        "answers them with an empty success; record: as any request",
    )  # fmt: skip
    adopt: tuple[str, ...] = _declare_option(
        names_of(*ADOPTED_TOOLS), (), f"tools whose tests are recorded and replayed as they are, and whose scores become measurements: {', '.join(ADOPTED_TOOLS)}; "
        "separated by blanks, commas or lines",
        ini="linelist",
    )  # fmt: skip
    clients: tuple[str, ...] = _declare_option(
        names_of(*CLIENTS), (),
        "coding agents in their own process whose requests are matched by what they ask, not by day, folder, machine, session and version, "
        f"and stored without folder, user and ids: {', '.join(CLIENTS)}; separated by blanks, commas or lines",
        ini="linelist",
    )  # fmt: skip
    junit_properties: bool = _declare_option(
        parse_bool, True, "write scores, tokens and cost as properties into pytest's --junitxml file", ini="bool"
    )  # fmt: skip

    @property
    def models(self) -> tuple[str, ...]:
        """The models that --llm-model names.

        >>> Settings(model="a").models, Settings().models
        (('a',), ())
        """
        if isinstance(self.model, tuple):
            return self.model
        if self.model:
            return (self.model,)
        return ()

    @property
    def single_model(self) -> str:
        """The model of --llm-model if it names a single model, else ``""``."""
        if isinstance(self.model, str):
            return self.model
        return ""

    @property
    def versions(self) -> dict[str, str]:
        """The prompt versions of --llm-prompt, by prompt name."""
        return _split_pairs(self.prompt)

    @property
    def case_columns(self) -> dict[str, str]:
        """The columns of llm_case_fields, by the key of a case."""
        return _split_pairs(self.case_fields)

    @property
    def mcp_server_names(self) -> dict[str, str]:
        """The pattern of the command or address of each server of llm_mcp_servers, by its name."""
        return _split_pairs(self.mcp_servers)

    @property
    def may_call_models(self) -> bool:
        """Whether the run may call models live."""
        return self.record != "none" or self.has_budget

    @property
    def asks_ahead(self) -> bool:
        """Whether the calls of all tests are made before the tests are reported."""
        if self.record == "none" or self.changed or self.faults or self.fork:
            return False
        return self.batch or (self.concurrency or 1) > 1

    @property
    def judge_concurrency(self) -> int:
        """How many live calls of judges may run at the same time.

        >>> Settings().judge_concurrency, Settings(concurrency=1).judge_concurrency
        (8, 1)
        """
        return self.concurrency or JUDGE_CONCURRENCY

    @property
    def has_budget(self) -> bool:
        """Whether the run counts its live calls or their cost."""
        return self.max_calls is not None or self.budget is not None

    def with_paths_below(self, root: PurePath) -> "Settings":
        """Return the settings with relative paths of files resolved against the project's root.

        >>> PurePath(Settings(vector_cache=".vectors").with_paths_below(PurePath("project")).vector_cache).as_posix()
        'project/.vectors'
        """
        paths: dict[str, Any] = {}
        for name in FILE_SETTINGS:
            path = getattr(self, name)
            if path:
                paths[name] = str(root / path)
        return replace(self, **paths)

    @classmethod
    def from_sources(
        cls, *sources: tuple[str, Mapping[str, object]], environ: Mapping[str, str] | None = None
    ) -> "Settings":
        """Build settings from (place, values) sources, in order of precedence.

        A value of None means "not given here".

        Raises:
            SettingError: A value has the wrong form; gives place, option, expected and got.

        >>> Settings.from_sources(("command line", {"record": "new"}), ("ini", {"record": "all"})).record
        'new'
        """
        values: dict[str, Any] = {}
        for option in OPTIONS:
            given = _first_given(option, sources, environ or {})
            if given is None:
                continue
            try:
                values[option.name] = option.parse(given.value)
            except ValueError as error:
                got = getattr(error, "got", given.value)
                raise SettingError(given.place, given.name, str(error), got) from None
        if values.get("again") or values.get("again_from"):
            values["again"] = True
            values["record"] = _choose_record_again(values.get("record", "none"), sources)
        if values.get("changed"):  # --llm-changed replays what is recorded, and records what is new
            record = values.setdefault("record", "new")
            if record != "new":
                expected = "no other mode than new beside it"
                raise SettingError("command line", "--llm-changed", expected, record)
        if values.get("faults"):
            from pytest_llmops._util.option_conflicts import settle_faults

            settle_faults(values, sources)
        if values.get("fork"):
            from pytest_llmops._util.option_conflicts import settle_fork

            settle_fork(values, sources)
        if values.get("tools") == "compare" and values.get("record", "none") != "none":
            expected = (
                "no --llm-record beside it: the model is replayed, so that all differences are the tools'"
            )
            raise SettingError("command line", "--llm-tools=compare", expected, values["record"])
        return cls(**values)


def _choose_record_again(
    record: RecordMode, sources: Sequence[tuple[str, Mapping[str, object]]]
) -> RecordMode:
    """Return the mode of recording of ``--llm-again``: it asks live, unless the command line gives another mode."""
    is_typed = any(place == "command line" and given.get("record") for place, given in sources)
    if is_typed or record == "live":
        return record
    return "new"


def _split_pairs(entries: Sequence[str]) -> dict[str, str]:
    """Return ``NAME=VALUE`` entries as a dictionary."""
    pairs = (entry.partition("=") for entry in entries)
    return {name: value for name, _, value in pairs}


@dataclass(frozen=True, slots=True)
class _GivenValue:
    """The value of an option as a source gives it, with the place ("ini") and the name that the option has there ("llm_model")."""

    place: str
    name: str
    value: object


def _first_given(
    option: Option, sources: Sequence[tuple[str, Mapping[str, object]]], environ: Mapping[str, str]
) -> _GivenValue | None:
    """Return the value of an option from the first source that gives it."""
    for place, values in sources:
        value = values.get(option.name)
        if value is None:
            continue
        if place == "command line":
            return _GivenValue(place, option.flag, value)
        return _GivenValue(place, option.dest, value)
    for variable in option.env:
        if environ.get(variable):
            return _GivenValue("environment", variable, environ[variable])
    return None


OPTIONS: tuple[Option, ...] = tuple(
    Option(name=spec.name, default=spec.default, **spec.metadata) for spec in fields(Settings)
)
