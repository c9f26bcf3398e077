"""Ids from the content of rows: the order of the rows does not matter, and no two rows share one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.strategies import clean_text, json_values

from pytest_llmops.cases.case_ids import parse_id
from pytest_llmops.cases.files import Case, load_cases
from pytest_llmops.errors import CaseError

questions = st.sampled_from(["May I?", "may I?", "Или?", ""]) | clean_text
plain_rows: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"question": questions},
    optional={"answer": questions, "note": json_values, "split": st.sampled_from(["dev", "test"])},
)
chat_rows: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"messages": st.lists(st.fixed_dictionaries({"role": st.just("user"), "content": questions}), min_size=1)}
)


def write(row: dict[str, Any]) -> str:
    """A row as text; null is the same as no value."""
    return json.dumps({key: value for key, value in row.items() if value is not None}, sort_keys=True)


def read_row(row: dict[str, Any]) -> Case | CaseError:
    try:
        [case] = load_cases([row])
    except CaseError as error:
        return error
    return case


def read(rows: list[dict[str, Any]]) -> dict[str, str]:
    return {case.id: write({**case.data, "split": case.split}) for case in load_cases(rows)}


def list_rows(form: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[list[dict[str, Any]]]:
    return st.lists(form, min_size=1, max_size=6, unique_by=write)


lists = list_rows(plain_rows) | list_rows(chat_rows)


@pytest.mark.slow
@given(data=st.data(), rows=lists)
def test_the_order_of_rows_changes_no_id_and_no_two_share_one(data: st.DataObject, rows: list[Any]) -> None:
    ids = read(rows)
    assert len(ids) == len(rows)
    assert all(parse_id(name) == name for name in ids)
    assert read(data.draw(st.permutations(rows))) == ids


@pytest.mark.slow
@given(rows=lists, other=plain_rows)
def test_a_row_with_another_input_changes_no_id(rows: list[Any], other: dict[str, Any]) -> None:
    kept = [row for row in rows if row.get("question") != other["question"] and "messages" not in row]
    if not kept:
        return
    assert read(kept).items() <= read([*kept, other]).items()


@pytest.mark.slow
@given(rows=lists)
def test_a_row_that_is_there_twice_is_read_once_and_changes_no_id(rows: list[Any]) -> None:
    assert read([*rows, rows[0]]) == read(rows)
    assert sum(case.copies for case in load_cases([*rows, rows[0]])) == len(rows) + 1


@pytest.mark.slow
@given(
    row=st.dictionaries(
        st.sampled_from(["id", "question", "prompt", "Input", "messages", "answer", "answers", "qid"]),
        json_values,
    )
)
def test_any_row_is_a_case_or_an_error_with_its_place(row: dict[str, Any]) -> None:
    result = read_row(row)
    if isinstance(result, CaseError):
        assert len(str(result).splitlines()) == 1
    else:
        assert result.fingerprint
        assert parse_id(result.id) == result.id
