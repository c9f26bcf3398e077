"""Brings the requests of coding agents into the form that is matched and stored."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pytest_llmops.cassettes.clients.identities import (
    NO_IDENTITIES,
    TEMPORARY,
    Identities,
    are_in_body,
    collect_identities,
    folder_identities,
    hide_in_answer,
    hide_in_json,
)
from pytest_llmops.cassettes.clients.preset import PROGRAMS, ClientPreset
from pytest_llmops.measurement import shorten_text


@dataclass(frozen=True, slots=True)
class ClientRequest:
    """A request in the form that is matched and stored.

    Attributes:
        body: The body.
        identities: The texts that were replaced, and have to be replaced in the answer too.
        note: A note for the user if no recording answers: an untested version, or a body that the preset does
            not know. Empty: nothing.
        is_unknown: Whether the client sent it, but in a form that its preset does not know.
    """

    body: bytes
    identities: Identities = NO_IDENTITIES
    note: str = ""
    is_unknown: bool = False


def prepare_request(
    presets: Sequence[ClientPreset], headers: Mapping[str, str], body: bytes
) -> ClientRequest:
    """Return a request in the form that is matched; one that no preset knows is returned as it is.

    Args:
        presets: The presets of `llm_clients`.
        headers: The headers, with lower-case names.
        body: The body.
    """
    if not presets or not body.lstrip(b" \t\r\n").startswith(b"{"):
        return ClientRequest(body, note=_describe_unset_client(presets, headers))
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        return ClientRequest(body)
    try:
        return _prepare_parsed(presets, headers, body, parsed)
    except RecursionError:  # JSON may be nested more deeply than our functions can follow
        note = _describe_unknown(presets, headers)
        return ClientRequest(body, note=note, is_unknown=bool(note))


def _prepare_parsed(
    presets: Sequence[ClientPreset], headers: Mapping[str, str], body: bytes, parsed: Any
) -> ClientRequest:
    """Return a request with this parsed body in the form that is matched.

    Raises:
        RecursionError: The body is nested too deeply.
    """
    preset = find_preset(presets, parsed)
    if preset is not None:
        identities = collect_identities(preset.find_identities(parsed))
        shown = hide_in_json(preset.normalize(parsed), identities)
        return ClientRequest(_encode(shown), identities, _describe_version(preset, headers))
    note = _describe_unknown(presets, headers)
    if not note:
        return ClientRequest(body)
    identities = collect_identities({})
    shown = hide_in_json(parsed, identities)
    if shown != parsed:
        body = _encode(shown)
    return ClientRequest(body, identities, note, is_unknown=True)


def find_folders(body: bytes, folders: Mapping[str, str]) -> Identities:
    """Return the folders of a test as identities if a body may hold one of them; none otherwise.

    The folder for temporary files of all programs is left out: it is in ordinary texts, too.

    Args:
        body: The body.
        folders: The placeholder of each folder of the test.
    """
    own = tuple((folder, name) for folder, name in folders.items() if name != TEMPORARY)
    identities = folder_identities(own)
    if are_in_body(body, identities):
        return identities
    return NO_IDENTITIES


def hide_folders(request: ClientRequest, folders: Identities) -> ClientRequest:
    """Return a request with placeholders for the folders of its test; one that holds none of them is returned as it is.

    So is a request whose client is known by a preset, which has hidden its folder.
    """
    if not folders or request.identities:
        return request
    try:
        parsed = json.loads(request.body)
        shown = hide_in_json(parsed, folders)
    except ValueError:  # not JSON
        body = hide_in_answer(request.body, folders)
        is_same = body == request.body
    except RecursionError:  # as in `prepare_request`
        return request
    else:
        body = _encode(shown)
        is_same = shown == parsed
    if is_same:
        return request
    return replace(request, body=body, identities=folders)


def _encode(value: Any) -> bytes:
    """Return JSON in the form in which it is matched and stored."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def find_preset(presets: Sequence[ClientPreset], parsed: object) -> ClientPreset | None:
    """Return the preset of the client that made a body; None if none of them did."""
    if not isinstance(parsed, dict):
        return None
    for preset in presets:
        if preset.is_own(parsed):
            return preset
    return None


def normalize_stored(presets: Sequence[ClientPreset], parsed: Any) -> Any:
    """Return a stored body in the form that is matched now: it may be from an older preset, or from none."""
    try:
        preset = find_preset(presets, parsed)
        if preset is None:
            return parsed
        identities = collect_identities(preset.find_identities(parsed))
        return hide_in_json(preset.normalize(json.loads(json.dumps(parsed))), identities)
    except RecursionError:  # as in `prepare_request`
        return parsed


def _describe_unset_client(presets: Sequence[ClientPreset], headers: Mapping[str, str]) -> str:
    """Return a note on the preset of the client that sent a request, if ``llm_clients`` does not name it; "" otherwise."""
    program = headers.get("user-agent", "").partition("/")[0]
    name = PROGRAMS.get(program.lower())
    if name is None or any(preset.name == name for preset in presets):
        return ""
    return (
        f"{shorten_text(program, 40)} sent it, with the day, the folder and ids in it: set llm_clients = {name} in the ini, and"
        " record again (llmops docs from-claude-code-or-codex)"
    )


def _describe_version(preset: ClientPreset, headers: Mapping[str, str]) -> str:
    """Return a note on a version with which the preset was not tried; "" for the others, and for an unknown one."""
    sender = preset.read_sender(headers)
    if not sender or sender.partition(" ")[2] in preset.tested:
        return ""
    return f"{shorten_text(sender, 80)} sent it; llm_clients = {preset.name} was tried with {', '.join(preset.tested)}"


def _describe_unknown(presets: Sequence[ClientPreset], headers: Mapping[str, str]) -> str:
    """Return a note on a request in an unknown form; "" if its user agent does not belong to a client."""
    for preset in presets:
        sender = preset.read_sender(headers)
        if sender:
            return (
                f"llm_clients = {preset.name}: {shorten_text(sender, 80)} sent a request that is not in the form of"
                f" {', '.join(preset.tested)}, so it is matched and stored as it is, with its folder and ids: use one"
                " of those versions, or write a normalizer (pytest_llmops_request_normalizers)"
            )
    return ""
