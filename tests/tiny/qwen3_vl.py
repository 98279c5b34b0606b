"""A tiny Qwen3-VL with its processor, in the format that transformers publishes. It writes one answer, token by token.

The layers are random and small beside the embeddings, so that each token decides which one is likeliest to follow, and
image and request how likely.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

__all__ = ["ANSWER", "write"]

ANSWER = (
    '[{"bbox_2d": [',
    "100, ",
    "200, ",
    "500, ",
    "600]",
    ', "label": "cat"}',
    ', {"bbox_2d": [1',
    "0, 2",
    "0, 90",
    "0, 800",
    '], "label": "Red Dog"}',
    ', {"bbox_2d": [0, 0, 99',
    '9, 1000], "label": "a thing"}]',
    "<|im_end|>",
)
"""Tokens of the answer."""

_SPECIAL = ("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
_CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{% for part in message.content %}"
    "{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def _tokenizer(answer: tuple[str, ...]) -> Any:
    from tokenizers import AddedToken
    from transformers import Qwen2Tokenizer
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    letters = sorted(bytes_to_unicode().values())
    made = Qwen2Tokenizer(vocab={token: row for row, token in enumerate([*letters, "<|endoftext|>"])}, merges=[])
    made.add_special_tokens({"eos_token": "<|im_end|>", "additional_special_tokens": list(_SPECIAL)})
    made.add_tokens([AddedToken(each, normalized=False, special=False) for each in answer if each not in _SPECIAL])
    return made


def _config(words: Any) -> Any:
    from transformers import Qwen3VLConfig

    names = {"image_token_id": "<|image_pad|>", "video_token_id": "<|video_pad|>"}
    names |= {"vision_start_token_id": "<|vision_start|>", "vision_end_token_id": "<|vision_end|>"}
    text: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "head_dim": 16}
    text |= {"num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": len(words), "pad_token_id": None}
    text |= {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}}
    vision: dict[str, Any] = {"depth": 2, "hidden_size": 32, "intermediate_size": 32, "num_heads": 2, "patch_size": 8}
    vision |= {"out_hidden_size": 64, "num_position_embeddings": 16, "deepstack_visual_indexes": [0]}
    ids = {name: words.convert_tokens_to_ids(token) for name, token in names.items()}
    return Qwen3VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=False, **ids)


def _rig(model: Any, tokens: list[int]) -> Any:
    """Make each token of the answer follow the one before it, and the first one the end of the request."""
    noise = torch.Generator().manual_seed(5)
    embedded, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.dim() > 1 and "visual" not in name:
                value.copy_(0.15 * torch.randn(value.shape, generator=noise))
        embedded.copy_(torch.randn(embedded.shape, generator=noise))
        head.mul_(0.1)
        for before, after in pairwise(tokens):
            head[after] = embedded[before] / embedded[before].norm()
    return model.eval()


def write(folder: Path, answer: tuple[str, ...] = ANSWER) -> str:
    """Write the checkpoint into a folder that does not exist yet; return what a SPEC says after the family.

    Args:
        folder: where.
        answer: what the model writes, in tokens of which none comes twice.
    """
    from transformers import (
        GenerationConfig,
        Qwen2VLImageProcessor,
        Qwen3VLForConditionalGeneration,
        Qwen3VLProcessor,
        Qwen3VLVideoProcessor,
    )

    words = _tokenizer(answer)
    torch.manual_seed(31)
    model = Qwen3VLForConditionalGeneration(_config(words))
    _rig(model, words.convert_tokens_to_ids(["Ċ", *answer]))
    end = words.convert_tokens_to_ids("<|im_end|>")
    model.generation_config = GenerationConfig(
        do_sample=True, temperature=0.7, top_p=0.8, top_k=20, eos_token_id=[end], pad_token_id=end
    )
    model.save_pretrained(folder)
    sizes: dict[str, Any] = {
        "size": {"shortest_edge": 32 * 32, "longest_edge": 64 * 64},
        "patch_size": 8,
        "merge_size": 2,
    }
    pixels, video = Qwen2VLImageProcessor(**sizes), Qwen3VLVideoProcessor(**sizes)
    Qwen3VLProcessor(pixels, words, video, chat_template=_CHAT).save_pretrained(folder)
    return str(folder)
