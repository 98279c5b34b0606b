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

__all__ = ["MARGIN", "Crops", "box_key", "crop_log_odds", "crops_of"]

Floats = NDArray[np.float32]

MARGIN = 0.25
"""What a crop adds on each side of the box, in shares of the longer side: it is 1.5 times as long."""

Crops = Mapping[bytes, Mapping[str, Floats]]
"""Key of a box -> "crop", "masked" -> (C,) log-odds of all labels on the crop."""


def box_key(found: Detections, row: int) -> bytes:
    """Return the key of a detection's box: it does not depend on the label."""
    key: bytes = found.xyxy[row].tobytes()
    return key


def crops_of(tagger: Tagger, image: ImageArray, vocabulary: Vocabulary, found: Detections) -> Crops:
    """Return what the tagger sees on crops of all boxes; see crop_log_odds."""
    odds = crop_log_odds(tagger, image, vocabulary, found)
    return {box_key(found, row): {name: each[row] for name, each in odds.items()} for row in range(len(found))}


def crop_log_odds(tagger: Tagger, image: ImageArray, vocabulary: Vocabulary, found: Detections) -> dict[str, Floats]:
    """Return the (N, C) log-odds of all labels on the crops of N boxes: "crop", and "masked" where there are masks.

    All crops are one batch. A LabelSet's negatives have columns behind those of the labels.

    Raises:
        BadInput: the vocabulary was made without a tagger.
        BadOutput: the tagger's features are not finite.
    """
    masks: Sequence[NDArray[np.bool_] | None] = [None] * len(found) if found.masks is None else list(found.masks)
    names = ("crop",) if found.masks is None else ("crop", "masked")
    views = [
        object_crop(image, box, MARGIN, mask if name == "masked" else None)
        for box, mask in zip(found.xyxy, masks, strict=True)
        for name in names
    ]
    if vocabulary.texts is None:
        raise BadInput("this vocabulary was made without a tagger; make it with this pipeline's vocabulary()")
    features = tagger.encode_images(views)
    odds = tag_log_odds(tagger, features, tagger.logits(features, vocabulary.texts), vocabulary.background)
    odds = best_phrases(vocabulary, odds)
    return {name: odds[at :: len(names)] for at, name in enumerate(names)}
