"""``--llm-lint``: which options it goes with, and its start.

Knows pytest's objects by their attributes only.
"""

from typing import Any

from pytest_llmops.errors import SettingError
from pytest_llmops.harness.lint.watch import AssertionWatch
from pytest_llmops.settings import Settings

# Settings that make no sense in a lint, with the reason
_NOT_WITH_LINT = {
    "faults": "a test with a fault has no answer of its own",
    "accept": "a lint cannot become the baseline",
}


def check_lint(settings: Settings) -> None:
    """Check the options that a lint does not go with.

    Raises:
        SettingError: One of them is set.

    >>> check_lint(Settings(lint=True))
    """
    if settings.record != "none":
        expected = "no --llm-record and no --llm-again with it: it only replays"
        raise SettingError("command line", "--llm-lint", expected, settings.record)
    if settings.tools == "compare":
        expected = "no --llm-tools=compare with it: it only replays"
        raise SettingError("command line", "--llm-lint", expected, settings.tools)
    for name, reason in _NOT_WITH_LINT.items():
        value = getattr(settings, name)
        if value:
            flag = f"--llm-{name.replace('_', '-')}"
            raise SettingError("command line", "--llm-lint", f"no {flag} with it: {reason}", value)


def start_lint(config: Any) -> None:
    """Watch the assertions until the run ends; not in a controller of xdist, which runs no test."""
    is_worker = hasattr(config, "workerinput")
    if config.getoption("dist", "no") != "no" and not is_worker:
        return
    watch = AssertionWatch(config.rootpath)
    watch.install()
    config.add_cleanup(watch.remove)
