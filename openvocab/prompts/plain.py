"""The values of a prompt as plain JSON types, and back, checked."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput

__all__ = ["image_of", "list_of", "numbers_of", "png_of", "refuse_unknown", "text_of"]

_MAX_PIXELS = 2**24
_PNG = b"\x89PNG\r\n\x1a\n"


def numbers_of(given: Any, count: int) -> tuple[float, ...]:
    """Return finite numbers: two are x and y, four left, top, right, bottom.

    Raises:
        BadInput: they are not as many, or not finite.
    """
    try:
        numbers = tuple(float(each) for each in given)
    except (TypeError, ValueError, OverflowError):
        numbers = ()
    if len(numbers) != count or not np.isfinite(numbers).all() or isinstance(given, str | bytes):
        kind = "left, top, right, bottom" if count == 4 else "x, y"
        raise BadInput(f"{given!r:.60} must be {count} finite numbers: {kind}")
    return numbers


def list_of(plain: Mapping[str, Any], name: str) -> list[Any]:
    """Return a list, empty where there is none of that name.

    Raises:
        BadInput: it is of another type.
    """
    given = plain.get(name, [])
    if not isinstance(given, list):
        raise BadInput(f"its entry {name!r} must be a list, got {type(given).__name__}")
    return given


def text_of(plain: Mapping[str, Any]) -> str:
    """Return the label.

    Raises:
        BadInput: it is no text.
    """
    label = plain.get("label")
    if not isinstance(label, str):
        raise BadInput(f"the label must be a text, got {label!r:.60}")
    return label


def refuse_unknown(plain: Any, known: set[str], what: str) -> None:
    """Check the names of the entries.

    Raises:
        BadInput: one is not known, or there are none.
    """
    if not isinstance(plain, Mapping):
        raise BadInput(f"{what} must be an object with {', '.join(sorted(known))}, got {plain!r:.60}")
    for name in sorted(set(plain) - known):
        raise BadInput(f"{what} has no entry {name!r:.60}; known: {', '.join(sorted(known))}")


def png_of(pixels: NDArray[np.uint8] | NDArray[np.bool_]) -> str:
    """Return an image or a mask as a PNG file in base64; nothing else is in the file."""
    from PIL import Image

    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def image_of(given: Any, mode: str) -> NDArray[np.uint8]:
    """Return the pixels of a PNG file in base64; its size is checked before it is decoded.

    Raises:
        BadInput: it is no such file, or too large.
    """
    from PIL import Image

    try:
        data = base64.b64decode(given, validate=True)
        if not data.startswith(_PNG):
            raise ValueError("it is no PNG file")
        with Image.open(BytesIO(data), formats=["PNG"]) as image:
            if image.width * image.height > _MAX_PIXELS:
                raise ValueError(f"{image.width} x {image.height} pixels are more than {_MAX_PIXELS}")
            return np.array(image.convert(mode), np.uint8)
    except (TypeError, ValueError, OSError, SyntaxError, binascii.Error, Image.DecompressionBombError) as error:
        raise BadInput(f"an image in it cannot be read ({str(error)[:80]})") from error
