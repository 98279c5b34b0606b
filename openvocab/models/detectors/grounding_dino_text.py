"""Grounding DINO's prompts: the tokens of each label, how they are scored, and which labels share a prompt.

The model reads "[CLS] cat . dog . [SEP]". Inside its text tower a label sees itself and its full stop only, with
positions counted from its own start, so a label's features are the same in every prompt and are computed once. Prompts
are put together from tokens, never from text: so no text of a label can end it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from openvocab.models.text_towers import ENCODING
from openvocab.pipeline.quiet import label_batches

__all__ = [
    "Block",
    "LabelScore",
    "LabelTokens",
    "Prompt",
    "best_labels",
    "chunks",
    "encode_blocks",
    "prompt",
    "special_tokens",
]

LabelScore = Literal["mean", "max"]
"""How the probabilities of a label's tokens become its score; see best_labels."""

Block = tuple[int, ...]
"""The tokens of one label, its full stop among them."""

_BLOCKS_A_BATCH = 256


@dataclass(frozen=True, eq=False, slots=True)
class LabelTokens:
    """An encoded vocabulary; [rows] selects labels by a list of indices.

    Attributes:
        blocks: C labels.
        features: C tensors of (tokens, D) float32: what the text tower and its projection make of each block.
        frame: (2, D): the same of [CLS] and [SEP].
    """

    blocks: tuple[Block, ...]
    features: tuple[Tensor, ...]
    frame: Tensor

    def __len__(self) -> int:
        return len(self.blocks)

    def __getitem__(self, rows: Sequence[int]) -> LabelTokens:
        return LabelTokens(
            tuple(self.blocks[row] for row in rows), tuple(self.features[row] for row in rows), self.frame
        )


@dataclass(frozen=True, eq=False, slots=True)
class Prompt:
    """Labels that go through the model together.

    Attributes:
        features: (1, T, D) of [CLS], the labels and [SEP].
        positions: (1, T) int64, counted from the start of each block.
        together: (1, T, T) bool, True for two tokens of one block.
        owner: (T,) int64: the row of labels that a token belongs to, len(labels) for tokens of no label.
        named: (T,) bool: True for the tokens of a label's own words, False for full stops, [CLS] and [SEP].
        labels: (L,) int64: indices into the vocabulary.
        blocks: The L labels' tokens.
    """

    features: Tensor
    positions: Tensor
    together: Tensor
    owner: Tensor
    named: Tensor
    labels: Tensor
    blocks: tuple[Block, ...]


def chunks(blocks: Sequence[Block], room: int) -> list[list[int]]:
    """Distribute labels over prompts.

    The order of the blocks changes nothing: labels are sorted by their tokens, and prompts filled one after the other.
    There are as few prompts as this order allows, and they are filled evenly, so that each label has about as much
    company as any other.

    Args:
        blocks: C different labels, each of at most room tokens.
        room: tokens that a prompt has for labels.

    Returns:
        indices into blocks, prompt by prompt.
    """
    order = sorted(range(len(blocks)), key=lambda row: blocks[row])
    lengths = [len(blocks[row]) for row in order]
    fewest = len(_fill(lengths, room))
    low, high = max(lengths, default=0), room
    while low < high:  # filling with more room never takes more prompts
        middle = (low + high) // 2
        low, high = (low, middle) if len(_fill(lengths, middle)) <= fewest else (middle + 1, high)
    return [[order[place] for place in part] for part in _fill(lengths, high)]


def _fill(lengths: Sequence[int], room: int) -> list[range]:
    """Split the indices of lengths into runs whose sum is at most room."""
    cuts, used = [0], 0
    for place, length in enumerate(lengths):
        if used + length > room:
            cuts.append(place)
            used = 0
        used += length
    return [range(start, end) for start, end in zip(cuts, [*cuts[1:], len(lengths)], strict=True) if end > start]


