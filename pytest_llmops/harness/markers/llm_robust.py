"""The marker ``llm_robust``: each case is run again with its input changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pytest_llmops.cases.files import Case
from pytest_llmops.cases.robustness import TRANSFORMATIONS, add_changed_cases
from pytest_llmops.errors import UnknownName, UsageError
from pytest_llmops.harness.markers.marker import Argument, Arguments, Marker, one_of, whole_number
from pytest_llmops.measurement import Json
from pytest_llmops.settings import Settings

EXPECTED = (
    f"{', '.join(TRANSFORMATIONS)}, each once, a whole number as seed, and equal='verdict' or 'answer' "
    "(to compare the value of a function of it, assert that value first)"
)


@dataclass(frozen=True, slots=True)
class Robustness:
    """How the inputs are changed, and which result must stay equal: the verdict, or the answer."""

    transformations: tuple[str, ...]
    seed: int
    equal: str


class RobustMarker(Marker):
    """Each case runs as it is, and then once for each transformation of its input.

    Example::

        @pytest.mark.llm_robust("typos", "paraphrase")
        @pytest.mark.cases("cases/refunds.jsonl")
        def test_answer(llm, case): ...
    """

    name = "llm_robust"
    help = "run each case again with its input changed"
    fixture = "case"
    needs = "it changes their input"
    needs_marker = "cases(file)"
    repeated = Argument(
        "transformation",
        one_of(EXPECTED, *TRANSFORMATIONS),
        "`'typos'`, `'case'`, `'order'`, `'distractor'` or `'paraphrase'`. Several are possible",
    )
    arguments = (
        Argument("seed", whole_number(EXPECTED), "another seed makes other changes", default=0),
        Argument(
            "equal",
            one_of(EXPECTED, "verdict", "answer"),
            "`'verdict'` or `'answer'`: the result that must stay equal",
            default="verdict",
        ),
    )

    def read(self, arguments: Arguments) -> Robustness:
        """Return the transformations, the seed and the result that must stay equal."""
        names = arguments.args
        known = list(TRANSFORMATIONS)
        for name in names:
            if name not in known:
                raise UnknownName("transformation", str(name), known, where=arguments.where)
        if not names or len(set(names)) < len(names):
            raise arguments.usage_error(EXPECTED)
        try:
            values = self.parse(replace(arguments, args=()))
        except UnknownName:
            raise
        except (
            UsageError
        ):  # the message of a single argument would not name the transformations, which are left out of it
            raise arguments.usage_error(EXPECTED) from None
        return Robustness(names, **values)

    def prepare_cases(self, arguments: Arguments, cases: Sequence[Case]) -> Sequence[Case]:
        """Return each case, followed by those with its input changed."""
        change = self.read(arguments)
        changed = add_changed_cases(
            cases, change.transformations, seed=change.seed, equal=change.equal, where=arguments.where
        )
        return tuple(changed)

    def describe_case(self, item: Any, case: Case, settings: Settings) -> Mapping[str, Json]:
        """Return how the input was changed, and the node id of the test with the unchanged input, which all tests of the case share."""
        if not case.robust:
            return {}
        unchanged_id: str = item.nodeid
        suffix = str(case.robust["suffix"])
        if suffix:
            before, matched, after = unchanged_id.rpartition(suffix)
            if matched:
                unchanged_id = before + after
        return {"robust": {**case.robust, "case": [unchanged_id]}}


MARKER = RobustMarker()
