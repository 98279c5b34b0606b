"""XML elements whose text any reader takes."""

from __future__ import annotations

import re
from xml.etree import ElementTree

__all__ = ["attributes", "element", "legal"]

_ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def legal(text: str) -> str:
    """Return a text with each character that XML 1.0 cannot hold replaced by U+FFFD."""
    return _ILLEGAL.sub("�", text)


def attributes(**values: object) -> dict[str, str]:
    """Return values as attributes."""
    return {name: legal(str(value)) for name, value in values.items()}


def element(parent: ElementTree.Element, tag: str, text: object = None, **values: object) -> ElementTree.Element:
    """Add an element to parent, with text and attributes, and return it."""
    made = ElementTree.SubElement(parent, tag, attributes(**values))
    if text is not None:
        made.text = legal(str(text))
    return made
