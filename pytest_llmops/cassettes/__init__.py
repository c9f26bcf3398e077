"""Records the HTTP calls of tests, replays them, and refuses calls that are not recorded.

`harness` imports the names below from here, and no module of this package directly. A module is imported only when
one of its names is used.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_llmops.cassettes.active_tape import (
        SESSION_TAKES,
        current_job,
        current_purpose,
        current_take,
        current_tape,
        deferred_calls,
        late_call_checks,
        outgoing_request,
    )
    from pytest_llmops.cassettes.audit import find_orphans
    from pytest_llmops.cassettes.budget import open_ledger
    from pytest_llmops.cassettes.drift import is_model_request
    from pytest_llmops.cassettes.fault_injection import find_fault_plan
    from pytest_llmops.cassettes.fault_targets import FaultTargets, count_fault_targets
    from pytest_llmops.cassettes.faults.kinds import FAULT_KINDS, Fault
    from pytest_llmops.cassettes.faults.plan import FaultPlan
    from pytest_llmops.cassettes.faults.takes import find_fault_take
    from pytest_llmops.cassettes.functions.calls import record_functions
    from pytest_llmops.cassettes.http.connection_checks import network_patches
    from pytest_llmops.cassettes.http.interception import install_patches, use_in_all_threads
    from pytest_llmops.cassettes.http.late_calls import check_late_call
    from pytest_llmops.cassettes.http.live_response import TIMING_DIGITS, is_stream, limit_silence
    from pytest_llmops.cassettes.http.request_checks import (
        ReadBody,
        calls_model,
        request_patches,
    )
    from pytest_llmops.cassettes.journal import JournalEntry
    from pytest_llmops.cassettes.locking import lock_cassette, lock_folder, replace_file
    from pytest_llmops.cassettes.naming import (
        CASSETTE_FOLDER,
        cassette_path,
        display_path,
        safe_file_name,
        shared_path,
        test_name,
    )
    from pytest_llmops.cassettes.patch import Patch, SystemChange
    from pytest_llmops.cassettes.rate_limit import RateLimiter
    from pytest_llmops.cassettes.recordings import RecordingIndex
    from pytest_llmops.cassettes.request_key import Answer, Question, TapeCounts, make_exchange
    from pytest_llmops.cassettes.run_folder import (
        RUN_FOLDER_VARIABLE,
        SILENT_LINK_VARIABLE,
        are_live_calls_stopped,
        count_live_calls,
        current_folder,
        note_live_call,
        open_run_folder,
    )
    from pytest_llmops.cassettes.run_journals import AdoptedJournals, RunJournals, remove_run_journals
    from pytest_llmops.cassettes.shared_answers import JUDGE_PURPOSE, shared_answer_key
    from pytest_llmops.cassettes.store import (
        find_highest_take,
        list_answered_requests,
        parse_cassette,
        read_recording_day,
    )
    from pytest_llmops.cassettes.tape import Tape, open_tape, replace_tape_factory
    from pytest_llmops.cassettes.tape_config import TapeConfig, make_run_config
    from pytest_llmops.cassettes.tape_usage import count_takes, describe_usage, iter_moved_usage
    from pytest_llmops.cassettes.telemetry import has_telemetry_host
    from pytest_llmops.cassettes.tool_calls import ToolTurn
    from pytest_llmops.cassettes.traces.answers import TraceAnswers
    from pytest_llmops.cassettes.usage_record import RunUsage, collect_cassette_uses

_MODULES_BY_NAME = {
    "Answer": "request_key",
    "CASSETTE_FOLDER": "naming",
    "FAULT_KINDS": "faults.kinds",
    "Fault": "faults.kinds",
    "FaultPlan": "faults.plan",
    "FaultTargets": "fault_targets",
    "JUDGE_PURPOSE": "shared_answers",
    "JournalEntry": "journal",
    "Patch": "patch",
    "Question": "request_key",
    "RUN_FOLDER_VARIABLE": "run_folder",
    "SILENT_LINK_VARIABLE": "run_folder",
    "RateLimiter": "rate_limit",
    "ReadBody": "http.request_checks",
    "RecordingIndex": "recordings",
    "AdoptedJournals": "run_journals",
    "RunJournals": "run_journals",
    "RunUsage": "usage_record",
    "SystemChange": "patch",
    "SESSION_TAKES": "active_tape",
    "TIMING_DIGITS": "http.live_response",
    "Tape": "tape",
    "TapeConfig": "tape_config",
    "TapeCounts": "request_key",
    "ToolTurn": "tool_calls",
    "TraceAnswers": "traces.answers",
    "are_live_calls_stopped": "run_folder",
    "calls_model": "http.request_checks",
    "cassette_path": "naming",
    "check_late_call": "http.late_calls",
    "collect_cassette_uses": "usage_record",
    "count_live_calls": "run_folder",
    "count_takes": "tape_usage",
    "current_folder": "run_folder",
    "current_job": "active_tape",
    "current_purpose": "active_tape",
    "current_take": "active_tape",
    "current_tape": "active_tape",
    "deferred_calls": "active_tape",
    "describe_usage": "tape_usage",
    "display_path": "naming",
    "count_fault_targets": "fault_targets",
    "find_fault_plan": "fault_injection",
    "find_fault_take": "faults.takes",
    "find_highest_take": "store",
    "find_orphans": "audit",
    "install_patches": "http.interception",
    "has_telemetry_host": "telemetry",
    "is_model_request": "drift",
    "is_stream": "http.live_response",
    "iter_moved_usage": "tape_usage",
    "late_call_checks": "active_tape",
    "limit_silence": "http.live_response",
    "list_answered_requests": "store",
    "lock_cassette": "locking",
    "lock_folder": "locking",
    "make_exchange": "request_key",
    "make_run_config": "tape_config",
    "network_patches": "http.connection_checks",
    "open_ledger": "budget",
    "note_live_call": "run_folder",
    "open_run_folder": "run_folder",
    "open_tape": "tape",
    "outgoing_request": "active_tape",
    "parse_cassette": "store",
    "read_recording_day": "store",
    "record_functions": "functions.calls",
    "remove_run_journals": "run_journals",
    "replace_file": "locking",
    "replace_tape_factory": "tape",
    "request_patches": "http.request_checks",
    "safe_file_name": "naming",
    "shared_answer_key": "shared_answers",
    "shared_path": "naming",
    "test_name": "naming",
    "use_in_all_threads": "http.interception",
}

__all__ = [
    "CASSETTE_FOLDER",
    "FAULT_KINDS",
    "JUDGE_PURPOSE",
    "RUN_FOLDER_VARIABLE",
    "SESSION_TAKES",
    "SILENT_LINK_VARIABLE",
    "TIMING_DIGITS",
    "AdoptedJournals",
    "Answer",
    "Fault",
    "FaultPlan",
    "FaultTargets",
    "JournalEntry",
    "Patch",
    "Question",
    "RateLimiter",
    "ReadBody",
    "RecordingIndex",
    "RunJournals",
    "RunUsage",
    "SystemChange",
    "Tape",
    "TapeConfig",
    "TapeCounts",
    "ToolTurn",
    "TraceAnswers",
    "are_live_calls_stopped",
    "calls_model",
    "cassette_path",
    "check_late_call",
    "collect_cassette_uses",
    "count_fault_targets",
    "count_live_calls",
    "count_takes",
    "current_folder",
    "current_job",
    "current_purpose",
    "current_take",
    "current_tape",
    "deferred_calls",
    "describe_usage",
    "display_path",
    "find_fault_plan",
    "find_fault_take",
    "find_highest_take",
    "find_orphans",
    "has_telemetry_host",
    "install_patches",
    "is_model_request",
    "is_stream",
    "iter_moved_usage",
    "late_call_checks",
    "limit_silence",
    "list_answered_requests",
    "lock_cassette",
    "lock_folder",
    "make_exchange",
    "make_run_config",
    "network_patches",
    "note_live_call",
    "open_ledger",
    "open_run_folder",
    "open_tape",
    "outgoing_request",
    "parse_cassette",
    "read_recording_day",
    "record_functions",
    "remove_run_journals",
    "replace_file",
    "replace_tape_factory",
    "request_patches",
    "safe_file_name",
    "shared_answer_key",
    "shared_path",
    "test_name",
    "use_in_all_threads",
]


def __getattr__(name: str) -> object:
    """Return a public name from its module.

    It is not stored here, so that a patch of the module has an effect everywhere.
    """
    module = _MODULES_BY_NAME.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{module}"), name)
