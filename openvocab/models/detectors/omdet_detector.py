"""Boxes for words, with OmDet-Turbo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from openvocab.errors import BadOutput
from openvocab.models.checked import same_answers
from openvocab.models.checkpoints import find, load_model, load_processor, processor_side
from openvocab.models.detectors.best_first import best_first
from openvocab.models.text_towers import ENCODING, check_sentences, check_tokenizer
from openvocab.pipeline.protocols import Boxes, ImageArray, Queries
from openvocab.pipeline.quiet import label_batches
from openvocab.pipeline.result import ModelRecord
from openvocab.prompts.labels import check_labels
from openvocab.prompts.templates import PromptSet

__all__ = ["DEFAULT_TASK", "OmDetDetector", "OmDetTexts"]

DEFAULT_TASK = "Detect {label}."

_KIND = "OmDet-Turbo model"
_TEXTS_A_BATCH = 256
_NO_SUPPRESSION = 2.0
"""An intersection over union that no two boxes reach."""


@dataclass(frozen=True, eq=False, slots=True)
class OmDetTexts:
    """An encoded vocabulary; texts[rows] selects labels.

    Attributes:
        classes: (C, D) float32, one row a label.
        task: (T, D) float32, one row a token of the task, which names all labels; None where some were picked since, so
            that detect encodes the task anew.
    """

    classes: Tensor
    task: Tensor | None

    def __getitem__(self, rows: Sequence[int]) -> OmDetTexts:
        """Return the labels of those rows."""
        whole = sorted(rows) == list(range(len(self.classes)))
        return OmDetTexts(self.classes[list(rows)], self.task if whole else None)


@dataclass(frozen=True, eq=False, slots=True)
class OmDetDetector:
    """Finds boxes for words (Zhao et al. 2024, "Real-time Transformer-based Open-Vocabulary Detection").

    The model reads each label, and a task that names them all: "Detect cat, dog.". Labels are put in alphabetical order
    there, so that the answer does not depend on the order in which they are asked for; it does depend on which are
    asked together, in the task and in the choice of the places that become queries. That choice makes bfloat16 swap
    whole boxes, so the model stays in float32. Images go through one at a time.

    Attributes:
        model: An OmDetTurboForObjectDetection, in evaluation mode, on its device.
        processor: Its OmDetTurboProcessor.
        record: What the model is; its dtype is always "float32".
    """

    model: Any
    processor: Any
    record: ModelRecord

    @classmethod
    def load(cls, spec: str, device: str | None = None, dtype: str | None = None) -> OmDetDetector:
        """Load a model from the hub or from a folder in the same layout.

        Args:
            spec: "omlab/omdet-turbo-swin-tiny-hf" (ORG/NAME or ORG/NAME@REVISION), or the path of a folder.
            device: "cuda", "mps", "cpu"; None for the best there is.
            dtype: "float32", "bfloat16" or "float16"; the model stays in float32 with either.

        Raises:
            BadInput: there is no such device or precision.
            BadWeights: the model is absent, cannot be fetched or read, or is of another kind.
        """
        from transformers import OmDetTurboForObjectDetection, OmDetTurboProcessor

        found = find("omdet_turbo", spec, _KIND, ["omdet-turbo"])
        record = replace(found.record(device, dtype), dtype="float32")
        processor = load_processor(found, OmDetTurboProcessor, _KIND)
        model = load_model(found, OmDetTurboForObjectDetection, _KIND)
        check_tokenizer(spec, len(processor.tokenizer), int(model.config.text_config.vocab_size))
        made = cls(model.to(record.device), processor, record)
        made._answers_alike()
        return made

    def encode_labels(self, labels: Sequence[str], template: str | None = None) -> Queries:
        """Encode each label without a template, and the task that names them all.

        Args:
            labels: C labels.
            template: the task, with one {label} where the labels go, ", " between them; None takes DEFAULT_TASK. It is
                truncated to the model's context, as in the library.

        Returns:
            embeddings of the kind OmDetTexts, on the model's device.

        Raises:
            BadInput: a label is empty or given twice, two are the same once cut to the model's context, or the
                template has no {label}.
            BadOutput: the model gave an embedding that is not finite.
        """
        names = check_labels(labels)
        sentence = template or DEFAULT_TASK
        if not self._answers_alike():  # the library's forward encodes labels and task itself
            PromptSet("task", (sentence,))
            check_sentences(self.processor.tokenizer, names, names, self._context)
            return Queries(names, sentence, OmDetTexts(torch.zeros(len(names), 0), torch.zeros(0, 0)))
        task = self._task(names, sentence)
        check_sentences(self.processor.tokenizer, names, names, self._context)
        starts = label_batches(len(names), _TEXTS_A_BATCH, ENCODING)
        classes = torch.cat([self._embed(names[start : start + _TEXTS_A_BATCH]) for start in starts])
        broken = (~torch.isfinite(classes).all(1)).nonzero()
        if len(broken) or not torch.isfinite(task).all():
            what = f"label {names[int(broken[0])]!r}" if len(broken) else "the task"
            raise BadOutput(f"the detector's embedding of {what} is not finite")
        return Queries(names, sentence, OmDetTexts(classes, task))

    def detect(self, images: Sequence[ImageArray], queries: Queries, threshold: float) -> list[Boxes]:
        """Return one Boxes per image: all pairs of box and label that score over the threshold, unsuppressed.

        As in the library's post-processing a box may come once for each label, and the best pairs are kept, as many
        as the model has queries (900 in published checkpoints). Boxes are clipped to the image; those with nothing
        left are dropped.

        Raises:
            BadOutput: the model gave a score or a box that is not finite; the message names the image's index.
        """
        texts: OmDetTexts = queries.embeddings
        task = texts.task
        if task is None and self._answers_alike():
            task = self._task(queries.labels, queries.template)
        order = sorted(range(len(queries.labels)), key=queries.labels.__getitem__)
        found: list[Boxes] = []
        for row, image in enumerate(images):
            logits, boxes = self._answer(image, queries, order, task)
            if not (torch.isfinite(logits).all() and torch.isfinite(boxes).all()):
                raise BadOutput(f"the detector's answer for image {row} is not finite")
            given = SimpleNamespace(
                decoder_class_logits=logits, decoder_coord_logits=boxes, classes_structure=[len(order)]
            )
            one = self.processor.post_process_grounded_object_detection(
                given, threshold=threshold, nms_threshold=_NO_SUPPRESSION, target_sizes=[image.shape[:2]]
            )[0]
            index = torch.tensor(order, device=one["labels"].device)[one["labels"]]
            found.append(best_first(one["boxes"], one["scores"], index, image))
        return found

    @property
    def input_side(self) -> int:
        """Pixels of the shorter side of the model's input."""
        return processor_side(self.processor.image_processor)

    @property
    def _context(self) -> int:
        return int(self.model.config.text_config.max_position_embeddings)

    def _tokens(self, texts: Sequence[str]) -> Any:
        """Return ids and mask, cut at the longest text: attention is causal, so what follows an end changes nothing."""
        tokens = self.processor.tokenizer(
            list(texts), padding="longest", truncation=True, max_length=self._context, return_tensors="pt"
        )
        return tokens.to(self.model.device)

    @torch.inference_mode()
    def _embed(self, texts: Sequence[str]) -> Tensor:
        """Return (len(texts), D) rows, one a label."""
        return torch.as_tensor(self.model.language_backbone(self._tokens(texts).input_ids, encode_type="class"))

    @torch.inference_mode()
    def _task(self, labels: Sequence[str], sentence: str) -> Tensor:
        """Return (T, D) rows, one a token of the task for those labels."""
        tokens = self._tokens(PromptSet("task", (sentence,)).fill(", ".join(sorted(labels))))
        rows, _ = self.model.language_backbone(tokens.input_ids, mask=tokens.attention_mask, encode_type="task")
        return torch.as_tensor(rows[:, 0])

    def _answer(
        self, image: ImageArray, queries: Queries, order: Sequence[int], task: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return (1, queries, C) logits, labels in that order, and (1, queries, 4) boxes as shares of the image."""
        given = self.processor.image_processor(images=Image.fromarray(image), return_tensors="pt")
        pixels = given.pixel_values.to(self.model.device)
        if task is not None and self._answers_alike():
            return _forward(self.model, pixels, queries.embeddings.classes[order], task)
        names = [queries.labels[row] for row in order]
        tasks = PromptSet("task", (queries.template,)).fill(", ".join(names))
        return _library(self.model, pixels, self._tokens(names), self._tokens(tasks))

    def _answers_alike(self) -> bool:
        """Compare _forward with the library's on a tiny model of the same class, once a process."""

        def both() -> tuple[Any, Any]:
            tiny = type(self.model)(_tiny_config(type(self.model.config))).eval()
            for weight in tiny.parameters():
                torch.nn.init.normal_(weight, std=0.2)
            pixels = torch.randn(1, 3, 64, 64)
            classes, tasks = (
                SimpleNamespace(input_ids=torch.tensor(ids), attention_mask=torch.ones(len(ids), 3, dtype=torch.long))
                for ids in ([[0, 2, 1], [0, 3, 1]], [[0, 4, 1]])
            )
            rows = tiny.language_backbone(classes.input_ids, encode_type="class")
            task, _ = tiny.language_backbone(tasks.input_ids, mask=tasks.attention_mask, encode_type="task")
            return _library(tiny, pixels, classes, tasks), _forward(tiny, pixels, rows, task[:, 0])

        return same_answers("the forward pass of OmDet-Turbo", type(self.model), both)


@torch.inference_mode()
def _forward(model: Any, pixels: Tensor, classes: Tensor, task: Tensor) -> tuple[Tensor, Tensor]:
    """Return (1, queries, C) logits and (1, queries, 4) boxes: center and size, as shares of the image."""
    states = model.encoder(model.vision_backbone(pixels), return_dict=True).extracted_states
    mask = torch.ones(1, len(task), dtype=torch.int64, device=task.device)
    answer = model.decoder(states, classes[:, None], task[:, None], mask, return_dict=True)
    return answer.decoder_classes[-1], answer.decoder_coords[-1]


@torch.inference_mode()
def _library(model: Any, pixels: Tensor, classes: Any, task: Any) -> tuple[Tensor, Tensor]:
    """Return the same from the library's own forward, for tokens of the labels and of the task."""
    answer = model(
        pixel_values=pixels,
        classes_input_ids=classes.input_ids,
        classes_attention_mask=classes.attention_mask,
        tasks_input_ids=task.input_ids,
        tasks_attention_mask=task.attention_mask,
        classes_structure=torch.tensor([len(classes.input_ids)], device=pixels.device),
    )
    return answer.decoder_class_logits, answer.decoder_coord_logits


def _tiny_config(config: Any) -> Any:
    swin = {"model_type": "swin", "image_size": 64, "embed_dim": 8, "depths": [1] * 4, "num_heads": [1, 1, 2, 2]}
    text = {"model_type": "clip_text_model", "vocab_size": 8, "hidden_size": 64, "intermediate_size": 64}
    text |= {"num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 8, "projection_dim": 64}
    wide = ("class_embed_dim", "text_projection_in_dim", "text_projection_out_dim")
    narrow = ("encoder_hidden_dim", "decoder_hidden_dim", "task_encoder_hidden_dim")
    sizes = dict.fromkeys(wide, 64) | dict.fromkeys((*narrow, "encoder_dim_feedforward", "decoder_dim_feedforward"), 32)
    return config(
        text_config={**text, "bos_token_id": 0, "eos_token_id": 1},
        backbone_config={**swin, "window_size": 4, "drop_path_rate": 0.0, "out_indices": [2, 3, 4]},
        image_size=64,
        apply_layernorm_after_vision_backbone=False,
        vision_features_channels=[32] * 3,
        encoder_in_channels=[16, 32, 64],
        encoder_attention_heads=2,
        decoder_num_heads=2,
        decoder_num_layers=2,
        num_queries=20,
        **sizes,
    )
