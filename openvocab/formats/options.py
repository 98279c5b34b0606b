"""The options of an export; light to import, since the command line reads its arguments here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from openvocab.errors import BadInput

__all__ = ["USED", "ExportOptions", "Images", "Shapes"]

Images = Literal["refer", "link", "copy"]
Shapes = Literal["mask", "box", "both"]


_NAMED = ("relative_to", "prefix")

USED: Mapping[str, tuple[str, ...]] = {
    "coco": _NAMED,
    "coco-results": ("match", *_NAMED),
    "csv": ("raw", *_NAMED),
    "cvat": ("shapes", *_NAMED),
    "fiftyone": ("images", *_NAMED),
    "imagefolder": ("images", *_NAMED),
    "instance-masks": ("images",),
    "jsonl": _NAMED,
    "label-studio": ("shapes", *_NAMED),
    "labelme": ("images", "shapes", *_NAMED),
    "semantic-masks": ("images",),
    "voc": ("images", *_NAMED),
    "yolo": ("images",),
    "yolo-seg": ("images",),
}
"""Name of a format -> the options that its output depends on."""

_NOTHING: Mapping[str, Any] = {"images": "refer", "relative_to": None, "prefix": "", "raw": False, "match": None}
"""Values that ask for nothing, so that any format may be given them."""


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """How a format is written; what a format has no use for is refused, see USED.

    images     where a layout has a place for images: name them where they lie, link to them, or copy them.
    relative_to  a folder: images below it are named by their path from there; None names them by their ids.
    prefix       put before the name of an image, such as the address that it is served from.
    shapes       where a detection could be written as box or as mask: the mask if it has one, the box, or both.
    raw          in CSV, write cells as they are, also those that a spreadsheet takes for a formula.
    match        for coco-results: a COCO file whose ids of images (by name) and categories (by name) are used.
    """

    images: Images = "refer"
    relative_to: str | None = None
    prefix: str = ""
    shapes: Shapes = "mask"
    raw: bool = False
    match: str | None = None

    def __post_init__(self) -> None:
        """Check the choices.

        Raises:
            BadInput: images or shapes is none of theirs.
        """
        for name, choices in (("images", get_args(Images)), ("shapes", get_args(Shapes))):
            if getattr(self, name) not in choices:
                raise BadInput(f"{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}")

    @classmethod
    def of(cls, given: dict[str, Any], format: str) -> ExportOptions:  # noqa: A002
        """Make options of keywords, for a format of USED.

        Raises:
            BadInput: there is no option of that name, or the format cannot use it.
        """
        known = [each.name for each in fields(cls)]
        odd = [name for name in given if name not in known]
        if odd:
            raise BadInput(f"{odd[0]!r} is no option of an export; there are {', '.join(known)}")
        made = cls(**given)
        asked = {name for name, value in given.items() if name not in _NOTHING or value != _NOTHING[name]}
        unused = sorted(asked.difference(USED[format]))
        if unused:
            raise BadInput(f"{format} cannot use {unused[0]}; leave it out. It can use {', '.join(USED[format])}")
        if format == "coco-results" and asked and "match" not in asked:
            raise BadInput(
                f"coco-results names images only to find them in match; give match, or leave {min(asked)} out"
            )
        return made
