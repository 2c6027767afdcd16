"""Pictures of several shapes made of others."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from laminate.data.framed import Framed, FramedInTurn
from laminate.recipes.augment import FramedConfig


def png(height: int, width: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((height, width, 3), 7, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


@given(height=st.integers(1, 40), width=st.integers(1, 40))
def test_the_whole_picture_stands_in_the_middle_and_touches_two_opposite_sides(height, width):
    size = (24, 36)
    image = Framed(size)(png(height, width), np.random.default_rng(0))["image"]
    assert image.shape == (*size, 3)
    rows, columns = (np.flatnonzero((image[..., 0] < 255).any(axis=1 - axis)) for axis in (0, 1))
    spans = [np.ptp(places) + 1 for places in (rows, columns)]
    assert spans[0] == size[0] or spans[1] == size[1]
    for places, side, span in zip((rows, columns), size, spans, strict=True):
        assert places[0] == (side - span) // 2
    assert abs(spans[0] - spans[1] * height / width) <= 1 + height / width


def test_a_batch_has_one_shape_and_its_number_says_which():
    view = FramedConfig(16, (1.0, 1.5, 2 / 3)).transform()
    assert isinstance(view, FramedInTurn) and view.sizes == ((16, 16), (16, 24), (24, 16))
    drawn = [view.of_batch(number, 5) for number in range(20)]
    assert drawn == [view.of_batch(number, 5) for number in range(20)] and len(set(drawn)) == 3
    still = FramedConfig(16).still()
    assert still.transform() == Framed((16, 16), ratio=(0.9, 1.11)) and still.still() == still
    with pytest.raises(ValueError, match="begin with the square"):
        FramedConfig(16, (1.5,))
