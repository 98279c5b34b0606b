"""A served folder in a real browser: an annotator's session, and what must not be lost."""

from __future__ import annotations

import threading
import zipfile
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
import yaml

import openvocab
from tests.ui.web.board import CV, SCENES, Desk, Uploaded, inside, save_scenes

pytest.importorskip("gradio")

WORDS = list(dict.fromkeys(label for scene in SCENES[:3] for label in scene.labels))


def test_an_annotators_session(open_folder, tmp_path):
    desk = open_folder(20)
    page = desk.page
    desk.at_image(1, 20)
    desk.run(WORDS)
    accepted = desk.names()
    assert set(accepted) >= {"tent", "light bulb"}
    desk.press("r")  # accept the answer, and go on
    desk.at_image(2, 20)
    page.locator("#work-note", has_text="in 01.png").wait_for()
    assert desk.status(1) == "reviewed"

    found = desk.names()
    assert len(found) >= 2
    field = page.locator(".cv-objects input[type=text]")
    field.nth(0).fill("first name")  # 1: renamed
    field.nth(0).press("Enter")
    desk.edits(1)
    page.locator(".cv-objects [data-part=delete]").nth(1).click()  # 2: deleted
    desk.edits(2)
    desk.click(inside(SCENES[1], SCENES[1].labels[0]))  # 3: added
    desk.accept("added by hand", len(found))
    desk.edits(3)
    second = desk.names()
    assert desk.status(2) == "corrected"

    desk.press("d")
    desk.at_image(3, 20)
    page.locator("#work-note", has_text="in 02.png").wait_for()
    third = desk.names()
    desk.press("]")  # 4: labeled by a key
    desk.press("1")
    desk.edits(1)
    desk.press("]")
    desk.press("v")
    desk.press("2")  # 5: labeled by a key
    desk.edits(2)
    page.click(f"{CV} [data-tool=brush]")
    desk.drag((20, 20), (60, 24))
    page.locator(".cv-status", has_text="Changed the mask").wait_for()
    brushed = desk.found()
    page.reload()
    desk.ready()
    desk.at_image(3, 20)
    assert desk.names() == [each["label"] for each in brushed]
    assert desk.found() == brushed
    assert len(brushed) == len(third) and {WORDS[0], WORDS[1]} <= set(desk.names())

    desk.press("a")
    desk.at_image(2, 20)
    assert desk.names() == second
    page.go_back()
    desk.at_image(3, 20)
    with page.expect_download() as waiting:
        page.click("#folder-export")
    with zipfile.ZipFile(waiting.value.path()) as archive:
        names = yaml.safe_load(archive.read("data.yaml"))["names"]
        lines = {
            Path(each).stem: archive.read(each).decode().splitlines()
            for each in archive.namelist()
            if each.startswith("labels/") and each.endswith(".txt")
        }
    assert list(names.values())[: len(WORDS)] == WORDS
    exported = {stem: [names[int(line.split()[0])] for line in texts] for stem, texts in lines.items()}
    assert exported == {"00": accepted, "01": second, "02": [each["label"] for each in brushed]}
    run = openvocab.read_run(tmp_path / "scenes-run")
    assert [(row.corrected, row.reviewed) for row in run] == [(False, True), (True, False), (True, False)]


def test_prompts_without_an_object_are_not_dropped_without_asking(open_folder):
    desk = open_folder(2)
    said: list[str] = []

    def answer(asked: Any) -> None:
        said.append(asked.message)
        asked.dismiss() if len(said) == 1 else asked.accept()

    desk.page.on("dialog", answer)
    desk.click(inside(SCENES[0], "tent"))
    desk.press("d")
    desk.page.wait_for_timeout(300)
    desk.at_image(1, 2)
    assert desk.page.locator(f"{CV} .cv-choices button").count() == 3
    desk.press("d")
    desk.at_image(2, 2)
    assert len(said) == 2 and all("not added" in each for each in said)


def test_two_windows_edit_the_same_image(open_folder, browser):
    desk = open_folder(2)
    desk.click(inside(SCENES[0], "tent"))
    desk.accept("one")
    other = Desk(desk.page.context.new_page(), desk.page.url)
    assert other.names() == ["one"]
    other.click(inside(SCENES[0], "light bulb"))
    other.accept("two", 2)
    desk.page.locator(".cv-objects [data-part=delete]").first.click()
    desk.edits(2)
    assert desk.names() == ["two"]


def test_phones_show_the_strip_and_scroll_to_the_image(open_folder):
    desk = open_folder(3, width=390)
    desk.page.click("[data-go=next]")
    desk.at_image(2, 3)
    assert desk.page.evaluate("document.documentElement.scrollWidth") == 390
    box = desk.page.locator(f"{CV} .cv-stage").bounding_box()
    assert 0 <= box["y"] < 450


