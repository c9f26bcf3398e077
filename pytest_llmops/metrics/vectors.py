"""Compare vectors in ``(n, dim)`` arrays."""

from pytest_llmops._util.arrays import ArrayLike, Float64Array, as_rows, np, unit_rows


def cosine(a: ArrayLike, b: ArrayLike) -> Float64Array:
    """Return the cosine of each row of ``a`` with each row of ``b``: -1 (opposite) to 1 (same direction).

    Args:
        a: ``(n, dim)`` real numbers; rows need no unit length.
        b: ``(m, dim)`` real numbers.

    Returns:
        ``(n, m)`` float64. The cosine of a row of zeros is 0 with every row.

    Raises:
        ValueError: The shapes do not match, or there is NaN, infinity or something that is not a number.

    >>> cosine([[1, 0], [0, 0]], [[2, 2], [-3, 0]]).round(3).tolist()
    [[0.707, -1.0], [0.0, 0.0]]
    """
    left = as_rows(a, name="a")
    right = as_rows(b, name="b")
    if not len(left) or not len(right):
        return np.zeros((len(left), len(right)))
    if left.shape[1] != right.shape[1]:
        raise ValueError(
            f"cosine: expected a of shape (n, dim) and b of shape (m, dim), got {left.shape} and {right.shape}; "
            "vectors of two embedders, or of two calls of one that is fitted to its texts, cannot be compared"
        )
    products = unit_rows(left) @ unit_rows(right).T
    cosines: Float64Array = np.clip(products, -1.0, 1.0)
    return cosines
