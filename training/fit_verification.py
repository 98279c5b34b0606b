"""Fit the rule that verifies boxes of the embedded models, and print what it brings.

python -m training.fit_verification [--scenes 300] [--packages DIR] [--dry-run]

It composes scenes of the trained styles, of seeds that are neither trained on nor reported, and rewrites
openvocab/weights/verification.json. Run it again when the embedded models change.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from openvocab.evaluate.fitting.presence import fit_logistic
from openvocab.pipeline import chain
from openvocab.pipeline.verification.crops import Crops, crops_of
from openvocab.pipeline.verification.settle import settle
from openvocab.pipeline.verification.verdicts import label_evidence, verdicts_on
from openvocab.weights.presence import Logistic
from openvocab.weights.verification import FITTED, VerificationModel
from training.drawings import TRAINED_STYLES, labels, load_style
from training.evaluate import f1, mask_iou, matches, scene_masks
from training.fit_presence import SEED
from training.scenes import ORDINARY, Scene, bank, compose

if TYPE_CHECKING:
    from openvocab import Detections, Pipeline, Settings, Vocabulary
    from openvocab.pipeline.result import Presence

__all__ = ["SETS", "Observed", "cross_validated", "fit", "main", "observe", "verified_f1"]

SETS = tuple(("box", *crop, *known) for crop in (("masked",), ("crop",)) for known in (("presence",), ()))
"""The evidence that may be at hand."""
THRESHOLDS = (0.2, 0.3, 0.4, 0.5, 0.6)
TIE = 0.004
"""Of thresholds whose F1 differs by less, the one nearest to 0.5 is taken: the box is likelier right than wrong."""
FOLDS = 5
LIMIT = 12.0
"""Of log-odds, as in VerificationModel.probabilities."""
LOW: dict[str, Any] = {"box_threshold": 0.15, "presence_threshold": 0.05}
"""Thresholds under which boxes are observed: the usual ones let in few wrong ones to learn from."""


@dataclass(frozen=True, eq=False, slots=True)
class Observed:
    """The boxes of one scene.

    Attributes:
        found: N detections, before verification.
        crops: What the tagger sees on their crops, "masked" and "crop".
        presence: Of the labels in the scene.
        overlaps: (N, M) mask IoU of boxes and objects.
        objects: (M,) places of the labels of the objects.
    """

    found: Detections
    crops: Crops
    presence: Presence
    overlaps: NDArray[np.float64]
    objects: NDArray[np.int64]

    def over(self, settings: Settings) -> NDArray[np.intp]:
        """Return the rows of the boxes that the thresholds of the settings let pass."""
        likely = self.presence.probabilities[self.found.class_ids] >= settings.presence_threshold
        return np.flatnonzero(likely & (self.found.detector_scores > settings.threshold("box_threshold")))


def observe(pipe: Pipeline, vocabulary: Vocabulary, scene: Scene) -> Observed | None:
    """Return every box of the chain, without verification, on one scene; None without a box.

    Args:
        pipe: Its thresholds may be lower than the usual ones.
        vocabulary: All labels.
        scene: The scene.

    Raises:
        BadInput: the pipeline has no tagger.
    """
    tagged = chain.score(pipe, [scene.image], vocabulary)[0]
    choice = chain.tag(pipe, tagged.scores, vocabulary.labels)
    seen = chain.look(pipe, [scene.image], vocabulary, choice.wanted)[0]
    found, presence = chain.conclude(pipe, vocabulary, choice, tagged.evidence, seen, scene.image.shape[:2])
    bare, found = found, chain.segment(pipe, scene.image, found)
    if not len(found) or pipe.tagger is None:
        return None
    masked, plain = (crops_of(pipe.tagger, scene.image, vocabulary, one) for one in (found, bare))
    crops = {key: {**plain[key], **seen} for key, seen in masked.items()}
    return Observed(found, crops, presence, mask_iou(np.asarray(found.masks), scene_masks(scene)), scene.labels)


def fit(observed: Sequence[Observed], source: str, threshold: float) -> VerificationModel:
    """Fit a function for each set of evidence."""
    return VerificationModel(tuple(_fitted(observed, names) for names in SETS), threshold, source)


def _fitted(observed: Sequence[Observed], names: Sequence[str]) -> Logistic:
    """Fit weights that tell the label of an object from all others, then the scale and bias of a probability."""
    boxes = [(one, row) for one in observed for row in range(len(one.found))]
    known = [
        odds for one in observed for odds in label_evidence(one.found, range(len(one.found)), one.crops, one.presence)
    ]
    table = np.stack([np.stack([each[name] for name in names], 1) for each in known]).clip(-LIMIT, LIMIT)
    best = [(one.overlaps[row].max(), one.objects[one.overlaps[row].argmax()]) for one, row in boxes]
    places = np.array([place if overlap >= 0.5 else -1 for overlap, place in best])
    weights = _weights(table[places >= 0], places[places >= 0])
    odds = table @ weights
    scale = fit_logistic(odds.max(1)[:, None], odds.argmax(1) == places, ("all",))
    rounded = {name: round(float(scale.weights["all"] * one), 4) for name, one in zip(names, weights, strict=True)}
    return Logistic(scale.bias, rounded)


def _weights(table: NDArray[np.float64], places: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the (E,) weights of a softmax over C labels that make (N,) true places of (N, C, E) evidence likeliest."""
    import torch

    evidence, truth = torch.tensor(table, dtype=torch.float32), torch.tensor(places)
    weights = torch.full((table.shape[2],), 0.3, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=100)

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = torch.nn.functional.cross_entropy(evidence @ weights, truth) + 1e-3 * weights.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return weights.detach().numpy().astype(np.float64)


