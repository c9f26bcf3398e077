"""The run file: a run as JSON, as the commands read it; it is compressed if its name ends with ``.json.gz``."""

from pytest_llmops.reports.formats import ReportFormat
from pytest_llmops.results.run import Run

FORMATS = (ReportFormat(kind="json", suffix=(".json", ".json.gz"), render=Run.to_json),)
