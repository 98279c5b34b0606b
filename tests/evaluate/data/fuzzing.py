"""Mutated annotation files of every format, for test_hostile_files; run as a script, which a crash may end.

    python -m tests.evaluate.data.fuzzing FOLDER FIRST LAST FORMAT...

reads the cases FIRST to LAST - 1 of each format and writes FOLDER/result.json: how many were refused, and what went
wrong. FOLDER/case holds the number of the case that is being read, so that one that ends the process is known.
"""

from __future__ import annotations

import gzip
import io
import json
import random
import re
import signal
import sys
import tarfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from openvocab.errors import OpenVocabError
from openvocab.evaluate.data import load_annotated, load_captions, load_labeled

SECONDS = 2.0
"""Of processor time that a file may take, so that other work on the machine does not count."""

POLYGON = [[1, 1, 5, 1, 5, 5]]
RUNS = {"size": [10, 20], "counts": [21, 3, 7, 3, 166]}
HOSTILE: list[Any] = [
    *(0, -1, 1, 7, 2**31, 2**32 + 1, 2**63, 1e6, 1e7, 1e9, 1e300, 10**400, -(10**9), 0.5),
    *(float("nan"), float("inf"), True, None, "", "abc", "7", "9" * 5000, "../../x.png", "/etc/passwd", "a\0b"),
    *("\ud800", "\x85", "2020-99-99", "o" * 100_000 + "0", "0" * 1000, "P", [], {}, [[]], [1], [[1, 2, 3]]),
    *([1e9] * 6, [[1e9, 0, 0, 0, 5, 5]], [[0, 0, 1e7, 1e7, 5, 5]], [2**32, 1], {"id": 1}),
    *({"size": [10, 20], "counts": "o" * 50_000 + "0"}, {"size": [10, 20], "counts": [2**32, 200]}),
    *({"size": [2**16, 2**16], "counts": [2**32]}, {"size": [10, 20], "counts": [0] * 5000 + [200]}),
]
WORDS = [
    *("0", "-1", "1", "nan", "inf", "1e6", "1e7", "1e9", "1e300", "9" * 5000, "", "abc", "0x10", "1_0", "null", "~"),
    *("../..", "/dev/zero", "*a", "&a [x, x]", "<<: *a", "!!binary x", "!!python/object:os.system {}", "2020-99-99"),
    *("[" * 500, "{" * 500, "%YAML 9.9", "\ufeff", "\x85", "\u2028", "'", '"', "|", ",", "\n", "\t", ": ", "- ", "#"),
    *('<?xml version="1.0" encoding="utf-7"?>', '<!DOCTYPE a [<!ENTITY b "c">]>', "&b;", "<object>", "1000000000"),
]
COCO: dict[str, Any] = {
    "images": [{"id": 7, "file_name": "a.png", "width": 20, "height": 10}],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 1, "bbox": [1, 1, 4, 4], "area": 9, "segmentation": POLYGON},
        {"id": 2, "image_id": 7, "category_id": 2, "bbox": [2, 1, 5, 6], "iscrowd": 1, "segmentation": RUNS},
        {"id": 3, "image_id": 7, "category_id": 2, "bbox": [1, 0, 4, 4], "segmentation": {**RUNS, "counts": "e0337R5"}},
    ],
    "categories": [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}],
}
LVIS = {
    **COCO,
    "images": [
        {"id": 7, "width": 20, "height": 10, "coco_url": "http://host/val/a.png"}
        | {"neg_category_ids": [1], "not_exhaustive_category_ids": [2]}
    ],
}
VOC = (
    '<?xml version="1.0" encoding="utf-8"?><annotation><filename>a.png</filename><size><width>20</width>'
    "<height>10</height></size><object><name>dog</name><difficult>0</difficult><bndbox><xmin>1</xmin><ymin>2</ymin>"
    "<xmax>9</xmax><ymax>8</ymax></bndbox></object></annotation>"
)


def png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (20, 10)).save(file, "PNG")
    return file.getvalue()


def tar(files: Mapping[str, bytes], format: int = tarfile.PAX_FORMAT) -> bytes:  # noqa: A002
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=format) as made:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            made.addfile(member, io.BytesIO(data))
    return file.getvalue()


def npy(row: list[int]) -> bytes:
    file = io.BytesIO()
    np.save(file, np.array(row))
    return file.getvalue()


