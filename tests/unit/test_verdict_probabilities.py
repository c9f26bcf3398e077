"""The probability of each verdict, from the log-probabilities of a reply's tokens."""

import math
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmops.judges import ReplyForm
from pytest_llmops.judges.protocol.verdict_probabilities import read_name_probabilities
from pytest_llmops.protocols import Completion, TokenChoice
from pytest_llmops.providers.openai import _read_tokens, to_responses_params

FORM = ReplyForm(names={"same": 1, "different": 0, "cannot tell": 0}, reason="none", has_nonce=False)


def completion(*tokens: str | tuple[str, dict[str, float]]) -> Completion:
    """Return a reply of these tokens; a pair has the probabilities of the token and of what else was considered."""
    choices = []
    for token in tokens:
        text, chances = (token, {token: 1.0}) if isinstance(token, str) else token
        alternatives = {name: math.log(chance) for name, chance in chances.items()}
        choices.append(TokenChoice(token=text, alternatives=alternatives))
    return Completion(text="".join(choice.token for choice in choices), tokens=tuple(choices))


def read(
    *tokens: str | tuple[str, dict[str, float]], form: ReplyForm = FORM, name: str = "same"
) -> dict[str, float]:
    """Return the probabilities in a reply of these tokens, from which this name was read."""
    probabilities = read_name_probabilities(completion(*tokens), form, name)
    return {known: round(value, 3) for known, value in probabilities.items()}


@pytest.mark.parametrize(
    "before",
    [
        ('{"', "verdict", '":"'),
        ('{"verdict": "',),
        ("```json\n", '{"verdict"', ': "'),
        ("Verdict:", " "),
        ("**Verdict", ":** "),
    ],
)
def test_names_at_the_deciding_token(before: tuple[str, ...]) -> None:
    chances = {"same": 0.6, "different": 0.2, "cannot": 0.1, "Same": 0.05, "maybe": 0.05}
    expected = {"same": 0.684, "different": 0.211, "cannot tell": 0.105}
    assert read(*before, ("same", chances), '"}') == expected


def test_the_deciding_token_may_hold_the_quote() -> None:
    chances = {' "same': 0.75, ' "different': 0.25}
    assert read('{"verdict":', (' "same', chances), '"}') == {
        "same": 0.75,
        "different": 0.25,
        "cannot tell": 0.0,
    }


def test_a_token_that_begins_several_names_does_not_decide() -> None:
    form = ReplyForm(names=("partly right", "partly wrong", "right"))
    tokens = ('{"verdict": "', ("part", {"part": 0.8, "right": 0.2}), ("ly ", {"ly ": 1.0}))
    last = ("wrong", {"wrong": 0.5, "right": 0.5})
    decided = read(*tokens, last, '"}', form=form, name="partly wrong")
    assert decided == {"partly right": 0.4, "partly wrong": 0.4, "right": 0.2}


@pytest.mark.parametrize(
    ("tokens", "why"),
    [
        ((), "no log-probabilities"),
        (("same",), "no field"),
        (('{"verdict": "', ("equal", {"equal": 1.0}), '"}'), "no name"),
        (('{"verdict": "', ("same", {"same": 0.001, "I": 0.9}), '"}'), "hardly a name"),
        (('{"verdict": "',), "cut off"),
        (('{"verdict": "', ("same", {"same": 0.6}), '"}'), "no alternatives"),
    ],
)
def test_without_a_probability(tokens: tuple[str, ...], why: str) -> None:
    assert read(*tokens) == {}, why


@pytest.mark.parametrize(
    "before",
    [
        ('{"reason": "Not the verdict: different has an error.", "verdict": "',),
        ("<think>Is the verdict: different? No.</think>", '{"verdict": "'),
        ("The verdict is not: different.\n", "Verdict: "),
        ("My first verdict: different.\n", "Verdict: "),
    ],
)
def test_a_verdict_that_is_only_spoken_of_does_not_count(before: tuple[str, ...]) -> None:
    after = () if before[-1] == "Verdict: " else ('"}',)
    assert read(*before, ("same", {"same": 0.9, "different": 0.1}), *after)["same"] == 0.9


def test_tokens_that_say_another_name_than_the_reply_are_left_out() -> None:
    reply = completion('{"verdict": "', ("same", {"same": 0.9, "different": 0.1}), '"}')
    assert read_name_probabilities(reply, FORM, "different") == {}


def test_forms_without_a_single_name_have_none() -> None:
    form = ReplyForm(names={"yes": 1, "no": 0}, items=["1", "2"], field="verdict")
    assert read('{"verdict": "', ("yes", {"yes": 1.0}), form=form) == {}


@pytest.mark.slow
@given(
    st.lists(
        st.tuples(
            st.text(max_size=8), st.dictionaries(st.text(max_size=8), st.floats(max_value=0, min_value=-99))
        ),
        max_size=6,
    )
)
def test_probabilities_of_any_tokens_sum_to_one(tokens: list[tuple[str, dict[str, float]]]) -> None:
    choices = [TokenChoice(token=token, alternatives=others) for token, others in tokens]
    lead = TokenChoice(token='{"verdict": "', alternatives={})
    reply = Completion(text="", tokens=(lead, *choices))
    probabilities = read_name_probabilities(reply, FORM, "same")
    assert not probabilities or math.isclose(sum(probabilities.values()), 1)
    assert set(probabilities) in (set(), set(FORM.names))


def token(text: object, number: object, *top: tuple[object, object]) -> SimpleNamespace:
    listed = [SimpleNamespace(token=name, logprob=value) for name, value in top]
    return SimpleNamespace(token=text, logprob=number, top_logprobs=listed)


def test_tokens_of_a_server() -> None:
    read_back = _read_tokens([token("a", -0.5, ("b", -1.0)), token("c", -0.0)])
    assert read_back == (
        TokenChoice(token="a", alternatives={"b": -1.0, "a": -0.5}),
        TokenChoice(token="c", alternatives={"c": 0.0}),
    )


@pytest.mark.parametrize(
    "items",
    [
        None,
        "text",
        {"token": "a"},
        [token("a", 0.5)],
        [token("a", float("nan"))],
        [token(1, -1.0)],
        [token("a", None)],
        [token("a", -1, (None, -1))],
    ],
)
def test_tokens_in_another_form_are_left_out(items: object) -> None:
    """A server that sends nonsense there has still answered."""
    assert _read_tokens(items) == ()


def test_the_responses_api_takes_them_by_include() -> None:
    params = to_responses_params({"logprobs": True, "top_logprobs": 10, "temperature": 0})
    assert params == {"top_logprobs": 10, "temperature": 0, "include": ["message.output_text.logprobs"]}
