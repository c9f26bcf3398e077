"""`Finding`, the protocol `Detector`, and the functions that run detectors over a text and mask what they find."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from pytest_llmops.errors import DetectorError, LLMOpsError, refuse
from pytest_llmops.guardrails.views import VIEWS, View, make_views
from pytest_llmops.measurement import as_finite_float, require_list, shorten_text


@dataclass(frozen=True, slots=True)
class Finding:
    """A place in a text.

    Attributes:
        start: Its first character.
        end: The place behind its last character.
        kind: What it is: ``email``, ``secret``, ``jailbreak`` ...
        confidence: 0 to 1; of overlapping findings of a detector the surest names the kind.
        view: How the text had to be read: ``plain``, or ``base64``, ``rot13``, ``leet``, ``spaced``.
    """

    start: int
    end: int
    kind: str
    confidence: float = 1.0
    view: str = "plain"

    @property
    def masked(self) -> str:
        """What stands for the place in reports: neither its text nor its length."""
        return f"[{self.kind}]"


class Detector(Protocol):
    """Finds places of some kinds in a text.

    A detector may have an attribute ``views``, the names of the views of a text that it is given one by one (see
    `pytest_llmops.guardrails.views.View`); without it, it is given the text as it is.

    Attributes:
        name: In reports.
        kinds: Everything that it looks for.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def kinds(self) -> Collection[str]: ...  # noqa: D102

    def find(self, text: str) -> Iterable[Finding]:
        """Return what it finds, with places in the text that it was given, in any order."""


@dataclass(frozen=True, slots=True)
class RuleDetector:
    """A detector that is a function from a text to findings."""

    name: str
    kinds: tuple[str, ...]
    find: Callable[[str], Iterable[Finding]]
    views: tuple[str, ...] = ("raw",)


def run_detectors(text: str, detectors: Sequence[Detector]) -> list[Finding]:
    """Return the findings of all detectors, in order; overlapping findings of a detector are merged.

    Raises:
        DetectorError: A detector raised, or returned something else than findings within its text. That is never
            "nothing found".
        UsageError: It is no text, or the detectors are not a list of detectors.
    """
    refuse(
        not isinstance(text, str)  # type: ignore[redundant-expr]
        or not isinstance(detectors, Collection)  # type: ignore[redundant-expr]
        or not all(
            callable(getattr(each, "find", None)) and not isinstance(getattr(each, "kinds", ""), str)
            for each in detectors
        ),
        f"guardrails: expected a text and a list of detectors, got {type(text).__name__} and {shorten_text(repr(detectors), 200)}",
    )
    wanted = [(detector, tuple(getattr(detector, "views", ("raw",)))) for detector in detectors]
    if not all(names and VIEWS.issuperset(names) for _, names in wanted):
        raise DetectorError(
            f"views of a detector: expected some of {', '.join(sorted(VIEWS))}, got {shorten_text(str([names for _, names in wanted]))}"
        )
    views = make_views(text, {name for _, names in wanted for name in names})
    return sorted(
        (
            finding
            for detector, names in wanted
            for finding in merge_findings(
                finding for view in views if view.name in names for finding in _find_in_view(detector, view)
            )
        ),
        key=lambda finding: (finding.start, finding.end, finding.kind),
    )


def _find_in_view(detector: Detector, view: View) -> list[Finding]:
    name = shorten_text(str(getattr(detector, "name", type(detector).__name__)), 60)
    try:
        kinds = tuple(detector.kinds)
        given: object = detector.find(view.text)
        getattr(given, "close", bool)() if not isinstance(given, Iterable) else None  # an awaitable
        findings: list[object] = list(given)  # type: ignore[call-overload]
    except LLMOpsError:
        raise
    except Exception as error:
        # Not its message, which may quote the text.
        raise DetectorError(
            f"detector {name} raised {type(error).__name__}: nothing is known of the text"
        ) from error
    for finding in findings:
        fits = (
            isinstance(finding, Finding)
            and type(finding.start) is type(finding.end) is int
            and 0 <= finding.start < finding.end <= len(view.text)
            and finding.kind in kinds
            and (confidence := as_finite_float(finding.confidence)) is not None
            and 0 <= confidence <= 1
        )
        if not fits:
            raise DetectorError(
                f"detector {name}: expected findings of {', '.join(kinds)}, each a span of whole numbers within the "
                f"{len(view.text):,} characters of its text, with a confidence from 0 to 1, got {shorten_text(repr(finding), 200)}"
            )
    if view.name == "raw":
        read = "plain"
    else:
        read = view.name
    return [
        finding
        if (start, end, read) == (finding.start, finding.end, finding.view)
        else replace(finding, start=start, end=end, view=read)
        for finding in findings
        if isinstance(finding, Finding)
        for start, end in [view.find_origin(finding.start, finding.end)]
    ]


def merge_findings(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings without overlaps: of those that overlap the surest (then longest) names the kind of all.

    >>> [(each.end, each.kind) for each in merge_findings([Finding(0, 5, "phone", 0.5), Finding(2, 9, "card")])]
    [(9, 'card')]
    """
    merged: list[Finding] = []
    for finding in sorted(findings, key=lambda finding: (finding.start, -finding.end)):
        if merged and finding.start < merged[-1].end:
            last = merged.pop()
            finding = replace(  # noqa: PLW2901
                max(last, finding, key=lambda each: (each.confidence, each.end - each.start)),
                start=last.start,
                end=max(last.end, finding.end),
            )
        merged.append(finding)
    return merged


def mask_findings(text: str, findings: Iterable[Finding]) -> str:
    """Return a text with the masks of findings in their places.

    Raises:
        UsageError: It is no text, the findings are not a list of findings, or one lies outside of the text.

    >>> mask_findings("write to a@b.example", [Finding(9, 20, "email")])
    'write to [email]'
    """
    given = require_list(
        findings, Finding, "mask: expected a list of findings, as in mask(text, scan(text, detectors))"
    )
    refuse(
        not isinstance(text, str)  # type: ignore[redundant-expr]
        or not all(
            type(each.start) is type(each.end) is int and 0 <= each.start < each.end <= len(text)
            for each in given
        ),
        f"mask: expected a text and findings within its {len(str(text)):,} characters, got {type(text).__name__}; are they of another text?",
    )
    merged = merge_findings(given)
    ends = [0, *(each.end for each in merged)]
    kept = (text[end : each.start] + each.masked for end, each in zip(ends, merged, strict=False))
    return "".join(kept) + text[ends[-1] :]
