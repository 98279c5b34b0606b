"""Metrics from files equal CLIP_benchmark's on the same model and images."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import openvocab
from openvocab.errors import BadInput
from openvocab.evaluate.data import load_labeled
from openvocab.evaluate.metrics.classification import classification_metrics
from openvocab.evaluate.runs.tagger import run_tagger

PROMPTS = openvocab.prompt_set(["a photo of a {label}.", "art of the {label}"])


@pytest.fixture(scope="module")
def tagger(tiny_tagger: str) -> Any:
    return openvocab.load_tagger(tiny_tagger, "cpu", "float32")


@pytest.fixture(scope="module")
def expected(tiny_tagger: str, image_folder: Path) -> dict[str, float]:
    """CLIP_benchmark's metrics."""
    upstream = pytest.importorskip("clip_benchmark.metrics.zeroshot_classification")
    import open_clip
    import torch
    from torchvision.datasets import ImageFolder

    name = tiny_tagger.removeprefix("open_clip:")
    model, _, preprocess = open_clip.create_model_and_transforms(name)
    data = ImageFolder(str(image_folder), preprocess)
    loader = torch.utils.data.DataLoader(data, batch_size=50)
    templates = [template.replace("{label}", "{c}") for template in PROMPTS.templates]
    with pytest.MonkeyPatch.context() as patch:  # its accuracy calls float() on an array of shape (1,)
        patch.setattr(upstream, "float", lambda value: np.asarray(value).item(), raising=False)
        made: dict[str, float] = upstream.evaluate(
            model.eval(), loader, open_clip.get_tokenizer(name), data.classes, templates, "cpu", amp=False
        )
    return made


@pytest.mark.parametrize("kind", ["imagefolder", "webdataset"])
def test_metrics_are_those_of_clip_benchmark(kind, tagger, expected, image_folder, web_dataset):
    data = load_labeled(str(image_folder if kind == "imagefolder" else web_dataset), kind)
    scored = run_tagger(tagger, data, PROMPTS)
    assert scored.logits.shape == scored.truth.shape == (200, 20)
    got = classification_metrics(scored.logits, scored.truth.argmax(axis=1), scored.labels, resamples=5)
    assert got.top5 is not None
    assert got.top1.value == pytest.approx(expected["acc1"], abs=1e-12)
    assert got.top5.value == pytest.approx(expected["acc5"], abs=1e-12)
    assert got.mean_per_class_recall.value == pytest.approx(expected["mean_per_class_recall"], abs=1e-12)


def _some(tmp_path: Path, image: Any) -> Path:
    from PIL import Image

    for row, name in enumerate(("a", "b")):
        (tmp_path / name).mkdir()
        Image.fromarray(image(30, 40, row)).save(tmp_path / name / "good.png")
    return tmp_path


def test_an_unreadable_image_is_counted(tagger, tmp_path, make_image):
    root = _some(tmp_path, make_image)
    (root / "a" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    scored = run_tagger(tagger, load_labeled(str(root), "imagefolder"), PROMPTS)
    assert [os.path.basename(name) for name in scored.names] == ["good.png", "good.png"]
    assert [os.path.basename(name) for name, _ in scored.unread] == ["broken.png"]
    for good in root.glob("*/good.png"):
        good.unlink()
    with pytest.warns(openvocab.OpenVocabWarning), pytest.raises(BadInput, match="no image of .* could be read"):
        run_tagger(tagger, load_labeled(str(root), "imagefolder"), PROMPTS)


def test_the_digest_changes_with_images_and_labels_and_not_with_the_path(tagger, tmp_path, make_image):
    roots = []
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        roots.append(_some(tmp_path / place, make_image))
    data = [load_labeled(str(root), "imagefolder") for root in roots]
    one, two = (run_tagger(tagger, each, PROMPTS, batch=1).digest for each in data)
    renamed = run_tagger(tagger, data[0].with_labels(names={"a": "cat"}), PROMPTS).digest
    assert one == two != renamed


def test_a_label_that_occurs_twice_is_scored_twice(tagger, web_dataset, tmp_path):
    for each in web_dataset.iterdir():
        (tmp_path / each.name).symlink_to(each)
    names = (web_dataset / "classnames.txt").read_text("utf-8").splitlines()
    (tmp_path / "classnames.txt").unlink()
    (tmp_path / "classnames.txt").write_text("\n".join([names[1], *names[1:]]), "utf-8")
    scored = run_tagger(tagger, load_labeled(str(tmp_path), "webdataset"), PROMPTS)
    np.testing.assert_array_equal(scored.logits[:, 0], scored.logits[:, 1])
    assert scored.logits.shape == (200, 20)
