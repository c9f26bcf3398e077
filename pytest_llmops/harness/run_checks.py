"""Usage record of a run's cassettes, which tests exist, their orphans and age, budgets, and mistakes that nothing reports.

Stale recordings and orphans are known only after a complete run, so the record has the reasons of a partial run.

Knows pytest's configuration by its attributes only.
"""

from __future__ import annotations

import dis
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from types import CodeType
from typing import TYPE_CHECKING, Any

from pytest_llmops._util.user_files import INI_NAMES
from pytest_llmops.errors import CaseError, UsageError, path_from_root
from pytest_llmops.harness import tapes
from pytest_llmops.measurement import Json, format_count, shorten_text
from pytest_llmops.results.details import as_list, fact_text
from pytest_llmops.settings import OPTIONS, Settings

if TYPE_CHECKING:
    from pytest_llmops.cassettes import RecordingIndex
    from pytest_llmops.results.run import TestRecord


USAGE_CACHE_KEY = "llmops/usage"
QUEUE_NAME = "queue.jsonl"  # of the feedback that waits for a review, beside the case file
MAX_TOPICS = 5  # that a note names
MAX_QUEUE_BYTES = 20_000_000  # of a larger one `llmops cases coverage` tells the topics
# Options of pytest that leave tests out, by attribute
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


def why_partial_run(config: Any, settings: Settings, left_out: int) -> list[str]:
    """Return why tests or recordings are missing from this run; empty: it is complete."""
    reasons = [flag for name, flag in _NARROWING if getattr(config.option, name, None)]
    for argument in config.args:
        if not _is_folder_argument(config, argument):
            path = Path(argument)
            if path.is_absolute():
                typed = os.path.relpath(path, config.invocation_params.dir)
            else:
                typed = argument
            reasons.append(f"only {typed}")
    has_fewer_models = getattr(config.option, "llm_model", None) and _has_several_ini_models(config)
    more = (
        (left_out and not reasons, f"{left_out} collected tests were left out"),
        (settings.prompt, "--llm-prompt"),
        (has_fewer_models, "--llm-model"),
        (settings.record == "live", "--llm-record=live"),
    )
    return [*reasons, *(reason for applies, reason in more if applies)]


def _has_several_ini_models(config: Any) -> bool:
    try:
        return len(config.getini("llm_model") or ()) > 1
    except Exception:  # noqa: BLE001 -- native TOML with a text where pytest wants a list: a single model
        return False


def collected_folders(config: Any) -> list[str]:
    """Return the folders, relative to the rootdir, whose tests were collected; ``""`` is the rootdir itself."""
    root = Path(config.rootpath)
    paths = [
        _argument_path(config, argument) for argument in config.args if _is_folder_argument(config, argument)
    ]
    relative = {path.relative_to(root).as_posix() for path in paths if path.is_relative_to(root)}
    return sorted("" if path == "." else path for path in relative)


def _is_folder_argument(config: Any, argument: str) -> bool:
    return "::" not in argument and _argument_path(config, argument).is_dir()


def _argument_path(config: Any, argument: str) -> Path:
    return Path(os.path.normpath(config.invocation_params.dir / argument))


