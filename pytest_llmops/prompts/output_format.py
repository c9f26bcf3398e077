"""Ask a model for an answer in a JSON schema, as the APIs of OpenAI take it."""

import re
from collections.abc import Mapping

from pytest_llmops.errors import UsageError
from pytest_llmops.measurement import Json
from pytest_llmops.settings import Api

MAX_NAME_CHARS = 64  # OpenAI's limit of a schema's name


def build_response_format(schema: Mapping[str, Json], name: str, api: Api) -> dict[str, Json]:
    """Return the argument that asks for an answer in a schema.

    Args:
        schema: A JSON schema; its title is the name that the model sees.
        name: The name of a schema without a title.
        api: ``chat`` or ``responses``.

    Raises:
        UsageError: Another API.

    >>> build_response_format({"title": "Order 2", "type": "object"}, "", "chat")["response_format"]["json_schema"]
    {'name': 'Order_2', 'schema': {'title': 'Order 2', 'type': 'object'}, 'strict': False}
    """
    title = schema.get("title")
    title = re.sub("[^A-Za-z0-9_-]", "_", title if isinstance(title, str) and title else name)
    is_strict = schema.get("type") == "object" and _is_closed(dict(schema))
    inner: dict[str, Json] = {"name": title[:MAX_NAME_CHARS], "schema": dict(schema), "strict": is_strict}
    if api == "chat":
        return {"response_format": {"type": "json_schema", "json_schema": inner}}
    if api != "responses":
        raise UsageError(f"response_format: expected api to be chat or responses, got {api!r}")
    return {"text": {"format": {"type": "json_schema", **inner}}}


def _is_closed(node: Json) -> bool:
    # Return whether all objects in a schema require all of their keys, and forbid others.
    if not isinstance(node, dict):
        return all(map(_is_closed, node)) if isinstance(node, list) else True
    keys, required = node.get("properties", {}), node.get("required", [])
    is_open = node.get("additionalProperties") is not False or list(keys) != [
        key for key in keys if key in required
    ]
    return not ((keys or node.get("type") == "object") and is_open) and all(map(_is_closed, node.values()))
