"""Recognize cassettes that were recorded with models other than in the last run, and so are not orphans."""

import json
from collections.abc import Iterable, Iterator, Mapping

from pytest_llmops._util.json_values import as_mapping, as_text
from pytest_llmops.cassettes import naming
from pytest_llmops.cassettes.store import Interaction
from pytest_llmops.cassettes.tool_questions import is_tool_request
from pytest_llmops.cassettes.usage_record import RunUsage
from pytest_llmops.wire.body import unfold_body

# Prefixes that a model's name may have in the id of a test, but not in a request
MODEL_PREFIXES = ("", "anthropic:")


class OtherModelCassettes:
    """The cassettes that the tests of a run would use with other models.

    If a run has several ``--llm-model`` values, the model is part of a test's id, and so of the name of its cassette.
    In a run with a single model it is not.

    Args:
        usage: The record of the run.
    """

    def __init__(self, usage: RunUsage) -> None:
        self._usage = usage
        self._cases: dict[str, list[str]] = {}  # parameter ids of tests, by the folder for their cassettes
        for file, case in usage.cases.items():
            folder = file.removesuffix(".json")
            if case:
                folder = file.rpartition("/")[0]
            self._cases.setdefault(folder, []).append(case)
        self._file_names: dict[tuple[str, str], frozenset[str]] = {}

    def includes(self, name: str, interactions: Mapping[str, Interaction]) -> bool:
        """Return whether a cassette belongs to a test of the run with another model.

        The other models come from the cassette's requests and from the hook `pytest_llmops_models`.

        Args:
            name: The cassette's path, relative to the root.
            interactions: The cassette's content.
        """
        folder, _, file = name.rpartition("/")
        if folder not in self._cases:
            return False
        models = {*self._usage.models, *_requested_models(interactions.values())}
        return any(file in self._file_names_for(folder, model) for model in models)

    def _file_names_for(self, folder: str, model: str) -> frozenset[str]:
        """Return the names of the cassettes that the tests of a folder would have with a model; computed once."""
        known = self._file_names.get((folder, model))
        if known is not None:
            return known
        names = set()
        for case in self._cases[folder]:
            for case_id in _case_ids_with_model(case, model):
                names.add(f"{naming.safe_file_name(case_id)}.json")
        self._file_names[folder, model] = frozenset(names)
        return self._file_names[folder, model]


def _requested_models(interactions: Iterable[Interaction]) -> Iterator[str]:
    """Yield the models that interactions request, in all spellings that the id of a test may have."""
    for interaction in interactions:
        if is_tool_request(interaction.request):
            continue
        try:
            body = json.loads(unfold_body(interaction.request["body"]))
        except (ValueError, RecursionError):
            continue
        model = as_text(as_mapping(body).get("model"))
        if model:
            for prefix in MODEL_PREFIXES:
                yield f"{prefix}{model}"


def _case_ids_with_model(case: str, model: str) -> Iterator[str]:
    """Yield the ids that a test may have with a model: for ``v1-late`` these are ``m-v1-late``, ``v1-m-late`` ...

    The model comes first, unless the test has further parameters that pytest puts before it.
    """
    parts: list[str] = []
    if case:
        parts = case.split("-")
    # pytest writes the name or its escaped form.
    for spelling in {model, model.encode("unicode_escape").decode("ascii")}:
        for place in range(len(parts) + 1):
            yield "-".join((*parts[:place], spelling, *parts[place:]))
