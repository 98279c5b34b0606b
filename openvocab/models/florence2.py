"""Florence-2 (Xiao et al. 2023): images and prompts in, answers of text and location tokens out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from openvocab.errors import BadOutput, BadWeights
from openvocab.models.checkpoints import find, load_model, load_processor
from openvocab.models.text_towers import check_tokenizer
from openvocab.models.written import Written, token_log_probabilities
from openvocab.pipeline.protocols import ImageArray
from openvocab.pipeline.result import ModelRecord

__all__ = ["BINS", "Florence2"]

BINS = 1000
"""Location tokens a side."""

_KIND = "Florence-2 model"
_PROMPTS_TOGETHER = 8
_MOST_TOKENS = 1024
"""max_new_tokens of the examples in the model's card."""


@dataclass(frozen=True, eq=False, slots=True)
class Florence2:
    """The model and its prompts; images are encoded one at a time, once for all prompts.

    Everything stays in float32: an answer is a sequence of likeliest tokens, and rounding would choose between them.
    Beams and other settings of the search are those of the checkpoint; nothing is sampled.

    Attributes:
        model: A Florence2ForConditionalGeneration, in evaluation mode, on its device.
        processor: Its Florence2Processor.
        record: What the model is; its dtype is always "float32".
        locations: Token of a location -> its bin, 0 to 999.
    """

    model: Any
    processor: Any
    record: ModelRecord
    locations: Mapping[int, int]

    @classmethod
    def load(cls, spec: str, device: str | None = None, dtype: str | None = None) -> Florence2:
        """Load a model from the hub or from a folder in the same layout.

        Args:
            spec: "florence-community/Florence-2-base" (ORG/NAME or ORG/NAME@REVISION), or the path of a folder.
            device: "cuda", "mps", "cpu"; None for the best there is.
            dtype: "float32", "bfloat16" or "float16"; the model stays in float32 with either.

        Raises:
            BadInput: there is no such device or precision.
            BadWeights: the model is absent, cannot be fetched or read, is of another kind, or its tokenizer lacks
                location tokens, as that of the checkpoints of Microsoft's own code does in transformers.
        """
        from transformers import Florence2ForConditionalGeneration, Florence2Processor

        found = find("florence2", spec, _KIND, ["florence2"])
        record = replace(found.record(device, dtype), dtype="float32")
        processor = load_processor(found, Florence2Processor, _KIND)
        model = load_model(found, Florence2ForConditionalGeneration, _KIND)
        words = processor.tokenizer
        check_tokenizer(spec, len(words), int(model.config.text_config.vocab_size))
        tokens = words.convert_tokens_to_ids([f"<loc_{number}>" for number in range(BINS)])
        if len(set(tokens) - {words.unk_token_id, None}) < BINS:
            raise BadWeights(f"{spec}: its tokenizer has no location tokens; name florence-community/Florence-2-base")
        return cls(model.to(record.device), processor, record, {token: bin_ for bin_, token in enumerate(tokens)})

    @property
    def context(self) -> int:
        """The maximum number of a prompt's tokens, special ones included; image features take the rest."""
        return int(self.model.config.text_config.max_position_embeddings) - int(self.processor.num_image_tokens)

    def tokens(self, prompts: Sequence[str]) -> tuple[tuple[int, ...], ...]:
        """Return the tokens of each prompt, cut to the model's context, with start and end."""
        rows = self.processor.tokenizer(list(prompts), truncation=True, max_length=self.context).input_ids
        return tuple(map(tuple, rows))

    @torch.inference_mode()
    def encode(self, image: ImageArray, row: int) -> Tensor:
        """Return (1, N, D) features of an image; row is its index, for the message.

        Raises:
            BadOutput: the model gave a number that is not finite.
        """
        given = self.processor.image_processor(images=Image.fromarray(image), return_tensors="pt")
        features = self.model.get_image_features(given["pixel_values"].to(self.model.device)).pooler_output
        if not torch.isfinite(features).all():
            raise BadOutput(f"Florence-2's features of image {row} are not finite")
        return torch.as_tensor(features)

    @torch.inference_mode()
    def answers(self, features: Tensor, prompts: Sequence[Sequence[int]], row: int) -> Iterator[Written]:
        """Yield the answer to each prompt about an image.

        Args:
            features: (1, N, D) of the image.
            prompts: tokens of each prompt.
            row: the image's index, for the message.

        Raises:
            BadOutput: the model gave a probability that is not finite.
        """
        from transformers.modeling_outputs import BaseModelOutput

        for start in range(0, len(prompts), _PROMPTS_TOGETHER):
            states, mask = self._read(features, prompts[start : start + _PROMPTS_TOGETHER])
            texts = self.model.generate(
                encoder_outputs=BaseModelOutput(last_hidden_state=states),
                attention_mask=mask,
                do_sample=False,
                max_new_tokens=self._most_tokens,
            )
            for at, text in enumerate(texts):
                tokens = text[: self._length(text)]
                answer = self.model(
                    encoder_outputs=BaseModelOutput(last_hidden_state=states[at : at + 1]),
                    attention_mask=mask[at : at + 1],
                    decoder_input_ids=tokens[None],
                )
                yield token_log_probabilities(answer.logits[0], tokens, len(tokens) > self._most_tokens, row)

    def text(self, tokens: Sequence[int]) -> str:
        """Return the words of an answer, without special tokens and with single spaces."""
        return " ".join(str(self.processor.tokenizer.decode(list(tokens), skip_special_tokens=True)).split())

    def task(self, name: str) -> tuple[int, ...]:
        """Return the prompt of a task that takes no text, such as "<OD>"."""
        return self.tokens([self.processor.task_prompts_without_inputs[name]])[0]

    def _read(self, features: Tensor, prompts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Return (B, N + T, D) states of the encoder for B prompts, and their mask."""
        longest = max(map(len, prompts))
        padding = self.processor.tokenizer.pad_token_id
        ids = torch.tensor([[*tokens, *[padding] * (longest - len(tokens))] for tokens in prompts])
        known = torch.tensor([[1] * len(tokens) + [0] * (longest - len(tokens)) for tokens in prompts])
        words = self.model.get_input_embeddings()(ids.to(features.device))
        given = torch.cat([features.expand(len(prompts), -1, -1), words], 1)
        mask = torch.cat([known.new_ones(len(prompts), features.shape[1]), known], 1).to(features.device)
        return self.model.get_encoder()(inputs_embeds=given, attention_mask=mask).last_hidden_state, mask

    @property
    def _most_tokens(self) -> int:
        return min(_MOST_TOKENS, int(self.model.config.text_config.max_position_embeddings) - 1)

    def _length(self, text: Tensor) -> int:
        """Return the number of tokens up to the end token; the start token is the same one."""
        ends = (text[1:] == self.processor.tokenizer.eos_token_id).nonzero()
        return int(ends[0]) + 2 if len(ends) else len(text)
