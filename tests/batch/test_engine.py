"""The engine over stages whose answers are known."""

from __future__ import annotations

import gc
import pickle
import threading
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import openvocab
from openvocab import BadInput, BadOutput, BadWeights, ImageError, ModelFailed, OutOfMemory, Pipeline, Settings
from openvocab.batch import engine as engines
from openvocab.batch.batches import is_out_of_memory
from openvocab.batch.engine import Answer, Engine, Reading
from openvocab.images.decode import Isolated
from openvocab.images.items import Item
from openvocab.images.sources import items
from openvocab.pipeline import chain as chain_functions
from openvocab.pipeline.protocols import Prepared
from tests.helpers.stages import (
    ERROR_COLOR,
    LABELS,
    NAN_COLOR,
    FragileTagger,
    abort_on_crash_name,
    chain,
    save_images,
    tagging,
)


def engine_of(pipe: Pipeline, reading: Reading | None = None, **options: Any) -> Engine:
    return Engine(pipe, pipe.vocabulary(LABELS), reading or Reading(workers=2), **options)


def answers(pipe: Pipeline, named: Any, reading: Reading | None = None, **options: Any) -> list[Answer]:
    return list(engine_of(pipe, reading, **options).answers(items(named)))


def numbers(answer: Answer) -> Any:
    tags = {tag.label: tag.score for tag in answer.tags}
    boxes = None if answer.detections is None else answer.detections.scores
    return [*(tags[label] for label in LABELS), *([] if boxes is None else boxes), *answer.features]  # type: ignore[misc]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("images")
    save_images(made, 41)
    return made


