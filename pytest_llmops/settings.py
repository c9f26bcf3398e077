# ruff: noqa: RUF009, FBT003 -- `declare_option` returns a dataclass field, whose second argument is the default
"""The settings of a run. Each option is declared once: flag, ini key, parser, default, a line of help and the full description.

`OPTIONS` (built from the fields of `Settings`) feeds pytest's parser, the ini reader and the reference of options.

Precedence: command line, then ini, then environment, then default.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import PurePath
from typing import Any, Literal, TypeAlias

from pytest_llmops._util.option_declarations import Option, Sources, declare_option, find_given
from pytest_llmops._util.option_modes import (
    ADOPTED_NAMES,
    ADOPTED_TOOLS,
    ALL_FAULTS,
    CLIENT_NAMES,
    CLIENTS,
    RecordMode,
    parse_faults,
    parse_record_mode,
    parse_trials,
)
from pytest_llmops._util.option_values import (
    LAST_RUN,
    choice_of,
    list_of,
    names_of,
    parse_again,
    parse_bool,
    parse_case_field,
    parse_count,
    parse_header,
    parse_host,
    parse_json_path,
    parse_max_age,
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
    split_reason,
)
from pytest_llmops.errors import SettingError

Api: TypeAlias = Literal["chat", "responses"]
ToolMode: TypeAlias = Literal["auto", "replay", "compare", "off"]
Expiry: TypeAlias = Literal["warn", "fail", "refresh"]
SelfJudging: TypeAlias = Literal["warn", "error", "allow"]

# Why a test is skipped without --llm-judge
NEEDS_JUDGE = "needs a judge: run with --llm-judge (recorded verdicts are replayed free of charge)"
# Settings that name a file or a folder below the project's root
FILE_SETTINGS = ("semantic_threshold", "judge_records")
# Options on which the value of another option depends
_DEPENDENT = frozenset({"record", "max_age", "again", "faults", "tools"})
JUDGE_CONCURRENCY = 8  # live calls of judges at the same time, without --llm-concurrency


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of a run.

    >>> Settings().record
    'none'
    """

    # Models and judges

    model: str | tuple[str, ...] = declare_option(
        parse_models, "", "models and judges", flag="--llm-model", metavar="ID", ini="linelist", env=("LLMOPS_MODEL",), repeat=True,
        help="model under test; each test runs once per model",
        detail="Model of the `llm` fixture: a name that the OpenAI-compatible server knows, or `anthropic:NAME`. With several models, each "
        "test runs once per model. Repeatable; models in addopts are added.",
    )  # fmt: skip
    base_url: str = declare_option(
        parse_url, "", "models and judges", flag="--llm-base-url", metavar="URL", env=("OPENAI_BASE_URL",),
        help="address of the OpenAI-compatible server",
        detail="Address of the OpenAI-compatible server. In a recorded test, the application finds it in OPENAI_BASE_URL.",
    )  # fmt: skip
    api: Api = declare_option(
        choice_of("chat", "responses"), "chat", "models and judges",
        help="API of the llm fixture and the judges: chat, responses",
        detail="API that the `llm` fixture and the judges use: `chat` or `responses`.",
    )  # fmt: skip
    prompt: tuple[str, ...] = declare_option(
        list_of(parse_name_version), (), "models and judges", flag="--llm-prompt", metavar="NAME=V", ini=None, repeat=True,
        help="use another version of a prompt (repeatable)",
        detail="Use another version of a prompt. Repeatable. The versions are also in LLMOPS_PROMPT, for applications that load their "
        "prompts themselves.",
    )  # fmt: skip
    judge: bool = declare_option(
        parse_bool, False, "models and judges", flag="--llm-judge", switch=True, ini=None,
        help="also run the tests that need a judge",
        detail="Run the tests that need a judge. Without it they are skipped.",
    )  # fmt: skip
    judge_model: str = declare_option(
        parse_text, "", "models and judges", flag="--llm-judge-model", metavar="ID", env=("LLMOPS_JUDGE_MODEL",),
        help="model of the judges (default: as --llm-model)",
        detail="Model of the judges, named as in --llm-model. Default: the model of --llm-model, if it is a single one.",
    )  # fmt: skip
    self_judging: SelfJudging = declare_option(
        choice_of("warn", "error", "allow"), "warn", "models and judges",
        help="a model judges its own answers: warn, error, allow",
        detail="For a judge whose model is also the model under test: a model prefers its own text. `warn`: the reports show a warning. "
        "`error`: the judge gives no score. `allow`: no warning.",
    )  # fmt: skip
    timeout: float = declare_option(
        parse_seconds, 120.0, "models and judges", ini="float",
        help="seconds until a judge or embedder gives no score",
        detail="Seconds that a call of a judge or an embedder may last, with its retries. After that the answer gets no score.",
    )  # fmt: skip

    # Recording

    record: RecordMode = declare_option(
        parse_record_mode, "none", "recording", flag="--llm-record", metavar="MODE",
        help="none|new|changed|all|live|verify|batch|fork",
        ini_help="recordings: none, new, all, live or verify",
        detail="Mode of recording. `none`: replay only. A missing recording is an error. `new`: record missing recordings. `changed`: "
        "replay every test, and record a test with a new request again, with all its trials. `all`: record everything again. `live`: "
        "neither read nor write recordings. `verify`: call live, report differences from the recordings, and write nothing. `batch`: "
        "record missing recordings through the batch APIs of OpenAI and Anthropic, at half the price and within a day. The run submits "
        "the calls and ends with status 75. The same command collects the answers later. `fork`: replay each test up to its first new "
        "request and call live from there, in each of 10 trials. The modes `changed`, `batch` and `fork` are for the command line only.",
    )  # fmt: skip
    match_ignore: tuple[str, ...] = declare_option(
        list_of(parse_json_path), (), "recording", ini="linelist",
        help="parts of a request that do not have to match",
        detail="Parts of a request to ignore when recordings are matched: JSON paths (`metadata.run_id`, `messages[*].id`, "
        "`**.request_id`) and query parameters (`?session`).",
    )  # fmt: skip
    max_age: int | None = declare_option(
        parse_max_age, None, "recording",
        help="recordings above this age: 90d [warn|fail|refresh]",
        detail="Age in days from which a recording is too old, and what happens to it: `90d`, `90d fail`. `warn` (default): it is replayed, "
        "and the summary states it. `fail`: an error with the command that records it again. `refresh`: `--llm-record=new` records old "
        "recordings again and keeps the others. In a replay an old one is an error. Without this key no recording is too old.",
    )  # fmt: skip
    record_errors: bool = declare_option(
        parse_bool, False, "recording", ini="bool",
        help="also record error answers (status 429, 5xx, ...)",
        detail="Also record answers with status 408, 409, 425, 429 and 5xx, and replay them without their waiting time.",
    )  # fmt: skip
    # Kept: an application may read a response header (a request id, a rate limit), and a test of that needs it in the replay.
    record_headers: tuple[str, ...] = declare_option(
        list_of(parse_header), (), "recording", ini="linelist",
        help="more response headers to record (x-request-id)",
        detail="More response headers to record, for an application that reads them (`x-request-id`, `x-ratelimit-*`).",
    )  # fmt: skip
    allow_hosts: tuple[str, ...] = declare_option(
        list_of(parse_host), (), "recording", ini="linelist",
        help="hosts that are neither recorded nor blocked",
        detail="Hosts that are neither recorded nor blocked, such as a server on this machine that the test starts.",
    )  # fmt: skip
    calls_outside_tests: Literal["refuse", "allow"] = declare_option(
        choice_of("refuse", "allow"), "refuse", "recording",
        help="model calls in hooks and imports: refuse, allow",
        detail="Calls of models outside of tests (in hooks, at imports) in a replay. `refuse`: they are an error. `allow`: they are live "
        "and paid in every run.",
    )  # fmt: skip
    adopt: tuple[str, ...] = declare_option(
        names_of(*ADOPTED_TOOLS), (), "recording", ini="linelist",
        help="tools whose suites run unchanged (deepeval, ragas)",
        detail="Tools whose tests are recorded and replayed without a change, and whose scores become measurements: "
        f"{ADOPTED_NAMES}. Separated by blanks, commas or lines.",
    )  # fmt: skip

    # Cost

    max_calls: int | None = declare_option(
        parse_count, None, "cost", flag="--llm-max-calls", metavar="N", ini="int",
        help="most live calls of the run",
        detail="Most live calls that the whole run may make, over all its workers.",
    )  # fmt: skip
    budget: float | None = declare_option(
        parse_money, None, "cost", flag="--llm-budget", metavar="USD", ini="float",
        help="most US dollars for the live calls of the run",
        detail="Most US dollars that the live calls of the whole run may cost, over all its workers. The prices of the models must be known.",
    )  # fmt: skip
    concurrency: int | None = declare_option(
        parse_positive_count, None, "cost", flag="--llm-concurrency", metavar="N", ini="int",
        help="live calls at the same time",
        detail="Live calls at the same time, over all workers of the run. Above 1, tests run several times to collect their calls. "
        "Default: 1, and 8 for the calls of judges within a test.",
    )  # fmt: skip
    silent_writes: tuple[str, ...] = declare_option(
        list_of(parse_text), (), "cost", ini="linelist",
        help="folders that tests may write with --llm-concurrency",
        detail="Folders that tests may write while their calls are collected (--llm-concurrency, --llm-record=batch), such as an "
        "application's cache. A test that would write elsewhere makes its calls one after another.",
    )  # fmt: skip

    # Agents and tools

    tools: ToolMode = declare_option(
        choice_of("auto", "replay", "compare", "off"), "auto", "agents and tools", flag="--llm-tools", metavar="MODE", ini=None,
        help="calls of tools: auto, replay, compare or off",
        detail="Calls of MCP servers and of the functions in `llm_cassette(tools=[...])`. `auto`: as --llm-record states. `replay`: they are "
        "replayed, also where the model is called live. `compare`: they are made and compared with their recordings, and the agent gets "
        "the recordings. `off`: they are made and not recorded.",
    )  # fmt: skip
    mcp_servers: tuple[str, ...] = declare_option(
        list_of(parse_server_name), (), "agents and tools", ini="linelist",
        help="names of MCP servers in recordings: NAME=COMMAND",
        detail="Names of MCP servers in recordings, each as `NAME=COMMAND` or `NAME=URL`, with `*` for any text "
        "(`orders=python -m orders_server*`).",
    )  # fmt: skip
    tool_functions: tuple[str, ...] = declare_option(
        list_of(parse_tool_function), (), "agents and tools", ini="linelist",
        help="functions to record as tools (shop.find_order)",
        detail="Functions of the project that are recorded and replayed as tools in every recorded test, each by its path, with the "
        "parameters to leave out (`shop.orders.find_order ignore=ctx`). A test names more with `llm_cassette(tools=[...])`.",
    )  # fmt: skip
    clients: tuple[str, ...] = declare_option(
        names_of(*CLIENTS), (), "agents and tools", ini="linelist",
        help="coding agents to record (claude-agent, codex, ...)",
        detail=f"Coding agents that run in a process of their own: {CLIENT_NAMES}. Day, folder, machine, session and version do "
        "not count when their requests are matched. Folder, user and ids are not stored. Separated by blanks, commas or lines.",
    )  # fmt: skip
    faults: tuple[str, ...] = declare_option(
        parse_faults, (), "agents and tools", flag="--llm-faults", metavar="KIND", ini=None, bare=ALL_FAULTS,
        help="run each test of an agent once with each fault",
        detail="Run each test of an agent once with each kind of fault, on its first call of a model and of a tool, and list the faults that "
        "it survives. Kinds with commas between them; default: all of them (`llmops docs faults`).",
    )  # fmt: skip
    lint: bool = declare_option(
        parse_bool, False, "agents and tools", flag="--llm-lint", switch=True, ini=None,
        help="list the assertions that never fail",
        detail="Try each assertion again on altered answers, and list the assertions that never fail (`llmops docs lint`).",
    )  # fmt: skip

    # Verdict

    trials: int = declare_option(
        parse_trials, 1, "verdict", flag="--llm-trials", metavar="N|auto", ini="int",
        help="run every test N times (auto: 3, then 5 if needed)",
        detail="Run every test that uses the plugin N times. All trials must pass, unless the marker llm_trials states something else. "
        "`auto`: 3 trials, and then 5 for as long as the verdict on the baseline is undecided.",
    )  # fmt: skip
    baseline: str = declare_option(
        parse_text, "llmops-baseline.json", "verdict", flag="--llm-baseline", metavar="FILE",
        help="baseline to compare with: a file or a git ref",
        detail="File of the baseline that the run is compared with. On the command line also a commit, branch or tag of git that has the "
        "project's baseline.",
    )  # fmt: skip
    accept: str | None = declare_option(
        parse_reason, None, "verdict", flag="--llm-accept", metavar="REASON", ini=None,
        help="write this run into the baseline",
        detail="Write this run into the baseline that it is compared with, and the reason into its history. A run is refused if a test "
        'failed, if the verdict is RED or ERROR, or if only a part of the suite ran. An AMBER run is accepted. `"anyway: REASON"` accepts a '
        'refused run all the same; a failed test keeps its old scores. `"session: REASON"` adds the '
        "trials of this run to the baseline as a session of their own, for the same version. Both words may be given.",
    )  # fmt: skip
    again: str = declare_option(
        parse_again, "", "verdict", flag="--llm-again", metavar="FILE", ini=None, bare=LAST_RUN,
        help="run the broken cases again",
        detail="Run the cases again that broke in the last run, with new answers, and nothing else. If they fail again, the verdict is RED. "
        "With a run file, the cases that broke in that run, such as a run of CI.",
    )  # fmt: skip
    strict: bool = declare_option(
        parse_bool, False, "verdict", flag="--llm-strict", switch=True, ini="bool",
        help="an undecided verdict fails the run",
        detail="Undecided results fail the run: an AMBER verdict on the baseline, trials that prove nothing, judges below review_below.",
    )  # fmt: skip
    primary_metric: str = declare_option(
        parse_text, "", "verdict",
        help="metric that decides the verdict (judge.quality)",
        detail="Metric that decides whether the suite got worse, such as judge.quality, or up to three with spaces between them. All others "
        "can only turn the verdict red.",
    )  # fmt: skip

    # Reports

    report: tuple[str, ...] = declare_option(
        list_of(parse_text), (), "reports", flag="--llm-report", metavar="FILE", ini="linelist", repeat=True,
        help="write a report: .html, .json or .md (repeatable)",
        detail="Write a report. Repeatable. The suffix of the file gives its kind: .html, .json, .json.gz or .md. For GitLab "
        "`codequality:FILE` and `metrics:FILE`. `otlp:URL` sends the run to an OpenTelemetry collector.",
    )  # fmt: skip
    github: Literal["auto", "off"] = declare_option(
        choice_of("auto", "off"), "auto", "reports",
        help="annotations and summary in GitHub Actions: auto, off",
        detail="In GitHub Actions, `auto` writes annotations and a summary of the job, and `off` writes neither.",
    )  # fmt: skip
    # Kept: Jenkins validates JUnit files against a schema of xUnit that knows no properties of a test case.
    junit_properties: bool = declare_option(
        parse_bool, True, "reports", ini="bool",
        help="write scores and cost into the --junitxml file",
        detail="Write scores, tokens and cost as properties into pytest's --junitxml file.",
    )  # fmt: skip

    # Meaning

    embedder: str = declare_option(
        parse_text, "minilm", "meaning",
        help="embedder of assert_semantic",
        detail="Embedder of assert_semantic and assert_context_relevance.",
    )  # fmt: skip
    semantic_threshold: str = declare_option(
        parse_text, "", "meaning",
        help="file of `llmops semantic calibrate`",
        detail="File that `llmops semantic calibrate` wrote: the default threshold of its embedder.",
    )  # fmt: skip
    semantic_judge: bool = declare_option(
        parse_bool, False, "meaning", ini="bool",
        help="the judge decides in assert_semantic",
        detail="In assert_semantic, the judge's model decides whether the answer has the same meaning, unless `judge=` states something else.",
    )  # fmt: skip
    language: str = declare_option(
        choice_of("English", "German", "Spanish", "French", "Italian", "Portuguese", "Dutch", "Polish", "Russian", "Chinese", "Japanese"),
        "English", "meaning",
        help="language of short texts in assert_semantic",
        detail="Language of texts that are too short to detect it. The checks of assert_semantic depend on it.",
    )  # fmt: skip

    # Files

    prompts_dir: str = declare_option(
        parse_text, "prompts", "files",
        help="folder of the prompts",
        detail="Folder of the prompts, searched from the test's folder upwards.",
    )  # fmt: skip
    corpora_dir: str = declare_option(
        parse_text, "corpora", "files",
        help="folder of the retrievers' corpora",
        detail="Folder of the retrievers' corpora, searched from the test's folder upwards.",
    )  # fmt: skip
    case_fields: tuple[str, ...] = declare_option(
        list_of(parse_case_field), (), "files", ini="linelist",
        help="columns of case files: KEY=COLUMN (input=question)",
        detail="Columns of case files under other names than ours, each as `KEY=COLUMN` (`input=question`). A file without that column is "
        "read with our names.",
    )  # fmt: skip

    # Values that follow from an option, and are not options of their own

    changed: bool = False  # --llm-record=changed
    batch: bool = False  # --llm-record=batch
    fork: bool = False  # --llm-record=fork
    expired: Expiry = "warn"  # the second word of llm_max_age
    judge_records: str = (
        "calibrations"  # folder of the judges' records, as `llmops judge calibrate` writes them
    )

    @property
    def models(self) -> tuple[str, ...]:
        """The models of --llm-model.

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
        """The model of --llm-model if it is a single one, else ``""``."""
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
    def accept_reason(self) -> str:
        """The reason of --llm-accept.

        >>> Settings(accept="anyway: shorter answers").accept_reason
        'shorter answers'
        """
        return split_reason(self.accept or "")[1]

    @property
    def accept_anyway(self) -> bool:
        """Whether a run with a failed test, a RED, an ERROR or a partial run is accepted too."""
        return "anyway" in split_reason(self.accept or "")[0]

    @property
    def accept_session(self) -> bool:
        """Whether the trials of the run are added to the baseline as a session."""
        return "session" in split_reason(self.accept or "")[0]

    @property
    def again_flag(self) -> str:
        """The flag of a command that runs the same cases again."""
        if self.again_from:
            return f"--llm-again={self.again_from}"
        return "--llm-again"

    @property
    def again_from(self) -> str:
        """The run file of --llm-again; "": the last run here."""
        if self.again == LAST_RUN:
            return ""
        return self.again

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

        >>> PurePath(Settings().with_paths_below(PurePath("project")).judge_records).as_posix()
        'project/calibrations'
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
            SettingError: A value has the wrong form, or does not go with another option; gives place, option, expected and got.

        >>> Settings.from_sources(("command line", {"record": "new"}), ("ini", {"record": "all"})).record
        'new'
        """
        given = _parse_sources(sources, environ or {})
        if not _DEPENDENT.isdisjoint(given):
            from pytest_llmops._util.option_conflicts import settle_options

            settle_options(given, sources)
        return cls(**given)


def _parse_sources(sources: Sources, environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the values that the sources give, by option.

    Raises:
        SettingError: A value has the wrong form.
    """
    parsed: dict[str, Any] = {}
    for option in OPTIONS:
        given = find_given(option, sources, environ)
        if given is None:
            continue
        try:
            parsed[option.name] = option.parse(given.value)
        except ValueError as error:
            got = getattr(error, "got", given.value)
            raise SettingError(given.place, given.name, str(error), got) from None
    return parsed


def _split_pairs(entries: Sequence[str]) -> dict[str, str]:
    """Return ``NAME=VALUE`` entries as a dictionary."""
    pairs = (entry.partition("=") for entry in entries)
    return {name: value for name, _, value in pairs}


# A field without a parser is not an option
OPTIONS: tuple[Option, ...] = tuple(
    Option(name=spec.name, default=spec.default, **spec.metadata)
    for spec in fields(Settings)
    if spec.metadata
)
