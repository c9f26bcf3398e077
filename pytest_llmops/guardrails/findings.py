"""`Finding`, the protocol `Detector`, and the functions that run detectors over a text and mask their findings."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from pytest_llmops.errors import DetectorError, LLMOpsError, UsageError
from pytest_llmops.guardrails.views import VIEWS, View, make_views
from pytest_llmops.measurement import as_finite_float, require_list, shorten_text


@dataclass(frozen=True, slots=True)
class Finding:
    """A span ``text[start:end]`` that a detector has found.

    Attributes:
        start: The index of its first character.
        end: The index behind its last character.
        kind: The kind of the finding: ``email``, ``secret``, ``jailbreak`` ...
        confidence: 0 to 1. If findings of a detector overlap, they become one, with the kind of the surest.
        view: The form of the text in which it was found: ``plain``, ``base64``, ``rot13``, ``leet`` or ``spaced``.
    """

    start: int
    end: int
    kind: str
    confidence: float = 1.0
    view: str = "plain"

    @property
    def masked(self) -> str:
        """What replaces the text in reports, such as ``[email]``: it reveals neither the text nor its length."""
        return f"[{self.kind}]"


class Detector(Protocol):
    """Finds spans of certain kinds in a text.

    A detector may have an attribute ``views`` with names of views (see `pytest_llmops.guardrails.views.View`): its
    ``find`` is then called once for each of these forms of the text. Without it, it is called with the unchanged text.

    Attributes:
        name: The name in reports.
        kinds: All kinds of its findings.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def kinds(self) -> Collection[str]: ...  # noqa: D102

    def find(self, text: str) -> Iterable[Finding]:
        """Return the findings in any order; ``start`` and ``end`` are indexes of the given text."""


@dataclass(frozen=True, slots=True)
class RuleDetector:
    """A detector that is made of a function, which returns the findings in a text."""

    name: str
    kinds: tuple[str, ...]
    find: Callable[[str], Iterable[Finding]]
    views: tuple[str, ...] = ("raw",)


def run_detectors(text: str, detectors: Sequence[Detector]) -> list[Finding]:
    """Return the findings of all detectors by their start; overlapping findings of the same detector are merged.

    Raises:
        DetectorError: A detector raised, or returned something else than findings within its text. That must not look
            like "nothing found".
        UsageError: It is not a text, or the detectors are not a list of detectors.
    """
    if not isinstance(text, str) or not _are_detectors(detectors):  # type: ignore[redundant-expr]
        got = shorten_text(repr(detectors), 200)
        raise UsageError(
            f"guardrails: expected a text and a list of detectors, got {type(text).__name__} and {got}"
        )
    names_of_detectors = [tuple(getattr(detector, "views", ("raw",))) for detector in detectors]
    views = make_views(text, _check_view_names(names_of_detectors))
    findings: list[Finding] = []
    for detector, names in zip(detectors, names_of_detectors, strict=True):
        overlapping: list[Finding] = []
        for view in views:
            if view.name in names:
                overlapping += _find_in_view(detector, view)
        findings += merge_findings(overlapping)
    return sorted(findings, key=lambda finding: (finding.start, finding.end, finding.kind))


def _are_detectors(detectors: object) -> bool:
    if not isinstance(detectors, Collection):
        return False
    return all(map(_is_detector, detectors))


def _is_detector(value: object) -> bool:
    """Return whether a value has a method ``find``, and ``kinds`` that are not a text."""
    if not callable(getattr(value, "find", None)):
        return False
    return not isinstance(getattr(value, "kinds", ""), str)


def _check_view_names(names_of_detectors: Sequence[Collection[str]]) -> set[str]:
    """Return the names of all views that any detector needs.

    Raises:
        DetectorError: A detector names no view, or an unknown one.
    """
    if not all(names and VIEWS.issuperset(names) for names in names_of_detectors):
        known = ", ".join(sorted(VIEWS))
        got = shorten_text(str(names_of_detectors))
        raise DetectorError(f"views of a detector: expected some of {known}, got {got}")
    return set().union(*names_of_detectors)


