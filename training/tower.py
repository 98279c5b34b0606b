"""Train one vision tower and one text tower for detector and tagger at once.

The detector is trained with a task-aligned assignment of several patches to an object (Feng et al. 2021, "TOOD"), a
varifocal class loss (Zhang et al. 2021), GIoU and L1 for boxes, and a dense auxiliary loss that gives every patch
inside an object its label. The tagger pools the same patches by a gate and is trained with a sigmoid and a bias
(Zhai et al. 2023, "SigLIP").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import box_convert, generalized_box_iou_loss
from transformers import CLIPTokenizer

from openvocab.models.pocket.files import CONTEXT
from openvocab.models.pocket.layers import WIDTH, GatedPool
from training.architecture import PocketOwlv2, detector_config
from training.pool import Batch
from training.segmenter import positions
from training.tokens import TEMPLATES

__all__ = ["Outputs", "Texts", "Tower", "dense_loss", "detection_loss", "presence_loss", "tag_loss"]

MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""CLIP's pixel statistics (Radford et al. 2021), which both libraries' preprocessing uses."""


class Texts:
    """Token batches of the vocabulary and of words outside it.

    known   (C, L) ids of the labels in the package's own sentence.
    tokens  token -> its number.
    """

    def __init__(self, tokenizer: CLIPTokenizer, labels: tuple[str, ...], strangers: list[str]) -> None:
        self._tokenizer, self._labels, self._strangers = tokenizer, labels, strangers
        self.known = self.encode(self._labels, TEMPLATES[0])
        self.tokens: dict[str, int] = tokenizer.get_vocab()

    def encode(self, texts: Sequence[str], template: str = "{label}") -> Tensor:
        """(N, L) ids of texts in a sentence."""
        ids: Tensor = self._tokenizer(
            [template.replace("{label}", text) for text in texts],
            padding="max_length",
            max_length=CONTEXT,
            truncation=True,
            return_tensors="pt",
        )["input_ids"]
        return ids

    def labels(self, template: str) -> Tensor:
        """(C, L) ids of the labels in a sentence."""
        return self.encode(self._labels, template)

    def words(self, rng: np.random.Generator, count: int) -> list[str]:
        """Draw words that no image shows."""
        return [self._strangers[row] for row in rng.integers(0, len(self._strangers), count)]

    def draw(self, rng: np.random.Generator, strangers: int = 16, alike: float = 0.8) -> Tensor:
        """(C + strangers, L) ids: every label in a sentence, then words that no image shows.

        Args:
            alike: the share of draws that put all texts into one sentence, half of these into the package's own; in
                the others each has one of its own, so that no sentence says anything by itself.
        """
        texts = [*self._labels, *self.words(rng, strangers)]
        if rng.random() < alike:
            at = 0 if rng.random() < 0.5 else int(rng.integers(len(TEMPLATES)))
            ids = self.encode(texts, _ended(rng, TEMPLATES[at]))
        else:
            ids = self.encode(
                [
                    _ended(rng, TEMPLATES[at]).replace("{label}", text)
                    for at, text in zip(rng.integers(0, len(TEMPLATES), len(texts)), texts, strict=True)
                ]
            )
        return ids[:, : int(ids.argmax(1).max()) + 1]


def _ended(rng: np.random.Generator, template: str) -> str:
    """The sentence, one time in five with its full stop added or taken away."""
    if rng.random() < 0.8:
        return template
    return template.removesuffix(".") if template.endswith(".") else template + "."


@dataclass(frozen=True, eq=False, slots=True)
class Outputs:
    """One forward pass over B images of P patches and Q texts, float32.

    logits      (B, P, Q) detector's class logits.       objectness  (B, P) logits.
    boxes       (B, P, 4) logits of center and size.     patches     (B, P, D) class embeddings of the patches.
    tags        (B, Q) tagger's logits.                  texts       (Q, D) text embeddings.
    """

    logits: Tensor
    objectness: Tensor
    boxes: Tensor
    patches: Tensor
    tags: Tensor
    texts: Tensor


