"""NumPy under its usual name, imported when it is first used, and the types of its arrays."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray
else:

    class _LazyModule:
        def __init__(self, name: str) -> None:
            self._name = name

        def __getattr__(self, attribute: str) -> Any:
            value = getattr(import_module(self._name), attribute)
            # Kept, so that the next use of it is an ordinary attribute.
            setattr(self, attribute, value)
            return value

    np = _LazyModule("numpy")
    ArrayLike = NDArray = Any

__all__ = ["ArrayLike", "Float32Array", "Float64Array", "Int64Array", "NDArray", "np"]

Float32Array: TypeAlias = "NDArray[np.float32]"
Float64Array: TypeAlias = "NDArray[np.float64]"
Int64Array: TypeAlias = "NDArray[np.int64]"
