"""SAM, SAM-HQ and SAM 2 of transformers give what the library's processor, model and post-processing give."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file

from openvocab.errors import BadOutput, BadWeights
from openvocab.models.segmenters.sam_attention import MaskFreeAttention
from openvocab.models.segmenters.transformers_segmenter import (
    EdgeTamSegmenter,
    Sam2Segmenter,
    SamHfSegmenter,
    SamHqSegmenter,
    TransformersSegmenter,
)
from openvocab.weights.files import sha256_of
from tests.models.segmenters.test_sam_hq_decoder import mended
from tests.tiny import edgetam, sam2, sam_hf, sam_hq

FAMILIES: dict[str, tuple[type[TransformersSegmenter], Any, str]] = {
    "sam_hf": (SamHfSegmenter, sam_hf, "SamModel"),
    "sam_hq": (SamHqSegmenter, sam_hq, "SamHQModel"),
    "sam2": (Sam2Segmenter, sam2, "Sam2Model"),
    "edgetam": (EdgeTamSegmenter, edgetam, "EdgeTamModel"),
}
SIZES = [
    pytest.param((64, 64), id="square"),
    pytest.param((50, 120), id="wide"),
    pytest.param((120, 50), id="tall"),
    pytest.param((1, 1), id="one pixel"),
    pytest.param((9, 300), id="strip"),
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("segmenters")
    return {name: Path(tiny.write(root / name)) for name, (_, tiny, _) in FAMILIES.items()}


@pytest.fixture(params=sorted(FAMILIES))
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def libraries(folders: dict[str, Path]) -> dict[str, tuple[Any, Any]]:
    """The library's processor and model of each family; SAM-HQ's decoder draws on the map that its authors draw on."""
    found = {
        name: (
            transformers.AutoProcessor.from_pretrained(folders[name]),
            getattr(transformers, model).from_pretrained(folders[name]).eval(),
        )
        for name, (_, _, model) in FAMILIES.items()
    }
    mended(found["sam_hq"][1].mask_decoder)
    return found


@pytest.fixture
def segmenter(family: str, folders: dict[str, Path]) -> TransformersSegmenter:
    return FAMILIES[family][0].load(str(folders[family]), "cpu", "float32")


def _boxes(count: int, height: int, width: int) -> NDArray[np.float32]:
    """Return (count, 4) boxes with edges inside the image."""
    ends = np.random.default_rng(count).random((count, 2, 2), np.float32) * np.array([width, height], np.float32)
    return np.concatenate([ends.min(1), ends.max(1)], 1)


def _upstream(library: tuple[Any, Any], image: Any, boxes: NDArray[np.float32]) -> tuple[Any, Any]:
    """Masks and estimates by the way of the library's documentation."""
    processor, model = library
    inputs = processor(images=Image.fromarray(image), input_boxes=[boxes.tolist()], return_tensors="pt")
    sizes = [inputs.pop("original_sizes")]
    if "reshaped_input_sizes" in inputs:
        sizes.append(inputs.pop("reshaped_input_sizes"))
    inputs["input_boxes"] = inputs["input_boxes"].float()
    with torch.no_grad():
        answer = model(**inputs, multimask_output=False)
    masks = processor.post_process_masks(answer.pred_masks, *sizes)[0]
    return masks[:, 0].numpy(), answer.iou_scores[0, :, 0].clamp(0, 1).numpy()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("count", [1, 9])
def test_masks_are_those_of_the_library(
    size: tuple[int, int],
    count: int,
    family: str,
    segmenter: TransformersSegmenter,
    libraries: dict[str, tuple[Any, Any]],
    make_image: Callable[..., Any],
) -> None:
    image, boxes = make_image(*size), _boxes(count, *size)
    masks, scores = segmenter.masks(segmenter.encode(image), boxes)
    expected, quality = _upstream(libraries[family], image, boxes)
    assert (masks.shape, scores.shape) == ((count, *size), (count,))
    assert (masks.dtype.name, scores.dtype.name) == ("bool", "float32")
    np.testing.assert_allclose(scores, quality, atol=1e-4)
    assert (masks != expected).mean() < 1e-4


