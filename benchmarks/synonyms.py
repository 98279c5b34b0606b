"""What a label with synonyms scores: the best of its phrases, or their mean.

    python -m benchmarks.synonyms

The 140 labels of the embedded models get the other names that WordNet has for them; the models were not trained on
these.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

import openvocab
from openvocab import LabelSet, Pipeline
from openvocab.pipeline.crops import object_crop
from openvocab.pipeline.ranking import overlaps
from openvocab.prompts.wordnet.nouns import nouns

MARGIN, SAME_OBJECT = 0.25, 0.5


def with_synonyms(labels: Sequence[str]) -> LabelSet:
    """Return the labels with the other names of their synsets."""
    names, taken, synonyms = defaultdict(list), {label.casefold() for label in labels}, defaultdict(list)
    for name, synset in nouns().synsets.items():
        names[synset].append(name)
    for label in labels:
        found_synset = nouns().find(label)
        for name in () if found_synset is None else names[found_synset]:
            if name.casefold() not in taken:
                taken.add(name.casefold())
                synonyms[label].append(name)
    return LabelSet(labels, synonyms)


def top1(pipe: Pipeline, given: LabelSet) -> dict[str, float]:
    """Return the share of true boxes whose crop gets the right label, by how phrases are combined."""
    tagger: Any = pipe.tagger
    crops, truth = list[NDArray[np.uint8]](), list[int]()
    for scene in openvocab.example_scenes():
        image = openvocab.read_image(scene.path)
        crops += [object_crop(image, box, MARGIN, None) for box in scene.xyxy]
        truth += [given.labels.index(label) for label in scene.labels]
    features, texts = tagger.encode_images(crops), tagger.encode_labels(given.phrases)
    rows = tagger.logits(features, texts)
    groups = np.split(np.arange(len(given.phrases)), given.starts[1:])
    means = np.stack([texts.embeddings[group].mean(axis=0) for group in groups])
    units = (means / np.linalg.norm(means, axis=1, keepdims=True)).astype(np.float32)
    scored = {
        "labels alone": tagger.logits(features, tagger.encode_labels(given.labels)),
        "best phrase": given.best(rows),
        "mean of the phrases' scores": np.stack([rows[:, group].mean(axis=1) for group in groups], axis=1),
        "mean of their embeddings": features @ units.T,
    }
    return {name: float((each.argmax(axis=1) == truth).mean()) for name, each in scored.items()}


def found(pipe: Pipeline, labels: Sequence[str] | LabelSet) -> int:
    """Return how many objects of the example scenes have a detection of their label with an IoU of 0.5."""
    count = 0
    for scene in openvocab.example_scenes():
        got = pipe(scene.path, labels).detections
        names = np.array(got.labels)
        for label, box in zip(scene.labels, scene.xyxy, strict=True):
            count += bool(((overlaps(box, got.xyxy)[0] >= SAME_OBJECT) & (names == label)).any())
    return count


def main() -> None:
    """Measure, and print two tables."""
    pipe, labels = openvocab.load("pocket", device="cpu"), openvocab.read_labels("pocket")
    given = with_synonyms(labels)
    print(f"{len(labels)} labels, {len(given.phrases)} phrases")
    for name, share in top1(pipe, given).items():
        print(f"{name:32} {share:.3f}")
    ways: dict[str, Any] = {"labels alone": labels, "label set": given, "every phrase a label": given.phrases}
    for title, asked in ways.items():
        print(f"{title:32} {found(pipe, asked)} objects")


if __name__ == "__main__":
    main()
