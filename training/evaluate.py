"""Measure the embedded models on freshly composed scenes: python -m training.evaluate --help.

It runs the chain through the public API.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput
from openvocab.evaluate.metrics.error_types import OBJECT_ERRORS
from training.drawings import HELD_OUT_STYLE, TRAINED_STYLES, Drawings, labels, load_folder, load_style
from training.presence import presence_figures
from training.scenes import ORDINARY, SINGLE, Scene, bank, compose

if TYPE_CHECKING:
    from openvocab import Detections, Pipeline, Result, Vocabulary

__all__ = ["f1", "main", "mask_iou", "matched", "matches", "measure", "scene_masks", "style_names"]

LOWEST = 0.01
"""Boxes that score less do not enter the average precision."""


def scene_masks(scene: Scene) -> NDArray[np.bool_]:
    """(N, 256, 256) true masks."""
    return np.stack([scene.instances == number + 1 for number in range(len(scene.labels))])


def mask_iou(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(N, M) IoU of masks (N, H, W) and (M, H, W)."""
    one, other = (masks.reshape(len(masks), -1).astype(np.float64) for masks in (first, second))
    shared = one @ other.T
    return np.asarray(shared / np.maximum(one.sum(1)[:, None] + other.sum(1)[None] - shared, 1))


def matches(overlaps: NDArray[Any], detected: Iterable[Any], true: Sequence[Any]) -> int:
    """How many of N detections, best first, find an object of their label that is still free, with IoU 0.5 or more.

    Args:
        overlaps: (N, M) IoU of detections and objects.
        detected: N labels.
        true: M labels.
    """
    free, found = np.ones(len(true), bool), 0
    for row, label in zip(overlaps, detected, strict=True):
        fits = row * free * np.array([label == name for name in true])
        if fits.max() >= 0.5:
            found += 1
            free[fits.argmax()] = False
    return found


def matched(detections: Detections, names: Sequence[str], masks: NDArray[np.bool_]) -> int:
    """How many detections, best first, find an object of their label that is still free, with mask IoU 0.5 or more."""
    if not len(detections) or detections.masks is None:
        return 0
    return matches(mask_iou(np.asarray(detections.masks), masks), detections.labels, names)


def f1(found: int, given: int, wanted: int) -> dict[str, float]:
    """Precision, recall and F1 of found among given and wanted."""
    precision, recall = found / max(given, 1), found / max(wanted, 1)
    return {"f1": 2 * precision * recall / max(precision + recall, 1e-9), "precision": precision, "recall": recall}


