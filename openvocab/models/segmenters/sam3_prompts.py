"""What SAM 3 is asked for: words, and boxes on the image itself that show what is meant and what is not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openvocab.errors import BadInput
from openvocab.pipeline.protocols import ImageArray, QueryRow
from openvocab.prompts.exemplars import Exemplar
from openvocab.prompts.origins import pixel_digest

__all__ = ["VISUAL", "Sam3Prompts", "Sam3Texts", "prompted"]

VISUAL = "visual"
"""The text beside boxes without words, as Sam3Processor has it."""


@dataclass(frozen=True, eq=False, slots=True)
class Sam3Texts:
    """C encoded labels; rows are selected by a list of indices.

    Attributes:
        features: (C, T, D) float32, one row a token.
        valid: (C, T) bool, False for padding.
    """

    features: Tensor
    valid: Tensor

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, rows: Sequence[int] | slice) -> Sam3Texts:
        return Sam3Texts(self.features[rows], self.valid[rows])


@dataclass(frozen=True, eq=False, slots=True)
class Sam3Prompts:
    """C labels by words and exemplars, and M words that are not meant; indices select rows of the former.

    Attributes:
        texts: The words of each label, or VISUAL.
        shown: The exemplars of each label.
        against: What each label does not mean.
        rivals: The M words that are not meant; every selection keeps all of them.
    """

    texts: Sam3Texts
    shown: tuple[tuple[Exemplar, ...], ...]
    against: tuple[tuple[Exemplar, ...], ...]
    rivals: Sam3Texts

    @classmethod
    def of(cls, given: Sam3Texts | Sam3Prompts) -> Sam3Prompts:
        """Return prompts, also for words alone."""
        if isinstance(given, Sam3Prompts):
            return given
        nothing: tuple[tuple[Exemplar, ...], ...] = ((),) * len(given)
        return cls(given, nothing, nothing, given[:0])

    @classmethod
    def of_rows(cls, rows: Sequence[QueryRow], negatives: Sequence[QueryRow], known: Sam3Texts) -> Sam3Prompts:
        """Return the prompts of C labels and M negatives.

        A negative exemplar that is called as a label is crossed out of that label, another one out of all.

        Args:
            rows: The labels.
            negatives: What is not meant.
            known: The texts of those that are read as words, in order, and VISUAL.
        """
        words = [row.label for row in (*rows, *negatives) if row.text]
        labels = [row.label for row in rows]
        place = [words.index(row.label) if row.text else len(words) for row in rows]
        against = tuple(
            tuple(one for each in negatives if each.label == label or each.label not in labels for one in each.examples)
            for label in labels
        )
        rivals = known[[words.index(each.label) for each in negatives if each.text]]
        return cls(known[place], tuple(row.examples for row in rows), against, rivals)

    @property
    def columns(self) -> Sam3Prompts:
        """The C labels and, after them, the M rivals."""
        features = torch.cat([self.texts.features, self.rivals.features])
        texts = Sam3Texts(features, torch.cat([self.texts.valid, self.rivals.valid]))
        nothing: tuple[tuple[Exemplar, ...], ...] = ((),) * len(self.rivals)
        return Sam3Prompts(texts, self.shown + nothing, self.against + nothing, self.rivals[:0])

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, rows: Sequence[int] | slice) -> Sam3Prompts:
        chosen = range(len(self))[rows] if isinstance(rows, slice) else rows
        shown, against = (tuple(each[row] for row in chosen) for each in (self.shown, self.against))
        return Sam3Prompts(self.texts[rows], shown, against, self.rivals)


def prompted(model: Any, encoded: Any, image: ImageArray, asked: Sam3Prompts) -> Sam3Texts:
    """Return the texts of a few labels with the features of their boxes on the image behind them.

    Args:
        model: A Sam3Model.
        encoded: Its vision encoder's answer for the image.
        image: (H, W, 3) uint8 RGB.
        asked: The labels.

    Raises:
        BadInput: an exemplar is of another image.
    """
    count = max((len(one) + len(other) for one, other in zip(asked.shown, asked.against, strict=True)), default=0)
    if not count:
        return asked.texts
    digest, device = pixel_digest(image), asked.texts.features.device
    boxes, kinds = np.zeros((len(asked), count, 4), np.float32), np.full((len(asked), count), -1)
    for row, (shown, against) in enumerate(zip(asked.shown, asked.against, strict=True)):
        for at, one in enumerate((*shown, *against)):
            boxes[row, at], kinds[row, at] = _share(one, image, digest), at < len(shown)
    given = torch.from_numpy(boxes).to(device), torch.from_numpy(kinds).to(device)
    features, valid = _encoded(model, encoded, *given)
    texts = asked.texts
    return Sam3Texts(torch.cat([texts.features, features], 1), torch.cat([texts.valid, valid], 1))


def _share(one: Exemplar, image: ImageArray, digest: str) -> NDArray[np.float32]:
    """Return the box of an exemplar: center and size as shares of the image.

    Raises:
        BadInput: it is of another image.
    """
    box = one.box_there()
    if box is None or one.origin is None or one.origin.digest != digest:
        raise BadInput(
            f"exemplar {one.label!r} is not of the image that is asked about, and SAM 3 takes no other, and no tiles; "
            "cut it from that image with Exemplar.cut, or load a detector of the families owlv2 or owlvit"
        )
    height, width = image.shape[:2]
    low, high = np.reshape(box, (2, 2)) / [width, height]
    return np.array([*(low + high) / 2, *(high - low)], np.float32)


def _encoded(model: Any, encoded: Any, boxes: Tensor, kinds: Tensor) -> tuple[Tensor, Tensor]:
    """Return (C, N + 1, D) features and (C, N + 1) bool of (C, N, 4) boxes.

    Args:
        model: A Sam3Model.
        encoded: Its vision encoder's answer for one image.
        boxes: Center and size as shares of the image.
        kinds: (C, N) 1 for what is meant, 0 for what is not, -1 for padding.
    """
    maps, positions = (
        [each[-2].expand(len(boxes), -1, -1, -1)] for each in (encoded.fpn_hidden_states, encoded.fpn_position_encoding)
    )
    there = kinds >= 0
    answer = model.geometry_encoder(
        box_embeddings=boxes, box_mask=there, box_labels=kinds.clamp(min=0), img_feats=maps, img_pos_embeds=positions
    )
    return answer.last_hidden_state, answer.attention_mask.bool() & there.any(1, keepdim=True)
