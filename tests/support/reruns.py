"""A conftest that runs a failed test again, as pytest-rerunfailures does."""

from __future__ import annotations

_CONFTEST = """
from _pytest.runner import runtestprotocol

def pytest_runtest_protocol(item, nextitem):
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for attempt in range({times}):
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
        failed = any(report.failed for report in reports)
        for report in reports:
            if report.failed and attempt < {times} - 1:
                report.outcome = "rerun"
            item.ihook.pytest_runtest_logreport(report=report)
        if not failed:
            break
        item._initrequest()
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True
"""


def make_rerun_conftest(times: int) -> str:
    """Return a conftest that runs a test until it passes, at most so many times."""
    return _CONFTEST.format(times=times)


REPEAT = """
import pytest

def pytest_addoption(parser):
    parser.addoption("--times", type=int, default=1)

@pytest.fixture
def __pytest_repeat_step_number(request):
    return request.param

@pytest.hookimpl(trylast=True)
def pytest_generate_tests(metafunc):
    count = metafunc.config.option.times
    if count > 1:
        metafunc.fixturenames.append("__pytest_repeat_step_number")
        ids = [f"{n + 1}-{count}" for n in range(count)]
        metafunc.parametrize("__pytest_repeat_step_number", range(count), indirect=True, ids=ids)
"""
"""A conftest that repeats each test, as pytest-repeat does with --count."""
