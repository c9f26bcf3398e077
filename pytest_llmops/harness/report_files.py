"""The reports that a run of pytest writes: those that the options name, in the formats that the project knows."""

from typing import Any

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
