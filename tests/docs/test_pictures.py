"""The pictures of the documentation are small, and those whose texts are stored."""

from __future__ import annotations

import hashlib

import pytest
from support.pictures import IMAGES, MOST_BYTES, PICTURES, read_shown


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_small_and_the_one_whose_text_is_stored(name: str) -> None:
    picture = (IMAGES / f"{name}.png").read_bytes()
    assert len(picture) <= MOST_BYTES
    assert read_shown(name)[0] == hashlib.sha256(picture).hexdigest()
