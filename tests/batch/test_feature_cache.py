"""The cache of features: the same answers, and neither a decoder nor a tower for what was there before."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import openvocab
from openvocab import BadInput, CannotWrite, Pipeline, Settings
from openvocab.batch import engine
from openvocab.batch.feature_cache import CacheEntry, FeatureCache, cached_labels, open_cache
from openvocab.batch.rows import Row
from openvocab.images import decode
from openvocab.images import read as images
from openvocab.ui.cli.main import main
from tests.helpers.stages import LABELS, FragileDetector, FragileTagger, save_images

NEW = ("one", "two", "three", "four")


@pytest.fixture(autouse=True)
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with nine images, and a broken one in their middle."""
    monkeypatch.chdir(tmp_path)
    save_images(Path("photos"), 9)
    Path("photos/00004b.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return Path("photos")


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were decoded."""
    names: list[str] = []
    real = images.decode

    def counted(data: bytes, name: str, **options: Any) -> Any:
        names.append(name)
        return real(data, name, **options)

    monkeypatch.setattr(decode, "decode", counted)
    return names


def run(out: str, labels: Any = LABELS, *, tagger: Any = None, detector: Any = None, **options: Any) -> list[int]:
    """Fill a run folder, and return how many views went through the image tower at a time."""
    own = tagger or FragileTagger()
    settings = Settings(tag_threshold=0.0, box_threshold=0.0)
    own.calls.clear()
    Pipeline(own, detector, None, settings).run_to(out, "photos", labels, features="float32", **options)
    return list(own.calls)


def rows(out: str) -> list[Row]:
    return list(openvocab.read_run(out))


def assert_same(one: str, other: str) -> None:
    for got, wanted in zip(rows(one), rows(other), strict=True):
        for name in ("id", "sha256", "width", "height", "frames", "error_kind", "error"):
            assert getattr(got, name) == getattr(wanted, name)
        assert [tag.label for tag in got.tags] == [tag.label for tag in wanted.tags]
        np.testing.assert_allclose([tag.score for tag in got.tags], [tag.score for tag in wanted.tags], atol=1e-6)
        if wanted.features is not None and got.features is not None:
            np.testing.assert_allclose(got.features, wanted.features, atol=1e-6)
        assert (got.features is None) == (wanted.features is None)


@pytest.mark.parametrize("windows", [0, 2])
@pytest.mark.parametrize("isolate", [pytest.param(False, id="threads"), pytest.param(True, id="processes")])
def test_other_labels_touch_no_pixel_and_answer_the_same(windows: int, isolate: bool, decoded: list[str]) -> None:
    run("first", cache="cache", windows=windows, isolate=isolate)
    run("plain", NEW, windows=windows, tag_threshold=0.5)
    decoded.clear()
    assert run("again", NEW, cache="cache", windows=windows, tag_threshold=0.5) == []
    assert decoded == ["'photos/00004b.png'"]
    assert_same("again", "plain")


def test_new_images_between_known_ones_are_embedded_and_the_order_is_kept(decoded: list[str]) -> None:
    run("first", cache="cache")
    Path("photos/00003.png").rename("photos/z.png")
    for number, path in enumerate(save_images(Path("more"), 14)[9:]):
        path.rename(f"photos/0000{number}x.png")
    run("plain")
    decoded.clear()
    assert sum(run("again", cache="cache")) == 5
    assert len(decoded) == 6
    assert_same("again", "plain")


def test_a_detector_gets_its_pixels_and_the_image_tower_none() -> None:
    run("first", cache="cache")
    run("plain", detector=FragileDetector())
    assert run("again", detector=FragileDetector(), cache="cache") == []
    assert_same("again", "plain")
    found = [
        [None if row.detections is None else row.detections.xyxy.tolist() for row in rows(one)]
        for one in ("again", "plain")
    ]
    assert found[0] == found[1]


def test_drawing_gets_its_pixels() -> None:
    run("first", cache="cache")
    assert run("drawn", cache="cache", draw=True) == []
    assert len(list(Path("drawn/images").iterdir())) == 9


RECORD = FragileTagger().record


@pytest.mark.parametrize(
    ("changed", "options"),
    [
        pytest.param({"record": replace(RECORD, sha256="1" * 64)}, {}, id="weights"),
        pytest.param({"record": replace(RECORD, dtype="bfloat16")}, {}, id="dtype"),
        pytest.param({"preparation": "median"}, {}, id="preprocessing"),
        pytest.param({}, {"windows": 2}, id="windows"),
        pytest.param({}, {"decode_size": 4}, id="scaled decoding"),
    ],
)
def test_what_changes_features_is_in_their_key(changed: dict[str, Any], options: dict[str, Any]) -> None:
    run("first", cache="cache")
    assert run("again", cache="cache") == []
    assert sum(run("other", tagger=replace(FragileTagger(), **changed), cache="cache", **options)) >= 9


def test_an_image_over_the_limit_is_refused_though_it_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    run("first", cache="cache")
    reading = engine.Reading(max_pixels=70)
    pipe = Pipeline(FragileTagger(), None, None, Settings())
    with open_cache("cache") as cache:
        made = engine.Engine(pipe, pipe.vocabulary(LABELS), reading, cache=cache)
        kinds = {answer.kind for answer in made.answers(openvocab.images.sources.items("photos"))}
    assert "too_large" in kinds


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_labels_are_encoded_once_whatever_the_others_are(kind: str, clip_folders: Any, monkeypatch: Any) -> None:
    tagger = openvocab.load_tagger(f"open_clip:local-dir:{clip_folders[kind]}", "cpu", "float32")
    prompts = openvocab.prompt_set(["a {label}", "the {label}"])
    seen: list[str] = []
    kind_of_tagger: Any = type(tagger)
    real = kind_of_tagger._embed_texts

    def counted(self: Any, texts: list[str]) -> Any:
        seen.extend(texts)
        return real(self, texts)

    monkeypatch.setattr(kind_of_tagger, "_embed_texts", counted)
    cached_labels("cache", tagger, ["dog", "犬", "cat"], prompts)
    seen.clear()
    made = cached_labels("cache", tagger, ["cat", "tree", "dog", "犬"], prompts)
    assert seen == ["a tree", "the tree"]
    wanted = tagger.encode_labels(["cat", "tree", "dog", "犬"], prompts)
    assert made.labels == wanted.labels
    np.testing.assert_allclose(made.embeddings, wanted.embeddings, atol=1e-6)
    seen.clear()
    cached_labels("cache", tagger, ["dog"], openvocab.prompt_set("a {label}"))
    assert seen == ["a dog"]
    with pytest.raises(BadInput, match="twice|same"):
        cached_labels("cache", tagger, ["dog", "dog"], prompts)


def test_a_real_tagger_is_not_asked_again(
    clip_folders: Any, monkeypatch: pytest.MonkeyPatch, decoded: list[str]
) -> None:
    tagger = openvocab.load_tagger(f"open_clip:local-dir:{clip_folders['softmax']}", "cpu", "float32")
    pipe = Pipeline(tagger, None, None, Settings())
    pipe.run_to("plain", "photos", NEW)
    pipe.run_to("first", "photos", LABELS, cache="cache")
    decoded.clear()
    monkeypatch.setattr(type(tagger), "_embed_images", lambda *_: pytest.fail("the image tower was called"))
    pipe.run_to("again", "photos", NEW, cache="cache")
    assert len(decoded) == 1
    assert_same("again", "plain")


def test_a_folder_that_cannot_be_made_and_a_tagger_without_a_digest() -> None:
    Path("file").write_text("")
    with pytest.raises(CannotWrite, match="cannot be made a folder"):
        run("first", cache="file/cache")
    with pytest.raises(BadInput, match="sha256 of fake:tagger's weights is not known"):
        run("first", cache="cache", tagger=replace(FragileTagger(), record=replace(RECORD, sha256=None)))


def test_several_writers_lose_nothing() -> None:
    def write(start: int) -> None:
        with open_cache("cache") as cache:
            for number in range(start, start + 50):
                cache.add([(number.to_bytes(8), CacheEntry(1, 2, 3, np.full((2, 4), number, np.float32)))])

    threads = [threading.Thread(target=write, args=(start,)) for start in (0, 25, 50, 75)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with open_cache("cache") as cache:
        found = cache.find([number.to_bytes(8) for number in range(200)])
    assert len(found) == 125
    assert all((kept.rows == int.from_bytes(key)).all() and kept.rows.shape == (2, 4) for key, kept in found.items())


def test_the_command_keeps_and_uses_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    tagger = FragileTagger()
    monkeypatch.setattr(openvocab, "load", lambda *_, **__: Pipeline(tagger, None, None, Settings()), raising=False)
    main(["tag", "photos", "--labels", "a, b", "--out", "one", "--cache", "cache"])
    tagger.calls.clear()
    main(["tag", "photos", "--labels", "c, d", "--out", "two", "--cache", "cache"])
    assert tagger.calls == []
    assert "9 rows" in capsys.readouterr().out or len(rows("two")) == 10


def test_closing_waits_for_readers(tmp_path: Path) -> None:
    """Threads that still read while the cache is closed get an answer or an error, never a crash of the process."""
    keys = [bytes([number]) * 32 for number in range(200)]
    rows = np.ones((4, 512), np.float32)
    outcomes: list[str] = []

    def read(cache: FeatureCache) -> None:
        for _ in range(50):
            try:
                cache.find(keys)
                outcomes.append("found")
            except BadInput:
                outcomes.append("closed")
                return

    with open_cache(tmp_path) as cache:
        cache.add((key, CacheEntry(1, 1, 1, rows)) for key in keys)
        readers = [threading.Thread(target=read, args=(cache,)) for _ in range(4)]
        for reader in readers:
            reader.start()
        while "found" not in outcomes:
            time.sleep(0.001)
    for reader in readers:
        reader.join()
    assert "closed" in outcomes
