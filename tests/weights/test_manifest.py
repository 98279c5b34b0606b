"""The records of published checkpoints: complete, consistent, and true of the architecture that they describe."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from openvocab.errors import UnknownName
from openvocab.models.registry import families
from openvocab.models.taggers.ram_model import RamModel, RamSizes
from openvocab.weights import manifest
from openvocab.weights.manifest import named, pinned_sha256, preset_records, published, published_for
from tests.tiny.ram import PUBLISHED, shapes

FREE = {"Apache-2.0", "MIT", "BSD-3-Clause", "BSD-2-Clause"}
HEADER = 300_000
WITH_MORE = ("ram-plus-swin-l", "ram-swin-l")
"""Their files hold more than the tagger: buffers, and for RAM the parts that write captions."""

VIDEO_MODELS = ("sam2-tiny", "sam2-large", "sam3")
TIED = ("grounding-dino-tiny", "grounding-dino-base")


def on_meta(architecture: dict[str, Any]) -> Any:
    """Build an architecture from its record, without memory for its weights."""
    with torch.device("meta"):
        if architecture["library"] == "open_clip":
            import open_clip

            settings = dict(open_clip.get_model_config(architecture["name"]))
            custom = settings.pop("custom_text", False)
            return (open_clip.CustomTextCLIP if custom else open_clip.CLIP)(**settings)
        if architecture["library"] == "openvocab":
            return ram_on_meta(architecture["name"])
        if architecture["library"] == "timm":
            import timm

            return timm.create_model(architecture["name"])
        if architecture["library"] == "segment_anything":
            from segment_anything import sam_model_registry

            return sam_model_registry[architecture["name"]]()
        import transformers

        config = dict(architecture["config"])
        model_config = transformers.AutoConfig.for_model(config.pop("model_type"), **config)
        return getattr(transformers, architecture["model_class"])(model_config)


def ram_on_meta(name: str) -> Any:
    """Build RAM or RAM++ from the published shapes, label embeddings included."""
    kind = replace(PUBLISHED, descriptions=PUBLISHED.descriptions if name == "RAM++" else 0)
    state = {each: torch.empty(shape) for each, shape in shapes(kind).items()}
    model = RamModel(RamSizes(state))
    model.label_embed = torch.nn.Parameter(state["label_embed"])
    assert {each: tuple(value.shape) for each, value in model.state_dict().items()}.items() >= {
        "visual_encoder.layers.3.downsample.reduction.weight": (1536, 3072),
        "label_embed": shapes(kind)["label_embed"],
    }.items()
    return model


@pytest.mark.parametrize("name", published())
def test_the_architecture_of_a_record_has_as_many_parameters_as_it_says(name):
    record = published()[name]
    model = on_meta(dict(record.architecture))
    assert sum(each.numel() for each in model.parameters()) == record.parameters
    held = 4 * sum(each.numel() for each in model.state_dict().values())
    if record.exact_size and name not in (*VIDEO_MODELS, *TIED, *WITH_MORE):
        assert 0 < record.size - held < HEADER


@pytest.mark.parametrize("name", published())
def test_a_record_is_complete(name):
    record = published()[name]
    assert [bool(each) for each in (record.url, record.repository, record.package)].count(True) == 1
    assert bool(record.extra) == bool(record.package)
    assert record.license and record.paper.startswith("https://")
    assert set(record.preprocessing) >= {"resize", "mean", "std"}
    assert record.input_size > 0
    assert record.fetched_revision in (None, record.revision)
    for file in record.files:
        assert file.sha256 is None or (len(file.sha256) == 64 and pinned_sha256(record.sources(file)[0]) == file.sha256)
    assert record.family in families()[record.stage]


@pytest.mark.parametrize("name", preset_records())
def test_a_preset_names_one_checkpoint_for_each_stage(name):
    preset = preset_records()[name]
    specs = {stage: getattr(preset, stage) for stage in manifest.STAGES}
    for stage, spec in specs.items():
        if name != "pocket" and spec:
            record = published_for(spec)
            assert record is not None and stage == record.stage
    gated = [each for each in preset.checkpoints if published()[each].gated]
    free = all(published()[each].license in FREE for each in preset.checkpoints)
    assert (free and not gated) if name != "sam3" else gated
    assert preset.size > 1_000_000


@pytest.mark.parametrize(
    ("name", "means"),
    [
        pytest.param("sam-vit-b", ("sam-vit-b",), id="checkpoint"),
        pytest.param("base", ("open_clip-siglip2-b-16", "owlv2-base", "sam-vit-b"), id="preset"),
        pytest.param("sam3", ("sam3",), id="a preset has the same name"),
        pytest.param("pocket", ("pocket-tagger", "pocket-detector", "pocket-segmenter"), id="embedded preset"),
        pytest.param("pocket-tagger", ("pocket-tagger",), id="embedded checkpoint"),
    ],
)
def test_a_name_means_checkpoints(name, means):
    assert named(name) == means


def test_a_wrong_name_is_met_with_the_right_one():
    with pytest.raises(UnknownName, match="did you mean 'sam-vit-b'"):
        named("sam-vitb")


def test_a_spec_is_known_with_and_without_its_revision():
    record = published()["owlv2-base"]
    assert published_for(record.spec) is published_for("owlv2:google/owlv2-base-patch16-ensemble") is record
    assert published_for("sam:vit_b") is published()["sam-vit-b"]
    assert published_for("owlv2:elsewhere/model") is None


def test_the_presets_survive_an_export_of_the_embedded_models(tmp_path, monkeypatch):
    from training import export

    package = Path(manifest.__file__).parent
    shutil.copytree(package / "pocket" / "models", tmp_path / "pocket" / "models")
    shutil.copy(package / "manifest.toml", tmp_path)
    monkeypatch.setattr(export, "MODELS", tmp_path / "pocket" / "models")
    export.pin(tmp_path / "manifest.toml")
    assert (tmp_path / "manifest.toml").read_text("utf-8") == (package / "manifest.toml").read_text("utf-8")