@pytest.mark.parametrize("windows", [0, 2])
@pytest.mark.parametrize(
    ("batch_size", "workers"),
    [pytest.param(1, 1, id="one by one"), pytest.param(7, 3, id="7 and 3"), pytest.param(64, 8, id="all at once")],
)
def test_no_answer_depends_on_batch_size_or_workers(folder: Path, batch_size: int, workers: int, windows: int) -> None:
    reference = answers(chain(batch_size=5, windows=windows), folder, Reading(workers=1), features=True)
    pipe = chain(batch_size=batch_size, windows=windows)
    found = answers(pipe, folder, Reading(workers=workers), features=True)
    assert [one.item.id for one in found] == sorted(map(str, folder.iterdir()))
    for one, other in zip(found, reference, strict=True):
        np.testing.assert_allclose(numbers(one), numbers(other), atol=1e-4)
        assert one.features is not None
        np.testing.assert_allclose(np.linalg.norm(one.features), 1, rtol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_a_real_model_does_not_see_neighbors(
    clip_folders: dict[str, Path], make_image: Any, tmp_path: Path, batch_size: int
) -> None:
    for number, size in enumerate([(32, 48), (64, 32), (40, 40), (17, 90), (8, 8), (33, 31), (120, 64)]):
        Image.fromarray(make_image(*size, seed=number)).save(tmp_path / f"{number}.png")
    pipe = openvocab.load(tagger=f"open_clip:local-dir:{clip_folders['softmax']}", dtype="float32", tag_threshold=0.0)
    texts = pipe.vocabulary(["cat", "dog", "thing"])
    alone = [{tag.label: tag.score for tag in pipe(tmp_path / f"{number}.png", texts).tags} for number in range(7)]
    for one, result in zip(alone, pipe.run(tmp_path, texts, batch_size=batch_size), strict=True):
        assert {tag.label: tag.score for tag in result.tags} == pytest.approx(one, abs=1e-4)


@dataclass(frozen=True)
class Preparing(FragileTagger):
    """A tagger whose input can be prepared: each image's mean color; records the threads that prepare it."""

    threads: list[str] = field(default_factory=list)

    def prepare(self, image: Any) -> Prepared:
        self.threads.append(threading.current_thread().name)
        if tuple(image[0, 0]) == ERROR_COLOR:
            raise ValueError("the fake tagger fails on this image")
        return Prepared({"mean": image.mean((0, 1), keepdims=True)})

    def encode_images(self, images: Any) -> Any:
        return super().encode_images([getattr(one, "tensors", {"mean": one})["mean"] for one in images])


@pytest.mark.parametrize(
    ("settings", "options", "ahead"),
    [
        pytest.param({}, {}, True, id="ahead"),
        pytest.param({}, {"features": True}, True, id="ahead, with features"),
        pytest.param({"windows": 1}, {}, False, id="not with windows"),
        pytest.param({}, {"pixels": True}, False, id="not where answers need their pixels"),
    ],
)
def test_images_are_prepared_by_the_threads_that_decode(
    folder: Path, settings: dict[str, Any], options: dict[str, Any], ahead: bool
) -> None:
    tagger, chosen = Preparing(), Settings(tag_threshold=0.0, batch_size=4, **settings)
    prepared, plain = (
        answers(Pipeline(each, None, None, chosen), folder, **options) for each in (tagger, FragileTagger())
    )
    assert [one.item.id for one in prepared] == [one.item.id for one in plain]
    for one, other in zip(prepared, plain, strict=True):
        assert [tag.label for tag in one.tags] == [tag.label for tag in other.tags]
        np.testing.assert_allclose([tag.score for tag in one.tags], [tag.score for tag in other.tags], rtol=1e-6)
        assert one.prepared is None
        assert one.decoded is not None
        assert other.decoded is not None
        assert one.decoded.pixels.size == (0 if ahead else other.decoded.pixels.size)
    assert len(tagger.threads) == (41 if ahead else 0)
    assert all(name.startswith("openvocab-decode") for name in tagger.threads)


def test_an_image_that_cannot_be_prepared_costs_its_row_alone(tmp_path: Path) -> None:
    for number, color in enumerate([(9, 9, 9), ERROR_COLOR, (8, 8, 8)]):
        Image.new("RGB", (6, 5), color).save(tmp_path / f"{number}.png")
    found = answers(Pipeline(Preparing(), None, None, Settings()), tmp_path)
    assert [one.kind for one in found] == [None, "failed", None]
    assert (found[1].row().width, found[1].row().height) == (6, 5)
    assert "fails on" in (found[1].row().error or "")


@pytest.mark.parametrize("most", [8, 5, 1])
@pytest.mark.parametrize("windows", [0, 1])
def test_a_batch_that_runs_out_of_memory_is_halved(folder: Path, most: int, windows: int) -> None:
    made = Pipeline(
        FragileTagger(max_batch=most), None, None, Settings(tag_threshold=0.0, batch_size=16, windows=windows)
    )
    free = Pipeline(FragileTagger(), None, None, made.settings)
    engine = engine_of(made, features=True)
    found = list(engine.answers(items(folder)))
    for one, other in zip(found, answers(free, folder, features=True), strict=True):
        np.testing.assert_allclose(numbers(one), numbers(other), atol=1e-4)
    assert engine.batch_sizes == {"tagger": {8: 8, 5: 4, 1: 1}[most]}
    assert isinstance(made.tagger, FragileTagger)
    assert sum(size > most for size in made.tagger.calls) <= 4


def test_an_image_that_runs_out_of_memory_alone_is_one_row(tmp_path: Path) -> None:
    save_images(tmp_path, 5)
    Image.new("RGB", (9, 99)).save(tmp_path / "00002.png")
    pipe = tagging(max_height=50, batch_size=4)
    found = answers(pipe, tmp_path)
    assert [one.kind for one in found] == [None, None, "oom", None, None]
    with pytest.raises(OutOfMemory, match="ran out of memory on this image alone"):
        list(pipe.run(tmp_path, LABELS))


@pytest.mark.parametrize(
    ("error", "memory"),
    [
        pytest.param(MemoryError(), True, id="MemoryError"),
        pytest.param(RuntimeError("CUDA error: out of memory"), True, id="CUDA"),
        pytest.param(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), True, id="CPU"),
        pytest.param(ValueError("out of memory of this talk"), False, id="words alone"),
        pytest.param(RuntimeError("shapes differ"), False, id="another"),
    ],
)
def test_what_counts_as_out_of_memory(error: Exception, memory: bool) -> None:
    assert is_out_of_memory(error) is memory


def test_torch_out_of_memory_counts() -> None:
    import torch

    assert is_out_of_memory(torch.OutOfMemoryError("x"))


