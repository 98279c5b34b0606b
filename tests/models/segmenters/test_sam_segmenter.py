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
from openvocab.models.segmenters.sam_segmenter import SamSegmenter
from openvocab.pipeline.result import ModelRecord
from openvocab.weights.files import read_state, sha256_of
from tests.tiny.sam import build, write

RECORD = ModelRecord("tiny", None, "cpu", "float32")
SIZES = [
    pytest.param((64, 64), id="square"),
    pytest.param((50, 120), id="wide"),
    pytest.param((120, 50), id="tall"),
    pytest.param((1, 1), id="one pixel"),
    pytest.param((9, 300), id="strip"),
]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(tmp_path_factory.mktemp("sam") / "tiny")


@pytest.fixture(scope="module")
def upstream() -> Any:
    return build()


@pytest.fixture
def segmenter(checkpoint: str) -> SamSegmenter:
    return SamSegmenter.load(checkpoint, "cpu", "float32")


def _boxes(count: int, height: int, width: int) -> NDArray[np.float32]:
    """Return (count, 4) boxes with edges inside the image."""
    ends = np.random.default_rng(count).random((count, 2, 2), np.float32) * np.array([width, height], np.float32)
    return np.concatenate([ends.min(1), ends.max(1)], 1)


def _upstream(model: Any, image: Any, boxes: NDArray[np.float32], multimask: bool = False) -> tuple[Any, Any]:
    """SamPredictor's mask of each box; of several, the one with the best estimate, chosen at the image's size."""
    predictor = SamPredictor(model)
    predictor.set_image(image)
    given = predictor.transform.apply_boxes_torch(torch.as_tensor(boxes), image.shape[:2])
    masks, quality, _ = predictor.predict_torch(None, None, boxes=given, multimask_output=multimask)
    each, best = torch.arange(len(boxes)), quality.argmax(1)
    return masks[each, best].numpy(), quality[each, best].clamp(0, 1).numpy()