def parquet(rows: list[dict[str, Any]]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file.getvalue()


# --- formats: the files of a set, which of them are mutated, and what reads it

Files = dict[str, bytes]
Read = Callable[[str], Any]


def annotated(kind: str, file: str) -> Read:
    def read(root: str) -> None:
        from pycocotools import mask

        for one in load_annotated(f"{root}/{file}", kind).images:
            for code in one.masks or ():
                mask.decode(code)

    return read


def labeled(kind: str, file: str) -> Read:
    return lambda root: list(load_labeled(f"{root}/{file}", kind).images())


def captions(file: str) -> Read:
    return lambda root: list(load_captions(f"{root}/{file}").images())


def jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "\n".join(map(json.dumps, rows)).encode()


def formats() -> dict[str, tuple[Files, list[str], Read]]:
    image = png()
    one = [{"path": "a.png", "label": "dog"}, {"path": "b.png", "label": "cat"}]
    many = [{"path": "a.png", "labels": ["dog", "cat"]}, {"path": "b.png", "labels": []}]
    said = [{"path": "a.png", "captions": ["a dog", "a cat"]}]
    both = {"a.png": image, "b.png": image}
    long = "x" * 150
    samples = {f"{long}.png": image, f"{long}.cls": b"1", "s2.jpg": image, "s2.cls": b"0"}
    shards = {"classnames.txt": b"cat\ndog\n", "test/nshards.txt": b"1", "dataset_type.txt": b"classification"}
    several = {**shards, "dataset_type.txt": b"multilabel"}
    rows = {"s1.png": image, "s1.npy": npy([0, 1]), "s2.png": image, "s2.npy": npy([1, 1])}
    yaml = b"path: .\ntrain: images/val\nval: [images/val, list.txt]\nnames:\n  0: cat\n  1: dog\n"
    yolo = {"data.yaml": yaml, "list.txt": b"./images/val/a.png\n", "images/val/a.png": image}
    yolo["labels/val/a.txt"] = b"1 0.5 0.5 0.5 0.5\n0 0.1 0.1 0.9 0.1 0.9 0.9\n"
    csv = b'path,label\na.png,dog\n"b.png",cat\n'
    return {
        "coco": ({**both, "x.json": json.dumps(COCO).encode()}, ["x.json"], annotated("coco", "x.json")),
        "lvis": ({**both, "x.json": json.dumps(LVIS).encode()}, ["x.json"], annotated("lvis", "x.json")),
        "voc": (
            {"JPEGImages/a.png": image, "Annotations/a.xml": VOC.encode()},
            ["Annotations/a.xml"],
            annotated("voc", ""),
        ),
        "yolo": (yolo, ["data.yaml", "labels/val/a.txt", "labels/val/a.txt", "list.txt"], annotated("yolo", "")),
        "csv": ({**both, "x.csv": csv}, ["x.csv"], labeled("list", "x.csv")),
        "jsonl": ({**both, "x.jsonl": jsonl(many)}, ["x.jsonl"], labeled("list", "x.jsonl")),
        "parquet": ({**both, "x.parquet": parquet(one)}, ["x.parquet"], labeled("list", "x.parquet")),
        "captions": ({**both, "x.jsonl": jsonl(said)}, ["x.jsonl"], captions("x.jsonl")),
        "webdataset": (
            {**shards, "test/0.tar": tar(samples)},
            ["test/0.tar", "test/0.tar", "test/nshards.txt", "classnames.txt"],
            labeled("webdataset", ""),
        ),
        "gnu": ({**shards, "test/0.tar": tar(samples, tarfile.GNU_FORMAT)}, ["test/0.tar"], labeled("webdataset", "")),
        "gzip": ({**shards, "test/0.tar": gzip.compress(tar(samples))}, ["test/0.tar"], labeled("webdataset", "")),
        "npy": ({**several, "test/0.tar": tar(rows)}, ["s1.npy"], labeled("webdataset", "")),
    }


# --- mutations


def nested_values(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the container and the key of every value within."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in list(pairs):
        yield value, key
        yield from nested_values(each)


def replaced(data: bytes, rng: random.Random) -> bytes:
    """Put hostile values into JSON, or into a line of JSON lines."""
    lines = data.split(b"\n")
    row = rng.randrange(len(lines))
    whole = json.loads(lines[row])
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        place = list(nested_values(whole))
        if place:
            container, key = rng.choice(place)
            if rng.random() < 0.15:
                del container[key]
            else:
                container[key] = json.loads(json.dumps(rng.choice(HOSTILE)))
    lines[row] = json.dumps(whole).encode()
    return b"\n".join(lines)


def reworded(data: bytes, rng: random.Random) -> bytes:
    """Put hostile words in the place of words, or between them."""
    text = data.decode("utf-8")
    for _ in range(rng.choice([1, 1, 2, 4])):
        words = [each.span() for each in re.finditer(r"[\w./-]+", text)] or [(0, 0)]
        begin, end = rng.choice(words) if rng.random() < 0.7 else (rng.randrange(len(text) + 1),) * 2
        text = text[:begin] + rng.choice(WORDS) + text[end:]
    return text.encode("utf-8")


def flipped(data: bytes, rng: random.Random) -> bytes:
    """Change, drop, double or cut bytes."""
    made = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 8])):
        place = rng.randrange(len(made)) if made else 0
        kind = rng.randrange(5)
        if kind < 2 and made:
            made[place] = rng.randrange(256) if kind else made[place] ^ (1 << rng.randrange(8))
        elif kind == 2:
            del made[place : place + rng.choice([1, 4, 100])]
        elif kind == 3:
            made[place:place] = bytes(made[place : place + rng.choice([1, 8, 512])])
        elif rng.random() < 0.3:
            del made[place:]
    return bytes(made)


