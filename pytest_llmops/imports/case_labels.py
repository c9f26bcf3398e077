"""Merge test functions that differ only in the label of one check: the label moves into their cases."""

import ast
import re
from collections.abc import Sequence
from dataclasses import replace

from pytest_llmops.imports.slugs import make_unique
from pytest_llmops.imports.test_functions import CheckLine, TestGroup

LABEL = "label"  # the key of the case
_TEXT = r""""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'"""
_LABEL = re.compile(rf", label=({_TEXT})\)\Z")


def share_labels(groups: Sequence[TestGroup]) -> list[TestGroup]:
    """Return the functions, with one instead of those that differ in the label of one check."""
    alike: dict[tuple[object, ...], list[TestGroup]] = {}
    for group in groups:
        alike.setdefault(_identify(group), []).append(group)
    shared = []
    for same in alike.values():
        differing = _list_differing(same)
        if len(differing) == 1:
            shared.append(_merge(same, differing[0]))
        else:
            shared += same
    order = {id(group.tests[0][0]): number for number, group in enumerate(groups)}
    return sorted(shared, key=lambda group: order[id(group.tests[0][0])])


def _identify(group: TestGroup) -> tuple[object, ...]:
    """Return what functions have in common besides their labels."""
    lines = tuple(
        replace(line, check=replace(line.check, call=_LABEL.sub(", label=)", line.check.call))).signature
        for line in group.lines
    )
    return group.is_blocked, group.repeat, group.has_output, lines, tuple(sorted(group.missing))


def _list_differing(groups: Sequence[TestGroup]) -> list[int]:
    """Return the numbers of the lines that functions do not have in common."""
    numbers = range(len(groups[0].lines))
    return [number for number in numbers if len({group.lines[number].check.call for group in groups}) > 1]


def _merge(groups: Sequence[TestGroup], number: int) -> TestGroup:
    """Return the first function with the tests of all; the label of the line with this number is in the cases."""
    first = groups[0]
    key = make_unique(LABEL, {line.key for line in first.lines})
    line = first.lines[number]
    call = _LABEL.sub(lambda _: f', label=case["{key}"])', line.check.call)
    lines = list(first.lines)
    lines[number] = replace(line, check=replace(line.check, call=call), title="")
    merged = replace(first, lines=tuple(lines), tests=[], missing={}, case_keys=(key,))
    for group in groups:
        label = _read_label(group.lines[number])
        merged.tests += [(test, {**values, key: label}) for test, values in group.tests]
        for kind, entries in group.missing.items():
            merged.missing.setdefault(kind, []).extend(entries)
    return merged


def _read_label(line: CheckLine) -> str:
    match = _LABEL.search(line.check.call)
    if match is None:
        return ""
    return str(ast.literal_eval(match[1]))
