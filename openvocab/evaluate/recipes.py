"""Published figures, kept as data, and what it takes to measure one again: of data sets, and of example images."""

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

from openvocab.errors import BadInput
from openvocab.evaluate.classification import Classification
from openvocab.evaluate.data import TORCHVISION, load_labeled
from openvocab.evaluate.data.records import LabeledSet
from openvocab.evaluate.image_recipes import ImageRecipe, image_recipe
from openvocab.evaluate.scoring import Scored, Watch, score_images
from openvocab.evaluate.tasks import measure
from openvocab.pipeline.protocols import Tagger
from openvocab.prompts.files import is_file, read_text
from openvocab.prompts.templates import prompt_set

__all__ = ["Recipe", "Reproduced", "read_recipes", "recipe_data", "recipes", "reproduce"]

_SYNSET = re.compile(r"n\d{8}")
_IMAGENET = ("imagenet", "imagenet_classes")


@dataclass(frozen=True, slots=True)
class Recipe:
    """One published figure of a data set.

    name       what the recipe is called.
    spec       the tagger, as FAMILY:MODEL/PRETRAINED.
    data       what the images are, in words.
    kind       how they lie: imagenet, a class of torchvision, or imagefolder; imagenet_classes for a classifier whose
               classes are ImageNet's in its usual order, so that labels are compared by place and not by name.
    images   how many there are.
    prompts    the prompt set that was averaged over, as prompt_set reads it.
    top1       the published share of images whose label is the best one, 0 to 1.
    tolerance  the difference that counts as the same.
    source     where the figure stands.
    get        where the data are to be had.
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
    """What came out.

    figures  all figures of the run.
    scored   the scores that they are made of.
    missing  images fewer than published, or, where below 0, more.
    gap      measured top-1 less the published one.
    passed   whether all images were there, and the gap is within the tolerance.
    """

    figures: Classification
    scored: Scored
    missing: int
    gap: float
    passed: bool


@cache
def recipes() -> Mapping[str, Recipe | ImageRecipe]:
    """Return the recipes that ship with openvocab, by name."""
    text = files("openvocab").joinpath("evaluate/recipes.toml").read_text("utf-8")
    return MappingProxyType(_parsed(text, "evaluate/recipes.toml"))


def read_recipes(path: str) -> Mapping[str, Recipe | ImageRecipe]:
    """Return the recipes of a file that is written as openvocab/evaluate/recipes.toml is.

    Raises:
        BadInput: the file cannot be read, or a recipe lacks something; the message names both.
    """
    return MappingProxyType(_parsed(read_text(path), path))


def recipe_data(recipe: Recipe, root: str) -> LabeledSet:
    """Return the images of a recipe with the labels that were published.

    Args:
        root: where torchvision's class expects its folder, or ImageNet's folders or the folder val that holds them;
            or a folder in CLIP_benchmark's WebDataset layout, whose own classnames.txt is then used.

    Raises:
        BadInput: the data do not lie there; the message says where they are to be had.
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
        raise BadInput(f"{error}; {recipe.name} wants {recipe.data}, from {recipe.get}") from error


def reproduce(
    recipe: Recipe,
    tagger: Tagger,
    data: LabeledSet,
    *,
    batch: int = 32,
    seed: int = 0,
    watch: Watch = lambda each: each,
) -> Reproduced:
    """Measure a recipe's figure again, with its prompts, over images that recipe_data gave.

    Args:
        seed: of the bootstrap interval.
        watch: wraps the images as they pass, such as in a progress bar.

    Raises:
        BadInput: the data have several labels an image, or none could be read; or the figure is of a classifier, and
            the tagger is none with these classes.
        BadOutput: the model's answer is not finite.
    """
    if data.multi_label:
        raise BadInput(f"{data.source!r} has several labels an image, and {recipe.name} wants one; give its own data")
    if recipe.kind == "imagenet_classes":
        tagger, data = _by_place(recipe, tagger, data)
    scored = score_images(tagger, data, prompt_set(recipe.prompts), batch=batch, watch=watch)
    figures = measure(scored, False, tagger.independent, seed=seed)
    if not isinstance(figures, Classification):
        raise BadInput(f"{recipe.name} is of images with one label each; give its own data")
    gap, missing = figures.top1.value - recipe.top1, recipe.images - len(scored.names)
    return Reproduced(figures, scored, missing, gap, missing == 0 and abs(gap) <= recipe.tolerance)


