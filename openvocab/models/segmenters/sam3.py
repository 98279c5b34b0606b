"""Boxes and masks for words, with SAM 3."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from openvocab.errors import BadOutput, MissingExtra
from openvocab.models.checked import same_answers
from openvocab.models.checkpoints import Found, find, load_model, load_processor, processor_side
from openvocab.models.detectors.best_first import best_first
from openvocab.models.device import dtype_of
from openvocab.models.segmenters.mask_upsampling import axis_weights, upsampled
from openvocab.models.segmenters.sam3_forward import answers_alike, candidates, mask_logits
from openvocab.models.segmenters.sam3_prompts import VISUAL, Sam3Prompts, Sam3Texts, prompted
from openvocab.models.text_towers import ENCODING, check_sentences, check_tokenizer
from openvocab.pipeline.exemplars.rivals import meant
from openvocab.pipeline.protocols import Boxes, ImageArray, Queries, QueryRow
from openvocab.pipeline.quiet import label_batches
from openvocab.pipeline.result import ModelRecord
from openvocab.prompts.labels import check_labels
from openvocab.prompts.templates import PromptSet

__all__ = ["DEFAULT_TEMPLATE", "Sam3Detector"]

DEFAULT_TEMPLATE = "{label}"

_KIND = "SAM 3 model"
_CLASSES = {"sam3": "Sam3Model", "sam3_video": "Sam3Model", "sam3_lite_text": "Sam3LiteTextModel"}
"""Model type of a checkpoint -> the library's class."""
_CONTEXT = 32
"""Tokens that Sam3Processor pads a text to."""
_STRETCHED = ("sam3_lite_text_text_model",)
"""Text encoders that stretch their positions, 16 or 77, over the tokens, so that no other number will do."""
_TEXTS_A_BATCH = 256
_MASK_THRESHOLD = 0.5
"""Of the probability of a pixel, as in Sam3Processor.post_process_instance_segmentation."""


