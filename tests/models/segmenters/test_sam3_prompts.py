"""SAM 3 takes exemplars of the asked image: boxes, scores and masks are those of the library's processor and model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

import openvocab
from openvocab import BadInput, Exemplar, Mark, Prompt
from openvocab.errors import ModelFailed
from openvocab.models.segmenters.sam3 import Sam3Detector
from openvocab.pipeline.exemplars.rivals import meant
from openvocab.pipeline.protocols import Boxes, ExemplarDetector, QueryRow
from openvocab.ui.cli.main import main
from tests.tiny import sam3

SIZE = (70, 110)
ONE, TWO, AGAINST = (5.0, 8.0, 40.0, 35.0), (50.0, 20.0, 95.0, 66.0), (30.0, 2.0, 60.0, 30.0)
THRESHOLD = 0.02
CASES = {
    "one box": (False, [ONE], []),
    "two boxes": (False, [ONE, TWO], []),
    "words and a box": (True, [ONE], []),
    "words and a negative box": (True, [], [AGAINST]),
    "boxes and a negative box": (False, [ONE, TWO], [AGAINST]),
    "words, boxes and a negative box": (True, [ONE, TWO], [AGAINST]),
    "words alone": (True, [], []),
}


@pytest.fixture(scope="module", params=[False, True], ids=["sam3", "lite text"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    return sam3.write(tmp_path_factory.mktemp("sam3") / "tiny", lite=request.param)


@pytest.fixture(scope="module")
def detector(folder: str) -> Sam3Detector:
    return Sam3Detector.load(folder, "cpu", "float32")


@pytest.fixture(scope="module")
def image(make_image: Callable[..., Any]) -> Any:
    return make_image(*SIZE, 4)


@pytest.fixture(scope="module")
def library(folder: str) -> tuple[Any, Any]:
    name = transformers.AutoConfig.from_pretrained(folder).architectures[0]
    model = getattr(transformers, name).from_pretrained(folder).eval()
    return transformers.Sam3Processor.from_pretrained(folder), model


def _upstream(library: tuple[Any, Any], image: Any, label: str | None, shown: Any, against: Any) -> tuple[Any, ...]:
    """Scores, boxes and masks by the way of the library's documentation, best first."""
    processor, model = library
    boxes: dict[str, Any] = {}
    if shown or against:
        kinds = [[1] * len(shown) + [0] * len(against)]
        boxes = {"input_boxes": [[list(each) for each in (*shown, *against)]], "input_boxes_labels": kinds}
    inputs = processor(images=Image.fromarray(image), text=label, return_tensors="pt", **boxes)
    sizes = inputs.pop("original_sizes").tolist()
    with torch.no_grad():
        found = processor.post_process_instance_segmentation(model(**inputs), THRESHOLD, 0.5, sizes)[0]
    order = found["scores"].argsort(descending=True, stable=True)
    xyxy = found["boxes"][order].numpy().clip(0, [*image.shape[1::-1]] * 2)
    return found["scores"][order].numpy(), xyxy, found["masks"][order].bool().numpy()


def _row(image: Any, name: str, label: str) -> tuple[QueryRow, list[QueryRow]]:
    words, shown, against = CASES[name]
    crossed = [QueryRow(label, False, (Exemplar.cut(image, label, box),)) for box in against]
    return QueryRow(label, words, tuple(Exemplar.cut(image, label, box) for box in shown)), crossed


def _same(boxes: Boxes, masks: Any, index: int, expected: tuple[Any, ...]) -> None:
    mine = boxes.label_index == index
    scores, xyxy, library = expected
    assert mine.sum() == len(scores) > 0
    np.testing.assert_allclose(boxes.scores[mine], scores, atol=1e-4)
    np.testing.assert_allclose(boxes.xyxy[mine], xyxy, atol=2e-3)
    assert (masks[mine] != library).mean() < 2e-3


