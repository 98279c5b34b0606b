"""The SAM adapter gives what SamPredictor gives, box by box, and refuses foreign checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from segment_anything import SamPredictor, build_sam_vit_b

from openvocab.errors import BadInput, BadOutput, BadWeights, UnknownName
from openvocab.pipeline.record import ModelRecord
from openvocab.pipeline.sam_segmenter import SamSegmenter
from openvocab.weights.files import read_state, sha256_of

RECORD = ModelRecord("tiny", None, "cpu", "float32")
SIZES = [
    pytest.param((64, 64), id="square"),
    pytest.param((50, 120), id="wide"),
    pytest.param((120, 50), id="tall"),
    pytest.param((1, 1), id="one pixel"),
    pytest.param((9, 300), id="strip"),
]


@pytest.fixture
def segmenter(tiny_sam: Any) -> SamSegmenter:
    return SamSegmenter(tiny_sam, RECORD)


def _boxes(count: int, height: int, width: int) -> NDArray[np.float32]:
    """Return (count, 4) boxes with edges inside the picture."""
    ends = np.random.default_rng(count).random((count, 2, 2), np.float32) * np.array([width, height], np.float32)
    return np.concatenate([ends.min(1), ends.max(1)], 1)


def _upstream(model: Any, picture: Any, boxes: NDArray[np.float32]) -> tuple[Any, Any]:
    predictor = SamPredictor(model)
    predictor.set_image(picture)
    given = predictor.transform.apply_boxes_torch(torch.as_tensor(boxes), picture.shape[:2])
    masks, quality, _ = predictor.predict_torch(None, None, boxes=given, multimask_output=False)
    return masks[:, 0].numpy(), quality[:, 0].clamp(0, 1).numpy()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("count", [1, 5, 40])
def test_masks_are_those_of_sam_predictor(
    size: tuple[int, int], count: int, segmenter: SamSegmenter, tiny_sam: Any, picture: Callable[..., Any]
) -> None:
    image, boxes = picture(*size), _boxes(count, *size)
    masks, scores = segmenter.masks(segmenter.encode(image), boxes)
    expected, quality = _upstream(tiny_sam, image, boxes)
    assert masks.shape == (count, *size)
    assert scores.shape == (count,)
    assert (masks.dtype.name, scores.dtype.name) == ("bool", "float32")
    np.testing.assert_allclose(scores, quality, atol=1e-5)
    assert (masks != expected).mean() < 1e-4


def test_masks_of_an_official_checkpoint(sam_vit_b: Path, picture: Callable[..., Any]) -> None:
    segmenter = SamSegmenter.load(f"vit_b@{sam_vit_b}", "cpu", "float32")
    assert segmenter.record == ModelRecord(f"sam:vit_b@{sam_vit_b}", sha256_of(sam_vit_b), "cpu", "float32")
    upstream = build_sam_vit_b()
    upstream.load_state_dict(read_state(sam_vit_b))
    assert all(torch.equal(value, upstream.state_dict()[name]) for name, value in segmenter.model.state_dict().items())
    for model in (segmenter.model, upstream):  # two of the twelve blocks, one of them global: to save time
        model.image_encoder.blocks = model.image_encoder.blocks[1:3]
    image, boxes = picture(60, 80), _boxes(3, 60, 80)
    masks, scores = segmenter.masks(segmenter.encode(image), boxes)
    expected, quality = _upstream(upstream, image, boxes)
    np.testing.assert_allclose(scores, quality, atol=1e-5)
    assert (masks != expected).mean() < 1e-4


@pytest.mark.parametrize("calls", [1, 3], ids="{} boxes a call".format)
@pytest.mark.parametrize("pixels", [1, 9000], ids="{} pixels a step".format)
def test_size_of_chunks_changes_nothing(
    calls: int, pixels: int, segmenter: SamSegmenter, picture: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded, boxes = segmenter.encode(picture(50, 70)), _boxes(7, 50, 70)
    masks, scores = segmenter.masks(encoded, boxes)
    monkeypatch.setattr(f"{SamSegmenter.__module__}._BOXES_A_CALL", calls)
    monkeypatch.setattr(f"{SamSegmenter.__module__}._PIXELS_A_STEP", pixels)
    parts, part_scores = segmenter.masks(encoded, boxes)
    np.testing.assert_allclose(part_scores, scores, atol=1e-5)
    assert (parts != masks).mean() < 1e-4


def test_no_box_asks_the_decoder_nothing(
    segmenter: SamSegmenter, picture: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = segmenter.encode(picture(50, 70))
    monkeypatch.setattr(segmenter.model.mask_decoder, "forward", None)
    masks, scores = segmenter.masks(encoded, np.zeros((0, 4), np.float32))
    assert (masks.shape, masks.dtype.name, scores.shape) == ((0, 50, 70), "bool", (0,))


def test_bfloat16_is_close(segmenter: SamSegmenter, picture: Callable[..., Any]) -> None:
    low = replace(segmenter, record=replace(RECORD, dtype="bfloat16"))
    exact, near = (each.encode(picture(50, 70)).features for each in (segmenter, low))
    assert near.dtype == torch.float32
    assert float((exact - near).abs().mean()) < 0.05


def test_encoding_that_is_not_finite_is_refused(
    segmenter: SamSegmenter, picture: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = segmenter.encode(picture(50, 70))
    with pytest.raises(BadOutput, match="mask of a box"):
        segmenter.masks(replace(encoded, features=encoded.features * float("nan")), _boxes(1, 50, 70))
    monkeypatch.setattr(segmenter.model, "pixel_mean", segmenter.model.pixel_mean * float("nan"))
    with pytest.raises(BadOutput, match="encoding of the picture"):
        segmenter.encode(picture(50, 70))


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        pytest.param("vit_b", BadInput, "write vit_b@PATH", id="no path"),
        pytest.param("vit_x@w.pth", UnknownName, "did you mean 'vit_", id="unknown kind"),
        pytest.param("vit_b@absent.pth", BadWeights, "no such file", id="absent"),
    ],
)
def test_bad_spec_is_refused(spec: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        SamSegmenter.load(spec, "cpu")


@pytest.mark.parametrize(
    ("state", "message"),
    [
        pytest.param({"image_encoder.pos_embed": torch.zeros(1, 64, 64, 1024)}, "vit_l weights, not vit_b", id="vit_l"),
        pytest.param({"image_encoder.pos_embed": torch.zeros(1, 64, 64, 768)}, "not a complete vit_b", id="a part"),
        pytest.param({"visual.proj": torch.zeros(3, 3)}, "not the weights of a SAM", id="another model"),
    ],
)
def test_foreign_weights_are_refused(tmp_path: Path, state: dict[str, torch.Tensor], message: str) -> None:
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(BadWeights, match=message) as caught:
        SamSegmenter.load(f"vit_b@{tmp_path / 'w.pth'}", "cpu")
    assert "\n" not in str(caught.value)
