"""Hostile annotation files are read, or refused in one sentence; none ends or blocks the process."""

from __future__ import annotations

import io
import json
import os
import signal
import struct
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from openvocab.errors import BadInput, OpenVocabWarning
from openvocab.evaluate.data import ANNOTATED, load_annotated, load_captions, load_labeled
from openvocab.ui.cli.main import main
from tests.evaluate.data import fuzzing
from tests.evaluate.data.test_annotated import coco, voc
from tests.evaluate.data.test_lvis import lvis
from tests.evaluate.data.test_yolo import BOXES, folder

FORMATS = sorted(fuzzing.formats())
ANNOTATION = {"id": 1, "image_id": 7, "category_id": 5, "bbox": [1, 2, 3, 4]}
IMAGE = {"id": 7, "file_name": "a.png", "width": 20, "height": 10}


@pytest.fixture(autouse=True)
def _no_file_holds_the_process() -> Iterator[None]:
    """End a test that hangs."""

    def stop(*_: object) -> None:
        raise TimeoutError("a file held the process")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def _no_polygon_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail if a polygon reaches pycocotools, which may end the process; boxes come as arrays."""
    draw = coco_mask.frPyObjects

    def checked(objects: Any, height: int, width: int) -> Any:
        if not isinstance(objects, np.ndarray):
            pytest.fail("pycocotools was reached")
        return draw(objects, height, width)

    monkeypatch.setattr(coco_mask, "frPyObjects", checked)


def load(path: str, kind: str) -> None:
    """Read a set to its end."""
    if kind in ANNOTATED:
        load_annotated(path, kind)
    else:
        list(load_labeled(path, kind).images())


# --- the fuzz: mutated files of all formats


def fuzz(root: Path, first: int, last: int) -> Any:
    """Run cases of every format in a process of their own, so that a crash names its case."""
    command = [sys.executable, "-m", "tests.evaluate.data.fuzzing", str(root), str(first), str(last), *FORMATS]
    ran = subprocess.run(command, cwd=Path(__file__).parents[3], capture_output=True, text=True)
    case = (root / "case").read_text() if (root / "case").exists() else "none"
    assert ran.returncode == 0, f"case {case} ended the process: {ran.stderr[-2000:]}"
    return json.loads((root / "result.json").read_text())


def test_mutated_files_are_read_or_refused_in_one_sentence(tmp_path):
    """A slice of the long run; no other error, and none takes over two seconds of the processor."""
    found = fuzz(tmp_path, 0, 40)
    assert {name: each["wrong"] for name, each in found.items() if each["wrong"]} == {}
    assert all(each["refused"] > 5 for each in found.values())


@pytest.mark.long
def test_20_000_mutated_files_are_read_or_refused_in_one_sentence(tmp_path):
    signal.alarm(0)
    found = fuzz(tmp_path, 0, 20_000 // len(FORMATS) + 1)
    assert {name: each["wrong"] for name, each in found.items() if each["wrong"]} == {}


# --- numbers that reach pycocotools


@pytest.mark.usefixtures("_no_polygon_is_drawn")
@pytest.mark.parametrize(
    ("segmentation", "says"),
    [
        pytest.param([[1e9, 0, 0, 0, 5, 5]], "annotation 1 has a polygon with a point over 1000000", id="1e9"),
        pytest.param([[1, 1, 5, 1, 10**400, 5]], "polygon with a point over", id="400 digits"),
        pytest.param([[1, 1, 5, 1, float("inf"), 5]], "polygon with a point over", id="infinite"),
        pytest.param([[0, 0, 9e5, 9e5] * 2], "a polygon of 3600000 pixels, more than the limit", id="long edges"),
    ],
)
def test_a_polygon_out_of_bounds_never_reaches_pycocotools(segmentation, says, tmp_path):
    path = coco(tmp_path, annotations=[{**ANNOTATION, "segmentation": segmentation}])
    with pytest.raises(BadInput, match=says):
        load_annotated(str(path), "coco")


@pytest.mark.usefixtures("_no_polygon_is_drawn")
@pytest.mark.parametrize("far", ["1e6", "1e7", "1e300", "-1e9"])
def test_a_yolo_polygon_out_of_bounds_never_reaches_pycocotools(far, tmp_path):
    root = folder(tmp_path, {"a": f"{BOXES}1 0.1 0.1 {far} 0.1 0.9 0.9"})
    with pytest.raises(BadInput, match=r"a.txt', line 3 has a box with an edge over 1000000 pixels away"):
        load_annotated(str(root), "yolo")


@pytest.mark.usefixtures("_no_polygon_is_drawn")
@pytest.mark.parametrize(
    "given",
    [
        pytest.param({"counts": "o" * 3_000_000 + "0"}, id="one number of 3,000,001 characters"),
        pytest.param({"counts": "oooooo0" * 10}, id="negative runs"),
        pytest.param({"counts": [2**32 + 1, 199]}, id="a run over 32 bits"),
        pytest.param({"counts": [0] * 5000 + [200]}, id="more runs than pixels"),
    ],
)
def test_runs_out_of_bounds_never_reach_pycocotools(given, tmp_path):
    whole = {"size": [10, 20], **given}
    path = coco(tmp_path, annotations=[{**ANNOTATION, "segmentation": whole}])
    with pytest.warns(OpenVocabWarning, match="invalid segmentations, replaced by their box: 1"):
        load_annotated(str(path), "coco")


# --- wrong fields


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        pytest.param({"images": [{**IMAGE, "height": float("inf")}]}, "image 7, has inf for height", id="height inf"),
        pytest.param({"images": [{**IMAGE, "width": "wide"}]}, "image 7, has 'wide' for width", id="width a text"),
        pytest.param({"images": [{**IMAGE, "width": 0}]}, "image 7, has 0 for width", id="width 0"),
        pytest.param(
            {"images": [{**IMAGE, "height": 2**17, "width": 2**15}]}, "for at most 178956970", id="2^32 pixels"
        ),
        pytest.param({"images": [{**IMAGE, "id": [7]}]}, r"image \[7\], has \[7\] for id", id="image id a list"),
        pytest.param({"images": [{**IMAGE, "file_name": ["a"]}]}, r"has \['a'\] for file_name", id="file_name a list"),
        pytest.param({"categories": [{"id": {}, "name": "dog"}]}, r"has {} for id", id="category id a mapping"),
        pytest.param({"categories": [{"id": 5, "name": {}}]}, r"category 5, has {} for name", id="name a mapping"),
        pytest.param({"annotations": [{**ANNOTATION, "bbox": [10**400, 0, 1, 1]}]}, "an edge of its bbox", id="bbox"),
        pytest.param({"annotations": [{**ANNOTATION, "bbox": [0, 0, 1e9, 1]}]}, "an edge of its bbox", id="bbox 1e9"),
        pytest.param({"annotations": [{**ANNOTATION, "bbox": [0, 0, "1", 1]}]}, "an edge of its bbox", id="bbox text"),
        pytest.param({"annotations": [{**ANNOTATION, "area": "abc"}]}, "annotation 1, has 'abc' for area", id="area"),
        pytest.param({"annotations": [{**ANNOTATION, "area": float("nan")}]}, "has nan for area", id="area NaN"),
        pytest.param({"annotations": [{**ANNOTATION, "iscrowd": [1]}]}, r"has \[1\] for iscrowd", id="iscrowd"),
        pytest.param({"annotations": [{**ANNOTATION, "image_id": [7]}]}, r"has \[7\] for image_id", id="image_id"),
        pytest.param({"annotations": [{**ANNOTATION, "category_id": {}}]}, r"has {} for category_id", id="category_id"),
    ],
)
def test_a_wrong_field_of_coco_is_refused_with_its_position(changes, says, tmp_path):
    with pytest.raises(BadInput, match=says):
        load_annotated(str(coco(tmp_path, **changes)), "coco")


@pytest.mark.parametrize("listed", [[[2]], [{}], [None], "23", 5])
@pytest.mark.parametrize("name", ["neg_category_ids", "not_exhaustive_category_ids"])
def test_invalid_category_ids_of_lvis_are_refused(name, listed, tmp_path):
    with pytest.raises(BadInput, match=f"image 7, (names category .*, which has no name|has .*{name})"):
        load_annotated(str(lvis(tmp_path, **{name: listed})), "lvis")


@pytest.mark.parametrize("name", ["../a.png", "/etc/hostname", "x/../../a.png", "..", "/a.png"])
def test_a_file_name_that_leaves_the_folder_of_the_images_is_refused(name, tmp_path):
    path = coco(tmp_path / "set", images=[{**IMAGE, "file_name": name}])
    Image.new("RGB", (20, 10)).save(tmp_path / "a.png")
    with pytest.raises(BadInput, match=r"image 7, names .*, outside .*set'; give the folder of all images"):
        load_annotated(str(path), "coco")


def test_an_absolute_file_name_within_the_folder_is_read(tmp_path):
    path = coco(tmp_path, images=[{**IMAGE, "file_name": str(tmp_path / "a.png")}])
    assert len(load_annotated(str(path), "coco").images) == 1


def test_an_address_of_lvis_that_leaves_the_folder_is_refused(tmp_path):
    with pytest.raises(BadInput, match=r"names '\.\./hostname', outside"):
        load_annotated(str(lvis(tmp_path, coco_url="http://host/../hostname")), "lvis")


@pytest.mark.parametrize("size", ["NaN", "Inf", "-1", "0", "9" * 5000, "1e999", "2.5"])
def test_an_invalid_size_of_voc_is_refused(size, tmp_path):
    root = voc(tmp_path, [("dog", 1, 1, 2, 2)])
    file = root / "Annotations" / "a.xml"
    file.write_text(file.read_text().replace("<width>20<", f"<width>{size}<"))
    with pytest.raises(BadInput, match="a.xml'"):
        load_annotated(str(root), "voc")


@pytest.mark.parametrize("encoding", ["no-such", "utf-7", "idna", "rot13", "utf-32"])
def test_an_unknown_encoding_of_voc_is_refused(encoding, tmp_path):
    root = voc(tmp_path, [("dog", 1, 1, 2, 2)])
    file = root / "Annotations" / "a.xml"
    file.write_text(f'<?xml version="1.0" encoding="{encoding}"?>{file.read_text()}')
    with pytest.raises(BadInput, match="a.xml' is not readable XML"):
        load_annotated(str(root), "voc")


# --- data.yaml


def bomb(line: str, levels: int = 40) -> str:
    parts = "".join(f"a{level}: &a{level} {line.format(below=level - 1)}\n" for level in range(1, levels))
    return f"a0: &a0 [x]\n{parts}val: images/val\nnames: *a{levels - 1}\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param(bomb("[*a{below}, *a{below}]"), r"line 2, uses the alias \*a0; write it out", id="aliases"),
        pytest.param(bomb("{{<<: [*a{below}, *a{below}]}}"), "uses the alias", id="merge keys"),
        pytest.param("names: &a [*a]\nval: x", "uses the alias", id="a list within itself"),
        pytest.param("names: " + "[" * 500, "line 1, is nested over 64 deep", id="depth"),
        pytest.param("val: images/val\nnames: [[cat]]", r"has \['cat'\] among its names", id="a list as a name"),
        pytest.param(
            "val: {a: b}\nnames: [cat]", "has {'a': 'b'} for a path or its val split", id="a mapping as split"
        ),
        pytest.param("path: [a]\nval: images/val\nnames: [cat]", r"has \['a'\] for a path", id="a list as path"),
        pytest.param("val: images/val\nnames: {cat: 0}", "has no names", id="names the wrong way round"),
        pytest.param("val: \0", "is not YAML", id="NUL"),
    ],
)
def test_a_hostile_data_yaml_is_refused(text, says, tmp_path):
    root = folder(tmp_path, {"a": BOXES})
    (root / "data.yaml").write_text(text, "utf-8")
    with pytest.raises(BadInput, match=says):
        load_annotated(str(root), "yolo")


@pytest.mark.parametrize("name", ["2020-99-99", "2020-01-01", "yes", "1_000", "!!python/object:os.system x", "null"])
def test_names_in_yaml_are_always_strings(name, tmp_path):
    root = folder(tmp_path, {"a": BOXES})
    (root / "data.yaml").write_text(f"val: images/val\nnames: [cat, {name}]\n", "utf-8")
    assert load_annotated(str(root), "yolo").labels == ("cat", name.rpartition("system ")[2])


# --- what is not a regular file, and folders that lead round


def pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def into_folder(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()


def loop(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(path.name)


def shards(root: Path) -> Path:
    files, _, _ = fuzzing.formats()["webdataset"]
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def listed(root: Path, name: str) -> Path:
    Image.new("RGB", (4, 4)).save(root / "a.png")
    (root / name).write_bytes(b"")
    return root / name


SPECIAL: list[Any] = [
    pytest.param(lambda root: (coco(root), "coco"), "coco.json", id="coco"),
    pytest.param(lambda root: (lvis(root), "lvis"), "lvis.json", id="lvis"),
    pytest.param(lambda root: (voc(root, [("dog", 1, 1, 2, 2)]), "voc"), "Annotations/a.xml", id="voc"),
    pytest.param(lambda root: (folder(root, {"a": BOXES}), "yolo"), "data.yaml", id="data.yaml"),
    pytest.param(lambda root: (folder(root, {"a": BOXES, "b": BOXES}), "yolo"), "labels/val/a.txt", id="yolo labels"),
    pytest.param(lambda root: (listed(root, "x.csv"), "list"), "x.csv", id="csv"),
    pytest.param(lambda root: (listed(root, "x.jsonl"), "list"), "x.jsonl", id="jsonl"),
    pytest.param(lambda root: (listed(root, "x.parquet"), "list"), "x.parquet", id="parquet"),
    pytest.param(lambda root: (shards(root), "webdataset"), "test/0.tar", id="shard"),
    pytest.param(lambda root: (shards(root), "webdataset"), "test/nshards.txt", id="nshards.txt"),
    pytest.param(lambda root: (shards(root), "webdataset"), "classnames.txt", id="classnames.txt"),
    pytest.param(lambda root: (shards(root), "webdataset"), "dataset_type.txt", id="dataset_type.txt"),
]


@pytest.mark.parametrize("spoil", [pipe, into_folder, loop])
@pytest.mark.parametrize(("write", "file"), SPECIAL)
def test_special_files_are_refused_and_never_opened(write, file, spoil, tmp_path):
    path, kind = write(tmp_path)
    spoil(tmp_path / file)
    with pytest.raises(BadInput, match=Path(file).name):
        load(str(path), kind)


@pytest.mark.parametrize("kind", ["itself", "twice"])
@pytest.mark.parametrize("set_of", ["yolo", "imagefolder", "torchvision"])
def test_links_that_lead_to_a_folder_twice_are_refused(set_of, kind, tmp_path):
    images = tmp_path / {"yolo": "images/val", "imagefolder": "cat", "torchvision": "eurosat/2750/cat"}[set_of]
    if set_of == "yolo":
        folder(tmp_path, {"a": BOXES})
    images.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4)).save(images / "a.png")
    (images / "deep").mkdir()
    (images / "link").symlink_to("." if kind == "itself" else "deep", target_is_directory=True)
    root = f"EuroSAT:{tmp_path}" if set_of == "torchvision" else str(tmp_path)
    with pytest.raises(BadInput, match="link' was already read under another name; remove the link"):
        load(root, set_of)


# --- shards, .npy and Parquet


@pytest.mark.parametrize(
    ("count", "says"),
    [
        pytest.param("1000000000", "up to 1000000", id="a billion"),
        pytest.param("9" * 5000, "up to 1000000", id="5,000 digits"),
        pytest.param("1000000", r"1.tar' does not exist", id="a million"),
    ],
)
def test_a_count_of_shards_is_bounded(count, says, tmp_path):
    (shards(tmp_path) / "test" / "nshards.txt").write_text(count)
    with pytest.raises(BadInput, match=says):
        load_labeled(str(tmp_path), "webdataset")


def sparse() -> bytes:
    """A shard whose one member has 2^40 bytes and no data, as GNU tar writes it."""
    header = tarfile.TarInfo("a.png")
    header.type, header.size = tarfile.GNUTYPE_SPARSE, 0
    buffer = bytearray(header.tobuf(tarfile.GNU_FORMAT))
    buffer[483:495] = b"\x80" + (2**40).to_bytes(11, "big")
    buffer[148:156] = b" " * 8
    buffer[148:156] = f"{sum(buffer[:512]):06o}\0 ".encode()
    return bytes(buffer) + bytes(1024)


def pax_sparse() -> bytes:
    """The same as POSIX tar writes it."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as made:
        member = tarfile.TarInfo("a.png")
        member.pax_headers = {"GNU.sparse.size": str(2**40), "GNU.sparse.numblocks": "0", "GNU.sparse.map": "0,0"}
        made.addfile(member)
    return file.getvalue()


