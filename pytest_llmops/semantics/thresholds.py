"""Thresholds of similarity that were measured on labelled pairs, each for a version of an embedder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from pytest_llmops._util.text_files import BadFile, as_mapping, read_json, read_text
from pytest_llmops.errors import UsageError
from pytest_llmops.measurement import Json, shorten_text
from pytest_llmops.protocols import Embedder
from pytest_llmops.settings import Settings

__tracebackhide__ = True

SCHEMA = "pytest-llmops/threshold/"
SCHEMA_MAJOR = 1
COMMAND = "llmops semantic calibrate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """The least similarity of two texts that say the same, for a version of an embedder.

    Attributes:
        value: The threshold, 0 to 1.
        embedder: Name of the embedder it was measured with.
        version: The embedder's version. A cosine of 0.7 is much for some embedders and little for others:
            with any other version the threshold is refused.
        rule: How the cut was chosen.
        facts: Results of the calibration: counts, area under the curve, figures at the cut.
        path: The file it was read from; ignored in comparisons.
    """

    value: float
    embedder: str
    version: str
    rule: str = ""
    facts: Mapping[str, Json] = field(default_factory=dict)
    path: str = field(default="", compare=False)

    @classmethod
    def load(cls, path: str | Path) -> Threshold:
        """Read the file that ``llmops semantic calibrate --out`` wrote.

        Raises:
            UsageError: There is no such file, it is damaged, or a newer version wrote it.
        """
        place = Path(path)
        try:
            return Threshold.from_wire(as_mapping(read_json(read_text(place))), str(place))
        except BadFile as error:
            line = f" (line {error.line})" if error.line is not None else ""
            raise UsageError(
                f"threshold {shorten_text(str(place), 300)}: {error.what}{line}; expected a file of {COMMAND} pairs.jsonl --out FILE"
            ) from None

    def check(self, embedder: Embedder) -> float:
        """Return the threshold if it was measured with this embedder.

        Raises:
            UsageError: It was measured with another embedder, or with another version.

        >>> from pytest_llmops.providers.offline import HashingEmbedder
        >>> Threshold(value=0.61, embedder="hashing", version="hashing/1/4096").check(HashingEmbedder())
        0.61
        """
        version, name = str(embedder.version), embedder_name(embedder)
        if version == self.version:
            return self.value
        # The command knows built-in embedders by name, and others by module and class.
        kind = type(getattr(embedder, "inner", embedder))
        argument = (
            name if kind.__module__.startswith("pytest_llmops.") else f"{kind.__module__}:{kind.__qualname__}"
        )
        where = f" ({self.path})" if self.path else ""
        texts = (self.embedder, self.version, name, version, argument)
        expected, expected_version, got, got_version, argument = (shorten_text(text, 100) for text in texts)
        raise UsageError(
            f"threshold {self.value:g}{where}: expected the embedder it was measured with, {expected} of version "
            f"{expected_version}, got {got} of version {got_version}; use that embedder, or measure again: "
            f"{COMMAND} pairs.jsonl --embedder {argument}"
        )

    @classmethod
    def from_wire(cls, wire: Mapping[str, Json], path: str) -> Threshold:
        """Return the threshold of a file's content.

        Raises:
            BadFile: The content is no threshold, or a newer version wrote it.
        """
        schema, value, facts = wire.get("schema"), wire.get("at_least"), wire.get("facts", {})
        if not isinstance(schema, str) or not schema.startswith(SCHEMA):
            raise BadFile(f"expected the schema {SCHEMA}{SCHEMA_MAJOR}, got {shorten_text(repr(schema), 80)}")
        if schema != f"{SCHEMA}{SCHEMA_MAJOR}":
            raise BadFile(
                f"expected the schema {SCHEMA}{SCHEMA_MAJOR}, got {shorten_text(schema, 80)}: update pytest-llmops"
            )
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
            raise BadFile(f"expected at_least from 0 to 1, got {shorten_text(repr(value), 80)}")
        if not isinstance(facts, Mapping):
            raise BadFile(f"expected facts as an object, got {shorten_text(repr(facts), 80)}")
        names: dict[str, str] = {}
        for key in ("embedder", "version"):
            text = wire.get(key)
            if not isinstance(text, str) or not text:
                raise BadFile(f"expected {key} as a text, got {shorten_text(repr(text), 80)}")
            names[key] = text
        return cls(value=float(value), **names, rule=str(wire.get("rule", "")), facts=facts, path=path)

    def text(self) -> str:
        """Return the file's text: readable JSON, the same bytes for the same threshold."""
        wire: dict[str, Json] = {
            "schema": f"{SCHEMA}{SCHEMA_MAJOR}",
            "at_least": self.value,
            "embedder": self.embedder,
            "version": self.version,
            "rule": self.rule,
            "facts": dict(self.facts),
        }
        return json.dumps(wire, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def default_threshold(embedder: Embedder, settings: Settings, *, requested_name: str = "") -> float | None:
    """Return the threshold of an embedder where an assertion names none.

    That is the threshold of ini ``llm_semantic_threshold`` if it was measured with an embedder of this name (its own,
    or ``requested_name``, which a hook or the settings know it by) or version; else the embedder's own
    ``default_threshold``, or None.

    Raises:
        UsageError: The file is missing or damaged, or it holds for another version of this embedder.

    >>> from pytest_llmops.providers.offline import TfidfEmbedder
    >>> default_threshold(TfidfEmbedder(), Settings())
    0.45
    """
    if settings.semantic_threshold:
        measured = Threshold.load(settings.semantic_threshold)
        is_named = measured.embedder in {embedder_name(embedder), requested_name}
        if is_named or measured.version == str(embedder.version):
            return measured.check(embedder)
    return cast("float | None", getattr(embedder, "default_threshold", None))


def embedder_name(embedder: object) -> str:
    """Return the name of an embedder, or of its type.

    >>> embedder_name(object())
    'object'
    """
    return str(getattr(embedder, "name", "") or type(embedder).__name__)
