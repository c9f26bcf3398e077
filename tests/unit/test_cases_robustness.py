from __future__ import annotations

import time
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from support.messages import check_message

from pytest_llmops.cases.files import Case
from pytest_llmops.cases.robustness import DISTRACTOR, _misspell, add_changed_cases, change_words
from pytest_llmops.errors import UsageError

TEXT = "For how many days can I return order 4512 of Anna, bought at https://shop.example/return?"


def changed_case(case: Case, name: str, **options: Any) -> Case:
    _, changed = add_changed_cases([case], [name], **options)
    return changed


def test_typos_leave_numbers_names_and_addresses_alone() -> None:
    for seed in range(50):
        changed, listed = change_words(TEXT, Random(seed), _misspell)
        assert changed != TEXT
        assert len(listed) == 1
        assert all(part in changed for part in ("4512", "Anna,", "https://shop.example/return?", "For how"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "changeable"),
    [
        ("What is RAG?", {"What"}),
        ("Is it 4512? Please do.\nDoes it?", {"Please", "Does"}),
        ("What does Anna pay?", {"does"}),
        ("Will is on What? Or The Why, When?", set()),
        ('"What is it?" - {Where is it?}', set()),
        ("Сколько стоит заказ 4512 для Анны?", {"стоит", "заказ"}),
        ("Πόσο κοστίζει στην Αθήνα;", {"κοστίζει", "στην"}),
        ("Wie groß ist München für uns?", {"groß"}),
        ("退货需要多少钱？ 如何退货 4512", set()),
        ("كم تكلفة إرجاع الطلب رقم 4512 من محمد", set()),
        ("राम को कितना पैसा देना है", set()),
    ],
)
def test_which_words_are_changed_and_which_may_be_names(text: str, changeable: set[str]) -> None:
    changes = set()
    for name in ("typos", "case"):
        for seed in range(30):
            cases = add_changed_cases(
                [Case(id="a", input=text), Case(id="b", input="an order")], [name], seed=seed
            )
            changes |= {str(change).split(" -> ")[0] for change in cases[1].robust["changes"]}  # type: ignore[union-attr]
            assert not changeable or cases[1].input != text
    assert changes == changeable


@pytest.mark.parametrize("length", [4, 5, 12])
def test_every_word_of_four_letters_can_be_misspelt(length: int) -> None:
    for seed in range(200):
        assert _misspell("a" * length, Random(seed)) != "a" * length


def test_the_case_changes_the_case_of_whole_words_only() -> None:
    changed = changed_case(Case(id="a", input=TEXT), "case").input
    assert isinstance(changed, str)
    assert changed != TEXT
    assert changed.casefold() == TEXT.casefold()


@pytest.mark.parametrize(
    ("value", "find"),
    [
        ({"language": "german words", "question": "where is it stored"}, lambda value: value["question"]),
        (
            [{"role": "system", "content": "answer shortly"}, {"role": "user", "content": "where is it stored"}],
            lambda value: value[-1]["content"],
        ),
        ({"messages": [{"role": "user", "content": "where is it stored"}]}, lambda value: value["messages"][0]["content"]),
    ],
    ids=["object", "messages", "nested"],
)  # fmt: skip
def test_the_text_of_an_object_and_of_the_last_message_is_changed(value: Any, find: Any) -> None:
    changed: Any = changed_case(Case(id="a", input=value), "typos").input
    assert find(changed) != find(value)
    assert str(changed).replace(find(changed), "") == str(value).replace(find(value), "")


def test_the_order_of_options_changes_and_nothing_is_lost() -> None:
    for seed in range(20):
        case = Case(id="a", input="?", data={"options": ["red", "blue"], "fact": "red"})
        assert changed_case(case, "order", seed=seed)["options"] == ["blue", "red"]
    inner = changed_case(Case(id="a", input={"question": "?", "documents": [1, 2, 3]}), "order").input
    assert isinstance(inner, dict)
    assert inner["documents"] != [1, 2, 3]
    assert sorted(inner["documents"]) == [1, 2, 3]


def test_a_distractor_has_the_form_of_the_documents() -> None:
    texts = changed_case(Case(id="a", input={"documents": ["one", "two"]}), "distractor").input
    assert isinstance(texts, dict)
    assert sorted(texts["documents"]) == sorted([DISTRACTOR, "one", "two"])
    own: dict[str, Any] = {
        "distractors": ["Tents are dry."],
        "contexts": [{"id": "d1", "content": "one", "source": "a"}],
    }
    contexts: Any = changed_case(Case(id="a", input="?", data=own), "distractor")["contexts"]
    assert {"id": "distractor", "content": "Tents are dry.", "source": "a"} in contexts
    assert len(contexts) == 2


