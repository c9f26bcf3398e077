"""Name the test functions of a suite by their checks, or by what their only test is about."""

from collections import Counter
from collections.abc import Sequence

from pytest_llmops.imports.slugs import make_slug, make_unique
from pytest_llmops.imports.test_functions import MissingCheck, TestGroup

MAX_NOUNS = 3  # of checks, in the name of a function
MAX_LONG_NAME = 50  # characters of a name that is made of several


def name_groups(groups: Sequence[TestGroup]) -> None:
    """Name the functions. Of those with the same checks, the one with most tests is named by them, the others by their difference."""
    by_checks = [_name_by_checks(group) for group in groups]
    largest: dict[str, int] = {}
    for number, name in enumerate(by_checks):
        if name not in largest or _size(groups[number]) > _size(groups[largest[name]]):
            largest[name] = number
    used = set(largest)
    for number, (group, name) in enumerate(zip(groups, by_checks, strict=True)):
        if largest[name] == number:
            group.name = name
        else:
            group.name = make_unique(_describe_difference(group, name), used)


def _size(group: TestGroup) -> tuple[bool, int, int]:
    return (not group.is_blocked, -len(group.missing), len(group.tests))


def _name_by_checks(group: TestGroup) -> str:
    # A check of all tests of the suite does not describe this function, unless it has no other.
    own = [line for line in group.lines if not line.is_shared] or group.lines
    nouns = list(dict.fromkeys(make_slug(line.check.noun) or "check" for line in own))
    if not nouns:
        nouns = list(dict.fromkeys(name_missing(entries) for entries in group.missing.values()))
    if not nouns:
        return "answer"
    if len(nouns) > MAX_NOUNS:
        nouns = [*nouns[: MAX_NOUNS - 1], "more"]
    *first, last = nouns
    if not first:
        return last
    name = f"{'_'.join(first)}_and_{last}"
    if len(name) > MAX_LONG_NAME:
        return f"{first[0]}_and_more"
    return name


def _describe_difference(group: TestGroup, name: str) -> str:
    """Return a name for a function whose checks equal the checks of another."""
    if group.is_blocked:
        return f"{name}_blocked"
    if len(group.tests) == 1:
        about = make_slug(group.tests[0][0].description)
        if about:
            return about
    if group.has_output:
        return f"{name}_of_output"
    # A check that all tests of the suite lack does not describe this function.
    missing = [entries for entries in group.missing.values() if not entries[0].assertion.is_shared]
    if missing and group.lines:
        nouns = Counter(map(name_missing, missing))
        return make_slug(f"{name}_besides_{'_'.join(nouns)}", MAX_LONG_NAME)
    return name


def name_missing(entries: Sequence[MissingCheck]) -> str:
    """Return a word for assertions that are not carried: theirs if they have the same, else their type."""
    nouns = {make_slug(entry.reason.noun) for entry in entries}
    if len(nouns) == 1 and nouns != {""}:
        noun = nouns.pop()
        return noun.removeprefix("test_") or noun
    return make_slug(entries[0].assertion.name) or "assertion"


def name_skipped(group: TestGroup, entries: Sequence[MissingCheck], used: set[str]) -> str:
    """Return a name for the skipped function of assertions that are not carried, and note it as used."""
    noun = name_missing(entries)
    longer = f"{noun}_of_{group.name}"
    if noun in used and noun != group.name and len(longer) <= MAX_LONG_NAME:
        noun = longer
    return make_unique(noun, used)
