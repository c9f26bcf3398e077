"""Was this run the whole suite? Only then can it be said what no test uses any more.

Knows pytest's configuration by its attributes only.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pytest_llmops.settings import Settings

_NARROWING = (
    ("keyword", "-k"),
    ("markexpr", "-m"),
    ("deselect", "--deselect"),
    ("ignore", "--ignore"),
    ("ignore_glob", "--ignore-glob"),
    ("lf", "--lf"),
    ("stepwise", "--stepwise"),
    ("collectonly", "--collect-only"),
)
"""Options of pytest that leave tests out, by where their values lie."""


def narrowed_by(config: Any, settings: Settings, left_out: int) -> list[str]:
    """Return what kept tests or recordings out of this run; empty: nothing did."""
    found = [flag for name, flag in _NARROWING if getattr(config.option, name, None)]
    found += [_shown(config, one) for one in _narrow_arguments(config)]
    if left_out and not found:
        found.append(f"{left_out} collected tests were left out")
    if settings.prompt:
        found.append("--llm-prompt")
    if getattr(config.option, "llm_model", None) and _several_models_in_ini(config):
        found.append("--llm-model")
    if settings.record == "live":
        found.append("--llm-record=live")
    return found


def _several_models_in_ini(config: Any) -> bool:
    try:
        return len(config.getini("llm_model") or ()) > 1
    except Exception:  # noqa: BLE001 -- native TOML with a text where pytest wants a list: it is one model
        return False


def scopes(config: Any) -> list[str]:
    """Return the folders, relative to the rootdir, whose tests were collected; empty text: the rootdir itself."""
    found = (_relative(config, Path(one)) for one in _folders(config))
    return sorted({one for one in found if one is not None})


def _folders(config: Any) -> Iterator[str]:
    for one in config.args:
        path = _path(config, one)
        if "::" not in one and path.is_dir():
            yield str(path)


def _narrow_arguments(config: Any) -> list[str]:
    return [one for one in config.args if "::" in one or not _path(config, one).is_dir()]


def _path(config: Any, argument: str) -> Path:
    return Path(os.path.normpath(config.invocation_params.dir / argument.partition("::")[0]))


def _relative(config: Any, path: Path) -> str | None:
    root = Path(config.rootpath)
    if not path.is_relative_to(root):
        return None
    shown = path.relative_to(root).as_posix()
    return "" if shown == "." else shown


def _shown(config: Any, argument: str) -> str:
    there = Path(argument)
    return f"only {os.path.relpath(there, config.invocation_params.dir) if there.is_absolute() else argument}"
