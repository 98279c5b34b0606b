"""Train the embedded segmenter: a Sam that cuts out what a box or a point names."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from segment_anything.modeling import Sam
from torch import Tensor

from training.pool import Batch

__all__ = ["decode", "positions", "prompts", "segmenter_loss"]


def positions(grid: int, width: int) -> Tensor:
    """2-D sines and cosines, (grid, grid, width): where learned positions start from."""
    rows, columns = torch.meshgrid(torch.arange(grid).float(), torch.arange(grid).float(), indexing="ij")
    waves = 1 / 100 ** (torch.arange(width // 4) / (width // 4))
    return torch.cat([wave(axis[..., None] * waves) for axis in (columns, rows) for wave in (torch.sin, torch.cos)], -1)


def decode(sam: Sam, features: Tensor, sparse: Tensor, each: int) -> tuple[Tensor, Tensor]:
    """Sam's mask decoder over several images at once.

    Args:
        features: (B, C, h, w) encoded images.
        sparse: (B * each, T, C) prompt tokens, image by image.

    Returns:
        (B * each, 4, 4h, 4w) mask logits and (B * each, 4) predicted IoUs.
    """
    encoder = sam.prompt_encoder
    dense = encoder.no_mask_embed.weight.reshape(1, -1, 1, 1)
    masks, ious = sam.mask_decoder.predict_masks(features, encoder.get_dense_pe(), sparse, dense)
    return masks, ious


def _point(rng: np.random.Generator, instances: np.ndarray, number: int) -> tuple[float, float]:
    rows, columns = np.nonzero(instances == number)
    at = rng.integers(len(rows))
    return float(columns[at]) + 0.5, float(rows[at]) + 0.5


def prompts(rng: np.random.Generator, sam: Sam, batch: Batch, each: int) -> tuple[Tensor, Tensor, Tensor]:
    """Draw `each` objects an image and prompt for them: two in three by a jittered box, the rest by a point inside.

    Returns:
        (B * each, 2, C) prompt tokens, (B * each,) bool: is it a box, and (B * each, 1, 256, 256) float truth.
    """
    boxes, points, kinds, truths = [], [], [], []
    instances = batch.instances.numpy()
    for row, labels in enumerate(batch.labels):
        present = np.flatnonzero(labels.numpy() >= 0)
        for number in rng.permutation(np.resize(rng.permutation(present), each)):
            box = batch.xyxy[row, number].numpy()
            size = np.tile(box[2:] - box[:2], 2)
            jitter = rng.normal(0, 1, 4) * size * rng.choice([0, 0.03, 0.08], p=[0.5, 0.35, 0.15])
            boxes.append(np.clip(box + jitter, 0, 256).astype(np.float32))
            points.append(_point(rng, instances[row], number + 1))
            kinds.append(rng.random() < 0.8)
            truths.append(instances[row] == number + 1)
    encoder, is_box = sam.prompt_encoder, torch.tensor(kinds)
    box_tokens = encoder._embed_boxes(torch.from_numpy(np.stack(boxes)))
    point_tokens = encoder._embed_points(torch.tensor(points)[:, None], torch.ones(len(points), 1), pad=True)
    truth = torch.from_numpy(np.stack(truths)).float()[:, None]
    return torch.where(is_box[:, None, None], box_tokens, point_tokens), is_box, truth


def _mask_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Focal-weighted cross-entropy, dice and cross-entropy per object area, (N, M) for logits (N, M, h, w)."""
    truth = truth.expand_as(logits)
    chance = logits.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    focal = (entropy * (chance - truth).abs().clamp(min=0.05).detach() ** 1.5).flatten(2).mean(2)
    chance, truth = chance.flatten(2), truth.flatten(2)
    dice = 1 - (2 * (chance * truth).sum(2) + 1) / (chance.sum(2) + truth.sum(2) + 1)
    near = entropy.flatten(2).sum(2) / (truth.sum(2).clamp(min=8) + 200)
    return 10 * focal + dice + 0.3 * near


def segmenter_loss(logits: Tensor, ious: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """The loss, and (N,) the true IoU of the first mask.

    Args:
        logits: (N, 4, h, w); the first answers alone, of the other three the best one is trained.
        ious: (N, 4) predicted.
        truth: (N, 1, 256, 256) in 0 to 1.
    """
    small = F.adaptive_avg_pool2d(truth, logits.shape[-1])
    losses = _mask_loss(logits, small)
    with torch.no_grad():
        found, wanted = logits > 0, small > 0.5
        true = (found & wanted).flatten(2).sum(2) / (found | wanted).flatten(2).sum(2).clamp(min=1)
    loss = losses[:, 0].mean() + 0.3 * losses[:, 1:].min(1)[0].mean() + F.mse_loss(ious, true)
    return loss, true[:, 0]