class Tower(nn.Module):
    """The detector, and beside it the tagger's pooling over the same patches."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.detector = PocketOwlv2(detector_config(tokens))
        self.pool = GatedPool()
        self.head = nn.Linear(WIDTH, self.detector.config.projection_dim)
        self.tag_scale = nn.Parameter(torch.tensor(2.7))
        self.tag_bias = nn.Parameter(torch.tensor(-5.0))
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(1, 3, 1, 1), persistent=False)
        _initialize(self.detector)

    def embed_texts(self, ids: Tensor) -> Tensor:
        """(Q, L) ids to (Q, D)."""
        model = self.detector.owlv2
        embedded: Tensor = model.text_projection(model.text_model(input_ids=ids).pooler_output)
        return embedded

    def _hidden(self, images: Tensor) -> Tensor:
        """(B, 1 + P, W) tokens of the last layer, normalized."""
        vision: Any = self.detector.owlv2.vision_model
        pixels = ((images - self.mean) / self.deviation).contiguous(memory_format=torch.channels_last)
        hidden: Tensor = vision.post_layernorm(vision(pixel_values=pixels).last_hidden_state)
        return hidden

    def embed_images(self, images: Tensor) -> Tensor:
        """(B, D) the tagger's embeddings of (B, 3, 256, 256) images in 0 to 1, of length 1."""
        return F.normalize(self.head(self.pool(self._hidden(images))).float(), dim=-1)

    def forward(self, images: Tensor, ids: Tensor) -> Outputs:
        """Run both models on (B, 3, 256, 256) images in 0 to 1 and (Q, L) token ids, or (Q, D) texts embedded."""
        model: Any = self.detector
        texts = ids if ids.is_floating_point() else self.embed_texts(ids)
        hidden = self._hidden(images)
        merged = model.layer_norm(hidden[:, 1:] * hidden[:, :1])
        logits, patches = model.class_predictor(merged, texts[None].expand(len(images), -1, -1), None)
        boxes = model.box_head(merged).float() + model.box_bias
        pooled = F.normalize(self.head(self.pool(hidden)).float(), dim=-1)
        unit = F.normalize(texts.float(), dim=-1)
        with torch.autocast("cpu", enabled=False):
            tags = pooled @ unit.T * self.tag_scale.exp() + self.tag_bias
        objectness = model.objectness_predictor(merged).float()
        return Outputs(logits.float(), objectness, boxes, patches.float(), tags, texts.float())


@torch.no_grad()
def _initialize(model: PocketOwlv2) -> None:
    """Start where a tiny transformer learns from; the library's own start has standard deviation 1 in the heads."""
    for head in (model.box_head, model.objectness_head, model.class_head):
        for linear in head.modules():
            if isinstance(linear, nn.Linear):
                nn.init.xavier_uniform_(linear.weight)
                linear.bias.zero_()
    vision: Any = model.owlv2.vision_model
    for layer in vision.encoder.layers:
        attention = layer.self_attn
        for part in (attention.q_proj, attention.v_proj):
            nn.init.xavier_uniform_(part.weight)
        attention.k_proj.weight.copy_(attention.q_proj.weight)  # attend to what is alike
    table = vision.embeddings.position_embedding.weight
    table[1:] = 0.4 * positions(16, WIDTH).reshape(-1, WIDTH)
    model.class_head.logit_scale.weight.zero_()
    model.class_head.logit_scale.bias.fill_(9.0)
    model.class_head.logit_shift.weight.zero_()
    model.class_head.logit_shift.bias.fill_(-0.45)
    model.owlv2.text_model.embeddings.token_embedding.weight.normal_(0, 0.05)
    model.box_head.dense2.weight.mul_(0.2)
    model.objectness_head.dense2.weight.mul_(0.2)
    model.objectness_head.dense2.bias.fill_(-3.0)


