"""Reading images: a path, bytes, a Pillow image or an array becomes upright RGB, or one ImageError.

The content decides the format, never the suffix, and only the formats of file_formats are tried. Pillow's global limits
and settings are not changed, so reading is thread-safe and does not affect other users of Pillow.
"""

from __future__ import annotations

import errno
import hashlib
import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from openvocab.errors import BadInput, ImageError
from openvocab.images.arrays import MAX_PIXELS, array_of_tensor, gray, refuse_large, rgb_of_array
from openvocab.images.file_ends import ends_early, has_wrong_checksum
from openvocab.images.file_formats import open_image, quiet_libtiff
from openvocab.images.files import open_regular
from openvocab.images.frame_count import count_frames
from openvocab.images.jpeg import plain_jpeg

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "MAX_PIXELS",
    "Decoded",
    "check_header",
    "decode",
    "error_for_path",
    "frame_count_of",
    "read_file",
    "read_image",
]

MAX_FILE_BYTES = 2**30
"""The largest file that is read, in bytes."""

_CHECK_HEADER_BYTES = 2**23
"""The header of a larger file is checked before the file is read."""
_ENDED = ("truncated", "not enough image data")
"""What Pillow's errors say of a file that ends too early."""
_MISSING = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)

ImageArray = NDArray[np.uint8]

_PIXEL = np.dtype("V3")
"""The three bytes of a pixel."""


@dataclass(frozen=True, eq=False, slots=True)
class Decoded:
    """A decoded image and the properties of its file.

    Attributes:
        pixels: (H, W, 3) uint8 RGB, upright; smaller than height x width after scaled decoding.
        sha256: The digest of the decoded bytes.
        width: The width in pixels of the upright image at full size.
        height: The height in pixels of the upright image at full size.
        frames: The number of frames in the file.
    """

    pixels: ImageArray
    sha256: str
    width: int
    height: int
    frames: int


def read_image(
    source: str | os.PathLike[str] | bytes | BinaryIO | Image.Image | NDArray[np.uint8] | Tensor,
    *,
    max_pixels: int = MAX_PIXELS,
) -> ImageArray:
    """Return an image as a new upright RGB array.

    EXIF orientation is applied, the first frame of an animation is decoded, transparent pixels are composited on white,
    16-bit values are scaled to 8 bits, and CMYK, LAB, palette and gray images are converted to RGB.

    Args:
        source: A path; the bytes of a file; a file opened for reading bytes; a Pillow image, whose current frame is
            used; an array, (H, W, 3) uint8 RGB or (H, W) uint8 gray; or a torch tensor, (3, H, W) uint8 or float in 0
            to 1. Convert BGR arrays of OpenCV first; they cannot be told from RGB.
        max_pixels: The largest accepted width times height; larger images are refused before they are decoded.

    Returns:
        (H, W, 3) uint8 RGB array, C-contiguous.

    Raises:
        ImageError: The image cannot be read; `kind` names the reason.
        BadInput: source is an array of another shape or dtype, or has an unsupported type.
    """
    if isinstance(source, np.ndarray):
        return rgb_of_array(source, max_pixels)
    if type(source).__module__.partition(".")[0] == "torch":
        return rgb_of_array(array_of_tensor(source), max_pixels)
    if isinstance(source, Image.Image):
        with _image_errors("the image given", None):
            return _pixels(source, "the image given", max_pixels)
    if isinstance(source, str | os.PathLike):
        path = os.fsdecode(source)
        return decode(read_file(path, repr(path), max_pixels), repr(path), max_pixels=max_pixels).pixels
    data, name = (source, "the image given") if isinstance(source, bytes) else (_of_file(source), "the file given")
    return decode(data, name, max_pixels=max_pixels).pixels


def decode(
    data: bytes, name: str, *, max_pixels: int = MAX_PIXELS, min_side: int | None = None, frame: int = 0
) -> Decoded:
    """Decode the bytes of an image file.

    Args:
        data: The bytes of the file.
        name: The name of the image in error messages.
        max_pixels: The largest accepted width times height.
        min_side: Decode a JPEG at a half, a quarter or an eighth of its size while its shorter side keeps this many
            pixels. The pixels then differ slightly from those of the full size scaled down.
        frame: The index of the frame or page.

    Raises:
        ImageError: The image cannot be read; `kind` names the reason.
    """
    file = BytesIO(data)
    with _image_errors(name, file):
        image = open_image(file, name)
        refuse_large(image.width, image.height, name, max_pixels)
        frames = count_frames(image, data)
        if frame:
            image.seek(frame)
        width, height = image.size
        scaled = min_side is not None and frame == 0 and _shrink(image, min_side)
        pixels = _pixels(image, name, max_pixels, plain_jpeg(image, data, scaled=scaled))
        if image.format == "PNG" and has_wrong_checksum(data, frame):
            raise OSError("its pixels do not match their checksum")
        if not scaled:
            height, width = pixels.shape[:2]
        elif _orientation(image) in (5, 6, 7, 8):
            width, height = height, width
    return Decoded(pixels, hashlib.sha256(data).hexdigest(), width, height, frames)


