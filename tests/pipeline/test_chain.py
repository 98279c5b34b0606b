"""The chain over stages whose answers are known."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import openvocab
from openvocab import BadInput, BadOutput, ImageError, Pipeline, PromptSet, Settings
from openvocab.pipeline.protocols import TextEmbeddings
from openvocab.pipeline.settings import SettingChanges
from openvocab.pipeline.views import views
from openvocab.testing import FakeDetector, FakeSegmenter, FakeTagger

Rows = tuple[tuple[Any, ...], ...]
LABELS = ("cat", "dog", "aardvark", "犬")


@dataclass(frozen=True)
class LengthTagger(FakeTagger):
    """Scores a label by its length times the image's mean gray."""

    def encode_labels(self, labels: Sequence[str], prompts: PromptSet | None = None) -> TextEmbeddings:
        chosen = prompts or openvocab.prompt_set()
        lengths = np.array([[len(label), len(chosen.fill(label)[0])] for label in labels], np.float32)
        return TextEmbeddings(tuple(labels), chosen, lengths)

    def encode_images(self, images: Sequence[np.ndarray]) -> np.ndarray:
        self.calls.append(len(images))
        return np.array([[image.mean()] for image in images], np.float32)

    def logits(self, features: np.ndarray, vocabulary: TextEmbeddings) -> np.ndarray:
        return features * vocabulary.embeddings[:, 0]

    def scores(self, features: np.ndarray, vocabulary: TextEmbeddings) -> np.ndarray:
        return (self.logits(features, vocabulary) / (255 * 10)).clip(0, 1).astype(np.float32)


@dataclass(frozen=True)
class OnePassTagger(LengthTagger):
    """Gives scores and logits together, and counts the rows of each computation of logits."""

    passes: list[int] = field(default_factory=list)

    def logits(self, features: np.ndarray, vocabulary: TextEmbeddings) -> np.ndarray:
        self.passes.append(len(features))
        return super().logits(features, vocabulary)

    def scores_and_logits(self, features: np.ndarray, vocabulary: TextEmbeddings) -> tuple[np.ndarray, np.ndarray]:
        logits = self.logits(features, vocabulary)
        return (logits / (255 * 10)).clip(0, 1).astype(np.float32), logits


GRAY = np.full((40, 60, 3), 128, np.uint8)
ROWS = (("cat", 0.9, 0, 0, 20, 20), ("dog", 0.6, 30, 10, 50, 30))


def pipeline(rows: Rows = ROWS, **settings: object) -> Pipeline:
    return Pipeline(
        LengthTagger(), FakeDetector(rows), FakeSegmenter(), Settings().changed(**{"tag_threshold": 0.1, **settings})
    )


def test_words_in_tags_boxes_and_masks_out() -> None:
    result = pipeline()(GRAY, LABELS)
    assert [tag.label for tag in result.tags] == ["aardvark", "cat", "dog"]
    assert result.detections.labels == ("cat", "dog")
    assert np.asarray(result.detections.masks).sum((1, 2)).tolist() == [400, 400]
    np.testing.assert_allclose(result.detections.scores, [0.9, 0.45], rtol=1e-6)
    np.testing.assert_allclose(result.detections.detector_scores, [0.9, 0.6], rtol=1e-6)
    assert result.run.templates == ("This is a photo of a {label}",)
    assert result.run.settings["tag_threshold"] == 0.1


def test_scores_and_presence_are_one_pass_of_the_tagger() -> None:
    tagger = OnePassTagger()
    result = replace(pipeline(windows=2), tagger=tagger)(GRAY, LABELS)
    assert tagger.passes == [5]
    plain = pipeline(windows=2)(GRAY, LABELS)
    assert (result.tags, result.presence) == (plain.tags, plain.presence) and len(plain.presence) == len(LABELS)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)])
def test_the_order_of_labels_changes_nothing(order: tuple[int, ...]) -> None:
    result = pipeline()(GRAY, [LABELS[at] for at in order])
    assert result.detections.labels == ("cat", "dog")
    assert {tag.label: tag.score for tag in result.tags} == {
        tag.label: tag.score for tag in pipeline()(GRAY, LABELS).tags
    }


def test_nothing_found_is_an_ordinary_empty_record() -> None:
    made = pipeline(rows=())
    result = made(GRAY, LABELS)
    assert len(result.detections) == 0
    assert result.detections.masks is not None and result.detections.masks.shape == (0, 40, 60)
    assert isinstance(made.segmenter, FakeSegmenter)
    assert made.segmenter.calls == []


