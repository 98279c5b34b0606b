"""Image classifiers of transformers as taggers, and the loader that also takes those of timm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image

from openvocab.errors import BadWeights
from openvocab.models.checkpoints import find, load_model, load_processor
from openvocab.models.device import dtype_of
from openvocab.models.taggers import timm_classifier
from openvocab.models.taggers.class_names import ClassNames
from openvocab.models.taggers.classifier import Classifier

__all__ = ["ClassifierTagger"]

_KIND = "image classifier"


@dataclass(frozen=True, eq=False, slots=True)
class ClassifierTagger(Classifier):
    """A Classifier whose model and image_processor are those of transformers."""

    @classmethod
    def load(cls, spec: str, device: str | None = None, dtype: str | None = None) -> Classifier:
        """Load a model that transformers' AutoModelForImageClassification or timm knows.

        Args:
            spec: "google/vit-base-patch16-224" (ORG/NAME or ORG/NAME@REVISION), or the path of a folder, in
                transformers' layout or in timm's; "tf_efficientnet_lite2@PATH.pth", an architecture of timm and its
                weights; or such an architecture alone, where the manifest names its weights.
            device: "cuda", "mps", "cpu"; None for the best there is.
            dtype: "float32", "bfloat16" or "float16", for the weights; None for what is fast on the device.

        Raises:
            BadInput: there is no such device or precision.
            BadWeights: the model is absent, cannot be fetched or read, or is no classifier.
            UnknownName: timm has no such architecture, or the manifest no weights for it.
            MissingExtra: its weights come with a package that is not installed.
        """
        from transformers import AutoImageProcessor, AutoModelForImageClassification
        from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES as KNOWN

        if timm_classifier.is_architecture(spec):
            return timm_classifier.load_architecture(spec, device, dtype)
        found = find("classifier", spec, _KIND, {*KNOWN, None})
        if timm_classifier.is_timm(found.config):
            return timm_classifier.load_found(found, device, dtype)
        if "model_type" not in found.config:
            raise BadWeights(f"{spec}: this is no {_KIND}: config.json names neither a model type nor an architecture")
        if found.config.get("problem_type") == "regression":
            raise BadWeights(f"{spec}: this model predicts a number, not a class; name a classifier")
        record = found.record(device, dtype)
        model = load_model(found, AutoModelForImageClassification, _KIND)
        names = tuple(str(model.config.id2label[row]) for row in range(model.config.num_labels))
        return cls(
            model=model.to(record.device, dtype_of(record.dtype)),
            image_processor=load_processor(found, AutoImageProcessor, _KIND),
            record=record,
            classes=ClassNames.of(names),
            independent=model.config.problem_type == "multi_label_classification" or len(names) == 1,
        )

    def _forward(self, shown: Sequence[Image.Image]) -> torch.Tensor:
        """Return (P, K) logits in the model's precision."""
        pixels = self.image_processor(images=shown, return_tensors="pt").to(self.model.device, self.model.dtype)
        logits: torch.Tensor = self.model(**pixels).logits
        return logits
