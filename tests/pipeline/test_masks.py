from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from openvocab import decode_mask, encode_mask, mask_box
from openvocab.pipeline.masks import EncodedMasks


def _marked(top: int, left: int, bottom: int, right: int) -> Any:
    mask = np.zeros((7, 11), np.bool_)
    mask[top:bottom, left:right] = True
    return mask


@pytest.mark.parametrize(
    ("mask", "box"),
    [
        pytest.param(_marked(0, 0, 0, 0), None, id="nothing"),
        pytest.param(_marked(3, 4, 4, 5), (4, 3, 5, 4), id="a pixel"),
        pytest.param(_marked(1, 2, 6, 9), (2, 1, 9, 6), id="a block"),
        pytest.param(_marked(0, 0, 7, 11), (0, 0, 11, 7), id="all"),
        pytest.param(_marked(0, 0, 1, 1) | _marked(6, 10, 7, 11), (0, 0, 11, 7), id="two corners"),
    ],
)
def test_a_mask_comes_back_and_its_box_is_half_open(mask: Any, box: tuple[float, ...] | None) -> None:
    code = encode_mask(mask)
    assert code["size"] == [7, 11] and isinstance(code["counts"], bytes)
    through_json = json.loads(json.dumps({**code, "counts": code["counts"].decode()}))
    for each in (code, through_json):
        np.testing.assert_array_equal(decode_mask(each), mask)
        assert decode_mask(each).dtype == np.bool_
    assert mask_box(mask) == box


@pytest.mark.parametrize(
    ("rows", "wanted"),
    [
        pytest.param([2, 0], [2, 0], id="indices"),
        pytest.param([False, True, True], [1, 2], id="whether, a list"),
        pytest.param(np.array([True, False, True]), [0, 2], id="whether, an array"),
        pytest.param(slice(1, None), [1, 2], id="a slice"),
        pytest.param([], [], id="none"),
    ],
)
def test_encoded_masks_are_indexed_like_an_array(rows: Any, wanted: list[int]) -> None:
    masks = np.stack([_marked(0, 0, 1, number + 1) for number in range(3)])
    chosen = EncodedMasks.encode(masks)[rows]
    np.testing.assert_array_equal(np.asarray(chosen), masks[wanted])