def named(kind: bytes, size: int) -> bytes:
    """A header that announces a name of that many bytes."""
    member = tarfile.TarInfo("a.png")
    member.type, member.size = kind, size
    return member.tobuf(tarfile.GNU_FORMAT) + bytes(1024)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        pytest.param(sparse(), "sparse file", id="sparse"),
        pytest.param(pax_sparse(), "sparse file", id="sparse, as POSIX has it"),
        pytest.param(named(tarfile.GNUTYPE_LONGNAME, 2**40), "more than the limit of 65536", id="a long name"),
        pytest.param(named(tarfile.XHDTYPE, 2**40), "more than the limit of 65536", id="an extended header"),
        pytest.param(named(tarfile.REGTYPE, 2**40), "more than the limit of", id="a large member"),
        pytest.param(fuzzing.tar({"a.png": b"x" * 600, "a.cls": b"0"})[:1024], "0.tar' is broken", id="cut short"),
        pytest.param(fuzzing.tar({"a.png": b"x", "a.cls": b"0"})[:1024], "0.tar' is broken", id="cut at a header"),
        pytest.param(fuzzing.tar({"a.png": b"x", "a.cls": b"9" * 5000}), "has no .cls", id="a label of 5,000 digits"),
    ],
)
def test_a_hostile_shard_is_refused_with_its_name(data, says, tmp_path):
    (shards(tmp_path) / "test" / "0.tar").write_bytes(data)
    with pytest.raises(BadInput, match=says):
        list(load_labeled(str(tmp_path), "webdataset").images())


