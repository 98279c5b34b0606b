"""The workspace, and the tabs Tag and About, in a real browser."""

from __future__ import annotations

from collections import Counter

import pytest

pytest.importorskip("gradio")

import openvocab

SCENES = openvocab.example_scenes()


def run_example(page, index=0):
    page.locator("#work-examples button").nth(index).click()
    page.locator("#work-note", has_text="detections in").wait_for()


def labels_of(page):
    return page.eval_on_selector_all(".cv-objects input[type=text]", "fields => fields.map(each => each.value)")


def count(page, number):
    page.wait_for_function("n => document.querySelectorAll('.cv-objects li').length === n", arg=number)


def edits(page, number):
    page.wait_for_selector(f'.cv[data-edits="{number}"]:not([data-busy])')


def slide(page, name, value):
    field = page.locator(f"#work-{name} input[type=range]")
    field.evaluate("(e, v) => { e.value = v; e.dispatchEvent(new Event('input', {bubbles: true})); }", str(value))


def test_an_example_fills_in_its_labels_runs_and_can_be_corrected(page, server, tmp_path):
    from pycocotools.coco import COCO

    run_example(page)
    assert page.locator("#work-labels textarea").input_value() == ", ".join(SCENES[0].labels)
    tags = page.locator(".cv-tags .cv-word").all_inner_texts()
    assert set(tags) <= set(SCENES[0].labels)
    assert len(tags) >= 3
    assert set(tags) <= set(page.locator(".cv-present .cv-word").all_inner_texts())
    before, calls = len(labels_of(page)), Counter(server.context.models.calls)

    slide(page, "box-threshold", 0.82)
    page.wait_for_function("n => document.querySelectorAll('.cv-objects li').length < n", arg=before)
    slide(page, "box-threshold", 0.55)
    count(page, before)

    page.locator(".cv-objects input[type=text]").first.fill("<img src=x onerror=window.__xss=1>")
    page.keyboard.press("Enter")
    edits(page, 1)
    assert labels_of(page)[0] == "<img src=x onerror=window.__xss=1>"
    deleted = labels_of(page)[1]
    page.get_by_role("button", name=f"Delete {deleted}").click()
    edits(page, 2)
    assert deleted not in labels_of(page)
    assert page.evaluate("window.__xss") is None
    slide(page, "box-threshold", 0.5)
    edits(page, 2)
    assert labels_of(page)[0] == "<img src=x onerror=window.__xss=1>"

    with page.expect_download() as download:
        page.locator("#work-get-coco").click()
    assert download.value.suggested_filename == "scene-1-coco.json"
    download.value.save_as(tmp_path / "coco.json")
    read = COCO(str(tmp_path / "coco.json"))
    assert {each["name"] for each in read.cats.values()} == {*labels_of(page), *tags}
    assert len(read.anns) == before - 1
    assert server.context.models.calls == calls


def test_a_number_is_typed_into_a_slider(page):
    run_example(page)
    before = len(labels_of(page))
    number = page.locator("#work-box-threshold input[type=number]")
    number.fill("")
    number.press_sequentially("0.82")
    page.wait_for_function("n => document.querySelectorAll('.cv-objects li').length < n", arg=before)
    number.fill("7")
    number.press("Enter")
    count(page, 0)
    page.locator("#work-note", has_text="Lower Boxes below it").wait_for()
    number.fill("0.6")
    count(page, before)


def test_other_labels_reuse_the_encodings(page, server):
    run_example(page, 1)
    before = Counter(server.context.models.calls)
    page.locator("#work-labels textarea").fill("corn, piano")
    page.locator("#work-count", has_text="2 labels").wait_for()
    page.locator("#work-run").click()
    page.locator("#work-note", has_text="1 tag and 1 detection in scene-2.png").wait_for()
    called = server.context.models.calls - before
    assert called["detector.score_boxes"] == 1
    assert not {"detector.encode", "segmenter.encode"} & set(called)
    assert called["tagger.encode_images"] <= 1, "crops of boxes, for verification"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        pytest.param("", "there are no labels; type what to look for", id="no words"),
    ],
)
def test_errors_are_one_sentence(page, words, says):
    page.locator("#work-labels textarea").fill(words)
    page.locator("#work-run").click()
    page.locator("#work-note .wrong", has_text=says).wait_for()


def test_a_broken_image_is_named(page, tmp_path):
    broken = tmp_path / "cut.png"
    broken.write_bytes(SCENES[0].path.read_bytes()[:2000])
    page.locator("#work-image input[type=file]").first.set_input_files(str(broken))
    page.locator("#work-image img").wait_for(state="attached")
    page.locator("#work-labels textarea").fill("dog")
    page.locator("#work-run").click()
    page.locator("#work-note .wrong", has_text="'cut.png' is truncated").wait_for()


def test_hovering_a_row_highlights_the_detection(page):
    run_example(page, 2)
    pixels = "() => document.querySelector('.cv-stage canvas').toDataURL()"
    page.wait_for_selector(".cv[data-drawn]")
    page.wait_for_timeout(200)
    plain = page.evaluate(pixels)
    page.locator(".cv-objects li").first.hover()
    page.wait_for_function(f"before => ({pixels})() !== before", arg=plain)
    page.mouse.move(5, 5)
    page.wait_for_function(f"before => ({pixels})() === before", arg=plain)


