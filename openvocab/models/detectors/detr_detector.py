"""Boxes for the classes that a detector was trained on, with DETR and its relatives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from types import SimpleNamespace
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from openvocab.errors import BadInput, BadOutput
from openvocab.models.checkpoints import find, load_model, load_processor, processor_side
from openvocab.models.detectors.best_first import best_first
from openvocab.pipeline.protocols import Boxes, ImageArray, Queries
from openvocab.pipeline.result import ModelRecord
from openvocab.prompts.labels import check_labels

__all__ = ["DetrDetector"]

_KIND = "DETR model"
_SOFTMAX = frozenset({"detr"})
"""Trained with a class for "no object"; the others score each class by itself."""
_TYPES = (*_SOFTMAX, "conditional_detr", "deformable_detr", "rt_detr", "rt_detr_v2", "d_fine", "rf_detr")


@dataclass(frozen=True, eq=False, slots=True)
class DetrDetector:
    """Finds boxes of a closed vocabulary: labels are names that the model knows, in any case.

    DETR (Carion et al. 2020), Conditional DETR (Meng et al. 2021), Deformable DETR (Zhu et al. 2021), RT-DETR (Zhao
    et al. 2023) and its second version (Lv et al. 2024), D-FINE (Peng et al. 2024) and RF-DETR (Robinson et al. 2025).
    Images go through one at a time, since padding to a common size would change the answer. The model stays in float32:
    boxes come out of a stack of refinements that bfloat16 moves by pixels.

    Attributes:
        model: The library's model for object detection, in evaluation mode, on its device.
        processor: Its image processor.
        record: What the model is; its dtype is always "float32".
    """

    model: Any
    processor: Any
    record: ModelRecord

    @classmethod
    def load(cls, spec: str, device: str | None = None, dtype: str | None = None) -> DetrDetector:
        """Load a model from the hub or from a folder in the same layout.

        Args:
            spec: "facebook/detr-resnet-50" (ORG/NAME or ORG/NAME@REVISION), or the path of a folder.
            device: "cuda", "mps", "cpu"; None for the best there is.
            dtype: "float32", "bfloat16" or "float16"; the model stays in float32 with either.

        Raises:
            BadInput: there is no such device or precision.
            BadWeights: the model is absent, cannot be fetched or read, or is of another kind.
        """
        from transformers import AutoImageProcessor, AutoModelForObjectDetection

        found = find("detr", spec, _KIND, _TYPES)
        record = replace(found.record(device, dtype), dtype="float32")
        processor = load_processor(found, AutoImageProcessor, _KIND)
        model = load_model(found, AutoModelForObjectDetection, _KIND)
        return cls(model.to(record.device), processor, record)

    def encode_labels(self, labels: Sequence[str], template: str | None = None) -> Queries:
        """Find the class of each label.

        Args:
            labels: C labels, each the name of a class in any case.
            template: not used; the model knows classes by number.

        Returns:
            embeddings of shape (C,), an int64 tensor of class numbers; the template is empty.

        Raises:
            BadInput: a label is empty, given twice, or no class of the model; the nearest class is named.
        """
        names = check_labels(labels)
        classes = _classes(self.model.config.id2label)
        for name in names:
            if name.casefold() not in classes:
                raise _unknown_class(name, classes, self.model.config.id2label)
        return Queries(names, "", torch.tensor([classes[name.casefold()] for name in names]))

    @property
    def input_side(self) -> int:
        """Pixels of the shorter side of the model's input."""
        return processor_side(self.processor)

    def detect(self, images: Sequence[ImageArray], queries: Queries, threshold: float) -> list[Boxes]:
        """Return one Boxes per image: the boxes over the threshold, as the library's post-processing gives them.

        DETR gives each of its boxes the asked label that scores best there; its score is the share that the softmax
        over all classes and "no object" gives that label. The other kinds score each pair of box and label by itself,
        and the best pairs are kept: 100, RT-DETR as many as it has boxes. Other classes take no
        slot. Boxes are clipped to the image; those with nothing left are dropped.

        Raises:
            BadOutput: the model gave a score or a box that is not finite; the message names the image's index.
        """
        found: list[Boxes] = []
        for row, image in enumerate(images):
            logits, boxes = self._forward(image)
            if not (torch.isfinite(logits).all() and torch.isfinite(boxes).all()):
                raise BadOutput(f"the detector's answer for image {row} is not finite")
            given = SimpleNamespace(logits=self._class_logits(logits, queries.embeddings), pred_boxes=boxes)
            sizes = torch.tensor([image.shape[:2]])
            one = self.processor.post_process_object_detection(given, threshold, sizes)[0]
            found.append(best_first(one["boxes"], one["scores"], one["labels"], image))
        return found

    @torch.inference_mode()
    def _forward(self, image: ImageArray) -> tuple[Tensor, Tensor]:
        """Return (1, queries, classes) logits and (1, queries, 4) boxes: center and size, as shares of the image."""
        given = self.processor(images=Image.fromarray(image), return_tensors="pt").to(self.model.device)
        answer = self.model(**given)
        return answer.logits, answer.pred_boxes

    def _class_logits(self, logits: Tensor, classes: Tensor) -> Tensor:
        """Return the logits of the given classes; for a softmax, all others are merged into "no object"."""
        chosen = logits[..., classes.to(logits.device)]
        if self.model.config.model_type not in _SOFTMAX:
            return chosen
        others = torch.ones(logits.shape[-1], dtype=torch.bool, device=logits.device)
        others[classes.to(logits.device)] = False
        return torch.cat([chosen, logits[..., others].logsumexp(-1, keepdim=True)], -1)


def _classes(names: Mapping[int, str]) -> dict[str, int]:
    """Return case-folded name -> class, without names that stand for several, such as the "N/A" of COCO's gaps."""
    folded = {int(number): " ".join(name.split()).casefold() for number, name in names.items()}
    count = Counter(folded.values())
    return {name: number for number, name in folded.items() if count[name] == 1}


def _unknown_class(name: str, classes: Mapping[str, int], names: Mapping[int, str]) -> BadInput:
    """Return the error for a label that is no class."""
    near = get_close_matches(name.casefold(), classes, n=1, cutoff=0.0)
    hint = f"; the nearest of its {len(classes)} is {names[classes[near[0]]]!r}" if near else ""
    return BadInput(f"label {name!r} is no class of this closed-vocabulary detector{hint}")