def header(text: str) -> bytes:
    """A .npy file of that header and no numbers."""
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text.encode()


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(
            header("{'descr': '<f8', 'fortran_order': False, 'shape': (10000000000000,)}"), id="a large shape"
        ),
        pytest.param(header("{'descr': '|O', 'fortran_order': False, 'shape': (2,)}"), id="objects"),
        pytest.param(header("(" * 9000), id="brackets"),
        pytest.param(header("'''"), id="a text without end"),
        pytest.param(header("{'descr': '<M8[s]', 'fortran_order': False, 'shape': (2,)}" + " " * 16), id="dates"),
        pytest.param(header("{'descr': '<f8', 'fortran_order': False, 'shape': (2,)}"), id="cut short"),
        pytest.param(b"PK\3\4" + bytes(40), id="a zip file"),
        pytest.param(b"\x93NUMPY\3\0" + bytes(40), id="another version"),
    ],
)
def test_a_hostile_npy_is_refused_with_its_sample(data, tmp_path):
    shards(tmp_path)
    (tmp_path / "dataset_type.txt").write_text("multilabel")
    (tmp_path / "test" / "0.tar").write_bytes(fuzzing.tar({"a.png": fuzzing.png(), "a.npy": data}))
    with pytest.raises(BadInput, match=r"0.tar::a' has no .npy of 2 numbers"):
        list(load_labeled(str(tmp_path), "webdataset").images())


