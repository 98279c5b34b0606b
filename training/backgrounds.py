"""Procedural grounds for the composed scenes: gradients, stripes, noise, checks, ground and sky, clutter."""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["BackgroundBank", "background", "natural"]

Floats = NDArray[np.float32]
Rng = np.random.Generator


def _mesh(side: int) -> tuple[Floats, Floats]:
    """Column and row positions, each (side, side) in [0, 1)."""
    rows, columns = np.mgrid[0:side, 0:side].astype(np.float32) / side
    return columns, rows


def _ramp(rng: Rng, side: int) -> Floats:
    x, y = _mesh(side)
    angle = rng.uniform(0, 2 * math.pi)
    along = x * math.cos(angle) + y * math.sin(angle)
    return np.asarray((along - along.min()) / (np.ptp(along) + 1e-6), np.float32)


def _plain(rng: Rng, side: int) -> Floats:
    return np.zeros((side, side), np.float32)


def _stripes(rng: Rng, side: int) -> Floats:
    wave = np.sin(_ramp(rng, side) * rng.uniform(15, 120)) * rng.uniform(0.5, 3) + 0.5
    return np.asarray(wave.clip(0, 1) * rng.uniform(0.2, 1), np.float32)


def _noise(rng: Rng, side: int) -> Floats:
    mixed = np.zeros((side, side), np.float32)
    for octave in (4, 8, 16, 32, 64):
        coarse = rng.random((octave, octave), np.float32)
        mixed += cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC) * (4.0 / octave) ** rng.uniform(0.3, 1)
    return np.asarray((mixed - mixed.min()) / np.ptp(mixed), np.float32)


def _checks(rng: Rng, side: int) -> Floats:
    x, y = _mesh(side)
    angle, cells = rng.uniform(0, 2 * math.pi), rng.uniform(3, 16)
    u, v = x * math.cos(angle) - y * math.sin(angle), x * math.sin(angle) + y * math.cos(angle)
    return ((np.floor(u * cells) + np.floor(v * cells)) % 2).astype(np.float32) * np.float32(rng.uniform(0.15, 0.8))


def _horizon(rng: Rng, side: int) -> Floats:
    x, y = _mesh(side)
    edge = rng.uniform(0.3, 0.75) - 0.03 * np.sin(x * rng.uniform(2, 20))
    return np.asarray(((y - edge) * rng.uniform(5, 80)).clip(0, 1), np.float32)


_PATTERNS: tuple[Callable[[Rng, int], Floats], ...] = (_ramp, _plain, _stripes, _noise, _checks, _horizon)


def _clutter(rng: Rng, image: Floats) -> Floats:
    """Lay one to five translucent polygons over (side, side, 3)."""
    side = len(image)
    for _ in range(rng.integers(1, 6)):
        corners = rng.uniform(0, side, 2) + rng.uniform(-60, 60, (rng.integers(3, 6), 2))
        over = image.copy()
        cv2.fillPoly(over, [corners.astype(np.int32)], rng.uniform(0, 255, 3).tolist(), lineType=cv2.LINE_AA)
        share = rng.uniform(0.4, 0.95)
        image = np.asarray(over * share + image * (1 - share), np.float32)
    return image


