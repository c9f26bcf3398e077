r"""Rules that users write as regular expressions: of a policy file, and of a file of gitleaks.

A policy file is the one that the judge `pytest_llmops.judges.Policy` reads. Its front matter may hold rules that need no judge::

    ---
    kind: policy
    forbid:
      - {id: guarantee, pattern: '(?i)\bguarantee', why: we promise nothing}
    require:
      - {id: hours, pattern: '24 hours', why: say when somebody answers}
    ---
    - Never promise a refund.

The patterns are those of the module `regex`, in its V1 mode. One that takes longer than a second over a text is an error.
"""

import math
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from pytest_llmops._util.text_files import BadFile, read_text
from pytest_llmops.errors import DetectorError
from pytest_llmops.guardrails.findings import Finding, RuleDetector
from pytest_llmops.guardrails.views import PATTERNS, normalize_text
from pytest_llmops.judges.item_judges import RULE_KEYS
from pytest_llmops.judges.judge_front_matter import find_judge_file, locate_file_errors, split_judge_file
from pytest_llmops.measurement import as_finite_float, shorten_text

Search: TypeAlias = Callable[[str], list[Any]]  # from a text to matches

# Seconds that a rule may take over a text, and copies of its parts that `regex` makes for {n}: more takes gigabytes
MAX_SECONDS, MAX_COPIES = 1.0, 200_000
FORM = "a list of rules {id: ..., pattern: ..., why: ...}, the first two as texts"


class PolicyRules(NamedTuple):
    """The rules of a policy file.

    Attributes:
        forbidden: A detector of what the policy forbids; the kinds are the ids of the rules.
        required: By id, the search for what the policy requires.
        why: By id, the reason of a rule.
        is_judged: Whether the policy has rules in plain words too.
    """

    file: Path
    forbidden: RuleDetector
    required: Mapping[str, Search]
    why: Mapping[str, str]
    is_judged: bool

    def list_broken(self, text: str, found: list[Finding]) -> list[str]:
        """Return the ids of the rules that a text breaks, given what `forbidden` found in it."""
        plain = normalize_text(text).text
        kinds = {each.kind for each in found}
        return [*filter(kinds.__contains__, self.forbidden.kinds)] + [
            id_ for id_, search in self.required.items() if not search(plain)
        ]


def read_policy(path: str | Path) -> PolicyRules:
    """Return the rules of a policy file, which is searched beside the test and in the folders above it.

    Raises:
        PromptError: It cannot be read, has no rules at all, a rule of another form, an invalid pattern, an id twice, or
            requires what it forbids; with file and line.
    """
    file = find_judge_file("policy", path)
    with locate_file_errors("policy", file):
        head, body, _ = split_judge_file(read_text(file), "policy", ("pass_at", *RULE_KEYS))
        is_judged = PATTERNS["bullet"].search(body) is not None
        rules: dict[str, Any] = {key: head.values.get(key, []) for key in RULE_KEYS}
        for key, listed in rules.items():
            fit = isinstance(listed, list) and all(
                isinstance(rule, Mapping)
                and {"id", "pattern"} <= {*rule} <= {"id", "pattern", "why"}
                and all(isinstance(rule[own], str) for own in ("id", "pattern"))
                and rule["id"].strip()
                for rule in listed
            )
            if not fit:
                raise head.bad(key, FORM, shorten_text(str(listed), 80))
        every = [rule for listed in rules.values() for rule in listed]
        if not every and not is_judged:
            raise BadFile(f"expected rules: forbid or require, each {FORM}; or a list (- ...); got none")
        for what in ("id", "pattern"):
            often = [
                shorten_text(key, 60)
                for key, count in Counter(rule[what] for rule in every).items()
                if count > 1
            ]
            if often:
                raise BadFile(
                    f"two rules have the {what} {often}: give each its own, and require nothing that is forbidden"
                )
        searches = {rule["id"]: compile_rule(rule["id"], rule["pattern"]) for rule in every}
    forbidden, required = (tuple(rule["id"] for rule in listed) for listed in rules.values())

    def find(text: str) -> Iterator[Finding]:
        for id_ in forbidden:
            for start, end in (
                match.span() for match in searches[id_](text)
            ):  # empty: by what stands beside it
                yield Finding(at := min(start, len(text) - 1), max(end, at + 1), id_)

    whys = {rule["id"]: str(rule.get("why", "")) for rule in every}
    detector = RuleDetector("policy", forbidden, find, ("plain",))
    return PolicyRules(file, detector, {id_: searches[id_] for id_ in required}, whys, is_judged)


