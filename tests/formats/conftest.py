"""Rows of every sort, with their images on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from openvocab.batch.rows import Row
from openvocab.pipeline.detections import Detections
from openvocab.pipeline.result import Tag

LABELS = ("犬", "unseen", '=HYPERLINK("x")', 'a,"b"', "<&>", "no: 'yes'")
HEIGHT, WIDTH = 30, 43
BOXES = np.array([[1.25, 2.5, 20.125, 14.75], [0, 0, 43, 30], [40.0625, 3, 43, 4], [7, 8.3333, 9.6667, 30]], np.float32)
NAMES = ("犬", '=HYPERLINK("x")', 'a,"b"', "<&>")


@dataclass
class Scene:
    """Rows, the vocabulary, and the masks of the first row."""

    folder: Path
    rows: list[Row]
    labels: Sequence[str]
    masks: NDArray[np.bool_]

    @property
    def good(self) -> list[Row]:
        """The rows of answered inputs."""
        return [row for row in self.rows if row.status == "ok"]


def _masks() -> NDArray[np.bool_]:
    """A solid shape, a ring, two parts and a pixel at the last corner, and random noise."""
    masks = np.zeros((4, HEIGHT, WIDTH), np.bool_)
    masks[0, 3:14, 2:20] = masks[0, 14:17, 5:9] = True
    masks[1, 0:30, 0:43] = True
    masks[1, 10:20, 10:30] = False
    masks[2, 3, 40:43] = masks[2, 29, 42] = masks[2, 6:9, 30:33] = True
    masks[3] = np.random.default_rng(0).random((HEIGHT, WIDTH)) > 0.7
    return masks


def _detections(masks: NDArray[np.bool_] | None) -> Detections:
    scores = np.array([0.9, 0.7, 0.3, 0.1], np.float32)
    sure = None if masks is None else scores[::-1].copy()
    return Detections(BOXES, scores, NAMES, scores, sure, masks).encoded()


@pytest.fixture
def scene(tmp_path: Path) -> Any:
    """Masks, boxes alone, nothing found, tags alone, an error; two folders with files of one stem."""
    folder = tmp_path / "my images"
    names = ["a/same.png", "b/same.png", "b/same.jpg", "b/Same.PNG", "b/<cut>.png", "b/\u3042 x.png"]
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT), "red").save(folder / name)
    ids = [str(folder / name) for name in names]
    size = (WIDTH, HEIGHT, 1)
    known = [(path, hashlib.sha256(Path(path).read_bytes()).hexdigest(), *size) for path in ids]
    rows = [
        Row(*known[0], tags=(Tag("犬", 0.75), Tag('a,"b"', 0.25)), detections=_detections(_masks())),
        Row(*known[1], detections=_detections(None)),
        Row(*known[2], detections=Detections.none((HEIGHT, WIDTH)).encoded()),
        Row(ids[4], None, None, None, None, "truncated", "the file is cut short; =get it again"),
        Row(*known[3], tags=(Tag("<&>", 0.5),)),
        Row(*known[5], detections=_detections(_masks())),
    ]
    return Scene(folder, rows, LABELS, _masks())
