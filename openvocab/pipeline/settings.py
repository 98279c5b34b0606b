"""Settings of the chain: the one place for its defaults, read by library, command line and docs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from inspect import Parameter, signature
from typing import Any, Literal, TypedDict, get_args

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput
from openvocab.pipeline.calibration import Calibration, Scored, read_calibration
from openvocab.prompts.labels import check_threshold

__all__ = ["Duplicates", "Gate", "SettingChanges", "Settings", "Tiles"]

Gate = Literal["best", "threshold", "none"]
Duplicates = Literal["best", "keep"]
Tiles = int | Literal["auto"]


class SettingChanges(TypedDict, total=False):
    """Keywords that change fields of Settings for one call; None leaves a field as it is."""

    tag_threshold: float | None
    max_tags: int | None
    gate: Gate | None
    windows: int | None
    tiles: Tiles | None
    min_object: int | None
    presence_threshold: float | None
    box_threshold: float | None
    nms_iou: float | None
    duplicates: Duplicates | None
    duplicate_iou: float | None
    max_boxes: int | None
    mask_threshold: float | None
    verify: int | None
    batch_size: int | None
    detector_batch_size: int | None
    segmenter_batch_size: int | None
    calibration: Calibration | str | os.PathLike[str] | None


_LEAST = {
    "max_tags": 1,
    "max_boxes": 1,
    "windows": 0,
    "tiles": 0,
    "min_object": 1,
    "verify": 0,
    "batch_size": 1,
    "detector_batch_size": 1,
    "segmenter_batch_size": 1,
}
"""The counts and their least values."""
_OWN = ("detector_batch_size", "segmenter_batch_size")
"""Counts that may be None: the model's own."""


