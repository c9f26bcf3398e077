"""Attributes of modules and classes that are replaced for a while."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

_ABSENT = object()


class SystemChange(Protocol):
    """A change of this process that can be undone, such as a `Patch`."""

    def apply(self) -> None:
        """Make the change."""

    def restore_attribute(self) -> None:
        """Undo it."""


@dataclass(slots=True, eq=False)
class Patch:
    """A replaceable attribute.

    Args:
        target: The module or class.
        name: The attribute; a target without the attribute is not changed.
        make: Called with the current value; returns the replacement.
    """

    target: Any
    name: str
    make: Callable[[Any], Any]
    _before: Any = _ABSENT
    _ours: Any = _ABSENT

    def apply(self) -> None:
        """Replace the attribute."""
        if hasattr(self.target, self.name):
            self._before = vars(self.target).get(self.name, _ABSENT)
            self._ours = self.make(getattr(self.target, self.name))
            setattr(self.target, self.name, self._ours)

    def restore_attribute(self) -> None:
        """Restore the original value, unless the attribute was replaced again."""
        ours = self._ours
        self._ours = _ABSENT
        if ours is _ABSENT or vars(self.target).get(self.name, _ABSENT) is not ours:
            return
        if self._before is _ABSENT:
            delattr(self.target, self.name)
        else:
            setattr(self.target, self.name, self._before)