class CassetteUsage:
    """Collects, in the controller, the requests to the tapes of all workers.

    Args:
        config: pytest's.
        settings: The run's.

    Attributes:
        left_out: Collected tests that were not run.
        skipped: Modules that skipped themselves.
        uncollected: Modules that failed while they were collected.
        skipped_tests: Node ids of skipped tests.
        crashed: Workers that crashed.
        has_candidates: Tests were made for the models of --llm-model.
    """

    def __init__(self, config: Any, settings: Settings) -> None:
        self._config = config
        self._settings = settings
        self._uses: list[Mapping[str, Any]] = []
        self.left_out = 0
        self.skipped = self.uncollected = 0
        self.crashed = 0
        self.has_candidates = False
        self.skipped_tests: set[str] = set()

    def add_uses(self, uses: Sequence[Mapping[str, Any]]) -> None:
        """Add the requests to the tapes of a test."""
        self._uses += uses

    @property
    def fewest_takes(self) -> int | None:
        """The smallest number of recorded takes of a test that the run repeats; None: no test has any."""
        return min((use["takes"] for use in self._uses if "takes" in use), default=None)

    def write_record(self, red_because: Sequence[str], undone: int = 0) -> dict[str, Json]:
        """Write the usage record into pytest's cache, and return the report's facts about cassettes and budget.

        Args:
            red_because: What failed in this run; empty: it was green.
            undone: Tests of ours that were skipped or expected to fail: the answers they need are not known.
        """
        facts = self._budget_facts()
        if not self._uses:
            return facts
        from pytest_llmops.cassettes import (
            RunUsage,
            collect_cassette_uses,
            find_orphans,
            read_recording_day,
        )

        root = Path(self._config.rootpath)
        partial = self._why_partial(undone)
        moved: dict[str, set[str]] = {}
        for use in self._uses:
            if "moved_to" in use:
                moved.setdefault(use["path"], set()).add(use["moved_to"])
        red = [*red_because, *([f"{self.crashed} workers crashed"] if self.crashed else [])]
        usage = RunUsage(
            created=datetime.now(UTC).isoformat(),
            root=str(root),
            complete=not partial,
            partial_because=tuple(partial),
            green=not red,
            red_because=tuple(red),
            scopes=tuple(collected_folders(self._config)),
            files=collect_cassette_uses(self._uses, root),
            # Sorted: workers that share a cassette end in any order.
            cases=dict(sorted((use["path"], use["case"]) for use in self._uses if "case" in use)),
            models=tuple(sorted({model for use in self._uses for model in use.get("models", ())})),
            skipped=frozenset(self.skipped_tests),
            moved={old: tuple(sorted(new)) for old, new in sorted(moved.items())},
        )
        cache = getattr(self._config, "cache", None)  # absent with `-p no:cacheprovider`
        if cache is not None and self._settings.record != "live":
            cache.set(USAGE_CACHE_KEY, usage.to_wire())
        days = filter(None, (read_recording_day(root / name) for name in usage.files))
        if usage.green:
            orphans: Sequence[Json] = find_orphans(root, usage)
        else:
            orphans = []
        cassettes: dict[str, Json] = {"oldest": min(days, default=""), "orphans": orphans}
        return {**facts, "cassettes": {**cassettes, **({"moved": list(usage.moved)} if moved else {})}}

    def why_tests_missing(self) -> list[str]:
        """Return why tests were left out of this run, whatever it was asked to record; empty: all ran."""
        reasons = why_partial_run(self._config, self._settings, self.left_out)
        counts = {
            "workers crashed": self.crashed,
            "modules were skipped": self.skipped,
            "modules could not be collected": self.uncollected,
        }
        return [reason for reason in reasons if not reason.startswith("--llm-")] + [
            f"{count} {what}" for what, count in counts.items() if count
        ]

    def _why_partial(self, undone: int) -> list[str]:
        more = (
            (self.has_candidates and getattr(self._config.option, "llm_model", None), "--llm-model"),
            (undone, f"{undone} tests were skipped or expected to fail"),
            (self.skipped, f"{self.skipped} modules were skipped"),
        )
        reasons = why_partial_run(self._config, self._settings, self.left_out)
        return [*reasons, *(reason for applies, reason in more if applies)]

    def _budget_facts(self) -> dict[str, Json]:
        if not self._settings.has_budget:
            return {}
        from pytest_llmops.cassettes import open_ledger

        calls, usd = open_ledger(self._settings).totals()
        max_calls = self._settings.max_calls
        budget_usd = self._settings.budget
        return {"budget": {"calls": calls, "usd": usd, "max_calls": max_calls, "budget_usd": budget_usd}}


_DEFINITION = re.compile(r"^[ \t]*(?:async[ \t]+)?def[ \t]+(\w+)", re.MULTILINE)


