"""No regular expression of the package hangs: each is timed on hostile text that is made from its own parts."""

from __future__ import annotations

import ast
import gc
import importlib
import pkgutil
import re
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from re import _constants as opcodes  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

import pytest

import pytest_llmops
from pytest_llmops.judges.protocol import text_verdicts
from pytest_llmops.redaction.public_rules import read_public_rules

SIZE = 100_000
MAX_SECONDS = 1.0
FAST_SECONDS = MAX_SECONDS / 25
"""At a fifth of the length, times 5: what takes MAX_SECONDS at the whole length takes this much, even with its third power."""
TINY = 32
SHORT = 500
LONG_TEXTS = 3
ENDS = ("\x01", "a", "")
"""Neither matches all repetitions: a sign, a letter, nothing."""
JOINTS = ("_", "-", " ")
"""What comes between the beginnings of many matches: each may read on to the end of the text."""
REPEATS = (opcodes.MAX_REPEAT, opcodes.MIN_REPEAT, opcodes.POSSESSIVE_REPEAT)
CUT = {
    text_verdicts._DENIED.pattern: text_verdicts.MAX_BEFORE + 1,
}
"""Patterns whose input is cut first, with the length that is left of it."""


def modules() -> Iterator[Any]:
    for info in pkgutil.walk_packages(pytest_llmops.__path__, "pytest_llmops."):
        if not info.name.endswith("__main__"):
            yield importlib.import_module(info.name)


def patterns_in(value: Any, seen: set[int], depth: int = 0) -> Iterator[re.Pattern[Any]]:
    """All compiled patterns in a value: in tuples, mappings, and attributes of the package's own objects."""
    if isinstance(value, re.Pattern):
        yield value
    if id(value) in seen or depth > 6 or isinstance(value, (str, bytes, re.Pattern)):
        return
    seen.add(id(value))
    inner: list[Any] = []
    if isinstance(value, dict):
        inner = [*value.keys(), *value.values()]
    elif isinstance(value, (list, tuple, set, frozenset)):
        inner = list(value)
    elif type(value).__module__.startswith("pytest_llmops"):
        names = [*getattr(value, "__dict__", {}), *getattr(type(value), "__slots__", ())]
        inner = [getattr(value, name, None) for name in names]
    elif hasattr(value, "__wrapped__") and not getattr(value, "__code__", None):  # a cache
        inner = [value.__wrapped__]
    for item in inner:
        yield from patterns_in(item, seen, depth + 1)