def _pair_iou(first: Tensor, second: Tensor) -> Tensor:
    """Element-wise IoU of broadcastable (..., 4) corner boxes."""
    low, high = torch.maximum(first[..., :2], second[..., :2]), torch.minimum(first[..., 2:], second[..., 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    areas = [(box[..., 2:] - box[..., :2]).clamp(min=1e-6).prod(-1) for box in (first, second)]
    return shared / (areas[0] + areas[1] - shared)


def _centers(patches: int) -> Tensor:
    side = int(patches**0.5)
    axis = (torch.arange(side) + 0.5) / side
    rows, columns = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([columns, rows], -1).view(patches, 2)


@torch.no_grad()
def _assign(out: Outputs, boxes: Tensor, truth: Tensor, labels: Tensor, best: int = 6) -> tuple[Tensor, Tensor]:
    """Which object each patch answers for, and how much.

    Args:
        boxes: (B, P, 4) predicted corners; truth: (B, G, 4) corners; both in 0 to 1. labels: (B, G), -1 for none.

    Returns:
        (B, P) weights in 0 to 1 (0: answers for none) and (B, P) object numbers.
    """
    count, patches, _ = out.logits.shape
    valid, centers = labels >= 0, _centers(patches)
    chance = out.logits.sigmoid().gather(2, labels.clamp(min=0)[:, None, :].expand(count, patches, -1)).transpose(1, 2)
    iou = _pair_iou(boxes[:, None], truth[:, :, None])
    margin = torch.minimum(centers - truth[:, :, None, :2], truth[:, :, None, 2:] - centers).amin(-1)
    far = ((centers - (truth[..., :2] + truth[..., 2:])[:, :, None] / 2) ** 2).sum(-1)
    inside = (margin > 0).scatter_(2, far.argmin(2, keepdim=True), True)
    size = (truth[..., 2:] - truth[..., :2]).clamp(min=1e-3).amax(-1)[..., None]
    fit = (chance + 1e-3) ** 0.5 * (iou + 0.05) ** 3 * torch.exp(-2 * far / size**2) * inside * valid[..., None]
    chosen = torch.zeros_like(inside).scatter_(2, fit.topk(best, 2)[1], True) & (fit > 0)
    overlap, owner = torch.where(chosen, iou + 1e-6, 0.0).max(1)
    kept = torch.where(chosen, fit, 0.0)
    share = kept / kept.amax(2, keepdim=True).clamp(min=1e-9)
    reach = torch.where(chosen, iou, 0.0).amax(2, keepdim=True).clamp(min=0.5)
    return (share * reach).gather(1, owner[:, None]).squeeze(1) * (overlap > 0), owner


def _varifocal(logits: Tensor, target: Tensor) -> Tensor:
    chance = logits.detach().sigmoid()
    weight = torch.where(target > 0, target, 0.75 * chance**2)
    return (F.binary_cross_entropy_with_logits(logits, target, reduction="none") * weight).sum()


def detection_loss(
    out: Outputs, batch: Batch, dense: float = 0.5, presence: float = 0.5
) -> tuple[Tensor, dict[str, float]]:
    """The detector's loss and its parts."""
    truth, labels = batch.xyxy / batch.images.shape[-1], batch.labels
    chances = out.boxes.sigmoid()
    boxes = box_convert(chances, "cxcywh", "xyxy")
    weight, owner = _assign(out, boxes, truth, labels)
    total = weight.sum().clamp(min=1)
    wanted = torch.zeros_like(out.logits)
    wanted.scatter_(2, labels.clamp(min=0).gather(1, owner)[..., None], weight[..., None])
    positive = weight > 0
    target = truth.gather(1, owner[..., None].expand(-1, -1, 4))[positive]
    by = weight[positive]
    giou = (generalized_box_iou_loss(boxes[positive], target) * by).sum() / total
    centered = box_convert(target, "xyxy", "cxcywh")
    near = ((chances[positive] - centered).abs().sum(1) * by).sum() / total
    logit = out.boxes[positive] - torch.logit(centered.clamp(0.01, 0.99))
    slope = (logit.abs().clamp(max=4).sum(1) * by).sum() / total
    classes, objects = _varifocal(out.logits, wanted) / total, _varifocal(out.objectness, wanted.amax(2)) / total
    patches, accuracy = dense_loss(out, batch)
    there = presence_loss(out, labels)
    loss = classes + 2 * giou + 3 * near + 0.1 * slope + 0.5 * objects + dense * patches + presence * there
    parts = {"class": classes.item(), "giou": giou.item(), "there": there.item(), "patch": accuracy}
    return loss, parts


def presence_loss(out: Outputs, labels: Tensor) -> Tensor:
    """What the best patch of each text says of the whole image: high where the label is there, low where it is not.

    The class loss weighs every patch; what makes a false answer is one patch alone. Hard cases weigh more, among them
    the labels that look like one that is there.
    """
    peak = out.logits.amax(1)
    wanted = torch.zeros_like(peak)
    rows, places = torch.nonzero(labels >= 0, as_tuple=True)
    wanted[rows, labels[rows, places]] = 1
    chance = peak.detach().sigmoid()
    weight = torch.where(wanted > 0, 0.5 * (1 - chance), chance**1.5)
    loss = F.binary_cross_entropy_with_logits(peak, wanted, reduction="none") * weight
    return loss.sum() / wanted.sum().clamp(min=1)


def dense_loss(out: Outputs, batch: Batch) -> tuple[Tensor, float]:
    """Every patch whose center shows an object names that object, (loss, accuracy)."""
    side = int(out.patches.shape[1] ** 0.5)
    step = batch.instances.shape[-1] // side
    shown = batch.instances[:, step // 2 :: step, step // 2 :: step].reshape(len(batch.labels), -1).long()
    covered = shown > 0
    names = batch.labels.gather(1, (shown - 1).clamp(min=0))
    covered &= names >= 0
    names = names[covered]
    cosine = F.normalize(out.patches[covered], dim=-1) @ F.normalize(out.texts, dim=-1).T
    return F.cross_entropy(cosine * 20, names), (cosine.argmax(1) == names).float().mean().item()


def tag_loss(out: Outputs, batch: Batch) -> Tensor:
    """What teaches the tagger, over all texts: a sigmoid loss and a softmax loss, per label that an image holds.

    The sigmoid loss makes scores that stand alone, hard ones weighing more; early on its gradient is weak, and the
    softmax loss (every present label against all others) is what tells labels apart.
    """
    wanted = torch.zeros_like(out.tags)
    rows, places = torch.nonzero(batch.labels >= 0, as_tuple=True)
    wanted[rows, batch.labels[rows, places]] = 1
    chance = out.tags.detach().sigmoid()
    weight = torch.where(wanted > 0, (1 - chance).clamp(min=0.05), chance**2)
    alone = F.binary_cross_entropy_with_logits(out.tags, wanted, reduction="none") * weight
    against = -out.tags.log_softmax(1) * wanted
    return (alone.sum() + against.sum()) / wanted.sum().clamp(min=1)
