"""Scripts as labels, file names and member names in every tab: they stay texts."""

from __future__ import annotations

import json
import zipfile

import pytest

import openvocab
from openvocab.errors import BadInput
from tests.ui.web.payloads import SCRIPTS

pytestmark = pytest.mark.filterwarnings("ignore::openvocab.errors.OpenVocabWarning")  # scripts are long labels
SCENE = openvocab.example_scenes()[0]


def usable(text):
    try:
        return bool(openvocab.read_labels([text]))
    except BadInput:
        return False


# The number comes first, since the tagger reads 32 tokens and refuses labels that are the same up to there.
LABELS = [f"{number} {text}" for number, text in enumerate(SCRIPTS) if usable(text)]


def test_there_are_fifty_scripts_and_most_can_be_labels():
    assert len(set(SCRIPTS)) >= 50
    assert len(LABELS) >= 48


@pytest.fixture
def quiet(page):
    """The page; at the end no script of a payload ran, and no dialog was opened."""
    dialogs = []

    def dismiss(dialog):
        dialogs.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", dismiss)
    yield page
    page.wait_for_timeout(500)
    assert page.evaluate("window.__xss") is None
    assert dialogs == []


def slide(page, name, value):
    field = page.locator(f"#work-{name} input[type=range]")
    field.evaluate("(e, v) => { e.value = v; e.dispatchEvent(new Event('input', {bubbles: true})); }", str(value))


def files(names, data):
    return [{"name": name, "mimeType": "image/png", "buffer": data} for name in names]


def test_workspace(quiet):
    image = files([f"{LABELS[4]}.png"], SCENE.path.read_bytes())
    quiet.locator("#work-image input[type=file]").first.set_input_files(image)
    quiet.locator("#work-image img").wait_for()
    quiet.locator("#work-labels textarea").fill(json.dumps([*SCENE.labels, *LABELS]))
    quiet.locator("#work-run").click()
    quiet.locator("#work-note", has_text="detections in").wait_for()
    slide(quiet, "tag-threshold", 0)
    quiet.wait_for_function("n => document.querySelectorAll('.cv-tags li').length > n", arg=len(SCENE.labels))
    quiet.locator(".cv-objects input[type=text]").first.fill(LABELS[3])
    quiet.keyboard.press("Enter")
    quiet.wait_for_selector('.cv[data-edits="1"]')


def test_workspace_shows_errors_as_text(quiet):
    quiet.locator("#work-image input[type=file]").first.set_input_files(files([f"{LABELS[4]}.png"], b"no image"))
    quiet.locator("#work-labels textarea").fill(json.dumps(LABELS))
    quiet.locator("#work-run").click()
    quiet.get_by_text("is not an image in a known format").first.wait_for()


def test_tag(quiet):
    quiet.get_by_role("tab", name="Tag").click()
    quiet.locator("#tag-images input[type=file]").set_input_files(
        [*files([f"{each}.png" for each in LABELS[:25]], SCENE.path.read_bytes()), *files(LABELS[25:], b"no image")]
    )
    quiet.locator("#tag-images .file-preview").wait_for()
    quiet.locator("#tag-labels textarea").fill(json.dumps(LABELS))
    quiet.locator("#tag-run").click()
    quiet.wait_for_function(
        "n => document.querySelectorAll('#tag-cards article').length === n", arg=len(LABELS), timeout=60_000
    )


def test_batch(quiet, tmp_path):
    path = tmp_path / "scripts.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for text in SCRIPTS:
            archive.writestr(f"{text}.png", b"no image")
    quiet.get_by_role("tab", name="Batch").click()
    quiet.locator("#batch-files input[type=file]").set_input_files(str(path))
    quiet.locator("#batch-files .file-preview").wait_for()
    quiet.locator("#batch-labels textarea").fill(json.dumps(LABELS))
    quiet.locator("#batch-run").click()
    quiet.locator("#batch-get").wait_for()
    assert quiet.locator("#batch-view tbody tr").count() == len(SCRIPTS)