class CollectedTests:
    """All tests of the modules that were collected, also those that this run leaves out.

    Args:
        root: The root folder of the project.
        children: Each module and class with what it holds.
    """

    def __init__(self, root: Path, children: Sequence[tuple[Any, Sequence[Any]]]) -> None:
        self._root = root
        self._children = children

    @cached_property
    def index(self) -> RecordingIndex:
        """The recordings of the project by key, in cassettes whose test is gone."""
        from pytest_llmops.cassettes import RecordingIndex

        return RecordingIndex(self._root, self.is_abandoned)

    def is_abandoned(self, cassette: Path) -> bool:
        """Return whether the test or fixture after which a cassette is named is gone.

        Of a module that was not collected, or a class that was left out, the source decides: what is defined there exists.
        """
        from pytest_llmops.cassettes import CASSETTE_FOLDER, safe_file_name

        if cassette in self._cassettes:
            return False
        home = next((folder for folder in cassette.parents if folder.name == CASSETTE_FOLDER), None)
        if home is not None:
            names = cassette.relative_to(home).with_suffix("").parts
        else:
            names = ()
        if home is None or len(names) < 2:  # noqa: PLR2004 -- module and test; without a module it has a name of its own
            return False
        module = next(
            (path for path in home.parent.glob("*.py") if safe_file_name(path.stem) == names[0]), None
        )
        if module is None:
            return True
        first = names[1].partition(".")[0]
        if module in self._modules and first != "fixture" and first not in self._modules[module]:
            return True
        defined = set(map(safe_file_name, _DEFINITION.findall(module.read_text("utf-8", "replace"))))
        return defined.isdisjoint(name.rpartition(".")[2] for name in names[-2:])

    @cached_property
    def _cassettes(self) -> frozenset[Path]:
        """The cassettes of all collected tests and of their fixtures."""
        paths: set[Path] = set()
        items = (node for _, nodes in self._children for node in nodes if hasattr(node, "runtest"))
        for item in items:
            paths.update(path for _, path in tapes.recorded_fixtures(item))
            try:
                paths.add(tapes.item_cassette_path(item)[0])
            except UsageError:  # reported by the test itself
                continue
        return frozenset(paths)

    @cached_property
    def _modules(self) -> dict[Path, set[str]]:
        """The collected modules, and the classes of each whose tests are not known, by their folder's name."""
        from pytest_llmops.cassettes import safe_file_name, test_name

        expanded = {collector for collector, _ in self._children}
        modules: dict[Path, set[str]] = {}
        for collector, nodes in self._children:
            unknown = modules.setdefault(collector.path, set())
            for node in nodes:
                if not hasattr(node, "runtest") and node not in expanded:
                    unknown |= {test_name((node.name, "")).partition("/")[0], safe_file_name(node.name)}
        return modules


KEYS = frozenset(option.dest for option in OPTIONS if option.ini)
MAX_INI_CHARS = 200_000
MAX_CODES = 200  # functions in which an assertion is searched
_SECTION = re.compile(r"\[{1,2}([^\[\]]{1,100})\]")
_KEY = re.compile(r"(llm_[a-z_]{1,40})[ \t]{0,40}[=:]")
_ASSERTING = re.compile(
    r"assert|check|expect|verif|valid|raises|warns|fail|snapshot|approx|should|emit", re.IGNORECASE
)


