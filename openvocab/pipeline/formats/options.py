"""The options of an export; light to import, since the command line reads its arguments here."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from openvocab.errors import BadInput

__all__ = ["ExportOptions", "Pictures", "Shapes"]

Pictures = Literal["refer", "link", "copy"]
Shapes = Literal["mask", "box", "both"]


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """How a format is written; what a format has no use for is ignored.

    pictures     where a layout has a place for pictures: name them where they lie, link to them, or copy them.
    relative_to  a folder: pictures below it are named by their path from there; None names them by their ids.
    prefix       put before the name of a picture, such as the address that it is served from.
    shapes       where a region could be written as box or as mask: the mask if it has one, the box, or both.
    raw          in CSV, write cells as they are, also those that a spreadsheet takes for a formula.
    match        for coco-results: a COCO file whose ids of images (by name) and categories (by name) are used.
    """

    pictures: Pictures = "refer"
    relative_to: str | None = None
    prefix: str = ""
    shapes: Shapes = "mask"
    raw: bool = False
    match: str | None = None

    def __post_init__(self) -> None:
        """Check the choices.

        Raises:
            BadInput: pictures or shapes is none of theirs.
        """
        for name, choices in (("pictures", get_args(Pictures)), ("shapes", get_args(Shapes))):
            if getattr(self, name) not in choices:
                raise BadInput(f"{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}")

    @classmethod
    def of(cls, given: dict[str, Any]) -> ExportOptions:
        """Make options of keywords.

        Raises:
            BadInput: there is no option of that name.
        """
        known = [each.name for each in fields(cls)]
        odd = [name for name in given if name not in known]
        if odd:
            raise BadInput(f"{odd[0]!r} is no option of an export; there are {', '.join(known)}")
        return cls(**given)
