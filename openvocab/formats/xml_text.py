"""XML elements with text that any reader accepts."""

from __future__ import annotations

import re
from xml.etree import ElementTree

__all__ = ["attributes", "element", "legal"]

_ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def legal(text: str) -> str:
    """Replace each character that XML 1.0 does not allow by U+FFFD."""
    return _ILLEGAL.sub("�", text)


def attributes(**values: object) -> dict[str, str]:
    """Return values as XML attributes."""
    return {name: legal(str(value)) for name, value in values.items()}


def element(parent: ElementTree.Element, tag: str, text: object = None, **values: object) -> ElementTree.Element:
    """Append an element with text and attributes to parent, and return it."""
    made = ElementTree.SubElement(parent, tag, attributes(**values))
    if text is not None:
        made.text = legal(str(text))
    return made