def _find_in_view(detector: Detector, view: View) -> list[Finding]:
    """Return the findings of a detector in a view, moved to their places in the original text."""
    try:
        kinds = tuple(detector.kinds)
        given: object = detector.find(view.text)
        if not isinstance(given, Iterable):
            _close_awaitable(given)
        # For anything else this raises a TypeError, which is reported below
        findings: list[object] = list(given)  # type: ignore[call-overload]
    except LLMOpsError:
        raise
    except Exception as error:
        # Not its message, which may quote the text
        raise DetectorError(
            f"detector {_name_detector(detector)} raised {type(error).__name__}: nothing is known of the text"
        ) from error
    read_as = view.name
    if read_as == "raw":
        read_as = "plain"
    located = []
    for finding in findings:
        if not isinstance(finding, Finding) or not _fits(finding, view.text, kinds):
            got = shorten_text(repr(finding), 200)
            raise DetectorError(
                f"detector {_name_detector(detector)}: expected findings of {', '.join(kinds)}, each a span of whole numbers within the "
                f"{len(view.text):,} characters of its text, with a confidence from 0 to 1, got {got}"
            )
        start, end = view.find_origin(finding.start, finding.end)
        if (start, end, read_as) == (finding.start, finding.end, finding.view):
            located.append(finding)
        else:
            located.append(replace(finding, start=start, end=end, view=read_as))
    return located


def _name_detector(detector: Detector) -> str:
    """Return the name of a detector for messages; of one without a name, the name of its class."""
    return shorten_text(str(getattr(detector, "name", type(detector).__name__)), 60)


def _close_awaitable(given: object) -> None:
    """Close a coroutine, so that Python does not warn that nobody awaited it."""
    close = getattr(given, "close", None)
    if close is not None:
        close()


def _fits(finding: Finding, text: str, kinds: Collection[str]) -> bool:
    """Return whether a finding lies within the text, is of one of these kinds and has a confidence from 0 to 1."""
    if not _lies_within(finding, text) or finding.kind not in kinds:
        return False
    confidence = as_finite_float(finding.confidence)
    return confidence is not None and 0 <= confidence <= 1


def _lies_within(finding: Finding, text: str) -> bool:
    """Return whether a finding is a span of at least one character of a text; True is not taken for 1."""
    if type(finding.start) is not int or type(finding.end) is not int:
        return False
    return 0 <= finding.start < finding.end <= len(text)


def merge_findings(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings by their start, with overlapping ones merged into one that covers them.

    It has the kind of the one with the highest confidence; if these are equal, of the longest.

    >>> [(finding.end, finding.kind) for finding in merge_findings([Finding(0, 5, "phone", 0.5), Finding(2, 9, "card")])]
    [(9, 'card')]
    """
    merged: list[Finding] = []
    for finding in sorted(findings, key=lambda finding: (finding.start, -finding.end)):
        if not merged or finding.start >= merged[-1].end:
            merged.append(finding)
            continue
        last = merged.pop()
        surest = max(last, finding, key=lambda finding: (finding.confidence, finding.end - finding.start))
        merged.append(replace(surest, start=last.start, end=max(last.end, finding.end)))
    return merged


def mask_findings(text: str, findings: Iterable[Finding]) -> str:
    """Return a text in which the findings are replaced by their masks.

    Raises:
        UsageError: It is not a text, the findings are not a list of findings, or one lies outside of the text.

    >>> mask_findings("write to a@b.example", [Finding(9, 20, "email")])
    'write to [email]'
    """
    given = require_list(
        findings, Finding, "mask: expected a list of findings, as in mask(text, scan(text, detectors))"
    )
    is_text = isinstance(text, str)
    if not is_text or not all(_lies_within(finding, text) for finding in given):
        size = len(str(text))
        raise UsageError(
            f"mask: expected a text and findings within its {size:,} characters, got {type(text).__name__}; are they of another text?"
        )
    parts = []
    end = 0
    for finding in merge_findings(given):
        parts += [text[end : finding.start], finding.masked]
        end = finding.end
    parts.append(text[end:])
    return "".join(parts)
