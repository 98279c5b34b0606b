"""A classifier as a tagger gives what transformers' image-classification pipeline gives, for the labels asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import openvocab
from openvocab.errors import BadInput, BadOutput, BadWeights
from openvocab.models.taggers.classifier_tagger import ClassifierTagger
from openvocab.pipeline import chain
from openvocab.pipeline.scores import sigmoid
from tests.tiny import classifier, clip

SIZES = [(40, 40), (30, 90), (90, 30), (1, 1), (33, 47)]
UNIQUE = ("tench, Tinca tinca", "goldfish, Carassius auratus", "hen", "Cardigan, Cardigan Welsh corgi", "tabby cat")
WRITERS = {
    "softmax": lambda folder: classifier.write(folder),
    "softmax, unique names": lambda folder: classifier.write(folder, UNIQUE),
    "sigmoid": classifier.write_multi_label,
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("classifiers")
    return {kind: write(root / str(row)) for row, (kind, write) in enumerate(WRITERS.items())}


def _load(folder: str, dtype: str = "float32") -> ClassifierTagger:
    tagger = openvocab.load_tagger(f"classifier:{folder}", "cpu", dtype)
    assert isinstance(tagger, ClassifierTagger)
    return tagger


@pytest.fixture(scope="module")
def taggers(folders: dict[str, str]) -> dict[str, ClassifierTagger]:
    return {kind: _load(folder) for kind, folder in folders.items()}


@pytest.fixture(scope="module")
def images(make_image: Callable[..., Any]) -> list[Any]:
    return [make_image(height, width, seed) for seed, (height, width) in enumerate(SIZES)]


def _upstream(folder: str, images: list[Any]) -> Any:
    """(P, K) scores of the pipeline, whose answers come best first, by its logits' order."""
    from transformers import pipeline

    classify = pipeline("image-classification", model=folder, device="cpu")
    with torch.inference_mode():
        given = [classify.preprocess(Image.fromarray(each)) for each in images]
        logits = torch.cat([classify.model(**each).logits for each in given])
    several = classify.model.config.problem_type == "multi_label_classification"
    scores = (logits.sigmoid() if several else logits.softmax(-1)).numpy()
    for each, row in zip(images, scores, strict=True):  # the pipeline itself says the same
        answer = classify(Image.fromarray(each), top_k=len(row))
        np.testing.assert_allclose([one["score"] for one in answer], -np.sort(-row), atol=1e-6)
    return scores


