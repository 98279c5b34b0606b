"""ImageFolder: one folder a label, with its pictures in it at any depth, as torchvision's class reads it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from functools import partial

from openvocab.errors import BadInput, OpenVocabWarning
from openvocab.evaluate.data.guarded import regular_files
from openvocab.evaluate.data.records import Labelled, LabelledSet
from openvocab.images.sources import Item, looks_like_picture
from openvocab.prompts.labels import check_labels

__all__ = ["load_image_folder"]


def load_image_folder(path: str) -> LabelledSet:
    """Return the set; labels are the names of the folders in the order of sorted(), pictures in that of their names.

    A folder without a picture stays among the labels, with a warning; so do pictures outside any folder, left out.

    Raises:
        BadInput: it is no folder, has no folder within, or holds no picture; or a name cannot be a label.
    """
    if not os.path.isdir(path):
        raise BadInput(f"{path!r} is no folder; give the folder that holds one folder a label")
    names = sorted(each.name for each in os.scandir(path) if each.is_dir() and not each.name.startswith("."))
    if not names:
        raise BadInput(f"{path!r} holds no folder; put the pictures of each label into a folder of its name")
    empty = [name for name in names if not sum(1 for _ in _files(os.path.join(path, name)))]
    if len(empty) == len(names):
        raise BadInput(f"the {len(names)} folders in {path!r} hold no picture; check the path")
    if empty:
        said = f"{len(empty)} of {len(names)} folders in {path!r} hold no picture, the first is {empty[0]!r}"
        warnings.warn(f"{said}; they stay among the labels", OpenVocabWarning, stacklevel=2)
    loose = [each.name for each in os.scandir(path) if each.is_file() and looks_like_picture(each.path)]
    if loose:
        said = f"{len(loose)} pictures in {path!r} lie in no label's folder, such as {min(loose)!r}"
        warnings.warn(f"{said}; they are left out", OpenVocabWarning, stacklevel=2)
    return LabelledSet(path, check_labels(names), False, partial(_pictures, path, names))


def _files(folder: str) -> Iterator[str]:
    return (file for file in regular_files(folder) if not _hidden(file) and looks_like_picture(file))


def _hidden(file: str) -> bool:
    return os.path.basename(file).startswith(".")


def _pictures(path: str, names: Sequence[str]) -> Iterator[Labelled]:
    for row, name in enumerate(names):
        for file in _files(os.path.join(path, name)):
            yield Labelled(Item(file, file, listed=True), (row,))