def test_an_object_is_selected_by_a_click_and_labeled_by_a_key(page):
    run_example(page)
    page.wait_for_selector(".cv[data-drawn]")
    canvas = page.locator(".cv-stage canvas")
    place = SCENES[0].xyxy[SCENES[0].labels.index("light bulb")]

    def at(x, y):
        scale, left, top = map(float, page.locator(".cv").get_attribute("data-view").split())
        frame = canvas.bounding_box()
        return float(frame["x"] + left + scale * x), float(frame["y"] + top + scale * y)

    canvas.press("v")
    page.mouse.click(*at(*(place[:2] + place[2:]) / 2))
    chosen = page.locator(".cv-objects li.cv-selected")
    assert chosen.locator("input").input_value() == "light bulb"
    canvas.press("1")
    edits(page, 1)
    assert chosen.locator("input").input_value() == "tent"


def test_zoom_keeps_the_point_under_the_pointer_and_fit_returns(page):
    run_example(page)
    page.wait_for_selector(".cv[data-drawn]")
    canvas = page.locator(".cv-stage canvas")
    view = lambda: [float(each) for each in page.locator(".cv").get_attribute("data-view").split()]  # noqa: E731
    start, frame = view(), canvas.bounding_box()
    spot = frame["width"] / 2 + 40, frame["height"] / 2 + 30
    before = [(spot[axis] - start[axis + 1]) / start[0] for axis in (0, 1)]
    page.mouse.move(frame["x"] + spot[0], frame["y"] + spot[1])
    page.mouse.wheel(0, -400)
    page.wait_for_function("s => Number(document.querySelector('.cv').dataset.view.split(' ')[0]) > s", arg=start[0])
    page.wait_for_timeout(100)
    zoomed = view()
    after = [(spot[axis] - zoomed[axis + 1]) / zoomed[0] for axis in (0, 1)]
    assert after == pytest.approx(before, abs=0.5)
    canvas.press("o")
    page.wait_for_function("() => document.querySelector('.cv').dataset.view.startsWith('1 ')")
    canvas.press("f")
    page.wait_for_function("s => Number(document.querySelector('.cv').dataset.view.split(' ')[0]) === s", arg=start[0])


def test_labels_filter_the_objects_and_are_renamed_together(page):
    run_example(page)
    page.locator(".cv-words button", has_text="tent").click()
    count(page, 1)
    page.locator(".cv-rename input").fill("umbrella")
    page.keyboard.press("Enter")
    page.wait_for_selector('.cv[data-edits="1"]')
    assert "tent" not in labels_of(page) and labels_of(page).count("umbrella") == 2


def test_the_image_has_two_thirds_of_a_wide_window(page):
    page.set_viewport_size({"width": 1440, "height": 900})
    run_example(page)
    assert page.locator(".cv-stage").bounding_box()["width"] >= 0.65 * 1440


@pytest.mark.parametrize(
    ("width", "height"),
    [
        pytest.param(1440, 900, id="1440"),
        pytest.param(1024, 768, id="1024"),
        pytest.param(390, 844, id="phone, which scrolls by itself"),
    ],
)
def test_the_whole_image_is_visible_without_scrolling(page, width, height):
    page.set_viewport_size({"width": width, "height": height})
    run_example(page)
    page.wait_for_selector(".cv[data-drawn]")
    if width > 700:
        assert page.evaluate("window.scrollY") == 0
    page.wait_for_function(
        "() => { const box = document.querySelector('.cv-stage').getBoundingClientRect();"
        " return box.top >= 0 && box.bottom <= window.innerHeight; }"
    )


def test_sliders_are_beside_the_image_in_a_wide_window(page):
    page.set_viewport_size({"width": 1440, "height": 900})
    run_example(page)
    stage, slider = (page.locator(name).bounding_box() for name in (".cv-stage", "#work-box-threshold"))
    assert slider["x"] >= stage["x"] + stage["width"] and slider["y"] < stage["y"] + stage["height"]


def test_enter_runs_and_shift_enter_breaks_the_line(page):
    page.locator("#work-image input[type=file]").first.set_input_files(str(SCENES[0].path))
    page.wait_for_selector(".cv[data-drawn]")
    field = page.locator("#work-labels textarea")
    field.fill("tent")
    field.press("Shift+Enter")
    field.type("piano")
    assert field.input_value() == "tent\npiano"
    page.locator("#work-count", has_text="2 labels").wait_for()
    field.press("Enter")
    page.locator("#work-note", has_text="1 detection in scene-1.png").wait_for()


def test_words_that_the_models_do_not_know_are_named(page):
    page.locator("#work-labels textarea").fill("tent, invoice")
    page.locator("#work-count", has_text="pocket does not know invoice. pocket knows 140 drawn objects").wait_for()


def test_a_label_set_fills_in_its_labels(page):
    page.locator("#work-set input").click()
    page.get_by_role("option", name="voc (20 labels)").click()
    page.locator("#work-count", has_text="20 labels").wait_for()
    assert page.locator("#work-labels textarea").input_value().startswith(", ".join(openvocab.read_labels("voc")[:2]))


def test_the_theme_switch_is_remembered(page):
    def ink():
        return page.evaluate("getComputedStyle(document.querySelector('.ov-header h1')).color")

    page.locator("#work-labels textarea").wait_for()
    light = ink()
    page.get_by_role("button", name="Switch between light and dark").click()
    page.locator("body.dark").wait_for()
    dark = ink()
    assert light != dark
    page.reload()
    page.locator("body.dark #work-labels textarea").wait_for()
    assert ink() == dark


def test_phones_do_not_scroll_sideways(page):
    page.set_viewport_size({"width": 390, "height": 844})
    run_example(page, 3)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    for name in ("#work-run", ".cv-stage canvas", "#work-nms-iou", ".cv-objects", "#work-get-json"):
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
