"""Fit the coefficients of presence of the embedded models, and print which thresholds suit them.

python -m training.fit_presence [--scenes 400] [--packages DIR] [--dry-run]

It composes scenes of the trained styles, of seeds that are neither trained on nor reported, and rewrites
openvocab/weights/presence.json. Run it again when the embedded models change.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from openvocab.evaluate.fitting.presence import SETS, fit_logistic, log_losses
from openvocab.evaluate.fitting.thresholds import FOLDS
from openvocab.pipeline.candidates import Candidates
from openvocab.pipeline.chain import look, score_views
from openvocab.pipeline.presence import encode_background, log_odds, presence_of
from openvocab.pipeline.views import views
from openvocab.weights.presence import FITTED, PresenceModel
from training.drawings import TRAINED_STYLES, labels, load_style
from training.evaluate import f1, matches
from training.presence import calibration_error, correlation, queries
from training.scenes import ORDINARY, Scene, bank, compose

if TYPE_CHECKING:
    from openvocab import Pipeline, Vocabulary

__all__ = ["Seen", "box_f1", "fit", "main", "measure"]

SEED = 990001
TAG_SETS, BOX_SETS = SETS[:2], SETS[-1:]
PRESENCE_THRESHOLDS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9)
BOX_THRESHOLDS = (0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6)
WINDOWS = 3

Table = NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class Seen:
    """What the models say of one scene.

    plain, relative  evidence of all labels, the tagger's logits as they are and relative to the background.
    boxes            the detector's boxes.
    asked            (C,) bool: the present labels and as many absent ones.
    present          (C,) bool.
    """

    scene: Scene
    plain: Mapping[str, NDArray[np.float32]]
    relative: Mapping[str, NDArray[np.float32]]
    boxes: Candidates
    asked: NDArray[np.bool_]
    present: NDArray[np.bool_]


def measure(pipe: Pipeline, scenes: Sequence[Scene], seed: int) -> list[Seen]:
    """Run tagger and detector over scenes whose labels are those of the whole vocabulary."""
    plain = replace(pipe.vocabulary(labels()), background=None)
    if pipe.tagger is None:
        return []
    relative = replace(plain, background=encode_background(pipe.tagger, plain.labels, plain.prompts))
    return [_seen(pipe, plain, relative, scene, (seed, row)) for row, scene in enumerate(scenes)]


def _seen(pipe: Pipeline, plain: Vocabulary, relative: Vocabulary, scene: Scene, seed: tuple[int, int]) -> Seen:
    features = pipe.tagger.encode_images(views(scene.image, WINDOWS)) if pipe.tagger else np.zeros((0, 0), np.float32)
    boxes = look(pipe, [scene.image], plain, np.arange(len(plain.labels)))[0]
    there = list(dict.fromkeys(scene.labels.tolist()))
    rows = np.arange(len(plain.labels))
    asked = np.isin(rows, queries(np.random.default_rng(seed), there, len(rows)))
    kinds = [dict(score_views(pipe, [features], each)[0].evidence) for each in (plain, relative)]
    for each in kinds:
        each["box"] = log_odds(boxes.best)
    return Seen(scene, kinds[0], kinds[1], boxes, asked, np.isin(rows, there))


def _rows(seen: Sequence[Seen], names: Sequence[str], relative: bool) -> tuple[Table, NDArray[np.bool_]]:
    """(N, len(names)) evidence of the queried labels, and whether each is there."""
    kinds = [one.relative if relative else one.plain for one in seen]
    columns = [np.concatenate([kind[name][one.asked] for kind, one in zip(kinds, seen, strict=True)]) for name in names]
    return np.stack(columns, 1).astype(np.float64), np.concatenate([one.present[one.asked] for one in seen])


def _log_loss(seen: Sequence[Seen], relative: bool) -> float:
    """Cross-validated log loss of all evidence, folds of whole scenes."""
    names, losses = SETS[3], []
    for fold in range(FOLDS):
        kept = [one for row, one in enumerate(seen) if row % FOLDS != fold]
        held = [one for row, one in enumerate(seen) if row % FOLDS == fold]
        one = PresenceModel((fit_logistic(*_rows(kept, names, relative), names),), relative, "")
        table, truth = _rows(held, names, relative)
        given = presence_of(one, dict(zip(names, table.T.astype(np.float32), strict=True)))
        losses.append(log_losses(np.asarray(given, np.float64), truth).mean())
    return float(np.mean(losses))


def fit(seen: Sequence[Seen], source: str, *, relative: bool | None = None) -> PresenceModel:
    """Fit a function for each set of evidence.

    Logits are relative to the background as told, else where that predicts better.
    """
    if relative is None:
        relative = _log_loss(seen, True) < _log_loss(seen, False)
    made = tuple(fit_logistic(*_rows(seen, names, relative), names) for names in SETS)
    return PresenceModel(made, relative, source)


def _plain(pipe: Pipeline, model: PresenceModel) -> list[dict[str, Any]]:
    """The content of presence.json: the model of tagger and detector, and those of each alone."""
    records = [each.record for each in (pipe.tagger, pipe.detector) if each is not None]
    digests = {one.spec: one.sha256 for one in records}
    rows, names = [], tuple(digests)
    for tagger, detector, sets in ((*names, SETS), (names[0], "", TAG_SETS), ("", names[1], BOX_SETS)):
        own = replace(model, logistics=tuple(one for one in model.logistics if tuple(one.weights) in sets))
        rows.append({"tagger": tagger, "detector": detector, "sha256": digests, **own.to_plain()})
    return rows


def _table(seen: Sequence[Seen], model: PresenceModel, vocabulary: Vocabulary, pipe: Pipeline) -> str:
    """F1 of boxes (right label, IoU 0.5) for each pair of thresholds."""
    lines = ["presence \\ box " + " ".join(f"{least:6.2f}" for least in BOX_THRESHOLDS)]
    likely = [presence_of(model, one.relative if model.relative else one.plain) for one in seen]
    for presence in PRESENCE_THRESHOLDS:
        scores = [box_f1(seen, likely, presence, box, vocabulary, pipe) for box in BOX_THRESHOLDS]
        lines.append(f"{presence:14.2f} " + " ".join(f"{score:6.3f}" for score in scores))
    return "\n".join(lines)


def box_f1(
    seen: Sequence[Seen], likely: Sequence[Any], presence: float, box: float, vocabulary: Vocabulary, pipe: Pipeline
) -> float:
    """F1 of the detections under both thresholds: right label, box IoU 0.5 or more."""
    import torch
    from torchvision.ops import box_iou

    found = given = 0
    settings = pipe.settings.changed(box_threshold=box)
    for one, values in zip(seen, likely, strict=True):
        wanted = np.flatnonzero(values >= presence)
        detections = one.boxes.detections(vocabulary.labels, wanted, settings, one.scene.image.shape[:2])
        overlaps = box_iou(torch.from_numpy(detections.xyxy), torch.from_numpy(one.scene.xyxy)).numpy()
        found += matches(overlaps, detections.class_ids, one.scene.labels.tolist())
        given += len(detections)
    return f1(found, given, sum(len(one.scene.labels) for one in seen))["f1"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Fit, write the file, and print the coefficients, their figures and a table of thresholds."""
    import openvocab

    parser = argparse.ArgumentParser(prog="python -m training.fit_presence", description=__doc__)
    parser.add_argument("--scenes", type=int, default=400)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--packages", type=Path, default=Path("node_modules/@iconify-json"))
    parser.add_argument("--dry-run", action="store_true", help="write no file")
    chosen = parser.parse_args(arguments)
    drawings = bank([load_style(name, chosen.packages) for name in TRAINED_STYLES], labels())
    rng = np.random.default_rng(chosen.seed)
    scenes = [compose(rng, drawings, ORDINARY) for _ in range(chosen.scenes)]
    pipe = openvocab.load("pocket", windows=WINDOWS, box_threshold=min(BOX_THRESHOLDS), verify=0)
    seen = measure(pipe, scenes, chosen.seed)
    source = f"fitted on {len(scenes)} composed scenes of seed {chosen.seed}: python -m training.fit_presence"
    model = fit(seen, source)
    for one in model.logistics:
        table, truth = _rows(seen, tuple(one.weights), model.relative)
        given = presence_of(model, dict(zip(one.weights, table.T.astype(np.float32), strict=True)))
        values = np.asarray(given, np.float64)
        error, agreement = calibration_error(values, truth), correlation(values >= 0.5, truth)
        sys.stdout.write(f"{one}\n    MCC {agreement:.3f}, calibration error {error:.3f} (of the fit)\n")
    sys.stdout.write(f"logits relative to the background: {model.relative}\n")
    sys.stdout.write(_table(seen, model, pipe.vocabulary(labels()), pipe) + "\n")
    if not chosen.dry_run:
        FITTED.write_text(json.dumps(_plain(pipe, model), indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
