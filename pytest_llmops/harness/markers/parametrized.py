"""What pytest's own marker ``parametrize`` names."""

from collections.abc import Mapping, Sequence
from typing import Any


def list_argument_names(args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[str]:
    """Return the arguments that a mark `parametrize` names."""
    if args:
        names = args[0]
    else:
        names = kwargs.get("argnames", ())
    if isinstance(names, str):
        names = names.split(",")
    return [name.strip() for name in names]