def test_no_tag_means_no_detection() -> None:
    result = pipeline(tag_threshold=1.0, gate="threshold")(GRAY, LABELS)
    assert result.tags == () and len(result.detections) == 0


@pytest.mark.parametrize(
    ("rows", "settings", "labels"),
    [
        pytest.param(
            (("cat", 0.9, 0, 0, 20, 20), ("cat", 0.8, 1, 0, 21, 20)), {}, ("cat",), id="same label, same place"
        ),
        pytest.param(
            (("cat", 0.9, 0, 0, 20, 20), ("dog", 0.8, 1, 0, 21, 20)), {}, ("cat",), id="two labels, best stays"
        ),
        pytest.param(
            (("cat", 0.9, 0, 0, 20, 20), ("dog", 0.8, 1, 0, 21, 20)),
            {"duplicates": "keep"},
            ("cat", "dog"),
            id="two labels, both asked for",
        ),
        pytest.param((("cat", 0.9, 0, 0, 20, 20), ("cat", 0.8, 30, 0, 50, 20)), {}, ("cat", "cat"), id="two cats"),
        pytest.param((("cat", 0.9, 0, 0, 20, 20), ("dog", 0.1, 30, 0, 50, 20)), {}, ("cat",), id="under the threshold"),
        pytest.param(ROWS, {"max_boxes": 1}, ("cat",), id="one box at most"),
    ],
)
def test_suppression(rows: Rows, settings: dict[str, Any], labels: tuple[str, ...]) -> None:
    assert pipeline(rows, **settings)(GRAY, LABELS).detections.labels == labels


def test_without_a_tagger_every_label_is_looked_for() -> None:
    made = Pipeline(None, FakeDetector(ROWS), None, Settings())
    result = made(GRAY, ["dog", "bird"])
    assert result.tags == () and result.detections.labels == ("dog",) and result.detections.masks is None


def test_a_label_to_detect_that_is_not_in_the_vocabulary_is_refused() -> None:
    pipe = pipeline()
    with pytest.raises(BadInput, match="the label 'fox' is not among the 2 classes; add it"):
        pipe.detect(np.zeros((8, 8, 3), np.uint8), pipe.vocabulary(["cat", "dog"]), ["dog", "fox"])


def test_without_a_detector_there_are_only_tags() -> None:
    result = Pipeline(LengthTagger(), None, None, Settings(tag_threshold=0.0))(GRAY, LABELS)
    assert len(result.tags) == 4 and len(result.detections) == 0


def test_a_vocabulary_is_encoded_once_and_reused() -> None:
    made = pipeline()
    vocabulary = made.vocabulary(LABELS, template="a drawing of a {label}")
    assert made(GRAY, vocabulary).run.templates == ("a drawing of a {label}",)
    assert made.vocabulary(vocabulary) is vocabulary


@pytest.mark.parametrize(
    ("shape", "windows", "count"),
    [
        pytest.param((40, 60), 0, 1, id="the image alone"),
        pytest.param((40, 60), 3, 10, id="three by three"),
        pytest.param((1, 60), 3, 1, id="too thin to cut"),
        pytest.param((41, 61), 1, 2, id="one window"),
    ],
)
def test_views(shape: tuple[int, int], windows: int, count: int) -> None:
    seen = views(np.zeros((*shape, 3), np.uint8), windows)
    assert len(seen) == count
    assert all(view.shape[0] >= shape[0] // 2 and view.shape[1] >= shape[1] // 2 for view in seen)


def test_with_windows_each_label_keeps_its_best() -> None:
    image = np.zeros((40, 60, 3), np.uint8)
    image[:20, :30] = 200
    made = pipeline()
    vocabulary = made.vocabulary(LABELS)
    alone, best = (made.tag_scores([image], vocabulary, windows=n)[0] for n in (0, 2))
    assert (best > alone).all()
    np.testing.assert_allclose(best[0], 200 * 3 / 2550, rtol=1e-5)


@pytest.mark.parametrize("windows", [0, 2])
def test_neighbors_in_a_batch_change_no_score(windows: int) -> None:
    images = [np.full((30 + at, 50, 3), 10 + 40 * at, np.uint8) for at in range(5)]
    made = pipeline()
    vocabulary, settings = made.vocabulary(LABELS), SettingChanges(windows=windows, batch_size=3)
    together = made.tag_scores(images, vocabulary, **settings)
    apart = np.concatenate([made.tag_scores([image], vocabulary, **settings) for image in images])
    np.testing.assert_allclose(together, apart, atol=1e-6)


def folder(path: Path) -> Path:
    for at in range(3):
        Image.fromarray(GRAY).save(path / f"{at}.png")
    (path / "1.png").write_bytes(b"")
    return path


def test_run_names_the_image_that_cannot_be_read_and_goes_on(tmp_path: Path) -> None:
    bad: list[tuple[str, str]] = []

    def note(path: Path, error: Exception) -> None:
        bad.append((path.name, getattr(error, "kind", "")))

    found = pipeline().run(folder(tmp_path), LABELS, on_error=note)
    assert [Path(result.source).name for result in found] == ["0.png", "2.png"]
    assert bad == [("1.png", "empty")]


def test_run_without_a_handler_raises(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"1\.png"):
        list(pipeline().run(folder(tmp_path), LABELS))


def test_run_over_an_empty_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no image in"):
        list(pipeline().run(tmp_path, LABELS))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param({"box_threshold": 1.5}, "box_threshold", id="threshold over 1"),
        pytest.param({"tag_threshold": float("nan")}, "tag_threshold", id="NaN"),
        pytest.param({"mask_threshold": -0.1}, "mask_threshold", id="threshold under 0"),
        pytest.param({"max_tags": 0}, "max_tags must be a whole number of at least 1", id="no tags"),
        pytest.param({"windows": 1.5}, "windows must be a whole number", id="half a window"),
        pytest.param({"duplicates": "both"}, "duplicates must be 'best' or 'keep'", id="unknown policy"),
        pytest.param({"gate": "open"}, "gate must be 'best', 'threshold' or 'none'", id="unknown gate"),
        pytest.param({"treshold": 0.5}, "setting named 'treshold'", id="misspelt"),
    ],
)
def test_settings_that_do_not_fit_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        Settings().changed(**values)
    with pytest.raises(BadInput, match=message):
        pipeline()(GRAY, LABELS, **values)


