"""Calibration: scores as probabilities and a threshold for each label, fitted on labeled images.

A calibrated score is sigmoid(scale * logit(score) + shift), with a scale and a shift for each label (Platt 1999,
"Probabilistic outputs for support vector machines"). `openvocab fit` writes the file.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput, CannotWrite, OpenVocabWarning
from openvocab.pipeline.scores import sigmoid
from openvocab.weights.presence import PresenceModel

if TYPE_CHECKING:
    from openvocab.pipeline.result import ModelRecord

__all__ = ["Calibration", "FittedModel", "LabelFit", "Scored", "StageFit", "logit", "read_calibration"]

_KIND = "openvocab calibration"
FORMAT = f"{_KIND} 1"
"""What a file of this version says that it is."""
_MARGIN = 1e-7
"""Scores are kept this far from 0 and 1, where the logit is infinite; the precision of float32 is about this."""


def logit(scores: NDArray[Any]) -> NDArray[np.float64]:
    """Return the log-odds of scores in 0 to 1, in the same shape; those of 0 and 1 are finite too."""
    wide = np.clip(np.asarray(scores, np.float64), _MARGIN, 1 - _MARGIN)
    return np.asarray(np.log(wide) - np.log1p(-wide))


class Scored(NamedTuple):
    """Scores and their thresholds.

    Attributes:
        scores: (N,) float32 in 0 to 1.
        min_scores: The threshold of all of them, or (N,) one a score.
    """

    scores: NDArray[np.float32]
    min_scores: float | NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LabelFit:
    """What was fitted for one label.

    Attributes:
        scale: Factor of the logit, over 0, so that a better score stays better.
        shift: Added to it.
        threshold: Calibrated score in 0 to 1 from which on the label is reported.
    """

    scale: float
    shift: float
    threshold: float

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            BadInput: one is not finite, the scale is not over 0, or the threshold is outside 0 to 1.
        """
        if not all(map(math.isfinite, (self.scale, self.shift, self.threshold))):
            raise BadInput(f"a calibration has finite numbers only, got {self}; fit it again")
        if self.scale <= 0 or not 0 <= self.threshold <= 1:
            raise BadInput(f"a calibration has a scale over 0 and a threshold in 0 to 1, got {self}; fit it again")


@dataclass(frozen=True, eq=False, slots=True)
class StageFit:
    """What was fitted for the scores of a tagger or of a detector.

    Attributes:
        shared: For labels that were not fitted alone; its threshold is the default setting of a pipeline.
        labels: Label -> what was fitted for it.
    """

    shared: LabelFit
    labels: Mapping[str, LabelFit] = field(default_factory=dict)

    def scores(
        self, raw: NDArray[np.float32], labels: tuple[str, ...], index: NDArray[np.integer[Any]] | None = None
    ) -> NDArray[np.float32]:
        """Return the calibrated scores.

        Args:
            raw: (C,) scores, one a label; with index (N,), scores of the labels at those places.
            labels: C labels.
            index: (N,) places in labels.
        """
        scale, shift, _ = _columns(self, labels)
        if index is not None:
            scale, shift = scale[index], shift[index]
        return sigmoid(scale * logit(raw) + shift)

    def with_threshold(self, threshold: float) -> StageFit:
        """Return the same scores with one threshold for all labels."""
        labels = {label: replace(each, threshold=threshold) for label, each in self.labels.items()}
        return StageFit(replace(self.shared, threshold=threshold), labels)

    def thresholds(self, labels: tuple[str, ...], setting: float) -> NDArray[np.float64]:
        """Return the (C,) thresholds of calibrated scores.

        At the shared threshold as setting these are the fitted ones. Another setting moves all of them by the same
        log-odds: 0 admits everything.

        Args:
            labels: C labels.
            setting: The threshold of the settings.
        """
        fitted = _columns(self, labels)[2]
        if setting == self.shared.threshold:
            return fitted
        if setting in (0.0, 1.0):
            return np.full(len(labels), setting)
        moved = logit(fitted) + float(logit(np.array(setting)) - logit(np.array(self.shared.threshold)))
        return np.asarray(1 / (1 + np.exp(-moved)))

    def lowest(self, labels: tuple[str, ...], setting: float) -> float:
        """Return a score of the model below which no label reaches its threshold."""
        thresholds = self.thresholds(labels, setting)
        if setting == 0.0 or not len(labels):
            return 0.0
        scale, shift, _ = _columns(self, labels)
        least = float(((logit(thresholds) - shift) / scale).min()) - 1e-6
        return 1 / (1 + math.exp(-max(least, -700.0)))