def test_a_parquet_file_with_a_string_that_is_not_utf_8_is_refused(tmp_path):
    file = listed(tmp_path, "x.parquet")
    file.write_bytes(fuzzing.parquet([{"path": "a.png", "label": "dog"}]).replace(b"dog", b"d\xffg"))
    for load in (lambda path: load_labeled(path, "list"), load_captions):
        with pytest.raises(BadInput, match="x.parquet"):
            load(str(file))


# --- torchvision


def mnist(root: Path, images: bytes, labels: bytes) -> str:
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part in ("train", "t10k"):
        (raw / f"{part}-images-idx3-ubyte").write_bytes(images)
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(labels)
    return f"MNIST:{root}"


TWO = struct.pack(">IIII", 2051, 2, 28, 28) + bytes(2 * 28 * 28)


@pytest.mark.parametrize(
    ("images", "labels", "says"),
    [
        pytest.param(TWO[:100], struct.pack(">II", 2049, 2) + b"\7\0", "cannot read", id="cut short"),
        pytest.param(b"", b"", "cannot read", id="empty"),
        pytest.param(
            TWO, struct.pack(">II", 2049, 2) + b"\7\xc8", "has label 200, but the data set has 10", id="label"
        ),
        pytest.param(TWO, struct.pack(">II", 2049, 1) + b"\7", "MNIST:.*::1' cannot be read", id="a label too few"),
    ],
)
def test_a_broken_file_of_torchvision_is_refused(images, labels, says, tmp_path):
    with pytest.raises(BadInput, match=says):
        list(load_labeled(mnist(tmp_path, images, labels), "torchvision").images())


