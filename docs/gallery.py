"""Draw the pictures of docs/gallery.md again: python -m docs.gallery, after the embedded models changed."""

from __future__ import annotations

import re
import tempfile
from contextlib import chdir
from pathlib import Path
from typing import Any

from PIL import Image

__all__ = ["draw"]

COLORS = 255
"""Of a picture: as a palette it takes a third of the bytes."""
PAGE = Path(__file__).with_name("gallery.md")


def draw(folder: Path) -> None:
    """Run the Python blocks of the page in a temporary folder and keep what they draw.

    Args:
        folder: Gets the pictures; it exists.
    """
    known: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary, chdir(temporary):
        for block in re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.M | re.S):
            exec(compile(block, PAGE.name, "exec"), known)
        for path in sorted(Path("gallery").glob("*.png")):
            with Image.open(path) as picture:
                picture.convert("RGB").quantize(COLORS).save(folder / path.name, optimize=True)


if __name__ == "__main__":
    draw(PAGE.with_name("gallery"))
