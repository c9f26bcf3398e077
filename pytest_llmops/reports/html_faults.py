"""The tab Faults of the HTML report: the faults that the tests of a run with ``--llm-faults`` survived."""

from pytest_llmops.measurement import shorten_text
from pytest_llmops.reports.html_views import MAX_NAME, View, case_id
from pytest_llmops.results.fault_survey import read_survey
from pytest_llmops.results.run import Run

MAX_ENDS = 500
MAX_NAMED = 8
_TONES = {"hung": "red", "wrong answer": "red", "gave up": "red", "not recorded": "violet"}


def build_faults(run: Run) -> View:
    """Return the kinds with their survived faults, and each fault that was not survived; with a count of 0 for an ordinary run."""
    survey = read_survey(run.records)
    view: View = {"count": 0, "sentence": "", "kinds": [], "ends": [], "rest": 0, "unrecorded": []}
    if survey is None:
        return view
    kinds = []
    for kind in survey.kinds:
        tone = "red" if kind.lost else ""
        text = shorten_text(kind.describe(MAX_NAMED), 2 * MAX_NAME)
        kinds.append([shorten_text(kind.label, 60), kind.counted, tone, text])
    ends = []
    for test, end in survey.list_open_ends():
        texts = (end.label, end.status, end.why, end.record)
        label, status, why, record = (shorten_text(text, MAX_NAME) for text in texts)
        name = shorten_text(test.name, MAX_NAME)
        ends.append([case_id(test.nodeid), name, label, status, _TONES.get(end.status, ""), why, record])
    view["count"] = len(kinds) or len(survey.unrecorded)
    view["sentence"] = survey.sentence
    view["kinds"] = kinds
    view["ends"] = ends[:MAX_ENDS]
    view["rest"] = max(len(ends) - MAX_ENDS, 0)
    view["unrecorded"] = [shorten_text(test.nodeid, MAX_NAME) for test in survey.unrecorded[:MAX_ENDS]]
    return view
