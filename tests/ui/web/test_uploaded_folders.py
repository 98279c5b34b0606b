"""Uploaded images and archives as a folder to work through: what is refused, what is kept, and when it is deleted."""

from __future__ import annotations

import json
import os
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest

import openvocab
from openvocab.batch.corrections.folder import correction_file
from openvocab.errors import BadInput, ImageError
from tests.ui.web.payloads import TRAVERSALS
from tests.ui.web.test_collect import bomb, cut, png, zipped

pytest.importorskip("gradio")

from openvocab.ui.web.context import Context, Limits
from openvocab.ui.web.served.folder import ServedFolder, serving
from openvocab.ui.web.strip.handlers import StripHandlers
from openvocab.ui.web.uploads.folders import UploadedFolders
from openvocab.ui.web.uploads.resume import _covered
from openvocab.ui.web.workspace_handlers import WorkspaceHandlers

SCENES = openvocab.example_scenes()
WORDS = ", ".join(SCENES[0].labels)
POINT = [{"kind": "point", "at": [96, 59], "inside": True}]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Two scenes, a name that leaves the folder, a text, and two files that are no images inside."""
    scenes = [(f"set/{number}.png", scene.path.read_bytes()) for number, scene in enumerate(SCENES[:2])]
    others = [("../out.png", png()), ("notes.txt", b"a"), ("broken.png", b"no image"), ("z-cut.png", png()[:45])]
    zipped(tmp_path / "set.zip", *scenes, *others)
    return tmp_path / "set.zip"


class Uploader:
    """The handlers of a page to which files are uploaded."""

    def __init__(self, server: Any, into: Path, monkeypatch: pytest.MonkeyPatch, **limits: int) -> None:
        monkeypatch.setenv("GRADIO_TEMP_DIR", str(into))
        self.into, self.context = into, Context(server.context.models, Limits(**limits))
        self.workspace = WorkspaceHandlers(self.context)
        self.strip = StripHandlers(self.context, self.workspace)
        self.sliders = self.workspace.defaults("pocket")
        self.token: str | None = None
        self.shown: dict[str, Any] = {}
        self.note: dict[str, Any] = {}

    def upload(self, *files: Path) -> dict[str, Any]:
        self.shown, self.note = self.strip.upload([str(each) for each in files])
        return self.shown

    def go(self, do: str, words: str = "", **more: Any) -> dict[str, Any]:
        at = self.shown.get("at", "")
        event: Any = SimpleNamespace(**{"do": do, "serial": 1, "order": "name", "at": at, "key": "", **more})
        for shown, _, note, token, *_ in self.strip.go(self.token, words, "pocket", event, *self.sliders):
            self.shown = shown if "images" in shown else self.shown
            self.note = note if "text" in note else self.note
            self.token = token if token is None or isinstance(token, str) else self.token
        return self.shown

    def edit(self, do: str, **more: Any) -> dict[str, Any]:
        call = self.workspace.act if do == "accept" else self.workspace.edit
        event: Any = SimpleNamespace(serial=1, do=do, **more)
        return call(self.token, event)

    def tops(self) -> list[Path]:
        return sorted(self.into.glob("folder-*"))


@pytest.fixture
def page(server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Uploader:
    return Uploader(server, tmp_path / "uploads", monkeypatch)


def statuses(shown: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["status"] for each in shown["images"]}


def test_every_member_is_one_row_and_what_is_refused_says_why(page, archive):
    shown = page.upload(archive)
    assert statuses(shown) == {
        "z-cut.png": "new",
        "set/0.png": "new",
        "set/1.png": "new",
        "../out.png": "error",
        "broken.png": "error",
        "notes.txt": "error",
    }
    reasons = {each["name"]: each.get("error") for each in shown["images"]}
    assert "points outside its archive" in reasons["../out.png"]
    assert "is not an image" in reasons["notes.txt"]
    assert "broken.png" in reasons["broken.png"]
    assert page.note["text"] == "3 of 6 files cannot be opened."
    key = next(each["key"] for each in shown["images"] if each["name"] == "notes.txt")
    page.go("open", key=key)
    assert page.note["wrong"] and page.note["text"] == reasons["notes.txt"]
    page.go("open", key=next(each["key"] for each in shown["images"] if each["name"] == "z-cut.png"))
    assert statuses(page.go("order"))["z-cut.png"] == "error"


def test_archives_that_are_refused_are_rows_beside_the_images(page, tmp_path):
    bomb(tmp_path / "bomb.zip")
    cut(tmp_path / "cut.zip")
    shown = page.upload(tmp_path / "bomb.zip", tmp_path / "cut.zip", Path(SCENES[0].path))
    reasons = {each["name"]: each.get("error", "") for each in shown["images"]}
    assert "over 100 times" in reasons["bomb.zip"] and "is truncated" in reasons["cut.zip"]
    assert [name for name, status in statuses(shown).items() if status == "new"] == [Path(SCENES[0].path).name]


@pytest.mark.parametrize("name", TRAVERSALS[:12], ids=ascii)
def test_names_of_members_leave_no_folder(page, tmp_path, name):
    shown = page.upload(zipped(tmp_path / "a.zip", (name, png()), ("fine.png", png())))
    assert statuses(shown)["fine.png"] == "new"
    (top,) = page.tops()
    assert all(each.resolve().is_relative_to(top.resolve()) for each in tmp_path.rglob("*.png"))


@pytest.mark.parametrize(
    ("make", "limits", "words"),
    [
        pytest.param(lambda path: zipped(path, ("a.txt", b"a")), {}, "there is no image in the upload", id="no image"),
        pytest.param(
            lambda path: zipped(path, *((f"{n}.png", png()) for n in range(3))), {"files": 2}, "more than 2", id="many"
        ),
        pytest.param(bomb, {}, "over 100 times its size", id="bomb"),
        pytest.param(lambda path: zipped(path, ("a.png", png())), {"stored_bytes": 1}, "no disk space", id="full"),
    ],
)
def test_an_upload_without_an_image_leaves_nothing(server, tmp_path, monkeypatch, make, limits, words):
    page = Uploader(server, tmp_path / "uploads", monkeypatch, **limits)
    make(tmp_path / "a.zip")
    page.upload(tmp_path / "a.zip")
    assert words in page.note["text"] and page.note["wrong"]
    assert page.tops() == [] and len(page.context.uploaded) == 0


def test_corrections_are_kept_exported_and_gone_on_with_elsewhere(page, archive, tmp_path, monkeypatch):
    page.go("open", WORDS, key=next(e["key"] for e in page.upload(archive)["images"] if e["name"] == "set/0.png"))
    assert page.shown["unsaved"] is False and statuses(page.shown)["set/0.png"] == "answered"
    assert not page.edit("accept", prompts=POINT, choice=0, name="my tent").get("failed")
    assert page.go("order")["unsaved"] is True
    path, shown = page.strip.export("yolo-seg", page.shown)
    assert shown["unsaved"] is False and shown["at"] == page.shown["at"]
    with zipfile.ZipFile(path) as made:
        assert len(made.read("labels/0.txt").splitlines()) == len(page.context.workspaces.get(page.token).objects())
    coco, _ = page.strip.export("coco", page.shown)
    with zipfile.ZipFile(coco) as made:
        plain = json.loads(made.read(made.namelist()[0]))
    assert [each["file_name"] for each in plain["images"]] == ["images/set/0.png"]
    whole, _ = page.strip.export("parquet", page.shown)
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path / "home")
    with zipfile.ZipFile(whole) as made:
        made.extractall()
    with serving(Path("images"), Path("run"), 10**7) as again:
        key = next(each.key for each in again.entries if each.name == "set/0.png")
        assert again.status(key) == "corrected"
        other = Context(page.context.models, served=again)
        assert [each.label for each in other.workspaces.served(key)[0].objects()] == [
            each.label for each in page.context.workspaces.get(page.token).objects()
        ]
    with pytest.raises(openvocab.errors.UnknownName):
        page.strip.export("../x", page.shown)


@pytest.fixture
def downloaded(page: Uploader, archive: Path) -> Path:
    """The download of a folder with a reviewed and a corrected image."""
    page.go("open", WORDS, key=key_of(page.upload(archive), "set/0.png"))
    page.go("review")
    page.go("open", WORDS, key=key_of(page.shown, "set/1.png"))
    assert not page.edit("accept", prompts=POINT, choice=0, name="my tent").get("failed")
    return Path(page.strip.export("parquet", page.shown)[0])


def key_of(shown: dict[str, Any], name: str) -> str:
    found: str = next(each["key"] for each in shown["images"] if each["name"] == name)
    return found


def objects_of(page: Uploader, name: str) -> list[Any]:
    found = page.context.workspaces.served(key_of(page.shown, name))[0]
    return [(each.key, each.label, each.mask, each.by_hand) for each in found.objects()]


def test_a_download_that_is_uploaded_again_goes_on_where_it_was(page, downloaded, server, tmp_path, monkeypatch):
    again = Uploader(server, tmp_path / "later", monkeypatch)
    shown = again.upload(downloaded)
    assert statuses(shown) == {"set/0.png": "reviewed", "set/1.png": "corrected", "z-cut.png": "new"}
    assert again.note["text"] == "" and shown["unsaved"] is False
    assert shown["start"] == key_of(shown, "set/1.png")
    for name in ("set/0.png", "set/1.png"):
        assert objects_of(again, name) == objects_of(page, name)
    again.go("open", key=shown["start"], first=True)
    assert not again.edit("undo").get("objects") and not again.edit("remove", key="added-1").get("failed")
    again.edit("undo")
    files = [one.strip.export("yolo-seg", one.shown)[0] for one in (page, again)]
    first, second = ({name: made.read(name) for name in made.namelist()} for made in map(zipfile.ZipFile, files))
    assert first == second
    third = Uploader(server, tmp_path / "third", monkeypatch)
    once_more = third.upload(Path(again.strip.export("parquet", again.shown)[0]))
    assert statuses(once_more) == statuses(shown)


@pytest.mark.parametrize(
    ("top", "begins", "known"),
    [
        pytest.param("images-run", "", True, id="in a folder"),
        pytest.param("a/b", "", True, id="in a folder of a folder"),
        pytest.param("run/images", "", True, id="in folders of the same names"),
        pytest.param(".", "./", True, id="as tar names members"),
        pytest.param("a", "", False, id="beside a text"),
    ],
)
def test_a_download_that_was_packed_again_is_known(downloaded, server, tmp_path, monkeypatch, top, begins, known):
    with zipfile.ZipFile(downloaded) as made:
        made.extractall(tmp_path / "home" / top)
    if not known:
        (tmp_path / "home" / "notes.txt").write_text("a")
    again = Uploader(server, tmp_path / "later", monkeypatch)
    files = [each for each in sorted((tmp_path / "home").rglob("*")) if each.is_file()]
    members = [(begins + each.relative_to(tmp_path / "home").as_posix(), each.read_bytes()) for each in files]
    shown = again.upload(zipped(tmp_path / "again.zip", *members))
    if known:
        assert statuses(shown) == {"set/0.png": "reviewed", "set/1.png": "corrected", "z-cut.png": "new"}
    else:
        assert statuses(shown)[f"{top}/images/set/0.png"] == "new" and statuses(shown)["notes.txt"] == "error"


def change(plain: dict[str, Any], **parts: Any) -> None:
    plain["detections"][0] |= parts


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda plain: plain.update(sha256="0" * 64), id="of another image"),
        pytest.param(lambda plain: plain.update(id="images/other.png"), id="of no image"),
        pytest.param(lambda plain: plain.update(id="../../x"), id="outside"),
        pytest.param(lambda plain: plain.update(width=10**9, height=10**9), id="a huge size"),
        pytest.param(lambda plain: plain.update(width=-1), id="no size"),
        pytest.param(lambda plain: change(plain, counts="00P1"), id="a mask that is too short"),
        pytest.param(lambda plain: change(plain, counts=""), id="an empty mask"),
        pytest.param(lambda plain: change(plain, counts="é~"), id="a mask of other characters"),
        pytest.param(
            lambda plain: plain["detections"].append(plain["detections"][0] | {"counts": None}), id="one mask less"
        ),
        pytest.param(lambda plain: change(plain, label="a\0b"), id="a label with a control character"),
        pytest.param(lambda plain: change(plain, key={"a": 1}), id="a key that is no text"),
        pytest.param(lambda plain: change(plain, xyxy=[1, 2]), id="half a box"),
        pytest.param(lambda plain: change(plain, score=7), id="a score over 1"),
        pytest.param(lambda plain: change(plain, verification=5), id="a verdict of an earlier version that is no text"),
        pytest.param(
            lambda plain: change(plain, verdict={"kind": "x", "label": "", "probability": 0}), id="no verdict"
        ),
        pytest.param(
            lambda plain: change(plain, verdict={"kind": "looks_like", "label": "a\0b", "probability": 0.5}),
            id="a verdict with a label with a control character",
        ),
        pytest.param(lambda plain: plain.update(tags=[["a", "b"]]), id="a tag without a number"),
        pytest.param(lambda plain: plain.update(found=[plain["found"]]), id="lists in lists"),
        pytest.param(lambda plain: plain.clear(), id="nothing"),
    ],
)
def test_a_correction_that_does_not_fit_is_left_out(page, downloaded, server, tmp_path, monkeypatch, spoil):
    name = f"run/{correction_file(Path(), 'images/set/1.png')}"
    with zipfile.ZipFile(downloaded) as made:
        members = {each: made.read(each) for each in made.namelist()}
    plain = json.loads(members[name])
    spoil(plain)
    zipped(tmp_path / "bad.zip", *(members | {name: json.dumps(plain).encode()}).items())
    again = Uploader(server, tmp_path / "later", monkeypatch)
    shown = again.upload(tmp_path / "bad.zip")
    assert statuses(shown)["set/0.png"] == "reviewed" and statuses(shown)["set/1.png"] == "new"
    assert again.note["text"] == "1 correction does not fit the images and cannot be used."
    again.go("open", key=key_of(shown, "set/1.png"))
    assert objects_of(again, "set/1.png") == []


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(b"no json", id="no json"),
        pytest.param(b"[1]", id="a list"),
        pytest.param(b"[" * 100_000, id="deep"),
        pytest.param(b'{"labels": ["a", 5], "settings": {}}', id="a label that is no text"),
        pytest.param(b'{"labels": "tent"}', id="no list of labels"),
    ],
)
def test_a_record_that_cannot_be_used_loses_its_labels_alone(downloaded, server, tmp_path, monkeypatch, record):
    with zipfile.ZipFile(downloaded) as made:
        members = {each: made.read(each) for each in made.namelist()}
    zipped(tmp_path / "bad.zip", *(members | {"run/run.json": record}).items())
    again = Uploader(server, tmp_path / "later", monkeypatch)
    assert statuses(again.upload(tmp_path / "bad.zip"))["set/0.png"] == "reviewed"
    again.go("open", key=key_of(again.shown, "set/0.png"))
    assert set(again.context.folder_of(again.shown["at"]).words().split(", ")) >= set(SCENES[0].labels)
    assert again.strip.export("coco", again.shown)[0].endswith(".zip")


def test_the_area_of_run_lengths_is_that_of_the_image():
    random = np.random.default_rng(5)
    for height, width in ((1, 1), (7, 5), (300, 401)):
        for share in (0.0, 0.02, 0.5, 1.0):
            counts = openvocab.encode_mask(random.random((height, width)) < share)["counts"].decode()
            assert _covered(counts) == height * width
            assert _covered(counts[:-1]) != height * width


def test_a_folder_is_deleted_after_its_last_use(page, archive):
    page.upload(archive)
    key = page.shown["start"]
    page.go("open", key=key)
    (top,) = page.tops()
    page.context.uploaded._idle = 0.0
    page.context.uploaded.delete_idle()
    assert page.tops() == [] and not top.exists() and len(page.context.workspaces) == 0
    page.go("next")
    assert "no longer stored on the server" in page.note["text"] and page.shown["images"] == []
    with pytest.raises(BadInput, match="no longer stored"):
        page.strip.export("coco", {"at": key})
    with pytest.raises(BadInput, match="no longer stored"):
        page.context.workspaces.get("served/" + key)


def test_a_folder_is_deleted_without_a_visitor(tmp_path):
    gone: list[ServedFolder] = []
    folders = UploadedFolders(Limits(), gone.append, idle_seconds=0.05)
    served = folders.open([str(SCENES[0].path)], tmp_path)
    for _ in range(100):
        if not list(tmp_path.iterdir()):
            break
        time.sleep(0.05)
    assert gone == [served] and list(tmp_path.iterdir()) == []


def test_folders_share_the_stored_bytes(tmp_path):
    data = Path(SCENES[0].path).read_bytes()
    folders = UploadedFolders(Limits(stored_bytes=3 * len(data)), lambda _: None)
    folders.open([str(SCENES[0].path)], tmp_path)
    folders.open([str(SCENES[0].path)], tmp_path)
    with pytest.raises(BadInput, match="no disk space"):
        folders.open([str(SCENES[0].path)], tmp_path)
    assert len(folders) == 2


def test_an_uploaded_file_may_be_deleted_while_its_folder_is_open(page, tmp_path):
    path = tmp_path / "one.png"
    path.write_bytes(SCENES[0].path.read_bytes())
    page.upload(path)
    os.unlink(path)
    page.go("open", key=page.shown["start"])
    assert page.token is not None and page.context.workspaces.get(page.token).size == (256, 256)


def test_another_visitor_needs_the_token(page, archive):
    import httpx

    from openvocab.ui.web.server import ServerOptions, run_server

    page.upload(archive)
    token, image = page.shown["start"][:-24], page.shown["start"][-24:]
    other = ("0" * len(token) if token[0] != "0" else "1" * len(token)) + image
    with pytest.raises(BadInput, match="no longer stored"):
        page.context.folder_of(other)
    with pytest.raises(BadInput, match="no folder is open"):
        page.context.folder_of(image)
    with run_server(page.context, ServerOptions(port=0)) as made, httpx.Client(base_url=made.url) as client:
        assert client.get(f"/folder/thumbnail/{token}{image}").headers["content-type"] == "image/jpeg"
        for name in (
            other,
            image,
            token,
            f"{token}{image}0",
            *(token + quote(each, safe="") for each in TRAVERSALS[:5]),
        ):
            assert client.get(f"/folder/thumbnail/{name}").status_code in (400, 404), name


def test_reading_an_image_that_cannot_be_read_gives_it_the_status(tmp_path):
    (tmp_path / "scenes").mkdir()
    (tmp_path / "scenes" / "broken.png").write_text("no image")
    with serving(tmp_path / "scenes", None, 10**7) as served:
        key = served.entries[0].key
        assert served.status(key) == "new"
        with pytest.raises(ImageError):
            served.thumbnail(key)
        assert served.status(key) == "error"
