"""Measure everything mode with the embedded models on composed scenes: python -m training.everything --help."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from openvocab.errors import BadInput
from openvocab.pipeline.detections import Detections
from openvocab.pipeline.everything import UNKNOWN, EverythingOptions, label_objects, named
from training.drawings import labels, load_style
from training.evaluate import mask_iou, scene_masks, style_names
from training.scenes import ORDINARY, Scene, bank, compose

if TYPE_CHECKING:
    from openvocab import Pipeline, Vocabulary

__all__ = ["everything_figures", "main"]


def everything_figures(pipe: Pipeline, scenes: Sequence[Scene], names: Sequence[str], seed: int) -> dict[str, float]:
    """Coverage, what is no object, label accuracy beside true boxes, and how many others are unknown.

    The vocabulary is a random half of the labels; label accuracy is that of objects inside it. An object is covered by
    a mask with IoU 0.5 or more; its label is that of the mask that covers it best.
    """
    inside = np.random.default_rng(seed).permutation(len(names))[: len(names) // 2]
    vocabulary, options = pipe.vocabulary([names[row] for row in inside]), EverythingOptions()
    counts, others = np.zeros(8, np.int64), 0
    for scene in scenes:
        truth = scene_masks(scene)
        result = pipe.everything(scene.image, vocabulary)
        masks = np.asarray(result.detections.masks)
        iou = mask_iou(masks, truth) if len(masks) else np.zeros((1, len(truth)))
        covered, best = iou.max(axis=0) >= 0.5, iou.argmax(axis=0)
        others += int((iou[: len(masks)].max(axis=1) < 0.5).sum())
        told = _told(pipe, scene, vocabulary, options)
        known = np.isin(scene.labels, inside)
        for row, label in enumerate(scene.labels):
            found = result.detections.labels[best[row]] if covered[row] else ""
            own, true = (names[label], UNKNOWN)[not known[row]], told[row]
            counts += [
                1,
                covered[row],
                known[row] and covered[row],
                known[row] and covered[row] and found == own,
                known[row],
                known[row] and true == own,
                not known[row] and covered[row],
                not known[row] and covered[row] and found == UNKNOWN,
            ]
    every, seen, inner, right, true_inner, true_right, outer, unknown = counts.tolist()
    return {
        "objects": every,
        "covered at mask IoU 0.5": seen / every,
        "masks of no object, a scene": others / len(scenes),
        "label accuracy": right / max(inner, 1),
        "label accuracy from true boxes": true_right / max(true_inner, 1),
        "outside the vocabulary: unknown": unknown / max(outer, 1),
    }


def _told(pipe: Pipeline, scene: Scene, vocabulary: Vocabulary, options: EverythingOptions) -> tuple[str, ...]:
    """Return the labels of the true boxes, segmented by the pipeline's segmenter."""
    if pipe.segmenter is None:
        raise BadInput("the pipeline has no segmenter")
    masks, scores = pipe.segmenter.masks(pipe.segmenter.encode(scene.image), scene.xyxy)
    objects = Detections(scene.xyxy, scores, (UNKNOWN,) * len(scores), scores, scores, masks)
    return named(objects, label_objects(pipe, scene.image, objects, vocabulary), vocabulary, options).labels


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    import openvocab

    home = Path("node_modules/@iconify-json")
    parser = argparse.ArgumentParser(prog="python -m training.everything", description=__doc__)
    parser.add_argument("--scenes", type=int, default=500, help="scenes (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=2024, help="names the scenes (default: %(default)s)")
    parser.add_argument("--style", choices=("trained", "held-out"), default="trained")
    parser.add_argument("--packages", type=Path, default=home, help="folder of the packages (default: %(default)s)")
    chosen = parser.parse_args(arguments)
    drawn = [load_style(style, chosen.packages) for style in style_names(chosen.style)]
    names = [label for label in labels() if any(style.get(label) for style in drawn)]
    rng, drawings = np.random.default_rng(chosen.seed), bank(drawn, names)
    scenes = [compose(rng, drawings, ORDINARY) for _ in range(chosen.scenes)]
    figures = everything_figures(openvocab.load("pocket"), scenes, names, chosen.seed)
    sys.stdout.write("".join(f"{name:40} {value:.3f}\n" for name, value in figures.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