def verified_f1(
    observed: Sequence[Observed], objects: int, vocabulary: Vocabulary, model: VerificationModel | None, usual: Settings
) -> float:
    """Return the F1 of the boxes over the usual thresholds under a rule; without one, where it is None.

    Args:
        observed: The boxes of each scene.
        objects: The number of objects in all scenes.
        vocabulary: All labels.
        model: The rule.
        usual: The settings of the preset.
    """
    right = left = 0
    for one in observed:
        rows = one.over(usual)
        found, settings = one.found.take(rows), usual if model else usual.changed(verify=0)
        verdicts = verdicts_on(model, vocabulary, one.presence, found, one.crops, settings) if model else {}
        kept = settle(replace(found, data={**found.data, "row": tuple(rows)}), verdicts, vocabulary.labels, settings)
        names = [vocabulary.labels[place] for place in one.objects]
        shown = one.overlaps[list(kept.detections.data["row"])]
        right, left = right + matches(shown, kept.detections.labels, names), left + len(kept.detections)
    return f1(right, left, objects)["f1"]


def cross_validated(
    observed: Sequence[Observed], objects: int, vocabulary: Vocabulary, usual: Settings, threshold: float
) -> float:
    """Return the mean F1 of folds of scenes under a rule that was fitted on the others; see verified_f1."""
    values = []
    for fold in range(FOLDS):
        others = [one for row, one in enumerate(observed) if row % FOLDS != fold]
        held = [one for row, one in enumerate(observed) if row % FOLDS == fold]
        model = fit(others, "", threshold)
        values.append(verified_f1(held, sum(len(one.objects) for one in held), vocabulary, model, usual))
    return float(np.mean(values))


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
    usual = openvocab.load("pocket")
    pipe, vocabulary = usual.changed(**LOW), usual.vocabulary(labels())
    seen = [one for scene in scenes if (one := observe(pipe, vocabulary, scene)) is not None]
    objects = sum(len(one.labels) for one in scenes)
    figures = {each: cross_validated(seen, objects, vocabulary, usual.settings, each) for each in THRESHOLDS}
    tied = [each for each in THRESHOLDS if figures[each] > max(figures.values()) - TIE]
    best = min(tied, key=lambda each: abs(each - 0.5))
    source = f"fitted on {len(scenes)} composed scenes of seed {chosen.seed}: python -m training.fit_verification"
    model = fit(seen, source, best)
    lines = [*map(str, model.logistics), f"{sum(len(one.found) for one in seen)} boxes"]
    lines += [f"F1 without verification {verified_f1(seen, objects, vocabulary, None, usual.settings):.3f}"]
    lines += [f"threshold {each}: cross-validated F1 {value:.3f}" for each, value in figures.items()]
    sys.stdout.write("\n".join(lines) + "\n")
    if not chosen.dry_run:
        FITTED.write_text(json.dumps(_plain(pipe, model), indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