def test_a_detector_batch_that_runs_out_of_memory_is_halved(folder: Path) -> None:
    from tests.helpers.stages import FragileDetector

    made = Pipeline(None, FragileDetector(max_batch=3), None, Settings(box_threshold=0.0, batch_size=8))
    engine = engine_of(made)
    assert [one.kind for one in engine.answers(items(folder))] == [None] * 41
    assert engine.batch_sizes == {"detector": 2}


@pytest.mark.parametrize("batch_size", [1, 4, 16])
def test_only_the_image_whose_scores_are_nan_is_an_error(tmp_path: Path, batch_size: int) -> None:
    save_images(tmp_path, 9)
    for number in (3, 4):
        Image.new("RGB", (9, 9), NAN_COLOR).save(tmp_path / f"0000{number}.png")
    found = answers(tagging(batch_size=batch_size), tmp_path)
    assert [one.kind for one in found] == [None] * 3 + ["nonfinite"] * 2 + [None] * 4
    with pytest.raises(BadOutput):
        list(tagging().run(tmp_path, LABELS))


@pytest.mark.parametrize("batch_size", [1, 4, 16])
def test_an_image_that_the_model_fails_on_is_one_row(tmp_path: Path, batch_size: int) -> None:
    save_images(tmp_path, 9)
    Image.new("RGB", (9, 9), ERROR_COLOR).save(tmp_path / "00004.png")
    found = answers(tagging(batch_size=batch_size), tmp_path)
    assert [one.kind for one in found] == [None] * 4 + ["failed"] + [None] * 4
    assert found[4].row().error == "the fake tagger fails on this image"


@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_model_that_fails_on_every_image_ends_the_run(tmp_path: Path, batch_size: int) -> None:
    for number in range(20):
        Image.new("RGB", (9, 9), ERROR_COLOR).save(tmp_path / f"{number}.png")
    with pytest.raises(ModelFailed, match=r"the tagger failed on every image, 1\d in a row \(the fake tagger fails"):
        answers(tagging(batch_size=batch_size), tmp_path)


@pytest.mark.parametrize("color", [pytest.param(NAN_COLOR, id="nonfinite"), pytest.param(ERROR_COLOR, id="failed")])
@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_a_few_images_alone_that_a_sound_model_fails_on_are_rows(
    tmp_path: Path, batch_size: int, color: tuple[int, int, int]
) -> None:
    """As where --retry-errors does them again: a plain image has an answer, so that they are at fault."""
    for number in range(3):
        Image.new("RGB", (9, 9), color).save(tmp_path / f"{number}.png")
    found = answers(tagging(batch_size=batch_size), tmp_path)
    assert [one.kind for one in found] == ["nonfinite" if color == NAN_COLOR else "failed"] * 3


@dataclass(frozen=True)
class Dead(FragileTagger):
    """Answers nothing but NaN, as a model with a broken weight does, or lacks memory for any image."""

    error: Exception | None = None

    def encode_images(self, images: Any) -> Any:
        if self.error is not None:
            raise self.error
        return np.full((len(images), 4), np.nan, np.float32)


@pytest.mark.parametrize(
    ("batch_size", "error"),
    [
        *(pytest.param(size, None, id=f"NaN, {size} at once") for size in (1, 2, 16)),
        pytest.param(1, RuntimeError("CUDA error: device-side assert"), id="device, one by one"),
        pytest.param(16, RuntimeError("CUDA error: device-side assert"), id="device, 16 at once"),
        pytest.param(2, MemoryError(), id="memory"),
    ],
)
def test_a_dead_model_ends_the_run_after_few_images(
    folder: Path, tmp_path: Path, batch_size: int, error: Exception | None
) -> None:
    pipe = Pipeline(Dead(error=error), None, None, Settings(batch_size=batch_size))
    with pytest.raises(ModelFailed, match="the tagger failed on every image") as caught:
        pipe.run_to(tmp_path / "run", folder, LABELS)
    assert "\n" not in str(caught.value) and "dtype='float32'" in str(caught.value)
    assert len(openvocab.read_run(tmp_path / "run")) < 10
    assert pickle.loads(pickle.dumps(caught.value)).args == caught.value.args  # workers tell it to who writes


