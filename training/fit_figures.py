"""Measure openvocab fit and openvocab review on composed scenes: python -m training.fit_figures --help.

The embedded models answer the scenes once, for every sixth label that they know. Each resample draws scenes until every
label is in ten of them, fits on these, and measures F1 on the rest.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from openvocab.batch.review import doubts_of, rejections_of
from openvocab.batch.rows import Row, likely_labels
from openvocab.evaluate import GroundTruth, image_errors
from openvocab.evaluate.fitting.collect import box_answers, evidence_pairs
from openvocab.evaluate.fitting.pairs import Pairs, box_pairs, f1_of, reported, tag_pairs
from openvocab.evaluate.fitting.presence import EvidencePairs, fit_presence, log_losses
from openvocab.evaluate.fitting.risk import miss_rate, threshold_of
from openvocab.evaluate.fitting.thresholds import fit_stage
from openvocab.pipeline import chain
from openvocab.pipeline.presence import presence_of
from openvocab.weights.presence import PresenceModel
from training.drawings import labels, load_style
from training.evaluate import style_names
from training.presence import calibration_error, correlation
from training.scenes import ORDINARY, bank, compose

if TYPE_CHECKING:
    from openvocab import Pipeline, Result

__all__ = [
    "Pool",
    "best_thresholds",
    "draw",
    "fit_figures",
    "main",
    "presence_fit_figures",
    "review_figures",
    "risk_figures",
]

EACH = 10
"""Images of a label that a fit gets."""
RISK = 0.1
FIRST = 0.2
"""The share of the review that is looked at."""


@dataclass(frozen=True, eq=False)
class Pool:
    """The answers for P scenes.

    Attributes:
        tags: Of the tagger, with every label of every image.
        boxes: Of the detector and verification, over a low threshold.
        bare: Of the detector alone.
        presence: The evidence of presence of every label in every image.
        results: P answers of the chain.
        truth: P sets of objects.
    """

    tags: Pairs
    boxes: Pairs
    bare: Pairs
    presence: EvidencePairs
    results: list[Result]
    truth: list[GroundTruth]

    @classmethod
    def of(cls, pipe: Pipeline, styles: Sequence[str], count: int, seed: int, packages: Path) -> Pool:
        """Answer composed scenes of these styles."""
        names, rng = labels()[::6], np.random.default_rng(seed)
        drawings, vocabulary = bank([load_style(name, packages) for name in styles], names), pipe.vocabulary(names)
        answers = [box_answers(each, vocabulary) for each in (pipe, pipe.changed(verify=0))]
        scores, found, evidence, truth, results = [], [], [], [], []
        for scene in (compose(rng, drawings, ORDINARY) for _ in range(count)):
            tagged = chain.score(pipe, [scene.image], vocabulary)[0]
            scores.append(tagged.scores)
            made = [answer([scene.image], [tagged])[0] for answer in answers]
            found.append([each.detections for each in made])
            evidence.append(made[0].evidence)
            results.append(pipe(scene.image, vocabulary))
            height, width = scene.image.shape[:2]
            truth.append(GroundTruth(height, width, scene.xyxy.astype(np.float64), scene.labels))
        present = np.array([np.isin(np.arange(len(names)), each.class_ids) for each in truth])
        known = evidence_pairs(evidence, present, np.ones_like(present))
        boxes, bare = (box_pairs(names, each, truth) for each in zip(*found, strict=True))
        return cls(tag_pairs(names, np.stack(scores), present), boxes, bare, known, results, truth)


def draw(rng: np.random.Generator, truth: Pairs) -> NDArray[np.int64]:
    """Return images, drawn at random until every label is in ten of them or in all that have it."""
    counts, chosen = np.zeros(len(truth.labels), np.int64), []
    has = np.zeros((len(truth.wanted), len(truth.labels)), np.bool_)
    has[truth.image[truth.hit], truth.label[truth.hit]] = True
    for image in rng.permutation(len(has)):
        if (counts[has[image]] < EACH).any():
            counts += has[image]
            chosen.append(int(image))
    return np.sort(np.array(chosen, np.int64))


def best_thresholds(pairs: Pairs, default: float) -> tuple[float, float]:
    """Return the best F1 of one threshold, and of one threshold a label, chosen on the pairs themselves."""
    candidates = np.unique(np.quantile(pairs.score[pairs.score > default / 20], np.linspace(0, 1, 400)))
    one = max(candidates, key=lambda each: f1_of(pairs, pairs.score >= each))
    best, f1 = np.full(len(pairs.labels), one), f1_of(pairs, pairs.score >= one)
    for label in range(len(best)):  # what raises F1 over f has hits of more than f / 2 of its answers
        mine = pairs.take(pairs.label == label)
        order = np.argsort(-mine.score, kind="stable")
        gain = np.concatenate([[0], np.cumsum(2 * mine.hit[order] - f1)])
        last = int(gain.argmax())
        best[label] = mine.score[order[last - 1]] if last else 2.0
    return f1, f1_of(pairs, pairs.score >= best[pairs.label])


def fit_figures(pairs: Pairs, truth: Pairs, default: float, seed: int, resamples: int) -> dict[str, float]:
    """Return the mean F1 on images that were not fitted on, and how often the fit is near the best or worse."""
    rng, rows = np.random.default_rng(seed), []
    for number in range(resamples):
        chosen = draw(rng, truth)
        test = pairs.of_images(np.setdiff1d(np.arange(len(pairs.wanted)), chosen))
        fit = fit_stage(pairs.of_images(chosen), default, number).fit
        fitted = f1_of(test, reported(test, fit, fit.shared.threshold))
        rows.append((f1_of(test, test.score >= default), fitted, *best_thresholds(test, default)))
    default_f1, fit_f1, one, each = np.array(rows).T
    return {
        "F1, default": float(default_f1.mean()),
        "F1, fit": float(fit_f1.mean()),
        "F1, best threshold in hindsight": float(one.mean()),
        "F1, best threshold of each label in hindsight": float(each.mean()),
        "resamples within 2 points of the best threshold": float((fit_f1 >= one - 0.02).mean()),
        "resamples not worse than the default": float((fit_f1 >= default_f1 - 1e-12).mean()),
    }


def presence_fit_figures(
    pairs: EvidencePairs, truth: Pairs, shipped: PresenceModel, seed: int, resamples: int
) -> dict[str, float]:
    """Return the mean figures of presence on images that were not fitted on, and how often the fit is taken."""
    rng, rows = np.random.default_rng(seed), []
    for number in range(resamples):
        chosen = np.isin(pairs.image, draw(rng, truth))
        made, _ = fit_presence(pairs.take(chosen), shipped, number)
        test, given = pairs.take(~chosen), []
        for model in (shipped, shipped if made is None else shipped.with_fitted(made)):
            likely = np.asarray(presence_of(model, test.evidence), np.float64)
            loss = log_losses(likely, test.present).mean()
            given += [loss, calibration_error(likely, test.present), correlation(likely >= 0.5, test.present)]
        rows.append([*given, made is not None, given[3] <= given[0]])
    names = ("log loss", "calibration error", "MCC")
    titles = [f"{name}, {kind}" for kind in ("shipped", "fit") for name in names]
    titles += ["resamples whose fit is taken", "resamples with no greater log loss than shipped"]
    return dict(zip(titles, np.mean(rows, axis=0).tolist(), strict=True))


def risk_figures(pairs: Pairs, default: float, seed: int, splits: int) -> dict[str, float]:
    """Return the false-negative rate on a third of the scenes, and the share of splits where a threshold bounds it."""
    rng, rates = np.random.default_rng(seed), []
    for _ in range(splits):
        fitted, chosen, test = (pairs.of_images(part) for part in np.array_split(rng.permutation(len(pairs.wanted)), 3))
        fit = fit_stage(fitted, default).fit
        threshold = threshold_of(chosen, fit.scores(chosen.score, chosen.labels, chosen.label), RISK)
        if threshold is not None:
            kept = fit.scores(test.score, test.labels, test.label) > threshold
            rates.append(float(miss_rate(test, kept).mean()))
    name = f"false-negative rate with --risk {RISK}"
    return {name: float(np.mean(rates)) if rates else np.nan, "splits with a bound": len(rates) / splits}


def review_figures(pool: Pool) -> dict[str, float]:
    """Return the share of errors in the first fifth of the images, and of the doubts; and of a perfect order."""
    names = pool.tags.labels
    errors = image_errors(pool.truth, [result.detections for result in pool.results], names)
    count = np.array([(each.objects != 0).sum() + (each.detections != 0).sum() for each in errors], np.float64)
    rows = [_row(result) for result in pool.results]
    doubts = [doubts_of(row, rejections_of(row), tagged=True, boxed=True) for row in rows]
    likely = np.array([sum(one.errors for one in each) for each in doubts])
    first = round(FIRST * len(count))

    def share(order: NDArray[np.float64]) -> float:
        return float(count[np.argsort(-order, kind="stable")[:first]].sum() / count.sum())

    wrong = [
        {names[row] for row in truth.class_ids[each.objects != 0]}
        | {names[row] for row in result.detections.class_ids[each.detections != 0]}
        for truth, each, result in zip(pool.truth, errors, pool.results, strict=True)
    ]
    listed = [(doubt.errors, doubt.label in bad) for each, bad in zip(doubts, wrong, strict=True) for doubt in each]
    best = sorted(listed, key=lambda each: -each[0])[: round(FIRST * len(listed))]
    return {
        "errors in the first fifth of the images": share(likely),
        "the same in a perfect order": share(count),
        "wrong labels in the first fifth of the doubts": sum(bad for _, bad in best) / sum(map(len, wrong)),
    }


def _row(result: Result) -> Row:
    likely, found = likely_labels(result.presence), result.detections
    return Row("", tags=result.tags, detections=found, rejected=result.rejected, presence=likely)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures of fit for tags and for boxes, and of review."""
    import openvocab

    parser = argparse.ArgumentParser(prog="python -m training.fit_figures", description=__doc__)
    parser.add_argument("--scenes", type=int, default=300)
    parser.add_argument("--seed", type=int, default=770001)
    parser.add_argument("--resamples", type=int, default=200)
    parser.add_argument("--style", choices=("trained", "held-out"), default="trained")
    parser.add_argument("--packages", type=Path, default=Path("node_modules/@iconify-json"))
    chosen = parser.parse_args(arguments)
    pipe = openvocab.load("pocket")
    pool = Pool.of(pipe, style_names(chosen.style), chosen.scenes, chosen.seed, chosen.packages)
    figures = dict[str, float]()
    for name, pairs, bare in (("tags", pool.tags, pool.tags), ("boxes", pool.boxes, pool.bare)):
        default = pipe.settings.threshold("tag_threshold" if name == "tags" else "box_threshold")
        made = fit_figures(pairs, pool.tags, default, chosen.seed, chosen.resamples)
        made |= risk_figures(bare, default, chosen.seed, max(1, chosen.resamples // 4))
        figures |= {f"{name}: {title}": value for title, value in made.items()}
    resamples = max(1, chosen.resamples // 4)
    made = presence_fit_figures(pool.presence, pool.tags, pipe.presence_model, chosen.seed, resamples)
    figures |= {f"presence: {title}": value for title, value in made.items()}
    figures |= {f"review: {title}": value for title, value in review_figures(pool).items()}
    sys.stdout.write("".join(f"{title:62} {value:.3f}\n" for title, value in figures.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
