"""Result: tags and detections of one image with the models that made them, as a frozen record checked once."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput, counted
from openvocab.pipeline import display
from openvocab.pipeline.detections import Detection, Detections, check_array
from openvocab.pipeline.masks import Masks
from openvocab.pipeline.verdict import VERIFICATION, Verdict

if TYPE_CHECKING:
    import pandas
    import supervision
    from PIL.Image import Image as PILImage

__all__ = ["ModelRecord", "Presence", "Result", "RunRecord", "Tag"]


@dataclass(frozen=True, slots=True)
class Tag:
    """A label of the whole image.

    Attributes:
        label: The label as the caller wrote it.
        score: In 0 to 1.
    """

    label: str
    score: float


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """The model behind a result.

    Attributes:
        spec: SPEC that loads it.
        sha256: Digest of its weights; None where they were not hashed.
        device: Device it ran on.
        dtype: Precision it ran in.
    """

    spec: str
    sha256: str | None
    device: str
    dtype: str


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What someone else needs to get the same numbers.

    Attributes:
        openvocab: Version of openvocab.
        tagger: The tagger; None where none ran.
        detector: The detector; None where none ran.
        segmenter: The segmenter; None where none ran.
        templates: The tagger's prompt templates.
        templates_digest: Digest of the templates.
        detector_template: The detector's prompt template.
        settings: Setting -> value; thresholds are the effective ones.
        prompt: Digest of the Prompt that was asked for; empty for labels.
        label_set: Digest of the LabelSet that was asked for; empty for plain labels.
    """

    openvocab: str
    tagger: ModelRecord | None
    detector: ModelRecord | None
    segmenter: ModelRecord | None
    templates: tuple[str, ...]
    templates_digest: str
    detector_template: str
    settings: dict[str, float | int | str | bool] = field(default_factory=dict)
    prompt: str = ""
    label_set: str = ""


PRESENT = 0.5
"""Labels that are less likely are absent."""

_MAX_PLAIN = 1000
"""The most labels whose presence is written into JSON."""


@dataclass(frozen=True, eq=False, slots=True)
class Presence(Mapping[str, float]):
    """Label -> probability that it is in the image, for all labels in the order of the vocabulary.

    Attributes:
        places: Label -> its row; shared by all results of a vocabulary.
        probabilities: (C,) float32.
        negatives: (N,) float32, of the negatives of a LabelSet, which are no entries; verification reads them.
        labels: The labels in order.
        shipped: (C + N,) float32 with the coefficients that ship, which verification reads; None where probabilities
            and negatives have them.
    """

    places: Mapping[str, int]
    probabilities: NDArray[np.float32]
    negatives: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    labels: tuple[str, ...] = field(default=(), repr=False)
    shipped: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        """Fill in the labels where they were not given."""
        if not self.labels:
            object.__setattr__(self, "labels", tuple(self.places))

    def __getitem__(self, label: str) -> float:
        return float(self.probabilities[self.places[label]])

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)

    def __repr__(self) -> str:
        best = np.argsort(-self.probabilities, kind="stable")[:4]
        names = self.labels
        shown = ", ".join(f"{names[row]} {self.probabilities[row]:.2f}" for row in best)
        return f"Presence({counted(len(self), 'label')}: {shown})"

    def top(self, count: int) -> dict[str, float]:
        """Return the count most likely labels with their probabilities, in the order of the vocabulary."""
        names = self.labels
        rows = np.arange(len(names))
        if len(rows) > count:
            rows = np.sort(np.argsort(-self.probabilities, kind="stable")[:count])
        return {names[row]: float(self.probabilities[row]) for row in rows}

    def likeliest(self, count: int, *, present: bool) -> tuple[list[tuple[str, float]], int]:
        """Return the count likeliest labels that are present, or absent, likeliest first, and how many others are."""
        names, there = self.labels, self.probabilities >= PRESENT
        rows = np.flatnonzero(there if present else ~there)
        best = rows[np.argsort(-self.probabilities[rows], kind="stable")][:count]
        return [(names[row], float(self.probabilities[row])) for row in best], len(rows) - len(best)


