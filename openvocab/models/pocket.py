"""Load the embedded models: their files are verified, then read by the adapters of their families."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from openvocab.errors import BadWeights
from openvocab.models.detectors.owl_detector import Owlv2Detector
from openvocab.models.device import pick_device, pick_dtype
from openvocab.models.segmenters.sam_segmenter import SamSegmenter
from openvocab.models.taggers.clip_tagger import OpenClipTagger
from openvocab.pipeline.quiet import quiet_loading
from openvocab.pipeline.result import ModelRecord
from openvocab.weights.files import read_state
from openvocab.weights.manifest import Checkpoint, checkpoint
from openvocab.weights.trust import file_state, refuse_changed

__all__ = ["PocketSegmenter", "load_detector", "load_segmenter", "load_tagger"]


@dataclass(frozen=True, eq=False, slots=True)
class PocketSegmenter(SamSegmenter):
    """SamSegmenter for the embedded SAM, whose image encoder also returns the fine features of its stem."""

    def _features(self, pixels: Tensor) -> Tensor:
        features: Tensor = self.model.image_encoder(pixels)
        return features


def _record(pinned: Checkpoint, device: str | None, dtype: str | None) -> ModelRecord:
    where = pick_device(device)
    return ModelRecord(pinned.name, pinned.sha256, str(where), str(pick_dtype(where, dtype)).removeprefix("torch."))


@contextmanager
def _verified(name: str) -> Iterator[Checkpoint]:
    """Yield a verified embedded checkpoint; its file must not change while it is loaded.

    Raises:
        BadWeights: its file is absent, not the pinned one, or was replaced before this is left.
    """
    pinned = checkpoint(name)
    before = file_state(pinned.path)
    pinned.verified()
    yield pinned
    refuse_changed([pinned.path], [before])


def load_tagger(device: str | None = None, dtype: str | None = None) -> OpenClipTagger:
    """Load the embedded open_clip model.

    Raises:
        BadWeights: its file is absent, not the pinned one, or was replaced meanwhile.
    """
    from openvocab.weights.pocket import architecture

    architecture.register()
    with _verified("pocket-tagger") as pinned:
        tagger = OpenClipTagger.load(f"local-dir:{pinned.path.parent}", device, dtype)
    return replace(tagger, record=replace(tagger.record, spec=pinned.name))


def load_detector(device: str | None = None, dtype: str | None = None) -> Owlv2Detector:
    """Load the embedded OWLv2 with its convolutional stem.

    Raises:
        BadWeights: its file is absent, not the pinned one, or was replaced meanwhile.
    """
    from transformers import Owlv2Processor

    from openvocab.weights.pocket.architecture import PocketOwlv2

    with _verified("pocket-detector") as pinned, quiet_loading():
        folder = pinned.path.parent
        model: Any = PocketOwlv2.from_pretrained(
            folder, local_files_only=True, attn_implementation="eager", dtype=torch.float32
        )
    processor = Owlv2Processor.from_pretrained(folder, local_files_only=True)
    return Owlv2Detector.of(model.eval(), processor, _record(pinned, device, dtype))


def load_segmenter(device: str | None = None, dtype: str | None = None) -> PocketSegmenter:
    """Load the embedded SAM.

    Raises:
        BadWeights: its file is absent, not the pinned one, of another architecture, or was replaced meanwhile.
    """
    from openvocab.weights.pocket.architecture import build_sam

    model = build_sam()
    with _verified("pocket-segmenter") as pinned:
        state = {name: weight.float() for name, weight in read_state(pinned.path).items()}
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise BadWeights(f"{pinned.path}: not the embedded segmenter's weights; reinstall openvocab") from error
    return PocketSegmenter(model.to(pick_device(device)).eval(), _record(pinned, device, "float32"))