def find_unread_keys(config: Any, folders: Iterable[Path]) -> Iterator[str]:
    """Yield a note for each key of ours in an ini file, or a section of it, that pytest does not read or that is misspelt.

    Args:
        config: pytest's.
        folders: Where such files are looked for.
    """
    read = config.inipath and config.inipath.name
    own = {
        "pyproject.toml": "[tool.pytest] or [tool.pytest.ini_options]",
        "setup.cfg": "[tool:pytest]",
    }.get(read, "[pytest]")
    for path in (folder / name for folder in dict.fromkeys(folders) for name in INI_NAMES):
        if not path.is_file():
            continue
        section = path.stem.removeprefix(".")  # until another begins: a pytest.ini is all about pytest
        for number, line in enumerate(
            path.read_text("utf-8", "replace")[:MAX_INI_CHARS].splitlines(), start=1
        ):
            if header := _SECTION.match(line):
                section = header[1].strip()
            key = _KEY.match(line)
            if key is None or not re.search("pytest|llmops", section):
                continue
            value: object = path == config.inipath or None
            is_known = key[1] in KEYS or value is None
            with suppress(
                Exception
            ):  # a value of the wrong form, which `settings` reports, or no plugin's key
                value = value and config.getini(key[1])
                is_known = True
            if path.is_relative_to(config.rootpath):
                name = path.relative_to(config.rootpath)
            else:
                name = path
            if key[1] in KEYS and value is None:
                yield (
                    f"{key[1]} in {name.as_posix()}, line {number} ([{section}]) is not read: pytest reads "
                    + (f"its own section of {read}, {own}" if read else "no ini file in this run")
                )
            # Without the prefix, which makes all of them similar
            elif not is_known and (
                near := get_close_matches(key[1][4:], [known[4:] for known in KEYS], 1, 0.75)
            ):
                yield f"{key[1]} in {name.as_posix()}, line {number}, is unknown: did you mean llm_{near[0]}?"


def iter_feedback_notes(root: Path, records: Iterable[TestRecord]) -> Iterator[str]:
    """Yield of each review queue beside a case file of the run which topics of its feedback no case covered, or why that is unknown."""
    facts = [(record.nodeid, record.fact("case")) for record in records if record.fact("case").get("file")]
    paths = {
        folder / Path(fact_text(case["file"])).parent / QUEUE_NAME
        for nodeid, case in facts
        for folder in (root, (root / nodeid.partition("::")[0]).parent)
    }
    for path in sorted(path for path in paths if path.is_file() and path.stat().st_size <= MAX_QUEUE_BYTES):
        from pytest_llmops.cases.files import Case
        from pytest_llmops.production.feedback import measure_coverage
        from pytest_llmops.production.review_queue import read_queue

        ran = [
            Case(id=fact_text(case.get("id")), input="", tags=tuple(map(str, as_list(case.get("tags")))))
            for _, case in facts
        ]
        try:
            topics, votes, covered = measure_coverage(read_queue(path), ran)
        except CaseError as error:
            yield str(error)
            continue
        missing = [shorten_text(topic, 60) for topic, (_, is_covered) in topics.items() if not is_covered]
        if missing:
            if len(missing) > MAX_TOPICS:
                rest = f" and {len(missing) - MAX_TOPICS:,} more"
            else:
                rest = ""
            yield (
                f"{path_from_root(path, root)}: {covered:,} of {format_count(votes, 'vote')} against answers are on topics that a case of "
                f"this run covers; without one: {', '.join(missing[:MAX_TOPICS])}{rest} (llmops cases review)"
            )


def may_assert(item: Any) -> bool:
    """Return whether a test may assert anything: in its code, its fixtures, or a function of their modules that it calls.

    When in doubt it may: any name that sounds like an assertion counts.
    """
    fixtures = getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", {}).values()
    waiting = [item.obj, *(fixture.func for group in fixtures for fixture in group)]
    seen: set[CodeType] = set()
    while waiting and len(seen) < MAX_CODES:
        function = waiting.pop()
        code = getattr(function, "__code__", None)
        if code is None or code in seen or item.path.parent not in Path(code.co_filename).parents:
            continue
        seen.add(code)
        parts = [code]
        for part in parts:  # and the functions within it
            parts += [constant for constant in part.co_consts if isinstance(constant, CodeType)]
        names = {name for part in parts for name in (*part.co_names, *part.co_varnames)}
        steps = {step.opname for part in parts for step in dis.get_instructions(part)}
        if any(map(_ASSERTING.search, names)) or "RAISE_VARARGS" in steps:
            return True
        known = {**vars(getattr(item, "cls", None) or object), **getattr(function, "__globals__", {})}
        waiting += [getattr(function, "__wrapped__", None), *map(known.get, names)]
    return bool(waiting)