def frame_count_of(data: bytes) -> int:
    """Return the number of frames or pages in the bytes of a file; 1 if it cannot be opened."""
    try:
        return count_frames(open_image(BytesIO(data), ""), data)
    except Exception:
        return 1


def _shrink(image: Image.Image, min_side: int) -> bool:
    """Set a JPEG to be decoded at a smaller size; return whether it will be."""
    if image.format not in ("JPEG", "MPO"):
        return False
    full = image.size
    share = min(1.0, min_side / min(full))
    image.draft(None, (math.ceil(image.width * share), math.ceil(image.height * share)))
    return image.size != full


# --- files


def read_file(path: str, name: str, max_pixels: int = MAX_PIXELS) -> bytes:
    """Return the bytes of a regular file; the header of a large file is checked first.

    Args:
        path: The path of the file.
        name: The name of the image in error messages.
        max_pixels: The largest accepted width times height, for a large file.

    Raises:
        ImageError: The path is not a regular file, cannot be read, or is too large.
    """
    try:
        _refuse_special(os.stat(path).st_mode, path, name)
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size > _CHECK_HEADER_BYTES:
                _check_size(file, name, max_pixels)
            if size > MAX_FILE_BYTES:
                raise ImageError(
                    "too_large", f"{name} has {size} bytes, more than the limit of {MAX_FILE_BYTES}; make it smaller"
                )
            return file.read(size)
    except ImageError:
        raise
    except (OSError, ValueError) as error:
        raise error_for_path(error, path, name) from error


def check_header(path: str, name: str, max_pixels: int = MAX_PIXELS) -> None:
    """Check that a file begins like an image of an accepted size; its pixels are not decoded.

    Args:
        path: The path of the file.
        name: The name of the image in error messages.
        max_pixels: The largest accepted width times height.

    Raises:
        ImageError: The path is not a regular file, is not an image, or is too large.
    """
    try:
        _refuse_special(os.stat(path).st_mode, path, name)
        with open_regular(path) as file:
            _check_size(file, name, max_pixels)
    except ImageError:
        raise
    except (OSError, ValueError) as error:
        raise error_for_path(error, path, name) from error


def _of_file(file: Any) -> bytes:
    """Return the bytes of an open file.

    Raises:
        BadInput: It is no file, or gives text.
        ImageError: It cannot be read.
    """
    if not hasattr(file, "read"):
        kinds = "a path, bytes, an open file, a Pillow image, an array or a tensor"
        raise BadInput(f"an image cannot be read from {type(file).__name__}; give {kinds}")
    try:
        data = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        raise ImageError("unreadable", f"the file given cannot be read ({error}); open it again") from error
    if not isinstance(data, bytes):
        raise BadInput(f"an image file must give bytes, got {type(data).__name__}; open it with mode 'rb'")
    if len(data) > MAX_FILE_BYTES:
        raise ImageError("too_large", f"the file given has more than {MAX_FILE_BYTES} bytes; make it smaller")
    return data


def _check_size(file: BinaryIO, name: str, max_pixels: int) -> None:
    """Check the header of an open file, and seek back to its start.

    Raises:
        ImageError: The image is too large, or the file is not an image.
    """
    with _image_errors(name, file):
        image = open_image(file, name)
        refuse_large(image.width, image.height, name, max_pixels)
    file.seek(0)


def _refuse_special(mode: int, path: str, name: str) -> None:
    """Refuse a path that is not a regular file, before it is opened.

    Raises:
        ImageError: mode is not the mode of a regular file.
    """
    if stat.S_ISREG(mode):
        return
    if not stat.S_ISDIR(mode):
        raise ImageError("not_a_file", f"{name} is a pipe, device or socket, not a file; save the image to a file")
    if not os.access(path, os.R_OK | os.X_OK):
        raise ImageError("unreadable", f"{name} is a folder that cannot be listed; change its permissions")
    raise ImageError("not_a_file", f"{name} is a folder, not a file; give the images in it")


def error_for_path(error: OSError | ValueError, path: str, name: str) -> ImageError:
    """Return the ImageError for an error of opening or reading a path."""
    if "://" in path:
        return ImageError("missing", f"{name} is a web address, not a file; download the image and give its path")
    if isinstance(error, ValueError) or error.errno in _MISSING:
        return ImageError("missing", f"{name} does not exist; check the path")
    return ImageError(
        "unreadable", f"{name} cannot be read ({error.strerror or error}); check its permissions and disk"
    )


