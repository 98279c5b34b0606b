"""Measure tiling with the embedded models on large composed scenes: python -m training.tiles --help."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput
from openvocab.pipeline.chain import look
from openvocab.pipeline.tiled import segment_tiles
from openvocab.pipeline.tiles import Tiling
from training.backgrounds import background
from training.drawings import labels, load_style
from training.evaluate import mask_iou, matches, scene_masks, style_names
from training.scenes import Scene, SceneKind, bank, compose

if TYPE_CHECKING:
    from openvocab import Detections, Pipeline, Vocabulary

__all__ = ["main", "mask_figures", "peak_mebibytes", "recall_figures", "seam_figures"]

SMALL = SceneKind((0,) * 15 + (1,), 22, 26)
"""Sixteen objects of about 24 pixels."""
MIXED = SceneKind((0,) * 5 + (1,), 24, 200)
"""Six objects of 24 to 200 pixels."""


def large(kind: SceneKind, side: int, drawings: list[list[list[NDArray[np.uint8]]]], seed: int) -> Iterator[Scene]:
    """Yield scenes of side x side pixels."""
    rng = np.random.default_rng(seed)
    while True:
        yield compose(rng, drawings, kind, lambda rng: background(rng, side))


def pairwise(first: NDArray[np.float32], second: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the (N, M) intersections of (N, 4) and (M, 4) boxes, over the union and over the smaller area."""
    low, high = np.maximum(first[:, None, :2], second[None, :, :2]), np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = (high - low).clip(0).prod(-1)
    one, other = ((each[:, 2:] - each[:, :2]).prod(-1) for each in (first, second))
    smaller = np.minimum(one[:, None], other[None])
    return shared / np.maximum(one[:, None] + other[None] - shared, 1e-9), shared / np.maximum(smaller, 1e-9)


def hits(found: Detections, scene: Scene, names: Sequence[str]) -> int:
    """Return how many objects have a detection of their label with a box IoU of 0.5 or more, each counted once."""
    return matches(pairwise(found.xyxy, scene.xyxy)[0], found.labels, [names[each] for each in scene.labels])


def doubles(found: Detections, origins: Sequence[int], scene: Scene, names: Sequence[str]) -> tuple[int, int]:
    """Return how many detections are second ones of their object: of one tile, and of different tiles.

    A detection belongs to the object of its label that it overlaps most, by intersection over the smaller area, if by
    half or more.
    """
    owners: dict[int, list[int]] = {}
    ios = pairwise(found.xyxy, scene.xyxy)[1]
    for row, label, origin in zip(ios, found.labels, origins, strict=True):
        if row.max() >= 0.5 and names[scene.labels[row.argmax()]] == label:
            owners.setdefault(int(row.argmax()), []).append(origin)
    apart = sum(len(set(each)) - 1 for each in owners.values())
    return sum(map(len, owners.values())) - len(owners) - apart, apart


def detected(pipe: Pipeline, scene: Scene, vocabulary: Vocabulary) -> tuple[Detections, list[int]]:
    """Return the detections of the labels of a scene, and the tile of each."""
    rows = np.unique(scene.labels)
    (seen,) = look(pipe, [scene.image], vocabulary, rows)
    found = seen.detections(vocabulary.labels, rows, pipe.settings, scene.image.shape[:2])
    tiles = np.zeros(len(seen.xyxy), np.int64) if seen.tiles is None else seen.tiles
    return found, [int(tiles[(seen.xyxy == box).all(axis=1).argmax()]) for box in found.xyxy]


def present(scene: Scene, names: Sequence[str]) -> list[str]:
    """Return the labels of a scene, each once."""
    return [names[index] for index in dict.fromkeys(scene.labels.tolist())]


def recall_figures(pipe: Pipeline, scenes: list[Scene], names: Sequence[str], size: int) -> dict[str, float]:
    """Recall of objects of about size pixels, by boxes with the right label, without tiles and with tiles="auto"."""
    vocabulary, wanted = pipe.vocabulary(names), sum(len(scene.labels) for scene in scenes)
    figures = dict[str, float]()
    for title, stages in (("without", pipe), ("with", pipe.changed(tiles="auto", min_object=size))):
        start = time.perf_counter()
        results = [stages(scene.image, vocabulary).detections for scene in scenes]
        seconds = (time.perf_counter() - start) / len(scenes)
        told = [stages.detect(scene.image, vocabulary, present(scene, names)) for scene in scenes]
        found, own = (sum(map(hits, each, scenes, [names] * len(scenes))) for each in (results, told))
        figures[f"recall of the chain {title} tiles"] = found / wanted
        figures[f"precision of the chain {title} tiles"] = found / max(sum(map(len, results)), 1)
        figures[f"recall of the detector, true labels, {title} tiles"] = own / wanted
        figures[f"seconds a scene {title} tiles"] = seconds
    return figures


