"""SegGPT's masks are those of the library's processor, model and post-processing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import SegGptForImageSegmentation, SegGptImageProcessor

import openvocab
from openvocab.errors import BadInput, BadOutput, BadWeights
from openvocab.models.segmenters.sam_attention import MaskFreeAttention
from openvocab.models.segmenters.seggpt import SegGptSegmenter
from openvocab.weights.files import sha256_of
from tests.tiny.seggpt import write

SIZES = [(32, 32), (40, 90), (90, 40), (1, 1), (3, 50)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(write(tmp_path_factory.mktemp("seggpt") / "tiny"))


@pytest.fixture(scope="module")
def segmenter(folder: Path) -> SegGptSegmenter:
    return SegGptSegmenter.load(str(folder), "cpu", "float32")


@pytest.fixture(scope="module")
def images(make_image: Callable[..., Any]) -> list[Any]:
    return [make_image(height, width, seed) for seed, (height, width) in enumerate(SIZES)]


@pytest.fixture(scope="module")
def example(make_image: Callable[..., Any]) -> Any:
    return make_image(50, 60, 9)


@pytest.fixture(scope="module")
def mask() -> Any:
    marked = np.zeros((50, 60), np.bool_)
    marked[10:30, 20:50] = True
    return marked


def _upstream(folder: Path, image: Any, example: Any, mask: Any) -> Any:
    """The way of the library's documentation, with a palette of one class."""
    processor: Any = SegGptImageProcessor.from_pretrained(folder)
    model = SegGptForImageSegmentation.from_pretrained(folder).eval()
    inputs = processor(
        images=Image.fromarray(image),
        prompt_images=Image.fromarray(example),
        prompt_masks=mask.astype(np.uint8),
        num_labels=1,
        return_tensors="pt",
    )
    with torch.no_grad():
        answer = model(**inputs)
    return processor.post_process_semantic_segmentation(answer, [image.shape[:2]], num_labels=1)[0].numpy()


@pytest.mark.parametrize("row", range(len(SIZES)), ids=["square", "wide", "tall", "one pixel", "strip"])
def test_masks_are_those_of_the_library(
    row: int, segmenter: SegGptSegmenter, folder: Path, images: list[Any], example: Any, mask: Any
) -> None:
    got = segmenter.segment_like([images[row]], example, mask)[0]
    assert (got.shape, got.dtype.name) == (SIZES[row], "bool")
    np.testing.assert_array_equal(got, _upstream(folder, images[row], example, mask) == 1)


def test_masks_of_the_tiny_model_are_neither_empty_nor_full(
    segmenter: SegGptSegmenter, images: list[Any], example: Any, mask: Any
) -> None:
    got = segmenter.segment_like(images[:3], example, mask)
    assert all(0.05 < each.mean() < 0.95 for each in got)
    other = segmenter.segment_like(images[:1], example, ~mask)[0]
    assert (other != got[0]).any()


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_neighbors_in_a_batch_change_nothing(
    batch: int, segmenter: SegGptSegmenter, images: list[Any], example: Any, mask: Any
) -> None:
    together = replace(segmenter, batch=batch).segment_like(images, example, mask)
    for one, image in zip(together, images, strict=True):
        alone = segmenter.segment_like([image], example, mask)[0]
        assert (one != alone).mean() < 1e-3


def test_no_image_no_mask(segmenter: SegGptSegmenter, example: Any, mask: Any) -> None:
    assert segmenter.segment_like([], example, mask) == []


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_close(
    dtype: str, folder: Path, segmenter: SegGptSegmenter, images: list[Any], example: Any, mask: Any
) -> None:
    low = SegGptSegmenter.load(str(folder), "cpu", dtype)
    for one, other in zip(*(each.segment_like(images[:3], example, mask) for each in (segmenter, low)), strict=True):
        assert (one != other).mean() < 0.05


def test_it_is_loaded_by_its_family(folder: Path, images: list[Any], example: Any, mask: Any) -> None:
    loaded = openvocab.load_exemplar_segmenter(f"seggpt:{folder}", "cpu", "float32")
    assert loaded.record.spec == f"seggpt:{folder}"
    assert loaded.record.sha256 == sha256_of(folder / "model.safetensors")
    assert len(loaded.segment_like(images, example, mask)) == len(images)


def test_attention_runs_without_a_mask(segmenter: SegGptSegmenter) -> None:
    assert {type(layer.attention) for layer in segmenter.model.model.encoder.layers} == {MaskFreeAttention}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        pytest.param(np.ones((50, 60), np.uint8), "must be bool, got uint8", id="not bool"),
        pytest.param(np.ones((60, 50), np.bool_), r"shape \(50, 60\), got \(60, 50\)", id="another size"),
        pytest.param(np.zeros((50, 60), np.bool_), "mask is empty", id="empty"),
    ],
)
def test_a_bad_mask_is_refused(
    given: Any, message: str, segmenter: SegGptSegmenter, images: list[Any], example: Any
) -> None:
    with pytest.raises(BadInput, match=message):
        segmenter.segment_like(images, example, given)


def test_an_image_without_an_answer_is_named(
    segmenter: SegGptSegmenter, images: list[Any], example: Any, mask: Any
) -> None:
    class Broken:
        """Fails for images that are higher than wide."""

        post_process_semantic_segmentation = segmenter.image_processor.post_process_semantic_segmentation

        def __call__(self, images: Any = None, **options: Any) -> Any:
            given = segmenter.image_processor(images=images, **options)
            if images is not None and images.height > images.width:
                given["pixel_values"] = given["pixel_values"] * float("nan")
            return given

    broken = replace(segmenter, image_processor=Broken(), batch=2)
    with pytest.raises(BadOutput, match="image 2 "):
        broken.segment_like([images[0], images[0], images[2]], example, mask)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        pytest.param(shutil.rmtree, "no such folder", id="absent"),
        pytest.param(lambda folder: (folder / "model.safetensors").unlink(), "no weights", id="no weights"),
        pytest.param(lambda folder: (folder / "preprocessor_config.json").unlink(), "preprocessing", id="no processor"),
        pytest.param(
            lambda folder: (folder / "config.json").write_text('{"model_type": "clip"}'), "of type 'clip'", id="CLIP"
        ),
    ],
)
def test_a_bad_folder_is_refused_in_one_sentence(
    tmp_path: Path, folder: Path, spoil: Callable[[Path], None], message: str
) -> None:
    copy = tmp_path / "model"
    shutil.copytree(folder, copy)
    spoil(copy)
    with pytest.raises(BadWeights, match=message) as caught:
        SegGptSegmenter.load(str(copy), "cpu")
    assert "\n" not in str(caught.value)
