from __future__ import annotations

import copy
import importlib
import pickle
import runpy
from pathlib import Path

import pytest
from support.messages import check_message

from pytest_llmops import errors, measurement
from pytest_llmops.measurement import Measurement

LOW = Measurement(name="m", value=0.1, threshold=0.5)
RAISED: list[BaseException] = [
    errors.LLMOpsError("text"),
    errors.UsageError("text"),
    errors.UnknownName("judge", "qualty", ["quality"], where="marker of test_x"),
    errors.SettingError("ini", "llm_record", "one of a, b", "c"),
    errors.PromptError("no text", "prompt.md", 3),
    errors.CaseError("no id", "cases.jsonl", 3),
    errors.CorpusError("no text", "corpus.jsonl"),
    errors.SchemaError("text"),
    errors.MissingExtra("a price", "prices", "genai_prices"),
    errors.AcceptRefused("text"),
    errors.SetupMissing("text"),
    errors.ModelError("text", kind="auth", status=401),
    errors.JudgeError("text", reply="raw"),
    errors.DetectorError("detector names raised ValueError"),
    errors.RetriedForEver("text"),
    errors.CassetteError("text"),
    errors.WireError("text"),
    errors.MeasurementErrored("text", [LOW]),
    errors.MeasurementFailed("text", [LOW, LOW]),
    errors.CassetteMiss("a\nb"),
    errors.BudgetReached("a\nb"),
    errors.CallDeferred(3),
    errors.SilentWriteRefused("text"),
]


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
def test_survives_a_process_pool(error: BaseException) -> None:
    error.add_note("a note")
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is type(error)
        assert str(twin) == str(error)
        assert vars(twin) == vars(error)


class OwnError(errors.LLMOpsError):
    """An error of a user's judge."""


def test_a_user_s_subclass_stays_itself() -> None:
    assert type(pickle.loads(pickle.dumps(OwnError("x")))) is OwnError


def test_every_error_is_in_the_tree() -> None:
    kinds = {var for var in vars(errors).values() if isinstance(var, type) and issubclass(var, BaseException)}
    assert {type(entry) for entry in RAISED} == kinds
    drawn = errors.__doc__ or ""
    assert all(kind.__name__ in drawn for kind in kinds)


def test_the_code_is_at_the_end_of_the_first_line_and_comes_once() -> None:
    assert errors.append_code("a\nb", "LLM-MISS") == "a [LLM-MISS]\nb"
    assert errors.append_code("a [LLM-MISS]\nb", "LLM-USAGE") == "a [LLM-MISS]\nb"
    assert errors.append_code("a [x]", "LLM-USAGE") == "a [x] [LLM-USAGE]"
    assert errors.append_code("a", "") == "a"
    assert errors.append_code("", "LLM-MISS") == " [LLM-MISS]"
    assert OwnError("x").code == "LLM-ERROR"


def test_a_miss_is_out_of_reach_for_except_exception() -> None:
    assert not issubclass(errors.CassetteMiss, Exception)
    assert not issubclass(errors.BudgetReached, Exception)
    assert not issubclass(errors.MeasurementFailed, errors.LLMOpsError)
    assert issubclass(errors.MeasurementFailed, AssertionError)


@pytest.mark.parametrize(
    "kind", [errors.MeasurementFailed, errors.MeasurementErrored, errors.CassetteMiss, errors.BudgetReached]
)
def test_the_verdict_starts_the_line_that_pytest_prints(kind: type[BaseException]) -> None:
    assert kind.__module__ == "builtins"


def test_unknown_name() -> None:
    error = errors.UnknownName("judge", "qualty", ["quality", "checklist", "quality"], where="test_x.py")
    check_message(error)
    assert error.known == ("checklist", "quality")
    assert str(errors.UnknownName("judge", "zzz", [])) == "unknown judge 'zzz': known are (none)"


def test_setting_error_says_place_option_expected_and_got() -> None:
    error = errors.SettingError("ini", "llm_record", "one of none, new", "nwe")
    assert str(error) == "ini llm_record: expected one of none, new, got 'nwe'"


@pytest.mark.parametrize("kind", [errors.CaseError, errors.CorpusError])
def test_file_errors_end_in_file_and_line(kind: type[errors.CaseError | errors.CorpusError]) -> None:
    assert str(kind("no id", "c.jsonl", 3)) == "no id @ c.jsonl:3"
    assert str(kind("no id", "c.jsonl")) == "no id @ c.jsonl"
    assert kind("no id", "c.jsonl", 0).line == 0


def test_missing_extra_names_the_command() -> None:
    assert "pip install 'pytest-llmops[prices]'" in str(
        errors.MissingExtra("a price", "prices", "genai_prices")
    )


def test_listing_is_short_and_sorted() -> None:
    assert errors.format_name_list(str(n) for n in range(100, 0, -1)).endswith(" and 88 more")
    assert errors.format_name_list(["b", "a", "b"]) == "a, b"


def test_closest() -> None:
    assert errors.find_closest_name("candidat", ["production", "candidate"]) == "candidate"
    assert errors.find_closest_name("x", []) == ""
    assert errors.find_closest_name("dollars", ["calls", "tokens", "usd"]) == ""  # half of its letters


def test_a_description_names_type_text_and_place() -> None:
    def broken() -> None:
        raise ValueError("no such row")

    with pytest.raises(ValueError, match="row") as caught:
        broken()
    assert errors.describe_exception(caught.value).startswith("ValueError: no such row (test_errors.py:")
    assert errors.describe_exception(ValueError()) == "ValueError"

    assert errors.describe_exception(errors.UsageError("said it all")) == "said it all"


def test_the_place_of_an_exception_is_never_a_line_of_python_or_of_the_package() -> None:
    with pytest.raises(ImportError) as caught:
        importlib.import_module("no_such_module_xyz")
    assert "importlib" not in errors.describe_exception(caught.value)
    with pytest.raises(TypeError) as wrong:
        measurement.shorten_text(3)  # type: ignore[arg-type]
    assert "(test_errors.py:" in errors.describe_exception(wrong.value)


def test_a_folder_of_the_users_that_is_named_after_importlib_is_theirs(tmp_path: Path) -> None:
    (file := tmp_path / "importlib_demo" / "mine.py").parent.mkdir()
    file.write_text("raise ValueError('no key')\n")
    with pytest.raises(ValueError) as caught:
        runpy.run_path(str(file))
    assert errors.describe_exception(caught.value) == "ValueError: no key (mine.py:1)"
