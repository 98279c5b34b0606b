"""Image file formats: the Pillow plugin for a file, chosen by content, and the error if there is none."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any, BinaryIO

from PIL import (  # each plugin registers its format
    BmpImagePlugin,  # noqa: F401
    GifImagePlugin,  # noqa: F401
    Image,
    JpegImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    PpmImagePlugin,  # noqa: F401
    TiffImagePlugin,
    WebPImagePlugin,  # noqa: F401
    _imaging,
)

from openvocab.errors import ImageError
from openvocab.images.file_ends import ends_early

with suppress(ImportError):  # Pillow before 11.3 has none
    from PIL import AvifImagePlugin  # noqa: F401

__all__ = ["open_image", "quiet_libtiff"]

_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM")  # JPEG also reads MPO
_NAMED = "JPEG, PNG, WEBP, GIF, BMP, TIFF, AVIF or PPM"
_WEAK = ("BMP", "PPM", "AVIF")  # recognized by a few bytes that other files may begin with too
_AVIF = {b"avif", b"avis"}
_HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
"""Brands of still images and sequences in HEVC (ISO/IEC 23008-12, annex B)."""
_JPEG_XL = (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")
_JPEG_2000 = (b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  \r\n\x87\n")
_SAMPLES, _BITS, _SAMPLE_FORMAT, _FLOAT = 277, 258, 339, 3
"""Tags of TIFF 6.0, and the sample format that means IEEE floats."""


def open_image(file: BinaryIO, name: str) -> Image.Image:
    """Return an image whose header is read and whose pixels are not decoded yet.

    The plugins are called as Image.open calls them, but without its warning for large images that are allowed.

    Raises:
        ImageError: The file is empty, or no plugin reads its format.
        Exception: What a plugin raises for a damaged file.
    """
    head = file.read(16)
    if not head:
        raise ImageError("empty", f"{name} is empty (0 bytes); copy or download it again")
    brands = _brands(file, head)
    for kind in _FORMATS:
        factory, accept = Image.OPEN.get(kind, (None, None))
        if factory is None or accept is None or accept(head) is not True:
            continue
        file.seek(0)
        try:
            return factory(file, "")
        except Exception:
            if kind == "TIFF":
                _refuse_floats(file, name)
            if kind not in _WEAK or brands & _AVIF or (ends_early(file) and not brands & _HEIC):
                raise
    if brands & _HEIC:
        return _open_heic(file, name)
    raise _unsupported(head, brands, name)


def _brands(file: BinaryIO, head: bytes) -> set[bytes]:
    """Return the major and compatible brands of an ISO base media file (ISO/IEC 14496-12), empty for other files."""
    if head[4:8] != b"ftyp":
        return set()
    file.seek(0)
    box = file.read(min(int.from_bytes(head[:4], "big"), 256))
    return {box[at : at + 4] for at in (8, *range(16, len(box) - 3, 4))}


def _open_heic(file: BinaryIO, name: str) -> Image.Image:
    """Open a HEIC file with pillow-heif, whose plugin is not registered with Pillow.

    Raises:
        ImageError: The extra is not installed.
        Exception: What the plugin raises for a damaged file.
    """
    try:
        plugin: Any = import_module("pillow_heif")
    except ImportError as error:
        message = f"{name} is a HEIC image; run: pip install 'openvocab[heif]', or convert it to JPEG"
        raise ImageError("unsupported", message) from error
    file.seek(0)
    opened: Image.Image = plugin.HeifImageFile(file, "")
    return opened


def _unsupported(head: bytes, brands: set[bytes], name: str) -> ImageError:
    """Return the error for a file that no plugin opens."""
    if brands & _AVIF:
        return ImageError("unsupported", f"{name} is an AVIF image; upgrade Pillow to 11.3 or later to read it")
    for kind, signatures in (("JPEG XL", _JPEG_XL), ("JPEG 2000", _JPEG_2000)):
        if head.startswith(signatures):
            return ImageError(
                "unsupported", f"{name} is a {kind} image, which is not supported; convert it to JPEG or PNG"
            )
    return ImageError("not_an_image", f"{name} is not an image in a known format; give a {_NAMED} file")


def _refuse_floats(file: BinaryIO, name: str) -> None:
    """Raise ImageError for a float TIFF that Pillow has no mode for."""
    tags: dict[int, Any] = {}
    with suppress(Exception):  # a damaged file; the plugin's own error is raised
        file.seek(0)
        directory = TiffImagePlugin.ImageFileDirectory_v2(file.read(8))
        file.seek(directory.next)
        directory.load(file)
        tags = {tag: directory.get(tag) for tag in (_SAMPLES, _BITS, _SAMPLE_FORMAT)}
    kinds, bits = (each if isinstance(each, tuple) else (each,) for each in (tags.get(_SAMPLE_FORMAT), tags.get(_BITS)))
    if _FLOAT in kinds:
        what = f"a TIFF of {bits[0]}-bit floats in {tags[_SAMPLES] or 1} channels"
        raise ImageError(
            "unsupported", f"{name} is {what}, which is not supported; save it as 8-bit or 16-bit integers"
        )


class _Quiet:
    """Turns libtiff's messages off while any thread decodes a TIFF file, and on again after the last."""

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0
        self._before: list[tuple[Any, Any]] = []

    def enter(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._before = [(setter, setter(None)) for setter in _setters()]

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                for setter, handler in self._before:
                    setter(handler)


def _setters() -> list[Any]:
    """Return the functions of Pillow's libtiff that set its message handlers; empty if they cannot be reached."""
    found = []
    with suppress(OSError, AttributeError, TypeError):  # linked in statically, as on Windows
        library = ctypes.CDLL(_imaging.__file__)
        for setter in (library.TIFFSetErrorHandler, library.TIFFSetWarningHandler):
            setter.argtypes, setter.restype = [ctypes.c_void_p], ctypes.c_void_p
            found.append(setter)
    return found


_QUIET = _Quiet()


@contextmanager
def quiet_libtiff(image: Image.Image) -> Iterator[None]:
    """Keep libtiff from writing to the terminal while a TIFF image is decoded."""
    if image.format != "TIFF":
        yield
        return
    _QUIET.enter()
    try:
        yield
    finally:
        _QUIET.leave()
