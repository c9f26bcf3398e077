"""What a test is parametrized by: models, versions of a prompt, cases.

Knows pytest's objects by their attributes only.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from pytest_llmops.errors import UsageError
from pytest_llmops.marks import arguments, cases_of, versions_to_run
from pytest_llmops.measurement import Json
from pytest_llmops.settings import Settings

OWN = ("llm", "prompt", "case")
"""Arguments that we parametrize by, each with an id of its own, in this order."""


class Candidate(str):
    """The name of a model that a test was made for: no value of the user's own `parametrize` is taken for one."""

    __slots__ = ()


def candidate_of(item: Any) -> str:
    """Return the model that a test was made for; empty: it was made for none."""
    found = getattr(getattr(item, "callspec", None), "params", {}).get("llm")
    return str(found) if isinstance(found, Candidate) else ""


def parameters(
    node: Any, settings: Settings, wanted: Collection[str]
) -> Iterator[tuple[str, Sequence[object], Sequence[str]]]:
    """Return what a test is parametrized by, as (fixture, values, ids): models first, then versions, then cases.

    Raises:
        UsageError: It is marked with the names of models itself, and does not use the `llm` fixture.
    """
    models = candidates(node, settings) if "llm" in wanted else ()
    if models:
        yield "llm", models, models
    elif "llm" not in wanted and any(_names_models(mark) for mark in node.own_markers):
        raise UsageError(
            f"{node.nodeid}: @pytest.mark.models needs the `llm` fixture: that is the model it names"
        )
    versions = versions_to_run(node, settings) if "prompt" in wanted else ()
    if versions:
        yield "prompt", versions, versions
    cases = cases_of(node) if "case" in wanted else None
    if cases is not None:
        yield "case", cases, [one.id for one in cases]


def parameters_of(item: Any) -> dict[str, Json]:
    """Return what a test is parametrized by: of each argument its part of the node id, and its place in the list.

    Several arguments that share a part of the id are told together, as ``others``. Nothing is told of a test that is
    not parametrized, or where the parts cannot be told apart.
    """
    callspec = getattr(item, "callspec", None)
    places: Mapping[str, int] = getattr(callspec, "indices", {})
    ids = [str(one) for one in getattr(callspec, "_idlist", ())]
    if len(ids) == len(places):
        told = zip(places.items(), ids, strict=True)
        return {name: {"id": one, "place": place} for (name, place), one in told}
    found: dict[str, Json] = {}
    for name in filter(places.__contains__, OWN):
        value = callspec.params[name] if callspec is not None else None
        text = str(getattr(value, "id", value))
        part = next((one for one in (text, text.encode("unicode_escape").decode()) if one in ids), None)
        if part is None:
            return {}
        ids.remove(part)
        found[name] = {"id": part, "place": places[name]}
    return {**found, "others": {"id": "-".join(ids)}}


def _names_models(mark: Any) -> bool:
    """The mark is ours by its arguments: other projects have one of that name, bare or with their own classes."""
    given = mark.args and not mark.kwargs and all(isinstance(one, str) for one in mark.args)
    return bool(given) and mark.name == "models"


def models_marker(node: Any) -> tuple[str, ...]:
    """Return the models a test is marked with; none: it is not marked.

    Raises:
        UsageError: No name, one that is no text, or one twice.
    """
    found = arguments(node, "models")
    if found is None:
        return ()
    names = found.mark.args
    if found.mark.kwargs or not names or not all(isinstance(one, str) and one.strip() for one in names):
        raise found.wrong("the names of models as texts, at least one")
    stripped = tuple(one.strip() for one in names)
    if len(set(stripped)) < len(stripped):
        raise found.wrong("each model once")
    return stripped


def candidates(node: Any, settings: Settings) -> tuple[Candidate, ...]:
    """Return the models that one test each is made for; none: the settings' only model is asked.

    Those of the command line come before the marker's, the marker's before those of the ini.

    Raises:
        UsageError: The marker is wrong, or a hook or the test's own `llm` puts one model in the place of all of them.
    """
    marked = models_marker(node)
    if marked and (own := _model_of_its_own(node)):
        raise UsageError(
            f"{node.nodeid}: @pytest.mark.models names the models of the `llm` fixture, but {own}: each of them would ask the "
            "same model; take the mark away, or let the fixture build on ours (`def llm(llm)`) or on `request.param`"
        )
    if not marked and (len(settings.models) < 2 or _brings_its_own_model(node)):  # noqa: PLR2004 -- several
        return ()
    line = node.config.getoption("llm_model", None) is not None
    chosen = ((settings.models if line else ()) or marked) if marked else settings.models
    known = {name for one in node.ihook.pytest_llmops_models(config=node.config) for name in one}
    strange = [name for name in chosen if name not in known]
    if "app" in known and strange:
        raise UsageError(
            f"{node.nodeid}: expected models that pytest_llmops_models knows, as its 'app' takes the place of all others, "
            f"got {', '.join(map(repr, strange))}; known are {', '.join(sorted(known))}"
        )
    return tuple(map(Candidate, chosen))


def _brings_its_own_model(node: Any) -> bool:
    """The `llm` of this test is parametrized already, or a fixture that does not build on ours."""
    return _parametrizes_llm(node) or any("llm" not in one.argnames or one.params for one in _overrides(node))


def _model_of_its_own(node: Any) -> str:
    """Where the `llm` of this test comes from if no model that it is made for would be asked; else nothing."""
    if _parametrizes_llm(node):
        return "the test is parametrized with `llm` already"
    for one in reversed(_overrides(node)):  # the nearest first
        if "request" in one.argnames:
            return ""
        if "llm" not in one.argnames:
            return f"its fixture `llm` ({one.func.__module__}) brings a model of its own"
    return ""


def _parametrizes_llm(node: Any) -> bool:
    for mark in node.iter_markers("parametrize"):
        names = mark.args[0] if mark.args else mark.kwargs.get("argnames", ())
        listed = names.split(",") if isinstance(names, str) else names
        if "llm" in map(str.strip, listed):
            return True
    return False


def _overrides(node: Any) -> Sequence[Any]:
    """The fixtures in the place of our `llm`, the nearest last."""
    info = getattr(node, "_fixtureinfo", None)
    found: Sequence[Any] = info.name2fixturedefs.get("llm", ()) if info is not None else ()
    return found[1:]
