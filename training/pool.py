"""A pool of composed scenes on disk, read as memory maps, and the batches that training draws from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from training.backgrounds import BackgroundBank
from training.scenes import SIDE, SceneKind, compose

__all__ = ["Batch", "Pool", "write_pool"]

MOST = 10
"""Objects a scene holds at most."""


@dataclass(frozen=True, eq=False, slots=True)
class Batch:
    """B scenes as tensors.

    images   (B, 3, 256, 256) float32 RGB in 0 to 1.
    instances  (B, 256, 256) uint8: 0 ground, k + 1 object k.
    labels     (B, 10) int64, -1 where there is no object.
    xyxy       (B, 10, 4) float32 pixels.
    """

    images: Tensor
    instances: Tensor
    labels: Tensor
    xyxy: Tensor


def write_pool(
    path: Path,
    count: int,
    seed: int,
    drawings: list[list[list[NDArray[np.uint8]]]],
    kind: SceneKind,
    *,
    fast: bool = True,
) -> None:
    """Compose count scenes into path-*.npy; what is there already is kept.

    Args:
        fast: draw grounds from a bank of 1,500 instead of anew for each scene.
    """
    done = path.with_name(path.name + "-truth.npz")
    if done.exists():
        return
    rng = np.random.default_rng(seed)
    shape = (count, SIDE, SIDE)
    images = np.lib.format.open_memmap(f"{path}-images.npy", "w+", np.uint8, (*shape, 3))
    instances = np.lib.format.open_memmap(f"{path}-instances.npy", "w+", np.uint8, shape)
    labels = np.full((count, MOST), -1, np.int16)
    xyxy = np.zeros((count, MOST, 4), np.float32)
    ground = {"ground": BackgroundBank(seed + 1).draw} if fast else {}
    for index in range(count):
        scene = compose(rng, drawings, kind, **ground)
        images[index], instances[index] = scene.image, scene.instances
        labels[index, : len(scene.labels)], xyxy[index, : len(scene.labels)] = scene.labels, scene.xyxy
    np.savez(done, labels=labels, xyxy=xyxy)


class Pool:
    """Scenes written by write_pool."""

    def __init__(self, path: Path) -> None:
        self._images = np.load(f"{path}-images.npy", mmap_mode="r")
        self._instances = np.load(f"{path}-instances.npy", mmap_mode="r")
        truth = np.load(f"{path}-truth.npz")
        self._labels, self._xyxy = truth["labels"].astype(np.int64), truth["xyxy"]

    def __len__(self) -> int:
        return len(self._labels)

    def take(self, rows: NDArray[np.int64]) -> Batch:
        """Read those scenes as they are."""
        images = torch.from_numpy(np.stack([self._images[row] for row in rows]))
        return Batch(
            images.permute(0, 3, 1, 2).float().div_(255),
            torch.from_numpy(np.stack([self._instances[row] for row in rows])),
            torch.from_numpy(self._labels[rows]),
            torch.from_numpy(self._xyxy[rows].copy()),
        )

    def draw(
        self, rng: np.random.Generator, size: int, zoom: float = 0.0, sides: Sequence[int] = (128, 144, 176, 208)
    ) -> Batch:
        """Read size random scenes, mirrored, recolored and slightly grained.

        Args:
            zoom: the share of batches that show a window of each scene, enlarged.
            sides: of such a window in pixels, one for a batch.
        """
        batch = self.take(np.sort(rng.integers(0, len(self), size)))
        if rng.random() < zoom:
            batch = zoomed(rng, batch, int(rng.choice(sides)))
        images, instances, xyxy = batch.images, batch.instances, batch.xyxy
        if rng.random() < 0.5:
            images, instances = images.flip(3), instances.flip(2)
            left, right = SIDE - xyxy[..., 2], SIDE - xyxy[..., 0]
            mirrored = torch.stack([left, xyxy[..., 1], right, xyxy[..., 3]], -1)
            xyxy = torch.where((batch.labels >= 0)[..., None], mirrored, xyxy)
        return Batch(_recolor(rng, images), instances, batch.labels, xyxy)


def zoomed(rng: np.random.Generator, batch: Batch, side: int) -> Batch:
    """Enlarge a window of side x side around an object of each scene to the scene's size.

    Objects of which less than 40 % lie in the window lose their label; boxes are cut to the window.
    """
    parts = [_window(rng, batch, row, side) for row in range(len(batch.labels))]
    images = F.interpolate(torch.stack([part.images for part in parts]), SIDE, mode="bilinear")
    instances = F.interpolate(torch.stack([part.instances for part in parts])[:, None], SIDE)[:, 0]
    labels = torch.stack([part.labels for part in parts])
    return Batch(images, instances, labels, torch.stack([part.xyxy for part in parts]) * (SIDE / side))


def _window(rng: np.random.Generator, batch: Batch, row: int, side: int) -> Batch:
    """One window with a labeled object as a Batch without its first axis, boxes in the window's pixels."""
    labels, xyxy, instances = batch.labels[row], batch.xyxy[row], batch.instances[row]
    left, top, right, bottom = xyxy[rng.integers(int((labels >= 0).sum()))].tolist()
    center = rng.uniform(left, right), rng.uniform(top, bottom)
    x, y = (int(np.clip(at - side * rng.uniform(0.25, 0.75), 0, SIDE - side)) for at in center)
    window = instances[y : y + side, x : x + side]
    whole, seen = (torch.bincount(part.flatten().int(), minlength=MOST + 1)[1:] for part in (instances, window))
    boxes = (xyxy - torch.tensor([x, y, x, y])).clamp(0, side)
    kept = (labels >= 0) & (seen >= 0.4 * whole)
    if not kept.any():
        return _window(rng, batch, row, side)
    image = batch.images[row, :, y : y + side, x : x + side]
    return Batch(image, window, torch.where(kept, labels, -1), torch.where(kept[:, None], boxes, 0.0))


def _uniform(rng: np.random.Generator, low: float, high: float, *shape: int) -> Tensor:
    return torch.from_numpy(rng.uniform(low, high, shape).astype(np.float32))


def _recolor(rng: np.random.Generator, images: Tensor) -> Tensor:
    """Change each image's gain, offset, saturation and grain."""
    size = len(images)
    images = images * _uniform(rng, 0.8, 1.2, size, 3, 1, 1) + _uniform(rng, -0.08, 0.08, size, 1, 1, 1)
    gray = images.mean(1, keepdim=True)
    images = gray + (images - gray) * _uniform(rng, 0.6, 1.25, size, 1, 1, 1)
    chance = rng.random()
    if chance < 0.25:
        images = images + torch.randn_like(images) * float(rng.uniform(0.005, 0.05))
    elif chance < 0.4:
        images = torch.where(torch.rand(size, 1, 1, 1) < 0.5, _blurred(images), images)
    elif chance < 0.5:
        images = images.clamp(0.001, 1) ** _uniform(rng, 0.6, 1.6, size, 1, 1, 1)
    return images.clamp_(0, 1)


def _blurred(images: Tensor) -> Tensor:
    """Average 3 x 3 pixels."""
    return F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, 1)
