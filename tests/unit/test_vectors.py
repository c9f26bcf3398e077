from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.messages import check_message

from pytest_llmops._util.arrays import as_rows
from pytest_llmops.metrics.vectors import cosine


def test_equals_scikit_learn() -> None:
    from sklearn.metrics.pairwise import cosine_similarity

    rng = np.random.default_rng(7)
    a, b = rng.normal(size=(5, 8)), rng.normal(size=(3, 8))
    np.testing.assert_allclose(cosine(a, b), cosine_similarity(a, b), atol=1e-12)


def test_a_zero_row_is_like_nothing_not_even_itself() -> None:
    assert cosine([[0, 0], [1, 0]], [[0, 0], [1, 0]]).tolist() == [[0, 0], [0, 1]]


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1.0, 1e160, 1e300])
def test_size_does_not_matter(scale: float) -> None:
    assert cosine([[3 * scale, 4 * scale]], [[4, 3]])[0, 0] == pytest.approx(24 / 25)


def test_no_rows() -> None:
    assert cosine(np.zeros((0, 3)), np.ones((2, 3))).shape == (0, 2)
    assert cosine(np.ones((2, 3)), np.zeros((0, 0))).shape == (2, 0)


def test_float32_and_integers_become_float64() -> None:
    assert cosine(np.ones((1, 2), dtype=np.float32), np.ones((1, 2), dtype=np.int8)).dtype == np.float64


@pytest.mark.parametrize(
    "vectors",
    [
        [1.0, 2.0],
        3.0,
        np.zeros((1, 2, 3)),
        np.zeros((2, 0)),
        [[1.0], [1.0, 2.0]],
        [["a", "b"]],
        [[1j, 2]],
        [[None, 1.0]],
        [[True, False]],
        [[1.0, 2.0], [np.nan, 0.0]],
        [[np.inf, 0.0]],
    ],
)
def test_what_is_no_array_of_vectors_is_refused(vectors: Any) -> None:
    with pytest.raises(ValueError, check=check_message):
        as_rows(vectors)
    with pytest.raises(ValueError, check=check_message):
        cosine([[1.0, 2.0]], vectors)


def test_the_number_of_rows_is_checked() -> None:
    with pytest.raises(ValueError, check=check_message):
        as_rows(np.ones((2, 4)), count=3, name="embedding")


def test_other_dimensions_are_refused_with_both_shapes() -> None:
    with pytest.raises(ValueError, match=r"\(1, 2\) and \(1, 3\)"):
        cosine([[1, 2]], [[1, 2, 3]])


def test_the_input_stays_as_it_was() -> None:
    rows = np.array([[3.0, 4.0]])
    cosine(rows, rows)
    assert rows.tolist() == [[3.0, 4.0]]


class Detached:
    """As a tensor that belongs to a graph: it refuses to be read as an array."""

    def __array__(self, *_: object, **__: object) -> Any:
        raise RuntimeError("Can't call numpy() on Tensor that requires grad")


async def later() -> list[list[float]]:
    return [[1.0]]


def test_an_object_that_cannot_be_read_is_reported_by_its_type() -> None:
    with pytest.raises(ValueError, check=check_message):
        as_rows(Detached())
    with pytest.raises(ValueError, check=check_message):
        as_rows(object())  # type: ignore[arg-type]
    with pytest.raises(ValueError, check=check_message):
        as_rows(None)  # type: ignore[arg-type]
    waiting: Any = later()
    with pytest.raises(ValueError, check=check_message):
        as_rows(waiting)
    waiting.close()


def test_a_sparse_matrix_is_reported_by_its_type() -> None:
    from scipy.sparse import csr_array

    with pytest.raises(ValueError, check=check_message):
        as_rows(csr_array(np.eye(2)))