def seam_figures(pipe: Pipeline, scenes: list[Scene], names: Sequence[str], tiles: int) -> dict[str, float]:
    """Second boxes of one object without and with tiles, with the true labels as queries."""
    vocabulary, figures = pipe.vocabulary(names), dict[str, float]()
    wanted = sum(len(scene.labels) for scene in scenes)
    for title, count in (("without tiles", 0), (f"with tiles={tiles}", tiles)):
        found = [detected(pipe.changed(tiles=count), scene, vocabulary) for scene in scenes]
        second = [doubles(*each, scene, names) for each, scene in zip(found, scenes, strict=True)]
        same, apart = np.sum(second, axis=0)
        figures[f"second boxes from one window {title}"] = int(same)
        figures[f"second boxes from two windows {title}"] = int(apart)
        right = (hits(each, scene, names) for (each, _), scene in zip(found, scenes, strict=True))
        figures[f"recall {title}"] = sum(right) / wanted
    return figures


def mask_figures(pipe: Pipeline, scenes: list[Scene], names: Sequence[str], tiles: int) -> dict[str, float]:
    """Masks of the true boxes with tiles: their IoU with the truth, and with the masks without tiles.

    Without tiles a mask is that of the window that the tiled chain chose, cut out and segmented as an image of its own.
    """
    if pipe.segmenter is None:
        raise BadInput("the pipeline has no segmenter")
    alike, own, whole = list[float](), list[float](), list[float]()
    for scene in scenes:
        tiling, truth = Tiling.of(scene.image.shape[:2], tiles), scene_masks(scene)
        masks = np.asarray(segment_tiles(pipe.segmenter, scene.image, scene.xyxy, tiling)[0])
        plain = pipe.segmenter.masks(pipe.segmenter.encode(scene.image), scene.xyxy)[0]
        own += np.diag(mask_iou(masks, truth)).tolist()
        whole += np.diag(mask_iou(plain, truth)).tolist()
        for mask, box, window in zip(masks, scene.xyxy, tiling.mask_windows(scene.xyxy), strict=True):
            left, top, right, bottom = window
            alone = scene.image[top:bottom, left:right].copy()
            moved = box[None] - np.tile(window[:2], 2).astype(np.float32)
            (wanted,), _ = pipe.segmenter.masks(pipe.segmenter.encode(alone), moved)
            alike.append(float(mask_iou(mask[None, top:bottom, left:right], wanted[None])[0, 0]))
    return {
        "mask IoU with the truth, tiled": float(np.mean(own)),
        "mask IoU with the truth, untiled": float(np.mean(whole)),
        "mask IoU with the untiled mask of the window, smallest": float(np.min(alike)),
    }


def peak_mebibytes(tiles: int, side: int) -> float:
    """Return the peak memory of a process that runs the chain on one image with that many tiles."""
    code = (
        "import numpy, openvocab;"
        "pipe = openvocab.load('pocket', dtype='float32');"
        f"image = numpy.random.default_rng(0).integers(0, 256, ({side}, {side}, 3), dtype=numpy.uint8);"
        f"pipe(image, 'pocket', tiles={tiles});"
        "print(*[line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')])"
    )
    answer = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return int(answer.stdout) / 1024


def _parser() -> argparse.ArgumentParser:
    home = Path("node_modules/@iconify-json")
    parser = argparse.ArgumentParser(prog="python -m training.tiles", description=__doc__)
    parser.add_argument("--scenes", type=int, default=30, help="scenes of 2048 x 2048 (default: %(default)s)")
    parser.add_argument("--seams", type=int, default=500, help="scenes of 512 x 512 (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=2024, help="names the scenes (default: %(default)s)")
    parser.add_argument("--style", choices=("trained", "held-out"), default="trained")
    parser.add_argument(
        "--packages", type=Path, default=home, help="folder of the style packages (default: %(default)s)"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    import openvocab

    chosen = _parser().parse_args(arguments)
    drawn = [load_style(style, chosen.packages) for style in style_names(chosen.style)]
    names = [label for label in labels() if any(style.get(label) for style in drawn)]
    pipe, drawings = openvocab.load("pocket"), bank(drawn, names)
    small = list(islice(large(SMALL, 2048, drawings, chosen.seed), chosen.scenes))
    mixed = list(islice(large(MIXED, 512, drawings, chosen.seed), chosen.seams))
    figures = recall_figures(pipe, small, names, 24) | seam_figures(pipe, mixed, names, 3)
    figures |= mask_figures(pipe, mixed[: chosen.scenes], names, 3)
    figures |= {f"MiB with tiles={count}": peak_mebibytes(count, 2048) for count in (0, 4, 12)}
    sys.stdout.write("".join(f"{name:60} {value:.3f}\n" for name, value in figures.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
