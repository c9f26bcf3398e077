"""Parse verdicts that are names: who wins, pass or fail, supported or contradicted.

The rules are those of `parsing`: exactly one verdict, with its reason. It is read in these forms:

* JSON, plain, fenced or within prose: the key, the reason, and the nonce if it is required.
* ``Verdict: pass, Reason: ...`` at the beginning of a line or sentence, also ``Winner: **A**``.
* ``[[A]]``, the form of MT-Bench's judges.
* ``A is better`` as a statement, not as a clause ("the reason why A is better", "argues that A is better").
* The name alone, as the whole reply or as its first line, also with "is better".

Two different names in these places are two verdicts, so the reply is unreadable.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pytest_llmops.errors import UsageError
from pytest_llmops.judges.protocol.parsing import (
    UnreadableReply,
    check_json_nonce,
    check_text_nonce,
    describe_missing_verdict,
    extract_json_objects,
    quote_shortened,
    read_json_reason,
    read_text_reason,
    reply_without_thinking,
)

VERDICT_LABELS = (
    "verdict",
    "winner",
    "answer",
    "label",
    "choice",
    "decision",
    "preference",
    "grade",
    "result",
)


@dataclass(frozen=True, slots=True)
class Choices:
    """The names that a verdict may have, with their spellings.

    Args:
        spellings: Name -> spellings besides the name itself; case is ignored.
        key: The key of the verdict in JSON, and a further label in text.
        reasoned: Whether a reason is required.

    Raises:
        UsageError: There are fewer than two names, or two names share a spelling.
    """

    spellings: Mapping[str, Sequence[str]]
    key: str = "verdict"
    reasoned: bool = True
    _names: Mapping[str, str] = field(init=False, repr=False)
    _spelling_regex: re.Pattern[str] = field(init=False, repr=False)
    _label_regex: re.Pattern[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        pairs = [(spelling, name) for name, more in self.spellings.items() for spelling in (name, *more)]
        names = {_fold_text(spelling): name for spelling, name in pairs}
        clash = [
            spelling
            for spelling, name in pairs
            if names[_fold_text(spelling)] != name or not spelling.strip()
        ]
        if clash or len(self.spellings) < 2:  # noqa: PLR2004 -- a single name is not a choice
            raise UsageError(
                f"choices: expected at least two names, each with its own spellings, got {list(self.spellings)}"
            )
        object.__setattr__(self, "_names", names)
        object.__setattr__(self, "_spelling_regex", _spelling_pattern(names))
        object.__setattr__(self, "_label_regex", _label_pattern((*VERDICT_LABELS, self.key)))

    @property
    def names(self) -> tuple[str, ...]:
        """The names in their order."""
        return tuple(self.spellings)

    def parse_name(self, value: object) -> str:
        """Return the name that a value of the verdict's key spells.

        Raises:
            UnreadableReply: It spells none of them.

        >>> Choices({"A": ["Output (a)"], "B": []}).parse_name(" output (A)")
        'A'
        """
        name = self._names.get(_fold_text(value)) if isinstance(value, str) else None
        if name is None:
            raise UnreadableReply(
                f"{self.key} {quote_shortened(str(value), 40)} is none of {', '.join(self.names)}"
            )
        return name

    def stated_names(self, prose: str) -> set[str]:
        """Return the names that a text states as its verdict; a readable reply states a single name.

        >>> Choices({"A": [], "B": []}).stated_names("Both argue well. Therefore, B is better.")
        {'B'}
        """
        return {name for _, _, name in self._statements(prose)}

    def _statements(self, prose: str) -> list[tuple[int, int, str]]:
        """Return start, end and name of each verdict in a text."""
        statements = []
        for match in self._spelling_regex.finditer(prose):
            before = prose[max(match.start() - MAX_BEFORE, 0) : match.start()]
            after = prose[match.end() : match.end() + MAX_AFTER]
            # A text that starts within the slice starts a line; a text that was cut does not.
            before = before if len(before) < MAX_BEFORE else f"\0{before}"
            label = self._label_regex.search(before)
            if label is None and not _is_stated_verdict(before, after):
                continue
            if label is not None and not _END.match(after):
                continue
            start = match.start() - (len(before) - label.start() if label else 0)
            statements.append((start, match.end(), self._names[_fold_text(match[0])]))
        return statements

    def read(self, text: str, nonce: str = "") -> tuple[str, str]:
        """Return the name in a judge's reply and the reason for it.

        Raises:
            UnreadableReply: It has no verdict or several, no reason, or not the nonce.

        >>> Choices({"pass": [], "fail": []}).read("Verdict: fail, Reason: it is rude.")
        ('fail', 'it is rude')
        """
        objects, prose = extract_json_objects(reply_without_thinking(text), (self.key, "reason"))
        verdicts = [verdict for verdict in objects if self.key.casefold() in verdict]
        if not verdicts:
            return self._parse_text(prose, nonce)
        stated = self.stated_names(prose)
        given_names = {self.parse_name(verdict[self.key.casefold()]) for verdict in verdicts}
        if len(given_names | stated) > 1:
            raise UnreadableReply(f"{len(given_names | stated)} different verdicts in one reply")
        check_json_nonce(verdicts[0], nonce)
        reason = (
            read_json_reason(verdicts[0]) if self.reasoned else str(verdicts[0].get("reason", "")).strip()
        )
        return given_names.pop(), reason

    def _parse_text(self, prose: str, nonce: str) -> tuple[str, str]:
        statements = self._statements(prose)
        stated = {name for _, _, name in statements}
        if not stated:
            reason = " and its reason" if self.reasoned else ""
            raise UnreadableReply(describe_missing_verdict(prose, f"one of {', '.join(self.names)}{reason}"))
        if len(stated) > 1:
            raise UnreadableReply(f"{len(stated)} different verdicts in one reply")
        check_text_nonce(prose, nonce)
        if not self.reasoned:
            return stated.pop(), ""
        rest, at = [], 0
        for start, end, _ in statements:
            rest.append(prose[at:start])
            at = end
        return stated.pop(), read_text_reason(" ".join([*rest, prose[at:]]), nonce)


def _fold_text(text: str) -> str:
    return " ".join(text.split()).casefold()


MAX_BEFORE, MAX_AFTER = 80, 40  # characters before and after a name that decide whether it is a verdict
_CLOSE = r"[*_`\"'\])]{0,4}"
_BEGIN = r"(?:(?:\A|(?<=\n))[ \t*_`#-]{0,12}|(?<=[.!?])[)\"'*_]{0,3}\s{1,3}[*_`]{0,3})"
_END = re.compile(
    rf"{_CLOSE}(?:\s*\Z|[ \t]*\n|[,.;|](?!\w)|\s{{1,3}}[–—(|-]|\s{{1,3}}reason\b)", re.IGNORECASE
)
_BETTER = re.compile(r"[*_`\"]{0,3}\s+is\s+(?:the\s+)?better\b", re.IGNORECASE)
_CLAUSE = re.compile(
    r"\b(?:that|why|whether|if|not|neither|nor|or|and|how|because|which|when)\s+[*_`\"]{0,3}\Z", re.IGNORECASE
)
_OWN = re.compile(
    r"\bI(?:\s+would)?\s+(?:conclude|believe|think|find|say|agree)\s+(?:that\s+)?[*_`\"]{0,3}\Z",
    re.IGNORECASE,
)
_ALONE = re.compile(rf"{_CLOSE}\.?[ \t]*(?:\n|\Z)")
_FIRST = re.compile(r"\A\s*[*_`\"'\[(]{0,4}\Z")


def _is_stated_verdict(before: str, after: str) -> bool:
    if before.endswith("[[") and after.startswith("]]"):
        return True
    if _BETTER.match(after):
        return not _CLAUSE.search(before) or bool(_OWN.search(before))
    return bool(_FIRST.match(before) and _ALONE.match(after))


def _spelling_pattern(names: Mapping[str, str]) -> re.Pattern[str]:
    spellings = (
        re.escape(spelling).replace("\\ ", r"\s+") for spelling in sorted(names, key=len, reverse=True)
    )
    return re.compile(rf"(?<!\w)(?:{'|'.join(spellings)})(?!\w)", re.IGNORECASE)


def _label_pattern(labels: Sequence[str]) -> re.Pattern[str]:
    label = "|".join(map(re.escape, sorted({*labels}, key=len, reverse=True)))
    return re.compile(
        rf"{_BEGIN}(?:(?:my|the|final|overall|verdict)[ :-]{{1,3}}){{0,3}}(?:{label})\b[*_`]{{0,3}}\s{{0,3}}"
        rf"(?:(?:is\b\s{{0,3}})?[:=]|is\b)[*_`]{{0,3}}\s{{0,3}}[*_`\"'\[(]{{0,4}}\Z",
        re.IGNORECASE,
    )