def background(rng: Rng, side: int = 256) -> NDArray[np.uint8]:
    """Draw one ground, (side, side, 3) uint8 RGB."""
    weight = _PATTERNS[rng.integers(len(_PATTERNS))](rng, side)[..., None]
    muted = rng.random() < 0.5
    near, far = (_color(rng, muted) for _ in range(2))
    image = near * (1 - weight) + far * weight
    if rng.random() < 0.4:
        image = _clutter(rng, np.ascontiguousarray(image))
    if rng.random() < 0.5:
        grain = cv2.resize(rng.standard_normal((side // 2, side // 2), np.float32), (side, side))
        image = image + grain[..., None] * rng.uniform(1, 14)
    return np.clip(image, 0, 255).astype(np.uint8)


def _fractal(rng: Rng, side: int, roughness: float, stretch: float = 1.0) -> Floats:
    """Smooth noise of many octaves, (side, side) in 0 to 1, drawn out along one axis by stretch."""
    mixed = np.zeros((side, side), np.float32)
    for octave in (3, 6, 12, 24, 48, 96):
        coarse = rng.random((octave, max(2, int(octave / stretch))), np.float32)
        fine = np.asarray(cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC), np.float32)
        mixed += fine * np.float32(roughness ** math.log2(octave / 3))
    return np.asarray((mixed - mixed.min()) / np.ptp(mixed), np.float32)


def _bokeh(rng: Rng, image: Floats) -> Floats:
    """Lay blurred discs of light over (side, side, 3), as lamps out of focus look."""
    side, over = len(image), image.copy()
    for _ in range(rng.integers(3, 12)):
        center = rng.integers(0, side, 2).tolist()
        color = (rng.uniform(80, 255, 3)).tolist()
        cv2.circle(over, center, int(rng.uniform(6, 36)), color, -1, cv2.LINE_AA)
    over = np.asarray(cv2.GaussianBlur(over, (0, 0), rng.uniform(1, 8)), np.float32)
    share = rng.uniform(0.3, 0.9)
    return np.asarray(over * share + image * (1 - share), np.float32)


def natural(rng: Rng, side: int = 256) -> NDArray[np.uint8]:
    """Draw one ground nearer to a photograph, (side, side, 3) uint8 RGB: texture, light, things out of focus."""
    colors = [_color(rng, rng.random() < 0.8) for _ in range(4)]
    stretch = rng.choice([1.0, 1.0, 4.0, 10.0])
    weight = _fractal(rng, side, rng.uniform(0.3, 0.8), stretch)[..., None]
    image = colors[0] * (1 - weight) + colors[1] * weight
    if rng.random() < 0.5:  # a second surface: table and wall, or ground and sky
        edge = _horizon(rng, side)[..., None]
        weight = _fractal(rng, side, rng.uniform(0.3, 0.8), rng.choice([1.0, 6.0]))[..., None]
        image = image * (1 - edge) + (colors[2] * (1 - weight) + colors[3] * weight) * edge
    image = np.asarray(image, np.float32)
    if rng.random() < 0.3:
        image = _clutter(rng, np.ascontiguousarray(image))
    if rng.random() < 0.3:
        image = _bokeh(rng, image)
    if rng.random() < 0.4:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(1, 6)), np.float32)
    light = 1 + rng.uniform(-0.45, 0.45) * (_ramp(rng, side) - 0.5) * 2
    if rng.random() < 0.4:
        x, y = _mesh(side)
        light = light - rng.uniform(0.1, 0.5) * ((x - rng.uniform(0.2, 0.8)) ** 2 + (y - rng.uniform(0.2, 0.8)) ** 2)
    grain = rng.standard_normal((side, side, 1), np.float32) * rng.uniform(0, 6)
    return np.asarray(np.clip(image * light[..., None] + grain, 0, 255), np.uint8)


def _color(rng: Rng, muted: bool) -> Floats:
    color = rng.integers(0, 256, 3).astype(np.float32)
    return np.asarray(128 + (color - 128) * 0.5 if muted else color, np.float32)


class BackgroundBank:
    """A fixed set of grounds, turned, mirrored and recolored on each draw: ten times faster than drawing anew."""

    def __init__(self, seed: int, size: int = 1500, side: int = 256) -> None:
        rng = np.random.default_rng(seed)
        self._grounds = [(natural if rng.random() < 0.3 else background)(rng, side) for _ in range(size)]

    def draw(self, rng: Rng) -> NDArray[np.uint8]:
        """Return a fresh (side, side, 3) uint8 RGB array."""
        ground = np.rot90(self._grounds[rng.integers(len(self._grounds))], int(rng.integers(4)))
        if rng.random() < 0.5:
            ground = ground[:, ::-1]
        ground = ground[..., rng.permutation(3)]
        return np.ascontiguousarray(255 - ground if rng.random() < 0.5 else ground)
