"""Find a dataset of the Hugging Face Hub in the cache of `datasets` on this machine. Nothing is downloaded.

The cache has a folder ``ORGANIZATION___NAME/CONFIG/VERSION/HASH`` for each dataset that `load_dataset` has read, with a
``dataset_info.json`` and the rows of each split as Arrow streams.
"""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path, PurePath

from pytest_llmops._util.text_files import BadFile
from pytest_llmops.errors import format_name_list
from pytest_llmops.measurement import shorten_text

PREFIX = "hf:"
INFO_NAME = "dataset_info.json"
_NAME = re.compile(r"hf:((?:[\w.-]+/)?[\w.-]+)(?::([\w.+-]+))?", re.ASCII)
# Where `datasets` separates the words of CamelCase, as in its `camelcase_to_snakecase`
_WORD_START = re.compile(r"(?<=[a-z\d])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def is_dataset_name(source: object) -> bool:
    """Return whether a source of cases is the name of a dataset, not a file.

    >>> is_dataset_name("hf:squad"), is_dataset_name("squad.jsonl")
    (True, False)
    """
    return isinstance(source, (str, PurePath)) and str(source).startswith(PREFIX)


def find_dataset(source: str | PurePath) -> Path:
    """Return the folder in the cache that has a dataset; of several versions, the one that was made last.

    Args:
        source: ``hf:NAME`` or ``hf:ORGANIZATION/NAME``; ``hf:NAME:CONFIG`` if the cache has several configurations.

    Raises:
        BadFile: The name has another form, the cache does not have the dataset, or it has several configurations of it.
    """
    text = source.as_posix() if isinstance(source, PurePath) else source
    match = _NAME.fullmatch(text)
    if match is None or ".." in text:
        raise BadFile(
            f"expected hf:NAME, hf:ORGANIZATION/NAME or hf:NAME:CONFIG, got {shorten_text(text, 80)!r}"
        )
    name, config = match[1], match[2] or ""
    cache = find_cache()
    folder = cache / _folder_name(name)
    folders_by_config: dict[str, list[Path]] = {}
    for info in folder.glob(f"*/*/*/{INFO_NAME}"):
        if info.parent.suffix == ".incomplete":  # `datasets` is writing it, or was interrupted
            continue
        folders_by_config.setdefault(info.parents[2].name, []).append(info.parent)
    call = f'datasets.load_dataset("{name}")'
    if config:
        call = f'datasets.load_dataset("{name}", "{config}")'
    if not folders_by_config:
        hint = _find_same_name(cache, name)
        raise BadFile(
            f"the cache of `datasets` does not have {name}: searched {_describe_folder(folder)}{hint}; "
            f"fetch it once with {call}; tests read the cache only"
        )
    configs = format_name_list(folders_by_config)
    if config and config not in folders_by_config:
        raise BadFile(
            f"the cache of `datasets` has {name} with {configs}, not with {config!r}; fetch it once with {call}"
        )
    if not config and len(folders_by_config) > 1:
        example = min(folders_by_config)
        raise BadFile(
            f"the cache of `datasets` has {name} in several configurations: {configs}; name one: hf:{name}:{example}"
        )
    [folders] = [folders_by_config[config]] if config else folders_by_config.values()
    return max(folders, key=lambda path: (path.stat().st_mtime_ns, path.name))


def find_cache() -> Path:
    """Return the folder in which `datasets` keeps loaded files, by its own variables of the environment."""
    given = os.environ.get("HF_DATASETS_CACHE")
    if given:
        return Path(given).expanduser()
    home = os.environ.get("HF_HOME")
    if not home:
        home = os.path.join(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "huggingface")  # noqa: PTH118 -- it may start with ~
    return Path(home).expanduser() / "datasets"


def list_split_files(folder: Path) -> dict[str, list[Path]]:
    """Return the Arrow streams of each split of a dataset in the cache.

    Raises:
        BadFile: The cache lacks files of a split.
    """
    info = json.loads((folder / INFO_NAME).read_bytes())
    splits = info.get("splits") if isinstance(info, Mapping) else None
    files: dict[str, list[Path]] = {}
    for split in splits or ():
        pattern = re.compile(rf".+-{re.escape(split)}(?:-\d{{5}}-of-(\d{{5}}))?\.arrow")
        matches = {path: pattern.fullmatch(path.name) for path in sorted(folder.iterdir())}
        shards = {path: match[1] for path, match in matches.items() if match}
        expected = max((int(count or 1) for count in shards.values()), default=1)
        if len(shards) != expected:
            raise BadFile(
                f"the cache of `datasets` has {len(shards)} of {expected} files of the split {shorten_text(split, 80)!r}; fetch the dataset again"
            )
        files[split] = list(shards)
    if not files:
        raise BadFile(f"{INFO_NAME} in the cache of `datasets` names no split; fetch the dataset again")
    return files


def _folder_name(name: str) -> str:
    """Return the name of a dataset's folder in the cache.

    >>> _folder_name("allenai/SciQ"), _folder_name("squad")
    ('allenai___sci_q', 'squad')
    """
    organization, _, last = name.rpartition("/")
    last = _WORD_START.sub("_", last).lower()
    if organization:
        return f"{organization}___{last}"
    return last


def _find_same_name(cache: Path, name: str) -> str:
    """Return a hint at a dataset of this name by another organization; "" if the cache has none."""
    last = _folder_name(name.rpartition("/")[2])
    for folder in sorted(cache.glob(f"*___{last}")):
        organization = folder.name.partition("___")[0]
        return f"; did you mean hf:{organization}/{last}?"
    return ""


def _describe_folder(folder: Path) -> str:
    """Return a path for a message; the home folder is written as ``~``."""
    if folder.is_relative_to(Path.home()):
        return f"~/{folder.relative_to(Path.home()).as_posix()}"
    return str(folder)
