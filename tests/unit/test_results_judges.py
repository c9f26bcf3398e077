"""What the reports know of the judges of a run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_llmops.measurement import Json, Measurement
from pytest_llmops.results.run import NOT_CALIBRATED, JudgeUse, Run, TestRecord, collect_judges, judge_doubt


def scored(**more: Json) -> Measurement:
    text: Json = {"name": "quality", "model": "m"}
    return Measurement(name="judge.quality", value=1.0, version="1", detail={"judge": text, **more})


def tried(status: str, text: str) -> Measurement:
    result: Json = {"judge": "quality", "model": "m", "status": status, "text": text}
    return Measurement(name="judge.quality.canaries", value=1.0, version="1", detail={"canaries": result})


def known(status: str, text: str) -> dict[str, Json]:
    return {"canaries": {"status": status, "text": text}}


def of(*measurements: Measurement) -> JudgeUse:
    (result,) = collect_judges([TestRecord(nodeid="t", measurements=measurements)])
    return result


@pytest.mark.parametrize("turned", [False, True])
def test_what_was_tried_in_this_run_is_newer_than_any_record(turned: bool) -> None:
    old, new = scored(**known("unfit", "unfit: 3 of 41")), tried("fit", "withstands all 41")
    result = of(*([new, old] if turned else [old, new]))
    assert (result.canaries, result.unfit) == ("withstands all 41", False)
    other = of(*([scored(**known("fit", "fits")), tried("unfit", "unfit: 1")][:: -1 if turned else 1]))
    assert (other.canaries, other.unfit) == ("unfit: 1", True)


@pytest.mark.parametrize("turned", [False, True])
def test_of_two_records_the_worse_one_counts(turned: bool) -> None:
    pair = [scored(**known("fit", "fits")), scored(**known("unfit", "unfit: 1")), scored()]
    assert of(*pair[:: -1 if turned else 1]).unfit


def test_what_is_known_of_agreement_and_of_canaries_is_reported_together_the_worst_first() -> None:
    calibrated: dict[str, Json] = {"calibration": {"status": "calibrated", "text": "calibrated: kappa 0.70"}}
    summary = of(scored(), scored(**calibrated), tried("fit", "withstands all"))
    assert (summary.standing, summary.doubtful) == ("calibrated: kappa 0.70; withstands all", False)
    assert of(scored(), tried("unfit", "unfit: 1")).standing == f"unfit: 1; {NOT_CALIBRATED}"


def test_a_score_of_an_unfit_judge_is_doubtful_however_well_it_agrees() -> None:
    calibrated: dict[str, Json] = {"calibration": {"status": "calibrated", "text": "t"}}
    assert judge_doubt(scored(**calibrated)) == ""
    assert judge_doubt(scored(**calibrated, **known("unfit", "u"))) == "unfit"
    assert judge_doubt(scored()) == "not calibrated"
    assert judge_doubt(Measurement(name="text.exact", value=1.0)) == ""


def test_another_model_or_version_is_another_judge() -> None:
    other = Measurement(name="judge.quality", value=1.0, version="2", detail={"judge": {"name": "quality"}})
    assert len(collect_judges([TestRecord(nodeid="t", measurements=(scored(), other))])) == 2


def test_the_judges_of_a_run_are_read_once_and_are_not_part_of_it() -> None:
    run = Run(records=(TestRecord(nodeid="t", measurements=(scored(),)),))
    other = Run(records=run.records)
    assert len(run.judges) == 1
    assert run.judges is run.judges
    assert run == other
    assert repr(run) == repr(other)
    assert replace(run, records=()).judges == ()