@pytest.mark.parametrize("name", CASES)
def test_a_prompt_is_answered_as_by_the_library(
    name: str, detector: Sam3Detector, library: tuple[Any, Any], image: Any
) -> None:
    assert isinstance(detector, ExemplarDetector)
    row, crossed = _row(image, name, "cat")
    boxes, masks = detector.detect_masks([image], detector.encode_prompt([row], crossed), THRESHOLD)[0]
    words, shown, against = CASES[name]
    _same(boxes, masks, 0, _upstream(library, image, "cat" if words else None, shown, against))


@pytest.mark.parametrize("together", [1, 3, 7], ids="{} labels a call".format)
def test_labels_with_different_boxes_go_through_the_model_together(
    together: int, detector: Sam3Detector, library: tuple[Any, Any], image: Any
) -> None:
    labels = ["cat", "dog", "kite", "thing", "this", "is", "photo"]
    rows, crossed = zip(*(_row(image, name, label) for name, label in zip(CASES, labels, strict=True)), strict=True)
    asked = replace(detector, labels=together).encode_prompt(rows, [one for each in crossed for one in each])
    boxes, masks = replace(detector, labels=together).detect_masks([image], asked, THRESHOLD)[0]
    for index, (label, (words, shown, against)) in enumerate(zip(labels, CASES.values(), strict=True)):
        _same(boxes, masks, index, _upstream(library, image, label if words else None, shown, against))


def test_an_exemplar_changes_the_answer(detector: Sam3Detector, image: Any) -> None:
    answers = []
    for name in CASES:
        row, crossed = _row(image, name, "cat")
        answers.append(detector.detect([image], detector.encode_prompt([row], crossed), 0.0)[0].scores[:3])
    assert len({tuple(each.round(5).tolist()) for each in answers}) == len(CASES)


def test_a_negative_without_a_label_of_the_prompt_is_crossed_out_of_all(detector: Sam3Detector, image: Any) -> None:
    rows = [QueryRow("cat", True), QueryRow("dog", True)]
    negatives = [QueryRow(name, False, (Exemplar.cut(image, name, AGAINST),)) for name in ("else", "dog")]
    made = detector.encode_prompt(rows, negatives).embeddings
    assert [[one.label for one in each] for each in made.against] == [["else"], ["else", "dog"]]
    assert [[one.label for one in each] for each in made[[1]].against] == [["else", "dog"]]


def test_a_negative_word_beats_a_box_that_it_overlaps(detector: Sam3Detector, image: Any) -> None:
    plain = detector.detect([image], detector.encode_labels(["cat"]), 0.0)[0]
    asked = detector.encode_prompt([QueryRow("cat", True)], [QueryRow("dog", True)])
    assert asked.labels == ("cat",)
    kept, masks = detector.detect_masks([image], asked, 0.0)[0]
    assert set(kept.label_index) <= {0} and len(masks) == len(kept.scores) < len(plain.scores)
    known = {tuple(each) for each in plain.xyxy.round(2).tolist()}
    assert {tuple(each) for each in kept.xyxy.round(2).tolist()} <= known


@pytest.mark.parametrize(
    ("rival", "kept"),
    [
        pytest.param(((0, 0, 10, 9), 0.6), [1], id="scores more"),
        pytest.param(((0, 0, 10, 9), 0.4), [0, 1], id="scores less"),
        pytest.param(((0, 0, 10, 5), 0.6), [0, 1], id="overlaps less"),
    ],
)
def test_a_rival_needs_score_and_overlap(rival: Any, kept: list[int]) -> None:
    xyxy = np.array([(0, 0, 10, 10), (50, 50, 60, 60), rival[0]], np.float32)
    boxes = Boxes(xyxy, np.array([0.5, 0.3, rival[1]], np.float32), np.array([0, 0, 1], np.int64))
    assert meant(boxes, 1).tolist() == kept


# --- the chain


@pytest.fixture(scope="module")
def pipe(folder: str) -> Any:
    return openvocab.load(detector=f"sam3:{folder}", device="cpu", dtype="float32", box_threshold=THRESHOLD)


