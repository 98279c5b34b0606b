"""The score of an embedding is the same to the last bit, however many others are scored with it."""

import numpy as np
import pytest

import openvocab
from openvocab.pipeline.protocols import Tagger, TextEmbeddings


@pytest.fixture(scope="module", params=["softmax", "sigmoid"])
def tagger(request: pytest.FixtureRequest, clip_folders: dict[str, str]) -> Tagger:
    return openvocab.load_tagger(f"open_clip:local-dir:{clip_folders[request.param]}", "cpu", "float32")


def unit(rng: np.random.Generator, count: int, width: int) -> np.ndarray:
    rows = rng.normal(size=(count, width))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


@pytest.mark.parametrize("labels", [1, 3, 140, 1001])
@pytest.mark.parametrize("width", [128, 768])
def test_the_score_of_an_embedding_does_not_depend_on_the_batch(tagger: Tagger, width: int, labels: int) -> None:
    rng = np.random.default_rng(width + labels)
    rows = unit(rng, 70, width)
    names = tuple(map(str, range(labels)))
    texts = TextEmbeddings(names, openvocab.prompt_set(), unit(rng, labels, width))
    together = tagger.scores(rows, texts)
    for size in (1, 2, 7, 31, 32, 33):
        parts = [tagger.scores(rows[start : start + size], texts) for start in range(0, len(rows), size)]
        np.testing.assert_array_equal(np.concatenate(parts), together)
    np.testing.assert_array_equal(tagger.scores(rows[::-1], texts)[::-1], together)
    assert tagger.scores(rows[:0], texts).shape == (0, labels)
