"""The reports that a run of pytest writes: those that the options name, in the formats that the project knows."""

from contextlib import suppress
from typing import Any

from pytest_llmops.errors import LLMOpsError
from pytest_llmops.reports.formats import NamedReport, check_reports, collect_formats
from pytest_llmops.settings import Settings


def find_reports(config: Any, settings: Settings) -> list[NamedReport]:
    """Return the reports that ``--llm-report`` or its ini key names.

    Args:
        config: pytest's config.
        settings: The run's.

    Raises:
        SettingError: A name means no report, or two go to the same file.
        UsageError: The hook ``pytest_llmops_reports`` returned something else than formats.
    """
    if not settings.report:
        return []
    formats = collect_formats(config.hook.pytest_llmops_reports(config=config))
    if config.getoption("llm_report", None) is None:
        place = "ini"
        option = "llm_report"
    else:
        place = "command line"
        option = "--llm-report"
    return check_reports(settings.report, formats, place, option, in_pytest=True)


def remove_run_files(config: Any, settings: Settings) -> None:
    """Remove the run files that a run would have written, if a usage error ended it.

    An older one would look like its result: `llmops merge` has to find that a shard is missing.

    Args:
        config: pytest's config.
        settings: The run's.
    """
    with suppress(LLMOpsError):  # a wrong option has ended the run already
        for report in find_reports(config, settings):
            if report.format.kind == "json":
                with suppress(OSError):
                    (config.invocation_params.dir / report.target).unlink()
