"""Fit the rule that verifies boxes of the embedded models, and print what it brings.

python -m training.fit_verification [--scenes 300] [--packages DIR] [--dry-run]

It composes scenes of the trained styles, of seeds that are neither trained on nor reported, and rewrites
openvocab/weights/verification.json. Run it again when the embedded models change.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from openvocab.pipeline import chain
from openvocab.pipeline.presence import log_odds
from openvocab.pipeline.verification.crops import crop_log_odds
from openvocab.pipeline.verification.verdicts import label_evidence, rival_of
from openvocab.weights.presence import Logistic
from openvocab.weights.verification import FITTED, VerificationModel
from training.drawings import TRAINED_STYLES, labels, load_style
from training.evaluate import f1, mask_iou, scene_masks
from training.fit_presence import SEED, fit_logistic
from training.scenes import ORDINARY, Scene, bank, compose

if TYPE_CHECKING:
    from openvocab import Pipeline, Settings, Vocabulary

__all__ = ["SETS", "Observed", "cross_validated", "fit", "kept", "main", "observe"]

OWN = ("box", "crop", "masked", "presence", "against")
SETS = (OWN, OWN[1:], tuple(name for name in OWN if name != "masked"), ("crop", "presence", "against"))
"""The evidence that may be at hand: of the label of a box, or of another one, with masks or without."""
THRESHOLDS = (0.2, 0.3, 0.4, 0.5, 0.6)
FOLDS = 5
LOW: dict[str, Any] = {"box_threshold": 0.35, "presence_threshold": 0.5}
"""Thresholds under which boxes are observed: the chain alone gives few wrong ones to learn from."""


@dataclass(frozen=True, slots=True)
class Observed:
    """One box of a scene, with the evidence for its label and for the one that the crops show best besides.

    Attributes:
        own: Evidence for the label of the box.
        right: Whether an object of that label is there.
        rival: Evidence for the other label.
        rival_right: Whether an object of that other label is there.
        usual: Whether it passes the thresholds of the preset. The others are there to learn from.
    """

    own: Mapping[str, float]
    right: bool
    rival: Mapping[str, float]
    rival_right: bool
    usual: bool = True


def observe(pipe: Pipeline, vocabulary: Vocabulary, scene: Scene, usual: Settings) -> list[Observed]:
    """Return every box of the chain, without verification, on one scene.

    Args:
        pipe: Its thresholds may be lower than the usual ones.
        vocabulary: All labels.
        scene: The scene.
        usual: The settings of the preset.

    Raises:
        BadInput: the pipeline has no tagger.
    """
    tagged = chain.score(pipe, [scene.image], vocabulary)[0]
    choice = chain.tag(pipe, tagged.scores, vocabulary.labels)
    seen = chain.look(pipe, [scene.image], vocabulary, choice.wanted)[0]
    found, presence = chain.conclude(pipe, vocabulary, choice, tagged.evidence, seen, scene.image.shape[:2])
    found = chain.segment(pipe, scene.image, found)
    if not len(found) or pipe.tagger is None:
        return []
    odds = crop_log_odds(pipe.tagger, scene.image, vocabulary, found)
    odds["presence"] = np.tile(log_odds(presence.probabilities), (len(found), 1))
    overlaps, boxes = mask_iou(np.asarray(found.masks), scene_masks(scene)) >= 0.5, log_odds(found.detector_scores)
    made = []
    for row, place in enumerate(found.class_ids.tolist()):
        there, own = set(scene.labels[overlaps[row]].tolist()), {name: values[row] for name, values in odds.items()}
        rival = rival_of(own, place)
        evidence = label_evidence(own, place) | {"box": float(boxes[row])}
        passes = found.detector_scores[row] > usual.threshold("box_threshold")
        passes &= presence.probabilities[place] >= usual.presence_threshold
        made.append(Observed(evidence, place in there, label_evidence(own, rival), rival in there, bool(passes)))
    return made


def fit(observed: Sequence[Observed], source: str, threshold: float) -> VerificationModel:
    """Fit a function for each set of evidence: on labels of boxes where it has "box", else on the other labels."""
    own = [(one.own, one.right) for one in observed]
    others = [(one.rival, one.rival_right) for one in observed]
    made = tuple(_fitted(own if "box" in names else others, names) for names in SETS)
    return VerificationModel(made, threshold, source)


def _fitted(rows: Sequence[tuple[Mapping[str, float], bool]], names: Sequence[str]) -> Logistic:
    table = np.array([[evidence[name] for name in names] for evidence, _ in rows])
    return fit_logistic(table, np.array([right for _, right in rows]), names)


def kept(observed: Sequence[Observed], model: VerificationModel, threshold: float) -> tuple[int, int]:
    """Return how many boxes have the right label after the rule, and how many are left."""
    right = left = 0
    for one in [each for each in observed if each.usual]:
        if model.probability(one.own) >= threshold:
            right, left = right + one.right, left + 1
        elif model.probability(one.rival) >= threshold:
            right, left = right + one.rival_right, left + 1
    return right, left


def cross_validated(scenes: Sequence[Sequence[Observed]], objects: int, threshold: float) -> float:
    """Return the F1 of all boxes under the rule, each verified by one that was fitted on other scenes.

    Args:
        scenes: The boxes of each scene.
        objects: The number of objects in all scenes.
        threshold: See VerificationModel.
    """
    right = left = 0
    for fold in range(FOLDS):
        others = [one for row, scene in enumerate(scenes) if row % FOLDS != fold for one in scene]
        held = [one for row, scene in enumerate(scenes) if row % FOLDS == fold for one in scene]
        hits, given = kept(held, fit(others, "", threshold), threshold)
        right, left = right + hits, left + given
    return f1(right, left, objects)["f1"]


def _plain(pipe: Pipeline, model: VerificationModel) -> list[dict[str, Any]]:
    """Return the content of verification.json."""
    records = [each.record for each in (pipe.tagger, pipe.detector, pipe.segmenter) if each is not None]
    logistics = [{"bias": one.bias, "weights": dict(one.weights)} for one in model.logistics]
    known = {"tagger": records[0].spec, "detector": records[1].spec, "source": model.source}
    digests = {one.spec: one.sha256 for one in records}
    return [{**known, "sha256": digests, "threshold": model.threshold, "logistics": logistics}]


def main(arguments: Sequence[str] | None = None) -> int:
    """Fit, write the file, and print the coefficients and the F1 of each threshold."""
    import openvocab

    parser = argparse.ArgumentParser(prog="python -m training.fit_verification", description=__doc__)
    parser.add_argument("--scenes", type=int, default=300)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--packages", type=Path, default=Path("node_modules/@iconify-json"))
    parser.add_argument("--dry-run", action="store_true", help="write no file")
    chosen = parser.parse_args(arguments)
    drawings = bank([load_style(name, chosen.packages) for name in TRAINED_STYLES], labels())
    rng = np.random.default_rng(chosen.seed)
    scenes = [compose(rng, drawings, ORDINARY) for _ in range(chosen.scenes)]
    usual = openvocab.load("pocket", verify=0)
    pipe, vocabulary = usual.changed(**LOW), usual.vocabulary(labels())
    seen = [observe(pipe, vocabulary, scene, usual.settings) for scene in scenes]
    everything, objects = [one for scene in seen for one in scene], sum(len(one.labels) for one in scenes)
    shown = [one for one in everything if one.usual]
    plain = f1(sum(one.right for one in shown), len(shown), objects)["f1"]
    figures = {each: cross_validated(seen, objects, each) for each in THRESHOLDS}
    best = max(THRESHOLDS, key=lambda each: figures[each])
    source = f"fitted on {len(scenes)} composed scenes of seed {chosen.seed}: python -m training.fit_verification"
    model = fit(everything, source, best)
    lines = [*map(str, model.logistics), f"{len(everything)} boxes, {len(shown)} over the usual thresholds"]
    lines += [f"F1 without verification {plain:.3f}"]
    lines += [f"threshold {each}: cross-validated F1 {value:.3f}" for each, value in figures.items()]
    sys.stdout.write("\n".join(lines) + "\n")
    if not chosen.dry_run:
        FITTED.write_text(json.dumps(_plain(pipe, model), indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