def test_masks_of_the_tiny_models_are_neither_empty_nor_full(
    segmenter: TransformersSegmenter, make_image: Callable[..., Any]
) -> None:
    masks, _ = segmenter.masks(segmenter.encode(make_image(50, 70)), _boxes(9, 50, 70))
    assert 0.02 < masks.mean() < 0.98
    assert (masks[1:] != masks[:-1]).any()


def test_boxes_do_not_change_each_other(segmenter: TransformersSegmenter, make_image: Callable[..., Any]) -> None:
    encoded, boxes = segmenter.encode(make_image(50, 70)), _boxes(9, 50, 70)
    masks, scores = segmenter.masks(encoded, boxes)
    for row in range(len(boxes)):
        mask, score = segmenter.masks(encoded, boxes[row : row + 1])
        np.testing.assert_allclose(score[0], scores[row], atol=1e-5)
        assert (mask[0] != masks[row]).mean() < 1e-3


def test_images_are_encoded_together(segmenter: TransformersSegmenter, make_image: Callable[..., Any]) -> None:
    pairs, calls = dataclasses.replace(segmenter, batch=2), list[int]()
    segmenter.model.vision_encoder.register_forward_hook(
        lambda _, given, named, made: calls.append(len(given[0] if given else named["pixel_values"])), with_kwargs=True
    )
    images = [make_image(40 + 7 * number, 90 - 7 * number) for number in range(3)]
    together = pairs.encode_batch(images)
    assert calls == [2, 1]
    for image, encoded in zip(images, together, strict=True):
        alone = segmenter.encode(image)
        assert (encoded.original_size, encoded.input_size) == (alone.original_size, alone.input_size)
        for one, other in zip(encoded.maps, alone.maps, strict=True):
            torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_no_box_asks_the_decoder_nothing(
    segmenter: TransformersSegmenter, make_image: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = segmenter.encode(make_image(50, 70))
    monkeypatch.setattr(segmenter.model.mask_decoder, "forward", None)
    masks, scores = segmenter.masks(encoded, np.zeros((0, 4), np.float32))
    assert (masks.shape, masks.dtype.name, scores.shape) == ((0, 50, 70), "bool", (0,))


@pytest.mark.parametrize("size", [(1, 3000), (3000, 1)], ids=["flat", "upright"])
def test_a_strip_too_thin_for_the_encoder_has_masks_too(
    size: tuple[int, int], segmenter: TransformersSegmenter, make_image: Callable[..., Any]
) -> None:
    masks, _ = segmenter.masks(segmenter.encode(make_image(*size)), _boxes(2, *size))
    assert masks.shape == (2, *size)


POINTS = [[10, 12], [30, 5], [60, 40]]


@pytest.mark.parametrize(
    ("points", "labels", "box"),
    [
        pytest.param(POINTS[:1], [1], None, id="a point"),
        pytest.param(POINTS, [1, 0, 1], None, id="points for and against"),
        pytest.param(None, None, [5, 6, 50, 40], id="a box"),
        pytest.param(POINTS[:2], [1, 0], [5, 6, 50, 40], id="points and a box"),
    ],
)
@pytest.mark.parametrize("size", [(64, 64), (50, 120)], ids=["square", "wide"])
def test_a_prompt_gives_the_three_candidates_of_the_library(
    size: tuple[int, int],
    points: Any,
    labels: Any,
    box: Any,
    family: str,
    segmenter: TransformersSegmenter,
    libraries: dict[str, tuple[Any, Any]],
    make_image: Callable[..., Any],
) -> None:
    image = make_image(*size)
    masks, scores = segmenter.prompt(segmenter.encode(image), points, labels, box)
    processor, model = libraries[family]
    given: dict[str, Any] = {} if points is None else {"input_points": [[points]], "input_labels": [[labels]]}
    given |= {} if box is None else {"input_boxes": [[box]]}
    inputs = processor(images=Image.fromarray(image), **given, return_tensors="pt")
    sizes = [inputs.pop(name) for name in ("original_sizes", "reshaped_input_sizes") if name in inputs]
    inputs = {name: value.float() if value.is_floating_point() else value for name, value in inputs.items()}
    with torch.no_grad():
        answer = model(**inputs, multimask_output=True)
    expected = processor.post_process_masks(answer.pred_masks, *sizes)[0][0].numpy()
    assert (masks.shape, masks.dtype.name, scores.dtype.name) == ((3, *size), "bool", "float32")
    np.testing.assert_allclose(scores, answer.iou_scores[0, 0].clamp(0, 1).numpy(), atol=1e-4)
    assert (masks != expected).mean() < 1e-4


def test_bfloat16_is_close(
    family: str, folders: dict[str, Path], segmenter: TransformersSegmenter, make_image: Callable[..., Any]
) -> None:
    low = FAMILIES[family][0].load(str(folders[family]), "cpu", "bfloat16")
    assert next(low.model.vision_encoder.parameters()).dtype == torch.bfloat16
    assert next(low.model.mask_decoder.parameters()).dtype == torch.float32
    image, boxes = make_image(50, 70), _boxes(5, 50, 70)
    (masks, scores), (near_masks, near_scores) = (each.masks(each.encode(image), boxes) for each in (segmenter, low))
    np.testing.assert_allclose(near_scores, scores, atol=0.02)
    assert (masks != near_masks).mean() < 0.02


def test_the_record_says_which_weights(family: str, segmenter: TransformersSegmenter, folders: dict[str, Path]) -> None:
    assert segmenter.record.spec == f"{family}:{folders[family]}"
    assert segmenter.record.sha256 == sha256_of(folders[family] / "model.safetensors")


def test_published_sam2_weights_hold_a_tracker_too(tmp_path: Path, make_image: Callable[..., Any]) -> None:
    plain, video = (Path(sam2.write(tmp_path / name)) for name in ("plain", "video"))
    config = json.loads((video / "config.json").read_text("utf-8"))
    config |= {"model_type": "sam2_video", "architectures": ["Sam2VideoModel"]}
    (video / "config.json").write_text(json.dumps(config), "utf-8")
    weights = load_file(video / "model.safetensors") | {"memory_attention.layer_norm.weight": torch.ones(32)}
    save_file(weights, video / "model.safetensors", {"format": "pt"})
    image, boxes = make_image(50, 70), _boxes(3, 50, 70)
    loaded = [Sam2Segmenter.load(str(folder), "cpu", "float32") for folder in (plain, video)]
    one, other = (each.masks(each.encode(image), boxes) for each in loaded)
    np.testing.assert_array_equal(one[0], other[0])
    np.testing.assert_array_equal(one[1], other[1])


@pytest.mark.parametrize("family", ["sam_hf", "sam_hq"], indirect=True)
def test_attention_runs_without_a_mask(segmenter: TransformersSegmenter) -> None:
    assert {type(layer.attn) for layer in segmenter.model.vision_encoder.layers} == {MaskFreeAttention}


def test_what_is_not_finite_is_refused(
    segmenter: TransformersSegmenter, make_image: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = segmenter.encode(make_image(50, 70))
    spoilt = replace(encoded, maps=tuple(each * float("nan") for each in encoded.maps))
    with pytest.raises(BadOutput, match="mask of a prompt"):
        segmenter.masks(spoilt, _boxes(1, 50, 70))
    monkeypatch.setattr(segmenter.image_processor, "image_mean", [float("nan")] * 3)
    with pytest.raises(BadOutput, match="encoding of the image"):
        segmenter.encode(make_image(50, 70))


def _change(key: str, value: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        part = config if key in config else config["mask_decoder_config"]
        part[key] = value
        (folder / "config.json").write_text(json.dumps(config), "utf-8")

    return change


def _no_preprocessing(folder: Path) -> None:
    for name in ("preprocessor_config.json", "processor_config.json"):
        (folder / name).unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        pytest.param(shutil.rmtree, "no such folder", id="absent"),
        pytest.param(_change("model_type", "clip"), "of type 'clip'", id="another model"),
        pytest.param(lambda folder: (folder / "model.safetensors").unlink(), "no weights", id="no weights"),
        pytest.param(_no_preprocessing, "preprocessing", id="no preprocessing"),
        pytest.param(_change("num_hidden_layers", 3), "lack", id="more layers than the weights have"),
        pytest.param(_change("mlp_dim", 48), "cannot be loaded", id="other shapes"),
    ],
)
def test_a_bad_folder_is_refused_in_one_sentence(
    tmp_path: Path, family: str, folders: dict[str, Path], spoil: Callable[[Path], None], message: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(folders[family], folder)
    spoil(folder)
    with pytest.raises(BadWeights, match=message) as caught:
        FAMILIES[family][0].load(str(folder), "cpu")
    assert "\n" not in str(caught.value)
