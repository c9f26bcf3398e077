"""What assertions with a judge share: its inputs beside the answer, and the evidence in a verdict."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest

from pytest_llmops._util.text_files import canonical_json
from pytest_llmops.assertions._arguments import parse_contexts
from pytest_llmops.cases import Case
from pytest_llmops.errors import UsageError
from pytest_llmops.judges.evaluate import check_texts
from pytest_llmops.measurement import Json, shorten_text
from pytest_llmops.protocols import Verdict

__tracebackhide__ = True

MAX_QUOTED_CHARS = 160
MAX_LISTED = 5


class _LeftOut(str):
    # An empty text that an assertion has where an argument was left out: the case may have it.
    __slots__ = ()


LEFT_OUT: str = _LeftOut()


@dataclass(frozen=True, slots=True)
class JudgeInputs:
    """What a judge is given beside the answer; ``from_case`` names what the assertion itself left out."""

    question: str
    reference: str
    contexts: list[str]
    from_case: frozenset[str] = frozenset()

    def to_detail(self, answer: Json) -> dict[str, Json]:
        """Return the answer and the inputs as the detail of a measurement has them."""
        detail: dict[str, Json] = {"actual": answer, "expected": self.reference, "question": self.question}
        if self.contexts:
            return {**detail, "contexts": list[Json](self.contexts)}
        return detail


def parse_judge_inputs(
    where: str, case: Case | None, question: object, reference: object, contexts: object
) -> JudgeInputs:
    """Return question, reference and contexts; what is left out comes from the case, if it has it.

    Raises:
        UsageError: A question or reference is not a text, the contexts are not a list of texts or hits, or the case is
            none.
    """
    given = {"question": question, "reference": reference, "contexts": contexts}
    taken: set[str] = set()
    if case is not None:
        if not hasattr(case, "input") or not isinstance(getattr(case, "data", None), Mapping):
            raise UsageError(
                f"{where}: expected case to be a Case, as load_cases gives it, got {type(case).__name__}"
            )
        known = {
            "question": case.input if isinstance(case.input, str) else canonical_json(case.input),
            "reference": case.reference,
            "contexts": case.data.get("contexts", ()),
        }
        taken = {key for key, value in given.items() if isinstance(value, _LeftOut)}
        given |= {key: known[key] for key in taken}
    check_texts(where, question=given["question"], reference=given["reference"])
    if isinstance(given["contexts"], _LeftOut):
        passages = ()
    else:
        passages = given["contexts"]
    if case is not None and "contexts" in taken:
        of = f"{where}: case {case.id}"
    else:
        of = where
    return JudgeInputs(
        str(given["question"]), str(given["reference"]), parse_contexts(of, passages), frozenset(taken)
    )


def quote_answer(text: str) -> str:
    """Return a text for a line of evidence."""
    return f'"{shorten_text(text, MAX_QUOTED_CHARS)}"'


def list_findings(judge: object, verdict: Verdict) -> list[tuple[str, str]]:
    """Return what a verdict holds against an answer: broken rules, missing items, unsupported claims, votes."""
    if getattr(judge, "items", ()):
        items = verdict.dimensions
    else:
        items = {}
    if "broken" in getattr(judge, "answers", ()):
        label = "broken"
    else:
        label = "missing"
    findings = [(label, item) for item, given in items.items() if not given]
    for claim in getattr(verdict, "claims", ()):
        numbers = ", ".join(map(str, claim.passages))
        text = claim.text + (f" (by passage {numbers})" if numbers else "")
        if claim.finding == "supported":
            findings += []
        else:
            findings += [(claim.finding, text)]
    pairs = [(label, shorten_text(text, MAX_QUOTED_CHARS)) for label, text in findings[:MAX_LISTED]]
    pairs += [(label, f"and {len(findings) - MAX_LISTED} more") for label, _ in findings[MAX_LISTED:][-1:]]
    votes = getattr(verdict, "votes", ())
    if votes:
        lines = [
            f"{shorten_text(str(getattr(voter, 'model_name', '') or f'judge {number}'), 40)} "
            + (f"unscored ({shorten_text(vote.error, 60)})" if vote.score is None else f"{vote.score:.3g}")
            for number, (vote, voter) in enumerate(zip_longest(votes, getattr(judge, "judges", ())), start=1)
        ]
        pairs.append(("votes", ", ".join(lines)))
    return pairs
