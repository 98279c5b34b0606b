from dataclasses import fields, replace
from typing import Any

import pytest

import openvocab
from openvocab import BadInput, UnknownName
from openvocab.batch.run_options import RunChoices
from openvocab.pipeline.settings import SettingChanges


@pytest.mark.parametrize(
    ("load", "spec", "error", "message"),
    [
        pytest.param(openvocab.load_tagger, "open-clip:x", UnknownName, "did you mean 'open_clip'", id="near miss"),
        pytest.param(openvocab.load_tagger, "zzz:x", UnknownName, "known: classifier, clip, ", id="far miss"),
        pytest.param(openvocab.load_detector, "owlv3:x", UnknownName, "did you mean 'owlv2'", id="detector"),
        pytest.param(
            openvocab.load_tagger, "open_clip", BadInput, "write it as open_clip:ViT-B-32", id="no checkpoint"
        ),
        pytest.param(openvocab.load_segmenter, "sam", BadInput, "write it as sam:vit_b@", id="no weights"),
        pytest.param(openvocab.load_captioner, "coca", BadInput, "write it as coca:coca_ViT-B-32/", id="no captioner"),
        pytest.param(openvocab.load_tagger, "pocket:large", BadInput, "write 'pocket' alone", id="pocket has no sizes"),
    ],
)
def test_a_wrong_spec_is_met_with_the_right_one(load, spec: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        load(spec)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        pytest.param({"preset": "poket"}, UnknownName, "did you mean 'pocket'", id="preset"),
        pytest.param({}, BadInput, "nothing to load", id="nothing"),
        pytest.param({"segmenter": "pocket"}, BadInput, "nothing to load", id="a segmenter alone"),
        pytest.param(
            {"detector": "pocket", "tags_alone": True}, BadInput, "or tagger=SPEC$", id="tags without a tagger"
        ),
    ],
)
def test_load_says_what_is_missing(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        openvocab.load(**arguments)


def test_for_tags_alone_nothing_else_of_a_preset_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = openvocab.load("pocket", tag_threshold=0.25)
    for name in ("load_detector", "load_segmenter"):
        monkeypatch.delattr(f"openvocab.models.presets.{name}")
    pipe = openvocab.load("pocket", tags_alone=True, tag_threshold=0.25)
    assert pipe.tagger is not None and pipe.detector is None and pipe.segmenter is None
    assert pipe.settings == replace(whole.settings, box_threshold=None, verify=0)  # there is no detector


def test_every_setting_is_a_typed_keyword_of_load() -> None:
    names = [each.name for each in fields(openvocab.Settings)]
    assert list(SettingChanges.__annotations__) == names
    assert openvocab.load.__annotations__["settings"] == "Unpack[SettingChanges]"
    assert openvocab.Pipeline.__call__.__annotations__["changes"] == "Unpack[SettingChanges]"


def test_every_run_option_is_a_typed_keyword_of_run_to() -> None:
    options = {each.name for each in fields(openvocab.RunOptions)}
    assert set(RunChoices.__annotations__) == options | set(SettingChanges.__annotations__)
    assert openvocab.Pipeline.run_to.__annotations__["options"] == "Unpack[RunChoices]"


def test_every_family_is_listed() -> None:
    assert openvocab.families() == {
        "tagger": ("open_clip", "clip", "siglip", "metaclip2", "classifier", "ram", "openvino", "onnx", "pocket"),
        "detector": (
            "detr",
            "florence2",
            "grounding_dino",
            "mm_grounding_dino",
            "omdet_turbo",
            "owlv2",
            "owlvit",
            "qwen3_vl",
            "sam3",
            "openvino",
            "onnx",
            "pocket",
        ),
        "segmenter": ("sam", "sam_hf", "sam_hq", "sam2", "edgetam", "openvino", "onnx", "pocket"),
        "exemplar segmenter": ("seggpt",),
        "captioner": ("coca", "florence2"),
    }
