"""The example scenes that ship with the package, with their ground truth."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["ExampleScene", "example_scenes"]


@dataclass(frozen=True, eq=False, slots=True)
class ExampleScene:
    """One composed image with its ground truth.

    Attributes:
        name: Name of the scene.
        path: The image, 256 x 256.
        labels: N labels of the vocabulary `pocket`.
        xyxy: (N, 4) float32: left, top, right, bottom in pixels, half-open, of the visible part.
        instances_path: A gray PNG of the same size: 0 is ground, k + 1 is object k.
        style: The package of drawings that the scene was composed from.
    """

    name: str
    path: Path
    labels: tuple[str, ...]
    xyxy: NDArray[np.float32]
    instances_path: Path
    style: str

    def masks(self) -> NDArray[np.bool_]:
        """(N, 256, 256) true masks."""
        from PIL import Image

        with Image.open(self.instances_path) as image:
            numbers = np.array(image)
        return np.stack([numbers == number + 1 for number in range(len(self.labels))])


def example_scenes() -> list[ExampleScene]:
    """The scenes, in order."""
    folder = Path(str(files("openvocab") / "weights" / "pocket" / "examples"))
    truth = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
    return [
        ExampleScene(
            scene["name"],
            folder / f"{scene['name']}.png",
            tuple(scene["labels"]),
            np.array(scene["xyxy"], np.float32).reshape(-1, 4),
            folder / f"{scene['name']}-instances.png",
            scene["style"],
        )
        for scene in truth
    ]
