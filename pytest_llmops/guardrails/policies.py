r"""Rules that users write as regular expressions, in a policy file or in a ``gitleaks.toml``.

The judge `pytest_llmops.judges.Policy` reads the same policy files. Their front matter may hold rules that need no judge::

    ---
    kind: policy
    forbid:
      - {id: guarantee, pattern: '(?i)\bguarantee', why: we promise nothing}
    require:
      - {id: hours, pattern: '24 hours', why: say when somebody answers}
    ---
    - Never promise a refund.

The patterns are written for the module `regex`, in its V1 mode. A pattern that needs longer than a second for a text is
an error.
"""

import math
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from pytest_llmops._util.text_files import BadFile, read_text
from pytest_llmops.errors import DetectorError
from pytest_llmops.guardrails.findings import Finding, RuleDetector
from pytest_llmops.guardrails.views import PATTERNS, normalize_text
from pytest_llmops.judges.item_judges import RULE_KEYS
from pytest_llmops.judges.judge_front_matter import find_judge_file, locate_file_errors, split_judge_file
from pytest_llmops.measurement import as_finite_float, shorten_text
from pytest_llmops.prompts.prompt_file import FrontMatter
from pytest_llmops.redaction.public_rules import measure_entropy

Search: TypeAlias = Callable[[str], list[Any]]  # from a text to matches

MAX_SECONDS = 1.0  # that a rule may take over a text
MAX_COPIES = 200_000  # of parts of a rule, as `regex` makes them for {n}: more needs gigabytes
_REPETITION = re.compile(r"\{\s*(\d{1,9})")
_GROUP_REPETITION = re.compile(r"\)\s*\{\s*(\d{1,9})")
_RECURSION = re.compile(r"\(\?(?:R|&|P>|[+-]?\d)")
FORM = "a list of rules {id: ..., pattern: ..., why: ...}, the first two as texts"


class PolicyRules(NamedTuple):
    """The rules of a policy file.

    Attributes:
        forbidden: A detector of texts that the policy forbids; the kinds of its findings are the ids of the rules.
        required: Id -> a search for a text that the policy requires.
        why: Id -> the reason of the rule, which may be empty.
        is_judged: Whether the policy also has rules in plain words, for a judge.
    """

    file: Path
    forbidden: RuleDetector
    required: Mapping[str, Search]
    why: Mapping[str, str]
    is_judged: bool

    def list_broken(self, text: str, findings: list[Finding]) -> list[str]:
        """Return the ids of the rules that a text breaks; ``findings`` are the findings of `forbidden` in the same text."""
        kinds = {finding.kind for finding in findings}
        broken = [id_ for id_ in self.forbidden.kinds if id_ in kinds]
        plain = normalize_text(text).text
        for id_, search in self.required.items():
            if not search(plain):
                broken.append(id_)
        return broken


def read_policy(path: str | Path) -> PolicyRules:
    """Return the rules of a policy file, which is searched next to the test and in the folders above it.

    Raises:
        PromptError: It cannot be read, has no rules at all, a malformed rule, an invalid pattern, a duplicate id, or the
            same pattern twice (for instance forbidden and required). With file and line.
    """
    file = find_judge_file("policy", path)
    with locate_file_errors("policy", file):
        head, body, _ = split_judge_file(read_text(file), "policy", ("pass_at", "reason", *RULE_KEYS))
        is_judged = PATTERNS["bullet"].search(body) is not None
        forbid, require = (_read_rules(head, key) for key in RULE_KEYS)
        rules = [*forbid, *require]
        if not rules and not is_judged:
            raise BadFile(f"expected rules: forbid or require, each {FORM}; or a list (- ...); got none")
        _check_unique(rules, "id")
        _check_unique(rules, "pattern")
        searches = {}
        for rule in rules:
            searches[rule["id"]] = compile_rule(rule["id"], rule["pattern"])
    forbidden = tuple(rule["id"] for rule in forbid)
    required = {rule["id"]: searches[rule["id"]] for rule in require}
    why = {rule["id"]: str(rule.get("why", "")) for rule in rules}

    def find(text: str) -> Iterator[Finding]:
        for id_ in forbidden:
            for match in searches[id_](text):
                start, end = match.span()
                # A finding has at least one character: for an empty match (of a lookahead) it is the next one
                start = min(start, len(text) - 1)
                yield Finding(start, max(end, start + 1), id_)

    return PolicyRules(
        file=file,
        forbidden=RuleDetector("policy", forbidden, find, ("plain",)),
        required=required,
        why=why,
        is_judged=is_judged,
    )