def test_keys_after_a_run_act_on_the_image_and_two_steps_are_two_images(open_folder):
    desk = open_folder(4)
    page = desk.page
    desk.run(["tent"])
    page.keyboard.press("d")
    page.keyboard.press("d")
    desk.at_image(3, 4)
    assert page.locator("#work-labels textarea").input_value() == "tent"
    page.keyboard.press("l")
    page.keyboard.type(", crab")
    page.keyboard.press("Enter")
    page.locator(".cv-words button", has_text="crab").wait_for()
    page.keyboard.press("d")
    page.keyboard.press("d")
    page.keyboard.press("d")
    desk.at_image(4, 4)
    page.keyboard.press("a")
    desk.at_image(3, 4)


def test_the_status_that_arrives_after_a_run_overtakes_no_step_that_waits(open_folder, monkeypatch):
    from openvocab.ui.web.strip.handlers import StripHandlers

    refresh, go = StripHandlers.refresh, StripHandlers.go
    refreshed, went, steps = threading.Event(), threading.Event(), []

    @wraps(refresh)
    def late_refresh(*inputs: Any) -> Any:
        refreshed.wait(20)
        return refresh(*inputs)

    @wraps(go)
    def late_go(*inputs: Any) -> Any:
        steps.append(inputs)
        if len(steps) > 1:  # the first opens the folder
            went.wait(20)
        yield from go(*inputs)

    monkeypatch.setattr(StripHandlers, "refresh", late_refresh)
    monkeypatch.setattr(StripHandlers, "go", late_go)
    desk = open_folder(2)
    page = desk.page
    desk.run(["tent"])
    page.keyboard.press("d")
    page.keyboard.press("d")
    refreshed.set()
    page.wait_for_timeout(500)
    page.keyboard.press("a")
    went.set()
    desk.at_image(1, 2)
    page.wait_for_timeout(500)
    desk.at_image(1, 2)
    assert len(steps) == 4


def test_arrow_keys_move_in_the_strip_and_keep_the_focus(open_folder):
    desk = open_folder(3)
    desk.page.locator(".st-images button").first.focus()
    desk.page.keyboard.press("ArrowRight")
    desk.page.keyboard.press("Enter")
    desk.at_image(2, 3)
    focus = "document.activeElement.getAttribute('aria-label')"
    assert desk.page.evaluate(focus) == "01.png, new"
    desk.page.keyboard.press("ArrowLeft")
    assert desk.page.evaluate(focus) == "00.png, new"


def test_an_uploaded_zip_is_worked_through_and_nothing_is_dropped_without_asking(page, tmp_path):
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for number, scene in enumerate(SCENES[:3]):
            archive.write(scene.path, f"set/{number}.png")
        archive.writestr("set/notes.txt", "a")
    said: list[str] = []

    def answer(asked: Any) -> None:
        said.append(asked.message)
        asked.accept() if asked.type == "beforeunload" else asked.dismiss()

    page.on("dialog", answer)
    desk = Uploaded(page, tmp_path / "set.zip")
    desk.at_image(1, 4)
    assert page.locator(".st-kept").is_visible() and desk.status(4) == "error"
    desk.run(["tent", "light bulb"])
    page.locator(".cv-objects [data-part=delete]").first.click()
    desk.edits(1)
    desk.press("d")
    desk.at_image(2, 4)
    page.wait_for_selector('.st-images button:nth-child(2)[data-status="answered"]')
    page.reload()
    desk.ready()
    desk.at_image(2, 4)
    assert [desk.status(number) for number in (1, 2, 3)] == ["corrected", "answered", "new"]
    page.click("#work-files")
    assert said[-1].startswith("Your corrections of the uploaded images")
    with page.expect_download() as waiting:
        page.click("#folder-export")
    with zipfile.ZipFile(waiting.value.path()) as archive:
        assert {"labels/0.txt", "labels/1.txt"} <= set(archive.namelist())
    page.wait_for_selector(f'{CV}[data-unsaved="no"]')
    count = len(said)
    with page.expect_file_chooser() as chooser:
        page.click("#work-files")
    chooser.value.set_files([str(SCENES[4].path), str(SCENES[5].path)])
    desk.at_image(1, 2)
    page.wait_for_selector('.st-images button:nth-child(1)[data-status="answered"]')
    assert len(said) == count


def test_the_download_of_a_folder_goes_on_when_it_is_uploaded_again(page, tmp_path):
    desk = Uploaded(page, *sorted(save_scenes(tmp_path / "scenes", 2).iterdir()))
    desk.at_image(1, 2)
    desk.run(["tent", "light bulb"])
    page.locator(".cv-objects [data-part=delete]").first.click()
    desk.edits(1)
    kept = desk.names()
    desk.press("r")
    desk.at_image(2, 2)
    page.locator("#folder-format input").click()
    page.get_by_role("option", name="Images, answers and corrections, to go on later").click()
    with page.expect_download() as waiting:
        page.click("#folder-export")
    waiting.value.save_as(tmp_path / "images-run.zip")
    page.wait_for_selector(f'{CV}[data-unsaved="no"]')
    page.goto(page.url.split("?")[0])
    again = Uploaded(page, tmp_path / "images-run.zip")
    again.at_image(2, 2)
    assert again.status(1) == "reviewed"
    assert page.locator("#work-labels textarea").input_value() == "tent, light bulb"
    again.press("a")
    again.at_image(1, 2)
    assert again.names() == kept and again.get("edits") == "1"
