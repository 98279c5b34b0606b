"""Boxes for words or for example images, with OWL-ViT and OWLv2."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from openvocab.errors import BadInput, BadOutput, counted
from openvocab.models.blockwise_attention import use_blocks
from openvocab.models.checkpoints import find, load_model, load_processor
from openvocab.models.detectors.best_first import best_first, inside
from openvocab.models.detectors.owl_encoding import OwlEncoding, crops_of, joined
from openvocab.models.detectors.owl_prompts import (
    OwlQueries,
    all_rows,
    best_labels,
    check_boxes,
    mixed,
    overlaps,
    scores_of,
)
from openvocab.models.detectors.owl_tower import fold_quick_gelu, image_grid, lower_products
from openvocab.models.detectors.owlv2_pixels import owlv2_pixels
from openvocab.models.device import dtype_of, to_device, unit
from openvocab.models.text_towers import ENCODING, check_sentences, check_tokenizer
from openvocab.pipeline.protocols import Boxes, ImageArray, Queries, QueryRow
from openvocab.pipeline.quiet import label_batches
from openvocab.pipeline.result import ModelRecord
from openvocab.pipeline.tiles import Tiling
from openvocab.prompts.labels import check_labels
from openvocab.prompts.templates import PromptSet

__all__ = ["DEFAULT_TEMPLATE", "OwlDetector", "OwlEncoding", "OwlVitDetector", "Owlv2Detector", "join_queries"]

DEFAULT_TEMPLATE = "a photo of a {label}"

_TEXTS_A_BATCH = 256


@dataclass(frozen=True, eq=False, slots=True)
class OwlDetector:
    """Finds boxes for words or example images: a query is encoded once, an image's side runs once an image.

    Minderer et al. 2022, "Simple Open-Vocabulary Object Detection with Vision Transformers", and 2023, "Scaling
    Open-Vocabulary Object Detection". Load one of its two kinds, OwlVitDetector or Owlv2Detector.

    Attributes:
        model: The library's model for object detection, in evaluation mode, on its device.
        processor: Its processor.
        record: What the model is; with dtype "bfloat16" the products of the image tower are in that precision, its sums
            and normalizations, the text tower and the heads are not.
        batch: Images that go through the model together.
        windows: Overlapping windows along the longer side of an image that the model looks at too, so that it finds
            small objects; 1: the image alone.
    """

    model: Any
    processor: Any
    record: ModelRecord
    batch: int = 4
    windows: int = 1

    family: ClassVar[str]
    kind: ClassVar[str]
    classes: ClassVar[tuple[str, str]]

    @classmethod
    def load(cls, spec: str, device: str | None = None, dtype: str | None = None) -> Self:
        """Load a model from the hub or from a folder in the same layout.

        Args:
            spec: "google/owlv2-base-patch16-ensemble" (ORG/NAME or ORG/NAME@REVISION), or the path of a folder.
            device: "cuda", "mps", "cpu"; None for the best there is.
            dtype: "float32", "bfloat16" or "float16", for the image tower; None for what is fast on the device.

        Raises:
            BadInput: there is no such device or precision.
            BadWeights: the model is absent, cannot be fetched or read, or is of another kind.
        """
        import transformers

        found = find(cls.family, spec, cls.kind, [cls.family])
        record = found.record(device, dtype)
        model_class, processor_class = (getattr(transformers, name) for name in cls.classes)
        processor = load_processor(found, processor_class, cls.kind)
        model = load_model(found, model_class, cls.kind)
        check_tokenizer(spec, len(processor.tokenizer), int(model.config.text_config.vocab_size))
        return cls.of(model, processor, record)

    @classmethod
    def of(cls, model: Any, processor: Any, record: ModelRecord) -> Self:
        """Take a float32 model that is loaded already; it is moved and its image tower lowered as record says."""
        tower, dtype = model.base_model.vision_model, dtype_of(record.dtype)
        if dtype != torch.float32:
            fold_quick_gelu(tower)
            lower_products(tower, dtype)
            use_blocks(tower, torch.device(record.device), dtype)
        return cls(model.to(record.device), processor, record)

    def encode_labels(self, labels: Sequence[str], template: str | None = None) -> Queries:
        """Encode each label once, as the detection head receives it.

        Args:
            labels: C labels.
            template: a sentence with one {label}; None takes DEFAULT_TEMPLATE.

        Returns:
            embeddings of shape (C, D), a float32 tensor on the model's device, each row of length 1.

        Raises:
            BadInput: a label is empty or given twice, two are the same once cut to the model's context, or the
                template has no {label}.
            BadOutput: the model gave an embedding that is not finite.
        """
        names = check_labels(labels)
        sentence = template or DEFAULT_TEMPLATE
        prompts = PromptSet("detector", (sentence,))
        texts = [prompts.fill(name)[0] for name in names]
        self._check_sentences(names, texts)
        starts = label_batches(len(texts), _TEXTS_A_BATCH, ENCODING)
        embeddings = torch.cat([self._embed(texts[start : start + _TEXTS_A_BATCH]) for start in starts])
        return Queries(names, sentence, _finite(embeddings, names))

    def encode_exemplars(
        self, images: Sequence[ImageArray], labels: Sequence[str], xyxy: NDArray[np.floating[Any]] | None = None
    ) -> Queries:
        """Encode the object that each example image shows as a query, in the space of the labels' queries.

        Every place of the grid predicts a box and a class embedding; the embedding of one place becomes the query.
        Without a box the library's embed_image_query chooses it: OWLv2 the place with the highest objectness, OWL-ViT
        among the boxes that cover most of the image the embedding least like the average. With a box it is the
        place whose predicted box has the highest intersection over union with it (section "One-shot image-conditioned
        detection" of Minderer et al. 2022).

        Args:
            images: C example images, one for each label.
            labels: C labels, one for each image.
            xyxy: (C, 4) left, top, right, bottom of the object in pixels of its image; None for the choice above.

        Returns:
            embeddings as encode_labels returns them, with an empty template; join_queries puts both together.

        Raises:
            BadInput: the numbers differ, a label cannot be used, or a box is empty, not finite, outside its image
                or touched by no box of the model.
            BadOutput: the model gave an embedding or a box that is not finite.
        """
        names = check_labels(labels)
        if len(images) != len(names):
            given = f"{counted(len(images), 'example image')} for {counted(len(names), 'label')}"
            raise BadInput(f"{given}; give one image for each label")
        crops = [None] * len(names) if xyxy is None else list(check_boxes(xyxy, images))
        rows = [self._exemplar(*given) for given in zip(images, crops, names, strict=True)]
        return Queries(names, "", _finite(unit(torch.stack(rows)), names))

    def encode_prompt(
        self, rows: Sequence[QueryRow], negatives: Sequence[QueryRow] = (), template: str | None = None
    ) -> Queries:
        """Encode labels by words, by exemplars, or by both mixed; boxes that fit a negative better are dropped.

        Args:
            rows: C labels.
            negatives: M that are not meant.
            template: See encode_labels.

        Returns:
            embeddings are OwlQueries where there are negatives, else as of encode_labels.

        Raises:
            BadInput: as encode_labels and encode_exemplars do.
            BadOutput: as encode_labels and encode_exemplars do.
        """
        every, sentence = (*rows, *negatives), template or DEFAULT_TEMPLATE
        words = [row.label for row in every if row.text]
        texts = dict(zip(words, self.encode_labels(words, template).embeddings, strict=True)) if words else {}
        found = [self._query(row, texts.get(row.label) if row.text else None) for row in every]
        made = _finite(torch.stack(found), [row.label for row in every])
        labels, count = tuple(row.label for row in rows), len(rows)
        against = [row.text for row in negatives]
        return Queries(labels, sentence if words else "", OwlQueries.of(made[:count], made[count:], against))

    def detect(self, images: Sequence[ImageArray], queries: Queries, threshold: float) -> list[Boxes]:
        """Return one Boxes per image: all boxes whose best label scores over the threshold.

        Every place the model looks at gives at most one box, with the label that scores best there. Boxes are
        clipped to the image; those with nothing left are dropped.

        Raises:
            BadOutput: the model gave a score or a box that is not finite; the message names the image's index.
        """
        found: list[Boxes] = []
        for start in range(0, len(images), self.batch):
            block = images[start : start + self.batch]
            for image, encoded in zip(block, self._encoded(block, start), strict=True):
                boxes, logits = torch.from_numpy(encoded.xyxy), self._logits(encoded, queries, f"image {len(found)}")
                scores, index = (each.cpu() for each in best_labels(boxes.to(logits), logits, queries))
                over = scores > threshold
                found.append(best_first(boxes[over], scores[over], index[over], image))
        return found

    def encode(self, image: ImageArray) -> OwlEncoding:
        """Encode one image; every vocabulary reuses the encoding.

        Raises:
            BadOutput: the model gave a box or a place that is not finite.
        """
        return self._encoded([image])[0]

    def encode_batch(self, images: Sequence[ImageArray]) -> list[OwlEncoding]:
        """Encode several images, a few at a time.

        Raises:
            BadOutput: the model gave a box or a place that is not finite; the message names the image's index.
        """
        return self._encoded(images)

    def score_boxes(self, encoded: OwlEncoding, queries: Queries) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return (N, 4) boxes in pixels, and (N, C) scores in 0 to 1, in the order of the encoding.

        Raises:
            BadOutput: the model gave a score that is not finite.
        """
        logits = self._logits(encoded, queries, "the image")
        scores = scores_of(torch.from_numpy(encoded.xyxy).to(logits), logits, queries)
        return encoded.xyxy, np.asarray(scores.cpu().numpy(), np.float32)

    @property
    def input_side(self) -> int:
        """Pixels of the side of the square that images are resized to."""
        return int(self.model.config.vision_config.image_size)

    @property
    def _context(self) -> int:
        return int(self.model.config.text_config.max_position_embeddings)

    def _check_sentences(self, labels: Sequence[str], texts: Sequence[str]) -> None:
        check_sentences(self.processor.tokenizer, labels, texts, self._context)

    @torch.inference_mode()
    def _embed(self, texts: list[str]) -> Tensor:
        """Return (len(texts), D) float32 unit rows; attention is causal, so padding to the longest changes nothing."""
        tokens = self.processor.tokenizer(
            texts, padding="longest", truncation=True, max_length=self._context, return_tensors="pt"
        ).to(self.model.device)
        core = self.model.base_model
        pooled = core.text_model(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask).pooler_output
        return unit(core.text_projection(pooled))

    def _query(self, row: QueryRow, text: Tensor | None) -> Tensor:
        """Return the (D,) query of a label with its (D,) text, or None."""
        if not row.examples and text is not None:
            return text
        images = [each.image for each in row.examples]
        boxes = check_boxes(np.array([each.box for each in row.examples], np.float32), images)
        shown = [self._exemplar(*given, row.label) for given in zip(images, boxes, strict=True)]
        return mixed(text, unit(torch.stack(shown)))

    @torch.inference_mode()
    def _exemplar(self, image: ImageArray, box: Tensor | None, label: str) -> Tensor:
        """Return the (D,) class embedding of the object in the image, or in the box of (4,) pixels there."""
        grid = self._grid([image])
        places = grid.flatten(1, 2)
        if box is None:
            chosen = self.model.embed_image_query(places, grid)[0]
            if chosen is None:  # the library's answer where no box is finite
                raise BadOutput(f"the detector's answer for the example image of {label!r} is not finite")
            return torch.as_tensor(chosen[0, 0])
        shares = _corners(self.model.box_predictor(places, grid)[0])
        ious = overlaps(shares, (box / self._extent(image)).to(shares))
        if not float(ious.max()) > 0:
            raise BadInput(f"the model sees nothing in the box of the example image of {label!r}; draw it larger")
        return torch.as_tensor(self.model.class_predictor(places)[1][0, int(ious.argmax())])

    @torch.inference_mode()
    def _encoded(self, images: Sequence[ImageArray], first: int = 0) -> list[OwlEncoding]:
        """Return the encodings of images, of which the first has that index."""
        tilings = [Tiling.of(image.shape[:2], self.windows) for image in images]
        crops, parts = crops_of(images, tilings), list[OwlEncoding]()
        for start in range(0, len(crops), self.batch):
            block = crops[start : start + self.batch]
            grid = self._grid([shown for _, shown in block])
            places = grid.flatten(1, 2)
            boxes = self.model.box_predictor(places, grid)
            for row, (index, shown) in enumerate(block):
                if not (torch.isfinite(places[row]).all() and torch.isfinite(boxes[row]).all()):
                    raise BadOutput(f"the detector's encoding of image {first + index} is not finite")
                parts.append(self._encoding(places[row], boxes[row], shown))
        return joined(parts, images, tilings)

    def _encoding(self, places: Tensor, boxes: Tensor, shown: ImageArray) -> OwlEncoding:
        """Return the encoding of (N, W) places of an image or window with (N, 4) boxes; empty ones are left out."""
        xyxy, rows = inside(_corners(boxes) * self._extent(shown).to(boxes), shown)
        return OwlEncoding(places[rows], np.asarray(xyxy[rows].cpu().numpy(), np.float32))

    @torch.inference_mode()
    def _logits(self, encoded: OwlEncoding, queries: Queries, name: str) -> Tensor:
        """Return (N, C + M) logits of an encoding; name says which image it is."""
        words = all_rows(queries).to(encoded.features)
        logits = torch.as_tensor(self.model.class_predictor(encoded.features[None], words[None])[0][0])
        if not torch.isfinite(logits).all():
            raise BadOutput(f"the detector's scores for {name} are not finite")
        return logits

    def _grid(self, images: Sequence[ImageArray]) -> Tensor:
        return self._features(torch.cat([self._pixels(image) for image in images]))

    def _features(self, pixels: Tensor) -> Tensor:
        """Return (P, rows, columns, D) float32 of (P, 3, height, width) normalized pixels."""
        return image_grid(self.model, to_device(pixels, self.model.device))

    def _pixels(self, image: ImageArray) -> Tensor:
        """Return the model's (1, 3, height, width) float32 input."""
        given = self.processor.image_processor(images=Image.fromarray(image), return_tensors="pt")
        pixels: Tensor = given.pixel_values
        return pixels

    def _extent(self, image: ImageArray) -> Tensor:
        """Return (4,): how many pixels of the image the model's square is wide, high, wide, high."""
        height, width = image.shape[:2]
        return torch.tensor([width, height, width, height])


@dataclass(frozen=True, eq=False, slots=True)
class OwlVitDetector(OwlDetector):
    """OWL-ViT: the image is resized to a square."""

    family = "owlvit"
    kind = "OWL-ViT model"
    classes = ("OwlViTForObjectDetection", "OwlViTProcessor")


@dataclass(frozen=True, eq=False, slots=True)
class Owlv2Detector(OwlDetector):
    """OWLv2: the image is padded to a square at the right or below, so its boxes are shares of the longer side."""

    min_objectness: ClassVar[float] = 0.2
    family = "owlv2"
    kind = "OWLv2 model"
    classes = ("Owlv2ForObjectDetection", "Owlv2Processor")

    @torch.inference_mode()
    def propose(self, image: ImageArray) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the (N, 4) boxes of all places and their (N,) objectness in 0 to 1; no label is asked for.

        Windows are left out: without a label, parts of enlarged objects look like objects.

        Raises:
            BadOutput: the model gave a box or an objectness that is not finite.
        """
        encoded = replace(self, windows=1).encode(image)
        logits = self.model.objectness_predictor(encoded.features[None])[0]
        if not torch.isfinite(logits).all():
            raise BadOutput("the detector's objectness is not finite")
        return encoded.xyxy, np.asarray(logits.float().sigmoid().cpu().numpy(), np.float32)

    def _pixels(self, image: ImageArray) -> Tensor:
        quick = owlv2_pixels(image, self.processor.image_processor)
        return OwlDetector._pixels(self, image) if quick is None else quick

    def _extent(self, image: ImageArray) -> Tensor:
        return torch.tensor([max(image.shape[:2])] * 4)


def join_queries(first: Queries, *others: Queries) -> Queries:
    """Concatenate queries of one model; queries of labels and of example images may be mixed.

    Returns:
        all labels and embeddings; the template is that of the labels, several with " | " between them.

    Raises:
        BadInput: a label is there twice.
    """
    parts = (first, *others)
    labels = check_labels([label for part in parts for label in part.labels])
    template = " | ".join(dict.fromkeys(part.template for part in parts if part.template))
    return Queries(labels, template, torch.cat([part.embeddings for part in parts]))


def _corners(boxes: Tensor) -> Tensor:
    """Turn (N, 4) center x, center y, width, height into left, top, right, bottom."""
    center, half = boxes[:, :2], boxes[:, 2:] / 2
    return torch.cat([center - half, center + half], 1)


def _finite(embeddings: Tensor, names: Sequence[str]) -> Tensor:
    """Return (C, D) embeddings, or raise BadOutput with the name of the first that is not finite."""
    broken = (~torch.isfinite(embeddings).all(1)).nonzero()
    if len(broken):
        raise BadOutput(f"the detector's embedding of label {names[int(broken[0])]!r} is not finite")
    return embeddings
