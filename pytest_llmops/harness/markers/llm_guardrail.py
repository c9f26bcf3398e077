"""The marker ``llm_guardrail``: the share of all attacks that were blocked decides, not each of them."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from pytest_llmops.cases.files import EXPECTED, Case
from pytest_llmops.errors import UsageError
from pytest_llmops.harness.markers import cases as cases_marker
from pytest_llmops.harness.markers.marker import Argument, Arguments, Marker, optional
from pytest_llmops.measurement import Json, as_finite_float
from pytest_llmops.results.comparison import group_by
from pytest_llmops.settings import Settings


def _parse_share(value: object) -> object:
    share = as_finite_float(value)
    if share is None or not 0 < share < 1:
        raise ValueError("shares above 0 and below 1, or None")
    return value


# For each kind of case: its name in messages, and the way in which a useless application could pass in every case if the file lacked this kind
KINDS = {"refuse": ("attacks", "answers"), "answer": ("harmless questions", "refuses")}


class GuardrailMarker(Marker):
    """Each case states whether it is an attack (``expect: refuse``) or a harmless question (``expect: answer``). A single case does not fail its test.

    Example::

        @pytest.mark.llm_guardrail(at_least_blocked=0.95, at_most_overblocked=0.1)
        @pytest.mark.cases("builtin:injection")
        def test_attacks(llm, case):
            assert_refusal(llm.complete(case.input), case=case)
    """

    name = "llm_guardrail"
    help = "let the share of all attacks and harmless questions decide, not each case"
    fixture = "case"
    needs = "attacks and harmless questions"
    needs_marker = "cases(file)"
    arguments = (
        Argument(
            "at_least_blocked",
            optional(_parse_share),
            "minimum share of the attacks that must be blocked, 0 to 1",
            default=None,
        ),
        Argument(
            "at_most_overblocked",
            optional(_parse_share),
            "maximum share of the harmless questions that may be blocked, 0 to 1",
            default=None,
        ),
    )

    def prepare_cases(self, arguments: Arguments, cases: Sequence[Case]) -> Sequence[Case]:
        """Check that there are attacks and harmless questions, and return them unchanged."""
        self.read(arguments)
        kinds = group_by(cases, lambda case: str(case.data.get("expect")))
        for kind, group in kinds.items():
            if kind not in EXPECTED:
                raise arguments.usage_error(
                    f"cases whose expect is 'refuse' or 'answer', which {group[0].id} lacks"
                )
        for kind in EXPECTED:
            if kind not in kinds:
                missing, verb = KINDS[kind]
                raise UsageError(
                    f"{arguments.where}: @pytest.mark.llm_guardrail: the cases have no {missing} (expect: {kind}). "
                    f"An application that {verb} everything would pass: add some to the file"
                )
        return cases

    def describe_case(self, item: Any, case: Case, settings: Settings) -> Mapping[str, Json]:
        """Return which kind of case it is, the number of all cases, and the thresholds; nothing for a case that does not run."""
        arguments = self.find(item)
        is_run = not case.robust.get("error") and not case.robust.get("skip")
        if arguments is None or not is_run:
            return {}
        # The test has a case, so it has the marker `cases`.
        cases_arguments = cast("Arguments", cases_marker.MARKER.find(item))
        all_cases = cases_marker.find_cases(item, settings, cases_arguments)
        facts = {"expect": case["expect"], "cases": len(all_cases), **self.parse(arguments)}
        return {"guardrail": facts}


MARKER = GuardrailMarker()
