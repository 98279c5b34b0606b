"""Published results as data, and how to measure them again: on data sets, and on example images."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from openvocab.errors import BadInput, counted
from openvocab.evaluate.data import TORCHVISION, load_labeled
from openvocab.evaluate.data.labeled import LabeledSet
from openvocab.evaluate.image_recipes import ImageRecipe, image_recipe
from openvocab.evaluate.measure import measure_tagger
from openvocab.evaluate.metrics.classification import ClassificationMetrics
from openvocab.evaluate.runs.images import Progress, no_progress
from openvocab.evaluate.runs.tagger import TaggerRun, run_tagger
from openvocab.pipeline.protocols import Tagger
from openvocab.prompts.files import is_file, read_text
from openvocab.prompts.templates import prompt_set

__all__ = ["Recipe", "Reproduced", "read_recipes", "recipe_data", "recipes", "reproduce"]

_SYNSET = re.compile(r"n\d{8}")
_IMAGENET = ("imagenet", "imagenet_classes")


@dataclass(frozen=True, slots=True)
class Recipe:
    """One published accuracy on a data set.

    Attributes:
        name: Name of the recipe.
        spec: SPEC of the tagger, as FAMILY:MODEL/PRETRAINED.
        data: Name of the data set.
        kind: Layout of the data: imagenet, the name of a torchvision class, or imagefolder; imagenet_classes for a
            classifier with ImageNet's classes in their usual order, whose labels are compared by index, not by name.
        images: Number of images.
        prompts: The prompt set, as prompt_set takes it.
        top1: The published top-1 accuracy in 0 to 1.
        tolerance: Maximum difference.
        source: URL of the published accuracy.
        get: Where to download the data.
    """

    name: str
    spec: str
    data: str
    kind: str
    images: int
    prompts: str
    top1: float
    tolerance: float
    source: str
    get: str


@dataclass(frozen=True, eq=False, slots=True)
class Reproduced:
    """The measurement of a recipe.

    Attributes:
        metrics: All metrics of the run.
        run: The tagger's run.
        missing: Number of published images that were not measured; below 0 if there were more.
        gap: Measured minus published top-1.
        passed: Whether all images were measured and the gap is within the tolerance.
    """

    metrics: ClassificationMetrics
    run: TaggerRun
    missing: int
    gap: float
    passed: bool


@cache
def recipes() -> Mapping[str, Recipe | ImageRecipe]:
    """Return the recipes that ship with openvocab, by name."""
    text = files("openvocab").joinpath("evaluate/recipes.toml").read_text("utf-8")
    return MappingProxyType(_parse(text, "evaluate/recipes.toml"))


def read_recipes(path: str) -> Mapping[str, Recipe | ImageRecipe]:
    """Return the recipes of a file in the format of openvocab/evaluate/recipes.toml.

    Raises:
        BadInput: The file cannot be read, or a recipe is incomplete; the message names both.
    """
    return MappingProxyType(_parse(read_text(path), path))


def recipe_data(recipe: Recipe, root: str) -> LabeledSet:
    """Return the images of a recipe with the published labels.

    Args:
        recipe: The recipe.
        root: The folder that torchvision's class takes; or ImageNet's folders, or the folder that holds them as val;
            or a folder in CLIP_benchmark's WebDataset layout, whose own classnames.txt is then used.

    Raises:
        BadInput: The data are not there; the message says where to download them.
    """
    try:
        if is_file(os.path.join(root, "classnames.txt")):
            return load_labeled(root, "webdataset")
        if recipe.kind in _IMAGENET:
            return _imagenet(root, named=recipe.kind == "imagenet")
        if recipe.kind == "imagefolder":
            return load_labeled(root, "imagefolder")
        return load_labeled(f"{recipe.kind}:{root}", "torchvision")
    except BadInput as error:
        raise BadInput(f"{error}; {recipe.name} needs {recipe.data}, from {recipe.get}") from error


def reproduce(
    recipe: Recipe,
    tagger: Tagger,
    data: LabeledSet,
    *,
    batch: int = 32,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Reproduced:
    """Measure a recipe's accuracy with its prompts, on the images that recipe_data returned.

    Args:
        recipe: The recipe.
        tagger: The tagger.
        data: The data.
        batch: Images per batch.
        seed: Seed of the bootstrap.
        progress: Wraps the images, for example in a progress bar.

    Raises:
        BadInput: The data are multi-label, no image could be read, or the recipe needs a classifier and the tagger
            does not have its classes.
        BadOutput: The model's output is not finite.
    """
    if data.multi_label:
        raise BadInput(f"{data.source!r} is multi-label, and {recipe.name} is single-label; give its own data")
    if recipe.kind == "imagenet_classes":
        tagger, data = _by_index(recipe, tagger, data)
    run = run_tagger(tagger, data, prompt_set(recipe.prompts), batch=batch, progress=progress)
    metrics = measure_tagger(run, False, tagger.independent, seed=seed)
    if not isinstance(metrics, ClassificationMetrics):
        raise BadInput(f"{recipe.name} needs one label per image; give its own data")
    gap, missing = metrics.top1.value - recipe.top1, recipe.images - len(run.names)
    return Reproduced(metrics, run, missing, gap, missing == 0 and abs(gap) <= recipe.tolerance)


def _by_index(recipe: Recipe, tagger: Tagger, data: LabeledSet) -> tuple[Tagger, LabeledSet]:
    """Return the classifier with its classes renamed to the labels of the same index, and the labels made unique.

    Raises:
        BadInput: The tagger is not a classifier, or has another number of classes.
    """
    from openvocab.models.taggers.class_names import ClassNames
    from openvocab.models.taggers.classifier import Classifier

    count = len(data.labels)
    if not isinstance(tagger, Classifier) or len(tagger.classes.names) != count:
        raise BadInput(
            f"{recipe.name} needs a classifier with {count} classes, and {recipe.spec} is none; correct its spec"
        )
    labels = data.labels
    if len(set(labels)) < count:
        labels = tuple(f"{label} ({row})" for row, label in enumerate(labels))
    return replace(tagger, classes=ClassNames.of(labels)), replace(data, labels=labels)


def _imagenet(root: str, *, named: bool) -> LabeledSet:
    """Return ImageNet's images in the order of the synsets.

    Args:
        root: The folder of the synsets, or the folder that holds them as val.
        named: Use OpenAI's names as labels in place of the synsets.

    Raises:
        BadInput: The folders are not the 1,000 synsets.
    """
    from open_clip import IMAGENET_CLASSNAMES

    inner = os.path.join(root, "val")
    data = load_labeled(inner if os.path.isdir(inner) else root, "imagefolder")
    other = next((label for label in data.labels if not _SYNSET.fullmatch(label)), None)
    if other is not None or len(data.labels) != len(IMAGENET_CLASSNAMES):
        found = f"the folder {other!r}" if other is not None else counted(len(data.labels), "folder")
        raise BadInput(f"{root!r} has {found} instead of one folder per ImageNet synset, 1,000; check the path")
    return replace(data, labels=tuple(IMAGENET_CLASSNAMES)) if named else data


# --- the file


def _parse(text: str, path: str) -> dict[str, Recipe | ImageRecipe]:
    try:
        whole = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{path!r} is not TOML ({error}); correct it") from error
    sets, images = dict(whole.get("recipe", {})), dict(whole.get("example", {}))
    if not sets and not images:
        raise BadInput(f"{path!r} has no [recipe.NAME] or [example.NAME]; add one, as in evaluate/recipes.toml")
    if both := sets.keys() & images.keys():
        raise BadInput(f"{path!r} has two recipes named {min(both)!r}; rename one")
    made: dict[str, Recipe | ImageRecipe] = {name: _recipe(name, row, whole, path) for name, row in sets.items()}
    return made | {name: image_recipe(name, row, whole, path) for name, row in images.items()}


def _recipe(name: str, row: Mapping[str, Any], whole: Mapping[str, Any], path: str) -> Recipe:
    """Return a recipe with its data and its source.

    Raises:
        BadInput: A value is missing or has another type.
    """
    try:
        data, source = whole["data"][row["data"]], whole["source"][row["source"]]
        made = Recipe(
            name,
            str(row["spec"]),
            str(data["name"]),
            str(data["kind"]),
            int(data["images"]),
            str(data["prompts"]),
            float(row["top1"]),
            float(row["tolerance"]),
            str(source["url"]),
            str(data["get"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(f"{path!r}, recipe {name!r}: missing or invalid {error}; see evaluate/recipes.toml") from error
    if made.kind not in (*_IMAGENET, "imagefolder", *TORCHVISION):
        raise BadInput(
            f"{path!r}, recipe {name!r}, has data of kind {made.kind!r}; give imagenet, imagefolder or a data set"
        )
    if not (0 <= made.top1 <= 1 and made.tolerance >= 0):
        raise BadInput(f"{path!r}, recipe {name!r}, has a top1 outside 0 to 1 or a tolerance below 0; correct it")
    return made
