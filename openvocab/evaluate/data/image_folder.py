"""ImageFolder: one folder per label with its images at any depth, as torchvision's class reads it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from functools import partial

from openvocab.errors import BadInput, OpenVocabWarning, counted
from openvocab.evaluate.data.labeled import LabeledImage, LabeledSet
from openvocab.evaluate.data.safe_read import regular_files
from openvocab.images.files import looks_like_image
from openvocab.images.items import Item
from openvocab.prompts.labels import check_labels

__all__ = ["load_image_folder"]


def load_image_folder(path: str) -> LabeledSet:
    """Return the data set; labels are the sorted names of the folders, and images are sorted by name.

    A folder without an image stays among the labels, and images outside any folder are left out, both with a warning.

    Raises:
        BadInput: it is not a folder, contains no folder or no image, or a name cannot be a label.
    """
    if not os.path.isdir(path):
        raise BadInput(f"{path!r} is not a folder; give the folder that contains one folder per label")
    names = sorted(each.name for each in os.scandir(path) if each.is_dir() and not each.name.startswith("."))
    if not names:
        raise BadInput(f"{path!r} contains no folder; put the images of each label into a folder of its name")
    empty = [name for name in names if not sum(1 for _ in _files(os.path.join(path, name)))]
    if len(empty) == len(names):
        raise BadInput(f"no folder in {path!r} contains an image; check the path")
    if empty:
        message = f"{len(empty)} of {len(names)} folders in {path!r} contain no image, the first is {empty[0]!r}"
        warnings.warn(f"{message}; they stay among the labels", OpenVocabWarning, stacklevel=2)
    outside = [each.name for each in os.scandir(path) if each.is_file() and looks_like_image(each.path)]
    if outside:
        found = counted(len(outside), "image")
        message = f"{found} in {path!r} outside the labels' folders, such as {min(outside)!r}"
        warnings.warn(f"{message}; they are left out", OpenVocabWarning, stacklevel=2)
    return LabeledSet(path, check_labels(names), False, partial(_images, path, names))


def _files(folder: str) -> Iterator[str]:
    return (file for file in regular_files(folder) if not _hidden(file) and looks_like_image(file))


def _hidden(file: str) -> bool:
    return os.path.basename(file).startswith(".")


def _images(path: str, names: Sequence[str]) -> Iterator[LabeledImage]:
    for row, name in enumerate(names):
        for file in _files(os.path.join(path, name)):
            yield LabeledImage(Item(file, file, listed=True), (row,))
