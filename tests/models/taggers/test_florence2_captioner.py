"""Florence-2's captions and names are those of transformers' processor, generate and post-processing."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image
from transformers import Florence2ForConditionalGeneration, Florence2Processor

import openvocab
from openvocab.errors import BadInput
from openvocab.models.taggers.florence2_captioner import Florence2Captioner
from openvocab.models.written import Written
from tests.tiny.florence2 import CONTEXT, write

SIZES = [(40, 40), (30, 90), (90, 30), (2, 1)]
TASKS = {"": "<CAPTION>", "+detailed": "<DETAILED_CAPTION>", "+more_detailed": "<MORE_DETAILED_CAPTION>"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(tmp_path_factory.mktemp("florence2") / "model", locations=0.3)


@pytest.fixture(scope="module")
def naming(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(tmp_path_factory.mktemp("florence2") / "model")


@pytest.fixture(scope="module")
def captioner(folder: str) -> Florence2Captioner:
    loaded = openvocab.load_captioner(f"florence2:{folder}", "cpu")
    assert isinstance(loaded, Florence2Captioner)
    return loaded


@pytest.fixture(scope="module")
def images(make_image: Callable[..., Any]) -> list[Any]:
    return [make_image(height, width, seed) for seed, (height, width) in enumerate(SIZES)]


def _upstream(folder: str, image: Any, task: str, text: str = "") -> Any:
    processor = Florence2Processor.from_pretrained(folder)
    model = Florence2ForConditionalGeneration.from_pretrained(folder).eval()
    inputs = processor(text=task + text, images=Image.fromarray(image), return_tensors="pt")
    made = model.generate(**inputs, do_sample=False, max_new_tokens=CONTEXT - 1)
    if not text and task in TASKS.values():
        return processor.batch_decode(made, skip_special_tokens=True)[0]
    answer = processor.batch_decode(made, skip_special_tokens=False)[0]
    size = (image.shape[1], image.shape[0])
    return processor.post_process_generation(answer, task=task, image_size=size)[task]["labels"]


@pytest.mark.parametrize("detail", TASKS, ids=["plain", "detailed", "more detailed"])
def test_captions_are_those_of_upstream(detail: str, folder: str, images: list[Any]) -> None:
    captioner = openvocab.load_captioner(f"florence2:{folder}{detail}", "cpu")
    assert captioner.record.spec == f"florence2:{folder}{detail}"
    captions = captioner.caption(images)
    assert captions == [" ".join(_upstream(folder, image, TASKS[detail]).split()) for image in images]
    assert all(captions)


def _unique(read: list[str]) -> list[str]:
    names = ["".join(filter(str.isprintable, name)).strip() for name in read]
    return [name for at, name in enumerate(names) if name and name.casefold() not in map(str.casefold, names[:at])]


def test_names_of_objects_are_those_of_upstream(naming: str, images: list[Any]) -> None:
    captioner = Florence2Captioner.load(naming, "cpu")
    names = captioner.labels(images)
    assert names == [_unique(_upstream(naming, image, "<OD>")) for image in images]
    assert any(names)


def test_names_of_a_caption_are_its_phrases(naming: str, images: list[Any]) -> None:
    captioner, task = Florence2Captioner.load(naming, "cpu"), "<CAPTION_TO_PHRASE_GROUNDING>"
    names = captioner.labels(images, "caption")
    captions = captioner.caption(images)
    assert names == [
        _unique(_upstream(naming, image, task, caption)) for image, caption in zip(images, captions, strict=True)
    ]
    assert any(names)


def test_names_can_be_asked_for(naming: str, images: list[Any]) -> None:
    captioner = openvocab.load_captioner(f"florence2:{naming}", "cpu")
    assert isinstance(captioner, openvocab.NamingCaptioner)
    labels = captioner.labels(images[:1])[0]
    detector = openvocab.load_detector(f"florence2:{naming}", "cpu")
    result = openvocab.Pipeline(None, detector, None, openvocab.Settings(box_threshold=0.0))(images[0], labels)
    assert result.classes == tuple(labels)


def test_mentioned_labels_have_the_probability_of_the_caption(captioner: Florence2Captioner, images: list[Any]) -> None:
    captions = captioner.caption(images)
    said = max(re.findall(r"[^\W_]+", captions[0]), key=len)
    scores = captioner.score(images, ["zebra crossing", said])
    assert scores.dtype == np.float32 and scores.shape == (len(images), 2)
    assert (scores[:, 0] == 0).all()
    mentioned = scores[:, 1] > 0
    assert mentioned.any() and not mentioned.all(), "some captions must mention the label"
    assert (scores[mentioned] < 1).all()
    known = captioner.encode_labels([said, "zebra crossing"])
    np.testing.assert_array_equal(captioner.score(images, known), scores[:, ::-1])


def test_an_empty_caption_mentions_nothing(
    captioner: Florence2Captioner, images: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Florence2Captioner, "_described", lambda *_: [Written((2,), (-0.1,), False)])
    assert captioner.score(images[:1], ["cat"]).tolist() == [[0]]


def test_no_image(captioner: Florence2Captioner) -> None:
    assert captioner.caption([]) == []
    assert captioner.labels([]) == []
    assert captioner.score([], ["cat"]).shape == (0, 1)


def test_a_label_that_cannot_be_used_is_refused(captioner: Florence2Captioner, images: list[Any]) -> None:
    with pytest.raises(BadInput, match="blank"):
        captioner.score(images, ["cat", " "])
