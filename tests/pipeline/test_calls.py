"""What the calls of a pipeline take, and what they refuse by name."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import openvocab
from openvocab import BadInput, Pipeline
from tests.helpers.stages import LABELS, chain, save_images

IMAGE = np.full((8, 8, 3), 90, np.uint8)

CALLS: dict[str, Callable[[Pipeline, Path, dict[str, Any]], Any]] = {
    "pipe": lambda pipe, here, more: pipe(IMAGE, LABELS, **more),
    "run": lambda pipe, here, more: list(pipe.run(here / "p", LABELS, **more)),
    "run_to": lambda pipe, here, more: pipe.run_to(here / "run", here / "p", LABELS, **more),
    "explore": lambda pipe, here, more: list(pipe.explore(IMAGE, LABELS, **more)),
    "load": lambda pipe, here, more: openvocab.load("pocket", **more),
    "workers": lambda pipe, here, more: openvocab.Workers(openvocab.Loader("pocket"), ("cpu",)).run_to(
        here / "run", here / "p", LABELS, **more
    ),
}


@pytest.mark.parametrize(
    ("call", "given", "says"),
    [
        pytest.param(
            "pipe",
            "box_treshold",
            "pipe.. has no option .* mean 'box_threshold'.*options: template, allow_urls;",
            id="call",
        ),
        pytest.param("pipe", "features", "options: template, allow_urls; settings: batch_size", id="call, run's"),
        pytest.param(
            "run", "on_eror", "run.. has no .* mean 'on_error'.*options: template, on_error.*settings", id="run"
        ),
        pytest.param("run_to", "featurs", "run_to.. has no .* mean 'features'.*retry_errors.*settings", id="run_to"),
        pytest.param(
            "explore", "min_scor", "explore.. has no .* mean 'min_score'.*options: template, min_score", id="explore"
        ),
        pytest.param("load", "dtipe", "load.. has no .* mean 'dtype'.*tags_alone; settings: batch_size", id="load"),
        pytest.param("workers", "featurs", "run_to.. has no .* mean 'features'", id="workers"),
    ],
)
def test_a_wrong_name_is_met_with_the_right_ones_of_that_call(call: str, given: str, says: str, tmp_path: Path) -> None:
    save_images(tmp_path / "p", 2)
    with pytest.raises(BadInput, match=says):
        CALLS[call](chain(), tmp_path, {given: 1})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("call", ["pipe", "run", "run_to", "explore"])
def test_a_template_for_encoded_labels_is_refused(call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_images(tmp_path / "p", 2)
    pipe = chain()
    known = pipe.vocabulary(LABELS, "a {label}")
    monkeypatch.setitem(globals(), "LABELS", known)
    with pytest.raises(BadInput, match=r"encoded already; give the template to vocabulary\(\)"):
        CALLS[call](pipe, tmp_path, {"template": "a drawing of a {label}"})
    CALLS[call](pipe, tmp_path, {})


def _png(image: np.ndarray) -> bytes:
    with BytesIO() as file:
        Image.fromarray(image).save(file, "PNG")
        return file.getvalue()


IMAGES = [np.full((8, 9, 3), level, np.uint8) for level in (20, 120, 220)]
IN_MEMORY: dict[str, Callable[[np.ndarray], Any]] = {
    "array": lambda image: image,
    "image": Image.fromarray,
    "bytes": _png,
}


@pytest.mark.parametrize("more", [{}, {"isolate": True}, {"frames": "all"}], ids=["plain", "isolated", "frames"])
@pytest.mark.parametrize("kind", IN_MEMORY)
def test_run_takes_what_a_call_takes(kind: str, more: dict[str, Any]) -> None:
    given = [IN_MEMORY[kind](image) for image in IMAGES]
    results = list(chain().run(given, LABELS, **more))
    assert [result.source for result in results] == [f"{kind}-0", f"{kind}-1", f"{kind}-2"]
    for result, one in zip(results, given, strict=True):
        alone = chain()(one, LABELS)
        assert (result.tags, result.width, result.height) == (alone.tags, alone.width, alone.height)
        np.testing.assert_array_equal(result.image, alone.image)


@pytest.mark.parametrize("kind", IN_MEMORY)
def test_one_image_in_memory_is_a_run_of_one(kind: str) -> None:
    (result,) = chain().run(IN_MEMORY[kind](IMAGES[0]), LABELS)
    assert result.source == f"{kind}-0"


def test_images_in_memory_go_among_paths(tmp_path: Path) -> None:
    (path,) = save_images(tmp_path, 1)
    transparent = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    found = list(chain().run([path, IMAGES[0], transparent], LABELS))
    assert [result.source for result in found] == [str(path), "array-1", "image-2"]
    assert found[2].image.min() == 255


def test_an_image_in_memory_that_cannot_be_used_is_one_error() -> None:
    errors: list[tuple[str, str]] = []
    given = [IMAGES[0], IMAGES[0].astype(np.float32), b"no image" * 20_000, IMAGES[1]]
    found = list(chain().run(given, LABELS, on_error=lambda path, error: errors.append((str(path), str(error)))))
    assert [result.source for result in found] == ["array-0", "array-3"]
    assert [name for name, _ in errors] == ["array-1", "bytes-2"]
    assert "must be uint8, got float32" in errors[0][1] and all(len(message) < 300 for _, message in errors)


@pytest.mark.parametrize("given", [pytest.param([IMAGES[0]], id="array"), pytest.param([b"x" * 172_000], id="bytes")])
def test_a_run_folder_wants_names(given: list[Any], tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"identifies images by their paths.*use pipe.run\(\)") as raised:
        chain().run_to(tmp_path / "run", given, LABELS)
    assert len(str(raised.value)) < 300 and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        pytest.param("*.png", ["00000.png", "00001.png", "00002.png"], id="wildcard"),
        pytest.param("*", ["00000.png", "00001.png", "00002.png"], id="wildcard over other files"),
        pytest.param("0000{0..1}.png", ["00000.png", "00001.png"], id="braces"),
        pytest.param("0000[12].*", ["00001.png", "00002.png"], id="brackets"),
    ],
)
def test_find_images_expands_patterns(pattern: str, found: list[str], tmp_path: Path) -> None:
    save_images(tmp_path, 3)
    (tmp_path / "notes.md").write_text("no image", "utf-8")
    assert [path.name for path in openvocab.find_images(tmp_path / pattern)] == found
    with pytest.raises(BadInput, match="no file matches"):
        openvocab.find_images([tmp_path / "*.bmp"])


def test_a_list_of_images_gives_a_list_of_results(tmp_path: Path) -> None:
    save_images(tmp_path / "p", 3)
    paths, pipe = sorted((tmp_path / "p").iterdir()), chain()
    words = pipe.vocabulary(LABELS)
    many = pipe([*paths, IMAGE], words, max_boxes=1)
    assert [result.source for result in many] == [*map(str, paths), "array-3"]
    for result, one in zip(many, [*paths, IMAGE], strict=True):
        alone = pipe.predict(one, words, max_boxes=1)
        assert (alone.tags, alone.detections, alone.run) == (result.tags, result.detections, result.run)
    assert pipe([], words) == [] and len(pipe((paths[0],), words)) == 1


def test_a_closed_pipeline_says_so() -> None:
    with chain() as pipe:
        assert repr(pipe).startswith("Pipeline(") and repr(pipe).endswith(", cpu)") and "\n" not in repr(pipe)
        words = pipe.vocabulary(LABELS)
    for call in (lambda: pipe(IMAGE, LABELS), lambda: pipe(IMAGE, words), lambda: list(pipe.run(IMAGE, words))):
        with pytest.raises(BadInput, match="needs a tagger or a detector; a closed one is loaded again"):
            call()
    assert repr(pipe) == "Pipeline(closed)"


def test_an_address_is_fetched_only_where_that_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openvocab.pipeline.pipeline.fetch", lambda url: _png(IMAGE))
    pipe, url = chain(), "https://example.org/a.png"
    with pytest.raises(openvocab.ImageError, match="is a web address"):
        pipe(url, LABELS)
    result = pipe(url, LABELS, allow_urls=True)
    assert result.source == url
    assert result.detections == pipe(IMAGE, LABELS).detections


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_pickled_pipeline_answers_the_same(dtype: str) -> None:
    scene = openvocab.example_scenes()[0].path
    pipe = openvocab.load("pocket", device="cpu", dtype=dtype)
    again = pickle.loads(pickle.dumps(pipe))
    labels = ["tent", "apple", "dog"]
    assert again(scene, labels) == pipe(scene, labels)