def _option(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True, slots=True)
class Settings:
    """Thresholds and limits of the chain; scores and IoUs lie in 0 to 1.

    A threshold for tags or boxes that is None is the checkpoint's own; a Pipeline fills it in (see effective).
    """

    tag_threshold: float | None = _option(None, "drop tags that score less (default: the checkpoint's own)")
    max_tags: int = _option(20, "keep at most this many tags an image")
    gate: Gate = _option(
        "best",
        "labels that the detector gets: the max_tags best (best), the tags (threshold), or all (none)",
    )
    windows: int = _option(0, "also score an N x N grid of overlapping half-size windows; 0 scores the image alone")
    tiles: Tiles = _option(
        0,
        "also run all stages on overlapping tiles, N along the longer side; auto: as many as min_object needs; 0: none",
    )
    min_object: int = _option(32, "with tiles auto: length in pixels of the smallest object to find")
    presence_threshold: float = _option(0.0, "drop boxes of labels that are less likely to be in the image")
    box_threshold: float | None = _option(None, "drop boxes that score less (default: the checkpoint's own)")
    nms_iou: float = _option(0.5, "of two boxes of one label that overlap more, keep the better")
    duplicates: Duplicates = _option("best", "the same object under two labels: keep the best label, or keep both")
    duplicate_iou: float = _option(0.7, "boxes of two labels are the same object when they overlap more")
    max_boxes: int = _option(100, "keep at most this many boxes an image")
    mask_threshold: float = _option(0.0, "drop detections whose mask scores less")
    verify: int = _option(0, "let the tagger check the N boxes that score least on crops of them; 0: none")
    batch_size: int = _option(32, "images that the tagger sees at once")
    detector_batch_size: int | None = _option(None, "images that the detector sees at once (default: its own)")
    segmenter_batch_size: int | None = _option(None, "images that the segmenter encodes at once (default: its own)")
    calibration: Calibration | None = _option(None, "thresholds and calibrated scores, from openvocab fit")

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            BadInput: a threshold outside 0 to 1, a count below its least value, an unknown policy, something else
                than a Calibration, or boxes to verify with one that bounds the objects that are missed.
        """
        shares = ("tag_threshold", "presence_threshold", "box_threshold", "nms_iou", "duplicate_iou", "mask_threshold")
        for name in shares:
            if getattr(self, name) is not None:
                check_threshold(name, getattr(self, name))
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if (name == "tiles" and value == "auto") or (name in _OWN and value is None):
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                kind = "'auto' or a" if name == "tiles" else "a"
                raise BadInput(f"{name} must be {kind} whole number of at least {least}, got {value!r}")
        if self.duplicates not in ("best", "keep"):
            raise BadInput(f"duplicates must be 'best' or 'keep', got {self.duplicates!r}")
        if self.gate not in get_args(Gate):
            raise BadInput(f"gate must be 'best', 'threshold' or 'none', got {self.gate!r}")
        if self.calibration is not None and not isinstance(self.calibration, Calibration):
            raise BadInput(f"calibration must be a Calibration or the path of one, got {self.calibration!r}")
        if self.verify and self.calibration is not None and self.calibration.bounds_objects:
            raise BadInput(
                f"the calibration {self.calibration.name!r} bounds the share of objects that are missed, and what "
                "verification rejects is missed; leave out verify, or fit again without a bound"
            )

    def changed_in(
        self, call: Callable[..., Any], values: Mapping[str, Any], options: Iterable[str] | None = None
    ) -> Settings:
        """Return these settings with the values that a call was given besides its own options; see changed.

        Args:
            call: the function that was called.
            values: keyword -> value, without the call's own options.
            options: names of the call's own options; its keyword-only parameters where not given.

        Raises:
            BadInput: a name is neither an option of the call nor a setting, or a value does not fit.
        """
        known = [each.name for each in fields(self)]
        for name in values.keys() - known:
            given = signature(call).parameters.values()
            own = [each.name for each in given if each.kind is Parameter.KEYWORD_ONLY] + list(options or ())
            near = get_close_matches(name, [*own, *known], n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            title = "pipe" if call.__name__ == "__call__" else call.__name__
            listed = f"options: {', '.join(own)}; settings: {', '.join(sorted(known))}"
            raise BadInput(f"{title}() has no option or setting named {name!r}; {hint}{listed}")
        return self.changed(**values)

    def changed(self, **values: Any) -> Settings:
        """Return these settings with some values changed; None leaves a value as it is.

        A calibration may be the path of its file. It brings its own thresholds of tags, presence and boxes in place of
        the present ones, unless others are given with it. One that bounds the objects that are missed turns
        verification off likewise, since what is rejected is missed.

        Raises:
            BadInput: no setting of that name, a value that does not fit it, or a calibration that cannot be read.
        """
        known = {each.name for each in fields(self)}
        for name in values.keys() - known:
            raise BadInput(f"no setting named {name!r}; known: {', '.join(sorted(known))}")
        given = {name: value for name, value in values.items() if value is not None}
        if isinstance(given.get("calibration"), str | os.PathLike):
            given["calibration"] = read_calibration(given["calibration"])
        if "calibration" in given:
            own = {"verify": 0} if getattr(given["calibration"], "bounds_objects", False) else {}
            if (least := getattr(given["calibration"], "presence_threshold", None)) is not None:
                own["presence_threshold"] = least
            given = {"tag_threshold": None, "box_threshold": None} | own | given
        return replace(self, **given)

    def threshold(self, name: Literal["tag_threshold", "box_threshold"]) -> float:
        """Return a threshold that was given or filled in.

        Raises:
            BadInput: it was neither.
        """
        value: float | None = getattr(self, name)
        if value is None:
            raise BadInput(f"{name} is not known without a checkpoint; give it, or take the settings of a Pipeline")
        return value

    def tag_scores(self, scores: NDArray[np.float32], labels: tuple[str, ...]) -> Scored:
        """Return the (C,) scores of the tagger, calibrated if there is a calibration, with their thresholds.

        Raises:
            BadInput: the tag threshold was neither given nor filled in.
        """
        threshold, fit = self.threshold("tag_threshold"), None if self.calibration is None else self.calibration.tags
        if fit is None:
            return Scored(scores, threshold)
        return Scored(fit.scores(scores, labels), fit.thresholds(labels, threshold))

    def box_scores(
        self, scores: NDArray[np.float32], labels: tuple[str, ...], index: NDArray[np.integer[Any]]
    ) -> Scored:
        """Return the (N,) scores of boxes, calibrated if there is a calibration, with their thresholds.

        Args:
            scores: (N,) the detector's.
            labels: C labels.
            index: (N,) the label of each box.

        Raises:
            BadInput: the box threshold was neither given nor filled in.
        """
        threshold, fit = self.threshold("box_threshold"), None if self.calibration is None else self.calibration.boxes
        if fit is None:
            return Scored(scores, threshold)
        return Scored(fit.scores(scores, labels, index), fit.thresholds(labels, threshold)[index])

    def lowest_box_score(self, labels: tuple[str, ...]) -> float:
        """Return the score of the detector from which on a box of one of the labels may be a detection.

        Raises:
            BadInput: the box threshold was neither given nor filled in.
        """
        threshold, fit = self.threshold("box_threshold"), None if self.calibration is None else self.calibration.boxes
        return threshold if fit is None else fit.lowest(labels, threshold)

    def given(self) -> dict[str, Any]:
        """Return setting -> value as a RunRecord keeps them: those that are None are left out.

        A calibration is kept as the digest of its file.
        """
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        values["calibration"] = None if self.calibration is None else f"sha256:{self.calibration.digest}"
        return {name: value for name, value in values.items() if value is not None}
