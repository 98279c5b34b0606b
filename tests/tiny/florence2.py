"""A tiny Florence-2 with its processor, in the format that transformers publishes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from tests.tiny.detr import liven
from tests.tiny.words import bart_tokenizer

__all__ = ["CONTEXT", "LOCATIONS", "write"]

CONTEXT = 96
LOCATIONS = tuple(f"<loc_{number}>" for number in range(1000))
SIDE, FEATURES = 64, 5
"""Pixels of an image's side, and the features of an image: 2 x 2 places and their mean."""

_OTHERS = ("<od>", "</od>", "<sep>", "<poly>", "</poly>", "<and>")
_ENDS = 64
"""Tokens from which on the end token becomes likelier with each."""


def _config(words: Any) -> Any:
    from transformers import Florence2Config

    tower = {"embed_dim": [8, 8, 16, 16], "num_heads": [1, 1, 2, 2], "num_groups": [1, 1, 2, 2], "depths": [1, 1, 1, 1]}
    text = {"model_type": "bart", "d_model": 32, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "encoder_layers": 2}
    text |= {"decoder_layers": 2, "encoder_attention_heads": 2, "decoder_attention_heads": 2, "vocab_size": len(words)}
    text |= {"max_position_embeddings": CONTEXT, "bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}
    text |= {"decoder_start_token_id": 2, "tie_word_embeddings": True, "forced_eos_token_id": 2}
    return Florence2Config(
        vision_config={**tower, "window_size": 2, "projection_dim": 32, "drop_path_rate": 0.0},
        text_config=text,
        image_token_id=words.image_token_id,
    )


def write(folder: Path, locations: float = 1.0) -> str:
    """Write the checkpoint into a folder that does not exist yet; return what a SPEC says after the family.

    Args:
        folder: where.
        locations: size of the location tokens' embeddings; small ones are hardly written, so that answers are text.
    """
    from transformers import CLIPImageProcessor, Florence2ForConditionalGeneration, Florence2Processor, GenerationConfig

    words = bart_tokenizer(CONTEXT, (*LOCATIONS, *_OTHERS), "<image>")
    torch.manual_seed(21)
    model = liven(Florence2ForConditionalGeneration(_config(words)))
    first = words.convert_tokens_to_ids(LOCATIONS[0])
    model.get_input_embeddings().weight.data[first : first + len(LOCATIONS)] *= locations
    ends = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2}
    search: dict[str, Any] = {
        "forced_bos_token_id": 0,
        "forced_eos_token_id": 2,
        "num_beams": 3,
        "early_stopping": True,
    }
    search |= {"no_repeat_ngram_size": 3, "exponential_decay_length_penalty": (_ENDS, 1.3)}
    model.generation_config = GenerationConfig(**ends, **search)
    model.save_pretrained(folder)
    size = {"height": SIDE, "width": SIDE}
    pixels = CLIPImageProcessor(size=size, do_center_crop=False, image_seq_length=FEATURES)
    kinds = ("pure_text", "description_with_bboxes", "phrase_grounding", "description_with_bboxes_or_polygons")
    Florence2Processor(pixels, words, post_processor_config={kind: {} for kind in kinds}).save_pretrained(folder)
    return str(folder)
