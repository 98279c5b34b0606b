"""The action batch through the API, and the tab in a browser."""

from __future__ import annotations

import csv
import io
import json
import os
import time
import zipfile
from pathlib import Path

import pytest

import openvocab

SCENES = openvocab.example_scenes()[:3]
LABELS = ", ".join(dict.fromkeys(label for scene in SCENES for label in scene.labels))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A zip of three scenes with a broken image, a name that leaves it and a file that is no image."""
    path = tmp_path_factory.mktemp("batch") / "images.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for scene in SCENES:
            archive.write(scene.path, f"in/{scene.path.name}")
        archive.writestr("in/broken.png", SCENES[0].path.read_bytes()[:500])
        archive.writestr("../evil.png", b"")
        archive.writestr("readme.txt", b"")
    return str(path)


@pytest.fixture
def batch(client):
    """Call the action: batch(*paths, **options) -> the summary, and the zip as name -> bytes."""
    from gradio_client import handle_file

    def batch(*paths, labels=LABELS, **options):
        summary, path = client.predict([handle_file(each) for each in paths], labels, api_name="/batch", **options)
        with zipfile.ZipFile(path) as archive:
            return summary, {name: archive.read(name) for name in archive.namelist()}

    return batch


def test_a_batch_is_a_run_folder_with_its_errors(batch, images, tmp_path):
    summary, files = batch(images)
    assert {name: summary[name] for name in ("status", "total", "done", "ok")} == {
        "status": "done",
        "total": 5,
        "done": 5,
        "ok": 3,
    }
    assert [(error["name"], error["kind"]) for error in summary["errors"]] == [
        ("in/broken.png", "truncated"),
        ("../evil.png", "unreadable"),
    ]
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    run = openvocab.read_run(tmp_path / "run")
    assert [row.id for row in run] == [*(f"in/{scene.path.name}" for scene in SCENES), "in/broken.png", "../evil.png"]
    assert "/tmp" not in (tmp_path / "run" / "run.json").read_text("utf-8")


def test_rows_equal_the_results_of_the_pipeline(batch, server):
    with server.context.models.using() as pipe:
        expected = [pipe(scene.path, LABELS.split(", ")) for scene in SCENES]
    _, files = batch(*(str(scene.path) for scene in SCENES), format="jsonl")
    rows = [json.loads(line) for line in files["rows.jsonl"].splitlines()]
    assert [[tag["label"] for tag in row["tags"]] for row in rows] == [
        [t.label for t in each.tags] for each in expected
    ]
    assert [len(row["detections"]) for row in rows] == [len(each.detections) for each in expected]


@pytest.mark.parametrize(
    ("form", "name"),
    [
        ("coco", "coco.json"),
        ("yolo", "data.yaml"),
        ("yolo-seg", "data.yaml"),
        ("voc", "labels.json"),
        ("labelme", "images.jsonl"),
        ("cvat", "annotations.xml"),
        ("label-studio", "tasks.json"),
        ("instance-masks", "images.jsonl"),
        ("semantic-masks", "values.json"),
        ("csv", "table.csv"),
    ],
)
def test_every_format_is_exported(batch, form, name):
    summary, files = batch(str(SCENES[0].path), format=form, draw=form == "coco")
    assert (summary["ok"], name in files) == (1, True)
    assert any(each.startswith("images/") for each in files) == (form == "coco")
    assert not any(
        b"/tmp/" in data for each, data in files.items() if each.endswith((".json", ".jsonl", ".yaml", ".csv"))
    )


def test_the_task_tag_writes_tags_only(batch, server):
    before = server.context.models.calls["detector.detect"]
    _, files = batch(str(SCENES[0].path), task="tag", format="csv")
    rows = list(csv.DictReader(io.StringIO(files["table.csv"].decode())))
    assert {row["kind"] for row in rows} <= {"tag"} and rows
    assert server.context.models.calls["detector.detect"] == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        pytest.param({"labels": ""}, "there are no labels", id="no labels"),
        pytest.param({"labels": "a\0b"}, "control", id="a label that cannot be one"),
        pytest.param({"template": "a photo"}, "label", id="template without a place"),
        pytest.param({"template": "{label.__class__}"}, "label", id="template with another"),
    ],
)
def test_invalid_requests_are_one_sentence(batch, options, words):
    from gradio_client.exceptions import AppError

    with pytest.raises(AppError, match=words) as report_errors:
        batch(str(SCENES[0].path), **options)
    assert "Traceback" not in str(report_errors.value) and "\n" not in str(report_errors.value)


def folders():
    return set(Path(os.environ.get("TMPDIR", "/tmp")).glob("openvocab-batch-*"))


def test_a_canceled_batch_frees_the_models_and_deletes_its_files(client, server, tmp_path):
    from gradio_client import handle_file

    many = tmp_path / "many.zip"
    with zipfile.ZipFile(many, "w") as archive:
        for number in range(150):
            archive.write(SCENES[number % 3].path, f"{number}.png")
    before = folders()
    job = client.submit([handle_file(str(many))], LABELS, api_name="/batch")
    _until(lambda: job.outputs() and job.outputs()[-1][0]["done"] > 0)
    job.cancel()
    _until(lambda: folders() <= before)
    calls = dict(server.context.models.calls)
    assert job.outputs()[-1][0]["done"] < 150
    time.sleep(0.5)
    assert dict(server.context.models.calls) == calls


def _until(true, seconds=60):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_batch_in_the_browser(page, images, tmp_path):
    page.get_by_role("tab", name="Batch").click()
    view = page.locator("#batch-view")
    assert "Choose images or a zip file" in view.inner_text()
    page.locator("#batch-files input[type=file]").set_input_files(images)
    page.locator("#batch-labels textarea").fill(LABELS)
    page.locator("#batch-files .file-preview").wait_for()
    page.locator("#batch-run").click()
    page.locator("#batch-get").wait_for()
    assert view.get_by_role("status").inner_text().startswith("Done. 5 of 5 images, 2 errors")
    cells = view.locator("tbody tr").first.locator("td").all_inner_texts()
    assert cells[:2] == ["in/broken.png", "truncated"] and "in/broken.png" in cells[2]
    with page.expect_download() as got:
        page.locator("#batch-get").click()
    got.value.save_as(tmp_path / "run.zip")
    assert "run/run.json" in zipfile.ZipFile(tmp_path / "run.zip").namelist()


def test_without_an_image_the_page_explains_what_to_do(page):
    page.get_by_role("tab", name="Batch").click()
    page.locator("#batch-labels textarea").fill("dog")
    page.locator("#batch-run").click()
    page.get_by_text("there is no image; choose images or a zip file").wait_for()