def box_ap50(found: list[Detections], scenes: list[Scene], vocabulary: Sequence[str]) -> float:
    """COCO's average precision at IoU 0.5, mean over the labels that the scenes hold."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth: list[dict[str, Any]] = []
    answers: list[dict[str, Any]] = []
    for image, (detections, scene) in enumerate(zip(found, scenes, strict=True)):
        for label, box in zip(scene.labels, scene.xyxy, strict=True):
            truth.append(_coco_box(image, int(label), box) | {"id": len(truth) + 1, "iscrowd": 0})
        for label, box, score in zip(detections.labels, detections.xyxy, detections.scores, strict=True):
            answers.append(_coco_box(image, vocabulary.index(label), box) | {"score": float(score)})
    if not answers:
        return 0.0
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": [{"id": image} for image in range(len(scenes))],
            "annotations": truth,
            "categories": [{"id": index} for index in range(len(vocabulary))],
            "info": {},
        }
        coco.createIndex()
        judge = COCOeval(coco, coco.loadRes(answers), "bbox")
        judge.params.iouThrs = np.array([0.5])
        judge.evaluate()
        judge.accumulate()
    precision = judge.eval["precision"][0, :, :, 0, 2]
    return float(precision[precision > -1].mean())


def _coco_box(image: int, category: int, box: NDArray[np.float32]) -> dict[str, Any]:
    left, top, right, bottom = (float(edge) for edge in box)
    size = [right - left, bottom - top]
    return {"image_id": image, "category_id": category, "bbox": [left, top, *size], "area": size[0] * size[1]}


def tag_figures(pipe: Pipeline, vocabulary: Vocabulary, single: list[Scene], ordinary: list[Scene]) -> dict[str, float]:
    """Top-1 on single-object scenes, and mean average precision of tags over the labels of the others."""
    from sklearn.metrics import average_precision_score

    alone = [scene.image for scene in single]
    named = np.array([scene.labels[0] for scene in single])
    right = [
        float((pipe.tag_scores(alone, each, windows=0).argmax(1) == named).mean())
        for each in (vocabulary, pipe.vocabulary(vocabulary.labels, template="openai80"))
    ]
    scores = pipe.tag_scores([scene.image for scene in ordinary], vocabulary)
    truth = np.zeros(scores.shape, bool)
    for row, scene in enumerate(ordinary):
        truth[row, scene.labels] = True
    shown = truth.any(0)
    precision = average_precision_score(truth[:, shown], scores[:, shown], average="macro")
    return {"tagger top-1": right[0], "tagger top-1, openai80": right[1], "tags mAP": float(precision)}


def detector_figures(pipe: Pipeline, vocabulary: Vocabulary, scenes: list[Scene]) -> dict[str, float]:
    """AP50 with the true labels as queries, and with all labels as queries."""
    options: dict[str, Any] = {"box_threshold": LOWEST, "duplicates": "keep"}
    told, free = [], []
    for scene in scenes:
        present = [vocabulary.labels[index] for index in dict.fromkeys(scene.labels.tolist())]
        told.append(pipe.detect(scene.image, vocabulary, present, **options))
        free.append(pipe.detect(scene.image, vocabulary, **options))
    return {
        "detector AP50, true labels": box_ap50(told, scenes, vocabulary.labels),
        "detector AP50, all labels": box_ap50(free, scenes, vocabulary.labels),
    }


def wrong_labels(result: Result, vocabulary: Vocabulary, scene: Scene) -> int:
    """How many objects were looked for and have a box, but of another label: classification or both."""
    from openvocab.evaluate import GroundTruth, Predictions, image_errors

    detections = result.detections
    index = np.array([vocabulary.labels.index(label) for label in detections.labels], np.int64)
    height, width = scene.image.shape[:2]
    truth = GroundTruth(height, width, scene.xyxy, scene.labels)
    tagged = np.isin(vocabulary.labels, [tag.label for tag in result.tags])[None]
    predictions = Predictions(detections.xyxy, detections.scores, index)
    (errors,) = image_errors([truth], [predictions], vocabulary.labels, tagged)
    wrong = [OBJECT_ERRORS.index(kind) for kind in ("classification", "both")]
    return int(np.isin(errors.objects, wrong).sum())


def chain_figures(pipe: Pipeline, vocabulary: Vocabulary, scenes: list[Scene]) -> dict[str, float]:
    """F1 of detections with the right label and mask IoU 0.5: the chain, and with true labels instead of tags."""
    found, given, wanted, named = np.zeros(2, int), np.zeros(2, int), 0, 0
    for scene in scenes:
        names, masks = [vocabulary.labels[index] for index in scene.labels], scene_masks(scene)
        told = pipe.segment(scene.image, pipe.detect(scene.image, vocabulary, list(dict.fromkeys(names))))
        result = pipe(scene.image, vocabulary)
        named += wrong_labels(result, vocabulary, scene)
        for row, detections in enumerate((result.detections, told)):
            found[row] += matched(detections, names, masks)
            given[row] += len(detections)
        wanted += len(names)
    own, oracle = (f1(int(hits), int(count), wanted) for hits, count in zip(found, given, strict=True))
    return {
        "chain F1": own["f1"],
        "chain precision": own["precision"],
        "chain recall": own["recall"],
        "F1, true labels as queries": oracle["f1"],
        "wrong label, share of objects": named / wanted,
    }


def segmenter_figures(pipe: Pipeline, scenes: list[Scene]) -> dict[str, float]:
    """Mean IoU of masks from the true boxes, over all objects."""
    if pipe.segmenter is None:
        raise BadInput("the pipeline has no segmenter")
    ious: list[float] = []
    for scene in scenes:
        masks, _ = pipe.segmenter.masks(pipe.segmenter.encode(scene.image), scene.xyxy)
        ious += np.diag(mask_iou(masks, scene_masks(scene))).tolist()
    return {"segmenter mean IoU": float(np.mean(ious))}


def measure(pipe: Pipeline, styles: Sequence[Drawings], count: int, seed: int) -> dict[str, float]:
    """All figures on count single-object scenes and count scenes of 1 to 6 objects.

    Raises:
        BadInput: the styles lack every label of the vocabulary.
    """
    names = [label for label in labels() if any(style.get(label) for style in styles)]
    if not names:
        raise BadInput(
            f"no drawing is named after a label of the vocabulary; labels are e.g. {', '.join(labels()[:5])}"
        )
    drawings = bank(styles, names)
    rng = np.random.default_rng(seed)
    single = [_renamed(compose(rng, drawings, SINGLE), names) for _ in range(count)]
    ordinary = [_renamed(compose(rng, drawings, ORDINARY), names) for _ in range(count)]
    vocabulary = pipe.vocabulary(labels())
    return {
        **tag_figures(pipe, vocabulary, single, ordinary),
        **detector_figures(pipe, vocabulary, ordinary),
        **segmenter_figures(pipe, ordinary),
        **chain_figures(pipe, vocabulary, ordinary),
        **presence_figures(pipe, vocabulary, ordinary, seed),
    }


def _renamed(scene: Scene, names: Sequence[str]) -> Scene:
    """The same scene with labels that count in the whole vocabulary."""
    number = np.array([labels().index(name) for name in names])
    return Scene(scene.image, scene.instances, number[scene.labels], scene.xyxy)


def _styles(chosen: argparse.Namespace) -> list[Drawings]:
    if chosen.drawings:
        return [load_folder(chosen.drawings)]
    return [load_style(style, chosen.packages) for style in style_names(chosen.style)]


def style_names(style: str) -> tuple[str, ...]:
    """The packages that "trained" and "held-out" stand for; another name is a package's own."""
    return {"trained": TRAINED_STYLES, "held-out": (HELD_OUT_STYLE,)}.get(style, (style,))