def literal_patterns(path: Path) -> Iterator[re.Pattern[Any]]:
    """The patterns that functions write down as a constant."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id == "re"
            and node.func.attr in ("search", "match", "fullmatch", "sub", "split", "findall", "finditer")
            and node.args
            and isinstance(node.args[0], ast.Constant)
        ):
            yield re.compile(node.args[0].value)


def uses_by_name() -> dict[str, set[str]]:
    """How patterns are used: by name their methods, where these are only `match` and `fullmatch`."""
    uses: dict[str, set[str]] = {}
    for path in Path(pytest_llmops.__file__).parent.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                uses.setdefault(node.value.id, set()).add(node.attr if id(node) in called else "other")
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and id(node) not in inner:
                uses.setdefault(node.id, set()).add("other")
    return {name: methods for name, methods in uses.items() if methods <= {"match", "fullmatch"}}


def all_patterns() -> dict[str, tuple[re.Pattern[Any], set[str]]]:
    """Each pattern with its uses; a pattern that is used otherwise is searched for everywhere in a text."""
    result: dict[str, tuple[re.Pattern[Any], set[str]]] = {}
    seen: set[int] = set()
    anchored = uses_by_name()
    for module in modules():
        listed = [
            (pattern, anchored.get(name, {"finditer"}) if isinstance(value, re.Pattern) else {"finditer"})
            for name, value in list(vars(module).items())
            for pattern in patterns_in(value, seen)
        ]
        listed += [(pattern, {"finditer"}) for pattern in literal_patterns(Path(module.__file__))]
        for pattern, uses in listed:
            _, known = result.get(str(pattern.pattern), (pattern, set()))
            result[str(pattern.pattern)] = (pattern, uses | known)
    for rule in read_public_rules():  # they are compiled at their first use
        pattern = re.compile(rule.expression)
        result[str(pattern.pattern)] = (pattern, {"finditer"})
    return result


def example(tree: Any, choice: int = 0) -> str:
    """A short text that a part of a pattern matches, or nearly; the choice picks branches and characters."""
    parts = []
    for op, argument in tree:
        if op is opcodes.LITERAL:
            parts.append(chr(argument))
        elif op is opcodes.NOT_LITERAL:
            parts.append("a" if argument != ord("a") else "b")
        elif op is opcodes.ANY:
            parts.append("a .1"[choice % 4])
        elif op is opcodes.IN:
            parts.append(member(argument, choice))
        elif op is opcodes.BRANCH:
            branches = argument[1]
            parts.append(example(branches[choice % len(branches)], choice))
        elif op is opcodes.SUBPATTERN:
            parts.append(example(argument[3], choice))
        elif op is opcodes.ATOMIC_GROUP:
            parts.append(example(argument, choice))
        elif op in REPEATS:
            least, most, inner = argument
            parts.append(example(inner, choice) * max(least, 1 if choice % 2 or most == 1 else least))
        elif op is opcodes.ASSERT and argument[0] > 0:
            continue
    return "".join(parts)


CATEGORIES = {
    opcodes.CATEGORY_DIGIT: "1", opcodes.CATEGORY_NOT_DIGIT: "a", opcodes.CATEGORY_SPACE: " ",
    opcodes.CATEGORY_NOT_SPACE: "a", opcodes.CATEGORY_WORD: "a", opcodes.CATEGORY_NOT_WORD: "-",
}  # fmt: skip


def member(items: Any, choice: int) -> str:
    negated = items[0][0] is opcodes.NEGATE
    compiled = []
    for op, argument in items:
        if op is opcodes.LITERAL:
            compiled.append(chr(argument))
        elif op is opcodes.RANGE:
            compiled += [chr(argument[0]), chr(argument[1])]
        elif op is opcodes.CATEGORY:
            compiled.append(CATEGORIES[argument])
    if not negated:
        return compiled[choice % len(compiled)]
    candidates = [char for char in "a1 -_.\"'\\:A/=+\n" if char not in compiled and not _within(items, char)]
    return candidates[choice % len(candidates)] if candidates else "\u00e9"


def _within(items: Any, char: str) -> bool:
    for op, argument in items:
        if op is opcodes.RANGE and argument[0] <= ord(char) <= argument[1]:
            return True
        if op is opcodes.CATEGORY and (
            (argument is opcodes.CATEGORY_SPACE and char.isspace())
            or (argument is opcodes.CATEGORY_WORD and (char.isalnum() or char == "_"))
            or (argument is opcodes.CATEGORY_DIGIT and char.isdigit())
            or (argument is opcodes.CATEGORY_NOT_WORD and not (char.isalnum() or char == "_"))
        ):
            return True
    return False


def loops(tree: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """Each repetition of a pattern, with a text that leads up to it."""
    for number, (op, argument) in enumerate(tree):
        lead = before + example(tree[:number], 1)
        if op in REPEATS:
            if argument[1] > 1:
                yield lead, argument[2]
            yield from loops(argument[2], lead)
        elif op is opcodes.BRANCH:
            for branch in argument[1]:
                yield from loops(branch, lead)
        elif op is opcodes.SUBPATTERN:
            yield from loops(argument[3], lead)
        elif op is opcodes.ATOMIC_GROUP:
            yield from loops(argument, lead)
        elif op in (opcodes.ASSERT, opcodes.ASSERT_NOT):
            yield from loops(argument[1], lead if argument[0] > 0 else before)


def hostile_texts(pattern: re.Pattern[Any]) -> Iterator[tuple[str, str, str]]:
    """Starts, pieces to repeat and ends: the pattern's own pieces, then what it does not expect."""
    source = pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode("latin-1")
    tree = parser.parse(
        source, pattern.flags & ~re.UNICODE if isinstance(pattern.pattern, bytes) else pattern.flags
    )
    texts: dict[tuple[str, str, str], None] = {}
    for lead, inner in loops(tree):
        pumps = dict.fromkeys(example(inner, choice) for choice in range(6))
        for pump in filter(None, pumps):
            for start, piece in (("", pump), (lead, pump), ("", lead + pump), ("", lead + pump * 3)):
                for end in ENDS:
                    texts[start, piece, end] = None
        for joint in JOINTS:
            texts["", joint + lead, ENDS[0]] = None
    for choice in range(3):
        for end in ENDS:
            texts["", example(tree, choice) or "a", end] = None
            texts["", (example(tree, choice) or "a")[:-1] or "a", end] = None
    yield from texts