def test_scores_of_all_labels_are_those_of_the_pipeline(
    taggers: dict[str, ClassifierTagger], folders: dict[str, str], images: list[Any]
) -> None:
    kind = "softmax, unique names"
    got = taggers[kind].score(images, taggers[kind].names)
    expected = _upstream(folders[kind], images)
    assert got.dtype == np.float32
    assert expected.std(axis=0).max() > 1e-2, "the images must matter"
    np.testing.assert_allclose(got, expected, atol=1e-5)
    np.testing.assert_allclose(got.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("label", "classes"),
    [
        pytest.param("tench, Tinca tinca", [0], id="whole name"),
        pytest.param("Tinca Tinca", [0], id="synonym, other case"),
        pytest.param("goldfish", [1], id="first synonym"),
        pytest.param("cardigan", [4], id="a whole name goes before another's synonym"),
        pytest.param("cardigan welsh corgi", [3], id="the other cardigan"),
        pytest.param("crane", [2, 5], id="two classes of one name"),
        pytest.param("Golden  retriever", [6], id="underscore and spaces"),
    ],
)
@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_a_label_means_its_classes(
    kind: str,
    label: str,
    classes: list[int],
    taggers: dict[str, ClassifierTagger],
    folders: dict[str, str],
    images: list[Any],
) -> None:
    chosen = _upstream(folders[kind], images)[:, classes]
    expected = chosen.max(axis=1) if kind == "sigmoid" else chosen.sum(axis=1)
    assert taggers[kind].independent == (kind == "sigmoid")
    np.testing.assert_allclose(taggers[kind].score(images, [label])[:, 0], expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_other_labels_change_no_score(kind: str, taggers: dict[str, ClassifierTagger], images: list[Any]) -> None:
    labels = ["goldfish", "crane", "tench", "cardigan"]
    together = taggers[kind].score(images, labels)
    for column, label in enumerate(labels):
        np.testing.assert_array_equal(taggers[kind].score(images, [label])[:, 0], together[:, column])


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_scores_follow_from_embeddings_and_logits(
    kind: str, taggers: dict[str, ClassifierTagger], images: list[Any]
) -> None:
    tagger = taggers[kind]
    vocabulary = tagger.encode_labels(["crane", "tench"])
    embeddings = tagger.encode_images(images)
    logits = tagger.logits(embeddings, vocabulary)
    assert (vocabulary.embeddings.shape, embeddings.shape) == ((2, 7), (len(images), 7))
    expected = sigmoid(logits) if kind == "sigmoid" else np.exp(logits)
    np.testing.assert_allclose(tagger.score(images, vocabulary), expected, atol=1e-6)


@pytest.mark.parametrize("batch", [1, 2, 32])
def test_neighbors_in_a_batch_change_nothing(
    batch: int, taggers: dict[str, ClassifierTagger], images: list[Any]
) -> None:
    tagger = replace(taggers["softmax"], batch=batch)
    alone = np.concatenate([tagger.score([each], ["tench", "crane"]) for each in images])
    np.testing.assert_allclose(tagger.score(images, ["tench", "crane"]), alone, atol=1e-5)


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_no_image_gives_no_row(kind: str, taggers: dict[str, ClassifierTagger]) -> None:
    assert taggers[kind].score([], ["tench", "crane", "goldfish"]).shape == (0, 3)


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_bfloat16_is_close(
    kind: str, taggers: dict[str, ClassifierTagger], folders: dict[str, str], images: list[Any]
) -> None:
    low, labels = _load(folders[kind], "bfloat16"), ["tench", "goldfish", "crane"]
    assert low.record.dtype == "bfloat16"
    np.testing.assert_allclose(low.score(images, labels), taggers[kind].score(images, labels), atol=0.03)


def test_the_chain_takes_a_classifier(taggers: dict[str, ClassifierTagger], images: list[Any]) -> None:
    pipe = openvocab.Pipeline(taggers["softmax"], None, None, openvocab.Settings())
    result = pipe(images[0], ["goldfish", "crane", "tench"], tag_threshold=0.0)
    scores = taggers["softmax"].score(images[:1], ["goldfish", "crane", "tench"])[0]
    assert {tag.label: tag.score for tag in result.tags} == pytest.approx(
        dict(zip(["goldfish", "crane", "tench"], scores.tolist(), strict=True))
    )


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_keeping_embeddings_changes_no_score(
    kind: str, taggers: dict[str, ClassifierTagger], images: list[Any]
) -> None:
    pipe = openvocab.Pipeline(taggers[kind], None, None, openvocab.Settings())
    vocabulary = pipe.vocabulary(["goldfish", "tench"])
    kept = chain.score(pipe, images, vocabulary)
    np.testing.assert_allclose([each.scores for each in kept], pipe.tag_scores(images, vocabulary), atol=1e-6)
    np.testing.assert_allclose(pipe.tag_scores(images, vocabulary), taggers[kind].score(images, vocabulary.texts or []))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        pytest.param(["goldfsh"], "'goldfsh' is none of the 7 classes .* nearest: 'goldfish'", id="near miss"),
        pytest.param(["tench", "quark"], "'quark' is none of the 7 classes", id="one of two"),
        pytest.param(["tench", "Tench"], "the same", id="twice"),
    ],
)
def test_unknown_label_is_refused(labels: list[str], message: str, taggers: dict[str, ClassifierTagger]) -> None:
    with pytest.raises(BadInput, match=message):
        taggers["softmax"].encode_labels(labels)


def test_image_without_an_answer_is_named(taggers: dict[str, ClassifierTagger], images: list[Any]) -> None:
    tagger, seen = taggers["softmax"], []

    def broken(images: list[Any], **options: Any) -> Any:
        given = tagger.image_processor(images=images, **options)
        seen.append(given)
        return given if len(seen) == 1 else given.__class__({"pixel_values": given.pixel_values * float("nan")})

    with pytest.raises(BadOutput, match="image 2 "):
        replace(tagger, image_processor=broken, batch=2).encode_images(images)


def test_a_model_without_a_classifier_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadWeights, match="lack 2 parameters"):
        openvocab.load_tagger(f"classifier:{clip.write(tmp_path / 'clip')}", "cpu")


def test_a_model_of_numbers_is_refused(tmp_path: Path) -> None:
    from transformers import ViTConfig, ViTForImageClassification

    tower: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1, "num_labels": 1}
    config = ViTConfig(**tower, image_size=16, patch_size=8, problem_type="regression")
    ViTForImageClassification(config).save_pretrained(tmp_path / "numbers")
    with pytest.raises(BadWeights, match="predicts a number"):
        openvocab.load_tagger(f"classifier:{tmp_path / 'numbers'}", "cpu")
