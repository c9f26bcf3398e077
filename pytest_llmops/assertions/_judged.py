"""What all assertions with a judge need: the judge's inputs besides the answer, and the evidence from its verdict."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

from pytest_llmops._util.text_files import canonical_json
from pytest_llmops.assertions._arguments import check_texts, parse_contexts
from pytest_llmops.errors import UsageError
from pytest_llmops.measurement import Json, label_suffix, shorten_text
from pytest_llmops.protocols import Media, Verdict

if TYPE_CHECKING:
    from pytest_llmops.cases import Case

__tracebackhide__ = True

MAX_QUOTED_CHARS = 160
MAX_LISTED = 5
# A mapping with one of these keys is a message, or a conversation
MESSAGE_KEYS = frozenset({"role", "type", "messages"})
# Where applications put the text of their answer
ANSWER_KEYS = ("answer", "output", "output_text", "response", "result", "text", "content")


class _LeftOut(str):
    """The default of arguments that may come from the case: an empty text that differs from a given ``""`` by identity."""

    __slots__ = ()


LEFT_OUT: str = _LeftOut()


@dataclass(frozen=True, slots=True)
class JudgeInputs:
    """The inputs of a judge besides the answer; ``from_case`` names those that were taken from the case."""

    question: str
    reference: str
    contexts: list[str]
    from_case: frozenset[str] = frozenset()
    images: tuple[Media, ...] = ()

    def to_detail(self, answer: Json) -> dict[str, Json]:
        """Return the answer and the inputs for the detail of a measurement."""
        detail: dict[str, Json] = {"actual": answer, "expected": self.reference, "question": self.question}
        if self.contexts:
            detail["contexts"] = list[Json](self.contexts)
        if self.images:
            from pytest_llmops.judges.protocol.images import describe_image

            detail["images"] = list[Json](map(describe_image, self.images))
        return detail


def refuse_mapping(where: str, answer: object, name: str = "answer") -> None:
    """Raise if an answer is a mapping that is neither a message nor a conversation, such as ``{"answer": "..."}``.

    Args:
        where: The assertion, for the error.
        answer: The answer as given.
        name: The argument that it was given as.

    Raises:
        UsageError: It is such a mapping; the error names its keys, and the text in it that is probably meant.

    >>> refuse_mapping("assert_judge_score", {"role": "assistant", "content": "Yes."})
    """
    if not isinstance(answer, Mapping) or not MESSAGE_KEYS.isdisjoint(answer):
        return
    texts = [key for key, value in answer.items() if isinstance(value, str)]
    likely = [key for key in ANSWER_KEYS if key in texts] or texts
    step = f"pass json.dumps({name}) to judge the JSON itself"
    if likely:
        key = shorten_text(repr(likely[0]), 60)
        step = f"pass its text, {name}[{key}], or json.dumps({name}) to judge the JSON itself"
    keys = "no keys"
    if answer:
        names = ", ".join(map(str, answer))
        keys = f"the keys {shorten_text(names, 120)}"
    raise UsageError(f"{where}: expected a text as {name}, got a {type(answer).__name__} with {keys}; {step}")


def parse_judge_inputs(
    where: str, case: "Case | None", question: object, reference: object, contexts: object
) -> JudgeInputs:
    """Return question, reference and contexts; an argument that is `LEFT_OUT` is taken from the case, if there is one.

    Raises:
        UsageError: A question or reference is not a text, the contexts are not a list of texts or hits, or the case is
            not a `Case`.
    """
    given = {"question": question, "reference": reference, "contexts": contexts}
    from_case: set[str] = set()
    source = where
    if case is not None:
        data = getattr(case, "data", None)
        if not hasattr(case, "input") or not isinstance(data, Mapping):
            raise UsageError(
                f"{where}: expected case to be a Case, as load_cases gives it, got {type(case).__name__}"
            )
        from_case = {key for key, value in given.items() if isinstance(value, _LeftOut)}
        known = _read_case_inputs(case)
        given.update({key: known[key] for key in from_case})
    if case is not None and "contexts" in from_case:
        source = f"{where}: case {case.id}"
    check_texts(where, question=given["question"], reference=given["reference"])
    passages = given["contexts"]
    if isinstance(passages, _LeftOut):
        passages = ()
    texts = parse_contexts(source, passages)
    return JudgeInputs(
        question=str(given["question"]),
        reference=str(given["reference"]),
        contexts=texts,
        from_case=frozenset(from_case),
    )


def _read_case_inputs(case: "Case") -> dict[str, object]:
    """Return the question, reference and contexts of a case; an input of another type than text is written as JSON."""
    question = case.input
    if not isinstance(question, str):
        question = canonical_json(question)
    return {
        "question": question,
        "reference": case.reference,
        "contexts": case.data.get("contexts", ()),
    }


def quote_answer(text: str) -> str:
    """Return a text for a line of evidence."""
    return f'"{shorten_text(text, MAX_QUOTED_CHARS)}"'


def judge_title(name: str, label: str) -> str:
    """Return how the first line of a failure names a judge."""
    return f"judge {shorten_text(name, 60)}{label_suffix(label)}"


def list_findings(judge: object, verdict: Verdict) -> list[tuple[str, str]]:
    """Return lines of evidence from a verdict: broken rules, missing items, unsupported claims, votes.

    Only some kinds of judges have these; a plain score has none.
    """
    findings = _list_items_missing(judge, verdict)
    for claim in getattr(verdict, "claims", ()):
        if claim.finding == "supported":
            continue
        text = claim.text
        if claim.passages:
            numbers = ", ".join(map(str, claim.passages))
            text += f" (by passage {numbers})"
        findings.append((claim.finding, text))
    pairs = []
    for label, text in findings[:MAX_LISTED]:
        pairs.append((label, shorten_text(text, MAX_QUOTED_CHARS)))
    not_listed = len(findings) - MAX_LISTED
    if not_listed > 0:
        last_label = findings[-1][0]
        pairs.append((last_label, f"and {not_listed} more"))
    votes = _list_votes(judge, verdict)
    if votes:
        pairs.append(("votes", ", ".join(votes)))
    return pairs


def _list_items_missing(judge: object, verdict: Verdict) -> list[tuple[str, str]]:
    """Return the items of a checklist that are missing, or the rules of a policy that are broken."""
    if not getattr(judge, "items", ()):
        return []
    label = "missing"
    if "broken" in getattr(judge, "answers", ()):
        label = "broken"
    return [(label, item) for item, score in verdict.dimensions.items() if not score]


def _list_votes(judge: object, verdict: Verdict) -> list[str]:
    """Return the vote of each judge of a panel."""
    votes = getattr(verdict, "votes", ())
    if not votes:
        return []
    lines = []
    voters = getattr(judge, "judges", ())
    for number, (vote, voter) in enumerate(zip_longest(votes, voters), start=1):
        model_name = getattr(voter, "model_name", "")
        name = str(model_name or f"judge {number}")
        if vote.score is None:
            outcome = f"unscored ({shorten_text(vote.error, 60)})"
        else:
            outcome = f"{vote.score:.3g}"
        lines.append(f"{shorten_text(name, 40)} {outcome}")
    return lines
