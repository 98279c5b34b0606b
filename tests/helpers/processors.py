"""Parts of a model that fail for some images only."""

from __future__ import annotations

from typing import Any

from PIL import Image

__all__ = ["NanWhereTall"]


class NanWhereTall:
    """A processor of transformers whose pixels are not numbers for images that are higher than wide."""

    def __init__(self, sound: Any) -> None:
        self._sound, self.tokenizer = sound, sound.tokenizer

    def image_processor(self, images: Image.Image, return_tensors: str) -> Any:
        """Return what the sound processor does, spoilt where the image is tall."""
        given = self._sound.image_processor(images=images, return_tensors=return_tensors)
        given["pixel_values"] = given["pixel_values"] * (float("nan") if images.height > images.width else 1)
        return given
