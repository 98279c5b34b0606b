"""Loaders of stages without weights, which worker processes can be told of."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from openvocab import BadWeights, Pipeline, Settings
from openvocab.testing import FakeSegmenter
from tests.helpers.stages import FragileDetector, FragileTagger

KILL_COLOR = (7, 8, 9)
"""Color of the first pixel of images that take the worker down."""


@dataclass(frozen=True)
class KillingTagger(FragileTagger):
    """Dies of some images, and once of whatever it has when the file `once` is there."""

    once: str = ""

    def encode_images(self, images: Sequence[np.ndarray]) -> np.ndarray:
        if any(tuple(image[0, 0]) == KILL_COLOR for image in images):
            os.kill(os.getpid(), signal.SIGKILL)
        if self.once and len(self.calls) > 2:
            with suppress(FileNotFoundError):  # another worker was first
                Path(self.once).unlink()
                os.kill(os.getpid(), signal.SIGKILL)
        return super().encode_images(images)


@dataclass(frozen=True)
class FakeLoader:
    """Loads the fake chain, or its tagger alone, in a worker."""

    tags_alone: bool = True
    batch_size: int = 8
    seconds: float = 0.0
    max_batch: int = 10**9
    once: str = ""
    preset: str | None = "fake"
    tagger: str | None = None
    detector: str | None = None
    segmenter: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, device: str | None = None) -> Pipeline:
        if device == "broken":
            raise BadWeights("fake: its file is not the pinned one")
        if device == "dead":
            os.kill(os.getpid(), signal.SIGKILL)
        tagger = KillingTagger(seconds=self.seconds, max_batch=self.max_batch, once=self.once)
        dtype = "bfloat16" if device == "narrow" else "float32"
        tagger = replace(tagger, record=replace(tagger.record, device=str(device), dtype=dtype))
        settings = Settings(tag_threshold=0.0, box_threshold=0.0, batch_size=self.batch_size)
        if self.tags_alone:
            return Pipeline(tagger, None, None, settings)
        return Pipeline(tagger, FragileDetector(), FakeSegmenter(), settings)
