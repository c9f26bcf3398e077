"""The run file: a run as JSON, which the commands read; compressed if the name ends in ``.json.gz``."""

from pytest_llmops.reports.formats import ReportFormat
from pytest_llmops.results.run import Run

FORMATS = (ReportFormat(kind="json", suffix=(".json", ".json.gz"), render=Run.to_json),)
