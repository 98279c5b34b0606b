"""Damage to the cache of features: no wrong answer, no error of an image, and what is damaged is made anew."""

from __future__ import annotations

import hashlib
import random
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import openvocab
from openvocab.batch.feature_cache import CacheEntry, cached_labels, open_cache
from tests.batch.test_feature_cache import NEW, assert_same, run
from tests.helpers.stages import save_images


@pytest.fixture(autouse=True)
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A current folder with nine images."""
    monkeypatch.chdir(tmp_path)
    save_images(Path("photos"), 9)


def spoil(where: int) -> None:
    """Write 3,000 bytes of nonsense into the file."""
    file = Path("cache/features.sqlite")
    data = bytearray(file.read_bytes())
    data[where : where + 3000] = b"\x5a" * len(data[where : where + 3000])
    file.write_bytes(data)


def spoil_bytes(old: bytes, new: bytes) -> None:
    """Replace bytes that are there once, each by one that differs in one bit."""
    file = Path("cache/features.sqlite")
    data = file.read_bytes()
    assert data.count(old) == 1
    assert all((one ^ other).bit_count() <= 1 for one, other in zip(old, new, strict=True))
    file.write_bytes(data.replace(old, new))


@pytest.mark.parametrize(
    ("damage", "isolate"),
    [
        pytest.param(lambda: spoil(0), False, id="header"),
        pytest.param(lambda: spoil(5000), False, id="page"),
        pytest.param(lambda: spoil(5000), True, id="page, processes"),
        pytest.param(lambda: spoil_bytes(b"SQLite format 3", b"SQLite fosmat 3"), False, id="another format"),
        pytest.param(lambda: spoil_bytes(b"\x10\x00\x02\x02", b"\x10\x00\x03\x02"), False, id="marked read-only"),
        pytest.param(lambda: spoil_bytes(b" width integer,", b" wieth integer,"), False, id="column renamed"),
        pytest.param(
            lambda: spoil_bytes(b"width integer, height", b"width integer\x0c height"), False, id="column lost"
        ),
    ],
)
def test_a_damaged_file_is_set_aside_with_one_warning(
    damage: Any, isolate: bool, caplog: pytest.LogCaptureFixture
) -> None:
    run("first", cache="cache")
    save_images(Path("more"), 10)[9].rename("photos/new.png")
    run("plain", NEW)
    damage()
    run("again", NEW, cache="cache", isolate=isolate)
    assert_same("again", "plain")
    (message,) = caplog.messages
    assert "features.sqlite is damaged (" in message
    assert "renamed to features.sqlite.damaged, and images are embedded again" in message
    assert Path("cache/features.sqlite.damaged").is_file()
    run("rest", NEW, cache="cache")  # what was still read from the damaged file
    assert run("last", NEW, cache="cache") == []
    assert_same("last", "plain")
    assert len(caplog.messages) == 1


@pytest.mark.parametrize(
    "changed",
    [
        "width = width + 64",
        "height = 'high'",
        "frames = null",
        "count = count * 2",
        "count = 0",
        "check_sum = check_sum + 1",
        "check_sum = null",
        "data = zeroblob(length(data))",
        "data = substr(data, 2)",
        "data = 3",
        "data = null",
        "data = (select data from features limit 1)",
    ],
)
def test_a_damaged_entry_is_embedded_anew_and_rewritten(changed: str, caplog: pytest.LogCaptureFixture) -> None:
    run("first", cache="cache")
    run("plain", NEW)
    with sqlite3.connect("cache/features.sqlite") as file:
        file.execute(f"update features set {changed} where rowid in (4, 6)")
    file.close()
    assert sum(run("again", NEW, cache="cache")) == 2
    assert_same("again", "plain")
    assert run("last", NEW, cache="cache") == []
    assert_same("last", "plain")
    assert not caplog.messages


def test_entries_under_exchanged_keys_are_not_each_others_answers() -> None:
    run("first", cache="cache")
    run("plain", NEW)
    with sqlite3.connect("cache/features.sqlite") as file:
        (one,), (other,) = file.execute("select key from features where rowid in (4, 6) order by rowid")
        for row, key in ((4, b"none"), (6, one), (4, other)):
            file.execute("update features set key = ? where rowid = ?", (key, row))
    file.close()
    assert sum(run("again", NEW, cache="cache")) == 2
    assert_same("again", "plain")


def test_a_label_whose_entry_is_damaged_is_encoded_anew(clip_folders: Any) -> None:
    tagger = openvocab.load_tagger(f"open_clip:local-dir:{clip_folders['softmax']}", "cpu", "float32")
    prompts = openvocab.prompt_set("a {label}")
    wanted = cached_labels("cache", tagger, ["dog", "cat"], prompts).embeddings
    with sqlite3.connect("cache/features.sqlite") as file:
        file.execute("update features set data = (select data from features limit 1)")
    file.close()
    for _ in range(2):
        np.testing.assert_allclose(
            cached_labels("cache", tagger, ["dog", "cat"], prompts).embeddings, wanted, atol=1e-6
        )


def test_two_that_have_a_damaged_file_open_set_it_aside_once(caplog: pytest.LogCaptureFixture) -> None:
    """The second finds another file in its place, and takes that one."""
    entries = {number.to_bytes(8): CacheEntry(1, 2, 3, np.full((2, 600), number, np.float32)) for number in range(40)}
    with open_cache("cache") as cache:
        cache.add(entries.items())
    with open_cache("cache") as one, open_cache("cache") as other:
        spoil(4096)
        assert one.find(list(entries)) == {}
        one.add(entries.items())
        assert set(other.find(list(entries))) == set(entries)
        other.add([(b"more", CacheEntry(1, 2, 3, np.zeros((1, 4), np.float32)))])
        assert set(one.find([b"more"])) == {b"more"}
    assert len(caplog.messages) == 1
    with open_cache("cache") as cache:
        assert len(cache.find([*entries, b"more"])) == 41


SOUND = {
    hashlib.sha256(bytes([number])).digest() * 2: CacheEntry(
        64 + number, 48, 1, np.random.default_rng(number).random((1 + number % 3, 8), np.float32)
    )
    for number in range(40)
}


def wrong(found: dict[bytes, CacheEntry]) -> int:
    """Return how many entries are not what was kept under their key."""
    return sum(
        (one.width, one.height, one.frames) != (SOUND[key].width, SOUND[key].height, SOUND[key].frames)
        or not np.array_equal(one.rows, SOUND[key].rows)
        for key, one in found.items()
    )


@pytest.mark.parametrize("flips", [60, pytest.param(1500, marks=pytest.mark.long)])
@pytest.mark.parametrize("name", ["features.sqlite", "features.sqlite-wal"])
def test_no_flipped_bit_is_served_and_every_entry_can_be_written_again(name: str, flips: int) -> None:
    with open_cache("cache") as cache:
        for entry in SOUND.items():
            cache.add([entry])
        if name.endswith("-wal"):  # as a process that was killed leaves it
            shutil.copytree("cache", "sound", ignore=lambda *_: ["features.sqlite-shm"])
    if not name.endswith("-wal"):
        shutil.copytree("cache", "sound")
    rng, served, missed = random.Random(7), 0, 0
    for _ in range(flips):
        shutil.rmtree("cache")
        shutil.copytree("sound", "cache")
        data = bytearray(Path("cache", name).read_bytes())
        at = rng.randrange(8 * len(data))
        data[at // 8] ^= 1 << at % 8
        Path("cache", name).write_bytes(data)
        with open_cache("cache") as cache:
            for _ in range(2):  # damage may be noticed by the second search only; all entries are missed then
                found = cache.find(list(SOUND))
                served += wrong(found)
                missed += len(found) < len(SOUND)
                cache.add((key, kept) for key, kept in SOUND.items() if key not in found)
            again = cache.find(list(SOUND))
        served += wrong(again)
        assert set(again) == set(SOUND)
    assert served == 0
    assert missed > 0
