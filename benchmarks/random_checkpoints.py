"""Checkpoints of the published sizes with random weights, in the upstreams' own formats: speed needs no more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

__all__ = ["write_clip", "write_grounding_dino", "write_owlv2", "write_sam", "write_sam2"]

CLIP_NAME = "ViT-B-32"


def write_clip(folder: Path) -> Path:
    """Write open_clip's ViT-B/32 as a folder that open_clip reads."""
    import open_clip
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    config = {
        "model_cfg": open_clip.get_model_config(CLIP_NAME),
        "preprocess_cfg": {"mean": open_clip.OPENAI_DATASET_MEAN, "std": open_clip.OPENAI_DATASET_STD},
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config), "utf-8")
    state = open_clip.create_model(CLIP_NAME).state_dict()
    save_file({name: value.clone() for name, value in state.items()}, folder / "open_clip_model.safetensors")
    return folder


def write_sam(folder: Path) -> Path:
    """Write segment_anything's vit_b as a file in the format of the published ones."""
    from segment_anything import build_sam_vit_b

    folder.mkdir(parents=True)
    path = folder / "sam_vit_b.pth"
    torch.save(build_sam_vit_b().state_dict(), path)
    return path


def write_sam2(folder: Path) -> Path:
    """Write a SAM 2 tiny with its processor."""
    from transformers import Sam2Config, Sam2ImageProcessor, Sam2Model, Sam2Processor

    Sam2Model(Sam2Config()).save_pretrained(folder)
    Sam2Processor(Sam2ImageProcessor()).save_pretrained(folder)
    return folder


def _clip_tokenizer() -> Any:
    """CLIP's own tokenizer, from the vocabulary that open_clip ships with."""
    import open_clip
    from transformers import CLIPTokenizer

    own = open_clip.tokenizer.SimpleTokenizer()
    ends = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocabulary = {ends.get(token, token): row for token, row in own.encoder.items()}
    return CLIPTokenizer(vocab=vocabulary, merges=list(own.bpe_ranks), pad_token="!", model_max_length=16)


def write_owlv2(folder: Path) -> Path:
    """Write an OWLv2 base/16 of 960 pixels with its processor."""
    from transformers import Owlv2Config, Owlv2ForObjectDetection, Owlv2ImageProcessor, Owlv2Processor

    config = Owlv2Config(vision_config={"image_size": 960, "patch_size": 16})
    model = Owlv2ForObjectDetection(config)
    with torch.no_grad():  # the heads start so wide that every box is as large as the image
        for value in (*model.box_head.parameters(), *model.class_head.parameters()):
            value.mul_(0.2)
    model.save_pretrained(folder)
    size = {"height": 960, "width": 960}
    processor: Any = Owlv2Processor
    processor(Owlv2ImageProcessor(size=size), _clip_tokenizer()).save_pretrained(folder)
    return folder


def _bert_tokenizer(words: list[str]) -> Any:
    """BERT's tokenizer with its special tokens at their published places and those words."""
    from transformers import BertTokenizer

    tokens = [f"[unused{row}]" for row in range(30522)]
    special = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]", 1012: ".", 1029: "?"}
    for row, token in {**special, **{2000 + row: word for row, word in enumerate(words)}}.items():
        tokens[row] = token
    return BertTokenizer(vocab={token: row for row, token in enumerate(tokens)})


def write_grounding_dino(folder: Path, words: list[str]) -> Path:
    """Write a Grounding DINO tiny with its processor; words are what its tokenizer knows."""
    from transformers import (
        GroundingDinoConfig,
        GroundingDinoForObjectDetection,
        GroundingDinoImageProcessor,
        GroundingDinoProcessor,
    )

    model = GroundingDinoForObjectDetection(GroundingDinoConfig())
    model.save_pretrained(folder)
    processor: Any = GroundingDinoProcessor
    processor(GroundingDinoImageProcessor(), _bert_tokenizer(words)).save_pretrained(folder)
    return folder
