"""NumPy, imported when it is first used; arrays: their types, validation, norms and ranks."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any, TypeAlias

from pytest_llmops._util.lazy_module import LazyModule

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray
else:
    np = LazyModule("numpy")
    ArrayLike = NDArray = Any

__all__ = ["MATRIX_NDIM", "ArrayLike", "Float32Array", "Float64Array", "Int64Array", "NDArray", "np"]

Float32Array: TypeAlias = "NDArray[np.float32]"
Float64Array: TypeAlias = "NDArray[np.float64]"
Int64Array: TypeAlias = "NDArray[np.int64]"


MATRIX_NDIM = 2


def as_rows(vectors: ArrayLike, *, count: int | None = None, name: str = "vectors") -> Float64Array:
    """Return vectors as an ``(n, dim)`` float64 array of finite numbers.

    Args:
        vectors: Anything that numpy converts to an array.
        count: The required number of rows; None: any.
        name: The name of the vectors in errors.

    Raises:
        ValueError: Another shape, something other than real numbers, NaN or infinity.

    >>> as_rows([[1, 2]], count=1).shape
    (1, 2)
    """
    array = _to_float_array(vectors, name)
    expected = "(n, dim)"
    if count is not None:
        expected = f"({count}, dim)"
    if array.ndim != MATRIX_NDIM or (count is not None and len(array) != count):
        raise ValueError(f"{name}: expected an array of shape {expected}, got {array.shape}")
    if len(array) and not array.shape[1]:
        raise ValueError(
            f"{name}: expected an array of shape {expected} with dim of at least 1, got {array.shape}"
        )
    bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
    if len(bad):
        raise ValueError(
            f"{name}: expected finite numbers, got NaN or infinity in {len(bad)} of {len(array)} rows, "
            f"first in row {bad[0]}"
        )
    return array


def unit_rows(rows: NDArray[Any]) -> Float64Array:
    """Return the rows of an array at unit length; rows of zeros stay zero.

    >>> import numpy
    >>> unit_rows(numpy.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [[0.6, 0.8], [0.0, 0.0]]
    """
    # Scaling first keeps the squares of very large and very small numbers in range.
    largest = np.abs(rows).max(axis=1, keepdims=True)
    scaled = np.divide(rows, largest, out=np.zeros_like(rows), where=largest > 0)
    lengths = np.linalg.norm(scaled, axis=1, keepdims=True)
    unit: Float64Array = np.divide(scaled, lengths, out=scaled, where=lengths > 0)
    return unit


def is_ordered(items: object) -> bool:
    """Return whether items have an order: sequences and arrays (which are not a `Sequence`) have, sets have not.

    >>> is_ordered(["a", "b"]), is_ordered({"a", "b"})
    (True, False)
    """
    return isinstance(items, Sequence) or getattr(items, "ndim", 0) == 1


def is_whole_number(value: object) -> bool:
    """Return whether a value is a whole number, also of numpy, and not a boolean.

    >>> is_whole_number(1), is_whole_number(True), is_whole_number(1.0)
    (True, False, False)
    """
    return isinstance(value, Integral) and not isinstance(value, bool)


def _to_float_array(vectors: ArrayLike, name: str) -> Float64Array:
    """Return anything that numpy converts to real numbers as a float64 array of any shape.

    Raises:
        ValueError: numpy cannot convert it, or the numbers are not real (text, complex numbers, booleans).
    """
    kind = type(vectors).__name__
    try:
        array = np.asarray(vectors)
    except ValueError:
        raise ValueError(f"{name}: expected an array of shape (n, dim), got rows of unlike length") from None
    except Exception as error:  # noqa: BLE001 -- an array of another library may raise anything
        raise ValueError(
            f"{name}: expected an array of shape (n, dim), got {kind} that numpy cannot read: {error}"
        ) from None
    if array.dtype == object and not array.ndim:
        hint = ""
        if kind == "coroutine":
            hint = "; await it first"
        raise ValueError(f"{name}: expected an array of shape (n, dim), got {kind}{hint}")
    if array.size and (array.dtype.kind not in "fiu"):
        raise ValueError(
            f"{name}: expected real numbers, got an array of {array.dtype} with shape {array.shape}"
        )
    return array.astype(np.float64)