@dataclass(frozen=True, eq=False, slots=True)
class Sam3Detector:
    """Finds every instance of a label, with its mask: the image is encoded once and reused for each label.

    A score is the place's own times the model's presence score, which says whether the label is in the image at
    all; it is that of the library's post-processing. Each label is looked for by itself, so no label's score depends
    on the others.

    Attributes:
        model: A Sam3Model, in evaluation mode, on its device.
        processor: Its Sam3Processor.
        record: What the model is; with dtype "bfloat16" the vision backbone is in that precision, its rotary angles and
            all that follows are in float32.
        labels: How many labels go through the model together.
    """

    model: Any
    processor: Any
    record: ModelRecord
    labels: int = 4

    @classmethod
    def load(cls, spec: str, device: str | None = None, dtype: str | None = None) -> Sam3Detector:
        """Load a model from the hub or from a folder in the same layout.

        Args:
            spec: "facebook/sam3" (ORG/NAME or ORG/NAME@REVISION), or the path of a folder. The published weights,
                which hold a tracker for videos too, are read for their detector. LiteText, a SAM 3 with a small text
                encoder, is loaded in the same way: "yonigozlan/sam3-litetext-s0".
            device: "cuda", "mps", "cpu"; None for the best there is.
            dtype: "float32", "bfloat16" or "float16", for the vision backbone; None for what is fast on the device.

        Raises:
            BadInput: there is no such device or precision.
            BadWeights: the model is absent, cannot be fetched or read, or is not a SAM 3.
            MissingExtra: it is a LiteText, which the installed transformers does not know.
        """
        from transformers import Sam3Processor

        found = find("sam3", spec, _KIND, list(_CLASSES))
        record = found.record(device, dtype)
        processor = load_processor(found, Sam3Processor, _KIND)
        model = load_model(found, _model_class(found), _KIND).requires_grad_(False).to(record.device)
        check_tokenizer(spec, len(processor.tokenizer), int(model.vocab_size))
        answers_alike(model)
        _lower(model.vision_encoder, dtype_of(record.dtype))
        made = cls(model, processor, record)
        made._resizes_alike()
        return made

    def encode_labels(self, labels: Sequence[str], template: str | None = None) -> Queries:
        """Encode each label once.

        Args:
            labels: C labels.
            template: a sentence with one {label}; None takes the label alone, as the model was trained.

        Returns:
            embeddings are Sam3Texts on the model's device.

        Raises:
            BadInput: a label is empty or given twice, two are the same once cut to the model's context, or the
                template has no {label}.
            BadOutput: the model gave an embedding that is not finite.
        """
        names = check_labels(labels)
        sentence = template or DEFAULT_TEMPLATE
        prompts = PromptSet("detector", (sentence,))
        texts = [prompts.fill(name)[0] for name in names]
        check_sentences(self.processor.tokenizer, names, texts, self._context)
        starts = label_batches(len(texts), _TEXTS_A_BATCH, ENCODING)
        parts = [self._embed(texts[start : start + _TEXTS_A_BATCH]) for start in starts]
        features, valid = (torch.cat(each) for each in zip(*parts, strict=True))
        broken = (~torch.isfinite(features).flatten(1).all(1)).nonzero()
        if len(broken):
            raise BadOutput(f"the detector's embedding of label {names[int(broken[0])]!r} is not finite")
        return Queries(names, sentence, Sam3Texts(features, valid))

    def encode_prompt(
        self, rows: Sequence[QueryRow], negatives: Sequence[QueryRow] = (), template: str | None = None
    ) -> Queries:
        """Encode labels by words, by exemplars on the image that is asked about, or by both.

        A box is found that is like the exemplars of its label, and not like the negative ones. It is dropped where a
        negative word scores more on it.

        Args:
            rows: C labels.
            negatives: What is not meant; an exemplar that is called as a label is not meant by that label alone.
            template: See encode_labels.

        Returns:
            embeddings are Sam3Prompts.

        Raises:
            BadInput, BadOutput: as encode_labels.
        """
        words = [row.label for row in (*rows, *negatives) if row.text]
        known = self.encode_labels(words, template) if words else None
        features, valid = self._embed([VISUAL])
        if known is not None:
            features = torch.cat([known.embeddings.features, features])
            valid = torch.cat([known.embeddings.valid, valid])
        made = Sam3Prompts.of_rows(rows, negatives, Sam3Texts(features, valid))
        return Queries(tuple(row.label for row in rows), known.template if known else "", made)

    def detect(self, images: Sequence[ImageArray], queries: Queries, threshold: float) -> list[Boxes]:
        """Return one Boxes per image: for each label, the boxes that score over the threshold. No mask is computed.

        Boxes are clipped to the image; those with nothing left are dropped.

        Raises:
            BadInput: an exemplar is of another image.
            BadOutput: the model gave a score or a box that is not finite; the message names the image's index.
        """
        return [self._boxes(index, image, queries, threshold)[0] for index, image in enumerate(images)]

    def detect_masks(
        self, images: Sequence[ImageArray], queries: Queries, threshold: float
    ) -> list[tuple[Boxes, NDArray[np.bool_]]]:
        """Return for each image what detect returns, and the (N, height, width) bool masks of those boxes.

        Raises:
            BadInput: an exemplar is of another image.
            BadOutput: the model gave a score, a box or a mask that is not finite; the message names the image's
                index.
        """
        found = []
        for index, image in enumerate(images):
            boxes, maps = self._boxes(index, image, queries, threshold, with_maps=True)
            resize = _resized if self._resizes_alike() else self._library_masks
            found.append((boxes, resize(maps, image.shape[:2])))
        return found

    def _resizes_alike(self) -> bool:
        """Compare _resized with the library's post-processing on random logits, once a process."""

        def both() -> tuple[Any, Any]:
            maps = torch.randn(2, 16, 16)
            library, ours = self._library_masks(maps, (11, 17)), _resized(maps, (11, 17))
            return torch.from_numpy(library), torch.from_numpy(ours)

        known = hasattr(self.processor, "post_process_instance_segmentation")  # if not, nothing to compare with
        return not known or same_answers("mask resizing of SAM 3", type(self.processor), both)

    def _library_masks(self, maps: Tensor, size: tuple[int, int]) -> NDArray[np.bool_]:
        """Return the (N, height, width) masks of the library's post-processing, for (N, side, side) logits."""
        answer = SimpleNamespace(
            pred_logits=torch.full((1, len(maps)), 9.0, device=maps.device),
            pred_boxes=torch.zeros(1, len(maps), 4, device=maps.device),
            pred_masks=maps[None],
            presence_logits=None,
        )
        made = self.processor.post_process_instance_segmentation(
            answer, mask_threshold=_MASK_THRESHOLD, target_sizes=[size]
        )
        return np.asarray(made[0]["masks"].bool().cpu().numpy()).reshape(-1, *size)

    @torch.inference_mode()
    def _boxes(
        self, index: int, image: ImageArray, queries: Queries, threshold: float, with_maps: bool = False
    ) -> tuple[Boxes, Tensor]:
        """Return the boxes of one image and, where asked for, their (N, side, side) mask logits."""
        encoded = self._encode(image)
        device = encoded.last_hidden_state.device
        parts = [(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.long))]
        maps = [torch.zeros(0, 1, 1, device=device)]
        asked = Sam3Prompts.of(queries.embeddings).columns
        for start in range(0, len(asked), self.labels):
            texts = prompted(self.model, encoded, image, asked[slice(start, start + self.labels)])
            found = candidates(self.model, encoded, texts.features, texts.valid)
            over = found.scores > threshold
            rows = over.nonzero()[:, 0]
            parts.append((found.xyxy[over].cpu(), found.scores[over].cpu(), rows.cpu() + start))
            if with_maps:
                maps += [
                    mask_logits(self.model, encoded, texts.features, texts.valid, found, row, over[row])
                    for row in sorted(set(rows.tolist()))
                ]
            if not all(torch.isfinite(each).all() for each in (found.scores, found.xyxy, *maps)):
                raise BadOutput(f"the detector's answer for image {index} is not finite")
        shares, scores, labels = (torch.cat(each) for each in zip(*parts, strict=True))
        height, width = image.shape[:2]
        best = best_first(shares * torch.tensor([width, height] * 2), scores, torch.arange(len(scores)), image)
        kept = torch.from_numpy(best.label_index)  # indices into the concatenated rows
        every = Boxes(best.xyxy, best.scores, labels[kept].numpy())
        mine = meant(every, len(queries.labels))
        boxes = Boxes(every.xyxy[mine], every.scores[mine], every.label_index[mine])
        whole = torch.cat([each for each in maps if len(each)] or maps)
        return boxes, whole[kept[mine].to(device)] if with_maps else whole

    @property
    def input_side(self) -> int:
        """Pixels of the shorter side of the model's input."""
        return processor_side(self.processor.image_processor)

    @property
    def _context(self) -> int:
        text = self.model.config.text_config
        return _CONTEXT if text.model_type in _STRETCHED else min(_CONTEXT, int(text.max_position_embeddings))

    @torch.inference_mode()
    def _embed(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Return (len(texts), T, D) float32 features and (len(texts), T) bool."""
        tokens = self.processor.tokenizer(
            texts, padding="max_length", truncation=True, max_length=self._context, return_tensors="pt"
        ).to(self.model.device)
        answer = self.model.get_text_features(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask)
        return answer.pooler_output, tokens.attention_mask.bool()

    def _encode(self, image: ImageArray) -> Any:
        """Return the vision encoder's answer for one image, in float32."""
        given = self.processor.image_processor(images=Image.fromarray(image), return_tensors="pt")
        pixels = given.pixel_values.to(self.model.device, dtype_of(self.record.dtype))
        return self.model.vision_encoder(pixels)


def _model_class(found: Found) -> Any:
    """Return the library's class of a checkpoint.

    Raises:
        MissingExtra: the installed transformers has none.
    """
    import transformers

    name = _CLASSES[found.config["model_type"]]
    if not hasattr(transformers, name):
        raise MissingExtra(
            f"{found.spec}: transformers {transformers.__version__} has no {name}; pip install -U transformers"
        )
    return getattr(transformers, name)


def _resized(maps: Tensor, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Return (N, height, width) masks for (N, side, side) logits."""
    rows, columns = (axis_weights(maps.shape[-1], [(side, side)], maps.device) for side in size)
    return upsampled(maps.sigmoid(), rows, columns, _MASK_THRESHOLD)


def _lower(vision_encoder: Any, precision: torch.dtype) -> None:
    """Give the backbone's weights that precision, not its buffers: rounded rotary angles would move every place."""
    for weight in vision_encoder.backbone.parameters():
        weight.data = weight.data.to(precision)
    vision_encoder.neck.register_forward_pre_hook(lambda _, maps: (maps[0].float(),))