def test_a_real_model_with_a_broken_weight_ends_the_run(
    clip_folders: dict[str, Path], folder: Path, tmp_path: Path
) -> None:
    pipe = openvocab.load(tagger=f"open_clip:local-dir:{clip_folders['softmax']}", dtype="float32")
    next(pipe.tagger.model.visual.parameters()).data.view(-1)[0] = float("nan")  # type: ignore[union-attr]
    with pytest.raises(ModelFailed, match="not finite"):
        pipe.run_to(tmp_path / "run", folder, ["cat", "dog"])
    assert len(openvocab.read_run(tmp_path / "run")) == 0


@pytest.mark.parametrize("scale", [float("inf"), float("nan"), 0.0])
def test_a_logit_scale_that_no_score_comes_from_is_refused_at_load(clip_folders: dict[str, Path], scale: float) -> None:
    tagger = openvocab.load_tagger(f"open_clip:local-dir:{clip_folders['sigmoid']}", dtype="float32")
    with pytest.raises(BadWeights, match="has a logit scale of"):
        replace(tagger, scale=scale)  # type: ignore[type-var]


def test_logits_that_are_infinite_are_no_scores(clip_folders: dict[str, Path], make_image: Any) -> None:
    tagger = openvocab.load_tagger(f"open_clip:local-dir:{clip_folders['sigmoid']}", dtype="float32")
    with pytest.raises(BadOutput, match="logits are not finite"):
        replace(tagger, scale=3e38, bias=3e38).score([make_image(32, 32)], ["cat", "dog"])  # type: ignore[type-var]


def test_a_tagger_that_prepares_no_image_ends_the_run(tmp_path: Path) -> None:
    for number in range(20):
        Image.new("RGB", (9, 9), ERROR_COLOR).save(tmp_path / f"{number:02}.png")
    with pytest.raises(ModelFailed, match="20 in a row"):
        answers(Pipeline(Preparing(), None, None, Settings()), tmp_path)


def test_a_decoder_that_aborts_costs_one_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_images(tmp_path, 4)
    (tmp_path / "00001-crash.png").write_bytes(b"")
    (tmp_path / "00002-broken.png").write_bytes(b"no image")

    def isolated(most: int, least: int | None, decoder: Any) -> Isolated:
        return Isolated(most, least, abort_on_crash_name)

    monkeypatch.setattr(engines, "Isolated", isolated)
    found = answers(tagging(), tmp_path, Reading(workers=2, isolate=True))
    kinds = [None, None, "decoder_crashed", None, "not_an_image", None]
    assert sorted(map(str, (one.kind for one in found))) == sorted(map(str, kinds))
    assert {Path(one.item.id).stem: one.kind for one in found if one.error} == {
        "00001-crash": "decoder_crashed",
        "00002-broken": "not_an_image",
    }


def test_the_digest_is_of_the_decoded_bytes(tmp_path: Path) -> None:
    import hashlib

    (path,) = save_images(tmp_path, 1)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    (answer,) = answers(tagging(), tmp_path)
    path.write_bytes(b"something else")
    assert answer.row().sha256 == digest


def test_the_size_is_upright_and_frames_are_counted(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (60, 40)).save(tmp_path / "a.jpg", exif=exif)
    frames = [Image.new("RGB", (8, 8), (0, 80 * number, 0)) for number in range(3)]
    for suffix in ("gif", "webp", "png", "tiff"):
        frames[0].save(tmp_path / f"b.{suffix}", save_all=True, append_images=frames[1:])
    rows = {Path(one.item.id).name: one.row() for one in answers(tagging(), tmp_path)}
    assert (rows["a.jpg"].width, rows["a.jpg"].height, rows["a.jpg"].frames) == (40, 60, 1)
    assert {name: row.frames for name, row in rows.items() if name != "a.jpg"} == dict.fromkeys(
        ["b.gif", "b.webp", "b.png", "b.tiff"], 3
    )


