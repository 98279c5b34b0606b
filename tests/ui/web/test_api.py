"""Every named action of the tabs Chain, Tag and About, as a program calls it."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest

pytest.importorskip("gradio")

from gradio_client import handle_file
from gradio_client.exceptions import AppError
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

import openvocab

SCENE = openvocab.example_scenes()[0]
WORDS = ", ".join(SCENE.labels)


def test_chain_returns_the_result_of_the_library(client, server):
    got = client.predict(handle_file(str(SCENE.path)), WORDS, box_threshold=0.5, api_name="/chain")
    with server.context.models.using() as pipe:
        wanted = pipe(SCENE.path, list(SCENE.labels), box_threshold=0.5).to_dict()
    assert got == json.loads(json.dumps(wanted)) | {"source": "scene-1.png"}
    assert coco_mask.decode(got["detections"][0]["mask"]).shape == (256, 256)


def test_chain_returns_what_verification_rejected(client, server):
    path = openvocab.example_scenes()[3].path
    got = client.predict(handle_file(str(path)), "pocket", box_threshold=0.3, api_name="/chain")["rejected"]
    with server.context.models.using() as pipe:
        wanted = pipe(path, "pocket", box_threshold=0.3).to_dict()["rejected"]
    assert got == json.loads(json.dumps(wanted)) and len(got) >= 1
    assert got[0]["verification"].startswith("rejected: ")
    assert coco_mask.decode(got[0]["mask"]).shape == (256, 256)


def test_download_returns_a_file(client):
    path = client.predict(handle_file(str(SCENE.path)), WORDS, "coco", api_name="/download")
    assert path.endswith("scene-1-coco.json")
    assert len(COCO(path).anns) == 4
    cut = client.predict(handle_file(str(SCENE.path)), WORDS, "cutouts", box_threshold=0.82, api_name="/download")
    with zipfile.ZipFile(cut) as archive:
        assert archive.namelist()[0] == "001-game controller.png"
        assert len(archive.namelist()) < 4


def test_tag_scores_each_image_and_reports_the_broken_one(client, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(SCENE.path.read_bytes()[:2000])
    got = client.predict(
        [handle_file(str(SCENE.path)), handle_file(str(broken))],
        "tent, piano",
        none_of_these=True,
        api_name="/tag",
    )
    first, second = got["images"]
    assert (got["independent"], got["threshold"]) == (True, 0.5)
    assert {row["label"] for row in first["scores"]} == {"tent", "piano", "none of these"}
    assert first["scores"][0]["label"] == "tent"
    assert (second["name"], second["scores"]) == ("broken.png", [])
    assert "'broken.png' is truncated" in second["error"]


def test_about_lists_loaded_and_available_presets(client, server):
    got = client.predict(api_name="/about")
    with server.context.models.using() as pipe:
        digests = {stage: getattr(pipe, stage).record.sha256 for stage in ("tagger", "detector", "segmenter")}
    assert {model["stage"]: model["sha256"] for model in got["loaded"][0]["models"]} == digests
    assert [each["name"] for each in got["presets"]] == [each.name for each in openvocab.presets()]
    assert got["label_sets"] == dict(openvocab.label_sets())


def test_label_set_returns_its_labels(client):
    got = client.predict("voc", api_name="/label_set")
    np.testing.assert_array_equal(got, openvocab.read_labels("voc"))


@pytest.mark.parametrize(
    ("words", "changes", "says"),
    [
        pytest.param("", {}, "there are no labels", id="no labels"),
        pytest.param("dog", {"template": "a photo"}, "no place for the label", id="template"),
        pytest.param("dog", {"template": "{label.__class__}"}, "brace", id="format string"),
        pytest.param("dog", {"box_threshold": 1.5}, "must lie in 0 to 1", id="threshold"),
    ],
)
def test_bad_input_is_one_sentence(client, words, changes, says):
    with pytest.raises(AppError, match=says) as raised:
        client.predict(handle_file(str(SCENE.path)), words, api_name="/chain", **changes)
    assert "Traceback" not in str(raised.value)


def test_parameters_and_answers_have_names(client):
    for endpoint in client.view_api(return_format="dict", print_info=False)["named_endpoints"].values():
        names = [each["parameter_name"] for each in endpoint["parameters"]]
        names += [each["label"] for each in endpoint["returns"]]
        assert not [name for name in names if name.startswith(("value", "param_"))]


def test_class_ids_are_in_the_order_of_the_words(client):
    path = client.predict(handle_file(str(SCENE.path)), "umbrella; tent, light bulb", "coco", api_name="/download")
    assert [each["name"] for each in COCO(path).cats.values()] == ["umbrella", "tent", "light bulb"]


def test_only_declared_endpoints_are_public(client):
    named = set(client.view_api(return_format="dict", print_info=False)["named_endpoints"])
    assert {"/chain", "/download", "/tag", "/about", "/label_set"} <= named
    assert not [name for name in named if "lambda" in name or name.startswith("/_")]
