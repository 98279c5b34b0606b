"""Choose the preset's thresholds on scenes that are neither trained on nor reported: prints a table, changes nothing.

python -m training.tune [--scenes 100] [--packages DIR]

It runs the chain through the public API.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from training.drawings import HELD_OUT_STYLE, TRAINED_STYLES, labels, load_style
from training.evaluate import f1, matched, scene_masks, tag_figures
from training.scenes import ORDINARY, Scene, bank, compose

__all__ = ["main"]

SEED = 990001
TAG_THRESHOLDS = (0.2, 0.3, 0.4, 0.5, 0.6)
BOX_THRESHOLDS = (0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6)


def _counts(pipe: Any, vocabulary: Any, scene: Scene, tag: float) -> list[tuple[int, int]]:
    """(found, given) for each box threshold, at one tag threshold."""
    names = [vocabulary.labels[index] for index in scene.labels]
    wanted = [each.label for each in pipe.tag(scene.image, vocabulary, tag_threshold=tag)]
    detections = pipe.detect(scene.image, vocabulary, wanted, box_threshold=min(BOX_THRESHOLDS))
    detections = pipe.segment(scene.image, detections)
    masks, rows = scene_masks(scene), []
    for least in BOX_THRESHOLDS:
        kept = detections.take(np.flatnonzero(detections.detector_scores >= least))
        rows.append((matched(kept, names, masks), len(kept)))
    return rows


def _table(pipe: Any, scenes: list[Scene]) -> str:
    vocabulary = pipe.vocabulary(labels())
    total = sum(len(scene.labels) for scene in scenes)
    lines = ["tag \\ box " + " ".join(f"{least:6.2f}" for least in BOX_THRESHOLDS)]
    for tag in TAG_THRESHOLDS:
        counts = np.sum([_counts(pipe, vocabulary, scene, tag) for scene in scenes], axis=0)
        scores = [f1(int(found), int(given), total)["f1"] for found, given in counts]
        lines.append(f"{tag:9.2f} " + " ".join(f"{score:6.3f}" for score in scores))
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tags' average precision for each grid of windows, then F1 of the chain for each pair of thresholds."""
    import openvocab

    parser = argparse.ArgumentParser(prog="python -m training.tune", description=__doc__)
    parser.add_argument("--scenes", type=int, default=100)
    parser.add_argument("--windows", type=int, nargs="+", default=[0, 2, 3])
    parser.add_argument("--packages", type=Path, default=Path("node_modules/@iconify-json"))
    chosen = parser.parse_args(arguments)
    for style in (TRAINED_STYLES, (HELD_OUT_STYLE,)):
        drawings = bank([load_style(name, chosen.packages) for name in style], labels())
        rng = np.random.default_rng(SEED)
        scenes = [compose(rng, drawings, ORDINARY) for _ in range(chosen.scenes)]
        for windows in chosen.windows:
            pipe = openvocab.load("pocket", windows=windows)
            vocabulary = pipe.vocabulary(labels())
            precision = tag_figures(pipe, vocabulary, scenes[:1], scenes)["tags mAP"]
            sys.stdout.write(f"{style[0]}, windows {windows}: tags mAP {precision:.3f}\n{_table(pipe, scenes)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