def test_a_decompression_bomb_is_refused_before_decoding_and_in_little_memory(
    tmp_path: Path, decoded_sizes: list[tuple[int, int]]
) -> None:
    from tests.images.test_read import png_header

    (tmp_path / "bomb.png").write_bytes(png_header(60_000, 60_000))
    with (tmp_path / "large.png").open("wb") as file:  # 100 MB behind a header that says enough
        file.write(png_header(60_000, 60_000)[:-12])
        file.truncate(100_000_000)
    (tmp_path / "frames.gif").write_bytes(
        b"GIF89a\x01\0\x01\0\x80\0\0"
        + b"\0\0\0\xff\xff\xff"
        + b",\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0" * 300_000
        + b";"
    )
    for name, kind in (("bomb.png", "too_large"), ("large.png", "too_large"), ("frames.gif", "ok")):
        tracemalloc.start()
        (answer,) = answers(tagging(), tmp_path / name)
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
        tracemalloc.stop()
        assert (answer.kind or "ok") == kind
    assert answer.row().frames == 10_000 and decoded_sizes == [(1, 1)]


@pytest.mark.parametrize(
    ("size", "least", "decoded"),
    [
        pytest.param((1600, 1200), 224, (400, 300), id="a quarter is enough"),
        pytest.param((1600, 1200), 1000, (1600, 1200), id="half is too little"),
        pytest.param((100, 80), 224, (100, 80), id="small already"),
    ],
)
def test_scaled_decoding_keeps_the_side_and_tells_the_whole_size(
    tmp_path: Path, size: tuple[int, int], least: int, decoded: tuple[int, int]
) -> None:
    Image.new("RGB", size, "red").save(tmp_path / "a.jpg")
    (answer,) = answers(tagging(), tmp_path, Reading(decode_size=least))
    assert answer.decoded is not None
    assert (answer.decoded.pixels.shape[1], answer.decoded.pixels.shape[0]) == decoded
    assert (answer.row().width, answer.row().height) == size


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(lambda: engine_of(chain(), Reading(decode_size=8)), "tags alone", id="scaled boxes"),
        pytest.param(
            lambda: engine_of(Pipeline(None, chain().detector, None, Settings()), features=True),
            "this pipeline has none",
            id="features without a tagger",
        ),
        pytest.param(lambda: Reading(workers=0), "workers must be", id="no worker"),
    ],
)
def test_what_does_not_fit_is_refused(make: Any, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        make()


def test_run_holds_no_image_that_was_let_go_of(tmp_path: Path) -> None:
    save_images(tmp_path, 60, size=300)
    gc.collect()
    tracemalloc.start()
    for _ in tagging(batch_size=2).run(tmp_path, LABELS, workers=2):
        held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert held < 20 * 300 * 300 * 3


def test_a_loop_that_is_left_ends_its_threads(tmp_path: Path) -> None:
    save_images(tmp_path, 100)
    before = set(threading.enumerate())
    for _ in tagging().run(tmp_path, LABELS, workers=4):
        break
    gc.collect()

    def left() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread not in before and "openvocab" in thread.name]

    deadline = time.monotonic() + 5
    while left() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left()


def test_an_error_of_the_source_is_raised_where_answers_are_taken() -> None:
    def broken() -> Iterator[Item]:
        yield Item("a", error=ImageError("missing", "a does not exist"))
        raise BadInput("the list ends here")

    with pytest.raises(BadInput, match="ends here"):
        list(engine_of(tagging()).answers(broken()))


def test_few_of_100_000_labels_are_sorted_and_the_best_are_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = np.random.default_rng(0).integers(0, 1000, 100_000).astype(np.float32) / np.float32(1000)
    pipe = tagging().changed(tag_threshold=0.1)
    labels = tuple(map(str, range(100_000)))
    sorts: list[int] = []
    real = np.argsort

    def counted(array: Any, *more: Any, **named: Any) -> Any:
        sorts.append(len(array))
        return real(array, *more, **named)

    monkeypatch.setattr(np, "argsort", counted)
    found = chain_functions.tag(pipe, scores, labels).tags
    monkeypatch.undo()
    assert 0 < max(sorts) < 1000
    assert [int(tag.label) for tag in found] == np.argsort(-scores, kind="stable")[:20].tolist()
