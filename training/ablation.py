"""What presence, its background pool and its calibration bring: python -m training.ablation --help.

Coefficients are fitted on scenes of one seed and measured on scenes of another, in the trained styles and the untrained
one. Boxes are measured without the segmenter, verification with it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from openvocab.pipeline.presence import presence_of
from openvocab.pipeline.scores import sigmoid
from openvocab.weights.presence import PresenceModel, presence_model
from training.drawings import HELD_OUT_STYLE, TRAINED_STYLES, labels, load_style
from training.evaluate import f1, matched, scene_masks
from training.fit_presence import SEED, WINDOWS, Seen, box_f1, fit, measure
from training.presence import calibration_error, correlation
from training.scenes import ORDINARY, bank, compose

if TYPE_CHECKING:
    from openvocab import Pipeline

__all__ = ["main"]

CHAINS: dict[str, dict[str, Any]] = {
    "no verification, presence 0.9, box 0.5": {"verify": 0, "presence_threshold": 0.9, "box_threshold": 0.5},
    "no verification": {"verify": 0},
    "verification of 4 boxes": {"verify": 4},
    "verification": {},
}
"""Settings of the chain that are compared, beside those of the preset; the first are the best without verification."""


def _figures(seen: Sequence[Seen], likely: Sequence[Any]) -> str:
    """MCC of "as likely as not" and calibration error over the queried labels."""
    said = np.concatenate([values[one.asked] for one, values in zip(seen, likely, strict=True)]).astype(np.float64)
    truth = np.concatenate([one.present[one.asked] for one in seen])
    return f"{correlation(said >= 0.5, truth):.3f}  {calibration_error(said, truth):.3f}"


def _tag_scores(one: Seen) -> Any:
    return sigmoid(np.maximum(one.plain["image"], one.plain["window"]))


def _of(model: PresenceModel, seen: Sequence[Seen]) -> list[Any]:
    return [presence_of(model, one.relative if model.relative else one.plain) for one in seen]


def _scenes(styles: Sequence[str], packages: Path, count: int, seed: int) -> list[Any]:
    drawings, rng = bank([load_style(name, packages) for name in styles], labels()), np.random.default_rng(seed)
    return [compose(rng, drawings, ORDINARY) for _ in range(count)]


def _rows(pipe: Pipeline, fitted: Sequence[Seen], seen: Sequence[Seen]) -> list[str]:
    vocabulary = pipe.vocabulary(labels())
    prior = presence_model("sigmoid", "pocket-detector", independent=True)
    plain, relative = (fit(fitted, "", relative=each) for each in (False, True))
    kinds = {
        "tag score alone": [_tag_scores(one) for one in seen],
        "presence, not calibrated (prior)": _of(prior, seen),
        "presence": _of(plain, seen),
        "presence, relative to the background": _of(relative, seen),
    }
    lines = [f"{name:40} MCC, calibration error: {_figures(seen, likely)}" for name, likely in kinds.items()]
    for name, likely, least, box in (
        ("no gate", kinds["presence"], 0.0, 0.5),
        ("gate: tag score 0.5, box 0.55", kinds["tag score alone"], 0.5, 0.55),
        ("gate: presence 0.9, box 0.5", kinds["presence"], 0.9, 0.5),
        ("gate: presence 0.9, background", kinds["presence, relative to the background"], 0.9, 0.5),
    ):
        lines.append(f"{name:40} F1 of boxes: {box_f1(seen, likely, least, box, vocabulary, pipe):.3f}")
    return lines


def _chain_rows(seen: Sequence[Seen]) -> list[str]:
    """F1 of the chain with the settings of the preset, by masks, with and without verification."""
    import openvocab

    pipe, lines = openvocab.load("pocket"), []
    vocabulary, objects = pipe.vocabulary(labels()), sum(len(one.scene.labels) for one in seen)
    for name, changes in CHAINS.items():
        found = given = 0
        for one in seen:
            detections = pipe(one.scene.image, vocabulary, **changes).detections
            names = [vocabulary.labels[place] for place in one.scene.labels]
            found += matched(detections, names, scene_masks(one.scene))
            given += len(detections)
        lines.append(f"{f'chain, {name}':46} F1 of masks: {f1(found, given, objects)['f1']:.3f}")
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table for the trained styles and for the untrained one."""
    import openvocab

    parser = argparse.ArgumentParser(prog="python -m training.ablation", description=__doc__)
    parser.add_argument("--scenes", type=int, default=150)
    parser.add_argument("--seed", type=int, default=4711)
    parser.add_argument("--packages", type=Path, default=Path("node_modules/@iconify-json"))
    chosen = parser.parse_args(arguments)
    pipe = openvocab.load("pocket", windows=WINDOWS, box_threshold=0.3, verify=0)
    fitted = measure(pipe, _scenes(TRAINED_STYLES, chosen.packages, chosen.scenes, SEED), SEED)
    for styles in (TRAINED_STYLES, (HELD_OUT_STYLE,)):
        seen = measure(pipe, _scenes(styles, chosen.packages, chosen.scenes, chosen.seed), chosen.seed)
        sys.stdout.write(f"{', '.join(styles)}\n" + "\n".join([*_rows(pipe, fitted, seen), *_chain_rows(seen)]) + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
