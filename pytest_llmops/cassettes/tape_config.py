"""The configuration of a tape: settings, match rules, and the parts that all tapes of a run share.

The tape of a block has the configuration of its test's tape.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pytest_llmops.cassettes import clients
from pytest_llmops.cassettes.budget import Ledger, open_ledger
from pytest_llmops.cassettes.faults.plan import FaultPlan
from pytest_llmops.cassettes.fork_progress import ForkProgress
from pytest_llmops.cassettes.rate_limit import RateLimiter
from pytest_llmops.cassettes.recordings import RecordingIndex
from pytest_llmops.cassettes.request_key import Answer, MatchRules, Normalizer, Question, answer_to_wire
from pytest_llmops.cassettes.shared_answers import SharedAnswers
from pytest_llmops.cassettes.wrong_address import NOT_FOUND, is_wrong_address
from pytest_llmops.redaction.redactor import Redactor
from pytest_llmops.settings import Settings

if TYPE_CHECKING:
    from pytest_llmops.cassettes.traces.answers import TraceAnswers

REPLAYING_MODES = ("none", "new")  # modes in which recorded answers are played
WRITING_MODES = ("new", "all")


@dataclass(frozen=True, slots=True, kw_only=True)
class TapeConfig:
    """The configuration of a tape.

    Attributes:
        redactor: Masks secrets.
        owner: The test, for the order in a shared file.
        command: The command that records, for the message of a miss.
        settings: The settings of the run: among others, hosts that are neither recorded nor blocked, further headers to
            record, and what happens to answers that are too old.
        rules: Parts of a request to ignore when matching recordings.
        ledger: Counts live calls, and refuses calls beyond the budget.
        shared_answers: Judges' answers from other tests of the run.
        pace: Limits the rate of judge calls.
        elsewhere: Finds recordings of tests that were renamed or moved.
        attempt: Zero-based number of the repetition, if the test is run several times; it replays the take of that
            number. None: the test is run once.
        take: The take of calls outside of a trial, for instance from a thread or process that is older than the trial.
        proxy_ports: Ports of our own proxies, which add themselves. Requests to them are not recorded twice.
        why_not_called: Returns before a live call why it must not be made; "" if it may. None: nothing is checked.
        list_folders: Returns the folders of the test with the placeholder of each, for requests and calls of tools.
        faults: The faults that calls of the application get on purpose; None: there are none.
        fault_take: The take of requests that the test makes only with its fault, with ``--llm-faults``; "": it has none, and
            everything belongs to the test itself.
        fork: Where each trial leaves the recorded run, with ``--llm-record=fork``; None: the option is not set.
        traced: The answers of the trace of the test's case, for requests that no recording answers; None: its case has no trace.
    """

    redactor: Redactor = field(default_factory=Redactor)
    owner: str = ""
    command: str = "pytest --llm-record=new"
    settings: Settings = field(default_factory=Settings)
    rules: MatchRules = field(default_factory=MatchRules)
    ledger: Ledger | None = None
    shared_answers: SharedAnswers | None = None
    pace: RateLimiter | None = None
    elsewhere: RecordingIndex | None = None
    attempt: int | None = None
    take: str = "0"
    proxy_ports: set[int] = field(default_factory=set)
    why_not_called: Callable[[Question], str] | None = None
    list_folders: Callable[[], Mapping[str, str]] = dict
    faults: FaultPlan | None = None
    fault_take: str = ""
    fork: ForkProgress | None = None
    traced: "TraceAnswers | None" = None

    @property
    def command_again(self) -> str:
        """The command that replaces existing recordings."""
        return self.command.replace("record=new", "record=all").replace('record="new"', 'record="all"')

    def name_place(self, number: int, *, shared: bool) -> str:
        """Return the place of a recording in its file, by which the file is ordered: ``#007``.

        Args:
            number: The number of the request in its test.
            shared: Whether tests share the file. If so, the place also has the name of the test: ``test_x#007``.
        """
        if not shared:
            return f"#{number:03d}"
        return f"{self.redactor.clean_text(self.owner)}#{number:03d}"

    def records_status(self, answer: Answer, question: Question | None = None) -> bool:
        """Return whether an answer is recorded: if another run would get it too, or if settings ask for errors.

        A 404 of a wrong address is not recorded; only the request distinguishes it from the 404 of an unknown model.
        """
        if self.settings.record_errors and (answer.is_transient or answer.status == NOT_FOUND):
            return True
        if question is not None and is_wrong_address(question, answer):
            return False
        return answer.is_reproducible

    def to_wire(self, answer: Answer, question: Question) -> dict[str, Any]:
        """Return the answer to a request as it is recorded, without secrets."""
        request_headers: Mapping[str, str] | None = question.headers
        if question.is_tool:
            request_headers = None
        return answer_to_wire(
            answer,
            self.redactor,
            self.settings.record_headers,
            question.identities,
            request_headers,
        )


def make_run_config(
    settings: Settings,
    redactor: Redactor,
    *,
    owner: str,
    command: str,
    normalizers: tuple[Normalizer, ...] = (),
    elsewhere: RecordingIndex | None = None,
    attempt: int | None = None,
    take: str = "0",
    shares_answers: bool = False,
    why_not_called: Callable[[Question], str] | None = None,
    list_folders: Callable[[], Mapping[str, str]] = dict,
    faults: FaultPlan | None = None,
    fault_take: str = "",
    traced: "TraceAnswers | None" = None,
) -> TapeConfig:
    """Return the configuration of a tape by the settings of a run, with its budget and the rate limit of its judges.

    Args:
        settings: The settings of the run.
        redactor: Masks secrets.
        owner: The test.
        command: The command that records.
        normalizers: Change requests before they are matched.
        elsewhere: Finds recordings of tests that were renamed or moved.
        attempt: Zero-based number of the repetition, if the test is run several times; None: it is run once.
        take: The take of calls outside of a trial.
        shares_answers: Whether judges' answers are shared with other tests of the run.
        why_not_called: Returns before a live call why it must not be made; "" if it may.
        list_folders: Returns the folders of the test with the placeholder of each.
        faults: The faults that calls of the application get on purpose.
        fault_take: The take of requests that the test makes only with its fault.
        traced: The answers of the trace of the test's case.
    """
    ledger = None
    if settings.has_budget:
        ledger = open_ledger(settings)
    fork = None
    if settings.fork:
        fork = ForkProgress()
    shared_answers = None
    if shares_answers:
        shared_answers = SharedAnswers()
    return TapeConfig(
        redactor=redactor,
        owner=owner,
        command=command,
        settings=settings,
        rules=MatchRules(settings.match_ignore, normalizers, clients.load_presets(settings.clients)),
        ledger=ledger,
        shared_answers=shared_answers,
        pace=RateLimiter(settings.judge_concurrency),
        elsewhere=elsewhere,
        attempt=attempt,
        take=take,
        why_not_called=why_not_called,
        list_folders=list_folders,
        faults=faults,
        fault_take=fault_take,
        fork=fork,
        traced=traced,
    )