def compile_rule(id_: str, pattern: str, group: object = 0, entropy: object = 0) -> Search:
    """Return a search for a regular expression.

    Raises:
        BadFile: It is invalid, matches the empty text, or lacks the group; or the entropy is not a number.
        DetectorError: By the search: it takes too long.
    """
    import regex

    rule = f"rule {shorten_text(id_, 60)!r}"
    counts, of_groups = (
        [max(1, int(count)) for count in re.findall(before + r"\{\s*(\d{1,9})", pattern)]
        for before in ("", r"\)\s*")
    )
    if sum(counts) * math.prod(of_groups) > MAX_COPIES or re.search(r"\(\?(?:R|&|P>|[+-]?\d)", pattern):
        raise BadFile(
            f"{rule}: expected no recursion, and repetitions such as {{1000}} that make at most {MAX_COPIES:,} parts"
        )
    try:
        compiled = regex.compile(
            pattern.replace(r"\z", r"\Z"), regex.V1
        )  # Go writes \z for the end of a text
        if compiled.search("", timeout=MAX_SECONDS):
            raise BadFile(f"{rule}: its pattern matches every text, as it matches nothing")
        fits = type(group) is int and 0 <= group <= compiled.groups and as_finite_float(entropy) is not None
        if not fits:
            raise BadFile(
                f"{rule}: expected entropy to be a number, and secretGroup one of the {compiled.groups} groups of the regex, got "
                + shorten_text(f"{entropy!r} and {group!r}", 60)
            )
    except (regex.error, RecursionError, TimeoutError) as error:
        raise BadFile(f"{rule}: invalid regular expression: {error}") from None

    def search(text: str) -> list[Any]:
        try:
            return list(compiled.finditer(text, timeout=MAX_SECONDS))
        except TimeoutError:
            raise DetectorError(
                f"{rule} took longer than {MAX_SECONDS:g} s over {len(text):,} characters: does it nest repetitions, as (a+)+ does?"
            ) from None

    return search


def gitleaks_detector(path: str | Path) -> RuleDetector:
    """Return a detector of secrets by the rules of a ``gitleaks.toml``; the kinds are their ids.

    Read are ``regex``, ``keywords``, ``secretGroup``, ``entropy`` and allowlists with ``regexes`` and ``stopwords``. Rules
    without ``regex`` (of paths) say nothing about a text and are left out, and so are allowlists with ``condition = "AND"``.

    Args:
        path: The file; it is searched beside the test and in the folders above it.

    Raises:
        PromptError: It cannot be read, is no TOML, extends another file, has no rules, or one with an invalid pattern,
            group or entropy.
    """
    file = find_judge_file("gitleaks", path)
    with locate_file_errors("gitleaks", file):
        try:
            document = tomllib.loads(read_text(file))
            rules = [rule for rule in document["rules"] if "regex" in rule]
            # A text in place of a list would be taken letter by letter: `list.copy` raises.
            searches = [
                (
                    compile_rule(
                        rule["id"], rule["regex"], rule.get("secretGroup", 0), rule.get("entropy", 0)
                    ),
                    [word.lower() for word in list.copy(rule.get("keywords", []))],
                    rule,
                    _list_allowed(rule, document),
                )
                for rule in rules
            ]
        except (tomllib.TOMLDecodeError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise BadFile(
                f"expected rules of gitleaks in TOML, each with an id and a regex: {error!r}"
            ) from None
        if not rules or "extend" in document:
            raise BadFile(
                "expected rules with a regex, all of them in this file; got "
                + ("[extend], which is not read: copy what it names" if rules else "none")
            )

    def find(text: str) -> Iterator[Finding]:
        lower = text.lower()
        for search, words, rule, allowed in searches:
            for match in search(text) if not words or any(word in lower for word in words) else ():
                group = rule.get("secretGroup") or next(
                    (n for n, part in enumerate(match.groups(), 1) if part), 0
                )
                entropy = -sum(
                    share * math.log2(share)
                    for count in Counter(match[group]).values()
                    for share in [count / len(match[group])]
                )
                if (
                    match[group]
                    and not entropy < rule.get("entropy", 0)
                    and not any(search(match[group]) for search in allowed)
                ):
                    yield Finding(match.start(group), match.end(group), rule["id"], 0.7)

    return RuleDetector("gitleaks", tuple(rule["id"] for rule in rules), find)


def _list_allowed(*tables: Mapping[str, Any]) -> list[Search]:
    """What holds only together with a path or a commit says nothing about a text."""
    lists = [
        each
        for table in tables
        for each in (*table.get("allowlists", ()), table.get("allowlist", {}))
        if str(each.get("condition", "")).upper() not in ("AND", "&&")
    ]
    words = [f"(?i){re.escape(word)}" for each in lists for word in list.copy(each.get("stopwords", []))]
    return [
        compile_rule("allowlist", pattern)
        for pattern in [*words, *(p for each in lists for p in list.copy(each.get("regexes", [])))]
    ]