def test_a_pipeline_of_nothing_is_refused() -> None:
    with pytest.raises(BadInput, match="a tagger or a detector"):
        Pipeline(None, None, FakeSegmenter(), Settings())


@pytest.mark.parametrize(
    ("threshold", "labels"), [(0.0, ("cat", "dog")), (0.75, ("cat", "dog")), (0.8, ("cat",)), (1.0, ("cat",))]
)
def test_detections_of_bad_masks_are_dropped(threshold: float, labels: tuple[str, ...], tmp_path: Path) -> None:
    made = pipeline(mask_threshold=threshold)
    assert made(GRAY, LABELS).detections.labels == labels
    assert pipeline()(GRAY, LABELS, mask_threshold=threshold).detections.labels == labels
    Image.fromarray(GRAY).save(tmp_path / "gray.png")
    found = pipeline().run(tmp_path / "gray.png", LABELS, mask_threshold=threshold)
    assert [each.detections.labels for each in found] == [labels]


def test_detections_of_empty_masks_are_dropped() -> None:
    class Blind(FakeSegmenter):
        def masks(self, encoded: Any, xyxy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            masks, sure = super().masks(encoded, xyxy)
            masks[0] = False
            return masks, sure

    whole, made = pipeline(), replace(pipeline(), segmenter=Blind())
    assert made(GRAY, LABELS).detections.labels == whole(GRAY, LABELS).detections.labels[1:]


class NanTagger(FakeTagger):
    def encode_images(self, images: Sequence[np.ndarray]) -> np.ndarray:
        return super().encode_images(images) * np.float32(np.nan)


class NanSegmenter(FakeSegmenter):
    def masks(self, encoded: Any, xyxy: Any) -> Any:
        return super().masks(encoded, xyxy)[0], np.full(len(xyxy), np.nan, np.float32)


@pytest.mark.parametrize(
    ("stages", "says"),
    [
        pytest.param({"tagger": NanTagger()}, "the tagger's scores are not finite", id="tagger"),
        pytest.param(
            {"detector": FakeDetector([("cat", 0.9, 0, 0, float("nan"), 9)])},
            "the detector's boxes are not",
            id="boxes",
        ),
        pytest.param({"segmenter": NanSegmenter()}, "the segmenter's scores are not finite", id="segmenter"),
    ],
)
@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(lambda pipe: pipe(GRAY, LABELS), id="call"),
        pytest.param(lambda pipe: list(pipe.explore(GRAY, LABELS)), id="explore"),
        pytest.param(lambda pipe: list(pipe.run([GRAY], LABELS)), id="run"),
    ],
)
def test_numbers_that_are_not_finite_are_no_answer(answer: Any, stages: dict[str, Any], says: str) -> None:
    with pytest.raises(BadOutput, match=says):
        answer(replace(pipeline(), **stages))