def seconds(pattern: re.Pattern[Any], text: str, uses: set[str]) -> float:
    """The CPU time of the dearest use of a pattern."""
    subject: Any = text.encode("utf-8") if isinstance(pattern.pattern, bytes) else text
    times = []
    for use in uses:
        began = time.process_time()
        if use == "finditer":
            deque(pattern.finditer(subject), maxlen=0)
        else:
            getattr(pattern, use)(subject)
        times.append(time.process_time() - began)
    return max(times)


def slowest(pattern: re.Pattern[Any], size: int, uses: set[str]) -> tuple[float, tuple[str, str, str]]:
    """The longest time that a pattern takes, and for which text: the slowest of the short ones are made long."""

    def took(text: tuple[str, str, str], length: int) -> float:
        start, piece, end = text
        return seconds(pattern, start + piece * (min(length, size) // len(piece)) + end, uses)

    timed = []
    for text in hostile_texts(pattern):
        for length in (TINY, SHORT):  # what doubles with each character is not tried at length
            spent = took(text, length)
            if spent > MAX_SECONDS / 50:
                return spent * SIZE / length, text
        timed.append((spent, text))
    candidates = sorted(timed, reverse=True)[:LONG_TEXTS]
    worst = (0.0, ("", "", ""))
    # What grows with the square of the length is not waited for, and what does not grow is not tried at its longest.
    for length in (SIZE // 20, SIZE // 5, SIZE):
        worst = max((took(text, length) * (SIZE / length), text) for _, text in candidates)
        if worst[0] > MAX_SECONDS or (length == SIZE // 5 and worst[0] < FAST_SECONDS):
            break
    return worst


@pytest.fixture(scope="module")
def patterns() -> dict[str, tuple[re.Pattern[Any], set[str]]]:
    """All patterns: they are sought for when a test needs them, not by each worker that collects the tests."""
    return all_patterns()


@pytest.fixture(autouse=True)
def no_garbage_collection() -> Iterator[None]:
    """What earlier tests of this process have left is not searched while a pattern is timed."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pattern", "use"),
    [
        (r"\S*\*{3,}\S*", "finditer"),
        (r"\W*(?:token\s+)?[\W_]*(?:redacted|x{3,}|)[\W_]*\Z", "match"),
        (r"\s+$", "finditer"),
        (r"(?:a|aa)+b", "match"),
        (r'"(?:[^"]|"")*"x', "finditer"),
        (r"eyJ(?<![A-Za-z0-9]eyJ)([A-Za-z0-9_-]){8,}\.eyJ", "finditer"),
    ],
)
def test_a_pattern_that_hangs_is_found(pattern: str, use: str) -> None:
    took, _ = slowest(re.compile(pattern), SIZE, {use})
    assert took > MAX_SECONDS


@pytest.mark.slow
def test_no_pattern_hangs_on_100_kb_of_hostile_text(
    patterns: dict[str, tuple[re.Pattern[Any], set[str]]],
) -> None:
    assert len(patterns) > 500
    slow = {}
    for name, (pattern, uses) in patterns.items():
        took, text = slowest(pattern, CUT.get(name, SIZE), uses)
        if took > MAX_SECONDS:
            slow[name] = (round(took, 1), text)
    assert not slow, "\n".join(f"{took} s: {name!r} on {text!r}" for name, (took, text) in slow.items())