def prompt(tokens: LabelTokens, rows: Sequence[int]) -> Prompt:
    """Put labels into one prompt, in the order of rows.

    A label owns its tokens and its full stop. [CLS] and [SEP] belong to none, but where there is one label in the whole
    vocabulary they are its own: so its maximum is the library's, which is the best over all tokens.
    """
    device, alone = tokens.frame.device, len(tokens) == 1
    frame_owner = 0 if alone else len(rows)
    lengths = torch.tensor([1, *(len(tokens.blocks[row]) for row in rows), 1])
    owner = torch.tensor([frame_owner, *range(len(rows)), frame_owner])
    block = torch.arange(len(lengths)).repeat_interleave(lengths)
    named = torch.ones(len(block), dtype=torch.bool)
    named[lengths.cumsum(0) - 1] = False  # the last token of a block is its full stop
    features = [tokens.frame[:1], *(tokens.features[row] for row in rows), tokens.frame[1:]]
    return Prompt(
        torch.cat(features)[None],
        torch.cat([torch.arange(int(length)) for length in lengths])[None].to(device),
        (block[:, None] == block[None, :])[None].to(device),
        owner.repeat_interleave(lengths).to(device),
        named.to(device),
        torch.tensor(rows, dtype=torch.int64, device=device),
        tuple(tokens.blocks[row] for row in rows),
    )


def best_labels(logits: Tensor, text_prompt: Prompt, rule: LabelScore) -> tuple[Tensor, Tensor]:
    """Return (Q,) the score of each query's best label, in 0 to 1, and (Q,) its index.

    Args:
        logits: (Q, T) of each query for each token.
        rule: "mean" averages the probabilities of the tokens of the label's words, as the authors' evaluations do
            (IDEA-Research/GroundingDINO, demo/test_ap_on_coco.py: prob_to_token @ positive_map; MMDetection,
            convert_grounding_to_cls_scores); "max" takes the best of its tokens, its full stop included, as the
            library's post-processing does, so that labels that share a word share its score.
    """
    count = len(text_prompt.labels)
    if rule == "mean":
        owner = torch.where(text_prompt.named, text_prompt.owner, count)
        shares = torch.nn.functional.one_hot(owner, count + 1)[:, :count].to(logits.dtype)
        scores = logits.sigmoid() @ (shares / shares.sum(0))
    else:
        by_label = logits.new_full((len(logits), count + 1), float("-inf"))
        owner = text_prompt.owner.expand(len(logits), -1)
        scores = by_label.scatter_reduce(1, owner, logits, "amax")[:, :count].sigmoid()
    best, row = scores.max(1)
    return best, text_prompt.labels[row]


def special_tokens(model: Any) -> list[int]:
    """Return the ids of "[CLS]", "[SEP]", "." and "?", a constant in each release's module of the model."""
    return list(sys.modules[type(model.model).__module__].SPECIAL_TOKENS)


@torch.inference_mode()
def encode_blocks(core: Any, blocks: Sequence[Block]) -> list[Tensor]:
    """Return (tokens, D) float32 features of each block, in their order.

    Blocks that are equally long go together, in the order of their tokens: so features do not depend on the order.

    Args:
        core: the GroundingDinoModel or MMGroundingDinoModel.
    """
    order = sorted(range(len(blocks)), key=lambda row: (len(blocks[row]), blocks[row]))
    found: dict[int, Tensor] = {}
    for start in label_batches(len(order), _BLOCKS_A_BATCH, ENCODING):
        part = order[start : start + _BLOCKS_A_BATCH]
        found.update(zip(part, _encode(core, [blocks[row] for row in part]), strict=True))
    return [found[row] for row in range(len(blocks))]


def _encode(core: Any, blocks: Sequence[Block]) -> list[Tensor]:
    device = core.text_projection.weight.device
    tokens = torch.nn.utils.rnn.pad_sequence([torch.tensor(block) for block in blocks], batch_first=True).to(device)
    lengths = torch.tensor([len(block) for block in blocks], device=device)
    positions = torch.arange(tokens.shape[1], device=device)
    given = {
        "input_ids": tokens,
        "attention_mask": (positions < lengths[:, None]).long(),
        "token_type_ids": torch.zeros_like(tokens),
        "position_ids": positions.expand_as(tokens),
    }
    features = core.text_projection(core.text_backbone(**given).last_hidden_state)
    return [row[: len(block)] for row, block in zip(features, blocks, strict=True)]