@lru_cache(maxsize=32)
def _columns(stage: StageFit, labels: tuple[str, ...]) -> tuple[NDArray[np.float64], ...]:
    """Return the (C,) scales, shifts and thresholds of C labels."""
    fits = [stage.labels.get(label, stage.shared) for label in labels]
    table = np.array([(each.scale, each.shift, each.threshold) for each in fits], np.float64).reshape(-1, 3)
    table.flags.writeable = False
    return table[:, 0], table[:, 1], table[:, 2]


@dataclass(frozen=True, slots=True)
class FittedModel:
    """The model whose scores were fitted.

    Attributes:
        spec: Its SPEC.
        sha256: Digest of its weights; None where they were not hashed.
    """

    spec: str
    sha256: str | None

    def is_same(self, loaded: ModelRecord) -> bool:
        """Return whether a loaded model has these weights; where a digest is unknown, the SPECs are compared."""
        if self.sha256 and loaded.sha256:
            return self.sha256 == loaded.sha256
        return self.spec == loaded.spec


@dataclass(frozen=True, eq=False, slots=True)
class Calibration:
    """Thresholds and calibrated scores for one tagger and one detector; `openvocab fit` makes it.

    Attributes:
        tagger: The tagger that it was fitted for; None if tags were not fitted.
        detector: The detector that it was fitted for; None if boxes were not fitted.
        tags: For the tagger's scores.
        boxes: For the detector's scores.
        windows: Windows that the tagger saw; see Settings.
        tiles: Tiles that the models saw; see Settings.
        presence: Coefficients of presence for the evidence that was fitted; None: those that ship are used.
        presence_threshold: With these coefficients as many labels reach it as with those that ship reach the one that
            was set; None without them.
        verified: Whether boxes were fitted as verification leaves them; None in a file of an earlier version.
        about: How it was fitted, as plain JSON types.
        name: Name of the file; empty before it is written. It is no part of the digest.
    """

    tagger: FittedModel | None = None
    detector: FittedModel | None = None
    tags: StageFit | None = None
    boxes: StageFit | None = None
    windows: int = 0
    tiles: int | str = 0
    presence: PresenceModel | None = None
    presence_threshold: float | None = None
    verified: bool | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""

    def __post_init__(self) -> None:
        """Check that something was fitted, and that each fit has its model.

        Raises:
            BadInput: there is no fit, a fit has no model, or a model no fit.
        """
        if self.tags is None and self.boxes is None:
            raise BadInput("a calibration has a fit of tags or of boxes, and this one has neither; fit it again")
        for stage, model, fit in (("tagger", self.tagger, self.tags), ("detector", self.detector, self.boxes)):
            if (model is None) != (fit is None):
                raise BadInput(f"a calibration names a {stage} and has a fit of its scores, or neither; fit it again")

    @property
    def bounds_objects(self) -> bool:
        """Whether its threshold of boxes keeps a bound on the objects that are missed; see `openvocab fit --risk`."""
        return bool((self.about.get("boxes") or {}).get("risk"))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Calibration) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def to_json(self) -> str:
        """Return the content of the file."""
        stages = {"tagger": (self.tagger, self.tags), "detector": (self.detector, self.boxes)}
        plain: dict[str, Any] = {"format": FORMAT, "windows": self.windows, "tiles": self.tiles}
        for stage, (model, fit) in stages.items():
            if model is not None and fit is not None:
                rows = {label: asdict(each) for label, each in fit.labels.items()}
                plain[stage] = {**asdict(model), "shared": asdict(fit.shared), "labels": rows}
        if self.presence is not None:
            plain["presence"] = {"threshold": self.presence_threshold, **self.presence.to_plain()}
        if self.verified is not None:
            plain["verified"] = self.verified
        return json.dumps({**plain, "about": dict(self.about)}, indent=1, ensure_ascii=False) + "\n"

    @property
    def digest(self) -> str:
        """The sha256 of the content of the file."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file.

        Raises:
            CannotWrite: it cannot be written.
        """
        try:
            Path(path).write_text(self.to_json(), "utf-8")
        except OSError as error:
            name = os.fspath(path)
            raise CannotWrite(f"{name} cannot be written ({error.strerror or error}); choose another file") from error

    def check(
        self,
        tagger: ModelRecord | None,
        detector: ModelRecord | None,
        windows: int,
        tiles: int | str,
        verify: int | None = None,
    ) -> None:
        """Refuse models that it was not fitted for, and warn of other windows, tiles or boxes.

        A stage that is left out is no error.

        Args:
            tagger: The loaded tagger.
            detector: The loaded detector.
            windows: See Settings.
            tiles: See Settings.
            verify: See Settings; None if no box can be verified.

        Raises:
            BadInput: the tagger or the detector is another one.
        """
        file = repr(self.name) if self.name else "given"
        for stage, fitted, loaded in (("tagger", self.tagger, tagger), ("detector", self.detector, detector)):
            if fitted is not None and loaded is not None and not fitted.is_same(loaded):
                raise BadInput(
                    f"the calibration {file} was fitted for the {stage} {_named(fitted)}, and {_named(loaded)} is "
                    f"loaded; load that {stage}, or fit again with: openvocab fit"
                )
        odd = [("tiles", self.tiles, tiles)]
        if self.tags is not None and tagger is not None:
            odd.append(("windows", self.windows, windows))
        for name, fitted_with, value in odd:
            if value != fitted_with:
                _warn(file, f"with {name}={fitted_with}", f"{name}={value}", f"set {name}={fitted_with}")
        if self.boxes is not None and None not in (verify, self.verified, tagger) and bool(verify) != self.verified:
            words = ("with verification", "verify=0") if self.verified else ("without verification", f"verify={verify}")
            _warn(file, *words, "turn it on with verify=16" if self.verified else "set verify=0")