NO_PRESENCE = Presence({}, np.zeros(0, np.float32))
"""Where nothing was asked for, or nothing could be said."""


@dataclass(frozen=True, eq=False, slots=True)
class Result:
    """Everything that was found in one image.

    Attributes:
        source: The path as given, or "array" where an array was given; in a run its kind and place, array-0.
        width: Pixels of the upright image.
        height: Pixels of the upright image.
        tags: Labels of the whole image, best first.
        detections: Boxes and masks, best first.
        run: The models and settings that made it.
        image: (height, width, 3) uint8 RGB, kept so that the result can be drawn.
        notes: Why there is neither a tag nor a detection; empty where there is one.
        labels: The vocabulary, in the caller's order; empty where it is not known.
        presence: Label -> probability that it is in the image; it does not depend on the other labels.
        rejected: Boxes that verification rejected, best first; data["verification"] has the verdicts.
    """

    source: str
    width: int
    height: int
    tags: tuple[Tag, ...]
    detections: Detections
    run: RunRecord
    image: NDArray[np.uint8]
    notes: tuple[str, ...] = field(default=(), kw_only=True)
    labels: tuple[str, ...] = field(default=(), kw_only=True)
    presence: Presence = field(default_factory=lambda: NO_PRESENCE, kw_only=True)
    rejected: Detections = field(default_factory=Detections.none, kw_only=True)

    def __post_init__(self) -> None:
        """Check that image, masks and size agree, and index the detections by `classes`.

        Raises:
            BadInput: they do not.
        """
        check_array("image", self.image, np.uint8, (self.height, self.width, 3))
        if self.detections.masks is not None:
            size = self.detections.masks.shape[1:]
            if size != (self.height, self.width):
                raise BadInput(
                    f"masks must have shape (any, {self.height}, {self.width}), got (any, {size[0]}, {size[1]})"
                )
        pairs = zip(self.detections.class_ids.tolist(), self.detections.labels, strict=True)
        if not all(0 <= row < len(self.labels) and self.labels[row] == label for row, label in pairs):
            object.__setattr__(self, "detections", self.detections.indexed(self.classes))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Result):
            return NotImplemented
        names = [each.name for each in fields(Result) if each.name != "image"]
        return all(getattr(self, name) == getattr(other, name) for name in names) and np.array_equal(
            self.image, other.image
        )

    __hash__ = None  # type: ignore[assignment]  # equal by value, and arrays have no hash

    def __len__(self) -> int:
        """Return the number of detections."""
        return len(self.detections)

    def __bool__(self) -> bool:
        """Return True: a result without a detection is a result."""
        return True

    def __repr__(self) -> str:
        tags = ", ".join(f"{tag.label} {tag.score:.2f}" for tag in self.tags[:3])
        more = f", +{len(self.tags) - 3}" if len(self.tags) > 3 else ""
        return f"Result({self.source!r}, {self.width}x{self.height}, tags: {tags or 'none'}{more}, {self.detections!r})"

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels in the order of class ids: the vocabulary, then what was named by hand."""
        return tuple(dict.fromkeys([*self.labels, *self.detections.labels, *(tag.label for tag in self.tags)]))

    @property
    def absent(self) -> dict[str, float]:
        """The labels that are likelier absent than present, with the probability that they are in the image."""
        return {label: value for label, value in self.presence.items() if value < PRESENT}

    @property
    def none_present(self) -> bool:
        """Whether the answer is "none of these": every label is likelier absent than present."""
        return len(self.presence) > 0 and bool((self.presence.probabilities < PRESENT).all())

    def draw(self) -> PILImage:
        """Return the image with masks, boxes and names on it."""
        from openvocab.pipeline.drawing.draw import draw

        return draw(self.image, self.detections)

    def to_supervision(self) -> supervision.Detections:
        """Return the detections as supervision.Detections; class_id is the index of the label in `classes`."""
        return self.detections.to_supervision()

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types; masks as COCO run-length encoding (size is [height, width])."""
        return {
            "source": self.source,
            "width": self.width,
            "height": self.height,
            "tags": [{"label": tag.label, "score": round(tag.score, 6)} for tag in self.tags],
            "detections": [_plain(each) for each in self.detections],
            "rejected": [_plain(each) for each in self.rejected],
            "presence": {label: round(value, 6) for label, value in self.presence.top(_MAX_PLAIN).items()},
            "notes": list(self.notes),
            "run": asdict(self.run),
        }

    def save(self, path: str | Path) -> None:
        """Draw the result into an image file; the suffix says the format."""
        self.draw().save(path)

    @property
    def boxes(self) -> Detections:
        """The detections: `result.boxes.xyxy` are their boxes."""
        return self.detections

    @property
    def masks(self) -> Masks | None:
        """The masks of the detections, (N, H, W); None without a segmenter."""
        return self.detections.masks

    @property
    def names(self) -> dict[int, str]:
        """Class id -> label."""
        return dict(enumerate(self.classes))

    def plot(self) -> NDArray[np.uint8]:
        """Return the drawing as an (H, W, 3) uint8 RGB array; a small image is drawn enlarged."""
        return np.asarray(self.draw().convert("RGB"))

    def show(self) -> None:
        """Display the drawing: in a notebook as output of the cell, elsewhere in the system's image viewer."""
        display.show(self)

    def _repr_png_(self) -> bytes:
        return display.png(self)

    def _repr_html_(self) -> str:
        return display.html(self)

    def crops(self) -> list[NDArray[np.uint8]]:
        """Return what lies in each box as (h, w, 3) uint8 RGB."""
        return display.crops(self)

    def cutouts(self) -> list[NDArray[np.uint8]]:
        """Return each object cut out by its mask as (h, w, 4) uint8 RGBA, transparent beside the mask.

        Raises:
            BadInput: there are detections, and no masks.
        """
        return display.cutouts(self)

    def save_crop(self, folder: str | Path) -> list[Path]:
        """Write each crop as FOLDER/LABEL/SOURCE-N.png and return the paths; N is one of which there is no file yet.

        Raises:
            CannotWrite: the folder or a file cannot be written.
        """
        return display.save_crops(self, folder)

    def save_txt(self, path: str | Path) -> None:
        """Write a YOLO label file: class id, center x, center y, width, height and score, one detection a line.

        Raises:
            CannotWrite: the file cannot be written.
        """
        display.write_text(path, display.yolo_text(self))

    def to_json(self) -> str:
        """Return to_dict as JSON."""
        return json.dumps(self.to_dict())

    def to_coco(self, image_id: int = 0) -> list[dict[str, Any]]:
        """Return the detections as COCO results; category ids are the class ids of `classes`."""
        return display.coco(self, image_id)

    def to_csv(self) -> str:
        """Return a table with one line a detection, as to_pandas; labels that a spreadsheet would run are escaped."""
        return display.csv_text(self)

    def to_pandas(self) -> pandas.DataFrame:
        """Return a table with one row a detection: label, class_id, scores and the edges of the box."""
        return display.data_frame(self)


def _plain(one: Detection) -> dict[str, Any]:
    """Return a detection as plain JSON types."""
    plain: dict[str, Any] = {
        "label": one.label,
        "score": round(one.score, 6),
        "detector_score": round(one.detector_score, 6),
        "xyxy": [round(edge, 3) for edge in one.xyxy],
    }
    if one.rle is not None and one.mask_score is not None:
        plain |= {"mask_score": round(one.mask_score, 6), "mask": one.rle}
    if text := str(verdict := one.data.get(VERIFICATION, Verdict())):
        plain |= {"verification": text, "verdict": asdict(verdict)}
    return plain
