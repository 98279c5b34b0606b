"""Files in the arguments of MCP tools: data, uploaded files, and files in folders that the server was given."""

from __future__ import annotations

import base64
import binascii
import mimetypes
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from openvocab.errors import BadInput

__all__ = ["FileArguments"]

_URL = re.compile(r"\s*([a-z][a-z0-9+.-]*:)?[/\\]{2}", re.IGNORECASE)
_DATA_URL = re.compile(r"data:(?P<type>[\w.+/-]*)(;[\w=.-]+)*;base64,", re.IGNORECASE)
_MIN_BASE64 = 64
"""Shorter text that names no file is a wrong path rather than the base64 of an image."""
_ZIP = b"PK\3\4"


@dataclass(frozen=True, slots=True)
class FileArguments:
    """Turns file arguments of tools into paths.

    Attributes:
        uploads: Folder of the uploads.
        folders: Folders whose files may be named.
        max_bytes: Maximum size of a file that is sent as data.
    """

    uploads: Path
    folders: tuple[Path, ...]
    max_bytes: int

    @contextmanager
    def paths(self, arguments: Sequence[str]) -> Iterator[list[str]]:
        """Yield one path per argument; files that were sent as data exist until the exit.

        Raises:
            BadInput: an argument is neither the data of a file nor an allowed path.
        """
        with tempfile.TemporaryDirectory(prefix="openvocab-tool-") as folder:
            yield [self._path(text, Path(folder), number) for number, text in enumerate(arguments, 1)]

    def _path(self, text: str, folder: Path, number: int) -> str:
        if _URL.match(text):
            raise BadInput("images are not downloaded from URLs; send the data of the file, or a path")
        match = _DATA_URL.match(text)
        if match is None:
            found = self._allowed(text)
            if found is not None:
                return found
        data = self._decoded(text[match.end() :] if match else text, is_data=match is not None)
        path = folder / f"image-{number}{_suffix(data, match['type'] if match else '')}"
        path.write_bytes(data)
        return str(path)

    def _allowed(self, text: str) -> str | None:
        """Return the path of an existing file in an allowed folder; a relative path is looked up in the folders."""
        for folder in (self.uploads, *self.folders):
            try:
                root, path = os.path.realpath(folder), os.path.realpath(folder / text)
                if path.startswith(os.path.join(root, "")) and os.path.isfile(path):
                    return path
            except (OSError, ValueError):  # the text is too long for a path, or has a NUL
                return None
        return None

    def _decoded(self, text: str, *, is_data: bool) -> bytes:
        if not is_data and len(text) < _MIN_BASE64:
            raise BadInput(f"there is no file {text!r} in the server's folders; send its data, or upload it first")
        if len(text) * 3 // 4 > self.max_bytes:
            raise BadInput(f"the data of a file is larger than {self.max_bytes} bytes; send a smaller one")
        try:
            return base64.b64decode("".join(text.split()), validate=True)
        except (binascii.Error, ValueError) as error:
            raise BadInput("this is neither base64 data of a file nor the path of an allowed one; send one") from error


def _suffix(data: bytes, mime_type: str) -> str:
    """Return the file name suffix of data, from its type if that is given, else from its first bytes."""
    known = mimetypes.guess_extension(mime_type) if mime_type else None
    if known or data.startswith(_ZIP):
        return known or ".zip"
    try:
        with Image.open(BytesIO(data)) as image:
            return f".{(image.format or 'png').lower()}"
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return ".png"
