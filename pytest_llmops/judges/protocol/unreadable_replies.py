"""Handle unreadable replies of a judge: a new call, giving the judge up for the run, and the failure text.

* A recorded question without a verdict is sent again with ``--llm-record=new``, once a run: all its requests are sent anew, and the
  new replies replace the recorded ones. If it cannot be sent again, the failure text shows the recorded reply and the reason.
* After three different questions in a row without a verdict a judge is not called again in the run. Trials and reruns ask the same
  question, which counts once. Only questions that a server answered now count: a replay costs neither money nor time. So recorded
  verdicts of the judge still score their tests. A model that runs in this process makes no calls, and is not limited.
* Calibrations and canaries judge many answers for a single result, and stop by a share of their own. For them the limit is off
  (`without_limit`): some canaries are made to confuse a judge.
"""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace

from pytest_llmops import recorder
from pytest_llmops.cassettes.active_tape import current_tape
from pytest_llmops.cassettes.judge_calls import CallRefusedError, JudgeCalls, note_calls, refuse_live_calls
from pytest_llmops.errors import BudgetReached, CassetteMiss, ModelError, split_code
from pytest_llmops.judges.protocol.reply_form import Reply
from pytest_llmops.measurement import UnreadableVerdict, shorten_text
from pytest_llmops.settings import Settings

MAX_IN_A_ROW = 3
MAX_QUOTED_CHARS = 160
# Modes in which the tests of a run are replayed from its recordings
_RECORDING_MODES = ("none", "new", "all")


@dataclass(frozen=True, slots=True)
class AskedJudge:
    """A judge as the limit counts it: another rubric or another model is another judge.

    Attributes:
        fingerprint: Hash of the judge's prompt.
    """

    name: str
    model: str
    fingerprint: str

    @property
    def why_given_up(self) -> str:
        """The error of a question that is not sent, because the judge was given up."""
        name = shorten_text(self.name, 60)
        return f"not called: judge {name} gave {MAX_IN_A_ROW} unreadable replies in a row"


@dataclass(slots=True)
class _RunCounts:
    """For each judge of a run, the keys of its last questions, in a row, that were answered now and without a verdict.

    A run is recognized by its settings, as each run reads its own.
    """

    settings: Settings | None = None
    by_judge: defaultdict[AskedJudge, set[str]] = field(default_factory=lambda: defaultdict(set))


_lock = threading.Lock()
_run = _RunCounts()
_is_limited: ContextVar[bool] = ContextVar("pytest_llmops_unreadable_limit", default=True)


@contextmanager
def without_limit() -> Iterator[None]:
    """Ask judges in a block however many of their replies cannot be read."""
    token = _is_limited.set(False)
    try:
        yield
    finally:
        _is_limited.reset(token)


def ask_judge(judge: AskedJudge, ask: Callable[[], Reply], expected: str) -> Reply:
    """Return a judge's reply. A recorded unreadable one is requested again; a judge that was given up is not called.

    Args:
        judge: The judge.
        ask: Sends the requests of a question to the model, with a retry. It is called a second time to send them again.
        expected: The required form of a reply, for the failure text.

    Raises:
        ModelError: The model could not be called.
    """
    with note_calls() as calls:
        reply = _ask_within_limit(judge, ask, calls)
    if reply.is_unreadable and calls.may_repeat():
        reply, calls = _ask_again(judge, ask, reply, calls)
    if reply.is_unreadable:
        calls.note_in_vain()
        _describe_unreadable(judge, reply, calls, expected)
    return reply


def _ask_again(
    judge: AskedJudge, ask: Callable[[], Reply], recorded: Reply, calls: JudgeCalls
) -> tuple[Reply, JudgeCalls]:
    """Return the new reply to a question whose recorded reply cannot be read, and its calls.

    If the question cannot be sent, because the server fails or is down or the budget is spent, it is the recorded reply with the
    reason in its error.
    """
    try:
        with calls.repeat() as new_calls:
            reply = _ask_within_limit(judge, ask, new_calls)
    except (ModelError, CassetteMiss, BudgetReached) as failed:
        reason, _ = split_code(str(failed).partition("\n")[0])
        return replace(recorded, error=f"{recorded.error}; a new call failed: {reason}"), calls
    if not new_calls.calls:  # the judge was given up
        reply = replace(reply, raw=recorded.raw)
    return reply, new_calls


def _ask_within_limit(judge: AskedJudge, ask: Callable[[], Reply], calls: JudgeCalls) -> Reply:
    """Return a judge's reply, and count it; an error if it would be called live and was given up."""
    in_vain = _questions_in_vain(judge)
    why_refused = ""
    if len(in_vain) >= MAX_IN_A_ROW and _is_limited.get():
        why_refused = judge.why_given_up
    try:
        with refuse_live_calls(why_refused):
            reply = ask()
    except CallRefusedError:
        _record_given_up(judge)
        _describe_not_asked(judge)
        return Reply(error=why_refused)
    if calls.source == "live" and _is_limited.get():
        # A reply with another error, which is not used or did not come, changes nothing
        with _lock:
            if reply.is_unreadable:
                in_vain.add(calls.question_key)
            elif not reply.error:
                in_vain.clear()
    return reply


def _questions_in_vain(judge: AskedJudge) -> set[str]:
    """Return the keys of a judge's last questions in the run without a verdict, for the caller to change.

    In a plain script, which is not a run, there are none.
    """
    settings = recorder.current_settings()
    with _lock:
        if _run.settings is not settings:
            _run.settings = settings
            _run.by_judge.clear()
        return _run.by_judge[judge]


def _record_given_up(judge: AskedJudge) -> None:
    """Add to the facts of the running test that a judge was not called, for the note of the run."""
    facts = recorder.find_test_recorder().facts
    with _lock:
        known = facts.get("given_up_judges")
        judges = dict(known) if isinstance(known, dict) else {}
        facts["given_up_judges"] = {**judges, judge.name: judge.model}


def _describe_not_asked(judge: AskedJudge) -> None:
    """Keep for the failure text how to call a judge that was given up; a run that records nothing is simply repeated."""
    command = _find_command()
    if command:
        lines = [("model", _describe_judge(judge, "not called")), ("ask again", command)]
        recorder.record_unreadable_verdict(UnreadableVerdict(lines=lines))


def _describe_unreadable(judge: AskedJudge, reply: Reply, calls: JudgeCalls, expected: str) -> None:
    """Keep for the failure text which model gave no verdict, its reply, and how to call it again."""
    is_recorded = calls.source == "recorded"
    source = "replied now"
    if is_recorded:
        source = "the reply is a recording"
    lines = [
        ("model", _describe_judge(judge, source)),
        ("reply", f'"{shorten_text(reply.raw, MAX_QUOTED_CHARS)}"'),
        ("expected", expected),
    ]
    command = _find_command()
    if command:
        lines.append(("ask again", command))
    if not is_recorded:
        command = ""
    recorder.record_unreadable_verdict(UnreadableVerdict(lines=lines, command=command))


def _describe_judge(judge: AskedJudge, source: str) -> str:
    """Return which model gave no verdict, as which judge, and where its reply came from."""
    return f"{shorten_text(judge.model, 60)}, of judge {shorten_text(judge.name, 60)}; {source}"


def _find_command() -> str:
    """Return the command that calls the judge of the running test; "" if its replies are not recorded."""
    tape = current_tape()
    if tape is None or tape.mode not in _RECORDING_MODES:
        return ""
    return tape.config.command
