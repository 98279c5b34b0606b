"""Captions are those of CoCa.generate, token by token, and the labels that they mention get the model's own scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from open_clip import coca_model
from transformers import generation

import openvocab
from openvocab.errors import BadInput, BadOutput, BadWeights
from openvocab.models.taggers.coca_captioner import CocaCaptioner
from tests.tiny import coca
from tests.tiny.open_clip import write_kind

SIZES = [(40, 40), (30, 90), (90, 30), (2, 1), (33, 47), (64, 64)]


@pytest.fixture(scope="module")
def rest(tmp_path_factory: pytest.TempPathFactory) -> str:
    return coca.write(tmp_path_factory.mktemp("coca") / "model")


@pytest.fixture(scope="module")
def captioner(rest: str) -> CocaCaptioner:
    loaded = openvocab.load_captioner(f"coca:{rest}", "cpu", "float32")
    assert isinstance(loaded, CocaCaptioner) and not isinstance(loaded, openvocab.NamingCaptioner)
    return loaded


@pytest.fixture(scope="module")
def images(make_image: Callable[..., Any]) -> list[Any]:
    return [make_image(height, width, seed) for seed, (height, width) in enumerate(SIZES)]


@pytest.fixture
def generate(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """CoCa.generate with the classes that it looks for: BeamSearchScorer, which is gone, took all of them with it."""
    names = (
        "LogitsProcessorList",
        "MaxLengthCriteria",
        "MinLengthLogitsProcessor",
        "RepetitionPenaltyLogitsProcessor",
        "StoppingCriteriaList",
        "TopKLogitsWarper",
    )
    for name in names:
        monkeypatch.setattr(coca_model, name, getattr(generation, name), raising=False)
    monkeypatch.setattr(coca_model, "_has_transformers", True)
    monkeypatch.setitem(coca_model.GENERATION_TYPES, "top_k", coca_model.TopKLogitsWarper)
    upstream: Callable[..., Any] = open_clip.CoCa.generate
    return upstream


def _cleaned(tokens: list[int]) -> str:
    """A caption as open_clip's README takes it out of its tokens; padding decodes as '!'."""
    text = open_clip.decode(torch.tensor(tokens))
    return " ".join(text.split("<end_of_text>")[0].replace("<start_of_text>", "").split())


@pytest.mark.parametrize(
    ("end", "lengths"),
    [
        pytest.param(1, {7, 10}, id="of several lengths"),
        pytest.param(0, {30}, id="as long as can be"),
        pytest.param(50, {6}, id="as short as can be"),
    ],
)
def test_captions_are_those_of_upstream(
    end: float, lengths: set[int], captioner: CocaCaptioner, images: list[Any], generate: Callable[..., Any]
) -> None:
    """The end token is made more or less likely by a factor on its column; lengths are some that come of it."""
    model, pixels = captioner.tagger.model, captioner.tagger.pixels(images)["image"]
    column = model.text_decoder.text_projection.data[:, 49407]
    kept = column.clone()
    column.mul_(end)
    expected = generate(model, pixels, generation_type="top_k", top_k=1).tolist()
    got = captioner.caption(images)
    column.copy_(kept)
    assert lengths <= {row.index(49407) + 1 for row in expected}
    assert got == [_cleaned(row) for row in expected]


@pytest.mark.parametrize("batch", [1, 2, 32])
def test_neighbors_in_a_batch_change_nothing(batch: int, captioner: CocaCaptioner, images: list[Any]) -> None:
    small = CocaCaptioner(replace(captioner.tagger, batch=batch))
    assert small.caption(images) == [captioner.caption([each])[0] for each in images]


def test_no_image(captioner: CocaCaptioner) -> None:
    assert captioner.caption([]) == []
    assert captioner.score([], ["cat"]).shape == (0, 1)


def _mentioned(captions: list[str]) -> list[str]:
    """A word of each caption, each once, that is plain letters."""
    words = [next(word for word in caption.split() if word.isascii() and word.isalpha()) for caption in captions]
    return list(dict.fromkeys(words))


@pytest.mark.parametrize("batch", [1, 4])
def test_mentioned_labels_have_the_score_of_the_tagger(batch: int, captioner: CocaCaptioner, images: list[Any]) -> None:
    small = CocaCaptioner(replace(captioner.tagger, batch=batch))
    captions = captioner.caption(images)
    labels = ["zebra crossing", *_mentioned(captions)]
    said = np.array([[label in caption.split() for label in labels] for caption in captions])
    got = small.score(images, labels)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, np.where(said, captioner.tagger.score(images, labels), 0), atol=1e-5)
    assert (got[:, 0] == 0).all()
    assert got.max() > 0
    np.testing.assert_allclose(small.score(images, labels[::-1])[:, ::-1], got, atol=1e-5)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_close(dtype: str, rest: str, captioner: CocaCaptioner, images: list[Any]) -> None:
    low = CocaCaptioner.load(rest, "cpu", dtype)
    assert low.record.dtype == dtype
    assert low.tagger.model.text_decoder.text_projection.dtype == torch.float32
    assert low.tagger.model.visual.conv1.weight.dtype == getattr(torch, dtype)
    np.testing.assert_allclose(low.tagger.encode_images(images), captioner.tagger.encode_images(images), atol=0.03)
    assert all(low.caption(images))


def test_record_names_the_family(rest: str, captioner: CocaCaptioner) -> None:
    assert captioner.record.spec == f"coca:{rest}"
    assert (captioner.record.device, captioner.record.dtype) == ("cpu", "float32")


def test_a_model_without_a_decoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadWeights, match="no text decoder.* name a CoCa model"):
        CocaCaptioner.load(write_kind(tmp_path / "clip", "clip"), "cpu")


def test_a_label_that_cannot_be_used_is_refused(captioner: CocaCaptioner, images: list[Any]) -> None:
    with pytest.raises(BadInput, match="blank"):
        captioner.score(images, ["cat", " "])


def test_image_without_an_answer_is_named(captioner: CocaCaptioner, images: list[Any]) -> None:
    tagger, seen = captioner.tagger, []

    def broken(image: Any) -> torch.Tensor:
        seen.append(1)
        return tagger.preprocess(image) * (float("nan") if len(seen) == 4 else 1)

    with pytest.raises(BadOutput, match="image 3 "):
        CocaCaptioner(replace(tagger, preprocess=broken, batch=2)).caption(images)
