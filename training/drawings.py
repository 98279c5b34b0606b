"""Named drawings with transparency, from packages of openly licensed images or from a folder.

A drawing is a (H, W, 4) uint8 RGBA array (rows, columns, channels; straight alpha), cropped to what is visible.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput, require, unknown

__all__ = [
    "EXTRA_STYLES",
    "HELD_OUT_STYLE",
    "RENDERED_STYLE",
    "TRAINED_STYLES",
    "Drawings",
    "labels",
    "load_folder",
    "load_font",
    "load_rendered",
    "load_style",
]

Drawings = dict[str, list[NDArray[np.uint8]]]
"""Label -> its drawings."""

TRAINED_STYLES = ("noto", "noto-v1", "emojione", "fluent-emoji-flat", "fluent-emoji")
"""The packages @iconify-json/NAME of the npm registry that the embedded models were trained on."""

EXTRA_STYLES = ("fxemoji", "streamline-emojis")
"""More packages that training draws from; they lack some labels, and no figure is reported on them."""

RENDERED_STYLE = "fluent-emoji-3d"
"""The package @lobehub/NAME that training draws from too; it brings images, not icons."""

HELD_OUT_STYLE = "twemoji"
"""The package that no training run ever saw."""

SIDE = 160
"""Pixels of the square that a vector drawing is rendered in."""


@cache
def _vocabulary() -> Mapping[str, Sequence[str]]:
    text = files("openvocab").joinpath("weights/pocket/labels.toml").read_text("utf-8")
    table: Mapping[str, Sequence[str]] = tomllib.loads(text)["labels"]
    return table


def labels() -> tuple[str, ...]:
    """The vocabulary of the embedded models, in order."""
    return tuple(_vocabulary())


@cache
def _characters() -> Mapping[str, str]:
    """English Unicode name -> its character sequence."""
    emoji = require("emoji", extra="train")
    found: dict[str, str] = {}
    for character, record in emoji.EMOJI_DATA.items():
        if record["status"] == emoji.STATUS["fully_qualified"]:
            found.setdefault(record["en"].strip(":").replace("_", " "), character)
    return found


def _crop(image: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """Cut (H, W, 4) to its visible part; None where less than 100 pixels are visible."""
    rows, columns = np.where(image[..., 3] > 32)
    if len(rows) < 100:
        return None
    return np.ascontiguousarray(image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1])


class _IconSet:
    """One iconify package: icons.json holds the SVG bodies, chars.json maps code points to icon names."""

    def __init__(self, folder: Path) -> None:
        self.icons: dict[str, Any] = json.loads((folder / "icons.json").read_text(encoding="utf-8"))
        characters = folder / "chars.json"
        self.by_code: dict[str, str] = json.loads(characters.read_text()) if characters.is_file() else {}

    def resolve(self, name: str) -> str | None:
        """Follow aliases to an icon that is drawn."""
        for _ in range(5):
            if name in self.icons["icons"]:
                return name
            alias = self.icons.get("aliases", {}).get(name)
            if alias is None:
                return None
            name = alias["parent"]
        return None

    def find(self, name: str, character: str) -> str | None:
        """The icon of a Unicode name: by its code points, else by its name."""
        code = "-".join(f"{ord(part):x}" for part in character if part != "\ufe0f")
        plain = name.replace(" ", "-").lower()
        named = (plain, plain.replace("-", ""), f"{plain}-1")  # icon sets number variants, or leave the hyphens out
        for candidate in (self.by_code.get(code), self.by_code.get(code + "-fe0f"), *named):
            if candidate and (found := self.resolve(candidate)):
                return found
        return None

    def render(self, icon: str) -> NDArray[np.uint8]:
        """Draw an icon as (SIDE, SIDE, 4) RGBA."""
        import io

        from PIL import Image

        body = self.icons["icons"][icon]
        box = [body.get(key, self.icons.get(key, default)) for key, default in _BOX]
        svg = (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="{" ".join(map(str, box))}" width="{SIDE}" height="{SIDE}">{body["body"]}</svg>'
        )
        png = bytes(require("resvg_py", extra="train").svg_to_bytes(svg_string=svg, width=SIDE, height=SIDE))
        return np.array(Image.open(io.BytesIO(png)).convert("RGBA"))


_BOX = (("left", 0), ("top", 0), ("width", 16), ("height", 16))


def load_style(style: str, packages: Path) -> Drawings:
    """Render the vocabulary in one drawing style.

    Args:
        style: the NAME of an installed package @iconify-json/NAME.
        packages: the folder that holds the packages, e.g. node_modules/@iconify-json.

    Raises:
        BadInput: the folder does not exist.
        UnknownName: that style is not installed there.
        MissingExtra: the packages that render are not installed.
    """
    if not packages.is_dir():
        raise BadInput(
            f"{packages} does not exist; run: npm install --prefix {packages.parent.parent} @iconify-json/{style}"
        )
    folder = packages / style
    if not (folder / "icons.json").is_file():
        raise unknown("drawing style", style, [path.parent.name for path in packages.glob("*/icons.json")])
    icons, found = _IconSet(folder), Drawings()
    for label, names in _vocabulary().items():
        for name in names:
            icon = icons.find(name, _characters()[name])
            drawing = _crop(icons.render(icon)) if icon else None
            if drawing is not None:
                found.setdefault(label, []).append(drawing)
    return found


def _rendered(assets: Path, name: str) -> NDArray[np.uint8] | None:
    """The image of a Unicode name, with or without the mark that asks for color; None where there is none."""
    from PIL import Image

    code = "-".join(f"{ord(part):x}" for part in _characters()[name])
    for path in (assets / f"{each}.webp" for each in (code, code.removesuffix("-fe0f"))):
        if path.is_file():
            with Image.open(path) as image:
                return _crop(np.array(image.convert("RGBA").resize((SIDE, SIDE))))
    return None


def load_rendered(package: Path) -> Drawings:
    """Read the vocabulary from a package that brings images, assets/CODE.webp.

    Raises:
        BadInput: the package is not installed there.
    """
    assets = package / "assets"
    if not assets.is_dir():
        raise BadInput(f"{package} does not exist; run: npm install @{package.parent.name.lstrip('@')}/{package.name}")
    found = Drawings()
    for label, names in _vocabulary().items():
        drawings = [_rendered(assets, name) for name in names]
        if any(drawing is not None for drawing in drawings):
            found[label] = [drawing for drawing in drawings if drawing is not None]
    return found


def load_font(path: Path) -> Drawings:
    """Render the vocabulary from a color bitmap font, e.g. Debian's fonts-noto-color-emoji.

    Raises:
        BadInput: the file is no font that Pillow reads at 109 pixels.
    """
    from PIL import Image, ImageDraw, ImageFont

    try:
        font = ImageFont.truetype(str(path), 109)
    except OSError as error:
        raise BadInput(f"{path}: not a color bitmap font of 109 pixels: {error}") from error
    found = Drawings()
    for label, names in _vocabulary().items():
        for name in names:
            canvas = Image.new("RGBA", (SIDE, SIDE))
            ImageDraw.Draw(canvas).text((8, 8), _characters()[name], font=font, embedded_color=True)
            drawing = _crop(np.array(canvas))
            if drawing is not None:
                found.setdefault(label, []).append(drawing)
    return found


def load_folder(folder: Path) -> Drawings:
    """Read cut-outs that the user brings: folder/LABEL/*.png with transparency.

    Raises:
        BadInput: no such folder, no image in it, or an image with nothing visible.
    """
    from PIL import Image

    found = Drawings()
    for path in sorted(folder.glob("*/*.png")):
        with Image.open(path) as image:
            drawing = _crop(np.array(image.convert("RGBA")))
        if drawing is None:
            raise BadInput(f"{path}: fewer than 100 visible pixels; bring a cut-out on a transparent ground")
        found.setdefault(path.parent.name, []).append(drawing)
    if not found:
        raise BadInput(f"{folder}: no drawing found; expected LABEL/*.png")
    return found
