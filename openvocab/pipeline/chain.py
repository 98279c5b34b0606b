"""The chain: tags from the picture, boxes from the tags, masks from the boxes, one record as the answer."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import openvocab
from openvocab.errors import BadInput, ImageError
from openvocab.pipeline.images import find_images, read_image
from openvocab.pipeline.record import ModelRecord, Regions, Result, RunRecord, Tag
from openvocab.pipeline.settings import SIGMOID_TAG, SOFTMAX_TAG, Settings
from openvocab.pipeline.stages import Boxes, Detector, Picture, Queries, Segmenter, Tagger, TextEmbeddings
from openvocab.prompts.labels import read_labels
from openvocab.prompts.templates import PromptSet, prompt_set

__all__ = ["Pipeline", "Vocabulary", "views"]

Source = str | os.PathLike[str] | bytes | NDArray[np.uint8] | Any


@dataclass(frozen=True, eq=False, slots=True)
class Vocabulary:
    """Labels encoded once for every stage that reads words; make it with Pipeline.vocabulary and reuse it."""

    labels: tuple[str, ...]
    prompts: PromptSet
    texts: TextEmbeddings | None
    queries: Queries | None


def views(picture: Picture, windows: int) -> list[Picture]:
    """The picture, then windows x windows windows of half its height and width, evenly spread over it.

    Half-size windows overlap where windows > 2. A picture narrower than 2 pixels has no windows.
    """
    height, width = picture.shape[:2]
    if windows < 1 or min(height, width) < 2:
        return [picture]
    tall, wide = (height + 1) // 2, (width + 1) // 2
    tops = np.linspace(0, height - tall, windows).round().astype(int)
    lefts = np.linspace(0, width - wide, windows).round().astype(int)
    return [picture, *(picture[top : top + tall, left : left + wide] for top in tops for left in lefts)]


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The stages and their settings. A stage that is None is left out: no tagger means every label is looked for.

    tagger      scores labels for whole pictures.
    detector    finds boxes for words.
    segmenter   cuts out what lies in a box.
    settings    thresholds and limits.
    """

    tagger: Tagger | None
    detector: Detector | None
    segmenter: Segmenter[Any] | None
    settings: Settings

    def __post_init__(self) -> None:
        """Check that there is something to run.

        Raises:
            BadInput: neither tagger nor detector is given.
        """
        if self.tagger is None and self.detector is None:
            raise BadInput("a pipeline needs a tagger or a detector; a segmenter alone has no words to go by")

    def vocabulary(
        self,
        labels: str | Sequence[str] | Vocabulary,
        template: str | Sequence[str] | PromptSet | None = None,
        detector_template: str | None = None,
    ) -> Vocabulary:
        """Encode labels once for tagger and detector.

        Args:
            labels: label names, a named label set, a file of labels, or words separated by commas.
            template: the tagger's sentence or sentences; "This is a photo of a {label}" where not given.
            detector_template: the detector's sentence; the model family's own where not given.

        Raises:
            BadInput: labels or templates that cannot be used; the message says which and why.
        """
        if isinstance(labels, Vocabulary):
            return labels
        names, prompts = read_labels(labels), prompt_set(template)
        texts = self.tagger.encode_labels(names, prompts) if self.tagger else None
        queries = self.detector.encode_labels(names, detector_template) if self.detector else None
        return Vocabulary(names, prompts, texts, queries)

    def __call__(
        self,
        picture: Source,
        labels: str | Sequence[str] | Vocabulary,
        *,
        template: str | Sequence[str] | PromptSet | None = None,
        **changes: Any,
    ) -> Result:
        """Run the chain on one picture.

        Args:
            picture: a path, the bytes of a file, a Pillow image, or a (H, W, 3) uint8 RGB array.
            labels: what to look for; see vocabulary.
            template: see vocabulary.
            changes: settings to change for this call, e.g. box_threshold=0.4.

        Raises:
            ImageError: the picture cannot be read.
            BadInput: labels, templates or settings that cannot be used.
            BadOutput: a model answered with numbers that are not finite.
        """
        settings = self.settings.changed(**changes)
        name = os.fspath(picture) if isinstance(picture, str | os.PathLike) else "array"
        pixels = read_image(picture)
        return self._result(name, pixels, self.vocabulary(labels, template), settings)

    def run(
        self,
        pictures: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        labels: str | Sequence[str] | Vocabulary,
        *,
        template: str | Sequence[str] | PromptSet | None = None,
        on_error: Callable[[Path, ImageError], None] | None = None,
        **changes: Any,
    ) -> Iterator[Result]:
        """Run the chain over files and folders, yielding results in order as they are made.

        Args:
            pictures: files, and folders that are searched for pictures.
            on_error: called with a picture that cannot be read; where not given, its error is raised.

        Raises:
            ImageError, BadInput, BadOutput: as in a call on one picture; BadInput where no picture is found.
        """
        settings, vocabulary = self.settings.changed(**changes), self.vocabulary(labels, template)
        given = [pictures] if isinstance(pictures, str | os.PathLike) else list(pictures)
        found = find_images(given)
        if not found:
            raise BadInput(f"no picture in {', '.join(map(str, given))}; give a picture or a folder that holds some")
        for path in found:
            try:
                pixels = read_image(path)
            except ImageError as error:
                if on_error is None:
                    raise
                on_error(path, error)
                continue
            yield self._result(str(path), pixels, vocabulary, settings)

    def tags(self, picture: Picture, vocabulary: Vocabulary, **changes: Any) -> tuple[Tag, ...]:
        """Stage 1 alone: the labels over the threshold, best first (ties in the order of the vocabulary)."""
        settings = self.settings.changed(**changes)
        if self.tagger is None or vocabulary.texts is None:
            return ()
        least = settings.tag_threshold
        if least is None:
            least = SIGMOID_TAG if self.tagger.independent else SOFTMAX_TAG
        scores = self.tag_scores([picture], vocabulary, settings)[0]
        order = np.argsort(-scores, kind="stable")[: settings.max_tags]
        return tuple(Tag(vocabulary.labels[row], float(scores[row])) for row in order if scores[row] >= least)

    def tag_scores(
        self, pictures: Sequence[Picture], vocabulary: Vocabulary, settings: Settings | None = None
    ) -> NDArray[np.float32]:
        """(P, C) scores; where windows are asked for, each label's best over the picture and its windows."""
        settings = settings or self.settings
        if self.tagger is None or vocabulary.texts is None:
            raise BadInput("this pipeline has no tagger; load one with tagger=SPEC")
        seen = [views(picture, settings.windows) for picture in pictures]
        flat = [view for each in seen for view in each]
        size = settings.batch_size
        parts = [self.tagger.score(flat[at : at + size], vocabulary.texts) for at in range(0, len(flat), size)]
        scores = np.concatenate(parts) if parts else np.zeros((0, len(vocabulary.labels)), np.float32)
        starts = np.cumsum([0, *(len(each) for each in seen)])[:-1]
        return np.maximum.reduceat(scores, starts, axis=0) if len(seen) else scores

    def regions(
        self, picture: Picture, vocabulary: Vocabulary, wanted: Sequence[str] | None = None, **changes: Any
    ) -> Regions:
        """Stage 2 alone: boxes for the wanted labels (all of the vocabulary where not given), best first."""
        settings = self.settings.changed(**changes)
        queries = vocabulary.queries
        if self.detector is None or queries is None:
            raise BadInput("this pipeline has no detector; load one with detector=SPEC")
        if wanted is not None:
            picked = [vocabulary.labels.index(label) for label in wanted]
            queries = Queries(tuple(wanted), queries.template, queries.embeddings[picked])
        if not queries.labels:
            return Regions.none()
        boxes = self.detector.detect([picture], queries, settings.box_threshold)[0]
        rows = _suppress(boxes, settings)
        labels = tuple(queries.labels[index] for index in boxes.label_index[rows])
        return Regions(boxes.xyxy[rows], boxes.scores[rows], labels, boxes.scores[rows])

    def cut_out(self, picture: Picture, regions: Regions, encoded: Any = None) -> Regions:
        """Stage 3 alone: the same regions with masks; no model call where there is none.

        Args:
            encoded: the segmenter's encoding of this picture, where the caller holds it already.
        """
        if self.segmenter is None:
            return regions
        if not len(regions):
            return Regions.none(masks_of=picture.shape[:2])
        masks, sure = self.segmenter.masks(self.segmenter.encode(picture) if encoded is None else encoded, regions.xyxy)
        scores = regions.detector_scores * sure
        done = Regions(regions.xyxy, scores, regions.labels, regions.detector_scores, sure, masks)
        return done.take(np.argsort(-scores, kind="stable"))

    def _result(self, name: str, picture: Picture, vocabulary: Vocabulary, settings: Settings) -> Result:
        asked = Pipeline(self.tagger, self.detector, self.segmenter, settings)
        tags = asked.tags(picture, vocabulary)
        regions = Regions.none()
        if self.detector is not None:
            regions = asked.regions(picture, vocabulary, [tag.label for tag in tags] if self.tagger else None)
            regions = asked.cut_out(picture, regions)
        height, width = picture.shape[:2]
        return Result(name, width, height, tags, regions, asked._record(vocabulary), picture)

    def _record(self, vocabulary: Vocabulary) -> RunRecord:
        def of(stage: Tagger | Detector | Segmenter[Any] | None) -> ModelRecord | None:
            return None if stage is None else stage.record

        return RunRecord(
            openvocab.__version__,
            of(self.tagger),
            of(self.detector),
            of(self.segmenter),
            vocabulary.prompts.templates,
            vocabulary.prompts.digest,
            vocabulary.queries.template if vocabulary.queries else "",
            {name: value for name, value in asdict(self.settings).items() if value is not None},
        )


def _suppress(boxes: Boxes, settings: Settings) -> NDArray[np.intp]:
    """Rows to keep, best first: NMS within a label, then, if asked, between labels."""
    import torch
    from torchvision.ops import batched_nms, nms

    xyxy, scores = torch.from_numpy(boxes.xyxy), torch.from_numpy(boxes.scores)
    kept = batched_nms(xyxy, scores, torch.from_numpy(boxes.label_index), settings.nms_iou)
    if settings.duplicates == "best":
        kept = kept[nms(xyxy[kept], scores[kept], settings.duplicate_iou)]
    rows: NDArray[np.intp] = kept[: settings.max_boxes].numpy()
    return rows
