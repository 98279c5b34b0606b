"""What training shares: two optimizers in one, a schedule, a moving average, and checkpoints."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["STEADY", "Average", "Optimizer", "load_checkpoint", "save_checkpoint", "steady_then_down"]


STEADY = 0.6
"""The share of a run with a constant learning rate."""


def steady_then_down(step: int, share: float, warm: int = 100, floor: float = 0.02) -> float:
    """The learning rate's factor: linear up over the first steps, constant, then a half cosine down to floor.

    Args:
        share: how much of the run is done, 0 to 1.
    """
    down = max(0.0, (share - STEADY) / (1 - STEADY))
    return min(1.0, (step + 1) / warm) * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, down))))


class Optimizer:
    """Muon (Jordan et al. 2024) for the matrices of transformer blocks, AdamW for all else.

    Args:
        model: whose parameters are trained.
        rate: AdamW's learning rate; matrix_rate: Muon's.
        matrices: says of a parameter's name whether Muon trains it (if it is 2-D).
        factor: multiplies AdamW's rate for that parameter's name.
    """

    def __init__(
        self,
        model: nn.Module,
        rate: float,
        matrix_rate: float,
        matrices: Callable[[str], bool],
        factor: Callable[[str], float] = lambda name: 1.0,
    ) -> None:
        trained = [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
        muon = [weight for name, weight in trained if weight.ndim == 2 and matrices(name)]
        chosen = {id(weight) for weight in muon}
        groups: dict[tuple[float, float], list[Tensor]] = {}
        for name, weight in trained:
            if id(weight) not in chosen:
                decay = 0.02 if weight.ndim > 1 and "embed" not in name else 0.0
                groups.setdefault((factor(name), decay), []).append(weight)
        parts = [{"params": weights, "weight_decay": decay, "factor": by} for (by, decay), weights in groups.items()]
        self.rate, self.matrix_rate = rate, matrix_rate
        self.adam = torch.optim.AdamW(parts, lr=rate, betas=(0.9, 0.98), fused=True)
        self.muon = torch.optim.Muon(
            muon, lr=matrix_rate, momentum=0.95, weight_decay=0.02, adjust_lr_fn="match_rms_adamw"
        )

    def step(self, loss: Tensor, scale: float, clip: Sequence[Tensor], most: float) -> None:
        """Take one step at scale times the learning rates, with the gradient of clip cut to length most."""
        self.adam.zero_grad(set_to_none=True)
        self.muon.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(clip, most)
        for group in self.adam.param_groups:
            group["lr"] = self.rate * group["factor"] * scale
        for group in self.muon.param_groups:
            group["lr"] = self.matrix_rate * scale
        self.adam.step()
        self.muon.step()  # type: ignore[no-untyped-call]

    def state(self) -> list[dict[str, Any]]:
        return [self.adam.state_dict(), self.muon.state_dict()]

    def restore(self, state: list[dict[str, Any]]) -> None:
        self.adam.load_state_dict(state[0])
        self.muon.load_state_dict(state[1])


class Average:
    """An exponential moving average of a model's weights and buffers."""

    def __init__(self, model: nn.Module, decay: float = 0.998) -> None:
        self.decay, self.steps = decay, 0
        self.weights = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        self.steps += 1
        keep = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for name, value in model.state_dict().items():
            if value.dtype.is_floating_point:
                self.weights[name].lerp_(value, 1 - keep)
            else:
                self.weights[name].copy_(value)


def save_checkpoint(path: Path, **parts: Any) -> None:
    """Write a checkpoint under a temporary name, then move it into place."""
    temporary = path.with_suffix(".part")
    torch.save(parts, temporary)
    os.replace(temporary, path)


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """Read a checkpoint; None where there is none yet."""
    if not path.is_file():
        return None
    parts: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return parts
