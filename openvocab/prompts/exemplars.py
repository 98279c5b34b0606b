"""What a prompt holds besides words: exemplars from images, and marks on the image that is asked about."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput
from openvocab.prompts.labels import check_labels
from openvocab.prompts.origins import Origin, origin_of
from openvocab.prompts.plain import image_of, list_of, numbers_of, png_of, refuse_unknown, text_of

__all__ = ["CONTEXT", "Exemplar", "Mark"]

CONTEXT = 3.0
"""How much larger than the object the crop of an exemplar is, in each direction; docs/guides/prompt-files.md."""
_MAX_SIDE = 1024
"""Pixels of the longer side of a crop; a larger one is resized, so that a file of prompts stays small."""

Numbers = tuple[float, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Exemplar:
    """An object in an image, given by a box, a mask or points; make it with cut, which crops the image around it.

    Attributes:
        label: What its boxes are called. It is read as words only if it is also one of the prompt's labels.
        image: (H, W, 3) uint8 RGB: the object and what surrounds it.
        box: Left, top, right, bottom in pixels of image; that of the mask where a mask is given; None with points.
        mask: (H, W) bool, the object; None without a mask.
        points: x and y of points on the object in pixels of image; a segmenter makes the box.
        origin: The image that it was cut from, as a digest, and where; None where that is not known.
    """

    label: str
    image: NDArray[np.uint8] = field(repr=False)
    box: Sequence[float] | None = None
    mask: NDArray[np.bool_] | None = field(default=None, repr=False)
    points: Sequence[Sequence[float]] = ()
    origin: Origin | None = None

    def __post_init__(self) -> None:
        """Check that the object lies in the image.

        Raises:
            BadInput: the label or the image cannot be used, nothing or two things say where the object is, or that lies
                outside the image.
        """
        object.__setattr__(self, "label", check_labels([self.label])[0])
        image: object = self.image
        if not (isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3):
            raise BadInput(f"the image of exemplar {self.label!r} must be (height, width, 3) uint8; use read_image")
        if self.mask is not None:
            _check_mask(self.mask, self.image, self.label)
            object.__setattr__(self, "box", _around(self.mask))
        if (self.box is None) == (not len(self.points)):
            raise BadInput(f"exemplar {self.label!r} needs a box, a mask or points on the object; give one of them")
        if self.box is not None:
            object.__setattr__(self, "box", _box(self.box, self.image, self.label))
        object.__setattr__(self, "points", tuple(_point(each, self.image, self.label) for each in self.points))

    @classmethod
    def cut(
        cls,
        image: NDArray[np.uint8],
        label: str,
        box: Sequence[float] | None = None,
        *,
        mask: NDArray[np.bool_] | None = None,
        points: Sequence[Sequence[float]] = (),
    ) -> Exemplar:
        """Take an object out of an image: the crop is CONTEXT times as large as the object, and at most 1024 pixels.

        With points alone the whole image is taken.

        Args:
            image: (H, W, 3) uint8 RGB.
            label: What its boxes are called.
            box: Left, top, right, bottom in pixels of the image.
            mask: (H, W) bool.
            points: x and y of points on the object.

        Raises:
            BadInput: as for an Exemplar.
        """
        whole = cls(label, image, None if box is None else tuple(box), mask, tuple(tuple(each) for each in points))
        if whole.box is None:
            return _shrunk(replace(whole, origin=origin_of(image, (0, 0, image.shape[1], image.shape[0]))))
        left, top, right, bottom = window = _window(whole.box, image.shape[:2])
        rows, columns = slice(top, bottom), slice(left, right)
        kept = None if mask is None else np.ascontiguousarray(mask[rows, columns])
        moved = None if mask is not None else tuple(np.subtract(whole.box, (left, top, left, top)).tolist())
        crop = np.ascontiguousarray(image[rows, columns])
        return _shrunk(cls(label, crop, moved, kept, origin=origin_of(image, window)))

    def plain(self) -> dict[str, Any]:
        """Return plain JSON types; the image and the mask are PNG files in base64."""
        where: dict[str, Any] = {"box": self.box, "points": self.points}
        if self.mask is not None:
            where = {"mask": png_of(self.mask)}
        where["origin"] = self.origin and self.origin.plain()
        return {
            "label": self.label,
            "image": png_of(self.image),
            **{name: each for name, each in where.items() if each},
        }

    @classmethod
    def of(cls, plain: Any) -> Exemplar:
        """Return what plain described.

        Raises:
            BadInput: an entry is absent, unknown or of another kind.
        """
        refuse_unknown(plain, {"label", "image", "box", "mask", "points", "origin"}, "an exemplar")
        mask = None if "mask" not in plain else image_of(plain["mask"], "L") > 0
        box = plain.get("box")
        points = tuple(numbers_of(each, 2) for each in list_of(plain, "points"))
        origin = Origin.of(plain["origin"]) if "origin" in plain else None
        image = image_of(plain.get("image"), "RGB")
        return cls(text_of(plain), image, box and numbers_of(box, 4), mask, points, origin)

    def box_there(self) -> Numbers | None:
        """Return the box in pixels of the image that it was cut from; None without a box or an origin."""
        if self.box is None or self.origin is None:
            return None
        height, width = self.image.shape[:2]
        left, top, right, bottom = self.origin.window
        scale = np.tile([(right - left) / width, (bottom - top) / height], 2)
        return tuple((np.array(self.box) * scale + np.tile([left, top], 2)).tolist())

    @property
    def digest(self) -> str:
        """The sha256 of label, pixels, place and origin; it does not depend on how a PNG is compressed."""
        origin = () if self.origin is None else (self.origin.digest, self.origin.window)
        place = repr((self.label, self.image.shape, self.box, self.points, *origin)).encode()
        mask = b"" if self.mask is None else np.packbits(self.mask).tobytes()
        return hashlib.sha256(place + np.ascontiguousarray(self.image).tobytes() + mask).hexdigest()


@dataclass(frozen=True, eq=False, slots=True)
class Mark:
    """One object marked on the image that is asked about: points, a box and scribbles for the segmenter, or its mask.

    Attributes:
        label: What the object is called; empty: as the detection that the mark refines.
        points: x and y of points on the object, in pixels of the image.
        outside: x and y of points beside the object.
        box: Left, top, right, bottom in pixels of the image; None without a box.
        scribbles: Lines drawn on the object, each the x and y of its points.
        mask: (H, W) bool at the image's size: the answer itself; None without a mask.
    """

    label: str = ""
    points: Sequence[Sequence[float]] = ()
    outside: Sequence[Sequence[float]] = ()
    box: Sequence[float] | None = None
    scribbles: Sequence[Sequence[Sequence[float]]] = ()
    mask: NDArray[np.bool_] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            BadInput: nothing says where the object is, a number is not finite, or the label cannot be used.
        """
        if self.label:
            object.__setattr__(self, "label", check_labels([self.label])[0])
        for name in ("points", "outside"):
            object.__setattr__(self, name, tuple(numbers_of(each, 2) for each in getattr(self, name)))
        lines = tuple(tuple(numbers_of(each, 2) for each in line) for line in self.scribbles if len(line))
        object.__setattr__(self, "scribbles", lines)
        if self.box is not None:
            object.__setattr__(self, "box", numbers_of(self.box, 4))
        if not (self.points or self.box or self.scribbles or self.mask is not None):
            raise BadInput("a mark needs a point, a scribble, a box or a mask on the object; give one of them")
        mask: object = self.mask
        if mask is not None and not (isinstance(mask, np.ndarray) and mask.dtype == np.bool_ and mask.ndim == 2):
            raise BadInput("the mask of a mark must be (height, width) bool; write mask > 0")

    def plain(self) -> dict[str, Any]:
        """Return plain JSON types; the mask is a PNG file in base64."""
        found: dict[str, Any] = {"label": self.label, "points": self.points, "outside": self.outside, "box": self.box}
        found |= {"scribbles": self.scribbles, "mask": None if self.mask is None else png_of(self.mask)}
        return {name: value for name, value in found.items() if value}

    @classmethod
    def of(cls, plain: Any) -> Mark:
        """Return what plain described.

        Raises:
            BadInput: an entry is unknown or of another kind.
        """
        refuse_unknown(plain, {"label", "points", "outside", "box", "scribbles", "mask"}, "a mark")
        lines = (list_of({"scribble": line}, "scribble") for line in list_of(plain, "scribbles"))
        mask = None if "mask" not in plain else image_of(plain["mask"], "L") > 0
        points, outside = (tuple(list_of(plain, name)) for name in ("points", "outside"))
        label = text_of(plain) if "label" in plain else ""
        return cls(label, points, outside, plain.get("box"), tuple(map(tuple, lines)), mask)

    @property
    def digest(self) -> str:
        """The sha256 of everything in it."""
        mask = b"" if self.mask is None else repr(self.mask.shape).encode() + np.packbits(self.mask).tobytes()
        rest = repr((self.label, self.points, self.outside, self.box, self.scribbles)).encode()
        return hashlib.sha256(rest + mask).hexdigest()