def test_the_chain_takes_exemplars_of_the_asked_image(pipe: Any, image: Any, tmp_path: Any) -> None:
    prompt = Prompt(["cat"], [Exemplar.cut(image, "part 17", ONE)], negative_exemplars=[Exemplar.cut(image, "x", TWO)])
    result = pipe(image, prompt)
    assert set(result.detections.labels) <= {"cat", "part 17"} and len(result.detections)
    assert result.detections.masks is not None and result.run.prompt == prompt.digest
    prompt.save(tmp_path / "prompt.json")
    again = pipe(image, openvocab.read_prompt(tmp_path / "prompt.json"))
    assert (again.detections, again.run) == (result.detections, result.run)


def _written(image: Any, path: Path) -> Path:
    Image.fromarray(image).save(path)
    return path


def test_a_prompt_file_made_of_an_image_is_answered_on_it(folder: str, pipe: Any, image: Any, tmp_path: Path) -> None:
    path, file = _written(image, tmp_path / "image.png"), tmp_path / "prompt.json"
    where = f"{path}:{','.join(map(str, ONE))}"
    assert main(["prompt", "add", str(file), "--label", "part 17", "--no-words", "--exemplar", where]) == 0
    given = ["--detector", f"sam3:{folder}", "--device", "cpu", "--dtype", "float32", "--box-threshold", str(THRESHOLD)]
    assert main(["annotate", str(path), "--prompt", str(file), "--out", str(tmp_path / "run"), *given]) == 0
    (row,), expected = openvocab.read_run(tmp_path / "run"), pipe(path, openvocab.read_prompt(file))
    assert row.detections is not None and len(row.detections) == len(expected) > 0
    np.testing.assert_allclose(row.detections.xyxy, expected.detections.xyxy, atol=0.01)


def test_a_run_says_which_images_an_exemplar_is_not_of(
    pipe: Any, image: Any, make_image: Callable[..., Any], tmp_path: Path
) -> None:
    prompt = Prompt(exemplars=[Exemplar.cut(image, "cat", ONE)])
    paths = [_written(image, tmp_path / "a.png"), _written(make_image(*SIZE, 9), tmp_path / "b.png")]
    pipe.run_to(tmp_path / "run", paths, prompt)
    first, second = openvocab.read_run(tmp_path / "run")
    assert (first.status, second.status == "ok") == ("ok", False)
    with pytest.raises(ModelFailed, match="the detector refuses every image, .*: exemplar 'cat' is not of the image"):
        pipe.run_to(tmp_path / "none", [paths[1], _written(make_image(*SIZE, 10), tmp_path / "c.png")], prompt)


def test_an_exemplar_of_a_large_object_is_shrunk_and_still_in_its_place(make_image: Callable[..., Any]) -> None:
    large = make_image(900, 1400, 5)
    exemplar = Exemplar.cut(large, "cat", (100, 50, 900, 650))
    assert max(exemplar.image.shape) == 1024
    np.testing.assert_allclose(exemplar.box_there() or (), (100, 50, 900, 650), atol=1)


@pytest.mark.parametrize(
    ("cut", "changes"),
    [
        pytest.param(lambda image, other: Exemplar.cut(other, "cat", ONE), {}, id="another image"),
        pytest.param(lambda image, other: Exemplar("cat", image, ONE), {}, id="no origin"),
        pytest.param(lambda image, other: Exemplar.cut(image, "cat", ONE), {"tiles": 2}, id="tiles"),
    ],
)
def test_another_exemplar_is_refused_by_name(
    cut: Callable[..., Exemplar], changes: Any, pipe: Any, image: Any, make_image: Callable[..., Any]
) -> None:
    prompt = Prompt(exemplars=[cut(image, make_image(*SIZE, 9))])
    with pytest.raises(BadInput, match="exemplar 'cat' is not of the image that is asked about, and SAM 3 takes no ot"):
        pipe(image, prompt, **changes)


def test_a_mark_says_how_to_ask_for_everything_like_it(pipe: Any, image: Any) -> None:
    with pytest.raises(BadInput, match=r"load one of the SAM family, or look for all that is like .* Exemplar\.cut"):
        pipe(image, Prompt(marks=[Mark("cat", box=ONE)]))
