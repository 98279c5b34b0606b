"""Images on which an export is compared with its source and from which int8 takes its ranges."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from openvocab.errors import BadInput
from openvocab.images.read import read_image
from openvocab.images.sources import find_images
from openvocab.pipeline.examples import example_scenes
from openvocab.pipeline.protocols import ImageArray
from openvocab.prompts.labels import read_labels

__all__ = ["DEFAULT_LABELS", "Samples"]

DEFAULT_LABELS = "pocket"
"""The label set that is asked for where the images have no labels: names of everyday objects."""


@dataclass(frozen=True, slots=True)
class Samples:
    """Images of a folder, or the example images that ship with the package.

    Attributes:
        paths: The image files.
        labels: The vocabulary.
        targets: The index of each image's label; None where the images have none.
    """

    paths: tuple[Path, ...]
    labels: tuple[str, ...]
    targets: tuple[int, ...] | None

    @classmethod
    def of(cls, folder: str | Path | None, labels: str | Sequence[str] | None) -> Samples:
        """Find the images.

        Args:
            folder: With one folder of images for each label, or with images; None for the example images.
            labels: The vocabulary; None for the names of the folders, else DEFAULT_LABELS.

        Raises:
            BadInput: The folder holds no image, or a label is no name of a folder.
        """
        if folder is None:
            return cls(tuple(scene.path for scene in example_scenes()), read_labels(labels or DEFAULT_LABELS), None)
        paths, top = find_images(folder), Path(folder)
        if not paths:
            raise BadInput(f"{folder} holds no image; name a folder of images like those that will be tagged")
        names = [path.relative_to(top).parts[0] if len(path.relative_to(top).parts) > 1 else "" for path in paths]
        kinds = sorted(set(names))
        if "" in kinds or len(kinds) < 2:
            return cls(tuple(paths), read_labels(labels or DEFAULT_LABELS), None)
        words = read_labels(labels or kinds)
        lacking = sorted(set(kinds).difference(words))
        if lacking:
            raise BadInput(f"{folder}: the folder {lacking[0]!r} is none of the labels; add it or leave out the labels")
        return cls(tuple(paths), words, tuple(words.index(name) for name in names))

    def images(self, count: int | None = None) -> Iterator[ImageArray]:
        """Yield the images; with a count, so many, spread evenly over the folder."""
        step = 1 if count is None else max(1, len(self.paths) // count)
        for path in self.paths[::step][:count]:
            yield read_image(path)

    def batches(self, size: int) -> Iterator[list[ImageArray]]:
        """Yield the images, so many at a time."""
        for start in range(0, len(self.paths), size):
            yield [read_image(path) for path in self.paths[start : start + size]]