@contextmanager
def _image_errors(name: str, file: BinaryIO | None) -> Iterator[None]:
    """Turn whatever Pillow raises, except MemoryError, into one ImageError."""
    try:
        yield
    except (ImageError, MemoryError):
        raise
    except Exception as error:
        raise _translated(error, name, file) from error


def _translated(error: Exception, name: str, file: BinaryIO | None) -> ImageError:
    cause = " ".join(str(error).split())[:200].replace(" b'", " '")
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning) or "too large" in cause.lower():
        return ImageError("too_large", f"{name} is too large to decode; make it smaller")
    if isinstance(error, OSError) and error.errno is not None:
        return ImageError("unreadable", f"{name} cannot be read ({error.strerror}); check its permissions and disk")
    ended = any(word in cause.lower() for word in _ENDED) or EOFError in (type(error), type(error.__cause__))
    if ended or (file is not None and ends_early(file)):
        return ImageError("truncated", f"{name} is truncated: its data ends too early; copy or download it again")
    told = isinstance(error, OSError | SyntaxError) and error.__cause__ is None  # else Python's words, not a plugin's
    why = f" ({cause})" if told and cause else ""
    return ImageError("corrupt", f"{name} is damaged{why}; copy or save it again")


# --- pixels


def _pixels(image: Image.Image, name: str, max_pixels: int, plain: ImageArray | None = None) -> ImageArray:
    """Decode an image whose header is read, and return it as upright RGB.

    Args:
        image: The image.
        name: The name of the image in error messages.
        max_pixels: The largest accepted width times height.
        plain: The decoded pixels before rotation, if there are any.
    """
    refuse_large(image.width, image.height, name, max_pixels)
    if plain is None:
        with quiet_libtiff(image):
            image.load()  # before EXIF is read, which would load a PNG too and hide its error
        plain = _rgb(image, name)
    whole = np.ascontiguousarray(plain).view(_PIXEL)[..., 0]  # a turn copies pixels, not bytes: twice as fast
    upright = np.ascontiguousarray(_upright(whole, _orientation(image)))
    return upright.view(np.uint8).reshape(*upright.shape, 3)


def _orientation(image: Image.Image) -> object:
    """Return the EXIF orientation, or None if the EXIF block cannot be read."""
    try:
        return image.getexif().get(0x0112)
    except Exception:
        return None


def _upright(pixels: NDArray[Any], orientation: object) -> NDArray[Any]:
    """Apply an EXIF orientation, 1 to 8, to an (H, W) array."""
    match orientation:
        case 2:
            return pixels[:, ::-1]
        case 3:
            return pixels[::-1, ::-1]
        case 4:
            return pixels[::-1]
        case 5:
            return pixels.swapaxes(0, 1)
        case 6:
            return np.rot90(pixels, -1)
        case 7:
            return pixels[::-1, ::-1].swapaxes(0, 1)
        case 8:
            return np.rot90(pixels)
    return pixels


def _rgb(image: Image.Image, name: str) -> ImageArray:
    """Return a decoded image of any mode as (H, W, 3) uint8 RGB."""
    if image.mode == "F":
        return gray(_from_float(np.asarray(image), name))
    if image.mode.startswith("I"):
        return gray(_from_integer(np.asarray(image)))
    if image.mode in ("La", "RGBa"):
        image = image.convert(image.mode.upper())
    if image.has_transparency_data:
        return _on_white(image.convert("RGBA"))
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def _on_white(image: Image.Image) -> ImageArray:
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=image)
    return np.array(white)


def _from_integer(values: NDArray[Any]) -> ImageArray:
    """Scale (H, W) 16-bit values to 8 bits; 32-bit values are taken as 16-bit unless all of them fit 8 bits."""
    scaled: NDArray[np.uint32] = np.clip(values, 0, 65535).astype(np.uint32)
    if values.dtype.itemsize == 2 or scaled.max() > 255:
        scaled = (scaled * np.uint32(255) + np.uint32(32767)) // np.uint32(65535)
    return scaled.astype(np.uint8)


def _from_float(values: NDArray[Any], name: str) -> ImageArray:
    """Scale (H, W) float values in 0 to 1 to 8 bits; round values in 0 to 255.

    Raises:
        ImageError: The values are not finite or outside both ranges.
    """
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 255):
        raise ImageError(
            "unsupported", f"{name} holds floats from {low:g} to {high:g}; scale them to 0 to 1 and save again"
        )
    scaled: NDArray[np.float32] = values * np.float32(255) if high <= 1 else values
    return np.rint(scaled).astype(np.uint8)
