"""The providers of a promptfoo configuration: models that the fixture `llm` calls, or an application that a person fills in.

Keys, headers and passwords of a provider are never returned: of its settings only the parameters of `providers.toml` are, and the address
of a server without user, password and query.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from pytest_llmops.imports.foreign_secrets import hide_secrets, strip_url
from pytest_llmops.imports.source_files import (
    CODE_SUFFIXES,
    LocatedList,
    LocatedMap,
    SourceFolder,
    split_function,
)
from pytest_llmops.imports.suite import Application, Place, Remark, RemarkKind, SuiteError
from pytest_llmops.measurement import Json, shorten_text

ECHO = "echo"
_ANTHROPIC = "anthropic"
_MAX_SHOWN = 100
_KEYS = ("id", "label", "config", "prompts", "transform", "delay", "env", "inputs")
_DATA_SUFFIXES = (".yaml", ".yml", ".json")
_URL = re.compile(r"https?://\S+|wss?://\S+")


@lru_cache(maxsize=1)
def provider_table() -> Mapping[str, Any]:
    """Return the table of `providers.toml`."""
    text = Path(__file__).with_name("providers.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider as the configuration has it.

    Attributes:
        id: ``openai:gpt-4o``, ``python:provider.py``.
        settings: Its mapping: ``config``, ``label``, ``prompts`` ...
        place: Where it is.
    """

    id: str
    settings: Mapping[str, Json]
    place: Place

    @property
    def config(self) -> Mapping[str, Json]:
        """Its ``config``; empty if it is missing or not a mapping."""
        config = self.settings.get("config")
        if isinstance(config, Mapping):
            return config
        return {}

    def place_of(self, key: str) -> Place:
        """Return the place of one of its keys."""
        if isinstance(self.settings, LocatedMap):
            return self.settings.place_of(key)
        return self.place


@dataclass(frozen=True, slots=True)
class Model:
    """A model that the fixture `llm` can ask: its name for `llm_models`, and the address of its server ("": OpenAI or Anthropic)."""

    name: str
    server: str


def show_provider(text: str) -> str:
    """Return the id of a provider for a message: in one line, without secrets.

    >>> show_provider("https://user:pass@host.example/ask?key=1")
    'https://host.example/ask'
    """
    shown = _URL.sub(lambda match: strip_url(match[0]), " ".join(text.split()))
    return shorten_text(hide_secrets(shown), _MAX_SHOWN)


def find_model(provider: Provider) -> Model | None:
    """Return the model of a provider, or None if the fixture `llm` cannot ask it.

    >>> find_model(Provider("anthropic:messages:claude-x", {}, Place("c.yaml")))
    Model(name='anthropic:claude-x', server='')
    >>> find_model(Provider("openai:embedding:text-embedding-3-small", {}, Place("c.yaml"))) is None
    True
    """
    prefix, _, rest = provider.id.partition(":")
    row = provider_table().get(prefix)
    if not isinstance(row, dict):
        return None
    kind, _, name = rest.partition(":")
    if kind in row.get("other_kinds", ()):
        return None
    if kind not in row.get("kinds", ()):
        if row.get("needs_kind"):
            return None
        name = rest
    name = (name or _text(provider.config.get("model"))).strip()
    if not name or "{{" in name or any(char.isspace() for char in name):
        return None
    server = row["server"]
    if server == _ANTHROPIC:
        return Model(f"{_ANTHROPIC}:{name}", "")
    return Model(name, _find_server(provider) or server)


def _find_server(provider: Provider) -> str:
    """Return the address of a provider's own server; "" if it has none, or a template for it."""
    for key in provider_table()["server_keys"]:
        value = _text(provider.config.get(key)).strip()
        if not value or "{{" in value:
            continue
        if key == "apiHost":
            value = f"https://{value}/v1"
        return strip_url(value)
    return ""


def _text(value: Json) -> str:
    if isinstance(value, str):
        return value
    return ""


def read_application(
    config: LocatedMap, folder: SourceFolder, path: Path, *, takes_variables: bool = False
) -> tuple[Application, list[Remark]]:
    """Return who answers in a suite, and what of it is not carried.

    Args:
        config: The configuration.
        folder: The folder of the suite.
        path: The file of the configuration.
        takes_variables: Whether the prompts are made by code.
    """
    reader = _ProvidersReader(folder, path)
    key = "providers"
    if "providers" not in config and "targets" in config:
        key = "targets"
    place = config.place_of(key)
    if "providers" in config and "targets" in config:
        reader.remark(
            "left out", config.place_of("targets"), "targets", "providers are there too, and are read"
        )
    reader.read(config.get(key), place)
    if not reader.providers and not reader.remarks:
        reader.remark(
            "not carried", place, "no providers", "no model or application is named: fill in the call"
        )
    application = reader.make_application(place, takes_variables=takes_variables)
    return application, reader.remarks


