"""Recalls from images with captions equal CLIP_benchmark's on the same model and data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import openvocab
from openvocab.errors import BadInput
from openvocab.evaluate import retrieval_metrics
from openvocab.evaluate.data import load_captions
from openvocab.evaluate.runs.retrieval import run_retrieval

WORDS = ("a dog", "two cats", "a red car", "nothing", "a tree in a field", "art of the thing")


@pytest.fixture(scope="module")
def captions(tmp_path_factory: pytest.TempPathFactory, image_folder: Path) -> str:
    """60 images with one to three captions each."""
    files = sorted(image_folder.rglob("*.png"))[:60]
    rows = ["path,caption"]
    for number, file in enumerate(files):
        rows += [f"{file},{WORDS[(number + each) % 6]} number {number}" for each in range(1 + number % 3)]
    path = tmp_path_factory.mktemp("captions") / "list.csv"
    path.write_text("\n".join(rows) + "\n", "utf-8")
    return str(path)


def test_recalls_are_those_of_clip_benchmark(captions, tiny_tagger):
    upstream = pytest.importorskip("clip_benchmark.metrics.zeroshot_retrieval")
    import open_clip
    import torch
    from PIL import Image

    data = load_captions(captions)
    tagger = openvocab.load_tagger(tiny_tagger, "cpu", "float32")
    embedded = run_retrieval(tagger, data, batch=7)
    got = retrieval_metrics(embedded.images, embedded.texts, embedded.image_of_text, resamples=3)
    name = tiny_tagger.removeprefix("open_clip:")
    model, _, preprocess = open_clip.create_model_and_transforms(name)
    pairs = [(str(one.item.path), one.captions) for one in data.images()]
    loader = [
        (torch.stack([preprocess(Image.open(path)) for path, _ in some]), [list(said) for _, said in some])
        for some in (pairs[start : start + 20] for start in range(0, 60, 20))
    ]
    expected = upstream.evaluate(model.eval(), loader, open_clip.get_tokenizer(name), "cpu", False, [1, 5, 10])
    assert (got.images, got.texts) == (60, 120)
    for k in (1, 5, 10):
        assert got.text_to_image[k].value == pytest.approx(expected[f"image_retrieval_recall@{k}"], abs=1e-6)
        assert got.image_to_text[k].value == pytest.approx(expected[f"text_retrieval_recall@{k}"], abs=1e-6)
    assert 0 < got.text_to_image[10].value < 1


def test_an_unreadable_image_is_left_out_with_its_captions(tiny_tagger, tmp_path, make_image):
    from PIL import Image

    Image.fromarray(make_image(20, 30, 0)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"text")
    (tmp_path / "list.csv").write_text("path,caption\nb.png,x\na.png,y\nb.png,z\n", "utf-8")
    tagger = openvocab.load_tagger(tiny_tagger, "cpu", "float32")
    embedded = run_retrieval(tagger, load_captions(str(tmp_path / "list.csv")))
    assert (len(embedded.names), len(embedded.texts), len(embedded.unread)) == (1, 1, 1)
    np.testing.assert_allclose(np.linalg.norm(embedded.texts, axis=1), 1, rtol=1e-5)
    (tmp_path / "list.csv").write_text("path,caption\nb.png,x\n", "utf-8")
    with pytest.raises(BadInput, match=r"no image of .*list.csv' could be read"):
        run_retrieval(tagger, load_captions(str(tmp_path / "list.csv")))


def test_a_tagger_without_a_text_tower_is_refused(captions):
    from types import SimpleNamespace

    classifier: Any = SimpleNamespace(record=SimpleNamespace(spec="classifier:x"))
    with pytest.raises(BadInput, match="classifier:x has no text tower"):
        run_retrieval(classifier, load_captions(captions))
