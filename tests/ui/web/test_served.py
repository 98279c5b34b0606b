"""A served folder without a browser: its images, what is kept in the run, and that nothing else is reachable."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image

import openvocab
from openvocab.batch.corrections.folder import correction_file
from openvocab.batch.review import review
from openvocab.batch.rows import Row
from openvocab.errors import BadInput, CannotWrite, ImageError
from tests.ui.web.payloads import TRAVERSALS

pytest.importorskip("gradio")

from openvocab.ui.web.context import Context
from openvocab.ui.web.served.folder import ServedFolder, default_run, serving
from openvocab.ui.web.served.imports import import_labels
from openvocab.ui.web.strip.handlers import StripHandlers
from openvocab.ui.web.workspace_handlers import SLIDERS, WorkspaceHandlers

SCENES = openvocab.example_scenes()
WORDS = ", ".join(SCENES[0].labels)
POINT = [{"kind": "point", "at": [96, 59], "inside": True}]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Three scenes, one of them in a folder below, and a file that is no image."""
    folder = tmp_path / "scenes"
    (folder / "below").mkdir(parents=True)
    for scene, name in zip(SCENES, ("a.png", "b.png", "below/c.png"), strict=False):
        (folder / name).write_bytes(scene.path.read_bytes())
    (folder / "broken.png").write_text("no image")
    return folder


class Page:
    """The handlers of a page that serves a folder."""

    def __init__(self, server: Any, served: ServedFolder) -> None:
        self.served = served
        self.context = Context(server.context.models, served=served)
        self.workspace = WorkspaceHandlers(self.context)
        self.strip = StripHandlers(self.context, self.workspace)
        self.sliders = self.workspace.defaults("pocket")
        self.token: str | None = None
        self.at = ""

    def go(self, do: str, words: str = "", **more: Any) -> dict[str, Any]:
        event = SimpleNamespace(**{"do": do, "serial": 1, "order": "name", "at": self.at, "key": "", **more})
        values = list(self.strip.go(self.token, words, "pocket", event, *self.sliders))  # type: ignore[arg-type]
        tokens = [each[3] for each in values if each[3] is None or isinstance(each[3], str)]
        self.token = tokens[-1] if tokens else self.token
        shown: dict[str, Any] = values[-1][0]
        self.at, self.note = shown["at"], values[-1][2]
        return shown

    def act(self, do: str, **more: Any) -> dict[str, Any]:
        call = self.workspace.act if do in ("segment", "accept", "box") else self.workspace.edit
        reply = call(self.token, SimpleNamespace(**{"serial": 1, "do": do, **more}))  # type: ignore[arg-type]
        assert not reply.get("failed"), reply
        return reply

    def key(self, name: str) -> str:
        return next(each.key for each in self.served.entries if each.name == name)


@pytest.fixture
def page(server: Any, images: Path) -> Any:
    with serving(images, None, 10**7) as served:
        yield Page(server, served)


def labels_of(row: Row) -> tuple[str, ...]:
    return () if row.detections is None else row.detections.labels


def statuses(shown: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["status"] for each in shown["images"]}


def test_what_is_found_and_corrected_is_in_the_run_at_once(page, images):
    page.go("open", WORDS, key=page.key("a.png"))
    found = [each.label for each in page.context.workspaces.get(page.token).objects()]
    assert set(found) <= set(SCENES[0].labels) and len(found) >= 3
    run = openvocab.read_run(page.served.run)
    assert (run.labels, labels_of(run[0]), run[0].corrected) == (SCENES[0].labels, tuple(found), False)
    first = page.context.workspaces.get(page.token).objects()[0]
    page.act("remove", key=first.key)
    page.act("accept", prompts=POINT, choice=0, name="my tent")
    row = openvocab.read_run(page.served.run)[0]
    assert labels_of(row) == (*found[1:], "my tent") and row.corrected
    kept = json.loads(correction_file(page.served.run, str(images / "a.png")).read_text("utf-8"))
    assert [each["label"] for each in kept["found"]] == found
    assert statuses(page.go("order")) == {
        "a.png": "corrected",
        "b.png": "new",
        "below/c.png": "new",
        "broken.png": "new",
    }