@pytest.mark.parametrize("multimask", [False, True], ids=["single", "best of three"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("count", [1, 5, 40])
def test_masks_are_those_of_sam_predictor(
    size: tuple[int, int],
    count: int,
    multimask: bool,
    segmenter: SamSegmenter,
    upstream: Any,
    make_image: Callable[..., Any],
) -> None:
    image, boxes = make_image(*size), _boxes(count, *size)
    chosen = replace(segmenter, multimask=multimask)
    masks, scores = chosen.masks(chosen.encode(image), boxes)
    expected, quality = _upstream(upstream, image, boxes, multimask)
    assert masks.shape == (count, *size)
    assert scores.shape == (count,)
    assert (masks.dtype.name, scores.dtype.name) == ("bool", "float32")
    np.testing.assert_allclose(scores, quality, atol=1e-5)
    np.testing.assert_array_equal(masks, expected)


POINTS = np.array([[10, 12], [30, 5], [60, 40]], np.float32)


@pytest.mark.parametrize(
    ("points", "labels", "box"),
    [
        pytest.param(POINTS[:1], [1], None, id="a point"),
        pytest.param(POINTS, [1, 0, 1], None, id="points for and against"),
        pytest.param(None, None, [5, 6, 50, 40], id="a box"),
        pytest.param(POINTS[:2], [1, 0], [5, 6, 50, 40], id="points and a box"),
    ],
)
def test_a_prompt_gives_the_three_candidates_of_sam_predictor(
    points: Any, labels: Any, box: Any, segmenter: SamSegmenter, upstream: Any, make_image: Callable[..., Any]
) -> None:
    image = make_image(50, 70)
    labels, box = (None if given is None else np.array(given) for given in (labels, box))
    masks, scores = segmenter.prompt(segmenter.encode(image), points, labels, box)
    predictor = SamPredictor(upstream)
    predictor.set_image(image)
    expected, quality, _ = predictor.predict(points, labels, box, multimask_output=True)
    assert (masks.shape, masks.dtype.name, scores.dtype.name) == ((3, 50, 70), "bool", "float32")
    np.testing.assert_allclose(scores, quality.clip(0, 1), atol=1e-5)
    np.testing.assert_array_equal(masks, expected)


@pytest.mark.parametrize(
    ("points", "labels", "message"),
    [
        pytest.param(None, None, "needs a point or a box", id="nothing"),
        pytest.param(POINTS, np.array([1]), "3 points need as many labels", id="labels missing"),
        pytest.param(None, np.array([1]), "0 points need as many labels", id="points missing"),
    ],
)
def test_a_prompt_that_says_nothing_is_refused(
    points: Any, labels: Any, message: str, segmenter: SamSegmenter, make_image: Callable[..., Any]
) -> None:
    with pytest.raises(BadInput, match=message):
        segmenter.prompt(segmenter.encode(make_image(9, 9)), points, labels)


@pytest.mark.parametrize("size", [(1, 3000), (3000, 1), (2, 3000)], ids=["flat", "upright", "two rows"])
def test_a_strip_too_thin_for_the_encoder_has_masks_too(
    size: tuple[int, int], segmenter: SamSegmenter, make_image: Callable[..., Any]
) -> None:
    masks, scores = segmenter.masks(segmenter.encode(make_image(*size)), _boxes(2, *size))
    assert masks.shape == (2, *size)
    assert np.isfinite(scores).all()


def test_a_sam_built_elsewhere_gives_the_same(
    segmenter: SamSegmenter, upstream: Any, make_image: Callable[..., Any]
) -> None:
    plain, image, boxes = SamSegmenter(upstream, RECORD), make_image(50, 70), _boxes(3, 50, 70)
    (masks, scores), (expected, quality) = (each.masks(each.encode(image), boxes) for each in (segmenter, plain))
    np.testing.assert_allclose(scores, quality, atol=1e-5)
    np.testing.assert_array_equal(masks, expected)


def test_masks_of_an_official_checkpoint(sam_vit_b: Path, make_image: Callable[..., Any]) -> None:
    segmenter = SamSegmenter.load(f"vit_b@{sam_vit_b}", "cpu", "float32")
    assert segmenter.record == ModelRecord(f"sam:vit_b@{sam_vit_b}", sha256_of(sam_vit_b), "cpu", "float32")
    upstream = build_sam_vit_b()
    upstream.load_state_dict(read_state(sam_vit_b))
    assert all(torch.equal(value, upstream.state_dict()[name]) for name, value in segmenter.model.state_dict().items())
    for model in (segmenter.model, upstream):  # two of the twelve blocks, one of them global: to save time
        model.image_encoder.blocks = model.image_encoder.blocks[1:3]
    image, boxes = make_image(60, 80), _boxes(3, 60, 80)
    masks, scores = segmenter.masks(segmenter.encode(image), boxes)
    expected, quality = _upstream(upstream, image, boxes)
    np.testing.assert_allclose(scores, quality, atol=1e-5)
    assert (masks != expected).mean() < 1e-4


@pytest.mark.parametrize("calls", [1, 3], ids="{} boxes a call".format)
def test_size_of_chunks_changes_nothing(
    calls: int, segmenter: SamSegmenter, make_image: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded, boxes = segmenter.encode(make_image(50, 70)), _boxes(7, 50, 70)
    masks, scores = segmenter.masks(encoded, boxes)
    monkeypatch.setattr(f"{SamSegmenter.__module__}._BOXES_A_CALL", calls)
    parts, part_scores = segmenter.masks(encoded, boxes)
    np.testing.assert_allclose(part_scores, scores, atol=1e-5)
    assert (parts != masks).mean() < 1e-4


def test_no_box_asks_the_decoder_nothing(
    segmenter: SamSegmenter, make_image: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = segmenter.encode(make_image(50, 70))
    monkeypatch.setattr(segmenter.model.mask_decoder, "forward", None)
    masks, scores = segmenter.masks(encoded, np.zeros((0, 4), np.float32))
    assert (masks.shape, masks.dtype.name, scores.shape) == ((0, 50, 70), "bool", (0,))


def test_bfloat16_is_close(checkpoint: str, segmenter: SamSegmenter, make_image: Callable[..., Any]) -> None:
    low = SamSegmenter.load(checkpoint, "cpu", "bfloat16")
    assert low.model.image_encoder.blocks[0].attn.qkv.weight.dtype == torch.bfloat16
    exact, near = (each.encode(make_image(50, 70)) for each in (segmenter, low))
    assert near.features.dtype == torch.float32
    assert float((exact.features - near.features).abs().mean()) < 0.01
    boxes = _boxes(5, 50, 70)
    (masks, scores), (near_masks, near_scores) = segmenter.masks(exact, boxes), low.masks(near, boxes)
    np.testing.assert_allclose(near_scores, scores, atol=0.02)
    assert (masks != near_masks).mean() < 0.02


def test_encoding_that_is_not_finite_is_refused(
    segmenter: SamSegmenter, make_image: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = segmenter.encode(make_image(50, 70))
    with pytest.raises(BadOutput, match="mask of a prompt"):
        segmenter.masks(replace(encoded, features=encoded.features * float("nan")), _boxes(1, 50, 70))
    monkeypatch.setattr(segmenter.model, "pixel_mean", segmenter.model.pixel_mean * float("nan"))
    with pytest.raises(BadOutput, match="encoding of the image"):
        segmenter.encode(make_image(50, 70))


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        pytest.param("vit_b@", BadInput, "write vit_b@PATH", id="no path"),
        pytest.param("vit", BadInput, "write vit@PATH", id="no official one"),
        pytest.param("vit_b", BadWeights, "sam_vit_b_01ec64.pth", id="official, not in the cache"),
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
        pytest.param({"image_encoder.pos_embed": torch.zeros(1, 4, 4, 32)}, "are vit weights, not vit_b", id="tiny"),
        pytest.param({"visual.proj": torch.zeros(3, 3)}, "not the weights of a SAM", id="another model"),
    ],
)
def test_foreign_weights_are_refused(tmp_path: Path, state: dict[str, torch.Tensor], message: str) -> None:
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(BadWeights, match=message) as caught:
        SamSegmenter.load(f"vit_b@{tmp_path / 'w.pth'}", "cpu")
    assert "\n" not in str(caught.value)
