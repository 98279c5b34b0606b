"""The chain over images with labels of their own, some of which are absent: SA-Co."""

from __future__ import annotations

from dataclasses import dataclass

from openvocab.errors import BadInput
from openvocab.evaluate.data.annotated import AnnotatedImage, AnnotatedSet
from openvocab.evaluate.metrics.concepts import PairCounts, detections_of, objects_of, pair_counts
from openvocab.evaluate.metrics.detection import GroundTruth, Kind
from openvocab.evaluate.runs.detector import AnnotatedReader, has_annotated_size
from openvocab.evaluate.runs.images import Progress, no_progress
from openvocab.pipeline.detections import Detections
from openvocab.pipeline.pipeline import Pipeline
from openvocab.pipeline.result import RunRecord

__all__ = ["ConceptRun", "run_concepts"]


@dataclass(frozen=True, eq=False, slots=True)
class ConceptRun:
    """The counts of the pairs of image and label of P images.

    Attributes:
        names: P paths.
        record: The models, templates and settings.
        pairs: For each image, the counts of its pairs.
        kind: Whether boxes or masks are compared.
        annotators: Number of annotators of a pair.
        unread: Path and error of each image that could not be read; it is in no metric.
        resized: Paths of images of another size than annotated; they are in no metric.
        digest: sha256 over all images' bytes and annotations, in order; it identifies the data.
    """

    names: tuple[str, ...]
    record: RunRecord
    pairs: tuple[tuple[PairCounts, ...], ...]
    kind: Kind
    annotators: int
    unread: tuple[tuple[str, str], ...]
    resized: tuple[str, ...]
    digest: str


def run_concepts(pipe: Pipeline, data: AnnotatedSet, *, progress: Progress = no_progress) -> ConceptRun:
    """Run the chain over each image with the labels that were annotated in it, and count.

    Args:
        pipe: A pipeline with a detector.
        data: The data set; masks are compared if both sides have them.
        progress: Wraps the images, for example in a progress bar.

    Raises:
        BadInput: There is no detector, or no image can be measured.
        BadOutput: A model's output is not finite.
    """
    if pipe.detector is None:
        raise BadInput("this pipeline has no detector, and the chain needs one; load one with detector=SPEC")
    kind: Kind = "mask" if pipe.segmenter is not None or pipe.masks_from_detector is not None else "box"
    reader = AnnotatedReader(data, pipe.settings.batch_size, masks=True)
    others = {one.path: tuple(each[row] for each in data.annotators) for row, one in enumerate(data.images)}
    names, pairs, record = list[str](), list[tuple[PairCounts, ...]](), None
    for readable in reader.batches(progress):
        for one, made in readable:
            if not has_annotated_size(one, made):
                continue
            rows = _rows(one, data)
            vocabulary = pipe.vocabulary(data.query(rows))
            record = record or pipe.record(vocabulary)
            found = pipe(made.pixels, vocabulary).detections.indexed(data.labels)
            names.append(one.path)
            reader.digest.update(repr([rows, *map(_plain, others[one.path])]).encode())
            pairs.append(tuple(_counts((one, *others[one.path]), found, row, kind) for row in rows))
    if record is None:
        raise reader.nothing_measured()
    unread, resized, annotators = tuple(reader.unread), tuple(reader.resized), 1 + len(data.annotators)
    digest = reader.digest.hexdigest()
    return ConceptRun(tuple(names), record, tuple(pairs), kind, annotators, unread, resized, digest)


def _rows(one: AnnotatedImage, data: AnnotatedSet) -> list[int]:
    """Return the indices of the labels that an image is queried with."""
    rows = range(len(data.labels)) if one.checked_labels is None else one.checked_labels.tolist()
    return list(rows)


def _plain(one: AnnotatedImage) -> list[object]:
    return [one.class_ids.tolist(), one.crowd.tolist(), [each["counts"] for each in one.masks or ()]]


def _counts(annotators: tuple[AnnotatedImage, ...], found: Detections, row: int, kind: Kind) -> PairCounts:
    """Return the counts of one label of an image."""
    truths = [
        objects_of(GroundTruth(one.height, one.width, one.xyxy, one.class_ids, one.crowd, one.masks), row, kind)
        for one in annotators
    ]
    return pair_counts(truths, detections_of(found, row, kind), kind)