@dataclass(slots=True)
class _ProvidersReader:
    """Collects providers and remarks."""

    folder: SourceFolder
    path: Path
    providers: list[Provider] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)
    left_out: dict[str, list[Provider]] = field(default_factory=dict)

    def remark(self, kind: RemarkKind, place: Place, what: str, why: str) -> None:
        """Note a part that is not carried."""
        remark = Remark(kind, place, what, why)
        if remark not in self.remarks:
            self.remarks.append(remark)

    def read(self, value: Json, place: Place) -> None:
        """Read ``providers``: a text, a mapping, or a list of them."""
        if value is None:
            return
        if isinstance(value, str):
            self._read_id(value, {}, place)
        elif isinstance(value, LocatedList):
            for index, item in enumerate(value):
                self.read(item, value.place_of(index))
        elif isinstance(value, LocatedMap):
            self._read_map(value)
        else:
            self.remark("not carried", place, "a provider", "expected its id, or a mapping with an id")

    def _read_map(self, value: LocatedMap) -> None:
        """Read ``{id: ..., config: ...}``, or the form ``{openai:gpt-4o: {config: ...}}``."""
        name = value.get("id")
        if isinstance(name, str):
            self._read_id(name, value, value.place)
            return
        inner = next(iter(value.values()), None)
        if len(value) == 1 and isinstance(inner, LocatedMap):
            key = next(iter(value))
            self._read_id(_text(inner.get("id")) or key, inner, value.place)
            return
        self.remark(
            "not carried", value.place, "a provider without id", "expected its id, such as openai:gpt-4o"
        )

    def _read_id(self, name: str, settings: Mapping[str, Json], place: Place) -> None:
        name = name.strip()
        suffix = Path(split_function(name)[0]).suffix.lower()
        if name.startswith("file://") and suffix in _DATA_SUFFIXES:
            self._read_file(name, place)
            return
        self.providers.append(Provider(name, settings, place))

    def _read_file(self, reference: str, place: Place) -> None:
        """Read the providers in a file of their own."""
        try:
            for found in self.folder.find(reference, self.path, place):
                with self.folder.entering(found, place):
                    self.read(self.folder.read_value(found, place), self.folder.place(found, 1))
        except SuiteError as error:
            self.remark("not carried", error.place, show_provider(reference), error.what)

    def make_application(self, place: Place, *, takes_variables: bool) -> Application:
        """Return who answers: the models of the first server, or the application that a person fills in."""
        models: list[tuple[Provider, Model]] = []
        others: list[Provider] = []
        for provider in self.providers:
            self._note_settings(provider)
            model = find_model(provider)
            if model is None or provider.settings.get("transform") is not None:
                others.append(provider)
            else:
                models.append((provider, model))
        self._note_left_out()
        if not models:
            asked = tuple(dict.fromkeys(self._describe(provider) for provider in others))
            first = next((provider.place for provider in others), place)
            return Application(asked=asked, takes_variables=takes_variables, place=first)
        for provider in others:
            self._note_other(provider)
        kept, server = self._keep_server(models)
        return Application(
            models=tuple(dict.fromkeys(model.name for _, model in kept)),
            base_url=server,
            params=self._agreed_params([provider for provider, _ in kept]),
            asked=tuple(dict.fromkeys(self._describe(provider) for provider, _ in kept)),
            takes_variables=takes_variables,
            place=kept[0][0].place,
        )

    def _describe(self, provider: Provider) -> str:
        """Return a provider in the words of the suite; with its address, if its id has none."""
        url = _text(provider.config.get("url"))
        shown = show_provider(provider.id)
        if provider.id in ("http", "https", "webhook", "websocket", "ws", "wss") and url:
            shown = show_provider(url)
            if not url.startswith(f"{provider.id}:"):
                shown = f"{provider.id} {shown}"
        transform = provider.settings.get("transform")
        if transform is not None:
            shown += f" with transform {show_provider(str(transform))}"
        return shown

    def _note_other(self, provider: Provider) -> None:
        what = self._describe(provider)
        if provider.id == ECHO:
            self.remark("left out", provider.place, what, "it answers with the prompt, to try out the suite")
            return
        why = (
            "the fixture llm calls the other models, but not this one: write it as a model "
            "(pytest_llmops_models in conftest.py) to compare it"
        )
        self.remark("not carried", provider.place, what, why)

    def _keep_server(self, models: list[tuple[Provider, Model]]) -> tuple[list[tuple[Provider, Model]], str]:
        """Return the models of Anthropic and of one other server, the first; the fixture calls one such server in a run."""
        servers = [model.server for _, model in models if not model.name.startswith(f"{_ANTHROPIC}:")]
        server = next(iter(servers), "")
        kept: list[tuple[Provider, Model]] = []
        for provider, model in models:
            if model.name.startswith(f"{_ANTHROPIC}:") or model.server == server:
                kept.append((provider, model))
                continue
            own = "OpenAI"
            if model.server:
                own = model.server
            why = f"it has another server ({own}), and a run calls one: run with --llm-base-url and --llm-model for it"
            self.remark("left out", provider.place, self._describe(provider), why)
        return kept, server

    def _note_settings(self, provider: Provider) -> None:
        """Note the settings of a provider that are not carried."""
        what = self._describe(provider)
        settings = provider.settings
        if settings.get("transform") is not None:
            why = "code changes the answer before it is checked, and is not run: application() has to do the same"
            self.remark("not carried", provider.place_of("transform"), what, why)
        if "prompts" in settings:
            why = "here every model gets every prompt"
            self.remark("differs", provider.place_of("prompts"), f"prompts of {what}", why)
        if "delay" in settings:
            self.remark(
                "left out",
                provider.place_of("delay"),
                f"delay of {what}",
                "set a rate limit for the model instead",
            )
        if "env" in settings:
            self._note_env(provider, what)
        unknown = [key for key in settings if key not in _KEYS]
        if unknown:
            names = ", ".join(shorten_text(key, 40) for key in unknown)
            self.remark(
                "left out", provider.place_of(unknown[0]), f"{names} of {what}", "not a key of a provider"
            )
        if find_model(provider) is not None:
            self._note_config(provider, what)

    def _note_env(self, provider: Provider, what: str) -> None:
        names = "env"
        env = provider.settings.get("env")
        if isinstance(env, Mapping):
            names = "env " + ", ".join(shorten_text(name, 40) for name in env)
        why = "values are never read: set the variables where the tests run"
        self.remark("left out", provider.place_of("env"), f"{names} of {what}", why)

    def _note_config(self, provider: Provider, what: str) -> None:
        """Note the settings of a hosted model that are not parameters, only by their names."""
        table = provider_table()
        known = {*table["params"], *table["server_keys"], "model"}
        for key in provider.config:
            if key not in known:
                self.left_out.setdefault(shorten_text(key, 40), []).append(provider)
        for key in table["server_keys"]:
            if "{{" in _text(provider.config.get(key)):
                why = "a template in the address of a server is not filled in: name the server with llm_base_url"
                self.remark("differs", provider.place_of("config"), f"{key} of {what}", why)

    def _note_left_out(self) -> None:
        """Note each setting of hosted models that is not a parameter once, for all models that have it."""
        for name, providers in self.left_out.items():
            what = f"{name} of {self._describe(providers[0])}"
            if len(providers) > 1:
                what += f" and {len(providers) - 1} more"
            self.remark("left out", providers[0].place_of("config"), what, "not a parameter of every model")

    def _agreed_params(self, providers: list[Provider]) -> Mapping[str, Json]:
        """Return the parameters that all these providers have with the same value."""
        every = [self.read_params(provider.config, provider.place_of("config")) for provider in providers]
        names = dict.fromkeys(name for params in every for name in params)
        agreed: dict[str, Json] = {}
        for name in names:
            values = [params.get(name) for params in every]
            if all(value == values[0] for value in values):
                agreed[name] = values[0]
                continue
            why = (
                "the models have different values: give it in the test, or in the front matter of the prompt"
            )
            self.remark("differs", providers[0].place, name, why)
        return agreed

    def read_params(self, config: Mapping[str, Json], place: Place) -> dict[str, Json]:
        """Return the parameters of a ``config`` for the model; files that they name are read.

        Args:
            config: The settings of a provider or of a prompt.
            place: Where they are.
        """
        found: dict[str, Json] = {}
        for name in provider_table()["params"]:
            if name not in config:
                continue
            value = config[name]
            here = place
            if isinstance(config, LocatedMap):
                here = config.place_of(name)
            try:
                value = self._read_param(value, here)
            except SuiteError as error:
                self.remark("not carried", error.place, name, error.what)
                continue
            if _has_template(value):
                self.remark(
                    "not carried", here, name, "a template in a parameter is not filled in: give its value"
                )
                continue
            found[name] = value
        return found

    def _read_param(self, value: Json, place: Place) -> Json:
        if not (isinstance(value, str) and value.startswith("file://")):
            return value
        name, _ = split_function(value)
        if Path(name).suffix.lower() in CODE_SUFFIXES:
            raise SuiteError(f"{show_provider(value)}: code of the suite is not run: give the value", place)
        return self.folder.read_value(self.folder.find_one(value, self.path, place), place)


def _has_template(value: Json) -> bool:
    """Return whether a template is in one of the texts of a value."""
    if isinstance(value, str):
        return "{{" in value or "{%" in value
    if isinstance(value, list):
        return any(map(_has_template, value))
    if isinstance(value, dict):
        return any(map(_has_template, value.values()))
    return False


def read_params(
    config: Mapping[str, Json], folder: SourceFolder, path: Path, place: Place
) -> tuple[dict[str, Json], list[Remark]]:
    """Return the parameters for the model in the ``config`` of a prompt, and what of it is not carried."""
    reader = _ProvidersReader(folder, path)
    found = reader.read_params(config, place)
    table = provider_table()
    left_out = [shorten_text(key, 40) for key in config if key not in table["params"]]
    if left_out:
        reader.remark("left out", place, ", ".join(left_out), "not a parameter of every model")
    return found, reader.remarks
