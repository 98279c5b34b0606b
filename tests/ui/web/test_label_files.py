"""Files of labels on the page: as text in the field, with synonyms as JSON, and the words of prompt files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import openvocab
from openvocab import Exemplar, LabelSet, Prompt
from openvocab.errors import BadInput

pytest.importorskip("gradio")

from openvocab.ui.web.label_files.read import text_of_file
from openvocab.ui.web.text_inputs import describe_labels, parse_labels, parse_vocabulary

SCENE = openvocab.example_scenes()[0]
YAML = """
tent: [camping tent]
light bulb: [lamp]
vehicle:
  children: [car, bus]
negatives: [handbag]
"""


@pytest.mark.parametrize(
    ("name", "text", "typed"),
    [
        pytest.param("a.txt", "tent\nlight bulb\n", "tent, light bulb", id="lines"),
        pytest.param("a.yaml", "[tent, light bulb]", "tent, light bulb", id="a YAML list"),
        pytest.param("a.json", '["tent, large", "crab"]', '["tent, large", "crab"]', id="labels with commas"),
    ],
)
def test_a_list_is_typed_plainly(tmp_path, name, text, typed):
    (tmp_path / name).write_text(text, "utf-8")
    assert text_of_file([str(tmp_path / name)]) == typed


@pytest.mark.parametrize("name", ["set.yaml", "set.json"])
def test_a_label_set_is_text_that_means_the_same(tmp_path, name):
    path = tmp_path / name
    plain = {"tent": ["camping tent"], "vehicle": {"children": ["car", "bus"]}, "negatives": ["handbag"]}
    path.write_text(YAML if name.endswith("yaml") else json.dumps(plain), "utf-8")
    wanted = openvocab.read_label_set(path)
    typed = text_of_file([str(path)])
    found = parse_vocabulary(typed)
    assert isinstance(found, LabelSet)
    assert found == wanted and found.digest == wanted.digest
    assert parse_labels(typed) == tuple(wanted.labels)
    assert describe_labels(typed)[1] and describe_labels(typed)[0].startswith(f"{len(wanted.labels)} labels")


def test_the_words_of_a_prompt_file_fill_the_field(tmp_path):
    shown = Exemplar.cut(openvocab.read_image(SCENE.path), "part 17", SCENE.xyxy[0].tolist())
    Prompt(["tent", "light bulb"], [shown]).save(tmp_path / "p.json")
    assert text_of_file([str(tmp_path / "p.json")]) == "tent, light bulb"
    Prompt([], [shown]).save(tmp_path / "q.json")
    with pytest.raises(BadInput, match="'q.json' has no words"):
        text_of_file([str(tmp_path / "q.json")])


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        pytest.param("a.exe", b"x", "is no file of labels", id="another kind"),
        pytest.param("a.yaml", b"a: &a [b]\nc: *a", "uses an alias", id="alias"),
        pytest.param("a.yaml", b"{", "is not valid YAML", id="no YAML"),
        pytest.param("a.json", b"[" * 100_000, "is not valid JSON", id="deep JSON"),
        pytest.param("a.txt", b"x," * 2**20 + b"xx", "more than 2097152 bytes", id="large"),
        pytest.param("a.txt", b"", "no label", id="empty"),
        pytest.param("a.json", b'{"a": ["b"], "b": []}', "stands for the label", id="one phrase of two labels"),
    ],
)
def test_files_that_are_refused_are_named_without_their_path(tmp_path, name, data, words):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(BadInput, match=words) as caught:
        text_of_file([str(tmp_path / name)])
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("text", ['{"a": ', '{"a": {"b": 1}}', '{"a": ["b"], "b": null}'])
def test_a_typed_label_set_that_cannot_be_used_is_one_sentence(text):
    with pytest.raises(BadInput):
        parse_vocabulary(text)
    assert describe_labels(text)[1] is False


def test_synonyms_and_negatives_reach_the_models(client: Any, server: Any) -> None:
    from gradio_client import handle_file

    typed = json.dumps({"shelter": ["tent"], "light bulb": [], "negatives": ["umbrella"]})
    got = client.predict(handle_file(str(SCENE.path)), typed, api_name="/chain")
    assert {"shelter", "light bulb"} >= {each["label"] for each in got["detections"]} >= {"light bulb"}
    assert got["run"]["label_set"] == LabelSet.of(json.loads(typed)).digest
    tagged = client.predict([handle_file(str(SCENE.path))], typed, none_of_these=True, api_name="/tag")
    scores = {each["label"]: each["score"] for each in tagged["images"][0]["scores"]}
    with server.context.models.using() as pipe:
        wanted = pipe.tag_scores(
            [openvocab.read_image(SCENE.path)],
            pipe.vocabulary(
                LabelSet(["shelter", "light bulb", "none of these"], {"shelter": ["tent"]}, {}, ["umbrella"])
            ),
        )[0]
    assert set(scores) == {"shelter", "light bulb", "none of these"}
    assert scores["shelter"] == pytest.approx(float(wanted[0]), abs=1e-4)


def test_everything_is_that_of_the_library(client: Any, server: Any) -> None:
    from gradio_client import handle_file

    labels = ", ".join(SCENE.labels[:2])
    got = client.predict(
        handle_file(str(SCENE.path)), labels, min_objectness=0.7, max_objects=3, api_name="/everything"
    )
    with server.context.models.using() as pipe:
        wanted = pipe.everything(SCENE.path, list(SCENE.labels[:2]), min_objectness=0.7, max_objects=3).to_dict()
    assert got == json.loads(json.dumps(wanted)) | {"source": SCENE.path.name}
    assert {"unknown", *SCENE.labels[:2]} >= {each["label"] for each in got["detections"]}


def test_a_file_of_labels_is_chosen_in_the_browser(page: Any, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("tent\nlight bulb\n", "utf-8")
    with page.expect_file_chooser() as chooser:
        page.click("#work-labels-file")
    chooser.value.set_files(str(tmp_path / "words.txt"))
    page.wait_for_function("document.querySelector('#work-labels textarea').value === 'tent, light bulb'")