def _read_rules(head: FrontMatter, key: str) -> list[Mapping[str, Any]]:
    """Return the rules under ``forbid`` or ``require``; an empty list if the key is missing."""
    listed: Any = head.values.get(key, [])
    if not isinstance(listed, list) or not all(map(_is_rule, listed)):
        raise head.bad(key, FORM, shorten_text(str(listed), 80))
    return listed


def _is_rule(rule: object) -> bool:
    """Return whether a value is ``{id: ..., pattern: ..., why: ...}`` with texts as id and pattern; why is optional."""
    if not isinstance(rule, Mapping) or not {"id", "pattern"} <= {*rule} <= {"id", "pattern", "why"}:
        return False
    id_ = rule["id"]
    if not isinstance(id_, str) or not isinstance(rule["pattern"], str):
        return False
    return bool(id_.strip())


def _check_unique(rules: Iterable[Mapping[str, Any]], key: str) -> None:
    """Raise if two rules have the same value for a key, an id or a pattern."""
    counts = Counter(rule[key] for rule in rules)
    repeated = []
    for value, count in counts.items():
        if count > 1:
            repeated.append(shorten_text(value, 60))
    if repeated:
        raise BadFile(
            f"two rules have the {key} {repeated}: give each its own, and require nothing that is forbidden"
        )


def compile_rule(id_: str, pattern: str, group: object = 0, entropy: object = 0) -> Search:
    """Return a function that returns all matches of a regular expression in a text.

    Args:
        id_: The id of the rule, for errors.
        pattern: The regular expression.
        group: The ``secretGroup`` of a rule of gitleaks; it is only checked, like the entropy.
        entropy: The ``entropy`` of a rule of gitleaks.

    Raises:
        BadFile: The pattern is invalid, matches the empty text, makes too many copies of its parts, or lacks the
            group; or the entropy is not a number.
        DetectorError: Raised by the returned function if a search is too slow.
    """
    import regex

    rule = f"rule {shorten_text(id_, 60)!r}"
    if _count_copies(pattern) > MAX_COPIES or _RECURSION.search(pattern):
        raise BadFile(
            f"{rule}: expected no recursion, and repetitions such as {{1000}} that make at most {MAX_COPIES:,} parts"
        )
    try:
        # Go writes \z for the end of a text
        compiled = regex.compile(pattern.replace(r"\z", r"\Z"), regex.V1)
        matches_nothing = compiled.search("", timeout=MAX_SECONDS)
    except (regex.error, RecursionError, TimeoutError) as error:
        raise BadFile(f"{rule}: invalid regular expression: {error}") from None
    if matches_nothing:
        raise BadFile(f"{rule}: its pattern matches every text, as it matches nothing")
    is_group = type(group) is int and 0 <= group <= compiled.groups
    if not is_group or as_finite_float(entropy) is None:
        got = shorten_text(f"{entropy!r} and {group!r}", 60)
        raise BadFile(
            f"{rule}: expected entropy to be a number, and secretGroup one of the {compiled.groups} groups of the regex, got {got}"
        )

    def search(text: str) -> list[Any]:
        try:
            return list(compiled.finditer(text, timeout=MAX_SECONDS))
        except TimeoutError:
            raise DetectorError(
                f"{rule} took longer than {MAX_SECONDS:g} s over {len(text):,} characters: does it nest repetitions, as (a+)+ does?"
            ) from None

    return search


def _count_copies(pattern: str) -> int:
    """Return an upper limit of how many copies of its parts a compiled pattern holds.

    ``a{9}`` is compiled to 9 copies, and ``(a{9}){9}`` to 81. As it is not parsed which group lies within which, the
    counts of all groups are multiplied.
    """
    counts = [max(1, int(count)) for count in _REPETITION.findall(pattern)]
    counts_of_groups = [max(1, int(count)) for count in _GROUP_REPETITION.findall(pattern)]
    return sum(counts) * math.prod(counts_of_groups)


