"""Which labels the detector looks for, on every way through the chain, and what is said where nothing is found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import openvocab
from openvocab import ModelRecord, Pipeline, Settings
from openvocab.pipeline.gate import present_rows
from openvocab.pipeline.protocols import Boxes, Queries, TextEmbeddings
from openvocab.pipeline.result import Presence

IMAGE = np.full((40, 60, 3), 128, np.uint8)
LABELS = ("2 cats", "a plane", "a remote")
PUBLISHED = (0.1499, 0.00004, 0.0008)
"""Of these labels on COCO 39769, in transformers' documentation of SigLIP 2; there are two remotes in it."""

SIGLIP, OWL = "siglip:google/siglip2-base-patch16-224", "owlv2:google/owlv2-base-patch16-ensemble"


@dataclass(frozen=True)
class Scoring:
    """Gives each label the score that it was made with."""

    given: tuple[float, ...] = PUBLISHED
    independent: bool = True
    preparation: str = "none"
    record: ModelRecord = ModelRecord(SIGLIP, "0" * 64, "cpu", "float32")

    def encode_labels(self, labels: Sequence[str], prompts: Any = None) -> TextEmbeddings:
        rows = np.resize(np.array(self.given, np.float32), (len(labels), 1))
        return TextEmbeddings(tuple(labels), prompts or openvocab.prompt_set(), rows)

    def encode_images(self, images: Sequence[Any]) -> np.ndarray:
        return np.ones((len(images), 1), np.float32)

    def scores(self, features: np.ndarray, vocabulary: TextEmbeddings) -> np.ndarray:
        made: np.ndarray = features @ vocabulary.embeddings.T
        return made

    logits = scores

    def score(self, images: Sequence[Any], vocabulary: Any) -> np.ndarray:
        return self.scores(self.encode_images(images), vocabulary)


@dataclass(frozen=True)
class Asked:
    """Finds a box of the last label it is asked for; keeps what it was asked for and over which threshold."""

    score: float = 0.15
    asked: list[tuple[tuple[str, ...], float]] = field(default_factory=list)
    record: ModelRecord = ModelRecord(OWL, "1" * 64, "cpu", "float32")

    def encode_labels(self, labels: Sequence[str], template: str | None = None) -> Queries:
        return Queries(tuple(labels), template or "{label}", np.arange(len(labels)))

    def detect(self, images: Sequence[Any], queries: Queries, threshold: float) -> list[Boxes]:
        self.asked.append((queries.labels, threshold))
        count = int(self.score > threshold)
        box = np.array([[0, 0, 20, 20]], np.float32)[:count]
        index = np.array([len(queries.labels) - 1])[:count]
        return [Boxes(box, np.array([self.score], np.float32)[:count], index) for _ in images]


def chain(tagger: Any = None, detector: Any = None, **settings: Any) -> Pipeline:
    return Pipeline(tagger or Scoring(), detector or Asked(), None, Settings().changed(**settings))


@pytest.fixture
def image(tmp_path: Path) -> Path:
    Image.fromarray(IMAGE).save(tmp_path / "image.png")
    return tmp_path / "image.png"


def called(pipe: Pipeline, image: Path) -> Any:
    return pipe(image, LABELS)


def streamed(pipe: Pipeline, image: Path) -> Any:
    return next(iter(pipe.run(image, LABELS)))


def explored(pipe: Pipeline, image: Path) -> Any:
    *_, last = pipe.explore(image, LABELS)
    return last.result(str(image))


def written(pipe: Pipeline, image: Path) -> Any:
    pipe.run_to(image.parent / "run", image, LABELS)
    return next(iter(openvocab.read_run(image.parent / "run")))


WAYS = [pytest.param(way, id=way.__name__) for way in (called, streamed, written)]
GATES = [
    pytest.param("best", 20, LABELS, id="best of few is all"),
    pytest.param("best", 2, ("2 cats", "a remote"), id="best"),
    pytest.param("threshold", 20, ("2 cats",), id="tags alone"),
    pytest.param("none", 1, LABELS, id="all"),
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("gate", "most", "looked_for"), GATES)
def test_the_gate_decides_what_is_looked_for_and_the_threshold_what_is_a_tag(
    way: Any, gate: str, most: int, looked_for: tuple[str, ...], image: Path
) -> None:
    detector = Asked()
    got = way(chain(detector=detector, gate=gate, max_tags=most), image)
    assert [tag.label for tag in got.tags] == ["2 cats"]
    assert detector.asked == [(looked_for, 0.1)]
    assert got.detections.labels == looked_for[-1:]


@pytest.mark.parametrize(("gate", "most", "looked_for"), GATES)
def test_what_was_explored_follows_the_gate(gate: str, most: int, looked_for: tuple[str, ...], image: Path) -> None:
    got = explored(chain(gate=gate, max_tags=most), image)
    assert [tag.label for tag in got.tags] == ["2 cats"]
    assert got.detections.labels == (("a remote",) if "a remote" in looked_for else ())


