"""Compose scenes: named drawings on a procedural ground, with exact boxes and masks.

A scene is 256 x 256. Objects are 28 to 128 pixels long (64 to 150 where a scene holds a single one), scaled, turned,
mirrored and recolored; a later object may cover an earlier one, of which at least 55 % stays visible.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput
from training.backgrounds import background
from training.drawings import Drawings

__all__ = ["DENSE", "ORDINARY", "SINGLE", "Scene", "SceneKind", "bank", "compose"]

cv2.setNumThreads(1)

Rng = np.random.Generator
Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]

SIDE = 256
LEAST_VISIBLE = 0.55


@dataclass(frozen=True, eq=False, slots=True)
class Scene:
    """One composed image and its truth.

    image    (256, 256, 3) uint8 RGB.
    instances  (256, 256) uint8: 0 is ground, k + 1 is object k.
    labels     (N,) int64 indices into the vocabulary.
    xyxy       (N, 4) float32: left, top, right, bottom in pixels, half-open, around the visible part.
    """

    image: Bytes
    instances: Bytes
    labels: NDArray[np.int64]
    xyxy: Floats


@dataclass(frozen=True, slots=True)
class SceneKind:
    """How many objects a scene holds, and how long their longer side is in pixels.

    counts   the share of scenes with 1, 2, 3... objects.
    wild     how strongly drawings are recolored and outlined: 0 never, 1 as in training.
    """

    counts: tuple[float, ...]
    smallest: float
    largest: float
    wild: float = 0.0


ORDINARY = SceneKind((0.22, 0.20, 0.18, 0.15, 0.13, 0.12), 28, 128)
SINGLE = SceneKind((1.0,), 64, 150)
DENSE = SceneKind((0, 0, 0, 0.1, 0.15, 0.15, 0.15, 0.15, 0.15, 0.15), 24, 112, wild=1.0)


def bank(styles: Sequence[Drawings], labels: Sequence[str]) -> list[list[list[Bytes]]]:
    """Arrange drawings as [label][style][drawing], leaving out styles that lack a label.

    Raises:
        BadInput: no style has a drawing of some label.
    """
    arranged = [[style[label] for style in styles if style.get(label)] for label in labels]
    missing = [label for label, found in zip(labels, arranged, strict=True) if not found]
    if missing:
        raise BadInput(f"no drawing of: {', '.join(missing)}")
    return arranged


def _recolor(rng: Rng, rgb: Bytes, strength: float) -> Bytes:
    """Shift hue, saturation and value of (H, W, 3)."""
    hsv = cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV).astype(np.float32)
    hsv[..., 0] = (hsv[..., 0] + rng.normal(0, 5 * strength)) % 180
    hsv[..., 1] *= 1 + rng.uniform(-0.35, 0.25) * strength
    hsv[..., 2] = hsv[..., 2] * (1 + rng.uniform(-0.3, 0.15) * strength) + rng.uniform(-14, 14) * strength
    return np.asarray(cv2.cvtColor(np.clip(hsv, 0, [179, 255, 255]).astype(np.uint8), cv2.COLOR_HSV2RGB), np.uint8)


def _outline(rng: Rng, drawing: Bytes) -> Bytes:
    """Give a drawing a dark, light or colored rim, as other styles have."""
    width = int(rng.integers(2, 6))
    padded = cv2.copyMakeBorder(drawing, width, width, width, width, cv2.BORDER_CONSTANT, value=(0, 0, 0, 0))
    alpha = padded[..., 3]
    fat = cv2.dilate(alpha, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * width + 1, 2 * width + 1)))
    shade = rng.choice([20, 60, 245]) + rng.integers(-15, 10, 3)
    share = alpha[..., None] / 255.0
    rgb = padded[..., :3] * share + np.clip(shade, 0, 255) * (1 - share)
    return np.dstack([rgb.astype(np.uint8), fat])


def _flatten(rng: Rng, drawing: Bytes) -> Bytes:
    """Reduce a drawing to few tones, as flat styles have."""
    levels = int(rng.integers(3, 7))
    smooth = cv2.medianBlur(np.ascontiguousarray(drawing[..., :3]), 7)
    rgb = (np.round(smooth / 255.0 * levels) / levels * 255).astype(np.uint8)
    return np.dstack([rgb, drawing[..., 3]])


def _restyle(rng: Rng, drawing: Bytes, wild: float) -> Bytes:
    if rng.random() < 0.15 * wild:
        drawing = _outline(rng, drawing)
    if rng.random() < 0.12 * wild:
        drawing = _flatten(rng, drawing)
    if wild:
        drawing = _vary(rng, drawing)
    return np.dstack([_recolor(rng, np.ascontiguousarray(drawing[..., :3]), 1 + 0.6 * wild), drawing[..., 3]])


def _vary(rng: Rng, drawing: Bytes) -> Bytes:
    """Change a drawing as styles differ: other hues, no hue, softer edges, and light that falls from one side."""
    rgb = np.ascontiguousarray(drawing[..., :3])
    chance = rng.random()
    if chance < 0.12:
        hsv = cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV)
        hsv[..., 0] = (hsv[..., 0].astype(np.int32) + int(rng.integers(-30, 31))) % 180
        rgb = np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.uint8)
    elif chance < 0.17:
        gray = rgb.mean(2, keepdims=True)
        rgb = (gray + (rgb - gray) * rng.uniform(0, 0.4)).astype(np.uint8)
    elif chance < 0.27:
        rgb = np.asarray(cv2.GaussianBlur(rgb, (0, 0), rng.uniform(0.8, 2.5)), np.uint8)
    if rng.random() < 0.35:
        rows, columns = np.mgrid[0 : rgb.shape[0], 0 : rgb.shape[1]].astype(np.float32)
        turn = rng.uniform(0, 2 * math.pi)
        along = columns / rgb.shape[1] * math.cos(turn) + rows / rgb.shape[0] * math.sin(turn)
        light = 1 + (along - along.mean())[..., None] * rng.uniform(0.1, 0.6)
        rgb = np.clip(rgb * light, 0, 255).astype(np.uint8)
    return np.dstack([rgb, drawing[..., 3]])


def _shrink(drawing: Floats, scale: float) -> Floats:
    """Area-average (H, W, 4) premultiplied so that warping it does not alias."""
    height, width = drawing.shape[:2]
    size = max(2, round(width * scale * 1.2)), max(2, round(height * scale * 1.2))
    return np.asarray(cv2.resize(drawing, size, interpolation=cv2.INTER_AREA), np.float32)


def _transform(rng: Rng, drawing: Bytes, length: float, degrees: float) -> tuple[Bytes, Floats] | None:
    """Scale, stretch, mirror and turn a drawing; return (h, w, 3) RGB and (h, w) alpha in 0 to 1, tight, or None."""
    if rng.random() < 0.5:
        drawing = drawing[:, ::-1]
    scale = length / max(drawing.shape[:2])
    wide, high = drawing.shape[1] * scale, drawing.shape[0] * scale
    stretch = math.exp(rng.normal(0, 0.07) / 2)
    wide, high = wide * stretch, high / stretch
    work = drawing.astype(np.float32)
    work[..., :3] *= work[..., 3:] / 255
    if scale < 0.8:
        work = _shrink(work, scale)
    height, width = work.shape[:2]
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    size = int(wide * abs(cos) + high * abs(sin)) + 3, int(wide * abs(sin) + high * abs(cos)) + 3
    turn = np.array([[wide / width * cos, -high / height * sin], [wide / width * sin, high / height * cos]])
    shift = np.array(size) / 2 - turn @ np.array([width / 2, height / 2])
    moved = cv2.warpAffine(work, np.hstack([turn, shift[:, None]]), size, flags=cv2.INTER_LINEAR)
    return _tight(np.asarray(moved, np.float32))


def _tight(work: NDArray[np.float32]) -> tuple[Bytes, Floats] | None:
    alpha = work[..., 3] / np.float32(255)
    rgb = np.clip(work[..., :3] / np.maximum(alpha, 1e-3)[..., None], 0, 255).astype(np.uint8)
    rows, columns = np.where((alpha > 0.5).any(1))[0], np.where((alpha > 0.5).any(0))[0]
    if len(rows) < 3 or len(columns) < 3:
        return None
    window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return rgb[window], alpha[window]


class _Canvas:
    """A scene being composed."""

    def __init__(self, ground: Bytes) -> None:
        self.image = ground
        self.instances = np.zeros(ground.shape[:2], np.uint8)
        self.labels: list[int] = []
        self._areas: list[int] = []

    def place(self, rng: Rng, label: int, rgb: Bytes, alpha: Floats, wild: float = 0.0) -> bool:
        """Paste at a random place; refuse where an earlier object would be too much covered."""
        side, (height, width) = len(self.image), alpha.shape
        if height >= side - 2 or width >= side - 2:
            return False
        x, y = int(rng.integers(0, side - width)), int(rng.integers(0, side - height))
        window = slice(y, y + height), slice(x, x + width)
        solid = alpha > 0.5
        covered = np.bincount(self.instances[window][solid], minlength=len(self._areas) + 1)[1:]
        seen = np.bincount(self.instances.ravel(), minlength=len(self._areas) + 1)[1:]
        if np.any(seen - covered < LEAST_VISIBLE * np.array(self._areas, np.float64)):
            return False
        if rng.random() < 0.15:
            self._shadow(x, y, alpha)
        elif wild and rng.random() < 0.25:
            self._cast(rng, x, y, alpha)
        detection = self.image[window]
        detection[:] = (detection * (1 - alpha[..., None]) + rgb * alpha[..., None]).astype(np.uint8)
        self.labels.append(label)
        self._areas.append(int(solid.sum()))
        self.instances[window][solid] = len(self.labels)
        return True

    def _shadow(self, x: int, y: int, alpha: Floats) -> None:
        side, (height, width) = len(self.image), alpha.shape
        offset = max(1, int(max(height, width) * 0.05))
        soft = cv2.GaussianBlur(alpha, (0, 0), offset) * 0.4
        top, left = min(side - height, y + offset), min(side - width, x + offset)
        detection = self.image[top : top + height, left : left + width]
        detection[:] = (detection * (1 - soft[..., None])).astype(np.uint8)

    def _cast(self, rng: Rng, x: int, y: int, alpha: Floats) -> None:
        """Darken the ground by a soft shadow that falls to any side."""
        reach = max(alpha.shape)
        shade = np.zeros(self.image.shape[:2], np.float32)
        shade[y : y + alpha.shape[0], x : x + alpha.shape[1]] = alpha
        shift = np.array([[1, 0, rng.normal(0, 0.1) * reach], [0, 1, rng.uniform(0, 0.18) * reach]], np.float32)
        moved = cv2.warpAffine(shade, shift, shade.shape[::-1])
        soft = cv2.GaussianBlur(moved, (0, 0), max(0.8, rng.uniform(0.01, 0.08) * reach)) * rng.uniform(0.2, 0.7)
        self.image[:] = (self.image * (1 - soft[..., None])).astype(np.uint8)

    def boxes(self) -> Floats:
        found = []
        for number in range(1, len(self.labels) + 1):
            rows, columns = np.where(self.instances == number)
            found.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        return np.array(found, np.float32)


def _weather(rng: Rng, image: Bytes) -> Bytes:
    """Blur a fifth of the images and compress another fifth."""
    chance = rng.random()
    if chance < 0.2:
        return np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 0.9)), np.uint8)
    if chance < 0.4:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(45, 95))]
        return np.asarray(cv2.imdecode(cv2.imencode(".jpg", image, quality)[1], cv2.IMREAD_COLOR), np.uint8)
    return image


def _add(rng: Rng, canvas: _Canvas, drawings: list[list[list[Bytes]]], kind: SceneKind) -> None:
    """Place one object of a random label and style; give up after 12 tries."""
    for _ in range(12):
        label = int(rng.integers(len(drawings)))
        style = drawings[label][rng.integers(len(drawings[label]))]
        drawing = _restyle(rng, style[rng.integers(len(style))], kind.wild)
        length = math.exp(rng.uniform(math.log(kind.smallest), math.log(kind.largest)))
        degrees = rng.normal(0, 12) if rng.random() < 0.9 else rng.uniform(-180, 180)
        cut = _transform(rng, drawing, length, degrees)
        if cut is not None and canvas.place(rng, label, *cut, wild=kind.wild):
            return


def compose(
    rng: Rng,
    drawings: list[list[list[Bytes]]],
    kind: SceneKind = ORDINARY,
    ground: Callable[[Rng], Bytes] = background,
) -> Scene:
    """Compose one scene.

    Args:
        rng: all randomness comes from here, so a seed names a scene.
        drawings: [label][style][drawing], as bank returns it.
        kind: how many objects and how large.
        ground: draws the ground, (256, 256, 3) uint8 RGB.
    """
    count = 1 + int(rng.choice(len(kind.counts), p=np.array(kind.counts) / sum(kind.counts)))
    canvas = _Canvas(ground(rng))
    while not canvas.labels:
        for _ in range(count):
            _add(rng, canvas, drawings, kind)
    image = _weather(rng, canvas.image)
    return Scene(image, canvas.instances, np.array(canvas.labels, np.int64), canvas.boxes())