@dataclass(frozen=True, slots=True)
class _SecretRule:
    """A rule of gitleaks.

    Attributes:
        words: A text that contains none of them is not searched; empty: all texts are searched.
        group: The number of the group that holds the secret; 0: the first group that is not empty, else the whole
            match.
        entropy: A match with less entropy, in bits per character, is not reported.
        allowed: A match in which one of these searches finds something is not reported.
    """

    id: str
    search: Search
    words: Sequence[str]
    group: int
    entropy: float
    allowed: Sequence[Search]

    def find(self, text: str, lower: str) -> Iterator[Finding]:
        """Yield the rule's findings in a text; ``lower`` is the same text in lower case, made once for all rules."""
        if self.words and not any(word in lower for word in self.words):
            return
        for match in self.search(text):
            group = self.group or _find_group(match)
            secret = match[group]
            if not secret or measure_entropy(secret) < self.entropy:
                continue
            if not any(search(secret) for search in self.allowed):
                yield Finding(match.start(group), match.end(group), self.id, 0.7)


def _find_group(match: Any) -> int:
    """Return the number of the first group that is not empty; 0 (the whole match) if there is none."""
    for number, part in enumerate(match.groups(), 1):
        if part:
            return number
    return 0


def gitleaks_detector(path: str | Path) -> RuleDetector:
    """Return a detector of secrets by the rules in a ``gitleaks.toml``. The kinds of its findings are the rules' ids.

    It uses ``regex``, ``keywords``, ``secretGroup``, ``entropy``, and allowlists with ``regexes`` and ``stopwords``. Rules
    without ``regex`` are left out, as they are about paths. So are allowlists with ``condition = "AND"``.

    Args:
        path: The file; it is searched next to the test and in the folders above it.

    Raises:
        PromptError: It cannot be read, is not TOML, extends another file, has no rules, or one with an invalid pattern,
            group or entropy.
    """
    file = find_judge_file("gitleaks", path)
    with locate_file_errors("gitleaks", file):
        try:
            document = tomllib.loads(read_text(file))
            listed = [rule for rule in document["rules"] if "regex" in rule]
            rules = [_read_secret_rule(rule, document) for rule in listed]
        except BadFile:
            raise
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise BadFile(
                f"expected rules of gitleaks in TOML, each with an id and a regex: {error!r}"
            ) from None
        expected = "expected rules with a regex, all of them in this file"
        if not rules:
            raise BadFile(f"{expected}; got none")
        if "extend" in document:
            raise BadFile(f"{expected}; got [extend], which is not read: copy its rules")

    def find(text: str) -> Iterator[Finding]:
        lower = text.lower()
        for rule in rules:
            yield from rule.find(text, lower)

    return RuleDetector("gitleaks", tuple(rule.id for rule in rules), find)


def _read_secret_rule(rule: Mapping[str, Any], document: Mapping[str, Any]) -> _SecretRule:
    """Return a rule with its own allowlists and the allowlists of the whole document.

    A malformed rule raises a KeyError, TypeError or AttributeError, which the caller reports.
    """
    group = rule.get("secretGroup", 0)
    entropy = rule.get("entropy", 0)
    search = compile_rule(rule["id"], rule["regex"], group, entropy)
    # `list.copy` raises for a text in place of a list, which would otherwise be read letter by letter
    words = [word.lower() for word in list.copy(rule.get("keywords", []))]
    return _SecretRule(rule["id"], search, words, group, entropy, _list_allowed(rule, document))


def _needs_all(allowlist: Mapping[str, Any]) -> bool:
    """Return whether an allowlist only applies if all of its conditions hold; the default is any of them."""
    condition = str(allowlist.get("condition", ""))
    return condition.upper() in ("AND", "&&")


def _list_allowed(*tables: Mapping[str, Any]) -> list[Search]:
    """Return searches for the texts that the allowlists in these tables allow.

    Allowlists that need all of their conditions are left out, as a path or a commit may be among them.
    """
    all_lists: list[Mapping[str, Any]] = []
    for table in tables:
        all_lists += [*table.get("allowlists", ()), table.get("allowlist", {})]
    lists = [allowlist for allowlist in all_lists if not _needs_all(allowlist)]
    patterns = []
    for allowlist in lists:
        words = list.copy(allowlist.get("stopwords", []))
        patterns += [f"(?i){re.escape(word)}" for word in words]
    for allowlist in lists:
        patterns += list.copy(allowlist.get("regexes", []))
    return [compile_rule("allowlist", pattern) for pattern in patterns]
