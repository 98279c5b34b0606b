"""A tiny MM-Grounding-DINO with its processor, in the format that transformers publishes."""

from __future__ import annotations

from pathlib import Path

import torch

from tests.tiny.grounding_dino import save, sizes


def write(folder: Path) -> str:
    """Write the checkpoint into a folder that does not exist yet; return what a SPEC says after the family."""
    from transformers import MMGroundingDinoConfig, MMGroundingDinoForObjectDetection

    torch.manual_seed(7)
    model = MMGroundingDinoForObjectDetection(MMGroundingDinoConfig(**sizes()))
    with torch.no_grad():  # starts at -4.6, where no score is over 0.05
        for head in (*model.class_embed, *model.model.decoder.class_embed, model.model.encoder_output_class_embed):
            head.bias.fill_(-0.5)
    return save(model, folder, spread=2.0)