def checksummed(data: bytes, rng: random.Random) -> bytes:
    """Change a header of a tar file and put its checksum right, so that the change is believed."""
    made = bytearray(data)
    place = 512 * rng.choice([row for row in range(len(made) // 512) if made[512 * row + 257 :][:5] == b"ustar"])
    begin, end = rng.choice([(0, 100), (124, 136), (156, 157), (257, 265), (345, 500), (386, 500)])
    spot = place + rng.randrange(begin, end)
    made[spot] = rng.choice([*b"0123456789xgSLKDV\0 \xff\x80", rng.randrange(256)])
    total = sum(made[place : place + 148]) + 8 * 32 + sum(made[place + 156 : place + 512])
    made[place + 148 : place + 156] = f"{total:06o}\0 ".encode()
    return bytes(made)


def mutated(name: str, data: bytes, rng: random.Random) -> bytes:
    kinds: list[Callable[[bytes, random.Random], bytes]] = [flipped]
    if name.endswith((".json", ".jsonl")):
        kinds += [replaced] * 4
    if name.endswith((".json", ".jsonl", ".xml", ".yaml", ".txt", ".csv")):
        kinds += [reworded] * 2
    if data[257:262] == b"ustar":
        kinds += [checksummed] * 2
    return rng.choice(kinds)(data, rng)


def spoiled(name: str, files: Files, which: list[str], rng: random.Random) -> Files:
    """Return the files with one of them mutated; those of a gzip or npy shard within it."""
    if name == "npy":
        with tarfile.open(fileobj=io.BytesIO(files["test/0.tar"])) as shard:
            inner = {each.name: shard.extractfile(each).read() for each in shard}  # type: ignore[union-attr]
        return {**files, "test/0.tar": tar({**inner, "s1.npy": flipped(inner["s1.npy"], rng)})}
    target = rng.choice(which)
    if name == "gzip" and rng.random() < 0.7:
        return {**files, target: gzip.compress(mutated(target, gzip.decompress(files[target]), rng), 1)}
    return {**files, target: mutated(target, files[target], rng)}


# --- the run


class TookTooLong(BaseException):
    """No loader catches this."""


def alarm(*_: object) -> None:
    raise TookTooLong


def outcome(read: Read, root: str) -> str | None:
    """Return what went wrong; "refused" for an error of openvocab's, None where the set was read."""
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        read(root)
    except OpenVocabError as error:
        return "refused" if len(str(error)) < 1500 else f"a message of {len(str(error))} characters"
    except (Exception, TookTooLong) as error:
        return f"{type(error).__name__}: {str(error)[:200]}"
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    return None


def run(root: Path, first: int, last: int, name: str) -> dict[str, Any]:
    files, which, read = formats()[name]
    refused, wrong = 0, dict[str, list[int]]()
    for file, data in files.items():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(data)
    for case in range(first, last):
        made = spoiled(name, files, which, random.Random(f"{name} {case}"))
        changed = [file for file in made if made[file] != files[file]]
        for file in changed:
            (root / file).write_bytes(made[file])
        (root.parent / "case").write_text(f"{name} {case}")
        said = outcome(read, str(root))
        refused += said == "refused"
        if said not in (None, "refused"):
            wrong.setdefault(str(said), []).append(case)
        for file in changed:
            (root / file).write_bytes(files[file])
    return {"refused": refused, "wrong": wrong}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGVTALRM, alarm)
    folder = Path(sys.argv[1])
    results = {name: run(folder / name, int(sys.argv[2]), int(sys.argv[3]), name) for name in sys.argv[4:]}
    (folder / "result.json").write_text(json.dumps(results), "utf-8")
