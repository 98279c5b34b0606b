"""Published scores for one example image: of labels, boxes or masks, and how to measure them again."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput
from openvocab.images.read import read_image
from openvocab.models.registry import load_detector, load_segmenter, load_tagger
from openvocab.pipeline.protocols import Boxes, Detector, ImageArray, PromptSegmenter, Segmenter, Tagger
from openvocab.prompts.files import is_file
from openvocab.prompts.templates import PromptSet
from openvocab.weights.manifest import preset_records

__all__ = ["ImageRecipe", "MeasuredScore", "PublishedScore", "image_recipe", "measure_image", "recipe_image"]

_LOADERS = {"tagger": load_tagger, "detector": load_detector, "segmenter": load_segmenter}
_THRESHOLD_SHARE = 0.5
"""The box threshold is this share of the lowest published score, so that lower scores are reported and not dropped."""


@dataclass(frozen=True, slots=True)
class PublishedScore:
    """One published score.

    Attributes:
        label: The label it is of; empty for a segmenter.
        score: In 0 to 1.
        xyxy: Left, top, right, bottom in pixels: the published box of a detector, the prompt of a segmenter; None for
            a tagger.
        candidate: Index of a segmenter's three masks for the prompt; None for the single mask of an unambiguous
            prompt.
    """

    label: str
    score: float
    xyxy: tuple[float, float, float, float] | None = None
    candidate: int | None = None


@dataclass(frozen=True, slots=True)
class ImageRecipe:
    """The published scores of a checkpoint for one example image.

    Attributes:
        name: Name of the recipe.
        stage: tagger, detector or segmenter.
        spec: SPEC of the model, or the name of a preset, whose model of the stage is then used.
        image: URL of the example image.
        labels: The labels, in the order of the source; none for a segmenter.
        template: The sentence that each label is put into.
        scores: The published scores.
        tolerance: Maximum difference of a score.
        pixels: Maximum difference of a box edge in pixels of the image.
        source: URL of the published scores.
        note: What to know when comparing; may be empty.
    """

    name: str
    stage: str
    spec: str
    image: str
    labels: tuple[str, ...]
    template: str
    scores: tuple[PublishedScore, ...]
    tolerance: float
    pixels: float
    source: str
    note: str

    @property
    def file(self) -> str:
        """The file name of the example image."""
        return self.image.rpartition("/")[2]

    def load(self, device: str | None = None, dtype: str | None = None) -> Any:
        """Load the model; see openvocab.load_tagger.

        Raises:
            UnknownName: There is no such family or architecture.
            BadWeights: The checkpoint is missing, or its digest differs.
        """
        preset = preset_records().get(self.spec)
        return _LOADERS[self.stage](getattr(preset, self.stage) if preset else self.spec, device, dtype)


@dataclass(frozen=True, slots=True)
class MeasuredScore:
    """The measurement of one published score.

    Attributes:
        published: The published score.
        score: The measured score; None if no box of the label was found.
        gap: Measured minus published.
        shift: The largest difference of a box edge in pixels; None for taggers and segmenters.
        passed: Whether both are within the recipe's tolerances.
    """

    published: PublishedScore
    score: float | None
    gap: float | None
    shift: float | None
    passed: bool


def recipe_image(recipe: ImageRecipe, root: str) -> ImageArray:
    """Read the example image.

    Args:
        recipe: The recipe.
        root: Path of the image, or of the folder that holds it under its published name.

    Raises:
        BadInput: The image does not exist; the message has its URL.
        ImageError: The file cannot be read.
    """
    path = os.path.join(root, recipe.file) if os.path.isdir(root) else root
    if not is_file(path):
        raise BadInput(f"{path!r} is not a file; {recipe.name} needs {recipe.image}; download it and give its path")
    return read_image(path)


def measure_image(recipe: ImageRecipe, model: Any, image: ImageArray) -> tuple[MeasuredScore, ...]:
    """Measure a recipe's scores, in their order.

    Args:
        recipe: The recipe.
        model: The tagger, detector or segmenter that recipe.load returned.
        image: (height, width, 3) uint8, as recipe_image returns it.

    Raises:
        BadInput: A label is invalid, or the recipe needs candidate masks that the segmenter does not predict.
        BadOutput: The model's output is not finite.
    """
    if recipe.stage == "tagger":
        return _measure_tagger(recipe, model, image)
    measure = _measure_detector if recipe.stage == "detector" else _measure_segmenter
    return measure(recipe, model, image)


def _measure_tagger(recipe: ImageRecipe, tagger: Tagger, image: ImageArray) -> tuple[MeasuredScore, ...]:
    vocabulary = tagger.encode_labels(recipe.labels, PromptSet("custom", (recipe.template,)))
    scores = tagger.score([image], vocabulary)[0]
    return tuple(_compare(recipe, each, float(scores[recipe.labels.index(each.label)])) for each in recipe.scores)


def _measure_detector(recipe: ImageRecipe, detector: Detector, image: ImageArray) -> tuple[MeasuredScore, ...]:
    queries = detector.encode_labels(recipe.labels, recipe.template)
    lowest = min(each.score for each in recipe.scores)
    boxes = detector.detect([image], queries, _THRESHOLD_SHARE * lowest)[0]
    return tuple(_nearest(recipe, each, boxes, image) for each in recipe.scores)


def _nearest(recipe: ImageRecipe, published: PublishedScore, boxes: Boxes, image: ImageArray) -> MeasuredScore:
    """Compare a published box with the predicted one of its label.

    This is the box with the nearest score among those whose edges agree, or else the one with the nearest edges.
    """
    height, width = image.shape[:2]
    edges = np.asarray(published.xyxy, np.float32)
    clipped = np.minimum(np.maximum(edges, 0), np.asarray([width, height, width, height], np.float32))
    rows = np.flatnonzero(boxes.label_index == recipe.labels.index(published.label))
    if not len(rows):
        return MeasuredScore(published, None, None, None, False)
    shifts = np.abs(boxes.xyxy[rows] - clipped).max(1)
    gaps = np.abs(boxes.scores[rows] - published.score)
    best = int(np.lexsort((gaps, np.where(shifts <= recipe.pixels, 0, shifts)))[0])
    return _compare(recipe, published, float(boxes.scores[rows[best]]), float(shifts[best]))


def _measure_segmenter(recipe: ImageRecipe, segmenter: Segmenter[Any], image: ImageArray) -> tuple[MeasuredScore, ...]:
    """Compare the model's estimate of each mask's IoU.

    Raises:
        BadInput: The recipe needs candidate masks, and the segmenter predicts one mask per box.
    """
    encoded = segmenter.encode(image)
    measured = []
    for each in recipe.scores:
        box: NDArray[np.float32] = np.asarray(each.xyxy, np.float32)
        if each.candidate is None:
            score = segmenter.masks(encoded, box[None])[1][0]
        elif isinstance(segmenter, PromptSegmenter):
            score = segmenter.prompt(encoded, box=box)[1][each.candidate]
        else:
            raise BadInput(f"{recipe.name} needs candidate masks, and {recipe.spec} predicts one per box; change SPEC")
        measured.append(_compare(recipe, each, float(score)))
    return tuple(measured)


def _compare(recipe: ImageRecipe, published: PublishedScore, score: float, shift: float | None = None) -> MeasuredScore:
    gap = score - published.score
    passed = abs(gap) <= recipe.tolerance and (shift is None or shift <= recipe.pixels)
    return MeasuredScore(published, score, gap, shift, passed)


# --- the file


def image_recipe(name: str, row: Mapping[str, Any], whole: Mapping[str, Any], path: str) -> ImageRecipe:
    """Return a recipe from the table [example.NAME] of a parsed file, with its image and its source.

    Raises:
        BadInput: A value is missing or has another type.
    """
    try:
        recipe = ImageRecipe(
            name=name,
            stage=str(row["stage"]),
            spec=str(row["spec"]),
            image=str(whole["image"][row["image"]]["url"]),
            labels=tuple(map(str, row.get("labels", ()))),
            template=str(row.get("template", "{label}")),
            scores=tuple(map(_published_score, row["scores"])),
            tolerance=float(row["tolerance"]),
            pixels=float(row.get("pixels", 0)),
            source=str(whole["source"][row["source"]]["url"]),
            note=str(row.get("note", "")),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadInput(f"{path!r}, recipe {name!r}: missing or invalid {error}; see evaluate/recipes.toml") from error
    if fault := _fault(recipe):
        raise BadInput(f"{path!r}, recipe {name!r}, has {fault}; correct it")
    return recipe


def _published_score(row: Mapping[str, Any]) -> PublishedScore:
    box = None
    if "box" in row:
        left, top, right, bottom = map(float, row["box"])
        box = (left, top, right, bottom)
    candidate = row.get("candidate")
    label, score = str(row.get("label", "")), float(row["score"])
    return PublishedScore(label, score, box, None if candidate is None else int(candidate))


def _fault(recipe: ImageRecipe) -> str:
    """Return what is inconsistent, or an empty text."""
    if recipe.stage not in _LOADERS:
        return f"the stage {recipe.stage!r}, which is none of {', '.join(_LOADERS)}"
    if not recipe.scores:
        return "no scores"
    if recipe.tolerance < 0 or recipe.pixels < 0:
        return "a tolerance below 0"
    return next((fault for each in recipe.scores if (fault := _fault_of(recipe, each))), "")


def _fault_of(recipe: ImageRecipe, published: PublishedScore) -> str:
    if not 0 <= published.score <= 1:
        return f"a score of {published.score:g}, outside 0 to 1"
    if recipe.stage != "segmenter" and published.label not in recipe.labels:
        return f"a score of {published.label!r}, which is none of its labels"
    if (published.xyxy is None) is not (recipe.stage == "tagger"):
        return f"a score {'with' if published.xyxy else 'without'} a box, for a {recipe.stage}"
    if published.candidate is not None and (recipe.stage != "segmenter" or published.candidate not in (0, 1, 2)):
        return f"the candidate {published.candidate}; a segmenter has 0, 1 and 2"
    return ""