def test_a_pipe_among_the_files_of_torchvision_is_refused(tmp_path):
    path = mnist(tmp_path, TWO, struct.pack(">II", 2049, 2) + b"\7\0")
    pipe(tmp_path / "MNIST" / "raw" / "t10k-labels-idx1-ubyte")
    with pytest.raises(BadInput, match="t10k-labels-idx1-ubyte' is not a regular file"):
        load_labeled(path, "torchvision")


# --- the command


def broken(root: Path, **changes: Any) -> list[str]:
    return ["detect", "--data", str(coco(root / "set", **changes)), "--format", "coco"]


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(lambda root: broken(root, images=[{**IMAGE, "height": float("inf")}]), id="height infinite"),
        pytest.param(lambda root: broken(root, annotations=[{**ANNOTATION, "area": "abc"}]), id="area a text"),
        pytest.param(lambda root: broken(root, images=[{**IMAGE, "file_name": "../a.png"}]), id="another folder"),
        pytest.param(lambda root: broken(root, annotations=[]), id="no object"),
    ],
)
def test_the_command_prints_one_sentence_and_exits_with_2(
    write: Callable[[Path], list[str]], tmp_path, capsys: pytest.CaptureFixture[str]
):
    assert main(["evaluate", *write(tmp_path), "--out", str(tmp_path / "report")]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not (tmp_path / "report").exists()
