"""The options of an export, in a module that is fast to import for the command line."""

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
"""The options that each format uses, by name."""

_NOTHING: Mapping[str, Any] = {"images": "refer", "relative_to": None, "prefix": "", "raw": False, "match": None}
"""Values that have no effect and are accepted for any format."""


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """The options of an export; a format refuses options that it does not use, see USED.

    Attributes:
        images: In a layout with images: refer to the originals, link to them, or copy them.
        relative_to: The folder that image names are relative to; None names images by their ids.
        prefix: The text before an image name, such as the address that images are served from.
        shapes: In formats with boxes and masks: write the mask if there is one, the box, or both.
        raw: In CSV: write cells unescaped, also those that a spreadsheet would run as a formula.
        match: For coco-results: a COCO file whose image and category ids, found by name, are used.
    """

    images: Images = "refer"
    relative_to: str | None = None
    prefix: str = ""
    shapes: Shapes = "mask"
    raw: bool = False
    match: str | None = None

    def __post_init__(self) -> None:
        """Validate the values.

        Raises:
            BadInput: images or shapes has an unknown value.
        """
        for name, choices in (("images", get_args(Images)), ("shapes", get_args(Shapes))):
            if getattr(self, name) not in choices:
                raise BadInput(f"{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}")

    @classmethod
    def of(cls, given: dict[str, Any], format: str) -> ExportOptions:  # noqa: A002
        """Make options from keyword arguments for a format.

        Raises:
            BadInput: An option is unknown, or the format does not use it.
        """
        known = [each.name for each in fields(cls)]
        odd = [name for name in given if name not in known]
        if odd:
            raise BadInput(f"{odd[0]!r} is not an export option; the options are {', '.join(known)}")
        made = cls(**given)
        chosen = {name for name, value in given.items() if name not in _NOTHING or value != _NOTHING[name]}
        unused = sorted(chosen.difference(USED[format]))
        if unused:
            used = ", ".join(f"{one}=" for one in USED[format])
            raise BadInput(f"{format} does not use {unused[0]}=; leave it out. It uses {used}")
        if format == "coco-results" and chosen and "match" not in chosen:
            raise BadInput(
                f"coco-results names images only to find them in match; give match, or leave {min(chosen)} out"
            )
        return made
