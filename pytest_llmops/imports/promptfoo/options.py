"""Effects of the keys of a test besides its variables and assertions, and the keys that are not carried."""

from collections.abc import Mapping
from types import MappingProxyType

from pytest_llmops.imports.foreign_secrets import hide_secrets, hide_settings
from pytest_llmops.imports.promptfoo.reading import MAX_SHOWN, Reading
from pytest_llmops.imports.source_files import LocatedMap
from pytest_llmops.imports.suite import RemarkKind
from pytest_llmops.measurement import Json, shorten_text

MAX_REPEAT = 100
MAX_TAG_CHARS = 60
_KNOWN_KEYS = frozenset(
    {
        "assert",
        "description",
        "metadata",
        "options",
        "providerOutput",
        "tags",
        "threshold",
        "vars",
    }
)
# Options that the reader of tests follows
_FOLLOWED_OPTIONS = frozenset(
    {
        "disableDefaultAsserts",
        "disableVarExpansion",
        "repeat",
        "transform",
        "postprocess",
        "transformVars",
        "prefix",
        "suffix",
    }
)
# Key of a test -> how it is not carried
_KEYS: Mapping[str, tuple[RemarkKind, str]] = MappingProxyType(
    {
        "assertScoringFunction": ("not carried", "code decides from the scores: its assertions only record"),
        "prompts": ("differs", "it runs with all prompts"),
        "provider": ("differs", "it calls the same models as all other tests"),
        "providers": ("differs", "it calls the same models as all other tests"),
    }
)
_OPTIONS: Mapping[str, tuple[RemarkKind, str]] = MappingProxyType(
    {
        "disableConversationVar": ("left out", "earlier answers are never part of a prompt"),
        "provider": ("differs", "judges call the model of llm_judge_model"),
        "rubricPrompt": ("differs", "judges have a prompt of their own: write its questions into the rubric"),
        "runSerially": ("left out", "tests run one after the other unless pytest-xdist is used"),
        "storeOutputAs": ("not carried", "no test can use the answer of another one"),
    }
)


def find_obstacle(options: LocatedMap) -> str:
    """Return why a test cannot be written as it is: code makes its variables; "" if none does."""
    code = options.get("transformVars")
    if code is None:
        return ""
    return f"transformVars {_shorten(code)}: code changes the variables: write their values into the case"


def find_transform(options: LocatedMap) -> tuple[str, str]:
    """Return the code that changes an answer before it is checked, and why the test cannot run without it; two empty texts if there is none."""
    for name in ("transform", "postprocess"):
        if options.get(name) is not None:
            code = f"{name} {_shorten(options[name])}"
            return code, f"{code}: code changes the answer before it is checked: do the same in the test"
    return "", ""


def find_rule(reading: Reading, values: LocatedMap) -> str:
    """Return the rule by which a test passes though an assertion fails, or "" if all must pass."""
    threshold = values.get("threshold")
    if isinstance(threshold, (int, float)) and not isinstance(threshold, bool):
        reading.add_remark(
            "not carried",
            values.place_of("threshold"),
            f"the threshold {threshold} of a test",
            "the test passes with a weighted mean of the scores; its assertions only record: give each the threshold that it needs",
        )
        return f"the test passes with a weighted mean score of {threshold}"
    if values.get("assertScoringFunction") is not None:
        return "code decides from the scores"
    return ""


def add_test_remarks(reading: Reading, values: LocatedMap, options: LocatedMap, defaults: LocatedMap) -> None:
    """Remember what of a test is not carried."""
    for name, value in values.items():
        if name in _KNOWN_KEYS or value is None or value == []:
            continue
        kind, why = _KEYS.get(name, ("left out", "promptfoo has no such key of a test"))
        if name.startswith("assert") and name not in _KEYS:
            kind = "not carried"
        reading.add_remark(kind, values.place_of(name), f"{shorten_text(name, 60)}: {_shorten(value)}", why)
    default_options = defaults.get("options")
    for name in ("prefix", "suffix"):
        inherited = default_options.get(name) if isinstance(default_options, Mapping) else None
        if options.get(name) and options[name] != inherited:
            what = f"options.{name} {_shorten(options[name])}"
            reading.add_remark(
                "not carried",
                options.place_of(name),
                what,
                "one test has a prompt of its own: write it into a variable",
            )
    for name, value in options.items():
        if name in _FOLLOWED_OPTIONS or value is None or value is False:
            continue
        kind, why = _OPTIONS.get(
            name, ("left out", "write it into the params of the prompt if the model needs it")
        )
        reading.add_remark(
            kind, options.place_of(name), f"options.{shorten_text(name, 60)}{_show_plain(value)}", why
        )


def _show_plain(value: Json) -> str:
    """Return a text or a number behind a space; settings of a provider are not shown, as they may hold a key."""
    if isinstance(value, (str, int, float)):
        return f" {_shorten(value)}"
    return ""


def _shorten(value: Json) -> str:
    """Return a value in one short line; of an object only its keys, as it may hold a secret."""
    if isinstance(value, Mapping):
        return shorten_text(", ".join(value), MAX_SHOWN)
    if isinstance(value, list):
        value = hide_settings(value)
    return shorten_text(hide_secrets(" ".join(str(value).split())), MAX_SHOWN)


def read_repeat(options: LocatedMap) -> int:
    """Return how often a test is repeated, at most 100 times."""
    repeat = options.get("repeat")
    if not isinstance(repeat, (int, float)):
        return 1
    return min(max(int(repeat), 1), MAX_REPEAT)


def read_tags(values: Mapping[str, Json], metadata: Mapping[str, Json]) -> tuple[str, ...]:
    """Return the tags of a test: its own, and each short text of its metadata, as ``key:value``.

    >>> read_tags({"tags": ["late", "fee"]}, {"topic": "returns", "rows": {"a": 1}})
    ('late', 'fee', 'topic:returns')
    """
    tags: dict[str, None] = {}
    for name, value in [("tags", values.get("tags")), *metadata.items()]:
        items = [value]
        if isinstance(value, list):
            items = value
        for item in items:
            if isinstance(item, bool) or not isinstance(item, (str, int, float)):
                continue
            tag = f"{name}:{item}"
            if name in ("tags", "tag"):
                tag = str(item)
            tag = " ".join(tag.split())
            if tag and len(tag) <= MAX_TAG_CHARS:
                tags.setdefault(tag)
    return tuple(tags)