def test_a_batch_whose_labels_are_all_looked_for_goes_through_the_detector_together(tmp_path: Path) -> None:
    for number in range(4):
        Image.fromarray(IMAGE).save(tmp_path / f"{number}.png")
    detector = Asked()
    assert len(list(chain(detector=detector).run(tmp_path, LABELS))) == 4
    assert len(detector.asked) == 1


# --- thresholds


@pytest.mark.parametrize(
    ("tagger", "detector", "given", "tag", "box"),
    [
        pytest.param(SIGLIP, OWL, {}, 0.1, 0.1, id="records"),
        pytest.param("siglip:FOLDER", "grounding_dino:FOLDER", {}, 0.1, 0.25, id="families"),
        pytest.param("stub", "stub", {}, 0.1, 0.2, id="others"),
        pytest.param(SIGLIP, OWL, {"tag_threshold": 0.0, "box_threshold": 0.4}, 0.0, 0.4, id="given"),
        pytest.param(SIGLIP, "sam3:facebook/sam3", {"tag_threshold": 0.2}, 0.2, 0.5, id="one given"),
    ],
)
def test_thresholds_are_the_checkpoints_unless_given_and_stand_in_the_record(
    tagger: str, detector: str, given: dict[str, Any], tag: float, box: float
) -> None:
    named = (ModelRecord(spec, None, "cpu", "float32") for spec in (tagger, detector))
    stages = Scoring(record=next(named)), Asked(record=next(named))
    for pipe, changes in ((chain(*stages, **given), {}), (chain(*stages), given)):
        run = pipe(IMAGE, LABELS, **changes).run
        assert (run.settings["tag_threshold"], run.settings["box_threshold"]) == (tag, box)
        *_, last = pipe.explore(IMAGE, LABELS, **changes)
        assert last.result().run == run


def test_a_preset_goes_before_its_checkpoints() -> None:
    pipe = openvocab.load("pocket", tag_threshold=0.25)
    assert (pipe.settings.tag_threshold, pipe.settings.box_threshold) == (0.25, 0.6)
    assert (pipe.settings.windows, pipe.settings.gate) == (3, "none")


def test_a_stage_that_is_left_out_has_no_threshold_in_the_record() -> None:
    assert "box_threshold" not in Pipeline(Scoring(), None, None, Settings())(IMAGE, LABELS).run.settings
    assert "tag_threshold" not in Pipeline(None, Asked(), None, Settings())(IMAGE, LABELS).run.settings


# --- notes

NO_TAG = "no tag: best label '2 cats' scored 0.15, under the tag threshold 0.5 (sigmoid)"


@pytest.mark.parametrize(
    ("stages", "settings", "notes"),
    [
        pytest.param((Scoring(), Asked()), {}, (), id="a tag and a box"),
        pytest.param((Scoring(), Asked()), {"tag_threshold": 0.5}, (), id="a box alone"),
        pytest.param((Scoring(), Asked()), {"box_threshold": 0.5}, (), id="a tag alone"),
        pytest.param(
            (Scoring(), Asked()),
            {"tag_threshold": 0.5, "box_threshold": 0.25},
            (NO_TAG, "no box: none of the 3 labels looked for scored over the box threshold 0.25"),
            id="neither",
        ),
        pytest.param(
            (Scoring(), Asked()),
            {"tag_threshold": 0.5, "gate": "threshold"},
            (NO_TAG, "no box: without a tag no label is looked for (gate 'threshold')"),
            id="the strict gate",
        ),
        pytest.param((Scoring(), None), {"tag_threshold": 0.5}, (NO_TAG,), id="a tagger alone"),
        pytest.param(
            (None, Asked(0.1)),
            {},
            ("no box: none of the 3 labels looked for scored over the box threshold 0.1",),
            id="a detector alone",
        ),
    ],
)
def test_where_nothing_is_found_the_result_says_why(
    stages: tuple[Any, Any], settings: dict[str, Any], notes: tuple[str, ...], image: Path
) -> None:
    pipe = Pipeline(*stages, None, Settings(**settings))
    ways = (called, streamed, written, explored)
    assert [way(pipe, image).notes for way in ways] == [notes] * len(ways)
    assert called(pipe, image).to_dict()["notes"] == list(notes)


def test_relabeled_rows_say_why_they_have_no_tag(image: Path) -> None:
    from openvocab.batch.relabel import relabel

    tags = Pipeline(Scoring(), None, None, Settings(tag_threshold=0.5))
    tags.run_to(image.parent / "run", image, LABELS, features="float32")
    run = openvocab.read_run(image.parent / "run")
    relabel(run, Scoring(), image.parent / "other", tags.vocabulary(LABELS), tags.settings)
    assert next(iter(openvocab.read_run(image.parent / "other"))).notes == (NO_TAG,)


@pytest.mark.parametrize(
    ("threshold", "rows"),
    [pytest.param(0.75, [2, 0], id="a label at the threshold is present"), pytest.param(0.0, [2, 1, 0], id="none")],
)
def test_labels_that_are_likely_enough_keep_their_order(threshold: float, rows: list[int]) -> None:
    presence = Presence({"a": 0, "b": 1, "c": 2}, np.array([0.75, 0.5, 0.9], np.float32))
    assert present_rows(np.array([2, 1, 0]), presence, Settings(presence_threshold=threshold)).tolist() == rows
