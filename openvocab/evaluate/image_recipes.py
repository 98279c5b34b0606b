"""Published answers for one example image: label scores, boxes or mask scores, and how to measure them again."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
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

__all__ = ["Figure", "ImageRecipe", "Measured", "image_recipe", "measure_image", "recipe_image"]

_LOADERS = {"tagger": load_tagger, "detector": load_detector, "segmenter": load_segmenter}
_SEEN_FROM = 0.5
"""Boxes are compared from this share of the lowest published score, so that a lower score is shown and not lost."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One published score.

    label      what it is of; empty for a segmenter.
    score      0 to 1.
    xyxy       left, top, right, bottom in pixels: the published box of a detector, the prompt of a segmenter; None
               for a tagger.
    candidate  which of a segmenter's three masks for the prompt; None for the one mask that it gives for a clear
               prompt.
    """

    label: str
    score: float
    xyxy: tuple[float, float, float, float] | None = None
    candidate: int | None = None


@dataclass(frozen=True, slots=True)
class ImageRecipe:
    """What is published of a checkpoint for one example image.

    name       what the recipe is called.
    stage      tagger, detector or segmenter.
    spec       its SPEC, or the name of a preset, whose stage is then taken.
    image      the address of the example image.
    labels     what was asked for, in the order of the source; none for a segmenter.
    template   the sentence that each label was put into.
    figures    the published scores.
    tolerance  the difference of a score that counts as the same.
    pixels     the difference of a box edge that counts as the same, in pixels of the image.
    source     where the figures stand.
    note       what to know when comparing; may be empty.
    """

    name: str
    stage: str
    spec: str
    image: str
    labels: tuple[str, ...]
    template: str
    figures: tuple[Figure, ...]
    tolerance: float
    pixels: float
    source: str
    note: str

    @property
    def file(self) -> str:
        """The name of the example image."""
        return self.image.rpartition("/")[2]

    def load(self, device: str | None = None, dtype: str | None = None) -> Any:
        """Load the model; see openvocab.load_tagger.

        Raises:
            UnknownName: there is no such family or architecture.
            BadWeights: the checkpoint is absent, or fails its digest.
        """
        preset = preset_records().get(self.spec)
        return _LOADERS[self.stage](getattr(preset, self.stage) if preset else self.spec, device, dtype)


@dataclass(frozen=True, slots=True)
class Measured:
    """What came out for one figure.

    score   the measured score; None where no box of the label was found.
    gap     measured less published.
    shift   the largest difference of a box edge in pixels; None for taggers and segmenters.
    passed  whether both are within the recipe's tolerances.
    """

    figure: Figure
    score: float | None
    gap: float | None
    shift: float | None
    passed: bool


def recipe_image(recipe: ImageRecipe, root: str) -> ImageArray:
    """Read the example image.

    Args:
        root: the path of its file, or of the folder that holds it under its published name.

    Raises:
        BadInput: it is not there; the message says where it is to be had.
        ImageError: the file cannot be read.
    """
    path = os.path.join(root, recipe.file) if os.path.isdir(root) else root
    if not is_file(path):
        raise BadInput(f"{path!r} is no file; {recipe.name} wants the image {recipe.image}; save it and name its place")
    return read_image(path)


def measure_image(recipe: ImageRecipe, model: Any, image: ImageArray) -> tuple[Measured, ...]:
    """Measure a recipe's figures again, in their order.

    Args:
        model: the tagger, detector or segmenter, as recipe.load returns it.
        image: (height, width, 3) uint8, as recipe_image returns it.

    Raises:
        BadInput: a label cannot be used, or the segmenter answers boxes alone and the figures are of candidates.
        BadOutput: the model's answer is not finite.
    """
    if recipe.stage == "tagger":
        return _tagged(recipe, model, image)
    return _detected(recipe, model, image) if recipe.stage == "detector" else _segmented(recipe, model, image)


def _tagged(recipe: ImageRecipe, tagger: Tagger, image: ImageArray) -> tuple[Measured, ...]:
    vocabulary = tagger.encode_labels(recipe.labels, PromptSet("custom", (recipe.template,)))
    scores = tagger.score([image], vocabulary)[0]
    return tuple(_compared(recipe, each, float(scores[recipe.labels.index(each.label)])) for each in recipe.figures)


def _detected(recipe: ImageRecipe, detector: Detector, image: ImageArray) -> tuple[Measured, ...]:
    """Compare each published box with a found one of its label.

    That is the one with the nearest score of those whose edges agree, else the one with the nearest edges.
    """
    queries = detector.encode_labels(recipe.labels, recipe.template)
    lowest = min(each.score for each in recipe.figures)
    found = detector.detect([image], queries, _SEEN_FROM * lowest)[0]
    return tuple(_nearest(recipe, each, found, image) for each in recipe.figures)


def _nearest(recipe: ImageRecipe, figure: Figure, found: Boxes, image: ImageArray) -> Measured:
    height, width = image.shape[:2]
    edges = np.asarray(figure.xyxy, np.float32)
    published = np.minimum(np.maximum(edges, 0), np.asarray([width, height, width, height], np.float32))
    rows = np.flatnonzero(found.label_index == recipe.labels.index(figure.label))
    if not len(rows):
        return Measured(figure, None, None, None, False)
    shifts = np.abs(found.xyxy[rows] - published).max(1)
    gaps = np.abs(found.scores[rows] - figure.score)
    far = np.where(shifts <= recipe.pixels, 0, shifts)
    best = int(np.lexsort((gaps, far))[0])
    return _compared(recipe, figure, float(found.scores[rows[best]]), float(shifts[best]))


def _segmented(recipe: ImageRecipe, segmenter: Segmenter[Any], image: ImageArray) -> tuple[Measured, ...]:
    """Compare the model's own estimate of each mask.

    Raises:
        BadInput: figures are of candidates, and the segmenter has none.
    """
    encoded = segmenter.encode(image)
    made = []
    for each in recipe.figures:
        box: NDArray[np.float32] = np.asarray(each.xyxy, np.float32)
        if each.candidate is None:
            score = segmenter.masks(encoded, box[None])[1][0]
        elif isinstance(segmenter, PromptSegmenter):
            score = segmenter.prompt(encoded, box=box)[1][each.candidate]
        else:
            raise BadInput(f"{recipe.name} is of candidate masks, and {recipe.spec} gives one a box; name another SPEC")
        made.append(_compared(recipe, each, float(score)))
    return tuple(made)


def _compared(recipe: ImageRecipe, figure: Figure, score: float, shift: float | None = None) -> Measured:
    gap = score - figure.score
    passed = abs(gap) <= recipe.tolerance and (shift is None or shift <= recipe.pixels)
    return Measured(figure, score, gap, shift, passed)


# --- the file


def image_recipe(name: str, row: Mapping[str, Any], whole: Mapping[str, Any], path: str) -> ImageRecipe:
    """Return a recipe of an [example.NAME] of a file that was parsed, joined with its image and its source.

    Raises:
        BadInput: something is missing, or is of another kind.
    """
    try:
        made = ImageRecipe(
            name=name,
            stage=str(row["stage"]),
            spec=str(row["spec"]),
            image=str(whole["image"][row["image"]]["url"]),
            labels=tuple(map(str, row.get("labels", ()))),
            template=str(row.get("template", "{label}")),
            figures=tuple(map(_figure, row["figures"])),
            tolerance=float(row["tolerance"]),
            pixels=float(row.get("pixels", 0)),
            source=str(whole["source"][row["source"]]["url"]),
            note=str(row.get("note", "")),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadInput(f"{path!r}, recipe {name!r}, lacks or misstates {error}; see evaluate/recipes.toml") from error
    if said := _fault(made):
        raise BadInput(f"{path!r}, recipe {name!r}, has {said}; mend it")
    return made


def _figure(row: Mapping[str, Any]) -> Figure:
    box = None
    if "box" in row:
        left, top, right, bottom = map(float, row["box"])
        box = (left, top, right, bottom)
    candidate = row.get("candidate")
    return Figure(str(row.get("label", "")), float(row["score"]), box, None if candidate is None else int(candidate))


def _fault(recipe: ImageRecipe) -> str:
    """Say what does not fit together, or nothing."""
    if recipe.stage not in _LOADERS:
        return f"the stage {recipe.stage!r}, which is none of {', '.join(_LOADERS)}"
    if not recipe.figures:
        return "no figures"
    if recipe.tolerance < 0 or recipe.pixels < 0:
        return "a tolerance below 0"
    return next((said for each in recipe.figures if (said := _fault_of(recipe, each, recipe.labels))), "")


def _fault_of(recipe: ImageRecipe, figure: Figure, labels: Sequence[str]) -> str:
    if not 0 <= figure.score <= 1:
        return f"a score of {figure.score:g}, outside 0 to 1"
    if recipe.stage != "segmenter" and figure.label not in labels:
        return f"a figure of {figure.label!r}, which is none of its labels"
    if (figure.xyxy is None) is not (recipe.stage == "tagger"):
        return f"a figure {'with' if figure.xyxy else 'without'} a box, for a {recipe.stage}"
    if figure.candidate is not None and (recipe.stage != "segmenter" or figure.candidate not in (0, 1, 2)):
        return f"the candidate {figure.candidate}; a segmenter has 0, 1 and 2"
    return ""