def test_a_page_that_starts_anew_has_the_same_objects_and_keys(page, server):
    page.go("open", WORDS, key=page.key("a.png"))
    page.act("remove", key=page.context.workspaces.get(page.token).objects()[0].key)
    page.act("accept", prompts=POINT, choice=1, name="tent")
    page.go("review")
    before = page.context.workspaces.served(page.key("a.png"))[0]
    again = Page(server, ServedFolder(page.served.folder, page.served.run, 10**7))
    again.served.refresh()
    assert again.served.status(again.key("a.png")) == "reviewed"
    assert again.go("open", key="", first=True)["name"] == "b.png"
    after = again.context.workspaces.served(again.key("a.png"))[0]
    assert [(each.key, each.label, each.mask) for each in after.objects()] == [
        (each.key, each.label, each.mask) for each in before.objects()
    ]
    assert after.result().detections == before.result().detections.encoded()
    assert after.add(np.ones(after.size, bool), 0.5, "x").objects()[-1].key == "added-2"


def test_a_correction_keeps_what_verification_rejected(page, server):
    page.sliders[list(SLIDERS).index("box_threshold")] = 0.2  # lets in boxes to reject
    page.go("open", "pocket", key=page.key("b.png"))
    before = page.context.workspaces.get(page.token).raw().rejected
    page.act("remove", key=page.context.workspaces.get(page.token).objects()[0].key)
    (row,) = openvocab.read_run(page.served.run)
    assert len(before) and row.corrected and row.rejected is not None
    again = Page(server, ServedFolder(page.served.folder, page.served.run, 10**7))
    again.go("open", key=page.key("b.png"))
    for after in (row.rejected, again.context.workspaces.served(again.key("b.png"))[0].raw().rejected):
        assert (after.labels, after.data) == (before.labels, before.data)


def test_a_rejected_box_that_is_brought_back_is_in_the_run_and_its_exports(server, images, tmp_path):
    (images / "d.png").write_bytes(SCENES[3].path.read_bytes())
    with serving(images, None, 10**7) as served:
        page = Page(server, served)
        page.sliders[list(SLIDERS).index("box_threshold")] = 0.3  # lets in boxes to reject
        page.go("open", "pocket", key=page.key("d.png"))
        before = page.context.workspaces.get(page.token).rejected()
        rejected, other = next((each, label) for each in before if (label := each.verdict.looks_like))
        left = [each["key"] for each in page.act("restore", key=rejected.key, relabel=True)["rejected"]]
        assert left == [each.key for each in before if each is not rejected]
        page.go("review")
        again = Page(server, ServedFolder(images, served.run, 10**7))
    (row,) = openvocab.read_run(served.run)
    assert row.detections is not None and row.corrected and row.reviewed
    (at,) = np.flatnonzero((row.detections.xyxy == np.array(rejected.xyxy, np.float32)).all(1))
    assert row.detections.labels[at] == other
    openvocab.export(openvocab.read_run(served.run), tmp_path / "coco.json", "coco")
    coco = json.loads((tmp_path / "coco.json").read_text("utf-8"))
    names = {each["id"]: each["name"] for each in coco["categories"]}
    assert [names[each["category_id"]] for each in coco["annotations"]] == list(row.detections.labels)
    after = again.context.workspaces.served(again.key("d.png"))[0]
    assert [each.key for each in after.rejected()] == left and rejected.key in [each.key for each in after.objects()]
    assert [each.key for each in after.remove(rejected.key).rejected()] == [each.key for each in before]


def test_evicted_images_are_opened_again(page):
    page.go("open", key=page.key("a.png"))
    page.act("accept", prompts=POINT, choice=0, name="tent")
    page.context.workspaces._store.discard(page.token)
    assert [each["label"] for each in page.act("clean", key="added-1")["objects"]] == ["tent"]


def test_next_previous_and_review_go_through_the_images(page):
    assert page.go("open", key="", first=True)["name"] == "a.png"
    assert page.go("previous")["name"] == "a.png"
    assert page.go("next")["name"] == "b.png"
    assert page.go("review")["name"] == "below/c.png"
    assert page.go("previous")["name"] == "b.png"
    assert statuses(page.go("review"))["b.png"] == "answered"
    assert page.go("next")["name"] == "below/c.png"
    assert page.go("next")["name"] == "broken.png"
    assert "broken.png" in page.note["text"] and page.note["wrong"]
    assert page.go("previous")["name"] == "below/c.png"