def _warn(file: str, fitted: str, given: str, remedy: str) -> None:
    """Warn of models that see something else than they did in the fit."""
    warnings.warn(
        f"the calibration {file} was fitted {fitted}, and {given} is set, so scores and thresholds do not fit; "
        f"{remedy}, or fit again with: openvocab fit",
        OpenVocabWarning,
        stacklevel=3,
    )


def _named(model: FittedModel | ModelRecord) -> str:
    return f"{model.spec} (sha256 {model.sha256[:12] if model.sha256 else 'unknown'})"


def read_calibration(path: str | os.PathLike[str]) -> Calibration:
    """Read a file that `openvocab fit` wrote.

    Raises:
        BadInput: the file cannot be read, or is not a calibration.
    """
    name = os.fspath(path)
    try:
        plain = json.loads(Path(path).read_text("utf-8"))
    except (OSError, ValueError) as error:
        cause = error.strerror if isinstance(error, OSError) else error
        raise BadInput(f"the calibration {name!r} cannot be read ({cause}); write one with: openvocab fit") from error
    found = plain.get("format") if isinstance(plain, dict) else None
    if found != FORMAT:
        what = f"of another version ({found})" if str(found).startswith(_KIND) else "no calibration"
        raise BadInput(f"{name!r} is {what}; write one with: openvocab fit")
    try:
        models, fits = _stages(plain, ("tagger", "detector"))
        (tagger, detector), (tags, boxes) = models, fits
        given = plain.get("presence")
        presence = (None, None) if given is None else (PresenceModel.from_plain(given), given["threshold"])
        more = *presence, plain.get("verified"), dict(plain["about"]), Path(path).name
        return Calibration(tagger, detector, tags, boxes, plain["windows"], plain["tiles"], *more)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BadInput(f"the calibration {name!r} is damaged ({error}); fit it again") from error


def _stages(plain: Mapping[str, Any], names: Sequence[str]) -> tuple[list[Any], list[Any]]:
    """Return the models and the fits of the stages, each None where the file has none."""
    models: list[FittedModel | None] = []
    fits: list[StageFit | None] = []
    for name in names:
        one = plain.get(name)
        models.append(None if one is None else FittedModel(one["spec"], one["sha256"]))
        labels = {} if one is None else {label: LabelFit(**each) for label, each in one["labels"].items()}
        fits.append(None if one is None else StageFit(LabelFit(**one["shared"]), labels))
    return models, fits
