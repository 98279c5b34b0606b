"""The training loop: seeded, resumable, and saying how far it is."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from training.optimize import STEADY, Average, Optimizer, load_checkpoint, save_checkpoint, steady_then_down

__all__ = ["Job", "run"]

log = logging.getLogger("openvocab.pocket")


@dataclass
class Job:
    """What is trained and how.

    model       whose parameters and buffers are kept in the checkpoint.
    step        draws a batch with that generator and returns the loss and figures to print.
    evaluate    returns held-out figures of the model as it stands.
    clip        parameters whose gradient is cut to length `most`.
    """

    model: nn.Module
    optimizer: Optimizer
    step: Callable[[np.random.Generator], tuple[Tensor, dict[str, float]]]
    evaluate: Callable[[], dict[str, float]]
    clip: Sequence[Tensor]
    most: float
    decay: float = 0.998
    figures: dict[str, float] = field(default_factory=dict)


def _restore(job: Job, path: Path, average: Average) -> int:
    kept = load_checkpoint(path)
    if kept is None:
        return 0
    job.model.load_state_dict(kept["model"])
    try:
        job.optimizer.restore(kept["optimizer"])
    except ValueError:
        log.info("other weights are trained than before: the optimizer starts anew")
    average.weights, average.steps = kept["average"], kept["step"]
    log.info("resumed at step %d from %s", kept["step"], path.name)
    return int(kept["step"])


def _with_average(job: Job, average: Average, work: Callable[[], dict[str, float]]) -> dict[str, float]:
    """Do work while the model holds its moving average."""
    own = {name: value.clone() for name, value in job.model.state_dict().items()}
    job.model.load_state_dict(average.weights)
    job.model.eval()
    try:
        return work()
    finally:
        job.model.load_state_dict(own)
        job.model.train()


def _say(job: Job, step: int, steps: int, rate: float) -> None:
    shown = " ".join(f"{name} {value:.3f}" for name, value in job.figures.items())
    log.info("step %d/%d %.2f steps/s %s", step, steps, rate, shown)


def _save(job: Job, path: Path, average: Average, step: int) -> None:
    save_checkpoint(
        path, model=job.model.state_dict(), optimizer=job.optimizer.state(), average=average.weights, step=step
    )


def run(job: Job, checkpoint: Path, steps: int, seed: int, every: int = 500, minutes: float = math.inf) -> None:
    """Train to that many steps in all, saving and evaluating every so many; the model ends as its moving average.

    The generator is seeded by (seed, step), so that a resumed run draws what an unbroken one would have drawn. The
    checkpoint of where the rate began to fall is kept too, as CHECKPOINT.steady: renamed, it is where a longer run can
    go on with nothing lost.

    Args:
        minutes: end after so long, whatever the step; the rate then falls by the clock.
    """
    average = Average(job.model, job.decay)
    start = step = _restore(job, checkpoint, average)
    falling = False
    job.model.train()
    begun = time.monotonic()
    while step < steps and time.monotonic() < begun + 60 * minutes:
        share = max(step / steps, (time.monotonic() - begun) / (60 * minutes))
        if share >= STEADY and not falling:
            falling = True
            _save(job, checkpoint.with_suffix(".steady"), average, step)
        torch.manual_seed(seed + step)
        loss, figures = job.step(np.random.default_rng((seed, step)))
        job.optimizer.step(loss, steady_then_down(step, share), job.clip, job.most)
        average.update(job.model)
        step += 1
        for name, value in figures.items():
            job.figures[name] = 0.97 * job.figures.get(name, value) + 0.03 * value
        if step % 100 == 0:
            _say(job, step, steps, (step - start) / (time.monotonic() - begun))
        if step % every == 0:
            _save(job, checkpoint, average, step)
            log.info("held out: %s", _with_average(job, average, job.evaluate))
    if step > start:
        _save(job, checkpoint, average, step)
    job.model.load_state_dict(average.weights)
    job.model.eval()
