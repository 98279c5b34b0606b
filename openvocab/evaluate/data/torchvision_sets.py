"""The classification data sets of torchvision, read by its own classes; nothing is downloaded."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from types import MappingProxyType
from typing import Any

from openvocab.errors import BadInput, unknown
from openvocab.evaluate.data.labeled import LabeledImage, LabeledSet
from openvocab.evaluate.data.safe_read import parsing, regular_files
from openvocab.images.items import Item

__all__ = ["TORCHVISION", "load_torchvision"]


@dataclass(frozen=True, slots=True)
class _Kind:
    """Arguments and files of a class of torchvision.

    Attributes:
        test: Arguments that select its test images, or its validation images if there is no test split.
        files: The files that it needs in its root folder.
        names: Its attribute with the labels, in the order of their indices.
    """

    test: Mapping[str, Any]
    files: str
    names: str = "classes"


_TEST, _NOT_TRAIN, _ALL = {"split": "test"}, {"train": False}, dict[str, Any]()

TORCHVISION: Mapping[str, _Kind] = MappingProxyType(
    {
        "CIFAR10": _Kind(_NOT_TRAIN, "cifar-10-batches-py/"),
        "CIFAR100": _Kind(_NOT_TRAIN, "cifar-100-python/"),
        "Caltech101": _Kind(_ALL, "caltech101/101_ObjectCategories/ and caltech101/Annotations/", "categories"),
        "Caltech256": _Kind(_ALL, "caltech256/256_ObjectCategories/", "categories"),
        "Country211": _Kind(_TEST, "country211/test/"),
        "DTD": _Kind(_TEST, "dtd/dtd/images/ and dtd/dtd/labels/"),
        "EuroSAT": _Kind(_ALL, "eurosat/2750/"),
        "FGVCAircraft": _Kind(_TEST, "fgvc-aircraft-2013b/data/"),
        "FashionMNIST": _Kind(_NOT_TRAIN, "FashionMNIST/raw/"),
        "Flowers102": _Kind(_TEST, "flowers-102/ with jpg/, imagelabels.mat and setid.mat"),
        "Food101": _Kind(_TEST, "food-101/images/ and food-101/meta/"),
        "ImageNet": _Kind({"split": "val"}, "val/ with a folder a class, and ILSVRC2012_devkit_t12.tar.gz"),
        "Imagenette": _Kind({"split": "val"}, "imagenette2/"),
        "KMNIST": _Kind(_NOT_TRAIN, "KMNIST/raw/"),
        "MNIST": _Kind(_NOT_TRAIN, "MNIST/raw/"),
        "OxfordIIITPet": _Kind(_TEST, "oxford-iiit-pet/images/ and oxford-iiit-pet/annotations/"),
        "Places365": _Kind({"split": "val", "small": True}, "val_256/, categories_places365.txt and places365_val.txt"),
        "QMNIST": _Kind({"what": "test"}, "QMNIST/raw/"),
        "RenderedSST2": _Kind(_TEST, "rendered-sst2/test/"),
        "STL10": _Kind(_TEST, "stl10_binary/"),
        "SUN397": _Kind(_ALL, "SUN397/ with ClassName.txt"),
        "StanfordCars": _Kind(_TEST, "stanford_cars/ with devkit/, cars_test/ and cars_test_annos_withlabels.mat"),
    }
)
"""Name of the class -> how to load its test images; classes without a split give all their images."""


def load_torchvision(path: str) -> LabeledSet:
    """Return the test images of a data set.

    Labels are those of torchvision, such as aquarium_fish; of several names for one label, the first.

    Args:
        path: NAME:ROOT, such as CIFAR10:/data; ROOT is the root argument of torchvision's class.

    Raises:
        BadInput: ROOT is missing, or torchvision cannot read it; the message lists the files that it needs.
        UnknownName: torchvision has no such class.
    """
    name, sign, root = path.partition(":")
    if not sign or not root:
        raise BadInput(f"{path!r} names no folder; write NAME:ROOT, such as CIFAR10:/data")
    if name not in TORCHVISION:
        raise unknown("torchvision data set", name, TORCHVISION)
    kind = TORCHVISION[name]
    data = _opened(name, root, kind)
    labels = tuple(_label(each) for each in getattr(data, kind.names))
    return LabeledSet(path, labels, False, partial(_images, path, data, len(labels)))


def _opened(name: str, root: str, kind: _Kind) -> Any:
    from torchvision import datasets

    first = kind.files.split()[0].rstrip(",")
    remedy = f"download the data set, so that {root!r} contains {kind.files}"
    if not os.path.exists(os.path.join(root, first)):  # some of torchvision's classes create a folder here
        raise BadInput(f"torchvision's {name} cannot read {root!r} (no {first} in it); {remedy}")
    _refuse_special(os.path.join(root, first.partition("/")[0]))
    try:
        return getattr(datasets, name)(root, **kind.test)
    except Exception as error:  # any parser of a broken file can raise anything
        message = str(error).partition(". You can use download")[0][:200] or type(error).__name__
        raise BadInput(f"torchvision's {name} cannot read {root!r} ({message}); {remedy}") from error


def _refuse_special(folder: str) -> None:
    """Check the files of a data set: torchvision would block on a pipe, and follow a loop of links forever.

    Raises:
        BadInput: one is not a regular file, or links lead to the same folder twice.
    """
    for file in regular_files(folder):
        if not os.path.isfile(file):
            raise BadInput(f"{file!r} is not a regular file; replace it or remove it")


def _label(given: object) -> str:
    first = given[0] if isinstance(given, tuple | list) else given
    return " ".join(str(first).split())


def _images(path: str, data: Any, labels: int) -> Iterator[LabeledImage]:
    """Yield the images, each as the bytes of a lossless PNG file.

    Raises:
        BadInput: one cannot be read, or its label has no name.
    """
    for number in range(len(data)):
        where, file = f"{path}::{number}", BytesIO()
        with parsing(f"{where!r} cannot be read", "download the data set again"):
            image, given = data[number]
            image.save(file, "PNG", compress_level=1)
            label = int(given)
        if not 0 <= label < labels:
            raise BadInput(f"{where!r} has label {label}, but the data set has {labels} labels; download it again")
        yield LabeledImage(Item(where, data=file.getvalue()), (label,))
