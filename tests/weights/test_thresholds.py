"""Thresholds belong to the checkpoint: each has a source, and those of detectors are their library's own."""

import inspect
from importlib import import_module

import pytest

from openvocab.models.registry import DETECTORS, TAGGERS
from openvocab.weights.manifest import EXPORTS, published
from openvocab.weights.thresholds import box_threshold, family_thresholds, tag_threshold

TAGGERS_KNOWN = [each for each in published().values() if each.stage == "tagger"]
DETECTORS_KNOWN = [each for each in published().values() if each.stage == "detector"]

POST_PROCESSING = [
    pytest.param("owlv2", "Owlv2Processor.post_process_grounded_object_detection", 0.1, id="owlv2"),
    pytest.param("owlvit", "OwlViTProcessor.post_process_grounded_object_detection", 0.1, id="owlvit"),
    pytest.param(
        "grounding_dino", "GroundingDinoProcessor.post_process_grounded_object_detection", 0.25, id="grounding_dino"
    ),
    pytest.param(
        "mm_grounding_dino",
        "GroundingDinoProcessor.post_process_grounded_object_detection",
        0.25,
        id="mm_grounding_dino",
    ),
    pytest.param("omdet_turbo", "OmDetTurboProcessor.post_process_grounded_object_detection", 0.3, id="omdet_turbo"),
    pytest.param("detr", "DetrImageProcessor.post_process_object_detection", 0.5, id="detr"),
    pytest.param("detr", "RTDetrImageProcessor.post_process_object_detection", 0.5, id="rt-detr"),
]


@pytest.mark.parametrize(("family", "function", "value"), POST_PROCESSING)
def test_the_box_threshold_of_a_family_is_the_librarys_own(family: str, function: str, value: float) -> None:
    owner, name = function.split(".")
    default = inspect.signature(getattr(getattr(import_module("transformers"), owner), name)).parameters["threshold"]
    own = box_threshold(f"{family}:ORG/NAME")
    assert own.value == value == default.default
    assert name in own.source and f": {value}" in own.source


@pytest.mark.parametrize("each", TAGGERS_KNOWN, ids=lambda each: each.name)
def test_a_taggers_record_has_its_rule_its_threshold_and_who_says_so(each) -> None:
    assert each.tag_rule in ("softmax", "sigmoid") and each.tag_threshold and each.threshold_source
    assert each.box_threshold is None
    own = tag_threshold(each.spec, independent=each.tag_rule == "sigmoid")
    assert (own.value, own.source) == (each.tag_threshold, each.threshold_source)


@pytest.mark.parametrize("each", DETECTORS_KNOWN, ids=lambda each: each.name)
def test_a_detectors_record_has_its_threshold_and_who_says_so(each) -> None:
    assert each.box_threshold and each.threshold_source and each.tag_threshold is None and not each.tag_rule
    plain = each.spec.partition("@")[0]
    assert box_threshold(each.spec) == box_threshold(plain) and box_threshold(plain).value == each.box_threshold
    assert each.box_threshold == family_thresholds("detector")[each.family].value


def test_a_right_label_that_siglip_scores_as_published_is_a_tag() -> None:
    """0.1499 and 0.0008 are the scores of '2 cats' and 'a remote' in transformers' documentation of SigLIP 2."""
    for spec in ("siglip:google/siglip2-base-patch16-224", "siglip:FOLDER", "open_clip:ViT-B-16-SigLIP2/webli"):
        assert 0.0008 < tag_threshold(spec, independent=True).value < 0.1499


@pytest.mark.parametrize(
    ("spec", "independent", "value"),
    [
        pytest.param("clip:FOLDER", False, 0.05, id="softmax"),
        pytest.param("siglip:FOLDER", True, 0.1, id="sigmoid"),
        pytest.param("pocket-tagger", True, 0.5, id="embedded"),
        pytest.param("mine", True, 0.1, id="an adapter of the user's"),
    ],
)
def test_a_tagger_without_a_record_has_the_threshold_of_its_rule(spec: str, independent: bool, value: float) -> None:
    assert tag_threshold(spec, independent=independent).value == value


def test_every_family_of_detectors_has_a_threshold() -> None:
    embedded = {"pocket": "pocket-detector"}
    known = family_thresholds("detector")
    assert known.keys() == {embedded.get(name, name) for name in DETECTORS if name not in EXPORTS} | {"seggpt", "other"}
    assert box_threshold("mine") == known["other"]
    assert family_thresholds("tagger").keys() <= {*TAGGERS, "pocket-tagger", "softmax", "sigmoid"}