def _parser() -> argparse.ArgumentParser:
    home = Path("node_modules/@iconify-json")
    parser = argparse.ArgumentParser(prog="python -m training.evaluate", description=__doc__)
    parser.add_argument("--scenes", type=int, default=500, help="scenes of each kind (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=2024, help="names the scenes; training used others (default: 2024)")
    parser.add_argument("--style", default="trained", help="a package's name, trained or held-out (default: trained)")
    parser.add_argument(
        "--packages", type=Path, default=home, help="where the style packages lie (default: %(default)s)"
    )
    parser.add_argument("--drawings", type=Path, help="a folder LABEL/*.png of cut-outs to compose from instead")
    parser.add_argument("--dtype", help="float32 or bfloat16")
    parser.add_argument("--verify", type=int, metavar="N", help="boxes to verify (default: the preset's)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    import openvocab

    chosen = _parser().parse_args(arguments)
    try:
        pipe = openvocab.load("pocket", dtype=chosen.dtype, verify=chosen.verify)
        figures = measure(pipe, _styles(chosen), chosen.scenes, chosen.seed)
    except openvocab.OpenVocabError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    shown = {name: round(value, 4) for name, value in figures.items()}
    lines = [json.dumps(shown)] if chosen.json else [f"{name:30} {value:.3f}" for name, value in shown.items()]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
