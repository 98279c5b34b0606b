"""What bfloat16 changes in Grounding DINO's answers: python -m benchmarks.rounded_grounding_dino IMAGE [--labels N].

Random weights of the published tiny size. Random decoders answer with logits of 16 and more, whose probabilities are
all 0 or 1 and hide every difference; so the last normalization is scaled until the logits have a deviation of 2. Both
precisions refine the boxes that float32 proposes: which of two places that fit alike becomes a query is not compared.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.random_checkpoints import write_grounding_dino
from openvocab.images.read import read_image
from openvocab.models.detectors import grounding_dino_forward as forward
from openvocab.models.detectors.grounding_dino_detector import GroundingDinoDetector
from openvocab.models.detectors.grounding_dino_text import Prompt, best_labels, prompt

DEVIATION = 2.0


def answer(detector: GroundingDinoDetector, image: Any, labels: list[str], start: Tensor | None) -> dict[str, Tensor]:
    """Return logits, boxes and the proposals, which are those of start where it is given."""
    own: Callable[..., Tensor] = forward._proposals
    seen: dict[str, Tensor] = {}

    def proposals(*given: Any) -> Tensor:
        seen["start"] = own(*given) if start is None else start
        return seen["start"]

    setattr(forward, "_proposals", proposals)  # noqa: B010 (mypy refuses the assignment of a function)
    try:
        asked = prompt(detector.encode_labels(labels).embeddings, range(len(labels)))
        image_features = forward.encode_image(detector.model.model, detector._pixels(image))
        seen["logits"], seen["boxes"] = forward.find_objects(detector.model, image_features, asked)
    finally:
        forward._proposals = own
    seen["score"], seen["label"] = best_labels(seen["logits"], asked, detector.label_score)
    seen["second"] = _second(seen["logits"], asked, seen["label"], detector)
    return seen


def _second(logits: Tensor, asked: Prompt, best: Tensor, detector: GroundingDinoDetector) -> Tensor:
    """Return (Q,) scores of the second best label: those of the best among the others."""
    owners = asked.labels[asked.owner.clamp(max=len(asked.labels) - 1)]
    others = logits.masked_fill(owners == best[:, None], float("-inf"))
    return best_labels(others, asked, detector.label_score)[0]


def scaled(detector: GroundingDinoDetector, factor: float) -> GroundingDinoDetector:
    with torch.no_grad():
        detector.model.model.decoder.layer_norm.weight.mul_(factor)
    return detector


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("image", type=Path)
    parser.add_argument("--labels", type=int, default=20)
    chosen = parser.parse_args()
    image, labels = read_image(chosen.image), [f"thing {row}" for row in range(chosen.labels)]
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        words = ["thing", *map(str, range(chosen.labels))]
        spec = str(write_grounding_dino(Path(folder), words))
        exact = GroundingDinoDetector.load(spec, "cpu", "float32")
        wide = float(answer(exact, image, labels, None)["logits"].std())
        true = answer(scaled(exact, DEVIATION / wide), image, labels, None)
        near = answer(
            scaled(GroundingDinoDetector.load(spec, "cpu", "bfloat16"), DEVIATION / wide), image, labels, true["start"]
        )
    changed = true["label"] != near["label"]
    gaps = (true["score"] - true["second"])[changed]
    print(f"logits: deviation {float(true['logits'].std()):.2f}; differ by {mean(true, near, 'logits'):.4f} on average")
    least, best = float(true["score"].min()), float(true["score"].max())
    print(f"scores {least:.2f} to {best:.2f}; differ by {most(true, near, 'score'):.4f} at most")
    tie = float(gaps.max()) if len(gaps) else 0.0
    print(f"top labels changed: {int(changed.sum())} of {len(changed)}, where the best two were within {tie:.4f}")


def mean(one: dict[str, Tensor], other: dict[str, Tensor], name: str) -> float:
    return float((one[name] - other[name]).abs().mean())


def most(one: dict[str, Tensor], other: dict[str, Tensor], name: str) -> float:
    return float((one[name] - other[name]).abs().max())


if __name__ == "__main__":
    main()
