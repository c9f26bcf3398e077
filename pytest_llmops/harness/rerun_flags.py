"""The flags with which a test makes the same requests again."""

import re
from collections.abc import Iterator
from typing import Any

from pytest_llmops._util.option_declarations import Option
from pytest_llmops.settings import OPTIONS, Settings

# Options that change the requests of a test, without the versions of prompts
REQUEST_SETTINGS = frozenset({"trials", "model", "judge_model", "base_url"})
REQUEST_KEYS = frozenset({"llm_api", "llm_embedder"})  # the same for ini keys without a flag
# The parts of a URL that may hold secrets: user and password before "@", and the query
SECRETS_IN_URL = re.compile(r"(?<=://)[^/?#]*(?=@)|(?<=\?).+")


def iter_rerun_flags(config: Any, settings: Settings, redactor: Any) -> Iterator[str]:
    """Yield the flags that a rerun needs to make the same requests, as ``--llm-model=gpt-5``. Secrets are masked."""
    for override in config.getoption("override_ini", None) or ():
        if override.partition("=")[0] in REQUEST_KEYS:
            yield "-o"
            yield redactor.clean_text(override)
    for option in OPTIONS:
        value = getattr(settings, option.name)
        if option.name not in REQUEST_SETTINGS or not _needs_flag(config, option, value):
            continue
        values = value if isinstance(value, tuple) else (value,)
        for single in values:
            text = str(single)
            if option.name == "base_url":
                text = SECRETS_IN_URL.sub("[secret]", text)
            yield f"{option.flag}={redactor.clean_text(text)}"


def _needs_flag(config: Any, option: Option, value: object) -> bool:
    """Return whether a rerun needs the flag to have the same value: not if the value comes from the ini or is the default."""
    if config.getoption(option.dest, None) is not None:
        return True
    # The address may come from OPENAI_BASE_URL, which may not be set where the command is run.
    return option.name == "base_url" and bool(value) and not config.getini(option.dest)