def test_a_run_is_worked_through_in_the_order_of_doubt(server, images, tmp_path):
    run = tmp_path / "run"
    with server.context.models.using() as pipe:
        pipe.run_to(run, str(images), ["corn", "piano", "tent"])
    before = [row.detections for row in openvocab.read_run(run)]
    with serving(run, None, 10**7) as served:
        page = Page(server, served)
        shown = page.go("open", key="", first=True, order="doubt")
        assert (served.run, statuses(shown)["broken.png"]) == (run.resolve(), "error")
        assert [each["name"] for each in shown["images"]] == [
            *(Path(each.id).name for each in review(openvocab.read_run(run))),
            "broken.png",
        ]
        page.go("open", key=page.key("b.png"))
        assert len(page.context.workspaces.get(page.token).objects()) == len(before[1] or ())
        assert page.go("review")["counts"] == {"reviewed": 1, "answered": 2, "error": 1}
    assert [row.detections for row in openvocab.read_run(run, corrected=False)] == before
    assert [row.reviewed for row in openvocab.read_run(run)] == [False, True, False, False]


def test_words_of_the_run_fill_the_field(page, server):
    page.go("open", "tent, my thing", key=page.key("a.png"))
    again = ServedFolder(page.served.folder, page.served.run, 10**7)
    assert again.words() == "tent, my thing"


@pytest.mark.parametrize("name", ["", "x", *TRAVERSALS])
def test_no_other_file_is_reachable(page, name):
    assert "not in the served folder" in page_note(page, name)
    with pytest.raises(BadInput, match="not in the served folder"):
        page.served.thumbnail(name)


def test_thumbnails_are_served_and_nothing_else_is(page, server):
    import httpx

    from openvocab.ui.web.server import ServerOptions, run_server

    with run_server(page.context, ServerOptions(port=0)) as made, httpx.Client(base_url=made.url) as client:
        answer = client.get(f"/folder/thumbnail/{page.key('a.png')}")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
        assert client.get(f"/folder/thumbnail/{page.key('broken.png')}").status_code == 422
        assert client.get("/strip/strip.js").status_code == 200
        for name in ("0" * 24, "x", "handlers.py", *(quote(each, safe="") for each in TRAVERSALS)):
            assert client.get(f"/folder/thumbnail/{name}").status_code in (400, 404), name
            script = client.get(f"/strip/{name}")
            assert script.status_code in (400, 404) or "<gradio-app" in script.text, name


def test_thumbnails_need_the_login(page):
    import httpx

    from openvocab.ui.web.server import ServerOptions, run_server

    options = ServerOptions(port=0, accounts=(("user", "word"),))
    with run_server(page.context, options) as made:
        assert httpx.get(f"{made.url}/folder/thumbnail/{page.key('a.png')}").status_code == 401


def page_note(page: Page, name: str) -> str:
    page.go("open", key=name or "0" * 24)
    return str(page.note["text"])


def test_links_out_of_the_folder_are_refused(server, images):
    (images / "link.png").symlink_to(SCENES[3].path)
    with serving(images, None, 10**7) as served:
        page = Page(server, served)
        page.go("open", key=page.key("link.png"))
        assert "link out of the served folder" in page.note["text"]
        with pytest.raises(BadInput, match="link out of"):
            served.thumbnail(page.key("link.png"))


def test_images_of_a_run_that_have_changed_are_refused(server, images, tmp_path):
    with server.context.models.using() as pipe:
        pipe.run_to(tmp_path / "run", str(images), ["tent"])
    Image.new("RGB", (9, 9)).save(images / "a.png")
    with serving(tmp_path / "run", None, 10**7) as served:
        page = Page(server, served)
        page.go("open", key=page.key("a.png"))
        assert "has changed" in page.note["text"]
        with pytest.raises(ImageError, match="has changed"):
            served.thumbnail(page.key("a.png"))


