"""Retrieval metrics: by hand, at any block size, and against CLIP_benchmark's own loop."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from openvocab.errors import BadInput, BadOutput
from openvocab.evaluate.metrics.bootstrap import Estimate
from openvocab.evaluate.metrics.retrieval import retrieval_metrics


def scene(images: int, texts: int, seed: int = 0) -> tuple[Any, Any, Any]:
    """Unit rows, each text near its image; image i has texts // images texts."""
    rng = np.random.default_rng(seed)
    owner = np.repeat(np.arange(images), texts // images)
    first = rng.normal(size=(images, 12))
    second = first[owner] + 1.2 * rng.normal(size=(len(owner), 12))
    unit = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in (first, second)]
    return unit[0].astype(np.float32), unit[1].astype(np.float32), owner


def values(recalls: dict[int, Estimate]) -> dict[int, float]:
    return {k: each.value for k, each in recalls.items()}


def test_recall_by_hand():
    images = np.eye(3, dtype=np.float32)
    texts = np.array([[1, 0, 0], [0, 0, 1], [0, 1, 0]], np.float32)
    got = retrieval_metrics(images, texts, np.array([0, 1, 2]), at=(1, 2, 3))
    assert values(got.text_to_image) == {1: pytest.approx(1 / 3), 2: pytest.approx(1 / 3), 3: 1.0}
    assert values(got.image_to_text) == {1: pytest.approx(1 / 3), 2: pytest.approx(1 / 3), 3: 1.0}


def test_ties_are_ranked_in_the_order_given():
    same = np.tile(np.array([[0.6, 0.8]], np.float32), (4, 1))
    got = retrieval_metrics(same, same, np.arange(4), at=(1, 2, 4))
    assert values(got.image_to_text) == values(got.text_to_image) == {1: 0.25, 2: 0.5, 4: 1.0}


def test_intervals_depend_on_the_seed_alone_and_resample_images():
    """With one image's texts all found and the other's all missed, a resample gives 0, a half or 1."""
    images = np.eye(2, dtype=np.float32)
    texts, owner = np.array([[1, 0]] * 8, np.float32), np.repeat([0, 1], 4)
    got = retrieval_metrics(images, texts, owner, at=(1,), seed=3)
    assert got == retrieval_metrics(images, texts, owner, at=(1,), seed=3)
    assert (got.text_to_image[1].low, got.text_to_image[1].high) == (0.0, 1.0)
    assert retrieval_metrics(images, texts, owner, at=(1,), resamples=2, seed=1) != got


@pytest.mark.parametrize("block", [1, 700, 2**26])
def test_the_size_of_a_block_changes_nothing(block):
    images, texts, owner = scene(30, 90)
    assert retrieval_metrics(images, texts, owner, block_bytes=block) == retrieval_metrics(images, texts, owner)


@pytest.mark.parametrize(("images", "texts"), [(12, 12), (25, 125), (60, 180)])
def test_parity_with_clip_benchmark(images, texts):
    upstream = pytest.importorskip("clip_benchmark.metrics.zeroshot_retrieval")
    import torch

    embeddings, captions, owner = scene(images, texts, seed=images)
    model = SimpleNamespace(encode_image=lambda rows: rows, encode_text=lambda rows: torch.from_numpy(captions)[rows])
    rows_of = [np.flatnonzero(owner == row).tolist() for row in range(images)]
    size = 10
    loader = [
        (torch.from_numpy(embeddings[start : start + size]), rows_of[start : start + size])
        for start in range(0, images, size)
    ]
    expected = upstream.evaluate(model, loader, torch.tensor, "cpu", amp=False, recall_k_list=[1, 5, 10])
    got = retrieval_metrics(embeddings, captions, owner)
    for k in (1, 5, 10):
        assert got.text_to_image[k].value == pytest.approx(expected[f"image_retrieval_recall@{k}"], abs=1e-6)
        assert got.image_to_text[k].value == pytest.approx(expected[f"text_retrieval_recall@{k}"], abs=1e-6)
    assert 0 < got.text_to_image[1].value < 1


@pytest.mark.parametrize(
    ("images", "texts", "owner", "error", "says"),
    [
        pytest.param(np.eye(2), np.eye(2), [0, 0], BadInput, "the first is image 1", id="image without a text"),
        pytest.param(np.eye(2), np.eye(2), [0, 2], BadInput, r"image_of_text\[1\] is 2", id="index out of range"),
        pytest.param(np.eye(2), np.eye(3), [0, 1, 1], BadInput, "texts must be", id="other dimensions"),
        pytest.param(np.eye(2) * np.nan, np.eye(2), [0, 1], BadOutput, "embedding 0 of images", id="not finite"),
    ],
)
def test_bad_input_is_named(images, texts, owner, error, says):
    with pytest.raises(error, match=says):
        retrieval_metrics(images, texts, np.array(owner))