def _by_place(recipe: Recipe, tagger: Tagger, data: LabeledSet) -> tuple[Tagger, LabeledSet]:
    """Return a classifier whose classes are called as the labels at their places are, and these labels, made unique.

    Raises:
        BadInput: the tagger is no classifier, or has another number of classes.
    """
    from openvocab.models.taggers.class_names import ClassNames
    from openvocab.models.taggers.classifier import Classifier

    count = len(data.labels)
    if not isinstance(tagger, Classifier) or len(tagger.classes.names) != count:
        raise BadInput(
            f"{recipe.name} is of a classifier with {count} classes, and {recipe.spec} is none; mend its spec"
        )
    labels = data.labels
    if len(set(labels)) < count:
        labels = tuple(f"{label} ({row})" for row, label in enumerate(labels))
    return replace(tagger, classes=ClassNames.of(labels)), replace(data, labels=labels)


def _imagenet(root: str, *, named: bool) -> LabeledSet:
    """Return ImageNet's images, in the order of the synsets, with the names that OpenAI gave its labels where asked.

    Raises:
        BadInput: there are other folders than those of its 1,000 synsets.
    """
    from open_clip import IMAGENET_CLASSNAMES

    inner = os.path.join(root, "val")
    data = load_labeled(inner if os.path.isdir(inner) else root, "imagefolder")
    odd = next((label for label in data.labels if not _SYNSET.fullmatch(label)), None)
    if odd is not None or len(data.labels) != len(IMAGENET_CLASSNAMES):
        said = f"the folder {odd!r}" if odd is not None else f"{len(data.labels)} folders"
        raise BadInput(f"{root!r} has {said} in place of one for each of ImageNet's 1,000 synsets; check the path")
    return replace(data, labels=tuple(IMAGENET_CLASSNAMES)) if named else data


# --- the file


def _parsed(text: str, path: str) -> dict[str, Recipe | ImageRecipe]:
    try:
        whole = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{path!r} is no TOML ({error}); mend it") from error
    sets, images = dict(whole.get("recipe", {})), dict(whole.get("example", {}))
    if not sets and not images:
        raise BadInput(f"{path!r} has no [recipe.NAME] or [example.NAME]; add one, as in evaluate/recipes.toml")
    if both := sets.keys() & images.keys():
        raise BadInput(f"{path!r} has two recipes called {min(both)!r}; rename one")
    made: dict[str, Recipe | ImageRecipe] = {name: _recipe(name, row, whole, path) for name, row in sets.items()}
    return made | {name: image_recipe(name, row, whole, path) for name, row in images.items()}


def _recipe(name: str, row: Mapping[str, Any], whole: Mapping[str, Any], path: str) -> Recipe:
    """Return a recipe, joined with its data and its source.

    Raises:
        BadInput: something is missing, or is of another kind.
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
        raise BadInput(f"{path!r}, recipe {name!r}, lacks or misstates {error}; see evaluate/recipes.toml") from error
    if made.kind not in (*_IMAGENET, "imagefolder", *TORCHVISION):
        raise BadInput(
            f"{path!r}, recipe {name!r}, has data of kind {made.kind!r}; give imagenet, imagefolder or a set"
        )
    if not (0 <= made.top1 <= 1 and made.tolerance >= 0):
        raise BadInput(f"{path!r}, recipe {name!r}, has a top1 outside 0 to 1 or a tolerance below 0; mend it")
    return made
