"""The tabs Chain, Tag and About in a real browser."""

from __future__ import annotations

from collections import Counter

import pytest

pytest.importorskip("gradio")

import openvocab

SCENES = openvocab.example_scenes()


def run_example(page, index=0):
    page.locator("#chain-examples button").nth(index).click()
    page.locator("#chain-note", has_text="detections in").wait_for()


def rows(page, name):
    return page.locator(f".ov-{name} tbody tr")


def labels_of(page):
    fields = page.locator(".ov-detections input.label")
    return [fields.nth(row).input_value() for row in range(fields.count())]


def slide(page, name, value):
    field = page.locator(f"#chain-{name} input[type=range]")
    field.evaluate("(e, v) => { e.value = v; e.dispatchEvent(new Event('input', {bubbles: true})); }", str(value))


def test_an_example_fills_in_its_labels_runs_and_can_be_corrected(page, server, tmp_path):
    from pycocotools.coco import COCO

    run_example(page)
    assert page.locator("#chain-labels textarea").input_value() == ", ".join(SCENES[0].labels)
    tags = page.locator(".ov-tags td .label").all_inner_texts()
    assert set(tags) <= set(SCENES[0].labels)
    assert len(tags) >= 3
    before, calls = rows(page, "detections").count(), Counter(server.context.models.calls)

    slide(page, "box-threshold", 0.75)
    page.wait_for_function("n => document.querySelectorAll('.ov-detections tbody tr').length < n", arg=before)
    slide(page, "box-threshold", 0.55)
    page.wait_for_function("n => document.querySelectorAll('.ov-detections tbody tr').length === n", arg=before)

    page.locator(".ov-detections input.label").first.fill("<img src=x onerror=window.__xss=1>")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Undo 1 correction").wait_for()
    assert labels_of(page)[0] == "<img src=x onerror=window.__xss=1>"
    deleted = labels_of(page)[1]
    page.get_by_role("button", name=f"Delete {deleted}").click()
    page.get_by_role("button", name="Undo 2 corrections").wait_for()
    assert deleted not in labels_of(page)
    assert page.evaluate("window.__xss") is None

    with page.expect_download() as download:
        page.locator("#chain-get-coco").click()
    assert download.value.suggested_filename == "scene-1-coco.json"
    download.value.save_as(tmp_path / "coco.json")
    read = COCO(str(tmp_path / "coco.json"))
    assert {each["name"] for each in read.cats.values()} == {*labels_of(page), *tags}
    assert len(read.anns) == before - 1
    assert server.context.models.calls == calls


def test_other_labels_reuse_the_encodings(page, server):
    run_example(page, 1)
    before = Counter(server.context.models.calls)
    page.locator("#chain-labels textarea").fill("corn, piano")
    page.locator("#chain-count", has_text="2 labels").wait_for()
    page.locator("#chain-run").click()
    page.locator("#chain-note", has_text="1 tag and 1 detection in scene-2.png").wait_for()
    called = server.context.models.calls - before
    assert called["detector.score_boxes"] == 1
    assert not {"tagger.encode_images", "detector.encode", "segmenter.encode"} & set(called)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        pytest.param("", "there are no labels; type what to look for", id="no words"),
    ],
)
def test_errors_are_one_sentence(page, words, says):
    page.locator("#chain-labels textarea").fill(words)
    page.locator("#chain-run").click()
    page.locator("#chain-note .wrong", has_text=says).wait_for()


def test_a_broken_image_is_named(page, tmp_path):
    broken = tmp_path / "cut.png"
    broken.write_bytes(SCENES[0].path.read_bytes()[:2000])
    page.locator("#chain-image input[type=file]").first.set_input_files(str(broken))
    page.locator("#chain-image img").wait_for(state="attached")
    page.locator("#chain-labels textarea").fill("dog")
    page.locator("#chain-run").click()
    page.locator("#chain-note .wrong", has_text="'cut.png' is truncated").wait_for()


def test_hovering_a_row_highlights_the_detection(page):
    run_example(page, 2)
    rows(page, "detections").first.hover()
    key = rows(page, "detections").first.get_attribute("data-key")
    assert page.locator(".ov-box.on").get_attribute("data-key") == key


def test_a_label_set_fills_in_its_labels(page):
    page.locator("#chain-set input").click()
    page.get_by_role("option", name="voc (20 labels)").click()
    page.locator("#chain-count", has_text="20 labels").wait_for()
    assert page.locator("#chain-labels textarea").input_value().startswith(", ".join(openvocab.read_labels("voc")[:2]))


def test_the_theme_switch_is_remembered(page):
    def ink():
        return page.evaluate("getComputedStyle(document.querySelector('.ov-header h1')).color")

    page.locator("#chain-labels textarea").wait_for()
    light = ink()
    page.get_by_role("button", name="Switch between light and dark").click()
    page.locator("body.dark").wait_for()
    dark = ink()
    assert light != dark
    page.reload()
    page.locator("body.dark #chain-labels textarea").wait_for()
    assert ink() == dark


def test_phones_do_not_scroll_sideways(page):
    page.set_viewport_size({"width": 390, "height": 844})
    run_example(page, 3)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    for name in ("#chain-run", ".ov-stage img", "#chain-nms-iou", ".ov-detections", "#chain-get-json"):
        box = page.locator(name).bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390


def test_the_tab_tag_shows_bars_and_none_of_these(page):
    page.get_by_role("tab", name="Tag", exact=True).click()
    page.locator("#tag-images input[type=file]").set_input_files([str(scene.path) for scene in SCENES[:2]])
    page.locator("#tag-labels textarea").fill("crab, <b>piano</b>")
    page.locator("#tag-run").click()
    page.wait_for_function("document.querySelectorAll('.ov-cards article').length === 2")
    first, second = page.locator(".ov-cards article").all()
    assert "None of these: no label scores 0.50 or more." in first.inner_text()
    assert second.locator("li.over .label").all_inner_texts() == ["crab"]
    assert "<b>piano</b>" in first.inner_text()
    assert "Scores are independent" in page.locator(".ov-cards .scoring").inner_text()


def test_the_tab_about_shows_models_digests_and_commands(page, server):
    page.get_by_role("tab", name="About the models").click()
    said = page.locator(".ov-about").inner_text()
    with server.context.models.using() as pipe:
        assert pipe.tagger.record.sha256 in said
    assert "openvocab weights pull small" in said
    assert "drawn objects only" in said
