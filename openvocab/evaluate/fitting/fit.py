"""`openvocab fit`: thresholds and calibrated scores from labeled images, as a Calibration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from openvocab.errors import BadInput
from openvocab.evaluate.data.annotated import AnnotatedSet
from openvocab.evaluate.data.labeled import LabeledSet
from openvocab.evaluate.fitting.collect import BoxAnswers, collect_boxes, collect_tags, kept_looks, known_looks
from openvocab.evaluate.fitting.pairs import Pairs, f1_of, reported
from openvocab.evaluate.fitting.presence import EvidencePairs, PresenceReport, fit_presence
from openvocab.evaluate.fitting.risk import Guarantee, control_risk, needed_images
from openvocab.evaluate.fitting.thresholds import StageReport, fit_stage
from openvocab.evaluate.runs.images import Progress, no_progress
from openvocab.pipeline.calibration import Calibration, FittedModel, StageFit

if TYPE_CHECKING:
    from openvocab.pipeline.pipeline import Pipeline
    from openvocab.pipeline.protocols import Vocabulary
    from openvocab.pipeline.result import ModelRecord
    from openvocab.prompts.templates import PromptSet
    from openvocab.weights.presence import PresenceModel

__all__ = ["Fitted", "FittedStage", "fit_calibration"]

_LEAST_IMAGES = 5
_IN_MEMORY = 2**28
"""Bytes of the detector's boxes that are kept in memory; more go into a temporary file."""


@dataclass(frozen=True, slots=True)
class FittedStage:
    """How the scores of a tagger or of a detector were fitted.

    Attributes:
        stage: "tags" or "boxes".
        report: The rule, and F1 of the default and of the fit.
        guarantee: The bound on the false-negative rate; None if none was asked for.
        guaranteed_f1: F1 with its threshold, on the images that it was chosen on; None where there is no threshold.
    """

    stage: str
    report: StageReport
    guarantee: Guarantee | None
    guaranteed_f1: float | None

    @property
    def fit(self) -> StageFit:
        """For the calibration: the fitted thresholds, or the one that keeps the bound."""
        if self.guarantee is None or self.guarantee.threshold is None:
            return self.report.fit
        return self.report.fit.with_threshold(self.guarantee.threshold)

    @property
    def about(self) -> dict[str, Any]:
        """The report as plain JSON types."""
        made = {name: value for name, value in asdict(self.report).items() if name != "fit"}
        made["precision"] = None if np.isinf(self.report.precision) else self.report.precision
        if self.guarantee is not None:
            made["risk"] = {**asdict(self.guarantee), "f1": self.guaranteed_f1}
        return made


@dataclass(frozen=True, slots=True)
class Fitted:
    """What fit_calibration returns.

    Attributes:
        calibration: To be saved, and to be given to openvocab.load.
        stages: What was fitted.
        unread: Id and error of each image that could not be read.
        presence: How presence was fitted; None where all pairs of image and label are of one kind.
    """

    calibration: Calibration
    stages: tuple[FittedStage, ...]
    unread: tuple[tuple[str, str], ...]
    presence: PresenceReport | None = None


