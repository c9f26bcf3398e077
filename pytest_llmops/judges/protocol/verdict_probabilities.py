"""The probability of each verdict, from the log-probabilities of the tokens in a judge's reply.

A judge that replies "different" may have been nearly undecided. Where the server reports the other tokens that the model
considered, the probabilities of the names at the token that decides between them are a finer measure than the name.
Source of the idea: Liu et al. 2023, "G-Eval", who weight scores by their probabilities.
"""

import math
import re
from collections.abc import Sequence

from pytest_llmops.judges.protocol.reply_form import ReplyForm
from pytest_llmops.measurement import Json
from pytest_llmops.protocols import Completion, TokenChoice

# Parameters that request log-probabilities. A server that refuses them is called again without them
PROBABILITY_PARAMS: dict[str, Json] = {"logprobs": True, "top_logprobs": 10}
MIN_MASS = 0.01  # of all tokens at the deciding place; with less, the model was not about to write a name
SURE = 0.99  # a token without alternatives is taken as decided from this probability on
_NOT_A_NAME = " \t\r\n\"'*`["


def read_name_probabilities(completion: Completion, form: ReplyForm, name: str) -> dict[str, float]:
    """Return the probability of each of the form's names, from 0 to 1; together they are 1.

    Tokens are compared with the beginnings of the names. If a token begins several names, the next one decides.

    Args:
        completion: The judge's reply.
        form: A form with names, and neither items nor passages.
        name: The name that was read from the reply. If the tokens give another one, they were misread.

    Returns:
        Name -> probability; empty if the server gave no log-probabilities, or the verdict cannot be found in the tokens.

    >>> tokens = (TokenChoice(token="Verdict: ", alternatives={}), TokenChoice(token="yes", alternatives={"yes": -0.1, "no": -2.4}))
    >>> reply = Completion(text="", tokens=tokens)
    >>> found = read_name_probabilities(reply, ReplyForm(names=("yes", "no")), "yes")
    >>> {name: round(chance, 2) for name, chance in found.items()}
    {'yes': 0.91, 'no': 0.09}
    """
    if not completion.tokens or not form.scores or form.items or form.passages:
        return {}
    start = _find_verdict(completion.tokens, form)
    if start is None:
        return {}
    number, offset = start
    masses = dict.fromkeys(form.scores, 0.0)
    written = ""  # the part of the name written before the current token
    weight = 1.0  # probability of the written part
    names: list[str] = []
    for token in completion.tokens[number:]:
        lead = token.token[:offset]
        for alternative, log_probability in token.alternatives.items():
            begun = _names_that_begin(written + _without_lead(alternative, lead), form)
            if len(begun) == 1:
                masses[begun[0]] += weight * math.exp(log_probability)
        written += _without_lead(token.token, lead)
        names = _names_that_begin(written, form)
        if len(names) < 2:  # noqa: PLR2004 -- decided, or no name at all
            break
        weight *= math.exp(token.alternatives.get(token.token, 0.0))
        offset = 0
    total = math.fsum(masses.values())
    if names != [name] or total < MIN_MASS:
        return {}
    # Some servers give only the probability of the written token: the alternatives are not known then
    if len(token.alternatives) == 1 and math.exp(token.alternatives.get(token.token, 0.0)) < SURE:
        return {}
    return {known: mass / total for known, mass in masses.items()}


def _find_verdict(tokens: Sequence[TokenChoice], form: ReplyForm) -> tuple[int, int] | None:
    """Return the number of the token in which the verdict begins, and at which of its characters; None if there is none.

    It is behind the last key of the field in JSON, else behind the last mention of the field with a colon: a reason or
    the thinking before it may speak of verdicts, too. (In a text within JSON, the quotes of a key are escaped.)
    """
    text = "".join(token.token for token in tokens)
    field = re.escape(form.field)
    keys = list(re.finditer(rf'"{field}"\s{{0,4}}:["\s]{{0,6}}', text, re.IGNORECASE))
    labels = keys or list(re.finditer(rf"{field}\*{{0,3}}\s{{0,4}}[:=][*\[\s]{{0,6}}", text, re.IGNORECASE))
    if not labels:
        return None
    start = labels[-1].end()
    for number, token in enumerate(tokens):
        if start < len(token.token):
            return number, start
        start -= len(token.token)
    return None


def _without_lead(token: str, lead: str) -> str:
    """Return the part of a token that belongs to the name.

    Args:
        token: A token that was written or considered.
        lead: The characters of the written token before the name, such as the quote before it.
    """
    return token.removeprefix(lead).lstrip(_NOT_A_NAME)


def _names_that_begin(text: str, form: ReplyForm) -> list[str]:
    """Return the names that begin with a text, or with which the text begins (``same"}``); none for a blank text."""
    folded = form.fold(text)
    if not folded:
        return []
    # The whole name, and nothing that only continues it: "pass" is not the beginning of "passable"
    matching = [name for name in form.scores if form.fold(name).startswith(folded)]
    if matching:
        return matching
    return [name for name in form.scores if re.match(rf"{re.escape(form.fold(name))}(?!\w)", folded)]