def test_a_correction_that_cannot_be_written_changes_nothing(page, monkeypatch):
    page.go("open", key=page.key("a.png"))

    def full(*_: object) -> None:
        raise CannotWrite("the disk is full; make room")

    monkeypatch.setattr("openvocab.ui.web.served.folder.write_correction", full)
    event = SimpleNamespace(serial=1, do="accept", prompts=POINT, choice=0, name="tent")
    reply = page.workspace.act(page.token, event)
    assert reply["failed"] and "disk is full" in reply["note"]
    assert page.context.workspaces.get(page.token).objects() == ()
    page.go("review")
    assert page.served.status(page.key("a.png")) == "new"


@pytest.mark.parametrize("kind", ["coco", "yolo"])
def test_labels_of_other_tools_are_imported_as_answers(page, server, tmp_path, kind):
    with server.context.models.using() as pipe:
        made = [pipe(page.served.folder / name, ["tent", "corn"]) for name in ("a.png", "b.png")]
    if kind == "coco":
        openvocab.export(made, tmp_path / "l.json", "coco", labels=["tent", "corn"], relative_to=page.served.folder)
        count = import_labels(page.served, str(tmp_path / "l.json"))
    else:
        openvocab.export(made, tmp_path / "l", "yolo-seg", labels=["tent", "corn"])
        (page.served.folder / "broken.png").unlink()
        yaml = (tmp_path / "l" / "data.yaml").read_text("utf-8").replace("images", str(page.served.folder))
        for text in (tmp_path / "l" / "labels").glob("*.txt"):
            (page.served.folder / text.name).write_bytes(text.read_bytes())
        (tmp_path / "data.yaml").write_text(yaml, "utf-8")
        count = import_labels(page.served, str(tmp_path / "data.yaml"))
    assert count >= 2
    assert page.served.status(page.key("a.png")) == "answered"
    page.go("open", key=page.key("a.png"))
    objects = page.context.workspaces.get(page.token).objects()
    assert sorted(each.label for each in objects) == sorted(made[0].detections.labels)
    assert page.served.words() == "tent, corn"
    assert import_labels(page.served, str(tmp_path / ("l.json" if kind == "coco" else "data.yaml"))) == 0


def test_labels_of_other_images_are_refused(page, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x.png").write_bytes(SCENES[0].path.read_bytes())
    plain = {"images": [{"id": 1, "file_name": "x.png", "width": 256, "height": 256}], "annotations": []}
    (tmp_path / "l.json").write_text(json.dumps({**plain, "categories": [{"id": 1, "name": "cat"}]}))
    with pytest.raises(BadInput, match="no image"):
        import_labels(page.served, str(tmp_path / "l.json"))


def test_a_second_page_on_the_same_run_is_refused(page, images):
    with pytest.raises(CannotWrite, match="is being written by process"), serving(images, None, 10**7):
        pass


@pytest.mark.parametrize(
    ("make", "words"),
    [
        pytest.param(lambda top: top / "none", "is not a folder", id="no folder"),
        pytest.param(lambda top: top, "there is no image", id="no image"),
    ],
)
def test_folders_that_cannot_be_served(tmp_path, make, words):
    folder = tmp_path / "empty"
    folder.mkdir()
    with pytest.raises(BadInput, match=words), serving(make(folder), None, 10**7):
        pass


def test_the_run_of_a_folder_is_beside_it(images, tmp_path):
    assert default_run(images) == tmp_path / "scenes-run"


def test_the_folder_is_exported_with_corrections(page, tmp_path):
    import zipfile

    page.go("open", WORDS, key=page.key("a.png"))
    page.act("accept", prompts=POINT, choice=0, name="zebra")
    path, _ = page.strip.export("yolo-seg", {"at": page.at})
    with zipfile.ZipFile(path) as archive:
        names = archive.read("data.yaml").decode()
        lines = archive.read("labels/a.txt").decode().splitlines()
    assert names.index("tent") < names.index("zebra")
    assert lines[-1].startswith(f"{len(SCENES[0].labels)} ")
    for kind in ("parquet", "../x"):
        with pytest.raises(openvocab.errors.UnknownName):
            page.strip.export(kind, {"at": page.at})
