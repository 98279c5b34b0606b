"""Quick held-out figures while the tower trains; evaluate.py measures the finished models through the chain."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score
from torch import Tensor
from torchvision.ops import batched_nms, box_convert, box_iou

from openvocab.prompts import prompt_set
from training.pool import Batch, Pool
from training.tower import Outputs, Texts, Tower

__all__ = ["held_out_figures"]


def _matches(boxes: Tensor, names: Tensor, scores: Tensor, truth: Tensor, labels: Tensor) -> NDArray[np.bool_]:
    """Which of the boxes, best first, find an object of their label that is still free (IoU 0.5)."""
    hits, free = np.zeros(len(boxes), bool), torch.ones(len(truth), dtype=torch.bool)
    overlaps = box_iou(boxes, truth)
    for row in range(len(boxes)):
        overlap = overlaps[row] * (labels == names[row]) * free
        if len(overlap) and overlap.max() >= 0.5:
            hits[row] = True
            free[overlap.argmax()] = False
    return hits


def _detections(out: Outputs, row: int, allowed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes in 0 to 1, scores and label numbers of one image, best first, over the allowed labels."""
    scores, index = out.logits[row][:, allowed].sigmoid().max(1)
    kept = scores > 0.02
    boxes = box_convert(out.boxes[row][kept].sigmoid(), "cxcywh", "xyxy").clamp(0, 1)
    names, scores = allowed[index[kept]], scores[kept]
    order = batched_nms(boxes, scores, names, 0.5)[:100]
    return boxes[order], scores[order], names[order]


def _average_precision(scores: list[float], hits: list[bool], positives: int) -> float:
    """Area under the precision-recall curve made monotone, as PASCAL VOC 2010 computes it."""
    order = np.argsort(-np.array(scores), kind="stable")
    true = np.cumsum(np.array(hits, float)[order])
    recall, precision = true / positives, true / np.arange(1, len(true) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall, prepend=0) * precision))


def _box_ap(outs: list[tuple[Outputs, Batch]], count: int, told: bool) -> float:
    """AP50 over labels; told: the queries are the labels that the image holds."""
    scores: list[list[float]] = [[] for _ in range(count)]
    hits: list[list[bool]] = [[] for _ in range(count)]
    positives = np.zeros(count)
    for out, batch in outs:
        for row, named in enumerate(batch.labels):
            present = named[named >= 0]
            np.add.at(positives, present.numpy(), 1)
            allowed = present.unique() if told else torch.arange(count)
            boxes, sure, names = _detections(out, row, allowed)
            found = _matches(boxes, names, sure, batch.xyxy[row][named >= 0] / 256, present)
            for name, score, hit in zip(names.tolist(), sure.tolist(), found.tolist(), strict=True):
                scores[name].append(score)
                hits[name].append(hit)
    each = [
        _average_precision(scores[label], hits[label], int(positives[label])) if scores[label] else 0.0
        for label in np.flatnonzero(positives)
    ]
    return float(np.mean(each))


def _forward(tower: Tower, texts: Texts, pool: Pool, scenes: int) -> list[tuple[Outputs, Batch]]:
    outs = []
    for start in range(0, scenes, 50):
        batch = pool.take(np.arange(start, start + 50))
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            outs.append((tower(batch.images, texts.known), batch))
    return outs


def _many_sentences(tower: Tower, texts: Texts) -> Tensor:
    """(C, D) embeddings of the labels averaged over the eighty sentences of OpenAI."""
    with torch.no_grad():
        each = [F.normalize(tower.embed_texts(texts.labels(one)), dim=-1) for one in prompt_set("openai80").templates]
    return F.normalize(torch.stack(each).mean(0), dim=-1)


def _top1(tower: Tower, labels: Tensor, pool: Pool, scenes: int) -> float:
    """How often the nearest label of (C, D) is that of the only object."""
    batch = pool.take(np.arange(scenes))
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        images = torch.cat([tower.embed_images(batch.images[at : at + 50]) for at in range(0, scenes, 50)])
    return float((images @ labels.T).argmax(1).eq(batch.labels[:, 0]).float().mean())


def _tag_map(outs: list[tuple[Outputs, Batch]], count: int) -> float:
    truth = np.zeros((sum(len(batch.labels) for _, batch in outs), count + 1), bool)
    named = torch.cat([batch.labels for _, batch in outs]).numpy()
    truth[np.arange(len(named))[:, None], named] = True
    truth = truth[:, :count]
    scores = torch.cat([out.tags for out, _ in outs]).float().numpy()
    present = truth.any(0)
    return float(average_precision_score(truth[:, present], scores[:, present], average="macro"))


def held_out_figures(tower: Tower, texts: Texts, work: Path, count: int, scenes: int = 100) -> dict[str, float]:
    """Tagger and detector figures in trained styles (val) and in the one held out (held)."""
    figures = {}
    with torch.no_grad():
        own = F.normalize(tower.embed_texts(texts.known), dim=-1)
    many = _many_sentences(tower, texts)
    for name in ("val", "held"):
        single = Pool(work / f"{name}-single")
        ordinary = _forward(tower, texts, Pool(work / f"{name}-ordinary"), scenes)
        figures[f"{name} top1"] = _top1(tower, own, single, scenes)
        figures[f"{name} top1 openai80"] = _top1(tower, many, single, scenes)
        figures[f"{name} tag mAP"] = _tag_map(ordinary, count)
        figures[f"{name} AP50 told"] = _box_ap(ordinary, count, told=True)
        figures[f"{name} AP50 all"] = _box_ap(ordinary, count, told=False)
    return {name: round(value, 3) for name, value in figures.items()}
