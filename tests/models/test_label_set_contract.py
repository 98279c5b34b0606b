"""A label set on every registered tagger and detector: a label is its best phrase, and a negative takes its boxes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import openvocab
from openvocab import LabelSet, Pipeline, Settings
from openvocab.models.registry import DETECTORS, TAGGERS
from tests.models.test_contract import labels_of, quiet, tiny

__all__ = ["tiny"]

SHORT = ("classifier", "grounding_dino", "open_clip", "owlv2", "pocket", "siglip")
EVERY_BOX = Settings(box_threshold=0.0, nms_iou=1.0, duplicates="keep", duplicate_iou=1.0, max_boxes=10_000)


def families(names: Iterable[str]) -> list[Any]:
    """Families as parameters; those beyond one of each kind are long."""
    return [pytest.param(name, marks=() if name in SHORT else pytest.mark.long) for name in sorted(names)]


@pytest.mark.parametrize("family", families(TAGGERS))
def test_a_tag_scores_as_the_best_phrase_does_among_the_best_phrases(family: str, tiny: Any, make_image: Any) -> None:
    first, other, second, negative = labels_of(family)[:4]
    with quiet():
        tagger = openvocab.load_tagger(tiny(family), "cpu", "float32")
        pipe = Pipeline(tagger, None, None, Settings(tag_threshold=0.0))
        given = LabelSet([first, second], {first: [other]}, negatives=[negative])
        features = tagger.encode_images([make_image(40, 60)])
        rows = tagger.logits(features, tagger.encode_labels(given.phrases))[0]
        best = first if rows[0] >= rows[1] else other
        expected = tagger.scores(features, tagger.encode_labels([best, second, negative]))[:, :2]
        got = pipe.tag_scores([make_image(40, 60)], pipe.vocabulary(given))
        plain = pipe.tag_scores([make_image(40, 60)], pipe.vocabulary([first, second]))
        np.testing.assert_array_equal(
            pipe.tag_scores([make_image(40, 60)], pipe.vocabulary(LabelSet([first, second]))), plain
        )
    np.testing.assert_allclose(got, expected, atol=1e-6)


@pytest.mark.parametrize("family", families(DETECTORS))
def test_boxes_of_phrases_are_boxes_of_labels_and_those_of_negatives_are_none(
    family: str, tiny: Any, make_image: Any
) -> None:
    label, other = labels_of(family)[:2]
    with quiet():
        detector: Any = openvocab.load_detector(tiny(family), "cpu", "float32")
        if family == "pocket":  # boxes of its windows are merged within a label
            detector = replace(detector, windows=1)
        pipe, image = Pipeline(None, detector, None, EVERY_BOX), make_image(40, 60)
        both = pipe.detect(image, pipe.vocabulary([label, other]))
        merged = pipe.detect(image, pipe.vocabulary(LabelSet([label], {label: [other]})))
        alone = pipe.detect(image, pipe.vocabulary(LabelSet([label], negatives=[other])))
    assert len(both) > 0
    assert set(merged.labels) == {label}
    np.testing.assert_array_equal(merged.xyxy, both.xyxy)
    np.testing.assert_array_equal(merged.scores, both.scores)
    own = both[[each == label for each in both.labels]]
    np.testing.assert_array_equal(alone.xyxy, own.xyxy)
    np.testing.assert_array_equal(alone.scores, own.scores)