def fit_calibration(
    pipe: Pipeline,
    data: LabeledSet | AnnotatedSet,
    prompts: PromptSet | None = None,
    *,
    risk: float | None = None,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Fitted:
    """Fit thresholds, calibrated scores and coefficients of presence of a pipeline's models on labeled images.

    Boxes are fitted last, as the fitted tags and presence and the pipeline's verification leave them. With a risk, half
    of the images are fitted on, the other half decides the threshold that keeps the bound, and no box is verified.

    Args:
        pipe: The models, with the settings that they will be used with and without a calibration.
        data: Labeled images; without boxes only the tagger is fitted, and presence as it tells it.
        prompts: The tagger's templates.
        risk: Bound on the expected share of an image's labels, and of its objects, that are missed.
        seed: Of the folds and halves.
        progress: Wraps the images, for example in a progress bar.

    Raises:
        BadInput: the pipeline has a calibration already, has no stage that the data fit, or the images are too few.
        BadOutput: a model's output is not finite.
    """
    (pipe, vocabulary), stages, tagged = _prepared(pipe, data, prompts, risk), list[FittedStage](), None
    if pipe.tagger is not None:
        answers = collect_tags(pipe, data, vocabulary, progress)
        tagged, unread = answers.tagged, answers.unread
        stages.append(_fit("tags", answers.pairs(), pipe.settings.threshold("tag_threshold"), risk, seed))
    if isinstance(data, AnnotatedSet) and pipe.detector is not None:
        collect = partial(collect_boxes, data=data, vocabulary=vocabulary, tagged=tagged, progress=progress)
        found, presence, report = _boxes(pipe, stages, collect, risk, seed)
        unread = found.unread
        stages.append(_fit("boxes", found.pairs, pipe.settings.threshold("box_threshold"), risk, seed))
    else:
        presence, report = _presence(pipe, answers.presence(), risk, seed)
    about = {"labels": len(data.labels), "seed": seed, "templates": list(vocabulary.prompts.templates)}
    return Fitted(_calibration(pipe, stages, about, presence, report), tuple(stages), tuple(unread), report)


def _boxes(
    pipe: Pipeline,
    stages: Sequence[FittedStage],
    collect: Callable[..., BoxAnswers],
    risk: float | None,
    seed: int,
) -> tuple[BoxAnswers, PresenceModel | None, PresenceReport | None]:
    """Return the boxes, and presence as it is fitted; they are judged again where presence changes them."""
    calibration = _calibration(pipe, stages) if stages else None
    with SpooledTemporaryFile(max_size=_IN_MEMORY) as file:
        found = collect(pipe.changed(calibration=calibration, verify=0), looks=partial(kept_looks, file))
        presence, report = _presence(pipe, found.presence, risk, seed)
        if calibration is not None and (pipe.settings.verify or (presence and pipe.settings.presence_threshold)):
            file.seek(0)
            changed = pipe.changed(calibration=_with_presence(calibration, presence, report))
            found = collect(changed, looks=partial(known_looks, file))
    return found, presence, report


def _presence(
    pipe: Pipeline, pairs: EvidencePairs, risk: float | None, seed: int
) -> tuple[PresenceModel | None, PresenceReport | None]:
    """Fit presence; with a risk on the images that the scores are fitted on."""
    images = int(pairs.image.max()) + 1 if len(pairs) else 0
    if risk is not None:
        pairs = pairs.take(np.isin(pairs.image, _halves(images, seed)[0]))
    source, least = f"fitted on {images} images: openvocab fit", pipe.settings.presence_threshold
    return fit_presence(pairs, pipe.presence_model, seed, source, least)


def _with_presence(made: Calibration, presence: PresenceModel | None, report: PresenceReport | None) -> Calibration:
    """Return a calibration with the coefficients that were taken."""
    if presence is None or report is None:
        return made
    return replace(made, presence=presence, presence_threshold=report.threshold)


def _halves(images: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the images that scores are fitted on, and those that decide the threshold of a risk."""
    order = np.random.default_rng(seed).permutation(images)
    return np.sort(order[: images // 2]), np.sort(order[images // 2 :])


def _prepared(
    pipe: Pipeline, data: LabeledSet | AnnotatedSet, prompts: PromptSet | None, risk: float | None
) -> tuple[Pipeline, Vocabulary]:
    """Return the pipeline as it is fitted, and the labels of the data, encoded.

    Raises:
        BadInput: the pipeline has a calibration already, or no stage that the data fit.
    """
    if pipe.settings.calibration is not None:
        raise BadInput("this pipeline has a calibration already; fit one that is loaded without it")
    if pipe.tagger is None and not isinstance(data, AnnotatedSet):
        raise BadInput(f"{data.source!r} has labels of whole images, which fit a tagger; load one with tagger=SPEC")
    vocabulary = pipe.vocabulary(data.queries or data.labels, prompts)
    made = pipe.for_vocabulary(vocabulary)
    return made if risk is None else made.changed(verify=0), vocabulary


def _fit(stage: str, pairs: Pairs, default: float, risk: float | None, seed: int) -> FittedStage:
    """Fit one stage; with a risk on half of the images.

    Raises:
        BadInput: there are too few images, or none of them has a label.
    """
    images = len(pairs.wanted)
    least = _LEAST_IMAGES if risk is None else max(2 * needed_images(risk), 2 * _LEAST_IMAGES)
    if images < least:
        kind = "a fit" if risk is None else f"a fit and a risk of {risk:g}"
        raise BadInput(f"{kind} needs {least} labeled images or more, got {images}; label more images")
    if not pairs.wanted.any():
        raise BadInput(f"no image of {images} has a label, so {stage} cannot be fitted; check the labels")
    if risk is None:
        return FittedStage(stage, fit_stage(pairs, default, seed), None, None)
    first, second = map(pairs.of_images, _halves(images, seed))
    report = fit_stage(first, default, seed)
    made = control_risk(second, report.fit.scores(second.score, second.labels, second.label), risk, seed)
    return FittedStage(stage, report, made, _guaranteed_f1(second, report.fit, made))


def _guaranteed_f1(pairs: Pairs, fit: StageFit, made: Guarantee) -> float | None:
    if made.threshold is None:
        return None
    return f1_of(pairs, reported(pairs, fit.with_threshold(made.threshold), made.threshold))


def _calibration(
    pipe: Pipeline,
    stages: Sequence[FittedStage],
    about: Mapping[str, Any] | None = None,
    presence: PresenceModel | None = None,
    report: PresenceReport | None = None,
) -> Calibration:
    """Return the calibration of the stages that were fitted."""
    said = {**(about or {}), **({} if report is None else {"presence": asdict(report)})}
    said |= {each.stage: each.about for each in stages}
    fits = {each.stage: each.fit for each in stages}
    tagger = _model(pipe.tagger.record) if pipe.tagger and "tags" in fits else None
    detector = _model(pipe.detector.record) if pipe.detector and "boxes" in fits else None
    settings, verified = pipe.settings, pipe.settings.verify > 0 if "boxes" in fits else None
    fitted = tagger, detector, fits.get("tags"), fits.get("boxes"), settings.windows, settings.tiles
    return _with_presence(Calibration(*fitted, verified=verified, about=said), presence, report)


def _model(record: ModelRecord) -> FittedModel:
    return FittedModel(record.spec, record.sha256)