def _window(box: Sequence[float], size: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Return the window around a box that is CONTEXT times as large, and square where the image allows it."""
    left, top, right, bottom = box
    reach = CONTEXT * max(right - left, bottom - top) / 2
    x, y = (left + right) / 2, (top + bottom) / 2
    height, width = size
    low, high = np.floor([x - reach, y - reach]), np.ceil([x + reach, y + reach])
    return max(0, int(low[0])), max(0, int(low[1])), min(width, int(high[0])), min(height, int(high[1]))


def _shrunk(one: Exemplar) -> Exemplar:
    """Return the exemplar with an image of at most _MAX_SIDE pixels."""
    from PIL import Image

    height, width = one.image.shape[:2]
    share = _MAX_SIDE / max(height, width)
    if share >= 1:
        return one
    size = max(1, round(width * share)), max(1, round(height * share))
    scale = np.array([size[0] / width, size[1] / height])
    image = np.asarray(Image.fromarray(one.image).resize(size, Image.Resampling.LANCZOS))
    points = tuple(tuple((np.array(each) * scale).tolist()) for each in one.points)
    if one.mask is not None:
        kept = np.asarray(Image.fromarray(one.mask).resize(size, Image.Resampling.NEAREST))
        if kept.any():
            return Exemplar(one.label, image, mask=kept, origin=one.origin)
    box = None if one.box is None else tuple((np.array(one.box) * np.tile(scale, 2)).tolist())
    return Exemplar(one.label, image, box, points=points, origin=one.origin)


def _around(mask: NDArray[np.bool_]) -> Numbers:
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def _check_mask(mask: object, image: NDArray[np.uint8], label: str) -> None:
    if not (isinstance(mask, np.ndarray) and mask.dtype == np.bool_ and mask.shape == image.shape[:2] and mask.any()):
        raise BadInput(f"the mask of exemplar {label!r} must be bool, of its image's size, and mark the object")


def _box(box: Sequence[float], image: NDArray[np.uint8], label: str) -> Numbers:
    """Return a box clipped to the image, or raise BadInput where nothing is left."""
    numbers = np.array(numbers_of(box, 4))
    height, width = image.shape[:2]
    clipped = np.clip(numbers, 0, [width, height, width, height])
    if not (clipped[2:] > clipped[:2]).all():
        raise BadInput(
            f"box {numbers.tolist()} of exemplar {label!r} holds no pixel of its image, {width} x {height}; give left, "
            "top, right, bottom in pixels"
        )
    return tuple(clipped.tolist())


def _point(point: Sequence[float], image: NDArray[np.uint8], label: str) -> Numbers:
    x, y = numbers_of(point, 2)
    height, width = image.shape[:2]
    if not (0 <= x <= width and 0 <= y <= height):
        raise BadInput(f"point {[x, y]} of exemplar {label!r} lies outside its image, {width} x {height}")
    return x, y
