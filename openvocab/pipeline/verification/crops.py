"""What the tagger sees on crops of boxes: the evidence of verification, which depends on no threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput
from openvocab.pipeline.crops import object_crop
from openvocab.pipeline.detections import Detections
from openvocab.pipeline.phrases.rows import best_phrases
from openvocab.pipeline.presence import tag_log_odds
from openvocab.pipeline.protocols import ImageArray, Tagger, Vocabulary

__all__ = ["MARGIN", "Crops", "box_key", "crops_of"]

Floats = NDArray[np.float32]

MARGIN = 0.25
"""What a crop adds on each side of the box, in shares of the longer side: it is 1.5 times as long."""

Crops = Mapping[bytes, Mapping[str, Floats]]
"""Key of a box -> "crop" or "masked" -> (C,) log-odds of all labels on the crop."""


def box_key(found: Detections, row: int) -> bytes:
    """Return the key of a detection's box: it does not depend on the label."""
    key: bytes = found.xyxy[row].tobytes()
    return key


def crops_of(tagger: Tagger, image: ImageArray, vocabulary: Vocabulary, found: Detections) -> Crops:
    """Return what the tagger sees on one crop of each of N boxes, all crops in one batch.

    With a mask the crop is "masked": its ground is one color. Without one it is "crop", the image itself. A
    LabelSet's negatives have columns behind those of the labels.

    Raises:
        BadInput: the vocabulary was made without a tagger.
        BadOutput: the tagger's features are not finite.
    """
    if vocabulary.texts is None:
        raise BadInput("this vocabulary was made without a tagger; make it with this pipeline's vocabulary()")
    name = "crop" if found.masks is None else "masked"
    masks: Sequence[NDArray[np.bool_] | None] = [None] * len(found) if found.masks is None else list(found.masks)
    views = [object_crop(image, box, MARGIN, mask) for box, mask in zip(found.xyxy, masks, strict=True)]
    features = tagger.encode_images(views)
    odds = tag_log_odds(tagger, features, tagger.logits(features, vocabulary.texts), vocabulary.background)
    odds = best_phrases(vocabulary, odds)
    return {box_key(found, row): {name: odds[row]} for row in range(len(found))}