def test_paraphrases_are_data_of_the_case_and_each_is_a_case() -> None:
    case = Case(id="a", input={"question": "Why?"}, data={"paraphrases": ["How come?", "What for?"]})
    cases = add_changed_cases([case], ["paraphrase"])
    assert [(case.id, case.input) for case in cases[1:]] == [
        ("a~paraphrase", {"question": "How come?"}),
        ("a~paraphrase-2", {"question": "What for?"}),
    ]
    assert [case.robust["value"] for case in cases] == ["unchanged", "paraphrase", "paraphrase"]
    assert cases[1].robust["changes"] == ["How come?"]


def test_the_unchanged_case_keeps_its_id_and_fingerprint() -> None:
    case = Case(id="a", input=TEXT)
    first, second = add_changed_cases([case], ["typos"], seed=1)
    assert (first.id, first.fingerprint, first.robust["changes"]) == ("a", case.fingerprint, ["unchanged"])
    assert second.fingerprint != case.fingerprint
    assert second.input != changed_case(case, "typos", seed=2).input


def test_what_finds_nothing_to_change_says_so_in_its_case() -> None:
    cases = add_changed_cases([Case(id="a", input="Why?"), Case(id="b", input="why not asked")], ["typos"])
    reasons = [str(case.robust["skip"]) for case in cases]
    assert [bool(reason) for reason in reasons] == [False, True, False, False]
    check_message(reasons[1])


@pytest.mark.parametrize("name", ["typos", "case", "paraphrase"])
def test_the_turns_of_a_scripted_user_are_not_changed_and_the_case_says_so(name: str) -> None:
    data = {"turns": ["where is it"], "paraphrases": ["whereabouts, please"]}
    _, changed, _ = add_changed_cases(
        [Case(id="a", input="where is it", data=data), Case(id="b", input="why not asked")], [name, "order"]
    )[:3]
    assert changed.input == "where is it"
    assert str(changed.robust["skip"]).endswith(", and no `turns`")


@pytest.mark.parametrize(
    ("name", "case"),
    [
        ("typos", Case(id="a", input="WHY NOT 4512?")),
        ("order", Case(id="a", input="where is it", data={"options": ["same", "same"]})),
        ("distractor", Case(id="a", input={"question": "where is it"})),
        ("paraphrase", Case(id="a", input="where is it", data={"paraphrases": ["where is it"]})),
    ],
    ids=["typos", "order", "distractor", "paraphrase"],
)
def test_a_transformation_that_changes_nothing_anywhere_is_one_error(name: str, case: Case) -> None:
    cases = add_changed_cases([case, replace(case, id="b")], [name], where="test_a.py::test_a")
    reasons = [str(case.robust["error"]) for case in cases]
    assert [bool(reason) for reason in reasons] == [False, True, False, False]
    check_message(reasons[1])


@pytest.mark.parametrize(
    ("name", "case"),
    [
        ("paraphrase", Case(id="a", input="where is it", data={"paraphrases": "whereabouts"})),
        ("distractor", Case(id="a", input={"documents": ["a"]}, data={"distractors": [1]})),
    ],
    ids=["no list", "no texts"],
)
def test_paraphrases_and_distractors_are_lists_of_texts(name: str, case: Case) -> None:
    with pytest.raises(UsageError, check=check_message):
        add_changed_cases([case], [name], where="test_a.py::test_a")


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "`" * 200_000,
        '"' * 199_999,
        "{" * 200_000,
        "“" * 200_000,
        "'a " * 70_000,
        "a" * 300_000,
        "```a" * 70_001,
    ],
)
def test_a_hostile_text_takes_linear_time(text: str) -> None:
    started = time.process_time()
    change_words(text, Random(0), _misspell)
    assert time.process_time() - started < 20


def test_a_case_cannot_have_the_id_of_a_changed_one() -> None:
    cases = [Case(id="a", input="Can I return it?"), Case(id="a~typos", input="May this go back?")]
    with pytest.raises(UsageError, match="rename a~typos"):
        add_changed_cases(cases, ["typos"], where="test_a.py::test_a")
