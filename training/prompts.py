"""Measure prompts with exemplars and negatives with the embedded models: python -m training.prompts --help."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput
from openvocab.models.detectors.owl_detector import OwlDetector
from openvocab.pipeline.candidates import CandidateLimits, score_candidates
from openvocab.pipeline.prompting.prompts import encode_queries
from openvocab.pipeline.protocols import Queries
from openvocab.prompts.exemplars import Exemplar
from openvocab.prompts.prompt import Prompt
from training.drawings import labels, load_style
from training.evaluate import LOWEST, box_ap50, f1, matched, scene_masks, style_names
from training.scenes import ORDINARY, Scene, bank, compose

if TYPE_CHECKING:
    from openvocab import Detections, Pipeline

__all__ = ["Looked", "exemplar_figures", "exemplars", "main", "mask_figures", "negative_figures", "owl"]

Drawn = list[list[list[NDArray[np.uint8]]]]
"""Drawings as [label][style][drawing]; see bank."""

SHOTS = 3
"""Exemplars of each label."""
_THRESHOLDS = (0.4, 0.45, 0.5, 0.55, 0.6, 0.65)
"""Box thresholds that mask_figures tries."""
_MAX_POOL = 4000
"""Scenes that exemplars are searched in."""


def exemplars(rng: np.random.Generator, drawings: Drawn, names: Sequence[str], count: int) -> dict[str, list[Exemplar]]:
    """Return count exemplars of each label, each from a scene of its own.

    Raises:
        BadInput: a label is too rare.
    """
    made: dict[str, list[Exemplar]] = {name: [] for name in names}
    for _ in range(_MAX_POOL):
        scene = compose(rng, drawings, ORDINARY)
        for label, row in {label: row for row, label in enumerate(scene.labels.tolist())}.items():
            if len(made[names[label]]) < count:
                made[names[label]].append(Exemplar.cut(scene.image, names[label], scene.xyxy[row].tolist()))
        if all(len(each) == count for each in made.values()):
            return made
    rare = min(made, key=lambda name: len(made[name]))
    raise BadInput(f"{_MAX_POOL} scenes hold {len(made[rare])} of {rare!r}; draw other scenes")


@dataclass(frozen=True)
class Looked:
    """Scenes that the detector has encoded once, for all prompts.

    Attributes:
        pipe: A pipeline with a detector of OWL.
        scenes: The scenes.
        names: The labels that they count.
        encoded: The detector's encoding of each scene.
    """

    pipe: Pipeline
    scenes: list[Scene]
    names: list[str]
    encoded: list[Any]

    @classmethod
    def of(cls, pipe: Pipeline, scenes: list[Scene], names: list[str]) -> Looked:
        """Encode the scenes."""
        return cls(pipe, scenes, names, [owl(pipe).encode(scene.image) for scene in scenes])

    def boxes(self, at: int, queries: Queries, *, whole: bool = True, **changes: Any) -> Detections:
        """Return the detections in one scene, as the chain does, for all labels or the true ones alone."""
        settings, true = self.pipe.settings.changed(**changes), np.unique(self.scenes[at].labels)
        found = score_candidates(
            owl(self.pipe), self.encoded[at], queries, CandidateLimits(settings.threshold("box_threshold"), 10**6)
        )
        wanted = np.arange(len(queries.labels)) if whole else true
        return found.detections(queries.labels, wanted, settings, self.scenes[at].image.shape[:2])


def owl(pipe: Pipeline) -> OwlDetector:
    """Return the pipeline's detector.

    Raises:
        BadInput: it is none of OWL.
    """
    if not isinstance(pipe.detector, OwlDetector):
        raise BadInput("prompts are measured with OWL-ViT or OWLv2; load a pipeline with one")
    return pipe.detector


def exemplar_figures(looked: Looked, shown: dict[str, list[Exemplar]]) -> dict[str, float]:
    """AP50 of names, of exemplars whose name is not given, and of both, with true labels and all labels as queries."""
    names, figures = tuple(looked.names), {}
    every = tuple(one for name in names for one in shown[name])
    prompts = {
        "names": Prompt(names),
        "exemplars without a name": Prompt(exemplars=every),
        "names and exemplars": Prompt(names, every),
    }
    for title, prompt in prompts.items():
        queries = encode_queries(looked.pipe, prompt, None)
        for asked in ("true labels", "all labels"):
            options: dict[str, Any] = {"whole": asked == "all labels", "box_threshold": LOWEST, "duplicates": "keep"}
            found = [looked.boxes(at, queries, **options) for at in range(len(looked.scenes))] if queries else []
            figures[f"AP50, {asked}: {title}"] = box_ap50(found, looked.scenes, queries.labels if queries else ())
    return figures


def mask_figures(pipe: Pipeline, looked: Looked, shown: dict[str, list[Exemplar]]) -> dict[str, float]:
    """F1 of masks, right label and IoU 0.5, by the settings of the preset, and the best box threshold in hindsight."""
    names = tuple(looked.names)
    every = tuple(one for name in names for one in shown[name])
    prompts = {
        "names": Prompt(names),
        "exemplars": Prompt(exemplars=every),
        "names and exemplars": Prompt(names, every),
    }
    asked = {title: (pipe, pipe.vocabulary(prompt)) for title, prompt in prompts.items()}
    asked["names, not verified"] = looked.pipe, looked.pipe.vocabulary(prompts["names"])
    counts: dict[str, NDArray[np.int64]] = {}
    for scene in looked.scenes:
        true, masks = [names[label] for label in scene.labels], scene_masks(scene)
        for title, (stages, vocabulary) in asked.items():
            found = {f"F1 of masks: {title}": stages(scene.image, vocabulary).detections}
            if title == "exemplars":
                *_, explored = looked.pipe.explore(scene.image, vocabulary, min_score=min(_THRESHOLDS))
                found |= {
                    f"F1 of masks: {title}, over {each:g}": explored.result(box_threshold=each).detections
                    for each in _THRESHOLDS
                }
            for name, one in found.items():
                row = np.array([matched(one, true, masks), len(one), len(true)])
                counts[name] = counts.get(name, np.zeros(3, np.int64)) + row
    return {name: f1(*row.tolist())["f1"] for name, row in counts.items()}


@dataclass
class _Removed:
    """Counts of boxes.

    Attributes:
        kind: Those on objects of the kind that is not meant.
        kind_gone: Those of them that the negative removes.
        others: All others.
        others_gone: Those of them that the negative removes.
    """

    kind: int = 0
    kind_gone: int = 0
    others: int = 0
    others_gone: int = 0

    def add(self, of_kind: NDArray[np.bool_], gone: NDArray[np.bool_]) -> None:
        """Count the boxes of one scene, (N,) each."""
        self.kind += int(of_kind.sum())
        self.kind_gone += int((of_kind & gone).sum())
        self.others += int((~of_kind).sum())
        self.others_gone += int((~of_kind & gone).sum())


def negative_figures(looked: Looked, shown: dict[str, list[Exemplar]]) -> dict[str, float]:
    """Which share of the boxes of its kind, and of the others, one negative exemplar removes.

    All names are asked for with the default settings, and again with a negative exemplar of each label that the scene
    holds, from another scene. A box is of the kind if it has IoU 0.5 with an object of it, whatever its label; it is
    removed if no box with IoU 0.9 and its label is left.
    """
    names, counts = tuple(looked.names), _Removed()
    plain = encode_queries(looked.pipe, Prompt(names), None)
    queries = encode_queries(
        looked.pipe, Prompt(names, negative_exemplars=tuple(shown[name][0] for name in names)), None
    )
    if plain is None or queries is None:
        return {}
    for at, scene in enumerate(looked.scenes):
        before = looked.boxes(at, plain)
        for label in np.unique(scene.labels) if len(before) else ():
            given = queries.embeddings
            one = replace(given, negatives=given.negatives[[label]], margins=given.margins[[label]])
            after = looked.boxes(at, replace(queries, embeddings=one))
            same = (_ious(before.xyxy, after.xyxy) > 0.9) & (before.class_ids[:, None] == after.class_ids[None])
            on = _ious(before.xyxy, scene.xyxy[scene.labels == label]) >= 0.5
            counts.add(np.asarray(on.any(axis=1)), np.asarray(~same.any(axis=1)))
    return {
        "a negative exemplar: boxes of its kind removed": counts.kind_gone / max(counts.kind, 1),
        "a negative exemplar: other boxes removed": counts.others_gone / max(counts.others, 1),
        "boxes of the kind": counts.kind,
        "other boxes": counts.others,
    }


def _ious(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    from torch import from_numpy
    from torchvision.ops import box_iou

    return np.asarray(box_iou(from_numpy(one), from_numpy(other)), np.float32)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    import openvocab

    home = Path("node_modules/@iconify-json")
    parser = argparse.ArgumentParser(prog="python -m training.prompts", description=__doc__)
    parser.add_argument("--scenes", type=int, default=500, help="scenes (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=2024, help="names the scenes (default: %(default)s)")
    parser.add_argument("--style", choices=("trained", "held-out"), default="trained")
    parser.add_argument("--packages", type=Path, default=home, help="folder of the packages (default: %(default)s)")
    parser.add_argument(
        "--masks", action="store_true", help="measure F1 of masks by the settings of the preset instead"
    )
    chosen = parser.parse_args(arguments)
    drawn = [load_style(style, chosen.packages) for style in style_names(chosen.style)]
    names = [label for label in labels() if any(style.get(label) for style in drawn)]
    rng, drawings = np.random.default_rng(chosen.seed), bank(drawn, names)
    scenes = [compose(rng, drawings, ORDINARY) for _ in range(chosen.scenes)]
    shown = exemplars(np.random.default_rng([chosen.seed, 1]), drawings, names, SHOTS)
    pipe = openvocab.load("pocket")
    looked = Looked.of(replace(pipe, tagger=None), scenes, names)
    if chosen.masks:
        figures = mask_figures(pipe, looked, shown)
    else:
        figures = exemplar_figures(looked, shown) | negative_figures(looked, shown)
    sys.stdout.write("".join(f"{name:48} {value:.3f}\n" for name, value in figures.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
